/* One phase after the other, forwards only; what fails in a phase says so by its kind. */
#include "channel.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"

#define PLAIN_BYTES (64 * 1024)

static const char *const phase_names[] = {"idle", "TCP", "TLS", "tunnel", "inner TLS", "open", "closing"};

static int slot_index = -1; /* ex_data: SSL_SESSION ** where a new session goes */

void wire_init(struct wire *w, struct netloop *loop, unsigned deadline_list, uint64_t open_ms)
{
    *w = (struct wire){.loop = loop, .deadline_list = deadline_list, .open_ms = open_ms, .resume = true};
    w->plain = mem_alloc(PLAIN_BYTES);
    buf_init(&w->out, 1024 * 1024 * 1024);
}

void wire_deinit(struct wire *w)
{
    free(w->plain);
    buf_deinit(&w->out);
}

/* ---- sessions ---- */

static int on_session(SSL *ssl, SSL_SESSION *session)
{
    SSL_SESSION **slot = SSL_get_ex_data(ssl, slot_index);
    if (slot == NULL)
        return 0;
    SSL_SESSION_free(*slot);
    *slot = session;
    return 1;
}

void channel_prepare_context(SSL_CTX *ctx)
{
    if (slot_index < 0)
        slot_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, NULL);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(ctx, on_session);
}

/* ---- phases ---- */

static void enter(struct channel *c, enum channel_phase phase)
{
    c->wire->open -= c->phase == CHANNEL_OPEN;
    c->phase = (uint8_t)phase;
    c->wire->open += phase == CHANNEL_OPEN;
}

/* How long the phase that ends now took. */
static uint64_t lap_us(struct channel *c)
{
    uint64_t now = clock_mono_ns(), us = (now - c->since_ns) / 1000;
    c->since_ns = now;
    return us > 0 ? us : 1;
}

static void forget_credential(struct channel *c)
{
    if (c->credential != NULL)
        mem_wipe(c->credential, strlen(c->credential));
    free(c->credential);
    c->credential = NULL;
}

static void end(struct channel *c, const char *kind, const char *fmt, const char *what)
{
    struct failure why = {.kind = ""};
    if (c->ended || c->phase == CHANNEL_CLOSING || c->phase == CHANNEL_IDLE)
        return;
    c->ended = true;
    c->failed_in = c->phase;
    deadline_clear(&c->deadline);
    if (c->refusal != NULL)
        why = *c->refusal;
    else
        failure_set(&why, kind, fmt, what);
    c->events->on_end(c, &why);
}

static void opened(struct channel *c)
{
    deadline_clear(&c->deadline);
    forget_credential(c);
    enter(c, CHANNEL_OPEN);
    c->events->on_open(c);
}

/* ---- inner TLS ---- */

static void send_sealed(struct channel *c)
{
    struct buf *out = &c->wire->out;
    if (out->len > 0)
        stream_write(&c->stream, out->data, out->len);
    out->len = 0;
}

static void lend(struct channel *c, const uint8_t *data, size_t len)
{
    c->inner.in = data;
    c->inner.in_len = len;
    c->inner.out = &c->wire->out;
}

static void shake_inner(struct channel *c)
{
    enum tls_result r = tls_handshake(&c->inner);
    send_sealed(c);
    if (r == TLS_FAIL && tls_is_not_tls(c->inner.error)) {
        end(c, "inner_not_tls", "the mail server speaks no TLS (%s)", c->inner.error);
    } else if (r == TLS_FAIL) {
        end(c, "inner_tls", "TLS with the mail server: %s", c->inner.error);
    } else if (r == TLS_OK) {
        c->times.inner_us = lap_us(c);
        c->inner_resumed = SSL_session_reused(c->inner.ssl) == 1;
        opened(c);
    }
}

static void start_inner(struct channel *c)
{
    enter(c, CHANNEL_INNER);
    if (tls_start(&c->inner, c->offer->inner, TLS_CLIENT) < 0 ||
        tls_set_host(&c->inner, c->route->target.host) < 0) {
        end(c, "inner_tls", "%s", "OpenSSL could not start a connection");
        return;
    }
    if (c->wire->resume) {
        SSL_set_ex_data(c->inner.ssl, slot_index, &c->inner_session);
        if (c->inner_session != NULL)
            SSL_set_session(c->inner.ssl, c->inner_session);
    }
    lend(c, NULL, 0);
    shake_inner(c);
}

static void read_inner(struct channel *c)
{
    enum tls_result r = TLS_OK;
    while (c->phase == CHANNEL_OPEN && !c->ended && r == TLS_OK) {
        size_t n = 0;
        r = tls_read(&c->inner, c->wire->plain, PLAIN_BYTES, &n);
        send_sealed(c);
        if (n > 0)
            c->events->on_data(c, c->wire->plain, n);
    }
    if (r == TLS_EOF)
        end(c, "closed", "%s", "the mail server ended the connection");
    else if (r == TLS_FAIL)
        end(c, "inner_tls", "TLS with the mail server: %s", c->inner.error);
}

/* ---- tunnel ---- */

static void tunnel_open(struct channel *c)
{
    c->times.tunnel_us = lap_us(c);
    http_reader_free(c->head);
    c->head = NULL;
    if (c->route->inner_tls)
        start_inner(c);
    else
        opened(c);
}

static int on_connect_head(void *owner, const struct http_head *h)
{
    struct channel *c = owner;
    char kind[FAILURE_KIND];
    const char *reason = http_head_field(h, HTTP_NAME_X_STAGATE_REASON, NULL);
    if (h->status / 100 == 2)
        return 0;
    if (reason != NULL)
        mem_copy_text(kind, sizeof kind, reason);
    else
        snprintf(kind, sizeof kind, "connect_%u", h->status);
    if (c->refusal == NULL)
        c->refusal = mem_alloc(sizeof *c->refusal);
    failure_set(c->refusal, kind, "the gateway refused the tunnel with HTTP %u", h->status);
    return ERR_CLOSED;
}

/* Bytes of the reply; what stands behind it is returned as offset. 0: not whole yet, or refused. */
static size_t read_socks(struct channel *c, const uint8_t *data, size_t len)
{
    size_t used = 0;
    int rc = socks5_client_feed(&c->socks, data, len, &used);
    if (rc == SOCKS5_DONE && c->socks.code == 0)
        return used;
    if (rc == SOCKS5_DONE) {
        char kind[FAILURE_KIND];
        snprintf(kind, sizeof kind, "socks_%u", c->socks.code);
        end(c, kind, "the gateway refused the tunnel: %s", socks5_code_text(c->socks.code));
    } else if (rc < 0) {
        end(c, "not_socks", "%s", "the gateway's answer is no SOCKS5");
    }
    return 0;
}

static size_t read_connect(struct channel *c, const uint8_t *data, size_t len)
{
    size_t used = 0;
    int rc = http_reader_feed(c->head, data, len, &used);
    if (rc == HTTP_UPGRADE)
        return used;
    if (rc < 0 || rc == HTTP_DONE)
        end(c, "not_http", "CONNECT's answer: %s", http_reader_why(c->head));
    return 0;
}

static void read_tunnel(struct channel *c, const uint8_t *data, size_t len)
{
    size_t used = c->route->door == DOOR_SOCKS ? read_socks(c, data, len) : read_connect(c, data, len);
    if (used == 0)
        return;
    tunnel_open(c);
    if (used < len && !c->ended && c->phase != CHANNEL_CLOSING)
        c->stream.events->on_data(&c->stream, data + used, len - used);
}

static void ask_socks(struct channel *c)
{
    uint8_t message[SOCKS5_REQUEST_MAX];
    const char *name = c->credential != NULL ? c->credential : c->route->target.host;
    uint16_t port = c->credential != NULL ? 1494 : c->route->target.port; /* a ticket says where it leads */
    int n = socks5_request(message, name, port);
    if (n < 0)
        end(c, "not_socks", "%s", "a ticket of more than 255 bytes is no destination");
    else
        stream_write(&c->stream, message, (size_t)n);
    mem_wipe(message, sizeof message);
}

static const struct http_events connect_events = {.on_head = on_connect_head};

static void ask_connect(struct channel *c)
{
    char target[HOSTPORT_TEXT];
    struct buf b;
    hostport_format(&c->route->target, target);
    buf_init(&b, 8192);
    buf_printf(&b, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n", target, target);
    if (c->credential != NULL)
        buf_printf(&b, "Proxy-Authorization: %s\r\n", c->credential);
    buf_append_str(&b, "\r\n");
    c->head = http_reader_new(HTTP_RESPONSE, &connect_events, c);
    http_reader_expect(c->head, "CONNECT");
    stream_write(&c->stream, b.data, b.len);
    mem_wipe(b.data, b.len);
    buf_deinit(&b);
}

static void start_tunnel(struct channel *c)
{
    if (c->route->door == DOOR_NONE) {
        opened(c);
        return;
    }
    enter(c, CHANNEL_TUNNEL);
    if (c->route->door == DOOR_SOCKS)
        ask_socks(c);
    else
        ask_connect(c);
}

/* ---- what the stream tells ---- */

static void start_outer(struct channel *c)
{
    SSL_SESSION *resume = c->wire->resume ? c->outer_session : NULL;
    enter(c, CHANNEL_TLS);
    if (stream_start_tls_client(&c->stream, c->offer->outer, c->route->outer_name, resume) < 0) {
        end(c, "tls", "%s", "OpenSSL could not start a connection");
        return;
    }
    if (c->wire->resume)
        SSL_set_ex_data(c->stream.tls.ssl, slot_index, &c->outer_session);
}

static void on_open(struct stream *s)
{
    struct channel *c = s->owner;
    if (c->phase == CHANNEL_TCP) {
        c->times.tcp_us = lap_us(c);
        stream_read_start(s);
        if (c->route->outer_tls) {
            start_outer(c);
            return;
        }
    } else {
        c->times.tls_us = lap_us(c);
        c->outer_resumed = SSL_session_reused(s->tls.ssl) == 1;
    }
    start_tunnel(c);
}

static void on_data(struct stream *s, const uint8_t *data, size_t len)
{
    struct channel *c = s->owner;
    if (c->ended || c->phase == CHANNEL_CLOSING)
        return;
    if (c->phase == CHANNEL_TUNNEL) {
        read_tunnel(c, data, len);
    } else if (c->inner.ssl == NULL) {
        c->events->on_data(c, data, len);
    } else {
        lend(c, data, len);
        if (c->phase == CHANNEL_INNER)
            shake_inner(c);
        if (c->phase == CHANNEL_OPEN)
            read_inner(c);
        c->inner.in_len = 0;
    }
}

static void on_eof(struct stream *s, bool clean)
{
    struct channel *c = s->owner;
    (void)clean;
    if (c->phase == CHANNEL_OPEN)
        end(c, "closed", "%s", "the server ended the connection");
    else
        end(c, "closed", "the connection was ended while it was opened: %s", phase_names[c->phase]);
}

static void on_error(struct stream *s, int code, const char *detail)
{
    struct channel *c = s->owner;
    if (c->phase == CHANNEL_TCP)
        end(c,
            code == UV_ECONNREFUSED ? "refused"
            : code == UV_ETIMEDOUT  ? "connect_timeout"
                                    : "connect",
            "connecting: %s", detail);
    else if (c->phase == CHANNEL_TLS && code == ERR_TLS && tls_is_not_tls(detail))
        end(c, "not_tls", "what answers there speaks no TLS (%s)", detail);
    else if (c->phase == CHANNEL_TLS)
        end(c, code == ERR_TLS ? "tls" : "closed", "TLS: %s", detail);
    else
        end(c, code == ERR_TLS ? "tls" : "reset", "%s", detail);
}

static void on_stream_closed(struct stream *s)
{
    struct channel *c = s->owner;
    enter(c, CHANNEL_IDLE);
    tls_deinit(&c->inner);
    tls_init(&c->inner);
    c->events->on_closed(c);
}

static const struct stream_events stream_events = {.on_open = on_open,
                                                   .on_data = on_data,
                                                   .on_eof = on_eof,
                                                   .on_error = on_error,
                                                   .on_closed = on_stream_closed};

static void on_deadline(struct deadline *d)
{
    struct channel *c = list_entry(d, struct channel, deadline);
    static const char *const kinds[CHANNEL_CLOSING] = {[CHANNEL_TCP] = "connect_timeout",
                                                       [CHANNEL_TLS] = "tls_timeout",
                                                       [CHANNEL_TUNNEL] = "tunnel_timeout",
                                                       [CHANNEL_INNER] = "inner_tls_timeout"};
    /* it is set while the connection is opened only */
    end(c, kinds[c->phase], "no end of it in time: %s", phase_names[c->phase]);
}

/* ---- for the owner ---- */

void channel_init(struct channel *c, struct wire *w, const struct channel_events *events, void *owner)
{
    *c = (struct channel){.wire = w, .events = events, .owner = owner};
    stream_init(&c->stream, w->loop, &stream_events, c);
    tls_init(&c->inner);
    deadline_init(&c->deadline, on_deadline);
}

void channel_deinit(struct channel *c)
{
    SSL_SESSION_free(c->outer_session);
    SSL_SESSION_free(c->inner_session);
    http_reader_free(c->head);
    free(c->refusal);
    forget_credential(c);
}

static const struct sockaddr *at(const struct address_pool *p, uint64_t number)
{
    return p->count != 0 ? (const struct sockaddr *)&p->items[number % p->count] : NULL;
}

void channel_open(struct channel *c, struct route *route, const struct offer *offer, const char *credential)
{
    c->route = route;
    c->offer = offer;
    c->ended = false;
    c->socks = (struct socks5_client){0};
    c->times = (struct channel_times){0};
    c->outer_resumed = c->inner_resumed = false;
    free(c->refusal);
    c->refusal = NULL;
    forget_credential(c);
    c->credential = mem_strdup(credential);
    c->since_ns = clock_mono_ns();
    enter(c, CHANNEL_TCP);
    deadline_set(c->wire->loop, &c->deadline, c->wire->deadline_list, c->wire->open_ms);
    /* All sources in turn to one target, then to the next one: every pair comes. */
    uint64_t n = route->connections++, sources = route->sources.count != 0 ? route->sources.count : 1;
    int rc = stream_connect_from(&c->stream, at(&route->sources, n), at(&route->hops, n / sources));
    if (rc < 0)
        end(c, "connect", "connecting: %s", err_text(rc));
}

void channel_write(struct channel *c, const uint8_t *data, size_t len)
{
    if (c->inner.ssl == NULL) {
        stream_write(&c->stream, data, len);
        return;
    }
    c->inner.out = &c->wire->out;    /* input that is lent just now stays */
    tls_write(&c->inner, data, len); /* what fails here, the next read tells */
    send_sealed(c);
}

void channel_close(struct channel *c)
{
    if (c->phase == CHANNEL_IDLE || c->phase == CHANNEL_CLOSING)
        return;
    deadline_clear(&c->deadline);
    if (c->inner.ssl != NULL && !c->ended) {
        c->inner.out = &c->wire->out;
        tls_shutdown(&c->inner);
        send_sealed(c);
    }
    enter(c, CHANNEL_CLOSING);
    http_reader_free(c->head);
    c->head = NULL;
    if (c->stream.phase >= STREAM_HANDSHAKE)
        stream_shutdown(&c->stream);
    stream_close(&c->stream);
}
