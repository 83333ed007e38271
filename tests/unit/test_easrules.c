/* What a service lets requests do: paths, devices, users, versions. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "gate/easrules.h"

#define COUNT(a) (int)(sizeof(a) / sizeof((a)[0]))

/* ---- paths ---- */

static const struct {
    const char *allowed[3]; /* of the service; NULL ends */
    const char *target;
    enum eas_path path;
} targets[] = {
    {{"activesync"}, "/Microsoft-Server-ActiveSync", EAS_PATH_ACTIVESYNC},
    {{"activesync"}, "/Microsoft-Server-ActiveSync?Cmd=Ping", EAS_PATH_ACTIVESYNC},
    {{"activesync"}, "/microsoft-server-activesync?jAAJBA==", EAS_PATH_ACTIVESYNC},
    {{"activesync"}, "/traveler/Microsoft-Server-ActiveSync?Cmd=Sync", EAS_PATH_ACTIVESYNC},
    {{"activesync"}, "/Microsoft-Server-ActiveSync/", EAS_PATH_OTHER},
    {{"activesync"}, "/Microsoft-Server-ActiveSync/..%2fowa", EAS_PATH_OTHER},
    {{"activesync"}, "/Microsoft%2DServer-ActiveSync", EAS_PATH_OTHER},
    {{"activesync"}, "//Microsoft-Server-ActiveSync", EAS_PATH_OTHER},
    {{"activesync"}, "/Microsoft-Server-ActiveSync;x=/owa", EAS_PATH_OTHER},
    {{"activesync"}, "/Microsoft-Server-ActiveSyncX", EAS_PATH_OTHER},
    {{"activesync"}, "/Microsoft-Server-ActiveSyn", EAS_PATH_OTHER},
    {{"activesync"}, "/", EAS_PATH_OTHER},
    {{"activesync"}, "", EAS_PATH_OTHER},
    {{"activesync"}, "*", EAS_PATH_OTHER},
    {{"activesync"}, "?/Microsoft-Server-ActiveSync", EAS_PATH_OTHER},
    {{"activesync"}, "/autodiscover/autodiscover.xml", EAS_PATH_OTHER},
    {{"activesync", "autodiscover"}, "/Autodiscover/Autodiscover.xml", EAS_PATH_AUTODISCOVER},
    {{"autodiscover"}, "/autodiscover/autodiscover.json", EAS_PATH_OTHER},
    {{"autodiscover"}, "/Microsoft-Server-ActiveSync", EAS_PATH_OTHER},
    {{"ews"}, "/EWS/Exchange.asmx", EAS_PATH_EWS},
    {{"ews"}, "/ews/exchange.asmx?x=../y", EAS_PATH_EWS},
    {{"ews"}, "/ews/", EAS_PATH_OTHER},
    {{"ews"}, "/ews", EAS_PATH_OTHER},
    {{"ews"}, "/ews/../owa", EAS_PATH_OTHER},
    {{"ews"}, "/ews/.hidden", EAS_PATH_OTHER},
    {{"ews"}, "/ews//owa", EAS_PATH_OTHER},
    {{"ews"}, "/ews/a/../../owa", EAS_PATH_OTHER},
    {{"ews"}, "/ews/%2e%2e/owa", EAS_PATH_OTHER},
    {{"ews"}, "/ews/..\\owa", EAS_PATH_OTHER},
    {{"ews"}, "/ews/a;/../owa", EAS_PATH_OTHER},
    {{"/mail/Microsoft-Server-ActiveSync"},
     "/mail/Microsoft-Server-ActiveSync?Cmd=Sync",
     EAS_PATH_ACTIVESYNC},
    {{"/mail/Microsoft-Server-ActiveSync"}, "/MAIL/microsoft-server-activesync", EAS_PATH_ACTIVESYNC},
    {{"/mail/Microsoft-Server-ActiveSync"}, "/Microsoft-Server-ActiveSync", EAS_PATH_OTHER},
    {{"activesync"}, "/traveler", EAS_PATH_SYNCML},
    {{"activesync"}, "/traveler?deviceId=1", EAS_PATH_SYNCML},
    {{"activesync"}, "/Traveler/x", EAS_PATH_SYNCML},
    {{"activesync"}, "/servlet/traveler", EAS_PATH_SYNCML},
    {{"activesync"}, "/servlet/traveler/a?b", EAS_PATH_SYNCML},
    {{"activesync"}, "/travelers", EAS_PATH_OTHER},
    {{"/traveler"}, "/traveler", EAS_PATH_ACTIVESYNC}, /* who lists it has said what it is */
    {{NULL}, "/Microsoft-Server-ActiveSync", EAS_PATH_OTHER},
};

START_TEST(paths)
{
    struct service_settings s = {0};
    const char *allowed[3];
    memcpy(allowed, targets[_i].allowed, sizeof allowed);
    s.paths.items = allowed;
    while (s.paths.count < 3 && allowed[s.paths.count] != NULL)
        s.paths.count++;
    ck_assert_msg(easrules_path(&s, targets[_i].target) == targets[_i].path, "%s is %d", targets[_i].target,
                  easrules_path(&s, targets[_i].target));
}
END_TEST

static const struct {
    const char *type;
    bool is;
} types[] = {
    {"application/vnd.syncml+wbxml", true}, {"application/vnd.syncml+xml; charset=utf-8", true},
    {"Application/VND.SyncML", true},       {"application/vnd.ms-sync.wbxml", false},
    {"application/vnd.sync", false},        {"", false},
};

START_TEST(syncml)
{
    ck_assert_int_eq(easrules_is_syncml(types[_i].type), types[_i].is);
}
END_TEST

/* ---- devices ---- */

#define ALLOW 0
#define BLOCK 1

static const struct {
    struct device_rule rules[2];
    size_t count;
    struct device_facts device;
    bool blocked;
} devices[] = {
    {{{0}}, 0, {"a", "b", "c", "d"}, false},
    {{{BLOCK, .id = NULL}}, 1, {"", "", "", ""}, true}, /* a rule that names nothing fits all */
    {{{BLOCK, .id = "Android*"}}, 1, {"android77", "x", "", ""}, true},
    {{{BLOCK, .id = "Android*"}}, 1, {"Androi", "x", "", ""}, false},
    {{{BLOCK, .id = "Android*"}}, 1, {"my-android", "x", "", ""}, false},
    {{{BLOCK, .id = "*77"}}, 1, {"7", "", "", ""}, false},
    {{{BLOCK, .id = "*77"}}, 1, {"777", "", "", ""}, true},
    {{{BLOCK, .id = "a*b*c"}}, 1, {"a1b2b3c", "", "", ""}, true},
    {{{BLOCK, .id = "a*b*c"}}, 1, {"a1b2b3", "", "", ""}, false},
    {{{BLOCK, .id = "**"}}, 1, {"", "", "", ""}, true},
    {{{BLOCK, .id = ""}}, 1, {"x", "", "", ""}, false},
    {{{BLOCK, .id = ""}}, 1, {"", "", "", ""}, true},
    /* the two forms of one device: as the plain query tells it, and the bytes of the base64 one in hex */
    {{{BLOCK, .id = "iPhone1"}}, 1, {"6950686F6E6531", "", "", ""}, true},
    {{{BLOCK, .id = "6950686F6E6531"}}, 1, {"iPhone1", "", "", ""}, true},
    {{{BLOCK, .type = "iPad"}}, 1, {"x", "ipad", "", ""}, true},
    {{{BLOCK, .type = "iPad"}}, 1, {"x", "iPad2", "", ""}, false},
    {{{BLOCK, .agent = "*Outlook*"}}, 1, {"x", "", "Android-Outlook/1", ""}, true},
    {{{BLOCK, .user = "bob"}}, 1, {"x", "", "", "LAB\\Bob"}, true},
    {{{BLOCK, .user = "bob"}}, 1, {"x", "", "", "bob@example.com"}, true},
    {{{BLOCK, .user = "bob"}}, 1, {"x", "", "", "bobby"}, false},
    {{{BLOCK, .type = "iPad", .user = "bob"}}, 1, {"x", "iPad", "", "alice"}, false}, /* all has to fit */
    {{{ALLOW, .user = "bob"}, {BLOCK, .id = "*"}}, 2, {"x", "", "", "bob"}, false},
    {{{ALLOW, .user = "bob"}, {BLOCK, .id = "*"}}, 2, {"x", "", "", "eve"}, true},
    {{{BLOCK, .id = "*"}, {ALLOW, .user = "bob"}}, 2, {"x", "", "", "bob"}, true}, /* the first counts */
};

START_TEST(device_rules)
{
    struct service_settings s = {0};
    struct device_rule rules[2];
    memcpy(rules, devices[_i].rules, sizeof rules);
    s.devices.items = rules;
    s.devices.count = devices[_i].count;
    ck_assert_int_eq(easrules_is_blocked(&s, &devices[_i].device), devices[_i].blocked);
}
END_TEST

START_TEST(stars_cost_little)
{
    char pattern[256], text[4096];
    struct device_rule rule = {.action = BLOCK, .id = pattern};
    struct service_settings s = {.devices = {.items = &rule, .count = 1}};
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    for (size_t i = 0; i + 2 < sizeof pattern; i += 2)
        memcpy(pattern + i, "*a", 2);
    memcpy(pattern + sizeof pattern - 2, "b", 2);
    const struct device_facts d = {text, "", "", ""};
    for (int i = 0; i < 100; i++) /* would not end in this life if each star doubled the work */
        ck_assert(!easrules_is_blocked(&s, &d));
}
END_TEST

START_TEST(long_users)
{
    struct device_rule rule = {.action = BLOCK, .user = "a*"};
    struct service_settings s = {.devices = {.items = &rule, .count = 1}};
    char user[4096];
    memset(user, 'a', sizeof user - 1);
    user[sizeof user - 1] = '\0';
    ck_assert(easrules_is_blocked(&s, &(struct device_facts){"", "", "", user}));
}
END_TEST

/* ---- users ---- */

static const struct {
    const char *a, *b;
    bool same;
} users[] = {
    {"alice", "alice", true},
    {"alice", "ALICE", true},
    {"alice", "alic", false},
    {"alice", "LAB\\alice", true},
    {"alice", "alice@example.com", true},
    {"LAB\\alice", "alice@example.com", true}, /* kinds of domain that cannot be compared */
    {"LAB\\alice", "lab\\Alice", true},
    {"LAB\\alice", "OTHER\\alice", false},
    {"alice@example.com", "alice@EXAMPLE.com", true},
    {"alice@example.com", "alice@example.org", false},
    {"LAB\\alice@example.com", "LAB\\alice@example.org", false},
    {"alice@a@example.com", "alice@a", false}, /* the last @ parts */
    {"alice", "bob", false},
    {"", "", false}, /* nobody is not the same as nobody */
    {"LAB\\", "LAB\\", false},
    {"@example.com", "@example.com", false},
};

START_TEST(same_users)
{
    ck_assert_int_eq(easrules_same_user(users[_i].a, users[_i].b), users[_i].same);
    ck_assert_int_eq(easrules_same_user(users[_i].b, users[_i].a), users[_i].same);
}
END_TEST

static const struct {
    const char *user, *name;
} names[] = {
    {"alice", "alice"},
    {"LAB\\alice", "alice"},
    {"alice@example.com", "alice"},
    {"LAB\\alice@example.com", "alice"},
    {"LAB\\", ""},
    {"", ""},
};

START_TEST(user_names)
{
    size_t len;
    const char *name = easrules_user_name(names[_i].user, &len);
    ck_assert_uint_eq(len, strlen(names[_i].name));
    ck_assert_int_eq(strncmp(name, names[_i].name, len), 0);
}
END_TEST

/* ---- versions ---- */

static const struct {
    uint16_t floor, ceiling;
    unsigned version;
    bool allowed;
} versions[] = {
    {0, 0, 25, true},      {0, 0, 0, true},     {140, 0, 140, true},  {140, 0, 121, false},
    {140, 0, 161, true},   {0, 141, 141, true}, {0, 141, 160, false}, {140, 141, 160, false},
    {141, 141, 141, true}, {140, 0, 0, false},
};

START_TEST(version_limits)
{
    const struct service_settings s = {.activesync_floor = versions[_i].floor,
                                       .activesync_ceiling = versions[_i].ceiling};
    ck_assert_int_eq(easrules_allows_version(&s, versions[_i].version), versions[_i].allowed);
    ck_assert_int_eq(easrules_limits_versions(&s), versions[_i].floor != 0 || versions[_i].ceiling != 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("easrules");
    TCase *t = tcase_create("easrules");
    tcase_add_loop_test(t, paths, 0, COUNT(targets));
    tcase_add_loop_test(t, syncml, 0, COUNT(types));
    tcase_add_loop_test(t, device_rules, 0, COUNT(devices));
    tcase_add_test(t, stars_cost_little);
    tcase_add_test(t, long_users);
    tcase_add_loop_test(t, same_users, 0, COUNT(users));
    tcase_add_loop_test(t, user_names, 0, COUNT(names));
    tcase_add_loop_test(t, version_limits, 0, COUNT(versions));
    suite_add_tcase(s, t);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
