"""A receipt as a page that stands by itself: no script, no font and no picture from anywhere else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Any

from medmirror.ingest.candidates import UNREAD

_PROBLEMS = 20  # of a part, that the page shows
_INPUTS = 2_000  # inputs that the page shows; the JSON beside it has all

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --dim: #888; --good: #2a8a4a; --bad: #c33; --open: #b07400; }
body { font: 15px/1.45 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: .2rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .25rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-weight: 600; color: var(--dim); } td.n, th.n { text-align: right; }
.done { color: var(--good); } .failed, .skipped { color: var(--bad); } .rejects, .open, .stopped { color: var(--open); }
.note { border-left: 4px solid var(--bad); padding: .4rem .8rem; margin: .5rem 0; background: #c331; }
.dim { color: var(--dim); } code { font: 13px ui-monospace, monospace; overflow-wrap: anywhere; }
.bar { position: relative; height: .8rem; min-width: 12rem; background: #8882; }
.bar i { position: absolute; height: 100%; background: #4a7fc1; min-width: 2px; }
.moved { font-weight: 600; }
@media print { body { max-width: none; margin: 0; } details > * { display: block; } }
"""


def made(receipt: Mapping[str, Any]) -> str:
    """The page of *receipt*: what came of the night, its parts, tables, certificates, cost and inputs."""
    title = f"{receipt['name']}, night of {receipt['nominal']}"
    body = "\n".join(_body(receipt))
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>\n'
        f"<body>\n<h1>{escape(title)}</h1>\n{body}\n</body></html>\n"
    )


def _body(receipt: Mapping[str, Any]) -> Iterator[str]:
    state = str(receipt["status"])
    yield (
        f'<p><b class="{escape(state)}">{escape(_WORDS.get(state, state))}</b> · run {receipt["run_id"]} ·'
        f" {escape(str(receipt['began']))} · {_duration(receipt['seconds'])}</p>"
    )
    yield from (f'<p class="note">{escape(line)}</p>' for line in notes(receipt))
    counts = receipt["counts"]
    yield _table([_word(name) for name in counts], [list(counts.values())])
    yield "<h2>Parts</h2>"
    yield _parts(receipt)
    yield from _paths(receipt["parts"])
    yield from _certificates(receipt["parts"])
    yield "<h2>Tables</h2>"
    yield _tables(receipt["tables"])
    yield "<h2>Cost and limits</h2>"
    facts = {**receipt["cost"], **{f"limit: {name}": value for name, value in receipt["limits"].items()}}
    facts |= {"configuration": receipt["config"]["file"], "its digest": receipt["config"]["digest"]}
    facts |= {"plan": receipt["plan"], "time zone": receipt["zone"], "medmirror": receipt["version"]}
    yield _table(["", ""], [[_word(name), value] for name, value in facts.items() if value is not None])
    yield from _inputs(receipt["inputs"])


_WORDS = {"done": "all done", "rejects": "done, something is open", "failed": "a part failed"}


def notes(receipt: Mapping[str, Any]) -> Iterator[str]:
    """What somebody has to know first: what failed and why, what was withheld, what is open."""
    if receipt["stopped"]:
        yield f"The night ended early: {receipt['stopped']}. The next run goes on from there."
    for part in receipt["parts"]:
        if part["status"] in ("failed", "skipped"):
            yield f"{part['name']} {part['status']}: {part['error']}"
        for entry in part.get("paths", ()):
            unread = {reason: left for reason, left in entry["left_out"].items() if reason in UNREAD}
            if unread:
                yield f"{part['name']}: not read in {entry['path']}: {_left_out(unread)}."
        if part.get("note"):
            yield f"{part['name']}: {part['note']}."
        yield from _fields(part)
        for verdict in part.get("verdicts", ()):
            if verdict["withheld"]:
                yield (
                    f"Deletions withheld: {part['source']}/{part['organization']} {verdict['feed']}:"
                    f" {verdict['newly'] + verdict['again']:,} of {verdict['living']:,} records were not seen, at most"
                    f" {verdict['most']:,} may go. Look at the export; if it is right, raise [deletions] for one night."
                )
    if receipt["open"]:
        yield f"Open, taken up by the next run: {', '.join(receipt['open'])}."
    if rejected := receipt["counts"].get("rejected"):
        yield f"{rejected:,} records could not be loaded: medmirror rejects list."


def _fields(part: Mapping[str, Any]) -> Iterator[str]:
    """The problems with fields that a part met, and the fields whose emptiness it withheld."""
    problems = part.get("field_problems", {})
    over = part.get("over_limit", ())
    for name, times in list(problems.items())[:_PROBLEMS]:
        yield f"{part['name']}: {times:,} x {name}{' (over MEDMIRROR_PROBLEM_LIMIT)' if name in over else ''}."
    if len(problems) > _PROBLEMS:
        yield f"{part['name']}: {len(problems) - _PROBLEMS:,} more kinds of problem; the JSON has all of them."
    for name, times in part.get("withheld_fields", {}).items():
        yield (
            f"Fields withheld: {part['source']}/{part['organization']} {name}: filled before, and empty in all"
            f" {times:,} new records; the old values stay. Look at the export; if it is right: medmirror map --org"
            f" {part['organization']} --accept-empty-fields, with the mapping files of [load]."
        )


def _parts(receipt: Mapping[str, Any]) -> str:
    whole = max(float(receipt["seconds"]), 0.001)
    rows = []
    for part in receipt["parts"]:
        left = 100 * (part["began"] or 0) / whole
        width = min(100 - left, 100 * part["seconds"] / whole)
        bar = f'<div class="bar"><i style="left:{left:.2f}%;width:{width:.2f}%"></i></div>'
        state = _Html(f'<span class="{escape(part["status"])}">{escape(part["status"])}</span>')
        stages = ", ".join(f"{name} {seconds:.1f}" for name, seconds in (part.get("cpu_seconds") or {}).items())
        why = part["error"] or ""
        rows.append([part["name"], state, part["seconds"], _Html(bar), part.get("read"), part.get("inserted"),
                     part.get("updated"), part.get("tombstoned"), part.get("rejected"), stages, why])  # fmt: skip
    head = ["part", "", "s", "when", "read", "inserted", "updated", "deleted", "rejected", "CPU s by stage", ""]
    return _table(head, rows)


def _paths(parts: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    rows = [[part["name"], entry["path"], entry["files"], _left_out(entry["left_out"])]
            for part in parts for entry in part.get("paths", ())]  # fmt: skip
    if rows:
        yield "<h2>Files</h2>"
        yield _table(["part", "path", "files to load", "left out"], rows)


def _left_out(reasons: Mapping[str, Mapping[str, Any]]) -> str:
    return "; ".join(f"{left['count']:,} x {reason} ({_names(left)})" for reason, left in reasons.items())


def _names(left: Mapping[str, Any]) -> str:
    more = left["count"] - len(left["names"])
    return ", ".join(left["names"]) + (f" and {more:,} more" if more else "")


def _certificates(parts: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    rows = [
        [part["name"], ", ".join(certificate["kinds"]), "whole" if certificate["whole"] else "not whole",
         certificate["expected"], certificate["seen"], "; ".join(certificate["reasons"])]
        for part in parts
        for certificate in part.get("certificates", ())
    ]  # fmt: skip
    if rows:
        yield "<h2>Completeness</h2>"
        yield _table(["part", "records of", "", "expected", "seen", "why not"], rows)
    rows = [
        [f"{part['source']}/{part['organization']}", verdict["feed"], verdict["living"], verdict["newly"],
         verdict["again"], verdict["back"], verdict["most"], "withheld" if verdict["withheld"] else ""]
        for part in parts
        for verdict in part.get("verdicts", ())
    ]  # fmt: skip
    if rows:
        yield "<h2>Deletions inferred</h2>"
        head = ["whose", "records of", "living", "missing", "missing again", "seen again", "at most", ""]
        yield _table(head, rows)


def _tables(tables: Mapping[str, Mapping[str, Any]]) -> str:
    rows = []
    for name, counts in tables.items():
        moved = counts["before"] != counts["after"]
        after = _Html(f'<code class="{"moved" if moved else "dim"}">{escape(str(counts["after"]))}</code>')
        before = _Html(f'<code class="dim">{escape(str(counts["before"]))}</code>')
        rows.append([name, counts["rows_before"], counts["rows_after"], before, after])
    return _table(["table", "rows before", "after", "digest before", "after"], rows)


def _inputs(inputs: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    rows = [
        [file["source"], file["organization_id"], file["path"], file["size"], file["status"],
         _Html(f"<code>{escape(str(file['digest']))}</code>")]
        for file in inputs[:_INPUTS]
    ]  # fmt: skip
    yield f"<h2>Inputs</h2><details><summary>{len(inputs):,} files</summary>"
    yield _table(["source", "organization", "path", "bytes", "", "SHA-256"], rows)
    if len(inputs) > _INPUTS:
        yield f"<p>and {len(inputs) - _INPUTS:,} more in the JSON beside this page</p>"
    yield "</details>"


class _Html(str):
    """Text that is HTML already."""


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = "".join(f"<tr>{''.join(map(_cell, row))}</tr>\n" for row in rows)
    names = "".join(f"<th>{escape(name)}</th>" for name in head)
    return f"<table><thead><tr>{names}</tr></thead><tbody>\n{lines}</tbody></table>"


def _cell(value: Any) -> str:
    if isinstance(value, _Html):
        return f"<td>{value}</td>"
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return f"<td>{escape('' if value is None else str(value))}</td>"
    shown = f"{value:,.2f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
    return f'<td class="n">{escape(shown)}</td>'


def _word(name: str) -> str:
    return name.replace("_", " ")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"
