/* What an ActiveSync request says about itself: tables of queries, versions and bodies, every body also cut
 * at every position. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "proto/eas.h"
#include "proto/wbxml.h"

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))
#define D(n)         n n n n n n n n n n /* ten times */
#define TEXT_127                                                                                             \
    D("0123456789")                                                                                          \
    "01234567890123456789"                                                                                   \
    "0123456"

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

/* The query behind memory of its own size, so that reading beyond it is seen. */
static int parse(struct eas_query *q, const char *query, size_t len, const char **why)
{
    char *copy = mem_alloc(len);
    memcpy(copy, query, len);
    int rc = eas_query_parse(q, copy, len, why);
    free(copy);
    return rc;
}

/* ---- commands ---- */

static const struct {
    unsigned code;
    const char *name;
    uint16_t root;
} named[] = {
    {0, "Sync", WBXML_AIRSYNC_SYNC},
    {1, "SendMail", WBXML_COMPOSEMAIL_SENDMAIL},
    {2, "SmartForward", WBXML_COMPOSEMAIL_SMARTFORWARD},
    {3, "SmartReply", WBXML_COMPOSEMAIL_SMARTREPLY},
    {4, "GetAttachment", 0},
    {9, "FolderSync", WBXML_FOLDERHIERARCHY_FOLDERSYNC},
    {10, "FolderCreate", WBXML_FOLDERHIERARCHY_FOLDERCREATE},
    {11, "FolderDelete", WBXML_FOLDERHIERARCHY_FOLDERDELETE},
    {12, "FolderUpdate", WBXML_FOLDERHIERARCHY_FOLDERUPDATE},
    {13, "MoveItems", WBXML_MOVE_MOVEITEMS},
    {14, "GetItemEstimate", WBXML_GETITEMESTIMATE_GETITEMESTIMATE},
    {15, "MeetingResponse", WBXML_MEETINGRESPONSE_MEETINGRESPONSE},
    {16, "Search", WBXML_SEARCH_SEARCH},
    {17, "Settings", WBXML_SETTINGS_SETTINGS},
    {18, "Ping", WBXML_PING_PING},
    {19, "ItemOperations", WBXML_ITEMOPERATIONS_ITEMOPERATIONS},
    {20, "Provision", WBXML_PROVISION_PROVISION},
    {21, "ResolveRecipients", WBXML_RESOLVERECIPIENTS_RESOLVERECIPIENTS},
    {22, "ValidateCert", WBXML_VALIDATECERT_VALIDATECERT},
    {23, "Find", WBXML_FIND_FIND},
};

START_TEST(test_command)
{
    unsigned code = named[_i].code;
    const char *name = named[_i].name;
    char upper[32];
    ck_assert_str_eq(eas_command_name(code), name);
    ck_assert_uint_eq(eas_command_by_name(name, strlen(name)), code);
    snprintf(upper, sizeof upper, "%s+", name);
    ck_assert_uint_eq(eas_command_by_name(upper, strlen(upper)), EAS_COMMANDS);
    ck_assert_uint_eq(eas_command_by_name(name, strlen(name) - 1), EAS_COMMANDS);
    for (char *p = upper; *p != '\0'; p++)
        *p &= *p >= 'a' ? 0x5f : 0x7f;
    ck_assert_uint_eq(eas_command_by_name(upper, strlen(name)), code);
    if (named[_i].root != 0) {
        ck_assert_uint_eq(eas_command_of_root(named[_i].root), code);
        ck_assert_str_eq(wbxml_tag_name(named[_i].root), name);
    }
}
END_TEST

START_TEST(test_no_command)
{
    unsigned names = 0, roots = 0;
    for (unsigned c = 0; c <= 300; c++)
        names += eas_command_name(c) != NULL;
    for (unsigned tag = 0; tag <= UINT16_MAX; tag++)
        roots += eas_command_of_root((uint16_t)tag) != EAS_COMMANDS;
    ck_assert_uint_eq(names, COUNT(named));
    ck_assert_uint_eq(roots, COUNT(named) - 1);
    ck_assert_uint_eq(eas_command_by_name("", 0), EAS_COMMANDS);
    ck_assert_uint_eq(eas_command_by_name("Frobnicate", 10), EAS_COMMANDS);
}
END_TEST

/* ---- queries ---- */

static const struct {
    const char *query;
    bool base64;
    unsigned command;
    const char *text;
    unsigned version;
    const char *device_id, *device_type, *user, *policy_key;
    bool save_in_sent, accept_multipart;
} queries[] = {
    {"", false, EAS_COMMANDS, "", 0, "", "", "", "", false, false},
    {"Cmd=FolderSync&User=alice&DeviceId=probe95397154&DeviceType=Probe", false, EAS_FOLDER_SYNC,
     "FolderSync", 0, "probe95397154", "Probe", "alice", "", false, false},
    {"User=alice%40example.com&DeviceId=A1&DeviceType=iPhone&cmd=ping", false, EAS_PING, "ping", 0, "A1",
     "iPhone", "alice@example.com", "", false, false},
    {"%43md=S%79nc&DEVICEID=x%2By+z", false, EAS_SYNC, "Sync", 0, "x+y+z", "", "", "", false, false},
    {"Cmd=Sync&User=a+b%2bc%20d", false, EAS_SYNC, "Sync", 0, "", "", "a b+c d", "", false, false},
    {"x&+%20Cmd=Sync", false, EAS_SYNC, "Sync", 0, "", "", "", "", false, false},
    {"Cmd=Frobnicate", false, EAS_COMMANDS, "Frobnicate", 0, "", "", "", "", false, false},
    {"Cmd=SendMail&SaveInSent=T&Other=%", false, EAS_SEND_MAIL, "SendMail", 0, "", "", "", "", true, false},
    {"Cmd=SendMail&SaveInSent=F", false, EAS_SEND_MAIL, "SendMail", 0, "", "", "", "", false, false},
    {"Cmd=SendMail&SaveInSent=TRUETRUE", false, EAS_SEND_MAIL, "SendMail", 0, "", "", "", "", false, false},
    {"&&Cmd=Sync&&", false, EAS_SYNC, "Sync", 0, "", "", "", "", false, false},
    {"Cmd=&User=&DeviceId", false, EAS_COMMANDS, "", 0, "", "", "", "", false, false},
    {"Cmd==&x", false, EAS_COMMANDS, "=", 0, "", "", "", "", false, false},
    {"&", false, EAS_COMMANDS, "", 0, "", "", "", "", false, false},
    {"Cmds=Sync&xCmd=Ping&Cm=Ping", false, EAS_COMMANDS, "", 0, "", "", "", "", false, false},
    {"jAAJBAp2MTQwRGV2aWNl=x", false, EAS_COMMANDS, "", 0, "", "", "", "", false, false},
    {"Cmd=Sync&DeviceId=" TEXT_127, false, EAS_SYNC, "Sync", 0, TEXT_127, "", "", "", false, false},
    {"Cmd=Sync&" TEXT_127 "=" TEXT_127 TEXT_127, false, EAS_SYNC, "Sync", 0, "", "", "", "", false, false},

    {"jAAJBAp2MTQwRGV2aWNlAApTbWFydFBob25l", true, EAS_SYNC, "Sync", 140, "v140Device", "SmartPhone", "", "",
     false, false},
    {"jQkJBA1wcm9iZTk1Mzk3MTU0AAVQcm9iZQ==", true, EAS_FOLDER_SYNC, "FolderSync", 141, "probe95397154",
     "Probe", "", "", false, false},
    {"jQkJBA1wcm9iZTk1Mzk3MTU0AAVQcm9iZQ", true, EAS_FOLDER_SYNC, "FolderSync", 141, "probe95397154", "Probe",
     "", "", false, false},
    {"jQkJBA1wcm9iZTk1Mzk3MTU0AAVQcm9iZQ%3D%3d", true, EAS_FOLDER_SYNC, "FolderSync", 141, "probe95397154",
     "Probe", "", "", false, false},
    {"jQkJBA1wcm9iZTk1Mzk3MTU0AAVQcm9iZQ=%3d", true, EAS_FOLDER_SYNC, "FolderSync", 141, "probe95397154",
     "Probe", "", "", false, false},
    /* 121, code 5, a GUID that needs '+' and '/', key 4294967295, type "P", options 3, user "al", item "x" */
    {"eQUJBBD77/4AAQIDBAUGBwgJCgsMBP////8BUAcBAwgCYWwDAXg=", true, EAS_COMMANDS, "5", 121,
     "FBEFFE000102030405060708090A0B0C", "P", "al", "4294967295", true, true},
    {"eQUJBBD77%2F4AAQIDBAUGBwgJCgsMBP%2f%2F//8BUAcBAwgCYWwDAXg%3d", true, EAS_COMMANDS, "5", 121,
     "FBEFFE000102030405060708090A0B0C", "P", "al", "4294967295", true, true},
    /* no device ID, key 1, no type, options 1 */
    {"oRIJBAAEAQAAAAAHAQE=", true, EAS_PING, "Ping", 161, "", "", "", "1", true, false},
};

START_TEST(test_query)
{
    struct eas_query q;
    const char *why = "";
    int rc = parse(&q, queries[_i].query, strlen(queries[_i].query), &why);
    ck_assert_msg(rc == 0, "%s: %s", queries[_i].query, why);
    ck_assert_int_eq(q.base64, queries[_i].base64);
    ck_assert_uint_eq(q.command, queries[_i].command);
    ck_assert_str_eq(q.command_text, queries[_i].text);
    ck_assert_uint_eq(q.version, queries[_i].version);
    ck_assert_str_eq(q.device_id, queries[_i].device_id);
    ck_assert_str_eq(q.device_type, queries[_i].device_type);
    ck_assert_str_eq(q.user, queries[_i].user);
    ck_assert_str_eq(q.policy_key, queries[_i].policy_key);
    ck_assert_int_eq(q.save_in_sent, queries[_i].save_in_sent);
    ck_assert_int_eq(q.accept_multipart, queries[_i].accept_multipart);
    /* cut off, it is either an error or something else, but never read beyond */
    for (size_t len = 0; len < strlen(queries[_i].query); len++)
        parse(&q, queries[_i].query, len, &why);
}
END_TEST

static const struct {
    const char *query;
    int rc;
    const char *word; /* has to be in the sentence */
} refused[] = {
    {"Cmd=Sync&cmd=Ping", ERR_SYNTAX, "Cmd stands in the query twice"},
    {"Cmd=&%63md=Ping", ERR_SYNTAX, "Cmd stands in the query twice"},
    {"Cmd=Sync&+Cmd=Ping", ERR_SYNTAX, "Cmd stands in the query twice"},
    {"Cmd&Cmd=Ping", ERR_SYNTAX, "Cmd stands in the query twice"},
    {"DeviceId=a&DeviceId=a", ERR_SYNTAX, "DeviceId stands in the query twice"},
    {"DeviceType=a&DeviceType=a", ERR_SYNTAX, "DeviceType stands in the query twice"},
    {"User=a&x=y&User=a", ERR_SYNTAX, "User stands in the query twice"},
    {"Cmd=Sy%6", ERR_SYNTAX, "Cmd has a broken percent-escape"},
    {"Cmd=Sy%6gc", ERR_SYNTAX, "Cmd has a broken percent-escape"},
    {"DeviceId=%&x", ERR_SYNTAX, "DeviceId has a broken percent-escape"},
    {"DeviceId=a%00b", ERR_SYNTAX, "control character"},
    {"User=a\tb", ERR_SYNTAX, "control character"},
    {"DeviceType=a%7f", ERR_SYNTAX, "control character"},
    {"x&C%md=Sync", ERR_SYNTAX, "name has a broken percent-escape"},
    {"Cmd%00x=Sync", ERR_SYNTAX, "name has a broken percent-escape or a control character"},
    {"Cmd=01234567890123456789012345678901", ERR_TOO_BIG, "Cmd is too long"},
    {"DeviceId=" TEXT_127 "7", ERR_TOO_BIG, "DeviceId is too long"},
    {"User=" TEXT_127 "7", ERR_TOO_BIG, "User is too long"},

    {"Cmd", ERR_SYNTAX, "wrong padding"},
    {"Cmd=", ERR_SYNTAX, "wrong padding"},
    {"+Cmd=Sync", ERR_SYNTAX, "neither"},
    {"Cmd==", ERR_SYNTAX, "wrong padding"},
    {"Cmd%3DSync", ERR_SYNTAX, "neither"},
    {"=Sync", ERR_SYNTAX, "neither"},
    {"X-Cmd=Sync", ERR_SYNTAX, "neither"},
    {"jAAJ BAp2", ERR_SYNTAX, "neither"},
    {"jAAJBAp2MTQwRGV2aWNlAApTbWFydFBob25l%41", ERR_SYNTAX, "neither"},
    {"jAAJBAp2MTQwRGV2aWNlAApTbWFydFBob25-", ERR_SYNTAX, "neither"},
    {"jAAJBAp2MTQwRGV2aWNlAApTbWFydFBob25l=", ERR_SYNTAX, "wrong padding"},
    {"jQkJBA1wcm9iZTk1Mzk3MTU0AAVQcm9iZQ=", ERR_SYNTAX, "wrong padding"},
    {"jQkJBA1wcm9iZTk1Mzk3MTU0AAVQcm9iZR==", ERR_SYNTAX, "wrong padding"},
    {"jQkJBA1wcm9iZTk1Mzk3MTU0AAVQcm9iZ", ERR_SYNTAX, "ends within a byte"},
    {"jAAJBAp2MTQwRGV2aWNlAApTbWFydFBob25", ERR_SYNTAX, "wrong padding"},
    {"jAAJBAp2MTQwRGV2aWNlAApTbWFydFBo", ERR_SYNTAX, "cut off"},
    {"jAAJBAp2MTQwRGV2aWNlAA==", ERR_SYNTAX, "cut off"},
    {"jAAJBAAA", ERR_SYNTAX, "cut off"},
    {"AAAJBAAAAA==", ERR_SYNTAX, "no protocol version"},
    {"jAAJBAABAAA=", ERR_SYNTAX, "0 or 4 bytes"},
    {"jAAJBAAAAQE=", ERR_SYNTAX, "control character"},
    {"jAAJBAAAAAcA", ERR_SYNTAX, "not one byte"},
    {"jAAJBAAAAAcCAQE=", ERR_SYNTAX, "not one byte"},
    {"jAAJBAAAAAcBAQcBAQ==", ERR_SYNTAX, "twice"},
    {"jAAJBAAAAAgBYQgBYQ==", ERR_SYNTAX, "twice"},
    {"jAAJBAAAAAgA"
     "CAA=",
     ERR_SYNTAX, "twice"},
    {"jAAJBAAAAAgCYQ==", ERR_SYNTAX, "within a parameter"},
    {"jAAJBAAAAAg=", ERR_SYNTAX, "within a parameter"},
    {"jAAJBAAAAAgBCg==", ERR_SYNTAX, "control character"},
};

START_TEST(test_refused)
{
    static const struct eas_query nothing = {.command = EAS_COMMANDS};
    struct eas_query q;
    const char *why = NULL;
    int rc = parse(&q, refused[_i].query, strlen(refused[_i].query), &why);
    ck_assert_msg(rc == refused[_i].rc, "%s: %d", refused[_i].query, rc);
    ck_assert_msg(strstr(why, refused[_i].word) != NULL, "%s: %s", refused[_i].query, why);
    ck_assert_uint_eq(q.command, nothing.command);
    ck_assert_str_eq(q.command_text, "");
    ck_assert_str_eq(q.device_id, "");
    ck_assert(!q.base64 && q.version == 0);
}
END_TEST

/* ---- the base64 form, made here ---- */

static size_t encode(char *dst, const uint8_t *bytes, size_t len)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t n = 0;
    for (size_t i = 0; i < len; i += 3) {
        unsigned v = (unsigned)bytes[i] << 16 | (i + 1 < len ? (unsigned)bytes[i + 1] << 8 : 0) |
                     (i + 2 < len ? bytes[i + 2] : 0);
        for (unsigned d = 0; d < 4 && i + d <= len; d++)
            dst[n++] = digits[v >> (18 - 6 * d) & 63];
    }
    return n;
}

/* A query with a device ID of len bytes, all of them `byte`. */
static int parse_device(struct eas_query *q, uint8_t byte, unsigned len, const char **why)
{
    uint8_t raw[300] = {140, 18, 9, 4, (uint8_t)len};
    char text[404];
    memset(raw + 5, byte, len);
    raw[5 + len] = 0;
    raw[6 + len] = 1;
    raw[7 + len] = 'T';
    return parse(q, text, encode(text, raw, 8 + len), why);
}

START_TEST(test_device_id_bytes)
{
    struct eas_query q;
    const char *why;
    for (unsigned byte = 0; byte < 256; byte++) {
        char text[] = {(char)byte, (char)byte, '\0'}, hex[5];
        snprintf(hex, sizeof hex, "%02X%02X", byte, byte);
        bool plain = strchr("-_.", (int)byte) != NULL || (byte >= '0' && byte <= '9') ||
                     (byte >= 'A' && byte <= 'Z') || (byte >= 'a' && byte <= 'z');
        ck_assert_int_eq(parse_device(&q, (uint8_t)byte, 2, &why), 0);
        ck_assert_str_eq(q.device_id, plain && byte != 0 ? text : hex);
        ck_assert_str_eq(q.device_type, "T");
    }
    ck_assert_int_eq(parse_device(&q, 'a', 127, &why), 0);
    ck_assert_int_eq(parse_device(&q, 'a', 128, &why), ERR_TOO_BIG);
    ck_assert_int_eq(parse_device(&q, 'a', 255, &why), ERR_TOO_BIG);
    ck_assert_int_eq(parse_device(&q, ' ', 63, &why), 0);
    ck_assert_uint_eq(strlen(q.device_id), 126);
    ck_assert_int_eq(parse_device(&q, ' ', 64, &why), ERR_TOO_BIG);
    ck_assert_int_eq(parse_device(&q, ' ', 255, &why), ERR_TOO_BIG);
}
END_TEST

static const struct {
    const char *a, *b;
    bool same;
} devices[] = {
    {"v140Device", "v140Device", true},
    {"v140Device", "V140DEVICE", true},
    {"v140Device", "76313430446576696365", true},
    {"V140device", "76313430446576696365", true},
    {"probe95397154", "70726F62653935333937313534", true},
    {"probe95397154", "70726f62653935333937313534", true},
    {"FBEFFE000102030405060708090A0B0C", "fbeffe000102030405060708090a0b0c", true},
    {"", "", true},
    {"", "00", false},
    {"a", "", false},
    {"v140Device", "v140Devic", false},
    {"v140Device", "76313430446576696366", false},
    {"v140Device", "7631343044657669636", false},
    {"v140Device", "7631343044657669636g", false},
    {"@", "60", false}, /* they differ in the bit that tells cases apart, but are no letters */
    {"K", "4b", true},
    {"K", "6b", true},
};

START_TEST(test_same_device)
{
    ck_assert_int_eq(eas_same_device(devices[_i].a, devices[_i].b), devices[_i].same);
    ck_assert_int_eq(eas_same_device(devices[_i].b, devices[_i].a), devices[_i].same);
}
END_TEST

/* ---- versions ---- */

START_TEST(test_versions)
{
    static const char *const none[] = {"",      "0.0",   "1",     "14",     ".1",    "1.",   "14.",
                                       "14.10", "014.1", "01.0",  "00.1",   " 14.1", "2.5 ", "-1.0",
                                       "1,0",   "1.a",   "a.1",   "1a.0",   "+2.5",  "141",  "1411",
                                       "1.41",  "14.1x", "14..1", "16.1.0", "2 .5"};
    char text[8];
    for (size_t i = 0; i < COUNT(none); i++)
        ck_assert_msg(eas_version_parse(none[i], strlen(none[i])) == 0, "'%s'", none[i]);
    ck_assert_uint_eq(eas_version_parse("2.5", 3), 25);
    ck_assert_uint_eq(eas_version_parse("14.1", 4), 141);
    ck_assert_uint_eq(eas_version_parse("16.1,2.5", 4), 161);
    for (unsigned v = 1; v <= 999; v++) {
        eas_version_format(v, text);
        ck_assert_uint_eq(eas_version_parse(text, strlen(text)), v);
    }
    eas_version_format(0, text);
    ck_assert_str_eq(text, "");
    eas_version_format(UINT32_MAX, text);
    ck_assert_uint_lt(strlen(text), sizeof text);
}
END_TEST

static const struct {
    const char *list;
    unsigned floor, ceiling;
    const char *left;
    size_t count;
} lists[] = {
    {"2.5,12.0,12.1,14.0,14.1", 0, 0, "2.5,12.0,12.1,14.0,14.1", 5},
    {"2.5,12.0,12.1,14.0,14.1,16.1", 121, 141, "12.1,14.0,14.1", 3},
    {" 2.5, 12.0 ,\t14.1 ", 120, 0, "12.0,14.1", 2},
    {"2.5,14.1", 0, 25, "2.5", 1},
    {"2.5,14.1", 160, 0, "", 0},
    {"2.5,14.1", 30, 140, "", 0},
    {"", 0, 0, "", 0},
    {",, ,2.5,,", 0, 0, "2.5", 1},
    {"next,2.5,14.1 beta", 120, 0, "next,14.1 beta", 0},
    {"2.5,16.10,016.1", 120, 141, "16.10,016.1", 0},
};

START_TEST(test_filter)
{
    char dst[64], same[64];
    ck_assert_uint_eq(eas_versions_filter(lists[_i].list, lists[_i].floor, lists[_i].ceiling, dst),
                      lists[_i].count);
    ck_assert_str_eq(dst, lists[_i].left);
    strcpy(same, lists[_i].list);
    ck_assert_uint_eq(eas_versions_filter(same, lists[_i].floor, lists[_i].ceiling, same), lists[_i].count);
    ck_assert_str_eq(same, lists[_i].left);
}
END_TEST

/* ---- root ---- */

#define MORE      EAS_ROOT_MORE
#define TAG       EAS_ROOT_TAG
#define MALFORMED EAS_ROOT_MALFORMED
#define HIDDEN    EAS_ROOT_HIDDEN

static const struct {
    const char *hex;
    enum eas_root_result result;
    uint16_t tag;
    size_t used; /* 0: all of it */
} roots[] = {
    {"", MORE, 0, 0},
    {"03", MORE, 0, 0},
    {"03016a00", MORE, 0, 0},
    {"03016a0000", MORE, 0, 0},
    {"03016a000007", MORE, 0, 0},
    {"03016a00000756520330000101", TAG, WBXML_FOLDERHIERARCHY_FOLDERSYNC, 7},
    {"03016a0045", TAG, WBXML_AIRSYNC_SYNC, 0},
    {"03016a0005", TAG, WBXML_AIRSYNC_SYNC, 0},
    {"03016a00000d45480336300001", TAG, WBXML_PING_PING, 7},
    {"03016a0000070000000d4501", TAG, WBXML_PING_PING, 11},
    {"03016a0000199f", TAG, WBXML_TAG(25, 0x1f), 0},
    {"03016a0000ff7f", TAG, WBXML_TAG(255, 0x3f), 0},
    /* with attributes */
    {"03016a00000785", TAG, WBXML_TAG(7, 0x05), 0},
    {"03016a000007d60501", TAG, WBXML_FOLDERHIERARCHY_FOLDERSYNC, 7},
    /* heads of others */
    {"02016a0005", TAG, WBXML_AIRSYNC_SYNC, 0},
    {"01010300000716", TAG, WBXML_FOLDERHIERARCHY_FOLDERSYNC, 0},
    {"03a4016a00000716", TAG, WBXML_FOLDERHIERARCHY_FOLDERSYNC, 0},
    {"0301876800000716", TAG, WBXML_FOLDERHIERARCHY_FOLDERSYNC, 0},
    {"030081006a00000716", TAG, WBXML_FOLDERHIERARCHY_FOLDERSYNC, 0},
    {"0300006a212d2f2f4d4943524f534f46542f2f44544420416374697665"
     "53796e632f2f454e"
     "000000000716",
     TAG, WBXML_FOLDERHIERARCHY_FOLDERSYNC, 0},
    {"03016a03414243000716", TAG, WBXML_FOLDERHIERARCHY_FOLDERSYNC, 0},
    {"03016a03000d05000716", TAG, WBXML_FOLDERHIERARCHY_FOLDERSYNC, 0},
    {"03016a80808080008080", HIDDEN, 0, 9}, /* a table of 0 bytes, said in five, and a literal... */
    {"0380808080016a00000716", TAG, WBXML_FOLDERHIERARCHY_FOLDERSYNC, 0},
    /* what a lenient server reads over */
    {"03016a0001", HIDDEN, 0, 0},
    {"03016a0002818000", HIDDEN, 0, 5},
    {"03016a000341000716", HIDDEN, 0, 5},
    {"03016a000400", HIDDEN, 0, 5},
    {"03016a0b466f6c64657253796e63004400", HIDDEN, 0, 16},
    {"03016a008400", HIDDEN, 0, 5},
    {"03016a00c400", HIDDEN, 0, 5},
    {"03016a0043050100071601", HIDDEN, 0, 5},
    {"03016a0000078300", HIDDEN, 0, 7},
    {"03016a00c3014100", HIDDEN, 0, 5},
    {"03016a0040", HIDDEN, 0, 0},
    {"03016a0041", HIDDEN, 0, 0},
    {"03016a0042", HIDDEN, 0, 0},
    {"03016a0080", HIDDEN, 0, 0},
    {"03016a0081", HIDDEN, 0, 0},
    {"03016a0082", HIDDEN, 0, 0},
    {"03016a00c0", HIDDEN, 0, 0},
    {"03016a00c1", HIDDEN, 0, 0},
    {"03016a00c2", HIDDEN, 0, 0},
    /* heads that are read in more than one way */
    {"0001000007"
     "16",
     HIDDEN, 0, 1},
    {"0380006a00000716", HIDDEN, 0, 3},
    {"038080808080016a", HIDDEN, 0, 6},
    {"0301808080808006a0", HIDDEN, 0, 7},
    {"03016a908080800000"
     "0716",
     HIDDEN, 0, 8},
    {"03016a8480010000", HIDDEN, 0, 6},
    {"3c016a00000716", HIDDEN, 0, 3},
    {"3c010000000716", HIDDEN, 0, 3},
    {"ff018f6a000007", HIDDEN, 0, 4},
    {"0401870000", MALFORMED, 0, 4},
    {"0400006a00", HIDDEN, 0, 4},
    {"04016b00000716", MALFORMED, 0, 3},
    {"04808080808001", MALFORMED, 0, 6},
    /* text: "<?xml", "From: ", "MIME-", "Subje", BOM and "<?" */
    {"3c3f786d6c", MALFORMED, 0, 3},
    {"46726f6d3a20", MALFORMED, 0, 3},
    {"4d494d452d", MALFORMED, 0, 3},
    {"5375626a65", MALFORMED, 0, 3},
    {"efbbbf3c3f", MALFORMED, 0, 5},
};

static enum eas_root_result find_root(const struct buf *doc, size_t cut, size_t step, struct eas_root *r,
                                      size_t *used)
{
    enum eas_root_result result = EAS_ROOT_MORE;
    size_t piece_used = 0;
    eas_root_init(r);
    *used = 0;
    for (size_t at = 0, n; at < doc->len; at += n) {
        n = at < cut ? cut - at : step;
        if (n > doc->len - at)
            n = doc->len - at;
        uint8_t *piece = mem_alloc(n);
        memcpy(piece, doc->data + at, n);
        enum eas_root_result before = result;
        result = eas_root_feed(r, piece, n, &piece_used);
        free(piece);
        ck_assert(before == EAS_ROOT_MORE || (result == before && piece_used == 0));
        ck_assert(result != EAS_ROOT_MORE || piece_used == n);
        *used += piece_used;
    }
    return result;
}

START_TEST(test_root)
{
    struct buf doc = unhex(roots[_i].hex);
    size_t used = 0;
    for (size_t cut = 0; cut <= doc.len; cut++) {
        struct eas_root r;
        enum eas_root_result result = find_root(&doc, cut, cut % 2 ? 1 : doc.len + 1, &r, &used);
        ck_assert_msg(result == roots[_i].result, "%s cut at %zu: %d", roots[_i].hex, cut, (int)result);
        ck_assert_uint_eq(used, roots[_i].used ? roots[_i].used : doc.len);
        if (result == EAS_ROOT_TAG)
            ck_assert_uint_eq(r.tag, roots[_i].tag);
    }
    buf_deinit(&doc);
}
END_TEST

/* A string table of the largest size, full of what looks like tags, and one byte more. */
START_TEST(test_root_table)
{
    struct buf doc = unhex("03016a84 8000");
    struct eas_root r;
    size_t used;
    for (size_t i = 0; i < 65536; i++)
        ck_assert_int_eq(buf_append(&doc, "\x45", 1), 0);
    ck_assert_int_eq(find_root(&doc, 1000, 777, &r, &used), EAS_ROOT_MORE);
    ck_assert_int_eq(buf_append(&doc, "\x00\x0d\x45", 3), 0);
    ck_assert_int_eq(find_root(&doc, 0, 777, &r, &used), EAS_ROOT_TAG);
    ck_assert_uint_eq(r.tag, WBXML_PING_PING);
    ck_assert_uint_eq(used, doc.len);
    buf_deinit(&doc);
}
END_TEST

/* ---- heartbeat ---- */

#define H "03016a00"

static const struct {
    const char *hex;
    unsigned seconds;
} heartbeats[] = {
    {"", 0},
    {H "000d4548033630000149"
       "4a4b03410001010101",
     60},
    {H "00000d05", 0},
    {H "45"
       "5c4f4b03312d310001520341000101016903363000"
       "0101",
     60},
    {H "45640335390001"
       "01",
     3540},
    {H "4569033630000164033200"
       "0101",
     120},
    {H "4564033200"
       "01690336300001"
       "01",
     120},
    /* numbers cut into runs, and such as are none */
    {H "000d45480336000330000101", 60},
    {H "000d4548c302363001"
       "01",
     60},
    {H "000d4548012401", 0},
    {H "000d45480101", 0},
    {H "000d450801", 0},
    {H "000d4548032d350001"
       "01",
     0},
    {H "000d45480336306d000101", 0},
    {H "000d454803363000090101", 0},
    {H "000d4548033630004901"
       "0101",
     0},
    /* clipped */
    {H "000d4548033836343030000101", 86400},
    {H "000d4548033836343031000101", 86400},
    {H "000d45480339393939393939393939393939393939393939393939000101", 86400},
    {H "456403393939393939393939000101", 86400},
    {H "4564033134343000"
       "0101",
     86400},
    /* deeper than directly below the root, or of another page or root */
    {H "000d4549480336300001"
       "0101",
     0},
    {H "455c690336300001"
       "0101",
     0},
    {H "000d450000690336300001"
       "01",
     0},
    {H "45000d480336300001"
       "01",
     0},
    {H "000756690336300001"
       "01",
     0},
    /* malformed, also after it was told */
    {"02016a00000d45480336300001"
     "01",
     0},
    {H "000d4548033630000102", 0},
    {H "000d454803363000010101", 0},
    {H "000d4548033630", 0},
};

static unsigned read_heartbeat(const struct buf *doc, size_t cut, size_t step)
{
    struct eas_heartbeat *h = eas_heartbeat_new();
    ck_assert_uint_eq(eas_heartbeat_seconds(h), 0);
    eas_heartbeat_feed(h, NULL, 0);
    for (size_t at = 0, n; at < doc->len; at += n) {
        n = at < cut ? cut - at : step;
        if (n > doc->len - at)
            n = doc->len - at;
        uint8_t *piece = mem_alloc(n);
        memcpy(piece, doc->data + at, n);
        eas_heartbeat_feed(h, piece, n);
        free(piece);
    }
    unsigned seconds = eas_heartbeat_seconds(h);
    ck_assert(seconds != 0 || !eas_heartbeat_in_minutes(h));
    eas_heartbeat_free(h);
    return seconds;
}

START_TEST(test_heartbeat)
{
    struct buf doc = unhex(heartbeats[_i].hex);
    for (size_t cut = 0; cut <= doc.len; cut++) {
        unsigned seconds = read_heartbeat(&doc, cut, cut % 2 ? 1 : doc.len + 1);
        ck_assert_msg(seconds == heartbeats[_i].seconds, "%s cut at %zu: %u", heartbeats[_i].hex, cut,
                      seconds);
    }
    buf_deinit(&doc);
}
END_TEST

/* It is told as soon as the element ends, and stays told when the rest is larger than what is read. */
START_TEST(test_heartbeat_early)
{
    struct buf doc = unhex(H "000d45480336300001");
    static uint8_t many[70000];
    memset(many, 'a', sizeof many);
    many[0] = 0x03; /* a string */
    struct eas_heartbeat *h = eas_heartbeat_new();
    eas_heartbeat_feed(h, doc.data, doc.len - 1);
    ck_assert_uint_eq(eas_heartbeat_seconds(h), 0);
    eas_heartbeat_feed(h, doc.data + doc.len - 1, 1);
    ck_assert_uint_eq(eas_heartbeat_seconds(h), 60);
    eas_heartbeat_feed(h, many, sizeof many);
    ck_assert_uint_eq(eas_heartbeat_seconds(h), 60);
    eas_heartbeat_free(h);
    eas_heartbeat_free(NULL);
    buf_deinit(&doc);
}
END_TEST

/* ---- answers ---- */

static const struct {
    unsigned command, status, limit;
    const char *hex;
} answers[] = {
    {EAS_PING, 5, 3540,
     H "000d4547033500014803333534300001"
       "01"},
    {EAS_PING, 3, 0, H "000d45470333000101"},
    {EAS_SYNC, 14, 59,
     H "454e03313400016503353900"
       "0101"},
    {EAS_FOLDER_SYNC, 142, 7, H "0007564c03313432000101"},
    {EAS_SEND_MAIL, 120, 0, H "0015455203313230000101"},
    {EAS_SMART_REPLY, 120, 0, H "0015475203313230000101"},
    {EAS_FIND, 1, 0, H "0019454a0331000101"},
};

START_TEST(test_answer)
{
    struct buf wanted = unhex(answers[_i].hex), out;
    buf_init(&out, 1000);
    ck_assert_int_eq(buf_append_str(&out, "x"), 0);
    ck_assert_int_eq(eas_write_status(&out, answers[_i].command, answers[_i].status, answers[_i].limit), 0);
    ck_assert_uint_eq(out.len, wanted.len + 1);
    ck_assert_mem_eq(out.data + 1, wanted.data, wanted.len);
    out.max = out.len + wanted.len - 1;
    size_t before = out.len;
    ck_assert_int_eq(eas_write_status(&out, answers[_i].command, answers[_i].status, answers[_i].limit),
                     ERR_TOO_BIG);
    ck_assert_uint_eq(out.len, before);
    buf_deinit(&out);
    buf_deinit(&wanted);
}
END_TEST

/* Each command's answer has its root, and a Status of the same code page. */
START_TEST(test_answers)
{
    for (unsigned c = 0; c <= EAS_COMMANDS; c++) {
        struct buf out;
        struct wbxml_tree t;
        buf_init(&out, 1000);
        wbxml_tree_init(&t, 10);
        int rc = eas_write_status(&out, c, 177, 0);
        if (eas_command_name(c) == NULL || c == EAS_GET_ATTACHMENT) {
            ck_assert_int_eq(rc, ERR_UNSUPPORTED);
            ck_assert_uint_eq(out.len, 0);
            continue;
        }
        ck_assert_int_eq(rc, 0);
        ck_assert_int_eq(wbxml_parse(&t, out.data, out.len), 0);
        const struct wbxml_node *root = wbxml_root(&t), *status = wbxml_first(root);
        ck_assert_uint_eq(eas_command_of_root(root->tag), c);
        ck_assert_str_eq(wbxml_tag_name(status->tag), "Status");
        ck_assert_uint_eq(WBXML_PAGE(status->tag), WBXML_PAGE(root->tag));
        ck_assert_str_eq(wbxml_string(status), "177");
        ck_assert_uint_eq(t.count, 2);
        wbxml_tree_deinit(&t);
        buf_deinit(&out);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("eas");
    TCase *t = tcase_create("eas");
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, test_command, 0, (int)COUNT(named));
    tcase_add_test(t, test_no_command);
    tcase_add_loop_test(t, test_query, 0, (int)COUNT(queries));
    tcase_add_loop_test(t, test_refused, 0, (int)COUNT(refused));
    tcase_add_test(t, test_device_id_bytes);
    tcase_add_loop_test(t, test_same_device, 0, (int)COUNT(devices));
    tcase_add_test(t, test_versions);
    tcase_add_loop_test(t, test_filter, 0, (int)COUNT(lists));
    tcase_add_loop_test(t, test_root, 0, (int)COUNT(roots));
    tcase_add_test(t, test_root_table);
    tcase_add_loop_test(t, test_heartbeat, 0, (int)COUNT(heartbeats));
    tcase_add_test(t, test_heartbeat_early);
    tcase_add_loop_test(t, test_answer, 0, (int)COUNT(answers));
    tcase_add_test(t, test_answers);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
