/* TLS without I/O: bytes in, bytes out. Joins an OpenSSL SSL to borrowed input and a borrowed output buffer.
 *
 * The custom BIO reads straight out of the lent input, and its write always accepts into the output, so that
 * OpenSSL's retry rules never matter. Every call can produce output (a read writes alerts, answers and
 * tickets): the caller sends `out` after each call. The error queue is cleared before each call and its text
 * taken right after.
 */
#ifndef STAGATE_NET_TLS_H
#define STAGATE_NET_TLS_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

enum tls_role { TLS_SERVER, TLS_CLIENT };

enum tls_result {
    TLS_OK = 0,
    TLS_WANT = 1, /* all lent input is used, more is needed */
    TLS_EOF = 2,  /* the peer sent close_notify */
    TLS_FAIL = 3, /* fatal; tls->error has the text, and the alert, if any, is in the output */
};

/* What was wrong with a server, where its client cares. */
enum tls_failure {
    TLS_FAILURE_OTHER,
    TLS_FAILURE_CERTIFICATE, /* not trusted, out of its time, for another name, none of the pinned keys */
    TLS_FAILURE_FLOOR,       /* it speaks only versions below the lowest of ours */
    TLS_FAILURE_SSL3,        /* it speaks SSLv3 at most */
};

#define TLS_KEY_UPDATES_PER_SECOND                                                                           \
    100 /* from the peer; more is an attack on our CPU, and ends the connection */

struct tls {
    SSL *ssl;          /* owned; NULL: not started */
    const uint8_t *in; /* borrowed during a call */
    size_t in_len;     /* what is left of it */
    struct buf *out;   /* borrowed during a call */
    const char *error; /* static storage of OpenSSL or ours; NULL while all is well. What is wrong with a
                          certificate comes as X509_verify_cert_error_string has it */
    uint32_t update_window_s;
    uint16_t updates;        /* KeyUpdates of the peer in that second */
    uint16_t server_version; /* clients: what the ServerHello, or the record of an alert in its place,
                                carries; 0: neither has come */
    uint8_t failure;         /* enum tls_failure */
    bool trim;               /* a KeyUpdate pinned a buffer: give it back */
    bool ticket_due;         /* TLS 1.3 server: a session ticket goes out with the first data */
};

void tls_init(struct tls *t); /* not started */
int tls_start(struct tls *t, SSL_CTX *ctx, enum tls_role role);
/* Clients, before the handshake: the certificate has to be for this name or IP address (where the context
 * verifies at all); a name goes out as SNI. ERR_TLS when OpenSSL does not take it. */
int tls_set_host(struct tls *t, const char *host);
void tls_deinit(struct tls *t);

enum tls_result tls_handshake(struct tls *t);
/* After TLS_FAIL of a client's handshake; else TLS_FAILURE_OTHER. */
enum tls_failure tls_failure_kind(const struct tls *t);
/* Whether an error text is one of those that OpenSSL has for bytes that are no TLS records: the peer speaks
 * something else. */
bool tls_is_not_tls(const char *error);
/* Decrypts until cap bytes are there or input is used up: *n may be positive with any result; handle data
 * first, then the result. */
enum tls_result tls_read(struct tls *t, uint8_t *dst, size_t cap, size_t *n);
/* Seals all of data: TLS_OK or TLS_FAIL. */
enum tls_result tls_write(struct tls *t, const uint8_t *data, size_t len);
/* Appends close_notify where that is allowed (handshake done, no fatal error); idempotent. */
void tls_shutdown(struct tls *t);
/* Decrypted bytes or a record are still inside: read again although there is no input. */
bool tls_has_pending(const struct tls *t);
bool tls_handshake_done(const struct tls *t);

#endif
