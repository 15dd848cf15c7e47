"""Compile Layouts to the flat tables that ``jsonrows.c`` runs, and run them."""

from __future__ import annotations

import ctypes
import threading
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, NamedTuple

from medmirror.native import library
from medmirror.readers.json.layout import Field, Layout, marks

REASONS = (
    "read",
    "type of a value",
    "NUL character",
    "repeated key",
    "escaped key",
    "big number",
    "value",
    "too many",
    "no feed",
)
"""The meaning of an item's status, by number."""

_SHAPES = {"skip": 0, "object": 1, "objects": 2, "leaf": 3}
_HOWS = {
    "text": 0,
    "every text": 0,
    "loose text": 1,
    "texts": 2,
    "loose texts": 3,
    "day": 4,
    "loose day": 5,
    "any day": 6,
    "number": 7,
    "flag": 8,
    "loose flag": 9,
    "code": 10,
    "id": 12,
    "link id": 13,
    "filled text": 14,
    "moment": 15,
}
_SLOT = 11
_KINDS = {"text": 0, "text[]": 1, "date": 2, "int4": 3, "bool": 4, "timestamptz": 5}
_TEXT_FACT, _NUMBER_FACT, _DAY_FACT, _MEMBERS_FACT, _MOMENT_FACT = range(5)
_TEXT_FACTS = ("text", "loose text", "id", "link id", "filled text")
_FACTS = {**dict.fromkeys(_TEXT_FACTS, _TEXT_FACT), "number": _NUMBER_FACT, "moment": _MOMENT_FACT}
_BETWEEN = {"array": 0, "key": 0, "lines": 1, "bare": 2}
_ITEM = 6  # numbers of an item before its facts
_MOST = 256  # items a call
_MOST_MARKS, _MOST_SLOTS = 64, 8


class Columns(bytes):
    """The columns of a row after its jsonb, in the form of a COPY tuple."""


class NativeItem(NamedTuple):
    """A well-formed item: its offsets, the number of its layout, its columns, the values of its identity.

    Without *columns* the reference reader must read it.
    """

    start: int
    end: int
    layout: int
    columns: Columns | None
    identity: Sequence[Any]


@dataclass(slots=True)
class _Node:
    shape: str = "skip"
    children: dict[str, _Node] = field(default_factory=dict)
    ops: list[list[int]] = field(default_factory=list)
    group: list[int] | None = None
    mark: int = -1

    def child(self, name: str, shape: str) -> _Node:
        node = self.children.setdefault(name, _Node())
        if shape != "skip":
            if node.shape not in ("skip", shape):
                raise ValueError(f"A layout wants {name} both as {node.shape} and as {shape}.")
            node.shape = shape
        return node


class _Tables:
    """The tables under construction. Their order and the fields of each are those of ``jsonrows.c``."""

    def __init__(self, layouts: Sequence[Layout]) -> None:
        self.blob = bytearray(8)  # never empty
        self.nodes: list[list[int]] = []
        self.children: list[list[int]] = []
        self.ops: list[list[int]] = []
        self.stores: list[list[int]] = []
        self.feeds: list[list[int]] = []
        self.facts: list[list[int]] = []
        self.groups: list[list[int]] = []
        self.conditions: list[list[int]] = []
        every = marks(layouts)
        self.bits = {name: bit for bit, name in enumerate(sorted({key for mark, _ in every for key in mark}))}
        if len(self.bits) > _MOST_MARKS:
            raise ValueError("The layouts have too many keys in their marks.")
        self.marks = [self._mark(mark, number) for mark, number in every]
        for layout in layouts:
            self._feed(layout)

    def _text(self, value: str) -> list[int]:
        raw = value.encode()
        self.blob += raw
        return [len(self.blob) - len(raw), len(raw)]

    def _mark(self, mark: frozenset[str], number: int) -> list[int]:
        bits = sum(1 << self.bits[name] for name in mark)
        return [_signed(bits & 0xFFFFFFFF), _signed(bits >> 32), number]

    def _feed(self, layout: Layout) -> None:
        root, first_store, first_fact = _Node("object"), len(self.stores), len(self.facts)
        for column in layout.fields:
            self._field(root, column)
        for path in layout.arrays:
            *way, last = path.split(".")
            self._way(root, [(step.removesuffix("[]"), step.endswith("[]")) for step in way]).child(last, "objects")
        for column in layout.identity:
            if column.how == "members":
                if layout.repeats:
                    raise ValueError("A layout cannot count keys that may repeat.")
                self.facts.append([-1, _MEMBERS_FACT])
                continue
            store = self._field(root, column)
            self.facts.append([store, _FACTS.get(column.how, _DAY_FACT)])
        for name, bit in self.bits.items():
            root.child(name, "skip").mark = bit
        stores = [first_store, len(self.stores) - first_store, len(layout.fields)]
        self.feeds.append([self._node(root), *stores, first_fact, len(layout.identity), int(layout.repeats)])

    @staticmethod
    def _way(node: _Node, way: Sequence[tuple[str, bool]]) -> _Node:
        for name, many in way:
            node = node.child(name, "objects" if many else "object")
        return node

    def _field(self, root: _Node, column: Field) -> int:
        way, name = column.steps
        store = len(self.stores)
        self.stores.append([_KINDS[column.column.kind], int(column.many and column.how != "every text")])
        node = self._way(root, way)
        if column.how == "earliest day":
            self._group(node, column, name, store)
        else:
            if column.many and column.how not in ("text", "every text", "loose texts"):
                raise ValueError(f"A layout cannot collect {column.path} as {column.how}.")
            node.child(name, "leaf").ops.append([_HOWS[column.how], store, -1])
        return store

    def _group(self, node: _Node, column: Field, name: str, store: int) -> None:
        if node.group or len(column.where) >= _MOST_SLOTS:
            raise ValueError(f"A layout asks too much of the objects on the way to {column.path}.")
        node.child(name, "leaf").ops.append([_SLOT, -1, 0])
        node.group = [store, 0, len(self.conditions), len(column.where)]
        for slot, (other, text) in enumerate(column.where, 1):
            node.child(other, "leaf").ops.append([_SLOT, -1, slot])
            self.conditions.append([slot, *self._text(text)])

    def _node(self, node: _Node) -> int:
        number = len(self.nodes)
        self.nodes.append([])
        below = [(*self._text(name), self._node(child), child.mark) for name, child in node.children.items()]
        first = len(self.children)
        self.children += [list(row) for row in below]
        group = -1
        if node.group:
            group = len(self.groups)
            self.groups.append(node.group)
        self.nodes[number] = [first, len(below), _SHAPES[node.shape], len(self.ops), len(node.ops), group]
        self.ops += node.ops
        return number

    def numbers(self) -> array[int]:
        tables = [self.nodes, self.children, self.ops, self.stores, self.feeds, self.facts, self.marks, self.groups]
        tables.append(self.conditions)
        numbers = array("i", [len(table) for table in tables])
        for table in tables:
            numbers.extend(chain.from_iterable(table))
        return numbers


def _signed(bits: int) -> int:
    return bits - (1 << 32) if bits >> 31 else bits


class Program:
    """Compiled Layouts. Threads may share them: each has its own state."""

    def __init__(self, layouts: Sequence[Layout]) -> None:
        tables = _Tables(layouts)
        self._numbers, self._blob = tables.numbers(), bytes(tables.blob)
        self._identity = [[column.how for column in layout.identity] for layout in layouts]
        self._stride = _ITEM + 2 * max(len(layout.identity) for layout in layouts)
        self._local = threading.local()
        self.flagged: Counter[str] = Counter()  # why items went to the reference reader

    def items(self, data: bytes, kind: str) -> list[NativeItem] | None:
        """The items of a block of a stream of that *kind*; None without a library, or when one is not well formed."""
        state = self._state()
        if state is None or kind not in _BETWEEN:
            return None
        items: list[NativeItem] = []
        stride, at = self._stride, 0
        while True:
            count = state.run(data, at, stride, _BETWEEN[kind])
            out = state.out()
            numbers = state.items[: count * stride].tolist()
            for base in range(0, count * stride, stride):
                items.append(self._native_item(numbers[base : base + stride], out))
            at = state.stopped[0]
            if state.why[0] <= 0:
                break
        if state.why[0] < 0:
            self.flagged["malformed"] += 1
            return None
        return items

    def _native_item(self, numbers: list[int], out: bytes) -> NativeItem:
        start, end, status, layout, first, last, *facts = numbers
        if status:
            self.flagged[REASONS[status]] += 1
            return NativeItem(start, end, layout, None, ())
        identity: list[Any] = []
        for how, value, then in zip(self._identity[layout], facts[::2], facts[1::2], strict=False):
            if how in _TEXT_FACTS:
                identity.append(None if then < 0 else out[value:then].decode())
            else:
                identity.append(value if then or how != "number" else None)
        return NativeItem(start, end, layout, Columns(out[first:last]), identity)

    def _state(self) -> _State | None:
        state: _State | None = getattr(self._local, "state", None)
        if state is None and (loaded := library()) is not None:
            state = self._local.state = _State(loaded, self._numbers, self._blob, self._stride)
        return state


class _State:
    def __init__(self, loaded: ctypes.CDLL, numbers: array[int], blob: bytes, stride: int) -> None:
        self.library = loaded
        self.items = array("q", bytes(8 * stride * _MOST))
        self.stopped, self.size, self.why = array("q", [0]), array("q", [0]), array("i", [0])
        self.pointer = loaded.mm_json_new(numbers.buffer_info()[0], len(numbers), blob, len(blob))
        if not self.pointer:
            raise MemoryError

    def run(self, data: bytes, at: int, stride: int, between: int) -> int:
        to = [result.buffer_info()[0] for result in (self.items, self.stopped, self.size, self.why)]
        count: int = self.library.mm_json_items(self.pointer, data, len(data), at, _MOST, stride, between, *to)
        return count

    def out(self) -> bytes:
        size = self.size[0]
        return ctypes.string_at(self.library.mm_json_out(self.pointer), size) if size else b""

    def __del__(self) -> None:
        if getattr(self, "pointer", None):
            self.library.mm_json_free(self.pointer)
            self.pointer = None
