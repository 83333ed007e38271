/* Certificates made on demand, for relays that end a tunnel's inner TLS: a server context for any host, its
 * leaf signed by a CA that the clients trust.
 *
 * One mint per signing CA, counted, used by all workers at once. Leaves share one ECDSA P-256 key, which is
 * made with the mint and lives in memory only; they live 30 days at most, and never longer than the CA.
 */
#ifndef STAGATE_NET_MINT_H
#define STAGATE_NET_MINT_H

#include <openssl/ssl.h>
#include <stddef.h>
#include <stdint.h>

#define MINT_CONTEXTS 256 /* kept; beyond them, what was asked for longest ago goes */

struct mint;

struct mint_options {
    uint16_t floor;             /* as tlsctx_options has it; 0: TLS 1.2 */
    const uint8_t *ticket_keys; /* TLSCTX_TICKET_KEYS bytes, or NULL: a context's own. The same with every
                                   call for one mint: they are no part of what contexts are found by */
};

/* Reads the CA: a PEM file with its certificate, behind which may stand those between it and what clients
 * trust (they are sent along), and its key. 0 with *out owned (mint_unref), or ERR_TLS with why filled
 * ("/x/y.crt: no CA certificate: ..."): not readable, no CA that may sign certificates, out of its time, a
 * key that does not fit, is encrypted, or is readable by group or others. */
int mint_open(struct mint **out, const char *ca_certificate, const char *ca_key, char *why, size_t cap);
struct mint *mint_ref(struct mint *m);
void mint_unref(struct mint *m); /* NULL is fine */

/* A server context for host: a DNS name in lower case or an IP address, as proto/hostport normalises both. 0
 * with a reference in *out (SSL_CTX_free), or ERR_TLS with why filled: the CA's nameConstraints do not permit
 * the host, the CA has expired. Signs where no context of this host and floor is at hand: about a
 * millisecond. Sessions are resumed under the host's name only. Thread-safe. */
int mint_server_ctx(struct mint *m, const char *host, const struct mint_options *o, SSL_CTX **out, char *why,
                    size_t cap);

#endif
