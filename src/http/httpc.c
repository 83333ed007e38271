/* The HTTP client: its requests, their queue, and telling what came of them. Called by remote authorities and
 * by commands; httpc_conn.c has the connections.
 *
 * Results are told from one place, on_later(), and nothing else calls out: so whatever a callback does to the
 * client (another request, cancelling, closing), no function of ours is on the stack that would not expect
 * it.
 */
#include "httpc_impl.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"

static const char *const result_names[HTTPC_RESULTS] = {
    [HTTPC_OK] = "ok",
    [HTTPC_UNRESOLVED] = "unresolved",
    [HTTPC_REFUSED] = "refused",
    [HTTPC_CONNECT_TIMEOUT] = "connect_timeout",
    [HTTPC_TLS] = "tls",
    [HTTPC_NOT_TLS] = "not_tls",
    [HTTPC_NOT_HTTP] = "not_http",
    [HTTPC_CLOSED] = "closed",
    [HTTPC_TIMEOUT] = "timeout",
    [HTTPC_TOO_BIG] = "too_big",
    [HTTPC_OVERLOADED] = "overloaded",
};

const char *httpc_result_name(enum httpc_result r)
{
    return (unsigned)r < HTTPC_RESULTS ? result_names[r] : "unknown";
}

void httpc_wake(struct httpc *c)
{
    deferred_schedule(c->loop, &c->later);
}

/* ---- requests ---- */

static void request_free(struct httpc_request *r)
{
    list_remove(&r->link);
    deadline_clear(&r->deadline);
    body_deinit(&r->wire);
    body_deinit(&r->body);
    free(r->type);
    free(r);
}

/* Takes a request away from its connection or out of the queue. */
static void detach(struct httpc_request *r)
{
    if (r->conn != NULL) {
        r->conn->request = NULL;
        r->conn = NULL;
    }
    if (r->waiting) {
        r->waiting = false;
        r->c->waiting_count--;
    }
    list_remove(&r->link);
}

static void wait_at(struct httpc_request *r, struct list *place)
{
    list_insert_before(place, &r->link);
    r->waiting = true;
    r->c->waiting_count++;
}

void httpc_sent(struct httpc_request *r, struct httpc_conn *k)
{
    detach(r);
    list_append(&r->c->sent, &r->link);
    r->conn = k;
}

void httpc_finish(struct httpc_request *r, enum httpc_result result, const char *detail)
{
    detach(r);
    deadline_clear(&r->deadline);
    body_deinit(&r->wire);
    if (result != HTTPC_OK)
        body_deinit(&r->body);
    r->result = result;
    r->detail = detail;
    list_append(&r->c->done, &r->link);
    httpc_wake(r->c);
}

void httpc_send_again(struct httpc_request *r)
{
    detach(r);
    r->again = true;
    wait_at(r, r->c->waiting.next); /* it has waited its time already */
    httpc_wake(r->c);
}

struct httpc_request *httpc_first_waiting(struct httpc *c)
{
    return list_empty(&c->waiting) ? NULL : list_entry(c->waiting.next, struct httpc_request, link);
}

static void on_deadline(struct deadline *d)
{
    struct httpc_request *r = list_entry(d, struct httpc_request, deadline);
    struct httpc_conn *k = r->conn;
    /* none is up: it is connecting that takes too long, whichever of the two deadlines comes first */
    bool connecting = k == NULL && r->c->opening > 0 && r->c->opening == r->c->live;
    const char *detail = k != NULL           ? "connected, but no whole answer came"
                         : r->c->opening > 0 ? "the connection was still being made"
                                             : "all connections were busy";
    httpc_finish(r, connecting ? HTTPC_CONNECT_TIMEOUT : HTTPC_TIMEOUT, detail);
    if (k != NULL)
        httpc_conn_drop(k);
}

/* ---- the queue ---- */

/* Gives waiting requests connections: kept ones, then as many new ones as there may be. */
static void pump(struct httpc *c)
{
    struct httpc_conn *k;
    for (struct list *l = c->waiting.next; l != &c->waiting;) {
        struct httpc_request *r = list_entry(l, struct httpc_request, link);
        l = l->next;
        if (r->again)
            continue;
        if ((k = httpc_conn_idle(c, false)) == NULL)
            break;
        httpc_conn_send(k, r);
    }
    while (c->opening < c->waiting_count) {
        if (c->live >= c->options.connections_max) {
            /* idle ones are left for those only that want a new one */
            if ((k = httpc_conn_idle(c, true)) == NULL)
                break;
            httpc_conn_drop(k);
        }
        httpc_conn_open(c);
    }
}

/* Only what is there now: a callback that asks again, and fails at once, is told next turn. */
static void tell(struct httpc *c)
{
    while (!list_empty(&c->done)) {
        struct list *first = c->done.next;
        list_remove(first);
        list_append(&c->telling, first);
    }
    while (!list_empty(&c->telling)) {
        struct httpc_request *r = list_entry(c->telling.next, struct httpc_request, link);
        const struct httpc_answer answer = {.result = r->result,
                                            .detail = r->detail,
                                            .status = r->result == HTTPC_OK ? r->status : 0,
                                            .type = r->type != NULL ? r->type : "",
                                            .body = r->body.data,
                                            .len = r->body.len};
        list_remove(&r->link);
        r->cb(r->owner, &answer);
        request_free(r);
    }
}

static void end(struct httpc *c)
{
    void (*closed)(void *) = c->closed;
    void *owner = c->closed_owner;
    SSL_CTX_free(c->options.tls);
    free(c->unix_path);
    free(c->host);
    free(c);
    if (closed != NULL)
        closed(owner);
}

static void on_later(struct deferred *d)
{
    struct httpc *c = list_entry(d, struct httpc, later);
    if (c->closing) {
        if (c->handles == 0)
            end(c);
        return;
    }
    tell(c);
    if (!c->closing)
        pump(c);
}

/* ---- for others ---- */

/* The port is left out where it is the scheme's own, as browsers do: some servers compare texts. */
static char *host_text(const struct httpc_options *o)
{
    char text[HOSTPORT_TEXT];
    if (o->unix_path != NULL && o->origin.host[0] == '\0')
        return mem_strdup("localhost");
    hostport_format(&o->origin, text);
    if (o->origin.port == (o->tls != NULL ? 443 : 80))
        *strrchr(text, ':') = '\0';
    return mem_strdup(text);
}

struct httpc *httpc_new(struct netloop *loop, const struct httpc_options *options)
{
    struct httpc *c = mem_zalloc(sizeof *c);
    assert(options->connections_max > 0 && options->connect_ms > 0 && options->answer_ms > 0 &&
           options->keep_ms > 0);
    assert(options->resolver != NULL || options->unix_path != NULL || options->origin.kind != HOSTPORT_NAME);
    c->loop = loop;
    c->options = *options;
    c->unix_path = mem_strdup(options->unix_path);
    c->options.unix_path = c->unix_path;
    if (c->options.tls != NULL)
        SSL_CTX_up_ref(c->options.tls);
    c->host = host_text(options);
    list_init(&c->waiting);
    list_init(&c->sent);
    list_init(&c->done);
    list_init(&c->telling);
    for (size_t i = 0; i < HTTPC_STATES; i++)
        list_init(&c->conns[i]);
    deferred_init(&c->later, on_later);
    return c;
}

void httpc_close(struct httpc *c, void (*closed)(void *owner), void *owner)
{
    struct list *const lists[] = {&c->waiting, &c->sent, &c->done, &c->telling};
    assert(!c->closing);
    c->closing = true;
    c->closed = closed;
    c->closed_owner = owner;
    for (size_t i = 0; i < HTTPC_GONE; i++) {
        while (!list_empty(&c->conns[i]))
            httpc_conn_drop(list_entry(c->conns[i].next, struct httpc_conn, link));
    }
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        while (!list_empty(lists[i]))
            request_free(list_entry(lists[i]->next, struct httpc_request, link));
    }
    httpc_wake(c);
}

static void add(struct httpc_request *r, const char *text)
{
    body_append(&r->wire, SIZE_MAX, text, strlen(text));
}

static bool takes_body(const char *method)
{
    return strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0 || strcmp(method, "PATCH") == 0;
}

static void write_request(struct httpc_request *r, const char *method, const char *path, const char *fields,
                          const char *type, const void *body, size_t len)
{
    char length[48];
    const char *const line[] = {method, " ", path, " HTTP/1.1\r\nHost: ", r->c->host, "\r\n"};
    for (size_t i = 0; i < sizeof line / sizeof line[0]; i++)
        add(r, line[i]);
    if (fields != NULL)
        add(r, fields);
    if (type != NULL) {
        add(r, "Content-Type: ");
        add(r, type);
        add(r, "\r\n");
    }
    snprintf(length, sizeof length, "Content-Length: %zu\r\n", len);
    if (len > 0 || takes_body(method))
        add(r, length);
    add(r, "\r\n");
    body_append(&r->wire, SIZE_MAX, body, len);
}

struct httpc_request *httpc_send(struct httpc *c, const char *method, const char *path, const char *fields,
                                 const char *type, const void *body, size_t len, bool repeatable,
                                 httpc_cb *cb, void *owner)
{
    assert(!c->closing);
    assert(path[0] == '/' && path[strcspn(path, " \t\r\n")] == '\0' && strcmp(method, "CONNECT") != 0);
    struct httpc_request *r = mem_zalloc(sizeof *r);
    r->c = c;
    r->repeatable = repeatable;
    r->head = strcmp(method, "HEAD") == 0;
    r->cb = cb;
    r->owner = owner;
    list_init(&r->link);
    deadline_init(&r->deadline, on_deadline);
    /* one for which a connection is free, or being made, does not wait in the sense of the limit */
    bool room = httpc_conn_idle(c, false) != NULL || c->live < c->options.connections_max ||
                c->waiting_count < c->opening + c->options.queue_max;
    wait_at(r, &c->waiting);
    if (!room) {
        httpc_finish(r, HTTPC_OVERLOADED, NULL);
        return r;
    }
    write_request(r, method, path, fields, type, body, len);
    deadline_set(c->loop, &r->deadline, c->options.deadline_list, c->options.answer_ms);
    pump(c);
    return r;
}

void httpc_cancel(struct httpc_request *r)
{
    struct httpc *c = r->c;
    struct httpc_conn *k = r->conn;
    detach(r);
    request_free(r);
    if (k != NULL)
        httpc_conn_drop(k);
    httpc_wake(c);
}

size_t httpc_connections(const struct httpc *c)
{
    return c->live;
}
