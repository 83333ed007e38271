/* The ticket API: sign-in, then issuing, listing, showing and revoking. Called by the HTTP server's owner;
 * knows tickets and users, no gateway. */
#include "sta/ticketapi.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/listener.h"
#include "proto/http.h"
#include "ticketapi_impl.h"

/* ---- answers ---- */

static void answer_json(struct httpd_request *r, unsigned status, const char *fields, json_t *document)
{
    char *text = json_dumps(document, JSON_COMPACT | JSON_PRESERVE_ORDER);
    json_decref(document);
    size_t len = text != NULL ? strlen(text) : 0;
    if (len == 0)
        mem_fail();
    httpd_answer(r, status, fields, "application/json", text, len);
    mem_wipe(text, len);
    free(text);
}

void ticketapi_json(struct httpd_request *r, unsigned status, json_t *document)
{
    answer_json(r, status, NULL, document);
}

void ticketapi_error(struct httpd_request *r, unsigned status, const char *fields, const char *error,
                     const char *message)
{
    answer_json(r, status, fields, json_pack("{s:s, s:s}", "error", error, "message", message));
}

static void end_call(struct api_call *c)
{
    struct ticketapi *t = c->t;
    t->lists -= c->listing;
    json_decref(c->body);
    free(c->record);
    free(c);
    assert(t->open > 0);
    if (--t->open == 0 && t->idle != NULL)
        t->idle(t->owner);
}

void api_fail(struct api_call *c, unsigned status, const char *fields, const char *error, const char *message)
{
    struct log_line l;
    char client[ADDRESS_TEXT];
    log_begin(&l, LOG_INFO, "api");
    log_str(&l, "method", httpd_method(c->r));
    log_str(&l, "result", error);
    log_str(&l, "detail", c->detail != NULL ? c->detail : message);
    log_str(&l, "user", c->user[0] ? c->user : NULL);
    address_format(httpd_peer(c->r), client);
    log_str(&l, "client", client);
    log_int(&l, "status", (int64_t)status);
    log_end(&l);
    ticketapi_error(c->r, status, fields, error, message);
    end_call(c);
}

void api_store_failed(struct api_call *c, int rc)
{
    if (rc == ERR_LIMIT)
        api_fail(c, 409, NULL, "too_many_tickets",
                 "there are as many live tickets as the authority lets there be");
    else if (rc == ERR_STORE_FULL || rc == ERR_TOO_BIG)
        api_fail(c, 503, "Retry-After: 1\r\n", "busy", "the ticket store is full or behind; try again");
    else
        api_fail(c, 503, NULL, "store_failed", "the ticket store failed");
}

/* The line of what was done, and the answer; document is given. */
void api_done(struct api_call *c, unsigned status, const char *what, const struct record *ticket,
              json_t *document)
{
    struct log_line l;
    char client[ADDRESS_TEXT], fingerprint[RECORD_FINGERPRINT];
    log_begin(&l, LOG_INFO, "api");
    log_str(&l, "method", httpd_method(c->r));
    log_str(&l, "result", what);
    if (ticket != NULL) {
        record_fingerprint(fingerprint, ticket->hash);
        log_str(&l, "ticket", fingerprint);
        log_str(&l, "class", ticket_class_name(ticket->class));
        log_str(&l, "device", ticket->device[0] ? ticket->device : NULL);
    }
    log_str(&l, "user", ticket != NULL ? ticket->user : c->user[0] ? c->user : NULL);
    address_format(httpd_peer(c->r), client);
    log_str(&l, "client", client);
    log_int(&l, "status", (int64_t)status);
    if (c->injected)
        log_bool(&l, "injected", true);
    log_end(&l);
    ticketapi_json(c->r, status, document);
    end_call(c);
}

/* ---- sign-in ---- */

static void retry_later(struct api_call *c, uint64_t retry_ms)
{
    char fields[64];
    snprintf(fields, sizeof fields, "Retry-After: %llu\r\n", (unsigned long long)(retry_ms + 999) / 1000);
    api_fail(c, 429, fields, "too_many_attempts", "too many failed sign-ins; try again later");
}

static void ask_for_credentials(struct api_call *c, const char *message)
{
    api_fail(c, 401, "WWW-Authenticate: Basic realm=\"stagate tickets\", charset=\"UTF-8\"\r\n", "sign_in",
             message);
}

/* Takes a token of both buckets, or answers. They are given back when the sign-in turns out well. */
static bool take_attempt(struct api_call *c)
{
    struct ticketapi *t = c->t;
    uint64_t now = clock_mono_ms(), retry_ms = 0;
    address_format_host(httpd_peer(c->r), c->address);
    if (!ratelimit_take(t->by_address, c->address, now, &retry_ms)) {
        retry_later(c, retry_ms);
        return false;
    }
    if (!ratelimit_take(t->by_user, c->user, now, &retry_ms)) {
        ratelimit_give(t->by_address, c->address);
        retry_later(c, retry_ms);
        return false;
    }
    return true;
}

static void on_signed_in(void *owner, enum signin_result result, const char *user, const char *detail)
{
    struct api_call *c = owner;
    if (result != SIGNIN_WRONG) {
        ratelimit_give(c->t->by_address, c->address);
        ratelimit_give(c->t->by_user, c->user);
    }
    c->detail = result != SIGNIN_OK ? detail : NULL; /* borrowed for this call only */
    switch (result) {
    case SIGNIN_OK:
        snprintf(c->user, sizeof c->user, "%s", user);
        api_perform(c);
        break;
    case SIGNIN_WRONG:
        ask_for_credentials(c, "user name or password is wrong");
        break;
    case SIGNIN_BUSY:
        api_fail(c, 503, "Retry-After: 1\r\n", "busy", "too many sign-ins at once; try again");
        break;
    default:
        api_fail(c, 503, NULL, "sign_in_down", "user names and passwords cannot be checked now");
        break;
    }
}

static void sign_in(struct api_call *c)
{
    const char *field = httpd_field(c->r, HTTP_NAME_AUTHORIZATION, NULL);
    char password[256];
    if (field == NULL) {
        ask_for_credentials(c, "sign in with Basic credentials");
        return;
    }
    if (http_basic_decode(field, c->user, sizeof c->user, password, sizeof password) < 0) {
        c->user[0] = '\0';
        ask_for_credentials(c,
                            "the Authorization field holds no Basic credentials of at most 255 bytes each");
        return;
    }
    if (take_attempt(c))
        signin_check(c->t->signin, c->user, password, on_signed_in, c);
    mem_wipe(password, sizeof password);
}

/* ---- requests ---- */

bool ticketapi_is_path(const char *path)
{
    size_t n = sizeof TICKETAPI_PATH - 1;
    return strncmp(path, TICKETAPI_PATH, n) == 0 && (path[n] == '\0' || path[n] == '/');
}

/* Method and path; false when the answer has been given. */
static bool route(struct api_call *c)
{
    const char *method = httpd_method(c->r);
    const char *rest = httpd_path(c->r) + sizeof TICKETAPI_PATH - 1;
    bool one = rest[0] == '/' && rest[1] != '\0';
    if (strcmp(method, "POST") == 0 && !one)
        c->action = API_ISSUE;
    else if (strcmp(method, "GET") == 0)
        c->action = one ? API_SHOW : API_LIST;
    else if (strcmp(method, "DELETE") == 0 && one)
        c->action = API_REVOKE;
    else {
        api_fail(c, 405, one ? "Allow: GET, DELETE\r\n" : "Allow: GET, POST\r\n", "method",
                 "this method does not belong here");
        return false;
    }
    if (one)
        snprintf(c->id, sizeof c->id, "%s", rest + 1);
    if (one && (strlen(rest + 1) >= sizeof c->id || strlen(c->id) < 4 ||
                strspn(c->id, "0123456789abcdefABCDEF") != strlen(c->id))) {
        api_fail(c, 400, NULL, "bad_request",
                 "a ticket is named by 4 to 64 hexadecimal digits of its fingerprint");
        return false;
    }
    return true;
}

/* The JSON document of a POST; an empty body is an empty document. */
static bool read_body(struct api_call *c)
{
    size_t len;
    const uint8_t *body = httpd_body(c->r, &len);
    if (len == 0 && c->action != API_ISSUE)
        return true;
    const char *type = httpd_field(c->r, HTTP_NAME_CONTENT_TYPE, NULL);
    if (!access_type_is(type, "application/json")) {
        api_fail(c, 415, NULL, "bad_request", "the body is JSON: Content-Type: application/json");
        return false;
    }
    json_error_t error;
    c->body = len > 0 ? json_loadb((const char *)body, len, JSON_REJECT_DUPLICATES, &error) : json_object();
    if (!json_is_object(c->body)) {
        api_fail(c, 400, NULL, "bad_request", "the body is no JSON object");
        return false;
    }
    return true;
}

void ticketapi_handle(struct ticketapi *t, struct httpd_request *r)
{
    struct api_call *c = mem_zalloc(sizeof *c);
    c->t = t;
    c->r = r;
    t->open++;
    enum access_result access = access_check_page(&t->access, r);
    if (access != ACCESS_OK)
        api_fail(c, 403, NULL, "access_denied", access_sentence(access));
    else if (!t->admin && t->signin == NULL)
        api_fail(c, 404, NULL, "no_sign_in", "sign-in is not configured here");
    else if (!route(c) || !read_body(c))
        return;
    else if (t->admin)
        api_perform(c);
    else
        sign_in(c);
}
