"""What is said of an error of Postgres: a sentence of ours, its own words only where they quote no row."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import errors

from medmirror.db import refusals


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        (errors.ReadOnlySqlTransaction, "Name the primary"),
        (errors.TooManyConnections, "Lower --workers"),
        (errors.ConfigurationLimitExceeded, "limit of the server's configuration"),
        (errors.ProgramLimitExceeded, "limit of Postgres itself"),
        (errors.StatementTooComplex, "max_stack_depth"),
        (errors.DuplicatePreparedStatement, "transaction pooler"),
        (errors.InvalidSqlStatementName, "transaction pooler"),
        (errors.InvalidPassword, "check the user's name, the password"),
        (errors.InvalidAuthorizationSpecification, "check the user's name, the password"),
        (errors.InvalidCatalogName, "There is no database of this name"),
        (errors.CannotConnectNow, "wait until it is up"),
        (errors.AdminShutdown, "wait until it is up"),
        (errors.InsufficientPrivilege, "This user may not do that"),
        (errors.UndefinedTable, "is not there"),
        (errors.UndefinedFunction, "is not there"),
        (errors.DiskFull, "disk is full"),
        (errors.OutOfMemory, "out of memory"),
        (errors.QueryCanceled, "was cancelled"),
        (errors.LockNotAvailable, "MEDMIRROR_LOCK_TIMEOUT"),
        (errors.DataCorrupted, "cannot read its own files"),
        (errors.IoError, "cannot read its own files"),
    ],
)
def test_each_state_has_a_sentence(kind: type[psycopg.Error], sentence: str) -> None:
    error = refusals.of_statement(kind("the row of Anna Muster"))
    assert sentence in error.message
    assert error.context["sqlstate"] == kind.sqlstate
    assert "Anna" not in str(error)


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ('connection failed: FATAL:  too many connections for role "lim"', "Lower --workers"),
        ("FATAL:  sorry, too many clients already", "Lower --workers"),
        ("FATAL:  remaining connection slots are reserved for roles with the SUPERUSER attribute", "Lower --workers"),
        ("ERROR:  no more connections allowed (max_client_conn)", "Lower --workers"),
        ('FATAL:  password authentication failed for user "u"', "the password"),
        ('FATAL:  no pg_hba.conf entry for host "::1"', "pg_hba.conf"),
        ("FATAL:  the database system is starting up", "check the DSN and that the server runs"),
        ("FATAL: etwas auf Deutsch", "check the DSN and that the server runs"),
    ],
)
def test_the_reason_of_a_failed_connection_is_kept(said: str, sentence: str) -> None:
    error = refusals.of_connection(psycopg.OperationalError(said), attempts=3)
    assert sentence in error.message
    assert error.message.endswith(f"It says: {' '.join(said.split())}")
    assert error.context == {"attempts": 3}


def test_a_value_is_never_quoted() -> None:
    error = refusals.of_statement(errors.UniqueViolation("Key (name)=(Anna Muster) already exists."))
    assert "Anna" not in str(error)
