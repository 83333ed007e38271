/* WBXML: recorded bodies of a real server and client, the code pages, every split, hostile input, limits, the
 * tree, the writer. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "proto/wbxml.h"

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

static const struct wbxml_limits wide = {.depth = WBXML_DEPTH_MAX, .item = 1 << 20, .total = 1 << 20};

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

/* ---- events as XML, which is what a decoder would do with them ---- */

static int xml_open(void *owner, uint16_t tag, bool has_content)
{
    const char *name = wbxml_tag_name(tag), *end = has_content ? "" : "/";
    return name ? buf_printf(owner, "<%s%s>", name, end) : buf_printf(owner, "<%04x%s>", tag, end);
}

/* The end of each run is shown, so that joined pieces can be told from joined runs. */
static int xml_data(void *owner, enum wbxml_kind kind, const uint8_t *data, size_t len, bool last)
{
    ck_assert(len > 0 || last);
    int rc = buf_append(owner, data, len);
    return rc == 0 && last ? buf_append_str(owner, kind == WBXML_OPAQUE ? "$" : "|") : rc;
}

static int xml_close(void *owner, uint16_t tag)
{
    const char *name = wbxml_tag_name(tag);
    return name ? buf_printf(owner, "</%s>", name) : buf_printf(owner, "</%04x>", tag);
}

static const struct wbxml_events to_xml = {xml_open, xml_data, xml_close};

struct outcome {
    int rc;
    const char *why;
    size_t at;
    char *xml; /* owned */
};

/* Feeds [0, cut) and the rest in pieces of `step`, each in memory of its own. */
static struct outcome read_cut(const struct buf *doc, const struct wbxml_limits *limits, size_t cut,
                               size_t step)
{
    struct wbxml_reader r;
    struct buf xml;
    buf_init(&xml, 1 << 22);
    wbxml_reader_init(&r, limits, &to_xml, &xml);
    int rc = 0;
    for (size_t at = 0, n; rc == 0 && at < doc->len; at += n) {
        n = at < cut ? cut - at : step;
        if (n > doc->len - at)
            n = doc->len - at;
        uint8_t *piece = mem_alloc(n);
        memcpy(piece, doc->data + at, n);
        rc = wbxml_reader_feed(&r, piece, n);
        free(piece);
        if (rc != 0)
            ck_assert_int_eq(wbxml_reader_feed(&r, "\x01", 1), rc);
    }
    rc = wbxml_reader_end(&r);
    struct outcome o = {rc, r.why, r.at, mem_strndup(xml.len ? (char *)xml.data : "", xml.len)};
    buf_deinit(&xml);
    return o;
}

/* However it is cut, it must read the same. */
static struct outcome read_all_ways(const struct buf *doc, const struct wbxml_limits *limits)
{
    struct outcome whole = read_cut(doc, limits, doc->len, 1);
    for (size_t cut = 0; cut < doc->len && cut < 300; cut++) {
        struct outcome o = read_cut(doc, limits, cut, cut % 3 ? doc->len : 1);
        ck_assert_int_eq(o.rc, whole.rc);
        ck_assert_ptr_eq(o.why, whole.why);
        ck_assert_uint_eq(o.at, whole.at);
        ck_assert_str_eq(o.xml, whole.xml);
        free(o.xml);
    }
    ck_assert_int_eq(whole.why != NULL, whole.rc != 0);
    return whole;
}

static struct buf encode(const struct wbxml_tree *t)
{
    struct wbxml_writer w;
    struct buf b;
    buf_init(&b, 1 << 20);
    wbxml_begin(&w, &b);
    wbxml_copy(&w, wbxml_root(t));
    ck_assert_int_eq(wbxml_finish(&w), 0);
    return b;
}

/* ---- recorded bodies ---- */

#define FOLDER      "036d61696c253246623137313532303932313935303336623563343430303030383365636333373500"
#define FOLDER_TEXT "mail%2Fb17152092195036b5c44000083ecc375"

static const struct {
    const char *hex, *xml;
} bodies[] = {
    {"03016a00000756520330000101", "<FolderSync><SyncKey>0|</SyncKey></FolderSync>"},
    {"03016a00000e4500125648570370726f626500010101000e464748034d532d4541532d50726f766973696f6e696e672d5742584"
     "d4c0001010101",
     "<Provision><DeviceInformation><Set><Model>probe|</Model></Set></DeviceInformation><Policies><Policy>"
     "<PolicyType>MS-EAS-Provisioning-WBXML|</PolicyType></Policy></Policies></Provision>"},
    {"03016a00000e454b03310001464748034d532d4541532d50726f766973696f6e696e672d5742584d4c00014b03320001010101",
     "<Provision><Status>1|</Status><Policies><Policy><PolicyType>MS-EAS-Provisioning-WBXML|</"
     "PolicyType><Status>2|"
     "</Status></Policy></Policies></Provision>"},
    {"03016a00455c4f5003456d61696c00014b03312d31000152" FOLDER "014e03310001010101",
     "<Sync><Collections><Collection><Class>Email|</Class><SyncKey>1-1|</SyncKey><CollectionId>" FOLDER_TEXT
     "|</CollectionId><Status>1|</Status></Collection></Collections></Sync>"},
    {"03016a00455c4f4b03312d31000152" FOLDER
     "011355033235000157580330000100114546033100014703323030000101010101000069033630000101",
     "<Sync><Collections><Collection><SyncKey>1-1|</SyncKey><CollectionId>" FOLDER_TEXT
     "|</CollectionId><GetChanges/><WindowSize>25|</WindowSize><Options><FilterType>0|</"
     "FilterType><BodyPreference>"
     "<Type>1|</Type><TruncationSize>200|</TruncationSize></BodyPreference></Options></Collection></"
     "Collections>"
     "<HeartbeatInterval>60|</HeartbeatInterval></Sync>"},
    {"03016a00000d45480336300001494a4b" FOLDER "014c03456d61696c0001010101",
     "<Ping><HeartbeatInterval>60|</HeartbeatInterval><Folders><Folder><Id>" FOLDER_TEXT
     "|</Id><Class>Email|</Class></Folder></Folders></Ping>"},
    {"03016a00000d45470333000101", "<Ping><Status>3|</Status></Ping>"},
    {"03016a00000645474800004b0330000100064a" FOLDER "01010101",
     "<GetItemEstimate><Collections><Collection><SyncKey>0|</SyncKey><CollectionId>" FOLDER_TEXT
     "|</CollectionId></Collection></Collections></GetItemEstimate>"},
    {"03016a000015455103313739353339373135352e3435393339353400010850c37746726f6d3a20616c696365406c61622e74657"
     "3740d0a546f3a"
     "20626f62406c61622e746573740d0a5375626a6563743a2073656e742062792065617370726f62650d0a4d6573736167652d494"
     "43a203c3137393533"
     "39373135352e3435393337334070726f62653e0d0a0d0a68656c6c6f20626f620d0a0101",
     "<SendMail><ClientId>1795397155.4593954|</ClientId><SaveInSentItems/><Mime>From: alice@lab.test\r\nTo: "
     "bob@lab.test\r\n"
     "Subject: sent by easprobe\r\nMessage-ID: <1795397155.459373@probe>\r\n\r\nhello "
     "bob\r\n$</Mime></SendMail>"},
    {"03016a000015455203313230000101", "<SendMail><Status>120|</Status></SendMail>"},
};

START_TEST(test_bodies)
{
    struct buf doc = unhex(bodies[_i].hex);
    struct outcome o = read_all_ways(&doc, &wide);
    ck_assert_int_eq(o.rc, 0);
    ck_assert_uint_eq(o.at, doc.len);
    ck_assert_str_eq(o.xml, bodies[_i].xml);
    struct wbxml_tree t;
    wbxml_tree_init(&t, 100);
    ck_assert_int_eq(wbxml_parse(&t, doc.data, doc.len), 0);
    struct buf again = encode(&t);
    ck_assert_uint_eq(again.len, doc.len); /* their encoders and ours agree to the byte */
    ck_assert_mem_eq(again.data, doc.data, doc.len);
    for (size_t len = 0; len < doc.len; len++) { /* cut short, it is never a document */
        struct buf part = {.data = doc.data, .len = len};
        struct outcome p = read_cut(&part, &wide, 0, 1);
        ck_assert_int_eq(p.rc, ERR_SYNTAX);
        ck_assert_uint_eq(p.at, len);
        free(p.xml);
        ck_assert_int_eq(wbxml_parse(&t, doc.data, len), ERR_SYNTAX);
        ck_assert_ptr_null(wbxml_root(&t));
    }
    free(o.xml);
    buf_deinit(&again);
    buf_deinit(&doc);
    wbxml_tree_deinit(&t);
}
END_TEST

/* ---- what is allowed and what is not ---- */

#define H "03016a00"

static const struct {
    const char *hex;
    int rc;
    const char *what; /* the XML, or a part of the reason */
    size_t at;        /* of errors */
} documents[] = {
    {H "05", 0, "<Sync/>", 0},
    {H "45 01", 0, "<Sync></Sync>", 0},
    {H "0000 0000 45 0000 01", 0, "<Sync></Sync>", 0},
    {H "000d 0000 0007 56 01", 0, "<FolderSync></FolderSync>", 0},
    {H "0007 56 000d 01", 0, "<FolderSync></FolderSync>", 0},
    {H "45 7f 03 61 00 01 01", 0, "<Sync><003f>a|</003f></Sync>", 0},
    {H "00fe 45 06 01", 0, "<fe05><fe06/></fe05>", 0},
    {H "0003 45 01", 0, "<0305></0305>", 0},
    {H "45 03 00 01", 0, "<Sync>|</Sync>", 0},
    {H "45 03 61 00 03 62 00 01", 0, "<Sync>a|b|</Sync>", 0},
    {H "45 c3 00 01", 0, "<Sync>$</Sync>", 0},
    {H "45 c3 01 61 01", 0, "<Sync>a$</Sync>", 0},
    {H "45 c3 8001 61 01", 0, "<Sync>a$</Sync>", 0}, /* a longer number than needed */
    {H "45 c3 80808001 61 01", 0, "<Sync>a$</Sync>", 0},
    {H "45 c3 8080808001 61 01", 0, "<Sync>a$</Sync>", 0},
    {H "45 03 ff fe c3 00 01", 0, "<Sync>\xff\xfe\xc3|</Sync>", 0}, /* no UTF-8, as sent */
    {H "45 03 61 00 06 c3 01 62 01", 0, "<Sync>a|<Responses/>b$</Sync>", 0},
    {"", ERR_SYNTAX, "ends before", 0},
    {"02", ERR_SYNTAX, "not WBXML 1.3", 0},
    {"3c3f786d6c", ERR_SYNTAX, "not WBXML 1.3", 0},
    {"0300", ERR_SYNTAX, "public identifier", 1},
    {"0302", ERR_SYNTAX, "public identifier", 1},
    {"030104", ERR_SYNTAX, "character set", 2},
    {"03016a10", ERR_SYNTAX, "string table", 3},
    {"0300006a212d2f2f4d4943524f534f46542f2f445444", ERR_SYNTAX, "public identifier",
     1}, /* xml2wbxml without -a */
    {H "01", ERR_SYNTAX, "before the root", 4},
    {H "03 61 00", ERR_SYNTAX, "before the root", 4},
    {H "c3 01 61", ERR_SYNTAX, "before the root", 4},
    {H "0007 01", ERR_SYNTAX, "before the root", 6},
    {H "05 05", ERR_SYNTAX, "behind the root", 5},
    {H "05 00", ERR_SYNTAX, "behind the root", 5},
    {H "45 01 01", ERR_SYNTAX, "behind the root", 6},
    {H "45 01 0007", ERR_SYNTAX, "behind the root", 6},
    {H "45 02 41 01", ERR_SYNTAX, "entity", 5},
    {H "45 02 88 80 80 80 00 01", ERR_SYNTAX, "entity", 5}, /* the 12 bytes that end a libwbxml 0.11.8 */
    {H "45 04 00 01", ERR_SYNTAX, "literal", 5},
    {H "45 44 00 01", ERR_SYNTAX, "literal", 5},
    {H "84 00 01", ERR_SYNTAX, "literal", 4},
    {H "c4 00 01", ERR_SYNTAX, "literal", 4},
    {H "43 00 01", ERR_SYNTAX, "processing instruction", 4},
    {H "45 83 00 01", ERR_SYNTAX, "string table", 5},
    {H "45 40 61 00 01", ERR_SYNTAX, "extension", 5},
    {H "45 80 00 01", ERR_SYNTAX, "extension", 5},
    {H "45 c2 01", ERR_SYNTAX, "extension", 5},
    {H "45 c0 01", ERR_SYNTAX, "extension", 5},
    {H "85 01", ERR_SYNTAX, "attributes", 4},
    {H "c5 01 01", ERR_SYNTAX, "attributes", 4},
    {H "45 c3 ffffffffff 01", ERR_SYNTAX, "32 bits", 10},
    {H "45 c3 9080808000 01", ERR_SYNTAX, "32 bits", 10},
    {H "45 c3 808080808001 61 01", ERR_SYNTAX, "32 bits", 10}, /* six bytes */
    {H "45 c3 8fffffff7f 61", ERR_TOO_BIG, "opaque run", 10},  /* 4 GB */
    {H "45 c3 05 61626364", ERR_SYNTAX, "ends before", 11},
};

START_TEST(test_documents)
{
    struct buf doc = unhex(documents[_i].hex);
    struct outcome o = read_all_ways(&doc, &wide);
    ck_assert_int_eq(o.rc, documents[_i].rc);
    struct wbxml_tree t;
    wbxml_tree_init(&t, 100);
    int rc = wbxml_parse(&t, doc.data, doc.len);
    if (o.rc == 0) {
        ck_assert_str_eq(o.xml, documents[_i].what);
        ck_assert(rc == 0 || rc == ERR_UNSUPPORTED);
    } else {
        ck_assert_msg(strstr(o.why, documents[_i].what) != NULL, "%s", o.why);
        ck_assert_uint_eq(o.at, documents[_i].at);
        ck_assert_int_eq(rc, ERR_SYNTAX); /* the tree has no limit for items: what is too long is cut short */
        ck_assert_ptr_null(wbxml_root(&t));
        ck_assert_uint_eq(t.at, o.rc == ERR_SYNTAX ? o.at : doc.len);
        ck_assert_ptr_nonnull(t.why);
    }
    wbxml_tree_deinit(&t);
    free(o.xml);
    buf_deinit(&doc);
}
END_TEST

static struct buf nested(size_t depth, bool with_content)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    buf_append(&b, "\x03\x01\x6a", 4);
    for (size_t i = 1; i < depth; i++)
        buf_append(&b, "\x45", 1);
    buf_append(&b, with_content ? "\x45\x01" : "\x05", with_content ? 2 : 1);
    for (size_t i = 1; i < depth; i++)
        buf_append(&b, "\x01", 1);
    return b;
}

START_TEST(test_depth)
{
    static const unsigned depths[] = {1, 2, 63, 64};
    for (size_t i = 0; i < COUNT(depths); i++) {
        struct wbxml_limits limits = wide;
        limits.depth = depths[i];
        for (size_t depth = depths[i]; depth <= depths[i] + 1; depth++) {
            for (int content = 0; content < 2; content++) {
                struct buf doc = nested(depth, content);
                struct outcome o = read_all_ways(&doc, &limits);
                ck_assert_int_eq(o.rc, depth > depths[i] ? ERR_TOO_BIG : 0);
                ck_assert_uint_eq(o.at, depth > depths[i] ? 4 + depths[i] : doc.len);
                free(o.xml);
                buf_deinit(&doc);
            }
        }
    }
    struct wbxml_tree t;
    struct buf doc = nested(100000, true);
    wbxml_tree_init(&t, 1000000);
    ck_assert_int_eq(wbxml_parse(&t, doc.data, doc.len), ERR_TOO_BIG);
    ck_assert_uint_eq(t.at, 4 + WBXML_DEPTH_MAX);
    wbxml_tree_deinit(&t);
    buf_deinit(&doc);
}
END_TEST

/* item and total are reached exactly, and not passed. */
START_TEST(test_limits)
{
    static const struct {
        size_t item, total;
        int rc;
        size_t at;
    } cases[] = {
        {5, 17, 0, 17},           {4, 17, ERR_TOO_BIG, 10}, {0, 17, ERR_TOO_BIG, 6},
        {5, 16, ERR_TOO_BIG, 16}, {5, 15, ERR_TOO_BIG, 13}, {5, 10, ERR_TOO_BIG, 10},
        {5, 0, ERR_TOO_BIG, 0},   {5, 4, ERR_TOO_BIG, 4},   {SIZE_MAX, SIZE_MAX, 0, 17},
    };
    struct buf doc = unhex(H "45 03 68656c6c6f 00 c3 02 6869 01");
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct wbxml_limits limits = {.depth = 1, .item = cases[i].item, .total = cases[i].total};
        struct outcome o = read_all_ways(&doc, &limits);
        ck_assert_msg(o.rc == cases[i].rc && o.at == cases[i].at, "case %zu: %d at %zu", i, o.rc, o.at);
        free(o.xml);
    }
    buf_deinit(&doc);
    doc = unhex(H "45 c3 02 6869 01");
    struct wbxml_limits limits = {.depth = 1, .item = 1, .total = 100};
    struct outcome o = read_all_ways(&doc, &limits);
    ck_assert_int_eq(o.rc, ERR_TOO_BIG);
    ck_assert_uint_eq(o.at, 6);
    free(o.xml);
    buf_deinit(&doc);
}
END_TEST

/* ---- stopping ---- */

static int stop_at_open(void *owner, uint16_t tag, bool has_content)
{
    (void)has_content;
    *(uint16_t *)owner = tag;
    return 1;
}

static int stop_at_data(void *owner, enum wbxml_kind kind, const uint8_t *data, size_t len, bool last)
{
    (void)owner, (void)kind, (void)data, (void)len, (void)last;
    return 2;
}

static int stop_at_close(void *owner, uint16_t tag)
{
    (void)owner, (void)tag;
    return -3;
}

START_TEST(test_stop)
{
    static const struct wbxml_events stops[] = {
        {stop_at_open, NULL, NULL}, {NULL, stop_at_data, NULL}, {NULL, NULL, stop_at_close}};
    static const int results[] = {1, 2, -3};
    struct buf doc = unhex(H "0007 56 52 03 30 00 01 01");
    for (size_t i = 0; i < COUNT(stops); i++) {
        struct wbxml_reader r;
        uint16_t root = 0;
        wbxml_reader_init(&r, &wide, &stops[i], &root);
        ck_assert_int_eq(wbxml_reader_feed(&r, doc.data, doc.len), results[i]);
        ck_assert_int_eq(wbxml_reader_feed(&r, doc.data, doc.len), results[i]);
        ck_assert_int_eq(wbxml_reader_end(&r), results[i]);
        ck_assert_uint_eq(root, i == 0 ? WBXML_FOLDERHIERARCHY_FOLDERSYNC : 0);
    }
    static const struct wbxml_events nothing = {NULL, NULL, NULL};
    struct wbxml_reader r;
    wbxml_reader_init(&r, &wide, &nothing, NULL);
    ck_assert_int_eq(wbxml_reader_feed(&r, doc.data, doc.len), 0);
    ck_assert_int_eq(wbxml_reader_feed(&r, NULL, 0), 0);
    ck_assert_int_eq(wbxml_reader_end(&r), 0);
    buf_deinit(&doc);
}
END_TEST

/* ---- names ---- */

START_TEST(test_names)
{
    ck_assert_int_eq(WBXML_AIRSYNC_SYNC, 0x0005);
    ck_assert_int_eq(WBXML_FOLDERHIERARCHY_FOLDERSYNC, 0x0716);
    ck_assert_uint_eq(WBXML_TAG(7, 0x16), WBXML_FOLDERHIERARCHY_FOLDERSYNC);
    ck_assert_uint_eq(WBXML_PAGE(WBXML_PING_PING), 13);
    ck_assert_uint_eq(WBXML_TOKEN(WBXML_PING_PING), 5);
    FILE *f = fopen("src/proto/wbxml-tokens.tsv", "r");
    ck_assert_msg(f != NULL, "the tests are run at the top of the source tree");
    char line[256], page_name[64], name[64];
    unsigned page, token, named = 0, in_file = 0;
    while (fgets(line, sizeof line, f) != NULL) {
        if (line[0] == '#')
            continue;
        ck_assert_int_eq(sscanf(line, "%u\t%63s\t%x\t%63s", &page, page_name, &token, name), 4);
        ck_assert_str_eq(wbxml_page_name(page), page_name);
        ck_assert_str_eq(wbxml_tag_name(WBXML_TAG(page, token)), name);
        in_file++;
    }
    fclose(f);
    for (unsigned tag = 0; tag <= UINT16_MAX; tag++)
        named += wbxml_tag_name((uint16_t)tag) != NULL;
    ck_assert_uint_eq(named, in_file);
    ck_assert_uint_ge(named, 617);
    ck_assert_ptr_null(wbxml_page_name(3));
    ck_assert_ptr_null(wbxml_page_name(26));
    ck_assert_ptr_null(wbxml_page_name(256));
}
END_TEST

START_TEST(test_versions_of_tags)
{
    static const unsigned versions[] = {25, 120, 121, 140, 141, 160, 161};
    for (size_t i = 0; i < sizeof versions / sizeof versions[0]; i++) {
        unsigned v = versions[i];
        ck_assert(wbxml_tag_is_in(WBXML_AIRSYNC_SYNC, v));
        ck_assert_int_eq(wbxml_tag_is_in(WBXML_EMAIL_BODY, v), v == 25);
        ck_assert_int_eq(wbxml_tag_is_in(WBXML_AIRSYNCBASE_BODY, v), v >= 120);
        ck_assert_int_eq(wbxml_tag_is_in(WBXML_EMAIL2_CONVERSATIONID, v), v >= 140);
        ck_assert_int_eq(wbxml_tag_is_in(WBXML_FIND_FIND, v), v == 161);
    }
    ck_assert(!wbxml_tag_is_in(WBXML_AIRSYNC_SYNC, 0) && !wbxml_tag_is_in(WBXML_AIRSYNC_SYNC, 24));
    ck_assert(!wbxml_tag_is_in(0x0004, 141) && !wbxml_tag_is_in(0xffff, 141));
}
END_TEST

START_TEST(test_generated)
{
    ck_assert_int_eq(system("/usr/bin/python3 src/proto/wbxml_tags.py --check"), 0);
}
END_TEST

/* ---- tree ---- */

START_TEST(test_tree)
{
    struct buf doc = unhex(bodies[4].hex); /* the hanging Sync */
    struct wbxml_tree t;
    wbxml_tree_init(&t, 14);
    ck_assert_ptr_null(wbxml_root(&t));
    for (int round = 0; round < 3; round++) {
        ck_assert_int_eq(wbxml_parse(&t, doc.data, doc.len), 0);
        const struct wbxml_node *sync = wbxml_root(&t);
        ck_assert_uint_eq(sync->tag, WBXML_AIRSYNC_SYNC);
        ck_assert_uint_eq(sync->span, t.count);
        const struct wbxml_node *c =
            wbxml_find(wbxml_find(sync, WBXML_AIRSYNC_COLLECTIONS), WBXML_AIRSYNC_COLLECTION);
        ck_assert_str_eq(wbxml_string(wbxml_find(c, WBXML_AIRSYNC_SYNCKEY)), "1-1");
        ck_assert_str_eq(wbxml_string(wbxml_find(c, WBXML_AIRSYNC_COLLECTIONID)), FOLDER_TEXT);
        ck_assert_str_eq(wbxml_string(wbxml_find(c, WBXML_AIRSYNC_GETCHANGES)), "");
        ck_assert_str_eq(wbxml_string(wbxml_find(sync, WBXML_AIRSYNC_HEARTBEATINTERVAL)), "60");
        ck_assert_ptr_null(wbxml_string(wbxml_find(c, WBXML_AIRSYNC_STATUS)));
        ck_assert_ptr_null(wbxml_find(wbxml_find(sync, WBXML_AIRSYNC_STATUS), WBXML_AIRSYNC_SYNCKEY));
        const uint16_t children[] = {WBXML_AIRSYNC_SYNCKEY, WBXML_AIRSYNC_COLLECTIONID,
                                     WBXML_AIRSYNC_GETCHANGES, WBXML_AIRSYNC_WINDOWSIZE,
                                     WBXML_AIRSYNC_OPTIONS};
        const struct wbxml_node *child = wbxml_first(c);
        for (size_t i = 0; i < COUNT(children); i++, child = wbxml_next(c, child))
            ck_assert_uint_eq(child->tag, children[i]);
        ck_assert_ptr_null(child);
        ck_assert_ptr_null(wbxml_next(c, child));
    }
    buf_deinit(&doc);
    doc = unhex(H "45 46 01 47 c3 02 0001 01 06 47 03 62 00 01 01");
    ck_assert_int_eq(wbxml_parse(&t, doc.data, doc.len), 0);
    const struct wbxml_node *root = wbxml_root(&t), *a = wbxml_find(root, WBXML_AIRSYNC_ADD);
    ck_assert(a->opaque && a->len == 2 && memcmp(a->data, "\0\1", 2) == 0);
    ck_assert_ptr_null(wbxml_string(a));
    a = wbxml_find_next(root, a, WBXML_AIRSYNC_ADD);
    ck_assert_str_eq(wbxml_string(a), "b");
    ck_assert_ptr_null(wbxml_find_next(root, a, WBXML_AIRSYNC_ADD));
    ck_assert_ptr_null(wbxml_first(a));
    ck_assert_ptr_null(wbxml_first(NULL));
    ck_assert_ptr_null(wbxml_next(NULL, NULL));
    ck_assert_ptr_null(wbxml_find_next(NULL, NULL, 5));
    buf_deinit(&doc);
    wbxml_tree_deinit(&t);
}
END_TEST

/* Several runs in one element become one; runs beside elements are refused, empty strings apart. */
START_TEST(test_runs)
{
    static const struct {
        const char *hex;
        int rc;
        const char *data;
        size_t len;
        bool opaque;
    } cases[] = {
        {H "45 46 03 00 01 01", 0, "", 0, false},
        {H "45 46 03 61 00 03 6263 00 03 64 00 01 01", 0, "abcd", 4, false},
        {H "45 46 03 00 03 61 00 03 00 03 62 00 01 01", 0, "ab", 2, false},
        {H "45 46 c3 01 00 c3 02 0102 01 01", 0, "\0\1\2", 3, true},
        {H "45 46 03 61 00 c3 01 00 01 01", 0, "a", 2, true},
        {H "45 46 c3 01 00 03 61 00 01 01", 0, "\0a", 2, true},
        {H "45 46 c3 00 03 61 00 01 01", 0, "a", 1, true},
        {H "45 46 03 61 00 03 62 00 01 47 03 63 00 03 64 00 01 01", 0, "ab", 2, false},
        {H "45 03 00 46 01 03 00 01", 0, "", 0, false},
        {H "45 03 61 00 46 01 01", ERR_UNSUPPORTED, NULL, 0, false},
        {H "45 46 01 03 61 00 01", ERR_UNSUPPORTED, NULL, 0, false},
        {H "45 46 01 c3 00 01", ERR_UNSUPPORTED, NULL, 0, false},
        {H "45 c3 00 46 01 01", ERR_UNSUPPORTED, NULL, 0, false},
    };
    struct wbxml_tree t;
    wbxml_tree_init(&t, 100);
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct buf doc = unhex(cases[i].hex);
        uint8_t *exact = mem_alloc(doc.len);
        memcpy(exact, doc.data, doc.len);
        ck_assert_msg(wbxml_parse(&t, exact, doc.len) == cases[i].rc, "case %zu", i);
        if (cases[i].rc == 0) {
            const struct wbxml_node *n = wbxml_find(wbxml_root(&t), WBXML_AIRSYNC_RESPONSES);
            ck_assert_uint_eq(n->len, cases[i].len);
            ck_assert_mem_eq(n->data, cases[i].data, n->len);
            ck_assert_int_eq(n->opaque, cases[i].opaque);
            if (!n->opaque)
                ck_assert_uint_eq(strlen(wbxml_string(n)), n->len);
        } else {
            ck_assert_ptr_null(wbxml_root(&t));
        }
        free(exact);
        buf_deinit(&doc);
    }
    wbxml_tree_deinit(&t);
}
END_TEST

START_TEST(test_node_limit)
{
    for (size_t max = 0; max < 200; max += 66) {
        struct wbxml_tree t;
        wbxml_tree_init(&t, max);
        for (size_t n = 1; n < 210; n++) {
            struct wbxml_writer w;
            struct buf b;
            buf_init(&b, 4096);
            wbxml_begin(&w, &b);
            wbxml_open(&w, WBXML_AIRSYNC_SYNC);
            for (size_t i = 1; i < n; i++)
                wbxml_empty(&w, WBXML_AIRSYNC_ADD);
            wbxml_close(&w);
            ck_assert_int_eq(wbxml_parse(&t, b.data, b.len), n <= max ? 0 : ERR_TOO_BIG);
            ck_assert_uint_eq(t.count, n <= max ? n : 0);
            buf_deinit(&b);
        }
        ck_assert_uint_le(t.cap, max);
        wbxml_tree_deinit(&t);
    }
}
END_TEST

/* ---- writer ---- */

static void write_sample(struct wbxml_writer *w, struct buf *out)
{
    wbxml_begin(w, out);
    wbxml_open(w, WBXML_AIRSYNC_SYNC);
    wbxml_number(w, WBXML_AIRSYNC_STATUS, -1);
    wbxml_open(w, WBXML_AIRSYNC_APPLICATIONDATA);
    wbxml_element(w, WBXML_EMAIL_SUBJECT, "a");
    wbxml_element(w, WBXML_EMAIL_TO, "");
    wbxml_element(w, WBXML_EMAIL_CC, NULL);
    wbxml_open(w, WBXML_AIRSYNCBASE_BODY);
    wbxml_opaque(w, "\0\xff", 2);
    wbxml_close(w);
    wbxml_close(w);
    wbxml_empty(w, WBXML_AIRSYNC_MOREAVAILABLE);
    wbxml_open(w, WBXML_AIRSYNC_CLASS);
    wbxml_text_n(w, "Email!", 5);
    wbxml_text_n(w, NULL, 0);
    wbxml_close(w);
    wbxml_close(w);
}

START_TEST(test_writer)
{
    struct buf want = unhex(
        H
        "45 4e 03 2d31 00 01 5d 0002 54 03 61 00 01 16 17 0011 4a c3 02 00ff 01 01 0000 14 50 03 456d61696c "
        "00 03 00 01 01");
    for (size_t max = 0; max <= want.len; max++) { /* a full buffer stays what it is and is told at the end */
        struct wbxml_writer w;
        struct buf b;
        buf_init(&b, max);
        write_sample(&w, &b);
        ck_assert_int_eq(wbxml_finish(&w), max == want.len ? 0 : ERR_TOO_BIG);
        ck_assert_uint_le(b.len, max);
        if (max == want.len)
            ck_assert_mem_eq(b.data, want.data, want.len);
        buf_deinit(&b);
    }
    buf_deinit(&want);
}
END_TEST

START_TEST(test_writer_lengths)
{
    static const struct {
        size_t len;
        const char *hex;
    } cases[] = {{0, "00"},       {1, "01"},         {127, "7f"},         {128, "8100"},        {255, "817f"},
                 {16383, "ff7f"}, {16384, "818000"}, {2097151, "ffff7f"}, {2097152, "81808000"}};
    uint8_t *zeros = mem_zalloc(2097152);
    struct wbxml_tree t;
    wbxml_tree_init(&t, 1);
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct wbxml_writer w;
        struct buf b, length = unhex(cases[i].hex);
        buf_init(&b, 1 << 22);
        wbxml_begin(&w, &b);
        wbxml_open(&w, WBXML_COMPOSEMAIL_MIME);
        wbxml_opaque(&w, zeros, cases[i].len);
        wbxml_close(&w);
        ck_assert_int_eq(wbxml_finish(&w), 0);
        ck_assert_mem_eq(b.data + 8, length.data, length.len);
        ck_assert_uint_eq(b.len, 8 + length.len + cases[i].len + 1);
        ck_assert_int_eq(wbxml_parse(&t, b.data, b.len), 0);
        ck_assert_uint_eq(wbxml_root(&t)->len, cases[i].len);
        ck_assert(wbxml_root(&t)->opaque);
        buf_deinit(&length);
        buf_deinit(&b);
    }
    wbxml_tree_deinit(&t);
    free(zeros);
}
END_TEST

START_TEST(test_writer_nul)
{
    struct wbxml_writer w;
    struct buf b;
    buf_init(&b, 100);
    wbxml_begin(&w, &b);
    wbxml_open(&w, WBXML_AIRSYNC_SYNC);
    wbxml_text_n(&w, "a\0b", 3);
    wbxml_text(&w, "c");
    wbxml_close(&w);
    ck_assert_int_eq(wbxml_finish(&w), ERR_SYNTAX);
    buf_deinit(&b);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("wbxml");
    TCase *t = tcase_create("wbxml");
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, test_bodies, 0, (int)COUNT(bodies));
    tcase_add_loop_test(t, test_documents, 0, (int)COUNT(documents));
    tcase_add_test(t, test_depth);
    tcase_add_test(t, test_limits);
    tcase_add_test(t, test_stop);
    tcase_add_test(t, test_names);
    tcase_add_test(t, test_versions_of_tags);
    tcase_add_test(t, test_generated);
    tcase_add_test(t, test_tree);
    tcase_add_test(t, test_runs);
    tcase_add_test(t, test_node_limit);
    tcase_add_test(t, test_writer);
    tcase_add_test(t, test_writer_lengths);
    tcase_add_test(t, test_writer_nul);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
