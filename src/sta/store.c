/* The ticket store as callers see it: URL to implementation, the synchronous calls, and what issuing,
 * redeeming and revoking mean. Knows nothing of files and of memory layouts; the store thread and the loops'
 * clients are in store_thread.c.
 */
#include <assert.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "store_impl.h"

#define TOMBSTONE_MS   (24 * 3600 * 1000LL)
#define MAX_BYTES      ((size_t)4 << 30)
#define PURGE_EVERY_MS 60000
#define LOG_EVERY_MS   10000

static const struct store_ops *const implementations[] = {&store_lmdb_ops, &store_memory_ops};

/* ---- opening ---- */

static const struct store_ops *find_scheme(const char *url, char *why, size_t why_cap)
{
    size_t len = strcspn(url, ":");
    for (size_t i = 0; i < sizeof implementations / sizeof implementations[0]; i++)
        if (url[len] == ':' && strlen(implementations[i]->scheme) == len &&
            memcmp(implementations[i]->scheme, url, len) == 0)
            return implementations[i];
    /* the scheme alone: what follows may hold a password */
    snprintf(why, why_cap,
             "unknown kind of ticket store \"%.*s\": write lmdb:PATH or memory:", len > 32 ? 32 : (int)len,
             url);
    return NULL;
}

int store_open(struct store **out, const char *url, const struct store_options *options, char *why,
               size_t why_cap)
{
    const struct store_ops *ops = find_scheme(url, why, why_cap);
    if (ops == NULL)
        return ERR_UNSUPPORTED;

    struct store_options o = options ? *options : (struct store_options){0};
    assert(o.tombstone_ms >= 0 && o.purge_every_ms >= 0);
    if (o.max_bytes == 0)
        o.max_bytes = MAX_BYTES;
    struct store_backend *backend;
    int rc = ops->open(&backend, url + strlen(ops->scheme) + 1, &o, why, why_cap);
    if (rc < 0)
        return rc;

    struct store *s = mem_zalloc(sizeof *s);
    s->url = mem_strdup(url);
    s->backend = backend;
    s->ops = ops;
    s->tombstone_ms = o.tombstone_ms ? o.tombstone_ms : TOMBSTONE_MS;
    s->purge_every_ms = o.purge_every_ms ? o.purge_every_ms : PURGE_EVERY_MS;
    rc = store_thread_start(s);
    if (rc < 0) {
        snprintf(why, why_cap, "%s: cannot start the store's thread: %s", ops->scheme, err_text(rc));
        ops->close(backend);
        free(s->url);
        free(s);
        return rc;
    }
    *out = s;
    return 0;
}

void store_close(struct store *s)
{
    assert(atomic_load(&s->clients) == 0);
    store_thread_stop(s);
    s->ops->close(s->backend);
    free(s->url);
    free(s);
}

bool store_log_due(_Atomic uint64_t *last_ms)
{
    uint64_t now = clock_mono_ms(), last = atomic_load(last_ms);
    return (last == 0 || now - last >= LOG_EVERY_MS) && atomic_compare_exchange_strong(last_ms, &last, now);
}

bool store_is_shared(const struct store *s)
{
    return s->ops->shared;
}

/* ---- what the operations mean ---- */

int64_t store_record_end(const struct record *r)
{
    return r->state == TICKET_LIVE ? r->expires_ms : r->ended_ms;
}

enum redeem store_verdict(const struct record *r, int64_t now_ms)
{
    switch (record_state_at(r, now_ms)) {
    case TICKET_LIVE:
        return REDEEM_OK;
    case TICKET_EXPIRED:
        return REDEEM_EXPIRED;
    case TICKET_USED:
        return REDEEM_USED;
    case TICKET_REVOKED:
        return REDEEM_REVOKED;
    }
    assert(!"a state");
    return REDEEM_DOWN;
}

/* Looks the ticket up inside a write transaction. 0 with *out given, ERR_NOT_FOUND, ERR_STORE. */
static int fetch(struct store *s, struct store_txn *t, const uint8_t hash[RECORD_HASH], struct record **out)
{
    const uint8_t *data;
    size_t len;
    int rc = s->ops->lookup(s->backend, t, hash, &data, &len);
    if (rc < 0)
        return rc;
    *out = record_decode(hash, data, len);
    return *out ? 0 : ERR_STORE;
}

/* A live ticket ends here: it becomes a tombstone. */
static int end_ticket(struct store *s, struct store_txn *t, struct record *r, enum ticket_state state,
                      int64_t now_ms)
{
    uint8_t data[RECORD_BYTES_MAX];
    int64_t old_end_ms = store_record_end(r);
    r->state = state;
    r->ended_ms = now_ms;
    int len = record_encode(r, data);
    assert(len > 0); /* as long as it was before */
    return s->ops->replace(s->backend, t, r->hash, data, (size_t)len, old_end_ms, store_record_end(r));
}

static int apply_redeem(struct store *s, struct store_txn *t, struct store_op *op)
{
    int rc = fetch(s, t, op->hash, &op->rec);
    if (rc == ERR_NOT_FOUND) {
        op->verdict = REDEEM_UNKNOWN;
        return 0;
    }
    if (rc < 0)
        return rc;
    op->verdict = store_verdict(op->rec, op->now_ms);
    if (op->verdict != REDEEM_OK || op->rec->class != TICKET_SESSION)
        return 0;
    return end_ticket(s, t, op->rec, TICKET_USED, op->now_ms);
}

static int apply_revoke(struct store *s, struct store_txn *t, struct store_op *op)
{
    struct record *r = NULL;
    int rc = fetch(s, t, op->hash, &r);
    op->rc = rc == ERR_NOT_FOUND ? rc : 0;
    if (rc == 0 && store_verdict(r, op->now_ms) == REDEEM_OK)
        rc = end_ticket(s, t, r, TICKET_REVOKED, op->now_ms);
    free(r);
    return rc == ERR_NOT_FOUND ? 0 : rc;
}

static int apply_issue(struct store *s, struct store_txn *t, struct store_op *op)
{
    int rc = s->ops->insert(s->backend, t, op->hash, op->data, op->len, op->end_ms);
    op->rc = rc == ERR_EXISTS ? rc : 0;
    return rc == ERR_EXISTS ? 0 : rc;
}

/* All operations in one transaction. Negative: none of them happened, their results mean nothing, and *alone
 * says whether fewer at a time could fare better. */
static int run_together(struct store *s, struct store_op *const *ops, size_t n, bool *alone)
{
    static int (*const apply[])(struct store *, struct store_txn *, struct store_op *) = {
        [STORE_ISSUE] = apply_issue, [STORE_REDEEM] = apply_redeem, [STORE_REVOKE] = apply_revoke};
    struct store_txn t = {0};
    int rc = s->ops->begin(s->backend, &t);
    *alone = false;
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < n; i++) {
        rc = apply[ops[i]->kind](s, &t, ops[i]);
        if (rc < 0) {
            s->ops->abort(s->backend, &t);
            *alone = true;
            return rc;
        }
    }
    rc = s->ops->commit(s->backend, &t);
    *alone = rc == ERR_STORE_FULL;
    return rc;
}

static void run_one_by_one(struct store *s, struct store_op *const *ops, size_t n)
{
    for (size_t i = 0; i < n; i++)
        store_run(s, ops + i, 1);
}

void store_run(struct store *s, struct store_op *const *ops, size_t n)
{
    if (s->ops->in_place && n > 1) {
        run_one_by_one(s, ops, n);
        return;
    }
    bool alone;
    int rc = run_together(s, ops, n, &alone);
    if (rc == 0)
        return;
    for (size_t i = 0; i < n; i++) {
        free(ops[i]->rec);
        ops[i]->rec = NULL;
        ops[i]->rc = rc;
        ops[i]->verdict = REDEEM_DOWN;
    }
    if (n > 1 && alone) { /* the failure of one is not the others' */
        store_run(s, ops, n / 2);
        store_run(s, ops + n / 2, n - n / 2);
    } else if (rc == ERR_STORE_FULL && store_log_due(&s->full_logged_ms)) {
        log_message(LOG_ERROR, "ticket_store_full", "%s takes no more tickets until old ones are purged",
                    s->url);
    }
}

/* ---- synchronous ---- */

int store_issue(struct store *s, const struct record *r)
{
    uint8_t data[RECORD_BYTES_MAX];
    int len = record_encode(r, data);
    if (len < 0)
        return len;
    struct store_op op = {
        .kind = STORE_ISSUE, .data = data, .len = (size_t)len, .end_ms = store_record_end(r)};
    memcpy(op.hash, r->hash, RECORD_HASH);
    store_run(s, (struct store_op *[]){&op}, 1);
    return op.rc;
}

enum redeem store_redeem(struct store *s, const uint8_t hash[RECORD_HASH], int64_t now_ms,
                         struct record **out)
{
    struct store_op op = {.kind = STORE_REDEEM, .now_ms = now_ms};
    memcpy(op.hash, hash, RECORD_HASH);
    store_run(s, (struct store_op *[]){&op}, 1);
    *out = op.rec;
    return op.verdict;
}

int store_revoke(struct store *s, const uint8_t hash[RECORD_HASH], int64_t now_ms)
{
    struct store_op op = {.kind = STORE_REVOKE, .now_ms = now_ms};
    memcpy(op.hash, hash, RECORD_HASH);
    store_run(s, (struct store_op *[]){&op}, 1);
    return op.rc;
}

int store_get(struct store *s, const uint8_t hash[RECORD_HASH], struct record **out)
{
    return s->ops->get(s->backend, NULL, hash, out);
}

int64_t store_purge(struct store *s, int64_t now_ms, size_t limit)
{
    int64_t total = 0;
    size_t place = 0;
    do {
        size_t want = STORE_PURGE_MAX;
        if (limit > 0 && limit - (size_t)total < want)
            want = limit - (size_t)total;
        int64_t n = s->ops->purge(s->backend, now_ms - s->tombstone_ms, want, &place);
        if (n < 0)
            return n;
        total += n;
    } while (place != 0 && (limit == 0 || (size_t)total < limit));
    return total;
}

/* ---- walking ---- */

bool store_prefix_matches(const struct store_prefix *p, const uint8_t hash[RECORD_HASH])
{
    size_t whole = p->digits / 2;
    return memcmp(p->bytes, hash, whole) == 0 &&
           (p->digits % 2 == 0 || p->bytes[whole] >> 4 == hash[whole] >> 4);
}

static int parse_prefix(struct store_prefix *p, const char *text)
{
    size_t n = strlen(text);
    if (n < 4 || n > (size_t)2 * RECORD_HASH)
        return ERR_SYNTAX;
    *p = (struct store_prefix){.digits = n};
    for (size_t i = 0; i < n; i++) {
        if (!isxdigit((unsigned char)text[i]))
            return ERR_SYNTAX;
        unsigned digit = text[i] <= '9' ? (unsigned)(text[i] - '0') : (unsigned)((text[i] | 0x20) - 'a' + 10);
        p->bytes[i / 2] |= (uint8_t)(i % 2 == 0 ? digit << 4 : digit);
    }
    return 0;
}

static int visit_find(void *owner, const uint8_t hash[RECORD_HASH], const uint8_t *data, size_t len)
{
    struct record **found = owner;
    if (*found != NULL)
        return ERR_EXISTS;
    *found = record_decode(hash, data, len);
    return *found ? 0 : ERR_STORE;
}

int store_find(struct store *s, const char *fingerprint, struct record **out)
{
    struct store_prefix prefix;
    int rc = parse_prefix(&prefix, fingerprint);
    if (rc < 0)
        return rc;
    struct record *found = NULL;
    rc = s->ops->scan(s->backend, &prefix, visit_find, &found);
    if (rc < 0) {
        free(found);
        return rc;
    }
    *out = found;
    return found ? 0 : ERR_NOT_FOUND;
}

struct lister {
    int (*each)(void *owner, const struct record *r);
    void *owner;
};

static int visit_list(void *owner, const uint8_t hash[RECORD_HASH], const uint8_t *data, size_t len)
{
    struct lister *l = owner;
    struct record *r = record_decode(hash, data, len);
    if (r == NULL)
        return ERR_STORE;
    int rc = l->each(l->owner, r);
    free(r);
    return rc;
}

int store_list(struct store *s, int (*each)(void *owner, const struct record *r), void *owner)
{
    static const struct store_prefix all;
    struct lister l = {.each = each, .owner = owner};
    return s->ops->scan(s->backend, &all, visit_list, &l);
}
