/* From settings to what phones are made of: addresses looked up, certificates read, files with tickets read.
 * All of it before the first phone starts. */
#ifndef STAGATE_EASLOAD_SETUP_H
#define STAGATE_EASLOAD_SETUP_H

#include <stdbool.h>

#include "phone.h"
#include "settings.h"

struct setup {
    struct route route;
    struct phone_kind *kinds; /* owned, as many as settings have, at least one */
    size_t kind_count;
    struct ticket_source *tickets; /* owned; NULL: none needed */
    char **ticket_list;            /* owned; NULL: none */
    size_t ticket_count;
    char *path; /* of the service, owned */
    SSL_CTX *tickets_tls;
};

/* 0, or an exit code with everything said on standard error. */
int setup_make(struct setup *u, const struct settings *s, struct netloop *loop, unsigned deadline_list);
void setup_close(struct setup *u);  /* what is open on the loop */
void setup_deinit(struct setup *u); /* when the loop has ended */

/* "%d" in a pattern is the number. Owned by the caller. */
char *setup_name(const char *pattern, unsigned number);

#endif
