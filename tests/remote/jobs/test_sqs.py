"""The queue in SQS, against a local server of its protocol: given out again until it is done, harmless when twice."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import boto3
import orjson
import pytest
from click.testing import CliRunner
from moto.server import ThreadedMotoServer
from sqlalchemy import Engine, text

from jobrows import all_jobs
from medmirror import jobs
from medmirror.cli import worker as command
from medmirror.clock import SYSTEM
from medmirror.errors import StoreUnavailable, UsageError
from medmirror.jobs import Job, Request, worker
from medmirror.jobs import queue as queues
from medmirror.jobs.queue.sqs import MAX_RECEIVES, SqsQueue
from medmirror.settings import Settings
from medmirror.sync import organizations
from medmirror.sync.steps import Report

PATIENCE = 120.0  # seconds


@pytest.fixture(scope="module")
def sqs() -> Iterator[str]:
    """A server that answers as SQS does."""
    for name in ("werkzeug", "moto"):
        logging.getLogger(name).setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
        patch.setenv("AWS_ACCESS_KEY_ID", "made-up")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "made-up")
        yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def queue(sqs: str) -> Iterator[SqsQueue]:
    """A queue of this test's own, whose messages come again after a second."""
    made = SqsQueue(f"jobs-{uuid4().hex[:8]}", visible=1, listen=1)
    made.create()
    yield made
    made.close()


def _attributes(name: str) -> dict[str, str]:
    client = boto3.client("sqs")
    asked = client.get_queue_attributes(
        QueueUrl=client.get_queue_url(QueueName=name)["QueueUrl"], AttributeNames=["All"]
    )
    found: dict[str, str] = asked["Attributes"]
    return found


def _work(queue: SqsQueue, execute: Callable[[UUID], None], until: Callable[[], bool], concurrency: int = 2) -> None:
    stop = threading.Event()
    thread = threading.Thread(target=queue.work, args=(execute, concurrency, stop))
    thread.start()
    end = time.monotonic() + PATIENCE
    while not until() and time.monotonic() < end:
        time.sleep(0.02)
    stop.set()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert until()


def test_a_queue_is_made_with_its_dead_queue_and_making_it_again_changes_nothing(queue: SqsQueue) -> None:
    queue.create()
    redrive = orjson.loads(_attributes(queue.name)["RedrivePolicy"])
    assert redrive["deadLetterTargetArn"] == _attributes(f"{queue.name}-dead")["QueueArn"]
    assert int(redrive["maxReceiveCount"]) == MAX_RECEIVES == 5


def test_the_command_makes_the_queue_and_nothing_else_does(sqs: str) -> None:
    name = f"jobs-{uuid4().hex[:8]}"
    missing = SqsQueue(name)
    with pytest.raises(UsageError, match=f"no queue {name} in SQS; make it: medmirror worker --create-queue"):
        missing.put(uuid4(), 0, 0)
    ran = CliRunner().invoke(command.worker, ["--create-queue", "--queue", f"sqs://{name}"], standalone_mode=False)
    assert ran.exception is None
    missing.put(uuid4(), 0, 0)
    assert missing.depth() == 1
    missing.close()


def test_messages_wake_workers_and_are_gone_when_they_are_done(queue: SqsQueue) -> None:
    asked, woken = {uuid4() for _ in range(6)}, list[UUID]()
    for job_id in asked:
        queue.put(job_id, 0, 0)
    queue.put(uuid4(), 0, 10**6)  # longer than SQS can wait: as long as it can
    assert queue.depth() == 7
    _work(queue, woken.append, lambda: len(set(woken)) == 6 and queue.depth() == 1, concurrency=3)
    assert set(woken) == asked


def test_what_failed_comes_again_and_at_last_lies_in_the_dead_queue(queue: SqsQueue) -> None:
    soon, tries = SqsQueue(queue.name, visible=0, listen=1), list[UUID]()
    poison, good, done = uuid4(), uuid4(), list[UUID]()

    def execute(job_id: UUID) -> None:
        if job_id == poison:
            tries.append(job_id)
            raise RuntimeError("no")
        done.append(job_id)

    queue.put(poison, 0, 0)
    queue.put(good, 0, 0)
    dead = SqsQueue(f"{queue.name}-dead", visible=1, listen=1)
    _work(soon, execute, lambda: dead.depth() == 1 if len(tries) == MAX_RECEIVES else False, concurrency=1)
    soon.close()
    assert (done, len(tries)) == ([good], MAX_RECEIVES)
    found = list[UUID]()
    _work(dead, found.append, lambda: bool(found))
    assert found == [poison]
    dead.close()


def test_a_job_that_takes_longer_than_its_message_is_hidden_is_not_given_to_another(queue: SqsQueue) -> None:
    slow = SqsQueue(queue.name, visible=4, listen=1)
    begun, ended = list[UUID](), threading.Event()

    def execute(job_id: UUID) -> None:
        begun.append(job_id)
        time.sleep(5.5)  # hidden for four
        ended.set()

    slow.put(uuid4(), 0, 0)
    _work(slow, execute, ended.is_set)
    assert len(begun) == 1
    assert slow.depth() == 0
    slow.close()


def test_a_message_whose_worker_died_comes_to_another(queue: SqsQueue) -> None:
    job_id, woken = uuid4(), list[UUID]()
    queue.put(job_id, 0, 0)
    (taken,) = queue._receive()  # and never heard of again
    assert taken["Body"] == str(job_id)
    _work(queue, woken.append, lambda: bool(woken))
    assert woken == [job_id]


def test_a_message_that_is_no_jobs_id_blocks_nobody(queue: SqsQueue) -> None:
    client, woken = boto3.client("sqs"), list[UUID]()
    client.send_message(QueueUrl=client.get_queue_url(QueueName=queue.name)["QueueUrl"], MessageBody="<script>")
    job_id = uuid4()
    queue.put(job_id, 0, 0)
    _work(queue, woken.append, lambda: bool(woken))
    assert woken == [job_id]


def test_jobs_are_done_once_by_way_of_sqs_though_each_message_comes_three_times(
    queue: SqsQueue, engine: Engine
) -> None:
    numbers = range(12)
    for number in numbers:
        organizations.put(engine, organizations.Organization(f"org_{number}", "cliniko", "cliniko"))
    with engine.begin() as conn:
        conn.execute(text("CREATE TABLE public.ran (job_id uuid PRIMARY KEY)"))

    def handler(job: Job, report: Report) -> dict[str, Any]:
        with engine.begin() as conn:
            conn.execute(text("INSERT INTO public.ran VALUES (:id)"), {"id": job.job_id})
        return {}

    now = datetime.now(UTC)
    made = [jobs.submit(engine, queue, Request(f"org_{number}", "cliniko"), now).job for number in numbers]
    for job in made * 2:
        queue.put(job.job_id, 0, 0)
    stop = threading.Event()

    def look() -> None:
        end = time.monotonic() + PATIENCE
        while queue.depth() and time.monotonic() < end:
            time.sleep(0.05)
        stop.set()

    watch = threading.Thread(target=look)
    watch.start()
    worker.work(engine, queue, handler, SYSTEM, concurrency=4, stop=stop)
    watch.join()
    with engine.connect() as conn:
        assert conn.scalar(text("SELECT count(*) FROM public.ran")) == 12
        assert {job.state for job in all_jobs(conn)} == {"succeeded"}


def test_the_region_that_aws_machines_set_is_enough(sqs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    queue = SqsQueue(f"jobs-{uuid4().hex[:8]}")
    with pytest.raises(UsageError, match="AWS_REGION"):
        queue.create()
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    queue.create()
    assert queue.depth() == 0
    queue.close()


def test_a_queue_that_cannot_be_reached_is_said_to_be_so_and_which(sqs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    settings = replace(Settings.from_environment(environ={}), queue="sqs://jobs")
    with pytest.raises(StoreUnavailable, match="The queue jobs in SQS cannot be reached"):
        queues.of(settings).put(uuid4(), 0, 0)
