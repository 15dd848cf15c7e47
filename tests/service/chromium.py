"""A headless Chromium, steered over its own pipe: pages at any width, in light and dark, and pictures of them."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")


def found() -> str | None:
    """The program; None where there is none."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


class Page:
    """A page of the browser. Chromium's DevTools protocol: JSON, ended by a zero byte, through two pipes."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands, self._answers = commands, answers
        self._rest = b""
        self._last = 0
        self._events: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session: str | None = None
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.call("Page.enable")

    def call(self, method: str, **params: Any) -> Any:
        """What the browser answers to *method*; RuntimeError when it refuses."""
        self._last += 1
        message = {"id": self._last, "method": method, "params": params}
        if getattr(self, "_session", None):
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._last:
                if "error" in answer:
                    raise RuntimeError(answer["error"]["message"])
                return answer["result"]
            self._events.append(answer.get("method", ""))

    def _read(self) -> Any:
        while b"\0" not in self._rest:
            piece = os.read(self._answers, 1 << 16)
            if not piece:
                raise RuntimeError("Chromium ended")
            self._rest += piece
        text, _, self._rest = self._rest.partition(b"\0")
        return json.loads(text)

    def _loaded(self) -> None:
        while "Page.loadEventFired" not in self._events:
            self._events.append(self._read().get("method", ""))

    def open(self, url: str, width: int, *, dark: bool = False) -> None:
        """Show *url* in a window *width* CSS pixels wide."""
        phone = width < 600
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=844 if phone else 900,
                  deviceScaleFactor=1, mobile=phone)  # fmt: skip
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=scheme)
        self._events.clear()
        self.call("Page.navigate", url=url)
        self._loaded()

    def submit(self, key: str) -> None:
        """Put *key* into the form and send it off; returns when the next page is there."""
        self._events.clear()
        typed = json.dumps(key)
        self.ask(f"document.getElementById('key').value = {typed}; document.querySelector('form.login').submit()")
        self._loaded()

    def ask(self, expression: str) -> Any:
        """The value of a JavaScript *expression* on the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"]["text"])
        return answer["result"].get("value")

    def picture(self) -> bytes:
        """All of the page as PNG."""
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        return base64.b64decode(shot["data"])


def _at_3_and_4(commands: int, answers: int) -> None:
    """Put the pipes where Chromium looks for them."""
    high = [fcntl.fcntl(one, fcntl.F_DUPFD, 10) for one in (commands, answers)]  # or one would be put over the other
    os.dup2(high[0], 3)
    os.dup2(high[1], 4)


@contextmanager
def browser(program: str) -> Iterator[Page]:
    """A page for as long as a `with` lasts."""
    profile = Path(tempfile.mkdtemp(prefix="medmirror-chromium-"))
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
             "--hide-scrollbars", "--disable-background-networking", f"--user-data-dir={profile}",
             "--remote-debugging-pipe", "about:blank"]  # fmt: skip
    with subprocess.Popen(
        [program, *flags],
        preexec_fn=partial(_at_3_and_4, theirs_in, theirs_out),
        pass_fds=(3, 4),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        os.close(theirs_in)
        os.close(theirs_out)
        try:
            page = Page(ours_out, ours_in)
            yield page
        finally:
            process.terminate()
            process.wait(60)
            os.close(ours_out)
            os.close(ours_in)
            shutil.rmtree(profile, ignore_errors=True)
