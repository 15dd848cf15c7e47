"""Log lines on stderr: for people, or one JSON object a line for machines; never through a progress bar."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime

import orjson

_TEXT = "%(asctime)s %(levelname)s %(message)s"


class JsonLines(logging.Formatter):
    """A record as one JSON object: time, level, logger, message, and what was passed as *extra* under ``facts``."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "facts", {}),
        }
        if record.exc_info and record.exc_info[0]:
            line["error"] = record.exc_info[0].__name__  # the class only: its text may quote a row
        return orjson.dumps(line, default=str).decode()


class _AboveBar(logging.Handler):
    """Writes to the stderr of the moment; a progress bar on it is taken away for the line and put back below it."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
            if "tqdm" in sys.modules:
                from tqdm import tqdm

                tqdm.write(line, file=sys.stderr)
            else:
                sys.stderr.write(line + "\n")
                sys.stderr.flush()
        except Exception:  # noqa: BLE001 - as logging's own handlers do: a log line never ends a load
            self.handleError(record)


def set_up(level: str, *, as_json: bool, quiet: bool) -> None:
    """Log medmirror's records of *level* and above to stderr; *quiet*: nothing below WARNING."""
    handler = _AboveBar()
    handler.setFormatter(JsonLines() if as_json else logging.Formatter(_TEXT, "%H:%M:%S"))
    logger = logging.getLogger("medmirror")
    logger.handlers = [handler]
    logger.propagate = False
    logger.setLevel(max(logging.getLevelNamesMapping()[level], logging.WARNING if quiet else 0))
