/* The commands of easload. Each gets its own argv (argv[0] is its name) and returns an exit code. */
#ifndef STAGATE_EASLOAD_COMMANDS_H
#define STAGATE_EASLOAD_COMMANDS_H

int cmd_phone(int argc, char **argv);
int cmd_run(int argc, char **argv);
int cmd_merge(int argc, char **argv);

#endif
