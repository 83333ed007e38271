/* Where phones get their tickets: POST /v1/tickets of an authority, signed in as the phone's user. */
#ifndef STAGATE_EASLOAD_TICKET_H
#define STAGATE_EASLOAD_TICKET_H

#include <openssl/ssl.h>
#include <stddef.h>
#include <stdint.h>

#include "device.h"
#include "net/netloop.h"
#include "proto/url.h"

struct ticket_source;
struct ticket_request; /* open; owned by the source until its callback */

struct ticket_source_options {
    const char *url; /* "http://127.0.0.1:8080", perhaps with a path; "/v1/tickets" where it has none */
    SSL_CTX *tls;    /* for https; borrowed, counted up */
    size_t connections;
    uint64_t answer_ms;
    unsigned deadline_list; /* two of the loop's */
};
/* NULL with why a constant sentence. */
struct ticket_source *ticket_source_new(struct netloop *loop, const struct ticket_source_options *o,
                                        const char **why);
void ticket_source_close(struct ticket_source *s); /* open requests end without their callbacks */

/* ticket NULL: why says what is wrong. From the loop, never from inside ticket_ask. */
typedef void ticket_cb(void *owner, const char *ticket, const struct failure *why);
struct ticket_request *ticket_ask(struct ticket_source *s, const char *user, const char *password,
                                  const char *device, const char *lifetime, ticket_cb *cb, void *owner);
void ticket_cancel(struct ticket_request *r);

#endif
