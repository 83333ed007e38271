/* The ticket store as callers see it: URL to implementation, and the synchronous calls. Knows nothing of
 * files and of memory layouts. What the operations mean is in store_run.c, the store's thread in
 * store_thread.c, the loops' clients in store_client.c.
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
#define TIMEOUT_MS     2000
#define LOG_EVERY_MS   10000

static const struct store_ops *const implementations[] = {
    &store_lmdb_ops,
    &store_memory_ops,
    &store_redis_ops,
};

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
             "unknown kind of ticket store \"%.*s\": write lmdb:PATH, memory: or redis://HOST:PORT",
             len > 32 ? 32 : (int)len, url);
    return NULL;
}

static void store_free(struct store *s)
{
    s->ops->close(s->backend);
    store_watch_deinit(s);
    pthread_mutex_destroy(&s->mutex);
    free(s->url);
    free(s);
}

int store_open(struct store **out, const char *url, const struct store_options *options, char *why,
               size_t why_cap)
{
    const struct store_ops *ops = find_scheme(url, why, why_cap);
    if (ops == NULL)
        return ERR_UNSUPPORTED;

    struct store_options o = options ? *options : (struct store_options){0};
    assert(o.tombstone_ms >= 0 && o.purge_every_ms >= 0);
    o.tombstone_ms = o.tombstone_ms ? o.tombstone_ms : TOMBSTONE_MS;
    o.purge_every_ms = o.purge_every_ms ? o.purge_every_ms : PURGE_EVERY_MS;
    o.timeout_ms = o.timeout_ms ? o.timeout_ms : TIMEOUT_MS;
    o.max_bytes = o.max_bytes ? o.max_bytes : MAX_BYTES;
    struct store_backend *backend;
    int rc = ops->open(&backend, url + strlen(ops->scheme) + 1, &o, why, why_cap);
    if (rc < 0)
        return rc;

    struct store *s = mem_zalloc(sizeof *s);
    s->url = mem_strdup(url);
    s->backend = backend;
    s->ops = ops;
    pthread_mutex_init(&s->mutex, NULL);
    store_watch_init(s);
    store_configure(s, &o);
    s->purge_every_ms = o.purge_every_ms;
    rc = ops->run ? 0 : store_thread_start(s); /* a store elsewhere tidies up there */
    if (rc < 0) {
        snprintf(why, why_cap, "%s: cannot start the store's thread: %s", ops->scheme, err_text(rc));
        store_free(s);
        return rc;
    }
    *out = s;
    return 0;
}

void store_configure(struct store *s, const struct store_options *options)
{
    atomic_store(&s->tombstone_ms, options->tombstone_ms ? options->tombstone_ms : TOMBSTONE_MS);
    pthread_mutex_lock(&s->mutex);
    s->limits = options->limits;
    pthread_mutex_unlock(&s->mutex);
}

void store_close(struct store *s)
{
    assert(atomic_load(&s->clients) == 0 && !atomic_load(&s->watched));
    if (s->ops->run == NULL)
        store_thread_stop(s);
    store_free(s);
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

bool store_is_up(struct store *s, const char **detail)
{
    const char *unused;
    if (detail == NULL)
        detail = &unused;
    *detail = NULL;
    return s->ops->is_up == NULL || s->ops->is_up(s->backend, detail);
}

/* ---- synchronous ---- */

static struct store_op op_for(struct store *s, enum store_op_kind kind, const uint8_t *hash, int64_t now_ms)
{
    struct store_op op = {.kind = kind, .now_ms = now_ms, .tombstone_ms = atomic_load(&s->tombstone_ms)};
    if (hash)
        memcpy(op.hash, hash, RECORD_HASH);
    return op;
}

static void run_one(struct store *s, struct store_op *op)
{
    if (s->ops->run)
        s->ops->run(s->backend, op);
    else
        store_run(s, &op, 1);
}

int store_issue(struct store *s, const struct record *r)
{
    uint8_t data[RECORD_BYTES_MAX];
    struct store_op op;
    int rc = store_op_issue(s, &op, r, data);
    if (rc < 0)
        return rc;
    run_one(s, &op);
    return op.rc;
}

enum redeem store_redeem(struct store *s, const uint8_t hash[RECORD_HASH], int64_t now_ms,
                         struct record **out)
{
    struct store_op op = op_for(s, STORE_REDEEM, hash, now_ms);
    run_one(s, &op);
    *out = op.rec;
    return op.verdict;
}

enum redeem store_refresh(struct store *s, const uint8_t hash[RECORD_HASH], int64_t now_ms,
                          struct record **out)
{
    struct store_op op = op_for(s, STORE_REFRESH, hash, now_ms);
    run_one(s, &op);
    *out = op.rec;
    return op.verdict;
}

int store_revoke(struct store *s, const uint8_t hash[RECORD_HASH], int64_t now_ms)
{
    struct store_op op = op_for(s, STORE_REVOKE, hash, now_ms);
    run_one(s, &op);
    return op.rc;
}

int store_end(struct store *s, const uint8_t hash[RECORD_HASH], enum store_sweep what, int64_t now_ms)
{
    struct store_op op = op_for(s, STORE_END, hash, now_ms);
    op.what = what;
    run_one(s, &op);
    return op.rc;
}

int64_t store_sweep(struct store *s, enum store_sweep what, const char *user, int64_t now_ms)
{
    struct store_op op = op_for(s, STORE_SWEEP, NULL, now_ms);
    op.what = what;
    op.has_user = user != NULL;
    if (user)
        store_user_key(op.user_key, user, strlen(user));
    struct store_progress p = {0};
    if (s->ops->run)
        s->ops->run(s->backend, &op);
    else
        while (!store_sweep_some(s, &op, &p))
            continue;
    return op.rc < 0 ? op.rc : op.count;
}

/* Of a store elsewhere: at most `limit` tickets whose hashes begin so. */
static int page_of(struct store *s, struct store_op *op, const char *digits, const uint8_t *after,
                   size_t limit)
{
    *op = op_for(s, STORE_LIST, NULL, clock_wall_ms());
    op->query = (struct store_query){.fingerprint = digits, .limit = limit, .has_after = after != NULL};
    if (after)
        memcpy(op->query.after, after, RECORD_HASH);
    s->ops->run(s->backend, op);
    return op->rc;
}

static void free_page(struct store_op *op)
{
    for (int64_t i = 0; op->page != NULL && i < op->count; i++)
        free(op->page[i]);
    free(op->page);
}

static int find_elsewhere(struct store *s, const char *digits, struct record **out)
{
    struct store_op op;
    int rc = page_of(s, &op, digits, NULL, 2);
    if (rc == 0)
        rc = op.count == 0 ? ERR_NOT_FOUND : op.count > 1 ? ERR_EXISTS : 0;
    if (rc == 0) {
        *out = op.page[0];
        op.page[0] = NULL;
    }
    free_page(&op);
    return rc;
}

int store_get(struct store *s, const uint8_t hash[RECORD_HASH], struct record **out)
{
    if (s->ops->run == NULL)
        return s->ops->get(s->backend, NULL, hash, out);
    char digits[RECORD_DIGITS];
    record_digits(digits, hash);
    return find_elsewhere(s, digits, out);
}

int64_t store_purge(struct store *s, int64_t now_ms, size_t limit)
{
    struct store_op op = op_for(s, STORE_PURGE, NULL, now_ms);
    struct store_progress p = {0};
    op.query.limit = limit;
    if (s->ops->run)
        s->ops->run(s->backend, &op);
    else
        while (!store_purge_some(s, &op, &p))
            continue;
    return op.rc < 0 ? op.rc : op.count;
}

/* ---- walking ---- */

int store_parse_prefix(struct store_prefix *p, const char *text)
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

int store_check_query(const struct store_query *q)
{
    struct store_prefix unused;
    if (q->limit < 1 || q->limit > STORE_PAGE_MAX || (q->user && q->has_after))
        return ERR_SYNTAX;
    return q->fingerprint ? store_parse_prefix(&unused, q->fingerprint) : 0;
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
    int rc = store_parse_prefix(&prefix, fingerprint);
    if (rc < 0)
        return rc;
    if (s->ops->run)
        return find_elsewhere(s, fingerprint, out);
    struct record *found = NULL;
    rc = s->ops->scan(s->backend, &prefix, NULL, 2, visit_find, &found);
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

/* Page by page: each page is of one moment, not the whole. */
static int list_elsewhere(struct store *s, int (*each)(void *owner, const struct record *r), void *owner)
{
    uint8_t after[RECORD_HASH];
    struct store_op op;
    bool first = true, more;
    int rc;
    do {
        rc = page_of(s, &op, NULL, first ? NULL : after, STORE_PAGE_MAX);
        for (int64_t i = 0; rc == 0 && i < op.count; i++)
            rc = each(owner, op.page[i]);
        more = rc == 0 && op.more && op.count > 0;
        if (more)
            memcpy(after, op.page[op.count - 1]->hash, RECORD_HASH);
        free_page(&op);
        first = false;
    } while (more);
    return rc;
}

int store_list(struct store *s, int (*each)(void *owner, const struct record *r), void *owner)
{
    static const struct store_prefix all;
    if (s->ops->run)
        return list_elsewhere(s, each, owner);
    struct lister l = {.each = each, .owner = owner};
    return s->ops->scan(s->backend, &all, NULL, 0, visit_list, &l);
}
