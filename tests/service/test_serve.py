"""`medmirror serve` and `medmirror keys` as people run them: real processes, real signals."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import orjson
import pytest
from sqlalchemy import Engine
from worlds import OURS, organization

from medmirror.errors import UsageError
from medmirror.service import serving


def _medmirror(dsn: str, *args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "medmirror", "--dsn", dsn, *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


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


def _until(done: object, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not done():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.1)


def test_one_process_answers_works_and_stops_cleanly(dsn: str, engine: Engine) -> None:
    organization(engine, OURS, secret="env:TEST_KEY")
    added = _medmirror(dsn, "--json", "keys", "add", "test", "--scope", "read", "--scope", "sync", "--org", OURS)
    key = {"Authorization": f"Bearer {orjson.loads(added.stdout)['token']}"}
    with _serving(dsn, "--workers", "1", "--open-status") as (process, address):
        assert httpx.get(f"{address}/ready").status_code == 200
        assert OURS in httpx.get(f"{address}/").text
        assert httpx.get(f"{address}/", headers={"Host": "evil.example"}).status_code == 400
        asked = httpx.post(f"{address}/api/v1/cliniko/sync/{OURS}", headers=key)
        assert asked.status_code == 202
        place = address + asked.headers["Location"]
        _until(lambda: httpx.get(place, headers=key).json()["log"])  # a worker took it
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{address}/health")


def test_keys_are_made_listed_rotated_and_revoked(dsn: str) -> None:
    made = _medmirror(dsn, "keys", "add", "lab robot", "--scope", "read", "--all")
    token = made.stdout.split()[0]
    assert re.fullmatch(r"mm_[a-z2-7]{12}_[\w-]{43}", token)
    key_id = token.split("_")[1]
    listed = _medmirror(dsn, "keys", "list").stdout
    assert key_id in listed
    assert "every one" in listed
    assert token.split("_", 2)[2] not in listed
    assert _medmirror(dsn, "keys", "rotate", key_id, "--overlap", "2").returncode == 0
    assert _medmirror(dsn, "keys", "revoke", key_id).returncode == 0
    states = {one["key_id"]: one["state"] for one in orjson.loads(_medmirror(dsn, "--json", "keys", "list").stdout)}
    assert states.pop(key_id) == "revoked"
    assert list(states.values()) == ["valid"]
    wrong = _medmirror(dsn, "keys", "add", "x", "--scope", "read")
    assert (wrong.returncode, "--all" in wrong.stderr) == (2, True)


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


def test_tls_is_spoken_and_demanded(dsn: str, tmp_path: Path) -> None:
    from datetime import UTC, datetime, timedelta
    from ipaddress import ip_address

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = (
        builder.serial_number(1).not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    )
    names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    certificate = builder.add_extension(names, critical=False).sign(key, hashes.SHA256())
    (tmp_path / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    form = serialization.PrivateFormat.PKCS8
    (tmp_path / "key.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, form, plain))
    tls = ["--tls-cert", str(tmp_path / "cert.pem"), "--tls-key", str(tmp_path / "key.pem")]
    with _serving(dsn, "--workers", "0", "--no-scheduler", *tls) as (process, address):
        assert address.startswith("https://")
        import ssl

        trusting = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
        answer = httpx.get(f"{address}/health", verify=trusting)
        assert answer.json() == {"status": "ok"}
        assert "max-age" in answer.headers["Strict-Transport-Security"]
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    refused = _medmirror("postgresql://nobody@127.0.0.1:1/none", "serve", "--host", "0.0.0.0")
    assert (refused.returncode, "in the clear" in refused.stderr) == (2, True)
    broken = _medmirror(dsn, "serve", "--port", "0", "--tls-cert", tls[3], "--tls-key", tls[3])
    assert (broken.returncode, "PEM" in broken.stderr) == (2, True)
