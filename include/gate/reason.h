/* The closed list of reasons: every refusal, cut and failure has exactly one. Log, metric label, HTTP status
 * and header, SOCKS reply, TLS alert, `stagate reasons` and docs/reasons.md are all made from this one table.
 */
#ifndef STAGATE_GATE_REASON_H
#define STAGATE_GATE_REASON_H

#include <stdint.h>

enum reason {
    REASON_OK,
    REASON_TICKET_MISSING,
    REASON_TICKET_MALFORMED,
    REASON_TICKET_UNKNOWN,
    REASON_TICKET_EXPIRED,
    REASON_TICKET_USED,
    REASON_TICKET_REVOKED,
    REASON_AUTHORITY_UNKNOWN,
    REASON_AUTHORITY_DOWN,
    REASON_SERVICE_NOT_LISTED,
    REASON_SERVICE_NOT_IN_TICKET,
    REASON_ADDRESS_NOT_ALLOWED,
    REASON_NETWORK_UNRESTRICTED,
    REASON_NETWORK_BLOCKED,
    REASON_WRONG_GATEWAY,
    REASON_REQUEST_MALFORMED,
    REASON_PROTOCOL_CGP,
    REASON_PROTOCOL_UNKNOWN,
    REASON_HANDSHAKE_TIMEOUT,
    REASON_REQUEST_TIMEOUT,
    REASON_IDLE_TIMEOUT,
    REASON_FORCED_TIMEOUT,
    REASON_TLS_FLOOR,
    REASON_TLS_LIBRARY,
    REASON_TLS_HANDSHAKE,
    REASON_SNI_MISMATCH,
    REASON_NOT_TLS,
    REASON_ACTIVESYNC_FLOOR,
    REASON_NOT_ACTIVESYNC,
    REASON_SYNCML,
    REASON_DEVICE_BLOCKED,
    REASON_COMMAND_MISMATCH,
    REASON_USER_MISMATCH,
    REASON_BACKEND_UNRESOLVED,
    REASON_BACKEND_REFUSED,
    REASON_BACKEND_TIMEOUT,
    REASON_BACKEND_TLS,
    REASON_BACKEND_CERTIFICATE,
    REASON_BACKEND_TLS_FLOOR,
    REASON_BACKEND_SSL3,
    REASON_BACKEND_LOGIN_FORM,
    REASON_BACKEND_MALFORMED,
    REASON_OVERLOADED,
    REASON_SHUTTING_DOWN,
    REASON_CLIENT_GONE,
    REASON_BACKEND_GONE,
    REASON_COUNT
};

struct reason_info {
    const char *id; /* "ticket_expired": what log, header and metrics say; never changes once released */
    uint16_t http; /* status of an answer (407 is 401 at the activesync door); 0: the connection just ends (no
                      request to answer) */
    uint8_t socks; /* RFC 1928 REP; 0: just ends */
    uint8_t alert; /* TLS alert description, 0: none */
    const char *sentence; /* what happened, for a person */
    const char *advice;   /* what to change */
};

const struct reason_info *reason_info(enum reason r);
enum reason reason_by_id(const char *id); /* REASON_COUNT if unknown */

#endif
