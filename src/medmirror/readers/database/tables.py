"""The plan of reading a table of a practice system's database: its columns, their types, the key it is paged by.

Paging needs columns that the server itself keeps unique and never NULL, of types whose ``>`` has the order of ORDER BY
(``types.pages``). Two keys that differ for us but not for the server (case, trailing blanks) cannot both be there then,
and no row is left out or read twice.
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
from medmirror.readers.database import session
from medmirror.readers.database.errors import facts
from medmirror.readers.database.types import Convert, as_text, converter, pages

_NOT_ALLOWED = 1142  # MySQL
_MYSQL_TYPES: dict[str, Any] = mysql.dialect.ischema_names
_SNAPSHOTS = {"innodb", "rocksdb", "tokudb"}  # MySQL's engines that have them


class Comparison(NamedTuple):
    """A comparison of a column with a value. *how*: ``=``, ``<>``, ``<``, ``<=``, ``>``, ``>=``, ``in``, ``null``."""

    column: str
    how: str
    value: Any


class Table(NamedTuple):
    """The part of a table to read. *needed*: columns that are always read. *columns*: an empty tuple means all."""

    name: str
    schema: str | None
    needed: tuple[str, ...]
    columns: tuple[str, ...] = ()
    where: tuple[Comparison, ...] = ()

    @property
    def shown(self) -> str:
        """The table's name for people: SCHEMA.NAME or NAME."""
        return f"{self.schema}.{self.name}" if self.schema else self.name


class Plan(NamedTuple):
    """The plan of reading a table. *order* has the places of the columns that it is paged by; empty: it is not paged.

    *apart*: the reason why its rows may be of different moments in spite of the session's snapshot; empty: they are of
    one moment.
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


def look(snapshot: session.Snapshot, target: Table) -> Plan:
    """The plan of reading *target*.

    Raises LayoutChanged when the table or a column of it is not there, UsageError for a comparison of text with other
    values, and SQLAlchemy's DBAPIError.
    """
    with warnings.catch_warnings():  # of types and indexes that SQLAlchemy does not know: they are no trouble
        warnings.simplefilter("ignore", SAWarning)
        return _look(snapshot, target)


def _look(snapshot: session.Snapshot, target: Table) -> Plan:
    inspector = inspect(snapshot.connection)
    backend = snapshot.connection.dialect.name
    looked = True
    try:
        listed = inspector.get_columns(target.name, schema=target.schema)
        columns = {reflected["name"]: _based(reflected) for reflected in listed}
    except NoSuchTableError:
        raise LayoutChanged("There is no table of this name.", table=target.shown) from None
    except DBAPIError as error:  # who may read a view of MySQL's may not be allowed to see what it is made of
        columns = _listed(snapshot.connection, target) if facts(error).get("code") == _NOT_ALLOWED else {}
        looked = False
        if not columns:
            raise
    _all_there(target, columns)
    names = tuple(name for name in columns if not target.columns or name in (*target.columns, *target.needed))
    source = table(target.name, *(column(name, NullType()) for name in columns), schema=target.schema)
    read = [_read(source.c[name], columns[name], backend) for name in names]
    where = [_condition(source.c[test.column], columns[test.column], test) for test in target.where]
    order = _order(inspector, target, columns, backend) if looked else ()
    behind = [name for name in order if name not in names]
    converts = {name: converter(columns[name]["type"], backend) for name in names}
    return Plan(
        target,
        names,
        tuple((name, convert) for name, convert in converts.items() if convert),
        select(*read, *(source.c[name] for name in behind)).select_from(source).where(*where),
        select(func.count()).select_from(source).where(*where),
        tuple([*names, *behind].index(name) for name in order),
        tuple(source.c[name] for name in order),
        backend in ("postgresql", "sqlite"),
        _apart(inspector, target, backend) if looked else "",
    )


def _listed(connection: Connection, target: Table) -> dict[str, ReflectedColumn]:
    """The columns of *target* by MySQL's information_schema, which lists them to everybody who may read them."""
    names = ("column_name", "data_type", "numeric_precision", "table_schema", "table_name", "ordinal_position")
    columns = table("columns", *map(column, names), schema="information_schema").c
    schema = func.database() if target.schema is None else bindparam("schema", target.schema)
    query = select(columns.column_name, columns.data_type, columns.numeric_precision)
    query = query.where(columns.table_schema == schema, columns.table_name == target.name)
    listed: dict[str, ReflectedColumn] = {}
    for name, kind, precision in connection.execute(query.order_by(columns.ordinal_position)):
        sql_type = mysql.BIT(precision) if kind == "bit" else to_instance(_MYSQL_TYPES.get(kind, NullType))
        listed[name] = {"name": name, "type": sql_type, "nullable": True, "default": None}
    return listed


def _based(reflected: ReflectedColumn) -> ReflectedColumn:
    """*reflected* with the type of its values: below a domain, the domain's base type."""
    while isinstance(reflected["type"], DOMAIN):
        reflected["type"] = reflected["type"].data_type
    return reflected


def _all_there(target: Table, columns: dict[str, ReflectedColumn]) -> None:
    for name in (*target.needed, *target.columns, *(comparison.column for comparison in target.where)):
        if name not in columns:
            near = next((other for other in columns if other.lower() == name.lower()), None)
            hint = f"it is written {near}" if near else f"there are {', '.join(columns)}"
            raise LayoutChanged(f"There is no column {name}; {hint}.", table=target.shown)


def _read(expression: ColumnElement[Any], reflected: ReflectedColumn, backend: str) -> ColumnElement[Any]:
    text = Text() if backend == "postgresql" else String()
    return cast(expression, text).label(reflected["name"]) if as_text(reflected["type"], backend) else expression


def _condition(
    expression: ColumnElement[Any], reflected: ReflectedColumn, comparison: Comparison
) -> ColumnElement[Any]:
    if comparison.how == "null":
        return expression.is_(None) if comparison.value else expression.is_not(None)
    values = comparison.value if comparison.how == "in" else [comparison.value]
    if isinstance(reflected["type"], String) and not all(isinstance(value, str) for value in values):
        # MySQL would turn the texts into numbers, and every text without digits into 0.
        raise UsageError(f"Column {comparison.column} holds text: compare it with text, in quotation marks.")
    bound = [bindparam(None, value, type_=NullType()) for value in values]
    if comparison.how == "in":
        return or_(*(expression == value for value in bound))
    return expression.op(comparison.how)(bound[0])


def _order(inspector: Inspector, target: Table, reflected: dict[str, ReflectedColumn], backend: str) -> tuple[str, ...]:
    """The columns to page by: the key when the server keeps it unique, else the primary key; empty when neither can.

    Any set of columns with a unique one in it is unique, but only an index in their order makes paging fast: so the
    columns of the index are taken.
    """
    name, schema = target.name, target.schema
    primary = inspector.get_pk_constraint(name, schema=schema)["constrained_columns"]
    unique = [_columns(index) for index in inspector.get_indexes(name, schema=schema)]
    if backend == "sqlite":  # the others list a constraint's index among the indexes
        unique += [constraint["column_names"] for constraint in inspector.get_unique_constraints(name, schema=schema)]
    usable = [
        tuple(columns)
        for columns in [primary, *unique]
        if columns
        and all(not reflected[name]["nullable"] and pages(reflected[name]["type"], backend) for name in columns)
    ]
    return next((columns for columns in usable if set(columns) <= set(target.needed)), usable[0] if usable else ())


def _columns(index: ReflectedIndex) -> list[str]:
    """The columns of *index* when it keeps whole values unique in all rows; else an empty list.

    An index over beginnings of values, over expressions or over a part of the rows does not.
    """
    options = index.get("dialect_options", {})
    partial = any(
        (name.endswith("_length") and value) or (name.endswith("_where") and value is not None)
        for name, value in options.items()
    )
    names = [name for name in index["column_names"] if name is not None]
    return names if index["unique"] and not partial and len(names) == len(index["column_names"]) else []


def _apart(inspector: Inspector, target: Table, backend: str) -> str:
    if backend not in ("mysql", "mariadb"):
        return ""
    try:
        engine = inspector.get_table_options(target.name, schema=target.schema).get("mysql_engine", "InnoDB")
    except NoSuchTableError:  # a view
        return ""
    return "" if str(engine).lower() in _SNAPSHOTS else f"the table's engine, {engine}, has no snapshots"


def count(snapshot: session.Snapshot, plan: Plan) -> int:
    """The number of rows to read. Raises SQLAlchemy's DBAPIError."""
    return int(snapshot.connection.execute(plan.total).scalar_one())
