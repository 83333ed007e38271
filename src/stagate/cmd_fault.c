/* stagate fault: breaks the running gateway's authorities and tickets on purpose, and mends them again. */
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "admin_client.h"
#include "base/conf.h"
#include "commands.h"
#include "proto/ticket.h"

static const char help[] =
    "Usage: stagate fault -c FILE [list | clear [FAULT] | FAULT [VALUE]] [OPTION]...\n\n"
    "Faults that stay until they are cleared:\n"
    "  authority-down         it does not answer; its STA service closes connections without a word\n"
    "  authority-slow TIME    every answer comes later by TIME, such as 500ms\n"
    "  authority-error        it answers that it failed\n"
    "  authority-id ID        it calls itself ID\n"
    "  clock TIME             the clock that tickets go by jumps: 7d, -1h\n"
    "Faults that happen once:\n"
    "  forget                 live tickets become unknown, as after a restart of a classic STA\n"
    "  expire                 live tickets expire now\n\n"
    "What a fault causes is marked \"injected\" in log, metrics and lists. Without a word, what stands is "
    "listed.\n\n"
    "  -c, --config FILE   the configuration\n"
    "      --authority ID  only this one; default: all\n"
    "  -u, --user USER     forget, expire: only this user's tickets\n"
    "      --ticket TICKET forget, expire: only this ticket; - reads it from standard input\n"
    "      --json          machine-readable output\n"
    "  -h, --help          this text\n";

enum { OPT_AUTHORITY = 1000, OPT_TICKET, OPT_JSON };

struct arguments {
    const char *config, *authority, *user, *ticket;
    const char *word, *value;
    bool json;
};

static const struct fault {
    const char *name;
    const char *value; /* how the API calls its value; NULL: it has none */
    bool once;
} faults[] = {
    {"authority-down", NULL, false}, {"authority-slow", "by", false}, {"authority-error", NULL, false},
    {"authority-id", "id", false},   {"clock", "by", false},          {"forget", NULL, true},
    {"expire", NULL, true},
};
#define FAULTS (sizeof faults / sizeof faults[0])

static const struct fault *find_fault(const char *name)
{
    for (size_t i = 0; i < FAULTS; i++) {
        if (strcmp(faults[i].name, name) == 0)
            return &faults[i];
    }
    return NULL;
}

static void print_faults(const json_t *answer, bool json)
{
    const json_t *list = json_object_get(answer, "faults");
    size_t i;
    json_t *f;
    if (json) {
        json_dumpf(list, stdout, JSON_INDENT(1) | JSON_PRESERVE_ORDER);
        printf("\n");
        return;
    }
    if (json_array_size(list) == 0)
        printf("no faults\n");
    json_array_foreach((json_t *)(uintptr_t)list, i, f)
    {
        const char *authority = json_string_value(json_object_get(f, "authority"));
        const char *by = json_string_value(json_object_get(f, "by")),
                   *id = json_string_value(json_object_get(f, "id"));
        printf("%-16s %-16s %s\n", json_string_value(json_object_get(f, "fault")),
               authority ? authority : "-",
               by   ? by
               : id ? id
                    : "");
    }
}

/* What is not UTF-8 must not look as if nobody had been named: the gateway refuses what is no text. */
static void set_text(json_t *body, const char *key, const char *value)
{
    json_t *j = json_string(value);
    json_object_set_new(body, key, j != NULL ? j : json_false());
}

static int inject(const struct settings *s, const struct arguments *a, const struct fault *f)
{
    char line[256] = "";
    json_t *body = json_pack("{s:s}", "fault", f->name), *answer;
    const char *ticket = a->ticket;
    if (ticket != NULL && strcmp(ticket, "-") == 0) {
        ticket = fgets(line, sizeof line, stdin) != NULL ? line : "";
        line[strcspn(line, "\r\n")] = '\0';
    }
    if (f->value != NULL)
        set_text(body, f->value, a->value);
    if (a->authority != NULL)
        set_text(body, "authority", a->authority);
    if (a->user != NULL)
        set_text(body, "user", a->user);
    if (ticket != NULL)
        set_text(body, "ticket", ticket);
    enum admin_result r = admin_demand(s, "POST", "/v1/faults", body, &answer);
    if (r == ADMIN_OK && f->once && a->json) {
        json_dumpf(answer, stdout, JSON_COMPACT);
        printf("\n");
    } else if (r == ADMIN_OK && f->once) {
        printf("%s: %lld tickets\n", f->name,
               (long long)json_integer_value(json_object_get(answer, "tickets")));
    } else if (r == ADMIN_OK) {
        print_faults(answer, a->json);
    }
    json_decref(answer);
    json_decref(body);
    return r == ADMIN_OK ? 0 : 1;
}

static int call_and_print(const struct settings *s, const struct arguments *a, const char *method,
                          const char *path)
{
    json_t *answer;
    if (admin_demand(s, method, path, NULL, &answer) != ADMIN_OK)
        return 1;
    print_faults(answer, a->json);
    json_decref(answer);
    return 0;
}

static int clear(const struct settings *s, const struct arguments *a)
{
    char path[128];
    snprintf(path, sizeof path, "/v1/faults?fault=%.32s&authority=%.16s", a->value != NULL ? a->value : "",
             a->authority != NULL ? a->authority : "");
    return call_and_print(s, a, "DELETE", path);
}

static bool is_id(const char *s)
{
    size_t n = strlen(s);
    return n > 0 && n <= TICKET_AUTHORITY_MAX &&
           strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789") == n;
}

/* The clock is everybody's; a list is short. */
static int check_authority(const struct arguments *a)
{
    bool clock = strcmp(a->word, "clock") == 0 ||
                 (strcmp(a->word, "clear") == 0 && a->value != NULL && strcmp(a->value, "clock") == 0);
    if (a->authority == NULL)
        return -1;
    if (clock || strcmp(a->word, "list") == 0)
        return usage_error("fault", "--authority goes with faults of authorities and of tickets");
    return is_id(a->authority) ? -1 : usage_error("fault", "--authority is 1 to 16 letters and digits");
}

/* Whether the words fit together; -1 to go on. */
static int check(const struct arguments *a)
{
    const char *names[FAULTS + 3] = {"list", "clear"};
    const struct fault *f = find_fault(a->word);
    bool word = strcmp(a->word, "list") == 0 || strcmp(a->word, "clear") == 0;
    for (size_t i = 0; i < FAULTS; i++)
        names[i + 2] = faults[i].name;
    if (!word && f == NULL) {
        const char *near = suggest(a->word, names);
        return usage_error("fault", "unknown fault \"%s\"%s%s%s", a->word, near ? ": did you mean \"" : "",
                           near ? near : "", near ? "\"?" : "");
    }
    if (strcmp(a->word, "clear") == 0 && a->value != NULL &&
        (find_fault(a->value) == NULL || find_fault(a->value)->once))
        return usage_error("fault", "\"%s\" is no fault that stays", a->value);
    if (f != NULL && (f->value != NULL) != (a->value != NULL))
        return usage_error("fault", f->value != NULL ? "%s wants a value" : "%s takes no value", a->word);
    if (strcmp(a->word, "list") == 0 && a->value != NULL)
        return usage_error("fault", "unexpected argument \"%s\"", a->value);
    if ((a->user != NULL || a->ticket != NULL) && (f == NULL || !f->once))
        return usage_error("fault", "--user and --ticket go with forget and expire");
    if (a->user != NULL && a->ticket != NULL)
        return usage_error("fault", "--user or --ticket, not both");
    return a->config == NULL ? usage_error("fault", "-c FILE is missing") : check_authority(a);
}

/* A clock that goes back: its value looks like an option, and is taken out before those are read. */
static void take_negative(int *argc, char **argv, struct arguments *a)
{
    for (int i = 1; i < *argc; i++) {
        if (argv[i][0] != '-' || argv[i][1] < '0' || argv[i][1] > '9')
            continue;
        a->value = argv[i];
        memmove(&argv[i], &argv[i + 1], (size_t)(*argc - i) * sizeof argv[0]);
        (*argc)--;
        return;
    }
}

static int parse(int argc, char **argv, struct arguments *a)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'},
        {"user", required_argument, NULL, 'u'},
        {"authority", required_argument, NULL, OPT_AUTHORITY},
        {"ticket", required_argument, NULL, OPT_TICKET},
        {"json", no_argument, NULL, OPT_JSON},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    int opt;
    opterr = 0;
    optind = 1;
    take_negative(&argc, argv, a);
    while ((opt = getopt_long(argc, argv, ":c:u:h", options, NULL)) != -1) {
        switch (opt) {
        case 'c':
            a->config = optarg;
            break;
        case 'u':
            a->user = optarg;
            break;
        case OPT_AUTHORITY:
            a->authority = optarg;
            break;
        case OPT_TICKET:
            a->ticket = optarg;
            break;
        case OPT_JSON:
            a->json = true;
            break;
        case 'h':
            fputs(help, stdout);
            return 0;
        default:
            return option_error("fault", opt, argv);
        }
    }
    a->word = optind < argc ? argv[optind++] : "list";
    if (optind < argc && a->value == NULL)
        a->value = argv[optind++];
    if (optind < argc)
        return usage_error("fault", "unexpected argument \"%s\"", argv[optind]);
    return check(a);
}

int cmd_fault(int argc, char **argv)
{
    struct arguments a = {0};
    int status = parse(argc, argv, &a);
    if (status >= 0)
        return status;
    struct settings *s = load_settings(a.config, false, false);
    if (s == NULL)
        return 1;
    if (strcmp(a.word, "list") == 0)
        status = call_and_print(s, &a, "GET", "/v1/faults");
    else if (strcmp(a.word, "clear") == 0)
        status = clear(s, &a);
    else
        status = inject(s, &a, find_fault(a.word));
    settings_free(s);
    return status;
}
