/* A TCP or Unix connection, with TLS on it or without: bytes with back-pressure both ways and half-close both
 * ways.
 *
 * Embedded in its owner; the owner's memory must live until on_closed. Contract:
 *  - No callback runs inside a call of the owner's; all come from the loop.
 *  - on_data borrows the bytes and takes all of them. stream_read_stop inside it is obeyed at once; bytes
 * kept back come first after stream_read_start, from the next turn.
 *  - stream_write copies or seals, tries to send at once, and queues the rest (one write in flight). The
 * owner keeps the bound: above STREAM_HIGH_WATER of stream_queued() it stops what feeds it, and on_drained
 * (queue empty again) starts it.
 *  - on_eof comes once: the peer will send nothing more, writing goes on. clean is false when TLS ended
 * without close_notify.
 *  - on_error comes at most once and ends the stream but for stream_close; what is queued is lost. Where a
 * write finds the peer gone while the owner reads, what the peer had sent before comes first.
 *  - stream_close may be called at any time, any number of times; on_closed comes exactly once, and nothing
 * after it.
 *
 * A TLS server stream costs nothing but this struct until a whole first record has come: on_first then hands
 * it out before OpenSSL sees it, and the owner starts TLS, answers in clear, or closes.
 */
#ifndef STAGATE_NET_STREAM_H
#define STAGATE_NET_STREAM_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/buf.h"
#include "net/netloop.h"
#include "net/tls.h"

#define STREAM_HIGH_WATER (64 * 1024)

struct stream;

struct stream_events {
    /* TLS server streams only: the first bytes, up to and including the first whole TLS record or SSLv2 hello
     * (then whole is true), or as soon as they cannot be one (whole false). Call stream_start_tls, or
     * stream_write_raw and stream_shutdown, or stream_close. */
    void (*on_first)(struct stream *s, const uint8_t *data, size_t len, bool whole);
    void (*on_open)(struct stream *s); /* connected (client), handshake done (TLS) */
    void (*on_data)(struct stream *s, const uint8_t *data, size_t len);
    void (*on_eof)(struct stream *s, bool clean);
    void (*on_drained)(struct stream *s);
    /* detail: constant text, never NULL. Of a server's failed handshake, tls_failure_kind(&s->tls) says more
     */
    void (*on_error)(struct stream *s, int code, const char *detail);
    void (*on_closed)(struct stream *s);
};

enum stream_phase {
    STREAM_IDLE, /* initialised, no handle */
    STREAM_CONNECTING,
    STREAM_FIRST, /* TLS server: collecting the first record */
    STREAM_HANDSHAKE,
    STREAM_OPEN,
    STREAM_CLOSING, /* uv_close called, or waiting to be */
};

enum stream_progress { STREAM_NONE, STREAM_ASKED, STREAM_DONE };

struct stream_flight;

struct stream {
    uv_tcp_t tcp;
    struct netloop *loop;
    const struct stream_events *events;
    void *owner;
    struct tls tls;               /* tls.ssl NULL: plain */
    struct stream_flight *flight; /* the write in flight, NULL when nothing is queued */
    struct buf pending;           /* queued behind it */
    struct buf held;              /* input kept back while paused, or the first record being collected */
    struct deferred later;
    uint64_t bytes_in; /* of the owner's data: plaintext where there is TLS */
    uint64_t bytes_out;
    const char *detail; /* of the failure, constant */
    int failure;        /* 0, or what on_error will tell or has told */
    int unsendable;     /* 0, or the failure of a write, to be told behind what can still be read */
    uint8_t phase;      /* enum stream_phase */
    uint8_t shutting;   /* enum stream_progress: our end-of-file */
    bool reading;       /* the owner wants data */
    bool
        armed; /* uv_read_start is in force: stopping is put off until data comes, it often need not happen */
    bool wet;  /* was above the high-water mark or waited: on_drained is owed */
    bool tls_server;
    bool eof_seen; /* on_eof told */
    bool eof_due;  /* close_notify was read while the owner paused */
    bool error_told;
    bool pumping; /* guards against re-entry */
    bool tcp_eof;
};

void stream_init(struct stream *s, struct netloop *loop, const struct stream_events *events, void *owner);
/* Takes a connection off a listening handle. tls_server: TLS will be spoken, on_first comes. Starts reading.
 */
int stream_accept(struct stream *s, uv_stream_t *listener, bool tls_server);
/* TCP_NODELAY and keepalive: 60 s idle, then 4 probes 15 s apart. libuv's own keepalive gives up after 10 s,
 * which phones out of reach for a moment would not survive, nor thousands that are probed at once. */
void stream_set_tcp(int fd);
/* Connects; on_open or on_error follow. Plain until stream_start_tls is called in on_open (client) . */
int stream_connect(struct stream *s, const struct sockaddr *address);
/* The same from an address of this machine, whose port the kernel picks (port 0) when it knows where the
 * connection goes: each pair of addresses has all ports. NULL: any address. */
int stream_connect_from(struct stream *s, const struct sockaddr *from, const struct sockaddr *address);
/* The same to a Unix socket: UV_ENAMETOOLONG or no descriptor is told at once, all else by on_open and
 * on_error. After a negative result of either, the stream has to be closed. */
int stream_connect_unix(struct stream *s, const char *path);
/* Starts TLS: a server's inside on_first, with what was collected; a client's in on_open (a second on_open
 * comes after the handshake). A client started with this verifies no name. */
int stream_start_tls(struct stream *s, SSL_CTX *ctx, enum tls_role role);
/* A client's, in on_open: where the context verifies, the certificate has to be for host, a name (sent as
 * SNI, too) or an IP address. session is one to resume, borrowed; NULL: none. */
int stream_start_tls_client(struct stream *s, SSL_CTX *ctx, const char *host, SSL_SESSION *session);

void stream_read_start(struct stream *s);
void stream_read_stop(struct stream *s);
void stream_write(struct stream *s, const uint8_t *data, size_t len);
void stream_write_raw(struct stream *s, const uint8_t *data,
                      size_t len);            /* past TLS: alerts and answers in clear before a handshake */
size_t stream_queued(const struct stream *s); /* bytes that the kernel has not taken yet */
void stream_shutdown(
    struct stream *s); /* end-of-file for the peer: at once, or, with bytes queued, before on_drained */
void stream_close(struct stream *s);

bool stream_is_open(const struct stream *s);
/* Everything was sent, end-of-file included, and the peer's end-of-file has come. */
bool stream_is_finished(const struct stream *s);
/* AF_UNIX, and nothing more to see, on a Unix socket. */
int stream_peer(const struct stream *s, struct sockaddr_storage *out);

#endif
