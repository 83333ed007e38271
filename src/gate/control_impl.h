/* Shared by control.c (the thread, its servers and runtimes), admin.c (what the admin socket answers), and
 * metrics.c. */
#ifndef STAGATE_SRC_GATE_CONTROL_IMPL_H
#define STAGATE_SRC_GATE_CONTROL_IMPL_H

#include <jansson.h>

#include "base/buf.h"
#include "gate/control.h"
#include "http/httpd.h"
#include "sta/ticketapi.h"
#include "sta/xmlservice.h"

struct control_runtime;

/* Failed sign-ins, and the limits that they are counted against. Counted by the runtimes that use them. */
struct attempts {
    size_t refs;
    int64_t per_user, per_address, window_ms;
    struct ratelimit *by_user, *by_address; /* owned */
};

/* What one service of a runtime answers with: as many as the runtime has, and one for the admin socket. */
struct control_context {
    struct control_runtime *of;
    struct xmlservice xml;
    struct ticketapi api;
    struct authority_client *client; /* api's list of one */
};

/* A runtime as the control thread uses it. Counted by requests that are open, and once while it is current.
 */
struct control_runtime {
    struct control *control;
    struct runtime *runtime; /* one reference */
    size_t refs;
    size_t closing;      /* clients not closed yet */
    size_t first_probes; /* not come to an end yet */
    struct deadline settling;
    bool settled; /* the main thread has been told */
    struct signin_client *signin;
    struct attempts *attempts; /* one reference; NULL: no sign-in */
    char gateway[HOSTPORT_TEXT];
    char (*services)[HOSTPORT_TEXT];    /* owned: the policy's, as texts */
    const char **service_texts;         /* owned */
    struct control_context *contexts;   /* owned: for each service, then the admin socket's */
    struct authority_client *clients[]; /* for each authority of the runtime */
};

struct control {
    struct netloop loop;
    uv_thread_t thread;
    struct resolver *resolver;
    struct control_runtime *current;
    struct list servers; /* of struct control_server */
    const struct worker *workers;
    unsigned worker_count;
    struct trace *trace; /* borrowed */
    int64_t started_ms;  /* wall clock */
    size_t closing;      /* servers and old runtimes not closed yet */
    bool stopping;
    bool ended;

    uv_async_t wake;
    uv_mutex_t lock; /* of what the main thread asks for: */
    struct runtime *asked_runtime;
    bool asked_drain;
    bool asked_stop;
    bool finished; /* the thread has done all but end */
    uv_cond_t finish;
    uv_sem_t settled; /* posted when a runtime's remote authorities have been asked once */
};

/* admin.c: answers a request that came on the admin socket. */
void admin_handle(struct control_context *x, struct httpd_request *r);
/* Whether another authority of the runtime has the ID of authority i: both count as down. */
bool admin_has_duplicate(const struct runtime *rt, size_t i);

/* metrics.c: Prometheus text, appended. */
void metrics_write(struct buf *out, const struct control_runtime *cr);

#endif
