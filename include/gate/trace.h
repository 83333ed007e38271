/* The view: conversations of one device, user or ticket, told to whoever listens, as lines of JSON.
 * Connections tell from the workers' threads, the admin socket listens from the control thread; the functions
 * may be called from any thread. While nobody listens a conversation costs one atomic load: trace_is_on().
 *
 * A conversation asks once who wants to see it (trace_begin), and tells with that set from then on. Nothing
 * secret is told: values of Authorization, cookies, tickets and the like are "(hidden)", passwords in WBXML
 * bodies become stars, and forms are left out. What is told is copied; strings may be any bytes.
 *
 * Each line is an object with "event", "time" (UTC, milliseconds) and "id":
 *
 *     trace_request  door, target, client, user, device, ticket, command, version, method, uri,
 *                    fields ([[name, value], ...])
 *     trace_body     from ("client" or "server"), data (base64), truncated or hidden (true: no more comes)
 *     trace_answer   status, fields
 *     trace_end      reason, detail, status, ms, up, down (bytes)
 *     trace_tunnel   as trace_request up to ticket, then offered, version, cipher, sni
 *     trace_lost     lines: so many came faster than they were fetched (without time and id)
 *
 * Members that are not known are left out.
 */
#ifndef STAGATE_GATE_TRACE_H
#define STAGATE_GATE_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "proto/http.h"

#define TRACE_LISTENERS_MAX 8
#define TRACE_BODY_MAX      (64 * 1024)       /* bytes told of each direction of a request */
#define TRACE_RING_MAX      (4 * 1024 * 1024) /* bytes of lines kept for a listener; the oldest go */
#define TRACE_READ_MAX      (1024 * 1024)     /* and fetched at a time, but for the line that goes beyond */
#define TRACE_LAPSE_MS      30000             /* who has not fetched for so long listens no more */

struct trace;

struct trace *trace_new(void);
void trace_free(struct trace *t); /* NULL is fine; nobody may be calling */

/* ---- telling; t may be NULL, and nobody listens then ---- */

bool trace_is_on(const struct trace *t); /* does anybody listen, to whatever */
uint64_t trace_next_id(struct trace *t); /* for one request or tunnel; unique in the process, never 0 */

struct trace_who {
    const char *device, *user, *ticket; /* each may be NULL or ""; ticket: its fingerprint */
};
/* Who of the listeners wants to see this conversation: a set of them, 0: nobody. Meant for one request or one
 * tunnel: whoever comes later sees the next one. */
uint32_t trace_begin(struct trace *t, const struct trace_who *who);
bool trace_wants_bodies(struct trace *t, uint32_t set);

struct trace_request {
    const struct trace_who *who;
    const char *door, *target /* the service, host:port */, *client /* address text */, *command, *version;
    const struct http_head *head; /* may be NULL */
};
void trace_request(struct trace *t, uint32_t set, uint64_t id, const struct trace_request *r);
/* Bytes of a body as they pass, without the framing; the request was told before. */
void trace_body(struct trace *t, uint32_t set, uint64_t id, bool from_client, const uint8_t *data,
                size_t len);
void trace_answer(struct trace *t, uint32_t set, uint64_t id, const struct http_head *head);

struct trace_end {
    const char *reason, *detail;
    unsigned status; /* 0: none */
    double ms;
    uint64_t up, down;
};
/* The last of a request. */
void trace_end(struct trace *t, uint32_t set, uint64_t id, const struct trace_end *e);

struct trace_tunnel {
    const struct trace_who *who;
    const char *door, *target, *client, *offered, *version, *cipher, *sni;
};
/* An opaque tunnel's inner handshake was seen. */
void trace_tunnel(struct trace *t, uint32_t set, uint64_t id, const struct trace_tunnel *f);

/* ---- listening ---- */

struct trace_filter {
    const char *device, *user, *ticket; /* what all must be so; NULL or "": whatever. Case does not matter */
    bool bodies;
};
#define TRACE_ID 33 /* hex digits and NUL */
/* 0 with the listener's name, which is not to be guessed; ERR_LIMIT: there are as many as there may be. */
int trace_listen(struct trace *t, const struct trace_filter *f, char id[TRACE_ID]);
/* Appends the lines that have come (perhaps none) and forgets them. ERR_NOT_FOUND: no such listener, or it
 * has lapsed; ERR_TOO_BIG: the buffer is full, what did not fit stays. */
int trace_fetch(struct trace *t, const char *id, struct buf *out);
int trace_unlisten(struct trace *t, const char *id);   /* 0, ERR_NOT_FOUND */
void trace_set_lapse_ms(struct trace *t, uint64_t ms); /* for tests */

#endif
