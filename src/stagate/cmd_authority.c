/* stagate authority: how the running gateway's authorities are, and were. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin_client.h"
#include "base/conf.h"
#include "commands.h"

static const char help[] = "Usage: stagate authority status -c FILE [--json]\n\n"
                           "Asks the running gateway, over its admin socket, for the state of its "
                           "authorities: up or down, why, since when,\n"
                           "what they were asked and how often they failed.\n\n"
                           "  -c, --config FILE  the configuration\n"
                           "      --json         machine-readable output\n"
                           "  -h, --help         this text\n";

enum { OPT_JSON = 1000 };

static const char *text(const json_t *d, const char *key)
{
    const char *s = json_string_value(json_object_get(d, key));
    return s != NULL ? s : "";
}

static long long number(const json_t *d, const char *key)
{
    return (long long)json_integer_value(json_object_get(d, key));
}

static void print_authority(const json_t *a)
{
    const json_t *n = json_object_get(a, "counters"), *history = json_object_get(a, "history");
    const char *id = text(a, "id"), *where = text(a, "url")[0] ? text(a, "url") : text(a, "store");
    printf("%-16s %-7s %-8s asked %lld, answered %lld, down %lld, issued %lld  %s\n", id[0] ? id : "(no ID)",
           text(a, "state"), text(a, "kind"), number(n, "asked"), number(n, "answered"), number(n, "down"),
           number(n, "issued"), where);
    if (text(a, "cause")[0] != '\0')
        printf("%17s%s: %s\n", "", text(a, "cause"), text(a, "detail"));
    if (text(a, "learnt")[0] != '\0' && strcmp(text(a, "learnt"), id) != 0)
        printf("%17sit calls itself %s\n", "", text(a, "learnt"));
    if (text(a, "bypassedFor")[0] != '\0')
        printf("%17sbypassed for %s more\n", "", text(a, "bypassedFor"));
    size_t i;
    json_t *e;
    json_array_foreach((json_t *)(uintptr_t)history, i, e)
    {
        printf("%17s%.19sZ %s%s%s%s%s%s\n", "", text(e, "at"), text(e, "state"),
               text(e, "cause")[0] ? ": " : "", text(e, "detail"), text(e, "error")[0] ? " (" : "",
               text(e, "error"), text(e, "error")[0] ? ")" : "");
    }
}

static int status(const struct settings *s, bool json)
{
    json_t *answer, *a;
    size_t i;
    if (admin_demand(s, "GET", "/v1/authorities", NULL, &answer) != ADMIN_OK)
        return 1;
    const json_t *list = json_object_get(answer, "authorities");
    if (json) {
        json_dumpf(list, stdout, JSON_INDENT(1) | JSON_PRESERVE_ORDER);
        printf("\n");
    } else {
        json_array_foreach((json_t *)(uintptr_t)list, i, a)
        {
            print_authority(a);
        }
    }
    json_decref(answer);
    return 0;
}

int cmd_authority(int argc, char **argv)
{
    static const struct option options[] = {{"config", required_argument, NULL, 'c'},
                                            {"json", no_argument, NULL, OPT_JSON},
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    const char *path = NULL;
    bool json = false;
    int opt;
    opterr = 0;
    optind = 1;
    while ((opt = getopt_long(argc, argv, ":c:h", options, NULL)) != -1) {
        switch (opt) {
        case 'c':
            path = optarg;
            break;
        case OPT_JSON:
            json = true;
            break;
        case 'h':
            fputs(help, stdout);
            return 0;
        default:
            return option_error("authority", opt, argv);
        }
    }
    if (optind >= argc || strcmp(argv[optind], "status") != 0)
        return usage_error("authority",
                           optind < argc ? "unknown command \"%s\": it knows status"
                                         : "what about them? status",
                           argv[optind]);
    if (optind + 1 < argc)
        return usage_error("authority", "unexpected argument \"%s\"", argv[optind + 1]);
    if (path == NULL)
        return usage_error("authority", "-c FILE is missing");
    struct settings *s = load_settings(path, false, false);
    if (s == NULL)
        return 1;
    int rc = status(s, json);
    settings_free(s);
    return rc;
}
