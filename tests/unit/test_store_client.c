/* The store as event loops use it, the same cases over memory and LMDB: answers at once and later,
 * cancelling, closing, batches, and several loops on one store.
 */
#include "store_fixture.h"

#include <pthread.h>

#include "base/clock.h"

START_TEST(client_answers_reads_at_once)
{
    uv_loop_t loop;
    uv_loop_init(&loop);
    struct store *s = fixture_open_kind(_i, (struct store_options){0});
    struct store_client *c = store_client_new(s, &loop);
    for (unsigned n = 0; n < 4; n++) {
        struct record r = fixture_ticket(n, n == 0 ? TICKET_BACKGROUND : TICKET_SESSION);
        r.expires_ms = n == 3 ? NOW - 1 : r.expires_ms;
        ck_assert_int_eq(store_issue(s, &r), 0);
    }
    ck_assert_int_eq(fixture_redeem(s, 1, NOW), REDEEM_OK);
    ck_assert_int_eq(store_revoke(s, fixture_ticket(2, TICKET_SESSION).hash, NOW - 1), 0);
    struct answers a = {0};
    for (unsigned n = 0; n < 5; n++) {
        ck_assert_ptr_null(fixture_client_redeem(c, n, &a));
        ck_assert_ptr_null(fixture_client_redeem(c, n, &a));
    }
    ck_assert_uint_eq(a.by_verdict[REDEEM_OK], 2);
    ck_assert_uint_eq(a.by_verdict[REDEEM_USED], 2);
    ck_assert_uint_eq(a.by_verdict[REDEEM_REVOKED], 2);
    ck_assert_uint_eq(a.by_verdict[REDEEM_EXPIRED], 2);
    ck_assert_uint_eq(a.by_verdict[REDEEM_UNKNOWN], 2);
    fixture_close_client(c, &loop);
    store_close(s);
    ck_assert_int_eq(uv_loop_close(&loop), 0);
}
END_TEST

START_TEST(client_writes)
{
    uv_loop_t loop;
    uv_loop_init(&loop);
    struct store *s = fixture_open_kind(_i, (struct store_options){0});
    struct store_client *c = store_client_new(s, &loop);
    struct answers a = {0};
    struct record r = fixture_ticket(1, TICKET_SESSION), too_big = r;
    too_big.service_count = RECORD_SERVICES_MAX + 1;

    const struct {
        const struct record *issue; /* else revoke ticket 1 or 2 */
        unsigned revoke;
        int rc;
    } steps[] = {
        {&r, 0, 0}, {&r, 0, ERR_EXISTS}, {&too_big, 0, ERR_TOO_BIG}, {NULL, 1, 0}, {NULL, 2, ERR_NOT_FOUND}};
    for (unsigned i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        a.inside = true;
        struct store_request *request =
            steps[i].issue ? store_client_issue(c, steps[i].issue, fixture_on_done, &a)
                           : store_client_revoke(c, fixture_ticket(steps[i].revoke, TICKET_SESSION).hash, NOW,
                                                 fixture_on_done, &a);
        a.inside = false;
        ck_assert_ptr_nonnull(request);
        fixture_run(&loop, &a.count, i + 1);
        ck_assert_int_eq(a.rc, steps[i].rc);
    }
    ck_assert_int_eq(fixture_redeem(s, 1, NOW), REDEEM_REVOKED);

    /* two redemptions of one ticket, on their way together */
    r = fixture_ticket(3, TICKET_SESSION);
    ck_assert_int_eq(store_issue(s, &r), 0);
    a = (struct answers){0};
    struct store_request *first = fixture_client_redeem(c, 3, &a), *second = fixture_client_redeem(c, 3, &a);
    ck_assert((first != NULL) == (_i != KIND_MEMORY) && (second != NULL) == (_i != KIND_MEMORY));
    fixture_run(&loop, &a.count, 2);
    ck_assert_uint_eq(a.by_verdict[REDEEM_OK], 1);
    ck_assert_uint_eq(a.by_verdict[REDEEM_USED], 1);
    fixture_close_client(c, &loop);
    store_close(s);
    ck_assert_int_eq(uv_loop_close(&loop), 0);
}
END_TEST

/* Cancelled requests are done, but nobody hears of it; closing waits for open ones and lets them call back.
 */
START_TEST(client_cancels_and_closes)
{
    enum { COUNT = 400 };
    uv_loop_t loop;
    uv_loop_init(&loop);
    struct store *s = fixture_open_kind(_i, (struct store_options){0});
    struct store_client *c = store_client_new(s, &loop);
    struct answers a = {0}, cancelled = {0};
    for (unsigned n = 0; n < COUNT; n++) {
        struct record r = fixture_ticket(n, TICKET_SESSION);
        struct store_request *request = store_client_issue(c, &r, fixture_on_done, n % 2 ? &a : &cancelled);
        if (n % 2 == 0)
            store_request_cancel(request);
    }
    unsigned closed = 0;
    store_client_close(c, fixture_closed, &closed);
    fixture_run(&loop, &closed, 1);
    ck_assert_uint_eq(a.count, COUNT / 2);
    ck_assert_uint_eq(cancelled.count, 0);
    ck_assert_uint_eq(fixture_count(s), COUNT);

    c = store_client_new(s, &loop);
    a = (struct answers){0};
    for (unsigned n = 0; n < COUNT; n++) {
        struct store_request *request = fixture_client_redeem(c, n, n % 2 ? &a : &cancelled);
        if (n % 2 == 0 && request != NULL)
            store_request_cancel(request);
    }
    closed = 0;
    store_client_close(c, fixture_closed, &closed);
    fixture_run(&loop, &closed, 1);
    ck_assert_uint_eq(a.by_verdict[REDEEM_OK], COUNT / 2);
    ck_assert_uint_eq(cancelled.count, _i != KIND_MEMORY ? 0 : COUNT / 2);
    for (unsigned n = 0; n < COUNT; n++)
        ck_assert_int_eq(fixture_redeem(s, n, NOW), REDEEM_USED);
    store_close(s);
    ck_assert_int_eq(uv_loop_close(&loop), 0);
}
END_TEST

/* Many small tickets, filled to the last and expired: a whole batch of purging touches more pages than are
 * left. */
START_TEST(full_store_purges_the_expired)
{
    enum { BATCH = 500, BATCHES = 200 };
    uv_loop_t loop;
    uv_loop_init(&loop);
    struct store *s = fixture_open_kind(_i, (struct store_options){.max_bytes = 4 << 20});
    struct store_client *c = store_client_new(s, &loop);
    struct answers a = {0};
    for (unsigned batch = 0; batch < BATCHES && a.rc == 0; batch++) {
        for (unsigned n = 0; n < BATCH; n++) {
            struct record r = fixture_ticket(batch * BATCH + n, TICKET_BACKGROUND);
            r.expires_ms = NOW + batch * BATCH + n; /* purged in this order, all over the tree of hashes */
            store_client_issue(c, &r, fixture_on_done, &a);
        }
        fixture_run(&loop, &a.count, (batch + 1) * BATCH);
    }
    ck_assert_int_eq(a.rc, ERR_STORE_FULL);
    unsigned there = fixture_count(s);
    ck_assert_uint_gt(there, 5000);
    ck_assert_int_eq(store_purge(s, NOW + 100 * HOUR_MS, 0), there);
    ck_assert_uint_eq(fixture_count(s), 0);
    struct record r = fixture_ticket(1, TICKET_BACKGROUND);
    ck_assert_int_eq(store_issue(s, &r), 0);
    fixture_close_client(c, &loop);
    store_close(s);
    ck_assert_int_eq(uv_loop_close(&loop), 0);
}
END_TEST

struct closing {
    struct store_client *client;
    struct store_request *other;
    unsigned count;
    unsigned closed;
};

static void close_inside(void *owner, int rc)
{
    struct closing *x = owner;
    ck_assert_int_eq(rc, 0);
    if (x->count++ > 0)
        return;
    store_request_cancel(x->other); /* finished already, or about to be: either way unheard */
    store_client_close(x->client, fixture_closed, &x->closed);
}

START_TEST(client_closes_inside_a_callback)
{
    uv_loop_t loop;
    uv_loop_init(&loop);
    struct store *s = fixture_open_kind(_i, (struct store_options){0});
    struct closing x = {.client = store_client_new(s, &loop)};
    struct record r[3];
    for (unsigned n = 0; n < 3; n++)
        r[n] = fixture_ticket(n, TICKET_SESSION);
    store_client_issue(x.client, &r[0], close_inside, &x);
    store_client_issue(x.client, &r[1], close_inside, &x);
    x.other = store_client_issue(x.client, &r[2], close_inside, &x);
    fixture_run(&loop, &x.closed, 1);
    ck_assert_uint_eq(x.count, 2);
    ck_assert_uint_eq(fixture_count(s), 3);
    store_close(s);
    ck_assert_int_eq(uv_loop_close(&loop), 0);
}
END_TEST

/* One operation's failure in the middle of a batch is its own. */
START_TEST(failures_in_a_batch_are_single)
{
    enum { COUNT = 500 };
    uv_loop_t loop;
    uv_loop_init(&loop);
    struct store *s = fixture_open_kind(_i, (struct store_options){.max_bytes = 3 << 20});
    struct store_client *c = store_client_new(s, &loop);
    static char text[8000];
    memset(text, 'x', sizeof text - 1);
    struct record_value big[] = {{"XData", text}};
    struct answers small[COUNT] = {{0}}, large[COUNT] = {{0}}, all = {0};
    for (unsigned n = 0; n < COUNT;
         n++) { /* the large ones do not all fit, and what is full is full for the small ones too */
        struct record r = fixture_ticket(n, TICKET_SESSION);
        store_client_issue(c, &r, fixture_on_done, &small[n]);
        r = fixture_ticket(1000 + n, TICKET_SESSION);
        r.values = big;
        r.value_count = 1;
        store_client_issue(c, &r, fixture_on_done, &large[n]);
    }
    struct record r = fixture_ticket(0, TICKET_SESSION);
    store_client_revoke(c, r.hash, NOW, fixture_on_done, &all);
    fixture_run(&loop, &all.count, 1);
    ck_assert_int_eq(all.rc, 0);
    unsigned issued = 0;
    for (unsigned n = 0; n < COUNT; n++) {
        ck_assert_uint_eq(small[n].count, 1);
        ck_assert_uint_eq(large[n].count, 1);
        ck_assert(small[n].rc == 0 || small[n].rc == ERR_STORE_FULL);
        ck_assert(large[n].rc == 0 || large[n].rc == ERR_STORE_FULL);
        ck_assert(n < 50 ? small[n].rc == 0 : true);
        issued += (small[n].rc == 0) + (large[n].rc == 0);
        struct record t = fixture_ticket(1000 + n, TICKET_SESSION), *out = NULL;
        ck_assert_int_eq(store_get(s, t.hash, &out), large[n].rc == 0 ? 0 : ERR_NOT_FOUND);
        free(out);
    }
    ck_assert_uint_lt(issued, 2 * COUNT);
    ck_assert_uint_eq(fixture_count(s), issued);
    fixture_close_client(c, &loop);
    store_close(s);
    ck_assert_int_eq(uv_loop_close(&loop), 0);
}
END_TEST

/* ---- threads ---- */

enum { THREADS = 4, TICKETS = 200 };

struct racer {
    struct store *store;
    pthread_t thread;
    unsigned own;
    bool synchronous;
    struct answers answers;
};

/* Issues tickets of its own, and tries to redeem everybody's. */
static void *race(void *arg)
{
    struct racer *x = arg;
    uv_loop_t loop;
    uv_loop_init(&loop);
    struct store_client *c = store_client_new(x->store, &loop);
    struct answers issued = {0};
    for (unsigned n = 0; n < TICKETS; n++) {
        struct record r = fixture_ticket(1000 + x->own * TICKETS + n, TICKET_SESSION);
        store_client_issue(c, &r, fixture_on_done, &issued);
        if (x->synchronous) {
            enum redeem verdict = fixture_redeem(x->store, n, NOW);
            x->answers.by_verdict[verdict]++;
            x->answers.count++;
        } else {
            fixture_client_redeem(c, n, &x->answers);
            uv_run(&loop, UV_RUN_NOWAIT);
        }
    }
    fixture_run(&loop, &x->answers.count, TICKETS);
    fixture_run(&loop, &issued.count, TICKETS);
    fixture_close_client(c, &loop);
    ck_assert_int_eq(uv_loop_close(&loop), 0);
    return NULL;
}

START_TEST(single_use_holds_between_threads)
{
    /* The thread purges beside it, and finds nothing to do. Its first purge may begin as soon as it is open:
     * with today's time instead of NOW it would take all tickets. */
    clock_set_offset_ms(NOW - clock_wall_ms());
    struct store *s = fixture_open_kind(_i, (struct store_options){.purge_every_ms = 3});
    for (unsigned n = 0; n < TICKETS; n++) {
        struct record r = fixture_ticket(n, TICKET_SESSION);
        ck_assert_int_eq(store_issue(s, &r), 0);
    }
    struct racer racers[THREADS] = {{0}};
    for (unsigned t = 0; t < THREADS; t++) {
        racers[t] = (struct racer){.store = s, .own = t, .synchronous = t == 0};
        ck_assert_int_eq(pthread_create(&racers[t].thread, NULL, race, &racers[t]), 0);
    }
    unsigned ok = 0, used = 0;
    for (unsigned t = 0; t < THREADS; t++) {
        pthread_join(racers[t].thread, NULL);
        ok += racers[t].answers.by_verdict[REDEEM_OK];
        used += racers[t].answers.by_verdict[REDEEM_USED];
        ck_assert_msg(racers[t].answers.by_verdict[REDEEM_DOWN] == 0, "thread %u: %u without an answer", t,
                      racers[t].answers.by_verdict[REDEEM_DOWN]);
    }
    ck_assert_uint_eq(ok, TICKETS);
    ck_assert_uint_eq(used, (THREADS - 1) * TICKETS);
    ck_assert_uint_eq(fixture_count(s), (THREADS + 1) * TICKETS);
    store_close(s);
}
END_TEST

static void add_tests(TCase *tc)
{
    tcase_add_loop_test(tc, client_answers_reads_at_once, 0, KINDS_HERE);
    tcase_add_loop_test(tc, client_writes, 0, KINDS);
    tcase_add_loop_test(tc, client_cancels_and_closes, 0, KINDS);
    tcase_add_loop_test(tc, full_store_purges_the_expired, 0, KINDS_HERE);
    tcase_add_loop_test(tc, client_closes_inside_a_callback, 0, KINDS);
    tcase_add_loop_test(tc, failures_in_a_batch_are_single, 0, KINDS_HERE);
    tcase_add_loop_test(tc, single_use_holds_between_threads, 0, KINDS);
}

int main(void)
{
    return fixture_run_suite("store_client", add_tests);
}
