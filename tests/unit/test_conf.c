/* The configuration reader, where it reads: every type, defaults, lists, files, and the complaints that a
 * program adds itself. */
#include <errno.h>
#include <signal.h>
#include <unistd.h>

#include "conf_fixture.h"

#define HOUR INT64_C(3600000)

/* ---- what is read --------------------------------------------------------------------------- */

START_TEST(defaults_of_an_empty_file)
{
    static const char *const texts[] = {"",        "\n\n", "# nothing\n",  "---\n",
                                        "--- ~\n", "{}\n", "\xef\xbb\xbf", "---\n...\n"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct settings s;
        memset(&s, 0xff, sizeof s);
        struct conf *c = read_good(texts[i], &s);
        ck_assert_int_eq(s.workers, 4);
        ck_assert_int_eq(s.buffer, 65536);
        ck_assert_int_eq(s.expiration_ms, 168 * HOUR);
        ck_assert_ptr_null(s.name);
        ck_assert_str_eq(s.socket, "var/sock");
        ck_assert(!s.verbose);
        ck_assert_uint_eq(s.listeners.count, 0);
        ck_assert_ptr_null(s.ldap);
        ck_assert_int_eq(s.log.format, 2);
        ck_assert(s.log.colour);
        ck_assert(!conf_given(c, &s.workers));
        conf_free(c);
    }
}
END_TEST

START_TEST(every_type)
{
    struct settings s;
    struct conf *c =
        read_good("workers: 256\n"
                  "buffer: 1g\n"
                  "expiration: 7d\n"
                  "name: \"\"\n"
                  "socket: /run/s\n"
                  "verbose: on\n"
                  "offset: -5\n"
                  "listeners:\n"
                  "  - address: 127.0.0.1:8443\n"
                  "    certificate: [rsa.crt, ../ecdsa.crt]\n"
                  "    doors: activesync, socks\n"
                  "    handshake: 1m30s\n"
                  "  - {address: '[::1]:0', tls-floor: tls1.3, doors: [], certificate: one.crt}\n"
                  "services: [\"a.example:1\", 'b.example:2']\n"
                  "words: null and void\n"
                  "log: {format: json, colour: off}\n"
                  "ldap:\n"
                  "  url: ldap://127.0.0.1\n"
                  "  password: \"p: w\"\n"
                  "gateway: g.example:443\n"
                  "level: 14.0\n",
                  &s);
    ck_assert_int_eq(s.workers, 256);
    ck_assert_int_eq(s.buffer, 1 << 30);
    ck_assert_int_eq(s.expiration_ms, 168 * HOUR);
    ck_assert_str_eq(s.name, "");
    ck_assert_str_eq(s.socket, "/run/s");
    ck_assert(s.verbose);
    ck_assert_int_eq(s.offset, -5);

    struct listener *one = listener_at(&s, 0), *two = listener_at(&s, 1);
    ck_assert_uint_eq(s.listeners.count, 2);
    ck_assert_str_eq(one->address, "127.0.0.1:8443");
    ck_assert_uint_eq(one->certificates.count, 2);
    ck_assert_str_eq(word_at(&one->certificates, 1), "../ecdsa.crt");
    ck_assert_uint_eq(one->doors.count, 2);
    ck_assert_int_eq(((int *)one->doors.items)[0], 2);
    ck_assert_int_eq(((int *)one->doors.items)[1], 0);
    ck_assert_int_eq(one->handshake_ms, 90000);
    ck_assert_int_eq(one->tls_floor, 3);
    ck_assert_str_eq(two->address, "[::1]:0");
    ck_assert_int_eq(two->tls_floor, 4);
    ck_assert_uint_eq(two->doors.count, 0);
    ck_assert_uint_eq(two->certificates.count, 1);
    ck_assert_int_eq(two->handshake_ms, 10000);

    ck_assert_uint_eq(s.services.count, 2);
    ck_assert_str_eq(((struct place *)s.services.items)[1].host, "b.example");
    ck_assert_int_eq(((struct place *)s.services.items)[1].port, 2);
    ck_assert_str_eq(word_at(&s.words, 0), "null and void");
    ck_assert_int_eq(s.log.format, 1);
    ck_assert(!s.log.colour);
    ck_assert_str_eq(s.ldap->url, "ldap://127.0.0.1");
    ck_assert_str_eq(s.ldap->password, "p: w");
    ck_assert_str_eq(s.gateway.host, "g.example");
    ck_assert_int_eq(s.level, 1);
    conf_free(c);
}
END_TEST

START_TEST(numbers)
{
    static const struct {
        const char *text;
        int64_t buffer;
    } sizes[] = {{"4096", 4096},  {"4k", 4096},    {"4K", 4096},   {"64k", 65536},
                 {"1m", 1 << 20}, {"1M", 1 << 20}, {"1g", 1 << 30}};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        char text[64];
        struct settings s;
        snprintf(text, sizeof text, "buffer: '%s'\n", sizes[i].text);
        struct conf *c = read_good(text, &s);
        ck_assert_int_eq(s.buffer, sizes[i].buffer);
        conf_free(c);
    }
    static const struct {
        const char *text;
        int64_t ms;
    } hours[] = {{"0", 0},
                 {"1", HOUR},
                 {"24", 24 * HOUR},
                 {"30m", HOUR / 2},
                 {"1h30m", HOUR * 3 / 2},
                 {"876000", 876000 * HOUR}};
    for (size_t i = 0; i < sizeof hours / sizeof hours[0]; i++) {
        char text[64];
        struct settings s;
        snprintf(text, sizeof text, "expiration: %s\n", hours[i].text);
        struct conf *c = read_good(text, &s);
        ck_assert_int_eq(s.expiration_ms, hours[i].ms);
        conf_free(c);
    }
    static const struct {
        const char *text;
        bool value;
    } bools[] = {{"true", true}, {"yes", true},  {"on", true},   {"false", false},
                 {"no", false},  {"off", false}, {"'yes'", true}};
    for (size_t i = 0; i < sizeof bools / sizeof bools[0]; i++) {
        char text[64];
        struct settings s;
        snprintf(text, sizeof text, "verbose: %s\n", bools[i].text);
        struct conf *c = read_good(text, &s);
        ck_assert(s.verbose == bools[i].value);
        conf_free(c);
    }
}
END_TEST

START_TEST(lists)
{
    static const struct {
        const char *text;
        size_t count;
        const char *words[3];
    } cases[] = {
        {"words: one", 1, {"one"}},
        {"words: one,two", 2, {"one", "two"}},
        {"words: ' one ,\ttwo  , three '", 3, {"one", "two", "three"}},
        {"words: \"\"", 0, {0}},
        {"words: '  '", 0, {0}},
        {"words: []", 0, {0}},
        {"words: [one]", 1, {"one"}},
        {"words: ['one,two', \"\"]", 2, {"one,two", ""}},
        {"words:\n- one\n- two\n", 2, {"one", "two"}},
        {"words: >\n  one,\n  two\n", 2, {"one", "two"}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct settings s;
        struct conf *c = read_good(cases[i].text, &s);
        ck_assert_uint_eq(s.words.count, cases[i].count);
        for (size_t k = 0; k < cases[i].count; k++)
            ck_assert_str_eq(word_at(&s.words, k), cases[i].words[k]);
        conf_free(c);
    }

    struct settings s;
    struct conf *c = read_good("services: a.example:1\npins: 'a, b'\nlisteners: {address: x}\n", &s);
    ck_assert_uint_eq(s.services.count, 1);
    ck_assert_uint_eq(s.pins.count, 1);
    ck_assert_str_eq(word_at(&s.pins, 0), "a, b");
    ck_assert_str_eq(listener_at(&s, 0)->address, "x");
    conf_free(c);
}
END_TEST

/* A good list shares its line with nothing that could move; thousands of items keep their addresses and
 * places. */
START_TEST(many_items)
{
    FILE *f;
    char *text;
    size_t len;
    f = open_memstream(&text, &len);
    fputs("listeners:\n", f);
    for (int i = 0; i < 5000; i++)
        fprintf(f, "  - address: host-%d\n    doors: connect\n", i);
    fclose(f);
    struct settings s;
    struct conf *c = read_good(text, &s);
    ck_assert_uint_eq(s.listeners.count, 5000);
    for (size_t i = 0; i < 5000; i++) {
        char want[32];
        snprintf(want, sizeof want, "host-%zu", i);
        ck_assert_str_eq(listener_at(&s, i)->address, want);
    }
    conf_error(c, &listener_at(&s, 4999)->address, "last");
    int errors;
    char *out = print(c, &errors);
    ck_assert_str_eq(out, "sta.yaml:10000:14: last\n");
    free(out);
    conf_free(c);
    free(text);
}
END_TEST

/* ---- complaints of the caller's ------------------------------------------------------------- */

START_TEST(places_of_fields)
{
    struct settings s;
    struct conf *c = read_good("workers: 2\n"
                               "log:\n"
                               "  colour: no\n"
                               "listeners:\n"
                               "  - address: a\n"
                               "    doors: [socks]\n"
                               "  - tls-floor: tls1.3\n"
                               "    address: b\n"
                               "services: ['a:1', 'b:2']\n"
                               "ldap: {url: u}\n",
                               &s);
    struct listener *one = listener_at(&s, 0), *two = listener_at(&s, 1);
    struct place *services = s.services.items;

    ck_assert(conf_given(c, &s.workers));
    ck_assert(!conf_given(c, &s.buffer));
    ck_assert(conf_given(c, &s.listeners));
    ck_assert(conf_given(c, &one->doors) && !conf_given(c, &two->doors));
    ck_assert(!conf_given(c, &one->tls_floor) && conf_given(c, &two->tls_floor));
    ck_assert(!conf_given(c, &s.log.format)); /* first in its section: shares its address */
    ck_assert(conf_given(c, &s.ldap) && !conf_given(c, &s.ldap->password));

    conf_error(c, &s.workers, "workers %d", 2);
    conf_error(c, &s.log.format, "not given, in log");
    conf_error(c, &s.log.colour, "colour");
    conf_error(c, &s.listeners, "listeners");
    conf_error(c, &two->address, "second address");
    conf_error(c, &two->doors, "not given, in the second listener");
    conf_error(c, one, "the first listener's first field");
    conf_error(c, &((int *)one->doors.items)[0], "a door");
    conf_error(c, &services[1].port, "inside a custom item");
    conf_error(c, s.ldap, "ldap's url");
    conf_error(c, &s.ldap->password, "ldap has no password");
    conf_error(c, &s.gateway, "not given, at the top");
    conf_error(c, NULL, "the file");
    conf_warning(c, &s.workers, "a warning");
    ck_assert(!conf_ok(c));

    int errors;
    char *out = print(c, &errors);
    ck_assert_int_eq(errors, 13);
    ck_assert_str_eq(out, "sta.yaml: the file\n"
                          "sta.yaml:1:1: not given, at the top\n"
                          "sta.yaml:1:10: workers 2\n"
                          "sta.yaml:1:10: warning: a warning\n"
                          "sta.yaml:3:3: not given, in log\n"
                          "sta.yaml:3:11: colour\n"
                          "sta.yaml:5:3: listeners\n"
                          "sta.yaml:5:14: the first listener's first field\n"
                          "sta.yaml:6:13: a door\n"
                          "sta.yaml:7:5: not given, in the second listener\n"
                          "sta.yaml:8:14: second address\n"
                          "sta.yaml:9:19: inside a custom item\n"
                          "sta.yaml:10:7: ldap has no password\n"
                          "sta.yaml:10:13: ldap's url\n");
    free(out);
    conf_free(c);
}
END_TEST

START_TEST(warnings_are_no_errors)
{
    struct settings s;
    struct conf *c = read_good("workers: 2\n", &s);
    conf_warning(c, &s.workers, "few");
    ck_assert(conf_ok(c));
    int errors;
    char *out = print(c, &errors);
    ck_assert_int_eq(errors, 0);
    ck_assert_str_eq(out, "sta.yaml:1:10: warning: few\n");
    free(out);
    conf_free(c);
}
END_TEST

/* ---- files ---------------------------------------------------------------------------------- */

START_TEST(files)
{
    char folder[] = "/tmp/stagate-conf-XXXXXX";
    ck_assert_ptr_nonnull(mkdtemp(folder));
    char *path = mem_printf("%s/sta.yaml", folder);
    FILE *f = fopen(path, "w");
    fputs("socket: ../var/s\nlisteners: {address: a, certificate: [a.crt, /b.crt]}\n", f);
    fclose(f);

    struct settings s;
    struct conf *c = conf_read(path, &root, &s);
    ck_assert(conf_ok(c));
    char *want = mem_printf("%s/../var/s", folder);
    ck_assert_str_eq(s.socket, want);
    free(want);
    want = mem_printf("%s/a.crt", folder);
    ck_assert_str_eq(word_at(&listener_at(&s, 0)->certificates, 0), want);
    ck_assert_str_eq(word_at(&listener_at(&s, 0)->certificates, 1), "/b.crt");
    free(want);
    conf_free(c);

    ck_assert_int_eq(truncate(path, 0), 0);
    c = conf_read(path, &root, &s);
    ck_assert(conf_ok(c));
    want = mem_printf("%s/var/sock", folder); /* defaults go through the same reader */
    ck_assert_str_eq(s.socket, want);
    free(want);
    conf_free(c);

    /* /dev/zero never ends: reading stops at the limit */
    const char *const paths[] = {folder, "/nonexistent/sta.yaml", "/dev/zero"};
    const char *const why[] = {"Is a directory", "No such file or directory", "larger than 1048576 bytes"};
    for (size_t i = 0; i < 3; i++) {
        c = conf_read(paths[i], &root, &s);
        int errors;
        char *out = print(c, &errors);
        want = mem_printf("%s: cannot be read: %s\n", paths[i], why[i]);
        ck_assert_str_eq(out, want);
        ck_assert_int_eq(errors, 1);
        free(want);
        free(out);
        conf_free(c);
    }
    unlink(path);
    rmdir(folder);
    free(path);
    conf_free(NULL);
}
END_TEST

START_TEST(bad_default_is_a_programming_error)
{
    static const struct conf_key bad_keys[] = {{"n", CONF_INT, 0, .def = "11", .max = 10}, {0}};
    static const struct conf_section bad = {"bad", sizeof(int64_t), bad_keys};
    ck_assert_ptr_nonnull(freopen("/dev/null", "w", stderr)); /* the assertion speaks */
    int64_t out;
    conf_free(conf_read_text("f", "", 0, &bad, &out));
}
END_TEST

/* ---- options of a command line -------------------------------------------------------------- */

static void option(struct conf *c, struct settings *s, const char *name, const char *text,
                   const char *complaint)
{
    char *why = NULL;
    const struct conf_key *k = keys;
    while (strcmp(k->name, name) != 0)
        k++;
    int rc = conf_option(c, k, text, s, &why);
    ck_assert_msg((rc == 0) == (complaint == NULL), "%s %s: %s", name, text, why);
    if (complaint != NULL)
        ck_assert_msg(strstr(why, complaint) != NULL, "%s", why);
    free(why);
}

START_TEST(options_stand_above_the_file)
{
    struct settings s;
    struct conf *c = read_good("workers: 8\nwords: [a, b]\nname: file\n", &s);
    option(c, &s, "workers", "16", NULL);
    ck_assert_int_eq(s.workers, 16);
    option(c, &s, "workers", "257", "too large: at most 256");
    option(c, &s, "workers", "many", "not a whole decimal number");
    ck_assert_int_eq(s.workers, 16);
    option(c, &s, "buffer", "1m", NULL);
    ck_assert_int_eq(s.buffer, 1 << 20);
    option(c, &s, "verbose", NULL, NULL);
    ck_assert(s.verbose);
    option(c, &s, "verbose", "off", NULL);
    ck_assert(!s.verbose);
    option(c, &s, "socket", "here/sock", NULL); /* no file's folder in front */
    ck_assert_str_eq(s.socket, "here/sock");
    ck_assert(!conf_given(c, &s.offset));
    option(c, &s, "offset", "-5", NULL);
    ck_assert(conf_given(c, &s.offset));

    option(c, &s, "words", "c", NULL); /* the first replaces, the next is added */
    option(c, &s, "words", "d, e", NULL);
    const char *const *words = s.words.items;
    ck_assert_uint_eq(s.words.count, 3);
    ck_assert_str_eq(words[0], "c");
    ck_assert_str_eq(words[2], "e");
    option(c, &s, "words", "f,,g", "an item between commas is empty");
    ck_assert_uint_eq(s.words.count, 3);
    option(c, &s, "services", "a:1", NULL);
    option(c, &s, "services", "b:2", NULL);
    const struct place *services = s.services.items;
    ck_assert_uint_eq(s.services.count, 2);
    ck_assert_int_eq(services[1].port, 2);
    option(c, &s, "services", "c", "the port is missing");
    ck_assert_uint_eq(s.services.count, 2);
    conf_free(c);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("conf");
    TCase *t = tcase_create("conf");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, defaults_of_an_empty_file);
    tcase_add_test(t, every_type);
    tcase_add_test(t, numbers);
    tcase_add_test(t, lists);
    tcase_add_test(t, many_items);
    tcase_add_test(t, places_of_fields);
    tcase_add_test(t, warnings_are_no_errors);
    tcase_add_test(t, files);
    tcase_add_test(t, options_stand_above_the_file);
    tcase_add_test_raise_signal(t, bad_default_is_a_programming_error, SIGABRT);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
