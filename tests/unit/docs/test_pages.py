"""Links lead somewhere, files that pages name exist, lines fit, and each page is listed for its readers."""

from __future__ import annotations

import re
from importlib import import_module
from importlib.util import find_spec

import pytest

import places
from pages import LINKING, anchors, links, pages, read, source_file, spans

WIDTH = 120
ROOM_FOR = r"gudid|NAME|ORG|DIGEST|PATH|\.\.\.|\*|[<>{}]"  # what the reader makes, or fills in


@pytest.mark.parametrize("page", pages(LINKING))
def test_links_lead_to_files_and_headings(page: str) -> None:
    lost = []
    for link in links(page):
        target = (places.ROOT / page).parent / link.path if link.path else places.ROOT / page
        if not target.exists():
            lost.append(link.path)
        elif link.anchor and link.anchor not in anchors(str(target.resolve().relative_to(places.ROOT))):
            lost.append(f"{link.path}#{link.anchor}")
    assert lost == []


@pytest.mark.parametrize("page", pages())
def test_lines_fit(page: str) -> None:
    lines = enumerate(read(page).splitlines(), 1)
    assert [number for number, line in lines if len(line) > WIDTH and not line.startswith("|")] == []


def test_the_index_and_the_navigation_name_every_page() -> None:
    every = {page.removeprefix("docs/") for page in pages() if page.startswith("docs/")}
    indexed = {link.path for link in links("docs/index.md")} | {"index.md"}
    listed = set(re.findall(r"[\w./-]+\.md$", (places.ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE))
    assert every - indexed == set()
    assert every - listed == set()


@pytest.mark.parametrize("page", pages())
def test_files_that_a_page_names_exist(page: str) -> None:
    named = {span for span in spans(page) if re.fullmatch(r"\w[\w./-]*/[\w-]+\.(py|sql|toml)", span)}
    assert [name for name in sorted(named) if not re.search(ROOM_FOR, name) and source_file(name) is None] == []


@pytest.mark.parametrize("page", pages())
def test_modules_and_relations_that_a_page_names_exist(page: str) -> None:
    statements = "\n".join(path.read_text(encoding="utf-8") for path in (places.ROOT / "sql").rglob("*.sql"))
    lost = []
    for span in spans(page):
        match = re.fullmatch(r"(medmirror(?:_testing)?(?:\.[a-z_]+)+)(\(.*\))?", span)
        if match and not span.endswith(".env") and match[1] not in statements and not _importable(match[1]):
            lost.append(span)
    assert lost == []


def _importable(name: str) -> bool:
    """Whether *name* is a module, or a public name of one."""
    module, _, attribute = name.rpartition(".")
    try:
        if find_spec(name):
            return True
    except ModuleNotFoundError:
        pass
    try:
        return hasattr(import_module(module), attribute)
    except ImportError:
        return False
