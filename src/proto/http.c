/* HTTP/1.x messages on top of http-parser: the one file that knows it. Called by the doors, the relay, the
 * authority's and the admin HTTP services; knows nothing of sockets or of what a message is for.
 *
 * http-parser is told what to do, not trusted: Debian builds it without its strict checks, and its callbacks
 * hide line ends. So the text of a message (head, chunk-size lines, trailers) is taken line by line here,
 * each byte looked at, before the library sees it. A head is collected whole, checked, and parsed in one
 * call; in the end both readers have to agree on how the body is framed.
 */
#include "proto/http.h"

#include <assert.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* the library's enumerators of these names stand aside for ours */
#define HTTP_REQUEST  PARSER_REQUEST
#define HTTP_RESPONSE PARSER_RESPONSE
#include <http_parser.h>
#undef HTTP_REQUEST
#undef HTTP_RESPONSE

#include "base/err.h"
#include "base/mem.h"
#include "proto/hostport.h"

#include "http_text.h"

#define STORE_FIRST    1024 /* most heads fit */
#define CHUNK_LINE_MAX 1024 /* a chunk size and its extensions, which nobody reads */

/* What the next byte belongs to. */
enum part {
    PART_HEAD,
    PART_BODY,       /* with a length, or until the end of the connection */
    PART_CHUNK_SIZE, /* the line with the size */
    PART_CHUNK_DATA,
    PART_CHUNK_END, /* CR LF behind the data */
    PART_TRAILERS,
    PART_TUNNEL,
    PART_FAILED,
};

/* A head while it is read; wiped and given back as soon as on_head has returned, so that an idle reader owns
 * nothing. */
struct head_store {
    struct http_head head;
    struct http_field fields[HTTP_FIELDS_MAX];
    size_t target_len;
    uint16_t name_len[HTTP_FIELDS_MAX];
    uint16_t value_len[HTTP_FIELDS_MAX];
    bool complete; /* http-parser has seen the blank line */
    size_t len;
    size_t cap;
    char bytes[]; /* as received; text ends are overwritten with NUL when all of it is parsed */
};

struct http_reader {
    http_parser parser;
    enum http_kind kind;
    enum part part;
    bool begun;          /* the start line was read */
    bool complete;       /* the message ended */
    bool to_head;        /* responses: the request was HEAD */
    bool to_connect;     /* responses: the request was CONNECT */
    uint8_t previous;    /* byte of the text before the next one */
    uint32_t line_bytes; /* of the line being read, without CR LF */
    uint32_t room;       /* bytes of text that may still come before a limit is reached */
    uint32_t trailer_room;
    uint32_t field_count; /* trailers included */
    uint64_t chunk_left;
    struct head_store *store;
    const struct http_events *events;
    void *owner;
    int rc;          /* negative: failed with it */
    unsigned status; /* that answers the failure */
    const char *why;
};

static int fail(struct http_reader *r, int code, const char *why)
{
    r->part = PART_FAILED;
    r->rc = code;
    r->status = code == ERR_TOO_BIG ? 431 : code == ERR_UNSUPPORTED ? 501 : 400;
    r->why = why;
    return code;
}

static int stopped_by_owner(struct http_reader *r, int code)
{
    fail(r, code, "the reader's owner stopped it");
    r->status = 413;
    return code;
}

/* ---- the store ---- */

static void store_release(struct http_reader *r)
{
    struct head_store *s = r->store;
    if (s == NULL)
        return;
    mem_wipe(s->bytes, s->len);
    free(s);
    r->store = NULL;
}

/* Grows by copying instead of realloc, which would leave credentials behind in freed memory. */
static void store_reserve(struct http_reader *r, size_t extra)
{
    struct head_store *old = r->store;
    size_t need = (old != NULL ? old->len : 0) + extra;
    if (old != NULL && need <= old->cap)
        return;
    size_t cap = STORE_FIRST;
    while (cap < need)
        cap *= 2;
    assert(cap <= HTTP_HEAD_MAX);
    struct head_store *s = mem_alloc(sizeof *s + cap);
    s->head = (struct http_head){.content_length = -1};
    s->complete = false;
    s->len = 0;
    s->cap = cap;
    if (old != NULL) {
        memcpy(s->bytes, old->bytes, old->len);
        s->len = old->len;
        store_release(r);
    }
    r->store = s;
}

static void store_append(struct http_reader *r, const uint8_t *data, size_t len)
{
    store_reserve(r, len);
    memcpy(r->store->bytes + r->store->len, data, len);
    r->store->len += len;
}

/* ---- the text, byte by byte ---- */

static int check_byte(struct http_reader *r, uint8_t c)
{
    if (r->previous == '\r' && c != '\n')
        return fail(r, ERR_SYNTAX, "a carriage return stands alone");
    if (c == '\n' && r->previous != '\r')
        return fail(r, ERR_SYNTAX, "a line ends in a line feed without a carriage return");
    if ((c < 0x20 && c != '\t' && c != '\r' && c != '\n') || c == 0x7f)
        return fail(r, ERR_SYNTAX, "a control character stands in the text of the message");
    if (r->line_bytes == 0 && (c == ' ' || c == '\t'))
        return fail(r, ERR_SYNTAX, "a line begins with a blank (folded field lines are not taken)");
    if (c != '\r' && c != '\n') {
        if (r->part == PART_CHUNK_END)
            return fail(r, ERR_SYNTAX, "a chunk is longer than its size says");
        r->line_bytes++;
    }
    r->previous = c;
    return 0;
}

/* Takes what there is of one line, up to its line feed or the limit: *n bytes. Each is checked. */
static int take_line(struct http_reader *r, const uint8_t *data, size_t len, size_t *n, bool *ended)
{
    if (r->room == 0)
        return fail(r, ERR_TOO_BIG,
                    r->part == PART_CHUNK_SIZE ? "a chunk size line is too long"
                                               : "the head is larger than 16 KB");
    size_t most = len < r->room ? len : r->room;
    const uint8_t *lf = memchr(data, '\n', most);
    *ended = lf != NULL;
    *n = lf != NULL ? (size_t)(lf - data) + 1 : most;
    r->room -= (uint32_t)*n;
    for (size_t i = 0; i < *n; i++) {
        /* in the middle of a line nearly all is plain, and needs no look at what stands before it */
        size_t plain = r->line_bytes > 0 && r->previous != '\r' ? http_text_plain(data + i, *n - i) : 0;
        if (plain > 0) {
            r->line_bytes += (uint32_t)plain;
            i += plain;
            r->previous = data[i - 1];
            if (i == *n)
                break;
        }
        int rc = check_byte(r, data[i]);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* ---- http-parser ---- */

static struct http_reader *reader_of(http_parser *parser)
{
    return parser->data;
}

static int on_url(http_parser *parser, const char *at, size_t len)
{
    struct head_store *s = reader_of(parser)->store;
    if (s->head.target != NULL)
        return fail(reader_of(parser), ERR_SYNTAX, "the request target came in pieces");
    s->head.target = at;
    s->target_len = len;
    return 0;
}

static int on_header_field(http_parser *parser, const char *at, size_t len)
{
    struct http_reader *r = reader_of(parser);
    if (r->part == PART_TRAILERS && len == 0)
        return 0; /* trailers come in pieces, which may be empty */
    if (!http_text_is_token(at, len))
        return fail(r, ERR_SYNTAX,
                    "a field name holds a blank or another character that is not possible there");
    if (r->part == PART_TRAILERS)
        return 0;
    struct head_store *s = r->store;
    if (r->field_count == HTTP_FIELDS_MAX)
        return fail(r, ERR_TOO_BIG, "the message has more than 64 fields");
    if (r->field_count > 0 && s->fields[r->field_count - 1].value == NULL)
        return fail(r, ERR_SYNTAX, "a field has no value");
    s->fields[r->field_count] = (struct http_field){.name = at, .known = http_name_of(at, len)};
    s->name_len[r->field_count++] = (uint16_t)len;
    return 0;
}

static int on_header_value(http_parser *parser, const char *at, size_t len)
{
    struct http_reader *r = reader_of(parser);
    if (r->part == PART_TRAILERS)
        return 0;
    struct head_store *s = r->store;
    if (r->field_count == 0 || s->fields[r->field_count - 1].value != NULL)
        return fail(r, ERR_SYNTAX, "a field has two values");
    while (len > 0 && (at[len - 1] == ' ' || at[len - 1] == '\t'))
        len--;
    s->fields[r->field_count - 1].value = at;
    s->value_len[r->field_count - 1] = (uint16_t)len;
    return 0;
}

/* Ends all texts of the head with a NUL, in place: over the blank, colon or carriage return that follows
 * each. http-parser is past them; it never looks back. */
static void terminate_texts(struct head_store *s, size_t field_count)
{
    for (size_t i = 0; i < field_count; i++) {
        struct http_field *f = &s->fields[i];
        s->bytes[(size_t)(f->name - s->bytes) + s->name_len[i]] = '\0';
        if (s->value_len[i] == 0)
            f->value = ""; /* the library's pointer may be into the next line then */
        else
            s->bytes[(size_t)(f->value - s->bytes) + s->value_len[i]] = '\0';
    }
    if (s->head.target == NULL)
        return;
    size_t target = (size_t)(s->head.target - s->bytes);
    s->bytes[target - 1] = '\0';
    s->bytes[target + s->target_len] = '\0';
    s->head.method = s->bytes;
}

static int check_framing(struct http_reader *r, struct http_head *h)
{
    size_t codings;
    size_t lengths;
    const char *coding = http_head_field(h, HTTP_NAME_TRANSFER_ENCODING, &codings);
    const char *length = http_head_field(h, HTTP_NAME_CONTENT_LENGTH, &lengths);
    h->content_length = -1;
    if (codings > 1)
        return fail(r, ERR_SYNTAX, "Transfer-Encoding is there more than once");
    if (lengths > 1)
        return fail(r, ERR_SYNTAX, "Content-Length is there more than once");
    if (coding != NULL && length != NULL)
        return fail(r, ERR_SYNTAX, "Transfer-Encoding and Content-Length contradict each other");
    if (coding != NULL && h->minor == 0)
        return fail(r, ERR_SYNTAX, "HTTP/1.0 has no Transfer-Encoding");
    if (coding != NULL && strcasecmp(coding, "chunked") != 0)
        return fail(r, ERR_UNSUPPORTED, "the only transfer coding taken is chunked");
    h->chunked = coding != NULL;
    if (length != NULL) {
        h->content_length = http_text_parse_length(length);
        if (h->content_length < 0)
            return fail(r, ERR_SYNTAX, "Content-Length is not a number");
    }
    /* the library decides where the body ends: it must have understood the same */
    bool chunked = (r->parser.flags & F_CHUNKED) != 0;
    int64_t agreed = r->parser.content_length == ULLONG_MAX ? -1 : (int64_t)r->parser.content_length;
    if (chunked != h->chunked || agreed != h->content_length)
        return fail(r, ERR_SYNTAX, "the length of the body cannot be told for certain");
    return 0;
}

static int check_request(struct http_reader *r, struct http_head *h)
{
    size_t hosts;
    bool connect = r->parser.method == HTTP_CONNECT;
    http_head_field(h, HTTP_NAME_HOST, &hosts);
    if (hosts > 1)
        return fail(r, ERR_SYNTAX, "Host is there more than once");
    if (connect) {
        struct hostport target;
        if (h->chunked || h->content_length > 0)
            return fail(r, ERR_SYNTAX, "a CONNECT request has no body");
        /* Host may be missing here: real clients leave it out, and the target says all that it would */
        if (hostport_parse(&target, h->target, strlen(h->target), 0, &r->why) < 0)
            return fail(r, ERR_SYNTAX, r->why);
        return 0;
    }
    if (hosts == 0 && h->minor == 1)
        return fail(r, ERR_SYNTAX, "Host is missing, which HTTP/1.1 demands");
    if (h->target[0] == '*' && (r->parser.method != HTTP_OPTIONS || h->target[1] != '\0'))
        return fail(r, ERR_SYNTAX, "the request target is neither a path nor a URL");
    return 0;
}

/* Tells http-parser about the body: 0 as the fields say, 1 none, 2 none and a tunnel behind. */
static int response_framing(const struct http_reader *r, unsigned status)
{
    if (r->to_connect && status / 100 == 2)
        return 2;
    return r->to_head || status / 100 == 1 || status == 204 || status == 304;
}

static int on_headers_complete(http_parser *parser)
{
    struct http_reader *r = reader_of(parser);
    struct head_store *s = r->store;
    struct http_head *h = &s->head;
    if (r->field_count > 0 && s->fields[r->field_count - 1].value == NULL)
        return fail(r, ERR_SYNTAX, "a field has no value");
    terminate_texts(s, r->field_count);
    h->fields = s->fields;
    h->field_count = r->field_count;
    h->minor = parser->http_minor;
    s->complete = true;
    int rc = check_framing(r, h);
    if (rc < 0)
        return rc;
    if (r->kind == HTTP_REQUEST) {
        parser->upgrade = parser->method == HTTP_CONNECT; /* not for "Upgrade:", which nobody here follows */
        return check_request(r, h);
    }
    h->status = parser->status_code;
    if (h->status == 101)
        return fail(r, ERR_UNSUPPORTED, "the server switches protocols, which nobody asked for");
    parser->upgrade = 0;
    return response_framing(r, h->status);
}

static int on_body(http_parser *parser, const char *at, size_t len)
{
    struct http_reader *r = reader_of(parser);
    if (r->events->on_body == NULL)
        return 0;
    int rc = r->events->on_body(r->owner, (const uint8_t *)at, len);
    return rc < 0 ? stopped_by_owner(r, rc) : 0;
}

static int on_chunk_header(http_parser *parser)
{
    struct http_reader *r = reader_of(parser);
    r->chunk_left = parser->content_length;
    r->part = r->chunk_left > 0 ? PART_CHUNK_DATA : PART_TRAILERS;
    return 0;
}

/* Pausing makes http_parser_execute return right behind the message, so that what follows is not taken for
 * the next one. */
static int on_message_complete(http_parser *parser)
{
    reader_of(parser)->complete = true;
    http_parser_pause(parser, 1);
    return 0;
}

static const http_parser_settings settings = {
    .on_url = on_url,
    .on_header_field = on_header_field,
    .on_header_value = on_header_value,
    .on_headers_complete = on_headers_complete,
    .on_body = on_body,
    .on_chunk_header = on_chunk_header,
    .on_message_complete = on_message_complete,
};

static int fail_as_parser(struct http_reader *r)
{
    switch (HTTP_PARSER_ERRNO(&r->parser)) {
    case HPE_INVALID_METHOD:
        return fail(r, ERR_UNSUPPORTED, "this method is not known here");
    case HPE_HEADER_OVERFLOW:
        return fail(r, ERR_TOO_BIG, "the head is larger than 16 KB");
    case HPE_INVALID_URL:
        return fail(r, ERR_SYNTAX, "the request target is neither a path nor a URL");
    case HPE_INVALID_HEADER_TOKEN:
        return fail(r, ERR_SYNTAX,
                    "a field line has no colon or holds a character that is not possible there");
    case HPE_INVALID_CONTENT_LENGTH:
        return fail(r, ERR_SYNTAX,
                    r->part == PART_HEAD ? "Content-Length is not a number" : "a chunk size is too large");
    case HPE_UNEXPECTED_CONTENT_LENGTH:
        return fail(r, ERR_SYNTAX, "Content-Length is there twice, or beside Transfer-Encoding");
    case HPE_INVALID_TRANSFER_ENCODING:
        return fail(r, ERR_SYNTAX, "Transfer-Encoding does not end in chunked, or is there twice");
    case HPE_INVALID_CHUNK_SIZE:
        return fail(r, ERR_SYNTAX, "a chunk size is not a hexadecimal number");
    default:
        return fail(r, ERR_SYNTAX, "this is not an HTTP message");
    }
}

static int run_parser(struct http_reader *r, const uint8_t *data, size_t len, size_t *used)
{
    *used = http_parser_execute(&r->parser, &settings, (const char *)data, len);
    if (r->part == PART_FAILED)
        return r->rc;
    enum http_errno e = HTTP_PARSER_ERRNO(&r->parser);
    return e == HPE_OK || e == HPE_PAUSED ? 0 : fail_as_parser(r);
}

/* ---- the parts of a message ---- */

static void begin_message(struct http_reader *r)
{
    http_parser_init(&r->parser, r->kind == HTTP_REQUEST ? PARSER_REQUEST : PARSER_RESPONSE);
    r->part = PART_HEAD;
    r->begun = false;
    r->complete = false;
    r->previous = 0;
    r->line_bytes = 0;
    r->room = HTTP_HEAD_MAX;
    r->field_count = 0;
}

static int end_message(struct http_reader *r)
{
    if (r->parser.upgrade) {
        r->part = PART_TUNNEL;
        return HTTP_UPGRADE;
    }
    begin_message(r);
    return HTTP_DONE;
}

static void expect_chunk_size(struct http_reader *r)
{
    r->part = PART_CHUNK_SIZE;
    r->room = CHUNK_LINE_MAX;
}

/* The head is whole: has it parsed, checked and told. */
static int finish_head(struct http_reader *r)
{
    struct head_store *s = r->store;
    size_t used;
    int rc = run_parser(r, (const uint8_t *)s->bytes, s->len, &used);
    if (rc < 0)
        return rc;
    if (used != s->len || !s->complete)
        return fail(r, ERR_SYNTAX, "the end of the head cannot be told for certain");
    struct http_head *h = &s->head;
    bool bodiless = h->status / 100 == 1 || h->status == 204;
    /* a server that declares a body where none can be may send it all the same: nothing behind it can be
     * trusted */
    h->keep_alive =
        http_should_keep_alive(&r->parser) && !(bodiless && (h->chunked || h->content_length > 0));
    rc = r->events->on_head(r->owner, h);
    bool chunked = h->chunked;
    store_release(r);
    if (rc < 0)
        return stopped_by_owner(r, rc);
    if (r->complete)
        return end_message(r);
    if (chunked) {
        r->trailer_room = r->room;
        expect_chunk_size(r);
    } else {
        r->part = PART_BODY;
    }
    return HTTP_MORE;
}

static int feed_head(struct http_reader *r, const uint8_t *data, size_t len, size_t *used)
{
    bool ended;
    int rc = take_line(r, data, len, used, &ended);
    if (rc < 0)
        return rc;
    store_append(r, data, *used);
    if (!ended)
        return HTTP_MORE;
    size_t line = r->line_bytes;
    r->line_bytes = 0;
    if (r->begun)
        return line == 0 ? finish_head(r) : HTTP_MORE;
    if (line == 0 && r->kind == HTTP_REQUEST) {
        store_release(r); /* RFC 9112, 2.2: empty lines before a request are overlooked */
        return HTTP_MORE;
    }
    r->begun = true;
    rc = r->kind == HTTP_REQUEST ? http_text_check_request_line(r->store->bytes, line, &r->why)
                                 : http_text_check_status_line(r->store->bytes, line, &r->why);
    if (rc < 0)
        fail(r, rc, r->why);
    if (rc == ERR_UNSUPPORTED)
        r->status = 505; /* all that can be unsupported about a start line is its version */
    return rc < 0 ? rc : HTTP_MORE;
}

static int feed_chunk_size(struct http_reader *r, const uint8_t *data, size_t len, size_t *used)
{
    bool ended;
    int rc = take_line(r, data, len, used, &ended);
    if (rc == 0)
        rc = run_parser(r, data, *used, used);
    if (rc < 0 || !ended)
        return rc;
    if (r->part == PART_CHUNK_SIZE)
        return fail(r, ERR_SYNTAX, "a chunk size is not a hexadecimal number");
    r->line_bytes = 0;
    r->room = r->trailer_room;
    return HTTP_MORE;
}

static int feed_chunk_data(struct http_reader *r, const uint8_t *data, size_t len, size_t *used)
{
    size_t n = len < r->chunk_left ? len : (size_t)r->chunk_left;
    int rc = run_parser(r, data, n, used);
    if (rc < 0)
        return rc;
    r->chunk_left -= n;
    if (r->chunk_left == 0)
        r->part = PART_CHUNK_END;
    return HTTP_MORE;
}

static int feed_chunk_end(struct http_reader *r, const uint8_t *data, size_t len, size_t *used)
{
    (void)len;
    int rc = check_byte(r, data[0]);
    if (rc == 0)
        rc = run_parser(r, data, 1, used);
    if (rc < 0 || data[0] != '\n')
        return rc;
    expect_chunk_size(r);
    return HTTP_MORE;
}

static int feed_trailers(struct http_reader *r, const uint8_t *data, size_t len, size_t *used)
{
    bool ended;
    int rc = take_line(r, data, len, used, &ended);
    if (rc == 0)
        rc = run_parser(r, data, *used, used);
    if (rc < 0 || !ended)
        return rc;
    r->trailer_room = r->room;
    if (r->complete)
        return end_message(r);
    if (r->line_bytes == 0)
        return fail(r, ERR_SYNTAX, "the end of the trailers cannot be told for certain");
    r->line_bytes = 0;
    return ++r->field_count > HTTP_FIELDS_MAX ? fail(r, ERR_TOO_BIG, "the message has more than 64 fields")
                                              : HTTP_MORE;
}

static int feed_body(struct http_reader *r, const uint8_t *data, size_t len, size_t *used)
{
    int rc = run_parser(r, data, len, used);
    if (rc < 0)
        return rc;
    return r->complete ? end_message(r) : HTTP_MORE;
}

static int feed_part(struct http_reader *r, const uint8_t *data, size_t len, size_t *used)
{
    switch (r->part) {
    case PART_HEAD:
        return feed_head(r, data, len, used);
    case PART_BODY:
        return feed_body(r, data, len, used);
    case PART_CHUNK_SIZE:
        return feed_chunk_size(r, data, len, used);
    case PART_CHUNK_DATA:
        return feed_chunk_data(r, data, len, used);
    case PART_CHUNK_END:
        return feed_chunk_end(r, data, len, used);
    case PART_TRAILERS:
        return feed_trailers(r, data, len, used);
    case PART_TUNNEL:
    case PART_FAILED:
        break;
    }
    assert(!"http_reader_feed: nothing may follow a tunnel");
    return ERR_SYNTAX;
}

/* ---- for others ---- */

struct http_reader *http_reader_new(enum http_kind kind, const struct http_events *events, void *owner)
{
    struct http_reader *r = mem_zalloc(sizeof *r);
    r->kind = kind;
    r->events = events;
    r->owner = owner;
    r->parser.data = r;
    begin_message(r);
    return r;
}

void http_reader_free(struct http_reader *r)
{
    if (r == NULL)
        return;
    store_release(r);
    free(r);
}

void http_reader_expect(struct http_reader *r, const char *request_method)
{
    assert(r->kind == HTTP_RESPONSE);
    r->to_head = strcmp(request_method, "HEAD") == 0;
    r->to_connect = strcmp(request_method, "CONNECT") == 0;
}

int http_reader_feed(struct http_reader *r, const uint8_t *data, size_t len, size_t *used)
{
    int rc = r->part == PART_FAILED ? r->rc : HTTP_MORE;
    *used = 0;
    while (rc == HTTP_MORE && *used < len) {
        size_t n = 0;
        rc = feed_part(r, data + *used, len - *used, &n);
        *used += n;
    }
    return rc;
}

int http_reader_finish(struct http_reader *r)
{
    size_t used;
    if (r->part == PART_FAILED)
        return r->rc;
    if (r->part == PART_HEAD && r->store == NULL)
        return HTTP_MORE;
    int rc = r->part == PART_BODY ? run_parser(r, NULL, 0, &used) : 0;
    if (rc < 0 || !r->complete)
        return fail(r, ERR_SYNTAX, "the connection ended in the middle of a message");
    return end_message(r);
}

unsigned http_reader_status(const struct http_reader *r)
{
    return r->status;
}

const char *http_reader_why(const struct http_reader *r)
{
    return r->why;
}

const char *http_status_text(unsigned status)
{
    if (status == 449)
        return "Retry With"; /* ActiveSync's own, in no registry */
    const char *text = http_status_str((enum http_status)status);
    return text[0] == '<' ? "Unknown" : text;
}
