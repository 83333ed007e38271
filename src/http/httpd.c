/* The HTTP server: its connections and what they may do when. Called by services (STA, ticket API, admin) and
 * by the loop; knows nothing of what is asked. httpd_request.c has the requests.
 *
 * A connection is in one state and in that state's list; enter() sets the deadline that goes with it. What a
 * handler has not answered yet keeps its connection's memory, and its place under connections_max, although
 * the peer may be gone.
 */
#include "httpd_impl.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"

#define LINGER_MS  2000               /* for the peer to end its side: our close is no reset then */
#define BEHIND_MAX (1024 * 1024)      /* never met: reading stops after one read */
#define HEAD_MAX   (64 * 1024)        /* of an answer */
#define HEAD_USUAL 512                /* without fields of the handler's */
#define JOIN_MAX   (16 * 1024)        /* bodies up to this go out in one piece with their head */
#define QUEUED_MAX (64 * 1024 * 1024) /* of all answers that peers have not read yet, together */

const char httpd_wants_tls[] = "plain HTTP on a TLS port: use https://";

static void feed_behind(struct deferred *d);
static void on_deadline(struct deadline *d);

/* ---- states ---- */

static bool is_sent(const struct httpd_conn *c)
{
    return stream_queued(&c->stream) == 0;
}

static void set_deadline(struct httpd_conn *c)
{
    const struct httpd_options *o = &c->h->options;
    unsigned list = o->deadline_list;
    uint64_t ms = o->idle_ms;
    switch ((enum httpd_state)c->state) {
    case HTTPD_HANDSHAKE:
    case HTTPD_READING:
        list++;
        ms = o->request_ms;
        break;
    case HTTPD_IDLE:
    case HTTPD_SENDING:
        break;
    case HTTPD_LAST:
        if (is_sent(c)) {
            list++;
            ms = o->request_ms < LINGER_MS ? o->request_ms : LINGER_MS;
        } else if (c->h->closing) { /* whoever reads slowly must not hold up the end */
            list++;
            ms = o->request_ms;
        }
        break;
    case HTTPD_HANDLING: /* the handler's business */
    case HTTPD_CLOSED:
    case HTTPD_STATES:
        deadline_clear(&c->deadline);
        return;
    }
    c->queued = stream_queued(&c->stream);
    deadline_set(c->h->loop, &c->deadline, list, ms);
}

static void enter(struct httpd_conn *c, enum httpd_state state)
{
    list_remove(&c->link);
    list_append(&c->h->conns[state], &c->link);
    c->state = state;
    set_deadline(c);
}

static void release(struct httpd *h)
{
    assert(h->handles > 0);
    if (--h->handles == 0)
        deferred_schedule(h->loop, &h->done);
}

static void conn_free(struct httpd_conn *c)
{
    struct httpd *h = c->h;
    list_remove(&c->link);
    http_reader_free(c->reader);
    free(c);
    release(h);
}

static void drop(struct httpd_conn *c)
{
    if (c->state == HTTPD_CLOSED)
        return;
    if (c->state != HTTPD_HANDLING) {
        httpd_request_free(c->request);
        c->request = NULL;
        c->h->live--;
    }
    deferred_cancel(&c->later);
    buf_deinit(&c->behind);
    enter(c, HTTPD_CLOSED);
    stream_close(&c->stream);
}

/* Ends an idle connection with the end-of-file, close_notify included, that peers expect. */
static void drop_idle(struct httpd_conn *c)
{
    stream_shutdown(&c->stream);
    drop(c);
}

/* Nothing more is answered on this connection. */
static void finish(struct httpd_conn *c)
{
    stream_shutdown(&c->stream);
    enter(c, HTTPD_LAST);
    if (c->eof && is_sent(c))
        drop(c);
    else
        stream_read_start(&c->stream); /* to be dropped: unread bytes would turn our close into a reset */
}

/* The connection may be used for another request. */
static void go_on(struct httpd_conn *c)
{
    enter(c, HTTPD_IDLE);
    if (c->feeding)
        return; /* feed() sees to it */
    if (c->behind.len > 0 || c->eof)
        deferred_schedule(c->h->loop, &c->later);
    else
        stream_read_start(&c->stream);
}

/* ---- answers ---- */

static void put(struct httpd_conn *c, const void *data, size_t len)
{
    if (c->stream.phase == STREAM_FIRST)
        stream_write_raw(&c->stream, data, len);
    else
        stream_write(&c->stream, data, len);
}

static void send_answer(struct httpd_conn *c, unsigned status, const char *fields, const char *type,
                        const void *body, size_t len, bool keep_alive)
{
    const struct httpd_request *r = c->request;
    bool bodiless = httpd_request_is_head(r) || status == 204 || status == 304;
    struct buf out;
    buf_init(&out, HEAD_MAX + (fields ? strlen(fields) : 0) + JOIN_MAX);
    /* at once: growing would leave copies of it behind that nobody wipes */
    buf_reserve(&out, HEAD_USUAL + (fields ? strlen(fields) : 0) + (len <= JOIN_MAX ? len : 0));
    httpd_head_write(&out, c->h, status, fields, type, len, keep_alive, r != NULL && r->head.minor == 0);
    if (!bodiless && len <= JOIN_MAX)
        buf_append(&out, body, len);
    put(c, out.data, out.len);
    if (!bodiless && len > JOIN_MAX)
        put(c, body, len);
    if (out.data != NULL)
        mem_wipe(out.data, out.len); /* an answer may carry a ticket */
    buf_deinit(&out);
}

static size_t queued_in(const struct list *conns)
{
    size_t sum = 0;
    for (const struct list *l = conns->next; l != conns; l = l->next)
        sum += stream_queued(&list_entry(l, struct httpd_conn, link)->stream);
    return sum;
}

/* Large answers wait in our memory for peers that do not read: where they are too many, those that have had
 * most time to read give way. Small ones are bounded by the number of connections. */
static void make_room(struct httpd *h, size_t len)
{
    struct list *const waiting[] = {&h->conns[HTTPD_SENDING], &h->conns[HTTPD_LAST]};
    size_t sum = len + queued_in(waiting[0]) + queued_in(waiting[1]);
    for (size_t i = 0; i < 2; i++) {
        for (struct list *l = waiting[i]->next; l != waiting[i] && sum > QUEUED_MAX;) {
            struct httpd_conn *c = list_entry(l, struct httpd_conn, link);
            l = l->next;
            sum -= stream_queued(&c->stream);
            if (!is_sent(c))
                drop(c);
        }
    }
}

static void refuse(struct httpd_conn *c, unsigned status, const char *why)
{
    const struct httpd_options *o = &c->h->options;
    char body[1024];
    const char *type = "text/plain";
    if (o->refuse != NULL)
        o->refuse(o->owner, status, why, &type, body);
    else
        snprintf(body, sizeof body, "%u %s: %s\n", status, http_status_text(status), why);
    send_answer(c, status, NULL, type, body, strnlen(body, sizeof body), false);
    httpd_request_free(c->request);
    c->request = NULL;
    finish(c);
}

void httpd_answer(struct httpd_request *r, unsigned status, const char *fields, const char *type,
                  const void *body, size_t len)
{
    static const char too_large[] = "500 Internal Server Error: the answer is too large\n";
    struct httpd_conn *c = r->conn;
    assert(c->request == r && (c->state == HTTPD_HANDLING || c->state == HTTPD_CLOSED));
    bool keep_alive = r->head.keep_alive && !c->h->closing;
    if (len > JOIN_MAX && len <= HTTPD_ANSWER_MAX)
        make_room(c->h, len);
    if (c->state == HTTPD_CLOSED)
        ; /* the peer is gone: nobody to tell */
    else if (len <= HTTPD_ANSWER_MAX)
        send_answer(c, status, fields, type, body, len, keep_alive);
    else
        send_answer(c, 500, NULL, "text/plain", too_large, sizeof too_large - 1, keep_alive);
    httpd_request_free(r);
    c->request = NULL;
    if (c->state == HTTPD_CLOSED) {
        c->h->live--;
        if (c->gone)
            conn_free(c);
    } else if (!keep_alive) {
        finish(c);
    } else if (stream_queued(&c->stream) > STREAM_HIGH_WATER) {
        enter(c, HTTPD_SENDING);
    } else {
        go_on(c);
    }
}

void httpd_drop(struct httpd_request *r)
{
    struct httpd_conn *c = r->conn;
    assert(c->request == r && (c->state == HTTPD_HANDLING || c->state == HTTPD_CLOSED));
    httpd_request_free(r);
    c->request = NULL;
    if (c->state != HTTPD_CLOSED) {
        enter(c, HTTPD_LAST); /* no request is open any more */
        drop(c);
        return;
    }
    c->h->live--;
    if (c->gone)
        conn_free(c);
}

/* ---- requests ---- */

static int on_head(void *owner, const struct http_head *head)
{
    static const char go_ahead[] = "HTTP/1.1 100 Continue\r\n\r\n";
    struct httpd_conn *c = owner;
    const char *expect = http_head_field(head, HTTP_NAME_EXPECT, NULL);
    c->request = httpd_request_new(c, head);
    if (head->content_length > 0 && (uint64_t)head->content_length > c->h->options.body_max)
        return ERR_TOO_BIG;
    if (expect != NULL && head->minor >= 1 && (head->chunked || head->content_length > 0) &&
        http_value_has_token(expect, "100-continue"))
        put(c, go_ahead, sizeof go_ahead - 1);
    return 0;
}

static int on_body(void *owner, const uint8_t *data, size_t len)
{
    struct httpd_conn *c = owner;
    return body_append(&c->request->body, c->h->options.body_max, data, len);
}

static const struct http_events http_events = {.on_head = on_head, .on_body = on_body};

static void handle(struct httpd_conn *c)
{
    const struct httpd_options *o = &c->h->options;
    enter(c, HTTPD_HANDLING);
    c->request->owner = o->owner;
    o->handle(o->owner, c->request);
}

static const char *refusal_text(const struct httpd_conn *c, unsigned status)
{
    return status == 413 ? "the body is larger than is taken here" : http_reader_why(c->reader);
}

/* Reads requests until the input is used up or one has to be waited for: how much was used. */
static size_t feed(struct httpd_conn *c, const uint8_t *data, size_t len)
{
    size_t at = 0;
    c->feeding = true;
    while (at < len && (c->state == HTTPD_IDLE || c->state == HTTPD_READING)) {
        size_t used = 0;
        if (c->state == HTTPD_IDLE)
            enter(c, HTTPD_READING);
        int rc = http_reader_feed(c->reader, data + at, len - at, &used);
        at += used;
        if (rc == HTTP_DONE) {
            handle(c);
        } else if (rc == HTTP_UPGRADE) {
            refuse(c, 501, "this is no proxy: CONNECT is not possible here");
        } else if (rc < 0) {
            unsigned status = http_reader_status(c->reader);
            refuse(c, status, refusal_text(c, status));
        }
    }
    c->feeding = false;
    return at;
}

/* What follows from the state that feed() has left: read on, or let the peer wait. */
static void settle(struct httpd_conn *c)
{
    if (c->state == HTTPD_HANDLING || c->state == HTTPD_SENDING)
        stream_read_stop(&c->stream);
    else if (c->state == HTTPD_IDLE && c->eof)
        drop_idle(c);
    else if (c->state == HTTPD_READING && c->eof)
        drop(c); /* the rest of this request never comes */
    else if (c->state == HTTPD_IDLE || c->state == HTTPD_READING)
        stream_read_start(&c->stream);
}

static void feed_behind(struct deferred *d)
{
    struct httpd_conn *c = list_entry(d, struct httpd_conn, later);
    if (c->state != HTTPD_IDLE)
        return;
    c->behind_at += feed(c, c->behind.data + c->behind_at, c->behind.len - c->behind_at);
    if (c->behind_at == c->behind.len || c->state >= HTTPD_LAST) {
        buf_deinit(&c->behind);
        c->behind_at = 0;
    }
    settle(c);
}

/* ---- connections ---- */

static struct httpd_conn *of_stream(struct stream *s)
{
    return s->owner;
}

static void on_first(struct stream *s, const uint8_t *data, size_t len, bool whole)
{
    struct httpd_conn *c = of_stream(s);
    if (whole) {
        if (stream_start_tls(s, c->h->options.tls, TLS_SERVER) < 0)
            drop(c);
    } else if (!s->tcp_eof && len > 0 && data[0] >= 'A' && data[0] <= 'Z') {
        refuse(c, 400, httpd_wants_tls);
    } else {
        drop(c);
    }
}

static void on_open(struct stream *s)
{
    go_on(of_stream(s));
}

static void on_data(struct stream *s, const uint8_t *data, size_t len)
{
    struct httpd_conn *c = of_stream(s);
    if (c->state >= HTTPD_LAST)
        return;
    size_t used = feed(c, data, len);
    if (used < len && c->state < HTTPD_LAST && buf_append(&c->behind, data + used, len - used) < 0)
        drop(c);
    settle(c);
}

static void on_eof(struct stream *s, bool clean)
{
    struct httpd_conn *c = of_stream(s);
    (void)clean;
    c->eof = true;
    if (c->state == HTTPD_HANDLING || c->state == HTTPD_SENDING)
        return; /* a peer that half-closes still gets its answer */
    if (c->state == HTTPD_LAST && !is_sent(c))
        return;
    if (c->state == HTTPD_IDLE && c->behind.len > 0)
        return;
    if (c->state == HTTPD_IDLE)
        drop_idle(c);
    else
        drop(c);
}

static void on_drained(struct stream *s)
{
    struct httpd_conn *c = of_stream(s);
    if (c->state == HTTPD_SENDING)
        go_on(c);
    else if (c->state == HTTPD_LAST && c->eof)
        drop(c);
    else if (c->state == HTTPD_LAST)
        set_deadline(c); /* all is sent: from now on it is the peer's end that is waited for */
}

static void on_error(struct stream *s, int code, const char *detail)
{
    struct httpd_conn *c = of_stream(s);
    if (code == ERR_TLS && c->state == HTTPD_HANDSHAKE) {
        char peer[ADDRESS_TEXT];
        struct log_line l;
        address_format(&c->peer, peer);
        log_begin(&l, LOG_INFO, "http_tls_failed");
        log_str(&l, "client", peer);
        log_str(&l, "detail", detail);
        log_end(&l);
    }
    drop(c);
}

static void on_closed(struct stream *s)
{
    struct httpd_conn *c = of_stream(s);
    c->gone = true;
    if (c->request == NULL)
        conn_free(c);
}

static const struct stream_events stream_events = {
    .on_first = on_first,
    .on_open = on_open,
    .on_data = on_data,
    .on_eof = on_eof,
    .on_drained = on_drained,
    .on_error = on_error,
    .on_closed = on_closed,
};

static void on_deadline(struct deadline *d)
{
    struct httpd_conn *c = list_entry(d, struct httpd_conn, deadline);
    if (c->state == HTTPD_READING)
        refuse(c, 408, "the request took too long to come");
    else if (c->state == HTTPD_IDLE)
        drop_idle(c);
    else if (c->state != HTTPD_HANDSHAKE && !c->h->closing && stream_queued(&c->stream) < c->queued)
        set_deadline(c); /* slowly, but the peer reads */
    else
        drop(c);
}

/* Makes room for a new connection: whether there was one to spare. */
static bool give_way(struct httpd *h)
{
    struct list *last = &h->conns[HTTPD_LAST], *idle = &h->conns[HTTPD_IDLE];
    for (struct list *l = last->next; l != last; l = l->next) {
        struct httpd_conn *c = list_entry(l, struct httpd_conn, link);
        if (is_sent(c)) {
            drop(c);
            return true;
        }
    }
    if (list_empty(idle))
        return false;
    drop_idle(list_entry(idle->next, struct httpd_conn, link));
    return true;
}

static void on_connection(struct listener *l)
{
    struct httpd *h = l->owner;
    bool tls = h->options.tls != NULL;
    bool room = h->live < h->options.connections_max || give_way(h);
    struct httpd_conn *c = mem_zalloc(sizeof *c);
    c->h = h;
    h->handles++;
    h->live++;
    list_init(&c->link);
    buf_init(&c->behind, BEHIND_MAX);
    deadline_init(&c->deadline, on_deadline);
    deferred_init(&c->later, feed_behind);
    c->reader = http_reader_new(HTTP_REQUEST, &http_events, c);
    stream_init(&c->stream, h->loop, &stream_events, c);
    int rc = stream_accept(&c->stream, listener_handle(l), tls);
    enter(c, tls ? HTTPD_HANDSHAKE : HTTPD_IDLE);
    /* who asks decides on rights: a peer that cannot be told any more has none */
    if (rc < 0 || !room || stream_peer(&c->stream, &c->peer) < 0)
        drop(c);
}

/* ---- the server ---- */

static void on_listener_closed(struct listener *l)
{
    release(l->owner);
}

static void on_done(struct deferred *d)
{
    struct httpd *h = list_entry(d, struct httpd, done);
    void (*closed)(void *) = h->closed;
    void *owner = h->closed_owner;
    SSL_CTX_free(h->options.tls);
    free(h);
    if (closed != NULL)
        closed(owner);
}

struct httpd *httpd_new(struct netloop *loop, int fd, const struct httpd_options *options)
{
    struct httpd *h = mem_zalloc(sizeof *h);
    assert(options->idle_ms > 0 && options->request_ms > 0 && options->connections_max > 0);
    h->loop = loop;
    h->options = *options;
    if (h->options.tls != NULL)
        SSL_CTX_up_ref(h->options.tls);
    for (size_t i = 0; i < HTTPD_STATES; i++)
        list_init(&h->conns[i]);
    deferred_init(&h->done, on_done);
    h->listener.owner = h;
    h->listener.on_connection = on_connection;
    h->listener.on_closed = on_listener_closed;
    h->handles = 1;
    int rc = listener_open(&h->listener, loop, fd);
    assert(rc == 0 && "httpd_new wants a socket that listens");
    (void)rc;
    return h;
}

static void close_all(struct httpd *h, enum httpd_state state, void (*way)(struct httpd_conn *c))
{
    while (!list_empty(&h->conns[state]))
        way(list_entry(h->conns[state].next, struct httpd_conn, link));
}

void httpd_close(struct httpd *h, void (*closed)(void *owner), void *owner)
{
    assert(!h->closing);
    h->closing = true;
    h->closed = closed;
    h->closed_owner = owner;
    listener_close(&h->listener);
    close_all(h, HTTPD_HANDSHAKE, drop);
    close_all(h, HTTPD_IDLE, drop_idle);
    close_all(h, HTTPD_SENDING, finish);
    struct list *last = &h->conns[HTTPD_LAST];
    for (struct list *l = last->next; l != last; l = l->next)
        set_deadline(list_entry(l, struct httpd_conn, link));
}

void httpd_update(struct httpd *h, SSL_CTX *tls, void *owner)
{
    assert((tls != NULL) == (h->options.tls != NULL));
    if (tls != NULL)
        SSL_CTX_up_ref(tls);
    SSL_CTX_free(h->options.tls);
    h->options.tls = tls;
    h->options.owner = owner;
}
