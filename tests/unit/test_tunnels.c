/* Tickets in use: what revoking, expiry, forced time-outs and refreshing do to their connections. The worker
 * and its connections are made up; what happens to a connection is written down instead of done. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/gate/conn_impl.h"
#include "../../src/gate/tunnels.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#define HOUR_MS ((int64_t)3600 * 1000)
#define CONNS   2000

static struct worker worker;
static struct tunnels tunnels;
static struct settings settings[2];
static struct runtime runtimes[2];
static struct authority *authority;
static struct worker_runtime *in_use[2];
static struct conn conns[CONNS];
static unsigned ended, refused, drained;

/* ---- what conn.c does ---- */

static void note_end(struct conn *c, enum reason r)
{
    ck_assert_int_eq(c->reason, REASON_OK); /* once */
    c->reason = (uint8_t)r;
    tunnels_remove(&tunnels, c);
}

void conn_end(struct conn *c, enum reason r, const char *detail)
{
    ck_assert_ptr_null(detail);
    ck_assert_int_ge(c->state, CONN_INNER);
    note_end(c, r);
    ended++;
}

void conn_refuse(struct conn *c, enum reason r, const char *detail)
{
    ck_assert_ptr_null(detail);
    ck_assert_int_lt(c->state, CONN_INNER);
    note_end(c, r);
    refused++;
}

void conn_drain(struct conn *c)
{
    ck_assert(!c->draining);
    c->draining = true;
    drained++;
}

/* ---- a worker ---- */

static void turn(void)
{
    uv_run(&worker.loop.uv, UV_RUN_NOWAIT);
}

#define RUN_UNTIL(expr)                                                                                      \
    do {                                                                                                     \
        uint64_t end_ns_ = uv_hrtime() + 20ull * 1000000000;                                                 \
        while (!(expr) && uv_hrtime() < end_ns_)                                                             \
            turn();                                                                                          \
        ck_assert(expr);                                                                                     \
    } while (0)

static struct worker_runtime *make_runtime(int i)
{
    struct worker_runtime *wr = mem_zalloc(sizeof *wr + sizeof wr->clients[0]);
    runtimes[i] = (struct runtime){.settings = &settings[i], .authority_count = 1, .authorities = &authority};
    settings[i].policy.on_expiry = EXPIRY_CUT;
    settings[i].timeouts.drain = HOUR_MS;
    wr->worker = &worker;
    wr->runtime = &runtimes[i];
    wr->clients[0] = authority_client_new(authority, &worker.loop, NULL);
    return wr;
}

static void setup(void)
{
    char why[256];
    const struct authority_options o = {.id = "STA01", .store = "memory:", .signature = "test"};
    log_setup(LOG_JSON, LOG_ERROR);
    clock_set_offset_ms(0);
    ck_assert_int_eq(netloop_init(&worker.loop), 0);
    ck_assert_int_eq(authority_open(&authority, &o, why, sizeof why), 0);
    for (int i = 0; i < 2; i++)
        in_use[i] = make_runtime(i);
    tunnels_init(&tunnels, &worker);
    for (int i = 0; i < CONNS; i++) {
        list_init(&conns[i].ticket_link);
        conns[i].runtime = in_use[0];
        conns[i].state = CONN_RELAY;
    }
}

static void on_closed(void *owner)
{
    *(bool *)owner = true;
}

static void teardown(void)
{
    for (int i = 0; i < CONNS; i++)
        tunnels_remove(&tunnels, &conns[i]);
    tunnels_deinit(&tunnels);
    for (int i = 0; i < 2; i++) {
        bool closed = false;
        authority_client_close(in_use[i]->clients[0], on_closed, &closed);
        RUN_UNTIL(closed);
        free(in_use[i]);
    }
    authority_unref(authority);
    netloop_deinit(&worker.loop);
}

/* ---- tickets ---- */

static struct record ticket(unsigned n, int64_t lives_ms)
{
    struct record r = {.class = TICKET_BACKGROUND,
                       .issued_ms = clock_wall_ms(),
                       .expires_ms = clock_wall_ms() + lives_ms,
                       .user = "alice",
                       .device = ""};
    record_hash(r.hash, (const char *)&n, sizeof n);
    return r;
}

static struct record refreshable(unsigned n, int64_t refresh_ms)
{
    struct record r = ticket(n, refresh_ms);
    r.class = TICKET_SESSION;
    r.refresh_ms = refresh_ms;
    return r;
}

static void keep(const struct record *r)
{
    ck_assert_int_eq(store_issue(authority->store, r), 0);
}

static void add(int conn, const struct record *r)
{
    static const struct ticket_ref ref = {"STA01", "A"};
    tunnels_add(&tunnels, &conns[conn], r, &ref, conns[conn].runtime->clients[0]);
    ck_assert_ptr_nonnull(conns[conn].held);
}

/* What the timer does once a second. */
static void tick(void)
{
    ck_assert(!list_empty(&tunnels.tick.link));
    deadline_clear(&tunnels.tick);
    tunnels.tick.expired(&tunnels.tick);
}

static void expect_alive(int conn)
{
    ck_assert_msg(conns[conn].reason == REASON_OK && conns[conn].held != NULL, "connection %d", conn);
}

static void expect_ended(int conn, enum reason r)
{
    ck_assert_msg(conns[conn].reason == r && conns[conn].held == NULL, "connection %d: %d", conn,
                  conns[conn].reason);
}

/* ---- coming and going ---- */

START_TEST(one_entry_for_each_ticket)
{
    const struct record a = ticket(1, HOUR_MS), b = ticket(2, HOUR_MS);
    add(0, &a);
    add(1, &a);
    add(2, &b);
    ck_assert_uint_eq(tunnels.count, 2);
    ck_assert_ptr_eq(conns[0].held, conns[1].held);
    tunnels_remove(&tunnels, &conns[0]);
    tunnels_remove(&tunnels, &conns[0]); /* harmless */
    ck_assert_uint_eq(tunnels.count, 2);
    tunnels_remove(&tunnels, &conns[1]);
    ck_assert_uint_eq(tunnels.count, 1);
    tunnels_remove(&tunnels, &conns[3]); /* never came in */
    tunnels_remove(&tunnels, &conns[2]);
    ck_assert_uint_eq(tunnels.count, 0);
    ck_assert_uint_eq(tunnels.heap.count, 0);
}
END_TEST

/* ---- revoked ---- */

START_TEST(a_revoked_ticket_takes_all_its_connections_along)
{
    const struct record a = ticket(1, HOUR_MS), b = ticket(2, HOUR_MS), c = ticket(3, HOUR_MS);
    for (int i = 0; i < 5; i++)
        add(i, &a);
    conns[1].state = CONN_CONNECT; /* not a tunnel yet */
    conns[4].state = CONN_RESOLVE;
    add(5, &b);
    tunnels_ended(&tunnels, authority, c.hash, TICKET_REVOKED); /* not in use here */
    tunnels_ended(&tunnels, NULL, a.hash, TICKET_REVOKED);      /* another authority's */
    ck_assert_uint_eq(ended + refused, 0);
    tunnels_ended(&tunnels, authority, a.hash, TICKET_REVOKED);
    ck_assert_uint_eq(ended, 3);
    ck_assert_uint_eq(refused, 2);
    for (int i = 0; i < 5; i++) {
        expect_ended(i, REASON_TICKET_REVOKED);
        ck_assert(!conns[i].story.injected);
    }
    expect_alive(5);
    ck_assert_uint_eq(tunnels.count, 1);
}
END_TEST

/* ---- expiry ---- */

START_TEST(expiry_by_policy)
{
    const struct record a = ticket(1, HOUR_MS);
    settings[0].policy.on_expiry = EXPIRY_KEEP;
    settings[1].policy.on_expiry = _i == 0 ? EXPIRY_CUT : EXPIRY_DRAIN;
    conns[1].runtime = in_use[1]; /* one ticket, two configurations */
    conns[2].runtime = in_use[1];
    for (int i = 0; i < 3; i++)
        add(i, &a);
    tick();
    ck_assert_uint_eq(ended + drained, 0);
    clock_set_offset_ms(HOUR_MS);
    tick();
    expect_alive(0);
    ck_assert_uint_eq(ended, _i == 0 ? 2 : 0);
    ck_assert_uint_eq(drained, _i == 0 ? 0 : 2);
    if (_i == 0) {
        expect_ended(1, REASON_TICKET_EXPIRED);
        return;
    }
    /* draining ones get the drain time, and no more */
    clock_set_offset_ms(2 * HOUR_MS - 60000);
    tick();
    ck_assert_uint_eq(ended, 0);
    clock_set_offset_ms(2 * HOUR_MS);
    tick();
    expect_ended(1, REASON_TICKET_EXPIRED);
    expect_ended(2, REASON_TICKET_EXPIRED);
    expect_alive(0);
    ck_assert_uint_eq(drained, 2);
}
END_TEST

START_TEST(a_ticket_of_one_use_does_not_expire)
{
    struct record a = ticket(1, HOUR_MS);
    a.class = TICKET_SESSION;
    add(0, &a);
    ck_assert_uint_eq(tunnels.heap.count, 0);
    clock_set_offset_ms(2 * HOUR_MS);
    tunnels_ended(&tunnels, authority, a.hash, TICKET_EXPIRED); /* not by a fault either: it is used up */
    expect_alive(0);
    tunnels_ended(&tunnels, authority, a.hash, TICKET_REVOKED);
    expect_ended(0, REASON_TICKET_REVOKED);
}
END_TEST

START_TEST(a_fault_makes_it_expire)
{
    const struct record a = ticket(1, HOUR_MS);
    add(0, &a);
    add(1, &a);
    tunnels_ended(&tunnels, authority, a.hash, TICKET_EXPIRED);
    expect_ended(0, REASON_TICKET_EXPIRED);
    expect_ended(1, REASON_TICKET_EXPIRED);
    ck_assert(conns[0].story.injected && conns[1].story.injected);
}
END_TEST

START_TEST(never_is_never)
{
    struct record a = ticket(1, HOUR_MS);
    a.expires_ms = INT64_MAX; /* a remote authority told no end */
    settings[0].policy.on_expiry = EXPIRY_DRAIN;
    add(0, &a);
    ck_assert_uint_eq(tunnels.heap.count, 0);
    conns[0].draining = true;
    add(1, &a); /* adding a drain to it must not turn it around */
    ck_assert_uint_eq(tunnels.heap.count, 0);
}
END_TEST

START_TEST(a_forced_time_out)
{
    struct record a = ticket(1, 100 * HOUR_MS), b = ticket(2, 100 * HOUR_MS);
    a.class = TICKET_SESSION; /* of whichever class */
    settings[1].policy.forced_timeout_ms = HOUR_MS;
    settings[1].policy.on_expiry = EXPIRY_KEEP;
    conns[1].runtime = in_use[1];
    conns[2].runtime = in_use[1];
    add(0, &a);
    add(1, &a);
    add(2, &b);
    clock_set_offset_ms(HOUR_MS - 60000);
    tick();
    ck_assert_uint_eq(ended, 0);
    clock_set_offset_ms(HOUR_MS);
    tick();
    expect_alive(0);
    expect_ended(1, REASON_FORCED_TIMEOUT);
    expect_ended(2, REASON_FORCED_TIMEOUT);
    ck_assert(!conns[1].story.injected);
}
END_TEST

/* The timer itself: looked at once a second, in wall-clock time. */
START_TEST(time_is_looked_at)
{
    const struct record a = ticket(1, HOUR_MS);
    add(0, &a);
    clock_set_offset_ms(HOUR_MS);
    RUN_UNTIL(ended == 1);
    expect_ended(0, REASON_TICKET_EXPIRED);
}
END_TEST

START_TEST(many_tickets_each_at_its_time)
{
    enum { STEPS = 20 };
    static int64_t lives_ms[CONNS];
    uint32_t seed = 7;
    for (int i = 0; i < CONNS; i++) {
        seed = seed * 1664525 + 1013904223;
        lives_ms[i] = HOUR_MS + (int64_t)(seed >> 8) % (STEPS * HOUR_MS);
        const struct record r = ticket((unsigned)i, lives_ms[i]);
        add(i, &r);
    }
    for (int i = 0; i < CONNS; i += 3) /* some leave by themselves */
        tunnels_remove(&tunnels, &conns[i]);
    for (int step = 1; step <= STEPS + 1; step++) {
        clock_set_offset_ms(step * HOUR_MS + 60000);
        if (tunnels.count > 0)
            tick();
        for (int i = 0; i < CONNS; i++) {
            if (i % 3 == 0 || lives_ms[i] < step * HOUR_MS - 60000)
                ck_assert(conns[i].held == NULL && (conns[i].reason != REASON_OK) == (i % 3 != 0));
            else if (lives_ms[i] > step * HOUR_MS + 120000)
                expect_alive(i);
        }
    }
    ck_assert_uint_eq(tunnels.count, 0);
    ck_assert_uint_eq(tunnels.heap.count, 0);
}
END_TEST

/* ---- refreshing ---- */

static int64_t kept_until(const struct record *r)
{
    struct record *found;
    ck_assert_int_eq(store_get(authority->store, r->hash, &found), 0);
    int64_t expires_ms = found->expires_ms;
    free(found);
    return expires_ms;
}

START_TEST(a_ticket_in_use_is_refreshed)
{
    const struct record a = refreshable(1, HOUR_MS);
    keep(&a);
    add(0, &a);
    int64_t until_ms = a.expires_ms;
    for (int i = 1; i <= 5; i++) {
        clock_set_offset_ms(i * (HOUR_MS / 2 + 60000)); /* half of its life is over */
        tick();
        RUN_UNTIL(kept_until(&a) > until_ms);
        until_ms = kept_until(&a);
        for (int k = 0; k < 20; k++)
            turn();
        expect_alive(0);
    }
    ck_assert_uint_eq(authority->counters.asked, 5);
    /* it ended elsewhere: asked once more, and then it runs out */
    ck_assert_int_eq(store_revoke(authority->store, a.hash, clock_wall_ms()), 0);
    clock_set_offset_ms(6 * (HOUR_MS / 2 + 60000));
    tick();
    RUN_UNTIL(authority->counters.answered[REDEEM_REVOKED] == 1);
    clock_set_offset_ms(10 * HOUR_MS);
    tick();
    expect_ended(0, REASON_TICKET_EXPIRED);
    ck_assert_uint_eq(authority->counters.asked, 6);
}
END_TEST

START_TEST(an_authority_that_is_away_is_asked_again)
{
    const struct record a = refreshable(1, HOUR_MS);
    keep(&a);
    add(0, &a);
    authority->faults.down = true;
    for (unsigned i = 0; i < 3; i++) {
        clock_set_offset_ms(HOUR_MS / 2 + (i + 1) * (HOUR_MS / 10 + 1000));
        tick();
        RUN_UNTIL(authority->counters.answered[REDEEM_DOWN] == i + 1);
    }
    authority->faults.down = false;
    clock_set_offset_ms(HOUR_MS - 60000);
    tick();
    RUN_UNTIL(kept_until(&a) > a.expires_ms);
    expect_alive(0);
}
END_TEST

/* Whoever says so has done nothing: the end is what it was. */
START_TEST(a_ticket_that_is_not_refreshable_after_all)
{
    struct record a = refreshable(1, HOUR_MS), kept = a;
    kept.class = TICKET_BACKGROUND;
    kept.refresh_ms = 0;
    kept.expires_ms = INT64_MAX; /* as a remote authority's that tells no end */
    keep(&kept);
    add(0, &a);
    clock_set_offset_ms(HOUR_MS / 2 + 60000);
    tick();
    RUN_UNTIL(authority->counters.answered[REDEEM_OK] == 1);
    clock_set_offset_ms(HOUR_MS + 60000);
    tick();
    expect_ended(0, REASON_TICKET_EXPIRED);
    ck_assert_uint_eq(authority->counters.asked, 1);
}
END_TEST

START_TEST(leaving_while_it_is_refreshed)
{
    const struct record a = refreshable(1, HOUR_MS);
    keep(&a);
    add(0, &a);
    clock_set_offset_ms(HOUR_MS / 2 + 60000);
    tick();
    tunnels_remove(&tunnels, &conns[0]);
    ck_assert_uint_eq(tunnels.count, 0);
    for (int i = 0; i < 50; i++)
        turn();
}
END_TEST

/* A reload: the client of a runtime that goes is not used any more. */
START_TEST(another_runtimes_client_takes_over)
{
    const struct record a = refreshable(1, HOUR_MS);
    keep(&a);
    add(0, &a);
    conns[1].runtime = in_use[1];
    add(1, &a);
    clock_set_offset_ms(HOUR_MS / 2 + 60000);
    tick(); /* asks by the first runtime's client */
    tunnels_remove(&tunnels, &conns[0]);
    bool closed = false;
    authority_client_close(in_use[0]->clients[0], on_closed, &closed);
    RUN_UNTIL(closed);
    tick();
    RUN_UNTIL(kept_until(&a) > a.expires_ms);
    expect_alive(1);
    in_use[0]->clients[0] = authority_client_new(authority, &worker.loop, NULL); /* for teardown */
}
END_TEST

/* ---- what is not known in detail ---- */

START_TEST(any_ticket_may_have_ended)
{
    static struct record all[CONNS];
    for (int i = 0; i < CONNS; i++) { /* more than are asked about at once */
        all[i] = ticket((unsigned)i, HOUR_MS);
        keep(&all[i]);
        add(i, &all[i]);
    }
    for (int i = 0; i < CONNS; i += 3)
        ck_assert_int_eq(store_revoke(authority->store, all[i].hash, clock_wall_ms()), 0);
    for (int i = 1; i < CONNS; i += 3)
        ck_assert_int_eq(store_end(authority->store, all[i].hash, STORE_SWEEP_EXPIRE, clock_wall_ms()), 0);
    tunnels_ended(&tunnels, authority, NULL, TICKET_EXPIRED);
    tunnels_ended(&tunnels, authority, NULL, TICKET_EXPIRED);
    ck_assert_uint_eq(ended, 0);
    RUN_UNTIL(ended == (CONNS + 2) / 3 + (CONNS + 1) / 3);
    RUN_UNTIL(tunnels.asking == 0 && list_empty(&tunnels.rechecks));
    for (int i = 0; i < CONNS; i++) {
        if (i % 3 == 2)
            expect_alive(i);
        else
            expect_ended(i, i % 3 == 0 ? REASON_TICKET_REVOKED : REASON_TICKET_EXPIRED);
        ck_assert(conns[i].story.injected == (i % 3 == 1));
    }
}
END_TEST

START_TEST(leaving_while_it_is_asked_about)
{
    for (int i = 0; i < 600; i++) {
        const struct record r = ticket((unsigned)i, HOUR_MS);
        keep(&r);
        add(i, &r);
    }
    tunnels_ended(&tunnels, authority, NULL, TICKET_EXPIRED);
    for (int i = 0; i < 600; i++)
        tunnels_remove(&tunnels, &conns[i]);
    ck_assert_uint_eq(tunnels.asking, 0);
    ck_assert(list_empty(&tunnels.rechecks));
    for (int i = 0; i < 50; i++)
        turn();
    ck_assert_uint_eq(ended, 0);
}
END_TEST

/* Where the table has it: they are asked about in this order. */
static uint64_t place_of(const struct record *r)
{
    uint64_t n;
    memcpy(&n, r->hash, sizeof n);
    return n & (tunnels.bucket_count - 1);
}

/* All of those that are asked about leave: the others are asked about all the same. */
START_TEST(some_leave_while_they_are_asked_about)
{
    enum { N = 600 };
    static struct record all[N];
    int last = 0;
    for (int i = 0; i < N; i++) {
        all[i] = ticket((unsigned)i, HOUR_MS);
        keep(&all[i]);
        add(i, &all[i]);
        ck_assert_int_eq(store_revoke(authority->store, all[i].hash, clock_wall_ms()), 0);
    }
    for (int i = 0; i < N; i++)
        last = place_of(&all[i]) > place_of(&all[last]) ? i : last;
    tunnels_ended(&tunnels, authority, NULL, TICKET_EXPIRED);
    for (uint64_t place = 0; place < place_of(&all[last]); place++) {
        for (int i = 0; i < N; i++) {
            if (place_of(&all[i]) == place && place < tunnels.bucket_count / 2)
                tunnels_remove(&tunnels, &conns[i]);
        }
    }
    RUN_UNTIL(conns[last].held == NULL);
    expect_ended(last, REASON_TICKET_REVOKED);
    RUN_UNTIL(tunnels.count == 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("tunnels");
    TCase *t = tcase_create("tunnels");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, one_entry_for_each_ticket);
    tcase_add_test(t, a_revoked_ticket_takes_all_its_connections_along);
    tcase_add_loop_test(t, expiry_by_policy, 0, 2);
    tcase_add_test(t, a_ticket_of_one_use_does_not_expire);
    tcase_add_test(t, a_fault_makes_it_expire);
    tcase_add_test(t, never_is_never);
    tcase_add_test(t, a_forced_time_out);
    tcase_add_test(t, time_is_looked_at);
    tcase_add_test(t, many_tickets_each_at_its_time);
    tcase_add_test(t, a_ticket_in_use_is_refreshed);
    tcase_add_test(t, an_authority_that_is_away_is_asked_again);
    tcase_add_test(t, a_ticket_that_is_not_refreshable_after_all);
    tcase_add_test(t, leaving_while_it_is_refreshed);
    tcase_add_test(t, another_runtimes_client_takes_over);
    tcase_add_test(t, any_ticket_may_have_ended);
    tcase_add_test(t, leaving_while_it_is_asked_about);
    tcase_add_test(t, some_leave_while_they_are_asked_about);
    suite_add_tcase(s, t);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
