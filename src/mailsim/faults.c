/* Rules of misbehaviour. */
#include "faults.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"

#define RULES_MAX 100

struct faults {
    struct fault rules[RULES_MAX];
    size_t count;
    uint64_t random;
    struct fault picked;
};

struct faults *faults_new(uint64_t seed)
{
    struct faults *f = mem_zalloc(sizeof *f);
    f->random = seed ^ 0x2545f4914f6cdd1du;
    return f;
}

void faults_free(struct faults *f)
{
    free(f);
}

void faults_clear(struct faults *f)
{
    f->count = 0;
}

size_t faults_count(const struct faults *f)
{
    return f->count;
}

/* ---- reading ---- */

static const struct {
    const char *name;
    enum fault_action action;
} actions[] = {
    {"delay", FAULT_DELAY},         {"throttle", FAULT_THROTTLE}, {"truncate", FAULT_TRUNCATE},
    {"malformed", FAULT_MALFORMED}, {"chunked", FAULT_CHUNKED},   {"close", FAULT_CLOSE},
    {"reset", FAULT_RESET},
};

const char *fault_name(enum fault_action action)
{
    for (size_t k = 0; k < sizeof actions / sizeof actions[0]; k++) {
        if (actions[k].action == action)
            return actions[k].name;
    }
    return "status";
}

static bool number(const char *text, unsigned max, unsigned *out)
{
    if (*text == '\0' || strlen(text) > 6 || strspn(text, "0123456789") != strlen(text))
        return false;
    *out = (unsigned)strtoul(text, NULL, 10);
    return *out <= max;
}

static int read_action(struct fault *r, const char *name, const char *value, const char **why)
{
    int64_t ms;
    for (size_t i = 0; i < sizeof actions / sizeof actions[0]; i++) {
        if (strcmp(actions[i].name, name) == 0) {
            r->action = actions[i].action;
            if (r->action == FAULT_DELAY) {
                if (value == NULL || duration_parse(value, &ms, why) < 0) {
                    *why = "delay wants a duration: delay=2s";
                    return ERR_SYNTAX;
                }
                r->delay_ms = (uint64_t)ms;
            } else if (value != NULL) {
                mem_copy_text(r->text, sizeof r->text, value);
            }
            return 0;
        }
    }
    if (number(name, 599, &r->status) && r->status >= 400) {
        r->action = FAULT_STATUS;
        mem_copy_text(r->text, sizeof r->text, value);
        if (r->status == 451 && value == NULL) {
            *why =
                "451 wants the address to go to: 451=https://other.example.com/Microsoft-Server-ActiveSync";
            return ERR_SYNTAX;
        }
        return 0;
    }
    *why = "what to do is an HTTP status of 400 to 599, delay=TIME, throttle, truncate, malformed, chunked, "
           "close or reset";
    return ERR_SYNTAX;
}

static int read_option(struct fault *r, const char *name, const char *value, const char **why)
{
    unsigned n;
    if (strcmp(name, "percent") == 0 && value != NULL && number(value, 100, &n)) {
        r->percent = n;
        return 0;
    }
    if (strcmp(name, "count") == 0 && value != NULL && number(value, 999999, &n)) {
        r->left = n;
        return 0;
    }
    if (strcmp(name, "retry-after") == 0 && value != NULL && number(value, 86400, &r->retry_after_s))
        return 0;
    if (strcmp(name, "user") == 0 && value != NULL && strlen(value) < sizeof r->user) {
        mem_copy_text(r->user, sizeof r->user, value);
        return 0;
    }
    *why = "an option is percent=0..100, count=N, retry-after=SECONDS or user=NAME";
    return ERR_SYNTAX;
}

int faults_add(struct faults *f, const char *text, const char **why)
{
    struct fault r = {.percent = 100, .left = -1};
    char copy[512];
    size_t colon = strcspn(text, ":");
    *why = "a fault is COMMAND:WHAT[,OPTION]..., such as Ping:503,count=2 or *:delay=2s";
    if (strlen(text) >= sizeof copy || text[colon] != ':' || colon == 0 || colon >= sizeof r.command)
        return ERR_SYNTAX;
    if (f->count == RULES_MAX) {
        *why = "there are 100 rules already";
        return ERR_TOO_BIG;
    }
    memcpy(r.command, text, colon);
    mem_copy_text(copy, sizeof copy, text + colon + 1);
    int rc = 0;
    char *rest = copy;
    for (size_t i = 0; rc == 0 && rest != NULL; i++) {
        char *item = strsep(&rest, ",");
        char *value = strchr(item, '=');
        if (value != NULL)
            *value++ = '\0';
        rc = i == 0 ? read_action(&r, item, value, why) : read_option(&r, item, value, why);
    }
    if (rc == 0)
        f->rules[f->count++] = r;
    return rc;
}

/* ---- looking ---- */

static unsigned roll(struct faults *f)
{
    f->random ^= f->random << 13;
    f->random ^= f->random >> 7;
    f->random ^= f->random << 17;
    return (unsigned)(f->random % 100);
}

static bool is_of(enum fault_action action, enum fault_moment moment)
{
    if (moment == FAULT_REFUSES)
        return action == FAULT_STATUS || action == FAULT_THROTTLE || action == FAULT_RESET;
    return (action == FAULT_DELAY) == (moment == FAULT_HOLDS);
}

const struct fault *faults_pick(struct faults *f, enum fault_moment moment, const char *command,
                                const char *user)
{
    for (size_t i = 0; i < f->count; i++) {
        struct fault *r = &f->rules[i];
        if (!is_of(r->action, moment) ||
            (strcmp(r->command, "*") != 0 && strcasecmp(r->command, command) != 0))
            continue;
        if ((r->user[0] != '\0' && strcasecmp(r->user, user) != 0) || roll(f) >= r->percent || r->left == 0)
            continue;
        if (r->left > 0)
            r->left--;
        f->picked = *r;
        if (r->left == 0)
            memmove(r, r + 1, (--f->count - i) * sizeof *r);
        return &f->picked;
    }
    return NULL;
}

void faults_describe(const struct faults *f, size_t i, char *dst, size_t cap)
{
    const struct fault *r = &f->rules[i];
    char what[32];
    if (r->action == FAULT_STATUS)
        snprintf(what, sizeof what, "%u", r->status);
    else
        mem_copy_text(what, sizeof what, fault_name(r->action));
    if (r->action == FAULT_DELAY)
        snprintf(what + strlen(what), sizeof what - strlen(what), "=%llums", (unsigned long long)r->delay_ms);
    int n = snprintf(dst, cap, "%s:%s%s%s", r->command, what, r->text[0] != '\0' ? "=" : "", r->text);
    if (r->percent < 100)
        n += snprintf(dst + n, cap - (size_t)n, ",percent=%u", r->percent);
    if (r->left >= 0)
        n += snprintf(dst + n, cap - (size_t)n, ",count=%lld", (long long)r->left);
    if (r->retry_after_s > 0)
        n += snprintf(dst + n, cap - (size_t)n, ",retry-after=%u", r->retry_after_s);
    if (r->user[0] != '\0')
        snprintf(dst + n, cap - (size_t)n, ",user=%s", r->user);
}
