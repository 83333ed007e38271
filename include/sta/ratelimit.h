/* Token buckets by name: how often a user or an address may try. One loop's; not thread-safe. A fixed number
 * of buckets: when it is full, the one that has been full again longest (and so says nothing) gives way, and
 * where none is, the one touched longest ago. */
#ifndef STAGATE_STA_RATELIMIT_H
#define STAGATE_STA_RATELIMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ratelimit;

/* burst tokens at most, refilled evenly over per_ms: exactly, also where an interval is no whole number of
 * milliseconds. All memory is taken here, some 100 bytes a bucket; at most 2^24 buckets, burst 1 to
 * 1,000,000, per_ms 1 ms to 100 years. */
struct ratelimit *ratelimit_new(size_t buckets, unsigned burst, uint64_t per_ms);
void ratelimit_free(struct ratelimit *r);
/* Takes a token of name's bucket; false when it is empty, with *retry_ms (may be NULL; 0 on success) until
 * the next one. Names are any strings and case counts. */
bool ratelimit_take(struct ratelimit *r, const char *name, uint64_t now_ms, uint64_t *retry_ms);
/* Gives one back: an attempt that turned out well does not count. */
void ratelimit_give(struct ratelimit *r, const char *name);

#endif
