/* Host and port as this project compares them: parsed once, strictly, into one normal form, so that name
 * tricks end here.
 *
 * Normal form: host names in lower case, LDH labels (letters, digits, hyphen inside; RFC 1123) of 1 to 63
 * bytes, 253 in all, one trailing dot removed; IPv4 as four decimal numbers; IPv6 as RFC 5952 text without
 * brackets. IDN is taken in A-label form
 * ("xn--..."). Refused: empty labels ("a..b"), underscores and other characters, NUL, user info
 * ("user@host"), zone identifiers, names whose last label is numeric without being an IPv4 address ("127.1",
 * "0x7f000001"), ports 0, above 65535 or with leading zeros ("0443").
 */
#ifndef STAGATE_PROTO_HOSTPORT_H
#define STAGATE_PROTO_HOSTPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define HOSTPORT_HOST_MAX 253
#define HOSTPORT_TEXT     264 /* "[" host "]:65535" and NUL */

enum hostport_kind { HOSTPORT_NAME, HOSTPORT_IPV4, HOSTPORT_IPV6 };

struct hostport {
    char host[HOSTPORT_HOST_MAX + 1]; /* normal form; a wildcard "*.example.com" is kept without its "*." */
    uint16_t port;                    /* 0 only after hostport_parse_host */
    enum hostport_kind kind;
    bool wildcard;
};

enum {
    HOSTPORT_ALLOW_WILDCARD = 1, /* "*.example.com:443": one or more labels in front */
    HOSTPORT_ALLOW_BLANKS =
        2, /* blanks and tabs at both ends and around the colon: "mail.example.com: 443" */
};

/* Parses "host:port", "1.2.3.4:port" or "[v6]:port" out of len bytes (need not end in NUL). 0, or ERR_SYNTAX
 * with *why a constant sentence for a person (why may be NULL). A missing port is an error of its own
 * wording, with a hint. */
int hostport_parse(struct hostport *out, const char *s, size_t len, unsigned flags, const char **why);
/* The same for a host alone ("mail.example.com", "1.2.3.4", "::1" or "[::1]"); port becomes 0. */
int hostport_parse_host(struct hostport *out, const char *s, size_t len, const char **why);

/* Whether target (never a wildcard) is what pattern means: equal, or below a wildcard ("*.example.com"
 * matches "a.example.com" and "a.b.example.com", not "example.com"), port equal. */
bool hostport_matches(const struct hostport *pattern, const struct hostport *target);
bool hostport_equal(const struct hostport *a, const struct hostport *b);

/* "host:port", IPv6 in brackets, wildcard with its "*.". */
void hostport_format(const struct hostport *hp, char dst[HOSTPORT_TEXT]);

/* For an IPv4 or IPv6 literal: fills the socket address and returns 0; ERR_UNSUPPORTED for a name. */
int hostport_sockaddr(const struct hostport *hp, struct sockaddr_storage *sa);

#endif
