"""What the views of PubMed must hold of a citation, told from its columns as the independent reading has them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from pubmed_reading import Values

Row = tuple[Any, ...]

ORCID = re.compile(r"(\d{4})-?(\d{4})-?(\d{4})-?(\d{3}[\dX])")


def author(values: Values) -> Iterator[Row]:
    for position, one in enumerate(values["authors"] or (), start=1):
        names = [one.get(name) for name in ("last_name", "fore_name", "initials", "suffix", "collective_name")]
        affiliations = [some["name"] for some in one.get("affiliations", ()) if "name" in some]
        yield position, *names, orcid(one), affiliations, one.get("equal_contrib"), one.get("valid")


def orcid(person: Values) -> str | None:
    """Sixteen digits in fours, however the publisher wrote them; what cannot be read is left as it is."""
    given = next((one["value"] for one in person.get("identifiers", ()) if one["source"] == "ORCID"), None)
    found = ORCID.search(given or "")
    return "-".join(found.groups()) if found else given


def mesh_heading(values: Values) -> Iterator[Row]:
    for position, one in enumerate(values["mesh"] or (), start=1):
        starred = one.get("major")
        for qualifier in one.get("qualifiers") or [{}]:
            yield (
                position,
                one["ui"],
                one["descriptor"],
                qualifier.get("ui"),
                qualifier.get("qualifier"),
                bool(starred or qualifier.get("major")),
                starred,
                qualifier.get("major"),
            )


def reference(values: Values) -> Iterator[Row]:
    for position, one in enumerate(_references(values["reference_list"] or ()), start=1):
        pmid = _first(one, "pubmed")
        yield position, one.get("citation"), int(pmid) if pmid and pmid.isdecimal() else None, _first(one, "doi")


def _references(lists: Any) -> Iterator[Values]:
    for one in lists:
        yield from one.get("references", ())
        yield from _references(one.get("lists", ()))


def _first(one: Values, kind: str) -> str | None:
    return next((some["value"] for some in one.get("article_ids", ()) if some["type"] == kind), None)


def databank_accession(values: Values) -> Iterator[Row]:
    for bank in values["databanks"] or ():
        for position, accession in enumerate(bank.get("accessions", ()), start=1):
            yield bank["name"], accession, position


COLUMNS: dict[str, tuple[str, Callable[[Values], Iterator[Row]]]] = {
    "author": (
        "position, last_name, fore_name, initials, suffix, collective_name, orcid, affiliations, equal_contrib, valid",
        author,
    ),
    "mesh_heading": (
        "position, descriptor_ui, descriptor, qualifier_ui, qualifier, major, descriptor_major, qualifier_major",
        mesh_heading,
    ),
    "reference": ("position, citation, cited_pmid, doi", reference),
    "databank_accession": ("databank, accession, position", databank_accession),
}
