/* Picks the command, and says no in the words of the version that was spoken. */
#include "command.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DAY_MS 86400000LL

/* ---- saying no ---- */

/* What 12.1 and earlier get for it (MS-ASCMD 2.2.2). */
static unsigned http_status(unsigned status)
{
    switch (status) {
    case EAS_SERVER_ERROR:
        return 500;
    case EAS_MAILBOX_FULL:
        return 507;
    case EAS_COMMAND_NOT_SUPPORTED:
        return 501;
    case EAS_DEVICE_BLOCKED:
    case EAS_TOO_MANY_DEVICES:
        return 403;
    case EAS_REMOTE_WIPE:
    case EAS_NOT_PROVISIONED:
    case EAS_POLICY_REFRESH:
    case EAS_INVALID_POLICY_KEY:
        return 449;
    default:
        return 400;
    }
}

void command_own_status(struct call *c, unsigned status)
{
    c->out->len = 0;
    c->status = eas_write_status(c->out, c->command, status, 0) == 0 ? 200 : 400;
}

void command_status(struct call *c, unsigned status)
{
    c->out->len = 0;
    if (c->version >= 140 && eas_write_status(c->out, c->command, status, 0) == 0)
        c->status = 200;
    else
        c->status = http_status(status);
}

void command_finish(struct call *c, struct wbxml_writer *w)
{
    c->status = 200;
    if (wbxml_finish(w) < 0) {
        c->out->len = 0;
        c->status = 500;
    }
}

bool command_refused(struct call *c)
{
    const struct device *d = c->device;
    if (!personality_has_version(c->personality, c->version)) {
        command_status(c, EAS_VERSION_NOT_SUPPORTED);
        return true;
    }
    if (d->blocked) {
        command_status(c, EAS_DEVICE_BLOCKED);
        return true;
    }
    /* these come before a policy and without its key (MS-ASPROV 3.1.5.1) */
    if (c->command == EAS_PROVISION || c->command == EAS_PING || c->command == EAS_GET_ATTACHMENT)
        return false;
    unsigned wrong = 0;
    if (d->wipe == 1 || d->wipe == 2)
        wrong = EAS_REMOTE_WIPE;
    else if (c->policy != POLICY_REQUIRED)
        return false;
    else if (d->policy_key == 0)
        wrong = EAS_NOT_PROVISIONED;
    else if (strtoul(c->query->policy_key, NULL, 10) != d->policy_key)
        wrong = EAS_INVALID_POLICY_KEY;
    if (wrong != 0)
        command_status(c, wrong);
    return wrong != 0;
}

/* ---- the commands ---- */

static const struct {
    void (*run)(struct call *c);
    uint16_t root; /* 0: none needed */
} commands[EAS_COMMANDS] = {
    [EAS_SYNC] = {cmd_sync, WBXML_AIRSYNC_SYNC},
    [EAS_SEND_MAIL] = {cmd_send_mail, 0},
    [EAS_SMART_FORWARD] = {cmd_smart, 0},
    [EAS_SMART_REPLY] = {cmd_smart, 0},
    [EAS_GET_ATTACHMENT] = {cmd_get_attachment, 0},
    [EAS_FOLDER_SYNC] = {cmd_folder_sync, WBXML_FOLDERHIERARCHY_FOLDERSYNC},
    [EAS_FOLDER_CREATE] = {cmd_folder_create, WBXML_FOLDERHIERARCHY_FOLDERCREATE},
    [EAS_FOLDER_DELETE] = {cmd_folder_delete, WBXML_FOLDERHIERARCHY_FOLDERDELETE},
    [EAS_FOLDER_UPDATE] = {cmd_folder_update, WBXML_FOLDERHIERARCHY_FOLDERUPDATE},
    [EAS_MOVE_ITEMS] = {cmd_move_items, WBXML_MOVE_MOVEITEMS},
    [EAS_GET_ITEM_ESTIMATE] = {cmd_get_item_estimate, WBXML_GETITEMESTIMATE_GETITEMESTIMATE},
    [EAS_MEETING_RESPONSE] = {cmd_meeting_response, WBXML_MEETINGRESPONSE_MEETINGRESPONSE},
    [EAS_SEARCH] = {cmd_search, WBXML_SEARCH_SEARCH},
    [EAS_SETTINGS] = {cmd_settings, WBXML_SETTINGS_SETTINGS},
    [EAS_PING] = {cmd_ping, WBXML_PING_PING},
    [EAS_ITEM_OPERATIONS] = {cmd_item_operations, WBXML_ITEMOPERATIONS_ITEMOPERATIONS},
    [EAS_PROVISION] = {cmd_provision, WBXML_PROVISION_PROVISION},
    [EAS_RESOLVE_RECIPIENTS] = {cmd_resolve_recipients, WBXML_RESOLVERECIPIENTS_RESOLVERECIPIENTS},
    [EAS_VALIDATE_CERT] = {cmd_validate_cert, WBXML_VALIDATECERT_VALIDATECERT},
    [EAS_FIND] = {cmd_find, WBXML_FIND_FIND},
};

/* Whether the version has the command (MS-ASHTTP 2.2.1.1.1.2.2 and MS-ASCMD 1.7). */
static bool version_has(unsigned version, unsigned command)
{
    switch (command) {
    case EAS_FIND:
        return version >= 161;
    case EAS_SETTINGS:
    case EAS_ITEM_OPERATIONS:
        return version >= 120;
    case EAS_GET_ATTACHMENT:
        return version <= 121;
    default:
        return true;
    }
}

void command_run(struct call *c)
{
    if (c->command >= EAS_COMMANDS || commands[c->command].run == NULL ||
        !version_has(c->version, c->command)) {
        c->status = 501; /* the version has no document to say it in */
        return;
    }
    uint16_t root = commands[c->command].root;
    bool may_be_empty = c->command == EAS_SYNC || c->command == EAS_PING;
    if (root != 0 && !(c->body_len == 0 && may_be_empty)) {
        if (c->root == NULL) {
            command_status(c, EAS_INVALID_WBXML);
            return;
        }
        if (c->root->tag != root) {
            command_status(c, EAS_INVALID_XML);
            return;
        }
    }
    commands[c->command].run(c);
}

/* ---- small things ---- */

uint32_t node_number(const struct wbxml_node *n, uint32_t otherwise)
{
    const char *text = wbxml_string(n);
    if (text == NULL || *text == '\0' || strlen(text) > 9 || strspn(text, "0123456789") != strlen(text))
        return otherwise;
    return (uint32_t)strtoul(text, NULL, 10);
}

const char *child_text(const struct wbxml_node *parent, uint16_t tag)
{
    const char *text = wbxml_string(wbxml_find(parent, tag));
    return text != NULL ? text : "";
}

static uint32_t id_parse(const char *text, size_t len)
{
    uint32_t id = 0;
    if (len == 0 || len > 9 || text[0] == '0')
        return 0;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return 0;
        id = 10 * id + (uint32_t)(text[i] - '0');
    }
    return id;
}

uint32_t folder_id_parse(const char *text)
{
    return id_parse(text, strlen(text));
}

bool item_id_parse(const char *text, uint32_t *folder, uint32_t *item)
{
    const char *colon = strchr(text, ':');
    if (colon == NULL)
        return false;
    *folder = id_parse(text, (size_t)(colon - text));
    *item = id_parse(colon + 1, strlen(colon + 1));
    return *folder != 0 && *item != 0;
}

void item_id_format(char dst[ITEM_ID_TEXT], uint32_t folder, uint32_t item)
{
    snprintf(dst, ITEM_ID_TEXT, "%u:%u", folder, item);
}

int64_t filter_since_ms(uint8_t filter, int64_t now_ms)
{
    static const int days[] = {0, 1, 3, 7, 14, 30, 90, 180}; /* MS-ASCMD 2.2.3.68.2 */
    if (filter == 0 || filter >= sizeof days / sizeof days[0])
        return 0;
    return now_ms - now_ms % DAY_MS - days[filter] * DAY_MS;
}
