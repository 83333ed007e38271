/* Load for an HTTP server on kept-alive connections: RequestData for one of storebench's tickets each time,
 * or GET of one path. authority.py starts it, and measures the server between the lines printed here. One
 * thread, epoll, one request at a time on a connection. Every answer is checked; the first wrong one ends the
 * program. */
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "tickets.h"

enum { REQUEST_MAX = 2048, ANSWER_MAX = 16384, EVENTS = 64, STALL_MS = 30000, WARM = 2000 };

struct connection {
    int fd;
    uint64_t ticket; /* of the open request */
    size_t len;
    char answer[ANSWER_MAX + 1];
};

static struct {
    uint64_t port, connections, requests, tickets;
    const char *path; /* NULL: RequestData */
    int epoll;
    struct connection *all;
    uint64_t started, done, goal;
    size_t body; /* of the last answer */
    size_t answer;
    uint64_t random;
} load = {.connections = 16, .requests = 20000};

__attribute__((noreturn, format(printf, 1, 2))) static void fail(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fprintf(stderr, "staload: ");
    vfprintf(stderr, fmt, ap);
    fprintf(stderr, "\n");
    va_end(ap);
    exit(1);
}

/* ---- one request ---- */

static int request_write(char dst[REQUEST_MAX], struct connection *c)
{
    static const char xml[] =
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
        "<!DOCTYPE CtxSTAProtocol SYSTEM \"CtxSTA.dtd\">\n"
        "<CtxSTAProtocol version=\"4.0\"><RequestData><Ticket version=\"40\">%s</Ticket>"
        "</RequestData></CtxSTAProtocol>\n";
    char value[TICKET_DIGITS + 1];
    if (load.path != NULL)
        return snprintf(dst, REQUEST_MAX, "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%" PRIu64 "\r\n\r\n", load.path,
                        load.port);
    c->ticket = ticket_mix(load.random++) % load.tickets;
    ticket_value(value, c->ticket);
    return snprintf(dst, REQUEST_MAX,
                    "POST /scripts/ctxsta.dll HTTP/1.1\r\nHost: 127.0.0.1:%" PRIu64
                    "\r\nContent-Type: text/xml\r\nContent-Length: %zu\r\n\r\n"
                    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
                    "<!DOCTYPE CtxSTAProtocol SYSTEM \"CtxSTA.dtd\">\n"
                    "<CtxSTAProtocol version=\"4.0\"><RequestData><Ticket version=\"40\">%s</Ticket>"
                    "</RequestData></CtxSTAProtocol>\n",
                    load.port, sizeof xml - 1 - 2 + TICKET_DIGITS, value);
}

static void connection_ask(struct connection *c)
{
    char request[REQUEST_MAX];
    if (load.started == load.goal)
        return;
    load.started++;
    c->len = 0;
    int n = request_write(request, c);
    if (write(c->fd, request, (size_t)n) != n)
        fail("write: %s", strerror(errno));
}

/* The answer's body is that of this ticket, or a body at all. */
static void connection_check(const struct connection *c, const char *body)
{
    char user[32];
    if (strncmp(c->answer, "HTTP/1.1 200 ", 13) != 0)
        fail("%.200s", c->answer);
    if (load.path != NULL)
        return;
    snprintf(user, sizeof user, "user=\"user%07" PRIu64 "\"", c->ticket / 2);
    if (strstr(body, "<ResponseData>") == NULL || strstr(body, user) == NULL)
        fail("not this ticket's answer: %.600s", body);
}

/* True once the whole answer is there. */
static bool connection_read(struct connection *c)
{
    ssize_t n = read(c->fd, c->answer + c->len, ANSWER_MAX - c->len);
    if (n < 0 && errno == EAGAIN)
        return false;
    if (n <= 0)
        fail("the server closed: %s", n < 0 ? strerror(errno) : "end of file");
    c->len += (size_t)n;
    c->answer[c->len] = '\0';
    const char *end = strstr(c->answer, "\r\n\r\n");
    const char *length = end ? strcasestr(c->answer, "\r\nContent-Length:") : NULL;
    if (end == NULL)
        return false;
    if (length == NULL || length > end)
        fail("no Content-Length: %.300s", c->answer);
    size_t body = strtoul(length + 17, NULL, 10), whole = (size_t)(end + 4 - c->answer) + body;
    if (whole > ANSWER_MAX || c->len > whole)
        fail("an answer of %zu bytes, %zu announced", c->len, whole);
    if (c->len < whole)
        return false;
    connection_check(c, end + 4);
    load.body = body;
    load.answer = whole;
    return true;
}

/* ---- a batch ---- */

static void batch_run(uint64_t requests)
{
    load.goal = load.done + requests;
    for (uint64_t i = 0; i < load.connections; i++)
        connection_ask(&load.all[i]);
    uint64_t done = load.done, since = clock_mono_ms();
    while (load.done < load.goal) {
        struct epoll_event ev[EVENTS];
        int n = epoll_wait(load.epoll, ev, EVENTS, 1000);
        if (n < 0 && errno != EINTR)
            fail("epoll_wait: %s", strerror(errno));
        for (int i = 0; i < n; i++) {
            struct connection *c = ev[i].data.ptr;
            if (connection_read(c)) {
                load.done++;
                connection_ask(c);
            }
        }
        uint64_t now = clock_mono_ms();
        if (done != load.done) {
            done = load.done;
            since = now;
        } else if (now - since > STALL_MS) {
            fail("stalled");
        }
    }
}

static void measure(const char *phase, uint64_t requests)
{
    uint64_t began = clock_mono_ns();
    char line[16];
    batch_run(requests);
    printf("{\"phase\": \"%s\", \"requests\": %" PRIu64
           ", \"body\": %zu, \"answer\": %zu, \"wall_s\": %.4f}\n",
           phase, requests, load.body, load.answer, (double)(clock_mono_ns() - began) / 1e9);
    fflush(stdout);
    if (!fgets(line, sizeof line, stdin))
        exit(0);
}

static void connection_open(struct connection *c)
{
    int one = 1;
    struct sockaddr_in server = {.sin_family = AF_INET,
                                 .sin_port = htons((uint16_t)load.port),
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&server, sizeof server) < 0)
        fail("connect: %s", strerror(errno));
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = c};
    if (epoll_ctl(load.epoll, EPOLL_CTL_ADD, c->fd, &ev) < 0)
        fail("epoll_ctl: %s", strerror(errno));
}

/* ---- start ---- */

static void usage(void)
{
    fprintf(stderr,
            "usage: staload --port N (--tickets N | --path PATH) [--connections 16] [--requests 20000]\n"
            "Prints a line of JSON after warming up and after the requests, and waits there for a line.\n");
    exit(2);
}

static void option_read(const char *name, const char *value)
{
    static const struct {
        const char *name;
        uint64_t *field;
    } numbers[] = {{"--port", &load.port},
                   {"--connections", &load.connections},
                   {"--requests", &load.requests},
                   {"--tickets", &load.tickets}};
    if (strcmp(name, "--path") == 0) {
        load.path = value;
        return;
    }
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        if (strcmp(name, numbers[i].name) == 0) {
            *numbers[i].field = strtoull(value, NULL, 10);
            return;
        }
    }
    usage();
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i += 2) {
        if (i + 1 == argc)
            usage();
        option_read(argv[i], argv[i + 1]);
    }
    if (load.port == 0 || load.connections == 0 || (load.tickets == 0 && load.path == NULL))
        usage();
    load.random = (uint64_t)getpid() << 32;
    load.epoll = epoll_create1(EPOLL_CLOEXEC);
    load.all = mem_zalloc(load.connections * sizeof *load.all);
    for (uint64_t i = 0; i < load.connections; i++)
        connection_open(&load.all[i]);
    measure("ready", WARM);
    measure("done", load.requests);
    return 0;
}
