/* A listening socket of one loop. Workers that listen on the same address share it by SO_REUSEPORT: each has a socket of its own. */
#ifndef STAGATE_NET_LISTENER_H
#define STAGATE_NET_LISTENER_H

#include <sys/socket.h>
#include <uv.h>

#include "net/netloop.h"

struct listener {
    uv_tcp_t tcp;
    void (*on_connection)(struct listener *l); /* call stream_accept with listener_handle() */
    void (*on_closed)(struct listener *l);     /* may be NULL */
    void *owner;
};

/* Whether somebody else listens on that address already: bind with SO_REUSEPORT would share it with them without a word. 0, or libuv's code. */
int listener_probe(const struct sockaddr *address);

/* Binds and listens; port 0 takes a free one (listener_address tells which). Accepted connections inherit TCP_NODELAY and keepalive (60 s idle, 15 s
 * apart, 4 probes). 0 or a libuv code; on failure, too, the handle must be closed with listener_close. */
int listener_open(struct listener *l, struct netloop *loop, const struct sockaddr *address);
int listener_address(const struct listener *l, struct sockaddr_storage *out);
void listener_close(struct listener *l); /* idempotent */
uv_stream_t *listener_handle(struct listener *l);

/* "127.0.0.1:8443", "[::1]:8443" */
#define ADDRESS_TEXT 64
void address_format(const struct sockaddr_storage *sa, char dst[ADDRESS_TEXT]);
/* The address alone, without port and brackets. */
void address_format_host(const struct sockaddr_storage *sa, char dst[ADDRESS_TEXT]);

#endif
