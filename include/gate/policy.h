/* The gatekeeper's decisions, without I/O, so that they are tested as tables: may this ticket reach this
 * target, and by which address. */
#ifndef STAGATE_GATE_POLICY_H
#define STAGATE_GATE_POLICY_H

#include <stdbool.h>
#include <sys/socket.h>

#include "gate/reason.h"
#include "gate/settings.h"
#include "sta/record.h"
#include "sta/store.h"

/* What a redemption's result means. */
enum reason policy_redeem_reason(enum redeem result);

/* The target of a ticket presented as a SOCKS destination: its ICAAddress, else its first service, else the
 * policy's first. False when it has none that is well-formed. */
bool policy_ticket_target(const struct settings *s, const struct record *ticket, struct hostport *target);

/* Network access, the policy's services, the ticket's services, in that order: REASON_OK or what stands
 * against it. */
enum reason policy_check_target(const struct settings *s, const struct record *ticket,
                                const struct hostport *target);
/* Whether the policy lists it. */
bool policy_is_listed(const struct settings *s, const struct hostport *target);
/* The service that a client at the activesync door means: the listed one whose host it calls (port 443 before
 * others), else the only one that the ticket or, where it has none, the policy names. False: none. */
bool policy_host_target(const struct settings *s, const struct record *ticket, const char *host,
                        struct hostport *target);
/* Whether the forced time-out leaves a good ticket any time: it counts from the ticket's issue, and beats its
 * expiry. */
enum reason policy_check_time(const struct settings *s, const struct record *ticket, int64_t now_ms);
/* The part of it that needs no ticket: does the policy let anybody use this gateway at all. */
enum reason policy_check_access(const struct settings *s);

/* Whether a resolved address may be connected to: not loopback, link-local, unspecified or multicast (also in
 * their IPv4-mapped and NAT64 forms), and not one of `own`, the addresses with ports that the gateway itself
 * listens on. Not asked for connect overrides. */
bool policy_address_allowed(const struct sockaddr *address, const struct sockaddr_storage *own,
                            size_t own_count);

#endif
