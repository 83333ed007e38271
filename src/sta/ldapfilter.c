/* Checking LDAP filters and filling in names that anybody may have typed. Used by sign-in (signin_ldap.c) and
 * its settings. Knows nothing of directories.
 */
#include "sta/ldapfilter.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"

#define DEPTH_MAX 32

struct parse {
    const char *at;
    const char *letters;
    bool placed; /* one of the letters was there */
    const char *why;
};

static bool is_hex(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static bool is_alnum(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool fail(struct parse *p, const char *why)
{
    p->why = why;
    return false;
}

static void skip_blanks(struct parse *p)
{
    p->at += strspn(p->at, " ");
}

/* attribute, =, ~=, >=, <= or := */
static bool parse_attribute(struct parse *p)
{
    const char *start = p->at;
    while (is_alnum(*p->at) || (*p->at && strchr("-.;:", *p->at)))
        p->at++;
    if (p->at == start)
        return fail(p, "an attribute's name is missing in the filter");
    if (*p->at && strchr("~<>", *p->at))
        p->at++;
    if (*p->at != '=')
        return fail(p, "a = is missing behind an attribute's name in the filter");
    p->at++;
    return true;
}

static bool parse_value(struct parse *p)
{
    for (; *p->at && *p->at != '(' && *p->at != ')'; p->at++) {
        if ((unsigned char)*p->at < ' ')
            return fail(p, "a control character in the filter");
        if (*p->at == '\\') {
            if (!is_hex(p->at[1]) || !is_hex(p->at[2]))
                return fail(p, "two hexadecimal digits have to follow a backslash in the filter");
            p->at += 2;
        } else if (*p->at == '%') {
            if (p->at[1] == '\0' || strchr(p->letters, p->at[1]) == NULL)
                return fail(p,
                            "a % in the filter stands before none of its letters (a percent sign is \\25)");
            p->placed = true;
            p->at++;
        }
    }
    return true;
}

static bool parse_filter(struct parse *p, unsigned depth);

static bool parse_list(struct parse *p, unsigned depth)
{
    bool single = *p->at == '!';
    unsigned count = 0;
    p->at++;
    skip_blanks(p);
    while (*p->at == '(') {
        if (!parse_filter(p, depth + 1))
            return false;
        count++;
        skip_blanks(p);
    }
    if (count == 0)
        return fail(p, "nothing follows a &, | or ! in the filter");
    if (single && count > 1)
        return fail(p, "more than one part follows a ! in the filter");
    return true;
}

static bool parse_filter(struct parse *p, unsigned depth)
{
    if (*p->at != '(')
        return fail(p, "the filter does not begin with a parenthesis");
    if (depth > DEPTH_MAX)
        return fail(p, "the filter's parentheses are nested too deep");
    p->at++;
    if (*p->at == '&' || *p->at == '|' || *p->at == '!') {
        if (!parse_list(p, depth))
            return false;
    } else if (!parse_attribute(p) || !parse_value(p)) {
        return false;
    }
    if (*p->at != ')')
        return fail(p, "a closing parenthesis is missing in the filter");
    p->at++;
    return true;
}

int ldapfilter_check(const char *filter, const char *letters, const char **why)
{
    struct parse p = {.at = filter, .letters = letters};
    if (strnlen(filter, LDAPFILTER_MAX + 1) > LDAPFILTER_MAX)
        fail(&p, "the filter is longer than 2048 bytes");
    else if (parse_filter(&p, 1) && *p.at != '\0')
        fail(&p, "something follows the filter's last parenthesis");
    else if (p.why == NULL && !p.placed && *letters)
        fail(&p, "the filter has no place for the name, such as %u");
    *why = p.why;
    return p.why ? ERR_SYNTAX : 0;
}

/* ---- filling in ---- */

static bool is_plain(char c)
{
    return is_alnum(c) || (c && strchr("-._@=,+ ", c));
}

/* Writes value, escaped, at to (NULL: only counts). Returns the length. */
static size_t put_value(char *to, const char *value)
{
    static const char digits[] = "0123456789abcdef";
    size_t len = 0;
    for (; *value; value++) {
        unsigned char c = (unsigned char)*value;
        if (is_plain(*value)) {
            if (to)
                to[len] = *value;
            len++;
            continue;
        }
        if (to) {
            to[len] = '\\';
            to[len + 1] = digits[c >> 4];
            to[len + 2] = digits[c & 15];
        }
        len += 3;
    }
    return len;
}

static size_t put_filter(char *to, const char *filter, const struct ldapfilter_values *values)
{
    size_t len = 0;
    for (; *filter; filter++) {
        if (*filter != '%') {
            if (to)
                to[len] = *filter;
            len++;
            continue;
        }
        filter++;
        const char *value = *filter == 'u' ? values->user : *filter == 'd' ? values->dn : values->name;
        assert(value != NULL && strchr("udn", *filter) != NULL);
        len += put_value(to ? to + len : NULL, value);
    }
    return len;
}

char *ldapfilter_fill(const char *filter, const struct ldapfilter_values *values)
{
    size_t len = put_filter(NULL, filter, values);
    char *out = mem_alloc(len + 1);
    put_filter(out, filter, values);
    out[len] = '\0';
    return out;
}
