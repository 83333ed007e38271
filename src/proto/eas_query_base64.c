/* The base64 form of an ActiveSync query (MS-ASHTTP 2.2.1.1.1.2). */
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "eas_impl.h"

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
        return refuse(why, ERR_TOO_BIG, eas_parameters[which].too_long);
    for (size_t i = 0; i < len; i++) {
        dst[i] = (char)run[i];
        if (is_control(dst[i]))
            return refuse(why, ERR_SYNTAX, eas_parameters[which].control);
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
        return refuse(why, ERR_TOO_BIG, eas_parameters[DEVICE_ID].too_long);
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
                          tag == OPTIONS ? "Options stand there twice" : eas_parameters[USER].twice);
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

int eas_parse_base64(struct eas_query *q, struct span t, const char **why)
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
