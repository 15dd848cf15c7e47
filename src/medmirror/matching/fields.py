"""The fields that two records are compared by, the levels of agreement of each, and the weight of each level.

This is a Fellegi-Sunter model. A level's *m* is the share of pairs of one person that are on it, *u* the share of pairs
of two different people; log2(m / u) is its weight in bits. A condition is an expression of DuckDB over the columns of
``person`` (sql/scoring.sql): those of one record end in _l, of the other in _r. The first condition that holds gives
the level. A field that either record lacks counts for nothing.

The figures are set once, from generated people (``bench/matching.py --fit`` prints what they would be there), and then
made careful by hand: all that a household shares (address, phone, mail, family name) may together not outweigh a
different given name and birthday. No figure was fitted to the sets that the model is measured on.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import log2
from typing import Any, NamedTuple

AGREE, CLOSE, DIFFER, MISSING = "agree", "close", "differ", "missing"


class Level(NamedTuple):
    """A degree of agreement. *says* is the word that people see: agree, close, differ.

    *rarity* names the column whose values weigh more the rarer they are; *rarest* is the smallest share that counts.
    """

    name: str
    says: str
    condition: str
    m: float
    u: float
    rarity: str = ""
    rarest: float = 0.0

    @property
    def weight(self) -> float:
        """Bits for (or, below 0, against) one person, before rarity."""
        return log2(self.m / self.u)


class Field(NamedTuple):
    """A field to compare. *missing* is the condition that there is nothing to compare.

    The conditions of *levels* are tried in order; the last level takes all that remains.
    """

    name: str
    missing: str
    levels: tuple[Level, ...]


_TURNED = "family_l = given_r AND given_l = family_r"
_TURNED_CLOSE = (
    "jaro_winkler_similarity(family_l, given_r) >= 0.9 AND jaro_winkler_similarity(given_l, family_r) >= 0.9"
)


def _slip(column: str, least: int = 4) -> str:
    """The condition that *column* differs by one slip of a key: a letter more, less, other, or two exchanged.

    One slip leaves the beginning or the end unchanged. Testing that first saves most of the costly comparisons.
    """
    left, right = f"{column}_l", f"{column}_r"
    shorter = f"least(length({left}), length({right}))"
    half = f"greatest({shorter} // 2 - 1, 1)"
    return (
        f"{shorter} >= {least} AND abs(length({left}) - length({right})) <= 1"
        f" AND (left({left}, {half}) = left({right}, {half}) OR right({left}, {half}) = right({right}, {half}))"
        f" AND damerau_levenshtein({left}, {right}) <= 1"
    )


def _alike(column: str, least: float) -> str:
    return f"jaro_winkler_similarity({column}_l, {column}_r) >= {least}"


FAMILY = Field(
    "family",
    "family_l IS NULL OR family_r IS NULL",
    (
        Level("same", AGREE, "family_l = family_r", 0.80, 2e-3, "family", 2e-4),
        Level("another of their names", AGREE, "list_has_any(families_l, families_r)", 0.02, 4e-4),
        Level("exchanged with the given name", AGREE, _TURNED, 0.015, 1e-5),
        Level("exchanged with the given name, close", CLOSE, _TURNED_CLOSE, 0.005, 2e-5),
        Level("one slip", CLOSE, _slip("family"), 0.06, 1e-3),
        Level("close", CLOSE, _alike("family", 0.92), 0.02, 1e-3),
        Level("alike", CLOSE, _alike("family", 0.84), 0.015, 8e-3),
        Level("different", DIFFER, "ELSE", 0.05, 0.987),
    ),
)

# Not one's middle name and the other's: twins often have the same one.
_OTHER_GIVEN = "list_contains(givens_l, given_r) OR list_contains(givens_r, given_l)"

# A letter of the Latin alphabet is an initial, whatever it stands for.
_NAMED_ALIKE = "given_l = given_r AND (length(given_l) > 1 OR given_l > 'z')"

GIVEN = Field(
    "given",
    "(given_l IS NULL OR given_r IS NULL) AND NOT (nameless_l OR nameless_r)",
    (
        Level("no name", MISSING, "nameless_l OR nameless_r", 0.01, 0.01),
        Level("same", AGREE, _NAMED_ALIKE, 0.77, 8e-3, "given", 5e-4),
        # Counted with the family name already.
        Level("exchanged with the family name", AGREE, _TURNED, 0.015, 0.015),
        Level("exchanged with the family name, close", CLOSE, _TURNED_CLOSE, 0.005, 0.005),
        Level(
            "initial",
            CLOSE,
            "(length(given_l) = 1 OR length(given_r) = 1) AND left(given_l, 1) = left(given_r, 1)",
            0.01,
            2e-3,
        ),
        Level("another of their names", CLOSE, _OTHER_GIVEN, 0.03, 6e-3),
        # A slip of a key makes no name out of a name. Where both or neither are names, nobody can tell: Lena, Lina.
        Level(
            "one slip",
            CLOSE,
            f"given_known_l <> given_known_r AND left(given_l, 1) = left(given_r, 1) AND {_slip('given')}",
            0.055,
            3e-3,
        ),
        Level("one letter apart", CLOSE, _slip("given"), 0.015, 1e-3),
        Level("close", CLOSE, _alike("given", 0.92), 0.02, 4e-3),
        Level("alike", CLOSE, f"({_alike('given', 0.84)}) OR left(given_l, 3) = left(given_r, 3)", 0.03, 0.02),
        Level("different", DIFFER, "ELSE", 0.03, 0.954),
    ),
)

_SOME_MIDDLES = "list_has_all(middles_l, middles_r) OR list_has_all(middles_r, middles_l)"

MIDDLE = Field(
    "middle",
    "middle_l IS NULL OR middle_r IS NULL",
    (
        Level("same", AGREE, "middle_l = middle_r", 0.85, 0.03),
        Level(
            "initial",
            CLOSE,
            "(length(middle_l) = 1 OR length(middle_r) = 1) AND left(middle_l, 1) = left(middle_r, 1)",
            0.06,
            0.01,
        ),
        Level("some of them", CLOSE, _SOME_MIDDLES, 0.01, 5e-3),
        Level("alike", CLOSE, _alike("middle", 0.84), 0.05, 0.02),
        Level("different", DIFFER, "ELSE", 0.04, 0.94),
    ),
)

_SAME_DAY = "birth_date_l = birth_date_r"
_GENERATION = 12  # years; no slip of a key is likelier than a father and son
_YEARS_APART = "abs(CAST(left(birth_date_l, 4) AS INT) - CAST(left(birth_date_r, 4) AS INT))"
_PARTS = ("left(birth_date_{}, 4)", "substr(birth_date_{}, 6, 2)", "substr(birth_date_{}, 9, 2)")
_EQUAL_PARTS = " + ".join(f"CAST({part.format('l')} = {part.format('r')} AS INT)" for part in _PARTS)

BIRTH_DATE = Field(
    "birth_date",
    "birth_date_l IS NULL OR birth_date_r IS NULL",
    (
        Level("same", AGREE, f"{_SAME_DAY} AND length(birth_date_l) = 10", 0.91, 5e-5, "birth_date", 4e-5),
        Level("same as far as it is known", CLOSE, _SAME_DAY, 0.004, 1e-4),
        Level("day and month exchanged", CLOSE, "birth_date_l = birth_turned_r", 0.01, 4e-5),
        Level(
            "same day and month, a generation apart",
            CLOSE,
            f"length(birth_date_l) = 10 AND substr(birth_date_l, 5) = substr(birth_date_r, 5)"
            f" AND {_YEARS_APART} >= {_GENERATION}",
            0.004,
            2e-3,
        ),
        Level("one slip", CLOSE, _slip("birth_date", 10), 0.04, 9e-4),
        Level(
            "less is known of one",
            CLOSE,
            "starts_with(birth_date_l, birth_date_r) OR starts_with(birth_date_r, birth_date_l)",
            0.01,
            5e-3,
        ),
        Level("two parts of three", CLOSE, f"{_EQUAL_PARTS} >= 2", 0.015, 4e-3),
        Level("different", DIFFER, f"{_YEARS_APART} < {_GENERATION}", 0.0042, 0.28),
        Level("different, a generation apart", DIFFER, "ELSE", 0.0108, 0.71),
    ),
)

GENERATION = Field(
    "generation",
    "generation_l IS NULL AND generation_r IS NULL",
    (
        Level("same", AGREE, "generation_l = generation_r", 0.60, 0.50),
        Level("of one only", CLOSE, "generation_l IS NULL OR generation_r IS NULL", 0.39, 0.39),
        Level("different", DIFFER, "ELSE", 0.01, 0.11),
    ),
)

SEX = Field(
    "sex",
    "sex_l IS NULL OR sex_r IS NULL",
    (Level("same", AGREE, "sex_l = sex_r", 0.985, 0.5), Level("different", DIFFER, "ELSE", 0.015, 0.5)),
)

PHONE = Field(
    "phone",
    "phones_l IS NULL OR phones_r IS NULL",
    (
        Level("same", AGREE, "list_has_any(phones_l, phones_r)", 0.62, 4e-3),
        Level("one slip", CLOSE, _slip("phone", 7), 0.03, 2e-3),
        Level("different", DIFFER, "ELSE", 0.35, 0.994),
    ),
)

EMAIL = Field(
    "email",
    "emails_l IS NULL OR emails_r IS NULL",
    (
        Level("same", AGREE, "list_has_any(emails_l, emails_r)", 0.60, 3e-3),
        Level("one slip", CLOSE, _slip("email", 7), 0.04, 1e-3),
        Level("different", DIFFER, "ELSE", 0.36, 0.996),
    ),
)

_SHARED = (
    "len(list_intersect(street_words_l, street_words_r)) >= 2 AND"
    " len(list_intersect(street_words_l, street_words_r)) * 2 >= least(len(street_words_l), len(street_words_r))"
)
_STREET = "street_l = street_r"
_STREET_CLOSE = f"({_SHARED}) OR {_alike('street', 0.9)}"
_PLACE = "post_code_l = post_code_r OR city_l = city_r"

ADDRESS = Field(
    "address",
    "street_l IS NULL OR street_r IS NULL",
    (
        Level("same", AGREE, f"{_STREET} AND ({_PLACE})", 0.48, 4e-3),
        Level("close", CLOSE, f"({_STREET_CLOSE}) AND ({_PLACE})", 0.14, 2e-3),
        Level("same street, another place", CLOSE, _STREET, 0.02, 1e-3),
        Level("close street, another place", CLOSE, _STREET_CLOSE, 0.02, 5e-3),
        Level("same place", CLOSE, _PLACE, 0.14, 0.10),
        Level("different", DIFFER, "ELSE", 0.20, 0.888),
    ),
)

# A child has a parent's number until it has one.
OWN_NUMBER = "NOT minor_l AND NOT minor_r AND list_has_any(own_l, own_r)"

IDENTIFIER = Field(
    "identifier",
    "NOT coalesce(list_has_any(systems_l, systems_r), false)"
    " AND NOT coalesce(list_has_any(identifiers_l, identifiers_r), false)",
    (
        Level("same", AGREE, OWN_NUMBER, 0.81, 9e-7),
        Level("same, perhaps of several", AGREE, "list_has_any(identifiers_l, identifiers_r)", 0.09, 1e-7),
        Level("one slip", CLOSE, _slip("number", 6), 0.05, 5e-5),
        Level("different", DIFFER, "ELSE", 0.05, 0.99995),
    ),
)

MERGE = Field(
    "merge",
    "NOT coalesce(list_has_any(merges_l, merges_r), false)",
    (
        Level("their source made one of them", AGREE, "list_has_any(merges_l, merges_r)", 0.99, 1e-9),
        Level("different", DIFFER, "ELSE", 0.01, 0.01),  # nobody is on it: most people were never merged
    ),
)

FIELDS: Mapping[str, tuple[Field, ...]] = {
    "patient": (FAMILY, GIVEN, MIDDLE, GENERATION, BIRTH_DATE, SEX, PHONE, EMAIL, ADDRESS, IDENTIFIER, MERGE),
    "practitioner": (FAMILY, GIVEN, MIDDLE, GENERATION, BIRTH_DATE, SEX, PHONE, EMAIL, IDENTIFIER, MERGE),
}
"""The entities that are deduplicated, and the fields that their records are compared by."""

JOIN_AT = 0.9995
"""Probability from which two records are joined without a person's word."""
REVIEW_AT = 0.80
"""Probability from which a person is asked."""
SAME_PERSON_TWICE = 0.1
"""The number of other records of the same person that a record has on average: the prior."""


def prior(records: int) -> float:
    """The probability that two of *records* records, drawn at random, are of one person.

    It falls with the number of records: the number of pairs grows with its square, that of true pairs in proportion.
    """
    return min(0.01, 2 * SAME_PERSON_TWICE / max(records, 20))


def settings(entity: str, records: int, figures: Mapping[str, tuple[float, float]] | None = None) -> dict[str, Any]:
    """The settings of splink's model, for so many *records*.

    *figures* ("field.level": (m, u)) are those that an organisation has trained.
    """
    return {
        "link_type": "dedupe_only",
        "unique_id_column_name": "rid",
        "probability_two_random_records_match": prior(records),
        "retain_matching_columns": True,
        "retain_intermediate_calculation_columns": True,
        "comparisons": [_comparison(field, figures or {}) for field in FIELDS[entity]],
        "blocking_rules_to_generate_predictions": [],
    }


def _comparison(field: Field, figures: Mapping[str, tuple[float, float]]) -> dict[str, Any]:
    levels: list[dict[str, Any]] = [
        {"sql_condition": field.missing, "label_for_charts": MISSING, "is_null_level": True}
    ]
    for level in field.levels:
        m, u = figures.get(f"{field.name}.{level.name}", (level.m, level.u))
        entry = {
            "sql_condition": level.condition,
            "label_for_charts": level.name,
            "m_probability": m,
            "u_probability": u,
        }
        if level.rarity:
            entry |= {
                "tf_adjustment_column": level.rarity,
                "tf_adjustment_weight": 1.0,
                "tf_minimum_u_value": level.rarest,
                "disable_tf_exact_match_detection": True,
            }
        levels.append(entry)
    return {"output_column_name": field.name, "comparison_levels": levels}


def level_of(field: Field, number: int) -> Level | None:
    """The level with splink's *number*, which counts from 0, the last level; None for missing (-1)."""
    return None if number < 0 else field.levels[len(field.levels) - 1 - number]
