"""The Dockerfile and compose.yaml say what can be built and run. tests/service/test_deployed.py runs the commands."""

from __future__ import annotations

import fnmatch
import re
import shlex
import tomllib

import pytest
import yaml
from sqlalchemy import make_url

import deployments
from commandline import parse
from deployments import Deployed
from medmirror.settings.registry import VARIABLES
from places import ROOT

SECRET = re.compile(r"PASSWORD|SECRET|TOKEN|KEY|DSN|URL", re.IGNORECASE)
POINTER = re.compile(r"file:/run/secrets/\w+|/run/secrets/\w+")


def _copied(stage: int) -> list[str]:
    """What the Dockerfile copies from the checkout in *stage*."""
    listed = []
    for instruction in deployments.instructions():
        words = shlex.split(instruction.value)
        if (instruction.stage, instruction.name) == (stage, "COPY") and not words[0].startswith("--from"):
            listed += words[:-1]
    return listed


def test_what_the_dockerfile_copies_is_there_and_is_not_ignored() -> None:
    rules = (ROOT / ".dockerignore").read_text().splitlines()
    kept = {rule[1:] for rule in rules if rule.startswith("!")}
    assert "*" in rules
    assert set(_copied(0)) == kept
    for name in kept:
        assert (ROOT / name).exists(), name
    for name in ("tests", ".git", "secrets", "bench", ".env"):
        assert not any(fnmatch.fnmatch(name, rule) for rule in kept), name


def test_the_image_installs_extras_that_exist_at_the_locked_versions() -> None:
    runs = " ".join(value for _, name, value in deployments.instructions() if name == "RUN")
    (extras,) = re.findall(r"locked\.py ([a-z ]+) >run\.txt", runs)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(extras.split()) <= set(project["optional-dependencies"])
    fetching = [command for command in runs.split("&&") if "pip install" in command and "--no-deps" not in command]
    assert fetching
    assert all("--require-hashes" in command for command in fetching)


def test_the_image_runs_as_nobody_and_holds_no_secret() -> None:
    (user,) = deployments.values("USER")
    assert int(user) > 0
    assert _copied(1) == []  # all that the second stage has comes from the first
    for _, name, value in deployments.instructions():
        if name in ("ARG", "ENV"):
            assert not [word for word in shlex.split(value) if SECRET.search(word.partition("=")[0])]


@pytest.mark.parametrize("command", deployments.deployed(), ids=lambda command: command.where)
def test_a_command_that_is_started_exists_with_its_options(command: Deployed) -> None:
    parse(command.words)


def test_compose_runs_what_the_page_says() -> None:
    services = deployments.compose()["services"]
    assert {name: service.get("deploy", {}).get("replicas", 1) for name, service in services.items()} == {
        "postgres": 1,
        "serve": 1,
        "worker": 2,
        "scheduler": 1,
    }
    assert services["postgres"]["image"] == "postgres:17"
    for service in deployments.ours().values():
        assert service["depends_on"] == {"postgres": {"condition": "service_healthy"}}
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
    assert all(port.startswith("127.0.0.1:") for port in services["serve"]["ports"])


def test_the_service_believes_the_gateway_of_its_network_alone() -> None:
    document = deployments.compose()
    (network,) = document["networks"]["mirror"]["ipam"]["config"]
    assert f"--proxy={network['gateway']}" in document["services"]["serve"]["command"]
    assert network["gateway"] in (ROOT / "docs" / "containers.md").read_text()


def test_secrets_are_files_that_the_page_makes_and_git_ignores() -> None:
    document = deployments.compose()
    page = (ROOT / "docs" / "containers.md").read_text()
    used = {secret for service in document["services"].values() for secret in service["secrets"]}
    assert used == set(document["secrets"])
    for name, secret in document["secrets"].items():
        assert secret == {"file": f"./secrets/{name}"}
        assert f"> secrets/{name}" in page
    assert "secrets/" in (ROOT / ".gitignore").read_text().splitlines()
    for where, environment in deployments.environments().items():
        for name, value in environment.items():
            if name.endswith("_DSN"):
                assert make_url(value).password is None, where
            elif name.startswith(("PG", "POSTGRES", "MEDMIRROR_")) and SECRET.search(name):
                assert POINTER.fullmatch(value) or "/etc/medmirror/secrets/" in value, where


def test_every_variable_that_a_deployment_sets_is_one_that_we_or_others_read() -> None:
    names = {variable.name for variable in VARIABLES}
    others = ("PATH", "PG", "PYTHON")  # of the shell, libpq, Python
    for where, environment in deployments.environments().items():
        assert [name for name in environment if name not in names and not name.startswith(others)] == [], where


def test_blocks_of_yaml_on_the_page_name_services_and_secrets_that_fit() -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "containers.md").read_text(), re.DOTALL)
    override = yaml.safe_load(text)
    assert set(override["services"]) <= set(deployments.ours())
    assert {name for service in override["services"].values() for name in service["secrets"]} == set(
        override["secrets"]
    )


SERVICES = "|".join(deployments.ours())
STARTS = (
    r"docker exec \w+ medmirror ",
    rf"docker compose exec (?:{SERVICES}) medmirror ",
    rf"docker compose run --rm (?:--volume \S+ )*(?:{SERVICES}) ",
    rf"systemd-run .*{deployments.PROGRAM} ",
)


def _commands(page: str) -> list[str]:
    """The command lines of medmirror on *page*, without what starts the program."""
    text = (ROOT / "docs" / page).read_text().replace("\\\n", " ")
    lines = "\n".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL)).splitlines()
    matches = (re.match(f"(?:{'|'.join(STARTS)})(.*)", line) for line in lines)
    return [match[1] for match in matches if match]


@pytest.mark.parametrize("page", ["containers.md", "systemd.md"])
def test_commands_on_the_pages_exist(page: str) -> None:
    commands = _commands(page)
    assert len(commands) == {"containers.md": 7, "systemd.md": 1}[page]
    for command in commands:
        parse(shlex.split(command, comments=True))
