/* One table of keys: names of options and of keys in the file alike. */
#include "settings.h"

#include <getopt.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "proto/eas.h"
#include "system.h"

const char *const topology_names[] = {"direct", "relay", "micro-vpn", "sta", NULL};
static const char *const door_names[] = {"socks", "connect", NULL};
static const char *const action_names[] = {"drop", "new-ticket", NULL};

/* ---- keys ---- */

#define KIND_KEYS(at)                                                                                        \
    {"does", CONF_STRING, at(does), .def = "push"}, {"system", CONF_STRING, at(system), .def = "current"},   \
        {"protocol", CONF_STRING, at(protocol), .help = "ActiveSync version"},                               \
        {"folders",     CONF_ENUM, at(folders), .flags = CONF_LIST | CONF_COMMAS, .names = folder_names,     \
         .def = "inbox"},                                                                                    \
        {"heartbeat", CONF_DURATION, at(heartbeat_ms), .min = 1000, .max = 86400000, .def = NULL},           \
        {"window", CONF_INT, at(window), .min = 1, .max = 512, .def = "50"},                                 \
        {"truncation", CONF_SIZE, at(truncation), .max = 1 << 30, .def = "20000"},                           \
        {"mail-size", CONF_SIZE, at(mail_size), .max = 32 << 20, .def = "2k"},                               \
        {"recipient", CONF_STRING, at(recipient), .help = "of mails that are sent"},                         \
        {"start",                                                                                            \
         CONF_ENUM,                                                                                          \
         at(start_steps),                                                                                    \
         .flags = CONF_LIST | CONF_COMMAS,                                                                   \
         .names = step_names,                                                                                \
         .def = "options,provision,folder-sync,sync"},                                                       \
        {"repeat", CONF_ENUM, at(repeat_steps), .flags = CONF_LIST | CONF_COMMAS, .names = step_names},      \
        {"every", CONF_DURATION, at(every_ms), .min = 1, .max = 31536000000},                                \
        {"pause", CONF_DURATION, at(pause_ms), .max = 31536000000},                                          \
        {"fresh", CONF_BOOL, at(fresh), .help = "as a new phone each time"},                                 \
        {"ticket-lifetime", CONF_STRING, at(ticket_lifetime), .help = "to ask the authority for"},           \
    {                                                                                                        \
        "keep-alive", CONF_BOOL, at(keep_alive), .def = "true"                                               \
    }

#define AT_KIND(field) offsetof(struct kind_settings, field)
static const struct conf_key kind_keys[] = {
    {"name", CONF_STRING, AT_KIND(name), .flags = CONF_REQUIRED},
    {"share", CONF_INT, AT_KIND(share), .min = 1, .max = 1000000, .def = "1"},
    KIND_KEYS(AT_KIND),
    {0},
};
static const struct conf_section kind_section = {"kinds", sizeof(struct kind_settings), kind_keys};

static const struct conf_key stage_keys[] = {
    {"for", CONF_DURATION, offsetof(struct stage_settings, for_ms), .flags = CONF_REQUIRED, .min = 1,
     .max = 31536000000},
    {"devices", CONF_INT, offsetof(struct stage_settings, devices), .flags = CONF_REQUIRED, .max = 10000000},
    {0},
};
static const struct conf_section stage_section = {"stages", sizeof(struct stage_settings), stage_keys};

static const struct conf_key event_keys[] = {
    {"at", CONF_DURATION, offsetof(struct event_settings, at_ms), .flags = CONF_REQUIRED, .max = 31536000000},
    {"do", CONF_ENUM, offsetof(struct event_settings, action), .flags = CONF_REQUIRED, .names = action_names},
    {"share", CONF_INT, offsetof(struct event_settings, share), .min = 1, .max = 100, .def = "100"},
    {0},
};
static const struct conf_section event_section = {"events", sizeof(struct event_settings), event_keys};

#define AT(field)     offsetof(struct settings, field)
#define AT_ONE(field) (offsetof(struct settings, kind) + offsetof(struct kind_settings, field))

static const struct conf_key keys[] = {
    {"target", CONF_STRING, AT(target), .help = "URL of the mail server as phones call it"},
    {"connect", CONF_STRING, AT(connect), .help = "host:port where it is in the lab"},
    {"topology", CONF_ENUM, AT(topology), .names = topology_names, .def = "direct"},
    {"gateway", CONF_STRING, AT(gateways), .flags = CONF_LIST},
    {"gateway-connect", CONF_STRING, AT(gateway_connect), .flags = CONF_LIST},
    {"door", CONF_ENUM, AT(door), .names = door_names, .def = "socks"},
    {"ca", CONF_PATH, AT(ca), .help = "PEM: who may vouch for servers"},
    {"insecure", CONF_BOOL, AT(insecure), .help = "certificates are not verified"},
    {"sign-in", CONF_STRING, AT(sign_in), .help = "URL of the authority that gives tickets"},
    {"ticket", CONF_STRING, AT(ticket), .flags = CONF_SECRET},
    {"tickets", CONF_PATH, AT(tickets), .help = "file with a ticket for each phone, one a line"},
    {"user", CONF_STRING, AT(user), .def = "user%d"},
    {"password", CONF_STRING, AT(password), .flags = CONF_SECRET, .def = "easload"},
    {"domain", CONF_STRING, AT(domain), .def = "example.com"},
    {"device", CONF_STRING, AT(device), .def = "easload%d"},
    {"source", CONF_STRING, AT(sources), .flags = CONF_LIST},
    {"resumption", CONF_BOOL, AT(resumption), .def = "true"},
    {"timeout", CONF_DURATION, AT(timeout_ms), .min = 100, .max = 3600000, .def = "30s"},
    {"i-own-this-target", CONF_BOOL, AT(own_target), .help = "addresses off loopback are allowed"},
    KIND_KEYS(AT_ONE),
    {"kinds", CONF_SECTION, AT(kinds), .flags = CONF_LIST, .section = &kind_section},
    {"stages", CONF_SECTION, AT(stages), .flags = CONF_LIST, .section = &stage_section},
    {"events", CONF_SECTION, AT(events), .flags = CONF_LIST, .section = &event_section},
    {"devices", CONF_INT, AT(devices), .max = 10000000},
    {"duration", CONF_DURATION, AT(duration_ms), .max = 31536000000},
    {"requests", CONF_INT, AT(requests), .max = 1000000000000},
    {"ramp", CONF_DURATION, AT(ramp_ms), .max = 31536000000},
    {"seed", CONF_INT, AT(seed), .max = 999999999, .def = "1"},
    {"first", CONF_INT, AT(first), .max = 999999999, .def = "1"},
    {"part", CONF_STRING, AT(part), .help = "one of several processes: 2/3"},
    {"json", CONF_STRING, AT(json), .help = "file for the result"},
    {"report", CONF_STRING, AT(report), .help = "file for the HTML report"},
    {"gateway-metrics", CONF_STRING, AT(gateway_metrics), .help = "URL of the gateway's own figures"},
    {"quiet", CONF_BOOL, AT(quiet), .help = "no line while it runs"},
    {"steps", CONF_ENUM, AT(steps), .flags = CONF_LIST | CONF_COMMAS, .names = step_names,
     .def = "options,provision,folder-sync,sync"},
    {"until", CONF_STRING, AT(until), .help = "last step"},
    {"headers", CONF_BOOL, AT(headers), .help = "show header fields"},
    {"xml", CONF_BOOL, AT(xml), .help = "show documents"},
    {0},
};
static const struct conf_section section = {"easload", sizeof(struct settings), keys};
#define KEYS (sizeof keys / sizeof keys[0] - 1)

/* ---- help ---- */

static const char way_help[] =
    "Where to, and which way:\n"
    "  -t, --target URL           the mail server as phones call it: https://mail.example.com, with the "
    "path\n"
    "                             where it is not /Microsoft-Server-ActiveSync\n"
    "      --connect HOST:PORT    where it is in the lab, if its name does not lead there (direct, relay)\n"
    "      --topology WAY         direct (default), relay (a reverse proxy or the gateway's ActiveSync "
    "door),\n"
    "                             micro-vpn (CONNECT with the user's name and password), sta (with a "
    "ticket)\n"
    "      --gateway URL          https://gateway.example.com:8443; may be repeated (run)\n"
    "      --gateway-connect HOST:PORT  where it is in the lab; may be repeated (run)\n"
    "      --door DOOR            socks (default) or connect: how the tunnel is asked for with a ticket\n"
    "      --sign-in URL          authority that gives tickets: http://127.0.0.1:8080\n"
    "      --ticket STRING        a ticket to use, instead\n"
    "      --tickets FILE         one for each line, in the order of the phones\n"
    "      --ca FILE              PEM: who may vouch for servers (the system's)\n"
    "      --insecure             certificates are not verified\n"
    "      --source ADDRESSES     to connect from: 127.0.1.1 or 127.0.1.1-127.0.1.20; may be repeated\n"
    "      --no-resumption        each connection with a full TLS handshake\n"
    "      --timeout DURATION     for each answer, beyond a Ping's heartbeat, and each connection (30s)\n\n"
    "Who, and what it is like:\n"
    "  -u, --user NAME            \"%d\" in it is the phone's number (user%d)\n"
    "      --password WORD        the same for all (easload)\n"
    "      --device ID            likewise (easload%d)\n"
    "      --domain NAME          of mail addresses (example.com)\n"
    "      --system NAME          current (default), \"before iOS 9\", \"iOS 9\", \"before Android M\",\n"
    "                             \"Android M\", \"Android N\", \"Android O\": TLS offer, agent, heartbeat\n"
    "      --protocol VERSION     of ActiveSync: 2.5 to 16.1 (the highest that both know)\n"
    "      --folders LIST         inbox (default), calendar, contacts, tasks\n"
    "      --heartbeat DURATION   of Ping (the system's)\n"
    "      --window N             items in an answer (50)\n"
    "      --truncation SIZE      of a mail's body (20000)\n"
    "      --mail-size SIZE       of a mail that is sent (2k)\n"
    "      --recipient ADDRESS    of a mail that is sent (the phone's own user)\n"
    "      --ticket-lifetime DURATION  to ask the authority for (its own)\n"
    "      --no-keep-alive        a connection for each request\n";

static const char phone_help[] =
    "Usage: easload phone --target URL [OPTION]...\n\n"
    "One phone, step by step: what it says, what it is told, and how long that took.\n\n"
    "  -c, --config FILE          YAML with the names below as keys; options stand above it\n"
    "      --steps LIST           options,provision,folder-sync,sync (default); also ping, send-mail, "
    "attachment\n"
    "      --until STEP           all steps up to this one, in that order\n"
    "  -H, --headers              show the fields of requests and answers\n"
    "  -x, --xml                  show the documents, as XML\n"
    "  -q, --quiet                only what fails\n"
    "      --i-own-this-target    allow addresses off loopback\n"
    "  -h, --help                 this text\n\n";

static const char phone_exit[] =
    "\nExit status: 0 all steps went well, 2 the command line is wrong, 10 no ticket, 11 no "
    "connection,\n12 no tunnel, 13 no TLS inside it, 20 options, 21 provision, 22 folder-sync, 23 sync, 24 "
    "ping, "
    "25 send-mail,\n26 attachment failed.\n";

static const char run_help[] =
    "Usage: easload run --target URL --devices N --duration 30s --requests N [OPTION]...\n"
    "       easload run -c SCENARIO.yaml [OPTION]...\n\n"
    "Many phones. Ends after the duration or the requests, whichever comes first: both have to be said.\n\n"
    "  -c, --scenario FILE        YAML with the names below as keys, and kinds, stages and events (see "
    "easload(1))\n"
    "  -n, --devices N            phones at once\n"
    "  -d, --duration DURATION    how long it lasts\n"
    "      --requests N           how many requests it may make\n"
    "      --ramp DURATION        in which phones arrive (a quarter of the duration)\n"
    "      --does WHAT            push (default): Ping, and Sync when there is something; poll: Sync every "
    "minute;\n"
    "                             send: a mail every minute; attachments: Sync and fetch one every minute;\n"
    "                             cold: a new phone every minute; flood: Sync without a pause\n"
    "      --start LIST           steps of a phone that arrives (options,provision,folder-sync,sync)\n"
    "      --repeat LIST          steps after that, again and again\n"
    "      --every DURATION       they are due so often, whether the last are done or not (open model)\n"
    "      --pause DURATION       or: so long after the last are done (closed model)\n"
    "      --fresh                as a new phone each time\n"
    "      --seed N               of chance (1)\n"
    "      --first N              number of the first phone (1)\n"
    "      --part I/N             every Nth phone, from the Ith on: one of N processes\n"
    "      --json FILE            write the result; - is standard output\n"
    "      --report FILE.html     write a report with plots\n"
    "      --gateway-metrics URL  the gateway's own figures beside the phones': "
    "http://127.0.0.1:9090/metrics\n"
    "  -q, --quiet                no line while it runs\n"
    "      --i-own-this-target    allow addresses off loopback: load is for what is yours\n"
    "  -h, --help                 this text\n\n";

static int usage_error(const char *what, const char *value)
{
    fprintf(stderr, "easload: %s%s%s\nTry `easload --help`.\n", what, value ? ": " : "", value ? value : "");
    return 2;
}

/* ---- options ---- */

enum { OPT_KEY = 1000, OPT_NO_RESUMPTION = 3000, OPT_NO_KEEP_ALIVE, OPTIONS_MAX = KEYS + 8 };

static int print_help(enum settings_for what)
{
    fputs(what == SETTINGS_PHONE ? phone_help : run_help, stdout);
    fputs(way_help, stdout);
    if (what == SETTINGS_PHONE)
        fputs(phone_exit, stdout);
    return 0;
}

static bool is_option(enum settings_for what, const struct conf_key *k)
{
    static const char *const of_phone[] = {"steps", "until", "headers", "xml", NULL};
    static const char *const of_run[] = {
        "devices",         "duration", "requests", "ramp",   "seed",  "first", "part",  "json", "report",
        "gateway-metrics", "does",     "start",    "repeat", "every", "pause", "fresh", NULL};
    if (k->type == CONF_SECTION)
        return false;
    for (const char *const *n = of_phone; *n != NULL; n++)
        if (strcmp(*n, k->name) == 0)
            return what == SETTINGS_PHONE;
    for (const char *const *n = of_run; *n != NULL; n++)
        if (strcmp(*n, k->name) == 0)
            return what == SETTINGS_RUN;
    return true;
}

static int key_of(const char *name)
{
    int i = 0;
    while (strcmp(keys[i].name, name) != 0)
        i++;
    return OPT_KEY + i;
}

static int of_letter(int opt)
{
    static const struct {
        int letter;
        const char *key;
    } letters[] = {{'t', "target"},  {'u', "user"}, {'n', "devices"}, {'d', "duration"},
                   {'H', "headers"}, {'x', "xml"},  {'q', "quiet"}};
    for (size_t i = 0; i < sizeof letters / sizeof letters[0]; i++)
        if (letters[i].letter == opt)
            return key_of(letters[i].key);
    return opt;
}

static int take_value(struct conf *c, const struct conf_key *k, const char *value, struct settings *s)
{
    char *why = NULL;
    if (conf_option(c, k, value, s, &why) == 0)
        return -1;
    fprintf(stderr, "easload: --%s: %s\nTry `easload --help`.\n", k->name, why);
    free(why);
    return 2;
}

static int take_option(enum settings_for what, int opt, struct conf *c, struct settings *s, char **argv,
                       const char **file)
{
    switch (opt) {
    case ':':
        return usage_error("needs a value", argv[optind - 1]);
    case '?':
        return usage_error("unknown option", argv[optind - 1]);
    case 'h':
        return print_help(what);
    case 'c':
        *file = optarg;
        return -1;
    case OPT_NO_RESUMPTION:
        return take_value(c, &keys[key_of("resumption") - OPT_KEY], "false", s);
    case OPT_NO_KEEP_ALIVE:
        return take_value(c, &keys[key_of("keep-alive") - OPT_KEY], "false", s);
    default:
        return take_value(c, &keys[of_letter(opt) - OPT_KEY], optarg, s);
    }
}

static int read_options(enum settings_for what, int argc, char **argv, struct conf *c, struct settings *s,
                        const char **file)
{
    struct option options[OPTIONS_MAX] = {{0}};
    int opt, status = -1, n = 0;
    for (size_t i = 0; i < KEYS; i++)
        if (is_option(what, &keys[i]) && strcmp(keys[i].name, "resumption") != 0 &&
            strcmp(keys[i].name, "keep-alive") != 0)
            options[n++] =
                (struct option){keys[i].name, keys[i].type == CONF_BOOL ? no_argument : required_argument,
                                NULL, OPT_KEY + (int)i};
    options[n++] = (struct option){"no-resumption", no_argument, NULL, OPT_NO_RESUMPTION};
    options[n++] = (struct option){"no-keep-alive", no_argument, NULL, OPT_NO_KEEP_ALIVE};
    options[n++] = (struct option){"scenario", required_argument, NULL, 'c'};
    options[n++] = (struct option){"config", required_argument, NULL, 'c'};
    options[n++] = (struct option){"help", no_argument, NULL, 'h'};
    optind = 1;
    opterr = 0;
    while (status < 0 &&
           (opt = getopt_long(argc, argv, what == SETTINGS_PHONE ? ":c:t:u:Hxqh" : ":c:t:u:n:d:qh", options,
                              NULL)) != -1)
        status = take_option(what, opt, c, s, argv, file);
    if (status < 0 && optind < argc)
        status = usage_error("unexpected argument", argv[optind]);
    return status;
}

/* ---- behaviours ---- */

static const struct behaviour {
    const char *name;
    uint8_t repeat[4];
    uint8_t count;
    int64_t every_ms;
    bool fresh;
} behaviours[] = {
    {"push", {STEP_PING}, 1, 0, false},
    {"poll", {STEP_SYNC}, 1, 60000, false},
    {"send", {STEP_SEND_MAIL}, 1, 60000, false},
    {"attachments", {STEP_SYNC, STEP_ATTACHMENT}, 2, 60000, false},
    {"cold", {STEP_OPTIONS, STEP_PROVISION, STEP_FOLDER_SYNC, STEP_SYNC}, 4, 60000, true},
    {"flood", {STEP_SYNC}, 1, 0, false},
};

/* What a name stands for, where the file says nothing else. */
static void apply_behaviour(struct conf *c, struct kind_settings *k)
{
    const char *names[sizeof behaviours / sizeof behaviours[0] + 1] = {NULL};
    const struct behaviour *b = NULL;
    for (size_t i = 0; i < sizeof behaviours / sizeof behaviours[0]; i++) {
        names[i] = behaviours[i].name;
        if (k->does != NULL && strcmp(behaviours[i].name, k->does) == 0)
            b = &behaviours[i];
    }
    if (b == NULL) {
        const char *near = k->does != NULL ? suggest(k->does, names) : NULL;
        conf_error(c, &k->does, "there is no behaviour %s%s%s%s", k->does != NULL ? k->does : "",
                   near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
        return;
    }
    if (k->repeat_steps.count == 0) {
        int *items = conf_alloc(c, b->count * sizeof *items);
        for (size_t i = 0; i < b->count; i++)
            items[i] = b->repeat[i];
        k->repeat_steps = (struct conf_list){.items = items, .count = b->count};
        k->fresh |= b->fresh;
        if (!conf_written(c, &k->every_ms) && !conf_written(c, &k->pause_ms))
            k->every_ms = b->every_ms;
    }
}

static void check_kind(struct conf *c, struct kind_settings *k)
{
    if (k->system != NULL && client_system_by_name(k->system) == NULL) {
        const char *names[16] = {NULL};
        for (size_t i = 0; i < 15 && client_systems[i].name != NULL; i++)
            names[i] = client_systems[i].name;
        const char *near = suggest(k->system, names);
        conf_error(c, &k->system, "there is no system %s%s%s%s", k->system, near ? "; did you mean " : "",
                   near ? near : "", near ? "?" : "");
    }
    if (k->protocol != NULL) {
        unsigned v = eas_version_parse(k->protocol, strlen(k->protocol));
        if (v != 25 && v != 120 && v != 121 && v != 140 && v != 141 && v != 160 && v != 161)
            conf_error(c, &k->protocol, "%s is none of 2.5, 12.0, 12.1, 14.0, 14.1, 16.0 and 16.1",
                       k->protocol);
    }
    if (k->every_ms != 0 && k->pause_ms != 0)
        conf_error(c, &k->pause_ms,
                   "every and pause exclude each other: due at fixed times, or after the last was done");
    if (k->start_steps.count > STEPS_MAX || k->repeat_steps.count > STEPS_MAX)
        conf_error(c, &k->start_steps, "more than %d steps", STEPS_MAX);
    apply_behaviour(c, k);
}

static void check_way(struct conf *c, struct settings *s)
{
    bool tunnel = s->topology == TOPOLOGY_STA || s->topology == TOPOLOGY_MICRO_VPN;
    if (s->target == NULL)
        conf_error(c, &s->target, "target is missing: https://mail.example.com");
    if (tunnel && s->gateways.count == 0)
        conf_error(c, &s->gateways, "topology %s needs a gateway: https://gateway.example.com:8443",
                   topology_names[s->topology]);
    if (!tunnel && s->gateways.count > 0)
        conf_error(c, &s->gateways,
                   "topology %s has no gateway: what is asked is the target itself, or what connect says",
                   topology_names[s->topology]);
    if (tunnel && s->connect != NULL)
        conf_error(c, &s->connect, "through a gateway, it is the gateway that knows where the target is");
    if (s->topology == TOPOLOGY_STA && s->sign_in == NULL && s->ticket == NULL && s->tickets == NULL)
        conf_error(c, &s->topology, "topology sta needs tickets: sign-in, ticket or tickets");
    if ((s->topology == TOPOLOGY_DIRECT || s->topology == TOPOLOGY_MICRO_VPN) &&
        (s->sign_in != NULL || s->ticket != NULL || s->tickets != NULL))
        conf_error(c, &s->topology, "topology %s has no use for tickets: sta and relay have",
                   topology_names[s->topology]);
    if (s->gateway_connect.count > 0 && s->gateways.count > 1)
        conf_error(c, &s->gateway_connect,
                   "gateway-connect goes with one gateway, which it may give several addresses");
}

static void check_run(struct conf *c, struct settings *s)
{
    struct stage_settings *stages = s->stages.items;
    struct kind_settings *kinds = s->kinds.items;
    if (s->stages.count > 0) {
        int64_t sum = 0;
        for (size_t i = 0; i < s->stages.count; i++)
            sum += stages[i].for_ms;
        if (s->duration_ms == 0)
            s->duration_ms = sum;
        if (s->devices != 0)
            conf_error(c, &s->devices, "devices and stages exclude each other");
    } else if (s->devices == 0) {
        conf_error(c, &s->devices, "devices is missing: how many phones");
    }
    if (s->duration_ms == 0)
        conf_error(c, &s->duration_ms, "duration is missing: a run has to have an end");
    if (s->requests == 0)
        conf_error(c, &s->requests, "requests is missing: how many a run may make, at most");
    for (size_t i = 0; i < s->kinds.count; i++)
        check_kind(c, &kinds[i]);
    if (!conf_written(c, &s->ramp_ms))
        s->ramp_ms = s->duration_ms / 4;
}

static void check_phone(struct conf *c, struct settings *s)
{
    int *steps = conf_alloc(c, STEPS * sizeof *steps);
    int i = 0;
    if (s->until == NULL)
        return;
    while (i < STEPS && strcmp(step_names[i], s->until) != 0)
        i++;
    if (i == STEPS) {
        const char *near = suggest(s->until, step_names);
        conf_error(c, &s->until, "there is no step %s%s%s%s", s->until, near ? "; did you mean " : "",
                   near ? near : "", near ? "?" : "");
        return;
    }
    for (int n = 0; n <= i; n++)
        steps[n] = n;
    s->steps = (struct conf_list){.items = steps, .count = (size_t)i + 1};
}

int settings_read(enum settings_for what, int argc, char **argv, struct settings *out, struct conf **conf)
{
    const char *file = NULL, *none = NULL;
    *conf = conf_read_text("easload", "{}", 2, &section, out);
    int status = read_options(what, argc, argv, *conf, out, &file);
    if (status < 0 && file != NULL) {
        conf_free(*conf);
        *conf = conf_read(file, &section, out);
        if (!conf_ok(*conf)) {
            conf_print(*conf, stderr);
            return 2;
        }
        status = read_options(what, argc, argv, *conf, out, &none);
    }
    if (status >= 0)
        return status;
    check_way(*conf, out);
    check_kind(*conf, &out->kind);
    if (what == SETTINGS_RUN)
        check_run(*conf, out);
    else
        check_phone(*conf, out);
    return conf_print(*conf, stderr) > 0 ? 2 : -1;
}
