"""What each path of a load names, and what is said when it names no file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from medmirror.ingest.candidates import DOCUMENT, LINK
from medmirror.nightly import config, inputs
from medmirror.nightly.config import Config


def read(folder: Path, text: str) -> Config:
    (folder / "nightly.toml").write_text(text, encoding="utf-8")
    return config.read(folder / "nightly.toml")


def lacking(folder: Path, paths: str, more: str = "", organization: str | None = None) -> str:
    """What is said of the inputs of a load of these *paths*."""
    made = read(folder, f"[load.pubmed]\npaths = {paths}\n{more}")
    (load,) = made.loads
    return inputs.lacking(load, made.folder, inputs.of(load, made.folder, organization))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a file, an empty folder, one of a document, and one of a link."""
    for name in ("full", "empty", "papers", "linked"):
        (tmp_path / name).mkdir()
    (tmp_path / "full" / "x.xml").touch()
    (tmp_path / "papers" / "README.txt").touch()
    (tmp_path / "linked" / "more").symlink_to(tmp_path / "full")
    return tmp_path


@pytest.mark.parametrize("paths", ['["full"]', '["full/x.xml"]', '["full/*.xml"]', '["f*"]', '["full", "full/*"]'])
def test_an_input_with_a_file_lacks_nothing(paths: str, folder: Path) -> None:
    assert lacking(folder, paths) == ""


@pytest.mark.parametrize(
    "path",
    ["empty", "papers", "linked", "missing", "missing.xml", "full/*.csv", "nowhere/*.xml", "empty/*", "papers/*"],
)
@pytest.mark.parametrize("beside", ["", '"full", '])
def test_an_input_without_a_file_is_told_with_what_to_do(beside: str, path: str, folder: Path) -> None:
    said = lacking(folder, f'[{beside}"{path}"]')
    assert said.startswith(f'No file matches "{path}" in {folder}')
    assert "correct paths in [load.pubmed]" in said
    assert "may_be_empty = true" in said
    assert '"full"' not in said


def test_each_input_without_a_file_is_named(folder: Path) -> None:
    said = lacking(folder, '["missing", "full", "papers"]')
    assert f'No file matches "missing" in {folder}. No file matches "papers" in {folder}; left out: 1 x' in said
    assert "README.txt" in said


@pytest.mark.parametrize("path", ["empty", "papers", "missing", "missing.xml", "full/*.csv", "nowhere/*.xml"])
def test_an_input_may_be_empty_when_the_file_says_so(path: str, folder: Path) -> None:
    assert lacking(folder, f'["full", "{path}"]', "may_be_empty = true\n") == ""


@pytest.mark.parametrize("path", ["linked", "linked/*", "l*"])
def test_an_input_of_links_alone_is_not_taken_for_an_empty_one(path: str, folder: Path) -> None:
    assert "1 x a link, which is never followed (" in lacking(folder, f'["{path}"]', "may_be_empty = true\n")


def test_a_broken_link_and_a_pipe_hold_no_file(folder: Path) -> None:
    (folder / "broken.xml").symlink_to(folder / "nowhere")
    assert "broken.xml" in lacking(folder, '["broken.xml"]')
    os.mkfifo(folder / "linked" / "pipe")
    assert "1 x no regular file" in lacking(folder, '["linked"]')


def test_what_is_named_may_be_a_link_and_nothing_below_it(folder: Path) -> None:
    (folder / "named").symlink_to(folder / "full")
    (folder / "named.xml").symlink_to(folder / "full" / "x.xml")
    assert lacking(folder, '["named", "named.xml", "named/*.xml"]') == ""
    assert "left out: 1 x a link" in lacking(folder, '["n*.xml"]')


def test_an_input_is_of_one_organization(folder: Path) -> None:
    (folder / "full" / "org_1").mkdir()
    (folder / "full" / "org_1" / "a.csv").touch()
    (folder / "m.toml").write_text('[file]\nkind = "visit"\nkey = ["Id"]\nmatch = ["*.dat", "visits.txt"]\n')
    made = read(
        folder,
        '[load.csv]\norganizations = ["org_1", "org_2"]\nmapping = "m.toml"\npaths = "full/{organization}"\n',
    )
    (load,) = made.loads
    first, second = (inputs.of(load, folder, name) for name in load.organizations)
    assert inputs.lacking(load, folder, first) == ""
    assert 'No file matches "full/org_2"' in inputs.lacking(load, folder, second)
    (folder / "full" / "org_2").mkdir()
    (folder / "full" / "org_2" / "visits.txt").touch()
    assert inputs.lacking(load, folder, inputs.of(load, folder, "org_2")) == ""


def test_a_receipt_counts_files_and_what_was_left_out(folder: Path) -> None:
    (folder / "full" / "README.md").touch()
    (folder / "full" / "more").symlink_to(folder / "papers")
    made = read(folder, '[load.pubmed]\npaths = ["full", "missing"]\nmay_be_empty = true\n')
    assert inputs.counts(inputs.of(made.loads[0], folder, None)) == [
        {
            "path": "full",
            "files": 1,
            "left_out": {
                DOCUMENT: {"count": 1, "names": ["README.md"]},
                LINK: {"count": 1, "names": ["more"]},
            },
        },
        {"path": "missing", "files": 0, "left_out": {}},
    ]
