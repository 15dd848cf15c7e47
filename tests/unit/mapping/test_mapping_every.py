"""What holds for every mapper there is: its stored cases, its way back, its purity."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.mapping_documents import JSON, documents
from tests.mapping_fixtures import path_of, told

from medmirror.mapping import Mapper, canonical_hash, mappers
from medmirror.mapping.coverage import Coverage

MAPPERS = mappers().all()
each = pytest.mark.parametrize("mapper", MAPPERS, ids=lambda mapper: f"{mapper.source}.{mapper.feed}")
quick = settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))


def cases(mapper: Mapper) -> list[dict[str, Any]]:
    path = path_of(mapper.source, mapper.feed)
    assert path.is_file(), f"{path.name} is missing: see tests/mapping_fixtures.py"
    found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return found


@each
def test_stored_documents_mean_what_they_meant(mapper: Mapper) -> None:
    for case in cases(mapper):
        mapped = json.loads(json.dumps(told(mapper.to_canonical(case["document"]))))
        assert mapped == {name: value for name, value in case.items() if name != "document"}


@each
def test_every_field_of_the_stored_documents_is_accounted_for(mapper: Mapper) -> None:
    seen = Coverage()
    for case in cases(mapper):
        seen.add(case["document"])
    assert seen.report(mapper.source, mapper.feed, mapper).unmapped == {}


@each
def test_stored_documents_come_back(mapper: Mapper) -> None:
    for case in cases(mapper):
        back = mapper.from_canonical(case["record"])
        assert back.lost == ()
        assert mapper.to_canonical(back.document).record == case["record"]


@each
def test_any_document_comes_back_and_the_order_of_keys_and_records_means_nothing(mapper: Mapper) -> None:
    @quick
    @given(documents(mapper), st.randoms(use_true_random=False))
    def check(document: dict[str, Any], rng: random.Random) -> None:
        before = json.dumps(document)
        first = mapper.to_canonical(document)
        assert first.record is not None
        back = mapper.from_canonical(first.record)
        assert back.lost == ()
        assert mapper.to_canonical(back.document).record == first.record
        second = mapper.to_canonical(shuffled(document, rng))
        assert second.record is not None
        assert canonical_hash(first.record) == canonical_hash(second.record)
        assert (first.tombstone, set(first.problems)) == (second.tombstone, set(second.problems))
        assert json.dumps(document) == before

    check()


def shuffled(value: Any, rng: random.Random) -> Any:
    if isinstance(value, list):
        return [shuffled(one, rng) for one in value]
    if not isinstance(value, dict):
        return value
    names = list(value)
    rng.shuffle(names)
    return {name: shuffled(value[name], rng) for name in names}


@each
def test_whatever_stands_in_a_field_the_record_is_kept(mapper: Mapper) -> None:
    names = sorted({path.steps[0].name for path in _paths(mapper) if path.steps and hasattr(path.steps[0], "name")})

    @quick
    @given(st.dictionaries(st.sampled_from(names), JSON))
    def check(document: dict[str, Any]) -> None:
        mapped = mapper.to_canonical(document)
        assert mapped.record is not None
        canonical_hash(mapped.record)
        json.dumps(mapped.record)
        for problem in mapped.problems:
            assert problem.code in {"missing", "unreadable", "shape", "gap", "fold"}

    check()


def _paths(mapper: Mapper) -> list[Any]:
    node = mapper.declared.node
    found = [path for leaf in (*node.leaves, *node.extra) for path in leaf.paths]
    for nested in node.nested:
        if nested.path is not None:
            found.append(nested.path)
        elif nested.node is not None:
            found += [path for leaf in nested.node.leaves for path in leaf.paths]
    return found


@pytest.mark.parametrize("document", [None, [], "text", 3])
def test_what_is_no_object_has_no_record(document: Any) -> None:
    mapped = MAPPERS[0].to_canonical(document)
    assert mapped.record is None
    assert [one.code for one in mapped.problems] == ["shape"]
