/* The LMDB store's indexes by user: "owners" has the live tickets (user key, time of issue and hash -> device
 * key and expiry), "past" the others (the same key -> nothing). They change in the transactions that change
 * tickets, so that the number of entries of the first is the number of live tickets, but for those whose time
 * came and that have yet to be moved: how far that has been done is in "meta". For store_lmdb.c; what a
 * ticket means is not known here.
 */
#include <assert.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "store_lmdb_env.h"

#define OWNER_KEY   (STORE_KEY + 8 + RECORD_HASH)
#define OWNER_VALUE (STORE_KEY + 8)

/* Ends that are looked at in one call of lmdb_retire. */
#define RETIRE_LOOKS 10000
/* A place that lies further in the future comes from a clock that was wrong: begin again. */
#define SKEW_MAX_MS (3600 * 1000LL)

static const char retired_key[] = "retired"; /* in meta: the key in "ends" that is next */

static void owner_key(uint8_t key[OWNER_KEY], const uint8_t *user_key, int64_t issued_ms, const uint8_t *hash)
{
    memcpy(key, user_key, STORE_KEY);
    lmdb_put_time(key + STORE_KEY, issued_ms);
    memcpy(key + STORE_KEY + 8, hash, RECORD_HASH);
}

static const uint8_t *hash_in(const MDB_val *key)
{
    assert(key->mv_size == OWNER_KEY);
    return (const uint8_t *)key->mv_data + STORE_KEY + 8;
}

static bool is_users(const MDB_val *key, const uint8_t user_key[STORE_KEY])
{
    return key->mv_size == OWNER_KEY && memcmp(key->mv_data, user_key, STORE_KEY) == 0;
}

/* ---- keeping them ---- */

int lmdb_owners_put(struct lmdb_env *env, MDB_txn *txn, const uint8_t hash[RECORD_HASH],
                    const struct store_place *place)
{
    uint8_t bytes[OWNER_KEY], value[OWNER_VALUE];
    owner_key(bytes, place->user_key, place->issued_ms, hash);
    MDB_val key = lmdb_val(bytes, sizeof bytes), data = {0};
    if (!place->live)
        return mdb_put(txn, env->past, &key, &data, 0);
    memcpy(value, place->device_key, STORE_KEY);
    lmdb_put_time(value + STORE_KEY, place->end_ms);
    data = lmdb_val(value, sizeof value);
    return mdb_put(txn, env->owners, &key, &data, 0);
}

int lmdb_owners_del(struct lmdb_env *env, MDB_txn *txn, const uint8_t hash[RECORD_HASH],
                    const struct store_place *place)
{
    uint8_t bytes[OWNER_KEY];
    owner_key(bytes, place->user_key, place->issued_ms, hash);
    MDB_val key = lmdb_val(bytes, sizeof bytes);
    int rc = mdb_del(txn, place->live ? env->owners : env->past, &key, NULL);
    if (rc == MDB_NOTFOUND)
        rc = mdb_del(txn, place->live ? env->past : env->owners, &key, NULL);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

static int put_retired(struct lmdb_env *env, MDB_txn *txn, const uint8_t end[LMDB_END_KEY])
{
    MDB_val key = lmdb_val(retired_key, strlen(retired_key)), data = lmdb_val(end, LMDB_END_KEY);
    return mdb_put(txn, env->meta, &key, &data, 0);
}

int lmdb_owners_build(struct lmdb_env *env, MDB_txn *txn, int64_t now_ms)
{
    static const uint8_t no_hash[RECORD_HASH];
    MDB_cursor *cursor;
    MDB_val key, data;
    int rc = mdb_cursor_open(txn, env->tickets, &cursor);
    if (rc != 0)
        return rc;
    while ((rc = mdb_cursor_get(cursor, &key, &data, MDB_NEXT)) == 0) {
        struct store_place place;
        if (key.mv_size != RECORD_HASH || !store_place_of(&place, data.mv_data, data.mv_size, now_ms)) {
            rc = MDB_CORRUPTED;
            break;
        }
        rc = lmdb_owners_put(env, txn, key.mv_data, &place);
        if (rc != 0)
            break;
    }
    mdb_cursor_close(cursor);
    if (rc != MDB_NOTFOUND)
        return rc;
    uint8_t end[LMDB_END_KEY];
    lmdb_end_key(end, now_ms, no_hash);
    return put_retired(env, txn, end);
}

/* ---- counting ---- */

int lmdb_total(struct store_backend *b, struct store_txn *t, size_t *live)
{
    struct lmdb_env *env = lmdb_env_of(b);
    MDB_stat stat;
    int rc = mdb_stat(t->handle, env->owners, &stat);
    *live = rc == 0 ? stat.ms_entries : 0;
    return rc == 0 ? 0 : lmdb_failed(env, "count", rc);
}

int lmdb_census(struct store_backend *b, struct store_txn *t, const struct store_place *of,
                const uint8_t *except, int64_t now_ms, struct store_census *out)
{
    struct lmdb_env *env = lmdb_env_of(b);
    MDB_cursor *cursor;
    MDB_val key = lmdb_val(of->user_key, STORE_KEY), data;
    int rc = mdb_cursor_open(t->handle, env->owners, &cursor);
    if (rc != 0)
        return lmdb_failed(env, "count", rc);
    rc = mdb_cursor_get(cursor, &key, &data, MDB_SET_RANGE);
    for (; rc == 0 && is_users(&key, of->user_key); rc = mdb_cursor_get(cursor, &key, &data, MDB_NEXT)) {
        const uint8_t *hash = hash_in(&key), *value = data.mv_data;
        if (data.mv_size != OWNER_VALUE || lmdb_get_time(value + STORE_KEY) <= now_ms ||
            (except != NULL && memcmp(hash, except, RECORD_HASH) == 0))
            continue;
        if (out->user++ == 0)
            memcpy(out->oldest, hash, RECORD_HASH);
        if (memcmp(value, of->device_key, STORE_KEY) == 0 && out->device++ == 0)
            memcpy(out->oldest_of_device, hash, RECORD_HASH);
    }
    mdb_cursor_close(cursor);
    return rc == 0 || rc == MDB_NOTFOUND ? 0 : lmdb_failed(env, "count", rc);
}

/* The ticket that an entry of "ends" is about. 1 where it is there and live as stored. */
static int is_live(struct lmdb_env *env, MDB_txn *txn, const MDB_val *end, struct store_place *place)
{
    MDB_val key = lmdb_val((const uint8_t *)end->mv_data + 8, RECORD_HASH), data;
    int rc = mdb_get(txn, env->tickets, &key, &data);
    if (rc == MDB_NOTFOUND)
        return 0;
    if (rc != 0)
        return lmdb_failed(env, "read", rc);
    if (!store_place_of(place, data.mv_data, data.mv_size, INT64_MIN))
        return lmdb_failed(env, "read a ticket record", MDB_CORRUPTED);
    return place->live;
}

int lmdb_first_to_end(struct store_backend *b, struct store_txn *t, const uint8_t *except, int64_t now_ms,
                      uint8_t hash[RECORD_HASH])
{
    static const uint8_t last_hash[RECORD_HASH] = {[0 ... RECORD_HASH - 1] = 0xff};
    struct lmdb_env *env = lmdb_env_of(b);
    uint8_t from[LMDB_END_KEY];
    lmdb_end_key(from, now_ms, last_hash);
    MDB_cursor *cursor;
    MDB_val key = lmdb_val(from, sizeof from), data;
    int rc = mdb_cursor_open(t->handle, env->ends, &cursor), found = ERR_NOT_FOUND;
    if (rc != 0)
        return lmdb_failed(env, "count", rc);
    rc = mdb_cursor_get(cursor, &key, &data, MDB_SET_RANGE);
    for (; rc == 0 && found == ERR_NOT_FOUND; rc = mdb_cursor_get(cursor, &key, &data, MDB_NEXT)) {
        struct store_place place;
        const uint8_t *its_hash = (const uint8_t *)key.mv_data + 8;
        assert(key.mv_size == LMDB_END_KEY);
        if (memcmp(key.mv_data, from, LMDB_END_KEY) == 0 ||
            (except != NULL && memcmp(its_hash, except, RECORD_HASH) == 0))
            continue;
        int live = is_live(env, t->handle, &key, &place);
        found = live < 0 ? live : live == 0 ? ERR_NOT_FOUND : 0;
        if (found == 0)
            memcpy(hash, its_hash, RECORD_HASH);
    }
    mdb_cursor_close(cursor);
    return rc == 0 || rc == MDB_NOTFOUND ? found : lmdb_failed(env, "count", rc);
}

/* ---- moving those whose time has come ---- */

/* Where to go on; at the first end where nothing says so, or something from a wrong clock. */
static int get_retired(struct lmdb_env *env, MDB_txn *txn, int64_t now_ms, uint8_t end[LMDB_END_KEY])
{
    MDB_val key = lmdb_val(retired_key, strlen(retired_key)), data;
    memset(end, 0, LMDB_END_KEY);
    int rc = mdb_get(txn, env->meta, &key, &data);
    if (rc == 0 && data.mv_size == LMDB_END_KEY && lmdb_get_time(data.mv_data) - SKEW_MAX_MS <= now_ms)
        memcpy(end, data.mv_data, LMDB_END_KEY);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

/* Among the past ones already: nothing happens. 1 where it moved. */
static int retire_one(struct lmdb_env *env, MDB_txn *txn, const uint8_t hash[RECORD_HASH],
                      struct store_place *place)
{
    uint8_t bytes[OWNER_KEY];
    owner_key(bytes, place->user_key, place->issued_ms, hash);
    MDB_val key = lmdb_val(bytes, sizeof bytes);
    int rc = mdb_del(txn, env->owners, &key, NULL);
    if (rc == MDB_NOTFOUND)
        return 0;
    place->live = false;
    if (rc == 0)
        rc = lmdb_owners_put(env, txn, hash, place);
    return rc == 0 ? 1 : lmdb_failed(env, "retire", rc);
}

int64_t lmdb_retire(struct store_backend *b, struct store_txn *t, int64_t now_ms, size_t limit, bool *more)
{
    struct lmdb_env *env = lmdb_env_of(b);
    uint8_t end[LMDB_END_KEY], before[LMDB_END_KEY];
    size_t moved = 0, looks = 0;
    MDB_cursor *cursor;
    int rc = get_retired(env, t->handle, now_ms, end);
    if (rc == 0)
        rc = mdb_cursor_open(t->handle, env->ends, &cursor);
    if (rc != 0)
        return lmdb_failed(env, "retire", rc);
    memcpy(before, end, sizeof end);
    MDB_val key = lmdb_val(end, sizeof end), data;
    rc = mdb_cursor_get(cursor, &key, &data, MDB_SET_RANGE);
    *more = false;
    for (; rc == 0; rc = mdb_cursor_get(cursor, &key, &data, MDB_NEXT)) {
        struct store_place place;
        assert(key.mv_size == LMDB_END_KEY);
        if (lmdb_get_time(key.mv_data) > now_ms)
            break;
        memcpy(end, key.mv_data, LMDB_END_KEY);
        *more = moved == limit || looks++ == RETIRE_LOOKS;
        if (*more)
            break;
        int live = is_live(env, t->handle, &key, &place);
        int done = live == 1 ? retire_one(env, t->handle, end + 8, &place) : live;
        if (done < 0) {
            mdb_cursor_close(cursor);
            return done;
        }
        moved += (size_t)done;
    }
    mdb_cursor_close(cursor);
    if ((rc == 0 || rc == MDB_NOTFOUND) && memcmp(before, end, sizeof end) != 0)
        rc = put_retired(env, t->handle, end);
    return rc == 0 || rc == MDB_NOTFOUND ? (int64_t)moved : lmdb_failed(env, "retire", rc);
}

/* ---- walking ---- */

int lmdb_pick(struct store_backend *b, struct store_txn *t, const uint8_t *user_key,
              struct store_cursor *cursor, size_t limit, uint8_t (*hashes)[RECORD_HASH])
{
    struct lmdb_env *env = lmdb_env_of(b);
    MDB_cursor *at;
    MDB_val key = {0}, data;
    int rc = mdb_cursor_open(t->handle, env->owners, &at);
    if (rc != 0)
        return lmdb_failed(env, "read", rc);
    if (cursor->len > 0)
        key = lmdb_val(cursor->key, cursor->len);
    else if (user_key)
        key = lmdb_val(user_key, STORE_KEY);
    rc = mdb_cursor_get(at, &key, &data, key.mv_size > 0 ? MDB_SET_RANGE : MDB_FIRST);
    size_t n = 0;
    for (; rc == 0 && n < limit; rc = mdb_cursor_get(at, &key, &data, MDB_NEXT)) {
        if (user_key && !is_users(&key, user_key)) {
            rc = MDB_NOTFOUND;
            break;
        }
        if (key.mv_size == cursor->len && memcmp(key.mv_data, cursor->key, cursor->len) == 0)
            continue; /* the last one of the call before, still there */
        memcpy(hashes[n++], hash_in(&key), RECORD_HASH);
        memcpy(cursor->key, key.mv_data, OWNER_KEY);
        cursor->len = OWNER_KEY;
    }
    mdb_cursor_close(at);
    cursor->done = rc == MDB_NOTFOUND;
    return rc == 0 || rc == MDB_NOTFOUND ? (int)n : lmdb_failed(env, "read", rc);
}

/* One of the two indexes, read backwards. */
struct backwards {
    MDB_cursor *cursor;
    MDB_val key; /* mv_size 0: nothing left */
};

static int step_back(struct backwards *w, const uint8_t user_key[STORE_KEY], MDB_cursor_op op)
{
    MDB_val data;
    int rc = mdb_cursor_get(w->cursor, &w->key, &data, op);
    if (rc == 0 && is_users(&w->key, user_key))
        return 0;
    w->key.mv_size = 0;
    return rc == MDB_NOTFOUND ? 0 : rc;
}

/* To the user's last entry. */
static int start_back(struct backwards *w, MDB_txn *txn, MDB_dbi dbi, const uint8_t user_key[STORE_KEY])
{
    uint8_t last[OWNER_KEY];
    MDB_val data;
    memset(last, 0xff, sizeof last);
    memcpy(last, user_key, STORE_KEY);
    int rc = mdb_cursor_open(txn, dbi, &w->cursor);
    if (rc != 0)
        return rc;
    w->key = lmdb_val(last, sizeof last);
    rc = mdb_cursor_get(w->cursor, &w->key, &data, MDB_SET_RANGE);
    if (rc == 0 && is_users(&w->key, user_key))
        return 0;
    return rc == 0 || rc == MDB_NOTFOUND ? step_back(w, user_key, rc == 0 ? MDB_PREV : MDB_LAST) : rc;
}

static int scan_user_in(struct lmdb_env *env, MDB_txn *txn, const uint8_t user_key[STORE_KEY],
                        store_visit *visit, void *owner)
{
    struct backwards live = {0}, past = {0};
    int stop = 0, rc = start_back(&live, txn, env->owners, user_key);
    if (rc == 0)
        rc = start_back(&past, txn, env->past, user_key);
    while (rc == 0 && stop == 0 && (live.key.mv_size > 0 || past.key.mv_size > 0)) {
        struct backwards *w = live.key.mv_size == 0                                       ? &past
                              : past.key.mv_size == 0                                     ? &live
                              : memcmp(live.key.mv_data, past.key.mv_data, OWNER_KEY) > 0 ? &live
                                                                                          : &past;
        MDB_val key = lmdb_val(hash_in(&w->key), RECORD_HASH), data;
        rc = mdb_get(txn, env->tickets, &key, &data);
        if (rc == 0)
            stop = visit(owner, key.mv_data, data.mv_data, data.mv_size);
        if (rc == 0)
            rc = step_back(w, user_key, MDB_PREV);
    }
    if (live.cursor)
        mdb_cursor_close(live.cursor);
    if (past.cursor)
        mdb_cursor_close(past.cursor);
    return rc == 0 ? stop : lmdb_failed(env, "read", rc);
}

int lmdb_scan_user(struct store_backend *b, const uint8_t user_key[STORE_KEY], store_visit *visit,
                   void *owner)
{
    struct lmdb_env *env = lmdb_env_of(b);
    MDB_txn *txn;
    int rc = lmdb_txn_begin(env, MDB_RDONLY, &txn);
    if (rc < 0)
        return rc;
    rc = scan_user_in(env, txn, user_key, visit, owner);
    mdb_txn_abort(txn);
    lmdb_txn_done(env);
    return rc;
}
