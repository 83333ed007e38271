/* The lines of the view. Called by trace.c. Everything in them comes from strangers and goes to a terminal in
 * the end, but that is the printer's business: here it only has to be JSON, and without secrets. */
#include <jansson.h>
#include <math.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/visible.h"
#include "trace_impl.h"

#define TEXT_MAX (8 * HTTP_HEAD_MAX)

static void set(json_t *d, const char *key, json_t *value)
{
    if (value == NULL || json_object_set_new(d, key, value) < 0)
        mem_fail();
}

/* JSON is UTF-8; what is not, is shown as what it is. */
static json_t *text(const char *s)
{
    json_t *j = json_string(s);
    struct buf b;
    if (j != NULL)
        return j;
    buf_init(&b, TEXT_MAX);
    visible_append(&b, s, strlen(s), false);
    j = json_stringn((const char *)b.data, b.len);
    buf_deinit(&b);
    return j;
}

static void set_text(json_t *d, const char *key, const char *s)
{
    if (s != NULL && s[0] != '\0')
        set(d, key, text(s));
}

static json_t *begin(const char *event, uint64_t id)
{
    char now[CLOCK_TEXT];
    json_t *d = json_object();
    clock_format(now, clock_true_ms());
    set(d, "event", json_string(event));
    set(d, "time", json_string(now));
    set(d, "id", json_integer((json_int_t)id));
    return d;
}

/* Takes d. */
static char *finish(json_t *d, size_t *len)
{
    const size_t flags = JSON_COMPACT | JSON_REAL_PRECISION(9);
    size_t size = json_dumpb(d, NULL, 0, flags);
    char *line = mem_alloc(size + 2);
    json_dumpb(d, line, size, flags);
    json_decref(d);
    line[size] = '\n';
    line[size + 1] = '\0';
    *len = size + 1;
    return line;
}

/* Rather one too many than one too few: a name that says so is believed. WWW-Authenticate and X-MS-PolicyKey
 * open nothing. */
static bool is_secret(const char *name)
{
    static const char *const parts[] = {"authorization", "ticket",  "cookie", "password",   "passwd", "token",
                                        "secret",        "api-key", "apikey", "credential", "session"};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (strcasestr(name, parts[i]) != NULL)
            return true;
    }
    return false;
}

static json_t *fields_of(const struct http_head *head)
{
    json_t *list = json_array();
    for (size_t i = 0; i < head->field_count; i++) {
        const struct http_field *f = &head->fields[i];
        json_t *pair = json_array();
        json_array_append_new(pair, text(f->name));
        json_array_append_new(pair, text(is_secret(f->name) ? "(hidden)" : f->value));
        json_array_append_new(list, pair);
    }
    return list;
}

static void set_who(json_t *d, const struct trace_who *who)
{
    if (who == NULL)
        return;
    set_text(d, "user", who->user);
    set_text(d, "device", who->device);
    set_text(d, "ticket", who->ticket);
}

char *trace_line_request(uint64_t id, const struct trace_request *r, size_t *len)
{
    json_t *d = begin("trace_request", id);
    set_text(d, "door", r->door);
    set_text(d, "target", r->target);
    set_text(d, "client", r->client);
    set_who(d, r->who);
    set_text(d, "command", r->command);
    set_text(d, "version", r->version);
    if (r->head != NULL) {
        set_text(d, "method", r->head->method);
        set_text(d, "uri", r->head->target);
        set(d, "fields", fields_of(r->head));
    }
    return finish(d, len);
}

char *trace_line_answer(uint64_t id, const struct http_head *head, size_t *len)
{
    json_t *d = begin("trace_answer", id);
    set(d, "status", json_integer(head->status));
    set(d, "fields", fields_of(head));
    return finish(d, len);
}

char *trace_line_end(uint64_t id, const struct trace_end *e, size_t *len)
{
    json_t *d = begin("trace_end", id);
    set_text(d, "reason", e->reason);
    set_text(d, "detail", e->detail);
    if (e->status != 0)
        set(d, "status", json_integer(e->status));
    set(d, "ms", json_real(isfinite(e->ms) ? e->ms : 0));
    set(d, "up", json_integer((json_int_t)e->up));
    set(d, "down", json_integer((json_int_t)e->down));
    return finish(d, len);
}

char *trace_line_tunnel(uint64_t id, const struct trace_tunnel *f, size_t *len)
{
    json_t *d = begin("trace_tunnel", id);
    set_text(d, "door", f->door);
    set_text(d, "target", f->target);
    set_text(d, "client", f->client);
    set_who(d, f->who);
    set_text(d, "offered", f->offered);
    set_text(d, "version", f->version);
    set_text(d, "cipher", f->cipher);
    set_text(d, "sni", f->sni);
    return finish(d, len);
}

char *trace_line_lost(uint64_t lines, size_t *len)
{
    json_t *d = json_object();
    set(d, "event", json_string("trace_lost"));
    set(d, "lines", json_integer((json_int_t)lines));
    return finish(d, len);
}

char *trace_line_body(uint64_t id, bool from_client, const uint8_t *data, size_t n, enum trace_more more,
                      size_t *len)
{
    json_t *d = begin("trace_body", id);
    char *base64 = mem_alloc((n + 2) / 3 * 4 + 1);
    int written = EVP_EncodeBlock((unsigned char *)base64, data, (int)n);
    set(d, "from", json_string(from_client ? "client" : "server"));
    set(d, "data", json_stringn(base64, (size_t)written));
    free(base64);
    if (more != TRACE_MORE)
        set(d, more == TRACE_HIDDEN ? "hidden" : "truncated", json_true());
    return finish(d, len);
}
