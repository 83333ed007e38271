/* What the tests of STA messages share: a message taken, a message that comes back the same, texts made. */
#ifndef STAGATE_TESTS_STAXML_FIXTURE_H
#define STAGATE_TESTS_STAXML_FIXTURE_H

#include <check.h>

#include "base/mem.h"
#include "staxml_util.h"

#define OBSERVED_VALUES                                                                                      \
    "<Value name=\"ICAAddress\">mail.example.com:443</Value>"                                                \
    "<Value name=\"CGPAddress\">mail.example.com:2598</Value>"                                               \
    "<Value name=\"SSLRelayAddress\"></Value>"                                                               \
    "<Value name=\"XData\">&lt;?xml version=\"1.0\"?&gt;&lt;!--DOCTYPE CtxConnInfoProtocol SYSTEM "          \
    "\"CtxConnInfo.dtd\"--&gt;&lt;CtxConnInfo version=\"1.0\"&gt;&lt;ServerAddress&gt;192.0.2.7:1494&lt;"    \
    "/ServerAddress&gt;&lt;UserName&gt;alice&lt;/UserName&gt;&lt;UserDomain&gt;EXAMPLE&lt;/UserDomain&gt;"   \
    "&lt;ApplicationName&gt;R&amp;amp;D&lt;/ApplicationName&gt;&lt;Protocol&gt;ICA&lt;/Protocol&gt;&lt;"     \
    "/CtxConnInfo&gt;</Value>"

#define OPEN4(s)  "<" s "><" s "><" s "><" s ">"
#define CLOSE4(s) "</" s "></" s "></" s "></" s ">"

static inline void parse(struct staxml *m, const char *text, size_t len)
{
    const char *why = "";
    int rc = staxml_parse(m, text, len, &why);
    ck_assert_msg(rc == 0, "%.*s\n%s", (int)len, text, why);
}

static inline void parse_text(struct staxml *m, const char *text)
{
    parse(m, text, strlen(text));
}

/* Written and parsed again it is the same. */
static inline void assert_returns(const struct staxml *m)
{
    struct staxml again;
    struct buf out;
    buf_init(&out, STAXML_BYTES_MAX);
    ck_assert_int_eq(staxml_write(&out, m), 0);
    parse(&again, (const char *)out.data, out.len);
    ck_assert_msg(staxml_same(m, &again), "%.*s", (int)out.len, (const char *)out.data);
    staxml_free(&again);
    buf_deinit(&out);
}

static inline void widen(struct buf *out, const char *ascii, bool big)
{
    uint8_t mark[2] = {big ? 0xfe : 0xff, big ? 0xff : 0xfe};
    ck_assert_int_eq(buf_append(out, mark, 2), 0);
    for (; *ascii != '\0'; ascii++) {
        uint8_t unit[2] = {big ? 0 : (uint8_t)*ascii, big ? (uint8_t)*ascii : 0};
        if (*ascii == '@') /* U+0126, whose low byte is '&' */
            unit[big ? 0 : 1] = 0x01, unit[big ? 1 : 0] = 0x26;
        ck_assert_int_eq(buf_append(out, unit, 2), 0);
    }
}

/* "head", n times "repeated" (%zu in it is the number), "tail" */
static inline char *repeat(const char *head, const char *repeated, size_t n, const char *tail)
{
    struct buf b;
    buf_init(&b, SIZE_MAX);
    buf_append_str(&b, head);
    for (size_t i = 0; i < n; i++)
        buf_printf(&b, repeated, i);
    buf_append(&b, tail, strlen(tail) + 1);
    return (char *)b.data;
}

#endif
