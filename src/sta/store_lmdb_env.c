/* Opening, sharing and closing LMDB environments. LMDB's rules that are kept here: an environment is opened
 * once in a process, not while another process is opening or closing it, and its map changes only when no
 * transaction is open. Knows nothing of tickets.
 */
#include "store_lmdb_env.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"

#define FORMAT_TEXT "stagate-tickets 2"
#define FORMAT_OLD  "stagate-tickets 1" /* without the indexes by user and the notes of ends */
/* Each loop's client holds a reader slot for good, commands one for moments. The first process to open a
 * folder decides. */
#define READERS_MAX 1024

static pthread_mutex_t open_mutex = PTHREAD_MUTEX_INITIALIZER; /* guards the list, opening and closing */
static struct list open_envs = {.prev = &open_envs, .next = &open_envs};

/* ---- failures ---- */

int lmdb_failed(struct lmdb_env *env, const char *action, int rc)
{
    if (rc == MDB_MAP_FULL || rc == MDB_TXN_FULL || rc == ENOSPC || rc == EDQUOT || rc == EFBIG)
        return ERR_STORE_FULL;
    atomic_store(&env->failing, true);
    if (store_log_due(&env->logged_ms)) {
        struct log_line l;
        log_begin(&l, LOG_ERROR, "ticket_store_failed");
        log_str(&l, "store", env->path);
        log_str(&l, "action", action);
        log_str(&l, "cause", mdb_strerror(rc));
        log_end(&l);
    }
    return ERR_STORE;
}

void lmdb_succeeded(struct lmdb_env *env)
{
    if (atomic_load_explicit(&env->failing,
                             memory_order_relaxed)) /* on the way of every redemption: no write */
        atomic_store(&env->failing, false);
}

/* For opening: why is "lmdb: WHAT PATH: CAUSE". */
static int refuse(char *why, size_t why_cap, const char *what, const char *path, int rc)
{
    snprintf(why, why_cap, "lmdb: %s %s: %s", what, path, mdb_strerror(rc));
    return ERR_STORE;
}

/* ---- transactions ---- */

/* Adopts the size that another process has written into the environment. */
static void follow_map(struct lmdb_env *env)
{
    pthread_rwlock_wrlock(&env->gate);
    int rc = mdb_env_set_mapsize(env->mdb, 0);
    pthread_rwlock_unlock(&env->gate);
    if (rc != 0)
        lmdb_failed(env, "enlarge the map", rc);
}

int lmdb_txn_begin(struct lmdb_env *env, unsigned flags, MDB_txn **txn)
{
    int rc = 0;
    for (int tries = 0; tries < 3; tries++) {
        pthread_rwlock_rdlock(&env->gate);
        rc = mdb_txn_begin(env->mdb, NULL, flags, txn);
        if (rc == 0)
            return 0;
        pthread_rwlock_unlock(&env->gate);
        if (rc == MDB_MAP_RESIZED)
            follow_map(env);
        else if (rc == MDB_READERS_FULL)
            mdb_reader_check(env->mdb, NULL);
        else
            break;
    }
    return lmdb_failed(env, "begin a transaction", rc);
}

void lmdb_txn_done(struct lmdb_env *env)
{
    pthread_rwlock_unlock(&env->gate);
}

/* ---- room ---- */

/* Live tickets whose ends fit into a page that has been split: each takes an entry of 64 bytes among the past
 * ones, and moves one of 48, before what it leaves behind can be used again. */
#define ENDS_PER_PAGE 16

/* Pages on the free list, counted until there are `enough`. Each entry of database 0 begins with how many it
 * lists. */
static size_t free_pages(struct lmdb_env *env, size_t enough)
{
    MDB_txn *txn;
    MDB_cursor *cursor;
    size_t pages = 0;
    if (mdb_txn_begin(env->mdb, NULL, MDB_RDONLY, &txn) != 0)
        return 0;
    if (mdb_cursor_open(txn, 0, &cursor) == 0) {
        MDB_val key = {0}, data;
        while (pages < enough && mdb_cursor_get(cursor, &key, &data, MDB_NEXT) == 0) {
            size_t n;
            memcpy(&n, data.mv_data, sizeof n);
            pages += n;
        }
        mdb_cursor_close(cursor);
    }
    mdb_txn_abort(txn);
    return pages;
}

int64_t lmdb_pages_left(struct lmdb_env *env, MDB_txn *txn, int64_t enough)
{
    MDB_envinfo info;
    MDB_stat stat;
    mdb_env_info(env->mdb, &info);
    if (mdb_stat(txn, env->owners, &stat) != 0)
        return 0;
    size_t pages = info.me_mapsize / stat.ms_psize;
    size_t reserve = LMDB_RESERVE_PAGES + lmdb_ended_pages(pages) + stat.ms_entries / ENDS_PER_PAGE;
    int64_t left = (int64_t)pages - (int64_t)(info.me_last_pgno + 1 + reserve);
    if (left >= enough)
        return enough;
    return left + (int64_t)free_pages(env, (size_t)enough + reserve);
}

/* The ceiling gives way where it leaves no room for tickets to end: in a store that was full before the
 * indexes by user came. 0 or an LMDB code. */
static int leave_room(struct lmdb_env *env)
{
    MDB_txn *txn;
    MDB_envinfo info;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    int rc = mdb_txn_begin(env->mdb, NULL, MDB_RDONLY, &txn);
    if (rc != 0)
        return rc;
    int64_t left = lmdb_pages_left(env, txn, 0);
    mdb_txn_abort(txn);
    if (left >= 0)
        return 0;
    mdb_env_info(env->mdb, &info);
    return mdb_env_set_mapsize(env->mdb, info.me_mapsize + (size_t)-left * page);
}

/* ---- the folder ---- */

/* Creates the folder and those above it, as mkdir -p would; the last one is private. */
static int make_folders(const char *path)
{
    char *copy = mem_strdup(path);
    size_t len = strlen(copy);
    int rc = 0;
    while (len > 1 && copy[len - 1] == '/')
        copy[--len] = '\0';
    for (char *p = strchr(copy + 1, '/'); p != NULL && rc == 0; p = strchr(p + 1, '/')) {
        *p = '\0';
        rc = mkdir(copy, 0755) == 0 || errno == EEXIST ? 0 : errno;
        *p = '/';
    }
    if (rc == 0)
        rc = mkdir(copy, 0700) == 0 || errno == EEXIST ? 0 : errno;
    free(copy);
    return rc;
}

static int open_folder(const char *path, const struct store_options *options, char *why, size_t why_cap)
{
    const int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
    int fd = open(path, flags);
    if (fd < 0 && errno == ENOENT && !options->must_exist) {
        int rc = make_folders(path);
        if (rc != 0)
            return refuse(why, why_cap, "cannot create", path, rc);
        fd = open(path, flags);
    }
    if (fd >= 0)
        return fd;
    if (errno == ENOENT && options->must_exist) {
        snprintf(why, why_cap, "lmdb: there is no ticket store in %s", path);
        return ERR_NOT_FOUND;
    }
    return refuse(why, why_cap, "cannot open", path, errno);
}

static void lock_folder(int fd, int how)
{
    while (flock(fd, how) < 0 && errno == EINTR)
        continue;
}

/* ---- the environment ---- */

static bool is_text(const MDB_val *v, const char *text)
{
    return v->mv_size == strlen(text) && memcmp(v->mv_data, text, v->mv_size) == 0;
}

/* Writes the format's name into a new environment, or recognises it; *old: it is what an earlier version
 * wrote. 0 or an LMDB code; why filled where that code says too little. */
static int check_format(struct lmdb_env *env, MDB_txn *txn, bool *old, const char *path, char *why,
                        size_t why_cap)
{
    MDB_val key = lmdb_val("format", 6), format = lmdb_val(FORMAT_TEXT, strlen(FORMAT_TEXT)), found;
    MDB_dbi main_db;
    MDB_stat stat;

    *old = false;
    int rc = mdb_dbi_open(txn, NULL, 0, &main_db);
    if (rc == 0)
        rc = mdb_stat(txn, main_db, &stat);
    if (rc != 0)
        return rc;
    if (stat.ms_entries == 0) {
        rc = mdb_dbi_open(txn, "meta", MDB_CREATE, &env->meta);
        return rc == 0 ? mdb_put(txn, env->meta, &key, &format, 0) : rc;
    }
    rc = mdb_dbi_open(txn, "meta", 0, &env->meta);
    if (rc == 0)
        rc = mdb_get(txn, env->meta, &key, &found);
    if (rc == MDB_NOTFOUND || rc == MDB_INCOMPATIBLE) {
        snprintf(why, why_cap,
                 "lmdb: %s holds another program's data: give the tickets a folder of their own", path);
        return rc;
    }
    *old = rc == 0 && is_text(&found, FORMAT_OLD);
    if (*old)
        return mdb_put(txn, env->meta, &key, &format, 0);
    if (rc == 0 && !is_text(&found, FORMAT_TEXT)) {
        snprintf(why, why_cap, "lmdb: %s is in format \"%.*s\", this version knows only up to \"%s\"", path,
                 found.mv_size > 64 ? 64 : (int)found.mv_size, (char *)found.mv_data, FORMAT_TEXT);
        return MDB_INCOMPATIBLE;
    }
    return rc;
}

/* In one transaction, which is the caller's to end. */
static int open_in(struct lmdb_env *env, MDB_txn *txn, const char *path, char *why, size_t why_cap)
{
    const struct {
        const char *name;
        MDB_dbi *dbi;
    } databases[] = {{"tickets", &env->tickets},
                     {"ends", &env->ends},
                     {"owners", &env->owners},
                     {"past", &env->past},
                     {"ended", &env->ended}};
    bool old;
    int rc = check_format(env, txn, &old, path, why, why_cap);
    for (size_t i = 0; rc == 0 && i < sizeof databases / sizeof databases[0]; i++)
        rc = mdb_dbi_open(txn, databases[i].name, MDB_CREATE, databases[i].dbi);
    if (rc == 0 && old)
        rc = lmdb_owners_build(env, txn, clock_wall_ms());
    return rc;
}

/* Recognises or creates the databases, in one transaction: killed in between, all is as before. 0 or
 * ERR_STORE with why filled. */
static int open_databases(struct lmdb_env *env, bool fresh, const char *path, char *why, size_t why_cap)
{
    MDB_txn *txn;
    MDB_envinfo info;
    for (;;) {
        int rc = mdb_txn_begin(env->mdb, NULL, 0, &txn);
        if (rc != 0)
            return refuse(why, why_cap, "cannot read", path, rc);
        why[0] = '\0';
        rc = open_in(env, txn, path, why, why_cap);
        bool opened = rc == 0;
        if (opened)
            rc = mdb_txn_commit(txn);
        else
            mdb_txn_abort(txn);
        if (rc ==
            MDB_MAP_FULL) { /* no room for the indexes of an old store: the ceiling has to give way once */
            size_t page = (size_t)sysconf(_SC_PAGESIZE);
            mdb_env_info(env->mdb, &info);
            rc = mdb_env_set_mapsize(env->mdb, info.me_mapsize + info.me_mapsize / 4 / page * page);
            if (rc == 0)
                continue;
        }
        if (rc == 0)
            rc = leave_room(env);
        if (rc == 0 && fresh &&
            fsync(env->folder) < 0) /* the files' names are to be as durable as what is in them */
            rc = errno;
        if (rc == 0 || why[0])
            return rc == 0 ? 0 : ERR_STORE;
        return refuse(why, why_cap, opened ? "cannot write" : "cannot read", path, rc);
    }
}

/* Reading behind the end of a file through a map kills the process: look before. */
static bool is_whole(struct lmdb_env *env)
{
    struct stat st;
    MDB_envinfo info;
    MDB_stat stat;
    mdb_env_info(env->mdb, &info);
    mdb_env_stat(env->mdb, &stat);
    return fstatat(env->folder, "data.mdb", &st, 0) == 0 &&
           (uint64_t)st.st_size >= (uint64_t)(info.me_last_pgno + 1) * stat.ms_psize;
}

static size_t map_size(const struct store_options *options)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), least = 2 * LMDB_RESERVE_PAGES * page;
    size_t size = options->max_bytes > least ? options->max_bytes : least;
    return size - size % page;
}

/* With env->folder open and locked. 0, or negative with why filled and env->mdb closed. */
static int open_environment(struct lmdb_env *env, const char *path, const struct store_options *options,
                            char *why, size_t why_cap)
{
    struct stat st;
    bool fresh = fstatat(env->folder, "data.mdb", &st, 0) < 0 && errno == ENOENT;
    if (fresh && options->must_exist) {
        snprintf(why, why_cap, "lmdb: there is no ticket store in %s", path);
        return ERR_NOT_FOUND;
    }
    int rc = mdb_env_create(&env->mdb);
    if (rc != 0)
        return refuse(why, why_cap, "cannot open", path, rc);
    mdb_env_set_maxdbs(env->mdb, 6);
    mdb_env_set_maxreaders(env->mdb, READERS_MAX);
    mdb_env_set_mapsize(env->mdb, map_size(options));
    rc = mdb_env_open(env->mdb, path, MDB_NOTLS, 0600);
    if (rc != 0) {
        rc = refuse(why, why_cap, "cannot open", path, rc);
    } else if (!is_whole(env)) {
        snprintf(why, why_cap, "lmdb: %s/data.mdb was cut off: its end is missing", path);
        rc = ERR_STORE;
    } else {
        mdb_reader_check(env->mdb, NULL);
        rc = open_databases(env, fresh, path, why, why_cap);
    }
    if (rc < 0)
        mdb_env_close(env->mdb);
    return rc;
}

/* ---- sharing ---- */

static struct lmdb_env *find_open(const struct stat *st)
{
    for (struct list *at = open_envs.next; at != &open_envs; at = at->next) {
        struct lmdb_env *env = list_entry(at, struct lmdb_env, link);
        if (env->dev == st->st_dev && env->ino == st->st_ino)
            return env;
    }
    return NULL;
}

/* Another store in this process asks for more room: it gets it. For less, all have to close first. */
static int enlarge(struct lmdb_env *env, const struct store_options *options)
{
    MDB_envinfo info;
    int rc = 0;
    pthread_rwlock_wrlock(&env->gate);
    mdb_env_info(env->mdb, &info);
    if (map_size(options) > info.me_mapsize)
        rc = mdb_env_set_mapsize(env->mdb, map_size(options));
    pthread_rwlock_unlock(&env->gate);
    return rc;
}

static int open_new(struct lmdb_env **out, int folder, const struct stat *st, const char *path,
                    const struct store_options *options, char *why, size_t why_cap)
{
    struct lmdb_env *env = mem_zalloc(sizeof *env);
    env->base.ops = &store_lmdb_ops;
    env->dev = st->st_dev;
    env->ino = st->st_ino;
    env->folder = folder;
    lock_folder(folder, LOCK_EX);
    int rc = open_environment(env, path, options, why, why_cap);
    lock_folder(folder, LOCK_UN);
    if (rc < 0) {
        free(env);
        return rc;
    }
    env->path = mem_strdup(path);
    pthread_rwlock_init(&env->gate, NULL);
    list_append(&open_envs, &env->link);
    *out = env;
    return 0;
}

int lmdb_env_open(struct store_backend **out, const char *path, const struct store_options *options,
                  char *why, size_t why_cap)
{
    if (path[0] == '\0') {
        snprintf(why, why_cap, "lmdb: the folder is missing: write lmdb:PATH");
        return ERR_SYNTAX;
    }
    int folder = open_folder(path, options, why, why_cap);
    if (folder < 0)
        return folder;

    struct stat st;
    int rc = 0;
    pthread_mutex_lock(&open_mutex);
    struct lmdb_env *env = NULL;
    if (fstat(folder, &st) < 0)
        rc = refuse(why, why_cap, "cannot open", path, errno);
    else if ((env = find_open(&st)) == NULL)
        rc = open_new(&env, folder, &st, path, options, why, why_cap);
    else if ((rc = enlarge(env, options)) != 0)
        rc = refuse(why, why_cap, "cannot enlarge", path, rc);
    if (rc == 0) {
        env->refs++;
        *out = &env->base;
    }
    if (rc < 0 || env->folder != folder)
        close(folder);
    pthread_mutex_unlock(&open_mutex);
    return rc;
}

void lmdb_env_close(struct store_backend *b)
{
    struct lmdb_env *env = lmdb_env_of(b);
    pthread_mutex_lock(&open_mutex);
    if (--env->refs == 0) {
        list_remove(&env->link);
        lock_folder(env->folder, LOCK_EX);
        mdb_env_close(env->mdb);
        close(env->folder); /* unlocks */
        pthread_rwlock_destroy(&env->gate);
        free(env->path);
        free(env);
    }
    pthread_mutex_unlock(&open_mutex);
}
