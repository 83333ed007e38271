/* Listening sockets and address texts.
 *
 * Unix sockets are served through a uv_tcp_t as well: uv_tcp_open does not ask for the family, and accepting,
 * reading and writing are the same calls for all stream sockets. So a stream is one struct, whatever it runs
 * on; what is TCP's own (TCP_NODELAY, keepalive) is set by us before libuv sees the descriptor. */
#include "net/listener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "net/stream.h"

#define BACKLOG 4096 /* the kernel cuts it to net.core.somaxconn */

static socklen_t address_size(const struct sockaddr *sa)
{
    return sa->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
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
        stream_set_tcp(*fd);
    return rc;
}

/* ---- Unix sockets ---- */

static int unix_address(struct sockaddr_un *sa, const char *path)
{
    *sa = (struct sockaddr_un){.sun_family = AF_UNIX};
    size_t n = strlen(path);
    if (n >= sizeof sa->sun_path)
        return UV_ENAMETOOLONG;
    memcpy(sa->sun_path, path, n);
    return 0;
}

/* Removes a socket file that a process left behind: 0 when nothing stands there (any more). */
static int remove_stale(const struct sockaddr_un *sa)
{
    struct stat st;
    if (lstat(sa->sun_path, &st) < 0)
        return errno == ENOENT ? 0 : -errno;
    if (!S_ISSOCK(st.st_mode))
        return UV_ENOTSOCK;
    /* not blocking: a process whose backlog is full is alive (EAGAIN) */
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    int answer = connect(fd, (const struct sockaddr *)sa, sizeof *sa) == 0 ? 0 : errno;
    close(fd);
    if (answer == ENOENT)
        return 0;
    if (answer == 0 || answer == EAGAIN || answer == EPROTOTYPE)
        return UV_EADDRINUSE;
    if (answer != ECONNREFUSED)
        return -answer;
    return unlink(sa->sun_path) < 0 && errno != ENOENT ? -errno : 0;
}

int listener_bind_unix(const char *path, unsigned mode, int *fd)
{
    struct sockaddr_un sa;
    *fd = -1;
    int rc = unix_address(&sa, path);
    if (rc == 0)
        rc = remove_stale(&sa);
    if (rc < 0)
        return rc;
    *fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (*fd < 0)
        return -errno;
    mode_t before = umask(~(mode_t)mode & 0777); /* bind() makes the file with 0777 less this */
    bool bound = bind(*fd, (const struct sockaddr *)&sa, sizeof sa) == 0;
    if (!bound)
        rc = -errno;
    umask(before);
    if (rc == 0 && listen(*fd, BACKLOG) < 0)
        rc = -errno;
    if (rc < 0) {
        close(*fd);
        *fd = -1;
        if (bound)
            unlink(path);
    }
    return rc;
}

/* ---- serving ---- */

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
    if (sa->ss_family == AF_UNIX) {
        snprintf(dst, ADDRESS_TEXT, "unix");
        return;
    }
    const void *raw = sa->ss_family == AF_INET6 ? (const void *)&((const struct sockaddr_in6 *)sa)->sin6_addr
                                                : (const void *)&((const struct sockaddr_in *)sa)->sin_addr;
    if (inet_ntop(sa->ss_family, raw, dst, ADDRESS_TEXT) == NULL)
        snprintf(dst, ADDRESS_TEXT, "?");
}

void address_format(const struct sockaddr_storage *sa, char dst[ADDRESS_TEXT])
{
    char host[ADDRESS_TEXT];
    address_format_host(sa, host);
    if (sa->ss_family == AF_UNIX)
        snprintf(dst, ADDRESS_TEXT, "%s", host);
    else if (sa->ss_family == AF_INET6)
        snprintf(dst, ADDRESS_TEXT, "[%.50s]:%u", host, ntohs(((const struct sockaddr_in6 *)sa)->sin6_port));
    else
        snprintf(dst, ADDRESS_TEXT, "%.50s:%u", host, ntohs(((const struct sockaddr_in *)sa)->sin_port));
}
