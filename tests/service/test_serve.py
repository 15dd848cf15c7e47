"""`medmirror serve` as a process with real signals, what it refuses, TLS; and `medmirror keys`."""

from __future__ import annotations

import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from sqlalchemy import Engine
from worlds import OURS, Make, organization

from jobrows import all_jobs
from medmirror.cli import cli
from medmirror.errors import UsageError
from medmirror.jobs import worker
from medmirror.service import keys, serving
from medmirror.service.options import Options
from medmirror.settings import Settings


def _medmirror(dsn: str, *args: str) -> Result:
    return CliRunner().invoke(cli, ["--dsn", dsn, *args])


@contextmanager
def _serving(dsn: str, *args: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, "-m", "medmirror", "--dsn", dsn, "serve", "--port", "0", *args]
    # Scheduled by nobody: what it asks of the remote would be chance.
    environment = {**os.environ, "ENABLE_SYNC_SCHEDULER": "false", "TEST_KEY": "made-up-key-au1"}
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment
    ) as one:
        assert one.stderr is not None
        address = None
        for line in one.stderr:
            if match := re.search(r"serves at (https?://\S+)", line):
                address = match[1]
                break
        try:
            assert address is not None
            yield one, address
        finally:
            if one.poll() is None:
                one.kill()


def _until(done: Callable[[], object], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_one_process_answers_works_and_stops_cleanly(dsn: str, engine: Engine) -> None:
    organization(engine, OURS, secret="env:TEST_KEY")
    made = keys.add(engine, "test", ["read", "sync"], [OURS], datetime.now(UTC))
    key = {"Authorization": f"Bearer {made.token}"}
    with _serving(dsn, "--workers", "1", "--open-status") as (process, address):
        assert httpx.get(f"{address}/ready").status_code == 200
        assert OURS in httpx.get(f"{address}/").text
        assert httpx.get(f"{address}/", headers={"Host": "evil.example"}).status_code == 400
        asked = httpx.post(f"{address}/api/v1/cliniko/sync/{OURS}", headers=key)
        assert asked.status_code == 202
        place = address + asked.headers["Location"]
        _until(lambda: httpx.get(place, headers=key).json()["log"])  # a worker took it
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{address}/health")


def _running(engine: Engine, dsn: str, stop: threading.Event, **what: Any) -> Future[None]:
    settings, found = Settings.from_environment(dsn=dsn), Future[None]()

    def run() -> None:
        try:
            serving.run(engine, settings, serving.Where(port=0), Options(), stop, lambda address: None, **what)
            found.set_result(None)
        except Exception as error:  # noqa: BLE001 - the test looks at it
            found.set_exception(error)

    threading.Thread(target=run).start()
    return found


def test_its_scheduler_asks_for_what_is_due(engine: Engine, dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENABLE_SYNC_SCHEDULER", "true")
    organization(engine, OURS)
    stop = threading.Event()
    served = _running(engine, dsn, stop, at_once=0, scheduler=True)
    try:
        _until(lambda: served.done() or _asked_for(engine))
        assert _asked_for(engine) == [(OURS, "schedule", "queued", True)]
    finally:
        stop.set()
    served.result(120)


def _asked_for(engine: Engine) -> list[tuple[str, str, str, bool]]:
    with engine.connect() as conn:
        return [(job.organization_id, job.trigger, job.state, job.force_full) for job in all_jobs(conn)]


def test_workers_that_cannot_go_on_end_it_with_their_reason(
    engine: Engine, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **more: object) -> None:
        raise UsageError("There is no such queue.")

    monkeypatch.setattr(worker, "work", refuse)
    with pytest.raises(UsageError, match="no such queue"):
        _running(engine, dsn, threading.Event(), at_once=1, scheduler=False).result(120)


def test_keys_are_made_listed_rotated_and_revoked(dsn: str) -> None:
    made = _medmirror(dsn, "keys", "add", "lab robot", "--scope", "read", "--all")
    token = made.stdout.split()[0]
    assert re.fullmatch(r"mm_[a-z2-7]{12}_[\w-]{43}", token)
    key_id = token.split("_")[1]
    listed = _medmirror(dsn, "keys", "list").stdout
    assert key_id in listed
    assert "every one" in listed
    assert token.split("_", 2)[2] not in listed
    assert _medmirror(dsn, "keys", "rotate", key_id, "--overlap", "2").exit_code == 0
    assert _medmirror(dsn, "keys", "revoke", key_id).exit_code == 0
    states = {one["key_id"]: one["state"] for one in orjson.loads(_medmirror(dsn, "--json", "keys", "list").stdout)}
    assert states.pop(key_id) == "revoked"
    assert list(states.values()) == ["valid"]
    wrong = _medmirror(dsn, "keys", "add", "x", "--scope", "read")
    assert (wrong.exit_code, "--all" in wrong.stderr) == (2, True)


@pytest.mark.parametrize(
    ("where", "open_status", "says"),
    [
        (serving.Where(host="0.0.0.0"), False, "in the clear"),
        (serving.Where(host="clinic.example"), False, "in the clear"),
        (serving.Where(host="::", behind_proxy=True), True, "--open-status"),
        (serving.Where(behind_proxy=True), True, "--open-status"),
        (serving.Where(certificate=Path("a")), False, "--tls-key"),
    ],
)
def test_it_refuses_to_show_anything_to_strangers(where: serving.Where, open_status: bool, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        where.check(open_status)
    for allowed in (serving.Where(), serving.Where(host="::1"), serving.Where(host="0.0.0.0", behind_proxy=True)):
        allowed.check(False)


def test_tls_is_spoken_with_a_certificate(make: Make, tmp_path: Path) -> None:
    world = make(secure=True)
    certificate, key = _certificate(tmp_path)
    trusting = ssl.create_default_context(cafile=str(certificate))
    with serving.http(world.app, serving.Where(port=0, certificate=certificate, key=key)) as address:
        assert address.startswith("https://")
        answer = httpx.get(f"{address}/health", verify=trusting)
        assert answer.json() == {"status": "ok"}
        assert "max-age" in answer.headers["Strict-Transport-Security"]
    with (
        pytest.raises(UsageError, match="PEM"),
        serving.http(world.app, serving.Where(port=0, certificate=key, key=key)),
    ):
        pass


def test_a_head_that_does_not_come_holds_no_connection(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "_HEAD_SECONDS", 1.0)
    whole = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with serving.http(make().app, serving.Where(port=0)) as address:
        place = ("127.0.0.1", int(address.rsplit(":", 1)[1]))
        for begun in (b"", whole[:-3], whole + whole[:-3]):  # none, half of the first, half of the second
            with socket.create_connection(place, timeout=120) as one:
                one.sendall(begun)
                said = b"".join(iter(lambda: one.recv(65536), b""))  # until it is ended
            assert said.count(b"200 OK") == begun.count(whole)
        with httpx.Client(base_url=address) as client:
            assert client.get("/health").status_code == 200
            time.sleep(2)  # between two requests it is left open
            assert client.get("/health").status_code == 200


def test_more_of_headers_than_is_read_is_refused(make: Make) -> None:
    answer = make().client.get("/health", headers={"X-A": "a" * 20_000})
    assert answer.status_code == 431


def test_an_address_that_is_taken_is_said(make: Make) -> None:
    world = make()
    port = world.client.base_url.port
    assert port is not None
    with pytest.raises(UsageError, match="Cannot listen"), serving.http(world.app, serving.Where(port=port)):
        pass


def _certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that nobody signed, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now, day = datetime.now(UTC), timedelta(days=1)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now - day).not_valid_after(now + day)
    names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    made = builder.add_extension(names, critical=False).sign(key, hashes.SHA256())
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (folder / "cert.pem").write_bytes(made.public_bytes(pem))
    (folder / "key.pem").write_bytes(key.private_bytes(pem, form, serialization.NoEncryption()))
    return folder / "cert.pem", folder / "key.pem"
