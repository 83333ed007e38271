/* The view for people. Called by cmd_trace.c with lines of the running gateway or of a file; both may hold
 * anything, so every string is made visible (base/visible.h), and what is kept of open requests is bounded.
 *
 * A request is shown when its body is whole, an answer when it has ended; what belongs together bears one
 * #id.
 */
#include "trace_print.h"

#include <jansson.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/list.h"
#include "base/mem.h"
#include "base/visible.h"
#include "proto/http.h"
#include "proto/wbxml_xml.h"

#define OPEN_MAX 1024              /* requests; the oldest is shown as it is, then */
#define BODY_MAX (128 * 1024)      /* kept of one body; the gateway tells less */
#define XML_MAX  (4 * 1024 * 1024) /* a body as text */
#define MARGIN   "  "

struct part {     /* a body and what is known of it */
    json_t *head; /* the event with the fields; NULL: not seen */
    struct buf body;
    bool truncated, hidden;
    bool shown;
};

struct open_request {
    struct list link; /* oldest first */
    json_int_t id;
    struct part request, answer;
};

struct trace_printer {
    struct trace_print_options options;
    struct list open;
    size_t count;
};

struct trace_printer *trace_printer_new(const struct trace_print_options *options)
{
    struct trace_printer *p = mem_zalloc(sizeof *p);
    p->options = *options;
    list_init(&p->open);
    return p;
}

/* ---- words ---- */

static const char *text(const json_t *d, const char *key)
{
    const char *s = json_string_value(json_object_get(d, key));
    return s != NULL ? s : "";
}

static void show(const struct trace_printer *p, const char *s)
{
    struct buf b;
    buf_init(&b, XML_MAX);
    visible_append(&b, s, strlen(s), false);
    if (b.len > 0)
        fwrite(b.data, 1, b.len, p->options.out);
    buf_deinit(&b);
}

/* With two blanks before it, if there is anything. */
static void show_word(const struct trace_printer *p, const char *s)
{
    if (s[0] == '\0')
        return;
    fputs("  ", p->options.out);
    show(p, s);
}

static void colour(const struct trace_printer *p, const char *code)
{
    if (p->options.colour)
        fprintf(p->options.out, "\x1b[%sm", code);
}

/* "12:00:01.123  #17": the time of an event, and whose it is in a colour of its own. */
static void show_head(const struct trace_printer *p, const json_t *event)
{
    static const char *const codes[] = {"1;36", "1;33", "1;35", "1;34", "1;32"};
    const char *time = text(event, "time"), *t = strchr(time, 'T');
    json_int_t id = json_integer_value(json_object_get(event, "id"));
    char clock[13] = "";
    snprintf(clock, sizeof clock, "%s", t != NULL ? t + 1 : time);
    show(p, clock);
    fputs("  ", p->options.out);
    colour(p, codes[(size_t)id % (sizeof codes / sizeof codes[0])]);
    fprintf(p->options.out, "#%lld", (long long)id);
    colour(p, "0");
}

static void show_who(const struct trace_printer *p, const json_t *event)
{
    show_word(p, text(event, "user"));
    show_word(p, text(event, "device"));
    if (text(event, "user")[0] == '\0' && text(event, "device")[0] == '\0')
        show_word(p, text(event, "ticket")[0] != '\0' ? text(event, "ticket") : text(event, "client"));
}

static void show_target(const struct trace_printer *p, const json_t *event)
{
    if (text(event, "target")[0] == '\0')
        return;
    fputs(" \xe2\x86\x92 ", p->options.out); /* an arrow */
    show(p, text(event, "target"));
}

/* "FolderSync 14.1", or the method where it is no command. */
static void show_command(const struct trace_printer *p, const json_t *event)
{
    const char *command = text(event, "command"), *version = text(event, "version");
    show_word(p, command[0] != '\0' ? command : text(event, "method"));
    if (version[0] != '\0') {
        fputc(' ', p->options.out);
        show(p, version);
    }
}

static void show_bytes_of(const struct trace_printer *p, double n)
{
    if (n < 10000)
        fprintf(p->options.out, "%.0f bytes", n);
    else
        fprintf(p->options.out, "%.0f KB", n / 1024);
}

/* ---- bodies ---- */

/* The value of a field of the head, case-insensitively; "" if there is none. */
static const char *field(const json_t *head, const char *name)
{
    const json_t *fields = json_object_get(head, "fields");
    for (size_t i = 0; i < json_array_size(fields); i++) {
        const json_t *pair = json_array_get(fields, i);
        const char *n = json_string_value(json_array_get(pair, 0)),
                   *v = json_string_value(json_array_get(pair, 1));
        if (n != NULL && v != NULL && strcasecmp(n, name) == 0)
            return v;
    }
    return "";
}

static bool is_wbxml(const struct part *b)
{
    return b->body.len > 0 && b->body.data[0] <= 0x03 &&
           strcasestr(field(b->head, "Content-Type"), "multipart") == NULL &&
           field(b->head, "Content-Encoding")[0] == '\0';
}

static void show_wbxml(const struct trace_printer *p, const struct part *b)
{
    struct buf xml;
    buf_init(&xml, XML_MAX);
    int rc = wbxml_to_xml(&xml, b->body.data, b->body.len, MARGIN);
    if (xml.len > 0)
        fwrite(xml.data, 1, xml.len, p->options.out);
    if (rc == ERR_TOO_BIG && (xml.len == 0 || xml.data[xml.len - 1] != '\n'))
        fputs("\n" MARGIN "(and more)\n", p->options.out);
    buf_deinit(&xml);
}

/* XML, mail and the like: as they are, line by line. */
static void show_lines(const struct trace_printer *p, const struct part *b)
{
    const char *at = (const char *)b->body.data, *end = at + b->body.len;
    struct buf line;
    while (at < end) {
        const char *eol = memchr(at, '\n', (size_t)(end - at));
        size_t len = (size_t)((eol != NULL ? eol : end) - at);
        buf_init(&line, XML_MAX);
        visible_append(&line, at, len > 0 && at[len - 1] == '\r' ? len - 1 : len, false);
        fprintf(p->options.out, MARGIN "%.*s\n", (int)line.len, line.len > 0 ? (const char *)line.data : "");
        buf_deinit(&line);
        at = eol != NULL ? eol + 1 : end;
    }
}

static bool is_text(const struct part *b)
{
    const char *type = field(b->head, "Content-Type");
    return (strcasestr(type, "xml") != NULL || strncasecmp(type, "text/", 5) == 0 ||
            strncasecmp(type, "message/", 8) == 0) &&
           visible_is_text(b->body.data, b->body.len);
}

static void show_body(const struct trace_printer *p, const struct part *b)
{
    if (is_wbxml(b)) {
        show_wbxml(p, b);
    } else if (b->body.len > 0 && is_text(b)) {
        show_lines(p, b);
    } else if (b->body.len > 0) {
        const char *type = field(b->head, "Content-Type"), *coding = field(b->head, "Content-Encoding");
        fputs(MARGIN "(", p->options.out);
        show_bytes_of(p, (double)b->body.len);
        show_word(p, type[0] != '\0' ? type : "of no type");
        show_word(p, coding);
        fputs(")\n", p->options.out);
    }
    if (b->hidden)
        fputs(MARGIN "(its body is hidden)\n", p->options.out);
    if (b->truncated)
        fputs(MARGIN "(its body goes on)\n", p->options.out);
}

static void show_fields(const struct trace_printer *p, const struct part *b)
{
    const json_t *fields = json_object_get(b->head, "fields");
    for (size_t i = 0; p->options.fields && i < json_array_size(fields); i++) {
        const json_t *pair = json_array_get(fields, i);
        const char *n = json_string_value(json_array_get(pair, 0)),
                   *v = json_string_value(json_array_get(pair, 1));
        if (n == NULL || v == NULL)
            continue;
        fputs(MARGIN, p->options.out);
        show(p, n);
        fputs(": ", p->options.out);
        show(p, v);
        fputc('\n', p->options.out);
    }
}

/* ---- open requests ---- */

static void free_request(struct trace_printer *p, struct open_request *o)
{
    list_remove(&o->link);
    p->count--;
    json_decref(o->request.head);
    json_decref(o->answer.head);
    buf_deinit(&o->request.body);
    buf_deinit(&o->answer.body);
    free(o);
}

static struct open_request *find_request(struct trace_printer *p, json_int_t id)
{
    for (struct list *l = p->open.next; l != &p->open; l = l->next) {
        struct open_request *o = list_entry(l, struct open_request, link);
        if (o->id == id)
            return o;
    }
    return NULL;
}

static void show_request(const struct trace_printer *p, struct open_request *o)
{
    const json_t *e = o->request.head;
    if (o->request.shown || p->options.summary || e == NULL)
        return;
    o->request.shown = true;
    show_head(p, e);
    show_who(p, e);
    show_command(p, e);
    show_target(p, e);
    fputc('\n', p->options.out);
    if (text(e, "method")[0] != '\0') {
        fputs(MARGIN, p->options.out);
        show(p, text(e, "method"));
        fputc(' ', p->options.out);
        show(p, text(e, "uri"));
        fputc('\n', p->options.out);
    }
    show_fields(p, &o->request);
    show_body(p, &o->request);
}

static void show_status(const struct trace_printer *p, unsigned status)
{
    const char *word = http_status_text(status);
    colour(p, status >= 500 ? "31" : status >= 400 ? "33" : "32");
    fprintf(p->options.out, "  %u %s", status, word != NULL ? word : "");
    colour(p, "0");
}

/* "  200 OK  14 ms", and the reason where it is another than ok. */
static void show_outcome(const struct trace_printer *p, const struct open_request *o, const json_t *end)
{
    json_int_t status = json_integer_value(json_object_get(o->answer.head, "status"));
    const char *reason = text(end, "reason");
    if (status == 0)
        status = json_integer_value(json_object_get(end, "status"));
    if (status > 0 && status < 1000)
        show_status(p, (unsigned)status);
    if (end == NULL)
        fputs("  (its end was not seen)", p->options.out);
    else
        fprintf(p->options.out, "  %.0f ms", json_number_value(json_object_get(end, "ms")));
    if (reason[0] == '\0' || strcmp(reason, "ok") == 0)
        return;
    show_word(p, reason);
    if (text(end, "detail")[0] != '\0') {
        fputs(": ", p->options.out);
        show(p, text(end, "detail"));
    }
}

/* A whole request in one line. */
static void show_summary(const struct trace_printer *p, const struct open_request *o, const json_t *event,
                         const json_t *end)
{
    const json_t *e = o->request.head;
    show_head(p, e != NULL ? e : event);
    show_who(p, e);
    show_command(p, e);
    show_target(p, e);
    show_outcome(p, o, end);
    fputc('\n', p->options.out);
}

/* The answer, and with it the request is over; end NULL: nobody saw how. */
static void show_answer(struct trace_printer *p, struct open_request *o, const json_t *end)
{
    const json_t *event = end != NULL ? end : o->answer.head != NULL ? o->answer.head : o->request.head;
    if (event != NULL && p->options.summary) {
        show_summary(p, o, event, end);
    } else if (event != NULL) {
        show_request(p, o);
        show_head(p, event);
        show_outcome(p, o, end);
        fputc('\n', p->options.out);
        show_fields(p, &o->answer);
        show_body(p, &o->answer);
    }
    free_request(p, o);
}

static struct open_request *get_request(struct trace_printer *p, const json_t *event)
{
    json_int_t id = json_integer_value(json_object_get(event, "id"));
    struct open_request *o = find_request(p, id);
    if (o != NULL)
        return o;
    if (p->count == OPEN_MAX)
        show_answer(p, list_entry(p->open.next, struct open_request, link), NULL);
    o = mem_zalloc(sizeof *o);
    o->id = id;
    buf_init(&o->request.body, BODY_MAX);
    buf_init(&o->answer.body, BODY_MAX);
    list_append(&p->open, &o->link);
    p->count++;
    return o;
}

/* ---- events ---- */

static bool is_whole_wbxml(const struct buf *b)
{
    static const struct wbxml_limits limits = {.depth = WBXML_DEPTH_MAX, .item = BODY_MAX, .total = BODY_MAX};
    static const struct wbxml_events nothing;
    struct wbxml_reader r;
    wbxml_reader_init(&r, &limits, &nothing, NULL);
    wbxml_reader_feed(&r, b->data, b->len);
    return wbxml_reader_end(&r) == 0;
}

/* Whether no more of the request's body is to come. */
static bool is_whole(const struct trace_printer *p, const struct part *b)
{
    const char *length = field(b->head, "Content-Length");
    if (!p->options.bodies || b->truncated || b->hidden)
        return true;
    if (length[0] != '\0')
        return b->body.len >= strtoul(length, NULL, 10);
    if (field(b->head, "Transfer-Encoding")[0] == '\0')
        return true;
    return is_wbxml(b) && is_whole_wbxml(&b->body);
}

static void on_request(struct trace_printer *p, const json_t *event)
{
    struct open_request *o = get_request(p, event);
    json_decref(o->request.head);
    o->request.head = json_incref((json_t *)(uintptr_t)event);
    if (is_whole(p, &o->request))
        show_request(p, o);
}

static void add_base64(struct buf *body, const char *s, size_t len)
{
    size_t pad = 0;
    if (len == 0 || len % 4 != 0 || buf_reserve(body, len / 4 * 3) != 0)
        return;
    while (pad < 2 && s[len - 1 - pad] == '=')
        pad++;
    int n = EVP_DecodeBlock(body->data + body->len, (const unsigned char *)s, (int)len);
    if (n > 0)
        body->len += (size_t)n - pad;
}

static void on_body(struct trace_printer *p, const json_t *event)
{
    struct open_request *o = get_request(p, event);
    bool from_client = strcmp(text(event, "from"), "client") == 0;
    struct part *b = from_client ? &o->request : &o->answer;
    const json_t *data = json_object_get(event, "data");
    add_base64(&b->body, text(event, "data"), json_string_length(data));
    b->truncated |= json_is_true(json_object_get(event, "truncated"));
    b->hidden |= json_is_true(json_object_get(event, "hidden"));
    if (from_client && is_whole(p, b))
        show_request(p, o);
}

static void on_answer(struct trace_printer *p, const json_t *event)
{
    struct open_request *o = get_request(p, event);
    json_decref(o->answer.head);
    o->answer.head = json_incref((json_t *)(uintptr_t)event);
    if (json_integer_value(json_object_get(event, "status")) >= 200)
        show_request(p, o);
}

static void on_end(struct trace_printer *p, const json_t *event)
{
    show_answer(p, get_request(p, event), event);
}

static void on_tunnel(struct trace_printer *p, const json_t *event)
{
    const char *offered = text(event, "offered"), *version = text(event, "version");
    show_head(p, event);
    show_who(p, event);
    show_word(p, "tunnel");
    show_target(p, event);
    show_word(p, version[0] != '\0' ? version : "no TLS agreed on");
    if (offered[0] != '\0' && strcmp(offered, version) != 0) {
        fputs(" (offered up to ", p->options.out);
        show(p, offered);
        fputc(')', p->options.out);
    }
    show_word(p, text(event, "cipher"));
    if (text(event, "sni")[0] != '\0') {
        fputs("  server name ", p->options.out);
        show(p, text(event, "sni"));
    }
    fputc('\n', p->options.out);
}

static void on_lost(struct trace_printer *p, const json_t *event)
{
    fprintf(p->options.out, "(%lld events were lost: they came faster than they were fetched)\n",
            (long long)json_integer_value(json_object_get(event, "lines")));
}

int trace_printer_line(struct trace_printer *p, const char *line, size_t len)
{
    static const struct {
        const char *name;
        void (*on_event)(struct trace_printer *p, const json_t *event);
    } events[] = {{"trace_request", on_request}, {"trace_body", on_body},     {"trace_answer", on_answer},
                  {"trace_end", on_end},         {"trace_tunnel", on_tunnel}, {"trace_lost", on_lost}};
    json_error_t error;
    json_t *d = json_loadb(line, len, JSON_REJECT_DUPLICATES, &error);
    const char *name = json_string_value(json_object_get(d, "event"));
    int rc = name != NULL && strncmp(name, "trace_", 6) == 0 ? 0 : ERR_SYNTAX;
    for (size_t i = 0; rc == 0 && i < sizeof events / sizeof events[0]; i++) {
        if (strcmp(events[i].name, name) == 0)
            events[i].on_event(p, d);
    }
    json_decref(d);
    return rc;
}

void trace_printer_end(struct trace_printer *p)
{
    while (!list_empty(&p->open))
        show_answer(p, list_entry(p->open.next, struct open_request, link), NULL);
    free(p);
}
