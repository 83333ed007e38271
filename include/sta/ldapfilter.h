/* LDAP filters (RFC 4515) with places for values: "(&(objectClass=person)(uid=%u))". Pure text. */
#ifndef STAGATE_STA_LDAPFILTER_H
#define STAGATE_STA_LDAPFILTER_H

#define LDAPFILTER_MAX 2048 /* bytes of a filter with its places */

/* 0, or ERR_SYNTAX with *why a constant sentence. letters are those that may stand behind a %, in values
 * only; one of them has to occur, unless there are none. A percent sign itself is \25. */
int ldapfilter_check(const char *filter, const char *letters, const char **why);

struct ldapfilter_values {
    const char *user; /* %u */
    const char *dn;   /* %d */
    const char *name; /* %n */
};

/* Owned. The filter is one that was checked, with letters whose values are not NULL. Whatever the values
 * hold, the filter's shape stays: all but plain characters are escaped. */
char *ldapfilter_fill(const char *filter, const struct ldapfilter_values *values);

#endif
