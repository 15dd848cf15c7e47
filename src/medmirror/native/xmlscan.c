/* Where the items of a block of XML begin and end, and their keys, by the tags alone.

   Only what is plain is told: an item whose tags pair up, with its key where the tables say. At anything else (a comment,
   CDATA, a list, an item within an item, something between items) the scan stops, and the caller goes on with
   readers/xml/cut.py, which alone decides. No name of any source is in here. */

#include <stdint.h>
#include <string.h>

#if defined(_WIN32)
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif

typedef const uint8_t *bytes;

enum { ALL = 0, UNFINISHED = 1, ODD = 2 };

typedef struct { int32_t at, length; } Text;
typedef struct { int32_t names, items; Text key, attribute; int32_t texts[]; } Head;
/* texts: for each name (those of items first) {at, length, first step, steps}, then the steps as Text */
typedef struct { int32_t at, length, step, steps; } Name;

static int is_space(uint8_t c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }

static bytes skip_space(bytes p, bytes end) {
    while (p < end && is_space(*p)) p++;
    return p;
}

/* Whether a tag's name at p is this one. */
static int is_name(bytes p, bytes end, bytes name, int32_t length) {
    if (end - p <= length || memcmp(p, name, (size_t)length)) return 0;
    uint8_t c = p[length];
    return c == '>' || c == '/' || is_space(c);
}

/* p behind `<name ...>` and the white space after it, when that is what stands at p; else NULL. */
static bytes step_into(bytes p, bytes end, bytes name, int32_t length) {
    if (p >= end || *p != '<' || !is_name(p + 1, end, name, length)) return NULL;
    for (p += 1 + length; p < end && *p != '>'; p++)
        if (*p == '<' || *p == '&') return NULL;
    if (p >= end || p[-1] == '/') return NULL;
    return skip_space(p + 1, end);
}

/* The digits at *p as a number, -1 when there are none or too many; *p behind them. */
static int64_t digits(bytes *p, bytes end, int most) {
    int64_t n = 0;
    int count = 0;
    for (; *p < end && **p >= '0' && **p <= '9'; ++*p) {
        if (++count > most) return -1;
        n = n * 10 + (**p - '0');
    }
    return count ? n : -1;
}

/* `<PMID Version="2"> 123 </PMID>` and the like. */
static int read_key(bytes p, bytes end, bytes blob, const Head *head, int64_t *key, int64_t *second) {
    bytes name = blob + head->key.at, attribute = blob + head->attribute.at;
    int32_t length = head->key.length, attribute_length = head->attribute.length;
    *second = 1;
    if (p >= end || *p != '<' || !is_name(p + 1, end, name, length)) return 0;
    p += 1 + length;
    if (*p != '>') {
        p = skip_space(p, end);
        if (end - p <= attribute_length + 3 || memcmp(p, attribute, (size_t)attribute_length)) return 0;
        p += attribute_length;
        if (p[0] != '=' || p[1] != '"') return 0;
        p += 2;
        *second = digits(&p, end, 4);
        if (*second < 0 || end - p < 2 || p[0] != '"' || p[1] != '>') return 0;
        p++;
    }
    p = skip_space(p + 1, end);
    *key = digits(&p, end, 18);
    p = skip_space(p, end);
    return *key >= 0 && end - p > length + 2 && p[0] == '<' && p[1] == '/' && is_name(p + 2, end, name, length);
}

/* Scan data[at:length] for at most `most` items. Sets their starts and ends and, unless keys is NULL, their keys (-1: not
   plain). *stopped is the offset behind the last item told, and *why says what comes there. Returns how many there are. */
EXPORT int64_t mm_scan(const int32_t *numbers, bytes blob, bytes data, int64_t length, int64_t at, int64_t most,
                       int64_t *starts, int64_t *ends, int64_t *keys, int64_t *seconds, int64_t *stopped, int32_t *why) {
    const Head *head = (const Head *)numbers;
    const Name *names = (const Name *)head->texts;
    const Text *steps = (const Text *)(head->texts + 4 * head->names);
    uint8_t begins[256] = {0};
    bytes end = data + length, p = data + at;
    int64_t count = 0;
    for (int i = 0; i < head->names; i++) begins[blob[names[i].at]] = 1;
    *stopped = at;
    *why = ODD;
    while (count < most) {
        p = skip_space(p, end);
        if (p == end) { *why = ALL; return count; }
        bytes start = p;
        int own = 0;
        if (*p != '<') return count;
        while (own < head->items && !is_name(p + 1, end, blob + names[own].at, names[own].length)) own++;
        if (own == head->items) {
            if (end - p < 64) *why = UNFINISHED; /* perhaps the name is cut off: the caller looks again with more */
            return count;
        }
        if (keys) {
            bytes q = step_into(p, end, blob + names[own].at, names[own].length);
            for (int i = 0; q && i < names[own].steps; i++) {
                const Text *step = &steps[names[own].step + i];
                q = step_into(q, end, blob + step->at, step->length);
            }
            if (!q || !read_key(q, end, blob, head, &keys[count], &seconds[count])) keys[count] = -1;
        }
        p += 1 + names[own].length;
        bytes close = memchr(p, '>', (size_t)(end - p));
        if (close && close[-1] == '/') return count;
        for (;;) {
            p = memchr(p, '<', (size_t)(end - p));
            if (!p || end - p < 3) { *why = UNFINISHED; return count; }
            uint8_t c = p[1];
            if (c == '!') return count;
            if (c == '?') { /* nothing in an instruction is a tag */
                for (p += 2;; p++) {
                    p = memchr(p, '?', (size_t)(end - p));
                    if (!p || end - p < 2) return count;
                    if (p[1] == '>') break;
                }
                continue;
            }
            int closes = c == '/';
            bytes name = p + 1 + closes;
            p = name;
            if (!begins[*name]) continue;
            int i = 0;
            while (i < head->names && !is_name(name, end, blob + names[i].at, names[i].length)) i++;
            if (i == head->names) continue;
            if (!closes || i != own) return count;
            p = skip_space(name + names[own].length, end);
            if (p == end) { *why = UNFINISHED; return count; }
            if (*p != '>') return count;
            p++;
            break;
        }
        starts[count] = start - data;
        ends[count] = p - data;
        *stopped = p - data;
        count++;
    }
    return count;
}
