/* A worker: one thread, one event loop, its listening sockets and its connections. Nothing is shared between
 * workers but the counted runtime, the stores, and counters that each worker writes for itself. */
#ifndef STAGATE_GATE_WORKER_H
#define STAGATE_GATE_WORKER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/buf.h"
#include "base/list.h"
#include "gate/reason.h"
#include "gate/runtime.h"
#include "net/netloop.h"
#include "net/resolver.h"
#include "sta/authority.h"

/* A runtime as one worker uses it: with its clients of the authorities. Counted by connections, without
 * atomics.
 */
struct worker_runtime {
    struct worker *worker;
    struct runtime *runtime; /* one reference */
    size_t refs;             /* connections, and one while it is current */
    size_t open_clients;
    struct authority_client *clients[]; /* for each authority of the runtime */
};

struct worker_counters { /* written by the worker only; read by anybody, each value by itself */
    _Atomic uint64_t accepted;
    _Atomic uint64_t ended[2][REASON_COUNT]; /* [1]: a fault had a hand in it */
    _Atomic uint64_t requests[REASON_COUNT]; /* relayed, or answered in the mail server's place */
    _Atomic uint64_t bytes_up, bytes_down;   /* through tunnels that ended */
};

struct tunnels;
struct trace;
struct outages;
struct http_scratch;

struct worker {
    struct netloop loop;
    uv_thread_t thread;
    unsigned index;
    struct worker_runtime *current;
    struct resolver *resolver;
    struct list listeners; /* of struct worker_listener */
    struct list conns;
    size_t conn_count;
    struct tunnels *tunnels;   /* owned: the tickets they came with */
    struct outages *outages;   /* owned: addresses of mail servers that failed lately */
    struct http_scratch *http; /* owned; NULL until requests are looked into */
    size_t closing;            /* listeners and old runtimes not closed yet */
    size_t handshakes;         /* connections in a TLS handshake: memory-hungry, so bounded */
    struct worker_counters counters;
    atomic_size_t *connections; /* of all workers together; borrowed */
    struct trace *trace;        /* who watches conversations; borrowed, NULL: nobody can */

    uv_async_t wake;
    uv_mutex_t lock;               /* of what the main thread asks for: */
    struct runtime *asked_runtime; /* a reference, or NULL */
    bool asked_drain;
    bool asked_stop;
    struct buf ends; /* of struct worker_end: tickets that ended, not looked at yet */
    bool deaf;       /* wake is closed: nothing can be asked any more */

    bool draining;
    bool stopping;
    struct deadline drain;
    void (*stopped)(void *owner); /* called in the worker's thread, last thing */
    void *owner;
};

#define WORKER_HANDSHAKES_MAX 4096
#define WORKER_DRAIN_DEADLINE (NETLOOP_DEADLINES - 1) /* which list */

/* Starts the thread, which serves runtime (a reference is taken). *w is zero but for trace; its
 * counters may be read by other threads already. */
int worker_start(struct worker *w, unsigned index, struct runtime *runtime, atomic_size_t *connections,
                 void (*stopped)(void *owner), void *owner);
void worker_join(struct worker *w);   /* it can still be told what is below, in vain */
void worker_deinit(struct worker *w); /* joined, and nobody is left who would tell it anything */

/* From any thread. */
void worker_swap(struct worker *w, struct runtime *runtime); /* takes a reference */
void worker_drain(
    struct worker *w); /* no new connections; ends when the last has ended, or at the drain time-out */
void worker_stop(struct worker *w); /* cuts everything now */
/* A ticket of that authority has ended (hash NULL: any may have); a reference to the authority is taken. */
void worker_ticket_ended(struct worker *w, struct authority *a, const uint8_t *hash, enum ticket_state how);

/* For connections, on the worker's loop. */
struct worker_runtime *worker_runtime_ref(struct worker_runtime *wr);
void worker_runtime_unref(struct worker_runtime *wr);
void worker_conn_added(struct worker *w);
void worker_conn_removed(struct worker *w);

#endif
