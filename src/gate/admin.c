/* What the admin socket answers: /metrics, and JSON under /v1/. The socket's mode is who may ask. Called by
 * control.c on the control thread. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin_impl.h"
#include "base/clock.h"
#include "base/mem.h"

#define METRICS_MAX (4 * 1024 * 1024)

void admin_set(json_t *d, const char *key, json_t *value)
{
    if (value == NULL || json_object_set_new(d, key, value) < 0)
        mem_fail();
}

json_t *admin_time(int64_t ms)
{
    char text[CLOCK_TEXT];
    clock_format(text, ms);
    return json_string(text);
}

json_t *admin_duration(int64_t ms)
{
    char text[DURATION_TEXT];
    duration_format(text, ms);
    return json_string(text);
}

/* ---- status ---- */

static json_t *strings_of(const struct sockets *s)
{
    return json_string(s->bound_text);
}

static void show_status(struct control_context *x, struct httpd_request *r)
{
    const struct control *c = x->of->control;
    const struct runtime *rt = x->of->runtime;
    json_t *d = json_object(), *listeners = json_array(), *services = json_array();

    for (size_t i = 0; i < rt->listener_count; i++)
        json_array_append_new(listeners, strings_of(rt->listeners[i].sockets));
    for (size_t i = 0; i < rt->service_count; i++)
        json_array_append_new(services, strings_of(rt->services[i].sockets));
    admin_set(d, "version", json_string(STAGATE_VERSION));
    admin_set(d, "pid", json_integer(getpid()));
    admin_set(d, "started", admin_time(c->started_ms));
    admin_set(d, "now", admin_time(clock_wall_ms()));
    if (clock_offset_ms() != 0)
        admin_set(d, "clockOffset", admin_duration(clock_offset_ms()));
    admin_set(d, "workers", json_integer(c->worker_count));
    admin_set(d, "listeners", listeners);
    admin_set(d, "sta", services);
    ticketapi_json(r, 200, d);
}

/* ---- authorities ---- */

static const char *state_name(const struct authority *a)
{
    if (atomic_load(&a->faults.down))
        return "down";
    switch (atomic_load(&a->state)) {
    case AUTHORITY_UNTRIED:
        return "untried";
    case AUTHORITY_UP:
        return a->store == NULL || store_is_up(a->store, NULL) ? "up" : "down";
    default:
        return "down";
    }
}

static json_t *history_of(struct authority *a)
{
    struct authority_event events[AUTHORITY_HISTORY];
    json_t *list = json_array();
    size_t n = authority_history(a, events);
    for (size_t i = 0; i < n; i++) {
        json_t *e = json_object();
        bool up = events[i].state == AUTHORITY_UP;
        admin_set(e, "at", admin_time(events[i].at_ms));
        admin_set(e, "state", json_string(up ? "up" : "down"));
        if (!up) {
            admin_set(e, "cause", json_string(authority_fail_name(events[i].fail)));
            admin_set(e, "detail", json_string(authority_fail_sentence(events[i].fail)));
            if (events[i].error != NULL)
                admin_set(e, "error", json_string(events[i].error));
        }
        if (events[i].id != NULL)
            admin_set(e, "id", json_string(events[i].id));
        json_array_append_new(list, e);
    }
    return list;
}

static json_t *counter(const _Atomic uint64_t *n)
{
    return json_integer(
        (json_int_t)atomic_load_explicit((_Atomic uint64_t *)(uintptr_t)n, memory_order_relaxed));
}

bool admin_has_duplicate(const struct runtime *rt, size_t i)
{
    const char *id = authority_id(rt->authorities[i]);
    for (size_t j = 0; id != NULL && j < rt->authority_count; j++) {
        const char *other = authority_id(rt->authorities[j]);
        if (j != i && other != NULL && strcmp(other, id) == 0)
            return true;
    }
    return false;
}

/* Why it is down, as name and sentence. */
static void add_cause(json_t *d, const struct authority *a, bool duplicate)
{
    enum authority_fail fail = (enum authority_fail)atomic_load(&a->fail);
    const char *detail = NULL;
    if (atomic_load(&a->faults.down))
        fail = AUTHORITY_FAULT_DOWN;
    else if (atomic_load(&a->faults.error))
        fail = AUTHORITY_FAULT_ERROR;
    else if (duplicate)
        fail = AUTHORITY_ID_DUPLICATE;
    else if (a->store != NULL && !store_is_up(a->store, &detail))
        fail = AUTHORITY_STORE;
    if (fail == AUTHORITY_OK)
        return;
    admin_set(d, "cause", json_string(authority_fail_name(fail)));
    admin_set(d, "detail", json_string(detail != NULL ? detail : authority_fail_sentence(fail)));
}

static json_t *authority_document(const struct runtime *rt, size_t i)
{
    struct authority *a = rt->authorities[i];
    const char *id = authority_id(a), *learnt = atomic_load(&a->learnt);
    bool duplicate = admin_has_duplicate(rt, i);
    json_t *d = json_object(), *counters = json_object();
    int64_t bypass = atomic_load(&a->bypass_until_ms), now = (int64_t)clock_mono_ms();

    admin_set(d, "id", id != NULL ? json_string(id) : json_null());
    admin_set(d, "kind", json_string(a->store != NULL ? "embedded" : "remote"));
    admin_set(d, a->store != NULL ? "store" : "url", json_string(a->where));
    admin_set(d, "state", json_string(duplicate ? "down" : state_name(a)));
    add_cause(d, a, duplicate);
    if (a->store == NULL && learnt != NULL)
        admin_set(d, "learnt", json_string(learnt));
    if (bypass > now)
        admin_set(d, "bypassedFor", admin_duration((bypass - now + 999) / 1000 * 1000)); /* for people */
    admin_set(counters, "asked", counter(&a->counters.asked));
    admin_set(counters, "answered", counter(&a->counters.answered[REDEEM_OK]));
    admin_set(counters, "down", counter(&a->counters.answered[REDEEM_DOWN]));
    admin_set(counters, "injected", counter(&a->counters.injected));
    admin_set(counters, "cached", counter(&a->counters.cached));
    admin_set(counters, "issued", counter(&a->counters.issued));
    admin_set(d, "counters", counters);
    admin_set(d, "history", history_of(a));
    return d;
}

static void show_authorities(struct control_context *x, struct httpd_request *r)
{
    const struct runtime *rt = x->of->runtime;
    json_t *list = json_array();
    for (size_t i = 0; i < rt->authority_count; i++)
        json_array_append_new(list, authority_document(rt, i));
    ticketapi_json(r, 200, json_pack("{s:o}", "authorities", list));
}

/* ---- metrics ---- */

static void show_metrics(struct control_context *x, struct httpd_request *r)
{
    struct buf out;
    buf_init(&out, METRICS_MAX);
    metrics_write(&out, x->of);
    httpd_answer(r, 200, NULL, "text/plain; version=0.0.4; charset=utf-8", out.data, out.len);
    buf_deinit(&out);
}

/* ---- routes ---- */

static const struct {
    const char *method;
    const char *path;
    void (*handle)(struct control_context *x, struct httpd_request *r);
} routes[] = {
    {"GET", "/metrics", show_metrics},
    {"GET", "/v1/status", show_status},
    {"GET", "/v1/authorities", show_authorities},
    {"GET", "/v1/faults", admin_faults_show},
    {"POST", "/v1/faults", admin_faults_inject},
    {"DELETE", "/v1/faults", admin_faults_clear},
    {"POST", "/v1/purge", admin_purge},
    {"POST", "/v1/trace", admin_trace_listen},
};

void admin_handle(struct control_context *x, struct httpd_request *r)
{
    bool known = false;
    if (ticketapi_is_path(httpd_path(r))) {
        ticketapi_handle(&x->api, r);
        return;
    }
    if (strncmp(httpd_path(r), ADMIN_TRACE_PREFIX, strlen(ADMIN_TRACE_PREFIX)) == 0) {
        admin_trace_one(x, r);
        return;
    }
    for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++) {
        if (strcmp(routes[i].path, httpd_path(r)) != 0)
            continue;
        known = true;
        if (strcmp(routes[i].method, httpd_method(r)) == 0) {
            routes[i].handle(x, r);
            return;
        }
    }
    if (known)
        ticketapi_error(r, 405, NULL, "method", "this method does not belong here");
    else
        ticketapi_error(r, 404, NULL, "not_found", "there is nothing of this name");
}
