"""The project's pages as tests see them: their blocks of code, commands, headings and links."""

from __future__ import annotations

import re
import shlex
from functools import cache
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.token import Token

import places

SHOWN = ("README.md", "docs/*.md")  # whose blocks of code are checked and run
LINKING = (*SHOWN, "*.md", "bench/*.md", ".github/**/*.md")  # whose links are followed


class Block(NamedTuple):
    """A block of code: the *number*th one (from 1) under the heading with this *anchor* of *page*."""

    page: str  # from the project's folder: docs/sync.md
    anchor: str
    number: int
    language: str  # "" for a block that names none
    text: str
    line: int  # of the page, where it begins
    above: str  # what the paragraph or heading before it says

    @property
    def name(self) -> str:
        """How tests call it, whatever line it moves to."""
        return f"{self.page}#{self.anchor}:{self.number}"


class Link(NamedTuple):
    """A link or picture of *page*: the *path* it leads to (``""``: the page itself) and the *anchor* there."""

    page: str
    path: str
    anchor: str


class Command(NamedTuple):
    """A line of a shell block: the program's *words*, without comment and variables set before it."""

    block: Block
    text: str
    words: tuple[str, ...]


def pages(patterns: tuple[str, ...] = SHOWN) -> list[str]:
    """The names of the project's pages, from its folder."""
    files = {path for pattern in patterns for path in places.ROOT.glob(pattern)}
    return sorted(str(path.relative_to(places.ROOT)) for path in files)


@cache
def tokens(page: str) -> list[Token]:
    """The page, read as CommonMark with tables."""
    return MarkdownIt("commonmark").enable("table").parse(read(page))


def read(page: str) -> str:
    """The page's text."""
    return (places.ROOT / page).read_text(encoding="utf-8")


def blocks(page: str, language: str | None = None) -> list[Block]:
    """The blocks of code of *page* in order; of one *language* only, when it is named."""
    listed: list[Block] = []
    anchor, above, number = "", "", 0
    for token, following in zip(tokens(page), [*tokens(page)[1:], None], strict=True):
        if token.type == "heading_open" and following is not None:
            anchor, number = slug(following.content), 0
        elif token.type == "inline":
            above = token.content
        elif token.type in ("fence", "code_block"):
            number += 1
            line = (token.map or [0])[0] + 1
            listed.append(Block(page, anchor, number, token.info.strip(), token.content, line, above))
    return [block for block in listed if language in (None, block.language)]


def all_blocks(language: str | None = None) -> list[Block]:
    """The blocks of README.md and docs/."""
    return [block for page in pages() for block in blocks(page, language)]


def commands(block: Block) -> list[Command]:
    """The command lines of a shell *block*; a line that ends with a backslash goes on in the next one."""
    listed = []
    for line in block.text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words = words[1:]
        if words:
            listed.append(Command(block, line.strip(), tuple(words)))
    return listed


def spans(page: str) -> list[str]:
    """The texts in code font within the page's sentences and tables."""
    inline = (child for token in tokens(page) for child in token.children or ())
    return [child.content for child in inline if child.type == "code_inline"]


def links(page: str) -> list[Link]:
    """The links and pictures of *page* that lead to the project's own files."""
    listed = []
    for token in tokens(page):
        for child in token.children or ():
            target = str(child.attrs.get("href") or child.attrs.get("src") or "")
            if target and not re.match(r"[a-z]+:", target):
                path, _, anchor = target.partition("#")
                listed.append(Link(page, unquote(path), anchor))
    return listed


def anchors(page: str) -> set[str]:
    """The anchors of the page's headings that hold on the site and where the project is browsed alike."""
    both = zip(tokens(page), tokens(page)[1:], strict=False)
    headings = [following.content for token, following in both if token.type == "heading_open"]
    return {slug(heading) for heading in headings if slug(heading) == _browsed(heading)}


def slug(heading: str) -> str:
    """The anchor that the site gives a *heading* (Python-Markdown's rule)."""
    words = re.sub(r"[^\w\s-]", "", _plain(heading).encode("ascii", "ignore").decode()).strip().lower()
    return re.sub(r"[-\s]+", "-", words)


def _browsed(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", _plain(heading).strip().lower()).replace(" ", "-")


def _plain(heading: str) -> str:
    return re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").replace("*", "")


def source_file(name: str) -> Path | None:
    """The file that a page calls *name*: from the project's folder, the package's, or that of the pages."""
    for folder in ("", "src", "src/medmirror", "docs"):
        path = places.ROOT / folder / name
        if path.exists():
            return path
    return None
