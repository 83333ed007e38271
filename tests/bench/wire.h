/* What tunnelload and sink say to each other through a tunnel, so that every byte of a measurement can be
 * checked.
 *
 * The client sends requests of 16 bytes, one after the other: a verb, a 56-bit count, a 64-bit tag (both
 * big-endian). E  the sink sends the request back, and the `count` bytes that follow it S  the sink sends
 * `count` bytes of the pattern D  `count` bytes of the pattern follow; having swallowed them the sink sends
 * the request back A D whose bytes were not the pattern comes back with the verb '!'. No verb is a byte that
 * starts a TLS record. */
#ifndef STAGATE_BENCH_WIRE_H
#define STAGATE_BENCH_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { REQUEST_SIZE = 16, PATTERN_PERIOD = 65536, PATTERN_CHECKED = 16 };
enum verb { VERB_ECHO = 'E', VERB_SOURCE = 'S', VERB_DISCARD = 'D', VERB_DAMAGED = '!' };

struct request {
    uint8_t verb; /* enum verb, or anything that came */
    uint64_t count;
    uint64_t tag;
};

static inline void request_encode(uint8_t dst[REQUEST_SIZE], const struct request *r)
{
    dst[0] = r->verb;
    for (int i = 0; i < 7; i++)
        dst[1 + i] = (uint8_t)(r->count >> (48 - 8 * i));
    for (int i = 0; i < 8; i++)
        dst[8 + i] = (uint8_t)(r->tag >> (56 - 8 * i));
}

static inline void request_decode(struct request *r, const uint8_t src[REQUEST_SIZE])
{
    *r = (struct request){.verb = src[0]};
    for (int i = 0; i < 7; i++)
        r->count = r->count << 8 | src[1 + i];
    for (int i = 0; i < 8; i++)
        r->tag = r->tag << 8 | src[8 + i];
}

/* The pattern repeats after PATTERN_PERIOD bytes; kept twice, so that any PATTERN_PERIOD bytes of it are
 * contiguous. */
struct pattern {
    uint8_t bytes[2 * PATTERN_PERIOD];
};

static inline void pattern_init(struct pattern *p)
{
    uint64_t x = 0x9e3779b97f4a7c15;
    for (size_t i = 0; i < PATTERN_PERIOD; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        p->bytes[i] = p->bytes[PATTERN_PERIOD + i] = (uint8_t)x;
    }
}

static inline const uint8_t *pattern_at(const struct pattern *p, uint64_t position)
{
    return p->bytes + position % PATTERN_PERIOD;
}

/* Are these len bytes, up to PATTERN_PERIOD of them, the pattern at that position? Looks at both ends only:
 * that catches what is lost, doubled or out of order, and costs the measured machine next to nothing. */
static inline bool pattern_matches(const struct pattern *p, uint64_t position, const uint8_t *data,
                                   size_t len)
{
    size_t n = len < PATTERN_CHECKED ? len : PATTERN_CHECKED;
    const uint8_t *want = pattern_at(p, position);
    return memcmp(data, want, n) == 0 && memcmp(data + len - n, want + len - n, n) == 0;
}

#endif
