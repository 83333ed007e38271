/* Values below HIST_SUB have a bucket each; above, each power of two is cut into HIST_SUB equal ones. */
#include "hist.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"

#define SUB_BITS 6

void hist_deinit(struct hist *h)
{
    free(h->n);
    *h = (struct hist){0};
}

size_t hist_bucket(uint64_t us)
{
    if (us < HIST_SUB)
        return us;
    unsigned power = 63 - (unsigned)__builtin_clzll(us);
    size_t b = (size_t)(power - SUB_BITS + 1) * HIST_SUB + ((us >> (power - SUB_BITS)) & (HIST_SUB - 1));
    return b < HIST_BUCKETS ? b : HIST_BUCKETS - 1;
}

uint64_t hist_bucket_top(size_t bucket)
{
    if (bucket < HIST_SUB)
        return bucket;
    unsigned shift = (unsigned)(bucket / HIST_SUB) - 1;
    return (((uint64_t)HIST_SUB + bucket % HIST_SUB + 1) << shift) - 1;
}

int hist_put(struct hist *h, size_t bucket, uint64_t n)
{
    if (bucket >= HIST_BUCKETS)
        return ERR_SYNTAX;
    if (h->n == NULL)
        h->n = mem_zalloc(HIST_BUCKETS * sizeof *h->n);
    h->n[bucket] += n;
    h->count += n;
    return 0;
}

void hist_add(struct hist *h, uint64_t us)
{
    if (h->count == 0 || us < h->min_us)
        h->min_us = us;
    if (us > h->max_us)
        h->max_us = us;
    h->sum_us += us;
    hist_put(h, hist_bucket(us), 1);
}

uint64_t hist_at(const struct hist *h, double share)
{
    double want = share * (double)h->count;
    uint64_t seen = 0;
    for (size_t i = 0; h->n != NULL && i < HIST_BUCKETS; i++) {
        seen += h->n[i];
        if (h->n[i] != 0 && (double)seen >= want) {
            uint64_t top = hist_bucket_top(i);
            return top < h->max_us ? top : h->max_us;
        }
    }
    return h->max_us;
}

void hist_merge(struct hist *into, const struct hist *from)
{
    if (from->count == 0)
        return;
    if (into->count == 0 || from->min_us < into->min_us)
        into->min_us = from->min_us;
    if (from->max_us > into->max_us)
        into->max_us = from->max_us;
    into->sum_us += from->sum_us;
    for (size_t i = 0; i < HIST_BUCKETS; i++)
        if (from->n[i] != 0)
            hist_put(into, i, from->n[i]);
}
