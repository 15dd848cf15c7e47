"""What the TOML file of a nightly says, as frozen values. Every wrong key or value is a UsageError."""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass, field
from datetime import time
from pathlib import Path
from zoneinfo import ZoneInfo

from medmirror import sources
from medmirror.dates import zones
from medmirror.errors import UsageError
from medmirror.ingest import deletions
from medmirror.nightly.tables import Table

_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]*"
_ORGANIZATION = r"[^\x00-\x1f/\\]+"
_VARIABLE = r"[A-Za-z_][A-Za-z0-9_]*"


@dataclass(frozen=True, slots=True)
class Limits:
    """What all parts together keep to. *cpu*: per cent of all processors that the machine may be busy with us running;
    None: as many as the settings and the parts need."""

    cpu: int = 60
    workers: int | None = None
    connections: int | None = None
    statement_timeout: float = 600.0  # seconds


@dataclass(frozen=True, slots=True)
class When:
    """When a part may begin: not before *start* (time of day) of the night; a *heavy* one never beside another."""

    enabled: bool = True
    heavy: bool = False
    start: time | None = None


@dataclass(frozen=True, slots=True)
class Load:
    """A table ``[load.NAME]``: inputs of one source; one part of the night for each of its organizations."""

    name: str
    source: str
    organizations: tuple[str, ...]
    paths: tuple[str, ...]
    mapping: tuple[Path, ...]
    url_env: str | None
    after: tuple[str, ...]
    when: When
    workers: int | None
    may_be_empty: bool = False  # a path that names no file is no error


@dataclass(frozen=True, slots=True)
class Deletions:
    """Whether, and within which limits, records that a whole pass did not show are taken for deleted."""

    when: When
    limits: deletions.Limits = field(default_factory=deletions.Limits)


@dataclass(frozen=True, slots=True)
class Config:
    """A nightly, as its file says. *digest* is that of the file and of every mapping file that it names."""

    path: Path
    digest: str
    name: str
    at: time
    until: time | None
    zone: ZoneInfo
    receipts: Path
    limits: Limits
    loads: tuple[Load, ...]
    deletions: Deletions
    map: When
    dedup: When
    index: When

    @property
    def folder(self) -> Path:
        """Where relative paths begin: the folder of the file."""
        return self.path.parent


def read(path: Path) -> Config:
    """The nightly in the file *path*. Raises UsageError, naming file, table and key, with an example."""
    try:
        content = path.read_bytes()
        document = tomllib.loads(content.decode("utf-8"))
    except OSError:
        raise UsageError(f"{path} cannot be read; name a TOML file, for example nightly.toml.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not TOML: {error}.") from None
    top = Table(str(path), "", document)
    own = top.table("nightly")
    name = own.text("name", '"clinics"', _NAME) or path.stem
    at, until = own.clock("at", '"02:00"') or time(2, 0), own.clock("until", '"05:30"')
    zone = _zone(own)
    receipts = path.absolute().parent / (own.text("receipts", '"receipts"') or "receipts")
    own.end()
    limits = _limits(top.table("limits"))
    table = top.table("load")
    loads = tuple(_load(table.table(name), name, path.parent) for name in table.names())
    stages = {name: _stage(top.table(name)) for name in ("map", "dedup", "index")}
    inferring = _deletions(top.table("deletions"))
    top.end()
    if not loads:
        raise UsageError(f'{path}: there is nothing to load; write for example [load.pubmed] and paths = ["pubmed/"]')
    _check_after(str(path), loads)
    digest = _digest(content, loads)
    return Config(path.absolute(), digest, name, at, until, zone, receipts, limits, loads, inferring, **stages)


def _zone(own: Table) -> ZoneInfo:
    name = own.text("zone", '"Europe/Berlin"') or "UTC"
    try:
        return zones.zone(name)
    except ValueError:
        own.wrong("zone", f"{name!r} is no time zone", '"Europe/Berlin"')


def _limits(table: Table) -> Limits:
    limits = Limits(
        cpu=table.whole("cpu", 5, 100, "60") or 60,
        workers=table.whole("workers", 1, 1024, "4"),
        connections=table.whole("connections", 4, 10_000, "12"),
        statement_timeout=table.seconds("statement_timeout", 600.0, '"10m"'),
    )
    table.end()
    return limits


def _when(table: Table) -> When:
    return When(table.flag("enabled", True), table.flag("heavy", False), table.clock("start", '"03:00"'))


def _stage(table: Table) -> When:
    when = _when(table)
    table.end()
    return when


def _deletions(table: Table) -> Deletions:
    when = _when(table)
    count = _or(table.whole("count", 0, 1_000_000_000, "10"), 10)
    share = table.number("share", 1.0, 0, 100, "1.0")
    table.end()
    return Deletions(when, deletions.Limits(count, share))


def _or(value: int | None, default: int) -> int:
    return default if value is None else value


def _load(table: Table, name: str, folder: Path) -> Load:
    if "/" in name or not name:
        raise UsageError(f"{table.file}: [load.{name}] is not a name; write for example [load.pubmed]")
    source = table.text("source", '"pubmed"') or name
    if source not in sources.names():
        names = ", ".join(sources.names())
        table.wrong("source", f"{source!r} is none of the sources {names}", f'"{sources.names()[0]}"')
    single = table.text("organization", '"org_123"', _ORGANIZATION)
    several = table.texts("organizations", '["org_123", "org_456"]', _ORGANIZATION)
    mapping = table.texts("mapping", '["patients.toml"]')
    load = Load(
        name=name,
        source=source,
        organizations=(single,) if single else several,
        paths=table.texts("paths", '["exports/"]'),
        mapping=tuple(folder.absolute() / name for name in mapping),
        url_env=table.text("url_env", '"CLINIC_URL"', _VARIABLE, secret=True),
        after=table.texts("after", '["patients"]'),
        when=_when(table),
        workers=table.whole("workers", 1, 1024, "2"),
        may_be_empty=table.flag("may_be_empty", False),
    )
    table.end({"url": 'a URL may hold a password: name the environment variable that has it, url_env = "CLINIC_URL"'})
    if single and several:
        table.wrong("organizations", "organization is given, too", '["org_123", "org_456"]')
    _check_inputs(table, load)
    return load


def _check_inputs(table: Table, load: Load) -> None:
    tenant = sources.get(load.source).tenant
    if tenant and not load.organizations:
        table.wrong("organization", f"records of {load.source} belong to one", '"org_123"')
    if load.organizations and not tenant:
        table.wrong("organization", f"records of {load.source} belong to nobody; leave it out of this table", '""')
    if not load.paths and not load.url_env:
        table.wrong("paths", "nothing says where the records are", '["exports/"]')
    if load.paths and load.url_env:
        table.wrong("paths", "url_env is given, too; make two tables", '["exports/"]')
    if len(load.organizations) > 1 and load.paths and not all("{organization}" in path for path in load.paths):
        table.wrong("paths", "each of several organizations needs paths of its own", '["exports/{organization}/"]')
    for path in load.mapping:
        if not path.is_file():
            table.wrong("mapping", f"there is no file {path}", '["patients.toml"]')


def _check_after(file: str, loads: tuple[Load, ...]) -> None:
    names = {load.name for load in loads}
    for load in loads:
        for name in load.after:
            if name not in names or name == load.name:
                where = f"{file}: [load.{load.name}] after"
                raise UsageError(f"{where}: {name!r} is none of the other loads: {', '.join(sorted(names))}.")


def _digest(content: bytes, loads: tuple[Load, ...]) -> str:
    digest = hashlib.sha256(content)
    for path in (path for load in loads for path in load.mapping):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
