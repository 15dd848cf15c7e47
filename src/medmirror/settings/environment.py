"""The process's environment: no other module of medmirror looks at it."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches

from medmirror.errors import UsageError
from medmirror.settings.variables import PREFIX

_PAGE = "docs/settings.md"
_NEAR = 0.6  # how like the rest of a name must be to one of ours, behind our prefix
_VERY_NEAR = 0.9  # and a whole name that may be another program's

# Kubernetes gives every container of a namespace such variables for each of its services, Docker's links do, too. A
# service called medmirror, or medmirror-db, must not keep our own containers from starting.
_SERVICE = re.compile(
    r"MEDMIRROR_(?:[A-Z0-9_]+_)??(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?"
    r"|PORT_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)"
)
_SERVICE_ADDRESS = re.compile(r"(?:tcp|udp|sctp)://\S+")


def process_environment() -> Mapping[str, str]:
    """The environment of this process, as it is now."""
    return os.environ


def lookup(name: str) -> str | None:
    """The value of the variable that the user named as the place of a secret or an address; None: it is not set."""
    return os.environ.get(name)


def child_environment(*, without: str | None = None, **values: str) -> dict[str, str]:
    """What a program that is started inherits, with *values* in it and no variable that begins with *without*."""
    kept = {name: value for name, value in os.environ.items() if without is None or not name.startswith(without)}
    return {**kept, **values}


def refuse_misspelt(environ: Mapping[str, str], names: Collection[str]) -> None:
    """Raise UsageError for a variable of *environ* that looks like a setting and is none of *names*.

    Every name with our prefix, in any case, looks like one; without the prefix, one that is nearly one of *names*.
    """
    for name in sorted(set(environ).difference(names)):
        if name.upper().startswith(PREFIX):
            if not _names_a_service(name, environ[name]):
                raise UsageError(f"{name} is no setting of medmirror; {_advice(name, names)}")
        elif nearest := get_close_matches(name.upper(), names, n=1, cutoff=_VERY_NEAR):
            raise UsageError(f"{name} is no setting of medmirror; did you mean {nearest[0]}?")


def _advice(name: str, names: Iterable[str]) -> str:
    ends = [each.removeprefix(PREFIX) for each in names if each.startswith(PREFIX)]
    nearest = get_close_matches(name.upper().removeprefix(PREFIX), ends, n=1, cutoff=_NEAR)
    if nearest:
        return f"did you mean {PREFIX}{nearest[0]}?"
    return f"{_PAGE} lists them all. A variable of your own, for a secret, needs another prefix."


def _names_a_service(name: str, value: str) -> bool:
    if name.endswith("_PORT") and _SERVICE_ADDRESS.fullmatch(value):
        return True
    return _SERVICE.fullmatch(name) is not None
