"""ClinicalTrials.gov, version 2 of its data: one array of studies, a page of the API, or one study a file.

**Version.** Two copies of a study are ordered by three facts that they carry themselves, packed in one integer, the
first counting most: the day of the last posted update; the day of the data release that the copy was taken from
(``versionHolder``), since ClinicalTrials.gov derives parts of a study anew (MeSH ancestors, for one) with no update by
its sponsor; and the number of modules. A missing date counts as the lowest. So a copy that the API's ``fields=`` pruned
loses to a whole one of the same update: it lacks a date or, where it has both, modules. (A pruned copy of a *later*
update wins, being newer: do not load pruned copies beside whole ones.)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from typing import Any, BinaryIO

from medmirror.copyformat import RawJson, encoder
from medmirror.errors import InvalidRecord, LayoutChanged, ParseError, RecordError
from medmirror.model import Block, Column, Flaw, Item
from medmirror.readers import json as jsonreader
from medmirror.readers import jsonoutline
from medmirror.readers.jsonpieces import NOT_AN_OBJECT, parse
from medmirror.readers.jsonvalues import (
    check,
    child,
    children,
    day_number,
    distinct,
    first_day,
    flag,
    text,
    texts,
    whole_number,
)
from medmirror.sources.base import Context, Feed, Source

LEFT_OUT: Mapping[str, str] = {}
"""Fields of a study that are not stored, and why: none, the column ``study`` holds them all."""

STUDY = Feed(
    "study",
    key=(Column("nct_id", "text"),),
    columns=(
        Column("study", "jsonb"),
        Column("brief_title", "text"),
        Column("official_title", "text"),
        Column("acronym", "text"),
        Column("org_study_id", "text"),
        Column("nct_id_aliases", "text[]"),
        Column("secondary_ids", "text[]"),
        Column("overall_status", "text"),
        Column("why_stopped", "text"),
        Column("study_type", "text"),
        Column("phases", "text[]"),
        Column("enrollment", "int4"),
        Column("enrollment_type", "text"),
        Column("start_date", "text"),
        Column("start_day", "date"),
        Column("primary_completion_date", "text"),
        Column("primary_completion_day", "date"),
        Column("completion_date", "text"),
        Column("completion_day", "date"),
        Column("first_posted", "date"),
        Column("results_first_posted", "date"),
        Column("last_update_posted", "date"),
        Column("has_results", "bool"),
        Column("lead_sponsor", "text"),
        Column("lead_sponsor_class", "text"),
        Column("conditions", "text[]"),
        Column("keywords", "text[]"),
        Column("interventions", "text[]"),
        Column("countries", "text[]"),
        Column("pmids", "text[]"),
        Column("sex", "text"),
        Column("minimum_age", "text"),
        Column("maximum_age", "text"),
    ),
)

_SECTIONS = frozenset(
    ("protocolSection", "resultsSection", "annotationSection", "documentSection", "derivedSection", "hasResults")
)
_KEYS = frozenset(("studies",))
_STUDY = re.compile(rb'"(?:protocolSection|derivedSection)"\s*:\s*\{')
_STUDIES = re.compile(rb'"studies"\s*:\s*\[')
_NCT_ID = re.compile(r"NCT\d{8}", re.ASCII)
_encode = encoder(STUDY.all_columns)
_LOOKED_AT = 1 << 20  # bytes of a file's first records that must show a study


def recognise(name: str, head: bytes) -> bool:
    """Whether *head* begins a file of studies: JSON with a key of a study in it."""
    return jsonoutline.looks_like_json(head) and bool(_STUDY.search(head) or _STUDIES.search(head))


def context(name: str, head: bytes, reopen: Callable[[], BinaryIO]) -> Context:
    """The file's layout. Raises LayoutChanged when its first records are no studies, saying what was found."""
    jsonoutline.check_text(head)
    with jsonoutline.begin(head, reopen) as stream:
        outline = jsonoutline.outline(stream, _KEYS, _SECTIONS)
    if not _STUDY.search(head):
        if outline.kind == "bare" and not _SECTIONS & outline.values.keys():
            raise LayoutChanged(f"No ClinicalTrials.gov studies: {jsonoutline.describe(outline)}.", file=name)
        with jsonoutline.begin(head, reopen) as stream:
            found = jsonreader.first_keys(stream, outline, _LOOKED_AT)
        if found and not any(_SECTIONS & keys for keys in found):
            keys = jsonoutline.name_some(found[0])
            raise LayoutChanged(f"No ClinicalTrials.gov studies: the records have the keys {keys}.", file=name)
    return {"layout": outline.kind, "array": outline.key}


def split(stream: BinaryIO, context: Context, wanted: int, most: int) -> Iterator[Block | Flaw]:
    """Blocks of whole studies (``readers.json``)."""
    return jsonreader.split(stream, str(context["layout"]), str(context["array"]), wanted, most)


def items(data: bytes, ordinal: int, context: Context) -> Iterator[Item | Flaw]:
    """Every study of a block with its key and version, parsed; what is no study is a flaw."""
    for number, piece in enumerate(jsonreader.items(data, str(context["layout"]))):
        if piece.reason:
            yield Flaw(STUDY.name, number, piece.start, piece.end, ParseError.__name__, piece.reason)
            continue
        try:
            key, version = _identify(piece.value)
        except InvalidRecord as error:
            yield Flaw(STUDY.name, number, piece.start, piece.end, InvalidRecord.__name__, error.message)
        else:
            yield Item(STUDY.name, (key,), version, number, piece.start, piece.end, False, piece.value)


def _identify(study: Any) -> tuple[str, int]:
    if not isinstance(study, dict):
        raise InvalidRecord(NOT_AN_OBJECT)
    protocol = child(study, "protocolSection")
    nct_id = text(child(protocol, "identificationModule"), "nctId")
    if nct_id is None:
        raise InvalidRecord("The study has no protocolSection.identificationModule.nctId.")
    if not _NCT_ID.fullmatch(nct_id):
        raise InvalidRecord("nctId is not NCT and eight digits.")
    updated = _posted(child(protocol, "statusModule"), "lastUpdatePostDateStruct")
    derived = child(study, "derivedSection")
    released = first_day(text(child(derived, "miscInfoModule"), "versionHolder"))
    modules = sum(len(section) for section in study.values() if isinstance(section, dict))
    return nct_id, (day_number(updated) << 28) | (day_number(released) << 8) | min(modules, 255)


def _posted(status: Mapping[str, Any], name: str) -> date | None:
    return first_day(text(child(status, name), "date"))


def rows(feed: Feed, data: bytes, some: Sequence[Item]) -> list[bytes | RecordError]:
    """The COPY tuple of each study, or what is wrong with it."""
    made: list[bytes | RecordError] = []
    for item in some:
        try:
            raw = data[item.start : item.end]
            study = _parsed(raw, item)
            made.append(_encode((*item.key, False, RawJson(raw), *_values(study))))
        except RecordError as error:
            made.append(error)
    return made


def record(feed: Feed, data: bytes, item: Item) -> dict[str, Any]:
    """The study's values by column."""
    study = _parsed(data[item.start : item.end], item)
    names = [column.name for column in feed.columns]
    return {"nct_id": item.key[0], **dict(zip(names, (study, *_values(study)), strict=True))}


def _parsed(raw: bytes, item: Item) -> dict[str, Any]:
    study, reason = (item.parsed, "") if item.parsed is not None else parse(raw)
    if reason:
        raise ParseError(reason)
    check(raw, study)
    checked: dict[str, Any] = study
    return checked


def _values(study: Mapping[str, Any]) -> tuple[Any, ...]:
    """The columns after ``study``, in the order of STUDY.columns."""
    protocol = child(study, "protocolSection")
    naming = child(protocol, "identificationModule")
    status = child(protocol, "statusModule")
    design = child(protocol, "designModule")
    arms = child(protocol, "armsInterventionsModule")
    sponsors = child(protocol, "sponsorCollaboratorsModule")
    for parent, name in ((arms, "armGroups"), (sponsors, "collaborators"), *_outcomes(protocol)):
        children(parent, name)  # the views rely on it
    enrollment = child(design, "enrollmentInfo")
    sponsor = child(sponsors, "leadSponsor")
    conditions = child(protocol, "conditionsModule")
    eligibility = child(protocol, "eligibilityModule")
    dates = [text(child(status, f"{name}DateStruct"), "date") for name in ("start", "primaryCompletion", "completion")]
    return (
        text(naming, "briefTitle"),
        text(naming, "officialTitle"),
        text(naming, "acronym"),
        text(child(naming, "orgStudyIdInfo"), "id"),
        texts(naming, "nctIdAliases"),
        distinct(children(naming, "secondaryIdInfos"), "id"),
        text(status, "overallStatus"),
        text(status, "whyStopped"),
        text(design, "studyType"),
        texts(design, "phases"),
        whole_number(enrollment.get("count")),
        text(enrollment, "type"),
        *(fact for given in dates for fact in (given, first_day(given))),
        _posted(status, "studyFirstPostDateStruct"),
        _posted(status, "resultsFirstPostDateStruct"),
        _posted(status, "lastUpdatePostDateStruct"),
        flag(study, "hasResults"),
        text(sponsor, "name"),
        text(sponsor, "class"),
        texts(conditions, "conditions"),
        texts(conditions, "keywords"),
        distinct(children(arms, "interventions"), "name"),
        distinct(children(child(protocol, "contactsLocationsModule"), "locations"), "country"),
        distinct(children(child(protocol, "referencesModule"), "references"), "pmid"),
        text(eligibility, "sex"),
        text(eligibility, "minimumAge"),
        text(eligibility, "maximumAge"),
    )


def _outcomes(protocol: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], str]]:
    outcomes = child(protocol, "outcomesModule")
    return ((outcomes, f"{rank}Outcomes") for rank in ("primary", "secondary", "other"))


SOURCE = Source("clinicaltrials", (STUDY,), recognise, context, split, items, rows, record)
