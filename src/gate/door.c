/* The doors. Called by conn.c with decrypted bytes; knows SOCKS5, HTTP and tickets as parsers give them, no
 * sockets. */
#include "gate/door.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "gate/answer.h"
#include "proto/http.h"
#include "proto/socks5.h"

#define LOGIN_CAP                    256
#define SOCKS5_COMMAND_NOT_SUPPORTED 7 /* RFC 1928's REP for BIND and UDP ASSOCIATE */

struct door {
    unsigned doors;
    int kind;
    enum reason reason;
    const char *detail;
    uint8_t socks_code; /* of a refusal that SOCKS has a code of its own for; 0: the reason's */
    bool has_target;
    struct hostport target;
    struct ticket_string ticket;
    struct socks5 *socks;     /* owned, the socks door */
    struct http_reader *http; /* owned, the connect door */
    char login[LOGIN_CAP];
    char agent[128];
    bool is_head; /* activesync: the request is HEAD */
    bool head_done;
    char host[256]; /* activesync: whom the client calls, without port */
};

struct door *door_new(unsigned doors)
{
    struct door *d = mem_zalloc(sizeof *d);
    d->doors = doors;
    d->kind = -1;
    return d;
}

void door_free(struct door *d)
{
    if (d == NULL)
        return;
    if (d->socks != NULL) {
        socks5_deinit(d->socks);
        free(d->socks);
    }
    if (d->http != NULL)
        http_reader_free(d->http);
    mem_wipe(&d->ticket, sizeof d->ticket);
    free(d);
}

static enum door_result refuse(struct door *d, enum reason r, const char *detail)
{
    d->reason = r;
    d->detail = detail;
    return DOOR_REFUSE;
}

/* The ticket string, out of whichever place it came from. */
static enum door_result take_ticket(struct door *d, const char *s, size_t len)
{
    const char *why = NULL;
    if (ticket_parse(&d->ticket, s, len, &why) < 0)
        return refuse(d, REASON_TICKET_MALFORMED, why);
    return DOOR_DONE;
}

/* ---- socks ---- */

static enum door_result socks_done(struct door *d)
{
    const struct socks5 *s = d->socks;
    const char *why = NULL;

    if (s->has_login)
        memcpy(d->login, s->login, sizeof s->login);
    if (s->address_type == 3 && ticket_looks_like(s->host, s->host_len))
        return take_ticket(d, s->host, s->host_len);
    if (s->port == 0)
        return refuse(d, REASON_REQUEST_MALFORMED, "port 0");
    if (hostport_parse_host(&d->target, s->host, s->host_len, &why) < 0)
        return refuse(d, REASON_REQUEST_MALFORMED, why);
    d->target.port = s->port;
    d->has_target = true;
    if (!s->has_login || s->password_len == 0)
        return refuse(d, REASON_TICKET_MISSING, "neither the destination nor the password is a ticket");
    return take_ticket(d, s->password, s->password_len);
}

static enum door_result feed_socks(struct door *d, const uint8_t *data, size_t len, size_t *used,
                                   struct buf *reply)
{
    for (;;) {
        uint8_t answer[SOCKS5_REPLY_MAX];
        size_t answer_len = 0, n = 0;
        int rc = socks5_feed(d->socks, data + *used, len - *used, &n, answer, &answer_len);
        *used += n;
        buf_append(reply, answer, answer_len);
        if (rc < 0) {
            d->socks_code = rc == ERR_UNSUPPORTED ? SOCKS5_COMMAND_NOT_SUPPORTED : 0;
            return refuse(d, REASON_REQUEST_MALFORMED, d->socks->why);
        }
        if (rc == SOCKS5_DONE)
            return socks_done(d);
        if (*used == len)
            return DOOR_MORE;
    }
}

/* ---- connect ---- */

static enum door_result connect_ticket(struct door *d, const struct http_head *head)
{
    size_t count = 0;
    const char *value = http_head_field(head, HTTP_NAME_PROXY_AUTHORIZATION, &count);
    if (count > 1)
        return refuse(d, REASON_REQUEST_MALFORMED, "Proxy-Authorization stands there more than once");
    if (value == NULL)
        return refuse(d, REASON_TICKET_MISSING, "no Proxy-Authorization field");

    const char *bearer = http_auth_param(value, "Bearer");
    if (bearer != NULL)
        return take_ticket(d, bearer, strlen(bearer));
    if (http_auth_param(value, "Basic") == NULL)
        return refuse(d, REASON_TICKET_MISSING, "Proxy-Authorization is neither Basic nor Bearer");
    char password[256];
    if (http_basic_decode(value, d->login, sizeof d->login, password, sizeof password) < 0)
        return refuse(d, REASON_TICKET_MALFORMED, "Basic credentials that cannot be decoded");
    enum door_result r = take_ticket(d, password, strlen(password));
    if (r == DOOR_REFUSE && password[0] == '\0' && ticket_looks_like(d->login, strlen(d->login)))
        d->detail = "the ticket stands in the place of the user name: it is the password";
    mem_wipe(password, sizeof password);
    return r;
}

static int on_head(void *owner, const struct http_head *head)
{
    struct door *d = owner;
    const char *why = NULL;
    const char *agent = http_head_field(head, HTTP_NAME_USER_AGENT, NULL);

    if (agent != NULL)
        mem_copy_text(d->agent, sizeof d->agent, agent);
    if (strcmp(head->method, "CONNECT") != 0) {
        refuse(d, REASON_REQUEST_MALFORMED, "this door takes CONNECT only");
        return ERR_UNSUPPORTED;
    }
    if (hostport_parse(&d->target, head->target, strlen(head->target), 0, &why) < 0) {
        refuse(d, REASON_REQUEST_MALFORMED, why);
        return ERR_SYNTAX;
    }
    d->has_target = true;
    connect_ticket(d, head);
    return 0;
}

static const struct http_events connect_events = {.on_head = on_head};

/* ---- activesync ---- */

static enum door_result activesync_ticket(struct door *d, const struct http_head *head)
{
    size_t count = 0;
    const char *ticket = http_head_field(head, HTTP_NAME_X_STA_TICKET, &count);
    if (count > 1)
        return refuse(d, REASON_REQUEST_MALFORMED, "X-STA-Ticket stands there more than once");
    if (ticket != NULL)
        return take_ticket(d, ticket, strlen(ticket));
    enum door_result r = connect_ticket(d, head);
    if (d->reason == REASON_TICKET_MISSING)
        d->detail = "neither X-STA-Ticket nor Proxy-Authorization";
    return r;
}

/* The head of the first request tells ticket and host; the relay reads the same bytes again when the way to
 * the mail server is open. */
static int on_activesync_head(void *owner, const struct http_head *head)
{
    struct door *d = owner;
    const char *agent = http_head_field(head, HTTP_NAME_USER_AGENT, NULL);
    const char *host = http_head_field(head, HTTP_NAME_HOST, NULL), *why = NULL;
    struct hostport called;

    d->head_done = true;
    d->is_head = strcmp(head->method, "HEAD") == 0;
    if (agent != NULL)
        mem_copy_text(d->agent, sizeof d->agent, agent);
    if (host != NULL) {
        size_t len = http_host_name_len(host);
        if (hostport_parse_host(&called, host, len, &why) < 0) {
            refuse(d, REASON_REQUEST_MALFORMED, "Host is no host name");
            return ERR_SYNTAX;
        }
        mem_copy_text(d->host, sizeof d->host, called.host);
    }
    activesync_ticket(d, head);
    return ERR_UNSUPPORTED; /* this reader has done its work */
}

static const struct http_events activesync_events = {.on_head = on_activesync_head};

static enum door_result feed_activesync(struct door *d, const uint8_t *data, size_t len, size_t *used)
{
    int rc = http_reader_feed(d->http, data, len, used);
    if (d->head_done)
        return d->reason == REASON_OK ? DOOR_DONE : DOOR_REFUSE;
    if (rc < 0) {
        d->is_head = false;
        return refuse(d, REASON_REQUEST_MALFORMED, http_reader_why(d->http));
    }
    return DOOR_MORE;
}

static enum door_result feed_connect(struct door *d, const uint8_t *data, size_t len, size_t *used)
{
    int rc = http_reader_feed(d->http, data, len, used);
    if (rc == HTTP_MORE)
        return DOOR_MORE;
    if (rc < 0 && d->reason == REASON_OK)
        return refuse(d, REASON_REQUEST_MALFORMED, http_reader_why(d->http));
    return d->reason == REASON_OK ? DOOR_DONE : DOOR_REFUSE;
}

/* ---- any ---- */

static enum door_result open_door(struct door *d, uint8_t first)
{
    if (first == 0x05 && (d->doors & 1u << DOOR_SOCKS) != 0) {
        d->kind = DOOR_SOCKS;
        d->socks = mem_alloc(sizeof *d->socks);
        socks5_init(d->socks);
    } else if (first >= 'A' && first <= 'Z' && (d->doors & 1u << DOOR_ACTIVESYNC) != 0 &&
               (first != 'C' || (d->doors & 1u << DOOR_CONNECT) == 0)) {
        /* of HTTP's methods that matter here only CONNECT begins so */
        d->kind = DOOR_ACTIVESYNC;
        d->http = http_reader_new(HTTP_REQUEST, &activesync_events, d);
    } else if (first >= 'A' && first <= 'Z' && (d->doors & 1u << DOOR_CONNECT) != 0) {
        d->kind = DOOR_CONNECT;
        d->http = http_reader_new(HTTP_REQUEST, &connect_events, d);
    } else if (first == 0x1a) {
        return refuse(d, REASON_PROTOCOL_CGP, NULL);
    } else if (first == 0x05) {
        return refuse(d, REASON_PROTOCOL_UNKNOWN, "SOCKS5, and the socks door is closed on this listener");
    } else if (first >= 'A' && first <= 'Z') {
        return refuse(d, REASON_PROTOCOL_UNKNOWN,
                      "HTTP, and the doors connect and activesync are closed on this listener");
    } else if (first == 0x04) {
        return refuse(d, REASON_PROTOCOL_UNKNOWN, "SOCKS4, and only SOCKS5 is spoken here");
    } else if (first == 0x16) {
        return refuse(d, REASON_PROTOCOL_UNKNOWN, "TLS inside TLS without a request in front");
    } else {
        return refuse(d, REASON_PROTOCOL_UNKNOWN, "neither SOCKS5 nor HTTP");
    }
    return DOOR_MORE;
}

enum door_result door_feed(struct door *d, const uint8_t *data, size_t len, size_t *used, struct buf *reply)
{
    *used = 0;
    if (len == 0)
        return DOOR_MORE;
    if (d->kind < 0) {
        enum door_result r = open_door(d, data[0]);
        if (r != DOOR_MORE)
            return r;
    }
    switch (d->kind) {
    case DOOR_SOCKS:
        return feed_socks(d, data, len, used, reply);
    case DOOR_CONNECT:
        return feed_connect(d, data, len, used);
    default:
        return feed_activesync(d, data, len, used);
    }
}

int door_kind(const struct door *d)
{
    return d->kind;
}

enum reason door_reason(const struct door *d)
{
    return d->reason;
}

const char *door_detail(const struct door *d)
{
    return d->detail;
}

const struct hostport *door_target(const struct door *d)
{
    return d->has_target ? &d->target : NULL;
}

const struct ticket_string *door_ticket(const struct door *d)
{
    return &d->ticket;
}

const char *door_login(const struct door *d)
{
    return d->login;
}

const char *door_agent(const struct door *d)
{
    return d->agent;
}

const char *door_host(const struct door *d)
{
    return d->host;
}

void door_http_refusal(enum reason r, const char *detail, struct buf *reply)
{
    const struct answer a = {.reason = r, .detail = detail};
    answer_refusal(reply, &a);
}

void door_answer(const struct door *d, enum reason r, const char *detail, struct buf *reply)
{
    if (d->kind == DOOR_CONNECT) {
        if (r == REASON_OK)
            buf_append_str(reply, "HTTP/1.1 200 Connection established\r\n\r\n");
        else if (reason_info(r)->http != 0)
            door_http_refusal(r, detail, reply);
    } else if (d->kind == DOOR_ACTIVESYNC) {
        const struct answer a = {.reason = r, .detail = detail, .reverse = true, .head = d->is_head};
        if (r != REASON_OK && reason_info(r)->http != 0)
            answer_refusal(reply, &a);
    } else if (d->kind == DOOR_SOCKS) {
        uint8_t answer[SOCKS5_REPLY_MAX];
        uint8_t code = d->socks_code != 0 ? d->socks_code : reason_info(r)->socks;
        if (r == REASON_OK || code != 0)
            buf_append(reply, answer, socks5_reply(d->socks, code, answer));
    }
}
