/* Names to addresses, for one loop: a small cache, one query for a name however many ask, a deadline of its
 * own.
 *
 * uv_getaddrinfo runs on the process-wide pool of threads and cannot be cancelled once it runs, so the number
 * of open queries is bounded and a late answer only fills the cache.
 */
#ifndef STAGATE_NET_RESOLVER_H
#define STAGATE_NET_RESOLVER_H

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>

#include "net/netloop.h"

#define RESOLVER_ADDRESSES       8
#define RESOLVER_CACHE           256   /* names */
#define RESOLVER_OPEN            16    /* queries at once in one loop; more are refused */
#define RESOLVER_TTL_MS          30000 /* getaddrinfo tells no TTL */
#define RESOLVER_NEGATIVE_TTL_MS 2000

struct address_list {
    size_t count;
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } item[RESOLVER_ADDRESSES]; /* ports are 0 */
};

struct resolver;

struct resolver *resolver_new(struct netloop *loop);
void resolver_close(
    struct resolver *r); /* frees itself when its last query has ended; no callbacks any more */

/* Embedded in the one who asks. */
struct resolver_wait {
    struct list link;
    /* rc 0 with addresses borrowed; UV_EAI_* or ERR_TOO_BIG (too many queries open) */
    void (*done)(struct resolver_wait *w, int rc, const struct address_list *addresses);
};

/* 1 with *out filled when the cache knows; 0 when asked: w->done runs later (deadlines are the asker's:
 * resolver_cancel); negative when the cache knows that there is none, or too many queries are open. Name: at
 * most 253 bytes, checked by proto/hostport. */
int resolver_ask(struct resolver *r, const char *name, struct resolver_wait *w, struct address_list *out);
void resolver_cancel(struct resolver_wait *w); /* harmless when not waiting */

#endif
