/* Mailboxes. Used by whoever has threads that answer loops: the ticket store, sign-in. */
#include "net/mailbox.h"

#include <assert.h>

static void on_wake(uv_async_t *async)
{
    struct mailbox *m = async->data;
    struct list taken;
    list_init(&taken);
    /* A thread holds it for moments, but may lose its processor just then, for milliseconds on a busy
     * machine: the loop goes on and comes back next turn. */
    if (pthread_mutex_trylock(&m->mutex) != 0) {
        uv_async_send(&m->async);
        return;
    }
    if (!list_empty(&m->letters)) { /* the head moves over */
        list_insert_before(&m->letters, &taken);
        list_remove(&m->letters);
    }
    pthread_mutex_unlock(&m->mutex);

    while (!list_empty(&taken)) {
        struct list *letter = taken.next;
        list_remove(letter);
        m->deliver(m, letter);
    }
    m->emptied(m);
}

void mailbox_init(struct mailbox *m, uv_loop_t *loop)
{
    list_init(&m->letters);
    pthread_mutex_init(&m->mutex, NULL);
    m->async.data = m;
    int rc = uv_async_init(loop, &m->async, on_wake);
    assert(rc == 0); /* the loop's own wake-up exists before any mailbox does */
    (void)rc;
}

void mailbox_post(struct mailbox *m, struct list *letter)
{
    pthread_mutex_lock(&m->mutex);
    list_append(&m->letters, letter);
    uv_async_send(&m->async);
    pthread_mutex_unlock(&m->mutex);
}

void mailbox_wake(struct mailbox *m)
{
    uv_async_send(&m->async);
}

static void on_closed(uv_handle_t *handle)
{
    struct mailbox *m = handle->data;
    pthread_mutex_destroy(&m->mutex);
    m->closed(m);
}

void mailbox_close(struct mailbox *m)
{
    if (!uv_is_closing((uv_handle_t *)&m->async))
        uv_close((uv_handle_t *)&m->async, on_closed);
}
