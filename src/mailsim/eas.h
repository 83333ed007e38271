/* ActiveSync commands over a mailbox: request documents in, answer documents out (MS-ASCMD). Knows no HTTP
 * and no sockets. This first mailsim knows FolderSync, Sync of the inbox (server to client) and Ping. */
#ifndef STAGATE_MAILSIM_EAS_H
#define STAGATE_MAILSIM_EAS_H

#include "base/buf.h"
#include "box.h"
#include "proto/wbxml.h"

#define EAS_INBOX_ID "1"
#define EAS_VERSIONS "12.1,14.0,14.1"
#define EAS_COMMANDS "Sync,FolderSync,Ping"
/* MS-ASCMD <7>: what Exchange allows by default */
#define EAS_HEARTBEAT_MIN_S 60
#define EAS_HEARTBEAT_MAX_S 3540

enum eas_command { EAS_FOLDERSYNC, EAS_SYNC, EAS_PING, EAS_UNKNOWN };

enum eas_command eas_command(const char *name);
/* Whether the request's version is one of EAS_VERSIONS. */
bool eas_knows_version(const char *version);
/* What a version that is not served gets: HTTP status 400, or (claimed 14.0 and later) 200 with Status 138 in
 * the command's own document. */
int eas_version_refused(enum eas_command c, const char *version, struct buf *out);

/* Each takes the parsed request (NULL root for an empty body) and appends the answer. They return the HTTP
 * status. */
int eas_foldersync(const struct wbxml_node *request, struct buf *out);
/* An answer may be empty (no changes): 200 with nothing in out. */
int eas_sync(struct box *box, struct device *d, const struct wbxml_node *request, struct buf *out);

enum eas_ping_result { EAS_PING_ANSWERED, EAS_PING_WAIT };
/* WAIT: nothing to tell yet, *seconds is how long to wait at most. */
enum eas_ping_result eas_ping(struct box *box, struct device *d, const struct wbxml_node *request,
                              struct buf *out, uint32_t *seconds);
/* The answer of a Ping that waited: status 1 (nothing came) or 2 (changes in the inbox). */
void eas_ping_answer(int status, struct buf *out);

#endif
