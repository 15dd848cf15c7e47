"""Where the project's files stand, whatever the depth of the test that asks."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared" / "data"
"""The publishers' real files, which the project does not carry: tests that read them are marked ``shared``."""
