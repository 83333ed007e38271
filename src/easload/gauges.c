/* One GET now and then. */
#include "gauges.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "http/httpc.h"
#include "proto/url.h"

struct gauges {
    struct httpc *client;
    struct resolver *resolver;
    struct results *results;
    char *path;
    bool asking, complained, closing;
    bool again; /* what is under way was asked before the end */
};

struct gauges *gauges_new(struct netloop *loop, const char *url, struct results *r, unsigned deadline_list,
                          const char **why)
{
    struct httpc_options o = {.connections_max = 1,
                              .queue_max = 1,
                              .connect_ms = 2000,
                              .answer_ms = 5000,
                              .keep_ms = 4000,
                              .deadline_list = deadline_list,
                              .body_max = 16 * 1024 * 1024};
    struct url u = {.path = 0};
    bool is_unix = strncmp(url, "unix:", 5) == 0;
    *why = "not an http:// URL, nor unix:PATH";
    if (!is_unix && (url_parse(&u, url, strlen(url)) < 0 || u.tls))
        return NULL;
    struct gauges *g = mem_zalloc(sizeof *g);
    g->results = r;
    g->resolver = resolver_new(loop);
    g->path = mem_strdup(is_unix || url[u.path] == '\0' ? "/metrics" : url + u.path);
    o.unix_path = is_unix ? url + 5 : NULL;
    o.origin = u.origin;
    o.resolver = g->resolver;
    g->client = httpc_new(loop, &o);
    return g;
}

static void on_closed(void *owner)
{
    struct gauges *g = owner;
    resolver_close(g->resolver);
    free(g->path);
    free(g);
}

static void take(struct gauges *g, const struct httpc_answer *a)
{
    if (a->result == HTTPC_OK && a->status == 200) {
        results_gauges(g->results, (const char *)a->body, a->len);
        return;
    }
    if (!g->complained)
        fprintf(stderr, "easload: the gateway's metrics cannot be read: %s\n",
                a->result == HTTPC_OK ? "its answer is not HTTP 200" : httpc_result_name(a->result));
    g->complained = true;
}

static void on_answer(void *owner, const struct httpc_answer *a)
{
    struct gauges *g = owner;
    g->asking = false;
    take(g, a);
    if (g->again) {
        g->again = false;
        gauges_read(g);
    } else if (g->closing)
        httpc_close(g->client, on_closed, g);
}

void gauges_read(struct gauges *g)
{
    if (g == NULL || g->asking)
        return;
    g->asking = true;
    httpc_send(g->client, "GET", g->path, NULL, NULL, NULL, 0, true, on_answer, g);
}

bool gauges_is_reading(const struct gauges *g)
{
    return g != NULL && g->asking;
}

void gauges_finish(struct gauges *g)
{
    if (g == NULL)
        return;
    g->again = g->asking;
    g->closing = true;
    gauges_read(g);
}
