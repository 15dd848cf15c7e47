"""What a whole pass does not show any more: missing, then deleted, taken back, or withheld."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from sqlalchemy import Engine

import mirrors
from medmirror.db import ledger, retry, runs
from medmirror.ingest import canonicalstore as mapping
from medmirror.ingest import deletions as infer
from medmirror.ingest.canonical import seen
from medmirror.ingest.deletions import Limits, Pass, Verdict
from medmirror.model import Certificate, Counts, Item, Part

ORG = "org_1"
SOURCE = "cliniko"
COUNT = 2_300
LIMITS = Limits()  # at most 10, or 1 %
OPEN = replace(LIMITS, count=COUNT)
IDS = [f"{number * 7919}-é\x7f" if number % 100 == 0 else str(1_000_000_007 * number) for number in range(COUNT)]


class Clinic:
    """A clinic whose files hold what a test says; ``sees`` is a pass over one such file."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.run_id = self.begin()
        rows = [mapping.Row("patient", one, 1, bytes(16), "patient", b"{}", bytes(16), bytes(16), 1) for one in IDS]
        other = [mapping.Row("appointment", one, 1, bytes(16)) for one in IDS[:50]]
        gone = [mapping.Deletion("patient", IDS[-1], "patient", 5)]

        def store(conn: object, organization: str) -> None:
            mapping.store(conn, SOURCE, organization, self.run_id, [*rows, *other])  # type: ignore[arg-type]
            mapping.note_deletions(conn, SOURCE, organization, self.run_id, gone)  # type: ignore[arg-type]

        for organization in (ORG, "org_2"):
            retry.in_transaction(engine, lambda conn, whose=organization: store(conn, whose))

    def begin(self) -> int:
        """A run's number."""
        about = {"command": "test", "source": None, "host": "h", "pid": os.getpid(), "version": "0", "settings": {}}
        return retry.in_transaction(self.engine, lambda conn: runs.begin_run(conn, **about))  # type: ignore[arg-type]

    def file(self, name: str, ids: Iterable[str], feed: str = "patient", pieces: int = 7) -> int:
        """A file in the ledger with those records, in several chunks."""
        keys = [seen(Item(feed, (ORG, one), 1, 0, 0, 0)) for one in ids]
        facts = ledger.FileFacts(name, 1, hashlib.sha256(name.encode()).digest(), "{}")

        def add(conn: object) -> int:
            numbers = ledger.register_files(conn, SOURCE, self.run_id, [facts], ORG)  # type: ignore[arg-type]
            (number,) = numbers.values()
            for piece in range(pieces):
                part = Part(number, name, "", {}, piece, piece + 1, 0, b"")
                some = b"".join(keys[piece::pieces])
                ledger.add_chunk(conn, self.run_id, [part], [Counts()], 0.0, [some])  # type: ignore[arg-type]
            return number

        return retry.in_transaction(self.engine, add)

    def sees(
        self,
        name: str,
        ids: Iterable[str],
        *,
        whole: bool = True,
        limits: Limits = OPEN,
        evidence: bytes | None = None,
        feed: str = "patient",
    ) -> Verdict:
        """Judge a pass over one file that holds *ids*."""
        number = self.file(name, ids, feed)
        one = Pass(ORG, SOURCE, (number,), evidence or name.encode())
        certificate = Certificate((feed,), whole, None, 0, () if whole else ("a page is missing",))
        (verdict,) = infer.judge(self.engine, one, {feed: certificate}, limits, self.begin())
        return verdict

    def states(self, organization: str = ORG, feed: str = "patient") -> dict[str, str]:
        """State by id."""
        query = "SELECT source_id, state FROM medmirror.sync_mapping WHERE organization_id = %s AND feed = %s"
        return dict(mirrors.every(self.dsn, query, organization, feed))  # type: ignore[arg-type]

    @property
    def dsn(self) -> str:
        """Where it is."""
        with self.engine.connect() as conn:
            return str(conn.connection.driver_connection.info.dsn)  # type: ignore[union-attr]


@pytest.fixture
def clinic(engine: Engine) -> Clinic:
    """A clinic of 2,300 patients, the last of them deleted by its own word, beside another with the same ids."""
    return Clinic(engine)


def test_the_server_names_a_record_by_the_same_eight_bytes_and_no_two_alike(clinic: Clinic) -> None:
    query = (
        "SELECT source_id, substring(sha256(convert_to(feed || chr(31) || source_id, 'UTF8')) FROM 1 FOR 8)"
        " FROM medmirror.sync_mapping WHERE organization_id = %s AND feed = 'patient'"
    )
    found = {str(name): bytes(key) for name, key in mirrors.every(clinic.dsn, query, ORG)}  # type: ignore[call-overload]
    assert found == {one: seen(Item("patient", (ORG, one), 1, 0, 0, 0)) for one in IDS}
    assert len(set(found.values())) == COUNT


def test_a_pass_that_shows_all_changes_nothing(clinic: Clinic) -> None:
    before = clinic.states()
    verdict = clinic.sees("a", IDS)
    assert verdict[2:10] == (COUNT - 1, COUNT - 1, 0, 0, 0, COUNT, False, 0)
    assert clinic.states() == before
    assert before[IDS[-1]] == "deleted"
    assert set(before.values()) == {"active", "deleted"}


def test_unseen_by_one_whole_pass_is_missing_and_by_a_second_one_deleted(clinic: Clinic) -> None:
    first = clinic.sees("a", IDS[5:])
    assert (first.newly, first.again, first.written) == (5, 0, 5)
    assert {clinic.states()[one] for one in IDS[:5]} == {"missing"}
    second = clinic.sees("b", IDS[3:])  # two of the five are there again, and three are not
    assert (second.newly, second.again, second.back, second.written) == (0, 3, 2, 5)
    states = clinic.states()
    assert [states[one] for one in IDS[:6]] == ["deleted"] * 3 + ["active"] * 3
    query = "SELECT DISTINCT tombstone FROM medmirror.sync_mapping WHERE missing = 2"
    assert mirrors.one(clinic.dsn, query) == ("inferred",)
    third = clinic.sees("c", IDS)  # it was the export's fault all along
    assert (third.living, third.back) == (COUNT - 4, 3)
    assert set(clinic.states().values()) == {"active", "deleted"}
    assert [one for one, state in clinic.states().items() if state == "deleted"] == [IDS[-1]]


def test_the_same_files_again_confirm_nothing(clinic: Clinic) -> None:
    clinic.sees("a", IDS[5:])
    again = clinic.sees("a", IDS[5:])
    assert (again.newly, again.again, again.written) == (0, 0, 0)
    assert {clinic.states()[one] for one in IDS[:5]} == {"missing"}
    assert clinic.sees("b", IDS[5:]).again == 5


def test_a_partial_pass_misses_nothing_but_takes_back_what_it_shows(clinic: Clinic) -> None:
    assert clinic.sees("a", IDS[500:], whole=False)[2:10] == (COUNT - 1, COUNT - 501, 0, 0, 0, COUNT, False, 0)
    assert set(clinic.states().values()) == {"active", "deleted"}
    clinic.sees("b", IDS[2:])
    partial = clinic.sees("c", IDS[1:2], whole=False)
    assert (partial.back, partial.newly, partial.written, partial.whole) == (1, 0, 1, False)
    assert partial.reasons == ("a page is missing",)
    assert (clinic.states()[IDS[0]], clinic.states()[IDS[1]]) == ("missing", "active")


def test_a_partial_pass_never_moves_the_watermark(clinic: Clinic) -> None:
    query = "SELECT evidence, run_id FROM medmirror.whole_pass"
    clinic.sees("a", IDS, whole=False)
    assert mirrors.every(clinic.dsn, query) == []
    clinic.sees("b", IDS)
    moved = mirrors.one(clinic.dsn, query)
    clinic.sees("c", IDS[:100], whole=False)
    assert mirrors.one(clinic.dsn, query) == moved


@pytest.mark.parametrize(("missing", "withheld"), [(22, False), (23, True), (1_000, True)])
def test_more_than_one_per_cent_is_withheld(clinic: Clinic, missing: int, withheld: bool) -> None:
    verdict = clinic.sees("a", IDS[missing:], limits=LIMITS)
    assert (verdict.most, verdict.newly, verdict.withheld) == (22, missing, withheld)  # 1 % of 2,299
    assert verdict.written == (0 if withheld else missing)
    assert infer.status([verdict]) == ("rejects" if withheld else "done")
    assert list(clinic.states().values()).count("missing") == verdict.written


def test_of_few_records_ten_may_go(clinic: Clinic) -> None:
    ids = IDS[:50]
    assert clinic.sees("a", ids[11:], feed="appointment", limits=LIMITS).withheld
    verdict = clinic.sees("b", ids[10:], feed="appointment", limits=LIMITS)
    assert (verdict.most, verdict.newly, verdict.withheld, verdict.written) == (10, 10, False, 10)


def test_a_withheld_pass_still_takes_back_and_can_be_judged_again_with_other_limits(clinic: Clinic) -> None:
    clinic.sees("a", IDS[1:])
    held = clinic.sees("b", [*IDS[:1], *IDS[200:]], limits=LIMITS)
    assert (held.withheld, held.back, held.written) == (True, 1, 1)
    assert clinic.states()[IDS[0]] == "active"
    assert clinic.sees("b", [*IDS[:1], *IDS[200:]], limits=OPEN).newly == 199


def test_another_organization_and_another_feed_are_left_alone(clinic: Clinic) -> None:
    clinic.sees("a", IDS[100:])
    clinic.sees("b", IDS[100:])
    assert list(clinic.states().values()).count("deleted") == 101
    assert list(clinic.states("org_2").values()).count("deleted") == 1
    assert set(clinic.states(feed="appointment").values()) == {"unmapped"}


def test_what_was_written_is_of_the_runs_number(clinic: Clinic) -> None:
    clinic.sees("a", IDS[3:])
    changed = "SELECT count(*), min(run_id) > %s FROM medmirror.sync_mapping WHERE run_id <> %s"
    assert mirrors.one(clinic.dsn, changed, clinic.run_id, clinic.run_id) == (3, True)


def test_evidence_is_which_files_and_of_when(tmp_path: Path) -> None:
    path = tmp_path / "page-1.json"
    path.write_text("{}")
    file = {"source": "cliniko", "digest": "ab", "file_order": "{}", "path": str(path)}
    night = date(2026, 3, 10)
    first = infer.evidence([file], night)
    assert infer.evidence([file], date(2026, 3, 11)) == first  # nobody has written it since
    os.utime(path, ns=(1, 1))
    assert infer.evidence([file], night) != first
    assert infer.evidence([{**file, "digest": "cd"}], night) != infer.evidence([file], night)
    live = {**file, "source": "sql", "path": "a database"}
    assert infer.evidence([live], night) != infer.evidence([live], date(2026, 3, 11))
    assert infer.evidence([live], night) == infer.evidence([{**live, "digest": "of another pass"}], night)
    assert infer.evidence([file, live], night) == infer.evidence([live, file], night)


def test_certificates_of_several_loads_are_whole_only_together() -> None:
    pages = Certificate(("patient",), True, 5, 5)
    more = Certificate(("patient", "invoice"), False, None, 2, ("a page is missing",))
    found = infer.whole([pages, more])
    assert (found["patient"].whole, found["patient"].expected, found["patient"].seen) == (False, None, 7)
    assert found["patient"].reasons == ("a page is missing",)
    both = infer.whole([pages, Certificate(("patient",), True, 3, 3)])["patient"]
    assert (both.whole, both.expected, both.seen) == (True, 8, 8)
