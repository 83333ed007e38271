/* Between settings_schema.c and settings.c. */
#ifndef STAGATE_SRC_GATE_SETTINGS_IMPL_H
#define STAGATE_SRC_GATE_SETTINGS_IMPL_H

#include "gate/settings.h"

extern const char *const settings_floor_names[];         /* of listeners; NULL-terminated */
extern const char *const settings_service_floor_names[]; /* of services */

#endif
