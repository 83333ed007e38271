/* A ticket store's LMDB environment seen without the store: while no store has it open in this process. */
#ifndef STAGATE_TESTS_UNIT_LMDB_FIXTURE_H
#define STAGATE_TESTS_UNIT_LMDB_FIXTURE_H

#include <lmdb.h>

#include "store_fixture.h"

struct raw {
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi meta, tickets, ends, owners, past, ended;
};

static inline MDB_val raw_val(const void *data, size_t len)
{
    return (MDB_val){len, (void *)(uintptr_t)data};
}

static inline MDB_dbi raw_dbi(struct raw *raw, const char *name)
{
    MDB_dbi dbi;
    ck_assert_int_eq(mdb_dbi_open(raw->txn, name, 0, &dbi), 0);
    return dbi;
}

/* flags: 0 or MDB_RDONLY. */
static inline void raw_open(struct raw *raw, const char *name, unsigned flags)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", fixture_folder, name);
    ck_assert_int_eq(mdb_env_create(&raw->env), 0);
    mdb_env_set_maxdbs(raw->env, 8);
    mdb_env_set_mapsize(raw->env, 64 << 20);
    ck_assert_int_eq(mdb_env_open(raw->env, path, MDB_NOTLS, 0600), 0);
    ck_assert_int_eq(mdb_txn_begin(raw->env, NULL, flags, &raw->txn), 0);
    raw->meta = raw_dbi(raw, "meta");
    raw->tickets = raw_dbi(raw, "tickets");
    raw->ends = raw_dbi(raw, "ends");
}

static inline void raw_open_indexes(struct raw *raw)
{
    raw->owners = raw_dbi(raw, "owners");
    raw->past = raw_dbi(raw, "past");
    raw->ended = raw_dbi(raw, "ended");
}

static inline void raw_close(struct raw *raw)
{
    ck_assert_int_eq(mdb_txn_commit(raw->txn), 0);
    mdb_env_close(raw->env);
}

static inline size_t raw_entries(struct raw *raw, MDB_dbi dbi)
{
    MDB_stat stat;
    ck_assert_int_eq(mdb_stat(raw->txn, dbi, &stat), 0);
    return stat.ms_entries;
}

static inline void raw_put_time(uint8_t dst[8], int64_t ms)
{
    uint64_t n = (uint64_t)ms + ((uint64_t)1 << 63);
    for (int i = 7; i >= 0; i--, n >>= 8)
        dst[i] = (uint8_t)n;
}

/* Every ticket stands where it belongs: once among the ends, once among its user's, live or past; and nothing
 * else does. A live one whose time has come may still stand among the live ones. Returns how many of these
 * there are. */
static inline size_t raw_check(const char *name, int64_t now_ms)
{
    struct raw raw;
    MDB_cursor *cursor;
    MDB_val key, data, found;
    size_t tickets = 0, live = 0;
    raw_open(&raw, name, MDB_RDONLY);
    raw_open_indexes(&raw);
    ck_assert_int_eq(mdb_cursor_open(raw.txn, raw.tickets, &cursor), 0);
    for (; mdb_cursor_get(cursor, &key, &data, MDB_NEXT) == 0; tickets++) {
        struct record_view v;
        uint8_t end[8 + RECORD_HASH], owner[16 + 8 + RECORD_HASH], digest[RECORD_HASH], expires[8];
        ck_assert(record_peek(&v, data.mv_data, data.mv_size));
        raw_put_time(end, v.state == TICKET_LIVE ? v.expires_ms : v.ended_ms);
        memcpy(end + 8, key.mv_data, RECORD_HASH);
        MDB_val k = raw_val(end, sizeof end);
        ck_assert_int_eq(mdb_get(raw.txn, raw.ends, &k, &found), 0);

        record_hash(digest, v.user, v.user_len);
        memcpy(owner, digest, 16);
        raw_put_time(owner + 16, v.issued_ms);
        memcpy(owner + 24, key.mv_data, RECORD_HASH);
        k = raw_val(owner, sizeof owner);
        bool in_past = mdb_get(raw.txn, raw.past, &k, &found) == 0;
        bool in_owners = mdb_get(raw.txn, raw.owners, &k, &found) == 0;
        ck_assert(in_past != in_owners);
        ck_assert(!in_owners || v.state == TICKET_LIVE);
        ck_assert(in_owners || v.state != TICKET_LIVE || v.expires_ms <= now_ms);
        raw_put_time(expires, v.expires_ms);
        if (in_owners) {
            ck_assert_uint_eq(found.mv_size, 24);
            ck_assert_mem_eq((uint8_t *)found.mv_data + 16, expires, 8);
        }
        live += in_owners;
    }
    mdb_cursor_close(cursor);
    ck_assert_uint_eq(raw_entries(&raw, raw.ends), tickets);
    ck_assert_uint_eq(raw_entries(&raw, raw.owners), live);
    ck_assert_uint_eq(raw_entries(&raw, raw.past), tickets - live);
    mdb_txn_abort(raw.txn);
    mdb_env_close(raw.env);
    return live;
}

#endif
