"""What a stranger meets first agrees with itself: version, changelog, citation, templates, hooks, project metadata."""

from __future__ import annotations

import re
import shlex
import tomllib
from datetime import date
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

import medmirror
from places import ROOT

HEADING = re.compile(r"^## (\d+\.\d+\.\d+) \((\d{4}-\d\d-\d\d)\)$", re.MULTILINE)
TEMPLATES = sorted(path for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml") if path.stem != "config")


def _changes() -> list[tuple[str, date]]:
    """Version and day of each section, in order."""
    text = (ROOT / "CHANGELOG.md").read_text().replace("\n## Unreleased\n", "\n", 1)  # what the next version will have
    assert len(HEADING.findall(text)) == len(re.findall(r"^## ", text, re.MULTILINE)), "a section without a date"
    return [(number, date.fromisoformat(day)) for number, day in HEADING.findall(text)]


def test_the_changelog_begins_with_this_version_and_goes_back_in_time() -> None:
    changes = _changes()
    assert changes[0][0] == medmirror.__version__
    numbers = [[int(part) for part in number.split(".")] for number, _ in changes]
    assert all(newer > older for newer, older in pairwise(numbers))
    assert all(newer >= older for (_, newer), (_, older) in pairwise(changes))
    parts = re.findall(r"^### (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert set(parts) <= {"Added", "Changed", "Fixed"}


def test_the_citation_is_of_this_version_and_day() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= set(citation)  # what CFF 1.2.0 requires
    assert citation["version"] == medmirror.__version__
    assert date.fromisoformat(citation["date-released"]) == _changes()[0][1]
    assert citation["license"] == _project()["license"]


def _project() -> dict[str, object]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert isinstance(project, dict)
    return project


def test_the_supported_versions_are_of_this_minor_version() -> None:
    major, minor, _ = medmirror.__version__.split(".")
    assert f"| {major}.{minor}.x | yes |" in (ROOT / "SECURITY.md").read_text()


def test_the_address_of_the_project_stands_in_one_place() -> None:
    urls = _project()["urls"]
    assert isinstance(urls, dict)
    assert all(url.startswith(urls["Homepage"]) for url in urls.values())
    files = [path for pattern in ("*.md", "docs/*.md", "*.cff", "*.yaml", "Dockerfile", "deploy/**/*", ".github/**/*")
             for path in ROOT.glob(pattern) if path.is_file()]  # fmt: skip
    assert [path.name for path in files if urls["Homepage"] in path.read_text()] == []


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_an_issue_begins_with_the_warning_and_ends_with_the_promise(path: Path) -> None:
    form = yaml.safe_load(path.read_text())
    assert {"name", "description", "body"} <= set(form)
    first, *_, last = form["body"]
    assert first["type"] == "markdown"
    assert "Never paste patient data" in first["attributes"]["value"]
    assert last["type"] == "checkboxes"
    assert all(option["required"] for option in last["attributes"]["options"])
    ids = [part["id"] for part in form["body"] if part["type"] != "markdown"]
    assert len(ids) == len(set(ids))


def test_there_is_a_form_for_each_kind_of_issue_and_no_blank_one() -> None:
    assert [path.stem for path in TEMPLATES] == ["bug", "feature", "question"]
    config = yaml.safe_load((ROOT / ".github" / "ISSUE_TEMPLATE" / "config.yml").read_text())
    assert config["blank_issues_enabled"] is False


def test_the_hooks_run_programs_of_the_project_alone() -> None:
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert repository["repo"] == "local"
    for hook in repository["hooks"]:
        python, dash, module, *_ = shlex.split(hook["entry"])
        assert (python, dash, hook["language"]) == (".venv/bin/python", "-m", "system")
        assert find_spec(module)
    assert {hook["id"] for hook in repository["hooks"]} == {"ruff-check", "ruff-format", "mypy"}


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"])
def test_lines_fit(name: str) -> None:
    lines = (ROOT / name).read_text().splitlines()
    assert [line for line in lines if len(line) > 120 and not line.startswith("|")] == []


def test_the_files_that_contributing_names_are_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    named = set(re.findall(r"(?:tests|scripts|src|sql|docs|bench)/[\w./-]*\w", text))
    assert len(named) > 20
    assert [name for name in sorted(named) if not re.search("NAME", name) and not (ROOT / name).exists()] == []


def test_contributing_lists_every_suite_of_tests() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    suites = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir() and any(path.rglob("test_*.py"))}
    assert suites == set(re.findall(r"^\| `tests/(\w+)` \|", text, re.MULTILINE))
