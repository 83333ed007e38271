/* Throwaway CAs in temporary PEM files, for tests of what signs with them. */
#ifndef STAGATE_TESTS_CA_FIXTURE_H
#define STAGATE_TESTS_CA_FIXTURE_H

#include <check.h>
#include <stdbool.h>
#include <string.h>
#include <openssl/rsa.h>

#include "cert_fixture.h"

struct ca_fixture {
    struct cert_fixture files; /* certificate: the CA, behind it what issued it where `chain` says so */
    X509 *certificate;
    EVP_PKEY *key;
};

struct ca_options {
    const char *constraints, *usage, *key_usage, *extended; /* extensions as openssl.cnf has them */
    bool no_basic, chain, encrypted;
    const char *kind; /* of key; NULL: P-256 */
    long from, until; /* seconds from now; both 0: an hour ago, a year ahead */
};

static inline void ca_fixture_extend(X509 *x, X509 *issuer, int nid, const char *value)
{
    if (value == NULL)
        return;
    X509V3_CTX ctx = {0};
    X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    ck_assert_ptr_nonnull(e);
    X509_add_ext(x, e, -1);
    X509_EXTENSION_free(e);
}

static inline EVP_PKEY *ca_fixture_key(const char *kind)
{
    if (kind != NULL && strcmp(kind, "RSA") == 0)
        return EVP_RSA_gen(2048);
    return kind != NULL ? EVP_PKEY_Q_keygen(NULL, NULL, kind) : EVP_EC_gen("P-256");
}

/* issuer NULL: it vouches for itself. */
static inline void ca_fixture_make(struct ca_fixture *c, const struct ca_fixture *issuer,
                                   const struct ca_options *o)
{
    static long serial = 1;
    bool dates = o->from != 0 || o->until != 0;
    EVP_PKEY *key = c->key = ca_fixture_key(o->kind);
    X509 *x = c->certificate = X509_new();
    X509 *by = issuer != NULL ? issuer->certificate : x;
    X509_set_version(x, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(x), ++serial);
    X509_gmtime_adj(X509_getm_notBefore(x), dates ? o->from : -3600);
    X509_gmtime_adj(X509_getm_notAfter(x), dates ? o->until : 365 * 86400L);
    X509_set_pubkey(x, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
                               (const unsigned char *)(issuer != NULL ? "lower CA" : "root CA"), -1, -1, 0);
    X509_set_issuer_name(x, X509_get_subject_name(by));
    if (!o->no_basic)
        ca_fixture_extend(x, by, NID_basic_constraints, o->usage != NULL ? o->usage : "critical,CA:TRUE");
    ca_fixture_extend(x, by, NID_key_usage, o->key_usage);
    ca_fixture_extend(x, by, NID_ext_key_usage, o->extended);
    ca_fixture_extend(x, by, NID_name_constraints, o->constraints);
    ca_fixture_extend(x, by, NID_subject_key_identifier, "hash");
    if (issuer != NULL)
        ca_fixture_extend(x, by, NID_authority_key_identifier, "keyid");
    EVP_PKEY *signer = issuer != NULL ? issuer->key : key;
    ck_assert_int_gt(X509_sign(x, signer, EVP_PKEY_is_a(signer, "ED25519") ? NULL : EVP_sha256()), 0);

    snprintf(c->files.certificate, sizeof c->files.certificate, "/tmp/stagate-test-ca-XXXXXX");
    snprintf(c->files.key, sizeof c->files.key, "/tmp/stagate-test-key-XXXXXX");
    FILE *f = cert_fixture_file(c->files.certificate);
    PEM_write_X509(f, x);
    if (o->chain)
        PEM_write_X509(f, by);
    fclose(f);
    f = cert_fixture_file(c->files.key);
    PEM_write_PrivateKey(f, key, o->encrypted ? EVP_aes_128_cbc() : NULL, (const unsigned char *)"pass",
                         o->encrypted ? 4 : 0, NULL, NULL);
    fclose(f);
}

static inline void ca_fixture_remove(struct ca_fixture *c)
{
    cert_fixture_remove(&c->files);
    X509_free(c->certificate);
    EVP_PKEY_free(c->key);
}

#endif
