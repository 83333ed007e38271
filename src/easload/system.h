/* Client systems as the published matrix of protocols has them, and what such a phone looks like. */
#ifndef STAGATE_EASLOAD_SYSTEM_H
#define STAGATE_EASLOAD_SYSTEM_H

#include <stdint.h>

struct client_system {
    const char *name; /* "Android N" */
    const char *type; /* DeviceType */
    const char *agent;
    uint16_t tls_min, tls_max; /* what its ClientHello offers, as far as OpenSSL can */
    unsigned ceiling;          /* highest ActiveSync version, times ten */
    unsigned heartbeat_s;
};

extern const struct client_system client_systems[]; /* ends with a NULL name */
const struct client_system *
client_system_by_name(const char *name); /* NULL: there is none; case does not count */

#endif
