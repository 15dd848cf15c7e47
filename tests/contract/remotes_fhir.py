"""FHIR servers for the contract tests: by search, and by Bulk export."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from remotes import START, Opener, Side

from medmirror import remotes
from medmirror.clock import microseconds
from medmirror.remotes.base import Around, Remote, Secret
from medmirror_testing.samples.fhir_basics import Clinic, Instance
from medmirror_testing.samples.fhir_records import resource
from medmirror_testing.servers.clock import SimulatedClock
from medmirror_testing.servers.fhirdata import FhirStore
from medmirror_testing.servers.fhirserver import FhirServer

TOKEN = "mzq-secret-token"
PER_PAGE = 20
CLINIC = Clinic(1000)


@contextmanager
def _server(folder: Path, *, kind: str) -> Iterator[Side]:
    clock = SimulatedClock(START)
    with FhirServer(clock.clock) as server, ExitStack() as ends:
        server.ways.authorization = f"Bearer {TOKEN}"
        server.exporting.per_file = PER_PAGE
        server.habits.paging = "offset"

        def opened(token: str, around: Around) -> Remote:
            settings = {"url": server.base, "types": "Patient", **({"count": PER_PAGE} if kind == "fhir" else {})}
            remote = remotes.kind(kind).open("org_1", settings, Secret(token), around)
            ends.callback(remote.close)  # an export's files go with their remote
            return remote

        store = server.store
        yield Side(
            source="fhir",
            feed="Patient" if kind == "fhir" else "",
            clock=clock,
            open=partial(opened, TOKEN),
            open_wrong=partial(opened, "another-token"),
            make=partial(_make, store),
            ids=lambda: {one.id for one in store.living()},
            per_page=PER_PAGE,
            touch=lambda id: void(store.put(_body(store, id))),
            delete=lambda id: void(store.delete("Patient", id)),
            document=_document,
            version=lambda id: _body(store, id)["meta"]["versionId"],
            says=lambda id: _body(store, id)["communication"][0]["language"]["text"],
            faults=server.faults,
            secrets=(TOKEN,),
        )


def void(what: object) -> None:
    """Nothing: what happened is enough."""


def _make(store: FhirStore, times: Sequence[datetime]) -> list[str]:
    first = len(store.current())
    some = [_patient(first + number, time) for number, time in enumerate(times)]
    return [store.put(one, at=microseconds(time)).id for one, time in zip(some, times, strict=True)]


def _patient(number: int, changed: datetime) -> dict[str, Any]:
    return resource(CLINIC, Instance("Patient", number), revision=0, changed=changed)


def _body(store: FhirStore, id: str) -> dict[str, Any]:
    found = store.read("Patient", id)
    assert found is not None
    assert found.body is not None
    return found.body


def _document(number: int, text: str) -> Mapping[str, Any]:
    return {**_patient(number, START), "communication": [{"language": {"text": text}}]}


OPENERS = (
    Opener(
        "fhir",
        frozenset({"ordered", "deleted", "get", "push", "http", "key", "touch"}),
        partial(_server, kind="fhir"),
    ),
    Opener("bulk", frozenset({"http", "key", "touch"}), partial(_server, kind="bulk")),
)
