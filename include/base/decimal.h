/* Integers as decimal text, for what is written too often for printf. */
#ifndef STAGATE_BASE_DECIMAL_H
#define STAGATE_BASE_DECIMAL_H

#include <stddef.h>
#include <stdint.h>

#define DECIMAL_TEXT 20 /* digits and sign of any int64_t; no NUL */

/* Writes value to the front of dst and returns how many bytes it took. */
size_t decimal_put(char dst[DECIMAL_TEXT], int64_t value);

#endif
