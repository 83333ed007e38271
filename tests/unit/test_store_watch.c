/* What event loops ask beyond redeeming (refreshing, faults, purging, pages of tickets), and hearing of
 * tickets that end: the same cases over memory and LMDB.
 */
#include "store_fixture.h"

#include <pthread.h>
#include <stdatomic.h>

#include "base/clock.h"

struct bench { /* what most tests need */
    uv_loop_t loop;
    struct store *store;
    struct store_client *client;
};

static void bench_open(struct bench *b, int kind)
{
    clock_set_offset_ms(NOW - clock_wall_ms());
    uv_loop_init(&b->loop);
    b->store = fixture_open_kind(kind, (struct store_options){0});
    b->client = store_client_new(b->store, &b->loop);
}

static void bench_close(struct bench *b)
{
    fixture_close_client(b->client, &b->loop);
    store_close(b->store);
    ck_assert_int_eq(uv_loop_close(&b->loop), 0);
}

static void issue_for(struct store *s, unsigned n, const char *user, int64_t issued_ms)
{
    struct record r = fixture_ticket(n, TICKET_SESSION);
    r.user = user;
    r.issued_ms = issued_ms;
    ck_assert_int_eq(store_issue(s, &r), 0);
}

/* ---- operations ---- */

static void on_count(void *owner, int64_t count)
{
    struct answers *a = owner;
    ck_assert(!a->inside);
    a->count++;
    a->rc = (int)count;
}

static void nobody_hears(void *owner, int64_t count)
{
    (void)owner;
    ck_abort_msg("a cancelled request answered %d", (int)count);
}

START_TEST(client_does_everything)
{
    struct bench b;
    struct answers a = {0};
    bench_open(&b, _i);
    for (unsigned n = 0; n < 700; n++)
        issue_for(b.store, n, n % 2 ? "a" : "b", NOW);
    struct record r = fixture_ticket(1000, TICKET_SESSION), *out = NULL;
    r.refresh_ms = 2 * HOUR_MS;
    ck_assert_int_eq(store_issue(b.store, &r), 0);

    a.inside = true;
    store_client_refresh(b.client, r.hash, NOW + 1, fixture_on_redeem, &a);
    a.inside = false;
    fixture_run(&b.loop, &a.count, 1);
    ck_assert_uint_eq(a.by_verdict[REDEEM_OK], 1);
    ck_assert_int_eq(store_get(b.store, r.hash, &out), 0);
    ck_assert_int_eq(out->expires_ms, NOW + 1 + 2 * HOUR_MS);
    free(out);
    for (int i = 0; i < 2; i++) /* no write: answered at once where the store is here, each time */
        ck_assert_int_eq(fixture_client_redeem(b.client, 1000, &a) != NULL, _i == KIND_REDIS);
    fixture_run(&b.loop, &a.count, 3);
    ck_assert_uint_eq(a.by_verdict[REDEEM_OK], 3);
    store_client_refresh(b.client, fixture_ticket(2000, TICKET_SESSION).hash, NOW, fixture_on_redeem, &a);
    fixture_run(&b.loop, &a.count, 4);
    ck_assert_uint_eq(a.by_verdict[REDEEM_UNKNOWN], 1);

    store_client_end(b.client, fixture_ticket(1, TICKET_SESSION).hash, STORE_SWEEP_FORGET, NOW,
                     fixture_on_done, &a);
    fixture_run(&b.loop, &a.count, 5);
    ck_assert_int_eq(a.rc, 0);
    ck_assert_int_eq(fixture_redeem(b.store, 1, NOW), REDEEM_UNKNOWN);

    /* behind one another; what is asked meanwhile does not wait for them */
    store_client_sweep(b.client, STORE_SWEEP_FORGET, "a", NOW, on_count, &a);
    store_client_sweep(b.client, STORE_SWEEP_EXPIRE, "b", NOW, on_count, &a);
    fixture_run(&b.loop, &a.count, 7);
    store_client_sweep(b.client, STORE_SWEEP_EXPIRE, NULL, NOW, on_count, &a);
    fixture_run(&b.loop, &a.count, 8);
    ck_assert_int_eq(a.rc, 1); /* the refreshable one */
    ck_assert_int_eq(fixture_redeem(b.store, 3, NOW), REDEEM_UNKNOWN);
    ck_assert_int_eq(fixture_redeem(b.store, 2, NOW), REDEEM_EXPIRED);
    store_client_purge(b.client, NOW + 24 * HOUR_MS - 1, on_count, &a);
    fixture_run(&b.loop, &a.count, 9);
    ck_assert_int_eq(a.rc, 0);
    store_request_cancel(store_client_purge(b.client, NOW, nobody_hears, NULL));
    store_client_purge(b.client, NOW + 24 * HOUR_MS, on_count, &a);
    fixture_run(&b.loop, &a.count, 10);
    ck_assert_int_eq(a.rc, 701);
    ck_assert_uint_eq(fixture_count(b.store), 0);
    bench_close(&b);
}
END_TEST

/* ---- pages ---- */

struct page {
    unsigned count; /* answers */
    int rc;
    size_t records;
    bool more;
    uint8_t hashes[STORE_PAGE_MAX][RECORD_HASH];
    int64_t issued_ms[STORE_PAGE_MAX];
    enum ticket_state states[STORE_PAGE_MAX];
};

static void on_page(void *owner, int rc, struct record *const *records, size_t count, bool more)
{
    struct page *p = owner;
    p->count++;
    p->rc = rc;
    p->records = count;
    p->more = more;
    ck_assert(rc == 0 || count == 0);
    for (size_t i = 0; i < count; i++) {
        memcpy(p->hashes[i], records[i]->hash, RECORD_HASH);
        p->issued_ms[i] = records[i]->issued_ms;
        p->states[i] = records[i]->state;
    }
}

static void ask(struct bench *b, struct page *p, struct store_query q)
{
    unsigned before = p->count;
    char user[16], digits[80];
    if (q.user)
        q.user = strcpy(user, q.user);
    if (q.fingerprint)
        q.fingerprint = strcpy(digits, q.fingerprint);
    store_client_list(b->client, &q, on_page, p);
    memset(user, 'x', sizeof user - 1); /* what was asked with is the caller's again */
    memset(digits, 'x', sizeof digits - 1);
    ck_assert_uint_eq(p->count, before);
    fixture_run(&b->loop, &p->count, before + 1);
}

START_TEST(pages_in_hash_order)
{
    static const size_t limits[] = {1, 7, 100, 350, 351, STORE_PAGE_MAX};
    enum { COUNT = 351 };
    static struct page p;
    struct bench b;
    bench_open(&b, _i);
    for (unsigned n = 0; n < COUNT; n++)
        issue_for(b.store, n, n % 2 ? "a" : "b", NOW);
    ck_assert_int_eq(fixture_redeem(b.store, 1, NOW), REDEEM_OK);
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        struct store_query q = {.limit = limits[i]};
        size_t seen = 0, used = 0;
        do {
            ask(&b, &p, q);
            ck_assert_int_eq(p.rc, 0);
            ck_assert_uint_le(p.records, limits[i]);
            for (size_t k = 0; k < p.records; k++) {
                const uint8_t *before = k > 0 ? p.hashes[k - 1] : q.has_after ? q.after : NULL;
                ck_assert(before == NULL || memcmp(before, p.hashes[k], RECORD_HASH) < 0);
                used += p.states[k] == TICKET_USED;
            }
            seen += p.records;
            ck_assert(p.more == (seen < COUNT));
            q.has_after = true;
            memcpy(q.after, p.hashes[p.records - 1], RECORD_HASH);
        } while (p.more);
        ck_assert_uint_eq(seen, COUNT);
        ck_assert_uint_eq(used, 1);
    }
    bench_close(&b);
}
END_TEST

START_TEST(pages_of_a_user)
{
    static struct page p;
    struct bench b;
    bench_open(&b, _i);
    for (unsigned n = 0; n < 300; n++) /* all over time, and the third part of them over */
        issue_for(b.store, n, n % 3 ? "a" : "b", NOW - 7919 * n % 1000);
    for (unsigned n = 0; n < 300; n += 2)
        ck_assert_int_eq(fixture_redeem(b.store, n, NOW), REDEEM_OK);
    for (size_t limit = 1; limit <= STORE_PAGE_MAX; limit += 83) {
        ask(&b, &p, (struct store_query){.user = "a", .limit = limit});
        ck_assert_int_eq(p.rc, 0);
        ck_assert_uint_eq(p.records, limit < 200 ? limit : 200);
        ck_assert(p.more == (limit < 200));
        for (size_t k = 1; k < p.records; k++)
            ck_assert(p.issued_ms[k - 1] > p.issued_ms[k] ||
                      (p.issued_ms[k - 1] == p.issued_ms[k] &&
                       memcmp(p.hashes[k - 1], p.hashes[k], RECORD_HASH) > 0));
    }
    static const char *const nobody[] = {"", "A", "ab", "c"};
    for (size_t i = 0; i < sizeof nobody / sizeof nobody[0]; i++) {
        ask(&b, &p, (struct store_query){.user = nobody[i], .limit = 9});
        ck_assert(p.rc == 0 && p.records == 0 && !p.more);
    }
    bench_close(&b);
}
END_TEST

START_TEST(pages_by_fingerprint)
{
    static struct page p;
    struct bench b;
    bench_open(&b, _i);
    static const unsigned char begin[][2] = {{0xab, 0xcd}, {0xab, 0xcd}, {0xab, 0xce}, {0xff, 0xff}};
    for (unsigned n = 0; n < 4; n++) {
        struct record r = fixture_ticket(n, TICKET_SESSION);
        memcpy(r.hash, begin[n], 2);
        r.hash[2] = (uint8_t)n;
        r.user = n == 1 ? "a" : "b";
        ck_assert_int_eq(store_issue(b.store, &r), 0);
    }
    static const struct {
        struct store_query q;
        int rc;
        size_t records;
        bool more;
        unsigned first; /* third byte of its hash */
    } cases[] = {
        {{.fingerprint = "abcd", .limit = 9}, 0, 2, false, 0},
        {{.fingerprint = "ABCD", .limit = 1}, 0, 1, true, 0},
        {{.fingerprint = "abcd01", .limit = 1}, 0, 1, false, 1},
        {{.fingerprint = "abcd", .limit = 9, .has_after = true, .after = {0xab, 0xcd, 0, 0xff, 0xff}},
         0,
         1,
         false,
         1},
        {{.fingerprint = "abcd", .limit = 9, .has_after = true, .after = {0x10}}, 0, 2, false, 0},
        {{.fingerprint = "abcd", .limit = 9, .has_after = true, .after = {0xff}}, 0, 0, false, 0},
        {{.fingerprint = "abcd", .user = "a", .limit = 9}, 0, 1, false, 1},
        {{.fingerprint = "ffff", .user = "a", .limit = 9}, 0, 0, false, 0},
        {{.fingerprint = "0000", .limit = 9}, 0, 0, false, 0},
        {{.fingerprint = "abc", .limit = 9}, ERR_SYNTAX, 0, false, 0},
        {{.fingerprint = "abcx", .limit = 9}, ERR_SYNTAX, 0, false, 0},
        {{.limit = 0}, ERR_SYNTAX, 0, false, 0},
        {{.limit = STORE_PAGE_MAX + 1}, ERR_SYNTAX, 0, false, 0},
        {{.user = "a", .has_after = true, .limit = 9}, ERR_SYNTAX, 0, false, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ask(&b, &p, cases[i].q);
        ck_assert_msg(p.rc == cases[i].rc && p.records == cases[i].records && p.more == cases[i].more,
                      "case %zu: %s, %zu records", i, err_text(p.rc), p.records);
        if (p.records > 0)
            ck_assert_uint_eq(p.hashes[0][2], cases[i].first);
    }
    bench_close(&b);
}
END_TEST

/* ---- watching ---- */

struct watcher {
    pthread_mutex_t mutex;
    unsigned any;
    unsigned revoked[4000], expired[4000];
};

static void on_ended(void *owner, const uint8_t *hash, enum ticket_state how)
{
    struct watcher *w = owner;
    pthread_mutex_lock(&w->mutex);
    ck_assert(how == TICKET_REVOKED || how == TICKET_EXPIRED);
    w->any += hash == NULL;
    for (unsigned n = 0; hash != NULL && n < 4000; n++) {
        struct record r = fixture_ticket(n, TICKET_SESSION);
        if (memcmp(r.hash, hash, RECORD_HASH) == 0)
            ++*(how == TICKET_REVOKED ? &w->revoked[n] : &w->expired[n]);
    }
    pthread_mutex_unlock(&w->mutex);
}

static unsigned look(struct watcher *w, const unsigned *number)
{
    pthread_mutex_lock(&w->mutex);
    unsigned n = *number;
    pthread_mutex_unlock(&w->mutex);
    return n;
}

static void wait_for(struct watcher *w, const unsigned *number, unsigned at_least)
{
    uint64_t end = clock_mono_ms() + 30000;
    while (look(w, number) < at_least) {
        ck_assert_uint_lt(clock_mono_ms(), end);
        usleep(500);
    }
}

START_TEST(watchers_hear)
{
    static struct watcher w = {.mutex = PTHREAD_MUTEX_INITIALIZER},
                          late = {.mutex = PTHREAD_MUTEX_INITIALIZER};
    struct bench b;
    struct answers a = {0};
    bench_open(&b, _i);
    for (unsigned n = 0; n < 20; n++)
        issue_for(b.store, n, n < 10 ? "a" : "b", NOW + n);
    ck_assert_int_eq(store_revoke(b.store, fixture_ticket(0, TICKET_SESSION).hash, NOW), 0); /* before */
    struct store_watch *watch = store_watch(b.store, on_ended, &w);

    ck_assert_int_eq(store_revoke(b.store, fixture_ticket(1, TICKET_SESSION).hash, NOW), 0);
    ck_assert_int_eq(store_revoke(b.store, fixture_ticket(1, TICKET_SESSION).hash, NOW), 0); /* once only */
    ck_assert_int_eq(fixture_redeem(b.store, 2, NOW), REDEEM_OK);
    /* a used one may have a tunnel all the same */
    ck_assert_int_eq(store_revoke(b.store, fixture_ticket(2, TICKET_SESSION).hash, NOW), 0);
    ck_assert_int_eq(store_end(b.store, fixture_ticket(3, TICKET_SESSION).hash, STORE_SWEEP_EXPIRE, NOW), 0);
    ck_assert_int_eq(store_end(b.store, fixture_ticket(4, TICKET_SESSION).hash, STORE_SWEEP_FORGET, NOW), 0);
    store_client_revoke(b.client, fixture_ticket(5, TICKET_SESSION).hash, NOW, fixture_on_done, &a);
    fixture_run(&b.loop, &a.count, 1);
    store_configure(b.store, &(struct store_options){.limits = {.per_user = 4, .evict_oldest = true}});
    issue_for(b.store, 20, "a", NOW); /* 6 gives way */
    struct store_watch *second = store_watch(b.store, on_ended, &late);
    ck_assert_int_eq(store_sweep(b.store, STORE_SWEEP_FORGET, "a", NOW), 4);
    ck_assert_int_eq(store_sweep(b.store, STORE_SWEEP_EXPIRE, "b", NOW), 10);
    wait_for(&w, &w.expired[19], 1);
    for (unsigned n = 10; n < 20; n++) {
        wait_for(&w, &w.expired[n], 1);
        wait_for(&late, &late.expired[n], 1);
    }
    for (unsigned n = 0; n < 21; n++) {
        unsigned revoked = n == 1 || n == 2 || n == 5 || n == 6, expired = n == 3 || (n >= 10 && n < 20);
        ck_assert_msg(look(&w, &w.revoked[n]) == revoked, "ticket %u: revoked %u times", n, w.revoked[n]);
        ck_assert_msg(look(&w, &w.expired[n]) == expired, "ticket %u: expired", n);
    }
    ck_assert_uint_eq(look(&w, &w.any), 0);
    ck_assert_uint_eq(look(&late, &late.revoked[1]), 0);
    store_unwatch(second);
    store_unwatch(watch);
    issue_for(b.store, 21, "c", NOW);
    ck_assert_int_eq(store_revoke(b.store, fixture_ticket(21, TICKET_SESSION).hash, NOW), 0);
    bench_close(&b);
    ck_assert_uint_eq(w.revoked[21], 0);
}
END_TEST

/* Of many at once, what is told last is that any may have ended, and not all of them one by one. */
START_TEST(watchers_hear_of_many)
{
    enum { COUNT = 3000 };
    static struct watcher w = {.mutex = PTHREAD_MUTEX_INITIALIZER};
    struct bench b;
    struct answers a = {0};
    bench_open(&b, _i);
    struct store_watch *watch = store_watch(b.store, on_ended, &w);
    for (unsigned n = 0; n < COUNT; n++) {
        struct record r = fixture_ticket(n, TICKET_SESSION);
        store_client_issue(b.client, &r, fixture_on_done, &a);
    }
    fixture_run(&b.loop, &a.count, COUNT);
    store_client_sweep(b.client, STORE_SWEEP_EXPIRE, NULL, NOW, on_count, &a);
    fixture_run(&b.loop, &a.count, COUNT + 1);
    ck_assert_int_eq(a.rc, COUNT);
    wait_for(&w, &w.any, 1);
    unsigned single = 0;
    for (unsigned n = 0; n < COUNT; n++)
        single += look(&w, &w.expired[n]);
    ck_assert_uint_le(single, 100);
    ck_assert_uint_le(look(&w, &w.any), 100);
    store_unwatch(watch);
    bench_close(&b);
}
END_TEST

struct endless {
    struct store *store;
    atomic_bool stop;
};

static void *end_tickets(void *arg)
{
    struct endless *e = arg;
    for (unsigned n = 0; !atomic_load(&e->stop); n++) {
        struct record r = fixture_ticket(n % 4000, TICKET_SESSION);
        store_issue(e->store, &r);
        store_revoke(e->store, r.hash, NOW);
    }
    return NULL;
}

/* When it returns, nothing is under way. */
START_TEST(unwatching_is_final)
{
    struct bench b;
    bench_open(&b, _i);
    struct endless e = {.store = b.store};
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, end_tickets, &e), 0);
    for (unsigned round = 0; round < 100; round++) {
        struct watcher *w = mem_zalloc(sizeof *w); /* for the sanitizers to see */
        pthread_mutex_init(&w->mutex, NULL);
        struct store_watch *watch = store_watch(b.store, on_ended, w);
        if (round % 3 == 0)
            usleep(100);
        store_unwatch(watch);
        pthread_mutex_destroy(&w->mutex);
        free(w);
    }
    atomic_store(&e.stop, true);
    pthread_join(thread, NULL);
    bench_close(&b);
}
END_TEST

static void add_tests(TCase *tc)
{
    tcase_add_loop_test(tc, client_does_everything, 0, KINDS);
    tcase_add_loop_test(tc, pages_in_hash_order, 0, KINDS);
    tcase_add_loop_test(tc, pages_of_a_user, 0, KINDS);
    tcase_add_loop_test(tc, pages_by_fingerprint, 0, KINDS);
    tcase_add_loop_test(tc, watchers_hear, 0, KINDS);
    tcase_add_loop_test(tc, watchers_hear_of_many, 0, KINDS);
    tcase_add_loop_test(tc, unwatching_is_final, 0, KINDS);
}

int main(void)
{
    return fixture_run_suite("store_watch", add_tests);
}
