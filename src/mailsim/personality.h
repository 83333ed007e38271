/* What the servers that mailsim stands in for do differently. docs/mailsim.md says where each value is from.
 */
#ifndef STAGATE_MAILSIM_PERSONALITY_H
#define STAGATE_MAILSIM_PERSONALITY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct personality {
    const char *name; /* as --personality has it */
    const char *title;
    const char *versions;  /* MS-ASProtocolVersions */
    const char *server;    /* Server */
    const char *as_server; /* MS-Server-ActiveSync */
    const char *realm;
    bool traveler;       /* Domino: its paths, its sign-in form, its policy */
    bool retry_after;    /* 503 tells when to come again */
    bool throttle_field; /* X-MS-ASThrottle */
    uint16_t heartbeat_min_s, heartbeat_max_s;
    uint16_t ping_folders_max, collections_max, window_max;
};

const struct personality *personality_find(const char *name); /* NULL: no such */
const struct personality *personality_at(size_t i);           /* NULL behind the last */
bool personality_has_version(const struct personality *p, unsigned version);
/* The highest version there is. */
unsigned personality_newest(const struct personality *p);
/* MS-ASProtocolCommands for what it speaks. */
const char *personality_commands(const struct personality *p);

#endif
