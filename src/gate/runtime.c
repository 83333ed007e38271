/* Making a runtime out of settings. Called by gateway.c at start and on reload, in the main thread only. */
#include "gate/runtime.h"

#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "runtime_impl.h"

#define CLOSING_MS 1000 /* for workers to close listeners that a reload took away */

static void sockets_unref(struct sockets *s)
{
    if (s == NULL || atomic_fetch_sub(&s->refs, 1) != 1)
        return;
    for (unsigned i = 0; i < s->count; i++) {
        if (s->fds[i] >= 0)
            close(s->fds[i]);
    }
    sockets_withdraw(s);
    free(s->address_text);
    free(s);
}

void sockets_withdraw(struct sockets *s)
{
    if (s->unix_path)
        unlink(s->address_text);
    s->unix_path = false;
}

static struct sockets *sockets_new(const char *text, unsigned count)
{
    struct sockets *s = mem_zalloc(sizeof *s + count * sizeof s->fds[0]);
    atomic_init(&s->refs, 1);
    s->address_text = mem_strdup(text);
    s->count = count;
    for (unsigned i = 0; i < count; i++)
        s->fds[i] = -1;
    return s;
}

/* The sockets of every address of a runtime, whatever it is for; NULL behind the last. */
static struct sockets **sockets_at(const struct runtime *r, size_t i)
{
    if (i < r->listener_count)
        return &r->listeners[i].sockets;
    i -= r->listener_count;
    if (i < r->service_count)
        return &r->services[i].sockets;
    return i == r->service_count ? (struct sockets **)(uintptr_t)&r->admin : NULL;
}

/* Whether whoever connects to one may come out at the other. */
static bool overlap(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
    if (a->ss_family != b->ss_family)
        return false;
    if (a->ss_family == AF_INET) {
        const struct sockaddr_in *x = (const void *)a, *y = (const void *)b;
        return x->sin_port == y->sin_port &&
               (x->sin_addr.s_addr == y->sin_addr.s_addr || x->sin_addr.s_addr == INADDR_ANY ||
                y->sin_addr.s_addr == INADDR_ANY);
    }
    const struct sockaddr_in6 *x = (const void *)a, *y = (const void *)b;
    return a->ss_family == AF_INET6 && x->sin6_port == y->sin6_port &&
           (IN6_ARE_ADDR_EQUAL(&x->sin6_addr, &y->sin6_addr) || IN6_IS_ADDR_UNSPECIFIED(&x->sin6_addr) ||
            IN6_IS_ADDR_UNSPECIFIED(&y->sin6_addr));
}

static bool listens(const struct runtime *r, const struct sockaddr_storage *address)
{
    struct sockets **place;
    for (size_t i = 0; (place = sockets_at(r, i)) != NULL; i++) {
        if (*place != NULL && overlap(&(*place)->bound, address))
            return true;
    }
    return false;
}

/* Whether an address is written in the same way in what r is being made of. */
static bool has_text(const struct runtime *r, const char *text)
{
    const struct listener_settings *listeners = r->settings->listeners.items;
    for (size_t i = 0; i < r->listener_count; i++) {
        if (strcmp(listeners[i].address_text, text) == 0)
            return true;
    }
    for (size_t i = 0; i < r->service_count; i++) {
        if (strcmp(r->services[i].url->text, text) == 0)
            return true;
    }
    return false;
}

/* Whether it is only our own sockets that stand where r wants to listen, of an address that goes with the
 * reload: it was written in another way, or had another scheme. */
static bool is_left(const struct runtime *r, const struct sockaddr_storage *address,
                    const struct runtime *old)
{
    struct sockets **place;
    bool left = false;
    if (old == NULL || listens(r, address))
        return false;
    for (size_t i = 0; (place = sockets_at(old, i)) != NULL; i++) {
        if (*place == NULL || !overlap(&(*place)->bound, address))
            continue;
        if (has_text(r, (*place)->address_text))
            return false;
        left = true;
    }
    return left;
}

/* The first socket of an address: nobody else must listen there. */
static int bind_first(const struct runtime *r, const struct sockaddr_storage *address,
                      const struct runtime *old, int *fd)
{
    bool left = is_left(r, address, old);
    int rc = listener_bind((const struct sockaddr *)address, !left, fd);
    /* what the reload before took away, workers may not have closed yet */
    for (int waited = 0; rc == UV_EADDRINUSE && old != NULL && waited < CLOSING_MS; waited += 10) {
        uv_sleep(10);
        rc = listener_bind((const struct sockaddr *)address, !left, fd);
    }
    return rc;
}

/* Binds one socket for each thread; the first one settles the port where it was 0. */
static int sockets_open(struct sockets **out, const struct runtime *r, const char *text,
                        const struct sockaddr_storage *address, unsigned threads, const struct runtime *old)
{
    struct sockets *s = sockets_new(text, threads);
    int rc = 0;

    s->bound = *address;
    for (unsigned i = 0; rc == 0 && i < threads; i++) {
        rc = i == 0 ? bind_first(r, &s->bound, old, &s->fds[i])
                    : listener_bind((const struct sockaddr *)&s->bound, false, &s->fds[i]);
        socklen_t len = sizeof s->bound;
        if (rc == 0 && i == 0 && getsockname(s->fds[0], (struct sockaddr *)&s->bound, &len) < 0)
            rc = -errno;
    }
    address_format(&s->bound, s->bound_text);
    if (rc < 0) {
        sockets_unref(s);
        return rc;
    }
    *out = s;
    return 0;
}

/* The socket's folder, where it is missing: for the administrator alone, as the socket is. */
static void make_folder(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash != NULL && slash != path ? mem_strndup(path, (size_t)(slash - path)) : NULL;
    if (folder != NULL)
        mkdir(folder, 0700); /* what it could not do, binding will tell */
    free(folder);
}

static int sockets_open_unix(struct sockets **out, const char *path)
{
    struct sockets *s = sockets_new(path, 1);
    make_folder(path);
    int rc = listener_bind_unix(path, 0600, &s->fds[0]);
    s->unix_path = rc == 0; /* what is not ours is not removed */
    s->bound.ss_family = AF_UNIX;
    if (rc < 0) {
        sockets_unref(s);
        return rc;
    }
    *out = s;
    return 0;
}

/* Takes over the sockets of an address written in the same way, for as many threads. Two that both say "any
 * port" are two: none is taken twice. */
static struct sockets *keep_sockets(const struct runtime *r, const char *text, unsigned threads,
                                    const struct runtime *old)
{
    struct sockets **place;
    for (size_t j = 0; old != NULL && (place = sockets_at(old, j)) != NULL; j++) {
        struct sockets *s = *place;
        bool other = s == NULL || s->count != threads || strcmp(s->address_text, text) != 0;
        struct sockets **taken;
        for (size_t k = 0; !other && (taken = sockets_at(r, k)) != NULL; k++)
            other = *taken == s;
        if (other)
            continue;
        atomic_fetch_add(&s->refs, 1);
        return s;
    }
    return NULL;
}

static void complain(const char *path, const char *what, const char *text, int rc)
{
    fprintf(stderr, "%s: %s %s: %s%s\n", path, what, text, err_text(rc),
            rc == -EACCES ? " (ports below 1024 need CAP_NET_BIND_SERVICE)" : "");
}

static int open_listener(struct runtime *r, size_t i, const char *path, const struct runtime *old,
                         unsigned workers, const uint8_t *ticket_keys)
{
    struct runtime_listener *l = &r->listeners[i];
    char why[512];
    int bad;

    l->settings = &((const struct listener_settings *)r->settings->listeners.items)[i];
    const struct tlsctx_options options = {
        .certificates = l->settings->certificates.items,
        .keys = l->settings->keys.items,
        .count = l->settings->certificates.count,
        .floor = l->settings->tls_floor,
        .ticket_keys = ticket_keys,
        .session_context = l->settings->address_text,
    };
    int rc = tlsctx_new_server(&l->ctx, &options, &bad, why, sizeof why);
    if (rc < 0) {
        fprintf(stderr, "%s: listener %s: %s\n", path, l->settings->address_text, why);
        return rc;
    }
    l->sockets = keep_sockets(r, l->settings->address_text, workers, old);
    if (l->sockets != NULL)
        return 0;
    rc = sockets_open(&l->sockets, r, l->settings->address_text, &l->settings->address, workers, old);
    if (rc < 0)
        complain(path, "listener", l->settings->address_text, rc);
    return rc;
}

static int open_service(struct runtime *r, size_t i, const char *path, const struct runtime *old)
{
    struct runtime_service *v = &r->services[i];
    const struct authority_settings *a = r->details[v->authority].settings;
    char why[512];
    int bad, rc = 0;

    if (v->url->tls) {
        const struct tlsctx_options options = {
            .certificates = a->certificates.items,
            .keys = a->keys.items,
            .count = a->certificates.count,
            .floor = TLS1_2_VERSION,
            .client_ca = a->client_ca,
            .session_context = v->url->text,
        };
        rc = tlsctx_new_server(&v->ctx, &options, &bad, why, sizeof why);
        if (rc < 0) {
            fprintf(stderr, "%s: authority %s: listen %s: %s\n", path, a->id, v->url->text, why);
            return rc;
        }
    }
    v->sockets = keep_sockets(r, v->url->text, 1, old);
    if (v->sockets != NULL)
        return 0;
    rc = sockets_open(&v->sockets, r, v->url->text, &v->url->address, 1, old);
    if (rc < 0)
        complain(path, "listen", v->url->text, rc);
    return rc;
}

/* Every authority's listen URLs, one behind the other. */
static void list_services(struct runtime *r)
{
    for (size_t i = 0; i < r->authority_count; i++)
        r->service_count += r->details[i].settings->listen.count;
    r->services = mem_zalloc(r->service_count * sizeof *r->services);
    struct runtime_service *v = r->services;
    for (size_t i = 0; i < r->authority_count; i++) {
        const struct conf_list *listen = &r->details[i].settings->listen;
        for (size_t j = 0; j < listen->count; j++)
            *v++ =
                (struct runtime_service){.url = &((const struct http_url *)listen->items)[j], .authority = i};
    }
}

static int open_admin(struct runtime *r, const char *path, const struct runtime *old)
{
    const char *file = r->settings->admin.socket;
    if (file == NULL)
        return 0;
    r->admin = keep_sockets(r, file, 1, old);
    if (r->admin != NULL)
        return 0;
    int rc = sockets_open_unix(&r->admin, file);
    if (rc < 0)
        fprintf(stderr, "%s: admin socket %s: %s\n", path, file,
                rc == UV_EADDRINUSE ? "another process answers there" : err_text(rc));
    return rc;
}

static void add_own(struct runtime *r, const struct sockaddr_storage *sa)
{
    r->own = mem_realloc(r->own, (r->own_count + 1) * sizeof *r->own);
    r->own[r->own_count++] = *sa;
}

/* A listener on the unspecified address listens on every address of the machine. */
static void collect_own(struct runtime *r)
{
    struct ifaddrs *all = NULL;
    if (getifaddrs(&all) < 0)
        all = NULL;
    for (size_t i = 0; i < r->listener_count + r->service_count; i++) {
        const struct sockaddr_storage *bound = &(*sockets_at(r, i))->bound;
        add_own(r, bound);
        for (const struct ifaddrs *a = all; a != NULL; a = a->ifa_next) {
            struct sockaddr_storage sa = {0};
            if (a->ifa_addr == NULL || a->ifa_addr->sa_family != bound->ss_family)
                continue;
            if (bound->ss_family == AF_INET) {
                const struct sockaddr_in *b = (const void *)bound;
                if (b->sin_addr.s_addr != INADDR_ANY)
                    continue;
                memcpy(&sa, a->ifa_addr, sizeof(struct sockaddr_in));
                ((struct sockaddr_in *)&sa)->sin_port = b->sin_port;
            } else {
                const struct sockaddr_in6 *b = (const void *)bound;
                if (!IN6_IS_ADDR_UNSPECIFIED(&b->sin6_addr))
                    continue;
                memcpy(&sa, a->ifa_addr, sizeof(struct sockaddr_in6));
                ((struct sockaddr_in6 *)&sa)->sin6_port = b->sin6_port;
            }
            add_own(r, &sa);
        }
    }
    freeifaddrs(all);
}

static void keep_first(int *failed, int rc)
{
    if (*failed == 0)
        *failed = rc;
}

int runtime_new(struct runtime **out, struct settings *settings, const char *path, struct runtime *old,
                unsigned workers, const uint8_t *ticket_keys)
{
    struct runtime *r = mem_zalloc(sizeof *r);
    int failed = 0;

    atomic_init(&r->refs, 1);
    r->settings = settings;
    r->ticket_keys = ticket_keys;
    r->listener_count = settings->listeners.count;
    r->listeners = mem_zalloc(r->listener_count * sizeof *r->listeners);
    r->authority_count = settings->authorities.count;
    r->authorities = mem_zalloc(r->authority_count * sizeof *r->authorities);
    r->details = mem_zalloc(r->authority_count * sizeof *r->details);
    for (size_t i = 0; i < r->authority_count; i++)
        r->details[i].settings = &((const struct authority_settings *)settings->authorities.items)[i];
    list_services(r);
    /* every complaint is shown, not only the first */
    for (size_t i = 0; i < r->listener_count; i++)
        keep_first(&failed, open_listener(r, i, path, old, workers, ticket_keys));
    for (size_t i = 0; i < r->authority_count; i++)
        keep_first(&failed, runtime_open_authority(r, i, path, old));
    for (size_t i = 0; i < r->service_count; i++)
        keep_first(&failed, open_service(r, i, path, old));
    keep_first(&failed, runtime_open_backends(r, path));
    keep_first(&failed, open_admin(r, path, old));
    keep_first(&failed, runtime_open_signin(r, path));
    if (failed < 0) {
        runtime_unref(r);
        return failed;
    }
    /* nothing can fail any more: what was taken over gets its new settings */
    for (size_t i = 0; i < r->authority_count; i++)
        runtime_configure_authority(r, i);
    collect_own(r);
    *out = r;
    return 0;
}

struct runtime *runtime_ref(struct runtime *r)
{
    atomic_fetch_add(&r->refs, 1);
    return r;
}

void runtime_unref(struct runtime *r)
{
    if (r == NULL || atomic_fetch_sub(&r->refs, 1) != 1)
        return;
    for (size_t i = 0; i < r->listener_count; i++) {
        SSL_CTX_free(r->listeners[i].ctx);
        sockets_unref(r->listeners[i].sockets);
    }
    for (size_t i = 0; i < r->service_count; i++) {
        SSL_CTX_free(r->services[i].ctx);
        sockets_unref(r->services[i].sockets);
    }
    sockets_unref(r->admin);
    for (size_t i = 0; i < r->authority_count; i++) {
        authority_unref(r->authorities[i]);
        runtime_free_details(&r->details[i]);
    }
    signin_unref(r->signin);
    runtime_free_backends(r);
    free(r->listeners);
    free(r->services);
    free(r->authorities);
    free(r->details);
    free(r->own);
    settings_free(r->settings);
    free(r);
}
