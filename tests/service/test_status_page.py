"""The status page in a real browser: at a desk and on a phone, in light and dark, without a script of its own."""

from __future__ import annotations

import os
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import chromium
import clinics
import pytest
from worlds import MARKER, NOW, OURS, THEIRS, Make, World, organization

from medmirror.service import keys

PROGRAM = chromium.found()
needs_browser = pytest.mark.skipif(PROGRAM is None, reason=f"no browser on PATH ({', '.join(chromium.NAMES)})")
PICTURES = os.environ.get("MEDMIRROR_PICTURES")  # a folder: keep the pictures there (docs/images)


@pytest.fixture(scope="module")
def page() -> Iterator[chromium.Page]:
    if PROGRAM is None:
        pytest.skip("no browser")
    with chromium.browser(PROGRAM) as one:
        yield one


@pytest.fixture
def street(make: Make) -> World:
    made = make(open_status=True)
    clinics.street(made.engine, NOW)
    return made


def _pixels(png: bytes) -> tuple[int, int, set[bytes]]:
    """Width, height, and the colours of a PNG's lines as they are stored."""
    width, height = struct.unpack(">II", png[16:24])
    data, at = b"", 8
    while at < len(png):
        size, kind = struct.unpack(">I4s", png[at : at + 8])
        data += png[at + 8 : at + 8 + size] if kind == b"IDAT" else b""
        at += size + 12
    raw = zlib.decompress(data)
    line = len(raw) // height
    return width, height, {raw[start : start + line] for start in range(0, len(raw), line)}


def _keep(name: str, png: bytes) -> None:
    if PICTURES:
        Path(PICTURES, name).write_bytes(png)


_CONTRAST = """
(() => {
  const light = c => { const [r, g, b] = c.match(/[\\d.]+/g).map(Number).map(v => v / 255)
      .map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4); return .2126 * r + .7152 * g + .0722 * b; };
  const ground = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
      if (!/, 0\\)$/.test(c)) return c; } return 'rgb(255, 255, 255)'; };
  const low = [];
  for (const e of document.body.querySelectorAll('*')) {
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()) || e.closest('.skip, title')) continue;
    const a = light(getComputedStyle(e).color), b = light(ground(e));
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5) low.push(e.textContent.trim().slice(0, 40) + ' ' + ratio.toFixed(2));
  }
  return low;
})()"""


@needs_browser
@pytest.mark.parametrize(("name", "path"), [("status", "/"), ("organization", "/organizations/harbour_physio")])
def test_it_fits_and_can_be_read_on_a_desk_and_a_phone_by_day_and_night(
    street: World, page: chromium.Page, name: str, path: str
) -> None:
    for width, dark in ((1280, False), (1280, True), (390, False), (390, True)):
        page.open(str(street.client.base_url).rstrip("/") + path, width, dark=dark)
        assert page.ask("document.documentElement.scrollWidth") <= width
        assert page.ask(_CONTRAST) == []
        assert page.ask("getComputedStyle(document.querySelector('.card')).borderRadius") == "10px"  # has its sheet
        png = page.picture()
        wide, high, lines = _pixels(png)
        assert wide == width
        assert high > 600
        assert len(lines) > 100  # not blank
        _keep(f"{name}-{'phone' if width < 600 else 'desktop'}{'-dark' if dark else ''}.png", png)


@needs_browser
def test_each_state_is_said_in_words_beside_its_sign(street: World, page: chromium.Page) -> None:
    page.open(str(street.client.base_url), 1280)
    rows = page.ask(
        "[...document.querySelectorAll('section[aria-labelledby=organizations] tbody tr')]"
        ".map(r => r.querySelector('a').innerText + ': ' + r.querySelector('.badge').innerText.trim())"
    )
    assert rows == [
        "st_brigid_clinic: failing",
        "elm_park_dental: stale",
        "quay_street_osteopaths: never",
        "north_shore_podiatry: recovered",
        "harbour_physio: fresh",
        "lakeside_family_practice: fresh",
        "valley_speech_therapy: paused",
    ]
    assert page.ask("document.querySelectorAll('.badge svg[aria-hidden=true]').length") >= len(rows)
    assert page.ask("document.querySelectorAll('script, link[href^=http], img, [style]').length") == 0
    assert page.ask("[...document.querySelectorAll('table')].every(t => t.caption && t.querySelector('th[scope]'))")


@needs_browser
def test_a_key_opens_a_session_for_its_own_organisations(make: Make, page: chromium.Page) -> None:
    world = make()
    organization(world.engine, OURS)
    organization(world.engine, THEIRS)
    base = str(world.client.base_url).rstrip("/")
    token = world.key("read")["Authorization"].removeprefix("Bearer ")
    page.open(f"{base}/", 390)
    assert page.ask("location.pathname") == "/login"
    _keep("login-phone.png", page.picture())
    page.submit("mm_wrong")
    assert page.ask("document.querySelector('[role=alert]').innerText") == "This key is not valid."
    page.submit(token)
    assert page.ask("location.pathname") == "/"
    assert page.ask("document.cookie") == ""  # no script may read it
    text = page.ask("document.body.innerText")
    assert OURS in text
    assert THEIRS not in text
    page.open(f"{base}/organizations/{THEIRS}", 390)
    theirs = page.ask("document.querySelector('main').innerText")
    page.open(f"{base}/organizations/org_nobody", 390)
    assert page.ask("document.querySelector('main').innerText") == theirs


def test_what_a_record_or_a_name_says_is_never_markup(make: Make) -> None:
    world = make(open_status=True)
    organization(world.engine, OURS)
    with world.engine.begin() as conn:
        evil = clinics.job(conn, OURS, NOW, "retrying", error="<script>alert(1)</script>")
        clinics.say(conn, evil, NOW, "<img src=x onerror=alert(1)>")
    for path in ("/", f"/organizations/{OURS}"):
        answer = world.client.get(path)
        assert answer.status_code == 200
        assert "<script" not in answer.text
        assert "<img" not in answer.text
    assert "&lt;img src=x" in answer.text


def test_the_session_ends_with_its_time_its_key_and_any_change_to_its_cookie(make: Make) -> None:
    world = make()
    organization(world.engine, OURS)
    made = keys.add(world.engine, "desk", ["read"], [OURS], NOW)
    answer = world.client.post("/login", data={"key": made.token})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= {part.strip() for part in cookie.split(";")}
    value = re.match(r"medmirror_session=([^;]+)", cookie)
    assert value is not None
    assert made.token not in cookie
    assert world.client.get("/").status_code == 200
    for broken in (value[1][:-1] + ("0" if value[1][-1] != "0" else "1"), value[1].replace(".1", ".9", 1), "x"):
        world.client.cookies.clear()
        assert world.client.get("/", headers={"Cookie": f"medmirror_session={broken}"}).headers["location"] == "/login"
    good = {"Cookie": f"medmirror_session={value[1]}"}
    assert world.client.get("/", headers=good).status_code == 200
    assert world.client.get("/api/v1/organizations", headers=good).status_code == 401  # the API takes keys alone
    world.clock.advance(12 * 3600 + 1)
    assert world.client.get("/", headers=good).status_code == 303
    world.clock.set(NOW)
    keys.revoke(world.engine, made.key_id, NOW)
    assert world.client.get("/", headers=good).status_code == 303


def test_a_form_on_another_site_cannot_log_its_visitor_in(make: Make) -> None:
    world = make()
    made = keys.add(world.engine, "desk", ["read"], None, NOW)
    answer = world.client.post("/login", data={"key": made.token}, headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


def test_an_open_page_answers_to_no_other_name(make: Make) -> None:
    world = make(open_status=True, hosts=("127.0.0.1", "localhost"))
    assert world.client.get("/").status_code == 200
    assert world.client.get("/", headers={"Host": "evil.example:80"}).status_code == 400


def test_other_organisations_are_nowhere_on_the_page(make: Make) -> None:
    world = make()
    organization(world.engine, OURS)
    organization(world.engine, MARKER)
    with world.engine.begin() as conn:
        clinics.state(conn, MARKER, NOW, failures=2, error=MARKER)
        dead = clinics.job(conn, MARKER, NOW, "dead", error=MARKER, counts='{"read": 77413}')
        clinics.letter(conn, MARKER, dead, NOW, error=MARKER, fingerprint=MARKER)
    made = keys.add(world.engine, "desk", ["read"], [OURS], NOW)
    world.client.post("/login", data={"key": made.token})
    text = world.client.get("/").text
    assert OURS in text
    assert MARKER not in text
    assert "77,413" not in text


def test_what_mapping_said_of_a_sync_stands_beside_it(make: Make) -> None:
    world = make(open_status=True)
    organization(world.engine, OURS)
    counts = (
        '{"read": 30, "problems": {"cliniko.patient: birth_date unreadable": 30}, "withheld_fields":'
        ' {"cliniko.patient: emails": 20}, "over_limit": ["cliniko.patient: birth_date unreadable"]}'
    )
    with world.engine.begin() as conn:
        clinics.job(conn, OURS, NOW, "succeeded", counts=counts)
    for path in ("/", f"/organizations/{OURS}"):
        text = world.client.get(path).text
        assert "30 x cliniko.patient: birth_date unreadable (over the limit)" in text
        assert "withheld: 20 x cliniko.patient: emails" in text
