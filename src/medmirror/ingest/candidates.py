"""From what the user named to candidates: every file to load, and everything that is left out, with the reason.

In a folder are left out: hidden files and folders (also what macOS and Windows put beside files), checksums, documents
by their ending (unless a mapping file names them), links, and what is no regular file. The same holds in an archive.
Links and special files are told apart from the rest: they may stand for records that nobody read, so a pass that met
one is not whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from medmirror import sources
from medmirror.errors import UsageError
from medmirror.readers import folders
from medmirror.sources.base import Given, Source

HIDDEN = "hidden"
CHECKSUM = "a checksum"
DOCUMENT = "a document by its name"
LINK = "a link, which is never followed"
SPECIAL = "no regular file, which is never opened"
DEEP = f"a folder below {folders.DEPTH} others, which is not searched"

UNREAD = {
    LINK: "a link was not followed",
    SPECIAL: "what is no regular file was not opened",
    DEEP: f"a folder below {folders.DEPTH} others was not searched",
}
"""Reasons that may hide records, each as a certificate says it."""

_ALWAYS = {folders.LINK: LINK, folders.SPECIAL: SPECIAL, folders.DEEP: DEEP}
_HIDDEN = {"__macosx", "thumbs.db", "desktop.ini"}  # what only some systems hide
_CHECKSUMS = {".md5", ".sha256"}
_DOCUMENTS = {".txt", ".md", ".dtd", ".yaml", ".yml", ".pdf", ".xlsx", ".html", ".py"}
_SIGNS = "*?["
_SHOWN = 5  # names of each reason

Named = Callable[[str], bool]
"""File name -> whether a mapping file names it as an export."""


class Candidate(NamedTuple):
    """A file that may be loaded. *beneath*: the folder that it was found in, below which no link is followed; None: the
    user named the file itself. *ignored*: why it is not loaded; empty: it is."""

    path: Path
    beneath: Path | None = None
    ignored: str = ""

    def __str__(self) -> str:
        return folders.shown(self.path)

    @property
    def name(self) -> str:
        """What messages call it: its place below the folder that the user named."""
        return folders.shown(self.path.relative_to(self.beneath) if self.beneath else self.path)


def named(source: Source | None, given: Given) -> Named:
    """Tells whether what the user *given* names a file as an export, for *source* or, with None, for any."""
    able = [source] if source else [sources.get(name) for name in sources.names()]
    claims = [source.claims for source in able if source.claims]
    return lambda name: any(claim(name, given) is True for claim in claims)


def is_document(name: str, exports: Named) -> bool:
    """Whether a file called *name* is a document that lies beside the exports."""
    return Path(name).suffix.lower() in _DOCUMENTS and not exports(name)


def find(paths: Iterable[Path | Candidate], exports: Named = lambda name: False) -> Iterator[Candidate]:
    """The candidates that *paths* name, folders searched through, each in the order of its names.

    Candidates that were found before are given back as they are. Raises UsageError for a folder without any file to
    load, naming what was left out there; UnreadableFile for one that cannot be searched.
    """
    for path in paths:
        if isinstance(path, Candidate):
            yield path
        elif not path.is_dir():
            yield Candidate(path)
        else:
            left: list[Candidate] = []
            loadable = 0
            for candidate in below(path, exports):
                loadable += not candidate.ignored
                if not loadable:
                    left.append(candidate)
                yield candidate
            if not loadable:
                raise UsageError(f"The folder {folders.shown(path)} holds no file to load{left_out(left)}.")


def of(path: Path, exports: Named = lambda name: False) -> Iterator[Candidate]:
    """Every candidate that *path* of the user's names, however few."""
    return below(path, exports) if path.is_dir() else iter((Candidate(path),))


def below(folder: Path, exports: Named = lambda name: False) -> Iterator[Candidate]:
    """Every candidate in *folder*, which may be a link itself."""
    for parts, kind in folders.walk(folder, lambda parts: not _is_hidden(parts[-1])):
        yield Candidate(folder.joinpath(*parts), folder, _reason(parts, kind, exports))


def _reason(parts: Sequence[str], kind: str, exports: Named) -> str:
    """Why an entry of a folder is not loaded; empty: it is. A folder that cannot be read is refused on opening."""
    name = parts[-1] if parts else ""
    if _is_hidden(name):
        return HIDDEN
    if kind in _ALWAYS or kind == folders.CLOSED:
        return _ALWAYS.get(kind, "")
    if Path(name).suffix.lower() in _CHECKSUMS:
        return CHECKSUM
    return DOCUMENT if is_document(name, exports) else ""


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in _HIDDEN


def of_member(member: str, exports: Named) -> str:
    """Why a member of an archive is not loaded, by the names of it and of its folders; empty: it is."""
    *ways, name = PurePosixPath(member.replace("\\", "/")).parts or ("",)
    return HIDDEN if any(map(_is_hidden, ways)) else _reason((name,), folders.FILE, exports)


def is_pattern(path: str) -> bool:
    """Whether *path* names files by signs that stand for others."""
    return any(sign in path for sign in _SIGNS)


def matches(start: Path, pattern: str, exports: Named = lambda name: False) -> Iterator[Candidate]:
    """The candidates that *pattern* matches, relative to *start*: files, and what is in the folders that it matches.

    The folders before the first sign are named by the operator and may be links; below them none is followed. As in a
    shell a sign stands for no leading dot. An ending that the pattern itself has makes no file a document.
    """
    parts = Path(pattern).parts
    first = next(place for place, part in enumerate(parts) if is_pattern(part))
    base, signs = start.joinpath(*parts[:first]), parts[first:]
    if not base.is_dir():
        return
    ending = Path(signs[-1]).suffix.lower()
    for parts, kind in folders.walk(base, lambda parts: _within(parts, signs) or _fits(parts, signs, partly=True)):
        if not _within(parts, signs) and (kind == folders.FILE or not _fits(parts, signs, partly=True)):
            continue
        exact = _fits(parts, signs) and Path(parts[-1]).suffix.lower() == ending
        reason = _ALWAYS.get(kind, "") if exact else _reason(parts, kind, exports)
        yield Candidate(base.joinpath(*parts), base, reason)


def _within(parts: Sequence[str], signs: Sequence[str]) -> bool:
    """Whether *parts* is what the pattern matches, or stands in a folder that it matches."""
    visible = next((place for place in range(len(parts), 0, -1) if parts[place - 1].startswith(".")), 0)
    return any(_fits(parts[:count], signs) for count in range(max(1, visible), len(parts) + 1))


def _fits(parts: Sequence[str], signs: Sequence[str], partly: bool = False) -> bool:
    """Whether the names *parts* are what the pattern's parts *signs* match (*partly*: or lead there)."""
    if not signs:
        return not parts
    if signs[0] == "**":
        inner = bool(parts) and not parts[0].startswith(".") and _fits(parts[1:], signs, partly)
        return inner or _fits(parts, signs[1:], partly) or (partly and not parts)
    if not parts:
        return partly
    shown = signs[0].startswith(".") or not parts[0].startswith(".")
    return shown and fnmatchcase(parts[0], signs[0]) and _fits(parts[1:], signs[1:], partly)


def tally(candidates: Iterable[Candidate]) -> dict[str, dict[str, Any]]:
    """How many candidates were left out for each reason, and the names of the first few."""
    left = _by_reason(candidates)
    return {reason: {"count": len(names), "names": names[:_SHOWN]} for reason, names in sorted(left.items())}


def left_out(candidates: Iterable[Candidate]) -> str:
    """What was left out, as the end of a sentence; empty: nothing was."""
    left = sorted(_by_reason(candidates).items())
    texts = [f"{len(names)} x {reason} ({_few(names)})" for reason, names in left]
    return f"; left out: {'; '.join(texts)}" if texts else ""


def unread(candidates: Iterable[Candidate]) -> tuple[str, ...]:
    """Why a pass that met *candidates* is not whole, as a certificate says it; none: they hide nothing."""
    left = _by_reason(candidates).items()
    return tuple(f"{UNREAD[reason]}: {_few(names)}" for reason, names in left if reason in UNREAD)


def _by_reason(candidates: Iterable[Candidate]) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    for candidate in candidates:
        if candidate.ignored:
            names.setdefault(candidate.ignored, []).append(candidate.name)
    return names


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
