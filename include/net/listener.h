/* A listening socket of one loop, TCP or Unix. Workers that listen on the same address share it by
 * SO_REUSEPORT: each has a socket of its own. */
#ifndef STAGATE_NET_LISTENER_H
#define STAGATE_NET_LISTENER_H

#include <stdbool.h>
#include <sys/socket.h>
#include <uv.h>

#include "net/netloop.h"

struct listener {
    uv_tcp_t tcp;
    void (*on_connection)(struct listener *l); /* call stream_accept with listener_handle() */
    void (*on_closed)(struct listener *l);     /* may be NULL */
    void *owner;
};

/* Binds a socket with SO_REUSEPORT and listens on it; port 0 takes a free one. `first`: refuses
 * (UV_EADDRINUSE) when somebody else listens there already, with whom SO_REUSEPORT would share the port
 * without a word. Accepted connections inherit TCP_NODELAY and keepalive (60 s idle, then 4 probes 15 s
 * apart). 0 and *fd, or a libuv code. Binding apart from serving lets a start or a reload fail whole. */
int listener_bind(const struct sockaddr *address, bool first, int *fd);

/* The same for a Unix socket, whose file has exactly the rights `mode` from its first moment on. A socket
 * file that nobody answers on is replaced; UV_EADDRINUSE where somebody does, UV_ENOTSOCK where something
 * else stands (never removed), UV_ENAMETOOLONG. Sets the process's umask for a moment: for the main thread.
 * The file stays behind when the socket is closed. */
int listener_bind_unix(const char *path, unsigned mode, int *fd);

/* Serves fd on a loop: owned from now on. On failure, too, the listener has to be closed with listener_close.
 */
int listener_open(struct listener *l, struct netloop *loop, int fd);
void listener_close(struct listener *l); /* idempotent */
uv_stream_t *listener_handle(struct listener *l);

/* "127.0.0.1:8443", "[::1]:8443", "unix" */
#define ADDRESS_TEXT 64
void address_format(const struct sockaddr_storage *sa, char dst[ADDRESS_TEXT]);
/* The address alone, without port and brackets. */
void address_format_host(const struct sockaddr_storage *sa, char dst[ADDRESS_TEXT]);

#endif
