/* A phone: a device (device.h) on a connection (channel.h), with a ticket where the way needs one. Does one
 * step at a time: gets a ticket if it has none, connects if it is not connected, asks and reads until the
 * step is over.
 */
#ifndef STAGATE_EASLOAD_PHONE_H
#define STAGATE_EASLOAD_PHONE_H

#include <stdbool.h>
#include <stdint.h>

#include "channel.h"
#include "device.h"
#include "ticket.h"

struct phone;

/* What whoever looks on is told; each may be NULL. Times in ns of clock_mono_ns(). */
struct phone_events {
    void (*on_ticket)(struct phone *p, const struct failure *why, uint64_t us); /* why NULL: got it */
    void (*on_opened)(struct phone *p, const struct channel_times *t);
    void (*on_request)(struct phone *p, const struct device_request *r, const char *head, size_t head_len,
                       const uint8_t *body, size_t len);
    void (*on_head)(struct phone *p, const struct http_head *head);
    /* One exchange is over. a is NULL where there was no answer; why NULL where all was well. */
    void (*on_exchange)(struct phone *p, const struct device_request *r, const struct device_answer *a,
                        uint64_t us, const struct failure *why);
    /* The step is over, and another may be begun from inside. p->told: why was told of before. */
    void (*on_done)(struct phone *p, enum step step, const struct failure *why);
};

/* What all phones of a loop share. */
struct phone_world {
    struct wire wire;
    struct netloop *loop;
    const struct phone_events *events;
    struct wbxml_tree tree; /* scratch */
    struct buf body, head;  /* scratch */
    unsigned deadline_list; /* two of the loop's: answers, and waits */
    uint64_t answer_ms;     /* how long an answer may take, beyond a heartbeat */
    size_t answer_max;      /* bytes of an answer's body */
    uint64_t bytes_in, bytes_out;
    size_t waiting;         /* phones that wait in a Ping */
    uint64_t requests_left; /* with none left, a step that would ask ends as "dropped" */
};
void phone_world_init(struct phone_world *w, struct netloop *loop, const struct phone_events *events,
                      unsigned deadline_list);
void phone_world_deinit(struct phone_world *w);

/* What all phones of a kind share. Borrowed for their life. */
struct phone_kind {
    struct device_options device;
    struct offer offer;
    struct route *route;
    const char *password;
    struct ticket_source *tickets; /* NULL: the way needs none */
    const char *ticket_lifetime;   /* to ask for; NULL: the authority's own */
    bool keep_alive;               /* false: a connection for each request */
};

enum phone_phase { PHONE_IDLE, PHONE_TICKET, PHONE_OPENING, PHONE_ASKED };

struct phone {
    struct channel channel;
    struct device device;
    struct phone_world *world;
    const struct phone_kind *kind;
    void *owner;
    char *user;                 /* owned */
    char *ticket;               /* owned, wiped; NULL: none */
    struct http_reader *reader; /* owned, while an answer is read */
    struct buf answer;          /* its body, as far as it has come */
    unsigned status;
    char *type, *versions, *reason; /* of its head, owned; may be NULL */
    struct device_request asked;
    struct ticket_request *ticket_request; /* open, else NULL */
    struct deadline deadline;
    uint64_t asked_ns;
    uint64_t due_ns;    /* when the step was due: set by the owner before phone_do, for itself */
    uint64_t pinged_ms; /* wall clock, when the last Ping was sent */
    uint64_t woken_ms;  /* wall clock, when its answer told of changes; 0: it did not */
    uint32_t number;
    uint8_t phase; /* enum phone_phase */
    uint8_t step;
    bool reused; /* the request went out on a connection that had been used before */
    bool again;  /* it was sent a second time */
    bool told;   /* of the step's failure by on_ticket or on_exchange */
    bool got_byte;
    bool keep;    /* the connection may be used again */
    bool too_big; /* the answer's body is */
    bool is_wait; /* counted in world->waiting */
};

void phone_init(struct phone *p, struct phone_world *w, const struct phone_kind *kind, const char *user,
                const char *device_id, void *owner);
/* Idle and closed only. */
void phone_deinit(struct phone *p);
/* Does a step; on_done comes, perhaps from inside. Idle only. */
void phone_do(struct phone *p, enum step step);
/* A phone with a ticket of its own: taken as it is. Copied; NULL: it has to get a new one. */
void phone_set_ticket(struct phone *p, const char *ticket);
/* Lets go of the connection; what it was doing ends with the failure "dropped" (on_done) where there was
 * something. The next step opens another. */
void phone_drop(struct phone *p);
bool phone_is_closed(const struct phone *p);  /* nothing of it is open: it can be freed */
bool phone_is_waiting(const struct phone *p); /* in a Ping */

#endif
