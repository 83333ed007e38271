/* Hearing of tickets that end before their time. What a transaction ended is noted by the implementation
 * where other processes share it, and the store's thread reads those notes: at once after a change of this
 * store's own, now and then otherwise. In a store that only this process sees the endings are handed to the
 * thread directly, and a store elsewhere tells them by a thread of its own.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "store_impl.h"

#define ENDINGS_MAX 1000 /* beyond it, any ticket may have ended */

struct store_watch {
    struct list link;
    struct store *store;
    store_ended_cb *cb;
    void *owner;
};

void store_watch_init(struct store *s)
{
    pthread_mutex_init(&s->watch_mutex, NULL);
    list_init(&s->watches);
}

void store_watch_deinit(struct store *s)
{
    pthread_mutex_destroy(&s->watch_mutex);
    free(s->endings);
}

/* ---- who listens ---- */

/* From the thread of a store elsewhere. */
static void on_heard(void *owner, const uint8_t *hash, enum ticket_state how)
{
    struct store *s = owner;
    pthread_mutex_lock(&s->watch_mutex);
    for (struct list *at = s->watches.next; at != &s->watches; at = at->next) {
        struct store_watch *w = list_entry(at, struct store_watch, link);
        w->cb(w->owner, hash, how);
    }
    pthread_mutex_unlock(&s->watch_mutex);
}

struct store_watch *store_watch(struct store *s, store_ended_cb *cb, void *owner)
{
    struct store_watch *w = mem_alloc(sizeof *w);
    *w = (struct store_watch){.store = s, .cb = cb, .owner = owner};
    pthread_mutex_lock(&s->watch_mutex);
    if (list_empty(&s->watches) && s->ops->hear_ends)
        s->ops->hear_ends(s->backend, &s->heard, NULL, NULL); /* what was before is no news */
    list_append(&s->watches, &w->link);
    atomic_store(&s->watched, true);
    if (s->ops->listen && !s->listening)
        s->listening = s->ops->listen(s->backend, on_heard, s) == 0;
    pthread_mutex_unlock(&s->watch_mutex);
    if (s->ops->run == NULL)
        store_watch_poke(s); /* the thread sleeps for longer than watchers may have to wait */
    return w;
}

void store_unwatch(struct store_watch *w)
{
    struct store *s = w->store;
    pthread_mutex_lock(&s->watch_mutex);
    list_remove(&w->link);
    atomic_store(&s->watched, !list_empty(&s->watches));
    pthread_mutex_unlock(&s->watch_mutex);
    free(w);
}

/* ---- what ended ---- */

void store_watch_poke(struct store *s)
{
    if (!atomic_load(&s->watched))
        return;
    pthread_mutex_lock(&s->mutex);
    s->poked = true;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->mutex);
}

static void append_ending(struct store_ending **endings, size_t *count, size_t *cap, const uint8_t *hash,
                          enum ticket_state how)
{
    if (*count > ENDINGS_MAX)
        return; /* "any" is there already */
    if (*count == *cap) {
        *cap = *cap ? 2 * *cap : 16;
        *endings = mem_realloc(*endings, *cap * sizeof **endings);
    }
    struct store_ending *e = &(*endings)[(*count)++];
    *e = (struct store_ending){.any = hash == NULL || *count > ENDINGS_MAX, .how = how};
    if (e->any)
        e->how = TICKET_EXPIRED;
    else
        memcpy(e->hash, hash, RECORD_HASH);
}

void store_watch_tell(struct store *s, const uint8_t *hash, enum ticket_state how)
{
    if (!atomic_load(&s->watched))
        return;
    pthread_mutex_lock(&s->mutex);
    append_ending(&s->endings, &s->ending_count, &s->ending_cap, hash, how);
    pthread_mutex_unlock(&s->mutex);
}

struct hearing {
    struct store_ending *endings;
    size_t count, cap;
};

static void collect(void *owner, const uint8_t *hash, enum ticket_state how)
{
    struct hearing *h = owner;
    append_ending(&h->endings, &h->count, &h->cap, hash, how);
}

void store_watch_deliver(struct store *s)
{
    struct hearing h = {0};
    pthread_mutex_lock(&s->watch_mutex);
    if (s->ops->hear_ends && !list_empty(&s->watches))
        s->ops->hear_ends(s->backend, &s->heard, collect, &h);
    pthread_mutex_lock(&s->mutex);
    if (s->ending_count > 0) {
        free(h.endings);
        h = (struct hearing){s->endings, s->ending_count, s->ending_cap};
        s->endings = NULL;
        s->ending_count = s->ending_cap = 0;
    }
    pthread_mutex_unlock(&s->mutex);
    for (size_t i = 0; i < h.count; i++)
        for (struct list *at = s->watches.next; at != &s->watches; at = at->next) {
            struct store_watch *w = list_entry(at, struct store_watch, link);
            w->cb(w->owner, h.endings[i].any ? NULL : h.endings[i].hash, h.endings[i].how);
        }
    pthread_mutex_unlock(&s->watch_mutex);
    free(h.endings);
}
