/* A loop with an HTTP server on it and raw sockets as its clients, for tests of httpd and httpc. All in one
 * thread: the loop is turned until what a test waits for has come. */
#ifndef STAGATE_TESTS_HTTP_FIXTURE_H
#define STAGATE_TESTS_HTTP_FIXTURE_H

#include <check.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http/httpd.h"
#include "net/listener.h"

#define FIXTURE_DEADLINE_NS (20u * 1000000000ull)

static struct netloop loop;

static inline void turn(void)
{
    uv_run(&loop.uv, UV_RUN_NOWAIT);
}

static inline void turns(int n)
{
    for (int i = 0; i < n; i++)
        turn();
}

/* Turns the loop until expr holds. */
#define RUN_UNTIL(expr)                                                                                      \
    do {                                                                                                     \
        uint64_t end_ns_ = uv_hrtime() + FIXTURE_DEADLINE_NS;                                                \
        while (!(expr) && uv_hrtime() < end_ns_)                                                             \
            turn();                                                                                          \
        ck_assert(expr);                                                                                     \
    } while (0)

/* A socket that listens on a free port of 127.0.0.1. */
static inline int fixture_listen(struct sockaddr_in *address)
{
    int fd;
    socklen_t len = sizeof *address;
    *address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    ck_assert_int_eq(listener_bind((struct sockaddr *)address, true, &fd), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)address, &len), 0);
    return fd;
}

/* ---- a raw client ---- */

struct raw {
    int fd;
    bool eof;
    int error;
    size_t len;
    char data[1 << 16]; /* what came, NUL-terminated */
};

static inline void raw_open(struct raw *c, const struct sockaddr *address, socklen_t len)
{
    memset(c, 0, sizeof *c);
    c->fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_ge(c->fd, 0);
    ck_assert_int_eq(connect(c->fd, address, len), 0);
}

static inline void raw_connect(struct raw *c, const struct sockaddr_in *address)
{
    raw_open(c, (const struct sockaddr *)address, sizeof *address);
}

static inline void raw_send_n(struct raw *c, const void *data, size_t len)
{
    const char *p = data;
    uint64_t end = uv_hrtime() + FIXTURE_DEADLINE_NS;
    while (len > 0 && uv_hrtime() < end) {
        ssize_t n = send(c->fd, p, len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN)
            return; /* the server has closed: what it said is still to be read */
        if (n > 0) {
            p += n;
            len -= (size_t)n;
        }
        turn();
    }
    ck_assert_uint_eq(len, 0);
}

static inline void raw_send(struct raw *c, const char *text)
{
    raw_send_n(c, text, strlen(text));
}

/* Takes what is there: true once the connection has ended. */
static inline bool raw_poll(struct raw *c)
{
    while (!c->eof && c->error == 0 && c->len < sizeof c->data - 1) {
        ssize_t n = recv(c->fd, c->data + c->len, sizeof c->data - 1 - c->len, MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN)
            break;
        if (n < 0)
            c->error = errno;
        else if (n == 0)
            c->eof = true;
        else
            c->len += (size_t)n;
    }
    c->data[c->len] = '\0';
    return c->eof || c->error != 0;
}

static inline bool raw_has(struct raw *c, const char *text)
{
    raw_poll(c);
    return strstr(c->data, text) != NULL;
}

/* How often text came. */
static inline size_t raw_count(struct raw *c, const char *text)
{
    size_t n = 0;
    raw_poll(c);
    for (const char *p = c->data; (p = strstr(p, text)) != NULL; p += strlen(text))
        n++;
    return n;
}

static inline void raw_close(struct raw *c)
{
    close(c->fd);
}

static inline void raw_reset(struct raw *c)
{
    struct linger hard = {1, 0};
    setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    close(c->fd);
}

static inline int fixture_end(SRunner *runner)
{
    signal(SIGPIPE, SIG_IGN);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#endif
