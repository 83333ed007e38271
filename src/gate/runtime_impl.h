/* Between runtime.c (sockets, TLS, the whole) and runtime_authority.c (authorities and sign-in). Complaints
 * go to standard error, prefixed with path. */
#ifndef STAGATE_SRC_GATE_RUNTIME_IMPL_H
#define STAGATE_SRC_GATE_RUNTIME_IMPL_H

#include "gate/runtime.h"

/* Takes authority number i over from old, or opens it, and fills its details. */
int runtime_open_authority(struct runtime *r, size_t i, const char *path, const struct runtime *old);
/* The settings that an authority which was taken over follows at once. */
void runtime_configure_authority(struct runtime *r, size_t i);
void runtime_free_details(struct runtime_authority *d);
int runtime_open_signin(struct runtime *r, const char *path);

#endif
