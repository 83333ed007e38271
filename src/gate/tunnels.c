/* Tickets in use. See tunnels.h; knows of connections only how to end them. */
#include "tunnels.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "conn_impl.h"
#include "gate/faults.h"

#define TICK_MS       250 /* the shortest tickets live for a second, and are refreshed at half of it */
#define BUCKETS_FIRST 64
#define ASKING_MAX    256 /* questions about doubtful tickets at once */

struct held {
    struct list by_hash;
    struct list conns;   /* of struct conn, by their ticket_link */
    struct list recheck; /* linked while in doubt */
    struct tunnels *tunnels;
    struct authority_client *client; /* of one of its connections' runtimes */
    const struct authority *authority;
    uint8_t hash[RECORD_HASH];
    int64_t issued_ms, expires_ms, refresh_ms;
    int64_t refresh_at_ms; /* INT64_MAX: not refreshable, or being refreshed */
    struct heap_node due;  /* in wall-clock ms; in no heap: never */
    bool expires;          /* what expiry means is asked: a ticket that was used up does not expire */
    bool injected;
    struct authority_request *refreshing;
    struct store_request *asked;
    bool ask_again;        /* it came into doubt once more while it was asked about */
    struct ticket_ref ref; /* of remote authorities' refreshable tickets; secret */
};

static void on_tick(struct deadline *d);
static void ask_about_next(struct tunnels *t);

void tunnels_init(struct tunnels *t, struct worker *w)
{
    *t = (struct tunnels){.worker = w, .bucket_count = BUCKETS_FIRST};
    t->buckets = mem_alloc(t->bucket_count * sizeof *t->buckets);
    for (size_t i = 0; i < t->bucket_count; i++)
        list_init(&t->buckets[i]);
    list_init(&t->rechecks);
    deadline_init(&t->tick, on_tick);
}

void tunnels_deinit(struct tunnels *t)
{
    assert(t->count == 0);
    deadline_clear(&t->tick);
    free(t->buckets);
    heap_deinit(&t->heap);
}

/* ---- by hash ---- */

static struct list *bucket_of(const struct tunnels *t, const uint8_t hash[RECORD_HASH])
{
    uint64_t n;
    memcpy(&n, hash, sizeof n); /* SHA-256: any bits of it are good */
    return &t->buckets[n & (t->bucket_count - 1)];
}

static struct held *find(const struct tunnels *t, const struct authority *a, const uint8_t hash[RECORD_HASH])
{
    struct list *bucket = bucket_of(t, hash);
    for (struct list *l = bucket->next; l != bucket; l = l->next) {
        struct held *h = list_entry(l, struct held, by_hash);
        if (h->authority == a && memcmp(h->hash, hash, RECORD_HASH) == 0)
            return h;
    }
    return NULL;
}

static void grow(struct tunnels *t)
{
    struct list *old = t->buckets;
    size_t old_count = t->bucket_count;
    t->bucket_count *= 2;
    t->buckets = mem_alloc(t->bucket_count * sizeof *t->buckets);
    for (size_t i = 0; i < t->bucket_count; i++)
        list_init(&t->buckets[i]);
    for (size_t i = 0; i < old_count; i++) {
        while (!list_empty(&old[i])) {
            struct held *h = list_entry(old[i].next, struct held, by_hash);
            list_remove(&h->by_hash);
            list_append(bucket_of(t, h->hash), &h->by_hash);
        }
    }
    free(old);
}

/* ---- what is due when ---- */

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Saturates: lifetimes and time-outs may both be enormous. */
static int64_t later_by(int64_t at_ms, int64_t by_ms)
{
    return at_ms > INT64_MAX - by_ms ? INT64_MAX : at_ms + by_ms;
}

static const struct settings *settings_of(const struct conn *c)
{
    return c->runtime->runtime->settings;
}

static int64_t forced_at(const struct held *h, const struct conn *c)
{
    int64_t forced = settings_of(c)->policy.forced_timeout_ms;
    return forced > 0 ? later_by(h->issued_ms, forced) : INT64_MAX;
}

/* When expiry has to be looked at for this connection: once to begin, and with a drain once more to end it.
 */
static int64_t expiry_at(const struct held *h, const struct conn *c)
{
    if (!h->expires || settings_of(c)->policy.on_expiry == EXPIRY_KEEP)
        return INT64_MAX;
    return c->draining ? later_by(h->expires_ms, settings_of(c)->timeouts.drain) : h->expires_ms;
}

static void start_ticking(struct tunnels *t)
{
    if (list_empty(&t->tick.link))
        deadline_set(&t->worker->loop, &t->tick, WORKER_DRAIN_DEADLINE, TICK_MS);
}

static int64_t due_of(const struct held *h, const struct conn *c)
{
    return earlier(forced_at(h, c), expiry_at(h, c));
}

static void schedule_at(struct tunnels *t, struct held *h, int64_t due)
{
    if (due == h->due.due && heap_has(&h->due))
        return;
    heap_remove(&t->heap, &h->due);
    h->due.due = due;
    if (due == INT64_MAX)
        return;
    heap_set(&t->heap, &h->due, due);
    start_ticking(t);
}

static void schedule(struct tunnels *t, struct held *h)
{
    int64_t due = h->refresh_at_ms;
    for (struct list *l = h->conns.next; l != &h->conns; l = l->next)
        due = earlier(due, due_of(h, list_entry(l, struct conn, ticket_link)));
    schedule_at(t, h, due);
}

/* ---- coming and going ---- */

static void held_free(struct tunnels *t, struct held *h)
{
    heap_remove(&t->heap, &h->due);
    list_remove(&h->by_hash);
    if (h->refreshing != NULL)
        authority_request_cancel(h->refreshing);
    if (h->asked != NULL) {
        store_request_cancel(h->asked);
        t->asking--;
    }
    list_remove(&h->recheck);
    mem_wipe(&h->ref, sizeof h->ref);
    free(h);
    t->count--;
    ask_about_next(t); /* where it was asked about, another may be */
}

static struct held *held_new(struct tunnels *t, const struct record *ticket, const struct ticket_ref *ref,
                             struct authority_client *client)
{
    struct held *h = mem_zalloc(sizeof *h);
    list_init(&h->conns);
    list_init(&h->recheck);
    h->tunnels = t;
    h->client = client;
    h->authority = authority_client_authority(client);
    memcpy(h->hash, ticket->hash, RECORD_HASH);
    h->issued_ms = ticket->issued_ms;
    h->expires_ms = ticket->expires_ms;
    h->refresh_ms = ticket->refresh_ms;
    h->refresh_at_ms = INT64_MAX;
    h->due.due = INT64_MAX;
    h->expires = ticket->class == TICKET_BACKGROUND || ticket->refresh_ms > 0;
    if (ticket->refresh_ms > 0) {
        h->refresh_at_ms = later_by(clock_wall_ms(), ticket->refresh_ms / 2);
        if (authority_client_store(client) == NULL)
            h->ref = *ref;
    }
    if (t->count >= t->bucket_count)
        grow(t);
    list_append(bucket_of(t, h->hash), &h->by_hash);
    t->count++;
    return h;
}

void tunnels_add(struct tunnels *t, struct conn *c, const struct record *ticket, const struct ticket_ref *ref,
                 struct authority_client *client)
{
    struct held *h = find(t, authority_client_authority(client), ticket->hash);
    bool is_new = h == NULL;
    if (is_new)
        h = held_new(t, ticket, ref, client);
    c->held = h;
    list_append(&h->conns, &c->ticket_link);
    /* one more can only make it earlier: thousands may share a ticket */
    if (is_new)
        schedule(t, h);
    else
        schedule_at(t, h, earlier(h->due.due, due_of(h, c)));
}

void tunnels_remove(struct tunnels *t, struct conn *c)
{
    struct held *h = c->held;
    if (h == NULL)
        return;
    c->held = NULL;
    list_remove(&c->ticket_link);
    if (list_empty(&h->conns)) {
        held_free(t, h);
        return;
    }
    /* the client belongs to a runtime that lives as long as its connections do */
    const struct conn *other = list_entry(h->conns.next, struct conn, ticket_link);
    if (other->runtime == c->runtime)
        return;
    for (size_t i = 0; i < other->runtime->runtime->authority_count; i++) {
        if (other->runtime->runtime->authorities[i] != h->authority ||
            other->runtime->clients[i] == h->client)
            continue;
        if (h->refreshing != NULL) { /* asked again when the next refresh is due */
            authority_request_cancel(h->refreshing);
            h->refreshing = NULL;
            h->refresh_at_ms = clock_wall_ms();
            schedule(t, h);
        }
        h->client = other->runtime->clients[i];
    }
}

/* ---- when something is due ---- */

static void on_refreshed(void *owner, const struct authority_answer *answer)
{
    struct held *h = owner;
    h->refreshing = NULL;
    int64_t again = h->refresh_ms / 2;
    if (answer->result == REDEEM_OK && answer->ticket->refresh_ms > 0) {
        h->expires_ms = answer->ticket->expires_ms;
    } else if (answer->result == REDEEM_OK) {
        again = INT64_MAX; /* it is not refreshable after all, and nothing has happened to it */
    } else if (answer->result == REDEEM_DOWN) {
        again = h->refresh_ms / 10; /* there is time for some more attempts before it expires */
    } else {
        again = INT64_MAX; /* it has ended, and stays so */
    }
    h->refresh_at_ms = later_by(clock_wall_ms(), again);
    schedule(h->tunnels, h);
    free(answer->ticket);
}

static void refresh(struct held *h)
{
    h->refresh_at_ms = INT64_MAX;
    h->refreshing = authority_client_refresh(h->client, h->hash, &h->ref, clock_wall_ms(), on_refreshed, h);
}

/* Ends one connection over its ticket, in the way that fits its state. */
static void end_conn(struct conn *c, enum reason r, bool injected)
{
    c->story.injected |= injected;
    if (c->state < CONN_INNER)
        conn_refuse(c, r, NULL);
    else
        conn_end(c, r, NULL);
}

static void act_on_expiry(struct held *h, struct conn *c, int64_t now)
{
    if (now < expiry_at(h, c))
        return;
    bool injected = h->injected || faults_clock_passed(h->expires_ms);
    if (settings_of(c)->policy.on_expiry == EXPIRY_DRAIN && !c->draining) {
        c->story.injected |= injected;
        conn_drain(c);
    } else {
        end_conn(c, REASON_TICKET_EXPIRED, injected);
    }
}

/* Does what is due for a ticket; it may be gone afterwards. */
static void act(struct tunnels *t, struct held *h, int64_t now)
{
    const struct authority *a = h->authority;
    uint8_t hash[RECORD_HASH];
    memcpy(hash, h->hash, RECORD_HASH);
    if (now >= h->refresh_at_ms)
        refresh(h);
    for (struct list *l = h->conns.next, *next; l != &h->conns; l = next) {
        struct conn *c = list_entry(l, struct conn, ticket_link);
        bool last = l->next == &h->conns;
        next = l->next;
        if (now >= forced_at(h, c))
            end_conn(c, REASON_FORCED_TIMEOUT, faults_clock_passed(forced_at(h, c)));
        else
            act_on_expiry(h, c, now);
        if (last)
            break; /* with its last connection the entry went */
    }
    h = find(t, a, hash);
    if (h != NULL)
        schedule(t, h);
}

static void on_tick(struct deadline *d)
{
    struct tunnels *t = list_entry(d, struct tunnels, tick);
    int64_t now = clock_wall_ms();
    for (struct heap_node *n; (n = heap_first(&t->heap)) != NULL && n->due <= now;)
        act(t, list_entry(n, struct held, due), now);
    ask_about_next(t);
    if (heap_first(&t->heap) != NULL || !list_empty(&t->rechecks))
        start_ticking(t);
}

/* ---- ends that are told ---- */

static void cut_revoked(struct held *h)
{
    for (struct list *l = h->conns.next, *next; l != &h->conns; l = next) {
        bool last = l->next == &h->conns;
        next = l->next;
        end_conn(list_entry(l, struct conn, ticket_link), REASON_TICKET_REVOKED, false);
        if (last)
            break;
    }
}

static void expire(struct tunnels *t, struct held *h)
{
    h->injected = true;
    h->expires_ms = earlier(h->expires_ms, clock_wall_ms());
    h->refresh_at_ms = INT64_MAX;
    act(t, h, clock_wall_ms());
}

/* What the answer says may be older than what brought it into doubt again; and no answer settles nothing. */
static void on_asked(void *owner, int rc, struct record *const *records, size_t count, bool more)
{
    struct held *h = owner;
    struct tunnels *t = h->tunnels;
    (void)more;
    h->asked = NULL;
    t->asking--;
    if (rc < 0 || h->ask_again)
        list_append(&t->rechecks, &h->recheck);
    h->ask_again = false;
    if (rc < 0) {
        start_ticking(t); /* a store that cannot answer now is not asked at once again */
        return;
    }
    if (count == 1) {
        const struct record *r = records[0];
        h->injected |= r->injected;
        if (r->state == TICKET_REVOKED) {
            cut_revoked(h);
        } else if (r->state == TICKET_LIVE && r->expires_ms != h->expires_ms) {
            h->expires_ms = r->expires_ms;
            act(t, h, clock_wall_ms());
        }
    }
    ask_about_next(t);
}

static void ask_about_next(struct tunnels *t)
{
    while (t->asking < ASKING_MAX && !list_empty(&t->rechecks)) {
        struct held *h = list_entry(t->rechecks.next, struct held, recheck);
        char digits[RECORD_DIGITS];
        list_remove(&h->recheck);
        record_digits(digits, h->hash);
        const struct store_query q = {.fingerprint = digits, .limit = 1};
        t->asking++;
        h->asked = store_client_list(authority_client_store(h->client), &q, on_asked, h);
    }
}

static void recheck_all(struct tunnels *t, const struct authority *a)
{
    for (size_t i = 0; i < t->bucket_count; i++) {
        for (struct list *l = t->buckets[i].next; l != &t->buckets[i]; l = l->next) {
            struct held *h = list_entry(l, struct held, by_hash);
            if (h->authority != a)
                continue;
            if (h->asked != NULL)
                h->ask_again = true;
            else if (list_empty(&h->recheck))
                list_append(&t->rechecks, &h->recheck);
        }
    }
    ask_about_next(t);
}

void tunnels_ended(struct tunnels *t, const struct authority *a, const uint8_t *hash, enum ticket_state how)
{
    if (hash == NULL) {
        recheck_all(t, a);
        return;
    }
    struct held *h = find(t, a, hash);
    if (h == NULL)
        return;
    if (how == TICKET_REVOKED)
        cut_revoked(h);
    else if (how == TICKET_EXPIRED)
        expire(t, h);
}
