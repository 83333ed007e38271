/* The ticket store: one small interface, two implementations (LMDB, memory).
 *
 * - lmdb:PATH: a folder holding an LMDB environment, mode 0700, shared by all processes that open it.
 *   Survives kill -9 at any moment: what was acknowledged is on disk.
 * - memory: is lost when the process ends.
 *
 * Only hashes are kept. A ticket that ended stays as a tombstone for store_options.tombstone_ms, so that it
 * is "used", "revoked" or "expired" rather than unknown; then purging removes it.
 *
 * Threads. The synchronous functions may be called from any thread, and block on disk: for commands and
 * tests. Event loops use a store_client: reading a background ticket happens on the loop at once
 * (microseconds, no disk write); everything that writes (a session ticket's single use, issue, revoke) goes
 * to the store's own thread, which commits what has gathered in one transaction and answers on the loop. A
 * single-use ticket is redeemed once, whoever asks, in whichever process.
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

struct store_options {
    int64_t tombstone_ms;   /* default 24 h where 0 */
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
/* Ends the store thread after what is queued; no client may be left. */
void store_close(struct store *s);
bool store_is_shared(const struct store *s); /* can another process see it (LMDB yes, memory no) */

/* ---- synchronous, any thread ---- */

/* Durable when it returns 0. ERR_EXISTS for a hash that is there already, ERR_STORE_FULL, ERR_STORE. */
int store_issue(struct store *s, const struct record *r);

enum redeem {
    REDEEM_OK,
    REDEEM_UNKNOWN,
    REDEEM_EXPIRED,
    REDEEM_USED,
    REDEEM_REVOKED,
    REDEEM_DOWN, /* the store could not answer */
};
/* Redeems at time now_ms: a live session ticket becomes used, durably, by this call. *out is given to the
 * caller (free()) when the ticket is known, live or not, and shows it as it is afterwards; else NULL. */
enum redeem store_redeem(struct store *s, const uint8_t hash[RECORD_HASH], int64_t now_ms,
                         struct record **out);

/* Looks up without redeeming: 0 with *out given, ERR_NOT_FOUND, ERR_STORE. */
int store_get(struct store *s, const uint8_t hash[RECORD_HASH], struct record **out);
/* The same by fingerprint (4 to 64 hex digits, a prefix of the hash). ERR_EXISTS when more than one ticket
 * begins so. ERR_SYNTAX. */
int store_find(struct store *s, const char *fingerprint, struct record **out);
/* 0, also when it had ended already (state unchanged then); ERR_NOT_FOUND. */
int store_revoke(struct store *s, const uint8_t hash[RECORD_HASH], int64_t now_ms);
/* Calls each for every ticket in hash order, tombstones included, until it returns nonzero (which store_list
 * returns). Sees one moment's state, which is kept for it until it returns: each must not dawdle. */
int store_list(struct store *s, int (*each)(void *owner, const struct record *r), void *owner);
/* Removes tombstones whose time is over at now_ms, at most `limit` (0: all) in batches; returns how many, or
 * negative. */
int64_t store_purge(struct store *s, int64_t now_ms, size_t limit);

/* ---- from event loops ---- */

/* One for each loop, which must be running; keeps it alive until closed. Requests still open at
 * store_client_close are finished and get their callbacks; then the client frees itself and calls closed (may
 * be NULL), from a later turn of the loop. */
struct store_client *store_client_new(struct store *s, uv_loop_t *loop);
void store_client_close(struct store_client *c, void (*closed)(void *owner), void *owner);

struct store_request; /* an open request; owned by the client until its callback, then gone */
/* Runs on the loop, never from inside the call that started the request. rec is given (free()), may be NULL.
 * Issue and revoke answer as their synchronous namesakes; with too many operations waiting for the disk they
 * answer ERR_TOO_BIG, and redeeming REDEEM_DOWN. */
typedef void store_redeem_cb(void *owner, enum redeem result, struct record *rec);
typedef void store_done_cb(void *owner, int rc);

/* Answers at once where no write is needed: returns NULL, with *result and *out set as by store_redeem. Else
 * returns the open request and calls cb later. */
struct store_request *store_client_redeem(struct store_client *c, const uint8_t hash[RECORD_HASH],
                                          int64_t now_ms, enum redeem *result, struct record **out,
                                          store_redeem_cb *cb, void *owner);
/* The owner went away: its callback will not run (the redemption itself is not undone). */
void store_request_cancel(struct store_request *r);
struct store_request *store_client_issue(struct store_client *c, const struct record *r, store_done_cb *cb,
                                         void *owner);
struct store_request *store_client_revoke(struct store_client *c, const uint8_t hash[RECORD_HASH],
                                          int64_t now_ms, store_done_cb *cb, void *owner);

#endif
