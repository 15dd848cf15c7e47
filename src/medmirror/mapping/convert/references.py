"""Converters of references to other records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medmirror.mapping.convert import fhir
from medmirror.mapping.convert.pairs import Pair, text_of
from medmirror.mapping.convert.scope import Scope
from medmirror.mapping.schema.kinds import Field


def reference(options: Mapping[str, Any], field: Field) -> Pair:
    feed = options["feed"]

    def up(value: Any, scope: Scope) -> dict[str, Any] | None:
        text = text_of(value).strip()
        return {"feed": feed, "id": text} if text else None

    def down(value: Any, scope: Scope) -> str:
        if value.get("feed") != feed:
            raise ValueError("a record of another feed")
        return str(value["id"])

    return Pair(up, down)


def link_id(options: Mapping[str, Any], field: Field) -> Pair:
    feed, link = options["feed"], options.get("link", "{id}")

    def up(value: Any, scope: Scope) -> dict[str, Any] | None:
        text = text_of(value).strip().partition("?")[0].rstrip("/")
        if not text:
            return None
        last = text.rpartition("/")[2]
        return {"feed": feed, "id": last}

    def down(value: Any, scope: Scope) -> str:
        if value.get("feed") != feed:
            raise ValueError("a record of another feed")
        return str(link).replace("{id}", value["id"])

    return Pair(up, down)


def fhir_reference(options: Mapping[str, Any], field: Field) -> Pair:
    feed = options.get("feed")
    return Pair(lambda value, scope: fhir.reference(value, feed), lambda value, scope: fhir.written(value))
