"""Made-up registers of patients with known duplicates: the people of ``people``, in households, with records that were
typed twice.

What makes two records of one person differ is what does so in a practice: slips of the keyboard, day and month
exchanged, names exchanged, married names, nicknames, people who moved, gaps. What makes two people's records alike is
there, too: families under one roof with one telephone, fathers and sons of one name, twins.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from itertools import combinations
from typing import Any, NamedTuple

from medmirror_testing.samples import people

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_SHORT = {"Street": "St", "Road": "Rd", "Avenue": "Ave", "Lane": "Ln", "Place": "Pl", "Court": "Ct"}
_PRIME = 982_451_653  # takes neighbouring numbers far apart


class Entry(NamedTuple):
    """A record of a patient. *person* is the number of the person: the truth, which no source has. Empty: not written
    down."""

    person: int
    source: str
    source_id: str
    family: str
    given: str
    middle: str
    birth_date: str  # ISO
    sex: str
    phone: str
    email: str
    street: str
    city: str
    state: str
    post_code: str
    identifier: str
    suffix: str = ""


def canonical(entry: Entry) -> dict[str, Any]:
    """The canonical patient record that mapping would make of *entry*."""
    given = [single for single in (entry.given, entry.middle) if single]
    street = {"lines": [entry.street], "city": entry.city, "region": entry.state, "post_code": entry.post_code}
    identifier = {"system": "national", "type": "NI", "value": entry.identifier}
    many = {
        "names": [{"family": entry.family, "given": given, **({"suffix": entry.suffix} if entry.suffix else {})}],
        "phones": [{"raw": entry.phone, "e164": entry.phone, "valid": True}] if entry.phone else [],
        "emails": [{"address": entry.email}] if entry.email else [],
        "addresses": [street] if entry.street else [],
        "identifiers": [identifier] if entry.identifier else [],
    }
    single = {"birth_date": entry.birth_date, "sex": {"code": entry.sex.upper() or "UNKNOWN", "raw": entry.sex or None}}
    return {name: value for name, value in (many | single).items() if value}


def same_person(entries: Iterable[Entry]) -> set[tuple[str, str]]:
    """The pairs of record ids that are of one person, the smaller id first."""
    records: dict[int, list[str]] = {}
    for entry in entries:
        records.setdefault(entry.person, []).append(entry.source_id)
    return {pair for ids in records.values() for pair in combinations(sorted(ids), 2)}


def register(entries: int, seed: int = 0) -> Iterator[Entry]:
    """*entries* records of fewer people: about a fifth are a second or third record of the same person.

    The same *seed* gives the same ones, and more entries begin with those of fewer.
    """
    count = 0
    household = 0
    first = 0
    while True:
        rng = random.Random((seed << 40) ^ (household << 4) ^ 11)
        members = _household(first, seed, rng)
        for number, member in members:
            copies = 1 + (rng.random() < 0.20) + (rng.random() < 0.04)
            for place in range(copies):
                count += 1
                yield _entry(number, member, place, count, rng)
                if count == entries:
                    return
        first += len(members)
        household += 1


def _household(first: int, seed: int, rng: random.Random) -> list[tuple[int, people.Person]]:
    """People who live together, with the address, the telephone and the names that they share."""
    size = rng.choices((1, 2, 3, 4), (55, 20, 13, 12))[0]
    head = _own(people.person(first, seed))
    members = [(first, head)]
    for number in range(first + 1, first + size):
        member = _own(people.person(number, seed))._replace(
            street=head.street, city=head.city, state=head.state, post_code=head.post_code
        )
        if rng.random() < 0.85:
            member = member._replace(family=head.family)
        if rng.random() < 0.5:
            member = member._replace(phone=head.phone)
        if rng.random() < 0.3:
            member = member._replace(email=head.email)
        kin = rng.random()
        unlike = member.given[:3] != head.given[:3] or (member.given != head.given and rng.random() < 0.1)
        if kin < 0.03 and unlike:  # twins, some of them with names alike
            member = member._replace(family=head.family, birth_date=head.birth_date)
        elif (
            0.03 < kin < 0.06 and member.sex == head.sex and abs((member.birth_date - head.birth_date).days) > 16 * 365
        ):
            member = member._replace(family=head.family, given=head.given)  # the second of his name
        members.append((number, member))
    return members


def _own(person: people.Person) -> people.Person:
    # Neighbours' numbers must not differ by one digit, as if each were a slip of the other.
    spread = person.number * _PRIME
    return person._replace(phone=f"+614{10_000_000 + spread % 90_000_000:08d}", identifier=f"{spread % 10**10:010d}")


def _entry(number: int, person: people.Person, place: int, count: int, rng: random.Random) -> Entry:
    source = "a" if place == 0 or rng.random() < 0.4 else "b"
    entry = Entry(
        number,
        source,
        str(count),
        person.family,
        person.given,
        person.middle if rng.random() < 0.6 else "",
        person.birth_date.isoformat(),
        person.sex,
        person.phone,
        person.email,
        person.street,
        person.city,
        person.state,
        person.post_code,
        person.identifier if rng.random() < 0.4 else "",
    )
    if place:
        entry = _later(entry, person, rng)
    return _gaps(entry, rng)


def _later(entry: Entry, person: people.Person, rng: random.Random) -> Entry:
    """*entry* as a second registration of *person* has it, with slips, gaps and moves."""
    entry = _names(entry, person, rng)
    entry = entry._replace(birth_date=_day(person.birth_date, rng))
    if rng.random() < 0.005:
        entry = entry._replace(sex="male" if person.sex == "female" else "female")
    if rng.random() < 0.20:
        moved = people.person(rng.randrange(10**9), 1)
        entry = entry._replace(street=moved.street, city=moved.city, state=moved.state, post_code=moved.post_code)
    elif rng.random() < 0.30:
        number, name, kind = entry.street.split()
        kind = _SHORT[kind] if rng.random() < 0.7 else kind
        entry = entry._replace(street=f"{number} {_slip(name, rng) if rng.random() < 0.3 else name} {kind}")
    if rng.random() < 0.25:
        entry = entry._replace(phone=f"+614{rng.randrange(10**8):08d}")
    elif rng.random() < 0.015:
        entry = entry._replace(phone=entry.phone[:5] + _slip(entry.phone[5:], rng, "0123456789"))
    if rng.random() < 0.20:
        entry = entry._replace(email=f"{person.given}{rng.randrange(10**6)}@example.net".lower())
    elif rng.random() < 0.02:
        name, _, domain = entry.email.partition("@")
        entry = entry._replace(email=f"{_slip(name, rng)}@{domain}")
    if entry.identifier and rng.random() < 0.01:
        entry = entry._replace(identifier=_slip(entry.identifier, rng, "0123456789"))
    return entry


def _names(entry: Entry, person: people.Person, rng: random.Random) -> Entry:
    chance = rng.random()
    if chance < 0.015:
        return entry._replace(family=entry.given, given=entry.family)
    if chance < 0.065:
        entry = entry._replace(given=_slip(entry.given, rng))
    elif chance < 0.085:
        entry = entry._replace(given=entry.given[:1])
    elif chance < 0.11:
        entry = entry._replace(given=entry.given[: max(3, len(entry.given) // 2)])
    elif chance < 0.12 and person.middle:
        entry = entry._replace(given=person.middle, middle="")
    chance = rng.random()
    if chance < 0.05:
        return entry._replace(family=_slip(entry.family, rng))
    if chance < 0.11 and person.sex == "female":
        other = people.person(rng.randrange(10**9), 2).family
        return entry._replace(family=f"{entry.family}-{other}" if chance < 0.07 else other)
    return entry


def _day(day: date, rng: random.Random) -> str:
    chance = rng.random()
    if chance < 0.015 and day.day <= 12:
        return date(day.year, day.day, day.month).isoformat()
    if chance < 0.035:
        text = day.isoformat()
        place = rng.choice((2, 3, 6, 8, 9))
        wrong = text[:place] + rng.choice("0123456789") + text[place + 1 :]
        try:
            return date.fromisoformat(wrong).isoformat()
        except ValueError:
            return text
    if chance < 0.040:
        return (day + timedelta(days=rng.choice((-1, 1, 7, 30, 365)))).isoformat()
    return day.isoformat()


def _slip(text: str, rng: random.Random, letters: str = _LETTERS) -> str:
    """*text* with one wrong key: a letter too many, too few, another one, or two exchanged."""
    if len(text) < 3:
        return text
    place = rng.randrange(1, len(text) - 1)
    kind = rng.randrange(4)
    if kind == 0:
        return text[:place] + text[place + 1 :]
    if kind == 1:
        return text[:place] + rng.choice(letters) + text[place:]
    if kind == 2:
        return text[:place] + rng.choice(letters) + text[place + 1 :]
    return text[:place] + text[place + 1] + text[place] + text[place + 2 :]


_GAPS = {"birth_date": 0.015, "sex": 0.04, "phone": 0.12, "email": 0.30, "given": 0.003}


def _gaps(entry: Entry, rng: random.Random) -> Entry:
    empty = [name for name, share in _GAPS.items() if rng.random() < share]
    if rng.random() < 0.05:
        empty += ["street", "city", "state", "post_code"]
    return Entry(**{**entry._asdict(), **dict.fromkeys(empty, "")})


# --- people whom a careless matcher takes for one -------------------------------------------------------------------

_NO_NUMBERS = (
    "0000000000",
    "N/A",
    "UNKNOWN",
    "9999999999",
    "123456789",
    "pending",
    "1234567890",
    "none",
    "XXX-XX-1234",
)
_NO_DAYS = ("1900-01-01", "0001-01-01", "1970-01-01", "1901-01-01", "1899-12-30")
_NO_PHONES = ("0000000000", "+61400000000", "1234567890", "99999999")
_NO_EMAILS = ("none@example.net", "noemail@example.net", "n/a@example.net")
_NEWBORN = (("Baby", "Baby"), ("Baby Girl", "Baby Girl"), ("Twin A", "Twin B"), ("Newborn", "Newborn"), ("NN", "NN"),
            ("B/O Ada", "B/O Ada"), ("1Adasgirl", "2Adasgirl"), ("Boy 1", "Boy 2"))  # fmt: skip
_ALIKE = (("Lena", "Lina"), ("Maria", "Marie"), ("Karl", "Carl"), ("Mira", "Mara"), ("Dora", "Nora"), ("Erik", "Eric"))
_FIRST = 1 << 40  # numbers of people that ``register`` never comes to


def lookalikes(pairs: int, seed: int = 0) -> Iterator[Entry]:
    """Two records each of *pairs* of different people who are alike; no two records are of the same person.

    Each pair is of one household, with one address, telephone and mail, and of one source: newborn twins without names,
    twins of names alike or of one first name, twins under their mother's number, a father and a son of one name, people
    with the same filler for a number, a birth date, a telephone or a mail address.
    """
    for number in range(pairs):
        rng = random.Random((seed << 40) ^ (number << 5) ^ 13)
        first = _FIRST + 2 * number
        one = _own(people.person(first, seed))
        entry = _gapless(one, f"x{first}")
        other = entry._replace(person=first + 1, source_id=f"x{first + 1}")
        for place, changed in enumerate(_KINDS[number % len(_KINDS)](entry, other, rng)):
            yield changed._replace(source="a" if place == 0 or rng.random() < 0.5 else "b")


def _gapless(person: people.Person, source_id: str) -> Entry:
    return Entry(
        person.number,
        "a",
        source_id,
        person.family,
        person.given,
        "",
        person.birth_date.isoformat(),
        person.sex,
        person.phone,
        person.email,
        person.street,
        person.city,
        person.state,
        person.post_code,
        "",
    )


def _newborns(one: Entry, two: Entry, rng: random.Random) -> tuple[Entry, Entry]:
    given, day = rng.choice(_NEWBORN), _recent(rng)
    return one._replace(given=given[0], birth_date=day), two._replace(given=given[1], birth_date=day)


def _twins_alike(one: Entry, two: Entry, rng: random.Random) -> tuple[Entry, Entry]:
    given = rng.choice(_ALIKE)
    return one._replace(given=given[0]), two._replace(given=given[1])


def _twins_of_one_name(one: Entry, two: Entry, rng: random.Random) -> tuple[Entry, Entry]:
    return one._replace(given="Maria", middle="Agnes"), two._replace(given="Maria", middle="Ruth")


def _twins_of_one_number(one: Entry, two: Entry, rng: random.Random) -> tuple[Entry, Entry]:
    day, mothers = _recent(rng), f"{rng.randrange(10**9, 10**10)}"
    one, two = (entry._replace(birth_date=day, identifier=mothers) for entry in (one, two))
    return one._replace(given="Walpurga"), two._replace(given="Ermentrud")


def _generations(one: Entry, two: Entry, rng: random.Random) -> tuple[Entry, Entry]:
    if rng.random() < 0.5:  # one birth date for both, and what follows their names is right
        return one._replace(suffix="Sr"), two._replace(suffix=rng.choice(("Jr", "Jnr.", "II", "III")))
    day = one.birth_date
    return one, two._replace(birth_date=f"{int(day[:4]) - 30}{day[4:]}")  # born on one day of the year


def _fillers(one: Entry, two: Entry, rng: random.Random) -> tuple[Entry, Entry]:
    """A father and a son of one name, of whom nobody asked the birthday."""
    day = rng.choice((*_NO_DAYS, f"{rng.randrange(1940, 2000)}-01-01"))
    return one._replace(birth_date=day), two._replace(birth_date=day)


def _strangers(one: Entry, two: Entry, rng: random.Random) -> tuple[Entry, Entry]:
    """Two strangers with one filler for a number, a telephone and a mail address, of whom one has no birthday."""
    stranger = _gapless(_own(people.person(two.person)), two.source_id)
    number, phone, email = rng.choice(_NO_NUMBERS), rng.choice(_NO_PHONES), rng.choice(_NO_EMAILS)
    one, two = (entry._replace(identifier=number, phone=phone, email=email) for entry in (one, stranger))
    return one._replace(birth_date=""), two


def _recent(rng: random.Random) -> str:
    return (date(2024, 1, 2) + timedelta(days=rng.randrange(700))).isoformat()


_KINDS = (_newborns, _twins_alike, _twins_of_one_name, _twins_of_one_number, _generations, _fillers, _strangers)
