"""From the paths that a user names to files, and to what is left out, with the reason."""

from __future__ import annotations

import os
from pathlib import Path

import orjson
import pytest

from medmirror import sources
from medmirror.errors import UsageError
from medmirror.ingest import candidates
from medmirror.ingest.candidates import CHECKSUM, DOCUMENT, HIDDEN, LINK, SPECIAL, Candidate

NAMES = ("b/2.json", "b/10.json", "a/x.xml", "c.gz", ".hidden/y.xml", "b/.z.json", "a/x.xml.md5", "a/x.SHA256")


def fill(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).write_text("x")


def loadable(found: list[Candidate]) -> list[str]:
    return [candidate.name for candidate in found if not candidate.ignored]


def left_out(found: list[Candidate]) -> dict[str, str]:
    return {candidate.name: candidate.ignored for candidate in found if candidate.ignored}


def test_a_folder_is_searched_in_the_order_of_its_names(tmp_path: Path) -> None:
    fill(tmp_path, *NAMES)
    found = list(candidates.find([tmp_path]))
    assert loadable(found) == ["c.gz", "a/x.xml", "b/10.json", "b/2.json"]
    assert left_out(found) == {
        ".hidden": HIDDEN, "b/.z.json": HIDDEN, "a/x.xml.md5": CHECKSUM, "a/x.SHA256": CHECKSUM,
    }  # fmt: skip


def test_a_named_file_is_given_as_it_is_even_when_it_is_missing(tmp_path: Path) -> None:
    some = [tmp_path / "missing", tmp_path / "a.md5", tmp_path / "b.txt"]
    assert list(candidates.find(some)) == [Candidate(path) for path in some]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ([], r"\.$"),
        (["a.md5"], r"left out: 1 x a checksum \(a\.md5\)"),
        (["README.txt", "spec.pdf"], r"2 x a document by its name \(README\.txt, spec\.pdf\)"),
        ([".hidden"], r"1 x hidden"),
    ],
)
def test_a_folder_without_a_file_to_load_is_a_mistake_that_names_what_is_there(
    names: list[str], words: str, tmp_path: Path
) -> None:
    fill(tmp_path, *names)
    with pytest.raises(UsageError, match=rf"holds no file to load.*{words}"):
        list(candidates.find([tmp_path]))


def test_a_folder_of_links_alone_is_a_mistake_and_says_so(tmp_path: Path) -> None:
    fill(tmp_path, "other/x.csv")
    (tmp_path / "in").mkdir()
    for name in "abcdefg":
        (tmp_path / "in" / name).symlink_to(tmp_path / "other")
    with pytest.raises(UsageError, match=r"7 x a link, which is never followed \(a, b, c, d, e and 2 more\)"):
        list(candidates.find([tmp_path / "in"]))


def test_links_and_special_files_are_left_out_whatever_they_are_called(tmp_path: Path) -> None:
    fill(tmp_path, "other/x.csv", "in/good.csv")
    for name in ("folder", "x.csv", "README.txt", "good.csv.md5"):
        (tmp_path / "in" / name).symlink_to(tmp_path / "other" / "x.csv")
    os.mkfifo(tmp_path / "in" / "pipe.csv")
    found = list(candidates.find([tmp_path / "in"]))
    assert loadable(found) == ["good.csv"]
    assert left_out(found) == {
        "folder": LINK, "x.csv": LINK, "README.txt": LINK, "good.csv.md5": LINK, "pipe.csv": SPECIAL,
    }  # fmt: skip
    assert candidates.unread(found) == (
        "a link was not followed: README.txt, folder, good.csv.md5, x.csv",
        "what is no regular file was not opened: pipe.csv",
    )
    assert candidates.unread([Candidate(Path("README.txt"), Path(), DOCUMENT)]) == ()


def test_what_the_user_names_may_be_a_link(tmp_path: Path) -> None:
    fill(tmp_path, "real/x.csv")
    (tmp_path / "folder").symlink_to(tmp_path / "real")
    (tmp_path / "file").symlink_to(tmp_path / "real" / "x.csv")
    found = list(candidates.find([tmp_path / "folder", tmp_path / "file"]))
    assert found == [Candidate(tmp_path / "folder/x.csv", tmp_path / "folder"), Candidate(tmp_path / "file")]


def exports(*patterns: str) -> candidates.Named:
    text = f'[file]\nkind = "visit"\nkey = ["Id"]\nmatch = {list(patterns)}\n'
    return candidates.named(sources.get("csv"), {"mapping": orjson.dumps([text]).decode()})


@pytest.mark.parametrize("ending", [".txt", ".dat", ".TXT", ".html", ".md", ".py", ".xlsx", ".csv", ""])
def test_what_a_mapping_file_names_is_no_document_whatever_its_ending(ending: str, tmp_path: Path) -> None:
    fill(tmp_path, f"visits{ending}", "README.txt")
    found = list(candidates.find([tmp_path], exports("visits*")))
    assert loadable(found) == [f"visits{ending}"]
    assert left_out(found) == {"README.txt": DOCUMENT}


def test_a_mapping_file_without_match_names_nothing(tmp_path: Path) -> None:
    fill(tmp_path, "visits.txt", "visits.csv")
    named = candidates.named(
        sources.get("csv"), {"mapping": orjson.dumps(['[file]\nkind = "v"\nkey = "row"']).decode()}
    )
    assert loadable(list(candidates.find([tmp_path], named))) == ["visits.csv"]
    assert loadable(list(candidates.find([tmp_path], candidates.named(None, {})))) == ["visits.csv"]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("in/*.csv", ["a.csv", "b.csv"]),
        ("in/?.csv", ["a.csv", "b.csv"]),
        ("in/[a].csv", ["a.csv"]),
        ("in/*/x.csv", ["one/x.csv", "two/x.csv"]),
        ("in/one*", ["one/x.csv", "one/y/z.csv"]),
        ("in/**/*.csv", ["a.csv", "b.csv", "one/x.csv", "one/y/z.csv", "two/x.csv"]),
        ("in/**/z.csv", ["one/y/z.csv"]),
        ("in/*.txt", ["note.txt"]),
        ("in/*", ["a.csv", "b.csv", "one/x.csv", "one/y/z.csv", "two/x.csv"]),
        ("in/*.xml", []),
        ("nowhere/*.csv", []),
    ],
)
@pytest.mark.parametrize("absolute", [True, False])
def test_a_pattern_matches_as_in_a_shell(absolute: bool, pattern: str, names: list[str], tmp_path: Path) -> None:
    fill(tmp_path / "in", "b.csv", "a.csv", "note.txt", ".c.csv", "a.csv.md5", "one/x.csv", "one/y/z.csv", "two/x.csv")
    fill(tmp_path / "in", ".hidden/x.csv", "one/.hidden/x.csv")
    found = list(candidates.matches(tmp_path, str(tmp_path / pattern) if absolute else pattern))
    assert loadable(found) == names
    assert not candidates.unread(found)


@pytest.mark.parametrize(
    ("pattern", "link"),
    [
        ("in/*.csv", "x.csv"),
        ("in/*/p.csv", "evil"),
        ("in/**/p.csv", "one/deep"),
        ("in/e*", "evil"),
        ("in/*", "one/deep"),
    ],
)
def test_a_pattern_follows_no_link_below_what_it_names(pattern: str, link: str, tmp_path: Path) -> None:
    fill(tmp_path, "other/p.csv", "in/one/p.csv")
    (tmp_path / "in" / link).symlink_to(tmp_path / "other")
    (tmp_path / "named").symlink_to(tmp_path / "in")
    for called in (pattern, pattern.replace("in/", "named/")):
        found = list(candidates.matches(tmp_path, called))
        assert left_out(found) == {link: LINK}
        assert all("other" not in str(candidate.path.resolve()) for candidate in found if not candidate.ignored)


def test_a_pattern_does_not_meet_links_beside_what_it_names(tmp_path: Path) -> None:
    fill(tmp_path, "other/p.csv", "in/one/p.csv")
    (tmp_path / "in" / "evil").symlink_to(tmp_path / "other")
    assert left_out(list(candidates.matches(tmp_path, "in/one/*.csv"))) == {}
    assert left_out(list(candidates.matches(tmp_path, "in/o*/p.csv"))) == {}


def test_a_tally_counts_each_reason_and_names_the_first_few() -> None:
    found = [Candidate(Path(f"/in/{number}"), Path("/in"), LINK) for number in range(7)]
    found += [Candidate(Path("/in/a.csv"), Path("/in")), Candidate(Path("/in/b.txt"), Path("/in"), DOCUMENT)]
    assert candidates.tally(found) == {
        DOCUMENT: {"count": 1, "names": ["b.txt"]},
        LINK: {"count": 7, "names": ["0", "1", "2", "3", "4"]},
    }
