/* The configuration reader, where it complains: each case is a text and the exact output of conf_print, for
 * the messages are the product. Also what a hostile or careless file may hold: bytes that are no text,
 * aliases, depth, size. */
#include "conf_fixture.h"

/* ---- what is complained about --------------------------------------------------------------- */

START_TEST(unknown_keys)
{
    static const struct fault faults[] = {
        {"workers: 1\nlistner: x\n", "sta.yaml:2:1: unknown key \"listner\": did you mean \"listeners\"?\n"},
        {"Workers: 1\n", "sta.yaml:1:1: unknown key \"Workers\": did you mean \"workers\"?\n"},
        {"log:\n    formt: json\n", "sta.yaml:2:5: unknown key \"formt\": did you mean \"format\"?\n"},
        {"tls-floor: tls1.2\n", "sta.yaml:1:1: unknown key \"tls-floor\": it belongs in listeners\n"},
        {"log: {xyzzy: 1}\n", "sta.yaml:1:7: unknown key \"xyzzy\": the keys here are format, colour\n"},
        {"log: {'': 1}\n", "sta.yaml:1:7: unknown key \"\": the keys here are format, colour\n"},
        {"log: {\"a\\nb\\e[31m\": 1}\n",
         "sta.yaml:1:7: unknown key \"a\\nb\\x1b[31m\": the keys here are format, colour\n"},
        {"log: {\"format\\0\": json}\n",
         "sta.yaml:1:7: unknown key \"format\\x00\": did you mean \"format\"?\n"},
        {"log: {<<: {}}\n", "sta.yaml:1:7: merge keys (<<) are not used here: write the keys out\n"},
        {"log: {[a]: 1}\n", "sta.yaml:1:7: expected a key, found a list\n"},
        {"log: {{a: b}: 1}\n", "sta.yaml:1:7: expected a key, found a mapping\n"},
        {"radius: x\n", "sta.yaml:1:1: radius: this version does not support it\n"},
        {"radiu: x\n",
         "sta.yaml:1:1: unknown key \"radiu\": the keys here are workers, buffer, expiration, name, socket, "
         "verbose, offset, listeners, services, words, pins, log, ldap, gateway, level\n"},
    };
    CHECK_FAULTS(faults);
}
END_TEST

START_TEST(missing_and_repeated)
{
    static const struct fault faults[] = {
        {"listeners:\n  - doors: socks\n  - address: x\n",
         "sta.yaml:2:5: listeners: the key \"address\" is missing\n"},
        {"ldap: {}\n", "sta.yaml:1:7: ldap: the key \"url\" is missing\n"},
        {"workers: 1\n\nworkers: 2\n", "sta.yaml:3:1: the key \"workers\" is given twice: first in line 1\n"},
        {"workers:\n", "sta.yaml:1:1: workers: has no value\n"},
        {"workers: ~\n", "sta.yaml:1:1: workers: has no value\n"},
        {"log: # nothing\nname: null\n",
         "sta.yaml:1:1: log: has no value\nsta.yaml:2:1: name: has no value\n"},
        {"ldap: NULL\n", "sta.yaml:1:1: ldap: has no value\n"},
        {"listeners:\nwords: Null\n",
         "sta.yaml:1:1: listeners: has no value\nsta.yaml:2:1: words: has no value\n"},
        {"words: [a, ~, '', b]\n", "sta.yaml:1:12: words: an item has no value\n"},
        {"listeners:\n  -\n  - address: x\n", "sta.yaml:2:4: listeners: an item has no value\n"},
        {"words: 'a,,b, '\n", "sta.yaml:1:11: words: an item between commas is empty\nsta.yaml:1:15: words: "
                              "an item between commas is empty\n"},
    };
    CHECK_FAULTS(faults);
}
END_TEST

START_TEST(required_at_the_top)
{
    static const struct conf_key sub_keys[] = {
        {"deep", CONF_INT, 0, .flags = CONF_REQUIRED},
        {0},
    };
    static const struct conf_section sub = {"sub", sizeof(int64_t), sub_keys};
    static const struct conf_key top_keys[] = {
        {"first", CONF_INT, 0, .flags = CONF_REQUIRED},
        {"many", CONF_STRING, 8, .flags = CONF_REQUIRED | CONF_LIST},
        {"sub", CONF_SECTION, 24, .section = &sub},
        {0},
    };
    static const struct conf_section top = {"top", 64, top_keys};
    static const struct fault faults[] = {
        {"", "f:1:1: the key \"first\" is missing\nf:1:1: the key \"many\" is missing\n"
             "f:1:1: sub: the key \"deep\" is missing\n"},
        {"# comment\n\nfirst: 1\nmany: []\nsub: x\n",
         "f:4:7: many: needs at least one item\nf:5:6: sub: expected a mapping (key: value), found text\n"},
        {"first: 1\nmany: [~]\nsub: {}\n",
         "f:2:8: many: an item has no value\nf:3:6: sub: the key \"deep\" is missing\n"},
        {"[]", "f:1:1: expected a mapping (key: value), found a list\n"},
        {"\n text\n", "f:2:2: expected a mapping (key: value), found text\n"},
    };
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        uint64_t out[8];
        struct conf *c = conf_read_text("f", faults[i].text, strlen(faults[i].text), &top, out);
        int errors;
        char *text = print(c, &errors);
        ck_assert_str_eq(text, faults[i].expected);
        ck_assert(errors > 0 && !conf_ok(c));
        free(text);
        conf_free(c);
    }
}
END_TEST

START_TEST(wrong_kinds)
{
    static const struct fault faults[] = {
        {"services:\n  - mail.example.com: 443\n  - b: 1\n",
         "sta.yaml:2:5: services: \"mail.example.com: 443\" without quotes is a YAML mapping: write "
         "\"mail.example.com:443\" in quotes\n"
         "sta.yaml:3:5: services: \"b: 1\" without quotes is a YAML mapping: write \"b:1\" in quotes\n"},
        {"services: [mail.example.com: 443]\n",
         "sta.yaml:1:12: services: \"mail.example.com: 443\" without quotes is a YAML mapping: write "
         "\"mail.example.com:443\" in quotes\n"},
        {"services:\n  mail.example.com: 443\n",
         "sta.yaml:2:3: services: \"mail.example.com: 443\" without quotes is a YAML mapping: write "
         "\"mail.example.com:443\" in quotes\n"},
        {"gateway: {g: 1}\n",
         "sta.yaml:1:10: gateway: \"g: 1\" without quotes is a YAML mapping: write \"g:1\" in quotes\n"},
        {"gateway: {g: 1, h: 2}\n",
         "sta.yaml:1:10: gateway: expected text, found a mapping: write HOST:PORT\n"},
        {"gateway: {g:1}\n", "sta.yaml:1:10: gateway: expected text, found a mapping: write HOST:PORT\n"},
        {"gateway: {g: [1]}\n", "sta.yaml:1:10: gateway: expected text, found a mapping: write HOST:PORT\n"},
        {"name: [a]\n", "sta.yaml:1:7: name: expected text, found a list\n"},
        {"socket: [a]\n", "sta.yaml:1:9: socket: expected a path, found a list\n"},
        {"workers: {a: 1}\n", "sta.yaml:1:10: workers: expected a whole number, found a mapping\n"},
        {"words: [[a]]\n", "sta.yaml:1:9: words: expected text, found a list\n"},
        {"listeners: 127.0.0.1:8443\n",
         "sta.yaml:1:12: listeners: expected a list of mappings (key: value), found "
         "text: write - address: HOST:PORT\n"},
        {"listeners: [[]]\n",
         "sta.yaml:1:13: listeners: expected a mapping (key: value), found a list: write - "
         "address: HOST:PORT\n"},
        {"log: json\n", "sta.yaml:1:6: log: expected a mapping (key: value), found text\n"},
    };
    CHECK_FAULTS(faults);
}
END_TEST

START_TEST(wrong_values)
{
    static const struct fault faults[] = {
        {"workers: 0\n", "sta.yaml:1:10: workers: \"0\" is too small: at least 1\n"},
        {"workers: 257\n", "sta.yaml:1:10: workers: \"257\" is too large: at most 256\n"},
        {"workers: 99999999999999999999999\n",
         "sta.yaml:1:10: workers: \"99999999999999999999999\" is too large: at most 256\n"},
        {"offset: -6\n", "sta.yaml:1:9: offset: \"-6\" is too small: at least -5\n"},
        {"offset: -99999999999999999999999\n",
         "sta.yaml:1:9: offset: \"-99999999999999999999999\" is too small: at least -5\n"},
        {"workers: 0x10\n", "sta.yaml:1:10: workers: \"0x10\" is not a whole decimal number\n"},
        {"workers: 010\n", "sta.yaml:1:10: workers: \"010\" is not a whole decimal number\n"},
        {"workers: 1e3\n", "sta.yaml:1:10: workers: \"1e3\" is not a whole decimal number\n"},
        {"workers: 1_000\n", "sta.yaml:1:10: workers: \"1_000\" is not a whole decimal number\n"},
        {"workers: +1\n", "sta.yaml:1:10: workers: \"+1\" is not a whole decimal number\n"},
        {"workers: '-'\n", "sta.yaml:1:10: workers: \"-\" is not a whole decimal number\n"},
        {"workers: ''\n", "sta.yaml:1:10: workers: \"\" is not a whole decimal number\n"},
        {"workers: 1.5\n", "sta.yaml:1:10: workers: \"1.5\" is not a whole decimal number\n"},
        {"buffer: 1k\n", "sta.yaml:1:9: buffer: \"1k\" is too small: at least 4k\n"},
        {"buffer: 2g\n", "sta.yaml:1:9: buffer: \"2g\" is too large: at most 1g\n"},
        {"buffer: 9000000000000g\n", "sta.yaml:1:9: buffer: \"9000000000000g\" is too large: at most 1g\n"},
        {"buffer: 64kb\n",
         "sta.yaml:1:9: buffer: \"64kb\" is not a size: write bytes as a number, or with k, m or g (64k)\n"},
        {"buffer: k\n",
         "sta.yaml:1:9: buffer: \"k\" is not a size: write bytes as a number, or with k, m or g (64k)\n"},
        {"buffer: -1\n",
         "sta.yaml:1:9: buffer: \"-1\" is not a size: write bytes as a number, or with k, m or g (64k)\n"},
        {"expiration: -1\n",
         "sta.yaml:1:13: expiration: a duration is a number and a unit, such as 30s, 15m, 168h or 7d\n"},
        {"expiration: 99999999999999\n",
         "sta.yaml:1:13: expiration: too long: a duration is at most 100 years\n"},
        {"verbose: maybe\n", "sta.yaml:1:10: verbose: \"maybe\" is not true or false\n"},
        {"verbose: True\n", "sta.yaml:1:10: verbose: \"True\" is not true or false\n"},
        {"verbose: 1\n", "sta.yaml:1:10: verbose: \"1\" is not true or false\n"},
        {"listeners:\n  - address: a\n    tls-floor: tls1.4\n",
         "sta.yaml:3:16: tls-floor: \"tls1.4\" is not one of ssl3, tls1.0, tls1.1, tls1.2, tls1.3: did you "
         "mean "
         "\"tls1.3\"?\n"},
        {"listeners:\n  - address: a\n    handshake: 30\n",
         "sta.yaml:3:16: handshake: the unit is missing: write 30s, 15m, 168h or 7d\n"},
        {"listeners:\n  - address: a\n    handshake: 2h\n",
         "sta.yaml:3:16: handshake: \"2h\" is too long: at most 10m\n"},
        {"listeners:\n  - address: a\n    handshake: 5ms\n",
         "sta.yaml:3:16: handshake: \"5ms\" is too short: at least 1s\n"},
        {"log: {format: yaml}\n", "sta.yaml:1:15: format: \"yaml\" is not one of auto, json, text\n"},
        {"level: 12.10\n",
         "sta.yaml:1:8: level: \"12.10\" is not one of 12.1, 14.0, 16.1: did you mean \"12.1\"?\n"},
        {"gateway: g.example\n",
         "sta.yaml:1:10: gateway: \"g.example\": the port is missing: write host:443\n"},
        {"services: [a:1, b, c]\n", "sta.yaml:1:17: services: \"b\": the port is missing: write host:443\n"
                                    "sta.yaml:1:20: services: \"c\": the port is missing: write host:443\n"},
        {"gateway: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx:1\n",
         "sta.yaml:1:10: gateway: "
         "\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx:1\": too "
         "big\n"},
        {"gateway: odd:1\n", "sta.yaml:1:10: warning: an odd place\n"},
        {"socket: ''\n", "sta.yaml:1:9: socket: expected a path, found an empty text\n"},
        {"name: \"a\\0b\"\n", "sta.yaml:1:7: name: a text must not contain a NUL character\n"},
        {"words: \"a, b\\0, c\"\n", "sta.yaml:1:8: words: a text must not contain a NUL character\n"},
    };
    CHECK_FAULTS(faults);
}
END_TEST

/* Items of a text with commas are pointed at where the text shows as it is, else at its beginning. */
START_TEST(places_inside_a_text)
{
    static const struct fault faults[] = {
        {"listeners: {address: a, doors: 'socks,  conect, x'}\n",
         "sta.yaml:1:41: doors: \"conect\" is not one of socks, connect, activesync: did you mean "
         "\"connect\"?\n"
         "sta.yaml:1:49: doors: \"x\" is not one of socks, connect, activesync\n"},
        {"listeners:\n  address: a\n  doors: socks,  conect\n",
         "sta.yaml:3:18: doors: \"conect\" is not one of socks, connect, activesync: did you mean "
         "\"connect\"?\n"},
        {"listeners:\n  address: a\n  doors: \"\xc3\xa4,socks,\\x61\"\n",
         "sta.yaml:3:10: doors: \"\xc3\xa4\" is not one of socks, connect, activesync\n"
         "sta.yaml:3:10: doors: \"a\" is not one of socks, connect, activesync\n"},
        {"listeners:\n  address: a\n  doors: \xc3\xa4,x,socks\n",
         "sta.yaml:3:10: doors: \"\xc3\xa4\" is not one of socks, connect, activesync\n"
         "sta.yaml:3:12: doors: \"x\" is not one of socks, connect, activesync\n"},
        {"listeners:\n  address: a\n  doors: socks,\n    conect\n",
         "sta.yaml:3:10: doors: \"conect\" is not one of socks, connect, activesync: did you mean "
         "\"connect\"?\n"},
    };
    CHECK_FAULTS(faults);
}
END_TEST

/* A value that may be a password is not repeated, whatever is wrong with it. */
START_TEST(secrets_stay_secret)
{
    static const char *const texts[] = {
        "ldap: {url: u, password: {hunter2: hunter2}}\n",
        "ldap: {url: u, password: [hunter2]}\n",
        "ldap: {url: u, password: \"hunter2\\0\"}\n",
        "pins:\n  - hunter2: hunter2\n",
        "pins: {hunter2: x}\n",
        "pins: [[hunter2]]\n",
        "ldap: {url: u, passwort: hunter2}\n",
        "ldap:\n  url: u\n  password: hunter2: x\n",
        "ldap:\n  url: u\n  password: 'hunter2\n",
        "ldap: {url: u, password: hunter2, password: hunter2}\n",
        "ldap:\n  url: u\n  password: @hunter2\n",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct settings s;
        struct conf *c = conf_read_text("sta.yaml", texts[i], strlen(texts[i]), &root, &s);
        int errors;
        char *out = print(c, &errors);
        ck_assert_msg(errors > 0, "%s", texts[i]);
        ck_assert_msg(strstr(out, "hunter2") == NULL, "%s", out);
        free(out);
        conf_free(c);
    }
}
END_TEST

/* A secret of a type that quotes what it was given. */
START_TEST(secret_types)
{
    static const struct conf_key secret_keys[] = {
        {"number", CONF_INT, 0, .flags = CONF_SECRET, .max = 10},
        {"size", CONF_SIZE, 0, .flags = CONF_SECRET, .max = 10},
        {"time", CONF_DURATION, 0, .flags = CONF_SECRET, .max = 10},
        {"flag", CONF_BOOL, 0, .flags = CONF_SECRET},
        {"word", CONF_ENUM, 0, .flags = CONF_SECRET, .names = door_names},
        {"place", CONF_CUSTOM, 0, .flags = CONF_SECRET, .parse = parse_place},
        {0},
    };
    static const struct conf_section secrets = {"secrets", sizeof(struct place), secret_keys};
    static const char text[] =
        "number: 31337\nsize: 31337\ntime: 31337s\nflag: 31337\nword: sock\nplace: 31337\n";
    struct place out;
    struct conf *c = conf_read_text("f", text, strlen(text), &secrets, &out);
    int errors;
    char *printed = print(c, &errors);
    ck_assert_str_eq(printed, "f:1:9: number: the value is too large: at most 10\n"
                              "f:2:7: size: the value is too large: at most 10\n"
                              "f:3:7: time: the value is too long: at most 10ms\n"
                              "f:4:7: flag: the value is not true or false\n"
                              "f:5:7: word: the value is not one of socks, connect, activesync\n"
                              "f:6:8: place: the value: the port is missing: write host:443\n");
    free(printed);
    conf_free(c);
}
END_TEST

START_TEST(yaml_itself)
{
    static const struct fault faults[] = {
        {"log:\n\tformat: json\n",
         "sta.yaml:2:1: found character that cannot start any token: a tab: indent with blanks\n"},
        {"name: @x\n", "sta.yaml:1:7: found character that cannot start any token: a text that starts with @ "
                       "needs quotes\n"},
        {"name: mail.example.com: 443\n", "sta.yaml:1:23: mapping values are not allowed in this context: a "
                                          "text with \": \" in it or a colon at its end "
                                          "needs quotes, or the indentation does not fit\n"},
        {"name: memory:\n", "sta.yaml:1:13: mapping values are not allowed in this context: a text with \": "
                            "\" in it or a colon at its end "
                            "needs quotes, or the indentation does not fit\n"},
        {"log:\n  format: json\n colour: yes\n", "sta.yaml:3:2: did not find expected key: the indentation "
                                                 "does not fit the lines above (while parsing a block "
                                                 "mapping that begins in line 1)\n"},
        {"words: [a, b\nname: x\n", "sta.yaml:2:5: did not find expected ',' or ']': a list in brackets "
                                    "separates its items with commas (while "
                                    "parsing a flow sequence that begins in line 1)\n"},
        {"name: 'x\n", "sta.yaml:2:1: found unexpected end of stream (while scanning a quoted scalar that "
                       "begins in line 1)\n"},
        {"name: &n x\n",
         "sta.yaml:1:7: anchors (&n) are not used here: write the value where it is needed\n"},
        {"name: !!str x\n", "sta.yaml:1:7: tags (!...) are not used here: write the value alone\n"},
        {"log: !x {format: json}\n", "sta.yaml:1:6: tags (!...) are not used here: write the value alone\n"},
        {"name: *n\n", "sta.yaml:1:7: aliases (*n) are not used here: write the value out\n"},
        /* an alias of itself and one of many: read once each, and in finite time */
        {"words: &w [*w, *w]\n",
         "sta.yaml:1:8: anchors (&w) are not used here: write the value where it is needed\n"
         "sta.yaml:1:12: aliases (*w) are not used here: write the value out\n"
         "sta.yaml:1:16: aliases (*w) are not used here: write the value out\n"},
        {"log: &l {format: xml}\nldap: *l\n",
         "sta.yaml:1:6: anchors (&l) are not used here: write the value where it is needed\n"
         "sta.yaml:1:18: format: \"xml\" is not one of auto, json, text\n"
         "sta.yaml:2:7: aliases (*l) are not used here: write the value out\n"},
    };
    CHECK_FAULTS(faults);
}
END_TEST

START_TEST(several_documents)
{
    static const struct fault faults[] = {
        {"name: a\n---\nname: b\n---\n",
         "sta.yaml:2:1: a second YAML document: a configuration is one document\n"},
        {"workers: 0\n--- {x: &y 1}\n",
         "sta.yaml:1:10: workers: \"0\" is too small: at least 1\n"
         "sta.yaml:2:1: a second YAML document: a configuration is one document\n"
         "sta.yaml:2:9: anchors (&y) are not used here: write the value where it is needed\n"},
    };
    CHECK_FAULTS(faults);
}
END_TEST

START_TEST(bytes)
{
    static const struct {
        const char *text;
        size_t len;
        const char *expected;
    } cases[] = {
        {"name: x\nname: \xe4\n", 16, "sta.yaml:2:7: byte 0xe4 is not UTF-8: save the file as UTF-8 text\n"},
        {"# \xc3\xa4\xc3\xb6 \xff\n", 9,
         "sta.yaml:1:6: byte 0xff is not UTF-8: save the file as UTF-8 text\n"},
        {"\xff\xfen\0a\0", 6, "sta.yaml:1:1: byte 0xff is not UTF-8: save the file as UTF-8 text\n"},
        {"name: \xed\xa0\x80\n", 10, "sta.yaml:1:7: byte 0xed is not UTF-8: save the file as UTF-8 text\n"},
        {"name: \xc0\xaf\n", 9, "sta.yaml:1:7: byte 0xc0 is not UTF-8: save the file as UTF-8 text\n"},
        {"name: \xf4\x90\x80\x80\n", 11,
         "sta.yaml:1:7: byte 0xf4 is not UTF-8: save the file as UTF-8 text\n"},
        {"name: \xe2\x82", 8, "sta.yaml:1:7: byte 0xe2 is not UTF-8: save the file as UTF-8 text\n"},
        {"name: a\0b\n", 10, "sta.yaml:1:8: control character U+0000: a configuration is text\n"},
        {"name: \x1b[31m\n", 12, "sta.yaml:1:7: control character U+001B: a configuration is text\n"},
        {"name: \xc2\x9b\n", 9, "sta.yaml:1:7: control character U+009B: a configuration is text\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        expect_output(cases[i].text, cases[i].len, cases[i].expected);

    struct settings s;
    struct conf *c = read_good("\xef\xbb\xbfname: \xf0\x9f\x93\xa7 \xc3\xa4\r\nworkers: 3\r\n", &s);
    ck_assert_str_eq(s.name, "\xf0\x9f\x93\xa7 \xc3\xa4");
    ck_assert_int_eq(s.workers, 3);
    conf_error(c, &s.name, "behind the mark");
    int errors;
    char *out = print(c, &errors);
    ck_assert_str_eq(out, "sta.yaml:1:7: behind the mark\n");
    free(out);
    conf_free(c);
}
END_TEST

START_TEST(limits)
{
    size_t len = 1024 * 1024;
    char *text = mem_alloc(len + 1);
    memset(text, '#', len + 1);
    expect_output(text, len, "");
    expect_output(text, len + 1, "sta.yaml: cannot be read: larger than 1048576 bytes\n");

    /* a list in a list in a list ...: 31 brackets inside the mapping are 32 levels */
    for (size_t depth = 31; depth <= 33; depth++) {
        char *p = text + sprintf(text, "log: ");
        memset(p, '[', depth);
        memset(p + depth, ']', depth);
        expect_output(text, 5 + 2 * depth,
                      depth <= 31 ? "sta.yaml:1:6: log: expected a mapping (key: value), found a list\n"
                                  : "sta.yaml:1:37: nested deeper than 32 levels\n");
    }
    memset(text, '[', len);
    expect_output(text, len, "sta.yaml:1:33: nested deeper than 32 levels\n");
    free(text);
}
END_TEST

START_TEST(long_values_are_cut)
{
    char text[2000] = "workers: ";
    memset(text + 9, '7', 1000);
    struct settings s;
    struct conf *c = conf_read_text("sta.yaml", text, strlen(text), &root, &s);
    int errors;
    char *out = print(c, &errors);
    ck_assert_uint_lt(strlen(out), 200);
    ck_assert_ptr_nonnull(strstr(out, "777...\" is too large: at most 256\n"));
    free(out);
    conf_free(c);
}
END_TEST

START_TEST(thousands_of_mistakes)
{
    size_t len;
    char *text;
    FILE *f = open_memstream(&text, &len);
    for (int i = 0; i < 3000; i++)
        fprintf(f, "nonsense-%d: 1\n", i);
    fclose(f);
    struct settings s;
    struct conf *c = conf_read_text("sta.yaml", text, len, &root, &s);
    int errors;
    char *out = print(c, &errors);
    ck_assert_int_eq(errors, 3000);
    ck_assert_ptr_nonnull(strstr(out, "\nsta.yaml: 2000 more complaints are not shown\n"));
    free(out);
    conf_free(c);
    free(text);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("conf_faults");
    TCase *t = tcase_create("conf_faults");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, unknown_keys);
    tcase_add_test(t, missing_and_repeated);
    tcase_add_test(t, required_at_the_top);
    tcase_add_test(t, wrong_kinds);
    tcase_add_test(t, wrong_values);
    tcase_add_test(t, places_inside_a_text);
    tcase_add_test(t, secrets_stay_secret);
    tcase_add_test(t, secret_types);
    tcase_add_test(t, yaml_itself);
    tcase_add_test(t, several_documents);
    tcase_add_test(t, bytes);
    tcase_add_test(t, limits);
    tcase_add_test(t, long_values_are_cut);
    tcase_add_test(t, thousands_of_mistakes);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
