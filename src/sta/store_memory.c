/* The memory store: a hash table under one mutex, gone with the process; the tickets by user and by end are
 * in store_memory_owners.c. Keys are SHA-256 and therefore spread by themselves: the first bits choose one of
 * a fixed number of shards, the next ones a bucket in it, and buckets keep their entries sorted, so that
 * walking the table is walking in hash order. Shards grow one by one; none is large enough for that to be
 * felt on a loop.
 *
 * Entries never change: a ticket that ends gets a new one. A walk counts references and so sees one moment's
 * state.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "store_memory.h"

#define BITS_FIRST 2 /* of a shard's first bucket array */
/* What a walk looks at before it lets loops go on. */
#define PICK_LOOKS 2000

static int memory_open(struct store_backend **out, const char *path, const struct store_options *options,
                       char *why, size_t why_cap)
{
    if (path[0] != '\0') {
        snprintf(why, why_cap, "memory: takes nothing behind the colon, not \"%s\"", path);
        return ERR_SYNTAX;
    }
    if (options->must_exist) {
        snprintf(why, why_cap, "memory: a store of another process cannot be opened");
        return ERR_NOT_FOUND;
    }
    struct memory *m = mem_zalloc(sizeof *m);
    m->base.ops = &store_memory_ops;
    m->max_bytes = options->max_bytes;
    pthread_mutex_init(&m->mutex, NULL);
    *out = &m->base;
    return 0;
}

static void memory_close(struct store_backend *b)
{
    struct memory *m = memory_of(b);
    for (size_t i = 0; i < MEMORY_SHARDS; i++) {
        struct memory_table *t = &m->shards[i].tickets;
        for (size_t j = 0; t->buckets && j < (size_t)1 << t->bits; j++)
            for (struct memory_entry *e = t->buckets[j], *next; e != NULL; e = next) {
                next = e->next;
                free(e);
            }
        free(t->buckets);
        free(m->shards[i].owners.buckets);
    }
    free(m->order);
    pthread_mutex_destroy(&m->mutex);
    free(m);
}

/* ---- the table; the mutex is held ---- */

static struct memory_table *table_of(struct memory *m, const uint8_t hash[RECORD_HASH])
{
    return &memory_shard_of(m, memory_bits(hash))->tickets;
}

/* Of a table that has buckets. */
static size_t bucket_of(const struct memory_table *t, const uint8_t hash[RECORD_HASH])
{
    return (size_t)(memory_bits(hash) << MEMORY_SHARD_BITS >> (64 - t->bits));
}

/* The link that points, or would point, to the entry. The table has buckets. */
static struct memory_entry **slot_of(struct memory_table *t, const uint8_t hash[RECORD_HASH])
{
    struct memory_entry **slot = &t->buckets[bucket_of(t, hash)];
    while (*slot != NULL && memcmp((*slot)->hash, hash, RECORD_HASH) < 0)
        slot = &(*slot)->next;
    return slot;
}

static struct memory_entry **find_entry(struct memory *m, const uint8_t hash[RECORD_HASH])
{
    struct memory_table *t = table_of(m, hash);
    if (t->buckets == NULL)
        return NULL;
    struct memory_entry **slot = slot_of(t, hash);
    return *slot != NULL && memcmp((*slot)->hash, hash, RECORD_HASH) == 0 ? slot : NULL;
}

static void grow_table(struct memory_table *t)
{
    struct memory_table bigger = {.bits = t->buckets ? t->bits + 1 : BITS_FIRST, .count = t->count};
    bigger.buckets = mem_zalloc(sizeof *bigger.buckets << bigger.bits);
    for (size_t i = 0; t->buckets && i < (size_t)1 << t->bits; i++)
        for (struct memory_entry *e = t->buckets[i], *next; e != NULL; e = next) {
            next = e->next;
            struct memory_entry **slot = slot_of(&bigger, e->hash);
            e->next = *slot;
            *slot = e;
        }
    free(t->buckets);
    *t = bigger;
}

/* With its share of the buckets and of the heap. */
static size_t entry_bytes(size_t len)
{
    return offsetof(struct memory_entry, data) + len + 3 * sizeof(void *);
}

static void unref(struct memory *m, struct memory_entry *e)
{
    if (--e->refs > 0)
        return;
    m->bytes -= entry_bytes(e->len);
    free(e);
}

static struct memory_entry *entry_new(struct memory *m, const uint8_t hash[RECORD_HASH], const uint8_t *data,
                                      size_t len, const struct store_place *place)
{
    struct memory_entry *e = mem_alloc(offsetof(struct memory_entry, data) + len);
    e->user = memory_bits(place->user_key);
    e->device = memory_bits(place->device_key);
    e->end_ms = place->end_ms;
    e->refs = 1;
    e->len = (uint16_t)len;
    memcpy(e->hash, hash, RECORD_HASH);
    memcpy(e->data, data, len);
    m->bytes += entry_bytes(len);
    return e;
}

/* ---- transactions: one operation under the mutex ---- */

static int memory_begin(struct store_backend *b, struct store_txn *t)
{
    (void)t;
    pthread_mutex_lock(&memory_of(b)->mutex);
    return 0;
}

static void memory_abort(struct store_backend *b, struct store_txn *t)
{
    (void)t;
    pthread_mutex_unlock(&memory_of(b)->mutex);
}

static int memory_commit(struct store_backend *b, struct store_txn *t)
{
    memory_abort(b, t);
    return 0;
}

static int memory_lookup(struct store_backend *b, struct store_txn *t, const uint8_t hash[RECORD_HASH],
                         const uint8_t **data, size_t *len)
{
    (void)t;
    struct memory_entry **slot = find_entry(memory_of(b), hash);
    if (slot == NULL)
        return ERR_NOT_FOUND;
    *data = (*slot)->data;
    *len = (*slot)->len;
    return 0;
}

static int memory_insert(struct store_backend *b, struct store_txn *t, const uint8_t hash[RECORD_HASH],
                         const uint8_t *data, size_t len, const struct store_place *place)
{
    struct memory *m = memory_of(b);
    (void)t;
    if (find_entry(m, hash) != NULL)
        return ERR_EXISTS;
    if (m->bytes + entry_bytes(len) > m->max_bytes)
        return ERR_STORE_FULL;
    struct memory_table *table = table_of(m, hash);
    if (table->buckets == NULL || table->count >= (size_t)1 << table->bits)
        grow_table(table);
    struct memory_entry *e = entry_new(m, hash, data, len, place);
    struct memory_entry **slot = slot_of(table, hash);
    e->next = *slot;
    *slot = e;
    table->count++;
    memory_owners_add(m, e, place->live);
    return 0;
}

static int memory_replace(struct store_backend *b, struct store_txn *t, const uint8_t hash[RECORD_HASH],
                          const uint8_t *data, size_t len, const struct store_place *old_place,
                          const struct store_place *place)
{
    struct memory *m = memory_of(b);
    struct memory_entry **slot = find_entry(m, hash);
    (void)t;
    (void)old_place;
    assert(slot != NULL);
    struct memory_entry *old = *slot, *e = entry_new(m, hash, data, len, place);
    e->next = old->next;
    *slot = e;
    memory_owners_remove(m, old);
    memory_owners_add(m, e, place->live);
    unref(m, old);
    return 0;
}

/* In hash order, whoever's they are: a user's chain changes between the calls. */
static int memory_pick(struct store_backend *b, struct store_txn *t, const uint8_t *user_key,
                       struct store_cursor *cursor, size_t limit, uint8_t (*hashes)[RECORD_HASH])
{
    struct memory *m = memory_of(b);
    uint64_t user = user_key ? memory_bits(user_key) : 0;
    size_t n = 0, looks = 0;
    (void)t;
    size_t first = cursor->len > 0 ? memory_bits(cursor->key) >> (64 - MEMORY_SHARD_BITS) : 0;
    for (size_t i = first; i < MEMORY_SHARDS; i++) {
        struct memory_table *table = &m->shards[i].tickets;
        size_t j = i == first && cursor->len > 0 && table->buckets ? bucket_of(table, cursor->key) : 0;
        for (; table->buckets && j < (size_t)1 << table->bits; j++)
            for (struct memory_entry *e = table->buckets[j]; e != NULL; e = e->next) {
                if (cursor->len > 0 && memcmp(e->hash, cursor->key, RECORD_HASH) <= 0)
                    continue;
                if (n == limit || looks++ == PICK_LOOKS)
                    return (int)n;
                memcpy(cursor->key, e->hash, RECORD_HASH);
                cursor->len = RECORD_HASH;
                if (e->order != 0 && (user_key == NULL || e->user == user))
                    memcpy(hashes[n++], e->hash, RECORD_HASH);
            }
    }
    cursor->done = true;
    return (int)n;
}

/* ---- reading ---- */

static int memory_get(struct store_backend *b, struct store_reader *r, const uint8_t hash[RECORD_HASH],
                      struct record **out)
{
    struct memory *m = memory_of(b);
    int rc = ERR_NOT_FOUND;
    (void)r;
    pthread_mutex_lock(&m->mutex);
    struct memory_entry **slot = find_entry(m, hash);
    if (slot != NULL) {
        *out = record_decode(hash, (*slot)->data, (*slot)->len);
        rc = *out ? 0 : ERR_STORE;
    }
    pthread_mutex_unlock(&m->mutex);
    return rc;
}

struct snapshot {
    struct memory_entry **entries;
    size_t count;
    size_t cap;
};

static void collect(void *owner, struct memory_entry *e)
{
    struct snapshot *snap = owner;
    if (snap->count == snap->cap) {
        snap->cap = snap->cap ? 2 * snap->cap : 64;
        snap->entries = mem_realloc(snap->entries, snap->cap * sizeof *snap->entries);
    }
    e->refs++;
    snap->entries[snap->count++] = e;
}

static void collect_table(const struct memory_table *t, const struct store_prefix *prefix,
                          const uint8_t *after, size_t limit, struct snapshot *snap)
{
    size_t i = after && t->buckets ? bucket_of(t, after) : 0;
    for (; t->buckets && i < (size_t)1 << t->bits; i++)
        for (struct memory_entry *e = t->buckets[i]; e != NULL; e = e->next) {
            if (limit > 0 && snap->count == limit)
                return;
            if (store_prefix_matches(prefix, e->hash) &&
                (after == NULL || memcmp(e->hash, after, RECORD_HASH) > 0))
                collect(snap, e);
        }
}

static int show(struct memory *m, struct snapshot *snap, store_visit *visit, void *owner)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < snap->count; i++)
        rc = visit(owner, snap->entries[i]->hash, snap->entries[i]->data, snap->entries[i]->len);

    pthread_mutex_lock(&m->mutex);
    for (size_t i = 0; i < snap->count; i++)
        unref(m, snap->entries[i]);
    pthread_mutex_unlock(&m->mutex);
    free(snap->entries);
    return rc;
}

static int memory_scan(struct store_backend *b, const struct store_prefix *prefix, const uint8_t *after,
                       size_t limit, store_visit *visit, void *owner)
{
    struct memory *m = memory_of(b);
    struct snapshot snap = {0};
    size_t first = 0, last = MEMORY_SHARDS - 1;
    if (prefix->digits * 4 >= MEMORY_SHARD_BITS)
        first = last = (size_t)(memory_shard_of(m, memory_bits(prefix->bytes)) - m->shards);
    size_t from = after ? (size_t)(memory_shard_of(m, memory_bits(after)) - m->shards) : 0;

    pthread_mutex_lock(&m->mutex);
    for (size_t i = from > first ? from : first; i <= last; i++)
        collect_table(&m->shards[i].tickets, prefix, i == from ? after : NULL, limit, &snap);
    pthread_mutex_unlock(&m->mutex);
    return show(m, &snap, visit, owner);
}

static int compare_newest_first(const void *a, const void *b)
{
    const struct memory_entry *x = *(struct memory_entry *const *)a, *y = *(struct memory_entry *const *)b;
    struct record_view v = {0}, w = {0};
    record_peek(&v, x->data, x->len);
    record_peek(&w, y->data, y->len);
    if (v.issued_ms != w.issued_ms)
        return v.issued_ms < w.issued_ms ? 1 : -1;
    return memcmp(y->hash, x->hash, RECORD_HASH);
}

static int memory_scan_user(struct store_backend *b, const uint8_t user_key[STORE_KEY], store_visit *visit,
                            void *owner)
{
    struct memory *m = memory_of(b);
    struct snapshot snap = {0};
    pthread_mutex_lock(&m->mutex);
    memory_owners_each(m, memory_bits(user_key), true, collect, &snap);
    memory_owners_each(m, memory_bits(user_key), false, collect, &snap);
    pthread_mutex_unlock(&m->mutex);
    if (snap.count > 0)
        qsort(snap.entries, snap.count, sizeof *snap.entries, compare_newest_first);
    return show(m, &snap, visit, owner);
}

/* ---- purging ---- */

static size_t purge_table(struct memory *m, struct memory_table *t, int64_t ended_ms, size_t limit)
{
    size_t n = 0;
    for (size_t i = 0; t->buckets && i < (size_t)1 << t->bits; i++)
        for (struct memory_entry **slot = &t->buckets[i]; *slot != NULL && n < limit;) {
            struct memory_entry *e = *slot;
            if (e->end_ms > ended_ms) {
                slot = &e->next;
                continue;
            }
            *slot = e->next;
            memory_owners_remove(m, e);
            unref(m, e);
            n++;
        }
    t->count -= (uint32_t)n;
    if (t->count == 0) {
        free(t->buckets);
        *t = (struct memory_table){0};
    }
    return n;
}

/* *place is one more than the shard to go on with. The mutex is let go between shards. */
static int64_t memory_purge(struct store_backend *b, int64_t ended_ms, size_t limit, size_t *place)
{
    struct memory *m = memory_of(b);
    size_t n = 0, i = *place > 0 ? *place - 1 : 0;
    for (; i < MEMORY_SHARDS; i++) {
        pthread_mutex_lock(&m->mutex);
        n += purge_table(m, &m->shards[i].tickets, ended_ms, limit - n);
        pthread_mutex_unlock(&m->mutex);
        if (n == limit) {
            *place = i + 1; /* this shard may hold more */
            return (int64_t)n;
        }
    }
    *place = 0;
    return (int64_t)n;
}

const struct store_ops store_memory_ops = {
    .scheme = "memory",
    .shared = false,
    .in_place = true,
    .open = memory_open,
    .close = memory_close,
    .get = memory_get,
    .scan = memory_scan,
    .scan_user = memory_scan_user,
    .begin = memory_begin,
    .commit = memory_commit,
    .abort = memory_abort,
    .lookup = memory_lookup,
    .insert = memory_insert,
    .replace = memory_replace,
    .census = memory_census,
    .total = memory_total,
    .first_to_end = memory_first_to_end,
    .retire = memory_retire,
    .pick = memory_pick,
    .purge = memory_purge,
};
