/* What a client says about the server when its handshake fails, and pinned keys: against OpenSSL servers of
 * old versions, and against bytes of those that no longer exist. */
#include <check.h>
#include <string.h>

#include "base/err.h"
#include "cert_fixture.h"
#include "net/tls.h"
#include "net/tlsctx.h"
#include "tls_fixture.h"

static struct cert_fixture cert;

static void setup(void)
{
    cert_fixture_make_for(&cert, "DNS:mail.example.com");
}

static void teardown(void)
{
    cert_fixture_remove(&cert);
}

static SSL_CTX *new_server(uint16_t max)
{
    SSL_CTX *ctx = NULL;
    char why[256];
    int bad;
    const char *certificate = cert.certificate, *key = cert.key;
    const struct tlsctx_options o = {
        .certificates = &certificate, .keys = &key, .count = 1, .floor = TLS1_VERSION};
    ck_assert_msg(tlsctx_new_server(&ctx, &o, &bad, why, sizeof why) == 0, "%s", why);
    ck_assert_int_eq(SSL_CTX_set_max_proto_version(ctx, max), 1);
    return ctx;
}

static SSL_CTX *new_client(const struct tlsctx_client_options *o)
{
    SSL_CTX *ctx = NULL;
    char why[256];
    ck_assert_msg(tlsctx_new_client(&ctx, o, why, sizeof why) == 0, "%s", why);
    return ctx;
}

/* A handshake of a client with these options and a server of ours up to `max`; the kind of failure, and the
 * client's own text in *error. NULL there: it succeeded. */
static enum tls_failure meet(const struct tlsctx_client_options *o, const char *host, uint16_t max,
                             const char **error)
{
    SSL_CTX *server_ctx = new_server(max), *client_ctx = new_client(o);
    struct end c, s;
    enum tls_result server_result;
    end_init(&c, client_ctx, TLS_CLIENT);
    end_init(&s, server_ctx, TLS_SERVER);
    if (host != NULL)
        ck_assert_int_eq(tls_set_host(&c.tls, host), 0);
    enum tls_result r = try_hands(&c, &s, 100000, &server_result);
    ck_assert_int_eq(r == TLS_FAIL, c.tls.error != NULL);
    ck_assert(r == TLS_FAIL || r == TLS_OK);
    *error = c.tls.error;
    enum tls_failure kind = tls_failure_kind(&c.tls);
    ck_assert_int_eq(tls_failure_kind(&s.tls), TLS_FAILURE_OTHER); /* servers do not judge */
    end_deinit(&c);
    end_deinit(&s);
    SSL_CTX_free(server_ctx);
    SSL_CTX_free(client_ctx);
    return kind;
}

static const struct {
    uint16_t floor, max;
    bool met;
} floors[] = {
    {TLS1_VERSION, TLS1_VERSION, true},
    {TLS1_VERSION, TLS1_1_VERSION, true},
    {TLS1_VERSION, TLS1_3_VERSION, true},
    {TLS1_1_VERSION, TLS1_VERSION, false},
    {TLS1_1_VERSION, TLS1_1_VERSION, true},
    {TLS1_2_VERSION, TLS1_VERSION, false},
    {TLS1_2_VERSION, TLS1_1_VERSION, false},
    {TLS1_2_VERSION, TLS1_2_VERSION, true},
    {TLS1_3_VERSION, TLS1_2_VERSION, false},
    {TLS1_3_VERSION, TLS1_3_VERSION, true},
    {0, TLS1_1_VERSION, false},
    {0, TLS1_2_VERSION, true},
    {SSL3_VERSION, TLS1_VERSION, true},
};

/* The server itself refuses here, with an alert: OpenSSL's servers see in the hello what is too new. */
START_TEST(floor_of_versions)
{
    const char *error;
    enum tls_failure kind =
        meet(&(struct tlsctx_client_options){.floor = floors[_i].floor}, NULL, floors[_i].max, &error);
    ck_assert_msg((error == NULL) == floors[_i].met, "%s", error ? error : "succeeded");
    ck_assert_int_eq(kind, floors[_i].met ? TLS_FAILURE_OTHER : TLS_FAILURE_FLOOR);
}
END_TEST

/* ServerHello: 26 bytes of handshake behind version, random, no session, cipher 0x000a, no compression */
#define HELLO(record_minor, minor)                                                                           \
    "\x16\x03" record_minor "\x00\x2a\x02\x00\x00\x26\x03" minor                                             \
    "0123456789abcdef0123456789abcdef\x00\x00\x0a\x00"
#define ALERT(minor, level, number) "\x15\x03" minor "\x00\x02" level number
#define BYTES(s)                    (const uint8_t *)s, sizeof s - 1

static const struct {
    const char *what;
    const uint8_t *data;
    size_t len;
    uint16_t floor;
    enum tls_failure kind;
} scripts[] = {
    {"SSLv3 chosen", BYTES(HELLO("\x00", "\x00")), TLS1_2_VERSION, TLS_FAILURE_SSL3},
    {"SSLv3 chosen, lowest floor", BYTES(HELLO("\x00", "\x00")), TLS1_VERSION, TLS_FAILURE_SSL3},
    {"SSLv3 chosen, floor SSLv3", BYTES(HELLO("\x00", "\x00")), SSL3_VERSION, TLS_FAILURE_SSL3},
    {"SSLv3 chosen in a record of TLS", BYTES(HELLO("\x01", "\x00")), TLS1_2_VERSION, TLS_FAILURE_SSL3},
    {"refused in SSLv3: handshake_failure", BYTES(ALERT("\x00", "\x02", "\x28")), TLS1_2_VERSION,
     TLS_FAILURE_SSL3},
    {"refused in SSLv3: illegal_parameter", BYTES(ALERT("\x00", "\x02", "\x2f")), TLS1_2_VERSION,
     TLS_FAILURE_SSL3},
    {"refused in SSLv3: protocol_version", BYTES(ALERT("\x00", "\x02", "\x46")), TLS1_2_VERSION,
     TLS_FAILURE_SSL3},
    {"TLS 1.0 chosen", BYTES(HELLO("\x01", "\x01")), TLS1_2_VERSION, TLS_FAILURE_FLOOR},
    {"TLS 1.1 chosen", BYTES(HELLO("\x02", "\x02")), TLS1_2_VERSION, TLS_FAILURE_FLOOR},
    {"TLS 1.0 chosen below 1.1", BYTES(HELLO("\x01", "\x01")), TLS1_1_VERSION, TLS_FAILURE_FLOOR},
    {"protocol_version", BYTES(ALERT("\x01", "\x02", "\x46")), TLS1_2_VERSION, TLS_FAILURE_FLOOR},
    {"protocol_version in TLS 1.2", BYTES(ALERT("\x03", "\x02", "\x46")), TLS1_3_VERSION, TLS_FAILURE_FLOOR},
    {"handshake_failure", BYTES(ALERT("\x03", "\x02", "\x28")), TLS1_2_VERSION, TLS_FAILURE_OTHER},
    {"handshake_failure in TLS 1.0", BYTES(ALERT("\x01", "\x02", "\x28")), TLS1_2_VERSION, TLS_FAILURE_OTHER},
    /* unrecognized_name as a warning, then what counts */
    {"warning in SSLv3, then TLS 1.0", BYTES(ALERT("\x00", "\x01", "\x70") HELLO("\x01", "\x01")),
     TLS1_2_VERSION, TLS_FAILURE_FLOOR},
    {"warning, then SSLv3", BYTES(ALERT("\x01", "\x01", "\x70") HELLO("\x00", "\x00")), TLS1_2_VERSION,
     TLS_FAILURE_SSL3},
    {"TLS 1.2 chosen, then an odd alert", BYTES(HELLO("\x03", "\x03") ALERT("\x00", "\x02", "\x28")),
     TLS1_2_VERSION, TLS_FAILURE_OTHER},
    {"a version to come", BYTES(HELLO("\x03", "\x07")), TLS1_2_VERSION, TLS_FAILURE_OTHER},
    {"no TLS", BYTES("HTTP/1.1 400 Bad Request\r\n\r\n"), TLS1_2_VERSION, TLS_FAILURE_OTHER},
    {"SSH", BYTES("SSH-2.0-OpenSSH_9.2p1\r\n"), TLS1_2_VERSION, TLS_FAILURE_OTHER},
};

START_TEST(scripted_servers)
{
    SSL_CTX *ctx = new_client(&(struct tlsctx_client_options){.floor = scripts[_i].floor});
    for (size_t step = 1; step <= scripts[_i].len; step++) {
        struct end c;
        enum tls_result r = TLS_WANT;
        end_init(&c, ctx, TLS_CLIENT);
        ck_assert_int_eq(tls_handshake(&c.tls), TLS_WANT);
        for (size_t at = 0; r == TLS_WANT && at < scripts[_i].len; at += step) {
            ck_assert_int_eq(tls_failure_kind(&c.tls), TLS_FAILURE_OTHER);
            c.tls.in = scripts[_i].data + at;
            c.tls.in_len = scripts[_i].len - at < step ? scripts[_i].len - at : step;
            r = tls_handshake(&c.tls);
        }
        ck_assert_int_eq(r, TLS_FAIL);
        ck_assert_ptr_nonnull(c.tls.error);
        ck_assert_msg(tls_failure_kind(&c.tls) == scripts[_i].kind, "%s: %d, %s", scripts[_i].what,
                      (int)tls_failure_kind(&c.tls), c.tls.error);
        end_deinit(&c);
    }
    SSL_CTX_free(ctx);
}
END_TEST

/* The fixture's own key, as a pin. */
static void pin_of(const char *certificate, uint8_t out[TLSCTX_PIN_BYTES])
{
    FILE *f = fopen(certificate, "r");
    X509 *x = PEM_read_X509(f, NULL, NULL, NULL);
    uint8_t *der = NULL;
    int len = i2d_PUBKEY(X509_get0_pubkey(x), &der);
    ck_assert_int_eq(EVP_Digest(der, (size_t)len, out, NULL, EVP_sha256(), NULL), 1);
    OPENSSL_free(der);
    X509_free(x);
    fclose(f);
}

static const char pin_text[] = "the server's key is none of the pinned ones";

static const struct {
    const char *what;
    bool verify, trusted; /* the fixture's certificate is the CA, too */
    const char *host;
    int pins; /* 0: none, 1: wrong ones, 2: the right one behind wrong ones */
    const char *error;
} judgements[] = {
    {"nothing asked", false, false, NULL, 0, NULL},
    {"trusted", true, true, "mail.example.com", 0, NULL},
    {"another name", true, true, "www.example.com", 0, "hostname mismatch"},
    {"an address", true, true, "127.0.0.1", 0, "IP address mismatch"},
    {"not trusted", true, false, "mail.example.com", 0, "self-signed certificate"},
    {"pinned, nobody vouches", false, false, NULL, 2, NULL},
    {"pinned, name of no account", false, false, "www.example.com", 2, NULL},
    {"not pinned", false, false, "mail.example.com", 1, pin_text},
    {"both", true, true, "mail.example.com", 2, NULL},
    {"trusted, not pinned", true, true, "mail.example.com", 1, pin_text},
    {"pinned, another name", true, true, "www.example.com", 2, "hostname mismatch"},
    {"pinned, not trusted", true, false, "mail.example.com", 2, "self-signed certificate"},
};

START_TEST(certificates_judged)
{
    struct cert_fixture other;
    uint8_t pins[3][TLSCTX_PIN_BYTES] = {{1}, {2}, {3}};
    const char *error;
    cert_fixture_make_for(&other, "DNS:mail.example.com");
    if (judgements[_i].pins == 2)
        pin_of(cert.certificate, pins[2]);
    else
        pin_of(other.certificate, pins[2]);
    for (uint16_t max = TLS1_2_VERSION; max <= TLS1_3_VERSION; max++) {
        enum tls_failure kind =
            meet(&(struct tlsctx_client_options){.verify = judgements[_i].verify,
                                                 .ca = judgements[_i].trusted ? cert.certificate
                                                                              : other.certificate,
                                                 .pins = (const uint8_t(*)[TLSCTX_PIN_BYTES])pins,
                                                 .pin_count = judgements[_i].pins > 0 ? 3 : 0},
                 judgements[_i].host, max, &error);
        if (judgements[_i].error == NULL) {
            ck_assert_msg(error == NULL, "%s: %s", judgements[_i].what, error);
            ck_assert_int_eq(kind, TLS_FAILURE_OTHER);
        } else {
            ck_assert_msg(error != NULL, "%s: succeeded", judgements[_i].what);
            ck_assert_str_eq(error, judgements[_i].error);
            ck_assert_int_eq(kind, TLS_FAILURE_CERTIFICATE);
        }
    }
    cert_fixture_remove(&other);
}
END_TEST

/* SHA-256 of nothing, both ways */
static const uint8_t nothing[TLSCTX_PIN_BYTES] = {
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24,
    0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55};

START_TEST(pins_as_text)
{
    static const char *const good[] = {
        "sha256//47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855",
    };
    static const char *const bad[] = {
        "",
        "sha256//",
        "sha256//47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU",
        "sha256//47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU==",
        "sha256//47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFV=", /* bits behind the last byte */
        "sha256//47DEQpj8HBSa+_TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
        "sha256//47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuF =",
        "sha256//47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=;",
        " sha256//47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
        "sha1//47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b85",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b8555",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b85g",
        "e3:b0:c4:42:98:fc:1c:14:9a:fb:f4:c8:99:6f:b9:24:27:ae:41:e4:64:9b",
    };
    uint8_t out[TLSCTX_PIN_BYTES];
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        memset(out, 0, sizeof out);
        ck_assert_int_eq(tlsctx_parse_pin(good[i], out), 0);
        ck_assert_mem_eq(out, nothing, sizeof out);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_assert_msg(tlsctx_parse_pin(bad[i], out) == ERR_SYNTAX, "%s", bad[i]);
}
END_TEST

#define LOOP(t, f, table) tcase_add_loop_test(t, f, 0, (int)(sizeof(table) / sizeof *(table)))

int main(void)
{
    Suite *suite = suite_create("tls_failure");
    TCase *t = tcase_create("failure");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    LOOP(t, floor_of_versions, floors);
    LOOP(t, scripted_servers, scripts);
    LOOP(t, certificates_judged, judgements);
    tcase_add_test(t, pins_as_text);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
