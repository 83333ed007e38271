/* Authorities and sign-in made runnable: secrets read, TLS contexts made, stores opened. Called by runtime.c
 * in the main thread only. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/secret.h"
#include "runtime_impl.h"

#define SIGNATURE_MAX 65536

/* ---- what makes an authority the same one after a reload ---- */

/* A file that was replaced is another file. */
static void add_file(struct buf *b, const char *path)
{
    struct stat st;
    if (path != NULL && stat(path, &st) == 0)
        buf_printf(b, "|%s:%lld:%lld:%lld.%ld", path, (long long)st.st_ino, (long long)st.st_size,
                   (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
    else
        buf_printf(b, "|%s", path ? path : "");
}

static void make_signature(struct buf *b, const struct authority_settings *a)
{
    buf_init(b, SIGNATURE_MAX);
    if (a->store != NULL) {
        buf_printf(b, "store|%s|%s|%lld", a->id, a->store, a->url.text ? 0LL : (long long)a->timeout_ms);
        add_file(b, a->password_file);
    } else {
        buf_printf(b, "url|%s|%s|%d|%lld|%lld|%lld|%lld|%lld", a->id ? a->id : "", a->url.text, a->learn_id,
                   (long long)a->probe_ms, (long long)a->bypass_ms, (long long)a->cache_ms,
                   (long long)a->timeout_ms, (long long)a->connections);
        add_file(b, a->ca);
        add_file(b, a->shared_key_file);
        for (size_t i = 0; i < a->certificates.count; i++)
            add_file(b, ((const char *const *)a->certificates.items)[i]);
        for (size_t i = 0; i < a->keys.count; i++)
            add_file(b, ((const char *const *)a->keys.items)[i]);
    }
    buf_append(b, "", 1);
}

/* ---- opening ---- */

static int client_context(SSL_CTX **out, const struct authority_settings *a, char *why, size_t why_cap)
{
    *out = NULL;
    if (!a->url.tls)
        return 0;
    const struct tlsctx_client_options options = {
        .ca = a->ca,
        .verify = true,
        .floor = TLS1_2_VERSION,
        .certificate = a->certificates.count > 0 ? ((const char *const *)a->certificates.items)[0] : NULL,
        .key = a->keys.count > 0 ? ((const char *const *)a->keys.items)[0] : NULL,
    };
    return tlsctx_new_client(out, &options, why, why_cap);
}

static int open_new(struct authority **out, const struct authority_settings *a, const char *shared_key,
                    const char *signature, char *why, size_t why_cap)
{
    SSL_CTX *ctx;
    struct store_options store;
    int rc = client_context(&ctx, a, why, why_cap);
    if (rc < 0)
        return rc;
    settings_store(a, &store);
    const struct authority_options options = {
        .id = a->id,
        .store = a->store,
        .store_options = store,
        .url = a->url.text,
        .tls = a->url.tls,
        .origin = a->url.origin,
        .path = a->url.path,
        .ctx = ctx,
        .shared_key = shared_key,
        .learn_id = a->learn_id,
        .probe_ms = a->probe_ms,
        .bypass_ms = a->bypass_ms,
        .cache_ms = a->cache_ms,
        .timeout_ms = a->timeout_ms,
        .connections = (size_t)a->connections,
        .signature = signature,
    };
    rc = authority_open(out, &options, why, why_cap);
    SSL_CTX_free(ctx);
    return rc;
}

static void fill_details(struct runtime *r, struct runtime_authority *d)
{
    const struct authority_settings *a = d->settings;
    d->access = (struct access_rules){
        .allow = a->allow.items,
        .allow_count = a->allow.count,
        .hosts = a->hosts.items,
        .host_count = a->hosts.count,
        .shared_key = d->shared_key,
        .client_certificate = a->client_ca != NULL,
        .ssl_only = a->ssl_only,
    };
    d->rules = (struct issue_rules){
        .background_ms = r->settings->policy.ticket_expiration_ms,
        .session_ms = a->session_ms,
        .refresh_ms = a->refresh_ms,
    };
}

static bool take_over(struct runtime *r, size_t i, const struct runtime *old, const char *signature)
{
    for (size_t j = 0; old != NULL && j < old->authority_count; j++) {
        if (strcmp(old->authorities[j]->signature, signature) == 0) {
            r->authorities[i] = authority_ref(old->authorities[j]);
            return true;
        }
    }
    return false;
}

int runtime_open_authority(struct runtime *r, size_t i, const char *path, const struct runtime *old)
{
    struct runtime_authority *d = &r->details[i];
    const struct authority_settings *a = d->settings;
    struct buf signature;
    char why[512], key[SECRET_MAX];
    int rc = 0;

    if (a->shared_key_file != NULL) {
        rc = secret_read(a->shared_key_file, key, why, sizeof why);
        if (rc == 0)
            d->shared_key = mem_strdup(key);
        mem_wipe(key, sizeof key);
    }
    make_signature(&signature, a);
    if (rc == 0 && !take_over(r, i, old, (const char *)signature.data))
        rc = open_new(&r->authorities[i], a, d->shared_key, (const char *)signature.data, why, sizeof why);
    buf_deinit(&signature);
    if (rc < 0)
        fprintf(stderr, "%s: authority %s: %s\n", path, a->id != NULL ? a->id : a->url.text, why);
    else
        fill_details(r, d);
    return rc;
}

void runtime_configure_authority(struct runtime *r, size_t i)
{
    if (r->authorities[i]->store == NULL)
        return;
    struct store_options options;
    settings_store(r->details[i].settings, &options);
    store_configure(r->authorities[i]->store, &options);
}

void runtime_free_details(struct runtime_authority *d)
{
    if (d->shared_key != NULL)
        mem_wipe(d->shared_key, strlen(d->shared_key));
    free(d->shared_key);
}

/* ---- sign-in ---- */

int runtime_open_signin(struct runtime *r, const char *path)
{
    const struct sign_in_settings *in = r->settings->sign_in;
    char why[512], password[SECRET_MAX] = "";
    struct signin_ldap ldap;
    int rc = 0;

    if (in == NULL)
        return 0;
    if (in->ldap != NULL) {
        if (in->ldap->bind_password_file != NULL)
            rc = secret_read(in->ldap->bind_password_file, password, why, sizeof why);
        settings_ldap(in->ldap, password[0] != '\0' ? password : NULL, &ldap);
    }
    const struct signin_options options = {
        .htpasswd = in->htpasswd, .ldap = in->ldap != NULL ? &ldap : NULL, .threads = (unsigned)in->threads};
    if (rc == 0)
        rc = signin_open(&r->signin, &options, why, sizeof why);
    mem_wipe(password, sizeof password);
    if (rc < 0)
        fprintf(stderr, "%s: sign-in: %s\n", path, why);
    return rc;
}
