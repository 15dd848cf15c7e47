/* JSON items to the columns of binary COPY tuples, driven by tables that readers/json/native.py compiles from
   Layouts (readers/json/layout.py). No name of any source is in here.

   Every item is checked in full: RFC 8259, UTF-8, escapes that are characters, no key twice in an object. An item that is
   not well formed ends the run (the caller reads the block again with readers/json/pieces.py). An item that is, but holds
   something this reader does not judge (a wrong type, a NUL character, a key twice or with an escape, a number of many digits
   ...), gets a status other than 0, and the caller asks the reference reader, which alone decides. So every doubt must end in
   one of the two, never in a guess. Both must give the same bytes for the rest.

   Bytes are hostile: every read is checked against the end, nesting is bounded, there is no recursion. A program (struct
   mj) is used by one thread at a time. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#if defined(_WIN32)
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif

typedef uint8_t u8;
typedef const u8 *bytes;

enum { MAX_DEPTH = 254, MAX_KEYS = 1024, MAX_DISTINCT = 4096, MAX_SLOTS = 8, MAX_DAY = (1 << 20) - 1, KEEP = 1 << 24,
       MAX_INDEXED = 2000 };
enum { OK = 0, BROKEN = -1, NO_MEMORY = -2 }; /* of a call; then what is odd about an item: */
enum { WRONG_TYPE = 1, NUL, REPEATED_KEY, ESCAPED_KEY, BIG_NUMBER, ODD_VALUE, TOO_MANY, NO_FEED };
enum { SKIP, OBJECT, OBJECTS, LEAF }; /* what a node wants */
enum { H_TEXT, H_LOOSE, H_TEXTS, H_LOOSE_TEXTS, H_DAY, H_LOOSE_DAY, H_ANY_DAY, H_NUMBER, H_FLAG, H_LOOSE_FLAG, H_CODE,
       H_SLOT, H_ID, H_LINK_ID, H_FILLED, H_MOMENT };
enum { KIND_TEXT, KIND_TEXTS, KIND_DATE, KIND_INT4, KIND_BOOL, KIND_MOMENT };
enum { FACT_TEXT, FACT_NUMBER, FACT_DAY, FACT_MEMBERS, FACT_MOMENT };
enum { ARRAY, LINES, BARE }; /* what stands between items */

/* --- the tables, as native.py lays them out ---------------------------------------------------------------------- */

typedef struct { int32_t child, children, shape, op, ops, group; } Node;
typedef struct { int32_t name, length, node, mark; } Child;
typedef struct { int32_t how, store, slot; } Op;
typedef struct { int32_t kind, many; } Store;
typedef struct { int32_t node, store, stores, columns, fact, facts, repeats; } Feed;
typedef struct { int32_t store, kind; } Fact;
typedef struct { int32_t low, high, feed; } Mark;
typedef struct { int32_t store, slot, condition, conditions; } Group;
typedef struct { int32_t slot, text, length; } Condition;

enum { T_NODE, T_CHILD, T_OP, T_STORE, T_FEED, T_FACT, T_MARK, T_GROUP, T_CONDITION, TABLES };

/* --- the state ---------------------------------------------------------------------------------------------------- */

typedef struct { u8 *at; size_t length, room; } Buffer;
typedef struct { bytes at; size_t length; int escaped; } Span;
typedef struct { uint64_t hash; bytes at; size_t length; } Key;
typedef struct { uint32_t hash, at; } Entry;
typedef struct {
    Buffer buffer, entries; /* the elements of a text[]; of a distinct one also where each is */
    Span span;              /* a text */
    int64_t number;         /* a day, a number, a truth value */
    uint32_t count;
    u8 present;
} Value;
typedef struct { uint64_t head; int32_t length, node, mark; bytes name; } Fast;
typedef struct {
    uint64_t seen[4]; /* bits of the hashes of an object's keys: a key whose bit is not set is new */
    size_t keys;
    int32_t node, hint, members;
    u8 is_object;
} Frame;

typedef struct {
    int32_t *numbers;
    u8 *blob;
    int32_t *table[TABLES], count[TABLES];
    Fast *fast;
    Value *values;
    Key *keys;
    size_t key_count, key_room;
    Buffer out, text;
    Frame frames[MAX_DEPTH];
    Span slots[MAX_SLOTS];
    int depth, odd, repeats;
    int32_t guess, members;
    uint64_t marks;
} mj;

#define NODES(m) ((const Node *)(m)->table[T_NODE])
#define OPS(m) ((const Op *)(m)->table[T_OP])
#define STORES(m) ((const Store *)(m)->table[T_STORE])
#define FEEDS(m) ((const Feed *)(m)->table[T_FEED])
#define TRY(call) do { int status_ = (call); if (status_) return status_; } while (0)
#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)

static void odd(mj *m, int why) {
    if (!m->odd) m->odd = why;
}

/* --- buffers ------------------------------------------------------------------------------------------------------ */

static int reserve(Buffer *b, size_t more) {
    if (LIKELY(b->room - b->length >= more)) return OK;
    if (more > SIZE_MAX / 4 - b->length) return NO_MEMORY;
    size_t room = b->room < 256 ? 256 : b->room;
    while (room - b->length < more) room *= 2;
    u8 *at = realloc(b->at, room);
    if (!at) return NO_MEMORY;
    b->at = at;
    b->room = room;
    return OK;
}

static void put(Buffer *b, const void *at, size_t length) { /* after reserve */
    if (length) memcpy(b->at + b->length, at, length);
    b->length += length;
}

static void write_int32(u8 *to, uint32_t n) {
    to[0] = (u8)(n >> 24);
    to[1] = (u8)(n >> 16);
    to[2] = (u8)(n >> 8);
    to[3] = (u8)n;
}

static void put_int32(Buffer *b, uint32_t n) {
    write_int32(b->at + b->length, n);
    b->length += 4;
}

static void forget_large(Buffer *b) {
    b->length = 0;
    if (b->room > KEEP) {
        free(b->at);
        *b = (Buffer){0};
    }
}

/* --- tokens ------------------------------------------------------------------------------------------------------- */

static bytes skip_space(bytes p, bytes end) {
    if (p < end && *p > ' ') return p;
    while (p < end && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t')) {
        p++;
        while (end - p >= 8) { /* the indentation of printed JSON */
            uint64_t w;
            memcpy(&w, p, 8);
            if (w != 0x2020202020202020ull) break;
            p += 8;
        }
    }
    return p;
}

static int is_utf8(bytes p, bytes end) {
    while (p < end) {
        if (*p < 0x80) {
            uint64_t w;
            while (end - p >= 8 && (memcpy(&w, p, 8), !(w & 0x8080808080808080ull))) p += 8;
            while (p < end && *p < 0x80) p++;
            continue;
        }
        size_t left = (size_t)(end - p);
        if (*p >= 0xC2 && *p <= 0xDF) {
            if (left < 2 || (p[1] & 0xC0) != 0x80) return 0;
            p += 2;
        } else if ((*p & 0xF0) == 0xE0) {
            if (left < 3 || (p[1] & 0xC0) != 0x80 || (p[2] & 0xC0) != 0x80) return 0;
            unsigned c = (p[0] & 15u) << 12 | (p[1] & 63u) << 6 | (p[2] & 63u);
            if (c < 0x800 || (c >= 0xD800 && c <= 0xDFFF)) return 0;
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

static int hex4(bytes p) { /* the four hexadecimal digits at p, or -1 */
    int n = 0;
    for (int i = 0; i < 4; i++) {
        int c = p[i], digit = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
        if (digit < 0) return -1;
        n = n << 4 | digit;
    }
    return n;
}

/* The string whose opening quote is before p; *at behind the closing one. */
static int read_string(mj *m, bytes p, bytes end, Span *s, bytes *at) {
    unsigned high = 0;
    bytes start = p;
    s->escaped = 0;
    for (;;) {
#if defined(__SSE2__)
        while (LIKELY(end - p >= 16)) {
            __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
            __m128i special = _mm_or_si128(_mm_cmpeq_epi8(v, _mm_set1_epi8('"')), _mm_cmpeq_epi8(v, _mm_set1_epi8('\\')));
            __m128i control = _mm_cmpeq_epi8(_mm_min_epu8(v, _mm_set1_epi8(0x1F)), v);
            unsigned stop = (unsigned)_mm_movemask_epi8(_mm_or_si128(special, control));
            unsigned beyond = (unsigned)_mm_movemask_epi8(v);
            if (stop) {
                int n = __builtin_ctz(stop);
                high |= beyond & ((1u << n) - 1);
                p += n;
                goto found;
            }
            high |= beyond;
            p += 16;
        }
#endif
        while (p < end && *p != '"' && *p != '\\' && *p >= 0x20) high |= *p++ & 0x80u;
        if (p >= end) return BROKEN;
#if defined(__SSE2__)
    found:
#endif
        if (LIKELY(*p == '"')) break;
        if (*p != '\\') return BROKEN;
        s->escaped = 1;
        if (end - p < 2) return BROKEN;
        switch (p[1]) {
        case '"': case '\\': case '/': case 'b': case 'f': case 'n': case 'r': case 't':
            p += 2;
            break;
        case 'u': {
            if (end - p < 6) return BROKEN;
            int c = hex4(p + 2);
            if (c < 0) return BROKEN;
            p += 6;
            if (c >= 0xDC00 && c <= 0xDFFF) return BROKEN;
            if (c >= 0xD800 && c <= 0xDBFF) {
                if (end - p < 6 || p[0] != '\\' || p[1] != 'u') return BROKEN;
                c = hex4(p + 2);
                if (c < 0xDC00 || c > 0xDFFF) return BROKEN;
                p += 6;
            }
            if (c == 0) odd(m, NUL);
            break;
        }
        default:
            return BROKEN;
        }
    }
    if (UNLIKELY(high) && !is_utf8(start, p)) return BROKEN;
    s->at = start;
    s->length = (size_t)(p - start);
    *at = p + 1;
    return OK;
}

static size_t put_utf8(u8 *to, uint32_t c) {
    if (c < 0x80) { to[0] = (u8)c; return 1; }
    if (c < 0x800) { to[0] = (u8)(0xC0 | c >> 6); to[1] = (u8)(0x80 | (c & 63)); return 2; }
    if (c < 0x10000) {
        to[0] = (u8)(0xE0 | c >> 12);
        to[1] = (u8)(0x80 | (c >> 6 & 63));
        to[2] = (u8)(0x80 | (c & 63));
        return 3;
    }
    to[0] = (u8)(0xF0 | c >> 18);
    to[1] = (u8)(0x80 | (c >> 12 & 63));
    to[2] = (u8)(0x80 | (c >> 6 & 63));
    to[3] = (u8)(0x80 | (c & 63));
    return 4;
}

/* Append the characters of a string that read_string accepted: never more bytes than it has. */
static int put_decoded(Buffer *b, Span s) {
    TRY(reserve(b, s.length));
    if (LIKELY(!s.escaped)) {
        put(b, s.at, s.length);
        return OK;
    }
    bytes p = s.at, end = s.at + s.length;
    while (p < end) {
        bytes slash = memchr(p, '\\', (size_t)(end - p));
        put(b, p, (size_t)((slash ? slash : end) - p));
        if (!slash) break;
        p = slash + 2;
        u8 c = slash[1];
        if (c == 'u') {
            uint32_t code = (uint32_t)hex4(slash + 2);
            p = slash + 6;
            if (code >= 0xD800 && code <= 0xDBFF) {
                code = 0x10000 + ((code - 0xD800) << 10) + ((uint32_t)hex4(slash + 8) - 0xDC00);
                p = slash + 12;
            }
            b->length += put_utf8(b->at + b->length, code);
        } else {
            b->at[b->length++] = c == 'b' ? '\b' : c == 'f' ? '\f' : c == 'n' ? '\n' : c == 'r' ? '\r' : c == 't' ? '\t' : c;
        }
    }
    return OK;
}

/* The number at p; *at behind it. *whole: 1 for an integer that 18 digits hold, 2 for a longer one. */
static int read_number(mj *m, bytes p, bytes end, Span *s, int *whole, bytes *at) {
    bytes start = p, digits;
    *whole = 1;
    if (p < end && *p == '-') p++;
    digits = p;
    if (p >= end || *p < '0' || *p > '9') return BROKEN;
    if (*p == '0') p++;
    else while (p < end && *p >= '0' && *p <= '9') p++;
    if (p - digits > 18) *whole = 2;
    if ((digits != start && *digits == '0')) *whole = 0; /* -0 is not written like an integer */
    if (p < end && *p == '.') {
        *whole = 0;
        digits = ++p;
        while (p < end && *p >= '0' && *p <= '9') p++;
        if (p == digits) return BROKEN;
    }
    if (p < end && (*p | 32) == 'e') {
        *whole = 0;
        p++;
        if (p < end && (*p == '+' || *p == '-')) p++;
        digits = p;
        while (p < end && *p >= '0' && *p <= '9') p++;
        if (p == digits) return BROKEN;
        if (p - digits > 2) odd(m, BIG_NUMBER);
    }
    if (p - start > 40) odd(m, BIG_NUMBER);
    s->at = start;
    s->length = (size_t)(p - start);
    s->escaped = 0;
    *at = p;
    return OK;
}

/* --- values ------------------------------------------------------------------------------------------------------- */

static int digits_at(bytes p, int count) { /* a number of so many digits, or -1 */
    int n = 0;
    for (int i = 0; i < count; i++) {
        if (p[i] < '0' || p[i] > '9') return -1;
        n = n * 10 + (p[i] - '0');
    }
    return n;
}

/* Days since 0001-01-01, which is 1; 0 for a date that no calendar has. */
static int64_t ordinal(int year, int month, int day) {
    static const int before[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365};
    if (year < 1 || month < 1 || month > 12 || day < 1) return 0;
    int leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    if (day > before[month] - before[month - 1] + (leap && month == 2)) return 0;
    int64_t y = year - 1;
    return y * 365 + y / 4 - y / 100 + y / 400 + before[month - 1] + (leap && month > 2) + day;
}

/* The first day that a text without escapes names (readers.jsonvalues.first_day); 0 for none. */
static int64_t first_day(Span s) {
    bytes p = s.at;
    size_t n = s.length;
    if (n < 4) return 0;
    size_t slash = p[1] == '/' ? 1 : p[2] == '/' ? 2 : 0;
    if (slash) {
        bytes q = p + slash + 1;
        size_t left = n - slash - 1;
        size_t next = left > 1 && q[1] == '/' ? 1 : left > 2 && q[2] == '/' ? 2 : 0;
        if (!next || left != next + 5) return 0;
        return ordinal(digits_at(q + next + 1, 4), digits_at(p, (int)slash), digits_at(q, (int)next));
    }
    int year = digits_at(p, 4);
    if (year < 0) return 0;
    if (n == 4) return ordinal(year, 1, 1);
    if (p[4] == '-') {
        if (n < 7) return 0;
        if (n == 7) return ordinal(year, digits_at(p + 5, 2), 1);
        if (p[7] != '-' || n < 10 || (n > 10 && p[10] != 'T')) return 0;
        return ordinal(year, digits_at(p + 5, 2), digits_at(p + 8, 2));
    }
    if (n == 6) return ordinal(year, digits_at(p + 4, 2), 1);
    return n == 8 ? ordinal(year, digits_at(p + 4, 2), digits_at(p + 6, 2)) : 0;
}

/* The point in time that a text without escapes names (readers.jsonvalues.moment): whether it does, *to in microseconds. */
static int moment(Span s, int64_t *to) {
    bytes p = s.at, end = s.at + s.length;
    if (s.length < 19 || p[4] != '-' || p[7] != '-' || p[10] != 'T' || p[13] != ':' || p[16] != ':') return 0;
    int64_t day = ordinal(digits_at(p, 4), digits_at(p + 5, 2), digits_at(p + 8, 2)), micros = 0, away = 0;
    int hour = digits_at(p + 11, 2), minute = digits_at(p + 14, 2), second = digits_at(p + 17, 2);
    if (!day || hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 59) return 0;
    p += 19;
    if (p < end && *p == '.') {
        int64_t unit = 100000;
        bytes first = ++p;
        for (; p < end && *p >= '0' && *p <= '9'; p++, unit /= 10) micros += (*p - '0') * unit;
        if (p == first) return 0;
    }
    if (p < end && (*p == '+' || *p == '-')) {
        int colon = end - p == 6 && p[3] == ':';
        if (end - p != 5 + colon) return 0;
        int hours = digits_at(p + 1, 2), minutes = digits_at(p + 3 + colon, 2);
        if (hours < 0 || hours > 23 || minutes < 0 || minutes > 59) return 0;
        away = (hours * 60 + minutes) * (*p == '-' ? -60 : 60);
        p = end;
    } else if (p < end && *p == 'Z') {
        p++;
    }
    if (p != end) return 0;
    int64_t seconds = (day - 1) * 86400 + hour * 3600 + minute * 60 + second - away; /* since 0001-01-01 */
    if (seconds < 0 || seconds >= 3652059LL * 86400) return 0;
    *to = (seconds - 719162LL * 86400) * 1000000 + micros;
    return 1;
}

/* The last piece of a link's path. */
static Span last_piece(Span s) {
    bytes p = s.at, end = s.at + s.length;
    for (bytes q = p; q < end; q++)
        if (*q == '?' || *q == '#') { end = q; break; }
    while (end > p && end[-1] == '/') end--;
    bytes start = end;
    while (start > p && start[-1] != '/') start--;
    return (Span){start, (size_t)(end - start), 0};
}

static void set_number(Value *v, int64_t n) {
    v->number = n;
    v->present = 1;
}

static uint32_t hash_of(bytes p, size_t length) {
    uint64_t h = 0x9E3779B97F4A7C15ull ^ length;
    for (; length >= 8; p += 8, length -= 8) {
        uint64_t w;
        memcpy(&w, p, 8);
        h = (h ^ w) * 0xD6E8FEB86659FD93ull;
        h ^= h >> 32;
    }
    uint64_t w = 0;
    memcpy(&w, p, length);
    h = (h ^ w) * 0xD6E8FEB86659FD93ull;
    return (uint32_t)(h ^ h >> 32);
}

/* One more element of a text[]; of a distinct one only when it is new. */
static int add_text(mj *m, int32_t store, Span s) {
    Value *v = &m->values[store];
    Buffer *b = &v->buffer;
    size_t before = b->length;
    TRY(reserve(b, s.length + 4));
    b->length += 4;
    TRY(put_decoded(b, s));
    uint32_t length = (uint32_t)(b->length - before - 4);
    write_int32(b->at + before, length);
    if (length > MAX_INDEXED) odd(m, ODD_VALUE); /* readers.json.record may cut it */
    if (STORES(m)[store].many) {
        uint32_t hash = hash_of(b->at + before + 4, length);
        const Entry *known = (const Entry *)(const void *)v->entries.at;
        for (uint32_t i = 0; i < v->count; i++) {
            if (known[i].hash != hash || memcmp(b->at + known[i].at, b->at + before, length + 4)) continue;
            b->length = before;
            return OK;
        }
        if (v->count == MAX_DISTINCT) {
            odd(m, TOO_MANY);
            return OK;
        }
        if (before > UINT32_MAX - 4) return NO_MEMORY;
        Entry entry = {hash, (uint32_t)before};
        TRY(reserve(&v->entries, sizeof entry));
        put(&v->entries, &entry, sizeof entry);
    }
    v->count++;
    v->present = 1;
    return OK;
}

/* A text as a number, when readers.jsonvalues.whole_number would take it. */
static void number_of_text(mj *m, Value *v, Span s) {
    int64_t n = 0;
    for (size_t i = 0; i < s.length; i++) {
        u8 c = s.at[i];
        if (c == ' ') { odd(m, ODD_VALUE); return; }
        if (c < '0' || c > '9') return;
    }
    if (!s.length || s.length > 18) return;
    for (size_t i = 0; i < s.length; i++) n = n * 10 + (s.at[i] - '0');
    if (n <= INT32_MAX) set_number(v, n);
}

static int text_value(mj *m, const Node *node, Span s) {
    const Op *op = OPS(m) + node->op;
    for (int i = 0; i < node->ops; i++, op++) {
        Value *v = op->store < 0 ? NULL : &m->values[op->store];
        if (s.escaped && op->how != H_TEXT && op->how != H_LOOSE && op->how != H_LOOSE_TEXTS && op->how != H_ID &&
            op->how != H_FILLED) {
            odd(m, ODD_VALUE);
            return OK;
        }
        switch (op->how) {
        case H_TEXT:
        case H_LOOSE:
            if (STORES(m)[op->store].kind == KIND_TEXTS) {
                TRY(add_text(m, op->store, s));
                break;
            }
            v->span = s;
            v->present = 1;
            break;
        case H_LOOSE_TEXTS:
            TRY(add_text(m, op->store, s));
            break;
        case H_DAY:
        case H_LOOSE_DAY:
        case H_ANY_DAY: {
            int64_t day = first_day(s);
            if (day) set_number(v, day);
            break;
        }
        case H_NUMBER:
            number_of_text(m, v, s);
            break;
        case H_CODE:
            set_number(v, s.length == 1 && *s.at == '1');
            break;
        case H_SLOT:
            m->slots[op->slot] = s;
            break;
        case H_ID:
        case H_FILLED:
        case H_LINK_ID:
            v->span = op->how == H_LINK_ID ? last_piece(s) : s;
            v->present = v->span.length > 0;
            break;
        case H_MOMENT: {
            int64_t at;
            if (moment(s, &at)) set_number(v, at);
            break;
        }
        case H_LOOSE_FLAG:
            break;
        default:
            odd(m, WRONG_TYPE);
        }
    }
    return OK;
}

static int number_value(mj *m, const Node *node, Span s, int whole) {
    const Op *op = OPS(m) + node->op;
    for (int i = 0; i < node->ops; i++, op++) {
        Value *v = op->store < 0 ? NULL : &m->values[op->store];
        if (op->how == H_LOOSE_FLAG || op->how == H_ANY_DAY || op->how == H_MOMENT) continue;
        if (whole != 1 && !(whole == 2 && op->how == H_ID)) {
            odd(m, ODD_VALUE);
            return OK;
        }
        switch (op->how) {
        case H_LOOSE:
            if (STORES(m)[op->store].kind == KIND_TEXTS) odd(m, ODD_VALUE);
            v->span = s;
            v->present = 1;
            break;
        case H_ID:
            v->span = s;
            v->present = 1;
            break;
        case H_LOOSE_DAY: {
            int64_t day = first_day(s);
            if (day) set_number(v, day);
            break;
        }
        case H_NUMBER: {
            int negative = *s.at == '-';
            int64_t n = 0;
            for (size_t k = (size_t)negative; k < s.length; k++) n = n * 10 + (s.at[k] - '0');
            if (n <= INT32_MAX) set_number(v, negative ? -n : n);
            break;
        }
        case H_CODE:
            set_number(v, s.length == 1 && *s.at == '1');
            break;
        default: /* H_SLOT too */
            odd(m, WRONG_TYPE);
        }
    }
    return OK;
}

static void flag_value(mj *m, const Node *node, int yes) {
    const Op *op = OPS(m) + node->op;
    for (int i = 0; i < node->ops; i++, op++) {
        if (op->how == H_FLAG || op->how == H_LOOSE_FLAG) set_number(&m->values[op->store], yes);
        else if (op->how != H_NUMBER && op->how != H_ANY_DAY && op->how != H_MOMENT) odd(m, WRONG_TYPE);
    }
}

/* An array begins (or an object: no texts) where a node wants a single value. Returns whether its elements are texts. */
static int container_value(mj *m, const Node *node, int is_array) {
    const Op *op = OPS(m) + node->op;
    int texts = 0;
    for (int i = 0; i < node->ops; i++, op++) {
        if (is_array && (op->how == H_TEXTS || op->how == H_LOOSE_TEXTS)) {
            if (!STORES(m)[op->store].many) m->values[op->store].present = 1;
            texts++;
        } else if (op->how != H_LOOSE_FLAG && op->how != H_NUMBER && op->how != H_ANY_DAY && op->how != H_MOMENT) {
            odd(m, WRONG_TYPE);
        }
    }
    if (texts && texts < node->ops) odd(m, ODD_VALUE); /* no layout has that */
    return texts && texts == node->ops;
}

static int is_text(Span s, bytes text, size_t length) {
    return s.at && s.length == length && !memcmp(s.at, text, length);
}

/* An object that belongs to a group has ended: its day counts when its conditions hold. */
static void end_group(mj *m, const Group *g) {
    const Condition *c = (const Condition *)m->table[T_CONDITION] + g->condition;
    for (int i = 0; i < g->conditions; i++)
        if (!is_text(m->slots[c[i].slot], m->blob + c[i].text, (size_t)c[i].length)) return;
    if (!m->slots[g->slot].at) return;
    int64_t day = first_day(m->slots[g->slot]);
    Value *v = &m->values[g->store];
    if (day && (!v->present || day < v->number)) set_number(v, day);
}

/* --- objects ------------------------------------------------------------------------------------------------------ */

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

static int add_key(mj *m, Frame *f, Span s, uint64_t head, int *repeated) {
    uint64_t tail = 0;
    *repeated = 0;
    f->members++;
    if (f->members > MAX_KEYS) {
        odd(m, TOO_MANY);
        return OK;
    }
    if (s.length > 8) memcpy(&tail, s.at + s.length - 8, 8);
    uint64_t hash = (head ^ (tail * 0x9E3779B97F4A7C15ull) ^ s.length) * 0xD6E8FEB86659FD93ull;
    hash ^= hash >> 32;
    hash *= 0xD6E8FEB86659FD93ull;
    uint64_t bit = 1ull << (hash >> 56 & 63), *word = &f->seen[hash >> 62];
    if (*word & bit) {
        for (size_t i = f->keys; i < m->key_count; i++) {
            const Key *k = &m->keys[i];
            if (k->hash == hash && k->length == s.length && !memcmp(k->at, s.at, s.length)) {
                if (!m->repeats) odd(m, REPEATED_KEY);
                *repeated = 1;
                return OK;
            }
        }
    }
    *word |= bit;
    if (UNLIKELY(m->key_count == m->key_room)) {
        size_t room = m->key_room ? 2 * m->key_room : 256;
        Key *keys = realloc(m->keys, room * sizeof *keys);
        if (!keys) return NO_MEMORY;
        m->keys = keys;
        m->key_room = room;
    }
    m->keys[m->key_count++] = (Key){hash, s.at, s.length};
    return OK;
}

static const Fast *find_child(const mj *m, Frame *f, Span s, uint64_t head) {
    const Node *node = &NODES(m)[f->node];
    const Fast *first = m->fast + node->child;
    int32_t count = node->children;
    for (int32_t i = 0, k = f->hint; i < count; i++) {
        const Fast *c = &first[k];
        if (++k == count) k = 0;
        if (c->head == head && c->length == (int32_t)s.length &&
            (s.length <= 8 || !memcmp(s.at + 8, c->name + 8, s.length - 8))) {
            f->hint = k;
            return c;
        }
    }
    return NULL;
}

static Frame *push(mj *m, int32_t node, int is_object) {
    Frame *f = &m->frames[m->depth++];
    memset(f->seen, 0, sizeof f->seen);
    f->keys = m->key_count;
    f->node = node;
    f->hint = f->members = 0;
    f->is_object = (u8)is_object;
    if (is_object && node >= 0 && NODES(m)[node].group >= 0) memset(m->slots, 0, sizeof m->slots);
    return f;
}

/* Read the value at p, an object, to its end; *at behind it. node: what it is wanted for, or -1. */
static int read_item(mj *m, bytes p, bytes end, int32_t node, bytes *at) {
    int as_element = 0; /* whether the value to come is an element of its node's array */
    Span s;
    m->depth = 0;
    m->key_count = 0;
    m->odd = 0;
    m->members = 0;
    m->marks = 0;
    for (;;) {
        /* a value; p is at its first byte */
        Frame *f;
        if (p >= end) return BROKEN;
        const Node *wanted = node < 0 ? NULL : &NODES(m)[node];
        switch (*p) {
        case '"':
            TRY(read_string(m, p + 1, end, &s, &p));
            if (LIKELY(!wanted)) break;
            if (wanted->shape != LEAF) {
                odd(m, WRONG_TYPE);
            } else if (as_element) {
                const Op *op = OPS(m) + wanted->op;
                for (int i = 0; i < wanted->ops; i++) TRY(add_text(m, op[i].store, s));
            } else {
                TRY(text_value(m, wanted, s));
            }
            break;
        case '{':
            if (m->depth == MAX_DEPTH) return BROKEN;
            if (wanted && (wanted->shape == LEAF || (wanted->shape == OBJECTS && !as_element))) {
                if (as_element || wanted->shape != LEAF) odd(m, WRONG_TYPE);
                else container_value(m, wanted, 0);
                node = -1;
            }
            f = push(m, node, 1);
            p = skip_space(p + 1, end);
            if (p < end && *p == '}') { p++; goto close; }
            goto key;
        case '[': {
            int texts = 0;
            if (m->depth == MAX_DEPTH) return BROKEN;
            if (wanted) {
                if (wanted->shape == LEAF && !as_element) texts = container_value(m, wanted, 1);
                else if (wanted->shape != OBJECTS || as_element) odd(m, WRONG_TYPE);
                if (!texts && (wanted->shape != OBJECTS || as_element)) node = -1;
            }
            push(m, node, 0);
            p = skip_space(p + 1, end);
            if (p < end && *p == ']') { p++; goto close; }
            as_element = 1;
            continue;
        }
        case 't':
        case 'f': {
            int yes = *p == 't';
            size_t length = yes ? 4 : 5;
            if ((size_t)(end - p) < length || memcmp(p, yes ? "true" : "false", length)) return BROKEN;
            p += length;
            if (!wanted) break;
            if (wanted->shape != LEAF || as_element) odd(m, WRONG_TYPE);
            else flag_value(m, wanted, yes);
            break;
        }
        case 'n':
            if (end - p < 4 || memcmp(p, "null", 4)) return BROKEN;
            p += 4;
            if (wanted && as_element) odd(m, WRONG_TYPE);
            break;
        default: {
            int whole;
            TRY(read_number(m, p, end, &s, &whole, &p));
            if (!wanted) break;
            if (wanted->shape != LEAF || as_element) odd(m, WRONG_TYPE);
            else TRY(number_value(m, wanted, s, whole));
        }
        }
        /* after a value within f */
    after:
        f = &m->frames[m->depth - 1];
        if (p < end && *p == ',') p++;
        else {
            p = skip_space(p, end);
            if (p >= end) return BROKEN;
            if (*p == (f->is_object ? '}' : ']')) { p++; goto close; }
            if (*p != ',') return BROKEN;
            p++;
        }
        p = skip_space(p, end);
        if (!f->is_object) {
            node = f->node;
            as_element = 1;
            continue;
        }
    key:
        if (p >= end || *p != '"') return BROKEN;
        TRY(read_string(m, p + 1, end, &s, &p));
        if (UNLIKELY(s.escaped)) odd(m, ESCAPED_KEY);
        uint64_t head = name_head(s.at, s.length, end);
        int repeated;
        TRY(add_key(m, f, s, head, &repeated));
        node = -1;
        if (f->node >= 0) {
            const Fast *child = find_child(m, f, s, head);
            if (child) {
                node = NODES(m)[child->node].shape == SKIP ? -1 : child->node;
                if (repeated && node >= 0) odd(m, REPEATED_KEY); /* the values of the first one are stored already */
                if (child->mark >= 0) m->marks |= 1ull << child->mark;
            }
        }
        as_element = 0;
        if (UNLIKELY(p >= end || *p != ':')) {
            p = skip_space(p, end);
            if (p >= end || *p != ':') return BROKEN;
        }
        p = skip_space(p + 1, end);
        continue;
    close:
        f = &m->frames[--m->depth];
        m->key_count = f->keys;
        if (f->is_object) {
            if (f->node >= 0 && NODES(m)[f->node].group >= 0)
                end_group(m, (const Group *)m->table[T_GROUP] + NODES(m)[f->node].group);
            if (m->depth == 1) m->members += f->members;
        }
        if (m->depth == 0) {
            *at = p;
            return OK;
        }
        goto after;
    }
}

/* --- columns ------------------------------------------------------------------------------------------------------ */

static int put_columns(mj *m, const Feed *feed) {
    Buffer *out = &m->out;
    for (int32_t i = 0; i < feed->columns; i++) {
        const Value *v = &m->values[feed->store + i];
        int kind = STORES(m)[feed->store + i].kind;
        size_t before = out->length;
        TRY(reserve(out, v->buffer.length + 32));
        if (!v->present) {
            put(out, "\xff\xff\xff\xff", 4);
            continue;
        }
        switch (kind) {
        case KIND_TEXT:
            out->length += 4;
            TRY(put_decoded(out, v->span));
            if (out->length - before > INT32_MAX) return NO_MEMORY;
            write_int32(out->at + before, (uint32_t)(out->length - before - 4));
            break;
        case KIND_TEXTS:
            if (v->buffer.length > INT32_MAX - 64) return NO_MEMORY;
            put_int32(out, v->count ? (uint32_t)v->buffer.length + 20 : 12);
            put_int32(out, v->count > 0);
            put_int32(out, 0);
            put_int32(out, 25); /* the type text */
            if (!v->count) break;
            put_int32(out, v->count);
            put_int32(out, 1);
            put(out, v->buffer.at, v->buffer.length);
            break;
        case KIND_DATE:
            put_int32(out, 4);
            put_int32(out, (uint32_t)(int32_t)(v->number - 730120)); /* days since 2000-01-01 */
            break;
        case KIND_INT4:
            put_int32(out, 4);
            put_int32(out, (uint32_t)(int32_t)v->number);
            break;
        case KIND_MOMENT: {
            uint64_t n = (uint64_t)(v->number - 946684800000000LL); /* microseconds since 2000-01-01 */
            put_int32(out, 8);
            put_int32(out, (uint32_t)(n >> 32));
            put_int32(out, (uint32_t)n);
            break;
        }
        default:
            put_int32(out, 1);
            out->at[out->length++] = v->number != 0;
        }
    }
    return OK;
}

static int put_facts(mj *m, const Feed *feed, int64_t *to) {
    const Fact *fact = (const Fact *)m->table[T_FACT] + feed->fact;
    for (int32_t i = 0; i < feed->facts; i++, fact++, to += 2) {
        const Value *v = fact->store < 0 ? NULL : &m->values[fact->store];
        to[1] = v ? v->present : 1;
        switch (fact->kind) {
        case FACT_TEXT:
            to[0] = (int64_t)m->out.length;
            to[1] = -1;
            if (!v->present) break;
            TRY(put_decoded(&m->out, v->span));
            to[1] = (int64_t)m->out.length;
            break;
        case FACT_MEMBERS:
            to[0] = m->members;
            break;
        case FACT_DAY:
            to[0] = !v->present ? 0 : v->number < MAX_DAY ? v->number : MAX_DAY;
            break;
        default:
            to[0] = v->present ? v->number : 0;
        }
    }
    return OK;
}

static void clear(mj *m, const Feed *feed) {
    for (int32_t i = 0; i < feed->stores; i++) {
        Value *v = &m->values[feed->store + i];
        v->present = 0;
        v->count = 0;
        forget_large(&v->buffer);
        forget_large(&v->entries);
    }
}

static int32_t feed_of(const mj *m) {
    const Mark *mark = (const Mark *)m->table[T_MARK];
    for (int i = 0; i < m->count[T_MARK]; i++, mark++) {
        uint64_t all = (uint64_t)(uint32_t)mark->high << 32 | (uint32_t)mark->low;
        if ((m->marks & all) == all) return mark->feed;
    }
    return -1;
}

/* --- what others call --------------------------------------------------------------------------------------------- */

EXPORT void mm_json_free(mj *m) {
    if (!m) return;
    for (int i = 0; m->values && i < m->count[T_STORE]; i++) {
        free(m->values[i].buffer.at);
        free(m->values[i].entries.at);
    }
    free(m->values);
    free(m->fast);
    free(m->keys);
    free(m->numbers);
    free(m->blob);
    free(m->out.at);
    free(m);
}

/* A program from its tables: the numbers begin with a count for each table. NULL without memory or for wrong tables. */
EXPORT mj *mm_json_new(const int32_t *numbers, int64_t length, const u8 *blob, int64_t blob_length) {
    static const int32_t widths[TABLES] = {6, 4, 3, 2, 7, 2, 3, 4, 3};
    mj *m = calloc(1, sizeof *m);
    if (!m) return NULL;
    m->numbers = malloc((size_t)length * sizeof *numbers + 1);
    m->blob = malloc((size_t)blob_length + 1);
    if (!m->numbers || !m->blob || length < TABLES) { mm_json_free(m); return NULL; }
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
    if (!m->values || !m->fast) { mm_json_free(m); return NULL; }
    const Child *children = (const Child *)m->table[T_CHILD];
    for (int i = 0; i < m->count[T_CHILD]; i++) {
        bytes name = m->blob + children[i].name;
        size_t size = (size_t)children[i].length;
        uint64_t head = name_head(name, size, m->blob + blob_length);
        m->fast[i] = (Fast){head, children[i].length, children[i].node, children[i].mark, name};
    }
    return m;
}

/* Read data[at:length] as at most `most` items. Of each, *to gets (every `stride` numbers): start, end, status, feed, the
   begin and end of its columns in mm_json_out, then two numbers for each fact of its feed. Returns how many there are;
   *stopped is the offset behind the last of them. *why: 0, all was read; 1, there are more; -1, what comes is broken. *size
   gets the length of mm_json_out. */
EXPORT int64_t mm_json_items(mj *m, const u8 *data, int64_t length, int64_t at, int64_t most, int64_t stride, int32_t between,
                             int64_t *to, int64_t *stopped, int64_t *size, int32_t *why) {
    bytes end = data + length, p;
    int64_t count = 0;
    forget_large(&m->out);
    *stopped = at;
    *size = 0;
    *why = BROKEN;
    if (at < 0 || at > length) return 0;
    p = skip_space(data + at, end);
    if (at == 0 && between == ARRAY && p < end && (*p == ',' || *p == '[')) p = skip_space(p + 1, end);
    if (p >= end) { *why = OK; return 0; }
    for (;;) {
        bytes start = p;
        int32_t feed = m->guess;
        if (p >= end || *p != '{') return count;
        for (int tries = 0;; tries++) {
            clear(m, &FEEDS(m)[feed]);
            m->repeats = FEEDS(m)[feed].repeats;
            if (read_item(m, start, end, FEEDS(m)[feed].node, &p)) return count;
            feed = feed_of(m);
            if (feed < 0) odd(m, NO_FEED);
            if (feed < 0 || feed == m->guess) break;
            m->guess = feed;
            if (tries) return count; /* not reached: what an item is does not depend on the guess */
        }
        if (between == LINES && memchr(start, '\n', (size_t)(p - start))) return count;
        size_t before = m->out.length;
        to[0] = start - data;
        to[1] = p - data;
        if (!m->odd) {
            if (put_columns(m, &FEEDS(m)[feed])) return count;
            to[5] = (int64_t)m->out.length;
            if (put_facts(m, &FEEDS(m)[feed], to + 6)) return count;
        } else {
            to[5] = (int64_t)before;
        }
        to[2] = m->odd;
        to[3] = feed;
        to[4] = (int64_t)before;
        if (between == LINES) {
            while (p < end && (*p == ' ' || *p == '\t' || *p == '\r')) p++;
            if (p < end && *p != '\n') return count;
            p = skip_space(p, end);
        } else {
            p = skip_space(p, end);
            if (p < end) {
                if (between == BARE || *p != ',') return count;
                p = skip_space(p + 1, end);
                if (p >= end || *p != '{') return count;
            }
        }
        count++;
        to += stride;
        *stopped = p - data;
        *size = (int64_t)m->out.length;
        if (p >= end) { *why = OK; return count; }
        if (count == most) { *why = 1; return count; }
    }
}

EXPORT const u8 *mm_json_out(const mj *m) { return m->out.at; }

/* Whether one well-formed object fills these bytes. */
int json_is_valid(bytes p, bytes end) {
    mj *m = calloc(1, sizeof *m);
    bytes at = NULL;
    int valid = m && p < end && *p == '{' && read_item(m, p, end, -1, &at) == OK && at == end;
    mm_json_free(m);
    return valid;
}
