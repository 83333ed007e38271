/* Ticket values out of the system's random source. Called by whoever issues: the STA service, the HTTP API,
 * the command line. Keeps nothing: the value is the caller's to hand out and to wipe.
 */
#include "sta/issue.h"

#include <errno.h>
#include <stdint.h>
#include <sys/random.h>

#include "base/mem.h"

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
