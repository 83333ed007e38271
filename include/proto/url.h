/* Absolute http and https URLs (RFC 3986), as far as a relay has to understand them: where they lead, and
 * where their path begins. What is not read without doubt by everybody is refused rather than guessed.
 */
#ifndef STAGATE_PROTO_URL_H
#define STAGATE_PROTO_URL_H

#include <stdbool.h>
#include <stddef.h>

#include "proto/hostport.h"

struct url {
    bool tls;               /* https */
    struct hostport origin; /* in normal form, never a wildcard; port 80 or 443 where none is written */
    bool has_port;          /* the port is written */
    size_t path;            /* offset of the path, query or fragment; the whole length if there is none */
};

/* Reads the len bytes at s (need not end in NUL): "http://" or "https://" in any case, a host as hostport
 * takes it (IPv6 in brackets), a port or none. Refused anywhere: control characters, blanks, backslashes;
 * before the path: user info ("user@"), an empty port. What follows the host is not looked into further and
 * may hold bytes above 0x7f. 0, or ERR_SYNTAX with *u zeroed. */
int url_parse(struct url *u, const char *s, size_t len);

#endif
