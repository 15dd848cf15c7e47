"""Links from a page to the next, as servers write them: whole, relative, or with the name of an inner host.

A server behind a proxy often does not know its outer name. Its links lead to an inner host, which is never asked: what
counts of such a link is its query, and that is asked of the address that we were told.
"""

from __future__ import annotations

import logging
from urllib.parse import urljoin, urlsplit

from medmirror.errors import RemoteRefused
from medmirror.remotes.http.client import Http

_log = logging.getLogger(__name__)


def onward(http: Http, asked: str, link: str) -> str:
    """The whole address of *link*, which the answer to *asked* gave: always one of the server's own origin.

    A relative link is taken from the address of the answer (RFC 3986). RemoteRefused, with what to do, for a link to
    another host that has no query.
    """
    whole = urljoin(http.address(asked), link)
    if http.is_own(whole):
        return whole
    try:
        parts = urlsplit(whole)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        parts, host = urlsplit(""), "unknown"
    if not parts.query:
        raise RemoteRefused(
            "The server's links lead to another host, and are no searches. Have the server say its outer address in its"
            " links, or give that host's as the setting url.",
            host=host,
        )
    base = http.address("").rstrip("/")
    own = urlsplit(http.address(asked)).path.removeprefix(urlsplit(base).path)
    _log.debug("a link names the host %s; it is asked of our own address", host)
    return f"{base}{own if own and parts.path.endswith(own) else ''}?{parts.query}"
