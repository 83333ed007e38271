/* A phone's connection, whatever way it takes: TCP, TLS to the gateway or the mail server, the tunnel's
 * opening (SOCKS5 or CONNECT, with a ticket or with a sign-in), and the phone's own TLS inside it. Bytes of
 * HTTP in and out, and how long each part of the opening took. Embedded in its owner.
 */
#ifndef STAGATE_EASLOAD_CHANNEL_H
#define STAGATE_EASLOAD_CHANNEL_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "device.h"
#include "net/netloop.h"
#include "net/stream.h"
#include "proto/hostport.h"
#include "proto/http.h"
#include "proto/socks5.h"

enum door { DOOR_NONE, DOOR_CONNECT, DOOR_SOCKS };

struct address_pool {
    struct sockaddr_storage *items; /* owned */
    size_t count;
};

/* The way that all phones of a run take. Borrowed for the channels' life. */
struct route {
    struct address_pool hops;    /* where TCP goes: the gateway, or the mail server itself */
    struct address_pool sources; /* empty: as the kernel likes */
    bool outer_tls;
    char outer_name[HOSTPORT_HOST_MAX + 1]; /* SNI, and what the certificate has to be for */
    enum door door;
    struct hostport target; /* of the tunnel; host and port also go into the Host field */
    bool inner_tls;         /* to the target, through the tunnel */
    uint64_t connections;   /* made so far: addresses are taken in turn */
    bool ticket_header;     /* the ticket goes with each request, as X-STA-Ticket */
    bool user_credential;   /* CONNECT with the user's own name and password, no ticket */
};

/* What a client system offers in TLS. */
struct offer {
    SSL_CTX *outer, *inner; /* owned; NULL where there is none */
};
/* Contexts that hand new sessions to channels: call once for each. */
void channel_prepare_context(SSL_CTX *ctx);

/* What all channels of a loop share. */
struct wire {
    struct netloop *loop;
    uint8_t *plain; /* owned: decrypted by the inner TLS, within one call */
    struct buf out; /* sealed by the inner TLS, within one call */
    unsigned deadline_list;
    uint64_t open_ms; /* how long an opening may take */
    size_t open;      /* channels that are open, for whoever looks on */
    bool resume;      /* phones keep TLS sessions and resume them */
};
void wire_init(struct wire *w, struct netloop *loop, unsigned deadline_list, uint64_t open_ms);
void wire_deinit(struct wire *w);

enum channel_phase {
    CHANNEL_IDLE,
    CHANNEL_TCP,
    CHANNEL_TLS,
    CHANNEL_TUNNEL,
    CHANNEL_INNER,
    CHANNEL_OPEN,
    CHANNEL_CLOSING
};

struct channel;

struct channel_events { /* all from the loop */
    void (*on_open)(struct channel *c);
    void (*on_data)(struct channel *c, const uint8_t *data, size_t len);
    /* The peer has ended it, or it failed, at most once; why->kind is "closed" for an ordinary end. Close it.
     */
    void (*on_end)(struct channel *c, const struct failure *why);
    void (*on_closed)(struct channel *c); /* it is idle again */
};

struct channel_times { /* of the opening, µs; 0: that part did not take place */
    uint64_t tcp_us, tls_us, tunnel_us, inner_us;
};

struct channel {
    struct stream stream;
    struct wire *wire;
    const struct channel_events *events;
    void *owner;
    struct route *route;
    const struct offer *offer;
    struct tls inner;
    struct socks5_client socks;                 /* the reply as far as it has come */
    struct http_reader *head;                   /* of CONNECT's answer; owned, NULL else */
    char *credential;                           /* for the opening; owned, wiped */
    SSL_SESSION *outer_session, *inner_session; /* to resume; owned */
    struct deadline deadline;
    uint64_t since_ns; /* when the present phase began */
    struct channel_times times;
    struct failure *refusal; /* CONNECT's answer says no; owned, NULL else */
    uint8_t phase;           /* enum channel_phase */
    uint8_t failed_in;       /* the phase that on_end came in */
    bool ended;              /* on_end was told */
    bool outer_resumed, inner_resumed;
};

void channel_init(struct channel *c, struct wire *w, const struct channel_events *events, void *owner);
void channel_deinit(struct channel *c); /* idle, or never opened */
/* on_end can come from inside. credential: the ticket, where it is a SOCKS destination; else what stands
 * behind "Proxy-Authorization: "; NULL: none is sent. From idle only. */
void channel_open(struct channel *c, struct route *route, const struct offer *offer, const char *credential);
void channel_write(struct channel *c, const uint8_t *data, size_t len); /* while it is open */
void channel_close(struct channel *c); /* politely; any time, any number of times */

#endif
