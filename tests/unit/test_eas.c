/* ActiveSync requests: commands, queries in both forms, versions, device IDs, the root of a body however it
 * is cut, heartbeats, status documents. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "proto/eas.h"
#include "proto/wbxml.h"

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

static struct buf unhex(const char *hex)
{
    struct buf b;
    unsigned byte;
    buf_init(&b, 1 << 20);
    for (; *hex != '\0'; hex += 2) {
        while (*hex == ' ')
            hex++;
        ck_assert_int_eq(sscanf(hex, "%2x", &byte), 1);
        ck_assert_int_eq(buf_append(&b, &(uint8_t){(uint8_t)byte}, 1), 0);
    }
    return b;
}

/* ---- commands ---- */

START_TEST(test_commands)
{
    unsigned named = 0;
    for (unsigned c = 0; c < 300; c++) {
        const char *name = eas_command_name(c);
        if (name == NULL)
            continue;
        named++;
        ck_assert_uint_eq(eas_command_by_name(name, strlen(name)), c);
        ck_assert_uint_eq(eas_command_by_name(name, strlen(name) - 1), EAS_COMMANDS);
    }
    ck_assert_uint_eq(named, 20);
    ck_assert_ptr_null(eas_command_name(5));
    ck_assert_ptr_null(eas_command_name(EAS_COMMANDS));
    ck_assert_uint_eq(eas_command_by_name("fOLDERsYNC", 10), EAS_FOLDER_SYNC);
    ck_assert_uint_eq(eas_command_by_name("", 0), EAS_COMMANDS);
    ck_assert_uint_eq(eas_command_by_name("SyncX", 5), EAS_COMMANDS);
}
END_TEST

/* Every root has one command, and every command but GetAttachment a root. */
START_TEST(test_roots)
{
    unsigned found[EAS_COMMANDS] = {0};
    for (unsigned tag = 0; tag <= UINT16_MAX; tag++) {
        unsigned c = eas_command_of_root((uint16_t)tag);
        if (c < EAS_COMMANDS)
            found[c]++;
    }
    for (unsigned c = 0; c < EAS_COMMANDS; c++)
        ck_assert_uint_eq(found[c], eas_command_name(c) != NULL && c != EAS_GET_ATTACHMENT);
    ck_assert_uint_eq(eas_command_of_root(WBXML_FOLDERHIERARCHY_FOLDERSYNC), EAS_FOLDER_SYNC);
    ck_assert_uint_eq(eas_command_of_root(WBXML_COMPOSEMAIL_SMARTREPLY), EAS_SMART_REPLY);
    ck_assert_uint_eq(eas_command_of_root(WBXML_MOVE_MOVE), EAS_COMMANDS);
}
END_TEST

/* ---- queries that are read ---- */

#define T32  "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define T127 T32 T32 T32 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static const struct {
    const char *query;
    struct eas_query want;
} queries[] = {
    {"", {.command = EAS_COMMANDS}},
    {"Cmd=Sync&User=a&DeviceId=d1&DeviceType=Phone",
     {false, EAS_SYNC, "Sync", 0, "d1", "Phone", "a", "", 0, 0}},
    {"user=lab%5Cjo+e%2b&DEVICEID=d+1&devicetype=x%41&cMD=ping",
     {false, EAS_PING, "ping", 0, "d+1", "xA", "lab\\jo e+", "", 0, 0}},
    {"C%6dd=Folder%53ync", {false, EAS_FOLDER_SYNC, "FolderSync", 0, "", "", "", "", 0, 0}},
    {"Cmd=Sy+nc", {false, EAS_COMMANDS, "Sy+nc", 0, "", "", "", "", 0, 0}},
    {"Cmd=SendMail&SaveInSent=T", {false, EAS_SEND_MAIL, "SendMail", 0, "", "", "", "", true, 0}},
    {"Cmd=SendMail&SaveInSent=F", {false, EAS_SEND_MAIL, "SendMail", 0, "", "", "", "", false, 0}},
    {"&&Cmd=Options=1&", {false, EAS_COMMANDS, "Options=1", 0, "", "", "", "", 0, 0}},
    {"&Cmd", {false, EAS_COMMANDS, "", 0, "", "", "", "", 0, 0}},
    {"&DeviceId=" T127, {false, EAS_COMMANDS, "", 0, T127, "", "", "", 0, 0}},
    {"ItemId=%zz%00&Cmd=Ping&ItemId=2", {false, EAS_PING, "Ping", 0, "", "", "", "", 0, 0}},
    {"Cm%zz=1&%=2&=3", {false, EAS_COMMANDS, "", 0, "", "", "", "", 0, 0}},
    {"Cmdx=Ping&x.Cmd=2", {false, EAS_COMMANDS, "", 0, "", "", "", "", 0, 0}},
    /* the example of MS-ASHTTP; with a key and parameters; binary IDs; commands without a name */
    {"jAAJBAp2MTQwRGV2aWNlAApTbWFydFBob25l",
     {true, EAS_SYNC, "Sync", 140, "v140Device", "SmartPhone", "", "", 0, 0}},
    {"jRIJBAJBQgT/////AVQHAQMIAXUAAA==",
     {true, EAS_PING, "Ping", 141, "AB", "T", "u", "4294967295", true, true}},
    {"jRIJBAJBQgT/////AVQHAQMIAXUAAA",
     {true, EAS_PING, "Ping", 141, "AB", "T", "u", "4294967295", true, true}},
    {"jRIJBAJBQgT%2F%2f///AVQHAQMIAXUAAA%3D%3d",
     {true, EAS_PING, "Ping", 141, "AB", "T", "u", "4294967295", true, true}},
    {"jRIJBAJBQgQBAgAAAVQ=", {true, EAS_PING, "Ping", 141, "AB", "T", "", "513", 0, 0}},
    {"jQUJBAMAq/4AAVQ=", {true, EAS_COMMANDS, "5", 141, "00ABFE", "T", "", "", 0, 0}},
    {"jcgJBANhIC4AAVQ=", {true, EAS_COMMANDS, "200", 141, "61202E", "T", "", "", 0, 0}},
    {"jQAJBANhLV8AAA", {true, EAS_SYNC, "Sync", 141, "a-_", "", "", "", 0, 0}},
    {"jQAJBAAAAA==", {true, EAS_SYNC, "Sync", 141, "", "", "", "", 0, 0}},
};

START_TEST(test_queries)
{
    const struct eas_query *want = &queries[_i].want;
    size_t len = strlen(queries[_i].query);
    char *text = mem_alloc(len); /* without a NUL behind it */
    const char *why;
    struct eas_query q;
    memcpy(text, queries[_i].query, len);
    memset(&q, 0x55, sizeof q);
    int rc = eas_query_parse(&q, text, len, &why);
    ck_assert_msg(rc == 0, "%s: %s", queries[_i].query, why);
    ck_assert_uint_eq(q.base64, want->base64);
    ck_assert_uint_eq(q.command, want->command);
    ck_assert_str_eq(q.command_text, want->command_text);
    ck_assert_uint_eq(q.version, want->version);
    ck_assert_str_eq(q.device_id, want->device_id);
    ck_assert_str_eq(q.device_type, want->device_type);
    ck_assert_str_eq(q.user, want->user);
    ck_assert_str_eq(q.policy_key, want->policy_key);
    ck_assert_uint_eq(q.save_in_sent, want->save_in_sent);
    ck_assert_uint_eq(q.accept_multipart, want->accept_multipart);
    free(text);
}
END_TEST

/* ---- queries that are refused ---- */

static const struct {
    const char *query;
    int rc;
    const char *why; /* a part of the sentence */
} refused[] = {
    {"Cmd=Sync&cmd=Ping", ERR_SYNTAX, "Cmd stands there twice"},
    {"Cmd=Sync&C%4dd=Sync", ERR_SYNTAX, "Cmd stands there twice"},
    {"DeviceId=1&x=2&DeviceId=1", ERR_SYNTAX, "DeviceId stands there twice"},
    {"DeviceType=1&DeviceType", ERR_SYNTAX, "DeviceType stands there twice"},
    {"User=1&User=1", ERR_SYNTAX, "User stands there twice"},
    {"Cmd=%", ERR_SYNTAX, "Cmd has a broken"},
    {"Cmd=Sync%2", ERR_SYNTAX, "Cmd has a broken"},
    {"User=a%g0", ERR_SYNTAX, "User has a broken"},
    {"DeviceId=a%00b", ERR_SYNTAX, "DeviceId has a control"},
    {"DeviceType=a\tb", ERR_SYNTAX, "DeviceType has a control"},
    {"User=a%7f", ERR_SYNTAX, "User has a control"},
    {"DeviceId=" T127 "a", ERR_TOO_BIG, "DeviceId is too long"},
    {"Cmd=" T32, ERR_TOO_BIG, "Cmd is too long"},
    {"&+Cmd=Ping", ERR_SYNTAX, "some servers"},
    {"%20%09Cmd=Ping", ERR_SYNTAX, "some servers"},
    {"%20%20%20%20%20%20%20%20%20%20%20%20%20%20%20%20%20%20%20%20%20%20%20%20%20%20%20%20%20%20%20%20%20Cmd="
     "1",
     ERR_SYNTAX, "some servers"},
    {"Cmd%00x=Ping", ERR_SYNTAX, "some servers"},
    {"DeviceId%5b%5d=Ping", ERR_SYNTAX, "some servers"},
    /* neither form */
    {"_=1", ERR_SYNTAX, "neither"},
    {"Cmd", ERR_SYNTAX, "ends inside"},
    {"Cmd=", ERR_SYNTAX, "ends inside"},
    {"=", ERR_SYNTAX, "cut off or wrongly"},
    {"jAAJBAp2MTQwRGV2aWNlAApTbWFydFBob25l====", ERR_SYNTAX, "wrongly padded"},
    {"jAAJBAp2MTQwRGV2aWNlAApTbWFydFBob25l=", ERR_SYNTAX, "wrongly padded"},
    {"jAAJBAp2MTQwRGV2aWNlAApTbWFydFBob25lA", ERR_SYNTAX, "cut off"},
    {"jAAJBAp2MTQwRGV2aWNlAApTbWFydFBob25", ERR_SYNTAX, "ends inside"},
    {"jAAJBAp2MTQw RGV2aWNlAApTbWFydFBob25l", ERR_SYNTAX, "neither"},
    {"jAAJBAp2MTQwRGV2aWNl%41ApTbWFydFBob25l", ERR_SYNTAX, "neither"},
    {"jAAJ-Ap2MTQwRGV2aWNlAApTbWFydFBob25l", ERR_SYNTAX, "neither"},
    {"jA%", ERR_SYNTAX, "neither"},
    {"jAA%3DCmd", ERR_SYNTAX, "neither"},
    {"jRIJBAJBQgIBAgFU", ERR_SYNTAX, "policy key"},     /* of two bytes */
    {"jRIJBAJBQgUBAgMEBQFU", ERR_SYNTAX, "policy key"}, /* of five */
    {"jRIJBAJBQgABVAcBAQcBAQ==", ERR_SYNTAX, "Options stand there twice"},
    {"jRIJBAJBQgABVAgBdQgBdQ==", ERR_SYNTAX, "User stands there twice"},
    {"jRIJBAJBQgABVAcA", ERR_SYNTAX, "Options are not one"},
    {"jRIJBAJBQgABVAcCAQE=", ERR_SYNTAX, "Options are not one"},
    {"jRIJBAJBQgABVAgBAA==", ERR_SYNTAX, "User has a control"},
    {"jRIJBAJBQgABVAg=", ERR_SYNTAX, "ends inside"},     /* a tag without a length */
    {"jRIJBAJBQgABVAACAQ==", ERR_SYNTAX, "ends inside"}, /* a value that is cut off */
    {"jRIJBAJBQgABAA==", ERR_SYNTAX, "DeviceType has a control"},
};

START_TEST(test_refused)
{
    size_t len = strlen(refused[_i].query);
    char *text = mem_alloc(len);
    const char *why = NULL;
    struct eas_query q;
    memcpy(text, refused[_i].query, len);
    ck_assert_int_eq(eas_query_parse(&q, text, len, &why), refused[_i].rc);
    ck_assert_ptr_nonnull(why);
    ck_assert_msg(strstr(why, refused[_i].why) != NULL, "%s: %s", refused[_i].query, why);
    ck_assert_int_eq(eas_query_parse(&q, text, len, NULL), refused[_i].rc);
    free(text);
}
END_TEST

/* The example cut anywhere is an error, never half a request. */
START_TEST(test_query_cut)
{
    static const char example[] = "jAAJBAp2MTQwRGV2aWNlAApTbWFydFBob25l";
    struct eas_query q;
    for (size_t len = 1; len < sizeof example - 1; len++) {
        char *text = mem_alloc(len);
        memcpy(text, example, len);
        ck_assert_int_eq(eas_query_parse(&q, text, len, NULL), ERR_SYNTAX);
        free(text);
    }
}
END_TEST

/* 63 bytes are as many as fit as hex, 127 as text. */
START_TEST(test_device_id_lengths)
{
    static const struct {
        unsigned len;
        uint8_t byte;
        int rc;
    } rows[] = {{63, 0xfe, 0}, {64, 0xfe, ERR_TOO_BIG}, {127, 'x', 0}, {128, 'x', ERR_TOO_BIG}};
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < COUNT(rows); i++) {
        uint8_t raw[300] = {141, 0, 0, 0, (uint8_t)rows[i].len};
        char text[400];
        size_t n = 0, total = 5 + rows[i].len + 2;
        memset(raw + 5, rows[i].byte, rows[i].len);
        while (total % 3 != 0) /* a parameter without a value, to do without padding */
            total += 2;
        for (size_t at = 0; at < total; at += 3) {
            unsigned bits = (unsigned)(raw[at] << 16 | raw[at + 1] << 8 | raw[at + 2]);
            for (int shift = 18; shift >= 0; shift -= 6)
                text[n++] = alphabet[bits >> shift & 63];
        }
        struct eas_query q;
        ck_assert_int_eq(eas_query_parse(&q, text, n, NULL), rows[i].rc);
        if (rows[i].rc == 0)
            ck_assert_uint_eq(strlen(q.device_id), rows[i].byte == 'x' ? 127 : 126);
    }
}
END_TEST

START_TEST(test_same_device)
{
    static const struct {
        const char *a, *b;
        bool same;
    } rows[] = {
        {"v140Device", "V140DEVICE", true},
        {"v140Device", "76313430446576696365", true},
        {"V140device", "76313430446576696365", true},
        {"JK", "4a4b", true},
        {"v140Device", "763134304465766963", false},
        {"v140Device", "7631343044657669636g", false},
        {"v140Device", "v140Device2", false},
        {"v140Device", "", false},
        {"", "", true},
        {"ab", "AB", true},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        ck_assert_msg(eas_same_device(rows[i].a, rows[i].b) == rows[i].same, "%s", rows[i].b);
        ck_assert_msg(eas_same_device(rows[i].b, rows[i].a) == rows[i].same, "%s", rows[i].b);
    }
}
END_TEST

/* ---- versions ---- */

START_TEST(test_versions)
{
    static const struct {
        const char *text;
        unsigned version;
    } rows[] = {{"2.5", 25}, {"12.0", 120}, {"14.1", 141}, {"16.1", 161}, {"99.9", 999}, {"0.0", 0},
                {"", 0},     {"14", 0},     {"14.", 0},    {".1", 0},     {"14.11", 0},  {"114.1", 0},
                {" 2.5", 0}, {"2.5 ", 0},   {"2,5", 0},    {"a.5", 0},    {"1a.5", 0},   {"01.5", 0},
                {"14.a", 0}, {"...", 0},    {"141", 0}};
    char back[8];
    for (size_t i = 0; i < COUNT(rows); i++) {
        unsigned version = eas_version_parse(rows[i].text, strlen(rows[i].text));
        ck_assert_msg(version == rows[i].version, "%s: %u", rows[i].text, version);
        eas_version_format(version, back);
        if (version != 0)
            ck_assert_str_eq(back, rows[i].text);
    }
    for (unsigned i = 0; i < 32; i++) {
        eas_version_format(1u << i, back);
        ck_assert_uint_lt(strlen(back), sizeof back);
    }
}
END_TEST

START_TEST(test_filter)
{
    static const struct {
        const char *list;
        unsigned floor, ceiling;
        const char *kept;
        size_t left;
    } rows[] = {
        {"2.5, 12.0,14.1", 0, 0, "2.5,12.0,14.1", 3},
        {"2.5, 12.0,14.1", 120, 0, "12.0,14.1", 2},
        {"2.5, 12.0,14.1,16.1", 120, 141, "12.0,14.1", 2},
        {" 14.1 ,\t16.1 ", 0, 141, "14.1", 1},
        {"2.5", 120, 0, "", 0},
        {"new,2.5,14.1x", 120, 0, "new,14.1x", 0},
        {"", 0, 0, "", 0},
        {",,12.1,", 0, 0, "12.1", 1},
        {"0.0,14.1", 120, 0, "0.0,14.1", 1},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        char *dst = mem_alloc(strlen(rows[i].list) + 1);
        ck_assert_uint_eq(eas_versions_filter(rows[i].list, rows[i].floor, rows[i].ceiling, dst),
                          rows[i].left);
        ck_assert_str_eq(dst, rows[i].kept);
        free(dst);
    }
}
END_TEST

/* ---- roots ---- */

static const struct {
    const char *hex;
    enum eas_root_result result;
    uint16_t tag;
    size_t used; /* of MORE: all */
} roots[] = {
    {"03016a00 0007 56 52", EAS_ROOT_TAG, WBXML_FOLDERHIERARCHY_FOLDERSYNC, 7},
    {"03016a00 45 5c", EAS_ROOT_TAG, WBXML_AIRSYNC_SYNC, 5},
    {"03016a00 05", EAS_ROOT_TAG, WBXML_AIRSYNC_SYNC, 5},
    {"03016a00 c5 01", EAS_ROOT_TAG, WBXML_AIRSYNC_SYNC, 5},
    {"03016a00 0007 0000 000d 85", EAS_ROOT_TAG, WBXML_PING_PING, 11},
    {"03016a00 00ff 7f", EAS_ROOT_TAG, 0xff3f, 7},
    {"00016a00 45", EAS_ROOT_TAG, WBXML_AIRSYNC_SYNC, 5},
    {"02 a400 6a00 45", EAS_ROOT_TAG, WBXML_AIRSYNC_SYNC, 6},
    {"03 0005 6a03 410000 45", EAS_ROOT_TAG, WBXML_AIRSYNC_SYNC, 9},
    {"03 00818005 8f7a 8003 414200 0007 56", EAS_ROOT_TAG, WBXML_FOLDERHIERARCHY_FOLDERSYNC, 15},
    {"03 ffffffff7f 6a00 45", EAS_ROOT_HIDDEN, 0, 6}, /* beyond 32 bits */
    {"03 8f8f8f8f8f", EAS_ROOT_MALFORMED, 0, 6},
    {"03 8081 00 6a00 45", EAS_ROOT_TAG, WBXML_AIRSYNC_SYNC, 7},
    {"03 8000 056a00 45", EAS_ROOT_HIDDEN, 0, 3},  /* zero or not? */
    {"03016a 84800145", EAS_ROOT_MALFORMED, 0, 6}, /* a string table of 64 KB and one */
    {"03016a 8480 00", EAS_ROOT_MORE, 0, 0},
    {"04016a00 45", EAS_ROOT_MALFORMED, 0, 1},
    {"3c3f786d6c", EAS_ROOT_MALFORMED, 0, 1},
    {"03016a00 04", EAS_ROOT_HIDDEN, 0, 5},
    {"03016a00 0007 c400", EAS_ROOT_HIDDEN, 0, 7},
    {"03016a00 43", EAS_ROOT_HIDDEN, 0, 5},
    {"", EAS_ROOT_MORE, 0, 0},
    {"03", EAS_ROOT_MORE, 0, 0},
    {"03016a00", EAS_ROOT_MORE, 0, 0},
    {"03016a00 00", EAS_ROOT_MORE, 0, 0},
    {"03016a00 0007", EAS_ROOT_MORE, 0, 0},
    {"03016a05 41424344", EAS_ROOT_MORE, 0, 0},
};

static void check_root(const struct buf *doc, size_t cut, size_t step, enum eas_root_result want,
                       uint16_t tag, size_t want_used)
{
    struct eas_root r;
    enum eas_root_result result = EAS_ROOT_MORE;
    size_t total = 0, used = 0;
    eas_root_init(&r);
    for (size_t at = 0, n; at < doc->len; at += n) {
        n = at < cut ? cut - at : step;
        if (n > doc->len - at)
            n = doc->len - at;
        uint8_t *piece = mem_alloc(n);
        memcpy(piece, doc->data + at, n);
        enum eas_root_result before = result;
        result = eas_root_feed(&r, piece, n, &used);
        free(piece);
        if (before != EAS_ROOT_MORE) {
            ck_assert_int_eq(result, before);
            ck_assert_uint_eq(used, 0);
        }
        total += used;
    }
    ck_assert_int_eq(eas_root_feed(&r, NULL, 0, &used), want);
    ck_assert_uint_eq(used, 0);
    ck_assert_uint_eq(total, want == EAS_ROOT_MORE ? doc->len : want_used);
    if (want == EAS_ROOT_TAG)
        ck_assert_uint_eq(r.tag, tag);
}

START_TEST(test_root)
{
    struct buf doc = unhex(roots[_i].hex);
    for (size_t cut = 0; cut <= doc.len; cut++) {
        check_root(&doc, cut, 1, roots[_i].result, roots[_i].tag, roots[_i].used);
        check_root(&doc, cut, doc.len, roots[_i].result, roots[_i].tag, roots[_i].used);
    }
    buf_deinit(&doc);
}
END_TEST

/* Each first byte behind the head: WBXML's own tokens hide the root, a page may come, all else is a tag. */
START_TEST(test_root_tokens)
{
    for (unsigned byte = 0; byte < 256; byte++) {
        uint8_t doc[] = {3, 1, 0x6a, 0, (uint8_t)byte};
        struct eas_root r;
        size_t used;
        eas_root_init(&r);
        enum eas_root_result result = eas_root_feed(&r, doc, sizeof doc, &used);
        ck_assert_int_eq(result, byte == 0              ? EAS_ROOT_MORE
                                 : (byte & 0x3f) < 0x05 ? EAS_ROOT_HIDDEN
                                                        : EAS_ROOT_TAG);
        if (result == EAS_ROOT_TAG)
            ck_assert_uint_eq(r.tag, byte & 0x3f);
    }
}
END_TEST

/* A string table as large as is taken. */
START_TEST(test_root_table)
{
    static const uint8_t head[] = {3, 1, 0x6a, 0x84, 0x80, 0}, zeros[4096], tail[] = {0, 7, 0x56};
    struct eas_root r;
    size_t used;
    eas_root_init(&r);
    ck_assert_int_eq(eas_root_feed(&r, head, sizeof head, &used), EAS_ROOT_MORE);
    for (int i = 0; i < 16; i++)
        ck_assert_int_eq(eas_root_feed(&r, zeros, sizeof zeros, &used), EAS_ROOT_MORE);
    ck_assert_int_eq(eas_root_feed(&r, tail, sizeof tail, &used), EAS_ROOT_TAG);
    ck_assert_uint_eq(r.tag, WBXML_FOLDERHIERARCHY_FOLDERSYNC);
}
END_TEST

/* ---- heartbeats ---- */

static const struct {
    const char *hex;
    unsigned seconds;
} heartbeats[] = {
    {"03016a00 000d 45 48 03 39303000 01 01", 900},
    {"03016a00 000d 45 48 03 3900 03 303000 01 01", 900}, /* in two runs */
    {"03016a00 45 69 03 36303000 01 01", 600},
    {"03016a00 45 64 03 353900 01 01", 3540}, /* Wait */
    {"03016a00 45 64 03 3100 01 69 03 36303000 01 01", 600},
    {"03016a00 45 69 03 36303000 01 64 03 3100 01 01", 600},
    {"03016a00 45 69 03 36303000 01 ff", 600}, /* malformed behind it */
    {"03016a00 45 69 03 38363430 3000 01 01", 86400},
    {"03016a00 45 69 03 38363430 3100 01 01", 0},
    {"03016a00 45 64 03 3134343000 01 01", 86400},
    {"03016a00 45 64 03 3134343100 01 01", 0},
    {"03016a00 45 69 03 39393939393939393939393939393900 01 01", 0},
    {"03016a00 45 69 03 34323934393637333536 00 01 01", 0}, /* 60 beyond 32 bits */
    {"03016a00 45 69 03 2d3100 01 01", 0},
    {"03016a00 45 69 03 363000 03 2000 01 01", 0},
    {"03016a00 45 69 03 00 01 01", 0},
    {"03016a00 45 69 c3 02 3630 01 01", 0}, /* opaque */
    {"03016a00 45 69 05 03 363000 01 01", 0},
    {"03016a00 45 69 45 03 363000 01 01 01", 0},
    {"03016a00 45 29 64 03 3200 01 01", 120},    /* an empty one before it */
    {"03016a00 45 5c 69 03 363000 01 01 01", 0}, /* not directly below the root */
    {"03016a00 45 000d 48 03 363000 01 01", 0},  /* Ping's inside Sync */
    {"03016a00 000d 45 0000 69 03 363000 01 01", 0},
    {"03016a00 0007 56 0000 69 03 363000 01 01", 0},
    {"03016a00 000d 45 48 03 393030", 0},
    {"03016a00 000d 05", 0},
    {"3c", 0},
    {"", 0},
};

START_TEST(test_heartbeat)
{
    struct buf doc = unhex(heartbeats[_i].hex);
    for (size_t cut = 0; cut <= doc.len; cut++) {
        struct eas_heartbeat *h = eas_heartbeat_new();
        ck_assert_uint_eq(eas_heartbeat_seconds(h), 0);
        eas_heartbeat_feed(h, doc.data, cut);
        if (cut % 2 == 0)
            eas_heartbeat_feed(h, doc.data + cut, doc.len - cut);
        for (size_t i = cut; cut % 2 != 0 && i < doc.len; i++)
            eas_heartbeat_feed(h, &(uint8_t){doc.data[i]}, 1);
        ck_assert_uint_eq(eas_heartbeat_seconds(h), heartbeats[_i].seconds);
        eas_heartbeat_free(h);
    }
    eas_heartbeat_free(NULL);
    buf_deinit(&doc);
}
END_TEST

/* ---- status documents ---- */

START_TEST(test_status)
{
    static const struct {
        unsigned command, status, limit;
        const char *hex;
    } rows[] = {
        {EAS_FOLDER_SYNC, 142, 0, "03016a00 0007 56 4c 03 31343200 01 01"},
        {EAS_FOLDER_SYNC, 142, 5, "03016a00 0007 56 4c 03 31343200 01 01"},
        {EAS_PING, 5, 470, "03016a00 000d 45 47 03 3500 01 48 03 34373000 01 01"},
        {EAS_PING, 1, 0, "03016a00 000d 45 47 03 3100 01 01"},
        {EAS_SYNC, 14, 59, "03016a00 45 4e 03 313400 01 65 03 353900 01 01"},
        {EAS_SMART_REPLY, 129, 0, "03016a00 0015 47 52 03 31323900 01 01"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct buf want = unhex(rows[i].hex), got;
        buf_init(&got, 100);
        ck_assert_int_eq(eas_write_status(&got, rows[i].command, rows[i].status, rows[i].limit), 0);
        ck_assert_uint_eq(got.len, want.len);
        ck_assert_mem_eq(got.data, want.data, want.len);
        buf_deinit(&want);
        buf_deinit(&got);
    }
}
END_TEST

/* What is written for a command has that command's root, and its Status on the root's page. */
START_TEST(test_status_all)
{
    for (unsigned c = 0; c < EAS_COMMANDS + 2; c++) {
        struct wbxml_tree t;
        struct buf b;
        buf_init(&b, 100);
        wbxml_tree_init(&t, 10);
        int rc = eas_write_status(&b, c, 177, 0);
        ck_assert_int_eq(rc, eas_command_name(c) != NULL && c != EAS_GET_ATTACHMENT ? 0 : ERR_UNSUPPORTED);
        if (rc == 0) {
            ck_assert_int_eq(wbxml_parse(&t, b.data, b.len), 0);
            const struct wbxml_node *root = wbxml_root(&t), *status = wbxml_first(root);
            ck_assert_uint_eq(eas_command_of_root(root->tag), c);
            ck_assert_uint_eq(WBXML_PAGE(status->tag), WBXML_PAGE(root->tag));
            ck_assert_str_eq(wbxml_tag_name(status->tag), "Status");
            ck_assert_str_eq(wbxml_string(status), "177");
        } else {
            ck_assert_uint_eq(b.len, 0);
        }
        wbxml_tree_deinit(&t);
        buf_deinit(&b);
    }
    struct buf small;
    buf_init(&small, 8);
    ck_assert_int_eq(eas_write_status(&small, EAS_PING, 1, 0), ERR_TOO_BIG);
    ck_assert_uint_eq(small.len, 0);
    buf_deinit(&small);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("eas");
    TCase *t = tcase_create("eas");
    tcase_add_test(t, test_commands);
    tcase_add_test(t, test_roots);
    tcase_add_loop_test(t, test_queries, 0, (int)COUNT(queries));
    tcase_add_loop_test(t, test_refused, 0, (int)COUNT(refused));
    tcase_add_test(t, test_query_cut);
    tcase_add_test(t, test_device_id_lengths);
    tcase_add_test(t, test_same_device);
    tcase_add_test(t, test_versions);
    tcase_add_test(t, test_filter);
    tcase_add_loop_test(t, test_root, 0, (int)COUNT(roots));
    tcase_add_test(t, test_root_tokens);
    tcase_add_test(t, test_root_table);
    tcase_add_loop_test(t, test_heartbeat, 0, (int)COUNT(heartbeats));
    tcase_add_test(t, test_status);
    tcase_add_test(t, test_status_all);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
