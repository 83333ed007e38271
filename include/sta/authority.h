/* A ticket authority: an ID and what answers for it. Shared by all workers and by successive configurations;
 * counted. */
#ifndef STAGATE_STA_AUTHORITY_H
#define STAGATE_STA_AUTHORITY_H

#include <stdatomic.h>
#include <stddef.h>

#include "sta/store.h"

struct authority {
    atomic_uint refs;
    char *id;        /* owned */
    char *store_url; /* owned */
    struct store *store;
};

/* 0 and *out with one reference, or negative with why filled. */
int authority_open(struct authority **out, const char *id, const char *store_url,
                   const struct store_options *options, char *why, size_t why_cap);
struct authority *authority_ref(struct authority *a);
void authority_unref(struct authority *a); /* the last one closes the store; NULL is fine */

#endif
