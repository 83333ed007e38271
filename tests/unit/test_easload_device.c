/* A phone's side of ActiveSync against answers made by hand. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device.h"

static struct device_options options;
static struct device device;
static struct wbxml_tree tree;
static struct buf body, answer;
static struct device_request asked;
static struct failure why;
static struct wbxml_tree sent; /* what was asked, parsed */

static void setup(void)
{
    options = (struct device_options){.type = "Test",
                                      .agent = "test/1",
                                      .system = "none",
                                      .path = "/Microsoft-Server-ActiveSync",
                                      .ceiling = 161,
                                      .folders = 1u << FOLDER_INBOX | 1u << FOLDER_CALENDAR,
                                      .heartbeat_s = 900,
                                      .window = 50,
                                      .truncation = 20000,
                                      .mail_bytes = 100,
                                      .domain = "example.com"};
    device_init(&device, &options, "alice", "Phone1");
    wbxml_tree_init(&tree, 1000);
    wbxml_tree_init(&sent, 1000);
    buf_init(&body, 1 << 20);
    buf_init(&answer, 1 << 20);
    why.kind[0] = '\0';
}

static void teardown(void)
{
    device_deinit(&device);
    wbxml_tree_deinit(&tree);
    wbxml_tree_deinit(&sent);
    buf_deinit(&body);
    buf_deinit(&answer);
}

/* ---- a server by hand ---- */

static void ask(enum step step, enum verb verb)
{
    body.len = 0;
    ck_assert_int_eq(device_ask(&device, step, &asked, &body), 0);
    ck_assert_msg(asked.verb == verb, "%s was asked", verb_names[asked.verb]);
    if (asked.type != NULL && strcmp(asked.type, "application/vnd.ms-sync.wbxml") == 0)
        ck_assert_int_eq(wbxml_parse(&sent, body.data, body.len), 0);
}

static enum device_verdict tell(unsigned status, const char *type)
{
    const struct device_answer a = {.status = status, .type = type, .body = answer.data, .len = answer.len};
    return device_answer(&device, &asked, &a, &tree, &why);
}

static enum device_verdict reply(void)
{
    return tell(200, "application/vnd.ms-sync.wbxml");
}

/* Documents as a list: a tag with a text is an element, a tag with NULL opens one, 0 closes. */
struct part {
    uint16_t tag;
    const char *text;
};
#define END                                                                                                  \
    {                                                                                                        \
        0, NULL                                                                                              \
    }
#define OPEN(t)                                                                                              \
    {                                                                                                        \
        t, NULL                                                                                              \
    }
#define document(...)                                                                                        \
    make((const struct part[]){__VA_ARGS__}, sizeof((const struct part[]){__VA_ARGS__}) / sizeof(struct part))

static void make(const struct part *p, size_t n)
{
    struct wbxml_writer w;
    answer.len = 0;
    wbxml_begin(&w, &answer);
    for (size_t i = 0; i < n; i++) {
        if (p[i].tag == 0)
            wbxml_close(&w);
        else if (p[i].text == NULL)
            wbxml_open(&w, p[i].tag);
        else
            wbxml_element(&w, p[i].tag, p[i].text);
    }
    ck_assert_int_eq(wbxml_finish(&w), 0);
}

static void folders(void)
{
    document(OPEN(WBXML_FOLDERHIERARCHY_FOLDERSYNC), {WBXML_FOLDERHIERARCHY_STATUS, "1"},
             {WBXML_FOLDERHIERARCHY_SYNCKEY, "h1"}, OPEN(WBXML_FOLDERHIERARCHY_CHANGES),
             {WBXML_FOLDERHIERARCHY_COUNT, "3"}, OPEN(WBXML_FOLDERHIERARCHY_ADD),
             {WBXML_FOLDERHIERARCHY_SERVERID, "5"}, {WBXML_FOLDERHIERARCHY_TYPE, "2"}, END,
             OPEN(WBXML_FOLDERHIERARCHY_ADD), {WBXML_FOLDERHIERARCHY_SERVERID, "6"},
             {WBXML_FOLDERHIERARCHY_TYPE, "8"}, END, OPEN(WBXML_FOLDERHIERARCHY_ADD),
             {WBXML_FOLDERHIERARCHY_SERVERID, "7"}, {WBXML_FOLDERHIERARCHY_TYPE, "12"}, END, END, END);
}

static void know_folders(void)
{
    ck_assert_int_eq(device_begin(&device, STEP_FOLDER_SYNC, &why), DEVICE_AGAIN);
    ask(STEP_FOLDER_SYNC, VERB_FOLDER_SYNC);
    folders();
    ck_assert_int_eq(reply(), DEVICE_DONE);
    ck_assert_uint_eq(device.folder_count, 2);
}

static void collections(const char *status5, const char *key5, bool more5, const char *key6)
{
    struct wbxml_writer w;
    answer.len = 0;
    wbxml_begin(&w, &answer);
    wbxml_open(&w, WBXML_AIRSYNC_SYNC);
    wbxml_open(&w, WBXML_AIRSYNC_COLLECTIONS);
    for (int i = 0; i < 2; i++) {
        const char *key = i == 0 ? key5 : key6;
        if (key == NULL)
            continue;
        wbxml_open(&w, WBXML_AIRSYNC_COLLECTION);
        wbxml_element(&w, WBXML_AIRSYNC_SYNCKEY, key);
        wbxml_element(&w, WBXML_AIRSYNC_COLLECTIONID, i == 0 ? "5" : "6");
        wbxml_element(&w, WBXML_AIRSYNC_STATUS, i == 0 ? status5 : "1");
        if (i == 0 && more5)
            wbxml_empty(&w, WBXML_AIRSYNC_MOREAVAILABLE);
        wbxml_close(&w);
    }
    wbxml_close(&w);
    wbxml_close(&w);
    ck_assert_int_eq(wbxml_finish(&w), 0);
}

static void know_all(void)
{
    know_folders();
    ck_assert_int_eq(device_begin(&device, STEP_SYNC, &why), DEVICE_AGAIN);
    ask(STEP_SYNC, VERB_SYNC);
    collections("1", "a1", false, "b1");
    ck_assert_int_eq(reply(), DEVICE_AGAIN);
    ask(STEP_SYNC, VERB_SYNC);
    collections("1", "a2", false, "b2");
    ck_assert_int_eq(reply(), DEVICE_DONE);
}

static size_t asked_collections(void)
{
    const struct wbxml_node *all = wbxml_find(wbxml_root(&sent), WBXML_AIRSYNC_COLLECTIONS);
    size_t n = 0;
    for (const struct wbxml_node *c = wbxml_first(all); c != NULL; c = wbxml_next(all, c))
        n += c->tag == WBXML_AIRSYNC_COLLECTION;
    return n;
}

/* ---- OPTIONS ---- */

START_TEST(versions)
{
    static const struct {
        const char *offered;
        unsigned ceiling, fixed, want;
    } rows[] = {{"2.5,12.0,12.1,14.0,14.1,16.0,16.1", 161, 0, 161},
                {"2.5, 12.0 ,14.1", 161, 0, 141},
                {"2.5,12.0,16.1", 141, 0, 120},
                {"16.1", 141, 0, 0},
                {"", 161, 0, 0},
                {NULL, 161, 0, 0},
                {"nonsense,,;", 161, 0, 0},
                {"2.5", 161, 140, 140}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct device_answer a = {.status = 200, .type = "", .versions = rows[i].offered};
        options.ceiling = rows[i].ceiling;
        options.version = rows[i].fixed;
        device_reset(&device);
        ck_assert_int_eq(device_begin(&device, STEP_OPTIONS, &why), DEVICE_AGAIN);
        ask(STEP_OPTIONS, VERB_OPTIONS);
        ck_assert_ptr_null(asked.command);
        enum device_verdict v = device_answer(&device, &asked, &a, &tree, &why);
        ck_assert_msg(v == (rows[i].want ? DEVICE_DONE : DEVICE_FAILED), "%s", rows[i].offered);
        if (rows[i].want)
            ck_assert_uint_eq(device_version(&device), rows[i].want);
        else
            ck_assert_str_eq(why.kind, "no_version");
    }
}
END_TEST

/* ---- provisioning ---- */

static void policy(const char *status, const char *key)
{
    document(OPEN(WBXML_PROVISION_PROVISION), {WBXML_PROVISION_STATUS, "1"}, OPEN(WBXML_PROVISION_POLICIES),
             OPEN(WBXML_PROVISION_POLICY), {WBXML_PROVISION_STATUS, status}, {WBXML_PROVISION_POLICYKEY, key},
             END, END, END);
}

START_TEST(provisioning_has_two_halves)
{
    device_begin(&device, STEP_PROVISION, &why);
    ask(STEP_PROVISION, VERB_PROVISION);
    ck_assert_ptr_nonnull(wbxml_find(wbxml_root(&sent), WBXML_SETTINGS_DEVICEINFORMATION));
    policy("1", "111");
    ck_assert_int_eq(reply(), DEVICE_AGAIN);
    ask(STEP_PROVISION, VERB_PROVISION);
    const struct wbxml_node *p =
        wbxml_find(wbxml_find(wbxml_root(&sent), WBXML_PROVISION_POLICIES), WBXML_PROVISION_POLICY);
    ck_assert_str_eq(wbxml_string(wbxml_find(p, WBXML_PROVISION_POLICYKEY)), "111");
    ck_assert_str_eq(wbxml_string(wbxml_find(p, WBXML_PROVISION_STATUS)), "1");
    policy("1", "222");
    ck_assert_int_eq(reply(), DEVICE_DONE);
    ck_assert_str_eq(device.policy_key, "222");

    device_begin(&device, STEP_PROVISION, &why);
    ask(STEP_PROVISION, VERB_PROVISION);
    policy("2", ""); /* there is none */
    ck_assert_int_eq(reply(), DEVICE_DONE);
    ck_assert_str_eq(device.policy_key, "");

    device_begin(&device, STEP_PROVISION, &why);
    ask(STEP_PROVISION, VERB_PROVISION);
    document(OPEN(WBXML_PROVISION_PROVISION), {WBXML_PROVISION_STATUS, "1"}, {WBXML_PROVISION_REMOTEWIPE, ""},
             END);
    ck_assert_int_eq(reply(), DEVICE_FAILED);
    ck_assert_str_eq(why.kind, "remote_wipe");
}
END_TEST

START_TEST(a_server_that_wants_it_first)
{
    for (int by_http = 0; by_http < 2; by_http++) {
        device_reset(&device);
        device_begin(&device, STEP_FOLDER_SYNC, &why);
        ask(STEP_FOLDER_SYNC, VERB_FOLDER_SYNC);
        if (by_http) {
            answer.len = 0;
            ck_assert_int_eq(tell(449, ""), DEVICE_AGAIN);
        } else {
            document(OPEN(WBXML_FOLDERHIERARCHY_FOLDERSYNC), {WBXML_FOLDERHIERARCHY_STATUS, "142"}, END);
            ck_assert_int_eq(reply(), DEVICE_AGAIN);
            ck_assert_str_eq(why.kind, "status_142");
        }
        ask(STEP_FOLDER_SYNC, VERB_PROVISION);
        policy("1", "1");
        ck_assert_int_eq(reply(), DEVICE_AGAIN);
        ask(STEP_FOLDER_SYNC, VERB_PROVISION);
        policy("1", "2");
        ck_assert_int_eq(reply(), DEVICE_AGAIN);
        ask(STEP_FOLDER_SYNC, VERB_FOLDER_SYNC);
        folders();
        ck_assert_int_eq(reply(), DEVICE_DONE);
        ck_assert_str_eq(device.policy_key, "2");
    }
    /* one that always wants it is a failure in the end */
    device_begin(&device, STEP_SYNC, &why);
    unsigned asks = 0;
    enum device_verdict v = DEVICE_AGAIN;
    while (v == DEVICE_AGAIN && asks++ < 100) {
        body.len = 0;
        ck_assert_int_eq(device_ask(&device, STEP_SYNC, &asked, &body), 0);
        if (asked.verb == VERB_PROVISION)
            policy("1", "9");
        else
            document(OPEN(WBXML_AIRSYNC_SYNC), {WBXML_AIRSYNC_STATUS, "144"}, END);
        v = reply();
    }
    ck_assert_int_eq(v, DEVICE_FAILED);
    ck_assert_str_eq(why.kind, "status_144");
    ck_assert_uint_lt(asks, 20);
}
END_TEST

/* ---- folders and Sync ---- */

START_TEST(syncing)
{
    ck_assert_int_eq(device_begin(&device, STEP_SYNC, &why), DEVICE_FAILED);
    ck_assert_str_eq(why.kind, "no_folders");
    know_folders();
    device_begin(&device, STEP_SYNC, &why);
    ask(STEP_SYNC, VERB_SYNC);
    ck_assert_uint_eq(asked_collections(), 2);
    collections("1", "a1", false, "b1");
    ck_assert_int_eq(reply(), DEVICE_AGAIN);
    ask(STEP_SYNC, VERB_SYNC);
    collections("1", "a2", true, "b2");
    ck_assert_int_eq(reply(), DEVICE_AGAIN);
    ask(STEP_SYNC, VERB_SYNC);
    ck_assert_uint_eq(asked_collections(), 1); /* only that of which there is more */
    answer.len = 0;
    ck_assert_int_eq(reply(), DEVICE_DONE); /* empty: no changes */
    ck_assert_str_eq(device.folders[0].key, "a2");
    ck_assert_str_eq(device.folders[1].key, "b2");

    device_begin(&device, STEP_SYNC, &why);
    ask(STEP_SYNC, VERB_SYNC);
    collections("3", "0", false, NULL); /* the key is not known; the other folder is left out */
    ck_assert_int_eq(reply(), DEVICE_AGAIN);
    ck_assert_str_eq(device.folders[0].key, "0");
    ask(STEP_SYNC, VERB_SYNC);
    ck_assert_uint_eq(asked_collections(), 1);
    collections("1", "a9", false, NULL);
    ck_assert_int_eq(reply(), DEVICE_AGAIN);
    ask(STEP_SYNC, VERB_SYNC);
    collections("12", "0", false, NULL); /* the folders have changed */
    ck_assert_int_eq(reply(), DEVICE_AGAIN);
    ask(STEP_SYNC, VERB_FOLDER_SYNC);
    document(OPEN(WBXML_FOLDERHIERARCHY_FOLDERSYNC), {WBXML_FOLDERHIERARCHY_STATUS, "1"},
             {WBXML_FOLDERHIERARCHY_SYNCKEY, "h2"}, OPEN(WBXML_FOLDERHIERARCHY_CHANGES),
             OPEN(WBXML_FOLDERHIERARCHY_DELETE), {WBXML_FOLDERHIERARCHY_SERVERID, "5"}, END, END, END);
    ck_assert_int_eq(reply(), DEVICE_AGAIN);
    ck_assert_uint_eq(device.folder_count, 1);
    ask(STEP_SYNC, VERB_SYNC);
    answer.len = 0;
    ck_assert_int_eq(reply(), DEVICE_DONE);
}
END_TEST

START_TEST(items_are_looked_at)
{
    know_all();
    device_begin(&device, STEP_SYNC, &why);
    ask(STEP_SYNC, VERB_SYNC);
    document(OPEN(WBXML_AIRSYNC_SYNC), OPEN(WBXML_AIRSYNC_COLLECTIONS), OPEN(WBXML_AIRSYNC_COLLECTION),
             {WBXML_AIRSYNC_SYNCKEY, "a3"}, {WBXML_AIRSYNC_COLLECTIONID, "5"}, {WBXML_AIRSYNC_STATUS, "1"},
             OPEN(WBXML_AIRSYNC_COMMANDS), OPEN(WBXML_AIRSYNC_ADD), {WBXML_AIRSYNC_SERVERID, "5:1"},
             OPEN(WBXML_AIRSYNC_APPLICATIONDATA), {WBXML_EMAIL_DATERECEIVED, "2026-01-31T12:00:00.250Z"},
             OPEN(WBXML_AIRSYNCBASE_ATTACHMENTS), OPEN(WBXML_AIRSYNCBASE_ATTACHMENT),
             {WBXML_AIRSYNCBASE_FILEREFERENCE, "ref 1"}, END, END, END, END, END, END, END, END);
    ck_assert_int_eq(reply(), DEVICE_DONE);
    ck_assert_uint_eq(device.items, 1);
    ck_assert_int_eq(device.newest_ms, 1769860800250LL);
    ck_assert_str_eq(device.attachment, "ref 1");

    ck_assert_int_eq(device_begin(&device, STEP_ATTACHMENT, &why), DEVICE_AGAIN);
    ask(STEP_ATTACHMENT, VERB_FETCH);
    ck_assert_str_eq(asked.command, "ItemOperations");
    document(OPEN(WBXML_ITEMOPERATIONS_ITEMOPERATIONS), {WBXML_ITEMOPERATIONS_STATUS, "1"},
             OPEN(WBXML_ITEMOPERATIONS_RESPONSE), OPEN(WBXML_ITEMOPERATIONS_FETCH),
             {WBXML_ITEMOPERATIONS_STATUS, "15"}, END, END, END);
    ck_assert_int_eq(reply(), DEVICE_FAILED);
    ck_assert_str_eq(why.kind, "fetch_status_15");
    options.version = 25;
    device.version = 25;
    ask(STEP_ATTACHMENT, VERB_FETCH);
    ck_assert_str_eq(asked.command, "GetAttachment");
    ck_assert_str_eq(asked.extra, "&AttachmentName=%72%65%66%20%31");
    ck_assert_ptr_null(asked.type);
}
END_TEST

/* ---- Ping ---- */

static void pong(const char *status, const char *folder, const char *heartbeat)
{
    struct wbxml_writer w;
    answer.len = 0;
    wbxml_begin(&w, &answer);
    wbxml_open(&w, WBXML_PING_PING);
    wbxml_element(&w, WBXML_PING_STATUS, status);
    if (folder != NULL) {
        wbxml_open(&w, WBXML_PING_FOLDERS);
        wbxml_element(&w, WBXML_PING_FOLDER, folder);
        wbxml_close(&w);
    }
    if (heartbeat != NULL)
        wbxml_element(&w, WBXML_PING_HEARTBEATINTERVAL, heartbeat);
    wbxml_close(&w);
    ck_assert_int_eq(wbxml_finish(&w), 0);
}

START_TEST(pinging)
{
    know_all();
    device_begin(&device, STEP_PING, &why);
    ask(STEP_PING, VERB_PING);
    ck_assert_uint_eq(asked.heartbeat_s, 900);
    ck_assert(!asked.policy);
    pong("5", NULL, "470");
    ck_assert_int_eq(reply(), DEVICE_AGAIN);
    ask(STEP_PING, VERB_PING);
    ck_assert_uint_eq(asked.heartbeat_s, 470);
    ck_assert_str_eq(wbxml_string(wbxml_find(wbxml_root(&sent), WBXML_PING_HEARTBEATINTERVAL)), "470");
    pong("1", NULL, NULL);
    ck_assert_int_eq(reply(), DEVICE_DONE);

    device_begin(&device, STEP_PING, &why);
    ask(STEP_PING, VERB_PING);
    ck_assert_uint_eq(body.len, 0); /* as before */
    ck_assert_ptr_null(asked.type);
    pong("3", NULL, NULL); /* the server has forgotten */
    ck_assert_int_eq(reply(), DEVICE_AGAIN);
    ask(STEP_PING, VERB_PING);
    ck_assert_uint_gt(body.len, 0);
    pong("2", "6", NULL);
    ck_assert_int_eq(reply(), DEVICE_AGAIN);
    ask(STEP_PING, VERB_SYNC);
    ck_assert_uint_eq(asked_collections(), 1);
    collections("1", NULL, false, "b3");
    ck_assert_int_eq(reply(), DEVICE_DONE);
    ck_assert_str_eq(device.folders[1].key, "b3");

    device_begin(&device, STEP_PING, &why);
    ask(STEP_PING, VERB_PING);
    pong("7", NULL, NULL);
    ck_assert_int_eq(reply(), DEVICE_AGAIN);
    ask(STEP_PING, VERB_FOLDER_SYNC);
    document(OPEN(WBXML_FOLDERHIERARCHY_FOLDERSYNC), {WBXML_FOLDERHIERARCHY_STATUS, "1"},
             {WBXML_FOLDERHIERARCHY_SYNCKEY, "h2"}, END);
    ck_assert_int_eq(reply(), DEVICE_AGAIN);
    ask(STEP_PING, VERB_PING);
    pong("8", NULL, NULL);
    ck_assert_int_eq(reply(), DEVICE_FAILED);
    ck_assert_str_eq(why.kind, "ping_status_8");

    /* one that never finds a heartbeat good enough */
    device_begin(&device, STEP_PING, &why);
    enum device_verdict v = DEVICE_AGAIN;
    for (unsigned i = 0; i < 50 && v == DEVICE_AGAIN; i++) {
        ask(STEP_PING, VERB_PING);
        pong("5", NULL, i % 2 ? "60" : "61");
        v = reply();
    }
    ck_assert_int_eq(v, DEVICE_FAILED);
    ck_assert_str_eq(why.kind, "ping_status_5");
}
END_TEST

/* ---- mail ---- */

START_TEST(sending)
{
    device_begin(&device, STEP_SEND_MAIL, &why);
    ask(STEP_SEND_MAIL, VERB_SEND_MAIL);
    ck_assert(!asked.repeatable);
    const struct wbxml_node *mime = wbxml_find(wbxml_root(&sent), WBXML_COMPOSEMAIL_MIME);
    ck_assert(mime->opaque && strstr((const char *)mime->data, "From: alice@example.com\r\n") != NULL);
    answer.len = 0;
    ck_assert_int_eq(reply(), DEVICE_DONE);
    document(OPEN(WBXML_COMPOSEMAIL_SENDMAIL), {WBXML_COMPOSEMAIL_STATUS, "120"}, END);
    ck_assert_int_eq(reply(), DEVICE_FAILED);
    ck_assert_str_eq(why.kind, "status_120");
    device.version = 121;
    ask(STEP_SEND_MAIL, VERB_SEND_MAIL);
    ck_assert_str_eq(asked.type, "message/rfc822");
    ck_assert_str_eq(asked.extra, "&SaveInSent=T");
}
END_TEST

/* ---- answers that are none ---- */

START_TEST(nonsense)
{
    static const struct {
        unsigned status;
        const char *type, *body;
        size_t len;
        const char *kind;
    } rows[] = {
        {500, "", "", 0, "http_500"},
        {401, "text/html", "<html>", 6, "http_401"},
        {200, "text/html; charset=utf-8", "<html>sign in", 13, "html_answer"},
        {200, "application/vnd.ms-sync.wbxml", "", 0, "empty_answer"},
        {200, "application/vnd.ms-sync.wbxml", "hello", 5, "not_wbxml"},
        {200, "application/vnd.ms-sync.wbxml", "\x03\x01\x6a\x00", 4, "not_wbxml"},
        {200, "application/vnd.ms-sync.wbxml", "\x03\x01\x6a\x00\x05", 5, "wrong_root"},
        {200, "application/vnd.ms-sync.wbxml", "\x03\x01\x6a\x00\x00\x07\x16", 7, "folder_sync_status_0"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        device_begin(&device, STEP_FOLDER_SYNC, &why);
        ask(STEP_FOLDER_SYNC, VERB_FOLDER_SYNC);
        answer.len = 0;
        buf_append(&answer, rows[i].body, rows[i].len);
        ck_assert_int_eq(tell(rows[i].status, rows[i].type), DEVICE_FAILED);
        ck_assert_str_eq(why.kind, rows[i].kind);
    }
    const struct device_answer refused = {.status = 403, .type = "", .reason = "device_blocked"};
    ck_assert_int_eq(device_answer(&device, &asked, &refused, &tree, &why), DEVICE_FAILED);
    ck_assert_str_eq(why.kind, "device_blocked");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("easload_device");
    TCase *t = tcase_create("all");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, versions);
    tcase_add_test(t, provisioning_has_two_halves);
    tcase_add_test(t, a_server_that_wants_it_first);
    tcase_add_test(t, syncing);
    tcase_add_test(t, items_are_looked_at);
    tcase_add_test(t, pinging);
    tcase_add_test(t, sending);
    tcase_add_test(t, nonsense);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
