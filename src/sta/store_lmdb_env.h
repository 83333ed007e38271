/* An LMDB environment as the LMDB store uses it: opened once in a process however many stores share it, and
 * with a map that can be enlarged while in use. For store_lmdb*.c only.
 */
#ifndef STAGATE_SRC_STA_STORE_LMDB_ENV_H
#define STAGATE_SRC_STA_STORE_LMDB_ENV_H

#include <lmdb.h>
#include <string.h>
#include <sys/types.h>

#include "store_impl.h"

#define LMDB_RESERVE_PAGES 256 /* see lmdb_pages_left() */

struct lmdb_env {
    struct store_backend base;
    struct list link; /* in the list of open environments; its mutex guards refs too */
    size_t refs;
    dev_t dev;
    ino_t ino;
    char *path;
    int folder; /* descriptor: flock()ed while opening and closing */
    MDB_env *mdb;
    MDB_dbi meta, tickets, ends, owners, past, ended;
    pthread_rwlock_t gate;      /* shared by transactions, exclusive for changing the map */
    _Atomic uint64_t logged_ms; /* when a failure was last logged */
    atomic_bool failing;        /* what was last tried failed */
};

int lmdb_env_open(struct store_backend **out, const char *path, const struct store_options *options,
                  char *why, size_t why_cap);
void lmdb_env_close(struct store_backend *b);

/* Begins a transaction with the gate held: lmdb_txn_done() after it was committed, aborted or reset. flags: 0
 * or MDB_RDONLY. Follows a map that another process has enlarged. 0 or ERR_STORE. */
int lmdb_txn_begin(struct lmdb_env *env, unsigned flags, MDB_txn **txn);
void lmdb_txn_done(struct lmdb_env *env);

/* Our code for LMDB's. What an operator must know is logged, but not more than once in ten seconds. */
int lmdb_failed(struct lmdb_env *env, const char *action, int rc);
void lmdb_succeeded(struct lmdb_env *env);

/* How many pages new tickets may take (more than `enough` are not looked for) so that enough stay free for
 * those that are there to end; negative where some are missing. In a store filled to the last page nothing
 * could end: marking a ticket used, and even deleting one, writes new pages before it frees old ones. */
int64_t lmdb_pages_left(struct lmdb_env *env, MDB_txn *txn, int64_t enough);

/* ---- keys ---- */

/* The member that is always first. */
static inline struct lmdb_env *lmdb_env_of(struct store_backend *b)
{
    return (struct lmdb_env *)(void *)b;
}

/* LMDB does not write to what it is given. */
static inline MDB_val lmdb_val(const void *data, size_t len)
{
    return (MDB_val){.mv_size = len, .mv_data = (void *)(uintptr_t)data};
}

/* Big endian, the sign bit turned over: bytes sort as times do. */
static inline void lmdb_put_time(uint8_t dst[8], int64_t ms)
{
    uint64_t n = (uint64_t)ms ^ (uint64_t)1 << 63;
    for (size_t i = 0; i < 8; i++)
        dst[i] = (uint8_t)(n >> (56 - 8 * i));
}

static inline int64_t lmdb_get_time(const uint8_t src[8])
{
    uint64_t n = 0;
    for (size_t i = 0; i < 8; i++)
        n = n << 8 | src[i];
    return (int64_t)(n ^ (uint64_t)1 << 63);
}

#define LMDB_END_KEY (8 + RECORD_HASH)

static inline void lmdb_end_key(uint8_t key[LMDB_END_KEY], int64_t end_ms, const uint8_t *hash)
{
    lmdb_put_time(key, end_ms);
    memcpy(key + 8, hash, RECORD_HASH);
}

/* ---- the indexes by user (store_lmdb_owners.c); LMDB's codes ---- */

int lmdb_owners_put(struct lmdb_env *env, MDB_txn *txn, const uint8_t hash[RECORD_HASH],
                    const struct store_place *place);
/* Wherever it stands, if it does. */
int lmdb_owners_del(struct lmdb_env *env, MDB_txn *txn, const uint8_t hash[RECORD_HASH],
                    const struct store_place *place);
/* Makes them for a store that was written without. */
int lmdb_owners_build(struct lmdb_env *env, MDB_txn *txn, int64_t now_ms);

int lmdb_census(struct store_backend *b, struct store_txn *t, const struct store_place *of,
                const uint8_t *except, int64_t now_ms, struct store_census *out);
int lmdb_total(struct store_backend *b, struct store_txn *t, size_t *live);
int lmdb_first_to_end(struct store_backend *b, struct store_txn *t, const uint8_t *except, int64_t now_ms,
                      uint8_t hash[RECORD_HASH]);
int64_t lmdb_retire(struct store_backend *b, struct store_txn *t, int64_t now_ms, size_t limit, bool *more);
int lmdb_pick(struct store_backend *b, struct store_txn *t, const uint8_t *user_key,
              struct store_cursor *cursor, size_t limit, uint8_t (*hashes)[RECORD_HASH]);
int lmdb_scan_user(struct store_backend *b, const uint8_t user_key[STORE_KEY], store_visit *visit,
                   void *owner);

/* ---- what ended (store_lmdb_ended.c) ---- */

int lmdb_note_end(struct store_backend *b, struct store_txn *t, const uint8_t *hash, enum ticket_state how);
int lmdb_hear_ends(struct store_backend *b, uint64_t *place, store_ended_cb *heard, void *owner);
/* How many pages the notes may come to need. */
size_t lmdb_ended_pages(size_t map_pages);

#endif
