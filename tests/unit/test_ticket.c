/* Ticket strings: those seen in public and their neighbours, those that must not pass, and every prefix of a
 * good one. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "proto/ticket.h"

#define T30 "D1B5869135ED230DBFA95E563F8B68"
#define T32 "6C0EE48D2E8CADFEE6D1EB93BFB52A57"

static const struct {
    const char *text;
    unsigned version;
    unsigned count;
    struct ticket_ref ref[2];
} taken[] = {
    {";40;STA475DE9C8ABDA;" T32, 40, 1, {{"STA475DE9C8ABDA", T32}}},
    {";40;STA01;" T30, 40, 1, {{"STA01", T30}}},
    {";10;STA0000;" T32, 10, 1, {{"STA0000", T32}}},
    {";20;a;" T32, 20, 1, {{"a", T32}}},
    {";22;STA0000000000000;" T32, 22, 1, {{"STA0000000000000", T32}}},
    {";40;STA01;ZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZ", 40, 1, {{"STA01", "ZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZ"}}},
    {";42;STA343530117;" T30 ";STA906839512;DBA68EAF468E90456AEDE31F1CFBD8",
     42,
     2,
     {{"STA343530117", T30}, {"STA906839512", "DBA68EAF468E90456AEDE31F1CFBD8"}}},
    {";42;STA01;" T32 ";STA02;" T30, 42, 2, {{"STA01", T32}, {"STA02", T30}}},
    {";42;STA4567890123456;" T32 ";STA4567890123457;" T32,
     42,
     2,
     {{"STA4567890123456", T32}, {"STA4567890123457", T32}}},
};

START_TEST(takes)
{
    struct ticket_string t;
    char text[TICKET_STRING_MAX];
    const char *why = "";

    ck_assert_msg(ticket_parse(&t, taken[_i].text, strlen(taken[_i].text), &why) == 0, "%s", why);
    ck_assert_uint_eq(t.version, taken[_i].version);
    ck_assert_uint_eq(t.count, taken[_i].count);
    for (unsigned i = 0; i < 2; i++) {
        ck_assert_str_eq(t.ref[i].authority, taken[_i].ref[i].authority);
        ck_assert_str_eq(t.ref[i].value, taken[_i].ref[i].value);
    }
    ck_assert(ticket_looks_like(taken[_i].text, strlen(taken[_i].text)));
    ticket_format(&t, text);
    ck_assert_str_eq(text, taken[_i].text);
}
END_TEST

static void assert_refused(const char *text, size_t len, const char *word)
{
    struct ticket_string t;
    struct ticket_string zero;
    const char *why = NULL;
    memset(&t, 0xff, sizeof t);
    memset(&zero, 0, sizeof zero);
    ck_assert_int_eq(ticket_parse(&t, text, len, &why), ERR_SYNTAX);
    ck_assert_ptr_nonnull(why);
    ck_assert_msg(word == NULL || strstr(why, word) != NULL, "%s: %s", text, why);
    ck_assert(memcmp(&t, &zero, sizeof t) == 0);
    ck_assert_int_eq(ticket_parse(&t, text, len, NULL), ERR_SYNTAX);
}

START_TEST(refuses_every_prefix)
{
    size_t len = strlen(taken[_i].text);
    for (size_t n = 0; n < len; n++) {
        /* a ticket of 32 cut to 30 is a ticket again: nothing in the format can tell */
        bool cut_to_30 = n + 2 == len && taken[_i].text[len - 33] == ';';
        if (!cut_to_30)
            assert_refused(taken[_i].text, n, NULL);
    }
}
END_TEST

#define TEXT(s) s, sizeof(s) - 1

static const struct {
    const char *text;
    size_t len;
    const char *word;
} refused[] = {
    {TEXT(""), "semicolon"},
    {TEXT("40;STA01;" T32), "semicolon"},
    {TEXT(" ;40;STA01;" T32), "semicolon"},
    {TEXT(";;STA01;" T32), "version"},
    {TEXT(";30;STA01;" T32), "version"},
    {TEXT(";4;STA01;" T32), "version"},
    {TEXT(";040;STA01;" T32), "version"},
    {TEXT(";400;STA01;" T32), "version"},
    {TEXT("; 40;STA01;" T32), "version"},
    {TEXT(";40"), "authority ID is missing"},
    {TEXT(";40;"), "1 to 16"},
    {TEXT(";40;;" T32), "1 to 16"},
    {TEXT(";40;STA01234567890123;" T32), "1 to 16"},
    {TEXT(";40;STA-01;" T32), "letters and digits"},
    {TEXT(";40;STA 1;" T32), "letters and digits"},
    {TEXT(";40;STA\0;" T32), "letters and digits"},
    {TEXT(";40;ST\xc3\x84;" T32), "letters and digits"},
    {TEXT(";40;STA01"), "ticket is missing"},
    {TEXT(";40;STA01;"), "30 or 32"},
    {TEXT(";40;STA01;" T30 "0"), "30 or 32"},
    {TEXT(";40;STA01;" T32 "0"), "30 or 32"},
    {TEXT(";40;STA01;6C0EE48D2E8CADFEE6D1EB93BFB5"), "30 or 32"},
    {TEXT(";40;STA01;6c0ee48d2e8cadfee6d1eb93bfb52a57"), "capital"},
    {TEXT(";40;STA01;6C0EE48D2E8CADFEE6D1EB93BFB52A5\0"), "capital"},
    {TEXT(";40;STA01;6C0EE48D2E8CADFEE6D1EB93BFB52A5 "), "capital"},
    {TEXT(";40;STA01;" T32 ";"), "follows"},
    {TEXT(";40;STA01;" T32 ";STA02;" T32), "follows"},
    {TEXT(";40;STA01;" T30 "\r\n"), "capital"},
    {TEXT(";42;STA01;" T32), "two authorities"},
    {TEXT(";42;STA01;" T32 ";"), "1 to 16"},
    {TEXT(";42;STA01;" T32 ";STA02"), "ticket is missing"},
    {TEXT(";42;STA01;" T32 ";STA02;" T32 ";STA03;" T32), "follows"},
};

START_TEST(refuses)
{
    assert_refused(refused[_i].text, refused[_i].len, refused[_i].word);
}
END_TEST

START_TEST(tells_a_ticket_by_its_beginning)
{
    ck_assert(ticket_looks_like(";4", 2));
    ck_assert(ticket_looks_like(";9;nonsense", 11));
    ck_assert(!ticket_looks_like(";4", 1));
    ck_assert(!ticket_looks_like("", 0));
    ck_assert(!ticket_looks_like(";a", 2));
    ck_assert(!ticket_looks_like("mail.example.com", 16));
}
END_TEST

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))

int main(void)
{
    Suite *suite = suite_create("ticket");
    TCase *tc = tcase_create("ticket");
    tcase_add_loop_test(tc, takes, 0, COUNT(taken));
    tcase_add_loop_test(tc, refuses_every_prefix, 0, COUNT(taken));
    tcase_add_loop_test(tc, refuses, 0, COUNT(refused));
    tcase_add_test(tc, tells_a_ticket_by_its_beginning);
    suite_add_tcase(suite, tc);
    SRunner *sr = srunner_create(suite);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
