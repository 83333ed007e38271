/* The event loops' way to a store. A client lives on one loop. Where the store is here, it reads there, and
 * what has to be written goes to the store's thread, which answers through store_answer(); where it is
 * elsewhere, every operation goes out on the client's link and comes back on the loop. Knows no
 * implementation.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "net/mailbox.h"
#include "store_impl.h"

struct store_client {
    struct store *store;
    struct store_reader *reader; /* owned; may be NULL */
    struct store_link *link;     /* owned; NULL: the store is here, or the link has closed */
    struct mailbox mailbox;      /* answers of the store's thread */
    size_t open;                 /* requests */
    bool closing;
    bool link_closing;
    void (*on_closed)(void *owner);
    void *owner;
};

/* ---- answers ---- */

void store_answer(struct store_request *r)
{
    mailbox_post(&r->client->mailbox, &r->link);
}

static void finish_list(const struct store_op *op, store_list_cb *cb, void *owner)
{
    if (cb)
        cb(owner, op->rc, op->page, op->rc == 0 ? (size_t)op->count : 0, op->more);
    for (int64_t i = 0; op->page != NULL && i < op->count; i++)
        free(op->page[i]);
    free(op->page);
}

static void finish_request(struct store_request *r)
{
    struct store_op *op = &r->op;
    r->client->open--;
    switch (op->kind) {
    case STORE_REDEEM:
    case STORE_REFRESH:
        if (r->on_redeem)
            r->on_redeem(r->owner, op->verdict, op->rec, op->detail);
        else
            free(op->rec);
        break;
    case STORE_ISSUE:
    case STORE_REVOKE:
    case STORE_END:
        if (r->on_done)
            r->on_done(r->owner, op->rc);
        break;
    case STORE_SWEEP:
    case STORE_PURGE:
        if (r->on_count)
            r->on_count(r->owner, op->rc < 0 ? op->rc : op->count);
        break;
    case STORE_LIST:
        finish_list(op, r->on_list, r->owner);
        break;
    }
    free(r);
}

/* ---- opening and closing ---- */

static void on_mailbox_closed(struct mailbox *m)
{
    struct store_client *c = list_entry(m, struct store_client, mailbox);
    struct store *s = c->store;
    void (*on_closed)(void *) = c->on_closed;
    void *owner = c->owner;
    if (c->reader)
        s->ops->reader_free(s->backend, c->reader);
    free(c);
    atomic_fetch_sub(&s->clients, 1);
    if (on_closed)
        on_closed(owner);
}

static void close_if_idle(struct store_client *c);

static void on_link_closed(void *owner)
{
    struct store_client *c = owner;
    c->link = NULL;
    close_if_idle(c);
}

static void close_if_idle(struct store_client *c)
{
    if (!c->closing || c->open > 0)
        return;
    if (c->link == NULL) {
        mailbox_close(&c->mailbox);
    } else if (!c->link_closing) {
        c->link_closing = true;
        c->store->ops->link_close(c->link, on_link_closed, c);
    }
}

static void on_answer(struct mailbox *m, struct list *letter)
{
    (void)m;
    finish_request(list_entry(letter, struct store_request, link));
}

static void on_emptied(struct mailbox *m)
{
    close_if_idle(list_entry(m, struct store_client, mailbox));
}

static void on_link_done(struct store_op *op)
{
    struct store_request *r = list_entry(op, struct store_request, op);
    struct store_client *c = r->client;
    finish_request(r);
    if (c->closing && c->open == 0)
        mailbox_wake(
            &c->mailbox); /* the link is closed from a turn of its own, not from inside its callback */
}

struct store_client *store_client_new(struct store *s, uv_loop_t *loop)
{
    struct store_client *c = mem_zalloc(sizeof *c);
    c->store = s;
    c->mailbox = (struct mailbox){.deliver = on_answer, .emptied = on_emptied, .closed = on_mailbox_closed};
    mailbox_init(&c->mailbox, loop);
    if (s->ops->link_new)
        c->link = s->ops->link_new(s->backend, loop, on_link_done);
    else if (s->ops->reader_new)
        c->reader = s->ops->reader_new(s->backend);
    atomic_fetch_add(&s->clients, 1);
    return c;
}

void store_client_close(struct store_client *c, void (*closed)(void *owner), void *owner)
{
    assert(!c->closing);
    c->closing = true;
    c->on_closed = closed;
    c->owner = owner;
    if (c->open == 0)
        mailbox_wake(&c->mailbox);
}

/* ---- requests ---- */

static struct store_request *request_new(struct store_client *c, enum store_op_kind kind, const uint8_t *hash,
                                         int64_t now_ms, size_t data_len)
{
    assert(!c->closing);
    struct store_request *r = mem_zalloc(sizeof *r + data_len);
    r->client = c;
    r->op.kind = kind;
    r->op.now_ms = now_ms;
    r->op.tombstone_ms = atomic_load_explicit(&c->store->tombstone_ms, memory_order_relaxed);
    if (hash)
        memcpy(r->op.hash, hash, RECORD_HASH);
    return r;
}

static bool submit(struct store_request *r)
{
    struct store_client *c = r->client;
    c->open++;
    if (c->link) {
        c->store->ops->link_submit(c->link, &r->op);
        return true;
    }
    if (store_thread_submit(c->store, r))
        return true;
    c->open--;
    return false;
}

/* Submits; what cannot be is answered from the next turn of the loop. */
static struct store_request *submit_or_fail(struct store_request *r, int rc)
{
    if (rc == 0 && submit(r))
        return r;
    store_op_fail(&r->op, rc ? rc : ERR_TOO_BIG, "too many operations wait for the ticket store");
    r->client->open++;
    store_answer(r);
    return r;
}

/* True with the answer where reading on the loop was enough. */
static bool redeem_here(struct store_client *c, const uint8_t hash[RECORD_HASH], int64_t now_ms,
                        enum redeem *result, struct record **out)
{
    struct store *s = c->store;
    if (c->reader == NULL)
        c->reader = s->ops->reader_new(s->backend);
    struct record *rec = NULL;
    int rc = c->reader ? s->ops->get(s->backend, c->reader, hash, &rec) : ERR_STORE;
    if (rc == ERR_NOT_FOUND) {
        *result = REDEEM_UNKNOWN;
        return true;
    }
    if (rc != 0)
        return false; /* something that reading here could not cope with: the thread can */
    *result = store_verdict(rec, now_ms);
    if (*result == REDEEM_OK && store_is_single_use(rec)) {
        free(rec);
        return false;
    }
    *out = rec;
    return true;
}

struct store_request *store_client_redeem(struct store_client *c, const uint8_t hash[RECORD_HASH],
                                          int64_t now_ms, enum redeem *result, struct record **out,
                                          store_redeem_cb *cb, void *owner)
{
    struct store *s = c->store;
    *out = NULL;
    if (s->ops->in_place) {
        *result = store_redeem(s, hash, now_ms, out);
        return NULL;
    }
    if (c->link == NULL && redeem_here(c, hash, now_ms, result, out))
        return NULL;
    struct store_request *r = request_new(c, STORE_REDEEM, hash, now_ms, 0);
    r->on_redeem = cb;
    r->owner = owner;
    if (submit(r))
        return r;
    free(r);
    *result = REDEEM_DOWN;
    return NULL;
}

struct store_request *store_client_refresh(struct store_client *c, const uint8_t hash[RECORD_HASH],
                                           int64_t now_ms, store_redeem_cb *cb, void *owner)
{
    struct store_request *r = request_new(c, STORE_REFRESH, hash, now_ms, 0);
    r->on_redeem = cb;
    r->owner = owner;
    return submit_or_fail(r, 0);
}

struct store_request *store_client_issue(struct store_client *c, const struct record *rec, store_done_cb *cb,
                                         void *owner)
{
    uint8_t data[RECORD_BYTES_MAX];
    struct store_op op;
    int rc = store_op_issue(c->store, &op, rec, data);
    struct store_request *r = request_new(c, STORE_ISSUE, rec->hash, op.now_ms, rc == 0 ? op.len : 0);
    r->op = op;
    if (rc == 0)
        memcpy(r->data, data, op.len);
    r->op.data = r->data;
    r->on_done = cb;
    r->owner = owner;
    return submit_or_fail(r, rc);
}

struct store_request *store_client_revoke(struct store_client *c, const uint8_t hash[RECORD_HASH],
                                          int64_t now_ms, store_done_cb *cb, void *owner)
{
    struct store_request *r = request_new(c, STORE_REVOKE, hash, now_ms, 0);
    r->on_done = cb;
    r->owner = owner;
    return submit_or_fail(r, 0);
}

struct store_request *store_client_end(struct store_client *c, const uint8_t hash[RECORD_HASH],
                                       enum store_sweep what, int64_t now_ms, store_done_cb *cb, void *owner)
{
    struct store_request *r = request_new(c, STORE_END, hash, now_ms, 0);
    r->op.what = what;
    r->on_done = cb;
    r->owner = owner;
    return submit_or_fail(r, 0);
}

struct store_request *store_client_sweep(struct store_client *c, enum store_sweep what, const char *user,
                                         int64_t now_ms, store_count_cb *cb, void *owner)
{
    struct store_request *r = request_new(c, STORE_SWEEP, NULL, now_ms, 0);
    r->op.what = what;
    r->op.has_user = user != NULL;
    if (user)
        store_user_key(r->op.user_key, user, strlen(user));
    r->on_count = cb;
    r->owner = owner;
    return submit_or_fail(r, 0);
}

struct store_request *store_client_purge(struct store_client *c, int64_t now_ms, store_count_cb *cb,
                                         void *owner)
{
    struct store_request *r = request_new(c, STORE_PURGE, NULL, now_ms, 0);
    r->on_count = cb;
    r->owner = owner;
    return submit_or_fail(r, 0);
}

struct store_request *store_client_list(struct store_client *c, const struct store_query *q,
                                        store_list_cb *cb, void *owner)
{
    size_t user_size = q->user ? strlen(q->user) + 1 : 0;
    size_t digits_size = q->fingerprint ? strlen(q->fingerprint) + 1 : 0;
    struct store_request *r = request_new(c, STORE_LIST, NULL, clock_wall_ms(), user_size + digits_size);
    r->op.query = *q;
    if (q->user) {
        r->op.query.user = memcpy(r->data, q->user, user_size);
        r->op.has_user = true;
        store_user_key(r->op.user_key, q->user, user_size - 1);
    }
    if (q->fingerprint)
        r->op.query.fingerprint = memcpy(r->data + user_size, q->fingerprint, digits_size);
    r->on_list = cb;
    r->owner = owner;
    return submit_or_fail(r, store_check_query(q));
}

void store_request_cancel(struct store_request *r)
{
    r->on_redeem = NULL;
    r->on_done = NULL;
    r->on_count = NULL;
    r->on_list = NULL;
}
