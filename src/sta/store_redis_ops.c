/* Operations of the ticket store as commands for Redis, and its replies as their results. No I/O: used by the
 * blocking half (store_redis.c) and by the loops' (store_redis_link.c).
 */
#include <assert.h>
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "store_redis_impl.h"

#define SWEEP_BATCH 500 /* tickets for which the server is held up at once: some milliseconds */

/* ---- commands ---- */

void redis_args_add(struct redis_args *a, const void *data, size_t len)
{
    assert(a->argc < REDIS_ARGS_MAX);
    a->argv[a->argc] = data;
    a->len[a->argc++] = len;
}

void redis_args_add_text(struct redis_args *a, const char *s)
{
    redis_args_add(a, s, strlen(s));
}

void redis_args_add_int(struct redis_args *a, int64_t n)
{
    assert(a->number_count < sizeof a->numbers / sizeof a->numbers[0]);
    char *text = a->numbers[a->number_count++];
    int len = snprintf(text, sizeof a->numbers[0], "%" PRId64, n);
    redis_args_add(a, text, (size_t)len);
}

void redis_args_begin(struct redis_args *a, const char *command)
{
    a->argc = 0;
    a->number_count = 0;
    redis_args_add_text(a, command);
}

bool redis_args_append(const struct redis_args *a, struct buf *b)
{
    sds text = NULL;
    const char **argv = (const char **)(uintptr_t)a->argv; /* hiredis takes it without const, and keeps it */
    int len = redisFormatSdsCommandArgv(&text, a->argc, argv, a->len);
    if (len < 0)
        mem_fail();
    int rc = buf_append(b, text, (size_t)len);
    mem_wipe(text, (size_t)len); /* it may be the one with the password */
    redisFreeSdsCommand(text);
    return rc == 0;
}

bool redis_greeting(const struct redis *r, unsigned step, const struct redis_password *p, bool scripts,
                    struct redis_args *a)
{
    unsigned auth = p != NULL, select = r->database != 0;
    if (step < auth) {
        redis_args_begin(a, "AUTH");
        if (p->user)
            redis_args_add_text(a, p->user);
        redis_args_add_text(a, p->password);
    } else if (step < auth + select) {
        redis_args_begin(a, "SELECT");
        redis_args_add_int(a, r->database);
    } else if (step == auth + select) {
        redis_args_begin(a, "EVAL");
        redis_args_add_text(a, redis_script_probe);
        redis_args_add_text(a, "0");
    } else if (scripts && step - auth - select - 1 < REDIS_SCRIPTS) {
        const struct redis_script *s = &r->scripts[step - auth - select - 1];
        redis_args_begin(a, "SCRIPT");
        redis_args_add_text(a, "LOAD");
        redis_args_add(a, s->text, s->len);
    } else {
        return false;
    }
    return true;
}

/* ---- operations as commands ---- */

/* The hashes that begin so lie between two. */
static void bound_hashes(struct redis_args *a, const struct store_query *q)
{
    memset(a->low, 0, RECORD_HASH);
    memset(a->high, 0xff, RECORD_HASH);
    for (size_t i = 0; q->fingerprint && q->fingerprint[i] && i < (size_t)2 * RECORD_HASH; i++) {
        unsigned c = (unsigned char)q->fingerprint[i];
        unsigned digit = c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10, shift = i % 2 ? 0 : 4;
        a->low[i / 2] |= (uint8_t)(digit << shift);
        a->high[i / 2] &= (uint8_t) ~((15 - digit) << shift);
    }
}

static void add_list_args(const struct store_op *op, struct redis_args *a)
{
    const struct store_query *q = &op->query;
    redis_args_add_int(a, (int64_t)q->limit);
    redis_args_add(a, op->user_key, op->has_user ? STORE_KEY : 0);
    bound_hashes(a, q);
    bool behind = q->has_after && memcmp(q->after, a->low, RECORD_HASH) >= 0;
    redis_args_add(a, behind ? q->after : a->low, RECORD_HASH);
    redis_args_add(a, a->high, RECORD_HASH);
    redis_args_add_text(a, behind ? "(" : "[");
    size_t digits = q->fingerprint ? strlen(q->fingerprint) : 0;
    assert(digits < sizeof a->key);
    for (size_t i = 0; i < digits; i++)
        a->key[i] = (char)tolower((unsigned char)q->fingerprint[i]);
    redis_args_add(a, a->key, digits);
}

static void add_issue_args(const struct store_op *op, struct redis_args *a)
{
    redis_args_add(a, op->hash, RECORD_HASH);
    redis_args_add(a, op->user_key, STORE_KEY);
    redis_args_add(a, op->device_key, STORE_KEY);
    redis_args_add(a, op->data, op->len);
    redis_args_add_int(a, (int64_t)op->limits.per_user);
    redis_args_add_int(a, (int64_t)op->limits.per_device);
    redis_args_add_int(a, (int64_t)op->limits.total);
    redis_args_add_text(a, op->limits.evict_oldest ? "1" : "0");
}

static const char *sweep_name(enum store_sweep what)
{
    return what == STORE_SWEEP_FORGET ? "forget" : "expire";
}

/* query.limit 0: all. */
static int64_t purge_batch(const struct store_op *op)
{
    int64_t left = (int64_t)op->query.limit - op->count;
    return op->query.limit > 0 && left < STORE_PURGE_MAX ? left : STORE_PURGE_MAX;
}

void redis_op_args(struct redis *r, const struct store_op *op, const struct redis_place *place,
                   struct redis_args *a)
{
    const struct redis_script *s = &r->scripts[op->kind];
    if (atomic_load_explicit(&r->tombstone_ms, memory_order_relaxed) != op->tombstone_ms)
        atomic_store_explicit(&r->tombstone_ms, op->tombstone_ms, memory_order_relaxed);
    redis_args_begin(a, place->whole ? "EVAL" : "EVALSHA");
    redis_args_add(a, place->whole ? s->text : s->sha, place->whole ? s->len : sizeof s->sha - 1);
    redis_args_add_text(a, "0");
    redis_args_add_text(a, r->prefix);
    redis_args_add_int(a, op->now_ms);
    redis_args_add_int(a, op->tombstone_ms);
    switch (op->kind) {
    case STORE_ISSUE:
        add_issue_args(op, a);
        return;
    case STORE_REDEEM:
    case STORE_REFRESH:
    case STORE_REVOKE:
        redis_args_add(a, op->hash, RECORD_HASH);
        return;
    case STORE_END:
        redis_args_add(a, op->hash, RECORD_HASH);
        redis_args_add_text(a, sweep_name(op->what));
        return;
    case STORE_SWEEP:
        redis_args_add_text(a, sweep_name(op->what));
        redis_args_add_int(a, SWEEP_BATCH);
        redis_args_add(a, op->user_key, op->has_user ? STORE_KEY : 0);
        redis_args_add(a, place->after, place->begun ? RECORD_HASH : 0);
        redis_args_add_int(a, op->count);
        return;
    case STORE_LIST:
        add_list_args(op, a);
        return;
    case STORE_PURGE:
        redis_args_add_int(a, purge_batch(op));
        return;
    }
    assert(!"an operation");
}

/* ---- replies as results ---- */

void redis_op_fail(struct store_op *op, int rc, const char *detail)
{
    store_op_fail(op, rc, detail);
    for (int64_t i = 0; op->page && i < op->count; i++)
        free(op->page[i]);
    free(op->page);
    op->page = NULL;
    op->count = 0;
}

static enum redis_step take_nonsense(struct store_op *op)
{
    redis_op_fail(op, ERR_STORE, redis_down_nonsense);
    return REDIS_DONE;
}

static enum redis_step take_error(struct store_op *op, struct redis_place *place, const redisReply *reply)
{
    if (strncmp(reply->str, "NOSCRIPT", 8) == 0 && !place->whole) { /* nothing has run */
        place->whole = true;
        return REDIS_AGAIN;
    }
    bool lasting;
    const char *detail = redis_error_detail(reply->str, reply->len, &lasting);
    int rc = strncmp(reply->str, "OOM", 3) == 0 ? ERR_STORE_FULL : ERR_STORE;
    redis_op_fail(op, rc, detail);
    return lasting ? REDIS_LOST : REDIS_DONE;
}

static enum redis_step take_redeemed(struct store_op *op, const redisReply *reply)
{
    if (reply->type == REDIS_REPLY_NIL) {
        op->verdict = REDEEM_UNKNOWN;
        return REDIS_DONE;
    }
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 ||
        reply->element[0]->type != REDIS_REPLY_INTEGER || reply->element[1]->type != REDIS_REPLY_STRING)
        return take_nonsense(op);
    const redisReply *text = reply->element[1];
    op->rec = record_decode(op->hash, (const uint8_t *)text->str, text->len);
    if (op->rec == NULL)
        return take_nonsense(op);
    op->verdict = reply->element[0]->integer == 1 ? REDEEM_OK : store_verdict(op->rec, op->now_ms);
    return REDIS_DONE;
}

static enum redis_step take_done(struct store_op *op, const redisReply *reply)
{
    static const int issued[] = {0, ERR_EXISTS, ERR_LIMIT};
    if (reply->type == REDIS_REPLY_NIL && op->kind != STORE_ISSUE)
        op->rc = ERR_NOT_FOUND;
    else if (reply->type != REDIS_REPLY_INTEGER)
        return take_nonsense(op);
    else if (op->kind != STORE_ISSUE)
        op->rc = 0;
    else if (reply->integer < 0 || reply->integer > 2)
        return take_nonsense(op);
    else
        op->rc = issued[reply->integer];
    return REDIS_DONE;
}

static enum redis_step take_swept(struct store_op *op, struct redis_place *place, const redisReply *reply)
{
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 ||
        reply->element[0]->type != REDIS_REPLY_INTEGER || reply->element[1]->type != REDIS_REPLY_STRING)
        return take_nonsense(op);
    const redisReply *at = reply->element[1];
    if (reply->element[0]->integer < 0 || reply->element[0]->integer > SWEEP_BATCH)
        return take_nonsense(op);
    op->count += reply->element[0]->integer;
    if (at->len == 0)
        return REDIS_DONE;
    if (at->len != RECORD_HASH)
        return take_nonsense(op);
    memcpy(place->after, at->str, RECORD_HASH);
    place->begun = true;
    return REDIS_AGAIN;
}

static enum redis_step take_purged(struct store_op *op, const redisReply *reply)
{
    if (reply->type != REDIS_REPLY_INTEGER || reply->integer < 0 || reply->integer > purge_batch(op))
        return take_nonsense(op);
    bool all = reply->integer < purge_batch(op);
    op->count += reply->integer;
    return all || (op->query.limit > 0 && op->count >= (int64_t)op->query.limit) ? REDIS_DONE : REDIS_AGAIN;
}

static enum redis_step take_page(struct store_op *op, const redisReply *reply)
{
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements % 2 != 0)
        return take_nonsense(op);
    size_t n = reply->elements / 2;
    op->more = n > op->query.limit;
    n = op->more ? op->query.limit : n;
    op->page = mem_alloc((n + 1) * sizeof *op->page);
    op->count = 0;
    for (size_t i = 0; i < n; i++) {
        const redisReply *hash = reply->element[2 * i], *text = reply->element[2 * i + 1];
        struct record *r = NULL;
        if (hash->type == REDIS_REPLY_STRING && hash->len == RECORD_HASH && text->type == REDIS_REPLY_STRING)
            r = record_decode((const uint8_t *)hash->str, (const uint8_t *)text->str, text->len);
        if (r == NULL)
            return take_nonsense(op);
        op->page[op->count++] = r;
    }
    op->rc = 0;
    return REDIS_DONE;
}

enum redis_step redis_op_take(struct store_op *op, struct redis_place *place, const redisReply *reply)
{
    if (reply->type == REDIS_REPLY_ERROR)
        return take_error(op, place, reply);
    place->whole = false;
    switch (op->kind) {
    case STORE_REDEEM:
    case STORE_REFRESH:
        return take_redeemed(op, reply);
    case STORE_ISSUE:
    case STORE_REVOKE:
    case STORE_END:
        return take_done(op, reply);
    case STORE_SWEEP:
        return take_swept(op, place, reply);
    case STORE_LIST:
        return take_page(op, reply);
    case STORE_PURGE:
        return take_purged(op, reply);
    }
    return take_nonsense(op);
}
