/* What the configuration file says, typed and checked; immutable once read. Defaults and help texts stand in
 * the schema in settings.c, which docs/configuration.md is made from. */
#ifndef STAGATE_GATE_SETTINGS_H
#define STAGATE_GATE_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>

#include "base/conf.h"
#include "proto/hostport.h"

enum door_kind { DOOR_SOCKS, DOOR_CONNECT, DOOR_KINDS }; /* bit numbers of listener_settings.doors too */

struct listener_settings {
    struct sockaddr_storage address;
    const char *address_text;      /* as written */
    struct conf_list certificates; /* of const char *: PEM files */
    struct conf_list keys;
    struct conf_list door_list; /* of int, enum door_kind */
    unsigned doors;             /* 1 << enum door_kind, made of door_list */
    int tls_floor_index;
    uint16_t tls_floor; /* 0x0300 ... 0x0304 */
};

struct authority_settings {
    const char *id;
    const char *store; /* "lmdb:/abs/path", "memory:" */
    int64_t tombstone_ms;
};

enum network_access { NETWORK_UNRESTRICTED, NETWORK_TUNNELED, NETWORK_BLOCKED };

struct policy_settings {
    int network_access;        /* enum network_access */
    struct conf_list services; /* of struct hostport */
    struct hostport gateway;   /* background-network-service-gateway; port 0: none */
    int64_t ticket_expiration_ms;
    int connection_security_level; /* 0 tls, 1 sslv3-and-tls */
};

enum sni_rule { SNI_ANY, SNI_MATCH };

struct service_settings {
    struct hostport name;    /* may be a wildcard */
    struct hostport connect; /* override; port 0: none, the name is resolved */
    int relay;               /* 0: opaque */
    int tls_floor_index;
    uint16_t tls_floor; /* 0: none, the service need not be TLS */
    int sni;            /* enum sni_rule */
};

struct timeout_settings { /* milliseconds */
    int64_t handshake;    /* accept to the end of the outer handshake; and the inner one's */
    int64_t request;      /* end of handshake to a complete request */
    int64_t ticket;       /* an authority's answer */
    int64_t connect;      /* resolving and connecting, each address */
    int64_t idle;         /* no byte either way */
    int64_t linger;       /* delivering what is queued, and a half-closed tunnel without traffic */
    int64_t drain;        /* SIGTERM to the end of running tunnels */
};

struct limit_settings {
    int64_t connections; /* in all workers together; 0: as many as the limit of open files allows */
};

struct log_settings {
    int format; /* enum log_format, in the order of its names */
    int level;
};

struct settings {
    int64_t workers;              /* 0: one for each core */
    struct conf_list listeners;   /* of struct listener_settings */
    struct conf_list authorities; /* of struct authority_settings */
    struct policy_settings policy;
    struct conf_list services; /* of struct service_settings */
    struct timeout_settings timeouts;
    struct limit_settings limits;
    struct log_settings log;
    struct conf *conf; /* owns what the pointers above point to */
};

/* Reads and checks. The result always exists; settings_ok tells whether it can be run. For `run` (strict), a
 * missing certificate or key is an error, for `check` a warning. */
struct settings *settings_read(const char *path, bool strict);
void settings_free(struct settings *s);
bool settings_ok(const struct settings *s);

extern const struct conf_section settings_schema;

/* The entry of services that is meant by this target: an exact name before wildcards, NULL if there is none.
 */
const struct service_settings *settings_service(const struct settings *s, const struct hostport *target);

#endif
