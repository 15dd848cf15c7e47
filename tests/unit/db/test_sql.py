from __future__ import annotations

import pytest

from medmirror.db import sql


def test_sections_are_named_by_their_headers() -> None:
    found = sql.parse(
        "-- about the file\n-- migrate 1 --\nSELECT 1;\n-- why\nSELECT 2;\n\n-- merge patient --\nSELECT 3\n"
    )
    assert dict(found) == {"migrate 1": "SELECT 1;\n-- why\nSELECT 2;", "merge patient": "SELECT 3"}


def test_line_endings_do_not_change_a_section() -> None:
    assert sql.parse("-- a --\r\nSELECT 1;\r\nSELECT 2;\r\n") == sql.parse("-- a --\nSELECT 1;\nSELECT 2;\n")


def test_a_name_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="two sections 'a'"):
        sql.parse("-- a --\nSELECT 1\n-- a --\nSELECT 2\n", "x.sql")


def test_the_files_of_the_package_are_found() -> None:
    assert "migrate 1" in sql.sections("core.sql")
    with pytest.raises(FileNotFoundError):
        sql.sections("none.sql")
