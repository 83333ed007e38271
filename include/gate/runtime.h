/* Settings made runnable: TLS contexts, bound sockets, open authorities, sign-in. Immutable once made,
 * counted, shared by all workers and the control thread. A reload makes a new one whole, taking over sockets
 * and authorities that stay, or fails and changes nothing. */
#ifndef STAGATE_GATE_RUNTIME_H
#define STAGATE_GATE_RUNTIME_H

#include <openssl/ssl.h>
#include <stdatomic.h>
#include <sys/socket.h>

#include "gate/settings.h"
#include "net/listener.h"
#include "net/mint.h"
#include "net/tlsctx.h"
#include "sta/access.h"
#include "sta/authority.h"
#include "sta/issue.h"
#include "sta/signin.h"

/* The sockets of one listening address, one for each thread that serves it; handed from runtime to runtime
 * while the address stays configured. */
struct sockets {
    atomic_uint refs;
    char *address_text; /* as configured, owned: what makes two listeners the same on reload */
    bool unix_path;     /* address_text is the path of a Unix socket whose file is still ours to remove */
    struct sockaddr_storage bound;
    char bound_text[ADDRESS_TEXT];
    unsigned count;
    int fds[]; /* each goes to its thread, which sets it to -1 here and owns it then */
};

struct runtime_listener { /* where clients connect; served by every worker */
    const struct listener_settings *settings;
    SSL_CTX *ctx; /* owned */
    struct sockets *sockets;
};

struct runtime_service { /* where an authority's STA service and ticket API are; served by the control thread
                          */
    const struct http_url *url;
    size_t authority; /* index */
    SSL_CTX *ctx;     /* owned; NULL: plain */
    struct sockets *sockets;
};

struct runtime_authority { /* what goes with an authority that is not its own state */
    const struct authority_settings *settings;
    struct access_rules access;
    struct issue_rules rules;
    char *shared_key; /* owned, secret; NULL: none */
};

struct runtime_backend { /* of a service */
    SSL_CTX *ctx;        /* owned: towards the mail server */
    struct mint *mint;   /* a reference: who signs what clients are shown; NULL: nobody */
};

struct runtime {
    atomic_uint refs;
    struct settings *settings; /* owned */
    size_t listener_count;
    struct runtime_listener *listeners;
    size_t authority_count;
    struct authority **authorities; /* in the order of settings */
    struct runtime_authority *details;
    size_t service_count;
    struct runtime_service *services;
    size_t backend_count;
    struct runtime_backend *backends; /* owned; in the order of settings, then those without an entry */
    const uint8_t *ticket_keys;       /* borrowed of who makes runtimes */
    struct sockets *admin;            /* NULL: none */
    struct signin *signin;            /* owned; NULL: none */
    size_t connections_max; /* of all workers together; set by who makes the runtime, before it is in force */
    size_t own_count;
    struct sockaddr_storage
        *own; /* addresses with ports that this gateway listens on: policy_address_allowed */
};

/* Takes settings (given, on failure too). old: the runtime in force, or NULL. Complaints go to standard
 * error, one line each, prefixed with the configuration's path. ticket_keys as in tlsctx.h, borrowed for the
 * life of all runtimes. */
int runtime_new(struct runtime **out, struct settings *settings, const char *path, struct runtime *old,
                unsigned workers, const uint8_t *ticket_keys);
/* Of one of the runtime's services, or its settings' unnamed. */
SSL_CTX *runtime_backend(const struct runtime *r, const struct service_settings *s);
struct mint *runtime_mint(const struct runtime *r, const struct service_settings *s);
struct runtime *runtime_ref(struct runtime *r);
void runtime_unref(struct runtime *r);

/* Removes a Unix socket's file. By the thread that serves it, as soon as it no longer does: connections may
 * hold the runtime for hours, and by then the path may be another socket's. One that was never served goes
 * with its last reference. */
void sockets_withdraw(struct sockets *s);

#endif
