"""The sdist and the wheel as a release makes them, and the wheel tried in an environment that has no checkout.

Nothing is downloaded: the build uses this environment's setuptools, and what medmirror needs is lent to the new
environment by a .pth file.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path, PurePosixPath

import orjson
import pytest

import feedfiles
from medmirror import __version__
from places import ROOT

COMPILER = os.environ.get("CC") or any(map(shutil.which, ("cc", "gcc", "clang")))
LIBRARIES = {".so", ".dylib", ".dll"}
NEEDED = ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "backend", "sql", "src")
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("MEDMIRROR_", "PYTHON"))}


def _run(*command: str | Path, cwd: Path) -> str:
    """What *command* prints, run in *cwd* without our own settings and paths; fails with all that it said."""
    done = subprocess.run([*map(str, command)], cwd=cwd, env=CLEAN, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the sdist and the wheel, built from a copy, so that the checkout stays as it is."""
    copy = tmp_path_factory.mktemp("checkout")
    left_out = shutil.ignore_patterns("__pycache__", "*.egg-info", "*.so", "*.dylib", "*.dll")
    for name in NEEDED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=left_out)
        else:
            shutil.copy(ROOT / name, copy / name)
    unchecked = () if COMPILER else ("--skip-dependency-check",)  # the backend would ask for a compiler's wheel
    _run(sys.executable, "-m", "build", "--no-isolation", *unchecked, "--outdir", "dist", ".", cwd=copy)
    return copy / "dist"


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    """The wheel, which build makes from the sdist."""
    (path,) = dist.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of a new environment with the wheel in it."""
    folder = tmp_path_factory.mktemp("clean") / "venv"
    venv.create(folder, symlinks=os.name != "nt")
    programs = folder / ("Scripts" if os.name == "nt" else "bin")
    pip = (sys.executable, "-m", "pip", "--python", programs / "python", "install", "--disable-pip-version-check")
    _run(*pip, "--quiet", "--no-index", "--no-deps", wheel, cwd=folder)
    lent = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (own,) = folder.glob("Lib/site-packages" if os.name == "nt" else "lib/python*/site-packages")
    (own / "lent.pth").write_text("\n".join(lent) + "\n")
    return programs


def _packed(wheel: Path) -> set[PurePosixPath]:
    with zipfile.ZipFile(wheel) as archive:
        return {PurePosixPath(name) for name in archive.namelist() if not name.endswith("/")}


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    packed = _packed(wheel)
    assert {path.parts[0] for path in packed} == {"medmirror", f"medmirror-{__version__}.dist-info"}
    left_out = LIBRARIES | {".c", ".h", ".pyc"}
    expected = {
        PurePosixPath(folder, name).relative_to(PurePosixPath(ROOT / "src"))
        for folder, _, names in os.walk(ROOT / "src" / "medmirror", followlinks=True)  # sql is a link
        for name in names
        if Path(name).suffix not in left_out
    }
    kinds = {".sql", ".toml", ".html", ".css", ".txt", ".typed", ".py"}
    assert kinds <= {path.suffix or path.name for path in expected}
    ours = {path for path in packed if path.parts[0] == "medmirror"}
    assert {path for path in ours if path.suffix not in LIBRARIES} == expected
    assert len({path for path in ours if path.suffix in LIBRARIES}) == bool(COMPILER)


def test_the_sdist_holds_what_the_build_needs_and_no_samples(dist: Path) -> None:
    (path,) = dist.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        packed = {PurePosixPath(*PurePosixPath(name).parts[1:]) for name in archive.getnames()}
    needed = {"backend/medmirror_backend.py", "setup.py", "pyproject.toml", "LICENSE", "README.md"}
    needed |= {f"src/medmirror/native/{source.name}" for source in (ROOT / "src/medmirror/native").glob("*.[ch]")}
    assert {PurePosixPath(name) for name in needed} <= packed
    assert not [path for path in packed if "medmirror_testing" in path.parts or "tests" in path.parts]


def test_it_says_its_version_and_stands_alone(environment: Path, tmp_path: Path) -> None:
    assert _run(environment / "medmirror", "--version", cwd=tmp_path).split()[-1] == __version__
    where = "import medmirror, importlib.util as u; print(medmirror.__file__, u.find_spec('medmirror_testing'))"
    file, samples = _run(environment / "python", "-c", where, cwd=tmp_path).split()
    assert Path(file).is_relative_to(environment.parent)
    assert samples == "None"
    native = _run(environment / "python", "-c", "from medmirror import native; print(native.available())", cwd=tmp_path)
    assert native.strip() == str(bool(COMPILER))


def test_it_loads_a_file_once(environment: Path, empty_dsn: str, tmp_path: Path) -> None:
    file = feedfiles.write(tmp_path, ("pubmed", "citation"), 0)
    program = environment / "medmirror"
    loaded = orjson.loads(_run(program, "--dsn", empty_dsn, "--json", "load", "pubmed", file, cwd=tmp_path))
    assert loaded["inserted"] >= feedfiles.RECORDS
    again = orjson.loads(_run(program, "--dsn", empty_dsn, "--json", "load", "pubmed", file, cwd=tmp_path))
    assert again["inserted"] == 0
