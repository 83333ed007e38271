/* TLS without I/O, for streams and for tests. Knows OpenSSL, no sockets. */
#include "net/tls.h"

#include <assert.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"

/* one record; SSL_write with more would loop inside just the same */
#define RECORD_MAX 16384

static int bio_read(BIO *bio, char *dst, size_t cap, size_t *n)
{
    struct tls *t = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    *n = t->in_len < cap ? t->in_len : cap;
    if (*n == 0) {
        BIO_set_retry_read(bio);
        return 0;
    }
    memcpy(dst, t->in, *n);
    t->in += *n;
    t->in_len -= *n;
    return 1;
}

static int bio_write(BIO *bio, const char *src, size_t len, size_t *n)
{
    struct tls *t = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    int rc = buf_append(t->out, src, len);
    assert(rc == 0 && "the output of one call has no bound");
    (void)rc;
    *n = len;
    return 1;
}

static long bio_ctrl(BIO *bio, int cmd, long num, void *ptr)
{
    (void)bio;
    (void)num;
    (void)ptr;
    return cmd == BIO_CTRL_FLUSH || cmd == BIO_CTRL_PUSH || cmd == BIO_CTRL_POP || cmd == BIO_CTRL_DUP;
}

/* Before each call, whose result is read from the queue. Clearing an empty one takes longer than looking. */
static void clear_errors(void)
{
    if (ERR_peek_error() != 0)
        ERR_clear_error();
}

static BIO_METHOD *method;

/* made before main: no thread exists yet, and a constructor needs no once-guard on the hot path */
__attribute__((constructor)) static void make_method(void)
{
    method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "stagate");
    assert(method != NULL);
    BIO_meth_set_read_ex(method, bio_read);
    BIO_meth_set_write_ex(method, bio_write);
    BIO_meth_set_ctrl(method, bio_ctrl);
}

__attribute__((destructor)) static void free_method(void)
{
    BIO_meth_free(method);
}

/* Counts KeyUpdate messages of the peer: OpenSSL answers any number of them. */
static void on_message(int is_write, int version, int type, const void *data, size_t len, SSL *ssl, void *arg)
{
    (void)version;
    (void)ssl;
    if (is_write || type != SSL3_RT_HANDSHAKE || len == 0 || ((const uint8_t *)data)[0] != SSL3_MT_KEY_UPDATE)
        return;
    struct tls *t = arg;
    uint32_t now = (uint32_t)(clock_mono_ms() / 1000);
    if (t->update_window_s != now) {
        t->update_window_s = now;
        t->updates = 0;
    }
    t->updates++;
    t->trim = true;
}

/* Clients, besides: notes which version the server speaks, which OpenSSL's error does not tell. */
static void on_server_message(int is_write, int version, int type, const void *data, size_t len, SSL *ssl,
                              void *arg)
{
    struct tls *t = arg;
    const uint8_t *p = data;
    on_message(is_write, version, type, data, len, ssl, arg);
    if (is_write)
        return;
    /* type, version, length. Only what comes instead of a ServerHello says anything: behind it, records
     * carry the version agreed on */
    if (type == SSL3_RT_HEADER && len >= 3 && p[0] == SSL3_RT_ALERT && t->server_version == 0)
        t->server_version = (uint16_t)(p[1] << 8 | p[2]);
    /* type, length of three bytes, version */
    else if (type == SSL3_RT_HANDSHAKE && len >= 6 && p[0] == SSL3_MT_SERVER_HELLO)
        t->server_version = (uint16_t)(p[4] << 8 | p[5]);
}

void tls_init(struct tls *t)
{
    *t = (struct tls){0};
}

int tls_start(struct tls *t, SSL_CTX *ctx, enum tls_role role)
{
    assert(t->ssl == NULL);
    clear_errors();
    BIO *bio = BIO_new(method);
    t->ssl = SSL_new(ctx);
    if (bio == NULL || t->ssl == NULL) {
        BIO_free(bio);
        tls_deinit(t);
        return ERR_TLS;
    }
    BIO_set_data(bio, t);
    BIO_set_init(bio, 1);
    SSL_set_bio(t->ssl, bio, bio);
    SSL_set_msg_callback(t->ssl, role == TLS_SERVER ? on_message : on_server_message);
    SSL_set_msg_callback_arg(t->ssl, t);
    if (role == TLS_SERVER)
        SSL_set_accept_state(t->ssl);
    else
        SSL_set_connect_state(t->ssl);
    t->ticket_due = role == TLS_SERVER && (SSL_get_options(t->ssl) & SSL_OP_NO_TICKET) == 0;
    return 0;
}

int tls_set_host(struct tls *t, const char *host)
{
    if (host[0] == '\0')
        return ERR_TLS; /* to OpenSSL: any name */
    clear_errors();
    /* what parses as an address is one, and has no SNI (RFC 6066, 3) */
    bool good = X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(t->ssl), host) == 1;
    if (!good) {
        SSL_set_hostflags(t->ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
        good = SSL_set1_host(t->ssl, host) == 1 && SSL_set_tlsext_host_name(t->ssl, host) == 1;
    }
    clear_errors();
    return good ? 0 : ERR_TLS;
}

void tls_deinit(struct tls *t)
{
    SSL_free(t->ssl);
    *t = (struct tls){0};
}

/* The earliest entry is the cause, later ones are its echoes. */
static const char *cause_of(const SSL *ssl)
{
    unsigned long code = ERR_peek_error();
    if (ERR_GET_LIB(code) == ERR_LIB_SSL && ERR_GET_REASON(code) == SSL_R_CERTIFICATE_VERIFY_FAILED) {
        long result = SSL_get_verify_result(ssl);
        if (result == X509_V_ERR_APPLICATION_VERIFICATION) /* the application being tlsctx.c */
            return "the server's key is none of the pinned ones";
        return X509_verify_cert_error_string(result);
    }
    const char *reason = code ? ERR_reason_error_string(code) : NULL;
    return reason ? reason : "TLS failure without a reason given";
}

/* Turns the return value of an SSL call into our result. */
static enum tls_result result_of(struct tls *t, int ret)
{
    switch (SSL_get_error(t->ssl, ret)) {
    case SSL_ERROR_NONE:
        return TLS_OK;
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        return TLS_WANT;
    case SSL_ERROR_ZERO_RETURN:
        return TLS_EOF;
    default:
        t->error = cause_of(t->ssl);
        clear_errors();
        return TLS_FAIL;
    }
}

/* What the error at hand says about the server. */
static enum tls_failure failure_of(const struct tls *t)
{
    unsigned long code = ERR_peek_error();
    int reason = ERR_GET_LIB(code) == ERR_LIB_SSL ? ERR_GET_REASON(code) : 0;
    if (code == 0)
        return TLS_FAILURE_OTHER; /* nothing failed: more input is needed */
    if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED)
        return TLS_FAILURE_CERTIFICATE;
    if (t->server_version == SSL3_VERSION)
        return TLS_FAILURE_SSL3;
    if (reason == SSL_R_TLSV1_ALERT_PROTOCOL_VERSION)
        return TLS_FAILURE_FLOOR;
    /* the same reason is given for versions that do not exist yet */
    if (reason == SSL_R_UNSUPPORTED_PROTOCOL && t->server_version < SSL_get_min_proto_version(t->ssl))
        return TLS_FAILURE_FLOOR;
    return TLS_FAILURE_OTHER;
}

enum tls_result tls_handshake(struct tls *t)
{
    clear_errors();
    int ret = SSL_do_handshake(t->ssl);
    if (ret <= 0 && !SSL_is_server(t->ssl))
        t->failure = (uint8_t)failure_of(t);
    return result_of(t, ret);
}

enum tls_failure tls_failure_kind(const struct tls *t)
{
    return (enum tls_failure)t->failure;
}

enum tls_result tls_read(struct tls *t, uint8_t *dst, size_t cap, size_t *n)
{
    enum tls_result result = TLS_OK;

    *n = 0;
    while (*n < cap) {
        size_t got = 0;
        clear_errors();
        int ret = SSL_read_ex(t->ssl, dst + *n, cap - *n, &got);
        if (ret <= 0) {
            result = result_of(t, ret);
            break;
        }
        *n += got;
        /* all is read: asking again would cost as much as a record, and a buffer to find out */
        if (t->in_len == 0 && SSL_has_pending(t->ssl) == 0) {
            result = TLS_WANT;
            break;
        }
    }
    if (t->updates > TLS_KEY_UPDATES_PER_SECOND) {
        t->error = "too many KeyUpdate messages";
        result = TLS_FAIL;
    }
    if (t->trim && result == TLS_WANT) {
        /* a requested update would pin a write buffer until our next write, which may be an hour away */
        SSL_free_buffers(t->ssl);
        t->trim = false;
    }
    return result;
}

enum tls_result tls_write(struct tls *t, const uint8_t *data, size_t len)
{
    bool ticket = t->ticket_due;
    clear_errors();
    if (ticket) {
        t->ticket_due = false;
        /* held back from the handshake (see tlsctx.c) to share a record flush with the first data; refused
         * below TLS 1.3, where the handshake itself carried the ticket */
        if (SSL_version(t->ssl) >= TLS1_3_VERSION)
            SSL_new_session_ticket(t->ssl);
    }
    for (size_t done = 0; done < len;) {
        size_t n = len - done < RECORD_MAX ? len - done : RECORD_MAX;
        size_t wrote = 0;
        int ret = SSL_write_ex(t->ssl, data + done, n, &wrote);
        if (ret <= 0) {
            enum tls_result r = result_of(t, ret);
            /* the BIO always accepts, so a write never waits but for a renegotiation, which is off */
            if (r != TLS_FAIL)
                t->error = "a TLS write could not proceed";
            return TLS_FAIL;
        }
        done += wrote;
    }
    /* The ticket has set up a buffer to read with, which would stay until something comes. OpenSSL leaves one
     * with input in it alone (since 3.0.14: CVE-2024-4741). */
    if (ticket)
        SSL_free_buffers(t->ssl);
    return TLS_OK;
}

void tls_shutdown(struct tls *t)
{
    if (t->ssl == NULL || t->error != NULL || !SSL_is_init_finished(t->ssl) ||
        (SSL_get_shutdown(t->ssl) & SSL_SENT_SHUTDOWN) != 0)
        return;
    clear_errors();
    SSL_shutdown(t->ssl);
    clear_errors();
}

bool tls_has_pending(const struct tls *t)
{
    return t->ssl != NULL && SSL_has_pending(t->ssl) == 1;
}

bool tls_handshake_done(const struct tls *t)
{
    return t->ssl != NULL && SSL_is_init_finished(t->ssl) == 1;
}

bool tls_is_not_tls(const char *detail)
{
    static const char *const texts[] = {"wrong version number", "http request", "https proxy request",
                                        "packet length too long"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (strcmp(detail, texts[i]) == 0)
            return true;
    }
    return false;
}
