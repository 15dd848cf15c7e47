"""requirements.lock: every file that pip fetches for us has a hash there, and each set of extras finds all it needs."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib import metadata
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType
from typing import Any

import pytest
from packaging.requirements import Requirement

from places import ROOT

LOCK = (ROOT / "requirements.lock").read_text()
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


@pytest.fixture(scope="module")
def locked() -> ModuleType:
    """scripts/locked.py."""
    spec = spec_from_file_location("locked", ROOT / "scripts/locked.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pinned(entries: list[str]) -> set[str]:
    return {entry.partition("==")[0] for entry in entries}


def test_each_entry_has_hashes_and_names_no_index(locked: ModuleType) -> None:
    entries = [block for of_name in locked.blocks(LOCK).values() for block, _ in of_name]
    assert len(entries) > 100
    for entry in entries:
        assert re.match(r"[a-z0-9][a-z0-9.-]*==\S+", entry), entry[:60]
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry[:60]
    assert "://" not in LOCK
    assert "index" not in LOCK


@pytest.mark.parametrize("extra", sorted(EXTRAS))
def test_what_an_extra_needs_is_there_to_the_last(locked: ModuleType, extra: str) -> None:
    names = pinned(locked.locked([extra], LOCK))
    assert locked.asked_for([extra]) <= names
    environment: dict[str, Any] = {"extra": ""}
    for name in names:
        try:
            texts = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue  # of another platform, or of an extra that is not installed
        for requirement in map(Requirement, texts):
            if requirement.marker is None or requirement.marker.evaluate(environment):
                assert locked.normal(requirement.name) in names, f"{name} needs {requirement.name}"


def test_an_extra_leaves_out_what_it_does_not_need(locked: ModuleType) -> None:
    assert pinned(locked.locked(["build"], LOCK)) == {"setuptools"}
    few = pinned(locked.locked(["mysql"], LOCK))
    assert "pymysql" in few
    assert not {"pytest", "fastapi", "moto"} & few


def test_an_extra_that_there_is_not_is_refused_in_words() -> None:
    made = subprocess.run([sys.executable, ROOT / "scripts/locked.py", "no-such"], capture_output=True, text=True)
    assert made.returncode == 1
    assert "There is no extra 'no-such'" in made.stderr
