"""One PubmedBookArticle: a chapter of an online book."""

from __future__ import annotations

import random

from medmirror_testing.samples import rarities
from medmirror_testing.samples.text import escape, paragraph, pools, prose

_NESTED = '<Section><SectionTitle book="nbk">Nested <i>section</i></SectionTitle></Section>'
_NUMBER = '<LocationLabel Type="section">%d</LocationLabel>'
_PART = ' part="p" sec="s"'
_LABELS = ["part", "chapter", "section", "appendix", "figure", "table", "box"]


def book_article(pmid: int, *, seed: int, showcase: bool = False) -> str:
    """The chapter *pmid*; a *showcase* holds every element and attribute of the DTD of 2025 that a book may have."""
    rng = random.Random((seed << 44) ^ (pmid << 8) ^ 77)
    term = rng.choice(pools().terms).capitalize()
    year = 1998 + rng.randrange(28)
    shelf = f"NBK{rng.randrange(1_000, 600_000)}"
    labels = _LABELS if showcase else ["chapter"]
    ids = f'<ArticleIdList><ArticleId IdType="bookaccession">{shelf}</ArticleId>'
    if showcase:
        ids += f'<ArticleId IdType="pmcbook">{shelf.lower()}</ArticleId>'
    ids += "</ArticleIdList>"
    pages = (
        "<Pagination><StartPage>12</StartPage><EndPage>29</EndPage><MedlinePgn>12-29</MedlinePgn></Pagination>"
        if showcase
        else ""
    )
    sections = "".join(
        f"<Section>{_NUMBER % n if showcase or n > 3 else ''}"
        f"<SectionTitle{rarities.book_link(True)}>{name}</SectionTitle>"
        f"{_NESTED if n == 2 else ''}</Section>"
        for n, name in enumerate(
            ("Summary", "Diagnosis", "Clinical Characteristics", "Management &amp; Counseling", "References"), 1
        )
    )
    parts = [
        f'<PubmedBookArticle><BookDocument><PMID Version="1">{pmid}</PMID>{ids}{_book(rng, year, showcase)}',
        "".join(f'<LocationLabel Type="{label}">{rng.randrange(1, 60)}</LocationLabel>' for label in labels),
        f'<ArticleTitle book="nbk{pmid % 997}" part="{term.lower()}">{escape(term)}</ArticleTitle>',
        "<VernacularTitle>Kapitel</VernacularTitle>" if showcase else "",
        f"{pages}<Language>eng</Language>{_people(rng, 'authors')}",
        rarities.investigators(rng, 2, False) if showcase else "",
        '<PublicationType UI="D016454">Review</PublicationType>',
        '<Abstract><AbstractText Label="CLINICAL '
        f'CHARACTERISTICS">{escape(paragraph(rng, "background", 3))}</AbstractText>'
        f"<AbstractText>{escape(prose(rng, 4))}</AbstractText><CopyrightInformation>Copyright © {year}, University "
        "of Example.</CopyrightInformation></Abstract>",
        f"<Sections>{sections}</Sections>",
        f'<KeywordList Owner="NLM"><Keyword MajorTopicYN="N">{escape(term)}</Keyword></KeywordList>'
        if showcase or rng.random() < 0.3
        else "",
        f"<ContributionDate><Year>{year}</Year><Month>6</Month><Day>{rng.randrange(1, 28)}</Day></ContributionDate>",
        f"<DateRevised><Year>{year + 1}</Year><Month>1</Month><Day>12</Day></DateRevised>",
        rarities.grants(rng, True) if showcase else "",
        '<ItemList ListType="Synonyms"><Item>First synonym</Item><Item>Second &amp; last</Item></ItemList>'
        if showcase or rng.random() < 0.4
        else "",
        "<ReferenceList><Title>References</Title><Reference><Citation>A made-up source. 2001.</Citation></Reference>"
        "</ReferenceList>"
        if showcase
        else "",
        "</BookDocument><PubmedBookData><History>",
        "".join(
            f'<PubMedPubDate PubStatus="{state}"><Year>{year}</Year><Month>6</Month><Day>3</Day><Hour>6</Hour>'
            "<Minute>0</Minute></PubMedPubDate>"
            for state in ("pubmed", "medline", "entrez")
        ),
        "</History><PublicationStatus>ppublish</PublicationStatus><ArticleIdList><ArticleId "
        f'IdType="pubmed">{pmid}</ArticleId></ArticleIdList>',
        rarities.objects(rng, True) if showcase else "",
        "</PubmedBookData></PubmedBookArticle>",
    ]
    return "".join(parts)


def _book(rng: random.Random, year: int, showcase: bool) -> str:
    rare = ""
    if showcase:
        rare = (
            "<Volume>2</Volume><VolumeTitle>The <i>second</i></VolumeTitle><Edition>3rd</Edition>"
            '<CollectionTitle book="coll" part="a" sec="b">A collection</CollectionTitle><Isbn>9780000000002</Isbn>'
            '<ELocationID EIdType="doi" ValidYN="Y">10.1000/book</ELocationID><Medium>Internet</Medium>'
            "<ReportNumber>R-17</ReportNumber>"
        )
    begin = f"<BeginningDate><Year>{year}</Year>{'<Season>Spring</Season>' if showcase else ''}</BeginningDate>"
    end = f"<EndingDate><Year>{year + 3}</Year><Month>12</Month></EndingDate>" if showcase else ""
    return (
        "<Book><Publisher><PublisherName>University of Example</PublisherName><PublisherLocation>Example "
        "(WA)</PublisherLocation></Publisher>"
        f'<BookTitle book="nbk{rng.randrange(999)}"{_PART if showcase else ""}>'
        f"Reviews of {escape(rng.choice(pools().diseases))}</BookTitle><PubDate><Year>{year}</Year>"
        f"</PubDate>{begin}{end}{_people(rng, 'editors')}"
        f"{rarities.investigators(rng, 1, False) if showcase else ''}{rare}</Book>"
    )


def _people(rng: random.Random, kind: str) -> str:
    people = "".join(
        f'<Author ValidYN="Y"><LastName>{escape(rng.choice(pools().surnames))}</LastName>'
        f"<ForeName>{forename}</ForeName><Initials>{forename[0]}</Initials></Author>"
        for forename in rng.choices(pools().forenames, k=3)
    )
    return f'<AuthorList Type="{kind}" CompleteYN="Y">{people}</AuthorList>'
