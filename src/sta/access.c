/* The checks in front of the services. Called by the STA service and the ticket API. */
#include "sta/access.h"

#include <assert.h>
#include <openssl/crypto.h>
#include <string.h>
#include <strings.h>

#include "proto/hostport.h"
#include "proto/http.h"

/* Host may be a name with or without a port; the port is not looked at, a forwarded one is as good. */
static bool host_is_ours(const struct access_rules *a, const char *value)
{
    struct hostport hp;
    size_t len = strlen(value);
    const char *colon = strrchr(value, ':'), *bracket = strrchr(value, ']');
    if (colon != NULL && (value[0] != '[' || colon > bracket))
        len = (size_t)(colon - value);
    if (hostport_parse_host(&hp, value, len, NULL) < 0)
        return false;
    if (hp.kind != HOSTPORT_NAME || strcmp(hp.host, "localhost") == 0)
        return true;
    for (size_t i = 0; i < a->host_count; i++) {
        if (strcmp(hp.host, a->hosts[i]) == 0)
            return true;
    }
    return false;
}

enum access_result access_check_page(const struct access_rules *a, const struct httpd_request *r)
{
    size_t origins = 0;
    const char *host = httpd_field(r, HTTP_NAME_HOST, NULL);
    httpd_field(r, HTTP_NAME_ORIGIN, &origins);
    if (origins > 0)
        return ACCESS_ORIGIN;
    return host != NULL && host_is_ours(a, host) ? ACCESS_OK : ACCESS_HOST;
}

static bool key_is_right(const char *key, const char *field)
{
    const char *shown = field != NULL ? http_auth_param(field, "Bearer") : NULL;
    return shown != NULL && strlen(shown) == strlen(key) && CRYPTO_memcmp(shown, key, strlen(key)) == 0;
}

static bool address_is_allowed(const struct access_rules *a, const struct sockaddr_storage *peer)
{
    bool allowed = peer->ss_family == AF_UNIX;
    for (size_t i = 0; !allowed && i < a->allow_count; i++)
        allowed = cidr_contains(&a->allow[i], (const struct sockaddr *)peer);
    return allowed;
}

enum access_result access_check_peer(const struct access_rules *a, const struct httpd_request *r)
{
    if (!address_is_allowed(a, httpd_peer(r)))
        return ACCESS_ADDRESS;
    if (a->ssl_only && !httpd_is_tls(r))
        return ACCESS_SSL;
    if (a->client_certificate && !httpd_has_client_certificate(r))
        return ACCESS_CERTIFICATE;
    if (a->shared_key != NULL && !key_is_right(a->shared_key, httpd_field(r, HTTP_NAME_AUTHORIZATION, NULL)))
        return ACCESS_KEY;
    return ACCESS_OK;
}

const char *access_sentence(enum access_result r)
{
    static const char *const sentences[ACCESS_RESULTS] = {
        [ACCESS_OK] = "allowed",
        [ACCESS_HOST] = "the Host field is not a name of this service: see hosts",
        [ACCESS_ORIGIN] = "requests of web pages are not served",
        [ACCESS_ADDRESS] = "this address may not speak to the service: see allow",
        [ACCESS_SSL] = "TLS is demanded: use the https address",
        [ACCESS_CERTIFICATE] = "a client certificate is demanded",
        [ACCESS_KEY] = "the shared key is missing or wrong",
    };
    assert((unsigned)r < ACCESS_RESULTS);
    return sentences[r];
}

bool access_type_is(const char *field, const char *type)
{
    if (field == NULL)
        return false;
    size_t n = strcspn(field, "; \t");
    return n == strlen(type) && strncasecmp(field, type, n) == 0;
}
