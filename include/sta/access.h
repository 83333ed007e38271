/* Who may speak to a service at all, told before a request is looked at: by address, by certificate or key,
 * by what a browser cannot send. A page on the web can make a browser send requests to loopback; it cannot
 * leave out Origin on them, set Content-Type: text/xml or application/json without asking first, or call
 * loopback by a name that is not its own. */
#ifndef STAGATE_STA_ACCESS_H
#define STAGATE_STA_ACCESS_H

#include <stdbool.h>
#include <stddef.h>

#include "http/httpd.h"
#include "proto/cidr.h"

struct access_rules {
    const struct cidr *allow; /* addresses; Unix sockets always pass */
    size_t allow_count;
    const char *const *hosts; /* names in normal form that Host may hold, beside localhost and IP addresses */
    size_t host_count;
    const char *shared_key;  /* secret; NULL: none is demanded */
    bool client_certificate; /* a verified one is demanded */
    bool ssl_only;
};

enum access_result {
    ACCESS_OK,
    ACCESS_HOST,   /* the Host field names somebody else, or nobody */
    ACCESS_ORIGIN, /* a browser's page sent it */
    ACCESS_ADDRESS,
    ACCESS_SSL, /* plain HTTP, and TLS is demanded */
    ACCESS_CERTIFICATE,
    ACCESS_KEY,
    ACCESS_RESULTS
};

/* What every request has to pass: Host and Origin. */
enum access_result access_check_page(const struct access_rules *a, const struct httpd_request *r);
/* The rest: address, TLS, certificate, key. */
enum access_result access_check_peer(const struct access_rules *a, const struct httpd_request *r);
const char *access_sentence(enum access_result r);

/* Whether a Content-Type field is this media type, whatever parameters stand behind it. NULL: no field. */
bool access_type_is(const char *field, const char *type);

#endif
