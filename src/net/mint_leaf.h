/* Making leaves: what mint.c and mint_leaf.c share. */
#ifndef STAGATE_NET_MINT_LEAF_H
#define STAGATE_NET_MINT_LEAF_H

#include <openssl/x509.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mint_ca {
    char *path;             /* owned: its certificate file, for messages */
    STACK_OF(X509) * chain; /* owned: the CA, then those behind it */
    EVP_PKEY *key;          /* owned */
    int64_t from, until;    /* its certificate's dates, in seconds since 1970 */
};

bool mint_ca_read_dates(struct mint_ca *ca);
/* ERR_TLS with a sentence once it has expired. */
int mint_ca_check_expiry(const struct mint_ca *ca, char *why, size_t cap);

/* A leaf for host with that key, signed. 0 with *out owned and the seconds until it should be replaced, or
 * ERR_TLS with why filled. */
int mint_leaf(X509 **out, const struct mint_ca *ca, const char *host, EVP_PKEY *key, int64_t *renew_in_s,
              char *why, size_t cap);

#endif
