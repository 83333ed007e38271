/* Decoding UTF-8, one character at a time. For the log and the configuration reader, which both take bytes
 * from elsewhere. */
#include "base/utf8.h"

size_t utf8_decode(const void *s, size_t n, uint32_t *point)
{
    const unsigned char *p = s;
    uint32_t value, least;
    size_t len;

    if (p[0] < 0x80) {
        value = p[0], least = 0, len = 1;
    } else if ((p[0] & 0xe0) == 0xc0) {
        value = p[0] & 0x1f, least = 0x80, len = 2;
    } else if ((p[0] & 0xf0) == 0xe0) {
        value = p[0] & 0x0f, least = 0x800, len = 3;
    } else if ((p[0] & 0xf8) == 0xf0) {
        value = p[0] & 0x07, least = 0x10000, len = 4;
    } else {
        return 0;
    }
    if (len > n)
        return 0;
    for (size_t i = 1; i < len; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        value = value << 6 | (p[i] & 0x3f);
    }
    if (value < least || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff))
        return 0;
    if (point)
        *point = value;
    return len;
}
