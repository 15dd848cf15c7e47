"""A citation's columns and layout: the place of each element and attribute of PubMed's DTDs, the old ones too."""

from __future__ import annotations

from collections.abc import Iterator

from medmirror.model import Column
from medmirror.readers.xml.layout import (
    Date,
    Element,
    Layout,
    Open,
    Put,
    column,
    joined,
    key,
    leaf,
    marked,
    node,
    to_extra,
    yes,
    yes_column,
)
from medmirror.sources.base import Feed

_TEXT = """status owner indexing_method version_id version_date title vernacular_title abstract abstract_copyright
journal_title journal_iso issn issn_type volume issue cited_medium pub_model pages start_page end_page
pub_date_text medline_ta nlm_unique_id issn_linking country doi pmc number_of_references coi_statement
publication_status kind title_markup abstract_markup"""
_KINDS = {
    **dict.fromkeys(_TEXT.split(), "text"),
    **dict.fromkeys(("pub_date", "date_completed", "date_revised", "date_created"), "date"),
    **dict.fromkeys(("authors_complete", "grants_complete", "databanks_complete"), "bool"),
    "pub_year": "int2",
    **dict.fromkeys(("languages", "keywords", "publication_types", "publication_type_uis"), "text[]"),
    **dict.fromkeys(("citation_subsets", "gene_symbols", "space_flight_missions"), "text[]"),
}  # all others: jsonb
_COLUMNS = """kind status owner indexing_method version_id version_date title vernacular_title abstract
abstract_sections abstract_copyright other_abstracts journal_title journal_iso issn issn_type volume
issue cited_medium pub_model pages start_page end_page pub_date pub_date_text article_dates medline_ta
nlm_unique_id issn_linking country languages authors authors_complete investigators mesh
supplemental_mesh keywords keyword_lists publication_types publication_type_uis chemicals grants
grants_complete databanks_complete databanks article_ids elocation_ids doi pmc reference_list
number_of_references coi_statement publication_status comments_corrections history citation_subsets
gene_symbols space_flight_missions personal_name_subjects other_ids general_notes objects date_completed
date_revised date_created book location_labels sections item_lists contribution_date extra title_markup
abstract_markup pub_year"""

FEED = Feed(
    "citation",
    (Column("pmid", "int8"), Column("pmid_version", "int2")),
    tuple(Column(name, _KINDS.get(name, "jsonb")) for name in _COLUMNS.split()),
    revised="date_revised",
)

_EXTRA = Put("extra", "extra")
_LINK = {"book": "book", "part": "part", "sec": "sec"}  # a title's place online
_NAME = {"LastName": "last_name", "ForeName": "fore_name", "Initials": "initials", "Suffix": "suffix"}
_PERSON = tuple(leaf(name, key(to)) for name, to in _NAME.items())


def _part(name: str, *targets: Put | str) -> Element:
    return leaf(name, Put("part", name), *targets)


def _day(name: str, to: str) -> Element:
    return node(name, _part("Year"), _part("Month"), _part("Day"), date=Date(to, exact=True))


def _date_object(name: str, opens: Open, *more: str, **attributes: str) -> Element:
    parts = [leaf(part, key(part.lower())) for part in ("Year", "Month", "Day", *more)]
    return node(name, *parts, opens=opens).take(attributes)


def _identifier() -> Element:
    return leaf("Identifier", "value", opens=Open("list", "identifiers"), Source="source")


def _person(name: str, opens: Open) -> Element:
    affiliation = node(
        "AffiliationInfo", leaf("Affiliation", "name"), _identifier(), opens=Open("list", "affiliations")
    )
    old_affiliation = leaf("Affiliation", "name", opens=Open("list", "affiliations"))  # until 2014
    return node(
        name,
        *_PERSON,
        leaf("CollectiveName", "collective_name", Investigators="collective_investigators"),
        _identifier(),
        affiliation,
        old_affiliation,
        opens=opens,
        ValidYN=yes("valid"),
        EqualContrib=yes("equal_contrib"),
    )


def _author_list(opens: Open, complete: Put) -> Element:
    return node("AuthorList", _person("Author", opens), CompleteYN=complete, Type=Put("carry", "list_type"))


def _investigator_list(opens: Open) -> Element:
    return node("InvestigatorList", _person("Investigator", opens), ID=Put("carry", "list_id"))


def _abstract_text(*targets: Put, opens: Open) -> Element:
    return leaf("AbstractText", "text", *targets, opens=opens, Label="label", NlmCategory="category")


def _abstract() -> Element:
    whole = joined("abstract", "\n", label="Label")
    text = _abstract_text(whole, marked(whole, "abstract_markup"), opens=Open("column", "abstract_sections"))
    return node("Abstract", text, leaf("CopyrightInformation", column("abstract_copyright")))


def _title(rank: int = 0) -> tuple[Put, Put]:
    put = column("title", rank=rank)
    return put, marked(put, "title_markup")


def _pagination() -> Element:
    return node(
        "Pagination",
        leaf("MedlinePgn", column("pages")),
        leaf("StartPage", column("start_page"), joined("pages", "-", rank=1)),
        leaf("EndPage", column("end_page"), joined("pages", "-", rank=1)),
    )


def _elocation(opens: Open, *targets: Put) -> Element:
    return leaf("ELocationID", "value", *targets, opens=opens, EIdType="type", ValidYN=yes("valid"))


def _article_ids(opens: Open, *targets: Put) -> Element:
    return node("ArticleIdList", leaf("ArticleId", "value", *targets, opens=opens, IdType="type"))


def _own_ids() -> Element:
    return _article_ids(
        Open("column", "article_ids"),
        column("doi", first=True, when=(("IdType", "doi", True),)),
        column("pmc", first=True, when=(("IdType", "pmc", True),)),
    )


def _keyword_list() -> Element:
    word = leaf("Keyword", "keyword", column("keywords"), opens=Open("list", "keywords"), MajorTopicYN=yes("major"))
    return node("KeywordList", word, opens=Open("column", "keyword_lists"), Owner="owner")


def _grant_list() -> Element:
    parts = {"GrantID": "grant_id", "Acronym": "acronym", "Agency": "agency", "Country": "country"}
    grant = node("Grant", *(leaf(name, key(to)) for name, to in parts.items()), opens=Open("column", "grants"))
    return node("GrantList", grant, CompleteYN=yes_column("grants_complete"))


def _publication_type() -> Element:
    return leaf("PublicationType", column("publication_types"), UI=column("publication_type_uis"))


def _reference_list(opens: Open) -> Element:
    ids = _article_ids(Open("list", "article_ids"))
    reference = node("Reference", leaf("Citation", "citation"), ids, opens=Open("list", "references"))
    return node("ReferenceList", leaf("Title", "title"), reference, opens=opens)


def _reference_lists() -> Element:
    nested = _reference_list(Open("list", "lists"))
    nested.add(nested)
    return _reference_list(Open("column", "reference_list")).add(nested)


def _pub_date(*, keys: bool) -> tuple[Element, ...]:
    """Year, Month and so on of a PubDate, for pub_date and pub_date_text; *keys* says whether they are keys too."""
    names = {"Year": "year", "Month": "month", "Day": "day", "Season": "season", "MedlineDate": "medline_date"}
    return tuple(
        leaf(
            name,
            joined("pub_date_text", " "),
            *([] if name == "Season" else [Put("part", name)]),
            *([to] if keys else []),
        )
        for name, to in names.items()
    )


def _journal() -> Element:
    dated = node("PubDate", *_pub_date(keys=False), date=Date("pub_date", exact=False, year="pub_year"))
    issue = node(
        "JournalIssue",
        leaf("Volume", column("volume")),
        leaf("Issue", column("issue")),
        dated,
        CitedMedium=column("cited_medium"),
    )
    return node(
        "Journal",
        leaf("ISSN", column("issn"), IssnType=column("issn_type")),
        issue,
        leaf("Title", column("journal_title")),
        leaf("ISOAbbreviation", column("journal_iso")),
    )


def _article() -> Element:
    databank = node(
        "DataBank",
        leaf("DataBankName", "name"),
        node("AccessionNumberList", leaf("AccessionNumber", Put("list", "accessions"))),
        opens=Open("column", "databanks"),
    )
    valid_doi = (("EIdType", "doi", True), ("ValidYN", "N", False))
    return node(
        "Article",
        _journal(),
        leaf("ArticleTitle", *_title()).take(dict.fromkeys(_LINK, _EXTRA)),
        _pagination(),
        _elocation(Open("column", "elocation_ids"), column("doi", rank=1, first=True, when=valid_doi)),
        _abstract(),
        _author_list(Open("column", "authors"), yes_column("authors_complete")),
        leaf("Language", column("languages")),
        node("DataBankList", databank, CompleteYN=yes_column("databanks_complete")),
        _grant_list(),
        node("PublicationTypeList", _publication_type()),
        leaf("VernacularTitle", column("vernacular_title")),
        _date_object("ArticleDate", Open("column", "article_dates"), DateType="type"),
        PubModel=column("pub_model"),
    )


def _mesh() -> Element:
    flags = {"UI": key("ui"), "MajorTopicYN": yes("major"), "AutoHM": yes("auto_hm")}
    qualifier = leaf("QualifierName", "qualifier", opens=Open("list", "qualifiers")).take(flags)
    descriptor = leaf("DescriptorName", "descriptor", Type="type").take(flags)
    heading = node("MeshHeading", descriptor, qualifier, opens=Open("column", "mesh"))
    return node("MeshHeadingList", heading)


def _links() -> Element:
    link = node(
        "CommentsCorrections",
        leaf("RefSource", "source"),
        leaf("PMID", "pmid", Version="pmid_version"),
        leaf("Note", "note"),
        opens=Open("column", "comments_corrections"),
        RefType="type",
    )
    return node("CommentsCorrectionsList", link)


def _citation_lists() -> Iterator[Element]:
    chemical = node(
        "Chemical",
        leaf("RegistryNumber", "registry_number"),
        leaf("NameOfSubstance", "name", UI="ui"),
        opens=Open("column", "chemicals"),
    )
    yield node("ChemicalList", chemical)
    supplement = leaf("SupplMeshName", "name", opens=Open("column", "supplemental_mesh"), Type="type", UI="ui")
    yield node("SupplMeshList", supplement)
    yield leaf("CitationSubset", column("citation_subsets"))
    yield _links()
    yield node("GeneSymbolList", leaf("GeneSymbol", column("gene_symbols")))
    yield _mesh()
    yield leaf("NumberOfReferences", column("number_of_references"))
    yield node(
        "PersonalNameSubjectList",
        node("PersonalNameSubject", *_PERSON, opens=Open("column", "personal_name_subjects")),
    )
    yield leaf("OtherID", "value", opens=Open("column", "other_ids"), Source="source")
    yield node(
        "OtherAbstract",
        _abstract_text(opens=Open("list", "sections")),
        leaf("CopyrightInformation", "copyright"),
        opens=Open("column", "other_abstracts"),
        Type="type",
        Language="language",
    )
    yield _keyword_list()
    yield leaf("CoiStatement", column("coi_statement"))
    yield leaf("SpaceFlightMission", column("space_flight_missions"))
    yield _investigator_list(Open("column", "investigators"))
    yield leaf("GeneralNote", "note", opens=Open("column", "general_notes"), Owner="owner")


def _pmid() -> Element:
    return leaf("PMID", column("pmid"), Version=column("pmid_version"))


def _citation() -> Element:
    journal = {"Country": "country", "MedlineTA": "medline_ta"}
    journal |= {"NlmUniqueID": "nlm_unique_id", "ISSNLinking": "issn_linking"}
    return node(
        "MedlineCitation",
        _pmid(),
        _day("DateCreated", "date_created"),
        _day("DateCompleted", "date_completed"),
        _day("DateRevised", "date_revised"),
        _article(),
        node("MedlineJournalInfo", *(leaf(name, column(to)) for name, to in journal.items())),
        *_citation_lists(),
        Owner=column("owner"),
        Status=column("status"),
        VersionID=column("version_id"),
        VersionDate=column("version_date"),
        IndexingMethod=column("indexing_method"),
    )


def _pubmed_data(name: str) -> Element:
    history = _date_object("PubMedPubDate", Open("column", "history"), "Hour", "Minute", "Second", PubStatus="status")
    param = leaf("Param", "value", opens=Open("list", "params"), Name="name")
    return node(
        name,
        node("History", history),
        leaf("PublicationStatus", column("publication_status")),
        to_extra("ProviderId"),  # ProviderId and URL: until 2002
        _own_ids(),
        to_extra("URL"),
        node("ObjectList", node("Object", param, opens=Open("column", "objects"), Type="type")),
        _reference_lists(),
    )


def _location_label(opens: Open) -> Element:
    return leaf("LocationLabel", "label", opens=opens, Type="type")


def _section(opens: Open) -> Element:
    label = _location_label(Open("key", "location_label"))
    return node("Section", label, leaf("SectionTitle", "title").take(_LINK), opens=opens)


def _book() -> Element:
    publisher = node(
        "Publisher",
        leaf("PublisherName", "name"),
        leaf("PublisherLocation", "location"),
        opens=Open("key", "publisher"),
    )
    pub_date = node(
        "PubDate",
        *_pub_date(keys=True),
        opens=Open("key", "pub_date"),
        date=Date("pub_date", exact=False, year="pub_year"),
    )
    title = {name: key(f"title_{name}") for name in _LINK}
    collection = {name: key(f"collection_title_{name}") for name in _LINK}
    texts = {"Volume": "volume", "VolumeTitle": "volume_title", "Edition": "edition"}
    return node(
        "Book",
        publisher,
        leaf("BookTitle", "title", *_title(rank=1)).take(title),
        pub_date,
        _date_object("BeginningDate", Open("key", "beginning_date"), "Season"),
        _date_object("EndingDate", Open("key", "ending_date"), "Season"),
        _author_list(Open("list", "authors"), Put("carry", "list_complete", yes_no=True)),
        _investigator_list(Open("list", "investigators")),
        *(leaf(name, key(to)) for name, to in texts.items()),
        leaf("CollectionTitle", "collection_title").take(collection),
        leaf("Isbn", Put("list", "isbns")),
        _elocation(Open("list", "elocation_ids")),
        leaf("Medium", "medium"),
        leaf("ReportNumber", "report_number"),
        to_extra("ContractNumber"),  # declared, never placed
        opens=Open("single", "book"),
    )


def _book_document() -> Element:
    section = _section(Open("column", "sections"))
    nested = _section(Open("list", "sections"))
    section.add(nested.add(nested))
    items = node("ItemList", leaf("Item", Put("list", "items")), opens=Open("column", "item_lists"), ListType="type")
    return node(
        "BookDocument",
        _pmid(),
        _own_ids(),
        _book(),
        _location_label(Open("column", "location_labels")),
        leaf("ArticleTitle", *_title()).take(dict.fromkeys(_LINK, _EXTRA)),
        leaf("VernacularTitle", column("vernacular_title")),
        _pagination(),
        leaf("Language", column("languages")),
        _author_list(Open("column", "authors"), yes_column("authors_complete")),
        _investigator_list(Open("column", "investigators")),
        to_extra("GroupList"),  # until 2015
        _publication_type(),
        _abstract(),
        node("Sections", section),
        _keyword_list(),
        _date_object("ContributionDate", Open("single", "contribution_date"), "Season"),
        _day("DateRevised", "date_revised"),
        to_extra("CitationString"),  # until 2018
        _grant_list(),
        items,
        _reference_lists(),
    )


def _roots() -> Iterator[Element]:
    for article in ("PubmedArticle", "PubMedArticle"):  # the second until 2002
        data = (_pubmed_data("PubmedData"), _pubmed_data("PubMedData"))
        yield node(article, _citation(), to_extra("NCBIArticle"), *data)
    yield _citation()
    yield node("PubmedBookArticle", _book_document(), _pubmed_data("PubmedBookData"))
    yield _book_document()


_MATHML = "http://www.w3.org/1998/Math/MathML"
SPEC = Layout(
    FEED.all_columns,
    {element.name: element for element in _roots()},
    {
        name: {"deleted": False, "kind": "book" if "Book" in name else "article", "pmid_version": 1}
        for name in ("PubmedArticle", "PubMedArticle", "MedlineCitation", "PubmedBookArticle", "BookDocument")
    },
    {"mml": _MATHML},
    required=("pmid",),
)

LEFT_OUT = {
    **dict.fromkeys(("b", "i", "u", "sub", "sup"), "a part of a text; readers/xml/markup.py says what becomes of it"),
    "DispFormula": "a wrapper of MathML within a text",
    "mml:math": "a formula (and all of MathML below it), which becomes a line of text; *_markup keeps it",
}
"""Elements of the DTDs that no column holds, and why."""
