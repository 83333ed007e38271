/* A throwaway certificate and key in temporary PEM files, for tests of TLS. */
#ifndef STAGATE_TESTS_CERT_FIXTURE_H
#define STAGATE_TESTS_CERT_FIXTURE_H

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct cert_fixture {
    char certificate[64];
    char key[64];
};

static inline FILE *cert_fixture_file(char *path)
{
    int fd = mkstemp(path);
    FILE *f = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (f == NULL)
        abort();
    return f;
}

/* san: "DNS:localhost,IP:127.0.0.1", or NULL for none. It vouches for itself: its own file is its CA file. */
static inline void cert_fixture_make_for(struct cert_fixture *c, const char *san)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x = X509_new();
    snprintf(c->certificate, sizeof c->certificate, "/tmp/stagate-test-crt-XXXXXX");
    snprintf(c->key, sizeof c->key, "/tmp/stagate-test-key-XXXXXX");
    ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
    X509_gmtime_adj(X509_getm_notBefore(x), -3600);
    X509_gmtime_adj(X509_getm_notAfter(x), 3600);
    X509_set_pubkey(x, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC, (const unsigned char *)"test",
                               -1, -1, 0);
    X509_set_issuer_name(x, X509_get_subject_name(x));
    if (san != NULL) {
        X509_EXTENSION *names = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, san);
        X509_set_version(x, X509_VERSION_3);
        X509_add_ext(x, names, -1);
        X509_EXTENSION_free(names);
    }
    X509_sign(x, key, EVP_sha256());
    FILE *f = cert_fixture_file(c->certificate);
    PEM_write_X509(f, x);
    fclose(f);
    f = cert_fixture_file(c->key);
    PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL);
    fclose(f);
    X509_free(x);
    EVP_PKEY_free(key);
}

static inline void cert_fixture_make(struct cert_fixture *c)
{
    cert_fixture_make_for(c, NULL);
}

static inline void cert_fixture_remove(struct cert_fixture *c)
{
    unlink(c->certificate);
    unlink(c->key);
}

#endif
