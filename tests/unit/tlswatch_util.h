/* What the two test programs of tlswatch share: feeding in pieces, and cutting messages into records. */
#ifndef STAGATE_TESTS_TLSWATCH_UTIL_H
#define STAGATE_TESTS_TLSWATCH_UTIL_H

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "proto/tlswatch.h"

static const enum tlswatch_side C = TLSWATCH_CLIENT, S = TLSWATCH_SERVER;

/* Feeds in pieces of `step` bytes until an event comes; every later byte must be unread. */
static inline enum tlswatch_result feed_steps(struct tlswatch *w, enum tlswatch_side side, const void *data,
                                              size_t len, size_t step)
{
    const uint8_t *p = data;
    while (len > 0) {
        size_t n = len < step ? len : step, used = 0;
        uint8_t *piece = mem_alloc(n); /* of exact size: reading beyond it is seen by the sanitizer */
        memcpy(piece, p, n);
        enum tlswatch_result r = tlswatch_feed(w, side, piece, n, &used);
        free(piece);
        ck_assert_uint_le(used, n);
        if (r != TLSWATCH_MORE)
            return r;
        ck_assert_uint_eq(used, n);
        p += n;
        len -= n;
    }
    return TLSWATCH_MORE;
}

/* Puts a message into records of `size` bytes each. */
static inline struct buf records_of(const struct buf *message, size_t size)
{
    struct buf r;
    buf_init(&r, 1 << 22);
    for (size_t at = 0; at < message->len; at += size) {
        size_t n = message->len - at < size ? message->len - at : size;
        uint8_t head[] = {22, 3, 1, (uint8_t)(n >> 8), (uint8_t)n};
        ck_assert_int_eq(buf_append(&r, head, sizeof head), 0);
        ck_assert_int_eq(buf_append(&r, message->data + at, n), 0);
    }
    return r;
}

#define LOOP(tcase, test, table)                                                                             \
    tcase_add_loop_test(tcase, test, 0, (int)(sizeof(table) / sizeof((table)[0])))

#endif
