/* The reader and the writer of ActiveSync's WBXML. The relay looks into bodies with the reader, mailsim
 * answers with the writer.
 *
 * The reader is hostile ground: it has no recursion, no memory that grows, and believes no length before the
 * bytes have come.
 */
#include "proto/wbxml.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"

enum {
    SWITCH_PAGE = 0x00,
    END = 0x01,
    STR_I = 0x03,
    OPAQUE = 0xc3,

    WITH_CONTENT = 0x40,
    WITH_ATTRIBUTES = 0x80,
    TOKEN_BITS = 0x3f,
    TOKEN_MIN = 0x05, /* below it are WBXML's own tokens, in each of the four quarters */

    LENGTH_BYTES_MAX = 5, /* of a 32-bit number, seven bits in each */
};

/* WBXML 1.3, public identifier "unknown", UTF-8, no string table */
static const uint8_t header[] = {0x03, 0x01, 0x6a, 0x00};

/* ---- reader ---- */

enum state {
    IN_HEADER,
    IN_TOKENS, /* a token comes next */
    IN_PAGE,
    IN_STRING,
    IN_LENGTH,
    IN_OPAQUE,
    DONE, /* the root element is closed */
};

void wbxml_reader_init(struct wbxml_reader *r, const struct wbxml_limits *limits,
                       const struct wbxml_events *events, void *owner)
{
    assert(limits->depth >= 1 && limits->depth <= WBXML_DEPTH_MAX);
    r->events = events;
    r->owner = owner;
    r->limits = *limits;
    r->why = NULL;
    r->at = 0;
    r->ended = 0;
    r->state = IN_HEADER;
    r->page = 0;
    r->depth = 0;
}

static int fail(struct wbxml_reader *r, int code, const char *why)
{
    r->why = why;
    return code;
}

static int give(struct wbxml_reader *r, enum wbxml_kind kind, const uint8_t *data, size_t len, bool last)
{
    return r->events->on_data ? r->events->on_data(r->owner, kind, data, len, last) : 0;
}

static int read_header(struct wbxml_reader *r, uint8_t byte)
{
    static const char *const why[] = {
        "this is not WBXML 1.3",
        "the public identifier is not the 'unknown' of ActiveSync",
        "the character set is not UTF-8",
        "there is a string table",
    };
    if (byte != header[r->at])
        return fail(r, ERR_SYNTAX, why[r->at]);
    if (r->at == sizeof header - 1)
        r->state = IN_TOKENS;
    return 0;
}

/* WBXML has more tokens of its own than ActiveSync: say which one it was. */
static int refuse_global(struct wbxml_reader *r, uint8_t byte)
{
    switch (byte) {
    case 0x02:
        return fail(r, ERR_SYNTAX, "a character entity, which ActiveSync does not use");
    case 0x04:
    case 0x44:
    case 0x84:
    case 0xc4:
        return fail(r, ERR_SYNTAX, "a literal tag, which ActiveSync does not use");
    case 0x43:
        return fail(r, ERR_SYNTAX, "a processing instruction, which ActiveSync does not use");
    case 0x83:
        return fail(r, ERR_SYNTAX, "a string of the string table, which ActiveSync does not use");
    default:
        return fail(r, ERR_SYNTAX, "an extension token, which ActiveSync does not use");
    }
}

static int open_element(struct wbxml_reader *r, uint8_t byte)
{
    uint16_t tag = WBXML_TAG(r->page, byte & TOKEN_BITS);
    bool has_content = byte & WITH_CONTENT;
    if (byte & WITH_ATTRIBUTES)
        return fail(r, ERR_SYNTAX, "a tag has attributes, which ActiveSync does not use");
    if (r->depth == r->limits.depth)
        return fail(r, ERR_TOO_BIG, "elements are nested too deep");
    if (has_content)
        r->open[r->depth++] = tag;
    else if (r->depth == 0)
        r->state = DONE;
    return r->events->on_open ? r->events->on_open(r->owner, tag, has_content) : 0;
}

static int close_element(struct wbxml_reader *r)
{
    if (r->depth == 0)
        return fail(r, ERR_SYNTAX, "an END stands before the root element");
    uint16_t tag = r->open[--r->depth];
    if (r->depth == 0)
        r->state = DONE;
    return r->events->on_close ? r->events->on_close(r->owner, tag) : 0;
}

static int begin_data(struct wbxml_reader *r, enum state state)
{
    if (r->depth == 0)
        return fail(r, ERR_SYNTAX, "content stands before the root element");
    r->state = state;
    r->item = 0;
    r->length = 0;
    r->length_bytes = 0;
    return 0;
}

static int read_token(struct wbxml_reader *r, uint8_t byte)
{
    switch (byte) {
    case SWITCH_PAGE:
        r->state = IN_PAGE;
        return 0;
    case END:
        return close_element(r);
    case STR_I:
        return begin_data(r, IN_STRING);
    case OPAQUE:
        return begin_data(r, IN_LENGTH);
    default:
        return (byte & TOKEN_BITS) < TOKEN_MIN ? refuse_global(r, byte) : open_element(r, byte);
    }
}

static int read_length(struct wbxml_reader *r, uint8_t byte)
{
    bool more = byte & 0x80;
    if (r->length > UINT32_MAX >> 7 || (more && r->length_bytes == LENGTH_BYTES_MAX - 1))
        return fail(r, ERR_SYNTAX, "the length of an opaque run does not fit in 32 bits");
    r->length = r->length << 7 | (byte & 0x7f);
    r->length_bytes++;
    if (more)
        return 0;
    if (r->length > r->limits.item)
        return fail(r, ERR_TOO_BIG, "an opaque run is longer than allowed");
    if (r->length > r->limits.total - r->at - 1)
        return fail(r, ERR_TOO_BIG, "the document is longer than allowed");
    r->item = r->length;
    r->state = r->item > 0 ? IN_OPAQUE : IN_TOKENS;
    return r->item > 0 ? 0 : give(r, WBXML_OPAQUE, &byte, 0, true);
}

static int read_byte(struct wbxml_reader *r, uint8_t byte)
{
    switch ((enum state)r->state) {
    case IN_HEADER:
        return read_header(r, byte);
    case IN_TOKENS:
        return read_token(r, byte);
    case IN_PAGE:
        r->page = byte;
        r->state = IN_TOKENS;
        return 0;
    case IN_LENGTH:
        return read_length(r, byte);
    case IN_STRING:
    case IN_OPAQUE:
    case DONE:
        break;
    }
    return fail(r, ERR_SYNTAX, "there are bytes behind the root element");
}

/* Takes what there is of a string; its NUL too, if it is there. */
static int read_string(struct wbxml_reader *r, const uint8_t *data, size_t len)
{
    size_t room = r->limits.item - r->item;
    size_t look = len <= room ? len : room + 1;
    const uint8_t *nul = memchr(data, '\0', look);
    size_t n = nul ? (size_t)(nul - data) : look <= room ? look : room;
    r->item += n;
    r->at += n + (nul != NULL);
    if (nul != NULL)
        r->state = IN_TOKENS;
    int rc = n > 0 || nul != NULL ? give(r, WBXML_STRING, data, n, nul != NULL) : 0;
    if (rc == 0 && nul == NULL && look > room)
        rc = fail(r, ERR_TOO_BIG, "a string is longer than allowed");
    return rc;
}

static int read_opaque(struct wbxml_reader *r, const uint8_t *data, size_t len)
{
    size_t n = len < r->item ? len : r->item;
    r->item -= n;
    r->at += n;
    if (r->item == 0)
        r->state = IN_TOKENS;
    return give(r, WBXML_OPAQUE, data, n, r->item == 0);
}

int wbxml_reader_feed(struct wbxml_reader *r, const void *data, size_t len)
{
    const uint8_t *p = data;
    size_t begin = r->at, room = r->limits.total - begin;
    size_t take = len < room ? len : room;
    int rc = r->ended;
    while (rc == 0 && r->at - begin < take) {
        size_t i = r->at - begin;
        if (r->state == IN_STRING) {
            rc = read_string(r, p + i, take - i);
        } else if (r->state == IN_OPAQUE) {
            rc = read_opaque(r, p + i, take - i);
        } else {
            rc = read_byte(r, p[i]);
            r->at += rc == 0;
        }
    }
    if (rc == 0 && take < len)
        rc = fail(r, ERR_TOO_BIG, "the document is longer than allowed");
    r->ended = rc;
    return rc;
}

int wbxml_reader_end(struct wbxml_reader *r)
{
    if (r->ended == 0 && r->state != DONE)
        r->ended = fail(r, ERR_SYNTAX, "the document ends before its root element does");
    return r->ended;
}

/* ---- writer ---- */

/* Room for n bytes at the end of the buffer, to be filled at once; NULL if there is none or something failed
 * before. */
static uint8_t *room_for(struct wbxml_writer *w, size_t n)
{
    if (w->error == 0)
        w->error = buf_reserve(w->out, n);
    if (w->error != 0)
        return NULL;
    uint8_t *p = w->out->data + w->out->len;
    w->out->len += n;
    return p;
}

void wbxml_begin(struct wbxml_writer *w, struct buf *out)
{
    *w = (struct wbxml_writer){.out = out};
    w->error = buf_append(out, header, sizeof header);
}

static void put_tag(struct wbxml_writer *w, uint16_t tag, uint8_t content)
{
    unsigned page = WBXML_PAGE(tag), token = WBXML_TOKEN(tag);
    assert(token >= TOKEN_MIN && token <= TOKEN_BITS);
    bool turn = page != w->page;
    uint8_t *p = room_for(w, turn ? 3 : 1);
    if (p == NULL)
        return;
    if (turn) {
        *p++ = SWITCH_PAGE;
        *p++ = (uint8_t)page;
        w->page = (uint8_t)page;
    }
    *p = (uint8_t)(token | content);
}

void wbxml_open(struct wbxml_writer *w, uint16_t tag)
{
    put_tag(w, tag, WITH_CONTENT);
    w->depth++;
}

void wbxml_close(struct wbxml_writer *w)
{
    assert(w->depth > 0);
    w->depth--;
    uint8_t *p = room_for(w, 1);
    if (p != NULL)
        *p = END;
}

void wbxml_empty(struct wbxml_writer *w, uint16_t tag)
{
    put_tag(w, tag, 0);
}

static void put_string(struct wbxml_writer *w, const void *text, size_t len)
{
    uint8_t *p = room_for(w, len + 2);
    if (p == NULL)
        return;
    p[0] = STR_I;
    if (len > 0)
        memcpy(p + 1, text, len);
    p[len + 1] = '\0';
}

void wbxml_text(struct wbxml_writer *w, const char *text)
{
    put_string(w, text, strlen(text));
}

void wbxml_text_n(struct wbxml_writer *w, const void *text, size_t len)
{
    if (w->error == 0 && len > 0 && memchr(text, '\0', len) != NULL)
        w->error = ERR_SYNTAX;
    put_string(w, text, len);
}

void wbxml_opaque(struct wbxml_writer *w, const void *data, size_t len)
{
    uint8_t head[1 + LENGTH_BYTES_MAX] = {OPAQUE};
    size_t n = 1;
    if (w->error == 0 && len > UINT32_MAX)
        w->error = ERR_TOO_BIG;
    for (unsigned shift = 7 * (LENGTH_BYTES_MAX - 1); shift > 0; shift -= 7) {
        if (len >> shift != 0)
            head[n++] = (uint8_t)(0x80 | (len >> shift & 0x7f));
    }
    head[n++] = (uint8_t)(len & 0x7f);
    uint8_t *p = room_for(w, n + len);
    if (p == NULL)
        return;
    memcpy(p, head, n);
    if (len > 0)
        memcpy(p + n, data, len);
}

void wbxml_element(struct wbxml_writer *w, uint16_t tag, const char *text)
{
    if (text == NULL || text[0] == '\0') {
        wbxml_empty(w, tag);
        return;
    }
    wbxml_open(w, tag);
    wbxml_text(w, text);
    wbxml_close(w);
}

void wbxml_number(struct wbxml_writer *w, uint16_t tag, int64_t number)
{
    char text[24];
    snprintf(text, sizeof text, "%lld", (long long)number);
    wbxml_element(w, tag, text);
}

void wbxml_copy(struct wbxml_writer *w, const struct wbxml_node *n)
{
    if (n->span == 1 && n->len == 0 && !n->opaque) {
        wbxml_empty(w, n->tag);
        return;
    }
    wbxml_open(w, n->tag);
    if (n->opaque)
        wbxml_opaque(w, n->data, n->len);
    else if (n->len > 0)
        wbxml_text_n(w, n->data, n->len);
    for (const struct wbxml_node *c = wbxml_first(n); c != NULL; c = wbxml_next(n, c))
        wbxml_copy(w, c);
    wbxml_close(w);
}

int wbxml_finish(struct wbxml_writer *w)
{
    assert(w->depth == 0);
    return w->error;
}
