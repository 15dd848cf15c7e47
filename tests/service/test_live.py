"""The live minute that ends the demonstration, beside another clinic whose records have the same numbers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from sqlalchemy import Engine

import places
from medmirror.settings import Settings
from medmirror.sync import engine as sync_engine
from medmirror.sync.session import SyncRequest, Tools
from medmirror_testing.servers.clinikodata import Account
from medmirror_testing.servers.clinikoserver import KEY, ClinikoServer
from syncclinics import added

LIVE = places.ROOT / "scripts" / "live.py"


@pytest.fixture
def dsn(database: Callable[[], AbstractContextManager[str]]) -> Iterator[str]:
    """A database of this test's own: it loads records, which the one that the service's tests share must not keep."""
    with database() as own:
        yield own


def test_a_change_at_the_clinic_is_in_the_mirror_a_moment_later(
    engine: Engine, dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTHER_KEY", KEY)
    account = Account()
    account.fill(patients=20, appointments=30)
    with ClinikoServer(account) as other:
        one = added(engine, other, "other_clinic", "OTHER_KEY")
        sync_engine.run(Tools(engine, Settings.from_environment(dsn=dsn)), one, SyncRequest())
    environment = {**os.environ, "MEDMIRROR_DSN": dsn}
    done = subprocess.run(
        [sys.executable, str(LIVE), str(tmp_path)], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "webhooks/live_clinic -> 202" in done.stdout
    assert "in the mirror after" in done.stdout
    drawn = tmp_path / "medmirror-status.png"
    assert drawn.exists() == ("as Chromium draws it" in done.stdout)
