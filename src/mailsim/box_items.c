/* Items of folders: generated until they are changed, kept from then on. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "box_impl.h"

/* ---- finding ---- */

/* The place of that ID among the kept items, or where it would be. */
static size_t place_of(const struct folder *f, uint32_t id)
{
    size_t low = 0, high = f->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (f->items[middle]->id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct item *find(const struct folder *f, uint32_t id)
{
    size_t at = place_of(f, id);
    return at < f->count && f->items[at]->id == id ? f->items[at] : NULL;
}

static void look_at(struct item *it, struct look *out)
{
    *out = (struct look){.id = it->id,
                         .item = it,
                         .created = it->created,
                         .modseq = it->modseq,
                         .gone = it->gone,
                         .read = it->read};
}

bool folder_look(const struct folder *f, uint64_t box_seed, uint32_t id, struct look *out)
{
    struct item *it = find(f, id);
    if (it != NULL) {
        look_at(it, out);
        return true;
    }
    if (id == 0 || id > f->generated)
        return false;
    *out = (struct look){.id = id,
                         .created = id,
                         .modseq = id,
                         .read = f->item_class == CLASS_EMAIL && gen_is_read(box_seed, id)};
    return true;
}

void folder_walk_init(struct folder_walk *w, const struct folder *f, uint64_t after)
{
    const struct list *at = f->changed_items.prev;
    while (at != &f->changed_items && list_entry(at, struct item, link)->modseq > after)
        at = at->prev;
    *w = (struct folder_walk){.folder = f, .after = after, .at = at->next};
}

bool folder_walk_next(struct folder_walk *w, uint64_t box_seed, struct look *out)
{
    const struct folder *f = w->folder;
    while (w->after < f->generated) {
        uint32_t id = (uint32_t)++w->after;
        /* one that was changed comes where it was changed */
        if (folder_look(f, box_seed, id, out) && out->modseq == id)
            return true;
    }
    if (w->at == &f->changed_items)
        return false;
    look_at(list_entry(w->at, struct item, link), out);
    w->at = w->at->next;
    return true;
}

size_t folder_items(const struct folder *f)
{
    return f->alive;
}

/* ---- keeping ---- */

static void insert(struct folder *f, struct item *it)
{
    if (f->count == f->cap) {
        f->cap = f->cap != 0 ? 2 * f->cap : 4;
        f->items = mem_realloc(f->items, f->cap * sizeof(struct item *));
    }
    size_t at = place_of(f, it->id);
    memmove(&f->items[at + 1], &f->items[at], (f->count - at) * sizeof(struct item *));
    f->items[at] = it;
    f->count++;
}

static void free_item(struct item *it)
{
    list_remove(&it->link);
    letter_unref(it->letter);
    free(it->data);
    free(it);
}

void folder_forget_items(struct folder *f)
{
    for (size_t i = 0; i < f->count; i++)
        free_item(f->items[i]);
    free(f->items);
    f->items = NULL;
    f->count = f->cap = f->alive = 0;
    f->generated = 0;
}

void folder_free(struct folder *f)
{
    folder_forget_items(f);
    free(f->name);
    free(f);
}

struct item *folder_own(struct boxes *b, struct box *box, struct folder *f, uint32_t id)
{
    struct look look;
    (void)b;
    if (!folder_look(f, box->seed, id, &look))
        return NULL;
    if (look.item != NULL)
        return look.item;
    struct item *it = mem_zalloc(sizeof *it);
    it->id = id;
    it->read = look.read;
    it->created = it->modseq = it->before = id;
    list_init(&it->link); /* not among the changed ones before it is touched */
    insert(f, it);
    return it;
}

void item_set_data(struct item *it, const void *data, size_t len)
{
    uint8_t *copy = NULL;
    if (data != NULL) {
        copy = mem_alloc(len + 1);
        memcpy(copy, data, len);
    }
    free(it->data);
    it->data = copy;
    it->len = data != NULL ? len : 0;
}

/* ---- changing ---- */

void folder_touch(struct boxes *b, struct box *box, struct folder *f, struct item *it,
                  const struct device *by)
{
    it->before = it->modseq;
    it->modseq = ++f->modseq;
    it->by = by;
    list_remove(&it->link);
    list_append(&f->changed_items, &it->link);
    box_changed(b, box);
}

static struct item *add(struct boxes *b, struct box *box, struct folder *f, const struct device *by)
{
    struct item *it = mem_zalloc(sizeof *it);
    it->id = ++f->last_id;
    list_init(&it->link);
    insert(f, it);
    f->alive++;
    folder_touch(b, box, f, it, by);
    it->created = it->modseq;
    it->before = 0;
    return it;
}

struct item *folder_add_mail(struct boxes *b, struct box *box, struct folder *f, struct letter *l,
                             const struct device *by)
{
    struct item *it = add(b, box, f, by);
    it->letter = letter_ref(l);
    it->read = l->mail.read;
    return it;
}

struct item *folder_add(struct boxes *b, struct box *box, struct folder *f, const void *data, size_t len,
                        const struct device *by)
{
    struct item *it = add(b, box, f, by);
    item_set_data(it, data, len);
    return it;
}

void folder_delete(struct boxes *b, struct box *box, struct folder *f, uint32_t id, const struct device *by)
{
    struct item *it = folder_own(b, box, f, id);
    if (it == NULL || it->gone)
        return;
    it->gone = true;
    f->alive--;
    letter_unref(it->letter);
    it->letter = NULL;
    item_set_data(it, NULL, 0);
    folder_touch(b, box, f, it, by);
}

struct item *folder_move(struct boxes *b, struct box *box, struct folder *f, uint32_t id, struct folder *to,
                         const struct device *by, const struct device *knows)
{
    struct look look;
    struct gen_scratch *scratch = NULL;
    if (!folder_look(f, box->seed, id, &look) || look.gone)
        return NULL;
    struct item *it;
    if (f->item_class == CLASS_EMAIL) {
        struct letter *l;
        if (look.item != NULL && look.item->letter != NULL) {
            l = letter_ref(look.item->letter);
        } else {
            struct mail m;
            scratch = mem_alloc(sizeof *scratch);
            folder_mail(b, box, &look, scratch, &m);
            l = letter_from_mail(&m);
            free(scratch);
        }
        it = folder_add_mail(b, box, to, l, knows);
        letter_unref(l);
        it->read = look.read;
        if (look.item != NULL) {
            it->draft = look.item->draft && to->type == TYPE_DRAFTS;
            it->verb = look.item->verb;
            it->verb_ms = look.item->verb_ms;
            if (look.item->data != NULL)
                item_set_data(it, look.item->data, look.item->len);
        }
    } else {
        struct buf data;
        buf_init(&data, 4 * 1024 * 1024);
        folder_data(b, box, f, &look, &data);
        it = folder_add(b, box, to, data.data, data.len, knows);
        buf_deinit(&data);
    }
    folder_delete(b, box, f, id, by);
    return it;
}

/* ---- reading ---- */

int64_t folder_received_ms(const struct boxes *b, const struct box *box, const struct folder *f,
                           const struct look *look)
{
    if (f->item_class != CLASS_EMAIL || look->gone)
        return 0;
    if (look->item != NULL && look->item->letter != NULL)
        return look->item->letter->mail.received_ms;
    return gen_received_ms(&b->gen, box->seed, look->id);
}

void folder_mail(const struct boxes *b, const struct box *box, const struct look *look, struct gen_scratch *s,
                 struct mail *out)
{
    if (look->item != NULL && look->item->letter != NULL)
        *out = look->item->letter->mail;
    else
        gen_mail(&b->gen, box->seed, box->user, look->id, s, out);
}

void folder_data(const struct boxes *b, const struct box *box, const struct folder *f,
                 const struct look *look, struct buf *out)
{
    if (look->item != NULL && look->item->data != NULL) {
        buf_append(out, look->item->data, look->item->len);
        return;
    }
    struct wbxml_writer w;
    wbxml_begin(&w, out);
    wbxml_open(&w, WBXML_AIRSYNC_APPLICATIONDATA);
    switch (f->item_class) {
    case CLASS_CALENDAR:
        gen_appointment(&b->gen, box->seed, box->user, look->id, &w);
        break;
    case CLASS_CONTACTS:
        gen_contact(box->seed, look->id, &w);
        break;
    case CLASS_TASKS:
        gen_task(&b->gen, box->seed, look->id, &w);
        break;
    case CLASS_NOTES:
        gen_note(&b->gen, box->seed, look->id, &w);
        break;
    case CLASS_EMAIL:
    case CLASSES:
        break;
    }
    wbxml_close(&w);
    wbxml_finish(&w);
}

void box_deliver(struct boxes *b, struct box *box, struct letter *l)
{
    struct folder *inbox = box_folder(b, box, FOLDER_INBOX);
    if (l != NULL) {
        folder_add_mail(b, box, inbox, l, NULL);
        return;
    }
    struct gen_scratch *s = mem_alloc(sizeof *s);
    struct mail m;
    gen_arrival(&b->gen, &b->random, box->user, clock_wall_ms(), s, &m);
    l = letter_from_mail(&m);
    folder_add_mail(b, box, inbox, l, NULL);
    letter_unref(l);
    free(s);
}
