/* STA ticket strings: ";VERSION;STAID;TICKET" (versions 10, 20, 22, 40) and the two-ticket form
 * ";42;STAID1;TICKET1;STAID2;TICKET2". Observed in public; there is no published grammar.
 *
 * Accepted: tickets of 30 or 32 characters out of A-Z 0-9, authority IDs of 1 to 16 out of A-Z a-z 0-9,
 * compared exactly. No blanks, nothing behind.
 */
#ifndef STAGATE_PROTO_TICKET_H
#define STAGATE_PROTO_TICKET_H

#include <stdbool.h>
#include <stddef.h>

#define TICKET_AUTHORITY_MAX 16
#define TICKET_VALUE_MAX     32
#define TICKET_STRING_MAX    112 /* ";42;" and twice "ID;VALUE", with separators and NUL */

struct ticket_ref {
    char authority[TICKET_AUTHORITY_MAX + 1];
    char value[TICKET_VALUE_MAX + 1]; /* secret: wiped by whoever holds it, never logged */
};

struct ticket_string {
    unsigned version; /* 10, 20, 22, 40 or 42 */
    unsigned count;   /* 1, or 2 for version 42 */
    struct ticket_ref ref[2];
};

/* 0, or ERR_SYNTAX with *why a constant sentence (why may be NULL) and *out wiped. */
int ticket_parse(struct ticket_string *out, const char *s, size_t len, const char **why);
/* Whether the bytes begin as a ticket string does (';' and a digit), well-formed or not. */
bool ticket_looks_like(const char *s, size_t len);
/* What is wrong with an authority ID, or with a ticket, that stands by itself: a constant sentence, NULL when
 * nothing is. */
const char *ticket_explain_authority(const char *s, size_t len);
const char *ticket_explain_value(const char *s, size_t len);
/* ";40;STAID;TICKET" (or ";42;..." when count is 2) into dst, NUL-terminated. */
void ticket_format(const struct ticket_string *t, char dst[TICKET_STRING_MAX]);

#endif
