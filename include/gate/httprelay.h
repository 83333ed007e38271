/* The HTTP relay, without I/O: requests of one client connection to one connection of the mail server, in
 * order, one at a time. Bytes of either side in, bytes for both sides out. Used by conn_http.c for the relays
 * http and inspect and for the activesync door; by tests and fuzzers without sockets.
 *
 * Strict at both ends (proto/http.h): heads are parsed and written anew, bodies decoded and chunked again, so
 * that nothing reaches the other side that was understood in another way here. Requests are held against the
 * service's rules (gate/easrules.h) before their head goes on; where the body's root has to agree with the
 * command (proto/eas.h), the head is held back until it is seen. Bodies are not kept.
 */
#ifndef STAGATE_GATE_HTTPRELAY_H
#define STAGATE_GATE_HTTPRELAY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "gate/easrules.h"
#include "gate/reason.h"
#include "gate/settings.h"
#include "proto/eas.h"
#include "proto/http.h"

/* Of one request, from its head on. Texts are owned by the relay. */
struct exchange {
    bool active;
    enum reason reason; /* REASON_OK unless the gateway answered it, or it failed */
    const char *detail; /* constant or NULL */
    char method[16];
    char *path; /* without the query */
    char *agent;
    char *location;           /* where the answer sends the client; NULL: nowhere */
    bool location_listed;     /* that is on the list of services */
    char user[EAS_VALUE_MAX]; /* who signs in by Basic */
    enum eas_path kind;
    struct eas_query query;
    unsigned version;     /* claimed, times ten; 0: none */
    unsigned status;      /* of the final answer; 0: none yet */
    unsigned heartbeat_s; /* asked for; 0: no wait, or not told */
    uint64_t up, down;    /* bytes of bodies */
    uint64_t started_ns;
};

struct httprelay;

struct httprelay_events { /* all may be NULL but on_done; data are borrowed */
    void (*on_request)(void *owner, const struct exchange *x, const struct http_head *head);
    void (*on_body)(void *owner, bool from_client, const uint8_t *data, size_t len);
    void (*on_answer)(void *owner, const struct exchange *x, const struct http_head *head);
    void (*on_done)(void *owner, const struct exchange *x); /* for the log */
    /* Whether a URL's target is on the list of services: redirects are held against it. */
    bool (*is_listed)(void *owner, const struct hostport *target);
};

struct httprelay_options { /* borrowed for the relay's life but for the texts, which are copied */
    const struct service_settings *service;
    const struct hostport *target; /* the service's name */
    bool plain_backend;            /* the mail server is spoken to without TLS */
    bool reverse;                  /* the activesync door */
    const char *user;              /* the ticket's; "" or NULL: it has none */
    const char *client;            /* address, without port, for X-Forwarded-For */
    const struct httprelay_events *events;
    void *owner;
};

struct httprelay *httprelay_new(const struct httprelay_options *options);
/* An exchange that is not over is told by on_done with this reason. */
void httprelay_free(struct httprelay *r, enum reason reason, const char *detail);

/* What has come; all of it is taken. What has to be sent is appended to both buffers, in order. */
struct httprelay_out {
    struct buf *client, *backend;
};
void httprelay_client_data(struct httprelay *r, const uint8_t *data, size_t len, struct httprelay_out *out);
void httprelay_backend_data(struct httprelay *r, const uint8_t *data, size_t len, struct httprelay_out *out);
/* clean: TLS ended with close_notify, or there is no TLS. */
void httprelay_client_eof(struct httprelay *r, struct httprelay_out *out);
void httprelay_backend_eof(struct httprelay *r, bool clean, struct httprelay_out *out);

/* The client has taken what was sent: requests that came ahead of their turn go on. */
void httprelay_resume(struct httprelay *r, struct httprelay_out *out);

/* What is waited for, and so how long. */
enum httprelay_wait {
    HTTPRELAY_NEXT,    /* the next request */
    HTTPRELAY_HEAD,    /* the rest of a request's head */
    HTTPRELAY_REQUEST, /* the rest of its body */
    HTTPRELAY_ANSWER,  /* the mail server */
    HTTPRELAY_BEAT,    /* the answer to a Ping or a hanging Sync: httprelay_beat_ms */
};
enum httprelay_wait httprelay_wait(const struct httprelay *r);
uint64_t httprelay_beat_ms(const struct httprelay *r);
/* It has been waited long enough: answers what can be answered; the end follows. */
void httprelay_late(struct httprelay *r, struct httprelay_out *out);

/* Whether more of the client's bytes may come: false while it has sent a lot ahead of its turn. */
bool httprelay_wants_client(const struct httprelay *r);
/* Over: what is in the buffers is still to be sent, nothing more comes. */
bool httprelay_is_over(const struct httprelay *r, enum reason *reason, const char **detail);
/* The mail server's connection is of no use any more, while the client is still answered. */
bool httprelay_has_dropped_backend(const struct httprelay *r);

#endif
