/* UTF-8 as RFC 3629 defines it: no overlong forms, no surrogates, nothing above U+10FFFF. */
#ifndef STAGATE_BASE_UTF8_H
#define STAGATE_BASE_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* Bytes of the well-formed sequence that s (n bytes, n > 0) starts with, 1 to 4; 0 if it starts with none.
 * The code point goes to *point (may be NULL). */
size_t utf8_decode(const void *s, size_t n, uint32_t *point);

#endif
