"""What stands below a folder, and how a file there is opened: no link is followed on the way.

Somebody else may write into a folder that an operator names. A link there could lead into another clinic's folder, and
a FIFO would hold the reader for ever. So a folder is searched, and a file below it is opened, by directory descriptors,
each step without following a link: a folder that is swapped for a link meanwhile does not help. What the operator names
himself may be a link.
"""

from __future__ import annotations

import errno
import io
import os
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from medmirror.errors import UnreadableFile

FILE, LINK, SPECIAL, PASSED, DEEP, CLOSED = "file", "link", "special", "passed", "deep", "closed"
DEPTH = 64  # folders within one another that are searched; each holds a descriptor

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY  # a FIFO that is swapped in must not hold us
_BESIDE = 1 << 20  # bytes of a side file that are read


class _NotRegular(OSError):
    """What is there is no regular file; its text says what."""


class Entry(NamedTuple):
    """Something below a folder: its names from there on, and its kind: FILE, LINK, SPECIAL (a FIFO, a socket, a
    device), or that of a folder that is not searched: PASSED (not asked for), DEEP (below DEPTH others) or CLOSED (this
    user may not, or cannot)."""

    parts: tuple[str, ...]
    kind: str


def walk(folder: Path, enters: Callable[[tuple[str, ...]], bool] = lambda parts: True) -> Iterator[Entry]:
    """All that stands below *folder*: in each folder first what is no folder, then its folders, both by name.

    *enters* says whether to search a folder, by its names from *folder* on. Raises UnreadableFile for *folder* itself.
    """
    try:
        descriptor = os.open(folder, _FOLDER)
    except OSError as error:
        raise unreadable(folder, error) from None
    yield from _walk(descriptor, (), enters)


def _walk(descriptor: int, parts: tuple[str, ...], enters: Callable[[tuple[str, ...]], bool]) -> Iterator[Entry]:
    """The entries of the folder open as *descriptor*, which is closed in the end."""
    try:
        try:
            with os.scandir(descriptor) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError:
            yield Entry(parts, CLOSED)
            return
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False):
                yield Entry((*parts, entry.name), _kind(entry))
        for entry in entries:
            below = (*parts, entry.name)
            if not entry.is_dir(follow_symlinks=False):
                continue
            if not enters(below) or len(below) > DEPTH:
                yield Entry(below, DEEP if enters(below) else PASSED)
                continue
            try:
                inner = os.open(entry.name, _FOLDER | os.O_NOFOLLOW, dir_fd=descriptor)
            except FileNotFoundError:
                continue  # it has gone since
            except OSError as error:
                yield Entry(below, LINK if error.errno in (errno.ELOOP, errno.ENOTDIR) else CLOSED)
                continue
            yield from _walk(inner, below, enters)
    finally:
        os.close(descriptor)


def _kind(entry: os.DirEntry[str]) -> str:
    if entry.is_symlink():
        return LINK
    return FILE if entry.is_file(follow_symlinks=False) else SPECIAL


def open_file(path: Path, beneath: Path | None = None) -> io.FileIO:
    """The regular file at *path*, open without a buffer.

    Below *beneath* no link is followed, at no step. Without it *path* was named by the operator, and may be a link.
    Raises UnreadableFile.
    """
    try:
        descriptor = _opened(path, beneath)
    except OSError as error:
        raise unreadable(path, error) from None
    return os.fdopen(descriptor, "rb", buffering=0)


def facts(path: Path, beneath: Path | None = None) -> os.stat_result:
    """What the system says of the regular file at *path*, which is looked for as ``open_file`` does. UnreadableFile."""
    with open_file(path, beneath) as file:
        return os.fstat(file.fileno())


def _opened(path: Path, beneath: Path | None) -> int:
    if beneath is None:
        return _regular(os.fspath(path), None, 0)
    *folders, name = path.relative_to(beneath).parts
    if ".." in folders or name == "..":
        raise _NotRegular("The path leads out of its folder.")
    held = os.open(beneath, _FOLDER)
    try:
        for folder in folders:
            inner = os.open(folder, _FOLDER | os.O_NOFOLLOW, dir_fd=held)
            os.close(held)
            held = inner
        return _regular(name, held, os.O_NOFOLLOW)
    except NotADirectoryError:  # what a link gives for a folder
        raise _NotRegular("A folder on the way is a link, or gone; links in a folder are not followed.") from None
    finally:
        os.close(held)


def _regular(name: str, folder: int | None, more: int) -> int:
    """The regular file *name* in *folder*, opened. What is none is not opened: that alone moves some devices."""
    facts = os.stat(name, dir_fd=folder, follow_symlinks=not more)
    if stat.S_ISLNK(facts.st_mode):
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    if stat.S_ISDIR(facts.st_mode):
        raise _NotRegular("This is a folder, and it could not be searched; check its rights.")
    if not stat.S_ISREG(facts.st_mode):
        raise _NotRegular("This is not a regular file.")
    descriptor = os.open(name, _READ | more, dir_fd=folder)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _NotRegular("This is not a regular file.")
    return descriptor


def beside(path: Path, ending: str, beneath: Path | None = None) -> bytes | None:
    """The side file PATH + *ending*, at most 1 MiB of it; None when there is no such regular file. It is never read
    through a link."""
    try:
        descriptor = _opened(path.with_name(path.name + ending), beneath or path.parent)
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            return file.read(_BESIDE)
    except OSError:
        return None


def shown(path: str | os.PathLike[str]) -> str:
    """The name of *path* as text. A name is bytes: those that are no UTF-8 are shown as escapes (``\\xe9``)."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def path_of(text: str) -> Path:
    """The path that ``shown`` gave *text* for."""
    path = Path(text)
    if "\\x" not in text or os.path.lexists(path):
        return path
    return Path(os.fsdecode(_ESCAPE.sub(lambda match: bytes((int(match[1], 16),)), os.fsencode(text))))


_ESCAPE = re.compile(rb"\\x([89a-f][0-9a-f])")


def unreadable(path: Path, error: OSError) -> UnreadableFile:
    """The error for a file that the system will not give us, with the system's reason."""
    if isinstance(error, _NotRegular):
        return UnreadableFile(str(error), file=shown(path))
    if error.errno == errno.ELOOP:
        return UnreadableFile(
            "This is a link, or lies behind one; links in a folder are not followed.", file=shown(path)
        )
    return UnreadableFile("", file=shown(path), reason=error.strerror or type(error).__name__)
