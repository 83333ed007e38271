/* The HTTP server over loopback sockets: what it answers, what it refuses, and what it lets nobody do to it.
 */
#include <sys/un.h>

#include "base/log.h"
#include "cert_fixture.h"
#include "http_fixture.h"
#include "net/stream.h"
#include "net/tlsctx.h"

static struct httpd *server;
static struct sockaddr_in address;
static struct httpd_options options;
static size_t handled;
static struct httpd_request *parked; /* "/later" answers it when told */
static bool closed;
static char seen[4096]; /* of the last request, in words */
static size_t big_bytes;
static char first[] = "first", second[] = "second", closing[] = "closing";

#define HOST "Host: x\r\n"

static void handle(void *owner, struct httpd_request *r)
{
    size_t len;
    const uint8_t *body = httpd_body(r, &len);
    handled++;
    snprintf(seen, sizeof seen, "%s %s ?%s [%.*s] x=%s owner=%s", httpd_method(r), httpd_path(r),
             httpd_query(r), (int)len, len ? (const char *)body : "", httpd_field(r, HTTP_NAME_VIA, NULL),
             (const char *)owner);
    ck_assert_ptr_eq(httpd_request_owner(r), owner);
    ck_assert_ptr_null(httpd_data(r));
    if (strcmp(httpd_path(r), "/later") == 0) {
        httpd_set_data(r, seen);
        parked = r;
    } else if (strcmp(httpd_path(r), "/big") == 0) {
        char *big = malloc(big_bytes);
        memset(big, 'b', big_bytes);
        httpd_answer(r, 200, NULL, "text/plain", big, big_bytes);
        free(big);
    } else if (strcmp(httpd_path(r), "/empty") == 0) {
        httpd_answer(r, 204, NULL, NULL, NULL, 0);
    } else if (strcmp(httpd_path(r), "/stop") == 0) {
        httpd_close(server, NULL, NULL);
        server = NULL;
        httpd_answer(r, 200, NULL, "text/plain", "bye", 3);
    } else {
        httpd_answer(r, 200, "X-Other: 1\r\n", "text/plain", seen, strlen(seen));
    }
}

static void answer_parked(void)
{
    ck_assert_ptr_nonnull(parked);
    ck_assert_ptr_eq(httpd_data(parked), seen);
    httpd_answer(parked, 200, NULL, "text/plain", "parked", 6);
    parked = NULL;
}

static void on_closed(void *owner)
{
    ck_assert_str_eq(owner, "closing");
    closed = true;
}

static void start(void)
{
    server = httpd_new(&loop, fixture_listen(&address), &options);
}

static void setup(void)
{
    log_setup(LOG_JSON, LOG_ERROR);
    ck_assert_int_eq(netloop_init(&loop), 0);
    options = (struct httpd_options){.body_max = 1000,
                                     .connections_max = 10,
                                     .idle_ms = 60000,
                                     .request_ms = 60000,
                                     .server = "unit",
                                     .handle = handle,
                                     .owner = first};
    handled = 0;
    parked = NULL;
    closed = false;
}

static void teardown(void)
{
    if (parked != NULL)
        answer_parked();
    if (server != NULL) {
        httpd_close(server, on_closed, closing);
        RUN_UNTIL(closed);
    }
    server = NULL;
    netloop_deinit(&loop);
}

/* ---- what is answered ---- */

/* Each request is sent whole, then split at every byte; the connection ends. */
struct exchange {
    const char *request;
    const char *answer[6]; /* texts that the answer holds, in order */
    size_t handled;
};

static const struct exchange exchanges[] = {
    {"GET /a?b=1 HTTP/1.1\r\n" HOST "Via: yes\r\nConnection: close\r\n\r\n",
     {"HTTP/1.1 200 OK\r\n", "Server: unit\r\n", "Cache-Control: no-store\r\nX-Other: 1\r\n",
      "Connection: close\r\n\r\n", "GET /a ?b=1 [] x=yes owner=first"},
     1},
    {"POST / HTTP/1.1\r\n" HOST "Content-Length: 4\r\nConnection: close\r\n\r\nbody",
     {"HTTP/1.1 200 OK\r\n", "POST / ? [body]"},
     1},
    {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
     "2;x=y\r\nbo\r\n2\r\ndy\r\n0\r\nA: b\r\n\r\n",
     {"HTTP/1.1 200 OK\r\n", "POST / ? [body]"},
     1},
    {"HEAD /a HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n",
     {"HTTP/1.1 200 OK\r\n", "Content-Length: 33\r\nConnection: close\r\n\r\n"},
     1},
    {"GET /empty HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n",
     {"HTTP/1.1 204 No Content\r\n", "Cache-Control: no-store\r\nConnection: close\r\n\r\n"},
     1},
    {"GET /a HTTP/1.0\r\n\r\n", {"HTTP/1.1 200 OK\r\n", "Connection: close\r\n", "GET /a ?"}, 1},
    {"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /b HTTP/1.0\r\n\r\n",
     {"Connection: keep-alive\r\n", "GET /a ?", "Connection: close\r\n", "GET /b ?"},
     2},
    {"GET /a HTTP/1.1\r\n" HOST "\r\n\r\nGET /b HTTP/1.1\r\n" HOST "\r\nGET /c HTTP/1.1\r\n" HOST
     "Connection: close\r\n\r\nGET /never HTTP/1.1\r\n" HOST "\r\n",
     {"GET /a ?", "GET /b ?", "GET /c ?"},
     3},
    {"POST / HTTP/1.1\r\n" HOST "Content-Length: 2\r\nExpect: 100-continue\r\nConnection: close\r\n\r\nhi",
     {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n", "[hi]"},
     1},
    {"GET / HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nConnection: close\r\n\r\n",
     {"HTTP/1.1 200 OK\r\n"},
     1},
    {"GET http://x/a/b?c HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n", {"GET /a/b ?c ["}, 1},
    {"GET http://x?c HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n", {"GET / ?c ["}, 1},
    {"GET HTTPS://x HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n", {"GET / ? ["}, 1},
    {"OPTIONS * HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n", {"OPTIONS * ? ["}, 1},
    {"GET / HTTP/1.1\r\n" HOST "Via: 1\r\nVia: 2\r\nConnection: close\r\n\r\n", {"x=(null)"}, 1},
    {"GET / HTTP/1.1\r\n" HOST "Upgrade: h2c\r\nConnection: upgrade, close\r\n\r\n", {"HTTP/1.1 200 OK"}, 1},
    /* refused: one answer, and the connection ends */
    {"GET /a HTTP/1.1\r\n" HOST "\r\nnonsense\r\n\r\n",
     {"GET /a ?", "HTTP/1.1 400 Bad Request\r\n", "Content-Type: text/plain\r\n", "Connection: close\r\n\r\n",
      "400 Bad Request: this is not an HTTP request\n"},
     1},
    {"GET / HTTP/1.1\r\n\r\n", {"HTTP/1.1 400 ", "Host is missing"}, 0},
    {"GET / HTTP/1.1\n" HOST "\n\n", {"HTTP/1.1 400 ", "line feed"}, 0},
    {"GET / HTTP/1.1\r\n" HOST "A : b\r\n\r\n", {"HTTP/1.1 400 "}, 0},
    {"CONNECT a:443 HTTP/1.1\r\n" HOST "\r\n", {"HTTP/1.1 501 Not Implemented\r\n"}, 0},
    {"CONNECT a HTTP/1.1\r\n" HOST "\r\n", {"HTTP/1.1 400 "}, 0},
    {"FROB / HTTP/1.1\r\n" HOST "\r\n", {"HTTP/1.1 501 "}, 0},
    {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip\r\n\r\n", {"HTTP/1.1 501 "}, 0},
    {"GET / HTTP/2.0\r\n" HOST "\r\n", {"HTTP/1.1 505 HTTP Version Not Supported\r\n"}, 0},
    {"GET /\r\n", {"HTTP/1.1 505 "}, 0},
    {"POST / HTTP/1.1\r\n" HOST "Content-Length: 1001\r\nExpect: 100-continue\r\n\r\n",
     {"HTTP/1.1 413 Payload Too Large\r\n"},
     0},
    {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\nfffffff\r\n", {""}, 0},
    {"HEAD / HTTP/1.1\r\n" HOST "Content-Length: 1001\r\n\r\n", {"HTTP/1.1 413 ", "close\r\n\r\n"}, 0},
    {"", {""}, 0},
    {"GET / HTT", {""}, 0},
};

static void check_answer(const struct exchange *x, const char *got)
{
    const char *p = got;
    for (size_t i = 0; i < 6 && x->answer[i] != NULL; i++) {
        const char *found = strstr(p, x->answer[i]);
        ck_assert_msg(found != NULL, "no '%s' in the answer to '%s': %s", x->answer[i], x->request, got);
        p = found + strlen(x->answer[i]);
    }
    ck_assert_msg(strstr(got, "100 Continue") == NULL || strstr(x->answer[0], "100 Continue") != NULL, "%s",
                  got);
    ck_assert_uint_eq(handled, x->handled);
    if (strncmp(x->request, "HEAD", 4) == 0)
        ck_assert_str_eq(p, ""); /* no body */
}

START_TEST(every_request_split_everywhere)
{
    const struct exchange *x = &exchanges[_i];
    static struct raw c;
    size_t len = strlen(x->request);
    start();
    for (size_t split = 0; split <= len; split++) {
        handled = 0;
        raw_connect(&c, &address);
        raw_send_n(&c, x->request, split);
        turns(3);
        raw_send_n(&c, x->request + split, len - split);
        shutdown(c.fd, SHUT_WR);
        RUN_UNTIL(raw_poll(&c));
        ck_assert_int_eq(c.error, 0);
        check_answer(x, c.data);
        raw_close(&c);
    }
}
END_TEST

START_TEST(every_request_in_single_bytes)
{
    const struct exchange *x = &exchanges[_i];
    static struct raw c;
    start();
    raw_connect(&c, &address);
    for (size_t i = 0; x->request[i] != '\0'; i++)
        raw_send_n(&c, x->request + i, 1);
    shutdown(c.fd, SHUT_WR);
    RUN_UNTIL(raw_poll(&c));
    check_answer(x, c.data);
    raw_close(&c);
}
END_TEST

START_TEST(body_limits)
{
    static struct raw c;
    char body[1002];
    memset(body, 'x', sizeof body);
    start();
    raw_connect(&c, &address);
    raw_send(&c, "POST / HTTP/1.1\r\n" HOST "Content-Length: 1000\r\n\r\n");
    raw_send_n(&c, body, 1000);
    RUN_UNTIL(raw_has(&c, "HTTP/1.1 200 OK"));
    raw_send(&c, "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n3e8\r\n");
    raw_send_n(&c, body, 1000);
    raw_send(&c, "\r\n1\r\nx");
    RUN_UNTIL(raw_has(&c, "HTTP/1.1 413 "));
    /* who goes on sending still gets to read the answer: no reset */
    for (int i = 0; i < 100; i++)
        raw_send_n(&c, body, sizeof body);
    shutdown(c.fd, SHUT_WR);
    RUN_UNTIL(raw_poll(&c));
    ck_assert_int_eq(c.error, 0);
    ck_assert_uint_eq(handled, 1);
    raw_close(&c);
}
END_TEST

START_TEST(heads_have_a_limit)
{
    static struct raw c;
    start();
    raw_connect(&c, &address);
    raw_send(&c, "GET / HTTP/1.1\r\n" HOST "X-Long: ");
    for (int i = 0; i < 2000; i++)
        raw_send(&c, "0123456789");
    RUN_UNTIL(raw_has(&c, "HTTP/1.1 431 Request Header Fields Too Large\r\n"));
    raw_close(&c);
}
END_TEST

static void refuse_in_xml(void *owner, unsigned status, const char *why, const char **type, char body[1024])
{
    ck_assert_str_eq(owner, "first");
    *type = "text/xml";
    snprintf(body, 1024, "<no status='%u'>%s</no>", status, why);
}

START_TEST(refusals_in_the_words_of_the_service)
{
    static struct raw c;
    options.refuse = refuse_in_xml;
    start();
    raw_connect(&c, &address);
    raw_send(&c, "nonsense\r\n");
    RUN_UNTIL(raw_has(&c, "<no status='400'>this is not an HTTP request</no>"));
    ck_assert(raw_has(&c, "Content-Type: text/xml\r\n"));
    raw_close(&c);
}
END_TEST

/* ---- later answers ---- */

START_TEST(an_answer_later_and_what_is_pipelined_behind)
{
    static struct raw c;
    start();
    raw_connect(&c, &address);
    raw_send(&c, "GET /later HTTP/1.1\r\n" HOST "\r\nGET /later HTTP/1.1\r\n" HOST
                 "\r\nGET /b HTTP/1.1\r\n" HOST "\r\nGET /c HT");
    RUN_UNTIL(parked != NULL);
    turns(10);
    raw_send(&c, "TP/1.1\r\n" HOST "\r\n");
    turns(10);
    ck_assert_uint_eq(handled, 1); /* one at a time */
    answer_parked();
    ck_assert_uint_eq(handled, 1); /* never inside the call */
    RUN_UNTIL(parked != NULL);
    answer_parked();
    RUN_UNTIL(raw_has(&c, "GET /c ?"));
    ck_assert_uint_eq(handled, 4);
    ck_assert_uint_eq(raw_count(&c, "parked"), 2);
    raw_close(&c);
}
END_TEST

START_TEST(half_closed_peers_get_their_answers)
{
    static struct raw c;
    start();
    raw_connect(&c, &address);
    raw_send(&c, "GET /later HTTP/1.1\r\n" HOST "\r\nGET /b HTTP/1.1\r\n" HOST "\r\n");
    shutdown(c.fd, SHUT_WR);
    RUN_UNTIL(parked != NULL);
    turns(10);
    answer_parked();
    RUN_UNTIL(raw_poll(&c));
    ck_assert_int_eq(c.error, 0);
    ck_assert(raw_has(&c, "parked") && raw_has(&c, "GET /b ?"));
    raw_close(&c);
}
END_TEST

START_TEST(a_peer_that_is_gone_is_answered_in_vain)
{
    static struct raw c;
    options.connections_max = 1;
    start();
    for (int i = 0; i < 3; i++) {
        raw_connect(&c, &address);
        raw_send(&c, "GET /later?x HTTP/1.1\r\n" HOST "Via: kept\r\n\r\n");
        RUN_UNTIL(parked != NULL);
        if (i == 1)
            raw_close(&c);
        else
            raw_reset(&c);
        turns(10);
        ck_assert_str_eq(httpd_query(parked), "x"); /* still valid */
        ck_assert_str_eq(httpd_field(parked, HTTP_NAME_VIA, NULL), "kept");
        ck_assert_int_eq(httpd_peer(parked)->ss_family, AF_INET);
        /* and it counts: there is no room for another */
        static struct raw other;
        raw_connect(&other, &address);
        RUN_UNTIL(raw_poll(&other));
        raw_close(&other);
        answer_parked();
        turns(10);
    }
}
END_TEST

START_TEST(large_answers_are_drained)
{
    static struct raw c;
    size_t total = 0;
    big_bytes = 9000000;
    start();
    raw_connect(&c, &address);
    raw_send(&c, "GET /big HTTP/1.1\r\n" HOST "\r\nGET /big HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n");
    turns(50);
    ck_assert_uint_eq(handled, 1); /* above the mark no further request is read */
    uint64_t end = uv_hrtime() + FIXTURE_DEADLINE_NS;
    while (!raw_poll(&c) && uv_hrtime() < end) {
        for (size_t i = 0; i < c.len; i++)
            total += c.data[i] == 'b';
        c.len = 0;
        turn();
    }
    for (size_t i = 0; i < c.len; i++)
        total += c.data[i] == 'b';
    ck_assert_int_eq(c.error, 0);
    ck_assert(c.eof);
    ck_assert_uint_eq(handled, 2);
    ck_assert_uint_eq(total, 2 * big_bytes);
    raw_close(&c);
}
END_TEST

/* Answers that nobody reads do not fill the memory: who was answered first gives way. */
START_TEST(unread_answers_have_a_limit)
{
    static struct raw c[4];
    big_bytes = 30000000;
    start();
    for (size_t i = 0; i < 4; i++) {
        raw_connect(&c[i], &address);
        raw_send(&c[i], _i == 0 ? "GET /big HTTP/1.1\r\n" HOST "\r\n"
                                : "GET /big HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n");
        RUN_UNTIL(handled == i + 1);
    }
    for (size_t i = 0; i < 4; i += 3) {
        size_t total = 0;
        bool ended = false;
        uint64_t end = uv_hrtime() + FIXTURE_DEADLINE_NS;
        while (!ended && total < big_bytes && uv_hrtime() < end) {
            ended = raw_poll(&c[i]);
            for (size_t j = 0; j < c[i].len; j++)
                total += c[i].data[j] == 'b';
            c[i].len = 0;
            turn();
        }
        ck_assert_int_eq(total == big_bytes, i == 3);
        ck_assert(i == 3 || ended);
    }
    for (size_t i = 0; i < 4; i++)
        raw_close(&c[i]);
}
END_TEST

START_TEST(answers_have_a_limit)
{
    static struct raw c;
    big_bytes = HTTPD_ANSWER_MAX + 1;
    start();
    raw_connect(&c, &address);
    raw_send(&c, "GET /big HTTP/1.1\r\n" HOST "\r\n");
    RUN_UNTIL(raw_has(&c, "too large\n"));
    ck_assert(raw_has(&c, "HTTP/1.1 500 "));
    raw_close(&c);
}
END_TEST

/* ---- deadlines and limits ---- */

START_TEST(a_slow_request_is_answered_408)
{
    static const char *const beginnings[] = {"G", "GET / HTTP/1.1\r\n", "\r\n",
                                             "POST / HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nab"};
    static struct raw c;
    options.request_ms = 50;
    start();
    raw_connect(&c, &address);
    raw_send(&c, "GET / HTTP/1.1\r\n" HOST "\r\n");
    RUN_UNTIL(raw_has(&c, "HTTP/1.1 200 OK"));
    raw_send(&c, beginnings[_i]);
    RUN_UNTIL(raw_poll(&c));
    ck_assert(raw_has(&c, "HTTP/1.1 408 Request Timeout\r\n"));
    ck_assert_int_eq(c.error, 0);
    raw_close(&c);
}
END_TEST

START_TEST(an_idle_connection_is_closed)
{
    static struct raw c;
    options.idle_ms = 50;
    start();
    raw_connect(&c, &address);
    if (_i == 1) {
        raw_send(&c, "GET / HTTP/1.1\r\n" HOST "\r\n");
        RUN_UNTIL(raw_has(&c, "HTTP/1.1 200 OK"));
    }
    RUN_UNTIL(raw_poll(&c));
    ck_assert_int_eq(c.error, 0);
    ck_assert(!raw_has(&c, "408"));
    raw_close(&c);
}
END_TEST

/* Neither a peer that does not read its answer nor one that does not end holds a connection for ever. */
START_TEST(a_peer_that_does_not_move_is_closed)
{
    static struct raw c, other;
    options.idle_ms = options.request_ms = 50;
    options.connections_max = 1;
    big_bytes = 20000000;
    start();
    raw_connect(&c, &address);
    raw_send(&c, _i == 0   ? "GET /big HTTP/1.1\r\n" HOST "\r\n"
                 : _i == 1 ? "GET /big HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n"
                           : "GET / HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n");
    RUN_UNTIL(handled == 1);
    bool served = false;
    uint64_t end = uv_hrtime() + FIXTURE_DEADLINE_NS;
    while (!served && uv_hrtime() < end) {
        raw_connect(&other, &address);
        raw_send(&other, "GET / HTTP/1.1\r\n" HOST "\r\n");
        RUN_UNTIL(raw_poll(&other) || raw_has(&other, "200 OK"));
        served = raw_has(&other, "200 OK");
        raw_close(&other);
    }
    ck_assert(served);
    raw_close(&c);
}
END_TEST

START_TEST(the_one_idle_longest_gives_way)
{
    static struct raw c[4];
    options.connections_max = 3;
    start();
    for (int i = 0; i < 3; i++) {
        raw_connect(&c[i], &address);
        raw_send(&c[i], "GET / HTTP/1.1\r\n" HOST "\r\n");
        RUN_UNTIL(raw_has(&c[i], "200 OK"));
    }
    raw_send(&c[0], "GET / HTTP/1.1\r\n" HOST "\r\n"); /* now c[1] is */
    RUN_UNTIL(raw_count(&c[0], "200 OK") == 2);
    raw_connect(&c[3], &address);
    raw_send(&c[3], "GET / HTTP/1.1\r\n" HOST "\r\n");
    RUN_UNTIL(raw_has(&c[3], "200 OK"));
    RUN_UNTIL(raw_poll(&c[1]));
    ck_assert(!raw_poll(&c[0]) && !raw_poll(&c[2]));
    for (int i = 0; i < 4; i++)
        raw_close(&c[i]);
}
END_TEST

START_TEST(where_none_is_idle_the_new_one_is_closed)
{
    static struct raw c[2];
    options.connections_max = 1;
    start();
    raw_connect(&c[0], &address);
    raw_send(&c[0], _i == 0 ? "GET /later HTTP/1.1\r\n" HOST "\r\n" : "GET /lat");
    turns(20);
    raw_connect(&c[1], &address);
    RUN_UNTIL(raw_poll(&c[1]));
    ck_assert_uint_eq(c[1].len, 0);
    if (_i == 1)
        raw_send(&c[0], "er HTTP/1.1\r\n" HOST "\r\n");
    RUN_UNTIL(parked != NULL);
    answer_parked();
    RUN_UNTIL(raw_has(&c[0], "parked"));
    raw_close(&c[0]);
    raw_close(&c[1]);
}
END_TEST

START_TEST(a_place_is_free_at_once)
{
    static struct raw c;
    options.connections_max = 1;
    start();
    for (int i = 0; i < 50; i++) {
        raw_connect(&c, &address);
        raw_send(&c, "GET / HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n");
        RUN_UNTIL(raw_poll(&c));
        ck_assert(raw_has(&c, "200 OK"));
        raw_close(&c);
    }
}
END_TEST

/* ---- closing, reload ---- */

START_TEST(closing_waits_for_open_requests)
{
    static struct raw idle, busy, reading, late;
    start();
    raw_connect(&idle, &address);
    raw_connect(&reading, &address);
    raw_send(&reading, "GET /r HTT");
    raw_connect(&busy, &address);
    raw_send(&busy, "GET /later HTTP/1.1\r\n" HOST "\r\nGET /never HTTP/1.1\r\n" HOST "\r\n");
    RUN_UNTIL(parked != NULL);
    httpd_close(server, on_closed, closing);
    server = NULL;
    ck_assert(!closed);
    RUN_UNTIL(raw_poll(&idle));
    memset(&late, 0, sizeof late);
    late.fd = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_lt(connect(late.fd, (struct sockaddr *)&address, sizeof address), 0);
    turns(10);
    ck_assert(!closed);
    answer_parked();
    RUN_UNTIL(raw_poll(&busy));
    ck_assert(raw_has(&busy, "Connection: close\r\n\r\nparked"));
    raw_close(&busy);
    turns(10);
    ck_assert(!closed);
    raw_send(&reading, "P/1.1\r\n" HOST "\r\n");
    RUN_UNTIL(raw_has(&reading, "GET /r ?"));
    raw_close(&reading);
    RUN_UNTIL(closed);
    ck_assert_uint_eq(handled, 2);
    raw_close(&idle);
    raw_close(&late);
}
END_TEST

START_TEST(closing_with_a_request_whose_peer_is_gone)
{
    static struct raw c;
    start();
    raw_connect(&c, &address);
    raw_send(&c, "GET /later HTTP/1.1\r\n" HOST "\r\n");
    RUN_UNTIL(parked != NULL);
    raw_reset(&c);
    httpd_close(server, on_closed, closing);
    server = NULL;
    turns(20);
    ck_assert(!closed);
    answer_parked();
    ck_assert(!closed); /* from a later turn */
    RUN_UNTIL(closed);
}
END_TEST

/* One who reads on and on, but never all, does not hold up the end. */
START_TEST(closing_with_a_slow_reader)
{
    static struct raw c;
    options.request_ms = 200;
    big_bytes = 30000000;
    start();
    raw_connect(&c, &address);
    raw_send(&c, _i == 0 ? "GET /big HTTP/1.1\r\n" HOST "\r\n"
                         : "GET /big HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n");
    RUN_UNTIL(handled == 1);
    httpd_close(server, on_closed, closing);
    server = NULL;
    size_t taken = 0;
    uint64_t end = uv_hrtime() + FIXTURE_DEADLINE_NS, next = 0;
    while (!closed && uv_hrtime() < end) {
        if (uv_hrtime() >= next) { /* far less than there is, but some before each deadline */
            raw_poll(&c);
            taken += c.len;
            c.len = 0;
            next = uv_hrtime() + 50u * 1000000u;
        }
        turn();
    }
    ck_assert(closed);
    ck_assert_uint_lt(taken, big_bytes);
    raw_close(&c);
}
END_TEST

START_TEST(closing_inside_the_handler)
{
    static struct raw c;
    start();
    raw_connect(&c, &address);
    raw_send(&c, "GET /stop HTTP/1.1\r\n" HOST "\r\nGET /never HTTP/1.1\r\n" HOST "\r\n");
    RUN_UNTIL(raw_poll(&c));
    ck_assert(raw_has(&c, "bye"));
    ck_assert_uint_eq(handled, 1);
    raw_close(&c);
}
END_TEST

START_TEST(a_new_owner_from_the_next_request_on)
{
    static struct raw c;
    start();
    raw_connect(&c, &address);
    raw_send(&c, "GET /later HTTP/1.1\r\n" HOST "\r\nGET / HTTP/1.1\r\n" HOST "\r\n");
    RUN_UNTIL(parked != NULL);
    httpd_update(server, NULL, second);
    ck_assert_str_eq(httpd_request_owner(parked), "first");
    answer_parked();
    RUN_UNTIL(raw_has(&c, "owner=second"));
    raw_close(&c);
}
END_TEST

/* ---- Unix sockets ---- */

START_TEST(over_a_unix_socket)
{
    static struct raw c;
    int fd;
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    char dir[] = "/tmp/stagate-httpd-XXXXXX";
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(sa.sun_path, sizeof sa.sun_path, "%s/s", dir);
    ck_assert_int_eq(listener_bind_unix(sa.sun_path, 0600, &fd), 0);
    server = httpd_new(&loop, fd, &options);
    raw_open(&c, (struct sockaddr *)&sa, sizeof sa);
    raw_send(&c, "GET /later HTTP/1.1\r\n" HOST "\r\n");
    RUN_UNTIL(parked != NULL);
    ck_assert_int_eq(httpd_peer(parked)->ss_family, AF_UNIX);
    ck_assert(!httpd_is_tls(parked));
    answer_parked();
    RUN_UNTIL(raw_has(&c, "parked"));
    raw_close(&c);
    unlink(sa.sun_path);
    rmdir(dir);
}
END_TEST

/* ---- TLS (what is spoken on it is tested with the client, in test_httpc.c) ---- */

START_TEST(a_tls_port_without_tls)
{
    static const struct {
        const char *bytes;
        size_t len;
        const char *answer;
    } cases[] = {
        {"GET / HTTP/1.1\r\n" HOST "\r\n", 26, "HTTP/1.1 400 Bad Request\r\n"},
        {"\x05\x01", 2, ""},
        {"", 0, ""}, /* silent, and then in the middle of a record: until the deadline */
        {"\x16\x03\x01\x01", 4, ""},
    };
    static struct raw c;
    struct cert_fixture cert;
    char why[256];
    int bad;
    cert_fixture_make(&cert);
    const char *certificate = cert.certificate, *key = cert.key;
    const struct tlsctx_options o = {
        .certificates = &certificate, .keys = &key, .count = 1, .floor = TLS1_2_VERSION};
    ck_assert_int_eq(tlsctx_new_server(&options.tls, &o, &bad, why, sizeof why), 0);
    options.request_ms = 50;
    start();
    SSL_CTX_free(options.tls);
    raw_connect(&c, &address);
    raw_send_n(&c, cases[_i].bytes, cases[_i].len);
    RUN_UNTIL(raw_poll(&c));
    ck_assert_int_eq(strncmp(c.data, cases[_i].answer, strlen(cases[_i].answer)), 0);
    if (cases[_i].answer[0] == '\0')
        ck_assert_uint_eq(c.len, 0);
    else
        ck_assert(raw_has(&c, "plain HTTP on a TLS port: use https://"));
    ck_assert_uint_eq(handled, 0);
    raw_close(&c);
    cert_fixture_remove(&cert);
}
END_TEST

/* ---- queries ---- */

START_TEST(query_values)
{
    static const struct {
        const char *query, *name, *value; /* NULL: false */
    } cases[] = {
        {"a=1&b=2", "a", "1"},
        {"a=1&b=2", "b", "2"},
        {"a=1&b=2", "c", NULL},
        {"", "a", NULL},
        {"ab=1&a=2", "a", "2"},
        {"a", "a", ""},
        {"a&b=1", "a", ""},
        {"a=", "a", ""},
        {"a=x+y%20z", "a", "x y z"},
        {"a=%41%2b%2B", "a", "A++"},
        {"a=%4", "a", NULL},
        {"a=%", "a", NULL},
        {"a=%zz", "a", NULL},
        {"a=%00", "a", NULL},
        {"a=x%00y", "a", NULL},
        {"a=12345678", "a", NULL},
        {"a=1234567", "a", "1234567"},
        {"a=1=2", "a", "1=2"},
        {"b=1&&a=3", "a", "3"},
        {"a=%c3%a9", "a", "\xc3\xa9"},
        {"A=1", "a", NULL},
        {"a=1&a=2", "a", "1"},
        {"&", "a", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char dst[8] = "garbage";
        bool there = httpd_query_value(cases[i].query, cases[i].name, dst, sizeof dst);
        ck_assert_msg(there == (cases[i].value != NULL), "%s in %s", cases[i].name, cases[i].query);
        ck_assert_str_eq(dst, there ? cases[i].value : "");
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("httpd");
    TCase *t = tcase_create("httpd");
    int n = sizeof exchanges / sizeof exchanges[0];
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, every_request_split_everywhere, 0, n);
    tcase_add_loop_test(t, every_request_in_single_bytes, 0, n);
    tcase_add_test(t, body_limits);
    tcase_add_test(t, heads_have_a_limit);
    tcase_add_test(t, refusals_in_the_words_of_the_service);
    tcase_add_test(t, an_answer_later_and_what_is_pipelined_behind);
    tcase_add_test(t, half_closed_peers_get_their_answers);
    tcase_add_test(t, a_peer_that_is_gone_is_answered_in_vain);
    tcase_add_test(t, large_answers_are_drained);
    tcase_add_loop_test(t, unread_answers_have_a_limit, 0, 2);
    tcase_add_test(t, answers_have_a_limit);
    tcase_add_loop_test(t, a_slow_request_is_answered_408, 0, 4);
    tcase_add_loop_test(t, an_idle_connection_is_closed, 0, 2);
    tcase_add_loop_test(t, a_peer_that_does_not_move_is_closed, 0, 3);
    tcase_add_test(t, the_one_idle_longest_gives_way);
    tcase_add_loop_test(t, where_none_is_idle_the_new_one_is_closed, 0, 2);
    tcase_add_test(t, a_place_is_free_at_once);
    tcase_add_test(t, closing_waits_for_open_requests);
    tcase_add_test(t, closing_with_a_request_whose_peer_is_gone);
    tcase_add_loop_test(t, closing_with_a_slow_reader, 0, 2);
    tcase_add_test(t, closing_inside_the_handler);
    tcase_add_test(t, a_new_owner_from_the_next_request_on);
    tcase_add_test(t, over_a_unix_socket);
    tcase_add_loop_test(t, a_tls_port_without_tls, 0, 4);
    tcase_add_test(t, query_values);
    suite_add_tcase(s, t);
    return fixture_end(srunner_create(s));
}
