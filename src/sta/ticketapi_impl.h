/* Shared by ticketapi.c (requests, sign-in, answers) and ticketapi_work.c (what is done with tickets). */
#ifndef STAGATE_SRC_STA_TICKETAPI_IMPL_H
#define STAGATE_SRC_STA_TICKETAPI_IMPL_H

#include "net/listener.h"
#include "sta/ticketapi.h"

enum api_action { API_ISSUE, API_LIST, API_SHOW, API_REVOKE };

struct api_call { /* one request */
    struct ticketapi *t;
    struct httpd_request *r;
    enum api_action action;
    char user[256];             /* who asks; "" for an administrator */
    char address[ADDRESS_TEXT]; /* the peer's, for the rate limit */
    char id[RECORD_DIGITS];
    json_t *body;                     /* owned; may be NULL */
    const char *detail;               /* for the log */
    size_t at;                        /* LIST, SHOW, REVOKE: which client is asked */
    size_t asked;                     /* how many have been */
    size_t found;                     /* SHOW, REVOKE: whose record is */
    struct record *record;            /* owned: being issued, or the one that was meant */
    int64_t revoked_ms;               /* REVOKE: the time that it is given */
    char value[TICKET_VALUE_MAX + 1]; /* of a new ticket; secret */
    char *wanted_user;                /* LIST: borrowed of query below */
    char query[256];
    json_t *list; /* owned by the answer */
    bool injected;
    bool listing; /* counted in the API's lists */
};

/* Does what was asked for, by whom is known by now. */
void api_perform(struct api_call *c);

/* Each answers, and the call is gone. */
void api_fail(struct api_call *c, unsigned status, const char *fields, const char *error,
              const char *message);
void api_store_failed(struct api_call *c, int rc);
void api_done(struct api_call *c, unsigned status, const char *what, const struct record *ticket,
              json_t *document);

#endif
