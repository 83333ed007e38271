/* The open tunnel: bytes pass untouched, the inner TLS handshake is watched on the way. Called by conn.c. */
#include <string.h>

#include "conn_impl.h"

static uint16_t floor_of(const struct conn *c)
{
    /* a listed service without an entry of its own: the same floor as the schema's default */
    return c->service != NULL ? c->service->tls_floor : TLS_VERSION_12;
}

void conn_relay_start(struct conn *c)
{
    conn_touch(c);
    conn_enter(c, CONN_INNER);
    c->watch = tlswatch_new();
    if (floor_of(c) == 0)
        conn_enter(c,
                   CONN_RELAY); /* need not be TLS: nothing is waited for, but a handshake is still noted */
    stream_read_start(&c->client);
    stream_read_start(&c->backend);
}

/* Ends the tunnel with an alert record to both sides: in the inner connection nothing is encrypted yet. */
static void cut_inner(struct conn *c, enum reason r, const char *detail)
{
    uint8_t description = reason_info(r)->alert;
    if (description != 0) {
        uint8_t alert[TLS_ALERT_RECORD];
        /* a peer that has agreed on a version takes no record of another one */
        uint16_t version = c->story.inner_version;
        if (version == 0)
            version = c->story.inner_offered > TLS_VERSION_SSL3 ? TLS_VERSION_10 : TLS_VERSION_SSL3;
        tls_alert_record(alert, version, description);
        stream_write(&c->client, alert, sizeof alert);
        if (c->http == NULL)
            stream_write(&c->backend, alert, sizeof alert);
    }
    conn_linger(c, r, detail);
}

static void stop_watching(struct conn *c)
{
    tlswatch_free(c->watch);
    c->watch = NULL;
    if (c->state == CONN_INNER)
        conn_enter(c, CONN_RELAY);
}

static bool name_matches(const struct conn *c, const char *sni)
{
    struct hostport sent;
    const char *colon = strrchr(c->story.target, ':');
    if (hostport_parse_host(&sent, sni, strlen(sni), NULL) < 0)
        return false;
    return strlen(sent.host) == (size_t)(colon - c->story.target) &&
           memcmp(sent.host, c->story.target, strlen(sent.host)) == 0;
}

/* Whether the hello may pass. */
static bool check_client_hello(struct conn *c, const struct tls_facts *facts)
{
    if (facts->offered_max < floor_of(c)) {
        cut_inner(c, REASON_TLS_FLOOR, "the client offers no version at or above the service's floor");
        return false;
    }
    if (c->service != NULL && c->service->sni == SNI_MATCH && !name_matches(c, facts->sni)) {
        cut_inner(c, REASON_SNI_MISMATCH,
                  facts->sni[0] ? NULL : "the inner handshake carries no server name");
        return false;
    }
    return true;
}

/* Checked before a byte of the data goes on. */
bool conn_relay_watch(struct conn *c, bool from_client, const uint8_t *data, size_t len)
{
    while (c->watch != NULL && len > 0) {
        size_t used = 0;
        enum tlswatch_result r =
            tlswatch_feed(c->watch, from_client ? TLSWATCH_CLIENT : TLSWATCH_SERVER, data, len, &used);
        const struct tls_facts *facts = tlswatch_facts(c->watch);
        data += used;
        len -= used;
        switch (r) {
        case TLSWATCH_CLIENT_HELLO:
            story_inner(c, facts);
            if (!check_client_hello(c, facts))
                return false;
            break;
        case TLSWATCH_SERVER_HELLO:
            story_inner(c, facts);
            story_trace(c);
            if (facts->negotiated != 0 && facts->negotiated < floor_of(c)) {
                cut_inner(c, REASON_TLS_FLOOR, "the mail server chose a version below the service's floor");
                return false;
            }
            stop_watching(c);
            return true;
        case TLSWATCH_NOT_TLS:
        case TLSWATCH_MALFORMED:
            if (floor_of(c) == 0) {
                stop_watching(c);
                return true;
            }
            cut_inner(c, REASON_NOT_TLS, tlswatch_why(c->watch));
            return false;
        default:
            return true;
        }
    }
    return true;
}

void conn_relay_data(struct conn *c, bool from_client, const uint8_t *data, size_t len)
{
    struct stream *from = from_client ? &c->client : &c->backend;
    struct stream *to = from_client ? &c->backend : &c->client;

    if (c->http != NULL) {
        conn_http_data(c, from_client, data, len);
        return;
    }
    conn_touch(c);
    if (c->watch != NULL && !conn_relay_watch(c, from_client, data, len))
        return;
    stream_write(to, data, len);
    if (stream_queued(to) > STREAM_HIGH_WATER)
        stream_read_stop(from);
}

static void check_finished(struct conn *c)
{
    if (stream_is_finished(&c->client) && stream_is_finished(&c->backend))
        conn_end(c, REASON_OK, NULL);
}

void conn_relay_eof(struct conn *c, bool from_client, bool clean)
{
    if (c->http != NULL) {
        conn_http_eof(c, from_client, clean);
        return;
    }
    conn_touch(c);
    stream_shutdown(from_client ? &c->backend : &c->client);
    if (c->state < CONN_HALF)
        conn_enter(c, CONN_HALF);
    check_finished(c);
}

void conn_relay_drained(struct conn *c, bool client)
{
    if (c->http != NULL) {
        conn_http_drained(c, client);
        return;
    }
    conn_touch(c);
    struct stream *source = client ? &c->backend : &c->client;
    if (!source->eof_seen)
        stream_read_start(source);
    check_finished(c);
}
