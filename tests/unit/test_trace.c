/* The hub of the view: who is told what, what stays hidden, limits, lapses, and threads. */
#include <check.h>
#include <jansson.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "gate/trace.h"

#define COUNT(table)  (sizeof(table) / sizeof((table)[0]))
#define BYTES(string) (const uint8_t *)(string), sizeof(string) - 1
#define SEARCH        "\x03\x01\x6a\x00\x00\x0f\x45\x5f\x03secret\0\x01\x01" /* with a Password */

static const struct trace_who alice = {.device = "PHONE1", .user = "alice", .ticket = "0123456789ab"};
static const struct trace_end good = {.reason = "ok", .status = 200, .ms = 12.5, .up = 3, .down = 4};

/* What has come: an array of events. */
static json_t *fetch(struct trace *t, const char *id)
{
    struct buf b;
    json_t *list = json_array();
    buf_init(&b, 8 << 20);
    ck_assert_int_eq(trace_fetch(t, id, &b), 0);
    for (size_t at = 0; at < b.len;) {
        const uint8_t *eol = memchr(b.data + at, '\n', b.len - at);
        ck_assert_ptr_nonnull(eol);
        size_t len = (size_t)(eol - b.data) - at;
        json_t *d = json_loadb((const char *)b.data + at, len, JSON_REJECT_DUPLICATES, NULL);
        ck_assert(json_is_object(d));
        json_array_append_new(list, d);
        at += len + 1;
    }
    buf_deinit(&b);
    return list;
}

static const char *text(const json_t *list, size_t i, const char *key)
{
    const char *s = json_string_value(json_object_get(json_array_get(list, i), key));
    return s != NULL ? s : "";
}

static void ask(struct trace *t, uint32_t set, uint64_t id, struct http_head *head)
{
    head->method = "POST";
    head->target = "/Microsoft-Server-ActiveSync?Cmd=Search";
    const struct trace_request r = {.who = &alice,
                                    .door = "relay",
                                    .target = "mail.example.com:443",
                                    .client = "127.0.0.1:5000",
                                    .command = "Search",
                                    .version = "14.1",
                                    .head = head};
    trace_request(t, set, id, &r);
}

START_TEST(test_nobody)
{
    struct trace *t = trace_new();
    struct http_head head = {0};
    ck_assert(!trace_is_on(t) && !trace_is_on(NULL));
    ck_assert_uint_eq(trace_begin(t, &alice), 0);
    ck_assert_uint_eq(trace_begin(NULL, &alice), 0);
    ck_assert(!trace_wants_bodies(t, 0) && !trace_wants_bodies(NULL, 1));
    ask(t, 0, 1, &head);
    ask(NULL, 1, 1, &head);
    trace_body(NULL, 1, 1, true, BYTES("x"));
    trace_end(t, 1, 1, &good);
    ck_assert_uint_eq(trace_next_id(t), 1);
    ck_assert_uint_eq(trace_next_id(t), 2);
    trace_free(t);
    trace_free(NULL);
}
END_TEST

START_TEST(test_conversation)
{
    struct trace *t = trace_new();
    char id[TRACE_ID];
    ck_assert_int_eq(trace_listen(t, &(struct trace_filter){.device = "phone1", .bodies = true}, id), 0);
    ck_assert(trace_is_on(t));
    uint32_t set = trace_begin(t, &alice);
    ck_assert(set != 0 && trace_wants_bodies(t, set));
    const struct http_field asked[] = {
        {"Authorization", "Basic c2VjcmV0", HTTP_NAME_AUTHORIZATION},
        {"X-STA-Ticket", ";40;STA1;FF", HTTP_NAME_X_STA_TICKET},
        {"cookie", "secret", HTTP_NAME_OTHER},
        {"X-MS-PolicyKey", "7", HTTP_NAME_X_MS_POLICY_KEY},
        {"User-Agent", "caf\xe9\x1b", HTTP_NAME_USER_AGENT},
        {"Content-Type", "application/vnd.ms-sync.wbxml", HTTP_NAME_CONTENT_TYPE}};
    const struct http_field answered[] = {{"Set-Cookie", "secret", HTTP_NAME_OTHER},
                                          {"WWW-Authenticate", "Basic", HTTP_NAME_OTHER}};
    struct http_head head = {.fields = asked, .field_count = COUNT(asked)};
    ask(t, set, 17, &head);
    trace_body(t, set, 17, true, BYTES(SEARCH));
    trace_answer(t, set, 17,
                 &(struct http_head){.status = 200, .fields = answered, .field_count = COUNT(answered)});
    trace_body(t, set, 17, false, BYTES("\x03\x01\x6a\x00\x00\x0f\x05"));
    trace_end(t, set, 17, &good);
    json_t *l = fetch(t, id);
    ck_assert_uint_eq(json_array_size(l), 5);
    ck_assert_str_eq(text(l, 0, "event"), "trace_request");
    ck_assert_uint_eq(strlen(text(l, 0, "time")), 24);
    ck_assert_int_eq(json_integer_value(json_object_get(json_array_get(l, 0), "id")), 17);
    ck_assert_str_eq(text(l, 0, "uri"), "/Microsoft-Server-ActiveSync?Cmd=Search");
    ck_assert_str_eq(text(l, 0, "user"), "alice");
    char *fields = json_dumps(json_object_get(json_array_get(l, 0), "fields"), JSON_COMPACT);
    ck_assert_str_eq(
        fields, "[[\"Authorization\",\"(hidden)\"],[\"X-STA-Ticket\",\"(hidden)\"],[\"cookie\",\"(hidden)\"],"
                "[\"X-MS-PolicyKey\",\"7\"],[\"User-Agent\",\"caf\\\\xe9\\\\x1b\"],"
                "[\"Content-Type\",\"application/vnd.ms-sync.wbxml\"]]");
    free(fields);
    /* the password's bytes are stars */
    unsigned char body[64];
    EVP_DecodeBlock(body, (const unsigned char *)text(l, 1, "data"), (int)strlen(text(l, 1, "data")));
    ck_assert(memcmp(body, "\x03\x01\x6a\x00\x00\x0f\x45\x5f\x03******\0\x01\x01", sizeof SEARCH - 1) == 0);
    ck_assert_str_eq(text(l, 1, "from"), "client");
    fields = json_dumps(json_object_get(json_array_get(l, 2), "fields"), JSON_COMPACT);
    ck_assert_str_eq(fields, "[[\"Set-Cookie\",\"(hidden)\"],[\"WWW-Authenticate\",\"Basic\"]]");
    free(fields);
    ck_assert_str_eq(text(l, 3, "from"), "server");
    ck_assert_str_eq(text(l, 4, "reason"), "ok");
    ck_assert(json_real_value(json_object_get(json_array_get(l, 4), "ms")) == 12.5);
    json_decref(l);
    ck_assert_int_eq(trace_unlisten(t, id), 0);
    ck_assert_int_eq(trace_unlisten(t, id), ERR_NOT_FOUND);
    ck_assert(!trace_is_on(t));
    trace_end(t, set, 17, &good); /* nobody is there any more */
    trace_free(t);
}
END_TEST

static const struct {
    struct trace_filter filter;
    bool meant;
} filters[] = {
    {{0}, true},
    {{.device = "", .user = ""}, true},
    {{.device = "phone1"}, true},
    {{.device = "phone"}, false},
    {{.user = "ALICE"}, true},
    {{.user = "bob"}, false},
    {{.ticket = "0123456789AB"}, true},
    {{.ticket = "0123456789a"}, false},
    {{.device = "phone1", .user = "bob"}, false},
    {{.device = "phone1", .user = "alice", .ticket = "0123456789ab"}, true},
};

START_TEST(test_filters)
{
    struct trace *t = trace_new();
    char id[TRACE_ID];
    ck_assert_int_eq(trace_listen(t, &filters[_i].filter, id), 0);
    uint32_t set = trace_begin(t, &alice);
    ck_assert(!trace_wants_bodies(t, set));
    ck_assert_int_eq(set != 0, filters[_i].meant);
    struct http_head head = {0};
    ask(t, set, 1, &head);
    trace_body(t, set, 1, true, BYTES("body"));
    json_t *l = fetch(t, id);
    ck_assert_uint_eq(json_array_size(l), filters[_i].meant ? 1 : 0);
    json_decref(l);
    /* who is not known is not who was asked for */
    bool narrow = filters[_i].filter.ticket != NULL || filters[_i].filter.user != NULL ||
                  filters[_i].filter.device != NULL;
    if (narrow && _i != 1)
        ck_assert_uint_eq(trace_begin(t, &(struct trace_who){.user = ""}), 0);
    trace_free(t);
}
END_TEST

/* Each listener gets what it asked for, and a place that was given back does not bring another's
 * conversation.
 */
START_TEST(test_listeners)
{
    struct trace *t = trace_new();
    char ids[TRACE_LISTENERS_MAX][TRACE_ID], more[TRACE_ID];
    for (size_t i = 0; i < TRACE_LISTENERS_MAX; i++)
        ck_assert_int_eq(trace_listen(t, &(struct trace_filter){.bodies = i % 2}, ids[i]), 0);
    ck_assert_int_eq(trace_listen(t, &(struct trace_filter){0}, more), ERR_LIMIT);
    uint32_t set = trace_begin(t, &alice);
    struct http_head head = {0};
    ask(t, set, 1, &head);
    trace_body(t, set, 1, true, BYTES("body"));
    for (size_t i = 0; i < TRACE_LISTENERS_MAX; i++) {
        json_t *l = fetch(t, ids[i]);
        ck_assert_uint_eq(json_array_size(l), 1 + i % 2);
        json_decref(l);
    }
    ck_assert_int_eq(trace_unlisten(t, ids[0]), 0);
    ck_assert_int_eq(trace_listen(t, &(struct trace_filter){.user = "bob", .bodies = true}, more), 0);
    trace_body(t, set, 1, false, BYTES("body"));
    trace_end(t, set, 1, &good);
    json_t *l = fetch(t, more);
    ck_assert_uint_eq(json_array_size(l), 0);
    json_decref(l);
    struct buf b;
    buf_init(&b, 100);
    ck_assert_int_eq(trace_fetch(t, ids[0], &b), ERR_NOT_FOUND);
    ck_assert_int_eq(trace_fetch(t, "", &b), ERR_NOT_FOUND);
    trace_free(t);
}
END_TEST

/* ---- limits ---- */

static size_t data_of(const json_t *l, bool *truncated)
{
    size_t sum = 0;
    *truncated = false;
    for (size_t i = 0; i < json_array_size(l); i++) {
        const char *data = text(l, i, "data");
        size_t n = strlen(data);
        sum += n / 4 * 3 - (n > 0 && data[n - 1] == '=') - (n > 1 && data[n - 2] == '=');
        ck_assert(!*truncated);
        *truncated = json_is_true(json_object_get(json_array_get(l, i), "truncated"));
    }
    return sum;
}

START_TEST(test_long_bodies)
{
    static const size_t steps[] = {1000, 65535, 65536, 65537, 200000};
    struct trace *t = trace_new();
    char id[TRACE_ID];
    bool truncated;
    ck_assert_int_eq(trace_listen(t, &(struct trace_filter){.bodies = true}, id), 0);
    uint32_t set = trace_begin(t, &alice);
    struct http_head head = {0};
    uint8_t *data = mem_alloc(200000);
    memset(data, 'x', 200000);
    for (uint64_t i = 0; i < COUNT(steps); i++) {
        for (int way = 0; way < 2; way++) {
            ask(t, set, i, &head);
            json_decref(fetch(t, id));
            for (size_t at = 0; at < 200000; at += steps[i])
                trace_body(t, set, i, way, data, steps[i] < 200000 - at ? steps[i] : 200000 - at);
            json_t *l = fetch(t, id);
            ck_assert_uint_eq(data_of(l, &truncated), TRACE_BODY_MAX);
            ck_assert(truncated);
            json_decref(l);
        }
        trace_end(t, set, i, &good);
    }
    free(data);
    trace_free(t);
}
END_TEST

START_TEST(test_hidden_bodies)
{
    static const struct http_field fields[][1] = {
        {{"Content-Type", "application/x-www-form-urlencoded", HTTP_NAME_CONTENT_TYPE}},
        {{"content-type", "application/JSON", HTTP_NAME_CONTENT_TYPE}},
        {{"Content-Encoding", "gzip", HTTP_NAME_CONTENT_ENCODING}}};
    struct trace *t = trace_new();
    char id[TRACE_ID];
    ck_assert_int_eq(trace_listen(t, &(struct trace_filter){.bodies = true}, id), 0);
    struct http_head head = {.fields = fields[_i], .field_count = 1};
    uint32_t set = trace_begin(t, &alice);
    ask(t, set, 1, &head);
    trace_body(t, set, 1, true, BYTES("password=secret"));
    trace_body(t, set, 1, true, BYTES("password=secret"));
    json_t *l = fetch(t, id);
    ck_assert_uint_eq(json_array_size(l), 2);
    ck_assert_str_eq(text(l, 1, "data"), "");
    ck_assert(json_is_true(json_object_get(json_array_get(l, 1), "hidden")));
    json_decref(l);
    trace_free(t);
}
END_TEST

/* What nobody fetches: the oldest go, and that is told; what is kept comes in order. */
START_TEST(test_ring)
{
    struct trace *t = trace_new();
    char id[TRACE_ID];
    ck_assert_int_eq(trace_listen(t, &(struct trace_filter){.bodies = true}, id), 0);
    uint32_t set = trace_begin(t, &alice);
    uint8_t *data = mem_zalloc(32768);
    data[0] = 'x';
    json_int_t rounds = 300, seen = 0, lost = 0, next = -1;
    for (json_int_t i = 0; i < rounds; i++)
        trace_body(t, set, (uint64_t)i, true, data, 32768);
    for (bool more = true; more;) {
        json_t *l = fetch(t, id);
        more = json_array_size(l) > 0;
        ck_assert(json_array_size(l) <= TRACE_READ_MAX / 32768 + 2);
        for (size_t i = 0; i < json_array_size(l); i++) {
            json_int_t number = json_integer_value(json_object_get(json_array_get(l, i), "id"));
            if (strcmp(text(l, i, "event"), "trace_lost") == 0) {
                ck_assert(seen == 0 && i == 0 && lost == 0);
                lost = json_integer_value(json_object_get(json_array_get(l, i), "lines"));
                continue;
            }
            ck_assert_int_eq(number, next == -1 ? lost : next);
            next = number + 1;
            seen++;
        }
        json_decref(l);
    }
    ck_assert_int_eq(seen + lost, rounds);
    ck_assert(seen >= 80 && seen * 43700 <= TRACE_RING_MAX);
    free(data);
    trace_free(t);
}
END_TEST

/* A buffer that is full loses nothing. */
START_TEST(test_full_buffer)
{
    struct trace *t = trace_new();
    struct http_head head = {0};
    char id[TRACE_ID];
    struct buf b;
    ck_assert_int_eq(trace_listen(t, &(struct trace_filter){0}, id), 0);
    ask(t, trace_begin(t, &alice), 1, &head);
    buf_init(&b, 20);
    ck_assert_int_eq(trace_fetch(t, id, &b), ERR_TOO_BIG);
    json_t *l = fetch(t, id);
    ck_assert_uint_eq(json_array_size(l), 1);
    json_decref(l);
    trace_free(t);
}
END_TEST

START_TEST(test_lapse)
{
    struct trace *t = trace_new();
    struct http_head head = {0};
    char id[TRACE_ID];
    struct buf b;
    buf_init(&b, 1 << 20);
    ck_assert_int_eq(trace_listen(t, &(struct trace_filter){0}, id), 0);
    uint32_t set = trace_begin(t, &alice);
    trace_set_lapse_ms(t, 0);
    ck_assert(trace_is_on(t)); /* nothing has looked yet */
    ask(t, set, 1, &head);
    ck_assert(!trace_is_on(t));
    ck_assert_int_eq(trace_fetch(t, id, &b), ERR_NOT_FOUND);
    ck_assert_uint_eq(trace_begin(t, &alice), 0);
    trace_free(t);
}
END_TEST

/* More requests than are remembered, and none of them ended. */
START_TEST(test_many_requests)
{
    struct trace *t = trace_new();
    struct http_head head = {0};
    char id[TRACE_ID];
    ck_assert_int_eq(trace_listen(t, &(struct trace_filter){.bodies = true}, id), 0);
    uint32_t set = trace_begin(t, &alice);
    for (uint64_t i = 1; i <= 5000; i++) {
        ask(t, set, i, &head);
        trace_body(t, set, i, true, BYTES("x"));
    }
    for (uint64_t i = 5000; i > 0; i--)
        trace_end(t, set, i, &good);
    trace_free(t);
}
END_TEST

START_TEST(test_tunnel)
{
    struct trace *t = trace_new();
    char id[TRACE_ID];
    ck_assert_int_eq(trace_listen(t, &(struct trace_filter){.user = "alice"}, id), 0);
    uint32_t set = trace_begin(t, &alice);
    const struct trace_tunnel f = {.who = &alice,
                                   .door = "socks",
                                   .target = "mail.example.com:443",
                                   .offered = "tls1.3",
                                   .version = "tls1.2",
                                   .cipher = "TLS_X",
                                   .sni = "mail\xff"};
    trace_tunnel(t, set, trace_next_id(t), &f);
    json_t *l = fetch(t, id);
    ck_assert_uint_eq(json_array_size(l), 1);
    ck_assert_str_eq(text(l, 0, "event"), "trace_tunnel");
    ck_assert_str_eq(text(l, 0, "version"), "tls1.2");
    ck_assert_str_eq(text(l, 0, "sni"), "mail\\xff");
    ck_assert_ptr_null(json_object_get(json_array_get(l, 0), "client"));
    json_decref(l);
    trace_free(t);
}
END_TEST

/* ---- threads ---- */

#define REQUESTS 2000

static void converse(void *owner)
{
    struct trace *t = owner;
    struct http_head head = {0};
    for (int i = 0; i < REQUESTS; i++) {
        uint32_t set = trace_is_on(t) ? trace_begin(t, &alice) : 0;
        uint64_t id = trace_next_id(t);
        ask(t, set, id, &head);
        if (trace_wants_bodies(t, set))
            trace_body(t, set, id, true, BYTES(SEARCH));
        trace_end(t, set, id, &good);
    }
}

/* Two tell, one listens, and others come and go: whoever stays gets all of it. */
START_TEST(test_threads)
{
    struct trace *t = trace_new();
    uv_thread_t threads[2];
    char id[TRACE_ID], other[TRACE_ID];
    size_t seen = 0;
    ck_assert_int_eq(trace_listen(t, &(struct trace_filter){.bodies = true}, id), 0);
    for (size_t i = 0; i < COUNT(threads); i++)
        uv_thread_create(&threads[i], converse, t);
    while (seen < COUNT(threads) * REQUESTS * 3) {
        ck_assert_int_eq(trace_listen(t, &(struct trace_filter){.user = "alice"}, other), 0);
        json_t *l = fetch(t, id);
        for (size_t i = 0; i < json_array_size(l); i++)
            ck_assert_str_ne(text(l, i, "event"), "trace_lost");
        seen += json_array_size(l);
        json_decref(l);
        json_decref(fetch(t, other));
        ck_assert_int_eq(trace_unlisten(t, other), 0);
    }
    for (size_t i = 0; i < COUNT(threads); i++)
        uv_thread_join(&threads[i]);
    ck_assert_uint_eq(seen, COUNT(threads) * REQUESTS * 3);
    trace_free(t);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("trace");
    TCase *t = tcase_create("trace");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, test_nobody);
    tcase_add_test(t, test_conversation);
    tcase_add_loop_test(t, test_filters, 0, (int)COUNT(filters));
    tcase_add_test(t, test_listeners);
    tcase_add_test(t, test_long_bodies);
    tcase_add_loop_test(t, test_hidden_bodies, 0, 3);
    tcase_add_test(t, test_ring);
    tcase_add_test(t, test_full_buffer);
    tcase_add_test(t, test_lapse);
    tcase_add_test(t, test_many_requests);
    tcase_add_test(t, test_tunnel);
    tcase_add_test(t, test_threads);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
