"""Dockerfile, compose.yaml and the systemd units as tests see them: which commands they run, with which environment."""

from __future__ import annotations

import configparser
import json
import re
import shlex
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from places import ROOT

UNITS = sorted((ROOT / "deploy" / "systemd").glob("*.service"))
PROGRAM = "/opt/medmirror/bin/medmirror"


class Instruction(NamedTuple):
    """One instruction of the Dockerfile; *stage* counts from 0, or is -1 before the first FROM."""

    stage: int
    name: str
    value: str


class Deployed(NamedTuple):
    """A command of medmirror that a deployment starts: its *words* without the program's name."""

    where: str
    words: list[str]


def instructions() -> list[Instruction]:
    """The Dockerfile's instructions in order; continued lines are one, comments are left out."""
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.lstrip().startswith("#")]
    listed, stage = [], -1
    for line in filter(None, "\n".join(lines).replace("\\\n", " ").splitlines()):
        name, value = line.split(maxsplit=1)
        stage += name == "FROM"
        listed.append(Instruction(stage, name, re.sub(r"\s+", " ", value)))
    return listed


def values(name: str) -> list[str]:
    """What every instruction *name* of the last stage says."""
    last = max(instruction.stage for instruction in instructions())
    return [
        instruction.value for instruction in instructions() if (instruction.stage, instruction.name) == (last, name)
    ]


def health_check() -> list[str]:
    """The words of the Dockerfile's HEALTHCHECK."""
    (value,) = values("HEALTHCHECK")
    return [str(word) for word in json.loads(value.partition("CMD ")[2])]


def compose() -> dict[str, Any]:
    """compose.yaml, its anchors followed."""
    document = yaml.safe_load((ROOT / "compose.yaml").read_text())
    assert isinstance(document, dict)
    return document


def ours() -> dict[str, dict[str, Any]]:
    """The services of compose.yaml that run medmirror."""
    return {name: service for name, service in compose()["services"].items() if service["image"] == "medmirror"}


def unit(path: Path) -> configparser.ConfigParser:
    """A unit file; a name that stands twice in a section is an error."""
    parser = configparser.ConfigParser(interpolation=None, delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(path.read_text(), source=path.name)
    return parser


def environment_file() -> dict[str, str]:
    """The variables of deploy/systemd/medmirror.env."""
    lines = (ROOT / "deploy" / "systemd" / "medmirror.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def environments() -> dict[str, dict[str, str]]:
    """The variables that each deployment sets."""
    image = dict(word.split("=", 1) for value in values("ENV") for word in shlex.split(value))
    services = {f"compose {name}": service["environment"] for name, service in ours().items()}
    return {"Dockerfile": image, "medmirror.env": environment_file(), **services}


def deployed() -> list[Deployed]:
    """Every command that a container or a unit starts."""
    (command,) = values("CMD")
    image = [Deployed("Dockerfile", json.loads(command))]
    containers = [Deployed(f"compose {name}", service["command"]) for name, service in ours().items()]
    services = []
    for path in UNITS:
        program, *words = shlex.split(unit(path)["Service"]["ExecStart"])
        assert program == PROGRAM, path.name
        services.append(Deployed(path.name, words))
    return image + containers + services
