/* The query of an ActiveSync request URI, in both its forms (MS-ASHTTP 2.2.1.1.1). Called by the gateway's
 * relay for every request: no memory is allocated, and what servers would read differently is refused, so
 * that the relay's rules and the server speak of the same command and device.
 */
#include "proto/eas.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/err.h"

static int fail(const char **why, int code, const char *sentence)
{
    *why = sentence;
    return code;
}

static bool is_control(unsigned char c)
{
    return c < 0x20 || c == 0x7f;
}

static bool is_letter_or_digit(unsigned char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The byte that a percent-escape at s stands for; -1: it is none. */
static int escaped(const char *s, const char *end)
{
    if (end - s < 3 || s[0] != '%')
        return -1;
    int high = hex_value(s[1]), low = hex_value(s[2]);
    return high < 0 || low < 0 ? -1 : high << 4 | low;
}

/* ---- plain form ---- */

enum parameter { CMD, DEVICE_ID, DEVICE_TYPE, USER, SAVE_IN_SENT, PARAMETERS };

static const struct {
    const char *name;
    bool plus_is_blank;
    const char *twice, *broken, *too_long; /* NULL: not decisive, whatever stands there is no error */
} parameters[PARAMETERS] = {
    [CMD] = {"Cmd", false, "Cmd stands in the query twice",
             "Cmd has a broken percent-escape or a control character", "Cmd is too long"},
    [DEVICE_ID] = {"DeviceId", false, "DeviceId stands in the query twice",
                   "DeviceId has a broken percent-escape or a control character", "DeviceId is too long"},
    [DEVICE_TYPE] = {"DeviceType", false, "DeviceType stands in the query twice",
                     "DeviceType has a broken percent-escape or a control character",
                     "DeviceType is too long"},
    [USER] = {"User", true, "User stands in the query twice",
              "User has a broken percent-escape or a control character", "User is too long"},
    [SAVE_IN_SENT] = {"SaveInSent", false, NULL, NULL, NULL},
};

/* Decodes into dst, a string, as much as fits. ERR_SYNTAX: a broken escape or a control character;
 * ERR_TOO_BIG. */
static int decode(const char *s, const char *end, bool plus_is_blank, char *dst, size_t cap)
{
    size_t n = 0;
    while (s < end) {
        bool escape = *s == '%';
        int c = escape ? escaped(s, end) : *s == '+' && plus_is_blank ? ' ' : (unsigned char)*s;
        if (c < 0 || is_control((unsigned char)c))
            return ERR_SYNTAX;
        s += escape ? 3 : 1;
        if (n < cap)
            dst[n] = (char)c;
        n++;
    }
    dst[n < cap ? n : cap - 1] = '\0';
    return n < cap ? 0 : ERR_TOO_BIG;
}

/* Which parameter a name means; PARAMETERS: one that does not matter here. */
static enum parameter find_parameter(const char *name)
{
    enum parameter p = 0;
    while (p < PARAMETERS && strcasecmp(parameters[p].name, name) != 0)
        p++;
    return p;
}

static int take_value(struct eas_query *q, enum parameter p, const char *s, const char *end, const char **why)
{
    char text[4] = "";
    char *const to[PARAMETERS] = {[CMD] = q->command_text,
                                  [DEVICE_ID] = q->device_id,
                                  [DEVICE_TYPE] = q->device_type,
                                  [USER] = q->user,
                                  [SAVE_IN_SENT] = text};
    static const size_t room[PARAMETERS] = {[CMD] = sizeof q->command_text,
                                            [DEVICE_ID] = sizeof q->device_id,
                                            [DEVICE_TYPE] = sizeof q->device_type,
                                            [USER] = sizeof q->user,
                                            [SAVE_IN_SENT] = sizeof text};
    int rc = decode(s, end, parameters[p].plus_is_blank, to[p], room[p]);
    if (p == SAVE_IN_SENT) {
        q->save_in_sent = rc == 0 && strcasecmp(text, "T") == 0;
        return 0;
    }
    if (rc == ERR_TOO_BIG)
        return fail(why, rc, parameters[p].too_long);
    return rc == 0 ? 0 : fail(why, rc, parameters[p].broken);
}

/* One "name=value", borrowed. `seen` has a bit for each parameter that was there. */
static int parse_pair(struct eas_query *q, const char *s, const char *end, unsigned *seen, const char **why)
{
    char name[32];
    const char *equals = memchr(s, '=', (size_t)(end - s));
    const char *stop = equals != NULL ? equals : end;
    while (s < stop && (*s == '+' || *s == ' ' || escaped(s, stop) == ' ')) /* PHP drops them */
        s += *s == '%' ? 3 : 1;
    int rc = decode(s, stop, true, name, sizeof name);
    if (rc == ERR_SYNTAX)
        return fail(why, rc, "a parameter's name has a broken percent-escape or a control character");
    enum parameter p = rc == 0 ? find_parameter(name) : PARAMETERS;
    if (p == PARAMETERS)
        return 0;
    if (*seen >> p & 1 && parameters[p].twice != NULL)
        return fail(why, ERR_SYNTAX, parameters[p].twice);
    *seen |= 1U << p;
    return take_value(q, p, equals != NULL ? equals + 1 : end, end, why);
}

static int parse_plain(struct eas_query *q, const char *s, const char *end, const char **why)
{
    unsigned seen = 0;
    while (s < end) {
        const char *stop = memchr(s, '&', (size_t)(end - s));
        if (stop == NULL)
            stop = end;
        int rc = parse_pair(q, s, stop, &seen, why);
        if (rc < 0)
            return rc;
        s = stop < end ? stop + 1 : end;
    }
    q->command = eas_command_by_name(q->command_text, strlen(q->command_text));
    return 0;
}

/* ---- base64 form ---- */

/* Gives the bytes of a base64 text one after the other. */
struct base64 {
    const char *s, *end;
    unsigned held;      /* bits not yet given out */
    unsigned held_bits; /* how many: 0, 2, 4 or 6 */
    unsigned digits;    /* modulo 4 */
    const char *why;    /* what is wrong with the text: it gives no more bytes */
};

enum { BASE64_END = -1 };

/* Takes the next character if it is a digit; its value, or BASE64_END. Only what a URI may have to escape is
 * read escaped. */
static int take_digit(struct base64 *b)
{
    if (b->s == b->end)
        return BASE64_END;
    int c = *b->s == '%' ? escaped(b->s, b->end) : (unsigned char)*b->s;
    int value = BASE64_END;
    if (c == '+' || c == '/')
        value = c == '+' ? 62 : 63;
    else if (*b->s >= 'A' && *b->s <= 'Z')
        value = *b->s - 'A';
    else if (*b->s >= 'a' && *b->s <= 'z')
        value = *b->s - 'a' + 26;
    else if (*b->s >= '0' && *b->s <= '9')
        value = *b->s - '0' + 52;
    if (value != BASE64_END)
        b->s += *b->s == '%' ? 3 : 1;
    return value;
}

/* Takes "=" signs, escaped or not, and counts them. */
static unsigned take_padding(struct base64 *b)
{
    unsigned n = 0;
    while (b->s < b->end && (*b->s == '=' || escaped(b->s, b->end) == '=')) {
        b->s += *b->s == '%' ? 3 : 1;
        n++;
    }
    return n;
}

/* Behind the last digit: padding is complete or absent, and the bits that no byte came of are zero. */
static void check_end(struct base64 *b)
{
    static const unsigned whole[] = {0, 0, 2, 1};
    unsigned padding = take_padding(b);
    if (b->s < b->end)
        b->why = "the query is neither names with values nor base64";
    else if (b->digits == 1 || b->held != 0 || (padding != 0 && padding != whole[b->digits]))
        b->why = "the base64 query ends within a byte or with the wrong padding";
}

/* 0..255 or BASE64_END. */
static int next_byte(struct base64 *b)
{
    while (b->why == NULL) {
        int value = take_digit(b);
        if (value == BASE64_END) {
            check_end(b);
            break;
        }
        b->digits = (b->digits + 1) % 4;
        b->held = b->held << 6 | (unsigned)value;
        b->held_bits += 6;
        if (b->held_bits >= 8) {
            b->held_bits -= 8;
            int byte = (int)(b->held >> b->held_bits);
            b->held &= (1U << b->held_bits) - 1;
            return byte;
        }
    }
    return BASE64_END;
}

/* Takes n bytes into dst. */
static int take_bytes(struct base64 *b, uint8_t *dst, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        int byte = next_byte(b);
        if (byte == BASE64_END)
            return ERR_SYNTAX;
        dst[i] = (uint8_t)byte;
    }
    return 0;
}

/* A length and as many bytes; dst holds 255. */
static int take_run(struct base64 *b, uint8_t *dst, unsigned *len)
{
    uint8_t n = 0;
    int rc = take_bytes(b, &n, 1);
    *len = n;
    return rc == 0 ? take_bytes(b, dst, n) : rc;
}

static int put_text(char *dst, const uint8_t *bytes, unsigned len, const char **why)
{
    for (unsigned i = 0; i < len; i++) {
        if (is_control(bytes[i]))
            return fail(why, ERR_SYNTAX, "a text in the base64 query has a control character");
    }
    if (len >= EAS_VALUE_MAX)
        return fail(why, ERR_TOO_BIG, "a text in the base64 query is too long");
    memcpy(dst, bytes, len);
    dst[len] = '\0';
    return 0;
}

/* Clients send the ID's characters, or the 16 bytes of a GUID. */
static int put_device_id(char *dst, const uint8_t *bytes, unsigned len, const char **why)
{
    bool text = true;
    for (unsigned i = 0; i < len; i++)
        text =
            text && (is_letter_or_digit(bytes[i]) || (bytes[i] != '\0' && strchr("-_.", bytes[i]) != NULL));
    if (text)
        return put_text(dst, bytes, len, why);
    if (2 * len >= EAS_VALUE_MAX)
        return fail(why, ERR_TOO_BIG, "the device ID in the base64 query is too long");
    for (unsigned i = 0; i < len; i++)
        snprintf(dst + 2 * i, 3, "%02X", bytes[i]);
    return 0;
}

enum { TAG_OPTIONS = 7, TAG_USER = 8, SAVE_IN_SENT_BIT = 1, ACCEPT_MULTIPART_BIT = 2 };

/* What stands behind the device type: tag, length, value, again and again. */
static int parse_parameters(struct eas_query *q, struct base64 *b, const char **why)
{
    uint8_t value[255], tag;
    unsigned len;
    bool options = false, user = false;
    int rc = 0;
    while (rc == 0 && take_bytes(b, &tag, 1) == 0) {
        if (take_run(b, value, &len) < 0)
            return fail(why, ERR_SYNTAX, "the base64 query is cut off within a parameter");
        if ((tag == TAG_OPTIONS && options) || (tag == TAG_USER && user))
            return fail(why, ERR_SYNTAX, "a parameter stands in the base64 query twice");
        if (tag == TAG_OPTIONS) {
            if (len != 1)
                return fail(why, ERR_SYNTAX, "the options in the base64 query are not one byte");
            options = true;
            q->save_in_sent = value[0] & SAVE_IN_SENT_BIT;
            q->accept_multipart = value[0] & ACCEPT_MULTIPART_BIT;
        } else if (tag == TAG_USER) {
            user = true;
            rc = put_text(q->user, value, len, why);
        }
    }
    return rc;
}

static int parse_policy_key(struct eas_query *q, const uint8_t *key, unsigned len, const char **why)
{
    if (len != 0 && len != 4)
        return fail(why, ERR_SYNTAX, "the policy key in the base64 query is not 0 or 4 bytes");
    if (len == 4)
        snprintf(q->policy_key, sizeof q->policy_key, "%u",
                 (unsigned)key[0] | (unsigned)key[1] << 8 | (unsigned)key[2] << 16 | (unsigned)key[3] << 24);
    return 0;
}

static int parse_fields(struct eas_query *q, struct base64 *b, const char **why)
{
    static const char cut_off[] = "the base64 query is cut off";
    uint8_t head[4], run[255]; /* version, command, locale of two bytes */
    unsigned len;
    if (take_bytes(b, head, sizeof head) < 0)
        return fail(why, ERR_SYNTAX, cut_off);
    if (head[0] == 0)
        return fail(why, ERR_SYNTAX, "the base64 query has no protocol version");
    q->version = head[0];
    const char *name = eas_command_name(head[1]);
    q->command = name != NULL ? head[1] : EAS_COMMANDS;
    if (name != NULL)
        snprintf(q->command_text, sizeof q->command_text, "%s", name);
    else
        snprintf(q->command_text, sizeof q->command_text, "%u", head[1]);
    if (take_run(b, run, &len) < 0)
        return fail(why, ERR_SYNTAX, cut_off);
    int rc = put_device_id(q->device_id, run, len, why);
    if (rc < 0)
        return rc;
    if (take_run(b, run, &len) < 0)
        return fail(why, ERR_SYNTAX, cut_off);
    rc = parse_policy_key(q, run, len, why);
    if (rc < 0)
        return rc;
    if (take_run(b, run, &len) < 0)
        return fail(why, ERR_SYNTAX, cut_off);
    rc = put_text(q->device_type, run, len, why);
    return rc == 0 ? parse_parameters(q, b, why) : rc;
}

static int parse_base64(struct eas_query *q, const char *s, const char *end, const char **why)
{
    struct base64 b = {.s = s, .end = end};
    q->base64 = true;
    int rc = parse_fields(q, &b, why);
    /* What no base64 can be is said as such, not as something cut off. */
    return b.why != NULL ? fail(why, ERR_SYNTAX, b.why) : rc;
}

/* ---- either ---- */

/* Whether this is "name=value": '&' is no base64 digit, and '=' is one at the end only, where it pads. */
static bool is_plain(const char *s, const char *end)
{
    if (memchr(s, '&', (size_t)(end - s)) != NULL)
        return true;
    const char *p = s;
    while (p < end && (is_letter_or_digit((unsigned char)*p) || escaped(p, end) >= 0))
        p += *p == '%' ? 3 : 1;
    if (p == s || p == end || *p != '=')
        return false;
    struct base64 rest = {.s = p, .end = end};
    take_padding(&rest);
    return rest.s < end;
}

int eas_query_parse(struct eas_query *q, const char *query, size_t len, const char **why)
{
    *q = (struct eas_query){.command = EAS_COMMANDS};
    *why = NULL;
    if (len == 0)
        return 0;
    const char *end = query + len;
    int rc = is_plain(query, end) ? parse_plain(q, query, end, why) : parse_base64(q, query, end, why);
    if (rc < 0)
        *q = (struct eas_query){.command = EAS_COMMANDS}; /* half of it is of no use */
    return rc;
}
