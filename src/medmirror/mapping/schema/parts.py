"""The typed parts of canonical records."""

from __future__ import annotations

from medmirror.mapping.schema.kinds import Field, Part, enum

_STARTS = Field("starts", "date", "first day on which it holds")
_ENDS = Field("ends", "date", "last day on which it holds")

PARTS: dict[str, Part] = {
    part.name: part
    for part in (
        Part(
            "name",
            "A name of a person.",
            (
                enum("use", "what the name is for", "OFFICIAL USUAL NICKNAME MAIDEN OLD TEMP ANONYMOUS"),
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
                enum("use", "where it rings", "HOME WORK MOBILE FAX PAGER SMS TEMP OLD EMERGENCY"),
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
                enum("use", "what it is for", "HOME WORK INVOICE TEMP OLD"),
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
                enum("use", "what it is for", "HOME WORK BILLING TEMP OLD"),
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
                enum("use", "what it is for", "OFFICIAL USUAL SECONDARY TEMP OLD"),
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
                enum("relationship", "who that is", "EMERGENCY GUARDIAN PARENT PARTNER CHILD SIBLING FRIEND EMPLOYER"),
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
                enum("status", "whether it agreed", "ACCEPTED DECLINED TENTATIVE NEEDS_ACTION"),
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
