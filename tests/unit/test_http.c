/* HTTP messages: each case is read whole, split at every byte, and byte by byte, and has to give the same
 * trace each time.
 *
 * A trace is the story of a feed in one line: heads with framing and fields, the body, how each message
 * ended.
 */
#include <check.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "proto/http.h"

#define H "Host: h\r\n"

struct trace {
    char text[8192];
    size_t len;
    bool in_body;
    size_t body_bytes;
};

static void trace_add(struct trace *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void trace_add(struct trace *t, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(t->text + t->len, sizeof t->text - t->len, fmt, ap);
    va_end(ap);
    ck_assert(n >= 0 && (size_t)n < sizeof t->text - t->len);
    t->len += (size_t)n;
}

static int on_head(void *owner, const struct http_head *h)
{
    struct trace *t = owner;
    if (h->method != NULL)
        trace_add(t, "%s %s", h->method, h->target);
    else
        trace_add(t, "%u", h->status);
    trace_add(t, " 1.%u%s%s", h->minor, h->keep_alive ? " keep" : " close", h->chunked ? " chunked" : "");
    if (h->content_length >= 0)
        trace_add(t, " length=%lld", (long long)h->content_length);
    for (size_t i = 0; i < h->field_count; i++)
        trace_add(t, " [%s=%s]", h->fields[i].name, h->fields[i].value);
    t->in_body = false;
    return 0;
}

static int on_body(void *owner, const uint8_t *data, size_t len)
{
    struct trace *t = owner;
    ck_assert(len > 0);
    if (!t->in_body)
        trace_add(t, " body=");
    t->in_body = true;
    t->body_bytes += len;
    if (t->body_bytes < 1024) /* long bodies are counted only */
        trace_add(t, "%.*s", (int)len, (const char *)data);
    return 0;
}

static const struct http_events events = {on_head, on_body};

/* Feeds data in pieces that end at the given cuts; goes on behind each message, and stops at a tunnel or an
 * error. */
static int feed_all(struct http_reader *r, struct trace *t, const char *data, size_t len, size_t first,
                    size_t step)
{
    size_t at = 0;
    size_t stop = first;
    while (at < len) {
        size_t n = (stop < len ? stop : len) - at;
        size_t used = 0;
        int rc = http_reader_feed(r, (const uint8_t *)data + at, n, &used);
        ck_assert(used <= n);
        at += used;
        if (rc == HTTP_DONE)
            trace_add(t, " done; ");
        if (rc == HTTP_UPGRADE) {
            trace_add(t, " upgrade; %.*s", (int)(len - at), data + at);
            return rc;
        }
        if (rc < 0)
            return rc;
        if (rc == HTTP_MORE)
            ck_assert_uint_eq(used, n);
        if (at == stop)
            stop += step;
    }
    return HTTP_MORE;
}

struct row {
    const char *name;
    const char *text;
    size_t len;
    const char *trace; /* NULL: refused, with rc and a word of the sentence */
    int rc;
    const char *word;
    enum http_kind kind;
    const char *expect; /* responses: method of the request */
    bool eof;           /* then the connection ends */
};

#define GOOD(n, s, t, ...)                                                                                   \
    {                                                                                                        \
        .name = n, .text = s, .len = sizeof(s) - 1, .trace = t, __VA_ARGS__                                  \
    }
#define BAD(n, s, r, w, ...)                                                                                 \
    {                                                                                                        \
        .name = n, .text = s, .len = sizeof(s) - 1, .rc = r, .word = w, __VA_ARGS__                          \
    }
#define RESPONSE .kind = HTTP_RESPONSE

static void read_row(const struct row *row, struct trace *t, int *rc, const char **why, size_t first,
                     size_t step)
{
    memset(t, 0, sizeof *t);
    struct http_reader *r = http_reader_new(row->kind, &events, t);
    if (row->expect != NULL)
        http_reader_expect(r, row->expect);
    *rc = feed_all(r, t, row->text, row->len, first, step);
    if (row->eof && *rc == HTTP_MORE) {
        *rc = http_reader_finish(r);
        trace_add(t, *rc == HTTP_DONE ? " eof-done" : *rc == HTTP_MORE ? " eof-idle" : "");
    }
    *why = http_reader_why(r);
    if (*rc < 0) {
        size_t used = 1;
        unsigned unsupported = strstr(*why, "spoken here") != NULL ? 505 : 501;
        ck_assert_uint_eq(http_reader_status(r), *rc == ERR_SYNTAX    ? 400
                                                 : *rc == ERR_TOO_BIG ? 431
                                                                      : unsupported);
        ck_assert_int_eq(http_reader_feed(r, (const uint8_t *)"x", 1, &used),
                         *rc); /* failed once, failed for good */
        ck_assert_uint_eq(used, 0);
        ck_assert_int_eq(http_reader_finish(r), *rc);
    }
    http_reader_free(r);
}

static void check_row(const struct row *row)
{
    struct trace whole;
    struct trace parts;
    const char *why;
    int rc;
    int rc_parts;

    read_row(row, &whole, &rc, &why, row->len, row->len);
    if (row->trace != NULL) {
        ck_assert_msg(rc >= 0, "%s: %d %s", row->name, rc, why);
        ck_assert_msg(strcmp(whole.text, row->trace) == 0, "%s:\n  is %s\n  not %s", row->name, whole.text,
                      row->trace);
    } else {
        ck_assert_msg(rc == row->rc, "%s: %d %s: %s", row->name, rc, why, whole.text);
        ck_assert_msg(why != NULL && strstr(why, row->word) != NULL, "%s: %s", row->name, why);
    }
    size_t step = row->len > 4096 ? 97 : 1; /* long inputs: not every cut */
    for (size_t cut = 1; cut <= row->len; cut += step) {
        bool one_by_one = cut == row->len;
        read_row(row, &parts, &rc_parts, &why, one_by_one ? 1 : cut, one_by_one ? 1 : row->len);
        ck_assert_msg(rc_parts == rc, "%s: cut at %zu: %d %s", row->name, cut, rc_parts, why);
        ck_assert_msg(strcmp(parts.text, whole.text) == 0, "%s: cut at %zu:\n  is %s\n  not %s", row->name,
                      cut, parts.text, whole.text);
    }
}

static const struct row taken[] = {
    GOOD("plain GET", "GET /path?q=1 HTTP/1.1\r\n" H "\r\n", "GET /path?q=1 1.1 keep [Host=h] done; "),
    GOOD("HTTP/1.0 without Host", "GET / HTTP/1.0\r\n\r\n", "GET / 1.0 close done; "),
    GOOD("HTTP/1.0 keep-alive", "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n",
         "GET / 1.0 keep [Connection=Keep-Alive] done; "),
    GOOD("close", "GET / HTTP/1.1\r\n" H "Connection: foo, close\r\n\r\n",
         "GET / 1.1 close [Host=h] [Connection=foo, close] done; "),
    GOOD("empty Host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", "GET / 1.1 keep [Host=] done; "),
    GOOD("blanks around values", "GET / HTTP/1.1\r\nHost:\t h \t\r\nX:  a \t b  \r\nY: \t \r\nZ:\r\n\r\n",
         "GET / 1.1 keep [Host=h] [X=a \t b] [Y=] [Z=] done; "),
    GOOD("all characters of a token", "GET / HTTP/1.1\r\n" H "!#$%&'*+-.^_`|~09AZaz: v\r\n\r\n",
         "GET / 1.1 keep [Host=h] [!#$%&'*+-.^_`|~09AZaz=v] done; "),
    GOOD("bytes above ASCII in a value", "GET / HTTP/1.1\r\n" H "X: \xc3\xbc\xff\r\n\r\n",
         "GET / 1.1 keep [Host=h] [X=\xc3\xbc\xff] done; "),
    GOOD("absolute form", "GET http://h/x HTTP/1.1\r\n" H "\r\n", "GET http://h/x 1.1 keep [Host=h] done; "),
    GOOD("asterisk form", "OPTIONS * HTTP/1.1\r\n" H "\r\n", "OPTIONS * 1.1 keep [Host=h] done; "),
    GOOD("empty lines before a request", "\r\n\r\nGET / HTTP/1.1\r\n" H "\r\n\r\n",
         "GET / 1.1 keep [Host=h] done; "),
    GOOD("body with length", "POST /x HTTP/1.1\r\n" H "Content-Length: 5\r\n\r\nhello",
         "POST /x 1.1 keep length=5 [Host=h] [Content-Length=5] body=hello done; "),
    GOOD("body of zero bytes", "POST /x HTTP/1.1\r\n" H "Content-Length: 0\r\n\r\n",
         "POST /x 1.1 keep length=0 [Host=h] [Content-Length=0] done; "),
    GOOD("blank behind the length", "POST /x HTTP/1.1\r\n" H "Content-Length: 2 \r\n\r\nab",
         "POST /x 1.1 keep length=2 [Host=h] [Content-Length=2] body=ab done; "),
    GOOD("bare line feeds in a body", "POST /x HTTP/1.1\r\n" H "Content-Length: 6\r\n\r\n\n\r\x01\n\n\n",
         "POST /x 1.1 keep length=6 [Host=h] [Content-Length=6] body=\n\r\x01\n\n\n done; "),
    GOOD("chunks",
         "POST /x HTTP/1.1\r\n" H
         "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1;ext=\"y\"\r\n,\r\n06 \r\n wor\r\n\r\n0\r\n\r\n",
         "POST /x 1.1 keep chunked [Host=h] [Transfer-Encoding=chunked] body=hello, wor\r\n done; "),
    GOOD("no chunk", "POST /x HTTP/1.1\r\n" H "transfer-encoding: CHUNKED\r\n\r\n0\r\n\r\n",
         "POST /x 1.1 keep chunked [Host=h] [transfer-encoding=CHUNKED] done; "),
    GOOD("trailers are dropped",
         "POST /x HTTP/1.1\r\n" H
         "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nX-Sum: 1\r\nContent-Length: "
         "7\r\nTransfer-Encoding: eee\r\nHost: evil\r\nY:\r\n\r\nGET / HTTP/1.1\r\n" H "\r\n",
         "POST /x 1.1 keep chunked [Host=h] [Transfer-Encoding=chunked] body=ab done; GET / 1.1 keep "
         "[Host=h] done; "),
    GOOD("pipelined",
         "GET /1 HTTP/1.1\r\n" H "\r\nPOST /2 HTTP/1.1\r\n" H
         "Content-Length: 1\r\n\r\nxGET /3 HTTP/1.0\r\n\r\n",
         "GET /1 1.1 keep [Host=h] done; POST /2 1.1 keep length=1 [Host=h] [Content-Length=1] body=x done; "
         "GET /3 1.0 close done; "),
    GOOD("pipelined behind a close",
         "GET /1 HTTP/1.1\r\n" H "Connection: close\r\n\r\nGET /2 HTTP/1.1\r\n" H "\r\n",
         "GET /1 1.1 close [Host=h] [Connection=close] done; GET /2 1.1 keep [Host=h] done; "),
    GOOD("Upgrade does not stop a GET",
         "GET /1 HTTP/1.1\r\n" H "Connection: Upgrade\r\nUpgrade: h2c\r\n\r\nGET /2 HTTP/1.1\r\n" H "\r\n",
         "GET /1 1.1 keep [Host=h] [Connection=Upgrade] [Upgrade=h2c] done; GET /2 1.1 keep [Host=h] done; "),
    GOOD("Upgrade with a body",
         "POST /1 HTTP/1.1\r\n" H
         "Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\nabGET /2 HTTP/1.0\r\n\r\n",
         "POST /1 1.1 keep length=2 [Host=h] [Connection=Upgrade] [Upgrade=h2c] [Content-Length=2] body=ab "
         "done; GET /2 1.0 close done; "),
    GOOD("Upgrade in the trailers",
         "POST /1 HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n0\r\nConnection: Upgrade\r\nUpgrade: "
         "h2c\r\n\r\nGET /2 HTTP/1.0\r\n\r\n",
         "POST /1 1.1 keep chunked [Host=h] [Transfer-Encoding=chunked] done; GET /2 1.0 close done; "),
    GOOD("CONNECT",
         "CONNECT mail.example.com:443 HTTP/1.1\r\nHost: mail.example.com:443\r\nProxy-Authorization: Bearer "
         ";40;STA01;T\r\n\r\n\x16\x03\x01GET",
         "CONNECT mail.example.com:443 1.1 keep [Host=mail.example.com:443] [Proxy-Authorization=Bearer "
         ";40;STA01;T] upgrade; \x16\x03\x01GET"),
    GOOD("CONNECT of Python 3.11",
         "CONNECT mail.example.com:443 HTTP/1.0\r\nProxy-Authorization: Basic eDp5\r\n\r\n\x16\x03",
         "CONNECT mail.example.com:443 1.0 close [Proxy-Authorization=Basic eDp5] upgrade; \x16\x03"),
    GOOD("CONNECT of Windows",
         "CONNECT mail.example.com:443 HTTP/1.0\r\nHost: mail.example.com\r\nContent-Length: "
         "0\r\nProxy-Connection: Keep-Alive\r\n\r\n\x16",
         "CONNECT mail.example.com:443 1.0 keep length=0 [Host=mail.example.com] [Content-Length=0] "
         "[Proxy-Connection=Keep-Alive] upgrade; \x16"),
    GOOD("CONNECT without Host", "CONNECT [2001:db8::1]:443 HTTP/1.1\r\n\r\n",
         "CONNECT [2001:db8::1]:443 1.1 keep upgrade; "),
    GOOD("methods", "PROPFIND / HTTP/1.0\r\n\r\nHEAD / HTTP/1.0\r\n\r\nM-SEARCH / HTTP/1.0\r\n\r\n",
         "PROPFIND / 1.0 close done; HEAD / 1.0 close done; M-SEARCH / 1.0 close done; "),
    GOOD("end before anything", "", " eof-idle", .eof = true),
    GOOD("end behind a message", "GET / HTTP/1.0\r\n\r\n\r\n", "GET / 1.0 close done;  eof-idle",
         .eof = true),
};

START_TEST(takes_requests)
{
    check_row(&taken[_i]);
}
END_TEST

static const struct row responses[] = {
    GOOD("length",
         "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabHTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
         "200 1.1 keep length=2 [Content-Length=2] body=ab done; 404 1.1 keep length=0 [Content-Length=0] "
         "done; ",
         RESPONSE),
    GOOD("chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
         "200 1.1 keep chunked [Transfer-Encoding=chunked] body=ab done; ", RESPONSE),
    GOOD("until the end", "HTTP/1.1 200 OK\r\n\r\nabc\n", "200 1.1 close body=abc\n eof-done", RESPONSE,
         .eof = true),
    GOOD("until the end, empty", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n",
         "200 1.0 close [Connection=keep-alive] eof-done", RESPONSE, .eof = true),
    GOOD("nothing", "", " eof-idle", RESPONSE, .eof = true),
    GOOD("no reason phrase", "HTTP/1.1 204\r\n\r\nHTTP/1.1 204 \r\n\r\n",
         "204 1.1 keep done; 204 1.1 keep done; ", RESPONSE),
    GOOD("reason phrase in Latin-1", "HTTP/1.1 204 Gel\xf6scht \t!\r\n\r\n", "204 1.1 keep done; ", RESPONSE),
    GOOD("204 has no body",
         "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
         "204 1.1 close length=5 [Content-Length=5] done; 200 1.1 keep length=0 [Content-Length=0] done; ",
         RESPONSE),
    GOOD("204 has no chunks", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
         "204 1.1 close chunked [Transfer-Encoding=chunked] done; ", RESPONSE),
    GOOD("304 has no body", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
         "304 1.1 keep length=5 [Content-Length=5] done; ", RESPONSE),
    GOOD("100 and then the answer",
         "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
         "100 1.1 keep done; 200 1.1 keep length=1 [Content-Length=1] body=x done; ", RESPONSE),
    GOOD("answers to HEAD",
         "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: "
         "chunked\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
         "200 1.1 keep length=5 [Content-Length=5] done; 200 1.1 keep chunked [Transfer-Encoding=chunked] "
         "done; 200 1.1 keep done; ",
         RESPONSE, .expect = "HEAD"),
    GOOD("answer to CONNECT", "HTTP/1.1 200 Connection established\r\n\r\n\x16\x03",
         "200 1.1 keep upgrade; \x16\x03", RESPONSE, .expect = "CONNECT"),
    GOOD("answer to CONNECT with a length", "HTTP/1.1 204 x\r\nContent-Length: 5\r\n\r\nhello",
         "204 1.1 close length=5 [Content-Length=5] upgrade; hello", RESPONSE, .expect = "CONNECT"),
    GOOD("refusal of CONNECT", "HTTP/1.1 407 x\r\nContent-Length: 2\r\n\r\nnoHTTP/1.1 200 x\r\n\r\nT",
         "407 1.1 keep length=2 [Content-Length=2] body=no done; 200 1.1 keep upgrade; T", RESPONSE,
         .expect = "CONNECT"),
    GOOD("Upgrade offered",
         "HTTP/1.1 200 OK\r\nConnection: Upgrade\r\nUpgrade: h2\r\nContent-Length: 1\r\n\r\nx",
         "200 1.1 keep length=1 [Connection=Upgrade] [Upgrade=h2] [Content-Length=1] body=x done; ",
         RESPONSE),
    BAD("chunked, eee", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, eee\r\n\r\n", ERR_UNSUPPORTED,
        "chunked", RESPONSE),
    BAD("gzip", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", ERR_UNSUPPORTED, "chunked", RESPONSE),
    BAD("coding in 1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", ERR_SYNTAX, "HTTP/1.0",
        RESPONSE),
    BAD("101", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
        ERR_UNSUPPORTED, "switches", RESPONSE),
    BAD("two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", ERR_SYNTAX,
        "Content-Length", RESPONSE),
    BAD("length and chunks", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        ERR_SYNTAX, "Transfer-Encoding", RESPONSE),
    BAD("blank before the colon", "HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\n", ERR_SYNTAX, "field name",
        RESPONSE),
    BAD("empty line first", "\r\nHTTP/1.1 200 OK\r\n\r\n", ERR_SYNTAX, "version", RESPONSE),
    BAD("two blanks", "HTTP/1.1  200 OK\r\n\r\n", ERR_SYNTAX, "not an HTTP response", RESPONSE),
    BAD("status of two digits", "HTTP/1.1 20\r\n\r\n", ERR_SYNTAX, "not an HTTP response", RESPONSE),
    BAD("status of four digits", "HTTP/1.1 2000\r\n\r\n", ERR_SYNTAX, "not an HTTP response", RESPONSE),
    BAD("status below 100", "HTTP/1.1 099 x\r\n\r\n", ERR_SYNTAX, "three digits", RESPONSE),
    BAD("status with letters", "HTTP/1.1 2x0 x\r\n\r\n", ERR_SYNTAX, "three digits", RESPONSE),
    BAD("HTTQ", "HTTQ/1.1 200 OK\r\n\r\n", ERR_SYNTAX, "version", RESPONSE),
    BAD("ICY", "ICY 200 OK\r\n\r\n", ERR_SYNTAX, "version", RESPONSE),
    BAD("HTTP/2", "HTTP/2.0 200 OK\r\n\r\n", ERR_UNSUPPORTED, "HTTP/2", RESPONSE),
    BAD("HTTP/1.2", "HTTP/1.2 200 OK\r\n\r\n", ERR_UNSUPPORTED, "version", RESPONSE),
    BAD("tab", "HTTP/1.1\t200 OK\r\n\r\n", ERR_SYNTAX, "not an HTTP response", RESPONSE),
    BAD("end in the head", "HTTP/1.1 200 OK\r\n", ERR_SYNTAX, "ended in the middle", RESPONSE, .eof = true),
    BAD("end in the start line", "H", ERR_SYNTAX, "ended in the middle", RESPONSE, .eof = true),
    BAD("end in the body", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", ERR_SYNTAX,
        "ended in the middle", RESPONSE, .eof = true),
    BAD("end behind a chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n", ERR_SYNTAX,
        "ended in the middle", RESPONSE, .eof = true),
    BAD("end in the trailers", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", ERR_SYNTAX,
        "ended in the middle", RESPONSE, .eof = true),
};

START_TEST(reads_responses)
{
    check_row(&responses[_i]);
}
END_TEST

#define POST    "POST /x HTTP/1.1\r\n" H
#define CHUNKED POST "Transfer-Encoding: chunked\r\n\r\n"

static const struct row refused[] = {
    /* what http-parser, as Debian builds it, lets pass */
    BAD("blank before the colon of Content-Length", POST "Content-Length : 5\r\n\r\nhello", ERR_SYNTAX,
        "field name"),
    BAD("blank before the colon of Transfer-Encoding", POST "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        ERR_SYNTAX, "field name"),
    BAD("blank inside a name", POST "X Y: 5\r\n\r\n", ERR_SYNTAX, "field name"),
    BAD("blank before a name", "GET / HTTP/1.1\r\n X: 5\r\n" H "\r\n", ERR_SYNTAX, "begins with a blank"),
    BAD("bare line feed in a chunk extension", CHUNKED "1;a\nb\r\nx\r\n0\r\n\r\n", ERR_SYNTAX, "line feed"),
    BAD("bare line feed behind a chunk size", CHUNKED "1\nx\r\n0\r\n\r\n", ERR_SYNTAX, "line feed"),
    BAD("chunk data not followed by CR LF", CHUNKED "3\r\nabcXX0\r\n\r\n", ERR_SYNTAX,
        "longer than its size"),
    BAD("chunk data followed by LF", CHUNKED "3\r\nabc\n0\r\n\r\n", ERR_SYNTAX, "line feed"),
    BAD("chunk data followed by CR", CHUNKED "3\r\nabc\r0\r\n\r\n", ERR_SYNTAX, "carriage return"),
    BAD("bare line feed behind the request line", "GET / HTTP/1.1\n" H "\r\n", ERR_SYNTAX, "line feed"),
    BAD("bare line feed behind a field", "GET / HTTP/1.1\r\nHost: h\n\r\n", ERR_SYNTAX, "line feed"),
    BAD("bare line feed as the blank line", "GET / HTTP/1.1\r\n" H "\n", ERR_SYNTAX, "line feed"),
    BAD("bare line feed first", "\nGET / HTTP/1.1\r\n" H "\r\n", ERR_SYNTAX, "line feed"),
    BAD("bare line feed in the trailers", CHUNKED "0\r\nX: y\n\r\n", ERR_SYNTAX, "line feed"),
    BAD("two codings", POST "Transfer-Encoding: eee\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ERR_SYNTAX, "Transfer-Encoding"),
    BAD("two codings, chunked first",
        POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: eee\r\n\r\n0\r\n\r\n", ERR_SYNTAX,
        "Transfer-Encoding"),
    BAD("chunked twice", POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ERR_SYNTAX, "Transfer-Encoding"),
    BAD("gzip, chunked", POST "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", ERR_UNSUPPORTED,
        "chunked"),
    BAD("coding in HTTP/1.0", "POST /x HTTP/1.0\r\n" H "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ERR_SYNTAX, "HTTP/1.0"),
    BAD("no Host", "GET / HTTP/1.1\r\nX: y\r\n\r\n", ERR_SYNTAX, "Host is missing"),
    BAD("two Hosts", "GET / HTTP/1.1\r\n" H "host: i\r\n\r\n", ERR_SYNTAX, "Host is there more than once"),
    BAD("two equal Hosts", "GET / HTTP/1.1\r\n" H H "\r\n", ERR_SYNTAX, "Host is there more than once"),
    BAD("two Hosts in HTTP/1.0", "GET / HTTP/1.0\r\n" H H "\r\n", ERR_SYNTAX, "Host is there more than once"),
    BAD("two Hosts with CONNECT", "CONNECT a:443 HTTP/1.1\r\n" H H "\r\n", ERR_SYNTAX,
        "Host is there more than once"),
    BAD("HTTP/1.7", "GET / HTTP/1.7\r\n" H "\r\n", ERR_UNSUPPORTED, "version"),
    BAD("HTTP/9.9", "GET / HTTP/9.9\r\n" H "\r\n", ERR_UNSUPPORTED, "version"),
    BAD("HTTP/0.9", "GET /\r\n", ERR_UNSUPPORTED, "HTTP/0.9"),
    BAD("HTTP/0.9 for CONNECT", "CONNECT a:443\r\n", ERR_UNSUPPORTED, "HTTP/0.9"),
    BAD("HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", ERR_UNSUPPORTED, "HTTP/2"),
    BAD("CONNECT with a length", "CONNECT a:443 HTTP/1.1\r\n" H "Content-Length: 5\r\n\r\nhello", ERR_SYNTAX,
        "no body"),
    BAD("CONNECT with chunks", "CONNECT a:443 HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ERR_SYNTAX, "no body"),
    BAD("CONNECT without port", "CONNECT a HTTP/1.1\r\n" H "\r\n", ERR_SYNTAX, "port is missing"),
    BAD("CONNECT with a user", "CONNECT user@a:443 HTTP/1.1\r\n" H "\r\n", ERR_SYNTAX, "user"),
    BAD("CONNECT with a URL", "CONNECT https://a:443/ HTTP/1.1\r\n" H "\r\n", ERR_SYNTAX, "URL"),
    BAD("CONNECT with a path", "CONNECT /x HTTP/1.1\r\n" H "\r\n", ERR_SYNTAX, "path"),
    BAD("CONNECT with port 0", "CONNECT a:0 HTTP/1.1\r\n" H "\r\n", ERR_SYNTAX, "port 0"),
    BAD("CONNECT with leading zero", "CONNECT a:0443 HTTP/1.1\r\n" H "\r\n", ERR_SYNTAX, "leading zero"),
    BAD("CONNECT with an empty label", "CONNECT a..b:443 HTTP/1.1\r\n" H "\r\n", ERR_SYNTAX, "empty label"),
    BAD("CONNECT with a zone", "CONNECT [fe80::1%25eth0]:443 HTTP/1.1\r\n" H "\r\n", ERR_SYNTAX, "zone"),
    BAD("CONNECT with an underscore", "CONNECT a_b:443 HTTP/1.1\r\n" H "\r\n", ERR_SYNTAX, "underscore"),
    /* letters of "HTTP" are not compared by it either */
    BAD("HTTQ", "GET / HTTQ/1.1\r\n" H "\r\n", ERR_SYNTAX, "version"),
    BAD("HXXX", "GET / HXXX/1.1\r\n" H "\r\n", ERR_SYNTAX, "version"),
    BAD("two blanks before the target", "GET  / HTTP/1.1\r\n" H "\r\n", ERR_SYNTAX, "two blanks"),
    BAD("two blanks before the version", "GET /  HTTP/1.1\r\n" H "\r\n", ERR_SYNTAX, "version"),
    BAD("tab in the target", "GET /a\tb HTTP/1.1\r\n" H "\r\n", ERR_SYNTAX, "target"),
    BAD("bytes above ASCII in the target", "GET /\xc3\xbc HTTP/1.1\r\n" H "\r\n", ERR_SYNTAX, "encoded"),
    BAD("asterisk with GET", "GET * HTTP/1.1\r\n" H "\r\n", ERR_SYNTAX, "neither"),
    BAD("asterisk with more", "OPTIONS *x HTTP/1.1\r\n" H "\r\n", ERR_SYNTAX, "neither"),
    BAD("control character in a chunk extension", CHUNKED "1;\x01\r\nx\r\n0\r\n\r\n", ERR_SYNTAX, "control"),
    BAD("folded trailer", CHUNKED "0\r\nX: y\r\n z\r\n\r\n", ERR_SYNTAX, "blank"),
    BAD("blank in the name of a trailer", CHUNKED "0\r\nX : y\r\n\r\n", ERR_SYNTAX, "field name"),
    /* what it refuses itself: a library in its place has to go on doing so */
    BAD("xchunked", POST "Transfer-Encoding: xchunked\r\n\r\n", ERR_UNSUPPORTED, "chunked"),
    BAD("chunkedx", POST "Transfer-Encoding: chunkedx\r\n\r\n", ERR_UNSUPPORTED, "chunked"),
    BAD("vertical tab before chunked", POST "Transfer-Encoding: \vchunked\r\n\r\n", ERR_SYNTAX, "control"),
    BAD("chunked, identity", POST "Transfer-Encoding: chunked, identity\r\n\r\n", ERR_UNSUPPORTED, "chunked"),
    BAD("no coding named", POST "Transfer-Encoding:\r\n\r\n", ERR_UNSUPPORTED, "chunked"),
    BAD("folded coding", POST "Transfer-Encoding:\r\n chunked\r\n\r\n", ERR_SYNTAX, "begins with a blank"),
    BAD("folded with a tab", POST "X: y\r\n\tz\r\n\r\n", ERR_SYNTAX, "begins with a blank"),
    BAD("length and chunks", POST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", ERR_SYNTAX,
        "Transfer-Encoding"),
    BAD("chunks and length", POST "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", ERR_SYNTAX,
        "Transfer-Encoding"),
    BAD("two equal lengths", POST "Content-Length: 5\r\nContent-Length: 5\r\n\r\n", ERR_SYNTAX,
        "Content-Length"),
    BAD("length with a sign", POST "Content-Length: +5\r\n\r\n", ERR_SYNTAX, "not a number"),
    BAD("negative length", POST "Content-Length: -5\r\n\r\n", ERR_SYNTAX, "not a number"),
    BAD("list of lengths", POST "Content-Length: 5, 5\r\n\r\n", ERR_SYNTAX, "not a number"),
    BAD("lengths apart", POST "Content-Length: 5 5\r\n\r\n", ERR_SYNTAX, "not a number"),
    BAD("hexadecimal length", POST "Content-Length: 0x5\r\n\r\n", ERR_SYNTAX, "not a number"),
    BAD("no length given", POST "Content-Length:\r\n\r\n", ERR_SYNTAX, "not a number"),
    BAD("length of 2^63", POST "Content-Length: 9223372036854775808\r\n\r\n", ERR_SYNTAX, "not a number"),
    BAD("length of 2^64 + 5", POST "Content-Length: 18446744073709551621\r\n\r\n", ERR_SYNTAX,
        "not a number"),
    BAD("NUL in a value", POST "X: a\0b\r\n\r\n", ERR_SYNTAX, "control"),
    BAD("DEL in a value",
        POST "X: a\x7f"
             "b\r\n\r\n",
        ERR_SYNTAX, "control"),
    BAD("bare CR in a value", POST "X: a\rb\r\n\r\n", ERR_SYNTAX, "carriage return"),
    BAD("CR CR LF", POST "X: a\r\r\n\r\n", ERR_SYNTAX, "carriage return"),
    BAD("CR before the request", "\rGET / HTTP/1.0\r\n\r\n", ERR_SYNTAX, "carriage return"),
    BAD("no colon", POST "X\r\n\r\n", ERR_SYNTAX, "colon"),
    BAD("no name", POST ": x\r\n\r\n", ERR_SYNTAX, "colon"),
    BAD("character of no token", POST "X(: x\r\n\r\n", ERR_SYNTAX, "colon"),
    BAD("trailer without colon", CHUNKED "0\r\nX\r\n\r\n", ERR_SYNTAX, "colon"),
    BAD("chunk size of letters", CHUNKED "xyz\r\n", ERR_SYNTAX, "hexadecimal"),
    BAD("chunk size with 0x", CHUNKED "0x5\r\nhello\r\n0\r\n\r\n", ERR_SYNTAX, "hexadecimal"),
    BAD("chunk size with a sign", CHUNKED "+5\r\nhello\r\n0\r\n\r\n", ERR_SYNTAX, "hexadecimal"),
    BAD("chunk without size", CHUNKED "\r\nhello\r\n0\r\n\r\n", ERR_SYNTAX, "hexadecimal"),
    BAD("extension without size", CHUNKED ";a\r\nhello\r\n0\r\n\r\n", ERR_SYNTAX, "hexadecimal"),
    BAD("chunk size of 2^64", CHUNKED "10000000000000000\r\n", ERR_SYNTAX, "too large"),
    BAD("unknown method", "FROB / HTTP/1.1\r\n" H "\r\n", ERR_UNSUPPORTED, "method"),
    BAD("method in lower case", "get / HTTP/1.1\r\n" H "\r\n", ERR_UNSUPPORTED, "method"),
    BAD("method with more letters", "GETX / HTTP/1.1\r\n" H "\r\n", ERR_UNSUPPORTED, "method"),
    BAD("no method", " / HTTP/1.1\r\n" H "\r\n", ERR_SYNTAX, "blank"),
    BAD("method of other characters", "G@T / HTTP/1.1\r\n" H "\r\n", ERR_SYNTAX, "not an HTTP request"),
    BAD("one word", "HELO\r\n", ERR_SYNTAX, "not an HTTP request"),
    BAD("no target", "GET HTTP/1.1\r\n" H "\r\n", ERR_UNSUPPORTED, "HTTP/0.9"),
    BAD("target of letters", "GET path HTTP/1.1\r\n" H "\r\n", ERR_SYNTAX, "neither"),
    BAD("version in lower case", "GET / http/1.1\r\n" H "\r\n", ERR_SYNTAX, "version"),
    BAD("version with more digits", "GET / HTTP/1.10\r\n" H "\r\n", ERR_SYNTAX, "version"),
    BAD("version with leading zero", "GET / HTTP/01.1\r\n" H "\r\n", ERR_SYNTAX, "version"),
    BAD("blank behind the version", "GET / HTTP/1.1 \r\n" H "\r\n", ERR_SYNTAX, "version"),
    BAD("TLS on the plain door", "\x16\x03\x01\x02\x00", ERR_SYNTAX, "control"),
    BAD("error behind a good message", "GET / HTTP/1.0\r\n\r\nGET /\n", ERR_SYNTAX, "line feed"),
    BAD("request cut off", "GET / HTTP/1.0\r\nX: y\r\n", ERR_SYNTAX, "ended in the middle", .eof = true),
    BAD("request cut off in its body", POST "Content-Length: 5\r\n\r\nhell", ERR_SYNTAX,
        "ended in the middle", .eof = true),
};

START_TEST(refuses_requests)
{
    check_row(&refused[_i]);
}
END_TEST

/* A request of exactly that many bytes in head and trailers: fields of equal size, the last one fills up. */
static struct row sized_row(char *text, size_t size, int rc)
{
    size_t len = (size_t)sprintf(text, "GET / HTTP/1.1\r\n" H);
    while (size - len > 1200)
        len += (size_t)sprintf(text + len, "X: %0995d\r\n", 0);
    len += (size_t)sprintf(text + len, "X: %0*d\r\n\r\n", (int)(size - len - 7), 0);
    ck_assert_uint_eq(len, size);
    return (struct row){.name = "head of a size", .text = text, .len = len, .rc = rc, .word = "16 KB"};
}

static int total_fields;

static int count_fields(void *owner, const struct http_head *h)
{
    (void)owner;
    total_fields = (int)h->field_count;
    return 0;
}

static const struct http_events counting = {count_fields, NULL};

static int read_counted(const char *text, size_t len, size_t step)
{
    struct http_reader *r = http_reader_new(HTTP_REQUEST, &counting, NULL);
    int rc = HTTP_MORE;
    for (size_t at = 0; at < len && rc == HTTP_MORE;) {
        size_t used;
        rc = http_reader_feed(r, (const uint8_t *)text + at, len - at < step ? len - at : step, &used);
        at += used;
        if (rc == HTTP_DONE)
            ck_assert_uint_eq(at, len);
    }
    http_reader_free(r);
    return rc;
}

START_TEST(limits_the_size_of_heads)
{
    static char text[HTTP_HEAD_MAX + 64];
    static const size_t steps[] = {1, 7, 1000, HTTP_HEAD_MAX, HTTP_HEAD_MAX + 64};
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        struct row row = sized_row(text, HTTP_HEAD_MAX, 0);
        ck_assert_int_eq(read_counted(row.text, row.len, steps[i]), HTTP_DONE);
        row = sized_row(text, HTTP_HEAD_MAX + 1, ERR_TOO_BIG);
        ck_assert_int_eq(read_counted(row.text, row.len, steps[i]), ERR_TOO_BIG);
    }
    struct row row = sized_row(text, HTTP_HEAD_MAX + 1, ERR_TOO_BIG);
    check_row(&row);
}
END_TEST

START_TEST(limits_lines_without_end)
{
    static char text[20000];
    static const char *const starts[] = {
        "", "GET /", "GET / HTTP/1.1\r\nX: ", "GET / HTTP/1.1\r\n", CHUNKED "0\r\nX: ", CHUNKED "0;"};
    for (size_t i = 0; i < sizeof starts / sizeof starts[0]; i++) {
        memset(text, 'a', sizeof text);
        memcpy(text, starts[i], strlen(starts[i]));
        struct row row = {.name = starts[i], .text = text, .len = sizeof text, .rc = ERR_TOO_BIG, .word = ""};
        check_row(&row);
    }
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = i % 2 ? '\n' : '\r';
    struct row row = {
        .name = "empty lines", .text = text, .len = sizeof text, .rc = ERR_TOO_BIG, .word = "16 KB"};
    check_row(&row);
}
END_TEST

/* A chunked request with that many fields in its head (Host and Transfer-Encoding among them) and in its
 * trailers. */
static size_t fields_text(char *text, int head, int trailers)
{
    size_t len = (size_t)sprintf(text, POST "Transfer-Encoding: chunked\r\n");
    for (int i = 2; i < head; i++)
        len += (size_t)sprintf(text + len, "X:\r\n");
    len += (size_t)sprintf(text + len, "\r\n1\r\nx\r\n0\r\n");
    for (int i = 0; i < trailers; i++)
        len += (size_t)sprintf(text + len, "X:\r\n");
    return len + (size_t)sprintf(text + len, "\r\n");
}

START_TEST(limits_the_number_of_fields)
{
    static char text[4096];
    static const size_t steps[] = {1, 3, 4096};
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        ck_assert_int_eq(read_counted(text, fields_text(text, 64, 0), steps[i]), HTTP_DONE);
        ck_assert_int_eq(total_fields, 64);
        ck_assert_int_eq(read_counted(text, fields_text(text, 65, 0), steps[i]), ERR_TOO_BIG);
        ck_assert_int_eq(read_counted(text, fields_text(text, 60, 4), steps[i]), HTTP_DONE);
        ck_assert_int_eq(total_fields, 60);
        ck_assert_int_eq(read_counted(text, fields_text(text, 60, 5), steps[i]), ERR_TOO_BIG);
    }
}
END_TEST

START_TEST(limits_trailers_together_with_the_head)
{
    static char text[2 * HTTP_HEAD_MAX];
    size_t head = (size_t)sprintf(text, POST "Transfer-Encoding: chunked\r\nX: %010000d\r\n\r\n", 0);
    size_t len = head + (size_t)sprintf(text + head, "1\r\nx\r\n0;long extension, not counted\r\n");
    size_t room = HTTP_HEAD_MAX - head;
    size_t good = len + (size_t)sprintf(text + len, "X: %0*d\r\n\r\n", (int)room - 7, 0);
    ck_assert_int_eq(read_counted(text, good, good), HTTP_DONE);
    ck_assert_int_eq(read_counted(text, good, 1), HTTP_DONE);
    size_t bad = len + (size_t)sprintf(text + len, "X: %0*d\r\n\r\n", (int)room - 6, 0);
    ck_assert_int_eq(read_counted(text, bad, bad), ERR_TOO_BIG);
    ck_assert_int_eq(read_counted(text, bad, 1), ERR_TOO_BIG);
}
END_TEST

START_TEST(reads_long_bodies)
{
    static char text[300000];
    struct trace t = {.len = 0};
    struct http_reader *r = http_reader_new(HTTP_REQUEST, &events, &t);
    size_t len = (size_t)sprintf(text, CHUNKED);
    for (int i = 0; i < 20; i++) {
        len += (size_t)sprintf(text + len, "%x\r\n", 10000);
        memset(text + len, '\n', 10000); /* data looks like line ends all along */
        len += 10000;
        len += (size_t)sprintf(text + len, "\r\n");
    }
    len += (size_t)sprintf(text + len, "0\r\n\r\n");
    size_t used;
    ck_assert_int_eq(http_reader_feed(r, (const uint8_t *)text, len, &used), HTTP_DONE);
    ck_assert_uint_eq(used, len);
    ck_assert_uint_eq(t.body_bytes, 200000);
    http_reader_free(r);
}
END_TEST

static int refuse_head(void *owner, const struct http_head *h)
{
    (void)h;
    ++*(int *)owner;
    return -77;
}

static int refuse_body(void *owner, const uint8_t *data, size_t len)
{
    (void)data;
    (void)len;
    ++*(int *)owner;
    return -78;
}

START_TEST(stops_when_the_owner_says_so)
{
    static const char text[] = POST "Content-Length: 4\r\n\r\nabcd";
    static const char chunks[] = CHUNKED "4\r\nabcd\r\n0\r\n\r\n";
    const struct http_events at_head = {refuse_head, refuse_body};
    const struct http_events at_body = {count_fields, refuse_body};
    int calls = 0;
    size_t used;

    struct http_reader *r = http_reader_new(HTTP_REQUEST, &at_head, &calls);
    ck_assert_int_eq(http_reader_feed(r, (const uint8_t *)text, sizeof text - 1, &used), -77);
    ck_assert_int_eq(http_reader_feed(r, (const uint8_t *)text, sizeof text - 1, &used), -77);
    ck_assert_int_eq(calls, 1);
    ck_assert_uint_eq(http_reader_status(r), 413);
    ck_assert_ptr_nonnull(http_reader_why(r));
    http_reader_free(r);

    r = http_reader_new(HTTP_REQUEST, &at_body, &calls);
    ck_assert_int_eq(http_reader_feed(r, (const uint8_t *)text, sizeof text - 1, &used), -78);
    ck_assert_int_eq(http_reader_finish(r), -78);
    ck_assert_int_eq(calls, 2);
    http_reader_free(r);

    r = http_reader_new(HTTP_REQUEST, &at_body, &calls);
    ck_assert_int_eq(http_reader_feed(r, (const uint8_t *)chunks, sizeof chunks - 1, &used), -78);
    ck_assert_int_eq(calls, 3);
    http_reader_free(r);
}
END_TEST

START_TEST(can_be_freed_anywhere)
{
    static const char text[] =
        POST "Authorization: Basic eDp5\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\nX: y\r\n\r\n";
    http_reader_free(NULL);
    for (size_t n = 0; n < sizeof text; n++) {
        size_t used;
        struct trace t = {.len = 0};
        struct http_reader *r = http_reader_new(HTTP_REQUEST, &events, &t);
        ck_assert_int_ge(http_reader_feed(r, (const uint8_t *)text, n, &used), HTTP_MORE);
        http_reader_free(r);
    }
}
END_TEST

START_TEST(expects_anew_for_each_message)
{
    static const char text[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n";
    struct trace t = {.len = 0};
    size_t used;
    struct http_reader *r = http_reader_new(HTTP_RESPONSE, &events, &t);
    http_reader_expect(r, "HEAD");
    ck_assert_int_eq(http_reader_feed(r, (const uint8_t *)text, sizeof text - 1, &used), HTTP_DONE);
    http_reader_expect(r, "GET");
    ck_assert_int_eq(http_reader_feed(r, (const uint8_t *)text, sizeof text - 1, &used), HTTP_MORE);
    ck_assert_int_eq(http_reader_feed(r, (const uint8_t *)"abc", 3, &used), HTTP_DONE);
    ck_assert_uint_eq(used, 2);
    http_reader_expect(r, "CONNECT");
    ck_assert_int_eq(http_reader_feed(r, (const uint8_t *)text, sizeof text - 1, &used), HTTP_UPGRADE);
    http_reader_free(r);
}
END_TEST

/* ---- fields ---- */

START_TEST(finds_fields)
{
    static const struct http_field fields[] = {{"hOST", "h", HTTP_NAME_HOST},
                                               {"Via", "1", HTTP_NAME_VIA},
                                               {"X", "2", HTTP_NAME_OTHER},
                                               {"via", "3", HTTP_NAME_VIA},
                                               {"TE", "", HTTP_NAME_TE}};
    const struct http_head head = {.fields = fields, .field_count = 5};
    size_t count = 9;
    ck_assert_str_eq(http_head_field(&head, HTTP_NAME_HOST, NULL), "h");
    ck_assert_str_eq(http_head_field(&head, HTTP_NAME_HOST, &count), "h");
    ck_assert_uint_eq(count, 1);
    /* which of them is meant, nobody can say */
    ck_assert_ptr_null(http_head_field(&head, HTTP_NAME_VIA, &count));
    ck_assert_uint_eq(count, 2);
    ck_assert_str_eq(http_head_field(&head, HTTP_NAME_TE, &count), "");
    ck_assert_ptr_null(http_head_field(&head, HTTP_NAME_ORIGIN, &count));
    ck_assert_uint_eq(count, 0);
}
END_TEST

static const struct {
    const char *text;
    enum http_name name;
} known_names[] = {
#define HTTP_NAME(id, text) {text, HTTP_NAME_##id},
    HTTP_NAMES(HTTP_NAME)
#undef HTTP_NAME
};

/* Each name in any case; none that differs in a letter, or is longer or shorter by one. */
START_TEST(knows_names)
{
    char text[64];
    size_t len = strlen(known_names[_i].text);
    for (unsigned upper = 0; upper < 2; upper++) {
        for (size_t i = 0; i <= len; i++)
            text[i] = (char)(upper ? toupper((unsigned char)known_names[_i].text[i])
                                   : tolower((unsigned char)known_names[_i].text[i]));
        ck_assert_uint_eq(http_name_of(text, len), known_names[_i].name);
    }
    memcpy(text, known_names[_i].text, len);
    text[len] = 'q';
    ck_assert_uint_ne(http_name_of(text, len + 1), known_names[_i].name);
    ck_assert_uint_ne(http_name_of(text, len - 1), known_names[_i].name);
    for (size_t i = 0; i < len; i++) {
        char old = text[i];
        text[i] = 'q';
        ck_assert_uint_eq(http_name_of(text, len), HTTP_NAME_OTHER);
        text[i] = old;
    }
}
END_TEST

/* A long name has no place in the table of lengths. */
START_TEST(knows_no_long_names)
{
    char text[300];
    memset(text, 'a', sizeof text);
    for (size_t len = 1; len <= sizeof text; len++)
        ck_assert_uint_eq(http_name_of(text, len), HTTP_NAME_OTHER);
}
END_TEST

/* Each control character at each place of a line of the head, also where eight bytes are looked at together.
 */
START_TEST(finds_control_characters)
{
    const struct http_events none = {.on_head = NULL};
    static const char before[] = "GET / HTTP/1.1\r\nHost: h\r\nX: ";
    for (size_t at = 0; at < 40; at++) {
        char text[sizeof before + 64];
        memcpy(text, before, sizeof before - 1);
        memset(text + sizeof before - 1, _i & 1 ? 'a' : (char)0xfe, 40);
        text[sizeof before - 1 + at] = (char)_i;
        struct http_reader *r = http_reader_new(HTTP_REQUEST, &none, NULL);
        size_t used;
        int rc = http_reader_feed(r, (const uint8_t *)text, sizeof before - 1 + 40, &used);
        /* a tab is a blank; a carriage return waits for its line feed at the end, and is alone elsewhere */
        bool good = _i == '\t' || (_i >= 0x20 && _i != 0x7f) || (_i == '\r' && at == 39);
        ck_assert_msg((rc == HTTP_MORE) == good, "character %d at %zu: %d", _i, at, rc);
        http_reader_free(r);
    }
}
END_TEST

static const struct {
    const char *value;
    const char *token;
    bool has;
} tokens[] = {
    {"close", "close", true},
    {"keep-alive, Close", "close", true},
    {"keep-alive ,\tCLOSE\t, x", "close", true},
    {",, close", "close", true},
    {"close,", "close", true},
    {"closed", "close", false},
    {"xclose", "close", false},
    {"x close", "close", false},
    {"close x", "close", false},
    {"clos", "close", false},
    {"", "close", false},
    {" , ", "close", false},
    {"a", "", false},
    {"", "", false},
};

START_TEST(finds_tokens)
{
    ck_assert_msg(http_value_has_token(tokens[_i].value, tokens[_i].token) == tokens[_i].has, "%s",
                  tokens[_i].value);
}
END_TEST

START_TEST(tells_authentication_schemes_apart)
{
    ck_assert_str_eq(http_auth_param("Basic eDp5", "Basic"), "eDp5");
    ck_assert_str_eq(http_auth_param("bASIC   eDp5", "Basic"), "eDp5");
    ck_assert_str_eq(http_auth_param("Bearer ;40;STA01;T", "bearer"), ";40;STA01;T");
    ck_assert_str_eq(http_auth_param("Basic", "Basic"), "");
    ck_assert_ptr_null(http_auth_param("Basical eDp5", "Basic"));
    ck_assert_ptr_null(http_auth_param("Bas", "Basic"));
    ck_assert_ptr_null(http_auth_param("", "Basic"));
    ck_assert_ptr_null(http_auth_param("Basic=eDp5", "Basic"));
}
END_TEST

static const struct {
    const char *value;
    int rc;
    const char *user;
    const char *password;
} basics[] = {
    {"Basic eDp5", 0, "x", "y"},
    {"basic  eDp5", 0, "x", "y"},
    {"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", 0, "Aladdin", "open sesame"},
    {"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ", 0, "Aladdin", "open sesame"},
    {"Basic YTpiOmM=", 0, "a", "b:c"},
    {"Basic YTpiOmM", 0, "a", "b:c"},
    {"Basic Og==", 0, "", ""},
    {"Basic YTo=", 0, "a", ""},
    {"Basic OmE=", 0, "", "a"},
    {"Basic dXNlcjo7NDA7U1RBMDE7VA==", 0, "user", ";40;STA01;T"},
    {"Basic w7w6/w==", 0, "\xc3\xbc", "\xff"},
    {"Basic eDp5=", ERR_SYNTAX, NULL, NULL},
    {"Basic YTpiOmM==", ERR_SYNTAX, NULL, NULL},
    {"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=", ERR_SYNTAX, NULL, NULL},
    {"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ===", ERR_SYNTAX, NULL, NULL},
    {"Basic Oh==", ERR_SYNTAX, NULL, NULL}, /* bits set where there are none */
    {"Basic YTpiOmN=", ERR_SYNTAX, NULL, NULL},
    {"Basic eDp5e", ERR_SYNTAX, NULL, NULL}, /* one digit too many, or three too few */
    {"Basic eDp5 ", ERR_SYNTAX, NULL, NULL},
    {"Basic eD p5", ERR_SYNTAX, NULL, NULL},
    {"Basic eDp5\teDp5", ERR_SYNTAX, NULL, NULL},
    {"Basic eDp_", ERR_SYNTAX, NULL, NULL},
    {"Basic eHk=", ERR_SYNTAX, NULL, NULL},     /* no colon */
    {"Basic AHg6eQ==", ERR_SYNTAX, NULL, NULL}, /* NUL in the user name */
    {"Basic eDoAeQ==", ERR_SYNTAX, NULL, NULL}, /* NUL in the password */
    {"Basic =", ERR_SYNTAX, NULL, NULL},
    {"Basic ", ERR_SYNTAX, NULL, NULL},
    {"Basic", ERR_SYNTAX, NULL, NULL},
    {"Bearer eDp5", ERR_SYNTAX, NULL, NULL},
    {"", ERR_SYNTAX, NULL, NULL},
    {"Basic YWFhYWFhYWFhYWFhYWFhYTp4", 0, "aaaaaaaaaaaaaaaa", "x"},
    {"Basic YWFhYWFhYWFhYWFhYWFhYWE6eA==", ERR_TOO_BIG, NULL, NULL},
    {"Basic eDphYWFhYWFhYWFhYWFhYWFh", 0, "x", "aaaaaaaaaaaaaaaa"},
    {"Basic eDphYWFhYWFhYWFhYWFhYWFhYQ==", ERR_TOO_BIG, NULL, NULL},
};

START_TEST(encodes_basic_credentials)
{
    char user[64], password[2048], name[] = "p:\xc3\xa4 ss", longest[1500];
    struct buf b;
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    const char *const passwords[] = {"", "x", "xy", "xyz", name, longest};
    for (size_t i = 0; i < sizeof passwords / sizeof passwords[0]; i++) {
        buf_init(&b, 4096);
        ck_assert_int_eq(http_basic_encode(&b, "alice", passwords[i]), 0);
        buf_append(&b, "", 1);
        ck_assert_int_eq(
            http_basic_decode((const char *)b.data, user, sizeof user, password, sizeof password), 0);
        ck_assert_str_eq(user, "alice");
        ck_assert_str_eq(password, passwords[i]);
        buf_deinit(&b);
    }
    buf_init(&b, 20);
    ck_assert_int_eq(http_basic_encode(&b, "alice", "in the lab"), ERR_TOO_BIG);
    buf_deinit(&b);
}
END_TEST

START_TEST(decodes_basic_credentials)
{
    char user[17];
    char password[17];
    memset(user, 'u', sizeof user);
    memset(password, 'p', sizeof password);
    int rc = http_basic_decode(basics[_i].value, user, sizeof user, password, sizeof password);
    ck_assert_msg(rc == basics[_i].rc, "%s: %d", basics[_i].value, rc);
    if (rc == 0) {
        ck_assert_str_eq(user, basics[_i].user);
        ck_assert_str_eq(password, basics[_i].password);
        return;
    }
    for (size_t i = 0; i < sizeof user; i++)
        ck_assert(user[i] == '\0' && password[i] == '\0'); /* nothing half-decoded stays */
}
END_TEST

START_TEST(names_statuses)
{
    ck_assert_str_eq(http_status_text(200), "OK");
    ck_assert_str_eq(http_status_text(407), "Proxy Authentication Required");
    ck_assert_str_eq(http_status_text(421), "Misdirected Request");
    ck_assert_str_eq(http_status_text(449), "Retry With");
    ck_assert_str_eq(http_status_text(799), "Unknown");
    ck_assert_str_eq(http_status_text(0), "Unknown");
}
END_TEST

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))

int main(void)
{
    Suite *suite = suite_create("http");
    TCase *messages = tcase_create("messages");
    tcase_set_timeout(messages, 30);
    tcase_add_loop_test(messages, takes_requests, 0, COUNT(taken));
    tcase_add_loop_test(messages, reads_responses, 0, COUNT(responses));
    tcase_add_loop_test(messages, refuses_requests, 0, COUNT(refused));
    tcase_add_test(messages, limits_the_size_of_heads);
    tcase_add_test(messages, limits_lines_without_end);
    tcase_add_test(messages, limits_the_number_of_fields);
    tcase_add_test(messages, limits_trailers_together_with_the_head);
    tcase_add_test(messages, reads_long_bodies);
    tcase_add_test(messages, stops_when_the_owner_says_so);
    tcase_add_test(messages, can_be_freed_anywhere);
    tcase_add_test(messages, expects_anew_for_each_message);
    suite_add_tcase(suite, messages);
    TCase *fields = tcase_create("fields");
    tcase_add_test(fields, finds_fields);
    tcase_add_loop_test(fields, knows_names, 0, sizeof known_names / sizeof known_names[0]);
    tcase_add_test(fields, knows_no_long_names);
    tcase_add_loop_test(fields, finds_control_characters, 0, 128);
    tcase_add_loop_test(fields, finds_tokens, 0, COUNT(tokens));
    tcase_add_test(fields, tells_authentication_schemes_apart);
    tcase_add_test(fields, encodes_basic_credentials);
    tcase_add_loop_test(fields, decodes_basic_credentials, 0, COUNT(basics));
    tcase_add_test(fields, names_statuses);
    suite_add_tcase(suite, fields);
    SRunner *sr = srunner_create(suite);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
