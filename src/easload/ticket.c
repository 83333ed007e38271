/* Signing in for a ticket. */
#include "ticket.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "http/httpc.h"
#include "proto/http.h"
#include "net/resolver.h"

#define ANSWER_MAX 65536
#define KEEP_MS    4000

struct ticket_source {
    struct httpc *client;
    struct resolver *resolver;
    char *path;
};

struct ticket_request {
    struct httpc_request *http;
    ticket_cb *cb;
    void *owner;
};

struct ticket_source *ticket_source_new(struct netloop *loop, const struct ticket_source_options *o,
                                        const char **why)
{
    struct url url;
    if (url_parse(&url, o->url, strlen(o->url)) < 0) {
        *why = "not an http:// or https:// URL";
        return NULL;
    }
    struct ticket_source *s = mem_zalloc(sizeof *s);
    const char *path = o->url + url.path;
    s->path = mem_strdup(*path != '\0' && strcmp(path, "/") != 0 ? path : "/v1/tickets");
    s->resolver = resolver_new(loop);
    const struct httpc_options options = {.origin = url.origin,
                                          .tls = url.tls ? o->tls : NULL,
                                          .resolver = s->resolver,
                                          .connections_max = o->connections,
                                          .queue_max = 10000000,
                                          .connect_ms = 10000,
                                          .answer_ms = o->answer_ms,
                                          .keep_ms = KEEP_MS,
                                          .deadline_list = o->deadline_list,
                                          .body_max = ANSWER_MAX};
    s->client = httpc_new(loop, &options);
    return s;
}

void ticket_source_close(struct ticket_source *s)
{
    if (s == NULL)
        return;
    httpc_close(s->client, NULL, NULL);
    resolver_close(s->resolver);
    free(s->path);
    free(s);
}

static void read_refusal(const struct httpc_answer *a, const json_t *doc, struct failure *why)
{
    char kind[FAILURE_KIND];
    const char *error = json_string_value(json_object_get(doc, "error"));
    const char *message = json_string_value(json_object_get(doc, "message"));
    if (error != NULL)
        snprintf(kind, sizeof kind, "sign_in:%.32s", error);
    else
        snprintf(kind, sizeof kind, "sign_in:http_%u", a->status);
    failure_set(why, kind, "no ticket: HTTP %u %s", a->status, message != NULL ? message : "");
}

static void on_answer(void *owner, const struct httpc_answer *a)
{
    struct ticket_request *r = owner;
    struct failure why = {.kind = ""};
    json_t *doc = NULL;
    const char *ticket = NULL;
    if (a->result != HTTPC_OK) {
        char kind[FAILURE_KIND];
        snprintf(kind, sizeof kind, "sign_in:%.30s", httpc_result_name(a->result));
        failure_set(&why, kind, "no ticket: %s",
                    a->detail != NULL ? a->detail : httpc_result_name(a->result));
    } else {
        doc = json_loadb((const char *)a->body, a->len, 0, NULL);
        ticket = json_string_value(json_object_get(doc, "ticket"));
        if (a->status / 100 != 2)
            read_refusal(a, doc, &why);
        else if (ticket == NULL)
            failure_set(&why, "sign_in:no_ticket", "the authority's answer has no ticket in it");
    }
    r->cb(r->owner, why.kind[0] == '\0' ? ticket : NULL, &why);
    json_decref(doc);
    free(r);
}

struct ticket_request *ticket_ask(struct ticket_source *s, const char *user, const char *password,
                                  const char *device, const char *lifetime, ticket_cb *cb, void *owner)
{
    struct ticket_request *r = mem_zalloc(sizeof *r);
    json_t *doc = json_object();
    json_object_set_new(doc, "device", json_string(device));
    if (lifetime != NULL)
        json_object_set_new(doc, "lifetime", json_string(lifetime));
    char *body = json_dumps(doc, JSON_COMPACT);
    struct buf field;
    buf_init(&field, 8192);
    buf_append_str(&field, "Authorization: ");
    http_basic_encode(&field, user, password);
    buf_append(&field, "\r\n", 3); /* with its NUL */
    r->cb = cb;
    r->owner = owner;
    r->http = httpc_send(s->client, "POST", s->path, (const char *)field.data, "application/json", body,
                         strlen(body), false, on_answer, r);
    mem_wipe(field.data, field.len);
    buf_deinit(&field);
    free(body);
    json_decref(doc);
    return r;
}

void ticket_cancel(struct ticket_request *r)
{
    if (r == NULL)
        return;
    httpc_cancel(r->http);
    free(r);
}
