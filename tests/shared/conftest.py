"""The publishers' real files, each folder loaded once a session."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import catalogue
import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier

import medmirror
from medmirror.ingest.run import LoadResult


@pytest.fixture(scope="session")
def pubmed(server: str, template: str) -> Iterator[tuple[str, LoadResult]]:
    """A DSN of a database that holds every file of pubmed/, and what the load said."""
    with _database(server, template, "pubmed") as dsn:
        yield dsn, medmirror.load("pubmed", catalogue.named("pubmed"), dsn=dsn, workers=2, index=False)


@pytest.fixture(scope="session")
def clinicaltrials(server: str, template: str) -> Iterator[tuple[str, LoadResult]]:
    """A DSN of a database into which every file of ctgov/ was tried, and what the load said."""
    with _database(server, template, "clinicaltrials") as dsn:
        yield dsn, medmirror.load("clinicaltrials", catalogue.named("ctgov"), dsn=dsn, workers=2, index=False)


@pytest.fixture(scope="session")
def openfda(server: str, template: str) -> Iterator[tuple[str, LoadResult]]:
    """A DSN of a database into which every file of openfda/ was tried, and what the load said."""
    with _database(server, template, "openfda") as dsn:
        yield dsn, medmirror.load("openfda", catalogue.named("openfda"), dsn=dsn, workers=2, index=False)


@pytest.fixture(scope="session")
def fhir(server: str, template: str) -> Iterator[tuple[str, LoadResult]]:
    """A DSN of a database that holds every file of fhir/, as those of one organisation, and what the load said."""
    with _database(server, template, "fhir") as dsn:
        files = catalogue.named("fhir")
        yield dsn, medmirror.load("fhir", files, dsn=dsn, workers=2, index=False, organization="clinic-a")


@pytest.fixture(scope="session")
def csv_files(server: str, template: str) -> Iterator[tuple[str, LoadResult]]:
    """A DSN of a database that holds every file of pms_csv/, by the mapping files of the package, and what the load
    said."""
    with _database(server, template, "csv") as dsn:
        given = {"organization": "clinic-b", "mapping": catalogue.csv_mappings()}
        yield dsn, medmirror.load("csv", catalogue.named("pms_csv"), dsn=dsn, workers=2, index=False, **given)


@contextmanager
def _database(server: str, template: str, source: str) -> Iterator[str]:
    name = f"medmirror_test_{os.getpid()}_shared_{source}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(SQL("CREATE DATABASE {} TEMPLATE {}").format(Identifier(name), Identifier(template)))
    try:
        yield make_conninfo(server, dbname=name)
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(Identifier(name)))
