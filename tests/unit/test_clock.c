/* Durations in both directions, time stamps, and the wall clock that tests move. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"

#define SECOND INT64_C(1000)
#define MINUTE (60 * SECOND)
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)

START_TEST(durations_read)
{
    static const struct {
        const char *text;
        int64_t ms;
    } cases[] = {
        {"0s", 0},
        {"0ms", 0},
        {"1ms", 1},
        {"1s", SECOND},
        {"30s", 30 * SECOND},
        {"15m", 15 * MINUTE},
        {"168h", 168 * HOUR},
        {"7d", 7 * DAY},
        {"2w", 14 * DAY},
        {"1h30m", 90 * MINUTE},
        {"1m500ms", MINUTE + 500},
        {"5ms5m", 5 + 5 * MINUTE},
        {"1w1d1h1m1s1ms", 8 * DAY + HOUR + MINUTE + SECOND + 1},
        {"007d", 7 * DAY},
        {"000000000000000000000000000001s", SECOND},
        {"36600d", 36600 * DAY},
        {"3162240000000ms", 36600 * DAY},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int64_t ms = -1;
        const char *why = NULL;
        ck_assert_msg(duration_parse(cases[i].text, &ms, &why) == 0, "%s: %s", cases[i].text, why);
        ck_assert_msg(ms == cases[i].ms, "%s: %lld", cases[i].text, (long long)ms);
    }
}
END_TEST

START_TEST(durations_refused)
{
    static const struct {
        const char *text;
        const char *why; /* its beginning */
    } cases[] = {
        {"", "a duration is a number and a unit"},
        {"h", "a duration is a number and a unit"},
        {"-5s", "a duration is a number and a unit"},
        {"+5s", "a duration is a number and a unit"},
        {" 5s", "a duration is a number and a unit"},
        {"5s ", "a duration is a number and a unit"},
        {"5msx", "a duration is a number and a unit"},
        {"5sm", "a duration is a number and a unit"},
        {"forever", "a duration is a number and a unit"},
        {"30", "the unit is missing: write 30s"},
        {"1h30", "the unit is missing"},
        {"1.5h", "fractions are not understood"},
        {"1,5h", "fractions are not understood"},
        {"30 s", "number and unit belong together"},
        {"5y", "unknown unit"},
        {"5H", "unknown unit"},
        {"5\xc3\xa4", "unknown unit"},
        {"36601d", "too long"},
        {"36600d1ms", "too long"},
        {"3162240000001ms", "too long"},
        {"99999999999999999999999999999999999999999w", "too long"},
        {"18446744073709551617ms", "too long"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int64_t ms = 42;
        const char *why = "";
        ck_assert_int_eq(duration_parse(cases[i].text, &ms, &why), ERR_SYNTAX);
        ck_assert_msg(strncmp(why, cases[i].why, strlen(cases[i].why)) == 0, "%s: %s", cases[i].text, why);
        ck_assert_int_eq(ms, 42);
    }
}
END_TEST

START_TEST(durations_written)
{
    static const struct {
        int64_t ms;
        const char *text;
    } cases[] = {
        {0, "0s"},
        {1, "1ms"},
        {1500, "1500ms"},
        {90 * SECOND, "90s"},
        {2 * MINUTE, "2m"},
        {90 * MINUTE, "90m"},
        {168 * HOUR, "168h"},
        {7 * DAY, "168h"},
        {HOUR + 1, "3600001ms"},
        {-5 * SECOND, "-5s"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[DURATION_TEXT];
        duration_format(text, cases[i].ms);
        ck_assert_str_eq(text, cases[i].text);
    }
    char text[DURATION_TEXT];
    duration_format(text, INT64_MIN);
    duration_format(text, INT64_MAX);
    ck_assert_str_eq(text, "9223372036854775807ms");
}
END_TEST

START_TEST(durations_round_trip)
{
    uint64_t random = 88172645463325252u;
    for (int i = 0; i < 20000; i++) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        static const int64_t steps[] = {1, SECOND, MINUTE, HOUR};
        int64_t step = steps[random & 3], back;
        int64_t ms = (int64_t)((random >> 2) % (uint64_t)(36600 * DAY / step)) * step;
        char text[DURATION_TEXT];
        const char *why;
        duration_format(text, ms);
        ck_assert_int_eq(duration_parse(text, &back, &why), 0);
        ck_assert_int_eq(back, ms);
    }
}
END_TEST

START_TEST(time_stamps)
{
    static const struct {
        int64_t ms;
        const char *text;
    } cases[] = {
        {0, "1970-01-01T00:00:00.000Z"},
        {-1, "1969-12-31T23:59:59.999Z"},
        {-1000, "1969-12-31T23:59:59.000Z"},
        {INT64_C(1795424400007), "2026-11-23T09:00:00.007Z"},
        {INT64_C(951782399999), "2000-02-28T23:59:59.999Z"},
        {INT64_C(253402300799999), "9999-12-31T23:59:59.999Z"},
        {INT64_MAX, "9999-12-31T23:59:59.999Z"},
        {INT64_MIN, "0000-01-01T00:00:00.000Z"},
    };
    setenv("TZ", "Asia/Tokyo", 1); /* must not matter */
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[CLOCK_TEXT];
        clock_format(text, cases[i].ms);
        ck_assert_str_eq(text, cases[i].text);
    }
}
END_TEST

START_TEST(the_wall_clock_moves)
{
    ck_assert_int_eq(clock_offset_ms(), 0);
    uint64_t mono = clock_mono_ms();
    int64_t before = clock_wall_ms();
    ck_assert_int_gt(before, INT64_C(1600000000000));
    clock_set_offset_ms(-7 * DAY);
    ck_assert_int_eq(clock_offset_ms(), -7 * DAY);
    int64_t moved = clock_wall_ms();
    ck_assert_int_ge(moved, before - 7 * DAY);
    ck_assert_int_lt(moved, before - 7 * DAY + HOUR);
    clock_set_offset_ms(0);
    ck_assert_int_ge(clock_wall_ms(), before);
    ck_assert_uint_ge(clock_mono_ms(), mono);
    ck_assert_uint_lt(clock_mono_ms(), mono + (uint64_t)HOUR); /* deadlines do not notice */

    uint64_t last = clock_mono_ns();
    for (int i = 0; i < 1000; i++) {
        uint64_t now = clock_mono_ns();
        ck_assert_uint_ge(now, last);
        last = now;
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("clock");
    TCase *t = tcase_create("clock");
    tcase_add_test(t, durations_read);
    tcase_add_test(t, durations_refused);
    tcase_add_test(t, durations_written);
    tcase_add_test(t, durations_round_trip);
    tcase_add_test(t, time_stamps);
    tcase_add_test(t, the_wall_clock_moves);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
