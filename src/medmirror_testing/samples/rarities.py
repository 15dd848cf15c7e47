"""The rare parts of a PubMed record. A *showcase* has each of them, with every value its attributes may have."""

from __future__ import annotations

import random

from medmirror_testing.samples import wordlists as words
from medmirror_testing.samples.text import FIRST_PMID, escape, initials, paragraph, pools, prose

HISTORY = [
    "received",
    "accepted",
    "epublish",
    "ppublish",
    "revised",
    "aheadofprint",
    "retracted",
    "ecollection",
    "pmc",
    "pmcr",
    "pubmedr",
    "premedline",
    "medliner",
    "pmc-release",
]
VERNACULAR = (
    "Wirksamkeit der Herzinsuffizienztherapie bei älteren Patienten: eine Übersicht.",
    "Prévalence de l'hypertension artérielle chez l'adulte en Côte d'Ivoire.",
    "Eficacia y seguridad de la metformina en niños con obesidad.",
    "二甲双胍治疗2型糖尿病合并心力衰竭的临床观察。",
    "Эффективность терапии при хронической сердечной недостаточности.",
    "高齢者における心不全の予後因子。",
)
INTERESTS = (
    "Declarations. Competing interests: The authors declare no competing interests.",
    "The authors declare that they have no known competing financial interests or "
    "personal relationships that could have appeared to influence the work.",
    "Conflict of interest: None.",
    "Disclosure: one author received grants from industry &amp; personal fees outside the submitted work.",
)
_MATH = (
    '<mml:math xmlns:mml="http://www.w3.org/1998/Math/MathML"><mml:mrow><mml:msup><mml:mi>χ</mml:mi><mml:mn>2</mml:mn></mml:msup>'
    '<mml:mo stretchy="false">=</mml:mo><mml:mn>%d.4</mml:mn></mml:mrow></mml:math>'
)
_CORRECTIONS = [
    "AssociatedDataset",
    "AssociatedPublication",
    "CommentIn",
    "CommentOn",
    "CorrectedandRepublishedIn",
    "CorrectedandRepublishedFrom",
    "ErratumIn",
    "ErratumFor",
    "ExpressionOfConcernIn",
    "ExpressionOfConcernFor",
    "RepublishedIn",
    "RepublishedFrom",
    "RetractedandRepublishedIn",
    "RetractedandRepublishedFrom",
    "RetractionIn",
    "RetractionOf",
    "UpdateIn",
    "UpdateOf",
    "SummaryForPatientsIn",
    "OriginalReportIn",
    "ReprintIn",
    "ReprintOf",
    "Cites",
]
_AGENCIES = (
    ("HL", "NHLBI NIH HHS", "United States"),
    ("CA", "NCI NIH HHS", "United States"),
    ("WT_", "Wellcome Trust", "United Kingdom"),
    ("MRC_", "Medical Research Council", "United Kingdom"),
    ("", "National Natural Science Foundation of China", ""),
    ("", "Deutsche Forschungsgemeinschaft", ""),
)
_OTHER_IDS = ["NASA", "KIE", "PIP", "POP", "ARPL", "CPC", "IND", "CPFH", "CLML", "NRCBL", "NLM", "QCIM"]
_OTHER_ABSTRACTS = ["AAMC", "AIDS", "KIE", "PIP", "NASA", "Publisher", "plain-language-summary"]


def marked_up(rng: random.Random, text: str, showcase: bool) -> str:
    """Escaped *text*, now and then with inline markup around one of its words."""
    if not showcase and rng.random() > 0.06:
        return text
    first, space, rest = text.partition(" ")
    if showcase:
        return f"{first}{space}<i>in vitro</i> CO<sub>2</sub> cm<sup>2</sup> <b>note<i>s</i></b> <u>und</u> {rest}"
    kind = rng.random()
    if kind < 0.4:
        return f"{first}{space}<i>{rng.choice(('Escherichia coli', 'in vivo', 'et al.', 'p'))}</i> {rest}"
    if kind < 0.65:
        return f"{first} CO<sub>2</sub>{space}{rest}"
    if kind < 0.85:
        return f"{first} <sup>{rng.randrange(2, 223)}</sup>Ra{space}{rest}"
    if kind < 0.97:
        return f"<b>{first}</b>{space}{rest}"
    return f"{first}{space}{_MATH % rng.randrange(1, 90)} {rest}"


def book_link(showcase: bool) -> str:
    """The attributes that a title in a book may have."""
    return ' book="nbk" part="ch1" sec="s1"' if showcase else ""


def rare_sections(rng: random.Random) -> list[str]:
    """Sections of an abstract that few articles have; the last ``</AbstractText>`` is left to the caller."""
    return [
        '<AbstractText Label="OBJECTIVE" NlmCategory="OBJECTIVE">' + escape(paragraph(rng, "background", 1)),
        f'<AbstractText Label="FUNDING" NlmCategory="UNASSIGNED">{_MATH % 3}'
        f"<DispFormula>{_MATH % 7}</DispFormula> Funded.",
        '<AbstractText Label="TRIAL REGISTRATION">ClinicalTrials.gov.',
    ]


def affiliation(rng: random.Random, place: str, showcase: bool) -> list[str]:
    """One AffiliationInfo, or two."""
    text = escape(place)
    if rng.random() < 0.05:
        text = f"{text[:-1]}. Electronic address: author{rng.randrange(10_000)}@example.org."
    if showcase:
        text = marked_up(rng, text, True)
    ids = ""
    if rng.random() < 0.02 or showcase:
        digits = f"{rng.randrange(10**9):09d}"
        ids = (
            f'<Identifier Source="ISNI">0000 0004 {digits[:4]} {digits[4:8]}</Identifier>'
            f'<Identifier Source="GRID">grid.{digits[:4]}.{digits[4:5]}</Identifier>'
        )
    out = [f"<AffiliationInfo><Affiliation>{text}</Affiliation>{ids}</AffiliationInfo>"]
    if rng.random() < 0.2 or showcase:
        out.append(
            f"<AffiliationInfo><Affiliation>{escape(rng.choice(pools().affiliations))}</Affiliation></AffiliationInfo>"
        )
    return out


def collective_author(rng: random.Random, showcase: bool) -> str:
    """A study group among the authors."""
    group = f"{rng.choice(pools().terms).upper()} Study Group"
    link = ' Investigators="inv1"' if showcase else ""
    inside = affiliation(rng, rng.choice(pools().affiliations), True) if showcase else []
    identity = '<Identifier Source="ROR">https://ror.org/00x00x</Identifier>' if showcase else ""
    name = f"<CollectiveName{link}>{escape(group)}</CollectiveName>"
    return f'<Author ValidYN="Y">{name}{identity}{"".join(inside)}</Author>'


def grants(rng: random.Random, showcase: bool) -> str:
    """A GrantList, or nothing."""
    if rng.random() > 0.13 and not showcase:
        return ""
    out = []
    chosen = _AGENCIES if showcase else rng.choices(_AGENCIES, k=rng.randrange(1, 5))
    for acronym, agency, country in chosen:
        number = f"<GrantID>{acronym}{rng.randrange(10**6):06d}</GrantID>" if rng.random() < 0.9 else ""
        short = f"<Acronym>{acronym}</Acronym>" if acronym else ""
        out.append(
            f"<Grant>{number}{short}<Agency>{agency}</Agency>"
            f"{f'<Country>{country}</Country>' if country else '<Country/>'}</Grant>"
        )
    return f'<GrantList CompleteYN="{"N" if rng.random() < 0.02 else "Y"}">{"".join(out)}</GrantList>'


def supplementary(rng: random.Random, showcase: bool) -> str:
    """A SupplMeshList, or nothing."""
    if rng.random() > 0.02 and not showcase:
        return ""
    kinds = (
        ("Disease", "Protocol", "Organism", "Anatomy", "Population")
        if showcase
        else (rng.choice(("Disease", "Protocol", "Organism")),)
    )
    names = "".join(
        f'<SupplMeshName Type="{kind}" UI="C{rng.randrange(10**6):06d}">'
        f"{escape(rng.choice(pools().terms))}</SupplMeshName>"
        for kind in kinds
    )
    return f"<SupplMeshList>{names}</SupplMeshList>"


def corrections(rng: random.Random, pmid: int, showcase: bool) -> str:
    """A CommentsCorrectionsList, or nothing."""
    if rng.random() > 0.06 and not showcase:
        return ""
    out = []
    kinds = (
        _CORRECTIONS
        if showcase
        else rng.choices(
            ("CommentIn", "CommentOn", "ErratumIn", "ErratumFor", "Cites", "UpdateOf", "RetractionIn"), k=1
        )
    )
    for kind in kinds:
        journal = rng.choice(words.JOURNALS)
        other = (
            f'<PMID Version="{1 + (rng.random() < 0.02)}">{max(FIRST_PMID, pmid - rng.randrange(1, 5_000))}</PMID>'
            if rng.random() < 0.85
            else ""
        )
        note = "<Note>corrected and republished &amp; amended</Note>" if rng.random() < 0.03 or showcase else ""
        issue = f"202{rng.randrange(6)};{rng.randrange(1, 90)}({rng.randrange(1, 12)}):{rng.randrange(1, 999)}"
        source = f"{journal.iso}. {issue}. doi: 10.1000/x{pmid}"
        out.append(
            f'<CommentsCorrections RefType="{kind}"><RefSource>{escape(source)}</RefSource>{other}{note}'
            "</CommentsCorrections>"
        )
    return f"<CommentsCorrectionsList>{''.join(out)}</CommentsCorrectionsList>"


def gene_symbols(rng: random.Random, showcase: bool) -> str:
    """A GeneSymbolList (old records only), or nothing."""
    if rng.random() > 0.002 and not showcase:
        return ""
    gene = f"{rng.choice(words.GENES)}{rng.randrange(90)}"
    return f"<GeneSymbolList><GeneSymbol>{gene}</GeneSymbol><GeneSymbol>c-myc</GeneSymbol></GeneSymbolList>"


def before_keywords(rng: random.Random, showcase: bool) -> str:
    """NumberOfReferences, PersonalNameSubjectList, OtherID and OtherAbstract."""
    out = []
    if rng.random() < 0.02 or showcase:
        out.append(f"<NumberOfReferences>{rng.randrange(1, 300)}</NumberOfReferences>")
    if rng.random() < 0.002 or showcase:
        surname, forename = escape(rng.choice(pools().surnames)), rng.choice(pools().forenames)
        out.append(
            f"<PersonalNameSubjectList><PersonalNameSubject><LastName>{surname}</LastName><ForeName>{forename}</ForeName>"
            f"<Initials>{initials(forename)}</Initials>{'<Suffix>Sir</Suffix>' if showcase else ''}"
            "</PersonalNameSubject></PersonalNameSubjectList>"
        )
    for source in _OTHER_IDS if showcase else ["NLM"] * (rng.random() < 0.02):
        out.append(f'<OtherID Source="{source}">NIHMS{rng.randrange(10**6)} [Available on 01/01/27]</OtherID>')
    for kind in _OTHER_ABSTRACTS if showcase else [rng.choice(_OTHER_ABSTRACTS[-2:])] * (rng.random() < 0.02):
        language = "eng" if kind == "plain-language-summary" else rng.choice(("fre", "spa", "ger", "por"))
        body = (
            f"<AbstractText>{escape(prose(rng, 4))}</AbstractText>"
            if rng.random() < 0.7
            else f"<AbstractText>{rng.choice(VERNACULAR) * 4}</AbstractText>"
        )
        notice = "<CopyrightInformation>Publisher.</CopyrightInformation>" if showcase else ""
        out.append(f'<OtherAbstract Type="{kind}" Language="{language}">{body}{notice}</OtherAbstract>')
    return "".join(out)


def keyword_list(rng: random.Random, showcase: bool) -> str:
    """A second KeywordList of another owner, or nothing."""
    owners = ("NLM", "NLM-AUTO", "NASA", "PIP", "KIE", "HHS") if showcase else ("NASA",) * (rng.random() < 0.001)
    return "".join(
        f'<KeywordList Owner="{owner}"><Keyword MajorTopicYN="N">{owner} term</Keyword></KeywordList>'
        for owner in owners
    )


def after_interests(rng: random.Random, showcase: bool) -> str:
    """SpaceFlightMission, InvestigatorList and GeneralNote."""
    out = []
    if rng.random() < 0.001 or showcase:
        out.append(
            "<SpaceFlightMission>Flight Experiment</SpaceFlightMission>"
            "<SpaceFlightMission>STS-107 Shuttle Project</SpaceFlightMission>"
        )
    if rng.random() < 0.004 or showcase:
        out.append(investigators(rng, 3 if showcase else rng.randrange(1, 60), showcase))
    for owner in ("NLM", "NASA", "PIP", "KIE", "HSR", "HMD") if showcase else ("NLM",) * (rng.random() < 0.003):
        out.append(f'<GeneralNote Owner="{owner}">Full author name: made up &amp; unverified.</GeneralNote>')
    return "".join(out)


def investigators(rng: random.Random, count: int, showcase: bool) -> str:
    """An InvestigatorList of *count* people."""
    out: list[str] = []
    for _ in range(count):
        surname, forename = escape(rng.choice(pools().surnames)), rng.choice(pools().forenames)
        rest = f"<ForeName>{forename}</ForeName><Initials>{initials(forename)}</Initials>"
        if showcase:
            rest += '<Suffix>Jr</Suffix><Identifier Source="ORCID">0000-0001-2345-6789</Identifier>' + "".join(
                affiliation(rng, pools().affiliations[0], True)
            )
        valid = "N" if showcase and not out else "Y"
        out.append(f'<Investigator ValidYN="{valid}"><LastName>{surname}</LastName>{rest}</Investigator>')
    name = ' ID="inv1"' if showcase else ""
    return f"<InvestigatorList{name}>{''.join(out)}</InvestigatorList>"


def objects(rng: random.Random, showcase: bool) -> str:
    """An ObjectList, or nothing."""
    if rng.random() > 0.001 and not showcase:
        return ""
    body = "<Param Name=" + '"type">erratum</Param><Param Name="id">' + f"{rng.randrange(10**8)}</Param>"
    extra = '<Param Name="note">see <i>text</i></Param>' if showcase else ""
    return f'<ObjectList><Object Type="Erratum">{body}{extra}</Object></ObjectList>'
