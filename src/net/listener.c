/* Listening sockets and address texts. */
#include "net/listener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define BACKLOG 4096 /* the kernel cuts it to net.core.somaxconn */

static socklen_t address_size(const struct sockaddr *sa)
{
    return sa->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
}

static void set_inherited(int fd)
{
    int one = 1, idle = 60, interval = 15, count = 4;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
}

/* A socket that is bound and listens. */
static int bind_socket(const struct sockaddr *address, bool reuseport, int *fd)
{
    int one = 1;
    *fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (*fd < 0)
        return -errno;
    setsockopt(*fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (address->sa_family == AF_INET6)
        setsockopt(*fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
    if ((reuseport && setsockopt(*fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one) < 0) ||
        bind(*fd, address, address_size(address)) < 0 || listen(*fd, BACKLOG) < 0) {
        int rc = -errno;
        close(*fd);
        *fd = -1;
        return rc;
    }
    return 0;
}

int listener_bind(const struct sockaddr *address, bool first, int *fd)
{
    if (first) {
        int rc = bind_socket(address, false, fd);
        if (rc < 0)
            return rc;
        close(*fd);
    }
    int rc = bind_socket(address, true, fd);
    if (rc == 0)
        set_inherited(*fd);
    return rc;
}

static void on_uv_connection(uv_stream_t *handle, int status)
{
    struct listener *l = handle->data;
    if (status == 0)
        l->on_connection(l);
}

int listener_open(struct listener *l, struct netloop *loop, int fd)
{
    int rc = uv_tcp_init(&loop->uv, &l->tcp);
    l->tcp.data = l;
    if (rc == 0)
        rc = uv_tcp_open(&l->tcp, fd);
    if (rc == 0)
        rc = uv_listen((uv_stream_t *)&l->tcp, BACKLOG, on_uv_connection);
    return rc;
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct listener *l = handle->data;
    if (l->on_closed != NULL)
        l->on_closed(l);
}

void listener_close(struct listener *l)
{
    if (!uv_is_closing((uv_handle_t *)&l->tcp))
        uv_close((uv_handle_t *)&l->tcp, on_handle_closed);
}

uv_stream_t *listener_handle(struct listener *l)
{
    return (uv_stream_t *)&l->tcp;
}

void address_format_host(const struct sockaddr_storage *sa, char dst[ADDRESS_TEXT])
{
    const void *raw = sa->ss_family == AF_INET6 ? (const void *)&((const struct sockaddr_in6 *)sa)->sin6_addr
                                                : (const void *)&((const struct sockaddr_in *)sa)->sin_addr;
    if (inet_ntop(sa->ss_family, raw, dst, ADDRESS_TEXT) == NULL)
        snprintf(dst, ADDRESS_TEXT, "?");
}

void address_format(const struct sockaddr_storage *sa, char dst[ADDRESS_TEXT])
{
    char host[ADDRESS_TEXT];
    address_format_host(sa, host);
    if (sa->ss_family == AF_INET6)
        snprintf(dst, ADDRESS_TEXT, "[%.50s]:%u", host, ntohs(((const struct sockaddr_in6 *)sa)->sin6_port));
    else
        snprintf(dst, ADDRESS_TEXT, "%.50s:%u", host, ntohs(((const struct sockaddr_in *)sa)->sin_port));
}
