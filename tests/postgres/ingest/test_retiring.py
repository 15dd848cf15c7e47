"""Records that others replace by the publisher's own word: the old one goes, whatever was loaded first."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine

import medmirror
from medmirror import search
from medmirror.settings import Settings
from medmirror.verify.audit import audit


@pytest.fixture
def settings(dsn: str) -> Settings:
    """Settings on this test's database."""
    return replace(Settings.from_environment(environ={}), dsn=dsn, workers=1)


class Loads:
    """Loads of small files, one after the other."""

    def __init__(self, settings: Settings, folder: Path, source: str) -> None:
        self.settings, self.folder, self.source, self.number = settings, folder, source, 0

    def load(self, *documents: Any) -> medmirror.Result:
        self.number += 1
        (self.folder / f"{self.number}.json").write_text("\n".join(map(json.dumps, documents)))
        result = medmirror.load(self.source, self.folder / f"{self.number}.json", settings=self.settings)
        assert (result.rejected, result.exit_code) == (0, 0)
        return result

    def ask(self, query: str) -> list[Any]:
        with psycopg.connect(str(self.settings.dsn)) as connection:
            return [row[0] if len(row) == 1 else row for row in connection.execute(query)]  # type: ignore[arg-type]

    def living(self) -> list[int]:
        return [int(nct_id[3:]) for nct_id in self.ask(f"{STUDIES} WHERE NOT deleted ORDER BY 1")]


STUDIES = "SELECT nct_id FROM clinicaltrials.study"
PRODUCTS = "SELECT product_id FROM openfda.ndc WHERE NOT deleted ORDER BY 1"


def nct(number: int) -> str:
    return f"NCT{number:08}"


def study(number: int, *aliases: int, updated: str = "2024-05-01") -> dict[str, Any]:
    naming = {"nctId": nct(number), "briefTitle": f"Study {number}", "nctIdAliases": list(map(nct, aliases))}
    status = {"lastUpdatePostDateStruct": {"date": updated}}
    protocol = {"identificationModule": naming, "statusModule": status}
    return {"protocolSection": protocol, "derivedSection": {"miscInfoModule": {"versionHolder": "2024-06-01"}}}


Copy = tuple[int, tuple[int, ...], str]
CASES: dict[str, tuple[list[Copy], list[int], dict[int, int]]] = {
    "an alias": ([(1, (), "2024-05-01"), (0, (1,), "2024-05-01")], [0], {1: 0}),
    "an old study updated later": ([(1, (), "2024-06-09"), (0, (1,), "2024-05-01")], [0], {1: 0}),
    "a chain": ([(2, (), "2024-05-01"), (1, (2,), "2024-05-01"), (0, (1,), "2024-05-01")], [0], {1: 0, 2: 0}),
    "the old study reissued": ([(1, (), "2024-05-01"), (1, (), "2025-01-01"), (0, (1,), "2024-05-01")], [0], {1: 0}),
    "the new study reissued": ([(1, (), "2024-05-01"), (0, (1,), "2024-05-01"), (0, (1,), "2025-01-01")], [0], {1: 0}),
    "one that names itself": ([(0, (0,), "2024-05-01")], [0], {}),
    "two that name each other": ([(1, (0,), "2024-05-01"), (0, (1,), "2024-05-02")], [0], {1: 0}),
    "two equals that name each other": ([(1, (0,), "2024-05-01"), (0, (1,), "2024-05-01")], [0], {1: 0}),
    "two that name one": ([(2, (), "2024-05-01"), (1, (2,), "2024-05-01"), (0, (2,), "2024-05-01")], [0, 1], {2: 0}),
}
"""Copies of studies (number, aliases, day of update); the numbers that live in the end; what was merged into what."""


def test_a_merged_study_counts_once_whatever_was_loaded_first(
    settings: Settings, engine: Engine, tmp_path: Path
) -> None:
    """Each order of each case, a hundred numbers for itself: the first load has the first copy of each, and so on."""
    orders = [(case, order) for case, entry in CASES.items() for order in itertools.permutations(entry[0])]
    loads = Loads(settings, tmp_path, "clinicaltrials")
    for turn in range(3):
        copies = [(100 * n, order[turn]) for n, (_, order) in enumerate(orders) if turn < len(order)]
        loads.load(
            *(
                study(base + number, *(base + a for a in aliases), updated=day)
                for base, (number, aliases, day) in copies
            )
        )
    living = [100 * n + number for n, (case, _) in enumerate(orders) for number in CASES[case][1]]
    merged = {100 * n + old: 100 * n + new for n, (case, _) in enumerate(orders) for old, new in CASES[case][2].items()}
    wrong = {orders[number // 100] for number in set(living) ^ set(loads.living())}
    assert not wrong
    pairs = loads.ask("SELECT nct_id, superseded_by FROM clinicaltrials.merged")
    assert {int(old[3:]): int(new[3:]) for old, new in pairs} == merged
    assert audit(engine).findings == []
    loads.load(*(study(100 * n + number, updated="2024-04-01") for n in range(len(orders)) for number in (0, 1, 2)))
    assert set(loads.living()) - set(living) == {
        100 * n + number
        for n, (case, _) in enumerate(orders)
        for number in (1, 2)
        if number not in {copy[0] for copy in CASES[case][0]}
    }
    assert audit(engine).findings == []


def test_a_number_that_is_named_no_more_lives_again_with_its_next_copy(
    settings: Settings, engine: Engine, tmp_path: Path
) -> None:
    loads = Loads(settings, tmp_path, "clinicaltrials")
    loads.load(study(401), study(400, 401))
    loads.load(study(400, updated="2024-07-01"))
    assert loads.ask("SELECT * FROM clinicaltrials.merged") == []
    loads.load(study(401))
    assert loads.living() == [400]  # an old copy stays away, as of every tombstone
    loads.load(study(401, updated="2024-07-01"))
    assert loads.living() == [400, 401]
    assert audit(engine).findings == []


def test_searching_the_old_number_says_what_became_of_it(settings: Settings, engine: Engine, tmp_path: Path) -> None:
    Loads(settings, tmp_path, "clinicaltrials").load(study(401), study(400, 401))
    (hit,) = search.search(engine, nct(401), source="clinicaltrials")
    assert hit.title == f"Study 400 [merged into it: {nct(401)}]"


def product(ndc: str, label: str) -> dict[str, Any]:
    return {"product_ndc": ndc, "product_id": f"{ndc}_{label}", "spl_id": label, "packaging": []}


def export(day: str, *products: dict[str, Any]) -> dict[str, Any]:
    return {"meta": {"last_updated": day}, "results": products}


WEEKS = [
    export("2026-08-21", product("1-1", "a"), product("1-2", "a"), product("1-3", "a"), product("1-3", "b")),
    export("2026-08-28", product("1-1", "b"), product("1-2", "a"), product("1-3", "a"), product("1-3", "c")),
    export("2026-09-04", product("1-1", "c"), product("1-3", "a")),
]
NEWEST = {"1-1_c": "2026-09-04", "1-2_a": "2026-08-28", "1-3_a": "2026-09-04"}


def test_a_product_of_an_older_export_goes_when_a_newer_one_has_its_code(
    settings: Settings, engine: Engine, tmp_path: Path
) -> None:
    loads = Loads(settings, tmp_path, "openfda")
    orders = list(itertools.permutations(range(3)))

    def turn(number: int) -> None:
        pages = [
            export(week["meta"]["last_updated"], *(
                product(f"{n}-{old['product_ndc']}", old["spl_id"])
                for n, order in enumerate(orders)
                if order[number] == place
                for old in week["results"]
            ))
            for place, week in enumerate(WEEKS)
        ]  # fmt: skip
        loads.load(*pages)

    newest = {f"{n}-{key}": day for n in range(len(orders)) for key, day in NEWEST.items()}
    for again in range(2):
        for number in (0, 1, 2) if not again else (1, 0, 2):
            turn(number)
        assert loads.ask(PRODUCTS) == sorted(newest)
        assert loads.ask("SELECT product_id FROM openfda.drug ORDER BY 1") == sorted(newest)
        for query in (
            "SELECT key, exported::text FROM openfda.last_export WHERE feed = 'ndc' AND NOT deleted",
            "SELECT product_id, exported::text FROM openfda.drug",
        ):
            assert dict(loads.ask(query)) == newest
        assert audit(engine).findings == []


def test_the_rest_of_an_export_brings_back_what_its_first_part_replaced(
    settings: Settings, engine: Engine, tmp_path: Path
) -> None:
    loads = Loads(settings, tmp_path, "openfda")
    loads.load(export("2026-08-21", product("1-1", "a")))
    loads.load(export("2026-08-28", product("1-1", "b")))
    loads.load(export("2026-08-28", product("1-1", "a")))
    assert loads.ask(PRODUCTS) == ["1-1_a", "1-1_b"]
    assert audit(engine).findings == []
