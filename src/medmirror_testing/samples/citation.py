"""One PubmedArticle as NLM prints it today: everything on one line, no indentation."""

from __future__ import annotations

import random
from datetime import date, timedelta

from medmirror_testing.samples import rarities
from medmirror_testing.samples import wordlists as words
from medmirror_testing.samples.text import escape, initials, paragraph, pools, statistic, trial_of

_TODAY = date(2026, 1, 24)
_STATUSES = ("MEDLINE", "PubMed-not-MEDLINE", "In-Process", "In-Data-Review", "Publisher", "OLDMEDLINE", "Completed")
_OWNERS = ("NASA", "PIP", "KIE", "HSR", "HMD", "NOTNLM")
_TYPES = (
    ("D016428", "Journal Article"),
    ("D016454", "Review"),
    ("D002363", "Case Reports"),
    ("D016449", "Randomized Controlled Trial"),
    ("D016422", "Letter"),
    ("D016421", "Editorial"),
    ("D052061", "Research Support, N.I.H., Extramural"),
    ("D013485", "Research Support, Non-U.S. Gov't"),
    ("D017418", "Meta-Analysis"),
)
_SECTIONS = (
    ("BACKGROUND", "BACKGROUND", "background"),
    ("METHODS", "METHODS", "methods"),
    ("RESULTS", "RESULTS", "results"),
    ("CONCLUSIONS", "CONCLUSIONS", "conclusions"),
)
_QUALIFIERS = [
    "therapy",
    "drug-therapy",
    "epidemiology",
    "metabolism",
    "genetics",
    "diagnosis",
    "mortality",
    "complications",
    "adverse-effects",
    "pathology",
]
_LANGUAGES = ("chi", "ger", "fre", "spa", "rus", "jpn", "por")


def citation(pmid: int, *, seed: int, version: int = 1, revision: int = 0, showcase: bool = False) -> str:
    """The article *pmid*; a *revision* above 0 has another title, abstract and revision date and is otherwise the same.

    A *showcase* holds every element and attribute of the DTD of 2025 that an article may have.
    """
    rng = random.Random((seed << 44) ^ (pmid << 8) ^ version)
    edit = random.Random((seed << 44) ^ (pmid << 8) ^ (revision << 3) ^ 5) if revision else None
    created = _TODAY - timedelta(days=int(9_000 * rng.random() ** 3))
    status = rng.choices(_STATUSES, (52, 26, 9, 1, 11, 0.5, 0.1))[0]
    if showcase:
        status = "MEDLINE"
    revised = _TODAY + timedelta(days=revision) if revision else created + timedelta(days=rng.randrange(1, 400))
    head = f'<PubmedArticle><MedlineCitation Status="{status}"'
    if rng.random() < 0.4 or showcase:
        head += f' IndexingMethod="{rng.choice(("Automated", "Curated", "Manual"))}"'
    head += f' Owner="{rng.choice(_OWNERS) if rng.random() < 0.004 else "NLM"}"'
    if version > 1 or showcase:
        head += f' VersionID="{version}" VersionDate="{created:%Y/%m/%d}"'
    indexed = status in ("MEDLINE", "OLDMEDLINE", "Completed")
    ids = _identifiers(rng, pmid, showcase)
    return "".join(
        (
            f'{head}><PMID Version="{version}">{pmid}</PMID>',
            _day("DateCompleted", created + timedelta(days=30)) if indexed else "",
            _day("DateRevised", revised),
            _article(rng, edit, pmid, created, ids, showcase),
            _after_article(rng, pmid, indexed, showcase),
            "</MedlineCitation>",
            _pubmed_data(rng, created, ids, showcase),
            "</PubmedArticle>",
        )
    )


def _identifiers(rng: random.Random, pmid: int, showcase: bool) -> dict[str, str]:
    ids = {"pubmed": str(pmid)}
    if rng.random() < 0.45 or showcase:
        ids["pmc"] = f"PMC{pmid - 29_000_000}"
    if rng.random() < 0.92 or showcase:
        ids["doi"] = (
            f"10.{1000 + pmid % 97 * 61}/s{rng.randrange(10_000, 99_999)}-{pmid % 1_000:03d}-"
            f"{rng.randrange(10_000, 99_999)}-{pmid % 10}"
        )
    if rng.random() < 0.4 or showcase:
        ids["pii"] = (
            f"S{rng.randrange(1000, 9999)}-{rng.randrange(1000, 9999)}({pmid % 100:02d})"
            f"{rng.randrange(10_000, 99_999)}-X"
        )
    if showcase:
        ids |= {
            "mid": f"NIHMS{pmid % 2_000_000}",
            "pmcid": f"pmc-id: PMC{pmid - 29_000_000};",
            "pmcpid": f"pmcpid{pmid}",
            "sici": f"0000-0000({pmid})1:1<1:A>2.0.TX;2-#",
        }
        ids |= {"pmpid": str(pmid), "medline": f"{pmid % 100_000_000:08d}"}
    return ids


def _article(
    rng: random.Random, edit: random.Random | None, pmid: int, created: date, ids: dict[str, str], showcase: bool
) -> str:
    journal = words.JOURNALS[int(len(words.JOURNALS) * rng.random() ** 2)]
    foreign = rng.random() < 0.03 or showcase
    title = rng.choice(pools().titles)
    if edit:
        title = f"{title[:-1]}: {edit.choice(pools().terms)}."
    if foreign:
        title = f"[{title[:-1]}]."
    title = "" if rng.random() < 0.002 and not showcase else rarities.marked_up(rng, escape(title), showcase)
    model = rng.choice(("Print-Electronic", "Electronic", "Print", "Electronic-eCollection", "Electronic-Print"))
    medium, kind = ("Print", "Print") if model == "Print" else ("Internet", "Electronic")
    page = rng.randrange(1, 4_000)
    pages = (
        f"<MedlinePgn>{page}-{page % 100 + 9}</MedlinePgn>"
        if rng.random() < 0.6
        else f"<MedlinePgn>e{page}</MedlinePgn>"
    )
    if rng.random() < 0.5 or showcase:
        pages = f"<StartPage>{page}</StartPage><EndPage>{page + 9}</EndPage>" + pages
    locations = "".join(
        f'<ELocationID EIdType="{name}" '
        f'ValidYN="{"N" if rng.random() < 0.002 else "Y"}">{escape(ids[name])}</ELocationID>'
        for name in ("pii", "doi")
        if name in ids
    )
    if rng.random() < 0.85 or showcase or not locations:
        locations = f"<Pagination>{pages}</Pagination>{locations}"
    language = rng.choice(_LANGUAGES) if foreign else "eng"
    types = _TYPES[:1] if rng.random() < 0.6 else (_TYPES[0], rng.choice(_TYPES[1:]))
    vernacular = (
        f"<VernacularTitle>{rarities.marked_up(rng, rng.choice(rarities.VERNACULAR), showcase)}</VernacularTitle>"
        if foreign
        else ""
    )
    electronic = (
        "" if model == "Print" and not showcase else f'<ArticleDate DateType="Electronic">{_ymd(created)}</ArticleDate>'
    )
    volume = f"<Volume>{rng.randrange(1, 400)}</Volume>" + (
        f"<Issue>{rng.randrange(1, 25)}</Issue>" if rng.random() < 0.75 else ""
    )
    return "".join(
        (
            f'<Article PubModel="{model}"><Journal><ISSN IssnType="{kind}">{journal.issn}</ISSN><JournalIssue '
            f'CitedMedium="{medium}">',
            volume if rng.random() < 0.95 or showcase else "",
            f"<PubDate>{_pub_date(rng, created)}</PubDate></JournalIssue><Title>{escape(journal.title)}</Title>",
            f"<ISOAbbreviation>{journal.iso}</ISOAbbreviation></Journal>",
            f"<ArticleTitle{rarities.book_link(showcase)}>{title}</ArticleTitle>" if title else "<ArticleTitle/>",
            locations,
            _abstract(rng, edit, showcase),
            _authors(rng, showcase),
            f"<Language>{language}</Language>",
            _databanks(pmid, rng, showcase),
            rarities.grants(rng, showcase),
            "<PublicationTypeList>",
            "".join(f'<PublicationType UI="{ui}">{escape(name)}</PublicationType>' for ui, name in types),
            f"</PublicationTypeList>{vernacular}{electronic}</Article><MedlineJournalInfo>"
            f"<Country>{journal.country}</Country>",
            f"<MedlineTA>{journal.iso}</MedlineTA><NlmUniqueID>{journal.nlm_id}</NlmUniqueID>"
            f"<ISSNLinking>{journal.linking}</ISSNLinking></MedlineJournalInfo>",
        )
    )


def _pub_date(rng: random.Random, day: date) -> str:
    how = rng.random()
    month = words.MONTHS[day.month - 1]
    if how < 0.45:
        return f"<Year>{day.year}</Year><Month>{month}</Month><Day>{day.day:02d}</Day>"
    if how < 0.8:
        return f"<Year>{day.year}</Year><Month>{month}</Month>"
    if how < 0.93:
        return f"<Year>{day.year}</Year>"
    if how < 0.95:
        return f"<Year>{day.year}</Year><Month>{day.month:02d}</Month>"
    if how < 0.96:
        return f"<Year>{day.year}</Year><Season>{rng.choice(('Spring', 'Summer', 'Autumn', 'Winter'))}</Season>"
    other = words.MONTHS[day.month % 12]
    span = rng.choice((f"{month}-{other}", f"{month} 28-{other} 3", f"{month}/{other}", "Annual"))
    return f"<MedlineDate>{day.year} {span}</MedlineDate>"


def _abstract(rng: random.Random, edit: random.Random | None, showcase: bool) -> str:
    how = rng.random()
    if how < 0.3 and not showcase:
        return ""
    added = f" {escape(statistic(edit))}" if edit else ""
    if how < 0.58 or showcase:
        style = 0.0 if showcase else rng.random()
        parts = [
            _label(label, category, style)
            + rarities.marked_up(rng, escape(paragraph(rng, part, rng.randrange(1, 3))), showcase)
            for label, category, part in _SECTIONS
        ]
        if showcase:
            parts += rarities.rare_sections(rng)
        body = "</AbstractText>".join(parts)
    else:
        text = " ".join(paragraph(rng, part, rng.randrange(1, 3)) for _, _, part in _SECTIONS)
        body = f"<AbstractText>{rarities.marked_up(rng, escape(text), showcase)}"
    notice = ""
    if rng.random() < 0.35 or showcase:
        notice = (
            "<CopyrightInformation>© 2025. The "
            f"Author(s){rng.choice(('.', ', under exclusive licence.', ' &amp; Co. All rights reserved.'))}"
            "</CopyrightInformation>"
        )
    return f"<Abstract>{body}{added}</AbstractText>{notice}</Abstract>"


def _label(label: str, category: str, style: float) -> str:
    """The start tag of a section: capitals and a category, or the publisher's own words and none."""
    if style < 0.6:
        return f'<AbstractText Label="{label}" NlmCategory="{category}">'
    if style < 0.95:
        return f'<AbstractText Label="{label.capitalize()}" NlmCategory="UNASSIGNED">'
    return f'<AbstractText Label="{label}">'


def _authors(rng: random.Random, showcase: bool) -> str:
    count = int(rng.paretovariate(1.75) * 1.7) if rng.random() > 0.02 or showcase else 0
    if not count:
        return ""
    pool = pools()
    incomplete = "N" if rng.random() < 0.01 else "Y"
    kind = ' Type="authors"' if showcase else ""
    parts = [f'<AuthorList CompleteYN="{incomplete}"{kind}>']
    modern = rng.random() < 0.75
    houses = rng.choices(pool.affiliations, k=3)
    for n in range(max(3, min(count, 300)) if showcase else min(count, 300)):
        surname, forename = escape(rng.choice(pool.surnames)), rng.choice(pool.forenames)
        if rng.random() < 0.3:
            forename += f" {chr(65 + int(rng.random() * 26))}"
        equal = f' EqualContrib="{"N" if n else "Y"}"' if (n < 2 and rng.random() < 0.06) or showcase else ""
        valid = "N" if rng.random() < 0.001 or (showcase and n == 2) else "Y"
        parts.append(
            f'<Author ValidYN="{valid}"{equal}><LastName>{surname}</LastName><ForeName>{forename}</ForeName>'
            f"<Initials>{initials(forename)}</Initials>"
        )
        if rng.random() < 0.005 or showcase:
            parts.append(f"<Suffix>{rng.choice(('Jr', 'Sr', '2nd', '3rd'))}</Suffix>")
        if (modern and rng.random() < 0.28) or showcase:
            digits = f"{rng.randrange(10**10):010d}"
            start = "" if rng.random() < 0.85 else "https://orcid.org/"
            parts.append(
                f'<Identifier Source="ORCID">{start}0000-00{digits[:2]}-{digits[2:6]}-{digits[6:]}</Identifier>'
            )
        if (modern and rng.random() < 0.4) or showcase:
            parts += rarities.affiliation(rng, rng.choice(houses), showcase)
        parts.append("</Author>")
    if rng.random() < 0.015 or showcase:
        parts.append(rarities.collective_author(rng, showcase))
    parts.append("</AuthorList>")
    return "".join(parts)


def _databanks(pmid: int, rng: random.Random, showcase: bool) -> str:
    trial = trial_of(pmid)
    banks = []
    if trial or showcase:
        banks.append(("ClinicalTrials.gov", [trial or "NCT06000000"]))
    if rng.random() < 0.01 or showcase:
        banks.append(("GENBANK", [f"MN{rng.randrange(10**6):06d}" for _ in range(rng.randrange(1, 6))]))
    if not banks:
        return ""
    inner = "".join(
        f"<DataBank><DataBankName>{name}</DataBankName><AccessionNumberList>"
        + "".join(f"<AccessionNumber>{number}</AccessionNumber>" for number in numbers)
        + "</AccessionNumberList></DataBank>"
        for name, numbers in banks
    )
    if showcase:
        inner += "<DataBank><DataBankName>figshare</DataBankName></DataBank>"
    return f'<DataBankList CompleteYN="{"N" if rng.random() < 0.02 else "Y"}">{inner}</DataBankList>'


def _after_article(rng: random.Random, pmid: int, indexed: bool, showcase: bool) -> str:
    keywords = ""
    if rng.random() < 0.42 or showcase:
        drawn = rng.choices(pools().terms, k=rng.randrange(3, 9))
        keywords = "".join(
            f'<Keyword MajorTopicYN="{"Y" if rng.random() < 0.05 else "N"}">'
            f"{rarities.marked_up(rng, escape(k), showcase)}</Keyword>"
            for k in drawn
        )
        if rng.random() < 0.002 or showcase:
            keywords += '<Keyword MajorTopicYN="Y"/>'
        keywords = f'<KeywordList Owner="NOTNLM">{keywords}</KeywordList>'
    coi = ""
    if rng.random() < 0.12 or showcase:
        coi = f"<CoiStatement>{rarities.marked_up(rng, rng.choice(rarities.INTERESTS), showcase)}</CoiStatement>"
    return "".join(
        (
            _chemicals(rng, showcase) if indexed else "",
            rarities.supplementary(rng, showcase) if indexed else "",
            f"<CitationSubset>{rng.choice(('IM', 'IM', 'IM', 'AIM', 'N', 'D'))}</CitationSubset>" if indexed else "",
            rarities.corrections(rng, pmid, showcase),
            rarities.gene_symbols(rng, showcase),
            _mesh(rng, showcase) if indexed else "",
            rarities.before_keywords(rng, showcase),
            keywords,
            rarities.keyword_list(rng, showcase),
            coi,
            rarities.after_interests(rng, showcase),
        )
    )


def _chemicals(rng: random.Random, showcase: bool) -> str:
    if rng.random() < 0.6 and not showcase:
        return ""
    out = []
    for drug in rng.choices(pools().drugs, k=rng.randrange(1, 6)):
        number = (
            "0" if rng.random() < 0.5 else f"{rng.randrange(50, 99_999)}-{rng.randrange(10, 99)}-{rng.randrange(9)}"
        )
        out.append(
            f'<Chemical><RegistryNumber>{number}</RegistryNumber><NameOfSubstance UI="C{rng.randrange(10**6):06d}">'
            f"{drug.capitalize()}</NameOfSubstance></Chemical>"
        )
    return f"<ChemicalList>{''.join(out)}</ChemicalList>"


def _mesh(rng: random.Random, showcase: bool) -> str:
    pool = pools()
    out = []
    for heading in dict.fromkeys(rng.choices(pool.headings, cum_weights=pool.heading_weights, k=rng.randrange(3, 11))):
        auto = ' AutoHM="Y"' if rng.random() < 0.03 or showcase else ""
        place = ' Type="Geographic"' if rng.random() < 0.02 or showcase else ""
        major = "Y" if rng.random() < 0.25 else "N"
        out.append(
            f'<MeshHeading><DescriptorName UI="{heading.ui}" '
            f'MajorTopicYN="{major}"{auto}{place}>{escape(heading.name)}</DescriptorName>'
        )
        count = 1 if showcase else int(rng.random() * 1.6 + rng.random() * 0.6)
        for k in range(count):
            name = _QUALIFIERS[(int(heading.ui[1:]) + k) % len(_QUALIFIERS)]
            major = "Y" if rng.random() < 0.3 else "N"
            out.append(
                f'<QualifierName UI="Q000{len(name) * 11 + k:03d}" '
                f'MajorTopicYN="{major}"{auto}>{name.replace("-", " ")}</QualifierName>'
            )
        out.append("</MeshHeading>")
    return f"<MeshHeadingList>{''.join(out)}</MeshHeadingList>"


def _pubmed_data(rng: random.Random, created: date, ids: dict[str, str], showcase: bool) -> str:
    history = []
    for n, status in enumerate(("received", "revised", "accepted")):
        if rng.random() < 0.55:
            history.append(
                f'<PubMedPubDate PubStatus="{status}">{_ymd(created - timedelta(days=150 - 45 * n))}</PubMedPubDate>'
            )
    for status in ("medline", "pubmed", "entrez", *(rarities.HISTORY if showcase else ())):
        second = "<Second>0</Second>" if showcase else ""
        clock = f"<Hour>{rng.randrange(24)}</Hour><Minute>{rng.randrange(60)}</Minute>{second}"
        history.append(
            f'<PubMedPubDate PubStatus="{status}"><Year>{created.year}</Year><Month>{created.month}</Month>'
            f"<Day>{created.day}</Day>{clock}</PubMedPubDate>"
        )
    state = rng.choice(("ppublish", "epublish", "aheadofprint", "ppublish"))
    inner = "".join(f'<ArticleId IdType="{kind}">{escape(value)}</ArticleId>' for kind, value in ids.items())
    return (
        f"<PubmedData><History>{''.join(history)}</History><PublicationStatus>{state}</PublicationStatus>"
        f"<ArticleIdList>{inner}</ArticleIdList>{rarities.objects(rng, showcase)}{_references(rng, showcase)}"
        "</PubmedData>"
    )


def _references(rng: random.Random, showcase: bool) -> str:
    how = rng.random()
    if how < 0.52 and not showcase:
        return ""
    count = 3 if showcase else 1 + int(rng.gammavariate(1.6, 14.5))
    body = "".join(_reference(rng, raw) for raw in rng.choices(pools().references, k=count))
    title = rng.choice(("<Title>References</Title>", "<Title/>")) if rng.random() < 0.08 or showcase else ""
    nested = ""
    if rng.random() < 0.01 or showcase:
        nested = (
            f"<ReferenceList><Title>Further reading</Title>{_reference(rng, pools().references[0])}</ReferenceList>"
        )
    return f"<ReferenceList>{title}{body}{nested}</ReferenceList>"


def _reference(rng: random.Random, raw: str) -> str:
    text = escape(raw % (1985 + int(40 * rng.random() ** 0.5)))
    if rng.random() < 0.03:
        text = rarities.marked_up(rng, text, True)
    if rng.random() < 0.25:
        return f"<Reference><Citation>{text}</Citation></Reference>"
    pubmed = f'<ArticleId IdType="pubmed">{rng.randrange(1_000_000, 39_999_999)}</ArticleId>'
    other = rng.random()
    if other < 0.55:
        number = rng.randrange(10**9)
        pubmed = (
            f'<ArticleId IdType="doi">10.{1000 + number % 97 * 61}/'
            f"j.{number % 1000:03d}.{2000 + number % 25}.{number:09d}</ArticleId>" + pubmed
        )
        if other < 0.25:
            pubmed = f'<ArticleId IdType="pmc">PMC{rng.randrange(100_000, 11_000_000)}</ArticleId>' + pubmed
    return f"<Reference><Citation>{text}</Citation><ArticleIdList>{pubmed}</ArticleIdList></Reference>"


def _ymd(day: date) -> str:
    return f"<Year>{day.year}</Year><Month>{day.month:02d}</Month><Day>{day.day:02d}</Day>"


def _day(name: str, day: date) -> str:
    return f"<{name}>{_ymd(day)}</{name}>"
