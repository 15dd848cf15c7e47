"""Requests that no browser and no program of ours sends: each is answered, and none with a 5xx."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from worlds import OURS, Make, World

DEEP = b"[" * 20_000 + b"]" * 20_000
BODIES = [
    b"", b"null", b"[]", b"7", b'"x"', b"\xff\xfe\x00", b"\x00" * 50, DEEP, b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
    b'{"zone": "UTC", "window_back": ' + b"9" * 6_000 + b"}", b'{"zone": "UTC", "window_back": 1e999}',
    b'{"why": "\\ud800"}', b'{"why": "\\u0000"}', '{"why": "‮x\u2028"}'.encode(), b'{"why": NaN}',
    b'{"zone": "\\ud800", "tier": "economy"}', b'{"zone": "../../etc/passwd"}', b'{"zone": "UTC", "windows": [null]}',
    b'{"zone": "UTC", "why": "x", "why": "y"}', b"key=" + b"&key=x" * 9, b"key=x" * 11, b"&".join([b"key=x"] * 11),
    b"key=%00%ff%ZZ", b"&" * 10_000, b"key=mm_" + b"a" * 40_000, b"=" * 5_000, b"--x\r\nContent-Disposition: form-data",
]  # fmt: skip
TYPES = ["application/x-www-form-urlencoded", "application/json", "multipart/form-data; boundary=x",
         "application/json; charset=utf-16", "", "x"]  # fmt: skip
QUERIES = [
    "page=99999999999999999999999", "page=-1", "page=x", "limit=" + "9" * 5_000, "before=0001-01-01T00:00:00%2B23:59_" +
    "0" * 32, "before=9999-12-31T23:59:59-23:59_" + "0" * 32, "before=9223372036854775808", "after=%00", "mode=%ff",
    "organization_id=%ed%a0%80", "&".join(["limit=1"] * 500), "force_full=" + "x" * 3_000, "state=%F0%9F%98%80",
    "%00=%00",
]  # fmt: skip


def addresses(world: World) -> Iterator[tuple[str, str]]:
    """Every method and address of the service."""
    values = {"organization_id": OURS, "source": "cliniko", "job_id": "0" * 32, "dead_letter_id": "1", "run_id": "1"}
    for route in world.app.state.addresses:
        path = getattr(route, "path", "")
        for name in getattr(route, "param_convertors", {}):
            path = path.replace(f"{{{name}}}", values.get(name, "1"))
        for method in sorted(getattr(route, "methods", None) or ()):
            yield method, path


@pytest.fixture
def world(make: Make) -> World:
    """A service that refuses nobody for asking too often."""
    return make(rate=1e6, burst=10**6, failures=1e6, failure_burst=10**6)


@pytest.fixture
def key(world: World) -> dict[str, str]:
    return world.key("read", "sync", "admin", "metrics")


@pytest.mark.parametrize("kind", TYPES)
def test_no_body_is_too_odd(world: World, key: dict[str, str], kind: str) -> None:
    headers = {**key, **({"Content-Type": kind} if kind else {})}
    bodies = BODIES if kind in TYPES[:2] else BODIES[::6]
    for method, path in addresses(world):
        for body in bodies if method in ("POST", "PUT") else ():
            answer = world.client.request(method, path, content=body, headers=headers)
            assert answer.status_code < 500, (method, path, body[:60])


def test_no_query_is_too_odd(world: World, key: dict[str, str]) -> None:
    for method, path in addresses(world):
        for query in QUERIES if method == "GET" else QUERIES[::7]:
            answer = world.client.request(method, f"{path}?{query}", headers=key)
            assert answer.status_code < 500, (method, path, query[:60])


@pytest.mark.parametrize("fields", [11, 1_000, 10_000])
def test_a_login_with_many_fields_is_refused_in_words(world: World, fields: int) -> None:
    content = "&".join(["key=x"] * fields)
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = world.client.post("/login", content=content, headers=kind)
    assert answer.status_code == 400
    assert "more than 10 fields" in answer.text


def test_head_is_answered_wherever_get_is(world: World, key: dict[str, str]) -> None:
    tried = 0
    for method, path in addresses(world):
        if method != "GET":
            continue
        got, head = (world.client.request(each, path, headers=key) for each in ("GET", "HEAD"))
        assert (head.status_code, head.content) == (got.status_code, b""), path
        assert head.headers.get("Content-Type") == got.headers.get("Content-Type")
        tried += 1
    assert tried > 10
    assert world.client.head("/health").status_code == world.client.head("/ready").status_code == 200
    assert world.client.head("/api/v1/jobs").status_code == 401


def test_head_stands_in_the_audit_log_as_what_it_was(world: World, key: dict[str, str]) -> None:
    world.client.head("/api/v1/jobs", headers=key)
    with world.engine.connect() as conn:
        row = conn.exec_driver_sql(
            "SELECT method, status FROM medmirror.audit_log ORDER BY audit_id DESC LIMIT 1"
        ).one()
    assert tuple(row) == ("HEAD", 200)


def test_allow_names_every_method_that_an_address_knows(world: World, key: dict[str, str]) -> None:
    address = f"/api/v1/organizations/{OURS}/cliniko"
    assert world.client.delete(address, headers=key).headers["Allow"] == "GET, HEAD, PUT"
    assert world.client.put("/login").headers["Allow"] == "GET, HEAD, POST"
    assert world.client.head("/logout").headers["Allow"] == "POST"
    for method, path in addresses(world):
        allow = world.client.request("PATCH", path, headers=key).headers["Allow"].split(", ")
        assert method in allow
