/* The event loop's shared parts. Streams, listeners and connections stand on it; it knows none of them. */
#include "net/netloop.h"

#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"

/* Far above what one call can produce (a relay read sealed once, or a handshake flight): it is there so that
 * a bug ends in an assertion and not in all memory. */
#define OUTPUT_MAX (16 * 1024 * 1024)

static void on_idle(uv_idle_t *handle)
{
    struct netloop *l = handle->data;
    struct list todo;

    /* only what is there now: what these calls defer in turn comes next turn */
    list_init(&todo);
    while (!list_empty(&l->deferred)) {
        struct list *first = l->deferred.next;
        list_remove(first);
        list_append(&todo, first);
    }
    while (!list_empty(&todo)) {
        struct deferred *d = list_entry(todo.next, struct deferred, link);
        list_remove(&d->link);
        d->run(d);
    }
    if (list_empty(&l->deferred))
        uv_idle_stop(&l->idle);
}

static void on_timer(uv_timer_t *handle);

static void arm_timer(struct netloop *l)
{
    uint64_t next = 0;
    for (unsigned i = 0; i < NETLOOP_DEADLINES; i++) {
        if (list_empty(&l->deadlines[i]))
            continue;
        const struct deadline *d = list_entry(l->deadlines[i].next, struct deadline, link);
        if (next == 0 || d->at_ms < next)
            next = d->at_ms;
    }
    l->timer_due_ms = 0;
    if (next == 0)
        return;
    uint64_t now = uv_now(&l->uv);
    uint64_t due = next > now ? next : now;
    l->timer_due_ms = due + DEADLINE_GRAIN_MS;
    uv_timer_start(&l->timer, on_timer, due - now + DEADLINE_GRAIN_MS, 0);
}

static void on_timer(uv_timer_t *handle)
{
    struct netloop *l = handle->data;
    uint64_t now = uv_now(&l->uv);

    for (unsigned i = 0; i < NETLOOP_DEADLINES; i++) {
        while (!list_empty(&l->deadlines[i])) {
            struct deadline *d = list_entry(l->deadlines[i].next, struct deadline, link);
            if (d->at_ms > now)
                break;
            list_remove(&d->link);
            d->expired(d);
        }
    }
    arm_timer(l);
}

int netloop_init(struct netloop *l)
{
    int rc = uv_loop_init(&l->uv);
    if (rc < 0)
        return rc;
    l->input = mem_alloc(NETLOOP_INPUT_BYTES);
    l->plain = mem_alloc(NETLOOP_PLAIN_BYTES);
    buf_init(&l->output, OUTPUT_MAX);
    list_init(&l->deferred);
    for (unsigned i = 0; i < NETLOOP_DEADLINES; i++)
        list_init(&l->deadlines[i]);
    l->timer_due_ms = 0;
    uv_idle_init(&l->uv, &l->idle);
    uv_timer_init(&l->uv, &l->timer);
    l->idle.data = l;
    l->timer.data = l;
    /* the timer does not keep the loop alive: it ends with its owner's last handle, or behind the last call
     * that was put off (the idle handle runs only while there is one) */
    uv_unref((uv_handle_t *)&l->timer);
    return 0;
}

void netloop_deinit(struct netloop *l)
{
    uv_run(&l->uv, UV_RUN_DEFAULT); /* calls put off by what was closed last */
    uv_close((uv_handle_t *)&l->idle, NULL);
    uv_close((uv_handle_t *)&l->timer, NULL);
    uv_run(&l->uv, UV_RUN_DEFAULT);
    int rc = uv_loop_close(&l->uv);
    assert(rc == 0 && "a handle was left open");
    (void)rc;
    free(l->input);
    free(l->plain);
    buf_deinit(&l->output);
}

uint64_t netloop_now_ms(const struct netloop *l)
{
    return uv_now(&l->uv);
}

void deferred_init(struct deferred *d, void (*run)(struct deferred *d))
{
    list_init(&d->link);
    d->run = run;
}

void deferred_schedule(struct netloop *l, struct deferred *d)
{
    if (!list_empty(&d->link))
        return;
    if (list_empty(&l->deferred))
        uv_idle_start(&l->idle, on_idle);
    list_append(&l->deferred, &d->link);
}

void deferred_cancel(struct deferred *d)
{
    list_remove(&d->link);
}

void deadline_init(struct deadline *d, void (*expired)(struct deadline *d))
{
    list_init(&d->link);
    d->at_ms = 0;
    d->expired = expired;
}

void deadline_set(struct netloop *l, struct deadline *d, unsigned list, uint64_t timeout_ms)
{
    assert(list < NETLOOP_DEADLINES);
    list_remove(&d->link);
    d->at_ms = uv_now(&l->uv) + timeout_ms;
    /* all of one list have the same duration but after a reload: the place is at the end, or near it */
    struct list *head = &l->deadlines[list];
    struct list *pos = head;
    while (pos->prev != head && list_entry(pos->prev, struct deadline, link)->at_ms > d->at_ms)
        pos = pos->prev;
    list_insert_before(pos, &d->link);
    if (l->timer_due_ms == 0 || l->timer_due_ms > d->at_ms + DEADLINE_GRAIN_MS)
        arm_timer(l);
}

void deadline_clear(struct deadline *d)
{
    list_remove(&d->link);
}

struct deadline *deadline_first(struct netloop *l, unsigned list)
{
    assert(list < NETLOOP_DEADLINES);
    struct list *head = &l->deadlines[list];
    return list_empty(head) ? NULL : list_entry(head->next, struct deadline, link);
}
