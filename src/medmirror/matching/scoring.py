"""Comparing records with splink, in a DuckDB of this process: from canonical records to a score for each pair.

DuckDB works in memory. Data that does not fit goes to files in a folder of its own, which only this user can read and
which is removed afterwards; that of a process that was killed, by the next one.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from medmirror.db import sql
from medmirror.errors import MedmirrorError, UsageError
from medmirror.matching.fields import BIRTH_DATE, DIFFER, FIELDS, GIVEN, OWN_NUMBER, Field, settings
from medmirror.matching.givennames import GIVEN_NAMES
from medmirror.matching.judging import ONE_LETTER, Compared
from medmirror.readers import scratch

SHARED_BY = 8  #: records; a telephone, mail address or identifier that more of them share is left out
MOST_IN_BLOCK = 400  #: records; a blocking key of more gives no candidates
NAMESAKES = 20  #: records with the same two names (by sound) that are compared for that reason alone
BEARERS = 2  #: people by name and birth date; an identifier that more of them share is none
FILLERS = (
    5  #: people that may be born on one day before the day counts as a filler (sql/scoring.sql says among how many)
)
NAMED = 4  #: birth dates of those who bear a given name, from which on it is a name and no slip
USUAL_RECORDS = 1000  #: imagined records with usual values that are added before the rarity of a name is counted
FOLDERS = "medmirror-matching-"  #: how the names of folders begin that hold what does not fit in memory
_BATCH = 10_000
_GIB = 1 << 30
_COLUMNS = ("source", "feed", "source_id", "changed", "gone", "names", "birth_date", "sex", "phones", "emails",
            "addresses", "identifiers", "card_place", "merged_into", "replaces")  # fmt: skip

Figures = Mapping[str, tuple[float, float]]
"""m and u by "field.level", where an organisation has its own."""


_JUDGED = ("rid", "source", "identifiers", "systems", "sex", "generation", "birth_date", "birth_turned", "nameless",
           "family", "given", "given_known", "givens", "own", "minor")  # fmt: skip


def _alike(field: Field) -> str:
    """The condition that two records are on a level of *field* that does not speak of two people."""
    cases = (
        f"WHEN {level.condition} THEN {level.says != DIFFER and level.name != ONE_LETTER}"
        for level in field.levels[:-1]
    )
    return f"CASE {' '.join(cases)} ELSE {field.levels[-1].says != DIFFER} END"


class Scored(NamedTuple):
    """A scored pair: record numbers (left below right), their comparison, which of them is deleted."""

    left: int
    right: int
    compared: Compared
    left_gone: bool
    right_gone: bool


class Scorer:
    """The records of one entity of one organisation, and the DuckDB that they are compared in. See ``open_scorer``."""

    def __init__(self, con: Any, entity: str) -> None:
        self._con, self._entity = con, entity

    def take(self, batches: Any) -> int:
        """Take over the records of *batches*, an Arrow reader or table of ``columns()``; return their number."""
        self._run("macros")
        self._con.register("canonical", batches)
        self._run("incoming")
        self._con.unregister("canonical")
        return self.prepare()

    def prepare(self) -> int:
        """Make the tables that are compared out of ``incoming``; return the number of records."""
        for name in ("shared values", "family numbers", "birth days", "given names", "person", "blocks", "pairs"):
            self._run(
                name, shared=SHARED_BY, most=MOST_IN_BLOCK, namesakes=NAMESAKES, bearers=BEARERS, filler=FILLERS,
                named=NAMED, names=" ".join(GIVEN_NAMES.split()),
            )  # fmt: skip
        return self._number("SELECT count(*) FROM person")

    def keys(self) -> dict[int, tuple[str, str, str]]:
        """(source, feed, id) of each record number."""
        return {row[0]: row[1:] for row in self._rows(sql.sections("scoring.sql")["keys"])}

    def score(self, review_at: float, figures: Figures | None = None) -> int:
        """Compare the candidate pairs; return their number.

        Pairs with the same identifier come first, and all are kept. Of the others, those with a probability of at least
        *review_at* are kept.
        """
        linker = self.linker(figures)
        register = linker._db_api.register
        self._run("keep pass")
        for sure in (True, False):
            self._run("pass", sure=sure)
            if self._number("SELECT count(*) FROM pairs_now") == 0:
                continue
            linker.table_management.register_blocked_pairs_for_predict(register("pairs_now"))
            least = None if sure else review_at
            predicted = linker.inference.predict(threshold_match_probability=least, warning_mode="never")
            names = [field.name for field in FIELDS[self._entity]]
            rare = {field.name for field in FIELDS[self._entity] if any(level.rarity for level in field.levels)}
            self._run(
                "add pass",
                levels=", ".join(f"gamma_{name}" for name in names),
                weights=", ".join(f"mw_{name}" + f" + mw_tf_adj_{name}" * (name in rare) for name in names),
                predicted=predicted.physical_name,
            )
            predicted.drop_table_from_database_and_remove_from_cache()
        return self._number("SELECT count(*) FROM pairs")

    def scored(self) -> Iterator[Scored]:
        """The pairs that ``score`` kept, by record numbers. Read all of them before the next query of this scorer."""
        cursor = self._con.execute(sql.sections("scoring.sql")["scored"])
        while rows := cursor.fetchmany(_BATCH):
            for left, right, probability, weight, levels, weights, same, left_gone, right_gone in rows:
                compared = Compared(probability, weight, tuple(levels), tuple(weights), same)
                yield Scored(left, right, compared, left_gone, right_gone)

    def contradictory(self, groups: Sequence[Iterable[int]], merged: Mapping[int, int]) -> set[int]:
        """The places of those *groups* of record numbers that hold two records which cannot be one person.

        Records of one name in *merged* are one, whatever they say.
        """
        import pyarrow

        members = [
            (place, number, merged.get(number, number)) for place, group in enumerate(groups) for number in group
        ]
        if not members:
            return set()
        places, numbers, names = zip(*members, strict=True)
        self._con.register("member", pyarrow.table({"component": places, "rid": numbers, "merged": names}))
        rows = self._rows(
            sql.sections("scoring.sql")["contradictions"].format(
                left_columns=", ".join(f"{name} AS {name}_l" for name in _JUDGED),
                right_columns=", ".join(f"{name} AS {name}_r" for name in _JUDGED),
                birth_missing=BIRTH_DATE.missing,
                birth_alike=_alike(BIRTH_DATE),
                given_missing=GIVEN.missing,
                given_alike=_alike(GIVEN),
                own=OWN_NUMBER,
            )
        )
        self._con.unregister("member")
        return {row[0] for row in rows}

    def linker(self, figures: Figures | None = None) -> Any:
        """A splink Linker over the records, with the model and the rarity of each name and birth date."""
        figures = figures or {}
        from splink import DuckDBAPI, Linker

        logging.getLogger("splink").setLevel(logging.ERROR)
        api = DuckDBAPI(self._con)
        count = self._number("SELECT count(*) FROM person")
        model = settings(self._entity, count, figures)
        linker = Linker(api.register("person"), model, log_level=None, validate_settings=False)
        for field in FIELDS[self._entity]:
            for level in field.levels:
                if level.rarity:
                    usual = figures.get(f"{field.name}.{level.name}", (level.m, level.u))[1]
                    self._run("rarity", column=level.rarity, weight=USUAL_RECORDS, usual=usual)
                    table = api.register(f"rarity_{level.rarity}")
                    linker.table_management.register_term_frequency_lookup(table, level.rarity)
        return linker

    def _run(self, name: str, **names: Any) -> None:
        # A result that is not read to its end keeps the connection from its next statement.
        self._rows(sql.sections("scoring.sql")[name].format(**names))

    def _rows(self, statement: str) -> list[Any]:
        return list(self._con.execute(statement).fetchall())

    def _number(self, statement: str) -> int:
        return int(self._rows(statement)[0][0])


def columns() -> tuple[str, ...]:
    """The columns that ``Scorer.take`` needs: text but for *changed* and *gone*; lists of parts as JSON text."""
    return _COLUMNS


@contextmanager
def open_scorer(entity: str, memory: int | None = None) -> Iterator[Scorer]:
    """A Scorer for records of *entity*. DuckDB may take *memory* bytes; None: half of the machine's.

    Raises UsageError when splink is not installed, MedmirrorError when the records cannot be compared.
    """
    try:
        import duckdb
        import pyarrow
        import splink  # noqa: F401
    except ImportError:
        raise UsageError("Deduplication needs more packages: pip install 'medmirror[matching]'.") from None
    memory = memory or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    with scratch.new_folder(FOLDERS) as folder:
        con = duckdb.connect()
        try:
            limits = sql.sections("scoring.sql")["limits"]
            con.execute(limits.format(memory=f"{max(memory, _GIB) // 1024}KiB", folder=folder)).fetchall()
            yield Scorer(con, entity)
        except (duckdb.Error, pyarrow.ArrowException) as error:
            # Their texts quote values.
            raise MedmirrorError("The records could not be compared.", error=type(error).__name__) from None
        finally:
            con.close()
