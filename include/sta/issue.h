/* Making tickets: what was wished for, held against the rules, becomes a record with a new value. Used by the
 * STA service, the ticket API and the command line. */
#ifndef STAGATE_STA_ISSUE_H
#define STAGATE_STA_ISSUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/ticket.h"
#include "sta/record.h"

/* Draws a new ticket value: 32 upper-case hex digits, 128 bits of the system's random source (getrandom),
 * fills value and hash. 0, or negative when there is no randomness. The value is secret: mem_wipe it after
 * use. */
int issue_ticket_value(char value[TICKET_VALUE_MAX + 1], uint8_t hash[RECORD_HASH]);

struct issue_rules { /* lifetimes, in milliseconds */
    int64_t background_ms;
    int64_t session_ms;
    int64_t refresh_ms; /* of refreshable session tickets, and of each refresh */
    bool shorten_only;  /* a wished lifetime may be no longer than the class's own: for users who ask for
                           themselves */
};

#define ISSUE_LIFETIME_MAX_MS (3660LL * 24 * 3600 * 1000) /* ten years */
#define ISSUE_NAME_MAX        255                         /* bytes of user and device */

struct issue_wish {
    enum ticket_class class;
    bool refreshable;    /* session tickets */
    int64_t lifetime_ms; /* 0: the class's own */
    const char *user;
    const char *device; /* NULL: none */
    size_t service_count;
    const char *const *services; /* "host:port", blanks and wildcards allowed; brought into normal form */
    size_t value_count;
    const struct record_value *values;
    const char *wrong; /* set by issue_new where the sentence is about one of the texts above: that text */
};

/* A live record, given (free()), and its new value (to be wiped). NULL with *why a constant sentence: a
 * service that is no host:port, an ICAAddress that is none, a lifetime out of bounds, names too long or with
 * control characters, more than a record holds. */
struct record *issue_new(struct issue_wish *w, const struct issue_rules *rules, int64_t now_ms,
                         char value[TICKET_VALUE_MAX + 1], const char **why);

#endif
