"""Plain items of a block and their keys, found by ``xmlscan.c``."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from medmirror.native import library

_MOST = 4096  # items a call: the arrays stay small


class Run(NamedTuple):
    """The plain items at the beginning of a block: their offsets, and their keys (-1: the key must be parsed).

    *stopped* is the offset behind them. *odd*: what follows there is neither the end of the block nor an item that the
    block cuts off.
    """

    starts: array[int]
    ends: array[int]
    keys: array[int]
    seconds: array[int]
    stopped: int
    odd: bool


class Scanner:
    """A scanner for items by the names of their elements.

    *items* maps each name to the elements between it and its *key* element; the key's *attribute* is the second half of
    the key, 1 when absent. A scan stops at a tag of *others*.
    """

    def __init__(self, items: Mapping[str, Sequence[str]], others: Sequence[str], key: str, attribute: str) -> None:
        self._blob = bytearray()
        steps: list[int] = []
        names: list[int] = []
        key_texts = [*self._text(key), *self._text(attribute)]
        for name, into in [*items.items(), *((other, ()) for other in others)]:
            names += [*self._text(name), len(steps) // 2, len(into)]
            for step in into:
                steps += self._text(step)
        numbers = [len(items) + len(others), len(items), *key_texts, *names, *steps]
        self._numbers, self._bytes = array("i", numbers), bytes(self._blob)

    def _text(self, value: str) -> list[int]:
        self._blob += value.encode()
        return [len(self._blob) - len(value.encode()), len(value.encode())]

    def run(self, data: bytes) -> Run | None:
        """The plain items that *data* begins with; None without a library."""
        result = Run(array("q"), array("q"), array("q"), array("q"), 0, True)
        while True:
            part = self._scan(data, result.stopped, keys=True)
            if part is None:
                return None
            for values, addition in zip(result[:4], part[:4], strict=True):
                values.extend(addition)
            result = result._replace(stopped=part.stopped, odd=part.odd)
            if len(part.starts) < _MOST:
                return result

    def last_end(self, data: bytes) -> tuple[int, int, bool] | None:
        """(offset behind the plain items that *data* begins with, their number, *odd*); None without a library."""
        at = count = 0
        while True:
            part = self._scan(data, at, keys=False)
            if part is None:
                return None
            at, count = part.stopped, count + len(part.starts)
            if len(part.starts) < _MOST:
                return at, count, part.odd

    def _scan(self, data: bytes, at: int, *, keys: bool) -> Run | None:
        loaded = library()
        if loaded is None:
            return None
        arrays = [array("q", bytes(8 * _MOST)) for _ in range(4 if keys else 2)]
        stopped, why = array("q", [0]), array("i", [0])
        pointers = [values.buffer_info()[0] for values in arrays] + ([] if keys else [None, None])
        count = loaded.mm_scan(
            self._numbers.buffer_info()[0],
            self._bytes,
            data,
            len(data),
            at,
            _MOST,
            *pointers,
            stopped.buffer_info()[0],
            why.buffer_info()[0],
        )
        starts, ends, *key_arrays = (values[:count] for values in arrays)
        first, second = key_arrays or (array("q"), array("q"))
        return Run(starts, ends, first, second, stopped[0], why[0] == 2)
