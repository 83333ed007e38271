/* Items as a protocol version shows them (MS-ASEMAIL, MS-ASCAL, MS-ASCNTC, MS-ASTASK, MS-ASNOTE, MS-ASAIRS),
 * and back. */
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "command.h"

#define TEXT_MAX (16 * 1024 * 1024)

/* ---- what the client wants ---- */

/* 2.5's Truncation and MIMETruncation count in steps (MS-ASCMD 2.2.3.110). */
static uint32_t truncation_size(uint32_t step)
{
    static const uint32_t sizes[] = {0, 512, 1024, 2048, 5120, 10240, 20480, 51200, 102400};
    return step < sizeof sizes / sizeof sizes[0] ? sizes[step] : UINT32_MAX;
}

void view_read(struct view *v, const struct call *c, const struct wbxml_node *options)
{
    *v = (struct view){.mime = (uint8_t)(node_number(wbxml_find(options, WBXML_AIRSYNC_MIMESUPPORT), 0) % 3)};
    if (c->version < 120) {
        bool mime = v->mime == 2;
        uint32_t step = node_number(
            wbxml_find(options, mime ? WBXML_AIRSYNC_MIMETRUNCATION : WBXML_AIRSYNC_TRUNCATION), 9);
        v->bodies[0] = (struct body_preference){.type = mime ? 4 : 1, .size = truncation_size(step)};
        v->body_count = 1;
        return;
    }
    const struct wbxml_node *p = wbxml_find(options, WBXML_AIRSYNCBASE_BODYPREFERENCE);
    for (; p != NULL && v->body_count < 4;
         p = wbxml_find_next(options, p, WBXML_AIRSYNCBASE_BODYPREFERENCE)) {
        uint32_t type = node_number(wbxml_find(p, WBXML_AIRSYNCBASE_TYPE), 1);
        if (type < 1 || type > 4)
            continue;
        v->bodies[v->body_count++] = (struct body_preference){
            .type = (uint8_t)type,
            .whole = node_number(wbxml_find(p, WBXML_AIRSYNCBASE_ALLORNONE), 0) != 0,
            .size = node_number(wbxml_find(p, WBXML_AIRSYNCBASE_TRUNCATIONSIZE), UINT32_MAX),
            .preview = node_number(wbxml_find(p, WBXML_AIRSYNCBASE_PREVIEW), 0)};
    }
}

/* ---- texts ---- */

/* How much of it can be given without cutting a character in two. */
static size_t cut_at(const char *text, size_t len, uint32_t size)
{
    if (len <= size)
        return len;
    size_t n = size;
    while (n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80)
        n--;
    return n;
}

static void html_from_text(const char *text, struct buf *out)
{
    buf_append_str(out, "<html><body><pre>");
    for (const char *p = text; *p != '\0';) {
        size_t n = strcspn(p, "<>&");
        buf_append(out, p, n);
        p += n;
        if (*p != '\0')
            buf_append_str(out, *p == '<' ? "&lt;" : *p == '>' ? "&gt;" : "&amp;");
        p += *p != '\0';
    }
    buf_append_str(out, "</pre></body></html>");
}

static const struct {
    const char *name;
    char is;
} entities[] = {{"&lt;", '<'},   {"&gt;", '>'},   {"&amp;", '&'},
                {"&quot;", '"'}, {"&nbsp;", ' '}, {"&#39;", '\''}};

static size_t take_entity(const char *p, struct buf *out)
{
    for (size_t i = 0; i < sizeof entities / sizeof entities[0]; i++) {
        size_t n = strlen(entities[i].name);
        if (strncmp(p, entities[i].name, n) == 0) {
            buf_append(out, &entities[i].is, 1);
            return n;
        }
    }
    buf_append(out, p, 1);
    return 1;
}

static void text_from_html(const char *html, struct buf *out)
{
    for (const char *p = html; *p != '\0';) {
        if (*p == '<') {
            if (strncasecmp(p, "<br", 3) == 0 || strncasecmp(p, "</p", 3) == 0 ||
                strncasecmp(p, "</div", 5) == 0)
                buf_append_str(out, "\r\n");
            const char *end = strchr(p, '>');
            p = end != NULL ? end + 1 : p + strlen(p);
        } else if (*p == '&') {
            p += take_entity(p, out);
        } else if (*p == '\r' || *p == '\n') {
            p++;
        } else {
            size_t n = strcspn(p, "<&\r\n");
            buf_append(out, p, n);
            p += n;
        }
    }
}

/* The mail's body as that type, NUL-terminated: its own or made out of the other one (in `made`). */
static const char *body_as(const struct mail *m, uint8_t type, struct buf *made)
{
    made->len = 0;
    if (type == 4) {
        mail_write_mime(m, made);
    } else if (type == 2) {
        if (m->html != NULL)
            return m->html;
        html_from_text(m->text, made);
    } else {
        if (m->text != NULL)
            return m->text;
        text_from_html(m->html, made);
    }
    buf_append(made, "", 1);
    return (const char *)made->data;
}

/* Control characters that no XML has, and a NUL in MIME, would make the document unreadable for some. */
static void write_text(struct wbxml_writer *w, uint16_t tag, const char *text, size_t len)
{
    wbxml_open(w, tag);
    wbxml_text_n(w, text, strnlen(text, len));
    wbxml_close(w);
}

/* ---- bodies ---- */

static bool is_wanted(const struct mail *m, const struct view *v, const struct body_preference *p)
{
    if (p->type == 4)
        return v->mime == 2;
    if (p->type == 3)
        return false; /* RTF: no generated or sent mail is that */
    return p->type == 1 || m->html != NULL || v->body_count == 1;
}

/* The last of the client's types that the mail really is, else the first that it can be given as. */
static struct body_preference preference_for(const struct mail *m, const struct view *v)
{
    const struct body_preference plain = {.type = 1, .size = UINT32_MAX};
    const struct body_preference *found = NULL;
    for (size_t i = 0; i < v->body_count; i++) {
        if (is_wanted(m, v, &v->bodies[i]) &&
            (found == NULL || v->bodies[i].type == 4 ||
             (v->bodies[i].type == 2 && found->type == 1 && m->html != NULL)))
            found = &v->bodies[i];
    }
    return found != NULL ? *found : plain;
}

static void write_base_body(const struct call *c, struct wbxml_writer *w, const struct body_preference *p,
                            const char *text)
{
    size_t len = strlen(text), n = cut_at(text, len, p->size);
    if (n < len && p->whole)
        n = 0;
    wbxml_open(w, WBXML_AIRSYNCBASE_BODY);
    wbxml_number(w, WBXML_AIRSYNCBASE_TYPE, p->type);
    wbxml_number(w, WBXML_AIRSYNCBASE_ESTIMATEDDATASIZE, (int64_t)len);
    if (n < len)
        wbxml_element(w, WBXML_AIRSYNCBASE_TRUNCATED, "1");
    if (n > 0 || len == 0)
        write_text(w, WBXML_AIRSYNCBASE_DATA, text, n);
    if (p->preview > 0 && c->version >= 140 && p->type != 4)
        write_text(w, WBXML_AIRSYNCBASE_PREVIEW, text, cut_at(text, len, p->preview));
    wbxml_close(w);
}

static void write_mail_body(const struct call *c, struct wbxml_writer *w, const struct mail *m,
                            const struct view *v)
{
    struct body_preference p = preference_for(m, v);
    struct buf made;
    buf_init(&made, TEXT_MAX);
    const char *text = body_as(m, p.type, &made);
    if (c->version >= 120) {
        write_base_body(c, w, &p, text);
    } else {
        size_t len = strlen(text), n = cut_at(text, len, p.size);
        bool mime = p.type == 4;
        wbxml_element(w, mime ? WBXML_EMAIL_MIMETRUNCATED : WBXML_EMAIL_BODYTRUNCATED, n < len ? "1" : "0");
        write_text(w, mime ? WBXML_EMAIL_MIMEDATA : WBXML_EMAIL_BODY, text, n);
        wbxml_number(w, mime ? WBXML_EMAIL_MIMESIZE : WBXML_EMAIL_BODYSIZE, (int64_t)len);
    }
    buf_deinit(&made);
}

/* ---- mail ---- */

static void write_time(struct wbxml_writer *w, uint16_t tag, int64_t ms)
{
    char text[CLOCK_TEXT];
    clock_format(text, ms);
    wbxml_element(w, tag, text);
}

static void write_attachments(const struct call *c, struct wbxml_writer *w, const struct mail *m,
                              uint32_t folder, uint32_t item)
{
    bool old = c->version < 120;
    if (m->attachment_count == 0)
        return;
    wbxml_open(w, old ? WBXML_EMAIL_ATTACHMENTS : WBXML_AIRSYNCBASE_ATTACHMENTS);
    for (size_t i = 0; i < m->attachment_count; i++) {
        const struct mail_attachment *a = &m->attachments[i];
        char reference[64];
        snprintf(reference, sizeof reference, "%u:%u:%zu", folder, item, i);
        wbxml_open(w, old ? WBXML_EMAIL_ATTACHMENT : WBXML_AIRSYNCBASE_ATTACHMENT);
        wbxml_element(w, old ? WBXML_EMAIL_DISPLAYNAME : WBXML_AIRSYNCBASE_DISPLAYNAME, a->name);
        wbxml_element(w, old ? WBXML_EMAIL_ATTNAME : WBXML_AIRSYNCBASE_FILEREFERENCE, reference);
        wbxml_element(w, old ? WBXML_EMAIL_ATTMETHOD : WBXML_AIRSYNCBASE_METHOD, "1");
        wbxml_number(w, old ? WBXML_EMAIL_ATTSIZE : WBXML_AIRSYNCBASE_ESTIMATEDDATASIZE, (int64_t)a->len);
        if (!old && a->content_id[0] != '\0')
            wbxml_element(w, WBXML_AIRSYNCBASE_CONTENTID, a->content_id);
        if (!old && a->is_inline)
            wbxml_element(w, WBXML_AIRSYNCBASE_ISINLINE, "1");
        wbxml_close(w);
    }
    wbxml_close(w);
}

/* The UID as Outlook's global object ID has it (MS-ASEMAIL 2.2.2.37), in base64. */
static void write_global_id(struct wbxml_writer *w, const char *uid)
{
    static const uint8_t head[40] = {0x04, 0,    0,    0,    0x82, 0,    0xe0, 0,
                                     0x74, 0xc5, 0xb7, 0x10, 0x1a, 0x82, 0xe0, 0x08};
    uint8_t id[256];
    unsigned char text[4 * sizeof id / 3 + 8];
    size_t n = strnlen(uid, 150), size = n + 13;
    memcpy(id, head, sizeof head);
    id[36] = (uint8_t)size;
    memcpy(id + 40, "vCal-Uid\1\0\0\0", 12);
    memcpy(id + 52, uid, n);
    id[52 + n] = 0;
    EVP_EncodeBlock(text, id, (int)(53 + n));
    wbxml_element(w, WBXML_EMAIL_GLOBALOBJID, (const char *)text);
}

static void write_meeting(const struct call *c, struct wbxml_writer *w, const struct mail *m)
{
    const struct mail_meeting *meeting = m->meeting;
    wbxml_open(w, WBXML_EMAIL_MEETINGREQUEST);
    wbxml_element(w, WBXML_EMAIL_ALLDAYEVENT, meeting->all_day ? "1" : "0");
    write_time(w, WBXML_EMAIL_STARTTIME, meeting->start_ms);
    write_time(w, WBXML_EMAIL_DTSTAMP, m->received_ms);
    write_time(w, WBXML_EMAIL_ENDTIME, meeting->end_ms);
    wbxml_element(w, WBXML_EMAIL_INSTANCETYPE, "0");
    if (c->version >= 160) {
        wbxml_open(w, WBXML_AIRSYNCBASE_LOCATION);
        wbxml_element(w, WBXML_AIRSYNCBASE_DISPLAYNAME, meeting->location);
        wbxml_close(w);
    } else {
        wbxml_element(w, WBXML_EMAIL_LOCATION, meeting->location);
    }
    wbxml_element(w, WBXML_EMAIL_ORGANIZER, meeting->organizer);
    wbxml_element(w, WBXML_EMAIL_REMINDER, "900");
    wbxml_element(w, WBXML_EMAIL_RESPONSEREQUESTED, "1");
    wbxml_element(w, WBXML_EMAIL_SENSITIVITY, "0");
    wbxml_element(w, WBXML_EMAIL_BUSYSTATUS, "2");
    wbxml_element(w, WBXML_EMAIL_TIMEZONE, gen_utc);
    if (c->version >= 160)
        wbxml_element(w, WBXML_CALENDAR_UID, meeting->uid);
    else
        write_global_id(w, meeting->uid);
    if (c->version >= 140)
        wbxml_element(w, WBXML_EMAIL_DISALLOWNEWTIMEPROPOSAL, "0");
    if (c->version >= 141)
        wbxml_element(w, WBXML_EMAIL2_MEETINGMESSAGETYPE, "1");
    wbxml_close(w);
}

/* Flag and categories as clients have set them. */
static void write_set_by_clients(const struct call *c, struct wbxml_writer *w, const struct item *it,
                                 bool change)
{
    struct wbxml_tree t;
    wbxml_tree_init(&t, CALL_NODES_MAX);
    const struct wbxml_node *root = NULL;
    if (it != NULL && it->data != NULL && wbxml_parse(&t, it->data, it->len) == 0)
        root = wbxml_root(&t);
    const struct wbxml_node *flag = wbxml_find(root, WBXML_EMAIL_FLAG);
    const struct wbxml_node *categories = wbxml_find(root, WBXML_EMAIL_CATEGORIES);
    if (c->version >= 120) {
        if (flag != NULL)
            wbxml_copy(w, flag);
        else if (!change)
            wbxml_empty(w, WBXML_EMAIL_FLAG);
    }
    if (c->version >= 140 && categories != NULL)
        wbxml_copy(w, categories);
    wbxml_tree_deinit(&t);
}

static void write_mail(const struct call *c, struct wbxml_writer *w, struct folder *f,
                       const struct look *look, const struct view *v)
{
    struct gen_scratch *s = mem_alloc(sizeof *s);
    struct mail m;
    const struct item *it = look->item;
    folder_mail(c->boxes, c->box, look, s, &m);
    bool invitation = m.meeting != NULL;
    wbxml_element(w, WBXML_EMAIL_TO, m.to);
    if (m.cc[0] != '\0')
        wbxml_element(w, WBXML_EMAIL_CC, m.cc);
    wbxml_element(w, WBXML_EMAIL_FROM, m.from);
    wbxml_element(w, WBXML_EMAIL_SUBJECT, m.subject);
    if (m.reply_to[0] != '\0')
        wbxml_element(w, WBXML_EMAIL_REPLYTO, m.reply_to);
    write_time(w, WBXML_EMAIL_DATERECEIVED, m.received_ms);
    wbxml_element(w, WBXML_EMAIL_DISPLAYTO, m.to);
    wbxml_element(w, WBXML_EMAIL_THREADTOPIC, mail_topic(m.subject));
    wbxml_number(w, WBXML_EMAIL_IMPORTANCE, m.importance);
    wbxml_element(w, WBXML_EMAIL_READ, look->read ? "1" : "0");
    write_attachments(c, w, &m, f->id, look->id);
    write_mail_body(c, w, &m, v);
    wbxml_element(w, WBXML_EMAIL_MESSAGECLASS, invitation ? "IPM.Schedule.Meeting.Request" : "IPM.Note");
    if (invitation)
        write_meeting(c, w, &m);
    wbxml_element(w, WBXML_EMAIL_INTERNETCPID, "65001");
    write_set_by_clients(c, w, it, false);
    if (c->version >= 120) {
        wbxml_element(w, WBXML_EMAIL_CONTENTCLASS,
                      invitation ? "urn:content-classes:calendarmessage" : "urn:content-classes:message");
        wbxml_element(w, WBXML_AIRSYNCBASE_NATIVEBODYTYPE, m.html != NULL ? "2" : "1");
    }
    if (c->version >= 140) {
        uint8_t index[5] = {(uint8_t)(m.received_ms >> 40), (uint8_t)(m.received_ms >> 32),
                            (uint8_t)(m.received_ms >> 24), (uint8_t)(m.received_ms >> 16),
                            (uint8_t)(m.received_ms >> 8)};
        wbxml_open(w, WBXML_EMAIL2_CONVERSATIONID);
        wbxml_opaque(w, m.conversation, sizeof m.conversation);
        wbxml_close(w);
        wbxml_open(w, WBXML_EMAIL2_CONVERSATIONINDEX);
        wbxml_opaque(w, index, sizeof index);
        wbxml_close(w);
        if (it != NULL && it->verb != 0) {
            wbxml_number(w, WBXML_EMAIL2_LASTVERBEXECUTED, it->verb);
            write_time(w, WBXML_EMAIL2_LASTVERBEXECUTIONTIME, it->verb_ms);
        }
    }
    if (c->version >= 160 && f->type == TYPE_DRAFTS) {
        wbxml_element(w, WBXML_EMAIL2_ISDRAFT, "1");
        if (m.bcc[0] != '\0')
            wbxml_element(w, WBXML_EMAIL2_BCC, m.bcc);
    }
    free(s);
}

void write_mail_change(const struct call *c, struct wbxml_writer *w, const struct look *look)
{
    const struct item *it = look->item;
    wbxml_element(w, WBXML_EMAIL_READ, look->read ? "1" : "0");
    write_set_by_clients(c, w, it, true);
    if (c->version >= 140 && it != NULL && it->verb != 0) {
        wbxml_number(w, WBXML_EMAIL2_LASTVERBEXECUTED, it->verb);
        write_time(w, WBXML_EMAIL2_LASTVERBEXECUTIONTIME, it->verb_ms);
    }
}

const uint8_t *find_attachment(const struct call *c, const char *reference, struct gen_scratch *s,
                               size_t *len, const char **type)
{
    unsigned folder, item, index;
    int end = 0;
    struct look look;
    struct mail m;
    if (sscanf(reference, "%9u:%9u:%3u%n", &folder, &item, &index, &end) != 3 || reference[end] != '\0')
        return NULL;
    struct folder *f = box_folder(c->boxes, c->box, folder);
    if (f == NULL || f->item_class != CLASS_EMAIL || !folder_look(f, c->box->seed, item, &look) || look.gone)
        return NULL;
    folder_mail(c->boxes, c->box, &look, s, &m);
    if (index >= m.attachment_count)
        return NULL;
    *len = m.attachments[index].len;
    *type = m.attachments[index].type;
    return m.attachments[index].data;
}

/* ---- the other classes ---- */

/* Body and its companions in 2.5, where each class has its own. */
static const struct {
    uint16_t body, size, truncated;
} old_bodies[CLASSES] = {
    [CLASS_CALENDAR] = {WBXML_CALENDAR_BODY, 0, WBXML_CALENDAR_BODYTRUNCATED},
    [CLASS_CONTACTS] = {WBXML_CONTACTS_BODY, WBXML_CONTACTS_BODYSIZE, WBXML_CONTACTS_BODYTRUNCATED},
    [CLASS_TASKS] = {WBXML_TASKS_BODY, WBXML_TASKS_BODYSIZE, WBXML_TASKS_BODYTRUNCATED},
};

static void write_item_body(const struct call *c, struct wbxml_writer *w, enum item_class class,
                            const struct wbxml_node *body, const struct view *v)
{
    const char *text = child_text(body, WBXML_AIRSYNCBASE_DATA);
    struct body_preference p = {.type = 1, .size = v->body_count > 0 ? v->bodies[0].size : UINT32_MAX};
    size_t len = strlen(text), n = cut_at(text, len, p.size);
    if (c->version >= 120) {
        p.type = (uint8_t)node_number(wbxml_find(body, WBXML_AIRSYNCBASE_TYPE), 1);
        write_base_body(c, w, &p, text);
    } else if (old_bodies[class].body != 0 && len > 0) {
        write_text(w, old_bodies[class].body, text, n);
        if (old_bodies[class].size != 0)
            wbxml_number(w, old_bodies[class].size, (int64_t)len);
        wbxml_element(w, old_bodies[class].truncated, n < len ? "1" : "0");
    }
}

static void write_data(const struct call *c, struct wbxml_writer *w, struct folder *f,
                       const struct look *look, const struct view *v)
{
    struct buf data;
    struct wbxml_tree t;
    buf_init(&data, CALL_ANSWER_MAX);
    wbxml_tree_init(&t, CALL_NODES_MAX);
    folder_data(c->boxes, c->box, f, look, &data);
    const struct wbxml_node *root = wbxml_parse(&t, data.data, data.len) == 0 ? wbxml_root(&t) : NULL;
    for (const struct wbxml_node *n = wbxml_first(root); n != NULL; n = wbxml_next(root, n)) {
        if (n->tag == WBXML_AIRSYNCBASE_BODY) {
            write_item_body(c, w, f->item_class, n, v);
        } else if (n->tag == WBXML_CALENDAR_LOCATION && c->version >= 160) {
            wbxml_open(w, WBXML_AIRSYNCBASE_LOCATION);
            wbxml_element(w, WBXML_AIRSYNCBASE_DISPLAYNAME, wbxml_string(n));
            wbxml_close(w);
        } else if (wbxml_tag_is_in(n->tag, c->version)) {
            wbxml_copy(w, n);
        }
    }
    wbxml_tree_deinit(&t);
    buf_deinit(&data);
}

void write_item(const struct call *c, struct wbxml_writer *w, struct folder *f, const struct look *look,
                const struct view *v)
{
    if (f->item_class == CLASS_EMAIL)
        write_mail(c, w, f, look, v);
    else
        write_data(c, w, f, look, v);
}

/* ---- from clients ---- */

/* The tag under which an element is kept. */
static uint16_t kept_as(const struct folder *f, uint16_t tag)
{
    if (tag == old_bodies[f->item_class].body && tag != 0)
        return WBXML_AIRSYNCBASE_BODY;
    return tag == WBXML_AIRSYNCBASE_LOCATION ? WBXML_CALENDAR_LOCATION : tag;
}

static bool is_kept(const struct folder *f, uint16_t tag)
{
    return tag == 0 ||
           (tag != old_bodies[f->item_class].size && tag != old_bodies[f->item_class].truncated) ||
           tag == WBXML_AIRSYNCBASE_BODY;
}

static void keep(const struct folder *f, struct wbxml_writer *w, const struct wbxml_node *n)
{
    if (!is_kept(f, n->tag))
        return;
    if (n->tag == WBXML_AIRSYNCBASE_LOCATION) {
        wbxml_element(w, WBXML_CALENDAR_LOCATION, child_text(n, WBXML_AIRSYNCBASE_DISPLAYNAME));
    } else if (kept_as(f, n->tag) != n->tag) {
        const char *text = wbxml_string(n);
        wbxml_open(w, WBXML_AIRSYNCBASE_BODY);
        wbxml_element(w, WBXML_AIRSYNCBASE_TYPE, "1");
        wbxml_number(w, WBXML_AIRSYNCBASE_ESTIMATEDDATASIZE, (int64_t)strlen(text != NULL ? text : ""));
        wbxml_element(w, WBXML_AIRSYNCBASE_DATA, text);
        wbxml_close(w);
    } else {
        wbxml_copy(w, n);
    }
}

static bool has(const struct folder *f, const struct wbxml_node *data, uint16_t tag)
{
    for (const struct wbxml_node *n = wbxml_first(data); n != NULL; n = wbxml_next(data, n)) {
        if (kept_as(f, n->tag) == tag)
            return true;
    }
    return false;
}

void read_item(const struct call *c, const struct folder *f, const struct wbxml_node *data,
               const void *before, size_t before_len, struct buf *out)
{
    struct wbxml_tree t;
    struct wbxml_writer w;
    wbxml_tree_init(&t, CALL_NODES_MAX);
    wbxml_begin(&w, out);
    wbxml_open(&w, WBXML_AIRSYNC_APPLICATIONDATA);
    for (const struct wbxml_node *n = wbxml_first(data); n != NULL; n = wbxml_next(data, n))
        keep(f, &w, n);
    const struct wbxml_node *old =
        before != NULL && wbxml_parse(&t, before, before_len) == 0 ? wbxml_root(&t) : NULL;
    for (const struct wbxml_node *n = wbxml_first(old); n != NULL; n = wbxml_next(old, n)) {
        if (!has(f, data, n->tag))
            wbxml_copy(&w, n);
    }
    if (f->item_class == CLASS_CALENDAR && old == NULL && !has(f, data, WBXML_CALENDAR_UID)) {
        char uid[64]; /* from 16.0 on the server makes it (MS-ASCAL 2.2.2.46) */
        snprintf(uid, sizeof uid, "%016llx-%08x@mailsim", (unsigned long long)c->now_ms, f->last_id + 1);
        wbxml_element(&w, WBXML_CALENDAR_UID, uid);
    }
    wbxml_close(&w);
    if (wbxml_finish(&w) < 0)
        out->len = 0;
    wbxml_tree_deinit(&t);
}

/* The child's text; what was there before where it is not sent. */
static const char *text_or(const struct wbxml_node *data, uint16_t tag, const char *before)
{
    const char *text = wbxml_string(wbxml_find(data, tag));
    return text != NULL ? text : before != NULL ? before : "";
}

struct letter *read_draft(const struct call *c, const struct wbxml_node *data, const struct mail *before)
{
    const struct wbxml_node *body = wbxml_find(data, WBXML_AIRSYNCBASE_BODY);
    char from[200];
    snprintf(from, sizeof from, strchr(c->box->user, '@') != NULL ? "%.150s" : "%.150s@example.com",
             c->box->user);
    struct mail m = before != NULL
                        ? *before
                        : (struct mail){.text = "", .importance = MAIL_IMPORTANCE_NORMAL, .reply_to = ""};
    m.from = from;
    m.to = text_or(data, WBXML_EMAIL_TO, m.to);
    m.cc = text_or(data, WBXML_EMAIL_CC, m.cc);
    m.bcc = text_or(data, WBXML_EMAIL2_BCC, m.bcc);
    m.subject = text_or(data, WBXML_EMAIL_SUBJECT, m.subject);
    m.importance = (uint8_t)(node_number(wbxml_find(data, WBXML_EMAIL_IMPORTANCE), m.importance) % 3);
    m.received_ms = c->now_ms;
    m.read = true;
    m.mime = NULL;
    if (body != NULL) {
        bool html = node_number(wbxml_find(body, WBXML_AIRSYNCBASE_TYPE), 1) == 2;
        const char *text = child_text(body, WBXML_AIRSYNCBASE_DATA);
        m.text = html ? NULL : text;
        m.html = html ? text : NULL;
    }
    return letter_from_mail(&m);
}
