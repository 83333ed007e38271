/* Address ranges. Used for who may talk to a service; knows nothing of names. */
#include "proto/cidr.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include "base/err.h"

#define TEXT_MAX 64

static int fail(const char **why, const char *sentence)
{
    if (why != NULL)
        *why = sentence;
    return ERR_SYNTAX;
}

/* Digits only, no sign, no leading zero; -1 when it is no such number. */
static int parse_bits(const char *s)
{
    int n = 0;
    if (*s == '\0' || (s[0] == '0' && s[1] != '\0') || strlen(s) > 3)
        return -1;
    for (; *s != '\0'; s++) {
        if (*s < '0' || *s > '9')
            return -1;
        n = n * 10 + (*s - '0');
    }
    return n;
}

/* Whether all bits of the address from number `bits` on are zero. */
static bool is_clean(const uint8_t *address, size_t bytes, unsigned bits)
{
    for (size_t i = 0; i < bytes; i++) {
        unsigned keep = bits >= 8 * (i + 1) ? 8 : bits > 8 * i ? bits - 8 * (unsigned)i : 0;
        if ((address[i] & (0xffu >> keep)) != 0)
            return false;
    }
    return true;
}

int cidr_parse(struct cidr *out, const char *s, size_t len, const char **why)
{
    char text[TEXT_MAX];
    if (len == 0 || len >= sizeof text || memchr(s, '\0', len) != NULL)
        return fail(why,
                    "an address range is an IP address with or without a prefix, such as 10.0.0.0/8 or ::1");
    memcpy(text, s, len);
    text[len] = '\0';

    char *slash = strchr(text, '/');
    if (slash != NULL)
        *slash = '\0';
    struct cidr c = {0};
    if (inet_pton(AF_INET, text, c.address) == 1)
        c.v6 = false;
    else if (inet_pton(AF_INET6, text, c.address) == 1)
        c.v6 = true;
    else
        return fail(why,
                    "an address range is an IP address with or without a prefix, such as 10.0.0.0/8 or ::1");
    int most = c.v6 ? 128 : 32, bits = slash != NULL ? parse_bits(slash + 1) : most;
    if (bits < 0 || bits > most)
        return fail(why, c.v6 ? "the prefix of an IPv6 range is a number from 0 to 128"
                              : "the prefix of an IPv4 range is a number from 0 to 32");
    c.bits = (uint8_t)bits;
    if (!is_clean(c.address, (size_t)most / 8, c.bits))
        return fail(why, "the address has bits set behind its prefix: write the range's first address");
    *out = c;
    return 0;
}

bool cidr_contains(const struct cidr *c, const struct sockaddr *address)
{
    const uint8_t *bytes;
    bool v6 = false;
    if (address->sa_family == AF_INET) {
        bytes = (const uint8_t *)&((const struct sockaddr_in *)(const void *)address)->sin_addr;
    } else if (address->sa_family == AF_INET6) {
        const struct in6_addr *a = &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
        v6 = !IN6_IS_ADDR_V4MAPPED(a);
        bytes = a->s6_addr + (v6 ? 0 : 12);
    } else {
        return false;
    }
    if (v6 != c->v6)
        return false;
    size_t whole = c->bits / 8;
    unsigned rest = c->bits % 8;
    return memcmp(bytes, c->address, whole) == 0 &&
           (rest == 0 || ((bytes[whole] ^ c->address[whole]) & (0xffu << (8 - rest)) & 0xff) == 0);
}
