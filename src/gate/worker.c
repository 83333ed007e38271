/* A worker's thread: its loop, its listening sockets, and what the main thread asks of it. Knows connections
 * only as a list. */
#include "gate/worker.h"

#include <assert.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "gate/conn.h"
#include "outage.h"
#include "tunnels.h"

#define ENDS_MAX (64 * 1024) /* bytes of ended tickets not looked at; beyond it all are in doubt */

struct worker_end {              /* in worker.ends */
    struct authority *authority; /* a reference */
    uint8_t hash[RECORD_HASH];
    bool all;
    enum ticket_state how;
};

struct worker_listener {
    struct list link;
    struct listener l;
    struct worker *w;
    const struct runtime_listener *rl; /* of the current runtime */
    struct sockets *sockets;
};

/* ---- runtimes ---- */

static void finish_if_done(struct worker *w);

static void on_client_closed(void *owner)
{
    struct worker_runtime *wr = owner;
    if (--wr->open_clients > 0)
        return;
    struct worker *w = wr->worker;
    runtime_unref(wr->runtime);
    free(wr);
    w->closing--;
    finish_if_done(w);
}

static struct worker_runtime *worker_runtime_new(struct worker *w, struct runtime *r)
{
    struct worker_runtime *wr = mem_zalloc(sizeof *wr + r->authority_count * sizeof wr->clients[0]);
    wr->worker = w;
    wr->runtime = r;
    wr->refs = 1;
    wr->open_clients = r->authority_count;
    for (size_t i = 0; i < r->authority_count; i++)
        wr->clients[i] = authority_client_new(r->authorities[i], &w->loop, w->resolver);
    return wr;
}

struct worker_runtime *worker_runtime_ref(struct worker_runtime *wr)
{
    wr->refs++;
    return wr;
}

void worker_runtime_unref(struct worker_runtime *wr)
{
    assert(wr->refs > 0);
    if (--wr->refs > 0)
        return;
    wr->worker->closing++;
    for (size_t i = 0; i < wr->runtime->authority_count; i++)
        authority_client_close(wr->clients[i], on_client_closed, wr);
}

/* ---- listeners ---- */

static void on_connection(struct listener *l)
{
    struct worker_listener *wl = l->owner;
    conn_accept(wl->w, wl->rl, listener_handle(l));
}

static void on_listener_closed(struct listener *l)
{
    struct worker_listener *wl = l->owner;
    struct worker *w = wl->w;
    free(wl);
    w->closing--;
    finish_if_done(w);
}

static void close_listener(struct worker_listener *wl)
{
    list_remove(&wl->link);
    wl->w->closing++;
    listener_close(&wl->l);
}

static void open_listener(struct worker *w, const struct runtime_listener *rl)
{
    if (rl->sockets->fds[w->index] < 0)
        return; /* it failed to open once, and is gone: told then */
    struct worker_listener *wl = mem_zalloc(sizeof *wl);
    wl->w = w;
    wl->rl = rl;
    wl->sockets = rl->sockets;
    wl->l.on_connection = on_connection;
    wl->l.on_closed = on_listener_closed;
    wl->l.owner = wl;
    list_append(&w->listeners, &wl->link);
    int fd = rl->sockets->fds[w->index];
    rl->sockets->fds[w->index] = -1;
    int rc = listener_open(&wl->l, &w->loop, fd);
    if (rc < 0) { /* the socket is bound and listening: only a lack of memory or descriptors in the kernel is
                     left */
        log_message(LOG_ERROR, "listener_failed", "%s: %s", rl->sockets->bound_text, err_text(rc));
        close_listener(wl);
    }
}

static struct worker_listener *find_listener(struct worker *w, const struct sockets *sockets)
{
    for (struct list *l = w->listeners.next; l != &w->listeners; l = l->next) {
        struct worker_listener *wl = list_entry(l, struct worker_listener, link);
        if (wl->sockets == sockets)
            return wl;
    }
    return NULL;
}

/* Puts a runtime in force: listeners that stay serve on, new ones open, others close. Takes the reference. */
static void use_runtime(struct worker *w, struct runtime *r)
{
    struct worker_runtime *old = w->current;

    w->current = worker_runtime_new(w, r);
    for (struct list *l = w->listeners.next; l != &w->listeners; l = l->next)
        list_entry(l, struct worker_listener, link)->rl = NULL;
    for (size_t i = 0; i < r->listener_count; i++) {
        struct worker_listener *wl = find_listener(w, r->listeners[i].sockets);
        if (wl != NULL)
            wl->rl = &r->listeners[i];
        else
            open_listener(w, &r->listeners[i]);
    }
    for (struct list *l = w->listeners.next; l != &w->listeners;) {
        struct worker_listener *wl = list_entry(l, struct worker_listener, link);
        l = l->next;
        if (wl->rl == NULL)
            close_listener(wl);
    }
    if (old != NULL)
        worker_runtime_unref(old);
}

/* ---- stopping ---- */

static void close_listeners(struct worker *w)
{
    while (!list_empty(&w->listeners))
        close_listener(list_entry(w->listeners.next, struct worker_listener, link));
}

static void drain_over(struct deadline *d)
{
    conn_cut_all(list_entry(d, struct worker, drain), REASON_SHUTTING_DOWN);
}

static void start_drain(struct worker *w)
{
    if (w->draining)
        return;
    w->draining = true;
    close_listeners(w);
    conn_refuse_early(w, REASON_SHUTTING_DOWN);
    int64_t limit = w->current->runtime->settings->timeouts.drain;
    deadline_set(&w->loop, &w->drain, WORKER_DRAIN_DEADLINE, (uint64_t)limit);
    finish_if_done(w);
}

/* Draining and nothing left: gives the loop's last handles back, so that it ends. */
static void finish_if_done(struct worker *w)
{
    if (!w->draining || w->conn_count > 0 || w->stopping || !list_empty(&w->listeners))
        return;
    if (w->current != NULL) {
        struct worker_runtime *wr = w->current;
        w->current = NULL;
        worker_runtime_unref(wr);
    }
    if (w->closing > 0)
        return;
    w->stopping = true;
    deadline_clear(&w->drain);
    resolver_close(w->resolver);
    uv_mutex_lock(&w->lock);
    w->deaf = true;
    uv_mutex_unlock(&w->lock);
    uv_close((uv_handle_t *)&w->wake, NULL);
}

void worker_conn_added(struct worker *w)
{
    w->conn_count++;
    atomic_fetch_add_explicit(w->connections, 1, memory_order_relaxed);
}

void worker_conn_removed(struct worker *w)
{
    w->conn_count--;
    atomic_fetch_sub_explicit(w->connections, 1, memory_order_relaxed);
    finish_if_done(w);
}

/* ---- tickets that end ---- */

static void release_ends(struct buf *ends)
{
    struct worker_end *e = (struct worker_end *)(void *)ends->data;
    for (size_t i = 0; i < ends->len / sizeof *e; i++)
        authority_unref(e[i].authority);
    buf_deinit(ends);
}

static void look_at_ends(struct worker *w, struct buf *ends)
{
    const struct worker_end *e = (const struct worker_end *)(void *)ends->data;
    for (size_t i = 0; i < ends->len / sizeof *e; i++)
        tunnels_ended(w->tunnels, e[i].authority, e[i].all ? NULL : e[i].hash, e[i].how);
    release_ends(ends);
}

/* More than can be told one by one: of each authority, any ticket may have ended. */
static void condense_ends(struct buf *ends)
{
    struct worker_end *e = (struct worker_end *)(void *)ends->data;
    size_t kept = 0;
    for (size_t i = 0; i < ends->len / sizeof *e; i++) {
        size_t j = 0;
        while (j < kept && e[j].authority != e[i].authority)
            j++;
        if (j < kept) {
            authority_unref(e[i].authority); /* never the last: another entry has one */
            continue;
        }
        e[kept] = e[i];
        e[kept++].all = true;
    }
    ends->len = kept * sizeof *e;
}

/* In the store's thread, from inside its watch: what would release an authority for good must not happen
 * here. */
void worker_ticket_ended(struct worker *w, struct authority *a, const uint8_t *hash, enum ticket_state how)
{
    struct worker_end e = {.authority = a, .all = hash == NULL, .how = how};
    if (hash != NULL)
        memcpy(e.hash, hash, RECORD_HASH);
    uv_mutex_lock(&w->lock);
    if (w->ends.len + sizeof e > w->ends.max)
        condense_ends(&w->ends);
    /* an authority that nobody holds any more has no tunnels */
    if (!w->deaf && w->ends.len + sizeof e <= w->ends.max && authority_try_ref(a)) {
        buf_append(&w->ends, &e, sizeof e);
        uv_async_send(&w->wake);
    }
    uv_mutex_unlock(&w->lock);
}

/* ---- thread ---- */

static void on_wake(uv_async_t *handle)
{
    struct worker *w = handle->data;
    struct buf ends;
    uv_mutex_lock(&w->lock);
    struct runtime *r = w->asked_runtime;
    bool drain = w->asked_drain, stop = w->asked_stop;
    w->asked_runtime = NULL;
    ends = w->ends;
    buf_init(&w->ends, ENDS_MAX);
    uv_mutex_unlock(&w->lock);

    look_at_ends(w, &ends);

    if (r != NULL) {
        if (w->draining)
            runtime_unref(r);
        else
            use_runtime(w, r);
    }
    if (drain || stop)
        start_drain(w);
    if (stop)
        conn_cut_all(w, REASON_SHUTTING_DOWN);
}

static void run(void *arg)
{
    struct worker *w = arg;
    sigset_t all;
    /* signals are the main thread's */
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    uv_run(&w->loop.uv, UV_RUN_DEFAULT);
    tunnels_deinit(w->tunnels);
    free(w->tunnels);
    outages_free(w->outages);
    conn_http_scratch_free(w->http);
    netloop_deinit(&w->loop);
    w->stopped(w->owner);
}

int worker_start(struct worker *w, unsigned index, struct runtime *runtime, atomic_size_t *connections,
                 void (*stopped)(void *owner), void *owner)
{
    w->index = index;
    w->connections = connections;
    w->stopped = stopped;
    w->owner = owner;
    int rc = netloop_init(&w->loop);
    if (rc < 0)
        return rc;
    uv_mutex_init(&w->lock);
    uv_async_init(&w->loop.uv, &w->wake, on_wake);
    w->wake.data = w;
    list_init(&w->listeners);
    list_init(&w->conns);
    deadline_init(&w->drain, drain_over);
    buf_init(&w->ends, ENDS_MAX);
    w->tunnels = mem_alloc(sizeof *w->tunnels);
    tunnels_init(w->tunnels, w);
    w->resolver = resolver_new(&w->loop);
    w->outages = outages_new();
    use_runtime(w, runtime_ref(runtime));
    return uv_thread_create(&w->thread, run, w);
}

void worker_join(struct worker *w)
{
    uv_thread_join(&w->thread);
    uv_mutex_lock(&w->lock);
    struct runtime *r = w->asked_runtime;
    struct buf ends = w->ends;
    w->asked_runtime = NULL;
    buf_init(&w->ends, ENDS_MAX);
    uv_mutex_unlock(&w->lock);
    runtime_unref(r);
    release_ends(&ends);
}

void worker_deinit(struct worker *w)
{
    uv_mutex_destroy(&w->lock);
}

static void ask(struct worker *w, struct runtime *r, bool drain, bool stop)
{
    uv_mutex_lock(&w->lock);
    if (r != NULL) {
        runtime_unref(w->asked_runtime); /* a reload overtaken by the next one */
        w->asked_runtime = runtime_ref(r);
    }
    w->asked_drain |= drain;
    w->asked_stop |= stop;
    /* within the lock: a worker that has ended must not be woken, libuv aborts on a closed loop */
    if (!w->deaf)
        uv_async_send(&w->wake);
    uv_mutex_unlock(&w->lock);
}

void worker_swap(struct worker *w, struct runtime *runtime)
{
    ask(w, runtime, false, false);
}

void worker_drain(struct worker *w)
{
    ask(w, NULL, true, false);
}

void worker_stop(struct worker *w)
{
    ask(w, NULL, true, true);
}
