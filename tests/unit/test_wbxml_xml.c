/* WBXML as XML for people: names, pages, text of all kinds, what is malformed, and passwords, which are in
 * neither the XML nor what is scrubbed. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/visible.h"
#include "proto/wbxml_xml.h"

#define COUNT(table)  (sizeof(table) / sizeof((table)[0]))
#define BYTES(string) (const uint8_t *)(string), sizeof(string) - 1
#define HEAD          "\x03\x01\x6a\x00"

static char *to_xml(const uint8_t *data, size_t len, const char *indent, int expected)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    ck_assert_int_eq(wbxml_to_xml(&b, data, len, indent), expected);
    ck_assert_int_eq(buf_append(&b, "", 1), 0);
    char *text = mem_strdup((const char *)b.data);
    buf_deinit(&b);
    return text;
}

static const struct {
    const uint8_t *data;
    size_t len;
    int rc;
    const char *xml;
} documents[] = {
    {BYTES(HEAD "\x00\x07\x56\x52\x03"
                "0\0\x01\x01"),
     0, "<FolderSync xmlns=\"FolderHierarchy\">\n  <SyncKey>0</SyncKey>\n</FolderSync>\n"},
    {BYTES(HEAD "\x00\x07\x16"), 0, "<FolderSync xmlns=\"FolderHierarchy\"/>\n"},
    {BYTES(HEAD "\x00\x07\x56\x12\x01"), 0,
     "<FolderSync xmlns=\"FolderHierarchy\">\n  <SyncKey/>\n</FolderSync>\n"},
    {BYTES(HEAD "\x45\x5c\x4f\x00\x11\x4a\x4b\x03"
                "x\0\x01\x01\x00\x00\x0b\x01\x01\x01"),
     0,
     "<Sync xmlns=\"AirSync\">\n  <Collections>\n    <Collection>\n      <airsyncbase:Body>\n"
     "        <airsyncbase:Data>x</airsyncbase:Data>\n      </airsyncbase:Body>\n      <SyncKey/>\n"
     "    </Collection>\n  </Collections>\n</Sync>\n"},
    /* what MS-ASWBXML has no name for */
    {BYTES(HEAD "\x00\x03\x6f\x00\x19\x3f\x01"), 0,
     "<page3-token0x2f>\n  <page25-token0x3f/>\n</page3-token0x2f>\n"},
    {BYTES(HEAD "\x00\x63\x45\x00\x00\x05\x01"), 0,
     "<page99-token0x05>\n  <airsync:Sync/>\n</page99-token0x05>\n"},
    /* text: entities, a terminal's escapes, C1, broken UTF-8, a blank that turns the writing round */
    {BYTES(HEAD "\x45\x03<&>\0\x01"), 0, "<Sync xmlns=\"AirSync\">&lt;&amp;&gt;</Sync>\n"},
    {BYTES(HEAD "\x45\x03\x1b[2J\x7f\t\xc2\x9b\xff\xe2\x80\xae\xc3\xa4\0\x01"), 0,
     "<Sync xmlns=\"AirSync\">\\x1b[2J\\x7f\\t\\x9b\\xff\\u202e\xc3\xa4</Sync>\n"},
    {BYTES(HEAD "\x45\x03one\r\ntwo\n\n12:00:01.123  #1\r.\0\x01"), 0,
     "<Sync xmlns=\"AirSync\">\n  one\n  two\n  \n  12:00:01.123  #1\\r.\n</Sync>\n"},
    /* opaque runs */
    {BYTES(HEAD "\x45\xc3\x03"
                "abc\x01"),
     0, "<Sync xmlns=\"AirSync\">abc</Sync>\n"},
    {BYTES(HEAD "\x45\xc3\x03\x01\x02\xff\x01"), 0,
     "<Sync xmlns=\"AirSync\"><!-- 3 opaque bytes: 0102ff --></Sync>\n"},
    {BYTES(HEAD "\x45\xc3\x00\x01"), 0, "<Sync xmlns=\"AirSync\"></Sync>\n"},
    {BYTES(HEAD "\x00\x15\x45\x50\xc3\x0c"
                "A: b\r\n\r\nc\xe4\x1b\0\x01\x01"),
     0,
     "<SendMail xmlns=\"ComposeMail\">\n  <Mime>\n    A: b\n    \n    c\\xe4\\x1b\\x00\n  "
     "</Mime>\n</SendMail>\n"},
    /* passwords */
    {BYTES(HEAD "\x00\x12\x45\x54\x48\x55\x03secret\0\x01\x01\x46\x03"
                "1\0\x01\x01\x01"),
     0,
     "<Settings xmlns=\"Settings\">\n  <DevicePassword>\n    <Set>\n      <Password>(hidden)</Password>\n"
     "    </Set>\n    <Status>1</Status>\n  </DevicePassword>\n</Settings>\n"},
    {BYTES(HEAD "\x00\x0f\x45\x5f\x03secret\0\xc3\x06secret\x01\x01"), 0,
     "<Search xmlns=\"Search\">\n  <Password>(hidden)</Password>\n</Search>\n"},
    {BYTES(HEAD "\x00\x14\x45\x55\x4a\x03secret\0\x01\x03secret\0\x01\x01"), 0,
     "<ItemOperations xmlns=\"ItemOperations\">\n  <Password>\n    <Total>(hidden)</Total>\n  </Password>\n"
     "</ItemOperations>\n"},
    {BYTES(HEAD "\x00\x14\x45\x55\x03secr"), ERR_SYNTAX,
     "<ItemOperations xmlns=\"ItemOperations\">\n  <Password>(hidden)\n"
     "<!-- malformed at byte 13: the document ends before its root element does -->\n"},
    /* malformed */
    {BYTES(""), ERR_SYNTAX, "<!-- malformed at byte 0: the document ends before its root element does -->\n"},
    {BYTES("GET /"), ERR_SYNTAX, "<!-- malformed at byte 0: this is not WBXML 1.3 -->\n"},
    {BYTES(HEAD "\x45\x02\x03"), ERR_SYNTAX,
     "<Sync xmlns=\"AirSync\">\n<!-- malformed at byte 5: a character entity, which ActiveSync does not use "
     "-->\n"},
    {BYTES(HEAD "\x45\xc3\x09"
                "abc"),
     ERR_SYNTAX,
     "<Sync xmlns=\"AirSync\">abc\n<!-- malformed at byte 10: the document ends before its root element does "
     "-->\n"},
    {BYTES(HEAD "\x05\x05"), ERR_SYNTAX,
     "<Sync xmlns=\"AirSync\"/>\n<!-- malformed at byte 5: there are bytes behind the root element -->\n"},
};

START_TEST(test_documents)
{
    char *xml = to_xml(documents[_i].data, documents[_i].len, "", documents[_i].rc);
    ck_assert_str_eq(xml, documents[_i].xml);
    free(xml);
}
END_TEST

START_TEST(test_indentation)
{
    char *xml = to_xml(BYTES(HEAD "\x00\x07\x56\x52\x03"
                                  "a\nb\0\x01\x01"),
                       "| ", 0);
    ck_assert_str_eq(xml, "| <FolderSync xmlns=\"FolderHierarchy\">\n|   <SyncKey>\n|     a\n|     b\n"
                          "|   </SyncKey>\n| </FolderSync>\n");
    free(xml);
}
END_TEST

START_TEST(test_long_opaque)
{
    struct buf b;
    uint8_t zeros[1234] = {0};
    struct wbxml_writer w;
    buf_init(&b, 1 << 20);
    wbxml_begin(&w, &b);
    wbxml_open(&w, WBXML_AIRSYNC_SYNC);
    wbxml_opaque(&w, zeros, sizeof zeros);
    wbxml_close(&w);
    ck_assert_int_eq(wbxml_finish(&w), 0);
    char *xml = to_xml(b.data, b.len, "", 0);
    const char *begin = "<Sync xmlns=\"AirSync\"><!-- 1234 opaque bytes: ", *end = "... --></Sync>\n";
    ck_assert(strncmp(xml, begin, strlen(begin)) == 0);
    ck_assert_str_eq(xml + strlen(begin) + 128, end);
    ck_assert_uint_eq(strspn(xml + strlen(begin), "0"), 128);
    free(xml);
    buf_deinit(&b);
}
END_TEST

/* A buffer that is full: an error, and nothing beyond its maximum, whatever the maximum. */
START_TEST(test_full)
{
    for (size_t i = 0; i < COUNT(documents); i++) {
        size_t whole = strlen(documents[i].xml);
        for (size_t max = 0; max < whole; max++) {
            struct buf b;
            buf_init(&b, max);
            ck_assert_int_eq(wbxml_to_xml(&b, documents[i].data, documents[i].len, ""), ERR_TOO_BIG);
            ck_assert(b.len <= max);
            buf_deinit(&b);
        }
    }
}
END_TEST

/* ---- passwords taken out ---- */

static size_t scrub(uint8_t *data, size_t len, size_t step)
{
    struct wbxml_scrub s;
    size_t shown = 0;
    wbxml_scrub_init(&s);
    for (size_t at = 0, n; at < len; at += n) {
        n = step < len - at ? step : len - at;
        size_t some = wbxml_scrub_feed(&s, data + at, n);
        ck_assert(some <= n);
        ck_assert(some == 0 || shown == at); /* nothing behind a gap */
        shown += some;
    }
    return shown;
}

/* However it is cut, what may be shown is the same, holds no password, and is what it was elsewhere. */
START_TEST(test_scrub)
{
    const uint8_t *data = documents[_i].data;
    size_t len = documents[_i].len;
    for (size_t step = 1; step <= len; step++) {
        uint8_t *copy = mem_alloc(len), *whole = mem_alloc(len);
        memcpy(copy, data, len);
        memcpy(whole, data, len);
        size_t shown = scrub(copy, len, step);
        ck_assert_uint_eq(shown, scrub(whole, len, len));
        ck_assert(memcmp(copy, whole, shown) == 0);
        ck_assert(memmem(copy, shown, "secr", 4) == NULL);
        for (size_t i = 0; i < shown; i++)
            ck_assert(copy[i] == data[i] || copy[i] == '*');
        ck_assert(documents[_i].rc != 0 || shown == len);
        free(copy);
        free(whole);
    }
}
END_TEST

START_TEST(test_scrub_others)
{
    uint8_t xml[] = "<?xml version=\"1.0\"?><Autodiscover/>";
    uint8_t older[] = "\x02\x01\x6a\x00\x00\x0f\x45\x5f\x03secret\0\x01\x01";
    uint8_t entity[] = HEAD "\x00\x0f\x45\x02\x20\x5f\x03secret\0\x01\x01";
    ck_assert_uint_eq(scrub(xml, sizeof xml - 1, 7), sizeof xml - 1);
    ck_assert_uint_eq(scrub(older, sizeof older - 1, 100), 1); /* a server might take it all the same */
    ck_assert_uint_eq(scrub(entity, sizeof entity - 1, 100), 8);
}
END_TEST

/* ---- base/visible.h ---- */

START_TEST(test_visible)
{
    struct buf b;
    buf_init(&b, 100);
    ck_assert_int_eq(visible_append(&b, "", 0, false), 0);
    ck_assert_uint_eq(b.len, 0);
    ck_assert_int_eq(visible_append(&b, BYTES("a<\n\0\xe2\x82\xac\xe2\x82"), false), 0);
    ck_assert_int_eq(buf_append(&b, "", 1), 0);
    ck_assert_str_eq((char *)b.data, "a<\\n\\x00\xe2\x82\xac\\xe2\\x82");
    buf_deinit(&b);
    ck_assert(visible_is_text(BYTES("a\tb\r\n\xc3\xa4")) && visible_is_text("", 0));
    ck_assert(!visible_is_text(BYTES("a\x1b")) && !visible_is_text(BYTES("\xc3")) &&
              !visible_is_text(BYTES("\0")));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("wbxml_xml");
    TCase *t = tcase_create("wbxml_xml");
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, test_documents, 0, (int)COUNT(documents));
    tcase_add_test(t, test_indentation);
    tcase_add_test(t, test_long_opaque);
    tcase_add_test(t, test_full);
    tcase_add_loop_test(t, test_scrub, 0, (int)COUNT(documents));
    tcase_add_test(t, test_scrub_others);
    tcase_add_test(t, test_visible);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
