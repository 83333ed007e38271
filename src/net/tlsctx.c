/* SSL_CTX making. The only place that sets OpenSSL options. */
#include "net/tlsctx.h"

#include <assert.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509err.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "net/certshare.h"

int tlsctx_fail(char *why, size_t cap, const char *what)
{
    unsigned long code = ERR_peek_error();
    const char *reason = code ? ERR_reason_error_string(code) : NULL;
    if (ERR_SYSTEM_ERROR(code))
        reason = strerror(ERR_GET_REASON(code));
    snprintf(why, cap, "%s: %s", what, reason ? reason : "unknown TLS error");
    ERR_clear_error();
    return ERR_TLS;
}

/* Picks http/1.1 for clients that ask (browsers using the gateway as their proxy); others go on without ALPN.
 */
static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *in,
                   unsigned in_len, void *arg)
{
    static const unsigned char http11[] = "\x08http/1.1";
    (void)ssl;
    (void)arg;
    unsigned char *picked;
    if (SSL_select_next_proto(&picked, out_len, http11, sizeof http11 - 1, in, in_len) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_NOACK;
    *out = picked;
    return SSL_TLSEXT_ERR_OK;
}

static void set_common(SSL_CTX *ctx)
{
    SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                              SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
}

/* Whether what OpenSSL has just complained about is a key that belongs to another certificate. */
static bool is_mismatch(void)
{
    unsigned long code = ERR_peek_error();
    return ERR_GET_LIB(code) == ERR_LIB_X509 && ERR_GET_REASON(code) == X509_R_KEY_VALUES_MISMATCH;
}

static int load_pair(SSL_CTX *ctx, const char *certificate, const char *key, char *why, size_t cap)
{
    ERR_clear_error();
    if (SSL_CTX_use_certificate_chain_file(ctx, certificate) != 1)
        return tlsctx_fail(why, cap, certificate);
    bool loaded = SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) == 1;
    if (!loaded && !is_mismatch())
        return tlsctx_fail(why, cap, key);
    /* a key of another kind loads, into the place of such certificates */
    if (!loaded || SSL_CTX_check_private_key(ctx) != 1) {
        ERR_clear_error();
        snprintf(why, cap, "%s is not the key of %s", key, certificate);
        return ERR_TLS;
    }
    return 0;
}

static int set_floor(SSL_CTX *ctx, uint16_t floor, char *why, size_t cap)
{
    if (SSL_CTX_set_min_proto_version(ctx, floor) != 1)
        return tlsctx_fail(why, cap, "the TLS floor");
    if (floor < TLS1_2_VERSION && SSL_CTX_set_cipher_list(ctx, "DEFAULT@SECLEVEL=0") != 1)
        return tlsctx_fail(why, cap, "cipher list");
    return 0;
}

/* Asks clients for a certificate, without insisting. */
static int set_client_ca(SSL_CTX *ctx, const char *ca, char *why, size_t cap)
{
    STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(ca);
    if (names == NULL || SSL_CTX_load_verify_file(ctx, ca) != 1) {
        sk_X509_NAME_pop_free(names, X509_NAME_free);
        return tlsctx_fail(why, cap, ca);
    }
    SSL_CTX_set_client_CA_list(ctx, names);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    /* a resumed session would bring a certificate that nobody verifies any more */
    SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
    return 0;
}

/* A context with all of the options but certificates. */
static int new_server(SSL_CTX **out, const struct tlsctx_options *o, char *why, size_t cap)
{
    *out = NULL;
    ERR_clear_error();
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    if (ctx == NULL)
        return tlsctx_fail(why, cap, "OpenSSL");
    set_common(ctx);
    SSL_CTX_set_num_tickets(ctx, 0);
    SSL_CTX_set_alpn_select_cb(ctx, on_alpn, NULL);
    int rc = set_floor(ctx, o->floor, why, cap);
    if (rc == 0 && o->ticket_keys != NULL &&
        SSL_CTX_set_tlsext_ticket_keys(ctx, (void *)(uintptr_t)o->ticket_keys, TLSCTX_TICKET_KEYS) != 1)
        rc = tlsctx_fail(why, cap, "session ticket keys");
    if (rc == 0 && o->session_context != NULL) {
        size_t n = strlen(o->session_context);
        if (n > SSL_MAX_SSL_SESSION_ID_LENGTH)
            n = SSL_MAX_SSL_SESSION_ID_LENGTH;
        SSL_CTX_set_session_id_context(ctx, (const unsigned char *)o->session_context, (unsigned)n);
    }
    if (rc == 0 && o->client_ca != NULL)
        rc = set_client_ca(ctx, o->client_ca, why, cap);
    if (rc < 0) {
        SSL_CTX_free(ctx);
        return rc;
    }
    *out = ctx;
    return 0;
}

/* The context as it stands, or, where something failed, none. */
static int finish(SSL_CTX **out, int rc)
{
    if (rc < 0) {
        SSL_CTX_free(*out);
        *out = NULL;
    }
    return rc;
}

int tlsctx_new_server(SSL_CTX **out, const struct tlsctx_options *o, int *bad_index, char *why,
                      size_t why_cap)
{
    *bad_index = -1;
    int rc = new_server(out, o, why, why_cap);
    for (size_t i = 0; rc == 0 && i < o->count; i++) {
        rc = load_pair(*out, o->certificates[i], o->keys[i], why, why_cap);
        if (rc < 0)
            *bad_index = (int)i;
    }
    return finish(out, rc);
}

int tlsctx_new_server_with(SSL_CTX **out, const struct tlsctx_options *o, const struct tlsctx_pair *pair,
                           char *why, size_t why_cap)
{
    int rc = new_server(out, o, why, why_cap);
    if (rc == 0 && SSL_CTX_use_cert_and_key(*out, pair->certificate, pair->key, pair->chain, 0) != 1)
        rc = tlsctx_fail(why, why_cap, "the certificate");
    return finish(out, rc);
}

/* ---- clients ---- */

/* What a client's context holds its peers against. */
struct pins {
    bool verify; /* somebody has to vouch for the certificate, too */
    size_t count;
    uint8_t digests[][TLSCTX_PIN_BYTES];
};

static int pins_index;

static void free_pins(void *parent, void *pins, CRYPTO_EX_DATA *data, int index, long argl, void *argp)
{
    (void)parent;
    (void)data;
    (void)index;
    (void)argl;
    (void)argp;
    free(pins);
}

/* before main, as tls.c makes its BIO method: no thread exists yet */
__attribute__((constructor)) static void make_pins_index(void)
{
    pins_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, free_pins);
    assert(pins_index >= 0);
}

static bool is_pinned(const struct pins *pins, X509 *certificate)
{
    uint8_t digest[TLSCTX_PIN_BYTES];
    uint8_t *der = NULL;
    int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &der);
    bool good = len > 0 && EVP_Digest(der, (size_t)len, digest, NULL, EVP_sha256(), NULL) == 1;
    OPENSSL_free(der);
    for (size_t i = 0; good && i < pins->count; i++) {
        if (memcmp(pins->digests[i], digest, sizeof digest) == 0)
            return true;
    }
    return false;
}

/* Takes the place of OpenSSL's own verifying, and is where the peer's chain can be exchanged for one that is
 * known already. The handshake proves that the peer has the key of its first certificate, so that a pin needs
 * nobody who vouches. Where nobody has to vouch for the peer, what comes out of this does not count. */
static int on_verify(X509_STORE_CTX *store, void *arg)
{
    const struct pins *pins = arg;
    STACK_OF(X509) *chain = X509_STORE_CTX_get0_untrusted(store);
    if (chain != NULL && sk_X509_num(chain) > 0 &&
        sk_X509_value(chain, 0) == X509_STORE_CTX_get0_cert(store)) {
        certshare_chain(chain);
        X509_STORE_CTX_set_cert(store, sk_X509_value(chain, 0));
    }
    if ((pins == NULL || pins->verify) && X509_verify_cert(store) <= 0)
        return 0;
    if (pins == NULL)
        return 1;
    bool good = is_pinned(pins, X509_STORE_CTX_get0_cert(store));
    X509_STORE_CTX_set_error(store, good ? X509_V_OK : X509_V_ERR_APPLICATION_VERIFICATION);
    return good;
}

static int set_pins(SSL_CTX *ctx, const struct tlsctx_client_options *o, char *why, size_t cap)
{
    struct pins *pins = mem_alloc(sizeof *pins + o->pin_count * TLSCTX_PIN_BYTES);
    pins->verify = o->verify;
    pins->count = o->pin_count;
    memcpy(pins->digests, o->pins, o->pin_count * TLSCTX_PIN_BYTES);
    if (SSL_CTX_set_ex_data(ctx, pins_index, pins) != 1) {
        free(pins);
        return tlsctx_fail(why, cap, "OpenSSL");
    }
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_cert_verify_callback(ctx, on_verify, pins);
    return 0;
}

int tlsctx_parse_pin(const char *text, uint8_t out[TLSCTX_PIN_BYTES])
{
    static const char prefix[] = "sha256//";
    static const char base64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    static const char hex[] = "0123456789abcdefABCDEF";
    uint8_t decoded[TLSCTX_PIN_BYTES + 1]; /* the padding is decoded, too */
    size_t n = 0;
    if (strncmp(text, prefix, sizeof prefix - 1) == 0) {
        text += sizeof prefix - 1;
        /* OpenSSL's decoder forgives blanks, and bits behind the last byte */
        if (strspn(text, base64) != 43 || strcmp(text + 43, "=") != 0 ||
            EVP_DecodeBlock(decoded, (const unsigned char *)text, 44) != (int)sizeof decoded ||
            decoded[TLSCTX_PIN_BYTES] != 0)
            return ERR_SYNTAX;
    } else if (strlen(text) != sizeof decoded * 2 - 2 || text[strspn(text, hex)] != '\0' ||
               OPENSSL_hexstr2buf_ex(decoded, sizeof decoded, &n, text, '\0') != 1) {
        return ERR_SYNTAX;
    }
    memcpy(out, decoded, TLSCTX_PIN_BYTES);
    return 0;
}

int tlsctx_new_client(SSL_CTX **out, const struct tlsctx_client_options *o, char *why, size_t why_cap)
{
    *out = NULL;
    ERR_clear_error();
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    if (ctx == NULL)
        return tlsctx_fail(why, why_cap, "OpenSSL");
    set_common(ctx);
    int rc = set_floor(ctx, o->floor != 0 ? o->floor : TLS1_2_VERSION, why, why_cap);
    if (rc == 0 && o->verify) {
        SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
        if (o->ca != NULL ? SSL_CTX_load_verify_file(ctx, o->ca) != 1
                          : SSL_CTX_set_default_verify_paths(ctx) != 1)
            rc = tlsctx_fail(why, why_cap, o->ca != NULL ? o->ca : "the system's certificates");
    }
    SSL_CTX_set_cert_verify_callback(ctx, on_verify, NULL);
    if (rc == 0 && o->pin_count > 0)
        rc = set_pins(ctx, o, why, why_cap);
    if (rc == 0 && o->certificate != NULL)
        rc = load_pair(ctx, o->certificate, o->key, why, why_cap);
    *out = ctx;
    return finish(out, rc);
}
