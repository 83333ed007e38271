/* Which of the mail servers' addresses failed lately: one worker's memory of them. A failed one is tried
 * after the others for a while; never left out, and nothing but a failure to connect counts. */
#ifndef STAGATE_SRC_GATE_OUTAGE_H
#define STAGATE_SRC_GATE_OUTAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conn_impl.h"

#define OUTAGE_MS    30000
#define OUTAGE_SLOTS 64 /* addresses remembered; the oldest gives way */

struct outages;
struct outages *outages_new(void);
void outages_free(struct outages *o);
/* It failed, or is back. */
void outage_note(struct outages *o, uint64_t now_ms, const union peer_address *address, bool failed);
/* Those that failed go behind the others; order is kept otherwise. */
void outage_order(const struct outages *o, uint64_t now_ms, union peer_address *addresses, size_t count);

#endif
