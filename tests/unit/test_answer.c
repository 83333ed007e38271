/* Refusals in HTTP: each one a whole answer that another parser takes. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gate/answer.h"
#include "proto/http.h"

static struct buf out;

static void setup(void)
{
    buf_init(&out, 1 << 20);
}

static void teardown(void)
{
    buf_deinit(&out);
}

static const char *refuse(struct answer a)
{
    answer_refusal(&out, &a);
    buf_append(&out, "", 1);
    return (const char *)out.data;
}

START_TEST(every_reason)
{
    const struct reason_info *info = reason_info((enum reason)_i);
    const char *text = refuse((struct answer){.reason = (enum reason)_i, .detail = "because"});
    char expected[256];
    const char *end = strstr(text, "\r\n\r\n");
    ck_assert_ptr_nonnull(end);
    snprintf(expected, sizeof expected, "HTTP/1.1 %u ", info->http != 0 ? info->http : 403);
    ck_assert_int_eq(strncmp(text, expected, strlen(expected)), 0);
    snprintf(expected, sizeof expected, "\r\nX-Stagate-Reason: %s\r\nX-Stagate-Detail: because\r\n",
             info->id);
    ck_assert_ptr_nonnull(strstr(text, expected));
    const char *length = strstr(text, "\r\nContent-Length: ");
    ck_assert_ptr_nonnull(length);
    ck_assert_uint_eq(strtoul(length + strlen("\r\nContent-Length: "), NULL, 10), strlen(end + 4));
    ck_assert_ptr_nonnull(strstr(end, info->sentence));
    ck_assert_ptr_nonnull(strstr(end, info->advice));
    ck_assert_ptr_nonnull(strstr(text, "\r\nConnection: close\r\n"));
}
END_TEST

START_TEST(a_proxys_and_a_servers_place)
{
    const char *text = refuse((struct answer){.reason = REASON_TICKET_MISSING});
    ck_assert_int_eq(strncmp(text, "HTTP/1.1 407 ", 13), 0);
    ck_assert_ptr_nonnull(strstr(text, "\r\nProxy-Authenticate: Basic "));
    ck_assert_ptr_null(strstr(text, "WWW-Authenticate"));
    out.len = 0;
    text = refuse((struct answer){.reason = REASON_TICKET_MISSING, .reverse = true});
    ck_assert_int_eq(strncmp(text, "HTTP/1.1 401 ", 13), 0);
    ck_assert_ptr_nonnull(strstr(text, "\r\nWWW-Authenticate: X-STA-Ticket "));
    ck_assert_ptr_null(strstr(text, "Proxy-Authenticate"));
}
END_TEST

START_TEST(status_given)
{
    const struct answer a = {.reason = REASON_REQUEST_MALFORMED, .status = 501};
    ck_assert_uint_eq(answer_status(&a), 501);
    ck_assert_int_eq(strncmp(refuse(a), "HTTP/1.1 501 Not Implemented (request_malformed)\r\n", 50), 0);
}
END_TEST

START_TEST(connections_that_stay)
{
    const char *text = refuse((struct answer){.reason = REASON_NOT_ACTIVESYNC, .keep_alive = true});
    ck_assert_ptr_null(strstr(text, "Connection:"));
    out.len = 0;
    text = refuse((struct answer){.reason = REASON_NOT_ACTIVESYNC, .keep_alive = true, .http10 = true});
    ck_assert_ptr_nonnull(strstr(text, "\r\nConnection: keep-alive\r\n"));
    out.len = 0;
    text = refuse((struct answer){.reason = REASON_NOT_ACTIVESYNC, .http10 = true});
    ck_assert_ptr_nonnull(strstr(text, "\r\nConnection: close\r\n"));
}
END_TEST

START_TEST(to_head_without_a_body)
{
    const char *text = refuse((struct answer){.reason = REASON_NOT_ACTIVESYNC, .head = true});
    ck_assert_str_eq(strstr(text, "\r\n\r\n"), "\r\n\r\n");
    ck_assert_ptr_null(strstr(text, "Content-Length: 0"));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("answer");
    TCase *t = tcase_create("answer");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, every_reason, 0, REASON_COUNT);
    tcase_add_test(t, a_proxys_and_a_servers_place);
    tcase_add_test(t, status_given);
    tcase_add_test(t, connections_that_stay);
    tcase_add_test(t, to_head_without_a_body);
    suite_add_tcase(s, t);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
