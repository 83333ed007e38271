/* What a service lets requests do. Knows settings and texts, no connections. */
#include "gate/easrules.h"

#include <string.h>
#include <strings.h>

#include "proto/eas.h"

static const char *const activesync_paths[] = {"/Microsoft-Server-ActiveSync",
                                               "/traveler/Microsoft-Server-ActiveSync"};
static const char autodiscover_path[] = "/autodiscover/autodiscover.xml";
static const char ews_path[] = "/ews/";
static const char *const syncml_paths[] = {"/traveler", "/servlet/traveler"};

static bool equals(const char *path, size_t len, const char *other)
{
    return strlen(other) == len && strncasecmp(path, other, len) == 0;
}

/* Below /EWS/ anything plain: what a server might read as a way out of there is not. */
static bool is_ews(const char *path, size_t len)
{
    size_t n = sizeof ews_path - 1;
    if (len <= n || strncasecmp(path, ews_path, n) != 0)
        return false;
    for (size_t i = n; i < len; i++) {
        if (strchr("%\\;", path[i]) != NULL || (path[i - 1] == '/' && strchr("./", path[i]) != NULL))
            return false;
    }
    return true;
}

static enum eas_path allowed_path(const char *allowed, const char *path, size_t len)
{
    if (allowed[0] == '/')
        return equals(path, len, allowed) ? EAS_PATH_ACTIVESYNC : EAS_PATH_OTHER;
    if (strcmp(allowed, "autodiscover") == 0)
        return equals(path, len, autodiscover_path) ? EAS_PATH_AUTODISCOVER : EAS_PATH_OTHER;
    if (strcmp(allowed, "ews") == 0)
        return is_ews(path, len) ? EAS_PATH_EWS : EAS_PATH_OTHER;
    for (size_t i = 0; i < sizeof activesync_paths / sizeof activesync_paths[0]; i++) {
        if (equals(path, len, activesync_paths[i]))
            return EAS_PATH_ACTIVESYNC;
    }
    return EAS_PATH_OTHER;
}

enum eas_path easrules_path(const struct service_settings *s, const char *target)
{
    size_t len = strcspn(target, "?");
    const char *const *allowed = s->paths.items;
    for (size_t i = 0; i < s->paths.count; i++) {
        enum eas_path p = allowed_path(allowed[i], target, len);
        if (p != EAS_PATH_OTHER)
            return p;
    }
    for (size_t i = 0; i < sizeof syncml_paths / sizeof syncml_paths[0]; i++) {
        size_t n = strlen(syncml_paths[i]);
        if (len >= n && strncasecmp(target, syncml_paths[i], n) == 0 && (len == n || target[n] == '/'))
            return EAS_PATH_SYNCML;
    }
    return EAS_PATH_OTHER;
}

bool easrules_is_syncml(const char *content_type)
{
    static const char syncml[] = "application/vnd.syncml";
    return strncasecmp(content_type, syncml, sizeof syncml - 1) == 0;
}

/* '*' for any run, without regard to case; goes back to the last star only, so that the time is bounded by
 * the product of the lengths. */
static bool fits(const char *pattern, const char *text)
{
    const char *star = NULL, *again = NULL;
    if (pattern == NULL)
        return true;
    while (*text != '\0') {
        if (*pattern == '*') {
            star = pattern++;
            again = text;
        } else if (*pattern != '\0' && strncasecmp(pattern, text, 1) == 0) {
            pattern++;
            text++;
        } else if (star != NULL) {
            pattern = star + 1;
            text = ++again;
        } else {
            return false;
        }
    }
    while (*pattern == '*')
        pattern++;
    return *pattern == '\0';
}

bool easrules_is_blocked(const struct service_settings *s, const struct device_facts *d)
{
    const struct device_rule *r = s->devices.items;
    char user[EAS_VALUE_MAX];
    size_t len;
    const char *name = easrules_user_name(d->user, &len);
    if (len >= sizeof user)
        len = sizeof user - 1;
    memcpy(user, name, len);
    user[len] = '\0';
    for (size_t i = 0; i < s->devices.count; i++) {
        bool id = fits(r[i].id, d->id) || (r[i].id != NULL && eas_same_device(r[i].id, d->id));
        if (id && fits(r[i].type, d->type) && fits(r[i].agent, d->agent) && fits(r[i].user, user))
            return r[i].action == 1;
    }
    return false;
}

struct user_parts {
    const char *name, *netbios, *dns;
    size_t name_len, netbios_len, dns_len;
};

static struct user_parts split(const char *user)
{
    struct user_parts p = {.name = user};
    const char *slash = strchr(user, '\\');
    if (slash != NULL) {
        p.netbios = user;
        p.netbios_len = (size_t)(slash - user);
        p.name = slash + 1;
    }
    const char *at = strrchr(p.name, '@');
    p.name_len = at != NULL ? (size_t)(at - p.name) : strlen(p.name);
    if (at != NULL) {
        p.dns = at + 1;
        p.dns_len = strlen(at + 1);
    }
    return p;
}

const char *easrules_user_name(const char *user, size_t *len)
{
    struct user_parts p = split(user);
    *len = p.name_len;
    return p.name;
}

static bool same(const char *a, size_t a_len, const char *b, size_t b_len)
{
    return a_len == b_len && strncasecmp(a, b, a_len) == 0;
}

bool easrules_same_user(const char *a, const char *b)
{
    struct user_parts x = split(a), y = split(b);
    if (x.name_len == 0 || !same(x.name, x.name_len, y.name, y.name_len))
        return false;
    if (x.netbios != NULL && y.netbios != NULL && !same(x.netbios, x.netbios_len, y.netbios, y.netbios_len))
        return false;
    return x.dns == NULL || y.dns == NULL || same(x.dns, x.dns_len, y.dns, y.dns_len);
}

bool easrules_limits_versions(const struct service_settings *s)
{
    return s->activesync_floor != 0 || s->activesync_ceiling != 0;
}

bool easrules_allows_version(const struct service_settings *s, unsigned version)
{
    return version >= s->activesync_floor && (s->activesync_ceiling == 0 || version <= s->activesync_ceiling);
}
