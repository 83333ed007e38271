/* A loop's operations over a connection to Redis. Everything that one turn of the loop submits goes out
 * together; answers come in order. While the connection is being made operations wait for it, while it is
 * away they fail at once. One that is lost with its connection is not repeated: it may have happened.
 */
#include <assert.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "store_redis_impl.h"

struct store_link {
    struct redis *redis;
    uv_loop_t *loop;
    struct redis_conn *conn;
    void (*done)(struct store_op *op);
    uv_idle_t later;      /* while something has failed: answers it, before the loop sleeps */
    struct list open;     /* of struct pending: all that follow */
    struct list held;     /* until the connection is there */
    struct list finished; /* answered, not yet told */
    size_t count;         /* of all three */
    void (*closed)(void *owner);
    void *owner;
    unsigned handles;
};

struct pending {
    struct list link;
    struct store_link *of;
    struct store_op *op;
    struct redis_call call;
    struct redis_place place;
    uint64_t deadline_ms;
};

/* ---- answering ---- */

static void answer(struct pending *p)
{
    struct store_link *l = p->of;
    struct store_op *op = p->op;
    list_remove(&p->link);
    free(p);
    l->count--;
    l->done(op);
}

/* Answers what is there now; what is submitted meanwhile has its own turn. */
static void answer_all(struct list *from)
{
    struct list some;
    list_init(&some);
    if (list_empty(from))
        return;
    list_insert_before(from, &some);
    list_remove(from);
    while (!list_empty(&some))
        answer(list_entry(some.next, struct pending, link));
}

static void on_later(uv_idle_t *idle)
{
    struct store_link *l = idle->data;
    uv_idle_stop(idle);
    answer_all(&l->finished);
}

static void answer_later(struct pending *p, int rc, const char *detail)
{
    struct store_link *l = p->of;
    redis_op_fail(p->op, rc, detail);
    list_remove(&p->link);
    list_append(&l->finished, &p->link);
    if (!uv_is_active((uv_handle_t *)&l->later))
        uv_idle_start(&l->later, on_later);
}

/* ---- sending ---- */

static void on_reply(struct redis_call *call, const redisReply *reply, const char *detail);

static void send_op(struct pending *p)
{
    struct store_link *l = p->of;
    struct redis_args a;
    list_remove(&p->link);
    list_append(&l->open, &p->link);
    p->call = (struct redis_call){.owner = p, .deadline_ms = p->deadline_ms, .done = on_reply};
    redis_op_args(l->redis, p->op, &p->place, &a);
    if (!redis_conn_send(l->conn, &p->call, &a))
        answer_later(p, ERR_TOO_BIG, redis_down_many);
}

static void on_reply(struct redis_call *call, const redisReply *reply, const char *detail)
{
    struct pending *p = call->owner;
    struct store_link *l = p->of;
    if (reply == NULL) {
        redis_op_fail(p->op, ERR_STORE, detail);
        answer(p);
        return;
    }
    enum redis_step step = redis_op_take(p->op, &p->place, reply);
    if (step == REDIS_AGAIN) { /* behind what waits already */
        p->deadline_ms = uv_now(l->loop) + l->redis->timeout_ms;
        send_op(p);
        return;
    }
    const char *lost = p->op->detail;
    answer(p);
    if (step == REDIS_LOST && l->closed == NULL)
        redis_conn_abandon(l->conn, lost);
}

void redis_link_submit(struct store_link *l, struct store_op *op)
{
    assert(l->closed == NULL);
    struct pending *p = mem_zalloc(sizeof *p);
    p->of = l;
    p->op = op;
    p->deadline_ms = uv_now(l->loop) + l->redis->timeout_ms;
    list_init(&p->link);
    const char *detail;
    enum redis_conn_state state = redis_conn_state(l->conn, &detail);
    if (l->count++ >= REDIS_OPEN_MAX)
        answer_later(p, ERR_TOO_BIG, redis_down_many);
    else if (state == REDIS_CONN_READY)
        send_op(p);
    else if (state == REDIS_CONN_TRYING)
        list_append(&l->held, &p->link);
    else
        answer_later(p, ERR_STORE, detail);
}

/* ---- the connection ---- */

static void on_ready(void *owner)
{
    struct store_link *l = owner;
    while (!list_empty(&l->held))
        send_op(list_entry(l->held.next, struct pending, link));
}

static void on_failed(void *owner, const char *detail)
{
    struct store_link *l = owner;
    for (struct list *p = l->held.next; p != &l->held; p = p->next)
        redis_op_fail(list_entry(p, struct pending, link)->op, ERR_STORE, detail);
    answer_all(&l->held);
}

static void free_if_closed(struct store_link *l)
{
    if (--l->handles > 0)
        return;
    struct list *const lists[] = {&l->open, &l->held, &l->finished};
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        for (struct list *p = lists[i]->next; p != lists[i] && lists[i] != &l->finished; p = p->next)
            redis_op_fail(list_entry(p, struct pending, link)->op, ERR_STORE, redis_down_lost);
        answer_all(lists[i]);
    }
    void (*closed)(void *) = l->closed;
    void *owner = l->owner;
    free(l);
    closed(owner);
}

static void on_conn_closed(void *owner)
{
    free_if_closed(owner);
}

static void on_later_closed(uv_handle_t *handle)
{
    free_if_closed(handle->data);
}

/* ---- opening and closing ---- */

struct store_link *redis_link_new(struct store_backend *b, uv_loop_t *loop, void (*done)(struct store_op *op))
{
    static const struct redis_conn_events events = {
        .ready = on_ready, .failed = on_failed, .closed = on_conn_closed};
    struct store_link *l = mem_zalloc(sizeof *l);
    l->redis = redis_of(b);
    l->loop = loop;
    l->done = done;
    list_init(&l->open);
    list_init(&l->held);
    list_init(&l->finished);
    uv_idle_init(loop, &l->later);
    l->later.data = l;
    l->conn = redis_conn_new(l->redis, loop, &events, l);
    l->handles = 2;
    return l;
}

void redis_link_close(struct store_link *l, void (*closed)(void *owner), void *owner)
{
    assert(l->closed == NULL && closed != NULL);
    l->closed = closed;
    l->owner = owner;
    redis_conn_close(l->conn);
    uv_close((uv_handle_t *)&l->later, on_later_closed);
}
