/* ItemOperations (MS-ASCMD 2.2.1.10), GetAttachment, MoveItems. */
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "command.h"
#include "http/httpd.h"

#define PARTS_MAX 64

/* Statuses of ItemOperations (MS-ASCMD 2.2.3.177.8). */
enum {
    ITEMS_OK = 1,
    ITEMS_PROTOCOL = 2,
    ITEMS_RANGE = 8,
    ITEMS_NOT_FOUND = 6,
    ITEMS_ATTACHMENT = 15,
    ITEMS_CONVERSION = 14,
    ITEMS_TOO_MANY = 16, /* parts: not of the document's list, but nothing else fits */
};

/* ---- multipart answers (MS-ASCMD 2.2.2.8): the document is part 0 ---- */

struct parts {
    struct buf data;
    struct {
        size_t at, len;
    } part[PARTS_MAX];
    size_t count;
};

static uint32_t add_part(struct parts *p, const void *data, size_t len)
{
    p->part[p->count].at = p->data.len;
    p->part[p->count].len = len;
    buf_append(&p->data, data, len);
    return (uint32_t)++p->count;
}

static void put_le32(uint8_t *dst, size_t value)
{
    for (int i = 0; i < 4; i++)
        dst[i] = (uint8_t)(value >> (8 * i));
}

/* Puts the count and the places of all parts in front of the document. */
static void finish_parts(struct call *c, const struct parts *p)
{
    uint8_t head[4 + 8 * (PARTS_MAX + 1)];
    size_t size = 4 + 8 * (p->count + 1), document = c->out->len;
    struct buf whole;
    put_le32(head, p->count + 1);
    put_le32(head + 4, size);
    put_le32(head + 8, document);
    for (size_t i = 0; i < p->count; i++) {
        put_le32(head + 12 + 8 * i, size + document + p->part[i].at);
        put_le32(head + 16 + 8 * i, p->part[i].len);
    }
    buf_init(&whole, CALL_ANSWER_MAX);
    buf_append(&whole, head, size);
    buf_append(&whole, c->out->data, document);
    buf_append(&whole, p->data.data, p->data.len);
    buf_deinit(c->out);
    *c->out = whole;
    c->type = "application/vnd.ms-sync.multipart";
}

/* ---- Fetch ---- */

struct fetch {
    struct call *c;
    struct wbxml_writer *w;
    struct parts *parts; /* NULL: all goes into the document */
};

static void write_base64(struct wbxml_writer *w, const uint8_t *data, size_t len)
{
    unsigned char *text = mem_alloc(4 * ((len + 2) / 3) + 1);
    int n = EVP_EncodeBlock(text, data, (int)len);
    wbxml_text_n(w, text, (size_t)n);
    free(text);
}

/* Range "0-99", cut to what there is; all of it without one. */
static bool take_range(const char *range, size_t total, size_t *from, size_t *len)
{
    unsigned first, last;
    int end = 0;
    *from = 0;
    *len = total;
    if (range[0] == '\0')
        return true;
    if (sscanf(range, "%9u-%9u%n", &first, &last, &end) != 2 || range[end] != '\0' || last < first ||
        first >= total)
        return false;
    *from = first;
    *len = last >= total ? total - first : last - first + 1;
    return true;
}

static void fetch_attachment(struct fetch *f, const struct wbxml_node *n, const char *reference)
{
    const struct wbxml_node *options = wbxml_find(n, WBXML_ITEMOPERATIONS_OPTIONS);
    const char *range = child_text(options, WBXML_ITEMOPERATIONS_RANGE);
    struct gen_scratch *s = mem_alloc(sizeof *s);
    const char *type = NULL;
    size_t total = 0, from = 0, len = 0;
    const uint8_t *data = find_attachment(f->c, reference, s, &total, &type);
    unsigned status = data == NULL                             ? ITEMS_ATTACHMENT
                      : !take_range(range, total, &from, &len) ? ITEMS_RANGE
                                                               : ITEMS_OK;
    wbxml_number(f->w, WBXML_ITEMOPERATIONS_STATUS, status);
    wbxml_element(f->w, WBXML_AIRSYNCBASE_FILEREFERENCE, reference);
    if (status == ITEMS_OK) {
        wbxml_open(f->w, WBXML_ITEMOPERATIONS_PROPERTIES);
        if (range[0] != '\0') {
            char text[32];
            snprintf(text, sizeof text, "%zu-%zu", from, from + len - 1);
            wbxml_element(f->w, WBXML_ITEMOPERATIONS_RANGE, text);
            wbxml_number(f->w, WBXML_ITEMOPERATIONS_TOTAL, (int64_t)total);
        }
        wbxml_element(f->w, WBXML_AIRSYNCBASE_CONTENTTYPE, type);
        if (f->parts != NULL) {
            wbxml_number(f->w, WBXML_ITEMOPERATIONS_PART, add_part(f->parts, data + from, len));
        } else {
            wbxml_open(f->w, WBXML_ITEMOPERATIONS_DATA);
            write_base64(f->w, data + from, len);
            wbxml_close(f->w);
        }
        wbxml_close(f->w);
    }
    free(s);
}

/* In a multipart answer the body is a part of its own, and Data becomes Part. */
static void write_properties(struct fetch *f, struct folder *folder, const struct look *look,
                             const struct view *v)
{
    if (f->parts == NULL) {
        write_item(f->c, f->w, folder, look, v);
        return;
    }
    struct buf doc;
    struct wbxml_writer w;
    struct wbxml_tree t;
    buf_init(&doc, CALL_ANSWER_MAX);
    wbxml_tree_init(&t, CALL_NODES_MAX);
    wbxml_begin(&w, &doc);
    wbxml_open(&w, WBXML_ITEMOPERATIONS_PROPERTIES);
    write_item(f->c, &w, folder, look, v);
    wbxml_close(&w);
    const struct wbxml_node *root =
        wbxml_finish(&w) == 0 && wbxml_parse(&t, doc.data, doc.len) == 0 ? wbxml_root(&t) : NULL;
    for (const struct wbxml_node *n = wbxml_first(root); n != NULL; n = wbxml_next(root, n)) {
        if (n->tag != WBXML_AIRSYNCBASE_BODY) {
            wbxml_copy(f->w, n);
            continue;
        }
        wbxml_open(f->w, n->tag);
        for (const struct wbxml_node *e = wbxml_first(n); e != NULL; e = wbxml_next(n, e)) {
            if (e->tag == WBXML_AIRSYNCBASE_DATA)
                wbxml_number(f->w, WBXML_ITEMOPERATIONS_PART, add_part(f->parts, e->data, e->len));
            else
                wbxml_copy(f->w, e);
        }
        wbxml_close(f->w);
    }
    wbxml_tree_deinit(&t);
    buf_deinit(&doc);
}

static void fetch_item(struct fetch *f, const struct wbxml_node *n)
{
    struct call *c = f->c;
    const char *collection = child_text(n, WBXML_AIRSYNC_COLLECTIONID);
    const char *server = child_text(n, WBXML_AIRSYNC_SERVERID);
    const char *long_id = child_text(n, WBXML_SEARCH_LONGID);
    const char *id = server[0] != '\0' ? server : long_id;
    uint32_t folder, item;
    struct look look;
    struct folder *found = NULL;
    if (item_id_parse(id, &folder, &item) && (collection[0] == '\0' || folder_id_parse(collection) == folder))
        found = box_folder(c->boxes, c->box, folder);
    bool there = found != NULL && folder_look(found, c->box->seed, item, &look) && !look.gone;
    wbxml_number(f->w, WBXML_ITEMOPERATIONS_STATUS, there ? ITEMS_OK : ITEMS_NOT_FOUND);
    if (server[0] != '\0') {
        wbxml_element(f->w, WBXML_AIRSYNC_COLLECTIONID, collection);
        wbxml_element(f->w, WBXML_AIRSYNC_SERVERID, server);
    } else {
        wbxml_element(f->w, WBXML_SEARCH_LONGID, long_id);
    }
    if (!there)
        return;
    struct view v;
    wbxml_element(f->w, WBXML_AIRSYNC_CLASS, class_names[found->item_class]);
    wbxml_open(f->w, WBXML_ITEMOPERATIONS_PROPERTIES);
    view_read(&v, c, wbxml_find(n, WBXML_ITEMOPERATIONS_OPTIONS));
    write_properties(f, found, &look, &v);
    wbxml_close(f->w);
}

static void run_fetch(struct fetch *f, const struct wbxml_node *n)
{
    const char *reference = child_text(n, WBXML_AIRSYNCBASE_FILEREFERENCE);
    wbxml_open(f->w, WBXML_ITEMOPERATIONS_FETCH);
    if (f->parts != NULL && f->parts->count >= PARTS_MAX - 1)
        wbxml_number(f->w, WBXML_ITEMOPERATIONS_STATUS, ITEMS_TOO_MANY);
    else if (strcmp(child_text(n, WBXML_ITEMOPERATIONS_STORE), "Mailbox") != 0)
        wbxml_number(f->w, WBXML_ITEMOPERATIONS_STATUS, ITEMS_PROTOCOL); /* no document libraries here */
    else if (reference[0] != '\0')
        fetch_attachment(f, n, reference);
    else
        fetch_item(f, n);
    wbxml_close(f->w);
}

/* ---- the other operations ---- */

static void delete_all(struct call *c, struct folder *f, bool deep)
{
    struct look look;
    for (uint32_t id = 1; id <= f->last_id; id++) {
        if (folder_look(f, c->box->seed, id, &look) && !look.gone)
            folder_delete(c->boxes, c->box, f, id, NULL);
    }
    for (uint32_t id = FOLDER_DEFAULTS + 1; deep && id <= box_last_folder(c->box); id++) {
        struct folder *child = box_folder(c->boxes, c->box, id);
        if (child != NULL && child->parent == f->id)
            box_remove_folder(c->boxes, c->box, child);
    }
}

static void run_empty(struct call *c, struct wbxml_writer *w, const struct wbxml_node *n)
{
    const char *id = child_text(n, WBXML_AIRSYNC_COLLECTIONID);
    struct folder *f = box_folder(c->boxes, c->box, folder_id_parse(id));
    const struct wbxml_node *options = wbxml_find(n, WBXML_ITEMOPERATIONS_OPTIONS);
    wbxml_open(w, WBXML_ITEMOPERATIONS_EMPTYFOLDERCONTENTS);
    wbxml_number(w, WBXML_ITEMOPERATIONS_STATUS, f != NULL ? ITEMS_OK : ITEMS_NOT_FOUND);
    wbxml_element(w, WBXML_AIRSYNC_COLLECTIONID, id);
    wbxml_close(w);
    if (f != NULL)
        delete_all(c, f, wbxml_find(options, WBXML_ITEMOPERATIONS_DELETESUBFOLDERS) != NULL);
}

/* All of a conversation into a folder (14.0 and later). */
static void run_move(struct call *c, struct wbxml_writer *w, const struct wbxml_node *n)
{
    const struct wbxml_node *conversation = wbxml_find(n, WBXML_ITEMOPERATIONS_CONVERSATIONID);
    struct folder *to =
        box_folder(c->boxes, c->box, folder_id_parse(child_text(n, WBXML_ITEMOPERATIONS_DSTFLDID)));
    unsigned moved = 0;
    bool good = conversation != NULL && conversation->len == MAIL_CONVERSATION && to != NULL &&
                to->item_class == CLASS_EMAIL;
    struct gen_scratch *s = mem_alloc(sizeof *s);
    for (uint32_t id = 1; good && id <= box_last_folder(c->box); id++) {
        struct folder *f = box_folder(c->boxes, c->box, id);
        if (f == NULL || f == to || f->item_class != CLASS_EMAIL)
            continue;
        uint32_t last = f->last_id;
        for (uint32_t i = 1; i <= last; i++) {
            struct look look;
            struct mail m;
            if (!folder_look(f, c->box->seed, i, &look) || look.gone)
                continue;
            folder_mail(c->boxes, c->box, &look, s, &m);
            if (memcmp(m.conversation, conversation->data, MAIL_CONVERSATION) == 0 &&
                folder_move(c->boxes, c->box, f, i, to, NULL, NULL) != NULL)
                moved++;
        }
    }
    free(s);
    wbxml_open(w, WBXML_ITEMOPERATIONS_MOVE);
    wbxml_number(w, WBXML_ITEMOPERATIONS_STATUS,
                 !good       ? ITEMS_PROTOCOL
                 : moved > 0 ? ITEMS_OK
                             : ITEMS_NOT_FOUND);
    if (conversation != NULL)
        wbxml_copy(w, conversation);
    wbxml_close(w);
}

void cmd_item_operations(struct call *c)
{
    struct parts parts = {.count = 0};
    struct wbxml_writer w;
    struct fetch f = {.c = c, .w = &w, .parts = c->multipart ? &parts : NULL};
    buf_init(&parts.data, CALL_ANSWER_MAX / 2);
    wbxml_begin(&w, c->out);
    wbxml_open(&w, WBXML_ITEMOPERATIONS_ITEMOPERATIONS);
    wbxml_number(&w, WBXML_ITEMOPERATIONS_STATUS, wbxml_first(c->root) != NULL ? ITEMS_OK : ITEMS_PROTOCOL);
    wbxml_open(&w, WBXML_ITEMOPERATIONS_RESPONSE);
    for (const struct wbxml_node *n = wbxml_first(c->root); n != NULL; n = wbxml_next(c->root, n)) {
        if (n->tag == WBXML_ITEMOPERATIONS_FETCH)
            run_fetch(&f, n);
        else if (n->tag == WBXML_ITEMOPERATIONS_EMPTYFOLDERCONTENTS)
            run_empty(c, &w, n);
        else if (n->tag == WBXML_ITEMOPERATIONS_MOVE && c->version >= 140)
            run_move(c, &w, n);
    }
    wbxml_close(&w);
    wbxml_close(&w);
    command_finish(c, &w);
    if (c->status == 200 && c->multipart)
        finish_parts(c, &parts);
    buf_deinit(&parts.data);
}

/* ---- GetAttachment: the bytes themselves ---- */

void cmd_get_attachment(struct call *c)
{
    char reference[128] = "";
    const char *type = NULL;
    size_t len = 0;
    struct gen_scratch *s = mem_alloc(sizeof *s);
    httpd_query_value(c->parameters, "AttachmentName", reference, sizeof reference);
    const uint8_t *data = find_attachment(c, reference, s, &len, &type);
    c->status = data != NULL ? 200 : 500; /* MS-ASCMD 2.2.1.8: 500 where there is none */
    if (data != NULL) {
        static char kept[128]; /* the type of a generated one lies in the scratch */
        mem_copy_text(kept, sizeof kept, type);
        buf_append(c->out, data, len);
        c->type = kept;
    }
    free(s);
}

/* ---- MoveItems (MS-ASCMD 2.2.1.12) ---- */

enum { MOVE_NO_SOURCE = 1, MOVE_NO_TARGET = 2, MOVE_OK = 3, MOVE_SAME = 4 };

static unsigned move_one(struct call *c, const struct wbxml_node *n, uint32_t *folder, uint32_t *moved)
{
    uint32_t from, item;
    const char *source = child_text(n, WBXML_MOVE_SRCFLDID);
    struct folder *to = box_folder(c->boxes, c->box, folder_id_parse(child_text(n, WBXML_MOVE_DSTFLDID)));
    if (!item_id_parse(child_text(n, WBXML_MOVE_SRCMSGID), &from, &item) || folder_id_parse(source) != from)
        return MOVE_NO_SOURCE;
    struct folder *f = box_folder(c->boxes, c->box, from);
    struct look look;
    if (f == NULL || !folder_look(f, c->box->seed, item, &look) || look.gone)
        return MOVE_NO_SOURCE;
    if (f == to)
        return MOVE_SAME;
    if (to == NULL || to->item_class != f->item_class)
        return MOVE_NO_TARGET;
    *folder = to->id;
    *moved = folder_move(c->boxes, c->box, f, item, to, c->device, c->device)->id;
    return MOVE_OK;
}

void cmd_move_items(struct call *c)
{
    const struct wbxml_node *n = wbxml_find(c->root, WBXML_MOVE_MOVE);
    struct wbxml_writer w;
    if (n == NULL) {
        command_status(c, EAS_INVALID_XML);
        return;
    }
    wbxml_begin(&w, c->out);
    wbxml_open(&w, WBXML_MOVE_MOVEITEMS);
    for (; n != NULL; n = wbxml_find_next(c->root, n, WBXML_MOVE_MOVE)) {
        uint32_t folder = 0, moved = 0;
        unsigned status = move_one(c, n, &folder, &moved);
        wbxml_open(&w, WBXML_MOVE_RESPONSE);
        wbxml_element(&w, WBXML_MOVE_SRCMSGID, child_text(n, WBXML_MOVE_SRCMSGID));
        wbxml_number(&w, WBXML_MOVE_STATUS, status);
        if (status == MOVE_OK) {
            char id[ITEM_ID_TEXT];
            item_id_format(id, folder, moved);
            wbxml_element(&w, WBXML_MOVE_DSTMSGID, id);
        }
        wbxml_close(&w);
    }
    wbxml_close(&w);
    command_finish(c, &w);
}
