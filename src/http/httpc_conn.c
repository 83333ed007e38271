/* Connections of the HTTP client: resolving, trying addresses, TLS, one exchange after the other. Called by
 * httpc.c and by the loop; knows requests only as bytes to send and an answer to collect, and calls nobody
 * outside: results are left with httpc_finish().
 *
 * A connection is not made for a certain request: when it is open it takes the one that has waited longest,
 * and when it cannot be made, that one is told.
 */
#include "httpc_impl.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"

static const struct http_events http_events;
static const struct stream_events stream_events;

/* ---- states ---- */

static bool is_opening(enum httpc_state state)
{
    return state < HTTPC_IDLE;
}

static void enter(struct httpc_conn *k, enum httpc_state state)
{
    struct httpc *c = k->c;
    const struct httpc_options *o = &c->options;
    c->opening -= is_opening(k->state);
    c->opening += is_opening(state);
    list_remove(&k->link);
    list_append(&c->conns[state], &k->link);
    k->state = state;
    if (state == HTTPC_BUSY || state == HTTPC_GONE) /* the request has a deadline of its own */
        deadline_clear(&k->deadline);
    else
        deadline_set(c->loop, &k->deadline, o->deadline_list + 1,
                     state == HTTPC_IDLE ? o->keep_ms : o->connect_ms);
}

static void conn_free(struct httpc_conn *k)
{
    struct httpc *c = k->c;
    list_remove(&k->link);
    http_reader_free(k->reader);
    free(k);
    c->handles--;
    httpc_wake(c);
}

void httpc_conn_drop(struct httpc_conn *k)
{
    if (k->state == HTTPC_GONE)
        return;
    if (k->request != NULL) {
        k->request->conn = NULL;
        k->request = NULL;
    }
    resolver_cancel(&k->wait);
    k->c->live--;
    enter(k, HTTPC_GONE);
    httpc_wake(k->c); /* there is room for another */
    if (k->stream.phase == STREAM_IDLE) {
        conn_free(k); /* between two addresses, or before the first: nothing is open */
        return;
    }
    stream_shutdown(&k->stream); /* the end-of-file, close_notify included, that servers expect */
    stream_close(&k->stream);
}

struct httpc_conn *httpc_conn_idle(struct httpc *c, bool oldest)
{
    struct list *idle = &c->conns[HTTPC_IDLE];
    return list_empty(idle) ? NULL : list_entry(oldest ? idle->next : idle->prev, struct httpc_conn, link);
}

/* ---- opening ---- */

static void fail_opening(struct httpc_conn *k, enum httpc_result result, const char *detail)
{
    struct httpc_request *r = httpc_first_waiting(k->c);
    if (r != NULL)
        httpc_finish(r, result, detail);
    httpc_conn_drop(k);
}

static void note_failure(struct httpc_conn *k, int code)
{
    k->result = code == UV_ETIMEDOUT    ? HTTPC_CONNECT_TIMEOUT
                : code == UV_ECONNRESET ? HTTPC_CLOSED /* it was open, before we could see it */
                                        : HTTPC_REFUSED;
    k->detail = err_text(code);
}

static int connect_next(struct httpc_conn *k)
{
    if (k->c->unix_path != NULL) {
        k->next++;
        return stream_connect_unix(&k->stream, k->c->unix_path);
    }
    struct sockaddr *address = &k->addresses.item[k->next].any;
    uint16_t port = htons(k->c->options.origin.port);
    if (address->sa_family == AF_INET6)
        k->addresses.item[k->next].v6.sin6_port = port;
    else
        k->addresses.item[k->next].v4.sin_port = port;
    k->next++;
    return stream_connect(&k->stream, address);
}

/* Tries the next address; what becomes of it comes from the loop. */
static void try_next(struct httpc_conn *k)
{
    if (k->next == k->addresses.count) {
        fail_opening(k, k->result, k->detail);
        return;
    }
    enter(k, HTTPC_CONNECTING);
    int rc = connect_next(k);
    if (rc < 0) {
        note_failure(k, rc);
        stream_close(&k->stream); /* on_closed goes on with the next */
    }
}

static void on_resolved(struct resolver_wait *w, int rc, const struct address_list *addresses)
{
    struct httpc_conn *k = list_entry(w, struct httpc_conn, wait);
    if (rc < 0) {
        fail_opening(k, HTTPC_UNRESOLVED, err_text(rc));
        return;
    }
    k->addresses = *addresses;
    try_next(k);
}

/* The addresses where they need not be waited for: 1 when they are there, 0 when they will come. */
static int find_addresses(struct httpc_conn *k)
{
    const struct hostport *origin = &k->c->options.origin;
    struct sockaddr_storage sa;
    if (k->c->unix_path != NULL) {
        k->addresses.count = 1; /* its name is its address */
        return 1;
    }
    if (origin->kind == HOSTPORT_NAME)
        return resolver_ask(k->c->options.resolver, origin->host, &k->wait, &k->addresses);
    int rc = hostport_sockaddr(origin, &sa);
    if (rc < 0)
        return rc;
    k->addresses.count = 1;
    memcpy(&k->addresses.item[0], &sa, sizeof k->addresses.item[0]);
    return 1;
}

static void on_deadline(struct deadline *d)
{
    struct httpc_conn *k = list_entry(d, struct httpc_conn, deadline);
    if (k->state == HTTPC_RESOLVING) {
        fail_opening(k, HTTPC_CONNECT_TIMEOUT, "the resolver did not answer in time");
    } else if (k->state == HTTPC_CONNECTING) {
        note_failure(k, UV_ETIMEDOUT);
        stream_close(&k->stream);
    } else if (k->state == HTTPC_HANDSHAKE) {
        fail_opening(k, HTTPC_CONNECT_TIMEOUT, "the TLS handshake took too long");
    } else {
        httpc_conn_drop(k);
    }
}

void httpc_conn_open(struct httpc *c)
{
    struct httpc_conn *k = mem_zalloc(sizeof *k);
    k->c = c;
    k->state = HTTPC_GONE; /* not counted among those opening yet */
    k->wait.done = on_resolved;
    list_init(&k->link);
    list_init(&k->wait.link);
    deadline_init(&k->deadline, on_deadline);
    stream_init(&k->stream, c->loop, &stream_events, k);
    c->handles++;
    c->live++;
    enter(k, HTTPC_RESOLVING);
    int rc = find_addresses(k);
    if (rc < 0)
        fail_opening(k, HTTPC_UNRESOLVED, err_text(rc));
    else if (rc > 0)
        try_next(k);
}

/* Open: takes a request, or waits for one. */
static void ready(struct httpc_conn *k)
{
    struct httpc_request *r = httpc_first_waiting(k->c);
    k->reader = http_reader_new(HTTP_RESPONSE, &http_events, k);
    stream_read_start(&k->stream); /* idle as well: so that its end is noticed */
    enter(k, HTTPC_IDLE);
    if (r != NULL)
        httpc_conn_send(k, r);
    else
        k->kept = true;
}

/* ---- an exchange ---- */

void httpc_conn_send(struct httpc_conn *k, struct httpc_request *r)
{
    assert(k->state == HTTPC_IDLE);
    httpc_sent(r, k);
    k->request = r;
    k->answered = false;
    enter(k, HTTPC_BUSY);
    http_reader_expect(k->reader, r->head ? "HEAD" : "GET");
    stream_write(&k->stream, r->wire.data, r->wire.len);
}

static void fail_exchange(struct httpc_conn *k, enum httpc_result result, const char *detail)
{
    httpc_finish(k->request, result, detail);
    httpc_conn_drop(k);
}

/* The connection ended before the answer did. */
static void fail_broken(struct httpc_conn *k, const char *detail)
{
    struct httpc_request *r = k->request;
    /* a kept connection that the server had closed already: nothing was done with what we sent, most likely
     */
    if (k->kept && !k->answered && r->repeatable && !r->again)
        httpc_send_again(r);
    else
        httpc_finish(r, HTTPC_CLOSED, detail);
    httpc_conn_drop(k);
}

static void complete(struct httpc_conn *k, bool reusable)
{
    struct httpc_request *r = k->request;
    /* a server that answers before it has read everything may not want to read the rest */
    reusable = reusable && r->keep_alive && stream_queued(&k->stream) == 0;
    httpc_finish(r, HTTPC_OK, NULL);
    if (!reusable) {
        httpc_conn_drop(k);
        return;
    }
    k->kept = true;
    enter(k, HTTPC_IDLE);
}

static int on_head(void *owner, const struct http_head *head)
{
    struct httpc_conn *k = owner;
    struct httpc_request *r = k->request;
    const char *type = http_head_field(head, HTTP_NAME_CONTENT_TYPE, NULL);
    r->status = head->status;
    r->keep_alive = head->keep_alive;
    free(r->type);
    r->type = mem_strdup(type);
    if (!r->head && head->content_length > 0 && (uint64_t)head->content_length > k->c->options.body_max)
        return ERR_TOO_BIG;
    return 0;
}

static int on_body(void *owner, const uint8_t *data, size_t len)
{
    struct httpc_conn *k = owner;
    return body_append(&k->request->body, k->c->options.body_max, data, len);
}

static const struct http_events http_events = {.on_head = on_head, .on_body = on_body};

static bool is_interim(const struct httpc_request *r)
{
    return r->status / 100 == 1;
}

static void take_answer(struct httpc_conn *k, const uint8_t *data, size_t len)
{
    if (!k->answered && data[0] != 'H') {
        k->answered = true;
        fail_exchange(k, HTTPC_NOT_HTTP,
                      data[0] == SSL3_RT_ALERT ? "a TLS alert came: the port speaks TLS"
                                               : "what came begins like no HTTP response");
        return;
    }
    k->answered = true;
    while (len > 0) {
        size_t used = 0;
        int rc = http_reader_feed(k->reader, data, len, &used);
        data += used;
        len -= used;
        if (rc < 0) {
            bool ours = rc == ERR_TOO_BIG && http_reader_status(k->reader) == 413;
            fail_exchange(k, rc == ERR_TOO_BIG ? HTTPC_TOO_BIG : HTTPC_NOT_HTTP,
                          ours ? "the body is larger than is taken here" : http_reader_why(k->reader));
            return;
        }
        if (rc == HTTP_DONE && !is_interim(k->request)) {
            complete(k, len == 0); /* what nobody asked for makes the connection useless */
            return;
        }
    }
}

/* ---- the stream ---- */

static struct httpc_conn *of_stream(struct stream *s)
{
    return s->owner;
}

static void on_open(struct stream *s)
{
    struct httpc_conn *k = of_stream(s);
    const struct httpc_options *o = &k->c->options;
    if (k->state == HTTPC_HANDSHAKE || o->tls == NULL) {
        ready(k);
        return;
    }
    enter(k, HTTPC_HANDSHAKE);
    if (stream_start_tls_client(s, o->tls, o->origin.host, NULL) < 0)
        fail_opening(k, HTTPC_TLS, "OpenSSL could not start a connection");
}

static void on_data(struct stream *s, const uint8_t *data, size_t len)
{
    struct httpc_conn *k = of_stream(s);
    if (k->state == HTTPC_BUSY)
        take_answer(k, data, len);
    else
        httpc_conn_drop(k); /* nobody asked */
}

static void on_eof(struct stream *s, bool clean)
{
    struct httpc_conn *k = of_stream(s);
    if (k->state != HTTPC_BUSY) {
        httpc_conn_drop(k);
        return;
    }
    bool whole = k->answered && http_reader_finish(k->reader) == HTTP_DONE;
    if (whole && clean) /* an answer without a length ends so; cut off by somebody else, it would not */
        complete(k, false);
    else
        fail_broken(k, clean ? "closed before the whole answer came" : "TLS ended without close_notify");
}

static void on_error(struct stream *s, int code, const char *detail)
{
    struct httpc_conn *k = of_stream(s);
    if (k->state == HTTPC_CONNECTING) {
        note_failure(k, code);
        deadline_clear(&k->deadline);
        stream_close(s);
    } else if (k->state == HTTPC_HANDSHAKE && code == ERR_TLS) {
        fail_opening(k, tls_is_not_tls(detail) ? HTTPC_NOT_TLS : HTTPC_TLS, detail);
    } else if (k->state == HTTPC_HANDSHAKE) {
        fail_opening(k, HTTPC_CLOSED, detail);
    } else if (k->state == HTTPC_BUSY && code == ERR_TLS && !k->answered) {
        /* TLS 1.3: that the server does not like our certificate comes behind the handshake */
        fail_exchange(k, HTTPC_TLS, detail);
    } else if (k->state == HTTPC_BUSY) {
        fail_broken(k, detail);
    } else {
        httpc_conn_drop(k);
    }
}

static void on_closed(struct stream *s)
{
    struct httpc_conn *k = of_stream(s);
    if (k->state == HTTPC_CONNECTING)
        try_next(k);
    else
        conn_free(k);
}

static const struct stream_events stream_events = {
    .on_open = on_open,
    .on_data = on_data,
    .on_eof = on_eof,
    .on_error = on_error,
    .on_closed = on_closed,
};
