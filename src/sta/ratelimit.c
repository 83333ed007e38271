/* Token buckets by name. Used by whatever lets people try passwords. Knows nothing of clocks and names: time
 * comes with each call, and of a name its keyed hash is kept, so that memory is fixed and nobody can choose
 * names that meet.
 *
 * A bucket is one number: when it will be full again. Each token taken moves that by one interval; a bucket
 * is empty when it lies a whole per_ms ahead. Times are in ticks of 1/burst milliseconds, in which an
 * interval is per_ms ticks, exactly. A heap by that number finds the bucket that has been full longest
 * (logarithmic, all else takes constant time); a list by the time of touching, the one touched longest ago.
 */
#include "sta/ratelimit.h"

#include <assert.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>

#include "base/list.h"
#include "base/mem.h"
#include "sta/record.h"

#define BURST_MAX 1000000
#define PER_MAX   ((uint64_t)100 * 366 * 86400 * 1000) /* ms: any duration that base/clock.h reads */
#define SALT      16
#define NONE      SIZE_MAX

struct bucket {
    uint8_t key[RECORD_HASH];
    struct list touched; /* in the list, oldest first */
    uint64_t full_at;    /* ticks */
    size_t heap_index;
    size_t next; /* in its chain */
};

struct ratelimit {
    uint64_t burst;  /* tokens; and ticks in a millisecond */
    uint64_t per_ms; /* and ticks of an interval */
    uint8_t salt[SALT];
    size_t count, max;
    size_t slots;           /* of the table, a power of two */
    size_t *table;          /* heads of chains */
    struct bucket *buckets; /* the first `count` are in use */
    size_t *heap;           /* of buckets, the earliest full_at first */
    struct list touched;
};

struct ratelimit *ratelimit_new(size_t buckets, unsigned burst, uint64_t per_ms)
{
    assert(buckets > 0 && buckets <= (size_t)1 << 24);
    assert(burst > 0 && burst <= BURST_MAX && per_ms > 0 && per_ms <= PER_MAX);
    struct ratelimit *r = mem_zalloc(sizeof *r);
    r->burst = burst;
    r->per_ms = per_ms;
    r->max = buckets;
    for (r->slots = 1; r->slots < buckets; r->slots *= 2)
        continue;
    r->table = mem_alloc(r->slots * sizeof *r->table);
    r->buckets = mem_zalloc(buckets * sizeof *r->buckets);
    r->heap = mem_alloc(buckets * sizeof *r->heap);
    for (size_t i = 0; i < r->slots; i++)
        r->table[i] = NONE;
    list_init(&r->touched);
    int drawn = RAND_bytes(r->salt, SALT);
    assert(drawn == 1);
    (void)drawn;
    return r;
}

void ratelimit_free(struct ratelimit *r)
{
    if (r == NULL)
        return;
    free(r->table);
    free(r->buckets);
    free(r->heap);
    free(r);
}

/* ---- the table ---- */

static void make_key(const struct ratelimit *r, const char *name, uint8_t key[RECORD_HASH])
{
    size_t len = strlen(name);
    char small[SALT + 256], *text = len < 256 ? small : mem_alloc(SALT + len);
    memcpy(text, r->salt, SALT);
    memcpy(text + SALT, name, len);
    record_hash(key, text, SALT + len);
    if (text != small)
        free(text);
}

static size_t *chain_of(struct ratelimit *r, const uint8_t key[RECORD_HASH])
{
    uint64_t n;
    memcpy(&n, key, sizeof n);
    return &r->table[n & (r->slots - 1)];
}

static struct bucket *find(struct ratelimit *r, const uint8_t key[RECORD_HASH])
{
    size_t i = *chain_of(r, key);
    while (i != NONE && memcmp(r->buckets[i].key, key, RECORD_HASH) != 0)
        i = r->buckets[i].next;
    return i != NONE ? &r->buckets[i] : NULL;
}

static void unchain(struct ratelimit *r, struct bucket *b)
{
    size_t index = (size_t)(b - r->buckets), *at = chain_of(r, b->key);
    while (*at != index)
        at = &r->buckets[*at].next;
    *at = b->next;
}

static void chain(struct ratelimit *r, struct bucket *b)
{
    size_t *head = chain_of(r, b->key);
    b->next = *head;
    *head = (size_t)(b - r->buckets);
}

/* ---- the heap ---- */

static uint64_t heap_full_at(const struct ratelimit *r, size_t place)
{
    return r->buckets[r->heap[place]].full_at;
}

static void heap_put(struct ratelimit *r, size_t place, size_t bucket)
{
    r->heap[place] = bucket;
    r->buckets[bucket].heap_index = place;
}

/* Puts a bucket whose full_at has changed where it belongs. */
static void heap_move(struct ratelimit *r, struct bucket *b)
{
    size_t index = (size_t)(b - r->buckets), place = b->heap_index;
    while (place > 0 && heap_full_at(r, (place - 1) / 2) > b->full_at) {
        heap_put(r, place, r->heap[(place - 1) / 2]);
        place = (place - 1) / 2;
    }
    for (size_t child; (child = 2 * place + 1) < r->count; place = child) {
        if (child + 1 < r->count && heap_full_at(r, child + 1) < heap_full_at(r, child))
            child++;
        if (heap_full_at(r, child) >= b->full_at)
            break;
        heap_put(r, place, r->heap[child]);
    }
    heap_put(r, place, index);
}

/* ---- buckets ---- */

static void touch(struct ratelimit *r, struct bucket *b)
{
    list_remove(&b->touched);
    list_append(&r->touched, &b->touched);
}

/* A full bucket for a name that has none; another's, where all are in use. */
static struct bucket *take_bucket(struct ratelimit *r, const uint8_t key[RECORD_HASH], uint64_t now)
{
    struct bucket *b;
    if (r->count < r->max) {
        b = &r->buckets[r->count];
        list_init(&b->touched);
        heap_put(r, r->count, r->count);
        r->count++;
    } else {
        b = &r->buckets[r->heap[0]];
        if (b->full_at > now)
            b = list_entry(r->touched.next, struct bucket, touched);
        unchain(r, b);
    }
    memcpy(b->key, key, RECORD_HASH);
    b->full_at = now;
    chain(r, b);
    return b;
}

bool ratelimit_take(struct ratelimit *r, const char *name, uint64_t now_ms, uint64_t *retry_ms)
{
    uint8_t key[RECORD_HASH];
    uint64_t now = now_ms * r->burst, empty = now + r->per_ms * r->burst, ignored = 0;
    make_key(r, name, key);
    struct bucket *b = find(r, key);
    if (b == NULL)
        b = take_bucket(r, key, now);
    if (b->full_at < now)
        b->full_at = now;
    if (b->full_at > empty) /* the clock went back: it cannot be emptier than empty */
        b->full_at = empty;
    bool taken = b->full_at + r->per_ms <= empty;
    uint64_t *retry = retry_ms ? retry_ms : &ignored;
    *retry = taken ? 0 : (b->full_at + r->per_ms - empty + r->burst - 1) / r->burst;
    if (taken)
        b->full_at += r->per_ms;
    heap_move(r, b);
    touch(r, b);
    return taken;
}

void ratelimit_give(struct ratelimit *r, const char *name)
{
    uint8_t key[RECORD_HASH];
    make_key(r, name, key);
    struct bucket *b = find(r, key);
    if (b == NULL)
        return;
    b->full_at -= b->full_at < r->per_ms ? b->full_at : r->per_ms;
    heap_move(r, b);
}
