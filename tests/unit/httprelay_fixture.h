/* A relay between two buffers, for tests and fuzzing. */
#ifndef STAGATE_TESTS_HTTPRELAY_FIXTURE_H
#define STAGATE_TESTS_HTTPRELAY_FIXTURE_H

#include <string.h>

#include "gate/httprelay.h"

#define OUT_BYTES (8 * 1024 * 1024)

struct fixture {
    struct httprelay *relay;
    struct buf client, backend;
    struct httprelay_out out;
    unsigned done;
    enum reason reason; /* of the last exchange */
    unsigned status;
    char command[32];
};

static void fixture_done(void *owner, const struct exchange *x)
{
    struct fixture *f = owner;
    f->done++;
    f->reason = x->reason;
    f->status = x->status;
    memcpy(f->command, x->query.command_text, sizeof f->command);
}

static bool fixture_is_listed(void *owner, const struct hostport *target)
{
    (void)owner;
    return strcmp(target->host, "mail.example.com") == 0;
}

static inline void fixture_open(struct fixture *f, const struct service_settings *s, bool reverse)
{
    static const struct httprelay_events events = {.on_done = fixture_done, .is_listed = fixture_is_listed};
    struct hostport target;
    memset(f, 0, sizeof *f);
    hostport_parse(&target, "mail.example.com:443", 20, 0, NULL);
    const struct httprelay_options o = {.service = s,
                                        .target = &target,
                                        .reverse = reverse,
                                        .user = "alice",
                                        .client = "192.0.2.1",
                                        .events = &events,
                                        .owner = f};
    f->relay = httprelay_new(&o);
    buf_init(&f->client, OUT_BYTES);
    buf_init(&f->backend, OUT_BYTES);
    f->out = (struct httprelay_out){&f->client, &f->backend};
}

static inline void fixture_close(struct fixture *f)
{
    httprelay_free(f->relay, REASON_CLIENT_GONE, NULL);
    buf_deinit(&f->client);
    buf_deinit(&f->backend);
}

#endif
