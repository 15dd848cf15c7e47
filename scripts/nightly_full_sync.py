"""A whole night for a few clinics and all public sources: make a folder of generated data, or take one, and sync it.

    python scripts/nightly_full_sync.py night/                       # makes night/ and its nightly.toml, then runs it
    python scripts/nightly_full_sync.py night/ --day 1               # the exports of the day after, then runs it again
    python scripts/nightly_full_sync.py night/ --patients 2000 --articles 20000

A folder that has a nightly.toml is taken as it is. Killed at any moment, the same command goes on from there and comes
to the same tables. MEDMIRROR_DSN names the database; without it, it is the embedded one.

The clinics use four systems in turn: Cliniko, FHIR, CSV files, and a database of their own.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from importlib.resources import files
from pathlib import Path

from sqlalchemy import create_engine

from medmirror.errors import MedmirrorError
from medmirror.nightly import config, night, page, receipt
from medmirror.settings import Settings
from medmirror_testing import samples

SYSTEMS = ("cliniko", "fhir", "csv", "sql")
PUBLIC = ("pubmed", "clinicaltrials", "openfda")
FDA_ENDPOINTS = ("label", "ndc", "event", "enforcement", "shortage", "drugsfda")

HEAD = """\
# Made by scripts/nightly_full_sync.py.
[nightly]
at = "02:00"
zone = "Australia/Sydney"

[limits]
cpu = {cpu}
"""
TABLES = {
    "cliniko": '[load.cliniko]\norganizations = {names}\npaths = ["{{organization}}/"]\n',
    "fhir": '[load.fhir]\norganizations = {names}\npaths = ["{{organization}}/"]\n',
    "csv": """\
[load.csv]
organizations = {names}
paths = ["{{organization}}/"]
mapping = ["mappings/patient.toml", "mappings/practitioner.toml", "mappings/appointment.toml"]
""",
}
PRACTICE = """\
[load.{name}]
source = "sql"
organization = "{name}"
url_env = "{variable}"
mapping = ["mappings/vsrx.toml"]
heavy = true
"""


def main(words: list[str] | None = None) -> int:
    """Make the folder if need be, run its night; return the exit code."""
    options = arguments().parse_args(words)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")
    folder: Path = options.folder
    names = [f"org_{number}" for number in range(1, options.organizations + 1)]
    if options.day is not None or not (folder / "nightly.toml").exists():
        make(folder, names, options.patients, options.articles, options.day or 0, options.cpu)
    for name in of_system("sql", names):  # an address of a database is a secret: the file only names a variable
        os.environ.setdefault(variable(name), f"sqlite:///{(folder / name / 'practice.db').absolute()}")
    try:
        outcome = night.run(config.read(folder / "nightly.toml"), Settings.from_environment())
    except MedmirrorError as error:
        print(f"nightly_full_sync: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("stopped cleanly; run the same command again to go on", file=sys.stderr)
        return 130
    assert outcome is not None
    for part in outcome["parts"]:
        print(f"{part['status']:8} {part['seconds']:8.1f} s  {part.get('read') or '':>9}  {part['name']}")
    for note in page.notes(outcome):
        print(note)
    print(
        f"night of {outcome['nominal']}: {outcome['status']} in {outcome['seconds']:.1f} s; receipt: {outcome['page']}"
    )
    return receipt.exit_code(outcome)


def arguments() -> argparse.ArgumentParser:
    """The parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--organizations", type=int, default=5, help="how many clinics (5)")
    parser.add_argument("--patients", type=int, default=200, help="patients of each (200)")
    parser.add_argument(
        "--articles", type=int, default=1000, help="articles; a tenth as many trials, drugs, ... (1000)"
    )
    parser.add_argument("--day", type=int, help="make the exports of this day anew, over those that are there")
    parser.add_argument("--cpu", type=int, default=60, help="per cent of the machine (60)")
    return parser


def make(folder: Path, names: list[str], patients: int, articles: int, day: int, cpu: int) -> None:
    """Write the data of all sources on *day* into *folder*, and the nightly.toml that names it: that comes last."""
    public(folder, articles, day)
    clinics(folder, names, patients, day)
    tables = [f'[load.{name}]\npaths = ["{name}/"]\n' for name in PUBLIC]
    for system, table in TABLES.items():
        if users := of_system(system, names):
            tables.append(table.format(names=str(users).replace("'", '"')))
    tables += [PRACTICE.format(name=name, variable=variable(name)) for name in of_system("sql", names)]
    draft = folder / ".nightly.toml"
    draft.write_text("\n".join([HEAD.format(cpu=cpu), *tables]), encoding="utf-8")
    draft.replace(folder / "nightly.toml")


def public(folder: Path, articles: int, day: int) -> None:
    """Write articles, trials and drugs; each day after the first brings files of changes."""
    for name in PUBLIC:
        (folder / name).mkdir(parents=True, exist_ok=True)
    few = max(5, articles // 10)
    for number in range(day + 1):
        count, change = (articles, 0.0) if number == 0 else (few, 0.5)
        samples.write_pubmed(
            folder / f"pubmed/pubmed26n{number + 1:04}.xml.gz", count, number=number + 1, change=change
        )
        samples.write_studies(folder / f"clinicaltrials/studies-{number}.json", few, change=change, big=False)
        for endpoint in FDA_ENDPOINTS:
            path = folder / f"openfda/{endpoint}-{number}.json"
            samples.write_openfda(path, endpoint, few, change=change, updated=f"2026-01-{24 + number}")


def clinics(folder: Path, names: list[str], patients: int, day: int) -> None:
    """Write the exports of each clinic in the form of its own system."""
    mappings = folder / "mappings"
    mappings.mkdir(parents=True, exist_ok=True)
    for kind, text in samples.PMS_MAPPINGS.items():
        (mappings / f"{kind}.toml").write_text(text, encoding="utf-8")
    vsrx = files("medmirror.mapping").joinpath("examples", "vsrx.toml").read_text(encoding="utf-8")
    (mappings / "vsrx.toml").write_text(vsrx, encoding="utf-8")
    for seed, name in enumerate(names):
        target = folder / name
        target.mkdir(parents=True, exist_ok=True)
        for old in target.iterdir():
            old.unlink()
        if name in of_system("cliniko", names):
            samples.write_cliniko(target, patients=patients, appointments=3 * patients, seed=seed, day=day)
        elif name in of_system("fhir", names):
            samples.write_fhir(target, patients=patients, seed=seed, day=day)
        elif name in of_system("csv", names):
            change = 0.2 if day else 0.0
            for kind, rows in (("practitioner", 5), ("patient", patients), ("appointment", 3 * patients)):
                path = target / f"{kind}s.csv"
                samples.write_pms_csv(path, kind, rows, seed=seed, generation=day, change=change)  # type: ignore[arg-type]
        else:
            engine = create_engine(f"sqlite:///{target / 'practice.db'}")
            with engine.begin() as connection:
                samples.write_practice(connection, patients, seed=seed, generation=day, change=0.2 if day else 0.0)
            engine.dispose()


def of_system(system: str, names: list[str]) -> list[str]:
    """The clinics that use *system*."""
    return [name for place, name in enumerate(names) if SYSTEMS[place % len(SYSTEMS)] == system]


def variable(name: str) -> str:
    """The environment variable with the address of a clinic's database."""
    return f"{name.upper()}_URL"


if __name__ == "__main__":
    sys.exit(main())
