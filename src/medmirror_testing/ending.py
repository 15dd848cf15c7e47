"""The end of a program by a signal: what its ``with`` and ``finally`` clean up is cleaned up."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

_USUAL: dict[signal.Signals, Callable[[int, FrameType | None], Any] | signal.Handlers] = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
    signal.SIGHUP: signal.SIG_DFL,
}


class Signals:
    """The handler of SIGINT, SIGTERM and SIGHUP: it raises KeyboardInterrupt, at once or, while signals are held,
    later."""

    def __init__(self) -> None:
        self.first: int | None = None  #: the first one that came
        self._held = False

    def hold(self) -> None:
        """Only remember a signal from now on: the work that follows must not end half way."""
        self._held = True

    def release(self) -> None:
        """Raise KeyboardInterrupt from now on; at once, if a signal came while they were held."""
        self._held = False
        if self.first is not None:
            raise KeyboardInterrupt

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle signal *number*."""
        if self.first is None:
            self.first = number
        if not self._held:
            raise KeyboardInterrupt


@contextmanager
def in_order() -> Iterator[Signals]:
    """Raise KeyboardInterrupt in the main thread at SIGINT, SIGTERM and SIGHUP for as long as a `with` lasts.

    One that passes through the end of the `with` becomes SystemExit, with the code that a shell gives the signal. A
    signal that is ignored (``nohup``), or that somebody else handles, stays as it is; outside of the main thread
    nothing is changed.
    """
    signals = Signals()
    ours = []
    if threading.current_thread() is threading.main_thread():
        ours = [number for number, usual in _USUAL.items() if signal.getsignal(number) is usual]
    for number in ours:
        signal.signal(number, signals)
    try:
        yield signals
    except KeyboardInterrupt:
        if signals.first is None:
            raise
        raise SystemExit(128 + signals.first) from None
    finally:
        for number in ours:
            signal.signal(number, _USUAL[number])


def call(command: Sequence[str]) -> int:
    """Run *command*; return its exit code. Within ``in_order`` a signal ends it, too, whenever it comes.

    ``subprocess.run`` loses a child when the signal comes while it starts: nobody ends that one, and one of ours would
    start the server again that was just stopped.
    """
    handler = signal.getsignal(signal.SIGTERM)
    signals = handler if isinstance(handler, Signals) else Signals()
    signals.hold()
    process = subprocess.Popen(command)
    try:
        signals.release()
        return process.wait()
    except BaseException:
        process.kill()
        process.wait()
        raise
