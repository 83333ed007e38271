/* The relays that look into HTTP, joined to a connection: httprelay between the two streams, in a tunnel with
 * the inner TLS ended here (inspect) or with HTTP straight inside the outer TLS (http), or at the activesync
 * door. Called by conn.c and conn_relay.c. */
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "conn_impl.h"
#include "gate/httprelay.h"
#include "gate/policy.h"
#include "gate/trace.h"
#include "net/mint.h"

#define PLAIN_BYTES  (64 * 1024)
#define OUT_MAX      (4 * 1024 * 1024) /* of one call; far above what one can make */
#define SCRATCH_KEPT (256 * 1024)
#define HELLO_MAX    (32 * 1024)

/* A worker's, for the time of a call. */
struct http_scratch {
    struct buf client, backend, cipher;
    uint8_t plain[PLAIN_BYTES];
};

/* A connection that is looked into. */
struct http_side {
    struct httprelay *relay;
    struct hostport target;   /* the service */
    struct tls inner;         /* inspect; ssl NULL: not begun, or none */
    const char *failed;       /* of the inner TLS, in the call being made; NULL: nothing */
    char *client;             /* owned: its address, for the log */
    uint64_t waiting_ms;      /* since when for the same */
    uint64_t requests;        /* how many were over by then */
    enum httprelay_wait wait; /* for what */
    uint64_t trace_id;
    uint32_t watchers; /* who sees the exchange under way */
    bool inspect;
    struct buf hello; /* the inner ClientHello, until it is whole */
};

/* ---- scratch ---- */

static struct http_scratch *scratch(struct conn *c)
{
    struct worker *w = c->worker;
    if (w->http == NULL) {
        w->http = mem_alloc(sizeof *w->http);
        buf_init(&w->http->client, OUT_MAX);
        buf_init(&w->http->backend, OUT_MAX);
        buf_init(&w->http->cipher, 2 * OUT_MAX);
    }
    return w->http;
}

void conn_http_scratch_free(struct http_scratch *s)
{
    if (s == NULL)
        return;
    buf_deinit(&s->client);
    buf_deinit(&s->backend);
    buf_deinit(&s->cipher);
    free(s);
}

static void empty(struct buf *b)
{
    b->len = 0;
    if (b->cap > SCRATCH_KEPT)
        buf_deinit(b);
}

/* ---- what goes out ---- */

static void lend(struct http_side *h, struct http_scratch *s, const uint8_t *data, size_t len)
{
    h->inner.in = data;
    h->inner.in_len = len;
    h->inner.out = &s->cipher;
}

/* What OpenSSL wants sent in the tunnel. */
static void flush_cipher(struct conn *c, struct http_scratch *s)
{
    if (s->cipher.len > 0 && stream_is_open(&c->client))
        stream_write(&c->client, s->cipher.data, s->cipher.len);
    empty(&s->cipher);
}

static void write_client(struct conn *c, struct http_scratch *s, const uint8_t *data, size_t len)
{
    struct http_side *h = c->http;
    if (len == 0 || !stream_is_open(&c->client))
        return;
    if (!h->inspect) {
        stream_write(&c->client, data, len);
        return;
    }
    lend(h, s, NULL, 0);
    tls_write(&h->inner, data, len); /* what fails here, the next read tells */
    flush_cipher(c, s);
}

static uint64_t limit_ms(const struct conn *c)
{
    const struct timeout_settings *t = &c->runtime->runtime->settings->timeouts;
    if (c->draining)
        return (uint64_t)t->linger;
    switch (httprelay_wait(c->http->relay)) {
    case HTTPRELAY_NEXT:
        return (uint64_t)t->idle;
    case HTTPRELAY_HEAD:
    case HTTPRELAY_REQUEST:
        return (uint64_t)t->request;
    case HTTPRELAY_BEAT:
        return httprelay_beat_ms(c->http->relay);
    default:
        return (uint64_t)t->response;
    }
}

/* Notes when what is waited for becomes something else. */
static void note_wait(struct conn *c)
{
    struct http_side *h = c->http;
    enum httprelay_wait wait = httprelay_wait(h->relay);
    if (wait == h->wait && c->story.requests == h->requests)
        return;
    h->wait = wait;
    h->requests = c->story.requests;
    h->waiting_ms = netloop_now_ms(&c->worker->loop);
}

/* How long nothing has passed. For a head and for a Ping's answer, how long the wait has been: bytes that
 * drip must not make it longer. */
static uint64_t quiet_ms(const struct conn *c)
{
    const struct http_side *h = c->http;
    bool whole = !c->draining && (h->wait == HTTPRELAY_HEAD || h->wait == HTTPRELAY_BEAT);
    return netloop_now_ms(&c->worker->loop) - (whole ? h->waiting_ms : c->active_ms);
}

/* Deadlines of all lengths are looked at in short steps: so one list has them nearly in order, and setting
 * one is cheap. */
#define STEP_MS 15000

static void arm(struct conn *c, uint64_t ms)
{
    deadline_set(&c->worker->loop, &c->deadline, CONN_LIST_STEP, ms < STEP_MS ? ms : STEP_MS);
}

static void arm_rest(struct conn *c)
{
    uint64_t quiet = quiet_ms(c), limit = limit_ms(c);
    arm(c, quiet < limit ? limit - quiet : 0);
}

/* Sends what a call has made, and goes by what the relay is now. Return right after: the connection may be
 * over.
 */
static void pump(struct conn *c, struct http_scratch *s)
{
    struct http_side *h = c->http;
    enum reason reason;
    const char *detail;

    if (s->backend.len > 0 && stream_is_open(&c->backend))
        stream_write(&c->backend, s->backend.data, s->backend.len);
    empty(&s->backend);
    write_client(c, s, s->client.data, s->client.len);
    empty(&s->client);
    bool over = httprelay_is_over(h->relay, &reason, &detail);
    if ((over || httprelay_has_dropped_backend(h->relay)) && c->backend.phase != STREAM_IDLE)
        stream_close(&c->backend);
    if (over) {
        conn_linger(c, reason, detail);
        return;
    }
    if (c->worker->draining && conn_http_is_idle(c)) {
        conn_linger(c, REASON_OK, "between two requests, as the gateway stops");
        return;
    }
    if (stream_queued(&c->backend) > STREAM_HIGH_WATER || !httprelay_wants_client(h->relay))
        stream_read_stop(&c->client);
    else if (!c->client.eof_seen)
        stream_read_start(&c->client);
    if (stream_queued(&c->client) > STREAM_HIGH_WATER)
        stream_read_stop(&c->backend);
    note_wait(c);
    if (c->state == CONN_RELAY)
        arm_rest(c);
}

/* ---- what the relay tells ---- */

static bool is_listed(void *owner, const struct hostport *target)
{
    const struct conn *c = owner;
    return policy_is_listed(c->runtime->runtime->settings, target);
}

/* ---- the view ---- */

static void on_request(void *owner, const struct exchange *x, const struct http_head *head)
{
    struct conn *c = owner;
    struct trace *t = c->worker->trace;
    struct http_side *h = c->http;
    char client[ADDRESS_TEXT] = "", version[8] = "";
    const struct trace_who who = {
        .device = x->query.device_id[0] ? x->query.device_id : c->story.device,
        .user = c->story.user != NULL ? c->story.user : x->user,
        .ticket = c->story.ticket,
    };
    h->watchers = trace_is_on(t) ? trace_begin(t, &who) : 0;
    if (h->watchers == 0)
        return;
    struct sockaddr_storage sa = {0};
    memcpy(&sa, &c->story.client, sizeof c->story.client);
    address_format(&sa, client);
    if (x->version != 0)
        eas_version_format(x->version, version);
    h->trace_id = trace_next_id(t);
    const struct trace_request r = {.who = &who,
                                    .door = story_door(c),
                                    .target = c->story.target,
                                    .client = client,
                                    .command = x->query.command_text,
                                    .version = version,
                                    .head = head};
    trace_request(t, h->watchers, h->trace_id, &r);
}

static void on_body(void *owner, bool from_client, const uint8_t *data, size_t len)
{
    struct conn *c = owner;
    if (c->http->watchers != 0)
        trace_body(c->worker->trace, c->http->watchers, c->http->trace_id, from_client, data, len);
}

static void on_answer(void *owner, const struct exchange *x, const struct http_head *head)
{
    struct conn *c = owner;
    (void)x;
    if (c->http->watchers != 0)
        trace_answer(c->worker->trace, c->http->watchers, c->http->trace_id, head);
}

static void trace_done(struct conn *c, const struct exchange *x)
{
    struct http_side *h = c->http;
    if (h->watchers == 0)
        return;
    const struct trace_end e = {.reason = reason_info(x->reason)->id,
                                .detail = x->detail,
                                .status = x->status,
                                .ms = (double)(clock_mono_ns() - x->started_ns) / 1e6,
                                .up = x->up,
                                .down = x->down};
    trace_end(c->worker->trace, h->watchers, h->trace_id, &e);
    h->watchers = 0;
}

static void on_done(void *owner, const struct exchange *x)
{
    struct conn *c = owner;
    struct worker_counters *n = &c->worker->counters;
    c->story.requests++;
    atomic_fetch_add_explicit(&n->requests[x->reason], 1, memory_order_relaxed);
    trace_done(c, x);
    if (x->reason != REASON_OK || c->runtime->runtime->settings->log.requests == LOG_REQUESTS_ALL)
        story_request(c, x, c->http->client);
}

static const struct httprelay_events events = {.on_request = on_request,
                                               .on_body = on_body,
                                               .on_answer = on_answer,
                                               .on_done = on_done,
                                               .is_listed = is_listed};

/* ---- the inner TLS ---- */

static int start_inner(struct conn *c)
{
    const struct mint_options o = {.floor = c->service->tls_floor,
                                   .ticket_keys = c->runtime->runtime->ticket_keys};
    char why[512];
    SSL_CTX *ctx = NULL;
    int rc = mint_server_ctx(runtime_mint(c->runtime->runtime, c->service), c->http->target.host, &o, &ctx,
                             why, sizeof why);
    if (rc < 0) {
        log_message(LOG_ERROR, "mint_failed", "%s", why);
        conn_linger(c, REASON_TLS_HANDSHAKE, "no certificate could be made for the service's name");
        return rc;
    }
    tlswatch_free(c->watch);
    c->watch = NULL;
    rc = tls_start(&c->http->inner, ctx, TLS_SERVER);
    SSL_CTX_free(ctx);
    if (rc < 0)
        conn_linger(c, REASON_OVERLOADED, "OpenSSL could not start a connection");
    return rc;
}

/* Collects the ClientHello, which is looked at before OpenSSL sees it. False: more has to come, or it is
 * over. */
static bool collect_hello(struct conn *c, const uint8_t *data, size_t len)
{
    struct http_side *h = c->http;
    if (!conn_relay_watch(c, true, data, len))
        return false;
    if (buf_append(&h->hello, data, len) < 0) {
        conn_linger(c, REASON_NOT_TLS, "the inner ClientHello is too long");
        return false;
    }
    return c->story.inner_seen && start_inner(c) == 0;
}

/* False: it is not done yet, or over. */
static bool shake_hands(struct conn *c, struct http_scratch *s)
{
    struct http_side *h = c->http;
    enum tls_result r = tls_handshake(&h->inner);
    flush_cipher(c, s);
    if (r == TLS_OK) {
        story_inner_done(c, h->inner.ssl);
        conn_enter(c, CONN_RELAY);
        return true;
    }
    if (r != TLS_WANT)
        conn_linger(c, REASON_TLS_HANDSHAKE, h->inner.error != NULL ? h->inner.error : "inner handshake");
    return false;
}

static void read_inner(struct conn *c, struct http_scratch *s, struct httprelay_out *out)
{
    struct http_side *h = c->http;
    enum tls_result r = TLS_OK;
    while (r == TLS_OK) {
        size_t n = 0;
        r = tls_read(&h->inner, s->plain, sizeof s->plain, &n);
        if (n > 0)
            httprelay_client_data(h->relay, s->plain, n, out);
    }
    flush_cipher(c, s);
    if (r == TLS_EOF)
        httprelay_client_eof(h->relay, out);
    else if (r == TLS_FAIL)
        h->failed = h->inner.error;
}

/* ---- from conn.c ---- */

void conn_http_start(struct conn *c, const struct http_start *from)
{
    struct http_side *h = mem_zalloc(sizeof *h);
    char client[ADDRESS_TEXT] = "";
    struct sockaddr_storage sa = {0};
    memcpy(&sa, &c->story.client, sizeof c->story.client);
    if (sa.ss_family != AF_UNSPEC)
        address_format_host(&sa, client);
    h->target = *from->target;
    h->client = story_client(c);
    const struct httprelay_options o = {
        .service = c->service,
        .target = from->target,
        .plain_backend = c->backend.tls.ssl == NULL,
        .reverse = from->reverse,
        .user = c->story.user,
        .client = client,
        .events = &events,
        .owner = c,
    };
    h->relay = httprelay_new(&o);
    h->inspect = !from->reverse && c->service->relay == RELAY_INSPECT;
    buf_init(&h->hello, HELLO_MAX);
    c->http = h;
    conn_touch(c);
    conn_enter(c, CONN_INNER);
    if (h->inspect) {
        c->watch = tlswatch_new();
    } else {
        conn_enter(c, CONN_RELAY);
        arm(c, limit_ms(c));
    }
    stream_read_start(&c->client);
    stream_read_start(&c->backend);
}

void conn_http_free(struct conn *c, enum reason r, const char *detail)
{
    struct http_side *h = c->http;
    if (h == NULL)
        return;
    if (h->inner.ssl != NULL && stream_is_open(&c->client)) {
        struct http_scratch *s = scratch(c);
        lend(h, s, NULL, 0);
        tls_shutdown(&h->inner);
        flush_cipher(c, s);
    }
    httprelay_free(h->relay, r, detail);
    tls_deinit(&h->inner);
    buf_deinit(&h->hello);
    free(h->client);
    free(h);
    c->http = NULL;
}

static void client_data(struct conn *c, const uint8_t *data, size_t len, struct http_scratch *s,
                        struct httprelay_out *out)
{
    struct http_side *h = c->http;
    if (h->inspect && h->inner.ssl == NULL) {
        if (!collect_hello(c, data, len))
            return;
        h = c->http;
        lend(h, s, h->hello.data, h->hello.len);
    } else if (h->inspect) {
        lend(h, s, data, len);
    } else {
        httprelay_client_data(h->relay, data, len, out);
        return;
    }
    if (tls_handshake_done(&h->inner) || shake_hands(c, s))
        read_inner(c, s, out);
    if (c->http != NULL)
        buf_deinit(&h->hello);
}

void conn_http_data(struct conn *c, bool from_client, const uint8_t *data, size_t len)
{
    struct http_scratch *s = scratch(c);
    struct httprelay_out out = {&s->client, &s->backend};
    conn_touch(c);
    if (from_client)
        client_data(c, data, len, s, &out);
    else
        httprelay_backend_data(c->http->relay, data, len, &out);
    if (c->http == NULL)
        return; /* it ended */
    if (c->http->failed != NULL)
        conn_linger(c, REASON_CLIENT_GONE, c->http->failed);
    else
        pump(c, s);
}

void conn_http_eof(struct conn *c, bool from_client, bool clean)
{
    struct http_scratch *s = scratch(c);
    struct httprelay_out out = {&s->client, &s->backend};
    if (from_client && c->http->inspect && !tls_handshake_done(&c->http->inner)) {
        conn_linger(c, REASON_CLIENT_GONE, "in the inner handshake");
        return;
    }
    if (!from_client && c->state == CONN_INNER) {
        conn_linger(c, REASON_BACKEND_GONE, "before the inner handshake was done");
        return;
    }
    if (from_client)
        httprelay_client_eof(c->http->relay, &out);
    else
        httprelay_backend_eof(c->http->relay, clean, &out);
    pump(c, s);
}

void conn_http_drained(struct conn *c, bool client)
{
    struct http_scratch *s = scratch(c);
    struct httprelay_out out = {&s->client, &s->backend};
    conn_touch(c);
    if (client) {
        if (!c->backend.eof_seen && c->backend.phase == STREAM_OPEN)
            stream_read_start(&c->backend);
        httprelay_resume(c->http->relay, &out);
    }
    pump(c, s);
}

void conn_http_late(struct conn *c)
{
    if (quiet_ms(c) < limit_ms(c)) {
        arm_rest(c);
        return;
    }
    if (c->draining) {
        conn_linger(c, REASON_TICKET_EXPIRED, NULL);
        return;
    }
    struct http_scratch *s = scratch(c);
    struct httprelay_out out = {&s->client, &s->backend};
    httprelay_late(c->http->relay, &out);
    pump(c, s);
}

bool conn_http_is_idle(const struct conn *c)
{
    return c->state == CONN_RELAY && httprelay_wait(c->http->relay) == HTTPRELAY_NEXT;
}

void conn_http_drain(struct conn *c)
{
    arm(c, limit_ms(c));
}
