"""ClinicalTrials.gov mirrored from a local server: pages, tokens, totals, and data that change meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from medmirror.errors import LayoutChanged, ListingIncomplete, PageExpired, UsageError
from medmirror.publishers import clinicaltrials
from medmirror_testing.servers.clock import SimulatedClock
from medmirror_testing.servers.trialsserver import TrialsServer
from publishing import Mirror


@pytest.fixture
def registry() -> Iterator[TrialsServer]:
    """Seven studies, one updated a day, in pages of three."""
    with TrialsServer() as made:
        made.most = 3
        for ordinal in range(7):
            made.put_study(ordinal, f"2026-01-{10 + ordinal:02d}")
        made.timestamp = "2026-01-16T09:00:05"
        yield made


@pytest.fixture
def mirror(registry: TrialsServer, dsn: str, tmp_path: Path) -> Iterator[Mirror]:
    time = SimulatedClock(datetime(2026, 1, 20, tzinfo=UTC))
    mirrored = Mirror("clinicaltrials", registry.url, dsn, tmp_path / "here", time)
    yield mirrored
    assert mirrored.books_are_right()


def held(mirror: Mirror) -> set[str]:
    return {row[0] for row in mirror.ask("SELECT nct_id FROM clinicaltrials.study WHERE NOT deleted")}


def test_everything_comes_at_first_and_then_what_was_updated_since_the_day_before(
    registry: TrialsServer, mirror: Mirror
) -> None:
    made = mirror.run()
    assert (made.status, made.inserted, made.marks) == ("done", 7, {"studies": "2026-01-16T09:00:05"})
    assert held(mirror) == set(registry.studies)
    assert mirror.files() == []
    queries = [dict(one.query) for one in registry.asked("/studies")]
    assert [one.pop("pageToken", None) is None for one in queries] == [True, False, False]
    assert queries[0] == queries[1] == queries[2]  # later pages repeat what the first was asked for
    before = registry.server.total
    assert mirror.run().status == "nothing new"
    assert registry.server.total == before + 1
    registry.timestamp = "2026-01-18T09:00:05"
    new = registry.put_study(20, "2026-01-18")
    late = registry.put_study(21, "2026-01-15")  # posted under the day before the last mirror's
    made = mirror.run()
    asked = registry.asked("/studies")[-1].value("filter.advanced")
    assert asked == "AREA[LastUpdatePostDate]RANGE[2026-01-15,MAX]"
    assert set(made.new) >= {new, late}
    assert held(mirror) == set(registry.studies)
    assert mirror.books_are_right()


def test_an_expired_token_begins_the_list_again(registry: TrialsServer, mirror: Mirror) -> None:
    registry.faults.add("expired", times=2)
    made = mirror.run()
    assert held(mirror) == set(registry.studies)
    assert sum("read again" in note for note in made.notes) == 2


def test_tokens_that_always_expire_leave_the_mark_where_it_was(registry: TrialsServer, mirror: Mirror) -> None:
    registry.faults.add("expired")
    with pytest.raises(PageExpired):
        mirror.run()
    assert mirror.ask("SELECT count(*) FROM medmirror.mirror_mark") == [(0,)]


def test_a_list_that_gives_fewer_than_it_says_is_not_whole(registry: TrialsServer, mirror: Mirror) -> None:
    registry.missing = {sorted(registry.studies)[2]}
    with pytest.raises(ListingIncomplete, match="7 studies, and 6 came"):
        mirror.run()
    assert mirror.ask("SELECT count(*) FROM medmirror.mirror_mark") == [(0,)]
    assert len(held(mirror)) == 6  # what came is true
    registry.missing = set()
    assert mirror.run().inserted == 1


def test_data_that_change_meanwhile_leave_the_mark_at_what_they_were_before(
    registry: TrialsServer, mirror: Mirror
) -> None:
    def change(path: str) -> None:
        if path == "/studies":
            registry.timestamp = "2026-01-17T09:00:05"

    registry.before = change
    made = mirror.run()
    assert made.marks == {"studies": "2026-01-16T09:00:05"}
    assert any("changed while they were read" in note for note in made.notes)
    assert mirror.run().status == "done"  # from there


def test_a_study_that_comes_while_the_list_is_read_has_it_read_again(registry: TrialsServer, mirror: Mirror) -> None:
    added: list[str] = []

    def add(path: str) -> None:
        if len(registry.asked("/studies")) == 2 and not added:
            added.append(registry.put_study(30, "2026-01-16"))

    registry.before = add
    mirror.run()
    assert held(mirror) == set(registry.studies)


def test_studies_that_were_removed_show_in_a_whole_list(registry: TrialsServer, mirror: Mirror) -> None:
    mirror.run()
    gone = sorted(registry.studies)[3]
    kept = registry.studies.pop(gone)
    assert mirror.run(whole=True).vanished == {"study": 1}
    assert gone in held(mirror)
    made = mirror.run(whole=True, tombstones=True)
    assert (made.tombstoned, gone in held(mirror)) == (1, False)
    registry.studies[gone] = kept
    registry.put_study(3, "2026-01-25")
    registry.timestamp = "2026-01-25T09:00:05"
    mirror.run()
    assert gone in held(mirror)  # it is back
    assert mirror.books_are_right()


def test_a_list_that_has_shrunk_too_much_buries_nothing(
    registry: TrialsServer, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medmirror.publishers.vanished._FEW", 1)
    mirror.run()
    for number in sorted(registry.studies)[:3]:
        del registry.studies[number]
    with pytest.raises(ListingIncomplete, match="would vanish"):
        mirror.run(whole=True, tombstones=True)
    assert len(held(mirror)) == 7


def test_pages_are_loaded_as_they_pile_up_and_a_kill_between_costs_nothing(
    registry: TrialsServer, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror.killed_at("loaded")
    monkeypatch.setattr(clinicaltrials, "BATCH_BYTES", 1)
    made = mirror.run()
    assert (made.inserted, len(made.runs), mirror.files()) == (0, 3, [])
    assert held(mirror) == set(registry.studies)


def test_a_storm_is_ridden_out(registry: TrialsServer, mirror: Mirror) -> None:
    registry.faults.add("unavailable", chance=0.3)
    registry.faults.add("truncated", chance=0.2)
    registry.faults.add("limited", times=2, how="date")
    mirror.run()
    assert held(mirror) == set(registry.studies)


def test_what_is_asked_for_wrongly_is_said_so(registry: TrialsServer, mirror: Mirror) -> None:
    with pytest.raises(UsageError, match="2026-01-31"):
        mirror.run(since="yesterday")
    made = mirror.run(dry_run=True, since="2026-01-12")
    assert made.new == ["5 studies since 2026-01-12"]
    registry.timestamp = ""
    with pytest.raises(LayoutChanged, match="dataTimestamp"):
        mirror.run()
