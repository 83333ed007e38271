/* The gatekeeper's decisions: pure functions over settings and a ticket. */
#include "gate/policy.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>

enum reason policy_redeem_reason(enum redeem result)
{
    static const enum reason map[] = {
        [REDEEM_OK] = REASON_OK,
        [REDEEM_UNKNOWN] = REASON_TICKET_UNKNOWN,
        [REDEEM_EXPIRED] = REASON_TICKET_EXPIRED,
        [REDEEM_USED] = REASON_TICKET_USED,
        [REDEEM_REVOKED] = REASON_TICKET_REVOKED,
        [REDEEM_DOWN] = REASON_AUTHORITY_DOWN,
    };
    return map[result];
}

enum reason policy_check_time(const struct settings *s, const struct record *ticket, int64_t now_ms)
{
    int64_t forced = s->policy.forced_timeout_ms;
    return forced > 0 && now_ms - ticket->issued_ms >= forced ? REASON_FORCED_TIMEOUT : REASON_OK;
}

bool policy_ticket_target(const struct settings *s, const struct record *ticket, struct hostport *target)
{
    for (size_t i = 0; i < ticket->value_count; i++) {
        const char *value = ticket->values[i].value;
        /* empty is as good as absent: issuers leave the addresses that they do not use empty */
        if (strcmp(ticket->values[i].name, "ICAAddress") == 0 && value[0] != '\0')
            return hostport_parse(target, value, strlen(value), HOSTPORT_ALLOW_BLANKS, NULL) == 0;
    }
    if (ticket->service_count > 0)
        return hostport_parse(target, ticket->services[0], strlen(ticket->services[0]), 0, NULL) == 0;
    const struct hostport *listed = s->policy.services.items;
    if (s->policy.services.count == 0 || listed[0].wildcard)
        return false;
    *target = listed[0];
    return true;
}

enum reason policy_check_access(const struct settings *s)
{
    switch (s->policy.network_access) {
    case NETWORK_UNRESTRICTED:
        return REASON_NETWORK_UNRESTRICTED;
    case NETWORK_BLOCKED:
        return REASON_NETWORK_BLOCKED;
    default:
        return REASON_OK;
    }
}

bool policy_is_listed(const struct settings *s, const struct hostport *target)
{
    const struct hostport *listed = s->policy.services.items;
    size_t i = 0;
    while (i < s->policy.services.count && !hostport_matches(&listed[i], target))
        i++;
    return i < s->policy.services.count;
}

/* The listed service of that host; its port is the list's. */
static bool listed_by_host(const struct settings *s, const char *host, struct hostport *target)
{
    const struct hostport *listed = s->policy.services.items;
    struct hostport called;
    bool found = false;
    if (host[0] == '\0' || hostport_parse_host(&called, host, strlen(host), NULL) < 0)
        return false;
    for (size_t i = 0; i < s->policy.services.count; i++) {
        called.port = listed[i].port;
        if (!hostport_matches(&listed[i], &called) || (found && called.port != 443))
            continue;
        *target = called;
        found = true;
    }
    return found;
}

bool policy_host_target(const struct settings *s, const struct record *ticket, const char *host,
                        struct hostport *target)
{
    const struct hostport *listed = s->policy.services.items;
    if (listed_by_host(s, host, target))
        return true;
    if (ticket->service_count == 1)
        return hostport_parse(target, ticket->services[0], strlen(ticket->services[0]), 0, NULL) == 0;
    if (ticket->service_count > 1 || s->policy.services.count != 1 || listed[0].wildcard)
        return false;
    *target = listed[0];
    return true;
}

enum reason policy_check_target(const struct settings *s, const struct record *ticket,
                                const struct hostport *target)
{
    enum reason r = policy_check_access(s);
    if (r != REASON_OK)
        return r;

    if (!policy_is_listed(s, target))
        return REASON_SERVICE_NOT_LISTED;
    for (size_t i = 0; i < ticket->service_count; i++) {
        struct hostport own;
        if (hostport_parse(&own, ticket->services[i], strlen(ticket->services[i]), HOSTPORT_ALLOW_WILDCARD,
                           NULL) == 0 &&
            hostport_matches(&own, target))
            return REASON_OK;
    }
    return ticket->service_count == 0 ? REASON_OK : REASON_SERVICE_NOT_IN_TICKET;
}

/* An IPv4 address in host order that must not be reached by way of a name. */
static bool v4_refused(uint32_t a)
{
    return a >> 24 == 127 || a >> 24 == 0 || a >> 16 == 0xa9fe ||
           a >> 28 >= 0xe; /* loopback, this host, link-local, multicast and above */
}

static bool v6_refused(const struct in6_addr *a)
{
    static const uint8_t nat64[12] = {0x00, 0x64, 0xff, 0x9b};
    const uint8_t *b = a->s6_addr;
    uint32_t last = (uint32_t)b[12] << 24 | (uint32_t)b[13] << 16 | (uint32_t)b[14] << 8 | b[15];
    if (IN6_IS_ADDR_V4MAPPED(a) || IN6_IS_ADDR_V4COMPAT(a) || memcmp(b, nat64, sizeof nat64) == 0)
        return v4_refused(last) || last == 1; /* ::1 is v4-compatible in form */
    return IN6_IS_ADDR_LOOPBACK(a) || IN6_IS_ADDR_UNSPECIFIED(a) || IN6_IS_ADDR_LINKLOCAL(a) ||
           IN6_IS_ADDR_MULTICAST(a);
}

/* The IPv4 address that an IPv4-mapped one means: the kernel connects to it. */
static bool unmap(const struct sockaddr *address, struct sockaddr_in *v4)
{
    const struct sockaddr_in6 *v6 = (const void *)address;
    if (address->sa_family != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr))
        return false;
    *v4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = v6->sin6_port};
    memcpy(&v4->sin_addr, v6->sin6_addr.s6_addr + 12, sizeof v4->sin_addr);
    return true;
}

static bool same_address(const struct sockaddr *a, const struct sockaddr_storage *b)
{
    if (a->sa_family != b->ss_family)
        return false;
    if (a->sa_family == AF_INET) {
        const struct sockaddr_in *x = (const void *)a, *y = (const void *)b;
        return x->sin_port == y->sin_port && x->sin_addr.s_addr == y->sin_addr.s_addr;
    }
    const struct sockaddr_in6 *x = (const void *)a, *y = (const void *)b;
    return x->sin6_port == y->sin6_port && memcmp(&x->sin6_addr, &y->sin6_addr, sizeof x->sin6_addr) == 0;
}

bool policy_address_allowed(const struct sockaddr *address, const struct sockaddr_storage *own,
                            size_t own_count)
{
    struct sockaddr_in v4;
    if (unmap(address, &v4))
        address = (const struct sockaddr *)&v4;
    if (address->sa_family == AF_INET) {
        if (v4_refused(ntohl(((const struct sockaddr_in *)(const void *)address)->sin_addr.s_addr)))
            return false;
    } else if (address->sa_family != AF_INET6 ||
               v6_refused(&((const struct sockaddr_in6 *)(const void *)address)->sin6_addr)) {
        return false;
    }
    for (size_t i = 0; i < own_count; i++) {
        if (same_address(address, &own[i]))
            return false;
    }
    return true;
}
