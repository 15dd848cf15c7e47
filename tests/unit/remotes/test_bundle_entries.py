"""A server's Bundle: each of its entries is read, or the answer is refused."""

from __future__ import annotations

import pytest

from medmirror.errors import RemoteUnavailable
from medmirror.remotes.fhir import bundles

ONE, OTHER = (b'[{"resource":{"resourceType":"Patient","id":"%d"}}]' % number for number in (1, 2))


def bundle(*lists: bytes) -> bytes:
    return b'{"resourceType":"Bundle"' + b"".join(b',"entry":' + entries for entries in lists) + b"}"


@pytest.mark.parametrize("body", [bundle(ONE, OTHER), bundle(ONE, b"[]"), bundle(ONE[1:-1]), bundle(b"7")])
def test_a_bundle_with_entries_that_cannot_be_read_is_refused(body: bytes) -> None:
    with pytest.raises(RemoteUnavailable):
        bundles.read(body)


@pytest.mark.parametrize(("body", "entries"), [(bundle(ONE), 1), (bundle(b"[ ]"), 0), (bundle(), 0)])
def test_its_entries_are_read(body: bytes, entries: int) -> None:
    assert len(bundles.read(body).entries) == entries
