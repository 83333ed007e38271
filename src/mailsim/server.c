/* HTTP for the mail server. Requests are answered one after the other on a connection; bodies are collected,
 * as documents are small. */
#include "server.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "eas.h"
#include "net/stream.h"
#include "proto/http.h"

#define BODY_MAX     (4 * 1024 * 1024)
#define BEHIND_MAX   65536 /* bytes of a next request while one is being answered */
#define NODES_MAX    20000
#define TEXT_MAX     256
#define HANDSHAKE_MS 15000
#define KEEPALIVE_MS 300000

enum { DEADLINE_IDLE, DEADLINE_PING };

struct server {
    struct netloop *loop;
    struct boxes *boxes;
    struct wbxml_tree tree; /* of the request being answered */
    struct list listeners;
    struct list peers;
    size_t open;
    bool closing;
};

struct server_listener {
    struct list link;
    struct listener l;
    struct server *s;
    SSL_CTX *ctx;
    bool control;
};

/* A client's connection. */
struct peer {
    struct list link;
    struct server *s;
    const struct server_listener *from;
    struct stream stream;
    struct deadline deadline;
    struct http_reader *reader;
    struct buf body;
    struct buf behind; /* input that came while a Ping waits */
    struct ping ping;  /* linked while it waits */
    uint64_t started_ns;
    bool waiting;
    bool keep_alive;
    bool options;
    bool post;
    bool expects; /* 100-continue */
    char path[TEXT_MAX];
    char query[2 * TEXT_MAX];
    char user[TEXT_MAX];
    char version[16];
    char command[32];
    char device[BOX_DEVICE_MAX + 1];
};

static void feed(struct peer *p, const uint8_t *data, size_t len);

/* ---- answers ---- */

static void log_request(const struct peer *p, int status, size_t bytes)
{
    struct log_line l;
    log_begin(&l, LOG_INFO, "request");
    log_str(&l, "user", p->user[0] ? p->user : NULL);
    log_str(&l, "device", p->device[0] ? p->device : NULL);
    log_str(&l, "command", p->command[0] ? p->command : NULL);
    log_str(&l, "path", p->path);
    log_str(&l, "version", p->version[0] ? p->version : NULL);
    log_int(&l, "status", status);
    log_int(&l, "bytes", (int64_t)bytes);
    log_int(&l, "ms", (int64_t)((clock_mono_ns() - p->started_ns) / 1000000));
    log_end(&l);
}

static void answer(struct peer *p, int status, const char *fields, const char *type, const struct buf *body)
{
    struct buf out;
    size_t len = body ? body->len : 0;
    buf_init(&out, BODY_MAX + 4096);
    buf_printf(&out,
               "HTTP/1.1 %d %s\r\nServer: mailsim/" STAGATE_VERSION
               "\r\nMS-Server-ActiveSync: 14.1\r\n%sContent-Length: %zu\r\n",
               status, http_status_text((unsigned)status), fields, len);
    if (len > 0)
        buf_printf(&out, "Content-Type: %s\r\n", type);
    buf_append_str(&out, p->keep_alive ? "\r\n" : "Connection: close\r\n\r\n");
    if (len > 0)
        buf_append(&out, body->data, len);
    stream_write(&p->stream, out.data, out.len);
    buf_deinit(&out);
    log_request(p, status, len);
    if (!p->keep_alive)
        stream_shutdown(&p->stream);
    deadline_set(p->s->loop, &p->deadline, DEADLINE_IDLE, KEEPALIVE_MS);
}

static void answer_document(struct peer *p, int status, const struct buf *out)
{
    answer(p, status, "Cache-Control: private\r\n", "application/vnd.ms-sync.wbxml",
           out->len > 0 ? out : NULL);
}

/* ---- Ping ---- */

static void stop_waiting(struct peer *p)
{
    p->waiting = false;
    list_remove(&p->ping.link);
    if (p->ping.device != NULL && p->ping.device->ping == &p->ping)
        p->ping.device->ping = NULL;
    p->ping.device = NULL;
}

static void finish_ping(struct peer *p, int status)
{
    struct buf out;
    stop_waiting(p);
    buf_init(&out, 4096);
    eas_ping_answer(status, &out);
    answer_document(p, 200, &out);
    buf_deinit(&out);
    /* what came meanwhile is the next request */
    struct buf behind = p->behind;
    buf_init(&p->behind, BEHIND_MAX);
    if (behind.len > 0)
        feed(p, behind.data, behind.len);
    buf_deinit(&behind);
}

static void on_wake(struct ping *ping, int status)
{
    finish_ping(list_entry(ping, struct peer, ping), status);
}

static void start_ping(struct peer *p, struct box *box, struct device *d, uint32_t seconds)
{
    if (d->ping != NULL) /* a new Ping of a device ends the one before */
        d->ping->wake(d->ping, 1);
    d->ping = &p->ping;
    p->ping.device = d;
    p->waiting = true;
    list_append(&box->pings, &p->ping.link);
    deadline_set(p->s->loop, &p->deadline, DEADLINE_PING, (uint64_t)seconds * 1000);
}

/* ---- requests ---- */

/* The value of a query's parameter, percent-decoded; "" if it is not there. */
static void query_value(const char *query, const char *name, char *dst, size_t cap)
{
    size_t n = strlen(name), len = 0;
    dst[0] = '\0';
    for (const char *p = query; *p != '\0'; p += strcspn(p, "&"), p += *p == '&') {
        if (strncasecmp(p, name, n) != 0 || p[n] != '=')
            continue;
        for (p += n + 1; *p != '\0' && *p != '&' && len + 1 < cap; p++) {
            unsigned byte;
            if (*p == '%' && sscanf(p + 1, "%2x", &byte) == 1 && byte != 0 && p[1] != '\0' && p[2] != '\0') {
                dst[len++] = (char)byte;
                p += 2;
            } else {
                dst[len++] = *p;
            }
        }
        dst[len] = '\0';
        return;
    }
}

static void run_command(struct peer *p)
{
    struct server *s = p->s;
    enum eas_command c = eas_command(p->command);
    struct box *box = boxes_open(s->boxes, p->user);
    struct device *d = box ? box_device(box, p->device) : NULL;
    struct buf out;
    int status = 400;
    uint32_t seconds;

    buf_init(&out, BODY_MAX);
    const struct wbxml_node *root = NULL;
    bool malformed = p->body.len > 0 && wbxml_parse(&s->tree, p->body.data, p->body.len) < 0;
    if (p->body.len > 0 && !malformed)
        root = wbxml_root(&s->tree);
    if (c == EAS_UNKNOWN) {
        status = 501;
    } else if (!eas_knows_version(p->version)) {
        status = eas_version_refused(c, p->version, &out);
    } else if (d != NULL && !malformed) {
        if (c == EAS_FOLDERSYNC) {
            status = eas_foldersync(root, &out);
        } else if (c == EAS_SYNC) {
            status = eas_sync(box, d, root, &out);
        } else if (eas_ping(box, d, root, &out, &seconds) == EAS_PING_WAIT) {
            start_ping(p, box, d, seconds);
            buf_deinit(&out);
            return;
        } else {
            status = 200;
        }
    }
    answer_document(p, status, &out);
    buf_deinit(&out);
}

static bool is_eas_path(const char *path)
{
    return strcasecmp(path, "/Microsoft-Server-ActiveSync") == 0;
}

static void deliver(struct peer *p)
{
    char user[TEXT_MAX], subject[TEXT_MAX];
    query_value(p->query, "user", user, sizeof user);
    query_value(p->query, "subject", subject, sizeof subject);
    struct box *box = user[0] ? boxes_open(p->s->boxes, user) : NULL;
    if (!p->post || strcmp(p->path, "/deliver") != 0 || box == NULL) {
        answer(p, 400, "", "", NULL);
        return;
    }
    /* answered first: waking a Ping must not come between */
    answer(p, 204, "", "", NULL);
    box_deliver(p->s->boxes, box, NULL, subject[0] ? subject : NULL, NULL);
}

static void handle(struct peer *p)
{
    if (p->from->control) {
        deliver(p);
    } else if (!is_eas_path(p->path)) {
        answer(p, 404, "", "", NULL);
    } else if (p->user[0] == '\0') {
        answer(p, 401, "WWW-Authenticate: Basic realm=\"mailsim\"\r\n", "", NULL);
    } else if (p->options) {
        answer(p, 200,
               "Allow: OPTIONS,POST\r\nPublic: OPTIONS,POST\r\nMS-ASProtocolVersions: " EAS_VERSIONS
               "\r\nMS-ASProtocolCommands: " EAS_COMMANDS "\r\nCache-Control: private\r\n",
               "", NULL);
    } else if (p->post) {
        run_command(p);
    } else {
        answer(p, 501, "Allow: OPTIONS,POST\r\n", "", NULL);
    }
}

static int on_head(void *owner, const struct http_head *h)
{
    struct peer *p = owner;
    char password[TEXT_MAX];
    const char *authorization = http_head_field(h, HTTP_NAME_AUTHORIZATION, NULL);
    const char *expect = http_head_field(h, HTTP_NAME_EXPECT, NULL);

    p->started_ns = clock_mono_ns();
    p->keep_alive = h->keep_alive;
    p->options = strcmp(h->method, "OPTIONS") == 0;
    p->post = strcmp(h->method, "POST") == 0;
    p->expects = expect != NULL && strcasecmp(expect, "100-continue") == 0;
    size_t n = strcspn(h->target, "?");
    snprintf(p->path, sizeof p->path, "%.*s", (int)(n < TEXT_MAX ? n : TEXT_MAX), h->target);
    mem_copy_text(p->query, sizeof p->query, h->target[n] == '?' ? h->target + n + 1 : "");
    mem_copy_text(p->version, sizeof p->version, http_head_field(h, HTTP_NAME_MS_AS_PROTOCOL_VERSION, NULL));
    query_value(p->query, "Cmd", p->command, sizeof p->command);
    query_value(p->query, "DeviceId", p->device, sizeof p->device);
    p->user[0] = '\0';
    if (authorization != NULL &&
        http_basic_decode(authorization, p->user, sizeof p->user, password, sizeof password) == 0)
        mem_wipe(password, sizeof password); /* any password will do here */
    buf_deinit(&p->body);
    if (p->expects && h->content_length != 0) {
        static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
        stream_write(&p->stream, (const uint8_t *)go_on, sizeof go_on - 1);
    }
    return h->content_length > BODY_MAX ? ERR_TOO_BIG : 0;
}

static int on_body(void *owner, const uint8_t *data, size_t len)
{
    return buf_append(&((struct peer *)owner)->body, data, len);
}

static const struct http_events http_events = {.on_head = on_head, .on_body = on_body};

/* ---- connections ---- */

static void feed(struct peer *p, const uint8_t *data, size_t len)
{
    while (len > 0 && stream_is_open(&p->stream) && p->stream.shutting == STREAM_NONE) {
        size_t used = 0;
        if (p->waiting) {
            if (buf_append(&p->behind, data, len) < 0)
                stream_close(&p->stream);
            return;
        }
        int rc = http_reader_feed(p->reader, data, len, &used);
        data += used;
        len -= used;
        if (rc == HTTP_DONE) {
            handle(p);
        } else if (rc == HTTP_UPGRADE || rc < 0) {
            p->keep_alive = false;
            answer(p, rc == ERR_TOO_BIG ? 413 : rc == ERR_UNSUPPORTED ? 501 : 400, "", "", NULL);
            return;
        }
    }
}

static struct peer *of_stream(struct stream *s)
{
    return s->owner;
}

static void free_server_when_closed(struct server *s)
{
    if (s->closing && s->open == 0) {
        wbxml_tree_deinit(&s->tree);
        free(s);
    }
}

static void close_peer(struct peer *p)
{
    if (p->waiting)
        stop_waiting(p);
    deadline_clear(&p->deadline);
    stream_close(&p->stream);
}

static void on_first(struct stream *st, const uint8_t *data, size_t len, bool whole)
{
    struct peer *p = of_stream(st);
    (void)data;
    (void)len;
    if (!whole || stream_start_tls(st, p->from->ctx, TLS_SERVER) < 0)
        close_peer(p);
}

static void on_open(struct stream *st)
{
    stream_read_start(st);
}

static void on_data(struct stream *st, const uint8_t *data, size_t len)
{
    feed(of_stream(st), data, len);
}

static void on_eof(struct stream *st, bool clean)
{
    (void)clean;
    close_peer(of_stream(st)); /* a client that is gone takes its Ping with it */
}

static void on_error(struct stream *st, int code, const char *detail)
{
    struct peer *p = of_stream(st);
    if (code == ERR_TLS)
        log_message(LOG_INFO, "tls_failed", "%s", detail);
    close_peer(p);
}

static void on_closed(struct stream *st)
{
    struct peer *p = of_stream(st);
    struct server *s = p->s;
    list_remove(&p->link);
    http_reader_free(p->reader);
    buf_deinit(&p->body);
    buf_deinit(&p->behind);
    free(p);
    s->open--;
    free_server_when_closed(s);
}

static const struct stream_events peer_events = {
    .on_first = on_first,
    .on_open = on_open,
    .on_data = on_data,
    .on_eof = on_eof,
    .on_error = on_error,
    .on_closed = on_closed,
};

static void on_deadline(struct deadline *d)
{
    struct peer *p = list_entry(d, struct peer, deadline);
    if (p->waiting)
        finish_ping(p, 1);
    else
        close_peer(p);
}

static void on_connection(struct listener *l)
{
    struct server_listener *from = l->owner;
    struct peer *p = mem_zalloc(sizeof *p);
    p->s = from->s;
    p->from = from;
    p->ping.wake = on_wake;
    list_init(&p->ping.link);
    buf_init(&p->body, BODY_MAX);
    buf_init(&p->behind, BEHIND_MAX);
    deadline_init(&p->deadline, on_deadline);
    p->reader = http_reader_new(HTTP_REQUEST, &http_events, p);
    list_append(&p->s->peers, &p->link);
    p->s->open++;
    stream_init(&p->stream, p->s->loop, &peer_events, p);
    int rc = stream_accept(&p->stream, listener_handle(l), from->ctx != NULL);
    deadline_set(p->s->loop, &p->deadline, DEADLINE_IDLE, HANDSHAKE_MS);
    if (rc < 0)
        close_peer(p);
}

static void on_listener_closed(struct listener *l)
{
    struct server_listener *from = l->owner;
    struct server *s = from->s;
    free(from);
    s->open--;
    free_server_when_closed(s);
}

/* ---- the server ---- */

struct server *server_new(struct netloop *loop, struct boxes *boxes)
{
    struct server *s = mem_zalloc(sizeof *s);
    s->loop = loop;
    s->boxes = boxes;
    wbxml_tree_init(&s->tree, NODES_MAX);
    list_init(&s->listeners);
    list_init(&s->peers);
    return s;
}

int server_listen(struct server *s, int fd, SSL_CTX *ctx, bool control)
{
    struct server_listener *from = mem_zalloc(sizeof *from);
    from->s = s;
    from->ctx = ctx;
    from->control = control;
    from->l.owner = from;
    from->l.on_connection = on_connection;
    from->l.on_closed = on_listener_closed;
    list_append(&s->listeners, &from->link);
    s->open++;
    return listener_open(&from->l, s->loop, fd);
}

void server_close(struct server *s)
{
    s->closing = true;
    while (!list_empty(&s->listeners)) {
        struct server_listener *from = list_entry(s->listeners.next, struct server_listener, link);
        list_remove(&from->link);
        listener_close(&from->l);
    }
    for (struct list *l = s->peers.next; l != &s->peers; l = l->next)
        close_peer(list_entry(l, struct peer, link));
    free_server_when_closed(s);
}
