/* SSL_CTX out of certificates, keys and a floor. Shared by all workers; reference-counted by OpenSSL. */
#ifndef STAGATE_NET_TLSCTX_H
#define STAGATE_NET_TLSCTX_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TLSCTX_TICKET_KEYS                                                                                   \
    80 /* bytes: name, HMAC key, AES key, as SSL_CTX_set_tlsext_ticket_keys takes them */

struct tlsctx_options {
    const char *const *certificates; /* PEM files, leaf first, chain behind; one for each kind of key */
    const char *const *keys;         /* PEM files, same order */
    size_t count;
    uint16_t floor; /* 0x0300 ... 0x0304, lowest version accepted; below 0x0303 also sets @SECLEVEL=0 */
    const uint8_t *ticket_keys;  /* TLSCTX_TICKET_KEYS bytes: the same on all contexts that should resume each
                                    other's sessions */
    const char *session_context; /* sessions of one context name are not accepted under another */
    const char *client_ca; /* PEM file, NULL: none. Clients may then show a certificate; one that it does not
                              vouch for ends the handshake. Whether there has to be one is decided by who
                              handles what they ask. No sessions are resumed: certificates are verified each
                              time */
};

/* 0 with *out owned (SSL_CTX_free), or ERR_TLS with why filled ("/x/y.crt: No such file or directory");
 * *bad_index is the certificate/key pair at fault, or -1. Sets: no compression, no renegotiation, no session
 * cache (tickets only), buffers released when idle, no session ticket in the handshake (tls.c sends one with
 * the first data in TLS 1.3), ALPN http/1.1 where offered. */
int tlsctx_new_server(SSL_CTX **out, const struct tlsctx_options *options, int *bad_index, char *why,
                      size_t why_cap);

/* A certificate and its key in memory, with what is sent behind it (NULL: nothing). */
struct tlsctx_pair {
    X509 *certificate;
    EVP_PKEY *key;
    STACK_OF(X509) * chain;
};

/* The same with one certificate that is in no file: those of options are not looked at. What pair points to
 * is borrowed; the context holds references of its own. */
int tlsctx_new_server_with(SSL_CTX **out, const struct tlsctx_options *options,
                           const struct tlsctx_pair *pair, char *why, size_t why_cap);

#define TLSCTX_PIN_BYTES 32 /* SHA-256 of a certificate's SubjectPublicKeyInfo */

struct tlsctx_client_options {
    const char *ca; /* PEM file of those who may vouch for the peer; NULL: the system's */
    bool verify;    /* whether anybody has to; the name is given with each connection (stream.h) */
    /* Keys one of which the peer's own certificate has to have, whoever vouches for it: with verify, that is
     * asked besides; without, the key is all that counts, whatever name the certificate is for. Copied */
    const uint8_t (*pins)[TLSCTX_PIN_BYTES];
    size_t pin_count;
    uint16_t floor;                /* as above; 0: TLS 1.2 */
    const char *certificate, *key; /* PEM files to show to a server that asks; NULL: none */
};

/* Client side: 0 with *out owned, or ERR_TLS with why filled. */
int tlsctx_new_client(SSL_CTX **out, const struct tlsctx_client_options *options, char *why, size_t why_cap);

/* "sha256//BASE64", as curl's --pinnedpubkey has it, or 64 hexadecimal digits. 0 or ERR_SYNTAX. */
int tlsctx_parse_pin(const char *text, uint8_t out[TLSCTX_PIN_BYTES]);

/* ERR_TLS, with why saying what is wrong with `what` by the first entry of OpenSSL's error queue, which is
 * emptied: "/x/y.crt: No such file or directory". For others who load such files. */
int tlsctx_fail(char *why, size_t why_cap, const char *what);

#endif
