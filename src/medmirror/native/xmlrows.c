/* XML items to binary COPY tuples, driven by tables that medmirror/native/program.py compiles from a Layout.

   No name of any source is in here. What this reader does not understand in full (an unknown element or attribute, a
   repeated scalar, a comment, CDATA, a named entity, bytes that are not UTF-8, nesting that does not fit ...) it does not
   judge: it gives the item a status other than 0, and the caller asks the reference reader (readers/xml/record.py), which
   alone decides. So every doubt here must end in FLAG, never in a guess. Both must give the same bytes for the rest.

   Bytes are hostile: every read is checked against the end of the item, nesting is bounded, there is no recursion.
   A program (struct mm) is used by one thread at a time. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(_WIN32)
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif

typedef uint8_t u8;
typedef const u8 *bytes;

enum { MAX_DEPTH = 60, MAX_MARKUP = 60, MAX_ATTRIBUTES = 24, MAX_CARRY = 4, SCRATCH = 1 << 16, KEEP = 1 << 26 };
enum { OK = 0, UNKNOWN_ELEMENT, UNKNOWN_ATTRIBUTE, REPEATED, MARKUP, BAD_TEXT, BAD_VALUE, TOO_DEEP, NOT_FLAT, MALFORMED,
       MISSING, NO_MEMORY };
enum { TO_COLUMN, TO_KEY, TO_LIST, TO_CARRY, TO_PART, TO_EXTRA };
enum { KIND_TEXT, KIND_BOOL, KIND_INT2, KIND_INT4, KIND_INT8, KIND_TEXTS, KIND_DATE, KIND_JSON_LIST, KIND_JSON_ONE };
enum { OPEN_NOTHING, OPEN_COLUMN, OPEN_SINGLE, OPEN_LIST, OPEN_KEY };
enum { PART_YEAR, PART_MONTH, PART_DAY, PART_FREE, PARTS };

/* --- the tables, as program.py lays them out ------------------------------------------------------------------- */

typedef struct { int32_t child, children, attribute, attributes, op, ops, leaf, open, open_store, open_key, date_store,
                 date_exact, year_store; } Node;
typedef struct { int32_t name, length, node; } Child;
typedef struct { int32_t name, length, op, ops, absent_store; } Attribute;
typedef struct { int32_t where, yes_no, store, key, first, join, join_length, label, condition, conditions, part, marked; } Op;
typedef struct { int32_t attribute, value, length, equal; } Condition;
typedef struct { int32_t at, length; } Text;
typedef struct { int32_t kind; } Store;
typedef struct { int32_t choice, choices, required; } Column;
typedef struct { int32_t name, length, node, defaults; } Root;

enum { T_NODE, T_CHILD, T_ATTRIBUTE, T_OP, T_CONDITION, T_KEY, T_STORE, T_COLUMN, T_CHOICE, T_ROOT, T_DEFAULT,
       TABLES };

/* --- the state ---------------------------------------------------------------------------------------------------- */

typedef struct { u8 *at; size_t length, room; } Buffer;
typedef struct { bytes at; size_t length; unsigned flags; } Span;
typedef struct { Buffer buffer; uint32_t count; uint8_t present, has_null, unmarked; } Value; /* unmarked: to be NULL */
typedef struct { Span value; int32_t key, yes_no; } Carry;
typedef struct { uint64_t seen[4]; int32_t store, list; uint8_t filled; } Object;
typedef struct { uint64_t head; int32_t length, node; bytes name; } Fast;
typedef struct {
    const Node *node;
    bytes name;
    int32_t name_length, hint, elements, carried;
    uint8_t opened;
    Carry carry[MAX_CARRY];
    Span part[PARTS];
} Frame;

typedef struct {
    int32_t *numbers;
    u8 *blob;
    int32_t *table[TABLES], count[TABLES];
    Fast *fast;
    Value *values;
    Buffer out, text, marks; /* all tuples; the text of a leaf, decoded; the same with its markup, as XML */
    u8 scratch[SCRATCH], kept[1 << 12]; /* decoded values of one tag's attributes; of those that are carried */
    size_t scratch_used, kept_used;
    Frame frames[MAX_DEPTH];
    Object objects[MAX_DEPTH];
    int depth, open;
    int lines; /* whether the items may hold lines of mathematics, which Python has read: see add_line */
    int has_markup, nests, scripts; /* of the leaf: whether it has markup; the innermost script holds one; open scripts */
    int64_t bare;                   /* place of the '^' or '_' whose script ends the text so far; -1: none */
} mm;

#define NODES(m) ((const Node *)(m)->table[T_NODE])
#define ATTRIBUTES(m) ((const Attribute *)(m)->table[T_ATTRIBUTE])
#define OPS(m) ((const Op *)(m)->table[T_OP])
#define CONDITIONS(m) ((const Condition *)(m)->table[T_CONDITION])
#define KEYS(m) ((const Text *)(m)->table[T_KEY])
#define STORES(m) ((const Store *)(m)->table[T_STORE])
#define FLAG(reason) return (reason)
#define TRY(call) do { int status_ = (call); if (status_) return status_; } while (0)
#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)

/* What a byte is in text: bits that are collected over a whole text. */
enum { IS_AMP = 1, IS_CR = 2, IS_BAD = 4, IS_ESCAPED = 8, IS_HIGH = 16, IS_GT = 32, IS_LT = 64, IS_LINE = 128,
       IS_DECODED = 256 }; /* not a byte's: the text is not in the item, but in mm.text */
static u8 text_class[256];
/* What a byte is in a tag. */
enum { NAME = 1, NAME_START = 2, SPACE = 4 };
static u8 tag_class[256];

static void make_classes(void) {
    for (int c = 0; c < 256; c++) {
        text_class[c] = c < 32 ? IS_BAD : c >= 128 ? IS_HIGH : 0;
        int letter = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
        tag_class[c] = letter ? NAME | NAME_START : (c >= '0' && c <= '9') || c == '.' || c == '-' ? NAME : 0;
    }
    text_class['\t'] = text_class['\n'] = IS_ESCAPED | IS_LINE;
    text_class['\r'] = IS_CR | IS_ESCAPED | IS_LINE;
    text_class['"'] = text_class['\\'] = IS_ESCAPED;
    text_class['&'] = IS_AMP;
    text_class['<'] = IS_LT;
    text_class['>'] = IS_GT;
    tag_class[' '] = tag_class['\t'] = tag_class['\n'] = tag_class['\r'] = SPACE;
}

static unsigned classify(bytes at, size_t length) {
    unsigned a = 0, b = 0, c = 0, d = 0;
    size_t i = 0;
    for (; i + 4 <= length; i += 4) {
        a |= text_class[at[i]];
        b |= text_class[at[i + 1]];
        c |= text_class[at[i + 2]];
        d |= text_class[at[i + 3]];
    }
    for (; i < length; i++) a |= text_class[at[i]];
    return a | b | c | d;
}

/* --- buffers ------------------------------------------------------------------------------------------------------ */

static int reserve(Buffer *b, size_t more) {
    if (LIKELY(b->room - b->length >= more)) return OK;
    if (more > SIZE_MAX / 4 - b->length) FLAG(NO_MEMORY);
    size_t room = b->room < 256 ? 256 : b->room;
    while (room - b->length < more) room *= 2;
    u8 *at = realloc(b->at, room);
    if (!at) FLAG(NO_MEMORY);
    b->at = at;
    b->room = room;
    return OK;
}

static void put(Buffer *b, const void *at, size_t length) { /* after reserve */
    if (length) memcpy(b->at + b->length, at, length);
    b->length += length;
}

static void put_byte(Buffer *b, u8 c) { b->at[b->length++] = c; }

static void put_int32(Buffer *b, uint32_t n) {
    u8 be[4] = {(u8)(n >> 24), (u8)(n >> 16), (u8)(n >> 8), (u8)n};
    put(b, be, 4);
}

static int append(Buffer *b, const void *at, size_t length) {
    TRY(reserve(b, length));
    put(b, at, length);
    return OK;
}

/* A JSON string, as orjson writes it; XML text holds no control character but tab, newline and carriage return. */
static int put_json(Buffer *b, Span s) {
    TRY(reserve(b, 2 * s.length + 2));
    put_byte(b, '"');
    if (LIKELY(!(s.flags & IS_ESCAPED))) {
        put(b, s.at, s.length);
    } else {
        bytes end = s.at + s.length, run = s.at;
        for (bytes p = s.at; p < end; p++) {
            u8 c = *p;
            if (!(text_class[c] & IS_ESCAPED)) continue;
            put(b, run, (size_t)(p - run));
            put_byte(b, '\\');
            put_byte(b, c == '\t' ? 't' : c == '\n' ? 'n' : c == '\r' ? 'r' : c);
            run = p + 1;
        }
        put(b, run, (size_t)(end - run));
    }
    put_byte(b, '"');
    return OK;
}

/* --- text --------------------------------------------------------------------------------------------------------- */

/* Whether the bytes are UTF-8 of characters that XML allows (control characters are found by their class). */
static int is_utf8(bytes p, size_t length) {
    bytes end = p + length;
    while (p < end) {
        if (*p < 0x80) { p++; continue; }
        size_t left = (size_t)(end - p);
        if (*p >= 0xC2 && *p <= 0xDF) {
            if (left < 2 || (p[1] & 0xC0) != 0x80) return 0;
            p += 2;
        } else if ((*p & 0xF0) == 0xE0) {
            if (left < 3 || (p[1] & 0xC0) != 0x80 || (p[2] & 0xC0) != 0x80) return 0;
            unsigned c = (p[0] & 15u) << 12 | (p[1] & 63u) << 6 | (p[2] & 63u);
            if (c < 0x800 || (c >= 0xD800 && c <= 0xDFFF) || c >= 0xFFFE) return 0;
            p += 3;
        } else if (*p >= 0xF0 && *p <= 0xF4) {
            if (left < 4 || (p[1] & 0xC0) != 0x80 || (p[2] & 0xC0) != 0x80 || (p[3] & 0xC0) != 0x80) return 0;
            unsigned c = (p[0] & 7u) << 18 | (p[1] & 63u) << 12 | (p[2] & 63u) << 6 | (p[3] & 63u);
            if (c < 0x10000 || c > 0x10FFFF) return 0;
            p += 4;
        } else {
            return 0;
        }
    }
    return 1;
}

static size_t put_utf8(u8 *to, uint32_t c) {
    if (c < 0x80) { to[0] = (u8)c; return 1; }
    if (c < 0x800) { to[0] = (u8)(0xC0 | c >> 6); to[1] = (u8)(0x80 | (c & 63)); return 2; }
    if (c < 0x10000) {
        to[0] = (u8)(0xE0 | c >> 12); to[1] = (u8)(0x80 | (c >> 6 & 63)); to[2] = (u8)(0x80 | (c & 63));
        return 3;
    }
    to[0] = (u8)(0xF0 | c >> 18); to[1] = (u8)(0x80 | (c >> 12 & 63));
    to[2] = (u8)(0x80 | (c >> 6 & 63)); to[3] = (u8)(0x80 | (c & 63));
    return 4;
}

/* The character that the reference at *p (behind '&') stands for, and *p behind its ';'; 0 for one to flag. */
static uint32_t reference(bytes *p, bytes end) {
    static const struct { const char *name; size_t length; u8 c; } known[] = {
        {"amp;", 4, '&'}, {"lt;", 3, '<'}, {"gt;", 3, '>'}, {"quot;", 5, '"'}, {"apos;", 5, '\''}};
    size_t left = (size_t)(end - *p);
    if (left > 2 && **p == '#') {
        bytes q = *p + 1;
        int hex = *q == 'x', digits = 0;
        uint32_t c = 0;
        for (q += hex; q < end && digits < 9; q++, digits++) {
            u8 d = *q, v = d >= '0' && d <= '9' ? d - '0' : hex && (d | 32) >= 'a' && (d | 32) <= 'f' ? (d | 32) - 'a' + 10 : 99;
            if (v == 99) break;
            c = c * (hex ? 16 : 10) + v;
        }
        if (!digits || digits >= 9 || q >= end || *q != ';') return 0;
        *p = q + 1;
        int allowed = c == 9 || c == 10 || c == 13 || (c >= 32 && c < 0xD800) || (c >= 0xE000 && c < 0xFFFE)
                      || (c >= 0x10000 && c <= 0x10FFFF);
        return allowed ? c : 0;
    }
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (left >= known[i].length && !memcmp(*p, known[i].name, known[i].length)) {
            *p += known[i].length;
            return known[i].c;
        }
    return 0;
}

/* Decode raw text behind *to, which has room for it (no reference is shorter than its character). */
static int decode(Span raw, u8 *to, size_t *written) {
    bytes p = raw.at, end = raw.at + raw.length;
    u8 *q = to;
    while (p < end) {
        u8 c = *p++;
        if (c == '&') {
            uint32_t character = reference(&p, end);
            if (!character) FLAG(BAD_TEXT);
            q += put_utf8(q, character);
        } else if (c == '\r') { /* XML reads every line end as a newline */
            if (p < end && *p == '\n') p++;
            *q++ = '\n';
        } else {
            *q++ = c;
        }
    }
    *written = (size_t)(q - to);
    return OK;
}

static int holds_cdata_end(Span s) {
    for (bytes p = s.at, end = s.at + s.length; (p = memchr(p, '>', (size_t)(end - p))); p++)
        if (p - s.at >= 2 && p[-1] == ']' && p[-2] == ']') return 1;
    return 0;
}

/* Check one run of raw character data. */
static int check(Span *s) {
    s->flags = classify(s->at, s->length);
    if (UNLIKELY(s->flags & (IS_BAD | IS_LT))) FLAG(BAD_TEXT);
    if (UNLIKELY(s->flags & IS_GT) && holds_cdata_end(*s)) FLAG(BAD_TEXT);
    if ((s->flags & IS_HIGH) && !is_utf8(s->at, s->length)) FLAG(BAD_TEXT);
    return OK;
}

/* --- tags --------------------------------------------------------------------------------------------------------- */

static bytes skip_space(bytes p, bytes end) {
    while (p < end && (tag_class[*p] & SPACE)) p++;
    return p;
}

/* The end of the name at p; p itself when none is there. */
static bytes skip_name(bytes p, bytes end) {
    if (p >= end || !(tag_class[*p] & NAME_START)) return p;
    while (p < end && (tag_class[*p] & NAME)) p++;
    return p;
}

/* p behind "</"; *at behind ">". */
static int end_tag(bytes p, bytes end, bytes name, size_t length, bytes *at) {
    if ((size_t)(end - p) <= length || memcmp(p, name, length)) FLAG(MALFORMED);
    p = skip_space(p + length, end);
    if (p >= end || *p != '>') FLAG(MALFORMED);
    *at = p + 1;
    return OK;
}

/* One `name = "value"` at p, which is behind white space; *at behind it. */
static int attribute(bytes p, bytes end, Span *name, Span *value, bytes *at) {
    name->at = p;
    p = skip_name(p, end);
    if (p < end && *p == ':' && p > name->at) p = skip_name(p + 1, end);
    name->length = (size_t)(p - name->at);
    p = skip_space(p, end);
    if (!name->length || name->at[name->length - 1] == ':' || p >= end || *p != '=') FLAG(MALFORMED);
    p = skip_space(p + 1, end);
    if (p >= end || (*p != '"' && *p != '\'')) FLAG(MALFORMED);
    value->at = p + 1;
    p = memchr(value->at, *p, (size_t)(end - value->at));
    if (!p) FLAG(MALFORMED);
    value->length = (size_t)(p - value->at);
    value->flags = classify(value->at, value->length);
    /* white space other than a blank is normalised by XML; rare enough to leave to the reference reader */
    if (value->flags & (IS_BAD | IS_LT | IS_LINE)) FLAG(BAD_TEXT);
    if ((value->flags & IS_HIGH) && !is_utf8(value->at, value->length)) FLAG(BAD_TEXT);
    *at = p + 1;
    return OK;
}

static int same(Span s, bytes at, size_t length) { return s.length == length && !memcmp(s.at, at, length); }

static int number(Span s, size_t least, size_t most);

/* --- text with markup: readers/xml/markup.py and scripts.py, but for attributes; mathematics is read in Python -------------------- */

/* The length of the white space that s begins with (scripts.py: SPACE); 0 for none. */
static size_t space_at(bytes p, size_t left) {
    if (!left || (*p > ' ' && *p < 0x80)) return 0;
    if (tag_class[*p] & SPACE) return 1;
    if (left >= 2 && p[0] == 0xC2) return p[1] == 0xA0 || p[1] == 0x85 ? 2 : 0;
    if (left < 3) return 0;
    unsigned c = (p[0] & 15u) << 12 | (p[1] & 63u) << 6 | (p[2] & 63u);
    if (p[0] < 0xE0 || p[0] > 0xEF) return 0;
    return c == 0x1680 || (c >= 0x2000 && c <= 0x200B) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F
                   || c == 0x2060 || c == 0x3000 || c == 0xFEFF ? 3 : 0;
}

/* Take the white space around s away. */
static void trim(Span *s) {
    size_t n, before = s->length;
    while ((n = space_at(s->at, s->length))) s->at += n, s->length -= n;
    while (s->length) {
        bytes last = s->at + s->length - 1;
        if (LIKELY(*last > ' ' && *last < 0x80)) break;
        n = *last < 0x80 ? 1 : s->length >= 2 && last[-1] == 0xC2 ? 2 : 3;
        if (s->length < n || space_at(s->at + s->length - n, n) != n) break;
        s->length -= n;
    }
    if (UNLIKELY(s->length != before)) s->flags = classify(s->at, s->length) | (s->flags & IS_DECODED);
}

static int put_escaped(Buffer *b, Span s) {
    TRY(reserve(b, 5 * s.length + 1));
    for (bytes p = s.at, end = s.at + s.length; p < end; p++) {
        if (*p == '&') put(b, "&amp;", 5);
        else if (*p == '<') put(b, "&lt;", 4);
        else if (*p == '>') put(b, "&gt;", 4);
        else put_byte(b, *p);
    }
    return OK;
}

/* The character at *p, which is behind it then. The bytes are UTF-8. */
static uint32_t character(bytes *p) {
    bytes q = *p;
    int more = *q < 0x80 ? 0 : *q < 0xE0 ? 1 : *q < 0xF0 ? 2 : 3;
    uint32_t c = more == 0 ? *q : *q & (63u >> more);
    for (*p = ++q + more; q < *p; q++) c = c << 6 | (*q & 63u);
    return c;
}

static int is_letter(uint32_t c) { return (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z' && c < 0x80); }

/* Whether c would be read as a part of the word before it: scripts.joins. */
static int joins(uint32_t c) {
    if (c < 0x80) return is_letter(c);
    return c == 0xB5 || (c >= 0xC0 && !(c >= 0x2000 && c < 0x2C00) && c != 0xD7 && c != 0xF7 && c != 0x3000 && c != 0xFEFF);
}

/* The raised or lowered form of c; 0 for none. */
static uint32_t script_form(uint32_t c, int mark) {
    static const uint16_t raised[] = {0x2070, 0xB9, 0xB2, 0xB3, 0x2074, 0x2075, 0x2076, 0x2077, 0x2078, 0x2079};
    int sign;
    if (c >= '0' && c <= '9') return mark == '^' ? raised[c - '0'] : 0x2080 + (c - '0');
    switch (c) {
    case '+': sign = 0; break;
    case '-': case 0x2010: case 0x2011: case 0x2013: case 0x2212: sign = 1; break;
    case '=': sign = 2; break;
    case '(': sign = 3; break;
    case ')': sign = 4; break;
    default: return 0;
    }
    return (mark == '^' ? 0x207Au : 0x208Au) + (uint32_t)sign;
}

static int stands_by_itself(uint32_t c) {
    static const uint16_t others[] = {0xAE, 0x2122, 0x2120, 0xB0, 0xBA, 0xAA, 0x2020, 0x2021, 0xA7, 0xB6, 0x2032, 0x2033,
                                      0x2218, 0x2217};
    if (c < 0x80) return c && strchr("*,;:.'\" \t\r\n", (int)c) != NULL;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (others[i] == c) return 1;
    return 0;
}

static int is_enclosed(bytes at, size_t length) {
    size_t pairs = 0;
    if (length < 2 || at[0] != '(' || at[length - 1] != ')') return 0;
    for (size_t i = 1; i + 1 < length; i++) pairs += at[i] == '(' || at[i] == ')';
    return !pairs;
}

/* Write the script that the text ends with, from start on, on the line. */
static int close_script(mm *m, size_t start, int mark) {
    int nests = m->nests, forms = !nests, itself = !nests, bare = !nests;
    m->nests = m->scripts > 0;
    m->bare = -1;
    Buffer *b = &m->text;
    TRY(reserve(b, 3 * (b->length - start) + 4));
    bytes at = b->at + start, end = b->at + b->length, last = end;
    while (at < end && (tag_class[*at] & SPACE)) at++;
    while (last > at && (tag_class[last[-1]] & SPACE)) last--;
    if (at == last) return OK;
    for (bytes p = at; p < last;) {
        int first = p == at;
        uint32_t c = character(&p);
        if (!script_form(c, mark)) forms = 0;
        if (!stands_by_itself(c)) itself = 0;
        int sign = first && (c == '+' || c == '-') && p < last;
        if (c < 0x80 && !is_letter(c) && c != '.' && c != ',' && !sign) bare = 0;
    }
    u8 *to = b->at + b->length, *q = to;
    size_t length = (size_t)(last - at), behind = (size_t)(end - last);
    if (forms) {
        for (bytes p = at; p < last;) q += put_utf8(q, script_form(character(&p), mark));
    } else {
        int enclose = !itself && !bare && !is_enclosed(at, length);
        if (!itself) *q++ = (u8)mark;
        if (enclose) *q++ = '(';
        memcpy(q, at, length);
        q += length;
        if (enclose) *q++ = ')';
        if (!itself && bare && !behind) m->bare = (int64_t)start;
    }
    memcpy(q, last, behind);
    q += behind;
    memmove(b->at + start, to, (size_t)(q - to));
    b->length = start + (size_t)(q - to);
    return OK;
}

/* Put the script between its mark and the end of the text, n, into parentheses. There is room for two more bytes. */
static void enclose_script(Buffer *b, size_t mark, size_t n) {
    memmove(b->at + mark + 2, b->at + mark + 1, n - mark - 1);
    b->at[mark + 1] = '(';
    b->at[n + 1] = ')';
}

/* Add a run of raw text to the leaf's text and to its markup. */
static int add_run(mm *m, Span run) {
    Buffer *b = &m->text;
    size_t n = b->length, written;
    TRY(check(&run));
    TRY(reserve(b, run.length + 2));
    TRY(decode(run, b->at + n, &written));
    if (!written) return OK;
    TRY(put_escaped(&m->marks, (Span){b->at + n, written, 0}));
    bytes first = b->at + n;
    if (UNLIKELY(m->bare >= 0) && joins(character(&first))) {
        memmove(b->at + n + 2, b->at + n, written);
        enclose_script(b, (size_t)m->bare, n);
        written += 2;
    }
    m->bare = -1;
    b->length = n + written;
    return OK;
}

/* Add a line of mathematics: markup.lined wrote "<0" TEXT 1 MARKUP 1 BARE 1 SCRIPTED ">" for it, with bytes 1 between;
   p behind "<0". No XML has such a tag, and items that do are not given to this reader with lines. */
static int add_line(mm *m, bytes p, bytes end, bytes *at) {
    bytes part[3], from = p;
    for (int i = 0; i < 3; i++) {
        part[i] = memchr(from, 1, (size_t)(end - from));
        if (!part[i]) FLAG(MALFORMED);
        from = part[i] + 1;
    }
    if (end - from < 2 || from[1] != '>') FLAG(MALFORMED);
    int bare = number((Span){part[1] + 1, (size_t)(part[2] - part[1] - 1), 0}, 1, 9);
    size_t length = (size_t)(part[0] - p);
    Buffer *b = &m->text;
    m->has_markup = 1;
    *at = from + 2;
    TRY(append(&m->marks, part[0] + 1, (size_t)(part[1] - part[0] - 1)));
    if (!length) return OK;
    TRY(reserve(b, length + 2));
    bytes first = p;
    if (m->bare >= 0 && joins(character(&first))) {
        enclose_script(b, (size_t)m->bare, b->length);
        b->length += 2;
    }
    m->bare = bare < 0 ? -1 : (int64_t)b->length + bare;
    m->nests |= *from == '1';
    put(b, p, length);
    return OK;
}

typedef struct { Span name; size_t start, marks; } Markup;

/* A start tag of markup within a text; p behind "<". */
static int open_markup(mm *m, bytes p, bytes end, Markup *to, int *empty, bytes *at) {
    to->name = (Span){p, 0, 0};
    p = skip_name(p, end);
    to->name.length = (size_t)(p - to->name.at);
    int script = to->name.length == 3 && (same(to->name, (bytes)"sup", 3) || same(to->name, (bytes)"sub", 3));
    int looks = to->name.length == 1 && memchr("biu", *to->name.at, 3);
    if (!script && !looks && !same(to->name, (bytes)"DispFormula", 11)) FLAG(MARKUP);
    p = skip_space(p, end);
    *empty = p < end && *p == '/';
    p += *empty;
    if (p >= end || *p != '>') FLAG(MARKUP); /* an attribute, or not well formed */
    *at = p + 1;
    m->has_markup = 1;
    TRY(reserve(&m->marks, 16));
    put_byte(&m->marks, '<');
    put(&m->marks, to->name.at, to->name.length);
    put_byte(&m->marks, '>');
    to->marks = m->marks.length;
    to->start = m->text.length;
    if (script) {
        m->scripts++;
        m->nests = 0;
        m->bare = -1;
    }
    return OK;
}

static int close_markup(mm *m, const Markup *open) {
    TRY(reserve(&m->marks, 16));
    if (open->marks == m->marks.length) { /* nothing in it */
        m->marks.at[m->marks.length - 1] = '/';
    } else {
        put(&m->marks, "</", 2);
        put(&m->marks, open->name.at, open->name.length);
    }
    put_byte(&m->marks, '>');
    if (open->name.length != 3) return OK;
    m->scripts--;
    return close_script(m, open->start, open->name.at[2] == 'p' ? '^' : '_');
}

/* The whole text of the leaf whose start tag ends at p: decoded, markup taken out; *at behind its end tag. */
static int leaf_text(mm *m, bytes p, bytes end, bytes name, size_t length, Span *text, bytes *at) {
    bytes q = memchr(p, '<', (size_t)(end - p));
    if (!q || end - q < 2) FLAG(MALFORMED);
    if (LIKELY(q[1] == '/')) {
        text->at = p;
        text->length = (size_t)(q - p);
        TRY(check(text));
        if (LIKELY(!(text->flags & (IS_AMP | IS_CR)))) {
            trim(text);
            return end_tag(q + 2, end, name, length, at);
        }
    }
    Markup stack[MAX_MARKUP];
    int depth = 0;
    m->text.length = m->marks.length = 0;
    m->nests = m->scripts = 0;
    m->bare = -1;
    for (;;) {
        TRY(add_run(m, (Span){p, (size_t)(q - p), 0}));
        if (end - q < 2) FLAG(MALFORMED);
        if (q[1] == '/') {
            if (!depth) break;
            depth--;
            TRY(end_tag(q + 2, end, stack[depth].name.at, stack[depth].name.length, &p));
            TRY(close_markup(m, &stack[depth]));
        } else if (m->lines && q[1] == '0') {
            TRY(add_line(m, q + 2, end, &p));
        } else {
            int empty;
            if (depth == MAX_MARKUP) FLAG(TOO_DEEP);
            TRY(open_markup(m, q + 1, end, &stack[depth], &empty, &p));
            if (empty) TRY(close_markup(m, &stack[depth]));
            else depth++;
        }
        q = memchr(p, '<', (size_t)(end - p));
        if (!q) FLAG(MALFORMED);
    }
    *text = (Span){m->text.at, m->text.length, classify(m->text.at, m->text.length) | IS_DECODED};
    trim(text);
    return end_tag(q + 2, end, name, length, at);
}

/* The leaf's text with its markup, as XML; *s is its text. */
static int marked_text(mm *m, Span *s) {
    if (m->has_markup) {
        *s = (Span){m->marks.at, m->marks.length, 0};
        trim(s);
    } else if (s->flags & (IS_AMP | IS_LT | IS_GT)) {
        m->marks.length = 0;
        TRY(put_escaped(&m->marks, *s));
        *s = (Span){m->marks.at, m->marks.length, 0};
    }
    return OK;
}

/* --- dates -------------------------------------------------------------------------------------------------------- */

static int number(Span s, size_t least, size_t most) { /* -1: not that many digits */
    int n = 0;
    if (s.length < least || s.length > most) return -1;
    for (size_t i = 0; i < s.length; i++) {
        if (s.at[i] < '0' || s.at[i] > '9') return -1;
        n = n * 10 + (s.at[i] - '0');
    }
    return n;
}

static int month_name(bytes at, size_t length) { /* 0: none */
    static const char names[] = "janfebmaraprmayjunjulaugsepoctnovdec";
    if (length < 3) return 0;
    for (int i = 0; i < 12; i++)
        if ((at[0] | 32) == names[3 * i] && (at[1] | 32) == names[3 * i + 1] && (at[2] | 32) == names[3 * i + 2]) {
            for (int k = 0; k < 3; k++)
                if (!(tag_class[at[k]] & NAME_START)) return 0;
            return i + 1;
        }
    return 0;
}

static int month_number(Span s) { /* 0: none that exists */
    int n = number(s, 1, 2);
    return n >= 0 ? (n <= 12 ? n : 0) : month_name(s.at, s.length);
}

/* Days since 2000-01-01; 0 when there is no such day. */
static int days(int year, int month, int day, int32_t *to) {
    static const int lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    if (year < 1 || month < 1 || month > 12 || day < 1) return 0;
    int leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    if (day > lengths[month - 1] + (leap && month == 2)) return 0;
    int y = year - 1, n = y * 365 + y / 4 - y / 100 + y / 400 + day - 1;
    for (int i = 0; i < month - 1; i++) n += lengths[i] + (leap && i == 1);
    *to = n - 730119; /* 2000-01-01 */
    return 1;
}

/* The first day of what year, month (0: none) and day (0: none) name together. */
static int first_day(int year, int month, int day, int32_t *to) {
    if (year < 1000 || year > 2999) FLAG(BAD_VALUE);
    if (!month || !days(year, month, day ? day : 1, to)) days(year, month ? month : 1, 1, to);
    return OK;
}

/* The year of a text that begins YYYY [Mon [D]], and its first day; any other text is flagged. */
static int leading_date(Span s, int *year, int32_t *to) {
    bytes p = s.at, end = s.at + s.length;
    int month = 0, day = 0;
    if (s.length < 4 || (s.length > 4 && p[4] >= '0' && p[4] <= '9')) FLAG(BAD_VALUE);
    if (s.length >= 8 && (p[4] == '-' || p[4] == '/' || p[4] == '.') && (p[6] == p[4] || p[7] == p[4])) FLAG(BAD_VALUE);
    *year = number((Span){p, 4, 0}, 4, 4);
    p += 4;
    bytes word = p;
    while (word < end && *word == ' ') word++;
    if (word > p) {
        bytes q = word;
        while (q < end && ((*q | 32) >= 'a' && (*q | 32) <= 'z')) q++;
        month = month_name(word, (size_t)(q - word));
        if (q < end && *q == '.') q++;
        bytes first = q;
        while (first < end && *first == ' ') first++;
        if (month && first > q) {
            bytes last = first;
            while (last < end && *last >= '0' && *last <= '9') last++;
            int n = number((Span){first, (size_t)(last - first), 0}, 1, 2);
            if (n >= 0) day = n;
        }
    }
    return first_day(*year, month, day, to);
}

/* --- values ------------------------------------------------------------------------------------------------------- */

static int new_key(mm *m, Object *o, int32_t key) {
    Buffer *b = &m->values[o->store].buffer;
    uint64_t bit = 1ull << (key & 63), *seen = &o->seen[key >> 6];
    if (UNLIKELY(*seen & bit)) FLAG(REPEATED);
    *seen |= bit;
    const Text *name = &KEYS(m)[key];
    TRY(reserve(b, (size_t)name->length + 2));
    if (o->list >= 0) { put_byte(b, ']'); o->list = -1; }
    if (o->filled) put_byte(b, ',');
    o->filled = 1;
    put(b, m->blob + name->at, (size_t)name->length);
    return OK;
}

static int list_element(mm *m, Object *o, int32_t key) {
    Buffer *b = &m->values[o->store].buffer;
    if (o->list == key) return append(b, ",", 1);
    TRY(new_key(m, o, key));
    o->list = key;
    return append(b, "[", 1);
}

static int key_value(mm *m, Object *o, int32_t key, int yes_no, Span s) {
    TRY(new_key(m, o, key));
    Buffer *b = &m->values[o->store].buffer;
    if (!yes_no) return put_json(b, s);
    if (s.length != 1 || (*s.at != 'Y' && *s.at != 'N')) FLAG(BAD_VALUE);
    return *s.at == 'Y' ? append(b, "true", 4) : append(b, "false", 5);
}

static int open_object(mm *m, const Node *node, const Frame *parent) {
    if (m->open == MAX_DEPTH) FLAG(TOO_DEEP);
    Object *outer = m->open ? &m->objects[m->open - 1] : NULL;
    Object *o = &m->objects[m->open];
    memset(o, 0, sizeof *o);
    o->list = -1;
    if (node->open == OPEN_COLUMN || node->open == OPEN_SINGLE) {
        Value *v = &m->values[node->open_store];
        if (node->open == OPEN_SINGLE && v->present) FLAG(REPEATED);
        if (node->open == OPEN_COLUMN) TRY(append(&v->buffer, v->present ? "," : "[", 1));
        v->present = 1;
        o->store = node->open_store;
    } else {
        if (!outer) FLAG(NOT_FLAT);
        if (node->open == OPEN_LIST) TRY(list_element(m, outer, node->open_key));
        else TRY(new_key(m, outer, node->open_key));
        o->store = outer->store;
    }
    TRY(append(&m->values[o->store].buffer, "{", 1));
    m->open++;
    for (int i = 0; parent && i < parent->carried; i++)
        TRY(key_value(m, o, parent->carry[i].key, parent->carry[i].yes_no, parent->carry[i].value));
    return OK;
}

static int close_object(mm *m) {
    Object *o = &m->objects[--m->open];
    return append(&m->values[o->store].buffer, "]}" + (o->list < 0), o->list < 0 ? 1 : 2);
}

static int column_value(mm *m, const Op *op, Span s, const Span *attributes) {
    Value *v = &m->values[op->store];
    Buffer *b = &v->buffer;
    int kind = STORES(m)[op->store].kind;
    if (op->first && !s.length) return OK;
    if (kind == KIND_TEXTS) {
        TRY(reserve(b, s.length + 4));
        put_int32(b, (uint32_t)s.length);
        put(b, s.at, s.length);
        v->count++;
        v->present = 1;
        return OK;
    }
    if (op->join_length >= 0) {
        Span label = {NULL, 0, 0};
        if (op->label >= 0) label = attributes[op->label];
        if (v->present) TRY(append(b, m->blob + op->join, (size_t)op->join_length));
        if (label.length) {
            TRY(op->marked ? put_escaped(b, label) : append(b, label.at, label.length));
            TRY(append(b, ": ", 2));
        }
        v->present = 1;
        return append(b, s.at, s.length);
    }
    u8 truth = 0;
    if (kind == KIND_BOOL) {
        if (s.length != 1 || (*s.at != 'Y' && *s.at != 'N')) FLAG(BAD_VALUE);
        truth = *s.at == 'Y';
        s.at = &truth;
    }
    if (v->present) {
        if (op->first || (b->length == s.length && !memcmp(b->at, s.at, s.length))) return OK;
        FLAG(REPEATED);
    }
    v->present = 1;
    return append(b, s.at, s.length);
}

static int run_ops(mm *m, int32_t first, int32_t count, Span s, const Span *attributes) {
    for (const Op *op = OPS(m) + first, *last = op + count; op < last; op++) {
        int skip = 0;
        for (int i = 0; i < op->conditions; i++) {
            const Condition *c = &CONDITIONS(m)[op->condition + i];
            Span have = attributes[c->attribute];
            int equal = have.at && same(have, m->blob + c->value, (size_t)c->length);
            if (equal != c->equal) skip = 1;
        }
        if (skip) continue;
        Frame *frame = &m->frames[m->depth - 1];
        Object *o = m->open ? &m->objects[m->open - 1] : NULL;
        switch (op->where) {
        case TO_COLUMN:
            if (op->marked) {
                Span marked = s;
                Value *v = &m->values[op->store];
                v->unmarked = (!v->present || v->unmarked) && !m->has_markup;
                TRY(marked_text(m, &marked));
                TRY(column_value(m, op, marked, attributes));
                break;
            }
            TRY(column_value(m, op, s, attributes));
            break;
        case TO_KEY:
            if (!o) FLAG(NOT_FLAT);
            TRY(key_value(m, o, op->key, op->yes_no, s));
            break;
        case TO_LIST:
            if (!o) FLAG(NOT_FLAT);
            TRY(list_element(m, o, op->key));
            TRY(put_json(&m->values[o->store].buffer, s));
            break;
        case TO_CARRY:
            if (frame->carried == MAX_CARRY) FLAG(TOO_DEEP);
            if (s.flags & IS_AMP) { /* decoded where the next tag's attributes will be */
                if (sizeof m->kept - m->kept_used < s.length) FLAG(TOO_DEEP);
                s.at = memcpy(m->kept + m->kept_used, s.at, s.length);
                m->kept_used += s.length;
            }
            frame->carry[frame->carried++] = (Carry){s, op->key, op->yes_no};
            break;
        case TO_PART: { /* of the date that the parent makes */
            if (m->depth < 2) FLAG(NOT_FLAT);
            Span *part = &m->frames[m->depth - 2].part[op->part];
            if (part->at || (s.flags & ~(unsigned)IS_GT)) FLAG(BAD_VALUE);
            *part = s;
            break;
        }
        default:
            FLAG(UNKNOWN_ATTRIBUTE);
        }
    }
    return OK;
}

/* The day of a Year with or without Month and Day, or of a free text; readers/xml/dates.py reads the odd ones. */
static int loose_date(const Frame *f, int *year, int32_t *day) {
    const Span *part = f->part;
    if (!part[PART_YEAR].at) return leading_date(part[PART_FREE], year, day);
    const Span month = part[PART_MONTH], date = part[PART_DAY];
    int number_of_day = date.length ? number(date, 1, 2) : 0;
    if (number_of_day < 0) FLAG(BAD_VALUE);
    *year = number(part[PART_YEAR], 4, 4);
    return first_day(*year, month.length ? month_number(month) : 0, number_of_day, day);
}

static int finish_date(mm *m, Frame *f) {
    Value *v = &m->values[f->node->date_store];
    Span *part = f->part;
    int32_t day;
    int year;
    if (f->node->date_exact) {
        year = part[PART_YEAR].at ? number(part[PART_YEAR], 4, 4) : -1;
        int month = part[PART_MONTH].at ? number(part[PART_MONTH], 1, 2) : -1;
        int date = part[PART_DAY].at ? number(part[PART_DAY], 1, 2) : -1;
        if (v->present || f->elements != 3 || !days(year, month, date, &day)) FLAG(BAD_VALUE);
    } else {
        if (v->present || !f->elements) return OK;
        TRY(loose_date(f, &year, &day));
    }
    v->present = 1;
    TRY(reserve(&v->buffer, 4));
    put_int32(&v->buffer, (uint32_t)day);
    if (f->node->year_store >= 0 && !m->values[f->node->year_store].present) {
        u8 digits[4] = {(u8)('0' + year / 1000), (u8)('0' + year / 100 % 10), (u8)('0' + year / 10 % 10), (u8)('0' + year % 10)};
        v = &m->values[f->node->year_store];
        v->present = 1;
        TRY(append(&v->buffer, digits, 4));
    }
    return OK;
}

/* --- elements ----------------------------------------------------------------------------------------------------- */

static uint64_t name_head(bytes at, size_t length, bytes end) {
    uint64_t head = 0;
    if (LIKELY(end - at >= 8)) {
        memcpy(&head, at, 8);
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
        if (length < 8) head &= (1ull << (8 * length)) - 1;
#else
        if (length < 8) { head = 0; memcpy(&head, at, length); }
#endif
    } else {
        memcpy(&head, at, length < 8 ? length : 8);
    }
    return head;
}

static const Fast *find_child(const mm *m, Frame *f, bytes at, size_t length, bytes end) {
    const Fast *first = m->fast + f->node->child;
    int32_t count = f->node->children;
    uint64_t head = name_head(at, length, end);
    for (int32_t i = 0, k = f->hint; i < count; i++) {
        const Fast *c = &first[k];
        if (c->head == head && c->length == (int32_t)length && (length <= 8 || !memcmp(at + 8, c->name + 8, length - 8))) {
            f->hint = k;
            return c;
        }
        if (++k == count) k = 0;
    }
    return NULL;
}

/* The start tag of a known element: p behind its name; *at behind it. Opens its object and stores its attributes. */
static int start_element(mm *m, Frame *f, bytes p, bytes end, Span *values, int *empty, bytes *at) {
    const Node *node = f->node;
    if (node->open) {
        TRY(open_object(m, node, m->depth > 1 ? f - 1 : NULL));
        f->opened = 1;
    }
    for (int i = 0; i < node->attributes; i++) values[i].at = NULL, values[i].length = 0;
    m->scratch_used = 0;
    if (LIKELY(p < end && *p == '>')) {
        *empty = 0;
        *at = p + 1;
    } else for (;;) {
        bytes q = skip_space(p, end);
        if (q >= end) FLAG(MALFORMED);
        if (*q == '>') { *empty = 0; *at = q + 1; break; }
        if (*q == '/') {
            if (end - q < 2 || q[1] != '>') FLAG(MALFORMED);
            *empty = 1;
            *at = q + 2;
            break;
        }
        Span name, value;
        int i = 0;
        if (q == p) FLAG(MALFORMED);
        TRY(attribute(q, end, &name, &value, &p));
        const Attribute *known = ATTRIBUTES(m) + node->attribute;
        while (i < node->attributes && !same(name, m->blob + known[i].name, (size_t)known[i].length)) i++;
        if (i == node->attributes) FLAG(UNKNOWN_ATTRIBUTE);
        if (values[i].at) FLAG(MALFORMED);
        if (value.flags & IS_AMP) {
            if (SCRATCH - m->scratch_used < value.length) FLAG(TOO_DEEP);
            u8 *to = m->scratch + m->scratch_used;
            TRY(decode(value, to, &value.length));
            value.at = to;
            value.flags = classify(to, value.length) | IS_AMP;
            m->scratch_used += value.length;
        }
        trim(&value);
        values[i] = value;
        TRY(run_ops(m, known[i].op, known[i].ops, value, values));
    }
    for (int i = 0; i < node->attributes; i++) {
        int32_t store = ATTRIBUTES(m)[node->attribute + i].absent_store;
        if (LIKELY(store < 0) || values[i].at) continue;
        Value *v = &m->values[store]; /* keeps the elements of a text[] in step with those of the column beside it */
        TRY(append(&v->buffer, "\xff\xff\xff\xff", 4));
        v->count++;
        v->present = v->has_null = 1;
    }
    return OK;
}

static int push(mm *m, const Node *node, bytes name, size_t length, Frame **to) {
    if (m->depth == MAX_DEPTH) FLAG(TOO_DEEP);
    Frame *f = &m->frames[m->depth++];
    f->node = node;
    f->name = name;
    f->name_length = (int32_t)length;
    f->hint = f->elements = f->carried = 0;
    f->opened = 0;
    if (node->date_store >= 0)
        for (int i = 0; i < PARTS; i++) f->part[i] = (Span){NULL, 0, 0};
    *to = f;
    return OK;
}

/* After the start tag of f: a leaf is read to its end; *at behind it. An empty element is closed. */
static int enter(mm *m, Frame *f, bytes p, bytes end, bytes *at) {
    Span values[MAX_ATTRIBUTES], text = {p, 0, 0};
    int empty;
    m->has_markup = 0;
    TRY(start_element(m, f, p, end, values, &empty, &p));
    if (f->node->leaf) {
        if (!empty) TRY(leaf_text(m, p, end, f->name, (size_t)f->name_length, &text, &p));
        TRY(run_ops(m, f->node->op, f->node->ops, text, values));
    }
    if (f->node->leaf || empty) {
        if (f->node->date_store >= 0) TRY(finish_date(m, f));
        if (f->opened) TRY(close_object(m));
        m->depth--;
    }
    *at = p;
    return OK;
}

/* A processing instruction between elements (records of manuscripts have them); p at "<?", *at behind it. */
static int skip_instruction(bytes p, bytes end, bytes *at) {
    bytes name = p + 2, q = skip_name(name, end);
    if (q == name || (q - name == 3 && (name[0] | 32) == 'x' && (name[1] | 32) == 'm' && (name[2] | 32) == 'l'))
        FLAG(MARKUP);
    if (q >= end || !((tag_class[*q] & SPACE) || *q == '?')) FLAG(MARKUP);
    Span inside = {q, 0, 0};
    for (;; q++) {
        q = memchr(q, '?', (size_t)(end - q));
        if (!q || end - q < 2) FLAG(MALFORMED);
        if (q[1] == '>') break;
    }
    inside.length = (size_t)(q - inside.at);
    if (inside.length && !(tag_class[*inside.at] & SPACE)) FLAG(MARKUP);
    unsigned flags = classify(inside.at, inside.length);
    if ((flags & IS_BAD) || ((flags & IS_HIGH) && !is_utf8(inside.at, inside.length))) FLAG(BAD_TEXT);
    *at = q + 2;
    return OK;
}

static int read_item(mm *m, bytes p, bytes end, const Root **root) {
    const Root *roots = (const Root *)m->table[T_ROOT];
    Frame *f;
    m->depth = m->open = 0;
    m->kept_used = 0;
    if (p >= end || *p != '<') FLAG(MALFORMED);
    bytes name = p + 1;
    p = skip_name(name, end);
    int i = 0;
    while (i < m->count[T_ROOT] && !same((Span){name, (size_t)(p - name), 0}, m->blob + roots[i].name, (size_t)roots[i].length))
        i++;
    if (i == m->count[T_ROOT]) FLAG(UNKNOWN_ELEMENT);
    *root = &roots[i];
    TRY(push(m, &NODES(m)[roots[i].node], name, (size_t)(p - name), &f));
    TRY(enter(m, f, p, end, &p));
    while (m->depth) {
        f = &m->frames[m->depth - 1];
        p = skip_space(p, end);
        if (end - p < 2 || *p != '<') FLAG(MALFORMED); /* text where there should be none, too */
        if (p[1] == '/') {
            TRY(end_tag(p + 2, end, f->name, (size_t)f->name_length, &p));
            if (f->node->date_store >= 0) TRY(finish_date(m, f));
            if (f->opened) TRY(close_object(m));
            m->depth--;
            continue;
        }
        if (UNLIKELY(p[1] == '?')) {
            TRY(skip_instruction(p, end, &p));
            continue;
        }
        name = ++p;
        p = skip_name(p, end);
        if (p >= end || *p == ':') FLAG(UNKNOWN_ELEMENT);
        const Fast *child = find_child(m, f, name, (size_t)(p - name), end);
        if (!child) FLAG(UNKNOWN_ELEMENT);
        f->elements++;
        TRY(push(m, &NODES(m)[child->node], name, (size_t)(p - name), &f));
        TRY(enter(m, f, p, end, &p));
    }
    return skip_space(p, end) == end ? OK : MALFORMED;
}

/* --- tuples ------------------------------------------------------------------------------------------------------- */

static int put_integer(Buffer *out, Span s, int size) {
    while (s.length && (tag_class[*s.at] & SPACE)) s.at++, s.length--;
    while (s.length && (tag_class[s.at[s.length - 1]] & SPACE)) s.length--;
    if (!s.length || s.length > 18) FLAG(BAD_VALUE);
    uint64_t n = 0;
    for (size_t i = 0; i < s.length; i++) {
        if (s.at[i] < '0' || s.at[i] > '9') FLAG(BAD_VALUE);
        n = n * 10 + (u8)(s.at[i] - '0');
    }
    if (size < 8 && n >> (8 * size - 1)) FLAG(BAD_VALUE);
    TRY(reserve(out, 12));
    put_int32(out, (uint32_t)size);
    for (int i = size - 1; i >= 0; i--) put_byte(out, (u8)(n >> (8 * i)));
    return OK;
}

static int put_value(Buffer *out, const Value *v, int kind) {
    const Buffer *b = &v->buffer;
    if (b->length > INT32_MAX - 64) FLAG(NO_MEMORY);
    TRY(reserve(out, b->length + 32));
    switch (kind) {
    case KIND_INT2:
        return put_integer(out, (Span){b->at, b->length, 0}, 2);
    case KIND_INT4:
        return put_integer(out, (Span){b->at, b->length, 0}, 4);
    case KIND_INT8:
        return put_integer(out, (Span){b->at, b->length, 0}, 8);
    case KIND_TEXTS:
        put_int32(out, (uint32_t)b->length + 20);
        put_int32(out, 1);
        put_int32(out, v->has_null);
        put_int32(out, 25); /* the type text */
        put_int32(out, v->count);
        put_int32(out, 1);
        put(out, b->at, b->length);
        return OK;
    case KIND_JSON_LIST:
    case KIND_JSON_ONE:
        put_int32(out, (uint32_t)b->length + 1 + (kind == KIND_JSON_LIST));
        put_byte(out, 1);
        put(out, b->at, b->length);
        if (kind == KIND_JSON_LIST) put_byte(out, ']');
        return OK;
    default:
        put_int32(out, (uint32_t)b->length);
        put(out, b->at, b->length);
        return OK;
    }
}

static int put_tuple(mm *m, const Root *root) {
    const Column *columns = (const Column *)m->table[T_COLUMN];
    const int32_t *choices = m->table[T_CHOICE];
    const Text *defaults = (const Text *)m->table[T_DEFAULT] + root->defaults;
    Buffer *out = &m->out;
    int count = m->count[T_COLUMN];
    u8 head[2] = {(u8)(count >> 8), (u8)count};
    TRY(append(out, head, 2));
    for (int i = 0; i < count; i++) {
        const Column *c = &columns[i];
        int32_t chosen = -1;
        for (int k = 0; k < c->choices; k++) {
            int32_t store = choices[c->choice + k];
            if (!m->values[store].present) continue;
            if (chosen < 0) chosen = store;
            if (m->values[store].buffer.length) { chosen = store; break; }
        }
        if (chosen >= 0 && m->values[chosen].unmarked) TRY(append(out, "\xff\xff\xff\xff", 4));
        else if (chosen >= 0) TRY(put_value(out, &m->values[chosen], STORES(m)[chosen].kind));
        else if (c->required) FLAG(MISSING);
        else if (defaults[i].length >= 0) TRY(append(out, m->blob + defaults[i].at, (size_t)defaults[i].length));
        else TRY(append(out, "\xff\xff\xff\xff", 4));
    }
    return OK;
}

static void forget_large(Buffer *b) {
    if (b->room > KEEP) {
        free(b->at);
        *b = (Buffer){0};
    }
}

/* --- what Python calls -------------------------------------------------------------------------------------------- */

EXPORT int32_t mm_abi(void) { return 6; } /* ABI of medmirror/native/__init__.py: raise both when the tables change */

EXPORT void mm_free(mm *m) {
    if (!m) return;
    for (int i = 0; m->values && i < m->count[T_STORE]; i++) free(m->values[i].buffer.at);
    free(m->values);
    free(m->fast);
    free(m->numbers);
    free(m->blob);
    free(m->out.at);
    free(m->text.at);
    free(m->marks.at);
    free(m);
}

/* A program from its tables: the numbers begin with a count for each table. NULL without memory or for wrong tables. */
EXPORT mm *mm_new(const int32_t *numbers, int64_t length, const u8 *blob, int64_t blob_length) {
    static const int32_t widths[TABLES] = {13, 3, 5, 12, 4, 2, 1, 3, 1, 4, 2};
    make_classes();
    mm *m = calloc(1, sizeof *m);
    if (!m) return NULL;
    m->numbers = malloc((size_t)length * sizeof *numbers + 1);
    m->blob = malloc((size_t)blob_length + 1);
    if (!m->numbers || !m->blob || length < TABLES) { mm_free(m); return NULL; }
    memcpy(m->numbers, numbers, (size_t)length * sizeof *numbers);
    memcpy(m->blob, blob, (size_t)blob_length);
    int64_t at = TABLES;
    for (int i = 0; i < TABLES; i++) {
        m->count[i] = numbers[i];
        m->table[i] = m->numbers + at;
        at += (int64_t)numbers[i] * widths[i];
    }
    if (at == length) {
        m->values = calloc((size_t)m->count[T_STORE] + 1, sizeof *m->values);
        m->fast = calloc((size_t)m->count[T_CHILD] + 1, sizeof *m->fast);
    }
    if (!m->values || !m->fast) { mm_free(m); return NULL; }
    const Child *children = (const Child *)m->table[T_CHILD];
    for (int i = 0; i < m->count[T_CHILD]; i++) {
        bytes name = m->blob + children[i].name;
        size_t size = (size_t)children[i].length;
        m->fast[i] = (Fast){name_head(name, size, m->blob + blob_length), children[i].length, children[i].node, name};
    }
    return m;
}

/* Make the tuple of each of count items, data[starts[i]:ends[i]]. Each gets a status: 0, or the reason why the reference
   reader must have it (*lines*: mathematics may stand as add_line reads it); and its tuple is out[offsets[i]:offsets[i + 1]], of mm_out. Returns the length of all. */
EXPORT int64_t mm_rows(mm *m, const u8 *data, int64_t length, int64_t count, const int64_t *starts, const int64_t *ends,
                       int64_t *offsets, int32_t *statuses, int64_t lines) {
    m->lines = (int)lines;
    forget_large(&m->out);
    forget_large(&m->text);
    forget_large(&m->marks);
    m->out.length = 0;
    for (int64_t i = 0; i < count; i++) {
        size_t before = m->out.length;
        const Root *root = NULL;
        offsets[i] = (int64_t)before;
        if (starts[i] < 0 || ends[i] > length || starts[i] > ends[i]) {
            statuses[i] = MALFORMED;
            continue;
        }
        for (int k = 0; k < m->count[T_STORE]; k++) {
            Value *v = &m->values[k];
            v->buffer.length = 0;
            v->count = 0;
            v->present = v->has_null = v->unmarked = 0;
            forget_large(&v->buffer);
        }
        int status = read_item(m, data + starts[i], data + ends[i], &root);
        if (!status) status = put_tuple(m, root);
        if (status) m->out.length = before;
        statuses[i] = status;
    }
    offsets[count] = (int64_t)m->out.length;
    return (int64_t)m->out.length;
}

EXPORT const u8 *mm_out(const mm *m) { return m->out.at; }
