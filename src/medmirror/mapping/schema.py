"""The canonical schema: nine entities, and the typed parts that they are made of, each declared once.

A canonical record is what JSON can hold. A field without a value is absent, a list without items too. Two kinds of field
are always there: an entity's enums (``UNKNOWN`` when the source says nothing), and within a part what ``always`` says.

The kinds of field: text (trimmed, never empty), int, bool, decimal (a number as text, as exact as it was given), date
("2012", "2012-05" or "2012-05-07"), json (as the source has it), the three below, or the name of a part.

time
    ``{"utc": "2024-03-31T01:30:00Z", "zone": "Europe/Berlin"}``; zone is an IANA name, "UTC", an offset like "+10:00",
    or null when the source gave none and none was declared (then the text is taken for UTC). A value that names a day,
    a month or a year only has ``"utc": null`` and the text as ``"date"``.
enum
    ``{"code": "BOOKED", "raw": "Confirmed"}``: a code of the field's list, OTHER when the list has no word for it,
    UNKNOWN when the source is silent; *raw* is the source's own word, null when it said nothing.
reference
    ``{"feed": "patient", "id": "82"}``: another record of the same source and organisation, as sync_mapping names it;
    ``"text"`` is what the source calls it. One that names no id has ``"identifier": {"system", "value"}`` instead.
"""

from __future__ import annotations

from typing import NamedTuple

SCHEMA_VERSION = 2  #: of canonical records; ``versions.upgrade`` brings older ones here


class Field(NamedTuple):
    """One field of an entity or a part. *codes* are an enum's; *derived* ones are made by us out of their neighbours,
    so no mapper sets them."""

    name: str
    kind: str
    about: str
    many: bool = False
    required: bool = False
    codes: tuple[str, ...] = ()
    derived: bool = False
    always: bool = False


class Part(NamedTuple):
    """An entity, or a typed part of one. *main* is the field that a plain text goes to."""

    name: str
    about: str
    fields: tuple[Field, ...]
    main: str = ""

    def field(self, name: str) -> Field | None:
        """The field called *name*, or None."""
        return next((field for field in self.fields if field.name == name), None)


SCALARS = frozenset({"text", "int", "bool", "decimal", "date", "time", "enum", "reference", "json"})


def _enum(name: str, about: str, codes: str) -> Field:
    return Field(name, "enum", about, codes=(*codes.split(), "OTHER", "UNKNOWN"))


_STARTS = Field("starts", "date", "first day on which it holds")
_ENDS = Field("ends", "date", "last day on which it holds")

PARTS: dict[str, Part] = {
    part.name: part
    for part in (
        Part(
            "name",
            "A name of a person.",
            (
                _enum("use", "what the name is for", "OFFICIAL USUAL NICKNAME MAIDEN OLD TEMP ANONYMOUS"),
                Field("family", "text", "family name"),
                Field("given", "text", "given names, first to last", many=True),
                Field("prefix", "text", "title before the name"),
                Field("suffix", "text", "what follows the name"),
                Field("text", "text", "the whole name as the source writes it"),
                _STARTS,
                _ENDS,
            ),
            main="text",
        ),
        Part(
            "phone",
            "A telephone or fax number.",
            (
                _enum("use", "where it rings", "HOME WORK MOBILE FAX PAGER SMS TEMP OLD EMERGENCY"),
                Field("raw", "text", "the number as the source has it"),
                Field("label", "text", "the source's own words for it"),
                Field("rank", "int", "1 is to be tried first"),
                Field("e164", "text", "the number in E.164; null when it is not valid", derived=True, always=True),
                Field("extension", "text", "what to dial after it was answered", derived=True),
                Field("valid", "bool", "whether it can be a number of its country", derived=True, always=True),
                _STARTS,
                _ENDS,
            ),
            main="raw",
        ),
        Part(
            "email",
            "An address for electronic mail.",
            (
                _enum("use", "what it is for", "HOME WORK INVOICE TEMP OLD"),
                Field("address", "text", "the address as the source has it"),
                Field("rank", "int", "1 is to be tried first"),
                _STARTS,
                _ENDS,
            ),
            main="address",
        ),
        Part(
            "address",
            "A postal address.",
            (
                _enum("use", "what it is for", "HOME WORK BILLING TEMP OLD"),
                Field("lines", "text", "street and house, line by line", many=True),
                Field("district", "text", "county or district"),
                Field("city", "text", "city, town or suburb"),
                Field("region", "text", "state or province"),
                Field("post_code", "text", "postal code"),
                Field("country_text", "text", "country as the source has it"),
                Field("country", "text", "country, ISO 3166 alpha-2, where it can be told", derived=True),
                Field("text", "text", "the whole address as the source writes it"),
                _STARTS,
                _ENDS,
            ),
            main="text",
        ),
        Part(
            "identifier",
            "A number by which somebody or something is known.",
            (
                Field("system", "text", "whose numbers these are (a URI, or a plain word)"),
                Field("value", "text", "the number"),
                Field("type", "text", "code of its kind (MR, MEDICARE ...)"),
                Field("type_text", "text", "its kind in words"),
                _enum("use", "what it is for", "OFFICIAL USUAL SECONDARY TEMP OLD"),
                _STARTS,
                _ENDS,
            ),
            main="value",
        ),
        Part(
            "coding",
            "A code of a code system.",
            (
                Field("system", "text", "the code system (a URI, or a plain word)"),
                Field("code", "text", "the code"),
                Field("display", "text", "what the code means"),
            ),
            main="code",
        ),
        Part(
            "concept",
            "A notion, in words and in any number of codes.",
            (
                Field("text", "text", "in words"),
                Field("codings", "coding", "in codes, the source's first choice first", many=True),
            ),
            main="text",
        ),
        Part(
            "contact",
            "Somebody to turn to.",
            (
                _enum("relationship", "who that is", "EMERGENCY GUARDIAN PARENT PARTNER CHILD SIBLING FRIEND EMPLOYER"),
                Field("text", "text", "as the source writes it"),
                Field("names", "name", "names", many=True),
                Field("phones", "phone", "telephone numbers", many=True),
                Field("emails", "email", "mail addresses", many=True),
                Field("addresses", "address", "postal addresses", many=True),
            ),
            main="text",
        ),
        Part(
            "participant",
            "A record that takes part, and as what.",
            (
                Field("who", "reference", "the record"),
                Field("role", "concept", "as what it takes part"),
                _enum("status", "whether it agreed", "ACCEPTED DECLINED TENTATIVE NEEDS_ACTION"),
            ),
            main="who",
        ),
        Part(
            "money",
            "An amount of money.",
            (
                Field("amount", "decimal", "the amount"),
                Field("currency", "text", "ISO 4217 code of its currency"),
            ),
            main="amount",
        ),
        Part(
            "quantity",
            "How much of something.",
            (
                Field("value", "decimal", "how much"),
                Field("unit", "text", "of what"),
                Field("system", "text", "whose unit codes these are"),
                Field("code", "text", "the unit's code"),
            ),
            main="value",
        ),
        Part(
            "position",
            "A place on the earth (WGS 84, degrees).",
            (
                Field("latitude", "decimal", "north of the equator"),
                Field("longitude", "decimal", "east of Greenwich"),
            ),
        ),
    )
}

_NAMES = Field("names", "name", "names, the official one first", many=True, required=True)
_PHONES = Field("phones", "phone", "telephone numbers", many=True)
_EMAILS = Field("emails", "email", "mail addresses", many=True)
_ADDRESSES = Field("addresses", "address", "postal addresses", many=True)
_IDENTIFIERS = Field(
    "identifiers", "identifier", "numbers it is known by, the record's own id not among them", many=True
)
_NOTES = Field("notes", "text", "free text")
_ACTIVE = Field("active", "bool", "whether it is in use")
_EXTRA = Field("extra", "json", "facts of this source only, by name")
_PATIENT = Field("patient", "reference", "the patient", required=True)
_PRACTITIONER = Field("practitioner", "reference", "who treats")
_LOCATION = Field("location", "reference", "where")
_ENCOUNTER = Field("encounter", "reference", "the visit that it belongs to")
_ORGANIZATION = Field("organization", "reference", "the organisation responsible")
_PARTICIPANTS = Field("participants", "participant", "others that take part", many=True)

ENTITIES: dict[str, Part] = {
    part.name: part
    for part in (
        Part(
            "patient",
            "A person who is or was treated.",
            (
                _NAMES,
                Field("birth_date", "date", "day of birth, or what is known of it"),
                _enum("sex", "sex as recorded, at birth where the source tells", "FEMALE MALE INTERSEX"),
                _enum("gender", "gender as the person gives it", "FEMALE MALE NON_BINARY"),
                Field("pronouns", "text", "how to speak of the person"),
                Field("deceased", "bool", "whether the person has died"),
                Field("deceased_date", "date", "day of death"),
                _PHONES,
                _EMAILS,
                _ADDRESSES,
                _IDENTIFIERS,
                Field("contacts", "contact", "whom to turn to", many=True),
                _enum("marital_status", "marital status", "SINGLE MARRIED PARTNER SEPARATED DIVORCED WIDOWED"),
                Field("languages", "text", "languages to speak with the person, the preferred one first", many=True),
                Field("occupation", "text", "occupation"),
                Field("time_zone", "text", "time zone of the person, IANA"),
                Field("practitioners", "reference", "who usually treats the person", many=True),
                _ORGANIZATION,
                Field("merged_into", "reference", "the record that holds the person now, after a merge"),
                _ACTIVE,
                _NOTES,
                _EXTRA,
            ),
        ),
        Part(
            "practitioner",
            "A person who treats, or a role in which one does.",
            (
                _NAMES._replace(required=False),
                Field("person", "reference", "whose role this is, where the source tells roles from persons"),
                _enum("gender", "gender", "FEMALE MALE NON_BINARY"),
                Field("designation", "text", "qualification or profession, as it stands behind the name"),
                Field("roles", "concept", "what they do", many=True),
                Field("specialties", "concept", "fields of work", many=True),
                Field("qualifications", "concept", "degrees and licences", many=True),
                Field("languages", "text", "languages they treat in", many=True),
                _PHONES,
                _EMAILS,
                _ADDRESSES,
                _IDENTIFIERS,
                Field("birth_date", "date", "day of birth"),
                Field("locations", "reference", "where they work", many=True),
                _ORGANIZATION,
                _ACTIVE,
                _NOTES,
                _EXTRA,
            ),
        ),
        Part(
            "location",
            "A clinic, a room, or the organisation that runs them.",
            (
                Field("name", "text", "name", required=True),
                _enum("kind", "what it is", "SITE ROOM ORGANIZATION"),
                _enum("status", "whether it is in use", "ACTIVE SUSPENDED INACTIVE"),
                Field("aliases", "text", "other names", many=True),
                Field("types", "concept", "what is done there", many=True),
                _PHONES,
                _EMAILS,
                _ADDRESSES,
                _IDENTIFIERS,
                Field("websites", "text", "web addresses", many=True),
                Field("contacts", "contact", "whom to turn to", many=True),
                Field("position", "position", "where it stands"),
                Field("time_zone", "text", "time zone, IANA"),
                Field("parent", "reference", "what it is a part of"),
                _ORGANIZATION,
                _NOTES,
                _EXTRA,
            ),
        ),
        Part(
            "appointment",
            "A time set for a patient.",
            (
                _enum(
                    "status",
                    "how it stands",
                    "PROPOSED PENDING BOOKED ARRIVED CHECKED_IN FULFILLED CANCELLED NO_SHOW WAITLIST ENTERED_IN_ERROR",
                ),
                Field("starts", "time", "begin", required=True),
                Field("ends", "time", "end"),
                Field("minutes", "int", "length in minutes, where the source tells it apart from the end"),
                _PATIENT,
                _PRACTITIONER,
                _LOCATION,
                _PARTICIPANTS,
                Field("service", "reference", "the kind of visit, as a record of the source's own list"),
                Field("service_types", "concept", "the kind of visit", many=True),
                Field("specialties", "concept", "field of work", many=True),
                Field("reasons", "concept", "why the patient comes", many=True),
                Field("cancelled_at", "time", "when it was cancelled"),
                Field("cancellation", "concept", "why it was cancelled"),
                Field("description", "text", "heading"),
                _IDENTIFIERS,
                _NOTES,
                _EXTRA,
            ),
        ),
        Part(
            "encounter",
            "A visit that takes or took place.",
            (
                _enum(
                    "status",
                    "how it stands",
                    "PLANNED ARRIVED TRIAGED IN_PROGRESS ON_LEAVE FINISHED CANCELLED ENTERED_IN_ERROR",
                ),
                _enum("setting", "where and how", "AMBULATORY EMERGENCY HOME INPATIENT OBSERVATION VIRTUAL FIELD"),
                Field("types", "concept", "what was done", many=True),
                Field("starts", "time", "begin"),
                Field("ends", "time", "end"),
                _PATIENT,
                _PRACTITIONER,
                _LOCATION,
                _PARTICIPANTS,
                Field("appointment", "reference", "the appointment that it follows"),
                Field("parent", "reference", "the encounter that it is a part of"),
                Field("reasons", "concept", "why the patient came", many=True),
                Field("discharge", "concept", "where the patient went"),
                Field("cost", "money", "what it cost"),
                Field("covered", "money", "what the payer covers"),
                Field("payer", "reference", "who pays"),
                _ORGANIZATION,
                _IDENTIFIERS,
                _NOTES,
                _EXTRA,
            ),
        ),
        Part(
            "prescription",
            "A medicine ordered for a patient.",
            (
                _enum("status", "how it stands", "DRAFT ACTIVE ON_HOLD COMPLETED STOPPED CANCELLED ENTERED_IN_ERROR"),
                _enum("intent", "how binding it is", "PROPOSAL PLAN ORDER"),
                Field("medication", "concept", "the medicine", required=True),
                Field("medication_record", "reference", "the medicine, as a record of the source"),
                _PATIENT,
                Field("prescriber", "reference", "who ordered it"),
                _ENCOUNTER,
                Field("authored", "time", "when it was ordered"),
                Field("starts", "date", "first day"),
                Field("ends", "date", "last day"),
                Field("dosages", "text", "how to take it, in words", many=True),
                Field("quantity", "quantity", "how much is handed out at a time"),
                Field("repeats", "int", "how often it may be handed out again"),
                Field("days", "int", "days for which one handing out lasts"),
                Field("reasons", "concept", "what it is for", many=True),
                Field("reason_records", "reference", "what it is for, as records of the source", many=True),
                Field("cost", "money", "what it costs"),
                _IDENTIFIERS,
                _NOTES,
                _EXTRA,
            ),
        ),
        Part(
            "coverage",
            "Somebody's promise to pay for a patient.",
            (
                _enum("status", "how it stands", "ACTIVE CANCELLED DRAFT ENTERED_IN_ERROR"),
                _PATIENT,
                Field("payer", "text", "who pays, by name"),
                Field("payer_record", "reference", "who pays, as a record of the source"),
                Field("types", "concept", "kinds of cover", many=True),
                Field("plan", "text", "name of the plan"),
                Field("group_number", "text", "number of the group"),
                Field("subscriber", "reference", "whose contract it is"),
                Field("subscriber_id", "text", "number of the contract's holder"),
                Field("dependent", "text", "number of the patient within the contract"),
                _enum("relationship", "what the patient is to the holder", "SELF SPOUSE CHILD PARENT"),
                Field("starts", "date", "first day"),
                Field("ends", "date", "last day"),
                Field("rank", "int", "1 pays first"),
                _IDENTIFIERS,
                _NOTES,
                _EXTRA,
            ),
        ),
        Part(
            "inventory_item",
            "A thing kept in stock.",
            (
                Field("name", "text", "name", required=True),
                _enum("status", "whether it is in use", "ACTIVE INACTIVE OUT_OF_STOCK"),
                Field("codes", "coding", "codes (GTIN, NDC ...)", many=True),
                Field("description", "text", "in words"),
                Field("quantity", "quantity", "how much is there"),
                Field("reorder_level", "quantity", "how little calls for a new order"),
                Field("price", "money", "price to sell at"),
                Field("cost", "money", "price to buy at"),
                Field("tax", "decimal", "tax rate in percent"),
                Field("supplier", "text", "who delivers it"),
                Field("manufacturer", "text", "who makes it"),
                Field("lot", "text", "number of the lot"),
                Field("expires", "date", "last day of use"),
                _LOCATION,
                Field("patient", "reference", "the patient that it is for"),
                _IDENTIFIERS,
                _NOTES,
                _EXTRA,
            ),
        ),
        Part(
            "document",
            "A file about a patient: what it is, not what is in it.",
            (
                _enum("status", "how it stands", "CURRENT SUPERSEDED DRAFT ENTERED_IN_ERROR"),
                Field("title", "text", "heading"),
                Field("description", "text", "in words"),
                Field("file_name", "text", "name of the file"),
                Field("content_type", "text", "MIME type"),
                Field("size", "int", "bytes"),
                Field("url", "text", "where the file is"),
                Field("sha1", "text", "SHA-1 of the file, base64"),
                Field("types", "concept", "what kind of document it is", many=True),
                Field("categories", "concept", "what it is filed under", many=True),
                Field("created", "time", "when it was made"),
                Field("starts", "time", "begin of what it tells of"),
                Field("ends", "time", "end of what it tells of"),
                _PATIENT._replace(required=False),
                Field("authors", "reference", "who made it", many=True),
                _ENCOUNTER,
                _ORGANIZATION._replace(about="who keeps it"),
                _IDENTIFIERS,
                _NOTES,
                _EXTRA,
            ),
        ),
    )
}
