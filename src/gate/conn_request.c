/* From the first byte inside TLS to an open tunnel: door, ticket, policy, connecting. Each stage hands on
 * once; a refusal is answered in the door's own protocol. Called by conn.c. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "conn_impl.h"
#include "gate/faults.h"
#include "gate/policy.h"
#include "outage.h"

#define EARLY_MAX                                                                                            \
    (2 * NETLOOP_PLAIN_BYTES) /* one read's plaintext can come behind the request before reading stops */

static void on_resolved(struct resolver_wait *w, int rc, const struct address_list *addresses);
static void connect_next(struct conn *c);

struct request *request_new(struct conn *c)
{
    struct request *q = mem_zalloc(sizeof *q);
    q->conn = c;
    q->door = door_new(c->listener->settings->doors);
    buf_init(&q->early, EARLY_MAX);
    list_init(&q->wait.link);
    q->wait.done = on_resolved;
    return q;
}

void request_free(struct request *q)
{
    if (q == NULL)
        return;
    if (q->redeeming != NULL)
        authority_request_cancel(q->redeeming);
    resolver_cancel(&q->wait);
    door_free(q->door);
    if (q->early.data != NULL)
        mem_wipe(q->early.data, q->early.len);
    buf_deinit(&q->early);
    free(q->ticket);
    free(q);
}

static void answer(struct conn *c, enum reason r, const char *detail, struct buf *reply)
{
    door_answer(c->request->door, r, detail, reply);
    stream_write(&c->client, reply->data, reply->len);
}

void conn_refuse(struct conn *c, enum reason r, const char *detail)
{
    struct buf reply;
    buf_init(&reply, 4096);
    answer(c, r, detail, &reply);
    buf_deinit(&reply);
    /* a dial under way is given up: linger closes the backend */
    conn_linger(c, r, detail);
}

/* ---- connecting ---- */

static enum reason connect_reason(int code)
{
    return code == UV_ETIMEDOUT || code == UV_EHOSTUNREACH || code == UV_ENETUNREACH ? REASON_BACKEND_TIMEOUT
                                                                                     : REASON_BACKEND_REFUSED;
}

static void start_dialling(struct conn *c)
{
    struct request *q = c->request;
    if (q->candidate_count == 0) {
        conn_refuse(c, REASON_BACKEND_UNRESOLVED, err_text(q->last_error));
        return;
    }
    outage_order(c->worker->outages, netloop_now_ms(&c->worker->loop), q->candidates, q->candidate_count);
    conn_enter(c, CONN_CONNECT);
    connect_next(c);
}

/* Tries the next address that may be tried; refuses when none is left. */
static void connect_next(struct conn *c)
{
    struct request *q = c->request;
    const struct runtime *r = c->runtime->runtime;

    while (q->next_candidate < q->candidate_count) {
        const union peer_address *address = &q->candidates[q->next_candidate++];
        if (!q->overridden && !policy_address_allowed(&address->any, r->own, r->own_count)) {
            q->last_error = ERR_UNSUPPORTED;
            continue;
        }
        c->story.backend = *address;
        deadline_set(&c->worker->loop, &c->deadline, c->state, (uint64_t)r->settings->timeouts.connect);
        int rc = stream_connect(&c->backend, &address->any);
        if (rc < 0) {
            q->last_error = rc;
            stream_close(&c->backend); /* conn_backend_retry goes on */
        }
        return;
    }
    if (q->last_error == ERR_UNSUPPORTED)
        conn_refuse(c, REASON_ADDRESS_NOT_ALLOWED, NULL);
    else
        conn_refuse(c, connect_reason(q->last_error), err_text(q->last_error));
}

void conn_backend_failed(struct conn *c, int code)
{
    c->request->last_error = code;
    outage_note(c->worker->outages, netloop_now_ms(&c->worker->loop), &c->story.backend, true);
    stream_close(&c->backend);
}

void conn_backend_retry(struct conn *c)
{
    connect_next(c);
}

static bool is_looked_into(const struct conn *c)
{
    return door_kind(c->request->door) == DOOR_ACTIVESYNC || c->service->relay != RELAY_OPAQUE;
}

/* TLS with the mail server comes before the answer to the client: so that what is wrong with it can be told.
 */
static bool is_secured_next(const struct conn *c)
{
    if (c->state != CONN_CONNECT || !is_looked_into(c))
        return false;
    return c->service->backend_tls == BACKEND_TLS_YES ||
           (c->service->backend_tls == BACKEND_TLS_AUTO && c->request->target.port != 80);
}

void conn_backend_open(struct conn *c)
{
    struct request *q = c->request;
    struct buf reply;

    outage_note(c->worker->outages, netloop_now_ms(&c->worker->loop), &c->story.backend, false);
    if (is_secured_next(c)) {
        conn_enter(c, CONN_SECURE);
        if (stream_start_tls_client(&c->backend, runtime_backend(c->runtime->runtime, c->service),
                                    q->target.host, NULL) < 0)
            conn_refuse(c, REASON_BACKEND_TLS, "OpenSSL could not start a connection");
        return;
    }
    if (c->state == CONN_SECURE)
        story_backend(c);
    buf_init(&reply, 256);
    answer(c, REASON_OK, NULL, &reply);
    buf_deinit(&reply);
    struct buf early = q->early;
    buf_init(&q->early, EARLY_MAX);
    c->request = NULL;
    if (door_kind(q->door) == DOOR_ACTIVESYNC || c->service->relay != RELAY_OPAQUE) {
        const struct http_start from = {&q->target, door_kind(q->door) == DOOR_ACTIVESYNC};
        conn_http_start(c, &from);
    } else {
        conn_relay_start(c);
    }
    request_free(q);
    if (early.len > 0)
        conn_relay_data(c, true, early.data, early.len);
    if (early.data != NULL)
        mem_wipe(early.data, early.len); /* at the activesync door the ticket is in it */
    buf_deinit(&early);
}

void conn_backend_insecure(struct conn *c, int code, const char *detail)
{
    static const enum reason reasons[] = {
        [TLS_FAILURE_OTHER] = REASON_BACKEND_TLS,
        [TLS_FAILURE_CERTIFICATE] = REASON_BACKEND_CERTIFICATE,
        [TLS_FAILURE_FLOOR] = REASON_BACKEND_TLS_FLOOR,
        [TLS_FAILURE_SSL3] = REASON_BACKEND_SSL3,
    };
    conn_refuse(c, code == ERR_TLS ? reasons[tls_failure_kind(&c->backend.tls)] : REASON_BACKEND_TLS, detail);
}

/* ---- addresses ---- */

static void add_candidate(struct request *q, const void *sockaddr)
{
    if (q->candidate_count == CANDIDATES_MAX)
        return;
    union peer_address *a = &q->candidates[q->candidate_count++];
    memcpy(a, sockaddr, sizeof *a);
    if (a->any.sa_family == AF_INET)
        a->v4.sin_port = htons(q->address.port);
    else
        a->v6.sin6_port = htons(q->address.port);
}

static void add_candidates(struct request *q, const struct address_list *found)
{
    for (size_t i = 0; i < found->count; i++)
        add_candidate(q, &found->item[i]);
}

static void resolve_next(struct conn *c);

static void on_resolved(struct resolver_wait *w, int rc, const struct address_list *addresses)
{
    struct request *q = list_entry(w, struct request, wait);
    if (rc < 0)
        q->last_error = rc;
    else
        add_candidates(q, addresses);
    resolve_next(q->conn);
}

void conn_resolve_late(struct conn *c)
{
    resolver_cancel(&c->request->wait);
    c->request->last_error = UV_ETIMEDOUT;
    resolve_next(c);
}

/* What is resolved next: the overrides in turn, or the target itself, once. */
static bool next_address(struct conn *c)
{
    struct request *q = c->request;
    const struct conf_list *overrides = &c->service->connect;
    size_t count = overrides->count > 0 ? overrides->count : 1;
    if (q->next_override == count)
        return false;
    q->overridden = overrides->count > 0;
    q->address = q->overridden ? ((const struct hostport *)overrides->items)[q->next_override] : q->target;
    q->next_override++;
    return true;
}

static void resolve_next(struct conn *c)
{
    struct request *q = c->request;
    while (next_address(c)) {
        struct sockaddr_storage sa;
        struct address_list found;
        if (hostport_sockaddr(&q->address, &sa) == 0) {
            add_candidate(q, &sa);
            continue;
        }
        deadline_set(&c->worker->loop, &c->deadline, c->state,
                     (uint64_t)c->runtime->runtime->settings->timeouts.connect);
        int rc = resolver_ask(c->worker->resolver, q->address.host, &q->wait, &found);
        if (rc == 0)
            return;
        if (rc > 0)
            add_candidates(q, &found);
        else
            q->last_error = rc;
    }
    start_dialling(c);
}

static void resolve(struct conn *c)
{
    conn_enter(c, CONN_RESOLVE);
    resolve_next(c);
}

/* ---- ticket and policy ---- */

/* Each authority that is asked gets the whole time. */
static void set_ticket_deadline(struct conn *c)
{
    deadline_set(&c->worker->loop, &c->deadline, c->state,
                 (uint64_t)c->runtime->runtime->settings->timeouts.ticket);
}

/* Who and where, for the log: also of a ticket that is refused. False when it leads nowhere. */
static bool take_facts(struct conn *c, const struct record *ticket)
{
    struct request *q = c->request;
    const struct hostport *asked = door_target(q->door);
    char text[HOSTPORT_TEXT];

    c->story.user = ticket->user[0] ? mem_strdup(ticket->user) : NULL;
    c->story.device = ticket->device[0] ? mem_strdup(ticket->device) : NULL;
    if (asked != NULL) {
        q->target = *asked;
        return true;
    }
    const struct settings *s = c->runtime->runtime->settings;
    bool found = door_kind(q->door) == DOOR_ACTIVESYNC
                     ? policy_host_target(s, ticket, door_host(q->door), &q->target)
                     : policy_ticket_target(s, ticket, &q->target);
    if (!found)
        return false;
    hostport_format(&q->target, text);
    c->story.target = mem_strdup(text);
    return true;
}

/* A clock that was moved for a demonstration makes tickets expire before their time. */
static void note_injected(struct conn *c, const struct authority_answer *answer)
{
    c->story.injected |= answer->injected || (answer->result == REDEEM_EXPIRED && answer->ticket != NULL &&
                                              faults_clock_passed(answer->ticket->expires_ms));
}

static void judge(struct conn *c, const struct authority_answer *answer)
{
    struct request *q = c->request;
    const struct runtime *runtime = c->runtime->runtime;
    const struct settings *s = runtime->settings;
    const struct ticket_string *t = door_ticket(q->door);
    struct record *ticket = answer->ticket;

    q->ticket = ticket;
    note_injected(c, answer);
    bool leads_somewhere = ticket != NULL && take_facts(c, ticket);
    enum reason r = policy_redeem_reason(answer->result);
    if (r == REASON_OK)
        r = policy_check_time(s, ticket, clock_wall_ms());
    if (r == REASON_FORCED_TIMEOUT)
        c->story.injected |= faults_clock_passed(ticket->issued_ms + s->policy.forced_timeout_ms);
    if (r != REASON_OK) {
        conn_refuse(c, r, answer->detail);
        return;
    }
    if (!leads_somewhere) {
        conn_refuse(c, REASON_SERVICE_NOT_LISTED,
                    door_kind(q->door) == DOOR_ACTIVESYNC
                        ? "Host names no listed service, and the ticket is not for one alone"
                        : "neither the ticket nor the policy names a service");
        return;
    }
    r = policy_check_target(s, ticket, &q->target);
    if (r != REASON_OK) {
        conn_refuse(c, r, NULL);
        return;
    }
    tunnels_add(c->worker->tunnels, c, ticket, &t->ref[q->next_ref - 1], c->runtime->clients[q->authority]);
    c->service = settings_service(s, &q->target);
    resolve(c);
}

static void redeem_next(struct conn *c);

/* An answer, or that there was none: then the next ticket's authority is asked. */
static void take_answer(struct conn *c, const struct authority_answer *answer)
{
    struct request *q = c->request;
    q->redeeming = NULL;
    if (answer->result != REDEEM_DOWN) {
        judge(c, answer);
        return;
    }
    q->answered_down = true;
    q->down = *answer;
    redeem_next(c);
}

static void on_redeemed(void *owner, const struct authority_answer *answer)
{
    take_answer(owner, answer);
}

/* The first authority with this ID, or negative. *unique: no other calls itself so. */
static int find_authority(const struct runtime *r, const char *id, bool *unique)
{
    int found = -1;
    *unique = true;
    for (size_t i = 0; i < r->authority_count && *unique; i++) {
        const char *own = authority_id(r->authorities[i]);
        if (own == NULL || strcmp(own, id) != 0)
            continue;
        if (found >= 0)
            *unique = false;
        else
            found = (int)i;
    }
    return found;
}

/* Whether an ID is missing, or another than it was, because an administrator changed what an authority calls
 * itself. */
static bool id_was_changed(const struct runtime *r)
{
    bool changed = false;
    for (size_t i = 0; i < r->authority_count; i++)
        changed |= atomic_load(&r->authorities[i]->faults.id) != NULL;
    return changed;
}

/* A remote authority whose ID is to be learnt, and could not be. */
static bool has_nameless_authority(const struct runtime *r)
{
    bool nameless = false;
    for (size_t i = 0; i < r->authority_count; i++)
        nameless |= authority_id(r->authorities[i]) == NULL;
    return nameless;
}

/* Of two tickets the first that a known authority answers for is used. */
static void redeem_next(struct conn *c)
{
    struct request *q = c->request;
    const struct runtime *r = c->runtime->runtime;
    const struct ticket_string *t = door_ticket(q->door);

    while (q->next_ref < t->count) {
        const struct ticket_ref *ref = &t->ref[q->next_ref++];
        uint8_t hash[RECORD_HASH];
        bool unique;
        int found = find_authority(r, ref->authority, &unique);
        if (found < 0)
            continue;
        record_hash(hash, ref->value, strlen(ref->value));
        record_fingerprint(c->story.ticket, hash);
        c->story.authority = authority_id(r->authorities[found]);
        if (!unique) {
            q->answered_down = true;
            q->down = authority_not_asked(r->authorities[found], AUTHORITY_ID_DUPLICATE, id_was_changed(r));
            continue;
        }
        struct authority_answer answer;
        q->authority = (size_t)found;
        set_ticket_deadline(c);
        q->redeeming =
            authority_client_redeem(c->runtime->clients[found], ref, t->version == 42 ? 40 : t->version,
                                    clock_wall_ms(), &answer, on_redeemed, c);
        if (q->redeeming == NULL)
            take_answer(c, &answer);
        return;
    }
    if (q->answered_down) {
        note_injected(c, &q->down);
        conn_refuse(c, REASON_AUTHORITY_DOWN, q->down.detail);
        return;
    }
    c->story.injected |= id_was_changed(r);
    c->story.asked = mem_strdup(t->ref[0].authority);
    conn_refuse(c, REASON_AUTHORITY_UNKNOWN,
                has_nameless_authority(r)
                    ? "an authority that has not been reached yet has no ID; it may be that one"
                    : NULL);
}

void conn_ticket_late(struct conn *c)
{
    struct request *q = c->request;
    const struct authority_answer answer = authority_request_give_up(q->redeeming);
    take_answer(c, &answer);
}

/* ---- the door ---- */

static void note_request(struct conn *c)
{
    struct request *q = c->request;
    struct story *s = &c->story;
    char text[HOSTPORT_TEXT];

    if (door_agent(q->door)[0] != '\0')
        s->agent = mem_strdup(door_agent(q->door));
    if (door_target(q->door) != NULL) {
        hostport_format(door_target(q->door), text);
        s->target = mem_strdup(text);
    }
}

void conn_request_data(struct conn *c, const uint8_t *data, size_t len)
{
    struct request *q = c->request;
    struct buf reply;
    size_t used;

    buf_init(&reply, 4096);
    bool fits = true;
    enum door_result r = door_feed(q->door, data, len, &used, &reply);
    stream_write(&c->client, reply.data, reply.len);
    buf_deinit(&reply);
    c->story.door =
        (int8_t)door_kind(q->door); /* known from the first byte on, also of a request that never ends */
    /* the relay reads a request at the activesync door again, from its first byte on */
    bool again = door_kind(q->door) == DOOR_ACTIVESYNC;
    if (again || r == DOOR_DONE)
        fits = buf_append(&q->early, again ? data : data + used, again ? len : len - used) == 0;
    if (r == DOOR_MORE && fits)
        return;
    stream_read_stop(&c->client);
    note_request(c);
    if (r == DOOR_REFUSE) {
        conn_refuse(c, door_reason(q->door), door_detail(q->door));
        return;
    }
    if (!fits) {
        conn_refuse(c, REASON_REQUEST_MALFORMED, "too many bytes behind the request");
        return;
    }
    enum reason access = policy_check_access(c->runtime->runtime->settings);
    if (access != REASON_OK) {
        conn_refuse(c, access, NULL);
        return;
    }
    conn_enter(c, CONN_TICKET);
    redeem_next(c);
}
