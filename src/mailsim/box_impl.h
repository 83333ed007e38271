/* Between box.c (users, folders, devices, waiting) and box_items.c. */
#ifndef STAGATE_MAILSIM_BOX_IMPL_H
#define STAGATE_MAILSIM_BOX_IMPL_H

#include "box.h"

struct entry { /* freed by its box, which comes first */
    struct box box;
    struct entry *next;
};

struct boxes {
    struct boxes_options o;
    struct gen gen;
    uint64_t random;
    size_t count;
    struct entry **buckets;
    size_t bucket_count; /* a power of two */
    struct list woken;
};

void folder_free(struct folder *f);
void folder_forget_items(struct folder *f);
void box_changed(struct boxes *b, struct box *box); /* wakes all who wait */
void waiter_wake(struct boxes *b, struct waiter *w, enum wake why);

#endif
