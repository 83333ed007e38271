/* What one phone knows of its mailbox, and what it says to the server next: ActiveSync as a client speaks it
 * (MS-ASCMD, MS-ASPROV, MS-ASHTTP), without I/O. A step, such as "Sync", is one or more requests; for each of
 * them device_ask writes what to send, device_answer reads what came back and says whether the step is done.
 *
 * Whatever a server answers, a device stays usable: an answer that makes no sense ends the step with a
 * failure of a known kind.
 */
#ifndef STAGATE_EASLOAD_DEVICE_H
#define STAGATE_EASLOAD_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "proto/wbxml.h"

enum step {
    STEP_OPTIONS,
    STEP_PROVISION,
    STEP_FOLDER_SYNC,
    STEP_SYNC,       /* all folders that the phone keeps, until there is no more */
    STEP_PING,       /* waits; where there are changes, a Sync follows in the same step */
    STEP_SEND_MAIL,  /* to itself, unless told otherwise */
    STEP_ATTACHMENT, /* fetches the newest attachment that a Sync told of; nothing where there was none */
    STEPS
};
extern const char *const step_names[STEPS + 1]; /* "options", "provision", ... NULL */

/* What a request is for: one row of every report each. */
enum verb {
    VERB_OPTIONS,
    VERB_PROVISION,
    VERB_FOLDER_SYNC,
    VERB_SYNC,
    VERB_PING,
    VERB_SEND_MAIL,
    VERB_FETCH, /* ItemOperations, GetAttachment up to 12.1 */
    VERBS
};
extern const char *const verb_names[VERBS]; /* "OPTIONS", "Provision", ... */

/* Why something failed: a kind out of a small set, to be counted by ("refused", "http_503", "status_142",
 * "ticket_expired"), and a sentence for a person, which may be empty. Parts of both come from servers: kinds
 * are made of letters, digits,
 * '_', ':', '.' and '-', and sentences fit for a terminal. */
#define FAILURE_KIND   48
#define FAILURE_DETAIL 160
struct failure {
    char kind[FAILURE_KIND]; /* "": none */
    char detail[FAILURE_DETAIL];
};
void failure_set(struct failure *f, const char *kind, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#define DEVICE_ID_TEXT 36
#define FOLDER_ID_MAX  64
#define SYNC_KEY_MAX   96
#define FOLDERS_MAX    4

enum folder_kind { FOLDER_INBOX, FOLDER_CALENDAR, FOLDER_CONTACTS, FOLDER_TASKS };
extern const char *const folder_names[FOLDERS_MAX + 1]; /* "inbox", "calendar", "contacts", "tasks", NULL */

/* How all phones of a kind behave. */
struct device_options {
    const char *type;      /* DeviceType */
    const char *agent;     /* User-Agent */
    const char *system;    /* operating system */
    const char *path;      /* of the ActiveSync service: "/Microsoft-Server-ActiveSync" */
    unsigned version;      /* times ten: always this one; 0: the highest that both know, 16.1 at most */
    unsigned ceiling;      /* highest version the phone knows, times ten */
    unsigned folders;      /* bit for each enum folder_kind that it keeps in sync */
    unsigned heartbeat_s;  /* of Ping */
    unsigned window;       /* WindowSize */
    unsigned truncation;   /* bytes of a mail's body */
    unsigned mail_bytes;   /* of the text that SendMail sends */
    const char *recipient; /* of SendMail; NULL: the phone's own user */
    const char *domain;    /* of mail addresses, where a user has none */
};

struct folder {
    char id[FOLDER_ID_MAX];
    char key[SYNC_KEY_MAX]; /* "0": never synced */
    uint8_t kind;
    bool changed; /* Ping said so */
    bool due;     /* to be asked about in this step */
};

struct device {
    const struct device_options *options; /* borrowed */
    const char *user;                     /* borrowed */
    char id[DEVICE_ID_TEXT];
    char policy_key[12]; /* "" while there is none */
    char hierarchy[SYNC_KEY_MAX];
    char *attachment;     /* FileReference, owned; NULL: none seen */
    unsigned version;     /* in use, times ten; 0: not chosen yet */
    unsigned heartbeat_s; /* as the server allows */
    uint32_t sent;        /* mails, for their IDs */
    uint8_t stage;        /* within the step: 0, then 1 */
    uint8_t detour;       /* what has to be done before the step can go on */
    uint8_t mended;       /* how often the step was asked otherwise */
    bool ping_known;      /* the server has the parameters: an empty Ping means them */
    struct folder *folders;
    uint8_t folder_count;
    /* of the step that runs, for whoever looks on: */
    uint32_t items;    /* added by Syncs */
    int64_t newest_ms; /* DateReceived of the newest mail that came, wall clock; 0: none */
};

void device_init(struct device *d, const struct device_options *options, const char *user, const char *id);
void device_deinit(struct device *d);
/* As a new phone: nothing is known. */
void device_reset(struct device *d);
unsigned device_version(const struct device *d); /* in use, or, before OPTIONS, what it would like */

struct device_request {
    enum verb verb;
    const char *command;  /* NULL: OPTIONS */
    const char *type;     /* Content-Type; NULL: there is no body */
    const char *extra;    /* more of the query, "&AttachmentName=..."; "" */
    bool policy;          /* the policy key goes with it */
    bool repeatable;      /* sending it twice does no harm */
    unsigned heartbeat_s; /* how long the answer may be due; 0: at once */
};

enum device_verdict {
    DEVICE_DONE,  /* the step is over */
    DEVICE_AGAIN, /* ask on */
    DEVICE_FAILED,
};

/* Begins a step: AGAIN, DONE when there is nothing to do for it, or FAILED when it needs what an earlier step
 * would have brought. */
enum device_verdict device_begin(struct device *d, enum step step, struct failure *why);
/* The next request. Its body is appended to body (empty before); texts live until the next call. 0, or
 * ERR_TOO_BIG. */
int device_ask(struct device *d, enum step step, struct device_request *out, struct buf *body);

struct device_answer {
    unsigned status;      /* HTTP */
    const char *versions; /* MS-ASProtocolVersions; NULL: not there */
    const char *type;     /* Content-Type, "" if none */
    const char *reason;   /* X-Stagate-Reason; NULL: not there */
    const uint8_t *body;
    size_t len;
};
/* tree is scratch, any device's. */
enum device_verdict device_answer(struct device *d, const struct device_request *asked,
                                  const struct device_answer *a, struct wbxml_tree *tree,
                                  struct failure *why);

#endif
