/* Absolute URLs. Called where a server tells a client to go elsewhere (redirects, autodiscover); whether the
 * client may is not asked here. The host is hostport's business.
 *
 * Clients differ in what they make of "http:\\host", of tabs and of user info, and each difference is a way
 * to name one host and mean another: none of these is taken.
 */
#include "proto/url.h"

#include <string.h>
#include <strings.h>

#include "base/err.h"

static bool is_clean(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c <= 0x20 || c == 0x7f || c == '\\')
            return false;
    }
    return true;
}

/* Its length with "://", or 0 where it is another one. */
static size_t parse_scheme(bool *tls, const char *s, size_t len)
{
    static const char plain[] = "http://", secure[] = "https://";
    *tls = len >= sizeof secure - 1 && strncasecmp(s, secure, sizeof secure - 1) == 0;
    if (*tls)
        return sizeof secure - 1;
    return len >= sizeof plain - 1 && strncasecmp(s, plain, sizeof plain - 1) == 0 ? sizeof plain - 1 : 0;
}

static size_t find_path(const char *s, size_t at, size_t len)
{
    while (at < len && s[at] != '/' && s[at] != '?' && s[at] != '#')
        at++;
    return at;
}

/* A colon inside brackets belongs to the address. Without brackets any colon is a port's, so an IPv6 address
 * without them is refused. */
static bool names_port(const char *s, size_t len)
{
    if (len > 0 && s[0] == '[')
        return s[len - 1] != ']';
    return memchr(s, ':', len) != NULL;
}

static int parse(struct url *u, const char *s, size_t len)
{
    size_t host = is_clean(s, len) ? parse_scheme(&u->tls, s, len) : 0;
    if (host == 0)
        return ERR_SYNTAX;
    u->path = find_path(s, host, len);
    const char *authority = s + host;
    size_t n = u->path - host;
    u->has_port = names_port(authority, n);
    if (u->has_port)
        return hostport_parse(&u->origin, authority, n, 0, NULL); /* refuses user info by itself */
    int rc = hostport_parse_host(&u->origin, authority, n, NULL);
    if (rc == 0)
        u->origin.port = u->tls ? 443 : 80;
    return rc;
}

int url_parse(struct url *u, const char *s, size_t len)
{
    memset(u, 0, sizeof *u);
    int rc = parse(u, s, len);
    if (rc < 0)
        memset(u, 0, sizeof *u); /* no half-parsed URL may be used by mistake */
    return rc;
}
