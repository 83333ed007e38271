/* The control thread: one loop beside the workers' for everything that is no tunnel. It serves the
 * authorities' STA services and ticket APIs and the admin socket, and asks remote authorities for their IDs.
 * What is slow or plentiful here (passwords, lists of tickets, XML) holds up no tunnel.
 *
 * Controlled by the main thread like a worker: runtimes are handed to it, and it is told to stop. */
#ifndef STAGATE_GATE_CONTROL_H
#define STAGATE_GATE_CONTROL_H

#include "gate/runtime.h"
#include "gate/worker.h"

struct control;
struct trace;

/* Starts the thread, which serves runtime (a reference is taken), and waits until every remote authority has
 * been asked once, or for five seconds at most, so that what is ready is ready. workers: whose counters
 * the metrics show; borrowed, and filled before it is asked for metrics. trace: borrowed. */
int control_start(struct control **out, struct runtime *runtime, const struct worker *workers,
                  unsigned worker_count, struct trace *trace);
/* The same for a new runtime, after a reload. */
void control_swap(struct control *c, struct runtime *runtime);
/* No new connections to the services; what is open is finished. The admin socket goes on, and tells of the
 * drain. */
void control_drain(struct control *c);
/* Ends the thread after the requests that are open, and frees. False where they take longer than the limit (a
 * directory that does not answer, a client that sends half a request): the thread still runs then, and the
 * process has to end without giving anything back. */
bool control_stop(struct control *c, int64_t limit_ms);

#endif
