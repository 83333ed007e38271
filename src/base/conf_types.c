/* The scalar types of a configuration: text in, C value out, with a sentence for a person when it does not
 * fit. Called by conf_schema.c for values and defaults alike. Knows no YAML. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "conf_impl.h"

/* A scalar being parsed, and how messages call it: its quoted text, or not at all when it is a secret. */
struct scalar {
    const struct conf_key *key;
    const char *text;
    size_t len;
    char shown[CONF_QUOTED];
};

size_t conf_type_size(const struct conf_key *key)
{
    switch (key->type) {
    case CONF_STRING:
    case CONF_PATH:
        return sizeof(const char *);
    case CONF_BOOL:
        return sizeof(bool);
    case CONF_INT:
    case CONF_SIZE:
    case CONF_DURATION:
    case CONF_HOURS:
        return sizeof(int64_t);
    case CONF_ENUM:
        return sizeof(int);
    case CONF_CUSTOM:
        return key->custom_size;
    case CONF_SECTION:
        return key->section->size;
    }
    abort();
}

const char *conf_type_noun(const struct conf_key *key)
{
    switch (key->type) {
    case CONF_STRING:
    case CONF_CUSTOM:
    case CONF_ENUM:
        return "text";
    case CONF_PATH:
        return "a path";
    case CONF_BOOL:
        return "true or false";
    case CONF_INT:
        return "a whole number";
    case CONF_SIZE:
        return "a size such as 64k";
    case CONF_DURATION:
    case CONF_HOURS:
        return "a duration such as 30s";
    case CONF_SECTION:
        return "a mapping (key: value)";
    }
    abort();
}

/* ---- numbers -------------------------------------------------------------------------------- */

static void format_plain(char dst[32], int64_t value)
{
    snprintf(dst, 32, "%" PRId64, value);
}

static void format_size(char dst[32], int64_t bytes)
{
    static const char unit[] = "gmk";
    for (int shift = 30, i = 0; shift > 0; shift -= 10, i++) {
        if (bytes != 0 && bytes % (INT64_C(1) << shift) == 0) {
            snprintf(dst, 32, "%" PRId64 "%c", bytes >> shift, unit[i]);
            return;
        }
    }
    format_plain(dst, bytes);
}

/* Applies the key's bounds to value, which is saturated when int64_t could not hold it. Names the bound and
 * the value. */
static int check_bounds(const struct scalar *s, int64_t value, bool saturated,
                        void (*format)(char dst[32], int64_t), char **why)
{
    int64_t min = s->key->min;
    int64_t max = s->key->max < min || (min == 0 && s->key->max == 0) ? INT64_MAX : s->key->max;
    bool time = s->key->type == CONF_DURATION || s->key->type == CONF_HOURS;
    char bound[32];

    if (value < min || (saturated && value < 0)) {
        format(bound, min);
        *why = mem_printf("%s is too %s: at least %s", s->shown, time ? "short" : "small", bound);
        return ERR_SYNTAX;
    }
    if (value > max || saturated) {
        format(bound, max);
        *why = mem_printf("%s is too %s: at most %s", s->shown, time ? "long" : "large", bound);
        return ERR_SYNTAX;
    }
    return 0;
}

/* Digits up to something else, in *end. False without a digit or with a leading zero; too large saturates. */
static bool parse_digits(const char *text, const char **end, int64_t *value, bool *saturated)
{
    const char *p = text;
    *value = 0;
    *saturated = false;
    for (; *p >= '0' && *p <= '9'; p++) {
        if (*saturated || __builtin_mul_overflow(*value, 10, value) ||
            __builtin_add_overflow(*value, *p - '0', value))
            *saturated = true;
    }
    if (*saturated)
        *value = INT64_MAX;
    *end = p;
    return p > text && !(text[0] == '0' && p > text + 1);
}

static int parse_int(const struct scalar *s, int64_t *field, char **why)
{
    bool negative = s->text[0] == '-';
    bool saturated;
    int64_t value;
    const char *end;

    if (!parse_digits(s->text + negative, &end, &value, &saturated) || *end != '\0') {
        *why = mem_printf("%s is not a whole decimal number", s->shown);
        return ERR_SYNTAX;
    }
    if (negative)
        value = -value;
    int rc = check_bounds(s, value, saturated, format_plain, why);
    if (rc == 0)
        *field = value;
    return rc;
}

static int parse_size(const struct scalar *s, int64_t *field, char **why)
{
    bool saturated;
    int64_t value;
    const char *end;
    int shift = 0;

    bool ok = parse_digits(s->text, &end, &value, &saturated);
    if (ok && *end != '\0') {
        const char *unit = strchr("kKmMgG", *end);
        ok = unit != NULL && end[1] == '\0';
        shift = ok ? 10 * (int)((unit - "kKmMgG") / 2 + 1) : 0;
    }
    if (!ok) {
        *why = mem_printf("%s is not a size: write bytes as a number, or with k, m or g (64k)", s->shown);
        return ERR_SYNTAX;
    }
    if (__builtin_mul_overflow(value, INT64_C(1) << shift, &value)) {
        value = INT64_MAX;
        saturated = true;
    }
    int rc = check_bounds(s, value, saturated, format_size, why);
    if (rc == 0)
        *field = value;
    return rc;
}

static int parse_duration(const struct scalar *s, int64_t *field, char **why)
{
    const char *reason;
    int64_t ms;
    char *hours = NULL;

    if (s->key->type == CONF_HOURS && s->len > 0 && strspn(s->text, "0123456789") == s->len)
        hours = mem_printf("%sh", s->text);
    int rc = duration_parse(hours ? hours : s->text, &ms, &reason);
    free(hours);
    if (rc < 0) {
        *why = mem_strdup(reason);
        return rc;
    }
    rc = check_bounds(s, ms, false, duration_format, why);
    if (rc == 0)
        *field = ms;
    return rc;
}

/* ---- words ---------------------------------------------------------------------------------- */

static int parse_bool(const struct scalar *s, bool *field, char **why)
{
    static const char *const yes[] = {"true", "yes", "on"};
    static const char *const no[] = {"false", "no", "off"};
    for (size_t i = 0; i < 3; i++) {
        if (strcmp(s->text, yes[i]) == 0 || strcmp(s->text, no[i]) == 0) {
            *field = strcmp(s->text, yes[i]) == 0;
            return 0;
        }
    }
    *why = mem_printf("%s is not true or false", s->shown);
    return ERR_SYNTAX;
}

static int parse_enum(const struct scalar *s, int *field, char **why)
{
    const char *const *names = s->key->names;
    for (int i = 0; names[i] != NULL; i++) {
        if (strcmp(s->text, names[i]) == 0) {
            *field = i;
            return 0;
        }
    }

    struct buf list;
    buf_init(&list, 4096);
    for (size_t i = 0; names[i] != NULL; i++)
        buf_printf(&list, "%s%s", i > 0 ? ", " : "", names[i]);
    const char *near = s->key->flags & CONF_SECRET ? NULL : suggest(s->text, names);
    *why = mem_printf("%s is not one of %.*s%s%s%s", s->shown, (int)list.len, (const char *)list.data,
                      near ? ": did you mean \"" : "", near ? near : "", near ? "\"?" : "");
    buf_deinit(&list);
    return ERR_SYNTAX;
}

static int parse_string(struct conf *c, const struct scalar *s, const char **field, char **why)
{
    if (s->key->type == CONF_PATH) {
        if (s->len == 0) {
            *why = mem_strdup("expected a path, found an empty text");
            return ERR_SYNTAX;
        }
        *field = conf_path(c, s->text);
        return 0;
    }
    char *copy = conf_alloc(c, s->len + 1);
    memcpy(copy, s->text, s->len);
    *field = copy;
    return 0;
}

static int parse_custom(struct conf *c, const struct scalar *s, void *field, char **why)
{
    const char *reason = NULL;
    int rc = s->key->parse(c, s->text, s->len, field, &reason);
    if (rc < 0)
        *why = mem_printf("%s: %s", s->shown, reason ? reason : err_text(rc));
    return rc < 0 ? ERR_SYNTAX : 0;
}

int conf_type_parse(struct conf *c, const struct conf_key *key, const char *text, size_t len, void *field,
                    char **why)
{
    struct scalar s = {.key = key, .text = text, .len = len, .shown = "the value"};
    if (!(key->flags & CONF_SECRET))
        conf_quote(s.shown, text, len);
    if (memchr(text, '\0', len) != NULL) {
        *why = mem_strdup("a text must not contain a NUL character");
        return ERR_SYNTAX;
    }
    switch (key->type) {
    case CONF_STRING:
    case CONF_PATH:
        return parse_string(c, &s, field, why);
    case CONF_BOOL:
        return parse_bool(&s, field, why);
    case CONF_INT:
        return parse_int(&s, field, why);
    case CONF_SIZE:
        return parse_size(&s, field, why);
    case CONF_DURATION:
    case CONF_HOURS:
        return parse_duration(&s, field, why);
    case CONF_ENUM:
        return parse_enum(&s, field, why);
    case CONF_CUSTOM:
        return parse_custom(c, &s, field, why);
    case CONF_SECTION:
        break; /* not a scalar: the schema reader keeps it away */
    }
    abort();
}
