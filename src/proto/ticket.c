/* STA ticket strings, read strictly and written. Called by the doors (a ticket as a SOCKS destination or a
 * password), the authority and the command line. Knows nothing of stores or lifetimes, and keeps no copy of a
 * ticket: it is a secret.
 */
#include "proto/ticket.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"

static const struct {
    char text[3];
    unsigned version;
    unsigned count;
} versions[] = {{"10", 10, 1}, {"20", 20, 1}, {"22", 22, 1}, {"40", 40, 1}, {"42", 42, 2}};

struct cursor {
    const char *s;
    const char *end;
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_upper(char c)
{
    return c >= 'A' && c <= 'Z';
}

static bool is_lower(char c)
{
    return c >= 'a' && c <= 'z';
}

/* Takes ";" and what stands before the next one or the end. false when there is no ";". */
static bool take_part(struct cursor *c, const char **part, size_t *len)
{
    if (c->s == c->end || *c->s != ';')
        return false;
    const char *start = c->s + 1;
    const char *stop = memchr(start, ';', (size_t)(c->end - start));
    c->s = stop != NULL ? stop : c->end;
    *part = start;
    *len = (size_t)(c->s - start);
    return true;
}

static const char *parse_version(struct ticket_string *out, struct cursor *c)
{
    const char *part;
    size_t len;
    if (!take_part(c, &part, &len))
        return "a ticket string begins with a semicolon: ;40;STAID;TICKET";
    for (size_t i = 0; i < sizeof versions / sizeof versions[0]; i++) {
        if (len == 2 && memcmp(part, versions[i].text, 2) == 0) {
            out->version = versions[i].version;
            out->count = versions[i].count;
            return NULL;
        }
    }
    return "the ticket version is not one of 10, 20, 22, 40 and 42";
}

const char *ticket_explain_authority(const char *s, size_t len)
{
    if (len == 0 || len > TICKET_AUTHORITY_MAX)
        return "the authority ID is not of 1 to 16 characters";
    for (size_t i = 0; i < len; i++) {
        if (!is_digit(s[i]) && !is_upper(s[i]) && !is_lower(s[i]))
            return "the authority ID holds something else than letters and digits";
    }
    return NULL;
}

const char *ticket_explain_value(const char *s, size_t len)
{
    if (len != 30 && len != TICKET_VALUE_MAX)
        return "the ticket is not of 30 or 32 characters";
    for (size_t i = 0; i < len; i++) {
        if (!is_digit(s[i]) && !is_upper(s[i]))
            return "the ticket holds something else than capital letters and digits";
    }
    return NULL;
}

static const char *parse_ref(struct ticket_ref *ref, struct cursor *c)
{
    const char *part;
    size_t len;
    if (!take_part(c, &part, &len))
        return "the authority ID is missing";
    const char *problem = ticket_explain_authority(part, len);
    if (problem != NULL)
        return problem;
    memcpy(ref->authority, part, len);
    if (!take_part(c, &part, &len))
        return "the ticket is missing behind the authority ID";
    problem = ticket_explain_value(part, len);
    if (problem == NULL)
        memcpy(ref->value, part, len);
    return problem;
}

static const char *parse(struct ticket_string *out, struct cursor *c)
{
    const char *problem = parse_version(out, c);
    for (unsigned i = 0; problem == NULL && i < out->count; i++) {
        if (i > 0 && c->s == c->end)
            return "a version 42 ticket string carries two authorities and two tickets";
        problem = parse_ref(&out->ref[i], c);
    }
    if (problem == NULL && c->s != c->end)
        problem = "something follows the ticket";
    return problem;
}

int ticket_parse(struct ticket_string *out, const char *s, size_t len, const char **why)
{
    memset(out, 0, sizeof *out);
    struct cursor c = {s, s + len};
    const char *problem = parse(out, &c);
    if (problem == NULL)
        return 0;
    mem_wipe(out, sizeof *out);
    if (why != NULL)
        *why = problem;
    return ERR_SYNTAX;
}

bool ticket_looks_like(const char *s, size_t len)
{
    return len >= 2 && s[0] == ';' && is_digit(s[1]);
}

void ticket_format(const struct ticket_string *t, char dst[TICKET_STRING_MAX])
{
    assert(t->count == 1 || t->count == 2);
    int n = snprintf(dst, TICKET_STRING_MAX, ";%u;%s;%s", t->version, t->ref[0].authority, t->ref[0].value);
    if (t->count == 2)
        n += snprintf(dst + n, TICKET_STRING_MAX - (size_t)n, ";%s;%s", t->ref[1].authority, t->ref[1].value);
    assert(n > 0 && n < TICKET_STRING_MAX);
}
