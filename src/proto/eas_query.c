/* The query of an ActiveSync request in both its forms. What servers might read in more than one way is
 * refused rather than guessed at. Nothing is allocated: values go straight into the caller's struct.
 */
#include <string.h>
#include <strings.h>

#include "base/err.h"
#include "eas_impl.h"

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

const struct eas_parameter eas_parameters[DECISIVE] = {
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

static bool is_name_blank(char c)
{
    return is_control(c) || c == ' ' || c == '+';
}

/* Decodes as much of a name as fits: longer ones are none of ours. A broken escape stays as it is; of blanks
 * at the front, one, lest many of them push the name out of sight. */
static size_t decode_name(struct span t, char *dst, size_t cap)
{
    size_t n = 0;
    while (t.len > 0 && n < cap) {
        int byte = escape_value(t);
        char c = byte >= 0 ? (char)byte : t.s[0];
        if (n == 1 && is_name_blank(dst[0]) && is_name_blank(c))
            n = 0;
        dst[n++] = c;
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
    size_t len = strlen(name);
    if (t.len > 0 && is_name_blank(t.s[0]))
        t = behind(t, 1);
    if (t.len < len || strncasecmp(t.s, name, len) != 0)
        return false;
    return t.len == len || is_name_blank(t.s[len]) || t.s[len] == '[';
}

static int decode_value(struct span t, enum decisive which, char *dst, size_t cap, const char **why)
{
    size_t n = 0;
    while (t.len > 0) {
        int byte = escape_value(t);
        if (t.s[0] == '%' && byte < 0)
            return refuse(why, ERR_SYNTAX, eas_parameters[which].broken);
        char c = byte >= 0 ? (char)byte : t.s[0];
        if (which == USER && t.s[0] == '+')
            c = ' ';
        if (is_control(c))
            return refuse(why, ERR_SYNTAX, eas_parameters[which].control);
        if (n == cap - 1)
            return refuse(why, ERR_TOO_BIG, eas_parameters[which].too_long);
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
        if (is_name(name, eas_parameters[i].name)) {
            if (seen[i])
                return refuse(why, ERR_SYNTAX, eas_parameters[i].twice);
            seen[i] = true;
            return take_value(q, (enum decisive)i, value, why);
        }
        if (is_disguised(name, eas_parameters[i].name))
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

int eas_query_parse(struct eas_query *q, const char *query, size_t len, const char **why)
{
    memset(q, 0, sizeof *q);
    q->command = EAS_COMMANDS;
    if (why != NULL)
        *why = NULL;
    if (len == 0)
        return 0;
    struct span t = {query, len};
    return is_plain(t) ? parse_plain(q, t, why) : eas_parse_base64(q, t, why);
}
