"""A command line of pages, units and containers, checked as `medmirror` itself would, without running it."""

from __future__ import annotations

import re

import click

from medmirror.cli import cli


def parse(words: list[str], *, whole: bool = True) -> None:
    """Parse *words* as the command line would, but for what opens files. Raises click.UsageError.

    *whole*: what is required must be there. A word in capitals stands for a value that the reader fills in.
    """
    command: click.Command = cli
    context = click.Context(command, info_name="medmirror")
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        name, subcommand, words = command.resolve_command(context, words)
        assert subcommand is not None
        command, context = subcommand, click.Context(subcommand, info_name=name, parent=context)
    values, rest, _ = command.make_parser(context).parse_args(words)
    if rest and not context.allow_extra_args:
        raise click.UsageError(f"more than {command.name} takes: {' '.join(rest)}", context)
    for parameter in command.get_params(context):
        value = values.get(parameter.name or "")
        if parameter.value_is_missing(value):
            if whole and parameter.required:
                raise click.MissingParameter(ctx=context, param=parameter)
        elif not isinstance(parameter.type, click.Path | click.File) and not _is_a_placeholder(value):
            parameter.type_cast_value(context, value)


def _is_a_placeholder(value: object) -> bool:
    texts = value if isinstance(value, list | tuple) else [value]
    return any(isinstance(text, str) and re.fullmatch(r"[A-Z_]+(\.\.\.)?", text) for text in texts)
