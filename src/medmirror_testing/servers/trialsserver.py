"""ClinicalTrials.gov's API on this machine: /version, /studies with filter, paging by token, totalCount."""

from __future__ import annotations

import re
from datetime import date
from typing import Any

from medmirror_testing.samples.study import study
from medmirror_testing.servers.publishers import FileServer
from medmirror_testing.servers.server import Reply, Request, json_reply

_RANGE = re.compile(r"AREA\[LastUpdatePostDate\]RANGE\[(\d{4}-\d\d-\d\d),MAX\]")
_FREE = {"pageSize", "pageToken", "countTotal"}


class TrialsServer(FileServer):
    """A registry of ``studies`` by number. ``timestamp`` is its dataTimestamp, ``missing`` are left out of lists though
    counted, ``most`` bounds a page."""

    def __init__(self) -> None:
        super().__init__(self._api)
        self.studies: dict[str, dict[str, Any]] = {}
        self.timestamp = "2026-01-20T09:00:05"
        self.missing: set[str] = set()
        self.most = 1000
        self._tokens: dict[str, tuple[int, tuple[tuple[str, str], ...]]] = {}

    def put_study(self, ordinal: int, day: str) -> str:
        """Store the sample study *ordinal*, last updated on *day*; return its number."""
        record = study(ordinal, seed=0)
        record["protocolSection"]["statusModule"]["lastUpdatePostDateStruct"] = {"date": day, "type": "ACTUAL"}
        number = str(record["protocolSection"]["identificationModule"]["nctId"])
        self.studies[number] = record
        return number

    def _api(self, request: Request) -> Reply | None:
        if request.path == "/version":
            return json_reply({"apiVersion": "2.0.5", "dataTimestamp": self.timestamp})
        return self._studies(request) if request.path == "/studies" else None

    def _studies(self, request: Request) -> Reply:
        same = tuple(sorted((name, value) for name, value in request.query if name not in _FREE))
        start, token = 0, request.value("pageToken")
        if token:
            held = self._tokens.get(token)
            if held is None or held[1] != same or self.faults.strikes("expired", request.path):
                return json_reply({"error": "Invalid pageToken"}, 400)
            start = held[0]
        matches = self._select(request.value("filter.advanced"))
        size = min(int(request.value("pageSize", "10")), self.most)
        listed = [record for number, record in matches if number not in self.missing]
        page: dict[str, Any] = {"studies": listed[start : start + size]}
        if request.value("countTotal") == "true" and not token:
            page["totalCount"] = len(matches)
        if start + size < len(listed):
            next_token = f"t{len(self._tokens):06d}"
            self._tokens[next_token] = (start + size, same)
            page["nextPageToken"] = next_token
        return json_reply(page)

    def _select(self, wanted: str) -> list[tuple[str, dict[str, Any]]]:
        asked = _RANGE.fullmatch(wanted)
        since = date.fromisoformat(asked[1]) if asked else date.min
        dated = sorted((_updated(record), number, record) for number, record in self.studies.items())
        return [(number, record) for day, number, record in dated if date.fromisoformat(day) >= since]


def _updated(record: dict[str, Any]) -> str:
    return str(record["protocolSection"]["statusModule"]["lastUpdatePostDateStruct"]["date"])
