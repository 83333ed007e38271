/* Authorities as counted objects. */
#include "sta/authority.h"

#include <stdlib.h>

#include "base/mem.h"

int authority_open(struct authority **out, const char *id, const char *store_url,
                   const struct store_options *options, char *why, size_t why_cap)
{
    struct store *store;
    int rc = store_open(&store, store_url, options, why, why_cap);
    if (rc < 0)
        return rc;
    struct authority *a = mem_zalloc(sizeof *a);
    atomic_init(&a->refs, 1);
    a->id = mem_strdup(id);
    a->store_url = mem_strdup(store_url);
    a->store = store;
    *out = a;
    return 0;
}

struct authority *authority_ref(struct authority *a)
{
    atomic_fetch_add(&a->refs, 1);
    return a;
}

void authority_unref(struct authority *a)
{
    if (a == NULL || atomic_fetch_sub(&a->refs, 1) != 1)
        return;
    store_close(a->store);
    free(a->id);
    free(a->store_url);
    free(a);
}
