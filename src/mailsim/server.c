/* HTTP for the mail server. Requests are answered one after the other on a connection. A request lives from
 * its head to its answer; what a connection that is idle keeps is its stream and a reader without a head. */
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
#include "discover.h"
#include "net/stream.h"
#include "proto/http.h"

#define BEHIND_MAX   65536 /* bytes of a next request while one is being answered */
#define USER_MAX     128
#define FIRST_MS     15000
#define KEEPALIVE_MS 300000

/* Lists of the loop's, by kind of duration. */
enum { DEADLINE_FIRST /* until the first bytes */, DEADLINE_IDLE /* without a byte */, DEADLINE_REQUEST };

struct server {
    struct server_options o;
    struct wbxml_tree tree; /* of the request being answered */
    struct list listeners;
    struct list peers;
    struct deferred woken;
    struct server_counts counts;
    bool closing;
};

struct server_listener {
    struct list link;
    struct listener l;
    struct server *s;
    SSL_CTX *ctx;
    enum listener_kind kind;
};

struct request {
    char method[16];
    char path[256];
    char *parameters; /* owned: the query */
    char *host;       /* owned */
    char *language;   /* owned */
    char user[USER_MAX];
    struct eas_query query;
    unsigned version; /* claimed, times ten; 0: none, or none that is one */
    uint64_t started_ns;
    bool signed_in;
    bool bad_query;
    bool is_mime;
    bool http10;
    bool refused; /* by this fault, before it could wait */
    struct fault fault;
    struct buf body;
    struct box *box;
    struct device *device;
    /* what is answered */
    unsigned status;
    struct buf fields;
    const char *type;
    struct buf answer;
};

/* What a connection is doing. */
enum doing { READING, WAITING /* for news, as Ping does */, DELAYED /* a fault holds the answer back */ };

struct peer {
    struct list link;
    struct server *s;
    const struct server_listener *from;
    struct stream stream;
    struct deadline deadline;
    struct http_reader *reader;
    struct request *r; /* owned; NULL between requests */
    struct buf behind; /* input that came while a request is answered */
    struct waiter waiter;
    enum doing doing;
    bool keep_alive;
};

static void feed(struct peer *p, const uint8_t *data, size_t len);

/* ---- requests ---- */

static struct request *request_new(void)
{
    struct request *r = mem_zalloc(sizeof *r);
    buf_init(&r->body, CALL_BODY_MAX);
    buf_init(&r->fields, 16384);
    buf_init(&r->answer, CALL_ANSWER_MAX);
    r->started_ns = clock_mono_ns();
    return r;
}

static void request_free(struct request *r)
{
    if (r == NULL)
        return;
    free(r->parameters);
    free(r->host);
    free(r->language);
    buf_deinit(&r->body);
    buf_deinit(&r->fields);
    buf_deinit(&r->answer);
    free(r);
}

static void log_request(const struct peer *p, const char *fault)
{
    const struct request *r = p->r;
    struct log_line l;
    char version[8];
    if (!log_wants(LOG_INFO))
        return;
    eas_version_format(r->version, version);
    log_begin(&l, LOG_INFO, "request");
    log_str(&l, "user", r->user[0] ? r->user : NULL);
    log_str(&l, "device", r->query.device_id[0] ? r->query.device_id : NULL);
    log_str(&l, "command", r->query.command_text[0] ? r->query.command_text : NULL);
    log_str(&l, "method", r->method);
    log_str(&l, "path", r->path);
    log_str(&l, "version", version[0] ? version : NULL);
    log_int(&l, "status", r->status);
    log_int(&l, "bytes", (int64_t)r->answer.len);
    log_int(&l, "ms", (int64_t)((clock_mono_ns() - r->started_ns) / 1000000));
    log_str(&l, "fault", fault);
    log_end(&l);
}

/* ---- answers ---- */

static void answer_plain(struct request *r, unsigned status)
{
    r->status = status;
    r->answer.len = 0;
    r->type = NULL;
}

static void append_chunks(struct buf *out, const struct buf *body)
{
    for (size_t at = 0; at < body->len; at += 1000) {
        size_t n = body->len - at < 1000 ? body->len - at : 1000;
        buf_printf(out, "%zx\r\n", n);
        buf_append(out, body->data + at, n);
        buf_append_str(out, "\r\n");
    }
    buf_append_str(out, "0\r\n\r\n");
}

static void write_answer(struct peer *p, const struct fault *f)
{
    struct request *r = p->r;
    const struct personality *who = p->s->o.personality;
    struct buf out;
    bool chunked = f != NULL && f->action == FAULT_CHUNKED && !r->http10;
    buf_init(&out, CALL_ANSWER_MAX + 65536);
    buf_printf(&out,
               "HTTP/1.1 %u %s\r\nServer: %s mailsim/" STAGATE_VERSION "\r\nMS-Server-ActiveSync: %s\r\n"
               "Cache-Control: private\r\n",
               r->status, http_status_text(r->status), who->server, who->as_server);
    buf_append(&out, r->fields.data, r->fields.len);
    if (r->answer.len > 0)
        buf_printf(&out, "Content-Type: %s\r\n", r->type != NULL ? r->type : "application/vnd.ms-sync.wbxml");
    if (chunked)
        buf_append_str(&out, "Transfer-Encoding: chunked\r\n");
    else if (r->status != 204)
        buf_printf(&out, "Content-Length: %zu\r\n", r->answer.len);
    if (!p->keep_alive)
        buf_append_str(&out, "Connection: close\r\n");
    else if (r->http10)
        buf_append_str(&out, "Connection: keep-alive\r\n");
    buf_append_str(&out, "\r\n");
    size_t head = out.len;
    if (chunked)
        append_chunks(&out, &r->answer);
    else
        buf_append(&out, r->answer.data, r->answer.len);
    if (f != NULL && f->action == FAULT_CLOSE)
        out.len = head + (out.len - head) / 2;
    stream_write(&p->stream, out.data, out.len);
    buf_deinit(&out);
}

/* What a rule makes of an answer before it is written. */
static void spoil(struct request *r, const struct fault *f, const struct personality *who)
{
    switch (f->action) {
    case FAULT_STATUS:
    case FAULT_THROTTLE:
        answer_plain(r, f->action == FAULT_THROTTLE ? 503 : f->status);
        if (r->status == 401)
            buf_append_str(&r->fields, "WWW-Authenticate: Basic realm=\"mailsim\"\r\n");
        if (r->status == 451)
            buf_printf(&r->fields, "X-MS-Location: %s\r\n", f->text);
        if (f->action == FAULT_THROTTLE && who->throttle_field)
            buf_printf(&r->fields, "X-MS-ASThrottle: %s\r\n",
                       f->text[0] != '\0' ? f->text : "CommandFrequency");
        if ((r->status == 503 && who->retry_after) || f->retry_after_s > 0)
            buf_printf(&r->fields, "Retry-After: %u\r\n", f->retry_after_s > 0 ? f->retry_after_s : 60);
        break;
    case FAULT_TRUNCATE:
        r->answer.len /= 2;
        break;
    case FAULT_MALFORMED:
        if (r->answer.len > 4)
            r->answer.data[4 + (r->answer.len - 5) / 2] = 0x04; /* LITERAL: ActiveSync has none */
        break;
    case FAULT_DELAY:
    case FAULT_CHUNKED:
    case FAULT_CLOSE:
    case FAULT_RESET:
        break;
    }
}

static const char *fault_command(const struct request *r)
{
    return r->query.command_text[0] != '\0' ? r->query.command_text : r->method;
}

static void close_peer(struct peer *p)
{
    box_stop_waiting(&p->waiter);
    deadline_clear(&p->deadline);
    stream_close(&p->stream);
}

static void send_answer(struct peer *p)
{
    struct request *r = p->r;
    const struct fault *f =
        r->refused ? &r->fault : faults_pick(p->s->o.faults, FAULT_SPOILS, fault_command(r), r->user);
    char fault[256] = "";
    if (f != NULL) {
        spoil(r, f, p->s->o.personality);
        snprintf(fault, sizeof fault, "%s", fault_name(f->action));
    }
    bool reset = f != NULL && f->action == FAULT_RESET;
    bool ends = reset || (f != NULL && f->action == FAULT_CLOSE);
    if (!reset)
        write_answer(p, f);
    log_request(p, fault[0] != '\0' ? fault : NULL);
    p->s->counts.requests++;
    request_free(r);
    p->r = NULL;
    p->doing = READING;
    if (ends) {
        close_peer(p);
        return;
    }
    if (!p->keep_alive)
        stream_shutdown(&p->stream);
    deadline_set(p->s->o.loop, &p->deadline, DEADLINE_IDLE, KEEPALIVE_MS);
}

/* What came while a request was answered is the next one. */
static void feed_behind(struct peer *p)
{
    struct buf behind = p->behind;
    buf_init(&p->behind, BEHIND_MAX);
    if (behind.len > 0)
        feed(p, behind.data, behind.len);
    buf_deinit(&behind);
}

/* The answer is made; it goes out at once, or when a fault lets it. */
static void finish(struct peer *p)
{
    const struct fault *f = faults_pick(p->s->o.faults, FAULT_HOLDS, fault_command(p->r), p->r->user);
    if (f == NULL) {
        send_answer(p);
        return;
    }
    p->doing = DELAYED;
    deadline_set(p->s->o.loop, &p->deadline, DEADLINE_REQUEST, f->delay_ms);
}

/* ---- ActiveSync ---- */

static bool is_mime_type(const char *type)
{
    return type != NULL && strncasecmp(type, "message/rfc822", 14) == 0;
}

/* Runs the command, for the first time or again after a wait. False: it waits. */
static bool run_command(struct peer *p, enum turn turn)
{
    struct server *s = p->s;
    struct request *r = p->r;
    struct call c = {.personality = s->o.personality,
                     .policy = s->o.policy,
                     .boxes = s->o.boxes,
                     .box = r->box,
                     .device = r->device,
                     .command = r->query.command,
                     .version = r->version,
                     .query = &r->query,
                     .parameters = r->parameters,
                     .body = r->body.data,
                     .body_len = r->body.len,
                     .is_mime = r->is_mime,
                     .multipart = r->query.accept_multipart,
                     .language = r->language != NULL ? r->language : "",
                     .now_ms = clock_wall_ms(),
                     .turn = turn,
                     .out = &r->answer,
                     .fields = &r->fields};
    if (!r->is_mime && r->body.len > 0 && wbxml_parse(&s->tree, r->body.data, r->body.len) == 0)
        c.root = wbxml_root(&s->tree);
    if (turn != TURN_FIRST || !command_refused(&c))
        command_run(&c);
    r->status = c.status;
    r->type = c.type;
    if (c.wait_s == 0)
        return true;
    const struct fault *f =
        turn == TURN_FIRST ? faults_pick(s->o.faults, FAULT_REFUSES, fault_command(r), r->user) : NULL;
    if (f != NULL) {
        r->refused = true;
        r->fault = *f;
        return true;
    }
    if (turn == TURN_FIRST)
        deadline_set(s->o.loop, &p->deadline, DEADLINE_REQUEST, 1000ULL * c.wait_s);
    p->doing = WAITING;
    p->waiter.device = r->device;
    box_wait(s->o.boxes, r->box, &p->waiter);
    s->counts.waiting++;
    return false;
}

static void end_wait(struct peer *p, enum turn turn)
{
    box_stop_waiting(&p->waiter);
    p->s->counts.waiting--;
    p->doing = READING;
    if (!run_command(p, turn))
        return;
    finish(p);
    if (p->doing == READING && stream_is_open(&p->stream))
        feed_behind(p);
}

static void on_wake(struct waiter *w, enum wake why)
{
    struct peer *p = list_entry(w, struct peer, waiter);
    end_wait(p, why == WAKE_REPLACED ? TURN_REPLACED : TURN_CHANGED);
}

static bool is_activesync(const struct server *s, const char *path)
{
    size_t n = strlen(path);
    char trimmed[64];
    if (n >= sizeof trimmed)
        return false;
    memcpy(trimmed, path, n + 1);
    if (n > 1 && trimmed[n - 1] == '/')
        trimmed[n - 1] = '\0';
    if (strcasecmp(trimmed, "/Microsoft-Server-ActiveSync") == 0)
        return true;
    return s->o.personality->traveler &&
           (strcasecmp(trimmed, "/traveler/Microsoft-Server-ActiveSync") == 0 ||
            strcasecmp(trimmed, "/servlet/traveler/Microsoft-Server-ActiveSync") == 0 ||
            strcasecmp(trimmed, "/traveler") == 0 || strcasecmp(trimmed, "/servlet/traveler") == 0);
}

static void answer_unknown_user(const struct server *s, struct request *r)
{
    static const char form[] =
        "<!DOCTYPE HTML PUBLIC \"-//W3C//DTD HTML 4.01 Transitional//EN\">\r\n<html><head><title>Server "
        "Login</title>"
        "</head>\r\n<body><form method=\"post\" action=\"/names.nsf?Login\"><input name=\"Username\">"
        "<input name=\"Password\" type=\"password\"><input type=\"submit\" value=\"Log "
        "In\"></form></body></html>\r\n";
    if (s->o.sign_in_form) {
        r->status = 200;
        r->type = "text/html; charset=UTF-8";
        buf_append_str(&r->answer, form);
        return;
    }
    answer_plain(r, 401);
    buf_printf(&r->fields, "WWW-Authenticate: Basic realm=\"%s\"\r\n", s->o.personality->realm);
}

static void answer_options(const struct server *s, struct request *r)
{
    answer_plain(r, 200);
    buf_printf(&r->fields,
               "Allow: OPTIONS,POST\r\nPublic: OPTIONS,POST\r\nMS-ASProtocolVersions: "
               "%s\r\nMS-ASProtocolCommands: %s\r\n",
               s->o.personality->versions, personality_commands(s->o.personality));
}

/* False: it waits. */
static bool answer_activesync(struct peer *p)
{
    struct server *s = p->s;
    struct request *r = p->r;
    if (!r->signed_in) {
        answer_unknown_user(s, r);
    } else if (s->o.syncml_only) {
        answer_plain(r, 403);
    } else if (strcmp(r->method, "OPTIONS") == 0) {
        answer_options(s, r);
    } else if (strcmp(r->method, "POST") != 0) {
        answer_plain(r, 501);
        buf_append_str(&r->fields, "Allow: OPTIONS,POST\r\n");
    } else if (r->bad_query || r->query.command_text[0] == '\0' || r->query.device_id[0] == '\0') {
        answer_plain(r, 400);
    } else {
        r->box = boxes_open(s->o.boxes, r->user);
        r->device = r->box != NULL ? box_device(r->box, r->query.device_id, r->query.device_type) : NULL;
        if (r->device != NULL)
            return run_command(p, TURN_FIRST);
        answer_plain(r, r->box != NULL ? 403 : 503);
    }
    return true;
}

static void answer_autodiscover(const struct peer *p, struct request *r)
{
    char url[400];
    if (!r->signed_in) {
        answer_unknown_user(p->s, r);
        return;
    }
    if (strcmp(r->method, "POST") != 0) {
        answer_plain(r, 501);
        return;
    }
    snprintf(url, sizeof url, "%s://%.300s/Microsoft-Server-ActiveSync",
             p->from->kind == LISTENER_TLS ? "https" : "http", r->host != NULL ? r->host : "");
    r->status = 200;
    r->type = "text/xml; charset=utf-8";
    discover_answer(r->body.data != NULL ? (const void *)r->body.data : "", r->body.len, url, r->user,
                    &r->answer);
}

static void handle(struct peer *p)
{
    struct request *r = p->r;
    bool done = true;
    if (is_activesync(p->s, r->path))
        done = answer_activesync(p);
    else if (strcasecmp(r->path, "/autodiscover/autodiscover.xml") == 0)
        answer_autodiscover(p, r);
    else
        answer_plain(r, 404);
    if (done)
        finish(p);
}

/* ---- heads and bodies ---- */

static void sign_in(struct server *s, struct request *r, const char *authorization)
{
    char password[USER_MAX];
    if (authorization == NULL ||
        http_basic_decode(authorization, r->user, sizeof r->user, password, sizeof password) < 0) {
        r->user[0] = '\0';
        return;
    }
    /* CORP\alice, as phones with a domain send it, is alice */
    char *name = strrchr(r->user, '\\');
    if (name != NULL)
        memmove(r->user, name + 1, strlen(name + 1) + 1);
    r->signed_in = r->user[0] != '\0' && (s->o.users == NULL || users_check(s->o.users, r->user, password));
    mem_wipe(password, sizeof password);
}

static char *field_copy(const struct http_head *h, const char *name)
{
    for (size_t i = 0; i < h->field_count; i++) {
        if (strcasecmp(h->fields[i].name, name) == 0)
            return mem_strdup(h->fields[i].value);
    }
    return NULL;
}

static void read_query(struct request *r, const struct http_head *h)
{
    const char *why, *version = http_head_field(h, HTTP_NAME_MS_AS_PROTOCOL_VERSION, NULL);
    const char *key = http_head_field(h, HTTP_NAME_X_MS_POLICY_KEY, NULL);
    r->query.command = EAS_COMMANDS;
    if (eas_query_parse(&r->query, r->parameters, strlen(r->parameters), &why) < 0) {
        memset(&r->query, 0, sizeof r->query);
        r->query.command = EAS_COMMANDS;
        r->bad_query = true;
    }
    if (r->query.version != 0)
        r->version = r->query.version;
    else if (version != NULL)
        r->version = eas_version_parse(version, strlen(version));
    if (key != NULL && r->query.policy_key[0] == '\0')
        mem_copy_text(r->query.policy_key, sizeof r->query.policy_key, key);
}

static int on_head(void *owner, const struct http_head *h)
{
    struct peer *p = owner;
    struct request *r = request_new();
    const char *expect = http_head_field(h, HTTP_NAME_EXPECT, NULL);
    const char *host = http_head_field(h, HTTP_NAME_HOST, NULL);
    size_t n = strcspn(h->target, "?");

    assert(p->r == NULL);
    p->r = r;
    p->keep_alive = h->keep_alive;
    r->http10 = h->minor == 0;
    mem_copy_text(r->method, sizeof r->method, h->method);
    snprintf(r->path, sizeof r->path, "%.*s", (int)(n < sizeof r->path ? n : 0), h->target);
    r->parameters = mem_strdup(h->target[n] == '?' ? h->target + n + 1 : "");
    r->host = host != NULL ? mem_strdup(host) : NULL;
    r->language = field_copy(h, "Accept-Language");
    r->is_mime = is_mime_type(http_head_field(h, HTTP_NAME_CONTENT_TYPE, NULL));
    read_query(r, h);
    char *multipart = field_copy(h, "MS-ASAcceptMultiPart");
    r->query.accept_multipart |= multipart != NULL && strcasecmp(multipart, "T") == 0;
    free(multipart);
    sign_in(p->s, r, http_head_field(h, HTTP_NAME_AUTHORIZATION, NULL));
    if (expect != NULL && strcasecmp(expect, "100-continue") == 0 && h->content_length != 0) {
        static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
        stream_write(&p->stream, (const uint8_t *)go_on, sizeof go_on - 1);
    }
    return h->content_length > CALL_BODY_MAX ? ERR_TOO_BIG : 0;
}

static int on_body(void *owner, const uint8_t *data, size_t len)
{
    return buf_append(&((struct peer *)owner)->r->body, data, len);
}

static const struct http_events http_events = {.on_head = on_head, .on_body = on_body};

static void refuse(struct peer *p)
{
    unsigned status = http_reader_status(p->reader);
    if (p->r == NULL)
        p->r = request_new();
    p->keep_alive = false;
    answer_plain(p->r, status != 0 ? status : 400);
    send_answer(p);
}

static void feed(struct peer *p, const uint8_t *data, size_t len)
{
    while (len > 0 && stream_is_open(&p->stream) && p->stream.shutting == STREAM_NONE) {
        size_t used = 0;
        if (p->doing != READING) {
            if (buf_append(&p->behind, data, len) < 0)
                close_peer(p);
            return;
        }
        int rc = http_reader_feed(p->reader, data, len, &used);
        data += used;
        len -= used;
        if (rc == HTTP_DONE) {
            handle(p);
        } else if (rc == HTTP_UPGRADE || rc < 0) {
            refuse(p);
            return;
        }
    }
}

/* ---- connections ---- */

static struct peer *of_stream(struct stream *s)
{
    return s->owner;
}

static void free_server_when_closed(struct server *s)
{
    if (s->closing && s->counts.open == 0) {
        deferred_cancel(&s->woken);
        wbxml_tree_deinit(&s->tree);
        free(s);
    }
}

static void on_first(struct stream *st, const uint8_t *data, size_t len, bool whole)
{
    /* handshake_failure in SSL 3.0's own words (RFC 6101 5.4.2) */
    static const uint8_t no[] = {0x15, 0x03, 0x00, 0x00, 0x02, 0x02, 0x28};
    struct peer *p = of_stream(st);
    (void)data;
    (void)len;
    if (whole && p->from->kind == LISTENER_SSL3) {
        stream_write_raw(st, no, sizeof no);
        stream_shutdown(st);
        return;
    }
    if (!whole || stream_start_tls(st, p->from->ctx, TLS_SERVER) < 0)
        close_peer(p);
}

static void on_open(struct stream *st)
{
    stream_read_start(st);
}

static void on_data(struct stream *st, const uint8_t *data, size_t len)
{
    struct peer *p = of_stream(st);
    if (p->doing == READING) /* a large body may take its time as long as it comes */
        deadline_set(p->s->o.loop, &p->deadline, DEADLINE_IDLE, KEEPALIVE_MS);
    feed(p, data, len);
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
    box_stop_waiting(&p->waiter);
    s->counts.waiting -= p->doing == WAITING;
    list_remove(&p->link);
    http_reader_free(p->reader);
    request_free(p->r);
    buf_deinit(&p->behind);
    free(p);
    s->counts.open--;
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
    switch (p->doing) {
    case READING:
        close_peer(p);
        break;
    case WAITING:
        end_wait(p, TURN_EXPIRED);
        break;
    case DELAYED:
        send_answer(p);
        if (stream_is_open(&p->stream))
            feed_behind(p);
        break;
    }
}

static void on_connection(struct listener *l)
{
    struct server_listener *from = l->owner;
    struct peer *p = mem_zalloc(sizeof *p);
    p->s = from->s;
    p->from = from;
    p->waiter.wake = on_wake;
    list_init(&p->waiter.link);
    buf_init(&p->behind, BEHIND_MAX);
    deadline_init(&p->deadline, on_deadline);
    p->reader = http_reader_new(HTTP_REQUEST, &http_events, p);
    list_append(&p->s->peers, &p->link);
    p->s->counts.open++;
    p->s->counts.connections++;
    stream_init(&p->stream, p->s->o.loop, &peer_events, p);
    int rc = stream_accept(&p->stream, listener_handle(l), from->kind != LISTENER_PLAIN);
    deadline_set(p->s->o.loop, &p->deadline, DEADLINE_FIRST, FIRST_MS);
    if (rc < 0)
        close_peer(p);
}

static void on_listener_closed(struct listener *l)
{
    struct server_listener *from = l->owner;
    struct server *s = from->s;
    free(from);
    s->counts.open--;
    free_server_when_closed(s);
}

/* ---- the server ---- */

static void run_woken(struct deferred *d)
{
    struct server *s = list_entry(d, struct server, woken);
    boxes_run_woken(s->o.boxes);
}

void server_on_woken(struct server *s)
{
    deferred_schedule(s->o.loop, &s->woken);
}

struct server *server_new(const struct server_options *options)
{
    struct server *s = mem_zalloc(sizeof *s);
    s->o = *options;
    wbxml_tree_init(&s->tree, CALL_NODES_MAX);
    list_init(&s->listeners);
    list_init(&s->peers);
    deferred_init(&s->woken, run_woken);
    return s;
}

int server_listen(struct server *s, int fd, enum listener_kind kind, SSL_CTX *ctx)
{
    struct server_listener *from = mem_zalloc(sizeof *from);
    from->s = s;
    from->ctx = ctx;
    from->kind = kind;
    from->l.owner = from;
    from->l.on_connection = on_connection;
    from->l.on_closed = on_listener_closed;
    list_append(&s->listeners, &from->link);
    s->counts.open++;
    return listener_open(&from->l, s->o.loop, fd);
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

struct server_counts server_counts(const struct server *s)
{
    return s->counts;
}
