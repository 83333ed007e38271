/* The ticket store: one small interface, three implementations (LMDB, memory, Redis).
 *
 * - lmdb:PATH: a folder holding an LMDB environment, mode 0700, shared by all processes that open it.
 *   Survives kill -9 at any moment: what was acknowledged is on disk.
 * - memory: is lost when the process ends.
 * - redis://HOST:PORT[/DB]: a Redis server that a fleet of gateways shares. What was acknowledged is as safe
 * as that server's own persistence.
 *
 * Only hashes are kept. A ticket that ended stays as a tombstone for store_options.tombstone_ms, so that it
 * is "used", "revoked" or "expired" rather than unknown; then purging removes it.
 *
 * Threads. The synchronous functions may be called from any thread, and block on disk or network: for
 * commands and tests. Event loops use a store_client: reading a background ticket happens on the loop at once
 * (microseconds, no disk write); everything that writes (a session ticket's single use, issue, revoke) goes
 * to the store's own thread, which commits what has gathered in one transaction and answers on the loop. With
 * Redis everything is one round trip, asked and answered on the loop. A single-use ticket is redeemed once,
 * whoever asks, in whichever process.
 */
#ifndef STAGATE_STA_STORE_H
#define STAGATE_STA_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "sta/record.h"

struct store;
struct store_client;

/* How many live tickets there may be; 0: any number. Which of them gives way where a limit is reached: the
 * new one (issuing fails with ERR_LIMIT), or the oldest of that user, of that device, or of all (in all: the
 * one that would end first), which is revoked by the same transaction. */
struct store_limits {
    size_t per_user;
    size_t per_device; /* of one user's device; tickets without a device count as one device */
    size_t total;
    bool evict_oldest;
};

struct store_options {
    int64_t tombstone_ms; /* default 24 h where 0 */
    struct store_limits limits;
    bool quiet;                /* a command's: whether it is up is no log line, the command tells */
    const char *password_file; /* Redis: its first line is the password ("user:password" for an ACL user);
                                  read again at each connection. NULL: none */
    int64_t timeout_ms;        /* Redis: for connecting and for an answer; default 2 s where 0 */
    int64_t purge_every_ms; /* how often the store's thread removes old tombstones; default 1 min where 0 */
    size_t max_bytes; /* a ceiling and no allocation (LMDB: the map, at least 2 MiB); default 4 GiB where 0.
                         Issuing stops short of it, so that a full store can still mark tickets used and
                         purge. Opening again with more enlarges it at once */
    bool must_exist;  /* do not create: ERR_NOT_FOUND */
};

/* Opens by URL. options may be NULL. LMDB folders are created where missing, and shared when this process has
 * them open already. 0 and *out owned, or negative with why (a sentence naming path and cause) filled.
 * ERR_UNSUPPORTED: unknown scheme. */
int store_open(struct store **out, const char *url, const struct store_options *options, char *why,
               size_t why_cap);
/* Ends the store thread after what is queued; no client and no watch may be left. */
void store_close(struct store *s);
/* A reload: tombstone_ms and limits from now on. Any thread. */
void store_configure(struct store *s, const struct store_options *options);
/* Whether it can be used, as far as is known without asking; *detail (may be NULL): a constant text, why not.
 * Any thread. */
bool store_is_up(struct store *s, const char **detail);
bool store_is_shared(const struct store *s); /* can another process see it (LMDB yes, memory no) */

/* ---- synchronous, any thread ---- */

/* Durable when it returns 0. ERR_EXISTS for a hash that is there already, ERR_LIMIT (more live tickets of
 * this user, of this device or in all than store_limits has room for), ERR_STORE_FULL, ERR_STORE. */
int store_issue(struct store *s, const struct record *r);

enum redeem {
    REDEEM_OK,
    REDEEM_UNKNOWN,
    REDEEM_EXPIRED,
    REDEEM_USED,
    REDEEM_REVOKED,
    REDEEM_DOWN, /* the store could not answer */
};
/* Redeems at time now_ms: a live session ticket that is not refreshable becomes used, durably, by this call.
 * *out is given to the caller (free()) when the ticket is known, live or not (forgotten, too, which is
 * REDEEM_UNKNOWN), and shows it as it is afterwards; else NULL. */
enum redeem store_redeem(struct store *s, const uint8_t hash[RECORD_HASH], int64_t now_ms,
                         struct record **out);

/* A live refreshable ticket expires refresh_ms after now_ms, never earlier than before. REDEEM_OK also where
 * it is live and not refreshable: nothing happens then, and (*out)->refresh_ms is 0. Else as store_redeem. */
enum redeem store_refresh(struct store *s, const uint8_t hash[RECORD_HASH], int64_t now_ms,
                          struct record **out);

/* Looks up without redeeming: 0 with *out given, ERR_NOT_FOUND, ERR_STORE. */
int store_get(struct store *s, const uint8_t hash[RECORD_HASH], struct record **out);
/* The same by fingerprint (4 to 64 hex digits, a prefix of the hash). ERR_EXISTS when more than one ticket
 * begins so. ERR_SYNTAX. */
int store_find(struct store *s, const char *fingerprint, struct record **out);
/* 0, also when it had ended already (state unchanged then, but watches are told: tunnels of a used or expired
 * ticket may live on); ERR_NOT_FOUND. */
int store_revoke(struct store *s, const uint8_t hash[RECORD_HASH], int64_t now_ms);
/* Faults, on all live tickets (user NULL) or on one user's, in batches: EXPIRE makes them expire at now_ms,
 * FORGET makes them unknown; both are marked injected. Returns how many, or negative. */
enum store_sweep { STORE_SWEEP_EXPIRE, STORE_SWEEP_FORGET };
int64_t store_sweep(struct store *s, enum store_sweep what, const char *user, int64_t now_ms);
/* The same for one ticket; 0, ERR_NOT_FOUND, ERR_STORE. */
int store_end(struct store *s, const uint8_t hash[RECORD_HASH], enum store_sweep what, int64_t now_ms);

/* Calls each for every ticket in hash order, tombstones included, until it returns nonzero (which store_list
 * returns). Sees one moment's state, which is kept for it until it returns: each must not dawdle. */
int store_list(struct store *s, int (*each)(void *owner, const struct record *r), void *owner);
/* Removes tombstones whose time is over at now_ms, at most `limit` (0: all) in batches; returns how many, or
 * negative. */
int64_t store_purge(struct store *s, int64_t now_ms, size_t limit);

/* ---- hearing of ends ---- */

/* Tickets that end before their time, whichever process ended them, so that their tunnels can be cut: revoked
 * (evicted by a limit included), or expired by a fault. hash NULL: more than can be told one by one, so any
 * ticket of this store may have ended. Called from a thread of the store's, within about a second where
 * another process did it (LMDB: polled; Redis: published), at once else; must be quick and thread-safe, and
 * must not watch or unwatch. Forgetting is not told: a restarted authority does not cut tunnels. */
struct store_watch;
typedef void store_ended_cb(void *owner, const uint8_t *hash, enum ticket_state how);
/* Hears what ends from now on. */
struct store_watch *store_watch(struct store *s, store_ended_cb *cb, void *owner);
void store_unwatch(struct store_watch *w); /* when it returns, cb does not run and will not run */

/* ---- from event loops ---- */

/* One for each loop, which must be running; keeps it alive until closed. Requests still open at
 * store_client_close are finished and get their callbacks; then the client frees itself and calls closed (may
 * be NULL), from a later turn of the loop. */
struct store_client *store_client_new(struct store *s, uv_loop_t *loop);
void store_client_close(struct store_client *c, void (*closed)(void *owner), void *owner);

struct store_request; /* an open request; owned by the client until its callback, then gone */
/* Runs on the loop, never from inside the call that started the request. rec is given (free()), may be NULL.
 * detail is a constant text with REDEEM_DOWN ("the ticket store failed", "redis: connection refused"), else
 * NULL. Issue and revoke answer as their synchronous namesakes; with too many operations waiting for the disk
 * they answer ERR_TOO_BIG, and redeeming REDEEM_DOWN. */
typedef void store_redeem_cb(void *owner, enum redeem result, struct record *rec, const char *detail);
typedef void store_done_cb(void *owner, int rc);
typedef void store_count_cb(void *owner, int64_t count); /* or a negative code */

/* Answers at once where no write is needed: returns NULL, with *result and *out set as by store_redeem. Else
 * returns the open request and calls cb later. */
struct store_request *store_client_redeem(struct store_client *c, const uint8_t hash[RECORD_HASH],
                                          int64_t now_ms, enum redeem *result, struct record **out,
                                          store_redeem_cb *cb, void *owner);
/* Always asked; the callback comes later. */
struct store_request *store_client_refresh(struct store_client *c, const uint8_t hash[RECORD_HASH],
                                           int64_t now_ms, store_redeem_cb *cb, void *owner);
/* The owner went away: its callback will not run (the redemption itself is not undone). */
void store_request_cancel(struct store_request *r);
struct store_request *store_client_issue(struct store_client *c, const struct record *r, store_done_cb *cb,
                                         void *owner);
struct store_request *store_client_revoke(struct store_client *c, const uint8_t hash[RECORD_HASH],
                                          int64_t now_ms, store_done_cb *cb, void *owner);
struct store_request *store_client_end(struct store_client *c, const uint8_t hash[RECORD_HASH],
                                       enum store_sweep what, int64_t now_ms, store_done_cb *cb, void *owner);
/* user NULL: all. Does not hold up what is asked meanwhile. */
struct store_request *store_client_sweep(struct store_client *c, enum store_sweep what, const char *user,
                                         int64_t now_ms, store_count_cb *cb, void *owner);
struct store_request *store_client_purge(struct store_client *c, int64_t now_ms, store_count_cb *cb,
                                         void *owner);

/* A page of tickets, tombstones included. Of one user: newest first. Else in hash order, behind `after`. */
#define STORE_PAGE_MAX 500
struct store_query {
    const char *user;        /* exactly; NULL: everybody's */
    const char *fingerprint; /* 4 to 64 hex digits, a prefix of the hash; NULL: any */
    bool has_after;
    uint8_t after[RECORD_HASH]; /* the last hash of the page before; not with user */
    size_t limit;               /* 1 to STORE_PAGE_MAX */
};
/* rc 0 with count records, borrowed until it returns; more: the limit cut the page. Else ERR_SYNTAX,
 * ERR_STORE. */
typedef void store_list_cb(void *owner, int rc, struct record *const *records, size_t count, bool more);
struct store_request *store_client_list(struct store_client *c, const struct store_query *q,
                                        store_list_cb *cb, void *owner);

#endif
