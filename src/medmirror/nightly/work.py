"""What each kind of part does. A part runs in a thread of its own and answers with its status and what it counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from medmirror import search
from medmirror.db import refusals
from medmirror.errors import InputMissing, MedmirrorError, SourceError, UsageError
from medmirror.ingest import deletions, remap, run, worker
from medmirror.ingest.remappage import Mapped
from medmirror.ingest.run import LoadResult
from medmirror.nightly import inputs
from medmirror.nightly.config import Config, Load
from medmirror.nightly.graph import Part
from medmirror.nightly.schedule import Answer
from medmirror.settings import Settings, lookup

_NAMED = 50  # refused files that an answer names


@dataclass(slots=True)
class Work:
    """The work of one night. *engine* opens an engine for what is no load; *pace* is the governor's, asked before each
    chunk; *within* is what a plan loads and maps with. ``loaded`` has the results of the loads that are through."""

    config: Config
    settings: Settings
    run_id: int
    nominal: date
    engine: Callable[[], AbstractContextManager[Engine]]
    pace: Callable[[], None]
    within: worker.EngineOf | None = None
    loaded: dict[str, tuple[Part, LoadResult]] = field(default_factory=dict)

    def __call__(self, part: Part, workers: int) -> Answer:
        """Do *part* with so many worker processes. Raises MedmirrorError, or what ``pace`` raises."""
        self.pace()
        try:
            return getattr(self, f"_{part.kind}")(part, workers)  # type: ignore[no-any-return]
        except (DBAPIError, psycopg.Error) as error:
            raise refusals.of_statement(error) from None

    def _load(self, part: Part, workers: int) -> Answer:
        load = part.load
        assert load is not None
        folder = self.config.folder
        entries = inputs.of(load, folder, part.organization)
        counts = {"paths": inputs.counts(entries)}
        problem = inputs.lacking(load, folder, entries)
        if problem and not any(entry.files for entry in entries):
            return _failed(InputMissing(problem), counts)
        result = run.execute(
            load.source,
            inputs.files(entries),
            replace(self.settings, workers=workers),
            organization=part.organization,
            mappings=run.read_mappings(load.mapping),
            url=_url(load),
            pace=self.pace,
            within=self.within,
        )
        self.loaded[part.name] = part, result
        answer = {**_answer(result), **counts}
        if result.exit_code == 1:
            reason = next(file.reason for file in result.files if file.status == "refused")
            return _failed(SourceError("Every file was refused.", first=reason), answer)
        return _failed(InputMissing(problem), answer) if problem else answer

    def _deletions(self, part: Part, workers: int) -> Answer:
        results = [
            result
            for other, result in self.loaded.values()
            if (other.source, other.organization) == (part.source, part.organization)
        ]
        certificates = deletions.whole(
            certificate for result in results for certificate in result.certificates.get(str(part.source), [])
        )
        file_ids = sorted({file.file_id for result in results for file in result.files if file.file_id})
        with self.engine() as engine:
            with engine.connect() as conn:
                files = deletions.inputs(conn, file_ids)
            seen = deletions.Pass(
                str(part.organization), str(part.source), tuple(file_ids), deletions.evidence(files, self.nominal)
            )
            verdicts = deletions.judge(engine, seen, certificates, self.config.deletions.limits, self.run_id)
        return {"status": deletions.status(verdicts), "verdicts": [certificate._asdict() for certificate in verdicts]}

    def _map(self, part: Part, workers: int) -> Answer:
        counts, problems = Mapped(), Counter[str]()
        for source, mapping in self._mappings(str(part.organization)).items():
            result = remap.execute(
                replace(self.settings, workers=workers),
                organization=part.organization,
                source=source,
                mappings=run.read_mappings(mapping),
                pace=self.pace,
                within=self.within,
            )
            counts = counts.plus(result.counts)
            problems.update(result.problems)
        return {
            "status": "done",
            "mapped": counts._asdict(),
            "problems": problems.total(),
            "field_problems": dict(problems.most_common()),
        }

    def _mappings(self, organization: str) -> dict[str, list[Path]]:
        """The sources of *organization*, each with the mapping files that its loads name."""
        files_by_source: dict[str, list[Path]] = {}
        for load in self.config.loads:
            if organization in load.organizations:
                files = files_by_source.setdefault(load.source, [])
                files += [path for path in load.mapping if path not in files]
        return files_by_source

    def _dedup(self, part: Part, workers: int) -> Answer:
        if find_spec("splink") is None:
            return {"status": "done", "note": "not done: it needs pip install 'medmirror[matching]'"}
        from medmirror.matching.run import deduplicate

        with self.engine() as engine:
            result = deduplicate(engine, organizations=[str(part.organization)])
        return {"status": "done", "found": [entry._asdict() for entry in result.found]}

    def _index(self, part: Part, workers: int) -> Answer:
        with self.engine() as engine:
            return {"status": "done", "brought_up_to_date": search.refresh(engine, [str(part.source)])}


def _url(load: Load) -> str | None:
    if load.url_env is None:
        return None
    url = lookup(load.url_env)
    if not url:
        raise UsageError(f"The environment variable {load.url_env} is not set; [load.{load.name}] reads from its URL.")
    return url


def _failed(problem: MedmirrorError, answer: Mapping[str, Any]) -> dict[str, Any]:
    """The answer of a part that failed, although it may have loaded something."""
    return {**answer, "status": "failed", "error": f"{type(problem).__name__}: {problem}"}


def _answer(result: LoadResult) -> dict[str, Any]:
    """What a receipt keeps of a load: no name of a file but of those refused."""
    document = result.as_dict()
    states = [file.status for file in result.files]
    refused = [asdict(file) for file in result.files if file.status == "refused"][:_NAMED]
    keep = ("run_id", "status", "seconds", "bytes", "cpu_seconds", "peak_rss_mb", "workers", "retries", "deadlocks",
            "lock_waits", "worker_deaths", *COUNTS)  # fmt: skip
    return {
        **{name: document[name] for name in keep},
        "status": "rejects" if result.exit_code == 3 else result.status,
        "files": {state: states.count(state) for state in sorted(set(states))},
        "refused": refused,
        "field_problems": result.problems,
        "over_limit": result.over_limit,
        "withheld_fields": result.withheld_fields,
        "certificates": [
            {"source": source, **certificate._asdict()}
            for source, of_source in result.certificates.items()
            for certificate in of_source
        ],
        "file_ids": [file.file_id for file in result.files if file.file_id],
    }


COUNTS = ("read", "inserted", "updated", "unchanged", "duplicate", "tombstoned", "rejected", "filtered")
