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

/* One batch of purging at a time, so that requests never wait for a long one. Returns when to come again. */
static uint64_t purge_some(struct store *s, size_t *place)
{
    int64_t n =
        s->ops->purge(s->backend, clock_wall_ms() - atomic_load(&s->tombstone_ms), STORE_PURGE_MAX, place);
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
            store_answer(list_entry(ops[i], struct store_request, op));
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
