/* The stream: joins the TLS engine to a uv_tcp_t. Plain streams skip TLS in two places, seal_and_send and
 * take_input. Knows nothing of what is spoken on it. */
#include "net/stream.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"

#define QUEUE_MAX                                                                                            \
    (64 * 1024 * 1024) /* the owner's high-water mark comes long before: this one only catches bugs */
#define FIRST_MAX        (5 + 16384)  /* a whole TLS record without encryption */
#define SEAL_MAX         (256 * 1024) /* sealed at once: bounds the loop's output buffer */
#define RECORD_HEADER    5
#define RECORD_HANDSHAKE 22

struct stream_flight {
    uv_write_t req;
    struct stream *s;
    uint8_t *data; /* owned */
    size_t len;
};

static void on_later(struct deferred *d);
static void pump(struct stream *s, const uint8_t *data, size_t len);

/* ---- failure and closing ---- */

static void fail(struct stream *s, int code, const char *detail)
{
    if (s->failure != 0 || s->phase == STREAM_CLOSING)
        return;
    s->failure = code;
    s->detail = detail;
    deferred_schedule(s->loop, &s->later);
}

/* A write met a peer that is gone. What it had said before can still be read, such as the answer of a server
 * that does not want to hear all of the request: the failure is told behind that. */
static void fail_to_send(struct stream *s, int code)
{
    bool gone = code == UV_ECONNRESET || code == UV_EPIPE;
    if (gone && s->phase == STREAM_OPEN && s->reading && s->armed && !s->eof_seen)
        s->unsendable = code;
    else
        fail(s, code, err_text(code));
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct stream *s = handle->data;
    /* write and shutdown callbacks have run by now: nothing refers to s any more */
    deferred_cancel(&s->later);
    buf_deinit(&s->pending);
    buf_deinit(&s->held);
    tls_deinit(&s->tls);
    s->phase = STREAM_IDLE;
    s->events->on_closed(s);
}

void stream_close(struct stream *s)
{
    if (s->phase == STREAM_CLOSING)
        return;
    assert(s->phase != STREAM_IDLE);
    s->phase = STREAM_CLOSING;
    s->reading = false;
    deferred_cancel(&s->later);
    uv_close((uv_handle_t *)&s->tcp, on_handle_closed);
}

/* ---- sending ---- */

static void finish_shutdown(struct stream *s);

static void on_written(uv_write_t *req, int status)
{
    struct stream_flight *f = (struct stream_flight *)req;
    struct stream *s = f->s;

    free(f->data);
    free(f);
    s->flight = NULL;
    if (s->phase == STREAM_CLOSING)
        return;
    if (status < 0) {
        buf_deinit(&s->pending);
        fail_to_send(s, status);
        return;
    }
    if (s->pending.len > 0) {
        f = mem_alloc(sizeof *f);
        f->s = s;
        f->data = s->pending.data;
        f->len = s->pending.len;
        s->pending.data = NULL;
        buf_deinit(&s->pending);
        s->flight = f;
        uv_buf_t b = uv_buf_init((char *)f->data, (unsigned)f->len);
        int rc = uv_write(&f->req, (uv_stream_t *)&s->tcp, &b, 1, on_written);
        if (rc < 0) {
            s->flight = NULL;
            free(f->data);
            free(f);
            fail(s, rc, err_text(rc));
        }
        return;
    }
    finish_shutdown(s);
    if (s->wet) {
        s->wet = false;
        if (s->events->on_drained != NULL && s->failure == 0)
            s->events->on_drained(s);
    }
}

/* Sends bytes as they are: what the kernel does not take at once is copied and queued. */
static void send_bytes(struct stream *s, const uint8_t *data, size_t len)
{
    if (len == 0 || s->failure != 0 || s->unsendable != 0)
        return;
    if (s->flight != NULL) {
        int rc = buf_append(&s->pending, data, len);
        if (rc < 0)
            fail(s, rc, "the write queue overflowed");
        s->wet = true;
        return;
    }
    uv_buf_t b = uv_buf_init((char *)(uintptr_t)data, (unsigned)len);
    int n = uv_try_write((uv_stream_t *)&s->tcp, &b, 1);
    if (n == UV_EAGAIN)
        n = 0;
    if (n < 0) {
        fail_to_send(s, n);
        return;
    }
    if ((size_t)n == len)
        return;
    struct stream_flight *f = mem_alloc(sizeof *f);
    f->s = s;
    f->len = len - (size_t)n;
    f->data = mem_alloc(f->len);
    memcpy(f->data, data + n, f->len);
    b = uv_buf_init((char *)f->data, (unsigned)f->len);
    int rc = uv_write(&f->req, (uv_stream_t *)&s->tcp, &b, 1, on_written);
    if (rc < 0) {
        free(f->data);
        free(f);
        fail(s, rc, err_text(rc));
        return;
    }
    s->flight = f;
    s->wet = true;
}

/* Everything OpenSSL produced in the call just made. */
static void flush_output(struct stream *s)
{
    struct buf *out = &s->loop->output;
    if (s->shutting != STREAM_DONE) /* behind our FIN nothing can be said any more */
        send_bytes(s, out->data, out->len);
    out->len = 0;
}

static void lend(struct stream *s, const uint8_t *data, size_t len)
{
    assert(s->loop->output.len == 0);
    s->tls.out = &s->loop->output;
    s->tls.in = data;
    s->tls.in_len = len;
}

static void seal_and_send(struct stream *s, const uint8_t *data, size_t len)
{
    if (s->tls.ssl == NULL) {
        send_bytes(s, data, len);
        return;
    }
    const uint8_t *in = s->tls.in; /* a write made inside on_data must not disturb the input being read */
    size_t in_len = s->tls.in_len;
    while (len > 0 && s->failure == 0) {
        size_t n = len < SEAL_MAX ? len : SEAL_MAX;
        lend(s, NULL, 0);
        enum tls_result r = tls_write(&s->tls, data, n);
        s->tls.in = in;
        s->tls.in_len = in_len;
        flush_output(s);
        if (r == TLS_FAIL)
            fail(s, ERR_TLS, s->tls.error);
        data += n;
        len -= n;
    }
}

void stream_write(struct stream *s, const uint8_t *data, size_t len)
{
    if (s->phase != STREAM_OPEN || s->failure != 0 || s->shutting != STREAM_NONE || len == 0)
        return;
    s->bytes_out += len;
    seal_and_send(s, data, len);
}

void stream_write_raw(struct stream *s, const uint8_t *data, size_t len)
{
    if (s->phase == STREAM_CLOSING || s->phase == STREAM_IDLE || s->shutting != STREAM_NONE)
        return;
    send_bytes(s, data, len);
}

size_t stream_queued(const struct stream *s)
{
    /* libuv's figure shrinks with every part of the write in flight: owners see progress */
    return uv_stream_get_write_queue_size((const uv_stream_t *)&s->tcp) + s->pending.len;
}

/* Sends our FIN once nothing is queued in front of it. Straight to the kernel: uv_shutdown would do the same
 * after two changes of the poll set, which is a tenth of all system calls of a short tunnel, and nothing is
 * written behind it. */
static void finish_shutdown(struct stream *s)
{
    uv_os_fd_t fd;
    if (s->shutting != STREAM_ASKED || s->flight != NULL || s->failure != 0)
        return;
    s->shutting = STREAM_DONE;
    /* a peer that is gone is noticed by reading */
    if (uv_fileno((uv_handle_t *)&s->tcp, &fd) == 0)
        shutdown(fd, SHUT_WR);
}

void stream_shutdown(struct stream *s)
{
    if (s->shutting != STREAM_NONE || s->phase < STREAM_FIRST || s->phase == STREAM_CLOSING ||
        s->failure != 0)
        return;
    if (s->tls.ssl != NULL && s->phase == STREAM_OPEN) {
        const uint8_t *in = s->tls.in;
        size_t in_len = s->tls.in_len;
        lend(s, NULL, 0);
        tls_shutdown(&s->tls);
        s->tls.in = in;
        s->tls.in_len = in_len;
        flush_output(s);
    }
    s->shutting = STREAM_ASKED;
    finish_shutdown(s);
}

/* ---- receiving ---- */

static void tell_eof(struct stream *s, bool clean)
{
    if (s->eof_seen)
        return;
    if (s->unsendable != 0) { /* a reset that a write has met first is read as an end-of-file: it is none */
        fail(s, s->unsendable, err_text(s->unsendable));
        return;
    }
    s->eof_seen = true;
    s->events->on_eof(s, clean);
}

/* Keeps input for later: what was not read when the owner paused. */
static void hold(struct stream *s, const uint8_t *data, size_t len)
{
    if (len > 0 && buf_append(&s->held, data, len) < 0)
        fail(s, ERR_TOO_BIG, "input kept back overflowed");
}

/* How long the first record is, by its first bytes: 0 while that cannot be told, -1 when it is none. */
static ssize_t first_length(const uint8_t *p, size_t n)
{
    /* SSLv2-compatible ClientHello (RFC 5246 E.2): two bytes of length with the top bit set, message type 1,
     * version 3.x or 0.2 */
    if (n >= 1 && (p[0] & 0x80) != 0) {
        if ((n >= 3 && p[2] != 1) || (n >= 4 && p[3] != 3 && p[3] != 0))
            return -1;
        return n < 4 ? 0 : (ssize_t)(((p[0] & 0x7f) << 8) | p[1]) + 2;
    }
    if ((n >= 1 && p[0] != RECORD_HANDSHAKE) || (n >= 2 && p[1] != 3))
        return -1;
    if (n < RECORD_HEADER)
        return 0;
    size_t len = (size_t)(p[3] << 8 | p[4]);
    return len == 0 || len > FIRST_MAX - RECORD_HEADER ? -1 : (ssize_t)(len + RECORD_HEADER);
}

static void collect_first(struct stream *s, const uint8_t *data, size_t len)
{
    if (s->held.len > 0) {
        hold(s, data, len);
        data = s->held.data;
        len = s->held.len;
    }
    ssize_t need = first_length(data, len);
    if (need == 0 || (need > 0 && len < (size_t)need)) {
        if (s->held.len == 0)
            hold(s, data, len);
        return;
    }
    /* the owner decides now; started TLS then reads the same bytes */
    struct buf collected = s->held;
    buf_init(&s->held, QUEUE_MAX);
    s->events->on_first(s, data, len, need > 0);
    if (s->phase == STREAM_HANDSHAKE)
        pump(s, data, len);
    buf_deinit(&collected);
}

static void pump_handshake(struct stream *s)
{
    enum tls_result r = tls_handshake(&s->tls);
    flush_output(s);
    if (r == TLS_FAIL) {
        fail(s, ERR_TLS, s->tls.error);
    } else if (r == TLS_OK) {
        s->phase = STREAM_OPEN;
        s->events->on_open(s);
    } else if (r == TLS_EOF) {
        fail(s, UV_ECONNRESET, "the peer closed during the handshake");
    }
}

/* Reads TLS until input is used up, the owner pauses, or the end. */
static void pump_records(struct stream *s)
{
    while (s->phase == STREAM_OPEN && s->reading && s->failure == 0 && !s->eof_seen) {
        size_t n = 0;
        enum tls_result r = tls_read(&s->tls, s->loop->plain, NETLOOP_PLAIN_BYTES, &n);
        bool answered = s->loop->output.len > 0;
        flush_output(s);
        /* OpenSSL answers every renegotiation with an alert, which no high-water mark of the owner's bounds
         */
        if (answered && stream_queued(s) > STREAM_HIGH_WATER) {
            fail(s, ERR_TLS, "the peer asks for answers that it does not read");
            return;
        }
        if (n > 0) {
            s->bytes_in += n;
            s->events->on_data(s, s->loop->plain, n);
            if (s->phase != STREAM_OPEN)
                return;
        }
        if (r == TLS_FAIL)
            fail(s, ERR_TLS, s->tls.error);
        else if (r == TLS_EOF && s->reading)
            tell_eof(s, true);
        else if (r == TLS_EOF)
            s->eof_due = true;
        if (r != TLS_OK)
            return;
    }
}

/* Input for a stream with TLS. */
static void pump(struct stream *s, const uint8_t *data, size_t len)
{
    assert(!s->pumping);
    s->pumping = true;
    lend(s, data, len);
    if (s->phase == STREAM_HANDSHAKE)
        pump_handshake(s);
    if (s->phase == STREAM_OPEN)
        pump_records(s);
    const uint8_t *rest = s->tls.in;
    size_t rest_len = s->tls.in_len;
    s->tls.in = NULL;
    s->tls.in_len = 0;
    s->pumping = false;
    if (s->phase != STREAM_CLOSING && s->failure == 0 && !s->eof_seen)
        hold(s, rest, rest_len);
}

static void take_input(struct stream *s, const uint8_t *data, size_t len)
{
    if (s->phase == STREAM_FIRST && s->shutting == STREAM_NONE) {
        collect_first(s, data, len);
    } else if (s->phase == STREAM_FIRST) {
        return; /* refused in clear: what still comes is read and dropped, so that the answer is not lost in a
                   reset */
    } else if (s->eof_seen || s->failure != 0) {
        return; /* after close_notify nothing is read any more */
    } else if (s->tls.ssl != NULL) {
        if (s->held.len > 0)
            hold(s, data, len); /* older bytes wait: they are taken from on_later, in order */
        else
            pump(s, data, len);
    } else if (!s->reading || s->held.len > 0) {
        hold(s, data, len);
    } else {
        s->bytes_in += len;
        s->events->on_data(s, data, len);
    }
}

static bool wants_input(const struct stream *s)
{
    return s->reading || s->phase == STREAM_FIRST || s->phase == STREAM_HANDSHAKE;
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *b)
{
    (void)suggested;
    struct stream *s = handle->data;
    /* paused: no buffer, so nothing is read, and on_read then stops for real */
    bool take = wants_input(s) && s->held.len < STREAM_HIGH_WATER;
    *b = uv_buf_init((char *)s->loop->input, take ? NETLOOP_INPUT_BYTES : 0);
}

static int socket_error(const struct stream *s)
{
    uv_os_fd_t fd;
    int error = 0;
    socklen_t len = sizeof error;
    if (uv_fileno((const uv_handle_t *)&s->tcp, &fd) < 0 ||
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
        return 0;
    return error;
}

static void on_read(uv_stream_t *handle, ssize_t nread, const uv_buf_t *b)
{
    struct stream *s = handle->data;

    if (s->phase == STREAM_CLOSING || s->failure != 0 || nread == 0)
        return;
    if (nread == UV_ENOBUFS) {
        uv_read_stop(handle);
        s->armed = false;
        if (wants_input(s)) /* only held bytes stood in the way */
            deferred_schedule(s->loop, &s->later);
        return;
    }
    /* libuv takes a reset behind a partial read for an end-of-file: the socket knows better */
    int pending = 0;
    if (nread == UV_EOF && (pending = socket_error(s)) != 0)
        nread = -pending;
    if (nread == UV_EOF) {
        s->armed = false;
        s->tcp_eof = true;
        if (s->phase == STREAM_OPEN && (s->held.len > 0 || s->eof_due || tls_has_pending(&s->tls))) {
            if (s->reading)
                deferred_schedule(s->loop, &s->later);
            return; /* told by on_later, behind the bytes */
        }
        if (s->phase == STREAM_HANDSHAKE) {
            fail(s, UV_ECONNRESET, "the peer closed during the handshake");
        } else {
            tell_eof(s, s->tls.ssl == NULL);
        }
        return;
    }
    if (nread < 0) {
        s->armed = false;
        fail(s, (int)nread, err_text((int)nread));
        return;
    }
    take_input(s, (const uint8_t *)b->base, (size_t)nread);
}

static void arm(struct stream *s)
{
    if (s->armed || s->tcp_eof || s->failure != 0)
        return;
    int rc = uv_read_start((uv_stream_t *)&s->tcp, on_alloc, on_read);
    if (rc < 0)
        fail(s, rc, err_text(rc));
    else
        s->armed = true;
}

static void tell_open(struct stream *s)
{
    s->phase = STREAM_OPEN;
    s->events->on_open(s);
}

/* The next turn: an error to tell, held input to take, an end-of-file that waited behind it. */
static void on_later(struct deferred *d)
{
    struct stream *s = list_entry(d, struct stream, later);

    if (s->phase == STREAM_CLOSING)
        return;
    if (s->failure != 0) {
        if (!s->error_told) {
            s->error_told = true;
            if (s->armed) {
                uv_read_stop((uv_stream_t *)&s->tcp);
                s->armed = false;
            }
            s->events->on_error(s, s->failure, s->detail);
        }
        return;
    }
    if (s->phase == STREAM_CONNECTING) { /* to a Unix socket, which takes no waiting */
        tell_open(s);
        return;
    }
    if (!s->reading)
        return;
    struct buf held = s->held;
    buf_init(&s->held, QUEUE_MAX);
    if (s->tls.ssl != NULL) {
        pump(s, held.data, held.len);
    } else if (held.len > 0 && !s->eof_seen) {
        s->bytes_in += held.len;
        s->events->on_data(s, held.data, held.len);
    }
    buf_deinit(&held);
    if (s->phase == STREAM_CLOSING || s->failure != 0 || !s->reading)
        return;
    if (s->tcp_eof && s->held.len == 0)
        tell_eof(s, s->tls.ssl == NULL);
    else
        arm(s);
}

void stream_read_start(struct stream *s)
{
    if (s->reading || s->phase == STREAM_CLOSING || s->failure != 0)
        return;
    s->reading = true;
    if (s->phase != STREAM_OPEN)
        return;
    if (s->pumping)
        return; /* inside our own on_data: the pump goes on by itself */
    if (s->held.len > 0 || ((s->tcp_eof || s->eof_due) && !s->eof_seen) || tls_has_pending(&s->tls))
        deferred_schedule(s->loop, &s->later);
    else
        arm(s);
}

void stream_read_stop(struct stream *s)
{
    s->reading = false;
}

/* ---- beginnings ---- */

void stream_init(struct stream *s, struct netloop *loop, const struct stream_events *events, void *owner)
{
    *s = (struct stream){.loop = loop, .events = events, .owner = owner, .phase = STREAM_IDLE};
    tls_init(&s->tls);
    buf_init(&s->pending, QUEUE_MAX);
    buf_init(&s->held, QUEUE_MAX);
    deferred_init(&s->later, on_later);
}

int stream_accept(struct stream *s, uv_stream_t *listener, bool tls_server)
{
    assert(s->phase == STREAM_IDLE);
    uv_tcp_init(&s->loop->uv, &s->tcp);
    s->tcp.data = s;
    s->tls_server = tls_server;
    s->phase = tls_server ? STREAM_FIRST : STREAM_OPEN;
    int rc = uv_accept(listener, (uv_stream_t *)&s->tcp);
    if (rc < 0)
        return rc; /* the handle exists: the owner closes the stream */
    s->reading = !tls_server;
    arm(s);
    return s->failure;
}

static void on_connected(uv_connect_t *req, int status)
{
    struct stream *s = req->data;
    free(req);
    if (s->phase == STREAM_CLOSING)
        return;
    if (status < 0) {
        fail(s, status, err_text(status));
        return;
    }
    tell_open(s);
}

void stream_set_tcp(int fd)
{
    int one = 1, idle = 60, interval = 15, count = 4;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
}

/* A socket of that family, bound to the address without taking a port yet. */
static int bind_to(struct stream *s, const struct sockaddr *from)
{
    uv_os_fd_t fd;
    int on = 1;
    int rc = uv_tcp_init_ex(&s->loop->uv, &s->tcp, from->sa_family);
    if (rc < 0) { /* it is no handle then, and there has to be one to be closed */
        uv_tcp_init(&s->loop->uv, &s->tcp);
        return rc;
    }
    rc = uv_fileno((uv_handle_t *)&s->tcp, &fd);
    if (rc == 0 && setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on) < 0)
        rc = -errno;
    return rc == 0 ? uv_tcp_bind(&s->tcp, from, 0) : rc;
}

int stream_connect(struct stream *s, const struct sockaddr *address)
{
    return stream_connect_from(s, NULL, address);
}

int stream_connect_from(struct stream *s, const struct sockaddr *from, const struct sockaddr *address)
{
    int rc = 0;
    assert(s->phase == STREAM_IDLE);
    /* the owner tries one address after the other: nothing of a failed attempt may stay */
    stream_init(s, s->loop, s->events, s->owner);
    if (from != NULL)
        rc = bind_to(s, from);
    else
        uv_tcp_init(&s->loop->uv, &s->tcp);
    s->tcp.data = s;
    s->phase = STREAM_CONNECTING;
    if (rc < 0)
        return rc;
    uv_connect_t *req = mem_alloc(sizeof *req);
    req->data = s;
    rc = uv_tcp_connect(req, &s->tcp, address, on_connected);
    if (rc < 0) {
        free(req);
        return rc;
    }
    uv_os_fd_t fd;
    if (uv_fileno((uv_handle_t *)&s->tcp, &fd) == 0)
        stream_set_tcp(fd);
    return 0;
}

/* libuv connects such sockets only as pipes, which would be another struct to every stream; its uv_tcp_t
 * takes any stream socket by descriptor (see listener.c). No waiting is lost: connect() on a Unix socket
 * succeeds or fails at once, EAGAIN meaning that the listener's backlog is full. */
int stream_connect_unix(struct stream *s, const char *path)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    assert(s->phase == STREAM_IDLE);
    stream_init(s, s->loop, s->events, s->owner);
    uv_tcp_init(&s->loop->uv, &s->tcp);
    s->tcp.data = s;
    s->phase = STREAM_CONNECTING;
    size_t n = strlen(path);
    if (n >= sizeof sa.sun_path)
        return UV_ENAMETOOLONG;
    memcpy(sa.sun_path, path, n);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    int rc = connect(fd, (const struct sockaddr *)&sa, sizeof sa) == 0 ? 0 : -errno;
    if (rc == 0)
        rc = uv_tcp_open(&s->tcp, fd);
    if (rc < 0) {
        close(fd);
        fail(s, rc, err_text(rc));
    } else {
        deferred_schedule(s->loop, &s->later);
    }
    return 0;
}

static int start_tls(struct stream *s, SSL_CTX *ctx, enum tls_role role, const char *host,
                     SSL_SESSION *session)
{
    assert(s->phase == STREAM_FIRST || s->phase == STREAM_OPEN);
    int rc = tls_start(&s->tls, ctx, role);
    if (rc == 0 && host != NULL)
        rc = tls_set_host(&s->tls, host);
    if (rc < 0)
        return rc;
    if (session != NULL)
        SSL_set_session(s->tls.ssl, session); /* one that does not fit is not offered: no failure */
    s->phase = STREAM_HANDSHAKE;
    if (role == TLS_CLIENT) {
        lend(s, NULL, 0);
        enum tls_result r = tls_handshake(&s->tls);
        flush_output(s);
        if (r == TLS_FAIL)
            fail(s, ERR_TLS, s->tls.error);
        arm(s);
    }
    return 0;
}

int stream_start_tls(struct stream *s, SSL_CTX *ctx, enum tls_role role)
{
    return start_tls(s, ctx, role, NULL, NULL);
}

int stream_start_tls_client(struct stream *s, SSL_CTX *ctx, const char *host, SSL_SESSION *session)
{
    return start_tls(s, ctx, TLS_CLIENT, host, session);
}

bool stream_is_open(const struct stream *s)
{
    return s->phase == STREAM_OPEN && s->failure == 0;
}

bool stream_is_finished(const struct stream *s)
{
    return s->eof_seen && s->shutting == STREAM_DONE && s->flight == NULL;
}

int stream_peer(const struct stream *s, struct sockaddr_storage *out)
{
    int len = sizeof *out;
    memset(out, 0, sizeof *out);
    return uv_tcp_getpeername(&s->tcp, (struct sockaddr *)out, &len);
}
