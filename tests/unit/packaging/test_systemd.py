"""The systemd units: hardened, in agreement with their page, and accepted by systemd where it is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import deployments
from places import ROOT

FOLDER = ROOT / "deploy" / "systemd"
HARDENED = {
    "NoNewPrivileges": "yes",
    "CapabilityBoundingSet": "",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateDevices": "yes",
    "PrivateTmp": "yes",
    "MemoryDenyWriteExecute": "yes",
    "RestrictAddressFamilies": "AF_UNIX AF_INET AF_INET6",
    "SystemCallFilter": "@system-service",
    "UMask": "0077",
    "User": "medmirror",
    "StateDirectory": "medmirror",
    "KillMode": "mixed",
}


@pytest.mark.parametrize("path", deployments.UNITS, ids=lambda path: path.name)
def test_a_service_is_hardened_and_stops_its_first_process(path: Path) -> None:
    service = deployments.unit(path)["Service"]
    assert {name: service.get(name) for name in HARDENED} == HARDENED
    assert service["EnvironmentFile"] == "/etc/medmirror/medmirror.env"


def test_the_timer_starts_the_nightly_and_the_page_names_every_unit() -> None:
    page = (ROOT / "docs" / "systemd.md").read_text()
    for path in FOLDER.iterdir():
        assert path.stem.rstrip("@") in page
    (timer,) = FOLDER.glob("*.timer")
    assert timer.with_suffix(".service") in deployments.UNITS
    assert "--due" in deployments.unit(timer.with_suffix(".service"))["Service"]["ExecStart"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_accepts_the_units_and_finds_them_little_exposed(tmp_path: Path) -> None:
    for path in FOLDER.glob("*.[st]*e*r*"):  # services and the timer, with a program that is on this machine
        (tmp_path / path.name).write_text(path.read_text().replace(deployments.PROGRAM, sys.executable))
    units = sorted(tmp_path.iterdir())
    assert len(units) == len(deployments.UNITS) + 1
    verified = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False)
    said = [line for line in verified.stderr.splitlines() if "medmirror" in line]
    assert (verified.returncode, said) == (0, []), verified.stderr
    for path in units:
        if path.suffix == ".service":
            command = ["systemd-analyze", "security", "--offline=true", "--no-pager", path]
            shown = subprocess.run(command, capture_output=True, text=True, check=False).stdout
            exposure = re.search(r"exposure level for \S+: ([\d.]+)", shown)
            assert exposure
            assert float(exposure[1]) < 2.5
