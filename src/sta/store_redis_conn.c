/* A connection to Redis on a loop, which comes back by itself: finds the address, connects, says its greeting
 * (password, database, scripts), and pairs commands with replies. Used by a loop's link and by the thread
 * that hears of ends; knows no operations.
 *
 * hiredis makes the commands and reads the replies; the socket is libuv's. hiredis' own asynchronous half is
 * not used: it resolves names while it blocks the loop, and its adapter for libuv leaves a refused connection
 * open forever (the poll ends with an error that it ignores).
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "store_redis_impl.h"

#define OUT_MAX       ((size_t)256 << 20) /* REDIS_OPEN_MAX commands with the largest records */
#define GREETING_ROOM 65536               /* in one piece, so that no copy of the password stays behind */
#define INPUT_BYTES   65536
#define ADDRESSES     8
#define BACKOFF_MS    100
#define BACKOFF_MAX   2000
#define PING_MS       5000 /* a silent connection is asked whether it lives */

enum state { STARTING, AWAY, RESOLVING, CONNECTING, GREETING, READY, CLOSING };

/* One socket. It stays until its handle has closed, when the connection may have another one. */
struct wire {
    uv_tcp_t tcp;
    uv_connect_t connect;
    uv_write_t write;
    uint8_t *writing; /* owned; NULL: nothing on its way */
    struct redis_conn *conn;
};

struct lookup {
    uv_getaddrinfo_t req;
    struct redis_conn *conn;
};

struct redis_conn {
    struct redis *redis;
    uv_loop_t *loop;
    const struct redis_conn_events *events;
    void *owner;
    enum state state;
    const char *detail; /* AWAY: why */
    uv_timer_t timer;
    uv_idle_t flush;  /* while something waits to be written: runs once, before the loop sleeps */
    unsigned handles; /* that have to close, lookups included */

    struct sockaddr_storage addresses[ADDRESSES];
    size_t address_count; /* 0: to be looked up */
    size_t address_first; /* the others follow in a circle */
    size_t address_tried;
    struct lookup *lookup; /* NULL: none runs */
    struct wire *wire;     /* NULL: none */
    redisReader *reader;   /* owned; as long as wire */
    struct buf out;
    struct list calls;   /* sent or in out, in order */
    uint64_t give_up_ms; /* until READY: the attempt's deadline */
    uint64_t heard_ms;
    bool overdue; /* a deadline has passed; what has come meanwhile is read first */
    unsigned failures;
    uint64_t random;
    unsigned greeting_left;
    struct redis_call greeting[REDIS_GREETING_MAX];
    struct redis_call ping;
    char input[INPUT_BYTES];
};

static void try_address(struct redis_conn *c, const char *detail);
static void begin(struct redis_conn *c);

/* ---- the end of a wire, an attempt, the connection ---- */

static void handle_gone(struct redis_conn *c)
{
    if (--c->handles > 0 || c->state != CLOSING)
        return;
    void (*closed)(void *) = c->events->closed;
    void *owner = c->owner;
    free(c);
    closed(owner);
}

static void on_handle_closed(uv_handle_t *handle)
{
    handle_gone(handle->data);
}

static void on_wire_closed(uv_handle_t *handle)
{
    struct wire *w = handle->data;
    struct redis_conn *c = w->conn;
    free(w->writing);
    free(w);
    handle_gone(c);
}

static void drop_wire(struct redis_conn *c)
{
    if (c->wire == NULL)
        return;
    uv_close((uv_handle_t *)&c->wire->tcp, on_wire_closed);
    c->wire = NULL;
    if (c->reader)
        redisReaderFree(c->reader);
    c->reader = NULL;
    if (c->state == GREETING && c->out.data)
        mem_wipe(c->out.data, c->out.len);
    buf_deinit(&c->out);
    uv_idle_stop(&c->flush);
}

static uint64_t backoff_ms(struct redis_conn *c)
{
    uint64_t ms = BACKOFF_MS << (c->failures < 5 ? c->failures : 5);
    ms = ms < BACKOFF_MAX ? ms : BACKOFF_MAX;
    c->random ^= c->random << 13; /* so that a fleet does not come back all at once; need not be good */
    c->random ^= c->random >> 7;
    c->random ^= c->random << 17;
    return ms / 2 + c->random % (ms / 2 + 1);
}

static void on_timer(uv_timer_t *timer);

/* The attempt or the connection has failed: everything open is answered. Called by the loop only. */
static void fail(struct redis_conn *c, const char *detail)
{
    if (c->state == AWAY || c->state == CLOSING)
        return;
    drop_wire(c);
    c->state = AWAY;
    c->address_count = 0; /* names move: asked anew each time */
    c->detail = detail;
    c->overdue = false;
    uv_timer_start(&c->timer, on_timer, backoff_ms(c), 0);
    c->failures++;
    redis_note(c->redis, detail);

    struct list calls; /* an owner may close the connection from inside done */
    list_init(&calls);
    if (!list_empty(&c->calls)) {
        list_insert_before(&c->calls, &calls);
        list_remove(&c->calls);
    }
    while (!list_empty(&calls)) {
        struct redis_call *call = list_entry(calls.next, struct redis_call, link);
        list_remove(&call->link);
        call->done(call, NULL, detail);
    }
    if (c->state != CLOSING && c->events->failed)
        c->events->failed(c->owner, detail);
}

void redis_conn_abandon(struct redis_conn *c, const char *detail)
{
    fail(c, detail);
}

void redis_conn_close(struct redis_conn *c)
{
    assert(c->state != CLOSING);
    drop_wire(c);
    c->state = CLOSING;
    list_init(&c->calls); /* our own, if any */
    if (c->lookup)
        uv_cancel((uv_req_t *)&c->lookup->req); /* while it is queued only: else it ends in its own time */
    uv_close((uv_handle_t *)&c->timer, on_handle_closed);
    uv_close((uv_handle_t *)&c->flush, on_handle_closed);
}

/* ---- deadlines ---- */

static struct redis_call *first_call(const struct redis_conn *c)
{
    return list_empty(&c->calls) ? NULL : list_entry(c->calls.next, struct redis_call, link);
}

static uint64_t next_deadline(const struct redis_conn *c)
{
    if (c->state != READY)
        return c->give_up_ms;
    const struct redis_call *first = first_call(c);
    return first ? first->deadline_ms : c->heard_ms + PING_MS;
}

static void arm(struct redis_conn *c)
{
    uint64_t now = uv_now(c->loop), at = next_deadline(c);
    uv_timer_start(&c->timer, on_timer, at > now ? at - now : 1, 0);
}

static void on_pong(struct redis_call *call, const redisReply *reply, const char *detail)
{
    (void)call;
    (void)reply; /* any will do */
    (void)detail;
}

static void send_ping(struct redis_conn *c)
{
    struct redis_args a;
    redis_args_begin(&a, "PING");
    c->ping = (struct redis_call){.deadline_ms = uv_now(c->loop) + c->redis->timeout_ms, .done = on_pong};
    redis_conn_send(c, &c->ping, &a);
}

static void on_timer(uv_timer_t *timer)
{
    struct redis_conn *c = timer->data;
    if (c->state == AWAY || c->state == STARTING) {
        begin(c);
        return;
    }
    if (uv_now(c->loop) < next_deadline(c)) {
        c->overdue = false;
        arm(c);
    } else if (c->state == READY && list_empty(&c->calls)) {
        send_ping(c);
    } else if (!c->overdue) {
        /* perhaps it was this loop that was late: what lies in the socket is read before anything is given up
         */
        c->overdue = true;
        uv_timer_start(timer, on_timer, 1, 0);
    } else {
        if (c->state == CONNECTING) /* the next attempt begins with the next address */
            c->address_first++;
        fail(c, c->state == RESOLVING ? redis_down_name : redis_down_timeout);
    }
}

/* ---- writing ---- */

static void on_flush(uv_idle_t *idle);

static void on_written(uv_write_t *req, int status)
{
    struct wire *w = req->data;
    struct redis_conn *c = w->conn;
    free(w->writing);
    w->writing = NULL;
    if (c->wire != w)
        return;
    if (status < 0)
        fail(c, redis_errno_detail(status));
    else if (c->out.len > 0)
        uv_idle_start(&c->flush, on_flush);
}

/* What the socket does not take now becomes a write of its own; what follows gathers behind it. */
static void on_flush(uv_idle_t *idle)
{
    struct redis_conn *c = idle->data;
    struct wire *w = c->wire;
    uv_idle_stop(idle);
    if (w->writing != NULL || c->out.len == 0)
        return;
    uv_buf_t buf = uv_buf_init((char *)c->out.data, (unsigned)c->out.len);
    int n = uv_try_write((uv_stream_t *)&w->tcp, &buf, 1);
    if (n < 0 && n != UV_EAGAIN) {
        fail(c, redis_errno_detail(n));
        return;
    }
    if (n > 0) {
        if (c->state == GREETING) /* the password comes first */
            mem_wipe(c->out.data, (size_t)n);
        buf_consume(&c->out, (size_t)n);
    }
    if (c->out.len == 0)
        return;
    w->writing = c->out.data;
    buf = uv_buf_init((char *)w->writing, (unsigned)c->out.len);
    buf_init(&c->out, OUT_MAX);
    int rc = uv_write(&w->write, (uv_stream_t *)&w->tcp, &buf, 1, on_written);
    if (rc < 0)
        fail(c, redis_errno_detail(rc));
}

static bool add_call(struct redis_conn *c, struct redis_call *call, const struct redis_args *a)
{
    if (!redis_args_append(a, &c->out))
        return false;
    list_append(&c->calls, &call->link);
    if (!uv_is_active((uv_handle_t *)&c->flush))
        uv_idle_start(&c->flush, on_flush);
    return true;
}

bool redis_conn_send(struct redis_conn *c, struct redis_call *call, const struct redis_args *a)
{
    assert(c->state == READY);
    bool first = list_empty(&c->calls);
    if (!add_call(c, call, a))
        return false;
    if (first)
        arm(c);
    return true;
}

/* ---- reading ---- */

static bool is_message(const redisReply *reply)
{
    return reply->type == REDIS_REPLY_ARRAY && reply->elements == 3 &&
           reply->element[0]->type == REDIS_REPLY_STRING && strcmp(reply->element[0]->str, "message") == 0 &&
           reply->element[2]->type == REDIS_REPLY_STRING;
}

static void dispatch(struct redis_conn *c, const redisReply *reply)
{
    struct redis_call *call = first_call(c);
    if (is_message(reply) && c->events->message) {
        c->events->message(c->owner, reply->element[2]->str, reply->element[2]->len);
    } else if (call) {
        list_remove(&call->link);
        call->done(call, reply, NULL);
    } else {
        fail(c, reply->type == REDIS_REPLY_ERROR ? redis_error_detail(reply->str, reply->len, NULL)
                                                 : redis_down_nonsense);
    }
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct redis_conn *c = ((struct wire *)handle->data)->conn;
    (void)suggested;
    *buf = uv_buf_init(c->input, sizeof c->input);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct redis_conn *c = ((struct wire *)stream->data)->conn;
    if (n < 0) {
        fail(c, redis_down_lost);
        return;
    }
    c->heard_ms = uv_now(c->loop);
    c->overdue = false;
    redisReader *reader = c->reader;
    if (redisReaderFeed(reader, buf->base, (size_t)n) != REDIS_OK)
        mem_fail();
    while (c->reader == reader) { /* until whoever is told gives it up */
        void *reply = NULL;
        if (redisReaderGetReply(reader, &reply) != REDIS_OK) {
            fail(c, redis_down_nonsense);
            return;
        }
        if (reply == NULL)
            return;
        dispatch(c, reply);
        freeReplyObject(reply);
    }
}

/* ---- the greeting ---- */

static void on_greeted(struct redis_call *call, const redisReply *reply, const char *detail)
{
    struct redis_conn *c = call->owner;
    (void)detail;
    if (reply == NULL)
        return;
    if (reply->type == REDIS_REPLY_ERROR) {
        fail(c, redis_error_detail(reply->str, reply->len, NULL));
        return;
    }
    if (--c->greeting_left > 0)
        return;
    c->state = READY;
    c->failures = 0;
    redis_note(c->redis, NULL);
    arm(c);
    if (c->events->ready)
        c->events->ready(c->owner);
}

static void greet(struct redis_conn *c)
{
    struct redis_password password;
    bool secret = c->redis->password_file != NULL;
    if (secret && redis_read_password(c->redis, &password) < 0) { /* a small file, read in place */
        fail(c, redis_down_password);
        return;
    }
    c->state = GREETING;
    c->greeting_left = 0;
    int rc = buf_reserve(&c->out, GREETING_ROOM);
    assert(rc == 0);
    (void)rc;
    struct redis_args a;
    for (unsigned i = 0; redis_greeting(c->redis, i, secret ? &password : NULL, true, &a); i++) {
        c->greeting[i] = (struct redis_call){.done = on_greeted, .owner = c};
        add_call(c, &c->greeting[i], &a);
        c->greeting_left++;
    }
    if (secret)
        mem_wipe(&password, sizeof password);
}

/* ---- connecting ---- */

static void on_connected(uv_connect_t *req, int status)
{
    struct wire *w = req->data;
    struct redis_conn *c = w->conn;
    if (c->wire != w)
        return; /* given up meanwhile */
    if (status < 0) {
        try_address(c, redis_errno_detail(status));
        return;
    }
    uv_tcp_nodelay(&w->tcp, 1);
    uv_tcp_keepalive(&w->tcp, 1, 60);
    c->reader = redisReaderCreate();
    if (c->reader == NULL)
        mem_fail();
    uv_read_start((uv_stream_t *)&w->tcp, on_alloc, on_read);
    greet(c);
}

/* 0, or why this address is not even worth waiting for. */
static int start_wire(struct redis_conn *c, const struct sockaddr_storage *address)
{
    struct wire *w = mem_zalloc(sizeof *w);
    w->conn = c;
    w->connect.data = w->write.data = w->tcp.data = w;
    int rc = uv_tcp_init(c->loop, &w->tcp);
    if (rc < 0) {
        free(w);
        return rc;
    }
    c->handles++;
    c->wire = w;
    return uv_tcp_connect(&w->connect, &w->tcp, (const struct sockaddr *)address, on_connected);
}

/* The next address, or the end of the attempt. */
static void try_address(struct redis_conn *c, const char *detail)
{
    c->state = CONNECTING;
    while (c->address_tried < c->address_count) {
        drop_wire(c);
        int rc = start_wire(c, &c->addresses[(c->address_first + c->address_tried) % c->address_count]);
        c->address_tried++;
        if (rc == 0)
            return;
        detail = redis_errno_detail(rc);
    }
    fail(c, detail);
}

static void keep_addresses(struct redis_conn *c, const struct addrinfo *found)
{
    c->address_count = 0;
    for (const struct addrinfo *a = found; a != NULL && c->address_count < ADDRESSES; a = a->ai_next) {
        struct sockaddr_storage *sa = &c->addresses[c->address_count];
        if (a->ai_family != AF_INET && a->ai_family != AF_INET6)
            continue;
        memcpy(sa, a->ai_addr, a->ai_addrlen);
        if (a->ai_family == AF_INET)
            ((struct sockaddr_in *)(void *)sa)->sin_port = htons(c->redis->host.port);
        else
            ((struct sockaddr_in6 *)(void *)sa)->sin6_port = htons(c->redis->host.port);
        c->address_count++;
    }
}

/* An answer that comes late is good for the next attempt. */
static void on_lookup(uv_getaddrinfo_t *req, int status, struct addrinfo *found)
{
    struct lookup *l = req->data;
    struct redis_conn *c = l->conn;
    free(l);
    c->lookup = NULL;
    keep_addresses(c, status == 0 ? found : NULL);
    uv_freeaddrinfo(found);
    if (c->state == RESOLVING) {
        if (c->address_count == 0)
            fail(c, redis_down_name);
        else
            try_address(c, redis_down_name);
    }
    handle_gone(c);
}

static int start_lookup(struct redis_conn *c)
{
    static const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct lookup *l = mem_zalloc(sizeof *l);
    l->conn = c;
    l->req.data = l;
    int rc = uv_getaddrinfo(c->loop, &l->req, on_lookup, c->redis->host.host, NULL, &hints);
    if (rc < 0) {
        free(l);
        return rc;
    }
    c->handles++;
    c->lookup = l;
    return 0;
}

static void begin(struct redis_conn *c)
{
    c->state = RESOLVING;
    c->address_tried = 0;
    c->overdue = false;
    c->give_up_ms = uv_now(c->loop) + c->redis->timeout_ms;
    arm(c);
    if (hostport_sockaddr(&c->redis->host, &c->addresses[0]) == 0)
        c->address_count = 1;
    if (c->address_count > 0)
        try_address(c, redis_down_name);
    else if (c->lookup == NULL && start_lookup(c) < 0)
        fail(c, redis_down_name);
}

/* ---- making one ---- */

struct redis_conn *redis_conn_new(struct redis *r, uv_loop_t *loop, const struct redis_conn_events *events,
                                  void *owner)
{
    struct redis_conn *c = mem_zalloc(sizeof *c);
    c->redis = r;
    c->loop = loop;
    c->events = events;
    c->owner = owner;
    c->random = uv_hrtime() ^ (uint64_t)(uintptr_t)c;
    c->random = c->random ? c->random : 1;
    list_init(&c->calls);
    buf_init(&c->out, OUT_MAX);
    uv_timer_init(loop, &c->timer);
    uv_idle_init(loop, &c->flush);
    c->timer.data = c->flush.data = c;
    c->handles = 2;
    c->state = STARTING;
    uv_timer_start(&c->timer, on_timer, 0, 0); /* nothing is told from inside this call */
    return c;
}

enum redis_conn_state redis_conn_state(const struct redis_conn *c, const char **detail)
{
    *detail = c->detail;
    if (c->state == READY)
        return REDIS_CONN_READY;
    return c->state == AWAY ? REDIS_CONN_AWAY : REDIS_CONN_TRYING;
}
