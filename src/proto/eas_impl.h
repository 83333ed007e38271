/* What the two forms of an ActiveSync query share. */
#ifndef STAGATE_PROTO_EAS_IMPL_H
#define STAGATE_PROTO_EAS_IMPL_H

#include "proto/eas.h"

/* A run of the caller's text. */
struct span {
    const char *s;
    size_t len;
};

/* The parameters that decide what is done for whom, and what can be wrong with each. */
enum decisive { CMD, DEVICE_ID, DEVICE_TYPE, USER, DECISIVE };

struct eas_parameter {
    const char *name, *twice, *broken, *control, *too_long;
};
extern const struct eas_parameter eas_parameters[DECISIVE];

static inline int refuse(const char **why, int code, const char *sentence)
{
    if (why != NULL)
        *why = sentence;
    return code;
}

static inline bool is_alnum(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

static inline bool is_control(char c)
{
    return (unsigned char)c < 0x20 || c == 0x7f;
}

static inline int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The byte of a percent-escape at the beginning of t; -1: there is none. */
static inline int escape_value(struct span t)
{
    if (t.len < 3 || t.s[0] != '%')
        return -1;
    int high = hex_value(t.s[1]), low = hex_value(t.s[2]);
    return high < 0 || low < 0 ? -1 : high << 4 | low;
}

static inline struct span behind(struct span t, size_t n)
{
    return (struct span){t.s + n, t.len - n};
}

int eas_parse_base64(struct eas_query *q, struct span t, const char **why);

#endif
