/* What the relays that look into HTTP need of a service: a TLS context towards the mail server, and who signs
 * what clients are shown. Called by runtime.c. */
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "proto/hostport.h"
#include "runtime_impl.h"

static size_t index_of(const struct runtime *r, const struct service_settings *s)
{
    const struct service_settings *first = r->settings->services.items;
    return s == &r->settings->unnamed ? r->settings->services.count : (size_t)(s - first);
}

SSL_CTX *runtime_backend(const struct runtime *r, const struct service_settings *s)
{
    return r->backends[index_of(r, s)].ctx;
}

struct mint *runtime_mint(const struct runtime *r, const struct service_settings *s)
{
    return r->backends[index_of(r, s)].mint;
}

static int complain(const struct service_settings *s, const char *path, const char *why)
{
    char name[HOSTPORT_TEXT];
    if (s->name.port != 0)
        hostport_format(&s->name, name);
    fprintf(stderr, "%s: service %s: %s\n", path, s->name.port != 0 ? name : "without an entry", why);
    return -1;
}

static int open_backend(struct runtime_backend *b, const struct service_settings *s, const char *path)
{
    const struct tlsctx_client_options o = {
        .ca = s->ca,
        .verify = s->verify,
        .floor = s->backend_floor,
        .certificate = s->certificate,
        .key = s->key,
        .pins = (const uint8_t(*)[TLSCTX_PIN_BYTES])s->pins.items,
        .pin_count = s->pins.count,
    };
    char why[512];
    int rc = 0;
    if (tlsctx_new_client(&b->ctx, &o, why, sizeof why) < 0)
        rc = complain(s, path, why);
    if (s->inspect_ca != NULL &&
        mint_open(&b->mint, s->inspect_ca->certificate, s->inspect_ca->key, why, sizeof why) < 0)
        rc = complain(s, path, why);
    return rc;
}

int runtime_open_backends(struct runtime *r, const char *path)
{
    const struct settings *s = r->settings;
    const struct service_settings *v = s->services.items;
    int rc = 0;
    r->backend_count = s->services.count + 1;
    r->backends = mem_zalloc(r->backend_count * sizeof *r->backends);
    for (size_t i = 0; i < r->backend_count; i++) {
        if (open_backend(&r->backends[i], i < s->services.count ? &v[i] : &s->unnamed, path) < 0)
            rc = -1;
    }
    return rc;
}

void runtime_free_backends(struct runtime *r)
{
    for (size_t i = 0; i < r->backend_count; i++) {
        SSL_CTX_free(r->backends[i].ctx);
        mint_unref(r->backends[i].mint);
    }
    free(r->backends);
}
