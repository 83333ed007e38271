/* Clocks and durations. */
#include "base/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/err.h"

static _Atomic int64_t wall_offset_ms;

int64_t clock_wall_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000 +
           atomic_load_explicit(&wall_offset_ms, memory_order_relaxed);
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

void clock_format(char dst[CLOCK_TEXT], int64_t wall_ms)
{
    time_t s = (time_t)(wall_ms / 1000);
    int ms = (int)(wall_ms % 1000);
    if (ms < 0) {
        ms += 1000;
        s -= 1;
    }
    struct tm tm;
    gmtime_r(&s, &tm);
    char text[80];
    snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", tm.tm_year + 1900, tm.tm_mon + 1,
             tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, ms);
    memcpy(dst, text, CLOCK_TEXT - 1);
    dst[CLOCK_TEXT - 1] = '\0';
}

static const struct {
    const char *name;
    int64_t ms;
} units[] = {
    /* longest first, and "ms" before "m" */
    {"w", 7 * 86400000LL}, {"d", 86400000LL}, {"h", 3600000LL}, {"ms", 1LL}, {"m", 60000LL}, {"s", 1000LL},
};
#define DURATION_MAX_MS (100 * 366 * 86400000LL)

int duration_parse(const char *text, int64_t *ms, const char **why)
{
    const char *p = text;
    int64_t total = 0;

    *why = "a duration is a number and a unit, such as 30s, 15m, 168h or 7d";
    if (*p == '\0')
        return ERR_SYNTAX;
    while (*p != '\0') {
        int64_t n = 0;
        const char *digits = p;
        for (; *p >= '0' && *p <= '9'; p++) {
            if (p - digits >= 14) {
                *why = "the number is too large: a duration is at most 100 years";
                return ERR_SYNTAX;
            }
            n = n * 10 + (*p - '0');
        }
        if (p == digits)
            return ERR_SYNTAX;
        if (*p == '\0') {
            *why = "the unit is missing: write 30s, 15m, 168h or 7d";
            return ERR_SYNTAX;
        }
        size_t i = 0;
        while (i < sizeof units / sizeof units[0] && strncmp(p, units[i].name, strlen(units[i].name)) != 0)
            i++;
        if (i == sizeof units / sizeof units[0]) {
            *why = "unknown unit: the units are ms, s, m, h, d and w";
            return ERR_SYNTAX;
        }
        p += strlen(units[i].name);
        if (n > DURATION_MAX_MS / units[i].ms || total + n * units[i].ms > DURATION_MAX_MS) {
            *why = "too long: a duration is at most 100 years";
            return ERR_SYNTAX;
        }
        total += n * units[i].ms;
    }
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
