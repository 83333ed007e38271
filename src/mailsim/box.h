/* Mailboxes in memory, made when first asked for, and their generated mail. Knows no protocol and no sockets.
 */
#ifndef STAGATE_MAILSIM_BOX_H
#define STAGATE_MAILSIM_BOX_H

#include <stddef.h>
#include <stdint.h>

#include "base/list.h"

struct mail {
    uint32_t id;         /* 1, 2, ... in order of arrival; its ServerId */
    int64_t received_ms; /* wall clock */
    char *from;          /* owned, as are the others */
    char *subject;
    char *body; /* plain text */
};

#define BOX_DEVICE_MAX 32 /* bytes of a device ID (MS-ASHTTP) */
#define BOX_DEVICES    64 /* devices of one user */
#define BOX_USERS      100000

/* What a device has: a folder hierarchy or not, and how far its inbox is in sync. */
struct device {
    char id[BOX_DEVICE_MAX + 1];
    uint32_t sync_key;    /* the key it was given last; 0: none */
    uint32_t seen;        /* id of the last mail that key stands for */
    uint32_t seen_before; /* of the key before it, which a client that lost the answer asks with again */
    uint32_t heartbeat_s; /* of its last full Ping; 0: none */
    struct ping *ping;    /* the one that waits, owned by its connection; NULL */
};

/* A Ping that waits for mail. */
struct ping {
    struct list link; /* in box.pings */
    struct device *device;
    void (*wake)(struct ping *p,
                 int status); /* MS-ASCMD 2.2.3.177.11: 2 changes; 1 another Ping took its place */
};

struct box {
    char *user;
    struct mail *mails; /* owned, in order of arrival */
    size_t count, cap;
    struct device *devices[BOX_DEVICES];
    size_t device_count;
    struct list pings;
};

struct boxes;

/* mailbox: how many generated mails a new box begins with; the same for the same user and seed. */
struct boxes *boxes_new(size_t mailbox, uint64_t seed);
void boxes_free(struct boxes *b);
/* The user's box (compared in lower case), made when it is new; NULL above BOX_USERS. */
struct box *boxes_open(struct boxes *b, const char *user);
struct box *boxes_find(struct boxes *b, const char *user);
/* Calls each for every box. */
void boxes_each(struct boxes *b, void (*each)(struct box *box, void *owner), void *owner);

/* A mail arrives: waiting Pings are woken. NULL texts are made up. */
void box_deliver(struct boxes *b, struct box *box, const char *from, const char *subject, const char *body);
/* The box's device of that ID, made when new; NULL when the ID is too long, empty, or there are too many. */
struct device *box_device(struct box *box, const char *id);
uint32_t box_last(const struct box *box); /* id of the newest mail, 0 for none */

#endif
