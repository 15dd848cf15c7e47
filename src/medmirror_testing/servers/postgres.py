"""A Postgres of one's own in a temporary folder: for the tests, the bench and the demonstration."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from medmirror.db import embedded
from medmirror.settings import Settings
from medmirror_testing import ending


class Postgres(NamedTuple):
    """A running server. *folder*: where there is room for files beside it; *settings*: name its home and no DSN."""

    folder: Path
    settings: Settings
    dsn: str


@contextmanager
def postgres(settings: Settings, prefix: str, *, keep: bool = False, durable: bool = True) -> Iterator[Postgres]:
    """An embedded server with *settings* in a temporary folder, for as long as a `with` lasts.

    However the `with` ends, by Ctrl-C, SIGTERM or SIGHUP too, the server is stopped and the folder removed, unless they
    are to be kept.

    Parameters
    ----------
    settings
        Of these all but ``home`` and ``dsn`` count.
    prefix
        Of the folder's name.
    keep
        Leave the server running, and the folder.
    durable
        Wait for the disk, as the server of a user does. Without it, what is killed loses nothing all the same.

    Raises
    ------
    EmbeddedServerError
        No server can be started here; nothing is left behind.
    """
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    folder.chmod(0o711)  # as root, Postgres runs as another user, who must be able to pass
    own = replace(settings, home=folder / "home", dsn=None)
    kept = False
    with ending.in_order() as signals:
        signals.hold()  # a server that has been half started could not be found, and would stay
        try:
            dsn = embedded.start(own, durable=durable)
            kept = keep
            signals.release()
            yield Postgres(folder, own, dsn)
        finally:
            signals.hold()
            if not kept:
                embedded.stop(own)
                shutil.rmtree(folder, ignore_errors=True)
