"""The part of requirements.lock that some extras of medmirror need, with its hashes, on standard output.

    python scripts/locked.py [EXTRA ...]    # "build": what builds medmirror itself

pip takes an editable install and hashes only apart from one another. So scripts/setup installs these first, by
`pip install --require-hashes`, and medmirror after them, without dependencies. The lock says of each package who asks
for it (`# via`); what nobody asks for who is needed is left out. Needs nothing but Python.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = "build"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_OWN = re.compile(r"medmirror\[([\w,-]+)\]")


def normal(name: str) -> str:
    """The *name* of a package as indexes write it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def asked_for(extras: Iterable[str]) -> set[str]:
    """The packages that pyproject.toml names for *extras*, and for medmirror itself. SystemExit for no extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    able = {**project["project"]["optional-dependencies"], BUILD: project["build-system"]["requires"]}
    waiting, met, names = list(extras), set[str](), set[str]()
    requirements = [] if waiting == [BUILD] else list(project["project"]["dependencies"])
    while waiting:
        extra = waiting.pop()
        if extra not in able:
            raise SystemExit(f"There is no extra {extra!r}; there are {', '.join(sorted(able))}.")
        if extra not in met:
            met.add(extra)
            requirements += able[extra]
            waiting += [inner for text in able[extra] if (own := _OWN.match(text)) for inner in own[1].split(",")]
    for text in requirements:
        match = _NAME.match(text)
        if match and not _OWN.match(text):
            names.add(normal(match[0]))
    return names


def blocks(lock: str) -> dict[str, list[tuple[str, set[str]]]]:
    """By package: its entries in the text of a lock, each with those that ask for it. Two where versions differ."""
    entries: dict[str, list[tuple[str, set[str]]]] = {}
    for block in re.split(r"\n(?=\S)", lock.strip()):
        match = _NAME.match(block)
        if match:
            via = re.findall(r"# via (.*)", block)
            parents = {normal(name.split("[")[0].strip()) for line in via for name in line.split(",")}
            entries.setdefault(normal(match[0]), []).append((block, parents))
    return entries


def locked(extras: Iterable[str], lock: str) -> list[str]:
    """The entries of *lock* for *extras* and all that they need. SystemExit when one is not in the lock."""
    entries = blocks(lock)
    names = asked_for(extras)
    if missing := sorted(names - entries.keys()):
        raise SystemExit(f"requirements.lock lacks {', '.join(missing)}; renew it as CONTRIBUTING.md says.")
    grown = True
    while grown:
        more = {name for name, of_name in entries.items() if any(parents & names for _, parents in of_name)} - names
        names |= more
        grown = bool(more)
    return [block for name in sorted(names) for block, _ in entries[name]]


if __name__ == "__main__":
    print("\n".join(locked(sys.argv[1:], (ROOT / "requirements.lock").read_text(encoding="utf-8"))))
