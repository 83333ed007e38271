/* Shared by admin.c (routes, what is shown), admin_faults.c (what is broken on purpose, and purging) and
 * admin_trace.c (the view). */
#ifndef STAGATE_SRC_GATE_ADMIN_IMPL_H
#define STAGATE_SRC_GATE_ADMIN_IMPL_H

#include "control_impl.h"

void admin_set(json_t *d, const char *key,
               json_t *value); /* value is given; out of memory ends the process */
json_t *admin_time(int64_t ms);
json_t *admin_duration(int64_t ms);

/* admin_faults.c */
void admin_faults_show(struct control_context *x, struct httpd_request *r);
void admin_faults_inject(struct control_context *x, struct httpd_request *r);
void admin_faults_clear(struct control_context *x, struct httpd_request *r);
void admin_purge(struct control_context *x, struct httpd_request *r);

/* admin_trace.c */
#define ADMIN_TRACE_PREFIX "/v1/trace/" /* an ID follows */
void admin_trace_listen(struct control_context *x, struct httpd_request *r);
void admin_trace_one(struct control_context *x, struct httpd_request *r);

#endif
