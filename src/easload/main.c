/* easload: the lab's phones. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/conf.h"
#include "base/log.h"
#include "commands.h"

static const char help[] =
    "Usage: easload phone --target URL [OPTION]...   one phone, step by step\n"
    "       easload run --target URL [OPTION]...     many phones\n"
    "       easload merge FILE...                    results of several runs as one\n\n"
    "ActiveSync as phones speak it: straight to a mail server, through a reverse proxy, or\n"
    "through a gateway with a ticket.\n\n"
    "  -V, --version   print the version and exit\n"
    "  -h, --help      this text; `easload phone --help` and so on say more\n";

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
} commands[] = {{"phone", cmd_phone}, {"run", cmd_run}, {"merge", cmd_merge}};
#define COMMANDS (sizeof commands / sizeof commands[0])

int main(int argc, char **argv)
{
    const char *names[COMMANDS + 1] = {NULL};
    const char *name = argc > 1 ? argv[1] : NULL;
    if (name != NULL &&
        (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0)) {
        fputs(help, stdout);
        return 0;
    }
    if (name != NULL && (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0)) {
        printf("easload %s\n", STAGATE_VERSION);
        return 0;
    }
    signal(SIGPIPE, SIG_IGN);
    log_setup(LOG_AUTO, LOG_ERROR);
    for (size_t i = 0; i < COMMANDS; i++) {
        names[i] = commands[i].name;
        if (name != NULL && strcmp(name, names[i]) == 0)
            return commands[i].run(argc - 1, argv + 1);
    }
    if (name == NULL) {
        fputs(help, stderr);
        return 2;
    }
    const char *near = suggest(name, names);
    fprintf(stderr, "easload: there is no command %s%s%s%s\nTry `easload --help`.\n", name,
            near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
    return 2;
}
