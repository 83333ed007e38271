/* A redis-server of the test's own: on a free port of 127.0.0.1, its files in a folder of the test's, killed
 * with the test. There is no test without one: where it is not installed, they fail.
 */
#ifndef STAGATE_TESTS_UNIT_REDIS_FIXTURE_H
#define STAGATE_TESTS_UNIT_REDIS_FIXTURE_H

#include <arpa/inet.h>
#include <check.h>
#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

struct redis_server {
    const char *folder;
    pid_t pid; /* 0: does not run */
    int port;
    const char *password;       /* NULL: none */
    const char *option, *value; /* one more for its command line; NULL: none */
};

static inline int redis_free_port(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    close(fd);
    return ntohs(a.sin_port);
}

/* A connection of the test's own; NULL while the server does not answer. */
static inline redisContext *redis_direct(const struct redis_server *s)
{
    redisContext *c = redisConnectWithTimeout("127.0.0.1", s->port, (struct timeval){.tv_sec = 5});
    redisReply *r = NULL;
    if (c->err == 0 && s->password)
        freeReplyObject(redisCommand(c, "AUTH %s", s->password));
    if (c->err == 0)
        r = redisCommand(c, "PING");
    bool good = r != NULL && r->type == REDIS_REPLY_STATUS;
    if (r)
        freeReplyObject(r);
    if (good)
        return c;
    redisFree(c);
    return NULL;
}

/* One command, its answer as a number (a string's too), -1 for an error. */
static inline long long redis_tell(const struct redis_server *s, const char *format, ...)
{
    redisContext *c = redis_direct(s);
    ck_assert_ptr_nonnull(c);
    va_list ap;
    va_start(ap, format);
    redisReply *r = redisvCommand(c, format, ap);
    va_end(ap);
    ck_assert_ptr_nonnull(r);
    long long n = r->type == REDIS_REPLY_ERROR ? -1 : r->type == REDIS_REPLY_INTEGER ? r->integer : 0;
    if (r->type == REDIS_REPLY_STRING)
        n = strtoll(r->str, NULL, 10);
    freeReplyObject(r);
    redisFree(c);
    return n;
}

static inline void redis_exec(const struct redis_server *s)
{
    char port[16];
    snprintf(port, sizeof port, "%d", s->port);
    const char *args[24] = {"redis-server", "--bind",  "127.0.0.1",    "--port", port,        "--save",   "",
                            "--dir",        s->folder, "--appendonly", "no",     "--logfile", "redis.log"};
    size_t n = 13;
    if (s->password) {
        args[n++] = "--requirepass";
        args[n++] = s->password;
    }
    if (s->option) {
        args[n++] = s->option;
        args[n++] = s->value;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails does not clean up */
    for (int fd = 3; fd < 64; fd++)
        close(fd);
    execvp(args[0], (char **)(uintptr_t)args);
    _exit(127);
}

/* Starts it, again on its old port where it has one, and waits until it answers. */
static inline void redis_start(struct redis_server *s)
{
    bool again = s->port != 0;
    for (unsigned attempt = 0; attempt < 10; attempt++) {
        if (!again)
            s->port = redis_free_port();
        s->pid = fork();
        ck_assert_int_ge(s->pid, 0);
        if (s->pid == 0)
            redis_exec(s);
        uint64_t end = uv_hrtime() + 20ull * 1000000000;
        int status = 0;
        while (uv_hrtime() < end && waitpid(s->pid, &status, WNOHANG) == 0) {
            redisContext *c = redis_direct(s);
            if (c) {
                redisFree(c);
                return;
            }
            usleep(2000);
        }
        ck_assert_msg(!WIFEXITED(status) || WEXITSTATUS(status) != 127, "redis-server is not installed");
    }
    ck_abort_msg("redis-server does not start: see redis.log");
}

static inline void redis_kill(struct redis_server *s)
{
    if (s->pid == 0)
        return;
    kill(s->pid, SIGKILL);
    ck_assert_int_eq(waitpid(s->pid, NULL, 0), s->pid);
    s->pid = 0;
}

/* Static storage. */
static inline const char *redis_url(const struct redis_server *s)
{
    static char url[64];
    snprintf(url, sizeof url, "redis://127.0.0.1:%d", s->port);
    return url;
}

#endif
