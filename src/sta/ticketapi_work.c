/* What the ticket API does once it knows who asks: issue, list, show, revoke. Called by ticketapi.c. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "ticketapi_impl.h"

#define PAGE_DEFAULT 100

/* ---- documents ---- */

static void set(json_t *d, const char *key, json_t *value)
{
    if (value == NULL || json_object_set_new(d, key, value) < 0)
        mem_fail();
}

/* Names may hold any bytes when they came from an LDAP directory or an issuer; JSON is UTF-8. */
static json_t *text_of(const char *s)
{
    json_t *j = json_string(s);
    return j != NULL ? j : json_string("(not UTF-8)");
}

static json_t *time_of(int64_t ms)
{
    char text[CLOCK_TEXT];
    if (ms == INT64_MAX)
        return json_null();
    clock_format(text, ms);
    return json_string(text);
}

static json_t *ticket_document(const struct ticketapi *t, const struct authority *a, const struct record *r)
{
    json_t *d = json_object(), *services = json_array(), *own = json_array();
    char fingerprint[RECORD_FINGERPRINT], lifetime[DURATION_TEXT];
    const char *id = authority_id(a);

    record_fingerprint(fingerprint, r->hash);
    duration_format(lifetime, r->expires_ms - r->issued_ms);
    set(d, "fingerprint", json_string(fingerprint));
    set(d, "authority", id != NULL ? json_string(id) : json_null());
    set(d, "class", json_string(ticket_class_name(r->class)));
    set(d, "state", json_string(ticket_state_name(record_state_at(r, clock_wall_ms()))));
    set(d, "user", text_of(r->user));
    set(d, "device", text_of(r->device));
    if (t->gateway != NULL)
        set(d, "gateway", json_string(t->gateway));
    for (size_t i = 0; i < r->service_count; i++) {
        json_array_append_new(services, text_of(r->services[i]));
        json_array_append_new(own, text_of(r->services[i]));
    }
    for (size_t i = 0; r->service_count == 0 && i < t->service_count; i++)
        json_array_append_new(services, json_string(t->services[i]));
    set(d, "services", services);
    if (r->service_count > 0)
        set(d, "ownServices", own);
    else
        json_decref(own);
    set(d, "lifetime", json_string(lifetime));
    set(d, "issued", time_of(r->issued_ms));
    set(d, "expires", time_of(r->expires_ms));
    if (r->refresh_ms > 0)
        set(d, "refreshable", json_true());
    if (r->ended_ms != 0)
        set(d, "ended", time_of(r->ended_ms));
    if (r->injected)
        set(d, "injected", json_true());
    return d;
}

/* ---- issue ---- */

static const char *string_member(const json_t *body, const char *key, bool *good)
{
    const json_t *j = json_object_get(body, key);
    if (j == NULL || json_is_null(j))
        return NULL;
    /* a NUL inside would end the text early */
    *good &= json_is_string(j) && strlen(json_string_value(j)) == json_string_length(j);
    return *good ? json_string_value(j) : NULL;
}

static bool list_member(const json_t *body, const char *key, const char **out, size_t *count)
{
    const json_t *j = json_object_get(body, key), *item;
    size_t i;
    *count = 0;
    if (j == NULL || json_is_null(j))
        return true;
    if (!json_is_array(j) || json_array_size(j) > RECORD_SERVICES_MAX)
        return false;
    json_array_foreach((json_t *)(uintptr_t)j, i, item)
    {
        if (!json_is_string(item) || strlen(json_string_value(item)) != json_string_length(item))
            return false;
        out[(*count)++] = json_string_value(item);
    }
    return true;
}

/* A member that is not known is a mistake that would otherwise be found much later. */
static const char *unknown_member(const json_t *body, bool admin)
{
    static const char *const names[] = {"device", "class", "lifetime", "services", "refreshable", NULL};
    static const char *const admins[] = {"user", "authority", "icaAddress", NULL};
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)body, key, value)
    {
        bool known = false;
        for (size_t i = 0; names[i] != NULL; i++)
            known |= strcmp(names[i], key) == 0;
        for (size_t i = 0; admin && admins[i] != NULL; i++)
            known |= strcmp(admins[i], key) == 0;
        if (!known)
            return key;
    }
    return NULL;
}

static struct authority_client *client_for(const struct ticketapi *t, const char *id)
{
    for (size_t i = 0; i < t->client_count; i++) {
        const char *own = authority_id(authority_client_authority(t->clients[i]));
        if (authority_client_store(t->clients[i]) != NULL &&
            (id == NULL || (own != NULL && strcmp(own, id) == 0)))
            return t->clients[i];
    }
    return NULL;
}

static void on_issued(void *owner, int rc)
{
    struct api_call *c = owner;
    struct authority *a = authority_client_authority(c->t->clients[c->at]);
    const char *id = authority_id(a);
    char string[TICKET_STRING_MAX];

    if (rc < 0 || id == NULL) {
        mem_wipe(c->value, sizeof c->value);
        api_store_failed(c, rc);
        return;
    }
    struct ticket_string t = {.version = 40, .count = 1};
    snprintf(t.ref[0].authority, sizeof t.ref[0].authority, "%s", id);
    memcpy(t.ref[0].value, c->value, sizeof t.ref[0].value);
    ticket_format(&t, string);
    json_t *ticket = ticket_document(c->t, a, c->record);
    set(ticket, "ticket", json_string(string));
    mem_wipe(&t, sizeof t);
    mem_wipe(string, sizeof string);
    mem_wipe(c->value, sizeof c->value);
    atomic_fetch_add_explicit(&a->counters.issued, 1, memory_order_relaxed);
    c->injected = atomic_load(&a->faults.id) != NULL; /* that is not the ID it should name */
    api_done(c, 201, "issued", c->record, ticket);
}

/* Reads the wish; false with *message. */
static bool read_wish(struct api_call *c, struct issue_wish *w, const char **services,
                      struct record_value *value, const char **message)
{
    bool good = true;
    const char *class = string_member(c->body, "class", &good);
    const char *lifetime = string_member(c->body, "lifetime", &good);
    const char *user = string_member(c->body, "user", &good);
    const char *ica = string_member(c->body, "icaAddress", &good);
    const json_t *refreshable = json_object_get(c->body, "refreshable");

    *w = (struct issue_wish){.user = c->t->admin ? user : c->user, .services = services};
    w->device = string_member(c->body, "device", &good);
    w->refreshable = json_is_true(refreshable);
    *message =
        "user, device, class, lifetime, icaAddress and authority are texts, services is a list of texts, "
        "refreshable is true or false";
    string_member(c->body, "authority", &good); /* the one who issues takes it: issue() */
    if (!good || !list_member(c->body, "services", services, &w->service_count) ||
        (refreshable != NULL && !json_is_boolean(refreshable)))
        return false;
    *message = "user is missing: whom is the ticket for?";
    if (w->user == NULL)
        return false;
    *message = "class is background or session";
    if (class != NULL && strcmp(class, "session") == 0)
        w->class = TICKET_SESSION;
    else if (class != NULL && strcmp(class, "background") != 0)
        return false;
    if (lifetime != NULL && duration_parse(lifetime, &w->lifetime_ms, message) < 0)
        return false;
    *message = "a lifetime of nothing is no ticket";
    if (lifetime != NULL && w->lifetime_ms <= 0)
        return false;
    if (ica != NULL) {
        *value = (struct record_value){"ICAAddress", ica};
        w->values = value;
        w->value_count = 1;
    }
    return true;
}

static void issue(struct api_call *c)
{
    const char *services[RECORD_SERVICES_MAX], *message = NULL;
    struct record_value value;
    struct issue_wish wish;
    bool good = true;

    const char *unknown = unknown_member(c->body, c->t->admin);
    if (unknown != NULL) {
        api_fail(c, 400, NULL, "bad_request", "the document has a member that is not known here");
        return;
    }
    if (!read_wish(c, &wish, services, &value, &message)) {
        api_fail(c, 400, NULL, "bad_request", message);
        return;
    }
    const char *authority = string_member(c->body, "authority", &good);
    struct authority_client *client = client_for(c->t, authority);
    if (client == NULL) {
        api_fail(c, 404, NULL, "authority_unknown", "no authority with a store of its own has this ID here");
        return;
    }
    while (c->t->clients[c->at] != client)
        c->at++;
    struct issue_rules rules = c->t->rules;
    rules.shorten_only = !c->t->admin;
    c->record = issue_new(&wish, &rules, clock_wall_ms(), c->value, &message);
    if (c->record == NULL) {
        api_fail(c, 400, NULL, "bad_request", message);
        return;
    }
    store_client_issue(authority_client_store(client), c->record, on_issued, c);
}

/* ---- list, show, revoke: each authority in turn ---- */

static void ask_next(struct api_call *c);

static void on_revoked(void *owner, int rc)
{
    struct api_call *c = owner;
    if (rc < 0 && rc != ERR_NOT_FOUND) {
        api_store_failed(c, rc);
        return;
    }
    struct record *r = c->record;
    if (record_state_at(r, c->revoked_ms) == TICKET_LIVE) { /* else it had ended already, and stays so */
        r->state = TICKET_REVOKED;
        r->ended_ms = c->revoked_ms;
    }
    api_done(c, 200, "revoked", r,
             ticket_document(c->t, authority_client_authority(c->t->clients[c->at]), r));
}

static struct record *copy_record(const struct record *r)
{
    uint8_t data[RECORD_BYTES_MAX];
    int len = record_encode(r, data);
    return len > 0 ? record_decode(r->hash, data, (size_t)len) : NULL;
}

/* Whether whoever asks may see it. A stranger's ticket does not exist. */
static bool is_visible(const struct api_call *c, const struct record *r)
{
    return c->t->admin || (strcmp(r->user, c->user) == 0 && r->state != TICKET_FORGOTTEN);
}

/* The one ticket that was meant, in c->record; of the authority c->found. */
static void found_one(struct api_call *c)
{
    struct authority_client *client = c->t->clients[c->found];
    c->at = c->found;
    if (c->action == API_SHOW) {
        api_done(c, 200, "shown", c->record,
                 ticket_document(c->t, authority_client_authority(client), c->record));
        return;
    }
    c->revoked_ms = clock_wall_ms();
    store_client_revoke(authority_client_store(client), c->record->hash, c->revoked_ms, on_revoked, c);
}

static void on_found(void *owner, int rc, struct record *const *records, size_t count, bool more)
{
    struct api_call *c = owner;
    if (rc < 0) {
        api_store_failed(c, rc);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        if (!is_visible(c, records[i]))
            continue;
        more |= c->record != NULL;
        if (c->record == NULL)
            c->record = copy_record(records[i]);
        c->found = c->at;
    }
    /* a whole fingerprint tells, and other authorities need not even be up */
    if (more)
        api_fail(c, 409, NULL, "ambiguous", "more than one ticket begins so: give more digits");
    else if (c->record != NULL && strlen(c->id) >= RECORD_FINGERPRINT - 1)
        found_one(c);
    else {
        c->at++;
        ask_next(c);
    }
}

static void on_listed(void *owner, int rc, struct record *const *records, size_t count, bool more)
{
    struct api_call *c = owner;
    const struct authority *a = authority_client_authority(c->t->clients[c->at]);
    char hash[RECORD_DIGITS];
    if (rc < 0) {
        json_decref(c->list);
        api_store_failed(c, rc);
        return;
    }
    json_t *tickets = json_object_get(c->list, "tickets");
    for (size_t i = 0; i < count; i++) {
        if (is_visible(c, records[i]))
            json_array_append_new(tickets, ticket_document(c->t, a, records[i]));
    }
    if (more && c->wanted_user != NULL) { /* the newest of them: there is no going on behind these */
        set(c->list, "more", json_true());
    } else if (more && count > 0) { /* where to go on: this authority, behind this hash */
        record_digits(hash, records[count - 1]->hash);
        char *next = mem_printf("%zu-%s", c->at, hash);
        set(c->list, "next", json_string(next));
        free(next);
        api_done(c, 200, "listed", NULL, c->list);
        return;
    }
    c->at++;
    c->id[0] = '\0'; /* the next authority from its beginning */
    ask_next(c);
}

static void start_query(struct api_call *c, struct store_query *q)
{
    *q = (struct store_query){.limit = c->action == API_LIST ? PAGE_DEFAULT : 2};
    if (c->action != API_LIST) {
        q->fingerprint = c->id;
        q->user = c->t->admin ? NULL : c->user; /* others' tickets make nothing ambiguous */
    } else if (c->wanted_user != NULL) {
        q->user = c->wanted_user;
        q->limit = STORE_PAGE_MAX;
    } else if (c->id[0] != '\0') {
        q->has_after = record_parse_digits(q->after, c->id);
    }
}

static void ask_next(struct api_call *c)
{
    struct ticketapi *t = c->t;
    struct store_query q;
    while (c->at < t->client_count && authority_client_store(t->clients[c->at]) == NULL)
        c->at++;
    if (c->at < t->client_count && (t->admin || c->asked++ == 0)) {
        start_query(c, &q);
        store_client_list(authority_client_store(t->clients[c->at]), &q,
                          c->action == API_LIST ? on_listed : on_found, c);
    } else if (c->action == API_LIST) {
        api_done(c, 200, "listed", NULL, c->list);
    } else if (c->record != NULL) {
        found_one(c);
    } else {
        api_fail(c, 404, NULL, "ticket_unknown", "no authority here knows this ticket");
    }
}

static bool query_has(const char *query, const char *name)
{
    size_t n = strlen(name);
    for (const char *p = query; p != NULL; p = strchr(p, '&')) {
        p += *p == '&';
        if (strncmp(p, name, n) == 0 && (p[n] == '=' || p[n] == '&' || p[n] == '\0'))
            return true;
    }
    return false;
}

/* Where a page before ended: "AUTHORITY-HASH". */
static bool read_next(struct api_call *c, const char *next)
{
    size_t digits = strspn(next, "0123456789");
    const char *hash = next + digits + 1;
    if (digits == 0 || digits > 6 || next[digits] != '-' || strlen(hash) != sizeof c->id - 1 ||
        strspn(hash, "0123456789abcdef") != sizeof c->id - 1)
        return false;
    c->at = strtoul(next, NULL, 10);
    memcpy(c->id, hash, sizeof c->id);
    return true;
}

/* An administrator may say whose, and go on behind a page. */
static void list(struct api_call *c)
{
    const char *query = httpd_query(c->r);
    char next[96];
    c->wanted_user = c->t->admin ? NULL : c->user;
    if (c->t->admin && query_has(query, "user")) {
        if (!httpd_query_value(query, "user", c->query, sizeof c->query)) {
            api_fail(c, 400, NULL, "bad_request", "user is at most 255 bytes, percent-encoded");
            return;
        }
        c->wanted_user = c->query;
    }
    if (c->t->admin && query_has(query, "next") &&
        (!httpd_query_value(query, "next", next, sizeof next) || !read_next(c, next))) {
        api_fail(c, 400, NULL, "bad_request", "next is what an answer before gave as next");
        return;
    }
    if (!c->t->admin && c->t->lists >= TICKETAPI_LISTS_MAX) {
        api_fail(c, 503, "Retry-After: 1\r\n", "busy", "too many lists are asked for at once; try again");
        return;
    }
    c->listing = !c->t->admin;
    c->t->lists += c->listing;
    c->list = json_pack("{s:[]}", "tickets");
    ask_next(c);
}

void api_perform(struct api_call *c)
{
    if (c->action == API_ISSUE)
        issue(c);
    else if (c->action == API_LIST)
        list(c);
    else
        ask_next(c);
}
