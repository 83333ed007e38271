/* A ticket authority: an ID and what answers for it: a store of our own (embedded), or another process that
 * speaks STA XML over HTTP (remote). Shared by all workers and by successive configurations; counted.
 *
 * A remote authority is asked for its ID at start and at intervals (authority_client_probe); one whose ID is
 * not known counts as down. One that failed is bypassed for a while and then tried again. What is known of it
 * is in the shared object, so that what one worker learns all know; nothing here takes a lock on the way of a
 * redemption.
 *
 * Faults (authority_fault) are put on by administrators; what they cause is marked as injected.
 */
#ifndef STAGATE_STA_AUTHORITY_H
#define STAGATE_STA_AUTHORITY_H

#include <openssl/ssl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/netloop.h"
#include "net/resolver.h"
#include "proto/hostport.h"
#include "proto/ticket.h"
#include "sta/store.h"

/* The many ways in which an authority gives no answer: the detail beside authority_down. */
enum authority_fail {
    AUTHORITY_OK,
    AUTHORITY_STORE,
    AUTHORITY_NO_ID,
    AUTHORITY_ID_MISMATCH,
    AUTHORITY_ID_DUPLICATE,
    AUTHORITY_UNRESOLVED,
    AUTHORITY_REFUSED,
    AUTHORITY_CONNECT_TIMEOUT,
    AUTHORITY_TLS,
    AUTHORITY_NOT_TLS,
    AUTHORITY_NOT_HTTP,
    AUTHORITY_CLOSED,
    AUTHORITY_TIMEOUT,
    AUTHORITY_OVERLOADED,
    AUTHORITY_HTTP_401,
    AUTHORITY_HTTP_403,
    AUTHORITY_HTTP_404,
    AUTHORITY_HTTP_4XX,
    AUTHORITY_HTTP_5XX,
    AUTHORITY_HTTP_OTHER,
    AUTHORITY_BAD_XML,
    AUTHORITY_BAD_ANSWER,
    AUTHORITY_SSL_REQUIRED,
    AUTHORITY_ACCESS_DENIED,
    AUTHORITY_ERROR,
    AUTHORITY_FAULT_DOWN,
    AUTHORITY_FAULT_ERROR,
    AUTHORITY_FAILS
};
const char *authority_fail_name(enum authority_fail f);     /* "http_404": for metrics and status */
const char *authority_fail_sentence(enum authority_fail f); /* for log and answers, constant */

enum authority_state { AUTHORITY_UNTRIED, AUTHORITY_UP, AUTHORITY_DOWN };

/* The loops' lists of deadlines that authority clients use: LIST and the two behind it. */
#define AUTHORITY_DEADLINE_LIST 14

#define AUTHORITY_HISTORY 32

struct authority_event { /* a change of a remote authority's state */
    int64_t at_ms;       /* true time, whatever the tickets' clock says */
    enum authority_state state;
    enum authority_fail fail;
    const char *id;    /* learnt, NULL if none */
    const char *error; /* what a library said of the failure, constant; NULL if nothing */
};

struct authority_faults { /* any thread writes, any thread reads */
    _Atomic bool down;
    _Atomic bool error;
    _Atomic int64_t slow_ms;
    _Atomic(const char *) id; /* what it calls itself instead; NULL: no such fault */
};

struct authority_counters {
    _Atomic uint64_t asked;                     /* redemptions and refreshes */
    _Atomic uint64_t answered[REDEEM_DOWN + 1]; /* by verdict */
    _Atomic uint64_t failed[AUTHORITY_FAILS];   /* REDEEM_DOWN, by cause */
    _Atomic uint64_t injected;                  /* answers that a fault made */
    _Atomic uint64_t cached;                    /* answered out of the cache */
    _Atomic uint64_t requests, responses;       /* remote: messages sent and got, probes included */
    _Atomic uint64_t issued;                    /* embedded: by the STA service and the ticket API */
    _Atomic uint64_t served[2]; /* embedded: STA XML requests answered well, and with an error */
};

struct authority {
    atomic_uint refs;
    char *signature; /* owned: what makes it the same one after a reload */
    char *id;        /* owned; as configured, NULL: to be learnt */
    char *where;     /* owned: the store's URL or the remote's, for people */

    struct store *store;             /* owned; NULL: remote */
    struct store_watch *watch;       /* owned: ends are told to who runs the gateway; may be NULL */
    void *watch_owner;               /* owned (free()): what the watch was given along */
    struct authority_remote *remote; /* owned; NULL: embedded */

    _Atomic int state;               /* enum authority_state; embedded: UP */
    _Atomic int fail;                /* enum authority_fail: why it is down */
    _Atomic(const char *) learnt;    /* interned: valid as long as the authority */
    _Atomic int64_t bypass_until_ms; /* monotonic; 0: not bypassed */
    struct authority_faults faults;
    struct authority_counters counters;

    pthread_mutex_t mutex; /* of what follows: changes of state only */
    struct authority_event history[AUTHORITY_HISTORY];
    size_t history_count; /* ever; the last AUTHORITY_HISTORY are kept */
    char **interned;
    size_t interned_count;
};

struct authority_options {
    const char *id; /* NULL: learnt (remote only) */

    const char *store; /* embedded; NULL: remote */
    struct store_options store_options;

    const char *url; /* remote: as written */
    bool tls;
    struct hostport origin;
    const char *path;
    SSL_CTX *ctx;           /* https: borrowed, counted up */
    const char *shared_key; /* secret, copied; NULL: none */
    bool learn_id;
    int64_t probe_ms, bypass_ms, cache_ms, timeout_ms;
    size_t connections;

    const char *signature; /* what makes it the same one after a reload */
};

/* 0 and *out with one reference, or negative with why filled. */
int authority_open(struct authority **out, const struct authority_options *options, char *why,
                   size_t why_cap);
struct authority *authority_ref(struct authority *a);
/* For who has no reference, but is told of its end: a watcher of its store. False where the last one has
 * gone. */
bool authority_try_ref(struct authority *a);
void authority_unref(struct authority *a); /* the last one closes the store; NULL is fine */

void authority_unwatch(struct authority *a); /* ends are told no more; harmless when they never were */

/* What tickets of it carry: a fault's ID, else the configured, else the learnt one. NULL: not known. */
const char *authority_id(const struct authority *a);
bool authority_is_up(const struct authority *a);
/* Keeps text for the authority's life: for IDs that faults give it. NULL when there have been too many. */
const char *authority_intern(struct authority *a, const char *text);
/* Copies the history, newest first; returns how many. */
size_t authority_history(struct authority *a, struct authority_event out[AUTHORITY_HISTORY]);

/* ---- asking, from an event loop ---- */

struct authority_client;
struct authority_request; /* open; owned by the client */

struct authority_answer {
    enum redeem result;
    enum authority_fail fail; /* REDEEM_DOWN */
    const char *detail;       /* REDEEM_DOWN: constant text */
    bool injected;            /* a fault had a hand in it */
    struct record *ticket;    /* given (free()); NULL where unknown or down */
};
/* On the loop, never from inside the call that asked. */
typedef void authority_cb(void *owner, const struct authority_answer *answer);

/* One for each loop. resolver is borrowed. */
struct authority_client *authority_client_new(struct authority *a, struct netloop *loop,
                                              struct resolver *resolver);
/* Open requests end without their callbacks; then closed(owner), from a later turn. */
void authority_client_close(struct authority_client *c, void (*closed)(void *owner), void *owner);
/* The embedded store's client; NULL for a remote authority. */
struct store_client *authority_client_store(struct authority_client *c);
struct authority *authority_client_authority(struct authority_client *c);
size_t authority_client_connections(const struct authority_client *c);

/* Redeems. Answers at once where it can: NULL, with *out filled. Else the open request; cb follows. version:
 * that of the ticket string. A remote authority's answer becomes a record with what it told; what it did not
 * tell is class background, no device, no services, an expiry that does not come. */
struct authority_request *authority_client_redeem(struct authority_client *c, const struct ticket_ref *ref,
                                                  unsigned version, int64_t now_ms,
                                                  struct authority_answer *out, authority_cb *cb,
                                                  void *owner);
/* The answer where something outside of the authority stands against asking it; counted as an answer. */
struct authority_answer authority_not_asked(struct authority *a, enum authority_fail fail, bool injected);
/* Lets a refreshable ticket live longer; its record in the answer. */
struct authority_request *authority_client_refresh(struct authority_client *c,
                                                   const uint8_t hash[RECORD_HASH],
                                                   const struct ticket_ref *ref, int64_t now_ms,
                                                   authority_cb *cb, void *owner);
void authority_request_cancel(struct authority_request *r);
/* Ends it as one that took too long: its callback will not run, this is its answer. */
struct authority_answer authority_request_give_up(struct authority_request *r);

/* Asks a remote authority for its ID now and at its interval, until the client is closed. first(owner) once,
 * when the first question has come to an end of any kind; for an embedded one from the next turn. One loop
 * does it for all. */
void authority_client_probe(struct authority_client *c, void (*first)(void *owner), void *owner);

#endif
