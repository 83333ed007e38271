/* Between runtime.c (sockets, TLS, the whole), runtime_authority.c (authorities and sign-in) and
 * runtime_backends.c (mail servers). Complaints
 * go to standard error, prefixed with path. */
#ifndef STAGATE_SRC_GATE_RUNTIME_IMPL_H
#define STAGATE_SRC_GATE_RUNTIME_IMPL_H

#include "gate/runtime.h"

/* Takes authority number i over from old, or opens it, and fills its details. */
int runtime_open_authority(struct runtime *r, size_t i, const char *path, const struct runtime *old);
/* The settings that an authority which was taken over follows at once. */
void runtime_configure_authority(struct runtime *r, size_t i);
void runtime_free_details(struct runtime_authority *d);
/* runtime_backends.c: for each service, and for those without an entry. */
int runtime_open_backends(struct runtime *r, const char *path);
void runtime_free_backends(struct runtime *r);
int runtime_open_signin(struct runtime *r, const char *path);

#endif
