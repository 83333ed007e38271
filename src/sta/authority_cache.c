/* Answers of a remote authority, remembered for a while by the ticket's hash. Called by authority_client.c;
 * tickets of one use never come here. Bounded: the oldest answer gives way. */
#include <stdlib.h>
#include <string.h>

#include "authority_impl.h"
#include "base/mem.h"

#define BUCKETS   1024
#define CACHE_MAX 8192 /* answers, of a few hundred bytes each */

struct cached {
    struct list by_bucket;
    struct list by_age; /* oldest first */
    uint64_t until_ms;
    uint8_t hash[RECORD_HASH];
    size_t len;
    uint8_t data[]; /* as record_encode makes it */
};

struct authority_cache {
    int64_t keep_ms;
    size_t count;
    struct list age;
    struct list buckets[BUCKETS];
};

struct authority_cache *authority_cache_new(int64_t keep_ms)
{
    struct authority_cache *c = mem_zalloc(sizeof *c);
    c->keep_ms = keep_ms;
    list_init(&c->age);
    for (size_t i = 0; i < BUCKETS; i++)
        list_init(&c->buckets[i]);
    return c;
}

static void forget(struct authority_cache *c, struct cached *e)
{
    list_remove(&e->by_bucket);
    list_remove(&e->by_age);
    c->count--;
    free(e);
}

void authority_cache_free(struct authority_cache *c)
{
    if (c == NULL)
        return;
    while (!list_empty(&c->age))
        forget(c, list_entry(c->age.next, struct cached, by_age));
    free(c);
}

/* The hash is SHA-256: any bits of it are good. */
static struct list *bucket_of(struct authority_cache *c, const uint8_t hash[RECORD_HASH])
{
    return &c->buckets[((size_t)hash[0] << 8 | hash[1]) % BUCKETS];
}

static struct cached *find(struct authority_cache *c, const uint8_t hash[RECORD_HASH])
{
    struct list *bucket = bucket_of(c, hash);
    for (struct list *l = bucket->next; l != bucket; l = l->next) {
        struct cached *e = list_entry(l, struct cached, by_bucket);
        if (memcmp(e->hash, hash, RECORD_HASH) == 0)
            return e;
    }
    return NULL;
}

struct record *authority_cache_get(struct authority_cache *c, const uint8_t hash[RECORD_HASH],
                                   uint64_t now_ms)
{
    struct cached *e = find(c, hash);
    if (e != NULL && now_ms >= e->until_ms) {
        forget(c, e);
        e = NULL;
    }
    return e != NULL ? record_decode(hash, e->data, e->len) : NULL;
}

void authority_cache_put(struct authority_cache *c, const struct record *r, uint64_t now_ms)
{
    uint8_t data[RECORD_BYTES_MAX];
    int len = record_encode(r, data);
    if (len < 0)
        return;
    struct cached *old = find(c, r->hash);
    if (old != NULL)
        forget(c, old);
    else if (c->count == CACHE_MAX)
        forget(c, list_entry(c->age.next, struct cached, by_age));
    struct cached *e = mem_alloc(sizeof *e + (size_t)len);
    e->until_ms = now_ms + (uint64_t)c->keep_ms;
    memcpy(e->hash, r->hash, RECORD_HASH);
    e->len = (size_t)len;
    memcpy(e->data, data, (size_t)len);
    list_append(bucket_of(c, r->hash), &e->by_bucket);
    list_append(&c->age, &e->by_age);
    c->count++;
}
