/* An LMDB environment as the LMDB store uses it: opened once in a process however many stores share it, and
 * with a map that can be enlarged while in use. For store_lmdb.c and store_lmdb_env.c only.
 */
#ifndef STAGATE_SRC_STA_STORE_LMDB_ENV_H
#define STAGATE_SRC_STA_STORE_LMDB_ENV_H

#include <lmdb.h>
#include <sys/types.h>

#include "store_impl.h"

#define LMDB_RESERVE_PAGES 256 /* see inserts_left() */

struct lmdb_env {
    struct store_backend base;
    struct list link; /* in the list of open environments; its mutex guards refs too */
    size_t refs;
    dev_t dev;
    ino_t ino;
    char *path;
    int folder; /* descriptor: flock()ed while opening and closing */
    MDB_env *mdb;
    MDB_dbi tickets, ends;
    pthread_rwlock_t gate;      /* shared by transactions, exclusive for changing the map */
    _Atomic uint64_t logged_ms; /* when a failure was last logged */
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

#endif
