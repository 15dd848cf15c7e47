"""A gate in the database, for tests that disturb a program in the middle of its work.

A test that only looks how far a program has got, and then acts, is sometimes too late: on a busy machine the program is
through before the test has its turn. A Gate lets so many INSERTs into a table; whoever sends one more waits, inside of
his statement, until the gate is opened.
"""

from __future__ import annotations

import mirrors

_BUILD = """
CREATE SCHEMA gate;
GRANT USAGE ON SCHEMA gate TO PUBLIC;
CREATE SEQUENCE gate.arrived;
CREATE TABLE gate.lets (arrivals bigint NOT NULL);
INSERT INTO gate.lets VALUES (0);
CREATE FUNCTION gate.pass() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    mine bigint := nextval('gate.arrived');
BEGIN
    WHILE mine > (SELECT arrivals FROM gate.lets) LOOP
        PERFORM pg_sleep(0.01);
    END LOOP;
    RETURN NULL;
END
$$;
CREATE TRIGGER a_gate BEFORE INSERT ON {} FOR EACH STATEMENT EXECUTE FUNCTION gate.pass()
"""


class Gate:
    """A gate before *table* (``schema.name``) that lets *statements* INSERTs through; there is one a database."""

    def __init__(self, dsn: str, table: str, statements: int) -> None:
        self._dsn = dsn
        mirrors.run(dsn, _BUILD.format(table))
        self.let(statements)

    def let(self, statements: int) -> None:
        """Let so many through from now on."""
        arrived = "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM gate.arrived"
        mirrors.run(self._dsn, f"UPDATE gate.lets SET arrivals = {statements} + ({arrived})")  # noqa: S608

    def until_somebody_waits(self) -> None:
        """Return when somebody stands before the gate; fail when nobody comes."""
        waits = "SELECT is_called AND last_value > arrivals FROM gate.arrived, gate.lets"
        mirrors.until(lambda: mirrors.one(self._dsn, waits) == (True,), "nobody came to the gate")

    def open(self) -> None:
        """Let everybody through."""
        self.let(1 << 40)
