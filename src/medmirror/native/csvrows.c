/* Rows of a CSV file: where they begin and end, and what stands in their cells, as JSON text.

   The rules are those of readers/csv/cut.py and readers/csv/rows.py, which say the same in Python; a test compares the two. */

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

typedef const uint8_t *bytes;

enum { ROW_OK = 0, ROW_WIDTH = 1, ROW_TEXT = 2, ROW_BROKEN = 3, ROW_ENCODING = 4, ROW_NUL = 5, ROW_KEY = 6, ROW_EXTRA = 7 };
enum { SKIPPED = -1, NEED = -2, TOO_LARGE = -3, TOO_LONG = -4, TAIL = -5, TOO_WIDE = -6 }; /* what a row may be besides */
enum { WHOLE, MALFORMED, OPEN, SHORT }; /* how the reading of a row ends: SHORT: more data could tell */
enum { FLAW_MOST = 1 << 19 }; /* readers/csv/cut.py: FLAW_MOST */
enum { N_DELIMITER, N_QUOTE, N_ESCAPE, N_RETURN, N_WIDTH, N_KEYS, N_UPDATED, N_DELETED, N_LITERALS, N_TABLE, N_FIXED };
enum { STRIDE = 14 };

typedef struct { bytes start, end; int quoted, doubled; } Cell;

typedef struct {
    int32_t delimiter, quote, escape, cr, width, keys, updated, deleted, literals, table;
    const int32_t *key, *literal, *name; /* name: offset and length in the blob of `"a":`. Length 0: the cell must be empty;
                                            below 0: it is left out when it is empty */
    int32_t *numbers;
    uint8_t *blob;
    Cell *cells;
    uint8_t *out;
    size_t length, room;
} mc;

typedef struct {
    bytes end, line_end; /* behind the row's line end; before it */
    int64_t cells, lines, text; /* text: bytes of the row that are no delimiter */
    int how;
    Cell first; /* when there is any */
} Scan;

typedef struct { bytes end, line_end; int64_t lines, cells; int status, tail; } Row; /* tail: cut off by the file's end */

#if defined(__SSE2__)

/* The first a, b, c or d at or after p. */
static inline bytes find4(bytes p, bytes end, int a, int b, int c, int d) {
    const __m128i va = _mm_set1_epi8((char)a), vb = _mm_set1_epi8((char)b), vc = _mm_set1_epi8((char)c),
                  vd = _mm_set1_epi8((char)d);
    for (; end - p >= 16; p += 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
        __m128i hit = _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(v, va), _mm_cmpeq_epi8(v, vb)),
                                   _mm_or_si128(_mm_cmpeq_epi8(v, vc), _mm_cmpeq_epi8(v, vd)));
        uint32_t mask = (uint32_t)_mm_movemask_epi8(hit);
        if (mask) return p + __builtin_ctz(mask);
    }
    while (p < end && *p != a && *p != b && *p != c && *p != d) p++;
    return p;
}

/* The first byte at or after p that JSON text cannot hold as it is, or that is not ASCII, or that is x or y. */
static inline bytes find_odd(bytes p, bytes end, int x, int y) {
    const __m128i quote = _mm_set1_epi8('"'), slash = _mm_set1_epi8('\\'), vx = _mm_set1_epi8((char)x),
                  vy = _mm_set1_epi8((char)y), space = _mm_set1_epi8(0x20);
    for (; end - p >= 16; p += 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
        /* signed: below 0x20 are the control characters and all that is not ASCII */
        __m128i hit = _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(v, quote), _mm_cmpeq_epi8(v, slash)),
                                   _mm_or_si128(_mm_cmpeq_epi8(v, vx), _mm_cmpeq_epi8(v, vy)));
        hit = _mm_or_si128(hit, _mm_cmplt_epi8(v, space));
        uint32_t mask = (uint32_t)_mm_movemask_epi8(hit);
        if (mask) return p + __builtin_ctz(mask);
    }
    while (p < end && *p >= 0x20 && *p < 0x80 && *p != '"' && *p != '\\' && *p != x && *p != y) p++;
    return p;
}

#else

static inline bytes find4(bytes p, bytes end, int a, int b, int c, int d) {
    while (p < end && *p != a && *p != b && *p != c && *p != d) p++;
    return p;
}

static inline bytes find_odd(bytes p, bytes end, int x, int y) {
    while (p < end && *p >= 0x20 && *p < 0x80 && *p != '"' && *p != '\\' && *p != x && *p != y) p++;
    return p;
}

#endif

static void forget(mc *m) {
    if (m->room > (64u << 20)) {
        free(m->out);
        m->out = NULL;
        m->room = 0;
    }
    m->length = 0;
}

static int reserve(mc *m, size_t more) {
    if (m->room - m->length >= more) return 0;
    size_t room = m->room ? m->room : 1 << 16;
    while (room - m->length < more) room *= 2;
    uint8_t *out = realloc(m->out, room);
    if (!out) return -1;
    m->out = out;
    m->room = room;
    return 0;
}

EXPORT void mm_csv_free(mc *m) {
    if (!m) return;
    free(m->numbers);
    free(m->blob);
    free(m->cells);
    free(m->out);
    free(m);
}

EXPORT mc *mm_csv_new(const int32_t *numbers, int64_t count, bytes blob, int64_t length) {
    if (count < N_FIXED) return NULL;
    mc *m = calloc(1, sizeof *m);
    if (!m) return NULL;
    m->numbers = malloc((size_t)count * sizeof *numbers);
    m->blob = malloc((size_t)length + 1);
    m->cells = calloc((size_t)numbers[N_WIDTH] + 1, sizeof *m->cells);
    if (!m->numbers || !m->blob || !m->cells ||
        count != N_FIXED + numbers[N_KEYS] + 2 * (numbers[N_LITERALS] + (int64_t)numbers[N_WIDTH])) {
        mm_csv_free(m);
        return NULL;
    }
    memcpy(m->numbers, numbers, (size_t)count * sizeof *numbers);
    memcpy(m->blob, blob, (size_t)length);
    m->delimiter = numbers[N_DELIMITER];
    m->quote = numbers[N_QUOTE];
    m->escape = numbers[N_ESCAPE];
    m->cr = numbers[N_RETURN] ? '\r' : '\n'; /* whether a CR alone ends a line */
    m->width = numbers[N_WIDTH];
    m->keys = numbers[N_KEYS];
    m->updated = numbers[N_UPDATED];
    m->deleted = numbers[N_DELETED];
    m->literals = numbers[N_LITERALS];
    m->table = numbers[N_TABLE];
    m->key = m->numbers + N_FIXED;
    m->literal = m->key + m->keys;
    m->name = m->literal + 2 * m->literals;
    return m;
}

/* Behind the line end at p; NULL when more data could tell. */
static inline bytes after_line_end(bytes p, bytes end, int final) {
    if (*p == '\n') return p + 1;
    if (p + 1 == end) return final ? end : NULL;
    return p + 1 + (p[1] == '\n');
}

/* Whether a line ends at p: at LF, at CR LF, and where CR alone ends lines, there. */
static inline int is_line_end(const mc *m, bytes p, bytes end) {
    return *p == '\n' || (*p == '\r' && (m->cr == '\r' || p + 1 == end || p[1] == '\n'));
}

/* The end of the line that p is in, before its LF or CR. */
static inline bytes line_end_of(const mc *m, bytes p, bytes end) { return find4(p, end, '\n', m->cr, '\n', m->cr); }

/* Behind the line that p is in; `end` when the data ends before; NULL when more data could tell. */
static bytes next_line(const mc *m, bytes p, bytes end, int final) {
    bytes q = line_end_of(m, p, end);
    return q == end ? (final ? end : NULL) : after_line_end(q, end, final);
}

/* Without the CR of the CR LF (or CR and end) that p is at. */
static inline bytes before_cr(bytes start, bytes p) { return p > start && p[-1] == '\r' ? p - 1 : p; }

/* Read the row at p, its cells too when there is room for them. */
static Scan scan_row(const mc *m, bytes p, bytes end, int final, Cell *cells) {
    Scan s = {p, p, 0, 0, 0, WHOLE, {p, p, 0, 0}};
    const int delimiter = m->delimiter, quote = m->quote, escape = m->escape < 0 ? m->quote : m->escape;
    for (;;) {
        Cell cell = {p, p, 0, 0};
        if (p < end && *p == quote) {
            cell.quoted = 1;
            cell.start = ++p;
            for (;;) {
                p = find4(p, end, quote, escape, '\n', m->cr);
                if (p == end) { s.how = final ? OPEN : SHORT; return s; }
                if (*p == '\n' || *p == m->cr) {
                    p = after_line_end(p, end, final);
                    if (!p) { s.how = SHORT; return s; }
                    s.lines++;
                    continue;
                }
                if (p + 1 == end && !final) { s.how = SHORT; return s; }
                if (*p == escape && escape != quote) {
                    if (p + 1 == end) { s.how = OPEN; return s; }
                    cell.doubled = 1;
                    p += 1 + (p[1] == quote || p[1] == escape); /* before anything else it stands for itself */
                    continue;
                }
                if (p + 1 < end && p[1] == quote) { cell.doubled = 1; p += 2; continue; }
                break;
            }
            cell.end = p++;
            s.text += cell.end - cell.start + 2;
            if (p < end && *p != delimiter) {
                if (*p == '\r' && p + 1 == end && !final) { s.how = SHORT; return s; }
                if (!is_line_end(m, p, end)) { s.how = MALFORMED; return s; }
            }
        } else {
            p = find4(p, end, delimiter, '\n', m->cr, m->cr);
            if (m->cr == '\n' && (p == end || *p == '\n')) p = before_cr(cell.start, p);
            if (p < end && *p == '\r' && p + 1 == end && !final) { s.how = SHORT; return s; }
            cell.end = p;
            s.text += p - cell.start;
        }
        if (p == end && !final) { s.how = SHORT; return s; }
        if (cells && s.cells <= m->width) cells[s.cells] = cell;
        if (!s.cells) s.first = cell;
        s.cells++;
        if (p < end && *p == delimiter) { p++; continue; }
        s.line_end = p;
        if (p < end) {
            p = after_line_end(p, end, final);
            if (!p) { s.how = SHORT; return s; }
        }
        s.lines++;
        s.end = p;
        return s;
    }
}

/* Whether a row of one line holds nothing, or is one of those that are no records (the header once more, the trailer). */
static int skipped(const mc *m, const Scan *s, bytes p) {
    int64_t size = s->line_end - p;
    if (s->how == WHOLE && s->text == 0) return 1;
    if (size == 1 && *p == 0x1a) return 1;
    for (int32_t i = 0; i < m->literals; i++)
        if (size == m->literal[2 * i + 1] && !memcmp(p, m->blob + m->literal[2 * i], (size_t)size)) return 1;
    return 0;
}

/* Whether the first cell of a row is one word, if that of the broken one before it is, as far as that is known. Lines of a
   note that happen to have the right number of commas mostly begin with several. */
static int alike(const Scan *broken, const Scan *row) {
    size_t known = (size_t)(broken->first.end - broken->first.start), size = (size_t)(row->first.end - row->first.start);
    if (!broken->cells || !known || memchr(broken->first.start, ' ', known)) return 1;
    return size && !memchr(row->first.start, ' ', size);
}

/* The row at p, which may be broken: then it goes as far as the next line that is a whole row. `most`: bytes of a row. */
static Row next_row(const mc *m, bytes p, bytes end, int final, int64_t most, Cell *cells) {
    Row row = {p, p, 0, 0, NEED, 0};
    bytes limit = end - p > most ? p + most : end;
    Scan s = scan_row(m, p, limit, final && limit == end, cells);
    row.cells = s.cells;
    if (s.how == WHOLE && (s.lines == 1 || s.cells == m->width)) {
        row.end = s.end;
        row.line_end = s.line_end;
        row.lines = s.lines;
        row.status = s.lines == 1 && skipped(m, &s, p) ? SKIPPED : s.cells == m->width ? ROW_OK : ROW_WIDTH;
        row.tail = row.status > ROW_OK && final && s.end == s.line_end;
        return row;
    }
    if (s.how == SHORT && limit == end) return row;
    bytes line_end = line_end_of(m, p, limit), q = end;
    if (line_end < limit) {
        q = after_line_end(line_end, end, final);
        if (!q) return row;
    } else if (limit < end) {
        row.status = TOO_LONG;
        return row;
    } else if (!final) {
        return row;
    }
    row.lines = 1;
    if (s.how == MALFORMED && s.lines == 0) {
        int open = line_end == end;
        line_end = before_cr(p, line_end);
        Scan line = {q, line_end, 0, 1, 1, MALFORMED, {p, p, 0, 0}};
        row.end = q;
        row.line_end = line_end;
        row.status = skipped(m, &line, p) ? SKIPPED : ROW_TEXT;
        row.tail = row.status == ROW_TEXT && final && open;
        return row;
    }
    int found = 0;
    while (q < end && q - p < FLAW_MOST) {
        limit = end - q > most ? q + most : end;
        Scan t = scan_row(m, q, limit, final && limit == end, NULL);
        if (t.how == SHORT && limit == end) return row;
        if (t.how == WHOLE && ((t.cells == m->width && alike(&s, &t)) || (t.lines == 1 && t.text && skipped(m, &t, q)))) { found = 1; break; }
        q = next_line(m, q, end, final);
        if (!q) return row;
        row.lines++;
    }
    row.status = s.how != SHORT ? ROW_BROKEN : found ? TOO_LARGE : TOO_WIDE;
    row.end = row.line_end = q;
    row.tail = row.status == ROW_BROKEN && final && q == end && (s.how == OPEN || (q[-1] != '\n' && q[-1] != m->cr));
    return row;
}

/* How far data[at:length] can be cut: behind the last row that ends within `wanted`, or the first, when it alone is larger.
   *items counts the rows up to there that are records or broken ones, *lines all lines. *why: 0, that is all there is room
   for; NEED, the data ends; TOO_LARGE, TOO_LONG, TAIL: the row that comes next, which ends at *next and has *next_lines. */
EXPORT int64_t mm_csv_cut(const mc *m, bytes data, int64_t length, int64_t at, int64_t wanted, int64_t most, int32_t final,
                          int64_t *items, int64_t *lines, int64_t *next, int64_t *next_lines, int32_t *why) {
    bytes end = data + length, p = data + at;
    *items = *lines = *next = *next_lines = 0;
    *why = 0;
    while (p < end) {
        Row row = next_row(m, p, end, final, most, NULL);
        if (row.status < SKIPPED || row.tail) {
            *why = row.tail ? TAIL : row.status;
            if (*why != TOO_LARGE && *why != TAIL) return p - data;
            *next = row.end - data;
            *next_lines = row.lines;
            return p - data;
        }
        if (*items && row.end - data > wanted) return p - data;
        *items += row.status != SKIPPED;
        *lines += row.lines;
        p = row.end;
        if (*items && p - data >= wanted) return p - data;
    }
    *why = NEED;
    return p - data;
}

static inline int continues(bytes p, bytes end, int n) {
    if (end - p <= n) return 0;
    for (int i = 1; i <= n; i++)
        if ((p[i] & 0xc0) != 0x80) return 0;
    return 1;
}

/* The length of the UTF-8 character at p; 0 when there is none. */
static inline int utf8_length(bytes p, bytes end) {
    uint8_t c = *p;
    if (c >= 0xc2 && c < 0xe0) return continues(p, end, 1) ? 2 : 0;
    if (c >= 0xe0 && c < 0xf0) {
        if (!continues(p, end, 2) || (c == 0xe0 && p[1] < 0xa0) || (c == 0xed && p[1] >= 0xa0)) return 0;
        return 3;
    }
    if (c >= 0xf0 && c < 0xf5) {
        if (!continues(p, end, 3) || (c == 0xf0 && p[1] < 0x90) || (c == 0xf4 && p[1] >= 0x90)) return 0;
        return 4;
    }
    return 0;
}

/* Append a cell's text as UTF-8, as the content of a JSON string or plain. There is room. */
static int put_text(mc *m, const Cell *cell, int json) {
    static const char HEX[] = "0123456789abcdef";
    const int escape = cell->doubled ? (m->escape < 0 ? m->quote : m->escape) : -1;
    bytes p = cell->start, end = cell->end;
    uint8_t *to = m->out + m->length;
    while (p < end) {
        bytes q = find_odd(p, end, escape < 0 ? '"' : escape, escape < 0 ? '"' : m->quote);
        memcpy(to, p, (size_t)(q - p));
        to += q - p;
        p = q;
        if (p == end) break;
        if (*p == escape && p + 1 < end && (p[1] == m->quote || p[1] == escape)) p++;
        else if (cell->doubled && *p == m->quote && p + 1 < end && p[1] == m->quote) p++; /* doubled where another escapes */
        uint8_t c = *p;
        if (c >= 0x80) {
            if (m->table >= 0) {
                bytes entry = m->blob + m->table + 4 * c;
                if (!entry[0]) return ROW_ENCODING;
                memcpy(to, entry + 1, entry[0]);
                to += entry[0];
                p++;
                continue;
            }
            int n = utf8_length(p, end);
            if (!n) return ROW_ENCODING;
            memcpy(to, p, (size_t)n);
            to += n;
            p += n;
            continue;
        }
        if (c == 0) return ROW_NUL;
        p++;
        if (!json || (c >= 0x20 && c != '"' && c != '\\')) { *to++ = c; continue; }
        *to++ = '\\';
        switch (c) {
            case '\n': *to++ = 'n'; break;
            case '\r': *to++ = 'r'; break;
            case '\t': *to++ = 't'; break;
            case '\b': *to++ = 'b'; break;
            case '\f': *to++ = 'f'; break;
            case '"': case '\\': *to++ = c; break;
            default:
                memcpy(to, "u00", 3);
                to[3] = (uint8_t)HEX[c >> 4];
                to[4] = (uint8_t)HEX[c & 15];
                to += 5;
        }
    }
    m->length = (size_t)(to - m->out);
    return ROW_OK;
}

static void put(mc *m, const void *from, size_t size) {
    memcpy(m->out + m->length, from, size);
    m->length += size;
}

/* The id: the key's cells; of several, each with | and \ escaped, and | between them. */
static void put_id(mc *m) {
    for (int32_t i = 0; i < m->keys; i++) {
        if (i) put(m, "|", 1);
        size_t from = m->length;
        put_text(m, &m->cells[m->key[i]], 0);
        if (m->keys == 1) return;
        size_t marks = 0;
        for (size_t j = from; j < m->length; j++) marks += m->out[j] == '|' || m->out[j] == '\\';
        for (size_t j = m->length, to = m->length + marks; marks; ) {
            uint8_t c = m->out[--j];
            m->out[--to] = c;
            if (c == '|' || c == '\\') {
                m->out[--to] = '\\';
                if (to == j) break;
            }
        }
        m->length += marks;
    }
}

/* The rest of the COPY tuple behind the key: not deleted, and the record. Then the id and the other cells asked for. */
static int put_row(mc *m, int64_t *to) {
    static const uint8_t HEAD[10] = {0, 0, 0, 1, 0, 0, 0, 0, 0, 1};
    size_t start = m->length;
    put(m, HEAD, sizeof HEAD);
    size_t text = m->length;
    put(m, "{", 1);
    for (int32_t i = 0; i < m->width; i++) {
        const Cell *cell = &m->cells[i];
        int32_t size = m->name[2 * i + 1];
        if (!size) {
            if (cell->end == cell->start) continue;
            to[3] = i;
            return ROW_EXTRA;
        }
        if (size < 0) {
            if (cell->end == cell->start && !cell->quoted) continue;
            size = -size;
        }
        if (m->length > text + 1) put(m, ",", 1);
        put(m, m->blob + m->name[2 * i], (size_t)size);
        if (cell->end == cell->start && !cell->quoted) {
            put(m, "null", 4);
            continue;
        }
        put(m, "\"", 1);
        int bad = put_text(m, cell, 1);
        if (bad) {
            to[3] = i;
            return bad;
        }
        put(m, "\"", 1);
    }
    put(m, "}", 1);
    size_t size = m->length - text + 1;
    for (int i = 0; i < 4; i++) m->out[start + 5 + (size_t)i] = (uint8_t)(size >> (24 - 8 * i));
    to[5] = (int64_t)start;
    to[6] = (int64_t)m->length;
    int some = m->keys == 0;
    for (int32_t i = 0; i < m->keys; i++) some |= m->cells[m->key[i]].end > m->cells[m->key[i]].start;
    if (!some) return ROW_KEY;
    to[7] = (int64_t)m->length;
    put_id(m);
    to[8] = to[9] = (int64_t)m->length;
    if (m->updated >= 0) put_text(m, &m->cells[m->updated], 0);
    to[10] = to[11] = (int64_t)m->length;
    if (m->deleted >= 0) put_text(m, &m->cells[m->deleted], 0);
    to[12] = (int64_t)m->length;
    return ROW_OK;
}

/* What the id and the other texts can take: a byte becomes three in UTF-8, or two when it is escaped. */
static size_t room_for_texts(const mc *m) {
    size_t room = 64;
    for (int32_t i = 0; i < m->keys; i++) room += (size_t)(m->cells[m->key[i]].end - m->cells[m->key[i]].start) * 3 + 1;
    if (m->updated >= 0) room += (size_t)(m->cells[m->updated].end - m->cells[m->updated].start) * 3;
    if (m->deleted >= 0) room += (size_t)(m->cells[m->deleted].end - m->cells[m->deleted].start) * 3;
    return room;
}

/* Read data[at:length], a block of whole rows, as at most `most` records. Of each, *to gets 14 numbers: start, end (before
   the line end), status, the cells or the column that is wrong, lines before it in this call; the rest of its COPY tuple,
   its id, its `updated` and `deleted` cells as begin and end in mm_csv_out; 0. *stopped: the offset behind the last;
   *lines: the lines up to there; *size: of mm_csv_out. Returns their number, -1 without memory. */
EXPORT int64_t mm_csv_rows(mc *m, bytes data, int64_t length, int64_t at, int64_t most, int64_t *to, int64_t *stopped,
                           int64_t *lines, int64_t *size) {
    bytes end = data + length, p = data + at;
    int64_t count = 0;
    size_t names = 16;
    for (int32_t i = 0; i < m->width; i++) names += (size_t)abs(m->name[2 * i + 1]) + 8;
    forget(m);
    *lines = 0;
    while (p < end && count < most) {
        Row row = next_row(m, p, end, 1, INT64_MAX, m->cells);
        if (row.status != SKIPPED) {
            memset(to, 0, STRIDE * sizeof *to);
            to[0] = p - data;
            to[1] = row.line_end - data;
            to[2] = row.status;
            to[3] = row.status <= ROW_WIDTH ? row.cells : 0;
            to[4] = *lines;
            if (row.status == ROW_OK) {
                if (reserve(m, names + (size_t)(row.line_end - p) * 6 + room_for_texts(m))) return -1;
                size_t before = m->length;
                to[2] = put_row(m, to);
                if (to[2]) m->length = before;
            }
            count++;
            to += STRIDE;
        }
        *lines += row.lines;
        p = row.end;
    }
    *stopped = p - data;
    *size = (int64_t)m->length;
    return count;
}

EXPORT const uint8_t *mm_csv_out(const mc *m) { return m->out; }

/* Rows that were met, by a hash of their bytes: for files without a key, whose equal rows are records each. Open addressing;
   a row's slot holds its hash and how often it was met. */
typedef struct { uint64_t hash; uint64_t count; } Slot;
typedef struct { Slot *slots; uint64_t used, mask; } Seen;

EXPORT void mm_csv_seen_free(Seen *seen) {
    if (seen) free(seen->slots);
    free(seen);
}

EXPORT Seen *mm_csv_seen_new(void) {
    Seen *seen = calloc(1, sizeof *seen);
    if (!seen) return NULL;
    seen->mask = (1 << 12) - 1;
    seen->slots = calloc(seen->mask + 1, sizeof *seen->slots);
    if (seen->slots) return seen;
    free(seen);
    return NULL;
}

static uint64_t mixed(uint64_t h) {
    h ^= h >> 32;
    h *= 0xe9846af9b1a615dull;
    h ^= h >> 32;
    h *= 0xe9846af9b1a615dull;
    return h ^ h >> 28;
}

static uint64_t hash_of(bytes p, bytes end) {
    uint64_t h = 0x9e3779b97f4a7c15ull * (uint64_t)(end - p), w = 0;
    for (; end - p >= 8; p += 8) {
        memcpy(&w, p, 8);
        h = mixed(h ^ w) + 0x9e3779b97f4a7c15ull;
    }
    w = 0;
    memcpy(&w, p, (size_t)(end - p));
    h = mixed(h ^ w);
    return h ? h : 1;
}

static uint64_t *slot_of(Seen *seen, uint64_t hash) {
    uint64_t at = hash & seen->mask;
    while (seen->slots[at].hash && seen->slots[at].hash != hash) at = (at + 1) & seen->mask;
    if (!seen->slots[at].hash) {
        seen->slots[at].hash = hash;
        seen->used++;
    }
    return &seen->slots[at].count;
}

static int grow(Seen *seen) {
    Seen wider = {calloc(2 * (seen->mask + 1), sizeof(Slot)), 0, 2 * seen->mask + 1};
    if (!wider.slots) return -1;
    for (uint64_t i = 0; i <= seen->mask; i++)
        if (seen->slots[i].hash) *slot_of(&wider, seen->slots[i].hash) = seen->slots[i].count;
    free(seen->slots);
    *seen = wider;
    return 0;
}

/* Meet the rows of data[at:length], a block of whole rows. For each that was met before, *to gets its number in the block and
   how often it was met with this time, at most `most` pairs a call. Returns how many pairs; -1 without memory. *stopped is the
   offset behind the last row looked at, *items how many records there are up to it. */
EXPORT int64_t mm_csv_seen_add(const mc *m, Seen *seen, bytes data, int64_t length, int64_t at, int64_t most, int64_t *to,
                               int64_t *stopped, int64_t *items) {
    bytes end = data + length, p = data + at;
    int64_t count = 0;
    *items = 0;
    while (p < end && count < most) {
        Row row = next_row(m, p, end, 1, INT64_MAX, NULL);
        if (row.status == ROW_OK) {
            if (4 * seen->used > 3 * seen->mask && grow(seen)) return -1;
            uint64_t times = ++*slot_of(seen, hash_of(p, row.line_end));
            if (times > 1) {
                to[2 * count] = *items;
                to[2 * count + 1] = (int64_t)times;
                count++;
            }
        }
        *items += row.status != SKIPPED;
        p = row.end;
    }
    *stopped = p - data;
    return count;
}
