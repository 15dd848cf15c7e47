"""The hook of mkdocs for this project's pages; mkdocs.yml names it.

README, CONTRIBUTING and the like stand where their readers look for them, outside docs/. They become pages of the site
under the addresses of ``OUTSIDE``, and links between them and docs/ are turned so that they lead there.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
OUTSIDE = {  # file of the project: page of the site
    "README.md": "overview.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "CHANGELOG.md": "CHANGELOG.md",
    "SECURITY.md": "SECURITY.md",
    "bench/RESULTS.md": "bench/RESULTS.md",
}
_LINK = re.compile(r"(\]\()([^)\s#:]+)(#[^)\s]*)?\)")
_ASKS = re.compile(r"<(?:script|img|iframe|link|source|object)\b[^>]*?\b(?:src|href|data)=\"?((?:https?:)?//[^\s\">]+)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages of ``OUTSIDE`` that the project has."""
    for origin, page in OUTSIDE.items():
        if (ROOT / origin).exists():
            files.append(File.generated(config, page, abs_src_path=str(ROOT / origin)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """The page's text with links to files of the project turned into links to pages of the site."""
    address = page.file.src_uri
    origins = {place: origin for origin, place in OUTSIDE.items()}
    origin = PurePosixPath(origins.get(address, f"docs/{address}"))
    start = str(PurePosixPath(address).parent)

    def turned(match: re.Match[str]) -> str:
        target = normpath(str(origin.parent / match[2]))
        place = OUTSIDE.get(target) or (target.removeprefix("docs/") if target.startswith("docs/") else None)
        if place is None:
            raise PluginError(f"{origin} links to {match[2]}, which is no page of the site: name it in {__file__}.")
        return f"{match[1]}{relpath(place, start)}{match[3] or ''})"

    return _LINK.sub(turned, markdown)


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """The finished page, unchanged; an error if a reader's browser would load anything from another server."""
    if asks := _ASKS.findall(output):
        raise PluginError(f"{page.file.src_uri} loads from elsewhere: {', '.join(sorted(set(asks)))}")
    return output
