"""Made-up people: the same number gives the same person on every machine.

Names are joined from syllables, so that hardly any is a name that anyone bears. ``MARK`` stands in every family name,
so that output can be searched for a leaked one; mail addresses are of a domain that is kept free for examples.
"""

from __future__ import annotations

import random
from datetime import date, timedelta
from typing import NamedTuple

MARK = "zq"  #: stands in every family name, and in no word of any language that our texts are made of
_STARTS = [
    "Bal",
    "Cor",
    "Dan",
    "El",
    "Fer",
    "Gal",
    "Hol",
    "Is",
    "Jor",
    "Kel",
    "Lan",
    "Mor",
    "Nor",
    "Ol",
    "Per",
    "Quil",
    "Ros",
    "Sal",
    "Tor",
    "Ul",
    "Ver",
    "Wes",
    "Yar",
    "Zel",
]
_MIDDLES = ["a", "e", "i", "o", "u", "an", "en", "in", "on", "ar", "er", "ir", "or", "al", "el", "il"]
_ENDS = [
    "berg",
    "by",
    "dale",
    "den",
    "feld",
    "ford",
    "gan",
    "ham",
    "ker",
    "land",
    "ley",
    "lin",
    "man",
    "mont",
    "ner",
    "quist",
    "ridge",
    "sen",
    "son",
    "stad",
    "ton",
    "vik",
    "well",
    "wick",
]
_GIVEN_F = [
    "Ada",
    "Bella",
    "Carla",
    "Dora",
    "Elisa",
    "Fiona",
    "Greta",
    "Hanna",
    "Ines",
    "Julia",
    "Karin",
    "Lena",
    "Mira",
    "Nora",
    "Olga",
    "Paula",
    "Rita",
    "Sofia",
    "Tilda",
    "Vera",
]
_GIVEN_M = [
    "Adam",
    "Boris",
    "Carl",
    "David",
    "Emil",
    "Felix",
    "Georg",
    "Hugo",
    "Ivan",
    "Jakob",
    "Karl",
    "Lukas",
    "Milan",
    "Niels",
    "Otto",
    "Paul",
    "Rolf",
    "Simon",
    "Tomas",
    "Viktor",
]
_TAILS = (
    "",
    "",
    "",
    "a",
    "e",
    "o",
    "is",
    "us",
    "in",
    "ette",
    "ine",
    "or",
    "ric",
    "bert",
    "mund",
    "wen",
    "lyn",
    "ra",
    "na",
    "to",
)
_STREETS = [
    "Acacia",
    "Banksia",
    "Cedar",
    "Dune",
    "Elm",
    "Fern",
    "Grove",
    "Harbour",
    "Iris",
    "Jetty",
    "Kauri",
    "Lake",
    "Mill",
    "Nile",
    "Ocean",
    "Park",
    "Quarry",
    "Reef",
    "Spring",
    "Tower",
]
_KINDS = ("Street", "Road", "Avenue", "Lane", "Place", "Court")
_CITIES = (
    ("Northhaven", "NSW", "2998"),
    ("Eastbrook", "VIC", "3997"),
    ("Westmere", "QLD", "4996"),
    ("Southport Bay", "SA", "5995"),
    ("Mount Willow", "WA", "6994"),
    ("Lakeside", "TAS", "7993"),
)
_FIRST_DAY = date(1925, 1, 1)
_DAYS = 100 * 365


class Person(NamedTuple):
    """A person as a clinic would write them down. *phone* is in E.164; *identifier* is a national number, unique."""

    number: int
    title: str
    given: str
    middle: str
    family: str
    sex: str  # female, male
    birth_date: date
    phone: str
    email: str
    street: str
    city: str
    state: str
    post_code: str
    country: str
    identifier: str


def person(number: int, seed: int = 0) -> Person:
    """The person with this *number* (0 and up): no two numbers of one seed have the same identifier, phone or email."""
    rng = random.Random((seed << 40) ^ (number << 4) ^ 7)
    pick = rng.choice
    female = rng.random() < 0.52
    family = pick(_STARTS) + pick(_MIDDLES) + MARK + pick(_MIDDLES) + pick(_ENDS)
    given = pick(_GIVEN_F if female else _GIVEN_M)
    given = given.rstrip("aeo") + pick(_TAILS) if rng.random() < 0.7 else given
    middle = pick(_GIVEN_F if female else _GIVEN_M) if rng.random() < 0.4 else ""
    city, state, post_code = pick(_CITIES)
    return Person(
        number,
        pick(("Ms", "Mrs", "Miss", "Dr")) if female else pick(("Mr", "Mr", "Dr")),
        given,
        middle,
        family,
        "female" if female else "male",
        _FIRST_DAY + timedelta(days=rng.randrange(_DAYS)),
        f"+614{10_000_000 + number % 90_000_000:08d}",
        f"{given}.{family}.{number}@example.org".lower(),
        f"{rng.randrange(1, 400)} {pick(_STREETS)} {pick(_KINDS)}",
        city,
        state,
        post_code,
        "Australia",
        f"{2_000_000_000 + number:010d}",
    )
