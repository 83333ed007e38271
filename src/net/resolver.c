/* Resolver with cache, one for each loop. */
#include "net/resolver.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"

struct entry {
    struct list link; /* in the cache, most recently asked last */
    struct list waits;
    uv_getaddrinfo_t req;
    struct resolver *r;
    bool open; /* a query runs */
    int rc;
    uint64_t fresh_until_ms;
    struct address_list addresses;
    char name[];
};

struct resolver {
    struct netloop *loop;
    struct list entries;
    size_t count;
    size_t open;
    bool closing;
};

struct resolver *resolver_new(struct netloop *loop)
{
    struct resolver *r = mem_zalloc(sizeof *r);
    r->loop = loop;
    list_init(&r->entries);
    return r;
}

static void entry_free(struct entry *e)
{
    list_remove(&e->link);
    e->r->count--;
    free(e);
}

static void free_when_idle(struct resolver *r)
{
    if (r->closing && r->open == 0) {
        while (!list_empty(&r->entries))
            entry_free(list_entry(r->entries.next, struct entry, link));
        free(r);
    }
}

void resolver_close(struct resolver *r)
{
    r->closing = true;
    for (struct list *l = r->entries.next; l != &r->entries; l = l->next) {
        struct entry *e = list_entry(l, struct entry, link);
        while (!list_empty(&e->waits))
            list_remove(e->waits.next);
        if (e->open)
            uv_cancel((uv_req_t *)&e->req); /* works while it is queued only: else it ends in its own time */
    }
    free_when_idle(r);
}

static void keep_addresses(struct address_list *out, const struct addrinfo *found)
{
    out->count = 0;
    for (const struct addrinfo *a = found; a != NULL && out->count < RESOLVER_ADDRESSES; a = a->ai_next) {
        if (a->ai_family != AF_INET && a->ai_family != AF_INET6)
            continue;
        memcpy(&out->item[out->count++], a->ai_addr,
               a->ai_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6));
    }
}

static void on_answer(uv_getaddrinfo_t *req, int status, struct addrinfo *found)
{
    struct entry *e = req->data;
    struct resolver *r = e->r;

    r->open--;
    e->rc = status;
    keep_addresses(&e->addresses, found);
    uv_freeaddrinfo(found);
    if (e->rc == 0 && e->addresses.count == 0)
        e->rc = UV_EAI_NODATA;
    e->fresh_until_ms = netloop_now_ms(r->loop) + (e->rc == 0 ? RESOLVER_TTL_MS : RESOLVER_NEGATIVE_TTL_MS);
    /* still marked open while it answers: a callback that asks for another name must not evict this one */
    while (!list_empty(&e->waits)) {
        struct resolver_wait *w = list_entry(e->waits.next, struct resolver_wait, link);
        list_remove(&w->link);
        w->done(w, e->rc, &e->addresses);
    }
    e->open = false;
    free_when_idle(r);
}

static struct entry *find(struct resolver *r, const char *name)
{
    for (struct list *l = r->entries.prev; l != &r->entries; l = l->prev) {
        struct entry *e = list_entry(l, struct entry, link);
        if (strcmp(e->name, name) == 0)
            return e;
    }
    return NULL;
}

static struct entry *add(struct resolver *r, const char *name)
{
    for (struct list *l = r->entries.next; r->count >= RESOLVER_CACHE && l != &r->entries;) {
        struct entry *old = list_entry(l, struct entry, link);
        l = l->next;
        if (!old->open)
            entry_free(old);
    }
    size_t n = strlen(name) + 1;
    struct entry *e = mem_zalloc(sizeof *e + n);
    memcpy(e->name, name, n);
    e->r = r;
    e->req.data = e;
    list_init(&e->waits);
    list_append(&r->entries, &e->link);
    r->count++;
    return e;
}

int resolver_ask(struct resolver *r, const char *name, struct resolver_wait *w, struct address_list *out)
{
    assert(!r->closing);
    struct entry *e = find(r, name);
    if (e != NULL && !e->open && netloop_now_ms(r->loop) < e->fresh_until_ms) {
        if (e->rc < 0)
            return e->rc;
        *out = e->addresses;
        return 1;
    }
    if (e == NULL)
        e = add(r, name);
    if (!e->open) {
        static const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
        if (r->open >= RESOLVER_OPEN)
            return ERR_TOO_BIG;
        int rc = uv_getaddrinfo(&r->loop->uv, &e->req, on_answer, e->name, NULL, &hints);
        if (rc < 0)
            return rc;
        e->open = true;
        r->open++;
    }
    list_append(&e->waits, &w->link);
    return 0;
}

void resolver_cancel(struct resolver_wait *w)
{
    list_remove(&w->link);
}
