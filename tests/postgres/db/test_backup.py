"""The owner's backup, by the very commands of docs/operations.md, is complete; the owner is no superuser."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier
from tests.places import ROOT

import medmirror
import mirrors
from medmirror.db import binaries
from medmirror.settings import Settings, child_environment

PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")


@pytest.fixture
def owned(server: str) -> Iterator[tuple[str, str]]:
    """Two empty databases of one owner who is no superuser and may make no roles."""
    name = f"medmirror_test_{uuid4().hex[:12]}"
    names = (name, f"{name}_new")
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(SQL("CREATE ROLE {} LOGIN").format(Identifier(name)))
        for database in names:
            connection.execute(SQL("CREATE DATABASE {} OWNER {}").format(Identifier(database), Identifier(name)))
    yield make_conninfo(server, dbname=names[0], user=name), make_conninfo(server, dbname=names[1], user=name)
    with psycopg.connect(server, autocommit=True) as connection:
        for database in names:
            connection.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(database)))
        connection.execute(SQL("DROP ROLE {}").format(Identifier(name)))


def test_the_backup_of_the_page_holds_every_patient_and_can_be_restored(
    server: str, owned: tuple[str, str], tmp_path: Path
) -> None:
    with psycopg.connect(server) as connection:
        major = connection.info.server_version // 10_000
    programs = binaries.find(Settings.from_environment().home).bin
    examined = binaries.examine(programs)
    if not (programs / "pg_dump").exists() or examined is None or examined.major < major:
        pytest.skip("no pg_dump of this server's version")
    old, new = owned
    settings = Settings.from_environment(dsn=old, workers=1)
    patients = tmp_path / "Patient.ndjson"
    patients.write_bytes(
        b"".join(b'{"resourceType":"Patient","id":"%d","birthDate":"1980-01-02"}\n' % n for n in range(13))
    )
    assert medmirror.load("fhir", patients, organization="clinic-a", settings=settings).inserted == 13
    mirrors.run(old, "INSERT INTO medmirror.membership VALUES ('somebody', 'clinic-a')")

    commands = re.findall(r"^(?:PGOPTIONS.* pg_dump|pg_restore|medmirror .*diff).*$", PAGE, re.MULTILINE)
    assert len(commands) == 3
    environment = child_environment(DSN=old, NEW_DSN=new, PYTHON=sys.executable)
    environment["PATH"] = f"{programs}:{environment['PATH']}"
    for command in commands:
        done = subprocess.run(
            ["/bin/sh", "-c", re.sub(r"^medmirror ", '"$PYTHON" -m medmirror ', command)],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, (command, done.stderr)
    asked = "SELECT (SELECT count(*) FROM medmirror.membership), count(*) FROM fhir.resource"
    with psycopg.connect(new) as restored:
        restored.execute("SET medmirror.organization = '*'")
        assert restored.execute(asked).fetchone() == (1, 13)
