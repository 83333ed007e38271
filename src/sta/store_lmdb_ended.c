/* What ended before its time, for every process that shares the folder: the database "ended" holds a number
 * (big endian) -> a byte for how, and the hash, or nothing behind it where any ticket may have ended. Written
 * in the transaction that ends the ticket. A bounded number of entries is kept: who falls behind further
 * hears that any may have.
 */
#include <assert.h>
#include <string.h>

#include "base/err.h"
#include "store_lmdb_env.h"

#define ENTRIES_MAX      10000
#define ENTRIES_PER_PAGE 50 /* of 4 KiB, at least */

static void put_number(uint8_t dst[8], uint64_t n)
{
    for (size_t i = 0; i < 8; i++)
        dst[i] = (uint8_t)(n >> (56 - 8 * i));
}

static uint64_t get_number(const MDB_val *key)
{
    uint64_t n = 0;
    for (size_t i = 0; i < 8 && key->mv_size == 8; i++)
        n = n << 8 | ((const uint8_t *)key->mv_data)[i];
    return n;
}

/* Small maps keep fewer. */
static size_t entries_max(size_t map_pages)
{
    size_t n = map_pages / 16 * ENTRIES_PER_PAGE;
    return n < ENTRIES_MAX ? n : ENTRIES_MAX;
}

size_t lmdb_ended_pages(size_t map_pages)
{
    return entries_max(map_pages) / ENTRIES_PER_PAGE;
}

/* Drops the oldest ones where there are too many. */
static int trim(struct lmdb_env *env, MDB_txn *txn, MDB_cursor *cursor)
{
    MDB_stat stat;
    MDB_envinfo info;
    mdb_env_info(env->mdb, &info);
    int rc = mdb_stat(txn, env->ended, &stat);
    size_t most = rc == 0 ? entries_max(info.me_mapsize / stat.ms_psize) : 0;
    for (int i = 0; i < 2 && rc == 0 && stat.ms_entries > most; i++, stat.ms_entries--) {
        MDB_val key, data;
        rc = mdb_cursor_get(cursor, &key, &data, MDB_FIRST);
        if (rc == 0)
            rc = mdb_cursor_del(cursor, 0);
    }
    return rc;
}

int lmdb_note_end(struct store_backend *b, struct store_txn *t, const uint8_t *hash, enum ticket_state how)
{
    struct lmdb_env *env = lmdb_env_of(b);
    MDB_cursor *cursor;
    MDB_val key, data;
    uint8_t number[8], entry[1 + RECORD_HASH] = {(uint8_t)how};
    int rc = mdb_cursor_open(t->handle, env->ended, &cursor);
    if (rc != 0)
        return lmdb_failed(env, "note an end", rc);
    rc = mdb_cursor_get(cursor, &key, &data, MDB_LAST);
    put_number(number, rc == 0 ? get_number(&key) + 1 : 1);
    if (hash)
        memcpy(entry + 1, hash, RECORD_HASH);
    key = lmdb_val(number, sizeof number);
    data = lmdb_val(entry, hash ? sizeof entry : 1);
    if (rc == 0 || rc == MDB_NOTFOUND)
        rc = mdb_cursor_put(cursor, &key, &data, MDB_APPEND);
    if (rc == 0)
        rc = trim(env, t->handle, cursor);
    mdb_cursor_close(cursor);
    return rc == 0 ? 0 : lmdb_failed(env, "note an end", rc);
}

static int hear_in(struct lmdb_env *env, MDB_txn *txn, uint64_t *place, store_ended_cb *heard, void *owner)
{
    MDB_cursor *cursor;
    MDB_val key, data;
    uint8_t number[8];
    int rc = mdb_cursor_open(txn, env->ended, &cursor);
    if (rc != 0)
        return rc;
    if (heard == NULL) {
        rc = mdb_cursor_get(cursor, &key, &data, MDB_LAST);
        *place = rc == 0 ? get_number(&key) : 0;
    } else {
        put_number(number, *place + 1);
        key = lmdb_val(number, sizeof number);
        rc = mdb_cursor_get(cursor, &key, &data, MDB_SET_RANGE);
    }
    while (heard != NULL && rc == 0) {
        const uint8_t *entry = data.mv_data;
        uint64_t n = get_number(&key);
        if (n != *place + 1) /* what was in between has been dropped */
            heard(owner, NULL, TICKET_EXPIRED);
        *place = n;
        if (data.mv_size == 1 + RECORD_HASH)
            heard(owner, entry + 1, (enum ticket_state)entry[0]);
        else
            heard(owner, NULL, TICKET_EXPIRED);
        rc = mdb_cursor_get(cursor, &key, &data, MDB_NEXT);
    }
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

int lmdb_hear_ends(struct store_backend *b, uint64_t *place, store_ended_cb *heard, void *owner)
{
    struct lmdb_env *env = lmdb_env_of(b);
    MDB_txn *txn;
    int rc = lmdb_txn_begin(env, MDB_RDONLY, &txn);
    if (rc < 0)
        return rc;
    rc = hear_in(env, txn, place, heard, owner);
    mdb_txn_abort(txn);
    lmdb_txn_done(env);
    return rc == 0 ? 0 : lmdb_failed(env, "read", rc);
}
