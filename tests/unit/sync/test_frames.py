"""Every byte of a page has an owner: a record, or the frame around the records."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import Any

import pytest

from medmirror import sources
from medmirror.errors import SourceError, SyncError
from medmirror.ingest import inputs
from medmirror.model import Part
from medmirror.remotes.base import Page
from medmirror.sources.base import Context
from medmirror.sync import frames

WHOSE = "org-1"


def framed(source_name: str, body: bytes, context: Context | None = None) -> list[bytes]:
    """What of *body*, a page of that source, is its frame."""
    source = sources.get(source_name)
    if context is None:
        context = source.context("page.json", body, lambda: io.BytesIO(body), {"organization": WHOSE, "path": "p"})
    context = {**context, "organization": WHOSE}
    blocks = source.split(io.BytesIO(body), context, 1 << 20, 1 << 20)
    parts = list(inputs.parts_of(blocks, Part(1, "page.json", "", context, 0, 0, 0, b"")))
    spans = frames.frame(source, Page("feed", "page.json", body, 1), context, parts)
    return [body[start:end] for start, end in spans]


def patient(number: int) -> dict[str, Any]:
    return {"id": str(number), "first_name": "A", "patient_phone_numbers": [], "updated_at": "2026-01-01T00:00:00Z"}


def page(**around: Any) -> bytes:
    return json.dumps(
        {"patients": [patient(1), patient(2)], "total_entries": 2, "links": {"self": "x"}, **around}
    ).encode()


def test_the_frame_is_what_stands_around_the_records() -> None:
    head, tail = framed("cliniko", page())
    assert head == b'{"patients": '
    assert tail == b'], "total_entries": 2, "links": {"self": "x"}}'


@pytest.mark.parametrize("body", [
    json.dumps([patient(1), patient(2)], indent=2).encode() + b"\n \n",
    b"\xef\xbb\xbf" + page(),
    b" \n" + page(links={"self": "https://api.au1.cliniko.com/v1/patients", "next": None}),
    page(news=["a", {"text": "b"}], about={"version": {"id": 3}}),
    b"".join(json.dumps(patient(number)).encode() + b"\n\n" for number in (1, 2)),
    json.dumps({**patient(1), "appointments": {"links": {"self": "x"}}, "patient_phone_numbers": []}).encode(),
    page(patients=[patient(1), 7, "text", None]),
    page(patients=[]),
])  # fmt: skip
def test_pages_that_hold_nothing_else_are_whole(body: bytes) -> None:
    spans = framed("cliniko", body)
    assert all(b"first_name" not in span for span in spans)


@pytest.mark.parametrize("body", [
    page() + page(),
    page() + b"\n" + json.dumps(patient(3)).encode(),
    page(appointments=[{"id": "3", "updated_at": "2026-01-01T00:00:00Z", "starts_at": "2026-01-01T00:00:00Z"}]),
    page(people=[patient(3)]),
    page(more={"patients": [patient(3)]}),
    page(more=[{"patients": [patient(3)]}]),
    page()[:-1] + b', "patients": [' + json.dumps(patient(3)).encode() + b"]}",
    page() + b"}",
    page() + b"\0",
    page()[:-1] + b', "x": ' + b"[" * 200_000 + b"]" * 200_000 + b"}",
])  # fmt: skip
def test_a_record_that_nobody_reads_is_met(body: bytes) -> None:
    with pytest.raises(
        (SyncError, SourceError), match=r"none of its records|two arrays|cannot read|does not|several|Another document"
    ):
        framed("cliniko", body)


def test_a_record_that_a_reader_passes_over_is_met(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = sources.get("cliniko")
    lossy = replace(whole, items=lambda *given: iter(list(whole.items(*given))[:-1]))
    monkeypatch.setattr(sources, "get", lambda name: lossy)
    with pytest.raises(SyncError, match="none of its records"):
        framed("cliniko", page())


def test_an_empty_page_with_another_list_is_met() -> None:
    body = page(patients=[], appointments=[patient(3)])
    with pytest.raises(SyncError, match="none of its records"):
        frames.frame(sources.get("cliniko"), Page("patient", "page", body, 0), {}, ())
    assert frames.frame(sources.get("cliniko"), Page("patient", "page", page(patients=[]), 0), {}, ())


def test_bundles_in_bundles_and_lines_have_frames() -> None:
    def bundle(*entries: Any) -> dict[str, Any]:
        return {"resourceType": "Bundle", "id": "b", "type": "collection", "entry": list(entries)}

    def one(number: int) -> dict[str, Any]:
        return {"resource": {"resourceType": "Patient", "id": str(number)}}

    nested = bundle(one(1), {"resource": bundle(one(2), one(3))}, one(4))
    assert framed("fhir", json.dumps(nested).encode())[-1] == b"]}"
    lines = b"".join(json.dumps(one(number)["resource"]).encode() + b"\n" for number in (1, 2))
    assert framed("fhir", lines) == []
    with pytest.raises(SyncError):
        framed("fhir", json.dumps({**bundle(one(1)), "contained": [one(2)["resource"]]}).encode())
