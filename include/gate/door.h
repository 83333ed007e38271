/* The doors: what a client speaks inside TLS until it has said what it wants. Told by the first bytes, parsed
 * without I/O, one struct for the time of the request only. Malformed requests are answered before
 * credentials are looked at. */
#ifndef STAGATE_GATE_DOOR_H
#define STAGATE_GATE_DOOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "gate/reason.h"
#include "gate/settings.h"
#include "proto/hostport.h"
#include "proto/ticket.h"

enum door_result {
    DOOR_MORE,   /* all input taken */
    DOOR_DONE,   /* target and ticket are known; input beyond *used is the tunnel's (activesync: all of the
                    input   is the relay's) */
    DOOR_REFUSE, /* reason and detail say why */
};

struct door;

/* doors: which are open, 1 << enum door_kind. */
struct door *door_new(unsigned doors);
void door_free(struct door *d); /* wipes credentials; NULL is fine */

/* Takes input. What has to be sent to the client at once (SOCKS method answers) is appended to reply. */
enum door_result door_feed(struct door *d, const uint8_t *data, size_t len, size_t *used, struct buf *reply);

int door_kind(const struct door *d); /* enum door_kind, -1 while the first byte has not come or it was none */
enum reason door_reason(const struct door *d);
const char *door_detail(const struct door *d); /* constant text or NULL */

/* After DOOR_DONE. The target, or NULL when a SOCKS client gave a ticket as its destination: the ticket tells
 * then. */
const struct hostport *door_target(const struct door *d);
const struct ticket_string *door_ticket(const struct door *d);
/* What the client called itself: the user name of Basic or RFC 1929, User-Agent of HTTP; "" if it said
 * nothing. Borrowed. */
const char *door_login(const struct door *d);
const char *door_agent(const struct door *d);
/* The activesync door: whom the client calls (Host without port), normalised; "" if nobody. Borrowed. */
const char *door_host(const struct door *d);

/* The answer: success for REASON_OK, else the refusal, in the door's own protocol, appended to reply. Nothing
 * is appended where the protocol has no way to say it. detail may be NULL. */
void door_answer(const struct door *d, enum reason r, const char *detail, struct buf *reply);
/* A refusal in HTTP, for those who speak HTTP where there is no door yet (plain HTTP on the TLS port). */
void door_http_refusal(enum reason r, const char *detail, struct buf *reply);

#endif
