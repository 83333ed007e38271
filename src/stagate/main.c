/* stagate: finds the subcommand and hands over. */
#include <getopt.h>
#include <locale.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <openssl/crypto.h>
#include <uv.h>

#include "base/conf.h"
#include "commands.h"

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *help;
} commands[] = {
    {"run", cmd_run, "run the gateway in the foreground"},
    {"check", cmd_check, "check a configuration file: file:line:column for every mistake"},
    {"ticket", cmd_ticket, "issue, list, show, revoke and purge tickets"},
    {"authority", cmd_authority, "how the authorities of the running gateway are"},
    {"fault", cmd_fault, "break authorities and tickets on purpose: list, clear, and what to break"},
    {"trace", cmd_trace, "watch conversations as they happen, decoded, or show saved ones"},
    {"reasons", cmd_reasons, "the table of reasons why a connection is refused or ends"},
};
#define COMMANDS (sizeof commands / sizeof commands[0])

static void print_help(FILE *to)
{
    fprintf(to, "stagate - a Citrix Gateway's STA path, in a lab\n\nUsage: stagate COMMAND "
                "[OPTION]...\n\nCommands:\n");
    for (size_t i = 0; i < COMMANDS; i++)
        fprintf(to, "  %-9s %s\n", commands[i].name, commands[i].help);
    fprintf(to, "\n`stagate COMMAND --help` tells about one of them, stagate(1) about all.\n"
                "  --version  print versions and exit\n");
}

static void print_version(void)
{
    printf("stagate %s\n%s\nlibuv %s\n", STAGATE_VERSION, OpenSSL_version(OPENSSL_VERSION),
           uv_version_string());
}

int usage_error(const char *command, const char *fmt, ...)
{
    va_list ap;
    fprintf(stderr, "stagate%s%s: ", command[0] ? " " : "", command);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fprintf(stderr, "\nTry `stagate%s%s --help`.\n", command[0] ? " " : "", command);
    return 2;
}

int option_error(const char *command, int opt, char **argv)
{
    const char *word = argv[optind - 1];
    if (opt == ':')
        return usage_error(command, "%s needs a value", word);
    if (optopt != 0 && strncmp(word, "--", 2) == 0)
        return usage_error(command, "%.*s takes no value", (int)strcspn(word, "="), word);
    if (optopt != 0) /* word may be the one behind it: -xh is looked at letter by letter */
        return usage_error(command, "unknown option -%c", optopt >= ' ' && optopt < 0x7f ? optopt : '?');
    return usage_error(command, "unknown option %s", word);
}

struct settings *load_settings(const char *path, bool strict, bool warnings)
{
    struct settings *s = settings_read(path, strict);
    if (warnings || !settings_ok(s))
        conf_print(s->conf, stderr);
    if (settings_ok(s))
        return s;
    settings_free(s);
    return NULL;
}

static int unknown_command(const char *word)
{
    const char *names[COMMANDS + 1] = {0};
    for (size_t i = 0; i < COMMANDS; i++)
        names[i] = commands[i].name;
    const char *near = suggest(word, names);
    if (near != NULL)
        return usage_error("", "unknown command \"%s\": did you mean \"%s\"?", word, near);
    return usage_error("", "unknown command \"%s\"", word);
}

int main(int argc, char **argv)
{
    setlocale(LC_CTYPE, "");
    if (argc < 2) {
        print_help(stderr);
        return 2;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
        print_help(stdout);
        return 0;
    }
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
        print_version();
        return 0;
    }
    for (size_t i = 0; i < COMMANDS; i++) {
        if (strcmp(argv[1], commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    }
    return unknown_command(argv[1]);
}
