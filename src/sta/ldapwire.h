/* A deadline below libldap: a layer between its socket and its TLS, through which every byte passes.
 *
 * libldap 2.5 keeps time only while it connects and while it waits for the first byte of an answer. A server
 * that stops within one, or within the TLS handshake, would hold the thread for good (with GnuTLS, and a
 * network timeout set, in a loop that never rests). */
#ifndef STAGATE_SRC_STA_LDAPWIRE_H
#define STAGATE_SRC_STA_LDAPWIRE_H

#include <ldap.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct ldapwire {
    uint64_t deadline_ms; /* clock_mono_ms; reading and writing fail from then on */
    const atomic_bool *cancelled;
};

/* For a handle that is not connected yet; w has to outlive it. An LDAP code. */
int ldapwire_add(LDAP *ld, struct ldapwire *w);

bool ldapwire_late(const struct ldapwire *w); /* past the deadline, or cancelled */

#define LDAPWIRE_SLICE_MS 50 /* how long it may take to see that it was cancelled */

#endif
