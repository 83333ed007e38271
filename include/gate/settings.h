/* What the configuration file says, typed and checked; immutable once read. Defaults and help texts stand in
 * the schema in settings.c, which docs/configuration.md is made from. */
#ifndef STAGATE_GATE_SETTINGS_H
#define STAGATE_GATE_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>

#include "base/conf.h"
#include "proto/cidr.h"
#include "proto/hostport.h"

enum door_kind {
    DOOR_SOCKS,
    DOOR_CONNECT,
    DOOR_ACTIVESYNC,
    DOOR_KINDS
}; /* bit numbers of listener_settings.doors too */

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

struct http_url { /* http://HOST:PORT or https://HOST:PORT, with a path where it is a client's */
    bool tls;
    struct hostport origin;
    struct sockaddr_storage address; /* listen: where to bind */
    const char *path;                /* url: "/scripts/ctxsta.dll" */
    const char *text;                /* as written; NULL: not given */
};

struct max_tickets_settings { /* 0: any number */
    int64_t per_user, per_device, total;
    int when_full; /* 0: the new one is refused, 1: the oldest gives way */
};

struct authority_settings {
    const char *id; /* NULL: learnt from url */

    /* embedded: it keeps its tickets here */
    const char *store; /* "lmdb:/abs/path", "memory:", "redis://host:port"; NULL: remote */
    const char *password_file;
    int64_t tombstone_ms;
    struct max_tickets_settings max_tickets;
    int64_t session_ms;      /* lifetime of session tickets */
    int64_t refresh_ms;      /* of refreshable ones, and of each refresh */
    int requested_class;     /* enum ticket_class that RequestTicket makes where it does not say */
    struct conf_list listen; /* of struct http_url: the STA service and the ticket API */
    bool ssl_only;
    struct conf_list allow; /* of struct cidr: who may speak STA XML here */
    struct conf_list hosts; /* of const char *: names that requests may call it by */
    const char *client_ca;  /* NULL: no client certificates */

    /* remote: another process answers for it */
    struct http_url url; /* text NULL: embedded */
    const char *ca;
    bool learn_id;
    int64_t probe_ms, bypass_ms, cache_ms, timeout_ms;
    int64_t connections; /* each worker's pool */

    /* both: of the service, or shown by the client */
    struct conf_list certificates, keys; /* of const char * */
    const char *shared_key_file;
};

struct sign_in_ldap_settings {
    const char *url;
    bool starttls;
    const char *ca;
    const char *bind_dn;
    const char *bind_password_file;
    const char *base;
    const char *filter;
    const char *group_filter;
    const char *group_base;
    const char *user_attribute;
    int name_variations;              /* 0: any, 1: fewer */
    struct conf_list name_attributes; /* of const char * */
    const char *const *names;         /* the same, NULL-terminated */
    int64_t timeout_ms;
};

struct sign_in_settings {
    const char *htpasswd;
    struct sign_in_ldap_settings *ldap; /* NULL: none */
    int64_t threads;
    int64_t attempts_per_user, attempts_per_address, attempts_window_ms;
};

struct admin_settings {
    const char *socket; /* NULL: none */
};

enum on_expiry { EXPIRY_KEEP, EXPIRY_DRAIN, EXPIRY_CUT };

enum network_access { NETWORK_UNRESTRICTED, NETWORK_TUNNELED, NETWORK_BLOCKED };

struct policy_settings {
    int network_access;        /* enum network_access */
    struct conf_list services; /* of struct hostport */
    struct hostport gateway;   /* background-network-service-gateway; port 0: none */
    int64_t ticket_expiration_ms;
    int connection_security_level; /* 0 tls, 1 sslv3-and-tls */
    int on_expiry;                 /* enum on_expiry */
    int64_t forced_timeout_ms;     /* since the ticket was issued; 0: none */
};

enum sni_rule { SNI_ANY, SNI_MATCH };

enum relay_kind { RELAY_OPAQUE, RELAY_HTTP, RELAY_INSPECT };
enum backend_tls { BACKEND_TLS_AUTO, BACKEND_TLS_YES, BACKEND_TLS_NO };
enum forward_field { FORWARD_VIA, FORWARD_FOR, FORWARD_PROTO }; /* bit numbers of service_settings.forward */

struct device_rule { /* patterns with *, without regard to case; NULL: any */
    int action;      /* 0: allow, 1: block */
    const char *id, *type, *agent, *user;
};

struct pair_settings {
    const char *certificate, *key;
};

struct service_settings {
    struct hostport name;     /* may be a wildcard */
    struct conf_list connect; /* of struct hostport: override, in order; empty: the name is resolved */
    int relay;                /* enum relay_kind */
    int tls_floor_index;
    uint16_t tls_floor; /* 0: none, the service need not be TLS */
    int sni;            /* enum sni_rule */

    /* where HTTP is looked into: relay http and inspect, and all of the activesync door */
    unsigned activesync_floor, activesync_ceiling; /* versions times ten; 0: none */
    struct conf_list paths;                        /* of const char *: activesync, autodiscover, ews, /path */
    struct conf_list devices;                      /* of struct device_rule */
    bool bind_user;
    int64_t max_heartbeat_ms; /* 0: as long as the client asks for */
    struct conf_list forward_list;
    unsigned forward; /* 1 << enum forward_field, made of forward_list */
    int backend_tls;  /* enum backend_tls */
    int backend_floor_index;
    uint16_t backend_floor;
    const char *ca; /* NULL: the system's */
    bool verify;
    struct conf_list pins; /* of uint8_t[32]: SHA-256 of the public key */
    const char *certificate, *key;
    struct pair_settings *inspect_ca; /* NULL: none */
};

struct timeout_settings { /* milliseconds */
    int64_t handshake;    /* accept to the end of the outer handshake; and the inner one's */
    int64_t request;      /* end of handshake to a complete request */
    int64_t ticket;       /* an authority's answer */
    int64_t connect;      /* resolving and connecting, each address */
    int64_t response; /* relayed HTTP: silence of the mail server while an ordinary answer is waited for */
    int64_t idle;     /* no byte either way */
    int64_t linger;   /* delivering what is queued, and a half-closed tunnel without traffic */
    int64_t drain;    /* SIGTERM to the end of running tunnels */
};

struct limit_settings {
    int64_t connections; /* in all workers together; 0: as many as the limit of open files allows */
};

enum log_requests { LOG_REQUESTS_ALL, LOG_REQUESTS_REFUSED };

struct log_settings {
    int format; /* enum log_format, in the order of its names */
    int level;
    int requests; /* enum log_requests */
};

struct settings {
    int64_t workers;              /* 0: one for each core */
    struct conf_list listeners;   /* of struct listener_settings */
    struct conf_list authorities; /* of struct authority_settings */
    struct policy_settings policy;
    struct conf_list services;       /* of struct service_settings */
    struct service_settings unnamed; /* what a listed service without an entry of its own gets */
    struct timeout_settings timeouts;
    struct limit_settings limits;
    struct log_settings log;
    struct sign_in_settings *sign_in; /* NULL: none */
    struct admin_settings admin;
    int64_t time_offset_ms;
    struct conf *conf; /* owns what the pointers above point to */
};

/* Reads and checks. The result always exists; settings_ok tells whether it can be run. For `run` (strict), a
 * missing certificate or key is an error, for `check` a warning. */
struct settings *settings_read(const char *path, bool strict);
void settings_free(struct settings *s);
bool settings_ok(const struct settings *s);

extern const struct conf_section settings_schema;

struct signin_ldap;
struct store_options;
/* The directory as sta/signin.h wants it, and a store's settings as sta/store.h does; all borrowed. */
void settings_ldap(const struct sign_in_ldap_settings *in, const char *password, struct signin_ldap *out);
void settings_store(const struct authority_settings *in, struct store_options *out);

/* The entry of services that is meant by this target: an exact name before wildcards, &s->unnamed if there is
 * none. */
const struct service_settings *settings_service(const struct settings *s, const struct hostport *target);

#endif
