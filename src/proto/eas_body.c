/* Looks into ActiveSync bodies as they pass: the root tag, which servers dispatch on, and how long a Ping or
 * Sync asks to be left without an answer. Used by the gateway's relay; knows neither commands nor policy.
 *
 * The root is looked for with the eyes of the most lenient servers. libwbxml 0.11.8 (SOGo) reads over any
 * version, public identifier, charset it has a name for, and string table, leaves the charset out of
 * WBXML 1.0, skips processing instructions before the root and takes it from the string table when it is a
 * literal. Z-Push wants version 1.3, but takes numbers of any length.
 */
#include "proto/eas.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "proto/wbxml.h"

/* ---- root ---- */

enum {
    SWITCH_PAGE = 0x00,
    TOKEN_BITS = 0x3f,
    TOKEN_MIN = 0x05,     /* below it are WBXML's own tokens, in each of the four quarters */
    VERSION_1_0 = 0x00,   /* which has no charset: some servers leave it out, some do not */
    VERSION_1_3 = 0x03,   /* the last one */
    NUMBER_BYTES_MAX = 5, /* of a 32-bit number, seven bits in each */
    TABLE_MAX = 65536,
};

enum state {
    IN_VERSION,
    IN_PUBLIC_ID,
    IN_PUBLIC_INDEX,
    IN_CHARSET,
    IN_TABLE_LENGTH,
    IN_TABLE,
    IN_BODY, /* a token comes next */
    IN_PAGE,
    FOUND,
    MALFORMED,
    HIDDEN,
};

void eas_root_init(struct eas_root *r)
{
    *r = (struct eas_root){.state = IN_VERSION};
}

/* Beyond WBXML 1.3 nobody reads on but libwbxml: what it refuses, all servers do. */
static enum state give_up(const struct eas_root *r)
{
    return r->version > VERSION_1_3 ? MALFORMED : HIDDEN;
}

/* Those that libwbxml has a name for, by their IANA number; 0 is "unknown". */
static bool is_charset(uint32_t number)
{
    return number == 0 || (number >= 3 && number <= 12) || number == 17 || number == 106 || number == 1000 ||
           number == 1015 || number == 2026;
}

static enum state end_number(struct eas_root *r)
{
    switch ((enum state)r->state) {
    case IN_PUBLIC_ID:
        /* a zero of several bytes: some take it for the zero before an index, some do not */
        if (r->number == 0 && r->bytes > 1)
            return HIDDEN;
        return r->number == 0 ? IN_PUBLIC_INDEX : IN_CHARSET;
    case IN_PUBLIC_INDEX:
        return IN_CHARSET;
    case IN_CHARSET:
        if (r->version > VERSION_1_3)
            return is_charset(r->number) ? HIDDEN : MALFORMED;
        return IN_TABLE_LENGTH;
    case IN_TABLE_LENGTH:
        r->skip = r->number;
        if (r->skip > TABLE_MAX)
            return HIDDEN;
        return r->skip > 0 ? IN_TABLE : IN_BODY;
    case IN_VERSION:
    case IN_TABLE:
    case IN_BODY:
    case IN_PAGE:
    case FOUND:
    case MALFORMED:
    case HIDDEN:
        break;
    }
    return (enum state)r->state;
}

static enum state read_number(struct eas_root *r, uint8_t byte)
{
    if (r->number > UINT32_MAX >> 7)
        return HIDDEN; /* more than 32 bits: which of them are dropped is up to the server */
    r->number = r->number << 7 | (byte & 0x7f);
    r->bytes++;
    if (byte & 0x80)
        return r->bytes < NUMBER_BYTES_MAX ? (enum state)r->state : give_up(r);
    enum state next = end_number(r);
    r->number = 0;
    r->bytes = 0;
    return next;
}

static enum state read_token(struct eas_root *r, uint8_t byte)
{
    if (byte == SWITCH_PAGE)
        return IN_PAGE;
    if ((byte & TOKEN_BITS) < TOKEN_MIN)
        return HIDDEN;
    r->tag = WBXML_TAG(r->page, byte & TOKEN_BITS);
    return FOUND;
}

static enum state read_byte(struct eas_root *r, uint8_t byte)
{
    switch ((enum state)r->state) {
    case IN_VERSION:
        r->version = byte;
        return byte == VERSION_1_0 ? HIDDEN : IN_PUBLIC_ID;
    case IN_PUBLIC_ID:
    case IN_PUBLIC_INDEX:
    case IN_CHARSET:
    case IN_TABLE_LENGTH:
        return read_number(r, byte);
    case IN_TABLE:
        r->skip--;
        return r->skip > 0 ? IN_TABLE : IN_BODY;
    case IN_BODY:
        return read_token(r, byte);
    case IN_PAGE:
        r->page = byte;
        return IN_BODY;
    case FOUND:
    case MALFORMED:
    case HIDDEN:
        break;
    }
    return (enum state)r->state;
}

enum eas_root_result eas_root_feed(struct eas_root *r, const uint8_t *data, size_t len, size_t *used)
{
    size_t at = 0;
    while (at < len && r->state < FOUND)
        r->state = (uint8_t)read_byte(r, data[at++]);
    *used = at;
    switch ((enum state)r->state) {
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

/* ---- heartbeat ---- */

enum { HEARTBEAT_MAX = 86400 };

/* The reader streams: these limits bound work, not memory. */
static const struct wbxml_limits limits = {.depth = WBXML_DEPTH_MAX, .item = 65536, .total = 1048576};

struct eas_heartbeat {
    struct wbxml_reader reader;
    unsigned seconds;
    bool in_minutes; /* what `seconds` was told as */
    uint16_t root;
    unsigned depth;  /* elements open */
    unsigned unit;   /* seconds in one of the number being read; 0: none is */
    unsigned number; /* as far as it was read, never above HEARTBEAT_MAX */
    bool digits;
    bool other; /* something that is no digit */
};

/* Seconds in one of what this element counts; 0: it tells nothing about the heartbeat. */
static unsigned unit_of(uint16_t root, uint16_t tag)
{
    if (root == WBXML_PING_PING)
        return tag == WBXML_PING_HEARTBEATINTERVAL ? 1 : 0;
    return tag == WBXML_AIRSYNC_HEARTBEATINTERVAL ? 1 : tag == WBXML_AIRSYNC_WAIT ? 60 : 0;
}

static int on_open(void *owner, uint16_t tag, bool has_content)
{
    struct eas_heartbeat *h = owner;
    if (h->depth == 0 && tag != WBXML_PING_PING && tag != WBXML_AIRSYNC_SYNC)
        return 1;    /* nothing here to read on for */
    h->other = true; /* an element within a number */
    if (h->depth == 0) {
        h->root = tag;
    } else if (h->depth == 1 && has_content) {
        h->unit = unit_of(h->root, tag);
        h->number = 0;
        h->digits = h->other = false;
    }
    h->depth += has_content;
    return 0;
}

static int on_data(void *owner, enum wbxml_kind kind, const uint8_t *data, size_t len, bool last)
{
    struct eas_heartbeat *h = owner;
    (void)kind;
    (void)last;
    if (h->depth != 2 || h->unit == 0)
        return 0;
    for (size_t i = 0; i < len; i++) {
        if (data[i] < '0' || data[i] > '9') {
            h->other = true;
            continue;
        }
        h->digits = true;
        h->number = 10 * h->number + (data[i] - '0');
        if (h->number > HEARTBEAT_MAX)
            h->number = HEARTBEAT_MAX;
    }
    return 0;
}

static int on_close(void *owner, uint16_t tag)
{
    struct eas_heartbeat *h = owner;
    (void)tag;
    h->depth--;
    if (h->depth != 1 || h->unit == 0)
        return 0;
    unsigned seconds = h->number * h->unit;
    if (seconds > HEARTBEAT_MAX)
        seconds = HEARTBEAT_MAX;
    /* Told twice or in both ways: whichever the server takes, it does not hold the request for longer. */
    if (h->digits && !h->other && seconds > h->seconds) {
        h->seconds = seconds;
        h->in_minutes = h->unit == 60;
    }
    h->unit = 0;
    return 0;
}

struct eas_heartbeat *eas_heartbeat_new(void)
{
    static const struct wbxml_events events = {on_open, on_data, on_close};
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
    if (len > 0 && wbxml_reader_feed(&h->reader, data, len) == ERR_SYNTAX) {
        h->seconds = 0;
        h->in_minutes = false;
    }
}

unsigned eas_heartbeat_seconds(const struct eas_heartbeat *h)
{
    return h->seconds;
}

bool eas_heartbeat_in_minutes(const struct eas_heartbeat *h)
{
    return h->in_minutes;
}
