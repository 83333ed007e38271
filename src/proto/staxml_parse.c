/* Reading the STA's messages: which elements there are, and what each says. Called by the STA service
 * (requests) and by a gateway that asks a remote authority (answers). How XML is read is staxml_read.c's;
 * whether a ticket exists is not asked here.
 */
#include "proto/staxml.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "staxml_impl.h"

enum place {
    DOCUMENT,
    ROOT,
    MESSAGE, /* and STAXML_KINDS - 1 more, in the order of enum staxml_kind */
    TICKET_TYPE = MESSAGE + STAXML_KINDS,
    AUTHORITY_TYPE,
    CONTROL,
    REFRESHABLE,
    TICKET_DATA,
    VALUE,
    AUTHORITY,
    TICKET,
    TICKET_VERSION,
    FACTS,
    SERVICE,
    FAILURE,
    PLACES
};

#define KIND(kind) (MESSAGE + STAXML_##kind)
#define IN(kind)   STAXML_BIT(KIND(kind))

static const struct staxml_element elements[PLACES] = {
    [ROOT] = {"CtxSTAProtocol", STAXML_BIT(DOCUMENT), STAXML_HOLDS_ELEMENTS, false},
    [KIND(REQUEST_TICKET)] = {"RequestTicket", STAXML_BIT(ROOT), STAXML_HOLDS_ELEMENTS, false},
    [KIND(REQUEST_DATA)] = {"RequestData", STAXML_BIT(ROOT), STAXML_HOLDS_ELEMENTS, false},
    [KIND(REQUEST_REFRESH)] = {"RequestTicketRefresh", STAXML_BIT(ROOT), STAXML_HOLDS_ELEMENTS, false},
    [KIND(REQUEST_AUTHORITY_ID)] = {"RequestAuthorityID", STAXML_BIT(ROOT), STAXML_HOLDS_ELEMENTS, false},
    [KIND(RESPONSE_TICKET)] = {"ResponseTicket", STAXML_BIT(ROOT), STAXML_HOLDS_ELEMENTS, false},
    [KIND(RESPONSE_DATA)] = {"ResponseData", STAXML_BIT(ROOT), STAXML_HOLDS_ELEMENTS, false},
    [KIND(RESPONSE_REFRESH)] = {"ResponseTicketRefresh", STAXML_BIT(ROOT), STAXML_HOLDS_ELEMENTS, false},
    [KIND(RESPONSE_AUTHORITY_ID)] = {"ResponseAuthorityID", STAXML_BIT(ROOT), STAXML_HOLDS_ELEMENTS, false},
    [KIND(RESPONSE_ERROR)] = {"ResponseError", STAXML_BIT(ROOT), STAXML_HOLDS_ELEMENTS, false},
    [TICKET_TYPE] = {"AllowedTicketType", IN(REQUEST_TICKET), STAXML_HOLDS_TEXT, true},
    [AUTHORITY_TYPE] = {"AllowedAuthorityIDType", IN(REQUEST_TICKET), STAXML_HOLDS_TEXT, true},
    [CONTROL] = {"Control", IN(REQUEST_TICKET), STAXML_HOLDS_ELEMENTS, false},
    [REFRESHABLE] = {"Refreshable", STAXML_BIT(CONTROL), STAXML_HOLDS_TEXT, false},
    [TICKET_DATA] = {"TicketData", IN(REQUEST_TICKET) | IN(RESPONSE_DATA), STAXML_HOLDS_ELEMENTS, false},
    [VALUE] = {"Value", STAXML_BIT(TICKET_DATA), STAXML_HOLDS_TEXT, true},
    [AUTHORITY] = {"AuthorityID", IN(RESPONSE_TICKET) | IN(RESPONSE_AUTHORITY_ID), STAXML_HOLDS_TEXT, false},
    [TICKET] = {"Ticket", IN(REQUEST_DATA) | IN(REQUEST_REFRESH) | IN(RESPONSE_TICKET), STAXML_HOLDS_TEXT,
                false},
    [TICKET_VERSION] = {"TicketVersion", IN(RESPONSE_TICKET), STAXML_HOLDS_TEXT, false},
    [FACTS] = {"StagateTicket",
               IN(REQUEST_TICKET) | IN(RESPONSE_TICKET) | IN(RESPONSE_DATA) | IN(RESPONSE_REFRESH),
               STAXML_HOLDS_ELEMENTS, false},
    [SERVICE] = {"Service", STAXML_BIT(FACTS), STAXML_HOLDS_TEXT, true},
    [FAILURE] = {"Error",
                 IN(RESPONSE_TICKET) | IN(RESPONSE_DATA) | IN(RESPONSE_REFRESH) | IN(RESPONSE_AUTHORITY_ID) |
                     IN(RESPONSE_ERROR),
                 STAXML_HOLDS_ANYTHING, false},
};
_Static_assert(PLACES <= 32, "places are bits of 32");

/* What has to stand in each message, where no Error does. */
static const struct {
    uint32_t places;
    const char *problem;
} required[STAXML_KINDS] = {
    [STAXML_REQUEST_DATA] = {STAXML_BIT(TICKET), "the request names no ticket"},
    [STAXML_REQUEST_REFRESH] = {STAXML_BIT(TICKET), "the request names no ticket"},
    [STAXML_RESPONSE_TICKET] = {STAXML_BIT(AUTHORITY) | STAXML_BIT(TICKET),
                                "the answer lacks the authority ID or the ticket"},
    [STAXML_RESPONSE_DATA] = {STAXML_BIT(TICKET_DATA), "the answer holds neither TicketData nor an Error"},
    [STAXML_RESPONSE_REFRESH] = {STAXML_BIT(FACTS), "the answer holds neither StagateTicket nor an Error"},
    [STAXML_RESPONSE_AUTHORITY_ID] = {STAXML_BIT(AUTHORITY), "the answer lacks the authority ID"},
    [STAXML_RESPONSE_ERROR] = {STAXML_BIT(FAILURE), "the answer says no error"},
};

/* ---- strings of a message ---- */

struct strings {
    size_t cap;
    size_t used;
    char text[];
};

/* Decoding makes two bytes out of one at worst (ISO-8859-1), and the NUL has its room where the string's
 * markup was: so strings never move. */
static void strings_init(struct staxml *m, size_t len)
{
    size_t cap = 2 * len;
    struct strings *s = mem_alloc(sizeof *s + cap);
    s->cap = cap;
    s->used = 0;
    m->memory = s;
}

static const char *keep(struct staxml *m, const char *text, size_t len)
{
    struct strings *s = m->memory;
    assert(len < s->cap - s->used);
    char *copy = s->text + s->used;
    memcpy(copy, text, len);
    copy[len] = '\0';
    s->used += len + 1;
    return copy;
}

void staxml_free(struct staxml *m)
{
    struct strings *s = m->memory;
    if (s != NULL) {
        mem_wipe(s->text, s->used);
        free(s);
    }
    mem_wipe(m, sizeof *m);
}

/* ---- small texts ---- */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* What people indent is the same as what they do not. */
static void trim(const char **text, size_t *len)
{
    while (*len > 0 && is_blank(**text)) {
        (*text)++;
        (*len)--;
    }
    while (*len > 0 && is_blank((*text)[*len - 1]))
        (*len)--;
}

static bool is_text(const char *text, size_t len, const char *word)
{
    return len == strlen(word) && memcmp(text, word, len) == 0;
}

static const char *attribute(const char **attributes, const char *name)
{
    for (; attributes[0] != NULL; attributes += 2) {
        if (strcmp(attributes[0], name) == 0)
            return attributes[1];
    }
    return NULL;
}

/* An attribute as part of the message. NULL where it is absent or too long. */
static const char *keep_attribute(struct staxml_reader *r, const char **attributes, const char *name)
{
    const char *value = attribute(attributes, name);
    if (value == NULL)
        return NULL;
    size_t len = strlen(value);
    if (len > STAXML_TEXT_MAX) {
        staxml_fail(r, ERR_TOO_BIG, "an attribute is too long");
        return NULL;
    }
    return keep(r->owner, value, len);
}

/* Milliseconds; 0 where it is absent. The limit reaches beyond the year 30000 and leaves room to add. */
static int64_t take_ms(struct staxml_reader *r, const char **attributes, const char *name)
{
    const char *value = attribute(attributes, name);
    int64_t ms = 0;
    if (value == NULL)
        return 0;
    size_t len = strlen(value);
    bool fine = len >= 1 && len <= 15;
    for (size_t i = 0; fine && i < len; i++) {
        fine = value[i] >= '0' && value[i] <= '9';
        ms = ms * 10 + (value[i] - '0');
    }
    if (!fine) {
        staxml_fail(r, ERR_SYNTAX, "a time is not a number of milliseconds");
        return 0;
    }
    return ms;
}

static void take_ticket_version(struct staxml_reader *r, const char *text, size_t len)
{
    static const unsigned versions[] = {10, 20, 22, 40};
    struct staxml *m = r->owner;
    unsigned number = 0;
    if (len == 2 && text[0] >= '1' && text[0] <= '9' && text[1] >= '0' && text[1] <= '9')
        number = (unsigned)(text[0] - '0') * 10 + (unsigned)(text[1] - '0');
    for (size_t i = 0; i < sizeof versions / sizeof versions[0]; i++) {
        if (number == versions[i])
            m->ticket_version = number;
    }
    if (m->ticket_version == 0)
        staxml_fail(r, ERR_SYNTAX, "the ticket version is not one of 10, 20, 22 and 40");
}

/* ---- elements ---- */

static void open_root(struct staxml_reader *r, const char **attributes)
{
    struct staxml *m = r->owner;
    const char *version = attribute(attributes, "version");
    if (version == NULL)
        version = STAXML_VERSION;
    size_t len = strlen(version);
    if (len == 0 || len >= sizeof m->version || strspn(version, "0123456789.") != len) {
        staxml_fail(r, ERR_SYNTAX, "the version of the protocol is not like 4.0");
        return;
    }
    memcpy(m->version, version, len + 1);
}

static void open_message(struct staxml_reader *r, unsigned place)
{
    struct staxml *m = r->owner;
    const uint32_t messages = (STAXML_BIT(STAXML_KINDS) - 1) << MESSAGE;
    if ((r->seen & messages) != STAXML_BIT(place)) {
        staxml_fail(r, ERR_SYNTAX, "there is more than one message in it");
        return;
    }
    m->kind = (enum staxml_kind)(place - MESSAGE);
}

static void open_value(struct staxml_reader *r, const char **attributes)
{
    struct staxml *m = r->owner;
    if (m->value_count == STAXML_VALUES_MAX) {
        staxml_fail(r, ERR_TOO_BIG, "there are too many Values");
        return;
    }
    const char *name = keep_attribute(r, attributes, "name");
    if (name == NULL || name[0] == '\0') {
        staxml_fail(r, ERR_SYNTAX, "a Value has no name");
        return;
    }
    for (size_t i = 0; i < m->value_count; i++) {
        if (strcmp(m->values[i].name, name) == 0)
            staxml_fail(r, ERR_SYNTAX, "two Values have the same name");
    }
    m->values[m->value_count].name = name;
}

static void open_facts(struct staxml_reader *r, const char **attributes)
{
    struct staxml *m = r->owner;
    struct staxml_facts *f = &m->facts;
    f->class = keep_attribute(r, attributes, "class");
    f->user = keep_attribute(r, attributes, "user");
    f->device = keep_attribute(r, attributes, "device");
    f->lifetime_ms = take_ms(r, attributes, "lifetime");
    f->issued_ms = take_ms(r, attributes, "issued");
    f->expires_ms = take_ms(r, attributes, "expires");
    f->refresh_ms = take_ms(r, attributes, "refresh");
    if (f->class != NULL && strcmp(f->class, "background") != 0 && strcmp(f->class, "session") != 0)
        staxml_fail(r, ERR_SYNTAX, "the class is neither background nor session");
}

/* What another authority calls an error is one here, whatever its name. */
static void open_failure(struct staxml_reader *r, const char **attributes)
{
    struct staxml *m = r->owner;
    const char *id = attribute(attributes, "id");
    m->error = STAXML_ERROR_INTERNAL;
    for (int e = STAXML_ERROR_NONE + 1; id != NULL && e < STAXML_ERRORS; e++) {
        if (strcmp(id, staxml_error_name((enum staxml_error)e)) == 0)
            m->error = (enum staxml_error)e;
    }
}

static void on_open(struct staxml_reader *r, unsigned place, const char **attributes)
{
    if (place >= MESSAGE && place < MESSAGE + STAXML_KINDS) {
        open_message(r, place);
        return;
    }
    switch (place) {
    case ROOT:
        open_root(r, attributes);
        break;
    case VALUE:
        open_value(r, attributes);
        break;
    case TICKET: {
        const char *version = attribute(attributes, "version");
        if (version != NULL && (r->seen & IN(RESPONSE_TICKET)) == 0)
            take_ticket_version(r, version, strlen(version));
        break;
    }
    case FACTS:
        open_facts(r, attributes);
        break;
    case FAILURE:
        open_failure(r, attributes);
        break;
    default:
        break;
    }
}

static void close_text(struct staxml_reader *r, const char *problem, char *dst, const char *text, size_t len)
{
    if (problem != NULL) {
        staxml_fail(r, ERR_SYNTAX, problem);
        return;
    }
    memcpy(dst, text, len);
    dst[len] = '\0';
}

static void close_service(struct staxml_reader *r, const char *text, size_t len)
{
    struct staxml *m = r->owner;
    if (m->facts.service_count == STAXML_SERVICES_MAX) {
        staxml_fail(r, ERR_TOO_BIG, "there are too many Services");
        return;
    }
    m->facts.services[m->facts.service_count++] = keep(m, text, len);
}

static void close_refreshable(struct staxml_reader *r, const char *text, size_t len)
{
    struct staxml *m = r->owner;
    m->refreshable = is_text(text, len, "true") || is_text(text, len, "1");
    if (!m->refreshable && !is_text(text, len, "false") && !is_text(text, len, "0"))
        staxml_fail(r, ERR_SYNTAX, "Refreshable is neither true nor false");
}

static void on_close(struct staxml_reader *r, unsigned place, const char *text, size_t len)
{
    struct staxml *m = r->owner;
    if (place == VALUE) {
        m->values[m->value_count++].value = keep(m, text, len);
        return;
    }
    trim(&text, &len);
    switch (place) {
    case TICKET_TYPE:
        m->ticket_types |= is_text(text, len, "STA-v1") ? STAXML_TYPE_V1 : 0;
        m->ticket_types |= is_text(text, len, "STA-v4") ? STAXML_TYPE_V4 : 0;
        break;
    case REFRESHABLE:
        close_refreshable(r, text, len);
        break;
    case AUTHORITY:
        close_text(r, ticket_explain_authority(text, len), m->authority, text, len);
        break;
    case TICKET:
        close_text(r, ticket_explain_value(text, len), m->ticket, text, len);
        break;
    case TICKET_VERSION:
        take_ticket_version(r, text, len);
        m->ticket_types = m->ticket_version == 40   ? STAXML_TYPE_V4
                          : m->ticket_version == 10 ? STAXML_TYPE_V1
                                                    : 0;
        break;
    case SERVICE:
        close_service(r, text, len);
        break;
    default:
        break;
    }
}

/* ---- the whole ---- */

static int check_whole(const struct staxml *m, const struct staxml_reader *r, const char **why)
{
    const uint32_t messages = (STAXML_BIT(STAXML_KINDS) - 1) << MESSAGE;
    const uint32_t answers = STAXML_BIT(AUTHORITY) | STAXML_BIT(TICKET) | STAXML_BIT(TICKET_VERSION) |
                             STAXML_BIT(TICKET_DATA) | STAXML_BIT(FACTS);
    if ((r->seen & messages) == 0) {
        bool empty = r->elements == 1;
        *why = empty ? "there is no message in it" : "the message is not one that is known";
        return empty ? ERR_SYNTAX : ERR_UNSUPPORTED;
    }
    if (m->error != STAXML_ERROR_NONE) {
        *why = "an Error stands beside an answer";
        return (r->seen & answers) != 0 ? ERR_SYNTAX : 0;
    }
    *why = required[m->kind].problem;
    return (r->seen & required[m->kind].places) != required[m->kind].places ? ERR_SYNTAX : 0;
}

int staxml_parse(struct staxml *out, const char *data, size_t len, const char **why)
{
    static const struct staxml_vocabulary vocabulary = {elements, PLACES, on_open, on_close};
    const char *problem = NULL;
    memset(out, 0, sizeof *out);
    struct staxml_reader *r = staxml_reader_new(&vocabulary, out);
    if (len <= STAXML_BYTES_MAX)
        strings_init(out, len);
    int rc = staxml_read(r, data, len, &problem);
    if (rc == 0)
        rc = check_whole(out, r, &problem);
    free(r);
    if (rc == 0)
        return 0;
    staxml_free(out);
    if (why != NULL)
        *why = problem;
    return rc;
}
