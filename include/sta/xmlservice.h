/* The STA service of an embedded authority: STA XML over HTTP, docs/sta-protocol.md. One loop's.
 *
 * POST /scripts/ctxsta.dll with Content-Type text/xml (or application/xml). Every answer is XML; a
 * well-formed message is answered 200, errors included.
 */
#ifndef STAGATE_STA_XMLSERVICE_H
#define STAGATE_STA_XMLSERVICE_H

#include "http/httpd.h"
#include "sta/access.h"
#include "sta/authority.h"
#include "sta/issue.h"

#define XMLSERVICE_PATH "/scripts/ctxsta.dll"

struct xmlservice { /* filled by whoever makes it; valid while a request is open */
    struct netloop *loop;
    struct authority_client *client; /* of an embedded authority */
    struct access_rules access;
    struct issue_rules rules;
    enum ticket_class requested_class; /* of RequestTicket where it does not say */
    unsigned delay_list;               /* one of the loop's lists of deadlines, for the fault "slow" */
    size_t open;                       /* requests that have not been answered; counted by this module */
    void (*idle)(void *owner);         /* called when open becomes 0; may be NULL */
    void *owner;
};

/* Answers now or later. */
void xmlservice_handle(struct xmlservice *s, struct httpd_request *r);
/* For httpd_options.refuse: what is no HTTP request gets its answer in XML, too. */
void xmlservice_refuse(unsigned status, const char *why, const char **type, char body[1024]);

#endif
