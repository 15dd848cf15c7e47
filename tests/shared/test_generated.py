"""The second reading on generated files: they have the books and the rare elements that no real file here has.

These need no real files and always run. The same citations are also written in other ways that XML allows: whatever way
was taken, the rows must be those of the standard library's parser.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from xml.sax.saxutils import unescape

import psycopg
import pubmed_reading
import pytest
import tokens
from psycopg.rows import dict_row

import medmirror
from medmirror_testing.samples import write_pubmed

Rewrite = Callable[[str, random.Random], str]

TEXT = re.compile(r"(?<=>)[^<>]+(?=</)")
TAG = re.compile(r"<(/?)([\w:]+)((?: [\w:]+=\"[^\"]*\")*)(/?)>")


def _some(pattern: re.Pattern[str], share: float, change: Callable[[re.Match[str]], str]) -> Rewrite:
    """Change a share of what *pattern* finds."""

    def rewrite(text: str, rng: random.Random) -> str:
        return pattern.sub(lambda found: change(found) if rng.random() < share else found[0], text)

    return rewrite


def _references(found: re.Match[str]) -> str:
    """Each third letter as a character reference."""
    parts = re.split(r"(&\w+;|&#\w+;)", found[0])
    for place, part in enumerate(parts):
        if not part.startswith("&"):
            parts[place] = "".join(
                f"&#x{ord(char):X};" if index % 6 == 0 else f"&#{ord(char)};" if index % 3 == 0 else char
                for index, char in enumerate(part)
            )
    return "".join(parts)


def _loose_tag(found: re.Match[str]) -> str:
    closing, name, attributes, empty = found.groups()
    attributes = re.sub(r' ([\w:]+)="([^"\']*)"', r"  \1 = '\2'", attributes)
    return f"<{closing}{name}{attributes}\n{empty}>"


REWRITES: dict[str, Rewrite] = {
    "as it is": lambda text, rng: text,
    "character references": _some(TEXT, 0.2, _references),
    "CDATA": _some(TEXT, 0.2, lambda found: f"<![CDATA[{unescape(found[0])}]]>"),
    "comments in text": _some(TEXT, 0.1, lambda found: f"{found[0][:2]}<!-- <PMID>1</PMID> & -->{found[0][2:]}"),
    "comments between tags": _some(re.compile("(?<=>)(?=<)"), 0.05, lambda found: "<!-- </PubmedArticle> -->"),
    "instructions": _some(re.compile("(?<=>)(?=<)"), 0.05, lambda found: "<?show <PubmedArticle> ?>"),
    "loose tags": _some(TAG, 0.3, _loose_tag),
    "empty pairs": _some(re.compile(r"<(\w+)([^<>]*?)/>"), 0.5, lambda found: f"<{found[1]}{found[2]}></{found[1]}>"),
    "line ends of Windows": _some(re.compile("(?<=>)(?=<)|(?<=[a-z]) (?=[a-z])"), 0.1, lambda found: "\r\n"),
    "white space in attributes": _some(
        re.compile(r'(?<= )(Label|IdType|Owner)="(\w*)"'), 0.3, lambda found: f'{found[1]}=" {found[2]}\t&amp;&#10;"'
    ),
    "entities in keys": _some(
        re.compile(r"(?<=<PMID Version=\"1\">)\d(?=\d+</PMID>)"), 0.3, lambda found: f"&#{ord(found[0])};"
    ),
    "space around keys": _some(
        re.compile(r"(?<=<PMID Version=\"1\">)\d+(?=</PMID>)"), 0.3, lambda found: f"\n {found[0]} "
    ),
    "emptied texts": _some(
        re.compile(r"(?<=<)(ForeName|Title|Affiliation|Keyword|Citation|Agency|Volume)>[^<>]*</\1"),
        0.2,
        lambda found: f"{found[1]}></{found[1]}",
    ),
    "elements of a newer DTD": _some(
        re.compile(
            "(?<=</Author>)|(?<=</MeshHeading>)|(?<=</Reference>)|(?<=</Grant>)|(?<=</LastName>)|(?<=</History>)"
        ),
        0.1,
        lambda found: '<Novelty Kind="brand new"><Part>unheard of</Part></Novelty>',
    ),
    "attributes of a newer DTD": _some(
        re.compile("<(Author|Grant|Keyword|Journal|Citation)(?=[ >])"),
        0.2,
        lambda found: f'{found[0]} Novelty="unheard of"',
    ),
}


@pytest.mark.parametrize("native", ["1", "0"], ids=["compiled", "python"])
@pytest.mark.parametrize("name", REWRITES)
def test_rows_are_what_the_standard_parser_reads(
    tmp_path: Path, dsn: str, monkeypatch: pytest.MonkeyPatch, name: str, native: str
) -> None:
    monkeypatch.setenv("MEDMIRROR_NATIVE", native)  # the workers are new processes
    path = tmp_path / "pubmed26n0001.xml"
    write_pubmed(path, 80, seed=7, indent=list(REWRITES).index(name) % 2 == 1)
    head, first, rest = path.read_text(encoding="utf-8").partition("<PubmedArticle>")
    body, last, tail = rest.rpartition("</PubmedArticleSet>")
    text = REWRITES[name](first + body, random.Random(name))
    assert (text == first + body) == (name == "as it is")
    path.write_bytes((head + text + last + tail).encode())
    path.with_name(path.name + ".md5").unlink(missing_ok=True)
    result = medmirror.load("pubmed", path, dsn=dsn, workers=1, index=False)
    assert result.rejected == 0
    assert [file.error for file in result.files] == [None]
    kinds, wrong = _compare(path, dsn)
    assert wrong == []
    assert kinds["book"] >= 1
    assert kinds["article"] >= 75


def _compare(path: Path, dsn: str) -> tuple[Counter[str], list[tuple[object, ...]]]:
    kinds: Counter[str] = Counter()
    wrong: list[tuple[object, ...]] = []
    with psycopg.connect(dsn, row_factory=dict_row) as connection:
        rows = {(row["pmid"], row["pmid_version"]): row for row in connection.execute("SELECT * FROM pubmed.citation")}
    for copy in pubmed_reading.copies(path):
        element, row = copy.element, rows.get(copy.key)
        if element is None or row is None:
            wrong.append((copy.key, "no row"))
            continue
        kinds[row["kind"]] += 1
        if lost := tokens.missing(tokens.read(element), row):
            wrong.append((copy.key, row["kind"], "lost", dict(lost)))
        if element.tag == "PubmedArticle":
            wrong += [
                (copy.key, name, value, row[name])
                for name, value in pubmed_reading.article(element).items()
                if name != "extra" and (value != row[name] or type(value) is not type(row[name]))
            ]
    return kinds, wrong
