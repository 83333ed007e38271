/* Authorities as such, and embedded ones: what their clients are answered, faults, counters. */
#include "authority_fixture.h"

static struct told told;

static void setup(void)
{
    log_setup(LOG_JSON, LOG_ERROR);
    clock_set_offset_ms(0);
    ck_assert_int_eq(netloop_init(&loop), 0);
    authority = service_authority("STA01", (struct store_options){0});
    client = authority_client_new(authority, &loop, NULL);
    memset(&told, 0, sizeof told);
}

static void teardown(void)
{
    told_free(&told);
    if (client != NULL)
        service_close_client(client);
    authority_unref(authority);
    netloop_deinit(&loop);
}

/* A ticket of this value. */
static void put(const char *value, enum ticket_class class, int64_t refresh_ms)
{
    struct record r = {.class = class,
                       .issued_ms = clock_wall_ms(),
                       .expires_ms = clock_wall_ms() + HOUR_MS,
                       .refresh_ms = refresh_ms,
                       .user = "alice",
                       .device = "phone1"};
    record_hash(r.hash, value, strlen(value));
    ck_assert_int_eq(store_issue(authority->store, &r), 0);
}

/* ---- names ---- */

START_TEST(every_fail_has_a_name_of_its_own)
{
    for (int f = 0; f < AUTHORITY_FAILS; f++) {
        const char *name = authority_fail_name((enum authority_fail)f);
        ck_assert_uint_eq(strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_"), strlen(name));
        ck_assert_uint_gt(strlen(authority_fail_sentence((enum authority_fail)f)), strlen(name));
        for (int g = 0; g < f; g++)
            ck_assert_str_ne(name, authority_fail_name((enum authority_fail)g));
    }
}
END_TEST

/* ---- the object ---- */

START_TEST(a_store_that_cannot_be_opened)
{
    char why[256] = "";
    struct authority *a = NULL;
    const struct authority_options o = {.id = "STA01", .store = "nonsense:x", .signature = ""};
    ck_assert_int_eq(authority_open(&a, &o, why, sizeof why), ERR_UNSUPPORTED);
    ck_assert_ptr_null(a);
    ck_assert_str_ne(why, "");
}
END_TEST

START_TEST(an_embedded_one_is_up_and_has_its_id)
{
    struct authority_event history[AUTHORITY_HISTORY];
    ck_assert(authority_is_up(authority));
    ck_assert_str_eq(authority_id(authority), "STA01");
    ck_assert_str_eq(authority->where, "memory:");
    ck_assert_uint_eq(authority_history(authority, history), 0);
    ck_assert_ptr_eq(authority_client_authority(client), authority);
    ck_assert_ptr_nonnull(authority_client_store(client));
    ck_assert_uint_eq(authority_client_connections(client), 0);
    authority->faults.down = true;
    ck_assert(!authority_is_up(authority));
    authority_unwatch(authority); /* it never was */
    authority_unref(NULL);
}
END_TEST

START_TEST(texts_are_kept_once_and_not_without_end)
{
    char text[16];
    const char *first = authority_intern(authority, "STAX");
    ck_assert_ptr_eq(authority_intern(authority, "STAX"), first);
    unsigned kept = 1;
    for (unsigned i = 0; i < 1000; i++) {
        snprintf(text, sizeof text, "STA%u", i);
        kept += authority_intern(authority, text) != NULL;
    }
    ck_assert_uint_eq(kept, 256);
    ck_assert_ptr_eq(authority_intern(authority, "STAX"), first);
    ck_assert_str_eq(first, "STAX");
    authority->faults.id = first;
    ck_assert_str_eq(authority_id(authority), "STAX");
    authority->faults.id = NULL;
    ck_assert_str_eq(authority_id(authority), "STA01");
}
END_TEST

/* A client keeps its authority. */
START_TEST(the_last_reference)
{
    authority_ref(authority);
    authority_unref(authority);
    authority_unref(authority); /* ours */
    put(TICKET, TICKET_BACKGROUND, 0);
    ck_assert_int_eq(redeem(&told, TICKET), REDEEM_OK);
    service_close_client(client);
    client = NULL;
    authority = NULL;
}
END_TEST

/* ---- redeeming ---- */

START_TEST(verdicts)
{
    put("background", TICKET_BACKGROUND, 0);
    put("session", TICKET_SESSION, 0);
    put("refreshable", TICKET_SESSION, 500);
    ck_assert_int_eq(redeem(&told, "background"), REDEEM_OK);
    ck_assert(told.at_once); /* nothing is written */
    ck_assert_str_eq(told.answer.ticket->user, "alice");
    ck_assert(!told.answer.injected);
    ck_assert_int_eq(redeem(&told, "background"), REDEEM_OK);
    ck_assert_int_eq(redeem(&told, "session"), REDEEM_OK);
    ck_assert_int_eq(redeem(&told, "session"), REDEEM_USED);
    ck_assert_str_eq(told.answer.ticket->user, "alice");
    ck_assert_int_eq(redeem(&told, "refreshable"), REDEEM_OK);
    ck_assert_int_eq(redeem(&told, "refreshable"), REDEEM_OK);
    ck_assert_int_eq(redeem(&told, "never"), REDEEM_UNKNOWN);
    uint8_t hash[RECORD_HASH];
    record_hash(hash, "background", 10);
    ck_assert_int_eq(store_revoke(authority->store, hash, clock_wall_ms()), 0);
    ck_assert_int_eq(redeem(&told, "background"), REDEEM_REVOKED);
    clock_set_offset_ms(2 * HOUR_MS);
    ck_assert_int_eq(redeem(&told, "refreshable"), REDEEM_EXPIRED);
    const struct authority_counters *n = &authority->counters;
    ck_assert_uint_eq(n->asked, 9);
    ck_assert_uint_eq(n->answered[REDEEM_OK], 5);
    ck_assert_uint_eq(n->answered[REDEEM_USED], 1);
    ck_assert_uint_eq(n->answered[REDEEM_UNKNOWN], 1);
    ck_assert_uint_eq(n->answered[REDEEM_REVOKED], 1);
    ck_assert_uint_eq(n->answered[REDEEM_EXPIRED], 1);
    ck_assert_uint_eq(n->answered[REDEEM_DOWN] + n->injected + n->cached + n->requests, 0);
}
END_TEST

START_TEST(refreshing)
{
    put("background", TICKET_BACKGROUND, 0);
    put("refreshable", TICKET_SESSION, 2 * HOUR_MS);
    ck_assert_int_eq(refresh(&told, "background"), REDEEM_OK);
    ck_assert_int_eq(told.answer.ticket->refresh_ms, 0);
    ck_assert_int_eq(refresh(&told, "refreshable"), REDEEM_OK);
    int64_t expires_ms = told.answer.ticket->expires_ms;
    ck_assert_int_gt(expires_ms, clock_wall_ms() + HOUR_MS);
    ck_assert_int_eq(redeem(&told, "refreshable"), REDEEM_OK);
    ck_assert_int_eq(told.answer.ticket->expires_ms, expires_ms);
    ck_assert_int_eq(refresh(&told, "never"), REDEEM_UNKNOWN);
    clock_set_offset_ms(3 * HOUR_MS);
    ck_assert_int_eq(refresh(&told, "refreshable"), REDEEM_EXPIRED);
}
END_TEST

START_TEST(what_a_fault_ended)
{
    uint8_t hash[RECORD_HASH];
    put("lost", TICKET_BACKGROUND, 0);
    put("old", TICKET_BACKGROUND, 0);
    record_hash(hash, "lost", 4);
    ck_assert_int_eq(store_end(authority->store, hash, STORE_SWEEP_FORGET, clock_wall_ms()), 0);
    record_hash(hash, "old", 3);
    ck_assert_int_eq(store_end(authority->store, hash, STORE_SWEEP_EXPIRE, clock_wall_ms()), 0);
    ck_assert_int_eq(redeem(&told, "lost"), REDEEM_UNKNOWN); /* and nothing is told of it: told_take() */
    ck_assert(told.answer.injected);
    ck_assert_int_eq(refresh(&told, "lost"), REDEEM_UNKNOWN);
    ck_assert_int_eq(redeem(&told, "old"), REDEEM_EXPIRED);
    ck_assert(told.answer.injected);
    ck_assert_ptr_nonnull(told.answer.ticket);
    ck_assert_uint_eq(authority->counters.injected, 3);
}
END_TEST

/* ---- faults ---- */

START_TEST(down_and_error)
{
    static const enum authority_fail fails[] = {AUTHORITY_FAULT_DOWN, AUTHORITY_FAULT_ERROR};
    put("session", TICKET_SESSION, 500);
    put("once", TICKET_SESSION, 0);
    authority->faults.down = _i == 0;
    authority->faults.error = _i == 1;
    redeem(&told, "once");
    expect_down(&told, fails[_i]);
    ck_assert(told.answer.injected && told.at_once);
    refresh(&told, "session");
    expect_down(&told, fails[_i]);
    ck_assert(told.answer.injected);
    ck_assert_uint_eq(authority->counters.failed[fails[_i]], 2);
    ck_assert_uint_eq(authority->counters.answered[REDEEM_DOWN], 2);
    ck_assert_uint_eq(authority->counters.injected, 2);
    authority->faults.down = authority->faults.error = false;
    ck_assert_int_eq(redeem(&told, "once"), REDEEM_OK); /* its use was not spent */
    ck_assert(!told.answer.injected);
}
END_TEST

START_TEST(slow)
{
    put("background", TICKET_BACKGROUND, 0);
    put("session", TICKET_SESSION, 0);
    authority->faults.slow_ms = 1;
    ck_assert_int_eq(redeem(&told, "background"), REDEEM_OK);
    ck_assert(!told.at_once && told.answer.injected);
    ck_assert_int_eq(redeem(&told, "session"), REDEEM_OK);
    ck_assert(told.answer.injected);
    ck_assert_int_eq(refresh(&told, "background"), REDEEM_OK);
    ck_assert(told.answer.injected);
    /* a fault that comes while it waits */
    unsigned count = told.count;
    authority->faults.slow_ms = 50;
    start_redeem(&told, "background");
    authority->faults.down = true;
    RUN_UNTIL(told.count > count);
    expect_down(&told, AUTHORITY_FAULT_DOWN);
    ck_assert_uint_eq(authority->counters.injected, 4);
}
END_TEST

START_TEST(slow_and_cancelled)
{
    put("session", TICKET_SESSION, 0);
    authority->faults.slow_ms = 100000;
    for (int i = 0; i < 10; i++) {
        authority_request_cancel(start_redeem(&told, "session"));
        authority_request_cancel(start_refresh(&told, "session"));
    }
    authority->faults.slow_ms = 0;
    authority_request_cancel(start_refresh(&told, "session"));
    struct authority_request *r = start_redeem(&told, "session");
    ck_assert_uint_eq(told.count, r == NULL ? 1 : 0);
    if (r != NULL)
        authority_request_cancel(r); /* spends its use all the same */
    turns(20);
    ck_assert_uint_le(told.count, 1);
}
END_TEST

START_TEST(closing_with_open_requests)
{
    put("session", TICKET_SESSION, 0);
    start_refresh(&told, "session");
    authority->faults.slow_ms = 100000;
    for (int i = 0; i < 10; i++)
        start_redeem(&told, "session");
    service_close_client(client);
    client = NULL;
    turns(20);
    ck_assert_uint_eq(told.count, 0); /* they end without their callbacks */
}
END_TEST

/* Somebody who closes the client out of a callback. */
static void close_inside(void *owner, const struct authority_answer *answer)
{
    free(answer->ticket);
    authority_client_close(client, service_flag, owner);
}

START_TEST(closing_inside_a_callback)
{
    bool closed = false;
    uint8_t hash[RECORD_HASH] = {0};
    struct ticket_ref ref = {0};
    start_refresh(&told, "never");
    authority_client_refresh(client, hash, &ref, clock_wall_ms(), close_inside, &closed);
    start_refresh(&told, "never");
    RUN_UNTIL(closed);
    client = NULL;
    turns(20);
    ck_assert_uint_le(told.count, 1);
}
END_TEST

/* ---- probing ---- */

START_TEST(an_embedded_one_needs_no_probe)
{
    bool first = false;
    authority_client_probe(client, service_flag, &first);
    ck_assert(!first);
    RUN_UNTIL(first);
    first = false;
    authority_client_probe(client, service_flag, &first);
    service_close_client(client);
    client = NULL;
    turns(20);
    ck_assert(!first);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("authority");
    TCase *t = tcase_create("authority");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, every_fail_has_a_name_of_its_own);
    tcase_add_test(t, a_store_that_cannot_be_opened);
    tcase_add_test(t, an_embedded_one_is_up_and_has_its_id);
    tcase_add_test(t, texts_are_kept_once_and_not_without_end);
    tcase_add_test(t, the_last_reference);
    tcase_add_test(t, verdicts);
    tcase_add_test(t, refreshing);
    tcase_add_test(t, what_a_fault_ended);
    tcase_add_loop_test(t, down_and_error, 0, 2);
    tcase_add_test(t, slow);
    tcase_add_test(t, slow_and_cancelled);
    tcase_add_test(t, closing_with_open_requests);
    tcase_add_test(t, closing_inside_a_callback);
    tcase_add_test(t, an_embedded_one_needs_no_probe);
    suite_add_tcase(s, t);
    return fixture_end(srunner_create(s));
}
