"""The queue in Amazon SQS, for a load that one database cannot carry: the same jobs, each message is a job's id.

There are two queues: NAME, and NAME-dead, where SQS puts a message that it gave out five times without a confirmation.
SQS knows no priority, and waits 15 minutes at most: a message that comes too early is sent again (see
``runner.execute``). Region, keys and endpoint are those of boto3 (AWS_REGION, AWS_ENDPOINT_URL, roles ...). A worker
needs sqs:GetQueueUrl, SendMessage, ReceiveMessage, DeleteMessage, ChangeMessageVisibility and GetQueueAttributes; only
``create`` needs CreateQueue and SetQueueAttributes.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import boto3
import orjson
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from medmirror.errors import StoreUnavailable, UsageError
from medmirror.settings import QueueSettings, read

MAX_RECEIVES = 5  #: times that a message is given out before it goes to the dead queue
_LONGEST_DELAY = 900  # seconds, the limit of SQS
_VISIBLE = 60  # seconds that a message is kept from others; extended every third of it
_BEAT_AT_LEAST = 0.3  # seconds
_LISTEN = 5  # seconds of a long poll: how long a worker may take to notice that it is to stop
_AGAIN = 2.0  # seconds until a queue that cannot be reached is tried again
_POOL = 64  # connections

_log = logging.getLogger(__name__)


class SqsQueue:
    """A Queue in SQS. Threads may share it. Its methods raise UsageError when there is no such queue."""

    def __init__(self, name: str, *, visible: int = _VISIBLE, listen: int = _LISTEN) -> None:
        if name.endswith(".fifo"):
            raise UsageError("A FIFO queue cannot delay single messages; name a standard queue: sqs://medmirror-jobs")
        self.name, self._visible, self._listen = name, visible, listen
        self._lock = threading.Lock()
        self._client: Any = None
        self._address: str | None = None

    def create(self) -> None:
        """Create the queue and its dead queue, if they do not exist, and link the two."""
        with _unavailable(self.name):
            dead = self._opened().create_queue(QueueName=f"{self.name}-dead")["QueueUrl"]
            attributes = self._client.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])
            redrive = {"deadLetterTargetArn": attributes["Attributes"]["QueueArn"], "maxReceiveCount": MAX_RECEIVES}
            address = self._client.create_queue(QueueName=self.name)["QueueUrl"]
            self._client.set_queue_attributes(
                QueueUrl=address, Attributes={"RedrivePolicy": orjson.dumps(redrive).decode()}
            )

    def put(self, job_id: UUID, priority: int, delay: float) -> None:
        """See Queue. The priority is not kept."""
        seconds = max(0, min(_LONGEST_DELAY, -int(-delay // 1)))
        with _unavailable(self.name):
            self._opened().send_message(QueueUrl=self._url(), MessageBody=str(job_id), DelaySeconds=seconds)

    def depth(self) -> int:
        """See Queue; SQS gives an approximate number."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesDelayed"]
        with _unavailable(self.name):
            answer = self._opened().get_queue_attributes(QueueUrl=self._url(), AttributeNames=names)
        return sum(int(answer["Attributes"][name]) for name in names)

    def close(self) -> None:
        """See Queue."""
        with self._lock:
            if self._client is not None:
                self._client.close()
            self._client = self._address = None

    def work(self, execute: Callable[[UUID], None], concurrency: int, stop: threading.Event) -> None:
        """See Queue. A message whose *execute* raised is not deleted: it comes again, to any worker."""
        with ThreadPoolExecutor(concurrency, "job") as threads:
            for thread in [threads.submit(self._work, execute, stop) for _ in range(concurrency)]:
                thread.result()

    def _work(self, execute: Callable[[UUID], None], stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                for message in self._receive():
                    self._handle(message, execute)
            except StoreUnavailable as error:
                _log.warning("the queue cannot be reached, tried again in %.0f s: %s", _AGAIN, error.message)
                stop.wait(_AGAIN)

    def _receive(self) -> list[dict[str, Any]]:
        with _unavailable(self.name):
            answer = self._opened().receive_message(
                QueueUrl=self._url(),
                MaxNumberOfMessages=1,
                WaitTimeSeconds=self._listen,
                VisibilityTimeout=self._visible,
                AttributeNames=["ApproximateReceiveCount"],
            )
        return list(answer.get("Messages", ()))

    def _handle(self, message: dict[str, Any], execute: Callable[[UUID], None]) -> None:
        receives = message.get("Attributes", {}).get("ApproximateReceiveCount", "1")
        try:
            job_id = UUID(message["Body"])
        except ValueError:
            _log.error("a message that is no job's id is left to the dead queue (received %s times)", receives)
            return
        try:
            with self._hidden(message["ReceiptHandle"]):
                execute(job_id)
        except Exception as error:  # noqa: BLE001 - the message comes again, and at last to the dead queue
            kind = type(error).__name__
            _log.error(
                "job %s could not be taken or its end not written: %s (received %s times)", job_id, kind, receives
            )
            return
        with _unavailable(self.name):
            self._client.delete_message(QueueUrl=self._url(), ReceiptHandle=message["ReceiptHandle"])

    @contextmanager
    def _hidden(self, receipt: str) -> Iterator[None]:
        """Keep the message hidden from other workers while this is open."""
        over = threading.Event()

        def extend() -> None:
            while not over.wait(max(self._visible / 3, _BEAT_AT_LEAST)):
                try:
                    with _unavailable(self.name):
                        self._client.change_message_visibility(
                            QueueUrl=self._url(), ReceiptHandle=receipt, VisibilityTimeout=self._visible
                        )
                except StoreUnavailable:
                    _log.warning("a message could not be kept from others; its job keeps its own lease")

        thread = threading.Thread(target=extend, name="visibility", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _opened(self) -> Any:
        with self._lock:
            if self._client is None:
                # AWS' own machines set AWS_REGION, which boto3 does not read.
                config = Config(max_pool_connections=_POOL, retries={"mode": "standard", "max_attempts": 4})
                self._client = boto3.client("sqs", config=config, region_name=read(QueueSettings).region)
            return self._client

    def _url(self) -> str:
        if self._address is None:
            self._address = str(self._client.get_queue_url(QueueName=self.name)["QueueUrl"])
        return self._address


@contextmanager
def _unavailable(name: str) -> Iterator[None]:
    """Raise errors of SQS as ours, by their code, because their texts may quote a request."""
    try:
        yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if "NonExistentQueue" in code or "QueueDoesNotExist" in code:
            raise UsageError(f"There is no queue {name} in SQS; make it: medmirror worker --create-queue") from None
        if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") in (400, 403) and "Throttl" not in code:
            raise UsageError(
                f"SQS refuses the request about {name} ({code}); look at the keys, region and rights."
            ) from None
        raise StoreUnavailable(f"The queue {name} in SQS cannot be reached.", code=code) from None
    except BotoCoreError as error:
        kind = type(error).__name__
        if kind in ("NoCredentialsError", "NoRegionError", "PartialCredentialsError"):
            raise UsageError(
                f"boto3 lacks keys or a region ({kind}); set AWS_REGION and the keys, or a role."
            ) from None
        raise StoreUnavailable(f"The queue {name} in SQS cannot be reached.", kind=kind) from None
