"""The schema's versions, what coverage counts, what the documentation says, and the commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import places
from medmirror.cli import cli
from medmirror.mapping import SCHEMA_VERSION, canonical_hash, mappers, upgrade
from medmirror.mapping.coverage import Coverage
from medmirror.mapping.schema.entities import ENTITIES
from medmirror.mapping.schema.kinds import SCALARS, Part
from medmirror.mapping.schema.parts import PARTS

ROOT = places.ROOT
STORED = ROOT / "tests" / "fixtures" / "mapping" / "versions"


@pytest.mark.parametrize("path", sorted(STORED.glob("1_*.json")), ids=lambda path: path.stem)
def test_records_of_version_1_become_what_they_are_today(path: Path) -> None:
    stored = json.loads(path.read_text(encoding="utf-8"))
    assert upgrade(stored["record"], 1) == stored["upgraded"]
    assert upgrade(stored["upgraded"], SCHEMA_VERSION) == stored["upgraded"]
    assert conforms(stored["upgraded"], ENTITIES[path.stem.partition("_")[2]]) == []


def test_there_is_a_stored_record_of_version_1_of_several_entities() -> None:
    assert len(list(STORED.glob("1_*.json"))) >= 3


@pytest.mark.parametrize("version", [0, -1, SCHEMA_VERSION + 1])
def test_a_version_that_there_never_was_is_refused(version: int) -> None:
    with pytest.raises(ValueError, match="no schema version"):
        upgrade({}, version)


def test_upgrading_leaves_its_argument_alone() -> None:
    record = {"phone": "+61412345678", "addresses": [{"country": "Australia"}]}
    upgrade(record, 1)
    assert record == {"phone": "+61412345678", "addresses": [{"country": "Australia"}]}


def conforms(value: dict[str, Any], part: Part, at: str = "") -> list[str]:
    """The fields of *value* that the schema does not know, or knows otherwise."""
    wrong = []
    for name, one in value.items():
        field = part.field(name)
        if field is None or (field.many != isinstance(one, list)):
            wrong.append(f"{at}{name}")
            continue
        for item in one if field.many else [one]:
            if field.kind not in SCALARS:
                wrong += conforms(item, PARTS[field.kind], f"{at}{name}.")
            elif not _is(item, field.kind, field.codes):
                wrong.append(f"{at}{name}")
    return wrong


def _is(value: Any, kind: str, codes: tuple[str, ...]) -> bool:
    if kind in ("text", "decimal", "date"):
        return value is None or (isinstance(value, str) and value != "")
    if kind == "enum":
        return value.keys() == {"code", "raw"} and value["code"] in codes
    if kind == "time":
        return {"utc", "zone"} <= value.keys() <= {"utc", "zone", "date"}
    if kind == "reference":
        return value.keys() <= {"feed", "id", "identifier", "text", "url"} and not {"id", "url"} <= value.keys()
    return kind == "json" or isinstance(value, {"int": int, "bool": bool}[kind])


@pytest.mark.parametrize("path", sorted((ROOT / "tests/fixtures/mapping").glob("*.json")), ids=lambda path: path.stem)
def test_what_mappers_make_is_of_the_schema(path: Path) -> None:
    source, _, feed = path.stem.partition("_")
    mapper = mappers().of(source, feed)
    assert mapper is not None
    for case in json.loads(path.read_text(encoding="utf-8")):
        assert conforms(case["record"], ENTITIES[mapper.entity]) == []


def test_the_hash_is_of_the_content_whatever_its_order() -> None:
    assert canonical_hash({"a": 1, "b": {"c": 2, "d": 3}}) == canonical_hash({"b": {"d": 3, "c": 2}, "a": 1})
    assert canonical_hash({"a": [1, 2]}) != canonical_hash({"a": [2, 1]})
    assert len(canonical_hash({"a": 1 << 80})) == 16


def schema_tables() -> str:
    """The canonical schema as Markdown: a table for each entity and part (docs/mapping.md holds it)."""
    pieces = []
    for title, parts in (("Entities", ENTITIES), ("Parts", PARTS)):
        pieces.append(f"### {title}\n")
        pieces += [_table(part) for part in parts.values()]
    return "\n".join(pieces)


def _table(part: Part) -> str:
    lines = [f"#### {part.name}\n", f"{part.about}\n", "| field | kind | what it is |", "| --- | --- | --- |"]
    for field in part.fields:
        kind = f"list of {field.kind}" if field.many else field.kind
        about = field.about + (f": {', '.join(field.codes)}" if field.codes else "")
        about += "; derived" if field.derived else ""
        about += "; a text alone goes here" if field.name == part.main else ""
        name = f"**{field.name}**" if field.required else field.name
        lines.append(f"| {name} | {kind} | {about} |")
    return "\n".join(lines) + "\n"


def test_the_schema_in_the_documentation_is_the_schema() -> None:
    text = (ROOT / "docs" / "mapping.md").read_text(encoding="utf-8")
    begin, end = "<!-- schema: made by tests/unit/test_mapping_schema.py -->\n", "<!-- end of schema -->"
    assert text.partition(begin)[2].partition(end)[0].strip() == schema_tables().strip()


def test_the_example_in_the_documentation_is_right(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "mapping.md").read_text(encoding="utf-8")
    example = text.partition("```toml\n# A whole mapper file")[2].partition("```")[0]
    (tmp_path / "own.toml").write_text("# A whole mapper file" + example, encoding="utf-8")
    result = run("mapping", "check", str(tmp_path / "own.toml"))
    assert result.exit_code == 0, result.output


def test_fields_are_named_by_their_paths() -> None:
    seen = Coverage()
    seen.add({"a": {"b": 1, "c": None}, "d": [{"e": 1}, {"f": []}], "g.h": [], "i": ["x"]})
    assert set(seen.held) == {"a.b", "d[].e", "i[]"}
    assert set(seen.empty) == {"a.c", "d[].f", "`g.h`"}


MAPPER = """
[[mapper]]
source = "csv"
feed = "patient"
entity = "patient"
zone = { source = "where.zone" }
[mapper.fields]
"names[]" = { source = "name[use=official]", fields = { family = "family", given = "given[]" } }
languages = "langs"
"extra.all" = "custom"
managing = "x"
[mapper.drop]
links = "navigation"
"name[].period" = "unused"
""".replace('managing = "x"\n', "")


@pytest.mark.parametrize(
    ("document", "unmapped"),
    [
        ({"name": [{"use": "official", "family": "x", "given": ["a"]}]}, set()),
        ({"name": [{"use": "old", "text": "x"}]}, {"name[].text"}),
        ({"name": [{"period": {"start": "2020"}}]}, set()),
        ({"name": "x"}, {"name"}),
        ({"name": None}, set()),
        ({"custom": {"any": [{"thing": 1}]}}, set()),
        ({"langs": ["a"]}, set()),
        ({"langs": [{"code": "a"}]}, {"langs[].code"}),
        ({"where": {"zone": "UTC", "else": 1}}, {"where.else"}),
        ({"links": {"self": "x"}, "linksmore": 1}, {"linksmore"}),
        ({"new": {}}, {"new"}),
    ],
)
def test_a_field_that_nobody_accounts_for_is_found(document: dict[str, Any], unmapped: set[str]) -> None:
    seen = Coverage()
    seen.add(document)
    mapper = mappers((MAPPER,)).of("csv", "patient")
    report = seen.report("csv", "patient", mapper)
    assert set(report.unmapped) == unmapped
    assert {*report.mapped, *report.dropped, *report.unmapped} == {*seen.held, *seen.empty}


def test_without_a_mapper_only_a_reason_accounts_for_fields() -> None:
    seen = Coverage()
    seen.add({"a": 1})
    assert seen.report("csv", "till", None).unmapped == {"a": 1}
    assert seen.report("csv", "till", None, "money").unmapped == {}


def run(*args: str) -> Result:
    return CliRunner().invoke(cli, list(args))


def test_show_tells_what_comes_from_where() -> None:
    data = json.loads(run("mapping", "show", "cliniko", "patient", "--json").output)
    assert data["entity"] == "patient"
    rules = {one["target"]: one for one in data["rules"]}
    assert rules["birth_date"] == {
        "target": "birth_date", "source": "date_of_birth", "converter": "date", "required": False, "note": "",
    }  # fmt: skip
    assert rules["phones[].raw"]["source"] == "patient_phone_numbers[].number"
    assert data["dropped"]["updated_at"]
    assert "date_of_birth" in run("mapping", "show", "cliniko", "patient").output
    assert "appointment" in run("mapping", "show").output


def test_show_of_a_mapper_that_there_is_not_is_a_usage_error() -> None:
    assert run("mapping", "show", "cliniko", "person").exit_code == 2


def test_check_tells_a_wrong_file_by_its_exit_code(tmp_path: Path) -> None:
    assert run("mapping", "check").exit_code == 0
    (tmp_path / "own.toml").write_text('[[mapper]]\nsource = "cliniko"\nfeed = "patient"\n[mapper.fields]\nage = "x"\n')
    result = run("mapping", "check", str(tmp_path / "own.toml"))
    assert result.exit_code == 2
    assert "patient has no such field" in result.output
    assert run("mapping", "check", str(tmp_path / "none.toml")).exit_code == 2
