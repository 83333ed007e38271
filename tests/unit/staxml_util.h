/* Whether two STA messages say the same, and texts of messages. For the unit tests and the fuzz target. */
#ifndef STAGATE_TESTS_STAXML_UTIL_H
#define STAGATE_TESTS_STAXML_UTIL_H

#include <stdbool.h>
#include <string.h>

#include "proto/staxml.h"

#define T30 "D1B5869135ED230DBFA95E563F8B68"
#define T32 "6C0EE48D2E8CADFEE6D1EB93BFB52A57"

#define DECLARATION "<?xml version=\"1.0\" encoding=\"UTF-8\"?>"
#define DOCTYPE     "<!DOCTYPE CtxSTAProtocol SYSTEM \"CtxSTA.dtd\">"
#define MESSAGE(s)  DECLARATION DOCTYPE "<CtxSTAProtocol version=\"4.0\">" s "</CtxSTAProtocol>"
#define DATA(s)     MESSAGE("<ResponseData><TicketData>" s "</TicketData></ResponseData>")
#define ASK(s)      MESSAGE("<RequestData>" s "</RequestData>")

#define TEXT(s)  s, sizeof(s) - 1
#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))

static inline bool staxml_same_text(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static inline bool staxml_same_facts(const struct staxml_facts *a, const struct staxml_facts *b)
{
    if (a->service_count != b->service_count)
        return false;
    for (size_t i = 0; i < a->service_count; i++) {
        if (!staxml_same_text(a->services[i], b->services[i]))
            return false;
    }
    return staxml_same_text(a->class, b->class) && staxml_same_text(a->user, b->user) &&
           staxml_same_text(a->device, b->device) && a->lifetime_ms == b->lifetime_ms &&
           a->issued_ms == b->issued_ms && a->expires_ms == b->expires_ms && a->refresh_ms == b->refresh_ms;
}

static inline bool staxml_same(const struct staxml *a, const struct staxml *b)
{
    if (a->value_count != b->value_count)
        return false;
    for (size_t i = 0; i < a->value_count; i++) {
        if (strcmp(a->values[i].name, b->values[i].name) != 0 ||
            strcmp(a->values[i].value, b->values[i].value) != 0)
            return false;
    }
    return a->kind == b->kind && a->error == b->error && strcmp(a->version, b->version) == 0 &&
           a->ticket_types == b->ticket_types && a->refreshable == b->refreshable &&
           strcmp(a->authority, b->authority) == 0 && strcmp(a->ticket, b->ticket) == 0 &&
           a->ticket_version == b->ticket_version && staxml_same_facts(&a->facts, &b->facts);
}

#endif
