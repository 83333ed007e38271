/* stagate run and stagate check: both read the configuration, one then serves it. */
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "commands.h"
#include "gate/gateway.h"

static const char run_help[] =
    "Usage: stagate run -c FILE\n\n"
    "Runs the gateway in the foreground. The log goes to standard error; its \"ready\" event names every\n"
    "bound address. SIGHUP reads FILE again (whole, or not at all), SIGTERM and SIGINT drain and stop,\n"
    "a second one stops at once.\n\n"
    "  -c, --config FILE  the configuration\n"
    "      --core-dumps   allow core dumps, which hold tickets and keys\n"
    "  -h, --help         this text\n";

static const char check_help[] =
    "Usage: stagate check -c FILE\n"
    "       stagate check --keys\n\n"
    "Prints file:line:column: message for every mistake and warning in FILE. Exit status 0 when it can be\n"
    "run, 1 when not.\n\n"
    "  -c, --config FILE  the configuration\n"
    "      --keys         print the reference of all keys, as Markdown\n"
    "  -h, --help         this text\n";

enum { OPT_CORE_DUMPS = 1000, OPT_KEYS };

static const struct option options[] = {
    {"config", required_argument, NULL, 'c'},
    {"core-dumps", no_argument, NULL, OPT_CORE_DUMPS},
    {"keys", no_argument, NULL, OPT_KEYS},
    {"help", no_argument, NULL, 'h'},
    {0},
};

/* The options both have. Returns -1 to go on, else the exit status. */
static int parse(int argc, char **argv, const char *help, const char **path, bool *core_dumps)
{
    int opt;
    opterr = 0;
    optind = 1;
    while ((opt = getopt_long(argc, argv, ":c:h", options, NULL)) != -1) {
        switch (opt) {
        case 'c':
            *path = optarg;
            break;
        case OPT_CORE_DUMPS:
            *core_dumps = true;
            break;
        case OPT_KEYS:
            conf_describe(&settings_schema, stdout);
            return 0;
        case 'h':
            fputs(help, stdout);
            return 0;
        default:
            return option_error(argv[0], opt, argv);
        }
    }
    if (optind < argc)
        return usage_error(argv[0], "unexpected argument \"%s\"", argv[optind]);
    if (*path == NULL)
        return usage_error(argv[0], "-c FILE is missing");
    return -1;
}

int cmd_run(int argc, char **argv)
{
    const char *path = NULL;
    bool core_dumps = false;
    int status = parse(argc, argv, run_help, &path, &core_dumps);
    if (status >= 0)
        return status;
    if (!core_dumps) {
        const struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
    }
    struct settings *s = load_settings(path, true, true);
    return s != NULL ? gateway_run(path, s) : 1;
}

int cmd_check(int argc, char **argv)
{
    const char *path = NULL;
    bool core_dumps = false;
    int status = parse(argc, argv, check_help, &path, &core_dumps);
    if (status >= 0)
        return status;
    struct settings *s = load_settings(path, false, true);
    if (s == NULL)
        return 1;
    printf("%s: good\n", path);
    settings_free(s);
    return 0;
}
