/* The HTTP client against our own server and against servers made to fail, each in its way. */
#include <sys/un.h>

#include "base/log.h"
#include "cert_fixture.h"
#include "http/httpc.h"
#include "http_fixture.h"
#include "net/tlsctx.h"

static struct httpc *client;
static struct httpc_options options;
static struct httpd *server;
static struct httpd_options server_options;
static struct sockaddr_in address;
static struct resolver *resolver;
static bool client_closed, server_closed;
static size_t handled;
static struct httpd_request *parked[8];
static size_t parked_count;

/* What has been told, in order. */
static struct {
    size_t count;
    enum httpc_result result[2048];
    const void *owner[2048];
    unsigned status;
    size_t len;
    char type[64], detail[128], body[256];
} told;

static void on_answer(void *owner, const struct httpc_answer *a)
{
    ck_assert_uint_lt(told.count, 2048);
    told.result[told.count] = a->result;
    told.owner[told.count] = owner;
    told.status = a->status;
    told.len = a->len;
    snprintf(told.type, sizeof told.type, "%s", a->type);
    snprintf(told.detail, sizeof told.detail, "%s", a->detail ? a->detail : "");
    snprintf(told.body, sizeof told.body, "%.*s", (int)(a->len < 255 ? a->len : 255),
             a->len ? (const char *)a->body : "");
    told.count++;
}

static void on_client_closed(void *owner)
{
    ck_assert_ptr_eq(owner, &client_closed);
    client_closed = true;
}

static void on_server_closed(void *owner)
{
    (void)owner;
    server_closed = true;
}

static void setup(void)
{
    log_setup(LOG_JSON, LOG_ERROR);
    ck_assert_int_eq(netloop_init(&loop), 0);
    resolver = resolver_new(&loop);
    options = (struct httpc_options){.resolver = resolver,
                                     .connections_max = 4,
                                     .queue_max = 1000,
                                     .connect_ms = 10000,
                                     .answer_ms = 10000,
                                     .keep_ms = 60000,
                                     .deadline_list = 0,
                                     .body_max = 1000};
    memset(&told, 0, sizeof told);
    handled = parked_count = 0;
}

static void stop_client(void)
{
    client_closed = false;
    httpc_close(client, on_client_closed, &client_closed);
    client = NULL;
    RUN_UNTIL(client_closed);
}

static void teardown(void)
{
    if (client != NULL)
        stop_client();
    if (server != NULL) {
        server_closed = false;
        while (parked_count > 0)
            httpd_answer(parked[--parked_count], 200, NULL, NULL, NULL, 0);
        httpd_close(server, on_server_closed, NULL);
        RUN_UNTIL(server_closed);
        server = NULL;
    }
    resolver_close(resolver);
    netloop_deinit(&loop);
}

static void to_address(void)
{
    options.origin =
        (struct hostport){.host = "127.0.0.1", .port = ntohs(address.sin_port), .kind = HOSTPORT_IPV4};
}

static void start_client(void)
{
    client = httpc_new(&loop, &options);
}

static void get_as(const char *path, bool repeatable, const void *owner)
{
    httpc_send(client, "GET", path, NULL, NULL, NULL, 0, repeatable, on_answer, (void *)(uintptr_t)owner);
}

static void get(const char *path)
{
    get_as(path, true, NULL);
}

static void check_told(size_t n, enum httpc_result result, const char *detail)
{
    RUN_UNTIL(told.count >= n);
    ck_assert_uint_eq(told.count, n);
    ck_assert_msg(told.result[n - 1] == result, "%s (%s), not %s", httpc_result_name(told.result[n - 1]),
                  told.detail, httpc_result_name(result));
    ck_assert_msg(strstr(told.detail, detail) != NULL, "'%s' holds no '%s'", told.detail, detail);
}

/* ---- against our own server ---- */

static void handle(void *owner, struct httpd_request *r)
{
    size_t len, fields;
    const uint8_t *body = httpd_body(r, &len);
    char text[256];
    (void)owner;
    handled++;
    if (strcmp(httpd_path(r), "/later") == 0) {
        parked[parked_count++] = r;
    } else if (strcmp(httpd_path(r), "/echo") == 0) {
        httpd_answer(r, 200, NULL, "text/plain", body, len);
    } else {
        const char *type = httpd_field(r, HTTP_NAME_CONTENT_TYPE, NULL);
        const char *host = httpd_field(r, HTTP_NAME_HOST, &fields);
        ck_assert_uint_eq(fields, 1);
        snprintf(text, sizeof text, "%s %s?%s %s %s %s %s", httpd_method(r), httpd_path(r), httpd_query(r),
                 host, type ? type : "-", httpd_is_tls(r) ? "tls" : "plain",
                 httpd_has_client_certificate(r) ? "certificate" : "anonymous");
        httpd_answer(r, strcmp(httpd_path(r), "/missing") == 0 ? 404 : 200, NULL, "text/x", text,
                     strlen(text));
    }
}

static void start_server_on(int fd, SSL_CTX *tls)
{
    server_options = (struct httpd_options){.tls = tls,
                                            .body_max = 8 << 20,
                                            .connections_max = 100,
                                            .idle_ms = 60000,
                                            .request_ms = 60000,
                                            .deadline_list = 2,
                                            .handle = handle};
    server = httpd_new(&loop, fd, &server_options);
}

static void start_both(void)
{
    start_server_on(fixture_listen(&address), NULL);
    to_address();
    start_client();
}

START_TEST(requests_and_answers)
{
    char want[256];
    start_both();
    httpc_send(client, "POST", "/a?b=c", "X-A: 1\r\n", "text/xml", "<a/>", 4, false, on_answer, NULL);
    ck_assert_uint_eq(told.count, 0);
    check_told(1, HTTPC_OK, "");
    snprintf(want, sizeof want, "POST /a?b=c 127.0.0.1:%u text/xml plain anonymous", options.origin.port);
    ck_assert_str_eq(told.body, want);
    ck_assert_str_eq(told.type, "text/x");
    ck_assert_uint_eq(told.status, 200);
    get("/missing");
    check_told(2, HTTPC_OK, "");
    ck_assert_uint_eq(told.status, 404);
    httpc_send(client, "HEAD", "/a", NULL, NULL, NULL, 0, true, on_answer, NULL);
    check_told(3, HTTPC_OK, "");
    ck_assert_uint_eq(told.len, 0);
    httpc_send(client, "POST", "/echo", NULL, NULL, NULL, 0, true, on_answer, NULL);
    check_told(4, HTTPC_OK, "");
    ck_assert_uint_eq(httpc_connections(client), 1); /* all on one */
    ck_assert_uint_eq(handled, 4);
}
END_TEST

START_TEST(a_name_is_resolved)
{
    start_server_on(fixture_listen(&address), NULL);
    to_address();
    options.origin.kind = HOSTPORT_NAME;
    snprintf(options.origin.host, sizeof options.origin.host, "localhost"); /* ::1 may come first, in vain */
    start_client();
    get("/a");
    get("/b");
    RUN_UNTIL(told.count == 2);
    ck_assert_int_eq(told.result[0], HTTPC_OK);
    ck_assert_int_eq(told.result[1], HTTPC_OK);
}
END_TEST

START_TEST(over_a_unix_socket)
{
    int fd;
    char dir[] = "/tmp/stagate-httpc-XXXXXX", path[64];
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/s", dir);
    options.unix_path = path;
    options.resolver = NULL;
    start_client();
    get("/a");
    check_told(1, HTTPC_REFUSED, "no such file");
    ck_assert_int_eq(listener_bind_unix(path, 0600, &fd), 0);
    start_server_on(fd, NULL);
    get("/a");
    check_told(2, HTTPC_OK, "");
    ck_assert_str_eq(told.body, "GET /a? localhost - plain anonymous");
    unlink(path);
    rmdir(dir);
}
END_TEST

START_TEST(many_at_once_and_in_order)
{
    enum { MANY = 500 };
    static char owners[MANY];
    options.connections_max = _i == 0 ? 1 : 4;
    start_both();
    for (int i = 0; i < MANY; i++)
        get_as("/a", true, &owners[i]);
    while (told.count < MANY) {
        turn();
        ck_assert_uint_le(httpc_connections(client), options.connections_max);
    }
    for (int i = 0; i < MANY; i++) {
        ck_assert_int_eq(told.result[i], HTTPC_OK);
        if (_i == 0)
            ck_assert_ptr_eq(told.owner[i], &owners[i]);
    }
    ck_assert_uint_eq(handled, MANY);
}
END_TEST

START_TEST(more_than_may_wait)
{
    options.connections_max = 2;
    options.queue_max = 3;
    start_both();
    for (int i = 0; i < 5; i++)
        get("/later");
    get("/a");
    check_told(1, HTTPC_OVERLOADED, "");
    RUN_UNTIL(parked_count == 2);
    get("/a");
    check_told(2, HTTPC_OVERLOADED, "");
    httpd_answer(parked[--parked_count], 200, NULL, NULL, NULL, 0);
    check_told(3, HTTPC_OK, "");
    get("/a"); /* one place is free again */
    RUN_UNTIL(parked_count == 2);
    turns(10);
    ck_assert_uint_eq(told.count, 3);
}
END_TEST

START_TEST(cancelling)
{
    options.connections_max = 1;
    start_both();
    struct httpc_request *sent =
        httpc_send(client, "GET", "/later", NULL, NULL, NULL, 0, true, on_answer, NULL);
    struct httpc_request *waiting =
        httpc_send(client, "GET", "/b", NULL, NULL, NULL, 0, true, on_answer, NULL);
    get("/c");
    RUN_UNTIL(parked_count == 1);
    httpc_cancel(waiting);
    httpc_cancel(sent);
    ck_assert_uint_eq(httpc_connections(client), 0);
    check_told(1, HTTPC_OK, "");
    ck_assert_str_eq(strchr(told.body, '/'), strstr(told.body, "/c"));
    /* before anything is connected, and with a result that is not told yet */
    httpc_cancel(httpc_send(client, "GET", "/d", NULL, NULL, NULL, 0, true, on_answer, NULL));
    stop_client();
    options.queue_max = 0;
    start_client();
    get("/later");
    sent = httpc_send(client, "GET", "/e", NULL, NULL, NULL, 0, true, on_answer, NULL); /* overloaded */
    httpc_cancel(sent);
    RUN_UNTIL(parked_count == 2);
    ck_assert_uint_eq(told.count, 1);
}
END_TEST

START_TEST(closing_tells_nobody)
{
    options.connections_max = 2;
    start_both();
    for (int i = 0; i < 5; i++)
        get("/later");
    if (_i > 0)
        RUN_UNTIL(parked_count == 2);
    if (_i > 1)
        httpd_answer(parked[--parked_count], 200, NULL, NULL, NULL, 0);
    stop_client();
    turns(20);
    ck_assert_uint_eq(told.count, 0);
}
END_TEST

static void close_in_answer(void *owner, const struct httpc_answer *a)
{
    on_answer(owner, a);
    httpc_close(client, on_client_closed, &client_closed);
    client = NULL;
}

START_TEST(closing_inside_a_callback)
{
    client_closed = false;
    start_both();
    for (int i = 0; i < 4; i++)
        httpc_send(client, "GET", "/a", NULL, NULL, NULL, 0, true, close_in_answer, NULL);
    RUN_UNTIL(client_closed);
    ck_assert_uint_eq(told.count, 1);
}
END_TEST

START_TEST(deadlines_count_from_the_call)
{
    options.connections_max = 1;
    options.answer_ms = 100;
    start_both();
    get("/later");
    get("/a"); /* waits behind it, just as long */
    RUN_UNTIL(told.count == 2);
    ck_assert_int_eq(told.result[0], HTTPC_TIMEOUT);
    ck_assert_int_eq(told.result[1], HTTPC_TIMEOUT);
    RUN_UNTIL(parked_count == 1);
    get("/a");
    check_told(3, HTTPC_OK, "");
}
END_TEST

START_TEST(idle_connections_are_not_kept_for_ever)
{
    options.keep_ms = 50;
    start_both();
    get("/a");
    check_told(1, HTTPC_OK, "");
    ck_assert_uint_eq(httpc_connections(client), 1);
    RUN_UNTIL(httpc_connections(client) == 0);
    get("/a");
    check_told(2, HTTPC_OK, "");
}
END_TEST

/* ---- no connection ---- */

START_TEST(refused)
{
    close(fixture_listen(&address));
    to_address();
    start_client();
    for (int i = 0; i < 1000; i++)
        get("/a");
    RUN_UNTIL(told.count == 1000);
    for (int i = 0; i < 1000; i++)
        ck_assert_int_eq(told.result[i], HTTPC_REFUSED);
    ck_assert_str_eq(told.detail, "connection refused");
    ck_assert_uint_eq(httpc_connections(client), 0);
}
END_TEST

static size_t depth;

static void ask_again(void *owner, const struct httpc_answer *a)
{
    ck_assert_uint_eq(depth++, 0);
    on_answer(owner, a);
    if (told.count < 1000)
        httpc_send(client, "GET", "/a", NULL, NULL, NULL, 0, true, ask_again, NULL);
    depth--;
}

/* A name that cannot be fails at once, from the resolver's cache: still no recursion, and one a turn. */
START_TEST(unresolved)
{
    options.origin = (struct hostport){.port = 80, .kind = HOSTPORT_NAME};
    memset(options.origin.host, 'x', 80); /* longer than a label may be: no server is asked */
    start_client();
    get("/a");
    check_told(1, HTTPC_UNRESOLVED, "");
    httpc_send(client, "GET", "/a", NULL, NULL, NULL, 0, true, ask_again, NULL);
    size_t turns_taken = 0;
    while (told.count < 1000) {
        size_t before = told.count;
        turn();
        ck_assert_uint_le(told.count, before + 1);
        ck_assert_uint_lt(turns_taken++, 100000);
    }
}
END_TEST

/* SYNs to a full backlog are dropped: nobody answers. The same whichever deadline comes first. */
START_TEST(connect_timeout)
{
    struct raw filler[3];
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    socklen_t len = sizeof address;
    address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, len), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    ck_assert_int_eq(listen(fd, 0), 0);
    for (int i = 0; i < 3; i++) {
        filler[i].fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        connect(filler[i].fd, (struct sockaddr *)&address, len);
    }
    to_address();
    options.connect_ms = _i == 0 ? 100 : 10000;
    options.answer_ms = _i == 0 ? 10000 : 100;
    start_client();
    get("/a");
    check_told(1, HTTPC_CONNECT_TIMEOUT, _i == 0 ? "timed out" : "still being made");
    for (int i = 0; i < 3; i++)
        close(filler[i].fd);
    close(fd);
}
END_TEST

/* ---- servers made to fail ---- */

enum finish { STAY, CLOSE, RESET, CLOSE_UNREAD, RESET_UNREAD };

struct bad {
    int listener;
    int fds[64];
    size_t accepted;
    size_t requests;
    const char *reply;
    size_t reply_len;
    size_t at; /* of the reply to the last request */
    size_t step;
    enum finish finish;
};
static struct bad bad;

static void bad_start(const char *reply, size_t len, enum finish finish)
{
    bad = (struct bad){.reply = reply, .reply_len = len, .finish = finish, .step = SIZE_MAX};
    bad.listener = fixture_listen(&address);
    to_address();
}

static void bad_end(int *fd, bool reset)
{
    struct linger hard = {1, 0};
    if (reset)
        setsockopt(*fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    close(*fd);
    *fd = -1;
}

/* One turn of the bad server's. */
static void bad_turn(void)
{
    char request[65536];
    int fd = accept4(bad.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
        ck_assert_uint_lt(bad.accepted, 64);
        bad.fds[bad.accepted++] = fd;
        if (bad.finish >= CLOSE_UNREAD)
            bad_end(&bad.fds[bad.accepted - 1], bad.finish == RESET_UNREAD);
    }
    for (size_t i = 0; i < bad.accepted; i++) {
        if (bad.fds[i] < 0)
            continue;
        if (recv(bad.fds[i], request, sizeof request, 0) > 0) {
            bad.requests++;
            bad.at = 0;
        } else if (bad.requests == 0 || bad.at == bad.reply_len) {
            continue;
        }
        size_t n = bad.reply_len - bad.at < bad.step ? bad.reply_len - bad.at : bad.step;
        ssize_t sent = send(bad.fds[i], bad.reply + bad.at, n, MSG_NOSIGNAL);
        bad.at += sent > 0 ? (size_t)sent : 0;
        if (bad.at == bad.reply_len && bad.finish != STAY)
            bad_end(&bad.fds[i], bad.finish == RESET);
    }
    turn();
}

static void bad_stop(void)
{
    for (size_t i = 0; i < bad.accepted; i++) {
        if (bad.fds[i] >= 0)
            close(bad.fds[i]);
    }
    close(bad.listener);
}

static void bad_until(size_t n)
{
    uint64_t end = uv_hrtime() + FIXTURE_DEADLINE_NS;
    while (told.count < n && uv_hrtime() < end)
        bad_turn();
    ck_assert_uint_eq(told.count, n);
}

#define OK       "HTTP/1.1 200 OK\r\n"
#define REPLY(s) s, sizeof s - 1

static const struct {
    const char *reply;
    size_t len;
    enum finish finish;
    enum httpc_result result;
    const char *detail; /* or, with HTTPC_OK, the body */
    size_t connections; /* left */
} replies[] = {
    {REPLY(OK "Content-Length: 2\r\n\r\nhi"), STAY, HTTPC_OK, "hi", 1},
    {REPLY(OK "Content-Length: 2\r\nConnection: close\r\n\r\nhi"), STAY, HTTPC_OK, "hi", 0},
    {REPLY("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi"), STAY, HTTPC_OK, "hi", 0},
    {REPLY(OK "Content-Length: 2\r\n\r\nhi HTTP/1.1"), STAY, HTTPC_OK, "hi", 0},
    {REPLY(OK "\r\nuntil the end"), CLOSE, HTTPC_OK, "until the end", 0},
    {REPLY(OK "\r\nuntil the end"), RESET, HTTPC_CLOSED, "reset", 0},
    {REPLY(OK "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"), STAY, HTTPC_OK, "hi", 1},
    {REPLY("HTTP/1.1 204 No Content\r\n\r\n"), STAY, HTTPC_OK, "", 1},
    {REPLY("HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n"), STAY, HTTPC_OK, "", 1},
    {REPLY("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n" OK
           "Content-Length: 2\r\n\r\nhi"),
     STAY, HTTPC_OK, "hi", 1},
    {REPLY(""), CLOSE, HTTPC_CLOSED, "closed before", 0},
    {REPLY(""), RESET, HTTPC_CLOSED, "reset", 0},
    {REPLY(""), CLOSE_UNREAD, HTTPC_CLOSED, "", 0},
    {REPLY(""), RESET_UNREAD, HTTPC_CLOSED, "", 0},
    {REPLY("HTT"), CLOSE, HTTPC_CLOSED, "closed before", 0},
    {REPLY("HTTP/1.1 100 Continue\r\n\r\n"), CLOSE, HTTPC_CLOSED, "closed before", 0},
    {REPLY(OK "Content-Len"), CLOSE, HTTPC_CLOSED, "closed before", 0},
    {REPLY(OK "Content-Length: 3\r\n\r\nhi"), CLOSE, HTTPC_CLOSED, "closed before", 0},
    {REPLY(OK "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n"), CLOSE, HTTPC_CLOSED, "closed before", 0},
    {REPLY("SSH-2.0-OpenSSH_9.2\r\n"), STAY, HTTPC_NOT_HTTP, "no HTTP response", 0},
    {REPLY("\x15\x03\x01\x00\x02\x02\x46"), CLOSE, HTTPC_NOT_HTTP, "TLS alert", 0},
    {REPLY("HELLO\r\n\r\n"), STAY, HTTPC_NOT_HTTP, "version", 0},
    {REPLY("HTTP/2.0 200 OK\r\n\r\n"), STAY, HTTPC_NOT_HTTP, "HTTP/2", 0},
    {REPLY("HTTP/1.1 101 Switching Protocols\r\n\r\n"), STAY, HTTPC_NOT_HTTP, "switches", 0},
    {REPLY(OK "A : b\r\n\r\n"), STAY, HTTPC_NOT_HTTP, "field", 0},
    {REPLY(OK "Transfer-Encoding: chunked\r\n\r\nzz\r\n"), STAY, HTTPC_NOT_HTTP, "chunk", 0},
    {REPLY(OK "Content-Length: 1001\r\n\r\n"), STAY, HTTPC_TOO_BIG, "body", 0},
    {REPLY(OK "Transfer-Encoding: chunked\r\n\r\n3e9\r\n"
              "0123456789012345678901234567890123456789012345678901234567890123456789"),
     STAY, HTTPC_TIMEOUT, "no whole answer", 0},
};

START_TEST(every_reply_whole_and_in_single_bytes)
{
    for (int single = 0; single < 2; single++) {
        memset(&told, 0, sizeof told);
        bad_start(replies[_i].reply, replies[_i].len, replies[_i].finish);
        bad.step = single ? 1 : SIZE_MAX;
        if (replies[_i].result == HTTPC_TIMEOUT)
            options.answer_ms = 200;
        start_client();
        get("/a");
        bad_until(1);
        if (replies[_i].result == HTTPC_OK) {
            check_told(1, HTTPC_OK, "");
            ck_assert_str_eq(told.body, replies[_i].detail);
        } else {
            check_told(1, replies[_i].result, replies[_i].detail);
            ck_assert_uint_eq(told.len, 0);
        }
        for (int i = 0; i < 5; i++) /* what came behind the answer is noticed */
            bad_turn();
        if (single == 0)
            ck_assert_uint_eq(httpc_connections(client), replies[_i].connections);
        ck_assert_uint_eq(bad.requests, replies[_i].finish >= CLOSE_UNREAD ? 0 : 1);
        stop_client();
        bad_stop();
    }
}
END_TEST

START_TEST(bodies_that_grow_too_big)
{
    static char reply[100000];
    const char *head = _i == 0   ? OK "\r\n"
                       : _i == 1 ? OK "Transfer-Encoding: chunked\r\n\r\nfffff\r\n"
                                 : OK "A: ";
    memset(reply, 'x', sizeof reply);
    memcpy(reply, head, strlen(head));
    bad_start(reply, sizeof reply, STAY);
    bad.step = 100;
    start_client();
    get("/a");
    bad_until(1);
    check_told(1, HTTPC_TOO_BIG, _i == 2 ? "head" : "body");
    bad_stop();
}
END_TEST

START_TEST(a_slow_or_silent_server)
{
    static const char endless[] = OK "X: 0123456789012345678901234567890123456789";
    bad_start(endless, _i == 0 ? 0 : sizeof endless - 1, STAY);
    bad.step = 1;
    options.answer_ms = 100;
    start_client();
    get("/a");
    bad_until(1);
    check_told(1, HTTPC_TIMEOUT, "no whole answer");
    ck_assert_uint_eq(httpc_connections(client), 0);
    bad_stop();
}
END_TEST

/* An answer that comes before the request is sent: the connection cannot be used again. */
START_TEST(an_early_answer)
{
    static char big[8 << 20];
    bad_start(REPLY("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"), STAY);
    start_client();
    httpc_send(client, "POST", "/a", NULL, NULL, big, sizeof big, true, on_answer, NULL);
    uint64_t end = uv_hrtime() + FIXTURE_DEADLINE_NS;
    while (told.count == 0 && uv_hrtime() < end) {
        if (bad.requests == 0)
            bad_turn();
        turn();
    }
    check_told(1, HTTPC_OK, "");
    ck_assert_uint_eq(told.status, 413);
    ck_assert_uint_eq(httpc_connections(client), 0);
    bad_stop();
}
END_TEST

static void answered_once(void)
{
    bad_start(REPLY(OK "Content-Length: 2\r\n\r\nhi"), STAY);
    start_client();
    get("/a");
    bad_until(1);
    check_told(1, HTTPC_OK, "");
    ck_assert_uint_eq(httpc_connections(client), 1);
}

/* The server answers the second request on the kept connection with its end. */
START_TEST(a_kept_connection_that_is_dead)
{
    bool repeatable = _i < 2;
    bool mended = _i != 1;
    answered_once();
    bad.finish = _i == 3 ? RESET : CLOSE;
    bad.reply_len = bad.at = 0;
    get_as("/b", repeatable, NULL);
    while (bad.requests < 2)
        bad_turn();
    if (mended)
        bad.reply_len = strlen(bad.reply);
    bad_until(2);
    if (repeatable && mended) {
        check_told(2, HTTPC_OK, "");
        ck_assert_str_eq(told.body, "hi");
    } else {
        check_told(2, HTTPC_CLOSED, ""); /* once more at most */
    }
    for (int i = 0; i < 20; i++)
        bad_turn();
    ck_assert_uint_eq(bad.requests, repeatable ? 3 : 2);
    ck_assert_uint_eq(bad.accepted, repeatable ? 2 : 1);
    bad_stop();
}
END_TEST

/* Once a byte has come, the server has done something: never again. */
START_TEST(a_kept_connection_that_dies_while_it_answers)
{
    answered_once();
    bad.finish = CLOSE;
    bad.reply_len = 5;
    get("/b");
    bad_until(2);
    check_told(2, HTTPC_CLOSED, "closed before");
    ck_assert_uint_eq(bad.requests, 2);
    bad_stop();
}
END_TEST

START_TEST(an_idle_connection_that_ends_or_talks)
{
    answered_once();
    if (_i == 0)
        bad_end(&bad.fds[0], false);
    else if (_i == 1)
        bad_end(&bad.fds[0], true);
    else
        ck_assert_int_eq(send(bad.fds[0], "HTTP/1.1 408 ", 13, 0), 13);
    RUN_UNTIL(httpc_connections(client) == 0);
    get("/b");
    bad_until(2);
    check_told(2, HTTPC_OK, "");
    ck_assert_uint_eq(bad.accepted, 2);
    bad_stop();
}
END_TEST

/* A repeated request goes on a new connection also where all others are idle and may be as dead. */
START_TEST(a_repeated_request_gets_a_new_connection)
{
    options.connections_max = 2;
    bad_start(REPLY(OK "Content-Length: 2\r\n\r\nhi"), STAY);
    start_client();
    get("/a");
    get("/b");
    bad_until(2);
    ck_assert_uint_eq(bad.accepted, 2);
    bad.finish = CLOSE;
    bad.reply_len = bad.at = 0;
    get("/c");
    while (bad.requests < 3)
        bad_turn();
    bad.finish = STAY;
    bad.reply_len = strlen(bad.reply);
    bad_until(3);
    check_told(3, HTTPC_OK, "");
    ck_assert_uint_eq(bad.accepted, 3);
    bad_stop();
}
END_TEST

/* ---- TLS ---- */

static struct cert_fixture named, other;

static void setup_tls(void)
{
    setup();
    cert_fixture_make_for(&named, "DNS:localhost,IP:127.0.0.1");
    cert_fixture_make_for(&other, "DNS:other.example,IP:127.0.0.2");
}

static void teardown_tls(void)
{
    SSL_CTX_free(options.tls);
    options.tls = NULL;
    teardown();
    cert_fixture_remove(&named);
    cert_fixture_remove(&other);
}

static SSL_CTX *server_ctx(const struct cert_fixture *c, const char *client_ca, uint16_t floor)
{
    SSL_CTX *ctx;
    char why[256];
    int index;
    const char *certificate = c->certificate, *key = c->key;
    const struct tlsctx_options o = {
        .certificates = &certificate, .keys = &key, .count = 1, .floor = floor, .client_ca = client_ca};
    ck_assert_msg(tlsctx_new_server(&ctx, &o, &index, why, sizeof why) == 0, "%s", why);
    return ctx;
}

static void start_tls_server(const struct cert_fixture *c, const char *client_ca, uint16_t floor)
{
    SSL_CTX *ctx = server_ctx(c, client_ca, floor);
    start_server_on(fixture_listen(&address), ctx);
    SSL_CTX_free(ctx);
    to_address();
}

static void use_tls(bool verify, const char *ca, const struct cert_fixture *own)
{
    char why[256];
    const struct tlsctx_client_options o = {.ca = ca,
                                            .verify = verify,
                                            .certificate = own ? own->certificate : NULL,
                                            .key = own ? own->key : NULL};
    ck_assert_msg(tlsctx_new_client(&options.tls, &o, why, sizeof why) == 0, "%s", why);
}

static void name_origin(const char *name)
{
    options.origin.kind = HOSTPORT_NAME;
    snprintf(options.origin.host, sizeof options.origin.host, "%s", name);
}

START_TEST(a_server_that_is_who_it_should_be)
{
    start_tls_server(&named, NULL, TLS1_2_VERSION);
    if (_i == 1)
        name_origin("localhost");
    use_tls(true, named.certificate, NULL);
    start_client();
    for (size_t i = 1; i <= 3; i++) {
        get("/a");
        check_told(i, HTTPC_OK, "");
        ck_assert_ptr_nonnull(strstr(told.body, "tls anonymous"));
    }
    ck_assert_uint_eq(httpc_connections(client), 1);
}
END_TEST

START_TEST(a_server_that_is_another)
{
    start_tls_server(&other, NULL, TLS1_2_VERSION);
    if (_i == 1)
        name_origin("localhost");
    use_tls(true, other.certificate, NULL);
    start_client();
    get("/a");
    check_told(1, HTTPC_TLS, _i == 1 ? "hostname mismatch" : "IP address mismatch");
    ck_assert_uint_eq(handled, 0);
}
END_TEST

START_TEST(a_server_that_nobody_vouches_for)
{
    start_tls_server(&named, NULL, TLS1_2_VERSION);
    use_tls(true, _i == 0 ? other.certificate : NULL, NULL);
    start_client();
    get("/a");
    check_told(1, HTTPC_TLS, "self-signed certificate");
    ck_assert_uint_eq(handled, 0);
}
END_TEST

START_TEST(no_verification)
{
    start_tls_server(&other, NULL, TLS1_2_VERSION);
    use_tls(false, NULL, NULL);
    start_client();
    get("/a");
    check_told(1, HTTPC_OK, "");
}
END_TEST

START_TEST(no_common_version)
{
    start_tls_server(&named, NULL, TLS1_3_VERSION);
    use_tls(false, NULL, NULL);
    SSL_CTX_set_max_proto_version(options.tls, TLS1_2_VERSION);
    start_client();
    get("/a");
    check_told(1, HTTPC_TLS, "protocol version");
}
END_TEST

START_TEST(https_to_a_plain_port)
{
    use_tls(false, NULL, NULL);
    if (_i == 0) {
        start_server_on(fixture_listen(&address), NULL);
        to_address();
    } else {
        bad_start(REPLY("SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n"), STAY);
    }
    start_client();
    get("/a");
    if (_i == 1) {
        bad_until(1);
        bad_stop();
    }
    check_told(1, HTTPC_NOT_TLS, "");
}
END_TEST

START_TEST(http_to_our_tls_port_is_told_so)
{
    start_tls_server(&named, NULL, TLS1_2_VERSION);
    start_client();
    get("/a");
    check_told(1, HTTPC_OK, "");
    ck_assert_uint_eq(told.status, 400);
    ck_assert_ptr_nonnull(strstr(told.body, "plain HTTP on a TLS port"));
}
END_TEST

START_TEST(a_handshake_that_ends_or_never_does)
{
    bad_start("", 0, _i == 0 ? STAY : _i == 1 ? CLOSE : CLOSE_UNREAD);
    use_tls(false, NULL, NULL);
    options.connect_ms = 100;
    start_client();
    get("/a");
    bad_until(1);
    check_told(1, _i == 0 ? HTTPC_CONNECT_TIMEOUT : HTTPC_CLOSED, "");
    ck_assert_uint_eq(httpc_connections(client), 0);
    bad_stop();
}
END_TEST

START_TEST(client_certificates)
{
    start_tls_server(&named, other.certificate, _i < 3 ? TLS1_2_VERSION : TLS1_3_VERSION);
    use_tls(true, named.certificate, _i % 3 == 0 ? NULL : _i % 3 == 1 ? &other : &named);
    if (_i < 3)
        SSL_CTX_set_max_proto_version(options.tls, TLS1_2_VERSION);
    start_client();
    for (size_t i = 1; i <= 2; i++) {
        get("/a");
        RUN_UNTIL(told.count == i);
        if (_i % 3 == 2) { /* one that other does not vouch for */
            check_told(i, HTTPC_TLS, "alert");
            continue;
        }
        check_told(i, HTTPC_OK, "");
        ck_assert_ptr_nonnull(strstr(told.body, _i % 3 == 0 ? "anonymous" : "certificate"));
    }
    ck_assert_uint_eq(handled, _i % 3 == 2 ? 0 : 2);
}
END_TEST

START_TEST(large_bodies)
{
    enum { SIZE = 7 << 20 };
    char *big = malloc(SIZE);
    memset(big, 'x', SIZE);
    options.body_max = SIZE;
    if (_i == 0) {
        start_server_on(fixture_listen(&address), NULL);
        to_address();
    } else {
        start_tls_server(&named, NULL, TLS1_2_VERSION);
        use_tls(true, named.certificate, NULL);
    }
    start_client();
    for (size_t i = 1; i <= 2; i++) {
        httpc_send(client, "POST", "/echo", NULL, NULL, big, SIZE, false, on_answer, NULL);
        check_told(i, HTTPC_OK, "");
        ck_assert_uint_eq(told.len, SIZE);
    }
    free(big);
}
END_TEST

START_TEST(a_new_certificate_for_connections_to_come)
{
    start_tls_server(&other, NULL, TLS1_2_VERSION);
    use_tls(true, named.certificate, NULL);
    start_client();
    get("/a");
    check_told(1, HTTPC_TLS, "");
    SSL_CTX *ctx = server_ctx(&named, NULL, TLS1_2_VERSION);
    httpd_update(server, ctx, NULL);
    SSL_CTX_free(ctx);
    get("/a");
    check_told(2, HTTPC_OK, "");
}
END_TEST

START_TEST(contexts_that_cannot_be)
{
    SSL_CTX *ctx;
    char why[256];
    int index;
    const char *certificate = named.certificate, *key = named.key;
    struct tlsctx_options o = {.certificates = &certificate,
                               .keys = &key,
                               .count = 1,
                               .floor = TLS1_2_VERSION,
                               .client_ca = "/no/such.crt"};
    ck_assert_int_lt(tlsctx_new_server(&ctx, &o, &index, why, sizeof why), 0);
    ck_assert_str_eq(why, "/no/such.crt: No such file or directory");
    o.client_ca = named.key; /* holds no certificate */
    ck_assert_int_lt(tlsctx_new_server(&ctx, &o, &index, why, sizeof why), 0);
    struct tlsctx_client_options c = {.verify = true, .ca = "/no/such.crt"};
    ck_assert_int_lt(tlsctx_new_client(&ctx, &c, why, sizeof why), 0);
    ck_assert_str_eq(why, "/no/such.crt: No such file or directory");
    c = (struct tlsctx_client_options){.certificate = named.certificate, .key = other.key};
    ck_assert_int_lt(tlsctx_new_client(&ctx, &c, why, sizeof why), 0);
    ck_assert_ptr_nonnull(strstr(why, "is not the key of"));
    ck_assert_ptr_null(ctx);
}
END_TEST

START_TEST(names_of_results)
{
    for (int r = 0; r < HTTPC_RESULTS; r++) {
        ck_assert_str_ne(httpc_result_name(r), "unknown");
        for (int i = 0; i < r; i++)
            ck_assert_str_ne(httpc_result_name(r), httpc_result_name(i));
    }
    ck_assert_str_eq(httpc_result_name(HTTPC_CONNECT_TIMEOUT), "connect_timeout");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("httpc");
    TCase *t = tcase_create("plain");
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, requests_and_answers);
    tcase_add_test(t, a_name_is_resolved);
    tcase_add_test(t, over_a_unix_socket);
    tcase_add_loop_test(t, many_at_once_and_in_order, 0, 2);
    tcase_add_test(t, more_than_may_wait);
    tcase_add_test(t, cancelling);
    tcase_add_loop_test(t, closing_tells_nobody, 0, 3);
    tcase_add_test(t, closing_inside_a_callback);
    tcase_add_test(t, deadlines_count_from_the_call);
    tcase_add_test(t, idle_connections_are_not_kept_for_ever);
    tcase_add_test(t, refused);
    tcase_add_test(t, unresolved);
    tcase_add_loop_test(t, connect_timeout, 0, 2);
    tcase_add_loop_test(t, every_reply_whole_and_in_single_bytes, 0, sizeof replies / sizeof replies[0]);
    tcase_add_loop_test(t, bodies_that_grow_too_big, 0, 3);
    tcase_add_loop_test(t, a_slow_or_silent_server, 0, 2);
    tcase_add_test(t, an_early_answer);
    tcase_add_loop_test(t, a_kept_connection_that_is_dead, 0, 4);
    tcase_add_test(t, a_kept_connection_that_dies_while_it_answers);
    tcase_add_loop_test(t, an_idle_connection_that_ends_or_talks, 0, 3);
    tcase_add_test(t, a_repeated_request_gets_a_new_connection);
    tcase_add_test(t, names_of_results);
    suite_add_tcase(s, t);
    t = tcase_create("tls");
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, setup_tls, teardown_tls);
    tcase_add_loop_test(t, a_server_that_is_who_it_should_be, 0, 2);
    tcase_add_loop_test(t, a_server_that_is_another, 0, 2);
    tcase_add_loop_test(t, a_server_that_nobody_vouches_for, 0, 2);
    tcase_add_test(t, no_verification);
    tcase_add_test(t, no_common_version);
    tcase_add_loop_test(t, https_to_a_plain_port, 0, 2);
    tcase_add_test(t, http_to_our_tls_port_is_told_so);
    tcase_add_loop_test(t, a_handshake_that_ends_or_never_does, 0, 3);
    tcase_add_loop_test(t, client_certificates, 0, 6);
    tcase_add_loop_test(t, large_bodies, 0, 2);
    tcase_add_test(t, a_new_certificate_for_connections_to_come);
    tcase_add_test(t, contexts_that_cannot_be);
    suite_add_tcase(s, t);
    return fixture_end(srunner_create(s));
}
