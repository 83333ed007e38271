/* Integers as decimal text. */
#include "base/decimal.h"

#include <string.h>

size_t decimal_put(char dst[DECIMAL_TEXT], int64_t value)
{
    char text[DECIMAL_TEXT], *p = text + sizeof text;
    uint64_t left = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    do {
        *--p = (char)('0' + left % 10);
        left /= 10;
    } while (left > 0);
    if (value < 0)
        *--p = '-';
    size_t len = (size_t)(text + sizeof text - p);
    memcpy(dst, p, len);
    return len;
}
