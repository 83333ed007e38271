/* Many phones on one loop: who arrives when, what is due when, and what is counted. */
#ifndef STAGATE_EASLOAD_LOAD_H
#define STAGATE_EASLOAD_LOAD_H

#include "results.h"
#include "settings.h"
#include "setup.h"

struct load;

struct load_view { /* of what goes on, for a line of progress */
    double seconds;
    size_t devices, open, waiting;
    uint64_t requests, failures; /* in all */
    struct result_bin last;      /* of the last second */
};

struct load_options {
    struct netloop *loop;
    const struct settings *settings;
    struct setup *setup;
    struct results *results; /* filled */
    unsigned part, parts;    /* of how many processes this is which: 0 of 1 */
    unsigned deadline_list;  /* three of the loop's */
    void (*on_second)(void *owner, const struct load_view *v);
    void (*on_over)(void *owner); /* all phones are closed */
    void *owner;
};

/* Options are copied, what they point to is borrowed. Starts at once. */
struct load *load_new(const struct load_options *o);
/* Ends it before its time; on_over follows. Idempotent. */
void load_stop(struct load *l);
void load_free(struct load *l); /* after on_over and when the loop has ended */

#endif
