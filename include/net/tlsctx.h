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

struct tlsctx_client_options {
    const char *ca; /* PEM file of those who may vouch for the peer; NULL: the system's */
    bool verify;    /* whether anybody has to; the name is given with each connection (stream.h) */
    uint16_t floor; /* as above; 0: TLS 1.2 */
    const char *certificate, *key; /* PEM files to show to a server that asks; NULL: none */
};

/* Client side: 0 with *out owned, or ERR_TLS with why filled. */
int tlsctx_new_client(SSL_CTX **out, const struct tlsctx_client_options *options, char *why, size_t why_cap);

#endif
