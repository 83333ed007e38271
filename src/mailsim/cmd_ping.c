/* Ping (MS-ASCMD 2.2.1.13): waits for changes in folders; and GetItemEstimate, which counts them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "command.h"

/* Statuses of Ping (MS-ASCMD 2.2.3.177.11). */
enum {
    PING_EXPIRED = 1,
    PING_CHANGES = 2,
    PING_MISSING = 3,
    PING_SYNTAX = 4,
    PING_INTERVAL = 5,
    PING_TOO_MANY = 6,
    PING_FOLDERS = 7,
};

/* ---- Ping ---- */

static enum item_class class_by_name(const char *name)
{
    enum item_class class = CLASS_EMAIL;
    while (class < CLASSES && strcmp(class_names[class], name) != 0)
        class ++;
    return class;
}

static bool has_folder(const struct ping_folder *folders, size_t count, uint32_t id)
{
    for (size_t i = 0; i < count; i++) {
        if (folders[i].id == id)
            return true;
    }
    return false;
}

/* The folders of a request, kept for the next one, which may be without them. A status, 0 for a good one. */
static unsigned take_folders(struct call *c, const struct wbxml_node *folders)
{
    struct device *d = c->device;
    struct ping_folder *list = NULL;
    size_t count = 0;
    unsigned status = 0;
    const struct wbxml_node *n = wbxml_find(folders, WBXML_PING_FOLDER);
    for (; n != NULL && status == 0; n = wbxml_find_next(folders, n, WBXML_PING_FOLDER)) {
        struct ping_folder f = {.id = folder_id_parse(child_text(n, WBXML_PING_ID)),
                                .item_class = class_by_name(child_text(n, WBXML_PING_CLASS))};
        if (count == c->personality->ping_folders_max)
            status = PING_TOO_MANY;
        else if (f.id == 0 || f.item_class == CLASSES || has_folder(list, count, f.id))
            status = PING_SYNTAX;
        else if (box_folder(c->boxes, c->box, f.id) == NULL)
            status = PING_FOLDERS;
        list = mem_realloc(list, (count + 1) * sizeof *list);
        list[count++] = f;
    }
    if (status != 0) {
        free(list);
        return status;
    }
    free(d->ping);
    d->ping = list;
    d->ping_count = count;
    return count == 0 ? PING_MISSING : 0;
}

static void answer_number(struct call *c, unsigned status, uint16_t tag, uint32_t number)
{
    struct wbxml_writer w;
    wbxml_begin(&w, c->out);
    wbxml_open(&w, WBXML_PING_PING);
    wbxml_number(&w, WBXML_PING_STATUS, status);
    wbxml_number(&w, tag, number);
    wbxml_close(&w);
    command_finish(c, &w);
}

/* False: it is answered. */
static bool take_request(struct call *c)
{
    const struct personality *p = c->personality;
    struct device *d = c->device;
    const struct wbxml_node *folders = wbxml_find(c->root, WBXML_PING_FOLDERS);
    uint32_t beat = node_number(wbxml_find(c->root, WBXML_PING_HEARTBEATINTERVAL), d->heartbeat_s);
    unsigned status = folders != NULL ? take_folders(c, folders) : 0;
    if (status == PING_TOO_MANY) {
        answer_number(c, status, WBXML_PING_MAXFOLDERS, p->ping_folders_max);
        return false;
    }
    if (status == 0 && (beat == 0 || d->ping_count == 0))
        status = PING_MISSING;
    if (status == 0 && (beat < p->heartbeat_min_s || beat > p->heartbeat_max_s)) {
        answer_number(c, PING_INTERVAL, WBXML_PING_HEARTBEATINTERVAL,
                      beat < p->heartbeat_min_s ? p->heartbeat_min_s : p->heartbeat_max_s);
        return false;
    }
    if (status != 0) {
        command_own_status(c, status);
        return false;
    }
    d->heartbeat_s = beat;
    return true;
}

/* Whether there is something that the device has not been told of. What it never synced does not count. */
static bool has_changed(const struct call *c, uint32_t id, bool *gone)
{
    struct folder *f = box_folder(c->boxes, c->box, id);
    struct collection *s = device_collection(c->device, id);
    *gone = f == NULL;
    return f != NULL && s != NULL && s->key != 0 && sync_pending(c, f, s, 1) > 0;
}

void cmd_ping(struct call *c)
{
    struct device *d = c->device;
    struct wbxml_writer w;
    bool any = false;
    if (c->turn == TURN_REPLACED) {
        command_own_status(c, PING_EXPIRED);
        return;
    }
    /* what is asked was read when the call was first made */
    if (c->turn == TURN_FIRST && !take_request(c))
        return;
    wbxml_begin(&w, c->out);
    wbxml_open(&w, WBXML_PING_PING);
    wbxml_number(&w, WBXML_PING_STATUS, PING_CHANGES);
    wbxml_open(&w, WBXML_PING_FOLDERS);
    for (size_t i = 0; i < d->ping_count; i++) {
        bool gone;
        char id[16];
        bool changed = has_changed(c, d->ping[i].id, &gone);
        if (gone) {
            command_own_status(c, PING_FOLDERS);
            return;
        }
        if (!changed)
            continue;
        snprintf(id, sizeof id, "%u", d->ping[i].id);
        wbxml_element(&w, WBXML_PING_FOLDER, id);
        any = true;
    }
    wbxml_close(&w);
    wbxml_close(&w);
    if (any) {
        command_finish(c, &w);
    } else if (c->turn == TURN_EXPIRED) {
        command_own_status(c, PING_EXPIRED);
    } else {
        c->out->len = 0;
        c->wait_s = d->heartbeat_s;
    }
}

/* ---- GetItemEstimate ---- */

enum { ESTIMATE_OK = 1, ESTIMATE_NOT_FOUND = 2, ESTIMATE_NO_STATE = 3, ESTIMATE_KEY = 4 };

/* A status. */
static unsigned estimate(const struct call *c, const struct wbxml_node *n, uint32_t *count)
{
    uint32_t id = folder_id_parse(child_text(n, WBXML_GETITEMESTIMATE_COLLECTIONID));
    const char *key = child_text(n, WBXML_AIRSYNC_SYNCKEY);
    struct folder *f = box_folder(c->boxes, c->box, id);
    const struct collection *s = device_collection(c->device, id);
    if (f == NULL)
        return ESTIMATE_NOT_FOUND;
    if (s == NULL || s->key == 0 || strcmp(key, "0") == 0)
        return ESTIMATE_NO_STATE;
    if (folder_id_parse(key) != s->key)
        return ESTIMATE_KEY;
    struct collection as_asked = *s;
    const struct wbxml_node *options = wbxml_find(n, WBXML_AIRSYNC_OPTIONS);
    const struct wbxml_node *filter = wbxml_find(options != NULL ? options : n, WBXML_AIRSYNC_FILTERTYPE);
    if (f->item_class == CLASS_EMAIL && (filter != NULL || s->pass_at == 0))
        as_asked.since = filter_since_ms((uint8_t)node_number(filter, s->filter), c->now_ms);
    *count = (uint32_t)sync_pending(c, f, &as_asked, SIZE_MAX);
    return ESTIMATE_OK;
}

void cmd_get_item_estimate(struct call *c)
{
    const struct wbxml_node *collections = wbxml_find(c->root, WBXML_GETITEMESTIMATE_COLLECTIONS);
    const struct wbxml_node *n = wbxml_find(collections, WBXML_GETITEMESTIMATE_COLLECTION);
    struct wbxml_writer w;
    if (n == NULL) {
        command_status(c, EAS_INVALID_XML);
        return;
    }
    wbxml_begin(&w, c->out);
    wbxml_open(&w, WBXML_GETITEMESTIMATE_GETITEMESTIMATE);
    for (; n != NULL; n = wbxml_find_next(collections, n, WBXML_GETITEMESTIMATE_COLLECTION)) {
        uint32_t count = 0;
        unsigned status = estimate(c, n, &count);
        wbxml_open(&w, WBXML_GETITEMESTIMATE_RESPONSE);
        wbxml_number(&w, WBXML_GETITEMESTIMATE_STATUS, status);
        wbxml_open(&w, WBXML_GETITEMESTIMATE_COLLECTION);
        const struct folder *f =
            box_folder(c->boxes, c->box, folder_id_parse(child_text(n, WBXML_GETITEMESTIMATE_COLLECTIONID)));
        if (c->version <= 121 && f != NULL)
            wbxml_element(&w, WBXML_GETITEMESTIMATE_CLASS, class_names[f->item_class]);
        wbxml_element(&w, WBXML_GETITEMESTIMATE_COLLECTIONID,
                      child_text(n, WBXML_GETITEMESTIMATE_COLLECTIONID));
        if (status == ESTIMATE_OK)
            wbxml_number(&w, WBXML_GETITEMESTIMATE_ESTIMATE, count);
        wbxml_close(&w);
        wbxml_close(&w);
    }
    wbxml_close(&w);
    command_finish(c, &w);
}
