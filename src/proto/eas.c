/* The commands of ActiveSync with their names, roots and statuses; device IDs and versions compared. What a
 * request says of them is read in eas_query.c and eas_body.c.
 */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/err.h"
#include "eas_impl.h"
#include "proto/wbxml.h"

static const struct {
    const char *name;
    uint16_t root;   /* 0: its requests and answers have no document */
    uint16_t status; /* directly below the root */
    uint16_t limit;  /* what goes with a status; 0: nothing does */
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

const char *eas_command_name(unsigned command)
{
    return command < EAS_COMMANDS ? commands[command].name : NULL;
}

unsigned eas_command_by_name(const char *name, size_t len)
{
    for (unsigned c = 0; c < EAS_COMMANDS; c++) {
        const char *n = commands[c].name;
        if (n != NULL && strlen(n) == len && strncasecmp(n, name, len) == 0)
            return c;
    }
    return EAS_COMMANDS;
}

unsigned eas_command_of_root(uint16_t tag)
{
    for (unsigned c = 0; c < EAS_COMMANDS; c++) {
        if (commands[c].root != 0 && commands[c].root == tag)
            return c;
    }
    return EAS_COMMANDS;
}

int eas_write_status(struct buf *out, unsigned command, unsigned status, unsigned limit)
{
    if (command >= EAS_COMMANDS || commands[command].root == 0)
        return ERR_UNSUPPORTED;
    size_t before = out->len;
    struct wbxml_writer w;
    wbxml_begin(&w, out);
    wbxml_open(&w, commands[command].root);
    wbxml_number(&w, commands[command].status, status);
    if (limit != 0 && commands[command].limit != 0)
        wbxml_number(&w, commands[command].limit, limit);
    wbxml_close(&w);
    int rc = wbxml_finish(&w);
    if (rc != 0)
        out->len = before; /* half a document helps nobody */
    return rc;
}

/* ---- device IDs ---- */

static char to_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

/* The case of what was written in hex does not count either: who sends both forms may change it in both. */
static bool is_hex_of(const char *hex, const char *text)
{
    size_t len = strlen(text);
    if (strlen(hex) != 2 * len)
        return false;
    for (size_t i = 0; i < len; i++) {
        int high = hex_value(hex[2 * i]), low = hex_value(hex[2 * i + 1]);
        if (high < 0 || low < 0 || to_lower((char)(high << 4 | low)) != to_lower(text[i]))
            return false;
    }
    return true;
}

bool eas_same_device(const char *a, const char *b)
{
    return strcasecmp(a, b) == 0 || is_hex_of(a, b) || is_hex_of(b, a);
}

/* ---- versions ---- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

unsigned eas_version_parse(const char *s, size_t len)
{
    bool two = len == 4;
    if (len != 3 && !two)
        return 0;
    if (!is_digit(s[0]) || (two && (s[0] == '0' || !is_digit(s[1]))) || s[len - 2] != '.' ||
        !is_digit(s[len - 1]))
        return 0;
    unsigned major = (unsigned)(s[0] - '0');
    if (two)
        major = major * 10 + (unsigned)(s[1] - '0');
    return major * 10 + (unsigned)(s[len - 1] - '0');
}

void eas_version_format(unsigned version, char dst[8])
{
    /* the modulus is for the compiler: versions have two or three digits */
    snprintf(dst, 8, "%u.%u", version / 10 % 1000, version % 10);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

size_t eas_versions_filter(const char *list, unsigned floor, unsigned ceiling, char *dst)
{
    size_t left = 0, at = 0;
    for (const char *end; *list != '\0'; list = *end == ',' ? end + 1 : end) {
        end = list + strcspn(list, ",");
        const char *from = list, *to = end;
        while (from < to && is_blank(*from))
            from++;
        while (to > from && is_blank(to[-1]))
            to--;
        size_t len = (size_t)(to - from);
        unsigned version = eas_version_parse(from, len);
        if (len == 0 || (version != 0 && (version < floor || (ceiling != 0 && version > ceiling))))
            continue;
        if (at > 0)
            dst[at++] = ',';
        memcpy(dst + at, from, len);
        at += len;
        left += version != 0;
    }
    dst[at] = '\0';
    return left;
}
