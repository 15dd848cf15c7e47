"""The made-up files are what they claim: like the publishers' own, the same each time, and of one piece."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

import places
from medmirror_testing.samples import (
    HOSTILE,
    write_hostile,
    write_huge_citation,
    write_huge_study,
    write_openfda,
    write_pubmed,
    write_studies,
)
from medmirror_testing.samples.openfda import ENDPOINTS
from medmirror_testing.samples.text import FIRST_PMID, article_of, nct_id, trial_of

_DTD = places.DATA / "pubmed/dtd/pubmed_250101.dtd"
_SAFE = etree.XMLParser(resolve_entities=False, load_dtd=False, no_network=True, huge_tree=True)


def _root(path: Path) -> Any:
    return etree.parse(str(path), _SAFE).getroot()


def _results(path: Path) -> list[dict[str, Any]]:
    with zipfile.ZipFile(path) as archive:
        (name,) = archive.namelist()
        found: list[dict[str, Any]] = json.loads(archive.read(name))["results"]
        return found


def test_same_seed_same_bytes_and_another_seed_other_bytes(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        folder = tmp_path / name
        folder.mkdir()
        write_pubmed(folder, 40, seed=seed)
        write_studies(folder / "s.zip", 5, shape="zip", seed=seed)
        for endpoint in ENDPOINTS:
            write_openfda(folder, endpoint, 5, seed=seed)
    for one in (tmp_path / "a").iterdir():
        assert one.read_bytes() == (tmp_path / "b" / one.name).read_bytes()
        assert one.read_bytes() != (tmp_path / "c" / one.name).read_bytes()


def test_pubmed_file_is_gzip_with_nlm_checksum_beside_it(tmp_path: Path) -> None:
    file = write_pubmed(tmp_path, 20, year=25, number=1275, deletes=(7, 8))
    assert file.path.name == "pubmed25n1275.xml.gz"
    digest = hashlib.md5(file.path.read_bytes(), usedforsecurity=False).hexdigest()
    assert (tmp_path / "pubmed25n1275.xml.gz.md5").read_text() == f"MD5(pubmed25n1275.xml.gz)= {digest}\n"
    raw = gzip.decompress(file.path.read_bytes())
    assert len(raw) == file.size
    root = etree.fromstring(raw, _SAFE)
    assert len(root) == file.records + 1
    assert root[-1].tag == "DeleteCitation"
    assert [pmid.text for pmid in root[-1]] == ["7", "8"]


def test_pubmed_record_has_the_size_of_a_recent_one(tmp_path: Path) -> None:
    file = write_pubmed(tmp_path / "p.xml", 2_000)
    assert 6_300 < file.size / file.records < 7_700
    lists = re.findall(rb"<ReferenceList>.*?</PubmedData>", file.path.read_bytes())
    assert 0.35 < sum(map(len, lists)) / file.size < 0.6


def test_indented_file_says_the_same_as_the_compact_one(tmp_path: Path) -> None:
    def flat(element: Any) -> Any:
        text = element.text if (element.text or "").strip() or not len(element) else None
        return element.tag, dict(element.attrib), text, [(flat(x), (x.tail or "").strip()) for x in element]

    compact = write_pubmed(tmp_path / "a.xml", 60, deletes=(1,)).path
    indented = write_pubmed(tmp_path / "b.xml", 60, deletes=(1,), indent=True).path
    assert indented.read_text().count("\n") > 60 * 50
    assert flat(_root(compact)) == flat(_root(indented))


def test_changed_file_differs_in_exactly_the_named_records(tmp_path: Path) -> None:
    before = _root(write_pubmed(tmp_path / "a.xml", 300).path)
    file = write_pubmed(tmp_path / "b.xml", 300, change=0.02)
    after = _root(file.path)
    assert len(file.changed) == 6
    assert len(before) == len(after)
    pairs = zip(before, after, strict=True)
    differing = [int(b.findtext(".//PMID")) for a, b in pairs if etree.tostring(a) != etree.tostring(b)]
    assert differing == list(file.changed)


def test_revisions_come_again_with_other_content(tmp_path: Path) -> None:
    first = _root(write_pubmed(tmp_path / "a.xml", 20).path)
    again = _root(
        write_pubmed(tmp_path / "b.xml", 2, first_pmid=FIRST_PMID + 500, number=2, revisions=(FIRST_PMID,)).path
    )
    assert again[-1].findtext("MedlineCitation/PMID") == str(FIRST_PMID)
    titles = ["".join(root.find("MedlineCitation/Article/ArticleTitle").itertext()) for root in (again[-1], first[0])]
    assert titles[0] != titles[1]


def test_file_holds_several_versions_a_book_and_an_empty_title(tmp_path: Path) -> None:
    root = _root(write_pubmed(tmp_path / "a.xml", 1_500).path)
    assert root.find("PubmedBookArticle") is not None
    versions = root.findall("PubmedArticle/MedlineCitation/PMID[@Version='2']")
    assert versions
    pmids = [pmid.text for pmid in root.findall("PubmedArticle/MedlineCitation/PMID")]
    assert pmids.count(versions[0].text) == 2
    assert any(not len(title) and not title.text for title in root.iter("ArticleTitle"))
    for rare in ("MedlineDate", "Season", "CollectiveName", "VernacularTitle", "OtherAbstract"):
        assert root.find(f".//{rare}") is not None, rare


@pytest.mark.shared
@pytest.mark.skipif(not _DTD.exists(), reason="the publishers' DTDs are not here")
def test_pubmed_file_is_valid_and_has_every_element_and_attribute_of_the_dtd(tmp_path: Path) -> None:
    import io

    mathml = "".join(f"<!ELEMENT mml:{name} ANY>" for name in ("math", "mrow", "msup", "mi", "mn", "mo"))
    mathml += "<!ATTLIST mml:math xmlns:mml CDATA #IMPLIED><!ATTLIST mml:mo stretchy CDATA #IMPLIED>"
    outside = re.compile(r"<!ENTITY % mathml-in-pubmed.*?%mathml-in-pubmed;", re.DOTALL)
    dtd = etree.DTD(io.StringIO(outside.sub(mathml, _DTD.read_text())))
    root = _root(write_pubmed(tmp_path / "a.xml", 300, deletes=(1,)).path)
    assert dtd.validate(root), dtd.error_log.filter_from_errors()
    seen = {element.tag for element in root.iter()}
    attributes = {(element.tag, name) for element in root.iter() for name in element.attrib}
    other_roots = {"BookDocumentSet", "PubmedBookArticleSet", "DeleteDocument"}
    used_nowhere = {"ContractNumber", "URL"}
    declared = [element for element in dtd.iterelements() if not element.prefix]
    assert {element.name for element in declared} - seen == other_roots | used_nowhere
    for element in declared:
        if element.name in seen:
            assert {(element.name, x.name) for x in element.iterattributes()} <= attributes


def test_studies_are_the_same_in_every_shape(tmp_path: Path) -> None:
    array = json.loads(write_studies(tmp_path / "a.json", 6).path.read_bytes())
    page = json.loads(write_studies(tmp_path / "p.json", 6, shape="page", next_page="x", pretty=True).path.read_bytes())
    assert page["studies"] == array
    assert page["nextPageToken"] == "x"
    write_studies(tmp_path / "z.zip", 6, shape="zip")
    with zipfile.ZipFile(tmp_path / "z.zip") as archive:
        assert [json.loads(archive.read(name)) for name in archive.namelist()] == array
    write_studies(tmp_path / "f", 6, shape="folder")
    assert [json.loads(one.read_bytes()) for one in sorted((tmp_path / "f").iterdir())] == array


def test_studies_have_their_rarities_and_their_size(tmp_path: Path) -> None:
    file = write_studies(tmp_path / "a.json", 300)
    found = json.loads(file.path.read_bytes())
    assert 15_000 < file.size / 300 < 25_000
    places = [len(study["protocolSection"].get("contactsLocationsModule", {}).get("locations", ())) for study in found]
    assert max(places) == places[1] == 1_200
    assert min(places) == 0
    assert any("resultsSection" in study for study in found)
    dates = [study["protocolSection"]["statusModule"]["startDateStruct"]["date"] for study in found]
    assert {len(day) for day in dates} == {7, 10}


def test_changed_studies_differ_and_no_other(tmp_path: Path) -> None:
    before = json.loads(write_studies(tmp_path / "a.json", 100).path.read_bytes())
    file = write_studies(tmp_path / "b.json", 100, change=0.05)
    after = json.loads(file.path.read_bytes())
    ids = [b["protocolSection"]["identificationModule"]["nctId"] for a, b in zip(before, after, strict=True) if a != b]
    assert tuple(ids) == file.changed
    assert len(ids) == 5


def test_articles_and_trials_name_each_other(tmp_path: Path) -> None:
    assert trial_of(article_of(4)) == nct_id(4)
    root = _root(write_pubmed(tmp_path / "a.xml", 200).path)
    studies = json.loads(write_studies(tmp_path / "s.json", 10).path.read_bytes())
    named = {
        accession.text
        for bank in root.iter("DataBank")
        if bank.findtext("DataBankName") == "ClinicalTrials.gov"
        for accession in bank.iter("AccessionNumber")
    }
    assert named == {nct_id(n) for n in range(10)}
    pmids = {pmid.text for pmid in root.iter("PMID")}
    cited = {
        reference.get("pmid")
        for study in studies
        for reference in study["protocolSection"].get("referencesModule", {}).get("references", ())
        if reference["type"] in ("RESULT", "DERIVED")
    }
    assert cited
    assert cited <= pmids


def test_labels_products_and_applications_join(tmp_path: Path) -> None:
    rows = {name: _results(write_openfda(tmp_path, name, 60).path) for name in ENDPOINTS}
    labels = {label["set_id"] for label in rows["label"]}
    applications = {record["application_number"] for record in rows["drugsfda"]}
    joined = [record for record in rows["ndc"] if record["openfda"]]
    assert len(joined) > 40
    assert all(record["openfda"]["spl_set_id"][0] in labels for record in joined)
    assert all(record["application_number"] in applications for record in rows["ndc"])
    assert any(not label["openfda"] for label in rows["label"])
    assert len({record["product_id"] for record in rows["ndc"]}) == 60
    assert len({record["product_ndc"] for record in rows["ndc"]}) < 60
    assert len({record["safetyreportid"] for record in rows["event"]}) == 60


def test_openfda_file_can_be_plain_and_have_meta_last(tmp_path: Path) -> None:
    file = write_openfda(tmp_path / "l.json", "label", 40, meta_last=True, pretty=False)
    text = file.path.read_bytes()
    assert text.startswith(b'{"results": [')
    value = json.loads(text)
    assert value["meta"]["results"]["total"] == len(value["results"]) == 40
    assert file.size == len(text)


def test_hostile_files_are_all_made(tmp_path: Path) -> None:
    paths = write_hostile(tmp_path)
    assert set(paths) == {kind.name for kind in HOSTILE}
    assert all(path.exists() for path in paths.values())
    assert sum(path.stat().st_size for path in paths.values()) < 3_000_000
    with pytest.raises(EOFError):
        gzip.decompress(paths["truncated gzip"].read_bytes())
    assert len(_lenient(paths["truncated xml"])) == 9
    assert paths["invalid utf-8"].read_bytes().count(b"\xff\xfe") == 1


def _lenient(path: Path) -> list[bytes]:
    return re.findall(rb"<PubmedArticle>.*?</PubmedArticle>", path.read_bytes(), re.DOTALL)


def test_huge_records_have_the_asked_size(tmp_path: Path) -> None:
    xml = write_huge_citation(tmp_path / "h.xml", 3)
    assert 3_000_000 < xml.stat().st_size < 3_200_000
    assert len(_root(xml)) == 3
    study = write_huge_study(tmp_path / "h.json", 3)
    assert 3_000_000 < study.stat().st_size < 3_400_000
    assert len(json.loads(study.read_bytes())) == 3


def test_vocabulary_has_a_long_tail(tmp_path: Path) -> None:
    root = _root(write_pubmed(tmp_path / "a.xml", 1_000).path)
    words = re.findall(r"[^\W\d_]{3,}", " ".join("".join(x.itertext()) for x in root.iter("AbstractText")).lower())
    counts = Counter(words)
    assert len(counts) > 4_000
    assert sum(count == 1 for count in counts.values()) > 1_500
