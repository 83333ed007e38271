/* Files of names and password hashes, "NAME:HASH" a line, as htpasswd(1) and mkpasswd(1) write them: their
 * text only, no I/O. Hashes are bcrypt ($2a$ $2b$ $2y$) or SHA-512 crypt ($6$); comments (#) and empty lines
 * are skipped. Immutable once parsed. */
#ifndef STAGATE_BASE_HTPASSWD_H
#define STAGATE_BASE_HTPASSWD_H

#include <stdbool.h>
#include <stddef.h>

#define HTPASSWD_NAME_MAX    255 /* bytes of a name */
#define HTPASSWD_BYTES_MAX   (1 << 20)
#define HTPASSWD_USERS_MAX   10000
#define HTPASSWD_BCRYPT_MAX  16       /* cost; 2^16 rounds take seconds */
#define HTPASSWD_SHA512_MAX  10000000 /* rounds, likewise */
#define HTPASSWD_DECOY_BYTES 64

struct htpasswd;

/* Owned, or NULL with the first mistake: its line (0: the file as a whole) and a constant sentence. */
struct htpasswd *htpasswd_parse(const char *text, size_t len, unsigned *line, const char **why);
void htpasswd_free(struct htpasswd *h); /* wiped; NULL is fine */

/* Whether it can be a name: 1 to HTPASSWD_NAME_MAX bytes of UTF-8 without control characters. */
bool htpasswd_name_valid(const char *name, size_t len);
size_t htpasswd_count(const struct htpasswd *h);
/* Borrowed; NULL: no such user. Case counts. */
const char *htpasswd_hash(const struct htpasswd *h, const char *name);
/* A crypt(3) setting with the file's most common scheme and cost: what is run for a user who is not there. */
const char *htpasswd_decoy(const struct htpasswd *h);

#endif
