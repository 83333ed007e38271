/* Writing the STA's messages, and the texts of the error set. Called by the STA service (answers) and by a
 * gateway that asks a remote authority (requests). What it writes staxml_parse reads to the same.
 */
#include "proto/staxml.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/utf8.h"

static const struct {
    const char *name;
    const char *text;
} errors[STAXML_ERRORS] = {
    [STAXML_ERROR_NONE] = {"none", "There is no error."},
    [STAXML_ERROR_BAD_REQUEST] = {"bad-request", "This is no well-formed message of the STA protocol."},
    [STAXML_ERROR_UNSUPPORTED] = {"unsupported",
                                  "This authority does not serve such a message or ticket type."},
    [STAXML_ERROR_TICKET_UNKNOWN] = {"ticket-unknown", "This authority does not know the ticket."},
    [STAXML_ERROR_TICKET_EXPIRED] = {"ticket-expired", "The ticket's lifetime is over."},
    [STAXML_ERROR_TICKET_USED] = {"ticket-used", "The ticket was good for one use and has been used."},
    [STAXML_ERROR_TICKET_REVOKED] = {"ticket-revoked", "The ticket was revoked."},
    [STAXML_ERROR_NOT_REFRESHABLE] = {"not-refreshable", "The ticket was not issued as a refreshable one."},
    [STAXML_ERROR_LIMIT] = {"limit", "There are as many tickets as are allowed."},
    [STAXML_ERROR_ACCESS_DENIED] = {"access-denied", "The sender is not allowed to ask this."},
    [STAXML_ERROR_SSL_REQUIRED] = {"ssl-required", "This authority answers over TLS only."},
    [STAXML_ERROR_BUSY] = {"busy", "The authority cannot answer now; ask again later."},
    [STAXML_ERROR_INTERNAL] = {"internal", "The authority failed."},
};

const char *staxml_error_name(enum staxml_error e)
{
    assert(e < STAXML_ERRORS);
    return errors[e].name;
}

static const char *const names[STAXML_KINDS] = {
    [STAXML_REQUEST_TICKET] = "RequestTicket",
    [STAXML_REQUEST_DATA] = "RequestData",
    [STAXML_REQUEST_REFRESH] = "RequestTicketRefresh",
    [STAXML_REQUEST_AUTHORITY_ID] = "RequestAuthorityID",
    [STAXML_RESPONSE_TICKET] = "ResponseTicket",
    [STAXML_RESPONSE_DATA] = "ResponseData",
    [STAXML_RESPONSE_REFRESH] = "ResponseTicketRefresh",
    [STAXML_RESPONSE_AUTHORITY_ID] = "ResponseAuthorityID",
    [STAXML_RESPONSE_ERROR] = "ResponseError",
};

/* The first failure stays; what is written after it is given up with the rest. */
struct writer {
    struct buf *out;
    int rc;
};

static void put_bytes(struct writer *w, const char *s, size_t len)
{
    if (w->rc == 0)
        w->rc = buf_append(w->out, s, len);
}

static void put(struct writer *w, const char *s)
{
    put_bytes(w, s, strlen(s));
}

static void put_number(struct writer *w, int64_t n)
{
    if (w->rc == 0)
        w->rc = buf_printf(w->out, "%" PRId64, n);
}

/* NULL for what stands as it is. A carriage return would be read as a line feed, and blanks in an attribute
 * as spaces. */
static const char *escape(uint32_t point, bool in_attribute)
{
    switch (point) {
    case '<':
        return "&lt;";
    case '>':
        return "&gt;";
    case '&':
        return "&amp;";
    case '"':
        return in_attribute ? "&quot;" : NULL;
    case '\r':
        return "&#13;";
    case '\n':
        return in_attribute ? "&#10;" : NULL;
    case '\t':
        return in_attribute ? "&#9;" : NULL;
    case 0xfffe:
    case 0xffff:
        return "\xef\xbf\xbd";
    default:
        return point < 0x20 ? "\xef\xbf\xbd" : NULL;
    }
}

static void put_text(struct writer *w, const char *s, bool in_attribute)
{
    size_t len = strlen(s);
    size_t plain = 0; /* where what stands as it is begins */
    if (len > STAXML_TEXT_MAX && w->rc == 0)
        w->rc = ERR_TOO_BIG;
    for (size_t at = 0; w->rc == 0 && at < len;) {
        uint32_t point = 0xffff;
        size_t n = utf8_decode(s + at, len - at, &point);
        const char *instead = escape(point, in_attribute);
        n = n > 0 ? n : 1;
        if (instead != NULL) {
            put_bytes(w, s + plain, at - plain);
            put(w, instead);
            plain = at + n;
        }
        at += n;
    }
    put_bytes(w, s + plain, len - plain);
}

static void put_attribute(struct writer *w, const char *name, const char *value)
{
    if (value == NULL)
        return;
    put(w, " ");
    put(w, name);
    put(w, "=\"");
    put_text(w, value, true);
    put(w, "\"");
}

static void put_ms(struct writer *w, const char *name, int64_t ms)
{
    if (ms <= 0)
        return;
    if (ms > STAXML_MS_MAX && w->rc == 0)
        w->rc = ERR_TOO_BIG;
    put(w, " ");
    put(w, name);
    put(w, "=\"");
    put_number(w, ms);
    put(w, "\"");
}

static void put_open(struct writer *w, const char *name)
{
    put(w, "<");
    put(w, name);
    put(w, ">");
}

static void put_close(struct writer *w, const char *name)
{
    put(w, "</");
    put(w, name);
    put(w, ">");
}

static void put_leaf(struct writer *w, const char *name, const char *text)
{
    put_open(w, name);
    put_text(w, text, false);
    put_close(w, name);
}

static void put_ticket_data(struct writer *w, const struct staxml *m)
{
    assert(m->value_count <= STAXML_VALUES_MAX);
    put_open(w, "TicketData");
    for (size_t i = 0; i < m->value_count; i++) {
        put(w, "<Value");
        put_attribute(w, "name", m->values[i].name);
        put(w, ">");
        put_text(w, m->values[i].value, false);
        put_close(w, "Value");
    }
    put_close(w, "TicketData");
}

static void put_facts(struct writer *w, const struct staxml_facts *f, bool always)
{
    bool empty = f->class == NULL && f->user == NULL && f->device == NULL && f->lifetime_ms <= 0 &&
                 f->issued_ms <= 0 && f->expires_ms <= 0 && f->refresh_ms <= 0 && f->service_count == 0;
    assert(f->service_count <= STAXML_SERVICES_MAX);
    if (empty && !always)
        return;
    put(w, "<StagateTicket");
    put_attribute(w, "class", f->class);
    put_attribute(w, "user", f->user);
    put_attribute(w, "device", f->device);
    put_ms(w, "lifetime", f->lifetime_ms);
    put_ms(w, "issued", f->issued_ms);
    put_ms(w, "expires", f->expires_ms);
    put_ms(w, "refresh", f->refresh_ms);
    put(w, ">");
    for (size_t i = 0; i < f->service_count; i++)
        put_leaf(w, "Service", f->services[i]);
    put_close(w, "StagateTicket");
}

static void put_request_ticket(struct writer *w, const struct staxml *m)
{
    if (m->ticket_types & STAXML_TYPE_V4)
        put_leaf(w, "AllowedTicketType", "STA-v4");
    if (m->ticket_types & STAXML_TYPE_V1)
        put_leaf(w, "AllowedTicketType", "STA-v1");
    put_leaf(w, "AllowedAuthorityIDType", "STA-v1");
    put_ticket_data(w, m);
    if (m->refreshable) {
        put_open(w, "Control");
        put_leaf(w, "Refreshable", "true");
        put_close(w, "Control");
    }
    put_facts(w, &m->facts, false);
}

static void put_request_of_ticket(struct writer *w, const struct staxml *m)
{
    put(w, "<Ticket");
    if (m->ticket_version > 0) {
        put(w, " version=\"");
        put_number(w, m->ticket_version);
        put(w, "\"");
    }
    put(w, ">");
    put_text(w, m->ticket, false);
    put_close(w, "Ticket");
}

static void put_response_ticket(struct writer *w, const struct staxml *m)
{
    unsigned version = m->ticket_version;
    if (version == 0)
        version = m->ticket_types & STAXML_TYPE_V4 ? 40 : m->ticket_types & STAXML_TYPE_V1 ? 10 : 0;
    put_leaf(w, "AuthorityID", m->authority);
    put_leaf(w, "Ticket", m->ticket);
    if (version > 0) {
        put_open(w, "TicketVersion");
        put_number(w, version);
        put_close(w, "TicketVersion");
    }
    put_facts(w, &m->facts, false);
}

static void put_error(struct writer *w, enum staxml_error e, const char *text)
{
    put(w, "<Error");
    put_attribute(w, "id", staxml_error_name(e));
    put(w, ">");
    put_text(w, text != NULL ? text : errors[e].text, false);
    put_close(w, "Error");
}

static void put_message(struct writer *w, const struct staxml *m)
{
    switch (m->kind) {
    case STAXML_REQUEST_TICKET:
        put_request_ticket(w, m);
        break;
    case STAXML_REQUEST_DATA:
    case STAXML_REQUEST_REFRESH:
        put_request_of_ticket(w, m);
        break;
    case STAXML_RESPONSE_TICKET:
        put_response_ticket(w, m);
        break;
    case STAXML_RESPONSE_DATA:
        put_ticket_data(w, m);
        put_facts(w, &m->facts, false);
        break;
    case STAXML_RESPONSE_REFRESH:
        put_facts(w, &m->facts, true);
        break;
    case STAXML_RESPONSE_AUTHORITY_ID:
        put_leaf(w, "AuthorityID", m->authority);
        break;
    case STAXML_REQUEST_AUTHORITY_ID:
    case STAXML_RESPONSE_ERROR:
    case STAXML_KINDS:
        break;
    }
}

int staxml_write(struct buf *out, const struct staxml *m)
{
    struct writer w = {.out = out};
    size_t before = out->len;
    bool is_response = m->kind >= STAXML_RESPONSE_TICKET;
    assert(m->kind < STAXML_KINDS);
    assert(m->kind != STAXML_RESPONSE_ERROR || m->error != STAXML_ERROR_NONE);

    put(&w, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!DOCTYPE CtxSTAProtocol SYSTEM \"CtxSTA.dtd\">\n"
            "<CtxSTAProtocol");
    put_attribute(&w, "version", m->version[0] != '\0' ? m->version : STAXML_VERSION);
    put(&w, ">");
    put_open(&w, names[m->kind]);
    if (is_response && m->error != STAXML_ERROR_NONE)
        put_error(&w, m->error, m->error_text);
    else
        put_message(&w, m);
    put_close(&w, names[m->kind]);
    put(&w, "</CtxSTAProtocol>\n");

    if (w.rc == 0 && out->len - before > STAXML_BYTES_MAX)
        w.rc = ERR_TOO_BIG;
    if (w.rc < 0 && out->len > before) {
        mem_wipe(out->data + before, out->len - before);
        out->len = before;
    }
    return w.rc;
}
