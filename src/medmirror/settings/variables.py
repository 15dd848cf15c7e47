"""What is known of one variable of the environment: its name, kind of value, default and meaning."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from medmirror.errors import UsageError
from medmirror.settings.kinds import Kind

PREFIX = "MEDMIRROR_"


@dataclass(frozen=True, slots=True)
class Variable:
    """One variable of the environment. *shown*: the default in words. *secret*: no message may quote its value."""

    name: str
    kind: Kind
    shown: str
    about: str
    secret: bool = False

    def convert(self, value: Any, source: str = "") -> Any:
        """The value that *value* stands for.

        Raises UsageError, which names *source* (default: the variable), the problem and an example of a right value.
        """
        try:
            return self.kind.convert(value)
        except (ValueError, TypeError, OverflowError):
            quoted = "" if self.secret else f" {str(value)!r}"
            raise UsageError(
                f"{source or self.name}: the value{quoted} is not {self.kind.accepts}, for example {self.kind.example}."
            ) from None

    def given(self, environ: Mapping[str, str]) -> str | None:
        """Its text in *environ*; None when it is not set, empty or blank."""
        value = environ.get(self.name)
        return value if value and not value.isspace() else None


def variable(
    name: str,
    kind: Kind,
    about: str,
    *,
    default: Any = None,
    factory: Callable[[], Any] | None = None,
    shown: str = "none",
    secret: bool = False,
) -> Any:
    """A field of a group, which the variable *name* fills; *shown* is its default in words.

    A secret is not in the group's repr.
    """
    metadata = {"variable": Variable(name, kind, shown, about, secret)}
    if factory is not None:
        return field(default_factory=factory, metadata=metadata)
    return field(default=default, repr=not secret, metadata=metadata)


def variables_of(group: type[Any]) -> dict[str, Variable]:
    """The variables of *group*, by the name of their field, in order."""
    return {each.name: each.metadata["variable"] for each in fields(group) if "variable" in each.metadata}
