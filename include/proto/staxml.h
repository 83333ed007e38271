/* The STA's XML messages, both ways, without I/O: docs/sta-protocol.md says what of them was observed, what
 * is documented, and what is this project's own. Parsed with expat, in UTF-8, US-ASCII, ISO-8859-1 or UTF-16.
 * A DOCTYPE is tolerated and never fetched; declarations inside it are refused, as is every entity but the
 * five predefined and character references, and what goes beyond the limits below.
 *
 * An element is known by its name where it may stand; elsewhere, as every other that is not known, it is
 * skipped with all it holds. Order does not matter; what may stand once may not stand twice. Namespaces have
 * no meaning here: a prefix is part of the name.
 */
#ifndef STAGATE_PROTO_STAXML_H
#define STAGATE_PROTO_STAXML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "proto/ticket.h"

#define STAXML_VERSION      "4.0"
#define STAXML_BYTES_MAX    65536
#define STAXML_DEPTH_MAX    16
#define STAXML_ELEMENTS_MAX 512
#define STAXML_VALUES_MAX   32
#define STAXML_SERVICES_MAX 64
#define STAXML_TEXT_MAX     8192 /* of one text or attribute that is kept, decoded */
#define STAXML_MS_MAX       INT64_C(999999999999999)

enum staxml_kind {
    STAXML_REQUEST_TICKET,
    STAXML_REQUEST_DATA,
    STAXML_REQUEST_REFRESH,      /* RequestTicketRefresh */
    STAXML_REQUEST_AUTHORITY_ID, /* our own name for it */
    STAXML_RESPONSE_TICKET,
    STAXML_RESPONSE_DATA,
    STAXML_RESPONSE_REFRESH,
    STAXML_RESPONSE_AUTHORITY_ID,
    STAXML_RESPONSE_ERROR, /* the answer to what could not even be told apart */
    STAXML_KINDS
};

/* A closed set of our own: real codes are not public. NONE in a request and in a success. An Error whose id
 * is not of the set (another authority's) is parsed as INTERNAL. */
enum staxml_error {
    STAXML_ERROR_NONE,
    STAXML_ERROR_BAD_REQUEST, /* no well-formed message of this protocol */
    STAXML_ERROR_UNSUPPORTED, /* a message or ticket type that is not served */
    STAXML_ERROR_TICKET_UNKNOWN,
    STAXML_ERROR_TICKET_EXPIRED,
    STAXML_ERROR_TICKET_USED,
    STAXML_ERROR_TICKET_REVOKED,
    STAXML_ERROR_NOT_REFRESHABLE,
    STAXML_ERROR_LIMIT, /* too many tickets */
    STAXML_ERROR_ACCESS_DENIED,
    STAXML_ERROR_SSL_REQUIRED,
    STAXML_ERROR_BUSY,     /* come again later: store full or behind */
    STAXML_ERROR_INTERNAL, /* the store failed */
    STAXML_ERRORS
};
const char *staxml_error_name(enum staxml_error e); /* "ticket-unknown" */

/* Ticket types, as bits: AllowedTicketType of a request may stand more than once. */
enum { STAXML_TYPE_V1 = 1, STAXML_TYPE_V4 = 2 };

struct staxml_value {
    const char *name;
    const char *value;
};

/* What this project's gateways and authorities tell each other beyond the observed protocol, so that a
 * gateway beside its authority behaves as one with a store of its own; others neither send nor read it. In
 * requests: what is wanted; in answers: what is. Absent members: NULL, 0. Times are whole milliseconds in the
 * XML too, of at most 15 digits (STAXML_MS_MAX). */
struct staxml_facts {
    const char *class; /* "background" or "session" */
    const char *user;
    const char *device;
    int64_t lifetime_ms; /* requests */
    int64_t issued_ms;   /* answers: wall clock of the authority */
    int64_t expires_ms;
    int64_t refresh_ms; /* > 0: refreshable, by so much */
    size_t service_count;
    const char *services[STAXML_SERVICES_MAX]; /* "host:port", not checked here */
};

/* A message. Pointers are into memory of the message: staxml_free. */
struct staxml {
    enum staxml_kind kind;
    enum staxml_error error; /* responses */
    const char *error_text;  /* written only: a sentence beside the error's own; NULL: that one */
    char version[8];         /* attribute of CtxSTAProtocol; STAXML_VERSION where it is absent or "" */
    /* RequestTicket: STAXML_TYPE_*, 0 where none is known; ResponseTicket: the one it is */
    unsigned ticket_types;
    bool refreshable;                         /* RequestTicket: Control/Refreshable is true */
    char authority[TICKET_AUTHORITY_MAX + 1]; /* ResponseTicket, ResponseAuthorityID; "" if absent */
    char ticket[TICKET_VALUE_MAX + 1];        /* RequestData, RequestTicketRefresh, ResponseTicket; secret */
    /* Its version attribute or TicketVersion: 10, 20, 22, 40; 0 if absent. Written in ResponseTicket from
     * ticket_types where it is 0. */
    unsigned ticket_version;
    size_t value_count; /* TicketData, in requests for tickets and in ResponseData; no name stands twice */
    struct staxml_value values[STAXML_VALUES_MAX];
    struct staxml_facts facts;
    void *memory; /* owned */
};

/* Parses a whole message. 0, or ERR_SYNTAX, ERR_TOO_BIG or ERR_UNSUPPORTED (well-formed, but a message that
 * is not known) with *why a constant sentence (why may be NULL); *out then holds nothing. */
int staxml_parse(struct staxml *out, const char *data, size_t len, const char **why);
void staxml_free(struct staxml *m); /* wipes all of it; for messages that were parsed, also in vain */

/* Appends the message as XML with declaration and DOCTYPE; staxml_parse reads it to the same. Fields that the
 * kind has no place for are ignored, all but the error where there is one. 0, or ERR_TOO_BIG (out's maximum,
 * or one of the limits above) with out as it was. Text is escaped; bytes that are no UTF-8 and characters
 * that XML 1.0 cannot carry become U+FFFD. */
int staxml_write(struct buf *out, const struct staxml *m);

/* XData holds XML of its own (CtxConnInfo): who and what, for the log. Members are "" where absent; cut where
 * too long. 0 or ERR_SYNTAX. */
struct staxml_conninfo {
    char server_address[256];
    char user[256];
    char domain[256];
    char application[256];
    char protocol[64];
};
int staxml_parse_conninfo(struct staxml_conninfo *out, const char *data, size_t len);

#endif
