/* One stream connected again after a failed attempt, as a connection does that has several addresses to try:
 * nothing of the failure may stay. */
#include <check.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "net/listener.h"
#include "net/stream.h"

static struct netloop loop;
static struct listener listener;
static struct sockaddr_in good, bad;
static struct stream server, client;
static int failures;
static size_t received;
static bool open_seen, eof_seen;

static void on_client_open(struct stream *s)
{
    open_seen = true;
    stream_read_start(s);
    stream_write(s, (const uint8_t *)"hello", 5);
    stream_shutdown(s);
}

static void on_client_error(struct stream *s, int code, const char *detail)
{
    (void)detail;
    ck_assert_int_eq(code, UV_ECONNREFUSED);
    failures++;
    stream_close(s);
}

/* Two attempts in vain, then a good one. */
static void on_client_closed(struct stream *s)
{
    if (failures < 2)
        ck_assert_int_eq(stream_connect(s, (struct sockaddr *)&bad), 0);
    else if (!open_seen)
        ck_assert_int_eq(stream_connect(s, (struct sockaddr *)&good), 0);
}

static void on_data(struct stream *s, const uint8_t *data, size_t len)
{
    received += len;
    stream_write(s, data, len);
}

static void on_client_data(struct stream *s, const uint8_t *data, size_t len)
{
    (void)s;
    (void)data;
    received += len;
}

static void on_server_eof(struct stream *s, bool clean)
{
    ck_assert(clean);
    stream_shutdown(s);
}

static void on_client_eof(struct stream *s, bool clean)
{
    (void)s;
    eof_seen = clean;
}

static void on_error(struct stream *s, int code, const char *detail)
{
    (void)s;
    ck_abort_msg("%d: %s", code, detail);
}

static void on_closed(struct stream *s)
{
    (void)s;
}

static const struct stream_events client_events = {.on_open = on_client_open,
                                                   .on_data = on_client_data,
                                                   .on_eof = on_client_eof,
                                                   .on_error = on_client_error,
                                                   .on_closed = on_client_closed};
static const struct stream_events server_events = {
    .on_data = on_data, .on_eof = on_server_eof, .on_error = on_error, .on_closed = on_closed};

static void on_connection(struct listener *l)
{
    stream_init(&server, &loop, &server_events, NULL);
    ck_assert_int_eq(stream_accept(&server, listener_handle(l), false), 0);
}

static int bound(struct sockaddr_in *address)
{
    int fd;
    socklen_t len = sizeof *address;
    *address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    ck_assert_int_eq(listener_bind((struct sockaddr *)address, true, &fd), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)address, &len), 0);
    return fd;
}

START_TEST(a_failed_attempt_leaves_nothing)
{
    ck_assert_int_eq(netloop_init(&loop), 0);
    listener.on_connection = on_connection;
    ck_assert_int_eq(listener_open(&listener, &loop, bound(&good)), 0);
    close(bound(&bad)); /* nobody listens there any more */

    stream_init(&client, &loop, &client_events, NULL);
    ck_assert_int_eq(stream_connect(&client, (struct sockaddr *)&bad), 0);
    uint64_t end = uv_hrtime() + 20u * 1000000000u;
    while (!eof_seen && uv_hrtime() < end)
        uv_run(&loop.uv, UV_RUN_NOWAIT);
    ck_assert(eof_seen);
    ck_assert_int_eq(failures, 2); /* each attempt tells of its own failure */
    ck_assert_uint_eq(received, 10);
    ck_assert(stream_is_finished(&client));

    stream_close(&client);
    stream_close(&server);
    listener_close(&listener);
    netloop_deinit(&loop);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("stream again");
    TCase *t = tcase_create("stream again");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, a_failed_attempt_leaves_nothing);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
