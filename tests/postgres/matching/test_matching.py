"""Deduplication in Postgres: what is joined, who may undo it, and what is compared again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import orjson
import psycopg
import pytest
from click.testing import CliRunner, Result
from psycopg.conninfo import make_conninfo
from sqlalchemy import Engine, text

from medmirror.cli import cli
from medmirror.db import connect, locks, retry
from medmirror.errors import LockRaceLost, UsageError
from medmirror.ingest import canonicalstore as mapping
from medmirror.mapping import canonical_hash
from medmirror_testing.samples import duplicates, people

pytest.importorskip("splink")

from medmirror.matching import decisions, run, training
from medmirror.matching.run import DedupResult, Tally

ONE, TWO = people.person(1), people.person(2)


def record(one: people.Person, **changed: Any) -> dict[str, Any]:
    """A canonical patient."""
    made = {
        "names": [{"family": one.family, "given": [one.given]}],
        "birth_date": one.birth_date.isoformat(),
        "sex": {"code": one.sex.upper(), "raw": one.sex},
        "phones": [{"raw": one.phone, "e164": one.phone, "valid": True}],
        "addresses": [{"lines": [one.street], "city": one.city, "post_code": one.post_code}],
        **changed,
    }
    return {name: value for name, value in made.items() if value is not None}


def identifier(value: str) -> dict[str, Any]:
    return {"identifiers": [{"system": "national", "type": "NI", "value": value}]}


def put(
    engine: Engine, records: Mapping[str, dict[str, Any]], *, source: str = "a", org: str = "org_1", version: int = 1,
    entity: str = "patient",
) -> None:  # fmt: skip
    """Write canonical records by their ids, as a load does."""
    rows = [
        mapping.Row(entity, name, version, bytes(16), entity, orjson.dumps(one), canonical_hash(one), bytes(16), 2)
        for name, one in records.items()
    ]
    retry.in_transaction(engine, lambda conn: mapping.store(conn, source, org, 1, rows))


def dedup(engine: Engine, **options: Any) -> DedupResult:
    return run.deduplicate(engine, memory=1 << 30, **options)


def only(result: DedupResult) -> Tally:
    """What was found among patients of the one organisation."""
    (found,) = [one for one in result.found if one.entity == "patient"]
    return found


def statuses(engine: Engine, limit: int = 100) -> dict[tuple[str, str], str]:
    found, _ = decisions.find(engine, status=None, limit=limit)
    return {(one["left_id"], one["right_id"]): one["status"] for one in found}


def canonical(engine: Engine) -> dict[tuple[str, str], str]:
    """(source, id) to the source and id of the record whose own id it has for its canonical one."""
    with engine.connect() as conn:
        rows = conn.execute(text("SELECT source, source_id, own_id, canonical_id FROM medmirror.sync_mapping")).all()
    own = {row.own_id: f"{row.source}{row.source_id}" for row in rows}
    return {(row.source, row.source_id): own[row.canonical_id] for row in rows}


def together(engine: Engine, *ids: tuple[str, str]) -> bool:
    found = canonical(engine)
    return len({found[one] for one in ids}) == 1


def number(engine: Engine, left: str, right: str) -> int:
    found, _ = decisions.find(engine, status=None, limit=1000)
    return next(int(one["match_id"]) for one in found if (one["left_id"], one["right_id"]) == (left, right))


@pytest.fixture
def clinic(engine: Engine) -> Engine:
    """Two patients of source a, of whom one is in source b, too, and a twin of that one there."""
    put(engine, {"1": record(ONE), "2": record(TWO)})
    twin = record(ONE, names=[{"family": ONE.family, "given": ["Walpurga"]}])
    put(engine, {"8": record(ONE), "9": twin}, source="b")
    return engine


def test_the_same_person_gets_one_canonical_id_and_a_twin_waits(clinic: Engine) -> None:
    found = only(dedup(clinic))
    assert (found.records, found.changed, found.joined, found.review) == (4, 4, 1, 2)
    assert statuses(clinic) == {("1", "8"): "joined", ("1", "9"): "review", ("8", "9"): "review"}
    assert together(clinic, ("a", "1"), ("b", "8"))
    assert canonical(clinic)["b", "9"] == "b9"
    assert canonical(clinic)["a", "2"] == "a2"


def test_the_canonical_id_of_a_group_is_its_smallest_own_id(clinic: Engine) -> None:
    dedup(clinic)
    with clinic.connect() as conn:
        statement = text("SELECT bool_and(canonical_id = (SELECT min(own_id::text)::uuid FROM medmirror.sync_mapping"
                         " WHERE source_id IN ('1', '8'))) FROM medmirror.sync_mapping WHERE source_id IN ('1', '8')"
                         .replace("::", r"\:\:"))  # fmt: skip
        assert conn.scalar(statement)


def test_a_second_run_compares_nothing_and_changes_nothing(clinic: Engine) -> None:
    dedup(clinic)
    before = statuses(clinic), canonical(clinic), history(clinic)
    found = only(dedup(clinic))
    assert (found.changed, found.pairs, found.renamed) == (0, 0, 0)
    everything = only(dedup(clinic, everything=True))
    assert (everything.changed, everything.renamed) == (4, 0)
    assert (statuses(clinic), canonical(clinic), history(clinic)) == before


def history(engine: Engine) -> int:
    with engine.connect() as conn:
        return int(conn.scalar(text("SELECT count(*) FROM medmirror.match_decision")) or 0)


def test_organisations_never_meet(engine: Engine) -> None:
    put(engine, {"1": record(ONE)}, org="org_1")
    put(engine, {"1": record(ONE)}, org="org_2", source="b")
    result = dedup(engine)
    assert [one.organization for one in result.found if one.entity == "patient"] == ["org_1", "org_2"]
    assert statuses(engine) == {}
    put(engine, {"2": record(ONE)}, org="org_2", source="b")
    result = dedup(engine, organizations=["org_2"])
    assert {one.organization for one in result.found} == {"org_2"}
    assert canonical(engine)["a", "1"] == "a1"
    assert statuses(engine) == {("1", "2"): "joined"}


def test_a_new_record_is_compared_with_all_and_only_it(clinic: Engine) -> None:
    dedup(clinic)
    put(clinic, {"5": record(TWO)}, source="c")
    found = only(dedup(clinic))
    assert found.changed == 1
    assert statuses(clinic)["2", "5"] == "joined"
    assert together(clinic, ("a", "2"), ("c", "5"))


def test_a_link_is_withdrawn_when_its_record_becomes_another_person(clinic: Engine) -> None:
    dedup(clinic)
    put(clinic, {"8": record(people.person(3))}, source="b", version=2)
    found = only(dedup(clinic))
    assert found.changed == 3, "what is tied to it is judged again, too"
    assert statuses(clinic) == {("1", "8"): "undone", ("1", "9"): "review", ("8", "9"): "undone"}
    assert canonical(clinic)["b", "8"] == "b8"
    put(clinic, {"8": record(ONE)}, source="b", version=3)
    dedup(clinic)
    assert statuses(clinic)["1", "8"] == "joined"


def test_a_record_that_is_gone_takes_its_links_with_it(clinic: Engine) -> None:
    dedup(clinic)
    gone = mapping.Row("patient", "8", 2, bytes(16), "patient", gone=True)
    retry.in_transaction(clinic, lambda conn: mapping.store(conn, "b", "org_1", 1, [gone]))
    dedup(clinic)
    assert statuses(clinic)["1", "8"] == "undone"
    assert canonical(clinic)["b", "8"] == "b8"


def test_a_merged_patient_of_a_list_of_deletions_is_found_by_what_it_last_said(engine: Engine) -> None:
    put(engine, {"1": record(ONE), "2": record(ONE)})
    said = mapping.Deletion("patient", "1", "patient", 5)
    retry.in_transaction(engine, lambda conn: mapping.note_deletions(conn, "a", "org_1", 1, [said]))
    dedup(engine)
    assert statuses(engine) == {("1", "2"): "joined"}
    (found,), _ = decisions.find(engine, status="joined")
    assert found["evidence"]["deleted"] == ["left"]


def test_a_contradiction_that_comes_later_takes_the_whole_group_apart(engine: Engine) -> None:
    put(engine, {"1": record(ONE, **identifier("5550001"))})
    put(engine, {"8": record(ONE)}, source="b")
    dedup(engine)
    assert together(engine, ("a", "1"), ("b", "8"))
    put(engine, {"2": record(ONE, **identifier("7770002"))})
    dedup(engine)
    assert statuses(engine) == {("1", "2"): "review", ("1", "8"): "review", ("2", "8"): "review"}
    assert len(set(canonical(engine).values())) == 3


# What people say


def test_accepting_joins_and_undoing_parts_exactly_that(clinic: Engine) -> None:
    dedup(clinic)
    (said,) = decisions.apply(clinic, "accept", [number(clinic, "8", "9")], by="ann", reason="asked her")
    assert (said.before, said.status, said.together) == ("review", "joined", True)
    assert together(clinic, ("a", "1"), ("b", "8"), ("b", "9"))
    decisions.apply(clinic, "undo", [number(clinic, "8", "9")], by="ann")
    assert together(clinic, ("a", "1"), ("b", "8"))
    assert canonical(clinic)["b", "9"] == "b9"


def test_every_decision_is_kept_with_its_evidence(clinic: Engine) -> None:
    dedup(clinic)
    one = number(clinic, "8", "9")
    decisions.apply(clinic, "accept", [one], by="ann", reason="asked her")
    decisions.apply(clinic, "undo", [one], by="bob")
    kept = decisions.get(clinic, one)
    told = [(each["decided_by"], each["status"], each["grade"], each["reason"]) for each in kept["decisions"]]
    assert told == [
        ("medmirror dedup", "review", "model", None),
        ("ann", "joined", "user", "asked her"),
        ("bob", "undone", "user", None),
    ]
    assert kept["evidence"]["fields"]["given"]["says"] == "differ"


def test_what_people_said_outlasts_later_runs(clinic: Engine) -> None:
    dedup(clinic)
    decisions.apply(clinic, "reject", [number(clinic, "1", "9"), number(clinic, "8", "9")], by="ann")
    decisions.apply(clinic, "undo", [number(clinic, "1", "8")], by="ann")
    dedup(clinic, everything=True)
    assert statuses(clinic) == {("1", "8"): "undone", ("1", "9"): "rejected", ("8", "9"): "rejected"}
    assert not together(clinic, ("a", "1"), ("b", "8"))


def test_what_people_rejected_is_proposed_again_when_the_records_compare_otherwise(clinic: Engine) -> None:
    dedup(clinic)
    decisions.apply(clinic, "reject", [number(clinic, "1", "9")], by="ann")
    put(clinic, {"9": record(ONE, names=[{"family": ONE.family, "given": ["Walpurgis"]}])}, source="b", version=2)
    dedup(clinic)
    assert statuses(clinic)["1", "9"] == "rejected", "another name that differs as much is nothing new"
    put(clinic, {"9": record(ONE)}, source="b", version=3)
    dedup(clinic)
    assert statuses(clinic)["1", "9"] == "review", "the same name is; and a person has the last word"


def test_what_people_joined_stays_though_the_records_drift_apart(clinic: Engine) -> None:
    dedup(clinic)
    decisions.apply(clinic, "accept", [number(clinic, "1", "8")], by="ann")
    put(clinic, {"8": record(people.person(3))}, source="b", version=2)
    dedup(clinic)
    assert statuses(clinic)["1", "8"] == "joined"
    assert together(clinic, ("a", "1"), ("b", "8"))


def test_undoing_one_link_of_three_says_that_the_others_still_hold(engine: Engine) -> None:
    for source in ("a", "b", "c"):
        put(engine, {f"{source}1": record(ONE)}, source=source)
    dedup(engine)
    (said,) = decisions.apply(engine, "undo", [number(engine, "a1", "b1")], by="ann")
    assert said.together
    assert set(said.through) == {number(engine, "a1", "c1"), number(engine, "b1", "c1")}
    dedup(engine, everything=True)
    assert statuses(engine) == {("a1", "b1"): "undone", ("a1", "c1"): "review", ("b1", "c1"): "review"}
    assert len(set(canonical(engine).values())) == 3


def test_accepting_what_would_join_two_that_are_known_to_be_different_is_refused(engine: Engine) -> None:
    for source in ("a", "b", "c"):
        put(engine, {f"{source}1": record(ONE)}, source=source)
    dedup(engine)
    decisions.apply(engine, "reject", [number(engine, "a1", "b1")], by="ann")
    dedup(engine, everything=True)
    decisions.apply(engine, "accept", [number(engine, "a1", "c1")], by="ann")
    with pytest.raises(UsageError, match="somebody said are not"):
        decisions.apply(engine, "accept", [number(engine, "b1", "c1")], by="ann")
    assert statuses(engine)["b1", "c1"] == "review"
    assert not together(engine, ("b", "b1"), ("c", "c1"))


def test_a_rejection_can_be_undone(clinic: Engine) -> None:
    dedup(clinic)
    one = number(clinic, "1", "9")
    decisions.apply(clinic, "reject", [one], by="ann")
    decisions.apply(clinic, "undo", [one], by="ann")
    assert statuses(clinic)["1", "9"] == "review"


@pytest.mark.parametrize(("what", "match"), [("accept", "There is no match 4711"), ("undo", "There is no match 4711")])
def test_what_there_is_not_cannot_be_decided(clinic: Engine, what: str, match: str) -> None:
    dedup(clinic)
    with pytest.raises(UsageError, match=match):
        decisions.apply(clinic, what, [number(clinic, "1", "8"), 4711], by="ann")
    assert statuses(clinic)["1", "8"] == "joined"


def test_undoing_what_is_only_proposed_is_refused(clinic: Engine) -> None:
    dedup(clinic)
    with pytest.raises(UsageError, match="is review"):
        decisions.apply(clinic, "undo", [number(clinic, "1", "9")], by="ann")


# Beside others


def test_only_one_deduplication_at_a_time(clinic: Engine, dsn: str) -> None:
    with psycopg.connect(dsn) as other:
        other.execute("SELECT pg_advisory_xact_lock(%s)", [locks.DEDUPLICATION])
        with pytest.raises(LockRaceLost, match="12347"):
            dedup(clinic)
        with pytest.raises(LockRaceLost):
            decisions.apply(clinic, "accept", [1], by="ann")
    assert only(dedup(clinic)).joined == 1
    with clinic.connect() as conn:
        told = conn.execute(text("SELECT status FROM medmirror.run WHERE command = 'dedup' ORDER BY run_id")).scalars()
        assert list(told) == ["failed", "done"]


def test_a_record_that_a_load_changes_meanwhile_is_compared_the_next_time(clinic: Engine) -> None:
    def step(organization: str, entity: str) -> None:
        if entity == "practitioner":  # after the patients
            put(clinic, {"2": record(TWO, notes="moved")}, version=2)

    dedup(clinic, on_step=step)
    assert only(dedup(clinic)).changed == 1


def test_a_load_of_another_organisation_sees_no_match(clinic: Engine, dsn: str) -> None:
    dedup(clinic)
    for org, seen in (("org_1", 3), ("org_2", 0)):
        inside = connect.engine(dsn, organization=org)
        with inside.connect() as conn:
            for table in ("match", "match_decision"):
                assert conn.scalar(text(f"SELECT count(*) FROM medmirror.{table}")) == seen  # noqa: S608
        inside.dispose()


def test_as_a_user_who_owns_the_tables_but_is_no_superuser(dsn: str, database: Any) -> None:
    """Row-level security does not hold for a superuser, as the tests' own user is: what if it does?"""
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("DROP ROLE IF EXISTS medmirror_plain")
        conn.execute("CREATE ROLE medmirror_plain LOGIN PASSWORD 'plain' CREATEROLE")
        conn.execute("ALTER SCHEMA medmirror OWNER TO medmirror_plain")
        conn.execute("ALTER SCHEMA canonical OWNER TO medmirror_plain")
        rows = conn.execute("SELECT format('%I.%I', schemaname, tablename) FROM pg_tables"
                            " WHERE schemaname IN ('medmirror', 'canonical')").fetchall()  # fmt: skip
        for (name,) in rows:
            conn.execute(f"ALTER TABLE {name} OWNER TO medmirror_plain".encode())
        database_name = conn.info.dbname
        conn.execute(f'GRANT CREATE, TEMPORARY ON DATABASE "{database_name}" TO medmirror_plain'.encode())
    plain = connect.engine(make_conninfo(dsn, user="medmirror_plain", password="plain"))
    try:
        for org in ("org_1", "org_2"):
            put(plain, {"1": record(ONE), "2": record(ONE)}, org=org)
        result = dedup(plain)
        assert [(one.organization, one.joined) for one in result.found if one.entity == "patient"] == [
            ("org_1", 1),
            ("org_2", 1),
        ]
        decisions.apply(plain, "undo", [number(plain, "1", "2")], by="ann")
    finally:
        plain.dispose()
        with psycopg.connect(dsn, autocommit=True) as conn:
            # The server drops the temporary tables of a session after it has told its client good-bye.
            ended = "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE usename = 'medmirror_plain'"
            conn.execute(ended).fetchall()
            conn.execute("REASSIGN OWNED BY medmirror_plain TO CURRENT_USER")
            conn.execute("DROP OWNED BY medmirror_plain")
            conn.execute("DROP ROLE medmirror_plain")


# The command


@pytest.fixture
def mm(dsn: str) -> Any:
    def call(*args: object) -> Result:
        result = CliRunner().invoke(cli, [*map(str, args), "--dsn", dsn])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return call


@pytest.mark.shows_values("matches --show-values")
def test_the_commands_tell_keys_and_evidence_and_no_value_unless_asked(clinic: Engine, mm: Any) -> None:
    printed = mm("dedup").output
    listed = mm("matches", "list", "--status", "any")
    assert "birth_date" in listed.stdout
    found = json.loads(mm("matches", "list", "--json").stdout)
    assert (found["count"], {one["status"] for one in found["matches"]}) == (2, {"review"})
    one = found["matches"][0]["match_id"]
    printed += listed.output + mm("matches", "show", one).output + json.dumps(found)
    printed += mm("matches", "accept", one, "--by", "ann", "--reason", "asked").output
    assert "review -> joined" in printed
    printed += mm("matches", "undo", one, "--by", "ann", "--json").output
    for value in values(ONE):
        assert value not in printed
    shown = mm("matches", "list", "--show-values").output
    assert ONE.family in shown
    assert ONE.birth_date.isoformat() in shown


def values(one: people.Person) -> Iterable[str]:
    return one.family, one.given, one.birth_date.isoformat(), one.phone, one.street, people.MARK, "Walpurga"


def test_a_wrong_threshold_is_a_wrong_usage(clinic: Engine, mm: Any) -> None:
    assert mm("dedup", "--join-at", "0.5", "--review-at", "0.9").exit_code == 2
    assert mm("matches", "show", "4711").exit_code == 2


def test_training_needs_records(clinic: Engine, mm: Any) -> None:
    refused = mm("dedup", "train", "--org", "org_1")
    assert refused.exit_code == 2
    assert "5,000" in refused.stderr
    assert mm("dedup", "train", "--org", "org_1", "--reset").exit_code == 0


def test_a_model_trained_on_the_own_records_joins_no_strangers_either(engine: Engine) -> None:
    entries = list(duplicates.register(training.LEAST))
    for source in ("a", "b"):
        put(
            engine, {one.source_id: duplicates.canonical(one) for one in entries if one.source == source}, source=source
        )
    figures = training.train(engine, "org_1", "patient")
    assert figures is not None
    assert figures["birth_date.different"][0] > 0
    assert "phone.same" in figures
    assert figures["phone.same"][1] == 4e-3, "a household's telephone stays as weak as it was"
    dedup(engine)
    truth = duplicates.same_person(entries)
    joined = {tuple(sorted(pair)) for pair, status in statuses(engine, 10_000).items() if status == "joined"}
    assert not joined - truth
    assert len(joined) > 0.85 * len(truth)
    assert training.train(engine, "org_1", "patient", reset=True) is None


def test_a_sources_merges_are_followed_over_chains_and_taken_back(engine: Engine) -> None:
    """Chains of people who differ in everything, as they do when a merge was needed; rings; what the survivor says."""

    def merged(number: int, into: str | None = None, *, replaces: str | None = None) -> dict[str, Any]:
        links = {"merged_into": into and {"feed": "patient", "id": into}}
        several = {"replaces": replaces and [{"feed": "patient", "id": replaces}]}
        return record(people.person(number), **links, **several)

    put(engine, {"1": merged(1, "2"), "2": merged(2, "3"), "3": merged(3)})
    put(engine, {"4": merged(4, "5"), "5": merged(5, "4"), "6": merged(6, replaces="7"), "7": merged(7)})
    dedup(engine)
    for group in ("123", "45", "67"):
        assert together(engine, *(("a", one) for one in group)), group
    assert not together(engine, ("a", "1"), ("a", "4"))
    put(engine, {"1": merged(1), "6": merged(6)}, version=2)
    dedup(engine)
    assert canonical(engine)["a", "1"] == "a1", "taken out of the merge again"
    assert together(engine, ("a", "2"), ("a", "3"))
    assert not together(engine, ("a", "6"), ("a", "7"))
