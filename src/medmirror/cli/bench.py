"""``medmirror bench``."""

from __future__ import annotations

import click

from medmirror.cli import output
from medmirror.cli.options import Command


@click.command(cls=Command)
def bench() -> output.Answer:
    """Measure."""
    raise NotImplementedError
