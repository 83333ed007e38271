/* Agents and heartbeats are typical ones of each system's own mail client: an iPhone comes to 15 minutes and
 * more by trying, Android asks for 295 s on a mobile network and 900 s else. */
#include "system.h"

#include <stddef.h>
#include <strings.h>

const struct client_system client_systems[] = {
    {"current", "easload", "easload/" STAGATE_VERSION, 0x0303, 0x0304, 161, 900},
    {"before iOS 9", "iPhone", "Apple-iPhone6C1/1202.466", 0x0301, 0x0303, 141, 900},
    {"iOS 9", "iPhone", "Apple-iPhone8C1/1307.36", 0x0301, 0x0303, 141, 900},
    {"before Android M", "Android", "Android/5.1.1-EAS-2.0", 0x0301, 0x0303, 141, 295},
    {"Android M", "Android", "Android/6.0.1-EAS-2.0", 0x0301, 0x0303, 141, 295},
    {"Android N", "Android", "Android/7.1.2-EAS-2.0", 0x0301, 0x0303, 141, 470},
    {"Android O", "Android", "Android/8.1.0-EAS-2.0", 0x0301, 0x0303, 161, 470},
    {NULL, NULL, NULL, 0, 0, 0, 0},
};

const struct client_system *client_system_by_name(const char *name)
{
    for (const struct client_system *s = client_systems; s->name != NULL; s++)
        if (strcasecmp(s->name, name) == 0)
            return s;
    return NULL;
}
