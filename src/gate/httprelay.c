/* The HTTP relay: exchanges, the way of requests, and what is waited for. Answers are in httprelay_answer.c,
 * what becomes of heads in httprelay_head.c. Knows no sockets, no TLS and no clock but for how long an
 * exchange took. */
#include "gate/httprelay.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "gate/answer.h"
#include "httprelay_impl.h"

#define AHEAD_MAX   (256 * 1024) /* a read's plaintext and more */
#define AHEAD_STOP  (16 * 1024)  /* nothing more is read from a client that is so far ahead */
#define HELD_MAX    (96 * 1024)  /* a head, and a string table in front of the root */
#define HEAD_USUAL  1024
#define DISCARD_MAX (1024 * 1024)
#define OUT_STOP                                                                                             \
    (64 * 1024)         /* of answers to a client that asks without reading: more is not answered yet        \
                         */
#define SLACK_MS  60000 /* a server's own delays on top of the heartbeat */
#define LONGEST_S 3540

static int on_request_head(void *owner, const struct http_head *h);
static int on_request_body(void *owner, const uint8_t *data, size_t len);

static const struct http_events request_events = {.on_head = on_request_head, .on_body = on_request_body};

struct httprelay *httprelay_new(const struct httprelay_options *o)
{
    struct httprelay *r = mem_zalloc(sizeof *r);
    r->o = *o;
    r->target = *o->target;
    r->user = mem_strdup(o->user != NULL ? o->user : "");
    r->client = mem_strdup(o->client != NULL ? o->client : "");
    r->requests = http_reader_new(HTTP_REQUEST, &request_events, r);
    r->answers = http_reader_new(HTTP_RESPONSE, &httprelay_answer_events, r);
    buf_init(&r->held, HELD_MAX);
    buf_init(&r->ahead, AHEAD_MAX);
    buf_init(&r->answer_head, HTTP_HEAD_MAX * 4); /* redirects may grow */
    buf_init(&r->answer, AUTODISCOVER_MAX);
    return r;
}

/* ---- exchanges ---- */

static void forget_exchange(struct httprelay *r)
{
    free(r->x.path);
    free(r->x.agent);
    free(r->x.location);
    r->x = (struct exchange){.active = false};
    eas_heartbeat_free(r->heartbeat);
    r->heartbeat = NULL;
    buf_deinit(&r->held);
    buf_deinit(&r->answer_head);
    buf_deinit(&r->answer);
    r->request = r->response = SIDE_IDLE;
    r->root_due = r->discard = r->swallow = r->response_kept = r->may_hang = false;
    r->discarded = 0;
}

static void end_exchange(struct httprelay *r)
{
    r->count++;
    r->o.events->on_done(r->o.owner, &r->x);
    forget_exchange(r);
}

void httprelay_end(struct httprelay *r, enum reason reason, const char *detail)
{
    if (r->over)
        return;
    r->over = true;
    r->end = reason;
    r->end_detail = detail;
    if (!r->x.active)
        return;
    if (r->x.reason == REASON_OK && !(r->request == SIDE_DONE && r->response == SIDE_DONE)) {
        r->x.reason = reason;
        r->x.detail = detail;
    }
    end_exchange(r);
}

void httprelay_free(struct httprelay *r, enum reason reason, const char *detail)
{
    if (r == NULL)
        return;
    httprelay_end(r, reason, detail);
    http_reader_free(r->requests);
    http_reader_free(r->answers);
    buf_deinit(&r->ahead);
    free(r->user);
    free(r->client);
    if (r->ticket != NULL)
        mem_wipe(r->ticket, strlen(r->ticket));
    free(r->ticket);
    free(r);
}

/* Both sides have come to the end of their message. */
void httprelay_check_done(struct httprelay *r)
{
    if (r->over || r->request != SIDE_DONE || r->response != SIDE_DONE)
        return;
    end_exchange(r);
    if (r->close_after || r->backend_close || (r->client_ended && r->ahead.len == 0))
        httprelay_end(r, REASON_OK, NULL);
}

static void begin_exchange(struct httprelay *r)
{
    r->in_head = false;
    r->x.active = true;
    r->x.started_ns = clock_mono_ns();
    r->x.kind = EAS_PATH_OTHER;
    r->x.query.command = EAS_COMMANDS;
}

/* ---- what the gateway answers itself ---- */

/* The document that says no in ActiveSync's own words, from 14.0 on. */
static bool answer_in_wbxml(struct httprelay *r, unsigned status, unsigned limit)
{
    struct buf body;
    buf_init(&body, 256);
    bool made = eas_write_status(&body, r->x.query.command, status, limit) == 0;
    if (made) {
        struct buf *out = r->out->client;
        r->x.status = 200;
        buf_append_str(out, "HTTP/1.1 200 OK\r\n");
        if (r->x.reason != REASON_OK)
            buf_printf(out, "X-Stagate-Reason: %s\r\n", reason_info(r->x.reason)->id);
        buf_printf(out, "Content-Type: application/vnd.ms-sync.wbxml\r\nContent-Length: %zu\r\n%s\r\n",
                   body.len,
                   r->close_after ? "Connection: close\r\n"
                   : r->http10    ? "Connection: keep-alive\r\n"
                                  : "");
        buf_append(out, body.data, body.len);
    }
    buf_deinit(&body);
    return made;
}

/* A Sync that has waited its time out. */
static void answer_no_changes(struct httprelay *r)
{
    r->x.status = 200;
    buf_append_str(r->out->client, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
}

/* Answers in the mail server's place; what the request still brings goes nowhere. */
static void refuse(struct httprelay *r, enum reason reason, const char *detail, unsigned status)
{
    r->x.reason = reason;
    r->x.detail = detail;
    r->response = SIDE_DONE;
    r->discard = true;
    r->response_kept = false;
    buf_deinit(&r->held);
    r->root_due = false;
    if (reason == REASON_ACTIVESYNC_FLOOR && r->x.version >= 140 && answer_in_wbxml(r, 138, 0))
        return;
    const struct answer a = {
        .reason = reason,
        .detail = detail,
        .status = status,
        .reverse = r->o.reverse,
        .keep_alive = !r->close_after,
        .head = r->is_head,
        .http10 = r->http10,
    };
    answer_refusal(r->out->client, &a);
    r->x.status = answer_status(&a);
}

/* Something is wrong beyond repair: told where no answer has begun. */
void httprelay_fail(struct httprelay *r, enum reason reason, const char *detail, unsigned status)
{
    r->dropped = true;
    r->close_after = true;
    bool begun = r->response == SIDE_DONE || (r->response == SIDE_BODY && !r->response_kept);
    if (r->x.active && !begun)
        refuse(r, reason, detail, status);
    httprelay_end(r, reason, detail);
}

/* ---- requests ---- */

static bool has_body(const struct http_head *h)
{
    return h->chunked || h->content_length > 0;
}

static bool expects(const struct http_head *h)
{
    return http_head_field(h, HTTP_NAME_EXPECT, NULL) != NULL;
}

static void accept_request(struct httprelay *r, const struct http_head *h)
{
    bool body = has_body(h);
    unsigned command = r->x.query.command;
    bool waits = r->x.kind == EAS_PATH_ACTIVESYNC && (command == EAS_PING || command == EAS_SYNC);
    r->request_chunked = h->chunked;
    r->may_hang = waits && (command == EAS_PING || !body);
    if (waits && body)
        r->heartbeat = eas_heartbeat_new();
    if (r->root_due)
        eas_root_init(&r->root);
    http_reader_expect(r->answers, h->method);
    r->response = SIDE_IDLE;
    /* a client that waits for 100 Continue sends nothing to look at before the server has the head */
    bool held = r->root_due && !expects(h);
    r->request = held ? SIDE_HEAD_HELD : SIDE_BODY;
    if (held)
        buf_reserve(&r->held, HEAD_USUAL);
    httprelay_write_request(r, h, held ? &r->held : r->out->backend);
}

static int on_request_head(void *owner, const struct http_head *h)
{
    struct httprelay *r = owner;
    const char *detail = NULL;

    begin_exchange(r);
    r->http10 = h->minor == 0;
    r->is_head = strcmp(h->method, "HEAD") == 0;
    r->request = SIDE_BODY;
    enum reason reason = httprelay_judge(r, h, &detail);
    if (r->o.events->on_request != NULL)
        r->o.events->on_request(r->o.owner, &r->x, h);
    r->close_after = !h->keep_alive || r->client_ended;
    if (reason == REASON_OK) {
        accept_request(r, h);
        return 0;
    }
    /* whoever breaks the protocol, or waits to be told whether to go on, is not read on */
    r->close_after |= reason == REASON_REQUEST_MALFORMED || expects(h) || h->content_length > DISCARD_MAX ||
                      strcmp(h->method, "CONNECT") == 0;
    refuse(r, reason, detail, 0);
    return 0;
}

void httprelay_write_chunk(struct buf *to, bool chunked, const uint8_t *data, size_t len)
{
    if (len == 0)
        return;
    if (chunked)
        buf_printf(to, "%zx\r\n", len);
    buf_append(to, data, len);
    if (chunked)
        buf_append(to, "\r\n", 2);
}

/* What was held back goes on. */
static void release_held(struct httprelay *r)
{
    r->root_due = false;
    r->request = SIDE_BODY;
    buf_append(r->out->backend, r->held.data, r->held.len);
    buf_deinit(&r->held);
}

static void refuse_body(struct httprelay *r, const char *detail)
{
    bool sent = r->request == SIDE_BODY;
    r->request = SIDE_BODY;
    r->dropped |= sent; /* it has half a request, whose rest it will not get */
    r->close_after |= sent;
    refuse(r, REASON_COMMAND_MISMATCH, detail, 0);
}

/* Looks whether the document is the command's: servers go by the document. */
static void see_root(struct httprelay *r, const uint8_t *data, size_t len)
{
    size_t used;
    switch (eas_root_feed(&r->root, data, len, &used)) {
    case EAS_ROOT_MORE:
        break;
    case EAS_ROOT_TAG:
        if (eas_command_of_root(r->root.tag) == r->x.query.command)
            release_held(r);
        else
            refuse_body(r, "the document in the body is another command's");
        break;
    case EAS_ROOT_MALFORMED:
        release_held(r); /* a document for nobody: the mail server's to judge */
        break;
    case EAS_ROOT_HIDDEN:
        refuse_body(r, "the document's root stands behind what ActiveSync does not use");
        break;
    }
}

static int on_request_body(void *owner, const uint8_t *data, size_t len)
{
    struct httprelay *r = owner;
    r->x.up += len;
    if (r->o.events->on_body != NULL)
        r->o.events->on_body(r->o.owner, true, data, len);
    if (r->root_due)
        see_root(r, data, len);
    if (r->discard) {
        r->discarded += len;
        return r->discarded > DISCARD_MAX ? ERR_TOO_BIG : 0;
    }
    if (r->heartbeat != NULL)
        eas_heartbeat_feed(r->heartbeat, data, len);
    if (!r->root_due) {
        httprelay_write_chunk(r->out->backend, r->request_chunked, data, len);
        return 0;
    }
    if (r->held.len + len + 32 > HELD_MAX) {
        refuse_body(r, "the document's root does not come");
        return 0;
    }
    httprelay_write_chunk(&r->held, r->request_chunked, data, len);
    return 0;
}

static void note_heartbeat(struct httprelay *r)
{
    unsigned *last = r->x.query.command == EAS_PING ? &r->last_ping_s : &r->last_sync_s;
    if (r->heartbeat == NULL) {
        if (r->may_hang)
            r->x.heartbeat_s = *last;
        return;
    }
    r->x.heartbeat_s = eas_heartbeat_seconds(r->heartbeat);
    *last = r->x.heartbeat_s;
    if (r->x.query.command == EAS_SYNC)
        r->sync_in_minutes = eas_heartbeat_in_minutes(r->heartbeat);
    r->may_hang |= r->x.heartbeat_s > 0;
    eas_heartbeat_free(r->heartbeat);
    r->heartbeat = NULL;
}

static void request_done(struct httprelay *r)
{
    if (!r->discard) {
        if (r->root_due)
            release_held(r); /* no document, or one without a root: nothing that a server could act on */
        if (r->request_chunked)
            buf_append_str(r->out->backend, "0\r\n\r\n");
        note_heartbeat(r);
    }
    r->request = SIDE_DONE;
    httprelay_check_done(r);
}

static void request_failed(struct httprelay *r)
{
    unsigned status = http_reader_status(r->requests);
    if (r->discard) {
        httprelay_end(r, REASON_OK, "a refused request was longer than is read of one");
        return;
    }
    if (!r->x.active)
        begin_exchange(r);
    httprelay_fail(r, REASON_REQUEST_MALFORMED, http_reader_why(r->requests), status);
}

static void feed_requests(struct httprelay *r, const uint8_t *data, size_t len)
{
    while (len > 0 && !r->over) {
        size_t used = 0;
        if (r->request == SIDE_DONE || (!r->x.active && r->out->client->len > OUT_STOP)) {
            if (buf_append(&r->ahead, data, len) < 0)
                httprelay_fail(r, REASON_REQUEST_MALFORMED, "the client sends too much ahead of its turn", 0);
            return;
        }
        int rc = http_reader_feed(r->requests, data, len, &used);
        data += used;
        len -= used;
        if (rc < 0)
            request_failed(r);
        else if (rc == HTTP_DONE)
            request_done(r);
        else if (rc == HTTP_UPGRADE)
            httprelay_end(r, r->x.reason, r->x.detail);
        else
            r->in_head |= !r->x.active;
        /* refused, and nothing more is read of it */
        if (!r->over && r->discard && r->close_after)
            httprelay_end(r, REASON_OK, r->x.detail);
    }
}

/* Requests that came ahead of their turn. */
void httprelay_feed_ahead(struct httprelay *r)
{
    while (r->ahead.len > 0 && r->request != SIDE_DONE && r->out->client->len <= OUT_STOP && !r->over) {
        struct buf ahead = r->ahead;
        buf_init(&r->ahead, AHEAD_MAX);
        feed_requests(r, ahead.data, ahead.len);
        buf_deinit(&ahead);
    }
    if (r->client_ended && !r->over && !r->x.active && r->ahead.len == 0)
        httprelay_end(r, REASON_OK, NULL);
}

void httprelay_client_data(struct httprelay *r, const uint8_t *data, size_t len, struct httprelay_out *out)
{
    r->out = out;
    feed_requests(r, data, len);
}

void httprelay_resume(struct httprelay *r, struct httprelay_out *out)
{
    r->out = out;
    httprelay_feed_ahead(r);
}

void httprelay_client_eof(struct httprelay *r, struct httprelay_out *out)
{
    r->out = out;
    if (r->over)
        return;
    r->client_ended = true;
    if (!r->x.active && r->ahead.len == 0)
        httprelay_end(r, r->in_head ? REASON_CLIENT_GONE : REASON_OK,
                      r->in_head ? "in the middle of a request" : NULL);
    else if (r->x.active && r->request != SIDE_DONE)
        httprelay_end(r, REASON_CLIENT_GONE, "in the middle of a request");
    else if (r->may_hang && r->response != SIDE_BODY && r->ahead.len == 0)
        httprelay_end(r, REASON_CLIENT_GONE, "while its Ping or Sync waited");
}

/* ---- waiting ---- */

static uint64_t asked_ms(const struct httprelay *r)
{
    return 1000ULL * (r->x.heartbeat_s > 0 ? r->x.heartbeat_s : LONGEST_S);
}

static bool is_limited(const struct httprelay *r)
{
    uint64_t limit = (uint64_t)r->o.service->max_heartbeat_ms;
    return limit > 0 && asked_ms(r) > limit;
}

enum httprelay_wait httprelay_wait(const struct httprelay *r)
{
    if (!r->x.active)
        return r->in_head ? HTTPRELAY_HEAD : HTTPRELAY_NEXT;
    if (r->request != SIDE_DONE)
        return HTTPRELAY_REQUEST;
    return r->may_hang && r->response == SIDE_IDLE ? HTTPRELAY_BEAT : HTTPRELAY_ANSWER;
}

uint64_t httprelay_beat_ms(const struct httprelay *r)
{
    return is_limited(r) ? (uint64_t)r->o.service->max_heartbeat_ms : asked_ms(r) + SLACK_MS;
}

/* Ends a wait in the words a server has for one that is too long. */
static bool end_wait(struct httprelay *r)
{
    unsigned limit = (unsigned)(r->o.service->max_heartbeat_ms / 1000);
    bool ping = r->x.query.command == EAS_PING;
    r->close_after = true;
    if (!ping && r->sync_in_minutes)
        limit /= 60;
    if (limit == 0)
        answer_no_changes(r); /* less than the minute that is the least a client can ask for */
    else if (!answer_in_wbxml(r, ping ? 5 : 14, limit))
        return false;
    r->response = SIDE_DONE;
    r->x.detail = "the gateway ended the wait at max-heartbeat";
    r->dropped = true;
    httprelay_end(r, REASON_OK, r->x.detail);
    return true;
}

void httprelay_late(struct httprelay *r, struct httprelay_out *out)
{
    r->out = out;
    switch (httprelay_wait(r)) {
    case HTTPRELAY_NEXT:
        httprelay_end(r, REASON_IDLE_TIMEOUT, NULL);
        break;
    case HTTPRELAY_HEAD:
    case HTTPRELAY_REQUEST:
        if (!r->x.active)
            begin_exchange(r);
        httprelay_fail(r, REASON_REQUEST_TIMEOUT, NULL, 0);
        break;
    case HTTPRELAY_BEAT:
        if (is_limited(r) && end_wait(r))
            break;
        httprelay_fail(r, REASON_BACKEND_TIMEOUT, "the wait was longer than the heartbeat", 0);
        break;
    case HTTPRELAY_ANSWER:
        httprelay_fail(r, REASON_BACKEND_TIMEOUT, NULL, 0);
        break;
    }
}

bool httprelay_wants_client(const struct httprelay *r)
{
    return r->ahead.len < AHEAD_STOP;
}

bool httprelay_is_over(const struct httprelay *r, enum reason *reason, const char **detail)
{
    *reason = r->end;
    *detail = r->end_detail;
    return r->over;
}

bool httprelay_has_dropped_backend(const struct httprelay *r)
{
    return r->dropped;
}
