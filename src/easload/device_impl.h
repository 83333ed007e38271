/* What the two halves of device.h share: device.c asks, device_read.c reads. */
#ifndef STAGATE_EASLOAD_DEVICE_IMPL_H
#define STAGATE_EASLOAD_DEVICE_IMPL_H

#include "device.h"

enum { STAGE_FIRST, STAGE_SECOND }; /* of a step: Provision's two halves; Ping, then Sync */

/* What has to be done before the step can go on. */
enum detour { DETOUR_NONE, DETOUR_POLICY, DETOUR_POLICY_KEPT, DETOUR_FOLDERS };

/* Folders that a Sync is to be about: all, or those that a Ping told of. Whether there are any. */
bool device_mark_folders(struct device *d, bool only_changed);

#endif
