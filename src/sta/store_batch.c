/* What goes over many tickets of a store that is here: faults that end all of them, purging, making room, and
 * pages for listings. Each comes in batches of a transaction of its own, so that the thread can do what loops
 * wait for in between.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "store_impl.h"

#define IN_PLACE_MAX 50  /* in a batch of a store that holds up loops while it is changed */
#define TELL_MAX     100 /* ended tickets that are told one by one */
#define TELL_MS      500 /* how often a long sweep lets watchers know */

static size_t batch_size(const struct store *s)
{
    return s->ops->in_place ? IN_PLACE_MAX : STORE_PURGE_MAX;
}

/* ---- faults on many ---- */

/* Ends a ticket that is live, and moves away one whose time has come. 1 where it ended. */
static int sweep_one(struct store *s, struct store_txn *t, const struct store_op *op,
                     const uint8_t hash[RECORD_HASH])
{
    struct record *r;
    int rc = store_fetch(s, t, hash, &r);
    if (rc < 0)
        return rc == ERR_NOT_FOUND ? ERR_STORE : rc; /* an index that leads nowhere */
    if (store_verdict(r, op->now_ms) != REDEEM_OK) {
        rc = store_write(s, t, r, store_record_end(r), op->now_ms);
    } else {
        rc = store_lose(s, t, r, op->what, op->now_ms);
        rc = rc == 0 ? 1 : rc;
    }
    free(r);
    return rc;
}

/* The first ones are told one by one; when there are many, "any", now and then and at the end. */
static int tell_sweep(struct store *s, struct store_txn *t, const struct store_op *op,
                      struct store_progress *p, uint8_t (*hashes)[RECORD_HASH], int ended)
{
    int rc = 0;
    if (op->what != STORE_SWEEP_EXPIRE)
        return 0;
    if (op->count + ended <= TELL_MAX) {
        for (int i = 0; rc == 0 && i < ended; i++)
            rc = store_note_end(s, t, hashes[i], TICKET_EXPIRED);
        return rc;
    }
    p->any_untold |= ended > 0;
    uint64_t now = clock_mono_ms();
    if (!p->any_untold || (!p->cursor.done && now - p->told_ms < TELL_MS))
        return 0;
    p->any_untold = false;
    p->told_ms = now;
    return store_note_end(s, t, NULL, TICKET_EXPIRED);
}

/* Returns how many ended, or negative: the transaction is good only for abort then. */
static int sweep_in(struct store *s, struct store_txn *t, const struct store_op *op, struct store_progress *p)
{
    uint8_t hashes[STORE_PURGE_MAX][RECORD_HASH];
    int n = s->ops->pick(s->backend, t, op->has_user ? op->user_key : NULL, &p->cursor, p->limit, hashes);
    int ended = 0;
    for (int i = 0; i < n; i++) {
        int rc = sweep_one(s, t, op, hashes[i]);
        if (rc < 0)
            return rc;
        if (rc == 1)
            memmove(hashes[ended++], hashes[i], RECORD_HASH);
    }
    int rc = n < 0 ? n : tell_sweep(s, t, op, p, hashes, ended);
    return rc < 0 ? rc : ended;
}

bool store_sweep_some(struct store *s, struct store_op *op, struct store_progress *p)
{
    if (p->limit == 0) {
        p->limit = batch_size(s);
        p->told_ms = clock_mono_ms();
    }
    struct store_progress before = *p;
    struct store_txn t = {0};
    int rc = s->ops->begin(s->backend, &t);
    if (rc == 0) {
        rc = sweep_in(s, &t, op, p);
        if (rc < 0) {
            s->ops->abort(s->backend, &t);
        } else {
            int ended = rc;
            rc = s->ops->commit(s->backend, &t);
            op->count += rc == 0 ? ended : 0;
        }
    }
    if (rc == ERR_STORE_FULL && before.limit > 1) { /* fewer at a time need fewer pages */
        *p = before;
        p->limit /= 2;
        return false;
    }
    if (rc < 0)
        store_op_fail(op, rc, "the ticket store failed");
    else if (t.told)
        store_watch_poke(s);
    return rc < 0 || p->cursor.done;
}

/* ---- what is over ---- */

bool store_purge_some(struct store *s, struct store_op *op, struct store_progress *p)
{
    size_t want = batch_size(s), most = op->query.limit;
    if (most > 0 && most - (size_t)op->count < want)
        want = most - (size_t)op->count;
    int64_t n = s->ops->purge(s->backend, op->now_ms - op->tombstone_ms, want, &p->place);
    if (n < 0)
        store_op_fail(op, (int)n, "the ticket store failed");
    else
        op->count += n;
    return n < 0 || p->place == 0 || (most > 0 && (size_t)op->count >= most);
}

bool store_retire_some(struct store *s)
{
    bool more = false;
    struct store_txn t = {0};
    if (s->ops->begin(s->backend, &t) < 0)
        return false;
    if (s->ops->retire(s->backend, &t, clock_wall_ms(), batch_size(s), &more) < 0) {
        s->ops->abort(s->backend, &t);
        return false;
    }
    return s->ops->commit(s->backend, &t) == 0 && more;
}

/* ---- listing ---- */

bool store_prefix_matches(const struct store_prefix *p, const uint8_t hash[RECORD_HASH])
{
    size_t whole = p->digits / 2;
    return memcmp(p->bytes, hash, whole) == 0 &&
           (p->digits % 2 == 0 || p->bytes[whole] >> 4 == hash[whole] >> 4);
}

struct pager {
    struct store_op *op;
    struct store_prefix prefix;
};

static int visit_page(void *owner, const uint8_t hash[RECORD_HASH], const uint8_t *data, size_t len)
{
    struct pager *pager = owner;
    struct store_op *op = pager->op;
    if (!store_prefix_matches(&pager->prefix, hash))
        return 0;
    if ((size_t)op->count == op->query.limit) {
        op->more = true;
        return 1;
    }
    struct record *r = record_decode(hash, data, len);
    if (r == NULL)
        return ERR_STORE;
    op->page[op->count++] = r;
    return 0;
}

void store_run_list(struct store *s, struct store_op *op)
{
    struct pager pager = {.op = op};
    const struct store_query *q = &op->query;
    if (q->fingerprint)
        store_parse_prefix(&pager.prefix, q->fingerprint);
    op->page = mem_alloc(q->limit * sizeof *op->page);
    int rc = op->has_user ? s->ops->scan_user(s->backend, op->user_key, visit_page, &pager)
                          : s->ops->scan(s->backend, &pager.prefix, q->has_after ? q->after : NULL,
                                         q->limit + 1, visit_page, &pager);
    op->rc = rc < 0 ? rc : 0;
    op->detail = rc < 0 ? "the ticket store failed" : NULL;
}
