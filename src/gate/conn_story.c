/* What the log says of a finished connection: everything known about it, in one line. Never the ticket, only
 * its fingerprint. */
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "conn_impl.h"
#include "gate/trace.h"
#include "gate/httprelay.h"

static const char *const door_name[] = {
    [DOOR_SOCKS] = "socks", [DOOR_CONNECT] = "connect", [DOOR_ACTIVESYNC] = "activesync"};
static const char *const relay_name[] = {
    [RELAY_OPAQUE] = NULL, [RELAY_HTTP] = "http", [RELAY_INSPECT] = "inspect"};

void story_hello(struct conn *c, const struct tls_facts *facts)
{
    c->story.offered = facts->offered_max;
    if (facts->sni[0] != '\0')
        c->story.sni = mem_strdup(facts->sni);
}

void story_handshake(struct conn *c)
{
    const SSL *ssl = c->client.tls.ssl;
    c->story.version = (uint16_t)SSL_version(ssl);
    c->story.cipher = SSL_CIPHER_standard_name(SSL_get_current_cipher(ssl));
    c->story.resumed = SSL_session_reused(ssl) == 1;
}

static const char *cipher_name(SSL *ssl, uint16_t id)
{
    const unsigned char bytes[2] = {(unsigned char)(id >> 8), (unsigned char)id};
    const SSL_CIPHER *cipher = SSL_CIPHER_find(ssl, bytes);
    return cipher != NULL ? SSL_CIPHER_standard_name(cipher) : NULL;
}

void story_inner(struct conn *c, const struct tls_facts *facts)
{
    struct story *s = &c->story;
    s->inner_seen = true;
    s->inner_offered = facts->offered_max;
    s->inner_version = facts->negotiated;
    s->inner_cipher_id = facts->cipher;
    s->inner_cipher = cipher_name(c->client.tls.ssl, facts->cipher);
    if (s->inner_sni == NULL && facts->sni[0] != '\0')
        s->inner_sni = mem_strdup(facts->sni);
}

void story_inner_done(struct conn *c, SSL *ssl)
{
    c->story.inner_version = (uint16_t)SSL_version(ssl);
    c->story.inner_cipher = SSL_CIPHER_standard_name(SSL_get_current_cipher(ssl));
    c->story.inner_cipher_id = (uint16_t)SSL_CIPHER_get_protocol_id(SSL_get_current_cipher(ssl));
}

void story_backend(struct conn *c)
{
    c->story.backend_version = (uint16_t)SSL_version(c->backend.tls.ssl);
    c->story.backend_cipher = SSL_CIPHER_standard_name(SSL_get_current_cipher(c->backend.tls.ssl));
}

void story_deinit(struct story *s)
{
    free(s->user);
    free(s->device);
    free(s->agent);
    free(s->target);
    free(s->asked);
    free(s->sni);
    free(s->inner_sni);
}

/* The address as text, NULL if there is none. */
static const char *address_of(const union peer_address *a, char text[ADDRESS_TEXT])
{
    struct sockaddr_storage sa = {0};
    if (a->any.sa_family == AF_UNSPEC)
        return NULL;
    memcpy(&sa, a, sizeof *a);
    address_format(&sa, text);
    return text;
}

#define CIPHER_HEX 8

/* The inner cipher by its name or number, NULL while there is none. */
static const char *inner_cipher(const struct story *s, char hex[CIPHER_HEX])
{
    snprintf(hex, CIPHER_HEX, "0x%04x", s->inner_cipher_id);
    return s->inner_cipher_id == 0 ? NULL : s->inner_cipher != NULL ? s->inner_cipher : hex;
}

void story_trace(const struct conn *c)
{
    const struct story *s = &c->story;
    struct trace *t = c->worker->trace;
    if (!trace_is_on(t))
        return;
    const struct trace_who who = {.device = s->device, .user = s->user, .ticket = s->ticket};
    const char *highest = tls_version_name(s->inner_offered);
    char client[ADDRESS_TEXT], hex[CIPHER_HEX],
        offered[8]; /* the name of the other may be in the same place */
    uint32_t set = trace_begin(t, &who);
    snprintf(offered, sizeof offered, "%s", highest != NULL ? highest : "");
    const struct trace_tunnel facts = {
        .who = &who,
        .door = s->door >= 0 ? door_name[s->door] : NULL,
        .target = s->target,
        .client = address_of(&s->client, client),
        .offered = offered,
        .version = tls_version_name(s->inner_version),
        .cipher = inner_cipher(s, hex),
        .sni = s->inner_sni,
    };
    if (set != 0)
        trace_tunnel(t, set, trace_next_id(t), &facts);
}

static void log_address(struct log_line *l, const char *key, const union peer_address *a)
{
    char text[ADDRESS_TEXT];
    log_str(l, key, address_of(a, text));
}

static void log_version(struct log_line *l, const char *key, uint16_t version)
{
    if (version != 0)
        log_str(l, key, tls_version_name(version));
}

static void log_outer(struct log_line *l, const struct story *s)
{
    if (s->offered == 0 && s->version == 0)
        return;
    log_open(l, "tls");
    log_version(l, "offered", s->offered);
    log_version(l, "version", s->version);
    log_str(l, "cipher", s->cipher);
    if (s->version != 0)
        log_bool(l, "resumed", s->resumed);
    log_str(l, "sni", s->sni);
    if (s->unclean)
        log_bool(l, "unclean_end", true);
    log_close(l);
}

static void log_inner(struct log_line *l, const struct story *s)
{
    char hex[CIPHER_HEX];
    if (!s->inner_seen)
        return;
    log_open(l, "inner");
    log_version(l, "offered", s->inner_offered);
    log_version(l, "version", s->inner_version);
    log_str(l, "cipher", inner_cipher(s, hex));
    log_str(l, "sni", s->inner_sni);
    log_close(l);
}

static void log_backend(struct log_line *l, const struct story *s)
{
    if (s->backend_version == 0)
        return;
    log_open(l, "backend_tls");
    log_version(l, "version", s->backend_version);
    log_str(l, "cipher", s->backend_cipher);
    log_close(l);
}

/* When each state was entered, in milliseconds since accept. */
static void log_times(struct log_line *l, const struct conn *c)
{
    static const struct {
        enum conn_state state;
        const char *name;
    } shown[] = {{CONN_HANDSHAKE, "hello"}, {CONN_REQUEST, "handshake"}, {CONN_TICKET, "request"},
                 {CONN_RESOLVE, "ticket"},  {CONN_CONNECT, "resolve"},   {CONN_SECURE, "tcp"},
                 {CONN_INNER, "connect"},   {CONN_RELAY, "inner"},       {CONN_HALF, "half_close"},
                 {CONN_LINGER, "linger"},   {CONN_CLOSING, "total"}};
    log_open(l, "ms");
    for (size_t i = 0; i < sizeof shown / sizeof shown[0]; i++) {
        uint32_t at = c->story.entered_ms[shown[i].state];
        if (at != 0)
            log_int(l, shown[i].name, at - 1);
    }
    log_close(l);
}

void story_log(const struct conn *c)
{
    const struct story *s = &c->story;
    struct log_line l;

    log_begin(&l, LOG_INFO, "connection");
    if (l.off)
        return;
    log_str(&l, "reason", reason_info(c->reason)->id);
    log_str(&l, "detail", c->detail);
    if (s->injected)
        log_bool(&l, "injected", true);
    log_str(&l, "door", s->door >= 0 ? door_name[s->door] : NULL);
    log_str(&l, "relay",
            c->service != NULL && s->door != DOOR_ACTIVESYNC ? relay_name[c->service->relay] : NULL);
    if (s->requests > 0)
        log_int(&l, "requests", (int64_t)s->requests);
    log_str(&l, "user", s->user);
    log_str(&l, "device", s->device);
    log_str(&l, "ticket", s->ticket[0] ? s->ticket : NULL);
    log_str(&l, "authority", s->authority != NULL ? s->authority : s->asked);
    log_str(&l, "target", s->target);
    log_address(&l, "address", &s->backend);
    log_address(&l, "client", &s->client);
    log_str(&l, "listener", c->listener->sockets->bound_text);
    log_str(&l, "agent", s->agent);
    log_outer(&l, s);
    log_inner(&l, s);
    log_backend(&l, s);
    log_open(&l, "bytes");
    log_int(&l, "up", (int64_t)c->backend.bytes_out);
    log_int(&l, "down", (int64_t)c->backend.bytes_in);
    log_close(&l);
    log_times(&l, c);
    log_end(&l);
}

/* ---- requests ---- */

const char *story_door(const struct conn *c)
{
    return c->story.door >= 0 ? door_name[c->story.door] : NULL;
}

static void log_activesync(struct log_line *l, const struct exchange *x)
{
    char version[8];
    log_str(l, "command", x->query.command_text[0] ? x->query.command_text : NULL);
    if (x->version != 0) {
        eas_version_format(x->version, version);
        log_str(l, "version", version);
    }
    log_str(l, "device_id", x->query.device_id[0] ? x->query.device_id : NULL);
    log_str(l, "device_type", x->query.device_type[0] ? x->query.device_type : NULL);
    if (x->heartbeat_s > 0)
        log_int(l, "heartbeat_s", x->heartbeat_s);
}

char *story_client(const struct conn *c)
{
    char text[ADDRESS_TEXT];
    return mem_strdup(address_of(&c->story.client, text));
}

void story_request(const struct conn *c, const struct exchange *x, const char *client)
{
    struct log_line l;
    log_begin(&l, LOG_INFO, "request");
    if (l.off)
        return;
    log_str(&l, "reason", reason_info(x->reason)->id);
    log_str(&l, "detail", x->detail);
    log_str(&l, "method", x->method[0] ? x->method : NULL);
    log_str(&l, "path", x->path);
    log_activesync(&l, x);
    if (x->status != 0)
        log_int(&l, "status", x->status);
    log_str(&l, "login", x->user[0] ? x->user : NULL);
    log_str(&l, "agent", x->agent);
    log_str(&l, "location", x->location);
    if (x->location != NULL)
        log_bool(&l, "location_listed", x->location_listed);
    log_str(&l, "user", c->story.user);
    log_str(&l, "ticket", c->story.ticket[0] ? c->story.ticket : NULL);
    log_str(&l, "target", c->story.target);
    log_str(&l, "client", client);
    log_open(&l, "bytes");
    log_int(&l, "up", (int64_t)x->up);
    log_int(&l, "down", (int64_t)x->down);
    log_close(&l);
    log_int(&l, "ms", (int64_t)((clock_mono_ns() - x->started_ns) / 1000000));
    log_end(&l);
}
