/* The memory store: a hash table under one mutex, gone with the process. Keys are SHA-256 and therefore
 * spread by themselves: the first bits choose one of a fixed number of shards, the next ones a bucket in it,
 * and buckets keep their entries sorted, so that walking the table is walking in hash order. Shards grow one
 * by one; none is large enough for that to be felt on a loop.
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
#include "store_impl.h"

#define SHARD_BITS 10
#define SHARDS     ((size_t)1 << SHARD_BITS)
#define BITS_FIRST 2 /* of a shard's first bucket array */

struct entry {
    struct entry *next;
    int64_t end_ms;
    uint32_t refs;
    uint32_t len;
    uint8_t hash[RECORD_HASH];
    uint8_t data[];
};

struct shard {
    struct entry **buckets; /* owned, 1 << bits of them; NULL while empty */
    uint32_t count;
    uint32_t bits;
};

struct memory {
    struct store_backend base;
    pthread_mutex_t mutex; /* guards what follows */
    size_t bytes;
    size_t max_bytes;
    struct shard shards[SHARDS];
};

static struct memory *memory_of(struct store_backend *b)
{
    return (struct memory *)(void *)b; /* its first member */
}

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
    for (size_t i = 0; i < SHARDS; i++) {
        struct shard *sh = &m->shards[i];
        for (size_t j = 0; sh->buckets && j < (size_t)1 << sh->bits; j++)
            for (struct entry *e = sh->buckets[j], *next; e != NULL; e = next) {
                next = e->next;
                free(e);
            }
        free(sh->buckets);
    }
    pthread_mutex_destroy(&m->mutex);
    free(m);
}

/* ---- the table; the mutex is held ---- */

static uint64_t first_bits(const uint8_t hash[RECORD_HASH])
{
    uint64_t n = 0;
    for (size_t i = 0; i < 8; i++)
        n = n << 8 | hash[i];
    return n;
}

static struct shard *shard_of(struct memory *m, const uint8_t hash[RECORD_HASH])
{
    return &m->shards[first_bits(hash) >> (64 - SHARD_BITS)];
}

/* The link that points, or would point, to the entry. The shard has buckets. */
static struct entry **slot_of(struct shard *sh, const uint8_t hash[RECORD_HASH])
{
    struct entry **slot = &sh->buckets[first_bits(hash) << SHARD_BITS >> (64 - sh->bits)];
    while (*slot != NULL && memcmp((*slot)->hash, hash, RECORD_HASH) < 0)
        slot = &(*slot)->next;
    return slot;
}

static struct entry **find_entry(struct memory *m, const uint8_t hash[RECORD_HASH])
{
    struct shard *sh = shard_of(m, hash);
    if (sh->buckets == NULL)
        return NULL;
    struct entry **slot = slot_of(sh, hash);
    return *slot != NULL && memcmp((*slot)->hash, hash, RECORD_HASH) == 0 ? slot : NULL;
}

static void grow_shard(struct shard *sh)
{
    struct shard bigger = {.bits = sh->buckets ? sh->bits + 1 : BITS_FIRST, .count = sh->count};
    bigger.buckets = mem_zalloc(sizeof *bigger.buckets << bigger.bits);
    for (size_t i = 0; sh->buckets && i < (size_t)1 << sh->bits; i++)
        for (struct entry *e = sh->buckets[i], *next; e != NULL; e = next) {
            next = e->next;
            struct entry **slot = slot_of(&bigger, e->hash);
            e->next = *slot;
            *slot = e;
        }
    free(sh->buckets);
    *sh = bigger;
}

static void unref(struct memory *m, struct entry *e)
{
    if (--e->refs > 0)
        return;
    m->bytes -= sizeof *e + e->len;
    free(e);
}

static struct entry *entry_new(struct memory *m, const uint8_t hash[RECORD_HASH], const uint8_t *data,
                               size_t len, int64_t end_ms)
{
    struct entry *e = mem_alloc(sizeof *e + len);
    *e = (struct entry){.end_ms = end_ms, .refs = 1, .len = (uint32_t)len};
    memcpy(e->hash, hash, RECORD_HASH);
    memcpy(e->data, data, len);
    m->bytes += sizeof *e + len;
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
    struct entry **slot = find_entry(memory_of(b), hash);
    if (slot == NULL)
        return ERR_NOT_FOUND;
    *data = (*slot)->data;
    *len = (*slot)->len;
    return 0;
}

static int memory_insert(struct store_backend *b, struct store_txn *t, const uint8_t hash[RECORD_HASH],
                         const uint8_t *data, size_t len, int64_t end_ms)
{
    struct memory *m = memory_of(b);
    (void)t;
    if (find_entry(m, hash) != NULL)
        return ERR_EXISTS;
    if (m->bytes + sizeof(struct entry) + len > m->max_bytes)
        return ERR_STORE_FULL;
    struct shard *sh = shard_of(m, hash);
    if (sh->buckets == NULL || sh->count >= (size_t)1 << sh->bits)
        grow_shard(sh);
    struct entry *e = entry_new(m, hash, data, len, end_ms);
    struct entry **slot = slot_of(sh, hash);
    e->next = *slot;
    *slot = e;
    sh->count++;
    return 0;
}

static int memory_replace(struct store_backend *b, struct store_txn *t, const uint8_t hash[RECORD_HASH],
                          const uint8_t *data, size_t len, int64_t old_end_ms, int64_t end_ms)
{
    struct memory *m = memory_of(b);
    struct entry **slot = find_entry(m, hash);
    (void)t;
    (void)old_end_ms;
    assert(slot != NULL);
    struct entry *old = *slot, *e = entry_new(m, hash, data, len, end_ms);
    e->next = old->next;
    *slot = e;
    unref(m, old);
    return 0;
}

/* ---- reading ---- */

static int memory_get(struct store_backend *b, struct store_reader *r, const uint8_t hash[RECORD_HASH],
                      struct record **out)
{
    struct memory *m = memory_of(b);
    int rc = ERR_NOT_FOUND;
    (void)r;
    pthread_mutex_lock(&m->mutex);
    struct entry **slot = find_entry(m, hash);
    if (slot != NULL) {
        *out = record_decode(hash, (*slot)->data, (*slot)->len);
        rc = *out ? 0 : ERR_STORE;
    }
    pthread_mutex_unlock(&m->mutex);
    return rc;
}

struct snapshot {
    struct entry **entries;
    size_t count;
    size_t cap;
};

static void collect(struct shard *sh, const struct store_prefix *prefix, struct snapshot *snap)
{
    for (size_t i = 0; sh->buckets && i < (size_t)1 << sh->bits; i++)
        for (struct entry *e = sh->buckets[i]; e != NULL; e = e->next) {
            if (!store_prefix_matches(prefix, e->hash))
                continue;
            if (snap->count == snap->cap) {
                snap->cap = snap->cap ? 2 * snap->cap : 64;
                snap->entries = mem_realloc(snap->entries, snap->cap * sizeof *snap->entries);
            }
            e->refs++;
            snap->entries[snap->count++] = e;
        }
}

static int memory_scan(struct store_backend *b, const struct store_prefix *prefix, store_visit *visit,
                       void *owner)
{
    struct memory *m = memory_of(b);
    struct snapshot snap = {0};
    size_t first = 0, last = SHARDS - 1;
    if (prefix->digits * 4 >= SHARD_BITS)
        first = last = (size_t)(shard_of(m, prefix->bytes) - m->shards);

    pthread_mutex_lock(&m->mutex);
    for (size_t i = first; i <= last; i++)
        collect(&m->shards[i], prefix, &snap);
    pthread_mutex_unlock(&m->mutex);

    int rc = 0;
    for (size_t i = 0; rc == 0 && i < snap.count; i++)
        rc = visit(owner, snap.entries[i]->hash, snap.entries[i]->data, snap.entries[i]->len);

    pthread_mutex_lock(&m->mutex);
    for (size_t i = 0; i < snap.count; i++)
        unref(m, snap.entries[i]);
    pthread_mutex_unlock(&m->mutex);
    free(snap.entries);
    return rc;
}

/* ---- purging ---- */

static size_t purge_shard(struct memory *m, struct shard *sh, int64_t ended_ms, size_t limit)
{
    size_t n = 0;
    for (size_t i = 0; sh->buckets && i < (size_t)1 << sh->bits; i++)
        for (struct entry **slot = &sh->buckets[i]; *slot != NULL && n < limit;) {
            struct entry *e = *slot;
            if (e->end_ms > ended_ms) {
                slot = &e->next;
                continue;
            }
            *slot = e->next;
            unref(m, e);
            n++;
        }
    sh->count -= (uint32_t)n;
    if (sh->count == 0) {
        free(sh->buckets);
        *sh = (struct shard){0};
    }
    return n;
}

/* *place is one more than the shard to go on with. The mutex is let go between shards. */
static int64_t memory_purge(struct store_backend *b, int64_t ended_ms, size_t limit, size_t *place)
{
    struct memory *m = memory_of(b);
    size_t n = 0, i = *place > 0 ? *place - 1 : 0;
    for (; i < SHARDS; i++) {
        pthread_mutex_lock(&m->mutex);
        n += purge_shard(m, &m->shards[i], ended_ms, limit - n);
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
    .begin = memory_begin,
    .commit = memory_commit,
    .abort = memory_abort,
    .lookup = memory_lookup,
    .insert = memory_insert,
    .replace = memory_replace,
    .purge = memory_purge,
};
