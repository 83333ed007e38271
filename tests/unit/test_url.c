/* URLs: one table of what is taken and where its parts are, one of what is refused. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "proto/url.h"

static const struct {
    const char *text;
    bool tls;
    const char *origin; /* as hostport_format writes it */
    bool has_port;
    const char *path; /* the rest */
} taken[] = {
    {"http://mail.example.com", false, "mail.example.com:80", false, ""},
    {"https://mail.example.com", true, "mail.example.com:443", false, ""},
    {"HTTPS://Mail.Example.COM/", true, "mail.example.com:443", false, "/"},
    {"hTTp://mail.example.com./x", false, "mail.example.com:80", false, "/x"},
    {"https://mail.example.com/Microsoft-Server-ActiveSync", true, "mail.example.com:443", false,
     "/Microsoft-Server-ActiveSync"},
    {"https://mail.example.com:8443/traveler?a=b#c", true, "mail.example.com:8443", true, "/traveler?a=b#c"},
    {"https://mail.example.com:443", true, "mail.example.com:443", true, ""},
    {"https://mail.example.com:80?q", true, "mail.example.com:80", true, "?q"},
    {"http://mail.example.com#f", false, "mail.example.com:80", false, "#f"},
    {"http://mail.example.com?u=http://b/", false, "mail.example.com:80", false, "?u=http://b/"},
    {"https://a/user@host:1/[x]", true, "a:443", false, "/user@host:1/[x]"},
    {"https://a/\xc3\xa4%20", true, "a:443", false, "/\xc3\xa4%20"},
    {"https://192.0.2.1/", true, "192.0.2.1:443", false, "/"},
    {"https://[2001:DB8::1]", true, "[2001:db8::1]:443", false, ""},
    {"https://[2001:db8::1]:444/x", true, "[2001:db8::1]:444", true, "/x"},
    {"http://[::1]?", false, "[::1]:80", false, "?"},
};

/* Every prefix too: taken or refused, the path is within it, and what is refused leaves nothing. */
static void try_prefixes(const char *text)
{
    static const struct url nothing;
    size_t len = strlen(text);
    for (size_t n = 0; n < len; n++) {
        char *cut = malloc(n + 1);
        struct url u;
        memcpy(cut, text, n);
        memset(&u, 0xff, sizeof u);
        if (url_parse(&u, cut, n) == 0)
            ck_assert(u.path <= n && u.origin.port != 0 && u.origin.host[0] != '\0');
        else
            ck_assert(memcmp(&u, &nothing, sizeof u) == 0);
        free(cut);
    }
}

START_TEST(takes)
{
    const char *text = taken[_i].text;
    struct url u;
    char origin[HOSTPORT_TEXT];
    ck_assert_msg(url_parse(&u, text, strlen(text)) == 0, "%s", text);
    hostport_format(&u.origin, origin);
    ck_assert_int_eq(u.tls, taken[_i].tls);
    ck_assert_str_eq(origin, taken[_i].origin);
    ck_assert_int_eq(u.has_port, taken[_i].has_port);
    ck_assert_str_eq(text + u.path, taken[_i].path);
    ck_assert(!u.origin.wildcard);
    try_prefixes(text);
}
END_TEST

#define TEXT(s) s, sizeof(s) - 1

static const struct {
    const char *text;
    size_t len;
} refused[] = {
    {TEXT("")},
    {TEXT("http")},
    {TEXT("http:")},
    {TEXT("http:/")},
    {TEXT("http://")},
    {TEXT("https://")},
    {TEXT("https:///path")},
    {TEXT("https://?q")},
    {TEXT("//mail.example.com/")},
    {TEXT("/Microsoft-Server-ActiveSync")},
    {TEXT("mail.example.com")},
    {TEXT("mail.example.com:443")},
    {TEXT("ftp://mail.example.com/")},
    {TEXT("httpss://mail.example.com/")},
    {TEXT("https:mail.example.com")},
    {TEXT("https:/mail.example.com")},
    {TEXT("https:\\\\mail.example.com")},
    {TEXT("https://mail.example.com\\@b/")},
    {TEXT("https://a/b\\c")},
    {TEXT(" https://a/")},
    {TEXT("https://a/ ")},
    {TEXT("https://a/b c")},
    {TEXT("https://a/\tb")},
    {TEXT("https://a\r\nX: y/")},
    {TEXT("https://a/\r\nX:y")},
    {TEXT("https://a/\0b")},
    {TEXT("https://a\0.example/")},
    {TEXT("https://a/\x7f")},
    {TEXT("https://user@a/")},
    {TEXT("https://user:pw@a/")},
    {TEXT("https://user:80@a/")},
    {TEXT("https://@a/")},
    {TEXT("https://a@b:443/")},
    {TEXT("https://a:/")},
    {TEXT("https://a:0/")},
    {TEXT("https://a:0443/")},
    {TEXT("https://a:65536/")},
    {TEXT("https://a:x/")},
    {TEXT("https://a:1:2/")},
    {TEXT("https://:443/")},
    {TEXT("https://2001:db8::1/")},
    {TEXT("https://::1/")},
    {TEXT("https://[::1/")},
    {TEXT("https://[::1]x/")},
    {TEXT("https://[::1]:/")},
    {TEXT("https://[fe80::1%25eth0]/")},
    {TEXT("https://[]/")},
    {TEXT("https://[/")},
    {TEXT("https://]/")},
    {TEXT("https://[mail.example.com]/")},
    {TEXT("https://*.example.com/")},
    {TEXT("https://a_b/")},
    {TEXT("https://a%2eb/")},
    {TEXT("https://b\xc3\xbc.example/")},
    {TEXT("https://127.1/")},
    {TEXT("https://0x7f000001/")},
    {TEXT("https://a..b/")},
};

START_TEST(refuses)
{
    static const struct url nothing;
    struct url u;
    memset(&u, 0xff, sizeof u);
    ck_assert_msg(url_parse(&u, refused[_i].text, refused[_i].len) == ERR_SYNTAX, "%s", refused[_i].text);
    ck_assert(memcmp(&u, &nothing, sizeof u) == 0);
    try_prefixes(refused[_i].text);
}
END_TEST

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))

int main(void)
{
    Suite *suite = suite_create("url");
    TCase *tc = tcase_create("url");
    tcase_add_loop_test(tc, takes, 0, COUNT(taken));
    tcase_add_loop_test(tc, refuses, 0, COUNT(refused));
    suite_add_tcase(suite, tc);
    SRunner *sr = srunner_create(suite);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
