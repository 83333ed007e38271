/* Clocks and durations. */
#include "base/clock.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/err.h"

static _Atomic int64_t wall_offset_ms;

int64_t clock_true_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int64_t clock_wall_ms(void)
{
    return clock_true_ms() + atomic_load_explicit(&wall_offset_ms, memory_order_relaxed);
}

uint64_t clock_mono_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

uint64_t clock_mono_ms(void)
{
    return clock_mono_ns() / 1000000;
}

void clock_set_offset_ms(int64_t offset)
{
    atomic_store_explicit(&wall_offset_ms, offset, memory_order_relaxed);
}

int64_t clock_offset_ms(void)
{
    return atomic_load_explicit(&wall_offset_ms, memory_order_relaxed);
}

static void put_digits(char *dst, int count, int value)
{
    for (; count > 0; value /= 10)
        dst[--count] = (char)('0' + value % 10);
}

void clock_format(char dst[CLOCK_TEXT], int64_t wall_ms)
{
    /* RFC 3339 has four digits for the year */
    const int64_t first = INT64_C(-62167219200000), last = INT64_C(253402300799999);
    if (wall_ms < first || wall_ms > last)
        wall_ms = wall_ms < first ? first : last;
    time_t s = (time_t)(wall_ms / 1000);
    int ms = (int)(wall_ms % 1000);
    if (ms < 0) {
        ms += 1000;
        s -= 1;
    }
    struct tm tm;
    gmtime_r(&s, &tm);
    /* by hand: it is in every line of the log, and printf takes ten times as long */
    memcpy(dst, "0000-00-00T00:00:00.000Z", CLOCK_TEXT);
    put_digits(dst, 4, tm.tm_year + 1900);
    put_digits(dst + 5, 2, tm.tm_mon + 1);
    put_digits(dst + 8, 2, tm.tm_mday);
    put_digits(dst + 11, 2, tm.tm_hour);
    put_digits(dst + 14, 2, tm.tm_min);
    put_digits(dst + 17, 2, tm.tm_sec);
    put_digits(dst + 20, 3, ms);
}

static const struct {
    const char *name;
    int64_t ms;
} units[] = {
    /* "ms" before "m", which is its beginning */
    {"w", 7 * 86400000LL}, {"d", 86400000LL}, {"h", 3600000LL}, {"ms", 1LL}, {"m", 60000LL}, {"s", 1000LL},
};
#define DURATION_MAX_MS (100 * 366 * 86400000LL) /* keeps n * 10 and the sum far from overflow */

/* Index into units of the one that text starts with, or -1. */
static int find_unit(const char *text)
{
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
        if (strncmp(text, units[i].name, strlen(units[i].name)) == 0)
            return (int)i;
    return -1;
}

static const char *unit_problem(const char *text)
{
    switch (*text) {
    case '\0':
        return "the unit is missing: write 30s, 15m, 168h or 7d";
    case '.':
    case ',':
        return "fractions are not understood: write 90m or 1h30m for an hour and a half";
    case ' ':
        return "number and unit belong together: write 30s, 15m, 168h or 7d";
    default:
        return "unknown unit: the units are ms, s, m, h, d and w";
    }
}

int duration_parse(const char *text, int64_t *ms, const char **why)
{
    const char *p = text;
    int64_t total = 0;

    do {
        int64_t n = 0;
        const char *digits = p;
        for (; *p >= '0' && *p <= '9'; p++)
            if (n <= DURATION_MAX_MS) /* beyond, it only has to stay beyond */
                n = n * 10 + (*p - '0');
        if (p == digits) {
            *why = "a duration is a number and a unit, such as 30s, 15m, 168h or 7d";
            return ERR_SYNTAX;
        }
        int unit = find_unit(p);
        if (unit < 0) {
            *why = unit_problem(p);
            return ERR_SYNTAX;
        }
        p += strlen(units[unit].name);
        if (n > DURATION_MAX_MS / units[unit].ms || total + n * units[unit].ms > DURATION_MAX_MS) {
            *why = "too long: a duration is at most 100 years";
            return ERR_SYNTAX;
        }
        total += n * units[unit].ms;
    } while (*p != '\0');
    *ms = total;
    return 0;
}

void duration_format(char dst[DURATION_TEXT], int64_t ms)
{
    /* hours rather than days: the field says "168 hours" */
    static const struct {
        const char *name;
        int64_t ms;
    } shown[] = {{"h", 3600000LL}, {"m", 60000LL}, {"s", 1000LL}, {"ms", 1LL}};
    size_t i = 0;
    while (i < 3 && (ms == 0 || ms % shown[i].ms != 0))
        i++;
    if (ms == 0)
        i = 2;
    snprintf(dst, DURATION_TEXT, "%" PRId64 "%s", ms / shown[i].ms, shown[i].name);
}
