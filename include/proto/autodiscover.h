/* Autodiscover answers of the mobilesync schema (MS-ASCMD 2.2.3, 4.2.4): where a client is told the URL that
 * it has to use for ActiveSync. A relay that lets them pass sends its clients around itself; here the answer
 * is rewritten in place, and nothing else in it changes.
 */
#ifndef STAGATE_PROTO_AUTODISCOVER_H
#define STAGATE_PROTO_AUTODISCOVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#define AUTODISCOVER_BYTES_MAX (256 * 1024) /* of an answer */
#define AUTODISCOVER_DEPTH_MAX 32           /* of its elements */
#define AUTODISCOVER_TEXTS_MAX 64           /* of Url and Name in it; a real one holds two to four */

/* Called for what a Server of Type MobileSync calls its URL: element "Url" or "Name"; text NUL-terminated
 * UTF-8, entities resolved, blanks at both ends removed, never empty; borrowed. Appends what should stand
 * there instead to replacement (empty before; UTF-8, plain text: it is escaped) and returns true, or returns
 * false to leave it. Called in the order of the document, after all of it has been read and found good. */
typedef bool autodiscover_fn(void *owner, const char *element, const char *text, struct buf *replacement);

/* Reads an autodiscover answer (XML, UTF-8, with a byte order mark or without) and appends it to out with
 * those texts replaced and everything else byte for byte as it was. out may be NULL: only looks. 0 and
 * *changed (may be NULL) how many were replaced; or *why (may be NULL) a constant sentence, out unchanged,
 * and
 *   ERR_SYNTAX       not well-formed, or a replacement that XML cannot hold;
 *   ERR_TOO_BIG      a limit above, or the maximum of out;
 *   ERR_UNSUPPORTED  declarations in a DOCTYPE (a DOCTYPE without is tolerated) or entities of them, another
 *                    encoding, elements inside what is to be replaced, a Server inside a Server.
 *
 * Which elements are meant: Server below an element that declares ".../mobilesync/responseschema/2006" under
 * whatever prefix, and its children Type, Url and Name, in any order; names without prefix and case. Answers
 * of other schemas (Outlook), of other Types (CertEnroll), redirects to another address and errors hold
 * nothing to replace. Comments, CDATA and processing instructions inside a replaced text go with it. */
int autodiscover_rewrite(const uint8_t *xml, size_t len, autodiscover_fn *fn, void *owner, struct buf *out,
                         size_t *changed, const char **why);

#endif
