/* SSL_CTX making. The only place that sets OpenSSL options. */
#include "net/tlsctx.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509err.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"

static int fail(char *why, size_t cap, const char *what)
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
        return fail(why, cap, certificate);
    bool loaded = SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) == 1;
    if (!loaded && !is_mismatch())
        return fail(why, cap, key);
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
        return fail(why, cap, "the TLS floor");
    if (floor < TLS1_2_VERSION && SSL_CTX_set_cipher_list(ctx, "DEFAULT@SECLEVEL=0") != 1)
        return fail(why, cap, "cipher list");
    return 0;
}

/* Asks clients for a certificate, without insisting. */
static int set_client_ca(SSL_CTX *ctx, const char *ca, char *why, size_t cap)
{
    STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(ca);
    if (names == NULL || SSL_CTX_load_verify_file(ctx, ca) != 1) {
        sk_X509_NAME_pop_free(names, X509_NAME_free);
        return fail(why, cap, ca);
    }
    SSL_CTX_set_client_CA_list(ctx, names);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    /* a resumed session would bring a certificate that nobody verifies any more */
    SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
    return 0;
}

int tlsctx_new_server(SSL_CTX **out, const struct tlsctx_options *o, int *bad_index, char *why,
                      size_t why_cap)
{
    *out = NULL;
    *bad_index = -1;
    ERR_clear_error();
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    if (ctx == NULL)
        return fail(why, why_cap, "OpenSSL");
    set_common(ctx);
    SSL_CTX_set_num_tickets(ctx, 0);
    SSL_CTX_set_alpn_select_cb(ctx, on_alpn, NULL);
    int rc = set_floor(ctx, o->floor, why, why_cap);
    if (rc == 0 && o->ticket_keys != NULL &&
        SSL_CTX_set_tlsext_ticket_keys(ctx, (void *)(uintptr_t)o->ticket_keys, TLSCTX_TICKET_KEYS) != 1)
        rc = fail(why, why_cap, "session ticket keys");
    if (rc == 0 && o->session_context != NULL) {
        size_t n = strlen(o->session_context);
        if (n > SSL_MAX_SSL_SESSION_ID_LENGTH)
            n = SSL_MAX_SSL_SESSION_ID_LENGTH;
        SSL_CTX_set_session_id_context(ctx, (const unsigned char *)o->session_context, (unsigned)n);
    }
    if (rc == 0 && o->client_ca != NULL)
        rc = set_client_ca(ctx, o->client_ca, why, why_cap);
    for (size_t i = 0; rc == 0 && i < o->count; i++) {
        rc = load_pair(ctx, o->certificates[i], o->keys[i], why, why_cap);
        if (rc < 0)
            *bad_index = (int)i;
    }
    if (rc < 0) {
        SSL_CTX_free(ctx);
        return rc;
    }
    *out = ctx;
    return 0;
}

int tlsctx_new_client(SSL_CTX **out, const struct tlsctx_client_options *o, char *why, size_t why_cap)
{
    *out = NULL;
    ERR_clear_error();
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    if (ctx == NULL)
        return fail(why, why_cap, "OpenSSL");
    set_common(ctx);
    int rc = set_floor(ctx, o->floor != 0 ? o->floor : TLS1_2_VERSION, why, why_cap);
    if (rc == 0 && o->verify) {
        SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
        if (o->ca != NULL ? SSL_CTX_load_verify_file(ctx, o->ca) != 1
                          : SSL_CTX_set_default_verify_paths(ctx) != 1)
            rc = fail(why, why_cap, o->ca != NULL ? o->ca : "the system's certificates");
    }
    if (rc == 0 && o->certificate != NULL)
        rc = load_pair(ctx, o->certificate, o->key, why, why_cap);
    if (rc < 0) {
        SSL_CTX_free(ctx);
        return rc;
    }
    *out = ctx;
    return 0;
}
