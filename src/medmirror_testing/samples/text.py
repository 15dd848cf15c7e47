"""Medical-sounding English with a long tail of rare words, drawn from pools that are built once a process.

Everything here is plain text; ``escape`` makes it fit for XML. A pool depends on nothing but this file, a draw only on
the generator that is passed in.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from medmirror_testing.samples import wordlists as words

FIRST_PMID = 40_000_001
FIRST_TRIAL = 6_000_000
ARTICLES_A_TRIAL = 20
"""Every twentieth article reports a trial: PMIDs and trial numbers translate into each other without a table."""


def trial_of(pmid: int) -> str | None:
    """The NCT number of the trial that article *pmid* reports, or None."""
    past = pmid - FIRST_PMID
    return nct_id(past // ARTICLES_A_TRIAL) if past >= 0 and past % ARTICLES_A_TRIAL == 6 else None


def article_of(trial: int) -> int:
    """The PMID of the article that reports the trial with this ordinal (the inverse of ``trial_of``)."""
    return FIRST_PMID + trial * ARTICLES_A_TRIAL + 6


def nct_id(trial: int) -> str:
    """The NCT number of the trial with this ordinal, counted from 0."""
    return f"NCT{FIRST_TRIAL + trial:08d}"


class Heading(NamedTuple):
    """A subject heading: its number and its name."""

    ui: str
    name: str


class Pools(NamedTuple):
    """The pools that the generators draw from; ``*_weights`` are cumulative, for ``random.choices``."""

    sentences: dict[str, list[str]]  # by section: background, methods, results, conclusions
    titles: list[str]
    terms: list[str]
    surnames: list[str]
    forenames: list[str]
    affiliations: list[str]
    headings: list[Heading]
    heading_weights: list[float]
    references: list[str]
    drugs: list[str]
    diseases: list[str]


@cache
def pools() -> Pools:
    """The pools, built at the first call (about a third of a second)."""
    rng = random.Random(20_260_101)
    diseases = list(words.DISEASES) + [f"{a}{b}" for a in words.ROOTS for b in words.DISEASE_ENDS]
    drugs = list(words.DRUGS) + [
        f"{a}{b}{c}" for a in words.DRUG_STARTS for b in words.DRUG_MIDDLES for c in words.DRUG_ENDS
    ]
    genes = [f"{a}{n}" for a in words.GENES for n in range(1, 90)]
    rng.shuffle(genes)
    tail = [f"{a}{b}" for a in words.ROOTS for b in words.TERM_ENDS] + [
        f"{a}{b}" for a in words.GREEK for b in genes[:400]
    ]
    rng.shuffle(tail)
    slots: dict[str, Sequence[str]] = {
        "D": diseases,
        "R": drugs,
        "G": genes,
        "T": tail,
        "O": words.OUTCOMES,
        "P": words.POPULATIONS,
        "M": words.METHODS,
        "Q": words.QUALITIES,
        "C": words.COUNTRIES,
    }
    fill = _Filler(rng, slots)
    sentences = {part: [fill(t) for t in _spread(rng, templates, 6_000)] for part, templates in words.SENTENCES.items()}
    titles = [fill(t) for t in _spread(rng, words.TITLES, 8_000)]
    surnames = list(words.SURNAMES) + [f"{a}{b}" for a in words.NAME_STARTS for b in words.NAME_ENDS]
    headings = [Heading(f"D{1_000 + 7 * n:06d}", name) for n, name in enumerate(_headings(diseases, drugs, tail))]
    return Pools(
        sentences,
        titles,
        tail,
        surnames,
        list(words.FORENAMES),
        _affiliations(rng),
        headings,
        zipf(len(headings)),
        _references(rng, titles, surnames),
        drugs,
        diseases,
    )


def zipf(size: int, power: float = 0.9) -> list[float]:
    """Cumulative weights under which the n-th of *size* things is drawn 1 / n ** *power* as often as the first."""
    return list(itertools.accumulate(1 / n**power for n in range(1, size + 1)))


def initials(forename: str) -> str:
    """The initials as NLM writes them: no dots, no spaces."""
    return "".join(part[0] for part in forename.replace("-", " ").split())


def escape(text: str) -> str:
    """*text* with the three characters that XML text must not hold as they are."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def paragraph(rng: random.Random, part: str, sentences: int) -> str:
    """Some sentences of a section of an abstract (*part*: background, methods, results or conclusions)."""
    drawn = rng.choices(pools().sentences[part], k=sentences)
    if rng.random() < 0.4:
        drawn[-1] = rarity(rng)
    if part == "results":
        drawn.append(statistic(rng))
    return " ".join(drawn)


def prose(rng: random.Random, sentences: int) -> str:
    """Running text out of every section, for descriptions and labels."""
    every = pools().sentences
    half = sentences // 2
    drawn = rng.choices(every["results"], k=half) + rng.choices(every["background"], k=sentences - half)
    drawn.insert(half, statistic(rng) if rng.random() < 0.5 else rarity(rng))
    return " ".join(drawn)


def rarity(rng: random.Random) -> str:
    """A sentence with words that hardly any other record has: the long tail of a real vocabulary."""
    return rng.choice(words.RARITIES) % (compound(rng), compound(rng), rng.choice(pools().diseases))


def compound(rng: random.Random) -> str:
    """One of a quarter of a million words."""
    return f"{rng.choice(words.ROOTS)}o{rng.choice(words.ROOTS)}{rng.choice(words.TERM_ENDS)}"


def statistic(rng: random.Random) -> str:
    """A sentence of figures that hardly ever comes twice."""
    draw = rng.random
    return rng.choice(words.STATISTICS) % (
        20 + int(draw() * 9_000),
        rng.choice(words.OUTCOMES),
        draw() * 90,
        draw() * 12,
        draw() * 3,
        0.001 + draw() * draw() * 0.6,
    )


class _Filler:
    """Fills the slots of a template; draws of a slot follow Zipf's law."""

    def __init__(self, rng: random.Random, slots: dict[str, Sequence[str]]) -> None:
        self._stock: dict[str, list[str]] = {}
        self._rng, self._slots = rng, slots
        self._weights = {slot: zipf(len(names)) for slot, names in slots.items()}

    def __call__(self, template: str) -> str:
        out: list[str] = []
        for piece in template.split("{"):
            slot, brace, rest = piece.partition("}")
            out.append(self._draw(slot) + rest if brace else piece)
        text = "".join(out)
        return text[0].upper() + text[1:]

    def _draw(self, slot: str) -> str:
        stock = self._stock.get(slot)
        if not stock:
            stock = self._rng.choices(self._slots[slot], cum_weights=self._weights[slot], k=5_000)
            self._stock[slot] = stock
        return stock.pop()


def _spread(rng: random.Random, templates: Sequence[str], count: int) -> list[str]:
    return rng.choices(templates, k=count)


def _headings(diseases: Sequence[str], drugs: Sequence[str], tail: Sequence[str]) -> list[str]:
    common = [
        "Humans",
        "Male",
        "Female",
        "Adult",
        "Middle Aged",
        "Aged",
        "Animals",
        "Young Adult",
        "Retrospective Studies",
    ]
    mixed = itertools.chain.from_iterable(zip(diseases[:1_500], drugs[:1_500], tail[:1_500], strict=False))
    return common + [name[0].upper() + name[1:] for name in mixed]


def _affiliations(rng: random.Random) -> list[str]:
    return [
        f"{rng.choice(words.DEPARTMENTS)}, {rng.choice(words.INSTITUTES) % city}, {city}, {country}."
        for city, country in (rng.choice(words.CITIES) for _ in range(6_000))
    ]


def _references(rng: random.Random, titles: Sequence[str], surnames: Sequence[str]) -> list[str]:
    """Citations of references in the styles that publishers send, without the year (``%d`` stands for it)."""
    out: list[str] = []
    letters = "ABCDEFGHJKLMNPRSTW"
    for n in range(20_000):
        journal = rng.choice(words.JOURNALS)
        who = ", ".join(f"{rng.choice(surnames)} {rng.choice(letters)}{rng.choice(letters)}" for _ in range(1 + n % 5))
        pages = rng.randrange(1, 3_000)
        tail = f";{rng.randrange(1, 400)}({rng.randrange(1, 13)}):{pages}-{pages % 100 + rng.randrange(1, 20)}."
        title = rng.choice(titles).replace("%", "%%")
        if n % 4:
            out.append(f"{who}, et al. {title} {journal.iso}. %d{tail}")
        else:
            out.append(f"{journal.iso}. %d {rng.choice(words.MONTHS)}{tail}")
    return out
