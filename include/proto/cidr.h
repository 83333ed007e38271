/* Address ranges as administrators write them: "10.0.0.0/8", "192.0.2.7", "::1", "2001:db8::/32" (RFC 4632,
 * RFC 4291). An address is compared in the family it means: an IPv4-mapped IPv6 address is an IPv4 address.
 */
#ifndef STAGATE_PROTO_CIDR_H
#define STAGATE_PROTO_CIDR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct cidr {
    uint8_t address[16]; /* network order; IPv4 in the first four */
    uint8_t bits;
    bool v6;
};

/* Parses len bytes (need not end in NUL). 0, or ERR_SYNTAX with *why a constant sentence (why may be NULL):
 * no address, a prefix out of range, or bits set behind the prefix ("10.0.0.1/8"). */
int cidr_parse(struct cidr *out, const char *s, size_t len, const char **why);
/* Whether the address (AF_INET, AF_INET6; others never) lies in the range. */
bool cidr_contains(const struct cidr *c, const struct sockaddr *address);

#endif
