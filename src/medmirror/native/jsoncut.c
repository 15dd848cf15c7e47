/* Where JSON values end, by brackets and quotes alone: 64 bytes at a time, as masks of bits.

   Told is only what is certain: brackets pair up by kind, and what follows an element can follow one. At anything else
   the caller goes on with readers/json/scan.py and readers/json/array.py, which alone decide. */

#include <stdint.h>
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

int json_is_valid(bytes p, bytes end); /* jsonrows.c */

enum { FULL = 0, UNFINISHED = 1, ODD = 2 };
enum { MAX_DEPTH = 64 };

typedef struct { uint64_t quote, backslash, bracket; } Masks;

#if defined(__SSE2__)

static uint64_t mask16(__m128i v, char c) { return (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(v, _mm_set1_epi8(c))); }

static Masks masks_of(bytes p) {
    Masks m = {0, 0, 0};
    for (int i = 0; i < 4; i++) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)(p + 16 * i));
        __m128i low = _mm_or_si128(v, _mm_set1_epi8(0x20)); /* [ and { become one, and ] and } */
        m.quote |= mask16(v, '"') << (16 * i);
        m.backslash |= mask16(v, '\\') << (16 * i);
        m.bracket |= (mask16(low, '{') | mask16(low, '}')) << (16 * i);
    }
    return m;
}

#else

static uint64_t mask8(uint64_t w, uint8_t c) { /* one bit for each byte of w that is c */
    const uint64_t low = 0x7f7f7f7f7f7f7f7full;
    uint64_t x = w ^ (0x0101010101010101ull * c);
    uint64_t zero = ~(((x & low) + low) | x | low);
    return ((zero >> 7) * 0x0102040810204080ull) >> 56;
}

static Masks masks_of(bytes p) {
    Masks m = {0, 0, 0};
    for (int i = 0; i < 8; i++) {
        uint64_t w;
        memcpy(&w, p + 8 * i, 8);
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
        w = __builtin_bswap64(w);
#endif
        m.quote |= mask8(w, '"') << (8 * i);
        m.backslash |= mask8(w, '\\') << (8 * i);
        uint64_t lower = w | 0x2020202020202020ull;
        m.bracket |= (mask8(lower, '{') | mask8(lower, '}')) << (8 * i);
    }
    return m;
}

#endif

/* The bytes that a backslash before them escapes. *carry: whether the next 64 bytes begin with one. */
static uint64_t escaped_by(uint64_t backslash, uint64_t *carry) {
    const uint64_t even = 0x5555555555555555ull;
    if (!backslash) {
        uint64_t first = *carry;
        *carry = 0;
        return first;
    }
    backslash &= ~*carry;
    uint64_t follows = backslash << 1 | *carry;
    uint64_t odd_starts = backslash & ~even & ~follows;
    uint64_t sequences = odd_starts + backslash;
    *carry = sequences < odd_starts;
    return (even ^ (sequences << 1)) & follows;
}

/* From each quote to the byte before the next one: bits that are inside a string. */
static uint64_t between(uint64_t quotes) {
    for (int i = 1; i < 64; i *= 2) quotes ^= quotes << i;
    return quotes;
}

static bytes skip_space(bytes p, bytes end) {
    while (p < end && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t')) p++;
    return p;
}

/* Where the elements end that begin at data[at], an opening bracket: as far as the last one that ends within `wanted` (or
   the first, when it alone is larger); 0 when there is none. An element counts when `next`, what stands between elements, or
   else at least a comma and a brace after a well-formed element, follows it, and when it has at most `most` bytes. With
   wanted < 0 one value is looked for, whatever follows it. *why says what stopped the search. */
EXPORT int64_t mm_json_cut(bytes data, int64_t length, int64_t at, int64_t wanted, int64_t most, bytes next,
                           int64_t next_length, int64_t *count, int32_t *why) {
    bytes end = data + length, start = data + at;
    int64_t last = 0;
    uint64_t kinds = 0, carry = 0, inside = 0; /* kinds: a bit for each open bracket, 1 for a brace */
    int depth = 0;
    *count = 0;
    *why = ODD;
    if (at < 0 || at >= length || (*start != '{' && (wanted >= 0 || *start != '['))) return 0;
    for (bytes p = start; p < end; p += 64) {
        uint8_t rest[64];
        Masks m;
        if (end - p >= 64) {
            m = masks_of(p);
        } else {
            memset(rest, ' ', sizeof rest);
            memcpy(rest, p, (size_t)(end - p));
            m = masks_of(rest);
        }
        uint64_t quotes = m.quote;
        if (__builtin_expect((m.backslash | carry) != 0, 0)) quotes &= ~escaped_by(m.backslash, &carry);
        uint64_t strings = between(quotes) ^ inside;
        inside = (uint64_t)0 - (strings >> 63);
        if (m.backslash & ~strings) return last; /* outside a string it means nothing */
        for (uint64_t marks = m.bracket & ~strings; marks; marks &= marks - 1) {
            bytes q = p + __builtin_ctzll(marks);
            uint64_t brace = *q >> 5 & 1;
            if (!(*q & 4)) { /* { is 7B, [ is 5B, } is 7D, ] is 5D */
                if (depth == 0) start = q;
                if (depth == MAX_DEPTH) return last;
                kinds = kinds << 1 | brace;
                depth++;
                continue;
            }
            if (depth == 0) return last; /* not reached: what follows an element was looked at */
            if ((kinds & 1) != brace) return last;
            kinds >>= 1;
            if (--depth) continue;
            bytes after = q + 1;
            if (wanted < 0) {
                *count = 1;
                *why = FULL;
                return after - data;
            }
            if (after - start > most) return last;
            if (last && after - data > wanted) { *why = FULL; return last; }
            int follows = end - after >= next_length && !memcmp(after, next, (size_t)next_length);
            bytes mark = skip_space(after, end);
            if (!follows && mark < end && *mark == ',') {
                mark = skip_space(mark + 1, end);
                follows = mark < end && *mark == '{' && json_is_valid(start, after);
            }
            if (follows) {
                last = after - data;
                ++*count;
                if (last < wanted) continue;
                *why = FULL;
                return last;
            }
            *why = mark == end ? UNFINISHED : *mark == ']' ? FULL : ODD;
            return last;
        }
    }
    *why = UNFINISHED;
    return last;
}
