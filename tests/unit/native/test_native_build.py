"""What an install asks for: a compiler's wheel only where there is no compiler."""

from __future__ import annotations

import importlib.util
import platform
import sys
from pathlib import Path
from types import ModuleType

import pytest

import places

BACKEND = places.ROOT / "backend" / "medmirror_backend.py"


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The build backend, on a machine of a kind that it knows and with nothing said in the environment."""
    pytest.importorskip("setuptools")
    spec = importlib.util.spec_from_file_location("medmirror_backend", BACKEND)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.delenv("MEDMIRROR_NATIVE", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    return module


def _tool(folder: Path, name: str) -> None:
    path = folder / name
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)


def test_a_compiler_of_the_machine_is_used(
    backend: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _tool(tmp_path, "gcc")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert backend.compiler() == [str(tmp_path / "gcc")]
    assert backend._more() == []
    _tool(tmp_path, "mycc")
    monkeypatch.setenv("CC", "mycc -m64")
    assert backend.compiler() == ["mycc", "-m64"]


def test_without_one_the_wheel_of_one_is_asked_for(
    backend: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CC", "not-there")
    assert backend.compiler() is None
    assert [name.split(">")[0] for name in backend._more()] == ["ziglang"]


@pytest.mark.parametrize("reason", ["switched off", "no wheel for this machine"])
def test_or_it_is_done_without(
    backend: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    if reason == "switched off":
        monkeypatch.setenv("MEDMIRROR_NATIVE", "0")
    else:
        monkeypatch.setattr(platform, "machine", lambda: "s390x")
    assert backend._more() == []
