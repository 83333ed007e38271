/* Unix sockets: rights from the first moment, what is replaced and what never, and streams over them. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "net/listener.h"
#include "net/stream.h"

static struct netloop loop;
static struct listener listener;
static struct stream server, client;
static char dir[64], path[96];
static bool opened, server_eof, client_eof, client_closed, listener_closed;
static int failure;
static size_t received;
static struct sockaddr_storage peer;

static void setup(void)
{
    snprintf(dir, sizeof dir, "/tmp/stagate-unix-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/socket", dir);
    opened = server_eof = client_eof = client_closed = listener_closed = false;
    failure = 0;
    received = 0;
}

static void teardown(void)
{
    unlink(path);
    ck_assert_int_eq(rmdir(dir), 0);
}

static unsigned mode_of(const char *p)
{
    struct stat st;
    ck_assert_int_eq(lstat(p, &st), 0);
    return st.st_mode & 07777;
}

/* ---- binding ---- */

START_TEST(the_file_has_exactly_the_rights_asked_for)
{
    static const unsigned modes[] = {0600, 0660, 0666, 0700};
    static const mode_t umasks[] = {0, 022, 0177, 0777};
    for (size_t i = 0; i < 4; i++) {
        for (size_t j = 0; j < 4; j++) {
            int fd;
            umask(umasks[j]);
            ck_assert_int_eq(listener_bind_unix(path, modes[i], &fd), 0);
            ck_assert_uint_eq(mode_of(path), modes[i]);
            ck_assert_uint_eq(umask(022), umasks[j]);
            ck_assert_int_eq(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
            close(fd);
        }
    }
}
END_TEST

START_TEST(one_that_answers_is_not_replaced)
{
    int fd, other;
    ck_assert_int_eq(listener_bind_unix(path, 0600, &fd), 0);
    ck_assert_int_eq(listener_bind_unix(path, 0600, &other), UV_EADDRINUSE);
    ck_assert_int_eq(other, -1);
    close(fd);
    ck_assert_int_eq(listener_bind_unix(path, 0600, &other), 0); /* left behind: replaced */
    close(other);
}
END_TEST

static int plain_socket(int type)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    snprintf(sa.sun_path, sizeof sa.sun_path, "%s", path);
    int fd = socket(AF_UNIX, type | SOCK_NONBLOCK, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&sa, sizeof sa), 0);
    return fd;
}

/* A process that is too busy to take connections is alive. Returns its socket. */
static int full_backlog(int *waiting)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    snprintf(sa.sun_path, sizeof sa.sun_path, "%s", path);
    int fd = plain_socket(SOCK_STREAM);
    ck_assert_int_eq(listen(fd, 0), 0);
    *waiting = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    ck_assert_int_eq(connect(*waiting, (struct sockaddr *)&sa, sizeof sa), 0);
    return fd;
}

START_TEST(a_full_backlog_is_an_answer)
{
    int waiting, other;
    int fd = full_backlog(&waiting);
    ck_assert_int_eq(listener_bind_unix(path, 0600, &other), UV_EADDRINUSE);
    close(waiting);
    close(fd);
}
END_TEST

START_TEST(a_socket_of_another_kind_is_in_use)
{
    int other;
    int fd = plain_socket(SOCK_DGRAM);
    ck_assert_int_eq(listener_bind_unix(path, 0600, &other), UV_EADDRINUSE);
    close(fd);
}
END_TEST

START_TEST(what_is_no_socket_stays)
{
    int fd, file = open(path, O_CREAT | O_WRONLY, 0640);
    close(file);
    ck_assert_int_eq(listener_bind_unix(path, 0600, &fd), UV_ENOTSOCK);
    ck_assert_uint_eq(mode_of(path), 0640);
    unlink(path);
    ck_assert_int_eq(symlink("/nowhere", path), 0);
    ck_assert_int_eq(listener_bind_unix(path, 0600, &fd), UV_ENOTSOCK);
    unlink(path);
    ck_assert_int_eq(mkdir(path, 0700), 0);
    ck_assert_int_eq(listener_bind_unix(path, 0600, &fd), UV_ENOTSOCK);
    rmdir(path);
}
END_TEST

START_TEST(paths_that_cannot_be)
{
    int fd;
    char longest[sizeof(struct sockaddr_un) + 1];
    struct sockaddr_un sa;
    memset(longest, 'x', sizeof longest);
    longest[sizeof sa.sun_path] = '\0';
    ck_assert_int_eq(listener_bind_unix(longest, 0600, &fd), UV_ENAMETOOLONG);
    snprintf(longest, sizeof longest, "%s/no/such", dir);
    ck_assert_int_eq(listener_bind_unix(longest, 0600, &fd), UV_ENOENT);
    ck_assert_int_eq(fd, -1);
}
END_TEST

/* ---- streams ---- */

static void on_open(struct stream *s)
{
    opened = true;
    stream_read_start(s);
}

static void on_data(struct stream *s, const uint8_t *data, size_t len)
{
    if (s == &server)
        stream_write(s, data, len);
    else
        received += len;
}

static void on_eof(struct stream *s, bool clean)
{
    ck_assert(clean);
    if (s == &client) {
        client_eof = true;
        return;
    }
    server_eof = true;
    stream_shutdown(s);
}

static void on_error(struct stream *s, int code, const char *detail)
{
    ck_assert_ptr_eq(s, &client);
    ck_assert_ptr_nonnull(detail);
    failure = code;
}

static void on_closed(struct stream *s)
{
    client_closed |= s == &client;
}

static const struct stream_events events = {
    .on_open = on_open, .on_data = on_data, .on_eof = on_eof, .on_error = on_error, .on_closed = on_closed};

static void on_connection(struct listener *l)
{
    stream_init(&server, &loop, &events, NULL);
    ck_assert_int_eq(stream_accept(&server, listener_handle(l), false), 0);
    ck_assert_int_eq(stream_peer(&server, &peer), 0);
}

static void on_listener_closed(struct listener *l)
{
    (void)l;
    listener_closed = true;
}

#define RUN_UNTIL(expr)                                                                                      \
    do {                                                                                                     \
        uint64_t end_ns_ = uv_hrtime() + 20u * 1000000000ull;                                                \
        while (!(expr) && uv_hrtime() < end_ns_)                                                             \
            uv_run(&loop.uv, UV_RUN_NOWAIT);                                                                 \
        ck_assert(expr);                                                                                     \
    } while (0)

START_TEST(streams_run_over_it)
{
    static uint8_t data[3000000];
    int fd;
    ck_assert_int_eq(netloop_init(&loop), 0);
    ck_assert_int_eq(listener_bind_unix(path, 0600, &fd), 0);
    listener = (struct listener){.on_connection = on_connection, .on_closed = on_listener_closed};
    ck_assert_int_eq(listener_open(&listener, &loop, fd), 0);
    stream_init(&client, &loop, &events, NULL);
    ck_assert_int_eq(stream_connect_unix(&client, path), 0);
    ck_assert(!opened); /* never inside the call */
    RUN_UNTIL(opened);
    stream_write(&client, data, sizeof data);
    stream_shutdown(&client);
    RUN_UNTIL(client_eof);
    ck_assert(server_eof);
    ck_assert_uint_eq(received, sizeof data);
    ck_assert_int_eq(peer.ss_family, AF_UNIX);
    char text[ADDRESS_TEXT];
    address_format(&peer, text);
    ck_assert_str_eq(text, "unix");
    ck_assert_int_eq(stream_peer(&client, &peer), 0);
    ck_assert_int_eq(peer.ss_family, AF_UNIX);
    stream_close(&client);
    stream_close(&server);
    listener_close(&listener);
    RUN_UNTIL(listener_closed && client_closed);
    netloop_deinit(&loop);
}
END_TEST

static void connect_in_vain(int code)
{
    failure = 0;
    client_closed = false;
    ck_assert_int_eq(stream_connect_unix(&client, path), 0);
    ck_assert_int_eq(failure, 0);
    RUN_UNTIL(failure != 0);
    ck_assert_int_eq(failure, code);
    stream_close(&client);
    RUN_UNTIL(client_closed);
}

START_TEST(connecting_in_vain)
{
    int waiting;
    char longest[sizeof(struct sockaddr_un) + 1];
    memset(longest, 'x', sizeof longest);
    longest[sizeof longest - 1] = '\0';
    ck_assert_int_eq(netloop_init(&loop), 0);
    stream_init(&client, &loop, &events, NULL);
    connect_in_vain(UV_ENOENT);
    close(plain_socket(SOCK_STREAM));
    connect_in_vain(UV_ECONNREFUSED);
    unlink(path);
    int fd = full_backlog(&waiting);
    connect_in_vain(UV_EAGAIN);
    close(fd);
    close(waiting);
    client_closed = false;
    ck_assert_int_eq(stream_connect_unix(&client, longest), UV_ENAMETOOLONG);
    stream_close(&client);
    RUN_UNTIL(client_closed);
    /* closed before it was told that it is open */
    unlink(path);
    ck_assert_int_eq(listener_bind_unix(path, 0600, &fd), 0);
    client_closed = false;
    ck_assert_int_eq(stream_connect_unix(&client, path), 0);
    stream_close(&client);
    RUN_UNTIL(client_closed);
    ck_assert(!opened);
    close(fd);
    netloop_deinit(&loop);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("listener unix");
    TCase *t = tcase_create("listener unix");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, the_file_has_exactly_the_rights_asked_for);
    tcase_add_test(t, one_that_answers_is_not_replaced);
    tcase_add_test(t, a_full_backlog_is_an_answer);
    tcase_add_test(t, a_socket_of_another_kind_is_in_use);
    tcase_add_test(t, what_is_no_socket_stays);
    tcase_add_test(t, paths_that_cannot_be);
    tcase_add_test(t, streams_run_over_it);
    tcase_add_test(t, connecting_in_vain);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
