/* Ticket, connection, request, answer, and again until the step is over. */
#include "phone.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "proto/eas.h"

#define REQUEST_MAX (64 * 1024 * 1024)

static const struct channel_events channel_events;
static const struct http_events answer_events;

void phone_world_init(struct phone_world *w, struct netloop *loop, const struct phone_events *events,
                      unsigned deadline_list)
{
    *w = (struct phone_world){.loop = loop,
                              .events = events,
                              .deadline_list = deadline_list + 1,
                              .answer_ms = 30000,
                              .answer_max = 64 * 1024 * 1024,
                              .requests_left = UINT64_MAX};
    wire_init(&w->wire, loop, deadline_list, 30000);
    wbxml_tree_init(&w->tree, 1000000);
    buf_init(&w->body, REQUEST_MAX);
    buf_init(&w->head, REQUEST_MAX);
}

void phone_world_deinit(struct phone_world *w)
{
    wire_deinit(&w->wire);
    wbxml_tree_deinit(&w->tree);
    buf_deinit(&w->body);
    buf_deinit(&w->head);
}

/* ---- the end of a step ---- */

static void forget_answer(struct phone *p)
{
    p->answer.len = 0;
    p->status = 0;
    p->got_byte = p->too_big = false;
    free(p->type);
    free(p->versions);
    free(p->reason);
    p->type = p->versions = p->reason = NULL;
}

static void rest(struct phone *p)
{
    deadline_clear(&p->deadline);
    p->world->waiting -= p->is_wait;
    p->is_wait = false;
    p->phase = PHONE_IDLE;
}

/* Memory that only a phone which is busy needs. */
static void slim(struct phone *p)
{
    http_reader_free(p->reader);
    p->reader = NULL;
    buf_deinit(&p->answer);
    forget_answer(p);
}

/* Whether a failure says that the ticket is no good. */
static bool is_about_ticket(const struct failure *why)
{
    return strncmp(why->kind, "ticket_", 7) == 0 || strcmp(why->kind, "socks_2") == 0;
}

static void done(struct phone *p, const struct failure *why)
{
    rest(p);
    if (why != NULL && p->kind->tickets != NULL && is_about_ticket(why))
        phone_set_ticket(p, NULL);
    p->world->events->on_done(p, (enum step)p->step, why);
    if (p->phase == PHONE_IDLE)
        slim(p);
}

static void failed(struct phone *p, const char *kind, const char *detail)
{
    struct failure why = {.kind = ""};
    failure_set(&why, kind, "%s", detail);
    done(p, &why);
}

/* The exchange has ended without an answer that can be read; the connection is of no use any more. */
static void exchange_failed(struct phone *p, const struct failure *why)
{
    p->told = true;
    if (p->world->events->on_exchange != NULL)
        p->world->events->on_exchange(p, &p->asked, NULL, (clock_mono_ns() - p->asked_ns) / 1000, why);
    channel_close(&p->channel);
    done(p, why);
}

/* ---- asking ---- */

static void append_escaped(struct buf *b, const char *s)
{
    for (; *s != '\0'; s++) {
        unsigned char c = (unsigned char)*s;
        if ((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || strchr("-._~@", c))
            buf_append(b, s, 1);
        else
            buf_printf(b, "%%%02X", c);
    }
}

static void append_host(struct buf *b, const struct route *r)
{
    bool tls = r->inner_tls || (r->door == DOOR_NONE && r->outer_tls);
    bool v6 = r->target.kind == HOSTPORT_IPV6;
    buf_append_str(b, v6 ? "Host: [" : "Host: ");
    buf_append_str(b, r->target.host);
    buf_append_str(b, v6 ? "]" : "");
    if (r->target.port != (tls ? 443 : 80))
        buf_printf(b, ":%u", r->target.port);
    buf_append_str(b, "\r\n");
}

static void append_target(struct buf *b, const struct phone *p, const struct device_request *r)
{
    const struct device_options *o = p->device.options;
    buf_append_str(b, r->command != NULL ? "POST " : "OPTIONS ");
    buf_append_str(b, o->path);
    if (r->command != NULL) {
        buf_append_str(b, "?Cmd=");
        buf_append_str(b, r->command);
        buf_append_str(b, "&User=");
        append_escaped(b, p->user);
        buf_append_str(b, "&DeviceId=");
        append_escaped(b, p->device.id);
        buf_append_str(b, "&DeviceType=");
        append_escaped(b, o->type);
        buf_append_str(b, r->extra);
    }
    buf_append_str(b, " HTTP/1.1\r\n");
}

/* Into world->head. */
static void write_head(struct phone *p, const struct device_request *r, size_t body_len)
{
    struct buf *b = &p->world->head;
    const struct device_options *o = p->device.options;
    char version[8];
    b->len = 0;
    append_target(b, p, r);
    append_host(b, p->kind->route);
    if (p->kind->route->ticket_header && p->ticket != NULL) {
        buf_append_str(b, "X-STA-Ticket: ");
        buf_append_str(b, p->ticket);
        buf_append_str(b, "\r\n");
    }
    buf_append_str(b, "Authorization: ");
    http_basic_encode(b, p->user, p->kind->password);
    buf_append_str(b, "\r\nUser-Agent: ");
    buf_append_str(b, o->agent);
    if (r->command != NULL) {
        eas_version_format(device_version(&p->device), version);
        buf_append_str(b, "\r\nMS-ASProtocolVersion: ");
        buf_append_str(b, version);
    }
    if (r->policy && p->device.policy_key[0] != '\0') {
        buf_append_str(b, "\r\nX-MS-PolicyKey: ");
        buf_append_str(b, p->device.policy_key);
    }
    if (r->type != NULL) {
        buf_append_str(b, "\r\nContent-Type: ");
        buf_append_str(b, r->type);
    }
    if (r->command != NULL)
        buf_printf(b, "\r\nContent-Length: %zu", body_len);
    if (!p->kind->keep_alive)
        buf_append_str(b, "\r\nConnection: close");
    buf_append_str(b, "\r\n\r\n");
}

static void send_request(struct phone *p)
{
    struct phone_world *w = p->world;
    struct buf *head = &w->head;
    if (w->requests_left == 0) {
        failed(p, "dropped", "all requests are used up");
        return;
    }
    w->requests_left--;
    write_head(p, &p->asked, w->body.len);
    if (w->events->on_request != NULL)
        w->events->on_request(p, &p->asked, (const char *)head->data, head->len, w->body.data, w->body.len);
    buf_append(head, w->body.data, w->body.len);
    w->bytes_out += head->len;
    p->phase = PHONE_ASKED;
    p->asked_ns = clock_mono_ns();
    deadline_set(w->loop, &p->deadline, w->deadline_list + (p->asked.heartbeat_s != 0),
                 w->answer_ms + 1000ull * p->asked.heartbeat_s);
    if (p->asked.heartbeat_s != 0) {
        slim(p); /* the answer may be long in coming */
        p->pinged_ms = (uint64_t)clock_true_ms();
        p->is_wait = true;
        w->waiting++;
    }
    channel_write(&p->channel, head->data, head->len);
}

static void ask(struct phone *p)
{
    struct buf *body = &p->world->body;
    body->len = 0;
    forget_answer(p);
    if (device_ask(&p->device, (enum step)p->step, &p->asked, body) < 0) {
        failed(p, "request", "the request would be too big");
        return;
    }
    send_request(p);
}

/* The same once more, on a new connection: the server had closed the old one while it was idle. */
static void ask_again(struct phone *p)
{
    rest(p);
    p->phase = PHONE_OPENING;
    p->again = true;
    channel_close(&p->channel); /* opened again as soon as it is closed */
}

/* ---- ticket and connection ---- */

static void go_on(struct phone *p);

static void on_ticket(void *owner, const char *ticket, const struct failure *why)
{
    struct phone *p = owner;
    p->ticket_request = NULL;
    if (p->world->events->on_ticket != NULL)
        p->world->events->on_ticket(p, ticket != NULL ? NULL : why, (clock_mono_ns() - p->asked_ns) / 1000);
    if (ticket == NULL) {
        p->told = true;
        done(p, why);
        return;
    }
    phone_set_ticket(p, ticket);
    go_on(p);
}

/* What opens the tunnel: the user's own sign-in, or the ticket in the form that the door takes. Into b. */
static const char *credential(const struct phone *p, struct buf *b)
{
    const struct route *r = p->kind->route;
    if (r->user_credential)
        http_basic_encode(b, p->user, p->kind->password);
    else if (r->door == DOOR_NONE || p->ticket == NULL)
        return NULL;
    else
        buf_printf(b, "%s%s", r->door == DOOR_CONNECT ? "Bearer " : "", p->ticket);
    buf_append(b, "", 1);
    return (const char *)b->data;
}

static void open_channel(struct phone *p)
{
    struct buf b;
    p->phase = PHONE_OPENING;
    p->reused = false;
    if (p->channel.phase == CHANNEL_CLOSING)
        return; /* as soon as it is closed */
    buf_init(&b, 8192);
    channel_open(&p->channel, p->kind->route, &p->kind->offer, credential(p, &b));
    if (b.data != NULL)
        mem_wipe(b.data, b.len);
    buf_deinit(&b);
}

static void go_on(struct phone *p)
{
    if (p->kind->tickets != NULL && p->ticket == NULL) {
        p->phase = PHONE_TICKET;
        p->asked_ns = clock_mono_ns();
        p->ticket_request = ticket_ask(p->kind->tickets, p->user, p->kind->password, p->device.id,
                                       p->kind->ticket_lifetime, on_ticket, p);
    } else if (p->channel.phase != CHANNEL_OPEN || p->channel.ended) {
        open_channel(p);
    } else {
        ask(p);
    }
}

static void on_channel_open(struct channel *c)
{
    struct phone *p = c->owner;
    if (p->world->events->on_opened != NULL)
        p->world->events->on_opened(p, &c->times);
    if (p->phase != PHONE_OPENING)
        return;
    ask(p);
}

static void on_channel_end(struct channel *c, const struct failure *why)
{
    struct phone *p = c->owner;
    enum phone_phase phase = (enum phone_phase)p->phase;
    if (phase == PHONE_ASKED && p->reader != NULL && p->got_byte && strcmp(why->kind, "closed") == 0 &&
        http_reader_finish(p->reader) == HTTP_DONE) {
        /* a body that the end of the connection ends is one of HTTP/1.0's, and of no server of ActiveSync */
        struct failure odd = {.kind = ""};
        failure_set(&odd, "not_http", "the answer has no length");
        exchange_failed(p, &odd);
    } else if (phase == PHONE_ASKED && p->reused && !p->got_byte && !p->again && p->asked.repeatable) {
        ask_again(p);
    } else if (phase == PHONE_ASKED) {
        exchange_failed(p, why);
    } else {
        channel_close(c);
        if (phase == PHONE_OPENING)
            done(p, why);
    }
}

static void on_channel_closed(struct channel *c)
{
    struct phone *p = c->owner;
    if (p->phase == PHONE_OPENING)
        open_channel(p);
}

/* ---- answers ---- */

static int on_head(void *owner, const struct http_head *h)
{
    struct phone *p = owner;
    const char *type = http_head_field(h, HTTP_NAME_CONTENT_TYPE, NULL);
    const char *versions = http_head_field(h, HTTP_NAME_MS_AS_PROTOCOL_VERSIONS, NULL);
    if (p->world->events->on_head != NULL)
        p->world->events->on_head(p, h);
    p->status = h->status;
    p->keep = h->keep_alive;
    if (h->status < 200)
        return 0;
    p->type = mem_strdup(type);
    p->versions = mem_strdup(versions);
    p->reason = mem_strdup(http_head_field(h, HTTP_NAME_X_STAGATE_REASON, NULL));
    return 0;
}

static int on_body(void *owner, const uint8_t *data, size_t len)
{
    struct phone *p = owner;
    if (p->answer.max == 0)
        buf_init(&p->answer, p->world->answer_max);
    if (buf_append(&p->answer, data, len) == 0)
        return 0;
    p->too_big = true;
    return ERR_TOO_BIG;
}

static const struct http_events answer_events = {.on_head = on_head, .on_body = on_body};

static void answered(struct phone *p)
{
    struct failure why = {.kind = ""};
    const struct device_answer a = {.status = p->status,
                                    .versions = p->versions,
                                    .type = p->type != NULL ? p->type : "",
                                    .reason = p->reason,
                                    .body = p->answer.data,
                                    .len = p->answer.len};
    uint64_t us = (clock_mono_ns() - p->asked_ns) / 1000;
    unsigned mended = p->device.mended;
    enum device_verdict v = device_answer(&p->device, &p->asked, &a, &p->world->tree, &why);
    bool bad = v == DEVICE_FAILED || p->device.mended != mended;
    p->reused = true;
    p->again = false;
    if (p->world->events->on_exchange != NULL)
        p->world->events->on_exchange(p, &p->asked, &a, us, bad ? &why : NULL);
    if (!p->keep || !p->kind->keep_alive)
        channel_close(&p->channel);
    rest(p);
    if (v == DEVICE_AGAIN) {
        go_on(p);
    } else {
        p->told = v == DEVICE_FAILED;
        done(p, v == DEVICE_FAILED ? &why : NULL);
    }
}

static void on_data(struct channel *c, const uint8_t *data, size_t len)
{
    struct phone *p = c->owner;
    p->world->bytes_in += len;
    while (len > 0 && p->phase == PHONE_ASKED && c->phase == CHANNEL_OPEN) {
        size_t used = 0;
        if (p->reader == NULL)
            p->reader = http_reader_new(HTTP_RESPONSE, &answer_events, p);
        if (!p->got_byte)
            http_reader_expect(p->reader, p->asked.command != NULL ? "POST" : "OPTIONS");
        p->got_byte = true;
        int rc = http_reader_feed(p->reader, data, len, &used);
        data += used;
        len -= used;
        if (rc == HTTP_DONE && p->status < 200) {
            p->got_byte = false; /* 100 Continue; the answer follows */
        } else if (rc == HTTP_DONE) {
            if (len > 0)
                p->keep = false; /* nobody asked for more */
            answered(p);
            return;
        } else if (rc < 0) {
            struct failure why = {.kind = ""};
            failure_set(&why, p->too_big ? "too_big" : "not_http", "the answer: %s",
                        p->too_big ? "its body is too big" : http_reader_why(p->reader));
            exchange_failed(p, &why);
            return;
        }
    }
    if (p->phase != PHONE_ASKED && len > 0)
        channel_close(c); /* what nobody asked for: a server that lets go */
}

static void on_deadline(struct deadline *d)
{
    struct phone *p = list_entry(d, struct phone, deadline);
    struct failure why = {.kind = ""};
    failure_set(&why, "timeout", "no answer in time to %s", verb_names[p->asked.verb]);
    exchange_failed(p, &why);
}

static const struct channel_events channel_events = {
    .on_open = on_channel_open, .on_data = on_data, .on_end = on_channel_end, .on_closed = on_channel_closed};

/* ---- for the owner ---- */

void phone_init(struct phone *p, struct phone_world *w, const struct phone_kind *kind, const char *user,
                const char *device_id, void *owner)
{
    *p = (struct phone){.world = w, .kind = kind, .owner = owner, .user = mem_strdup(user)};
    channel_init(&p->channel, &w->wire, &channel_events, p);
    device_init(&p->device, &kind->device, p->user, device_id);
    deadline_init(&p->deadline, on_deadline);
}

void phone_deinit(struct phone *p)
{
    slim(p);
    channel_deinit(&p->channel);
    device_deinit(&p->device);
    phone_set_ticket(p, NULL);
    free(p->user);
}

void phone_do(struct phone *p, enum step step)
{
    struct failure why = {.kind = ""};
    p->step = (uint8_t)step;
    p->woken_ms = 0;
    p->told = p->again = false;
    switch (device_begin(&p->device, step, &why)) {
    case DEVICE_AGAIN:
        go_on(p);
        break;
    case DEVICE_DONE:
        done(p, NULL);
        break;
    case DEVICE_FAILED:
        done(p, &why);
        break;
    }
}

void phone_set_ticket(struct phone *p, const char *ticket)
{
    if (p->ticket != NULL)
        mem_wipe(p->ticket, strlen(p->ticket));
    free(p->ticket);
    p->ticket = mem_strdup(ticket);
}

void phone_drop(struct phone *p)
{
    bool busy = p->phase != PHONE_IDLE;
    ticket_cancel(p->ticket_request);
    p->ticket_request = NULL;
    rest(p);
    channel_close(&p->channel);
    if (busy)
        failed(p, "dropped", "the phone let go of its connection");
}

bool phone_is_closed(const struct phone *p)
{
    return p->phase == PHONE_IDLE && p->channel.phase == CHANNEL_IDLE;
}

bool phone_is_waiting(const struct phone *p)
{
    return p->is_wait;
}
