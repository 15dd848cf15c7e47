"""A table of a practice system's database, looked at: which columns it has, how they are read, what it is paged by.

Pages are only made by columns that the server itself keeps unique and never NULL, of types whose ``>`` goes by the
order of ORDER BY (``databasetypes.pages``): two keys that differ in our eyes and not in the server's (case, trailing
blanks) can then not stand side by side, and no row is passed over or read twice.
"""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Text,
    bindparam,
    cast,
    column,
    func,
    inspect,
    or_,
    select,
    table,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.dialects.postgresql import DOMAIN
from sqlalchemy.engine.interfaces import ReflectedColumn, ReflectedIndex
from sqlalchemy.engine.reflection import Inspector
from sqlalchemy.exc import DBAPIError, NoSuchTableError, SAWarning
from sqlalchemy.types import NullType, String, to_instance

from medmirror.errors import LayoutChanged, UsageError
from medmirror.readers.database import errors as databaseerrors
from medmirror.readers.database import session as database
from medmirror.readers.database.types import Convert, as_text, converter, pages

_NOT_ALLOWED = 1142  # MySQL
_MYSQL_TYPES: dict[str, Any] = mysql.dialect.ischema_names
_SNAPSHOTS = {"innodb", "rocksdb", "tokudb"}  # MySQL's engines that have them


class Comparison(NamedTuple):
    """A column, how it is compared (``=``, ``<>``, ``<``, ``<=``, ``>``, ``>=``, ``in``, ``null``), and with what."""

    column: str
    how: str
    value: Any


class Table(NamedTuple):
    """What is to be read of a table. *needed*: columns that are read in any case. *columns*: none means all."""

    name: str
    schema: str | None
    needed: tuple[str, ...]
    columns: tuple[str, ...] = ()
    where: tuple[Comparison, ...] = ()

    @property
    def shown(self) -> str:
        """Its name as people write it."""
        return f"{self.schema}.{self.name}" if self.schema else self.name


class Plan(NamedTuple):
    """How a table is read. *order* are the places of the columns that it is paged by, none when it is not.

    *apart*: why what is read of it need not be of one moment, although the session's snapshot is; empty: it is.
    """

    table: Table
    names: tuple[str, ...]
    converts: tuple[tuple[str, Convert], ...]
    query: Select[Any]
    total: Select[Any]
    order: tuple[int, ...]
    columns: tuple[ColumnElement[Any], ...]
    by_row: bool  # whether the server goes through an index for (a, b) > (1, 2)
    apart: str


def look(snapshot: database.Snapshot, wanted: Table) -> Plan:
    """How *wanted* is read. Raises LayoutChanged when it, or a column of it, is not there; SQLAlchemy's DBAPIError."""
    with warnings.catch_warnings():  # of types and indexes that SQLAlchemy does not know: they are no trouble
        warnings.simplefilter("ignore", SAWarning)
        return _look(snapshot, wanted)


def _look(snapshot: database.Snapshot, wanted: Table) -> Plan:
    inspector = inspect(snapshot.connection)
    backend = snapshot.connection.dialect.name
    looked = True
    try:
        found = {one["name"]: _based(one) for one in inspector.get_columns(wanted.name, schema=wanted.schema)}
    except NoSuchTableError:
        raise LayoutChanged("There is no table of this name.", table=wanted.shown) from None
    except DBAPIError as error:  # who may read a view of MySQL's may not be allowed to see what it is made of
        found = _listed(snapshot.connection, wanted) if databaseerrors.facts(error).get("code") == _NOT_ALLOWED else {}
        looked = False
        if not found:
            raise
    _all_there(wanted, found)
    names = tuple(name for name in found if not wanted.columns or name in (*wanted.columns, *wanted.needed))
    source = table(wanted.name, *(column(name, NullType()) for name in found), schema=wanted.schema)
    read = [_read(source.c[name], found[name], backend) for name in names]
    where = [_condition(source.c[one.column], found[one.column], one) for one in wanted.where]
    order = _order(inspector, wanted, found, backend) if looked else ()
    behind = [name for name in order if name not in names]
    converts = {name: converter(found[name]["type"], backend) for name in names}
    return Plan(
        wanted,
        names,
        tuple((name, convert) for name, convert in converts.items() if convert),
        select(*read, *(source.c[name] for name in behind)).select_from(source).where(*where),
        select(func.count()).select_from(source).where(*where),
        tuple([*names, *behind].index(name) for name in order),
        tuple(source.c[name] for name in order),
        backend in ("postgresql", "sqlite"),
        _apart(inspector, wanted, backend) if looked else "",
    )


def _listed(connection: Connection, wanted: Table) -> dict[str, ReflectedColumn]:
    """The columns as MySQL lists them for everybody who may read them."""
    names = ("column_name", "data_type", "numeric_precision", "table_schema", "table_name", "ordinal_position")
    columns = table("columns", *map(column, names), schema="information_schema").c
    schema = func.database() if wanted.schema is None else bindparam("schema", wanted.schema)
    query = select(columns.column_name, columns.data_type, columns.numeric_precision)
    query = query.where(columns.table_schema == schema, columns.table_name == wanted.name)
    found: dict[str, ReflectedColumn] = {}
    for name, kind, precision in connection.execute(query.order_by(columns.ordinal_position)):
        made = mysql.BIT(precision) if kind == "bit" else to_instance(_MYSQL_TYPES.get(kind, NullType))
        found[name] = {"name": name, "type": made, "nullable": True, "default": None}
    return found


def _based(one: ReflectedColumn) -> ReflectedColumn:
    """*one* with the type that its values have: that below a domain."""
    while isinstance(one["type"], DOMAIN):
        one["type"] = one["type"].data_type
    return one


def _all_there(wanted: Table, found: dict[str, ReflectedColumn]) -> None:
    for name in (*wanted.needed, *wanted.columns, *(one.column for one in wanted.where)):
        if name not in found:
            near = next((other for other in found if other.lower() == name.lower()), None)
            hint = f"it is written {near}" if near else f"there are {', '.join(found)}"
            raise LayoutChanged(f"There is no column {name}; {hint}.", table=wanted.shown)


def _read(one: ColumnElement[Any], known: ReflectedColumn, backend: str) -> ColumnElement[Any]:
    text = Text() if backend == "postgresql" else String()
    return cast(one, text).label(known["name"]) if as_text(known["type"], backend) else one


def _condition(one: ColumnElement[Any], known: ReflectedColumn, wanted: Comparison) -> ColumnElement[Any]:
    if wanted.how == "null":
        return one.is_(None) if wanted.value else one.is_not(None)
    values = wanted.value if wanted.how == "in" else [wanted.value]
    if isinstance(known["type"], String) and not all(isinstance(value, str) for value in values):
        # MySQL would turn the texts into numbers, and every text without digits into 0.
        raise UsageError(f"Column {wanted.column} holds text: compare it with text, in quotation marks.")
    bound = [bindparam(None, value, type_=NullType()) for value in values]
    return or_(*(one == value for value in bound)) if wanted.how == "in" else one.op(wanted.how)(bound[0])


def _order(inspector: Inspector, wanted: Table, found: dict[str, ReflectedColumn], backend: str) -> tuple[str, ...]:
    """The columns to page by: the key, when the server keeps it unique, or the primary key; none when neither will do.

    Any set of columns that contains a unique one is unique, but only an index in their order makes paging fast: so the
    index's own columns are taken.
    """
    name, schema = wanted.name, wanted.schema
    primary = inspector.get_pk_constraint(name, schema=schema)["constrained_columns"]
    unique = [_columns(index) for index in inspector.get_indexes(name, schema=schema)]
    if backend == "sqlite":  # the others list a constraint's index among the indexes
        unique += [one["column_names"] for one in inspector.get_unique_constraints(name, schema=schema)]
    usable = [
        tuple(columns)
        for columns in [primary, *unique]
        if columns and all(not found[one]["nullable"] and pages(found[one]["type"], backend) for one in columns)
    ]
    return next((columns for columns in usable if set(columns) <= set(wanted.needed)), usable[0] if usable else ())


def _columns(index: ReflectedIndex) -> list[str]:
    """The columns of *index*; none unless it keeps whole values unique in all rows: not their beginnings, not
    expressions, not some rows."""
    options = index.get("dialect_options", {})
    partial = any(
        (name.endswith("_length") and value) or (name.endswith("_where") and value is not None)
        for name, value in options.items()
    )
    names = [name for name in index["column_names"] if name is not None]
    return names if index["unique"] and not partial and len(names) == len(index["column_names"]) else []


def _apart(inspector: Inspector, wanted: Table, backend: str) -> str:
    if backend not in ("mysql", "mariadb"):
        return ""
    try:
        engine = inspector.get_table_options(wanted.name, schema=wanted.schema).get("mysql_engine", "InnoDB")
    except NoSuchTableError:  # a view
        return ""
    return "" if str(engine).lower() in _SNAPSHOTS else f"the table's engine, {engine}, has no snapshots"


def count(snapshot: database.Snapshot, plan: Plan) -> int:
    """How many rows there are to be read. Raises DBAPIError."""
    return int(snapshot.connection.execute(plan.total).scalar_one())
