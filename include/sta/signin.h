/* Checking user names and passwords: an htpasswd file, or an LDAP directory. Both are slow on purpose or by
 * nature, so they run on a bounded pool of threads of their own, never on a loop.
 *
 * A wrong password costs the same as an unknown user: the file's most common scheme and cost is run against a
 * decoy; with LDAP a search without result is followed by a bind that must fail. An empty password is always
 * wrong: a directory would take it for an anonymous bind, and let it pass.
 */
#ifndef STAGATE_STA_SIGNIN_H
#define STAGATE_STA_SIGNIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

struct signin; /* counted; shared by all loops */

/* Search-then-bind: bind as bind_dn (anonymously where NULL), search below base for filter with %u replaced
 * by the (escaped) name, exactly one entry must be found; then bind as that entry with the given password. */
struct signin_ldap {
    const char *url;     /* ldap://host:port, ldaps://host:port, ldapi://... (the socket's path with %2F) */
    bool starttls;       /* on ldap:// only */
    const char *ca;      /* PEM file that the server's certificate is checked against; NULL: the system's. The
                            certificate has to name the url's host: an address as an IP subjectAltName; libldap
                            takes "localhost" for the machine's own full name */
    const char *bind_dn; /* NULL: anonymous */
    const char *bind_password; /* secret; NULL with an anonymous bind */
    const char *base;
    const char *filter;       /* such as (uid=%u) or (&(objectClass=person)(|(uid=%u)(mail=%u))) */
    const char *group_filter; /* NULL: none. A second search below group_base must find something: %u the name
                                 as typed, %d the entry's DN, %n the canonical name, all escaped */
    const char *group_base;   /* NULL: base */
    const char *user_attribute; /* NULL: the name as typed. Else the ticket's user is this attribute's first
                                   value: how a UID becomes the directory's user. An entry without one, or
                                   whose is no name (255 bytes of UTF-8), cannot sign in */
    bool fewer_variations; /* Domino's "fewer name variations with higher security": only a full, exact name
                              is taken: no wildcard, blank, comma or slash in it, and the one entry found must
                              hold it (case-insensitively) as a value of one of name_attributes */
    const char *const *name_attributes; /* NULL-terminated; default uid, mail, cn */
    int64_t timeout_ms;                 /* for each step; 0: 5000 */
};

/* What can be said of the settings alone. 0, or negative with *why a constant sentence: the url is none or
 * says more than scheme, host and port; starttls without ldap://; a filter that is not well-formed or lacks
 * its %u; no base, or one that is no DN; a bind_dn without its password. */
int signin_ldap_check(const struct signin_ldap *l, const char **why);

/* Reads the file and throws it away: 0, or negative with why filled as signin_open does. */
int signin_htpasswd_check(const char *path, char *why, size_t why_cap);

struct signin_options {
    const char *htpasswd;           /* file; NULL: ldap. Read again when it changes */
    const struct signin_ldap *ldap; /* copied */
    unsigned threads;               /* 0: 2 */
    size_t queue_max;               /* waiting checks; 0: 256 */
};

enum signin_result {
    SIGNIN_OK,
    SIGNIN_WRONG, /* unknown user or wrong password: never told apart */
    SIGNIN_BUSY,  /* too many checks wait */
    SIGNIN_DOWN,  /* no answer could be had: the file cannot be read, the directory is away */
};

/* 0 and *out with one reference, or negative with why filled: for htpasswd "FILE:LINE: what is wrong" (a
 * scheme other than bcrypt $2a$/$2b$/$2y$ and SHA-512 crypt $6$, no colon, a name twice, a cost that takes
 * minutes). LDAP is not contacted here: a directory that is away must not keep a gateway from starting; but
 * its settings and its CA file are checked. An htpasswd file that breaks or vanishes later leaves the old
 * content in force, and one error in the log. */
int signin_open(struct signin **out, const struct signin_options *options, char *why, size_t why_cap);
struct signin *signin_ref(struct signin *s);
void signin_unref(
    struct signin *s); /* NULL is fine; the last one ends the threads after what they are doing */

struct signin_client; /* one loop's way to it; holds a reference */
struct signin_client *signin_client_new(struct signin *s, uv_loop_t *loop);
/* Checks still open are finished and get their callbacks (those nobody waits for: signin_cancel first); then
 * closed(owner), from a later turn. */
void signin_client_close(struct signin_client *c, void (*closed)(void *owner), void *owner);

/* On the loop, never from inside signin_check. user: canonical name, borrowed, NULL unless SIGNIN_OK; detail:
 * a constant or borrowed sentence for the log where something failed, never with a password; may be NULL. */
typedef void signin_cb(void *owner, enum signin_result result, const char *user, const char *detail);
struct signin_request; /* an open check; owned by the client until its callback, then gone */
/* user and password are copied (and wiped after use): at most 255 bytes each, the name UTF-8 without control
 * characters and not empty, else SIGNIN_WRONG. */
struct signin_request *signin_check(struct signin_client *c, const char *user, const char *password,
                                    signin_cb *cb, void *owner);
/* The owner went away: its callback will not run. A check that waits leaves the queue, one that runs leaves
 * out what steps it can. */
void signin_cancel(struct signin_request *r);

#endif
