/* The tickets that a worker's connections came with, and what time and administrators do to them: tunnels of
 * a revoked ticket are cut, forced and expired ones end as the policy says, refreshable tickets are refreshed
 * while they are in use. One entry for each ticket, however many tunnels it has; entries stand in a heap by
 * when something is due, in wall-clock time, which is looked at four times a second, so that a clock that
 * jumps is no special case.
 *
 * Called by conn_request.c (a ticket was redeemed), conn.c (a connection ends) and worker.c (a ticket has
 * ended). */
#ifndef STAGATE_SRC_GATE_TUNNELS_H
#define STAGATE_SRC_GATE_TUNNELS_H

#include <stddef.h>
#include <stdint.h>

#include "base/heap.h"
#include "base/list.h"
#include "net/netloop.h"
#include "sta/authority.h"

struct conn;
struct worker;
struct held; /* a ticket in use */

struct tunnels {
    struct worker *worker;
    struct list *buckets; /* owned; bucket_count is a power of two */
    size_t bucket_count;
    size_t count;
    struct heap heap; /* of struct held, by when something is due */
    struct deadline tick;
    struct list rechecks; /* of struct held: to be asked about again */
    size_t asking;        /* of them, now */
};

void tunnels_init(struct tunnels *t, struct worker *w);
void tunnels_deinit(struct tunnels *t); /* empty by then */

/* The connection came in with this ticket, and will be told when it ends; it joins or makes the entry.
 * client: of the authority, in the connection's runtime, which lives as long as the connection. ref: copied
 * where a remote authority has to be asked to refresh it. */
void tunnels_add(struct tunnels *t, struct conn *c, const struct record *ticket, const struct ticket_ref *ref,
                 struct authority_client *client);
void tunnels_remove(struct tunnels *t, struct conn *c); /* harmless when it never came in */

/* A ticket ended: TICKET_REVOKED or TICKET_EXPIRED (by a fault). hash NULL: any of that authority's may have.
 */
void tunnels_ended(struct tunnels *t, const struct authority *a, const uint8_t *hash, enum ticket_state how);

#endif
