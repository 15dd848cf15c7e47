"""What came of a night, as a document: plain values, for JSON, the table medmirror.nightly, and the page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import orjson

from medmirror.db.digests import SetDigest
from medmirror.nightly import page
from medmirror.nightly.config import Config
from medmirror.nightly.graph import Part
from medmirror.nightly.schedule import Result
from medmirror.nightly.work import COUNTS
from medmirror.version import __version__

Digests = Mapping[str, SetDigest]


def made(
    config: Config,
    parts: Sequence[Part],
    results: Mapping[str, Result],
    *,
    run_id: int,
    nominal: date,
    began: datetime,
    stopped: str | None,
    before: Digests,
    after: Digests,
    inputs: Iterable[Mapping[str, Any]],
    cost: Mapping[str, Any],
    plan: str | None = None,
) -> dict[str, Any]:
    """The receipt. *stopped*: why the night ended early, None when it did not; *cost*: CPU and memory."""
    documents = [_part(part, results[part.name]) for part in parts]
    by_state = {state: [part["name"] for part in documents if part["status"] == state] for state in _STATES}
    ended = datetime.now(UTC)
    withheld = [
        f"{part['source']}/{part['organization']} {verdict['feed']}"
        for part in documents
        for verdict in part.get("verdicts", ())
        if verdict["withheld"]
    ]
    totals = Counter({name: sum(int(part.get(name, 0)) for part in documents) for name in COUNTS})
    return {
        "run_id": run_id,
        "name": config.name,
        "nominal": nominal.isoformat(),
        "zone": config.zone.key,
        "version": __version__,
        "began": began.isoformat(timespec="seconds"),
        "ended": ended.isoformat(timespec="seconds"),
        "seconds": round((ended - began).total_seconds(), 3),
        "status": status(documents, stopped, withheld),
        "stopped": stopped,
        "config": {"file": str(config.path), "digest": config.digest},
        "plan": plan,
        "limits": {
            "cpu": config.limits.cpu,
            "workers": config.limits.workers,
            "connections": config.limits.connections,
            "statement_timeout": config.limits.statement_timeout,
            "at": config.at.isoformat("minutes"),
            "until": config.until.isoformat("minutes") if config.until else None,
        },
        "counts": dict(totals),
        "failed": by_state["failed"],
        "skipped": by_state["skipped"],
        "open": by_state["open"] + by_state["stopped"],
        "with_rejects": by_state["rejects"],
        "withheld": withheld,
        "withheld_fields": [
            f"{part['source']}/{part['organization']} {name}"
            for part in documents
            for name in part.get("withheld_fields", ())
        ],
        "parts": documents,
        "tables": _tables(before, after),
        "cost": dict(cost),
        "inputs": [dict(part) for part in inputs],
    }


_STATES = ("done", "rejects", "failed", "skipped", "stopped", "open")


def _part(part: Part, result: Result) -> dict[str, Any]:
    answer = {name: value for name, value in result.answer.items() if name not in ("status", "seconds", "file_ids")}
    return {
        "name": part.name,
        "kind": part.kind,
        "source": part.source,
        "organization": part.organization,
        "status": result.status,
        "began": result.began,
        "seconds": result.seconds,
        "error": result.error,
        **answer,
    }


def _tables(before: Digests, after: Digests) -> dict[str, dict[str, Any]]:
    """Rows and set digest of each table before and after, by its name."""
    nothing = SetDigest()
    return {
        name: {
            "rows_before": before.get(name, nothing).rows,
            "rows_after": after.get(name, nothing).rows,
            "before": before.get(name, nothing).text,
            "after": after.get(name, nothing).text,
        }
        for name in sorted({*before, *after})
    }


def status(parts: Sequence[Mapping[str, Any]], stopped: str | None, withheld: Sequence[str]) -> str:
    """`failed` when a part failed, `rejects` when something is open or withheld, else `done`."""
    states = {part["status"] for part in parts}
    if states & {"failed", "skipped"}:
        return "failed"
    return "rejects" if stopped or withheld or states != {"done"} else "done"


def exit_code(receipt: Mapping[str, Any]) -> int:
    """0 all well; 3 through, but something is open: rejects, refused files, withheld deletions, or the end of the
    window; 1 a part failed."""
    return {"done": 0, "rejects": 3}.get(receipt["status"], 1)


def write(receipt: Mapping[str, Any], folder: Path) -> Path:
    """Write the receipt as JSON and as a page into *folder*; return the page's path. Whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = folder / f"{receipt['nominal']}-{receipt['name']}-run{receipt['run_id']}"
    content = {".json": orjson.dumps(receipt, option=orjson.OPT_INDENT_2), ".html": page.made(receipt).encode("utf-8")}
    for suffix, data in content.items():
        target = stem.with_name(stem.name + suffix)
        draft = stem.with_name(f".{stem.name}{suffix}")
        draft.write_bytes(data)
        draft.replace(target)
    return stem.with_name(stem.name + ".html")
