"""Every variable of the environment, and what reads a group of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from medmirror.errors import UsageError
from medmirror.settings import kinds
from medmirror.settings.environment import process_environment, refuse_misspelt
from medmirror.settings.groups import (
    MappingSettings,
    NativeSettings,
    PayloadSettings,
    QueueSettings,
    ScheduleSettings,
    ServiceSettings,
    SourceSettings,
)
from medmirror.settings.loading import Settings
from medmirror.settings.variables import PREFIX, Variable, variables_of

Group = TypeVar("Group")

_NUMBER = kinds.whole(1, 1_000_000, "500")
TOOLS = (
    Variable(
        "MEDMIRROR_VENV",
        kinds.path("/opt/medmirror/venv"),
        "`.venv`",
        "Folder of the environment of `scripts/`.",
    ),
    Variable("MEDMIRROR_TEST_DSN", kinds.DSN, "an embedded Postgres", "Server on which the tests run.", secret=True),
    Variable("MEDMIRROR_TEST_MARK", kinds.text("a text", "x"), "none", "Marks the processes that a test starts."),
    Variable("MEDMIRROR_FUZZ_EXAMPLES", _NUMBER, "8", "Requests to each operation in the fuzzing test of the API."),
    Variable("MEDMIRROR_PICTURES", kinds.path("docs/images"), "none", "Folder where tests keep pictures of pages."),
)
"""Variables of scripts and tests, which the product does not read."""

GROUPS: dict[str, type[Any]] = {
    "The database and loading": Settings,
    "A database as a source": SourceSettings,
    "Mapping": MappingSettings,
    "The scheduler": ScheduleSettings,
    "The service": ServiceSettings,
    "Dead letters": PayloadSettings,
    "Amazon SQS": QueueSettings,
    "The compiled readers": NativeSettings,
}
"""Every group, by its title in docs/settings.md."""

VARIABLES = (*(each for group in GROUPS.values() for each in variables_of(group).values()), *TOOLS)
"""Every variable that medmirror, its scripts or its tests know."""


def read(group: type[Group], environ: Mapping[str, str] | None = None, **overrides: Any) -> Group:
    """*group* from the environment.

    Parameters
    ----------
    group
        The class to make.
    environ
        The environment; by default this process's.
    overrides
        Values by field that stand above the environment; None: not given.

    Raises
    ------
    UsageError
        For a misspelt variable, with the nearest right one; and for a wrong value, naming the variable, what is wrong
        and an example.
    """
    environ = process_environment() if environ is None else environ
    variables = variables_of(group)
    unknown = sorted(set(overrides) - set(variables))
    if unknown:
        raise UsageError(f"There is no setting {unknown[0]!r}; there are {', '.join(variables)}.")
    own = {each.name for each in variables.values()}
    refuse_misspelt(environ, own | {each.name for each in VARIABLES if each.name.startswith(PREFIX)})
    values: dict[str, Any] = {}
    for name, each in variables.items():
        override = overrides.get(name)
        if override is not None:
            values[name] = each.convert(override, f"setting {name}")
        elif (text := each.given(environ)) is not None:
            values[name] = each.convert(text)
    return group(**values)


def check_prefixed(environ: Mapping[str, str] | None, *, without: type[Any]) -> None:
    """Raise UsageError for a wrong value of a variable with our prefix, of any group but *without*."""
    environ = process_environment() if environ is None else environ
    for group in GROUPS.values():
        for each in variables_of(group).values() if group is not without else ():
            if each.name.startswith(PREFIX) and (text := each.given(environ)) is not None:
                each.convert(text)
