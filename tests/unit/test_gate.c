/* The gatekeeper's decisions and the doors as tables: reasons, policy, addresses, doors at every split. */
#include <arpa/inet.h>
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "gate/door.h"
#include "gate/policy.h"

/* ---- reasons ---- */

START_TEST(every_reason_is_complete)
{
    const struct reason_info *r = reason_info((enum reason)_i);
    ck_assert_int_eq(reason_by_id(r->id), _i);
    ck_assert_uint_gt(strlen(r->sentence), 10);
    ck_assert_uint_ge(strlen(r->advice), 5);
    /* header, label and JSON take them as they are */
    ck_assert_uint_eq(strspn(r->id, "abcdefghijklmnopqrstuvwxyz_0123456789"), strlen(r->id));
    ck_assert_ptr_null(strpbrk(r->sentence, "\"\\\r\n|"));
    ck_assert_ptr_null(strpbrk(r->advice, "\"\\\r\n|"));
    ck_assert(r->http == 0 || (r->http >= 200 && r->http <= 599));
    ck_assert_uint_le(r->socks, 8);
    for (int other = 0; other < _i; other++)
        ck_assert_str_ne(r->id, reason_info((enum reason)other)->id);
}
END_TEST

START_TEST(unknown_reason)
{
    ck_assert_int_eq(reason_by_id("nonsense"), REASON_COUNT);
}
END_TEST

/* ---- policy ---- */

static struct hostport hp(const char *text)
{
    struct hostport h;
    ck_assert_int_eq(hostport_parse(&h, text, strlen(text), HOSTPORT_ALLOW_WILDCARD, NULL), 0);
    return h;
}

START_TEST(targets)
{
    static const struct {
        int access;
        const char *listed[3];
        const char *ticket[3];
        const char *target;
        enum reason expected;
    } cases[] = {
        {NETWORK_TUNNELED, {"mail.example.com:443"}, {0}, "mail.example.com:443", REASON_OK},
        {NETWORK_TUNNELED, {"mail.example.com:443"}, {0}, "MAIL.Example.COM:443", REASON_OK},
        {NETWORK_TUNNELED, {"mail.example.com:443"}, {0}, "mail.example.com.:443", REASON_OK},
        {NETWORK_TUNNELED, {"mail.example.com:443"}, {0}, "mail.example.com:444", REASON_SERVICE_NOT_LISTED},
        {NETWORK_TUNNELED, {"mail.example.com:443"}, {0}, "mail.example.co:443", REASON_SERVICE_NOT_LISTED},
        {NETWORK_TUNNELED, {0}, {0}, "mail.example.com:443", REASON_SERVICE_NOT_LISTED},
        {NETWORK_TUNNELED, {"a.b:1", "mail.example.com:443"}, {0}, "mail.example.com:443", REASON_OK},
        {NETWORK_TUNNELED, {"*.example.com:443"}, {0}, "mail.example.com:443", REASON_OK},
        {NETWORK_TUNNELED, {"*.example.com:443"}, {0}, "a.mail.example.com:443", REASON_OK},
        {NETWORK_TUNNELED, {"*.example.com:443"}, {0}, "example.com:443", REASON_SERVICE_NOT_LISTED},
        {NETWORK_TUNNELED, {"*.example.com:443"}, {0}, "badexample.com:443", REASON_SERVICE_NOT_LISTED},
        {NETWORK_TUNNELED, {"[::1]:443"}, {0}, "[0:0::1]:443", REASON_OK},
        {NETWORK_TUNNELED,
         {"mail.example.com:443"},
         {"mail.example.com:443"},
         "mail.example.com:443",
         REASON_OK},
        {NETWORK_TUNNELED,
         {"mail.example.com:443"},
         {"*.example.com:443"},
         "mail.example.com:443",
         REASON_OK},
        {NETWORK_TUNNELED,
         {"mail.example.com:443", "ews.example.com:443"},
         {"mail.example.com:443"},
         "ews.example.com:443",
         REASON_SERVICE_NOT_IN_TICKET},
        /* the ticket cannot open what the policy does not list */
        {NETWORK_TUNNELED,
         {"mail.example.com:443"},
         {"x.example.com:443"},
         "x.example.com:443",
         REASON_SERVICE_NOT_LISTED},
        {NETWORK_UNRESTRICTED,
         {"mail.example.com:443"},
         {0},
         "mail.example.com:443",
         REASON_NETWORK_UNRESTRICTED},
        {NETWORK_BLOCKED, {"mail.example.com:443"}, {0}, "mail.example.com:443", REASON_NETWORK_BLOCKED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct hostport listed[3], target = hp(cases[i].target);
        struct settings s = {.policy.network_access = cases[i].access, .policy.services.items = listed};
        struct record r = {.services = cases[i].ticket};
        while (s.policy.services.count < 3 && cases[i].listed[s.policy.services.count]) {
            listed[s.policy.services.count] = hp(cases[i].listed[s.policy.services.count]);
            s.policy.services.count++;
        }
        while (r.service_count < 3 && cases[i].ticket[r.service_count])
            r.service_count++;
        ck_assert_msg(policy_check_target(&s, &r, &target) == cases[i].expected, "case %zu", i);
    }
}
END_TEST

START_TEST(ticket_targets)
{
    struct hostport listed[] = {hp("mail.example.com:443")}, target;
    struct settings s = {.policy.services = {listed, 1}};
    const char *services[] = {"ews.example.com:443"};
    struct record_value values[] = {{"XData", "x"}, {"ICAAddress", "ica.example.com:443"}};
    struct record r = {0};
    ck_assert(policy_ticket_target(&s, &r, &target));
    ck_assert_str_eq(target.host, "mail.example.com");
    r.services = services;
    r.service_count = 1;
    ck_assert(policy_ticket_target(&s, &r, &target));
    ck_assert_str_eq(target.host, "ews.example.com");
    r.values = values;
    r.value_count = 2;
    ck_assert(policy_ticket_target(&s, &r, &target));
    ck_assert_str_eq(target.host, "ica.example.com");
    values[1].value = "";
    ck_assert(policy_ticket_target(&s, &r, &target));
    ck_assert_str_eq(target.host, "ews.example.com");
    values[1].value = "nonsense";
    ck_assert(!policy_ticket_target(&s, &r, &target));
    r.value_count = r.service_count = 0;
    s.policy.services.count = 0;
    ck_assert(!policy_ticket_target(&s, &r, &target));
    listed[0] = hp("*.example.com:443");
    s.policy.services.count = 1;
    ck_assert(!policy_ticket_target(&s, &r, &target));
}
END_TEST

START_TEST(addresses)
{
    static const struct {
        const char *text;
        bool allowed;
    } cases[] = {
        {"10.1.2.3:443", true},
        {"192.0.2.1:443", true},
        {"127.0.0.1:443", false},
        {"127.255.255.254:443", false},
        {"0.0.0.0:443", false},
        {"0.1.2.3:443", false},
        {"169.254.169.254:80", false},
        {"224.0.0.1:443", false},
        {"255.255.255.255:443", false},
        {"[2001:db8::1]:443", true},
        {"[::1]:443", false},
        {"[::]:443", false},
        {"[fe80::1]:443", false},
        {"[ff02::1]:443", false},
        {"[::ffff:127.0.0.1]:443", false},
        {"[::ffff:10.1.2.3]:443", true},
        {"[::127.0.0.1]:443", false},
        {"[64:ff9b::127.0.0.1]:443", false},
        {"[64:ff9b::a01:203]:443", true},
        {"192.0.2.9:8443", false},
        {"192.0.2.9:8444", true},
        {"[2001:db8::9]:8443", false},
        {"[::ffff:192.0.2.9]:8443", false},
        {"[::ffff:192.0.2.9]:8444", true},
    };
    struct sockaddr_storage own[2], sa;
    struct hostport a = hp("192.0.2.9:8443"), b = hp("[2001:db8::9]:8443");
    hostport_sockaddr(&a, &own[0]);
    hostport_sockaddr(&b, &own[1]);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct hostport h = hp(cases[i].text);
        ck_assert_int_eq(hostport_sockaddr(&h, &sa), 0);
        ck_assert_msg(policy_address_allowed((struct sockaddr *)&sa, own, 2) == cases[i].allowed, "%s",
                      cases[i].text);
    }
}
END_TEST

START_TEST(services_by_target)
{
    struct service_settings v[] = {{.name = hp("*.example.com:443")}, {.name = hp("mail.example.com:443")}};
    struct settings s = {.services = {v, 2}};
    struct hostport t = hp("mail.example.com:443");
    ck_assert_ptr_eq(settings_service(&s, &t), &v[1]);
    t = hp("other.example.com:443");
    ck_assert_ptr_eq(settings_service(&s, &t), &v[0]);
    t = hp("mail.example.org:443");
    ck_assert_ptr_eq(settings_service(&s, &t), &s.unnamed);
}
END_TEST

/* ---- doors ---- */

#define T32  ";40;STA0A1B2C3D4E5F;0123456789ABCDEF0123456789ABCDEF"
#define BOTH (1u << DOOR_SOCKS | 1u << DOOR_CONNECT)
/* base64 of "user:" T32 */
#define BASIC        "dXNlcjo7NDA7U1RBMEExQjJDM0Q0RTVGOzAxMjM0NTY3ODlBQkNERUYwMTIzNDU2Nzg5QUJDREVG"
#define CONNECT_LINE "CONNECT mail.example.com:443 HTTP/1.1\r\nHost: mail.example.com:443\r\n"

static const struct door_case {
    const char *input;
    size_t len; /* 0: strlen */
    unsigned doors;
    enum door_result result;
    enum reason reason;
    int kind;
} door_cases[] = {
    {CONNECT_LINE "Proxy-Authorization: Bearer " T32 "\r\n\r\n", 0, BOTH, DOOR_DONE, REASON_OK, DOOR_CONNECT},
    {CONNECT_LINE "Proxy-Authorization: Basic " BASIC "\r\n\r\n", 0, BOTH, DOOR_DONE, REASON_OK,
     DOOR_CONNECT},
    {CONNECT_LINE "\r\n", 0, BOTH, DOOR_REFUSE, REASON_TICKET_MISSING, DOOR_CONNECT},
    {CONNECT_LINE "Proxy-Authorization: Negotiate abc\r\n\r\n", 0, BOTH, DOOR_REFUSE, REASON_TICKET_MISSING,
     DOOR_CONNECT},
    {CONNECT_LINE "Proxy-Authorization: Bearer hello\r\n\r\n", 0, BOTH, DOOR_REFUSE, REASON_TICKET_MALFORMED,
     DOOR_CONNECT},
    {CONNECT_LINE "Proxy-Authorization: Basic !!\r\n\r\n", 0, BOTH, DOOR_REFUSE, REASON_TICKET_MALFORMED,
     DOOR_CONNECT},
    {CONNECT_LINE "Proxy-Authorization: Bearer " T32 "\r\nProxy-Authorization: Bearer " T32 "\r\n\r\n", 0,
     BOTH, DOOR_REFUSE, REASON_REQUEST_MALFORMED, DOOR_CONNECT},
    /* malformed comes before credentials */
    {"CONNECT mail.example.com HTTP/1.1\r\nHost: x\r\n\r\n", 0, BOTH, DOOR_REFUSE, REASON_REQUEST_MALFORMED,
     DOOR_CONNECT},
    {"CONNECT a..b:443 HTTP/1.1\r\nHost: x\r\n\r\n", 0, BOTH, DOOR_REFUSE, REASON_REQUEST_MALFORMED,
     DOOR_CONNECT},
    {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 0, BOTH, DOOR_REFUSE,
     REASON_REQUEST_MALFORMED, DOOR_CONNECT},
    {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 0, 1u << DOOR_SOCKS, DOOR_REFUSE, REASON_PROTOCOL_UNKNOWN, -1},
    {"\x05\x01\x00\x03", 4, 1u << DOOR_CONNECT, DOOR_REFUSE, REASON_PROTOCOL_UNKNOWN, -1},
    {"\x1a"
     "CGP/01",
     7, BOTH, DOOR_REFUSE, REASON_PROTOCOL_CGP, -1},
    {"\x04\x01", 2, BOTH, DOOR_REFUSE, REASON_PROTOCOL_UNKNOWN, -1},
    {"\x16\x03\x01", 3, BOTH, DOOR_REFUSE, REASON_PROTOCOL_UNKNOWN, -1},
    {"\x05\x01\x00\x03\x34" T32 "\x05\xd6", 5 + 52 + 2, BOTH, DOOR_DONE, REASON_OK, DOOR_SOCKS},
    {"\x05\x01\x00\x05\x01\x00\x03\x34" T32 "\x05\xd6", 8 + 52 + 2, BOTH, DOOR_DONE, REASON_OK, DOOR_SOCKS},
    {"\x05\x01\x02\x01\x01u\x34" T32 "\x05\x01\x00\x03\x10mail.example.com\x01\xbb", 7 + 52 + 5 + 16 + 2,
     BOTH, DOOR_DONE, REASON_OK, DOOR_SOCKS},
    {"\x05\x01\x00\x05\x01\x00\x03\x10mail.example.com\x01\xbb", 8 + 16 + 2, BOTH, DOOR_REFUSE,
     REASON_TICKET_MISSING, DOOR_SOCKS},
    {"\x05\x01\x00\x05\x01\x00\x03\x05;40;X\x01\xbb", 8 + 5 + 2, BOTH, DOOR_REFUSE, REASON_TICKET_MALFORMED,
     DOOR_SOCKS},
    {"\x05\x01\x00\x05\x02\x00\x01\x7f\x00\x00\x01\x01\xbb", 13, BOTH, DOOR_REFUSE, REASON_REQUEST_MALFORMED,
     DOOR_SOCKS},
};

/* Feeds a case in pieces; returns how many bytes belonged to the request. */
static size_t feed_case(struct door *d, const struct door_case *c, size_t piece, enum door_result *result,
                        struct buf *reply)
{
    size_t len = c->len ? c->len : strlen(c->input), at = 0;
    *result = DOOR_MORE;
    while (at < len && *result == DOOR_MORE) {
        /* an exact copy, so that a sanitizer sees a read behind it */
        size_t n = len - at < piece ? len - at : piece, used = 0;
        uint8_t *copy = mem_alloc(n);
        memcpy(copy, c->input + at, n);
        *result = door_feed(d, copy, n, &used, reply);
        free(copy);
        at += used;
        ck_assert(*result != DOOR_MORE || used == n);
    }
    return at;
}

START_TEST(doors_at_every_split)
{
    const struct door_case *c = &door_cases[_i];
    size_t len = c->len ? c->len : strlen(c->input);
    for (size_t piece = 1; piece <= len; piece++) {
        struct door *d = door_new(c->doors);
        enum door_result result;
        struct buf reply;
        buf_init(&reply, 4096);
        size_t used = feed_case(d, c, piece, &result, &reply);
        ck_assert_int_eq(result, c->result);
        ck_assert_int_eq(door_reason(d), c->reason);
        ck_assert_int_eq(door_kind(d), c->kind);
        if (result == DOOR_DONE) {
            ck_assert_uint_eq(used, len);
            ck_assert_str_eq(door_ticket(d)->ref[0].value, "0123456789ABCDEF0123456789ABCDEF");
        }
        door_free(d);
        buf_deinit(&reply);
    }
}
END_TEST

START_TEST(bytes_behind_the_request_are_left)
{
    static const struct door_case c = {CONNECT_LINE "Proxy-Authorization: Bearer " T32 "\r\n\r\nTUNNEL",
                                       0,
                                       BOTH,
                                       DOOR_DONE,
                                       REASON_OK,
                                       DOOR_CONNECT};
    struct door *d = door_new(BOTH);
    enum door_result result;
    struct buf reply;
    buf_init(&reply, 4096);
    size_t used = feed_case(d, &c, 10000, &result, &reply);
    ck_assert_str_eq(c.input + used, "TUNNEL");
    ck_assert_str_eq(door_target(d)->host, "mail.example.com");
    ck_assert_uint_eq(door_target(d)->port, 443);
    door_free(d);
    buf_deinit(&reply);
}
END_TEST

START_TEST(answers)
{
    struct buf reply;
    enum door_result result;
    struct door *d = door_new(BOTH);
    buf_init(&reply, 8192);
    feed_case(d, &door_cases[2], 10000, &result, &reply);
    ck_assert_uint_eq(reply.len, 0);
    door_answer(d, REASON_TICKET_MISSING, "a detail", &reply);
    buf_append(&reply, "", 1);
    const char *text = (const char *)reply.data;
    ck_assert_ptr_eq(strstr(text, "HTTP/1.1 407 "), text);
    ck_assert_ptr_nonnull(strstr(text, "\r\nX-Stagate-Reason: ticket_missing\r\n"));
    ck_assert_ptr_nonnull(strstr(text, "\r\nX-Stagate-Detail: a detail\r\n"));
    ck_assert_ptr_nonnull(strstr(text, "\r\nProxy-Authenticate: Basic realm="));
    ck_assert_ptr_nonnull(strstr(text, "\r\nProxy-Authenticate: Bearer realm="));
    const char *length = strstr(text, "Content-Length: "), *body = strstr(text, "\r\n\r\n");
    ck_assert_uint_eq(strtoul(length + 16, NULL, 10), strlen(body + 4));
    reply.len = 0;
    door_answer(d, REASON_IDLE_TIMEOUT, NULL, &reply); /* nothing HTTP could say */
    ck_assert_uint_eq(reply.len, 0);
    door_free(d);

    d = door_new(BOTH);
    feed_case(d, &door_cases[15], 10000, &result, &reply);
    door_answer(d, REASON_OK, NULL, &reply);
    ck_assert_uint_eq(reply.len, 10);
    ck_assert_uint_eq(reply.data[1], 0);
    reply.len = 0;
    door_answer(d, REASON_BACKEND_REFUSED, NULL, &reply);
    ck_assert_uint_eq(reply.data[1], 5);
    door_free(d);
    d = door_new(BOTH);
    reply.len = 0;
    feed_case(d, &door_cases[20], 10000, &result, &reply);
    reply.len = 0;
    door_answer(d, REASON_REQUEST_MALFORMED, NULL, &reply); /* BIND has a code of its own */
    ck_assert_uint_eq(reply.data[1], 7);
    door_free(d);
    buf_deinit(&reply);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gate");
    TCase *t = tcase_create("decisions");
    tcase_add_loop_test(t, every_reason_is_complete, 0, REASON_COUNT);
    tcase_add_test(t, unknown_reason);
    tcase_add_test(t, targets);
    tcase_add_test(t, ticket_targets);
    tcase_add_test(t, addresses);
    tcase_add_test(t, services_by_target);
    tcase_add_loop_test(t, doors_at_every_split, 0, (int)(sizeof door_cases / sizeof door_cases[0]));
    tcase_add_test(t, bytes_behind_the_request_are_left);
    tcase_add_test(t, answers);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
