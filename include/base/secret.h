/* Secrets out of files: a password or a key, alone in the first line, so that it stands in no configuration,
 * no command line and no environment. */
#ifndef STAGATE_BASE_SECRET_H
#define STAGATE_BASE_SECRET_H

#include <stddef.h>

#define SECRET_MAX 1024 /* bytes, with the NUL */

/* The first line without its end (LF or CRLF). 0, or negative with why filled ("FILE: what is wrong"): not
 * readable, no or an empty first line, too long, control characters in it. mem_wipe it after use. */
int secret_read(const char *path, char out[SECRET_MAX], char *why, size_t why_cap);

#endif
