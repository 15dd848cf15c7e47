"""Every setting: the only place where the environment is read.

A group is a frozen, picklable value; ``read`` makes it from the environment. A worker process gets the parent's
Settings with its first chunk and never looks at the environment itself, so that all processes of a run agree even when
the environment changes under them.
"""

from medmirror.settings.environment import child_environment, lookup
from medmirror.settings.groups import (
    MappingSettings,
    NativeSettings,
    PayloadSettings,
    QueueSettings,
    ScheduleSettings,
    ServiceSettings,
    SourceSettings,
)
from medmirror.settings.kinds import KIB, MIB, is_ambiguous, mask_password
from medmirror.settings.loading import Settings
from medmirror.settings.machine import default_home, default_workers, usable_cpus
from medmirror.settings.registry import read

__all__ = [
    "KIB",
    "MIB",
    "MappingSettings",
    "NativeSettings",
    "PayloadSettings",
    "QueueSettings",
    "ScheduleSettings",
    "ServiceSettings",
    "Settings",
    "SourceSettings",
    "child_environment",
    "default_home",
    "default_workers",
    "is_ambiguous",
    "lookup",
    "mask_password",
    "read",
    "usable_cpus",
]
