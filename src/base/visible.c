/* What terminals and logs of people get to see of other people's bytes. Called by the view (trace) and the
 * decoder of WBXML. */
#include "base/visible.h"

#include <stdint.h>
#include <stdio.h>

#include "base/utf8.h"

#define ESCAPE_MAX 12

/* Letters that a terminal shows as nothing, or in another order than they stand there. */
static bool is_deceptive(uint32_t point)
{
    return point == 0x061c || point == 0x200e || point == 0x200f || (point >= 0x2028 && point <= 0x202e) ||
           (point >= 0x2066 && point <= 0x2069) || point == 0xfeff;
}

static const char *entity(uint32_t point)
{
    switch (point) {
    case '&':
        return "&amp;";
    case '<':
        return "&lt;";
    case '>':
        return "&gt;";
    default:
        return NULL;
    }
}

/* How s (n bytes) begins: as many bytes as are returned, and what stands for them; "": they are shown as they
 * are. */
static size_t escape(char dst[ESCAPE_MAX], const unsigned char *s, size_t n, bool xml)
{
    static const char named[] = "\t\n\r", letters[] = "tnr";
    uint32_t point = 0;
    size_t used = utf8_decode(s, n, &point);
    dst[0] = '\0';
    if (used == 0) {
        snprintf(dst, ESCAPE_MAX, "\\x%02x", s[0]);
        return 1;
    }
    for (size_t i = 0; i < sizeof letters - 1; i++) {
        if (point == (unsigned char)named[i]) {
            snprintf(dst, ESCAPE_MAX, "\\%c", letters[i]);
            return used;
        }
    }
    if (point < 0x20 || (point >= 0x7f && point <= 0x9f))
        snprintf(dst, ESCAPE_MAX, "\\x%02x", (unsigned)point);
    else if (is_deceptive(point))
        snprintf(dst, ESCAPE_MAX, "\\u%04x", (unsigned)point);
    else if (xml && entity(point) != NULL)
        snprintf(dst, ESCAPE_MAX, "%s", entity(point));
    return used;
}

int visible_append(struct buf *out, const void *s, size_t n, bool xml)
{
    const unsigned char *p = s;
    char text[ESCAPE_MAX];
    size_t begin = 0, at = 0;
    int rc = 0;
    while (rc == 0 && at < n) {
        size_t used = escape(text, p + at, n - at, xml);
        if (text[0] != '\0') {
            rc = at > begin ? buf_append(out, p + begin, at - begin) : 0;
            if (rc == 0)
                rc = buf_append_str(out, text);
            begin = at + used;
        }
        at += used;
    }
    return rc == 0 && at > begin ? buf_append(out, p + begin, at - begin) : rc;
}

bool visible_is_text(const void *s, size_t n)
{
    const unsigned char *p = s;
    char text[ESCAPE_MAX];
    for (size_t at = 0; at < n;) {
        bool blank = p[at] == '\t' || p[at] == '\n' || p[at] == '\r';
        at += escape(text, p + at, n - at, false);
        if (text[0] != '\0' && !blank)
            return false;
    }
    return true;
}
