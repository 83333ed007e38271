/* Between the pool of sign-in (signin.c) and what checks a password (signin_htpasswd.c, signin_ldap.c). The
 * pool knows threads and loops, the backends know files and directories; a backend's check runs on any of the
 * pool's threads, several at once.
 */
#ifndef STAGATE_SRC_STA_SIGNIN_IMPL_H
#define STAGATE_SRC_STA_SIGNIN_IMPL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "sta/signin.h"

#define SIGNIN_TEXT_MAX       255 /* bytes of a name or a password */
#define SIGNIN_DETAIL_MAX     300
#define SIGNIN_ATTRIBUTES_MAX 16 /* of name_attributes */

/* One check as a backend sees it. The name is valid (htpasswd_name_valid); the password may be empty, and is
 * then wrong. */
struct signin_job {
    const char *user;
    const char *password;
    atomic_bool cancelled; /* nobody waits: steps that are still to come may be left out */

    enum signin_result result;
    char *canonical;                /* owned; set with SIGNIN_OK */
    char detail[SIGNIN_DETAIL_MAX]; /* "": none */
};

/* Sets result and detail; the format never gets a password. */
void signin_job_end(struct signin_job *job, enum signin_result result, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

struct signin_backend;

struct signin_ops {
    void (*check)(struct signin_backend *b, struct signin_job *job);
    void (*free)(struct signin_backend *b);
};

struct signin_backend { /* embedded first in the backend's own struct */
    const struct signin_ops *ops;
};

/* 0 and *out owned, or negative with why filled. */
int signin_htpasswd_open(struct signin_backend **out, const char *path, char *why, size_t why_cap);
int signin_ldap_open(struct signin_backend **out, const struct signin_ldap *l, char *why, size_t why_cap);

#endif
