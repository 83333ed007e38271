/* Start lines and tokens of HTTP/1.x, strictly: http-parser, as Debian builds it, takes any letters for
 * "HTTP", any number of blanks and any version. Called by http.c only, with text that holds no control
 * characters but tabs.
 */
#include "http_text.h"

#include <string.h>

#include "base/err.h"

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static int refuse(const char **why, int code, const char *sentence)
{
    *why = sentence;
    return code;
}

#define ONES UINT64_C(0x0101010101010101)
#define TOPS UINT64_C(0x8080808080808080)

/* Eight bytes at a time; a top bit comes out where a byte is below 0x20 or 0x7f. Bits of bytes behind the
 * first such one may be wrong, which is why the last word is looked at byte by byte. */
static uint64_t controls(uint64_t word)
{
    uint64_t del = word ^ ONES * 0x7f;
    return (((word - ONES * 0x20) & ~word) | ((del - ONES) & ~del)) & TOPS;
}

size_t http_text_plain(const uint8_t *data, size_t len)
{
    size_t n = 0;
    uint64_t word;
    for (; len - n >= sizeof word; n += sizeof word) {
        memcpy(&word, data + n, sizeof word);
        if (controls(word) != 0)
            break;
    }
    while (n < len && data[n] >= 0x20 && data[n] != 0x7f)
        n++;
    return n;
}

bool http_text_is_token(const char *s, size_t len)
{
    static const bool token[256] = {
        ['0' ... '9'] = true, ['A' ... 'Z'] = true, ['a' ... 'z'] = true, ['!'] = true,  ['#'] = true,
        ['$'] = true,         ['%'] = true,         ['&'] = true,         ['\''] = true, ['*'] = true,
        ['+'] = true,         ['-'] = true,         ['.'] = true,         ['^'] = true,  ['_'] = true,
        ['`'] = true,         ['|'] = true,         ['~'] = true};
    for (size_t i = 0; i < len; i++) {
        if (!token[(unsigned char)s[i]])
            return false;
    }
    return len > 0;
}

int64_t http_text_parse_length(const char *s)
{
    int64_t n = 0;
    if (*s == '\0')
        return -1;
    for (; *s != '\0'; s++) {
        if (!is_digit(*s) || n > (INT64_MAX - 9) / 10)
            return -1;
        n = n * 10 + (*s - '0');
    }
    return n;
}

static int check_version(const char *s, size_t len, const char **why)
{
    if (len != 8 || memcmp(s, "HTTP/", 5) != 0 || !is_digit(s[5]) || s[6] != '.' || !is_digit(s[7]))
        return refuse(why, ERR_SYNTAX, "the version is neither HTTP/1.0 nor HTTP/1.1");
    if (s[5] == '2')
        return refuse(why, ERR_UNSUPPORTED, "HTTP/2 is not spoken here: HTTP/1.1 is");
    if (s[5] != '1' || s[7] > '1')
        return refuse(why, ERR_UNSUPPORTED,
                      "this version of HTTP is not spoken here: HTTP/1.0 and HTTP/1.1 are");
    return 0;
}

int http_text_check_request_line(const char *line, size_t len, const char **why)
{
    const char *end = line + len;
    const char *method_end = memchr(line, ' ', len);
    if (method_end == NULL || !http_text_is_token(line, (size_t)(method_end - line)))
        return refuse(why, ERR_SYNTAX, "this is not an HTTP request");
    const char *target = method_end + 1;
    const char *target_end = memchr(target, ' ', (size_t)(end - target));
    if (target_end == target)
        return refuse(why, ERR_SYNTAX, "the request line has two blanks in a row");
    for (const char *p = target; p < (target_end != NULL ? target_end : end); p++) {
        if ((unsigned char)*p <= 0x20 || (unsigned char)*p >= 0x7f)
            return refuse(why, ERR_SYNTAX, "the request target holds a character that has to be encoded");
    }
    if (target_end == NULL)
        return refuse(why, ERR_UNSUPPORTED, "HTTP/0.9 is not spoken here: the request line has no version");
    return check_version(target_end + 1, (size_t)(end - target_end) - 1, why);
}

/* The reason phrase, and the blank before it, may be missing. */
int http_text_check_status_line(const char *line, size_t len, const char **why)
{
    int rc = check_version(line, len < 8 ? len : 8, why);
    if (rc < 0)
        return rc;
    if (len < 12 || line[8] != ' ' || (len > 12 && line[12] != ' '))
        return refuse(why, ERR_SYNTAX, "this is not an HTTP response");
    if (line[9] < '1' || !is_digit(line[9]) || !is_digit(line[10]) || !is_digit(line[11]))
        return refuse(why, ERR_SYNTAX, "the status is not a number of three digits");
    return 0;
}
