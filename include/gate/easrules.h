/* What a service lets requests do, as pure functions over its settings: paths, devices, users, versions.
 * Called by the relay that looks into HTTP (gate/httprelay.h) before anything goes to the mail server. */
#ifndef STAGATE_GATE_EASRULES_H
#define STAGATE_GATE_EASRULES_H

#include <stdbool.h>

#include "gate/settings.h"

enum eas_path {
    EAS_PATH_OTHER, /* nothing that the service lets anybody ask for */
    EAS_PATH_ACTIVESYNC,
    EAS_PATH_AUTODISCOVER,
    EAS_PATH_EWS,
    EAS_PATH_SYNCML, /* Traveler's own protocol */
};

/* What a request target ("/path?query") asks for. Compared as it stands, without regard to case, nothing
 * decoded: a server that takes another spelling for the same is never asked in it. */
enum eas_path easrules_path(const struct service_settings *s, const char *target);

/* Content types of SyncML (application/vnd.syncml+wbxml and its kin). */
bool easrules_is_syncml(const char *content_type);

struct device_facts { /* "" where not told */
    const char *id, *type, *agent, *user;
};
/* Whether the first rule that fits blocks. */
bool easrules_is_blocked(const struct service_settings *s, const struct device_facts *d);

/* Whether both mean one person: DOMAIN\name, name@domain and name are compared by name, and by domain where
 * both tell one of the same kind. */
bool easrules_same_user(const char *a, const char *b);
/* The name alone, borrowed of user; *len its bytes. */
const char *easrules_user_name(const char *user, size_t *len);

/* Whether a version (times ten) lies within floor and ceiling. */
bool easrules_allows_version(const struct service_settings *s, unsigned version);
/* Whether there is a floor or a ceiling. */
bool easrules_limits_versions(const struct service_settings *s);

#endif
