"""Compile a Layout to the flat tables that ``xmlrows.c`` runs, and run them."""

from __future__ import annotations

import ctypes
import threading
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, chain, pairwise
from typing import Any

import orjson

from medmirror.copyformat import encoder
from medmirror.model import Column
from medmirror.native import library
from medmirror.readers.xml.layout import Element, Layout, Put
from medmirror.readers.xml.markup import lined

_KINDS = {"text": 0, "bool": 1, "int2": 2, "int4": 3, "int8": 4, "text[]": 5, "date": 6}
_JSON_LIST, _JSON_ONE = 7, 8
_WHERE = {"column": 0, "key": 1, "list": 2, "carry": 3, "part": 4, "extra": 5}
_OPEN = {"column": 1, "single": 2, "list": 3, "key": 4}
_PARTS = {"Year": 0, "Month": 1, "Day": 2, "MedlineDate": 3}
REASONS = (
    "read",
    "unknown element",
    "unknown attribute",
    "repeated value",
    "markup",
    "text",
    "value",
    "too deep",
    "not flat",
    "malformed",
    "required value missing",
    "no memory",
)
"""The meaning of an item's status, by number."""

_MARKUP = REASONS.index("markup")
_MOST_KEYS, _MOST_ATTRIBUTES = 256, 24


class _Tables:
    """The tables under construction. Their order and the fields of each are those of ``xmlrows.c``."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.kinds = {column.name: column.kind for column in layout.columns}
        self.blob = bytearray(8)  # never empty
        self.names: dict[bytes, int] = {}
        self.nodes: list[list[int]] = []
        self.children: list[list[int]] = []
        self.attributes: list[list[int]] = []
        self.ops: list[list[int]] = []
        self.conditions: list[list[int]] = []
        self.keys: dict[str, int] = {}
        self.stores: dict[tuple[str, int], int] = {}
        self.store_kinds: list[int] = []
        self.numbers: dict[int, int] = {}  # of nodes, by the identity of their element

    def text(self, value: bytes) -> list[int]:
        if value not in self.names:
            self.names[value] = len(self.blob)
            self.blob += value
        return [self.names[value], len(value)]

    def key(self, name: str) -> int:
        number = self.keys.setdefault(name, len(self.keys))
        if number >= _MOST_KEYS:
            raise ValueError("A layout has too many different keys.")
        return number

    def store(self, column: str, rank: int = 0, kind: int | None = None) -> int:
        number = self.stores.setdefault((column, rank), len(self.stores))
        if number == len(self.store_kinds):
            self.store_kinds.append(_KINDS[self.kinds[column]] if kind is None else kind)
        return number

    def node(self, element: Element) -> int:
        """The number of *element*'s node, which the first call adds. An element may hold its own kind."""
        number = self.numbers.get(id(element))
        if number is not None:
            return number
        number = self.numbers[id(element)] = len(self.nodes)
        self.nodes.append([])
        below = [child for child in element.children.values() if not child.to_extra]  # unknown here: the reference's
        numbers = [self.node(child) for child in below]
        child = len(self.children)
        self.children += [[*self.text(part.name.encode()), n] for part, n in zip(below, numbers, strict=True)]
        places = {name: place for place, name in enumerate(element.attributes)}
        if len(places) > _MOST_ATTRIBUTES:
            raise ValueError("A layout has too many attributes on one element.")
        attributes = [(name, self._ops(puts, places), puts) for name, puts in element.attributes.items()]
        attribute = len(self.attributes)
        self.attributes += [[*self.text(name.encode()), *ops, self._absent(puts)] for name, ops, puts in attributes]
        opens, date = element.opens, element.date
        where, store, key = 0, -1, -1
        if opens and opens.where in ("column", "single"):
            where, store = _OPEN[opens.where], self.store(opens.name, 0, self._json(opens.where))
        elif opens:
            where, key = _OPEN[opens.where], self.key(opens.name)
        self.nodes[number] = [child, len(below), attribute, len(attributes), *self._ops(element.text, places)]
        self.nodes[number] += [int(bool(element.text)), where, store, key]
        self.nodes[number] += [self.store(date.column) if date else -1, int(bool(date and date.exact))]
        self.nodes[number] += [self.store(date.year) if date and date.year else -1]
        return number

    @staticmethod
    def _json(where: str) -> int:
        return _JSON_LIST if where == "column" else _JSON_ONE

    def _ops(self, puts: Iterable[Put], places: Mapping[str, int]) -> list[int]:
        ops = [self._op(put, places) for put in puts]
        self.ops += ops
        return [len(self.ops) - len(ops), len(ops)]

    def _op(self, put: Put, places: Mapping[str, int]) -> list[int]:
        conditions = [[places[name], *self.text(value.encode()), int(equal)] for name, value, equal in put.when]
        self.conditions += conditions
        return [
            _WHERE[put.where],
            int(put.yes_no),
            self.store(put.name, put.rank) if put.where == "column" else -1,
            self.key(put.name) if put.where in ("key", "list", "carry") else -1,
            int(put.first),
            *(self.text(put.join.encode()) if put.join is not None else (0, -1)),
            places[put.label] if put.label else -1,
            len(self.conditions) - len(conditions),
            len(conditions),
            _PARTS[put.name] if put.where == "part" else -1,
            int(put.marked),
        ]

    def _absent(self, puts: Iterable[Put]) -> int:
        stores = [self.store(put.name) for put in puts if put.where == "column" and self.kinds[put.name] == "text[]"]
        return stores[0] if stores else -1

    def columns(self) -> tuple[list[list[int]], list[list[int]]]:
        """The tables of columns and of their choices among stores, best first."""
        columns, choices = [], list[list[int]]()
        for column in self.layout.columns:
            own = sorted((rank, number) for (name, rank), number in self.stores.items() if name == column.name)
            columns.append([len(choices), len(own), int(column.name in self.layout.required)])
            choices += [[number] for _, number in own]
        return columns, choices

    def default(self, column: Column, constants: Mapping[str, Any]) -> list[int]:
        if column.name not in constants:
            return [0, -1]
        return self.text(encoder([column])([constants[column.name]])[2:])


def tables(layout: Layout) -> tuple[array[int], bytes]:
    """The numbers and the blob that ``mm_new`` takes."""
    builder = _Tables(layout)
    roots, defaults = [], list[list[int]]()
    for name, element in layout.roots.items():
        roots.append([*builder.text(name.encode()), builder.node(element), len(defaults)])
        defaults += [builder.default(column, layout.constants[name]) for column in layout.columns]
    keys = [builder.text(orjson.dumps(key) + b":") for key in builder.keys]
    columns, choices = builder.columns()
    all_tables = [builder.nodes, builder.children, builder.attributes, builder.ops, builder.conditions, keys]
    all_tables += [[[kind] for kind in builder.store_kinds], columns, choices, roots, defaults]
    numbers = array("i", [len(table) for table in all_tables])
    for table in all_tables:
        numbers.extend(chain.from_iterable(table))
    return numbers, bytes(builder.blob)


class Program:
    """A compiled Layout. Threads may share it: each has its own state."""

    def __init__(self, layout: Layout) -> None:
        self._numbers, self._blob = tables(layout)
        self._namespaces = layout.namespaces
        self._own = threading.local()
        self.flagged: Counter[str] = Counter()  # why items went to the reference reader

    def rows(self, data: bytes, starts: Sequence[int], ends: Sequence[int]) -> list[bytes | None] | None:
        """The COPY tuple of each item ``data[start:end]``; None for an item that the reference reader must read.

        The whole result is None when there is no library.
        """
        state = self._state()
        if state is None:
            return None
        rows, statuses = self._rows(state, data, starts, ends)
        if statuses:
            self._read_formulas(state, data, starts, ends, rows, statuses)
            self.flagged.update(REASONS[status] for row, status in zip(rows, statuses, strict=True) if row is None)
        return rows

    def _read_formulas(
        self,
        state: _State,
        data: bytes,
        starts: Sequence[int],
        ends: Sequence[int],
        rows: list[bytes | None],
        statuses: Sequence[int],
    ) -> None:
        """Fill *rows* that lack only the formulas in their texts: these are read here, one by one."""
        lines: dict[int, bytes] = {}
        for place, status in enumerate(statuses):
            if status == _MARKUP and (item := lined(data[starts[place] : ends[place]], self._namespaces)) is not None:
                lines[place] = item
        if lines:
            bounds = list(accumulate(map(len, lines.values()), initial=0))
            again, _ = self._rows(state, b"".join(lines.values()), bounds[:-1], bounds[1:], lines=1)
            for place, row in zip(lines, again, strict=True):
                rows[place] = row

    @staticmethod
    def _rows(
        state: _State, data: bytes, starts: Sequence[int], ends: Sequence[int], *, lines: int = 0
    ) -> tuple[list[bytes | None], Sequence[int]]:
        """The tuples, and the status of each."""
        count = len(starts)
        first, last = array("q", starts), array("q", ends)
        offsets, statuses = array("q", bytes(8 * (count + 1))), array("i", bytes(4 * count))
        pointers = [each.buffer_info()[0] for each in (first, last, offsets, statuses)]
        size = state.library.mm_rows(state.pointer, data, len(data), count, *pointers, lines)
        out = ctypes.string_at(state.library.mm_out(state.pointer), size) if size else b""
        if not any(statuses):
            return [out[start:end] for start, end in pairwise(offsets)], ()
        ranges = zip(offsets, offsets[1:], statuses, strict=False)
        return [None if status else out[start:end] for start, end, status in ranges], statuses

    def _state(self) -> _State | None:
        state: _State | None = getattr(self._own, "state", None)
        if state is None and (loaded := library()) is not None:
            state = self._own.state = _State(loaded, self._numbers, self._blob)
        return state


class _State:
    def __init__(self, loaded: ctypes.CDLL, numbers: array[int], blob: bytes) -> None:
        self.library = loaded
        self.pointer = loaded.mm_new(numbers.buffer_info()[0], len(numbers), blob, len(blob))
        if not self.pointer:
            raise MemoryError

    def __del__(self) -> None:
        if getattr(self, "pointer", None):
            self.library.mm_free(self.pointer)
            self.pointer = None
