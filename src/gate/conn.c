/* The life of a connection: accept, states, deadlines, the ends. What is done within the states stands in
 * conn_request.c and conn_relay.c. */
#include "gate/conn.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "conn_impl.h"

/* One row a state: its deadline and what that means, and what it means when a side goes away. */
static const struct state_row {
    const char *name;
    size_t timeout; /* offset in struct timeout_settings */
    enum reason on_deadline;
    bool early; /* the tunnel is not open yet: a drain refuses it */
} states[CONN_STATES] = {
#define TIMEOUT(member) offsetof(struct timeout_settings, member)
    [CONN_HELLO] = {"hello", TIMEOUT(handshake), REASON_HANDSHAKE_TIMEOUT, true},
    [CONN_HANDSHAKE] = {"handshake", TIMEOUT(handshake), REASON_HANDSHAKE_TIMEOUT, true},
    [CONN_REQUEST] = {"request", TIMEOUT(request), REASON_REQUEST_TIMEOUT, true},
    [CONN_TICKET] = {"ticket", TIMEOUT(ticket), REASON_AUTHORITY_DOWN, true},
    [CONN_RESOLVE] = {"resolve", TIMEOUT(connect), REASON_BACKEND_UNRESOLVED, true},
    [CONN_CONNECT] = {"connect", TIMEOUT(connect), REASON_BACKEND_TIMEOUT, true},
    [CONN_SECURE] = {"secure", TIMEOUT(handshake), REASON_BACKEND_TIMEOUT, true},
    [CONN_INNER] = {"inner", TIMEOUT(handshake), REASON_HANDSHAKE_TIMEOUT, false},
    [CONN_RELAY] = {"relay", TIMEOUT(idle), REASON_IDLE_TIMEOUT, false},
    [CONN_HALF] = {"half", TIMEOUT(linger), REASON_OK, false},
    [CONN_LINGER] = {"linger", TIMEOUT(linger), REASON_OK, false},
    [CONN_CLOSING] = {"closing", 0, REASON_OK, false},
#undef TIMEOUT
};

static const struct stream_events client_events;
static const struct stream_events backend_events;

static int64_t state_timeout(const struct conn *c)
{
    const struct timeout_settings *t = &c->runtime->runtime->settings->timeouts;
    if (c->draining && c->state == CONN_RELAY)
        return t->linger;
    return *(const int64_t *)(const void *)((const char *)t + states[c->state].timeout);
}

/* A list of deadlines for each duration, so that setting one is cheap. */
static unsigned deadline_list(const struct conn *c)
{
    return c->draining && c->state == CONN_RELAY ? CONN_LINGER : c->state;
}

static void set_deadline(struct conn *c)
{
    deadline_set(&c->worker->loop, &c->deadline, deadline_list(c), (uint64_t)state_timeout(c));
}

void conn_enter(struct conn *c, enum conn_state s)
{
    assert(s > c->state);
    if (c->state == CONN_HANDSHAKE)
        c->worker->handshakes--;
    if (s == CONN_HANDSHAKE)
        c->worker->handshakes++;
    c->state = (uint8_t)s;
    uint64_t since = (clock_mono_ns() - c->accepted_ns) / 1000000;
    c->story.entered_ms[s] = since < UINT32_MAX - 1 ? (uint32_t)since + 1 : UINT32_MAX;
    if (s == CONN_CLOSING)
        deadline_clear(&c->deadline);
    else
        set_deadline(c);
}

void conn_touch(struct conn *c)
{
    c->active_ms = netloop_now_ms(&c->worker->loop);
}

/* ---- the ends ---- */

static void free_when_closed(struct conn *c)
{
    if (c->state != CONN_CLOSING || c->client.phase != STREAM_IDLE || c->backend.phase != STREAM_IDLE)
        return;
    struct worker *w = c->worker;
    worker_runtime_unref(c->runtime);
    story_deinit(&c->story);
    free(c);
    worker_conn_removed(w);
}

static void note_reason(struct conn *c, enum reason r, const char *detail)
{
    if (c->reason == REASON_OK && r != REASON_OK) {
        c->reason = (uint8_t)r;
        c->detail = detail;
    }
}

void conn_end(struct conn *c, enum reason r, const char *detail)
{
    if (c->state == CONN_CLOSING)
        return;
    note_reason(c, r, detail);
    conn_http_free(c, r, detail);
    conn_enter(c, CONN_CLOSING);
    /* counted first: who has read the log line finds it counted */
    struct worker_counters *n = &c->worker->counters;
    atomic_fetch_add_explicit(&n->ended[c->story.injected][c->reason], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&n->bytes_up, c->backend.bytes_out, memory_order_relaxed);
    atomic_fetch_add_explicit(&n->bytes_down, c->backend.bytes_in, memory_order_relaxed);
    story_log(c);
    list_remove(&c->link);
    tunnels_remove(c->worker->tunnels, c);
    request_free(c->request);
    c->request = NULL;
    tlswatch_free(c->watch);
    c->watch = NULL;
    if (c->client.phase != STREAM_IDLE)
        stream_close(&c->client);
    if (c->backend.phase != STREAM_IDLE)
        stream_close(&c->backend);
    free_when_closed(c);
}

/* How long a peer gets to end its side when it has been sent everything: long enough for what is on the way,
 * so that our close is no reset; not as long as delivering may take. */
#define LINGER_EOF_MS 2000

/* A side that has delivered everything and was answered, or cannot any more, is closed; when both are, that
 * was it. */
static void linger_check(struct conn *c)
{
    struct stream *sides[] = {&c->client, &c->backend};
    bool waiting = false, delivering = false;
    for (size_t i = 0; i < 2; i++) {
        struct stream *s = sides[i];
        if (s->phase == STREAM_IDLE || s->phase == STREAM_CLOSING)
            continue;
        if (s->failure != 0 || s->phase == STREAM_CONNECTING || stream_is_finished(s)) {
            stream_close(s);
        } else {
            waiting = true;
            delivering |= s->shutting != STREAM_DONE || stream_queued(s) > 0;
        }
    }
    if (!waiting) {
        conn_end(c, c->reason, c->detail);
    } else if (!delivering && !c->delivered) {
        c->delivered = true;
        int64_t linger = state_timeout(c);
        deadline_set(&c->worker->loop, &c->deadline, CONN_LIST_LINGER_EOF,
                     (uint64_t)(linger < LINGER_EOF_MS ? linger : LINGER_EOF_MS));
    }
}

void conn_linger(struct conn *c, enum reason r, const char *detail)
{
    if (c->state >= CONN_LINGER)
        return;
    note_reason(c, r, detail);
    conn_http_free(c, r, detail);
    conn_enter(c, CONN_LINGER);
    tunnels_remove(c->worker->tunnels, c);
    request_free(c->request); /* nobody waits for the authority or the resolver any more */
    c->request = NULL;
    tlswatch_free(c->watch);
    c->watch = NULL;
    struct stream *sides[] = {&c->client, &c->backend};
    for (size_t i = 0; i < 2; i++) {
        if (sides[i]->phase == STREAM_IDLE || sides[i]->phase == STREAM_CLOSING)
            continue;
        stream_shutdown(sides[i]);
        stream_read_start(sides[i]); /* to be dropped: unread bytes would turn our close into a reset */
    }
    linger_check(c);
}

void conn_drain(struct conn *c)
{
    c->draining = true;
    if (c->state == CONN_RELAY && c->http != NULL)
        conn_http_drain(c);
    else if (c->state == CONN_RELAY)
        set_deadline(c); /* looks at how long it has been quiet by then */
}

static void on_deadline(struct deadline *d)
{
    struct conn *c = list_entry(d, struct conn, deadline);
    if (c->state == CONN_RELAY && c->http != NULL) {
        conn_http_late(c);
        return;
    }
    if (c->state == CONN_RELAY || c->state == CONN_HALF) {
        /* set once and looked at when it comes, instead of moved for every byte */
        uint64_t quiet = netloop_now_ms(&c->worker->loop) - c->active_ms;
        uint64_t limit = (uint64_t)state_timeout(c);
        if (quiet < limit) {
            deadline_set(&c->worker->loop, &c->deadline, deadline_list(c), limit - quiet);
            return;
        }
        conn_linger(c,
                    c->state == CONN_HALF ? REASON_OK
                    : c->draining         ? REASON_TICKET_EXPIRED
                                          : REASON_IDLE_TIMEOUT,
                    NULL);
        return;
    }
    switch (c->state) {
    case CONN_REQUEST:
        conn_refuse(c, REASON_REQUEST_TIMEOUT, NULL);
        break;
    case CONN_TICKET:
        conn_ticket_late(c);
        break;
    case CONN_RESOLVE:
        conn_resolve_late(c);
        break;
    case CONN_CONNECT:
        conn_backend_failed(c, UV_ETIMEDOUT);
        break;
    case CONN_SECURE:
        conn_refuse(c, REASON_BACKEND_TIMEOUT, "the TLS handshake");
        break;
    case CONN_INNER:
        conn_linger(c, REASON_HANDSHAKE_TIMEOUT, "inner handshake");
        break;
    default:
        conn_end(c, states[c->state].on_deadline, NULL);
        break;
    }
}

/* ---- the client's stream ---- */

static struct conn *of_stream(struct stream *s)
{
    return s->owner;
}

/* Ends a connection before TLS is up with an alert in clear. */
static void refuse_hello(struct conn *c, enum reason r, uint16_t version, const char *detail)
{
    uint8_t alert[TLS_ALERT_RECORD];
    tls_alert_record(alert, version >= TLS_VERSION_10 ? TLS_VERSION_10 : TLS_VERSION_SSL3,
                     reason_info(r)->alert);
    stream_write_raw(&c->client, alert, sizeof alert);
    conn_linger(c, r, detail);
}

static void refuse_not_tls(struct conn *c, uint8_t first)
{
    if (first >= 'A' && first <= 'Z') {
        struct buf reply;
        buf_init(&reply, 4096);
        door_http_refusal(REASON_NOT_TLS, "plain HTTP on a TLS port: use https://", &reply);
        stream_write_raw(&c->client, reply.data, reply.len);
        buf_deinit(&reply);
        conn_linger(c, REASON_NOT_TLS, "plain HTTP on the TLS port");
        return;
    }
    conn_end(c, REASON_NOT_TLS, "the first bytes are no TLS record");
}

/* Reads the ClientHello before OpenSSL does: what was offered goes to the log even where OpenSSL says no. */
static bool check_hello(struct conn *c, const uint8_t *data, size_t len)
{
    struct tlswatch *w = tlswatch_new();
    size_t used;
    enum tlswatch_result r = tlswatch_feed(w, TLSWATCH_CLIENT, data, len, &used);
    bool good = true;
    if (r == TLSWATCH_CLIENT_HELLO) {
        const struct tls_facts *facts = tlswatch_facts(w);
        uint16_t floor = c->listener->settings->tls_floor;
        story_hello(c, facts);
        good = facts->offered_max >= floor && facts->offered_max > TLS_VERSION_SSL3;
        if (!good)
            refuse_hello(c,
                         facts->offered_max == TLS_VERSION_SSL3 && floor == TLS_VERSION_SSL3
                             ? REASON_TLS_LIBRARY
                             : REASON_TLS_FLOOR,
                         facts->offered_max, NULL);
    } else if (r == TLSWATCH_NOT_TLS || r == TLSWATCH_MALFORMED) {
        good = false;
        conn_end(c, REASON_NOT_TLS, tlswatch_why(w));
    }
    tlswatch_free(w);
    return good;
}

static void on_client_first(struct stream *s, const uint8_t *data, size_t len, bool whole)
{
    struct conn *c = of_stream(s);
    if (!whole && s->tcp_eof) {
        conn_end(c, REASON_CLIENT_GONE, "closed before a whole first record");
        return;
    }
    if (!whole) {
        refuse_not_tls(c, data[0]);
        return;
    }
    if (!check_hello(c, data, len))
        return;
    if (c->worker->handshakes >= WORKER_HANDSHAKES_MAX) {
        conn_end(c, REASON_OVERLOADED, "too many TLS handshakes at once");
        return;
    }
    conn_enter(c, CONN_HANDSHAKE);
    if (stream_start_tls(s, c->listener->ctx, TLS_SERVER) < 0)
        conn_end(c, REASON_OVERLOADED, "OpenSSL could not start a connection");
}

static void on_client_open(struct stream *s)
{
    struct conn *c = of_stream(s);
    conn_enter(c, CONN_REQUEST);
    story_handshake(c);
    c->request = request_new(c);
    stream_read_start(s);
}

static void on_client_data(struct stream *s, const uint8_t *data, size_t len)
{
    struct conn *c = of_stream(s);
    if (c->state == CONN_REQUEST)
        conn_request_data(c, data, len);
    else if (c->state >= CONN_INNER && c->state < CONN_LINGER)
        conn_relay_data(c, true, data, len);
}

static void on_client_eof(struct stream *s, bool clean)
{
    struct conn *c = of_stream(s);
    c->story.unclean |= !clean;
    if (c->state == CONN_LINGER)
        linger_check(c);
    else if (c->state >= CONN_INNER)
        conn_relay_eof(c, true, clean);
    else
        conn_end(c, REASON_CLIENT_GONE,
                 c->state == CONN_HELLO ? "closed before a whole first record"
                                        : "closed before the tunnel was open");
}

static void on_client_drained(struct stream *s)
{
    struct conn *c = of_stream(s);
    if (c->state == CONN_LINGER)
        linger_check(c);
    else if (c->state >= CONN_INNER)
        conn_relay_drained(c, true);
}

static enum reason handshake_reason(const struct conn *c, const char *detail)
{
    /* what check_hello could not see: a hello over several records, or a version that OpenSSL was built
     * without */
    if (strcmp(detail, "unsupported protocol") == 0 || strcmp(detail, "version too low") == 0)
        return c->listener->settings->tls_floor == TLS_VERSION_SSL3 ? REASON_TLS_LIBRARY : REASON_TLS_FLOOR;
    return REASON_TLS_HANDSHAKE;
}

static void on_client_error(struct stream *s, int code, const char *detail)
{
    struct conn *c = of_stream(s);
    if (c->state == CONN_LINGER) {
        linger_check(c);
    } else if (c->state == CONN_HANDSHAKE && code == ERR_TLS) {
        conn_linger(c, handshake_reason(c, detail), detail);
    } else if (c->state >= CONN_INNER && c->state < CONN_LINGER) {
        /* the other side still gets what is queued for it; after a proper end a reset says nothing new */
        conn_linger(c, s->eof_seen ? REASON_OK : REASON_CLIENT_GONE, detail);
    } else {
        conn_end(c, REASON_CLIENT_GONE, detail);
    }
}

static void on_client_closed(struct stream *s)
{
    free_when_closed(of_stream(s));
}

static const struct stream_events client_events = {
    .on_first = on_client_first,
    .on_open = on_client_open,
    .on_data = on_client_data,
    .on_eof = on_client_eof,
    .on_drained = on_client_drained,
    .on_error = on_client_error,
    .on_closed = on_client_closed,
};

/* ---- the backend's stream ---- */

static void on_backend_open(struct stream *s)
{
    struct conn *c = of_stream(s);
    if (c->state == CONN_CONNECT || c->state == CONN_SECURE)
        conn_backend_open(c);
}

static void on_backend_data(struct stream *s, const uint8_t *data, size_t len)
{
    struct conn *c = of_stream(s);
    if (c->state >= CONN_INNER && c->state < CONN_LINGER)
        conn_relay_data(c, false, data, len);
}

static void on_backend_eof(struct stream *s, bool clean)
{
    struct conn *c = of_stream(s);
    if (c->state == CONN_LINGER)
        linger_check(c);
    else if (c->state >= CONN_INNER)
        conn_relay_eof(c, false, clean);
    else if (c->state == CONN_SECURE)
        conn_refuse(c, REASON_BACKEND_TLS, "the mail server ended the connection in the handshake");
}

static void on_backend_drained(struct stream *s)
{
    struct conn *c = of_stream(s);
    if (c->state == CONN_LINGER)
        linger_check(c);
    else if (c->state >= CONN_INNER)
        conn_relay_drained(c, false);
}

static void on_backend_error(struct stream *s, int code, const char *detail)
{
    struct conn *c = of_stream(s);
    if (c->state == CONN_CONNECT)
        conn_backend_failed(c, code);
    else if (c->state == CONN_SECURE)
        conn_backend_insecure(c, code, detail);
    else if (c->state == CONN_LINGER)
        linger_check(c);
    else if (c->http != NULL)
        conn_http_eof(c, false, false); /* the client may still be told */
    else if (c->state >= CONN_INNER)
        conn_linger(c, s->eof_seen ? REASON_OK : REASON_BACKEND_GONE, detail);
}

static void on_backend_closed(struct stream *s)
{
    struct conn *c = of_stream(s);
    if (c->state == CONN_CONNECT)
        conn_backend_retry(c);
    else
        free_when_closed(c);
}

static const struct stream_events backend_events = {
    .on_open = on_backend_open,
    .on_data = on_backend_data,
    .on_eof = on_backend_eof,
    .on_drained = on_backend_drained,
    .on_error = on_backend_error,
    .on_closed = on_backend_closed,
};

/* ---- beginnings, and the worker's wishes ---- */

/* At the limit one that is over and only waits for its peer's end gives way, else the client that has been
 * silent longest: ten thousand that say nothing must not keep out one that has something to say. Connections
 * that showed a ticket never give way before their end. */
static bool make_room(struct worker *w)
{
    static const unsigned lists[] = {CONN_LIST_LINGER_EOF, CONN_HELLO, CONN_HANDSHAKE, CONN_REQUEST};
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        struct deadline *d = deadline_first(&w->loop, lists[i]);
        if (d == NULL)
            continue;
        struct conn *c = list_entry(d, struct conn, deadline);
        if (lists[i] == CONN_LIST_LINGER_EOF)
            conn_end(c, c->reason, c->detail);
        else
            conn_end(c, REASON_OVERLOADED, "silent, and gave way to a newer client");
        return true;
    }
    return false;
}

void conn_accept(struct worker *w, const struct runtime_listener *rl, uv_stream_t *listener)
{
    struct conn *c = mem_zalloc(sizeof *c);
    bool full =
        atomic_load_explicit(w->connections, memory_order_relaxed) >= w->current->runtime->connections_max &&
        !make_room(w);

    c->worker = w;
    c->runtime = worker_runtime_ref(w->current);
    c->listener = rl;
    c->state = CONN_HELLO;
    c->accepted_ns = clock_mono_ns();
    c->story.door = -1;
    c->story.entered_ms[CONN_HELLO] = 1;
    stream_init(&c->client, &w->loop, &client_events, c);
    stream_init(&c->backend, &w->loop, &backend_events, c);
    deadline_init(&c->deadline, on_deadline);
    list_init(&c->ticket_link);
    list_append(&w->conns, &c->link);
    worker_conn_added(w);
    atomic_fetch_add_explicit(&w->counters.accepted, 1, memory_order_relaxed);

    int rc = stream_accept(&c->client, listener, true);
    struct sockaddr_storage peer;
    if (rc == 0 && stream_peer(&c->client, &peer) == 0)
        memcpy(&c->story.client, &peer, sizeof c->story.client);
    set_deadline(c);
    if (rc < 0)
        conn_end(c, REASON_CLIENT_GONE, err_text(rc));
    else if (full)
        conn_end(c, REASON_OVERLOADED, NULL);
}

void conn_refuse_early(struct worker *w, enum reason r)
{
    for (struct list *l = w->conns.next; l != &w->conns;) {
        struct conn *c = list_entry(l, struct conn, link);
        l = l->next;
        if (c->http != NULL && conn_http_is_idle(c))
            conn_linger(c, REASON_OK, "between two requests, as the gateway stops");
        if (!states[c->state].early)
            continue;
        if (c->state >= CONN_REQUEST)
            conn_refuse(c, r, NULL);
        else
            conn_end(c, r, NULL);
    }
}

void conn_cut_all(struct worker *w, enum reason r)
{
    while (!list_empty(&w->conns))
        conn_end(list_entry(w->conns.next, struct conn, link), r, NULL);
}
