/* The backend of the benchmark: a plain TCP server on a free loopback port that echoes, sends or swallows
 * bytes as the requests of wire.h ask. Started by bench.py beside each proxy; ends when its standard input
 * does. One thread, epoll. Knows nothing of TLS or of proxies. */
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "wire.h"

enum { CHUNK = PATTERN_PERIOD, SENDS_PER_TURN = 4, OUT_MAX = 2 * CHUNK, EVENTS = 256 };

enum state { STATE_REQUEST, STATE_ECHO, STATE_SOURCE, STATE_DISCARD };

struct conn {
    int fd;
    enum state state;
    uint32_t watched; /* epoll events in force */
    bool damaged;
    uint8_t head[REQUEST_SIZE];
    size_t head_len;
    uint64_t done, total; /* of the request's count */
    struct buf out;       /* owns memory only while the peer does not read */
};

static struct {
    int epoll;
    struct pattern pattern;
    uint8_t in[CHUNK];
} sink;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void conn_watch(struct conn *c, uint32_t events)
{
    if (events == c->watched)
        return;
    struct epoll_event ev = {.events = events, .data.ptr = c};
    if (epoll_ctl(sink.epoll, EPOLL_CTL_MOD, c->fd, &ev) < 0)
        die("epoll_ctl");
    c->watched = events;
}

static void conn_close(struct conn *c)
{
    close(c->fd);
    buf_deinit(&c->out);
    free(c);
}

static void conn_accept(int listener)
{
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && (errno == EAGAIN || errno == ECONNABORTED))
            return;
        if (fd < 0)
            die("accept");
        int one = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct conn *c = mem_zalloc(sizeof *c);
        c->fd = fd;
        c->watched = EPOLLIN;
        buf_init(&c->out, OUT_MAX);
        struct epoll_event ev = {.events = EPOLLIN, .data.ptr = c};
        if (epoll_ctl(sink.epoll, EPOLL_CTL_ADD, fd, &ev) < 0)
            die("epoll_ctl");
    }
}

static void conn_queue(struct conn *c, const uint8_t *data, size_t len)
{
    int rc = buf_append(&c->out, data, len);
    assert(rc == 0 && "reading stops while anything is queued");
    (void)rc;
}

/* Begins the request whose head is complete. False: no such verb. */
static bool conn_begin(struct conn *c)
{
    struct request r;
    request_decode(&r, c->head);
    c->head_len = 0;
    c->done = 0;
    c->total = r.count;
    c->damaged = false;
    switch (r.verb) {
    case VERB_ECHO:
        conn_queue(c, c->head, REQUEST_SIZE);
        c->state = STATE_ECHO;
        return true;
    case VERB_SOURCE:
        c->state = STATE_SOURCE;
        return true;
    case VERB_DISCARD:
        c->state = STATE_DISCARD;
        return true;
    default:
        return false;
    }
}

/* Ends the request when its count is reached. */
static void conn_finish(struct conn *c)
{
    if (c->state == STATE_REQUEST || c->done < c->total)
        return;
    if (c->state == STATE_DISCARD) {
        if (c->damaged)
            c->head[0] = VERB_DAMAGED;
        conn_queue(c, c->head, REQUEST_SIZE);
    }
    c->state = STATE_REQUEST;
}

/* Takes bytes for the state the connection is in; returns how many, or -1 for a client that breaks the
 * protocol. */
static ssize_t conn_take(struct conn *c, const uint8_t *data, size_t len)
{
    if (c->state == STATE_SOURCE)
        return -1;
    uint64_t left = c->state == STATE_REQUEST ? REQUEST_SIZE - c->head_len : c->total - c->done;
    size_t n = len < left ? len : (size_t)left;
    if (c->state == STATE_REQUEST) {
        memcpy(c->head + c->head_len, data, n);
        c->head_len += n;
        if (c->head_len == REQUEST_SIZE && !conn_begin(c))
            return -1;
    } else {
        if (c->state == STATE_ECHO)
            conn_queue(c, data, n);
        else if (!pattern_matches(&sink.pattern, c->done, data, n))
            c->damaged = true;
        c->done += n;
    }
    conn_finish(c);
    return (ssize_t)n;
}

/* Writes what is queued, then what a source owes. 1: everything is out; 0: more to come; -1: the connection
 * is gone. */
static int conn_flush(struct conn *c)
{
    for (int turn = 0; turn < SENDS_PER_TURN; turn++) {
        bool queued = c->out.len > 0;
        if (!queued && c->state != STATE_SOURCE) {
            buf_deinit(&c->out);
            return 1;
        }
        uint64_t left = c->total - c->done;
        const uint8_t *data = queued ? c->out.data : pattern_at(&sink.pattern, c->done);
        size_t len = queued ? c->out.len : (left < CHUNK ? (size_t)left : CHUNK);
        ssize_t n = write(c->fd, data, len);
        if (n < 0)
            return errno == EAGAIN ? 0 : -1;
        if (queued) {
            buf_consume(&c->out, (size_t)n);
        } else {
            c->done += (uint64_t)n;
            conn_finish(c);
        }
    }
    return c->out.len == 0 && c->state != STATE_SOURCE;
}

/* One read. False: the connection is over. */
static bool conn_read(struct conn *c)
{
    ssize_t got = read(c->fd, sink.in, sizeof sink.in);
    if (got < 0)
        return errno == EAGAIN;
    if (got == 0)
        return false;
    for (size_t at = 0; at < (size_t)got;) {
        ssize_t n = conn_take(c, sink.in + at, (size_t)got - at);
        if (n < 0)
            return false;
        at += (size_t)n;
    }
    return true;
}

static void on_event(struct conn *c, uint32_t events)
{
    bool reading = c->watched & EPOLLIN;
    if ((reading && !conn_read(c)) || (!reading && events & (EPOLLERR | EPOLLHUP))) {
        conn_close(c);
        return;
    }
    int rc = conn_flush(c);
    if (rc < 0)
        conn_close(c);
    else
        conn_watch(c, rc ? EPOLLIN : EPOLLOUT);
}

static int listen_loopback(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof addr;
    if (fd < 0 || bind(fd, (struct sockaddr *)&addr, len) < 0 || listen(fd, SOMAXCONN) < 0 ||
        getsockname(fd, (struct sockaddr *)&addr, &len) < 0)
        die("listen");
    printf("{\"port\": %d}\n", ntohs(addr.sin_port));
    fflush(stdout);
    return fd;
}

int main(int argc, char **argv)
{
    static int listener_mark, parent_mark;
    if (argc > 1) {
        printf(
            "usage: %s\nThe benchmark's backend: prints {\"port\": N}, serves until standard input ends.\n",
            argv[0]);
        return 0;
    }
    signal(SIGPIPE, SIG_IGN);
    pattern_init(&sink.pattern);
    sink.epoll = epoll_create1(EPOLL_CLOEXEC);
    int listener = listen_loopback();
    struct epoll_event on_listener = {.events = EPOLLIN, .data.ptr = &listener_mark};
    struct epoll_event on_parent = {.events = EPOLLIN, .data.ptr = &parent_mark};
    if (sink.epoll < 0 || epoll_ctl(sink.epoll, EPOLL_CTL_ADD, listener, &on_listener) < 0 ||
        epoll_ctl(sink.epoll, EPOLL_CTL_ADD, STDIN_FILENO, &on_parent) < 0)
        die("epoll");

    for (;;) {
        struct epoll_event ev[EVENTS];
        int n = epoll_wait(sink.epoll, ev, EVENTS, -1);
        if (n < 0 && errno != EINTR)
            die("epoll_wait");
        for (int i = 0; i < n; i++) {
            if (ev[i].data.ptr == &parent_mark)
                return 0;
            if (ev[i].data.ptr == &listener_mark)
                conn_accept(listener);
            else
                on_event(ev[i].data.ptr, ev[i].events);
        }
    }
}
