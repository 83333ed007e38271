/* The view over the admin socket: whoever wants to see conversations makes a listener, fetches what has come
 * again and again, and takes it away at the end; one that is not fetched from lapses. Called by admin.c. */
#include <stdlib.h>
#include <string.h>

#include "admin_impl.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "gate/trace.h"

#define FETCH_MAX (TRACE_READ_MAX + TRACE_BODY_MAX * 4) /* a whole line may go beyond */

static void log_trace(const char *what, const struct trace_filter *f)
{
    struct log_line l;
    log_begin(&l, LOG_INFO, "trace");
    log_str(&l, "what", what);
    log_str(&l, "device", f->device);
    log_str(&l, "user", f->user);
    log_str(&l, "ticket", f->ticket);
    log_end(&l);
}

/* A fingerprint, and nothing that opens anything: a filter is logged. */
static bool is_fingerprint(const char *s)
{
    return strlen(s) == RECORD_FINGERPRINT - 1 && strspn(s, "0123456789abcdefABCDEF") == strlen(s);
}

/* NULL when all is well: a filter that is misspelt must not show everybody's mail. */
static const char *read_filter(struct trace_filter *f, const json_t *body)
{
    const char *key;
    json_t *value;
    *f = (struct trace_filter){.bodies = true};
    json_object_foreach((json_t *)(uintptr_t)body, key, value)
    {
        const char *text = json_string_value(value);
        if (strcmp(key, "bodies") == 0) {
            if (!json_is_boolean(value))
                return "bodies is true or false";
            f->bodies = json_is_true(value);
            continue;
        }
        if (text == NULL || text[0] == '\0' || strlen(text) > 256)
            return "device, user and ticket are texts of up to 256 bytes, bodies is true or false";
        if (strcmp(key, "device") == 0)
            f->device = text;
        else if (strcmp(key, "user") == 0)
            f->user = text;
        else if (strcmp(key, "ticket") == 0)
            f->ticket = text;
        else
            return "the document has a member that is not known here";
    }
    if (f->ticket != NULL && !is_fingerprint(f->ticket))
        return "ticket is a fingerprint: 12 hex digits, as the log shows it";
    return NULL;
}

static void listen_for(struct trace *t, struct httpd_request *r, const json_t *body)
{
    struct trace_filter f;
    char id[TRACE_ID];
    const char *wrong = read_filter(&f, body);
    if (wrong != NULL) {
        ticketapi_error(r, 400, NULL, "bad_request", wrong);
        return;
    }
    if (trace_listen(t, &f, id) < 0) {
        ticketapi_error(r, 429, NULL, "too_many",
                        "eight views are open already: end one, or wait half a minute for one that was left");
        return;
    }
    log_trace("begin", &f);
    ticketapi_json(r, 201, json_pack("{s:s, s:i}", "id", id, "lapses_after", TRACE_LAPSE_MS / 1000));
}

void admin_trace_listen(struct control_context *x, struct httpd_request *r)
{
    size_t len;
    const uint8_t *data = httpd_body(r, &len);
    json_error_t error;
    json_t *body = json_loadb((const char *)data, len, JSON_REJECT_DUPLICATES, &error);
    if (json_is_object(body))
        listen_for(x->of->control->trace, r, body);
    else
        ticketapi_error(r, 400, NULL, "bad_request", "the body is no JSON object");
    json_decref(body);
}

static void gone(struct httpd_request *r)
{
    ticketapi_error(r, 404, NULL, "not_found",
                    "there is no such view: it has ended, or was not asked for too long");
}

static void fetch(struct trace *t, struct httpd_request *r, const char *id)
{
    struct buf out;
    buf_init(&out, FETCH_MAX);
    if (trace_fetch(t, id, &out) == ERR_NOT_FOUND)
        gone(r);
    else
        httpd_answer(r, 200, NULL, "application/x-ndjson", out.data, out.len);
    if (out.len > 0)
        mem_wipe(out.data, out.len);
    buf_deinit(&out);
}

void admin_trace_one(struct control_context *x, struct httpd_request *r)
{
    struct trace *t = x->of->control->trace;
    const char *id = httpd_path(r) + strlen(ADMIN_TRACE_PREFIX);
    if (strcmp(httpd_method(r), "GET") == 0) {
        fetch(t, r, id);
    } else if (strcmp(httpd_method(r), "DELETE") != 0) {
        ticketapi_error(r, 405, NULL, "method", "this method does not belong here");
    } else if (trace_unlisten(t, id) < 0) {
        gone(r);
    } else {
        log_trace("end", &(struct trace_filter){0});
        ticketapi_json(r, 200, json_pack("{s:s}", "trace", "ended"));
    }
}
