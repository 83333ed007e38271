/* Deadlines and deferred calls: order, moving, and what keeps a loop alive. */
#include <check.h>
#include <stdlib.h>

#include "net/netloop.h"

#define COUNT 200

static struct netloop loop;

static void setup(void)
{
    ck_assert_int_eq(netloop_init(&loop), 0);
}

static void teardown(void)
{
    netloop_deinit(&loop);
}

/* ---- deadlines ---- */

static struct deadline deadlines[COUNT];
static size_t expired;
static uint64_t last_ms;

static void on_expired(struct deadline *d)
{
    ck_assert_uint_ge(d->at_ms, last_ms);
    ck_assert_uint_ge(netloop_now_ms(&loop), d->at_ms);
    last_ms = d->at_ms;
    expired++;
}

static void check_order(unsigned list)
{
    const struct list *head = &loop.deadlines[list];
    uint64_t before = 0;
    for (const struct list *l = head->next; l != head; l = l->next) {
        uint64_t at = list_entry((struct list *)(uintptr_t)l, struct deadline, link)->at_ms;
        ck_assert_uint_ge(at, before);
        before = at;
    }
}

/* A list stays in order also where durations differ, and when they are set again. */
START_TEST(deadlines_stay_in_order)
{
    uint32_t random = 1;
    uv_async_t awake; /* deadlines keep no loop alive */
    ck_assert_int_eq(uv_async_init(&loop.uv, &awake, NULL), 0);
    expired = 0;
    last_ms = 0;
    for (size_t i = 0; i < COUNT; i++)
        deadline_init(&deadlines[i], on_expired);
    for (size_t n = 0; n < 5 * COUNT; n++) {
        random = random * 1103515245 + 12345;
        deadline_set(&loop, &deadlines[n % COUNT], 3, 1 + (random >> 16) % 150);
        check_order(3);
    }
    deadline_clear(&deadlines[7]);
    deadline_clear(&deadlines[7]);
    while (expired < COUNT - 1) {
        uv_run(&loop.uv, UV_RUN_NOWAIT);
        check_order(3);
    }
    ck_assert_ptr_null(deadline_first(&loop, 3));
    uv_close((uv_handle_t *)&awake, NULL);
    uv_run(&loop.uv, UV_RUN_NOWAIT);
}
END_TEST

/* ---- deferred calls ---- */

static struct deferred first, second;
static size_t first_runs, second_runs;

static void run_second(struct deferred *d)
{
    ck_assert_ptr_eq(d, &second);
    second_runs++;
}

static void run_first(struct deferred *d)
{
    ck_assert_ptr_eq(d, &first);
    if (++first_runs < 3)
        deferred_schedule(&loop, d); /* comes next turn */
    deferred_schedule(&loop, &second);
    deferred_schedule(&loop, &second);
}

START_TEST(deferred_calls_come_next_turn)
{
    first_runs = second_runs = 0;
    deferred_init(&first, run_first);
    deferred_init(&second, run_second);
    deferred_schedule(&loop, &first);
    ck_assert_uint_eq(first_runs, 0);
    static const size_t firsts[] = {1, 2, 3}, seconds[] = {0, 1, 1};
    for (size_t i = 0; i < 3; i++) {
        uv_run(&loop.uv, UV_RUN_NOWAIT);
        ck_assert_uint_eq(first_runs, firsts[i]);
        ck_assert_uint_eq(second_runs, seconds[i]); /* in turn 2 it was put off already: once */
    }
    deferred_cancel(&second);
    uv_run(&loop.uv, UV_RUN_NOWAIT);
    ck_assert_uint_eq(second_runs, 1);
}
END_TEST

/* A loop without any other handle runs what was put off, and then ends. */
START_TEST(deferred_calls_keep_the_loop_alive)
{
    first_runs = second_runs = 0;
    deferred_init(&first, run_first);
    deferred_init(&second, run_second);
    deferred_schedule(&loop, &first);
    ck_assert_int_eq(uv_run(&loop.uv, UV_RUN_DEFAULT), 0);
    ck_assert_uint_eq(first_runs, 3);
    ck_assert_uint_eq(second_runs, 2);
    /* cancelling the only one lets it end as well */
    deferred_schedule(&loop, &first);
    deferred_cancel(&first);
    ck_assert_int_eq(uv_run(&loop.uv, UV_RUN_DEFAULT), 0);
    ck_assert_uint_eq(first_runs, 3);
    /* and what is put off at the very end runs in netloop_deinit */
    deferred_schedule(&loop, &second);
    netloop_deinit(&loop);
    ck_assert_uint_eq(second_runs, 3);
    setup();
}
END_TEST

int main(void)
{
    Suite *s = suite_create("netloop");
    TCase *t = tcase_create("netloop");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, deadlines_stay_in_order);
    tcase_add_test(t, deferred_calls_come_next_turn);
    tcase_add_test(t, deferred_calls_keep_the_loop_alive);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
