"""``medmirror rejects``: records that could not be loaded."""

from __future__ import annotations

import click

from medmirror.cli.options import Group


@click.group(cls=Group)
def rejects() -> None:
    """List, show and retry records that could not be loaded."""
