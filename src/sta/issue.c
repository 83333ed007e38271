/* Ticket values out of the system's random source, and records out of wishes. Called by whoever issues: the
 * STA service, the HTTP API, the command line. Keeps nothing: the value is the caller's to hand out and to
 * wipe.
 */
#include "sta/issue.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/mem.h"
#include "proto/hostport.h"
#include "proto/staxml.h"

#define RANDOM_BYTES (TICKET_VALUE_MAX / 2)

int issue_ticket_value(char value[TICKET_VALUE_MAX + 1], uint8_t hash[RECORD_HASH])
{
    static const char digits[] = "0123456789ABCDEF";
    uint8_t random[RANDOM_BYTES];

    for (size_t have = 0; have < sizeof random;) {
        ssize_t n = getrandom(random + have, sizeof random - have, 0);
        if (n < 0 && errno != EINTR)
            return -errno; /* libuv's codes are negated errno values too */
        have += n > 0 ? (size_t)n : 0;
    }
    for (size_t i = 0; i < sizeof random; i++) {
        value[2 * i] = digits[random[i] >> 4];
        value[2 * i + 1] = digits[random[i] & 15];
    }
    value[TICKET_VALUE_MAX] = '\0';
    mem_wipe(random, sizeof random);
    record_hash(hash, value, TICKET_VALUE_MAX);
    return 0;
}

/* ---- records ---- */

/* The lifetime, or 0 with *why. */
static int64_t lifetime_of(const struct issue_wish *w, const struct issue_rules *rules, const char **why)
{
    int64_t own = w->class == TICKET_BACKGROUND ? rules->background_ms
                  : w->refreshable              ? rules->refresh_ms
                                                : rules->session_ms;
    if (w->lifetime_ms == 0)
        return own;
    if (w->lifetime_ms < 0 || w->lifetime_ms > ISSUE_LIFETIME_MAX_MS) {
        *why = "a lifetime is between a millisecond and ten years";
        return 0;
    }
    if (rules->shorten_only && w->lifetime_ms > own) {
        *why = "a lifetime may be shorter than this class's own, not longer";
        return 0;
    }
    return w->lifetime_ms;
}

/* Brings services into normal form; texts are of HOSTPORT_TEXT bytes each. */
static bool normalise(struct issue_wish *w, char (*texts)[HOSTPORT_TEXT], const char **services,
                      const char **why)
{
    for (size_t i = 0; i < w->service_count; i++) {
        struct hostport hp;
        w->wrong = w->services[i];
        if (hostport_parse(&hp, w->services[i], strlen(w->services[i]),
                           HOSTPORT_ALLOW_BLANKS | HOSTPORT_ALLOW_WILDCARD, why) < 0)
            return false;
        hostport_format(&hp, texts[i]);
        services[i] = texts[i];
    }
    w->wrong = NULL;
    return true;
}

static bool values_are_good(struct issue_wish *w, const char **why)
{
    struct hostport hp;
    for (size_t i = 0; i < w->value_count; i++) {
        const char *value = w->values[i].value;
        if (strlen(value) > STAXML_TEXT_MAX) { /* whoever redeems it could not be told */
            *why = "more text than a ticket holds";
            w->wrong = NULL;
            return false;
        }
        w->wrong = value;
        if (strcmp(w->values[i].name, "ICAAddress") == 0 && value[0] != '\0' &&
            hostport_parse(&hp, value, strlen(value), HOSTPORT_ALLOW_BLANKS, why) < 0)
            return false;
    }
    w->wrong = NULL;
    return true;
}

struct record *issue_new(struct issue_wish *w, const struct issue_rules *rules, int64_t now_ms,
                         char value[TICKET_VALUE_MAX + 1], const char **why)
{
    const char *device = w->device != NULL ? w->device : "";
    const char *services[RECORD_SERVICES_MAX];
    uint8_t data[RECORD_BYTES_MAX];

    if (strlen(w->user) > ISSUE_NAME_MAX || strlen(device) > ISSUE_NAME_MAX) {
        *why = "user and device are at most 255 bytes";
        return NULL;
    }
    if (w->service_count > RECORD_SERVICES_MAX || w->value_count > RECORD_VALUES_MAX) {
        *why = "more services or values than a ticket holds";
        return NULL;
    }
    int64_t lifetime_ms = lifetime_of(w, rules, why);
    if (lifetime_ms == 0 || !values_are_good(w, why))
        return NULL;
    char(*texts)[HOSTPORT_TEXT] = mem_alloc((w->service_count + 1) * sizeof *texts);
    struct record *made = NULL;
    if (normalise(w, texts, services, why)) {
        bool refreshable = w->class == TICKET_SESSION && w->refreshable;
        struct record r = {
            .class = w->class,
            .issued_ms = now_ms,
            .expires_ms = now_ms + lifetime_ms,
            .refresh_ms = refreshable ? lifetime_ms : 0,
            .user = w->user,
            .device = device,
            .service_count = w->service_count,
            .services = services,
            .value_count = w->value_count,
            .values = w->values,
        };
        int len = record_encode(&r, data);
        *why = len < 0 ? "more text than a ticket holds" : "no random numbers to be had";
        if (len > 0 && issue_ticket_value(value, r.hash) == 0)
            made = record_decode(r.hash, data, (size_t)len);
    }
    free(texts);
    return made;
}
