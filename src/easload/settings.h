/* What easload is told: options, and a scenario file (YAML) with the same names, which options stand above.
 * One set of names for `phone` and for `run`. */
#ifndef STAGATE_EASLOAD_SETTINGS_H
#define STAGATE_EASLOAD_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/conf.h"
#include "device.h"

enum topology { TOPOLOGY_DIRECT, TOPOLOGY_RELAY, TOPOLOGY_MICRO_VPN, TOPOLOGY_STA };
extern const char *const topology_names[]; /* "direct", "relay", "micro-vpn", "sta", NULL */

enum { STEPS_MAX = 16 };

struct steps { /* in order */
    uint8_t step[STEPS_MAX];
    uint8_t count;
};

/* What a kind of phone is and does. Texts belong to the settings. */
struct kind_settings {
    const char *name;
    int64_t share;            /* of the devices, beside the shares of the other kinds */
    const char *does;         /* behaviour that the steps and the pace come from, see settings.c */
    const char *system;       /* client system, see system.h */
    const char *protocol;     /* "14.1"; NULL: the highest that both know */
    struct conf_list folders; /* of int: enum folder_kind */
    int64_t heartbeat_ms;     /* 0: the system's */
    int64_t window, truncation, mail_size;
    const char *recipient;
    struct conf_list start_steps, repeat_steps; /* of int: enum step */
    int64_t every_ms;                           /* open model: due so often; 0: see pause */
    int64_t pause_ms;                           /* closed model: so long after it was done */
    bool fresh;                                 /* as a new phone each time */
    const char *ticket_lifetime;
    bool keep_alive;
};

struct stage_settings {
    int64_t for_ms, devices;
};

enum event_action { EVENT_DROP, EVENT_NEW_TICKET };

struct event_settings {
    int64_t at_ms;
    int action;    /* enum event_action */
    int64_t share; /* percent of the devices */
};

struct settings {
    const char *target;               /* URL: what phones call the mail server, path included */
    const char *connect;              /* host:port: where it is in the lab; NULL: where its name leads */
    int topology;                     /* enum topology */
    struct conf_list gateways;        /* of const char *: URLs */
    struct conf_list gateway_connect; /* of const char *: host:port, instead of where those names lead */
    int door;                         /* 0: socks, 1: connect */
    const char *ca, *sign_in, *ticket, *tickets;
    bool insecure, own_target;
    const char *user, *password, *domain, *device; /* user and device: "%d" is the phone's number */
    struct conf_list sources;                      /* of const char * */
    bool resumption;
    int64_t timeout_ms;
    struct kind_settings kind; /* the only kind, where there is no list */

    /* run */
    struct conf_list kinds, stages, events;
    int64_t devices, duration_ms, requests, ramp_ms, seed, first;
    const char *part; /* "2/3" */
    const char *json, *report, *gateway_metrics;
    bool quiet;

    /* phone */
    struct conf_list steps; /* of int */
    const char *until;
    bool headers, xml;
};

enum settings_for { SETTINGS_PHONE, SETTINGS_RUN };

/* Reads argv (argv[0] is the command), and the file that -c names. Strings belong to *conf or to argv. -1 to
 * go on, or an exit code where everything is said. */
int settings_read(enum settings_for what, int argc, char **argv, struct settings *out, struct conf **conf);

#endif
