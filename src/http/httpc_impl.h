/* What httpc.c (requests, the queue, whom to tell) and httpc_conn.c (connections) share. */
#ifndef STAGATE_HTTP_HTTPC_IMPL_H
#define STAGATE_HTTP_HTTPC_IMPL_H

#include "http/httpc.h"

#include "body.h"
#include "net/stream.h"
#include "proto/http.h"

/* In natural order; httpc_conn.c enter() is the only way into one. */
enum httpc_state {
    HTTPC_RESOLVING,
    HTTPC_CONNECTING, /* one address after the other */
    HTTPC_HANDSHAKE,
    HTTPC_IDLE, /* open, without a request */
    HTTPC_BUSY,
    HTTPC_GONE, /* the stream is closing */
    HTTPC_STATES,
};

struct httpc {
    struct netloop *loop;
    struct httpc_options options; /* tls is ours: counted; unix_path is owned */
    char *unix_path;              /* owned */
    char *host;                   /* of the Host field; owned */
    struct list waiting;          /* requests without a connection, oldest first */
    struct list sent;
    struct list done;    /* with a result that is not told yet */
    struct list telling; /* those of them that this turn tells */
    size_t waiting_count;
    struct list conns[HTTPC_STATES]; /* who was last at the end */
    size_t opening;                  /* connections before HTTPC_IDLE */
    size_t live;                     /* connections before HTTPC_GONE */
    size_t handles;                  /* connections at all */
    struct deferred later;           /* tells results, gives requests connections, ends */
    bool closing;
    void (*closed)(void *owner);
    void *closed_owner;
};

struct httpc_request {
    struct list link; /* of one of the client's lists */
    struct httpc *c;
    struct httpc_conn *conn; /* it was sent on; NULL before and after */
    struct deadline deadline;
    struct body wire; /* as it is sent */
    bool waiting;
    bool head; /* HEAD: the answer has no body */
    bool repeatable;
    bool again; /* met a dead connection: goes on a new one, once */
    enum httpc_result result;
    const char *detail;
    unsigned status;
    bool keep_alive; /* says the answer */
    char *type;      /* owned; NULL: none */
    struct body body;
    httpc_cb *cb;
    void *owner;
};

struct httpc_conn {
    struct list link; /* of httpc.conns[state] */
    struct httpc *c;
    struct stream stream;
    struct deadline deadline;
    struct resolver_wait wait;
    struct address_list addresses;
    size_t next; /* of the addresses, to be tried */
    struct http_reader *reader;
    struct httpc_request *request; /* borrowed; HTTPC_BUSY */
    enum httpc_result result;      /* of the last address tried */
    const char *detail;
    uint8_t state; /* enum httpc_state */
    bool kept;     /* was idle before */
    bool answered; /* the first byte of the answer has come */
};

/* httpc.c */
void httpc_finish(struct httpc_request *r, enum httpc_result result, const char *detail);
void httpc_send_again(struct httpc_request *r); /* on a new connection */
void httpc_sent(struct httpc_request *r, struct httpc_conn *k);
struct httpc_request *httpc_first_waiting(struct httpc *c); /* NULL: none */
void httpc_wake(struct httpc *c);                           /* something changed: look at it next turn */

/* httpc_conn.c; no callbacks run inside */
void httpc_conn_open(struct httpc *c);
void httpc_conn_send(struct httpc_conn *k, struct httpc_request *r);
void httpc_conn_drop(struct httpc_conn *k);
struct httpc_conn *httpc_conn_idle(struct httpc *c, bool oldest); /* NULL: none */

#endif
