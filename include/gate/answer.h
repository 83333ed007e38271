/* Refusals in HTTP, made from the table of reasons: at the doors, on the TLS port, and in the relay. */
#ifndef STAGATE_GATE_ANSWER_H
#define STAGATE_GATE_ANSWER_H

#include <stdbool.h>

#include "base/buf.h"
#include "gate/reason.h"

struct answer {
    enum reason reason;
    const char *detail; /* constant text or NULL */
    unsigned status;    /* 0: the reason's */
    bool reverse;       /* the mail server's place, not a proxy's: 401 instead of 407 */
    bool keep_alive;    /* else Connection: close */
    bool head;          /* answers HEAD: no body */
    bool http10;        /* to an HTTP/1.0 client, which has to be told that the connection stays */
};

/* Appends status line, X-Stagate-Reason, X-Stagate-Detail and a text that says what happened and what to
 * change.
 */
void answer_refusal(struct buf *out, const struct answer *a);
unsigned answer_status(const struct answer *a); /* that it has, or will have */

#endif
