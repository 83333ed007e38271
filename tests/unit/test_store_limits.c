/* How many live tickets there may be, refreshing, and what faults do: the same cases over memory and LMDB.
 */
#include "store_fixture.h"

#include "base/clock.h"

/* The wall clock stands at now_ms, but for the milliseconds that a test takes. */
static void set_clock(int64_t now_ms)
{
    clock_set_offset_ms(0);
    clock_set_offset_ms(now_ms - clock_wall_ms());
}

static struct store *open_limited(int kind, struct store_limits limits)
{
    set_clock(NOW);
    return fixture_open_kind(kind, (struct store_options){.limits = limits});
}

static int issue_for(struct store *s, unsigned n, const char *user, const char *device, int64_t issued_ms,
                     int64_t expires_ms)
{
    struct record r = fixture_ticket(n, TICKET_SESSION);
    r.user = user;
    r.device = device;
    r.issued_ms = issued_ms;
    r.expires_ms = expires_ms;
    return store_issue(s, &r);
}

/* As stored; forgotten by the store altogether: -1. */
static int state_of(struct store *s, unsigned n)
{
    struct record r = fixture_ticket(n, TICKET_SESSION), *out = NULL;
    int rc = store_get(s, r.hash, &out);
    int state = rc == 0 ? (int)out->state : -1;
    ck_assert(rc == 0 || rc == ERR_NOT_FOUND);
    free(out);
    return state;
}

static int revoke_one(struct store *s, unsigned n)
{
    return store_revoke(s, fixture_ticket(n, TICKET_SESSION).hash, NOW);
}

/* ---- limits ---- */

/* In this order, ticket by ticket, numbered from 0. */
struct limit_step {
    const char *user, *device;
    int64_t issued_ms; /* after NOW */
    int64_t lives_ms;
    int rc;
    int gives_way; /* which one is revoked by it; -1: none */
};

static const struct limit_case {
    const char *name;
    struct store_limits limits;
    struct limit_step steps[8];
} limit_cases[] = {
    {"none", {0}, {{"a", "p", 0, 9000, 0, -1}, {"a", "p", 0, 9000, 0, -1}, {"a", "p", 0, 9000, 0, -1}}},
    {"user",
     {.per_user = 2},
     {{"a", "p", 0, 90000, 0, -1},
      {"a", "q", 0, 90000, 0, -1},
      {"a", "r", 0, 90000, ERR_LIMIT, -1},
      {"b", "p", 0, 90000, 0, -1},
      {"A", "p", 0, 90000, 0, -1},
      {"", "p", 0, 90000, 0, -1},
      {"ab", "p", 0, 90000, 0, -1},
      {"a", "", 0, 90000, ERR_LIMIT, -1}}},
    {"device",
     {.per_device = 1},
     {{"a", "p", 0, 90000, 0, -1},
      {"a", "q", 0, 90000, 0, -1},
      {"a", "", 0, 90000, 0, -1},
      {"a", "p", 0, 90000, ERR_LIMIT, -1},
      {"b", "p", 0, 90000, 0, -1},
      {"a", "", 0, 90000, ERR_LIMIT, -1},
      {"", "ap", 0, 90000, 0, -1}}},
    {"total",
     {.total = 3},
     {{"a", "p", 0, 90000, 0, -1},
      {"b", "p", 0, 90000, 0, -1},
      {"c", "p", 0, 90000, 0, -1},
      {"d", "p", 0, 90000, ERR_LIMIT, -1},
      {"a", "p", 0, 90000, ERR_LIMIT, -1}}},
    {"the user's oldest",
     {.per_user = 2, .evict_oldest = true},
     {{"a", "p", 5, 90000, 0, -1},
      {"a", "q", 3, 90000, 0, -1},
      {"b", "q", 1, 90000, 0, -1},
      {"a", "r", 6, 90000, 0, 1},
      {"a", "s", 0, 90000, 0, 0}, /* issued before the others, and yet the new one */
      {"a", "t", 7, 90000, 0, 4}}},
    {"the device's oldest",
     {.per_user = 3, .per_device = 1, .evict_oldest = true},
     {{"a", "p", 1, 90000, 0, -1},
      {"a", "q", 2, 90000, 0, -1},
      {"a", "q", 3, 90000, 0, 1},
      {"a", "r", 4, 90000, 0, -1},
      {"a", "s", 5, 90000, 0, 0},
      {"b", "q", 6, 90000, 0, -1}}},
    {"the first to end of all",
     {.total = 3, .evict_oldest = true},
     {{"a", "p", 0, 30000, 0, -1},
      {"b", "p", 1, 20000, 0, -1},
      {"c", "p", 2, 90000, 0, -1},
      {"d", "p", 3, 80000, 0, 1},
      {"e", "p", 4, 10000, 0, 0}, /* ends before all others, and yet the new one */
      {"f", "p", 5, 90000, 0, 4}}},
    {"born dead ones do not count",
     {.per_user = 1, .total = 1},
     {{"a", "p", 0, -1, 0, -1},
      {"a", "p", 0, 90000, 0, -1},
      {"a", "p", 0, -5, 0, -1},
      {"a", "p", 0, 90000, ERR_LIMIT, -1}}}};

enum { LIMIT_CASES = sizeof limit_cases / sizeof limit_cases[0] };

START_TEST(limits_hold)
{
    const struct limit_case *c = &limit_cases[_i / KINDS];
    struct store *s = open_limited(_i % KINDS, c->limits);
    int revoked[8] = {0};
    for (unsigned n = 0; n < 8 && c->steps[n].user; n++) {
        const struct limit_step *step = &c->steps[n];
        int rc = issue_for(s, n, step->user, step->device, NOW + step->issued_ms, NOW + step->lives_ms);
        ck_assert_msg(rc == step->rc, "%s, step %u: %s", c->name, n, err_text(rc));
        if (step->gives_way >= 0)
            revoked[step->gives_way] = 1;
        for (unsigned i = 0; i <= n; i++) {
            int want = c->steps[i].rc != 0 ? -1 : revoked[i] ? TICKET_REVOKED : TICKET_LIVE;
            ck_assert_msg(state_of(s, i) == want, "%s, step %u: ticket %u is %d", c->name, n, i,
                          state_of(s, i));
        }
    }
    store_close(s);
}
END_TEST

/* Whatever ends makes room. */
START_TEST(ends_make_room)
{
    struct store *s = open_limited(_i, (struct store_limits){.per_user = 1, .total = 2});
    const char *users[] = {"a", "b"};
    ck_assert_int_eq(issue_for(s, 1000, "b", "", NOW, NOW + HOUR_MS), 0);
    for (unsigned n = 0; n < 5; n++) {
        ck_assert_int_eq(issue_for(s, n, "a", "p", NOW, NOW + 60000 + n), 0);
        ck_assert_int_eq(issue_for(s, 50, users[n % 2], "q", NOW, NOW + HOUR_MS), ERR_LIMIT);
        ck_assert_int_eq(issue_for(s, 50, "c", "q", NOW, NOW + HOUR_MS), ERR_LIMIT);
        ck_assert_int_eq(issue_for(s, n, "a", "p", NOW, NOW + HOUR_MS), ERR_EXISTS);
        struct record *out = NULL, r = fixture_ticket(n, TICKET_SESSION);
        switch (n) {
        case 0:
            ck_assert_int_eq(revoke_one(s, n), 0);
            break;
        case 1:
            ck_assert_int_eq(store_redeem(s, r.hash, NOW, &out), REDEEM_OK);
            free(out);
            break;
        case 2:
            ck_assert_int_eq(store_end(s, r.hash, STORE_SWEEP_EXPIRE, NOW), 0);
            break;
        case 3:
            ck_assert_int_eq(store_end(s, r.hash, STORE_SWEEP_FORGET, NOW), 0);
            break;
        default:
            set_clock(NOW + 61000); /* its time comes */
        }
    }
    ck_assert_int_eq(issue_for(s, 51, "c", "q", NOW + 61000, NOW + HOUR_MS), 0);
    ck_assert_int_eq(issue_for(s, 52, "d", "q", NOW + 61000, NOW + HOUR_MS), ERR_LIMIT);
    ck_assert_int_eq(store_sweep(s, STORE_SWEEP_FORGET, NULL, NOW + 61000), 2);
    ck_assert_int_eq(issue_for(s, 52, "d", "q", NOW + 61000, NOW + HOUR_MS), 0);
    ck_assert_int_eq(store_purge(s, NOW + 100 * HOUR_MS, 0), 8);
    ck_assert_int_eq(issue_for(s, 53, "d", "q", NOW + 61000, NOW + HOUR_MS), 0);
    ck_assert_uint_eq(fixture_count(s), 1);
    store_close(s);
}
END_TEST

/* More have expired than one look finds, among as many tombstones. */
START_TEST(expired_ones_make_room_in_all)
{
    enum { COUNT = 1400 };
    struct store *s = open_limited(_i, (struct store_limits){.total = COUNT});
    for (unsigned n = 0; n < COUNT; n++)
        ck_assert_int_eq(issue_for(s, n, n % 2 ? "a" : "b", "p", NOW, NOW + (1 + n % 7) * HOUR_MS), 0);
    ck_assert_int_eq(issue_for(s, COUNT, "c", "p", NOW, NOW + HOUR_MS), ERR_LIMIT);
    unsigned room = COUNT;
    for (unsigned n = 0; n < COUNT; n++)
        if (n % 10 == 0)
            ck_assert_int_eq(fixture_redeem(s, n, NOW + HOUR_MS - 1), REDEEM_OK);
        else
            room -= n % 7 > 2;
    set_clock(NOW + 3 * HOUR_MS);
    for (unsigned n = 0; n < room; n++)
        ck_assert_int_eq(issue_for(s, COUNT + n, "d", "p", NOW, NOW + 9 * HOUR_MS), 0);
    ck_assert_int_eq(issue_for(s, 3 * COUNT, "d", "p", NOW, NOW + 9 * HOUR_MS), ERR_LIMIT);
    store_close(s);
}
END_TEST

/* A reload: what is there stays; what comes goes by the new numbers. */
START_TEST(limits_can_change)
{
    struct store *s = open_limited(_i, (struct store_limits){0});
    for (unsigned n = 0; n < 40; n++)
        ck_assert_int_eq(issue_for(s, n, "a", "p", NOW + n, NOW + HOUR_MS), 0);
    store_configure(s, &(struct store_options){.limits = {.per_user = 5}});
    ck_assert_int_eq(issue_for(s, 40, "a", "p", NOW, NOW + HOUR_MS), ERR_LIMIT);
    store_configure(s, &(struct store_options){.limits = {.per_user = 5, .evict_oldest = true}});
    unsigned live = 40;
    for (unsigned n = 41; n < 44; n++) { /* the excess goes bit by bit, the oldest first */
        ck_assert_int_eq(issue_for(s, n, "a", "p", NOW + n, NOW + HOUR_MS), 0);
        unsigned now_live = 0;
        for (unsigned i = 0; i <= n; i++)
            now_live += state_of(s, i) == TICKET_LIVE;
        ck_assert(now_live < live && now_live >= 5);
        live = now_live;
    }
    ck_assert_uint_eq(live, 5);
    ck_assert_int_eq(state_of(s, 37), TICKET_REVOKED);
    ck_assert_int_eq(state_of(s, 38), TICKET_LIVE);
    store_configure(s, &(struct store_options){.tombstone_ms = 1000});
    ck_assert_int_gt(store_purge(s, NOW + HOUR_MS - 1, 0), 30);
    store_close(s);
}
END_TEST

/* ---- refreshing ---- */

START_TEST(refreshes)
{
    static const struct {
        unsigned
            ticket; /* 1 refreshable by 1000, 2 for one use, 3 for the background, 4 revoked, 5 not there */
        bool redeem;
        int64_t now_ms, expires_ms; /* after NOW */
        enum redeem verdict;
    } steps[] = {{1, true, 0, 600, REDEEM_OK},          {1, true, 100, 600, REDEEM_OK},
                 {1, false, 0, 1000, REDEEM_OK},        {1, false, 500, 1500, REDEEM_OK},
                 {1, false, 400, 1500, REDEEM_OK}, /* never earlier */
                 {1, true, 1499, 1500, REDEEM_OK},      {1, false, 1500, 1500, REDEEM_EXPIRED},
                 {1, true, 1500, 1500, REDEEM_EXPIRED}, {2, false, 100, 600, REDEEM_OK},
                 {2, true, 100, 600, REDEEM_OK},        {2, true, 100, 600, REDEEM_USED},
                 {2, false, 100, 600, REDEEM_USED},     {3, false, 100, 600, REDEEM_OK},
                 {4, false, 100, 600, REDEEM_REVOKED},  {5, false, 100, 0, REDEEM_UNKNOWN}};
    struct store *s = open_limited(_i, (struct store_limits){0});
    for (unsigned n = 1; n <= 4; n++) {
        struct record r = fixture_ticket(n, n == 3 ? TICKET_BACKGROUND : TICKET_SESSION);
        r.expires_ms = NOW + 600;
        r.refresh_ms = n == 1 ? 1000 : 0;
        ck_assert_int_eq(store_issue(s, &r), 0);
    }
    ck_assert_int_eq(revoke_one(s, 4), 0);
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        struct record r = fixture_ticket(steps[i].ticket, TICKET_SESSION), *out = NULL;
        enum redeem v = steps[i].redeem ? store_redeem(s, r.hash, NOW + steps[i].now_ms, &out)
                                        : store_refresh(s, r.hash, NOW + steps[i].now_ms, &out);
        ck_assert_msg(v == steps[i].verdict, "step %zu: %d", i, (int)v);
        ck_assert((out == NULL) == (v == REDEEM_UNKNOWN));
        if (out) {
            ck_assert_msg(out->expires_ms == NOW + steps[i].expires_ms, "step %zu", i);
            ck_assert_int_eq(out->refresh_ms, steps[i].ticket == 1 ? 1000 : 0);
        }
        free(out);
    }
    /* where it ends is where purging and limits look */
    ck_assert_int_eq(store_purge(s, NOW + 24 * HOUR_MS + 1499, 0), 3);
    ck_assert_int_eq(store_purge(s, NOW + 24 * HOUR_MS + 1500, 0), 1);
    store_close(s);
}
END_TEST

/* ---- faults ---- */

static void check_lost(struct store *s, unsigned n, enum store_sweep what, int64_t now_ms)
{
    struct record r = fixture_ticket(n, TICKET_SESSION), *out = NULL;
    enum redeem v = store_redeem(s, r.hash, now_ms, &out);
    ck_assert_int_eq(v, what == STORE_SWEEP_EXPIRE ? REDEEM_EXPIRED : REDEEM_UNKNOWN);
    ck_assert_ptr_nonnull(out);
    ck_assert(out->injected);
    ck_assert_int_eq(out->state, what == STORE_SWEEP_EXPIRE ? TICKET_LIVE : TICKET_FORGOTTEN);
    ck_assert_int_eq(what == STORE_SWEEP_EXPIRE ? out->expires_ms : out->ended_ms, now_ms);
    free(out);
}

START_TEST(faults_end_one)
{
    struct store *s = open_limited(_i, (struct store_limits){0});
    for (unsigned n = 0; n < 4; n++)
        ck_assert_int_eq(issue_for(s, n, "a", "p", NOW, NOW + HOUR_MS), 0);
    for (unsigned n = 0; n < 2; n++) {
        enum store_sweep what = n == 0 ? STORE_SWEEP_EXPIRE : STORE_SWEEP_FORGET;
        struct record r = fixture_ticket(n, TICKET_SESSION);
        ck_assert_int_eq(store_end(s, r.hash, what, NOW + 5), 0);
        check_lost(s, n, what, NOW + 5);
        ck_assert_int_eq(store_end(s, r.hash, STORE_SWEEP_FORGET, NOW + 6), 0); /* has ended already */
        check_lost(s, n, what, NOW + 5);
        ck_assert_int_eq(store_issue(s, &r), ERR_EXISTS); /* forgotten or not, it was there */
    }
    ck_assert_int_eq(revoke_one(s, 2), 0);
    struct record r = fixture_ticket(2, TICKET_SESSION), *out = NULL;
    ck_assert_int_eq(store_end(s, r.hash, STORE_SWEEP_FORGET, NOW + 5), 0);
    ck_assert_int_eq(store_get(s, r.hash, &out), 0);
    ck_assert(out->state == TICKET_REVOKED && !out->injected);
    free(out);
    ck_assert_int_eq(store_end(s, fixture_ticket(9, TICKET_SESSION).hash, STORE_SWEEP_EXPIRE, NOW),
                     ERR_NOT_FOUND);
    ck_assert_int_eq(fixture_redeem(s, 3, NOW), REDEEM_OK);
    store_close(s);
}
END_TEST

/* _i: kind, what, whose. */
START_TEST(faults_end_many)
{
    enum { COUNT = 2600 };
    enum store_sweep what = _i / KINDS % 2 ? STORE_SWEEP_EXPIRE : STORE_SWEEP_FORGET;
    const char *user = _i / KINDS / 2 ? "a" : NULL;
    unsigned swept = 0;
    struct store *s = open_limited(_i % KINDS, (struct store_limits){.total = 1000000});
    ck_assert_int_eq(store_sweep(s, what, user, NOW), 0);
    for (unsigned n = 0; n < COUNT; n++) { /* every fifth of another user, every seventh ended before */
        ck_assert_int_eq(issue_for(s, n, n % 5 ? "a" : "b", "p", NOW, n % 7 == 1 ? NOW + 1 : NOW + HOUR_MS),
                         0);
        if (n % 7 == 0)
            ck_assert_int_eq(revoke_one(s, n), 0);
        swept += n % 7 > 1 && (user == NULL || n % 5 != 0);
    }
    ck_assert_int_eq(store_sweep(s, what, user, NOW + 2), swept);
    ck_assert_int_eq(store_sweep(s, what, user, NOW + 2), 0);
    for (unsigned n = 0; n < COUNT; n++)
        if (n % 7 == 0)
            ck_assert_int_eq(fixture_redeem(s, n, NOW + 2), REDEEM_REVOKED);
        else if (n % 7 == 1)
            ck_assert_int_eq(fixture_redeem(s, n, NOW + 2), REDEEM_EXPIRED);
        else if (user == NULL || n % 5 != 0)
            check_lost(s, n, what, NOW + 2);
        else
            ck_assert_int_eq(fixture_redeem(s, n, NOW + 2), REDEEM_OK);
    ck_assert_uint_eq(fixture_count(s), COUNT);
    ck_assert_int_eq(store_purge(s, NOW + 100 * HOUR_MS, 0), COUNT);
    store_close(s);
}
END_TEST

static void add_tests(TCase *tc)
{
    tcase_add_loop_test(tc, limits_hold, 0, LIMIT_CASES * KINDS);
    tcase_add_loop_test(tc, ends_make_room, 0, KINDS);
    tcase_add_loop_test(tc, expired_ones_make_room_in_all, 0, KINDS);
    tcase_add_loop_test(tc, limits_can_change, 0, KINDS);
    tcase_add_loop_test(tc, refreshes, 0, KINDS);
    tcase_add_loop_test(tc, faults_end_one, 0, KINDS);
    tcase_add_loop_test(tc, faults_end_many, 0, 4 * KINDS);
}

int main(void)
{
    return fixture_run_suite("store_limits", add_tests);
}
