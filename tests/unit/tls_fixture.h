/* Two TLS engines joined by buffers, for tests. */
#ifndef STAGATE_TESTS_TLS_FIXTURE_H
#define STAGATE_TESTS_TLS_FIXTURE_H

#include <check.h>

#include "base/buf.h"
#include "net/tls.h"

/* One end with what it has produced. */
struct end {
    struct tls tls;
    struct buf out;
};

static inline void end_init(struct end *e, SSL_CTX *ctx, enum tls_role role)
{
    tls_init(&e->tls);
    buf_init(&e->out, 64 << 20);
    ck_assert_int_eq(tls_start(&e->tls, ctx, role), 0);
    e->tls.out = &e->out;
}

static inline void end_deinit(struct end *e)
{
    tls_deinit(&e->tls);
    buf_deinit(&e->out);
}

/* Feeds what `from` produced to a handshake of `to`, in pieces. */
static inline enum tls_result shake(struct end *to, struct end *from, size_t piece)
{
    enum tls_result r = TLS_WANT;
    struct buf in = from->out;
    buf_init(&from->out, in.max);
    for (size_t at = 0; at < in.len || at == 0; at += piece) {
        to->tls.in = in.data + at;
        to->tls.in_len = in.len - at < piece ? in.len - at : piece;
        r = tls_handshake(&to->tls);
        if (r != TLS_WANT) {
            /* what belongs to the time after the handshake is kept by the test */
            buf_append(&from->out, to->tls.in, to->tls.in_len);
            if (at + piece < in.len)
                buf_append(&from->out, in.data + at + piece, in.len - at - piece);
            break;
        }
        ck_assert_uint_eq(to->tls.in_len, 0);
        if (in.len == 0)
            break;
    }
    buf_deinit(&in);
    return r;
}

/* Until both ends know: the client's result, and the server's in *server_result. */
static inline enum tls_result try_hands(struct end *client, struct end *server, size_t piece,
                                        enum tls_result *server_result)
{
    enum tls_result c = TLS_WANT, s = TLS_WANT;
    for (int turn = 0; turn < 10 && (c == TLS_WANT || s == TLS_WANT); turn++) {
        if (c == TLS_WANT)
            c = shake(client, server, piece);
        if (s == TLS_WANT)
            s = shake(server, client, piece);
    }
    *server_result = s;
    return c;
}

static inline void shake_hands(struct end *client, struct end *server, size_t piece)
{
    enum tls_result s;
    ck_assert_int_eq(try_hands(client, server, piece, &s), TLS_OK);
    ck_assert_int_eq(s, TLS_OK);
    ck_assert(tls_handshake_done(&client->tls) && tls_handshake_done(&server->tls));
}

/* Reads all that `from` produced; the last result. */
static inline enum tls_result take(struct end *to, struct end *from, struct buf *plain)
{
    uint8_t chunk[5000];
    enum tls_result r;
    size_t n;
    to->tls.in = from->out.data;
    to->tls.in_len = from->out.len;
    do {
        r = tls_read(&to->tls, chunk, sizeof chunk, &n);
        ck_assert_int_eq(buf_append(plain, chunk, n), 0);
    } while (r == TLS_OK);
    from->out.len = 0;
    return r;
}

#endif
