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
from typing import Any, BinaryIO

from medmirror.errors import InvalidRecord, LayoutChanged, RecordError
from medmirror.model import Block, Column, Flaw, Item
from medmirror.readers.json import Field, Layout, Records, blocks, outlines
from medmirror.sources.base import Context, Feed, Given, Source

LEFT_OUT: Mapping[str, str] = {}
"""Fields of a study that are not stored, and why: none, the column ``study`` holds them all."""


def _identify(values: Sequence[Any], context: Context) -> tuple[tuple[int | str, ...], int]:
    """The NCT number, and the version from three facts."""
    nct_id, updated, released, modules = values
    if nct_id is None:
        raise InvalidRecord("The study has no protocolSection.identificationModule.nctId.")
    if not _NCT_ID.fullmatch(nct_id):
        raise InvalidRecord("nctId is not NCT and eight digits.")
    return (nct_id,), (updated << 28) | (released << 8) | min(modules, 255)


_NCT_ID = re.compile(r"NCT\d{8}", re.ASCII)
_PROTOCOL = "protocolSection"
_NAMING = f"{_PROTOCOL}.identificationModule"
_STATUS = f"{_PROTOCOL}.statusModule"
_DESIGN = f"{_PROTOCOL}.designModule"
_SPONSORS = f"{_PROTOCOL}.sponsorCollaboratorsModule"
_CONDITIONS = f"{_PROTOCOL}.conditionsModule"
_ARMS = f"{_PROTOCOL}.armsInterventionsModule"
_OUTCOMES = f"{_PROTOCOL}.outcomesModule"
_ELIGIBILITY = f"{_PROTOCOL}.eligibilityModule"

LAYOUT = Layout(
    "study",
    fields=(
        Field("brief_title", f"{_NAMING}.briefTitle", "text"),
        Field("official_title", f"{_NAMING}.officialTitle", "text"),
        Field("acronym", f"{_NAMING}.acronym", "text"),
        Field("org_study_id", f"{_NAMING}.orgStudyIdInfo.id", "text"),
        Field("nct_id_aliases", f"{_NAMING}.nctIdAliases", "texts"),
        Field("secondary_ids", f"{_NAMING}.secondaryIdInfos[].id", "text"),
        Field("overall_status", f"{_STATUS}.overallStatus", "text"),
        Field("why_stopped", f"{_STATUS}.whyStopped", "text"),
        Field("study_type", f"{_DESIGN}.studyType", "text"),
        Field("phases", f"{_DESIGN}.phases", "texts"),
        Field("enrollment", f"{_DESIGN}.enrollmentInfo.count", "number"),
        Field("enrollment_type", f"{_DESIGN}.enrollmentInfo.type", "text"),
        Field("start_date", f"{_STATUS}.startDateStruct.date", "text"),
        Field("start_day", f"{_STATUS}.startDateStruct.date", "day"),
        Field("primary_completion_date", f"{_STATUS}.primaryCompletionDateStruct.date", "text"),
        Field("primary_completion_day", f"{_STATUS}.primaryCompletionDateStruct.date", "day"),
        Field("completion_date", f"{_STATUS}.completionDateStruct.date", "text"),
        Field("completion_day", f"{_STATUS}.completionDateStruct.date", "day"),
        Field("first_posted", f"{_STATUS}.studyFirstPostDateStruct.date", "day"),
        Field("results_first_posted", f"{_STATUS}.resultsFirstPostDateStruct.date", "day"),
        Field("last_update_posted", f"{_STATUS}.lastUpdatePostDateStruct.date", "day"),
        Field("has_results", "hasResults", "flag"),
        Field("lead_sponsor", f"{_SPONSORS}.leadSponsor.name", "text"),
        Field("lead_sponsor_class", f"{_SPONSORS}.leadSponsor.class", "text"),
        Field("conditions", f"{_CONDITIONS}.conditions", "texts"),
        Field("keywords", f"{_CONDITIONS}.keywords", "texts"),
        Field("interventions", f"{_ARMS}.interventions[].name", "every text"),
        Field("countries", f"{_PROTOCOL}.contactsLocationsModule.locations[].country", "text"),
        Field("pmids", f"{_PROTOCOL}.referencesModule.references[].pmid", "text"),
        Field("sex", f"{_ELIGIBILITY}.sex", "text"),
        Field("minimum_age", f"{_ELIGIBILITY}.minimumAge", "text"),
        Field("maximum_age", f"{_ELIGIBILITY}.maximumAge", "text"),
    ),
    identity=(
        Field("nct_id", f"{_NAMING}.nctId", "text"),
        Field("updated", f"{_STATUS}.lastUpdatePostDateStruct.date", "day"),
        Field("released", "derivedSection.miscInfoModule.versionHolder", "day"),
        Field("modules", "", "members"),
    ),
    identify=_identify,
    arrays=(  # the views rely on them
        f"{_ARMS}.armGroups",
        f"{_SPONSORS}.collaborators",
        f"{_OUTCOMES}.primaryOutcomes",
        f"{_OUTCOMES}.secondaryOutcomes",
        f"{_OUTCOMES}.otherOutcomes",
    ),
    indexed=frozenset(("conditions", "interventions", "pmids", "nct_id_aliases")),
)

STUDY = Feed("study", key=(Column("nct_id", "text"),), columns=(Column("study", "jsonb"), *LAYOUT.columns))

_SECTIONS = frozenset(
    ("protocolSection", "resultsSection", "annotationSection", "documentSection", "derivedSection", "hasResults")
)
_ARRAY = "studies"
_KEYS = frozenset((_ARRAY,))
_STUDY = re.compile(rb'"(?:protocolSection|derivedSection)"\s*:\s*\{')
_STUDIES = re.compile(rb'"studies"\s*:\s*\[')
RECORDS = Records([(LAYOUT, STUDY.key, "study")], unknown=str)
_LOOKED_AT = 1 << 20  # bytes of a file's first records that must show a study


def recognise(name: str, head: bytes) -> bool:
    """Whether *head* begins a file of studies: JSON with a key of a study in it."""
    return outlines.looks_like_json(head) and bool(_STUDY.search(head) or _STUDIES.search(head))


def context(name: str, head: bytes, reopen: Callable[[], BinaryIO], given: Given) -> Context:
    """The file's layout. Raises LayoutChanged, with what it holds, when its first records are no studies."""
    outlines.check_text(head)
    with outlines.whole_stream(head, reopen) as stream:
        outline = outlines.outline(stream, _KEYS, _SECTIONS, pages=True)
    if not _STUDY.search(head):
        if outline.kind == "bare" and not _SECTIONS & outline.values.keys():
            raise LayoutChanged(f"No ClinicalTrials.gov studies: {outlines.describe(outline)}.", file=name)
        with outlines.whole_stream(head, reopen) as stream:
            key_sets = blocks.first_keys(stream, outline, _LOOKED_AT, _about)
        if key_sets and not any(_SECTIONS & keys for keys in key_sets):
            keys = outlines.name_keys(key_sets[0])
            raise LayoutChanged(f"No ClinicalTrials.gov studies: the records have the keys {keys}.", file=name)
    return {"layout": outline.kind, "array": outline.key}


def split(stream: BinaryIO, context: Context, wanted: int, most: int) -> Iterator[Block | Flaw]:
    """Blocks of whole studies (``readers.json``)."""
    return blocks.split(stream, str(context["layout"]), _ARRAY, wanted, most, _about)


def _about(values: Mapping[str, Any]) -> Context:
    """A page says nothing of its studies."""
    return {}


def items(data: bytes, ordinal: int, context: Context) -> Iterator[Item | Flaw]:
    """The studies of a block, each with its key and version; a record that is no study is a flaw."""
    return RECORDS.items(data, context)


def rows(feed: Feed, data: bytes, items: Sequence[Item]) -> list[bytes | RecordError]:
    """The COPY tuple of each study, or its error, in order."""
    return RECORDS.rows(feed.name, data, items)


def record(feed: Feed, data: bytes, item: Item) -> dict[str, Any]:
    """The study's values by column."""
    return RECORDS.record(feed.name, data, item)


SOURCE = Source("clinicaltrials", (STUDY,), recognise, context, split, items, rows, record)
