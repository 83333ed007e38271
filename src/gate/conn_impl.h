/* Shared by the files that make up a connection: conn.c (life and states), conn_request.c (door, ticket,
 * policy, connecting), conn_relay.c (the open tunnel), conn_http.c (the same, where requests are looked
 * into), conn_story.c (what the log says of it). Data flow in that order; nothing goes back. */
#ifndef STAGATE_GATE_CONN_IMPL_H
#define STAGATE_GATE_CONN_IMPL_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "gate/conn.h"
#include "gate/door.h"
#include "net/stream.h"
#include "proto/tlswatch.h"
#include "sta/authority.h"
#include "tunnels.h"

/* In natural order; conn.c has a row for each. */
enum conn_state {
    CONN_HELLO,     /* accepted; no whole first record yet */
    CONN_HANDSHAKE, /* outer TLS */
    CONN_REQUEST,   /* a door reads */
    CONN_TICKET,    /* an authority is asked */
    CONN_RESOLVE,
    CONN_CONNECT,
    CONN_SECURE, /* TLS with the mail server, where requests are looked into */
    CONN_INNER,  /* tunnel open, inner handshake watched */
    CONN_RELAY,
    CONN_HALF,   /* one side has ended, the other goes on */
    CONN_LINGER, /* over: what is queued is delivered */
    CONN_CLOSING,
    CONN_STATES
};

union peer_address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

#define CANDIDATES_MAX 16 /* addresses that are tried */

/* Lists of deadlines on a worker's loop: one for each state, and these. The authorities' clients have theirs
 * behind them, the worker itself the last one. */
enum {
    CONN_LIST_LINGER_EOF = CONN_STATES, /* conn.c */
    CONN_LIST_STEP,                     /* conn_http.c */
    CONN_LISTS
};
_Static_assert((int)CONN_LISTS <= AUTHORITY_DEADLINE_LIST, "connections and authorities share a list");
_Static_assert(AUTHORITY_DEADLINE_LIST + 2 < WORKER_DRAIN_DEADLINE,
               "authorities and the worker share a list");

/* What exists from the end of the handshake until the tunnel is open. */
struct request {
    struct door *door;                   /* owned */
    struct buf early;                    /* what came right behind the request: the tunnel's first bytes */
    struct authority_request *redeeming; /* open, or NULL */
    unsigned next_ref;                   /* which of the tickets is asked about next */
    size_t authority;                    /* whose answer is waited for: index in the runtime */
    bool answered_down;                  /* of an earlier ticket's authority: what follows is what it said */
    struct authority_answer down;
    struct record *ticket;   /* owned, once redeemed */
    struct hostport target;  /* the service */
    struct hostport address; /* what is resolved: the target, or a connect override */
    size_t next_override;    /* of those that are resolved in turn */
    struct resolver_wait wait;
    union peer_address candidates[CANDIDATES_MAX];
    size_t candidate_count, next_candidate;
    int last_error;
    bool overridden; /* the addresses come from connect overrides: not checked */
    struct conn *conn;
};

/* What the log will tell; strings are owned. */
struct story {
    union peer_address client;
    union peer_address backend;
    char *user;
    char *device;
    char *agent;
    char *target;
    char *asked; /* the ID in a ticket that no authority has */
    char *sni;   /* outer */
    char *inner_sni;
    const char *authority; /* borrowed of the runtime */
    const char *cipher;    /* OpenSSL's constants, noted while there is an SSL object: the line is written */
    const char *inner_cipher; /* when it may be gone */
    char ticket[RECORD_FINGERPRINT];
    int8_t door;   /* enum door_kind, -1 */
    bool injected; /* a fault had a hand in how it ended */
    bool unclean;  /* a side ended TLS without close_notify */
    bool resumed;
    bool inner_seen;
    uint64_t requests; /* relayed or answered here */
    uint16_t backend_version;
    const char *backend_cipher;
    uint16_t offered, version, inner_offered, inner_version, inner_cipher_id;
    uint32_t entered_ms[CONN_STATES]; /* since accept, 0: never */
};

struct conn {
    struct list link; /* worker's list */
    struct worker *worker;
    struct worker_runtime *runtime;
    const struct runtime_listener *listener;
    const struct service_settings *service; /* of the runtime's settings, NULL: none configured */
    struct stream client;
    struct stream backend;
    struct deadline deadline;
    uint64_t accepted_ns;
    uint64_t active_ms;      /* last byte either way, for the idle deadline */
    struct request *request; /* owned; NULL outside its time */
    struct tlswatch *watch;  /* owned; NULL when nothing is watched */
    struct http_side *http;  /* owned; NULL: bytes pass untouched */
    struct held *held;       /* the ticket it came with; borrowed of the worker's tunnels, NULL: none */
    struct list ticket_link; /* among the connections of that ticket */
    const char *detail;      /* constant text or NULL */
    uint8_t state;           /* enum conn_state */
    bool draining;           /* its ticket has expired: it ends when it is quiet */
    bool delivered;          /* lingering: all is sent, only the ends of the peers are waited for */
    uint8_t reason;          /* enum reason; REASON_OK until something else is known */
    struct story story;
};

/* conn.c */
void conn_enter(struct conn *c, enum conn_state s);
void conn_touch(struct conn *c); /* bytes have passed */
/* Over: says reason (the first one counts) and closes both sides at once. Return right after. */
void conn_end(struct conn *c, enum reason r, const char *detail);
/* Over, but what is queued is delivered first, end-of-file behind it, within the linger deadline. Return
 * right after. */
void conn_linger(struct conn *c, enum reason r, const char *detail);

/* Its ticket has expired: over as soon as nothing has passed for the linger time. */
void conn_drain(struct conn *c);

/* conn_request.c */
struct request *request_new(struct conn *c);
void request_free(struct request *q); /* NULL is fine */
void conn_request_data(struct conn *c, const uint8_t *data, size_t len);
void conn_refuse(struct conn *c, enum reason r,
                 const char *detail);  /* answers in the door's protocol, then lingers */
void conn_ticket_late(struct conn *c); /* the authority took too long: the next one is asked */
void conn_backend_open(struct conn *c);
void conn_backend_failed(struct conn *c, int code);
void conn_backend_retry(struct conn *c); /* the failed attempt's handle is closed */
void conn_resolve_late(struct conn *c);
void conn_backend_insecure(struct conn *c, int code,
                           const char *detail); /* TLS with the mail server failed */

/* conn_relay.c */
void conn_relay_start(struct conn *c);
void conn_relay_data(struct conn *c, bool from_client, const uint8_t *data, size_t len);
void conn_relay_eof(struct conn *c, bool from_client, bool clean);
/* Lets the watch see what passes; false when the connection ended over it. */
bool conn_relay_watch(struct conn *c, bool from_client, const uint8_t *data, size_t len);
void conn_relay_drained(struct conn *c, bool client);

/* conn_http.c */
void conn_http_scratch_free(struct http_scratch *s); /* the worker's */
struct http_start {
    const struct hostport *target; /* the service */
    bool reverse;                  /* the activesync door */
};
void conn_http_start(struct conn *c, const struct http_start *from);
void conn_http_free(struct conn *c, enum reason r, const char *detail); /* harmless where there is none */
void conn_http_data(struct conn *c, bool from_client, const uint8_t *data, size_t len);
void conn_http_eof(struct conn *c, bool from_client, bool clean);
void conn_http_drained(struct conn *c, bool client);
void conn_http_late(struct conn *c);
void conn_http_drain(struct conn *c);
/* Nothing is under way: no request, no part of one. */
bool conn_http_is_idle(const struct conn *c);

/* conn_story.c */
void story_inner_done(struct conn *c, SSL *ssl);
void story_backend(struct conn *c);           /* TLS with the mail server is up */
const char *story_door(const struct conn *c); /* its name; NULL: none yet */
struct exchange;
/* A line for each; client: its address. */
void story_request(const struct conn *c, const struct exchange *x, const char *client);
char *story_client(const struct conn *c); /* its address as text, given to the caller; NULL: it has none */
void story_hello(struct conn *c, const struct tls_facts *facts);
void story_handshake(struct conn *c); /* the outer handshake is done */
void story_inner(struct conn *c, const struct tls_facts *facts);
void story_trace(const struct conn *c); /* tells the view of a tunnel whose inner handshake was seen */
void story_log(const struct conn *c);
void story_deinit(struct story *s);

#endif
