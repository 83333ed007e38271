/* The LMDB store: a folder with one environment, shared by every process that opens it. Databases: "tickets"
 * (hash -> record), "ends" (end time and hash -> nothing, the order of purging), "owners" and "past" (by
 * user, see store_lmdb_owners.c), "ended" (see store_lmdb_ended.c), "meta" (format). All change together in
 * one transaction. Commits are durable. Opening and sharing an environment is in store_lmdb_env.c; what a
 * ticket means is not known here.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "store_lmdb_env.h"

/* What storing one ticket can touch at most: three trees from root to leaf with splits, a record of 16 KiB,
 * and the list of free pages. */
#define PAGES_PER_INSERT 22

/* ---- reading ---- */

struct store_reader { /* never defined elsewhere: a reset transaction with a slot of its own in the table of
                         readers */
    MDB_txn *txn;
};

static struct store_reader *lmdb_reader_new(struct store_backend *b)
{
    MDB_txn *txn;
    if (lmdb_txn_begin(lmdb_env_of(b), MDB_RDONLY, &txn) < 0)
        return NULL;
    mdb_txn_reset(txn);
    lmdb_txn_done(lmdb_env_of(b));
    struct store_reader *r = mem_alloc(sizeof *r);
    r->txn = txn;
    return r;
}

static void lmdb_reader_free(struct store_backend *b, struct store_reader *r)
{
    (void)b;
    mdb_txn_abort(r->txn);
    free(r);
}

static int get_in(struct lmdb_env *env, MDB_txn *txn, const uint8_t hash[RECORD_HASH], struct record **out)
{
    MDB_val key = lmdb_val(hash, RECORD_HASH), data;
    int rc = mdb_get(txn, env->tickets, &key, &data);
    if (rc == MDB_NOTFOUND)
        return ERR_NOT_FOUND;
    if (rc != 0)
        return lmdb_failed(env, "read", rc);
    *out = record_decode(hash, data.mv_data, data.mv_size);
    if (*out == NULL)
        return lmdb_failed(env, "read a ticket record", MDB_CORRUPTED);
    lmdb_succeeded(env);
    return 0;
}

static int lmdb_get(struct store_backend *b, struct store_reader *r, const uint8_t hash[RECORD_HASH],
                    struct record **out)
{
    struct lmdb_env *env = lmdb_env_of(b);
    int rc;
    if (r != NULL) {
        pthread_rwlock_rdlock(&env->gate);
        rc = mdb_txn_renew(r->txn);
        if (rc == 0) {
            rc = get_in(env, r->txn, hash, out);
            mdb_txn_reset(r->txn);
        } else {
            rc = ERR_STORE; /* a map that another process enlarged, most likely: whoever can wait sorts it out
                             */
        }
        lmdb_txn_done(env);
        return rc;
    }
    MDB_txn *txn;
    rc = lmdb_txn_begin(env, MDB_RDONLY, &txn);
    if (rc < 0)
        return rc;
    rc = get_in(env, txn, hash, out);
    mdb_txn_abort(txn);
    lmdb_txn_done(env);
    return rc;
}

static int scan_in(struct lmdb_env *env, MDB_txn *txn, const struct store_prefix *prefix,
                   const uint8_t *after, size_t limit, store_visit *visit, void *owner)
{
    const uint8_t *from = after && memcmp(after, prefix->bytes, RECORD_HASH) > 0 ? after : prefix->bytes;
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(txn, env->tickets, &cursor);
    if (rc != 0)
        return lmdb_failed(env, "read", rc);
    MDB_val key = lmdb_val(from, RECORD_HASH), data;
    int stop = 0;
    size_t n = 0;
    rc = mdb_cursor_get(cursor, &key, &data, MDB_SET_RANGE);
    if (rc == 0 && after != NULL && memcmp(key.mv_data, after, RECORD_HASH) == 0)
        rc = mdb_cursor_get(cursor, &key, &data, MDB_NEXT);
    while (rc == 0 && stop == 0 && (limit == 0 || n++ < limit)) {
        uint8_t hash[RECORD_HASH];
        assert(key.mv_size == RECORD_HASH);
        memcpy(hash, key.mv_data, RECORD_HASH);
        if (!store_prefix_matches(prefix, hash))
            break;
        stop = visit(owner, hash, data.mv_data, data.mv_size);
        rc = mdb_cursor_get(cursor, &key, &data, MDB_NEXT);
    }
    mdb_cursor_close(cursor);
    if (stop != 0)
        return stop;
    return rc == 0 || rc == MDB_NOTFOUND ? 0 : lmdb_failed(env, "read", rc);
}

static int lmdb_scan(struct store_backend *b, const struct store_prefix *prefix, const uint8_t *after,
                     size_t limit, store_visit *visit, void *owner)
{
    struct lmdb_env *env = lmdb_env_of(b);
    MDB_txn *txn;
    int rc = lmdb_txn_begin(env, MDB_RDONLY, &txn);
    if (rc < 0)
        return rc;
    rc = scan_in(env, txn, prefix, after, limit, visit, owner);
    mdb_txn_abort(txn);
    lmdb_txn_done(env);
    return rc;
}

/* ---- writing ---- */

static int lmdb_begin(struct store_backend *b, struct store_txn *t)
{
    struct lmdb_env *env = lmdb_env_of(b);
    MDB_txn *txn;
    int rc = lmdb_txn_begin(env, 0, &txn);
    if (rc < 0)
        return rc;
    t->handle = txn;
    const int64_t plenty = (int64_t)STORE_BATCH_MAX * PAGES_PER_INSERT;
    int64_t left = lmdb_pages_left(env, txn, plenty);
    t->inserts_left = left > 0 ? (size_t)left / PAGES_PER_INSERT : 0;
    return 0;
}

static int lmdb_commit(struct store_backend *b, struct store_txn *t)
{
    struct lmdb_env *env = lmdb_env_of(b);
    int rc = mdb_txn_commit(t->handle);
    lmdb_txn_done(env);
    if (rc != 0)
        return lmdb_failed(env, "commit", rc);
    lmdb_succeeded(env);
    return 0;
}

static void lmdb_abort(struct store_backend *b, struct store_txn *t)
{
    mdb_txn_abort(t->handle);
    lmdb_txn_done(lmdb_env_of(b));
}

static int lmdb_lookup(struct store_backend *b, struct store_txn *t, const uint8_t hash[RECORD_HASH],
                       const uint8_t **data, size_t *len)
{
    struct lmdb_env *env = lmdb_env_of(b);
    MDB_val key = lmdb_val(hash, RECORD_HASH), found;
    int rc = mdb_get(t->handle, env->tickets, &key, &found);
    if (rc == MDB_NOTFOUND)
        return ERR_NOT_FOUND;
    if (rc != 0)
        return lmdb_failed(env, "read", rc);
    *data = found.mv_data;
    *len = found.mv_size;
    return 0;
}

static int put_end(struct lmdb_env *env, MDB_txn *txn, int64_t end_ms, const uint8_t hash[RECORD_HASH])
{
    uint8_t bytes[LMDB_END_KEY];
    lmdb_end_key(bytes, end_ms, hash);
    MDB_val key = lmdb_val(bytes, sizeof bytes), nothing = {0};
    return mdb_put(txn, env->ends, &key, &nothing, 0);
}

static int lmdb_insert(struct store_backend *b, struct store_txn *t, const uint8_t hash[RECORD_HASH],
                       const uint8_t *data, size_t len, const struct store_place *place)
{
    struct lmdb_env *env = lmdb_env_of(b);
    if (t->inserts_left == 0)
        return ERR_STORE_FULL;
    MDB_val key = lmdb_val(hash, RECORD_HASH), value = lmdb_val(data, len);
    int rc = mdb_put(t->handle, env->tickets, &key, &value, MDB_NOOVERWRITE);
    if (rc == MDB_KEYEXIST)
        return ERR_EXISTS;
    if (rc == 0)
        rc = put_end(env, t->handle, place->end_ms, hash);
    if (rc == 0)
        rc = lmdb_owners_put(env, t->handle, hash, place);
    t->inserts_left--;
    return rc == 0 ? 0 : lmdb_failed(env, "issue", rc);
}

static int lmdb_replace(struct store_backend *b, struct store_txn *t, const uint8_t hash[RECORD_HASH],
                        const uint8_t *data, size_t len, const struct store_place *old,
                        const struct store_place *place)
{
    struct lmdb_env *env = lmdb_env_of(b);
    uint8_t bytes[LMDB_END_KEY];
    lmdb_end_key(bytes, old->end_ms, hash);
    MDB_val end = lmdb_val(bytes, sizeof bytes), key = lmdb_val(hash, RECORD_HASH),
            value = lmdb_val(data, len);
    int rc = mdb_put(t->handle, env->tickets, &key, &value, 0);
    if (rc == 0 && old->end_ms != place->end_ms)
        rc = mdb_del(t->handle, env->ends, &end, NULL);
    if (rc == 0 && old->end_ms != place->end_ms)
        rc = put_end(env, t->handle, place->end_ms, hash);
    if (rc == 0)
        rc = lmdb_owners_del(env, t->handle, hash, old);
    if (rc == 0)
        rc = lmdb_owners_put(env, t->handle, hash, place);
    return rc == 0 ? 0 : lmdb_failed(env, "end a ticket", rc);
}

/* ---- purging ---- */

/* The ticket with all that leads to it, but its entry in "ends". */
static int delete_ticket(struct lmdb_env *env, MDB_txn *txn, const uint8_t hash[RECORD_HASH])
{
    struct store_place place;
    MDB_val key = lmdb_val(hash, RECORD_HASH), data;
    int rc = mdb_get(txn, env->tickets, &key, &data);
    if (rc == 0 && store_place_of(&place, data.mv_data, data.mv_size, INT64_MAX))
        rc = lmdb_owners_del(env, txn, hash, &place);
    if (rc == 0)
        rc = mdb_del(txn, env->tickets, &key, NULL);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

/* 0 with *n deleted, or an LMDB code. */
static int purge_in(struct lmdb_env *env, MDB_txn *txn, int64_t ended_ms, size_t limit, size_t *n)
{
    static const uint8_t last_hash[RECORD_HASH] = {[0 ... RECORD_HASH - 1] = 0xff};
    uint8_t last[LMDB_END_KEY];
    lmdb_end_key(last, ended_ms, last_hash);
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(txn, env->ends, &cursor);
    if (rc != 0)
        return rc;
    for (*n = 0; *n < limit; (*n)++) {
        MDB_val key, data;
        uint8_t hash[RECORD_HASH];
        rc = mdb_cursor_get(cursor, &key, &data, MDB_FIRST);
        if (rc == MDB_NOTFOUND || (rc == 0 && memcmp(key.mv_data, last, LMDB_END_KEY) > 0)) {
            rc = 0;
            break;
        }
        if (rc == 0) {
            memcpy(hash, (uint8_t *)key.mv_data + 8,
                   RECORD_HASH); /* key lies in a page that the next line changes */
            rc = mdb_cursor_del(cursor, 0);
        }
        if (rc == 0)
            rc = delete_ticket(env, txn, hash);
        if (rc != 0)
            break;
    }
    mdb_cursor_close(cursor);
    return rc;
}

static int64_t lmdb_purge(struct store_backend *b, int64_t ended_ms, size_t limit, size_t *place)
{
    struct lmdb_env *env = lmdb_env_of(b);
    for (;; limit /= 2) {
        MDB_txn *txn;
        size_t n;
        int rc = lmdb_txn_begin(env, 0, &txn);
        if (rc < 0)
            return rc;
        rc = purge_in(env, txn, ended_ms, limit, &n);
        if (rc == 0)
            rc = mdb_txn_commit(txn);
        else
            mdb_txn_abort(txn);
        lmdb_txn_done(env);
        if (rc == 0) {
            *place = n == limit;
            return (int64_t)n;
        }
        if (rc != MDB_MAP_FULL || limit == 1) /* in a full store fewer at a time need fewer pages */
            return lmdb_failed(env, "purge", rc);
    }
}

static void lmdb_tend(struct store_backend *b)
{
    int dead;
    mdb_reader_check(lmdb_env_of(b)->mdb, &dead); /* killed processes pin the pages that they were reading */
}

static bool lmdb_is_up(struct store_backend *b, const char **detail)
{
    bool failing = atomic_load_explicit(&lmdb_env_of(b)->failing, memory_order_relaxed);
    *detail = failing ? "the ticket store failed" : NULL;
    return !failing;
}

const struct store_ops store_lmdb_ops = {
    .scheme = "lmdb",
    .shared = true,
    .in_place = false,
    .open = lmdb_env_open,
    .close = lmdb_env_close,
    .reader_new = lmdb_reader_new,
    .reader_free = lmdb_reader_free,
    .get = lmdb_get,
    .scan = lmdb_scan,
    .scan_user = lmdb_scan_user,
    .begin = lmdb_begin,
    .commit = lmdb_commit,
    .abort = lmdb_abort,
    .lookup = lmdb_lookup,
    .insert = lmdb_insert,
    .replace = lmdb_replace,
    .census = lmdb_census,
    .total = lmdb_total,
    .first_to_end = lmdb_first_to_end,
    .retire = lmdb_retire,
    .pick = lmdb_pick,
    .note_end = lmdb_note_end,
    .hear_ends = lmdb_hear_ends,
    .purge = lmdb_purge,
    .tend = lmdb_tend,
    .is_up = lmdb_is_up,
};
