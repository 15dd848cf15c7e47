"""Every block of code on a page is what it says: its language is named, it can be read, its commands exist.

``tests/postgres/docs`` runs what can run.
"""

from __future__ import annotations

import ast
import json
import re
import tomllib
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import click
import pytest
import yaml

import places
from commandline import parse
from medmirror.mapping import registry
from medmirror.nightly import config as nightly_config
from medmirror.remotes.base import Kind
from medmirror.sync.destination import options_of
from medmirror.sync.organizations import Organization
from pages import Block, Command, all_blocks, commands, pages, spans

LANGUAGES = {
    "python": "compiled, its imports looked up; run here or in tests/postgres/docs",
    "toml": "read by the reader of its kind of file",
    "json": "read; a destination by the destination's reader",
    "sh": "each line's program, subcommand and options looked up; run in tests/postgres/docs",
    "sql": "run in tests/postgres/docs",
    "yaml": "read",
    "text": "pictures, tables and answers; there is nothing to run",
    "nginx": "another program's configuration, which only that program can read",
}
MACHINE = "sets up the reader's machine; tests/unit/packaging and tests/service/test_deployed.py hold what it leads to"
PROGRAMS = {  # what else a line may call, and why it is only looked at
    "pip": "installs from the network; the extras that it names are looked up",
    "python": "measures for minutes; the module that it names is looked up",
    "scripts/demo": "a walk of its own, for people to watch",
    "scripts/test": "runs this test",
    "curl": "needs a service that runs; tests/service/test_api.py sends the same request",
    "export": "sets a variable of the reader's shell",
    "perf": "Linux' profiler, which needs rights on the machine",
    **dict.fromkeys(("pg_dump", "pg_restore"), "tests/postgres/db/test_backup.py runs them as they stand"),
    "psql": "Postgres' own shell; tests/postgres/test_queries.py runs the file's statement",
    "py-spy": "a profiler that somebody installs to look at a load",
    **dict.fromkeys(("cd", "chgrp", "chmod", "git", "install", "mkdir", "printf", "sudo", "umask", "useradd"), MACHINE),
    **dict.fromkeys(("docker", "systemctl", "systemd-run", "python3", "/opt/medmirror/bin/pip"), MACHINE),
}
EXTRAS = tomllib.loads((places.ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]

SHELL = [command for block in all_blocks("sh") for command in commands(block)]
OURS = [command for command in SHELL if command.words[0] == "medmirror"]


def _name(item: Block | Command) -> str:
    return item.name if isinstance(item, Block) else f"{item.block.page} {' '.join(item.words)}"


def test_every_block_names_a_language_that_is_checked() -> None:
    assert [(block.name, block.language) for block in all_blocks() if block.language not in LANGUAGES] == []


@pytest.mark.parametrize("block", all_blocks("python"), ids=_name)
def test_python_can_be_compiled_and_its_imports_are_there(block: Block) -> None:
    for node in ast.walk(ast.parse(block.text)):
        if isinstance(node, ast.Import):
            assert all(find_spec(alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = import_module(node.module or "")
            for alias in node.names:
                assert hasattr(module, alias.name) or find_spec(f"{node.module}.{alias.name}"), alias.name


def test_the_remote_of_the_page_is_one() -> None:
    (block,) = [block for block in all_blocks("python") if block.page == "docs/adding-a-remote.md"]
    names: dict[str, object] = {}
    exec(compile(block.text, block.name, "exec"), names)
    kind = names["REMOTE"]
    assert isinstance(kind, Kind)
    assert kind.open("org_123", {}, None, object()).capabilities.feeds == ("patient", "appointment")  # type: ignore[arg-type]


@pytest.mark.parametrize("block", all_blocks("toml"), ids=_name)
def test_toml_is_read_by_the_reader_of_its_kind(block: Block, tmp_path: Path) -> None:
    table = tomllib.loads(block.text)
    if "mapper" in table:
        assert registry.check(block.text, block.name) == []
        return
    assert "nightly" in table, "say in this test who reads such a file"
    for name in re.findall(r'"([\w-]+\.toml)"', block.text):
        (tmp_path / name).touch()
    (tmp_path / "nightly.toml").write_text(block.text, encoding="utf-8")
    config = nightly_config.read(tmp_path / "nightly.toml")
    assert {load.name for load in config.loads} == set(table["load"])


@pytest.mark.parametrize("block", all_blocks("json"), ids=_name)
def test_json_is_read(block: Block) -> None:
    document = json.loads(block.text)
    if "remote" in document:
        organization = Organization("org_123", "cliniko", "cliniko", destination=document)
        assert options_of(organization).kind.name == document["remote"]


@pytest.mark.parametrize("block", all_blocks("yaml"), ids=_name)
def test_yaml_is_read(block: Block) -> None:
    assert isinstance(yaml.safe_load(block.text), dict)


@pytest.mark.parametrize("command", OURS, ids=_name)
def test_a_command_and_its_options_exist(command: Command) -> None:
    parse(list(command.words[1:]))


@pytest.mark.parametrize("command", [command for command in SHELL if command not in OURS], ids=_name)
def test_the_program_of_a_line_is_there_or_accounted_for(command: Command) -> None:
    program, *words = command.words
    assert program in PROGRAMS
    if program.startswith("scripts/"):
        assert (places.ROOT / program).exists()
    elif program == "python":
        assert words[0] == "-m"
        assert find_spec(words[1])
    elif program == "pip":
        assert words[0] == "install"
        for extra in re.findall(r"medmirror\[([\w,]+)\]", command.text):
            assert set(extra.split(",")) <= set(EXTRAS)


@pytest.mark.parametrize("page", pages())
def test_commands_within_sentences_exist(page: str) -> None:
    """A sentence may leave out what it does not speak of; what it writes must be there."""
    wrong = []
    for span in spans(page):
        words = span.split()
        if words[:1] != ["medmirror"] or len(words) == 1:
            continue
        try:
            parse([word for word in words[1:] if word != "..."], whole=False)
        except click.UsageError as error:
            wrong.append((span, error.format_message()))
    assert wrong == []
