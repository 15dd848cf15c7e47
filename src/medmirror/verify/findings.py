"""The report of an audit: its checks and its findings. Imports nothing of ours."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple


class Finding(NamedTuple):
    """A fault: the check that met it, where it is, what is wrong, and what to do about it."""

    check: str
    where: str
    what: str
    advice: str


class Check(NamedTuple):
    """A check: what must hold, how many were looked at, and how many of them are wrong."""

    what: str
    looked_at: int
    wrong: int


@dataclass(frozen=True, slots=True)
class AuditReport:
    """The outcome of an audit.

    ``checks`` counts every fault; ``findings`` describes at most 20 of each check. ``warnings`` are worth a look, but
    no faults of the mirror.
    """

    checks: list[Check] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether everything adds up."""
        return not any(check.wrong for check in self.checks)

    def as_dict(self) -> dict[str, Any]:
        """The report as plain values, for JSON."""
        named = {name: [entry._asdict() for entry in entries] for name, entries in asdict(self).items()}
        return {"ok": self.ok, **named}
