/* Shared by cmd_ticket.c (arguments), ticket_local.c (on the stores themselves), ticket_admin.c (by the
 * running gateway) and ticket_print.c. */
#ifndef STAGATE_STAGATE_TICKET_IMPL_H
#define STAGATE_STAGATE_TICKET_IMPL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gate/settings.h"
#include "proto/ticket.h"
#include "sta/record.h"

enum ticket_verb { VERB_ISSUE, VERB_LIST, VERB_SHOW, VERB_REVOKE, VERB_PURGE };

struct ticket_arguments {
    enum ticket_verb verb;
    const char *config;
    const char *user;
    const char *device;
    const char *class;
    const char *lifetime;
    const char *authority;
    const char *ica_address;
    const char *services[RECORD_SERVICES_MAX];
    size_t service_count;
    bool refreshable;
    bool json;
    struct ticket_string string; /* SHOW, REVOKE; count 0: look for the fingerprint. Secret */
    char fingerprint[2 * RECORD_HASH + 1];
};

struct issue_wish;
/* What the arguments of issue wish for; value is memory for an ICAAddress. 0, or the exit status of a usage
 * error. */
int ticket_wish(const struct ticket_arguments *a, struct issue_wish *w, struct record_value *value);

/* Each does the whole command and returns its exit status. ticket_by_admin: -1 when no gateway answers. */
int ticket_by_admin(const struct settings *s, const struct ticket_arguments *a);
int ticket_by_store(const struct settings *s, const struct ticket_arguments *a);

/* ---- printing: a table, or a JSON list ---- */

struct ticket_shown {
    const char *fingerprint, *authority, *class, *state, *issued, *expires, *user, *device;
    size_t service_count;
    const char *services[RECORD_SERVICES_MAX];
    bool refreshable, injected;
};

struct ticket_printer {
    bool json;
    size_t count;
};

void ticket_print(struct ticket_printer *p, const struct ticket_shown *t);
/* Ends the list; a list of nothing is said where that is asked for. */
void ticket_print_end(struct ticket_printer *p, bool say_none);

#endif
