/* Bytes collected up to a maximum, that may hold tickets or passwords: growing copies instead of moving, and
 * whatever is given back is wiped. For the bodies and heads of httpd.c and httpc.c; base/buf.h is for what is
 * no secret. */
#ifndef STAGATE_HTTP_BODY_H
#define STAGATE_HTTP_BODY_H

#include <stddef.h>
#include <stdint.h>

struct body {
    uint8_t *data; /* owned */
    size_t len;
    size_t cap;
};

/* ERR_TOO_BIG, and nothing is changed, when it would be more than max bytes. */
int body_append(struct body *b, size_t max, const void *data, size_t len);
void body_deinit(struct body *b); /* can be used again */

#endif
