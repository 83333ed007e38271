/* The cache of a remote authority's answers: what it gives back, how long, and how many. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/sta/authority_impl.h"

#define KEEP_MS   1000
#define CACHE_MAX 8192 /* answers that it keeps */

static struct authority_cache *cache;

static void setup(void)
{
    cache = authority_cache_new(KEEP_MS);
}

static void teardown(void)
{
    authority_cache_free(cache);
}

static struct record ticket(unsigned n, const char *user)
{
    struct record r = {.class = TICKET_BACKGROUND,
                       .issued_ms = 1,
                       .expires_ms = INT64_MAX,
                       .user = user,
                       .device = "phone1"};
    char value[16];
    int len = snprintf(value, sizeof value, "%u", n);
    record_hash(r.hash, value, (size_t)len);
    return r;
}

static void put(unsigned n, const char *user, uint64_t now_ms)
{
    const struct record r = ticket(n, user);
    authority_cache_put(cache, &r, now_ms);
}

/* The user, or "" where it is not there; static storage. */
static const char *get(unsigned n, uint64_t now_ms)
{
    static char user[64];
    const struct record r = ticket(n, "");
    struct record *found = authority_cache_get(cache, r.hash, now_ms);
    snprintf(user, sizeof user, "%s", found != NULL ? found->user : "");
    if (found != NULL)
        ck_assert_int_eq(memcmp(found->hash, r.hash, RECORD_HASH), 0);
    free(found);
    return user;
}

START_TEST(a_copy_for_a_while)
{
    static const char *const services[] = {"mail.example.com:443"};
    static const struct record_value values[] = {{"ICAAddress", "mail.example.com:443"}, {"XData", "<a/>"}};
    struct record r = ticket(1, "alice");
    r.service_count = 1;
    r.services = services;
    r.value_count = 2;
    r.values = values;
    r.refresh_ms = 7;
    ck_assert_str_eq(get(1, 0), "");
    authority_cache_put(cache, &r, 5000);
    struct record *found = authority_cache_get(cache, r.hash, 5000);
    ck_assert_ptr_nonnull(found);
    ck_assert_int_eq(found->class, TICKET_BACKGROUND);
    ck_assert_int_eq(found->expires_ms, INT64_MAX);
    ck_assert_int_eq(found->refresh_ms, 7);
    ck_assert_str_eq(found->device, "phone1");
    ck_assert_str_eq(found->services[0], services[0]);
    ck_assert_str_eq(found->values[1].value, "<a/>");
    free(found);
    ck_assert_str_eq(get(1, 5000 + KEEP_MS - 1), "alice");
    ck_assert_str_eq(get(2, 5000), "");
    ck_assert_str_eq(get(1, 5000 + KEEP_MS), "");
    ck_assert_str_eq(get(1, 5000), ""); /* it is gone, not only too old */
}
END_TEST

START_TEST(a_newer_answer_takes_its_place)
{
    put(1, "alice", 0);
    put(1, "bert", 500);
    ck_assert_str_eq(get(1, 501), "bert");
    ck_assert_str_eq(get(1, 500 + KEEP_MS - 1), "bert");
    ck_assert_str_eq(get(1, 500 + KEEP_MS), "");
}
END_TEST

START_TEST(the_oldest_gives_way)
{
    char user[16];
    for (unsigned i = 0; i < CACHE_MAX; i++) {
        snprintf(user, sizeof user, "user%u", i);
        put(i, user, 0);
    }
    put(0, "again", 1); /* is the newest now, and takes nobody's place */
    ck_assert_str_eq(get(1, 1), "user1");
    put(CACHE_MAX, "more", 1);
    ck_assert_str_eq(get(1, 1), "");
    ck_assert_str_eq(get(0, 1), "again");
    ck_assert_str_eq(get(2, 1), "user2");
    ck_assert_str_eq(get(CACHE_MAX, 1), "more");
    for (unsigned i = 2; i < CACHE_MAX; i++) {
        snprintf(user, sizeof user, "user%u", i);
        ck_assert_str_eq(get(i, 1), user);
    }
    for (unsigned i = 0; i < 3 * CACHE_MAX; i++)
        put(CACHE_MAX + 1 + i, "x", 2);
    ck_assert_str_eq(get(0, 2), "");
    ck_assert_str_eq(get(3 * CACHE_MAX, 2), "");
    ck_assert_str_eq(get(3 * CACHE_MAX + 1, 2), "x");
    ck_assert_str_eq(get(4 * CACHE_MAX, 2), "x");
}
END_TEST

/* Not more than a record can hold goes in; then the old answer stays. */
START_TEST(what_is_no_record)
{
    static char text[RECORD_BYTES_MAX + 1];
    struct record_value value = {"XData", text};
    struct record r = ticket(1, "alice");
    memset(text, 'x', sizeof text - 1);
    r.value_count = 1;
    r.values = &value;
    authority_cache_put(cache, &r, 0);
    ck_assert_str_eq(get(1, 0), "");
}
END_TEST

START_TEST(none)
{
    authority_cache_free(NULL);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("authority_cache");
    TCase *t = tcase_create("authority_cache");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, a_copy_for_a_while);
    tcase_add_test(t, a_newer_answer_takes_its_place);
    tcase_add_test(t, the_oldest_gives_way);
    tcase_add_test(t, what_is_no_record);
    tcase_add_test(t, none);
    suite_add_tcase(s, t);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
