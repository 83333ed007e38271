/* One loop's way to an authority: an embedded one's store, or a remote one over HTTP; faults and the cache
 * stand in front of both. Called by connections and by the STA service; knows neither. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "authority_impl.h"
#include "base/mem.h"

#define DELAY_LIST (AUTHORITY_DEADLINE_LIST + 2)

static void proceed(struct authority_request *r);

/* ---- requests ---- */

static void on_delay_over(struct deadline *d)
{
    proceed(list_entry(d, struct authority_request, delay));
}

static void on_soon(struct deferred *d)
{
    proceed(list_entry(d, struct authority_request, soon));
}

struct authority_request *authority_request_new(struct authority_client *c, enum authority_question question)
{
    struct authority_request *r = mem_zalloc(sizeof *r);
    r->client = c;
    r->question = question;
    deadline_init(&r->delay, on_delay_over);
    deferred_init(&r->soon, on_soon);
    list_append(&c->open, &r->link);
    return r;
}

void authority_request_free(struct authority_request *r)
{
    deadline_clear(&r->delay);
    deferred_cancel(&r->soon);
    list_remove(&r->link);
    mem_wipe(&r->ref, sizeof r->ref);
    free(r);
}

void authority_request_cancel(struct authority_request *r)
{
    if (r->store != NULL)
        store_request_cancel(r->store);
    if (r->http != NULL)
        httpc_cancel(r->http);
    authority_request_free(r);
}

static void count(struct authority *a, const struct authority_answer *answer)
{
    struct authority_counters *n = &a->counters;
    atomic_fetch_add_explicit(&n->answered[answer->result], 1, memory_order_relaxed);
    if (answer->result == REDEEM_DOWN)
        atomic_fetch_add_explicit(&n->failed[answer->fail], 1, memory_order_relaxed);
    if (answer->injected)
        atomic_fetch_add_explicit(&n->injected, 1, memory_order_relaxed);
}

/* What is said of every answer, however it came. */
static void complete(const struct authority_client *c, bool slowed, struct authority_answer *answer)
{
    if (answer->result == REDEEM_DOWN && answer->detail == NULL)
        answer->detail = authority_fail_sentence(answer->fail);
    answer->injected |=
        slowed || (answer->ticket != NULL && answer->ticket->injected && answer->result != REDEEM_OK);
    if (answer->ticket != NULL && answer->ticket->state == TICKET_FORGOTTEN) {
        free(answer->ticket); /* whoever asks must not learn more than of a ticket that never was */
        answer->ticket = NULL;
    }
    count(c->authority, answer);
}

struct authority_answer authority_not_asked(struct authority *a, enum authority_fail fail, bool injected)
{
    const struct authority_answer answer = {
        .result = REDEEM_DOWN, .fail = fail, .detail = authority_fail_sentence(fail), .injected = injected};
    atomic_fetch_add_explicit(&a->counters.asked, 1, memory_order_relaxed);
    count(a, &answer);
    return answer;
}

void authority_request_finish(struct authority_request *r, struct authority_answer *answer)
{
    authority_cb *cb = r->cb;
    void *owner = r->owner;
    complete(r->client, r->slowed, answer);
    authority_request_free(r);
    cb(owner, answer);
}

struct authority_answer authority_request_give_up(struct authority_request *r)
{
    struct authority_answer answer = {.result = REDEEM_DOWN, .fail = AUTHORITY_TIMEOUT};
    if (r->http != NULL)
        authority_note(r->client->authority, AUTHORITY_TIMEOUT, NULL, NULL);
    complete(r->client, r->slowed, &answer);
    authority_request_cancel(r);
    return answer;
}

/* ---- the embedded store ---- */

static void fill(struct authority_answer *answer, enum redeem result, struct record *ticket,
                 const char *detail)
{
    *answer = (struct authority_answer){.result = result, .ticket = ticket};
    if (result == REDEEM_DOWN) {
        answer->fail = AUTHORITY_STORE;
        answer->detail = detail;
    }
}

static void on_store_answer(void *owner, enum redeem result, struct record *ticket, const char *detail)
{
    struct authority_request *r = owner;
    struct authority_answer answer;
    r->store = NULL;
    fill(&answer, result, ticket, detail);
    authority_request_finish(r, &answer);
}

/* NULL where the answer is there at once; the request is gone then. */
static struct authority_request *ask_store(struct authority_request *r, struct authority_answer *out)
{
    struct store_client *s = r->client->store;
    if (r->question == AUTHORITY_REFRESH) {
        r->store = store_client_refresh(s, r->hash, r->now_ms, on_store_answer, r);
        return r;
    }
    enum redeem result = REDEEM_DOWN;
    struct record *ticket = NULL;
    r->store = store_client_redeem(s, r->hash, r->now_ms, &result, &ticket, on_store_answer, r);
    if (r->store != NULL)
        return r;
    fill(out, result, ticket, NULL);
    complete(r->client, r->slowed, out);
    authority_request_free(r);
    return NULL;
}

/* ---- before anybody is asked ---- */

/* What stands against asking a remote authority at all. */
static enum authority_fail not_to_be_asked(const struct authority_client *c)
{
    const struct authority *a = c->authority;
    if (a->remote->learn_id && atomic_load(&a->learnt) == NULL)
        return atomic_load(&a->state) == AUTHORITY_UNTRIED ? AUTHORITY_NO_ID
                                                           : (enum authority_fail)atomic_load(&a->fail);
    if (atomic_load(&a->fail) == AUTHORITY_ID_MISMATCH)
        return AUTHORITY_ID_MISMATCH;
    int64_t until = atomic_load(&a->bypass_until_ms);
    if (until != 0 && (int64_t)netloop_now_ms(c->loop) < until)
        return (enum authority_fail)atomic_load(&a->fail);
    return AUTHORITY_OK;
}

/* Whether the answer is known without asking anybody. */
static bool answer_early(struct authority_request *r, struct authority_answer *out)
{
    struct authority_client *c = r->client;
    const struct authority_faults *f = &c->authority->faults;
    *out = (struct authority_answer){.result = REDEEM_DOWN};
    if (atomic_load_explicit(&f->down, memory_order_relaxed))
        out->fail = AUTHORITY_FAULT_DOWN;
    else if (atomic_load_explicit(&f->error, memory_order_relaxed))
        out->fail = AUTHORITY_FAULT_ERROR;
    if (out->fail != AUTHORITY_OK) {
        out->injected = true;
        return true;
    }
    if (c->store != NULL)
        return false;
    if (r->question == AUTHORITY_REDEEM && c->cache != NULL &&
        (out->ticket = authority_cache_get(c->cache, r->hash, netloop_now_ms(c->loop))) != NULL) {
        out->result = record_state_at(out->ticket, r->now_ms) == TICKET_LIVE ? REDEEM_OK : REDEEM_EXPIRED;
        atomic_fetch_add_explicit(&c->authority->counters.cached, 1, memory_order_relaxed);
        return true;
    }
    out->fail = not_to_be_asked(c);
    return out->fail != AUTHORITY_OK;
}

/* Early answer, store or network; the delay, if any, is over. NULL with *out filled, the request gone. */
static struct authority_request *ask(struct authority_request *r, struct authority_answer *out)
{
    if (answer_early(r, out)) {
        complete(r->client, r->slowed, out);
        authority_request_free(r);
        return NULL;
    }
    if (r->client->store != NULL)
        return ask_store(r, out);
    authority_remote_ask(r);
    return r;
}

static void proceed(struct authority_request *r)
{
    authority_cb *cb = r->cb;
    void *owner = r->owner;
    struct authority_answer answer;
    if (ask(r, &answer) == NULL)
        cb(owner, &answer);
}

static struct authority_request *start(struct authority_request *r, const struct ticket_ref *ref,
                                       const uint8_t hash[RECORD_HASH], int64_t now_ms, authority_cb *cb,
                                       void *owner)
{
    struct authority *a = r->client->authority;
    assert(!r->client->closing);
    if (ref != NULL)
        r->ref = *ref;
    memcpy(r->hash, hash, RECORD_HASH);
    r->now_ms = now_ms;
    r->cb = cb;
    r->owner = owner;
    atomic_fetch_add_explicit(&a->counters.asked, 1, memory_order_relaxed);
    int64_t slow = atomic_load_explicit(&a->faults.slow_ms, memory_order_relaxed);
    if (slow <= 0)
        return NULL;
    r->slowed = true;
    deadline_set(r->client->loop, &r->delay, DELAY_LIST, (uint64_t)slow);
    return r;
}

struct authority_request *authority_client_redeem(struct authority_client *c, const struct ticket_ref *ref,
                                                  unsigned version, int64_t now_ms,
                                                  struct authority_answer *out, authority_cb *cb, void *owner)
{
    uint8_t hash[RECORD_HASH];
    record_hash(hash, ref->value, strlen(ref->value));
    struct authority_request *r = authority_request_new(c, AUTHORITY_REDEEM);
    r->version = version;
    /* an embedded store needs the hash only: the secret is not copied for it */
    if (start(r, c->store == NULL ? ref : NULL, hash, now_ms, cb, owner) != NULL)
        return r;
    return ask(r, out);
}

struct authority_request *authority_client_refresh(struct authority_client *c,
                                                   const uint8_t hash[RECORD_HASH],
                                                   const struct ticket_ref *ref, int64_t now_ms,
                                                   authority_cb *cb, void *owner)
{
    struct authority_request *r = authority_request_new(c, AUTHORITY_REFRESH);
    if (start(r, c->store == NULL ? ref : NULL, hash, now_ms, cb, owner) == NULL)
        deferred_schedule(c->loop, &r->soon); /* answered from a later turn in every case */
    return r;
}

/* ---- clients ---- */

static void on_told(struct deferred *d)
{
    struct authority_client *c = list_entry(d, struct authority_client, told);
    void (*first)(void *) = c->first;
    c->first = NULL;
    if (first != NULL)
        first(c->first_owner);
}

static void on_probe_due(struct deadline *d);

struct authority_client *authority_client_new(struct authority *a, struct netloop *loop,
                                              struct resolver *resolver)
{
    struct authority_client *c = mem_zalloc(sizeof *c);
    c->authority = authority_ref(a);
    c->loop = loop;
    list_init(&c->open);
    deadline_init(&c->probe, on_probe_due);
    deferred_init(&c->told, on_told);
    if (a->store != NULL) {
        c->store = store_client_new(a->store, &loop->uv);
    } else {
        c->http = authority_remote_client(a->remote, loop, resolver);
        if (a->remote->cache_ms > 0)
            c->cache = authority_cache_new(a->remote->cache_ms);
    }
    return c;
}

static void on_closed(void *owner)
{
    struct authority_client *c = owner;
    void (*closed)(void *) = c->closed;
    void *closed_owner = c->closed_owner;
    authority_cache_free(c->cache);
    authority_unref(c->authority);
    free(c);
    if (closed != NULL)
        closed(closed_owner);
}

void authority_client_close(struct authority_client *c, void (*closed)(void *owner), void *owner)
{
    assert(!c->closing);
    c->closing = true;
    c->closed = closed;
    c->closed_owner = owner;
    deadline_clear(&c->probe);
    deferred_cancel(&c->told);
    while (!list_empty(&c->open))
        authority_request_cancel(list_entry(c->open.next, struct authority_request, link));
    if (c->store != NULL)
        store_client_close(c->store, on_closed, c);
    else
        httpc_close(c->http, on_closed, c);
}

struct store_client *authority_client_store(struct authority_client *c)
{
    return c->store;
}

struct authority *authority_client_authority(struct authority_client *c)
{
    return c->authority;
}

size_t authority_client_connections(const struct authority_client *c)
{
    return c->http != NULL ? httpc_connections(c->http) : 0;
}

/* ---- probing ---- */

static void probe_now(struct authority_client *c);

static void on_probed(void *owner, const struct authority_answer *answer)
{
    struct authority_client *c = owner;
    (void)answer; /* what it told has been noted */
    deadline_set(c->loop, &c->probe, DELAY_LIST, (uint64_t)c->authority->remote->probe_ms);
    on_told(&c->told);
}

static void probe_now(struct authority_client *c)
{
    struct authority_request *r = authority_request_new(c, AUTHORITY_PROBE);
    r->cb = on_probed;
    r->owner = c;
    authority_remote_ask(r);
}

static void on_probe_due(struct deadline *d)
{
    probe_now(list_entry(d, struct authority_client, probe));
}

void authority_client_probe(struct authority_client *c, void (*first)(void *owner), void *owner)
{
    c->first = first;
    c->first_owner = owner;
    if (c->http != NULL && c->authority->remote->learn_id)
        probe_now(c);
    else
        deferred_schedule(c->loop, &c->told);
}
