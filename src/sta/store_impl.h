/* Between the common half of the store (store.c, store_run.c, store_client.c, store_thread.c, store_watch.c)
 * and what keeps the bytes (store_lmdb*.c, store_memory*.c, store_redis*.c). What a ticket is, when it may be
 * redeemed and what becomes of it is decided in the common half; below are keys, bytes and end times. A store
 * elsewhere (Redis) does whole operations.
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
struct store_op;
struct store_link;

struct store_backend { /* embedded first in the implementation's own struct */
    const struct store_ops *ops;
};

struct store_txn { /* an open write transaction, on the caller's stack; the fields are the implementation's */
    void *handle;
    size_t inserts_left;
    bool told; /* but for this one: something was noted that others want to hear */
};

struct store_reader; /* what makes repeated reads by one thread cheap */

struct store_prefix {
    uint8_t bytes[RECORD_HASH]; /* zero behind the digits */
    size_t digits;              /* of hexadecimal, 0 to 64 */
};
bool store_prefix_matches(const struct store_prefix *p, const uint8_t hash[RECORD_HASH]);

/* data is borrowed. Nonzero ends the walk. */
typedef int store_visit(void *owner, const uint8_t hash[RECORD_HASH], const uint8_t *data, size_t len);

#define STORE_KEY 16 /* bytes of what stands for a user, or a user's device, in indexes */

/* Where a ticket stands in an implementation's indexes: by its end, and among its user's tickets. Those of a
 * user are kept apart into live ones, which limits count, and past ones. A live one whose time came may stand
 * among either until retire or the next change moves it. */
struct store_place {
    int64_t end_ms; /* see store_record_end */
    int64_t issued_ms;
    bool live;
    uint8_t user_key[STORE_KEY];
    uint8_t device_key[STORE_KEY]; /* where live */
};
/* As of now_ms. False: not a record. */
bool store_place_of(struct store_place *p, const uint8_t *data, size_t len, int64_t now_ms);

/* A user's live tickets at a moment, and the one that was issued first (ties: the lower hash), where there is
 * one. */
struct store_census {
    size_t user;
    size_t device;
    uint8_t oldest[RECORD_HASH];
    uint8_t oldest_of_device[RECORD_HASH];
};

struct store_cursor { /* zero: from the first */
    uint8_t key[STORE_KEY + 8 + RECORD_HASH];
    size_t len;
    bool done;
};

struct store_ops {
    const char *scheme;
    bool shared; /* other processes can see it */
    /* Writing neither waits nor fails half-way: done on the calling loop, one operation a transaction,
     * nothing to roll back. */
    bool in_place;

    /* path is what stands behind the scheme and its colon, options have their defaults filled. 0 and *out
     * owned, or negative with why filled. */
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
    /* Every ticket that matches, in hash order, behind `after` (NULL: from the first), at most `limit` (0:
     * all), as of one moment. 0, what visit returned, or ERR_STORE. */
    int (*scan)(struct store_backend *b, const struct store_prefix *prefix, const uint8_t *after,
                size_t limit, store_visit *visit, void *owner);
    /* One user's, live and past, in falling order of issued_ms. */
    int (*scan_user)(struct store_backend *b, const uint8_t user_key[STORE_KEY], store_visit *visit,
                     void *owner);

    /* Writing. A call that fails with ERR_STORE or ERR_STORE_FULL leaves a transaction good only for abort. A
     * failed commit aborts. */
    int (*begin)(struct store_backend *b, struct store_txn *t);
    int (*commit)(struct store_backend *b, struct store_txn *t);
    void (*abort)(struct store_backend *b, struct store_txn *t);
    /* ERR_NOT_FOUND; *data is borrowed until the next write. */
    int (*lookup)(struct store_backend *b, struct store_txn *t, const uint8_t hash[RECORD_HASH],
                  const uint8_t **data, size_t *len);
    /* ERR_EXISTS, and the transaction goes on. */
    int (*insert)(struct store_backend *b, struct store_txn *t, const uint8_t hash[RECORD_HASH],
                  const uint8_t *data, size_t len, const struct store_place *place);
    int (*replace)(struct store_backend *b, struct store_txn *t, const uint8_t hash[RECORD_HASH],
                   const uint8_t *data, size_t len, const struct store_place *old,
                   const struct store_place *place);

    /* What limits need, inside a write transaction. except (may be NULL) is not looked at. */
    int (*census)(struct store_backend *b, struct store_txn *t, const struct store_place *of,
                  const uint8_t *except, int64_t now_ms, struct store_census *out);
    int (*total)(struct store_backend *b, struct store_txn *t, size_t *live);
    /* The live ticket that ends first, after now_ms; ERR_NOT_FOUND. */
    int (*first_to_end)(struct store_backend *b, struct store_txn *t, const uint8_t *except, int64_t now_ms,
                        uint8_t hash[RECORD_HASH]);
    /* Moves at most `limit` tickets whose time has come from the live ones to the past ones. Returns how
     * many; *more: there may be others. */
    int64_t (*retire)(struct store_backend *b, struct store_txn *t, int64_t now_ms, size_t limit, bool *more);
    /* The next ones, at most `limit`, of the live tickets (user_key NULL: everybody's) in an order of the
     * implementation's, and moves the cursor. What is there throughout comes once. Returns how many. */
    int (*pick)(struct store_backend *b, struct store_txn *t, const uint8_t *user_key,
                struct store_cursor *cursor, size_t limit, uint8_t (*hashes)[RECORD_HASH]);

    /* Ends as others hear of them; NULL where nobody else can. Notes one (hash NULL: any ticket may have
     * ended) with the transaction. */
    int (*note_end)(struct store_backend *b, struct store_txn *t, const uint8_t *hash, enum ticket_state how);
    /* Hands over what was noted behind *place (hash NULL also where too much was), and moves it. heard NULL:
     * moves it only. */
    int (*hear_ends)(struct store_backend *b, uint64_t *place, store_ended_cb *heard, void *owner);

    /* A transaction of its own: removes at most `limit` tickets that ended at or before ended_ms. *place is 0
     * for the first call; 0 after it when nothing more is left. Returns how many went, or negative. */
    int64_t (*purge)(struct store_backend *b, int64_t ended_ms, size_t limit, size_t *place);
    void (*tend)(struct store_backend *b); /* housekeeping, from the store thread; may be NULL */

    /* ---- a store elsewhere (Redis): these instead of get ... tend ---- */

    /* Does one operation and blocks for it; any thread. NULL: the store is here. */
    void (*run)(struct store_backend *b, struct store_op *op);
    /* One loop's connection to it. Operations are answered through done(op), on the loop, from a later turn
     * than submit's, each exactly once. close: answers what is open (failed, where nothing came), then
     * closed(owner). */
    struct store_link *(*link_new)(struct store_backend *b, uv_loop_t *loop,
                                   void (*done)(struct store_op *op));
    void (*link_submit)(struct store_link *l, struct store_op *op);
    void (*link_close)(struct store_link *l, void (*closed)(void *owner), void *owner);
    /* Whether and why not it can be used; detail is constant text. NULL: always. */
    bool (*is_up)(struct store_backend *b, const char **detail);
    /* Ends told by whoever shares it: heard from now on, through heard(owner, hash or NULL, how), from a
     * thread of the implementation's. */
    int (*listen)(struct store_backend *b, store_ended_cb *heard, void *owner);
};

extern const struct store_ops store_lmdb_ops;
extern const struct store_ops store_memory_ops;
extern const struct store_ops store_redis_ops;

/* ---- one operation, however it came ---- */

enum store_op_kind {
    STORE_ISSUE,
    STORE_REDEEM,
    STORE_REFRESH,
    STORE_REVOKE,
    STORE_END,   /* one ticket, by a fault: what says which */
    STORE_SWEEP, /* many */
    STORE_LIST,
    STORE_PURGE
};

struct store_op {
    enum store_op_kind kind;
    uint8_t hash[RECORD_HASH]; /* all that are about one ticket */
    int64_t now_ms;            /* of the wall clock */
    int64_t tombstone_ms;      /* how long what has ended stays known */
    const uint8_t *data;       /* ISSUE: encoded, borrowed */
    size_t len;
    int64_t end_ms;             /* ISSUE */
    struct store_limits limits; /* ISSUE */
    /* ISSUE: what limits and listing by user go by; SWEEP and LIST: user_key where has_user. The first half
     * of SHA-256 of the user; of user, NUL and device */
    uint8_t user_key[STORE_KEY], device_key[STORE_KEY];
    bool has_user;
    enum store_sweep what; /* END, SWEEP */
    struct store_query
        query; /* LIST: checked; the strings outlive the operation. PURGE: its limit only, 0: all */
    /* results, zero before */
    int rc;               /* all but REDEEM, REFRESH */
    int64_t count;        /* SWEEP, PURGE, LIST */
    enum redeem verdict;  /* REDEEM, REFRESH */
    struct record *rec;   /* REDEEM, REFRESH: owned by whoever made the op */
    const char *detail;   /* REDEEM_DOWN, ERR_STORE: constant text, or NULL */
    struct record **page; /* LIST: count records and the array, owned by whoever made the op */
    bool more;
};

void store_user_key(uint8_t key[STORE_KEY], const char *user, size_t user_len);
void store_device_key(uint8_t key[STORE_KEY], const char *user, size_t user_len, const char *device,
                      size_t device_len);

/* More would not make commits cheaper, and LMDB limits the pages a transaction can touch (131,071). */
#define STORE_BATCH_MAX 1024
#define STORE_PURGE_MAX 500

/* Fills the results of an operation that could not be done. */
void store_op_fail(struct store_op *op, int rc, const char *detail);
/* Fills an op for issuing r; data has RECORD_BYTES_MAX bytes and is lent to it. 0 or ERR_TOO_BIG. */
int store_op_issue(struct store *s, struct store_op *op, const struct record *r, uint8_t *data);
int store_check_query(const struct store_query *q); /* 0 or ERR_SYNTAX */

/* Does n operations in order, together where that is possible, and fills their results. Blocks on disk. */
void store_run(struct store *s, struct store_op *const *ops, size_t n);

/* What redeeming means for a ticket as it is now; changes nothing. */
enum redeem store_verdict(const struct record *r, int64_t now_ms);

bool store_is_single_use(const struct record *r);

/* ---- parts of operations, for store_run.c and store_batch.c ---- */

/* Looks the ticket up inside a write transaction. 0 with *out given, ERR_NOT_FOUND, ERR_STORE. */
int store_fetch(struct store *s, struct store_txn *t, const uint8_t hash[RECORD_HASH], struct record **out);
/* Stores a record that changed, and moves it in the indexes. */
int store_write(struct store *s, struct store_txn *t, const struct record *r, int64_t old_end_ms,
                int64_t now_ms);
/* A fault, on a live ticket. */
int store_lose(struct store *s, struct store_txn *t, struct record *r, enum store_sweep what, int64_t now_ms);
int store_note_end(struct store *s, struct store_txn *t, const uint8_t *hash, enum ticket_state how);
int store_parse_prefix(struct store_prefix *p, const char *text); /* 0 or ERR_SYNTAX */

/* Looks for what op.query wants and fills its page. */
void store_run_list(struct store *s, struct store_op *op);

/* How far a sweep or a purge has come; zero at first. */
struct store_progress {
    struct store_cursor cursor;
    size_t limit;     /* of a batch */
    size_t place;     /* of purging */
    bool any_untold;  /* tickets ended that watchers have yet to hear of */
    uint64_t told_ms; /* monotonic; when they were last told */
};
/* One batch in a transaction of its own. False: there is more to do; else op has its results. */
bool store_sweep_some(struct store *s, struct store_op *op, struct store_progress *p);
bool store_purge_some(struct store *s, struct store_op *op, struct store_progress *p);
/* Tickets whose time has come give room: one batch. Returns whether there may be more. */
bool store_retire_some(struct store *s);

/* When the ticket ended or will: tombstone_ms later it may be purged. */
int64_t store_record_end(const struct record *r);

/* Whether something may be logged again: not more than once in ten seconds. */
bool store_log_due(_Atomic uint64_t *last_ms);

/* ---- the store itself ---- */

struct store_ending {
    bool any;
    uint8_t hash[RECORD_HASH];
    enum ticket_state how;
};

struct store {
    char *url;                     /* owned; for the log */
    struct store_backend *backend; /* owned */
    const struct store_ops *ops;
    _Atomic int64_t tombstone_ms;
    int64_t purge_every_ms;
    atomic_uint clients;
    _Atomic uint64_t full_logged_ms;

    pthread_t thread;
    pthread_mutex_t mutex; /* guards what follows */
    pthread_cond_t wake;   /* on the monotonic clock */
    struct list queue;     /* of struct store_request */
    size_t queued;
    bool stopping;
    bool poked; /* something ended: whoever watches is to hear of it */
    struct store_limits limits;
    struct store_ending *endings; /* owned; what ended in a store that only this process sees */
    size_t ending_count, ending_cap;

    pthread_mutex_t watch_mutex; /* guards what follows; held while watchers are told; never taken while the
                                    other one is held */
    struct list watches;
    atomic_bool watched;
    bool listening;
    uint64_t heard; /* the implementation's place in what was noted */
};

/* ---- hearing of ends ---- */

void store_watch_init(struct store *s);
void store_watch_deinit(struct store *s);
/* An end (hash NULL: of any ticket) in a store that only this process sees. */
void store_watch_tell(struct store *s, const uint8_t *hash, enum ticket_state how);
void store_watch_poke(struct store *s);    /* something was noted: the thread is to hear it now */
void store_watch_deliver(struct store *s); /* from the thread */

/* ---- requests of event loops ---- */

/* Who touches a request: its loop until it is submitted; the thread until it is answered (its operation
 * only); its loop again. Callback and owner belong to the loop throughout, so that cancelling needs no lock.
 */
struct store_request {
    struct list link; /* in the store's queue, then in the client's list of answers */
    struct store_client *client;
    struct store_op op;
    store_redeem_cb *on_redeem; /* one of these; all NULL: cancelled */
    store_done_cb *on_done;
    store_count_cb *on_count;
    store_list_cb *on_list;
    void *owner;
    struct store_progress progress; /* SWEEP, PURGE */
    uint8_t data[];                 /* what op borrows */
};

/* Queues for the thread; false when the queue is full. */
bool store_thread_submit(struct store *s, struct store_request *r);
/* Hands a finished request to its loop, which may have freed it and its client by the time this returns. */
void store_answer(struct store_request *r);

int store_thread_start(struct store *s); /* 0 or a negated errno */
void store_thread_stop(struct store *s); /* after what is queued */

#endif
