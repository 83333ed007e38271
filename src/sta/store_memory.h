/* The memory store's table, for store_memory.c and store_memory_owners.c only. */
#ifndef STAGATE_SRC_STA_STORE_MEMORY_H
#define STAGATE_SRC_STA_STORE_MEMORY_H

#include "store_impl.h"

#define MEMORY_SHARD_BITS 10
#define MEMORY_SHARDS     ((size_t)1 << MEMORY_SHARD_BITS)

/* A million tickets are a million of these: what can be had from the record is not kept beside it. */
struct memory_entry {
    struct memory_entry *next; /* in its bucket of the table */
    struct memory_entry *user_next;
    struct memory_entry **user_link; /* what points to it among its user's */
    uint64_t user, device;           /* the first halves of the keys */
    int64_t end_ms;
    uint32_t refs;
    uint32_t order; /* one more than its index in the order of ends; 0: past */
    uint16_t len;
    uint8_t hash[RECORD_HASH];
    uint8_t data[];
};

struct memory_table {
    struct memory_entry **buckets; /* owned, 1 << bits of them; NULL while empty */
    uint32_t count;
    uint32_t bits;
};

struct memory_shard {
    struct memory_table tickets; /* by hash */
    struct memory_table owners;  /* by user: live ones and past ones in different buckets */
};

struct memory {
    struct store_backend base;
    pthread_mutex_t mutex; /* guards what follows */
    size_t bytes;
    size_t max_bytes;
    struct memory_entry **order; /* owned: a heap of the live tickets, the one that ends first on top */
    size_t live, order_cap;
    struct memory_shard shards[MEMORY_SHARDS];
};

static inline struct memory *memory_of(struct store_backend *b)
{
    return (struct memory *)(void *)b; /* its first member */
}

static inline uint64_t memory_bits(const uint8_t *key)
{
    uint64_t n = 0;
    for (size_t i = 0; i < 8; i++)
        n = n << 8 | key[i];
    return n;
}

static inline struct memory_shard *memory_shard_of(struct memory *m, uint64_t bits)
{
    return &m->shards[bits >> (64 - MEMORY_SHARD_BITS)];
}

/* ---- the mutex is held in all that follows ---- */

/* Puts an entry, whose user, device and end are filled, among its user's tickets, and takes it away. */
void memory_owners_add(struct memory *m, struct memory_entry *e, bool live);
void memory_owners_remove(struct memory *m, struct memory_entry *e);

int memory_census(struct store_backend *b, struct store_txn *t, const struct store_place *of,
                  const uint8_t *except, int64_t now_ms, struct store_census *out);
int memory_total(struct store_backend *b, struct store_txn *t, size_t *live);
int memory_first_to_end(struct store_backend *b, struct store_txn *t, const uint8_t *except, int64_t now_ms,
                        uint8_t hash[RECORD_HASH]);
int64_t memory_retire(struct store_backend *b, struct store_txn *t, int64_t now_ms, size_t limit, bool *more);

/* Calls visit for a user's entries, live ones or past ones. */
void memory_owners_each(struct memory *m, uint64_t user, bool live,
                        void (*visit)(void *owner, struct memory_entry *e), void *owner);

#endif
