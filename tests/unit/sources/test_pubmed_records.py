"""What becomes of a citation's elements, by the reference reader and by rows; and what the reference reader refuses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from medmirror.errors import InvalidRecord, ParseError
from medmirror.model import Item
from medmirror.readers.xml import record as xmlrecord
from medmirror.sources.pubmed import FEED, SOURCE, SPEC


def citation(article: str = "", rest: str = "", data: str = "") -> bytes:
    article = f'<Article PubModel="Print">{article}</Article>'
    data = f"<PubmedData>{data}</PubmedData>" if data else ""
    head = '<MedlineCitation Status="MEDLINE" Owner="NLM"><PMID Version="1">1</PMID>'
    return f"<PubmedArticle>{head}{article}{rest}</MedlineCitation>{data}</PubmedArticle>".encode()


def values(item: bytes) -> dict[str, Any]:
    """The columns that hold something, as the source gives them."""
    found = SOURCE.record(FEED, b"  " + item, Item("citation", (1, 1), 0, 0, 2, 2 + len(item)))
    assert list(found) == [column.name for column in FEED.all_columns]
    return {name: value for name, value in found.items() if value is not None}


def test_every_citation_has_its_facts() -> None:
    facts = {"pmid": 1, "pmid_version": 1, "deleted": False, "kind": "article", "pub_model": "Print"}
    assert values(citation()) == {**facts, "status": "MEDLINE", "owner": "NLM"}


def test_inline_markup_and_entities_are_text() -> None:
    math = '<mml:math xmlns:mml="http://www.w3.org/1998/Math/MathML"><mml:mi>x</mml:mi></mml:math>'
    title = f"A<i>B<sub>2</sub></i> &amp; &#x3b1;&eacute; {math}<![CDATA[ <b>]]><!-- no --><?no?>."
    assert values(citation(f"<ArticleTitle>{title}</ArticleTitle>"))["title"] == "AB₂ & αé x <b>."
    assert values(citation("<ArticleTitle/>"))["title"] == ""
    undeclared = citation("<ArticleTitle><mml:mi>x</mml:mi><odd:b>y</odd:b></ArticleTitle>")
    assert values(undeclared)["title"] == "xy"


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("10<sup>6</sup> cells", "10⁶ cells"),
        ("10<sup>-3</sup> M", "10⁻³ M"),
        ("10<sup> −3 </sup>M", "10⁻³ M"),
        ("H<sub>2</sub>O", "H₂O"),
        ("AUC<sub>0-120</sub>", "AUC₀₋₁₂₀"),
        ("x<sup><i>n</i></sup>", "x^n"),
        ("x<sup><i>n</i></sup>y", "x^(n)y"),
        ("x<sup>n+1</sup>", "x^(n+1)"),
        ("K<sub>m</sub> values", "K_m values"),
        ("K<sub>m</sub>s", "K_(m)s"),
        ("PM<sub>2.5</sub>", "PM_2.5"),
        ("x<sub>i</sub><sup>2</sup>", "x_i²"),
        ("2<sup>2<sup>3</sup></sup>", "2^(2³)"),
        ("Brand<sup>®</sup>, a<sup>1</sup><sup>,</sup><sup>2</sup>", "Brand®, a¹,²"),
        ("<b>P</b> <u>q</u><sup/>", "P q"),
        ("a<sup>1</sup><!-- no -->b", "a¹b"),
    ],
)
def test_raised_and_lowered_text_keeps_its_meaning(text: str, plain: str) -> None:
    found = values(citation(f"<ArticleTitle> {text}\n</ArticleTitle><VernacularTitle>{text}</VernacularTitle>"))
    assert (found["title"], found["vernacular_title"]) == (plain, plain)
    assert found["title_markup"] == text.replace("<!-- no -->", "")


_M = {"i": "<mml:mi>{}</mml:mi>", "n": "<mml:mn>{}</mml:mn>", "o": "<mml:mo>{}</mml:mo>"}


def math(shorthand: str) -> str:
    """MathML of ``name(...)``, and of ``i:x``, ``n:2`` and ``o:+`` for its tokens."""
    text = re.sub(r"([ino]):(\S+)", lambda m: _M[m[1]].format(m[2]), shorthand)
    text = re.sub(r"\[(\w+) ", r"<mml:\1>", text)
    text = re.sub(r"\](\w+)", r"</mml:\1>", text)
    return f'<mml:math xmlns:mml="http://www.w3.org/1998/Math/MathML">{text}</mml:math>'


@pytest.mark.parametrize(
    ("shorthand", "plain"),
    [
        ("[mrow [msup i:x n:2 ]msup o:≤ [mfrac n:1 n:2 ]mfrac ]mrow", "x² ≤ 1/2"),
        ("n:2 [mfrac n:1 n:2 ]mfrac i:x", "2 (1/2)x"),
        ("[mfrac [mrow i:a o:+ i:b ]mrow n:2 ]mfrac", "(a+b)/2"),
        ("[msup [msup i:x n:2 ]msup n:3 ]msup", "(x²)³"),
        ("[msup [mi ]mi n:6 ]msup", "⁶"),
        ("[msubsup i:x i:i n:2 ]msubsup", "x_i²"),
        ("[msub i:C i:max ]msub", "C_max"),
        ("[msqrt i:a o:+ i:b ]msqrt", "√(a+b)"),
        ("n:2 [mroot i:x n:3 ]mroot", "2 ³√x"),
        ("[mover i:x o:¯ ]mover o:± n:2", "x̄ ± 2"),
        ("[munderover o:∑ [mrow i:i o:= n:1 ]mrow i:n ]munderover [msub i:x i:i ]msub", "∑_(i = 1)^(n)x_i"),
        ("[mtable [mtr [mtd n:1 ]mtd [mtd n:0 ]mtd ]mtr [mtr [mtd n:0 ]mtd [mtd n:1 ]mtd ]mtr ]mtable", "[1, 0; 0, 1]"),
        ("[mfenced i:a i:b ]mfenced", "(a, b)"),
        ("i:sin i:x", "sin x"),
        ("[mmultiscripts i:C [mprescripts ]mprescripts n:6 n:14 ]mmultiscripts", "₆¹⁴C"),
        ("[semantics i:a [annotation \\alpha ]annotation ]semantics", "a"),
    ],
)
def test_mathematics_is_a_line_of_text(shorthand: str, plain: str) -> None:
    text = math(re.sub(r"> ", ">", shorthand))
    found = values(citation(f"<Abstract><AbstractText>We show {text}.</AbstractText></Abstract>"))
    assert re.sub(r"\s+", " ", found["abstract"]) == f"We show {plain}."
    assert found["abstract_markup"].startswith("We show <mml:math><mml:")


def test_the_text_with_its_markup_is_kept_where_there_is_any() -> None:
    texts = '<AbstractText Label="A &amp; B">x &lt; 1</AbstractText><AbstractText>10<sup>6</sup></AbstractText>'
    found = values(citation(f"<ArticleTitle>a &lt;i&gt; b</ArticleTitle><Abstract>{texts}</Abstract>"))
    assert (found["title"], found["abstract"]) == ("a <i> b", "A & B: x < 1\n10⁶")
    assert "title_markup" not in found
    assert found["abstract_markup"] == "A &amp; B: x &lt; 1\n10<sup>6</sup>"
    unknown = values(citation("<Newer>10<sup>6</sup> m</Newer>"))
    assert unknown["extra"][0]["text"] == "10⁶ m"
    assert unknown["extra"][0]["markup"] == "10<sup>6</sup> m"


def test_values_stand_without_the_white_space_around_them() -> None:
    location = '<ELocationID EIdType=" doi" ValidYN="Y">\n 10.1/good&#160;\n</ELocationID>'
    name = "<Author><LastName>\n  Doe\n </LastName></Author>"
    rest = "<DateRevised>\n<Year>\n 2024\n</Year><Month> 06 </Month><Day>\t01</Day></DateRevised>"
    article = f"{location}<AuthorList CompleteYN=' Y '>{name}</AuthorList><Language>\n   eng\n  </Language>"
    found = values(citation(article, rest))
    assert (found["doi"], found["languages"], found["authors"]) == ("10.1/good", ["eng"], [{"last_name": "Doe"}])
    assert (found["authors_complete"], found["date_revised"]) == (True, date(2024, 6, 1))


def test_sections_of_the_abstract() -> None:
    texts = '<AbstractText Label="AIMS" NlmCategory="OBJECTIVE">a</AbstractText><AbstractText>b</AbstractText>'
    found = values(citation(f"<Abstract>{texts}<CopyrightInformation>c</CopyrightInformation></Abstract>"))
    assert found["abstract"] == "AIMS: a\nb"
    assert found["abstract_sections"] == [{"label": "AIMS", "category": "OBJECTIVE", "text": "a"}, {"text": "b"}]
    assert found["abstract_copyright"] == "c"


def test_authors_with_all_they_can_have() -> None:
    person = "<LastName>L</LastName><ForeName>F</ForeName><Initials>I</Initials><Suffix>Jr</Suffix>"
    orcid = '<Identifier Source="ORCID">0</Identifier>'
    place = f"<AffiliationInfo><Affiliation>A</Affiliation>{orcid}</AffiliationInfo>"
    authors = f'<Author ValidYN="Y" EqualContrib="N">{person}{orcid}{place}{place}</Author>'
    authors += '<Author><CollectiveName Investigators="g">C</CollectiveName><Affiliation>old</Affiliation></Author>'
    found = values(citation(f'<AuthorList CompleteYN="N" Type="authors">{authors}</AuthorList>'))
    identifiers = [{"source": "ORCID", "value": "0"}]
    affiliation = {"name": "A", "identifiers": identifiers}
    first = {"list_type": "authors", "valid": True, "equal_contrib": False, "last_name": "L", "fore_name": "F"}
    first |= {"initials": "I", "suffix": "Jr", "identifiers": identifiers, "affiliations": [affiliation] * 2}
    second = {"list_type": "authors", "collective_investigators": "g", "collective_name": "C"}
    assert found["authors"] == [first, {**second, "affiliations": [{"name": "old"}]}]
    assert found["authors_complete"] is False


@pytest.mark.parametrize(
    ("text", "day", "words"),
    [
        ("<Year>1979</Year>", date(1979, 1, 1), "1979"),
        ("<Year>1979</Year><Month>Jun</Month>", date(1979, 6, 1), "1979 Jun"),
        ("<Year>2020</Year><Month>02</Month><Day>29</Day>", date(2020, 2, 29), "2020 02 29"),
        ("<Year>2021</Year><Month>02</Month><Day>29</Day>", date(2021, 2, 1), "2021 02 29"),
        ("<Year>2016</Year><Month>Jan</Month><Day>00</Day>", date(2016, 1, 1), "2016 Jan 00"),
        ("<Year>2016</Year><Month>13</Month>", date(2016, 1, 1), "2016 13"),
        ("<Year>2016</Year><Day>5</Day>", date(2016, 1, 1), "2016 5"),
        ("<Year>2016-2017</Year>", date(2016, 1, 1), "2016-2017"),
        ("<Season>Fall 2016</Season>", date(2016, 1, 1), "Fall 2016"),
        ("<Year>\n 2024 \n</Year><Month> May</Month><Day>03 </Day>", date(2024, 5, 3), "2024 May 03"),
        ("<Year>1979</Year><Season>Fall-Winter</Season>", date(1979, 1, 1), "1979 Fall-Winter"),
        ("<MedlineDate>1979 Nov-Dec</MedlineDate>", date(1979, 11, 1), "1979 Nov-Dec"),
        ("<MedlineDate>1998 Dec 29-1999 Jan 4</MedlineDate>", date(1998, 12, 29), "1998 Dec 29-1999 Jan 4"),
        ("<MedlineDate>1998 Jan 123</MedlineDate>", date(1998, 1, 1), "1998 Jan 123"),
        ("<MedlineDate>2000 Spring</MedlineDate>", date(2000, 1, 1), "2000 Spring"),
        ("<MedlineDate>1979-1980</MedlineDate>", date(1979, 1, 1), "1979-1980"),
        ("<MedlineDate>Fall 1979</MedlineDate>", date(1979, 1, 1), "Fall 1979"),
        ("<MedlineDate>Winter 1999-2000</MedlineDate>", date(1999, 1, 1), "Winter 1999-2000"),
        ("<MedlineDate>May 2011</MedlineDate>", date(2011, 5, 1), "May 2011"),
        ("<MedlineDate>Jan-Mar 1984</MedlineDate>", date(1984, 1, 1), "Jan-Mar 1984"),
        ("<MedlineDate>2011 Feb 30</MedlineDate>", date(2011, 2, 1), "2011 Feb 30"),
        ("<MedlineDate>19 Jun 1984</MedlineDate>", date(1984, 6, 19), "19 Jun 1984"),
        ("<MedlineDate>May 5-9, 2011</MedlineDate>", date(2011, 5, 5), "May 5-9, 2011"),
        ("<MedlineDate>Dec 1999-Jan 2000</MedlineDate>", date(1999, 12, 1), "Dec 1999-Jan 2000"),
        ("<MedlineDate>29 Dec-3 Jan 1999</MedlineDate>", date(1999, 1, 1), "29 Dec-3 Jan 1999"),
        ("<MedlineDate>(1998)</MedlineDate>", date(1998, 1, 1), "(1998)"),
        ("<MedlineDate>2011-05-03</MedlineDate>", date(2011, 5, 3), "2011-05-03"),
        ("<MedlineDate>Summer</MedlineDate>", None, "Summer"),
        ("<MedlineDate>19791 Jan</MedlineDate>", None, "19791 Jan"),
    ],
)
def test_publication_dates(text: str, day: date | None, words: str) -> None:
    found = values(citation(f"<Journal><JournalIssue><PubDate>{text}</PubDate></JournalIssue></Journal>"))
    assert (found.get("pub_date"), found["pub_date_text"]) == (day, words)
    assert found.get("pub_year") == (day.year if day else None)


def test_dates_of_the_record_are_exact_or_kept_as_text() -> None:
    good, bad = (f"<Year>2020</Year><Month>{month}</Month><Day>5</Day>" for month in ("01", "13"))
    found = values(citation(rest=f"<DateCompleted>{good}</DateCompleted><DateRevised>{bad}</DateRevised>"))
    assert found["date_completed"] == date(2020, 1, 5)
    assert "date_revised" not in found
    assert found["extra"] == [{"path": "PubmedArticle/MedlineCitation/DateRevised", "text": "2020 13 5"}]


def test_doi_comes_from_the_ids_else_from_a_valid_location() -> None:
    location = '<ELocationID EIdType="doi" ValidYN="{}">{}</ELocationID>'
    ids = '<ArticleIdList><ArticleId IdType="doi"/><ArticleId IdType="doi">c</ArticleId></ArticleIdList>'
    both = location.format("N", "a") + location.format("Y", "b")
    assert values(citation(both))["doi"] == "b"
    assert values(citation(both, data=ids))["doi"] == "c"
    assert "doi" not in values(citation(location.format("N", "a")))


def test_types_keep_step_with_their_numbers() -> None:
    types = '<PublicationType UI="D1">A</PublicationType><PublicationType>B</PublicationType>'
    found = values(citation(f"<PublicationTypeList>{types}</PublicationTypeList>"))
    assert (found["publication_types"], found["publication_type_uis"]) == (["A", "B"], ["D1", None])


def test_references_nest() -> None:
    inner = "<ReferenceList><Title>i</Title><Reference><Citation>z</Citation></Reference></ReferenceList>"
    reference = (
        '<Reference><Citation>x</Citation><ArticleIdList><ArticleId IdType="pubmed">5</ArticleId></ArticleIdList>'
    )
    found = values(citation(data=f"<ReferenceList><Title>t</Title>{reference}</Reference>{inner}</ReferenceList>"))
    ids = [{"type": "pubmed", "value": "5"}]
    outer = {"title": "t", "references": [{"citation": "x", "article_ids": ids}]}
    assert found["reference_list"] == [{**outer, "lists": [{"title": "i", "references": [{"citation": "z"}]}]}]


def test_nothing_that_no_rule_names_is_dropped() -> None:
    unknown = '<Newer a="1">t<Below b="2"/></Newer><AuthorList New="n" CompleteYN="maybe">stray</AuthorList>'
    found = values(citation(f"<ArticleTitle>one</ArticleTitle><ArticleTitle>two</ArticleTitle>{unknown}"))
    path = "PubmedArticle/MedlineCitation/Article/"
    assert found["title"] == "one"
    assert found["extra"] == [
        {"path": path + "ArticleTitle", "text": "two"},
        {"path": path + "Newer", "attributes": {"a": "1"}, "text": "t"},
        {"path": path + "Newer/Below", "attributes": {"b": "2"}, "text": ""},
        {"path": path + "AuthorList", "attributes": {"New": "n", "CompleteYN": "maybe"}},
        {"path": path + "AuthorList", "text": "stray"},
    ]


def test_old_elements_are_kept() -> None:
    item = citation(data="<ProviderId>p</ProviderId><URL lang='EN'>u</URL>").replace(
        b"<Article ", b"<NCBIArticle/><Article "
    )
    found = {entry["path"].rpartition("/")[2]: entry for entry in values(item)["extra"]}
    assert found["ProviderId"]["text"] == "p"
    assert found["URL"]["attributes"] == {"lang": "EN"}
    assert "NCBIArticle" in found


def test_books() -> None:
    people = '<AuthorList Type="{0}" CompleteYN="Y"><Author><LastName>{0}</LastName></Author></AuthorList>'
    book = "<Publisher><PublisherName>P</PublisherName></Publisher><BookTitle book='b'>T</BookTitle>"
    book += "<PubDate><Year>2001</Year><Season>Fall</Season></PubDate>" + people.format("editors")
    book += "<Isbn>1</Isbn><Isbn>2</Isbn>"
    section = (
        "<Section><LocationLabel Type='chapter'>1</LocationLabel><SectionTitle sec='s'>S</SectionTitle>{}</Section>"
    )
    below = section.format("").replace("S<", "U<")
    rest = people.format("authors") + f"<Sections>{section.format(below)}</Sections>"
    ids = '<ArticleIdList><ArticleId IdType="{}">{}</ArticleId></ArticleIdList>'
    item = f"<BookDocument><PMID>7</PMID>{ids.format('bookaccession', 'NBK')}<Book>{book}</Book>{rest}</BookDocument>"
    item = f"<PubmedBookArticle>{item}<PubmedBookData>{ids.format('pubmed', '7')}</PubmedBookData></PubmedBookArticle>"
    found = values(item.encode())
    assert (found["kind"], found["title"], found["pub_date"]) == ("book", "T", date(2001, 1, 1))
    assert found["article_ids"] == [{"type": "bookaccession", "value": "NBK"}, {"type": "pubmed", "value": "7"}]
    assert found["authors"] == [{"list_type": "authors", "last_name": "authors"}]
    editors = [{"list_type": "editors", "list_complete": True, "last_name": "editors"}]
    assert found["book"] == {
        "publisher": {"name": "P"},
        "title_book": "b",
        "title": "T",
        "pub_date": {"year": "2001", "season": "Fall"},
        "authors": editors,
        "isbns": ["1", "2"],
    }
    title = {"location_label": {"type": "chapter", "label": "1"}, "sec": "s"}
    assert found["sections"] == [{**title, "title": "S", "sections": [{**title, "title": "U"}]}]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("&nothing;", ParseError),
        ("<i>", ParseError),
        ("\x00", ParseError),
        ("&#0;", ParseError),
        ("<!DOCTYPE x>", ParseError),
        ("]]>", ParseError),
        ("<i>" * 300 + "</i>" * 300, None),
    ],
)
def test_what_is_not_well_formed_is_an_error(text: str, error: type[Exception] | None) -> None:
    item = citation(f"<ArticleTitle>{text}</ArticleTitle>")
    if error is None:
        assert values(item)["title"] == ""
        return
    with pytest.raises(error):
        values(item)


def test_bytes_that_are_not_utf8_are_an_error() -> None:
    with pytest.raises(ParseError):
        values(citation("<ArticleTitle>caf\xe9</ArticleTitle>").replace("é".encode(), b"\xe9"))


def test_endless_nesting_is_an_error_and_not_a_crash() -> None:
    for tag in ("ReferenceList", "Unknown"):
        with pytest.raises(ParseError):
            values(citation(data=f"<{tag}>" * 1500 + f"</{tag}>" * 1500))


def test_no_key_no_record() -> None:
    with pytest.raises(InvalidRecord):
        values(citation().replace(b'<PMID Version="1">1</PMID>', b""))
    with pytest.raises(InvalidRecord):
        xmlrecord.fields(b"<Other/>", SPEC)


@pytest.fixture
def asked() -> Iterator[tuple[str, list[str]]]:
    """The address of a web server of this test's own, and the paths that it was asked for."""
    paths: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", paths
    server.shutdown()
    thread.join()
    server.server_close()


def test_external_entities_are_never_fetched(tmp_path: Path, asked: tuple[str, list[str]]) -> None:
    address, paths = asked
    secret = tmp_path / "secret"
    secret.write_text("SECRET")
    item = citation("<ArticleTitle>&x;</ArticleTitle>")
    for declared in (secret.as_uri(), f"{address}/x.dtd"):
        for prolog in (f'<!DOCTYPE a [<!ENTITY x SYSTEM "{declared}">]>', f'<!DOCTYPE a SYSTEM "{declared}">'):
            data = prolog.encode() + item
            assert not any(isinstance(row, bytes) for row in SOURCE.rows(FEED, data, [whole(data)]))
            with pytest.raises(ParseError) as caught:
                xmlrecord.fields(data, SPEC)
            assert "SECRET" not in str(caught.value)
    assert not paths
    with pytest.raises(HTTPError):
        urlopen(f"{address}/control")  # our own server: it does count
    assert paths == ["/control"]


def whole(data: bytes) -> Item:
    return Item("citation", (1, 1), 0, 0, 0, len(data))
