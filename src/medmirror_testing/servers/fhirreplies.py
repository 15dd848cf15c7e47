"""Answers as FHIR servers give them."""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import format_datetime
from typing import Any

import orjson

from medmirror.clock import at as moment_of
from medmirror_testing.servers.fhirdata import Version
from medmirror_testing.servers.server import Reply


def fhir(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    """*value* as FHIR's JSON."""
    return Reply(
        status, orjson.dumps(value), {"Content-Type": "application/fhir+json; charset=utf-8", **(headers or {})}
    )


def outcome(status: int, code: str) -> Reply:
    """An error."""
    issue = {"severity": "error", "code": code, "diagnostics": "What went wrong, in the server's own words."}
    return fhir({"resourceType": "OperationOutcome", "issue": [issue]}, status)


def validators(version: Version) -> dict[str, str]:
    """The headers that name the version of an answer."""
    return {"ETag": f'W/"{version.number}"', "Last-Modified": format_datetime(moment_of(version.time), usegmt=True)}
