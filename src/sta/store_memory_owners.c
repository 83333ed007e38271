/* The memory store's tickets by user and by end: for limits, and for listing one user's. A user's tickets are
 * chained in a bucket, live ones in another than past ones, so that counting does not meet what is over; the
 * live ones of all stand in a heap besides. The mutex is held by whoever calls.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "store_memory.h"

#define BITS_FIRST 2 /* of a shard's first bucket array */
#define PER_BUCKET 2u

/* ---- by user ---- */

static struct memory_entry **bucket_of(struct memory_table *t, uint64_t user, bool live)
{
    uint64_t bits = user << MEMORY_SHARD_BITS;
    return &t->buckets[(live ? bits : ~bits) >> (64 - t->bits)];
}

static void link_entry(struct memory_entry **bucket, struct memory_entry *e)
{
    e->user_next = *bucket;
    e->user_link = bucket;
    if (e->user_next)
        e->user_next->user_link = &e->user_next;
    *bucket = e;
}

static void unlink_entry(struct memory_entry *e)
{
    *e->user_link = e->user_next;
    if (e->user_next)
        e->user_next->user_link = e->user_link;
}

static void grow(struct memory_table *t)
{
    struct memory_table bigger = {.bits = t->buckets ? t->bits + 1 : BITS_FIRST, .count = t->count};
    bigger.buckets = mem_zalloc(sizeof *bigger.buckets << bigger.bits);
    for (size_t i = 0; t->buckets && i < (size_t)1 << t->bits; i++)
        for (struct memory_entry *e = t->buckets[i], *next; e != NULL; e = next) {
            next = e->user_next;
            link_entry(bucket_of(&bigger, e->user, e->order != 0), e);
        }
    free(t->buckets);
    *t = bigger;
}

void memory_owners_each(struct memory *m, uint64_t user, bool live,
                        void (*visit)(void *owner, struct memory_entry *e), void *owner)
{
    struct memory_table *t = &memory_shard_of(m, user)->owners;
    if (t->buckets == NULL)
        return;
    for (struct memory_entry *e = *bucket_of(t, user, live); e != NULL; e = e->user_next)
        if (e->user == user && (e->order != 0) == live)
            visit(owner, e);
}

/* ---- by end ---- */

static bool ends_before(const struct memory_entry *a, const struct memory_entry *b)
{
    return a->end_ms != b->end_ms ? a->end_ms < b->end_ms : memcmp(a->hash, b->hash, RECORD_HASH) < 0;
}

static void set_order(struct memory *m, size_t i, struct memory_entry *e)
{
    m->order[i] = e;
    e->order = (uint32_t)i + 1;
}

static void sift_up(struct memory *m, size_t i)
{
    struct memory_entry *e = m->order[i];
    for (; i > 0 && ends_before(e, m->order[(i - 1) / 2]); i = (i - 1) / 2)
        set_order(m, i, m->order[(i - 1) / 2]);
    set_order(m, i, e);
}

static void sift_down(struct memory *m, size_t i)
{
    struct memory_entry *e = m->order[i];
    for (;;) {
        size_t child = 2 * i + 1;
        if (child + 1 < m->live && ends_before(m->order[child + 1], m->order[child]))
            child++;
        if (child >= m->live || !ends_before(m->order[child], e))
            break;
        set_order(m, i, m->order[child]);
        i = child;
    }
    set_order(m, i, e);
}

static void order_add(struct memory *m, struct memory_entry *e)
{
    assert(m->live < UINT32_MAX - 1);
    if (m->live == m->order_cap) {
        m->order_cap = m->order_cap ? 2 * m->order_cap : 64;
        m->order = mem_realloc(m->order, m->order_cap * sizeof *m->order);
    }
    m->order[m->live++] = e;
    sift_up(m, m->live - 1);
}

static void order_remove(struct memory *m, struct memory_entry *e)
{
    size_t i = e->order - 1;
    struct memory_entry *last = m->order[--m->live];
    e->order = 0;
    if (last == e)
        return;
    set_order(m, i, last);
    sift_up(m, i);
    sift_down(m, last->order - 1);
}

/* ---- both ---- */

void memory_owners_add(struct memory *m, struct memory_entry *e, bool live)
{
    struct memory_table *t = &memory_shard_of(m, e->user)->owners;
    if (t->buckets == NULL || t->count >= PER_BUCKET << t->bits)
        grow(t);
    e->order = 0;
    if (live)
        order_add(m, e);
    link_entry(bucket_of(t, e->user, live), e);
    t->count++;
}

void memory_owners_remove(struct memory *m, struct memory_entry *e)
{
    struct memory_table *t = &memory_shard_of(m, e->user)->owners;
    if (e->order != 0)
        order_remove(m, e);
    unlink_entry(e);
    if (--t->count == 0) {
        free(t->buckets);
        *t = (struct memory_table){0};
    }
}

/* ---- counting ---- */

int memory_total(struct store_backend *b, struct store_txn *t, size_t *live)
{
    (void)t;
    *live = memory_of(b)->live;
    return 0;
}

struct counter {
    const uint8_t *except;
    int64_t now_ms;
    uint64_t device;
    struct store_census *out;
    int64_t oldest_ms, oldest_of_device_ms;
};

static void take_older(const struct memory_entry *e, int64_t issued_ms, bool first, int64_t *oldest_ms,
                       uint8_t oldest[RECORD_HASH])
{
    if (!first &&
        (issued_ms > *oldest_ms || (issued_ms == *oldest_ms && memcmp(e->hash, oldest, RECORD_HASH) > 0)))
        return;
    *oldest_ms = issued_ms;
    memcpy(oldest, e->hash, RECORD_HASH);
}

static void count_entry(void *owner, struct memory_entry *e)
{
    struct counter *c = owner;
    struct record_view v;
    if (e->end_ms <= c->now_ms || (c->except && memcmp(e->hash, c->except, RECORD_HASH) == 0) ||
        !record_peek(&v, e->data, e->len))
        return;
    take_older(e, v.issued_ms, c->out->user++ == 0, &c->oldest_ms, c->out->oldest);
    if (e->device == c->device)
        take_older(e, v.issued_ms, c->out->device++ == 0, &c->oldest_of_device_ms, c->out->oldest_of_device);
}

int memory_census(struct store_backend *b, struct store_txn *t, const struct store_place *of,
                  const uint8_t *except, int64_t now_ms, struct store_census *out)
{
    struct counter c = {
        .except = except, .now_ms = now_ms, .device = memory_bits(of->device_key), .out = out};
    (void)t;
    memory_owners_each(memory_of(b), memory_bits(of->user_key), true, count_entry, &c);
    return 0;
}

int memory_first_to_end(struct store_backend *b, struct store_txn *t, const uint8_t *except, int64_t now_ms,
                        uint8_t hash[RECORD_HASH])
{
    struct memory *m = memory_of(b);
    const struct memory_entry *first = NULL;
    (void)t;
    (void)now_ms;                                   /* those whose time has come were moved away before */
    for (size_t i = 0; i < 3 && i < m->live; i++) { /* the top, or one of the two below it */
        const struct memory_entry *e = m->order[i];
        if ((except == NULL || memcmp(e->hash, except, RECORD_HASH) != 0) &&
            (first == NULL || ends_before(e, first)))
            first = e;
    }
    if (first == NULL)
        return ERR_NOT_FOUND;
    memcpy(hash, first->hash, RECORD_HASH);
    return 0;
}

int64_t memory_retire(struct store_backend *b, struct store_txn *t, int64_t now_ms, size_t limit, bool *more)
{
    struct memory *m = memory_of(b);
    size_t n = 0;
    (void)t;
    for (; n < limit && m->live > 0 && m->order[0]->end_ms <= now_ms; n++) {
        struct memory_entry *e = m->order[0];
        memory_owners_remove(m, e);
        memory_owners_add(m, e, false);
    }
    *more = n == limit;
    return (int64_t)n;
}
