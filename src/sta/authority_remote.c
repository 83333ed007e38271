/* Asking a remote authority: STA XML over HTTP, docs/sta-protocol.md. Called by authority_client.c; every way
 * in which it can go wrong has a name of its own. */
#include <stdlib.h>
#include <string.h>

#include "authority_impl.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"

#define QUEUE_MAX 10000 /* questions that wait for a connection, in one loop */
#define KEEP_MS                                                                                              \
    4000 /* below what servers wait before they close an idle connection, so that they never do it under     \
            a question */
#define ANSWER_MAX STAXML_BYTES_MAX

struct httpc *authority_remote_client(const struct authority_remote *r, struct netloop *loop,
                                      struct resolver *resolver)
{
    const struct httpc_options options = {
        .origin = r->origin,
        .tls = r->ctx,
        .resolver = resolver,
        .connections_max = r->connections,
        .queue_max = QUEUE_MAX,
        .connect_ms = (uint64_t)r->timeout_ms,
        .answer_ms = (uint64_t)r->timeout_ms,
        .keep_ms = KEEP_MS,
        .deadline_list = AUTHORITY_DEADLINE_LIST,
        .body_max = ANSWER_MAX,
    };
    return httpc_new(loop, &options);
}

/* ---- what an answer means ---- */

static enum authority_fail of_http(enum httpc_result r)
{
    static const enum authority_fail map[HTTPC_RESULTS] = {
        [HTTPC_OK] = AUTHORITY_OK,
        [HTTPC_UNRESOLVED] = AUTHORITY_UNRESOLVED,
        [HTTPC_REFUSED] = AUTHORITY_REFUSED,
        [HTTPC_CONNECT_TIMEOUT] = AUTHORITY_CONNECT_TIMEOUT,
        [HTTPC_TLS] = AUTHORITY_TLS,
        [HTTPC_NOT_TLS] = AUTHORITY_NOT_TLS,
        [HTTPC_NOT_HTTP] = AUTHORITY_NOT_HTTP,
        [HTTPC_CLOSED] = AUTHORITY_CLOSED,
        [HTTPC_TIMEOUT] = AUTHORITY_TIMEOUT,
        [HTTPC_TOO_BIG] = AUTHORITY_BAD_XML,
        [HTTPC_OVERLOADED] = AUTHORITY_OVERLOADED,
    };
    return map[r];
}

static enum authority_fail of_status(unsigned status)
{
    switch (status) {
    case 200:
        return AUTHORITY_BAD_XML;
    case 401:
        return AUTHORITY_HTTP_401;
    case 403:
        return AUTHORITY_HTTP_403;
    case 404:
        return AUTHORITY_HTTP_404;
    default:
        return status >= 500 ? AUTHORITY_HTTP_5XX : status >= 400 ? AUTHORITY_HTTP_4XX : AUTHORITY_HTTP_OTHER;
    }
}

/* An error that the authority named. *verdict: what it means for the ticket, where it is about the ticket. */
static enum authority_fail of_error(enum authority_question q, enum staxml_error e, enum redeem *verdict)
{
    switch (e) {
    case STAXML_ERROR_NONE:
        *verdict = REDEEM_OK;
        return AUTHORITY_OK;
    case STAXML_ERROR_NOT_REFRESHABLE: /* it lives, and nothing has happened to it; no word of redeeming it */
        *verdict = REDEEM_OK;
        return q == AUTHORITY_REFRESH ? AUTHORITY_OK : AUTHORITY_BAD_ANSWER;
    case STAXML_ERROR_TICKET_UNKNOWN:
        *verdict = REDEEM_UNKNOWN;
        return AUTHORITY_OK;
    case STAXML_ERROR_TICKET_EXPIRED:
        *verdict = REDEEM_EXPIRED;
        return AUTHORITY_OK;
    case STAXML_ERROR_TICKET_USED:
        *verdict = REDEEM_USED;
        return AUTHORITY_OK;
    case STAXML_ERROR_TICKET_REVOKED:
        *verdict = REDEEM_REVOKED;
        return AUTHORITY_OK;
    case STAXML_ERROR_ACCESS_DENIED:
        return AUTHORITY_ACCESS_DENIED;
    case STAXML_ERROR_SSL_REQUIRED:
        return AUTHORITY_SSL_REQUIRED;
    case STAXML_ERROR_BAD_REQUEST:
    case STAXML_ERROR_UNSUPPORTED:
        return AUTHORITY_BAD_ANSWER;
    default:
        return AUTHORITY_ERROR;
    }
}

static enum staxml_kind answer_kind(enum authority_question q)
{
    return q == AUTHORITY_PROBE     ? STAXML_RESPONSE_AUTHORITY_ID
           : q == AUTHORITY_REFRESH ? STAXML_RESPONSE_REFRESH
                                    : STAXML_RESPONSE_DATA;
}

/* Reads the answer to a question. AUTHORITY_OK with *m (to be freed) and *verdict, or what went wrong. */
static enum authority_fail read_answer(const struct authority_request *r, const struct httpc_answer *answer,
                                       struct staxml *m, enum redeem *verdict)
{
    *m = (struct staxml){0};
    if (answer->result != HTTPC_OK)
        return of_http(answer->result);
    /* errors come with XML, too: what it says is better than the status */
    if (staxml_parse(m, (const char *)answer->body, answer->len, NULL) < 0)
        return of_status(answer->status);
    enum authority_fail fail = AUTHORITY_BAD_ANSWER;
    if (m->kind == answer_kind(r->question) ||
        (m->kind == STAXML_RESPONSE_ERROR && m->error != STAXML_ERROR_NONE))
        fail = of_error(r->question, m->error, verdict);
    if (fail == AUTHORITY_OK && answer->status != 200)
        fail = of_status(answer->status);
    return fail;
}

/* The address that a ticket leads to is what a gateway has to know of its values. */
static void keep_address_only(struct record *rec, struct record_value *values)
{
    size_t kept = 0;
    for (size_t i = 0; i < rec->value_count; i++) {
        if (strcmp(values[i].name, "ICAAddress") == 0)
            values[kept++] = values[i];
    }
    rec->value_count = kept;
}

/* What the answer told, as a record; given. A message has room for more text than a record. */
static struct record *make_record(const struct authority_request *r, const struct staxml *m)
{
    struct staxml_conninfo info = {0};
    struct record_value values[STAXML_VALUES_MAX];
    uint8_t data[RECORD_BYTES_MAX];
    const struct staxml_facts *f = &m->facts;

    for (size_t i = 0; i < m->value_count; i++) {
        values[i] = (struct record_value){m->values[i].name, m->values[i].value};
        if (strcmp(m->values[i].name, "XData") == 0)
            staxml_parse_conninfo(&info, m->values[i].value, strlen(m->values[i].value));
    }
    struct record rec = {
        .class = f->class != NULL && strcmp(f->class, "session") == 0 ? TICKET_SESSION : TICKET_BACKGROUND,
        .issued_ms = f->issued_ms != 0 ? f->issued_ms : r->now_ms,
        .expires_ms = f->expires_ms != 0 ? f->expires_ms : INT64_MAX,
        .refresh_ms = f->refresh_ms,
        .user = f->user != NULL ? f->user : info.user,
        .device = f->device != NULL ? f->device : "",
        .service_count = f->service_count,
        .services = f->services,
        .value_count = m->value_count,
        .values = values,
    };
    memcpy(rec.hash, r->hash, RECORD_HASH);
    int len = record_encode(&rec, data);
    if (len < 0) {
        keep_address_only(&rec, values);
        len = record_encode(&rec, data);
    }
    return len < 0 ? NULL : record_decode(r->hash, data, (size_t)len);
}

/* One exchange, with the fields that the real gateway's log has for it. */
static void log_exchange(const struct authority_request *r, const struct authority_answer *answer)
{
    static const char *const types[] = {[AUTHORITY_REDEEM] = "ResponseData",
                                        [AUTHORITY_REFRESH] = "ResponseTicketRefresh",
                                        [AUTHORITY_PROBE] = "ResponseAuthorityID"};
    struct log_line l;
    log_begin(&l, LOG_DEBUG, "sta_response");
    log_str(&l, "sta_server", r->client->authority->where);
    log_str(&l, "type", types[r->question]);
    log_str(&l, "result", authority_fail_name(answer->fail));
    log_end(&l);
}

static void on_answer(void *owner, const struct httpc_answer *http)
{
    struct authority_request *r = owner;
    struct authority_client *c = r->client;
    struct authority_answer answer = {.result = REDEEM_DOWN};
    struct staxml m;

    r->http = NULL;
    answer.fail = read_answer(r, http, &m, &answer.result);
    if (answer.fail == AUTHORITY_OK && r->question == AUTHORITY_PROBE && m.authority[0] == '\0')
        answer.fail = AUTHORITY_BAD_ANSWER;
    if (answer.fail == AUTHORITY_OK && r->question != AUTHORITY_PROBE && answer.result == REDEEM_OK &&
        (answer.ticket = make_record(r, &m)) == NULL)
        answer.fail = AUTHORITY_BAD_ANSWER;
    if (answer.fail != AUTHORITY_OK)
        answer.result = REDEEM_DOWN;
    else
        atomic_fetch_add_explicit(&c->authority->counters.responses, 1, memory_order_relaxed);
    log_exchange(r, &answer);
    if (answer.fail != AUTHORITY_OVERLOADED) /* that is ours, and says nothing of it */
        authority_note(c->authority, answer.fail,
                       r->question == AUTHORITY_PROBE && m.authority[0] ? m.authority : NULL, http->detail);
    bool many_uses = answer.ticket != NULL && answer.ticket->class == TICKET_BACKGROUND;
    if (c->cache != NULL && many_uses && r->question == AUTHORITY_REDEEM)
        authority_cache_put(c->cache, answer.ticket, netloop_now_ms(c->loop));
    staxml_free(&m);
    if (r->question != AUTHORITY_PROBE) {
        authority_request_finish(r, &answer);
        return;
    }
    authority_cb *cb = r->cb;
    void *cb_owner = r->owner;
    authority_request_free(r);
    cb(cb_owner, &answer);
}

void authority_remote_ask(struct authority_request *r)
{
    static const enum staxml_kind kinds[] = {[AUTHORITY_REDEEM] = STAXML_REQUEST_DATA,
                                             [AUTHORITY_REFRESH] = STAXML_REQUEST_REFRESH,
                                             [AUTHORITY_PROBE] = STAXML_REQUEST_AUTHORITY_ID};
    const struct authority_remote *remote = r->client->authority->remote;
    struct staxml m = {.kind = kinds[r->question], .version = "4.0", .ticket_version = r->version};
    struct buf body;

    memcpy(m.ticket, r->ref.value, sizeof m.ticket);
    buf_init(&body, STAXML_BYTES_MAX);
    staxml_write(&body, &m);
    mem_wipe(m.ticket, sizeof m.ticket);
    atomic_fetch_add_explicit(&r->client->authority->counters.requests, 1, memory_order_relaxed);
    /* a redemption may spend its ticket: it is not sent twice */
    r->http = httpc_send(r->client->http, "POST", remote->path, remote->fields, "text/xml", body.data,
                         body.len, r->question != AUTHORITY_REDEEM, on_answer, r);
    mem_wipe(body.data, body.len);
    buf_deinit(&body);
}
