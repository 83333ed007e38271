/* What heads become on their way, and which requests may go on. Called by httprelay.c. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "httprelay_impl.h"
#include "proto/autodiscover.h"
#include "proto/url.h"

/* ---- fields ---- */

static bool is(const char *name, const char *other)
{
    return strcasecmp(name, other) == 0;
}

/* Fields that belong to one connection (RFC 9110, 7.6.1), and those that are for the gateway. */
static bool is_hop_by_hop(const char *name)
{
    static const char *const names[] = {
        "Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authorization", "Transfer-Encoding",
        "TE",         "Trailer",    "Upgrade",          "X-STA-Ticket",        NULL};
    if (strchr("cCkKpPtTuUxX", name[0]) == NULL)
        return false;
    for (size_t i = 0; names[i] != NULL; i++) {
        if (is(name, names[i]))
            return true;
    }
    return false;
}

/* What the Connection fields name. */
static bool is_named(const struct http_head *h, const char *name)
{
    for (size_t i = 0; i < h->field_count; i++) {
        if (is(h->fields[i].name, "Connection") && http_value_has_token(h->fields[i].value, name))
            return true;
    }
    return false;
}

static bool has_connection(const struct http_head *h)
{
    size_t count;
    http_head_field(h, "Connection", &count);
    return count > 0;
}

/* Fields that both sides must see alike: a client that has the gateway take one of them away would be judged
 * by what the mail server never sees. */
static bool is_decisive(const char *name)
{
    static const char *const starts[] = {"MS-", "X-MS-", "Content-", NULL};
    static const char *const names[] = {"Host",   "Authorization", "Cookie", "User-Agent",
                                        "Expect", "Set-Cookie",    NULL};
    for (size_t i = 0; starts[i] != NULL; i++) {
        if (strncasecmp(name, starts[i], strlen(starts[i])) == 0)
            return true;
    }
    for (size_t i = 0; names[i] != NULL; i++) {
        if (is(name, names[i]))
            return true;
    }
    return false;
}

/* ---- judging a request ---- */

static const char *check_fields(const struct http_head *h)
{
    static const char *const once[] = {"Authorization",
                                       "MS-ASProtocolVersion",
                                       "Content-Type",
                                       "Content-Encoding",
                                       "User-Agent",
                                       "X-MS-PolicyKey",
                                       "X-STA-Ticket",
                                       "Expect",
                                       NULL};
    bool named = has_connection(h);
    for (size_t i = 0; i < h->field_count; i++) {
        const char *name = h->fields[i].name;
        if (named && is_decisive(name) && is_named(h, name))
            return "Connection names a field that is not for one connection";
    }
    for (size_t i = 0; once[i] != NULL; i++) {
        size_t count;
        http_head_field(h, once[i], &count);
        if (count > 1)
            return "a field that says what to do stands there more than once";
    }
    const char *expect = http_head_field(h, "Expect", NULL);
    if (expect != NULL && !is(expect, "100-continue"))
        return "Expect holds something else than 100-continue";
    return NULL;
}

static bool calls_target(const struct httprelay *r, const char *host)
{
    struct hostport called;
    size_t len = http_host_name_len(host);
    if (strlen(r->target.host) == len && strncasecmp(host, r->target.host, len) == 0)
        return true;
    return hostport_parse_host(&called, host, len, NULL) == 0 && strcmp(called.host, r->target.host) == 0;
}

/* In a tunnel the client means the service it asked a tunnel to; at the activesync door one connection is one
 * service's and one ticket's. */
static const char *check_host(struct httprelay *r, const struct http_head *h)
{
    const char *host = http_head_field(h, "Host", NULL);
    if (host == NULL)
        return NULL;
    if (!r->o.reverse)
        return calls_target(r, host) ? NULL : "Host names another server than the one the tunnel is for";
    if (r->host[0] == '\0' && strlen(host) < sizeof r->host)
        strcpy(r->host, host);
    return is(host, r->host) ? NULL : "Host names another server than the connection's first request";
}

static enum reason check_ticket(struct httprelay *r, const struct http_head *h, const char **detail)
{
    if (!r->o.reverse)
        return REASON_OK;
    const char *ticket = http_head_field(h, "X-STA-Ticket", NULL);
    const char *proxy = http_head_field(h, "Proxy-Authorization", NULL);
    const char *shown = ticket != NULL ? ticket : proxy;
    if (shown == NULL) {
        *detail = "each request at the activesync door carries it";
        return REASON_TICKET_MISSING;
    }
    if (r->ticket == NULL)
        r->ticket = mem_strdup(shown);
    if (strcmp(shown, r->ticket) == 0)
        return REASON_OK;
    *detail = "another ticket than the connection's first request carried: open a connection for each";
    return REASON_REQUEST_MALFORMED;
}

static void note_request(struct httprelay *r, const struct http_head *h)
{
    struct exchange *x = &r->x;
    const char *agent = http_head_field(h, "User-Agent", NULL);
    snprintf(x->method, sizeof x->method, "%s", h->method);
    x->path = mem_strndup(h->target, strcspn(h->target, "?"));
    x->agent = agent != NULL ? mem_strdup(agent) : NULL;
}

static bool is_method(const struct http_head *h, const char *const *names)
{
    for (; *names != NULL; names++) {
        if (strcmp(h->method, *names) == 0)
            return true;
    }
    return false;
}

static enum reason check_path(struct httprelay *r, const struct http_head *h, const char **detail)
{
    static const char *const activesync[] = {"POST", "OPTIONS", NULL};
    static const char *const others[] = {"GET", "HEAD", "POST", "OPTIONS", NULL};
    const char *type = http_head_field(h, "Content-Type", NULL);
    r->x.kind = easrules_path(r->o.service, h->target);
    if (r->x.kind == EAS_PATH_SYNCML || (type != NULL && easrules_is_syncml(type)))
        return REASON_SYNCML;
    if (r->x.kind == EAS_PATH_OTHER)
        return REASON_NOT_ACTIVESYNC;
    if (is_method(h, r->x.kind == EAS_PATH_ACTIVESYNC ? activesync : others))
        return REASON_OK;
    *detail = "only POST and OPTIONS are ActiveSync";
    return REASON_NOT_ACTIVESYNC;
}

static enum reason read_query(struct httprelay *r, const struct http_head *h, const char **detail)
{
    const char *query = strchr(h->target, '?');
    query = query != NULL ? query + 1 : "";
    if (eas_query_parse(&r->x.query, query, strlen(query), detail) < 0)
        return REASON_REQUEST_MALFORMED;
    if (strcmp(h->method, "POST") == 0 && r->x.query.command_text[0] == '\0') {
        *detail = "POST without a command";
        return REASON_NOT_ACTIVESYNC;
    }
    return REASON_OK;
}

static enum reason check_version(struct httprelay *r, const struct http_head *h, const char **detail)
{
    const struct service_settings *s = r->o.service;
    const char *field = http_head_field(h, "MS-ASProtocolVersion", NULL);
    unsigned told = field != NULL ? eas_version_parse(field, strlen(field)) : 0;
    unsigned query = r->x.query.version;
    r->x.version = query != 0 ? query : told;
    if (strcmp(h->method, "POST") != 0)
        return REASON_OK;
    if (query != 0 && field != NULL && told != query) {
        *detail = "MS-ASProtocolVersion and the query tell different versions";
        return REASON_REQUEST_MALFORMED;
    }
    if (!easrules_limits_versions(s))
        return REASON_OK;
    if (r->x.version == 0)
        *detail = field != NULL ? "MS-ASProtocolVersion is no version" : "no version is told";
    return r->x.version != 0 && easrules_allows_version(s, r->x.version) ? REASON_OK
                                                                         : REASON_ACTIVESYNC_FLOOR;
}

static enum reason check_user(struct httprelay *r, const struct http_head *h, const char **detail)
{
    const char *authorization = http_head_field(h, "Authorization", NULL);
    char password[512];
    bool basic = authorization != NULL && http_auth_param(authorization, "Basic") != NULL;
    bool read = basic &&
                http_basic_decode(authorization, r->x.user, sizeof r->x.user, password, sizeof password) == 0;
    if (basic)
        mem_wipe(password, sizeof password);
    if (!r->o.service->bind_user || authorization == NULL)
        return REASON_OK;
    if (!read) {
        *detail = basic ? "Basic credentials that cannot be decoded"
                        : "only Basic tells who signs in: others cannot be held against the ticket";
        return REASON_USER_MISMATCH;
    }
    return easrules_same_user(r->user, r->x.user) ? REASON_OK : REASON_USER_MISMATCH;
}

static enum reason check_device(const struct httprelay *r)
{
    const struct device_facts d = {
        .id = r->x.query.device_id,
        .type = r->x.query.device_type,
        .agent = r->x.agent != NULL ? r->x.agent : "",
        .user = r->x.user[0] != '\0' ? r->x.user : r->x.query.user,
    };
    return easrules_is_blocked(r->o.service, &d) ? REASON_DEVICE_BLOCKED : REASON_OK;
}

/* Whether the body is one whose root tells what the server will do; what it does with others is theirs to
 * say. */
static enum reason check_body(struct httprelay *r, const struct http_head *h, const char **detail)
{
    const char *type = http_head_field(h, "Content-Type", NULL);
    const char *coding = http_head_field(h, "Content-Encoding", NULL);
    unsigned command = r->x.query.command;
    if (!h->chunked && h->content_length <= 0)
        return REASON_OK;
    if (coding != NULL && !is(coding, "identity")) {
        *detail = "the body is encoded, so that its document cannot be seen";
        return REASON_COMMAND_MISMATCH;
    }
    if (type != NULL && strncasecmp(type, "message/rfc822", 14) == 0) {
        *detail = "a mail in the body of a command that takes none";
        return command == EAS_SEND_MAIL || command == EAS_SMART_FORWARD || command == EAS_SMART_REPLY
                   ? REASON_OK
                   : REASON_COMMAND_MISMATCH;
    }
    r->root_due = true;
    return REASON_OK;
}

enum reason httprelay_judge(struct httprelay *r, const struct http_head *h, const char **detail)
{
    enum reason reason;
    note_request(r, h);
    *detail = check_fields(h);
    if (*detail == NULL && h->target[0] != '/' && h->target[0] != '*')
        *detail = "the request target is not a path";
    if (*detail != NULL)
        return REASON_REQUEST_MALFORMED;
    reason = check_ticket(r, h, detail);
    if (reason != REASON_OK)
        return reason;
    *detail = check_host(r, h);
    if (*detail != NULL)
        return REASON_SERVICE_NOT_LISTED;
    reason = check_path(r, h, detail);
    bool activesync = reason == REASON_OK && r->x.kind == EAS_PATH_ACTIVESYNC;
    if (activesync)
        reason = read_query(r, h, detail);
    if (activesync && reason == REASON_OK)
        reason = check_version(r, h, detail);
    if (reason == REASON_OK)
        reason = check_user(r, h, detail);
    if (activesync && reason == REASON_OK && r->o.service->devices.count > 0)
        reason = check_device(r);
    if (activesync && reason == REASON_OK)
        reason = check_body(r, h, detail);
    if (reason == REASON_OK)
        *detail = NULL;
    return reason;
}

/* ---- writing ---- */

static void put(struct buf *to, const char *name, const char *value)
{
    size_t n = strlen(name), v = strlen(value);
    if (buf_reserve(to, n + v + 4) < 0)
        return;
    uint8_t *p = to->data + to->len;
    memcpy(p, name, n);
    memcpy(p + n, ": ", 2);
    memcpy(p + n + 2, value, v);
    memcpy(p + n + 2 + v, "\r\n", 2);
    to->len += n + v + 4;
}

static void put_host(struct httprelay *r, struct buf *to)
{
    const char *open = r->target.kind == HOSTPORT_IPV6 ? "[" : "", *close = open[0] != '\0' ? "]" : "";
    if (r->target.port == (r->o.plain_backend ? 80 : 443))
        buf_printf(to, "Host: %s%s%s\r\n", open, r->target.host, close);
    else
        buf_printf(to, "Host: %s%s%s:%u\r\n", open, r->target.host, close, r->target.port);
}

/* Fields that are put in anew, in place of what the client says of itself. */
static bool is_forward(const struct httprelay *r, const char *name)
{
    unsigned f = r->o.service->forward;
    return f != 0 && ((f & 1u << FORWARD_VIA && is(name, "Via")) ||
                      (f & 1u << FORWARD_FOR && (is(name, "X-Forwarded-For") || is(name, "Forwarded"))) ||
                      (f & 1u << FORWARD_PROTO && is(name, "X-Forwarded-Proto")));
}

static void put_forward(struct httprelay *r, struct buf *to)
{
    unsigned f = r->o.service->forward;
    if (f & 1u << FORWARD_VIA)
        put(to, "Via", r->http10 ? "1.0 stagate" : "1.1 stagate");
    if (f & 1u << FORWARD_FOR && r->client[0] != '\0')
        put(to, "X-Forwarded-For", r->client);
    if (f & 1u << FORWARD_PROTO)
        put(to, "X-Forwarded-Proto", "https");
}

void httprelay_write_request(struct httprelay *r, const struct http_head *h, struct buf *to)
{
    bool named = has_connection(h), host = false;
    buf_printf(to, "%s %s HTTP/1.1\r\n", h->method, h->target);
    for (size_t i = 0; i < h->field_count; i++) {
        const char *name = h->fields[i].name;
        /* to CGI programs an underscore is a hyphen: another spelling of a field that was looked at */
        if (is_hop_by_hop(name) || is_forward(r, name) || is(name, "Content-Length") ||
            strchr(name, '_') != NULL || (named && is_named(h, name)))
            continue;
        if (is(name, "Host")) {
            host = true;
            if (r->o.reverse) {
                put_host(r, to);
                continue;
            }
        }
        /* an answer that has to be read must not come packed */
        if (r->x.kind == EAS_PATH_AUTODISCOVER && is(name, "Accept-Encoding"))
            continue;
        put(to, name, h->fields[i].value);
    }
    if (!host)
        put_host(r, to);
    put_forward(r, to);
    if (h->chunked)
        buf_append_str(to, "Transfer-Encoding: chunked\r\n\r\n");
    else if (h->content_length >= 0 || strcmp(h->method, "POST") == 0)
        buf_printf(to, "Content-Length: %lld\r\n\r\n",
                   (long long)(h->content_length > 0 ? h->content_length : 0));
    else
        buf_append_str(to, "\r\n");
}

/* Where the client is to go instead: to the gateway, as it calls it. A name that is a listed service of its
 * own stays, since the gateway answers to it too. False: it stays as it is. */
static bool redirect(struct httprelay *r, const char *url, struct buf *to)
{
    struct url u;
    if (url_parse(&u, url, strlen(url)) < 0)
        return false;
    bool listed = r->o.events->is_listed != NULL && r->o.events->is_listed(r->o.owner, &u.origin);
    free(r->x.location);
    r->x.location = mem_strdup(url);
    r->x.location_listed = listed;
    if (!r->o.reverse || r->host[0] == '\0')
        return false;
    size_t name = http_host_name_len(r->host);
    if (listed && u.origin.kind == HOSTPORT_NAME && strcmp(u.origin.host, r->target.host) != 0)
        buf_printf(to, "https://%s%s%s", u.origin.host, r->host + name, url + u.path);
    else
        buf_printf(to, "https://%s%s", r->host, url + u.path);
    return true;
}

static void put_redirect(struct httprelay *r, const struct http_field *f, struct buf *to)
{
    struct buf url;
    buf_init(&url, HTTP_HEAD_MAX);
    bool changed = redirect(r, f->value, &url) && buf_append(&url, "", 1) == 0;
    put(to, f->name, changed ? (const char *)url.data : f->value);
    buf_deinit(&url);
}

static bool is_versions(const char *name)
{
    return is(name, "MS-ASProtocolVersions") || is(name, "X-MS-RP");
}

/* A version that the floor hides must not be offered anywhere. */
static void put_versions(struct httprelay *r, const struct http_field *f, struct buf *to)
{
    const struct service_settings *s = r->o.service;
    struct buf list;
    size_t len = strlen(f->value) + 1;
    buf_init(&list, HTTP_HEAD_MAX * 2);
    if (buf_reserve(&list, len) == 0) {
        eas_versions_filter(f->value, s->activesync_floor, s->activesync_ceiling, (char *)list.data);
        put(to, f->name, (const char *)list.data);
    }
    buf_deinit(&list);
}

void httprelay_write_answer(struct httprelay *r, const struct http_head *h, int64_t length, struct buf *to)
{
    bool named = has_connection(h), limits = easrules_limits_versions(r->o.service);
    buf_printf(to, "HTTP/1.1 %u %s\r\n", h->status, http_status_text(h->status));
    for (size_t i = 0; i < h->field_count; i++) {
        const struct http_field *f = &h->fields[i];
        if (is_hop_by_hop(f->name) || is(f->name, "Content-Length") ||
            (named && !is_decisive(f->name) && is_named(h, f->name)))
            continue;
        if (is(f->name, "X-MS-Location") || (r->x.kind == EAS_PATH_AUTODISCOVER && is(f->name, "Location")))
            put_redirect(r, f, to);
        else if (limits && is_versions(f->name))
            put_versions(r, f, to);
        else
            put(to, f->name, f->value);
    }
    if (r->close_after)
        put(to, "Connection", "close");
    else if (r->http10)
        put(to, "Connection", "keep-alive");
    if (r->response_kept)
        return; /* its length is told when it is known */
    if (length >= 0)
        buf_printf(to, "Content-Length: %lld\r\n", (long long)length);
    else if (r->response_chunked)
        buf_append_str(to, "Transfer-Encoding: chunked\r\n");
    buf_append(to, "\r\n", 2);
}

/* ---- what answers say ---- */

static bool has_word(const char *text, const char *word)
{
    return text != NULL && strcasestr(text, word) != NULL;
}

/* Domino without "override session authentication", or a portal in front: a page instead of 401. */
bool httprelay_is_login_form(const struct httprelay *r, const struct http_head *h)
{
    if (r->x.kind != EAS_PATH_ACTIVESYNC)
        return false;
    if (h->status == 200)
        return has_word(http_head_field(h, "Content-Type", NULL), "text/html");
    if (h->status != 302 && h->status != 303)
        return false;
    const char *location = http_head_field(h, "Location", NULL);
    return has_word(location, "login") || has_word(location, "names.nsf") || has_word(location, "/auth");
}

static bool on_url(void *owner, const char *element, const char *text, struct buf *replacement)
{
    struct httprelay *r = owner;
    if (redirect(r, text, replacement))
        return true;
    /* Name may be the server's name alone */
    if (!r->o.reverse || r->host[0] == '\0' || !is(element, "Name") || !calls_target(r, text))
        return false;
    buf_append_str(replacement, r->host);
    return true;
}

void httprelay_read_autodiscover(struct httprelay *r)
{
    struct buf changed;
    const char *why;
    buf_init(&changed, AUTODISCOVER_MAX * 2);
    if (autodiscover_rewrite(r->answer.data, r->answer.len, on_url, r, &changed, NULL, &why) < 0) {
        r->x.detail = "the autodiscover answer could not be read, and went on as it was";
    } else {
        buf_deinit(&r->answer);
        r->answer = changed;
        return;
    }
    buf_deinit(&changed);
}
