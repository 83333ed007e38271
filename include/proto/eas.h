/* What an ActiveSync request says about itself, without I/O: the request URI in both its forms (MS-ASHTTP
 * 2.2.1.1.1: plain text and base64), the command, and the first bytes of the body, which servers dispatch on.
 * Used by the gateway's relay, which must not be told one thing while the server understands another.
 */
#ifndef STAGATE_PROTO_EAS_H
#define STAGATE_PROTO_EAS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

/* Commands by their code in the base64 form (MS-ASHTTP 2.2.1.1.1.2.2). */
enum eas_command {
    EAS_SYNC = 0,
    EAS_SEND_MAIL = 1,
    EAS_SMART_FORWARD = 2,
    EAS_SMART_REPLY = 3,
    EAS_GET_ATTACHMENT = 4,
    EAS_FOLDER_SYNC = 9,
    EAS_FOLDER_CREATE = 10,
    EAS_FOLDER_DELETE = 11,
    EAS_FOLDER_UPDATE = 12,
    EAS_MOVE_ITEMS = 13,
    EAS_GET_ITEM_ESTIMATE = 14,
    EAS_MEETING_RESPONSE = 15,
    EAS_SEARCH = 16,
    EAS_SETTINGS = 17,
    EAS_PING = 18,
    EAS_ITEM_OPERATIONS = 19,
    EAS_PROVISION = 20,
    EAS_RESOLVE_RECIPIENTS = 21,
    EAS_VALIDATE_CERT = 22,
    EAS_FIND = 23,
    EAS_COMMANDS = 24, /* none of these: unknown; the codes between (5 to 8) have no name either */
};

/* "FolderSync"; NULL for a code without a name. */
const char *eas_command_name(unsigned command);
/* By name, case-insensitively (servers take it so); EAS_COMMANDS if unknown. */
unsigned eas_command_by_name(const char *name, size_t len);
/* The command that a document with this root tag (proto/wbxml.h) is of; EAS_COMMANDS: of none. */
unsigned eas_command_of_root(uint16_t tag);

#define EAS_VALUE_MAX  128 /* bytes of a device ID, device type or user, and a NUL */
#define EAS_POLICY_MAX 12

/* A request URI's query, whichever form it has. */
struct eas_query {
    bool base64;
    unsigned command;      /* enum eas_command; EAS_COMMANDS: there is none, or one that has no name here */
    char command_text[32]; /* as sent, or the code's name or number; "" if there is none */
    unsigned version;      /* base64: protocol version times ten (141); 0: not told here */
    char device_id[EAS_VALUE_MAX];   /* "" if missing; binary IDs of the base64 form as upper-case hex */
    char device_type[EAS_VALUE_MAX]; /* "" if missing */
    char user[EAS_VALUE_MAX];        /* "" if missing */
    char policy_key[EAS_POLICY_MAX]; /* base64: decimal; "" if missing */
    bool save_in_sent;
    bool accept_multipart;
};

/* Reads the query, what stands behind the '?' (borrowed; without a '#'). An empty one is no error: no
 * command.
 *
 * It is plain if it has a '&', or begins with a name and "=" and more than padding; else base64. Plain: names
 * match in any case and decoded, blanks before them do not count; a '+' is a blank in User and in names (as
 * PHP takes it), itself in other values. Base64: padded or not, with "+", "/" and "=" percent-escaped or not
 * and nothing else escaped. A device ID is text if it has but letters, digits, '-', '_' and '.'.
 *
 * 0, or ERR_SYNTAX with *why a constant sentence, and then *q says nothing: a parameter that is decisive
 * (Cmd, DeviceId, DeviceType, User; base64: Options, User) stands there twice or with a broken
 * percent-escape, a control character or NUL in its value; a name with such; base64 that is none, is cut off,
 * or has lengths that do not fit, a policy key of other than 0 or 4 bytes, version 0; ERR_TOO_BIG, with *why
 * too: a value that is too long.
 *
 * Where there is no command (command_text is ""), a lenient server may still find one, in base64 with
 * something behind it: the caller does not let such a POST through. */
int eas_query_parse(struct eas_query *q, const char *query, size_t len, const char **why);

/* Whether two device IDs mean one device: case-insensitively, and "v140Device" is also the hex of its bytes,
 * which is what SOGo and Z-Push call a device that came in the base64 form. Two that are missing are the
 * same. */
bool eas_same_device(const char *a, const char *b);

/* "14.1" as 141, "2.5" as 25, "16.1" as 161. 0: not a version (D.D or DD.D, no blanks; 0.0 and 01.0 are
 * none). */
unsigned eas_version_parse(const char *s, size_t len);
/* Back: at most 8 bytes with the NUL; "" for 0. */
void eas_version_format(unsigned version, char dst[8]);
/* Takes versions outside floor..ceiling (0: no limit) out of a comma-separated list ("2.5, 12.0,14.1": MS-
 * ASProtocolVersions, X-MS-RP), keeps the rest as written, separated by "," without blanks; items that are no
 * versions stay, empty ones go. dst holds at least strlen(list) + 1 bytes and may be the list itself. Returns
 * how many versions are left. */
size_t eas_versions_filter(const char *list, unsigned floor, unsigned ceiling, char *dst);

/* ---- bodies ---- */

enum eas_root_result {
    EAS_ROOT_MORE,      /* feed more */
    EAS_ROOT_TAG,       /* tag is the root's */
    EAS_ROOT_MALFORMED, /* no WBXML document, for any server: not even its head is one (text, XML, MIME) */
    EAS_ROOT_HIDDEN, /* perhaps WBXML, but what its root is depends on who reads it, or it stands behind what
                        ActiveSync does not use: a literal tag, an entity, a string, an extension, an END or a
                        processing instruction; a version below 1.1 or above 1.3; numbers of more than 32 bits
                        or 5 bytes; a public identifier of 0 in several bytes; a string table above 64 KB */
};

/* Looks for the root tag, more leniently than the reader of proto/wbxml.h: WBXML 1.1 to 1.3 with any public
 * ID, charset and string table are read over as a lenient server would (libwbxml does), and the tag may have
 * attributes. In place, nothing to free. */
struct eas_root {
    uint16_t tag;
    uint8_t state;
    uint8_t version;
    uint8_t page;
    uint8_t bytes; /* of the number being read */
    uint32_t number;
    uint32_t skip; /* string table bytes to come */
};
void eas_root_init(struct eas_root *r);
/* *used: bytes looked at, up to and including the root tag. After a result other than MORE: the same again.
 */
enum eas_root_result eas_root_feed(struct eas_root *r, const uint8_t *data, size_t len, size_t *used);

/* How long a Ping or Sync asks to be left without an answer, read out of its body as it passes: Ping's
 * HeartbeatInterval, Sync's HeartbeatInterval (seconds) or Wait (minutes). Owned, freed with
 * eas_heartbeat_free. At most 86400; what is no number counts as not there; of several the longest. A
 * malformed body tells nothing, one that is too large (1 MB, a string of 64 KB) what it told up to there. */
struct eas_heartbeat;
struct eas_heartbeat *eas_heartbeat_new(void);
void eas_heartbeat_free(struct eas_heartbeat *h); /* NULL is fine */
void eas_heartbeat_feed(struct eas_heartbeat *h, const uint8_t *data, size_t len);
unsigned eas_heartbeat_seconds(const struct eas_heartbeat *h); /* 0: not told (yet) */
bool eas_heartbeat_in_minutes(const struct eas_heartbeat *h);  /* it was told by Wait */

/* Appends a document of the command's root with nothing but a Status, and where `limit` is not 0 what that
 * status tells: Ping with Status 5 its HeartbeatInterval, Sync with Status 14 its Limit (in the
 * unit of the request). ERR_UNSUPPORTED for
 * commands that have no such document (GetAttachment, unknown ones), ERR_TOO_BIG if it does not fit: then
 * nothing was appended. */
int eas_write_status(struct buf *out, unsigned command, unsigned status, unsigned limit);

#endif
