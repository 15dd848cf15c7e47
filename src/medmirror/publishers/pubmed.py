"""PubMed's baseline and update files from NLM's server.

**What is new.** A file that was not mirrored, or whose MD5 is another than when it was. The MD5 is asked for only where
the list's date or size of the file has changed.

**Order.** Files are loaded in the order of their numbers. The source orders copies of a citation by file, so that it
would come to the same in any order.

**A new year.** Each December's baseline replaces everything before it, under new numbers. It is loaded above what is
there; citations that are not in it are of last year's and are counted: nobody lists them. With ``--tombstones`` they
are buried, after all of the baseline was loaded without a reject. NLM's own advice, to discard the old copy and load
anew, comes to the same.

**A baseline is posted over hours**, and nothing says that it is whole. It is taken for whole once an update file of its
year goes on behind it, and it has no fewer files than the last one; until then nothing is counted as gone.

**A gap in the numbers** is a list that is not whole: nothing is loaded, for what an update file corrects may be in the
one that is missing. A person who has looked may accept a named gap, for good, or begin behind it.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from medmirror.errors import ListingIncomplete, UsageError
from medmirror.ingest.burial import Gone
from medmirror.publishers import vanished
from medmirror.publishers.base import Here, Known, Loaded, Result, Tool, batches
from medmirror.publishers.disk import write
from medmirror.publishers.download import Wanted
from medmirror.sources.pubmed import beginning

ADDRESS = "https://ftp.ncbi.nlm.nih.gov/pubmed"
OTHERS: tuple[str, ...] = ()
_FOLDERS = ("baseline", "updatefiles")
_LINK = re.compile(r"<a\s+href=[\"']?([^\"'>\s]+)[\"']?[^>]*>[^<]*</a>([^\r\n]*)", re.IGNORECASE)
_TAG = re.compile(r"<[^>]*>")
_FILE = re.compile(r"pubmed(\d{2})n(\d{4,6})\.xml\.gz", re.ASCII)
_SINCE = re.compile(r"(?:pubmed)?(\d{2})n(\d{4,6})(?:\.xml\.gz)?", re.ASCII)
_MD5 = re.compile(r"MD5\s*\(([^)]+)\)\s*=\s*([0-9a-fA-F]{32})", re.ASCII)
_SHOWN = 10
_GAP = "gap "  # marks of files that a person no longer waits for


class File(NamedTuple):
    """A file of the list: *listed* is what it says of it (date and size; empty: nothing)."""

    year: int
    number: int
    folder: str
    name: str
    listed: str


def run(tool: Tool) -> Result:
    """Mirror what is new."""
    listed = [file for folder in _FOLDERS for file in _list(tool, folder)]
    year, files = _newest(tool, listed)
    begin = _begin(tool.options.since, year)
    gaps = _check(files, begin, _accepted(tool, year))
    remembered = {} if tool.options.since == "all" else tool.known()
    wanted = [file for file in files if file.number >= begin]
    todo = list(_new(tool, wanted, remembered))
    tool.result.new = [file.name for file, _ in todo]
    if tool.options.dry_run:
        tool.result.status = "dry run"
        return tool.result
    tool.mark({f"{_GAP}{name}": "accepted" for name in gaps if name in tool.options.accepted})
    _say_year(tool, year, remembered)
    for batch in batches(_fetch(tool, todo)):
        tool.load(batch)
    _settle(tool, year, files, gaps)
    if not todo:
        tool.result.status = "nothing new"
    if files:
        tool.mark({"files": files[-1].name})
    return tool.result


def _list(tool: Tool, folder: str) -> Iterator[File]:
    """The files of *folder* that have their checksum beside them."""
    answer = tool.downloads.get(f"{folder}/", headers={"Accept": "text/html"})
    names: dict[str, str] = {}
    for link, behind in _LINK.findall(answer.body.decode("utf-8", "replace")):
        name = html.unescape(link).removeprefix("./")
        if _FILE.fullmatch(name.removesuffix(".md5")):
            names[name] = " ".join(html.unescape(_TAG.sub(" ", behind)).split())
    for name, listed in names.items():
        if (match := _FILE.fullmatch(name)) and f"{name}.md5" in names:
            both = f"{listed} / {names[f'{name}.md5']}" if listed else ""
            yield File(int(match[1]), int(match[2]), folder, name, both)


def _newest(tool: Tool, listed: Sequence[File]) -> tuple[int, list[File]]:
    """The newest year that has a baseline, and its files in order. Raises ListingIncomplete when there is none."""
    years = {file.year for file in listed if file.folder == "baseline"}
    if not years:
        raise ListingIncomplete("The publisher's list names no baseline file; look at the address, or try again later.")
    year = max(years)
    if ahead := sorted(file.name for file in listed if file.year > year):
        raise ListingIncomplete(
            f"There are update files of a year whose baseline is not there yet ({ahead[0]}); try again later."
        )
    if left := [file for file in listed if file.year < year]:
        tool.note(f"{len(left):,} files of earlier years are still listed; the baseline of {year:02d} replaces them.")
    return year, sorted(file for file in listed if file.year == year)


def _accepted(tool: Tool, year: int) -> set[str]:
    """The files of the year that a person no longer waits for, named now or before. Raises UsageError."""
    for name in tool.options.accepted:
        named = _SINCE.fullmatch(name)
        if named is None or not name.startswith("pubmed") or not name[-1].isdigit():
            raise UsageError(f"Write --accept-gap as a file that is missing, such as pubmed{year:02d}n0001.")
    before = {mark.removeprefix(_GAP) for mark in tool.marks() if mark.startswith(_GAP)}
    return before | set(tool.options.accepted)


def _check(files: Sequence[File], begin: int, accepted: set[str]) -> list[str]:
    """The names of files that are missing and not waited for, because they are *accepted* or stand before *begin*.

    Raises ListingIncomplete for other numbers that are missing, or there twice; it names them.
    """
    numbers = [file.number for file in files]
    whole = range(1, (numbers[-1] if numbers else 0) + 1)
    year = files[0].year if files else 0
    absent = {number: f"pubmed{year:02d}n{number:04d}" for number in sorted(set(whole) - set(numbers))}
    missing = [name for number, name in absent.items() if number >= begin and name not in accepted]
    if missing:
        named = ", ".join(missing[:_SHOWN])
        more = f" and {len(missing) - _SHOWN:,} more" if len(missing) > _SHOWN else ""
        raise ListingIncomplete(
            f"The publisher's list has gaps: {named}{more} (or their .md5) are missing. Try again later. If NLM says "
            f"that a file will not come, go on without it: --accept-gap {missing[0]}."
        )
    if len(numbers) != len(set(numbers)):
        twice = next(number for number in numbers if numbers.count(number) > 1)
        raise ListingIncomplete(f"Number {twice} stands in both lists of the publisher; try again later.")
    last = max((file.number for file in files if file.folder == "baseline"), default=0)
    if any(file.number < last for file in files if file.folder != "baseline"):
        raise ListingIncomplete("The publisher's baseline and update files overlap; try again later.")
    return list(absent.values())


def _begin(since: str, year: int) -> int:
    if since in ("auto", "all"):
        return 1
    named = _SINCE.fullmatch(since)
    if named is None or int(named[1]) != year:
        raise UsageError(f"Write --since as auto, all, or a file to begin with, such as pubmed{year:02d}n0001.")
    return int(named[2])


def _new(tool: Tool, wanted: Sequence[File], remembered: Mapping[str, Known]) -> Iterator[tuple[File, str]]:
    """Those of *wanted* that are to be fetched, each with its MD5."""
    for file in wanted:
        before = remembered.get(file.name)
        if before is not None and file.listed and file.listed == before.listed:
            continue
        if tool.options.dry_run and before is None:
            yield file, ""
            continue
        md5 = _md5(tool, file)
        if before is None or md5 != before.sign:
            yield file, md5
        elif not tool.options.dry_run:  # the list looks otherwise, the file is the same
            here = Here(tool.downloads.folder / file.name, file.name, md5, file.listed)
            tool.remember([Loaded(here, before.records, before.rejected, True)], None)


def _md5(tool: Tool, file: File) -> str:
    answer = tool.downloads.get(f"{file.folder}/{file.name}.md5")
    match = _MD5.search(answer.body.decode("ascii", "replace"))
    if match is None or match[1].strip().rsplit("/", 1)[-1] != file.name:
        raise ListingIncomplete("A checksum of the publisher is not written as MD5(name)= hex.", file=file.name)
    return match[2].lower()


def _fetch(tool: Tool, todo: Sequence[tuple[File, str]]) -> Iterator[Here]:
    for file, md5 in todo:
        path = tool.downloads.fetch(Wanted(f"{file.folder}/{file.name}", file.name, md5, md5)).path
        write(path.with_name(path.name + ".md5"), f"MD5({file.name})= {md5}\n".encode())
        yield Here(path, file.name, md5, file.listed)


def _say_year(tool: Tool, year: int, remembered: Mapping[str, Known]) -> None:
    before = {int(match[1]) for name in remembered if (match := _FILE.fullmatch(name))}
    if before and max(before) < year:
        tool.note(f"There is a new baseline, that of {year:02d}: all of it is loaded, above that of {max(before):02d}.")


def _settle(tool: Tool, year: int, files: Sequence[File], gaps: Sequence[str]) -> None:
    """Count the citations that are older than the year's baseline, once all of it is there and was loaded."""
    marks = tool.marks()
    baseline = [file for file in files if file.folder == "baseline"]
    settled = marks.get("year") == f"{year:02d}"
    if settled and "baseline" not in marks and len(baseline) < len(files):
        tool.mark({"baseline": _end(baseline)})  # an earlier version did not note where it ends
    if settled and not (tool.options.tombstones or tool.options.whole):
        return  # it goes through the facts of every citation
    if gaps:
        tool.note(f"The publisher's list lacks {', '.join(gaps[:_SHOWN])}.")
    doubt = _doubt(tool, baseline, files, marks.get("baseline", ""), gaps)
    remembered = tool.known()
    before = {int(match[1]) for name in remembered if (match := _FILE.fullmatch(name))}
    if doubt:
        if min(before, default=year) < year or tool.options.tombstones:
            tool.note(
                f"Nothing is counted as gone, and nothing buried, as the baseline of {year:02d} may grow: {doubt}"
            )
        return
    entries = [remembered.get(file.name) for file in baseline]
    if any(entry is None for entry in entries):
        return
    first_day = beginning(year)
    gone = vanished.below(tool, "citation", year << 52, day=first_day)
    if any(entry.rejected for entry in entries if entry is not None):
        tool.result.vanished["citation"] = len(gone)
        if tool.options.tombstones and gone:
            tool.note("Nothing was buried: some records of the baseline could not be loaded.")
        return
    # Older than whatever the baseline holds:
    buried = [Gone(entry.key, year << 52, first_day) for entry in gone]
    vanished.settle(tool, "citation", buried, f"the baseline of {year:02d}")
    tool.mark({"year": f"{year:02d}", "baseline": _end(baseline)})


def _end(baseline: Sequence[File]) -> str:
    return f"pubmed{baseline[-1].year:02d}n{baseline[-1].number:04d}"


def _doubt(
    tool: Tool, baseline: Sequence[File], files: Sequence[File], last_end: str, gaps: Sequence[str]
) -> str | None:
    """Why the baseline may not be whole yet; None when it is. *last_end* is the last file of the baseline before."""
    end = baseline[-1]
    if len(baseline) == len(files):
        return "no update file of the year is there yet."
    if any(name < _end(baseline) for name in gaps):
        return "files of it are missing."
    last = _SINCE.fullmatch(last_end)
    if last and int(last[1]) < end.year and end.number < int(last[2]) and not tool.options.whole:
        return f"it ends with {_end(baseline)}, the one before ended with {last_end}. If NLM calls it whole: --whole."
    return None
