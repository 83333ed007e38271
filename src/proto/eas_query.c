/* The query of an ActiveSync request in both its forms. What servers might read in more than one way is
 * refused rather than guessed at. Nothing is allocated: values go straight into the caller's struct.
 */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/err.h"
#include "proto/eas.h"

/* A run of the caller's text. */
struct span {
    const char *s;
    size_t len;
};

static int refuse(const char **why, int code, const char *sentence)
{
    if (why != NULL)
        *why = sentence;
    return code;
}

static bool is_alnum(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

static bool is_control(char c)
{
    return (unsigned char)c < 0x20 || c == 0x7f;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The byte of a percent-escape at the beginning of t; -1: there is none. */
static int escape_value(struct span t)
{
    if (t.len < 3 || t.s[0] != '%')
        return -1;
    int high = hex_value(t.s[1]), low = hex_value(t.s[2]);
    return high < 0 || low < 0 ? -1 : high << 4 | low;
}

static struct span behind(struct span t, size_t n)
{
    return (struct span){t.s + n, t.len - n};
}

/* ---- which form ---- */

static bool is_padding(struct span t)
{
    while (t.len > 0) {
        if (t.s[0] == '=')
            t = behind(t, 1);
        else if (escape_value(t) == '=')
            t = behind(t, 3);
        else
            return false;
    }
    return true;
}

static bool is_plain(struct span t)
{
    if (memchr(t.s, '&', t.len) != NULL)
        return true;
    const char *begin = t.s;
    while (t.len > 0 && (is_alnum(t.s[0]) || escape_value(t) >= 0))
        t = behind(t, t.s[0] == '%' ? 3 : 1);
    return t.s > begin && t.len > 0 && t.s[0] == '=' && !is_padding(t);
}

/* ---- plain ---- */

enum decisive { CMD, DEVICE_ID, DEVICE_TYPE, USER, DECISIVE };

static const struct {
    const char *name, *twice, *broken, *control, *too_long;
} decisive[DECISIVE] = {
#define DECISIVE_NAME(name)                                                                                  \
    {                                                                                                        \
        name, name " stands there twice", name " has a broken percent-escape",                               \
            name " has a control character in it", name " is too long"                                       \
    }
    [CMD] = DECISIVE_NAME("Cmd"),
    [DEVICE_ID] = DECISIVE_NAME("DeviceId"),
    [DEVICE_TYPE] = DECISIVE_NAME("DeviceType"),
    [USER] = DECISIVE_NAME("User"),
};

/* Decodes as much of a name as fits: longer ones are none of ours. A broken escape stays as it is. */
static size_t decode_name(struct span t, char *dst, size_t cap)
{
    size_t n = 0;
    while (t.len > 0 && n < cap) {
        int byte = escape_value(t);
        dst[n++] = byte >= 0 ? (char)byte : t.s[0];
        t = behind(t, byte >= 0 ? 3 : 1);
    }
    return n;
}

static bool is_name(struct span t, const char *name)
{
    return t.len == strlen(name) && strncasecmp(t.s, name, t.len) == 0;
}

/* PHP reads "+Cmd", "Cmd[]" and "Cmd%00x" as Cmd. */
static bool is_disguised(struct span t, const char *name)
{
    size_t len = strlen(name), skip = 0;
    while (skip < t.len && (is_control(t.s[skip]) || t.s[skip] == ' ' || t.s[skip] == '+'))
        skip++;
    t = behind(t, skip);
    if (t.len < len || strncasecmp(t.s, name, len) != 0)
        return false;
    return t.len == len || is_control(t.s[len]) || strchr(" +[", t.s[len]) != NULL;
}

static int decode_value(struct span t, enum decisive which, char *dst, size_t cap, const char **why)
{
    size_t n = 0;
    while (t.len > 0) {
        int byte = escape_value(t);
        if (t.s[0] == '%' && byte < 0)
            return refuse(why, ERR_SYNTAX, decisive[which].broken);
        char c = byte >= 0 ? (char)byte : t.s[0];
        if (which == USER && t.s[0] == '+')
            c = ' ';
        if (is_control(c))
            return refuse(why, ERR_SYNTAX, decisive[which].control);
        if (n == cap - 1)
            return refuse(why, ERR_TOO_BIG, decisive[which].too_long);
        dst[n++] = c;
        t = behind(t, byte >= 0 ? 3 : 1);
    }
    dst[n] = '\0';
    return 0;
}

static int take_value(struct eas_query *q, enum decisive which, struct span value, const char **why)
{
    switch (which) {
    case CMD: {
        int rc = decode_value(value, which, q->command_text, sizeof q->command_text, why);
        if (rc == 0)
            q->command = eas_command_by_name(q->command_text, strlen(q->command_text));
        return rc;
    }
    case DEVICE_ID:
        return decode_value(value, which, q->device_id, sizeof q->device_id, why);
    case DEVICE_TYPE:
        return decode_value(value, which, q->device_type, sizeof q->device_type, why);
    default:
        return decode_value(value, which, q->user, sizeof q->user, why);
    }
}

static int take_parameter(struct eas_query *q, struct span item, bool seen[DECISIVE], const char **why)
{
    const char *equals = memchr(item.s, '=', item.len);
    struct span raw = {item.s, equals ? (size_t)(equals - item.s) : item.len};
    struct span value = equals ? behind(item, raw.len + 1) : (struct span){"", 0};
    char decoded[32];
    struct span name = {decoded, decode_name(raw, decoded, sizeof decoded)};
    for (int i = 0; i < DECISIVE; i++) {
        if (is_name(name, decisive[i].name)) {
            if (seen[i])
                return refuse(why, ERR_SYNTAX, decisive[i].twice);
            seen[i] = true;
            return take_value(q, (enum decisive)i, value, why);
        }
        if (is_disguised(name, decisive[i].name))
            return refuse(why, ERR_SYNTAX, "a parameter's name is one that some servers read as another");
    }
    if (is_name(name, "SaveInSent"))
        q->save_in_sent = value.len == 1 && (value.s[0] | 0x20) == 't';
    return 0;
}

static int parse_plain(struct eas_query *q, struct span t, const char **why)
{
    bool seen[DECISIVE] = {false};
    for (;;) {
        const char *end = memchr(t.s, '&', t.len);
        struct span item = {t.s, end ? (size_t)(end - t.s) : t.len};
        int rc = take_parameter(q, item, seen, why);
        if (rc != 0 || end == NULL)
            return rc;
        t = behind(t, item.len + 1);
    }
}

/* ---- base64 ---- */

/* Bytes of base64, decoded as they are asked for; the text was looked through before. */
struct bytes {
    struct span text;
    size_t left; /* bytes */
    uint32_t bits;
    unsigned bit_count;
};

/* One character, perhaps as one of the three escapes that base64 can need; 0: neither. */
static char next_char(struct span *t)
{
    int c = t->s[0] == '%' ? escape_value(*t) : t->s[0];
    if (t->s[0] == '%' && c != '+' && c != '/' && c != '=')
        return 0;
    *t = behind(*t, t->s[0] == '%' ? 3 : 1);
    return (char)c;
}

static int sextet(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

static int bytes_begin(struct bytes *b, struct span t, const char **why)
{
    size_t sextets = 0, padding = 0;
    *b = (struct bytes){.text = t};
    while (t.len > 0) {
        char c = next_char(&t);
        bool pad = c == '=';
        if (!pad && (sextet(c) < 0 || padding > 0))
            return refuse(why, ERR_SYNTAX, "the query is neither base64 nor names and values");
        padding += pad;
        sextets += !pad;
    }
    if (padding > 0 ? padding > 2 || (sextets + padding) % 4 != 0 : sextets % 4 == 1)
        return refuse(why, ERR_SYNTAX, "the query's base64 is cut off or wrongly padded");
    b->left = sextets * 6 / 8;
    return 0;
}

static uint8_t next_byte(struct bytes *b)
{
    while (b->bit_count < 8) {
        b->bits = b->bits << 6 | (uint32_t)sextet(next_char(&b->text));
        b->bit_count += 6;
    }
    b->bit_count -= 8;
    b->left--;
    return (uint8_t)(b->bits >> b->bit_count);
}

/* A length and as many bytes, of which at most cap go to dst (the length tells how many there were). */
static int next_run(struct bytes *b, uint8_t *dst, size_t cap, size_t *len, const char **why)
{
    if (b->left == 0 || (*len = next_byte(b)) > b->left)
        return refuse(why, ERR_SYNTAX, "the query's base64 ends inside a field");
    for (size_t i = 0; i < *len; i++) {
        uint8_t byte = next_byte(b);
        if (i < cap)
            dst[i] = byte;
    }
    return 0;
}

static int next_text(struct bytes *b, enum decisive which, char dst[EAS_VALUE_MAX], const char **why)
{
    uint8_t run[UINT8_MAX];
    size_t len;
    int rc = next_run(b, run, sizeof run, &len, why);
    if (rc != 0)
        return rc;
    if (len >= EAS_VALUE_MAX)
        return refuse(why, ERR_TOO_BIG, decisive[which].too_long);
    for (size_t i = 0; i < len; i++) {
        dst[i] = (char)run[i];
        if (is_control(dst[i]))
            return refuse(why, ERR_SYNTAX, decisive[which].control);
    }
    dst[len] = '\0';
    return 0;
}

static int next_device_id(struct bytes *b, char dst[EAS_VALUE_MAX], const char **why)
{
    static const char digits[] = "0123456789ABCDEF";
    uint8_t run[UINT8_MAX];
    size_t len;
    bool text = true;
    int rc = next_run(b, run, sizeof run, &len, why);
    if (rc != 0)
        return rc;
    for (size_t i = 0; i < len; i++)
        text &= is_alnum((char)run[i]) || (run[i] != '\0' && strchr("-_.", run[i]) != NULL);
    if (len * (text ? 1 : 2) >= EAS_VALUE_MAX)
        return refuse(why, ERR_TOO_BIG, decisive[DEVICE_ID].too_long);
    char *to = dst;
    for (size_t i = 0; i < len; i++) {
        if (!text)
            *to++ = digits[run[i] >> 4];
        *to++ = text ? (char)run[i] : digits[run[i] & 0xf];
    }
    *to = '\0';
    return 0;
}

static int next_policy_key(struct bytes *b, char dst[EAS_POLICY_MAX], const char **why)
{
    uint8_t key[4];
    size_t len;
    int rc = next_run(b, key, sizeof key, &len, why);
    if (rc != 0 || len == 0)
        return rc;
    if (len != sizeof key)
        return refuse(why, ERR_SYNTAX, "the policy key is neither absent nor of four bytes");
    uint32_t number = key[0] | key[1] << 8 | key[2] << 16 | (uint32_t)key[3] << 24;
    snprintf(dst, EAS_POLICY_MAX, "%u", (unsigned)number);
    return 0;
}

static int next_options(struct bytes *b, struct eas_query *q, const char **why)
{
    uint8_t options;
    size_t len;
    int rc = next_run(b, &options, 1, &len, why);
    if (rc != 0)
        return rc;
    if (len != 1)
        return refuse(why, ERR_SYNTAX, "the Options are not one byte");
    q->save_in_sent = options & 1;
    q->accept_multipart = options & 2;
    return 0;
}

static int next_parameters(struct bytes *b, struct eas_query *q, const char **why)
{
    enum { OPTIONS = 7, USER_NAME = 8 };
    bool options = false, user = false;
    int rc = 0;
    while (rc == 0 && b->left > 0) {
        uint8_t tag = next_byte(b);
        size_t len;
        if ((tag == OPTIONS && options) || (tag == USER_NAME && user))
            return refuse(why, ERR_SYNTAX,
                          tag == OPTIONS ? "Options stand there twice" : decisive[USER].twice);
        options |= tag == OPTIONS;
        user |= tag == USER_NAME;
        if (tag == OPTIONS)
            rc = next_options(b, q, why);
        else if (tag == USER_NAME)
            rc = next_text(b, USER, q->user, why);
        else
            rc = next_run(b, NULL, 0, &len, why);
    }
    return rc;
}

static int parse_base64(struct eas_query *q, struct span t, const char **why)
{
    struct bytes b;
    int rc = bytes_begin(&b, t, why);
    if (rc != 0)
        return rc;
    if (b.left < 4)
        return refuse(why, ERR_SYNTAX, "the query's base64 ends inside a field");
    q->base64 = true;
    q->version = next_byte(&b);
    unsigned code = next_byte(&b);
    const char *name = eas_command_name(code);
    q->command = name != NULL ? code : EAS_COMMANDS;
    if (name != NULL)
        snprintf(q->command_text, sizeof q->command_text, "%s", name);
    else
        snprintf(q->command_text, sizeof q->command_text, "%u", code);
    next_byte(&b); /* the locale */
    next_byte(&b);
    rc = next_device_id(&b, q->device_id, why);
    rc = rc == 0 ? next_policy_key(&b, q->policy_key, why) : rc;
    rc = rc == 0 ? next_text(&b, DEVICE_TYPE, q->device_type, why) : rc;
    return rc == 0 ? next_parameters(&b, q, why) : rc;
}

int eas_query_parse(struct eas_query *q, const char *query, size_t len, const char **why)
{
    memset(q, 0, sizeof *q);
    q->command = EAS_COMMANDS;
    if (why != NULL)
        *why = NULL;
    if (len == 0)
        return 0;
    struct span t = {query, len};
    return is_plain(t) ? parse_plain(q, t, why) : parse_base64(q, t, why);
}
