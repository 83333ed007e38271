/* Asking the running gateway over its admin socket. */
#ifndef STAGATE_STAGATE_ADMIN_CLIENT_H
#define STAGATE_STAGATE_ADMIN_CLIENT_H

#include <jansson.h>

#include "base/buf.h"
#include "gate/settings.h"

enum admin_result {
    ADMIN_OK,     /* an answer of status 2xx */
    ADMIN_ABSENT, /* no socket is configured, or nobody answers there */
    ADMIN_FAILED, /* it answered with an error, or not at all: said on standard error */
};

/* One request. body may be NULL (borrowed). *answer is given where it is ADMIN_OK and JSON, else NULL. */
enum admin_result admin_call(const struct settings *s, const char *method, const char *path,
                             const json_t *body, json_t **answer);
/* GET of what is no JSON document: appended to out. */
enum admin_result admin_fetch(const struct settings *s, const char *path, struct buf *out);
/* For commands that cannot do without: says so where it is ADMIN_ABSENT. */
enum admin_result admin_demand(const struct settings *s, const char *method, const char *path,
                               const json_t *body, json_t **answer);

#endif
