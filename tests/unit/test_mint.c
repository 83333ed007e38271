/* Leaves made on demand: what is in them, which hosts they are refused for, how long contexts are kept, and
 * that clients believe them. */
#include <check.h>
#include <openssl/bn.h>
#include <openssl/err.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/err.h"
#include "ca_fixture.h"
#include "net/mint.h"
#include "net/tls.h"
#include "net/tlsctx.h"
#include "tls_fixture.h"

#define DAY_MS  (86400 * INT64_C(1000))
#define LONG_70 "a23456789.b23456789.c23456789.d23456789.e23456789.f23456789.example.com"

static const uint8_t keys[TLSCTX_TICKET_KEYS] = "the same for all workers";
static const struct mint_options options = {.floor = TLS1_2_VERSION, .ticket_keys = keys};
static struct ca_fixture root, lower;

static void setup(void)
{
    ca_fixture_make(&root, NULL, &(struct ca_options){.key_usage = "critical,keyCertSign,cRLSign"});
    ca_fixture_make(&lower, &root,
                    &(struct ca_options){.usage = "critical,CA:TRUE,pathlen:0",
                                         .key_usage = "critical,keyCertSign,cRLSign",
                                         .constraints =
                                             "critical,permitted;DNS:example.com,permitted;DNS:"
                                             "localhost,permitted;IP:127.0.0.0/255.0.0.0,permitted;"
                                             "IP:::1/ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"});
}

static void teardown(void)
{
    clock_set_offset_ms(0);
    ca_fixture_remove(&root);
    ca_fixture_remove(&lower);
}

static struct mint *open_mint(const struct ca_fixture *ca)
{
    struct mint *m;
    char why[256];
    ck_assert_msg(mint_open(&m, ca->files.certificate, ca->files.key, why, sizeof why) == 0, "%s", why);
    return m;
}

static SSL_CTX *get(struct mint *m, const char *host)
{
    SSL_CTX *ctx;
    char why[256];
    ck_assert_msg(mint_server_ctx(m, host, &options, &ctx, why, sizeof why) == 0, "%s", why);
    ck_assert_uint_eq(ERR_peek_error(), 0);
    return ctx;
}

/* What a client says that trusts the root only and is sent what the context sends. */
static int verdict(SSL_CTX *ctx, const char *host)
{
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *vc = X509_STORE_CTX_new();
    STACK_OF(X509) * chain;
    X509_STORE_add_cert(store, root.certificate);
    SSL_CTX_get0_chain_certs(ctx, &chain);
    ck_assert_int_eq(X509_STORE_CTX_init(vc, store, SSL_CTX_get0_certificate(ctx), chain), 1);
    X509_STORE_CTX_set_purpose(vc, X509_PURPOSE_SSL_SERVER);
    X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(vc);
    X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_X509_STRICT);
    if (X509_VERIFY_PARAM_set1_ip_asc(param, host) != 1)
        X509_VERIFY_PARAM_set1_host(param, host, 0);
    ERR_clear_error();
    X509_verify_cert(vc);
    int result = X509_STORE_CTX_get_error(vc);
    X509_STORE_CTX_free(vc);
    X509_STORE_free(store);
    return result;
}

static const struct {
    const char *host;
    bool address, common_name;
} hosts[] = {
    {"mail.example.com", false, true}, {"example.com", false, true}, {"localhost", false, true},
    {LONG_70, false, false},           {"127.0.0.1", true, false},   {"::1", true, false},
};

static bool is_critical(const X509 *x, int nid)
{
    int at = X509_get_ext_by_NID(x, nid, -1);
    ck_assert_int_ge(at, 0);
    return X509_EXTENSION_get_critical(X509_get_ext(x, at)) == 1;
}

START_TEST(leaf_as_promised)
{
    struct mint *m = open_mint(&lower);
    const char *host = hosts[_i].host;
    SSL_CTX *ctx = get(m, host);
    X509 *x = SSL_CTX_get0_certificate(ctx);
    ck_assert_int_eq(verdict(ctx, host), X509_V_OK);
    ck_assert_int_eq(hosts[_i].address ? X509_check_ip_asc(x, host, 0) : X509_check_host(x, host, 0, 0, NULL),
                     1);
    ck_assert_int_ne(verdict(ctx, "www.example.com"), X509_V_OK);
    ck_assert_int_ne(verdict(ctx, "127.0.0.2"), X509_V_OK);

    char cn[100];
    int n = X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName, cn, sizeof cn);
    ck_assert_int_eq(n >= 0, hosts[_i].common_name);
    if (n >= 0)
        ck_assert_str_eq(cn, host);
    ck_assert_int_eq(is_critical(x, NID_subject_alt_name), !hosts[_i].common_name);
    GENERAL_NAMES *names = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
    ck_assert_int_eq(sk_GENERAL_NAME_num(names), 1);
    ck_assert_int_eq(sk_GENERAL_NAME_value(names, 0)->type, hosts[_i].address ? GEN_IPADD : GEN_DNS);
    GENERAL_NAMES_free(names);

    ck_assert_int_eq(X509_get_version(x), X509_VERSION_3);
    ck_assert_uint_eq(X509_get_key_usage(x), KU_DIGITAL_SIGNATURE);
    ck_assert(is_critical(x, NID_key_usage));
    ck_assert_uint_eq(X509_get_extended_key_usage(x), XKU_SSL_SERVER);
    ck_assert_int_eq(X509_check_ca(x), 0);
    ck_assert(is_critical(x, NID_basic_constraints));
    ck_assert_int_eq(X509_get_signature_nid(x), NID_ecdsa_with_SHA256);
    ck_assert_ptr_nonnull(X509_get0_subject_key_id(x));
    ck_assert_int_eq(
        ASN1_OCTET_STRING_cmp(X509_get0_authority_key_id(x), X509_get0_subject_key_id(lower.certificate)), 0);

    BIGNUM *serial = ASN1_INTEGER_to_BN(X509_get0_serialNumber(x), NULL);
    ck_assert_int_eq(BN_num_bits(serial), 128);
    ck_assert(!BN_is_negative(serial));
    BN_free(serial);
    SSL_CTX_free(ctx);
    mint_unref(m);
}
END_TEST

/* Seconds from now until t. */
static int64_t until(const ASN1_TIME *t)
{
    int days, seconds;
    ck_assert_int_eq(ASN1_TIME_diff(&days, &seconds, NULL, t), 1);
    return days * INT64_C(86400) + seconds;
}

/* 30 days, cut by the CA's own dates. */
START_TEST(dates)
{
    static const struct {
        long ca_from, ca_until;
        int64_t from, until;
    } cases[] = {
        {-10 * 86400, 365 * 86400, -86400, 29 * 86400 - 1},
        {-60, 365 * 86400, -60, 29 * 86400 - 1},
        {-10 * 86400, 3600, -86400, 3600},
        {-60, 60, -60, 60},
    };
    struct ca_fixture ca;
    ca_fixture_make(&ca, &root, &(struct ca_options){.from = cases[_i].ca_from, .until = cases[_i].ca_until});
    struct mint *m = open_mint(&ca);
    SSL_CTX *ctx = get(m, "mail.example.com"), *again = get(m, "mail.example.com");
    X509 *x = SSL_CTX_get0_certificate(ctx);
    int64_t a = until(X509_get0_notBefore(x)), b = until(X509_get0_notAfter(x));
    ck_assert_int_lt(b - a, 30 * 86400);
    /* the clock goes on while this is tested */
    ck_assert(a <= cases[_i].from && a > cases[_i].from - 30);
    ck_assert(b <= cases[_i].until && b > cases[_i].until - 30);
    ck_assert_int_ge(ASN1_TIME_compare(X509_get0_notBefore(x), X509_get0_notBefore(ca.certificate)), 0);
    ck_assert_int_le(ASN1_TIME_compare(X509_get0_notAfter(x), X509_get0_notAfter(ca.certificate)), 0);
    /* a CA about to expire does not mean a signature with every connection */
    ck_assert_ptr_eq(ctx, again);
    SSL_CTX_free(ctx);
    SSL_CTX_free(again);
    mint_unref(m);
    ca_fixture_remove(&ca);
}
END_TEST

START_TEST(what_is_sent_along)
{
    struct ca_fixture ca;
    ca_fixture_make(&ca, &root, &(struct ca_options){.chain = _i == 1});
    struct mint *m = open_mint(&ca);
    SSL_CTX *ctx = get(m, "mail.example.com");
    STACK_OF(X509) * chain;
    SSL_CTX_get0_chain_certs(ctx, &chain);
    ck_assert_int_eq(sk_X509_num(chain), _i == 1 ? 2 : 1);
    ck_assert_int_eq(X509_cmp(sk_X509_value(chain, 0), ca.certificate), 0);
    if (_i == 1)
        ck_assert_int_eq(X509_cmp(sk_X509_value(chain, 1), root.certificate), 0);
    SSL_CTX_free(ctx);
    mint_unref(m);
    ca_fixture_remove(&ca);
}
END_TEST

/* CAs whose keys are of other kinds. */
START_TEST(kinds_of_keys)
{
    static const char *const kinds[] = {"RSA", "ED25519"};
    static const int signatures[] = {NID_sha256WithRSAEncryption, NID_ED25519};
    struct ca_fixture ca;
    ca_fixture_make(&ca, &root, &(struct ca_options){.kind = kinds[_i], .key_usage = "keyCertSign"});
    struct mint *m = open_mint(&ca);
    SSL_CTX *ctx = get(m, "mail.example.com");
    ck_assert_int_eq(X509_get_signature_nid(SSL_CTX_get0_certificate(ctx)), signatures[_i]);
    ck_assert_int_eq(verdict(ctx, "mail.example.com"), X509_V_OK);
    SSL_CTX_free(ctx);
    mint_unref(m);
    ca_fixture_remove(&ca);
}
END_TEST

START_TEST(kept_by_host_and_floor)
{
    struct mint *m = open_mint(&lower);
    char why[256];
    SSL_CTX *a = get(m, "mail.example.com"), *b = get(m, "mail.example.com"), *c = get(m, "www.example.com");
    SSL_CTX *d;
    ck_assert_int_eq(mint_server_ctx(m, "mail.example.com", &(struct mint_options){.floor = TLS1_3_VERSION},
                                     &d, why, sizeof why),
                     0);
    ck_assert_ptr_eq(a, b);
    ck_assert_ptr_ne(a, c);
    ck_assert_ptr_ne(a, d);
    ck_assert_int_eq(SSL_CTX_get_min_proto_version(a), TLS1_2_VERSION);
    ck_assert_int_eq(SSL_CTX_get_min_proto_version(d), TLS1_3_VERSION);
    /* one key for all, which is not the CA's */
    EVP_PKEY *key = X509_get0_pubkey(SSL_CTX_get0_certificate(a));
    ck_assert_int_eq(EVP_PKEY_eq(key, X509_get0_pubkey(SSL_CTX_get0_certificate(c))), 1);
    ck_assert_int_ne(EVP_PKEY_eq(key, lower.key), 1);
    ck_assert_int_ne(ASN1_INTEGER_cmp(X509_get0_serialNumber(SSL_CTX_get0_certificate(a)),
                                      X509_get0_serialNumber(SSL_CTX_get0_certificate(c))),
                     0);
    SSL_CTX_free(a);
    SSL_CTX_free(b);
    SSL_CTX_free(c);
    SSL_CTX_free(d);
    mint_unref(m);
}
END_TEST

START_TEST(renewed_in_time)
{
    struct mint *m = open_mint(&lower);
    SSL_CTX *a = get(m, "mail.example.com");
    clock_set_offset_ms(18 * DAY_MS);
    SSL_CTX *b = get(m, "mail.example.com");
    clock_set_offset_ms(20 * DAY_MS);
    SSL_CTX *c = get(m, "mail.example.com"), *d = get(m, "mail.example.com");
    ck_assert_ptr_eq(a, b);
    ck_assert_ptr_ne(a, c);
    ck_assert_ptr_eq(c, d);
    /* a moved clock is ours only: clients have to believe the new one today */
    ck_assert_int_eq(verdict(c, "mail.example.com"), X509_V_OK);
    SSL_CTX_free(a);
    SSL_CTX_free(b);
    SSL_CTX_free(c);
    SSL_CTX_free(d);
    mint_unref(m);
}
END_TEST

START_TEST(least_recently_used_goes)
{
    struct mint *m = open_mint(&lower);
    SSL_CTX *kept[MINT_CONTEXTS + 1];
    char host[64];
    for (int i = 0; i < MINT_CONTEXTS; i++) {
        snprintf(host, sizeof host, "h%d.example.com", i);
        kept[i] = get(m, host);
    }
    SSL_CTX *first = get(m, "h0.example.com"); /* and is now the last that goes */
    ck_assert_ptr_eq(first, kept[0]);
    kept[MINT_CONTEXTS] = get(m, "one-more.example.com");
    SSL_CTX *again = get(m, "h0.example.com"), *gone = get(m, "h1.example.com");
    ck_assert_ptr_eq(again, kept[0]);
    ck_assert_ptr_ne(gone, kept[1]);
    SSL_CTX_free(first);
    SSL_CTX_free(again);
    SSL_CTX_free(gone);
    mint_unref(m); /* contexts outlive it */
    for (int i = 0; i <= MINT_CONTEXTS; i++) {
        ck_assert_ptr_nonnull(SSL_CTX_get0_certificate(kept[i]));
        SSL_CTX_free(kept[i]);
    }
}
END_TEST

START_TEST(refused_hosts)
{
    static const struct {
        const char *host;
        bool constraints;
    } cases[] = {
        {"evil.test", true},
        {"example.com.evil.test", true},
        {"notexample.com", true},
        {"10.0.0.1", true},
        {"::2", true},
        {"", false},
        {"*.example.com", false},
        {"mail.example.com,DNS:evil.test", false},
        {"MAIL.example.com", false},
        {"mail.example.com.", false},
        {".example.com", false},
        {"a..example.com", false},
        {"mail example.com", false},
        {"1::2::3", false},
        {LONG_70 "." LONG_70 "." LONG_70 "." LONG_70, false},
    };
    struct mint *m = open_mint(&lower);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        SSL_CTX *ctx = (SSL_CTX *)1;
        char why[256] = "", expected[256];
        ck_assert_int_eq(mint_server_ctx(m, cases[i].host, &options, &ctx, why, sizeof why), ERR_TLS);
        ck_assert_ptr_null(ctx);
        if (cases[i].constraints)
            snprintf(expected, sizeof expected, "%s: the CA's nameConstraints do not permit %s",
                     lower.files.certificate, cases[i].host);
        else
            snprintf(expected, sizeof expected, "'%.200s", cases[i].host);
        ck_assert_msg(strncmp(why, expected, strlen(expected)) == 0, "%s: %s", cases[i].host, why);
        ck_assert_uint_eq(ERR_peek_error(), 0);
    }
    SSL_CTX_free(get(m, "mail.example.com")); /* refusing spoils nothing */
    mint_unref(m);
}
END_TEST

/* Those of a certificate behind the CA count, too. */
START_TEST(constraints_further_up)
{
    struct ca_fixture upper, below;
    char why[256];
    SSL_CTX *ctx;
    ca_fixture_make(
        &upper, &root,
        &(struct ca_options){.key_usage = "keyCertSign", .constraints = "critical,excluded;DNS:evil.test"});
    ca_fixture_make(&below, &upper, &(struct ca_options){.chain = true, .key_usage = "keyCertSign"});
    struct mint *m = open_mint(&below);
    ck_assert_int_eq(mint_server_ctx(m, "www.evil.test", &options, &ctx, why, sizeof why), ERR_TLS);
    ck_assert_ptr_nonnull(strstr(why, "nameConstraints do not permit www.evil.test"));
    ctx = get(m, "mail.example.com");
    ck_assert_int_eq(verdict(ctx, "mail.example.com"), X509_V_OK);
    SSL_CTX_free(ctx);
    mint_unref(m);
    ca_fixture_remove(&upper);
    ca_fixture_remove(&below);
}
END_TEST

static void refused(const char *certificate, const char *key, const char *path, const char *sentence)
{
    struct mint *m = (struct mint *)1;
    char why[256], expected[256];
    ck_assert_int_eq(mint_open(&m, certificate, key, why, sizeof why), ERR_TLS);
    ck_assert_ptr_null(m);
    snprintf(expected, sizeof expected, "%s%s", path, sentence);
    ck_assert_msg(strncmp(why, expected, strlen(expected)) == 0, "%s", why);
    ck_assert_uint_eq(ERR_peek_error(), 0);
}

static const struct {
    struct ca_options options;
    const char *sentence;
} unfit[] = {
    {{.no_basic = true}, ": no CA certificate: its basicConstraints do not say CA:TRUE"},
    {{.usage = "critical,CA:FALSE"}, ": no CA certificate: its basicConstraints do not say CA:TRUE"},
    {{.key_usage = "critical,digitalSignature,cRLSign"},
     ": its keyUsage does not allow signing certificates (keyCertSign)"},
    {{.extended = "clientAuth"}, ": its extendedKeyUsage does not allow certificates of servers"},
    {{.from = -7200, .until = -3600}, ": expired at 20"},
    {{.from = 3600, .until = 7200}, ": not yet valid, but from 20"},
};

START_TEST(unfit_cas)
{
    struct ca_fixture ca;
    ca_fixture_make(&ca, &root, &unfit[_i].options);
    refused(ca.files.certificate, ca.files.key, ca.files.certificate, unfit[_i].sentence);
    ca_fixture_remove(&ca);
}
END_TEST

START_TEST(unfit_files)
{
    const char *certificate = lower.files.certificate, *key = lower.files.key;
    char sentence[256];
    struct ca_fixture locked;
    refused("/nowhere/ca.crt", key, "/nowhere/ca.crt", ": No such file or directory");
    refused(certificate, "/nowhere/ca.key", "/nowhere/ca.key", ": No such file or directory");
    refused(key, key, key, ": no start line");
    refused(certificate, certificate, certificate, ": "); /* a certificate is no key: mode or content */
    refused(certificate, "/tmp", "/tmp", ": ");
    snprintf(sentence, sizeof sentence, " is not the key of %s", certificate);
    refused(certificate, root.files.key, root.files.key, sentence);

    static const mode_t modes[] = {0640, 0604, 0660, 0610};
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        ck_assert_int_eq(chmod(key, modes[i]), 0);
        refused(certificate, key, key, ": group or others have access to this key: chmod 600");
    }
    ck_assert_int_eq(chmod(key, 0400), 0);
    mint_unref(open_mint(&lower));

    ca_fixture_make(&locked, &root, &(struct ca_options){.encrypted = true});
    refused(locked.files.certificate, locked.files.key, locked.files.key,
            ": the key is encrypted; one without a passphrase is needed");
    ca_fixture_remove(&locked);
}
END_TEST

/* A certificate behind the first that is cut short is not left out silently. */
START_TEST(half_a_chain)
{
    FILE *f = fopen(lower.files.certificate, "a");
    fputs("-----BEGIN CERTIFICATE-----\nMIIB\n", f);
    fclose(f);
    refused(lower.files.certificate, lower.files.key, lower.files.certificate, ": ");
}
END_TEST

#define THREADS 4
#define NAMES   20

struct shared {
    pthread_t thread;
    struct mint *m;
    SSL_CTX *got[NAMES];
};

static void *use_mint(void *arg)
{
    struct shared *s = arg;
    char host[64];
    for (int i = 0; i < NAMES; i++) {
        snprintf(host, sizeof host, "h%d.example.com", i);
        s->got[i] = get(s->m, host);
    }
    mint_unref(s->m);
    return NULL;
}

START_TEST(several_threads)
{
    struct shared shared[THREADS];
    struct mint *m = open_mint(&lower);
    for (int i = 0; i < THREADS; i++) {
        shared[i].m = mint_ref(m);
        ck_assert_int_eq(pthread_create(&shared[i].thread, NULL, use_mint, &shared[i]), 0);
    }
    mint_unref(m);
    for (int i = 0; i < THREADS; i++)
        pthread_join(shared[i].thread, NULL);
    for (int i = 0; i < THREADS; i++) {
        for (int k = 0; k < NAMES; k++) {
            ck_assert_ptr_eq(shared[i].got[k], shared[0].got[k]);
            ck_assert(k == 0 || shared[i].got[k] != shared[i].got[k - 1]);
            SSL_CTX_free(shared[i].got[k]);
        }
    }
}
END_TEST

static SSL_SESSION *caught;

static int on_new_session(SSL *ssl, SSL_SESSION *session)
{
    (void)ssl;
    SSL_SESSION_free(caught);
    caught = session;
    return 1;
}

/* A client that wants host meets a server with ctx; whether it resumed `session`. */
static bool meet(SSL_CTX *client_ctx, SSL_CTX *ctx, const char *host, SSL_SESSION *session)
{
    struct end c, s;
    uint8_t chunk[100];
    size_t n;
    end_init(&c, client_ctx, TLS_CLIENT);
    end_init(&s, ctx, TLS_SERVER);
    ck_assert_int_eq(tls_set_host(&c.tls, host), 0);
    if (session != NULL)
        ck_assert_int_eq(SSL_set_session(c.tls.ssl, session), 1);
    shake_hands(&c, &s, 100000);
    ck_assert_int_eq(tls_write(&s.tls, (const uint8_t *)"x", 1), TLS_OK); /* the ticket comes with it */
    c.tls.in = s.out.data;
    c.tls.in_len = s.out.len;
    ck_assert_int_eq(tls_read(&c.tls, chunk, sizeof chunk, &n), TLS_WANT);
    ck_assert_uint_eq(n, 1);
    bool reused = SSL_session_reused(s.tls.ssl) == 1;
    tls_shutdown(&c.tls);
    end_deinit(&c);
    end_deinit(&s);
    return reused;
}

START_TEST(handshakes)
{
    struct mint *m = open_mint(&lower), *reloaded = open_mint(&lower);
    SSL_CTX *client_ctx;
    char why[256];
    SSL_CTX *mail = get(m, "mail.example.com"), *www = get(m, "www.example.com"),
            *later = get(reloaded, "mail.example.com"), *address = get(m, "127.0.0.1");
    ck_assert_int_eq(
        tlsctx_new_client(&client_ctx,
                          &(struct tlsctx_client_options){.verify = true, .ca = root.files.certificate}, why,
                          sizeof why),
        0);
    SSL_CTX_set_max_proto_version(client_ctx, _i == 0 ? TLS1_3_VERSION : TLS1_2_VERSION);
    SSL_CTX_set_session_cache_mode(client_ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(client_ctx, on_new_session);

    ck_assert(!meet(client_ctx, address, "127.0.0.1", NULL));
    ck_assert(!meet(client_ctx, mail, "mail.example.com", NULL));
    SSL_SESSION *session = SSL_SESSION_dup(caught);
    ck_assert(meet(client_ctx, mail, "mail.example.com", session));
    SSL_SESSION_free(session);
    session = SSL_SESSION_dup(caught);
    ck_assert(meet(client_ctx, later, "mail.example.com", session)); /* after a reload, too */
    SSL_SESSION_free(session);
    /* under another name the ticket is no good, and a whole handshake follows */
    session = SSL_SESSION_dup(caught);
    ck_assert(!meet(client_ctx, www, "www.example.com", session));
    SSL_SESSION_free(session);
    SSL_SESSION_free(caught);
    caught = NULL;
    SSL_CTX_free(client_ctx);
    SSL_CTX_free(mail);
    SSL_CTX_free(www);
    SSL_CTX_free(later);
    SSL_CTX_free(address);
    mint_unref(m);
    mint_unref(reloaded);
}
END_TEST

/* Floors below TLS 1.2 hold for minted contexts, too. */
START_TEST(old_clients)
{
    static const uint16_t floors[] = {TLS1_VERSION, TLS1_2_VERSION, 0};
    struct mint *m = open_mint(&lower);
    SSL_CTX *client_ctx, *ctx;
    char why[256];
    ck_assert_int_eq(tlsctx_new_client(&client_ctx,
                                       &(struct tlsctx_client_options){.verify = true,
                                                                       .ca = root.files.certificate,
                                                                       .floor = TLS1_VERSION},
                                       why, sizeof why),
                     0);
    SSL_CTX_set_max_proto_version(client_ctx, TLS1_VERSION);
    ck_assert_int_eq(mint_server_ctx(m, "mail.example.com", &(struct mint_options){.floor = floors[_i]}, &ctx,
                                     why, sizeof why),
                     0);
    struct end c, s;
    enum tls_result server_result;
    end_init(&c, client_ctx, TLS_CLIENT);
    end_init(&s, ctx, TLS_SERVER);
    ck_assert_int_eq(tls_set_host(&c.tls, "mail.example.com"), 0);
    ck_assert_int_eq(try_hands(&c, &s, 100000, &server_result), _i == 0 ? TLS_OK : TLS_FAIL);
    ck_assert_int_eq(server_result, _i == 0 ? TLS_OK : TLS_FAIL);
    ck_assert_int_eq(tls_failure_kind(&c.tls), _i == 0 ? TLS_FAILURE_OTHER : TLS_FAILURE_FLOOR);
    end_deinit(&c);
    end_deinit(&s);
    SSL_CTX_free(ctx);
    SSL_CTX_free(client_ctx);
    mint_unref(m);
}
END_TEST

#define LOOP(t, f, n) tcase_add_loop_test(t, f, 0, (int)(n))

int main(void)
{
    Suite *suite = suite_create("mint");
    TCase *t = tcase_create("mint");
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, setup, teardown);
    LOOP(t, leaf_as_promised, sizeof hosts / sizeof *hosts);
    LOOP(t, dates, 4);
    LOOP(t, what_is_sent_along, 2);
    LOOP(t, kinds_of_keys, 2);
    tcase_add_test(t, kept_by_host_and_floor);
    tcase_add_test(t, renewed_in_time);
    tcase_add_test(t, least_recently_used_goes);
    tcase_add_test(t, refused_hosts);
    tcase_add_test(t, constraints_further_up);
    LOOP(t, unfit_cas, sizeof unfit / sizeof *unfit);
    tcase_add_test(t, unfit_files);
    tcase_add_test(t, half_a_chain);
    tcase_add_test(t, several_threads);
    LOOP(t, handshakes, 2);
    LOOP(t, old_clients, 3);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
