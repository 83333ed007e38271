/* What testers do to a running mailsim: mail that arrives, faults, devices to be wiped or blocked. Plain HTTP
 * on loopback; `mailsim deliver` and its kin speak it (ctl.c). */
#ifndef STAGATE_MAILSIM_CONTROL_H
#define STAGATE_MAILSIM_CONTROL_H

#include "server.h"

struct control_options { /* borrowed */
    struct netloop *loop;
    struct boxes *boxes;
    struct faults *faults;
    const struct server *server;
    unsigned deadline_list;
};

/* Serves a bound socket (given). NULL cannot happen. */
struct control *control_new(int fd, const struct control_options *options);
void control_close(struct control *c); /* gone when its connections are */

/* The commands that speak to it: argv[0] is the command's name. An exit code. */
int ctl_main(int argc, char **argv);
bool ctl_is_command(const char *name);
extern const char ctl_help[];

#endif
