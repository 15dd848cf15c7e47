"""What a command answers and how it is printed: a JSON document, or lines and tables."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

_COMMANDS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Answer(NamedTuple):
    """A command's answer: *data* for ``--json``, *show* gives what people see (plain lines, or things that rich draws),
    and the exit *code*."""

    data: Any
    show: Callable[[], Iterable[RenderableType]]
    code: int = 0


def _plain(value: Any) -> Any:
    if isinstance(value, bytes | memoryview):
        return bytes(value).hex()
    return str(value)


def show(answer: Answer, *, as_json: bool) -> None:
    """Print *answer* on stdout."""
    if as_json:
        _document(answer.data)
        return
    console = None
    for piece in answer.show():
        if isinstance(piece, str):
            sys.stdout.write(piece + "\n")
            continue
        if console is None:
            from rich.console import Console

            # A pipe has no width: nothing may be cut or folded there.
            console = Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else 1000)
        sys.stdout.flush()
        console.print(piece)
    sys.stdout.flush()


def error(kind: str, message: str, context: Mapping[str, Any], *, as_json: bool) -> None:
    """One line on stderr that says what went wrong; with *as_json* a document on stdout, too."""
    facts = ", ".join(f"{name}={value}" for name, value in context.items() if value is not None)
    sys.stderr.write(f"medmirror: {' '.join(message.split())}{f' ({facts})' if facts else ''}\n")
    sys.stderr.flush()
    if as_json:
        _document({"error": kind, "message": message, "context": dict(context)})


def _document(data: Any) -> None:
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS
    sys.stdout.write(orjson.dumps(data, default=_plain, option=options).decode())
    sys.stdout.flush()


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], title: str | None = None) -> Table:
    """A table; a column whose values are all numbers is set flush right. None is an empty cell."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    body = [list(row) for row in rows]
    drawn = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for place, name in enumerate(columns):
        values = [row[place] for row in body if row[place] is not None]
        number = bool(values) and all(isinstance(value, int | float) for value in values)
        drawn.add_column(name, justify="right" if number else "left", overflow="fold", min_width=len(name))
    for row in body:
        drawn.add_row(*(value if isinstance(value, Text) else Text(word(value)) for value in row))
    return drawn


def facts(pairs: Iterable[tuple[str, Any]]) -> Table:
    """A table of names and values; empty values are left out."""
    drawn = table(["name", "value"], [(name, word(value)) for name, value in pairs if value not in (None, "")])
    drawn.show_header = False
    return drawn


def safe(content: str) -> str:
    """*content* without characters that could command a terminal."""
    return _COMMANDS.sub("�", content)


def word(value: Any) -> str:
    """*value* as people read it: thousands parted, times to the second, nothing for None."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.1f}" if abs(value) < 1000 else f"{value:,.0f}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {word(item)}" for name, item in value.items())
    if hasattr(value, "astimezone"):
        return str(value.astimezone().strftime("%Y-%m-%d %H:%M:%S"))
    return safe(str(value))
