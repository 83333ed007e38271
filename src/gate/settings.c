/* Reading the configuration, and the checks that go beyond one value. Read by the program and by
 * every test; knows nothing of what the settings do. */
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "net/tlsctx.h"
#include "proto/tlswatch.h"
#include "settings_impl.h"
#include "sta/signin.h"
#include "sta/store.h"

/* ---- checks across values ---- */

static void check_readable(struct conf *c, const char *const *path, bool strict, const char *hint)
{
    if (*path == NULL || access(*path, R_OK) == 0)
        return;
    const char *why = strerror(errno);
    if (errno != ENOENT)
        hint = "";
    if (strict)
        conf_error(c, path, "%s cannot be read: %s%s", *path, why, hint);
    else
        conf_warning(c, path, "%s cannot be read: %s%s", *path, why, hint);
}

static void check_file(struct conf *c, const char *const *path, bool strict)
{
    check_readable(c, path, strict, "");
}

/* Whether a key is its certificate's, as OpenSSL sees it. */
static void check_pair(struct conf *c, const char *const *certificate, const char *const *key)
{
    const struct tlsctx_options options = {
        .certificates = certificate, .keys = key, .count = 1, .floor = TLS1_2_VERSION};
    SSL_CTX *ctx;
    char why[512];
    int bad;
    if (access(*certificate, R_OK) != 0 || access(*key, R_OK) != 0)
        return;
    if (tlsctx_new_server(&ctx, &options, &bad, why, sizeof why) == 0)
        SSL_CTX_free(ctx);
    else /* "FILE: what is wrong": which of the two it is about */
        conf_error(c, strncmp(why, *certificate, strlen(*certificate)) == 0 ? certificate : key, "%s", why);
}

/* Certificates and their keys: one of each for the other, all there. */
static void check_pairs(struct conf *c, const struct conf_list *certificates, const struct conf_list *keys,
                        bool strict)
{
    static const char hint[] = "; `make certs` makes the lab's certificates";
    if (certificates->count != keys->count && conf_given(c, certificates) && conf_given(c, keys))
        conf_error(c, keys, "key: %zu keys for %zu certificates: write one key for each, in the same order",
                   keys->count, certificates->count);
    for (size_t i = 0; i < certificates->count; i++)
        check_readable(c, &((const char *const *)certificates->items)[i], strict, hint);
    for (size_t i = 0; i < keys->count; i++)
        check_readable(c, &((const char *const *)keys->items)[i], strict, hint);
    for (size_t i = 0; certificates->count == keys->count && i < keys->count; i++)
        check_pair(c, &((const char *const *)certificates->items)[i], &((const char *const *)keys->items)[i]);
}

static void check_listener(struct settings *s, struct listener_settings *l, bool strict)
{
    const int *doors = l->door_list.items;

    l->tls_floor = tls_version_parse(settings_floor_names[l->tls_floor_index]);
    l->doors = 0;
    for (size_t i = 0; i < l->door_list.count; i++)
        l->doors |= 1u << doors[i];
    if (l->doors == 0)
        conf_error(s->conf, &l->door_list, "doors: a listener needs at least one of socks, connect");
    check_pairs(s->conf, &l->certificates, &l->keys, strict);
}

static void check_listeners(struct settings *s, bool strict)
{
    struct listener_settings *l = s->listeners.items;
    for (size_t i = 0; i < s->listeners.count; i++) {
        check_listener(s, &l[i], strict);
        for (size_t j = 0; l[i].address_text != NULL && j < i; j++) {
            const char *text = l[i].address_text;
            size_t n = strlen(text);
            if (l[j].address_text != NULL && strcmp(l[j].address_text, text) == 0 &&
                strcmp(text + n - 2, ":0") != 0)
                conf_error(s->conf, &l[i].address, "address: %s is taken by an earlier listener", text);
        }
    }
}

/* ---- authorities ---- */

static bool is_loopback(const struct sockaddr_storage *sa)
{
    if (sa->ss_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)sa)->sin_addr.s_addr) >> 24 == 127;
    return sa->ss_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)sa)->sin6_addr);
}

/* Keys that mean something for one kind of authority only. */
static void check_kind(struct settings *s, const struct authority_settings *a, bool remote)
{
#define AT(member) offsetof(struct authority_settings, member)
    static const struct {
        const char *name;
        size_t offset;
        bool remote;
    } keys[] = {
        {"ca", AT(ca), true},
        {"learn-id", AT(learn_id), true},
        {"probe", AT(probe_ms), true},
        {"bypass", AT(bypass_ms), true},
        {"connections", AT(connections), true},
        {"cache", AT(cache_ms), true},
        {"password-file", AT(password_file), false},
        {"keep-ended", AT(tombstone_ms), false},
        {"max-tickets", AT(max_tickets.per_user), false},
        {"max-tickets", AT(max_tickets.per_device), false},
        {"max-tickets", AT(max_tickets.total), false},
        {"max-tickets", AT(max_tickets.when_full), false},
        {"session-lifetime", AT(session_ms), false},
        {"refreshable-lifetime", AT(refresh_ms), false},
        {"requested-class", AT(requested_class), false},
        {"listen", AT(listen), false},
        {"ssl-only", AT(ssl_only), false},
        {"allow", AT(allow), false},
        {"hosts", AT(hosts), false},
        {"client-ca", AT(client_ca), false},
    };
#undef AT
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        const void *field = (const char *)a + keys[i].offset;
        if (keys[i].remote != remote && conf_given(s->conf, field))
            conf_error(s->conf, field, "%s: belongs to an authority with %s, and this one has %s",
                       keys[i].name, keys[i].remote ? "url" : "store", remote ? "url" : "store");
    }
}

/* Passwords must not cross a network in clear, and no web page should find a service where none is expected.
 */
static void check_service_urls(struct settings *s, const struct authority_settings *a)
{
    const struct http_url *u = a->listen.items;
    for (size_t i = 0; i < a->listen.count; i++) {
        if (u[i].text == NULL)
            continue;
        if (u[i].tls && !conf_written(s->conf, &a->certificates))
            conf_error(s->conf, &u[i], "listen: %s needs certificate and key", u[i].text);
        if (!u[i].tls && a->client_ca != NULL)
            conf_warning(s->conf, &u[i],
                         "listen: client-ca demands client certificates, which %s cannot ask for", u[i].text);
        if (!u[i].tls && !is_loopback(&u[i].address) && s->sign_in != NULL)
            conf_error(
                s->conf, &u[i],
                "listen: %s would take passwords in clear off this machine: use https, or leave sign-in out",
                u[i].text);
        else if (!u[i].tls && !is_loopback(&u[i].address))
            conf_warning(s->conf, &u[i], "listen: tickets cross the network in clear on %s: use https",
                         u[i].text);
    }
}

/* An authority may have neither of them. */
static void check_key(struct settings *s, const struct authority_settings *a)
{
    bool certificate = conf_written(s->conf, &a->certificates), key = conf_written(s->conf, &a->keys);
    if (certificate && !key)
        conf_error(s->conf, &a->certificates, "certificate: its key is missing");
    if (key && !certificate)
        conf_error(s->conf, &a->keys, "key: whose is it? certificate is missing");
}

static void check_authority(struct settings *s, struct authority_settings *a, bool strict)
{
    bool store = conf_written(s->conf, &a->store), url = conf_written(s->conf, &a->url);
    if (store == url)
        conf_error(s->conf, store ? (void *)&a->url : (void *)a,
                   store
                       ? "url: an authority has a store or a url, not both"
                       : "authorities: the key \"store\" is missing, or \"url\" for an authority elsewhere");
    else
        check_kind(s, a, url);
    if (store && !conf_written(s->conf, &a->id))
        conf_error(s->conf, a, "authorities: the key \"id\" is missing");
    if (url && !a->learn_id && !conf_written(s->conf, &a->id))
        conf_error(s->conf, &a->learn_id, "learn-id: without it, id has to be there");
    if (a->password_file != NULL && a->store != NULL && strncmp(a->store, "redis:", 6) != 0)
        conf_error(s->conf, &a->password_file, "password-file: belongs to store: redis://HOST:PORT");
    if (url && a->url.text != NULL && !a->url.tls && (a->ca != NULL || a->certificates.count > 0))
        conf_error(s->conf, &a->url, "url: ca, certificate and key are for https");
    if (url && a->certificates.count > 1)
        conf_error(s->conf, &a->certificates,
                   "certificate: a remote authority is shown one certificate only");
    check_key(s, a);
    check_pairs(s->conf, &a->certificates, &a->keys, strict);
    check_file(s->conf, &a->password_file, strict);
    check_file(s->conf, &a->client_ca, strict);
    check_file(s->conf, &a->ca, strict);
    check_file(s->conf, &a->shared_key_file, strict);
    check_service_urls(s, a);
}

/* What two authorities must not share. A fleet shares a store, but by processes of their own. */
static void check_two_authorities(struct settings *s, const struct authority_settings *a,
                                  const struct authority_settings *b)
{
    if (a->id != NULL && b->id != NULL && strcmp(a->id, b->id) == 0)
        conf_error(s->conf, &b->id, "id: %s is an earlier authority's; IDs must differ", b->id);
    if (a->store != NULL && b->store != NULL && strcmp(a->store, b->store) == 0 &&
        strcmp(a->store, "memory:") != 0)
        conf_error(s->conf, &b->store, "store: an earlier authority keeps its tickets there");
    if (a->url.text != NULL && b->url.text != NULL && strcmp(a->url.text, b->url.text) == 0)
        conf_error(s->conf, &b->url, "url: this is an earlier authority's");
}

static in_port_t port_of(const struct sockaddr_storage *sa)
{
    return sa->ss_family == AF_INET6 ? ((const struct sockaddr_in6 *)sa)->sin6_port
                                     : ((const struct sockaddr_in *)sa)->sin_port;
}

/* Whether two would listen on one address; port 0 is another one each time. */
static bool is_same_address(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
    return a->ss_family != AF_UNSPEC && port_of(a) != 0 && memcmp(a, b, sizeof *a) == 0;
}

/* Up to, and without, this one. */
static bool is_taken(const struct settings *s, const struct http_url *url)
{
    const struct listener_settings *l = s->listeners.items;
    const struct authority_settings *a = s->authorities.items;
    for (size_t i = 0; i < s->listeners.count; i++) {
        if (is_same_address(&url->address, &l[i].address))
            return true;
    }
    for (size_t i = 0; i < s->authorities.count; i++) {
        const struct http_url *u = a[i].listen.items;
        for (size_t k = 0; k < a[i].listen.count; k++) {
            if (&u[k] == url)
                return false;
            if (is_same_address(&url->address, &u[k].address))
                return true;
        }
    }
    return false;
}

static void check_service_addresses(struct settings *s, const struct authority_settings *a)
{
    const struct http_url *u = a->listen.items;
    for (size_t i = 0; i < a->listen.count; i++) {
        if (u[i].text != NULL && is_taken(s, &u[i]))
            conf_error(s->conf, &u[i], "listen: the address of %s is taken by an earlier listener",
                       u[i].text);
    }
}

static void check_authorities(struct settings *s, bool strict)
{
    struct authority_settings *a = s->authorities.items;
    bool serves = s->listeners.count > 0;
    for (size_t i = 0; i < s->authorities.count; i++) {
        check_authority(s, &a[i], strict);
        check_service_addresses(s, &a[i]);
        for (size_t j = 0; j < i; j++)
            check_two_authorities(s, &a[j], &a[i]);
        serves |= conf_written(s->conf, &a[i].listen);
    }
    /* a document that could not be read at all has been complained of */
    if (serves || s->authorities.count == 0)
        return;
    if (!conf_written(s->conf, &s->listeners))
        conf_error(s->conf, &s->listeners,
                   "the key \"listeners\" is missing, and no authority listens: there is nothing to serve");
    else if (conf_ok(s->conf))
        conf_error(s->conf, &s->listeners, "listeners: needs at least one item, as no authority listens");
}

/* ---- sign-in ---- */

/* Its content too: who is named in it decides whether a gateway can start. */
static void check_htpasswd(struct settings *s, const char *const *path, bool strict)
{
    char why[512];
    check_file(s->conf, path, strict);
    if (*path != NULL && access(*path, R_OK) == 0 && signin_htpasswd_check(*path, why, sizeof why) < 0)
        conf_error(s->conf, path, "htpasswd: %s", why);
}

static void check_ldap(struct settings *s, struct sign_in_ldap_settings *in, bool strict)
{
    const char **names = conf_alloc(s->conf, (in->name_attributes.count + 1) * sizeof *names);
    if (in->name_attributes.count > 0)
        memcpy(names, in->name_attributes.items, in->name_attributes.count * sizeof *names);
    in->names = names;
    struct signin_ldap l;
    const char *why;
    bool has_password = in->bind_dn != NULL && in->bind_password_file != NULL;
    settings_ldap(in, has_password ? "-" : NULL, &l);
    if (l.url != NULL && l.base != NULL && signin_ldap_check(&l, &why) < 0)
        conf_error(s->conf, &in->url, "ldap: %s", why);
    if (l.bind_dn == NULL && in->bind_password_file != NULL)
        conf_error(s->conf, &in->bind_password_file,
                   "bind-password-file: whose password is it? bind-dn is missing");
    check_file(s->conf, &in->ca, strict);
    check_file(s->conf, &in->bind_password_file, strict);
    if (strncmp(in->url ? in->url : "", "ldap://", 7) == 0 && !in->starttls)
        conf_warning(s->conf, &in->url,
                     "ldap: passwords go to the directory in clear: use ldaps:// or starttls: yes");
}

static void check_sign_in(struct settings *s, bool strict)
{
    const struct sign_in_settings *in = s->sign_in;
    if (in == NULL)
        return;
    if ((in->htpasswd != NULL) == (in->ldap != NULL))
        conf_error(s->conf, in->ldap != NULL ? (const void *)in->ldap : (const void *)&in->htpasswd,
                   "sign-in: it is checked against htpasswd or ldap: write one of them");
    check_htpasswd(s, &in->htpasswd, strict);
    if (in->ldap != NULL)
        check_ldap(s, in->ldap, strict);
}

void settings_ldap(const struct sign_in_ldap_settings *in, const char *password, struct signin_ldap *out)
{
    *out = (struct signin_ldap){
        .url = in->url,
        .starttls = in->starttls,
        .ca = in->ca,
        .bind_dn = in->bind_dn,
        .bind_password = password,
        .base = in->base,
        .filter = in->filter,
        .group_filter = in->group_filter,
        .group_base = in->group_base,
        .user_attribute = in->user_attribute,
        .fewer_variations = in->name_variations == 1,
        .name_attributes = in->names,
        .timeout_ms = in->timeout_ms,
    };
}

void settings_store(const struct authority_settings *in, struct store_options *out)
{
    const struct max_tickets_settings *m = &in->max_tickets;
    *out = (struct store_options){
        .tombstone_ms = in->tombstone_ms,
        .limits = {.per_user = (size_t)m->per_user,
                   .per_device = (size_t)m->per_device,
                   .total = (size_t)m->total,
                   .evict_oldest = m->when_full == 1},
        .password_file = in->password_file,
        .timeout_ms = in->timeout_ms,
    };
}

/* ---- services ---- */

/* Whether requests for a service are looked into: by its relay, or as there is a listener that takes them
 * itself. */
static bool looks_inside(const struct settings *s, const struct service_settings *v)
{
    bool looks = v->relay != RELAY_OPAQUE;
    const struct listener_settings *l = s->listeners.items;
    for (size_t i = 0; i < s->listeners.count; i++)
        looks |= (l[i].doors & 1u << DOOR_ACTIVESYNC) != 0;
    return looks;
}

static void check_http_keys(struct settings *s, const struct service_settings *v)
{
#define AT(member) offsetof(struct service_settings, member)
    static const struct {
        const char *name;
        size_t offset;
    } keys[] = {
        {"paths", AT(paths)},
        {"activesync-floor", AT(activesync_floor)},
        {"activesync-ceiling", AT(activesync_ceiling)},
        {"devices", AT(devices)},
        {"bind-user", AT(bind_user)},
        {"max-heartbeat", AT(max_heartbeat_ms)},
        {"forward", AT(forward_list)},
        {"backend-tls", AT(backend_tls)},
        {"backend-tls-floor", AT(backend_floor_index)},
        {"ca", AT(ca)},
        {"verify", AT(verify)},
        {"pin", AT(pins)},
        {"certificate", AT(certificate)},
        {"key", AT(key)},
    };
#undef AT
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        const void *field = (const char *)v + keys[i].offset;
        if (conf_given(s->conf, field))
            conf_error(s->conf, field,
                       "%s: nothing is looked into here: needs relay http or inspect, or a listener with the "
                       "activesync door",
                       keys[i].name);
    }
}

static void check_inspect_ca(struct settings *s, struct service_settings *v, bool strict)
{
    if (v->relay == RELAY_INSPECT && v->inspect_ca == NULL)
        conf_error(s->conf, &v->relay, "relay: inspect needs inspect-ca: who signs what clients are shown");
    if (v->relay != RELAY_INSPECT && v->inspect_ca != NULL)
        conf_error(s->conf, v->inspect_ca, "inspect-ca: belongs to relay inspect");
    if (v->relay == RELAY_INSPECT && v->tls_floor == 0)
        conf_error(s->conf, &v->tls_floor_index, "tls-floor: relay inspect is for TLS: none is relay http");
    if (v->inspect_ca != NULL) {
        check_file(s->conf, &v->inspect_ca->certificate, strict);
        check_file(s->conf, &v->inspect_ca->key, strict);
    }
}

static void check_http_service(struct settings *s, struct service_settings *v, bool strict)
{
    const int *fields = v->forward_list.items;
    for (size_t i = 0; i < v->forward_list.count; i++)
        v->forward |= 1u << fields[i];
    v->backend_floor = tls_version_parse(settings_floor_names[v->backend_floor_index]);
    check_inspect_ca(s, v, strict);
    if (v->relay == RELAY_HTTP && conf_written(s->conf, &v->tls_floor_index))
        conf_warning(s->conf, &v->tls_floor_index,
                     "tls-floor: with relay http there is no TLS in the tunnel that could be held to it");
    if (!looks_inside(s, v)) {
        check_http_keys(s, v);
        return;
    }
    if (v->backend_floor == TLS_VERSION_SSL3)
        conf_error(s->conf, &v->backend_floor_index,
                   "backend-tls-floor: the TLS library of this build speaks no SSLv3: tls1.0 is the lowest");
    if (v->activesync_floor != 0 && v->activesync_ceiling != 0 && v->activesync_ceiling < v->activesync_floor)
        conf_error(s->conf, &v->activesync_ceiling, "activesync-ceiling: lies below activesync-floor");
    if ((v->certificate != NULL) != (v->key != NULL))
        conf_error(s->conf, v->certificate != NULL ? &v->certificate : &v->key,
                   "certificate: certificate and key go together");
    if (!v->verify && v->ca != NULL)
        conf_error(s->conf, &v->ca, "ca: verify is no, so nothing is checked against it");
    if (!v->verify && v->pins.count == 0)
        conf_warning(
            s->conf, &v->verify,
            "verify: ANY certificate is taken for the mail server's; who sits between reads all mail "
            "and passwords");
    check_file(s->conf, &v->ca, strict);
    check_file(s->conf, &v->certificate, strict);
    check_file(s->conf, &v->key, strict);
}

static bool is_listed(const struct settings *s, const struct hostport *name)
{
    const struct hostport *listed = s->policy.services.items;
    for (size_t i = 0; i < s->policy.services.count; i++) {
        if (hostport_equal(&listed[i], name) || (!name->wildcard && hostport_matches(&listed[i], name)))
            return true;
    }
    return false;
}

static void check_services(struct settings *s, bool strict)
{
    struct service_settings *v = s->services.items;
    for (size_t i = 0; i < s->services.count; i++) {
        v[i].tls_floor = tls_version_parse(settings_service_floor_names[v[i].tls_floor_index]);
        check_http_service(s, &v[i], strict);
        for (size_t j = 0; j < i; j++) {
            if (hostport_equal(&v[i].name, &v[j].name))
                conf_error(s->conf, &v[i].name, "name: this service stands in the list twice");
        }
        if (conf_ok(s->conf) && v[i].name.port != 0 && !is_listed(s, &v[i].name)) {
            char text[HOSTPORT_TEXT];
            hostport_format(&v[i].name, text);
            conf_warning(s->conf, &v[i].name,
                         "name: %s is not in background-network-services, so no client can reach it", text);
        }
    }
    /* entries with mistakes are left out of the list: no word about what they would have made of it */
    if (conf_ok(s->conf) && s->listeners.count > 0 && s->policy.network_access == NETWORK_TUNNELED &&
        s->policy.services.count == 0)
        conf_warning(
            s->conf, &s->policy.services,
            "background-network-services is empty: no client can reach anything through this gateway");
}

/* The same as the schema's defaults. */
static void set_unnamed(struct settings *s)
{
    static const char *const paths[] = {"activesync", "autodiscover"};
    s->unnamed = (struct service_settings){
        .tls_floor = TLS_VERSION_12,
        .paths = {(void *)(uintptr_t)paths, 2},
        .verify = true,
        .backend_floor = TLS_VERSION_12,
    };
}

struct settings *settings_read(const char *path, bool strict)
{
    struct settings *s = mem_zalloc(sizeof *s);
    struct conf *c = conf_read(path, &settings_schema, s);
    s->conf = c; /* conf_read zeroes the struct first */
    set_unnamed(s);
    check_listeners(s, strict);
    check_authorities(s, strict);
    check_sign_in(s, strict);
    check_services(s, strict);
    return s;
}

void settings_free(struct settings *s)
{
    if (s == NULL)
        return;
    conf_free(s->conf);
    free(s);
}

bool settings_ok(const struct settings *s)
{
    return conf_ok(s->conf);
}

const struct service_settings *settings_service(const struct settings *s, const struct hostport *target)
{
    const struct service_settings *v = s->services.items;
    const struct service_settings *found = NULL;
    for (size_t i = 0; i < s->services.count; i++) {
        if (!v[i].name.wildcard && hostport_equal(&v[i].name, target))
            return &v[i];
        if (found == NULL && hostport_matches(&v[i].name, target))
            found = &v[i];
    }
    return found != NULL ? found : &s->unnamed;
}
