/* The schema of the configuration file: every key with its type, default, bounds and help, and the parsers of
 * values that only this file has. Checks that go beyond one value are in settings.c. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/list.h"
#include "net/tlsctx.h"
#include "proto/eas.h"
#include "proto/ticket.h"
#include "settings_impl.h"

#define SECOND 1000LL
#define HOUR   (3600 * SECOND)
#define YEAR   (366 * 24 * HOUR)

static const char *const door_names[] = {"socks", "connect", "activesync", NULL};
const char *const settings_floor_names[] = {"ssl3", "tls1.0", "tls1.1", "tls1.2", "tls1.3", NULL};
const char *const settings_service_floor_names[] = {"none",   "ssl3",   "tls1.0", "tls1.1",
                                                    "tls1.2", "tls1.3", NULL};
static const char *const access_names[] = {"unrestricted", "tunneled", "blocked", NULL};
static const char *const level_names[] = {"tls", "sslv3-and-tls", NULL};
static const char *const expiry_names[] = {"keep", "drain", "cut", NULL};
static const char *const full_names[] = {"refuse-new", "drop-oldest", NULL};
static const char *const class_names[] = {"background", "session", NULL};
static const char *const variation_names[] = {"any", "fewer", NULL};
static const char *const relay_names[] = {"opaque", "http", "inspect", NULL};
static const char *const backend_tls_names[] = {"auto", "yes", "no", NULL};
static const char *const forward_names[] = {"via", "x-forwarded-for", "x-forwarded-proto", NULL};
static const char *const action_names[] = {"allow", "block", NULL};
static const char *const sni_names[] = {"any", "match", NULL};
static const char *const format_names[] = {"auto", "json", "text", NULL};
static const char *const log_requests_names[] = {"all", "refused", NULL};
static const char *const log_level_names[] = {"error", "warn", "info", "debug", NULL};

/* ---- custom values ---- */

/* An IP address (or localhost) and a port, which may be 0 here and only here: the text is tried with another
 * port in its place. copy has room for the text and is left as it was. */
static int parse_bind(char *copy, struct hostport *hp, struct sockaddr_storage *sa, const char **why)
{
    size_t len = strlen(copy);
    bool any_port = len > 2 && strcmp(copy + len - 2, ":0") == 0;
    if (any_port)
        copy[len - 1] = '1';
    int rc = hostport_parse(hp, copy, len, 0, why);
    if (rc == 0 && hp->kind == HOSTPORT_NAME && strcmp(hp->host, "localhost") == 0) {
        strcpy(hp->host, "127.0.0.1");
        hp->kind = HOSTPORT_IPV4;
    }
    if (rc == 0 && any_port)
        hp->port = 0;
    if (rc == 0)
        rc = hostport_sockaddr(hp, sa);
    if (rc == ERR_UNSUPPORTED)
        *why = "an address to listen on is an IP address and a port, such as 127.0.0.1:8443 or [::1]:8443";
    if (any_port)
        copy[len - 1] = '0';
    return rc;
}

static char *copy_text(struct conf *c, const char *text, size_t len)
{
    char *copy = conf_alloc(c, len + 1);
    memcpy(copy, text, len);
    return copy;
}

/* A NUL in the middle would end the text early, and what was checked would not be what is used. */
static bool has_nul(const char *text, size_t len)
{
    return strlen(text) != len;
}

static int parse_listen_address(struct conf *c, const char *text, size_t len, void *field, const char **why)
{
    struct listener_settings *l = list_entry(field, struct listener_settings, address);
    struct hostport hp;
    char *copy = copy_text(c, text, len);
    l->address_text = copy;
    *why = "an address holds no NUL";
    return has_nul(text, len) ? ERR_SYNTAX : parse_bind(copy, &hp, &l->address, why);
}

/* What stands behind "http://" or "https://"; NULL when neither does. */
static const char *after_scheme(const char *text, bool *tls)
{
    *tls = strncmp(text, "https://", 8) == 0;
    if (*tls)
        return text + 8;
    return strncmp(text, "http://", 7) == 0 ? text + 7 : NULL;
}

static int parse_listen_url(struct conf *c, const char *text, size_t len, void *field, const char **why)
{
    struct http_url *u = field;
    const char *rest = after_scheme(text, &u->tls);
    *why = "where to listen is http://ADDRESS:PORT or https://ADDRESS:PORT, without a path";
    if (rest == NULL || has_nul(text, len) || strchr(rest, '/') != NULL)
        return ERR_SYNTAX;
    u->text = copy_text(c, text, len);
    return parse_bind(copy_text(c, rest, strlen(rest)), &u->origin, &u->address, why);
}

static bool is_path(const char *s)
{
    for (; *s != '\0'; s++) {
        if (*s <= ' ' || *s >= 0x7f || *s == '#')
            return false;
    }
    return true;
}

/* The port may be left out: 80, 443. Without a path it is the STA's own. */
static int parse_remote_url(struct conf *c, const char *text, size_t len, void *field, const char **why)
{
    struct http_url *u = field;
    const char *rest = after_scheme(text, &u->tls);
    *why = "an authority's url is http://HOST[:PORT][/PATH] or https://HOST[:PORT][/PATH]";
    if (rest == NULL || has_nul(text, len) || !is_path(text) || strpbrk(rest, "@?") != NULL)
        return ERR_SYNTAX;
    u->text = copy_text(c, text, len);
    const char *slash = strchr(rest, '/');
    size_t host_len = slash != NULL ? (size_t)(slash - rest) : strlen(rest);
    u->path = slash != NULL && slash[1] != '\0' ? copy_text(c, slash, strlen(slash)) : "/scripts/ctxsta.dll";
    char host[HOSTPORT_TEXT];
    if (host_len == 0 || host_len + 5 >= sizeof host)
        return ERR_SYNTAX;
    memcpy(host, rest, host_len);
    host[host_len] = '\0';
    const char *colon = strrchr(host, ':'), *bracket = strrchr(host, ']');
    if (colon == NULL || (bracket != NULL && colon < bracket))
        strcat(host, u->tls ? ":443" : ":80");
    return hostport_parse(&u->origin, host, strlen(host), 0, why);
}

static int parse_cidr(struct conf *c, const char *text, size_t len, void *field, const char **why)
{
    (void)c;
    return cidr_parse(field, text, len, why);
}

static int parse_host(struct conf *c, const char *text, size_t len, void *field, const char **why)
{
    struct hostport hp;
    int rc = hostport_parse_host(&hp, text, len, why);
    if (rc == 0)
        *(const char **)field = copy_text(c, hp.host, strlen(hp.host));
    return rc;
}

static int parse_offset(struct conf *c, const char *text, size_t len, void *field, const char **why)
{
    (void)c;
    bool back = text[0] == '-';
    int64_t ms;
    *why = "a time offset is a duration, with a minus sign for the past: 6d, -1h";
    if (has_nul(text, len) || duration_parse(text + back, &ms, why) < 0)
        return ERR_SYNTAX;
    *(int64_t *)field = back ? -ms : ms;
    return 0;
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
 * in YAML), "redis://HOST:PORT". */
static int parse_store(struct conf *c, const char *text, size_t len, void *field, const char **why)
{
    const char **url = field;
    *why = "a store is lmdb:PATH (survives restarts), memory (lost when the gateway ends) or "
           "redis://HOST:PORT (shared "
           "by a fleet)";
    if (has_nul(text, len))
        return ERR_SYNTAX;
    if (strcmp(text, "memory:") == 0 || strcmp(text, "memory") == 0) {
        *url = "memory:";
        return 0;
    }
    if (strncmp(text, "redis://", 8) == 0) {
        *url = copy_text(c, text, len);
        *why = "a password does not belong in the URL: write it into a file, and name that in password-file";
        return strchr(text, '@') != NULL ? ERR_SYNTAX : 0;
    }
    if (strncmp(text, "lmdb:", 5) != 0 || len == 5)
        return ERR_SYNTAX;
    const char *path = conf_path(c, text + 5);
    size_t size = strlen(path) + sizeof "lmdb:";
    char *copy = conf_alloc(c, size);
    snprintf(copy, size, "lmdb:%s", path);
    *url = copy;
    return 0;
}

static int parse_activesync_version(struct conf *c, const char *text, size_t len, void *field,
                                    const char **why)
{
    (void)c;
    *why = "an ActiveSync version is 2.5, 12.0, 12.1, 14.0, 14.1, 16.0 or 16.1";
    *(unsigned *)field = eas_version_parse(text, len);
    return *(unsigned *)field == 0 ? ERR_SYNTAX : 0;
}

/* A path is compared as it stands, so what servers take for another spelling of something has no place in it.
 */
static int parse_service_path(struct conf *c, const char *text, size_t len, void *field, const char **why)
{
    *why = "paths: activesync, autodiscover, ews, or a path such as /mail/Microsoft-Server-ActiveSync";
    bool known =
        strcmp(text, "activesync") == 0 || strcmp(text, "autodiscover") == 0 || strcmp(text, "ews") == 0;
    if (has_nul(text, len) ||
        (!known && (text[0] != '/' || !is_path(text) || strpbrk(text, "?%\\;") != NULL ||
                    strstr(text, "//") != NULL || strstr(text, "/.") != NULL)))
        return ERR_SYNTAX;
    *(const char **)field = copy_text(c, text, len);
    return 0;
}

static int parse_pin(struct conf *c, const char *text, size_t len, void *field, const char **why)
{
    (void)c;
    *why = "a pin is sha256//BASE64 or 64 hexadecimal digits: the SHA-256 of the certificate's public key";
    return has_nul(text, len) ? ERR_SYNTAX : tlsctx_parse_pin(text, field);
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
     .names = door_names, .def = "socks,connect",
     .help =
         "what clients may speak inside TLS: socks and connect open tunnels, activesync takes requests for "
         "the mail server itself, as a reverse proxy does"},
    {"tls-floor", CONF_ENUM, AT(listener_settings, tls_floor_index), .names = settings_floor_names,
     .def = "tls1.2", .help = "lowest TLS version a client may offer"},
    {0},
};
static const struct conf_section listener_section = {"listeners", sizeof(struct listener_settings),
                                                     listener_keys};

static const struct conf_key max_tickets_keys[] = {
    {"per-user", CONF_INT, AT(max_tickets_settings, per_user), .def = "0", .max = 1000000,
     .help = "live tickets of one user; 0: any number"},
    {"per-device", CONF_INT, AT(max_tickets_settings, per_device), .def = "0", .max = 1000000,
     .help = "live tickets of one device of a user; 0: any number"},
    {"total", CONF_INT, AT(max_tickets_settings, total), .def = "0", .max = 1000000000,
     .help = "live tickets in all; 0: as many as the store has room for"},
    {"when-full", CONF_ENUM, AT(max_tickets_settings, when_full), .names = full_names, .def = "refuse-new",
     .help =
         "which one gives way: the new one, or the oldest of that user, device or in all, which is revoked"},
    {0},
};
static const struct conf_section max_tickets_section = {"max-tickets", sizeof(struct max_tickets_settings),
                                                        max_tickets_keys};

static const struct conf_key authority_keys[] = {
    {"id", CONF_CUSTOM, AT(authority_settings, id), .parse = parse_authority_id,
     .help = "the STA ID that tickets of this authority carry; with url it may be left out and is learnt"},
    {"store", CONF_CUSTOM, AT(authority_settings, store), .flags = CONF_SECRET, .parse = parse_store,
     .help = "where tickets are kept: lmdb:PATH, a folder; memory; redis://HOST:PORT"},
    {"password-file", CONF_PATH, AT(authority_settings, password_file),
     .help = "the Redis password, or user:password, in the first line of a file"},
    {"keep-ended", CONF_DURATION, AT(authority_settings, tombstone_ms), .def = "24h", .min = SECOND,
     .max = YEAR, .help = "how long a ticket that ended is remembered as expired, used or revoked"},
    {"max-tickets", CONF_SECTION, AT(authority_settings, max_tickets), .section = &max_tickets_section,
     .help = "how many live tickets there may be"},
    {"session-lifetime", CONF_DURATION, AT(authority_settings, session_ms), .def = "100s", .min = SECOND,
     .max = 24 * HOUR, .help = "lifetime of session tickets, which are good for one connection"},
    {"refreshable-lifetime", CONF_DURATION, AT(authority_settings, refresh_ms), .def = "500s", .min = SECOND,
     .max = 24 * HOUR,
     .help = "lifetime of refreshable session tickets, and what each refresh adds while a tunnel lives"},
    {"requested-class", CONF_ENUM, AT(authority_settings, requested_class), .names = class_names,
     .def = "session", .help = "class of the tickets that RequestTicket makes where it does not ask for one"},
    {"listen", CONF_CUSTOM, AT(authority_settings, listen), .flags = CONF_LIST, .parse = parse_listen_url,
     .custom_size = sizeof(struct http_url),
     .help = "http://ADDRESS:PORT or https://ADDRESS:PORT that serve STA XML and /v1/tickets; port 0 takes a "
             "free one"},
    {"ssl-only", CONF_BOOL, AT(authority_settings, ssl_only), .def = "no",
     .help = "demand TLS: plain HTTP is answered with an error, and shows the authority as down"},
    {"allow", CONF_CUSTOM, AT(authority_settings, allow), .flags = CONF_LIST | CONF_COMMAS,
     .parse = parse_cidr, .custom_size = sizeof(struct cidr), .def = "127.0.0.0/8,::1",
     .help = "address ranges that may speak STA XML here"},
    {"hosts", CONF_CUSTOM, AT(authority_settings, hosts), .flags = CONF_LIST | CONF_COMMAS,
     .parse = parse_host, .custom_size = sizeof(const char *),
     .help = "names that requests may call the service by, beside localhost and IP addresses"},
    {"client-ca", CONF_PATH, AT(authority_settings, client_ca),
     .help = "PEM file; STA XML then demands a client certificate of this CA"},
    {"url", CONF_CUSTOM, AT(authority_settings, url), .flags = CONF_SECRET, .parse = parse_remote_url,
     .help = "a remote authority, http:// or https://, instead of store; path /scripts/ctxsta.dll where it "
             "has none"},
    {"ca", CONF_PATH, AT(authority_settings, ca),
     .help = "PEM file that the remote authority's certificate is checked against; default: the system's"},
    {"learn-id", CONF_BOOL, AT(authority_settings, learn_id), .def = "yes",
     .help = "ask the remote authority for its ID; no: take id as it is, for one that does not know the "
             "question"},
    {"probe", CONF_DURATION, AT(authority_settings, probe_ms), .def = "30s", .min = 100, .max = 24 * HOUR,
     .help = "how often the remote authority is asked for its ID, which tells whether it is up"},
    {"bypass", CONF_DURATION, AT(authority_settings, bypass_ms), .def = "10s", .max = 24 * HOUR,
     .help = "how long a remote authority that failed is not asked"},
    {"timeout", CONF_DURATION, AT(authority_settings, timeout_ms), .def = "3s", .min = 50, .max = HOUR,
     .help = "for an answer of a remote authority, or of Redis"},
    {"connections", CONF_INT, AT(authority_settings, connections), .def = "8", .min = 1, .max = 1000,
     .help = "connections that each worker keeps to a remote authority at most"},
    {"cache", CONF_DURATION, AT(authority_settings, cache_ms), .max = 24 * HOUR, .def = "0s",
     .help = "how long an answer of a remote authority is remembered; never for tickets of one use"},
    {"certificate", CONF_PATH, AT(authority_settings, certificates), .flags = CONF_LIST,
     .help = "PEM file, leaf first: of the https service, or shown to the remote authority"},
    {"key", CONF_PATH, AT(authority_settings, keys), .flags = CONF_LIST,
     .help = "PEM file of the private key, one for each certificate"},
    {"shared-key-file", CONF_PATH, AT(authority_settings, shared_key_file),
     .help = "STA XML carries the first line of this file as Authorization: Bearer; demanded here, sent with "
             "url"},
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
    {"on-expiry", CONF_ENUM, AT(policy_settings, on_expiry), .names = expiry_names, .def = "keep",
     .help =
         "open tunnels of a ticket that expires: keep them, drain them (until they are quiet), or cut them"},
    {"forced-timeout", CONF_DURATION, AT(policy_settings, forced_timeout_ms), .min = SECOND, .max = YEAR,
     .help = "so long after its ticket was issued a tunnel is cut, whatever the ticket says"},
    {0},
};
static const struct conf_section policy_section = {"policy", sizeof(struct policy_settings), policy_keys};

static const struct conf_key device_keys[] = {
    {"action", CONF_ENUM, AT(device_rule, action), .flags = CONF_REQUIRED, .names = action_names,
     .help = "what becomes of a device that all the patterns of this rule fit"},
    {"id", CONF_STRING, AT(device_rule, id), .help = "pattern of the DeviceId, * for any run of characters"},
    {"type", CONF_STRING, AT(device_rule, type), .help = "pattern of the DeviceType"},
    {"user-agent", CONF_STRING, AT(device_rule, agent), .help = "pattern of the User-Agent field"},
    {"user", CONF_STRING, AT(device_rule, user), .help = "pattern of the user who signs in, without domain"},
    {0},
};
static const struct conf_section device_section = {"services.devices", sizeof(struct device_rule),
                                                   device_keys};

static const struct conf_key inspect_ca_keys[] = {
    {"certificate", CONF_PATH, AT(pair_settings, certificate), .flags = CONF_REQUIRED,
     .help = "PEM file: the CA, behind it the CAs above it that clients do not have"},
    {"key", CONF_PATH, AT(pair_settings, key), .flags = CONF_REQUIRED,
     .help = "PEM file of its key, readable by the owner only"},
    {0},
};
static const struct conf_section inspect_ca_section = {"services.inspect-ca", sizeof(struct pair_settings),
                                                       inspect_ca_keys};

static const struct conf_key service_keys[] = {
    {"name", CONF_CUSTOM, AT(service_settings, name), .flags = CONF_REQUIRED, .parse = parse_service,
     .hint = "write \"mail.example.com:443\" in quotes",
     .help = "host:port as in background-network-services"},
    {"connect", CONF_CUSTOM, AT(service_settings, connect), .flags = CONF_LIST | CONF_COMMAS,
     .parse = parse_hostport, .custom_size = sizeof(struct hostport),
     .hint = "write \"127.0.0.1:9443\" in quotes",
     .help = "where to connect instead of resolving the name, tried in order; may be a loopback address"},
    {"relay", CONF_ENUM, AT(service_settings, relay), .names = relay_names, .def = "opaque",
     .help = "opaque: bytes pass untouched, the inner TLS handshake is watched; http: the client speaks HTTP "
             "in the tunnel; inspect: the inner TLS ends here, with a certificate made by inspect-ca"},
    {"tls-floor", CONF_ENUM, AT(service_settings, tls_floor_index), .names = settings_service_floor_names,
     .def = "tls1.2",
     .help = "lowest version of the inner TLS; none: need not be TLS at all (Traveler's port 80)"},
    {"sni", CONF_ENUM, AT(service_settings, sni), .names = sni_names, .def = "any",
     .help = "match: the inner handshake must name the service's host"},
    {"inspect-ca", CONF_SECTION, AT(service_settings, inspect_ca), .flags = CONF_OPTIONAL_SECTION,
     .section = &inspect_ca_section,
     .help = "relay inspect: who signs the certificates that clients are shown"},
    {"paths", CONF_CUSTOM, AT(service_settings, paths), .flags = CONF_LIST | CONF_COMMAS,
     .parse = parse_service_path, .custom_size = sizeof(const char *), .def = "activesync,autodiscover",
     .help = "what may be asked for: activesync (the standard paths of Exchange and Traveler), autodiscover, "
             "ews, or an ActiveSync path of the server's own"},
    {"activesync-floor", CONF_CUSTOM, AT(service_settings, activesync_floor),
     .parse = parse_activesync_version, .help = "lowest ActiveSync version that clients may speak"},
    {"activesync-ceiling", CONF_CUSTOM, AT(service_settings, activesync_ceiling),
     .parse = parse_activesync_version, .help = "highest one"},
    {"devices", CONF_SECTION, AT(service_settings, devices), .flags = CONF_LIST, .section = &device_section,
     .help = "rules of who may ask, the first that fits decides; none fits: allowed"},
    {"bind-user", CONF_BOOL, AT(service_settings, bind_user), .def = "no",
     .help = "who signs in to the mail server (Basic) has to be the ticket's user"},
    {"max-heartbeat", CONF_DURATION, AT(service_settings, max_heartbeat_ms), .min = SECOND, .max = 24 * HOUR,
     .help =
         "longest wait of a Ping or Sync; the gateway then ends it itself, telling the client this limit"},
    {"forward", CONF_ENUM, AT(service_settings, forward_list), .flags = CONF_LIST | CONF_COMMAS,
     .names = forward_names, .def = "",
     .help = "fields that tell the mail server of the client, in place of what the client sent: via, "
             "x-forwarded-for, x-forwarded-proto"},
    {"backend-tls", CONF_ENUM, AT(service_settings, backend_tls), .names = backend_tls_names, .def = "auto",
     .help = "whether the mail server is spoken to in TLS; auto: yes, but on a service's port 80"},
    {"backend-tls-floor", CONF_ENUM, AT(service_settings, backend_floor_index), .names = settings_floor_names,
     .def = "tls1.2", .help = "lowest TLS version the mail server may choose; tls1.0 is the lowest there is"},
    {"ca", CONF_PATH, AT(service_settings, ca),
     .help = "PEM file that the mail server's certificate is checked against; default: the system's"},
    {"verify", CONF_BOOL, AT(service_settings, verify), .def = "yes",
     .help = "no: take any certificate of the mail server, or only those pinned"},
    {"pin", CONF_CUSTOM, AT(service_settings, pins), .flags = CONF_LIST | CONF_COMMAS, .parse = parse_pin,
     .custom_size = 32, .help = "sha256//BASE64 of the public keys that the mail server may have"},
    {"certificate", CONF_PATH, AT(service_settings, certificate),
     .help = "PEM file shown to the mail server where it asks for a certificate"},
    {"key", CONF_PATH, AT(service_settings, key), .help = "PEM file of its key"},
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
    {"response", CONF_DURATION, AT(timeout_settings, response), .def = "2m", .min = 100, .max = 24 * HOUR,
     .help =
         "relayed HTTP: silence of the mail server before and within an answer; a Ping or hanging Sync may "
         "be silent for its heartbeat and a minute"},
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
    {"requests", CONF_ENUM, AT(log_settings, requests), .names = log_requests_names, .def = "all",
     .help = "which requests get a line: all, or those that were refused or failed"},
    {0},
};
static const struct conf_section log_section = {"log", sizeof(struct log_settings), log_keys};

static const struct conf_key sign_in_ldap_keys[] = {
    {"url", CONF_STRING, AT(sign_in_ldap_settings, url), .flags = CONF_REQUIRED,
     .help = "ldap://HOST[:PORT], ldaps://HOST[:PORT] or ldapi://PATH"},
    {"starttls", CONF_BOOL, AT(sign_in_ldap_settings, starttls), .def = "no",
     .help = "turn an ldap:// connection into TLS before anything is said on it"},
    {"ca", CONF_PATH, AT(sign_in_ldap_settings, ca),
     .help = "PEM file that the directory's certificate is checked against; default: the system's"},
    {"bind-dn", CONF_STRING, AT(sign_in_ldap_settings, bind_dn), .help = "who searches; default: anonymous"},
    {"bind-password-file", CONF_PATH, AT(sign_in_ldap_settings, bind_password_file),
     .help = "its password, in the first line of a file"},
    {"base", CONF_STRING, AT(sign_in_ldap_settings, base), .flags = CONF_REQUIRED,
     .help = "below which entry users are searched"},
    {"filter", CONF_STRING, AT(sign_in_ldap_settings, filter), .def = "(uid=%u)",
     .help = "filter with %u for the name that was typed; must find exactly one entry"},
    {"group-filter", CONF_STRING, AT(sign_in_ldap_settings, group_filter),
     .help = "must find something, too: %u the name, %d the entry's DN, %n the name in the ticket"},
    {"group-base", CONF_STRING, AT(sign_in_ldap_settings, group_base),
     .help = "below which entry groups are searched; default: base"},
    {"user-attribute", CONF_STRING, AT(sign_in_ldap_settings, user_attribute),
     .help = "attribute that holds the name in the ticket; default: the name that was typed"},
    {"name-variations", CONF_ENUM, AT(sign_in_ldap_settings, name_variations), .names = variation_names,
     .def = "any",
     .help = "fewer: only a full, exact name is taken, as Domino's \"fewer name variations with higher "
             "security\""},
    {"name-attributes", CONF_STRING, AT(sign_in_ldap_settings, name_attributes),
     .flags = CONF_LIST | CONF_COMMAS, .def = "uid,mail,cn",
     .help = "with fewer: attributes one of which must hold the name exactly"},
    {"timeout", CONF_DURATION, AT(sign_in_ldap_settings, timeout_ms), .def = "5s", .min = 100, .max = HOUR,
     .help = "for each step with the directory"},
    {0},
};
static const struct conf_section sign_in_ldap_section = {"sign-in.ldap", sizeof(struct sign_in_ldap_settings),
                                                         sign_in_ldap_keys};

static const struct conf_key sign_in_keys[] = {
    {"htpasswd", CONF_PATH, AT(sign_in_settings, htpasswd),
     .help = "file of user:hash lines, bcrypt or SHA-512 crypt; read again when it changes"},
    {"ldap", CONF_SECTION, AT(sign_in_settings, ldap), .flags = CONF_OPTIONAL_SECTION,
     .section = &sign_in_ldap_section, .help = "a directory, instead of htpasswd"},
    {"threads", CONF_INT, AT(sign_in_settings, threads), .def = "2", .min = 1, .max = 64,
     .help = "passwords checked at once"},
    {"attempts-per-user", CONF_INT, AT(sign_in_settings, attempts_per_user), .def = "10", .min = 1,
     .max = 1000000, .help = "failed sign-ins of one user name within attempts-window; then 429"},
    {"attempts-per-address", CONF_INT, AT(sign_in_settings, attempts_per_address), .def = "60", .min = 1,
     .max = 1000000, .help = "failed sign-ins from one address within attempts-window; then 429"},
    {"attempts-window", CONF_DURATION, AT(sign_in_settings, attempts_window_ms), .def = "1m", .min = SECOND,
     .max = 24 * HOUR, .help = "in which time the attempts come back"},
    {0},
};
static const struct conf_section sign_in_section = {"sign-in", sizeof(struct sign_in_settings), sign_in_keys};

static const struct conf_key admin_keys[] = {
    {"socket", CONF_PATH, AT(admin_settings, socket),
     .help = "Unix socket, mode 0600, that commands speak to; also /metrics"},
    {"listen", CONF_STRING, 0, .flags = CONF_UNSUPPORTED, .help = "admin API over TCP"},
    {"token-file", CONF_STRING, 0, .flags = CONF_UNSUPPORTED, .help = "admin API over TCP"},
    {0},
};
static const struct conf_section admin_section = {"admin", sizeof(struct admin_settings), admin_keys};

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
    {"listeners", CONF_SECTION, AT(settings, listeners), .flags = CONF_LIST, .section = &listener_section,
     .help = "where clients connect; none: only an authority is served"},
    {"authorities", CONF_SECTION, AT(settings, authorities), .flags = CONF_LIST | CONF_REQUIRED,
     .section = &authority_section, .help = "the ticket authorities this gateway asks"},
    {"policy", CONF_SECTION, AT(settings, policy), .section = &policy_section,
     .help = "the mail app's policies"},
    {"services", CONF_SECTION, AT(settings, services), .flags = CONF_LIST, .section = &service_section,
     .help = "how to reach a service, and what is asked of it"},
    {"timeouts", CONF_SECTION, AT(settings, timeouts), .section = &timeout_section, .help = "deadlines"},
    {"limits", CONF_SECTION, AT(settings, limits), .section = &limit_section, .help = "limits"},
    {"log", CONF_SECTION, AT(settings, log), .section = &log_section, .help = "the log on standard error"},
    {"sign-in", CONF_SECTION, AT(settings, sign_in), .flags = CONF_OPTIONAL_SECTION,
     .section = &sign_in_section, .help = "who may get tickets by /v1/tickets"},
    {"admin", CONF_SECTION, AT(settings, admin), .section = &admin_section, .help = "operating the gateway"},
    {"time-offset", CONF_CUSTOM, AT(settings, time_offset_ms), .parse = parse_offset, .def = "0s",
     .help = "moves the clock that tickets go by: 6d, -1h; for tests and demonstrations"},
    {0},
};
const struct conf_section settings_schema = {"configuration", sizeof(struct settings), top_keys};
