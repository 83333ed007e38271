/* One certificate for one host, after RFC 5280 and what browsers demand of it. Called by mint.c; may run on
 * several threads at once with one CA, which it does not change. */
#include "mint_leaf.h"

#include <arpa/inet.h>
#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "net/tlsctx.h"

#define DAY_S       (24 * 60 * 60)
#define BACK_S      DAY_S            /* for clients whose clocks are slow */
#define AHEAD_S     (29 * DAY_S - 1) /* both ends count: 30 days in all */
#define SERIAL_BITS 128
#define HOST_MAX    253

static bool read_time(const ASN1_TIME *t, int64_t *out)
{
    struct tm tm;
    if (ASN1_TIME_to_tm(t, &tm) != 1)
        return false;
    *out = timegm(&tm);
    return true;
}

bool mint_ca_read_dates(struct mint_ca *ca)
{
    const X509 *x = sk_X509_value(ca->chain, 0);
    return read_time(X509_get0_notBefore(x), &ca->from) && read_time(X509_get0_notAfter(x), &ca->until);
}

int mint_ca_check_expiry(const struct mint_ca *ca, char *why, size_t cap)
{
    char at[CLOCK_TEXT];
    if (clock_true_ms() / 1000 < ca->until)
        return 0;
    clock_format(at, ca->until * 1000);
    snprintf(why, cap, "%s: expired at %s", ca->path, at);
    return ERR_TLS;
}

/* Dates go by the clock that clients have, not by the one that demonstrations move. */
static bool set_life(X509 *x, const struct mint_ca *ca, int64_t *renew_in_s)
{
    int64_t now = clock_true_ms() / 1000;
    int64_t from = now - BACK_S > ca->from ? now - BACK_S : ca->from;
    int64_t until = now + AHEAD_S < ca->until ? now + AHEAD_S : ca->until;
    /* a leaf that ends with its CA would not live longer by being made anew */
    *renew_in_s = until < ca->until ? until - (until - from) / 3 - now : until - now;
    return ASN1_TIME_set(X509_getm_notBefore(x), (time_t)from) != NULL &&
           ASN1_TIME_set(X509_getm_notAfter(x), (time_t)until) != NULL;
}

static bool set_serial(X509 *x)
{
    BIGNUM *n = BN_new();
    bool good = n != NULL && BN_rand(n, SERIAL_BITS, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) == 1 &&
                BN_to_ASN1_INTEGER(n, X509_get_serialNumber(x)) != NULL;
    BN_free(n);
    return good;
}

/* The bytes of an IP address; 0: host is none. */
static int address_of(const char *host, uint8_t out[16])
{
    if (inet_pton(AF_INET, host, out) == 1)
        return 4;
    return inet_pton(AF_INET6, host, out) == 1 ? 16 : 0;
}

/* Callers have normalised it. What would name more than one host, or another one, ends here all the same:
 * clients would believe it. */
static bool is_name(const char *host)
{
    size_t n = strlen(host);
    return n > 0 && n <= HOST_MAX && host[strspn(host, "abcdefghijklmnopqrstuvwxyz0123456789-.")] == '\0' &&
           host[0] != '.' && host[n - 1] != '.' && strstr(host, "..") == NULL;
}

static bool set_names(X509 *x, const char *host)
{
    uint8_t address[16];
    int len = address_of(host, address);
    GENERAL_NAMES *names = GENERAL_NAMES_new();
    GENERAL_NAME *name = GENERAL_NAME_new();
    ASN1_STRING *value = len > 0 ? ASN1_OCTET_STRING_new() : ASN1_IA5STRING_new();
    if (names == NULL || name == NULL || value == NULL || sk_GENERAL_NAME_push(names, name) == 0)
        mem_fail();
    GENERAL_NAME_set0_value(name, len > 0 ? GEN_IPADD : GEN_DNS, value);
    bool good = ASN1_STRING_set(value, len > 0 ? (const void *)address : host, len > 0 ? len : -1) == 1;
    /* no common name for addresses: without a DNS name beside it, OpenSSL takes "127.0.0.1" there for one,
     * which constraints that permit the address do not permit */
    bool common = len == 0 && strlen(host) <= ub_common_name;
    if (good && common)
        good = X509_NAME_add_entry_by_NID(X509_get_subject_name(x), NID_commonName, MBSTRING_UTF8,
                                          (const unsigned char *)host, -1, -1, 0) == 1;
    /* critical where the subject is empty: RFC 5280, 4.1.2.6 */
    good = good && X509_add1_ext_i2d(x, NID_subject_alt_name, names, !common, X509V3_ADD_DEFAULT) == 1;
    GENERAL_NAMES_free(names);
    return good;
}

static bool set_extensions(X509 *x, X509 *ca)
{
    static const struct {
        int nid;
        const char *value;
    } extensions[] = {
        {NID_basic_constraints, "critical,CA:FALSE"},
        {NID_key_usage, "critical,digitalSignature"},
        {NID_ext_key_usage, "serverAuth"},
        {NID_subject_key_identifier, "hash"},
        {NID_authority_key_identifier, "keyid,issuer"}, /* the issuer only where the CA has no identifier */
    };
    X509V3_CTX ctx = {0};
    X509V3_set_ctx(&ctx, ca, x, NULL, NULL, 0);
    for (size_t i = 0; i < sizeof extensions / sizeof *extensions; i++) {
        X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, extensions[i].nid, extensions[i].value);
        bool added = e != NULL && X509_add_ext(x, e, -1) == 1;
        X509_EXTENSION_free(e);
        if (!added)
            return false;
    }
    return true;
}

static bool sign(X509 *x, EVP_PKEY *key)
{
    /* Ed25519 and Ed448 have a hash of their own */
    bool own = EVP_PKEY_is_a(key, "ED25519") || EVP_PKEY_is_a(key, "ED448");
    return X509_sign(x, key, own ? NULL : EVP_sha256()) > 0;
}

/* What clients would find out: said here, where the cause can be told. */
static int check_constraints(X509 *leaf, const struct mint_ca *ca, const char *host, char *why, size_t cap)
{
    /* reads the extensions into the leaf: NAME_CONSTRAINTS_check sees no names before, and finds no fault */
    if (X509_check_purpose(leaf, -1, 0) != 1)
        return tlsctx_fail(why, cap, ca->path);
    for (int i = 0; i < sk_X509_num(ca->chain); i++) {
        NAME_CONSTRAINTS *nc =
            X509_get_ext_d2i(sk_X509_value(ca->chain, i), NID_name_constraints, NULL, NULL);
        int result = nc != NULL ? NAME_CONSTRAINTS_check(leaf, nc) : X509_V_OK;
        NAME_CONSTRAINTS_free(nc);
        if (result != X509_V_OK) {
            snprintf(why, cap, "%s: the CA's nameConstraints do not permit %s", ca->path, host);
            ERR_clear_error();
            return ERR_TLS;
        }
    }
    return 0;
}

int mint_leaf(X509 **out, const struct mint_ca *ca, const char *host, EVP_PKEY *key, int64_t *renew_in_s,
              char *why, size_t cap)
{
    uint8_t address[16];
    X509 *issuer = sk_X509_value(ca->chain, 0);
    *out = NULL;
    ERR_clear_error();
    if (address_of(host, address) == 0 && !is_name(host)) {
        snprintf(why, cap, "'%.*s' is not a host", HOST_MAX, host);
        return ERR_TLS;
    }
    int rc = mint_ca_check_expiry(ca, why, cap);
    if (rc < 0)
        return rc;
    X509 *x = X509_new();
    if (x == NULL)
        mem_fail();
    bool made = X509_set_version(x, X509_VERSION_3) == 1 && set_serial(x) && set_life(x, ca, renew_in_s) &&
                X509_set_issuer_name(x, X509_get_subject_name(issuer)) == 1 && X509_set_pubkey(x, key) == 1 &&
                set_names(x, host) && set_extensions(x, issuer) && sign(x, ca->key);
    rc = made ? check_constraints(x, ca, host, why, cap) : tlsctx_fail(why, cap, ca->path);
    if (rc < 0)
        X509_free(x);
    else
        *out = x;
    return rc;
}
