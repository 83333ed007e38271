/* What the parts of the Redis store share: the server's address and scripts, operations as commands, replies
 * as results, and one connection on a loop.
 *
 *   store_redis.c          URL, opening, blocking operations, what errors are called
 *   store_redis_scripts.c  the Lua texts: what each operation does, atomically
 *   store_redis_ops.c      operations as commands, replies as results
 *   store_redis_conn.c     a connection on a loop that comes back by itself
 *   store_redis_link.c     a loop's operations over such a connection
 *   store_redis_keeper.c   a thread that hears of ends and purges
 */
#ifndef STAGATE_SRC_STA_STORE_REDIS_IMPL_H
#define STAGATE_SRC_STA_STORE_REDIS_IMPL_H

#include <hiredis/hiredis.h>

#include "base/buf.h"
#include "proto/hostport.h"
#include "store_impl.h"

#define REDIS_SCRIPTS  (STORE_PURGE + 1) /* one for each kind of operation */
#define REDIS_SHA      41                /* 40 hex digits and NUL */
#define REDIS_ARGS_MAX 16
#define REDIS_OPEN_MAX 10000 /* operations waiting in one loop */

struct redis_script {
    char *text; /* owned */
    size_t len;
    char sha[REDIS_SHA];
};

struct redis_keeper;

struct redis {
    struct store_backend base;
    struct hostport host;
    unsigned database;
    char prefix[65];
    char *password_file; /* owned; NULL: none */
    uint64_t timeout_ms;
    bool quiet;       /* a command's: it tells itself what fails */
    char channel[80]; /* where ends are published */
    struct redis_script scripts[REDIS_SCRIPTS];
    _Atomic(const char *) down;  /* NULL while it can be used, else why not: as whoever asked last found it */
    struct redis_keeper *keeper; /* owned */
    int64_t purge_every_ms;
    _Atomic int64_t tombstone_ms; /* as operations came with it last */

    pthread_mutex_t mutex; /* guards what follows */
    redisContext *context; /* for blocking operations; NULL: not connected */
};

static inline struct redis *redis_of(struct store_backend *b)
{
    return (struct redis *)(void *)b; /* its first member */
}

/* ---- texts; all constant ---- */

extern const char redis_down_timeout[];   /* "redis: no answer in time" */
extern const char redis_down_lost[];      /* "redis: connection lost" */
extern const char redis_down_nonsense[];  /* "redis: an answer that makes no sense" */
extern const char redis_down_password[];  /* "redis: the password file cannot be read" */
extern const char redis_down_many[];      /* "redis: too many operations waiting" */
extern const char redis_down_name[];      /* "redis: host name not found" */
const char *redis_errno_detail(int code); /* of a positive errno or a negative code of libuv */
/* What an error reply means. *lasting (may be NULL): the connection is of no use as things are (a replica,
 * still loading, not allowed): better to ask anew after a while. */
const char *redis_error_detail(const char *text, size_t len, bool *lasting);
/* How it was found; logs changes. */
void redis_note(struct redis *r, const char *down);

/* ---- passwords ---- */

struct redis_password {
    char *user; /* NULL: none; both into text */
    char *password;
    char text[1024];
};
/* 0, or a negated errno, or ERR_SYNTAX (empty, or longer than a password can be). Wipe it afterwards. */
int redis_read_password(const struct redis *r, struct redis_password *p);

/* ---- commands ---- */

struct redis_args {
    int argc;
    const char *argv[REDIS_ARGS_MAX]; /* borrowed, or into numbers or key */
    size_t len[REDIS_ARGS_MAX];
    char numbers[10][24];
    unsigned number_count;
    char key[128];
    uint8_t low[RECORD_HASH], high[RECORD_HASH];
};

void redis_args_begin(struct redis_args *a, const char *command);
void redis_args_add(struct redis_args *a, const void *data, size_t len);
void redis_args_add_text(struct redis_args *a, const char *s);
void redis_args_add_int(struct redis_args *a, int64_t n);
/* Appends the command as it goes over the wire; wiped: it holds a password. false where the buffer is full.
 */
bool redis_args_append(const struct redis_args *a, struct buf *b);

/* ---- operations ---- */

/* Where an operation in batches goes on. */
struct redis_place {
    bool begun;
    bool whole; /* the script's text goes along: the server does not know it */
    uint8_t after[RECORD_HASH];
};

enum redis_step {
    REDIS_DONE,  /* answered */
    REDIS_AGAIN, /* the next batch, or the same again with the script */
    REDIS_LOST   /* answered, and the connection is of no use */
};

/* The operation as a command; a borrows from op, place and r. */
void redis_op_args(struct redis *r, const struct store_op *op, const struct redis_place *place,
                   struct redis_args *a);
/* Takes a reply (never NULL) in and fills the results. */
enum redis_step redis_op_take(struct store_op *op, struct redis_place *place, const redisReply *reply);
void redis_op_fail(struct store_op *op, int rc, const char *detail);

/* Concatenates and hashes the scripts. */
void redis_scripts_init(struct redis_script scripts[REDIS_SCRIPTS]);
void redis_scripts_deinit(struct redis_script scripts[REDIS_SCRIPTS]);
/* Changes nothing, and fails wherever the others would: on a replica, without permission, on an old server.
 */
extern const char redis_script_probe[];

/* What a new connection has to say first, step by step from 0; false: nothing more. The answer to each must
 * not be an error. *p is lent to a. scripts: they are loaded too, else each goes along with the first
 * operation that the server does not know. */
bool redis_greeting(const struct redis *r, unsigned step, const struct redis_password *p, bool scripts,
                    struct redis_args *a);
#define REDIS_GREETING_MAX (3 + REDIS_SCRIPTS)

/* ---- a connection on a loop (store_redis_conn.c) ---- */

struct redis_conn;

/* A command that waits for its reply; embedded in its owner's. */
struct redis_call {
    struct list link;
    void *owner;
    uint64_t deadline_ms; /* of the loop's clock; calls come in this order */
    /* Never from inside a call of the owner's. reply is borrowed; NULL: detail says why there will be none.
     */
    void (*done)(struct redis_call *call, const redisReply *reply, const char *detail);
};

enum redis_conn_state {
    REDIS_CONN_AWAY,   /* the last attempt failed; another one will follow */
    REDIS_CONN_TRYING, /* it will be known within the timeout */
    REDIS_CONN_READY
};

/* Called from the loop, never from inside a call of the owner's; any may be NULL but closed. */
struct redis_conn_events {
    void (*ready)(void *owner);
    /* After the open calls have been answered. */
    void (*failed)(void *owner, const char *detail);
    void (*message)(void *owner, const char *data, size_t len); /* published on a channel subscribed to */
    void (*closed)(void *owner);                                /* the connection is gone, its handles too */
};

struct redis_conn *redis_conn_new(struct redis *r, uv_loop_t *loop, const struct redis_conn_events *events,
                                  void *owner);
enum redis_conn_state redis_conn_state(const struct redis_conn *c, const char **detail);
/* Only while READY. Sent with what else this turn of the loop sends. false: no room. */
bool redis_conn_send(struct redis_conn *c, struct redis_call *call, const struct redis_args *a);
/* Gives the connection up and tries another: calls it failed. From a call's done only. */
void redis_conn_abandon(struct redis_conn *c, const char *detail);
/* Calls that are open get no answer any more. */
void redis_conn_close(struct redis_conn *c);

/* ---- the members of store_ops ---- */

struct store_link *redis_link_new(struct store_backend *b, uv_loop_t *loop,
                                  void (*done)(struct store_op *op));
void redis_link_submit(struct store_link *l, struct store_op *op);
void redis_link_close(struct store_link *l, void (*closed)(void *owner), void *owner);

int redis_keeper_start(struct redis *r);        /* 0 or a negative code */
void redis_keeper_stop(struct redis_keeper *k); /* returns when it is gone */
/* Waits until it is heard, or until that has failed for now. */
int redis_listen(struct store_backend *b, store_ended_cb *heard, void *owner);

#endif
