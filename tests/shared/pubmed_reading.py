"""PubMed files read a second time, by the standard library, straight from docs/pubmed-columns.md.

Shares no line with medmirror: where the two differ, one of them or the document is wrong.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple, cast
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

Values = dict[str, Any]
Key = tuple[int, int]

_MONTHS = {date(2000, month, 1).strftime("%b").lower(): month for month in range(1, 13)}
_YES_NO = {"Y": True, "N": False}
_MATHML = "{http://www.w3.org/1998/Math/MathML}"


class Copy(NamedTuple):
    """One copy of a citation, or a deletion of it (*element* None), and where it stands."""

    key: Key
    path: Path
    place: int
    deleted: bool
    element: Element | None


def copies(path: Path) -> Iterator[Copy]:
    """Every citation and deletion of a file, in its order. An element is emptied once the next one is asked for."""
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        place = 0
        for _, element in ElementTree.iterparse(file):  # noqa: S314 - the files are known
            if element.tag in ("PubmedArticle", "PubmedBookArticle"):
                for found in element.iter():
                    if not found.tag.startswith(_MATHML) and found.tag != "DispFormula":  # markup stays as it is
                        found.attrib.update({name: value.strip() for name, value in found.items()})
                pmid = next(found for found in element.iter("PMID"))
                yield Copy(_key(pmid), path, place, False, element)
                place += 1
                element.clear()
            elif element.tag in ("DeleteCitation", "DeleteDocument"):
                for pmid in element.iter("PMID"):
                    yield Copy(_key(pmid), path, place, True, None)
                    place += 1


def _key(pmid: Element) -> Key:
    return int(pmid.text or ""), int(pmid.get("Version", "1"))


# --- small readers ---------------------------------------------------------------------------------------------------


_UP, _DOWN = (str.maketrans("0123456789+-=()‐‑–−", forms) for forms in ("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾⁻⁻⁻⁻", "₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎₋₋₋₋"))
_JOINED = re.compile(
    "\x01([^\x01\x02]*)\x02(?=[0-9A-Za-zµ\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u1fff\u2c00-\u2fff\u3001-\ufefe])"
)


def plain(element: Element) -> str:
    """All text inside *element*: raised and lowered as docs/pubmed-columns.md says, without space around it."""
    raw = _JOINED.sub(lambda bare: f"{bare[1][0]}({bare[1][1:]})", _plain(element))
    return raw.translate({1: None, 2: None}).strip()


def _plain(element: Element) -> str:
    parts = [element.text or ""]
    for child in element:
        inner = _isotopes(child) if child.tag == f"{_MATHML}math" else _plain(child)
        script = inner.strip(" \t\r\n")
        if child.tag in ("sup", "sub") and script:
            nested = any(below.tag in ("sup", "sub") for below in child.iter() if below is not child)
            inner = _script(child.tag, script, nested) + inner[len(inner.rstrip(" \t\r\n")) :]
        parts += [inner, child.tail or ""]
    return "".join(parts)


def _script(tag: str, script: str, nested: bool = False) -> str:
    table, mark = (_UP, "^") if tag == "sup" else (_DOWN, "_")
    if re.fullmatch(r"[-0-9+=()‐‑–−]+", script) and not nested:
        return script.translate(table)
    if re.fullmatch(r"[*,;:.'\" \t\r\n®™℠°ºª†‡§¶′″∘∗]+", script) and not nested:
        return script
    if re.fullmatch(r"[-+]?[0-9A-Za-z.,\u0080-\U0010ffff]+", script) and not nested:
        return f"\x01{mark}{script}\x02"
    return mark + (script if re.fullmatch(r"\([^()]*\)", script) else f"({script})")


def _isotopes(element: Element) -> str:
    """The formulas of the real files: masses before symbols, words, signs."""
    if element.tag == f"{_MATHML}mmultiscripts":
        base, prescripts, below, above = element
        assert (prescripts.tag, below.tag) == (f"{_MATHML}mprescripts", f"{_MATHML}none")
        return _isotopes(above).translate(_UP) + _isotopes(base)
    scripts = {"msub": ["sub"], "msup": ["sup"], "msubsup": ["sub", "sup"]}.get(element.tag.removeprefix(_MATHML))
    if scripts:
        base, *others = map(_isotopes, element)
        return base + "".join(map(_script, scripts, others))
    assert element.tag.removeprefix(_MATHML) in ("math", "mrow", "mi", "mn", "mo", "mtext"), element.tag
    line = "" if len(element) else (element.text or "").strip()
    for part in map(_isotopes, element):
        part = f" {part} " if part == "=" and line else part
        line += " " * (line[-1:].isalpha() and part[:1].isalpha()) + part
    return line


def marked(parent: Element | None, path: str) -> str | None:
    """The text at *path* with its markup; None where it has none."""
    found = None if parent is None else parent.find(path)
    return None if found is None or not len(found) else _marked(found).strip()


def _marked(element: Element) -> str:
    return escaped(element.text) + "".join(
        (f"<{tag}{said}>{_marked(child)}</{tag}>" if child.text or len(child) else f"<{tag}{said}/>")
        + escaped(child.tail)
        for child in element
        for tag in [child.tag.replace(_MATHML, "mml:")]
        for said in ["".join(f' {name}="{escaped(value)}"' for name, value in child.items())]
    )


def escaped(said: str | None) -> str:
    return (said or "").replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def text(parent: Element | None, path: str = ".") -> str | None:
    """The text of the element at *path*; None when there is no such element."""
    found = None if parent is None else parent.find(path)
    return None if found is None else plain(found)


def texts(parent: Element, path: str) -> list[str] | None:
    return [plain(found) for found in parent.iterfind(path)] or None


def attribute(parent: Element, path: str, name: str) -> str | None:
    found = parent.find(path)
    return None if found is None else found.get(name)


def yes(parent: Element, path: str, name: str) -> bool | None:
    value = attribute(parent, path, name)
    return None if value is None else _YES_NO[value]


def objects(parent: Element, path: str, read: Callable[[Element], Values]) -> list[Values] | None:
    """What *read* makes of each element at *path*, without what is absent; None when there is no element."""
    return [sparse(**read(found)) for found in parent.iterfind(path)] or None


def sparse(**values: Any) -> Values:
    return {name: value for name, value in values.items() if value is not None}


def flag(element: Element, name: str) -> bool | None:
    value = element.get(name)
    return None if value is None else _YES_NO[value]


def full_date(parent: Element, path: str) -> date | None:
    found = parent.find(path)
    return None if found is None else _day(text(found, "Year"), text(found, "Month"), text(found, "Day"))


def first_day(pub_date: Element | None) -> date | None:
    """The first day that a PubDate names."""
    if pub_date is None:
        return None
    medline = text(pub_date, "MedlineDate")
    if medline is None:
        return _day(text(pub_date, "Year"), text(pub_date, "Month"), text(pub_date, "Day"), loose=True)
    found = re.match(r"(\d{4})(?: ([A-Z][a-z]{2})\b(?: (\d{1,2})\b)?)?", medline)
    if found is None:
        year = re.search(r"\b[12]\d{3}\b", medline)  # a month before it is not looked for: no real file here has one
        return date(int(year[0]), 1, 1) if year else None
    year_said, month, day = found.groups()
    return _day(year_said, month if month and month.lower() in _MONTHS else None, day, loose=True)


def _day(year: str | None, month: str | None, day: str | None, *, loose: bool = False) -> date | None:
    if year is None:
        return None
    number = 1 if month is None else _MONTHS.get(month[:3].lower()) or int(month)
    try:
        return date(int(year), number, 1 if day is None or month is None else int(day))
    except ValueError:
        return date(int(year), number, 1) if loose else None


def pub_date_text(pub_date: Element | None) -> str | None:
    if pub_date is None:
        return None
    return text(pub_date, "MedlineDate") or " ".join(
        plain(part) for part in pub_date if part.tag in ("Year", "Month", "Day", "Season")
    )


# --- the columns -----------------------------------------------------------------------------------------------------


def article(root: Element) -> Values:
    """The value of every column of pubmed.citation that docs/pubmed-columns.md promises for a PubmedArticle."""
    citation = cast(Element, root.find("MedlineCitation"))
    body = cast(Element, citation.find("Article"))
    data = root.find("PubmedData")
    data = Element("PubmedData") if data is None else data
    issue = body.find("Journal/JournalIssue")
    pub_date = None if issue is None else issue.find("PubDate")
    article_ids = objects(data, "ArticleIdList/ArticleId", article_id)
    locations = objects(body, "ELocationID", elocation_id)
    sections = objects(body, "Abstract/AbstractText", section)
    pages = text(body, "Pagination/MedlinePgn")
    start, end = text(body, "Pagination/StartPage"), text(body, "Pagination/EndPage")
    return {
        "deleted": False,
        "kind": "article",
        "status": citation.get("Status"),
        "owner": citation.get("Owner"),
        "indexing_method": citation.get("IndexingMethod"),
        "version_id": citation.get("VersionID"),
        "version_date": citation.get("VersionDate"),
        "title": text(body, "ArticleTitle"),
        "vernacular_title": text(body, "VernacularTitle"),
        "abstract": labelled(sections),
        "abstract_sections": sections,
        "abstract_copyright": text(body, "Abstract/CopyrightInformation"),
        "other_abstracts": objects(citation, "OtherAbstract", other_abstract),
        "journal_title": text(body, "Journal/Title"),
        "journal_iso": text(body, "Journal/ISOAbbreviation"),
        "issn": text(body, "Journal/ISSN"),
        "issn_type": attribute(body, "Journal/ISSN", "IssnType"),
        "volume": text(issue, "Volume"),
        "issue": text(issue, "Issue"),
        "cited_medium": None if issue is None else issue.get("CitedMedium"),
        "pub_model": body.get("PubModel"),
        "pages": pages or (start if end is None else f"{start}-{end}"),
        "start_page": start,
        "end_page": end,
        "pub_date": first_day(pub_date),
        "pub_date_text": pub_date_text(pub_date),
        "article_dates": objects(body, "ArticleDate", lambda d: {"type": d.get("DateType")} | moments(d)),
        "medline_ta": text(citation, "MedlineJournalInfo/MedlineTA"),
        "nlm_unique_id": text(citation, "MedlineJournalInfo/NlmUniqueID"),
        "issn_linking": text(citation, "MedlineJournalInfo/ISSNLinking"),
        "country": text(citation, "MedlineJournalInfo/Country"),
        "languages": texts(body, "Language"),
        "authors": persons(body, "AuthorList", "Author", {"Type": "list_type"}),
        "authors_complete": yes(body, "AuthorList", "CompleteYN"),
        "investigators": persons(citation, "InvestigatorList", "Investigator", {"ID": "list_id"}),
        "mesh": objects(citation, "MeshHeadingList/MeshHeading", heading),
        "supplemental_mesh": objects(
            citation,
            "SupplMeshList/SupplMeshName",
            lambda name: {"name": text(name), "ui": name.get("UI"), "type": name.get("Type")},
        ),
        "keywords": texts(citation, "KeywordList/Keyword"),
        "keyword_lists": objects(
            citation,
            "KeywordList",
            lambda some: {"owner": some.get("Owner"), "keywords": objects(some, "Keyword", keyword)},
        ),
        "publication_types": texts(body, "PublicationTypeList/PublicationType"),
        "publication_type_uis": [
            cast(str, kind.get("UI")) for kind in body.iterfind("PublicationTypeList/PublicationType")
        ],
        "chemicals": objects(
            citation,
            "ChemicalList/Chemical",
            lambda one: {
                "registry_number": text(one, "RegistryNumber"),
                "name": text(one, "NameOfSubstance"),
                "ui": attribute(one, "NameOfSubstance", "UI"),
            },
        ),
        "grants": objects(
            body,
            "GrantList/Grant",
            lambda one: {
                "grant_id": text(one, "GrantID"),
                "acronym": text(one, "Acronym"),
                "agency": text(one, "Agency"),
                "country": text(one, "Country"),
            },
        ),
        "grants_complete": yes(body, "GrantList", "CompleteYN"),
        "databanks_complete": yes(body, "DataBankList", "CompleteYN"),
        "databanks": objects(
            body,
            "DataBankList/DataBank",
            lambda bank: {
                "name": text(bank, "DataBankName"),
                "accessions": texts(bank, "AccessionNumberList/AccessionNumber"),
            },
        ),
        "article_ids": article_ids,
        "elocation_ids": locations,
        "doi": first(article_ids, "doi") or first([one for one in locations or [] if one.get("valid", True)], "doi"),
        "pmc": first(article_ids, "pmc"),
        "reference_list": objects(data, "ReferenceList", reference_list),
        "number_of_references": text(citation, "NumberOfReferences"),
        "coi_statement": text(citation, "CoiStatement"),
        "publication_status": text(data, "PublicationStatus"),
        "comments_corrections": objects(
            citation,
            "CommentsCorrectionsList/CommentsCorrections",
            lambda one: {
                "type": one.get("RefType"),
                "source": text(one, "RefSource"),
                "pmid": text(one, "PMID"),
                "pmid_version": attribute(one, "PMID", "Version"),
                "note": text(one, "Note"),
            },
        ),
        "history": objects(data, "History/PubMedPubDate", lambda one: {"status": one.get("PubStatus")} | moments(one)),
        "citation_subsets": texts(citation, "CitationSubset"),
        "gene_symbols": texts(citation, "GeneSymbolList/GeneSymbol"),
        "space_flight_missions": texts(citation, "SpaceFlightMission"),
        "personal_name_subjects": objects(citation, "PersonalNameSubjectList/PersonalNameSubject", names),
        "other_ids": objects(citation, "OtherID", sourced),
        "general_notes": objects(citation, "GeneralNote", lambda one: {"owner": one.get("Owner"), "note": text(one)}),
        "objects": objects(
            data,
            "ObjectList/Object",
            lambda one: {
                "type": one.get("Type"),
                "params": objects(one, "Param", lambda param: {"name": param.get("Name"), "value": text(param)}),
            },
        ),
        "date_completed": full_date(citation, "DateCompleted"),
        "date_revised": full_date(citation, "DateRevised"),
        "date_created": full_date(citation, "DateCreated"),
        "book": None,
        "location_labels": None,
        "sections": None,
        "item_lists": None,
        "contribution_date": None,
        "extra": None,
        "title_markup": marked(body, "ArticleTitle"),
        "abstract_markup": abstract_markup(body),
        "pub_year": day.year if (day := first_day(pub_date)) else None,
    }


def abstract_markup(body: Element) -> str | None:
    sections = body.findall("Abstract/AbstractText")
    if not any(len(one) for one in sections):
        return None
    labels = (f"{escaped(one.get('Label'))}: " if one.get("Label") else "" for one in sections)
    return "\n".join(label + _marked(one).strip() for label, one in zip(labels, sections, strict=True))


def section(one: Element) -> Values:
    return {"label": one.get("Label"), "category": one.get("NlmCategory"), "text": text(one)}


def labelled(sections: list[Values] | None) -> str | None:
    """The whole abstract of its sections."""
    if sections is None:
        return None
    lines = (
        one.get("text", "") if "label" not in one else f"{one['label']}: {one.get('text', '')}" for one in sections
    )
    return "\n".join(lines)


def other_abstract(one: Element) -> Values:
    return {
        "type": one.get("Type"),
        "language": one.get("Language"),
        "sections": objects(one, "AbstractText", section),
        "copyright": text(one, "CopyrightInformation"),
    }


def moments(one: Element) -> Values:
    return {name.lower(): text(one, name) for name in ("Year", "Month", "Day", "Hour", "Minute", "Second")}


def persons(parent: Element, path: str, tag: str, list_attributes: dict[str, str]) -> list[Values] | None:
    found = [
        sparse(**person(one), **{name: some.get(key) for key, name in list_attributes.items()})
        for some in parent.iterfind(path)
        for one in some.iterfind(tag)
    ]
    return found or None


def person(one: Element) -> Values:
    return {
        "valid": flag(one, "ValidYN"),
        "equal_contrib": flag(one, "EqualContrib"),
        **names(one),
        "collective_name": text(one, "CollectiveName"),
        "collective_investigators": attribute(one, "CollectiveName", "Investigators"),
        "identifiers": objects(one, "Identifier", sourced),
        "affiliations": objects(
            one,
            "AffiliationInfo",
            lambda info: {"name": text(info, "Affiliation"), "identifiers": objects(info, "Identifier", sourced)},
        ),
    }


def names(one: Element) -> Values:
    return {
        "last_name": text(one, "LastName"),
        "fore_name": text(one, "ForeName"),
        "initials": text(one, "Initials"),
        "suffix": text(one, "Suffix"),
    }


def sourced(one: Element) -> Values:
    return {"source": one.get("Source"), "value": text(one)}


def heading(one: Element) -> Values:
    descriptor = cast(Element, one.find("DescriptorName"))
    return {
        "descriptor": text(descriptor),
        **term(descriptor),
        "type": descriptor.get("Type"),
        "qualifiers": objects(one, "QualifierName", lambda name: {"qualifier": text(name), **term(name)}),
    }


def term(name: Element) -> Values:
    return {"ui": name.get("UI"), "major": flag(name, "MajorTopicYN"), "auto_hm": flag(name, "AutoHM")}


def keyword(one: Element) -> Values:
    return {"keyword": text(one), "major": flag(one, "MajorTopicYN")}


def article_id(one: Element) -> Values:
    return {"type": one.get("IdType"), "value": text(one)}


def elocation_id(one: Element) -> Values:
    return {"type": one.get("EIdType"), "valid": flag(one, "ValidYN"), "value": text(one)}


def reference_list(one: Element) -> Values:
    return {
        "title": text(one, "Title"),
        "references": objects(
            one,
            "Reference",
            lambda ref: {
                "citation": text(ref, "Citation"),
                "article_ids": objects(ref, "ArticleIdList/ArticleId", article_id),
            },
        ),
        "lists": objects(one, "ReferenceList", reference_list),
    }


def first(ids: Iterable[Values] | None, kind: str) -> str | None:
    """The first value of that type that says anything."""
    return next((one["value"] for one in ids or () if one.get("type") == kind and one["value"]), None)
