"""What an audit says: checks, and what was found wrong. Imports nothing of ours."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple


class Finding(NamedTuple):
    """Something that does not add up: which check found it, where, what is wrong, what to do about it."""

    check: str
    where: str
    what: str
    advice: str


class Check(NamedTuple):
    """One thing that was checked, how many were looked at, how many of them are wrong."""

    what: str
    looked_at: int
    wrong: int


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What an audit found. At most some findings of each check are told; ``checks`` counts all. *warnings* are no
    faults of the mirror, but worth a look."""

    checks: list[Check] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether everything adds up."""
        return not any(check.wrong for check in self.checks)

    def as_dict(self) -> dict[str, Any]:
        """The report as plain values, for JSON."""
        named = {name: [one._asdict() for one in some] for name, some in asdict(self).items()}
        return {"ok": self.ok, **named}
