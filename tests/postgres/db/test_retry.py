from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError, IntegrityError

import mirrors
from medmirror.db import connect, locks, refusals, retry
from medmirror.db.retry import Backoff, Policy, Tally, in_transaction, retry_with_advisory_lock, shared_lock
from medmirror.errors import LockRaceLost, StoreError, StoreUnavailable

QUICK = Policy(Backoff(attempts=4, base=0.01), Backoff(attempts=3, base=0.01))
LOCK = locks.CLINICALTRIALS


@pytest.fixture(autouse=True)
def _table(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE public.count (name text PRIMARY KEY, n int NOT NULL)"))
        connection.execute(text("INSERT INTO public.count VALUES ('a', 0), ('b', 0)"))


def add(connection: Connection, name: str) -> None:
    connection.execute(text("UPDATE public.count SET n = n + 1 WHERE name = :name"), {"name": name})


def value(engine: Engine, name: str) -> Any:
    with engine.connect() as connection:
        return connection.scalar(text("SELECT n FROM public.count WHERE name = :name"), {"name": name})


def advisory_locks(engine: Engine) -> Any:
    with engine.connect() as connection:
        return connection.scalar(
            text(
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
                " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            )
        )


PATIENCE = 120.0  # seconds; far more than anything here takes


def waiters(engine: Engine) -> Any:
    with engine.connect() as connection:
        return connection.scalar(
            text(
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
                " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            )
        )


def deadlock(engine: Engine, run: Callable[[Callable[[Connection], None]], None]) -> None:
    """Have two threads update a and b in opposite order: they meet once. *run* runs the work of each.

    The loser's second try begins when the winner has ended, for else the two might meet again: a wait with full jitter
    may be one of no time at all.
    """
    meet, won = threading.Barrier(2), threading.Event()

    def worker(names: str) -> None:
        tries = itertools.count()

        def work(connection: Connection) -> None:
            if next(tries):
                assert won.wait(PATIENCE)
                add(connection, names[0])
            else:
                add(connection, names[0])
                meet.wait(PATIENCE)
            add(connection, names[1])

        run(work)
        won.set()

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(worker, ["ab", "ba"]))


# in_transaction


def test_a_deadlock_is_tried_again_and_counted(engine: Engine) -> None:
    tally = Tally()
    deadlock(engine, lambda work: in_transaction(engine, work, tally=tally))
    assert (value(engine, "a"), value(engine, "b")) == (2, 2)
    assert (tally.deadlocks, tally.retries, tally.lock_waits) == (1, 1, 0)


def test_a_serialisation_failure_is_tried_again(engine: Engine) -> None:
    tries = []

    def work(connection: Connection) -> None:
        connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
        connection.execute(text("SELECT n FROM public.count"))
        tries.append(1)
        if len(tries) == 1:
            with engine.begin() as other:
                add(other, "a")
        add(connection, "a")

    in_transaction(engine, work, policy=QUICK)
    assert (len(tries), value(engine, "a")) == (2, 2)


def test_a_lock_timeout_is_tried_again_and_given_up_in_the_end(engine: Engine) -> None:
    tally = Tally()
    with engine.connect() as holder, holder.begin():
        add(holder, "a")

        def work(connection: Connection) -> None:
            connection.execute(text("SET LOCAL lock_timeout = '20ms'"))
            add(connection, "a")

        with pytest.raises(LockRaceLost) as caught:
            in_transaction(engine, work, policy=QUICK, tally=tally)
    assert caught.value.context == {"sqlstate": "55P03", "attempts": 4}
    assert (tally.retries, tally.lock_waits, tally.deadlocks) == (3, 4, 0)
    assert value(engine, "a") == 1  # the holder's own


@pytest.mark.parametrize("way", ["statement", "copy"])
def test_a_dropped_connection_is_replaced_and_the_work_done_again(engine: Engine, dsn: str, way: str) -> None:
    pids = []

    def work(connection: Connection) -> None:
        pids.append(connection.scalar(text("SELECT pg_backend_pid()")))
        add(connection, "a")
        if len(pids) == 1:
            with psycopg.connect(dsn) as other:
                other.execute("SELECT pg_terminate_backend(%s, 60000)", [pids[0]])
        if way == "statement":
            add(connection, "b")
        else:  # past SQLAlchemy, which then does not know that its connection is gone
            with connect.raw(connection).cursor() as cursor, cursor.copy("COPY public.count FROM STDIN") as copy:
                copy.write_row(("c", 1))

    tally = Tally()
    in_transaction(engine, work, policy=QUICK, tally=tally)
    assert len(set(pids)) == 2
    assert (value(engine, "a"), tally.retries) == (1, 1)


def test_a_server_that_stays_away_is_given_up(engine: Engine) -> None:
    nowhere = connect.engine("postgresql://u@/d?host=/nowhere")
    with pytest.raises(StoreUnavailable) as caught:
        in_transaction(nowhere, lambda connection: None, policy=QUICK)
    assert caught.value.context == {"sqlstate": None, "attempts": 3}


def test_any_other_error_is_raised_at_once(engine: Engine) -> None:
    tries = []

    def work(connection: Connection) -> None:
        tries.append(1)
        add(connection, "b")
        connection.execute(text("INSERT INTO public.count VALUES ('a', 1)"))

    with pytest.raises(IntegrityError):
        in_transaction(engine, work, policy=QUICK)
    assert len(tries) == 1
    assert value(engine, "b") == 0  # and rolled back


def test_an_error_of_ones_own_rolls_back(engine: Engine) -> None:
    def work(connection: Connection) -> None:
        add(connection, "a")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        in_transaction(engine, work)
    assert value(engine, "a") == 0
    assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]


def test_it_refuses_to_begin_inside_another(engine: Engine) -> None:
    with pytest.raises(StoreError, match="inside another"):
        in_transaction(engine, lambda outer: in_transaction(engine, lambda inner: None))
    in_transaction(engine, lambda connection: None)  # and is not left shut


def test_no_row_reaches_the_log_or_the_error(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    patient = "Jane Roe 1970-01-01"
    with engine.connect() as holder, holder.begin():
        holder.execute(text("INSERT INTO public.count VALUES (:name, 1)"), {"name": patient})

        def work(connection: Connection) -> None:
            connection.execute(text("SET LOCAL lock_timeout = '10ms'"))
            connection.execute(text("INSERT INTO public.count VALUES (:name, 1)"), {"name": patient})

        with pytest.raises(LockRaceLost) as caught:
            in_transaction(engine, work, policy=QUICK)
    assert "Jane" not in caplog.text + str(caught.value)
    assert caught.value.__cause__ is None
    assert "55P03" in caplog.text


# retry_with_advisory_lock


def test_only_one_at_a_time_works_under_a_lock(engine: Engine) -> None:
    inside, most = 0, 0

    def work(connection: Connection) -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        n = connection.scalar(text("SELECT n FROM public.count WHERE name = 'a'"))
        connection.execute(text("UPDATE public.count SET n = :n WHERE name = 'a'"), {"n": n + 1})
        inside -= 1

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: retry_with_advisory_lock(engine, LOCK, work, attempts=50), range(12)))
    assert (value(engine, "a"), most) == (12, 1)


def test_a_lock_that_stays_taken_is_given_up(engine: Engine) -> None:
    tally = Tally()
    with engine.connect() as holder, holder.begin():
        holder.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        with pytest.raises(LockRaceLost, match="Max retries exceeded for deadlock resolution") as caught:
            retry_with_advisory_lock(engine, LOCK, lambda connection: None, attempts=3, policy=QUICK, tally=tally)
    assert caught.value.context == {"lock": LOCK, "sqlstate": None, "attempts": 3}
    assert (tally.lock_waits, tally.retries) == (3, 2)


def test_what_the_work_returned_is_returned(engine: Engine) -> None:
    assert retry_with_advisory_lock(engine, LOCK, lambda connection: connection.scalar(text("SELECT 42"))) == 42


def test_a_shared_lock_lets_writers_in_together_and_waits_for_one_who_is_alone(engine: Engine) -> None:
    tally = Tally()

    def write(connection: Connection) -> None:
        shared_lock(connection, LOCK, tally)
        with engine.connect() as second, second.begin():
            shared_lock(second, LOCK, tally)

    in_transaction(engine, write)
    assert tally == Tally()

    taken = threading.Event()

    def alone(connection: Connection) -> None:
        taken.set()
        mirrors.until(lambda: waiters(engine) == 1, "nobody came to wait for the lock")

    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(retry_with_advisory_lock, engine, LOCK, alone)
        assert taken.wait(PATIENCE)
        in_transaction(engine, lambda connection: shared_lock(connection, LOCK, tally), tally=tally)
        other.result()
    assert (tally.lock_waits, tally.retries) == (1, 0)


def test_a_shared_lock_that_is_not_got_in_time_is_tried_again(dsn: str, engine: Engine) -> None:
    hasty = connect.engine(dsn, lock_timeout=0.02)
    tally = Tally()
    with engine.connect() as holder, holder.begin():
        holder.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        with pytest.raises(LockRaceLost):
            in_transaction(hasty, lambda connection: shared_lock(connection, LOCK, tally), policy=QUICK, tally=tally)
    hasty.dispose()
    assert (tally.lock_waits, tally.retries) == (4, 3)


# Each mistake of the well-known recipe: what it does, and that it does not happen here.


def printed(connection: Connection, work: Callable[[Connection], None], attempts: int = 3) -> None:
    """The recipe as it is printed everywhere, without its waits."""
    for _ in range(attempts):
        try:
            if not connection.scalar(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": LOCK}):
                continue
            work(connection)
            connection.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": LOCK})
            return
        except Exception as error:  # as printed
            if "deadlock" not in str(error).lower():
                raise
    raise RuntimeError("Max retries exceeded for deadlock resolution")


def fail(connection: Connection) -> None:
    raise ZeroDivisionError


def test_mistake_the_lock_stays_when_the_work_raises(engine: Engine) -> None:
    with engine.connect() as connection:
        with pytest.raises(ZeroDivisionError):
            printed(connection, fail)
        connection.rollback()
        assert advisory_locks(engine) == 1  # even after the rollback
        connection.execute(text("SELECT pg_advisory_unlock_all()"))

    with pytest.raises(ZeroDivisionError):
        retry_with_advisory_lock(engine, LOCK, fail)
    assert advisory_locks(engine) == 0


def test_mistake_a_session_lock_goes_back_to_the_pool_with_its_connection(dsn: str) -> None:
    pool = connect.engine(dsn, pool_size=2)
    with pool.connect() as connection:
        connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": LOCK})
        mine = connection.scalar(text("SELECT pg_backend_pid()"))
        connection.commit()
    with pool.connect() as next_user, pool.connect() as somebody:
        assert next_user.scalar(text("SELECT pg_backend_pid()")) == mine
        assert advisory_locks(pool) == 1  # nobody who is still there took it
        assert somebody.scalar(text("SELECT pg_advisory_unlock(:lock)"), {"lock": LOCK}) is False
        next_user.execute(text("SELECT pg_advisory_unlock_all()"))
    pool.dispose()

    pool = connect.engine(dsn, pool_size=2)
    retry_with_advisory_lock(pool, LOCK, lambda connection: None)
    assert advisory_locks(pool) == 0
    pool.dispose()


def test_mistake_without_a_rollback_the_second_try_fails_and_its_text_has_no_deadlock(engine: Engine) -> None:
    errors: list[BaseException] = []

    def as_printed(work: Callable[[Connection], None]) -> None:
        with engine.connect() as connection:
            for _ in range(2):
                try:
                    work(connection)
                    connection.commit()
                    return
                except DBAPIError as error:
                    errors.append(error)  # and no rollback

    deadlock(engine, as_printed)
    states = [retry.sqlstate_of(error) for error in errors]
    assert states == ["40P01", "25P02"]
    assert "deadlock" in str(errors[0])
    assert "deadlock" not in str(errors[1])  # "current transaction is aborted": the recipe would raise this one
    assert value(engine, "a") == 1  # one of the two works was lost

    deadlock(engine, lambda work: in_transaction(engine, work))
    assert value(engine, "a") == 3


def test_mistake_a_text_may_hold_the_word_by_chance(engine: Engine) -> None:
    tries = []

    def work(connection: Connection) -> None:
        tries.append(1)
        connection.execute(
            text("INSERT INTO public.count VALUES ('Deadlock of the hip', 1), ('Deadlock of the hip', 2)")
        )

    with engine.connect() as connection, pytest.raises((RuntimeError, DBAPIError)) as caught:
        printed(connection, work)
    # A duplicate key, quoted in the text, passes for a deadlock; the next try meets an aborted transaction and raises
    # that.
    assert retry.sqlstate_of(caught.value) == "25P02"

    tries.clear()
    with pytest.raises(IntegrityError):
        retry_with_advisory_lock(engine, LOCK, work, policy=QUICK)
    assert len(tries) == 1


def test_mistake_a_server_of_another_language_says_another_word(engine: Engine) -> None:
    """Messages are translated, SQLSTATEs are not. The class of the error is all that is looked at."""
    error = DBAPIError("UPDATE", {}, psycopg.errors.DeadlockDetected("Verklemmung entdeckt"))
    assert "deadlock" not in str(error.orig).lower()
    assert retry.is_lost_race(error)


def test_a_role_whose_connections_are_used_up_is_told_so(dsn: str) -> None:
    role = f"limited_{uuid4().hex[:12]}"
    with psycopg.connect(dsn, autocommit=True) as owner:
        owner.execute(SQL("CREATE ROLE {} LOGIN CONNECTION LIMIT 1").format(Identifier(role)))
        try:
            theirs = make_conninfo(dsn, user=role)
            with psycopg.connect(theirs):
                engine = connect.engine(theirs, patience=0.1)
                with pytest.raises(StoreUnavailable, match=f'Lower --workers.*too many connections for role "{role}"'):
                    in_transaction(engine, lambda connection: None)
                engine.dispose()
        finally:
            owner.execute(SQL("DROP ROLE {}").format(Identifier(role)))


def test_a_server_that_takes_no_writes_is_told_of(dsn: str) -> None:
    engine = connect.engine(make_conninfo(dsn, options="-c default_transaction_read_only=on"))
    with pytest.raises(DBAPIError) as caught:
        in_transaction(engine, lambda connection: add(connection, "a"))
    assert "Name the primary in the DSN" in refusals.of_statement(caught.value).message
    engine.dispose()
