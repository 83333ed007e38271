/* What httpd.c (connections) and httpd_request.c (requests and the text of answers) share. */
#ifndef STAGATE_HTTP_HTTPD_IMPL_H
#define STAGATE_HTTP_HTTPD_IMPL_H

#include "http/httpd.h"

#include <time.h>

#include "base/buf.h"
#include "body.h"
#include "net/listener.h"
#include "net/stream.h"
#include "proto/http.h"

/* In natural order; httpd.c enter() is the only way into one. */
enum httpd_state {
    HTTPD_HANDSHAKE, /* TLS, its first record included */
    HTTPD_IDLE,      /* between requests */
    HTTPD_READING,   /* a request, from its first byte on */
    HTTPD_HANDLING,  /* the handler has it */
    HTTPD_SENDING,   /* more of an answer waits than the next request may be read for */
    HTTPD_LAST,      /* the last answer is being sent, then the peer's end awaited; input is dropped */
    HTTPD_CLOSED,    /* the stream is closing or gone; exists on for a handler that has not answered */
    HTTPD_STATES,
};

struct httpd {
    struct netloop *loop;
    struct httpd_options options; /* tls is ours: counted */
    struct listener listener;
    struct list conns[HTTPD_STATES];
    size_t live;    /* connections that count: open, or with a handler at work */
    size_t handles; /* what has to go before we can: connections, the listener */
    time_t date_s;  /* what the field Date says, and how */
    char date[40];
    bool closing;
    struct deferred done;
    void (*closed)(void *owner);
    void *closed_owner;
};

struct httpd_conn {
    struct list link; /* of httpd.conns[state] */
    struct httpd *h;
    struct stream stream;
    struct deadline deadline;
    struct deferred later; /* goes on with `behind` */
    struct http_reader *reader;
    struct httpd_request *request; /* being read or handled; owned */
    struct buf behind;             /* input that came with a request and follows it */
    size_t behind_at;              /* how much of it is used up */
    size_t queued;                 /* when the deadline was set: less means that the peer reads */
    uint8_t state;                 /* enum httpd_state */
    bool feeding;                  /* inside feed() */
    bool eof;                      /* the peer says nothing more */
    bool gone;                     /* on_closed has come */
    struct sockaddr_storage peer;
};

struct httpd_request {
    struct httpd_conn *conn;
    void *owner; /* of the server, when the request came */
    void *data;  /* the handler's */
    struct http_head head;
    const char *path;
    const char *query;
    struct body body;
    bool certificate;
    size_t text_bytes;
    char text[]; /* all strings of the head; wiped */
};

struct httpd_request *httpd_request_new(struct httpd_conn *c, const struct http_head *head);
void httpd_request_free(struct httpd_request *r); /* NULL is harmless */
bool httpd_request_is_head(const struct httpd_request *r);

/* Appends status line and fields of an answer. */
void httpd_head_write(struct buf *out, struct httpd *h, unsigned status, const char *fields, const char *type,
                      size_t len, bool keep_alive, bool old);

#endif
