/* Token buckets: how many, how soon again, whose bucket gives way; and against a model that is slow and
 * plain. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "sta/ratelimit.h"

#define T0 ((uint64_t)1000000)

static unsigned take_all(struct ratelimit *r, const char *name, uint64_t now)
{
    unsigned n = 0;
    while (ratelimit_take(r, name, now, NULL))
        n++;
    return n;
}

START_TEST(burst_and_refill)
{
    struct ratelimit *r = ratelimit_new(100, 5, 60000);
    uint64_t retry = 7;
    ck_assert(ratelimit_take(r, "anna", T0, &retry));
    ck_assert_uint_eq(retry, 0);
    ck_assert_uint_eq(take_all(r, "anna", T0), 4);
    ck_assert(!ratelimit_take(r, "anna", T0, &retry));
    ck_assert_uint_eq(retry, 12000);
    ck_assert(!ratelimit_take(r, "anna", T0 + 11999, &retry)); /* and asking costs nothing */
    ck_assert_uint_eq(retry, 1);
    ck_assert(ratelimit_take(r, "anna", T0 + 12000, &retry));
    ck_assert(!ratelimit_take(r, "anna", T0 + 12000, &retry));
    ck_assert_uint_eq(retry, 12000);
    ck_assert_uint_eq(take_all(r, "bert", T0 + 12000), 5); /* a bucket of his own */
    ck_assert_uint_eq(take_all(r, "anna", T0 + 12000 + 35999), 2);
    ck_assert_uint_eq(take_all(r, "anna", T0 + 1000000), 5); /* never more than the burst */
    ck_assert_uint_eq(take_all(r, "", T0), 5);
    ratelimit_free(r);
    ratelimit_free(NULL);
}
END_TEST

/* Intervals that are no whole milliseconds: over a long time, exactly burst tokens in per_ms. */
START_TEST(uneven_intervals)
{
    static const struct {
        unsigned burst;
        uint64_t per_ms;
    } rates[] = {{7, 1000},       {3, 1000},    {1, 1}, {1000, 3}, {1000000, 1000000000},
                 {1, 1000000000}, {6, 86400000}};
    for (size_t i = 0; i < sizeof rates / sizeof rates[0]; i++) {
        struct ratelimit *r = ratelimit_new(4, rates[i].burst, rates[i].per_ms);
        uint64_t now = T0, retry;
        unsigned taken = take_all(r, "x", now);
        ck_assert_uint_eq(taken, rates[i].burst);
        for (unsigned n = 0; n < 2 * rates[i].burst && n < 3000; n++) {
            if (ratelimit_take(r, "x", now, &retry))
                continue;
            ck_assert_uint_ge(retry, 1);
            if (retry > 1)
                ck_assert(!ratelimit_take(r, "x", now + retry - 1, NULL));
            ck_assert(ratelimit_take(r, "x", now + retry, NULL)); /* what was promised */
            now += retry;
        }
        ck_assert_uint_eq(take_all(r, "x", now + rates[i].per_ms), rates[i].burst);
        ratelimit_free(r);
    }
}
END_TEST

START_TEST(giving_back)
{
    struct ratelimit *r = ratelimit_new(2, 3, 3000);
    ratelimit_give(r, "anna"); /* nothing to give to */
    for (unsigned n = 0; n < 10; n++) {
        ck_assert(ratelimit_take(r, "anna", T0, NULL));
        ratelimit_give(r, "anna");
    }
    ck_assert_uint_eq(take_all(r, "anna", T0), 3);
    ratelimit_give(r, "anna");
    ck_assert_uint_eq(take_all(r, "anna", T0), 1);
    for (unsigned n = 0; n < 10; n++)
        ratelimit_give(r, "anna"); /* not above the burst */
    ck_assert_uint_eq(take_all(r, "anna", T0), 3);
    ratelimit_free(r);

    r = ratelimit_new(2, 3, 3000); /* at the clock's beginning */
    ck_assert_uint_eq(take_all(r, "anna", 0), 3);
    for (unsigned n = 0; n < 10; n++)
        ratelimit_give(r, "anna");
    ck_assert_uint_eq(take_all(r, "anna", 0), 3);
    ratelimit_free(r);
}
END_TEST

START_TEST(clock_that_goes_back)
{
    struct ratelimit *r = ratelimit_new(2, 3, 3000);
    uint64_t retry;
    ck_assert_uint_eq(take_all(r, "anna", T0 + 900000), 3);
    ck_assert(!ratelimit_take(r, "anna", T0, &retry));
    ck_assert_uint_eq(retry, 1000);
    ck_assert_uint_eq(take_all(r, "anna", T0 + 3000), 3);
    ratelimit_free(r);
}
END_TEST

START_TEST(full_buckets_give_way_first)
{
    struct ratelimit *r = ratelimit_new(3, 4, 4000);
    ck_assert_uint_eq(take_all(r, "busy", T0), 4); /* touched longest ago, but not full before T0 + 4000 */
    ck_assert(ratelimit_take(r, "once", T0 + 10, NULL)); /* full at T0 + 1010 */
    ck_assert(ratelimit_take(r, "late", T0 + 20, NULL)); /* full at T0 + 1020 */
    ck_assert(ratelimit_take(r, "new", T0 + 1015, NULL));
    ck_assert(!ratelimit_take(r, "busy", T0 + 999, NULL));
    ck_assert_uint_eq(take_all(r, "late", T0 + 1015), 3); /* is still known */
    ratelimit_free(r);
}
END_TEST

START_TEST(then_those_touched_longest_ago)
{
    struct ratelimit *r = ratelimit_new(3, 4, 4000);
    ck_assert_uint_eq(take_all(r, "a", T0), 4);
    ck_assert_uint_eq(take_all(r, "b", T0), 4);
    ck_assert_uint_eq(take_all(r, "c", T0), 4);
    ck_assert(!ratelimit_take(r, "a", T0 + 1, NULL)); /* a refusal is a touch */
    ck_assert(ratelimit_take(r, "d", T0 + 2, NULL));  /* b goes */
    ck_assert(!ratelimit_take(r, "a", T0 + 3, NULL));
    ck_assert(!ratelimit_take(r, "c", T0 + 3, NULL));
    ck_assert(ratelimit_take(r, "b", T0 + 4, NULL)); /* anew: d, touched before a and c, goes */
    ck_assert(!ratelimit_take(r, "a", T0 + 5, NULL));
    ck_assert(!ratelimit_take(r, "c", T0 + 5, NULL));
    ck_assert_uint_eq(take_all(r, "b", T0 + 5), 3);
    ratelimit_free(r);
}
END_TEST

START_TEST(long_names)
{
    static char name[3000];
    struct ratelimit *r = ratelimit_new(1000, 1, 1000);
    memset(name, 'n', sizeof name - 1);
    for (size_t len = sizeof name - 1; len > 2500; len--) { /* each is another name */
        name[len] = '\0';
        ck_assert(ratelimit_take(r, name, T0, NULL));
        ck_assert(!ratelimit_take(r, name, T0, NULL));
    }
    ratelimit_free(r);
}
END_TEST

/* ---- against a model ---- */

enum { MODEL_BUCKETS = 16, MODEL_NAMES = 40, BURST = 3, PER = 900 };

struct model {
    bool used;
    uint64_t full_at; /* ms: an interval is 300 */
    uint64_t touched;
};

static size_t model_victim(const struct model *m, uint64_t now)
{
    size_t full = SIZE_MAX, old = SIZE_MAX;
    for (size_t i = 0; i < MODEL_NAMES; i++) {
        if (!m[i].used)
            continue;
        if (m[i].full_at <= now && (full == SIZE_MAX || m[i].full_at < m[full].full_at))
            full = i;
        if (old == SIZE_MAX || m[i].touched < m[old].touched)
            old = i;
    }
    return full != SIZE_MAX ? full : old;
}

static bool model_take(struct model *m, size_t i, uint64_t now, uint64_t turn)
{
    size_t used = 0;
    for (size_t k = 0; k < MODEL_NAMES; k++)
        used += m[k].used;
    if (!m[i].used && used == MODEL_BUCKETS)
        m[model_victim(m, now)].used = false;
    if (!m[i].used || m[i].full_at < now)
        m[i].full_at = now;
    m[i].used = true;
    m[i].touched = turn;
    if (m[i].full_at + PER / BURST > now + PER)
        return false;
    m[i].full_at += PER / BURST;
    return true;
}

START_TEST(same_as_a_model)
{
    struct model m[MODEL_NAMES] = {{0}};
    struct ratelimit *r = ratelimit_new(MODEL_BUCKETS, BURST, PER);
    uint64_t now = T0, random = (uint64_t)_i * 7919 + 1;
    unsigned refused = 0;
    for (uint64_t turn = 1; turn < 60000; turn++) {
        char name[20];
        random = random * 6364136223846793005u + 1442695040888963407u;
        unsigned x = (unsigned)(random >> 33);
        size_t i = x % (turn % 2000 < 1000 ? MODEL_NAMES : MODEL_NAMES / 2);
        now += x / 64 % 100 < 30 ? x / 6400 % 60 : 0;
        snprintf(name, sizeof name, "name %zu", i);
        if (x / 100000 % 5 == 0) {
            ratelimit_give(r, name);
            if (m[i].used)
                m[i].full_at -= PER / BURST;
            continue;
        }
        bool expected = model_take(m, i, now, turn);
        ck_assert_msg(ratelimit_take(r, name, now, NULL) == expected, "turn %llu", (unsigned long long)turn);
        refused += !expected;
    }
    ck_assert_uint_gt(refused, 1000);
    ratelimit_free(r);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("ratelimit");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, burst_and_refill);
    tcase_add_test(tc, uneven_intervals);
    tcase_add_test(tc, giving_back);
    tcase_add_test(tc, clock_that_goes_back);
    tcase_add_test(tc, full_buckets_give_way_first);
    tcase_add_test(tc, then_those_touched_longest_ago);
    tcase_add_test(tc, long_names);
    tcase_add_loop_test(tc, same_as_a_model, 0, 4);
    Suite *suite = suite_create("ratelimit");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
