"""The commands, statements and scripts of the pages do what the pages say, on sample files and local servers.

The commands of all pages are one walk through one database, in the order of ``WALK``. A command that is not run stands
in ``NOT_RUN`` with the reason; one that stands in neither fails the last test.
"""

from __future__ import annotations

import csv
import importlib.resources
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner
from sqlalchemy import create_engine

import medmirror
from medmirror.cli import cli
from medmirror.db import connect
from medmirror_testing import samples
from medmirror_testing.servers.clinikodata import Account
from medmirror_testing.servers.clinikoserver import KEY, ClinikoServer
from pages import Block, Command, all_blocks, blocks, commands

WALK = (
    "README.md",
    "docs/sync.md",
    "docs/mapping.md",
    "docs/nightly.md",
    "docs/matching.md",
    "docs/api.md",
    "docs/scheduling.md",
    "docs/conflicts.md",
    "docs/dead-letters.md",
)
NOT_RUN = {  # how a command of ours begins: why it is not run here; tests/unit/docs/test_blocks.py has other programs
    "medmirror --dsn $DSN diff": "tests/postgres/db/test_backup.py runs it after the restore",
    "medmirror bench": "measures for ten seconds; tests/postgres/cli/test_cli_database.py runs it on less",
    "medmirror serve": "stays until it is stopped; tests/service starts and stops it",
    "medmirror nightly nightly.toml --loop": "stays until it is stopped; tests/faults/nightly runs and kills it",
    "medmirror worker": "these lines need Amazon SQS; tests/postgres/jobs runs the queue against a double of it",
    "medmirror mirror": "asks the publishers' own servers; tests/remote/publishers runs it against doubles of them",
    "medmirror review show": "needs a second system in conflict; tests/postgres/sync/test_destination.py has many",
    "medmirror review decide": "needs a second system in conflict; tests/postgres/sync/test_destination.py has many",
    "medmirror organizations add org_123 --remote cliniko --secret env:CLINIKO_KEY --set user_agent=My Clinic "
    "Mirror (it@clinic.example) --destination": "would write to a second system; tests/postgres/sync has it",
}
STAYS = {"medmirror scheduler": "stays until it is stopped; tests/faults/schedule starts and kills it"}
PYTHON_NOT_RUN = {
    "README.md#adding-a-source:1": "tests/contract/test_readme_source.py makes a source of it and loads a file",
    "docs/adding-a-remote.md#adding-a-remote:1": "tests/unit/docs/test_blocks.py runs it; it needs no database",
}
SQL_NOT_RUN = {
    "README.md#adding-a-source:2": "tests/contract/test_readme_source.py migrates with it",
    **{
        block.name: "tests/postgres/test_queries.py asks it of generated data, with values for its variables"
        for block in blocks("docs/queries.md", "sql")
        if block.text.startswith(("SELECT", "WITH"))
    },
}


@dataclass
class Scene:
    """The folder, databases and clinic that the pages' commands are run in; *digest* is of the plan made last."""

    folder: Path
    dsn: str
    other_dsn: str
    clinic: ClinikoServer
    digest: str = ""
    kept: dict[str, str] = field(default_factory=dict)

    def meant(self, word: str) -> str:
        """What *word* of a page stands for here; a pair of records is the same pair as long as the walk lasts."""
        if word not in NAMES:
            return word
        meaning = self.kept.get(word) or NAMES[word](self)
        if word in PAIRED:
            self.kept[word] = meaning
        return meaning

    def value(self, statement: str, place: int = 0) -> str:
        """The first column of row *place* of what *statement* finds."""
        with psycopg.connect(self.dsn) as connection:
            connection.execute("SET medmirror.organization = '*'")
            rows = connection.execute(statement).fetchall()  # type: ignore[arg-type]
        assert len(rows) > place, f"nothing to run the page's command on: {statement}"
        return str(rows[place][0])


PAIRED = ("17", "18", "19")
PAIRS = "SELECT match_id FROM medmirror.match ORDER BY status <> 'review', match_id"
NAMES: dict[str, Callable[[Scene], str]] = {  # what a page writes: what it stands for here
    "FILE...": lambda scene: "pubmed26n1335.xml.gz",
    "DSN": lambda scene: scene.dsn,
    "OTHER_DSN": lambda scene: scene.other_dsn,
    "mysql+pymysql://reader@host/vsrx": lambda scene: f"sqlite:///{scene.folder / 'vsrx.db'}",
    "KEY_ID": lambda scene: scene.value("SELECT key_id FROM medmirror.api_key ORDER BY created_at DESC"),
    "N": lambda scene: scene.value("SELECT run_id FROM medmirror.run WHERE command = 'nightly' ORDER BY 1 DESC"),
    "DIGEST": lambda scene: scene.digest,
    "12": lambda scene: scene.value("SELECT dead_letter_id FROM medmirror.dead_letter ORDER BY state <> 'open', 1"),
    "F": lambda scene: scene.value("SELECT fingerprint FROM medmirror.dead_letter ORDER BY state <> 'open'"),
    "17": lambda scene: scene.value(PAIRS, 0),
    "18": lambda scene: scene.value(PAIRS, 1),
    "19": lambda scene: scene.value(PAIRS, 2),
}


@pytest.fixture(scope="module")
def scene(
    database: Callable[[], AbstractContextManager[str]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scene]:
    """Files under the names that the pages use, an empty mirror, and a local Cliniko of twenty patients."""
    folder = tmp_path_factory.mktemp("pages")
    _write_files(folder)
    account = Account()
    account.fill(patients=20, appointments=20)
    with (
        database() as dsn,
        database() as other_dsn,
        ClinikoServer(account, limit=None) as clinic,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.chdir(folder)
        patch.setenv("MEDMIRROR_DSN", dsn)
        patch.setenv("MEDMIRROR_HOME", str(folder / "home"))
        patch.setenv("MEDMIRROR_WORKERS", "1")
        patch.setenv("CLINIKO_KEY", KEY)
        yield Scene(folder, dsn, other_dsn, clinic)


def _write_files(folder: Path) -> None:
    samples.write_pubmed(folder / "pubmed26n1335.xml.gz", 30, number=1335)
    (folder / "pubmed").mkdir()
    samples.write_pubmed(folder / "pubmed/pubmed26n1336.xml.gz", 10, number=1336)
    (folder / "baseline").mkdir()
    samples.write_pubmed(folder / "baseline/pubmed26n0001.xml.gz", 10)
    (folder / "studies-dir").mkdir()
    for name in ("ctg-studies.json", "NCT00000102.json", "studies-dir/1.json", "studies.json", "studies.zip"):
        samples.write_studies(folder / name, 3, big=False)
    samples.write_openfda(folder / "drug-label-0001-of-0013.json.zip", "label", 5)
    samples.write_openfda(folder / "drug-ndc-0001-of-0001.json.zip", "ndc", 5)
    for name in ("export-dir", "export", "bulk-export"):
        (folder / name).mkdir()
    for name in ("export-dir", "export"):
        samples.write_cliniko(folder / name, patients=20, appointments=20)
    samples.write_fhir(folder / "bulk-export", patients=5)
    samples.write_bundle(folder / "bundle.json")
    samples.write_fhir_lines(folder / "Patient.000.ndjson.gz", 5)
    (folder / "patients.toml").write_text(samples.PMS_MAPPINGS["patient"], encoding="utf-8")
    samples.write_pms_csv(folder / "patients.csv", "patient", 20)
    _add_twins(folder / "patients.csv", 4)
    vsrx = importlib.resources.files("medmirror.mapping").joinpath("examples", "vsrx.toml")
    (folder / "vsrx.toml").write_text(vsrx.read_text(encoding="utf-8"), encoding="utf-8")
    engine = create_engine(f"sqlite:///{folder / 'vsrx.db'}")
    with engine.begin() as connection:
        samples.write_practice(connection, 5)
    engine.dispose()
    own = next(block for block in blocks("docs/mapping.md", "toml") if "cliniko" in block.text)
    (folder / "own.toml").write_text(own.text, encoding="utf-8")
    night = blocks("docs/nightly.md", "toml")[0].text  # the six lines, and the clinic that a command of the page names
    clinic = '[load.cliniko]\norganization = "org_123"\npaths = ["export/"]\n'
    (folder / "nightly.toml").write_text(f"{night}{clinic}[limits]\ncpu = 100\n", encoding="utf-8")


def _add_twins(path: Path, count: int) -> None:
    """Give *count* patients of the export a twin: all is equal but the given name, and a card is not named."""
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    twins = [
        {**row, "Patient No": f"9{row['Patient No']}", "First Name": f"Xaver{number}", "Medicare No": ""}
        for number, row in enumerate(rows[:count])
    ]
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows([*rows, *twins])


def test_the_walk_through_all_pages(scene: Scene) -> None:
    for page in WALK:
        for block in blocks(page, "sh"):
            for command in commands(block):
                if _why_not(command) is None:
                    if command.words[1] == "dead-letters":
                        _make_a_letter(scene)
                    _run(scene, command)


def _run(scene: Scene, command: Command) -> None:
    words: list[str] = []
    for word in command.words[1:]:
        is_pattern = re.search(r"\w\*\.", word)
        words += sorted(path.name for path in scene.folder.glob(word)) if is_pattern else [scene.meant(word)]
    if words[:2] == ["organizations", "add"]:
        words += ["--set", f"url={scene.clinic.url}"]
    as_json = "--plan" in words and words[0] == "nightly"
    result = CliRunner().invoke(cli, [*words, "--json"] if as_json else words)
    assert result.exit_code in (0, 3), f"{command.block.name}: {command.text}\n{result.output}"
    if as_json:
        scene.digest = json.loads(result.stdout)["digest"]


def _make_a_letter(scene: Scene) -> None:
    """Have a sync of the clinic given up, if no letter is open: its key is refused."""
    if scene.value("SELECT count(*) FROM medmirror.dead_letter WHERE state = 'open'") != "0":
        return
    os.environ["CLINIKO_KEY"] = "MS0xLXdyb25n-au1"
    try:
        CliRunner().invoke(cli, ["sync", "org_123", "--force-full", "--wait"])
    finally:
        os.environ["CLINIKO_KEY"] = KEY


def _why_not(command: Command) -> str | None:
    words = " ".join(command.words)
    if command.words[0] != "medmirror":
        return "another program"
    return STAYS.get(words) or next((why for start, why in NOT_RUN.items() if words.startswith(start)), None)


def test_every_command_is_in_the_walk_or_has_a_reason() -> None:
    every = [command for block in all_blocks("sh") for command in commands(block)]
    left = [c.text for c in every if _why_not(c) is None and c.block.page not in WALK]
    assert left == []
    texts = [" ".join(command.words) for command in every]
    assert [start for start in NOT_RUN if not any(text.startswith(start) for text in texts)] == []


def _python(block: Block) -> bool:
    return block.name not in PYTHON_NOT_RUN


@pytest.mark.parametrize("block", [b for b in all_blocks("python") if _python(b)], ids=lambda block: block.name)
def test_a_script_of_a_page_runs(scene: Scene, block: Block) -> None:
    names: dict[str, Any] = {"medmirror": medmirror}
    if "engine" in block.text:
        names["engine"] = connect.engine(scene.dsn)
    if "to_canonical(document)" in block.text:
        names["document"] = {"id": "1", "first_name": "Ann", "last_name": "Bell", "date_of_birth": "1980-01-02"}
    text = block.text.replace("postgresql:///mirror", scene.dsn)
    exec(compile(text, block.name, "exec"), names)
    if "engine" in names:
        names["engine"].dispose()


@pytest.mark.parametrize("block", [b for b in all_blocks("sql") if b.name not in SQL_NOT_RUN], ids=lambda b: b.name)
def test_a_statement_of_a_page_runs(dsn: str, block: Block) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute(block.text)  # type: ignore[arg-type]
