/* Text of strangers made fit for a terminal: what comes out is UTF-8 without any control character, whatever
 * went in. Control characters (C0, DEL, C1), bytes that are no UTF-8, and what turns the direction of writing
 * or breaks lines are shown as \n, \x1b, \u202e.
 */
#ifndef STAGATE_BASE_VISIBLE_H
#define STAGATE_BASE_VISIBLE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

/* Appends n bytes of s; xml: with &, < and > as entities. 0, or ERR_TOO_BIG with a part of it appended. */
int visible_append(struct buf *out, const void *s, size_t n, bool xml);
/* Whether it is UTF-8 that would come out as it is, tabs and line ends apart. */
bool visible_is_text(const void *s, size_t n);

#endif
