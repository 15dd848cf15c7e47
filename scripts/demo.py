"""The main job on made-up files, with the commands a user would type: load, look, search, load again, audit.

Everything lives in one folder of its own and is gone at the end, unless --keep is given. Run it by ``scripts/demo``.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import live
import nightly_full_sync
from medmirror.settings import Settings
from medmirror_testing import ending
from medmirror_testing.samples import write_openfda, write_pubmed, write_studies
from medmirror_testing.samples.text import FIRST_PMID
from medmirror_testing.servers.postgres import postgres

QUERY = """
SELECT s.nct_id, s.brief_title AS trial, count(*) AS articles, max(a.pub_date) AS newest
FROM clinicaltrials.study AS s
JOIN pubmed.databank_accession AS d ON d.accession = s.nct_id
JOIN pubmed.article AS a USING (pmid, pmid_version)
GROUP BY 1, 2 ORDER BY articles DESC, newest DESC LIMIT 5
"""


NEXT = """
SELECT DISTINCT ON (organization_id) organization_id, source, a.record -> 'starts' ->> 'utc' AS begins,
       a.record -> 'status' ->> 'code' AS status, p.canonical_id AS patient
FROM canonical.appointment AS a
JOIN canonical.patient AS p USING (organization_id, source)
WHERE a.state = 'active' AND p.source_id = a.record -> 'patient' ->> 'id'
ORDER BY 1, 3 DESC
"""
CLINICS = 4  # one of each system: Cliniko, FHIR, CSV files, a database


def main() -> None:
    """Run the demonstration; exits with the first command's code that is not 0."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave the files and the running database behind")
    parser.add_argument("--citations", type=int, default=5_000, help="size of the PubMed sample (default 5,000)")
    options = parser.parse_args()
    os.environ.pop("MEDMIRROR_DSN", None)
    began = time.perf_counter()
    with postgres(Settings.from_environment(), "medmirror-demo-", keep=options.keep) as own:
        os.environ["MEDMIRROR_HOME"] = str(own.settings.home)
        if options.keep:
            print(f"The database stays. Go on with:\n  export MEDMIRROR_HOME={own.settings.home}")
        samples = make_samples(own.folder / "files", options.citations)
        show(samples)
        clinics(own.folder / "night")
        heading("A live minute: a change at a clinic, and the mirror that has it")
        live.live(Path(tempfile.gettempdir()))
    print(f"\nDone in {time.perf_counter() - began:.0f} s.")


def make_samples(folder: Path, citations: int) -> Path:
    """Write what the three publishers would send; return the folder."""
    heading("Sample files, made up, in the publishers' own formats")
    for name in ("baseline", "updatefiles", "trials", "drugs"):
        (folder / name).mkdir(parents=True)
    first = FIRST_PMID
    write_pubmed(folder / "baseline", citations, first_pmid=first, number=1)
    write_pubmed(
        folder / "updatefiles",
        20,
        first_pmid=first + citations,
        number=2,
        revisions=[first + 3 * i for i in range(20)],
        deletes=[first + 1, first + 4],
    )
    write_studies(folder / "trials" / "ctg-studies.json", 400)
    for endpoint, records in (("label", 200), ("ndc", 500), ("drugsfda", 200), ("event", 300), ("enforcement", 100)):
        write_openfda(folder / "drugs", endpoint, records)  # type: ignore[arg-type]
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        print(f"  {path.relative_to(folder.parent)}  {path.stat().st_size / 1e6:.1f} MB")
    return folder


def show(samples: Path) -> None:
    """The commands, in the order in which a user would meet them."""
    heading("Load each publisher's files")
    medmirror("load", "pubmed", samples / "baseline")
    medmirror("load", "clinicaltrials", samples / "trials" / "ctg-studies.json")
    medmirror("load", samples / "drugs")  # the content names the source

    heading("Search")
    medmirror("search", "metformin heart failure", "--limit", "3")

    heading("A trial's publications: one query over two sources")
    query(QUERY)

    heading("Tomorrow: the same files are skipped, an update file changes only what it names")
    medmirror("load", "pubmed", samples / "baseline", samples / "updatefiles")

    heading("The same bytes once more, by force: nothing is written")
    medmirror("load", "pubmed", samples / "baseline", "--force")


def clinics(night: Path) -> None:
    """A night for four clinics, each with another system, and the public sources; then the commands that a user runs
    next."""
    heading("A night: four clinics with four systems, and the public sources, as one job")
    names = [f"org_{number}" for number in range(1, CLINICS + 1)]
    nightly_full_sync.make(night, names, patients=60, articles=100, day=0, cpu=100)
    practice = nightly_full_sync.of_system("sql", names)[0]
    os.environ[nightly_full_sync.variable(practice)] = f"sqlite:///{night / practice / 'practice.db'}"
    print((night / "nightly.toml").read_text())
    medmirror("nightly", night / "nightly.toml")

    heading("The last appointment in each clinic's book, in one shape for all systems")
    query(NEXT)

    heading("What a field means, and which pairs of records wait for a person's word")
    medmirror("mapping", "show", "cliniko", "practitioner")
    medmirror("matches", "list", "--limit", "3")

    heading("The next evening: what would tonight change? Nothing is written")
    nightly_full_sync.make(night, names, patients=60, articles=100, day=1, cpu=100)
    medmirror("nightly", night / "nightly.toml", "--plan")

    heading("Is every record accounted for?")
    medmirror("audit")
    medmirror("status")


def heading(text: str) -> None:
    """Print *text* as the title of a step."""
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n== {text}", flush=True)


def medmirror(*words: object) -> None:
    """Run the command line with *words*, showing it first."""
    arguments = [str(word) for word in words]
    print(f"$ medmirror {shlex.join(arguments)}", flush=True)
    code = ending.call([sys.executable, "-m", "medmirror", *arguments])
    if code:
        sys.exit(code)


def query(statement: str) -> None:
    """Run *statement* on the database of the demonstration and print its rows."""
    import psycopg

    url = subprocess.run(
        [sys.executable, "-m", "medmirror", "db", "url"], stdout=subprocess.PIPE, text=True, check=True
    ).stdout.strip()
    print(statement.strip())
    with psycopg.connect(url) as connection:
        for row in connection.execute(statement):  # type: ignore[arg-type]
            print("  ", *(str(value)[:70] for value in row), sep=" | ")


if __name__ == "__main__":
    main()
