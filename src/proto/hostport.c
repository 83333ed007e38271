/* Host and port, strictly, in one normal form. Called wherever a target is named: configuration, SOCKS and
 * CONNECT requests, ticket contents; whoever compares names compares what came out of here. Knows nothing of
 * DNS: a name that parses may not exist.
 *
 * Every refusal has a sentence of its own, since most readers of them are people in front of a configuration
 * file.
 */
#include "proto/hostport.h"

#include <arpa/inet.h>
#include <assert.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"

#define LABEL_MAX 63

/* A run of the caller's text. */
struct span {
    const char *s;
    size_t len;
};

static int refuse(const char **why, const char *sentence)
{
    if (why != NULL)
        *why = sentence;
    return ERR_SYNTAX;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static char to_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool is_hex(char c)
{
    c = to_lower(c);
    return is_digit(c) || (c >= 'a' && c <= 'f');
}

static bool span_has(struct span t, const char *needle)
{
    return memmem(t.s, t.len, needle, strlen(needle)) != NULL;
}

static size_t span_count(struct span t, char c)
{
    size_t n = 0;
    for (size_t i = 0; i < t.len; i++)
        n += t.s[i] == c;
    return n;
}

static struct span span_trim(struct span t)
{
    while (t.len > 0 && is_blank(t.s[0])) {
        t.s++;
        t.len--;
    }
    while (t.len > 0 && is_blank(t.s[t.len - 1]))
        t.len--;
    return t;
}

static const char *explain_character(char c)
{
    if ((unsigned char)c >= 0x80)
        return "the host name is not ASCII: write its A-label form, xn--...";
    if ((unsigned char)c < 0x20 || c == 0x7f) {
        if (c != '\t')
            return "the host name holds a control character";
    }
    switch (c) {
    case ' ':
    case '\t':
        return "the host name holds a blank";
    case '_':
        return "an underscore is not a character of a host name: letters, digits and hyphens are";
    case '*':
        return "a wildcard is not possible here: only as the whole first label, and where wildcards are "
               "allowed";
    case '%':
        return "a percent sign is not a character of a host name: neither encoding nor zone identifiers are "
               "taken";
    case '[':
    case ']':
        return "brackets stand around a whole IPv6 address only: write [2001:db8::1]:443";
    default:
        return "the host name holds a character that is not a letter, digit, hyphen or dot";
    }
}

/* The mistakes that concern the whole text; told before any part is looked at, since they explain best what
 * was meant. */
static int check_shape(struct span t, const char **why)
{
    if (t.len == 0)
        return refuse(why, "the host is missing: write mail.example.com:443");
    if (span_has(t, "://"))
        return refuse(why, "this is a URL: write only host and port, mail.example.com:443");
    if (span_has(t, "@"))
        return refuse(why,
                      "a user name before the host (\"user@\") is not possible: write mail.example.com:443");
    if (span_has(t, "/") || span_has(t, "\\") || span_has(t, "?") || span_has(t, "#"))
        return refuse(why, "a path is not possible here: write only host and port, mail.example.com:443");
    if (span_has(t, ","))
        return refuse(why, "a comma is not possible here: one host and port only, mail.example.com:443");
    return 0;
}

/* Whether some resolver would read the label as a number: decimal, or hexadecimal with 0x. */
static bool is_numeric_label(const char *s, size_t len)
{
    size_t i = 0;
    bool hex = len >= 2 && s[0] == '0' && to_lower(s[1]) == 'x';
    for (i = hex ? 2 : 0; i < len; i++) {
        if (hex ? !is_hex(s[i]) : !is_digit(s[i]))
            return false;
    }
    return true;
}

static int parse_label(const char *s, size_t len, const char **why)
{
    if (len == 0)
        return refuse(why, "the host name has an empty label (two dots, or a dot at its start)");
    for (size_t i = 0; i < len; i++) {
        char c = to_lower(s[i]);
        if (!is_digit(c) && !(c >= 'a' && c <= 'z') && c != '-')
            return refuse(why, explain_character(s[i]));
    }
    if (len > LABEL_MAX)
        return refuse(why, "a label of the host name is longer than 63 bytes");
    if (s[0] == '-' || s[len - 1] == '-')
        return refuse(why, "a label of the host name begins or ends with a hyphen");
    return 0;
}

static int parse_name(struct hostport *out, struct span t, const char **why)
{
    if (t.len > 0 && t.s[t.len - 1] == '.')
        t.len--; /* one only: a second one is an empty label */
    if (t.len == 0)
        return refuse(why, "the host is missing: write mail.example.com:443");
    const char *label = t.s;
    const char *end = t.s + t.len;
    for (;;) {
        const char *dot = memchr(label, '.', (size_t)(end - label));
        const char *stop = dot != NULL ? dot : end;
        int rc = parse_label(label, (size_t)(stop - label), why);
        if (rc < 0)
            return rc;
        if (dot == NULL)
            break;
        label = dot + 1;
    }
    if (t.len > HOSTPORT_HOST_MAX)
        return refuse(why, "the host name is longer than 253 bytes");
    if (is_numeric_label(label, (size_t)(end - label)))
        return refuse(
            why,
            "the host ends in a number but is not an IPv4 address: write four decimal numbers, 192.0.2.1");
    for (size_t i = 0; i < t.len; i++)
        out->host[i] = to_lower(t.s[i]);
    out->host[t.len] = '\0';
    out->kind = HOSTPORT_NAME;
    return 0;
}

/* Takes the text for an address literal of that family: true and the normal form in out->host if it is one.
 */
static bool parse_literal(struct hostport *out, struct span t, int family)
{
    char text[INET6_ADDRSTRLEN];
    uint8_t address[sizeof(struct in6_addr)];
    if (t.len == 0 || t.len >= sizeof text || memchr(t.s, '\0', t.len) != NULL)
        return false;
    memcpy(text, t.s, t.len);
    text[t.len] = '\0';
    if (inet_pton(family, text, address) != 1)
        return false;
    const char *done = inet_ntop(family, address, out->host, sizeof out->host);
    assert(done != NULL);
    out->kind = family == AF_INET ? HOSTPORT_IPV4 : HOSTPORT_IPV6;
    return true;
}

static int parse_ipv6(struct hostport *out, struct span t, const char **why)
{
    if (memchr(t.s, '%', t.len) != NULL)
        return refuse(why, "a zone identifier (\"%eth0\") is not possible in an IPv6 address");
    if (!parse_literal(out, t, AF_INET6))
        return refuse(why, "this is not an IPv6 address: write it like 2001:db8::1");
    return 0;
}

/* A host without brackets and without a colon. */
static int parse_plain_host(struct hostport *out, struct span t, unsigned flags, const char **why)
{
    bool wildcard = (flags & HOSTPORT_ALLOW_WILDCARD) && t.len >= 2 && memcmp(t.s, "*.", 2) == 0;
    if (wildcard) {
        t.s += 2;
        t.len -= 2;
    }
    if (parse_literal(out, t, AF_INET)) {
        if (wildcard)
            return refuse(why, "a wildcard stands before a name, not before an address");
        return 0;
    }
    int rc = parse_name(out, t, why);
    if (rc < 0)
        return rc;
    out->wildcard = wildcard;
    return 0;
}

static int parse_port(struct hostport *out, struct span t, const char **why)
{
    unsigned port = 0;
    if (t.len == 0)
        return refuse(why, "the port is missing behind the colon: write mail.example.com:443");
    for (size_t i = 0; i < t.len; i++) {
        if (!is_digit(t.s[i]))
            return refuse(why, "the port is not a number: write mail.example.com:443");
    }
    if (t.s[0] == '0')
        return refuse(why, t.len == 1 ? "port 0 does not exist: ports are 1 to 65535"
                                      : "the port has a leading zero: write mail.example.com:443");
    for (size_t i = 0; i < t.len; i++) {
        port = port * 10 + (unsigned)(t.s[i] - '0');
        if (port > UINT16_MAX)
            return refuse(why, "the port is too large: ports are 1 to 65535");
    }
    out->port = (uint16_t)port;
    return 0;
}

/* Splits "[host]:port". */
static int split_brackets(struct span t, unsigned flags, struct span *host, struct span *port,
                          const char **why)
{
    const char *close = memchr(t.s, ']', t.len);
    if (close == NULL)
        return refuse(why, "the closing bracket is missing: write [2001:db8::1]:443");
    *host = (struct span){t.s + 1, (size_t)(close - t.s) - 1};
    struct span rest = {close + 1, t.len - host->len - 2};
    if (flags & HOSTPORT_ALLOW_BLANKS)
        rest = span_trim(rest);
    if (rest.len == 0)
        return refuse(why, "the port is missing: write [2001:db8::1]:443");
    if (rest.s[0] != ':')
        return refuse(why,
                      "a colon and the port have to follow the closing bracket: write [2001:db8::1]:443");
    *port = (struct span){rest.s + 1, rest.len - 1};
    return 0;
}

static int parse_host_and_port(struct hostport *out, struct span t, unsigned flags, const char **why)
{
    struct span host;
    struct span port;
    if (flags & HOSTPORT_ALLOW_BLANKS)
        t = span_trim(t);
    int rc = check_shape(t, why);
    if (rc < 0)
        return rc;
    bool brackets = t.s[0] == '[';
    if (brackets) {
        rc = split_brackets(t, flags, &host, &port, why);
        if (rc < 0)
            return rc;
    } else {
        const char *colon = memchr(t.s, ':', t.len);
        if (colon == NULL) {
            rc = parse_plain_host(out, t, flags, why);
            return rc < 0 ? rc : refuse(why, "the port is missing: write mail.example.com:443");
        }
        if (span_count(t, ':') > 1)
            return refuse(
                why,
                "more than one colon: write host:port, an IPv6 address in brackets as in [2001:db8::1]:443");
        host = (struct span){t.s, (size_t)(colon - t.s)};
        port = (struct span){colon + 1, t.len - host.len - 1};
    }
    if (flags & HOSTPORT_ALLOW_BLANKS) {
        host = brackets ? host : span_trim(host);
        port = span_trim(port);
    }
    rc = brackets ? parse_ipv6(out, host, why) : parse_plain_host(out, host, flags, why);
    if (rc < 0)
        return rc;
    return parse_port(out, port, why);
}

static int parse_host_only(struct hostport *out, struct span t, const char **why)
{
    int rc = check_shape(t, why);
    if (rc < 0)
        return rc;
    if (t.s[0] == '[') {
        if (t.s[t.len - 1] != ']')
            return refuse(why, memchr(t.s, ']', t.len) != NULL
                                   ? "only the host is wanted here, without a port"
                                   : "the closing bracket is missing: write [2001:db8::1]");
        return parse_ipv6(out, (struct span){t.s + 1, t.len - 2}, why);
    }
    size_t colons = span_count(t, ':');
    if (colons == 1)
        return refuse(why, "only the host is wanted here, without a port");
    if (colons > 1)
        return parse_ipv6(out, t, why);
    return parse_plain_host(out, t, 0, why);
}

int hostport_parse(struct hostport *out, const char *s, size_t len, unsigned flags, const char **why)
{
    *out = (struct hostport){.port = 0};
    int rc = parse_host_and_port(out, (struct span){s, len}, flags, why);
    if (rc < 0)
        *out = (struct hostport){.port = 0}; /* no half-parsed name may be used by mistake */
    return rc;
}

int hostport_parse_host(struct hostport *out, const char *s, size_t len, const char **why)
{
    *out = (struct hostport){.port = 0};
    int rc = parse_host_only(out, (struct span){s, len}, why);
    if (rc < 0)
        *out = (struct hostport){.port = 0};
    return rc;
}

bool hostport_equal(const struct hostport *a, const struct hostport *b)
{
    return a->kind == b->kind && a->port == b->port && a->wildcard == b->wildcard &&
           strcmp(a->host, b->host) == 0;
}

bool hostport_matches(const struct hostport *pattern, const struct hostport *target)
{
    assert(!target->wildcard);
    if (!pattern->wildcard)
        return hostport_equal(pattern, target);
    if (target->kind != HOSTPORT_NAME || target->port != pattern->port)
        return false;
    size_t below = strlen(target->host);
    size_t base = strlen(pattern->host);
    if (below < base + 2) /* a label of one byte and its dot at least */
        return false;
    return target->host[below - base - 1] == '.' && strcmp(target->host + below - base, pattern->host) == 0;
}

void hostport_format(const struct hostport *hp, char dst[HOSTPORT_TEXT])
{
    bool brackets = hp->kind == HOSTPORT_IPV6;
    int n = snprintf(dst, HOSTPORT_TEXT, "%s%s%s%s:%u", hp->wildcard ? "*." : "", brackets ? "[" : "",
                     hp->host, brackets ? "]" : "", (unsigned)hp->port);
    assert(n > 0 && n < HOSTPORT_TEXT);
}

int hostport_sockaddr(const struct hostport *hp, struct sockaddr_storage *sa)
{
    int ok = 0;
    memset(sa, 0, sizeof *sa);
    if (hp->kind == HOSTPORT_IPV4) {
        struct sockaddr_in *v4 = (struct sockaddr_in *)sa;
        v4->sin_family = AF_INET;
        v4->sin_port = htons(hp->port);
        ok = inet_pton(AF_INET, hp->host, &v4->sin_addr);
    } else if (hp->kind == HOSTPORT_IPV6) {
        struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)sa;
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(hp->port);
        ok = inet_pton(AF_INET6, hp->host, &v6->sin6_addr);
    } else {
        return ERR_UNSUPPORTED;
    }
    assert(ok == 1);
    return 0;
}
