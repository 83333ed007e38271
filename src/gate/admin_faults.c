/* Faults on request: what an administrator breaks, and mends again. Standing faults (down, slow, error, id,
 * clock) can be listed and cleared; the others (forget, expire) happen once, and are written into the
 * tickets. Purging is here, too: it works over authorities in the same way. Called by admin.c. */
#include <stdlib.h>
#include <string.h>

#include "admin_impl.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "gate/faults.h"
#include "proto/ticket.h"

#define SLOW_MAX_MS  60000
#define CLOCK_MAX_MS (3660LL * 24 * 3600 * 1000)

/* One request that asks several authorities, one after the other. */
struct work {
    struct control_context *x;
    struct httpd_request *r;
    json_t *body;          /* owned; may be NULL */
    const char *name;      /* of the fault, or "purge" */
    const char *authority; /* only this one; NULL: all with a store */
    const char *user;
    uint8_t hash[RECORD_HASH]; /* of one ticket */
    bool one;
    enum store_sweep what;
    bool purge;
    size_t at;
    int64_t count;
};

static void log_fault(const char *name, const char *authority, const char *what)
{
    struct log_line l;
    log_begin(&l, LOG_WARN, "fault");
    log_str(&l, "fault", name);
    log_str(&l, "authority", authority);
    log_str(&l, "what", what);
    log_bool(&l, "injected", true);
    log_end(&l);
}

/* ---- standing faults ---- */

static json_t *fault_document(const char *name, const struct authority *a)
{
    json_t *d = json_object();
    admin_set(d, "fault", json_string(name));
    if (a != NULL) {
        const char *id = a->id != NULL ? a->id : authority_id(a);
        admin_set(d, "authority", json_string(id != NULL ? id : a->where));
    }
    return d;
}

static void add_faults(json_t *list, const struct authority *a)
{
    int64_t slow_ms = atomic_load(&a->faults.slow_ms);
    const char *id = atomic_load(&a->faults.id);
    if (atomic_load(&a->faults.down))
        json_array_append_new(list, fault_document("authority-down", a));
    if (atomic_load(&a->faults.error))
        json_array_append_new(list, fault_document("authority-error", a));
    if (slow_ms > 0) {
        json_t *d = fault_document("authority-slow", a);
        admin_set(d, "by", admin_duration(slow_ms));
        json_array_append_new(list, d);
    }
    if (id != NULL) {
        json_t *d = fault_document("authority-id", a);
        admin_set(d, "id", json_string(id));
        json_array_append_new(list, d);
    }
}

static json_t *all_faults(const struct runtime *rt)
{
    json_t *list = json_array();
    for (size_t i = 0; i < rt->authority_count; i++)
        add_faults(list, rt->authorities[i]);
    int64_t jump = faults_clock_ms();
    if (jump != 0) {
        json_t *d = fault_document("clock", NULL);
        char text[DURATION_TEXT + 1] = "-";
        duration_format(jump < 0 ? text + 1 : text, jump < 0 ? -jump : jump);
        admin_set(d, "by", json_string(text));
        json_array_append_new(list, d);
    }
    return json_pack("{s:o}", "faults", list);
}

void admin_faults_show(struct control_context *x, struct httpd_request *r)
{
    ticketapi_json(r, 200, all_faults(x->of->runtime));
}

/* Whether this authority is meant: by the ID it is configured with, or the one that it has now. */
static bool is_meant(const struct authority *a, const char *id)
{
    const char *now = authority_id(a);
    return id == NULL || (a->id != NULL && strcmp(a->id, id) == 0) || (now != NULL && strcmp(now, id) == 0);
}

static bool any_is_meant(const struct runtime *rt, const char *id, bool with_store)
{
    for (size_t i = 0; i < rt->authority_count; i++) {
        if (is_meant(rt->authorities[i], id) && (!with_store || rt->authorities[i]->store != NULL))
            return true;
    }
    return false;
}

void admin_faults_clear(struct control_context *x, struct httpd_request *r)
{
    const struct runtime *rt = x->of->runtime;
    char name[64] = "", only[64] = "";
    httpd_query_value(httpd_query(r), "fault", name, sizeof name);
    httpd_query_value(httpd_query(r), "authority", only, sizeof only);
    bool all = name[0] == '\0', known = all;
    if (only[0] != '\0' && !any_is_meant(rt, only, false)) {
        ticketapi_error(r, 400, NULL, "bad_request", "no authority has this ID");
        return;
    }
    for (size_t i = 0; i < rt->authority_count; i++) {
        struct authority_faults *f = &rt->authorities[i]->faults;
        if (only[0] != '\0' && !is_meant(rt->authorities[i], only))
            continue;
        if (all || strcmp(name, "authority-down") == 0)
            known = true, atomic_store(&f->down, false);
        if (all || strcmp(name, "authority-error") == 0)
            known = true, atomic_store(&f->error, false);
        if (all || strcmp(name, "authority-slow") == 0)
            known = true, atomic_store(&f->slow_ms, 0);
        if (all || strcmp(name, "authority-id") == 0)
            known = true, atomic_store(&f->id, NULL);
    }
    if ((all && only[0] == '\0') || strcmp(name, "clock") == 0) {
        known = true;
        faults_set_clock(0);
    }
    if (!known) {
        ticketapi_error(r, 400, NULL, "bad_request", "no standing fault has this name");
        return;
    }
    log_fault("clear", only[0] != '\0' ? only : NULL, all ? "all" : name);
    ticketapi_json(r, 200, all_faults(rt));
}

/* ---- what happens once: each authority in turn ---- */

static void end_work(struct work *w)
{
    struct control_context *x = w->x;
    json_decref(w->body);
    free(w);
    x->api.open--;
    x->api.idle(x->api.owner);
}

static void next_authority(struct work *w);

static void on_count(void *owner, int64_t count)
{
    struct work *w = owner;
    if (count < 0) {
        ticketapi_error(w->r, 503, NULL, "store_failed", err_text((int)count));
        end_work(w);
        return;
    }
    w->count += count;
    w->at++;
    next_authority(w);
}

static void on_ended(void *owner, int rc)
{
    on_count(owner, rc == ERR_NOT_FOUND ? 0 : rc < 0 ? rc : 1);
}

static void next_authority(struct work *w)
{
    const struct control_runtime *cr = w->x->of;
    struct store_client *s = NULL;
    int64_t now = clock_wall_ms();

    while (w->at < cr->runtime->authority_count && s == NULL) {
        if (is_meant(cr->runtime->authorities[w->at], w->authority))
            s = authority_client_store(cr->clients[w->at]);
        w->at += s == NULL;
    }
    if (s == NULL) {
        if (!w->purge)
            log_fault(w->name, w->authority, w->user);
        ticketapi_json(w->r, 200,
                       json_pack("{s:s, s:I}", w->purge ? "purge" : "fault", w->purge ? "done" : w->name,
                                 "tickets", (json_int_t)w->count));
        end_work(w);
    } else if (w->purge) {
        store_client_purge(s, now, on_count, w);
    } else if (w->one) {
        store_client_end(s, w->hash, w->what, now, on_ended, w);
    } else {
        store_client_sweep(s, w->what, w->user, now, on_count, w);
    }
}

static struct work *start_work(struct control_context *x, struct httpd_request *r, const char *name)
{
    struct work *w = mem_zalloc(sizeof *w);
    w->x = x;
    w->r = r;
    w->name = name;
    x->api.open++;
    return w;
}

void admin_purge(struct control_context *x, struct httpd_request *r)
{
    struct work *w = start_work(x, r, "purge");
    w->purge = true;
    next_authority(w);
}

/* A ticket string or its whole hash; false when it is neither. */
static bool read_ticket(struct work *w, const char *text)
{
    struct ticket_string t;
    size_t len = strlen(text);
    w->one = true;
    if (ticket_looks_like(text, len)) {
        if (ticket_parse(&t, text, len, NULL) < 0)
            return false;
        record_hash(w->hash, t.ref[0].value, strlen(t.ref[0].value));
        mem_wipe(&t, sizeof t);
        return true;
    }
    return record_parse_digits(w->hash, text);
}

/* ---- injecting ---- */

static const char *text_member(const json_t *body, const char *key)
{
    return json_string_value(json_object_get(body, key));
}

/* The length of a duration with or without a sign; false when it is none within bounds. */
static bool read_duration(const char *text, bool may_be_negative, int64_t max_ms, int64_t *ms)
{
    const char *why;
    bool back = text != NULL && text[0] == '-';
    if (text == NULL || (back && !may_be_negative))
        return false;
    bool sign = back || text[0] == '+';
    if (duration_parse(text + sign, ms, &why) < 0 || *ms > max_ms)
        return false;
    *ms = back ? -*ms : *ms;
    return true;
}

static bool is_id(const char *s)
{
    size_t n = s != NULL ? strlen(s) : 0;
    return n > 0 && n <= TICKET_AUTHORITY_MAX &&
           strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789") == n;
}

/* Puts a standing fault on the authorities that are meant. NULL, or what was wrong with the request. */
static const char *set_standing(const struct runtime *rt, const char *name, const json_t *body)
{
    const char *only = text_member(body, "authority"), *id = text_member(body, "id");
    int64_t by_ms = 0;
    size_t meant = 0;

    if (strcmp(name, "authority-slow") == 0 &&
        (!read_duration(text_member(body, "by"), false, SLOW_MAX_MS, &by_ms) || by_ms == 0))
        return "authority-slow wants by: a duration of up to a minute, such as 500ms";
    if (strcmp(name, "authority-id") == 0 && !is_id(id))
        return "authority-id wants id: 1 to 16 letters and digits";
    for (size_t i = 0; i < rt->authority_count; i++) {
        struct authority *a = rt->authorities[i];
        if (!is_meant(a, only))
            continue;
        meant++;
        if (strcmp(name, "authority-down") == 0)
            atomic_store(&a->faults.down, true);
        else if (strcmp(name, "authority-error") == 0)
            atomic_store(&a->faults.error, true);
        else if (strcmp(name, "authority-slow") == 0)
            atomic_store(&a->faults.slow_ms, by_ms);
        else
            atomic_store(&a->faults.id, authority_intern(a, id));
    }
    if (meant == 0)
        return "no authority has this ID";
    log_fault(name, only, id != NULL ? id : text_member(body, "by"));
    return NULL;
}

static bool is_standing(const char *name)
{
    return strcmp(name, "authority-down") == 0 || strcmp(name, "authority-error") == 0 ||
           strcmp(name, "authority-slow") == 0 || strcmp(name, "authority-id") == 0;
}

/* What happens once; takes body. */
static void inject_once(struct control_context *x, struct httpd_request *r, const char *name, json_t *body)
{
    struct work *w = start_work(x, r, name);
    const char *ticket = text_member(body, "ticket");
    w->body = body;
    w->authority = text_member(body, "authority");
    w->user = text_member(body, "user");
    w->what = strcmp(name, "forget") == 0 ? STORE_SWEEP_FORGET : STORE_SWEEP_EXPIRE;
    if (ticket != NULL && !read_ticket(w, ticket)) {
        ticketapi_error(r, 400, NULL, "bad_request",
                        "ticket is neither a ticket string nor a whole hash of 64 digits: a fingerprint is "
                        "not enough here");
        end_work(w);
        return;
    }
    if (w->authority != NULL && !any_is_meant(x->of->runtime, w->authority, true)) {
        ticketapi_error(r, 400, NULL, "bad_request", "no authority with a store of its own has this ID");
        end_work(w);
        return;
    }
    next_authority(w);
}

/* A member that is misspelt or no text must not make a fault of one ticket one of all. NULL when all is well.
 */
static const char *check_members(const json_t *body)
{
    static const char *const names[] = {"fault", "authority", "user", "ticket", "by", "id"};
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)body, key, value)
    {
        bool known = false;
        for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
            known |= strcmp(names[i], key) == 0;
        if (!known)
            return "the document has a member that is not known here";
        if (!json_is_string(value))
            return "fault, authority, user, ticket, by and id are texts";
    }
    return NULL;
}

static void inject(struct control_context *x, struct httpd_request *r, json_t *body)
{
    const struct runtime *rt = x->of->runtime;
    const char *name = text_member(body, "fault"), *wrong = check_members(body);
    int64_t jump;

    if (wrong != NULL) {
        ticketapi_error(r, 400, NULL, "bad_request", wrong);
        json_decref(body);
        return;
    }
    if (name != NULL && (strcmp(name, "forget") == 0 || strcmp(name, "expire") == 0)) {
        inject_once(x, r, strcmp(name, "forget") == 0 ? "forget" : "expire", body);
        return;
    }
    if (name != NULL && is_standing(name)) {
        wrong = set_standing(rt, name, body);
    } else if (name != NULL && strcmp(name, "clock") == 0) {
        if (read_duration(text_member(body, "by"), true, CLOCK_MAX_MS, &jump)) {
            faults_set_clock(jump);
            log_fault("clock", NULL, text_member(body, "by"));
        } else {
            wrong = "clock wants by: a duration such as 7d or -1h";
        }
    } else {
        wrong =
            "fault is authority-down, authority-error, authority-slow, authority-id, forget, expire or clock";
    }
    if (wrong != NULL)
        ticketapi_error(r, 400, NULL, "bad_request", wrong);
    else
        ticketapi_json(r, 200, all_faults(rt));
    json_decref(body);
}

void admin_faults_inject(struct control_context *x, struct httpd_request *r)
{
    size_t len;
    const uint8_t *data = httpd_body(r, &len);
    json_error_t error;
    json_t *body = json_loadb((const char *)data, len, JSON_REJECT_DUPLICATES, &error);
    if (json_is_object(body)) {
        inject(x, r, body);
        return;
    }
    json_decref(body);
    ticketapi_error(r, 400, NULL, "bad_request", "the body is no JSON object");
}
