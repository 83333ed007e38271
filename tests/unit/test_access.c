/* Who may speak to a service: Host and Origin as browsers and people write them, addresses, TLS, keys and
 * certificates. Requests are put together by hand. */
#include <arpa/inet.h>
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/http/httpd_impl.h"
#include "base/mem.h"
#include "proto/hostport.h"
#include "sta/access.h"

static struct httpd_conn conn;
static struct http_field fields[4];
static struct httpd_request *request;

static const char *const hosts[] = {"sta.example.com", "xn--mil-ula.example.com"};
static const char key[] = "0123456789abcdef";

static void setup(void)
{
    memset(&conn, 0, sizeof conn);
    memset(fields, 0, sizeof fields);
    request = mem_zalloc(sizeof *request);
    request->conn = &conn;
    request->head.fields = fields;
}

static void teardown(void)
{
    free(request);
}

static void add_field(const char *name, const char *value)
{
    fields[request->head.field_count++] = (struct http_field){name, value, http_name_of(name, strlen(name))};
}

static void come_from(const char *address)
{
    struct hostport hp;
    ck_assert_int_eq(hostport_parse_host(&hp, address, strlen(address), NULL), 0);
    hp.port = 40000;
    ck_assert_int_eq(hostport_sockaddr(&hp, &conn.peer), 0);
}

/* ---- Host ---- */

static const struct {
    const char *value;
    bool ours;
} host_fields[] = {
    {"localhost", true},
    {"LOCALHOST", true},
    {"localhost:8080", true},
    {"localhost.", true},
    {"localhost.:8080", true},
    {"127.0.0.1", true},
    {"127.0.0.1:8080", true},
    {"192.0.2.7:80", true}, /* an address cannot be rebound */
    {"[::1]", true},
    {"[::1]:8080", true},
    {"[2001:DB8::1]:1", true},
    {"[::ffff:127.0.0.1]:8080", true},
    {"sta.example.com", true},
    {"STA.Example.Com:8443", true},
    {"sta.example.com.", true},
    {"sta.example.com.:443", true},
    {"xn--mil-ula.example.com", true},
    {"sta.example.com:", true},
    {"", false},
    {":", false},
    {":8080", false},
    {"example.com", false},
    {"evil.example", false},
    {"sta.example.com.evil.example", false},
    {"a.sta.example.com", false},
    {"localhost.evil.example", false},
    {"sta.example.com..", false},
    {"sta.example.com.:443:1", false},
    {"sta.example.com:80:80", false},
    {"user@sta.example.com", false},
    {"user@localhost:80", false},
    {"sta.example.com/", false},
    {"sta.example.com, localhost", false},
    {"localhost, sta.example.com", false},
    {"http://localhost", false},
    {"*.example.com", false},
    {"::1", false}, /* without brackets it is no Host */
    {"[::1", false},
    {"::1]", false},
    {"[::1]x", false},
    {"[::1%lo]", false},
    {"[localhost]", false},
    {"127.1", false},
    {"0x7f000001", false},
    {"2130706433", false},
    {"127.0.0.1.evil.example", false},
    {"local host", false},
    {"m\xc3\xa4il.example.com", false},
};

START_TEST(host_forms)
{
    const struct access_rules a = {.hosts = hosts, .host_count = 2};
    add_field("hOST", host_fields[_i].value);
    enum access_result r = access_check_page(&a, request);
    ck_assert_msg(r == (host_fields[_i].ours ? ACCESS_OK : ACCESS_HOST), "'%s': %s", host_fields[_i].value,
                  access_sentence(r));
}
END_TEST

START_TEST(no_host_and_two)
{
    const struct access_rules a = {.hosts = hosts, .host_count = 2};
    ck_assert_int_eq(access_check_page(&a, request), ACCESS_HOST);
    add_field("Host", "localhost");
    ck_assert_int_eq(access_check_page(&a, request), ACCESS_OK);
    add_field("Host", "localhost");
    ck_assert_int_eq(access_check_page(&a, request), ACCESS_HOST);
}
END_TEST

START_TEST(names_have_to_be_listed)
{
    const struct access_rules a = {0};
    add_field("Host", "sta.example.com");
    ck_assert_int_eq(access_check_page(&a, request), ACCESS_HOST);
    fields[0].value = "localhost";
    ck_assert_int_eq(access_check_page(&a, request), ACCESS_OK);
    fields[0].value = "10.0.0.1:80";
    ck_assert_int_eq(access_check_page(&a, request), ACCESS_OK);
}
END_TEST

/* ---- Origin ---- */

START_TEST(origins_of_any_kind)
{
    static const char *const origins[] = {"https://evil.example", "null", "http://localhost:8080", ""};
    const struct access_rules a = {.hosts = hosts, .host_count = 2};
    add_field("Host", "localhost");
    add_field("ORIGIN", origins[_i]);
    ck_assert_int_eq(access_check_page(&a, request), ACCESS_ORIGIN);
    add_field("Origin", "two");
    ck_assert_int_eq(access_check_page(&a, request), ACCESS_ORIGIN);
}
END_TEST

/* ---- addresses ---- */

static const struct {
    const char *address; /* NULL: a Unix socket */
    const char *allow[2];
    bool allowed;
} peers[] = {
    {"127.0.0.1", {"127.0.0.0/8", "::1"}, true}, {"127.255.0.9", {"127.0.0.0/8", "::1"}, true},
    {"::1", {"127.0.0.0/8", "::1"}, true},       {"::ffff:127.0.0.1", {"127.0.0.0/8", NULL}, true},
    {"::2", {"127.0.0.0/8", "::1"}, false},      {"10.0.0.1", {"127.0.0.0/8", "::1"}, false},
    {"10.0.0.1", {"10.0.0.0/8", NULL}, true},    {"2001:db8::9", {"10.0.0.0/8", "2001:db8::/32"}, true},
    {"127.0.0.1", {NULL, NULL}, false},          {NULL, {NULL, NULL}, true},
    {NULL, {"10.0.0.0/8", NULL}, true},
};

START_TEST(addresses)
{
    struct cidr ranges[2];
    struct access_rules a = {.allow = ranges};
    for (size_t i = 0; i < 2 && peers[_i].allow[i] != NULL; i++) {
        const char *text = peers[_i].allow[i];
        ck_assert_int_eq(cidr_parse(&ranges[a.allow_count++], text, strlen(text), NULL), 0);
    }
    if (peers[_i].address != NULL)
        come_from(peers[_i].address);
    else
        conn.peer.ss_family = AF_UNIX;
    ck_assert_int_eq(access_check_peer(&a, request), peers[_i].allowed ? ACCESS_OK : ACCESS_ADDRESS);
}
END_TEST

/* ---- TLS, certificate, key ---- */

START_TEST(tls_is_demanded)
{
    const struct access_rules a = {.ssl_only = true};
    conn.peer.ss_family = AF_UNIX;
    ck_assert_int_eq(access_check_peer(&a, request), ACCESS_SSL);
    conn.stream.tls_server = true;
    ck_assert_int_eq(access_check_peer(&a, request), ACCESS_OK);
}
END_TEST

START_TEST(a_certificate_is_demanded)
{
    const struct access_rules a = {.client_certificate = true};
    conn.peer.ss_family = AF_UNIX;
    conn.stream.tls_server = true;
    ck_assert_int_eq(access_check_peer(&a, request), ACCESS_CERTIFICATE);
    request->certificate = true;
    ck_assert_int_eq(access_check_peer(&a, request), ACCESS_OK);
}
END_TEST

static const struct {
    const char *field; /* NULL: none */
    bool right;
} keys[] = {
    {"Bearer 0123456789abcdef", true},
    {"bearer 0123456789abcdef", true},
    {"BEARER   0123456789abcdef", true},
    {NULL, false},
    {"", false},
    {"Bearer", false},
    {"Bearer ", false},
    {"Bearer 0123456789abcde", false},
    {"Bearer 0123456789abcdef0", false},
    {"Bearer 0123456789abcdeF", false},
    {"Bearer 0123456789abcdef ", false},
    {"Bearer0123456789abcdef", false},
    {"Basic 0123456789abcdef", false},
    {"0123456789abcdef", false},
    {"Bearer Bearer 0123456789abcdef", false},
};

START_TEST(the_shared_key)
{
    const struct access_rules a = {.shared_key = key};
    conn.peer.ss_family = AF_UNIX;
    if (keys[_i].field != NULL)
        add_field("Authorization", keys[_i].field);
    ck_assert_int_eq(access_check_peer(&a, request), keys[_i].right ? ACCESS_OK : ACCESS_KEY);
    if (keys[_i].field == NULL)
        return;
    add_field("Authorization", keys[_i].field); /* twice is none */
    ck_assert_int_eq(access_check_peer(&a, request), ACCESS_KEY);
}
END_TEST

/* What is wrong first is what is said; a stranger does not learn whether a key is asked for. */
START_TEST(the_order_of_refusals)
{
    const struct access_rules a = {.ssl_only = true, .client_certificate = true, .shared_key = key};
    come_from("127.0.0.1");
    ck_assert_int_eq(access_check_peer(&a, request), ACCESS_ADDRESS);
    conn.peer.ss_family = AF_UNIX;
    ck_assert_int_eq(access_check_peer(&a, request), ACCESS_SSL);
    conn.stream.tls_server = true;
    ck_assert_int_eq(access_check_peer(&a, request), ACCESS_CERTIFICATE);
    request->certificate = true;
    ck_assert_int_eq(access_check_peer(&a, request), ACCESS_KEY);
    add_field("Authorization", "Bearer 0123456789abcdef");
    ck_assert_int_eq(access_check_peer(&a, request), ACCESS_OK);
}
END_TEST

START_TEST(every_result_has_a_sentence)
{
    for (int r = 0; r < ACCESS_RESULTS; r++) {
        ck_assert_ptr_nonnull(access_sentence((enum access_result)r));
        for (int q = 0; q < r; q++)
            ck_assert_str_ne(access_sentence((enum access_result)r), access_sentence((enum access_result)q));
    }
}
END_TEST

/* ---- media types ---- */

static const struct {
    const char *field, *type;
    bool is;
} types[] = {
    {"text/xml", "text/xml", true},
    {"Text/XML", "text/xml", true},
    {"text/xml; charset=utf-8", "text/xml", true},
    {"text/xml;charset=utf-8", "text/xml", true},
    {"text/xml ; charset=utf-8", "text/xml", true},
    {"text/xml\t;", "text/xml", true},
    {"text/xmlx", "text/xml", false},
    {"text/xm", "text/xml", false},
    {"text/plain", "text/xml", false},
    {"text/plain; text/xml", "text/xml", false},
    {"text/plain;application/json", "application/json", false},
    {"text/xml, text/plain", "text/xml", false},
    {" text/xml", "text/xml", false},
    {"", "text/xml", false},
    {";text/xml", "text/xml", false},
    {NULL, "text/xml", false},
};

START_TEST(media_types)
{
    ck_assert_msg(access_type_is(types[_i].field, types[_i].type) == types[_i].is, "%s",
                  types[_i].field ? types[_i].field : "(none)");
}
END_TEST

#define COUNT(a) (int)(sizeof(a) / sizeof((a)[0]))

int main(void)
{
    Suite *s = suite_create("access");
    TCase *t = tcase_create("access");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, host_forms, 0, COUNT(host_fields));
    tcase_add_test(t, no_host_and_two);
    tcase_add_test(t, names_have_to_be_listed);
    tcase_add_loop_test(t, origins_of_any_kind, 0, 4);
    tcase_add_loop_test(t, addresses, 0, COUNT(peers));
    tcase_add_test(t, tls_is_demanded);
    tcase_add_test(t, a_certificate_is_demanded);
    tcase_add_loop_test(t, the_shared_key, 0, COUNT(keys));
    tcase_add_test(t, the_order_of_refusals);
    tcase_add_test(t, every_result_has_a_sentence);
    tcase_add_loop_test(t, media_types, 0, COUNT(types));
    suite_add_tcase(s, t);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
