/* Shared by the files that make up an authority: authority.c (the object and what is known of it),
 * authority_client.c (asking, faults, cache), authority_remote.c (STA XML over HTTP). */
#ifndef STAGATE_SRC_STA_AUTHORITY_IMPL_H
#define STAGATE_SRC_STA_AUTHORITY_IMPL_H

#include "base/list.h"
#include "http/httpc.h"
#include "proto/staxml.h"
#include "sta/authority.h"

struct authority_remote { /* immutable */
    struct hostport origin;
    bool tls;
    bool learn_id;
    SSL_CTX *ctx; /* owned reference */
    char *path;   /* owned */
    char *fields; /* owned: header lines of each request; holds the shared key */
    int64_t probe_ms, bypass_ms, cache_ms, timeout_ms;
    size_t connections;
};

enum authority_question { AUTHORITY_REDEEM, AUTHORITY_REFRESH, AUTHORITY_PROBE };

struct authority_request {
    struct list link; /* the client's open requests */
    struct authority_client *client;
    enum authority_question question;
    struct ticket_ref ref; /* wiped with the request */
    unsigned version;
    uint8_t hash[RECORD_HASH];
    int64_t now_ms;
    bool slowed; /* a fault delays it, or has delayed it */
    struct deadline delay;
    struct deferred soon; /* what must not be answered at once */
    struct store_request *store;
    struct httpc_request *http;
    authority_cb *cb; /* NULL: cancelled */
    void *owner;
};

struct authority_cache;

struct authority_client {
    struct authority *authority; /* a reference */
    struct netloop *loop;
    struct store_client *store;    /* owned; embedded */
    struct httpc *http;            /* owned; remote */
    struct authority_cache *cache; /* owned; NULL: none */
    struct list open;              /* of struct authority_request */
    struct deadline probe;
    void (*first)(void *owner); /* NULL: told */
    void *first_owner;
    struct deferred told;
    bool closing;
    void (*closed)(void *owner);
    void *closed_owner;
};

/* authority.c: a remote authority answered (AUTHORITY_OK) or failed. id: what it calls itself, NULL: no news.
 */
/* error: what a library said of the failure, constant text for log and history, or NULL. */
void authority_note(struct authority *a, enum authority_fail fail, const char *id, const char *error);

/* authority_client.c: a request has its answer; frees it and calls back. The ticket is given. */
void authority_request_finish(struct authority_request *r, struct authority_answer *answer);
struct authority_request *authority_request_new(struct authority_client *c, enum authority_question question);
void authority_request_free(struct authority_request *r);

/* authority_remote.c */
struct httpc *authority_remote_client(const struct authority_remote *r, struct netloop *loop,
                                      struct resolver *resolver);
void authority_remote_ask(struct authority_request *r);

/* authority_cache.c: what a remote authority answered, by the ticket's hash; one loop's. */
struct authority_cache *authority_cache_new(int64_t keep_ms);
void authority_cache_free(struct authority_cache *c);
/* A copy of the record, given; NULL when it is not there or too old. */
struct record *authority_cache_get(struct authority_cache *c, const uint8_t hash[RECORD_HASH],
                                   uint64_t now_ms);
void authority_cache_put(struct authority_cache *c, const struct record *r, uint64_t now_ms);

#endif
