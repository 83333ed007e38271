/* Making a runtime out of settings. Called by gateway.c at start and on reload, in the main thread only. */
#include "gate/runtime.h"

#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"

static void sockets_unref(struct sockets *s)
{
    if (s == NULL || atomic_fetch_sub(&s->refs, 1) != 1)
        return;
    for (unsigned i = 0; i < s->count; i++) {
        if (s->fds[i] >= 0)
            close(s->fds[i]);
    }
    free(s->address_text);
    free(s);
}

/* Binds one socket for each worker; the first one settles the port where it was 0. */
static int sockets_open(struct sockets **out, const struct listener_settings *l, unsigned workers)
{
    struct sockets *s = mem_zalloc(sizeof *s + workers * sizeof s->fds[0]);
    int rc = 0;

    atomic_init(&s->refs, 1);
    s->address_text = mem_strdup(l->address_text);
    s->bound = l->address;
    s->count = workers;
    for (unsigned i = 0; i < workers; i++)
        s->fds[i] = -1;
    for (unsigned i = 0; rc == 0 && i < workers; i++) {
        rc = listener_bind((const struct sockaddr *)&s->bound, i == 0, &s->fds[i]);
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

/* Takes over the sockets of a listener written in the same way. Two that both say "any port" are two: none is
 * taken twice. */
static bool keep_sockets(struct runtime *r, size_t i, const struct runtime *old)
{
    struct runtime_listener *l = &r->listeners[i];
    for (size_t j = 0; old != NULL && j < old->listener_count; j++) {
        struct sockets *s = old->listeners[j].sockets;
        bool taken = strcmp(s->address_text, l->settings->address_text) != 0;
        for (size_t k = 0; k < i; k++)
            taken |= r->listeners[k].sockets == s;
        if (taken)
            continue;
        atomic_fetch_add(&s->refs, 1);
        l->sockets = s;
        return true;
    }
    return false;
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
    if (keep_sockets(r, i, old))
        return 0;
    rc = sockets_open(&l->sockets, l->settings, workers);
    if (rc < 0)
        fprintf(stderr, "%s: listener %s: %s%s\n", path, l->settings->address_text, err_text(rc),
                rc == -EACCES ? " (ports below 1024 need CAP_NET_BIND_SERVICE)" : "");
    return rc;
}

static int open_authority(struct runtime *r, size_t i, const char *path, const struct runtime *old)
{
    const struct authority_settings *a =
        &((const struct authority_settings *)r->settings->authorities.items)[i];
    for (size_t j = 0; old != NULL && j < old->authority_count; j++) {
        if (strcmp(old->authorities[j]->id, a->id) == 0 &&
            strcmp(old->authorities[j]->store_url, a->store) == 0) {
            r->authorities[i] = authority_ref(old->authorities[j]);
            return 0;
        }
    }
    char why[512];
    const struct store_options options = {.tombstone_ms = a->tombstone_ms};
    int rc = authority_open(&r->authorities[i], a->id, a->store, &options, why, sizeof why);
    if (rc < 0)
        fprintf(stderr, "%s: authority %s: %s\n", path, a->id, why);
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
    for (size_t i = 0; i < r->listener_count; i++) {
        const struct sockaddr_storage *bound = &r->listeners[i].sockets->bound;
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

int runtime_new(struct runtime **out, struct settings *settings, const char *path, struct runtime *old,
                unsigned workers, const uint8_t *ticket_keys)
{
    struct runtime *r = mem_zalloc(sizeof *r);
    int failed = 0;

    atomic_init(&r->refs, 1);
    r->settings = settings;
    r->listener_count = settings->listeners.count;
    r->listeners = mem_zalloc(r->listener_count * sizeof *r->listeners);
    r->authority_count = settings->authorities.count;
    r->authorities = mem_zalloc(r->authority_count * sizeof *r->authorities);
    /* every complaint is shown, not only the first */
    for (size_t i = 0; i < r->listener_count; i++) {
        int rc = open_listener(r, i, path, old, workers, ticket_keys);
        failed = failed ? failed : rc;
    }
    for (size_t i = 0; i < r->authority_count; i++) {
        int rc = open_authority(r, i, path, old);
        failed = failed ? failed : rc;
    }
    if (failed < 0) {
        runtime_unref(r);
        return failed;
    }
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
    for (size_t i = 0; i < r->authority_count; i++)
        authority_unref(r->authorities[i]);
    free(r->listeners);
    free(r->authorities);
    free(r->own);
    settings_free(r->settings);
    free(r);
}
