/* Integers as text: the ends of the range and around every power of ten, against printf. */
#include <check.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/decimal.h"

static void compare(int64_t value)
{
    char own[DECIMAL_TEXT + 1], other[32];
    size_t len = decimal_put(own, value);
    ck_assert_uint_le(len, DECIMAL_TEXT);
    own[len] = '\0';
    snprintf(other, sizeof other, "%" PRId64, value);
    ck_assert_str_eq(own, other);
}

START_TEST(as_printf_has_it)
{
    compare(INT64_MIN);
    compare(INT64_MAX);
    for (int64_t power = 1;; power *= 10) {
        for (int64_t near = -1; near <= 1; near++) {
            compare(power + near);
            compare(-power + near);
        }
        if (power > INT64_MAX / 10)
            break;
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("decimal");
    TCase *tc = tcase_create("decimal");
    tcase_add_test(tc, as_printf_has_it);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
