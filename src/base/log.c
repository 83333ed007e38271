/* The log. Builds each line on the caller's stack and hands it to the kernel in one write. Knows no event by
 * name. */
#include "base/log.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/decimal.h"
#include "base/utf8.h"

static _Atomic int log_is_json = 1;
static _Atomic int log_max_level = LOG_INFO;
static _Atomic int log_colour;
static _Atomic uint64_t log_lost;   /* since the start */
static _Atomic uint64_t log_untold; /* of them, not said in the log yet */

static const char *const level_name[] = {"error", "warn", "info", "debug"};
static const char *const level_colour[] = {"\033[31m", "\033[33m", "\033[36m", "\033[2m"};

void log_setup(enum log_format format, enum log_level level)
{
    bool tty = isatty(STDERR_FILENO) == 1;
    atomic_store(&log_is_json, format == LOG_JSON || (format == LOG_AUTO && !tty));
    atomic_store(&log_colour, tty);
    atomic_store(&log_max_level, (int)level);
}

bool log_wants(enum log_level level)
{
    return (int)level <= atomic_load_explicit(&log_max_level, memory_order_relaxed);
}

uint64_t log_dropped(void)
{
    return atomic_load(&log_lost);
}

/* room kept at the end for closing brackets and the newline: DEPTH_MAX of them, one for the line itself, and
 * some */
#define TAIL      32
#define DEPTH_MAX 16
/* the longest a value may become: a line holds some thirty fields, and a peer chooses several of them */
#define VALUE_MAX 600

static void put(struct log_line *l, const char *s, size_t n)
{
    if (l->len + n > sizeof l->data - TAIL)
        n = l->len < sizeof l->data - TAIL ? sizeof l->data - TAIL - l->len : 0;
    memcpy(l->data + l->len, s, n);
    l->len += n;
}

static void put_str(struct log_line *l, const char *s)
{
    put(l, s, strlen(s));
}

/* How many characters stand as they are: nearly all of what is logged. */
static size_t plain_run(const char *s, size_t len)
{
    size_t n = 0;
    while (n < len && s[n] >= ' ' && s[n] < 0x7f && s[n] != '"' && s[n] != '\\')
        n++;
    return n;
}

/* A string value: escaped for JSON, and in both forms free of control characters (a terminal must not obey a
 * peer). */
static void put_escaped(struct log_line *l, const char *s, size_t len)
{
    const size_t room =
        sizeof l->data - TAIL - 16; /* the last escape, the mark of a cut and the quote follow */
    size_t end = l->len + VALUE_MAX < room ? l->len + VALUE_MAX : room;
    size_t i = 0;
    while (i < len && l->len < end) {
        size_t run = plain_run(s + i, len - i < end - l->len ? len - i : end - l->len);
        if (run > 0) {
            put(l, s + i, run);
            i += run;
            continue;
        }
        uint32_t point;
        size_t n = utf8_decode(s + i, len - i, &point);
        if (n == 0 || (point >= 0x80 && point < 0xa0)) {
            put_str(l, "\\ufffd");
        } else if (point < 0x20 || point == 0x7f) {
            char esc[8];
            snprintf(esc, sizeof esc, "\\u%04x", (unsigned)point);
            put_str(l, esc);
        } else {
            if (point == '"' || point == '\\')
                put(l, "\\", 1);
            put(l, s + i, n);
        }
        i += n > 0 ? n : 1;
    }
    if (i < len)
        put_str(l, "...");
}

/* Whether a field still fits: one that does not is left out whole, so that a line is always well-formed. */
static bool fits(const struct log_line *l, const char *key)
{
    return !l->off && l->skipped == 0 && l->len + strlen(key) + 40 < sizeof l->data - TAIL;
}

static void put_key(struct log_line *l, const char *key)
{
    /* fits() has said that there is room */
    size_t len = strlen(key);
    char *p = l->data + l->len;
    if (l->json) {
        if (!l->first)
            *p++ = ',';
        *p++ = '"';
        memcpy(p, key, len);
        p += len;
        *p++ = '"';
        *p++ = ':';
    } else {
        if (!l->first || l->depth == 0)
            *p++ = ' ';
        memcpy(p, key, len);
        p += len;
        *p++ = '=';
    }
    l->len = (size_t)(p - l->data);
    l->first = false;
}

void log_begin(struct log_line *l, enum log_level level, const char *event)
{
    l->level = level;
    l->off = !log_wants(level);
    if (l->off)
        return;
    l->json = atomic_load_explicit(&log_is_json, memory_order_relaxed);
    l->len = 0;
    l->depth = 0;
    l->arrays = 0;
    l->skipped = 0;
    l->first = true;

    char when[CLOCK_TEXT];
    if (l->json) {
        clock_format(when, clock_true_ms());
        put(l, "{", 1);
        log_str(l, "event", event);
        log_str(l, "time", when);
        log_str(l, "level", level_name[level]);
        return;
    }
    time_t now = time(NULL);
    struct tm tm;
    localtime_r(&now, &tm);
    strftime(when, sizeof when, "%H:%M:%S ", &tm);
    put_str(l, when);
    bool colour = atomic_load_explicit(&log_colour, memory_order_relaxed);
    if (colour)
        put_str(l, level_colour[level]);
    if (level <= LOG_WARN) {
        put_str(l, level_name[level]);
        put(l, " ", 1);
    }
    put_str(l, event);
    if (colour)
        put_str(l, "\033[0m");
    l->first = false;
}

void log_strn(struct log_line *l, const char *key, const char *value, size_t len)
{
    if (value == NULL || !fits(l, key))
        return;
    put_key(l, key);
    bool quote =
        l->json || len == 0 || memchr(value, ' ', len) || memchr(value, '=', len) || memchr(value, '"', len);
    if (quote)
        put(l, "\"", 1);
    put_escaped(l, value, len);
    if (quote)
        put(l, "\"", 1);
}

void log_str(struct log_line *l, const char *key, const char *value)
{
    if (value != NULL)
        log_strn(l, key, value, strlen(value));
}

void log_int(struct log_line *l, const char *key, int64_t value)
{
    if (!fits(l, key))
        return;
    char text[DECIMAL_TEXT];
    size_t len = decimal_put(text, value);
    put_key(l, key);
    put(l, text, len);
}

void log_bool(struct log_line *l, const char *key, bool value)
{
    if (!fits(l, key))
        return;
    put_key(l, key);
    put_str(l, value ? "true" : "false");
}

/* What does not fit is left out with everything in it, up to the call that closes it. */
static void open_with(struct log_line *l, const char *key, bool array)
{
    if (l->off)
        return;
    if (!fits(l, key) || l->depth == DEPTH_MAX) {
        l->skipped++;
        return;
    }
    put_key(l, key);
    put_str(l, array ? "[" : "{");
    l->arrays = (l->arrays & ~(1u << l->depth)) | (uint32_t)array << l->depth;
    l->first = true;
    l->depth++;
}

static void close_innermost(struct log_line *l)
{
    assert(l->depth > 0);
    l->depth--;
    l->first = false;
    l->data[l->len++] = l->arrays >> l->depth & 1 ? ']' : '}'; /* the tail has room for all of them */
}

static void close_with(struct log_line *l, bool array)
{
    if (l->off)
        return;
    if (l->skipped > 0) {
        l->skipped--;
        return;
    }
    assert(l->depth > 0 && (l->arrays >> (l->depth - 1) & 1) == array);
    close_innermost(l);
}

void log_open(struct log_line *l, const char *key)
{
    open_with(l, key, false);
}

void log_close(struct log_line *l)
{
    close_with(l, false);
}

void log_array_open(struct log_line *l, const char *key)
{
    open_with(l, key, true);
}

void log_item(struct log_line *l, const char *value)
{
    if (value == NULL || !fits(l, ""))
        return;
    if (!l->first)
        put(l, ",", 1);
    l->first = false;
    if (l->json)
        put(l, "\"", 1);
    put_escaped(l, value, strlen(value));
    if (l->json)
        put(l, "\"", 1);
}

void log_array_close(struct log_line *l)
{
    close_with(l, true);
}

void log_end(struct log_line *l)
{
    if (l->off)
        return;
    while (l->depth > 0)
        close_innermost(l);
    if (l->json)
        l->data[l->len++] = '}';
    l->data[l->len++] = '\n';
    l->off = true;
    ssize_t n;
    do {
        n = write(STDERR_FILENO, l->data, l->len);
    } while (n < 0 && errno == EINTR);
    if (n != (ssize_t)l->len) {
        atomic_fetch_add(&log_lost, 1);
        atomic_fetch_add(&log_untold, 1);
        return;
    }
    /* the first line that gets through again is followed by how many did not */
    uint64_t untold =
        atomic_load_explicit(&log_untold, memory_order_relaxed) > 0 ? atomic_exchange(&log_untold, 0) : 0;
    if (untold > 0) {
        log_begin(l, LOG_WARN, "log_lines_lost");
        log_int(l, "count", (int64_t)untold);
        log_end(l);
    }
}

void log_message(enum log_level level, const char *event, const char *fmt, ...)
{
    if (!log_wants(level))
        return;
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    struct log_line l;
    log_begin(&l, level, event);
    log_str(&l, "message", text);
    log_end(&l);
}
