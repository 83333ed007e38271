/* The ticket store: one small interface, two implementations (LMDB, memory).
 *
 *   lmdb:PATH   a folder holding an LMDB environment, mode 0700, shared by all processes that open it; survives kill -9 at any moment: what was
 *               acknowledged is on disk
 *   memory:     lost when the process ends
 *
 * Only hashes are kept. A ticket that ended stays as a tombstone for store_options.tombstone_ms, so that it is "used", "revoked" or "expired"
 * rather than unknown; then purging removes it.
 *
 * Threads. The synchronous functions may be called from any thread, and block on disk: for commands and tests. Event loops use a store_client:
 * reading a background ticket happens on the loop at once (microseconds, no disk write); everything that writes (a session ticket's
 * single use, issue, revoke) goes to the store's own thread, which commits what has gathered in one transaction and answers on the
 * loop. A single-use ticket is redeemed once, whoever asks, in whichever process.
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
    int64_t tombstone_ms;  /* default 24 h where 0 */
    size_t max_bytes;      /* LMDB map size, a ceiling and no allocation; default 4 GiB where 0 */
    bool must_exist;       /* do not create: ERR_NOT_FOUND */
};

/* Opens by URL. 0 and *out owned, or negative with why (a sentence naming path and cause) filled. ERR_UNSUPPORTED: unknown scheme. */
int store_open(struct store **out, const char *url, const struct store_options *options, char *why, size_t why_cap);
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
/* Redeems at time now_ms: a live session ticket becomes used, durably, by this call. *out is given to the caller (free()) when the ticket is known, live or
 * not; else NULL. */
enum redeem store_redeem(struct store *s, const uint8_t hash[RECORD_HASH], int64_t now_ms, struct record **out);

/* Looks up without redeeming: 0 with *out given, ERR_NOT_FOUND, ERR_STORE. */
int store_get(struct store *s, const uint8_t hash[RECORD_HASH], struct record **out);
/* The same by fingerprint (4 to 64 hex digits, a prefix of the hash). ERR_EXISTS when more than one ticket begins so. ERR_SYNTAX. */
int store_find(struct store *s, const char *fingerprint, struct record **out);
/* 0, also when it had ended already (state unchanged then); ERR_NOT_FOUND. */
int store_revoke(struct store *s, const uint8_t hash[RECORD_HASH], int64_t now_ms);
/* Calls each for every ticket in hash order, tombstones included, until it returns nonzero (which store_list returns). Sees one moment's state. */
int store_list(struct store *s, int (*each)(void *owner, const struct record *r), void *owner);
/* Removes tombstones whose time is over at now_ms, at most `limit` (0: all) in batches; returns how many, or negative. */
int64_t store_purge(struct store *s, int64_t now_ms, size_t limit);

/* ---- from event loops ---- */

/* One for each loop; frees itself in store_client_close's callback, which runs when no request is open and the handle is closed. */
struct store_client *store_client_new(struct store *s, uv_loop_t *loop);
void store_client_close(struct store_client *c, void (*closed)(void *owner), void *owner);

struct store_request; /* an open request; owned by the client until its callback, then gone */
/* Runs on the loop, never from inside the call that started the request. rec is given (free()), may be NULL. */
typedef void store_redeem_cb(void *owner, enum redeem result, struct record *rec);
typedef void store_done_cb(void *owner, int rc);

/* Answers at once where no write is needed: returns NULL, with *result and *out set as by store_redeem. Else returns the open request
 * and calls cb later. */
struct store_request *store_client_redeem(struct store_client *c, const uint8_t hash[RECORD_HASH], int64_t now_ms,
                                          enum redeem *result, struct record **out, store_redeem_cb *cb, void *owner);
/* The owner went away: its callback will not run (the redemption itself is not undone). */
void store_request_cancel(struct store_request *r);
struct store_request *store_client_issue(struct store_client *c, const struct record *r, store_done_cb *cb, void *owner);
struct store_request *store_client_revoke(struct store_client *c, const uint8_t hash[RECORD_HASH], int64_t now_ms,
                                          store_done_cb *cb, void *owner);

#endif
