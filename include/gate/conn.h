/* A connection, from accept to close: the state machine. */
#ifndef STAGATE_GATE_CONN_H
#define STAGATE_GATE_CONN_H

#include "gate/reason.h"
#include "gate/worker.h"
#include "net/listener.h"

struct conn;

/* Takes a connection off the listener. */
void conn_accept(struct worker *w, const struct runtime_listener *rl, uv_stream_t *listener);

/* For the worker: end the connections whose tunnel is not open yet, or every one. */
void conn_refuse_early(struct worker *w, enum reason r);
void conn_cut_all(struct worker *w, enum reason r);

#endif
