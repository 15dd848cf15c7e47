"""The words that ``text`` combines. Plain data."""

from __future__ import annotations

from typing import NamedTuple


class Journal(NamedTuple):
    """A made-up journal."""

    title: str
    iso: str
    issn: str
    linking: str
    nlm_id: str
    country: str


MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]

DISEASES = """heart failure|type 2 diabetes|hypertension|breast cancer|asthma|stroke|atrial fibrillation|obesity
depression
COVID-19
chronic kidney disease|Alzheimer disease|lung cancer|rheumatoid arthritis|COPD|colorectal cancer
myocardial infarction|sepsis|HIV infection
multiple sclerosis|Parkinson disease|epilepsy|schizophrenia|psoriasis|Crohn's disease|ulcerative colitis
prostate cancer|pneumonia|anemia
osteoarthritis|osteoporosis|migraine|hepatitis C|hepatitis B|cirrhosis|tuberculosis|malaria|influenza
acute leukemia|lymphoma|melanoma
glioblastoma|pancreatic cancer|gastric cancer|ovarian cancer|preeclampsia|endometriosis|infertility
autism spectrum disorder|ADHD
bipolar disorder|post-traumatic stress disorder|insomnia|chronic pain|low back pain|fibromyalgia|gout
lupus nephritis|vasculitis|sarcoidosis
cystic fibrosis|pulmonary hypertension|pulmonary embolism|deep vein thrombosis|aortic stenosis|cardiomyopathy
hypercholesterolemia
Sjögren's syndrome|Guillain-Barré syndrome|Ménière's disease|Behçet's disease|sickle cell disease|hemophilia
thalassemia""".replace("\n", "|").split("|")

DRUGS = """metformin|aspirin|atorvastatin|lisinopril|insulin glargine|amlodipine|losartan|omeprazole|simvastatin
warfarin|metoprolol|prednisone
albuterol|levothyroxine|gabapentin|sertraline|furosemide|hydrochlorothiazide|rosuvastatin|clopidogrel|apixaban
rivaroxaban|empagliflozin
dapagliflozin|semaglutide|liraglutide|sitagliptin|pioglitazone|bisoprolol|carvedilol|spironolactone|valsartan
sacubitril|digoxin|amiodarone
heparin|enoxaparin|dexamethasone|methotrexate|adalimumab|etanercept|infliximab|rituximab|tocilizumab|pembrolizumab
nivolumab|trastuzumab
bevacizumab|cisplatin|paclitaxel|docetaxel|doxorubicin|tamoxifen|letrozole|imatinib|osimertinib|erlotinib|fluoxetine
escitalopram|venlafaxine
duloxetine|bupropion|quetiapine|olanzapine|risperidone|aripiprazole|lithium|valproate|lamotrigine|levetiracetam
carbamazepine|donepezil
levodopa|morphine|oxycodone|fentanyl|ketamine|propofol|acetaminophen|ibuprofen|naproxen|celecoxib|amoxicillin
azithromycin|ciprofloxacin
vancomycin|ceftriaxone|meropenem|fluconazole|acyclovir|oseltamivir|remdesivir|tenofovir|dolutegravir|sofosbuvir
allopurinol|colchicine
alendronate|denosumab|fluticasone|budesonide|tiotropium|montelukast|ivacaftor|tacrolimus|cyclosporine""".replace(
    "\n", "|"
).split("|")

ROOTS = [
    "cardi",
    "arthr",
    "hepat",
    "nephr",
    "neur",
    "gastr",
    "enter",
    "oste",
    "derm",
    "encephal",
    "my",
    "phleb",
    "vascul",
    "angi",
    "bronch",
    "pneum",
    "splen",
    "lymph",
    "aden",
    "thyr",
    "pancreat",
    "cholecyst",
    "col",
    "proct",
    "cyst",
    "ureter",
    "urethr",
    "prostat",
    "orchi",
    "oophor",
    "salping",
    "hyster",
    "metr",
    "mast",
    "blephar",
    "kerat",
    "ir",
    "retin",
    "ot",
    "rhin",
    "laryng",
    "trache",
    "pleur",
    "pericardi",
    "endocardi",
    "valvul",
    "arteri",
    "ven",
    "capill",
    "hem",
    "thromb",
    "leuk",
    "erythr",
    "lip",
    "gluc",
    "prote",
    "chondr",
    "tend",
    "burs",
    "fasci",
    "spondyl",
    "crani",
    "mening",
    "myel",
    "radicul",
    "polyneur",
    "psych",
    "hidr",
    "trich",
    "onych",
    "adip",
    "chromat",
    "fibr",
    "gli",
    "lei",
    "rhabdomy",
    "melan",
    "sarc",
    "carcin",
    "blast",
]
DISEASE_ENDS = [
    "itis",
    "opathy",
    "osis",
    "oma",
    "algia",
    "odynia",
    "omegaly",
    "oplegia",
    "osclerosis",
    "ostenosis",
    "omalacia",
]
TERM_ENDS = [
    "ectomy",
    "otomy",
    "ostomy",
    "oplasty",
    "ography",
    "oscopy",
    "ogenesis",
    "ogenic",
    "otropic",
    "ophilic",
    "otoxicity",
    "oprotective",
    "ocyte",
    "oblast",
    "oclast",
    "ometry",
    "opexy",
    "orrhaphy",
    "odesis",
    "olysis",
    "ocentesis",
    "ogram",
    "ometer",
    "opoiesis",
    "otaxis",
    "okinetic",
    "osynthesis",
    "odynamic",
    "oreceptor",
    "omodulin",
    "ostatin",
    "okine",
    "ogenin",
]
GREEK = ["α-", "β-", "γ-", "anti-", "pre-", "non-"]
GENES = [
    "TP",
    "BRCA",
    "EGFR",
    "KRAS",
    "MYC",
    "PIK",
    "STAT",
    "JAK",
    "MAPK",
    "AKT",
    "SMAD",
    "NOTCH",
    "WNT",
    "SOX",
    "FOX",
    "GATA",
    "HOX",
    "CDK",
    "CCN",
    "BCL",
    "IL",
    "TNF",
    "CXCL",
    "CCR",
    "CD",
    "TLR",
    "NLRP",
    "CASP",
    "ATG",
    "SLC",
    "ABC",
    "KCN",
    "SCN",
    "CACN",
    "GRI",
    "GABR",
    "HTR",
    "DRD",
    "ADR",
    "CHR",
    "MMP",
    "TIMP",
    "COL",
    "FBN",
    "LAM",
    "ITG",
    "TMEM",
    "FAM",
    "ZNF",
    "CYP",
    "UGT",
    "GST",
    "miR-",
]
DRUG_STARTS = [
    "ab",
    "be",
    "cal",
    "da",
    "el",
    "fo",
    "ga",
    "il",
    "ka",
    "lu",
    "mi",
    "no",
    "ora",
    "pa",
    "re",
    "sa",
    "te",
    "ufi",
    "va",
    "xe",
    "zo",
]
DRUG_MIDDLES = ["ta", "ri", "lo", "ne", "mi", "pi", "vo", "xa", "de", "ci"]
DRUG_ENDS = [
    "mab",
    "tinib",
    "statin",
    "pril",
    "sartan",
    "olol",
    "gliptin",
    "gliflozin",
    "vir",
    "parib",
    "lisib",
    "conazole",
    "cillin",
    "oxacin",
    "dipine",
    "setron",
]

OUTCOMES = """overall survival|all-cause mortality|hospitalization|quality of life|disease progression|blood pressure
body weight|HbA1c|LDL cholesterol
pain intensity|functional status|length of stay|readmission|adverse events|cognitive function|ejection fraction
left ventricular mass|bone mineral density
viral load|infection rate|relapse|remission|response rate|time to recovery|exercise capacity|sleep quality
anxiety symptoms|treatment adherence|cost
renal function|infarct size|tumor volume|wound healing|insulin sensitivity|gut microbiota composition
serum creatinine|C-reactive protein""".replace("\n", "|").split("|")
POPULATIONS = """adults|older adults|children|adolescents|pregnant women|hospitalized patients|postmenopausal women
mice|rats|primary care patients
nursing home residents|veterans|healthy volunteers|critically ill patients|preterm infants|transplant recipients
cancer survivors|smokers|caregivers|nurses
medical students|emergency department patients|outpatients|men who have sex with men|refugees|athletes""".replace(
    "\n", "|"
).split("|")
METHODS = """a randomized controlled trial|a retrospective cohort study|a systematic review and meta-analysis
a cross-sectional survey|a case-control study
a prospective cohort study|semi-structured interviews|a Mendelian randomization analysis|single-cell RNA sequencing
whole-exome sequencing|flow cytometry
Western blotting|immunohistochemistry|molecular docking|machine learning|a Markov model|propensity score matching
multivariable logistic regression
Cox proportional hazards models|network pharmacology|mass spectrometry|diffusion tensor imaging|a crossover trial
quantitative PCR""".replace("\n", "|").split("|")
QUALITIES = """significantly|independently|markedly|moderately|strongly|inversely|consistently|only weakly
not significantly|negatively|positively|dose-dependently
unexpectedly|partially""".replace("\n", "|").split("|")
COUNTRIES = """China|the United States|India|Japan|Germany|Brazil|Iran|Türkiye|South Korea|Italy|Spain|France|England
Australia|Canada|Egypt|Nigeria|Poland|Sweden
Mexico|Thailand|Ethiopia|Saudi Arabia|Pakistan|Côte d'Ivoire|the Netherlands|Denmark""".replace("\n", "|").split("|")

TITLES = (
    "Effect of {R} on {O} in {P} with {D}: {M}.",
    "Association between {G} expression and {O} in {D}.",
    "{R} versus {R} for {D} in {P}: {M}.",
    "Prevalence and risk factors of {D} among {P} in {C}.",
    "{G} regulates {T} through the {G}/{G} pathway in {D}.",
    "The role of {T} in {D}: a narrative review.",
    "Identification of {G} as a biomarker of {D} by {M}.",
    "{T} after {T}: a case report of {D}.",
    "Trends in {O} of {P} with {D} in {C}, 2005-2024.",
    "Safety and efficacy of {R} in {P} with {D} and {D}.",
    "{T} and {T} in the management of {D}.",
    "Letter to the editor: {R} in {D}.",
    "Development and validation of a {T} score to predict {O} in {D}.",
    "Is {T} a predictor of {O} in {P}? {M}.",
    "Knockdown of {G} attenuates {D} by inhibiting {T} in {P}.",
    "Attitudes of {P} towards {R}: a qualitative study in {C}.",
)
SENTENCES = {
    "background": (
        "{D} is a major cause of morbidity in {P}, yet the contribution of {T} remains unclear.",
        "The effect of {R} on {O} in {P} with {D} has not been established.",
        "{G} has been implicated in {D}, but its relation to {T} is poorly understood.",
        "Few data from {C} describe {O} in {D}.",
        "We aimed to examine whether {R} improves {O} in {P} with {D}.",
        "Guidelines recommend {R} for {D}, although evidence in {P} is limited.",
        "Previous studies of {T} gave conflicting results, partly because {O} was measured in different ways.",
        "This study investigated the association of {G} with {D} and {O}.",
        "Recent work suggests that {T} and {G} act together in the pathogenesis of {D} (e.g., {D}).",
    ),
    "methods": (
        "We conducted {M} of {P} with {D} in {C}.",
        "Participants were assigned to {R} or {R} and followed for {O}.",
        "The primary outcome was {O}; secondary outcomes included {O} and {O}.",
        "{G} and {G} were measured by {M} in {P}.",
        "Associations were estimated by {M} with adjustment for age, sex, {D} and {R} use.",
        "Two reviewers searched four databases for studies of {R} in {D} and extracted data on {O}.",
        "{T} was assessed at baseline, after 12 weeks and at the end of follow-up.",
        "Cells were transfected with {G} siRNA and treated with {R} for 24-72 h before {T} was quantified by {M}.",
    ),
    "results": (
        "{R} was {Q} associated with {O} in {P} (P < 0.001).",
        "Compared with {R}, {R} {Q} changed {O} but not {O}.",
        "Expression of {G} was {Q} correlated with {G} and {T}.",
        "{D} was more common in {P} than in {P}, and {O} differed {Q}.",
        "No difference in {O} was seen between groups, except in {P} with {D}.",
        "Serious adverse events, mostly {D} and {D}, were rare with {R}.",
        "In subgroup analyses, {P} with {D} benefited most from {R}.",
        "Silencing of {G} {Q} reduced {T} and the phosphorylation of {G} at ≥ 10 µM {R}.",
        "The effect of {T} on {O} was {Q} mediated by {G} & {G}.",
    ),
    "conclusions": (
        "{R} improves {O} in {P} with {D} and may be considered as an alternative to {R}.",
        "These findings suggest that {G} is a therapeutic target in {D}.",
        "{T} was {Q} associated with {O}; prospective studies are needed.",
        "Our results do not support the routine use of {R} for {D}.",
        "Interventions for {D} in {C} should take {O} of {P} into account.",
        "Further research on {T} and {G} in {P} is warranted.",
    ),
}
RARITIES = (
    "Levels of %s were related to %s in %s.",
    "Both %s and %s were found in a subset with %s.",
    "The role of %s, and less so of %s, in %s is unknown.",
    "No evidence of %s or %s was seen after treatment of %s.",
)
STATISTICS = (
    "Of %d\N{NO-BREAK SPACE}patients, %s was recorded in %.1f%% (hazard ratio %.2f; 95%% CI, %.2f to 14.1; P = %.3f).",
    "Among the %d participants included, the change in %s was %.1f ± %.2f (standardized difference %.2f, p = %.4f).",
    "A total of %d records were analysed; for %s the area under the curve was 0.%.0f at a cut-off of %.2f "
    "(kappa %.2f; P < %.3f).",
    "In the pooled analysis (n = %d), %s fell by %.1f%% "
    "(risk ratio\N{THIN SPACE}=\N{THIN SPACE}%.2f, I² = 4%.1f%%; p=%.3f).",
)

SURNAMES = [
    "Wang",
    "Li",
    "Zhang",
    "Chen",
    "Liu",
    "Yang",
    "Kim",
    "Lee",
    "Park",
    "Smith",
    "Johnson",
    "Brown",
    "Müller",
    "Schmidt",
    "Rossi",
    "Ferrari",
    "García",
    "Martínez",
    "Silva",
    "Santos",
    "Kumar",
    "Singh",
    "Sharma",
    "Khan",
    "Ahmed",
    "Ali",
    "Hassan",
    "Tanaka",
    "Suzuki",
    "Sato",
    "Nguyen",
    "Tran",
    "Ivanov",
    "Petrov",
    "Kowalski",
    "Nowak",
    "Jansen",
    "Andersson",
    "Nielsen",
    "Øvrebø",
    "Dupont",
    "Martin",
    "O'Brien",
    "Yılmaz",
    "Şahin",
    "Hosseini",
    "Okafor",
    "Mensah",
    "Cohen",
    "Novák",
    "Horváth",
    "Popescu",
]
NAME_STARTS = [
    "Ab",
    "Ad",
    "Al",
    "Am",
    "An",
    "Ar",
    "As",
    "Ba",
    "Be",
    "Bo",
    "Bra",
    "Ca",
    "Cha",
    "Cor",
    "Da",
    "De",
    "Do",
    "Dra",
    "Ed",
    "El",
    "Em",
    "Er",
    "Fa",
    "Fel",
    "Fo",
    "Ga",
    "Ge",
    "Gra",
    "Ha",
    "He",
    "Hol",
    "Ib",
    "Il",
    "Jo",
    "Ka",
    "Ke",
    "Kor",
    "La",
    "Le",
    "Lin",
    "Lo",
    "Ma",
    "Me",
    "Mo",
    "Na",
    "Ne",
    "No",
    "Ol",
    "Or",
    "Pa",
    "Pe",
    "Po",
    "Ra",
    "Re",
    "Ro",
    "Sa",
    "Se",
    "Sto",
    "Ta",
    "Te",
    "To",
    "Ul",
    "Va",
    "Ve",
    "Vo",
    "Wa",
    "We",
    "Wi",
    "Ya",
    "Za",
    "Ze",
]
NAME_ENDS = [
    "berg",
    "dahl",
    "dottir",
    "escu",
    "ez",
    "ford",
    "gren",
    "hashi",
    "ian",
    "ides",
    "ini",
    "ino",
    "inski",
    "kar",
    "ko",
    "kumar",
    "lund",
    "mann",
    "moto",
    "nen",
    "no",
    "ova",
    "pour",
    "ra",
    "rio",
    "rup",
    "sen",
    "shi",
    "son",
    "stein",
    "ström",
    "ta",
    "tani",
    "teng",
    "ton",
    "uchi",
    "ura",
    "va",
    "vić",
    "wala",
    "well",
    "wick",
    "zadeh",
    "zawa",
]
FORENAMES = [
    "Wei",
    "Jing",
    "Yan",
    "Lei",
    "Min",
    "Hiroshi",
    "Yuki",
    "Haruto",
    "Ji-Hoon",
    "Soo-Jin",
    "Minh",
    "Anh",
    "Priya",
    "Rahul",
    "Anita",
    "Mohammad",
    "Fatima",
    "Ahmed",
    "Aisha",
    "Omar",
    "John",
    "Mary",
    "James",
    "Anna",
    "Michael",
    "Sarah",
    "David",
    "Laura",
    "Robert",
    "Emma",
    "Thomas",
    "Julia",
    "Peter",
    "Maria",
    "José",
    "Lucía",
    "Carlos",
    "Ana",
    "Giulia",
    "Marco",
    "Pierre",
    "Camille",
    "Hans",
    "Katrin",
    "Lars",
    "Ingrid",
    "Piotr",
    "Agnieszka",
    "Ivan",
    "Olga",
    "Mehmet",
    "Ayşe",
    "Kwame",
    "Amina",
    "Chidi",
    "Noa",
    "Zsófia",
    "Łukasz",
    "João",
    "Björn",
]

DEPARTMENTS = [
    "Department of Cardiology",
    "Department of Internal Medicine",
    "Division of Nephrology",
    "School of Public Health",
    "Faculty of Medicine",
    "Institute of Epidemiology",
    "Department of Surgery",
    "Department of Pediatrics",
    "Department of Oncology",
    "Department of Neurology",
    "College of Pharmacy",
    "School of Nursing",
    "Department of Radiology",
    "Laboratory of Molecular Biology",
    "Department of Psychiatry & Behavioral Sciences",
    "Department of Obstetrics and Gynecology",
    "Center for Clinical Research",
    "Department of Biostatistics",
    "Department of Anesthesiology",
    "Department of Biomedical Engineering",
]
INSTITUTES = [
    "University of %s",
    "%s University Hospital",
    "%s Medical University",
    "First Affiliated Hospital of %s University",
    "%s General Hospital",
    "%s Institute of Technology",
    "National Hospital of %s",
    "%s Children's Hospital",
    "%s Cancer Center",
    "Royal %s Infirmary",
]
CITIES = [
    tuple(pair.split("/"))
    for pair in """Beijing/China|Shanghai/China|Guangzhou/China|Wuhan/China|Chengdu/China|Tokyo/Japan|Osaka/Japan
Seoul/Republic of Korea|Busan/Republic of Korea
Delhi/India|Mumbai/India|Chennai/India|Boston, Massachusetts/USA|Houston, Texas/USA|Chicago, Illinois/USA
Seattle, Washington/USA|Atlanta, Georgia/USA
Cleveland, Ohio/USA|London/United Kingdom|Oxford/United Kingdom|Glasgow/United Kingdom|Toronto, Ontario/Canada
Montréal, Québec/Canada|Sydney/Australia
Melbourne/Australia|Munich/Germany|Heidelberg/Germany|Köln/Germany|Paris/France|Lyon/France|Milan/Italy|Rome/Italy
Madrid/Spain|Barcelona/Spain|Lisbon/Portugal
São Paulo/Brazil|Rio de Janeiro/Brazil|Buenos Aires/Argentina|Mexico City/Mexico|Cairo/Egypt|Lagos/Nigeria
Nairobi/Kenya|Cape Town/South Africa|Tehran/Iran
Ankara/Türkiye|İstanbul/Türkiye|Warsaw/Poland|Kraków/Poland|Stockholm/Sweden|Copenhagen/Denmark|Oslo/Norway
Helsinki/Finland|Amsterdam/Netherlands
Zürich/Switzerland|Vienna/Austria|Athens/Greece|Tel Aviv/Israel|Bangkok/Thailand|Hanoi/Vietnam|Jakarta/Indonesia
Karachi/Pakistan|Riyadh/Saudi Arabia
Addis Ababa/Ethiopia""".replace("\n", "|").split("|")
]

_FIELDS = [
    "Cardiology",
    "Nephrology",
    "Oncology",
    "Neurology",
    "Pediatrics",
    "Surgery",
    "Radiology",
    "Immunology",
    "Virology",
    "Genetics",
    "Epidemiology",
    "Psychiatry",
    "Dermatology",
    "Gastroenterology",
    "Hepatology",
    "Endocrinology",
    "Rheumatology",
    "Hematology",
    "Pharmacology",
    "Toxicology",
    "Nutrition",
    "Nursing",
    "Ophthalmology",
    "Urology",
    "Pathology",
    "Microbiology",
    "Physiology",
    "Biochemistry",
    "Orthopaedics",
    "Anesthesiology",
]
_KINDS = (
    ("Journal of clinical %s", "J Clin %s", "United States"),
    ("International journal of %s", "Int J %s", "England"),
    ("European journal of %s", "Eur J %s", "Netherlands"),
    ("Annals of %s", "Ann %s", "England"),
    ("Frontiers in %s", "Front %s", "Switzerland"),
    ("BMC advances in %s", "BMC Adv %s", "England"),
    ("Archives of %s & research", "Arch %s Res", "Germany"),
    ("Chinese journal of %s", "Chin J %s", "China"),
    ("Current opinion in %s", "Curr Opin %s", "United States"),
    ("Indian journal of %s", "Indian J %s", "India"),
)


def _journals() -> list[Journal]:
    out = []
    for f, field in enumerate(_FIELDS):
        for k, (title, iso, country) in enumerate(_KINDS):
            number = 1_000 + f * 29 + k * 811
            issn = f"{number:04d}-{(number * 7) % 1000:03d}{(number * 3) % 10}"
            linking = f"{number + 1:04d}-{(number * 7) % 1000:03d}X"
            out.append(
                Journal(title % field.lower(), iso % field[:6], issn, linking, f"{100_000_000 + number * 37}", country)
            )
    return out


JOURNALS = _journals()
