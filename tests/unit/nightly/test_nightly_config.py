"""The TOML file: what it means, and that every mistake in it is told with file, table, key and an example."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from datetime import time
from pathlib import Path

import pytest

import places
from medmirror import sources
from medmirror.errors import UsageError
from medmirror.nightly import config as reading
from medmirror.nightly import inputs
from medmirror.nightly.config import Config
from medmirror.nightly.graph import parts

TENANT = next((name for name in sources.names() if sources.get(name).tenant), "")
needs_tenant = pytest.mark.skipif(not TENANT, reason="there is no source with organizations")

Write = Callable[[str], Config]


@pytest.fixture
def told(tmp_path: Path) -> Write:
    """Read a file of this text."""

    def read(text: str) -> Config:
        path = tmp_path / "nightly.toml"
        path.write_text(text, encoding="utf-8")
        return reading.read(path)

    return read


def test_six_lines_are_a_nightly(told: Write, tmp_path: Path) -> None:
    made = told(
        '[nightly]\nzone = "Europe/Berlin"\n[load.pubmed]\npaths = ["pubmed/"]\n[load.openfda]\npaths = "fda/"\n'
    )
    assert (made.name, made.at, made.until, made.zone.key) == ("nightly", time(2, 0), None, "Europe/Berlin")
    assert (made.limits.cpu, made.limits.statement_timeout, made.limits.workers) == (60, 600.0, None)
    assert [(load.name, load.source) for load in made.loads] == [("pubmed", "pubmed"), ("openfda", "openfda")]
    assert (made.loads[1].paths, made.loads[1].may_be_empty) == (("fda/",), False)
    assert made.receipts == tmp_path / "receipts"
    assert (made.deletions.limits.count, made.deletions.limits.share) == (10, 1.0)
    assert [part.name for part in parts(made)] == ["load.pubmed", "load.openfda", "index.pubmed", "index.openfda"]


def test_every_key_is_read(told: Write, tmp_path: Path) -> None:
    made = told(
        """
        [nightly]
        name = "all"
        at = "23:15"
        until = 05:30:00
        zone = "America/New_York"
        receipts = "/var/log/receipts"
        [limits]
        cpu = 45
        workers = 8
        connections = 20
        statement_timeout = "1h30m5s"
        [deletions]
        count = 0
        share = 2.5
        [dedup]
        enabled = false
        [index]
        heavy = true
        start = "03:00"
        [load.base]
        source = "pubmed"
        paths = ["base/*.xml", "more"]
        workers = 2
        [load.updates]
        source = "pubmed"
        paths = ["updates"]
        after = ["base"]
        heavy = true
        start = "01:00"
        may_be_empty = true
        """
    )
    assert (made.name, made.at, made.until) == ("all", time(23, 15), time(5, 30))
    assert made.receipts == Path("/var/log/receipts")
    assert made.limits == reading.Limits(45, 8, 20, 5405.0)
    assert (made.deletions.limits.count, made.deletions.limits.share) == (0, 2.5)
    assert (made.dedup.enabled, made.index.heavy, made.index.start) == (False, True, time(3, 0))
    assert [load.may_be_empty for load in made.loads] == [False, True]
    assert (made.loads[1].after, made.loads[1].when) == (("base",), reading.When(True, True, time(1, 0)))


def test_the_digest_is_of_the_file_and_of_the_mapping_files(told: Write, tmp_path: Path) -> None:
    text = '[load.pubmed]\npaths = "a"\nmapping = "m.toml"\n'
    (tmp_path / "m.toml").write_text("a = 1")
    first = told(text).digest
    assert told(text).digest == first
    assert told(text + "# more\n").digest != first
    (tmp_path / "m.toml").write_text("a = 2")
    assert told(text).digest != first


DOCUMENT = places.ROOT / "docs" / "nightly.md"


def test_the_files_in_the_documentation_are_read(told: Write, tmp_path: Path) -> None:
    short, full = re.findall(r"```toml\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    assert len(short.splitlines()) == 6
    assert len(parts(told(short))) == 4
    for name in ("patients.toml", "appointments.toml", "vsrx.toml"):
        (tmp_path / name).touch()
    made = told(full)
    assert (made.at, made.limits.cpu, made.deletions) == (time(2), 60, reading.Deletions(reading.When()))
    assert "map/clinic-c" in {part.name for part in parts(made)}


WRONG = {
    "nightly = 3": "nightly must be a table",
    "[nightly]\nat = '25:00'": r"\[nightly\] at: '25:00' is no time of day; write for example at = \"02:00\"",
    "[nightly]\nzone = 'Mars/Base'": r"\[nightly\] zone: 'Mars/Base' is no time zone; .*Europe/Berlin",
    "[nightly]\nzone = '../etc/passwd'": r"\[nightly\] zone: .* is no time zone",
    "[nightly]\nwhen = 1": r"\[nightly\] when is not known; the keys here are name, at, until",
    "[limits]\ncpu = 0": r"\[limits\] cpu: 0 is not a whole number from 5 to 100; write for example cpu = 60",
    "[limits]\ncpu = true": r"\[limits\] cpu: True is not a whole number",
    "[limits]\nworkers = '4'": r"\[limits\] workers: '4' is not a whole number from 1 to 1024",
    "[limits]\nstatement_timeout = 600": r"\[limits\] statement_timeout: 600 is no duration; .* = \"10m\"",
    "[limits]\nstatement_timeout = ''": r"\[limits\] statement_timeout: '' is no duration",
    "[deletions]\nshare = 101": r"\[deletions\] share: 101 is not a number from 0 to 100",
    "[map]\nenabled = 'no'": r"\[map\] enabled: 'no' is neither true nor false; .* enabled = false",
    "[extra]\na = 1": r"extra is not known; the keys here are nightly, limits, load",
    "[load.nobody]\npaths = 'a'": r"\[load.nobody\] source: 'nobody' is none of the sources .*pubmed",
    "[load.pubmed]": r"\[load.pubmed\] paths: nothing says where the records are; .* paths = \[\"exports/\"\]",
    "[load.pubmed]\npaths = [1]": r"\[load.pubmed\] paths: \[1\] is no list of such texts",
    "[load.pubmed]\npaths = ['a', 'a']": r"\[load.pubmed\] paths: it names one thing twice",
    "[load.pubmed]\npaths = 'a'\nafter = ['b']": r"\[load.pubmed\] after: 'b' is none of the other loads: pubmed",
    "[load.pubmed]\npaths = 'a'\nafter = ['pubmed']": r"\[load.pubmed\] after: 'pubmed' is none of the other loads",
    "[load.pubmed]\npaths = 'a'\norganization = 'x'": r"\[load.pubmed\] organization: .* belong to nobody",
    "[load.pubmed]\npaths = 'a'\nmapping = 'none.toml'": r"\[load.pubmed\] mapping: there is no file",
    "[load.pubmed]\npaths = 'a'\nurl_env = 'X'": r"\[load.pubmed\] paths: url_env is given, too",
    "[load.pubmed]\nurl = 'mysql://u:hush@h/d'": r"\[load.pubmed\] url is not known; .* url_env = \"CLINIC_URL\"",
    "[load.pubmed]\nurl_env = 'mysql://u:hush@h/d'": r"\[load.pubmed\] url_env: its value is not such a text",
    "[load.'a/b']\nsource = 'pubmed'\npaths = 'a'": r"\[load.a/b\] is not a name",
    "[nightly]\nat = '02:00'": "there is nothing to load; write for example",
    "a = ": r"is not TOML: Invalid value",
}


@pytest.mark.parametrize("text", WRONG)
def test_a_mistake_is_told_with_its_place_and_an_example(told: Write, text: str) -> None:
    with pytest.raises(UsageError, match=WRONG[text]) as caught:
        told(text)
    assert "nightly.toml" in str(caught.value)
    assert "hush" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        reading.read(tmp_path / "none.toml")


def test_loads_that_wait_for_one_another_in_a_circle_are_refused(told: Write) -> None:
    text = "[load.pubmed]\npaths='a'\nafter=['openfda']\n[load.openfda]\npaths='b'\nafter=['pubmed']\n"
    with pytest.raises(UsageError, match=r"in a circle: .*load\.openfda"):
        parts(told(text))


def test_only_takes_sources_or_loads_by_name(told: Write) -> None:
    made = told("[load.base]\nsource='pubmed'\npaths='a'\n[load.openfda]\npaths='b'\nafter=['base']\n")
    assert [part.name for part in parts(made, ["openfda"])] == ["load.openfda", "index.openfda"]
    assert [part.name for part in parts(made, ["base"])] == ["load.base", "index.pubmed"]
    with pytest.raises(UsageError, match="'cliniq' is neither a load nor a source of this file: base, openfda, pubmed"):
        parts(made, ["cliniq"])


@needs_tenant
@pytest.mark.parametrize("without", ["", "enabled = false"])
def test_some_loads_of_an_organization_judge_no_deletions(told: Write, without: str) -> None:
    made = told(f"""
    [load.north]
    source = "{TENANT}"
    organization = "a"
    paths = ["north"]
    [load.south]
    source = "{TENANT}"
    organizations = ["a", "b"]
    paths = ["{{organization}}/south"]
    {without}
    """)
    names = [part.name for part in parts(made, ["north"] if not without else [])]
    assert names == ["load.north/a", "map/a", "dedup/a"]
    assert {part.name for part in parts(made, ["south"]) if part.kind == "deletions"} == {f"deletions.{TENANT}/b"}
    whole = {part.name for part in parts(made, ["north", "south"]) if part.kind == "deletions"}
    assert whole == {f"deletions.{TENANT}/a", f"deletions.{TENANT}/b"}


@needs_tenant
def test_organizations_are_parts_of_their_own_and_each_stage_waits_for_those_before(told: Write) -> None:
    text = f"""
    [load.patients]
    source = "{TENANT}"
    organizations = ["a", "b"]
    paths = ["x/{{organization}}/patients"]
    [load.appointments]
    source = "{TENANT}"
    organizations = ["a", "b"]
    paths = ["x/{{organization}}/appointments"]
    after = ["patients"]
    """
    made = told(text)
    after = {part.name: set(part.after) for part in parts(made)}
    assert after["load.patients/a"] == set()
    assert after["load.appointments/a"] == {"load.patients/a"}
    assert after[f"deletions.{TENANT}/a"] == {"load.patients/a", "load.appointments/a"}
    assert after["map/a"] == {"load.patients/a", "load.appointments/a", f"deletions.{TENANT}/a"}
    assert after["dedup/b"] >= {"map/b", "load.appointments/b"}
    assert not any(name.endswith("/a") for name in after["dedup/b"])
    names = [part.name for part in parts(made)]
    assert all(names.index(one) < names.index(name) for name in names for one in after[name])
    load = next(part.load for part in parts(made) if part.name == "load.patients/b")
    assert load is not None
    assert [entry.path for entry in inputs.of(load, made.folder, "b")] == ["x/b/patients"]


@needs_tenant
@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ("paths = 'a'", r"organization: records of \w+ belong to one"),
        ("paths = 'a'\norganization = 'x'\norganizations = ['y']", r"organizations: organization is given, too"),
        ("paths = 'a'\norganizations = ['x', 'y']", r"paths: each of several organizations needs paths of its own"),
        ("paths = 'a'\norganization = '../x'", r"organization: '../x' is not such a text"),
    ],
)
def test_organizations_that_cannot_be_meant_are_refused(told: Write, lines: str, problem: str) -> None:
    with pytest.raises(UsageError, match=rf"\[load.{TENANT}\] {problem}"):
        told(f"[load.{TENANT}]\n{lines}\n")


def test_a_config_is_frozen(told: Write) -> None:
    made = told("[load.pubmed]\npaths='a'\n")
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.name = "other"  # type: ignore[misc]
