/* Who may sign in: a file of names and password hashes as htpasswd(1) writes it (bcrypt or SHA-512). A
 * password that was right is remembered as a keyed hash, since a check takes as long as it is meant to. */
#ifndef STAGATE_MAILSIM_USERS_H
#define STAGATE_MAILSIM_USERS_H

#include <stdbool.h>
#include <stddef.h>

struct users;

/* NULL with what is wrong in `why`. */
struct users *users_load(const char *path, char *why, size_t why_cap);
void users_free(struct users *u); /* NULL is fine */
bool users_check(struct users *u, const char *name, const char *password);

#endif
