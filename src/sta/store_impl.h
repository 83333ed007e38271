/* Between the common half of the store (store.c, store_thread.c) and what keeps the bytes (store_lmdb.c,
 * store_memory.c). What a ticket is, when it may be redeemed and what becomes of it is decided in the common
 * half only; below are keys, bytes and end times.
 */
#ifndef STAGATE_SRC_STA_STORE_IMPL_H
#define STAGATE_SRC_STA_STORE_IMPL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "sta/record.h"
#include "sta/store.h"

/* ---- what an implementation is ---- */

struct store_ops;

struct store_backend { /* embedded first in the implementation's own struct */
    const struct store_ops *ops;
};

struct store_txn { /* an open write transaction, on the caller's stack; the fields are the implementation's */
    void *handle;
    size_t inserts_left;
};

struct store_reader; /* what makes repeated reads by one thread cheap */

struct store_prefix {
    uint8_t bytes[RECORD_HASH]; /* zero behind the digits */
    size_t digits;              /* of hexadecimal, 0 to 64 */
};
bool store_prefix_matches(const struct store_prefix *p, const uint8_t hash[RECORD_HASH]);

/* data is borrowed. Nonzero ends the walk. */
typedef int store_visit(void *owner, const uint8_t hash[RECORD_HASH], const uint8_t *data, size_t len);

struct store_ops {
    const char *scheme;
    bool shared; /* other processes can see it */
    /* Writing neither waits nor fails half-way: done on the calling loop, one operation a transaction,
     * nothing to roll back. */
    bool in_place;

    /* path is what stands behind the scheme. 0 and *out owned, or negative with why filled. */
    int (*open)(struct store_backend **out, const char *path, const struct store_options *options, char *why,
                size_t why_cap);
    void (*close)(struct store_backend *b);

    /* Readers are optional: NULL members where they save nothing, and NULL where none could be had. */
    struct store_reader *(*reader_new)(struct store_backend *b);
    void (*reader_free)(struct store_backend *b, struct store_reader *r);
    /* 0 with *out given, ERR_NOT_FOUND, ERR_STORE. Without a reader it may wait for other threads; with one
     * it fails instead. */
    int (*get)(struct store_backend *b, struct store_reader *r, const uint8_t hash[RECORD_HASH],
               struct record **out);
    /* Every ticket that matches, in hash order, as of one moment. 0, what visit returned, or ERR_STORE. */
    int (*scan)(struct store_backend *b, const struct store_prefix *prefix, store_visit *visit, void *owner);

    /* Writing. A call that fails with ERR_STORE or ERR_STORE_FULL leaves a transaction good only for abort. A
     * failed commit aborts. */
    int (*begin)(struct store_backend *b, struct store_txn *t);
    int (*commit)(struct store_backend *b, struct store_txn *t);
    void (*abort)(struct store_backend *b, struct store_txn *t);
    /* ERR_NOT_FOUND; *data is borrowed until the next write. */
    int (*lookup)(struct store_backend *b, struct store_txn *t, const uint8_t hash[RECORD_HASH],
                  const uint8_t **data, size_t *len);
    /* ERR_EXISTS, and the transaction goes on. end_ms: see store_record_end. */
    int (*insert)(struct store_backend *b, struct store_txn *t, const uint8_t hash[RECORD_HASH],
                  const uint8_t *data, size_t len, int64_t end_ms);
    int (*replace)(struct store_backend *b, struct store_txn *t, const uint8_t hash[RECORD_HASH],
                   const uint8_t *data, size_t len, int64_t old_end_ms, int64_t end_ms);

    /* A transaction of its own: removes at most `limit` tickets that ended at or before ended_ms. *place is 0
     * for the first call; 0 after it when nothing more is left. Returns how many went, or negative. */
    int64_t (*purge)(struct store_backend *b, int64_t ended_ms, size_t limit, size_t *place);
    void (*tend)(struct store_backend *b); /* housekeeping, from the store thread; may be NULL */
};

extern const struct store_ops store_lmdb_ops;
extern const struct store_ops store_memory_ops;

/* ---- one write, however it came ---- */

enum store_op_kind { STORE_ISSUE, STORE_REDEEM, STORE_REVOKE };

struct store_op {
    enum store_op_kind kind;
    uint8_t hash[RECORD_HASH];
    int64_t now_ms;      /* REDEEM, REVOKE */
    const uint8_t *data; /* ISSUE: encoded, borrowed */
    size_t len;
    int64_t end_ms; /* ISSUE */
    /* results */
    int rc;              /* ISSUE, REVOKE */
    enum redeem verdict; /* REDEEM */
    struct record *rec;  /* REDEEM: owned by whoever made the op */
};

/* More would not make commits cheaper, and LMDB limits the pages a transaction can touch (131,071). */
#define STORE_BATCH_MAX 1024
#define STORE_PURGE_MAX 500

/* Does n operations in order, together where that is possible, and fills their results. Blocks on disk. */
void store_run(struct store *s, struct store_op *const *ops, size_t n);

/* What redeeming means for a ticket as it is now; changes nothing. */
enum redeem store_verdict(const struct record *r, int64_t now_ms);

/* When the ticket ended or will: tombstone_ms later it may be purged. */
int64_t store_record_end(const struct record *r);

/* Whether something may be logged again: not more than once in ten seconds. */
bool store_log_due(_Atomic uint64_t *last_ms);

/* ---- the store itself ---- */

struct store {
    char *url;                     /* owned; for the log */
    struct store_backend *backend; /* owned */
    const struct store_ops *ops;
    int64_t tombstone_ms;
    int64_t purge_every_ms;
    atomic_uint clients;
    _Atomic uint64_t full_logged_ms;

    pthread_t thread;
    pthread_mutex_t mutex; /* guards what follows */
    pthread_cond_t wake;   /* on the monotonic clock */
    struct list queue;     /* of struct store_request */
    size_t queued;
    bool stopping;
};

int store_thread_start(struct store *s); /* 0 or a negated errno */
void store_thread_stop(struct store *s); /* after what is queued */

#endif
