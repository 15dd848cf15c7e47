"""Files on their way to the disk: parts, what stands beside them, and a write that is whole or not there."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import orjson

from medmirror.readers import folders


def part(path: Path) -> Path:
    """Where *path* is while it is not complete."""
    return path.with_name(path.name + ".part")


def meta(path: Path) -> Path:
    """Where it is said of which version of the file the bytes are."""
    return path.with_name(path.name + ".meta")


def size(path: Path) -> int:
    """How many bytes are there; 0 for no file."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def md5(path: Path) -> str:
    """The MD5 of a file, hexadecimal."""
    with folders.open_file(path, path.parent) as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def read_meta(path: Path) -> dict[str, str]:
    """What is said of the bytes of *path*; nothing when that cannot be read."""
    try:
        facts = orjson.loads(folders.beside(path, ".meta") or b"")
    except ValueError:
        return {}
    return {str(name): str(value) for name, value in facts.items()} if isinstance(facts, dict) else {}


def write_meta(path: Path, facts: Mapping[str, str]) -> None:
    """Say *facts* of the bytes of *path*."""
    write(meta(path), orjson.dumps(dict(facts)))


def write(path: Path, body: bytes) -> None:
    """Write *body* as *path*, wholly or not at all."""
    under_way = part(path)
    with under_way.open("wb") as out:
        out.write(body)
        out.flush()
        os.fsync(out.fileno())
    under_way.replace(path)
    flush(path.parent)


def flush(folder: Path) -> None:
    """Have the names in *folder* on the disk."""
    with suppress(OSError):  # not every file system can
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
