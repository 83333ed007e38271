/* The Redis store's own thread, with a loop of its own: hears of tickets that end before their time, and
 * purges now and then. Connects for the first time when there is something to do: commands that open a store
 * for a moment have but the thread.
 */
#include <assert.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "store_redis_impl.h"

struct redis_keeper {
    struct redis *redis;
    pthread_t thread;
    uv_loop_t loop;
    uv_async_t wake;
    uv_timer_t timer;        /* purging */
    struct store_link *link; /* owned; NULL until the first purge */
    struct store_op purge;
    bool purging;
    struct redis_conn *conn; /* owned; NULL: nobody listens */
    struct redis_call subscription;
    bool missed; /* something may have been told while the connection was away */

    pthread_mutex_t mutex; /* guards what follows */
    pthread_cond_t settled_cond;
    bool settled; /* the first try to subscribe is over */
    bool stopping;
    store_ended_cb *heard; /* once set it stays */
    void *heard_owner;
};

/* ---- hearing ---- */

static void settle(struct redis_keeper *k)
{
    pthread_mutex_lock(&k->mutex);
    k->settled = true;
    pthread_cond_broadcast(&k->settled_cond);
    pthread_mutex_unlock(&k->mutex);
}

static void on_subscribed(struct redis_call *call, const redisReply *reply, const char *detail)
{
    struct redis_keeper *k = call->owner;
    (void)detail;
    if (reply == NULL)
        return;
    if (reply->type == REDIS_REPLY_ERROR) {
        redis_conn_abandon(k->conn, redis_error_detail(reply->str, reply->len, NULL));
        return;
    }
    if (k->missed)
        k->heard(k->heard_owner, NULL, TICKET_EXPIRED);
    k->missed = false;
    settle(k);
}

static void on_ready(void *owner)
{
    struct redis_keeper *k = owner;
    struct redis_args a;
    redis_args_begin(&a, "SUBSCRIBE");
    redis_args_add_text(&a, k->redis->channel);
    k->subscription = (struct redis_call){
        .owner = k, .deadline_ms = uv_now(&k->loop) + k->redis->timeout_ms, .done = on_subscribed};
    redis_conn_send(k->conn, &k->subscription, &a);
}

static void on_failed(void *owner, const char *detail)
{
    struct redis_keeper *k = owner;
    (void)detail;
    k->missed = true;
    settle(k);
}

/* A letter and the hash, or the letter alone: more than can be told one by one. */
static void on_message(void *owner, const char *data, size_t len)
{
    struct redis_keeper *k = owner;
    enum ticket_state how = len > 0 && data[0] == 'r' ? TICKET_REVOKED : TICKET_EXPIRED;
    if (len == 1 + RECORD_HASH)
        k->heard(k->heard_owner, (const uint8_t *)data + 1, how);
    else if (len == 1)
        k->heard(k->heard_owner, NULL, how);
}

static void on_conn_closed(void *owner)
{
    (void)owner;
}

/* The caller may hold locks that heard takes: nothing is told before this wait is over. */
int redis_listen(struct store_backend *b, store_ended_cb *heard, void *owner)
{
    struct redis_keeper *k = redis_of(b)->keeper;
    pthread_mutex_lock(&k->mutex);
    assert(k->heard == NULL);
    k->heard = heard;
    k->heard_owner = owner;
    uv_async_send(&k->wake);
    while (!k->settled)
        pthread_cond_wait(&k->settled_cond, &k->mutex);
    pthread_mutex_unlock(&k->mutex);
    return 0;
}

/* ---- purging ---- */

static void on_purged(struct store_op *op)
{
    struct redis_keeper *k = list_entry(op, struct redis_keeper, purge);
    k->purging = false;
}

/* Every gateway of the fleet does it: where there is nothing left to do, it costs the server next to nothing.
 */
static void on_timer(uv_timer_t *timer)
{
    struct redis_keeper *k = timer->data;
    if (k->purging)
        return;
    if (k->link == NULL)
        k->link = redis_link_new(&k->redis->base, &k->loop, on_purged);
    k->purge = (struct store_op){
        .kind = STORE_PURGE, .now_ms = clock_wall_ms(), .tombstone_ms = atomic_load(&k->redis->tombstone_ms)};
    k->purging = true;
    redis_link_submit(k->link, &k->purge);
}

static void on_link_closed(void *owner)
{
    (void)owner;
}

/* ---- the thread ---- */

static void on_wake(uv_async_t *async)
{
    static const struct redis_conn_events events = {
        .ready = on_ready, .failed = on_failed, .message = on_message, .closed = on_conn_closed};
    struct redis_keeper *k = async->data;
    pthread_mutex_lock(&k->mutex);
    bool stopping = k->stopping, listening = k->heard != NULL;
    pthread_mutex_unlock(&k->mutex);
    if (!stopping) {
        if (listening && k->conn == NULL)
            k->conn = redis_conn_new(k->redis, &k->loop, &events, k);
        return;
    }
    if (k->conn)
        redis_conn_close(k->conn);
    if (k->link)
        redis_link_close(k->link, on_link_closed, k);
    uv_close((uv_handle_t *)&k->timer, NULL);
    uv_close((uv_handle_t *)&k->wake, NULL);
}

static void *keeper_main(void *arg)
{
    struct redis_keeper *k = arg;
    uv_run(&k->loop, UV_RUN_DEFAULT); /* until its handles have closed */
    return NULL;
}

static void keeper_free(struct redis_keeper *k)
{
    int rc = uv_loop_close(&k->loop);
    assert(rc == 0);
    (void)rc;
    pthread_cond_destroy(&k->settled_cond);
    pthread_mutex_destroy(&k->mutex);
    free(k);
}

int redis_keeper_start(struct redis *r)
{
    struct redis_keeper *k = mem_zalloc(sizeof *k);
    k->redis = r;
    int rc = uv_loop_init(&k->loop);
    if (rc < 0) {
        free(k);
        return rc;
    }
    pthread_mutex_init(&k->mutex, NULL);
    pthread_cond_init(&k->settled_cond, NULL);
    uv_async_init(&k->loop, &k->wake, on_wake);
    uv_timer_init(&k->loop, &k->timer);
    k->wake.data = k->timer.data = k;
    uv_timer_start(&k->timer, on_timer, (uint64_t)r->purge_every_ms, (uint64_t)r->purge_every_ms);

    sigset_t all, old; /* signals are the loops' business */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    rc = -pthread_create(&k->thread, NULL, keeper_main, k);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc < 0) {
        uv_close((uv_handle_t *)&k->timer, NULL);
        uv_close((uv_handle_t *)&k->wake, NULL);
        uv_run(&k->loop, UV_RUN_DEFAULT);
        keeper_free(k);
        return rc;
    }
    pthread_setname_np(k->thread, "ticket-store");
    r->keeper = k;
    return 0;
}

void redis_keeper_stop(struct redis_keeper *k)
{
    pthread_mutex_lock(&k->mutex);
    k->stopping = true;
    pthread_mutex_unlock(&k->mutex);
    uv_async_send(&k->wake);
    pthread_join(k->thread, NULL);
    keeper_free(k);
}
