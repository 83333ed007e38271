/* What issuing, redeeming, refreshing, revoking and losing a ticket mean, for every store that is here: each
 * operation inside a write transaction, as many of them in one as can be. Called by the synchronous functions
 * and by the store's thread; knows neither loops nor how bytes are kept.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "store_impl.h"

/* ---- operations ---- */

void store_user_key(uint8_t key[STORE_KEY], const char *user, size_t user_len)
{
    uint8_t hash[RECORD_HASH];
    record_hash(hash, user, user_len);
    memcpy(key, hash, STORE_KEY);
}

void store_device_key(uint8_t key[STORE_KEY], const char *user, size_t user_len, const char *device,
                      size_t device_len)
{
    char text[RECORD_BYTES_MAX];
    uint8_t hash[RECORD_HASH];
    assert(user_len + 1 + device_len <= sizeof text); /* both fit into one record */
    memcpy(text, user, user_len);
    text[user_len] = '\0';
    memcpy(text + user_len + 1, device, device_len);
    record_hash(hash, text, user_len + 1 + device_len);
    memcpy(key, hash, STORE_KEY);
}

int store_op_issue(struct store *s, struct store_op *op, const struct record *r, uint8_t *data)
{
    *op = (struct store_op){.kind = STORE_ISSUE,
                            .now_ms = clock_wall_ms(),
                            .tombstone_ms = atomic_load(&s->tombstone_ms),
                            .end_ms = store_record_end(r)};
    memcpy(op->hash, r->hash, RECORD_HASH);
    int len = record_encode(r, data);
    if (len < 0)
        return len;
    op->data = data;
    op->len = (size_t)len;
    store_user_key(op->user_key, r->user, strlen(r->user));
    store_device_key(op->device_key, r->user, strlen(r->user), r->device, strlen(r->device));
    pthread_mutex_lock(&s->mutex);
    op->limits = s->limits;
    pthread_mutex_unlock(&s->mutex);
    return 0;
}

void store_op_fail(struct store_op *op, int rc, const char *detail)
{
    free(op->rec);
    op->rec = NULL;
    op->rc = rc;
    op->verdict = REDEEM_DOWN;
    op->detail = detail;
}

/* ---- what they mean ---- */

int64_t store_record_end(const struct record *r)
{
    return r->state == TICKET_LIVE ? r->expires_ms : r->ended_ms;
}

enum redeem store_verdict(const struct record *r, int64_t now_ms)
{
    switch (record_state_at(r, now_ms)) {
    case TICKET_LIVE:
        return REDEEM_OK;
    case TICKET_EXPIRED:
        return REDEEM_EXPIRED;
    case TICKET_USED:
        return REDEEM_USED;
    case TICKET_REVOKED:
        return REDEEM_REVOKED;
    case TICKET_FORGOTTEN:
        return REDEEM_UNKNOWN;
    }
    assert(!"a state");
    return REDEEM_DOWN;
}

bool store_is_single_use(const struct record *r)
{
    return r->class == TICKET_SESSION && r->refresh_ms == 0;
}

/* Looks the ticket up inside a write transaction. 0 with *out given, ERR_NOT_FOUND, ERR_STORE. */
static int fetch(struct store *s, struct store_txn *t, const uint8_t hash[RECORD_HASH], struct record **out)
{
    const uint8_t *data;
    size_t len;
    int rc = s->ops->lookup(s->backend, t, hash, &data, &len);
    if (rc < 0)
        return rc;
    *out = record_decode(hash, data, len);
    return *out ? 0 : ERR_STORE;
}

/* A live ticket ends here: it becomes a tombstone. */
static int end_ticket(struct store *s, struct store_txn *t, struct record *r, enum ticket_state state,
                      int64_t now_ms)
{
    uint8_t data[RECORD_BYTES_MAX];
    int64_t old_end_ms = store_record_end(r);
    r->state = state;
    r->ended_ms = now_ms;
    int len = record_encode(r, data);
    assert(len > 0); /* as long as it was before */
    return s->ops->replace(s->backend, t, r->hash, data, (size_t)len, old_end_ms, store_record_end(r));
}

static int apply_redeem(struct store *s, struct store_txn *t, struct store_op *op)
{
    int rc = fetch(s, t, op->hash, &op->rec);
    if (rc == ERR_NOT_FOUND) {
        op->verdict = REDEEM_UNKNOWN;
        return 0;
    }
    if (rc < 0)
        return rc;
    op->verdict = store_verdict(op->rec, op->now_ms);
    if (op->verdict != REDEEM_OK || !store_is_single_use(op->rec))
        return 0;
    return end_ticket(s, t, op->rec, TICKET_USED, op->now_ms);
}

static int apply_revoke(struct store *s, struct store_txn *t, struct store_op *op)
{
    struct record *r = NULL;
    int rc = fetch(s, t, op->hash, &r);
    op->rc = rc == ERR_NOT_FOUND ? rc : 0;
    if (rc == 0 && store_verdict(r, op->now_ms) == REDEEM_OK)
        rc = end_ticket(s, t, r, TICKET_REVOKED, op->now_ms);
    free(r);
    return rc == ERR_NOT_FOUND ? 0 : rc;
}

/* The ticket's time moves, its state stays. */
static int move_expiry(struct store *s, struct store_txn *t, struct record *r, int64_t expires_ms)
{
    uint8_t data[RECORD_BYTES_MAX];
    int64_t old_end_ms = store_record_end(r);
    r->expires_ms = expires_ms;
    int len = record_encode(r, data);
    assert(len > 0);
    return s->ops->replace(s->backend, t, r->hash, data, (size_t)len, old_end_ms, store_record_end(r));
}

static int apply_refresh(struct store *s, struct store_txn *t, struct store_op *op)
{
    int rc = fetch(s, t, op->hash, &op->rec);
    if (rc == ERR_NOT_FOUND) {
        op->verdict = REDEEM_UNKNOWN;
        return 0;
    }
    if (rc < 0)
        return rc;
    op->verdict = store_verdict(op->rec, op->now_ms);
    if (op->verdict != REDEEM_OK || op->rec->refresh_ms == 0 ||
        op->now_ms > INT64_MAX - op->rec->refresh_ms ||
        op->now_ms + op->rec->refresh_ms <= op->rec->expires_ms)
        return 0;
    return move_expiry(s, t, op->rec, op->now_ms + op->rec->refresh_ms);
}

/* A fault, on a live ticket. */
static int lose_ticket(struct store *s, struct store_txn *t, struct record *r, enum store_sweep what,
                       int64_t now_ms)
{
    r->injected = true;
    return what == STORE_SWEEP_EXPIRE ? move_expiry(s, t, r, now_ms)
                                      : end_ticket(s, t, r, TICKET_FORGOTTEN, now_ms);
}

static int apply_end(struct store *s, struct store_txn *t, struct store_op *op)
{
    struct record *r = NULL;
    int rc = fetch(s, t, op->hash, &r);
    op->rc = rc == ERR_NOT_FOUND ? rc : 0;
    if (rc == 0 && store_verdict(r, op->now_ms) == REDEEM_OK)
        rc = lose_ticket(s, t, r, op->what, op->now_ms);
    free(r);
    return rc == ERR_NOT_FOUND ? 0 : rc;
}

static int apply_unsupported(struct store *s, struct store_txn *t, struct store_op *op)
{
    (void)s;
    (void)t;
    op->rc = ERR_UNSUPPORTED;
    return 0;
}

static int apply_issue(struct store *s, struct store_txn *t, struct store_op *op)
{
    int rc = s->ops->insert(s->backend, t, op->hash, op->data, op->len, op->end_ms);
    op->rc = rc == ERR_EXISTS ? rc : 0;
    return rc == ERR_EXISTS ? 0 : rc;
}

/* All operations in one transaction. Negative: none of them happened, their results mean nothing, and *alone
 * says whether fewer at a time could fare better. */
static int run_together(struct store *s, struct store_op *const *ops, size_t n, bool *alone)
{
    static int (*const apply[])(struct store *, struct store_txn *, struct store_op *) = {
        [STORE_ISSUE] = apply_issue,      [STORE_REDEEM] = apply_redeem,    [STORE_REFRESH] = apply_refresh,
        [STORE_REVOKE] = apply_revoke,    [STORE_END] = apply_end,          [STORE_SWEEP] = apply_unsupported,
        [STORE_LIST] = apply_unsupported, [STORE_PURGE] = apply_unsupported};
    struct store_txn t = {0};
    int rc = s->ops->begin(s->backend, &t);
    *alone = false;
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < n; i++) {
        rc = apply[ops[i]->kind](s, &t, ops[i]);
        if (rc < 0) {
            s->ops->abort(s->backend, &t);
            *alone = true;
            return rc;
        }
    }
    rc = s->ops->commit(s->backend, &t);
    *alone = rc == ERR_STORE_FULL;
    return rc;
}

static void run_one_by_one(struct store *s, struct store_op *const *ops, size_t n)
{
    for (size_t i = 0; i < n; i++)
        store_run(s, ops + i, 1);
}

void store_run(struct store *s, struct store_op *const *ops, size_t n)
{
    if (s->ops->in_place && n > 1) {
        run_one_by_one(s, ops, n);
        return;
    }
    bool alone;
    int rc = run_together(s, ops, n, &alone);
    if (rc == 0)
        return;
    for (size_t i = 0; i < n; i++) {
        store_op_fail(ops[i], rc,
                      rc == ERR_STORE_FULL ? "the ticket store is full" : "the ticket store failed");
    }
    if (n > 1 && alone) { /* the failure of one is not the others' */
        store_run(s, ops, n / 2);
        store_run(s, ops + n / 2, n - n / 2);
    } else if (rc == ERR_STORE_FULL && store_log_due(&s->full_logged_ms)) {
        log_message(LOG_ERROR, "ticket_store_full", "%s takes no more tickets until old ones are purged",
                    s->url);
    }
}
