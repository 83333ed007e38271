/* What ActiveSync bodies say as they pass: the root that servers dispatch on, and how long a Ping or Sync
 * waits.
 */
#include <stdlib.h>

#include "base/mem.h"
#include "proto/eas.h"
#include "proto/wbxml.h"

/* ---- the root ---- */

enum {
    VERSION_MAX = 0x03, /* WBXML 1.3 */
    TABLE_MAX = 64 * 1024,
    NUMBER_BYTES_MAX = 5, /* of a 32-bit number, seven bits in each */

    SWITCH_PAGE = 0x00,
    TOKEN_BITS = 0x3f,
    TOKEN_MIN = 0x05, /* below it are WBXML's own tokens, in each of the four quarters */
};

enum root_state {
    AT_VERSION,
    IN_PUBLIC_ID,
    IN_PUBLIC_INDEX, /* the public ID stands in the string table */
    IN_CHARSET,
    IN_TABLE_LENGTH,
    IN_TABLE,
    AT_TOKEN,
    AT_PAGE,
    /* the ends */
    FOUND,
    MALFORMED,
    HIDDEN,
};

void eas_root_init(struct eas_root *r)
{
    *r = (struct eas_root){.state = AT_VERSION};
}

static void number_read(struct eas_root *r)
{
    switch ((enum root_state)r->state) {
    case IN_PUBLIC_ID:
        r->state = r->number == 0 ? IN_PUBLIC_INDEX : IN_CHARSET;
        break;
    case IN_PUBLIC_INDEX:
        r->state = IN_CHARSET;
        break;
    case IN_CHARSET:
        r->state = IN_TABLE_LENGTH;
        break;
    default: /* IN_TABLE_LENGTH */
        r->skip = r->number;
        r->state = r->skip > TABLE_MAX ? MALFORMED : r->skip > 0 ? IN_TABLE : AT_TOKEN;
        break;
    }
    r->number = 0;
    r->bytes = 0;
}

static void read_number(struct eas_root *r, uint8_t byte)
{
    bool more = byte & 0x80;
    r->bytes++;
    if (more && r->bytes == NUMBER_BYTES_MAX) {
        r->state = MALFORMED;
    } else if (r->number > UINT32_MAX >> 7 ||
               (r->state == IN_PUBLIC_ID && byte == 0 && r->bytes > 1 && r->number == 0)) {
        /* Servers differ in what is left of a number that is too large, and in whether a zero of several
         * bytes is the zero that an index follows (libwbxml looks at the first byte only): in where the root
         * is. */
        r->state = HIDDEN;
    } else {
        r->number = r->number << 7 | (byte & 0x7f);
        if (!more)
            number_read(r);
    }
}

static void read_token(struct eas_root *r, uint8_t byte)
{
    if (byte == SWITCH_PAGE) {
        r->state = AT_PAGE;
    } else if ((byte & TOKEN_BITS) < TOKEN_MIN) {
        r->state = HIDDEN;
    } else {
        r->tag = WBXML_TAG(r->page, byte & TOKEN_BITS);
        r->state = FOUND;
    }
}

static void read_byte(struct eas_root *r, uint8_t byte)
{
    switch ((enum root_state)r->state) {
    case AT_VERSION:
        r->state = byte <= VERSION_MAX ? IN_PUBLIC_ID : MALFORMED;
        break;
    case IN_TABLE:
        if (--r->skip == 0)
            r->state = AT_TOKEN;
        break;
    case AT_TOKEN:
        read_token(r, byte);
        break;
    case AT_PAGE:
        r->page = byte;
        r->state = AT_TOKEN;
        break;
    default:
        read_number(r, byte);
        break;
    }
}

enum eas_root_result eas_root_feed(struct eas_root *r, const uint8_t *data, size_t len, size_t *used)
{
    size_t i = 0;
    while (i < len && r->state < FOUND)
        read_byte(r, data[i++]);
    *used = i;
    switch ((enum root_state)r->state) {
    case FOUND:
        return EAS_ROOT_TAG;
    case MALFORMED:
        return EAS_ROOT_MALFORMED;
    case HIDDEN:
        return EAS_ROOT_HIDDEN;
    default:
        return EAS_ROOT_MORE;
    }
}

/* ---- the heartbeat ---- */

#define HEARTBEAT_MAX 86400

struct eas_heartbeat {
    struct wbxml_reader reader;
    unsigned depth;
    unsigned seconds;
    unsigned unit;   /* seconds to one of the number being read; 0: none is */
    unsigned number; /* at most one digit beyond HEARTBEAT_MAX */
    bool digits;     /* there were some */
    bool bad;        /* it is no number, or too large a one */
};

static unsigned unit_of(uint16_t tag)
{
    if (tag == WBXML_PING_HEARTBEATINTERVAL || tag == WBXML_AIRSYNC_HEARTBEATINTERVAL)
        return 1;
    return tag == WBXML_AIRSYNC_WAIT ? 60 : 0;
}

static int heartbeat_open(void *owner, uint16_t tag, bool has_content)
{
    struct eas_heartbeat *h = owner;
    if (h->depth == 0 && tag != WBXML_PING_PING && tag != WBXML_AIRSYNC_SYNC)
        return 1; /* nothing more of this body is looked at */
    if (h->depth == 1 && has_content && WBXML_PAGE(tag) == WBXML_PAGE(h->reader.open[0])) {
        h->unit = unit_of(tag);
        h->number = 0;
        h->digits = h->bad = false;
    } else if (h->depth > 1) {
        h->bad = true; /* an element inside it */
    }
    h->depth += has_content;
    return 0;
}

static int heartbeat_data(void *owner, enum wbxml_kind kind, const uint8_t *data, size_t len, bool last)
{
    struct eas_heartbeat *h = owner;
    (void)last;
    if (h->unit == 0 || h->depth != 2)
        return 0;
    h->bad |= kind != WBXML_STRING;
    for (size_t i = 0; i < len && !h->bad; i++) {
        h->bad = data[i] < '0' || data[i] > '9' || h->number > HEARTBEAT_MAX;
        h->number = h->number * 10 + (data[i] - '0') * !h->bad;
        h->digits = true;
    }
    return 0;
}

static int heartbeat_close(void *owner, uint16_t tag)
{
    struct eas_heartbeat *h = owner;
    (void)tag;
    if (--h->depth != 1)
        return 0;
    /* Of several, which is an error to most servers, the longest: cutting too late harms less. */
    if (h->unit != 0 && h->digits && !h->bad && h->number <= HEARTBEAT_MAX / h->unit &&
        h->number * h->unit > h->seconds)
        h->seconds = h->number * h->unit;
    h->unit = 0;
    return 0;
}

struct eas_heartbeat *eas_heartbeat_new(void)
{
    static const struct wbxml_events events = {heartbeat_open, heartbeat_data, heartbeat_close};
    static const struct wbxml_limits limits = {.depth = WBXML_DEPTH_MAX, .item = SIZE_MAX, .total = SIZE_MAX};
    struct eas_heartbeat *h = mem_zalloc(sizeof *h);
    wbxml_reader_init(&h->reader, &limits, &events, h);
    return h;
}

void eas_heartbeat_free(struct eas_heartbeat *h)
{
    free(h);
}

void eas_heartbeat_feed(struct eas_heartbeat *h, const uint8_t *data, size_t len)
{
    /* what was told before a body turned out to be malformed stays: the server may have taken it, too */
    wbxml_reader_feed(&h->reader, data, len);
}

unsigned eas_heartbeat_seconds(const struct eas_heartbeat *h)
{
    return h->seconds;
}
