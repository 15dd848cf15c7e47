"""The reference reader of an XML item: lxml, driven by a Layout. Slow and right; the native one must agree with it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from medmirror.copyformat import encoder
from medmirror.errors import InvalidRecord, ParseError
from medmirror.readers.xml.dates import exact_date, first_day, stated_date
from medmirror.readers.xml.layout import Element, Layout, Put
from medmirror.readers.xml.markup import Text, attribute_name, escaped, is_markup, name_of, text_of
from medmirror.readers.xml.parsing import parse
from medmirror.readers.xml.scripts import SPACE

_MAX_DEPTH = 200  # real records are 15 deep; libxml2's own default limit is 256
_INT_COLUMN = re.compile(r"[0-9]{1,18}\Z")

Fields = dict[str, Any]


def fields(item: bytes, layout: Layout) -> Fields:
    """The values of *item* by column, None where it has none. Raises RecordError."""
    element = parse(item, layout.namespaces)
    rule = layout.roots.get(name_of(element))
    if rule is None:
        raise InvalidRecord("The item is not an element that this source knows.")
    return _Reading(layout).read(element, rule)


def row_maker(layout: Layout) -> Callable[[bytes], bytes]:
    """A function from an item's bytes to its binary COPY tuple. That function raises RecordError."""
    encode = encoder(layout.columns)
    names = [column.name for column in layout.columns]

    def row(item: bytes) -> bytes:
        values = fields(item, layout)
        return encode([values[name] for name in names])

    return row


class _Reading:
    """The reading of one item into columns. Objects are dicts; the innermost one is passed down."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.kinds = {column.name: column.kind for column in layout.columns}
        self.ranked: dict[str, dict[int, Any]] = {}
        self.marked: dict[tuple[str, int], bool] = {}  # whether a text with its markup, by column and rank, has any
        self.extra: list[dict[str, Any]] = []

    def read(self, element: Any, rule: Element) -> Fields:
        self._element(element, rule, rule.name, None, {}, 0)
        values: Fields = dict.fromkeys(self.kinds)
        values.update(self.layout.constants[rule.name])
        for name, ranks in self.ranked.items():
            in_order = sorted(ranks)
            chosen = next((rank for rank in in_order if ranks[rank] != ""), in_order[0])
            values[name] = ranks[chosen] if self.marked.get((name, chosen), True) else None
            if self.kinds[name].startswith("int"):
                values[name] = integer(name, values[name])
        for name in self.layout.required:
            if values[name] is None:
                raise InvalidRecord(f"Column {name} has no value.")
        if self.extra:
            values[self.layout.extra] = self.extra
        return values

    def _element(
        self, element: Any, rule: Element, path: str, target: Any, carried: dict[str, Any], depth: int
    ) -> dict[str, str]:
        """Store *element*; return the date parts found in its own text."""
        if depth > _MAX_DEPTH:
            raise ParseError("The item is nested too deeply.")
        if rule.to_extra:
            self._keep(element, path, depth)
            return {}
        if rule.opens:
            target = self._open(rule.opens.where, rule.opens.name, target, carried)
            if target is None:
                self._keep(element, path, depth)
                return {}
        carried, parts, unknown = {}, dict[str, str](), {}
        for name, value in element.attrib.items():
            name = attribute_name(element, name)
            puts = rule.attributes.get(name)
            text = Text(value.strip(SPACE), "", False)
            if puts is None or not all(self._put(put, text, element, target, carried, parts) for put in puts):
                unknown[name] = value
        for name, puts in rule.attributes.items():
            if element.get(name) is None:
                self._absent(puts)
        if unknown:
            self.extra.append({"path": path, "attributes": unknown})
        if rule.text:
            text = text_of(element)
            stored = [self._put(put, text, element, target, carried, parts) for put in rule.text]
            if not all(stored):
                self.extra.append({"path": path, **_both(text)})
            return parts
        self._children(element, rule, path, target, carried, depth)
        return parts

    def _children(
        self, element: Any, rule: Element, path: str, target: Any, carried: dict[str, Any], depth: int
    ) -> None:
        parts: dict[str, str] = {}
        stray = [element.text or ""]
        for child in element:
            name = name_of(child)
            below = rule.children.get(name)
            if below is None:
                self._keep(child, f"{path}/{name}", depth + 1)
            else:
                dates = self._element(child, below, f"{path}/{name}", target, carried, depth + 1)
                parts = {**dates, **parts}
            stray.append(child.tail or "")
        if any(text.strip() for text in stray):
            self.extra.append({"path": path, "text": "".join(stray).strip()})
        if rule.date:
            self._date(rule, parts, element, path)

    def _date(self, rule: Element, parts: dict[str, str], element: Any, path: str) -> None:
        assert rule.date
        name, exact, year = rule.date
        if exact:
            day = exact_date(parts.get("Year", ""), parts.get("Month", ""), parts.get("Day", ""))
            if day is None or name in self.ranked or len(element) != 3:
                self.extra.append({"path": path, "text": " ".join(text_of(child).plain for child in element)})
        else:
            words = parts.get("MedlineDate") or " ".join(text_of(child).plain for child in element)
            day = first_day(parts.get("Year", ""), parts.get("Month"), parts.get("Day")) or stated_date(words)
        if day is not None:
            self.ranked.setdefault(name, {0: day})
            if year:
                self.ranked.setdefault(year, {0: str(day.year)})

    def _open(self, where: str, name: str, target: Any, carried: dict[str, Any]) -> Any:
        """The new object; None when there is already one and there can be only one."""
        new: dict[str, Any] = dict(carried)
        if where == "column":
            self.ranked.setdefault(name, {0: []})[0].append(new)
        elif where == "list":
            target.setdefault(name, []).append(new)
        elif where == "single":
            if name in self.ranked:
                return None
            self.ranked[name] = {0: new}
        else:
            if name in target:
                return None
            target[name] = new
        return new

    def _put(
        self, put: Put, text: Text, element: Any, target: Any, carried: dict[str, Any], parts: dict[str, str]
    ) -> bool:
        """Whether *text* is stored by *put*, or need not be."""
        if put.where == "extra":
            return False
        if any((_value(element, name) == expected) is not equal for name, expected, equal in put.when):
            return True
        stored: Any = text.marked if put.marked else text.plain
        if put.yes_no:
            if stored not in ("Y", "N"):
                return False
            stored = stored == "Y"
        if put.where == "column":
            if put.marked:
                place = put.name, put.rank
                self.marked[place] = self.marked.get(place, False) or text.has_markup
            return self._put_column(put, stored, element)
        if put.where == "list":
            target.setdefault(put.name, []).append(stored)
            return True
        holder = {"key": target, "carry": carried, "part": parts}[put.where]
        if put.name in holder:
            return False
        holder[put.name] = stored
        return True

    def _put_column(self, put: Put, value: Any, element: Any) -> bool:
        if put.first and value == "":
            return True
        ranks = self.ranked.setdefault(put.name, {})
        if self.kinds[put.name] == "text[]":
            ranks.setdefault(0, []).append(value)
        elif put.join is not None:
            label = _value(element, put.label) if put.label else None
            label = escaped(label) if label and put.marked else label
            value = f"{label}: {value}" if label else value
            ranks[put.rank] = ranks[put.rank] + put.join + value if put.rank in ranks else value
        elif put.rank in ranks:
            return put.first or ranks[put.rank] == value
        else:
            ranks[put.rank] = value
        return True

    def _absent(self, puts: tuple[Put, ...]) -> None:
        """Keep the elements of a text[] column in step with those of the column beside it."""
        for put in puts:
            if put.where == "column" and self.kinds[put.name] == "text[]":
                self.ranked.setdefault(put.name, {}).setdefault(0, []).append(None)

    def _keep(self, element: Any, path: str, depth: int) -> None:
        """Put *element* and all below it into ``extra``, one entry an element that says anything."""
        if depth > _MAX_DEPTH:
            raise ParseError("The item is nested too deeply.")
        entry: dict[str, Any] = {"path": path}
        if element.attrib:
            entry["attributes"] = {attribute_name(element, name): value for name, value in element.attrib.items()}
        own = (element.text or "") + "".join(child.tail or "" for child in element)
        mixed = len(element) > 0 and all(is_markup(child) for child in element)
        if mixed or not len(element):
            entry |= _both(text_of(element))
        elif own.strip(SPACE):
            entry["text"] = own.strip(SPACE)
        if len(entry) > 1:
            self.extra.append(entry)
        for child in element if not mixed else ():
            self._keep(child, f"{path}/{name_of(child)}", depth + 1)


def _both(text: Text) -> dict[str, str]:
    return {"text": text.plain, "markup": text.marked} if text.has_markup else {"text": text.plain}


def _value(element: Any, name: str) -> str | None:
    value = element.get(name)
    return None if value is None else str(value).strip(SPACE)


def integer(name: str, text: str) -> int:
    """The number that *text* is. Raises InvalidRecord, which names *name*."""
    text = text.strip(" \t\r\n")
    if not _INT_COLUMN.match(text):
        raise InvalidRecord(f"Column {name} is not a number.")
    return int(text)
