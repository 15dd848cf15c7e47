"""Who asked what: one row of medmirror.audit_log a request to the API, and how that table stays bounded.

A row is written before its answer goes out; what cannot be written down is not answered. No body, no query and no path
as it was sent: the route as it is documented, and the organisation that it was about.
"""

from __future__ import annotations

import itertools
import re
import threading
import time
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from anyio import to_thread
from sqlalchemy import Engine
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from medmirror.clock import Clock
from medmirror.db import retry, sql
from medmirror.service import problems
from medmirror.service.headers import route_of

PREFIXES = ("/api", "/login", "/logout")
_EVERY = 500  # rows after which old ones are looked for
_SOME = 5_000  # rows that one sweep takes away: more than come in meanwhile
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_METHOD = re.compile(r"[A-Z]{1,20}")
BRIEFLY = retry.Policy(connections=retry.Backoff(attempts=2, base=0.2))
"""For what a client waits for."""

_statement = partial(sql.statement, "service.sql")


def write(engine: Engine, row: dict[str, Any]) -> None:
    """Write *row*; durable when this returns."""
    retry.in_transaction(engine, lambda conn: conn.execute(_statement("write audit"), row), policy=BRIEFLY)


def sweep(engine: Engine, now: datetime, days: int, strangers: int) -> int:
    """Remove rows older than *days*, and all but the newest *strangers* of those without a key, so that whoever knocks
    all day pushes out nobody's rows but his like. At most 5,000 of each; the number removed."""
    by_age = {"before": now - timedelta(days=days), "some": _SOME}
    by_number = {"kept": strangers, "some": _SOME}

    def work(conn: Any) -> int:
        old = conn.execute(_statement("sweep audit by age"), by_age).rowcount
        return int(old + conn.execute(_statement("sweep audit of strangers"), by_number).rowcount)

    return retry.in_transaction(engine, work, policy=BRIEFLY)


def _word(value: object, pattern: re.Pattern[str]) -> str | None:
    return value if isinstance(value, str) and pattern.fullmatch(value) else None


class Audit:
    """ASGI: writes each request of ``PREFIXES`` down, and sweeps now and then."""

    def __init__(self, app: ASGIApp, engine: Engine, clock: Clock, days: int, strangers: int) -> None:
        self.app, self.engine, self.clock = app, engine, clock
        self.days, self.strangers = days, strangers
        self.rows = itertools.count(1)
        self.sweeping = threading.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on; hold the answer back until it is written down."""
        if scope["type"] != "http" or not scope["path"].startswith(PREFIXES):
            await self.app(scope, receive, send)
            return
        began = time.perf_counter()
        refused = False

        async def written(message: Message) -> None:
            nonlocal refused
            if message["type"] == "http.response.start":
                row = self._row(scope, message, int((time.perf_counter() - began) * 1000))
                try:
                    await to_thread.run_sync(self._write, row)
                except Exception as error:  # noqa: BLE001 - whatever it is, it must not be answered
                    refused = True
                    await problems.of_error(error)(scope, receive, send)
            if not refused:
                await send(message)

        await self.app(scope, receive, written)

    def _row(self, scope: Scope, message: Message, milliseconds: int) -> dict[str, Any]:
        headers = {bytes(name).lower(): bytes(value) for name, value in message.get("headers", ())}
        params, state = scope.get("path_params", {}), scope.get("state", {})
        client = scope.get("client")
        return {
            "at": self.clock.now(),
            "request_id": state.get("request_id", ""),
            "key_id": state.get("key_id"),
            "address": client[0] if client else "unknown",
            "method": _word(scope["method"], _METHOD) or "other",
            "route": route_of(scope),
            "organization_id": _word(params.get("organization_id") or state.get("organization_id"), _NAME),
            "source": _word(params.get("source") or state.get("source"), _NAME),
            "status": message["status"],
            "outcome": headers.get(b"x-problem", b"ok").decode("ascii", "replace"),
            "milliseconds": milliseconds,
        }

    def _write(self, row: dict[str, Any]) -> None:
        write(self.engine, row)
        if next(self.rows) % _EVERY == 0 and self.sweeping.acquire(blocking=False):
            try:
                sweep(self.engine, row["at"], self.days, self.strangers)
            finally:
                self.sweeping.release()
