/* Sync (MS-ASCMD 2.2.1.21): what a device has changed, what has changed for it, and waiting for that. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "command.h"

#define WINDOW_DEFAULT 100
#define WAIT_MAX_MIN   59

/* Statuses of Sync (MS-ASCMD 2.2.3.177.17). */
enum {
    SYNC_OK = 1,
    SYNC_KEY = 3,
    SYNC_PROTOCOL = 4,
    SYNC_SERVER = 5,
    SYNC_CONVERSION = 6,
    SYNC_CONFLICT = 7,
    SYNC_NOT_FOUND = 8,
    SYNC_FULL = 9,
    SYNC_FOLDERS = 12,
    SYNC_INCOMPLETE = 13,
    SYNC_WAIT = 14,
    SYNC_TOO_MANY = 15,
};

/* ---- the request ---- */

struct request {
    const struct wbxml_node *root;
    const struct wbxml_node *collections;
    uint32_t wait_s;
    uint32_t window; /* of all collections together */
    bool partial;
    bool empty;
};

/* One collection of it, or of the ones the device has synced before. */
struct part {
    const struct wbxml_node *node; /* NULL: as before */
    struct folder *folder;
    struct collection *state;
    uint32_t key;
    bool first; /* key 0 */
    bool again; /* the key before the last */
};

static void answer_limit(struct call *c, unsigned status, uint32_t limit)
{
    c->out->len = 0;
    c->status = eas_write_status(c->out, EAS_SYNC, status, limit) == 0 ? 200 : 500;
}

/* False: it is answered. */
static bool read_wait(struct call *c, struct request *r)
{
    const struct personality *p = c->personality;
    const struct wbxml_node *wait = c->version >= 121 ? wbxml_find(r->root, WBXML_AIRSYNC_WAIT) : NULL;
    const struct wbxml_node *beat =
        c->version >= 140 ? wbxml_find(r->root, WBXML_AIRSYNC_HEARTBEATINTERVAL) : NULL;
    if (wait != NULL && beat != NULL) {
        command_own_status(c, SYNC_PROTOCOL);
        return false;
    }
    if (wait != NULL) {
        uint32_t minutes = node_number(wait, 0);
        if (minutes < 1 || minutes > WAIT_MAX_MIN) {
            answer_limit(c, SYNC_WAIT, minutes < 1 ? 1 : WAIT_MAX_MIN);
            return false;
        }
        r->wait_s = 60 * minutes;
    }
    if (beat != NULL) {
        uint32_t seconds = node_number(beat, 0);
        if (seconds < p->heartbeat_min_s || seconds > p->heartbeat_max_s) {
            answer_limit(c, SYNC_WAIT,
                         seconds < p->heartbeat_min_s ? p->heartbeat_min_s : p->heartbeat_max_s);
            return false;
        }
        r->wait_s = seconds;
    }
    return true;
}

/* False: it is answered. An empty request is the one before it again. */
static bool read_request(struct call *c, struct request *r)
{
    struct device *d = c->device;
    *r = (struct request){.root = c->root, .empty = c->root == NULL};
    if (r->empty && (c->version < 121 || d->sync_window == 0)) {
        command_own_status(c, SYNC_INCOMPLETE); /* nothing is known that could be repeated */
        return false;
    }
    if (r->empty) {
        r->wait_s = d->sync_wait_s;
        r->window = d->sync_window;
        return true;
    }
    if (!read_wait(c, r))
        return false;
    r->collections = wbxml_find(c->root, WBXML_AIRSYNC_COLLECTIONS);
    r->partial = c->version >= 121 && wbxml_find(c->root, WBXML_AIRSYNC_PARTIAL) != NULL;
    r->window = node_number(wbxml_find(c->root, WBXML_AIRSYNC_WINDOWSIZE), c->personality->window_max);
    if (r->window == 0 || r->window > c->personality->window_max)
        r->window = c->personality->window_max;
    if (r->partial && d->sync_window == 0) {
        command_own_status(c, SYNC_INCOMPLETE);
        return false;
    }
    if (!r->partial && wbxml_first(r->collections) == NULL) {
        command_own_status(c, SYNC_PROTOCOL);
        return false;
    }
    d->sync_wait_s = r->wait_s;
    d->sync_window = (uint16_t)r->window;
    return true;
}

static uint32_t key_of(const struct wbxml_node *node)
{
    const char *text = child_text(node, WBXML_AIRSYNC_SYNCKEY);
    return strcmp(text, "0") == 0 ? 0 : folder_id_parse(text) != 0 ? folder_id_parse(text) : UINT32_MAX;
}

/* What the client says once and means until it says otherwise. */
static void read_options(struct call *c, struct part *p)
{
    struct collection *s = p->state;
    const struct wbxml_node *options = wbxml_find(p->node, WBXML_AIRSYNC_OPTIONS);
    const struct wbxml_node *changes = wbxml_find(p->node, WBXML_AIRSYNC_GETCHANGES);
    uint32_t window = node_number(wbxml_find(p->node, WBXML_AIRSYNC_WINDOWSIZE), WINDOW_DEFAULT);
    s->window =
        (uint16_t)(window == 0 || window > c->personality->window_max ? c->personality->window_max : window);
    s->no_changes = changes != NULL && strcmp(wbxml_string(changes) ? wbxml_string(changes) : "", "0") == 0;
    if (options == NULL)
        return;
    struct view v;
    view_read(&v, c, options);
    s->filter = (uint8_t)(node_number(wbxml_find(options, WBXML_AIRSYNC_FILTERTYPE), 0) % 9);
    s->conflict = (uint8_t)(node_number(wbxml_find(options, WBXML_AIRSYNC_CONFLICT), 1) != 0);
    s->mime = v.mime;
    s->body_count = v.body_count;
    memcpy(s->bodies, v.bodies, sizeof s->bodies);
}

static void view_of(const struct collection *s, struct view *v)
{
    *v = (struct view){.mime = s->mime, .body_count = s->body_count};
    memcpy(v->bodies, s->bodies, sizeof v->bodies);
}

/* ---- what the client has changed ---- */

struct responses {
    struct wbxml_writer *w;
    bool open;
};

static void open_response(struct responses *r, uint16_t what)
{
    if (!r->open)
        wbxml_open(r->w, WBXML_AIRSYNC_RESPONSES);
    r->open = true;
    wbxml_open(r->w, what);
}

static void respond(struct responses *r, uint16_t what, const char *id, unsigned status)
{
    open_response(r, what);
    wbxml_element(r->w, WBXML_AIRSYNC_SERVERID, id);
    wbxml_number(r->w, WBXML_AIRSYNC_STATUS, status);
    wbxml_close(r->w);
}

static const struct added *find_added(const struct collection *s, const char *client_id)
{
    for (size_t i = 0; i < s->added_count; i++) {
        if (strcmp(s->added[i].client_id, client_id) == 0)
            return &s->added[i];
    }
    return NULL;
}

static void remember_added(struct collection *s, const char *client_id, uint32_t id)
{
    s->added = mem_realloc(s->added, (s->added_count + 1) * sizeof *s->added);
    struct added *a = &s->added[s->added_count++];
    a->id = id;
    mem_copy_text(a->client_id, sizeof a->client_id, client_id);
}

/* From 16.0 on mail can be written among the drafts, and is sent with Send in it. */
static bool takes_drafts(const struct call *c, const struct folder *f)
{
    return c->version >= 160 && f->type == TYPE_DRAFTS;
}

/* Sends a draft that says so. A status. */
static unsigned send_draft(struct call *c, const struct letter *l)
{
    struct buf mime;
    buf_init(&mime, CALL_ANSWER_MAX);
    mail_write_mime(&l->mail, &mime);
    unsigned status = send_message(c, mime.data, mime.len, true);
    buf_deinit(&mime);
    return status == EAS_OK ? SYNC_OK : SYNC_CONVERSION;
}

/* A new item's ID, 0 where there is none; a status. */
static unsigned add_item(struct call *c, struct part *p, const struct wbxml_node *data, bool send,
                         uint32_t *id)
{
    if (takes_drafts(c, p->folder)) {
        struct letter *l = read_draft(c, data, NULL);
        unsigned status = send ? send_draft(c, l) : SYNC_OK;
        if (!send) {
            struct item *it = folder_add_mail(c->boxes, c->box, p->folder, l, c->device);
            it->draft = true;
            *id = it->id;
        }
        letter_unref(l);
        return status;
    }
    if (p->folder->item_class == CLASS_EMAIL)
        return SYNC_CONVERSION; /* mail is sent by SendMail, not added here */
    struct buf doc;
    buf_init(&doc, CALL_ANSWER_MAX);
    read_item(c, p->folder, data, NULL, 0, &doc);
    if (doc.len > 0)
        *id = folder_add(c->boxes, c->box, p->folder, doc.data, doc.len, c->device)->id;
    buf_deinit(&doc);
    return *id != 0 ? SYNC_OK : SYNC_CONVERSION;
}

static void take_add(struct call *c, struct part *p, const struct wbxml_node *n, struct responses *r)
{
    const char *client_id = child_text(n, WBXML_AIRSYNC_CLIENTID);
    const struct wbxml_node *data = wbxml_find(n, WBXML_AIRSYNC_APPLICATIONDATA);
    const struct added *before = p->again ? find_added(p->state, client_id) : NULL;
    uint32_t id = before != NULL ? before->id : 0;
    unsigned status = SYNC_OK;
    if (client_id[0] == '\0' || strlen(client_id) > 64 || data == NULL) {
        status = SYNC_CONVERSION;
    } else if (before == NULL) {
        status = add_item(c, p, data, wbxml_find(n, WBXML_EMAIL2_SEND) != NULL, &id);
        if (status == SYNC_OK)
            remember_added(p->state, client_id, id);
    }
    open_response(r, WBXML_AIRSYNC_ADD);
    wbxml_element(r->w, WBXML_AIRSYNC_CLIENTID, client_id);
    if (id != 0) {
        char text[ITEM_ID_TEXT];
        item_id_format(text, p->folder->id, id);
        wbxml_element(r->w, WBXML_AIRSYNC_SERVERID, text);
    }
    wbxml_number(r->w, WBXML_AIRSYNC_STATUS, status);
    wbxml_close(r->w);
}

/* The item of this folder that a ServerId means. */
static bool find_item(struct call *c, struct part *p, const char *id, struct look *look)
{
    uint32_t folder, item;
    return item_id_parse(id, &folder, &item) && folder == p->folder->id &&
           folder_look(p->folder, c->box->seed, item, look) && !look->gone;
}

static void change_mail(struct call *c, const struct folder *f, struct item *it,
                        const struct wbxml_node *data)
{
    const struct wbxml_node *read = wbxml_find(data, WBXML_EMAIL_READ);
    if (read != NULL)
        it->read = node_number(read, 0) != 0;
    if (wbxml_find(data, WBXML_EMAIL_FLAG) == NULL && wbxml_find(data, WBXML_EMAIL_CATEGORIES) == NULL)
        return;
    struct buf doc;
    buf_init(&doc, CALL_ANSWER_MAX);
    read_item(c, f, data, it->data, it->len, &doc);
    if (doc.len > 0)
        item_set_data(it, doc.data, doc.len);
    buf_deinit(&doc);
}

static void change_data(struct call *c, struct folder *f, struct item *it, const struct look *look,
                        const struct wbxml_node *data)
{
    struct buf before, doc;
    buf_init(&before, CALL_ANSWER_MAX);
    buf_init(&doc, CALL_ANSWER_MAX);
    folder_data(c->boxes, c->box, f, look, &before);
    read_item(c, f, data, before.data, before.len, &doc);
    if (doc.len > 0)
        item_set_data(it, doc.data, doc.len);
    buf_deinit(&before);
    buf_deinit(&doc);
}

/* A draft as it is now; sent, it is one no more. A status. */
static unsigned change_draft(struct call *c, struct folder *f, struct item *it, const struct wbxml_node *data,
                             bool send)
{
    struct letter *l = read_draft(c, data, &it->letter->mail);
    unsigned status = send ? send_draft(c, l) : SYNC_OK;
    if (status == SYNC_OK) {
        letter_unref(it->letter);
        it->letter = letter_ref(l);
        if (send)
            folder_delete(c->boxes, c->box, f, it->id, NULL);
    }
    letter_unref(l);
    return status;
}

static void take_change(struct call *c, struct part *p, const struct wbxml_node *n, struct responses *r)
{
    const char *id = child_text(n, WBXML_AIRSYNC_SERVERID);
    const struct wbxml_node *data = wbxml_find(n, WBXML_AIRSYNC_APPLICATIONDATA);
    struct look look;
    if (data == NULL) {
        respond(r, WBXML_AIRSYNC_CHANGE, id, SYNC_CONVERSION);
        return;
    }
    if (!find_item(c, p, id, &look)) {
        respond(r, WBXML_AIRSYNC_CHANGE, id, SYNC_NOT_FOUND);
        return;
    }
    struct item *it = folder_own(c->boxes, c->box, p->folder, look.id);
    bool conflict =
        it->modseq > p->state->seen && it->by != c->device && p->folder->item_class != CLASS_EMAIL;
    if (conflict && p->state->conflict == 1) { /* the client gets ours with what has changed */
        respond(r, WBXML_AIRSYNC_CHANGE, id, SYNC_CONFLICT);
        return;
    }
    if (takes_drafts(c, p->folder) && it->letter != NULL) {
        unsigned status = change_draft(c, p->folder, it, data, wbxml_find(n, WBXML_EMAIL2_SEND) != NULL);
        if (status != SYNC_OK)
            respond(r, WBXML_AIRSYNC_CHANGE, id, status);
        if (status != SYNC_OK || it->gone)
            return;
    } else if (p->folder->item_class == CLASS_EMAIL) {
        change_mail(c, p->folder, it, data);
    } else {
        change_data(c, p->folder, it, &look, data);
    }
    folder_touch(c->boxes, c->box, p->folder, it, c->device);
}

/* What Traveler was known for (CXM-47936): an invitation that was answered stays when it is deleted. */
static bool stays(const struct call *c, const struct look *look)
{
    return c->personality->traveler && look->item != NULL && look->item->answered;
}

static void take_delete(struct call *c, struct part *p, const struct wbxml_node *n, struct responses *r)
{
    const char *id = child_text(n, WBXML_AIRSYNC_SERVERID);
    const struct wbxml_node *moves = wbxml_find(p->node, WBXML_AIRSYNC_DELETESASMOVES);
    bool move = moves == NULL || strcmp(wbxml_string(moves) ? wbxml_string(moves) : "", "0") != 0;
    struct look look;
    if (!find_item(c, p, id, &look)) {
        respond(r, WBXML_AIRSYNC_DELETE, id, SYNC_NOT_FOUND);
        return;
    }
    if (stays(c, &look))
        return;
    struct folder *bin = box_folder(c->boxes, c->box, FOLDER_DELETED);
    if (move && p->folder->item_class == CLASS_EMAIL && p->folder != bin)
        folder_move(c->boxes, c->box, p->folder, look.id, bin, c->device, NULL);
    else
        folder_delete(c->boxes, c->box, p->folder, look.id, c->device);
}

static void take_fetch(struct call *c, struct part *p, const struct wbxml_node *n, struct responses *r)
{
    const char *id = child_text(n, WBXML_AIRSYNC_SERVERID);
    struct look look;
    struct view v;
    if (!find_item(c, p, id, &look)) {
        respond(r, WBXML_AIRSYNC_FETCH, id, SYNC_NOT_FOUND);
        return;
    }
    view_of(p->state, &v);
    for (size_t i = 0; i < v.body_count; i++) {
        v.bodies[i].size = UINT32_MAX;
        v.bodies[i].whole = false;
    }
    open_response(r, WBXML_AIRSYNC_FETCH);
    wbxml_element(r->w, WBXML_AIRSYNC_SERVERID, id);
    wbxml_element(r->w, WBXML_AIRSYNC_STATUS, "1");
    wbxml_open(r->w, WBXML_AIRSYNC_APPLICATIONDATA);
    write_item(c, r->w, p->folder, &look, &v);
    wbxml_close(r->w);
    wbxml_close(r->w);
}

static void take_commands(struct call *c, struct part *p, struct wbxml_writer *w)
{
    const struct wbxml_node *commands = wbxml_find(p->node, WBXML_AIRSYNC_COMMANDS);
    struct responses r = {.w = w};
    for (const struct wbxml_node *n = wbxml_first(commands); n != NULL; n = wbxml_next(commands, n)) {
        switch (n->tag) {
        case WBXML_AIRSYNC_ADD:
            take_add(c, p, n, &r);
            break;
        case WBXML_AIRSYNC_CHANGE:
            take_change(c, p, n, &r);
            break;
        case WBXML_AIRSYNC_DELETE:
            take_delete(c, p, n, &r);
            break;
        case WBXML_AIRSYNC_FETCH:
            take_fetch(c, p, n, &r);
            break;
        default:
            break;
        }
    }
    if (r.open)
        wbxml_close(w);
}

/* ---- what has changed for the client ---- */

enum news { NEWS_NONE, NEWS_ADD, NEWS_CHANGE, NEWS_DELETE, NEWS_SOFT_DELETE };

/* What is to be told, gathered before any of it is written: whether there is more stands in front. */
struct tell {
    struct look look;
    enum news news;
};
struct changes {
    struct tell *tells; /* owned */
    size_t count;
    size_t window;
    bool more;
};

/* False: the window is full. */
static bool gather(struct changes *x, const struct look *look, enum news news)
{
    if (x->count == x->window) {
        x->more = true;
        return false;
    }
    if ((x->count & (x->count - 1)) == 0) /* at each power of two */
        x->tells = mem_realloc(x->tells, (x->count == 0 ? 1 : 2 * x->count) * sizeof *x->tells);
    x->tells[x->count++] = (struct tell){*look, news};
    return true;
}

/* What a change means to this device. */
static enum news news_of(const struct call *c, const struct folder *f, const struct collection *s,
                         const struct look *look)
{
    bool known = look->created <= s->seen;
    const struct item *it = look->item;
    if (it != NULL && it->by == c->device && it->modseq > s->born &&
        (it->before <= s->seen || look->created == look->modseq))
        return NEWS_NONE; /* its own doing */
    if (look->gone)
        return known ? NEWS_DELETE : NEWS_NONE;
    if (s->since != 0 && folder_received_ms(c->boxes, c->box, f, look) < s->since)
        return NEWS_NONE;
    return known ? NEWS_CHANGE : NEWS_ADD;
}

/* The item at a place of the first pass. False: nothing to be told of there. */
static bool look_at_place(const struct call *c, const struct folder *f, const struct collection *s,
                          uint32_t place, struct look *look)
{
    uint32_t newer =
        s->pass_last > f->generated ? s->pass_last - f->generated : 0; /* than what is generated */
    uint32_t id = place < newer ? s->pass_last - place : place - newer + 1;
    return folder_look(f, c->box->seed, id, look) && !look->gone &&
           (s->since == 0 || folder_received_ms(c->boxes, c->box, f, look) >= s->since);
}

size_t sync_pending(const struct call *c, const struct folder *f, const struct collection *s, size_t enough)
{
    struct folder_walk walk;
    struct look look;
    size_t count = 0;
    for (uint32_t place = s->pass_at; place < s->pass_last && count < enough; place++)
        count += look_at_place(c, f, s, place, &look);
    folder_walk_init(&walk, f, s->seen);
    while (count < enough && folder_walk_next(&walk, c->box->seed, &look))
        count += news_of(c, f, s, &look) != NEWS_NONE;
    return count;
}

struct aged {
    int64_t received_ms;
    uint32_t id;
};

static int older_first(const void *a, const void *b)
{
    const struct aged *x = a, *y = b;
    return x->received_ms < y->received_ms ? -1 : x->received_ms > y->received_ms;
}

/* Mails that the device knows, or would if it had wanted them, which came in that time: the oldest first.
 * Owned by the caller. */
static struct aged *known_between(const struct call *c, const struct part *p, int64_t low, int64_t high,
                                  size_t *count)
{
    struct aged *found = NULL;
    struct look look;
    *count = 0;
    for (uint32_t id = 1; id <= p->folder->last_id; id++) {
        if (!folder_look(p->folder, c->box->seed, id, &look) || look.gone || look.created > p->state->seen)
            continue;
        int64_t received = folder_received_ms(c->boxes, c->box, p->folder, &look);
        if (received < low || received >= high)
            continue;
        if (*count % 64 == 0)
            found = mem_realloc(found, (*count + 64) * sizeof *found);
        found[(*count)++] = (struct aged){received, id};
    }
    if (*count > 0)
        qsort(found, *count, sizeof *found, older_first);
    return found;
}

/* The days a client wants to see have moved, or it wants others: what lies between comes or goes. False: the
 * window is full, and the rest of it comes with the next Sync. */
static bool move_since(const struct call *c, struct part *p, struct changes *x, int64_t since)
{
    struct collection *s = p->state;
    if (since == s->since)
        return true;
    bool grows = since < s->since;
    size_t count;
    struct aged *found = known_between(c, p, grows ? since : s->since, grows ? s->since : since, &count);
    bool done = true;
    for (size_t i = 0; done && i < count; i++) {
        const struct aged *a = &found[grows ? count - 1 - i : i];
        struct look look;
        folder_look(p->folder, c->box->seed, a->id, &look);
        done = gather(x, &look, grows ? NEWS_ADD : NEWS_SOFT_DELETE);
        if (!done)
            s->since = grows ? a->received_ms + 1 : a->received_ms;
    }
    free(found);
    if (done)
        s->since = since;
    return done;
}

/* False: the window is full. */
static bool run_pass(const struct call *c, struct part *p, struct changes *x)
{
    struct collection *s = p->state;
    struct look look;
    for (; s->pass_at < s->pass_last; s->pass_at++) {
        if (look_at_place(c, p->folder, s, s->pass_at, &look) && !gather(x, &look, NEWS_ADD))
            return false;
    }
    return true;
}

static void gather_changes(const struct call *c, struct part *p, struct changes *x)
{
    struct collection *s = p->state;
    if (p->folder->item_class == CLASS_EMAIL) {
        int64_t since = filter_since_ms(s->filter, c->now_ms);
        if (s->pass_at == 0 && s->pass_last > 0)
            s->since = since; /* nothing was told yet */
        if (!run_pass(c, p, x) || !move_since(c, p, x, since))
            return;
    } else if (!run_pass(c, p, x)) {
        return;
    }
    struct folder_walk walk;
    struct look look;
    folder_walk_init(&walk, p->folder, s->seen);
    uint64_t done = s->seen;
    while (folder_walk_next(&walk, c->box->seed, &look)) {
        enum news news = news_of(c, p->folder, s, &look);
        if (news != NEWS_NONE && !gather(x, &look, news))
            break;
        done = look.modseq;
    }
    s->seen = x->more ? done : p->folder->modseq;
}

static void write_tell(const struct call *c, struct wbxml_writer *w, const struct part *p,
                       const struct tell *t, const struct view *v)
{
    static const uint16_t tags[] = {[NEWS_ADD] = WBXML_AIRSYNC_ADD,
                                    [NEWS_CHANGE] = WBXML_AIRSYNC_CHANGE,
                                    [NEWS_DELETE] = WBXML_AIRSYNC_DELETE,
                                    [NEWS_SOFT_DELETE] = WBXML_AIRSYNC_SOFTDELETE};
    char id[ITEM_ID_TEXT];
    item_id_format(id, p->folder->id, t->look.id);
    wbxml_open(w, tags[t->news]);
    wbxml_element(w, WBXML_AIRSYNC_SERVERID, id);
    if (t->news == NEWS_ADD || t->news == NEWS_CHANGE) {
        wbxml_open(w, WBXML_AIRSYNC_APPLICATIONDATA);
        bool draft = t->look.item != NULL && t->look.item->draft;
        if (t->news == NEWS_CHANGE && p->folder->item_class == CLASS_EMAIL && !draft)
            write_mail_change(c, w, &t->look);
        else
            write_item(c, w, p->folder, &t->look, v);
        wbxml_close(w);
    }
    wbxml_close(w);
}

/* True: there was something. */
static bool tell_changes(const struct call *c, struct part *p, struct wbxml_writer *w, uint32_t *left)
{
    struct changes x = {.window = p->state->window < *left ? p->state->window : *left};
    struct view v;
    gather_changes(c, p, &x);
    view_of(p->state, &v);
    if (x.more)
        wbxml_empty(w, WBXML_AIRSYNC_MOREAVAILABLE);
    if (x.count > 0) {
        wbxml_open(w, WBXML_AIRSYNC_COMMANDS);
        for (size_t i = 0; i < x.count; i++)
            write_tell(c, w, p, &x.tells[i], &v);
        wbxml_close(w);
    }
    *left -= (uint32_t)x.count;
    free(x.tells);
    return x.count > 0 || x.more;
}

/* ---- a collection ---- */

static void write_failure(const struct call *c, struct wbxml_writer *w, const struct wbxml_node *node,
                          unsigned status)
{
    const char *key = child_text(node, WBXML_AIRSYNC_SYNCKEY);
    const char *class = child_text(node, WBXML_AIRSYNC_CLASS);
    wbxml_open(w, WBXML_AIRSYNC_COLLECTION);
    if (c->version <= 121 && class[0] != '\0')
        wbxml_element(w, WBXML_AIRSYNC_CLASS, class);
    wbxml_element(w, WBXML_AIRSYNC_SYNCKEY, status == SYNC_KEY ? "0" : key);
    wbxml_element(w, WBXML_AIRSYNC_COLLECTIONID, child_text(node, WBXML_AIRSYNC_COLLECTIONID));
    wbxml_number(w, WBXML_AIRSYNC_STATUS, status);
    wbxml_close(w);
}

/* Finds out what is meant and puts the state where the key says. A status. */
static unsigned open_part(struct call *c, struct part *p)
{
    struct collection *s;
    if (p->node != NULL) {
        uint32_t id = folder_id_parse(child_text(p->node, WBXML_AIRSYNC_COLLECTIONID));
        p->key = key_of(p->node);
        p->folder = box_folder(c->boxes, c->box, id);
        if (p->folder == NULL)
            return box_folder_any(c->boxes, c->box, id) != NULL ? SYNC_FOLDERS : SYNC_NOT_FOUND;
        if (wbxml_find(p->node, WBXML_AIRSYNC_SYNCKEY) == NULL)
            return SYNC_PROTOCOL;
        s = p->key == 0 ? device_add_collection(c->device, id) : device_collection(c->device, id);
        p->state = s;
    } else {
        s = p->state;
        p->key = s->key;
        p->folder = box_folder(c->boxes, c->box, s->folder);
        if (p->folder == NULL)
            return SYNC_FOLDERS;
    }
    p->first = p->key == 0;
    if (p->first) {
        collection_reset(s);
        s->born = s->seen = p->folder->modseq;
        s->pass_last = p->folder->last_id;
    } else if (s == NULL || s->key == 0 || (p->key != s->key && (p->key != s->key - 1 || s->key < 2))) {
        return SYNC_KEY;
    } else if (p->key == s->key) {
        /* a key is told again only as long as nothing has been built upon it */
        s->seen_before = s->seen;
        s->since_before = s->since;
        s->pass_at_before = s->pass_at;
        s->added_count = 0;
    } else {
        p->again = true;
        s->seen = s->seen_before;
        s->since = s->since_before;
        s->pass_at = s->pass_at_before;
    }
    s->cached = true;
    if (p->node != NULL)
        read_options(c, p);
    return SYNC_OK;
}

/* Where a writer was, to be put back there. */
struct mark {
    struct wbxml_writer w;
    size_t len;
};

static struct mark mark(const struct wbxml_writer *w)
{
    return (struct mark){.w = *w, .len = w->out->len};
}

static void back_to(struct wbxml_writer *w, const struct mark *m)
{
    *w = m->w;
    w->out->len = m->len;
}

/* True: it has something to tell, and is written. */
static bool write_part(struct call *c, struct part *p, struct wbxml_writer *w, uint32_t *left)
{
    unsigned status = open_part(c, p);
    if (status != SYNC_OK) {
        if (p->node != NULL)
            write_failure(c, w, p->node, status);
        return p->node != NULL;
    }
    struct collection *s = p->state;
    struct mark start = mark(w);
    wbxml_open(w, WBXML_AIRSYNC_COLLECTION);
    if (c->version <= 121)
        wbxml_element(w, WBXML_AIRSYNC_CLASS, class_names[p->folder->item_class]);
    wbxml_number(w, WBXML_AIRSYNC_SYNCKEY, p->again ? s->key : s->key + 1);
    char id[16];
    snprintf(id, sizeof id, "%u", p->folder->id);
    wbxml_element(w, WBXML_AIRSYNC_COLLECTIONID, id);
    wbxml_element(w, WBXML_AIRSYNC_STATUS, "1");
    bool says = p->first || p->again || wbxml_find(p->node, WBXML_AIRSYNC_COMMANDS) != NULL;
    take_commands(c, p, w);
    if (!p->first && !s->no_changes)
        says |= tell_changes(c, p, w, left);
    wbxml_close(w);
    if (!says && c->version >= 121) {
        back_to(w, &start); /* not a word about it; the key stays */
        return false;
    }
    if (!p->again)
        s->key++;
    return true;
}

/* ---- Sync ---- */

static bool is_named(const struct request *r, uint32_t folder)
{
    const struct wbxml_node *n = wbxml_find(r->collections, WBXML_AIRSYNC_COLLECTION);
    for (; n != NULL; n = wbxml_find_next(r->collections, n, WBXML_AIRSYNC_COLLECTION)) {
        if (folder_id_parse(child_text(n, WBXML_AIRSYNC_COLLECTIONID)) == folder)
            return true;
    }
    return false;
}

static size_t count_of(const struct wbxml_node *collections)
{
    size_t count = 0;
    for (const struct wbxml_node *n = wbxml_first(collections); n != NULL; n = wbxml_next(collections, n))
        count++;
    return count;
}

/* True: something was written. */
static bool write_all(struct call *c, const struct request *r, struct wbxml_writer *w)
{
    struct device *d = c->device;
    bool said = false;
    uint32_t left = r->window;
    if (!r->empty && !r->partial) {
        for (size_t i = 0; i < d->collection_count; i++)
            d->collections[i].cached = false;
    }
    const struct wbxml_node *n = wbxml_find(r->collections, WBXML_AIRSYNC_COLLECTION);
    for (; n != NULL; n = wbxml_find_next(r->collections, n, WBXML_AIRSYNC_COLLECTION)) {
        struct part p = {.node = n};
        said |= write_part(c, &p, w, &left);
    }
    for (size_t i = 0; (r->empty || r->partial) && i < d->collection_count; i++) {
        struct part p = {.state = &d->collections[i]};
        if (p.state->cached && p.state->key != 0 && !is_named(r, p.state->folder))
            said |= write_part(c, &p, w, &left);
    }
    return said;
}

void cmd_sync(struct call *c)
{
    struct request r;
    struct wbxml_writer w;
    if (c->turn == TURN_REPLACED) {
        c->status = 200; /* its time is over: nothing new */
        return;
    }
    if (!read_request(c, &r))
        return;
    if (count_of(r.collections) > c->personality->collections_max) {
        answer_limit(c, SYNC_TOO_MANY, c->personality->collections_max);
        return;
    }
    wbxml_begin(&w, c->out);
    wbxml_open(&w, WBXML_AIRSYNC_SYNC);
    wbxml_open(&w, WBXML_AIRSYNC_COLLECTIONS);
    bool said = write_all(c, &r, &w);
    wbxml_close(&w);
    wbxml_close(&w);
    if (said) {
        command_finish(c, &w);
        return;
    }
    c->out->len = 0;
    c->status = 200; /* an empty answer: no changes */
    if (r.wait_s > 0 && c->turn != TURN_EXPIRED)
        c->wait_s = r.wait_s;
}
