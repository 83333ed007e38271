/* WBXML as text for people, and the passwords taken out of it. Called by the view: the hub scrubs what it
 * hands out, `stagate trace` prints. Fed by strangers: nothing here believes that a document is well-formed.
 */
#include "proto/wbxml_xml.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/visible.h"

#define HEX_SHOWN 64 /* bytes of an opaque run */
#define TAG_TEXT  64 /* page and tag, of which none is longer than half of it */

/* ---- passwords ---- */

static bool is_secret(uint16_t tag)
{
    const char *name = wbxml_tag_name(tag);
    return name != NULL && (strcmp(name, "Password") == 0 || strcmp(name, "DevicePassword") == 0 ||
                            strcmp(name, "RecoveryPassword") == 0);
}

static void enter(struct wbxml_secrets *s, uint16_t tag)
{
    s->open[s->depth++] = tag;
    s->secret += is_secret(tag);
}

static void leave(struct wbxml_secrets *s, uint16_t tag)
{
    s->depth--;
    s->secret -= is_secret(tag);
}

/* Whether what stands here is not for anybody's eyes. A Status is: Settings answers with one in
 * DevicePassword.
 */
static bool is_hidden(const struct wbxml_secrets *s)
{
    return s->secret > 0 && s->open[s->depth - 1] != WBXML_SETTINGS_STATUS;
}

static int scrub_open(void *owner, uint16_t tag, bool has_content)
{
    struct wbxml_scrub *s = owner;
    if (has_content)
        enter(&s->secrets, tag);
    return 0;
}

static int scrub_data(void *owner, enum wbxml_kind kind, const uint8_t *data, size_t len, bool last)
{
    const struct wbxml_scrub *s = owner;
    (void)kind;
    (void)last;
    if (is_hidden(&s->secrets))
        memset((uint8_t *)(uintptr_t)data, '*', len); /* the caller's own bytes, lent for that */
    return 0;
}

static int scrub_close(void *owner, uint16_t tag)
{
    struct wbxml_scrub *s = owner;
    leave(&s->secrets, tag);
    return 0;
}

static const struct wbxml_limits no_limits = {.depth = WBXML_DEPTH_MAX, .item = SIZE_MAX, .total = SIZE_MAX};

void wbxml_scrub_init(struct wbxml_scrub *s)
{
    static const struct wbxml_events events = {scrub_open, scrub_data, scrub_close};
    s->secrets.depth = s->secrets.secret = 0;
    s->other = false;
    wbxml_reader_init(&s->reader, &no_limits, &events, s);
}

size_t wbxml_scrub_feed(struct wbxml_scrub *s, uint8_t *data, size_t len)
{
    size_t before = s->reader.at;
    if (len == 0 || s->other)
        return len;
    if (s->reader.ended != 0)
        return 0;
    /* the versions of WBXML are 1.0 to 1.3, and no text begins like that */
    if (before == 0 && data[0] > 0x03) {
        s->other = true;
        return len;
    }
    if (wbxml_reader_feed(&s->reader, data, len) == 0)
        return len;
    return s->reader.at - before + 1; /* with the byte that is wrong, for those who look into why */
}

/* ---- text ---- */

struct view {
    struct buf *out;
    const char *indent;
    struct wbxml_secrets secrets; /* its depth is the indentation */
    unsigned page;                /* the root's */
    bool begun;                   /* the root has been opened */
    bool inside;                  /* right behind a start tag or text on its line: an end tag follows on it */
    bool told;                    /* "(hidden)" stands there */
};

static int new_line(struct view *v)
{
    int rc = v->begun ? buf_append_str(v->out, "\n") : 0;
    if (rc == 0)
        rc = buf_append_str(v->out, v->indent);
    for (unsigned i = 0; rc == 0 && i < v->secrets.depth; i++)
        rc = buf_append_str(v->out, "  ");
    return rc;
}

static void name_of(const struct view *v, uint16_t tag, char dst[TAG_TEXT])
{
    const char *name = wbxml_tag_name(tag), *page = wbxml_page_name(WBXML_PAGE(tag));
    if (name == NULL) {
        snprintf(dst, TAG_TEXT, "page%u-token0x%02x", WBXML_PAGE(tag), WBXML_TOKEN(tag));
    } else if (WBXML_PAGE(tag) == v->page) {
        snprintf(dst, TAG_TEXT, "%s", name);
    } else {
        snprintf(dst, TAG_TEXT, "%s:%s", page, name);
        for (char *p = dst; *p != ':'; p++)
            *p = (char)tolower((unsigned char)*p);
    }
}

static int view_open(void *owner, uint16_t tag, bool has_content)
{
    struct view *v = owner;
    const char *page = wbxml_page_name(WBXML_PAGE(tag)), *end = has_content ? ">" : "/>";
    char name[TAG_TEXT];
    bool root = !v->begun;
    int rc = new_line(v);
    if (root)
        v->page = WBXML_PAGE(tag);
    v->begun = true;
    v->inside = has_content;
    v->told = false;
    name_of(v, tag, name);
    if (has_content)
        enter(&v->secrets, tag);
    if (rc != 0)
        return rc;
    if (root && page != NULL)
        return buf_printf(v->out, "<%s xmlns=\"%s\"%s", name, page, end);
    return buf_printf(v->out, "<%s%s", name, end);
}

static int view_close(void *owner, uint16_t tag)
{
    struct view *v = owner;
    char name[TAG_TEXT];
    leave(&v->secrets, tag);
    int rc = v->inside ? 0 : new_line(v);
    v->inside = false;
    name_of(v, tag, name);
    return rc == 0 ? buf_printf(v->out, "</%s>", name) : rc;
}

/* On the line of its element if it is one line, else each line on its own: so that no text can look like what
 * is around it. */
static int show_text(struct view *v, const uint8_t *data, size_t len)
{
    const uint8_t *end = data + len;
    if (v->inside && memchr(data, '\n', len) == NULL)
        return visible_append(v->out, data, len, true);
    v->inside = false;
    int rc = 0;
    while (rc == 0 && data < end) {
        const uint8_t *eol = memchr(data, '\n', (size_t)(end - data));
        const uint8_t *next = eol != NULL ? eol + 1 : end;
        if (eol == NULL)
            eol = end;
        else if (eol > data && eol[-1] == '\r')
            eol--;
        rc = new_line(v);
        if (rc == 0)
            rc = visible_append(v->out, data, (size_t)(eol - data), true);
        data = next;
    }
    return rc;
}

static int show_bytes(struct view *v, const uint8_t *data, size_t len)
{
    int rc = v->inside ? 0 : new_line(v);
    if (rc == 0)
        rc = buf_printf(v->out, "<!-- %zu opaque bytes:%s", len, len > 0 ? " " : "");
    for (size_t i = 0; rc == 0 && i < len && i < HEX_SHOWN; i++)
        rc = buf_printf(v->out, "%02x", data[i]);
    return rc == 0 ? buf_append_str(v->out, len > HEX_SHOWN ? "... -->" : " -->") : rc;
}

/* Mail is text, but for a few bytes of old character sets. */
static bool is_mail(uint16_t tag)
{
    return tag == WBXML_COMPOSEMAIL_MIME || tag == WBXML_AIRSYNCBASE_DATA;
}

static int view_data(void *owner, enum wbxml_kind kind, const uint8_t *data, size_t len, bool last)
{
    struct view *v = owner;
    (void)last; /* what is in pieces is the end of a document that was cut */
    if (is_hidden(&v->secrets)) {
        bool told = v->told;
        v->told = true;
        return told ? 0 : show_text(v, (const uint8_t *)"(hidden)", strlen("(hidden)"));
    }
    if (len == 0)
        return 0;
    if (kind == WBXML_STRING || is_mail(v->secrets.open[v->secrets.depth - 1]) || visible_is_text(data, len))
        return show_text(v, data, len);
    return show_bytes(v, data, len);
}

int wbxml_to_xml(struct buf *out, const uint8_t *data, size_t len, const char *indent)
{
    static const struct wbxml_events events = {view_open, view_data, view_close};
    struct view v = {.out = out, .indent = indent};
    struct wbxml_reader r;
    wbxml_reader_init(&r, &no_limits, &events, &v);
    wbxml_reader_feed(&r, data, len);
    int rc = wbxml_reader_end(&r), wrote = 0;
    if (rc != 0 && r.why == NULL)
        return rc; /* the buffer is full */
    if (rc != 0) {
        v.secrets.depth = 0;
        wrote = new_line(&v);
        if (wrote == 0)
            wrote = buf_printf(out, "<!-- malformed at byte %zu: %s -->", r.at, r.why);
    }
    if (wrote == 0)
        wrote = buf_append_str(out, "\n");
    return wrote != 0 ? wrote : rc;
}
