"""The API under a fuzzer that reads its OpenAPI document: no 5xx, no answer but those that are documented, no
internals, and nothing of another organisation.

`MEDMIRROR_FUZZ_EXAMPLES=500 pytest tests/service/test_schemathesis.py -s` looks longer.
"""

from __future__ import annotations

import os
from collections import Counter
from datetime import timedelta
from typing import Any

import clinics
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from worlds import MARKER, NOW, OURS, THEIRS, World, organization

EXAMPLES = int(os.environ.get("MEDMIRROR_FUZZ_EXAMPLES", "8"))  # an operation
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]
INTERNALS = ("Traceback", "sqlalchemy", "psycopg", 'File "', "SELECT ")


@pytest.fixture
def known(world: World) -> dict[str, Any]:
    """A world with things of ours to be found and, all marked, of theirs."""
    organization(world.engine, MARKER)
    facts: dict[str, Any] = {"organization_id": [OURS, THEIRS, MARKER], "source": ["cliniko"]}
    with world.engine.begin() as conn:
        for each in (OURS, THEIRS, MARKER):
            said = "ours" if each == OURS else MARKER
            clinics.state(conn, each, NOW - timedelta(hours=1), failures=1, error=said)
            job = clinics.job(conn, each, NOW, "dead", error=said, message=said, progress=f'{{"list": "{said}"}}')
            clinics.say(conn, job, NOW, said)
            letter = clinics.letter(conn, each, job, NOW, error=said, message=said, fingerprint=said)
            facts.setdefault("job_id", []).append(str(job))
            facts.setdefault("dead_letter_id", []).append(letter)
    return facts


def _fuzzed(operation: Any, known: dict[str, Any], base: str, key: dict[str, str]) -> list[tuple[str, int]]:
    """What *operation* answered to what the fuzzer thought of."""
    answered: list[tuple[str, int]] = []

    @settings(max_examples=EXAMPLES, deadline=None, database=None, derandomize=EXAMPLES < 100,
              phases=(Phase.generate,), suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(case=operation.as_strategy(), data=st.data())
    def fuzz(case: Any, data: st.DataObject) -> None:
        for name in case.path_parameters:
            if name in known and data.draw(st.integers(0, 3)):  # mostly something that is there
                case.path_parameters[name] = data.draw(st.sampled_from(known[name]))
        response = case.call(base_url=base, headers=key)
        case.validate_response(response, checks=CHECKS, headers=key)
        assert MARKER not in response.text
        assert THEIRS not in response.text
        assert not [word for word in INTERNALS if word in response.text]
        answered.append((operation.label, response.status_code))

    fuzz()
    return answered


def test_nothing_that_is_sent_makes_it_fail_or_tell_of_others(world: World, known: dict[str, Any]) -> None:
    key = world.key("read", "sync", "admin", "metrics")
    document = world.client.get("/openapi.json").json()
    base = str(world.client.base_url).rstrip("/")
    schema = schemathesis.openapi.from_dict(document)
    answered: Counter[tuple[str, int]] = Counter()
    for found in schema.get_all_operations():
        operation = found.ok()
        for label, status in _fuzzed(operation, known, base, key):
            answered[label, status] += 1
    asked = {label for label, _ in answered}
    assert len(asked) == sum(len(methods) for methods in document["paths"].values())
    assert sum(count for (_, status), count in answered.items() if status < 300) > len(asked)  # it got inside
    print(sum(answered.values()), "requests", dict(Counter(str(status) for _, status in answered.elements())))


def test_every_answer_that_is_documented_names_its_form(world: World) -> None:
    document = world.client.get("/openapi.json").json()
    assert "HTTPValidationError" not in document["components"]["schemas"]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            for status, answer in operation["responses"].items():
                forms = set(answer.get("content", {}))
                if int(status) >= 400:
                    assert forms == {"application/problem+json"}, (method, path, status)
            if path.startswith("/api/") and "/webhooks/" not in path:
                assert operation["security"], (method, path)
