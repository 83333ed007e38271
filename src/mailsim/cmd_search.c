/* Search and Find (MS-ASCMD 2.2.1.14, 2.2.1.2), ResolveRecipients (2.2.1.15). The address book is the
 * generated contacts. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "command.h"

#define RANGE_MAX 100
#define BOOK      60 /* people in the address book */

/* ---- finding ---- */

struct query {
    const char *text; /* free text; "" finds all */
    uint32_t folder;  /* 0: all */
    const uint8_t *conversation;
    const char *class; /* "" or "Email" and so on */
    bool deep;
};

struct hit {
    uint32_t folder, item;
};

struct hits {
    struct hit *list; /* owned */
    size_t count;     /* kept */
    size_t total;
    size_t from, to; /* of the range asked for */
};

static bool holds(const char *where, const char *what)
{
    return where != NULL && what[0] != '\0' && strcasestr(where, what) != NULL;
}

static bool mail_matches(const struct query *q, const struct mail *m)
{
    if (q->conversation != NULL && memcmp(q->conversation, m->conversation, MAIL_CONVERSATION) != 0)
        return false;
    return q->text[0] == '\0' || holds(m->subject, q->text) || holds(m->from, q->text) ||
           holds(m->to, q->text) || holds(m->text, q->text) || holds(m->html, q->text);
}

static void found(struct hits *h, uint32_t folder, uint32_t item)
{
    size_t n = h->total++;
    if (n < h->from || n > h->to)
        return;
    h->list = mem_realloc(h->list, (h->count + 1) * sizeof *h->list);
    h->list[h->count++] = (struct hit){folder, item};
}

static void search_folder(const struct call *c, const struct query *q, struct folder *f, struct hits *h)
{
    struct gen_scratch *s = mem_alloc(sizeof *s);
    struct look look;
    struct mail m;
    for (uint32_t id = 1; id <= f->last_id; id++) {
        if (!folder_look(f, c->box->seed, id, &look) || look.gone)
            continue;
        folder_mail(c->boxes, c->box, &look, s, &m);
        if (mail_matches(q, &m))
            found(h, f->id, id);
    }
    free(s);
}

static bool is_below(const struct call *c, const struct folder *f, uint32_t top)
{
    for (uint32_t id = f->parent; id != 0;) {
        const struct folder *up = box_folder(c->boxes, c->box, id);
        if (id == top)
            return true;
        id = up != NULL ? up->parent : 0;
    }
    return false;
}

static void search_mailbox(const struct call *c, const struct query *q, struct hits *h)
{
    if (q->class[0] != '\0' && strcmp(q->class, "Email") != 0)
        return; /* mail is what is searched */
    for (uint32_t id = 1; id <= box_last_folder(c->box); id++) {
        struct folder *f = box_folder(c->boxes, c->box, id);
        if (f == NULL || f->item_class != CLASS_EMAIL)
            continue;
        if (q->folder == 0 || q->folder == id || (q->deep && is_below(c, f, q->folder)))
            search_folder(c, q, f, h);
    }
}

/* "0-9": at most RANGE_MAX. */
static void take_range(const char *text, struct hits *h)
{
    unsigned from, to;
    h->from = 0;
    h->to = RANGE_MAX - 1;
    if (sscanf(text, "%6u-%6u", &from, &to) == 2 && from <= to) {
        h->from = from;
        h->to = to - from >= RANGE_MAX ? from + RANGE_MAX - 1 : to;
    }
}

/* ---- the address book ---- */

/* An entry's properties, read out of the generated contact. */
struct person {
    struct wbxml_tree tree;
    struct buf doc;
    const struct wbxml_node *root;
};

static void person_open(struct person *p, uint32_t number)
{
    struct wbxml_writer w;
    buf_init(&p->doc, 65536);
    wbxml_tree_init(&p->tree, 100);
    wbxml_begin(&w, &p->doc);
    wbxml_open(&w, WBXML_AIRSYNC_APPLICATIONDATA);
    gen_contact(0, number, &w);
    wbxml_close(&w);
    wbxml_finish(&w);
    p->root = wbxml_parse(&p->tree, p->doc.data, p->doc.len) == 0 ? wbxml_root(&p->tree) : NULL;
}

static void person_close(struct person *p)
{
    wbxml_tree_deinit(&p->tree);
    buf_deinit(&p->doc);
}

static void display_name(const struct person *p, char dst[160])
{
    snprintf(dst, 160, "%s %s", child_text(p->root, WBXML_CONTACTS_FIRSTNAME),
             child_text(p->root, WBXML_CONTACTS_LASTNAME));
}

/* By the beginning of a name or address, as address books search. */
static bool person_matches(const struct person *p, const char *text)
{
    const char *fields[] = {child_text(p->root, WBXML_CONTACTS_FIRSTNAME),
                            child_text(p->root, WBXML_CONTACTS_LASTNAME),
                            child_text(p->root, WBXML_CONTACTS_EMAIL1ADDRESS)};
    char name[160];
    size_t n = strlen(text);
    display_name(p, name);
    if (n > 0 && strncasecmp(name, text, n) == 0)
        return true;
    for (size_t i = 0; i < 3; i++) {
        if (n > 0 && strncasecmp(fields[i], text, n) == 0)
            return true;
    }
    return false;
}

static void search_book(const char *text, struct hits *h)
{
    for (uint32_t number = 1; number <= BOOK; number++) {
        struct person p;
        person_open(&p, number);
        if (person_matches(&p, text))
            found(h, 0, number);
        person_close(&p);
    }
}

static void write_person(struct wbxml_writer *w, uint32_t number)
{
    struct person p;
    char name[160];
    person_open(&p, number);
    display_name(&p, name);
    wbxml_element(w, WBXML_GAL_DISPLAYNAME, name);
    wbxml_element(w, WBXML_GAL_PHONE, child_text(p.root, WBXML_CONTACTS_MOBILEPHONENUMBER));
    wbxml_element(w, WBXML_GAL_TITLE, child_text(p.root, WBXML_CONTACTS_JOBTITLE));
    wbxml_element(w, WBXML_GAL_COMPANY, child_text(p.root, WBXML_CONTACTS_COMPANYNAME));
    wbxml_element(w, WBXML_GAL_FIRSTNAME, child_text(p.root, WBXML_CONTACTS_FIRSTNAME));
    wbxml_element(w, WBXML_GAL_LASTNAME, child_text(p.root, WBXML_CONTACTS_LASTNAME));
    wbxml_element(w, WBXML_GAL_EMAILADDRESS, child_text(p.root, WBXML_CONTACTS_EMAIL1ADDRESS));
    person_close(&p);
}

/* ---- Search ---- */

enum {
    SEARCH_OK = 1,
    SEARCH_INVALID = 2,
    SEARCH_SERVER = 3,
    SEARCH_LINK = 4,
    SEARCH_NOT_FOUND = 6,
    SEARCH_COMPLEX = 8
};

static void read_query(const struct wbxml_node *store, struct query *q)
{
    const struct wbxml_node *query = wbxml_find(store, WBXML_SEARCH_QUERY);
    const struct wbxml_node *options = wbxml_find(store, WBXML_SEARCH_OPTIONS);
    const struct wbxml_node *and = wbxml_find(query, WBXML_SEARCH_AND);
    const struct wbxml_node *in = and != NULL ? and : query;
    const struct wbxml_node *conversation = wbxml_find(in, WBXML_SEARCH_CONVERSATIONID);
    *q = (struct query){.text = child_text(in, WBXML_SEARCH_FREETEXT),
                        .folder = folder_id_parse(child_text(in, WBXML_AIRSYNC_COLLECTIONID)),
                        .class = child_text(in, WBXML_AIRSYNC_CLASS),
                        .deep = wbxml_find(options, WBXML_SEARCH_DEEPTRAVERSAL) != NULL};
    if (conversation != NULL && conversation->len == MAIL_CONVERSATION)
        q->conversation = conversation->data;
}

static void write_hit(const struct call *c, struct wbxml_writer *w, const struct hit *h, const struct view *v)
{
    char id[ITEM_ID_TEXT], folder[16];
    struct folder *f = box_folder(c->boxes, c->box, h->folder);
    struct look look;
    item_id_format(id, h->folder, h->item);
    snprintf(folder, sizeof folder, "%u", h->folder);
    folder_look(f, c->box->seed, h->item, &look);
    wbxml_element(w, WBXML_AIRSYNC_CLASS, "Email");
    wbxml_element(w, WBXML_SEARCH_LONGID, id);
    wbxml_element(w, WBXML_AIRSYNC_COLLECTIONID, folder);
    wbxml_open(w, WBXML_SEARCH_PROPERTIES);
    write_item(c, w, f, &look, v);
    wbxml_close(w);
}

/* Results of one store. */
static void write_results(const struct call *c, struct wbxml_writer *w, const struct hits *h, bool book,
                          const struct view *v)
{
    for (size_t i = 0; i < h->count; i++) {
        wbxml_open(w, WBXML_SEARCH_RESULT);
        if (book) {
            wbxml_open(w, WBXML_SEARCH_PROPERTIES);
            write_person(w, h->list[i].item);
            wbxml_close(w);
        } else {
            write_hit(c, w, &h->list[i], v);
        }
        wbxml_close(w);
    }
    if (h->count == 0) {
        wbxml_empty(w, WBXML_SEARCH_RESULT); /* MS-ASCMD 2.2.3.153: one empty Result for none */
        return;
    }
    char range[32];
    snprintf(range, sizeof range, "%zu-%zu", h->from, h->from + h->count - 1);
    wbxml_element(w, WBXML_SEARCH_RANGE, range);
    wbxml_number(w, WBXML_SEARCH_TOTAL, (int64_t)h->total);
}

void cmd_search(struct call *c)
{
    const struct wbxml_node *store = wbxml_find(c->root, WBXML_SEARCH_STORE);
    const char *name = child_text(store, WBXML_SEARCH_NAME);
    const struct wbxml_node *options = wbxml_find(store, WBXML_SEARCH_OPTIONS);
    bool book = strcmp(name, "GAL") == 0;
    bool mailbox = strcmp(name, "Mailbox") == 0 && c->version >= 120; /* 2.5 searches the address book only */
    struct hits h = {0};
    struct query q;
    struct view v;
    struct wbxml_writer w;
    unsigned status = book || mailbox ? SEARCH_OK : SEARCH_INVALID;
    take_range(child_text(options, WBXML_SEARCH_RANGE), &h);
    view_read(&v, c, options);
    if (book) {
        search_book(child_text(store, WBXML_SEARCH_QUERY), &h);
    } else if (mailbox) {
        read_query(store, &q);
        if (q.text[0] == '\0' && q.conversation == NULL)
            status = SEARCH_COMPLEX;
        else
            search_mailbox(c, &q, &h);
    }
    wbxml_begin(&w, c->out);
    wbxml_open(&w, WBXML_SEARCH_SEARCH);
    wbxml_number(&w, WBXML_SEARCH_STATUS, SEARCH_OK);
    wbxml_open(&w, WBXML_SEARCH_RESPONSE);
    wbxml_open(&w, WBXML_SEARCH_STORE);
    wbxml_number(&w, WBXML_SEARCH_STATUS, status);
    if (status == SEARCH_OK)
        write_results(c, &w, &h, book, &v);
    wbxml_close(&w);
    wbxml_close(&w);
    wbxml_close(&w);
    free(h.list);
    command_finish(c, &w);
}

/* ---- Find (16.1) ---- */

enum { FIND_OK = 1, FIND_INVALID = 2, FIND_FOLDERS = 3, FIND_RANGE = 4 };

static void write_find_hit(const struct call *c, struct wbxml_writer *w, const struct hit *h)
{
    char id[ITEM_ID_TEXT], folder[16];
    struct folder *f = box_folder(c->boxes, c->box, h->folder);
    struct look look;
    struct mail m;
    struct gen_scratch *s = mem_alloc(sizeof *s);
    struct wbxml_writer *const x = w;
    item_id_format(id, h->folder, h->item);
    snprintf(folder, sizeof folder, "%u", h->folder);
    folder_look(f, c->box->seed, h->item, &look);
    folder_mail(c->boxes, c->box, &look, s, &m);
    wbxml_element(x, WBXML_AIRSYNC_CLASS, "Email");
    wbxml_element(x, WBXML_AIRSYNC_SERVERID, id);
    wbxml_element(x, WBXML_AIRSYNC_COLLECTIONID, folder);
    wbxml_open(x, WBXML_FIND_PROPERTIES);
    wbxml_element(x, WBXML_EMAIL_SUBJECT, m.subject);
    wbxml_element(x, WBXML_EMAIL_FROM, m.from);
    wbxml_element(x, WBXML_EMAIL_DISPLAYTO, m.to);
    wbxml_element(x, WBXML_FIND_DISPLAYCC, m.cc);
    wbxml_number(x, WBXML_EMAIL_IMPORTANCE, m.importance);
    wbxml_element(x, WBXML_EMAIL_READ, look.read ? "1" : "0");
    wbxml_element(x, WBXML_FIND_HASATTACHMENTS, m.attachment_count > 0 ? "1" : "0");
    wbxml_element(x, WBXML_FIND_PREVIEW, mail_topic(m.subject));
    wbxml_close(x);
    free(s);
}

void cmd_find(struct call *c)
{
    const struct wbxml_node *run = wbxml_find(c->root, WBXML_FIND_EXECUTESEARCH);
    const struct wbxml_node *mailbox = wbxml_find(run, WBXML_FIND_MAILBOXSEARCHCRITERION);
    const struct wbxml_node *book = wbxml_find(run, WBXML_FIND_GALSEARCHCRITERION);
    const struct wbxml_node *in = mailbox != NULL ? mailbox : book;
    const struct wbxml_node *options = wbxml_find(in, WBXML_FIND_OPTIONS);
    const struct wbxml_node *query = wbxml_find(in, WBXML_FIND_QUERY);
    struct hits h = {0};
    struct wbxml_writer w;
    unsigned status = in != NULL && query != NULL ? FIND_OK : FIND_INVALID;
    take_range(child_text(options, WBXML_FIND_RANGE), &h);
    if (status == FIND_OK && mailbox != NULL) {
        struct query q = {.text = child_text(query, WBXML_FIND_FREETEXT),
                          .folder = folder_id_parse(child_text(query, WBXML_AIRSYNC_COLLECTIONID)),
                          .class = child_text(query, WBXML_AIRSYNC_CLASS),
                          .deep = wbxml_find(options, WBXML_FIND_DEEPTRAVERSAL) != NULL};
        search_mailbox(c, &q, &h);
    } else if (status == FIND_OK) {
        const char *text = wbxml_string(query);
        search_book(text != NULL ? text : "", &h);
    }
    wbxml_begin(&w, c->out);
    wbxml_open(&w, WBXML_FIND_FIND);
    wbxml_number(&w, WBXML_FIND_STATUS, status);
    if (status == FIND_OK) {
        char range[32];
        wbxml_open(&w, WBXML_FIND_RESPONSE);
        wbxml_element(&w, WBXML_ITEMOPERATIONS_STORE, mailbox != NULL ? "Mailbox" : "GAL");
        wbxml_number(&w, WBXML_FIND_STATUS, FIND_OK);
        for (size_t i = 0; i < h.count; i++) {
            wbxml_open(&w, WBXML_FIND_RESULT);
            if (mailbox != NULL) {
                write_find_hit(c, &w, &h.list[i]);
            } else {
                wbxml_open(&w, WBXML_FIND_PROPERTIES);
                write_person(&w, h.list[i].item);
                wbxml_close(&w);
            }
            wbxml_close(&w);
        }
        snprintf(range, sizeof range, "%zu-%zu", h.from, h.count > 0 ? h.from + h.count - 1 : h.from);
        if (h.count > 0)
            wbxml_element(&w, WBXML_FIND_RANGE, range);
        wbxml_number(&w, WBXML_FIND_TOTAL, (int64_t)h.total);
        wbxml_close(&w);
    }
    wbxml_close(&w);
    free(h.list);
    command_finish(c, &w);
}

/* ---- ResolveRecipients ---- */

enum { RESOLVE_OK = 1, RESOLVE_AMBIGUOUS = 2, RESOLVE_NONE = 4, RESOLVE_NO_CERTIFICATE = 7 };

static void write_recipient(const struct call *c, struct wbxml_writer *w, uint32_t number, bool certificates)
{
    struct person p;
    char name[160];
    (void)c;
    person_open(&p, number);
    display_name(&p, name);
    wbxml_open(w, WBXML_RESOLVERECIPIENTS_RECIPIENT);
    wbxml_element(w, WBXML_RESOLVERECIPIENTS_TYPE, "1");
    wbxml_element(w, WBXML_RESOLVERECIPIENTS_DISPLAYNAME, name);
    wbxml_element(w, WBXML_RESOLVERECIPIENTS_EMAILADDRESS, child_text(p.root, WBXML_CONTACTS_EMAIL1ADDRESS));
    if (certificates) { /* nobody in the lab has one */
        wbxml_open(w, WBXML_RESOLVERECIPIENTS_CERTIFICATES);
        wbxml_number(w, WBXML_RESOLVERECIPIENTS_STATUS, RESOLVE_NO_CERTIFICATE);
        wbxml_element(w, WBXML_RESOLVERECIPIENTS_CERTIFICATECOUNT, "0");
        wbxml_close(w);
    }
    wbxml_close(w);
    person_close(&p);
}

static void resolve(const struct call *c, struct wbxml_writer *w, const char *to, size_t most,
                    bool certificates)
{
    struct hits h = {.to = RANGE_MAX};
    search_book(to, &h);
    wbxml_open(w, WBXML_RESOLVERECIPIENTS_RESPONSE);
    wbxml_element(w, WBXML_RESOLVERECIPIENTS_TO, to);
    wbxml_number(w, WBXML_RESOLVERECIPIENTS_STATUS,
                 h.total == 0   ? RESOLVE_NONE
                 : h.total == 1 ? RESOLVE_OK
                                : RESOLVE_AMBIGUOUS);
    wbxml_number(w, WBXML_RESOLVERECIPIENTS_RECIPIENTCOUNT, (int64_t)h.total);
    for (size_t i = 0; i < h.count && i < most; i++)
        write_recipient(c, w, h.list[i].item, certificates);
    wbxml_close(w);
    free(h.list);
}

void cmd_resolve_recipients(struct call *c)
{
    const struct wbxml_node *n = wbxml_find(c->root, WBXML_RESOLVERECIPIENTS_TO);
    const struct wbxml_node *options = wbxml_find(c->root, WBXML_RESOLVERECIPIENTS_OPTIONS);
    bool certificates = node_number(wbxml_find(options, WBXML_RESOLVERECIPIENTS_CERTIFICATERETRIEVAL), 1) > 1;
    uint32_t most =
        node_number(wbxml_find(options, WBXML_RESOLVERECIPIENTS_MAXAMBIGUOUSRECIPIENTS), RANGE_MAX);
    struct wbxml_writer w;
    wbxml_begin(&w, c->out);
    wbxml_open(&w, WBXML_RESOLVERECIPIENTS_RESOLVERECIPIENTS);
    wbxml_number(&w, WBXML_RESOLVERECIPIENTS_STATUS, n != NULL ? 1 : 5);
    for (; n != NULL; n = wbxml_find_next(c->root, n, WBXML_RESOLVERECIPIENTS_TO)) {
        const char *to = wbxml_string(n);
        resolve(c, &w, to != NULL ? to : "", most, certificates);
    }
    wbxml_close(&w);
    command_finish(c, &w);
}
