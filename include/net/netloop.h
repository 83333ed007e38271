/* One event loop with what its streams share: scratch buffers, deferred calls, deadlines. One per worker
 * thread; nothing here is thread-safe, and no handle ever changes its loop.
 *
 * Idle connections own no buffers because these scratch buffers exist: a read lands in `input`, plaintext is
 * made in `plain`, and what goes out is gathered in `output`, all within one call.
 */
#ifndef STAGATE_NET_NETLOOP_H
#define STAGATE_NET_NETLOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/buf.h"
#include "base/list.h"

#define NETLOOP_INPUT_BYTES (128 * 1024) /* one read at most */
#define NETLOOP_PLAIN_BYTES (128 * 1024)
#define NETLOOP_DEADLINES   20 /* lists of deadlines; one for each kind of duration keeps insertion O(1) */

struct netloop {
    uv_loop_t uv;
    uint8_t *input;    /* owned */
    uint8_t *plain;    /* owned */
    struct buf output; /* ciphertext of the call being made; empty between calls */
    struct list deferred;
    uv_idle_t idle; /* runs while something is deferred */
    struct list deadlines[NETLOOP_DEADLINES];
    uv_timer_t timer;
    uint64_t timer_due_ms; /* 0: not running */
};

int netloop_init(struct netloop *l);
/* Runs the loop until all handles are closed, which the caller has done to its own by then, and everything
 * deferred has run. */
void netloop_deinit(struct netloop *l);
uint64_t netloop_now_ms(const struct netloop *l); /* of this turn: good for deadlines, not for measuring */

/* A call put off to the next turn of the loop, which it keeps alive until then. Embedded in its owner;
 * scheduling twice is scheduling once. */
struct deferred {
    struct list link;
    void (*run)(struct deferred *d);
};
void deferred_init(struct deferred *d, void (*run)(struct deferred *d));
void deferred_schedule(struct netloop *l, struct deferred *d);
void deferred_cancel(struct deferred *d);

/* A deadline embedded in its owner. Setting it again moves it. Expiry is noticed within DEADLINE_GRAIN_MS
 * after its time, and runs from the loop's timer; the deadline is no longer set then. `list` says which of
 * the NETLOOP_DEADLINES lists, by kind of duration. */
#define DEADLINE_GRAIN_MS 64
struct deadline {
    struct list link;
    uint64_t at_ms;
    void (*expired)(struct deadline *d);
};
void deadline_init(struct deadline *d, void (*expired)(struct deadline *d));
void deadline_set(struct netloop *l, struct deadline *d, unsigned list, uint64_t timeout_ms);
void deadline_clear(struct deadline *d);
/* The one of a list that is due first; NULL when the list is empty. */
struct deadline *deadline_first(struct netloop *l, unsigned list);

#endif
