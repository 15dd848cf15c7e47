"""A live minute: a clinic's practice system (a local one), `medmirror serve`, a change made there, and the mirror that
has it.

Run by ``scripts/demo``, or alone on the database that MEDMIRROR_HOME or MEDMIRROR_DSN names: ``python
scripts/live.py``.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from medmirror.service.webhooks import key_of, sign
from medmirror_testing import ending
from medmirror_testing.servers.clinikodata import Account
from medmirror_testing.servers.clinikoserver import KEY, ClinikoServer

ORG = "live_clinic"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WORDS = {200: ": the scheduler has had it done already", 409: " runs: the scheduler was quicker"}
SHOWN = "SELECT tombstone, cancelled_at IS NOT NULL FROM cliniko.appointments WHERE organization_id = %s AND id = %s"


def live(folder: Path) -> None:
    """Run the live minute; write the picture of the status page to *folder* if there is a browser to draw it."""
    account = Account()
    account.fill(patients=120, appointments=400)
    webhook = secrets.token_urlsafe(24)
    os.environ |= {"LIVE_CLINIKO_KEY": KEY, "LIVE_WEBHOOK_SECRET": webhook}
    with ClinikoServer(account) as cliniko:
        print(f"A practice system at {cliniko.url}: {len(account.ids('patient'))} patients, made up.")
        issued = json.loads(_medmirror("keys", "add", "demo", "--scope", "read", "--scope", "sync", "--all", "--json"))
        with _serving() as address:  # first, so that its scheduler is seldom quicker than we are
            _medmirror(
                *("organizations", "add", ORG, "--remote", "cliniko", "--secret", "env:LIVE_CLINIKO_KEY"),
                *("--webhook-secret", "env:LIVE_WEBHOOK_SECRET", "--zone", "Australia/Sydney"),
                *("--set", f"url={cliniko.url}", "--set", "user_agent=Demo (demo@medmirror.example)"),
            )
            api = f"{address}/api/v1/cliniko"
            key = {"Authorization": f"Bearer {issued['token']}"}
            _first_sync(api, key)
            _change(account, api, webhook)
            _picture(address, folder)


def _first_sync(api: str, key: Mapping[str, str]) -> None:
    print("\nThe first sync, asked for over HTTP; it reads everything:")
    status, answer = _ask(f"{api}/sync/{ORG}?mode=incremental", key, b"")
    job = answer["job_id"] if status == 409 else answer["job"]["job_id"]  # 409: the scheduler has begun it already
    print(f"  POST /api/v1/cliniko/sync/{ORG} -> {status}, job {job}{WORDS.get(status, '')}")
    for _ in range(300):
        _, state = _ask(f"{api}/status/{ORG}?include_logs=true", key)
        if state["organization"]["freshness"] == "fresh":
            print(f"  GET  /api/v1/cliniko/status/{ORG} -> fresh")
            return
        time.sleep(0.2)
    sys.exit("The first sync did not end; see the messages above.")


def _change(account: Account, api: str, webhook: str) -> None:
    print("\nAt the clinic somebody cancels an appointment. Its system sends a signed webhook:")
    id = sorted(account.ids("appointment"))[7]
    began = time.perf_counter()
    account.cancel(id)
    body, event, now = b'{"type":"individual_appointment.updated"}', secrets.token_hex(8), str(int(time.time()))
    headers = {"webhook-id": event, "webhook-timestamp": now}
    headers["webhook-signature"] = sign(key_of(webhook), event, now, body)
    status, _ = _ask(f"{api}/webhooks/{ORG}", headers, body)
    print(f"  POST /api/v1/cliniko/webhooks/{ORG} -> {status}")
    with psycopg.connect(_url(), autocommit=True) as conn:
        for _ in range(600):
            row = conn.execute(SHOWN, [ORG, id]).fetchone()  # type: ignore[arg-type]
            if row is not None and row[1]:
                print(f"  in the mirror after {time.perf_counter() - began:.1f} s: cancelled, state {row[0]}")
                return
            time.sleep(0.1)
    sys.exit("The change did not appear; see the messages above.")


def _picture(address: str, folder: Path) -> None:
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if browser is None:
        print(f"\nThe status page is at {address}/ (no Chromium here to draw it).")
        return
    picture = folder / "medmirror-status.png"
    with tempfile.TemporaryDirectory() as profile:
        options = ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1200,1400")
        command = [browser, *options, f"--user-data-dir={profile}", f"--screenshot={picture}", f"{address}/"]
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60, check=False)
    print(f"\nThe status page, as Chromium draws it: {picture}" if picture.exists() else "\nChromium drew nothing.")


@contextmanager
def _serving() -> Iterator[str]:
    """Run `medmirror serve` on a free port, with the status page open to this machine; stop it as an operator would."""
    command = [sys.executable, "-m", "medmirror", "serve", "--port", "0", "--open-status", "--log-level", "WARNING"]
    print("$ medmirror serve --port 0 --open-status")
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    assert process.stderr is not None
    try:
        address = ""
        for line in process.stderr:
            print(f"  {line.rstrip()}")
            match = re.search(r"serves at (\S+)", line)
            address = match[1] if match else address
            if address and "keys add" in line:
                break
        if not address:
            sys.exit("`medmirror serve` ended before it served.")
        threading.Thread(target=_repeat, args=(process.stderr,), daemon=True).start()
        yield address
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


def _repeat(lines: Iterable[str]) -> None:
    """Print the warnings of `medmirror serve`: they tell why a change did not come."""
    for line in lines:
        if "WARNING" in line or "ERROR" in line:
            print(f"  {line.rstrip()}", flush=True)


def _ask(url: str, headers: Mapping[str, str], body: bytes | None = None) -> tuple[int, dict[str, Any]]:
    request = urllib.request.Request(url, data=body, headers=dict(headers), method="GET" if body is None else "POST")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        if error.code == 409:  # a sync runs
            return error.code, json.loads(error.read())
        sys.exit(f"{request.get_method()} {url}: {error.code} {error.read().decode()[:300]}")


def _medmirror(*words: str) -> str:
    """Run the command, showing it; return what it prints."""
    print(f"$ medmirror {shlex.join(words)}", flush=True)
    done = subprocess.run([sys.executable, "-m", "medmirror", *words], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(done.returncode)
    return done.stdout


def _url() -> str:
    command = [sys.executable, "-m", "medmirror", "db", "url"]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=Path.cwd(), help="where the picture goes")
    with ending.in_order():
        live(parser.parse_args().folder)
