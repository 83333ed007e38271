/* Certificates that many connections are shown, kept once: parsed, one takes about 6 KB, and OpenSSL keeps
 * the peer's whole chain with every connection. Thread-safe, bounded; what gives way here lives on with the
 * connections that hold it. */
#ifndef STAGATE_NET_CERTSHARE_H
#define STAGATE_NET_CERTSHARE_H

#include <openssl/x509.h>

/* Puts in place of each certificate of a peer's chain an equal one that was seen before, where there is one.
 */
void certshare_chain(STACK_OF(X509) * chain);

#endif
