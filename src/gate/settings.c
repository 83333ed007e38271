/* The schema of the configuration file, and the checks that go beyond one value. Read by the program and by
 * every test; knows nothing of what the settings do. */
#include "gate/settings.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "proto/ticket.h"
#include "proto/tlswatch.h"

#define SECOND 1000LL
#define HOUR   (3600 * SECOND)
#define YEAR   (366 * 24 * HOUR)

static const char *const door_names[] = {"socks", "connect", NULL};
static const char *const floor_names[] = {"ssl3", "tls1.0", "tls1.1", "tls1.2", "tls1.3", NULL};
static const char *const service_floor_names[] = {"none",   "ssl3",   "tls1.0", "tls1.1",
                                                  "tls1.2", "tls1.3", NULL};
static const char *const access_names[] = {"unrestricted", "tunneled", "blocked", NULL};
static const char *const level_names[] = {"tls", "sslv3-and-tls", NULL};
static const char *const relay_names[] = {"opaque", NULL};
static const char *const sni_names[] = {"any", "match", NULL};
static const char *const format_names[] = {"auto", "json", "text", NULL};
static const char *const log_level_names[] = {"error", "warn", "info", "debug", NULL};

/* ---- custom values ---- */

static int parse_listen_address(struct conf *c, const char *text, size_t len, void *field, const char **why)
{
    struct hostport hp;
    struct listener_settings *l = list_entry(field, struct listener_settings, address);
    /* port 0 is good here, and only here: try the text with another port in its place */
    char *copy = conf_alloc(c, len + 2);
    memcpy(copy, text, len);
    bool any_port = len > 2 && strcmp(copy + len - 2, ":0") == 0;
    if (any_port)
        copy[len - 1] = '1';
    int rc = hostport_parse(&hp, copy, strlen(copy), 0, why);
    if (rc == 0 && hp.kind == HOSTPORT_NAME && strcmp(hp.host, "localhost") == 0) {
        strcpy(hp.host, "127.0.0.1");
        hp.kind = HOSTPORT_IPV4;
    }
    if (rc == 0 && any_port)
        hp.port = 0;
    if (rc == 0)
        rc = hostport_sockaddr(&hp, &l->address);
    if (rc == ERR_UNSUPPORTED)
        *why = "a listener's address is an IP address and a port, such as 127.0.0.1:8443 or [::1]:8443";
    if (any_port)
        copy[len - 1] = '0';
    l->address_text = copy;
    return rc;
}

static int parse_hostport(struct conf *c, const char *text, size_t len, void *field, const char **why)
{
    (void)c;
    return hostport_parse(field, text, len, HOSTPORT_ALLOW_BLANKS, why);
}

static int parse_service(struct conf *c, const char *text, size_t len, void *field, const char **why)
{
    (void)c;
    return hostport_parse(field, text, len, HOSTPORT_ALLOW_BLANKS | HOSTPORT_ALLOW_WILDCARD, why);
}

static int parse_authority_id(struct conf *c, const char *text, size_t len, void *field, const char **why)
{
    struct ticket_string t;
    char probe[TICKET_STRING_MAX];
    *why = "an authority's ID is 1 to 16 letters and digits, such as STA0A1B2C3D4E5F";
    if (len == 0 || len > TICKET_AUTHORITY_MAX || strlen(text) != len)
        return ERR_SYNTAX;
    /* the grammar of IDs is the ticket parser's: ask it */
    int n = snprintf(probe, sizeof probe, ";40;%s;%030d", text, 0);
    if (ticket_parse(&t, probe, (size_t)n, NULL) < 0)
        return ERR_SYNTAX;
    char *id = conf_alloc(c, len + 1);
    memcpy(id, text, len);
    *(const char **)field = id;
    return 0;
}

/* "lmdb:PATH" with PATH relative to the file's folder, "memory:" (or "memory": with its colon it needs quotes
 * in YAML). */
static int parse_store(struct conf *c, const char *text, size_t len, void *field, const char **why)
{
    bool memory = strcmp(text, "memory:") == 0 || strcmp(text, "memory") == 0;
    *why = "a store is lmdb:PATH (survives restarts) or memory (lost when the gateway ends)";
    if (!memory && (strncmp(text, "lmdb:", 5) != 0 || len == 5))
        return ERR_SYNTAX;
    const char *path = memory ? "" : conf_path(c, text + 5);
    size_t size = strlen(path) + sizeof "memory:";
    char *url = conf_alloc(c, size);
    snprintf(url, size, "%s%s", memory ? "memory:" : "lmdb:", path);
    *(const char **)field = url;
    return 0;
}

/* ---- the schema ---- */

#define AT(type, member) offsetof(struct type, member)

static const struct conf_key listener_keys[] = {
    {"address", CONF_CUSTOM, AT(listener_settings, address), .flags = CONF_REQUIRED,
     .parse = parse_listen_address,
     .help = "IP address and port to listen on; port 0 takes a free one, which the ready line tells"},
    {"certificate", CONF_PATH, AT(listener_settings, certificates), .flags = CONF_REQUIRED | CONF_LIST,
     .help = "PEM file, leaf first; a list for RSA and ECDSA side by side"},
    {"key", CONF_PATH, AT(listener_settings, keys), .flags = CONF_REQUIRED | CONF_LIST,
     .help = "PEM file of the private key, one for each certificate, in the same order"},
    {"doors", CONF_ENUM, AT(listener_settings, door_list), .flags = CONF_LIST | CONF_COMMAS,
     .names = door_names, .def = "socks,connect", .help = "what clients may speak inside TLS"},
    {"tls-floor", CONF_ENUM, AT(listener_settings, tls_floor_index), .names = floor_names, .def = "tls1.2",
     .help = "lowest TLS version a client may offer"},
    {0},
};
static const struct conf_section listener_section = {"listeners", sizeof(struct listener_settings),
                                                     listener_keys};

static const struct conf_key authority_keys[] = {
    {"id", CONF_CUSTOM, AT(authority_settings, id), .flags = CONF_REQUIRED, .parse = parse_authority_id,
     .help = "the STA ID that tickets of this authority carry"},
    {"store", CONF_CUSTOM, AT(authority_settings, store), .flags = CONF_REQUIRED, .parse = parse_store,
     .help = "lmdb:PATH, a folder, or memory:"},
    {"keep-ended", CONF_DURATION, AT(authority_settings, tombstone_ms), .def = "24h", .min = SECOND,
     .max = YEAR, .help = "how long a ticket that ended is remembered as expired, used or revoked"},
    {"listen", CONF_STRING, 0, .flags = CONF_UNSUPPORTED | CONF_LIST, .help = "the STA XML service"},
    {"url", CONF_STRING, 0, .flags = CONF_UNSUPPORTED, .help = "a remote authority"},
    {0},
};
static const struct conf_section authority_section = {"authorities", sizeof(struct authority_settings),
                                                      authority_keys};

static const struct conf_key policy_keys[] = {
    {"network-access", CONF_ENUM, AT(policy_settings, network_access), .names = access_names,
     .def = "tunneled", .help = "only tunneled lets clients through this gateway"},
    {"background-network-services", CONF_CUSTOM, AT(policy_settings, services),
     .flags = CONF_LIST | CONF_COMMAS, .parse = parse_service, .custom_size = sizeof(struct hostport),
     .hint = "write \"mail.example.com:443\" in quotes",
     .help = "host:port list of what may be reached; *.example.com:443 takes all names below"},
    {"background-network-service-gateway", CONF_CUSTOM, AT(policy_settings, gateway), .parse = parse_hostport,
     .help = "host:port of the gateway that clients are told to use; told to clients, not enforced yet"},
    {"background-services-ticket-expiration", CONF_HOURS, AT(policy_settings, ticket_expiration_ms),
     .def = "168h", .min = SECOND, .max = 10 * YEAR,
     .help = "lifetime of background tickets; a bare number means hours"},
    {"connection-security-level", CONF_ENUM, AT(policy_settings, connection_security_level),
     .names = level_names, .def = "tls",
     .help = "what clients offer; told to clients, the floors of listeners and services decide here"},
    {0},
};
static const struct conf_section policy_section = {"policy", sizeof(struct policy_settings), policy_keys};

static const struct conf_key service_keys[] = {
    {"name", CONF_CUSTOM, AT(service_settings, name), .flags = CONF_REQUIRED, .parse = parse_service,
     .hint = "write \"mail.example.com:443\" in quotes",
     .help = "host:port as in background-network-services"},
    {"connect", CONF_CUSTOM, AT(service_settings, connect), .parse = parse_hostport,
     .hint = "write \"127.0.0.1:9443\" in quotes",
     .help = "where to connect instead of resolving the name; may be a loopback address"},
    {"relay", CONF_ENUM, AT(service_settings, relay), .names = relay_names, .def = "opaque",
     .help = "opaque: bytes pass untouched, the inner TLS handshake is watched"},
    {"tls-floor", CONF_ENUM, AT(service_settings, tls_floor_index), .names = service_floor_names,
     .def = "tls1.2",
     .help = "lowest version of the inner TLS; none: need not be TLS at all (Traveler's port 80)"},
    {"sni", CONF_ENUM, AT(service_settings, sni), .names = sni_names, .def = "any",
     .help = "match: the inner handshake must name the service's host"},
    {"activesync-floor", CONF_STRING, 0, .flags = CONF_UNSUPPORTED,
     .help = "needs the http or inspect relay"},
    {"ca", CONF_STRING, 0, .flags = CONF_UNSUPPORTED, .help = "needs the inspect relay"},
    {"inspect-ca", CONF_STRING, 0, .flags = CONF_UNSUPPORTED, .help = "needs the inspect relay"},
    {0},
};
static const struct conf_section service_section = {"services", sizeof(struct service_settings),
                                                    service_keys};

static const struct conf_key timeout_keys[] = {
    {"handshake", CONF_DURATION, AT(timeout_settings, handshake), .def = "15s", .min = 100, .max = HOUR,
     .help = "from accepting to the end of the TLS handshake; the same again for the inner one"},
    {"request", CONF_DURATION, AT(timeout_settings, request), .def = "15s", .min = 100, .max = HOUR,
     .help = "from the handshake to a complete SOCKS or CONNECT request"},
    {"ticket", CONF_DURATION, AT(timeout_settings, ticket), .def = "5s", .min = 100, .max = HOUR,
     .help = "for an authority's answer"},
    {"connect", CONF_DURATION, AT(timeout_settings, connect), .def = "10s", .min = 100, .max = HOUR,
     .help = "for resolving, and for connecting to each address"},
    {"idle", CONF_DURATION, AT(timeout_settings, idle), .def = "3660s", .min = 100, .max = YEAR,
     .help = "a tunnel without a byte either way; above the longest heartbeat of 3540 s"},
    {"linger", CONF_DURATION, AT(timeout_settings, linger), .def = "30s", .min = 100, .max = HOUR,
     .help = "for delivering what is queued at the end, and a half-closed tunnel without traffic"},
    {"drain", CONF_DURATION, AT(timeout_settings, drain), .def = "30s", .max = 24 * HOUR,
     .help = "from SIGTERM to the cut of tunnels still open"},
    {0},
};
static const struct conf_section timeout_section = {"timeouts", sizeof(struct timeout_settings),
                                                    timeout_keys};

static const struct conf_key limit_keys[] = {
    {"connections", CONF_INT, AT(limit_settings, connections), .def = "0", .max = 10000000,
     .help = "open connections in all; 0: as many as the limit of open files allows"},
    {0},
};
static const struct conf_section limit_section = {"limits", sizeof(struct limit_settings), limit_keys};

static const struct conf_key log_keys[] = {
    {"format", CONF_ENUM, AT(log_settings, format), .names = format_names, .def = "auto",
     .help = "auto: text on a terminal, else JSON"},
    {"level", CONF_ENUM, AT(log_settings, level), .names = log_level_names, .def = "info",
     .help = "least important level that is shown"},
    {0},
};
static const struct conf_section log_section = {"log", sizeof(struct log_settings), log_keys};

static int parse_workers(struct conf *c, const char *text, size_t len, void *field, const char **why)
{
    (void)c;
    int64_t n = 0;
    *why = "workers is auto or a number from 1 to 256";
    if (strcmp(text, "auto") != 0) {
        if (len == 0 || len > 3 || strspn(text, "0123456789") != len || (n = atoi(text)) < 1 || n > 256)
            return ERR_SYNTAX;
    }
    *(int64_t *)field = n;
    return 0;
}

static const struct conf_key top_keys[] = {
    {"workers", CONF_CUSTOM, AT(settings, workers), .parse = parse_workers, .def = "auto",
     .help = "event loops; auto: one for each core"},
    {"listeners", CONF_SECTION, AT(settings, listeners), .flags = CONF_LIST | CONF_REQUIRED,
     .section = &listener_section, .help = "where clients connect"},
    {"authorities", CONF_SECTION, AT(settings, authorities), .flags = CONF_LIST | CONF_REQUIRED,
     .section = &authority_section, .help = "the ticket authorities this gateway asks"},
    {"policy", CONF_SECTION, AT(settings, policy), .section = &policy_section,
     .help = "the mail app's policies"},
    {"services", CONF_SECTION, AT(settings, services), .flags = CONF_LIST, .section = &service_section,
     .help = "how to reach a service, and what is asked of it"},
    {"timeouts", CONF_SECTION, AT(settings, timeouts), .section = &timeout_section, .help = "deadlines"},
    {"limits", CONF_SECTION, AT(settings, limits), .section = &limit_section, .help = "limits"},
    {"log", CONF_SECTION, AT(settings, log), .section = &log_section, .help = "the log on standard error"},
    {"sign-in", CONF_STRING, 0, .flags = CONF_UNSUPPORTED, .help = "sign-in service"},
    {"admin", CONF_STRING, 0, .flags = CONF_UNSUPPORTED, .help = "admin API"},
    {0},
};
const struct conf_section settings_schema = {"configuration", sizeof(struct settings), top_keys};

/* ---- checks across values ---- */

static void check_file(struct conf *c, const char *const *path, bool strict)
{
    if (access(*path, R_OK) == 0)
        return;
    if (strict)
        conf_error(c, path, "%s cannot be read; `make certs` makes the lab's certificates", *path);
    else
        conf_warning(c, path, "%s cannot be read; `make certs` makes the lab's certificates", *path);
}

static void check_listener(struct settings *s, struct listener_settings *l, bool strict)
{
    const char *const *certificates = l->certificates.items;
    const char *const *keys = l->keys.items;
    const int *doors = l->door_list.items;

    l->tls_floor = tls_version_parse(floor_names[l->tls_floor_index]);
    l->doors = 0;
    for (size_t i = 0; i < l->door_list.count; i++)
        l->doors |= 1u << doors[i];
    if (l->doors == 0)
        conf_error(s->conf, &l->door_list, "doors: a listener needs at least one of socks, connect");
    if (l->certificates.count != l->keys.count && conf_given(s->conf, &l->certificates) &&
        conf_given(s->conf, &l->keys))
        conf_error(s->conf, &l->keys,
                   "key: %zu keys for %zu certificates: write one key for each, in the same order",
                   l->keys.count, l->certificates.count);
    for (size_t i = 0; i < l->certificates.count; i++)
        check_file(s->conf, &certificates[i], strict);
    for (size_t i = 0; i < l->keys.count; i++)
        check_file(s->conf, &keys[i], strict);
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

static void check_authorities(struct settings *s)
{
    const struct authority_settings *a = s->authorities.items;
    for (size_t i = 0; i < s->authorities.count; i++) {
        for (size_t j = 0; j < i; j++) {
            if (a[i].id != NULL && a[j].id != NULL && strcmp(a[i].id, a[j].id) == 0)
                conf_error(s->conf, &a[i].id, "id: %s is an earlier authority's; IDs must differ", a[i].id);
            if (a[i].store != NULL && a[j].store != NULL && strcmp(a[i].store, a[j].store) == 0 &&
                strcmp(a[i].store, "memory:") != 0)
                conf_error(s->conf, &a[i].store, "store: an earlier authority keeps its tickets there");
        }
    }
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

static void check_services(struct settings *s)
{
    struct service_settings *v = s->services.items;
    for (size_t i = 0; i < s->services.count; i++) {
        v[i].tls_floor = tls_version_parse(service_floor_names[v[i].tls_floor_index]);
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
    if (conf_ok(s->conf) && s->policy.network_access == NETWORK_TUNNELED && s->policy.services.count == 0)
        conf_warning(
            s->conf, &s->policy.services,
            "background-network-services is empty: no client can reach anything through this gateway");
}

struct settings *settings_read(const char *path, bool strict)
{
    struct settings *s = mem_zalloc(sizeof *s);
    struct conf *c = conf_read(path, &settings_schema, s);
    s->conf = c; /* conf_read zeroes the struct first */
    check_listeners(s, strict);
    check_authorities(s);
    check_services(s);
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
    return found;
}
