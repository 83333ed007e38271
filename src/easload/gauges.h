/* The gateway's own metrics, read from time to time while a run goes on. */
#ifndef STAGATE_EASLOAD_GAUGES_H
#define STAGATE_EASLOAD_GAUGES_H

#include "net/netloop.h"
#include "results.h"

struct gauges;

/* url: "http://127.0.0.1:9090/metrics", or "unix:PATH" for /metrics on a Unix socket. NULL with *why a
 * constant sentence. What is read goes into r. deadline_list: two of the loop's. */
struct gauges *gauges_new(struct netloop *loop, const char *url, struct results *r, unsigned deadline_list,
                          const char **why);
void gauges_read(struct gauges *g); /* once more; nothing while one is under way */
bool gauges_is_reading(const struct gauges *g);
void gauges_finish(struct gauges *g); /* a last time, and then it closes by itself. NULL is fine */

#endif
