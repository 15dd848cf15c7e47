"""The plugin that listens for patients' values hears every way of saying one, and what may be shown it lets be."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import leaks
from medmirror_testing.samples import people

TESTS = Path(__file__).parent.parent
PERSON = people.person(7)

SAYINGS = {
    "printing": "print(WHO)",
    "stderr": "sys.stderr.write(WHO)",
    "a child's stderr": "subprocess.run([sys.executable, '-c', f'import sys; sys.stderr.write({WHO!r})'], check=True)",
    "a program's output": "subprocess.run([sys.executable, '-c', f'print({WHO!r})'], capture_output=True, check=True)",
    "a log line": "logging.getLogger('medmirror.ingest.worker').warning('it was %s', WHO)",
    "a traceback in a log": "try:\n        raise ValueError(WHO)\n    except ValueError:\n"
                            "        logging.getLogger('medmirror').exception('no')",
    "an error": "MedmirrorError('bad', file=WHO)",
    "a command": "CliRunner().invoke(click.command()(lambda: click.echo(WHO)))",
    "a command's exception": "CliRunner().invoke(click.command()(lambda: int(WHO)))",
    "what capsys took": "print(WHO); capsys.readouterr()",
}  # fmt: skip
WAYS = {
    "family name": PERSON.family,
    "mail": PERSON.email,
    "phone": PERSON.phone,
    "local phone": "0" + PERSON.phone[3:6] + " " + PERSON.phone[6:9] + " " + PERSON.phone[9:],
    "identifier": PERSON.identifier,
    "birthday": str(PERSON.birth_date),
    "birthday in a repr": repr(PERSON.birth_date),
    "local birthday": f"{PERSON.birth_date:%d/%m/%Y}",
}
HEAD = """
import logging, subprocess, sys
import click, pytest
from click.testing import CliRunner
from medmirror.errors import MedmirrorError
from medmirror_testing.samples import people
WHO = people.person(7).family
"""


def session(folder: Path, body: str) -> subprocess.CompletedProcess[str]:
    """A pytest session of its own over the one test *body*, with the plugin."""
    (folder / "test_it.py").write_text(HEAD + body, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "leaks", "-p", "no:cacheprovider", "test_it.py"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *filter(None, sys.path)])}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.shows_values("the inner session repeats what its test printed")
def test_every_way_of_saying_a_name_fails_the_test_that_said_it(tmp_path: Path) -> None:
    tests = [f"def test_{number}(capsys):\n    {how}\n" for number, how in enumerate(SAYINGS.values())]
    done = session(tmp_path, "\n\n".join(tests))
    missed = [
        way
        for number, way in enumerate(SAYINGS)
        if f"test_it.py::test_{number} says who a patient is" not in done.stdout
    ]
    assert (done.returncode, missed) == (1, []), done.stdout


@pytest.mark.shows_values("the inner session repeats what its test printed")
def test_a_quiet_test_passes_and_one_that_is_meant_to_show_values_is_listed(tmp_path: Path) -> None:
    quiet = "def test_quiet():\n    print('a patient')\n\n\n"
    loud = "@pytest.mark.shows_values('asked for')\ndef test_loud():\n    print(WHO)\n"
    done = session(tmp_path, quiet + loud)
    assert done.returncode == 0, done.stdout
    assert "test_it.py::test_loud: asked for" in done.stdout


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_all_that_tells_who_somebody_is_is_recognised_and_not_repeated(way: str) -> None:
    (leak, *_) = leaks.leaks("here", f"before {way} after")
    assert leak.where == "here"
    assert "before ***" in leak.around
    assert way not in leak.around


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-22 08:00:00 loaded 2,000,012,345 bytes",
        "/tmp/medmirror-azqfk_0/x",
        "run 20000 of 0410",
        "zq",
        "1234567890",
    ],
)
def test_other_texts_are_let_be(text: str) -> None:
    assert leaks.leaks("here", text) == []


@pytest.mark.parametrize("number", range(0, 200, 17))
def test_everybody_is_recognised(number: int) -> None:
    one = people.person(number)
    for said in (one.family, one.email, one.phone, one.identifier, str(one.birth_date)):
        assert leaks.leaks("here", f"it is {said}!")
