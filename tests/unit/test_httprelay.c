/* The HTTP relay between two buffers: what goes on of requests and answers, byte for byte, and what does not,
 * however the bytes come in. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "httprelay_fixture.h"

#define FOLDER_SYNC                                                                                          \
    "\x03\x01\x6a\x00\x00\x07\x56\x52\x03"                                                                   \
    "0\x00\x01\x01" /* 13 bytes */
#define PATH  "/Microsoft-Server-ActiveSync"
#define QUERY "?Cmd=FolderSync&User=alice&DeviceId=iPhone1&DeviceType=iPhone"
#define POST  "POST " PATH QUERY " HTTP/1.1\r\n"
#define HOST  "Host: mail.example.com\r\n"
#define TYPE  "Content-Type: application/vnd.ms-sync.wbxml\r\n"
#define OK    "HTTP/1.1 200 OK\r\n"

#define COUNT(array)  (sizeof(array) / sizeof(array)[0])
#define TEXT(literal) literal, sizeof(literal) - 1
#define NOTHING       NULL, 0

static const char *const paths[] = {"activesync", "autodiscover"};
static struct device_rule rules[] = {{.action = 1, .id = "Bad*"}};

static const struct service_settings plain = {.paths = {(void *)(uintptr_t)paths, 2}};
static const struct service_settings floors = {
    .paths = {(void *)(uintptr_t)paths, 2}, .activesync_floor = 121, .activesync_ceiling = 161};
static const struct service_settings bound = {.paths = {(void *)(uintptr_t)paths, 2}, .bind_user = true};
static const struct service_settings devices = {.paths = {(void *)(uintptr_t)paths, 2},
                                                .devices = {rules, 1}};
static const struct service_settings forward = {.paths = {(void *)(uintptr_t)paths, 2}, .forward = 7};
static const struct service_settings beats = {.paths = {(void *)(uintptr_t)paths, 2},
                                              .max_heartbeat_ms = 60000};

/* ---- feeding ---- */

/* In two pieces, split at `at`; 0: byte by byte; len: whole. */
static void feed(struct fixture *f, bool client, const char *data, size_t len, size_t at)
{
    void (*push)(struct httprelay *, const uint8_t *, size_t, struct httprelay_out *) =
        client ? httprelay_client_data : httprelay_backend_data;
    const uint8_t *p = (const uint8_t *)data;
    size_t step = at == 0 ? 1 : at;
    while (len > 0) {
        size_t n = step < len ? step : len;
        push(f->relay, p, n, &f->out);
        p += n;
        len -= n;
        step = at == 0 ? 1 : len;
    }
}

static void compare(const struct buf *b, const char *wanted, size_t len, const char *what)
{
    ck_assert_msg(b->len == len && (len == 0 || memcmp(b->data, wanted, len) == 0),
                  "%s: %.*s\ninstead of: %.*s", what, (int)b->len, b->data ? (const char *)b->data : "",
                  (int)len, wanted ? wanted : "");
}

static bool begins(const struct buf *b, const char *text)
{
    return b->len >= strlen(text) && memcmp(b->data, text, strlen(text)) == 0;
}

static bool holds(const struct buf *b, const char *text)
{
    return b->len > 0 && memmem(b->data, b->len, text, strlen(text)) != NULL;
}

/* ---- exchanges that work ---- */

static const struct {
    const struct service_settings *service;
    bool reverse;
    const char *request;
    size_t request_len;
    const char *passed;
    size_t passed_len;
    const char *answer;
    size_t answer_len;
    const char *returned;
    size_t returned_len;
    bool over; /* the client's connection ends with it */
} exchanges[] = {
    /* a length stays a length, fields stay as they are, those of one connection go */
    {&plain, false,
     TEXT(POST HOST TYPE
          "Cookie: a=b; c\r\nConnection: keep-alive, X-Mine\r\nX-Mine: 1\r\nKeep-Alive: 5\r\nTE: x\r\n"
          "Proxy-Authorization: Basic eA==\r\nX-STA-Ticket: t\r\nX_Under: 1\r\nContent-Length: "
          "13\r\n\r\n" FOLDER_SYNC),
     TEXT(POST HOST TYPE "Cookie: a=b; c\r\nContent-Length: 13\r\n\r\n" FOLDER_SYNC),
     TEXT(OK "X-A:  b \r\nSet-Cookie: d\r\nConnection: x-b\r\nX-B: 1\r\nContent-Length: 3\r\n\r\nabc"),
     TEXT(OK "X-A: b\r\nSet-Cookie: d\r\nContent-Length: 3\r\n\r\nabc"), false},
    /* chunks are decoded and made anew, extensions and trailers go */
    {&plain, false,
     TEXT(POST HOST TYPE "Transfer-Encoding: chunked\r\n\r\nd;x=y\r\n" FOLDER_SYNC
                         "\r\n0\r\nX-Trailer: 1\r\n\r\n"),
     NOTHING, TEXT(OK "Transfer-Encoding: chunked\r\n\r\n3;q\r\nabc\r\n0\r\nX-T: 1\r\n\r\n"), NOTHING, false},
    /* an empty POST has a length, an empty answer is one too */
    {&plain, false, TEXT(POST HOST "\r\n"), TEXT(POST HOST "Content-Length: 0\r\n\r\n"),
     TEXT(OK "Content-Length: 0\r\n\r\n"), TEXT(OK "Content-Length: 0\r\n\r\n"), false},
    /* an interim answer, then the real one */
    {&plain, false, TEXT("OPTIONS " PATH " HTTP/1.1\r\n" HOST "\r\n"),
     TEXT("OPTIONS " PATH " HTTP/1.1\r\n" HOST "\r\n"),
     TEXT("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 No Content\r\nMS-ASProtocolVersions: "
          "2.5,14.1\r\n\r\n"),
     TEXT("HTTP/1.1 204 No Content\r\nMS-ASProtocolVersions: 2.5,14.1\r\n\r\n"), false},
    /* 304 and 204 have no body whatever their fields say */
    {&plain, false, TEXT("OPTIONS " PATH " HTTP/1.1\r\n" HOST "\r\n"),
     TEXT("OPTIONS " PATH " HTTP/1.1\r\n" HOST "\r\n"),
     TEXT("HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n"),
     TEXT("HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n"), false},
    /* HEAD: a length without a body */
    {&plain, false, TEXT("HEAD /autodiscover/autodiscover.xml HTTP/1.1\r\n" HOST "\r\n"),
     TEXT("HEAD /autodiscover/autodiscover.xml HTTP/1.1\r\n" HOST "\r\n"),
     TEXT(OK "Content-Length: 99\r\n\r\n"), TEXT(OK "Content-Length: 99\r\n\r\n"), false},
    /* HTTP/1.0 has to ask for the connection to stay */
    {&plain, false, TEXT("OPTIONS " PATH " HTTP/1.0\r\n" HOST "Connection: keep-alive\r\n\r\n"),
     TEXT("OPTIONS " PATH " HTTP/1.1\r\n" HOST "\r\n"), TEXT(OK "Content-Length: 1\r\n\r\nx"),
     TEXT(OK "Connection: keep-alive\r\nContent-Length: 1\r\n\r\nx"), false},
    {&plain, false, TEXT("OPTIONS " PATH " HTTP/1.0\r\n" HOST "\r\n"),
     TEXT("OPTIONS " PATH " HTTP/1.1\r\n" HOST "\r\n"), TEXT(OK "Content-Length: 1\r\n\r\nx"),
     TEXT(OK "Connection: close\r\nContent-Length: 1\r\n\r\nx"), true},
    /* a mail server that ends its connection ends the client's */
    {&plain, false, TEXT("OPTIONS " PATH " HTTP/1.1\r\n" HOST "\r\n"),
     TEXT("OPTIONS " PATH " HTTP/1.1\r\n" HOST "\r\n"),
     TEXT(OK "Connection: close\r\nContent-Length: 0\r\n\r\n"),
     TEXT(OK "Connection: close\r\nContent-Length: 0\r\n\r\n"), true},
    /* versions outside the limits are taken out */
    {&floors, false, TEXT("OPTIONS " PATH " HTTP/1.1\r\n" HOST "\r\n"),
     TEXT("OPTIONS " PATH " HTTP/1.1\r\n" HOST "\r\n"),
     TEXT(OK "MS-ASProtocolVersions: 2.5, 12.1,16.1\r\nX-MS-RP: 2.0,14.0,17.0\r\nContent-Length: 0\r\n\r\n"),
     TEXT(OK "MS-ASProtocolVersions: 12.1,16.1\r\nX-MS-RP: 14.0\r\nContent-Length: 0\r\n\r\n"), false},
    /* what the client says of its way is replaced */
    {&forward, false,
     TEXT("OPTIONS " PATH " HTTP/1.1\r\nVia: 1.1 me\r\nX-Forwarded-For: 1.2.3.4\r\nForwarded: for=x\r\n"
          "X-Forwarded-Proto: gopher\r\n" HOST "\r\n"),
     TEXT("OPTIONS " PATH " HTTP/1.1\r\n" HOST
          "Via: 1.1 stagate\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\n\r\n"),
     TEXT(OK "Content-Length: 0\r\n\r\n"), TEXT(OK "Content-Length: 0\r\n\r\n"), false},
    /* the activesync door: the service's Host, and redirects that lead back here */
    {&plain, true,
     TEXT("OPTIONS " PATH " HTTP/1.1\r\nHost: gate.test:8443\r\nX-STA-Ticket: ;40;STA1;T\r\n\r\n"),
     TEXT("OPTIONS " PATH " HTTP/1.1\r\n" HOST "\r\n"),
     TEXT("HTTP/1.1 451 Redirect\r\nX-MS-Location: https://other.example.com/x?y\r\nContent-Length: "
          "0\r\n\r\n"),
     TEXT("HTTP/1.1 451 Unavailable For Legal Reasons\r\nX-MS-Location: "
          "https://gate.test:8443/x?y\r\nContent-Length: 0\r\n\r\n"),
     false},
    /* in a tunnel redirects stay */
    {&plain, false, TEXT("OPTIONS " PATH " HTTP/1.1\r\n" HOST "\r\n"),
     TEXT("OPTIONS " PATH " HTTP/1.1\r\n" HOST "\r\n"),
     TEXT("HTTP/1.1 451 Redirect\r\nX-MS-Location: https://other.example.com/x\r\nContent-Length: 0\r\n\r\n"),
     TEXT("HTTP/1.1 451 Unavailable For Legal Reasons\r\nX-MS-Location: "
          "https://other.example.com/x\r\nContent-Length: 0\r\n\r\n"),
     false},
};

static void run_exchange(int i, size_t request_at, size_t answer_at)
{
    struct fixture f;
    enum reason reason;
    const char *detail;
    fixture_open(&f, exchanges[i].service, exchanges[i].reverse);
    feed(&f, true, exchanges[i].request, exchanges[i].request_len, request_at);
    if (exchanges[i].passed != NULL)
        compare(&f.backend, exchanges[i].passed, exchanges[i].passed_len, "the request");
    ck_assert_uint_eq(f.done, 0);
    feed(&f, false, exchanges[i].answer, exchanges[i].answer_len, answer_at);
    if (exchanges[i].returned != NULL)
        compare(&f.client, exchanges[i].returned, exchanges[i].returned_len, "the answer");
    ck_assert_uint_eq(f.done, 1);
    ck_assert_int_eq(f.reason, REASON_OK);
    ck_assert(httprelay_is_over(f.relay, &reason, &detail) == exchanges[i].over);
    ck_assert_int_eq(reason, REASON_OK);
    fixture_close(&f);
}

START_TEST(goes_through)
{
    size_t request = exchanges[_i].request_len, answer = exchanges[_i].answer_len;
    for (size_t at = 0; at <= request; at++)
        run_exchange(_i, at, answer);
    for (size_t at = 0; at <= answer; at++)
        run_exchange(_i, request, at);
}
END_TEST

/* However the chunks come: what goes on is chunks of the same bytes, and nothing else of the message. */
START_TEST(chunks_are_made_anew)
{
    struct fixture f;
    fixture_open(&f, &plain, false);
    feed(&f, true, exchanges[1].request, exchanges[1].request_len, exchanges[1].request_len);
    compare(&f.backend,
            TEXT(POST HOST TYPE "Transfer-Encoding: chunked\r\n\r\nd\r\n" FOLDER_SYNC "\r\n0\r\n\r\n"),
            "the request");
    feed(&f, false, exchanges[1].answer, exchanges[1].answer_len, exchanges[1].answer_len);
    compare(&f.client, TEXT(OK "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"), "the answer");
    fixture_close(&f);
}
END_TEST

/* ---- requests that go nowhere ---- */

static const struct {
    const struct service_settings *service;
    const char *request;
    size_t len;
    enum reason reason;
    const char *status; /* with which the answer begins */
    bool over;
} refused[] = {
    /* what http-parser takes although it must not be taken */
    {&plain, TEXT(POST HOST "Content-Length : 5\r\n\r\nabcde"), REASON_REQUEST_MALFORMED, "HTTP/1.1 400 ",
     true},
    {&plain, TEXT(POST HOST "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"), REASON_REQUEST_MALFORMED,
     "HTTP/1.1 400 ", true},
    {&plain, TEXT(POST HOST " X: 1\r\n\r\n"), REASON_REQUEST_MALFORMED, "HTTP/1.1 400 ", true},
    {&plain, TEXT(POST HOST "X Y: 1\r\n\r\n"), REASON_REQUEST_MALFORMED, "HTTP/1.1 400 ", true},
    {&plain, TEXT(POST "Host: mail.example.com\n\r\n"), REASON_REQUEST_MALFORMED, "HTTP/1.1 400 ", true},
    {&plain, TEXT(POST HOST "Transfer-Encoding: eee\r\nTransfer-Encoding: chunked\r\n\r\n"),
     REASON_REQUEST_MALFORMED, "HTTP/1.1 400 ", true},
    {&plain, TEXT(POST HOST "Transfer-Encoding: gzip, chunked\r\n\r\n"), REASON_REQUEST_MALFORMED,
     "HTTP/1.1 501 ", true},
    {&plain, TEXT("POST " PATH QUERY " HTTP/1.0\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"),
     REASON_REQUEST_MALFORMED, "HTTP/1.1 400 ", true},
    {&plain, TEXT(POST HOST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"),
     REASON_REQUEST_MALFORMED, "HTTP/1.1 400 ", true},
    {&plain, TEXT(POST HOST "Content-Length: 5\r\nContent-Length: 5\r\n\r\n"), REASON_REQUEST_MALFORMED,
     "HTTP/1.1 400 ", true},
    {&plain, TEXT(POST HOST "Content-Length: +5\r\n\r\n"), REASON_REQUEST_MALFORMED, "HTTP/1.1 400 ", true},
    {&plain, TEXT(POST "\r\n"), REASON_REQUEST_MALFORMED, "HTTP/1.1 400 ", true},
    {&plain, TEXT(POST HOST HOST "\r\n"), REASON_REQUEST_MALFORMED, "HTTP/1.1 400 ", true},
    {&plain, TEXT("POST " PATH QUERY " HTTP/1.7\r\n" HOST "\r\n"), REASON_REQUEST_MALFORMED, "HTTP/1.1 505 ",
     true},
    {&plain, TEXT("POST " PATH QUERY " HTTP/9.9\r\n" HOST "\r\n"), REASON_REQUEST_MALFORMED, "HTTP/1.1 505 ",
     true},
    {&plain, TEXT("POST " PATH "\r\n"), REASON_REQUEST_MALFORMED, "HTTP/1.1 505 ", true},
    {&plain, TEXT("CONNECT mail.example.com:443 HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\n"),
     REASON_REQUEST_MALFORMED, "HTTP/1.1 400 ", true},
    {&plain, TEXT("CONNECT mail.example.com HTTP/1.1\r\n" HOST "\r\n"), REASON_REQUEST_MALFORMED,
     "HTTP/1.1 400 ", true},
    {&plain, TEXT(POST HOST "X: a\x01\r\n\r\n"), REASON_REQUEST_MALFORMED, "HTTP/1.1 400 ", true},
    {&plain, TEXT(POST HOST "X: a\r\n b\r\n\r\n"), REASON_REQUEST_MALFORMED, "HTTP/1.1 400 ", true},
    {&plain, TEXT(POST HOST "X: a\rb\r\n\r\n"), REASON_REQUEST_MALFORMED, "HTTP/1.1 400 ", true},
    /* another Host, another spelling of a path, a whole URL */
    {&plain, TEXT("OPTIONS " PATH " HTTP/1.1\r\nHost: other.example.com\r\n\r\n"), REASON_SERVICE_NOT_LISTED,
     "HTTP/1.1 403 ", false},
    {&plain, TEXT("GET /owa HTTP/1.1\r\n" HOST "\r\n"), REASON_NOT_ACTIVESYNC, "HTTP/1.1 403 ", false},
    {&plain, TEXT("GET " PATH "/../owa HTTP/1.1\r\n" HOST "\r\n"), REASON_NOT_ACTIVESYNC, "HTTP/1.1 403 ",
     false},
    {&plain, TEXT("GET " PATH " HTTP/1.1\r\n" HOST "\r\n"), REASON_NOT_ACTIVESYNC, "HTTP/1.1 403 ", false},
    {&plain, TEXT("GET http://mail.example.com" PATH " HTTP/1.1\r\n" HOST "\r\n"), REASON_REQUEST_MALFORMED,
     "HTTP/1.1 400 ", true},
    {&plain, TEXT("POST /traveler HTTP/1.1\r\n" HOST "\r\n"), REASON_SYNCML, "HTTP/1.1 403 ", false},
    {&plain, TEXT(POST HOST "Content-Type: application/vnd.syncml+wbxml\r\n\r\n"), REASON_SYNCML,
     "HTTP/1.1 403 ", false},
    /* fields that say what to do, twice or named away */
    {&plain, TEXT(POST HOST TYPE TYPE "\r\n"), REASON_REQUEST_MALFORMED, "HTTP/1.1 400 ", true},
    {&plain, TEXT(POST HOST "MS-ASProtocolVersion: 14.1\r\nMS-ASProtocolVersion: 2.5\r\n\r\n"),
     REASON_REQUEST_MALFORMED, "HTTP/1.1 400 ", true},
    {&plain, TEXT(POST HOST "MS-ASProtocolVersion: 14.1\r\nConnection: ms-asprotocolversion\r\n\r\n"),
     REASON_REQUEST_MALFORMED, "HTTP/1.1 400 ", true},
    {&plain, TEXT(POST HOST "Expect: miracles\r\n\r\n"), REASON_REQUEST_MALFORMED, "HTTP/1.1 400 ", true},
    /* the document is not the command's, or cannot be seen */
    {&plain,
     TEXT("POST " PATH "?Cmd=Ping&DeviceId=a HTTP/1.1\r\n" HOST TYPE
          "Content-Length: 13\r\n\r\n" FOLDER_SYNC),
     REASON_COMMAND_MISMATCH, "HTTP/1.1 400 ", false},
    {&plain, TEXT(POST HOST TYPE "Content-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx"),
     REASON_COMMAND_MISMATCH, "HTTP/1.1 400 ", false},
    {&plain, TEXT(POST HOST "Content-Type: message/rfc822\r\nContent-Length: 1\r\n\r\nx"),
     REASON_COMMAND_MISMATCH, "HTTP/1.1 400 ", false},
    {&plain, TEXT("POST " PATH "?Cmd=Ping&Cmd=Sync HTTP/1.1\r\n" HOST "\r\n"), REASON_REQUEST_MALFORMED,
     "HTTP/1.1 400 ", true},
    {&plain, TEXT("POST " PATH " HTTP/1.1\r\n" HOST "\r\n"), REASON_NOT_ACTIVESYNC, "HTTP/1.1 403 ", false},
    /* versions */
    {&floors, TEXT(POST HOST "MS-ASProtocolVersion: 2.5\r\n\r\n"), REASON_ACTIVESYNC_FLOOR, "HTTP/1.1 400 ",
     false},
    {&floors, TEXT(POST HOST "MS-ASProtocolVersion: 17.0\r\n\r\n"), REASON_ACTIVESYNC_FLOOR, "HTTP/1.1 200 ",
     false},
    {&floors, TEXT(POST HOST "\r\n"), REASON_ACTIVESYNC_FLOOR, "HTTP/1.1 400 ", false},
    /* who it is */
    {&devices, TEXT("POST " PATH "?Cmd=FolderSync&DeviceId=bad1 HTTP/1.1\r\n" HOST "\r\n"),
     REASON_DEVICE_BLOCKED, "HTTP/1.1 403 ", false},
    {&bound, TEXT(POST HOST "Authorization: Basic Ym9iOng=\r\n\r\n"), REASON_USER_MISMATCH, "HTTP/1.1 403 ",
     false},
    {&bound, TEXT(POST HOST "Authorization: NTLM TlRMTVNTUAAB\r\n\r\n"), REASON_USER_MISMATCH,
     "HTTP/1.1 403 ", false},
};

static void run_refused(int i, size_t at)
{
    struct fixture f;
    enum reason reason;
    const char *detail;
    char field[64];
    fixture_open(&f, refused[i].service, false);
    feed(&f, true, refused[i].request, refused[i].len, at);
    ck_assert_msg(f.backend.len == 0, "%.*s", (int)f.backend.len, f.backend.data);
    ck_assert_uint_eq(f.done, 1);
    ck_assert_msg(f.reason == refused[i].reason, "%s", reason_info(f.reason)->id);
    ck_assert_msg(begins(&f.client, refused[i].status), "%.*s", (int)f.client.len, f.client.data);
    snprintf(field, sizeof field, "\r\nX-Stagate-Reason: %s\r\n", reason_info(refused[i].reason)->id);
    ck_assert(holds(&f.client, field));
    ck_assert(httprelay_is_over(f.relay, &reason, &detail) == refused[i].over);
    ck_assert(holds(&f.client, "\r\nConnection: close\r\n") == refused[i].over);
    if (!refused[i].over) { /* and the next one goes through */
        f.client.len = 0;
        feed(&f, true, TEXT("OPTIONS " PATH " HTTP/1.1\r\n" HOST "\r\n"), 99);
        compare(&f.backend, TEXT("OPTIONS " PATH " HTTP/1.1\r\n" HOST "\r\n"), "the next request");
    }
    fixture_close(&f);
}

START_TEST(goes_nowhere)
{
    for (size_t at = 0; at <= refused[_i].len; at++)
        run_refused(_i, at);
}
END_TEST

/* ---- answers that must not be believed ---- */

static const char *const bad_answers[] = {
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, eee\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding : chunked\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
    "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    "HTTP/1.1 200 OK\nContent-Length: 3\r\n\r\n",
    "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n",
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    "HTTP/2.0 200 OK\r\n\r\n",
    "ICY 200 OK\r\n\r\n",
    "HTTP/1.1 20 OK\r\n\r\n",
};

START_TEST(bad_answers_become_502)
{
    size_t len = strlen(bad_answers[_i]);
    for (size_t at = 0; at <= len; at++) {
        struct fixture f;
        enum reason reason;
        const char *detail;
        fixture_open(&f, &plain, false);
        feed(&f, true, TEXT("OPTIONS " PATH " HTTP/1.1\r\n" HOST "\r\n"), 99);
        feed(&f, false, bad_answers[_i], len, at);
        ck_assert_msg(begins(&f.client, "HTTP/1.1 502 "), "%.*s", (int)f.client.len, f.client.data);
        ck_assert_int_eq(f.reason, REASON_BACKEND_MALFORMED);
        ck_assert(httprelay_is_over(f.relay, &reason, &detail));
        ck_assert_int_eq(reason, REASON_BACKEND_MALFORMED);
        fixture_close(&f);
    }
}
END_TEST

/* In the middle of an answer nothing can be told any more: the connection ends, unfinished. */
START_TEST(a_bad_chunk_ends_the_answer)
{
    struct fixture f;
    enum reason reason;
    const char *detail;
    fixture_open(&f, &plain, false);
    feed(&f, true, TEXT("OPTIONS " PATH " HTTP/1.1\r\n" HOST "\r\n"), 99);
    feed(&f, false, TEXT(OK "Transfer-Encoding: chunked\r\n\r\n3\r\nabcXX0\r\n\r\n"), 99);
    compare(&f.client, TEXT(OK "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"), "the answer");
    ck_assert(httprelay_is_over(f.relay, &reason, &detail) && reason == REASON_BACKEND_MALFORMED);
    fixture_close(&f);
}
END_TEST

START_TEST(an_answer_without_a_question)
{
    struct fixture f;
    enum reason reason;
    const char *detail;
    fixture_open(&f, &plain, false);
    feed(&f, false, TEXT(OK "Content-Length: 0\r\n\r\n"), 99);
    ck_assert_uint_eq(f.client.len, 0);
    ck_assert(httprelay_is_over(f.relay, &reason, &detail) && reason == REASON_BACKEND_MALFORMED);
    fixture_close(&f);
}
END_TEST

/* ---- turns ---- */

/* Many requests at once: each has its turn when the one before is answered. */
START_TEST(one_at_a_time)
{
    static const char ask[] = "OPTIONS " PATH " HTTP/1.1\r\n" HOST "\r\n";
    char all[10 * sizeof ask];
    struct fixture f;
    size_t len = 0;
    for (unsigned i = 0; i < 10; i++) {
        memcpy(all + len, ask, sizeof ask - 1);
        len += sizeof ask - 1;
    }
    fixture_open(&f, &plain, false);
    feed(&f, true, all, len, len);
    for (unsigned i = 1; i <= 10; i++) {
        ck_assert_uint_eq(f.backend.len, i * (sizeof ask - 1));
        ck_assert_uint_eq(f.done, i - 1);
        feed(&f, false, TEXT(OK "Content-Length: 1\r\n\r\nx"), 99);
    }
    ck_assert_uint_eq(f.done, 10);
    ck_assert_int_eq(httprelay_wait(f.relay), HTTPRELAY_NEXT);
    fixture_close(&f);
}
END_TEST

/* A client that sends without end ahead of its turn is not read on, and then ended. */
START_TEST(ahead_of_its_turn)
{
    static const char chunk[4096] = {'x'};
    struct fixture f;
    enum reason reason;
    const char *detail;
    fixture_open(&f, &plain, false);
    feed(&f, true, TEXT("OPTIONS " PATH " HTTP/1.1\r\n" HOST "\r\n"), 99);
    ck_assert(httprelay_wants_client(f.relay));
    size_t sent = 0;
    while (httprelay_wants_client(f.relay)) {
        feed(&f, true, chunk, sizeof chunk, sizeof chunk);
        sent += sizeof chunk;
        ck_assert_uint_le(sent, 64 * 1024);
    }
    while (!httprelay_is_over(f.relay, &reason, &detail)) {
        feed(&f, true, chunk, sizeof chunk, sizeof chunk);
        sent += sizeof chunk;
        ck_assert_uint_le(sent, 1024 * 1024);
    }
    ck_assert_int_eq(reason, REASON_REQUEST_MALFORMED);
    fixture_close(&f);
}
END_TEST

/* 100 Continue: the head goes on at once, the server's word comes back, then the body. */
START_TEST(waits_to_be_told)
{
    struct fixture f;
    fixture_open(&f, &plain, false);
    feed(&f, true, TEXT(POST HOST TYPE "Expect: 100-continue\r\nContent-Length: 13\r\n\r\n"), 999);
    ck_assert(holds(&f.backend, "\r\nExpect: 100-continue\r\n") && holds(&f.backend, "\r\n\r\n"));
    size_t head = f.backend.len;
    feed(&f, false, TEXT("HTTP/1.1 100 Continue\r\n\r\n"), 99);
    compare(&f.client, TEXT("HTTP/1.1 100 Continue\r\n\r\n"), "the interim answer");
    feed(&f, true, TEXT(FOLDER_SYNC), 0);
    ck_assert_uint_eq(f.backend.len, head + 13);
    feed(&f, false, TEXT(OK "Content-Length: 0\r\n\r\n"), 99);
    ck_assert_uint_eq(f.done, 1);
    fixture_close(&f);
}
END_TEST

/* The root of the body is seen before anything of the request goes on. */
START_TEST(nothing_goes_on_before_the_root)
{
    struct fixture f;
    fixture_open(&f, &plain, false);
    feed(&f, true, TEXT(POST HOST TYPE "Content-Length: 13\r\n\r\n"), 999);
    feed(&f, true, TEXT("\x03\x01\x6a\x00\x00\x07"), 0);
    ck_assert_uint_eq(f.backend.len, 0);
    feed(&f, true, TEXT("\x56"), 1);
    ck_assert_uint_gt(f.backend.len, 0);
    fixture_close(&f);
}
END_TEST

/* ---- ends ---- */

START_TEST(half_a_request_is_not_one)
{
    struct fixture f;
    enum reason reason;
    const char *detail;
    fixture_open(&f, &plain, false);
    feed(&f, true, TEXT(POST HOST TYPE "Content-Length: 13\r\n\r\n\x03\x01"), 999);
    httprelay_client_eof(f.relay, &f.out);
    ck_assert(httprelay_is_over(f.relay, &reason, &detail) && reason == REASON_CLIENT_GONE);
    ck_assert_uint_eq(f.backend.len, 0);
    ck_assert_int_eq(f.reason, REASON_CLIENT_GONE);
    fixture_close(&f);
}
END_TEST

/* A client that has sent its last request still gets the answer; one whose Ping waits has gone. */
START_TEST(half_closed_clients)
{
    struct fixture f;
    enum reason reason;
    const char *detail;
    fixture_open(&f, &plain, false);
    feed(&f, true, TEXT(POST HOST "\r\n"), 999);
    httprelay_client_eof(f.relay, &f.out);
    ck_assert(!httprelay_is_over(f.relay, &reason, &detail));
    feed(&f, false, TEXT(OK "Content-Length: 1\r\n\r\nx"), 99);
    ck_assert(holds(&f.client, "\r\n\r\nx"));
    ck_assert(httprelay_is_over(f.relay, &reason, &detail) && reason == REASON_OK);
    fixture_close(&f);

    fixture_open(&f, &plain, false);
    feed(&f, true, TEXT("POST " PATH "?Cmd=Ping&DeviceId=a HTTP/1.1\r\n" HOST "\r\n"), 999);
    httprelay_client_eof(f.relay, &f.out);
    ck_assert(httprelay_is_over(f.relay, &reason, &detail) && reason == REASON_CLIENT_GONE);
    fixture_close(&f);
}
END_TEST

static const struct {
    const char *answer; /* as far as it came */
    bool clean;
    enum reason reason;
    const char *told; /* with which what the client got ends; NULL: a 502 */
} cut[] = {
    {"", true, REASON_BACKEND_GONE, NULL},
    {"", false, REASON_BACKEND_GONE, NULL},
    {"HTTP/1.1 200 OK\r\nContent-Le", true, REASON_BACKEND_GONE, NULL},
    {OK "Content-Length: 5\r\n\r\nabc", true, REASON_BACKEND_GONE, "\r\n\r\nabc"},
    {OK "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", true, REASON_BACKEND_GONE, "3\r\nabc\r\n"},
    {OK "\r\nabc", true, REASON_OK, "3\r\nabc\r\n0\r\n\r\n"},   /* until the end: chunks for the client */
    {OK "\r\nabc", false, REASON_BACKEND_GONE, "3\r\nabc\r\n"}, /* and an end that is none */
};

START_TEST(the_mail_server_ends)
{
    struct fixture f;
    enum reason reason;
    const char *detail;
    fixture_open(&f, &plain, false);
    feed(&f, true, TEXT(POST HOST "\r\n"), 999);
    feed(&f, false, cut[_i].answer, strlen(cut[_i].answer), 999);
    httprelay_backend_eof(f.relay, cut[_i].clean, &f.out);
    ck_assert(httprelay_is_over(f.relay, &reason, &detail));
    ck_assert_int_eq(f.reason, cut[_i].reason);
    if (cut[_i].told == NULL) {
        ck_assert(begins(&f.client, "HTTP/1.1 502 ") && holds(&f.client, "X-Stagate-Reason: backend_gone"));
    } else {
        size_t len = strlen(cut[_i].told);
        ck_assert(f.client.len >= len && memcmp(f.client.data + f.client.len - len, cut[_i].told, len) == 0);
    }
    fixture_close(&f);
}
END_TEST

/* ---- waiting ---- */

#define PING(seconds)                                                                                        \
    "\x03\x01\x6a\x00\x00\x0d\x45\x48\x03" seconds "\x00\x01\x01" /* HeartbeatInterval alone */

static void ask_to_wait(struct fixture *f, const char *command, const char *body, size_t len)
{
    char head[256];
    snprintf(head, sizeof head,
             "POST " PATH "?Cmd=%s&DeviceId=a HTTP/1.1\r\n" HOST TYPE
             "MS-ASProtocolVersion: 14.1\r\nContent-Length: %zu\r\n\r\n",
             command, len);
    feed(f, true, head, strlen(head), 999);
    feed(f, true, body, len, 0);
}

static void ask_ping(struct fixture *f, const char *body, size_t len)
{
    ask_to_wait(f, "Ping", body, len);
}

START_TEST(a_ping_has_its_heartbeat)
{
    struct fixture f;
    fixture_open(&f, &plain, false);
    ck_assert_int_eq(httprelay_wait(f.relay), HTTPRELAY_NEXT);
    ask_ping(&f, TEXT(PING("480")));
    ck_assert_int_eq(httprelay_wait(f.relay), HTTPRELAY_BEAT);
    ck_assert_uint_eq(httprelay_beat_ms(f.relay), 480000 + 60000);
    feed(&f, false, TEXT(OK "Content-Length: 0\r\n\r\n"), 99);
    ask_ping(&f, NOTHING); /* the same again */
    ck_assert_uint_eq(httprelay_beat_ms(f.relay), 480000 + 60000);
    fixture_close(&f);

    fixture_open(&f, &plain, false);
    ask_ping(&f, NOTHING); /* as before, which was before this connection: as long as may be */
    ck_assert_uint_eq(httprelay_beat_ms(f.relay), 3540000 + 60000);
    httprelay_late(f.relay, &f.out);
    ck_assert(begins(&f.client, "HTTP/1.1 504 "));
    fixture_close(&f);
}
END_TEST

/* Where waits are limited a Ping ends in the words of a server: status 5 and the limit. */
START_TEST(a_wait_that_is_too_long)
{
    struct fixture f;
    enum reason reason;
    const char *detail;
    fixture_open(&f, &beats, false);
    ask_ping(&f, TEXT(PING("59")));
    ck_assert_uint_eq(httprelay_beat_ms(f.relay), 59000 + 60000);
    fixture_close(&f);

    fixture_open(&f, &beats, false);
    ask_ping(&f, TEXT(PING("61")));
    ck_assert_uint_eq(httprelay_beat_ms(f.relay), 60000);
    httprelay_late(f.relay, &f.out);
    ck_assert(begins(&f.client, OK));
    static const char said[] = "\x03\x01\x6a\x00\x00\x0d\x45\x47\x03"
                               "5\x00\x01\x48\x03"
                               "60\x00\x01\x01";
    ck_assert(f.client.len > sizeof said &&
              memcmp(f.client.data + f.client.len - (sizeof said - 1), said, sizeof said - 1) == 0);
    ck_assert(httprelay_is_over(f.relay, &reason, &detail) && httprelay_has_dropped_backend(f.relay));
    fixture_close(&f);
}
END_TEST

/* A Sync's limit is in the unit it asked in: HeartbeatInterval counts seconds, Wait minutes. */
#define SYNC(told)         "\x03\x01\x6a\x00\x45" told "\x01"
#define IN_SECONDS(number) "\x69\x03" number "\x00\x01"
#define IN_MINUTES(number) "\x64\x03" number "\x00\x01"
#define SYNC_LIMIT(number)                                                                                   \
    SYNC("\x4e\x03"                                                                                          \
         "14\x00\x01\x65\x03" number "\x00\x01")

#define BOTH(body, told) body, told, sizeof(body) - 1, sizeof(told) - 1

static const struct {
    const char *body, *told; /* "": a Sync with an empty body, an answer without one */
    size_t body_len, told_len;
    int64_t limit_ms;
} long_syncs[] = {
    {BOTH(SYNC(IN_SECONDS("151")), SYNC_LIMIT("150")), 150000},
    {BOTH(SYNC(IN_MINUTES("3")), SYNC_LIMIT("2")), 150000},
    {BOTH(SYNC(IN_MINUTES("2") IN_SECONDS("160")), SYNC_LIMIT("150")), 150000},
    {BOTH(SYNC(IN_SECONDS("160") IN_MINUTES("3")), SYNC_LIMIT("2")), 150000},
    /* no number of minutes is short enough: it ends as one whose time is out */
    {BOTH(SYNC(IN_MINUTES("1")), ""), 59000},
    {BOTH(SYNC(IN_SECONDS("60")), SYNC_LIMIT("59")), 59000},
    {BOTH("", SYNC_LIMIT("150")), 150000},
};

START_TEST(a_sync_that_is_too_long)
{
    struct service_settings limited = beats;
    limited.max_heartbeat_ms = long_syncs[_i].limit_ms;
    for (int again = 0; again < 2; again++) { /* then with an empty body, which means the same */
        struct fixture f;
        fixture_open(&f, &limited, false);
        ask_to_wait(&f, "Sync", long_syncs[_i].body, long_syncs[_i].body_len);
        if (again) {
            feed(&f, false, TEXT(OK "Content-Length: 0\r\n\r\n"), 99);
            ask_ping(&f, TEXT(PING("9")));
            feed(&f, false, TEXT(OK "Content-Length: 0\r\n\r\n"), 99);
            buf_consume(&f.client, f.client.len);
            ask_to_wait(&f, "Sync", NOTHING);
        }
        ck_assert_uint_eq(httprelay_beat_ms(f.relay), (uint64_t)limited.max_heartbeat_ms);
        httprelay_late(f.relay, &f.out);
        char end[96];
        int head = snprintf(end, sizeof end, "Content-Length: %zu\r\nConnection: close\r\n\r\n",
                            long_syncs[_i].told_len);
        memcpy(end + head, long_syncs[_i].told, long_syncs[_i].told_len);
        size_t len = (size_t)head + long_syncs[_i].told_len;
        ck_assert(begins(&f.client, OK) && f.client.len > len);
        ck_assert_mem_eq(f.client.data + f.client.len - len, end, len);
        enum reason reason;
        const char *detail;
        ck_assert(httprelay_is_over(f.relay, &reason, &detail) && httprelay_has_dropped_backend(f.relay));
        fixture_close(&f);
    }
}
END_TEST

START_TEST(a_sign_in_page_is_no_answer)
{
    struct fixture f;
    fixture_open(&f, &plain, false);
    feed(&f, true, TEXT(POST HOST "\r\n"), 999);
    feed(&f, false, TEXT(OK "Content-Type: text/html\r\nContent-Length: 6\r\n\r\n<form>"), 0);
    ck_assert(begins(&f.client, "HTTP/1.1 502 ") && !holds(&f.client, "<form>"));
    ck_assert_int_eq(f.reason, REASON_BACKEND_LOGIN_FORM);
    fixture_close(&f);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("httprelay");
    TCase *tc = tcase_create("httprelay");
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, goes_through, 0, COUNT(exchanges));
    tcase_add_test(tc, chunks_are_made_anew);
    tcase_add_loop_test(tc, goes_nowhere, 0, COUNT(refused));
    tcase_add_loop_test(tc, bad_answers_become_502, 0, COUNT(bad_answers));
    tcase_add_test(tc, a_bad_chunk_ends_the_answer);
    tcase_add_test(tc, an_answer_without_a_question);
    tcase_add_test(tc, one_at_a_time);
    tcase_add_test(tc, ahead_of_its_turn);
    tcase_add_test(tc, waits_to_be_told);
    tcase_add_test(tc, nothing_goes_on_before_the_root);
    tcase_add_test(tc, half_a_request_is_not_one);
    tcase_add_test(tc, half_closed_clients);
    tcase_add_loop_test(tc, the_mail_server_ends, 0, COUNT(cut));
    tcase_add_test(tc, a_ping_has_its_heartbeat);
    tcase_add_test(tc, a_wait_that_is_too_long);
    tcase_add_loop_test(tc, a_sync_that_is_too_long, 0, (int)COUNT(long_syncs));
    tcase_add_test(tc, a_sign_in_page_is_no_answer);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
