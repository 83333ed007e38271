/* Addresses that failed lately: which ones go behind the others, and for how long. */
#include <arpa/inet.h>
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/gate/outage.h"

static struct outages *outages;

static void setup(void)
{
    outages = outages_new();
}

static void teardown(void)
{
    outages_free(outages);
}

static union peer_address v4(unsigned last, unsigned port)
{
    union peer_address a = {0};
    a.v4.sin_family = AF_INET;
    a.v4.sin_port = htons((uint16_t)port);
    a.v4.sin_addr.s_addr = htonl(0xc0000200 + last);
    return a;
}

static union peer_address v6(unsigned last, unsigned port)
{
    union peer_address a = {0};
    a.v6.sin6_family = AF_INET6;
    a.v6.sin6_port = htons((uint16_t)port);
    a.v6.sin6_addr.s6_addr[15] = (uint8_t)last;
    return a;
}

/* The addresses of three, in the order they are to be tried in, as digits. */
static const char *order(uint64_t now_ms)
{
    static char text[4];
    union peer_address a[3] = {v4(1, 443), v6(2, 443), v4(3, 443)};
    outage_order(outages, now_ms, a, 3);
    for (int i = 0; i < 3; i++) {
        unsigned last = a[i].any.sa_family == AF_INET ? ntohl(a[i].v4.sin_addr.s_addr) & 0xff
                                                      : a[i].v6.sin6_addr.s6_addr[15];
        text[i] = (char)('0' + last);
    }
    return text;
}

static void fails(union peer_address a, uint64_t now_ms)
{
    outage_note(outages, now_ms, &a, true);
}

static void works(union peer_address a, uint64_t now_ms)
{
    outage_note(outages, now_ms, &a, false);
}

START_TEST(nothing_failed)
{
    works(v4(1, 443), 0);
    ck_assert_str_eq(order(0), "123");
}
END_TEST

START_TEST(behind_the_others_for_a_while)
{
    fails(v4(1, 443), 1000);
    ck_assert_str_eq(order(1000), "231");
    ck_assert_str_eq(order(1000 + OUTAGE_MS - 1), "231");
    ck_assert_str_eq(order(1000 + OUTAGE_MS), "123");
}
END_TEST

START_TEST(failing_again_prolongs_it)
{
    fails(v6(2, 443), 1000);
    fails(v6(2, 443), 20000);
    ck_assert_str_eq(order(20000 + OUTAGE_MS - 1), "132");
    ck_assert_str_eq(order(20000 + OUTAGE_MS), "123");
}
END_TEST

START_TEST(back_at_once_when_it_works)
{
    fails(v4(1, 443), 0);
    fails(v6(2, 443), 0);
    works(v4(1, 443), 5);
    ck_assert_str_eq(order(5), "132");
}
END_TEST

START_TEST(all_failed_keep_their_order)
{
    fails(v4(3, 443), 0);
    fails(v4(1, 443), 0);
    fails(v6(2, 443), 0);
    ck_assert_str_eq(order(1), "123");
}
END_TEST

START_TEST(port_and_family_count)
{
    fails(v4(1, 80), 0);
    fails(v6(1, 443), 0);
    fails(v4(2, 443), 0);
    ck_assert_str_eq(order(0), "123");
}
END_TEST

START_TEST(the_oldest_gives_way)
{
    fails(v4(1, 443), 0);
    for (unsigned i = 0; i < OUTAGE_SLOTS - 1; i++)
        fails(v4(100, 1000 + i), 0);
    ck_assert_str_eq(order(0), "231");
    fails(v4(101, 1), 0);
    ck_assert_str_eq(order(0), "123");
}
END_TEST

START_TEST(one_address_is_left_alone)
{
    union peer_address a = v4(1, 443);
    fails(a, 0);
    outage_order(outages, 0, &a, 1);
    outage_order(outages, 0, &a, 0);
    ck_assert_uint_eq(ntohl(a.v4.sin_addr.s_addr) & 0xff, 1);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("outage");
    TCase *t = tcase_create("outage");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, nothing_failed);
    tcase_add_test(t, behind_the_others_for_a_while);
    tcase_add_test(t, failing_again_prolongs_it);
    tcase_add_test(t, back_at_once_when_it_works);
    tcase_add_test(t, all_failed_keep_their_order);
    tcase_add_test(t, port_and_family_count);
    tcase_add_test(t, the_oldest_gives_way);
    tcase_add_test(t, one_address_is_left_alone);
    suite_add_tcase(s, t);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
