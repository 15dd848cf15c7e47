"""Time zones: the same rules on every machine, in every process."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

import places
from medmirror.dates import zones

ASK = """
import pickle, sys
from datetime import datetime
from zoneinfo import ZoneInfo
from medmirror.dates import zones, instants
summer = datetime(2026, 7, 1, 12)
print(summer.replace(tzinfo=ZoneInfo("Europe/Berlin")).utcoffset())
print(summer.replace(tzinfo=zones.zone("Europe/Berlin")).utcoffset())
print(summer.replace(tzinfo=pickle.loads(pickle.dumps(zones.zone("Europe/Berlin")))).utcoffset())
print(instants.clock(("iso",), "Europe/Berlin")("2026-07-01T12:00"))
"""


def test_the_machines_own_rules_change_nothing(tmp_path: Path) -> None:
    false = tmp_path / "Europe" / "Berlin"
    false.parent.mkdir()
    false.write_bytes(files("tzdata").joinpath("zoneinfo", "Asia", "Tokyo").read_bytes())
    environment = {**os.environ, "PYTHONTZPATH": str(tmp_path)}
    answer = subprocess.run([sys.executable, "-c", ASK], env=environment, check=True, capture_output=True, text=True)
    machine, *ours = answer.stdout.split()
    assert machine == "9:00:00", "the false rules are not seen: this test proves nothing"
    assert ours == ["2:00:00", "2:00:00", "1782900000000000"]


def test_a_zone_goes_to_another_process_as_the_same_object() -> None:
    berlin = zones.zone("Europe/Berlin")
    assert zones.zone("Europe/Berlin") is berlin
    assert pickle.loads(pickle.dumps(berlin)) is berlin  # noqa: S301 - bytes of our own
    assert copy.deepcopy(berlin) is berlin
    moment = datetime(2026, 10, 25, 2, 30, tzinfo=berlin, fold=1)
    assert pickle.loads(pickle.dumps(moment)).utcoffset() == timedelta(hours=1)  # noqa: S301
    assert (berlin.key, str(berlin)) == ("Europe/Berlin", "Europe/Berlin")
    assert isinstance(berlin, ZoneInfo)


def test_a_name_an_offset_or_utc() -> None:
    noon = datetime(2026, 7, 1, 12)
    for name, hours in {"UTC": 0.0, "Z": 0.0, "+10:00": 10.0, "-0330": -3.5, "Europe/Berlin": 2.0}.items():
        assert noon.replace(tzinfo=zones.zone_or_offset(name)).utcoffset() == timedelta(hours=hours)
    assert zones.zone_or_offset("UTC") is UTC


@pytest.mark.parametrize(
    "name", ["Mars/Olympus", "../../etc/passwd", "zone.tab", "", "Europe", "+10:00", "/etc/localtime"]
)
def test_a_zone_that_there_is_not_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="time zone"):
        zones.zone(name)


def test_no_module_asks_the_machine_for_a_zone() -> None:
    house = places.ROOT / "src" / "medmirror"
    asking = [path.name for path in house.rglob("*.py") if "ZoneInfo(" in path.read_text().replace("(ZoneInfo)", "")]
    assert asking == ["zones.py"], "only its docstring: use dates.zones.zone"


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("Sydney", "Australia/Sydney"),
        ("AUS Eastern Standard Time", "Australia/Sydney"),
        ("aus eastern daylight time", "Australia/Sydney"),
        ("Eastern Time (US & Canada)", "America/New_York"),
        ("(GMT-05:00) Eastern Time (US & Canada)", "America/New_York"),
        ("(UTC+01:00) Amsterdam, Berlin, Bern, Rome, Stockholm, Vienna", "Europe/Vienna"),
        ("W. Europe Standard Time", "Europe/Berlin"),
        ("AEST", "+10:00"),
        ("aedt", "+11:00"),
        (" australia/sydney ", "Australia/Sydney"),
        ("America/New York", "America/New_York"),
        ("utc", "UTC"),
        ("(UTC) Coordinated Universal Time", "UTC"),
        ("UTC+10", "+10:00"),
        ("gmt-3:30", "-03:30"),
        ("+1000", "+10:00"),
    ],
)
def test_a_zone_is_known_by_what_systems_call_it(word: str, name: str) -> None:
    assert zones.named(word) == name
    zones.zone_or_offset(name)


@pytest.mark.parametrize(
    "word",
    ["Australia/Melborne", "EST", "CST", "IST", "BST", "Factory", "", "10", "+99:00", "+10:75", "(UTC+10:00)", "?"],
)
def test_a_zone_that_is_none_or_means_several_is_not_guessed_at(word: str) -> None:
    with pytest.raises(ValueError, match=r"zone|offset"):
        zones.named(word)


def test_every_name_of_windows_and_rails_leads_to_a_zone() -> None:
    for name in zones._names().values():  # an entry that leads nowhere would be a problem of every record
        zones.zone_or_offset(name)
