/* ActiveSync's WBXML for people: as indented XML, and with the passwords taken out. Without I/O. */
#ifndef STAGATE_PROTO_WBXML_XML_H
#define STAGATE_PROTO_WBXML_XML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "proto/wbxml.h"

/* Appends a document as XML, one element a line, each line beginning with `indent` and two blanks for each
 * level, and ending with \n. The root's page is the xmlns, elements of other pages have theirs as a prefix:
 *
 *     <Sync xmlns="AirSync">
 *       <airsyncbase:Body>...</airsyncbase:Body>
 *
 * Tags without a name are <page3-token0x2f>. It is a view, not a document to be read back: prefixes are not
 * declared, text has what base/visible.h shows in place of control characters, text of several lines is
 * indented, opaque runs that are no text are comments with at most 64 of their bytes. What stands in a
 * Password is "(hidden)". UTF-8 without control characters but \n, whatever the input.
 *
 * 0; ERR_SYNTAX or ERR_TOO_BIG (too deep) for what is no whole document: what could be read is there, and
 * behind it a comment with the place and the reason; ERR_TOO_BIG without that comment: the buffer is full. */
int wbxml_to_xml(struct buf *out, const uint8_t *data, size_t len, const char *indent);

/* Which elements a reader stands in, as far as it matters for passwords. */
struct wbxml_secrets {
    unsigned depth;
    unsigned secret; /* open elements that hold a password */
    uint16_t open[WBXML_DEPTH_MAX];
};

/* Takes passwords out of a document that passes in pieces: each of their bytes becomes a '*', lengths stay.
 * In place, nothing to free. */
struct wbxml_scrub {
    struct wbxml_reader reader;
    struct wbxml_secrets secrets;
    bool other; /* it is no WBXML at all */
};
/* s stays where it is. */
void wbxml_scrub_init(struct wbxml_scrub *s);
/* Changes data. Returns how many of the bytes, from the front, may be shown: all, as long as the document is
 * well-formed, or is no WBXML of any version; behind a mistake nobody knows what is a password. */
size_t wbxml_scrub_feed(struct wbxml_scrub *s, uint8_t *data, size_t len);

#endif
