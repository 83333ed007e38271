/* The gateway as a whole: workers, signals, reload, drain. One for each process; the main thread lives in
 * gateway_run. */
#ifndef STAGATE_GATE_GATEWAY_H
#define STAGATE_GATE_GATEWAY_H

#include "gate/settings.h"

/* Runs until SIGTERM or SIGINT has drained it (a second one stops at once); SIGHUP reads path again, all or
 * nothing. settings is given. Returns the process's exit status: 0, or 1 when it could not start. */
int gateway_run(const char *path, struct settings *settings);

#endif
