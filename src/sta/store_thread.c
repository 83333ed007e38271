/* The store's thread and the event loops' way to it. A client lives on one loop and reads there; what has to
 * be written is queued, committed by the thread together with whatever else has gathered, and answered on the
 * client's loop. Knows no implementation.
 *
 * Who touches a request: its loop until it is queued; the thread until it is in the client's done list (its
 * operation only); its loop again. Callback and owner belong to the loop throughout, so that cancelling needs
 * no lock.
 */
#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "store_impl.h"

/* Beyond it the disk has been behind for minutes: refusing is kinder than waiting. */
#define QUEUE_MAX 100000

struct store_client {
    struct store *store;
    struct store_reader *reader; /* owned; may be NULL */
    uv_async_t async;
    size_t open; /* requests */
    bool closing;
    void (*on_closed)(void *owner);
    void *owner;

    pthread_mutex_t mutex; /* guards done; held across uv_async_send, so that no wake-up comes after the last
                              answer was taken */
    struct list done;
};

struct store_request {
    struct list link; /* in the store's queue, then in the client's done list */
    struct store_client *client;
    struct store_op op;
    store_redeem_cb *on_redeem; /* one of the two; both NULL: cancelled */
    store_done_cb *on_done;
    void *owner;
    uint8_t data[]; /* STORE_ISSUE: the encoded record */
};

/* ---- the thread ---- */

/* Takes what has gathered, waiting for it until wake_ms (monotonic). 0 when there is nothing by then, or when
 * the store is closing. */
static size_t take_batch(struct store *s, struct store_op *ops[STORE_BATCH_MAX], uint64_t wake_ms,
                         bool *stopping)
{
    struct timespec until = {.tv_sec = (time_t)(wake_ms / 1000), .tv_nsec = (long)(wake_ms % 1000) * 1000000};
    size_t n = 0;
    pthread_mutex_lock(&s->mutex);
    while (list_empty(&s->queue) && !s->stopping &&
           pthread_cond_timedwait(&s->wake, &s->mutex, &until) != ETIMEDOUT)
        continue;
    while (n < STORE_BATCH_MAX && !list_empty(&s->queue)) {
        struct store_request *r = list_entry(s->queue.next, struct store_request, link);
        list_remove(&r->link);
        ops[n++] = &r->op;
    }
    s->queued -= n;
    *stopping = s->stopping;
    pthread_mutex_unlock(&s->mutex);
    return n;
}

/* Hands a finished request to its loop, which may have freed it and its client by the time this returns. */
static void answer(struct store_request *r)
{
    struct store_client *c = r->client;
    pthread_mutex_lock(&c->mutex);
    list_append(&c->done, &r->link);
    uv_async_send(&c->async);
    pthread_mutex_unlock(&c->mutex);
}

/* One batch of purging at a time, so that requests never wait for a long one. Returns when to come again. */
static uint64_t purge_some(struct store *s, size_t *place)
{
    int64_t n = s->ops->purge(s->backend, clock_wall_ms() - s->tombstone_ms, STORE_PURGE_MAX, place);
    if (n >= 0 && *place != 0)
        return clock_mono_ms();
    *place = 0;
    if (s->ops->tend)
        s->ops->tend(s->backend);
    return clock_mono_ms() + (uint64_t)s->purge_every_ms;
}

static void *store_main(void *arg)
{
    struct store *s = arg;
    struct store_op *ops[STORE_BATCH_MAX];
    uint64_t purge_at = clock_mono_ms() + (uint64_t)s->purge_every_ms;
    size_t place = 0;
    for (;;) {
        bool stopping;
        size_t n = take_batch(s, ops, purge_at, &stopping);
        if (n > 0)
            store_run(s, ops, n);
        else if (stopping)
            return NULL;
        for (size_t i = 0; i < n; i++)
            answer(list_entry(ops[i], struct store_request, op));
        if (!stopping && clock_mono_ms() >= purge_at)
            purge_at = purge_some(s, &place);
    }
}

int store_thread_start(struct store *s)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&s->wake, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&s->mutex, NULL);
    list_init(&s->queue);

    sigset_t all, old; /* signals are the loops' business */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = pthread_create(&s->thread, NULL, store_main, s);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc == 0)
        pthread_setname_np(s->thread, "ticket-store");
    return -rc;
}

void store_thread_stop(struct store *s)
{
    pthread_mutex_lock(&s->mutex);
    s->stopping = true;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->mutex);
    pthread_join(s->thread, NULL);
    pthread_cond_destroy(&s->wake);
    pthread_mutex_destroy(&s->mutex);
}

/* ---- clients ---- */

static void on_client_closed(uv_handle_t *handle)
{
    struct store_client *c = handle->data;
    struct store *s = c->store;
    void (*on_closed)(void *) = c->on_closed;
    void *owner = c->owner;
    if (c->reader)
        s->ops->reader_free(s->backend, c->reader);
    pthread_mutex_destroy(&c->mutex);
    free(c);
    atomic_fetch_sub(&s->clients, 1);
    if (on_closed)
        on_closed(owner);
}

static void close_if_idle(struct store_client *c)
{
    if (c->closing && c->open == 0 && !uv_is_closing((uv_handle_t *)&c->async))
        uv_close((uv_handle_t *)&c->async, on_client_closed);
}

static void finish_request(struct store_request *r)
{
    struct store_op op = r->op;
    store_redeem_cb *on_redeem = r->on_redeem;
    store_done_cb *on_done = r->on_done;
    void *owner = r->owner;
    free(r);
    if (on_redeem)
        on_redeem(owner, op.verdict, op.rec);
    else if (on_done)
        on_done(owner, op.rc);
    else
        free(op.rec);
}

static void on_answers(uv_async_t *async)
{
    struct store_client *c = async->data;
    struct list done;
    list_init(&done);
    pthread_mutex_lock(&c->mutex);
    if (!list_empty(&c->done)) { /* the head moves over */
        list_insert_before(&c->done, &done);
        list_remove(&c->done);
    }
    pthread_mutex_unlock(&c->mutex);

    while (!list_empty(&done)) {
        struct store_request *r = list_entry(done.next, struct store_request, link);
        list_remove(&r->link);
        c->open--;
        finish_request(r);
    }
    close_if_idle(c);
}

struct store_client *store_client_new(struct store *s, uv_loop_t *loop)
{
    struct store_client *c = mem_zalloc(sizeof *c);
    c->store = s;
    list_init(&c->done);
    pthread_mutex_init(&c->mutex, NULL);
    c->async.data = c;
    int rc = uv_async_init(loop, &c->async, on_answers);
    assert(rc == 0); /* the loop's own wake-up exists before any client does */
    (void)rc;
    if (s->ops->reader_new)
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
    close_if_idle(c);
}

/* ---- requests ---- */

static struct store_request *request_new(struct store_client *c, enum store_op_kind kind,
                                         const uint8_t hash[RECORD_HASH], size_t data_len)
{
    assert(!c->closing);
    struct store_request *r = mem_zalloc(sizeof *r + data_len);
    r->client = c;
    r->op.kind = kind;
    memcpy(r->op.hash, hash, RECORD_HASH);
    return r;
}

/* Queues for the thread; false when the queue is full. */
static bool submit(struct store_request *r)
{
    struct store *s = r->client->store;
    pthread_mutex_lock(&s->mutex);
    bool room = s->queued < QUEUE_MAX;
    if (room) {
        list_append(&s->queue, &r->link);
        s->queued++;
        pthread_cond_signal(&s->wake);
        r->client->open++;
    }
    pthread_mutex_unlock(&s->mutex);
    return room;
}

/* Queues; what cannot be queued is answered from the next turn of the loop. */
static struct store_request *submit_or_fail(struct store_request *r, int rc)
{
    if (rc == 0 && submit(r))
        return r;
    r->op.rc = rc ? rc : ERR_TOO_BIG;
    r->client->open++;
    answer(r);
    return r;
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
    if (c->reader == NULL)
        c->reader = s->ops->reader_new(s->backend);
    struct record *rec = NULL;
    int rc = c->reader ? s->ops->get(s->backend, c->reader, hash, &rec) : ERR_STORE;
    if (rc == ERR_NOT_FOUND) {
        *result = REDEEM_UNKNOWN;
        return NULL;
    }
    if (rc == 0) {
        *result = store_verdict(rec, now_ms);
        if (*result != REDEEM_OK || rec->class == TICKET_BACKGROUND) {
            *out = rec;
            return NULL;
        }
        free(rec);
    }
    /* a single use to be written down, or something that reading here could not cope with: the thread can */
    struct store_request *r = request_new(c, STORE_REDEEM, hash, 0);
    r->op.now_ms = now_ms;
    r->on_redeem = cb;
    r->owner = owner;
    if (submit(r))
        return r;
    free(r);
    *result = REDEEM_DOWN;
    return NULL;
}

struct store_request *store_client_issue(struct store_client *c, const struct record *rec, store_done_cb *cb,
                                         void *owner)
{
    uint8_t data[RECORD_BYTES_MAX];
    int len = record_encode(rec, data);
    struct store_request *r = request_new(c, STORE_ISSUE, rec->hash, len > 0 ? (size_t)len : 0);
    if (len > 0)
        memcpy(r->data, data, (size_t)len);
    r->op.data = r->data;
    r->op.len = len > 0 ? (size_t)len : 0;
    r->op.end_ms = store_record_end(rec);
    r->on_done = cb;
    r->owner = owner;
    return submit_or_fail(r, len < 0 ? len : 0);
}

struct store_request *store_client_revoke(struct store_client *c, const uint8_t hash[RECORD_HASH],
                                          int64_t now_ms, store_done_cb *cb, void *owner)
{
    struct store_request *r = request_new(c, STORE_REVOKE, hash, 0);
    r->op.now_ms = now_ms;
    r->on_done = cb;
    r->owner = owner;
    return submit_or_fail(r, 0);
}

void store_request_cancel(struct store_request *r)
{
    r->on_redeem = NULL;
    r->on_done = NULL;
}
