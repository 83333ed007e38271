/* Rules of misbehaviour: what can be said, what comes up when, and that they are shown as they can be given.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "faults.h"

static const struct {
    const char *text, *shown; /* NULL: as given */
} good[] = {
    {"Ping:503", NULL},
    {"*:delay=2s", "*:delay=2000ms"},
    {"Sync:451=https://other.example.com/Microsoft-Server-ActiveSync", NULL},
    {"Sync:throttle", NULL},
    {"Sync:throttle=OutOfBudgets", NULL},
    {"OPTIONS:truncate,count=3", NULL},
    {"OPTIONS:malformed,percent=5", NULL},
    {"Ping:chunked,user=bob", NULL},
    {"Ping:close,percent=50,count=2,user=bob", NULL},
    {"Ping:reset,percent=100", "Ping:reset"},
    {"Ping:503,retry-after=7", NULL},
};

START_TEST(rules)
{
    struct faults *f = faults_new(1);
    const char *why;
    char text[512];
    ck_assert_int_eq(faults_add(f, good[_i].text, &why), 0);
    ck_assert_uint_eq(faults_count(f), 1);
    faults_describe(f, 0, text, sizeof text);
    ck_assert_str_eq(text, good[_i].shown != NULL ? good[_i].shown : good[_i].text);
    ck_assert_int_eq(faults_add(f, text, &why), 0);
    faults_clear(f);
    ck_assert_uint_eq(faults_count(f), 0);
    faults_free(f);
}
END_TEST

static const char *const bad[] = {
    "",
    "Ping",
    ":503",
    "Ping:",
    "Ping:200",
    "Ping:600",
    "Ping:what",
    "Ping:delay",
    "Ping:delay=x",
    "Ping:451",
    "Ping:503,",
    "Ping:503,percent",
    "Ping:503,percent=101",
    "Ping:503,count=x",
    "Ping:503,count=9999999",
    "Ping:503,retry-after=99999999",
    "Ping:503,user",
    "ACommandWithANameThatIsTooLong:503",
};

START_TEST(no_rules)
{
    struct faults *f = faults_new(1);
    const char *why = NULL;
    ck_assert_int_lt(faults_add(f, bad[_i], &why), 0);
    ck_assert_ptr_nonnull(why);
    ck_assert_uint_eq(faults_count(f), 0);
    faults_free(f);
}
END_TEST

START_TEST(which_comes_up)
{
    struct faults *f = faults_new(1);
    const char *why;
    faults_add(f, "*:delay=1s", &why);
    faults_add(f, "Ping:500,user=bob", &why);
    faults_add(f, "Ping:503,count=2", &why);
    faults_add(f, "Sync:507,percent=0", &why);
    ck_assert_int_eq((int)faults_pick(f, FAULT_HOLDS, "Sync", "x")->action, FAULT_DELAY);
    ck_assert_uint_eq(faults_pick(f, FAULT_SPOILS, "ping", "BOB")->status, 500);
    ck_assert_uint_eq(faults_pick(f, FAULT_SPOILS, "Ping", "alice")->status, 503);
    ck_assert_uint_eq(faults_pick(f, FAULT_SPOILS, "Ping", "alice")->status, 503);
    ck_assert_ptr_null(faults_pick(f, FAULT_SPOILS, "Ping", "alice"));
    ck_assert_ptr_null(faults_pick(f, FAULT_SPOILS, "Sync", "alice"));
    ck_assert_uint_eq(faults_count(f), 3); /* the one that is used up has gone */
    for (int i = 0; i < 100; i++)
        faults_add(f, "Ping:500", &why);
    ck_assert_uint_eq(faults_count(f), 100);
    faults_free(f);
}
END_TEST

START_TEST(chances)
{
    struct faults *f = faults_new(1);
    const char *why;
    unsigned hits = 0;
    faults_add(f, "*:500,percent=25", &why);
    for (int i = 0; i < 10000; i++)
        hits += faults_pick(f, FAULT_SPOILS, "Ping", "") != NULL;
    ck_assert(hits > 2200 && hits < 2800);
    faults_free(f);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("mailsim_faults");
    TCase *t = tcase_create("faults");
    tcase_add_loop_test(t, rules, 0, (int)(sizeof good / sizeof good[0]));
    tcase_add_loop_test(t, no_rules, 0, (int)(sizeof bad / sizeof bad[0]));
    tcase_add_test(t, which_comes_up);
    tcase_add_test(t, chances);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
