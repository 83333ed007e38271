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
    c->request->next_address = 0;
    conn_enter(c, CONN_CONNECT);
    connect_next(c);
}

/* Tries the next address that may be tried; refuses when none is left. */
static void connect_next(struct conn *c)
{
    struct request *q = c->request;
    const struct runtime *r = c->runtime->runtime;

    while (q->next_address < q->addresses.count) {
        union peer_address address;
        memcpy(&address, &q->addresses.item[q->next_address++], sizeof address);
        if (address.any.sa_family == AF_INET)
            address.v4.sin_port = htons(q->target.port);
        else
            address.v6.sin6_port = htons(q->target.port);
        if (!q->overridden && !policy_address_allowed(&address.any, r->own, r->own_count)) {
            q->last_error = ERR_UNSUPPORTED;
            continue;
        }
        c->story.backend = address;
        deadline_set(&c->worker->loop, &c->deadline, c->state, (uint64_t)r->settings->timeouts.connect);
        int rc = stream_connect(&c->backend, &address.any);
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
    stream_close(&c->backend);
}

void conn_backend_retry(struct conn *c)
{
    connect_next(c);
}

void conn_backend_open(struct conn *c)
{
    struct request *q = c->request;
    struct buf reply;

    buf_init(&reply, 256);
    answer(c, REASON_OK, NULL, &reply);
    buf_deinit(&reply);
    struct buf early = q->early;
    buf_init(&q->early, EARLY_MAX);
    c->request = NULL;
    request_free(q);
    conn_relay_start(c);
    if (early.len > 0)
        conn_relay_data(c, true, early.data, early.len);
    buf_deinit(&early);
}

static void on_resolved(struct resolver_wait *w, int rc, const struct address_list *addresses)
{
    struct request *q = list_entry(w, struct request, wait);
    struct conn *c = q->conn;

    if (rc < 0) {
        conn_refuse(c, REASON_BACKEND_UNRESOLVED, err_text(rc));
        return;
    }
    q->addresses = *addresses;
    start_dialling(c);
}

static void resolve(struct conn *c)
{
    struct request *q = c->request;
    struct sockaddr_storage sa;

    conn_enter(c, CONN_RESOLVE);
    if (hostport_sockaddr(&q->target, &sa) == 0) {
        memcpy(&q->addresses.item[0], &sa, sizeof q->addresses.item[0]);
        q->addresses.count = 1;
        start_dialling(c);
        return;
    }
    int rc = resolver_ask(c->worker->resolver, q->target.host, &q->wait, &q->addresses);
    if (rc > 0)
        start_dialling(c);
    else if (rc < 0)
        conn_refuse(c, REASON_BACKEND_UNRESOLVED,
                    rc == ERR_TOO_BIG ? "too many queries at once" : err_text(rc));
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
    if (!policy_ticket_target(c->runtime->runtime->settings, ticket, &q->target))
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
        conn_refuse(c, REASON_SERVICE_NOT_LISTED, "neither the ticket nor the policy names a service");
        return;
    }
    r = policy_check_target(s, ticket, &q->target);
    if (r != REASON_OK) {
        conn_refuse(c, r, NULL);
        return;
    }
    tunnels_add(c->worker->tunnels, c, ticket, &t->ref[q->next_ref - 1], c->runtime->clients[q->authority]);
    c->service = settings_service(s, &q->target);
    if (c->service != NULL && c->service->connect.port != 0) {
        q->overridden = true;
        q->target = c->service->connect;
    }
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
    enum door_result r = door_feed(q->door, data, len, &used, &reply);
    stream_write(&c->client, reply.data, reply.len);
    buf_deinit(&reply);
    c->story.door =
        (int8_t)door_kind(q->door); /* known from the first byte on, also of a request that never ends */
    if (r == DOOR_MORE)
        return;
    stream_read_stop(&c->client);
    note_request(c);
    if (r == DOOR_REFUSE) {
        conn_refuse(c, door_reason(q->door), door_detail(q->door));
        return;
    }
    if (buf_append(&q->early, data + used, len - used) < 0) {
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
