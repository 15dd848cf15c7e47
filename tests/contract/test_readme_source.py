"""The source that README.md shows in full is real: two files, no other edit, and it loads."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import psycopg

import medmirror
import places

ROOT = places.ROOT
DEVICES = [
    {"primaryDi": f"0088{n:04d}", "publicVersionNumber": 1, "brandName": f"Pump {n}", "productCodes": [{"code": "FRN"}]}
    for n in range(5)
]


def test_two_files_make_a_source(tmp_path: Path, dsn: str) -> None:
    package = tmp_path / "medmirror"
    shutil.copytree(Path(medmirror.__file__).parent, package, symlinks=False)
    blocks = re.findall(
        r"^`(?:src/medmirror/)?(\S+gudid\.\w+)`\n\n```\w+\n(.*?)^```$", _readme(), re.DOTALL | re.MULTILINE
    )
    assert [name for name, _ in blocks] == ["sources/gudid.py", "sql/sources/gudid.sql"]
    for name, body in blocks:
        (package / name).write_text(body)
    newer = {**DEVICES[2], "publicVersionNumber": 2, "brandName": "Pump two"}
    (tmp_path / "devices.json").write_text(json.dumps({"devices": [newer, *DEVICES, {"brandName": "no key"}]}))

    result = _medmirror(tmp_path, dsn, "load", "gudid", "devices.json")

    assert {name: result[name] for name in ("read", "inserted", "duplicate", "rejected")} == {
        "read": 7,
        "inserted": 5,
        "duplicate": 1,
        "rejected": 1,
    }
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SELECT brand_name, product_codes FROM gudid.device WHERE primary_di = '00880002'")
        assert row.fetchone() == ("Pump two", ["FRN"])
    assert _medmirror(tmp_path, dsn, "audit")


def _readme() -> str:
    return (ROOT / "README.md").read_text(encoding="utf-8")


def _medmirror(folder: Path, dsn: str, *words: str) -> dict[str, object]:
    environment = {**os.environ, "PYTHONPATH": str(folder), "MEDMIRROR_DSN": dsn}
    command = [sys.executable, "-m", "medmirror", *words, "--json"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 3), done.stderr
    answer: dict[str, object] = json.loads(done.stdout)
    return answer
