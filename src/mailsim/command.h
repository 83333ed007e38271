/* ActiveSync commands over mailboxes (MS-ASCMD): what was asked in, what is answered out. Knows no sockets;
 * server.c fills a call in and sends what comes out of it. command.c picks the command; cmd_*.c are the
 * commands; write_item.c shows items as a protocol version has them.
 */
#ifndef STAGATE_MAILSIM_COMMAND_H
#define STAGATE_MAILSIM_COMMAND_H

#include "base/buf.h"
#include "box.h"
#include "personality.h"
#include "proto/eas.h"
#include "proto/wbxml.h"

#define CALL_BODY_MAX   (64 * 1024 * 1024) /* bytes of a request's body: a mail with attachments */
#define CALL_ANSWER_MAX (64 * 1024 * 1024)
#define CALL_NODES_MAX  200000

/* Statuses that all commands share (MS-ASCMD 2.2.2). */
enum {
    EAS_OK = 1,
    EAS_INVALID_CONTENT = 101,
    EAS_INVALID_WBXML = 102,
    EAS_INVALID_XML = 103,
    EAS_SERVER_ERROR = 110,
    EAS_MAILBOX_FULL = 113,
    EAS_MESSAGE_NO_RECIPIENT = 119,
    EAS_MESSAGE_INVALID = 107,
    EAS_DEVICE_BLOCKED = 129,
    EAS_COMMAND_NOT_SUPPORTED = 137,
    EAS_VERSION_NOT_SUPPORTED = 138,
    EAS_REMOTE_WIPE = 140,
    EAS_NOT_PROVISIONED = 142,
    EAS_POLICY_REFRESH = 143,
    EAS_INVALID_POLICY_KEY = 144,
    EAS_ITEM_NOT_FOUND = 150,
    EAS_FOLDER_CONFLICT = 151,
    EAS_TOO_MANY_DEVICES = 177,
};

enum turn { TURN_FIRST, TURN_CHANGED, TURN_EXPIRED, TURN_REPLACED };

/* Device policies: given to who asks, demanded of everyone, or not there. */
enum policy { POLICY_OFFERED, POLICY_REQUIRED, POLICY_NONE };

struct call {
    /* asked; all borrowed */
    const struct personality *personality;
    enum policy policy;
    struct boxes *boxes;
    struct box *box;
    struct device *device;
    unsigned command; /* enum eas_command */
    unsigned version; /* times ten; one that the personality has */
    const struct eas_query *query;
    const char *parameters;        /* the query as it came, for those that eas_query does not have */
    const struct wbxml_node *root; /* NULL: an empty body, or one that is not WBXML */
    const uint8_t *body;
    size_t body_len;
    bool is_mime; /* the body is a message (message/rfc822) */
    bool multipart;
    const char *language; /* Accept-Language; "" */
    int64_t now_ms;
    enum turn turn; /* what a call that waited is made again for */
    /* answered */
    unsigned status;    /* of HTTP */
    struct buf *out;    /* empty at first */
    const char *type;   /* of what is in out; NULL: WBXML */
    struct buf *fields; /* further head lines */
    uint32_t wait_s; /* not 0: no answer yet. The call is to be made again, as a whole, when box_wait's waiter
                        is woken or after so many seconds */
};

/* Runs the command. The device's policy, versions and blocks were looked at before (command_refused). */
void command_run(struct call *c);
/* What is in the way of any command of this device: answers it, and is true. */
bool command_refused(struct call *c);
/* Answers with one of the shared statuses, or one of the command's own: in its document from 14.0 on, by HTTP
 * code before (MS-ASCMD 2.2.2). */
void command_status(struct call *c, unsigned status);
/* The same, but as a document in every version: a status of the command's own. */
void command_own_status(struct call *c, unsigned status);
/* Ends a document: 200, or 500 where it did not fit. */
void command_finish(struct call *c, struct wbxml_writer *w);

void cmd_sync(struct call *c);
void cmd_ping(struct call *c);
void cmd_folder_sync(struct call *c);
void cmd_folder_create(struct call *c);
void cmd_folder_update(struct call *c);
void cmd_folder_delete(struct call *c);
void cmd_get_item_estimate(struct call *c);
void cmd_item_operations(struct call *c);
void cmd_get_attachment(struct call *c);
void cmd_move_items(struct call *c);
void cmd_send_mail(struct call *c);
void cmd_smart(struct call *c); /* SmartReply, SmartForward */
void cmd_meeting_response(struct call *c);
void cmd_search(struct call *c);
void cmd_find(struct call *c);
void cmd_resolve_recipients(struct call *c);
void cmd_validate_cert(struct call *c);
void cmd_settings(struct call *c);
void cmd_provision(struct call *c);

/* ---- what several commands need ---- */

/* The element's number; `otherwise` if it is not there or none of at most nine digits. */
uint32_t node_number(const struct wbxml_node *n, uint32_t otherwise);
/* The text of a child, "" if it is not there. */
const char *child_text(const struct wbxml_node *parent, uint16_t tag);
/* "5": 5, 0 for what is no ID. */
uint32_t folder_id_parse(const char *text);
/* "1:17" into both; false for what is no item's ID. */
bool item_id_parse(const char *text, uint32_t *folder, uint32_t *item);
#define ITEM_ID_TEXT 24
void item_id_format(char dst[ITEM_ID_TEXT], uint32_t folder, uint32_t item);
/* How many items a Sync in this state would tell the client of; counted up to `enough`. */
size_t sync_pending(const struct call *c, const struct folder *f, const struct collection *s, size_t enough);
/* How far back a FilterType goes, in wall-clock time cut to whole days; 0: all. */
int64_t filter_since_ms(uint8_t filter, int64_t now_ms);

/* What a client wants to see of items: how bodies are given. */
struct view {
    uint8_t mime; /* MIMESupport: 0 never, 1 signed ones only, 2 always */
    uint8_t body_count;
    struct body_preference bodies[4]; /* none: plain text */
};
/* Reads Options of Sync, ItemOperations or Search. */
void view_read(struct view *v, const struct call *c, const struct wbxml_node *options);

/* The elements of an item, into the open ApplicationData or Properties. */
void write_item(const struct call *c, struct wbxml_writer *w, struct folder *f, const struct look *look,
                const struct view *v);
/* What of a mail can change: read, flag, categories. */
void write_mail_change(const struct call *c, struct wbxml_writer *w, const struct look *look);
/* The bytes of the attachment with this reference; NULL: there is none. Borrowed from the scratch or the
 * letter; *type too. */
const uint8_t *find_attachment(const struct call *c, const char *reference, struct gen_scratch *s,
                               size_t *len, const char **type);
/* An item as a client has sent it (its ApplicationData, and before: what it had, or NULL), as box.h keeps it:
 * in the words of 14.1, elements that were not sent as before. */
void read_item(const struct call *c, const struct folder *f, const struct wbxml_node *data,
               const void *before, size_t before_len, struct buf *out);
/* A draft as a client has sent it (16.0 and later, MS-ASEMAIL 2.2.2.82), elements that were not sent as
 * before (NULL: none was). One reference. */
struct letter *read_draft(const struct call *c, const struct wbxml_node *data, const struct mail *before);
/* Hands a message to those it is for: everyone in the lab has a box. `sent`: also into Sent Items. A status
 * of SendMail (EAS_OK). */
unsigned send_message(struct call *c, const void *mime, size_t len, bool sent);

#endif
