/* The subcommands of stagate. Each gets its own arguments, argv[0] being its name, and returns the exit
 * status: 0, 1 for a failure, 2 for wrong usage. */
#ifndef STAGATE_STAGATE_COMMANDS_H
#define STAGATE_STAGATE_COMMANDS_H

#include "gate/settings.h"

int cmd_run(int argc, char **argv);
int cmd_check(int argc, char **argv);
int cmd_ticket(int argc, char **argv);
int cmd_authority(int argc, char **argv);
int cmd_fault(int argc, char **argv);
int cmd_trace(int argc, char **argv);
int cmd_reasons(int argc, char **argv);

/* "stagate: ..." on standard error with a pointer to --help; returns 2. */
int usage_error(const char *command, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The same for what getopt_long found no option in: opt is what it returned, with ':' first in its string. */
int option_error(const char *command, int opt, char **argv);

/* Reads the configuration or says what is wrong with it; NULL then. Warnings are printed only where asked
 * for. */
struct settings *load_settings(const char *path, bool strict, bool warnings);

#endif
