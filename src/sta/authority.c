/* Authorities as counted objects, and what is known of the remote ones. Called by whoever makes a
 * configuration run, by clients that asked, and by whoever shows states. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "authority_impl.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"

#define INTERNED_MAX 256 /* an authority that changes its ID more often is not one */

static const struct {
    const char *name;
    const char *sentence;
} fails[AUTHORITY_FAILS] = {
    [AUTHORITY_OK] = {"ok", "the authority answered"},
    [AUTHORITY_STORE] = {"store", "the ticket store failed"},
    [AUTHORITY_NO_ID] = {"no_id", "the authority's ID was never learnt"},
    [AUTHORITY_ID_MISMATCH] = {"id_mismatch",
                               "the authority calls itself by another ID than the configured one"},
    [AUTHORITY_ID_DUPLICATE] = {"id_duplicate", "two authorities have this ID"},
    [AUTHORITY_UNRESOLVED] = {"unresolved", "the authority's name has no address"},
    [AUTHORITY_REFUSED] = {"refused", "the authority did not accept the connection"},
    [AUTHORITY_CONNECT_TIMEOUT] = {"connect_timeout", "connecting to the authority took too long"},
    [AUTHORITY_TLS] = {"tls", "TLS with the authority failed"},
    [AUTHORITY_NOT_TLS] = {"not_tls", "the authority's url says https, and no TLS is spoken there"},
    [AUTHORITY_NOT_HTTP] = {"not_http",
                            "what answered is no HTTP; perhaps the authority's url should say https"},
    [AUTHORITY_CLOSED] = {"closed", "the authority closed the connection without an answer"},
    [AUTHORITY_TIMEOUT] = {"timeout", "the authority did not answer in time"},
    [AUTHORITY_OVERLOADED] = {"overloaded", "too many questions wait for the authority"},
    [AUTHORITY_HTTP_401] = {"http_401", "the authority answered HTTP 401"},
    [AUTHORITY_HTTP_403] = {"http_403", "the authority answered HTTP 403"},
    [AUTHORITY_HTTP_404] = {"http_404", "the authority answered HTTP 404; perhaps its url is wrong"},
    [AUTHORITY_HTTP_4XX] = {"http_4xx", "the authority answered with an HTTP client error"},
    [AUTHORITY_HTTP_5XX] = {"http_5xx", "the authority answered with an HTTP server error"},
    [AUTHORITY_HTTP_OTHER] = {"http_other",
                              "the authority answered with an HTTP status that is neither success nor error"},
    [AUTHORITY_BAD_XML] = {"bad_xml", "the authority's answer is no STA XML"},
    [AUTHORITY_BAD_ANSWER] = {"bad_answer", "the authority's answer does not fit the question"},
    [AUTHORITY_SSL_REQUIRED] = {"ssl_required", "the authority demands TLS: its url should say https"},
    [AUTHORITY_ACCESS_DENIED] = {"access_denied", "the authority does not let this gateway ask"},
    [AUTHORITY_ERROR] = {"error", "the authority answered that it failed"},
    [AUTHORITY_FAULT_DOWN] = {"fault_down", "a fault was injected: the authority is down"},
    [AUTHORITY_FAULT_ERROR] = {"fault_error", "a fault was injected: the authority answers an error"},
};

const char *authority_fail_name(enum authority_fail f)
{
    assert((unsigned)f < AUTHORITY_FAILS && fails[f].name != NULL);
    return fails[f].name;
}

const char *authority_fail_sentence(enum authority_fail f)
{
    assert((unsigned)f < AUTHORITY_FAILS && fails[f].sentence != NULL);
    return fails[f].sentence;
}

/* ---- making ---- */

static struct authority_remote *remote_new(const struct authority_options *o)
{
    struct authority_remote *r = mem_zalloc(sizeof *r);
    r->origin = o->origin;
    r->tls = o->tls;
    r->learn_id = o->learn_id;
    r->ctx = o->ctx;
    if (r->ctx != NULL)
        SSL_CTX_up_ref(r->ctx);
    r->path = mem_strdup(o->path);
    r->fields =
        o->shared_key != NULL ? mem_printf("Authorization: Bearer %s\r\n", o->shared_key) : mem_strdup("");
    r->probe_ms = o->probe_ms;
    r->bypass_ms = o->bypass_ms;
    r->cache_ms = o->cache_ms;
    r->timeout_ms = o->timeout_ms;
    r->connections = o->connections;
    return r;
}

static void remote_free(struct authority_remote *r)
{
    if (r == NULL)
        return;
    SSL_CTX_free(r->ctx);
    mem_wipe(r->fields, strlen(r->fields));
    free(r->fields);
    free(r->path);
    free(r);
}

int authority_open(struct authority **out, const struct authority_options *o, char *why, size_t why_cap)
{
    struct store *store = NULL;
    if (o->store != NULL) {
        int rc = store_open(&store, o->store, &o->store_options, why, why_cap);
        if (rc < 0)
            return rc;
    }
    struct authority *a = mem_zalloc(sizeof *a);
    atomic_init(&a->refs, 1);
    pthread_mutex_init(&a->mutex, NULL);
    a->signature = mem_strdup(o->signature);
    a->id = mem_strdup(o->id);
    a->where = mem_strdup(store != NULL ? o->store : o->url);
    a->store = store;
    if (store == NULL)
        a->remote = remote_new(o);
    /* one that is not to be asked for its ID is believed until a redemption fails */
    bool ready = store != NULL || !o->learn_id;
    atomic_init(&a->state, ready ? AUTHORITY_UP : AUTHORITY_UNTRIED);
    atomic_init(&a->fail, ready ? AUTHORITY_OK : AUTHORITY_NO_ID);
    *out = a;
    return 0;
}

struct authority *authority_ref(struct authority *a)
{
    atomic_fetch_add(&a->refs, 1);
    return a;
}

bool authority_try_ref(struct authority *a)
{
    unsigned n = atomic_load(&a->refs);
    while (n > 0 && !atomic_compare_exchange_weak(&a->refs, &n, n + 1))
        continue;
    return n > 0;
}

void authority_unwatch(struct authority *a)
{
    if (a->watch != NULL)
        store_unwatch(a->watch);
    free(a->watch_owner);
    a->watch = NULL;
    a->watch_owner = NULL;
}

void authority_unref(struct authority *a)
{
    if (a == NULL || atomic_fetch_sub(&a->refs, 1) != 1)
        return;
    authority_unwatch(a);
    if (a->store != NULL)
        store_close(a->store);
    remote_free(a->remote);
    for (size_t i = 0; i < a->interned_count; i++)
        free(a->interned[i]);
    free(a->interned);
    pthread_mutex_destroy(&a->mutex);
    free(a->signature);
    free(a->id);
    free(a->where);
    free(a);
}

/* ---- what is known ---- */

const char *authority_id(const struct authority *a)
{
    const char *fault = atomic_load_explicit(&a->faults.id, memory_order_acquire);
    if (fault != NULL)
        return fault;
    return a->id != NULL ? a->id : atomic_load_explicit(&a->learnt, memory_order_acquire);
}

bool authority_is_up(const struct authority *a)
{
    return atomic_load(&a->state) == AUTHORITY_UP && !atomic_load(&a->faults.down) &&
           (a->store == NULL || store_is_up(a->store, NULL));
}

static const char *intern_locked(struct authority *a, const char *text)
{
    for (size_t i = 0; i < a->interned_count; i++) {
        if (strcmp(a->interned[i], text) == 0)
            return a->interned[i];
    }
    if (a->interned_count == INTERNED_MAX)
        return NULL;
    a->interned = mem_realloc(a->interned, (a->interned_count + 1) * sizeof *a->interned);
    a->interned[a->interned_count] = mem_strdup(text);
    return a->interned[a->interned_count++];
}

const char *authority_intern(struct authority *a, const char *text)
{
    pthread_mutex_lock(&a->mutex);
    const char *kept = intern_locked(a, text);
    pthread_mutex_unlock(&a->mutex);
    return kept;
}

size_t authority_history(struct authority *a, struct authority_event out[AUTHORITY_HISTORY])
{
    pthread_mutex_lock(&a->mutex);
    size_t n = a->history_count < AUTHORITY_HISTORY ? a->history_count : AUTHORITY_HISTORY;
    for (size_t i = 0; i < n; i++)
        out[i] = a->history[(a->history_count - 1 - i) % AUTHORITY_HISTORY];
    pthread_mutex_unlock(&a->mutex);
    return n;
}

static void log_change(const struct authority *a, const struct authority_event *e)
{
    struct log_line l;
    bool up = e->state == AUTHORITY_UP;
    log_begin(&l, up ? LOG_INFO : LOG_ERROR, "authority");
    log_str(&l, "authority", a->id != NULL ? a->id : e->id);
    log_str(&l, "url", a->where);
    log_str(&l, "state", up ? "up" : "down");
    log_str(&l, "cause", up ? NULL : authority_fail_name(e->fail));
    log_str(&l, "detail", up ? NULL : authority_fail_sentence(e->fail));
    log_str(&l, "error", e->error);
    if (e->id != NULL && a->id != NULL && strcmp(a->id, e->id) != 0)
        log_str(&l, "calls_itself", e->id);
    log_end(&l);
}

/* Under the mutex. A change is what a person would call one: up, down, down for another cause, another ID. */
static void enter(struct authority *a, enum authority_fail fail, const char *id, const char *error)
{
    enum authority_state state = fail == AUTHORITY_OK ? AUTHORITY_UP : AUTHORITY_DOWN;
    bool same = atomic_load(&a->state) == (int)state && atomic_load(&a->fail) == (int)fail &&
                atomic_load(&a->learnt) == id;
    atomic_store_explicit(&a->learnt, id, memory_order_release);
    atomic_store(&a->fail, fail);
    atomic_store(&a->state, state);
    atomic_store(&a->bypass_until_ms,
                 state == AUTHORITY_UP ? 0 : (int64_t)clock_mono_ms() + a->remote->bypass_ms);
    if (same)
        return;
    struct authority_event *e = &a->history[a->history_count++ % AUTHORITY_HISTORY];
    *e = (struct authority_event){.at_ms = clock_true_ms(),
                                  .state = state,
                                  .fail = fail,
                                  .id = id,
                                  .error = state == AUTHORITY_UP ? NULL : error};
    log_change(a, e);
}

void authority_note(struct authority *a, enum authority_fail fail, const char *id, const char *error)
{
    /* the common case, an answer while it is up, changes nothing and takes no lock */
    if (fail == AUTHORITY_OK && id == NULL && atomic_load(&a->state) == AUTHORITY_UP)
        return;
    pthread_mutex_lock(&a->mutex);
    const char *known = atomic_load(&a->learnt);
    if (id != NULL) {
        known = intern_locked(a, id);
        if (a->id != NULL && strcmp(a->id, id) != 0)
            fail = AUTHORITY_ID_MISMATCH;
        else if (known == NULL)
            fail = AUTHORITY_NO_ID;
    } else if (fail == AUTHORITY_OK && a->remote->learn_id && known == NULL) {
        fail = AUTHORITY_NO_ID;
    } else if (fail == AUTHORITY_OK && a->id != NULL && known != NULL && strcmp(a->id, known) != 0) {
        fail = AUTHORITY_ID_MISMATCH; /* a good answer to something else does not mend that */
    }
    enter(a, fail, known, error);
    pthread_mutex_unlock(&a->mutex);
}
