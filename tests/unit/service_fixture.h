/* What the tests of services share: an embedded authority over a memory store, a service behind a real HTTP
 * server, a client that asks and gets its whole answer, and the log as it was written. One loop, one thread
 * beside the store's. */
#ifndef STAGATE_TESTS_UNIT_SERVICE_FIXTURE_H
#define STAGATE_TESTS_UNIT_SERVICE_FIXTURE_H

#include "http_fixture.h"

#include <fcntl.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "sta/authority.h"
#include "sta/issue.h"

#define COUNT(a)  ((int)(sizeof(a) / sizeof((a)[0])))
#define SECOND_MS ((int64_t)1000)
#define HOUR_MS   ((int64_t)3600 * 1000)

static const struct issue_rules service_rules = {
    .background_ms = 168 * HOUR_MS, .session_ms = 100 * SECOND_MS, .refresh_ms = 500 * SECOND_MS};

static struct sockaddr_in service_address;

/* ---- authorities ---- */

static inline struct authority *service_authority(const char *id, struct store_options store)
{
    struct authority *a = NULL;
    char why[256] = "";
    const struct authority_options o = {
        .id = id, .store = "memory:", .store_options = store, .signature = "test"};
    int rc = authority_open(&a, &o, why, sizeof why);
    ck_assert_msg(rc == 0, "%s", why);
    return a;
}

static inline void service_flag(void *owner)
{
    *(bool *)owner = true;
}

static inline void service_close_client(struct authority_client *c)
{
    bool closed = false;
    authority_client_close(c, service_flag, &closed);
    ck_assert(!closed); /* from a later turn */
    RUN_UNTIL(closed);
}

static inline void service_close_server(struct httpd *h)
{
    bool closed = false;
    httpd_close(h, service_flag, &closed);
    RUN_UNTIL(closed);
}

/* ---- asking ---- */

struct reply {
    unsigned status; /* 0: none came */
    char *head;      /* owned, with its empty line */
    char *body;      /* owned, NUL-terminated; in head's memory */
    size_t len;
    bool reset;
};

static inline void reply_free(struct reply *r)
{
    free(r->head);
    *r = (struct reply){0};
}

static inline void reply_collect(struct raw *c, struct buf *got)
{
    raw_poll(c);
    buf_append(got, c->data, c->len);
    c->len = 0;
}

/* Reads until the server ends the connection. */
static inline struct reply service_read(struct raw *c)
{
    struct reply r = {0};
    struct buf got;
    buf_init(&got, 16 << 20);
    uint64_t end_ns = uv_hrtime() + FIXTURE_DEADLINE_NS;
    while (!c->eof && c->error == 0 && uv_hrtime() < end_ns) {
        turn();
        reply_collect(c, &got);
    }
    ck_assert_msg(c->eof || c->error != 0, "no end of the answer: %.*s", (int)got.len, got.data);
    reply_collect(c, &got);
    r.reset = c->error != 0;
    buf_append(&got, "", 1);
    r.head = (char *)got.data;
    char *end = strstr(r.head, "\r\n\r\n");
    if (end != NULL) {
        ck_assert_int_eq(sscanf(r.head, "HTTP/1.1 %3u ", &r.status), 1);
        r.body = end + 4;
        r.len = got.len - 1 - (size_t)(r.body - r.head);
        const char *length = strstr(r.head, "Content-Length: ");
        ck_assert_msg(length != NULL && length < r.body, "%s", r.head);
        if (r.len > 0)
            ck_assert_uint_eq(strtoul(length + 16, NULL, 10), r.len);
        ck_assert_ptr_nonnull(strstr(r.head, "Cache-Control: no-store\r\n"));
        end[2] = '\0'; /* so that searching the head does not find the body */
    } else {
        ck_assert_uint_eq(got.len, 1); /* nothing, rather than half an answer */
    }
    return r;
}

static inline void service_send(struct raw *c, const char *method, const char *path, const char *fields,
                                const void *body, size_t len)
{
    struct buf out;
    buf_init(&out, 1 << 20);
    buf_printf(&out, "%s %s HTTP/1.1\r\nConnection: close\r\n%s", method, path, fields);
    if (len > 0 || strcmp(method, "POST") == 0)
        buf_printf(&out, "Content-Length: %zu\r\n", len);
    buf_append_str(&out, "\r\n");
    buf_append(&out, body, len);
    raw_connect(c, &service_address);
    raw_send_n(c, out.data, out.len);
    buf_deinit(&out);
}

static inline struct reply service_ask_n(const char *method, const char *path, const char *fields,
                                         const void *body, size_t len)
{
    static struct raw c;
    service_send(&c, method, path, fields, body, len);
    struct reply r = service_read(&c);
    raw_close(&c);
    return r;
}

static inline struct reply service_ask(const char *method, const char *path, const char *fields,
                                       const char *body)
{
    return service_ask_n(method, path, fields, body, strlen(body));
}

static inline bool reply_has_field(const struct reply *r, const char *line)
{
    char whole[256];
    snprintf(whole, sizeof whole, "\r\n%s\r\n", line);
    return r->head != NULL && strstr(r->head, whole) != NULL;
}

/* ---- the log ---- */

static char service_log_text[1 << 16];
static int service_log_fd = -1;

/* From now on the log goes into a file that nobody sees. */
static inline void service_log_begin(void)
{
    service_log_fd = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    ck_assert_int_ge(service_log_fd, 0);
    ck_assert_int_ge(dup2(service_log_fd, STDERR_FILENO), 0);
    log_setup(LOG_JSON, LOG_INFO);
}

/* What came since the beginning or the last call. */
static inline const char *service_log_take(void)
{
    ssize_t n = pread(service_log_fd, service_log_text, sizeof service_log_text - 1, 0);
    ck_assert_int_ge(n, 0);
    service_log_text[n] = '\0';
    ck_assert_int_eq(ftruncate(service_log_fd, 0), 0);
    ck_assert_int_eq(lseek(service_log_fd, 0, SEEK_SET), 0);
    return service_log_text;
}

#define LOG_HAS(text, part)   ck_assert_msg(strstr(text, part) != NULL, "no %s in %s", part, text)
#define LOG_LACKS(text, part) ck_assert_msg(strstr(text, part) == NULL, "%s in %s", part, text)

#endif
