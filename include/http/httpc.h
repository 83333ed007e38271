/* An HTTP/1.1 client for one origin on one loop: a pool of kept-alive connections, a bounded queue,
 * deadlines. For asking remote authorities and for the commands that speak to the admin socket.
 *
 * A request is sent once. Only one that met a kept-alive connection which turned out closed before a byte of
 * the answer came is sent again on a new connection, and that only when it says that it may be
 * (`repeatable`): a single use must not be spent twice. Redirects are answers like others.
 */
#ifndef STAGATE_HTTP_HTTPC_H
#define STAGATE_HTTP_HTTPC_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/netloop.h"
#include "net/resolver.h"
#include "proto/hostport.h"

struct httpc;
struct httpc_request; /* open; owned by the client until its callback */

struct httpc_options {
    struct hostport origin; /* where to connect, and the Host field; not used with unix_path */
    const char *unix_path;  /* NULL: TCP. Borrowed until httpc_new returns */
    SSL_CTX *tls; /* borrowed, counted up; NULL: plain. Verifies the peer and its name as the context
                     and origin say (IP address or DNS name) */
    struct resolver *resolver; /* borrowed; may be NULL when origin is an IP literal or unix_path is set */
    size_t connections_max;    /* at once; more requests wait */
    size_t queue_max;          /* waiting requests; more fail with HTTPC_OVERLOADED */
    uint64_t connect_ms;       /* resolving, each address, and TLS: each takes so long at most */
    uint64_t answer_ms;        /* from the call to the whole answer, waiting and connecting included */
    uint64_t keep_ms;          /* an idle connection is closed after this: before the server does it */
    unsigned deadline_list;    /* two of the loop's lists of deadlines: this one and the next */
    size_t body_max;           /* of an answer */
};

/* What came of a request. The text is for a person and for log and metrics: "connection_refused". */
enum httpc_result {
    HTTPC_OK,         /* an HTTP answer, whatever its status */
    HTTPC_UNRESOLVED, /* the name has no address */
    HTTPC_REFUSED,    /* no connection: refused, unreachable */
    HTTPC_CONNECT_TIMEOUT,
    HTTPC_TLS,      /* the handshake failed (certificate not trusted, wrong name, no common version) */
    HTTPC_NOT_TLS,  /* https spoken to a port that does not speak TLS */
    HTTPC_NOT_HTTP, /* what answered is no HTTP; http spoken to a TLS port comes out here (a TLS alert) */
    HTTPC_CLOSED,   /* closed or reset before the whole answer came, or in the TLS handshake */
    HTTPC_TIMEOUT,  /* no whole answer in time, though a connection was made */
    HTTPC_TOO_BIG,
    HTTPC_OVERLOADED, /* too many requests wait */
    HTTPC_RESULTS
};
const char *httpc_result_name(enum httpc_result r); /* "ok", "unresolved", "refused", "connect_timeout",
                                                       "tls", "not_tls", "not_http", "closed", "timeout",
                                                       "too_big", "overloaded" */

struct httpc_answer {
    enum httpc_result result;
    const char
        *detail; /* constant text beside the result (OpenSSL's, libuv's), NULL if there is nothing to add */
    unsigned status;  /* HTTPC_OK */
    const char *type; /* Content-Type, "" if none */
    const uint8_t *body;
    size_t len;
};
/* From the loop, never inside httpc_send; the answer is borrowed. */
typedef void httpc_cb(void *owner, const struct httpc_answer *answer);

struct httpc *httpc_new(struct netloop *loop, const struct httpc_options *options);
/* Open requests end without their callbacks; closed(owner) comes from a later turn, and the client is gone.
 */
void httpc_close(struct httpc *c, void (*closed)(void *owner), void *owner);

/* path: with its query, percent-encoded; a blank, a line end or CONNECT is a programming error. fields:
 * further header lines, each with its CRLF, or NULL. body is copied; NULL with len 0: none. What is copied is
 * wiped afterwards. */
struct httpc_request *httpc_send(struct httpc *c, const char *method, const char *path, const char *fields,
                                 const char *type, const void *body, size_t len, bool repeatable,
                                 httpc_cb *cb, void *owner);
/* The callback will not run. A request already sent takes its connection with it. */
void httpc_cancel(struct httpc_request *r);
size_t httpc_connections(const struct httpc *c); /* open now */

#endif
