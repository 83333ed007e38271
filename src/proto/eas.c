/* ActiveSync's commands, device IDs and protocol versions, and the answer that is nothing but a status. Used
 * by the gateway's relay. The request URI is read in eas_query.c, bodies are looked into in eas_body.c.
 */
#include "proto/eas.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/err.h"
#include "proto/wbxml.h"

/* No tag has the number 0: there, a command has no document (GetAttachment) or nothing to tell beside a
 * status. */
static const struct command {
    const char *name;
    uint16_t root;
    uint16_t status;
    uint16_t limit; /* what eas_write_status tells beside the status */
} commands[EAS_COMMANDS] = {
    [EAS_SYNC] = {"Sync", WBXML_AIRSYNC_SYNC, WBXML_AIRSYNC_STATUS, WBXML_AIRSYNC_LIMIT},
    [EAS_SEND_MAIL] = {"SendMail", WBXML_COMPOSEMAIL_SENDMAIL, WBXML_COMPOSEMAIL_STATUS, 0},
    [EAS_SMART_FORWARD] = {"SmartForward", WBXML_COMPOSEMAIL_SMARTFORWARD, WBXML_COMPOSEMAIL_STATUS, 0},
    [EAS_SMART_REPLY] = {"SmartReply", WBXML_COMPOSEMAIL_SMARTREPLY, WBXML_COMPOSEMAIL_STATUS, 0},
    [EAS_GET_ATTACHMENT] = {"GetAttachment", 0, 0, 0},
    [EAS_FOLDER_SYNC] = {"FolderSync", WBXML_FOLDERHIERARCHY_FOLDERSYNC, WBXML_FOLDERHIERARCHY_STATUS, 0},
    [EAS_FOLDER_CREATE] = {"FolderCreate", WBXML_FOLDERHIERARCHY_FOLDERCREATE, WBXML_FOLDERHIERARCHY_STATUS,
                           0},
    [EAS_FOLDER_DELETE] = {"FolderDelete", WBXML_FOLDERHIERARCHY_FOLDERDELETE, WBXML_FOLDERHIERARCHY_STATUS,
                           0},
    [EAS_FOLDER_UPDATE] = {"FolderUpdate", WBXML_FOLDERHIERARCHY_FOLDERUPDATE, WBXML_FOLDERHIERARCHY_STATUS,
                           0},
    [EAS_MOVE_ITEMS] = {"MoveItems", WBXML_MOVE_MOVEITEMS, WBXML_MOVE_STATUS, 0},
    [EAS_GET_ITEM_ESTIMATE] = {"GetItemEstimate", WBXML_GETITEMESTIMATE_GETITEMESTIMATE,
                               WBXML_GETITEMESTIMATE_STATUS, 0},
    [EAS_MEETING_RESPONSE] = {"MeetingResponse", WBXML_MEETINGRESPONSE_MEETINGRESPONSE,
                              WBXML_MEETINGRESPONSE_STATUS, 0},
    [EAS_SEARCH] = {"Search", WBXML_SEARCH_SEARCH, WBXML_SEARCH_STATUS, 0},
    [EAS_SETTINGS] = {"Settings", WBXML_SETTINGS_SETTINGS, WBXML_SETTINGS_STATUS, 0},
    [EAS_PING] = {"Ping", WBXML_PING_PING, WBXML_PING_STATUS, WBXML_PING_HEARTBEATINTERVAL},
    [EAS_ITEM_OPERATIONS] = {"ItemOperations", WBXML_ITEMOPERATIONS_ITEMOPERATIONS,
                             WBXML_ITEMOPERATIONS_STATUS, 0},
    [EAS_PROVISION] = {"Provision", WBXML_PROVISION_PROVISION, WBXML_PROVISION_STATUS, 0},
    [EAS_RESOLVE_RECIPIENTS] = {"ResolveRecipients", WBXML_RESOLVERECIPIENTS_RESOLVERECIPIENTS,
                                WBXML_RESOLVERECIPIENTS_STATUS, 0},
    [EAS_VALIDATE_CERT] = {"ValidateCert", WBXML_VALIDATECERT_VALIDATECERT, WBXML_VALIDATECERT_STATUS, 0},
    [EAS_FIND] = {"Find", WBXML_FIND_FIND, WBXML_FIND_STATUS, 0},
};

/* ---- commands ---- */

const char *eas_command_name(unsigned command)
{
    return command < EAS_COMMANDS ? commands[command].name : NULL;
}

unsigned eas_command_by_name(const char *name, size_t len)
{
    unsigned c = 0;
    while (c < EAS_COMMANDS && (commands[c].name == NULL || strlen(commands[c].name) != len ||
                                strncasecmp(commands[c].name, name, len) != 0))
        c++;
    return c;
}

unsigned eas_command_of_root(uint16_t tag)
{
    unsigned c = 0;
    while (c < EAS_COMMANDS && (commands[c].root == 0 || commands[c].root != tag))
        c++;
    return c;
}

int eas_write_status(struct buf *out, unsigned command, unsigned status, unsigned limit)
{
    if (command >= EAS_COMMANDS || commands[command].root == 0)
        return ERR_UNSUPPORTED;
    const struct command *c = &commands[command];
    size_t before = out->len;
    struct wbxml_writer w;
    wbxml_begin(&w, out);
    wbxml_open(&w, c->root);
    wbxml_number(&w, c->status, status);
    if (limit != 0 && c->limit != 0)
        wbxml_number(&w, c->limit, limit);
    wbxml_close(&w);
    int rc = wbxml_finish(&w);
    if (rc != 0)
        out->len = before; /* half a document is of no use to anyone */
    return rc;
}

/* ---- device IDs ---- */

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static int lower(int c)
{
    return c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c;
}

/* Whether hex spells the bytes of id, which differ in case at most. */
static bool spells(const char *hex, const char *id)
{
    size_t len = strlen(id);
    if (len == 0 || strlen(hex) != 2 * len)
        return false;
    for (size_t i = 0; i < len; i++) {
        int high = hex_value(hex[2 * i]), low = hex_value(hex[2 * i + 1]);
        if (high < 0 || low < 0 || lower(high << 4 | low) != lower((unsigned char)id[i]))
            return false;
    }
    return true;
}

bool eas_same_device(const char *a, const char *b)
{
    return strcasecmp(a, b) == 0 || spells(a, b) || spells(b, a);
}

/* ---- versions ---- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

unsigned eas_version_parse(const char *s, size_t len)
{
    if (len != 3 && len != 4)
        return 0;
    bool two = len == 4; /* digits before the point */
    const char *end = s + len;
    if (!is_digit(s[0]) || (two && (s[0] == '0' || !is_digit(s[1]))) || end[-2] != '.' || !is_digit(end[-1]))
        return 0;
    unsigned whole = (unsigned)(s[0] - '0');
    if (two)
        whole = 10 * whole + (unsigned)(s[1] - '0');
    return 10 * whole + (unsigned)(end[-1] - '0');
}

void eas_version_format(unsigned version, char dst[8])
{
    dst[0] = '\0';
    if (version > 0)
        snprintf(dst, 8, "%u.%u", version / 10 % 100000, version % 10);
}

size_t eas_versions_filter(const char *list, unsigned floor, unsigned ceiling, char *dst)
{
    size_t left = 0;
    char *to = dst;
    while (*list != '\0') {
        list += strspn(list, ", \t");
        size_t len = strcspn(list, ",");
        const char *next = list + len;
        while (len > 0 && (list[len - 1] == ' ' || list[len - 1] == '\t'))
            len--;
        unsigned version = eas_version_parse(list, len);
        bool out = version != 0 && (version < floor || (ceiling != 0 && version > ceiling));
        if (len > 0 && !out) {
            if (to != dst)
                *to++ = ',';
            memmove(to, list, len); /* never longer than what was read: dst may be the list itself */
            to += len;
            left += version != 0;
        }
        list = next;
    }
    *to = '\0';
    return left;
}
