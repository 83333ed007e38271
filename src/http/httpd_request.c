/* Requests as handlers see them, and the heads of answers. Knows no sockets: httpd.c does. */
#include "httpd_impl.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/clock.h"
#include "base/mem.h"

/* ---- a request ---- */

/* Where the path begins: behind scheme and authority in the absolute form, which servers have to take (RFC
 * 9112, 3.2.2). */
static const char *path_of(const char *target)
{
    size_t scheme = strncasecmp(target, "http://", 7) == 0    ? 7
                    : strncasecmp(target, "https://", 8) == 0 ? 8
                                                              : 0;
    return scheme > 0 ? target + scheme + strcspn(target + scheme, "/?") : target;
}

static const char *keep_text(struct httpd_request *r, size_t *at, const char *s)
{
    size_t n = strlen(s) + 1;
    char *kept = memcpy(r->text + *at, s, n);
    *at += n;
    return kept;
}

static bool has_verified_certificate(const struct stream *s)
{
    return s->tls.ssl != NULL && SSL_get0_peer_certificate(s->tls.ssl) != NULL &&
           SSL_get_verify_result(s->tls.ssl) == X509_V_OK;
}

struct httpd_request *httpd_request_new(struct httpd_conn *c, const struct http_head *head)
{
    const char *path = path_of(head->target);
    size_t path_len = strcspn(path, "?");
    size_t fields = head->field_count * sizeof(struct http_field);
    /* fields first, for their alignment; "/" may stand in for an empty path */
    size_t bytes = strlen(head->method) + 1 + 1 + strlen(path) + 2;
    for (size_t i = 0; i < head->field_count; i++)
        bytes += strlen(head->fields[i].name) + 1 + strlen(head->fields[i].value) + 1;
    struct httpd_request *r = mem_zalloc(sizeof *r + bytes);
    struct http_field *kept = mem_alloc(fields);
    size_t at = 0;

    r->conn = c;
    r->text_bytes = bytes;
    r->head = *head;
    r->head.fields = kept;
    r->head.method = keep_text(r, &at, head->method);
    for (size_t i = 0; i < head->field_count; i++) {
        kept[i] = head->fields[i];
        kept[i].name = keep_text(r, &at, head->fields[i].name);
        kept[i].value = keep_text(r, &at, head->fields[i].value);
    }
    r->path = path_len > 0 ? r->text + at : "/";
    memcpy(r->text + at, path, path_len);
    at += path_len + 1; /* the memory is zero */
    r->query = keep_text(r, &at, path[path_len] == '?' ? path + path_len + 1 : "");
    assert(at <= bytes);
    r->head.target = r->path;
    r->certificate = has_verified_certificate(&c->stream);
    return r;
}

void httpd_request_free(struct httpd_request *r)
{
    if (r == NULL)
        return;
    body_deinit(&r->body);
    mem_wipe(r->text, r->text_bytes);
    free((void *)(uintptr_t)r->head.fields);
    free(r);
}

bool httpd_request_is_head(const struct httpd_request *r)
{
    return r != NULL && strcmp(r->head.method, "HEAD") == 0;
}

const char *httpd_method(const struct httpd_request *r)
{
    return r->head.method;
}

const char *httpd_path(const struct httpd_request *r)
{
    return r->path;
}

const char *httpd_query(const struct httpd_request *r)
{
    return r->query;
}

const char *httpd_field(const struct httpd_request *r, enum http_name name, size_t *count)
{
    return http_head_field(&r->head, name, count);
}

const uint8_t *httpd_body(const struct httpd_request *r, size_t *len)
{
    *len = r->body.len;
    return r->body.data;
}

const struct sockaddr_storage *httpd_peer(const struct httpd_request *r)
{
    return &r->conn->peer;
}

bool httpd_is_tls(const struct httpd_request *r)
{
    return r->conn->stream.tls_server;
}

bool httpd_has_client_certificate(const struct httpd_request *r)
{
    return r->certificate;
}

void httpd_set_data(struct httpd_request *r, void *data)
{
    r->data = data;
}

void *httpd_data(const struct httpd_request *r)
{
    return r->data;
}

void *httpd_request_owner(const struct httpd_request *r)
{
    return r->owner;
}

/* ---- the head of an answer ---- */

/* Written once a second. */
static const char *date_text(struct httpd *h)
{
    time_t now = (time_t)(clock_wall_ms() / 1000);
    struct tm tm;
    if (h->date[0] == '\0' || h->date_s != now)
        strftime(h->date, sizeof h->date, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now, &tm));
    h->date_s = now;
    return h->date;
}

void httpd_head_write(struct buf *out, struct httpd *h, unsigned status, const char *fields, const char *type,
                      size_t len, bool keep_alive, bool old)
{
    buf_printf(out, "HTTP/1.1 %u %s\r\nDate: %s\r\n", status, http_status_text(status), date_text(h));
    if (h->options.server != NULL)
        buf_printf(out, "Server: %s\r\n", h->options.server);
    buf_append_str(out, "Cache-Control: no-store\r\n");
    if (fields != NULL)
        buf_append_str(out, fields);
    if (type != NULL)
        buf_printf(out, "Content-Type: %s\r\n", type);
    if (status != 204 && status != 304) /* RFC 9110, 8.6 */
        buf_printf(out, "Content-Length: %zu\r\n", len);
    if (!keep_alive)
        buf_append_str(out, "Connection: close\r\n");
    else if (old) /* HTTP/1.0 has to be told */
        buf_append_str(out, "Connection: keep-alive\r\n");
    buf_append_str(out, "\r\n");
}

/* ---- queries ---- */

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One character of a query, decoded: how many bytes it takes there, 0 where it is malformed. */
static size_t decode_one(const char *s, char *out)
{
    if (*s != '%') {
        *out = *s == '+' ? ' ' : *s;
        return 1;
    }
    int high = hex_value(s[1]);
    int low = high >= 0 ? hex_value(s[2]) : -1;
    if (low < 0)
        return 0;
    *out = (char)(high << 4 | low);
    return 3;
}

bool httpd_query_value(const char *query, const char *name, char *dst, size_t cap)
{
    size_t n = strlen(name), len = 0;
    assert(cap > 0);
    dst[0] = '\0';
    while (strncmp(query, name, n) != 0 || (query[n] != '=' && query[n] != '&' && query[n] != '\0')) {
        query += strcspn(query, "&");
        if (*query == '\0')
            return false;
        query++;
    }
    query += n;
    if (*query == '=')
        query++;
    while (*query != '\0' && *query != '&') {
        char c;
        size_t used = decode_one(query, &c);
        if (used == 0 || c == '\0' || len + 1 >= cap) {
            mem_wipe(dst, cap); /* half a secret is one, too */
            return false;
        }
        dst[len++] = c;
        query += used;
    }
    dst[len] = '\0';
    return true;
}
