/* A service behind a real HTTP server, for fuzz targets: one loop, one kept-alive connection to it, one
 * request and its whole answer for each input. Kept between inputs, as far as it can be. */
#ifndef STAGATE_TESTS_FUZZ_SERVICE_UTIL_H
#define STAGATE_TESTS_FUZZ_SERVICE_UTIL_H

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "http/httpd.h"
#include "net/listener.h"
#include "sta/authority.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);

/* Called by libFuzzer only. A store that grows looks to it like a leak after each input, and looking for it
 * takes most of the time; leaks are found when the corpus is replayed. */
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static char option[] = "-detect_leaks=0";
    static char *arguments[64];
    int n = *argc < 62 ? *argc : 62;
    memcpy(arguments, *argv, (size_t)n * sizeof *arguments);
    arguments[n] = option;
    *argc = n + 1;
    *argv = arguments;
    return 0;
}

#define HOUR_MS    ((int64_t)3600 * 1000)
#define ANSWER_MAX (1 << 20)

static struct netloop loop;
static struct sockaddr_in service_address;
static int service_fd = -1;
static struct buf answer; /* the last one: head and body */
static unsigned answer_status;
static const char *answer_body; /* in answer, NUL-terminated */
static size_t answer_len;

static inline void turn(void)
{
    uv_run(&loop.uv, UV_RUN_NOWAIT);
}

/* Listens on a free port of loopback; the socket is for httpd_new. */
static inline int service_listen(void)
{
    int fd;
    socklen_t len = sizeof service_address;
    service_address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    if (listener_bind((struct sockaddr *)&service_address, true, &fd) < 0)
        abort();
    getsockname(fd, (struct sockaddr *)&service_address, &len);
    return fd;
}

static inline void service_begin(void)
{
    log_setup(LOG_JSON, LOG_ERROR);
    if (netloop_init(&loop) < 0)
        abort();
    buf_init(&answer, ANSWER_MAX);
}

static inline void service_connect(void)
{
    int one = 1;
    service_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert(connect(service_fd, (struct sockaddr *)&service_address, sizeof service_address) == 0);
    setsockopt(service_fd, IPPROTO_TCP, 1 /* TCP_NODELAY */, &one, sizeof one);
}

/* Whether the connection is still open; what is there is appended to answer. */
static inline bool service_receive(void)
{
    char piece[16384];
    ssize_t n = recv(service_fd, piece, sizeof piece, MSG_DONTWAIT);
    if (n > 0)
        assert(buf_append(&answer, piece, (size_t)n) == 0);
    return n > 0 || (n < 0 && errno == EAGAIN);
}

/* The whole answer, and not a byte more: false where it is not all there yet. */
static inline bool service_has_answer(void)
{
    if (answer.len == 0)
        return false;
    assert(buf_append(&answer, "", 1) == 0);
    answer.len--;
    const char *text = (const char *)answer.data;
    const char *end = strstr(text, "\r\n\r\n"), *length = strstr(text, "Content-Length: ");
    if (end == NULL)
        return false;
    assert(length != NULL && length < end && sscanf(text, "HTTP/1.1 %3u ", &answer_status) == 1);
    answer_body = end + 4;
    answer_len = answer.len - (size_t)(answer_body - text);
    size_t expected = strtoul(length + 16, NULL, 10);
    assert(answer_len <= expected);
    return answer_len == expected;
}

/* Sends a request and waits for its answer. Exactly one answer comes to each. */
static inline void service_exchange(const char *method, const char *path, const char *fields,
                                    const uint8_t *body, size_t len)
{
    struct buf out;
    buf_init(&out, ANSWER_MAX);
    buf_printf(&out, "%s %s HTTP/1.1\r\nHost: localhost\r\n%sContent-Length: %zu\r\n\r\n", method, path,
               fields, len);
    buf_append(&out, body, len);
    if (service_fd < 0)
        service_connect();
    answer.len = 0;
    size_t sent = 0;
    uint64_t end_ns = uv_hrtime() + 20ull * 1000000000;
    while (!service_has_answer()) {
        ssize_t n = sent < out.len
                        ? send(service_fd, out.data + sent, out.len - sent, MSG_DONTWAIT | MSG_NOSIGNAL)
                        : 0;
        sent += n > 0 ? (size_t)n : 0;
        turn();
        assert(service_receive() && "the connection ended without an answer");
        assert(uv_hrtime() < end_ns && "no answer came");
    }
    turn();
    size_t had = answer.len;
    assert(service_receive() && answer.len == had && "something follows the answer");
    buf_deinit(&out);
}

/* Whether the head holds this line. */
static inline bool service_has_field(const char *line)
{
    char whole[256];
    snprintf(whole, sizeof whole, "\r\n%s\r\n", line);
    const char *at = strstr((const char *)answer.data, whole);
    return at != NULL && at < answer_body;
}

/* ---- an embedded authority with tickets that inputs can name ---- */

#define BACKGROUND  "6C0EE48D2E8CADFEE6D1EB93BFB52A57"
#define SESSION     "D1B5869135ED230DBFA95E563F8B68"
#define REFRESHABLE "0000000000000000000000000000AAAA"

static inline void service_put_ticket(struct authority *a, const char *value, enum ticket_class class,
                                      int64_t refresh_ms)
{
    static const char *const services[] = {"mail.example.com:443", "*.example.com:25"};
    static const struct record_value values[] = {
        {"ICAAddress", "mail.example.com:443"},
        {"XData", "<CtxConnInfo><UserName>&\"'</UserName></CtxConnInfo>"}};
    int64_t now = clock_wall_ms();
    struct record r = {.class = class,
                       .issued_ms = now,
                       .expires_ms = now + HOUR_MS,
                       .refresh_ms = refresh_ms,
                       .user = "alice",
                       .device = "phone1",
                       .service_count = 2,
                       .services = services,
                       .value_count = 2,
                       .values = values};
    record_hash(r.hash, value, strlen(value));
    if (store_issue(a->store, &r) < 0)
        abort();
}

static inline struct authority *service_authority(const char *id)
{
    struct authority *a;
    char why[256];
    const struct authority_options o = {.id = id, .store = "memory:", .signature = id};
    if (authority_open(&a, &o, why, sizeof why) < 0)
        abort();
    service_put_ticket(a, BACKGROUND, TICKET_BACKGROUND, 0);
    service_put_ticket(a, SESSION, TICKET_SESSION, 0);
    service_put_ticket(a, REFRESHABLE, TICKET_SESSION, HOUR_MS);
    return a;
}

static inline void service_on_closed(void *owner)
{
    *(bool *)owner = true;
}

static inline void service_close_client(struct authority_client *c)
{
    bool closed = false;
    authority_client_close(c, service_on_closed, &closed);
    while (!closed)
        turn();
}

#endif
