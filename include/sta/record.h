/* What is kept of a ticket. One flat block: a fixed part, strings behind it; copied, stored and freed as a
 * whole. */
#ifndef STAGATE_STA_RECORD_H
#define STAGATE_STA_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RECORD_HASH        32 /* SHA-256 of the ticket value (30 or 32 characters, without its authority) */
#define RECORD_DIGITS      65 /* the hash in hexadecimal and NUL */
#define RECORD_FINGERPRINT 13 /* 12 hex digits of the hash and NUL: how logs and commands name a ticket */

enum ticket_class { TICKET_BACKGROUND, TICKET_SESSION };
/* EXPIRED is never stored: it follows from expires_ms. The order is that of "worst wins". */
enum ticket_state {
    TICKET_LIVE,
    TICKET_EXPIRED,
    TICKET_USED,
    TICKET_REVOKED,
    TICKET_FORGOTTEN /* a fault made the authority lose it: to whoever presents it, it is unknown */
};

struct record_value { /* TicketData's Value name="..." */
    const char *name;
    const char *value;
};

/* Everything a caller can say of a ticket. Pointers are borrowed from wherever; record_encode makes a flat
 * copy. */
struct record {
    uint8_t hash[RECORD_HASH];
    enum ticket_class class;
    enum ticket_state state;
    int64_t issued_ms; /* wall clock */
    int64_t expires_ms;
    int64_t ended_ms;   /* when it was used, revoked or forgotten, 0 while live */
    int64_t refresh_ms; /* session tickets: > 0: refreshable, may be redeemed again while it lives, and a
                           refresh lets it live this much longer */
    bool injected; /* a fault ended it, or made it expire: whoever sees the refusal must not chase a ghost */
    const char *user;   /* never NULL, may be "" */
    const char *device; /* never NULL, may be "" */
    size_t service_count;
    const char *const *services; /* "host:port" in normal form; none: whatever the policy allows */
    size_t value_count;
    const struct record_value *values;
};

#define RECORD_SERVICES_MAX 64
#define RECORD_VALUES_MAX   32
#define RECORD_BYTES_MAX                                                                                     \
    16393 /* encoded; whatever could be issued fits also when it has been ended by a fault */

void record_hash(uint8_t hash[RECORD_HASH], const char *ticket_value, size_t len);
void record_fingerprint(char dst[RECORD_FINGERPRINT], const uint8_t hash[RECORD_HASH]);
void record_digits(char dst[RECORD_DIGITS], const uint8_t hash[RECORD_HASH]); /* lower case */
/* The way back. false, and hash untouched, for anything but 64 lower-case digits. */
bool record_parse_digits(uint8_t hash[RECORD_HASH], const char *text);

/* The stored form (little endian, length-prefixed strings, a format version first). The hash is the key, not
 * part of it. Returns the length or ERR_TOO_BIG; dst has RECORD_BYTES_MAX bytes. */
int record_encode(const struct record *r, uint8_t *dst);
/* One allocation holding the struct, its arrays and strings: free with free(). NULL when the bytes are not a
 * record. */
struct record *record_decode(const uint8_t hash[RECORD_HASH], const uint8_t *data, size_t len);

/* What indexes go by, out of the stored form and without an allocation. Strings are borrowed from data, and
 * no NUL ends them. */
struct record_view {
    enum ticket_state state;
    int64_t issued_ms, expires_ms, ended_ms;
    const char *user, *device;
    size_t user_len, device_len;
};
bool record_peek(struct record_view *v, const uint8_t *data, size_t len); /* false: not a record */

/* The state at a given time: EXPIRED where a live ticket's time has come. */
enum ticket_state record_state_at(const struct record *r, int64_t now_ms);
const char *ticket_state_name(enum ticket_state s); /* "live", "expired", "used", "revoked", "forgotten" */
const char *ticket_class_name(enum ticket_class c); /* "background", "session" */

#endif
