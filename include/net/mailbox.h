/* What threads hand to a loop: a list of things in order, and a wake-up. Embedded in its owner, on whose loop
 * everything but posting and waking happens. */
#ifndef STAGATE_NET_MAILBOX_H
#define STAGATE_NET_MAILBOX_H

#include <pthread.h>
#include <uv.h>

#include "base/list.h"

struct mailbox {
    uv_async_t async;
    pthread_mutex_t mutex; /* guards letters; held across the wake-up, so that none comes after the last
                              letter was taken */
    struct list letters;
    /* set by the owner before mailbox_init: */
    void (*deliver)(struct mailbox *m, struct list *letter); /* one letter, unlinked; on the loop */
    void (*emptied)(struct mailbox *m); /* after the letters of a turn, and after a mere wake-up; may close */
    void (*closed)(struct mailbox *m);  /* the last that comes; may free */
};

/* Keeps the loop alive until it is closed. */
void mailbox_init(struct mailbox *m, uv_loop_t *loop);
void mailbox_post(struct mailbox *m, struct list *letter); /* any thread */
void mailbox_wake(struct mailbox *m);                      /* any thread: emptied() from a turn of its own */
void mailbox_close(struct mailbox *m); /* nothing may be posted any more; idempotent; closed() follows */

#endif
