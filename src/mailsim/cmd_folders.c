/* FolderSync, FolderCreate, FolderUpdate, FolderDelete (MS-ASCMD 2.2.1.3 to 2.2.1.8). */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "command.h"

/* Statuses of the four (MS-ASCMD 2.2.3.177.2 to .5). */
enum {
    FOLDER_OK = 1,
    FOLDER_EXISTS = 2, /* FolderDelete: is one of the default ones: 3 */
    FOLDER_SPECIAL = 3,
    FOLDER_NOT_FOUND = 4,
    FOLDER_NO_PARENT = 5,
    FOLDER_KEY = 9,
    FOLDER_FORMAT = 10,
};

/* Puts the device's state where the key says: the last one, or the one before it, whose answer was lost. */
static bool take_key(struct device *d, const char *text)
{
    uint32_t key = folder_id_parse(text);
    if (strcmp(text, "0") == 0) {
        d->folder_key = 0;
        d->hierarchy = d->hierarchy_before = 0;
        return true;
    }
    if (key == 0 || d->folder_key == 0)
        return false;
    if (key == d->folder_key) {
        d->hierarchy_before = d->hierarchy;
        return true;
    }
    if (key + 1 != d->folder_key)
        return false;
    d->folder_key--;
    d->hierarchy = d->hierarchy_before;
    return true;
}

enum { TOLD_ADD, TOLD_UPDATE, TOLD_DELETE, TOLD_NOTHING };

static unsigned to_tell(const struct device *d, const struct folder *f)
{
    bool known = f->created <= d->hierarchy;
    if (f->changed <= d->hierarchy || (f->gone && !known))
        return TOLD_NOTHING;
    return f->gone ? TOLD_DELETE : known ? TOLD_UPDATE : TOLD_ADD;
}

static void write_id(struct wbxml_writer *w, uint16_t tag, uint32_t id)
{
    char text[16];
    snprintf(text, sizeof text, "%u", id);
    wbxml_element(w, tag, text);
}

static void write_folder(struct wbxml_writer *w, const struct folder *f, unsigned what)
{
    static const uint16_t tags[] = {WBXML_FOLDERHIERARCHY_ADD, WBXML_FOLDERHIERARCHY_UPDATE,
                                    WBXML_FOLDERHIERARCHY_DELETE};
    wbxml_open(w, tags[what]);
    write_id(w, WBXML_FOLDERHIERARCHY_SERVERID, f->id);
    if (what != TOLD_DELETE) {
        write_id(w, WBXML_FOLDERHIERARCHY_PARENTID, f->parent);
        wbxml_element(w, WBXML_FOLDERHIERARCHY_DISPLAYNAME, f->name);
        wbxml_number(w, WBXML_FOLDERHIERARCHY_TYPE, f->type);
    }
    wbxml_close(w);
}

/* Notes were added with 14.0; a client that is older would not know the type. */
static bool is_shown(const struct call *c, const struct folder *f)
{
    return f->item_class != CLASS_NOTES || c->version >= 140;
}

void cmd_folder_sync(struct call *c)
{
    struct device *d = c->device;
    struct wbxml_writer w;
    uint32_t last = box_last_folder(c->box), count = 0;
    const char *key = child_text(c->root, WBXML_FOLDERHIERARCHY_SYNCKEY);
    if (key[0] == '\0' || (strcmp(key, "0") != 0 && folder_id_parse(key) == 0)) {
        command_own_status(c, FOLDER_FORMAT);
        return;
    }
    if (!take_key(d, key)) {
        command_own_status(c, FOLDER_KEY);
        return;
    }
    bool first = strcmp(key, "0") == 0;
    for (uint32_t id = 1; id <= last; id++) {
        struct folder untouched;
        const struct folder *f = box_folder_peek(c->box, id, &untouched);
        count += is_shown(c, f) && to_tell(d, f) != TOLD_NOTHING;
    }
    if (count > 0 || first)
        d->folder_key++;
    wbxml_begin(&w, c->out);
    wbxml_open(&w, WBXML_FOLDERHIERARCHY_FOLDERSYNC);
    wbxml_number(&w, WBXML_FOLDERHIERARCHY_STATUS, FOLDER_OK);
    wbxml_number(&w, WBXML_FOLDERHIERARCHY_SYNCKEY, d->folder_key);
    wbxml_open(&w, WBXML_FOLDERHIERARCHY_CHANGES);
    wbxml_number(&w, WBXML_FOLDERHIERARCHY_COUNT, count);
    for (uint32_t id = 1; id <= last; id++) {
        struct folder untouched;
        const struct folder *f = box_folder_peek(c->box, id, &untouched);
        unsigned what = to_tell(d, f);
        if (is_shown(c, f) && what != TOLD_NOTHING)
            write_folder(&w, f, what);
    }
    wbxml_close(&w);
    wbxml_close(&w);
    d->hierarchy = c->box->hierarchy;
    command_finish(c, &w);
    if (first) /* what is spoken here, said again (MS-ASHTTP 2.2.1.1.2.8) */
        buf_printf(c->fields, "MS-ASProtocolVersions: %s\r\nMS-ASProtocolCommands: %s\r\n",
                   c->personality->versions, personality_commands(c->personality));
}

/* ---- changes of the client ---- */

/* Answers the change that was made, which the device knows of itself. */
static void answer_change(struct call *c, uint16_t root, const struct folder *created)
{
    struct device *d = c->device;
    struct wbxml_writer w;
    d->hierarchy_before = d->hierarchy;
    d->hierarchy = c->box->hierarchy;
    d->folder_key++;
    wbxml_begin(&w, c->out);
    wbxml_open(&w, root);
    wbxml_number(&w, WBXML_FOLDERHIERARCHY_STATUS, FOLDER_OK);
    wbxml_number(&w, WBXML_FOLDERHIERARCHY_SYNCKEY, d->folder_key);
    if (created != NULL)
        write_id(&w, WBXML_FOLDERHIERARCHY_SERVERID, created->id);
    wbxml_close(&w);
    command_finish(c, &w);
}

/* The key has to be the last one, and nothing may have changed since: else the client would miss it. */
static bool check_key(struct call *c)
{
    struct device *d = c->device;
    uint32_t key = folder_id_parse(child_text(c->root, WBXML_FOLDERHIERARCHY_SYNCKEY));
    if (key != 0 && key == d->folder_key && d->hierarchy == c->box->hierarchy)
        return true;
    command_own_status(c, FOLDER_KEY);
    return false;
}

static bool name_is_taken(const struct call *c, uint32_t parent, const char *name, uint32_t but)
{
    for (uint32_t id = 1; id <= box_last_folder(c->box); id++) {
        struct folder untouched;
        const struct folder *f = box_folder_peek(c->box, id, &untouched);
        if (f != NULL && !f->gone && id != but && f->parent == parent && strcasecmp(f->name, name) == 0)
            return true;
    }
    return false;
}

/* "0" is the root. False: there is no such parent. */
static bool parent_of(const struct call *c, uint32_t *parent)
{
    const char *text = child_text(c->root, WBXML_FOLDERHIERARCHY_PARENTID);
    *parent = folder_id_parse(text);
    return strcmp(text, "0") == 0 || box_folder(c->boxes, c->box, *parent) != NULL;
}

static bool is_creatable(uint32_t type)
{
    return type == TYPE_USER || (type >= TYPE_USER_MAIL && type <= TYPE_USER_TASKS) ||
           type == TYPE_USER_NOTES;
}

void cmd_folder_create(struct call *c)
{
    const char *name = child_text(c->root, WBXML_FOLDERHIERARCHY_DISPLAYNAME);
    uint32_t type = node_number(wbxml_find(c->root, WBXML_FOLDERHIERARCHY_TYPE), 0);
    uint32_t parent;
    if (!check_key(c))
        return;
    if (name[0] == '\0' || !is_creatable(type)) {
        command_own_status(c, FOLDER_FORMAT);
    } else if (!parent_of(c, &parent)) {
        command_own_status(c, FOLDER_NO_PARENT);
    } else if (name_is_taken(c, parent, name, 0)) {
        command_own_status(c, FOLDER_EXISTS);
    } else {
        const struct folder *f = box_add_folder(c->boxes, c->box, parent, (uint8_t)type, name);
        if (f == NULL)
            command_own_status(c, 6); /* the server cannot */
        else
            answer_change(c, WBXML_FOLDERHIERARCHY_FOLDERCREATE, f);
    }
}

/* Whether `id` is the folder or below it. */
static bool is_within(const struct call *c, uint32_t id, const struct folder *f)
{
    while (id != 0) {
        if (id == f->id)
            return true;
        const struct folder *up = box_folder(c->boxes, c->box, id);
        id = up != NULL ? up->parent : 0;
    }
    return false;
}

void cmd_folder_update(struct call *c)
{
    uint32_t id = folder_id_parse(child_text(c->root, WBXML_FOLDERHIERARCHY_SERVERID));
    const char *name = child_text(c->root, WBXML_FOLDERHIERARCHY_DISPLAYNAME);
    uint32_t parent;
    if (!check_key(c))
        return;
    struct folder *f = box_folder(c->boxes, c->box, id);
    if (name[0] == '\0') {
        command_own_status(c, FOLDER_FORMAT);
    } else if (f == NULL) {
        command_own_status(c, FOLDER_NOT_FOUND);
    } else if (id <= FOLDER_DEFAULTS) {
        command_own_status(c, FOLDER_EXISTS); /* 2: also "a special folder that cannot be changed" */
    } else if (!parent_of(c, &parent) || is_within(c, parent, f)) {
        command_own_status(c, FOLDER_NO_PARENT);
    } else if (name_is_taken(c, parent, name, id)) {
        command_own_status(c, FOLDER_EXISTS);
    } else {
        box_change_folder(c->boxes, c->box, f, parent, name);
        answer_change(c, WBXML_FOLDERHIERARCHY_FOLDERUPDATE, NULL);
    }
}

void cmd_folder_delete(struct call *c)
{
    uint32_t id = folder_id_parse(child_text(c->root, WBXML_FOLDERHIERARCHY_SERVERID));
    if (!check_key(c))
        return;
    struct folder *f = box_folder(c->boxes, c->box, id);
    if (f == NULL) {
        command_own_status(c, FOLDER_NOT_FOUND);
    } else if (id <= FOLDER_DEFAULTS) {
        command_own_status(c, FOLDER_SPECIAL);
    } else {
        box_remove_folder(c->boxes, c->box, f);
        answer_change(c, WBXML_FOLDERHIERARCHY_FOLDERDELETE, NULL);
    }
}
