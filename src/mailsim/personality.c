/* The personalities, a row each. */
#include "personality.h"

#include <string.h>

#include "proto/eas.h"

#define COMMANDS_25                                                                                          \
    "Sync,SendMail,SmartForward,SmartReply,GetAttachment,FolderSync,FolderCreate,FolderDelete,FolderUpdate," \
    "MoveItems,"                                                                                             \
    "GetItemEstimate,MeetingResponse,ResolveRecipients,ValidateCert,Provision,Search,Ping"
#define COMMANDS_12 COMMANDS_25 ",Settings,ItemOperations"

static const struct personality personalities[] = {
    {.name = "exchange-2007sp1",
     .title = "Microsoft Exchange Server 2007 SP1",
     .versions = "2.5,12.0,12.1",
     .server = "Microsoft-IIS/7.0",
     .as_server = "8.1",
     .realm = "mail.example.com",
     .heartbeat_min_s = 60,
     .heartbeat_max_s = 3540,
     .ping_folders_max = 200,
     .collections_max = 200,
     .window_max = 512},
    {.name = "exchange-2010",
     .title = "Microsoft Exchange Server 2010",
     .versions = "2.5,12.0,12.1,14.0",
     .server = "Microsoft-IIS/7.5",
     .as_server = "14.0",
     .realm = "mail.example.com",
     .retry_after = true,
     .heartbeat_min_s = 60,
     .heartbeat_max_s = 3540,
     .ping_folders_max = 200,
     .collections_max = 200,
     .window_max = 512},
    {.name = "exchange-2010sp1",
     .title = "Microsoft Exchange Server 2010 SP1",
     .versions = "2.5,12.0,12.1,14.0,14.1",
     .server = "Microsoft-IIS/7.5",
     .as_server = "14.1",
     .realm = "mail.example.com",
     .retry_after = true,
     .heartbeat_min_s = 60,
     .heartbeat_max_s = 3540,
     .ping_folders_max = 200,
     .collections_max = 200,
     .window_max = 512},
    {.name = "exchange-2013",
     .title = "Microsoft Exchange Server 2013",
     .versions = "2.5,12.0,12.1,14.0,14.1",
     .server = "Microsoft-IIS/8.0",
     .as_server = "15.0",
     .realm = "mail.example.com",
     .retry_after = true,
     .throttle_field = true,
     .heartbeat_min_s = 60,
     .heartbeat_max_s = 3540,
     .ping_folders_max = 200,
     .collections_max = 200,
     .window_max = 512},
    {.name = "exchange-2016",
     .title = "Microsoft Exchange Server 2016",
     .versions = "2.5,12.0,12.1,14.0,14.1,16.0,16.1",
     .server = "Microsoft-IIS/8.5",
     .as_server = "15.1",
     .realm = "mail.example.com",
     .retry_after = true,
     .throttle_field = true,
     .heartbeat_min_s = 60,
     .heartbeat_max_s = 3540,
     .ping_folders_max = 200,
     .collections_max = 200,
     .window_max = 512},
    {.name = "exchange-2019",
     .title = "Microsoft Exchange Server 2019",
     .versions = "2.5,12.0,12.1,14.0,14.1,16.0,16.1",
     .server = "Microsoft-IIS/10.0",
     .as_server = "15.2",
     .realm = "mail.example.com",
     .retry_after = true,
     .throttle_field = true,
     .heartbeat_min_s = 60,
     .heartbeat_max_s = 3540,
     .ping_folders_max = 200,
     .collections_max = 200,
     .window_max = 512},
    {.name = "traveler-9.0.1",
     .title = "IBM Notes Traveler 9.0.1",
     .versions = "2.5,12.0,12.1,14.0,14.1",
     .server = "Lotus-Domino",
     .as_server = "14.1",
     .realm = "/",
     .traveler = true,
     .heartbeat_min_s = 60,
     .heartbeat_max_s = 3540,
     .ping_folders_max = 200,
     .collections_max = 200,
     .window_max = 512},
    {.name = "traveler-14.5",
     .title = "HCL Traveler 14.5",
     .versions = "2.5,12.0,12.1,14.0,14.1,16.0,16.1",
     .server = "HCL-Domino",
     .as_server = "16.1",
     .realm = "/",
     .traveler = true,
     .heartbeat_min_s = 60,
     .heartbeat_max_s = 3540,
     .ping_folders_max = 200,
     .collections_max = 200,
     .window_max = 512},
};

#define COUNT (sizeof personalities / sizeof personalities[0])

const struct personality *personality_find(const char *name)
{
    for (size_t i = 0; i < COUNT; i++) {
        if (strcmp(personalities[i].name, name) == 0)
            return &personalities[i];
    }
    return NULL;
}

const struct personality *personality_at(size_t i)
{
    return i < COUNT ? &personalities[i] : NULL;
}

/* Calls each version of the list in turn through *at. 0: the end. */
static unsigned next_version(const char **at)
{
    size_t n = strcspn(*at, ",");
    unsigned version = eas_version_parse(*at, n);
    *at += n + ((*at)[n] == ',');
    return version;
}

bool personality_has_version(const struct personality *p, unsigned version)
{
    const char *at = p->versions;
    for (unsigned v; (v = next_version(&at)) != 0;) {
        if (v == version)
            return true;
    }
    return false;
}

unsigned personality_newest(const struct personality *p)
{
    const char *at = p->versions;
    unsigned newest = 0;
    for (unsigned v; (v = next_version(&at)) != 0;)
        newest = v;
    return newest;
}

const char *personality_commands(const struct personality *p)
{
    return personality_newest(p) >= 161 ? COMMANDS_12 ",Find" : COMMANDS_12;
}
