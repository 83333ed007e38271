/* Tickets out of wishes: what each class comes to, and what is not issued. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "proto/staxml.h"
#include "sta/issue.h"

#define NOW    ((int64_t)1795424400000)
#define SECOND ((int64_t)1000)
#define HOUR   (3600 * SECOND)

static const struct issue_rules rules = {
    .background_ms = 168 * HOUR, .session_ms = 100 * SECOND, .refresh_ms = 500 * SECOND};

static char value[TICKET_VALUE_MAX + 1];

static struct record *issue(struct issue_wish *w, const struct issue_rules *r, const char **why)
{
    *why = NULL;
    memset(value, 0, sizeof value);
    struct record *made = issue_new(w, r, NOW, value, why);
    if (made == NULL)
        ck_assert_ptr_nonnull(*why);
    return made;
}

static struct record *issue_good(struct issue_wish *w, const struct issue_rules *r)
{
    const char *why;
    struct record *made = issue(w, r, &why);
    ck_assert_msg(made != NULL, "%s", why);
    return made;
}

static void refuse(struct issue_wish *w, const struct issue_rules *r, const char *part)
{
    const char *why;
    struct record *made = issue(w, r, &why);
    ck_assert_msg(made == NULL, "issued, and should not: %s", part);
    ck_assert_msg(strstr(why, part) != NULL, "'%s' in '%s'", part, why);
    ck_assert_str_eq(value, ""); /* no value was drawn, or it is gone */
}

/* ---- values ---- */

START_TEST(values_are_fresh_and_well_formed)
{
    enum { N = 1000 };
    static char drawn[N][TICKET_VALUE_MAX + 1];
    uint8_t hash[RECORD_HASH], again[RECORD_HASH];
    unsigned seen[16] = {0};
    for (size_t i = 0; i < N; i++) {
        ck_assert_int_eq(issue_ticket_value(drawn[i], hash), 0);
        ck_assert_uint_eq(strlen(drawn[i]), 32);
        ck_assert_uint_eq(strspn(drawn[i], "0123456789ABCDEF"), 32);
        ck_assert_ptr_null(ticket_explain_value(drawn[i], 32));
        record_hash(again, drawn[i], 32);
        ck_assert_int_eq(memcmp(hash, again, sizeof hash), 0);
        for (size_t k = 0; k < 32; k++)
            seen[drawn[i][k] <= '9' ? drawn[i][k] - '0' : drawn[i][k] - 'A' + 10]++;
        for (size_t k = 0; k < i; k++)
            ck_assert_str_ne(drawn[i], drawn[k]);
    }
    for (size_t i = 0; i < 16; i++)
        ck_assert_uint_gt(seen[i], N); /* of 2 N expected */
}
END_TEST

/* ---- classes and lifetimes ---- */

static const struct {
    enum ticket_class class;
    bool refreshable, shorten_only;
    int64_t lifetime_ms; /* wished */
    int64_t lives_ms;    /* 0: refused */
    int64_t refresh_ms;
} lives[] = {
    {TICKET_BACKGROUND, false, false, 0, 168 * HOUR, 0},
    {TICKET_BACKGROUND, true, false, 0, 168 * HOUR, 0}, /* background tickets need no refresh */
    {TICKET_SESSION, false, false, 0, 100 * SECOND, 0},
    {TICKET_SESSION, true, false, 0, 500 * SECOND, 500 * SECOND},
    {TICKET_SESSION, true, false, 7 * SECOND, 7 * SECOND, 7 * SECOND},
    {TICKET_BACKGROUND, false, false, 1, 1, 0},
    {TICKET_BACKGROUND, false, false, ISSUE_LIFETIME_MAX_MS, ISSUE_LIFETIME_MAX_MS, 0},
    {TICKET_SESSION, false, false, 400 * HOUR, 400 * HOUR, 0},
    {TICKET_BACKGROUND, false, false, ISSUE_LIFETIME_MAX_MS + 1, 0, 0},
    {TICKET_BACKGROUND, false, false, INT64_MAX, 0, 0},
    {TICKET_BACKGROUND, false, false, -1, 0, 0},
    {TICKET_SESSION, true, false, INT64_MIN, 0, 0},
    /* users who ask for themselves */
    {TICKET_BACKGROUND, false, true, 0, 168 * HOUR, 0},
    {TICKET_BACKGROUND, false, true, 168 * HOUR, 168 * HOUR, 0},
    {TICKET_BACKGROUND, false, true, 168 * HOUR + 1, 0, 0},
    {TICKET_BACKGROUND, false, true, HOUR, HOUR, 0},
    {TICKET_SESSION, false, true, 100 * SECOND + 1, 0, 0},
    {TICKET_SESSION, true, true, 100 * SECOND + 1, 100 * SECOND + 1, 100 * SECOND + 1},
    {TICKET_SESSION, true, true, 500 * SECOND + 1, 0, 0},
};

START_TEST(classes_and_lifetimes)
{
    struct issue_rules r = rules;
    r.shorten_only = lives[_i].shorten_only;
    struct issue_wish w = {.class = lives[_i].class,
                           .refreshable = lives[_i].refreshable,
                           .lifetime_ms = lives[_i].lifetime_ms,
                           .user = "alice",
                           .device = "phone1"};
    if (lives[_i].lives_ms == 0) {
        refuse(&w, &r, "a lifetime ");
        return;
    }
    struct record *made = issue_good(&w, &r);
    ck_assert_int_eq(made->class, lives[_i].class);
    ck_assert_int_eq(made->state, TICKET_LIVE);
    ck_assert_int_eq(made->issued_ms, NOW);
    ck_assert_int_eq(made->expires_ms, NOW + lives[_i].lives_ms);
    ck_assert_int_eq(made->refresh_ms, lives[_i].refresh_ms);
    ck_assert_int_eq(made->ended_ms, 0);
    ck_assert(!made->injected);
    ck_assert_str_eq(made->user, "alice");
    ck_assert_str_eq(made->device, "phone1");
    ck_assert_uint_eq(made->service_count + made->value_count, 0);
    uint8_t hash[RECORD_HASH];
    record_hash(hash, value, TICKET_VALUE_MAX);
    ck_assert_int_eq(memcmp(hash, made->hash, sizeof hash), 0);
    free(made);
}
END_TEST

/* ---- names ---- */

static void check_name(const char *name, bool good)
{
    struct issue_wish as_user = {.user = name, .device = NULL};
    struct issue_wish as_device = {.user = "alice", .device = name};
    if (!good) {
        refuse(&as_user, &rules, "user and device are at most 255 bytes");
        refuse(&as_device, &rules, "user and device are at most 255 bytes");
        return;
    }
    struct record *made = issue_good(&as_user, &rules);
    ck_assert_str_eq(made->user, name);
    ck_assert_str_eq(made->device, "");
    free(made);
    made = issue_good(&as_device, &rules);
    ck_assert_str_eq(made->device, name);
    free(made);
}

START_TEST(names)
{
    char longest[ISSUE_NAME_MAX + 2];
    memset(longest, 'n', sizeof longest);
    longest[ISSUE_NAME_MAX] = '\0';
    check_name(longest, true);
    longest[ISSUE_NAME_MAX] = 'n';
    longest[ISSUE_NAME_MAX + 1] = '\0';
    check_name(longest, false);
    check_name("", true);
    check_name("EXAMPLE\\alice", true);
    check_name("J\xc3\xb6rg M.", true);
    check_name("a\nb", true);
    check_name("a\tb", true);
    check_name("\x01", true);
    check_name("a\x7f", true);
}
END_TEST

/* ---- services ---- */

static const struct {
    const char *wished;
    const char *normal; /* NULL: refused */
} services[] = {
    {"mail.example.com:443", "mail.example.com:443"},
    {"MAIL.Example.COM.:443", "mail.example.com:443"},
    {" mail.example.com: 443 ", "mail.example.com:443"},
    {"*.example.com:443", "*.example.com:443"},
    {"*.EXAMPLE.com:1", "*.example.com:1"},
    {"192.0.2.7:65535", "192.0.2.7:65535"},
    {"[2001:DB8:0:0::1]:80", "[2001:db8::1]:80"},
    {"mail.example.com", NULL},
    {"mail.example.com:0", NULL},
    {"mail.example.com:0443", NULL},
    {"mail.example.com:65536", NULL},
    {"mail..example.com:443", NULL},
    {"*:443", NULL},
    {"mail.*.com:443", NULL},
    {"http://mail.example.com:443", NULL},
    {"user@mail.example.com:443", NULL},
    {"127.1:443", NULL},
    {"", NULL},
    {"a\nb:1", NULL},
};

START_TEST(services_come_in_normal_form)
{
    const char *const three[] = {"first.example.com:1", services[_i].wished, "last.example.com:2"};
    struct issue_wish w = {.user = "alice", .service_count = 3, .services = three};
    if (services[_i].normal == NULL) {
        const char *why;
        ck_assert_ptr_null(issue(&w, &rules, &why));
        ck_assert_ptr_eq(w.wrong, three[1]);
        return;
    }
    struct record *made = issue_good(&w, &rules);
    ck_assert_uint_eq(made->service_count, 3);
    ck_assert_str_eq(made->services[0], three[0]);
    ck_assert_str_eq(made->services[1], services[_i].normal);
    ck_assert_str_eq(made->services[2], three[2]);
    free(made);
}
END_TEST

START_TEST(too_many_of_anything)
{
    const char *list[RECORD_SERVICES_MAX + 1];
    struct record_value values[RECORD_VALUES_MAX + 1];
    for (size_t i = 0; i < RECORD_SERVICES_MAX + 1; i++)
        list[i] = "a.example.com:1";
    for (size_t i = 0; i < RECORD_VALUES_MAX + 1; i++)
        values[i] = (struct record_value){"name", "value"};
    struct issue_wish w = {.user = "alice",
                           .service_count = RECORD_SERVICES_MAX,
                           .services = list,
                           .value_count = RECORD_VALUES_MAX,
                           .values = values};
    struct record *made = issue_good(&w, &rules);
    ck_assert_uint_eq(made->service_count, RECORD_SERVICES_MAX);
    ck_assert_uint_eq(made->value_count, RECORD_VALUES_MAX);
    free(made);
    w.service_count++;
    refuse(&w, &rules, "more services or values than a ticket holds");
    w.service_count--;
    w.value_count++;
    refuse(&w, &rules, "more services or values than a ticket holds");
}
END_TEST

/* ---- values ---- */

static const struct {
    const char *address;
    bool good;
} addresses[] = {
    {"", true}, /* real issuers leave what they have no use for empty */
    {"mail.example.com:443", true},
    {" MAIL.example.com : 443", true},
    {"[::1]:1494", true},
    {"mail.example.com", false},
    {"*.example.com:443", false},
    {"mail.example.com:99999", false},
    {"http://mail.example.com/", false},
    {"mail.example.com:443;b.example.com:443", false},
};

START_TEST(ica_addresses)
{
    const struct record_value values[] = {
        {"XData", "not an address"}, {"ICAAddress", addresses[_i].address}, {"CGPAddress", "nonsense"}};
    struct issue_wish w = {.user = "alice", .value_count = 3, .values = values};
    const char *why;
    struct record *made = issue(&w, &rules, &why);
    ck_assert_msg((made != NULL) == addresses[_i].good, "%s: %s", addresses[_i].address, why);
    if (made == NULL)
        return;
    ck_assert_uint_eq(made->value_count, 3);
    ck_assert_str_eq(made->values[1].name, "ICAAddress");
    ck_assert_str_eq(made->values[1].value, addresses[_i].address); /* given back as it came */
    free(made);
}
END_TEST

START_TEST(too_much_text)
{
    static char text[RECORD_BYTES_MAX + 1];
    const struct record_value values[] = {{"A", text}, {"B", text}, {"C", text}};
    struct issue_wish w = {.user = "alice", .value_count = 1, .values = values};
    memset(text, 'x', STAXML_TEXT_MAX);
    struct record *made = issue_good(&w, &rules);
    ck_assert_uint_eq(strlen(made->values[0].value), STAXML_TEXT_MAX);
    free(made);
    w.value_count = 3;
    refuse(&w, &rules, "more text than a ticket holds");
    /* longer than an answer can carry it */
    text[STAXML_TEXT_MAX] = 'x';
    w.value_count = 1;
    refuse(&w, &rules, "more text than a ticket holds");
    memset(text, 'x', RECORD_BYTES_MAX);
    refuse(&w, &rules, "more text than a ticket holds");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("issue");
    TCase *t = tcase_create("issue");
    tcase_add_test(t, values_are_fresh_and_well_formed);
    tcase_add_loop_test(t, classes_and_lifetimes, 0, sizeof lives / sizeof lives[0]);
    tcase_add_test(t, names);
    tcase_add_loop_test(t, services_come_in_normal_form, 0, sizeof services / sizeof services[0]);
    tcase_add_test(t, too_many_of_anything);
    tcase_add_loop_test(t, ica_addresses, 0, sizeof addresses / sizeof addresses[0]);
    tcase_add_test(t, too_much_text);
    suite_add_tcase(s, t);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
