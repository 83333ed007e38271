/* Between httprelay.c (exchanges, the way of requests), httprelay_answer.c (the way of answers) and
 * httprelay_head.c (what heads become, and which requests may go on). */
#ifndef STAGATE_SRC_GATE_HTTPRELAY_IMPL_H
#define STAGATE_SRC_GATE_HTTPRELAY_IMPL_H

#include "gate/httprelay.h"

#define AUTODISCOVER_MAX (256 * 1024) /* of an answer that is kept to be read */

enum side { SIDE_IDLE, SIDE_HEAD_HELD, SIDE_BODY, SIDE_DONE };

struct httprelay {
    struct httprelay_options o;
    struct hostport target;
    char *user;   /* owned */
    char *client; /* owned */
    char *ticket; /* owned: activesync door: what the first request showed */
    struct http_reader *requests, *answers;
    struct httprelay_out *out; /* of the call being made */
    struct exchange x;
    uint64_t count;
    struct buf held;  /* head of a request whose root is not seen yet, and what of the body has come */
    struct buf ahead; /* what the client sent ahead of its turn */
    struct buf answer_head, answer; /* an autodiscover answer that is read whole before the client gets it */
    struct eas_root root;
    struct eas_heartbeat *heartbeat;   /* owned; while a body that may tell one passes */
    unsigned last_ping_s, last_sync_s; /* an empty body means "as before" */
    bool sync_in_minutes;              /* last_sync_s was told by Wait */
    uint8_t request;                   /* enum side */
    uint8_t response;
    bool in_head;          /* a part of a head has come */
    bool root_due;         /* the root has to agree with the command, and is not seen yet */
    bool request_chunked;  /* towards the mail server */
    bool response_chunked; /* towards the client */
    bool response_kept;    /* the answer goes into `answer` first */
    bool http10;           /* the client's request */
    bool is_head;
    bool discard;       /* the gateway answers: the rest of the request goes nowhere */
    bool close_after;   /* the client's connection ends with this answer */
    bool backend_close; /* the mail server's ends with it */
    bool interim;       /* the head just read is a 1xx */
    bool may_hang;      /* Ping, or Sync without a body or with a wait in it */
    bool client_ended;  /* has sent all it will ever send */
    bool swallow;       /* the answer's body goes nowhere: it was answered here */
    bool dropped;
    bool over;
    enum reason end;
    const char *end_detail;
    size_t discarded;
    char host[300]; /* activesync door: Host as the client calls us */
};

extern const struct http_events httprelay_answer_events;

/* Over, told by on_done where an exchange was not. */
void httprelay_end(struct httprelay *r, enum reason reason, const char *detail);
/* Something is wrong beyond repair: told the client where no answer has begun; status 0: the reason's. */
void httprelay_fail(struct httprelay *r, enum reason reason, const char *detail, unsigned status);
/* After either side has come to the end of its message. */
void httprelay_check_done(struct httprelay *r);
void httprelay_write_chunk(struct buf *to, bool chunked, const uint8_t *data, size_t len);
/* Requests that came ahead of their turn. */
void httprelay_feed_ahead(struct httprelay *r);

/* Judges a request, or why it is refused (REASON_OK: it may go on). Fills r->x. */
enum reason httprelay_judge(struct httprelay *r, const struct http_head *h, const char **detail);
/* Appends the head as the other side gets it. */
void httprelay_write_request(struct httprelay *r, const struct http_head *h, struct buf *to);
void httprelay_write_answer(struct httprelay *r, const struct http_head *h, int64_t length, struct buf *to);
/* Whether the answer is a page to sign in on. */
bool httprelay_is_login_form(const struct httprelay *r, const struct http_head *h);
/* Replaces what r->answer holds, an autodiscover document, by what the client should see of it. */
void httprelay_read_autodiscover(struct httprelay *r);

#endif
