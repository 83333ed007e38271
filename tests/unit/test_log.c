/* The log: that every line is one write and strict JSON whatever a peer put into it, that what does not fit
 * is left out whole, and that the text form obeys no control character either. Standard error becomes a pipe
 * in packet mode, where each read gives one write. */
#include <check.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/utf8.h"

/* ---- a pipe in the place of standard error ---------------------------------------------------- */

static int capture_fd = -1;

static void capture(void)
{
    int fds[2];
    ck_assert_int_eq(pipe2(fds, O_DIRECT | O_NONBLOCK | O_CLOEXEC), 0);
    ck_assert_int_ge(dup2(fds[1], STDERR_FILENO), 0);
    close(fds[1]);
    capture_fd = fds[0];
}

/* The next write to standard error as a string; NULL if there was none. */
static const char *next_write(void)
{
    static char text[2 * LOG_LINE_MAX];
    ssize_t n = read(capture_fd, text, sizeof text - 1);
    if (n < 0)
        return NULL;
    ck_assert_ptr_null(memchr(text, '\0', (size_t)n));
    text[n] = '\0';
    return text;
}

/* The one line that was written, without its newline. */
static const char *the_line(void)
{
    static char line[2 * LOG_LINE_MAX];
    const char *text = next_write();
    ck_assert_msg(text != NULL, "nothing was written");
    strcpy(line, text);
    char *newline = strchr(line, '\n');
    ck_assert_msg(newline != NULL && newline[1] == '\0', "not one line: %s", line);
    *newline = '\0';
    ck_assert_msg(next_write() == NULL, "more than one write");
    return line;
}

/* ---- strict JSON (RFC 8259), as far as the log goes ------------------------------------------- */

static const char *skip_value(const char *p);

static const char *skip_string(const char *p)
{
    if (*p++ != '"')
        return NULL;
    while (*p != '"') {
        size_t n = utf8_decode(p, strlen(p) + 1, NULL);
        if (n == 0 || (unsigned char)*p < 0x20 || *p == 0x7f)
            return NULL;
        if (*p == '\\') {
            p++;
            if (*p == 'u' && strspn(p + 1, "0123456789abcdefABCDEF") < 4)
                return NULL;
            if (*p == '\0' || strchr("\"\\/bfnrtu", *p) == NULL)
                return NULL;
            n = *p == 'u' ? 5 : 1;
        }
        p += n;
    }
    return p + 1;
}

static const char *skip_members(const char *p, char closing, bool keys)
{
    if (*p == closing)
        return p + 1;
    for (;; p++) {
        if (keys) {
            p = skip_string(p);
            if (p == NULL || *p++ != ':')
                return NULL;
        }
        p = skip_value(p);
        if (p == NULL || (*p != ',' && *p != closing))
            return NULL;
        if (*p == closing)
            return p + 1;
    }
}

static const char *skip_value(const char *p)
{
    if (*p == '"')
        return skip_string(p);
    if (*p == '{')
        return skip_members(p + 1, '}', true);
    if (*p == '[')
        return skip_members(p + 1, ']', false);
    if (strncmp(p, "true", 4) == 0)
        return p + 4;
    if (strncmp(p, "false", 5) == 0)
        return p + 5;
    char *end;
    strtoll(p, &end, 10);
    return end == p || *p == '+' || *p == ' ' ? NULL : end;
}

static void expect_json(const char *line)
{
    const char *end = *line == '{' ? skip_value(line) : NULL;
    ck_assert_msg(end != NULL && *end == '\0', "not JSON: %s", line);
}

/* The fields behind event, time and level. */
static const char *fields_of(const char *line)
{
    expect_json(line);
    const char *level = strstr(line, "\"level\":");
    ck_assert_ptr_nonnull(level);
    return skip_string(level + 8);
}

START_TEST(the_checker_can_fail)
{
    static const char *const bad[] = {"{",
                                      "{\"a\"}",
                                      "{\"a\":}",
                                      "{\"a\":1,}",
                                      "{\"a\":\"\\x\"}",
                                      "{\"a\":\"\x80\"}",
                                      "{\"a\":\"\\u12g4\"}",
                                      "{\"a\":[1}",
                                      "[1,]",
                                      "{\"a\":\"\n\"}",
                                      "{\"a\":\"}"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        ck_assert_msg(skip_value(bad[i]) == NULL, "%s", bad[i]);
}
END_TEST

/* ---- JSON ------------------------------------------------------------------------------------- */

START_TEST(every_kind_of_field)
{
    capture();
    log_setup(LOG_JSON, LOG_INFO);
    struct log_line l;
    log_begin(&l, LOG_INFO, "ready");
    log_str(&l, "door", "socks");
    log_str(&l, "left-out", NULL);
    log_strn(&l, "part", "abcdef", 3);
    log_strn(&l, "empty", "", 0);
    log_int(&l, "least", INT64_MIN);
    log_bool(&l, "yes", true);
    log_bool(&l, "no", false);
    log_open(&l, "outer");
    log_open(&l, "inner");
    log_close(&l);
    log_array_open(&l, "none");
    log_array_close(&l);
    log_array_open(&l, "two");
    log_item(&l, "a");
    log_item(&l, NULL);
    log_item(&l, "b\"");
    log_array_close(&l);
    log_int(&l, "n", 1);
    log_close(&l);
    log_int(&l, "last", 0);
    log_end(&l);
    const char *line = the_line();
    ck_assert_ptr_eq(strstr(line, "{\"event\":\"ready\",\"time\":\"20"), line);
    ck_assert_str_eq(
        fields_of(line),
        ",\"door\":\"socks\",\"part\":\"abc\",\"empty\":\"\",\"least\":-9223372036854775808,"
        "\"yes\":true,\"no\":false,\"outer\":{\"inner\":{},\"none\":[],\"two\":[\"a\",\"b\\\"\"],"
        "\"n\":1},\"last\":0}");
}
END_TEST

START_TEST(hostile_values)
{
    static const struct {
        const char *value;
        size_t len;
        const char *shown;
    } cases[] = {
        {"a\"b\\c", 5, "a\\\"b\\\\c"},
        {"\r\n\t", 3, "\\u000d\\u000a\\u0009"},
        {"a\0b", 3, "a\\u0000b"},
        {"\x1b[2J\x7f", 5, "\\u001b[2J\\u007f"},
        {"\xc3\xa4\xe2\x82\xac\xf0\x9f\x93\xa7", 9, "\xc3\xa4\xe2\x82\xac\xf0\x9f\x93\xa7"},
        {"\xc2\x9b[2J", 5, "\\ufffd[2J"},             /* CSI as one character of Latin-1's second half */
        {"\xc0\xaf", 2, "\\ufffd\\ufffd"},            /* overlong */
        {"\xed\xa0\x80", 3, "\\ufffd\\ufffd\\ufffd"}, /* surrogate */
        {"\xf4\x90\x80\x80", 4, "\\ufffd\\ufffd\\ufffd\\ufffd"},
        {"\xe2\x82", 2, "\\ufffd\\ufffd"}, /* cut short: what lies behind it is not read */
        {"\xf0\x9f\x93", 3, "\\ufffd\\ufffd\\ufffd"},
        {"\xff\xfe", 2, "\\ufffd\\ufffd"},
        {"</script>", 9, "</script>"},
    };
    capture();
    log_setup(LOG_JSON, LOG_INFO);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct log_line l;
        char expected[256];
        log_begin(&l, LOG_INFO, "x");
        log_strn(&l, "v", cases[i].value, cases[i].len);
        log_end(&l);
        snprintf(expected, sizeof expected, ",\"v\":\"%s\"}", cases[i].shown);
        ck_assert_str_eq(fields_of(the_line()), expected);
    }
}
END_TEST

/* Every byte, and every pair out of those where a class of them begins or ends. */
START_TEST(all_bytes)
{
    static const unsigned char edges[] = {0x00, 0x09, 0x1f, 0x20, '"',  '\\', 'n',  0x7e, 0x7f,
                                          0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xc2,
                                          0xdf, 0xe0, 0xed, 0xef, 0xf0, 0xf4, 0xf5, 0xff};
    capture();
    for (int text = 0; text < 2; text++) {
        log_setup(text ? LOG_TEXT : LOG_JSON, LOG_INFO);
        for (size_t first = 0; first < 256; first++) {
            for (size_t i = 0; i < sizeof edges; i++) {
                char value[2] = {(char)first, (char)edges[i]};
                struct log_line l;
                log_begin(&l, LOG_INFO, "x");
                log_strn(&l, "v", value, 2);
                log_end(&l);
                const char *line = the_line();
                if (!text)
                    expect_json(line);
                for (const char *p = line; *p; p++)
                    if ((unsigned char)*p < 0x20 || *p == 0x7f)
                        ck_abort_msg("control character in %s", line);
            }
        }
    }
}
END_TEST

START_TEST(long_values_are_cut)
{
    char value[20000];
    capture();
    log_setup(LOG_JSON, LOG_INFO);
    static const char *const units[] = {"a", "\xc3\xa4", "\xf0\x9f\x93\xa7", "\"", "\x01", "\xff"};
    for (size_t u = 0; u < sizeof units / sizeof units[0]; u++) {
        size_t n = strlen(units[u]);
        for (size_t i = 0; i + n <= sizeof value; i += n)
            memcpy(value + i, units[u], n);
        size_t len = sizeof value - sizeof value % n;
        for (size_t shift = 0; shift < 12; shift++) {
            struct log_line l;
            log_begin(&l, LOG_INFO, "x");
            log_str(&l, "pad", &"xxxxxxxxxxxx"[shift]);
            log_strn(&l, "v", value, len);
            log_str(&l, "behind", "still there");
            log_end(&l);
            const char *fields = fields_of(the_line());
            ck_assert_ptr_nonnull(strstr(fields, "...\",\"behind\":\"still there\"}"));
            ck_assert_uint_lt(strlen(fields), 700);
        }
    }
    memset(value, 'a', 599);
    value[599] = '\0';
    log_message(LOG_INFO, "x", "%s", value); /* just fits: no mark of a cut */
    ck_assert_ptr_null(strstr(fields_of(the_line()), "..."));
}
END_TEST

/* A line is filled with fields of every length: it stays within its size, in one write, and JSON. */
START_TEST(full_lines)
{
    char value[700];
    memset(value, 'v', sizeof value);
    capture();
    log_setup(LOG_JSON, LOG_INFO);
    for (size_t len = 0; len < sizeof value; len += len < 60 ? 1 : 37) {
        struct log_line l;
        log_begin(&l, LOG_INFO, "x");
        for (int i = 0; i < 300; i++) {
            log_strn(&l, "value", value, len);
            log_open(&l, "object");
            log_int(&l, "number", i);
            log_array_open(&l, "array");
            log_item(&l, "item");
            log_strn(&l, "", "", 0);
            log_array_close(&l);
            log_bool(&l, "flag", true);
            log_close(&l);
        }
        log_end(&l);
        ck_assert_uint_le(l.len, LOG_LINE_MAX);
        const char *line = the_line();
        ck_assert_uint_gt(strlen(line), LOG_LINE_MAX / 2);
    }
}
END_TEST

/* What does not fit goes with all that is in it: nothing of it turns up in the object outside. */
START_TEST(left_out_whole)
{
    char value[600];
    memset(value, 'v', sizeof value);
    capture();
    log_setup(LOG_JSON, LOG_INFO);
    for (size_t last = 0; last < 600; last++) {
        struct log_line l;
        log_begin(&l, LOG_INFO, "x");
        for (int i = 0; i < 6; i++)
            log_strn(&l, "v", value, sizeof value - 1);
        log_strn(&l, "v", value, last);
        log_open(&l, "tls");
        log_int(&l, "inside", 1);
        log_open(&l, "deeper");
        log_int(&l, "inside", 2);
        log_close(&l);
        log_array_open(&l, "list");
        log_item(&l, "inside");
        log_array_close(&l);
        log_int(&l, "inside", 3);
        log_close(&l);
        log_int(&l, "n", 1);
        log_end(&l);
        const char *line = the_line();
        expect_json(line);
        const char *inside = strstr(line, "inside"), *tls = strstr(line, "\"tls\":{");
        ck_assert_msg(inside == NULL || (tls != NULL && tls < inside), "%s", line);
        if (last == 0)
            ck_assert_ptr_nonnull(tls);
    }
}
END_TEST

START_TEST(deep_and_unclosed)
{
    capture();
    log_setup(LOG_JSON, LOG_INFO);
    struct log_line l;
    log_begin(&l, LOG_INFO, "x");
    for (int i = 0; i < 100; i++)
        log_open(&l, "o");
    log_int(&l, "n", 1);
    for (int i = 0; i < 100; i++)
        log_close(&l);
    log_int(&l, "top", 1);
    log_end(&l);
    const char *line = the_line();
    expect_json(line);
    ck_assert_ptr_nonnull(strstr(line, "}},\"top\":1}"));

    log_begin(&l, LOG_INFO, "x");
    for (int i = 0; i < 2000; i++)
        log_open(&l, "o");
    log_end(&l);
    ck_assert_uint_le(l.len, LOG_LINE_MAX);
    expect_json(the_line());

    log_begin(&l, LOG_INFO, "x");
    log_open(&l, "o");
    log_array_open(&l, "a");
    log_item(&l, "i");
    log_end(&l); /* closes what its caller forgot */
    ck_assert_str_eq(fields_of(the_line()), ",\"o\":{\"a\":[\"i\"]}}");
}
END_TEST

/* ---- levels, text, loss ----------------------------------------------------------------------- */

START_TEST(levels)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    capture();
    for (int limit = LOG_ERROR; limit <= LOG_DEBUG; limit++) {
        log_setup(LOG_JSON, (enum log_level)limit);
        for (int level = LOG_ERROR; level <= LOG_DEBUG; level++) {
            char expected[64];
            ck_assert(log_wants((enum log_level)level) == (level <= limit));
            log_message((enum log_level)level, "x", "%d", level);
            struct log_line l; /* every call on a line that is off does nothing */
            log_begin(&l, (enum log_level)level, "x");
            if (level > limit) {
                log_open(&l, "o");
                log_array_open(&l, "a");
                log_item(&l, "i");
                log_array_close(&l);
                log_close(&l);
                log_end(&l);
                ck_assert_ptr_null(next_write());
                continue;
            }
            snprintf(expected, sizeof expected, "\"level\":\"%s\",\"message\":\"%d\"}", names[level], level);
            ck_assert_ptr_nonnull(strstr(the_line(), expected));
        }
    }
}
END_TEST

START_TEST(text_form)
{
    capture();
    log_setup(LOG_TEXT, LOG_INFO);
    struct log_line l;
    log_begin(&l, LOG_WARN, "connection");
    log_str(&l, "reason", "ok");
    log_str(&l, "user", "two words");
    log_str(&l, "pair", "a=b");
    log_str(&l, "quote", "a\"b");
    log_str(&l, "empty", "");
    log_str(&l, "hostile", "\x1b]0;x\x07\n");
    log_open(&l, "tls");
    log_str(&l, "version", "tls1.3");
    log_int(&l, "bits", 256);
    log_close(&l);
    log_array_open(&l, "listeners");
    log_item(&l, "[::1]:1");
    log_item(&l, "a:2");
    log_array_close(&l);
    log_bool(&l, "last", true);
    log_end(&l);
    const char *line = the_line();
    ck_assert(line[2] == ':' && line[5] == ':' && line[8] == ' ');
    ck_assert_str_eq(
        line + 9, "warn connection reason=ok user=\"two words\" pair=\"a=b\" quote=\"a\\\"b\" empty=\"\" "
                  "hostile=\\u001b]0;x\\u0007\\u000a tls={version=tls1.3 bits=256} listeners=[[::1]:1,a:2] "
                  "last=true");
}
END_TEST

START_TEST(auto_is_json_on_a_pipe)
{
    capture();
    log_setup(LOG_AUTO, LOG_INFO);
    log_message(LOG_INFO, "x", "hello");
    expect_json(the_line());
}
END_TEST

/* A pipe that is full, and one whose reader is gone: lines are dropped and counted, and nothing waits. */
START_TEST(lost_lines_are_counted)
{
    capture();
    log_setup(LOG_JSON, LOG_INFO);
    ck_assert_uint_eq(log_dropped(), 0);
    int written = 0;
    while (log_dropped() == 0 && written < 100000) {
        log_message(LOG_INFO, "x", "%d", written);
        written++;
    }
    ck_assert_uint_eq(log_dropped(), 1);
    int found = 0;
    for (const char *text; (text = next_write()) != NULL; found++)
        ck_assert_ptr_eq(strchr(text, '\n'), text + strlen(text) - 1);
    ck_assert_int_eq(found, written - 1);

    signal(SIGPIPE, SIG_IGN);
    close(capture_fd);
    log_message(LOG_INFO, "x", "nobody reads this");
    ck_assert_uint_eq(log_dropped(), 2);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("log");
    TCase *t = tcase_create("log");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, the_checker_can_fail);
    tcase_add_test(t, every_kind_of_field);
    tcase_add_test(t, hostile_values);
    tcase_add_test(t, all_bytes);
    tcase_add_test(t, long_values_are_cut);
    tcase_add_test(t, full_lines);
    tcase_add_test(t, left_out_whole);
    tcase_add_test(t, deep_and_unclosed);
    tcase_add_test(t, levels);
    tcase_add_test(t, text_form);
    tcase_add_test(t, auto_is_json_on_a_pipe);
    tcase_add_test(t, lost_lines_are_counted);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
