/* tlswatch reads the handshakes of OpenSSL, made in memory: whole, cut into records of every size, split at
 * every byte. OpenSSL itself says what was negotiated. */
#include <check.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "proto/tlswatch.h"
#include "tlswatch_util.h"

/* ---- flights out of OpenSSL ---- */

struct handshake {
    const char *sni;
    const char *client_groups, *server_groups, *ciphers;
    int client_min, client_max, server_min, server_max;
    SSL_SESSION *resume;   /* borrowed */
    SSL_SESSION **session; /* filled when not NULL */
    bool fails;
};

struct flights {
    struct buf client, server; /* all bytes of each side */
    uint16_t version, cipher;  /* what OpenSSL says it became */
};

static EVP_PKEY *key;
static X509 *cert;

static void make_certificate(void)
{
    key = EVP_RSA_gen(2048); /* signatures of TLS 1.0 need RSA or SHA-1 */
    cert = X509_new();
    ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
    X509_gmtime_adj(X509_getm_notBefore(cert), -60);
    X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
    X509_set_pubkey(cert, key);
    X509_NAME *name = X509_get_subject_name(cert);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"mail.example.com", -1, -1,
                               0);
    X509_set_issuer_name(cert, name);
    X509_sign(cert, key, EVP_sha256());
}

static void free_certificate(void)
{
    X509_free(cert);
    EVP_PKEY_free(key);
}

static SSL_CTX *make_ctx(const SSL_METHOD *method, int min, int max, const char *groups, const char *ciphers)
{
    SSL_CTX *ctx = SSL_CTX_new(method);
    ck_assert_int_eq(SSL_CTX_set_cipher_list(ctx, ciphers ? ciphers : "DEFAULT"), 1);
    ck_assert_int_eq(SSL_CTX_set_min_proto_version(ctx, min), 1);
    ck_assert_int_eq(SSL_CTX_set_max_proto_version(ctx, max), 1);
    if (groups != NULL)
        ck_assert_int_eq(SSL_CTX_set1_groups_list(ctx, groups), 1);
    return ctx;
}

/* Moves what one side wrote to the other and keeps a copy. */
static bool move(SSL *from, SSL *to, struct buf *copy)
{
    uint8_t chunk[4096];
    int n;
    bool moved = false;
    while ((n = BIO_read(SSL_get_wbio(from), chunk, sizeof chunk)) > 0) {
        ck_assert_int_eq(buf_append(copy, chunk, (size_t)n), 0);
        ck_assert_int_eq(BIO_write(SSL_get_rbio(to), chunk, n), n);
        moved = true;
    }
    return moved;
}

static SSL *make_ssl(SSL_CTX *ctx)
{
    SSL *ssl = SSL_new(ctx);
    SSL_set_bio(ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    return ssl;
}

static struct flights shake(const struct handshake *h)
{
    struct flights f = {0};
    buf_init(&f.client, 1 << 20);
    buf_init(&f.server, 1 << 20);
    SSL_CTX *cctx = make_ctx(TLS_client_method(), h->client_min, h->client_max, h->client_groups, h->ciphers);
    SSL_CTX *sctx = make_ctx(TLS_server_method(), h->server_min, h->server_max, h->server_groups, h->ciphers);
    static unsigned char ticket_key[80]; /* the same in every context, so that tickets outlive theirs */
    ck_assert_int_eq(SSL_CTX_set_tlsext_ticket_keys(sctx, ticket_key, sizeof ticket_key), 1);
    ck_assert_int_eq(SSL_CTX_use_certificate(sctx, cert), 1);
    ck_assert_int_eq(SSL_CTX_use_PrivateKey(sctx, key), 1);
    SSL *client = make_ssl(cctx), *server = make_ssl(sctx);
    SSL_set_connect_state(client);
    SSL_set_accept_state(server);
    if (h->sni != NULL)
        SSL_set_tlsext_host_name(client, h->sni);
    if (h->resume != NULL)
        ck_assert_int_eq(SSL_set_session(client, h->resume), 1);
    bool moved = true;
    while (moved) {
        int c = SSL_do_handshake(client);
        moved = move(client, server, &f.client);
        int s = SSL_do_handshake(server);
        moved = move(server, client, &f.server) || moved;
        if (h->fails && (c == 1 || s == 1))
            ck_abort_msg("a handshake succeeded that must not");
    }
    if (!h->fails) {
        uint8_t byte;
        ck_assert(SSL_is_init_finished(client) && SSL_is_init_finished(server));
        ck_assert_int_le(SSL_read(client, &byte, 1), 0); /* takes the session tickets of TLS 1.3 */
        f.version = (uint16_t)SSL_version(client);
        f.cipher = SSL_CIPHER_get_protocol_id(SSL_get_current_cipher(client));
        ck_assert_int_eq(SSL_session_reused(client), h->resume != NULL);
        if (h->session != NULL)
            *h->session = SSL_get1_session(client);
    }
    SSL_set_shutdown(client,
                     SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN); /* else its session cannot be resumed */
    SSL_free(client);
    SSL_free(server);
    SSL_CTX_free(cctx);
    SSL_CTX_free(sctx);
    return f;
}

static void free_flights(struct flights *f)
{
    buf_deinit(&f->client);
    buf_deinit(&f->server);
}

/* The message inside the records at the front of a flight. */
static struct buf message_of(const struct buf *flight)
{
    struct buf m;
    buf_init(&m, 1 << 20);
    size_t at = 0, want = 4;
    while (m.len < want) {
        ck_assert_uint_le(at + 5, flight->len);
        ck_assert_uint_eq(flight->data[at], 22);
        size_t n = (size_t)flight->data[at + 3] << 8 | flight->data[at + 4];
        ck_assert_int_eq(buf_append(&m, flight->data + at + 5, n), 0);
        at += 5 + n;
        if (m.len >= 4)
            want = 4 + ((size_t)m.data[1] << 16 | (size_t)m.data[2] << 8 | m.data[3]);
    }
    m.len = want;
    return m;
}

/* ---- feeding ---- */

/* Feeds [0, at) and then the rest. */
static enum tlswatch_result feed_split(struct tlswatch *w, enum tlswatch_side side, const struct buf *b,
                                       size_t at)
{
    enum tlswatch_result r = feed_steps(w, side, b->data, at, at ? at : 1);
    return r == TLSWATCH_MORE ? feed_steps(w, side, b->data + at, b->len - at, b->len) : r;
}

/* ---- what OpenSSL says ---- */

static const struct handshake_case {
    const char *name;
    struct handshake h;
    uint16_t offered_min, offered_max, negotiated; /* negotiated 0: an alert comes */
} handshake_cases[] = {
    {"1.3", {.sni = "mail.example.com", .client_min = TLS1_2_VERSION}, 0x0303, 0x0304, 0x0304},
    {"1.3 only", {.client_min = TLS1_3_VERSION}, 0x0304, 0x0304, 0x0304},
    {"1.3 retried",
     {.client_min = TLS1_3_VERSION, .client_groups = "X25519:P-256", .server_groups = "P-256"},
     0x0304,
     0x0304,
     0x0304},
    {"1.2 server",
     {.sni = "a.b", .client_min = TLS1_2_VERSION, .server_max = TLS1_2_VERSION},
     0x0303,
     0x0304,
     0x0303},
    {"1.2 client", {.sni = "x", .client_max = TLS1_2_VERSION}, 0, 0x0303, 0x0303},
    {"1.1", {.client_max = TLS1_1_VERSION, .ciphers = "ALL:@SECLEVEL=0"}, 0, 0x0302, 0x0302},
    {"1.0", {.client_max = TLS1_VERSION, .ciphers = "ALL:@SECLEVEL=0"}, 0, 0x0301, 0x0301},
    {"1.0 server",
     {.client_min = TLS1_VERSION, .server_max = TLS1_VERSION, .ciphers = "ALL:@SECLEVEL=0"},
     0x0301,
     0x0304,
     0x0301},
    {"refused",
     {.client_max = TLS1_1_VERSION,
      .server_min = TLS1_2_VERSION,
      .ciphers = "ALL:@SECLEVEL=0",
      .fails = true},
     0,
     0x0302,
     0},
};

static void check_facts(const struct tls_facts *facts, const struct handshake_case *c,
                        const struct flights *f)
{
    ck_assert_uint_eq(facts->offered_min, c->offered_min);
    ck_assert_uint_eq(facts->offered_max, c->offered_max);
    ck_assert_uint_eq(facts->negotiated, c->negotiated);
    ck_assert_str_eq(facts->sni, c->h.sni ? c->h.sni : "");
    ck_assert(!facts->sslv2_hello && !facts->resumed_or_psk);
    ck_assert_uint_eq(facts->negotiated, f->version);
    ck_assert_uint_eq(facts->cipher, f->cipher);
    ck_assert_uint_eq(facts->alert, c->negotiated ? 0xff : TLS_ALERT_PROTOCOL_VERSION);
}

START_TEST(test_openssl_whole)
{
    const struct handshake_case *c = &handshake_cases[_i];
    struct flights f = shake(&c->h);
    struct tlswatch *w = tlswatch_new();
    size_t used;
    ck_assert_int_eq(tlswatch_feed(w, C, f.client.data, f.client.len, &used), TLSWATCH_CLIENT_HELLO);
    ck_assert_uint_eq(used, 5u + ((size_t)f.client.data[3] << 8 | f.client.data[4]));
    ck_assert_int_eq(tlswatch_feed(w, C, f.client.data + used, f.client.len - used, &used), TLSWATCH_MORE);
    ck_assert_int_eq(tlswatch_feed(w, S, f.server.data, f.server.len, &used), TLSWATCH_SERVER_HELLO);
    ck_assert_uint_le(used, f.server.len);
    check_facts(tlswatch_facts(w), c, &f);
    /* once, and never again, whatever comes */
    ck_assert_int_eq(tlswatch_feed(w, S, (const uint8_t *)"junk", 4, &used), TLSWATCH_MORE);
    ck_assert_uint_eq(used, 4);
    ck_assert_int_eq(tlswatch_feed(w, C, (const uint8_t *)"junk", 4, &used), TLSWATCH_MORE);
    ck_assert_uint_eq(used, 4);
    ck_assert_ptr_null(tlswatch_why(w));
    tlswatch_free(w);
    free_flights(&f);
}
END_TEST

/* Every split of each side, both sides interleaved in both orders. */
START_TEST(test_openssl_split)
{
    const struct handshake_case *c = &handshake_cases[_i];
    struct flights f = shake(&c->h);
    for (size_t at = 0; at <= f.client.len || at <= f.server.len; at++) {
        size_t ca = at < f.client.len ? at : f.client.len, sa = at < f.server.len ? at : f.server.len;
        struct tlswatch *w = tlswatch_new();
        ck_assert_int_eq(feed_split(w, C, &f.client, ca), TLSWATCH_CLIENT_HELLO);
        ck_assert_int_eq(feed_split(w, S, &f.server, sa), TLSWATCH_SERVER_HELLO);
        check_facts(tlswatch_facts(w), c, &f);
        tlswatch_free(w);
    }
    struct tlswatch *w = tlswatch_new();
    size_t used, hello_end = 5u + ((size_t)f.client.data[3] << 8 | f.client.data[4]);
    for (size_t i = 0; i < 5;
         i++) { /* one byte of the server's, one of the client's: nobody has to be first */
        ck_assert_int_eq(tlswatch_feed(w, S, f.server.data + i, 1, &used), TLSWATCH_MORE);
        ck_assert_int_eq(tlswatch_feed(w, C, f.client.data + i, 1, &used), TLSWATCH_MORE);
    }
    ck_assert_int_eq(feed_steps(w, C, f.client.data + 5, hello_end - 5, 1), TLSWATCH_CLIENT_HELLO);
    ck_assert_int_eq(feed_steps(w, S, f.server.data + 5, f.server.len - 5, 1), TLSWATCH_SERVER_HELLO);
    check_facts(tlswatch_facts(w), c, &f);
    tlswatch_free(w);
    free_flights(&f);
}
END_TEST

/* The same two hellos in records of every size. */
START_TEST(test_openssl_recut)
{
    const struct handshake_case *c = &handshake_cases[_i];
    struct flights f = shake(&c->h);
    struct buf ch = message_of(&f.client), sh = {0};
    if (c->negotiated != 0)
        sh = message_of(&f.server);
    for (size_t size = 1; size <= ch.len; size++) {
        struct buf cr = records_of(&ch, size);
        struct buf sr = c->negotiated != 0 ? records_of(&sh, size) : f.server;
        struct tlswatch *w = tlswatch_new();
        ck_assert_int_eq(feed_steps(w, C, cr.data, cr.len, 1 + size % 64), TLSWATCH_CLIENT_HELLO);
        ck_assert_int_eq(feed_steps(w, S, sr.data, sr.len, 1 + size % 64), TLSWATCH_SERVER_HELLO);
        check_facts(tlswatch_facts(w), c, &f);
        tlswatch_free(w);
        buf_deinit(&cr);
        if (c->negotiated != 0)
            buf_deinit(&sr);
    }
    buf_deinit(&ch);
    buf_deinit(&sh);
    free_flights(&f);
}
END_TEST

START_TEST(test_resumed)
{
    const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    for (size_t i = 0; i < 2; i++) {
        SSL_SESSION *session = NULL;
        struct handshake h = {.client_max = versions[i], .session = &session};
        struct flights first = shake(&h);
        h.resume = session;
        h.session = NULL;
        struct flights second = shake(&h);
        struct flights *both[] = {&first, &second};
        for (size_t k = 0; k < 2; k++) {
            struct tlswatch *w = tlswatch_new();
            ck_assert_int_eq(feed_steps(w, C, both[k]->client.data, both[k]->client.len, 64),
                             TLSWATCH_CLIENT_HELLO);
            ck_assert_int_eq(tlswatch_facts(w)->resumed_or_psk, k == 1);
            ck_assert_int_eq(feed_steps(w, S, both[k]->server.data, both[k]->server.len, 64),
                             TLSWATCH_SERVER_HELLO);
            ck_assert_uint_eq(tlswatch_facts(w)->negotiated, (unsigned)versions[i]);
            tlswatch_free(w);
            free_flights(both[k]);
        }
        SSL_SESSION_free(session);
    }
}
END_TEST

/* A retry: the first ServerHello is the HelloRetryRequest, and both carry the same version and cipher. */
START_TEST(test_retry_is_one)
{
    struct handshake h = {
        .client_min = TLS1_3_VERSION, .client_groups = "X25519:P-256", .server_groups = "P-256"};
    struct flights f = shake(&h);
    struct buf sh = message_of(&f.server);
    static const uint8_t retry[] = {0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11}; /* RFC 8446 4.1.3 */
    ck_assert_mem_eq(sh.data + 6, retry, sizeof retry);
    buf_deinit(&sh);
    free_flights(&f);
}
END_TEST

/* OpenSSL takes our alert for what it says. */
START_TEST(test_alert_understood)
{
    SSL_CTX *ctx = make_ctx(TLS_client_method(), 0, 0, NULL, NULL);
    SSL *ssl = make_ssl(ctx);
    SSL_set_connect_state(ssl);
    ck_assert_int_le(SSL_do_handshake(ssl), 0);
    uint8_t record[TLS_ALERT_RECORD];
    tls_alert_record(record, TLS_VERSION_13, TLS_ALERT_PROTOCOL_VERSION);
    ck_assert_int_eq(BIO_write(SSL_get_rbio(ssl), record, sizeof record), (int)sizeof record);
    ck_assert_int_le(SSL_do_handshake(ssl), 0);
    ck_assert_int_eq(ERR_GET_REASON(ERR_peek_error()), SSL_R_TLSV1_ALERT_PROTOCOL_VERSION);
    SSL_free(ssl);
    SSL_CTX_free(ctx);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("tlswatch_openssl");
    TCase *openssl = tcase_create("openssl");
    tcase_set_timeout(openssl, 120);
    tcase_add_unchecked_fixture(openssl, make_certificate, free_certificate);
    LOOP(openssl, test_openssl_whole, handshake_cases);
    LOOP(openssl, test_openssl_split, handshake_cases);
    LOOP(openssl, test_openssl_recut, handshake_cases);
    tcase_add_test(openssl, test_resumed);
    tcase_add_test(openssl, test_retry_is_one);
    tcase_add_test(openssl, test_alert_understood);
    suite_add_tcase(s, openssl);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
