/* Tickets over HTTP and JSON: for users after sign-in, on an authority's listeners, and for administrators,
 * on the admin socket. docs/ticket-api.md describes it. One loop's.
 *
 *   POST   /v1/tickets         a new ticket             201
 *   GET    /v1/tickets         one's own; all           200
 *   GET    /v1/tickets/ID      one of them              200, 404
 *   DELETE /v1/tickets/ID      revokes it               200, 404
 *
 * ID is a fingerprint of 4 to 64 hexadecimal digits, never the ticket: URLs are written down everywhere.
 */
#ifndef STAGATE_STA_TICKETAPI_H
#define STAGATE_STA_TICKETAPI_H

#include <jansson.h>

#include "http/httpd.h"
#include "sta/access.h"
#include "sta/authority.h"
#include "sta/issue.h"
#include "sta/ratelimit.h"
#include "sta/signin.h"

#define TICKETAPI_PATH "/v1/tickets"
#define TICKETAPI_LISTS_MAX                                                                                  \
    16 /* of users, at once: one of many large tickets takes some 20 MB while it is made */

struct ticketapi { /* filled by whoever makes it; valid while a request is open */
    size_t client_count;
    struct authority_client *const
        *clients;               /* whose tickets: a user's of the first; remote ones are passed over */
    struct access_rules access; /* hosts; the rest is not asked for */
    struct issue_rules rules;
    const char *gateway; /* what to connect to, NULL: not known */
    size_t service_count;
    const char *const *services;            /* the policy's, for tickets without services of their own */
    struct signin_client *signin;           /* NULL: for users there is nothing here */
    struct ratelimit *by_user, *by_address; /* failed sign-ins */
    bool admin;                /* who comes is the administrator: no sign-in, everybody's tickets */
    size_t lists;              /* users' lists being made; counted by this module */
    size_t open;               /* requests that have not been answered; counted by this module */
    void (*idle)(void *owner); /* called when open becomes 0; may be NULL */
    void *owner;
};

/* Whether the path is one of these. */
bool ticketapi_is_path(const char *path);
void ticketapi_handle(struct ticketapi *t, struct httpd_request *r);

/* {"error":"...","message":"..."} */
void ticketapi_error(struct httpd_request *r, unsigned status, const char *fields, const char *error,
                     const char *message);
/* Answers with a document (given). */
void ticketapi_json(struct httpd_request *r, unsigned status, json_t *document);

#endif
