/* A histogram of times in microseconds: log-linear, so that every value up to 2^42 µs (50 days) is told
 * within 1.6 %, whatever its size, and histograms of several processes add up exactly.
 */
#ifndef STAGATE_EASLOAD_HIST_H
#define STAGATE_EASLOAD_HIST_H

#include <stddef.h>
#include <stdint.h>

#define HIST_SUB     64 /* buckets of each power of two */
#define HIST_BUCKETS ((42 - 6 + 1) * HIST_SUB)

struct hist {
    uint64_t count, sum_us, min_us, max_us;
    uint64_t *n; /* owned, HIST_BUCKETS of them; NULL while nothing was added */
};

void hist_deinit(struct hist *h); /* zeroed memory is an empty one */
void hist_add(struct hist *h, uint64_t us);
/* The smallest value that at least this share (0 < share <= 1) of all are not above; never more than max_us.
 * 0 where there are none. */
uint64_t hist_at(const struct hist *h, double share);
void hist_merge(struct hist *into, const struct hist *from);
/* Bucket by bucket, for writing down and reading back: number and the highest value in it. */
size_t hist_bucket(uint64_t us);
uint64_t hist_bucket_top(size_t bucket);
/* Adds n values to one bucket, as hist_add does but for sum_us, min_us and max_us, which the caller sets. 0,
 * or ERR_SYNTAX for a bucket that there is not. */
int hist_put(struct hist *h, size_t bucket, uint64_t n);

#endif
