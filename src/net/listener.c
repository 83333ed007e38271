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

int listener_probe(const struct sockaddr *address)
{
    int one = 1;
    int rc = 0;
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    /* without SO_REUSEPORT, and listening: a bind alone succeeds beside another that only has SO_REUSEADDR */
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (address->sa_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
    if (bind(fd, address, address_size(address)) < 0 || listen(fd, 1) < 0)
        rc = -errno;
    close(fd);
    return rc;
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

static void on_uv_connection(uv_stream_t *handle, int status)
{
    struct listener *l = handle->data;
    if (status == 0)
        l->on_connection(l);
}

int listener_open(struct listener *l, struct netloop *loop, const struct sockaddr *address)
{
    int one = 1;
    int fd;
    int rc = uv_tcp_init_ex(&loop->uv, &l->tcp, address->sa_family);
    l->tcp.data = l;
    if (rc == 0)
        rc = uv_fileno((uv_handle_t *)&l->tcp, &fd);
    if (rc == 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one) < 0)
        rc = -errno;
    if (rc == 0) {
        set_inherited(fd);
        rc = uv_tcp_bind(&l->tcp, address, address->sa_family == AF_INET6 ? UV_TCP_IPV6ONLY : 0);
    }
    if (rc == 0)
        rc = uv_listen((uv_stream_t *)&l->tcp, BACKLOG, on_uv_connection);
    return rc;
}

int listener_address(const struct listener *l, struct sockaddr_storage *out)
{
    int len = sizeof *out;
    return uv_tcp_getsockname(&l->tcp, (struct sockaddr *)out, &len);
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
