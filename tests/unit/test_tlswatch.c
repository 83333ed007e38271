/* tlswatch reads hellos written by hand, at every split: old and odd formats, limits, alerts, and what
 * strangers send instead. */
#include <check.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "proto/tlswatch.h"
#include "tlswatch_util.h"

/* Whole, then in pieces of every size: result, facts and reason must be the same. */
static enum tlswatch_result feed_once(enum tlswatch_side side, const void *data, size_t len)
{
    struct tlswatch *w = tlswatch_new();
    enum tlswatch_result whole = feed_steps(w, side, data, len, len);
    struct tls_facts facts = *tlswatch_facts(w);
    const char *whole_why = tlswatch_why(w);
    tlswatch_free(w);
    for (size_t step = 1; step < len && step < 80; step += len < 1000 ? 1 : 40) {
        w = tlswatch_new();
        ck_assert_int_eq(feed_steps(w, side, data, len, step), whole);
        ck_assert_mem_eq(tlswatch_facts(w), &facts, sizeof facts);
        ck_assert_ptr_eq(tlswatch_why(w), whole_why);
        tlswatch_free(w);
    }
    ck_assert_int_eq(whole_why != NULL, whole == TLSWATCH_NOT_TLS || whole == TLSWATCH_MALFORMED);
    return whole;
}

static void put(struct buf *b, const char *hex)
{
    unsigned byte;
    for (; *hex != '\0'; hex += 2) {
        while (*hex == ' ')
            hex++;
        ck_assert_int_eq(sscanf(hex, "%2x", &byte), 1);
        ck_assert_int_eq(buf_append(b, &(uint8_t){(uint8_t)byte}, 1), 0);
    }
}

static void put_zeros(struct buf *b, size_t n)
{
    while (n-- > 0)
        put(b, "00");
}

/* A ClientHello or ServerHello with everything before the extensions in hex and the extensions in hex, NULL
 * for no list at all. */
static struct buf hello(uint8_t type, const char *body, const char *extensions)
{
    struct buf m;
    buf_init(&m, 1 << 20);
    put(&m, "00000000");
    put(&m, body);
    if (extensions != NULL) {
        size_t at = m.len;
        put(&m, "0000");
        put(&m, extensions);
        size_t n = m.len - at - 2;
        m.data[at] = (uint8_t)(n >> 8);
        m.data[at + 1] = (uint8_t)n;
    }
    size_t n = m.len - 4;
    m.data[0] = type;
    m.data[1] = (uint8_t)(n >> 16);
    m.data[2] = (uint8_t)(n >> 8);
    m.data[3] = (uint8_t)n;
    struct buf r = records_of(&m, 16384);
    buf_deinit(&m);
    return r;
}

#define RANDOM "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
#define CLIENT_BODY(version)                                                                                 \
    version RANDOM "00"                                                                                      \
                   "0004 c02f 009c"                                                                          \
                   "0100"
#define SERVER_BODY(version, cipher) version RANDOM "00" cipher "00"

#define SSL2(length, version, suites, session, challenge) length "01" version suites session challenge

static const struct {
    const char *hex;
    uint16_t offered;
    bool good;
} ssl2_cases[] = {
    {SSL2("802e", "0301", "0015", "0000", "0010") "010080 07 00c0 030080 000004 00000a 000005 0000ff"
                                                  "00112233445566778899aabbccddeeff",
     0x0301, true},
    {SSL2("801c", "0300", "0003", "0000", "0010") "00000a 00112233445566778899aabbccddeeff", 0x0300, true},
    {SSL2("801c", "0303", "0003", "0000", "0010") "00000a 00112233445566778899aabbccddeeff", 0x0303, true},
    {SSL2("801c", "0304", "0003", "0000", "0010") "00000a 00112233445566778899aabbccddeeff", 0x0303, true},
    {SSL2("801c", "0002", "0003", "0000", "0010") "010080 00112233445566778899aabbccddeeff", 0x0002, true},
    {SSL2("802c", "0002", "0003", "0010", "0010") "010080 ffeeddccbbaa99887766554433221100"
                                                  "00112233445566778899aabbccddeeff",
     0x0002, true},
    {SSL2("801c", "0301", "0000", "0003", "0010") "00000a 00112233445566778899aabbccddeeff", 0, false},
    {SSL2("801c", "0301", "0002", "0001", "0010") "00000a 00112233445566778899aabbccddeeff", 0, false},
    {SSL2("801c", "0301", "0003", "0000", "000f") "00000a 00112233445566778899aabbccddeeff", 0, false},
    {SSL2("801c", "0301", "0003", "0000", "0011") "00000a 00112233445566778899aabbccddeeff", 0, false},
    {SSL2("8003", "0301", "0003", "0000", "0010") "00000a", 0, false},
    {SSL2("8004", "0301", "0003", "0000", "0010") "00000a", 0, false},
    {SSL2("8000", "0301", "0003", "0000", "0010") "00000a", 0, false},
};

START_TEST(test_ssl2)
{
    struct buf b;
    buf_init(&b, 4096);
    put(&b, ssl2_cases[_i].hex);
    enum tlswatch_result r = feed_once(C, b.data, b.len);
    ck_assert_int_eq(r, ssl2_cases[_i].good ? TLSWATCH_CLIENT_HELLO : TLSWATCH_MALFORMED);
    struct tlswatch *w = tlswatch_new();
    feed_steps(w, C, b.data, b.len, 3);
    if (ssl2_cases[_i].good) {
        ck_assert(tlswatch_facts(w)->sslv2_hello);
        ck_assert_uint_eq(tlswatch_facts(w)->offered_max, ssl2_cases[_i].offered);
        ck_assert_uint_eq(tlswatch_facts(w)->offered_min, 0);
        struct buf sh = hello(2, SERVER_BODY("0301", "000a"), NULL);
        ck_assert_int_eq(feed_steps(w, S, sh.data, sh.len, 1), TLSWATCH_SERVER_HELLO);
        ck_assert_uint_eq(tlswatch_facts(w)->negotiated, 0x0301);
        buf_deinit(&sh);
    }
    tlswatch_free(w);
    buf_deinit(&b);
}
END_TEST

/* Longest SSLv2 record: 32767 bytes, of which 15 bits of length are read. */
START_TEST(test_ssl2_long)
{
    struct buf b;
    buf_init(&b, 40000);
    put(&b, "ffff 01 0301 7fe4 0000 0012"); /* 9 + 32740 + 18 = 32767; 32740 is no multiple of 3 */
    put_zeros(&b, 32740 + 18);
    ck_assert_int_eq(feed_once(C, b.data, b.len), TLSWATCH_MALFORMED);
    b.data[5] = 0x7f, b.data[6] = 0xe3, b.data[10] = 0x13;
    ck_assert_int_eq(feed_once(C, b.data, b.len), TLSWATCH_CLIENT_HELLO);
    ck_assert_int_eq(feed_once(C, b.data, b.len - 1), TLSWATCH_MORE);
    buf_deinit(&b);
}
END_TEST

#define C12 CLIENT_BODY("0303")

static const struct client_case {
    const char *name, *body, *extensions; /* extensions NULL: no list */
    uint16_t max, min;                    /* max 0: malformed */
    bool psk;
    const char *sni; /* NULL: "" */
} client_cases[] = {
    {"ssl3", CLIENT_BODY("0300"), NULL, 0x0300, 0, false, NULL},
    {"tls 1.0, empty list", CLIENT_BODY("0301"), "", 0x0301, 0, false, NULL},
    {"1.4 in legacy_version", CLIENT_BODY("0305"), NULL, 0x0303, 0, false, NULL},
    {"grease everywhere", "0303" RANDOM "00 0006 3a3a 1301 c02f 0100",
     "1a1a 0000 002b 0009 08 8a8a 0304 0303 dada fafa 0001 00", 0x0304, 0x0303, false, NULL},
    {"grease, 1.0 to 1.3", C12, "002b 000b 0a 0a0a 0304 0303 0302 0301", 0x0304, 0x0301, false, NULL},
    {"versions beat legacy_version", C12, "002b 0003 02 0302", 0x0302, 0x0302, false, NULL},
    {"a draft beside 1.2", C12, "002b 0005 04 7f1c 0303", 0x0303, 0x0303, false, NULL},
    {"grease alone", C12, "002b 0003 02 1a1a", 0, 0, false, NULL},
    {"empty versions", C12, "002b 0001 00", 0, 0, false, NULL},
    {"odd versions", C12, "002b 0004 03 030403", 0, 0, false, NULL},
    {"versions, one byte more", C12, "002b 0004 02 0304 00", 0, 0, false, NULL},
    {"versions twice", C12, "002b 0003 02 0304 002b 0003 02 0301", 0, 0, false, NULL},
    {"an unknown one twice", C12, "fe0d 0000 fe0d 0000", 0x0303, 0, false, NULL},
    {"psk", C12, "0029 0001 00", 0x0303, 0, true, NULL},
    {"empty ticket", C12, "0023 0000", 0x0303, 0, false, NULL},
    {"ticket", C12, "0023 0002 abcd", 0x0303, 0, true, NULL},
    {"sni", C12, "0000 0008 0006 00 0003 612e62", 0x0303, 0, false, "a.b"},
    {"sni with control bytes", C12, "0000 000a 0008 00 0005 610a007fff", 0x0303, 0, false, "a????"},
    {"another name type first", C12, "0000 000c 000a 07 0001 78 00 0003 612e62", 0x0303, 0, false, "a.b"},
    {"two names", C12, "0000 000a 0008 00 0001 61 00 0001 62", 0, 0, false, NULL},
    {"empty name", C12, "0000 0005 0003 00 0000", 0, 0, false, NULL},
    {"empty name list", C12, "0000 0002 0000", 0, 0, false, NULL},
    {"empty server_name", C12, "0000 0000", 0, 0, false, NULL},
    {"name beyond its list", C12, "0000 0008 0006 00 0004 612e62", 0, 0, false, NULL},
    {"list beyond its extension", C12, "0000 0008 0007 00 0003 612e62", 0, 0, false, NULL},
    {"extension beyond the list", C12, "0023 0003 abcd", 0, 0, false, NULL},
    {"half an extension", C12, "0023 00", 0, 0, false, NULL},
    {"half a list length", C12 "00", NULL, 0, 0, false, NULL},
    {"bytes behind the list", C12 "0000 00", NULL, 0, 0, false, NULL},
    {"no body", "", NULL, 0, 0, false, NULL},
    {"before ssl3", CLIENT_BODY("0200"), NULL, 0, 0, false, NULL},
    {"random cut", "0303 0011", NULL, 0, 0, false, NULL},
    {"session id of 33", "0303" RANDOM "21" RANDOM "00 0002 1301 0100", NULL, 0, 0, false, NULL},
    {"session id of 32", "0303" RANDOM "20" RANDOM "0002 1301 0100", NULL, 0x0303, 0, false, NULL},
    {"no ciphers", "0303" RANDOM "00 0000 0100", NULL, 0, 0, false, NULL},
    {"odd ciphers", "0303" RANDOM "00 0003 130113 0100", NULL, 0, 0, false, NULL},
    {"ciphers beyond the end", "0303" RANDOM "00 0004 1301", NULL, 0, 0, false, NULL},
    {"no compression", "0303" RANDOM "00 0002 1301 00", NULL, 0, 0, false, NULL},
    {"no compression list", "0303" RANDOM "00 0002 1301", NULL, 0, 0, false, NULL},
};

START_TEST(test_client_hello)
{
    const struct client_case *c = &client_cases[_i];
    struct buf b = hello(1, c->body, c->extensions);
    enum tlswatch_result result = c->max ? TLSWATCH_CLIENT_HELLO : TLSWATCH_MALFORMED;
    ck_assert_msg(feed_once(C, b.data, b.len) == result, "%s", c->name);
    struct tlswatch *w = tlswatch_new();
    ck_assert_int_eq(feed_steps(w, C, b.data, b.len, b.len), result);
    const struct tls_facts *facts = tlswatch_facts(w);
    if (c->max != 0) {
        ck_assert_uint_eq(facts->offered_min, c->min);
        ck_assert_uint_eq(facts->offered_max, c->max);
        ck_assert_int_eq(facts->resumed_or_psk, c->psk);
        ck_assert_str_eq(facts->sni, c->sni ? c->sni : "");
        ck_assert_uint_eq(facts->negotiated, 0);
        ck_assert_int_eq(feed_once(C, b.data, b.len - 1), TLSWATCH_MORE);
    } else {
        size_t used = 99; /* nothing gets it out of there, from either side */
        const char *why = tlswatch_why(w);
        ck_assert_int_eq(tlswatch_feed(w, C, b.data, b.len, &used), result);
        ck_assert_uint_eq(used, 0);
        ck_assert_int_eq(tlswatch_feed(w, S, b.data, b.len, &used), result);
        ck_assert_ptr_eq(tlswatch_why(w), why);
    }
    tlswatch_free(w);
    buf_deinit(&b);
}
END_TEST

START_TEST(test_sni_length)
{
    for (size_t n = 254; n <= 257; n++) {
        struct buf ext;
        char hex[2000];
        buf_init(&ext, sizeof hex);
        buf_printf(&ext, "0000 %04zx %04zx 00 %04zx ", n + 5, n + 3, n);
        for (size_t i = 0; i < n; i++)
            buf_append_str(&ext, "61");
        buf_append(&ext, "", 1);
        struct buf b = hello(1, CLIENT_BODY("0303"), (const char *)ext.data);
        ck_assert_int_eq(feed_once(C, b.data, b.len), n <= 255 ? TLSWATCH_CLIENT_HELLO : TLSWATCH_MALFORMED);
        buf_deinit(&b);
        buf_deinit(&ext);
    }
}
END_TEST

static const struct server_case {
    const char *name, *body, *extensions;
    uint16_t version, cipher; /* version 0: malformed */
} server_cases[] = {
    {"ssl3", SERVER_BODY("0300", "000a"), NULL, 0x0300, 0x000a},
    {"1.2", SERVER_BODY("0303", "c02f"), "ff01 0001 00", 0x0303, 0xc02f},
    {"1.3", SERVER_BODY("0303", "1302"), "002b 0002 0304", 0x0304, 0x1302},
    {"session id", "0303" RANDOM "20" RANDOM "1301 00", "002b 0002 0304", 0x0304, 0x1301},
    {"session id of 33", "0303" RANDOM "21" RANDOM "00 1301 00", NULL, 0, 0},
    {"no version of tls", SERVER_BODY("0002", "000a"), NULL, 0, 0},
    {"a draft", SERVER_BODY("0303", "1301"), "002b 0002 7f1c", 0, 0},
    {"half a version", SERVER_BODY("0303", "1301"), "002b 0001 03", 0, 0},
    {"two versions", SERVER_BODY("0303", "1301"), "002b 0004 0304 0303", 0, 0},
    {"versions twice", SERVER_BODY("0303", "1301"), "002b 0002 0304 002b 0002 0304", 0, 0},
    {"cut", "0303" RANDOM "00 1301", NULL, 0, 0},
    {"more", SERVER_BODY("0303", "1301") "0000 00", NULL, 0, 0},
};

START_TEST(test_server_hello)
{
    const struct server_case *c = &server_cases[_i];
    struct buf b = hello(2, c->body, c->extensions);
    enum tlswatch_result result = c->version ? TLSWATCH_SERVER_HELLO : TLSWATCH_MALFORMED;
    ck_assert_msg(feed_once(S, b.data, b.len) == result, "%s", c->name);
    struct tlswatch *w = tlswatch_new(); /* before the client said anything */
    ck_assert_int_eq(feed_steps(w, S, b.data, b.len, b.len), result);
    if (c->version != 0) {
        ck_assert_uint_eq(tlswatch_facts(w)->negotiated, c->version);
        ck_assert_uint_eq(tlswatch_facts(w)->cipher, c->cipher);
        ck_assert_uint_eq(tlswatch_facts(w)->offered_max, 0);
        ck_assert_int_eq(feed_steps(w, C, "GET / HTTP/1.1", 14, 3), TLSWATCH_MORE); /* all is over: unread */
    }
    tlswatch_free(w);
    buf_deinit(&b);
}
END_TEST

#define HELLO_1_0 "16 0301 002a 02 000026 " SERVER_BODY("0301", "002f")

static const struct {
    const char *hex;
    enum tlswatch_result result;
    unsigned alert, negotiated;
} alert_cases[] = {
    {"15 0301 0002 0246", TLSWATCH_SERVER_HELLO, 0x46, 0},
    {"15 0300 0002 0228", TLSWATCH_SERVER_HELLO, 0x28, 0},
    {"15 0303 0002 0100", TLSWATCH_SERVER_HELLO, 0, 0},    /* close_notify */
    {"15 0303 0002 0950", TLSWATCH_SERVER_HELLO, 0x50, 0}, /* no such level: as fatal */
    {"15 0301 0002 0170", TLSWATCH_MORE, 0xff, 0}, /* unrecognized_name as a warning, then nothing yet */
    {"15 0301 0002 0170" HELLO_1_0, TLSWATCH_SERVER_HELLO, 0xff,
     0x0301}, /* then a ServerHello: not to be missed */
    {"15 0301 0002 0170 15 0301 0002 0228", TLSWATCH_SERVER_HELLO, 0x28, 0},
    {"16 0301 0002 0200 15 0301 0002 0228", TLSWATCH_SERVER_HELLO, 0x28,
     0}, /* in the middle of a ServerHello */
    {"16 0301 0004 00000000" HELLO_1_0, TLSWATCH_SERVER_HELLO, 0xff, 0x0301}, /* HelloRequest first */
    {"16 0301 0008 00000000 00000000" HELLO_1_0, TLSWATCH_SERVER_HELLO, 0xff, 0x0301},
    {"16 0301 0004 00000001", TLSWATCH_MALFORMED, 0xff, 0}, /* HelloRequests are empty */
    {"15 0301 0000", TLSWATCH_MALFORMED, 0xff, 0},
    {"15 0301 0001 02", TLSWATCH_MALFORMED, 0xff, 0},
    {"15 0301 0004 01700228", TLSWATCH_MALFORMED, 0xff, 0},
    {"15 0301 0002 0170 17 0301 0001 00", TLSWATCH_MALFORMED, 0xff, 0},
    {"14 0303 0001 01", TLSWATCH_NOT_TLS, 0xff, 0},
    {"16 0301 0002 0200 14 0303 0001 01", TLSWATCH_MALFORMED, 0xff, 0},
    {"16 0303 0004 0b000001", TLSWATCH_MALFORMED, 0xff, 0}, /* a Certificate first */
};

START_TEST(test_alert)
{
    struct buf b;
    buf_init(&b, 4096);
    put(&b, alert_cases[_i].hex);
    ck_assert_int_eq(feed_once(S, b.data, b.len), alert_cases[_i].result);
    struct tlswatch *w = tlswatch_new();
    feed_steps(w, S, b.data, b.len, 1);
    ck_assert_uint_eq(tlswatch_facts(w)->alert, alert_cases[_i].alert);
    ck_assert_uint_eq(tlswatch_facts(w)->negotiated, alert_cases[_i].negotiated);
    tlswatch_free(w);
    buf_deinit(&b);
}
END_TEST

/* ---- strangers, limits ---- */

static const struct {
    enum tlswatch_side side;
    const char *text;
    size_t told_after; /* bytes after which it is clear */
} strangers[] = {
    {TLSWATCH_CLIENT, "GET / HTTP/1.1\r\nHost: mail\r\n\r\n", 1},
    {TLSWATCH_CLIENT, "EHLO mail.example.com\r\n", 1},
    {TLSWATCH_CLIENT, "SSH-2.0-OpenSSH_9.2\r\n", 1},
    {TLSWATCH_CLIENT, "\x16GET /", 2},
    {TLSWATCH_CLIENT, "\x15\x03\x01\x02", 1}, /* an alert from the client before anything else */
    {TLSWATCH_CLIENT, "\x17\x03\x03\x01", 1},
    {TLSWATCH_CLIENT, "\x16\x02\x01\x01", 2},
    {TLSWATCH_CLIENT, "\x80\x2e\x02\x03\x01", 3},
    {TLSWATCH_CLIENT, "\x80\x2e\x01\x02\x01", 4},
    {TLSWATCH_CLIENT, "\x80\x2e\x01\x01\x01", 4},
    {TLSWATCH_CLIENT, "\xff\xff\xff\xff\xff\xff", 3},
    {TLSWATCH_SERVER, "HTTP/1.1 400 Bad Request\r\n", 1},
    {TLSWATCH_SERVER, "220 mail.example.com ESMTP\r\n", 1},
    {TLSWATCH_SERVER, "SSH-2.0-OpenSSH_9.2\r\n", 1},
    {TLSWATCH_SERVER, "* OK IMAP4rev1\r\n", 1},
    {TLSWATCH_SERVER, "\x80\x2e\x04\x01", 1}, /* an SSLv2 server's hello */
    {TLSWATCH_SERVER, "\x17\x03\x03\x01", 1},
    {TLSWATCH_SERVER, "\x15\x02", 2},
};

START_TEST(test_strangers)
{
    const char *text = strangers[_i].text;
    enum tlswatch_side side = strangers[_i].side;
    ck_assert_int_eq(feed_once(side, text, strlen(text)), TLSWATCH_NOT_TLS);
    ck_assert_int_eq(feed_once(side, text, strangers[_i].told_after), TLSWATCH_NOT_TLS);
    if (strangers[_i].told_after > 1)
        ck_assert_int_eq(feed_once(side, text, strangers[_i].told_after - 1), TLSWATCH_MORE);
}
END_TEST

static const struct {
    const char *hex;
    enum tlswatch_result result;
} framings[] = {
    {"16 0301 0000", TLSWATCH_MALFORMED},
    {"16 0301 4800", TLSWATCH_MORE}, /* 2^14 + 2048 */
    {"16 0301 4801", TLSWATCH_MALFORMED},
    {"16 0301 ffff", TLSWATCH_MALFORMED},
    {"16 03ff 0001 01", TLSWATCH_MORE},
    {"16 0301 0001 01 16 0301 0000", TLSWATCH_MALFORMED},
    {"16 0301 0001 01 16 0401 0001 00", TLSWATCH_MALFORMED},
    {"16 0301 0001 01 14 0303 0001 01", TLSWATCH_MALFORMED},
    {"16 0301 0001 01 15 0301 0002 0228", TLSWATCH_MALFORMED},
    {"16 0301 0001 01 17 0303 0001 00", TLSWATCH_MALFORMED},
    {"16 0301 0001 01 80 2e01 0301", TLSWATCH_MALFORMED},
    {"16 0301 0001 02", TLSWATCH_MORE}, /* a message type is looked at with the whole message header */
    {"16 0301 0004 02 000001", TLSWATCH_MALFORMED},
    {"16 0301 0004 00 000000", TLSWATCH_MALFORMED},
    {"16 0301 0004 01 00fffc", TLSWATCH_MORE}, /* 65536 with its header */
    {"16 0301 0004 01 00fffd", TLSWATCH_MALFORMED},
    {"16 0301 0004 01 ffffff", TLSWATCH_MALFORMED},
    {"16 0301 0004 01 000000", TLSWATCH_MALFORMED},
};

START_TEST(test_framing)
{
    struct buf b;
    buf_init(&b, 4096);
    put(&b, framings[_i].hex);
    ck_assert_int_eq(feed_once(C, b.data, b.len), framings[_i].result);
    buf_deinit(&b);
}
END_TEST

/* A hello of exactly TLSWATCH_HELLO_MAX, whose memory goes back when it is complete, and one that is a byte
 * longer. (mallinfo2 tells zeros under a sanitizer.) */
START_TEST(test_longest)
{
    for (size_t extra = 0; extra < 2; extra++) {
        struct buf m;
        buf_init(&m, 1 << 20);
        size_t size = TLSWATCH_HELLO_MAX + extra, list = size - 4 - 43 - 2;
        char head[64];
        put(&m, (snprintf(head, sizeof head, "01%06zx", size - 4), head));
        put(&m, CLIENT_BODY("0303"));
        put(&m, (snprintf(head, sizeof head, "%04zx fe0d %04zx", list, list - 4), head));
        put_zeros(&m, size - m.len);
        struct buf r = records_of(&m, 16384);
        size_t before = mallinfo2().uordblks;
        struct tlswatch *w = tlswatch_new();
        ck_assert_int_eq(feed_steps(w, C, r.data, r.len, 1000),
                         extra ? TLSWATCH_MALFORMED : TLSWATCH_CLIENT_HELLO);
        ck_assert_uint_lt(mallinfo2().uordblks - before, 8192);
        tlswatch_free(w);
        buf_deinit(&r);
        buf_deinit(&m);
    }
}
END_TEST

/* What is announced costs nothing until it arrives. */
START_TEST(test_memory)
{
    struct buf b;
    buf_init(&b, 4096);
    put(&b, "16 0301 4000 01 00fffc 030300010203");
    size_t before = mallinfo2().uordblks, used;
    struct tlswatch *w = tlswatch_new();
    ck_assert_uint_lt(mallinfo2().uordblks - before, 1024);
    ck_assert_int_eq(tlswatch_feed(w, C, b.data, b.len, &used), TLSWATCH_MORE);
    ck_assert_uint_lt(mallinfo2().uordblks - before, 1200);
    tlswatch_free(w);
    buf_deinit(&b);
}
END_TEST

/* ---- names and alerts ---- */

START_TEST(test_names)
{
    static const struct {
        uint16_t version;
        const char *name;
        bool parses;
    } cases[] = {
        {TLS_VERSION_SSL2, "ssl2", false}, {TLS_VERSION_SSL3, "ssl3", true}, {TLS_VERSION_10, "tls1.0", true},
        {TLS_VERSION_11, "tls1.1", true},  {TLS_VERSION_12, "tls1.2", true}, {TLS_VERSION_13, "tls1.3", true},
        {0x7f1c, "0x7f1c", false},         {0x0001, "0x0001", false},        {0xffff, "0xffff", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ck_assert_str_eq(tls_version_name(cases[i].version), cases[i].name);
        ck_assert_uint_eq(tls_version_parse(cases[i].name), cases[i].parses ? cases[i].version : 0);
    }
    ck_assert_ptr_null(tls_version_name(0));
    ck_assert_uint_eq(tls_version_parse(""), 0);
    ck_assert_uint_eq(tls_version_parse("tls1"), 0);
    ck_assert_uint_eq(tls_version_parse("TLS1.2"), 0);
    ck_assert_uint_eq(tls_version_parse("tls1.2 "), 0);
}
END_TEST

START_TEST(test_alert_record)
{
    static const struct {
        uint16_t version;
        uint8_t record[TLS_ALERT_RECORD];
    } cases[] = {
        {TLS_VERSION_SSL3, {21, 3, 0, 0, 2, 2, 70}}, {TLS_VERSION_10, {21, 3, 1, 0, 2, 2, 70}},
        {TLS_VERSION_12, {21, 3, 3, 0, 2, 2, 70}},   {TLS_VERSION_13, {21, 3, 3, 0, 2, 2, 70}},
        {TLS_VERSION_SSL2, {21, 3, 0, 0, 2, 2, 70}}, {0, {21, 3, 0, 0, 2, 2, 70}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint8_t record[TLS_ALERT_RECORD];
        tls_alert_record(record, cases[i].version, TLS_ALERT_PROTOCOL_VERSION);
        ck_assert_mem_eq(record, cases[i].record, sizeof record);
        ck_assert_int_eq(feed_once(S, record, sizeof record), TLSWATCH_SERVER_HELLO);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("tlswatch");
    TCase *hand = tcase_create("by hand");
    tcase_set_timeout(hand, 60);
    LOOP(hand, test_ssl2, ssl2_cases);
    tcase_add_test(hand, test_ssl2_long);
    LOOP(hand, test_client_hello, client_cases);
    tcase_add_test(hand, test_sni_length);
    LOOP(hand, test_server_hello, server_cases);
    LOOP(hand, test_alert, alert_cases);
    LOOP(hand, test_strangers, strangers);
    LOOP(hand, test_framing, framings);
    tcase_add_test(hand, test_longest);
    tcase_add_test(hand, test_memory);
    tcase_add_test(hand, test_names);
    tcase_add_test(hand, test_alert_record);
    suite_add_tcase(s, hand);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
