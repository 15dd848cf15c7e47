"""A local Cliniko: its API as documented, over accounts that are made up.

HTTP Basic with the key as the user, with or without its shard; a User-Agent that names a contact; 200 requests a minute
and key; pages by links; filters, order and the lists of archived, deleted and cancelled records; patients and
appointments may be written. A write has no condition, as in the real one: whoever cares must look first.
"""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

import orjson

from medmirror.clock import SYSTEM, Clock
from medmirror_testing.samples import cliniko_records as records
from medmirror_testing.servers import clinikobodies, clinikoquery
from medmirror_testing.servers.clinikodata import LISTS, Account, Version
from medmirror_testing.servers.hostile import Faults
from medmirror_testing.servers.server import LocalServer, Reply, Request, json_reply

KEY = "MS0xLWxvY2FsdGVzdGtleQ-au1"
_AGENT = re.compile(r".*\S.*\(\s*[^@\s]+@[^@\s]+\.[^@\s]+\s*\).*")
_STATES: Mapping[str, tuple[str, ...]] = {
    "patient": ("archived", "deleted"),
    "appointment": ("cancelled", "deleted"),
    "practitioner": ("inactive",),
    "invoice": ("deleted",),
}
_REASONS = (10, 20, 30, 31, 40, 50, 60)


class ClinikoServer:
    """*accounts* by key, behind one port; a context manager. A single account has the key ``KEY``.

    *limit*: requests a minute and key (None: as many as one likes).
    """

    def __init__(
        self,
        accounts: Account | Mapping[str, Account],
        *,
        clock: Clock = SYSTEM,
        faults: Faults | None = None,
        limit: int | None = 200,
    ) -> None:
        given = {KEY: accounts} if isinstance(accounts, Account) else dict(accounts)
        self._accounts = {_without_shard(key): account for key, account in given.items()}
        self._limit = limit
        self._counts: dict[tuple[str, int], int] = {}
        self.http = LocalServer(self._handle, faults or next(iter(given.values())).faults, clock)

    @property
    def url(self) -> str:
        """The base address of the API."""
        return f"{self.http.url}/v1"

    @property
    def faults(self) -> Faults:
        """The faults of the server."""
        return self.http.faults

    def add(self, key: str, account: Account) -> None:
        """Serve *account* too, for requests with *key*."""
        self._accounts[_without_shard(key)] = account

    def __enter__(self) -> Self:
        self.http.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.http.stop()

    # --- requests

    def _handle(self, request: Request) -> Reply:
        if not _AGENT.fullmatch(request.headers.get("user-agent", "")):
            return json_reply({"message": "User-Agent must contain a name and a contact email"}, 403)
        key = _key(request.headers.get("authorization", ""))
        account = self._accounts.get(key)
        if account is None:
            return json_reply({"message": "Access denied"}, 401)
        if limited := self._limited(key):
            return limited
        reply = self._routed(account, request)
        return reply._replace(body=reply.body.replace(records.BASE.encode(), self.url.encode()))

    def _limited(self, key: str) -> Reply | None:
        if self._limit is None:
            return None
        minute = int(self.http.clock.now().timestamp()) // 60
        count = self._counts[key, minute] = self._counts.get((key, minute), 0) + 1
        if count <= self._limit:
            return None
        reset = int((minute + 1) * 60 + self.faults.skew)
        return json_reply({"message": "Rate limit exceeded"}, 429, {"X-RateLimit-Reset": str(reset)})

    def _routed(self, account: Account, request: Request) -> Reply:
        kind, id, rest = _parts(request.path)
        if not kind:
            return _not_found()
        try:
            if rest == "" and (id == "" or id in _STATES.get(kind, ())):
                if request.method == "GET":
                    return self._list(account, kind, id, request)
                return self._create(account, kind, request) if request.method == "POST" and not id else _not_allowed()
            version = account.find(kind, id)
            if version is None or version.deleted:
                return _not_found()
            return self._handle_record(account, kind, version, rest, request)
        except clinikoquery.Refused as error:
            return json_reply({"message": str(error)}, 400)

    def _list(self, account: Account, kind: str, state: str, request: Request) -> Reply:
        page = clinikoquery.listed(account, kind, state, request)
        if self.faults.strikes("empty", request.path):
            page = page._replace(records=(), total=0)
        bare = state == "deleted" and kind == "patient"
        bodies = [
            clinikobodies.deletion(kind, version) if bare else clinikobodies.body(account, kind, version)
            for version in page.records
        ]
        path = request.path.removeprefix("/v1")
        links = {"self": self._link(path, request, page.page)}
        if page.page * page.per_page < page.total:
            links["next"] = self._link(path, request, page.page + 1)
        if page.page > 1:
            links["previous"] = self._link(path, request, page.page - 1)
        total = page.total if page.page % 2 else str(page.total)  # it may be either
        around = orjson.dumps({"total_entries": total, "links": links})[1:]
        body = b'{"%s":[%s],%s' % (LISTS[kind].encode(), b",".join(bodies), around)
        if self.faults.strikes("touched", request.path):
            account.touch()
        return Reply(200, body, {"Content-Type": "application/json; charset=utf-8"})

    def _link(self, path: str, request: Request, page: int) -> str:
        query = [(name, value) for name, value in request.query if name != "page"]
        return f"{self.url}{path}?{urlencode([*query, ('page', str(page))])}"

    def _handle_record(self, account: Account, kind: str, version: Version, rest: str, request: Request) -> Reply:
        if request.method == "GET" and not rest:
            hidden = version.cancelled and "cancelled_at:*" not in request.values("q[]")
            return _not_found() if hidden else _record(account, kind, version.id)
        if kind not in clinikobodies.REQUIRED:
            return _not_allowed()
        if request.method == "DELETE" and not rest:
            account.delete(kind, version.id)
            return Reply(204)
        if request.method == "PATCH" and rest == "cancel" and kind == "appointment":
            if request.json().get("cancellation_reason") not in _REASONS:
                return _unprocessable("cancellation_reason", "is not included in the list")
            account.cancel(version.id)
            return Reply(204)
        if request.method in ("PATCH", "PUT") and not rest:
            return self._change(account, kind, version, request)
        return _not_allowed()

    def _create(self, account: Account, kind: str, request: Request) -> Reply:
        if kind not in clinikobodies.REQUIRED:
            return _not_allowed()
        fields, starts, wrong = clinikobodies.parse_fields(account, kind, _body(request))
        for name in clinikobodies.REQUIRED[kind]:
            if not fields.get(name):
                return _unprocessable(name, "can't be blank")
        if kind == "appointment" and starts is None:
            return _unprocessable("starts_at", "can't be blank")
        if wrong:
            return json_reply({"message": wrong}, 422)
        id = account.create(kind, fields, starts or 0)
        return _record(account, kind, id, 201)

    def _change(self, account: Account, kind: str, version: Version, request: Request) -> Reply:
        fields, starts, wrong = clinikobodies.parse_fields(account, kind, _body(request))
        if wrong:
            return json_reply({"message": wrong}, 422)
        account.change(kind, version.id, starts=starts or 0, **fields)
        return _record(account, kind, version.id)


def _without_shard(key: str) -> str:
    """The key without its shard, if it has one."""
    return re.sub(r"-\w{2}\d{1,2}$", "", key)


def _key(authorization: str) -> str:
    scheme, _, value = authorization.partition(" ")
    try:
        user, _, password = b64decode(value, validate=True).decode().partition(":")
    except (NotBase64, UnicodeDecodeError):
        return ""
    return _without_shard(user) if scheme == "Basic" and not password else ""


def _parts(path: str) -> tuple[str, str, str]:
    """(kind, id or state, what follows) of a path; kind is "" when there is no such list."""
    pieces = path.strip("/").split("/")
    if len(pieces) < 2 or len(pieces) > 4 or pieces[0] != "v1" or pieces[1] not in clinikoquery.KIND_OF:
        return "", "", ""
    id, rest = [*pieces[2:], "", ""][:2]
    return clinikoquery.KIND_OF[pieces[1]], id, rest


def _body(request: Request) -> dict[str, Any]:
    try:
        fields = request.json()
    except orjson.JSONDecodeError:
        fields = None
    if not isinstance(fields, dict):
        raise clinikoquery.Refused("The body is no JSON object.")
    return fields


def _record(account: Account, kind: str, id: str, status: int = 200) -> Reply:
    version = account.newest(kind, id)
    return Reply(
        status, clinikobodies.body(account, kind, version), {"Content-Type": "application/json; charset=utf-8"}
    )


def _not_found() -> Reply:
    return json_reply({"message": "Not found"}, 404)


def _not_allowed() -> Reply:
    return json_reply({"message": "Method not allowed"}, 405)


def _unprocessable(field: str, what: str) -> Reply:
    return json_reply({"message": "Validation failed", "errors": {field: what}}, 422)
