/* The ticket store of a fleet: Redis. This file reads the URL, opens and closes, does operations that may
 * block, and has the words for what goes wrong. Called through store_redis_ops; the loops' half is
 * store_redis_link.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "store_redis_impl.h"

#define PORT         6379
#define PREFIX       "stagate"
#define DATABASE_MAX 9999
#define COMMAND_MAX  ((size_t)64 << 10)

/* ---- texts ---- */

const char redis_down_timeout[] = "redis: no answer in time";
const char redis_down_lost[] = "redis: connection lost";
const char redis_down_nonsense[] = "redis: an answer that makes no sense";
const char redis_down_password[] = "redis: the password file cannot be read";
const char redis_down_many[] = "redis: too many operations waiting";
const char redis_down_name[] = "redis: host name not found";
static const char down_yet[] = "redis: not asked yet";

const char *redis_errno_detail(int code)
{
    switch (code < 0 ? -code : code) {
    case ECONNREFUSED:
        return "redis: connection refused";
    case ETIMEDOUT:
    case EAGAIN:
    case EINPROGRESS:
        return redis_down_timeout;
    case EHOSTUNREACH:
    case ENETUNREACH:
        return "redis: host unreachable";
    case EMFILE:
    case ENFILE:
        return "redis: too many open files";
    case ECONNRESET:
    case EPIPE:
        return redis_down_lost;
    }
    return "redis: connecting failed";
}

const char *redis_error_detail(const char *text, size_t len, bool *lasting)
{
    static const struct {
        const char *begin, *detail;
        bool lasting;
    } errors[] = {
        {"NOAUTH", "redis: authentication failed", true},
        {"WRONGPASS", "redis: authentication failed", true},
        {"ERR AUTH", "redis: authentication failed", true},
        {"NOPERM", "redis: not permitted to this user", true},
        {"READONLY", "redis: read-only replica", true},
        {"MASTERDOWN", "redis: a replica without its master", true},
        {"LOADING", "redis: loading", true},
        {"MISCONF", "redis: cannot save to its disk", true},
        {"NOREPLICAS", "redis: too few replicas", true},
        {"DENIED", "redis: protected mode", true},
        {"OOM", "redis: out of memory", false},
        {"BUSY", "redis: busy with a script", false},
        {"WRONGTYPE", "redis: something else has keys with this prefix", false},
        {"BADRECORD", "redis: a ticket of another version", false},
        {"ERR DB index", "redis: no such database", true},
        {"ERR invalid DB index", "redis: no such database", true},
        {"ERR max number of clients", "redis: too many connections", true},
        {"ERR Error compiling script", "redis: version 7 or newer is needed", true},
    };
    static _Atomic uint64_t logged_ms;
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
        size_t n = strlen(errors[i].begin);
        if (len < n || memcmp(text, errors[i].begin, n) != 0)
            continue;
        if (lasting)
            *lasting = errors[i].lasting;
        return errors[i].detail;
    }
    if (lasting)
        *lasting = false;
    if (store_log_due(&logged_ms))
        log_message(LOG_WARN, "redis_error", "%.*s", (int)(len < 300 ? len : 300), text);
    return "redis: an error that is in the log";
}

void redis_note(struct redis *r, const char *down)
{
    const char *before = atomic_exchange(&r->down, down);
    /* a first connection that is made is nothing to tell, one that cannot be made is */
    bool first = before == down_yet && down != down_yet;
    if (r->quiet || (first ? down == NULL : (before == NULL) == (down == NULL)))
        return;
    struct log_line l;
    char text[HOSTPORT_TEXT];
    hostport_format(&r->host, text);
    if (down)
        log_begin(&l, LOG_ERROR, "ticket_store_down");
    else
        log_begin(&l, LOG_INFO, "ticket_store_up");
    log_str(&l, "redis", text);
    log_str(&l, "detail", down);
    log_end(&l);
}

static bool redis_is_up(struct store_backend *b, const char **detail)
{
    const char *down = atomic_load(&redis_of(b)->down);
    *detail = down;
    return down == NULL;
}

/* ---- the password ---- */

int redis_read_password(const struct redis *r, struct redis_password *p)
{
    int fd = open(r->password_file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return -errno;
    ssize_t n = read(fd, p->text, sizeof p->text);
    int saved = errno;
    close(fd);
    if (n < 0)
        return -saved;
    char *end = memchr(p->text, '\n', (size_t)n);
    size_t len = end ? (size_t)(end - p->text) : (size_t)n;
    if (len > 0 && p->text[len - 1] == '\r')
        len--;
    if (len == 0 || len == sizeof p->text || memchr(p->text, '\0', len) != NULL) {
        mem_wipe(p, sizeof *p);
        return ERR_SYNTAX;
    }
    p->text[len] = '\0';
    char *colon = strchr(p->text, ':');
    p->user = colon ? p->text : NULL;
    p->password = colon ? colon + 1 : p->text;
    if (colon)
        *colon = '\0';
    return 0;
}

static int check_password(const struct redis *r, char *why, size_t why_cap)
{
    struct redis_password password;
    if (r->password_file == NULL)
        return 0;
    int rc = redis_read_password(r, &password);
    mem_wipe(&password, sizeof password);
    if (rc == ERR_SYNTAX)
        snprintf(why, why_cap, "redis: password_file %s: its first line is not a password", r->password_file);
    else if (rc < 0)
        snprintf(why, why_cap, "redis: cannot read password_file %s: %s", r->password_file, strerror(-rc));
    return rc == ERR_SYNTAX || rc == 0 ? rc : ERR_STORE;
}

/* ---- the URL; never quoted, since it may hold a password by mistake ---- */

static const char *parse_prefix(struct redis *r, const char *query)
{
    static const char name[] = "prefix=",
                      letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-:{}";
    if (strncmp(query, name, sizeof name - 1) != 0)
        return "behind the question mark only prefix=NAME is known";
    query += sizeof name - 1;
    size_t len = strlen(query);
    if (len == 0 || len >= sizeof r->prefix || strspn(query, letters) != len)
        return "a prefix is 1 to 64 letters, digits or any of . _ - : { }";
    memcpy(r->prefix, query, len + 1);
    return NULL;
}

static const char *parse_database(struct redis *r, const char *text, size_t len)
{
    unsigned n = 0;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9' || n > DATABASE_MAX)
            return "a database is a number from 0 to 9999";
        n = 10 * n + (unsigned)(text[i] - '0');
    }
    r->database = n;
    return n > DATABASE_MAX ? "a database is a number from 0 to 9999" : NULL;
}

static const char *parse_host(struct redis *r, const char *text, size_t len)
{
    const char *why = NULL;
    if (len == 0)
        return "the host is missing";
    if (hostport_parse(&r->host, text, len, 0, &why) == 0)
        return NULL;
    const char *unused;
    if (hostport_parse_host(&r->host, text, len, &unused) < 0)
        return why;
    r->host.port = PORT;
    return NULL;
}

static const char *parse_url(struct redis *r, const char *url)
{
    memcpy(r->prefix, PREFIX, sizeof PREFIX);
    if (strncmp(url, "//", 2) != 0)
        return "write redis://HOST:PORT or redis://HOST:PORT/DATABASE";
    if (strchr(url, '@') != NULL)
        return "a URL may not carry a password: write it into a file and name that as password_file";
    url += 2;
    size_t host = strcspn(url, "/?"), database = 0;
    const char *why = parse_host(r, url, host);
    url += host;
    if (why == NULL && *url == '/') {
        database = strcspn(++url, "?");
        why = parse_database(r, url, database);
        url += database;
    }
    if (why == NULL && *url == '?')
        why = parse_prefix(r, url + 1);
    return why;
}

/* ---- opening and closing ---- */

static void redis_close(struct store_backend *b)
{
    struct redis *r = redis_of(b);
    if (r->keeper)
        redis_keeper_stop(r->keeper);
    if (r->context)
        redisFree(r->context);
    redis_scripts_deinit(r->scripts);
    pthread_mutex_destroy(&r->mutex);
    free(r->password_file);
    free(r);
}

static int redis_open(struct store_backend **out, const char *path, const struct store_options *options,
                      char *why, size_t why_cap)
{
    struct redis *r = mem_zalloc(sizeof *r);
    r->base.ops = &store_redis_ops;
    r->password_file = mem_strdup(options->password_file);
    r->timeout_ms = (uint64_t)options->timeout_ms;
    r->quiet = options->quiet;
    r->purge_every_ms = options->purge_every_ms;
    r->tombstone_ms = options->tombstone_ms;
    r->down = down_yet;
    pthread_mutex_init(&r->mutex, NULL);
    const char *wrong = parse_url(r, path);
    int rc = 0;
    if (wrong) {
        snprintf(why, why_cap, "redis: %s", wrong);
        rc = ERR_SYNTAX;
    }
    if (rc == 0)
        rc = check_password(r, why, why_cap);
    if (rc == 0) {
        snprintf(r->channel, sizeof r->channel, "%s:ended", r->prefix);
        redis_scripts_init(r->scripts);
        rc = redis_keeper_start(r);
        if (rc < 0)
            snprintf(why, why_cap, "redis: cannot start the store's thread: %s", err_text(rc));
    }
    if (rc < 0) {
        redis_close(&r->base);
        return rc;
    }
    *out = &r->base;
    return 0;
}

/* ---- blocking operations; the mutex is held ---- */

static struct timeval time_left(uint64_t deadline_ms)
{
    uint64_t now = clock_mono_ms(), left = deadline_ms > now ? deadline_ms - now : 1;
    return (struct timeval){.tv_sec = (time_t)(left / 1000), .tv_usec = (suseconds_t)(left % 1000) * 1000};
}

static void disconnect(struct redis *r, const char *down)
{
    if (r->context)
        redisFree(r->context);
    r->context = NULL;
    redis_note(r, down);
}

static bool send_command(int fd, const struct redis_args *a)
{
    struct buf b;
    buf_init(&b, COMMAND_MAX);
    bool sent = buf_reserve(&b, COMMAND_MAX / 2) == 0 && redis_args_append(a, &b);
    for (size_t at = 0; sent && at < b.len;) {
        ssize_t n = send(fd, b.data + at, b.len - at, MSG_NOSIGNAL);
        sent = n > 0 || (n < 0 && errno == EINTR);
        at += n > 0 ? (size_t)n : 0;
    }
    if (b.data)
        mem_wipe(b.data, b.len);
    int saved = errno;
    buf_deinit(&b);
    errno = saved;
    return sent;
}

/* One command and its reply, owned by the caller. NULL: there is no connection any more, and *detail says
 * why. */
static redisReply *ask(struct redis *r, const struct redis_args *a, uint64_t deadline_ms, const char **detail)
{
    redisSetTimeout(r->context, time_left(deadline_ms));
    void *reply = NULL;
    if (!send_command(r->context->fd, a))
        *detail = redis_errno_detail(errno);
    else if (redisGetReply(r->context, &reply) == REDIS_OK && reply != NULL)
        return reply;
    else if (r->context->err == REDIS_ERR_IO)
        *detail = redis_errno_detail(errno);
    else
        *detail = r->context->err == REDIS_ERR_EOF ? redis_down_lost : redis_down_nonsense;
    disconnect(r, *detail);
    return NULL;
}

static bool greet(struct redis *r, uint64_t deadline_ms, const char **detail)
{
    struct redis_password password;
    struct redis_args a;
    bool secret = r->password_file != NULL, good = true;
    if (secret && redis_read_password(r, &password) < 0) {
        *detail = redis_down_password;
        disconnect(r, *detail);
        return false;
    }
    for (unsigned i = 0; good && redis_greeting(r, i, secret ? &password : NULL, false, &a); i++) {
        redisReply *reply = ask(r, &a, deadline_ms, detail);
        good = reply != NULL && reply->type != REDIS_REPLY_ERROR;
        if (reply != NULL && !good) {
            *detail = redis_error_detail(reply->str, reply->len, NULL);
            disconnect(r, *detail);
        }
        if (reply)
            freeReplyObject(reply);
    }
    if (secret)
        mem_wipe(&password, sizeof password);
    return good;
}

/* Whether the other side has not gone since the last reply. */
static bool is_fresh(const redisContext *c)
{
    char byte;
    return recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
}

static bool connect_anew(struct redis *r, uint64_t deadline_ms, const char **detail)
{
    if (r->context && is_fresh(r->context))
        return true;
    disconnect(r, atomic_load(&r->down)); /* as it was */
    errno = 0;
    r->context = redisConnectWithTimeout(r->host.host, r->host.port, time_left(deadline_ms));
    if (r->context == NULL)
        mem_fail();
    if (r->context->err == 0) { // cppcheck-suppress nullPointerRedundantCheck
        redisEnableKeepAlive(r->context);
        if (!greet(r, deadline_ms, detail))
            return false;
        redis_note(r, NULL);
        return true;
    }
    *detail = r->context->err == REDIS_ERR_IO ? redis_errno_detail(errno) : redis_down_name;
    disconnect(r, *detail);
    return false;
}

/* One command of the operation, or all of its batches. */
static void run_connected(struct redis *r, struct store_op *op, uint64_t deadline_ms)
{
    struct redis_place place = {0};
    enum redis_step step;
    do {
        struct redis_args a;
        const char *detail = NULL;
        redis_op_args(r, op, &place, &a);
        redisReply *reply = ask(r, &a, deadline_ms, &detail);
        if (reply == NULL) {
            redis_op_fail(op, ERR_STORE, detail);
            return;
        }
        step = redis_op_take(op, &place, reply);
        freeReplyObject(reply);
        deadline_ms = clock_mono_ms() + r->timeout_ms;
    } while (step == REDIS_AGAIN);
    if (step == REDIS_LOST)
        disconnect(r, op->detail);
}

static void redis_run(struct store_backend *b, struct store_op *op)
{
    struct redis *r = redis_of(b);
    const char *detail = redis_down_timeout;
    uint64_t deadline_ms = clock_mono_ms() + r->timeout_ms;
    pthread_mutex_lock(&r->mutex);
    if (clock_mono_ms() < deadline_ms && connect_anew(r, deadline_ms, &detail))
        run_connected(r, op, deadline_ms);
    else /* those before it have waited in vain as well */
        redis_op_fail(op, ERR_STORE, detail);
    pthread_mutex_unlock(&r->mutex);
}

const struct store_ops store_redis_ops = {
    .scheme = "redis",
    .shared = true,
    .open = redis_open,
    .close = redis_close,
    .run = redis_run,
    .link_new = redis_link_new,
    .link_submit = redis_link_submit,
    .link_close = redis_link_close,
    .is_up = redis_is_up,
    .listen = redis_listen,
};
