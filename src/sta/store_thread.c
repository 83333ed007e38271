/* The store's thread: takes the requests that have gathered, does them in one transaction, hands them back to
 * their loops, and removes what has ended in between. A store elsewhere has none. Knows no implementation.
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

/* How often what other processes ended is looked for, while somebody wants to know. */
#define HEAR_EVERY_MS 500

/* ---- the queue ---- */

bool store_thread_submit(struct store *s, struct store_request *r)
{
    pthread_mutex_lock(&s->mutex);
    bool room = s->queued < QUEUE_MAX;
    if (room) {
        list_append(&s->queue, &r->link);
        s->queued++;
        pthread_cond_signal(&s->wake);
    }
    pthread_mutex_unlock(&s->mutex);
    return room;
}

/* ---- the thread ---- */

/* What the thread does between batches, a little at a time, so that requests never wait for long. */
struct chores {
    struct list slow; /* of struct store_request: sweeps, purges, listings */
    uint64_t tidy_at; /* monotonic, as the other */
    uint64_t hear_at;
    bool retiring; /* the first half of tidying up; then purging */
    struct store_progress purge;
};

/* When something is to be done unless requests come before. */
static uint64_t wake_time(struct store *s, const struct chores *c)
{
    if (!list_empty(&c->slow))
        return 0;
    return atomic_load(&s->watched) && c->hear_at < c->tidy_at ? c->hear_at : c->tidy_at;
}

/* Takes what has gathered, waiting for it until wake_ms (monotonic). 0 when there is nothing by then, or when
 * the store is closing. */
static size_t take_batch(struct store *s, struct chores *c, struct store_op *ops[STORE_BATCH_MAX],
                         bool *stopping)
{
    uint64_t wake_ms = wake_time(s, c);
    struct timespec until = {.tv_sec = (time_t)(wake_ms / 1000), .tv_nsec = (long)(wake_ms % 1000) * 1000000};
    size_t n = 0;
    pthread_mutex_lock(&s->mutex);
    while (list_empty(&s->queue) && !s->stopping && !s->poked && wake_ms > 0 &&
           pthread_cond_timedwait(&s->wake, &s->mutex, &until) != ETIMEDOUT)
        continue;
    while (n < STORE_BATCH_MAX && !list_empty(&s->queue)) {
        struct store_request *r = list_entry(s->queue.next, struct store_request, link);
        list_remove(&r->link);
        if (r->op.kind == STORE_SWEEP || r->op.kind == STORE_LIST || r->op.kind == STORE_PURGE)
            list_append(&c->slow, &r->link);
        else
            ops[n++] = &r->op;
    }
    s->queued -= n; /* slow ones count until they are done */
    if (s->poked)
        c->hear_at = 0;
    s->poked = false;
    *stopping = s->stopping && list_empty(&s->queue) && list_empty(&c->slow);
    pthread_mutex_unlock(&s->mutex);
    return n;
}

/* One step of the slow request that has waited longest. */
static void step_slow(struct store *s, struct chores *c)
{
    if (list_empty(&c->slow))
        return;
    struct store_request *r = list_entry(c->slow.next, struct store_request, link);
    bool done = true;
    list_remove(&r->link);
    if (r->op.kind == STORE_LIST)
        store_run_list(s, &r->op);
    else if (r->op.kind == STORE_SWEEP)
        done = store_sweep_some(s, &r->op, &r->progress);
    else
        done = store_purge_some(s, &r->op, &r->progress);
    if (!done) {
        list_append(&c->slow, &r->link);
        return;
    }
    pthread_mutex_lock(&s->mutex);
    s->queued--;
    pthread_mutex_unlock(&s->mutex);
    store_answer(r);
}

/* One batch of moving away, then of removing, what is over. */
static void tidy(struct store *s, struct chores *c)
{
    if (clock_mono_ms() < c->tidy_at)
        return;
    if (c->retiring) {
        c->retiring = store_retire_some(s);
        return;
    }
    struct store_op op = {.now_ms = clock_wall_ms(), .tombstone_ms = atomic_load(&s->tombstone_ms)};
    if (!store_purge_some(s, &op, &c->purge))
        return;
    if (s->ops->tend)
        s->ops->tend(s->backend);
    c->retiring = true;
    c->purge = (struct store_progress){0};
    c->tidy_at = clock_mono_ms() + (uint64_t)s->purge_every_ms;
}

static void *store_main(void *arg)
{
    struct store *s = arg;
    struct store_op *ops[STORE_BATCH_MAX];
    struct chores c = {.tidy_at = clock_mono_ms() + (uint64_t)s->purge_every_ms, .retiring = true};
    list_init(&c.slow);
    for (;;) {
        bool stopping;
        size_t n = take_batch(s, &c, ops, &stopping);
        if (n > 0)
            store_run(s, ops, n);
        for (size_t i = 0; i < n; i++)
            store_answer(list_entry(ops[i], struct store_request, op));
        step_slow(s, &c);
        if (atomic_load(&s->watched) && clock_mono_ms() >= c.hear_at) {
            store_watch_deliver(s);
            c.hear_at = clock_mono_ms() + HEAR_EVERY_MS;
        }
        if (stopping)
            return NULL;
        tidy(s, &c);
    }
}

int store_thread_start(struct store *s)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&s->wake, &attr);
    pthread_condattr_destroy(&attr);
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
}
