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
        protocol = H11Protocol(**given)
        usual = protocol.connection_made

        def begun(transport: Any) -> None:
            usual(transport)
            _again(protocol, seconds, ())

        protocol.connection_made = begun  # type: ignore[method-assign]
        return protocol

    return make


def _again(protocol: H11Protocol, seconds: float, before: tuple[object, ...]) -> None:
    """Look at *protocol* in *seconds*, and so on for as long as it is open."""
    asyncio.get_running_loop().call_later(seconds, _look, protocol, seconds, before)


def _look(protocol: H11Protocol, seconds: float, before: tuple[object, ...]) -> None:
    if protocol.transport.is_closing():
        return
    # The request before is the same, and the next one has not wholly come. One that has not begun is uvicorn's affair
    # (keep alive), unless there was none at all yet.
    waits = protocol.conn.their_state is h11.IDLE and (protocol.cycle is None or bool(protocol.conn.trailing_data[0]))
    now = (protocol.cycle,) if waits else ()
    if waits and now == before:
        protocol.transport.close()
        return
    _again(protocol, seconds, now)
