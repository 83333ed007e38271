/* The STA service: a message comes in, the store is asked, a message goes out, and one line goes to the log.
 * Called by the HTTP server; knows nothing of gateways and policies. */
#include "sta/xmlservice.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/listener.h"
#include "proto/hostport.h"
#include "proto/staxml.h"

/* What an answer takes at most, but for TicketData: names of 255 bytes may all have to be escaped. The one
 * with a ticket in it, a secret, has none. */
#define ANSWER_BYTES  4096
#define SERVICE_BYTES (HOSTPORT_TEXT + 64)

struct exchange { /* one request and its answer */
    struct xmlservice *s;
    struct httpd_request *r;
    struct staxml in;      /* owned */
    struct staxml out;     /* memory is not its own: points into in, record, and below */
    struct record *record; /* owned: made or redeemed */
    struct deadline delay;
    const char *user; /* for the log; borrowed of in or record */
    struct staxml_conninfo info;
    bool injected;
};

static const char *const kind_names[STAXML_KINDS] = {
    [STAXML_REQUEST_TICKET] = "RequestTicket",
    [STAXML_REQUEST_DATA] = "RequestData",
    [STAXML_REQUEST_REFRESH] = "RequestTicketRefresh",
    [STAXML_REQUEST_AUTHORITY_ID] = "RequestAuthorityID",
};

/* ---- answering ---- */

static unsigned status_of(enum staxml_error e)
{
    switch (e) {
    case STAXML_ERROR_BAD_REQUEST:
        return 400;
    case STAXML_ERROR_ACCESS_DENIED:
    case STAXML_ERROR_SSL_REQUIRED:
        return 403;
    case STAXML_ERROR_BUSY:
        return 503;
    default:
        return 200;
    }
}

static void log_exchange(const struct exchange *x)
{
    struct log_line l;
    char client[ADDRESS_TEXT], fingerprint[RECORD_FINGERPRINT];
    log_begin(&l, LOG_INFO, "sta");
    if (l.off)
        return;
    log_str(&l, "message", kind_names[x->in.kind]);
    log_str(&l, "result", x->out.error == STAXML_ERROR_NONE ? "ok" : staxml_error_name(x->out.error));
    log_str(&l, "authority", authority_id(authority_client_authority(x->s->client)));
    if (x->record != NULL) {
        record_fingerprint(fingerprint, x->record->hash);
        log_str(&l, "ticket", fingerprint);
        log_str(&l, "class", ticket_class_name(x->record->class));
        log_str(&l, "device", x->record->device[0] ? x->record->device : NULL);
    }
    log_str(&l, "user", x->user != NULL && x->user[0] ? x->user : NULL);
    log_str(&l, "application", x->info.application[0] ? x->info.application : NULL);
    address_format(httpd_peer(x->r), client);
    log_str(&l, "client", client);
    if (x->injected)
        log_bool(&l, "injected", true);
    log_end(&l);
}

/* Sends what was written, and wipes it. */
static void send_body(struct httpd_request *r, unsigned status, const char *fields, struct buf *body)
{
    httpd_answer(r, status, fields, "text/xml; charset=utf-8", body->data, body->len);
    mem_wipe(body->data, body->len);
    buf_deinit(body);
}

/* Answers and ends the exchange. */
static void finish(struct exchange *x, enum staxml_error e)
{
    struct authority_counters *n = &authority_client_authority(x->s->client)->counters;
    struct buf body;
    buf_init(&body, STAXML_BYTES_MAX);
    /* at once: growing would leave copies behind that nobody wipes */
    buf_reserve(&body, ANSWER_BYTES + x->out.facts.service_count * SERVICE_BYTES);
    x->out.error = e;
    if (staxml_write(&body, &x->out) <
        0) { /* a ticket of another issuer, with more text than an answer takes */
        x->out.error = e = STAXML_ERROR_INTERNAL;
        staxml_write(&body, &x->out);
    }
    atomic_fetch_add_explicit(&n->served[e != STAXML_ERROR_NONE], 1, memory_order_relaxed);
    if (x->injected)
        atomic_fetch_add_explicit(&n->injected, 1, memory_order_relaxed);
    log_exchange(x);
    send_body(x->r, status_of(e), NULL, &body);
    struct xmlservice *s = x->s;
    deadline_clear(&x->delay);
    mem_wipe(x->out.ticket, sizeof x->out.ticket);
    staxml_free(&x->in);
    free(x->record);
    free(x);
    if (--s->open == 0 && s->idle != NULL)
        s->idle(s->owner);
}

static enum staxml_error of_verdict(enum redeem r)
{
    static const enum staxml_error map[] = {
        [REDEEM_OK] = STAXML_ERROR_NONE,
        [REDEEM_UNKNOWN] = STAXML_ERROR_TICKET_UNKNOWN,
        [REDEEM_EXPIRED] = STAXML_ERROR_TICKET_EXPIRED,
        [REDEEM_USED] = STAXML_ERROR_TICKET_USED,
        [REDEEM_REVOKED] = STAXML_ERROR_TICKET_REVOKED,
        [REDEEM_DOWN] = STAXML_ERROR_INTERNAL,
    };
    return map[r];
}

/* What our own gateways want to know of a ticket. */
static void fill_facts(struct staxml_facts *f, const struct record *r)
{
    *f = (struct staxml_facts){
        .class = ticket_class_name(r->class),
        .user = r->user[0] ? r->user : NULL,
        .device = r->device[0] ? r->device : NULL,
        .issued_ms = r->issued_ms,
        .expires_ms = r->expires_ms,
        .refresh_ms = r->refresh_ms,
        .service_count = r->service_count,
    };
    assert(r->service_count <= STAXML_SERVICES_MAX);
    for (size_t i = 0; i < r->service_count; i++)
        f->services[i] = r->services[i];
}

static void fill_values(struct staxml *m, const struct record *r)
{
    assert(r->value_count <= STAXML_VALUES_MAX);
    m->value_count = r->value_count;
    for (size_t i = 0; i < r->value_count; i++)
        m->values[i] = (struct staxml_value){r->values[i].name, r->values[i].value};
}

/* ---- RequestTicket ---- */

/* A ticket that never was has no place in the log. */
static void drop_record(struct exchange *x)
{
    mem_wipe(x->out.ticket, sizeof x->out.ticket);
    free(x->record);
    x->record = NULL;
}

static void on_issued(void *owner, int rc)
{
    struct exchange *x = owner;
    struct authority *a = authority_client_authority(x->s->client);
    if (rc == 0) {
        const char *id = authority_id(a);
        snprintf(x->out.authority, sizeof x->out.authority, "%s", id != NULL ? id : "");
        fill_facts(&x->out.facts, x->record);
        atomic_fetch_add_explicit(&a->counters.issued, 1, memory_order_relaxed);
        finish(x, STAXML_ERROR_NONE);
        return;
    }
    drop_record(x);
    finish(x, rc == ERR_LIMIT                             ? STAXML_ERROR_LIMIT
              : rc == ERR_STORE_FULL || rc == ERR_TOO_BIG ? STAXML_ERROR_BUSY
                                                          : STAXML_ERROR_INTERNAL);
}

/* Who it is for: our own extension says it, or XData as real issuers fill it. */
static void find_user(struct exchange *x)
{
    for (size_t i = 0; i < x->in.value_count; i++) {
        const char *value = x->in.values[i].value;
        if (strcmp(x->in.values[i].name, "XData") == 0)
            staxml_parse_conninfo(&x->info, value, strlen(value));
    }
    x->user = x->in.facts.user != NULL ? x->in.facts.user : x->info.user;
}

/* Whether whoever redeems it can be told all of it: escaped, text is up to six times as long. */
static bool fits_an_answer(const struct record *r)
{
    struct staxml m = {.kind = STAXML_RESPONSE_DATA};
    struct buf body;
    buf_init(&body, STAXML_BYTES_MAX);
    fill_facts(&m.facts, r);
    fill_values(&m, r);
    int rc = staxml_write(&body, &m);
    buf_deinit(&body);
    return rc == 0;
}

static void request_ticket(struct exchange *x)
{
    const struct staxml_facts *f = &x->in.facts;
    struct record_value values[STAXML_VALUES_MAX];
    const char *why;

    find_user(x);
    if (x->in.ticket_types == 0) {
        finish(x, STAXML_ERROR_UNSUPPORTED);
        return;
    }
    for (size_t i = 0; i < x->in.value_count; i++)
        values[i] = (struct record_value){x->in.values[i].name, x->in.values[i].value};
    struct issue_wish wish = {
        .class = f->class == NULL                      ? x->s->requested_class
                 : strcmp(f->class, "background") == 0 ? TICKET_BACKGROUND
                                                       : TICKET_SESSION,
        .refreshable = x->in.refreshable,
        .lifetime_ms = f->lifetime_ms,
        .user = x->user,
        .device = f->device,
        .service_count = f->service_count,
        .services = f->services,
        .value_count = x->in.value_count,
        .values = values,
    };
    x->record = issue_new(&wish, &x->s->rules, clock_wall_ms(), x->out.ticket, &why);
    if (x->record == NULL || !fits_an_answer(x->record)) {
        drop_record(x);
        finish(x, STAXML_ERROR_BAD_REQUEST);
        return;
    }
    /* the newest type that the issuer takes */
    x->out.ticket_types = (x->in.ticket_types & STAXML_TYPE_V4) != 0 ? STAXML_TYPE_V4 : STAXML_TYPE_V1;
    x->out.ticket_version = x->out.ticket_types == STAXML_TYPE_V4 ? 40 : 10;
    store_client_issue(authority_client_store(x->s->client), x->record, on_issued, x);
}

/* ---- RequestData, RequestTicketRefresh ---- */

static void answer_ticket(struct exchange *x, enum redeem verdict, struct record *record)
{
    x->record = record;
    if (record != NULL) {
        x->injected |= record->injected && verdict != REDEEM_OK;
        x->user = record->user;
    }
    if (verdict != REDEEM_OK) {
        finish(x, of_verdict(verdict));
        return;
    }
    fill_facts(&x->out.facts, x->record);
    if (x->in.kind == STAXML_REQUEST_REFRESH) {
        finish(x, record->refresh_ms > 0 ? STAXML_ERROR_NONE : STAXML_ERROR_NOT_REFRESHABLE);
        return;
    }
    fill_values(&x->out, record);
    for (size_t i = 0; i < record->value_count; i++) {
        if (strcmp(record->values[i].name, "XData") == 0)
            staxml_parse_conninfo(&x->info, record->values[i].value, strlen(record->values[i].value));
    }
    finish(x, STAXML_ERROR_NONE);
}

static void on_redeemed(void *owner, enum redeem verdict, struct record *record, const char *detail)
{
    (void)detail; /* the store has logged what failed */
    answer_ticket(owner, verdict, record);
}

static void request_data(struct exchange *x)
{
    uint8_t hash[RECORD_HASH];
    enum redeem verdict = REDEEM_DOWN;
    struct record *record = NULL;
    struct store_client *store = authority_client_store(x->s->client);

    record_hash(hash, x->in.ticket, strlen(x->in.ticket));
    if (x->in.kind == STAXML_REQUEST_REFRESH) {
        store_client_refresh(store, hash, clock_wall_ms(), on_redeemed, x);
        return;
    }
    if (store_client_redeem(store, hash, clock_wall_ms(), &verdict, &record, on_redeemed, x) == NULL)
        answer_ticket(x, verdict, record);
}

/* ---- a message ---- */

static void dispatch(struct exchange *x)
{
    const char *id = authority_id(authority_client_authority(x->s->client));
    switch (x->in.kind) {
    case STAXML_REQUEST_TICKET:
        request_ticket(x);
        break;
    case STAXML_REQUEST_DATA:
    case STAXML_REQUEST_REFRESH:
        request_data(x);
        break;
    default:
        snprintf(x->out.authority, sizeof x->out.authority, "%s", id != NULL ? id : "");
        finish(x, STAXML_ERROR_NONE);
        break;
    }
}

static void on_delay_over(struct deadline *d)
{
    dispatch(list_entry(d, struct exchange, delay));
}

/* The administrator's faults come before everything else. Whether the exchange goes on by itself. */
static bool pass_faults(struct exchange *x)
{
    struct authority_faults *f = &authority_client_authority(x->s->client)->faults;
    int64_t slow_ms = atomic_load(&f->slow_ms);
    if (atomic_load(&f->error)) {
        x->injected = true;
        finish(x, STAXML_ERROR_INTERNAL);
        return false;
    }
    x->injected = slow_ms > 0 || atomic_load(&f->id) != NULL;
    if (slow_ms <= 0)
        return true;
    deadline_set(x->s->loop, &x->delay, x->s->delay_list, (uint64_t)slow_ms);
    return false;
}

static void refuse(struct httpd_request *r, unsigned status, enum staxml_error e, const char *text)
{
    const struct staxml m = {.kind = STAXML_RESPONSE_ERROR, .version = "4.0", .error = e, .error_text = text};
    struct buf body;
    buf_init(&body, STAXML_BYTES_MAX);
    staxml_write(&body, &m);
    send_body(r, status, status == 405 ? "Allow: POST\r\n" : NULL, &body);
}

/* Log of what did not become an exchange. */
static void log_not_answered(const struct xmlservice *s, const struct httpd_request *r)
{
    struct log_line l;
    char client[ADDRESS_TEXT];
    log_begin(&l, LOG_INFO, "sta");
    log_str(&l, "result", "dropped");
    log_bool(&l, "injected", true);
    log_str(&l, "authority", authority_id(authority_client_authority(s->client)));
    address_format(httpd_peer(r), client);
    log_str(&l, "client", client);
    log_end(&l);
}

static void log_refused(const struct xmlservice *s, const struct httpd_request *r, enum staxml_error e,
                        const char *detail)
{
    struct log_line l;
    char client[ADDRESS_TEXT];
    log_begin(&l, LOG_INFO, "sta");
    log_str(&l, "result", staxml_error_name(e));
    log_str(&l, "detail", detail);
    log_str(&l, "authority", authority_id(authority_client_authority(s->client)));
    address_format(httpd_peer(r), client);
    log_str(&l, "client", client);
    log_end(&l);
    atomic_fetch_add_explicit(&authority_client_authority(s->client)->counters.served[1], 1,
                              memory_order_relaxed);
}

static bool may_ask(struct xmlservice *s, struct httpd_request *r)
{
    enum access_result access = access_check_page(&s->access, r);
    if (access == ACCESS_OK)
        access = access_check_peer(&s->access, r);
    if (access == ACCESS_OK)
        return true;
    enum staxml_error e = access == ACCESS_SSL ? STAXML_ERROR_SSL_REQUIRED : STAXML_ERROR_ACCESS_DENIED;
    log_refused(s, r, e, access_sentence(access));
    refuse(r, 403, e, NULL); /* why is for the log: who may not ask is not told more */
    return false;
}

void xmlservice_handle(struct xmlservice *s, struct httpd_request *r)
{
    const char *type = httpd_field(r, HTTP_NAME_CONTENT_TYPE, NULL), *why = NULL;
    size_t len;
    const uint8_t *body = httpd_body(r, &len);

    if (atomic_load(&authority_client_authority(s->client)->faults.down)) {
        atomic_fetch_add(&authority_client_authority(s->client)->counters.injected, 1);
        log_not_answered(s, r);
        httpd_drop(r);
        return;
    }
    if (!may_ask(s, r))
        return;
    if (strcmp(httpd_method(r), "POST") != 0) {
        log_refused(s, r, STAXML_ERROR_BAD_REQUEST, "only POST is served");
        refuse(r, 405, STAXML_ERROR_BAD_REQUEST, "Only POST is served here.");
        return;
    }
    if (!access_type_is(type, "text/xml") && !access_type_is(type, "application/xml")) {
        log_refused(s, r, STAXML_ERROR_BAD_REQUEST, "Content-Type is not text/xml");
        refuse(r, 415, STAXML_ERROR_BAD_REQUEST, "The request's Content-Type is not text/xml.");
        return;
    }
    struct exchange *x = mem_zalloc(sizeof *x);
    int rc = staxml_parse(&x->in, (const char *)body, len, &why);
    if (rc < 0 || kind_names[x->in.kind] == NULL) {
        enum staxml_error e =
            rc == ERR_UNSUPPORTED || rc == 0 ? STAXML_ERROR_UNSUPPORTED : STAXML_ERROR_BAD_REQUEST;
        log_refused(s, r, e, rc == 0 ? "the message is an answer, not a request" : why);
        refuse(r, status_of(e), e, NULL);
        staxml_free(&x->in);
        free(x);
        return;
    }
    x->s = s;
    x->r = r;
    s->open++;
    deadline_init(&x->delay, on_delay_over);
    static const enum staxml_kind answers[] = {[STAXML_REQUEST_TICKET] = STAXML_RESPONSE_TICKET,
                                               [STAXML_REQUEST_DATA] = STAXML_RESPONSE_DATA,
                                               [STAXML_REQUEST_REFRESH] = STAXML_RESPONSE_REFRESH,
                                               [STAXML_REQUEST_AUTHORITY_ID] = STAXML_RESPONSE_AUTHORITY_ID};
    x->out.kind = answers[x->in.kind];
    memcpy(x->out.version, x->in.version, sizeof x->out.version);
    if (pass_faults(x))
        dispatch(x);
}

void xmlservice_refuse(unsigned status, const char *why, const char **type, char body[1024])
{
    const struct staxml m = {
        .kind = STAXML_RESPONSE_ERROR,
        .version = "4.0",
        .error = why == httpd_wants_tls ? STAXML_ERROR_SSL_REQUIRED : STAXML_ERROR_BAD_REQUEST,
        .error_text = status == 413 ? "The request is larger than is taken here." : NULL};
    struct buf xml;
    buf_init(&xml, 1023);
    staxml_write(&xml, &m);
    snprintf(body, 1024, "%.*s", (int)xml.len, (const char *)xml.data);
    buf_deinit(&xml);
    *type = "text/xml; charset=utf-8";
}
