/* Host and port: one table of what is taken and how it reads afterwards, one of what is refused and with
 * which words. */
#include <arpa/inet.h>
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "proto/hostport.h"

#define L63  "abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz0"
#define L61  "abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxy"
#define N253 L63 "." L63 "." L63 "." L61

static const struct {
    const char *text;
    unsigned flags;
    const char *host;
    unsigned port;
    enum hostport_kind kind;
    const char *formatted; /* NULL: as text */
} taken[] = {
    {"mail.example.com:443", 0, "mail.example.com", 443, HOSTPORT_NAME, NULL},
    {"MAIL.Example.COM:443", 0, "mail.example.com", 443, HOSTPORT_NAME, "mail.example.com:443"},
    {"mail.example.com.:443", 0, "mail.example.com", 443, HOSTPORT_NAME, "mail.example.com:443"},
    {"localhost:1", 0, "localhost", 1, HOSTPORT_NAME, NULL},
    {"a:65535", 0, "a", 65535, HOSTPORT_NAME, NULL},
    {"3com.example:80", 0, "3com.example", 80, HOSTPORT_NAME, NULL},
    {"1.2.3.4.example:80", 0, "1.2.3.4.example", 80, HOSTPORT_NAME, NULL},
    {"123.x1:80", 0, "123.x1", 80, HOSTPORT_NAME, NULL},
    {"0xg:80", 0, "0xg", 80, HOSTPORT_NAME, NULL},
    {"a-b--c.example:80", 0, "a-b--c.example", 80, HOSTPORT_NAME, NULL},
    {"xn--bcher-kva.example:443", 0, "xn--bcher-kva.example", 443, HOSTPORT_NAME, NULL},
    {L63 ".example:443", 0, L63 ".example", 443, HOSTPORT_NAME, NULL},
    {N253 ":65535", 0, N253, 65535, HOSTPORT_NAME, NULL},
    {N253 ".:65535", 0, N253, 65535, HOSTPORT_NAME, N253 ":65535"},
    {"192.0.2.1:443", 0, "192.0.2.1", 443, HOSTPORT_IPV4, NULL},
    {"0.0.0.0:1", 0, "0.0.0.0", 1, HOSTPORT_IPV4, NULL},
    {"[2001:db8::1]:443", 0, "2001:db8::1", 443, HOSTPORT_IPV6, NULL},
    {"[2001:DB8:0:0:0:0:0:1]:443", 0, "2001:db8::1", 443, HOSTPORT_IPV6, "[2001:db8::1]:443"},
    {"[2001:0db8:0000:0001:0000:0000:0000:0001]:1", 0, "2001:db8:0:1::1", 1, HOSTPORT_IPV6,
     "[2001:db8:0:1::1]:1"},
    {"[1:0:2:3:4:5:6:7]:1", 0, "1:0:2:3:4:5:6:7", 1, HOSTPORT_IPV6, NULL},
    {"[::]:443", 0, "::", 443, HOSTPORT_IPV6, NULL},
    {"[::ffff:192.0.2.1]:443", 0, "::ffff:192.0.2.1", 443, HOSTPORT_IPV6, NULL},
    {"[::FFFF:C000:201]:443", 0, "::ffff:192.0.2.1", 443, HOSTPORT_IPV6, "[::ffff:192.0.2.1]:443"},
    {"*.example.com:443", HOSTPORT_ALLOW_WILDCARD, "example.com", 443, HOSTPORT_NAME, NULL},
    {"*.Example.com.:443", HOSTPORT_ALLOW_WILDCARD, "example.com", 443, HOSTPORT_NAME, "*.example.com:443"},
    {"*." N253 ":65535", HOSTPORT_ALLOW_WILDCARD, N253, 65535, HOSTPORT_NAME, NULL},
    {"mail.example.com: 443", HOSTPORT_ALLOW_BLANKS, "mail.example.com", 443, HOSTPORT_NAME,
     "mail.example.com:443"},
    {" \tmail.example.com \t: \t443\t ", HOSTPORT_ALLOW_BLANKS, "mail.example.com", 443, HOSTPORT_NAME,
     "mail.example.com:443"},
    {" [::1] : 443 ", HOSTPORT_ALLOW_BLANKS, "::1", 443, HOSTPORT_IPV6, "[::1]:443"},
    {" *.example.com : 443 ", HOSTPORT_ALLOW_BLANKS | HOSTPORT_ALLOW_WILDCARD, "example.com", 443,
     HOSTPORT_NAME, "*.example.com:443"},
};

START_TEST(takes)
{
    struct hostport hp;
    struct hostport again;
    const char *why = "";
    char text[HOSTPORT_TEXT];
    const char *expected = taken[_i].formatted ? taken[_i].formatted : taken[_i].text;

    int rc = hostport_parse(&hp, taken[_i].text, strlen(taken[_i].text), taken[_i].flags, &why);
    ck_assert_msg(rc == 0, "%s: %s", taken[_i].text, why);
    ck_assert_str_eq(hp.host, taken[_i].host);
    ck_assert_uint_eq(hp.port, taken[_i].port);
    ck_assert_int_eq(hp.kind, taken[_i].kind);
    ck_assert_int_eq(hp.wildcard, strchr(taken[_i].text, '*') != NULL);
    hostport_format(&hp, text);
    ck_assert_str_eq(text, expected);
    /* what was formatted reads as the same, without any blanks allowed */
    ck_assert_int_eq(hostport_parse(&again, text, strlen(text), HOSTPORT_ALLOW_WILDCARD, NULL), 0);
    ck_assert(hostport_equal(&hp, &again));
}
END_TEST

#define TEXT(s) s, sizeof(s) - 1

static const struct {
    const char *text;
    size_t len;
    unsigned flags;
    const char *word; /* has to be in the sentence */
} refused[] = {
    {TEXT(""), 0, "host is missing"},
    {TEXT(":443"), 0, "host is missing"},
    {TEXT(".:443"), 0, "host is missing"},
    {TEXT("  "), HOSTPORT_ALLOW_BLANKS, "host is missing"},
    {TEXT(" : 443"), HOSTPORT_ALLOW_BLANKS, "host is missing"},
    {TEXT("mail.example.com"), 0, "port is missing: write mail.example.com:443"},
    {TEXT("mail.example.com:"), 0, "port is missing"},
    {TEXT("mail.example.com: "), HOSTPORT_ALLOW_BLANKS, "port is missing"},
    {TEXT("192.0.2.1"), 0, "port is missing"},
    {TEXT("[::1]"), 0, "port is missing: write [2001:db8::1]:443"},
    {TEXT("[::1]:"), 0, "port is missing"},
    {TEXT("[::1]443"), 0, "colon"},
    {TEXT("[::1]x:443"), 0, "colon"},
    {TEXT("[::1"), 0, "closing bracket"},
    {TEXT("[]:443"), 0, "not an IPv6 address"},
    {TEXT("[mail.example.com]:443"), 0, "not an IPv6 address"},
    {TEXT("[192.0.2.1]:443"), 0, "not an IPv6 address"},
    {TEXT("[ ::1]:443"), HOSTPORT_ALLOW_BLANKS, "not an IPv6 address"},
    {TEXT("[1:2:3:4:5:6:7:8:9]:443"), 0, "not an IPv6 address"},
    {TEXT("[::1\0]:443"), 0, "not an IPv6 address"},
    {TEXT("[fe80::1%eth0]:443"), 0, "zone"},
    {TEXT("[fe80::1%25eth0]:443"), 0, "zone"},
    {TEXT("2001:db8::1:443"), 0, "more than one colon"},
    {TEXT("::1"), 0, "more than one colon"},
    {TEXT("a:443:443"), 0, "more than one colon"},
    {TEXT("a[::1]:443"), 0, "more than one colon"},
    {TEXT("a]:443"), 0, "brackets"},
    {TEXT("mail.example.com:0"), 0, "port 0"},
    {TEXT("mail.example.com:0443"), 0, "leading zero"},
    {TEXT("mail.example.com:00"), 0, "leading zero"},
    {TEXT("mail.example.com:65536"), 0, "too large"},
    {TEXT("mail.example.com:4294967739"), 0, "too large"},
    {TEXT("mail.example.com:18446744073709552059"), 0, "too large"},
    {TEXT("mail.example.com:+443"), 0, "not a number"},
    {TEXT("mail.example.com:-1"), 0, "not a number"},
    {TEXT("mail.example.com:https"), 0, "not a number"},
    {TEXT("mail.example.com:443 "), 0, "not a number"},
    {TEXT("mail.example.com: 443"), 0, "not a number"},
    {TEXT("mail.example.com:4 43"), HOSTPORT_ALLOW_BLANKS, "not a number"},
    {TEXT("mail.example.com:443\0"), 0, "not a number"},
    {TEXT("mail.example.com :443"), 0, "blank"},
    {TEXT("\tmail.example.com:443"), 0, "blank"},
    {TEXT("mail example.com:443"), HOSTPORT_ALLOW_BLANKS, "blank"},
    {TEXT("mail.example.com\0.evil.example:443"), 0, "control character"},
    {TEXT("mail.example.com\n:443"), HOSTPORT_ALLOW_BLANKS, "control character"},
    {TEXT("mail\x7f.example.com:443"), 0, "control character"},
    {TEXT("a..b:443"), 0, "empty label"},
    {TEXT(".a:443"), 0, "empty label"},
    {TEXT("a..:443"), 0, "empty label"},
    {TEXT("..:443"), 0, "empty label"},
    {TEXT("-a.example:443"), 0, "hyphen"},
    {TEXT("a-.example:443"), 0, "hyphen"},
    {TEXT("a.-:443"), 0, "hyphen"},
    {TEXT("my_host.example:443"), 0, "underscore"},
    {TEXT("b\xc3\xbc"
          "cher.example:443"),
     0, "xn--"},
    {TEXT("a%2eb:443"), 0, "percent"},
    {TEXT("a!b:443"), 0, "not a letter, digit, hyphen or dot"},
    {TEXT("user@mail.example.com:443"), 0, "user@"},
    {TEXT("user:pass@mail.example.com:443"), 0, "user@"},
    {TEXT("https://mail.example.com:443"), 0, "URL"},
    {TEXT("mail.example.com:443/path"), 0, "path"},
    {TEXT("/x"), 0, "path"},
    {TEXT("a.example:443,b.example:443"), 0, "comma"},
    {TEXT("127.1:443"), 0, "ends in a number"},
    {TEXT("2130706433:443"), 0, "ends in a number"},
    {TEXT("0x7f000001:443"), 0, "ends in a number"},
    {TEXT("0x7F.1:443"), 0, "ends in a number"},
    {TEXT("127.0.0.0x1:443"), 0, "ends in a number"},
    {TEXT("127.0.0.01:443"), 0, "ends in a number"},
    {TEXT("0177.0.0.1:443"), 0, "ends in a number"},
    {TEXT("256.0.0.1:443"), 0, "ends in a number"},
    {TEXT("1.2.3.4.5:443"), 0, "ends in a number"},
    {TEXT("1.2.3.4.:443"), 0, "ends in a number"},
    {TEXT("mail.example.0x:443"), 0, "ends in a number"},
    {TEXT("mail.example.7:443"), 0, "ends in a number"},
    {TEXT(L63 "x.example:443"), 0, "63"},
    {TEXT("x" N253 ":443"), 0, "63"},
    {TEXT("x." N253 ":443"), 0, "253"},
    {TEXT("*.example.com:443"), 0, "wildcard"},
    {TEXT("*:443"), HOSTPORT_ALLOW_WILDCARD, "wildcard"},
    {TEXT("a.*.example.com:443"), HOSTPORT_ALLOW_WILDCARD, "wildcard"},
    {TEXT("*.*.example.com:443"), HOSTPORT_ALLOW_WILDCARD, "wildcard"},
    {TEXT("a*.example.com:443"), HOSTPORT_ALLOW_WILDCARD, "wildcard"},
    {TEXT("*.192.0.2.1:443"), HOSTPORT_ALLOW_WILDCARD, "wildcard"},
    {TEXT("*.:443"), HOSTPORT_ALLOW_WILDCARD, "host is missing"},
    {TEXT("*.[::1]:443"), HOSTPORT_ALLOW_WILDCARD, "more than one colon"},
};

START_TEST(refuses)
{
    struct hostport hp;
    const char *why = NULL;

    memset(&hp, 0xff, sizeof hp);
    ck_assert_int_eq(hostport_parse(&hp, refused[_i].text, refused[_i].len, refused[_i].flags, &why),
                     ERR_SYNTAX);
    ck_assert_ptr_nonnull(why);
    ck_assert_msg(strstr(why, refused[_i].word) != NULL, "%s: %s", refused[_i].text, why);
    ck_assert(hp.host[0] == '\0' && hp.port == 0 && !hp.wildcard);
    ck_assert_int_eq(hostport_parse(&hp, refused[_i].text, refused[_i].len, refused[_i].flags, NULL),
                     ERR_SYNTAX);
}
END_TEST

static const struct {
    const char *text;
    const char *host; /* NULL: refused */
    enum hostport_kind kind;
    const char *word;
} hosts[] = {
    {"Mail.example.com.", "mail.example.com", HOSTPORT_NAME, NULL},
    {"192.0.2.1", "192.0.2.1", HOSTPORT_IPV4, NULL},
    {"::1", "::1", HOSTPORT_IPV6, NULL},
    {"[::1]", "::1", HOSTPORT_IPV6, NULL},
    {"2001:DB8:0::1", "2001:db8::1", HOSTPORT_IPV6, NULL},
    {"", NULL, HOSTPORT_NAME, "missing"},
    {"[", NULL, HOSTPORT_NAME, "closing bracket"},
    {"[::1", NULL, HOSTPORT_NAME, "closing bracket"},
    {"[]", NULL, HOSTPORT_NAME, "not an IPv6"},
    {"[::1]:443", NULL, HOSTPORT_NAME, "without a port"},
    {"mail.example.com:443", NULL, HOSTPORT_NAME, "without a port"},
    {"1:2", NULL, HOSTPORT_NAME, "without a port"},
    {"1:2:3", NULL, HOSTPORT_NAME, "not an IPv6"},
    {"fe80::1%eth0", NULL, HOSTPORT_NAME, "zone"},
    {"*.example.com", NULL, HOSTPORT_NAME, "wildcard"},
    {" a", NULL, HOSTPORT_NAME, "blank"},
    {"127.1", NULL, HOSTPORT_NAME, "number"},
};

START_TEST(takes_hosts_alone)
{
    struct hostport hp;
    const char *why = NULL;
    int rc = hostport_parse_host(&hp, hosts[_i].text, strlen(hosts[_i].text), &why);
    if (hosts[_i].host == NULL) {
        ck_assert_int_eq(rc, ERR_SYNTAX);
        ck_assert_msg(strstr(why, hosts[_i].word) != NULL, "%s: %s", hosts[_i].text, why);
        return;
    }
    ck_assert_int_eq(rc, 0);
    ck_assert_str_eq(hp.host, hosts[_i].host);
    ck_assert_int_eq(hp.kind, hosts[_i].kind);
    ck_assert_uint_eq(hp.port, 0);
}
END_TEST

static struct hostport parsed(const char *text)
{
    struct hostport hp;
    ck_assert_int_eq(hostport_parse(&hp, text, strlen(text), HOSTPORT_ALLOW_WILDCARD, NULL), 0);
    return hp;
}

static const struct {
    const char *pattern;
    const char *target;
    bool matches;
} matching[] = {
    {"mail.example.com:443", "MAIL.example.com.:443", true},
    {"mail.example.com:443", "mail.example.com:444", false},
    {"mail.example.com:443", "xmail.example.com:443", false},
    {"*.example.com:443", "a.example.com:443", true},
    {"*.example.com:443", "a.b.example.com:443", true},
    {"*.example.com:443", "example.com:443", false},
    {"*.example.com:443", "xexample.com:443", false},
    {"*.example.com:443", "a.example.com:80", false},
    {"*.example.com:443", "a.example.com.evil.example:443", false},
    {"*.com:443", "example.com:443", true},
    {"*.a:1", "a.a:1", true},
    {"192.0.2.1:443", "192.0.2.1:443", true},
    {"[::ffff:192.0.2.1]:443", "192.0.2.1:443", false},
    {"[2001:db8::1]:443", "[2001:DB8:0:0::1]:443", true},
};

START_TEST(matches)
{
    struct hostport pattern = parsed(matching[_i].pattern);
    struct hostport target = parsed(matching[_i].target);
    ck_assert_msg(hostport_matches(&pattern, &target) == matching[_i].matches, "%s %s", matching[_i].pattern,
                  matching[_i].target);
}
END_TEST

START_TEST(equality_sees_every_part)
{
    struct hostport a = parsed("*.example.com:443");
    struct hostport b = parsed("example.com:443");
    ck_assert(hostport_equal(&a, &a));
    ck_assert(!hostport_equal(&a, &b));
    ck_assert(!hostport_matches(&a, &b));
    ck_assert(
        !hostport_matches(&b, &(struct hostport){.host = "example.com", .port = 443, .kind = HOSTPORT_IPV4}));
}
END_TEST

START_TEST(gives_socket_addresses)
{
    struct sockaddr_storage sa;
    struct hostport v4 = parsed("192.0.2.1:443");
    struct hostport v6 = parsed("[2001:db8::1]:80");
    struct hostport name = parsed("mail.example.com:443");
    char text[INET6_ADDRSTRLEN];

    ck_assert_int_eq(hostport_sockaddr(&v4, &sa), 0);
    ck_assert_int_eq(sa.ss_family, AF_INET);
    ck_assert_uint_eq(ntohs(((struct sockaddr_in *)&sa)->sin_port), 443);
    ck_assert_str_eq(inet_ntop(AF_INET, &((struct sockaddr_in *)&sa)->sin_addr, text, sizeof text),
                     "192.0.2.1");
    ck_assert_int_eq(hostport_sockaddr(&v6, &sa), 0);
    ck_assert_int_eq(sa.ss_family, AF_INET6);
    ck_assert_uint_eq(ntohs(((struct sockaddr_in6 *)&sa)->sin6_port), 80);
    ck_assert_str_eq(inet_ntop(AF_INET6, &((struct sockaddr_in6 *)&sa)->sin6_addr, text, sizeof text),
                     "2001:db8::1");
    ck_assert_int_eq(hostport_sockaddr(&name, &sa), ERR_UNSUPPORTED);
}
END_TEST

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))

int main(void)
{
    Suite *suite = suite_create("hostport");
    TCase *tc = tcase_create("hostport");
    tcase_add_loop_test(tc, takes, 0, COUNT(taken));
    tcase_add_loop_test(tc, refuses, 0, COUNT(refused));
    tcase_add_loop_test(tc, takes_hosts_alone, 0, COUNT(hosts));
    tcase_add_loop_test(tc, matches, 0, COUNT(matching));
    tcase_add_test(tc, equality_sees_every_part);
    tcase_add_test(tc, gives_socket_addresses);
    suite_add_tcase(suite, tc);
    SRunner *sr = srunner_create(suite);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
