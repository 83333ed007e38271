/* What issuing, redeeming, refreshing, revoking and losing a ticket mean, for every store that is here: each
 * operation inside a write transaction, as many of them in one as can be. Called by the synchronous functions
 * and by the store's thread; knows neither loops nor how bytes are kept. What runs in batches (sweeping,
 * purging, listing) is in store_batch.c.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "store_impl.h"

#define EVICT_MAX     16 /* by one issued ticket: after a limit was lowered, the excess goes bit by bit */
#define RETIRE_SOME   64
#define RETIRE_ROUNDS 16

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

/* ---- places ---- */

int64_t store_record_end(const struct record *r)
{
    return r->state == TICKET_LIVE ? r->expires_ms : r->ended_ms;
}

bool store_place_of(struct store_place *p, const uint8_t *data, size_t len, int64_t now_ms)
{
    struct record_view v;
    if (!record_peek(&v, data, len))
        return false;
    *p = (struct store_place){.end_ms = v.state == TICKET_LIVE ? v.expires_ms : v.ended_ms,
                              .issued_ms = v.issued_ms,
                              .live = v.state == TICKET_LIVE && v.expires_ms > now_ms};
    store_user_key(p->user_key, v.user, v.user_len);
    if (p->live)
        store_device_key(p->device_key, v.user, v.user_len, v.device, v.device_len);
    return true;
}

/* ---- changing a ticket ---- */

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

int store_fetch(struct store *s, struct store_txn *t, const uint8_t hash[RECORD_HASH], struct record **out)
{
    const uint8_t *data;
    size_t len;
    int rc = s->ops->lookup(s->backend, t, hash, &data, &len);
    if (rc < 0)
        return rc;
    *out = record_decode(hash, data, len);
    return *out ? 0 : ERR_STORE;
}

int store_write(struct store *s, struct store_txn *t, const struct record *r, int64_t old_end_ms,
                int64_t now_ms)
{
    uint8_t data[RECORD_BYTES_MAX];
    struct store_place old, place;
    int len = record_encode(r, data);
    assert(len > 0); /* what could be issued fits also with the marks that ends leave */
    bool placed = store_place_of(&place, data, (size_t)len, now_ms);
    assert(placed);
    (void)placed;
    old = place; /* user and time of issue never change */
    old.end_ms = old_end_ms;
    old.live = true;
    return s->ops->replace(s->backend, t, r->hash, data, (size_t)len, &old, &place);
}

/* Whoever watches is to hear of it. */
int store_note_end(struct store *s, struct store_txn *t, const uint8_t *hash, enum ticket_state how)
{
    t->told = true;
    if (s->ops->note_end)
        return s->ops->note_end(s->backend, t, hash, how);
    store_watch_tell(s, hash, how);
    return 0;
}

/* A live ticket ends here: it becomes a tombstone. */
static int end_ticket(struct store *s, struct store_txn *t, struct record *r, enum ticket_state state,
                      int64_t now_ms)
{
    int64_t old_end_ms = store_record_end(r);
    r->state = state;
    r->ended_ms = now_ms;
    int rc = store_write(s, t, r, old_end_ms, now_ms);
    return rc == 0 && state == TICKET_REVOKED ? store_note_end(s, t, r->hash, state) : rc;
}

int store_lose(struct store *s, struct store_txn *t, struct record *r, enum store_sweep what, int64_t now_ms)
{
    r->injected = true;
    if (what == STORE_SWEEP_FORGET)
        return end_ticket(s, t, r, TICKET_FORGOTTEN, now_ms);
    int64_t old_end_ms = r->expires_ms;
    r->expires_ms = now_ms;
    return store_write(s, t, r, old_end_ms, now_ms);
}

/* ---- one ticket's operations ---- */

/* Looks up for redeeming or refreshing: op->rec where the ticket is known, and the verdict. 1: to go on with.
 */
static int judge(struct store *s, struct store_txn *t, struct store_op *op)
{
    int rc = store_fetch(s, t, op->hash, &op->rec);
    if (rc == ERR_NOT_FOUND) {
        op->verdict = REDEEM_UNKNOWN;
        return 0;
    }
    if (rc < 0)
        return rc;
    op->verdict = store_verdict(op->rec, op->now_ms);
    return op->verdict == REDEEM_OK;
}

static int apply_redeem(struct store *s, struct store_txn *t, struct store_op *op)
{
    int rc = judge(s, t, op);
    if (rc <= 0 || !store_is_single_use(op->rec))
        return rc < 0 ? rc : 0;
    return end_ticket(s, t, op->rec, TICKET_USED, op->now_ms);
}

static int apply_refresh(struct store *s, struct store_txn *t, struct store_op *op)
{
    int rc = judge(s, t, op);
    if (rc <= 0)
        return rc;
    struct record *r = op->rec;
    int64_t old_end_ms = r->expires_ms, expires_ms;
    if (r->refresh_ms == 0 || __builtin_add_overflow(op->now_ms, r->refresh_ms, &expires_ms) ||
        expires_ms <= old_end_ms)
        return 0;
    r->expires_ms = expires_ms;
    return store_write(s, t, r, old_end_ms, op->now_ms);
}

/* Looks up for ending; *r NULL where there is nothing to end. */
static int find_live(struct store *s, struct store_txn *t, struct store_op *op, struct record **r)
{
    *r = NULL;
    int rc = store_fetch(s, t, op->hash, r);
    op->rc = rc == ERR_NOT_FOUND ? rc : 0;
    if (rc == 0 && store_verdict(*r, op->now_ms) != REDEEM_OK) {
        free(*r);
        *r = NULL;
    }
    return rc == ERR_NOT_FOUND ? 0 : rc;
}

/* What was used up or had expired stays so; its tunnels may live on, and end now. */
static int apply_revoke(struct store *s, struct store_txn *t, struct store_op *op)
{
    struct record *r = NULL;
    int rc = store_fetch(s, t, op->hash, &r);
    op->rc = rc == ERR_NOT_FOUND ? rc : 0;
    if (rc == 0 && store_verdict(r, op->now_ms) == REDEEM_OK)
        rc = end_ticket(s, t, r, TICKET_REVOKED, op->now_ms);
    else if (rc == 0 && r->state != TICKET_REVOKED && r->state != TICKET_FORGOTTEN)
        rc = store_note_end(s, t, op->hash, TICKET_REVOKED);
    free(r);
    return rc == ERR_NOT_FOUND ? 0 : rc;
}

static int apply_end(struct store *s, struct store_txn *t, struct store_op *op)
{
    struct record *r;
    int rc = find_live(s, t, op, &r);
    if (r != NULL)
        rc = store_lose(s, t, r, op->what, op->now_ms);
    if (r != NULL && rc == 0 && op->what == STORE_SWEEP_EXPIRE)
        rc = store_note_end(s, t, op->hash, TICKET_EXPIRED);
    free(r);
    return rc;
}

/* ---- issuing within limits ---- */

/* Whether there are more live tickets in all than `most`, once those whose time has come are out of the way.
 * 1, 0 or negative. After a limit was lowered much may have to go: what a few rounds leave is the thread's
 * work. */
static int is_over(struct store *s, struct store_txn *t, size_t most, int64_t now_ms)
{
    size_t live;
    bool more = true;
    int rc = s->ops->total(s->backend, t, &live);
    for (int i = 0; i < RETIRE_ROUNDS && rc == 0 && live > most && more; i++) {
        int64_t n = s->ops->retire(s->backend, t, now_ms, RETIRE_SOME, &more);
        rc = n < 0 ? (int)n : s->ops->total(s->backend, t, &live);
    }
    return rc < 0 ? rc : live > most;
}

/* Whether a ticket at this place is, or would be where `except` is NULL, one too many: 1 with the one to give
 * way in its stead, 0, or negative. except is the new one, when it is there already. */
static int is_crowded(struct store *s, struct store_txn *t, const struct store_op *op,
                      const struct store_place *place, const uint8_t *except, uint8_t victim[RECORD_HASH])
{
    const struct store_limits *l = &op->limits;
    if (l->per_user > 0 || l->per_device > 0) {
        struct store_census census = {0};
        int rc = s->ops->census(s->backend, t, place, except, op->now_ms, &census);
        bool user = l->per_user > 0 && census.user >= l->per_user;
        bool device = l->per_device > 0 && census.device >= l->per_device;
        if (rc < 0 || user || device) {
            memcpy(victim, device ? census.oldest_of_device : census.oldest, RECORD_HASH);
            return rc < 0 ? rc : 1;
        }
    }
    if (l->total == 0)
        return 0;
    int rc = is_over(s, t, except ? l->total : l->total - 1, op->now_ms);
    if (rc <= 0 || except == NULL)
        return rc;
    rc = s->ops->first_to_end(s->backend, t, except, op->now_ms, victim);
    return rc == ERR_NOT_FOUND ? 0 : rc < 0 ? rc : 1;
}

static int make_room(struct store *s, struct store_txn *t, const struct store_op *op,
                     const struct store_place *place)
{
    for (int i = 0; i < EVICT_MAX; i++) {
        uint8_t victim[RECORD_HASH];
        int rc = is_crowded(s, t, op, place, op->hash, victim);
        if (rc <= 0)
            return rc;
        struct record *r;
        rc = store_fetch(s, t, victim, &r);
        if (rc < 0)
            return ERR_STORE; /* an index that leads nowhere */
        rc = end_ticket(s, t, r, TICKET_REVOKED, op->now_ms);
        free(r);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int apply_issue(struct store *s, struct store_txn *t, struct store_op *op)
{
    struct record_view v;
    if (!record_peek(&v, op->data, op->len))
        return ERR_STORE;
    struct store_place place = {.end_ms = op->end_ms,
                                .issued_ms = v.issued_ms,
                                .live = v.state == TICKET_LIVE && op->end_ms > op->now_ms};
    memcpy(place.user_key, op->user_key, STORE_KEY);
    memcpy(place.device_key, op->device_key, STORE_KEY);
    const struct store_limits *l = &op->limits;
    bool limited = place.live && (l->per_user > 0 || l->per_device > 0 || l->total > 0);

    if (limited && !l->evict_oldest) {
        uint8_t unused[RECORD_HASH];
        const uint8_t *data;
        size_t len;
        int rc = s->ops->lookup(s->backend, t, op->hash, &data, &len);
        if (rc == ERR_NOT_FOUND && (rc = is_crowded(s, t, op, &place, NULL, unused)) == 1) {
            op->rc = ERR_LIMIT;
            return 0;
        }
        if (rc < 0)
            return rc;
    }
    int rc = s->ops->insert(s->backend, t, op->hash, op->data, op->len, &place);
    op->rc = rc == ERR_EXISTS ? rc : 0;
    if (rc == 0 && limited && l->evict_oldest)
        rc = make_room(s, t, op, &place);
    return rc == ERR_EXISTS ? 0 : rc;
}

/* ---- transactions ---- */

/* All operations in one transaction. Negative: none of them happened, their results mean nothing, and *alone
 * says whether fewer at a time could fare better. */
static int run_together(struct store *s, struct store_op *const *ops, size_t n, bool *alone)
{
    static int (*const apply[])(struct store *, struct store_txn *,
                                struct store_op *) = {[STORE_ISSUE] = apply_issue,
                                                      [STORE_REDEEM] = apply_redeem,
                                                      [STORE_REFRESH] = apply_refresh,
                                                      [STORE_REVOKE] = apply_revoke,
                                                      [STORE_END] = apply_end};
    struct store_txn t = {0};
    int rc = s->ops->begin(s->backend, &t);
    *alone = false;
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < n; i++) {
        assert((size_t)ops[i]->kind < sizeof apply / sizeof apply[0]);
        ops[i]->detail = NULL; /* of a failure together with others */
        rc = apply[ops[i]->kind](s, &t, ops[i]);
        if (rc < 0) {
            s->ops->abort(s->backend, &t);
            *alone = true;
            return rc;
        }
    }
    rc = s->ops->commit(s->backend, &t);
    *alone = rc == ERR_STORE_FULL;
    if (rc == 0 && t.told)
        store_watch_poke(s);
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
    for (size_t i = 0; i < n; i++)
        store_op_fail(ops[i], rc,
                      rc == ERR_STORE_FULL ? "the ticket store is full" : "the ticket store failed");
    if (n > 1 && alone) { /* the failure of one is not the others' */
        store_run(s, ops, n / 2);
        store_run(s, ops + n / 2, n - n / 2);
    } else if (rc == ERR_STORE_FULL && store_log_due(&s->full_logged_ms)) {
        log_message(LOG_ERROR, "ticket_store_full", "%s takes no more tickets until old ones are purged",
                    s->url);
    }
}
