"""An XML item parsed by lxml. Nothing outside of the item is ever read: no DTD, no external entity.

HTML's named entities are known by themselves, since the DTD that would declare them is not fetched; any other
undeclared entity is an error of the record.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from html.entities import html5
from typing import Any

from lxml import etree

from medmirror.errors import ParseError

_ENTITY = re.compile(rb"<!\[CDATA\[.*?\]\]>|<!--.*?-->|<\?.*?\?>|&([A-Za-z][A-Za-z0-9]*);", re.DOTALL)
_PREFIX = re.compile(rb"[\s<]([A-Za-z_][\w.-]*):[A-Za-z_]")
_XML_ENTITIES = {b"amp", b"lt", b"gt", b"quot", b"apos"}


def parse(item: bytes, namespaces: Mapping[str, str]) -> Any:
    """The lxml element of *item*. Raises ParseError when it is not well formed."""
    if b"&" in item:
        item = _ENTITY.sub(_numeric_entity, item)
    try:
        return _parse(item, namespaces)
    except etree.XMLSyntaxError as error:
        if b":" in item and error.code == etree.ErrorTypes.NS_ERR_UNDEFINED_NAMESPACE:
            # declared on the set's root, outside of the item: any name for the namespace will do
            undeclared = {prefix.decode(): f"urn:{prefix.decode()}" for prefix in _PREFIX.findall(item)}
            for reserved in ("xml", "xmlns"):
                undeclared.pop(reserved, None)
            try:
                return _parse(item, {**undeclared, **namespaces})
            except etree.XMLSyntaxError as second:
                error = second
        raise ParseError(f"The item is not well-formed XML (libxml2 error {error.code}).") from None
    except ValueError:
        raise ParseError("The item is not well-formed XML.") from None


def _parse(item: bytes, namespaces: Mapping[str, str]) -> Any:
    parser = etree.XMLParser(
        encoding="utf-8",
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=True,
        remove_comments=True,
        remove_pis=True,
    )
    declared = "".join(f' xmlns:{prefix}="{uri}"' for prefix, uri in namespaces.items()).encode()
    root = etree.fromstring(b"<item" + declared + b">" + item + b"</item>", parser)
    if len(root) != 1 or (root.text or "").strip() or (root[0].tail or "").strip():
        raise ParseError("The item is not one element.")
    return root[0]


def _numeric_entity(match: re.Match[bytes]) -> bytes:
    name = match[1]
    if name is None or name in _XML_ENTITIES:
        return match[0]
    characters = html5.get(name.decode() + ";")
    if characters is None:
        raise ParseError("The item uses an entity that nothing declares.")
    return b"".join(b"&#%d;" % ord(character) for character in characters)
