"""Small files of every feed, in generations: content A, then B, then A again under a newer version."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import orjson

from medmirror import sources
from medmirror.readers import files
from medmirror.sources.base import Context, Source
from medmirror_testing import samples
from medmirror_testing.samples.text import FIRST_PMID

Feed = tuple[str, str]

RECORDS = 12
CHANGE = (0.0, 1.0, 0.0)  # the share of records that are B in each generation


ORGANIZATION = "org_1"  # whose the records of practice systems are
MAPPINGS: dict[Feed, str] = {
    ("csv", "record"): samples.PMS_MAPPINGS["patient"]
}  # the mapping file that a feed's files need


def feeds() -> list[Feed]:
    """Every feed of every source that is read from files; what is read from elsewhere has tests of its own."""
    found = map(sources.get, sources.names())
    return [(source.name, feed.name) for source in found if not source.origins for feed in source.feeds]


def given(feed: Feed) -> dict[str, str]:
    """What a user says of the files of *feed*, as sources and Inputs see it."""
    if not sources.get(feed[0]).tenant:
        return {}
    return {
        "organization": ORGANIZATION,
        "mapping": orjson.dumps([MAPPINGS[feed]] if feed in MAPPINGS else []).decode(),
    }


def context(source: Source, path: Path, stream: files.Stream, said: Mapping[str, str]) -> Context:
    """What Inputs would find out about *stream* of the file *path*, of which the user *said* this."""
    facts = source.context(stream.name, files.head(stream), stream.open, {**said, "path": str(path)})
    return {**facts, "organization": said["organization"]} if source.tenant else facts


def options(folder: Path, some: Iterable[Feed]) -> dict[str, Any]:
    """The same for ``medmirror.load``, of the files of *some* feeds; mapping files are written to *folder*."""
    if not any(sources.get(source).tenant for source, _ in some):
        return {}
    (folder / "mappings").mkdir(exist_ok=True)
    paths = [folder / "mappings" / f"{'.'.join(feed)}.toml" for feed in some if feed in MAPPINGS]
    for path, text in zip(paths, [MAPPINGS[feed] for feed in some if feed in MAPPINGS], strict=True):
        path.write_text(text)
    return {"organization": ORGANIZATION, "mapping": paths}


def write(folder: Path, feed: Feed, generation: int, *, records: int = RECORDS, first: int = 0) -> Path:
    """Write generation 0, 1 or 2 of *feed* to a file of its own in *folder*: the same keys each time."""
    return _WRITERS[feed](folder, generation, records, first)


def generations(folder: Path, feed: Feed, **size: int) -> list[Path]:
    """All generations of *feed*, oldest first."""
    return [write(folder, feed, generation, **size) for generation in range(len(CHANGE))]


def _citations(folder: Path, generation: int, records: int, first: int) -> Path:
    path = folder / f"pubmed26n{generation + 1:04d}.xml.gz"
    # The second file deletes two citations of the first; the third brings one of them back. Late copies of the first
    # must not bring back the other.
    deletes = {1: (FIRST_PMID + first, FIRST_PMID + first + 1), 2: (FIRST_PMID + first + 1,)}.get(generation, ())
    change = CHANGE[generation]
    samples.write_pubmed(
        path, records, first_pmid=FIRST_PMID + first, number=generation + 1, change=change, deletes=deletes
    )
    return path


def _studies(folder: Path, generation: int, records: int, first: int) -> Path:
    path = folder / f"ctg-studies-{generation}.json"
    samples.write_studies(path, records, first=first, big=False)
    studies = orjson.loads(path.read_bytes())
    for study in studies:
        study["protocolSection"]["identificationModule"]["briefTitle"] = f"Title {'AB'[int(CHANGE[generation])]}"
        study.setdefault("derivedSection", {})["miscInfoModule"] = {"versionHolder": f"2026-02-{generation + 1:02d}"}
    path.write_bytes(orjson.dumps(studies, option=orjson.OPT_INDENT_2))
    return path


def _drugs(endpoint: str) -> Callable[[Path, int, int, int], Path]:
    def write(folder: Path, generation: int, records: int, first: int) -> Path:
        path = folder / f"drug-{endpoint}-{generation}.json.zip"
        updated = f"2026-02-{generation + 1:02d}"
        samples.write_openfda(path, endpoint, records, first=first, change=CHANGE[generation], updated=updated)  # type: ignore[arg-type]
        return path

    return write


def _pages(feed: str) -> Callable[[Path, int, int, int], Path]:
    def write(folder: Path, generation: int, records: int, first: int) -> Path:
        path = folder / f"cliniko-{feed}-{generation}.json"
        revision = int(CHANGE[generation])
        return samples.write_cliniko_page(path, feed, records, first=first, day=generation, revision=revision)

    return write


def _exports(folder: Path, generation: int, records: int, first: int) -> Path:
    path = folder / f"patient-{generation}.csv"
    gone = [first + 1] if generation else []
    size = {"first": first, "generation": generation, "change": CHANGE[generation], "deleted": gone}
    samples.write_pms_csv(path, "patient", records, **size)  # type: ignore[arg-type]
    return path


def _resources(folder: Path, generation: int, records: int, first: int) -> Path:
    path = folder / f"fhir-{generation}.ndjson"
    # As with citations: two deletions, one of which the third file takes back.
    deletes = {1: (first, first + 1), 2: (first + 1,)}.get(generation, ())
    revision = int(CHANGE[generation])
    return samples.write_fhir_lines(path, records, first=first, day=generation, revision=revision, deletes=deletes)


_WRITERS: dict[Feed, Callable[[Path, int, int, int], Path]] = {
    ("pubmed", "citation"): _citations,
    ("clinicaltrials", "study"): _studies,
    ("csv", "record"): _exports,
    ("fhir", "resource"): _resources,
    **{("cliniko", name): _pages(name) for name in samples.CLINIKO_FEEDS},
    **{("openfda", name): _drugs(name) for name in ("label", "ndc", "drugsfda", "event", "enforcement", "shortage")},
}
