/* Streams over loopback sockets: back-pressure, half-close, refusals in clear, the cost of a silent client.
 */
#include <check.h>
#include <string.h>

#include "base/err.h"
#include "cert_fixture.h"
#include "net/listener.h"
#include "net/stream.h"
#include "net/tlsctx.h"

static struct cert_fixture cert;
static SSL_CTX *server_ctx, *client_ctx;
static struct netloop loop;
static struct listener listener;
static struct sockaddr_storage address;

/* One side of a connection and what it has seen. */
struct side {
    struct stream s;
    bool open, eof, clean, closed, refuse;
    int error, drained, firsts;
    bool whole;
    size_t received, to_send;
    uint64_t sum;
};
#define TLS_ALERT_BYTES 7

static struct side server, client;
static bool use_tls;
static bool refuse;

static struct side *of(struct stream *s)
{
    return s->owner;
}

static void on_first(struct stream *s, const uint8_t *data, size_t len, bool whole)
{
    (void)data;
    (void)len;
    of(s)->firsts++;
    of(s)->whole = whole;
    if (refuse) {
        stream_write_raw(s, (const uint8_t *)"go away", 7);
        stream_shutdown(s);
    } else {
        ck_assert_int_eq(stream_start_tls(s, server_ctx, TLS_SERVER), 0);
    }
}

static void on_open(struct stream *s)
{
    if (of(s) == &client && use_tls && s->tls.ssl == NULL) {
        ck_assert_int_eq(stream_start_tls(s, client_ctx, TLS_CLIENT), 0);
        return;
    }
    of(s)->open = true;
    stream_read_start(s);
}

static void on_data(struct stream *s, const uint8_t *data, size_t len)
{
    struct side *x = of(s);
    for (size_t i = 0; i < len; i++)
        x->sum = x->sum * 31 + data[i];
    x->received += len;
}

static void on_eof(struct stream *s, bool clean)
{
    ck_assert(!of(s)->eof);
    of(s)->eof = true;
    of(s)->clean = clean;
}

static void on_drained(struct stream *s)
{
    of(s)->drained++;
}

static void on_error(struct stream *s, int code, const char *detail)
{
    ck_assert_int_eq(of(s)->error, 0);
    ck_assert_ptr_nonnull(detail);
    of(s)->error = code;
}

static void on_closed(struct stream *s)
{
    ck_assert(!of(s)->closed);
    of(s)->closed = true;
}

static const struct stream_events events = {on_first,   on_open,  on_data,  on_eof,
                                            on_drained, on_error, on_closed};

static void on_connection(struct listener *l)
{
    stream_init(&server.s, &loop, &events, &server);
    ck_assert_int_eq(stream_accept(&server.s, listener_handle(l), use_tls), 0);
    server.open = !use_tls;
}

static void setup(void)
{
    static const struct tlsctx_client_options unverified = {.floor = TLS1_2_VERSION};
    char why[256];
    int bad, fd;
    const char *certificate = cert.certificate, *key = cert.key;
    cert_fixture_make(&cert);
    certificate = cert.certificate;
    const struct tlsctx_options o = {
        .certificates = &certificate, .keys = &key, .count = 1, .floor = TLS1_2_VERSION};
    ck_assert_int_eq(tlsctx_new_server(&server_ctx, &o, &bad, why, sizeof why), 0);
    ck_assert_int_eq(tlsctx_new_client(&client_ctx, &unverified, why, sizeof why), 0);
    ck_assert_int_eq(netloop_init(&loop), 0);
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    ck_assert_int_eq(listener_bind((struct sockaddr *)&any, true, &fd), 0);
    socklen_t len = sizeof address;
    getsockname(fd, (struct sockaddr *)&address, &len);
    listener.on_connection = on_connection;
    ck_assert_int_eq(listener_open(&listener, &loop, fd), 0);
    memset(&server, 0, sizeof server);
    memset(&client, 0, sizeof client);
    refuse = false;
}

static void teardown(void)
{
    if (server.s.loop != NULL && server.s.phase != STREAM_IDLE)
        stream_close(&server.s);
    if (client.s.phase != STREAM_IDLE)
        stream_close(&client.s);
    listener_close(&listener);
    netloop_deinit(&loop);
    SSL_CTX_free(server_ctx);
    SSL_CTX_free(client_ctx);
    cert_fixture_remove(&cert);
}

static void run_until(const bool *flag)
{
    uint64_t end = uv_hrtime() + 20u * 1000000000u;
    while (!*flag && uv_hrtime() < end)
        uv_run(&loop.uv, UV_RUN_NOWAIT);
    ck_assert(*flag);
}

static void turns(int n)
{
    for (int i = 0; i < n; i++)
        uv_run(&loop.uv, UV_RUN_NOWAIT);
}

static void run_until_received(const struct side *x, size_t n)
{
    uint64_t end = uv_hrtime() + 20u * 1000000000u;
    while (x->received < n && uv_hrtime() < end)
        uv_run(&loop.uv, UV_RUN_NOWAIT);
    ck_assert_uint_eq(x->received, n);
}

static void connect_both(bool tls)
{
    use_tls = tls;
    stream_init(&client.s, &loop, &events, &client);
    ck_assert_int_eq(stream_connect(&client.s, (struct sockaddr *)&address), 0);
    run_until(&client.open);
    run_until(&server.open);
}

START_TEST(from_an_address)
{
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr = {htonl(0x7f000009)}}; /* 127.0.0.9 */
    struct sockaddr_storage peer;
    use_tls = false;
    stream_init(&client.s, &loop, &events, &client);
    ck_assert_int_eq(stream_connect_from(&client.s, (struct sockaddr *)&from, (struct sockaddr *)&address),
                     0);
    run_until(&client.open);
    run_until(&server.open);
    ck_assert_int_eq(stream_peer(&server.s, &peer), 0);
    ck_assert_uint_eq(ntohl(((struct sockaddr_in *)&peer)->sin_addr.s_addr), 0x7f000009);
}
END_TEST

START_TEST(half_close_both_ways)
{
    connect_both(_i == 1);
    stream_write(&client.s, (const uint8_t *)"hello", 5);
    stream_shutdown(&client.s);
    run_until(&server.eof);
    ck_assert(server.clean);
    ck_assert_uint_eq(server.received, 5);
    ck_assert(!client.eof);
    stream_write(&server.s, (const uint8_t *)"goodbye", 7);
    stream_shutdown(&server.s);
    run_until(&client.eof);
    ck_assert(client.clean);
    ck_assert_uint_eq(client.received, 7);
    ck_assert(stream_is_finished(&client.s) && stream_is_finished(&server.s));
}
END_TEST

/* A reader that pauses holds the writer's queue up, loses nothing, and gets it in order when it goes on. */
START_TEST(back_pressure)
{
    enum { CHUNK = 100000, CHUNKS = 200 };
    static uint8_t data[CHUNK];
    uint64_t sum = 0;
    connect_both(_i == 1);
    stream_read_stop(&server.s);
    for (size_t i = 0; i < CHUNK; i++)
        data[i] = (uint8_t)(i * 13);
    for (int n = 0; n < CHUNKS; n++) {
        data[0] = (uint8_t)n;
        stream_write(&client.s, data, CHUNK);
        for (size_t i = 0; i < CHUNK; i++)
            sum = sum * 31 + data[i];
    }
    turns(50);
    ck_assert_uint_eq(server.received, 0);
    ck_assert_uint_gt(stream_queued(&client.s), STREAM_HIGH_WATER);
    ck_assert_uint_le(server.s.held.len, STREAM_HIGH_WATER + NETLOOP_INPUT_BYTES);
    ck_assert_int_eq(client.drained, 0);
    stream_read_start(&server.s);
    run_until_received(&server, (size_t)CHUNK * CHUNKS);
    ck_assert_uint_eq(server.sum, sum);
    turns(50);
    ck_assert_int_ge(client.drained, 1);
    ck_assert_uint_eq(stream_queued(&client.s), 0);
}
END_TEST

/* A shutdown behind a full queue waits for it. */
START_TEST(shutdown_comes_last)
{
    static uint8_t data[8 << 20];
    connect_both(_i == 1);
    stream_read_stop(&server.s);
    stream_write(&client.s, data, sizeof data);
    stream_shutdown(&client.s);
    stream_write(&client.s, data, 1); /* nothing goes behind it */
    turns(50);
    ck_assert_int_eq(client.s.shutting, STREAM_ASKED);
    stream_read_start(&server.s);
    run_until(&server.eof);
    ck_assert_uint_eq(server.received, sizeof data);
    ck_assert(server.clean);
}
END_TEST

START_TEST(end_without_close_notify_is_unclean)
{
    connect_both(true);
    stream_close(&client.s);
    run_until(&server.eof);
    ck_assert(!server.clean);
}
END_TEST

/* on_open starts TLS for the client where use_tls is set: this one must not. */
static void on_open_raw(struct stream *s)
{
    (void)s;
}

/* A plain client on a TLS listener. */
static void connect_raw(void)
{
    static struct stream_events raw;
    raw = events;
    raw.on_open = on_open_raw;
    use_tls = true;
    stream_init(&client.s, &loop, &raw, &client);
    ck_assert_int_eq(stream_connect(&client.s, (struct sockaddr *)&address), 0);
    uint64_t end = uv_hrtime() + 20u * 1000000000u;
    while (client.s.phase != STREAM_OPEN && uv_hrtime() < end)
        uv_run(&loop.uv, UV_RUN_NOWAIT);
    ck_assert_int_eq(client.s.phase, STREAM_OPEN);
    stream_read_start(&client.s);
}

START_TEST(first_bytes_that_are_no_record)
{
    static const struct {
        const char *bytes;
        size_t len;
    } cases[] = {{"GET / HTTP/1.1\r\n\r\n", 18}, {"\x16\x04\x01\x00\x05", 5}, {"\x16\x03\x01\x00\x00", 5},
                 {"\x16\x03\x01\x7f\xff", 5},    {"\x80\x2e\x02", 3},         {"\x05\x01\x00", 3}};
    refuse = true;
    connect_raw();
    stream_write(&client.s, (const uint8_t *)cases[_i].bytes, cases[_i].len);
    run_until(&client.eof);
    ck_assert_uint_eq(client.received, 7);
    ck_assert_int_eq(server.firsts, 1);
    ck_assert(!server.whole);
    ck_assert_ptr_null(server.s.tls.ssl);
}
END_TEST

/* The first record in single bytes: no SSL object before it is whole. */
START_TEST(no_ssl_before_a_whole_record)
{
    uint8_t record[5 + 600] = {22, 3, 1, 2, 88, 1, 0, 2, 84, 3, 3};
    connect_raw();
    for (size_t i = 0; i + 1 < sizeof record; i++) {
        stream_write(&client.s, record + i, 1);
        turns(3);
        ck_assert_int_eq(server.firsts, 0);
        ck_assert(server.s.loop == NULL || server.s.tls.ssl == NULL);
    }
    stream_write(&client.s, record + sizeof record - 1, 1);
    uint64_t limit = uv_hrtime() + 20u * 1000000000u;
    while (server.error == 0 && uv_hrtime() < limit)
        uv_run(&loop.uv, UV_RUN_NOWAIT);
    ck_assert_int_eq(server.firsts, 1);
    ck_assert(server.whole);
    ck_assert_int_eq(server.error, ERR_TLS); /* OpenSSL refuses the nonsense, and the peer gets its alert */
    run_until_received(&client, TLS_ALERT_BYTES);
}
END_TEST

START_TEST(errors_are_told_once_and_later)
{
    connect_both(false);
    struct linger hard = {1, 0};
    int fd;
    uv_fileno((uv_handle_t *)&client.s.tcp, &fd);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    stream_close(&client.s);
    run_until(&client.closed);
    uint64_t end = uv_hrtime() + 20u * 1000000000u;
    while (server.error == 0 && uv_hrtime() < end)
        uv_run(&loop.uv, UV_RUN_NOWAIT);
    ck_assert_int_eq(server.error, UV_ECONNRESET);
    stream_write(&server.s, (const uint8_t *)"x", 1); /* harmless now */
    turns(5);
    stream_close(&server.s);
    stream_close(&server.s);
    run_until(&server.closed);
}
END_TEST

START_TEST(an_idle_stream_owns_no_buffers)
{
    connect_both(true);
    stream_write(&client.s, (const uint8_t *)"x", 1);
    run_until_received(&server, 1);
    turns(5);
    ck_assert_ptr_null(server.s.flight);
    ck_assert_ptr_null(server.s.pending.data);
    ck_assert_ptr_null(server.s.held.data);
    ck_assert_uint_eq(loop.output.len, 0);
    ck_assert_uint_le(sizeof(struct stream), 512);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("stream");
    TCase *t = tcase_create("loopback");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, from_an_address);
    tcase_add_loop_test(t, half_close_both_ways, 0, 2);
    tcase_add_loop_test(t, back_pressure, 0, 2);
    tcase_add_loop_test(t, shutdown_comes_last, 0, 2);
    tcase_add_test(t, end_without_close_notify_is_unclean);
    tcase_add_loop_test(t, first_bytes_that_are_no_record, 0, 6);
    tcase_add_test(t, no_ssl_before_a_whole_record);
    tcase_add_test(t, errors_are_told_once_and_later);
    tcase_add_test(t, an_idle_stream_owns_no_buffers);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
