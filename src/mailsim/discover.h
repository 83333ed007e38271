/* Autodiscover for phones (MS-ASCMD 2.2.1.1, schema mobilesync/2006). */
#ifndef STAGATE_MAILSIM_DISCOVER_H
#define STAGATE_MAILSIM_DISCOVER_H

#include <stdbool.h>

#include "base/buf.h"

/* Answers a request document with where the server is: `url`, as its ActiveSync address. Appends XML, also
 * for what is no request for that schema (an Error with code 600 or 601). */
void discover_answer(const void *request, size_t len, const char *url, const char *user, struct buf *out);

#endif
