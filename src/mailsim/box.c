/* Mailboxes in memory: users, folders, devices, waiting. Items are box_items.c's. */
#include "box_impl.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"

const char *const class_names[CLASSES] = {"Email", "Calendar", "Contacts", "Tasks", "Notes"};

static const struct {
    const char *name;
    uint8_t type;
} defaults[FOLDER_DEFAULTS] = {
    {"Inbox", TYPE_INBOX},       {"Drafts", TYPE_DRAFTS},     {"Deleted Items", TYPE_DELETED},
    {"Sent Items", TYPE_SENT},   {"Outbox", TYPE_OUTBOX},     {"Tasks", TYPE_TASKS},
    {"Calendar", TYPE_CALENDAR}, {"Contacts", TYPE_CONTACTS}, {"Notes", TYPE_NOTES},
};

static enum item_class class_of(uint8_t type)
{
    switch (type) {
    case TYPE_CALENDAR:
    case TYPE_USER_CALENDAR:
        return CLASS_CALENDAR;
    case TYPE_CONTACTS:
    case TYPE_USER_CONTACTS:
        return CLASS_CONTACTS;
    case TYPE_TASKS:
    case TYPE_USER_TASKS:
        return CLASS_TASKS;
    case TYPE_NOTES:
    case TYPE_USER_NOTES:
        return CLASS_NOTES;
    default:
        return CLASS_EMAIL;
    }
}

/* ---- boxes ---- */

struct boxes *boxes_new(const struct boxes_options *options)
{
    struct boxes *b = mem_zalloc(sizeof *b);
    b->o = *options;
    b->gen = (struct gen){.seed = options->seed, .newest_ms = options->newest_ms};
    b->random = options->seed ^ 0x5bd1e995u;
    b->bucket_count = 256;
    b->buckets = mem_zalloc(b->bucket_count * sizeof *b->buckets);
    list_init(&b->woken);
    return b;
}

static void free_device(struct device *d)
{
    for (size_t i = 0; i < d->collection_count; i++)
        free(d->collections[i].added);
    free(d->collections);
    free(d->ping);
    free(d->id);
    free(d->type);
    free(d->agent);
    free(d->info);
    free(d);
}

static void free_box(struct box *box)
{
    for (size_t i = 0; i < box->folder_count; i++) {
        if (box->folders[i] != NULL)
            folder_free(box->folders[i]);
    }
    for (size_t i = 0; i < box->device_count; i++)
        free_device(box->devices[i]);
    free(box->folders);
    free(box->devices);
    free(box->user);
    free(box->oof);
    free(box);
}

void boxes_free(struct boxes *b)
{
    for (size_t i = 0; i < b->bucket_count; i++) {
        for (struct entry *e = b->buckets[i], *next; e != NULL; e = next) {
            next = e->next;
            free_box(&e->box);
        }
    }
    free(b->buckets);
    free(b);
}

static uint64_t hash_user(const char *user)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (; *user != '\0'; user++)
        h = (h ^ (unsigned char)tolower((unsigned char)*user)) * 0x100000001b3u;
    return h;
}

struct box *boxes_find(struct boxes *b, const char *user)
{
    for (struct entry *e = b->buckets[hash_user(user) & (b->bucket_count - 1)]; e != NULL; e = e->next) {
        if (strcasecmp(e->box.user, user) == 0)
            return &e->box;
    }
    return NULL;
}

static void grow(struct boxes *b)
{
    size_t count = 4 * b->bucket_count;
    struct entry **buckets = mem_zalloc(count * sizeof *buckets);
    for (size_t i = 0; i < b->bucket_count; i++) {
        for (struct entry *e = b->buckets[i], *next; e != NULL; e = next) {
            struct entry **to = &buckets[hash_user(e->box.user) & (count - 1)];
            next = e->next;
            e->next = *to;
            *to = e;
        }
    }
    free(b->buckets);
    b->buckets = buckets;
    b->bucket_count = count;
}

struct box *boxes_open(struct boxes *b, const char *user)
{
    struct box *found = boxes_find(b, user);
    if (found != NULL || b->count >= BOX_USERS_MAX)
        return found;
    if (b->count >= 2 * b->bucket_count)
        grow(b);
    struct entry *e = mem_zalloc(sizeof *e);
    e->box.user = mem_strdup(user);
    for (char *p = e->box.user; *p != '\0'; p++)
        *p = (char)tolower((unsigned char)*p);
    e->box.seed = gen_box_seed(&b->gen, user);
    e->box.hierarchy = 1;
    list_init(&e->box.waiters);
    struct entry **to = &b->buckets[hash_user(user) & (b->bucket_count - 1)];
    e->next = *to;
    *to = e;
    b->count++;
    return &e->box;
}

size_t boxes_count(const struct boxes *b)
{
    return b->count;
}

void boxes_each(struct boxes *b, void (*each)(struct box *box, void *owner), void *owner)
{
    for (size_t i = 0; i < b->bucket_count; i++) {
        for (struct entry *e = b->buckets[i]; e != NULL; e = e->next)
            each(&e->box, owner);
    }
}

const struct gen *boxes_gen(const struct boxes *b)
{
    return &b->gen;
}

uint64_t *boxes_random(struct boxes *b)
{
    return &b->random;
}

/* ---- folders ---- */

static uint32_t generated_in(const struct boxes *b, uint8_t type)
{
    uint32_t some = b->o.mails / 10 < 5 ? 5 : b->o.mails / 10;
    if (b->o.mails == 0)
        return 0;
    switch (type) {
    case TYPE_INBOX:
        return b->o.mails;
    case TYPE_CALENDAR:
    case TYPE_CONTACTS:
    case TYPE_TASKS:
    case TYPE_NOTES:
        return some;
    default:
        return 0;
    }
}

static struct folder *make_folder(uint32_t id, uint32_t parent, uint8_t type, const char *name,
                                  uint64_t number)
{
    struct folder *f = mem_zalloc(sizeof *f);
    f->id = id;
    f->parent = parent;
    f->type = type;
    f->item_class = class_of(type);
    f->name = mem_strdup(name);
    f->created = f->changed = number;
    list_init(&f->changed_items);
    return f;
}

uint32_t box_last_folder(const struct box *box)
{
    return box->folder_count < FOLDER_DEFAULTS ? FOLDER_DEFAULTS : (uint32_t)box->folder_count;
}

static void make_room(struct box *box, size_t count)
{
    if (count > box->folder_cap) {
        size_t cap = count < 2 * box->folder_cap ? 2 * box->folder_cap : count;
        box->folders = mem_realloc(box->folders, cap * sizeof *box->folders);
        box->folder_cap = cap;
    }
    while (box->folder_count < count)
        box->folders[box->folder_count++] = NULL;
}

const struct folder *box_folder_peek(const struct box *box, uint32_t id, struct folder *untouched)
{
    if (id == 0 || id > box_last_folder(box))
        return NULL;
    if (id <= box->folder_count && box->folders[id - 1] != NULL)
        return box->folders[id - 1];
    *untouched = (struct folder){.id = id,
                                 .type = defaults[id - 1].type,
                                 .item_class = class_of(defaults[id - 1].type),
                                 .name = (char *)(uintptr_t)defaults[id - 1].name,
                                 .created = 1,
                                 .changed = 1};
    return untouched;
}

struct folder *box_folder_any(struct boxes *b, struct box *box, uint32_t id)
{
    if (id == 0 || id > box_last_folder(box))
        return NULL;
    if (id > box->folder_count)
        make_room(box, id);
    struct folder **at = &box->folders[id - 1];
    if (*at == NULL) { /* one of the default ones */
        *at = make_folder(id, 0, defaults[id - 1].type, defaults[id - 1].name, 1);
        (*at)->generated = generated_in(b, (*at)->type);
        (*at)->last_id = (*at)->generated;
        (*at)->alive = (*at)->generated;
        (*at)->modseq = (*at)->generated;
    }
    return *at;
}

struct folder *box_folder(struct boxes *b, struct box *box, uint32_t id)
{
    struct folder *f = box_folder_any(b, box, id);
    return f != NULL && !f->gone ? f : NULL;
}

struct folder *box_add_folder(struct boxes *b, struct box *box, uint32_t parent, uint8_t type,
                              const char *name)
{
    uint32_t id = box_last_folder(box) + 1;
    if (id > BOX_FOLDERS)
        return NULL;
    make_room(box, id);
    box->folders[id - 1] = make_folder(id, parent, type, name, ++box->hierarchy);
    box_changed(b, box);
    return box->folders[id - 1];
}

void box_change_folder(struct boxes *b, struct box *box, struct folder *f, uint32_t parent, const char *name)
{
    char *copy = mem_strdup(name);
    free(f->name);
    f->name = copy;
    f->parent = parent;
    f->changed = ++box->hierarchy;
    box_changed(b, box);
}

void box_remove_folder(struct boxes *b, struct box *box, struct folder *f)
{
    for (uint32_t id = FOLDER_DEFAULTS + 1; id <= box_last_folder(box); id++) {
        struct folder *child = box_folder(b, box, id);
        if (child != NULL && child->parent == f->id)
            box_remove_folder(b, box, child);
    }
    f->gone = true;
    f->changed = ++box->hierarchy;
    folder_forget_items(f);
    box_changed(b, box);
}

/* ---- devices ---- */

struct device *box_find_device(struct box *box, const char *id)
{
    for (size_t i = 0; i < box->device_count; i++) {
        if (strcasecmp(box->devices[i]->id, id) == 0)
            return box->devices[i];
    }
    return NULL;
}

struct device *box_device(struct box *box, const char *id, const char *type)
{
    struct device *d = box_find_device(box, id);
    if (d != NULL || id[0] == '\0' || box->device_count == BOX_DEVICES)
        return d;
    d = mem_zalloc(sizeof *d);
    d->id = mem_strdup(id);
    d->type = mem_strdup(type);
    d->index = (uint32_t)box->device_count;
    box->devices = mem_realloc(box->devices, (box->device_count + 1) * sizeof(struct device *));
    box->devices[box->device_count++] = d;
    return d;
}

void box_forget_device(struct boxes *b, struct box *box, struct device *d)
{
    (void)box;
    for (size_t i = 0; i < d->collection_count; i++)
        free(d->collections[i].added);
    free(d->collections);
    d->collections = NULL;
    d->collection_count = 0;
    free(d->ping);
    d->ping = NULL;
    d->ping_count = 0;
    d->heartbeat_s = 0;
    d->folder_key = 0;
    d->policy_key = d->policy_temporary = 0;
    d->informed = false;
    if (d->waiter != NULL)
        waiter_wake(b, d->waiter, WAKE_CHANGE);
}

struct collection *device_collection(struct device *d, uint32_t folder)
{
    for (size_t i = 0; i < d->collection_count; i++) {
        if (d->collections[i].folder == folder)
            return &d->collections[i];
    }
    return NULL;
}

void collection_reset(struct collection *c)
{
    uint32_t folder = c->folder;
    free(c->added);
    *c = (struct collection){.folder = folder, .window = 100, .conflict = 1};
}

struct collection *device_add_collection(struct device *d, uint32_t folder)
{
    struct collection *c = device_collection(d, folder);
    if (c != NULL)
        return c;
    d->collections = mem_realloc(d->collections, (d->collection_count + 1) * sizeof *c);
    c = &d->collections[d->collection_count++];
    *c = (struct collection){.folder = folder};
    collection_reset(c);
    return c;
}

/* ---- waiting ---- */

void waiter_wake(struct boxes *b, struct waiter *w, enum wake why)
{
    bool first = list_empty(&b->woken);
    w->why = why;
    list_remove(&w->link);
    list_append(&b->woken, &w->link);
    if (w->device != NULL)
        w->device->waiter = NULL;
    w->device = NULL;
    if (first && b->o.on_woken != NULL)
        b->o.on_woken(b->o.owner);
}

void box_changed(struct boxes *b, struct box *box)
{
    while (!list_empty(&box->waiters))
        waiter_wake(b, list_entry(box->waiters.next, struct waiter, link), WAKE_CHANGE);
}

void boxes_run_woken(struct boxes *b)
{
    struct list now; /* who waits again meanwhile has its turn the next time */
    list_init(&now);
    while (!list_empty(&b->woken)) {
        struct list *l = b->woken.next;
        list_remove(l);
        list_append(&now, l);
    }
    while (!list_empty(&now)) {
        struct waiter *w = list_entry(now.next, struct waiter, link);
        list_remove(&w->link);
        w->wake(w, w->why);
    }
}

void box_wait(struct boxes *b, struct box *box, struct waiter *w)
{
    if (w->device->waiter != NULL)
        waiter_wake(b, w->device->waiter, WAKE_REPLACED);
    w->device->waiter = w;
    list_append(&box->waiters, &w->link);
}

void box_stop_waiting(struct waiter *w)
{
    list_remove(&w->link);
    if (w->device != NULL)
        w->device->waiter = NULL;
    w->device = NULL;
}
