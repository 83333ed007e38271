/* What heads become on their way, and which requests may go on. Called by httprelay.c. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/decimal.h"
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
static bool is_hop_by_hop(enum http_name name)
{
    switch (name) {
    case HTTP_NAME_CONNECTION:
    case HTTP_NAME_KEEP_ALIVE:
    case HTTP_NAME_PROXY_CONNECTION:
    case HTTP_NAME_PROXY_AUTHORIZATION:
    case HTTP_NAME_TRANSFER_ENCODING:
    case HTTP_NAME_TE:
    case HTTP_NAME_TRAILER:
    case HTTP_NAME_UPGRADE:
    case HTTP_NAME_X_STA_TICKET:
        return true;
    default:
        return false;
    }
}

/* What the Connection fields name. */
static bool is_named(const struct http_head *h, const char *name)
{
    for (size_t i = 0; i < h->field_count; i++) {
        if (h->fields[i].known == HTTP_NAME_CONNECTION && http_value_has_token(h->fields[i].value, name))
            return true;
    }
    return false;
}

static bool has_connection(const struct http_head *h)
{
    size_t count;
    http_head_field(h, HTTP_NAME_CONNECTION, &count);
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
    static const bool once[HTTP_NAME_COUNT] = {
        [HTTP_NAME_AUTHORIZATION] = true,          [HTTP_NAME_CONTENT_ENCODING] = true,
        [HTTP_NAME_CONTENT_TYPE] = true,           [HTTP_NAME_EXPECT] = true,
        [HTTP_NAME_MS_AS_PROTOCOL_VERSION] = true, [HTTP_NAME_USER_AGENT] = true,
        [HTTP_NAME_X_MS_POLICY_KEY] = true,        [HTTP_NAME_X_STA_TICKET] = true,
    };
    bool seen[HTTP_NAME_COUNT] = {false}, named = has_connection(h);
    for (size_t i = 0; i < h->field_count; i++) {
        const struct http_field *f = &h->fields[i];
        if (named && is_decisive(f->name) && is_named(h, f->name))
            return "Connection names a field that is not for one connection";
        if (once[f->known] && seen[f->known])
            return "a field that says what to do stands there more than once";
        seen[f->known] = true;
    }
    const char *expect = http_head_field(h, HTTP_NAME_EXPECT, NULL);
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
    const char *host = http_head_field(h, HTTP_NAME_HOST, NULL);
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
    const char *ticket = http_head_field(h, HTTP_NAME_X_STA_TICKET, NULL);
    const char *proxy = http_head_field(h, HTTP_NAME_PROXY_AUTHORIZATION, NULL);
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
    const char *agent = http_head_field(h, HTTP_NAME_USER_AGENT, NULL);
    mem_copy_text(x->method, sizeof x->method, h->method);
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
    const char *type = http_head_field(h, HTTP_NAME_CONTENT_TYPE, NULL);
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
    const char *field = http_head_field(h, HTTP_NAME_MS_AS_PROTOCOL_VERSION, NULL);
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
    const char *authorization = http_head_field(h, HTTP_NAME_AUTHORIZATION, NULL);
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
    const char *type = http_head_field(h, HTTP_NAME_CONTENT_TYPE, NULL);
    const char *coding = http_head_field(h, HTTP_NAME_CONTENT_ENCODING, NULL);
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

static void put_number(struct buf *to, int64_t n)
{
    char text[DECIMAL_TEXT];
    buf_append(to, text, decimal_put(text, n));
}

/* The last of the fields. */
static void put_length(struct buf *to, int64_t length)
{
    buf_append_str(to, "Content-Length: ");
    put_number(to, length);
    buf_append_str(to, "\r\n\r\n");
}

static void put_host(struct httprelay *r, struct buf *to)
{
    const char *open = r->target.kind == HOSTPORT_IPV6 ? "[" : "", *close = open[0] != '\0' ? "]" : "";
    buf_append_str(to, "Host: ");
    buf_append_str(to, open);
    buf_append_str(to, r->target.host);
    buf_append_str(to, close);
    if (r->target.port != (r->o.plain_backend ? 80 : 443)) {
        buf_append_str(to, ":");
        put_number(to, r->target.port);
    }
    buf_append_str(to, "\r\n");
}

/* Fields that are put in anew, in place of what the client says of itself. */
static bool is_forward(const struct httprelay *r, enum http_name name)
{
    unsigned f = r->o.service->forward;
    switch (name) {
    case HTTP_NAME_VIA:
        return (f & 1u << FORWARD_VIA) != 0;
    case HTTP_NAME_FORWARDED:
    case HTTP_NAME_X_FORWARDED_FOR:
        return (f & 1u << FORWARD_FOR) != 0;
    case HTTP_NAME_X_FORWARDED_PROTO:
        return (f & 1u << FORWARD_PROTO) != 0;
    default:
        return false;
    }
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
    buf_append_str(to, h->method);
    buf_append_str(to, " ");
    buf_append_str(to, h->target);
    buf_append_str(to, " HTTP/1.1\r\n");
    for (size_t i = 0; i < h->field_count; i++) {
        const struct http_field *f = &h->fields[i];
        /* to CGI programs an underscore is a hyphen: another spelling of a field that was looked at */
        if (is_hop_by_hop(f->known) || is_forward(r, f->known) || f->known == HTTP_NAME_CONTENT_LENGTH ||
            (f->known == HTTP_NAME_OTHER && strchr(f->name, '_') != NULL) || (named && is_named(h, f->name)))
            continue;
        if (f->known == HTTP_NAME_HOST) {
            host = true;
            if (r->o.reverse) {
                put_host(r, to);
                continue;
            }
        }
        /* an answer that has to be read must not come packed */
        if (r->x.kind == EAS_PATH_AUTODISCOVER && f->known == HTTP_NAME_ACCEPT_ENCODING)
            continue;
        put(to, f->name, f->value);
    }
    if (!host)
        put_host(r, to);
    put_forward(r, to);
    if (h->chunked)
        buf_append_str(to, "Transfer-Encoding: chunked\r\n\r\n");
    else if (h->content_length >= 0 || strcmp(h->method, "POST") == 0)
        put_length(to, h->content_length > 0 ? h->content_length : 0);
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

static bool is_versions(enum http_name name)
{
    return name == HTTP_NAME_MS_AS_PROTOCOL_VERSIONS || name == HTTP_NAME_X_MS_RP;
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
    buf_append_str(to, "HTTP/1.1 ");
    put_number(to, h->status);
    buf_append_str(to, " ");
    buf_append_str(to, http_status_text(h->status));
    buf_append_str(to, "\r\n");
    for (size_t i = 0; i < h->field_count; i++) {
        const struct http_field *f = &h->fields[i];
        if (is_hop_by_hop(f->known) || f->known == HTTP_NAME_CONTENT_LENGTH ||
            (named && !is_decisive(f->name) && is_named(h, f->name)))
            continue;
        if (f->known == HTTP_NAME_X_MS_LOCATION ||
            (r->x.kind == EAS_PATH_AUTODISCOVER && f->known == HTTP_NAME_LOCATION))
            put_redirect(r, f, to);
        else if (limits && is_versions(f->known))
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
        put_length(to, length);
    else
        buf_append_str(to, r->response_chunked ? "Transfer-Encoding: chunked\r\n\r\n" : "\r\n");
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
        return has_word(http_head_field(h, HTTP_NAME_CONTENT_TYPE, NULL), "text/html");
    if (h->status != 302 && h->status != 303)
        return false;
    const char *location = http_head_field(h, HTTP_NAME_LOCATION, NULL);
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
