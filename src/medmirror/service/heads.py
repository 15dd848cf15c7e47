"""How long a request's head may take: nobody holds one of the connections, of which there are few, by half a line."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol


def within(seconds: float) -> Callable[..., H11Protocol]:
    """What makes uvicorn's protocol of a connection that is ended when the head of a request takes longer than
    *seconds*, at most twice as long. uvicorn itself waits for it as long as the client likes."""

    def make(**given: Any) -> H11Protocol:
        made = H11Protocol(**given)
        usual = made.connection_made

        def begun(transport: Any) -> None:
            usual(transport)
            _again(made, seconds, ())

        made.connection_made = begun  # type: ignore[method-assign]
        return made

    return make


def _again(one: H11Protocol, seconds: float, before: tuple[object, ...]) -> None:
    """Look at *one* in *seconds*, and so on for as long as it is open."""
    asyncio.get_running_loop().call_later(seconds, _look, one, seconds, before)


def _look(one: H11Protocol, seconds: float, before: tuple[object, ...]) -> None:
    if one.transport.is_closing():
        return
    # The request before is the same, and the next one has not wholly come. One that has not begun is uvicorn's affair
    # (keep alive), unless there was none at all yet.
    waits = one.conn.their_state is h11.IDLE and (one.cycle is None or bool(one.conn.trailing_data[0]))
    now = (one.cycle,) if waits else ()
    if waits and now == before:
        one.transport.close()
        return
    _again(one, seconds, now)
