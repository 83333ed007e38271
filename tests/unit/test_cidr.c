/* Address ranges: what is taken, what is refused, what lies in them. */
#include <arpa/inet.h>
#include <check.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "proto/cidr.h"

static const char *const bad[] = {
    "",       "10.0.0.0/33",  "10.0.0.0/",    "10.0.0.0/-1",  "10.0.0.0/08",    "10.0.0.0/8 ", "10.0.0.1/8",
    "10.0.0", "010.0.0.0/8",  "::1/129",      "::1/64",       "2001:db8::1/32", "localhost",   "10.0.0.0/8/8",
    "[::1]",  "127.0.0.1:80", "fe80::1%eth0", "10.0.0.0/1e1", " 10.0.0.0/8",    "1.2.3.4/031",
};

START_TEST(refuses)
{
    struct cidr c;
    const char *why = NULL;
    ck_assert_int_eq(cidr_parse(&c, bad[_i], strlen(bad[_i]), &why), ERR_SYNTAX);
    ck_assert_ptr_nonnull(why);
    ck_assert_int_eq(cidr_parse(&c, bad[_i], strlen(bad[_i]), NULL), ERR_SYNTAX);
}
END_TEST

static const struct {
    const char *range;
    const char *address;
    bool inside;
} cases[] = {
    {"127.0.0.0/8", "127.255.255.255", true},
    {"127.0.0.0/8", "128.0.0.0", false},
    {"127.0.0.0/8", "::ffff:127.0.0.1", true},
    {"127.0.0.1", "127.0.0.1", true},
    {"127.0.0.1", "127.0.0.2", false},
    {"0.0.0.0/0", "203.0.113.9", true},
    {"0.0.0.0/0", "::1", false},
    {"::/0", "2001:db8::1", true},
    {"::/0", "10.0.0.1", false},
    {"::/0", "::ffff:10.0.0.1", false},
    {"::1", "::1", true},
    {"::1", "::2", false},
    {"2001:db8::/33", "2001:db8:7fff::1", true},
    {"2001:db8::/33", "2001:db8:8000::1", false},
    {"10.128.0.0/9", "10.255.0.1", true},
    {"10.128.0.0/9", "10.127.0.1", false},
    {"192.0.2.254/31", "192.0.2.255", true},
    {"192.0.2.254/31", "192.0.2.253", false},
};

static struct sockaddr_storage address_of(const char *text)
{
    struct sockaddr_storage sa = {0};
    struct sockaddr_in *v4 = (void *)&sa;
    struct sockaddr_in6 *v6 = (void *)&sa;
    if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
        sa.ss_family = AF_INET;
    } else {
        sa.ss_family = AF_INET6;
        ck_assert_int_eq(inet_pton(AF_INET6, text, &v6->sin6_addr), 1);
    }
    return sa;
}

START_TEST(contains)
{
    struct cidr c;
    struct sockaddr_storage sa = address_of(cases[_i].address);
    ck_assert_int_eq(cidr_parse(&c, cases[_i].range, strlen(cases[_i].range), NULL), 0);
    ck_assert_int_eq(cidr_contains(&c, (struct sockaddr *)&sa), cases[_i].inside);
    sa.ss_family = AF_UNIX;
    ck_assert(!cidr_contains(&c, (struct sockaddr *)&sa));
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("cidr");
    tcase_add_loop_test(tc, refuses, 0, sizeof bad / sizeof bad[0]);
    tcase_add_loop_test(tc, contains, 0, sizeof cases / sizeof cases[0]);
    Suite *s = suite_create("cidr");
    suite_add_tcase(s, tc);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
