/* An HTTP/1.1 server on one loop, for small requests and small answers: the STA service, the ticket API, the
 * admin API. Bodies are collected; a relay is something else. Reads heads with proto/http, so everything that
 * is refused there is answered 400, 413, 431, 501 or 505 here and ends that connection only.
 *
 * One request at a time on a connection: what is pipelined behind it waits (bounded: reading stops). The
 * handler answers at once or later, from the same loop, exactly once; a request stays valid until it is
 * answered, also when the peer has gone meanwhile (the answer is dropped then).
 */
#ifndef STAGATE_HTTP_HTTPD_H
#define STAGATE_HTTP_HTTPD_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "net/netloop.h"
#include "proto/http.h"

struct httpd;         /* one listening socket and its connections */
struct httpd_request; /* one request being handled */

struct httpd_options {
    SSL_CTX *tls;           /* borrowed, counted up; NULL: plain */
    size_t body_max;        /* more is 413 */
    size_t connections_max; /* at the limit the one idle longest gives way; where none is idle, the new one is
                               closed */
    uint64_t idle_ms;       /* between requests: then the connection is closed */
    uint64_t request_ms;    /* from a request's first byte to its last, and for the TLS handshake; then 408 */
    unsigned deadline_list; /* two of the loop's lists of deadlines: this one and the next */
    const char *server;     /* Server field, constant; NULL: none */
    void (*handle)(void *owner, struct httpd_request *r);
    /* Answers what is malformed before it reaches handle, so that an XML service can do it in XML: fills type
     * and body (of at most 1 KB). NULL: text/plain with the status text. */
    void (*refuse)(void *owner, unsigned status, const char *why, const char **type, char body[1024]);
    void *owner;
};
extern const char httpd_wants_tls[]; /* refuse's why (the same pointer) where plain HTTP came to a TLS port */

/* Serves a bound, listening socket (net/listener.h; TCP or Unix), owned from now on. */
struct httpd *httpd_new(struct netloop *loop, int fd, const struct httpd_options *options);
/* No new connections, idle ones are closed, open requests are waited for (and their answers' way to the
 * peers, for request_ms); then closed(owner) from a later turn and the server is gone. closed may be NULL.
 * Changing options: see httpd_set_owner. */
void httpd_close(struct httpd *h, void (*closed)(void *owner), void *owner);
/* A reload: new TLS context for connections to come (NULL where it was), new owner for handle and refuse from
 * the next request on. */
void httpd_update(struct httpd *h, SSL_CTX *tls, void *owner);

/* ---- a request; everything is borrowed until it is answered ---- */
const char *httpd_method(const struct httpd_request *r);
const char *httpd_path(const struct httpd_request *r);  /* as sent, up to the '?' */
const char *httpd_query(const struct httpd_request *r); /* behind the '?', "" if there is none */
/* The only field of that name; NULL if there is none or more than one; *count (may be NULL) says how many. */
const char *httpd_field(const struct httpd_request *r, enum http_name name, size_t *count);
const uint8_t *httpd_body(const struct httpd_request *r, size_t *len);
const struct sockaddr_storage *httpd_peer(const struct httpd_request *r); /* AF_UNIX on a Unix socket */
bool httpd_is_tls(const struct httpd_request *r);
bool httpd_has_client_certificate(const struct httpd_request *r); /* one that was verified */
/* For the handler's own use: NULL at first. */
void httpd_set_data(struct httpd_request *r, void *data);
void *httpd_data(const struct httpd_request *r);
void *httpd_request_owner(const struct httpd_request *r);

/* Answers; the request is gone afterwards. fields: further header lines, each with its CRLF, or NULL. type
 * NULL: no Content-Type. HEAD gets no body. Content-Length is sent except with 204 and 304; "Cache-Control:
 * no-store" and Date always. More than HTTPD_ANSWER_MAX bytes are answered 500. Where peers leave more than
 * twice that unread, those that were answered first are closed. */
#define HTTPD_ANSWER_MAX (32 * 1024 * 1024)
void httpd_answer(struct httpd_request *r, unsigned status, const char *fields, const char *type,
                  const void *body, size_t len);

/* Closes the connection without an answer; the request is gone. For administrators who want to see what a
 * dead server looks like. */
void httpd_drop(struct httpd_request *r);

/* The value of a query's parameter, percent-decoded ('+' is a blank), NUL-terminated; false when it is not
 * there, is longer than cap - 1, or decodes to a NUL. */
bool httpd_query_value(const char *query, const char *name, char *dst, size_t cap);

#endif
