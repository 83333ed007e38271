/* SendMail, SmartReply, SmartForward (MS-ASCMD 2.2.1.17, .19, .20) and MeetingResponse. Everybody in the lab
 * has a box: what is sent to bob@anything arrives in bob's. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "command.h"
#include "http/httpd.h"

#define MESSAGE_MAX (32 * 1024 * 1024)

/* ---- delivery ---- */

struct delivery {
    struct call *c;
    struct letter *letter;
    unsigned count;
};

static void deliver_to(void *owner, const char *address)
{
    struct delivery *d = owner;
    char user[BOX_DEVICE_MAX];
    size_t n = strcspn(address, "@");
    if (n == 0 || n >= sizeof user)
        return;
    snprintf(user, sizeof user, "%.*s", (int)n, address);
    /* who signs in with the whole address has the box of that name */
    struct box *box = boxes_find(d->c->boxes, address);
    if (box == NULL)
        box = boxes_open(d->c->boxes, user);
    if (box == NULL)
        return;
    box_deliver(d->c->boxes, box, d->letter);
    d->count++;
}

unsigned send_message(struct call *c, const void *mime, size_t len, bool sent)
{
    struct letter *l = letter_from_mime(mime, len, c->now_ms);
    if (l == NULL)
        return EAS_MESSAGE_INVALID;
    struct delivery d = {.c = c, .letter = l};
    mail_each_address(l->mail.to, deliver_to, &d);
    mail_each_address(l->mail.cc, deliver_to, &d);
    mail_each_address(l->mail.bcc, deliver_to, &d);
    if (d.count > 0 && sent) {
        struct folder *f = box_folder(c->boxes, c->box, FOLDER_SENT);
        struct item *it = folder_add_mail(c->boxes, c->box, f, l, NULL);
        it->read = true;
    }
    letter_unref(l);
    return d.count > 0 ? EAS_OK : EAS_MESSAGE_NO_RECIPIENT;
}

/* ---- the request, in its two forms: a document from 14.0 on, a message before ---- */

struct sending {
    const uint8_t *mime;
    size_t len;
    bool save;
    bool replace; /* SmartReply and SmartForward: the message stands for itself */
    uint32_t folder, item;
};

static bool read_source(struct sending *s, const char *folder, const char *item)
{
    uint32_t within = folder_id_parse(folder);
    return item_id_parse(item, &s->folder, &s->item) && (folder[0] == '\0' || within == s->folder);
}

/* A status. */
static unsigned read_document(const struct call *c, bool smart, struct sending *s)
{
    const struct wbxml_node *mime = wbxml_find(c->root, WBXML_COMPOSEMAIL_MIME);
    const struct wbxml_node *source = wbxml_find(c->root, WBXML_COMPOSEMAIL_SOURCE);
    if (c->root == NULL || eas_command_of_root(c->root->tag) != c->command)
        return EAS_INVALID_XML;
    if (mime == NULL || mime->len == 0 || child_text(c->root, WBXML_COMPOSEMAIL_CLIENTID)[0] == '\0')
        return EAS_INVALID_XML;
    s->mime = mime->data;
    s->len = mime->len;
    s->save = wbxml_find(c->root, WBXML_COMPOSEMAIL_SAVEINSENTITEMS) != NULL;
    s->replace = wbxml_find(c->root, WBXML_COMPOSEMAIL_REPLACEMIME) != NULL;
    if (!smart)
        return EAS_OK;
    const char *long_id = child_text(source, WBXML_COMPOSEMAIL_LONGID);
    bool found = long_id[0] != '\0' ? read_source(s, "", long_id)
                                    : read_source(s, child_text(source, WBXML_COMPOSEMAIL_FOLDERID),
                                                  child_text(source, WBXML_COMPOSEMAIL_ITEMID));
    return found ? EAS_OK : EAS_ITEM_NOT_FOUND;
}

static unsigned read_message(const struct call *c, bool smart, struct sending *s)
{
    char folder[64] = "", item[64] = "", save[8] = "";
    if (!c->is_mime || c->body_len == 0)
        return EAS_INVALID_CONTENT;
    s->mime = c->body;
    s->len = c->body_len;
    httpd_query_value(c->parameters, "SaveInSent", save, sizeof save);
    s->save = c->query->save_in_sent || strcasecmp(save, "T") == 0;
    if (!smart)
        return EAS_OK;
    httpd_query_value(c->parameters, "CollectionId", folder, sizeof folder);
    if (!httpd_query_value(c->parameters, "ItemId", item, sizeof item))
        httpd_query_value(c->parameters, "LongId", item, sizeof item);
    return read_source(s, folder, item) ? EAS_OK : EAS_ITEM_NOT_FOUND;
}

/* An empty 200 for success; a status else. */
static void answer(struct call *c, unsigned status)
{
    c->status = 200;
    if (status != EAS_OK)
        command_status(c, status);
}

void cmd_send_mail(struct call *c)
{
    struct sending s = {0};
    unsigned status = c->version >= 140 ? read_document(c, false, &s) : read_message(c, false, &s);
    if (status == EAS_OK)
        status = send_message(c, s.mime, s.len, s.save);
    answer(c, status);
}

/* ---- replies and forwards ---- */

/* The message with the one it is about behind it, as text: what a client did not have to load. */
static void write_smart(const struct mail *written, const struct mail *source, bool forward, struct buf *out)
{
    struct mail whole = *written;
    struct buf text;
    buf_init(&text, MESSAGE_MAX);
    buf_append_str(&text, written->text != NULL ? written->text : "");
    buf_printf(
        &text,
        "\r\n\r\n----- Original Message -----\r\nFrom: %.300s\r\nTo: %.300s\r\nSubject: %.300s\r\n\r\n",
        source->from, source->to, source->subject);
    buf_append_str(&text, source->text != NULL ? source->text : "");
    buf_append(&text, "", 1);
    whole.text = (const char *)text.data;
    whole.html = NULL;
    whole.mime = NULL;
    for (size_t i = 0; forward && i < source->attachment_count && whole.attachment_count < MAIL_ATTACHMENTS;
         i++)
        whole.attachments[whole.attachment_count++] = source->attachments[i];
    mail_write_mime(&whole, out);
    buf_deinit(&text);
}

static unsigned send_smart(struct call *c, const struct sending *s)
{
    struct look look;
    struct mail source;
    struct folder *f = box_folder(c->boxes, c->box, s->folder);
    bool forward = c->command == EAS_SMART_FORWARD;
    if (f == NULL || !folder_look(f, c->box->seed, s->item, &look) || look.gone ||
        f->item_class != CLASS_EMAIL)
        return EAS_ITEM_NOT_FOUND;
    unsigned status;
    if (s->replace) {
        status = send_message(c, s->mime, s->len, s->save);
    } else {
        struct letter *l = letter_from_mime(s->mime, s->len, c->now_ms);
        if (l == NULL)
            return EAS_MESSAGE_INVALID;
        struct gen_scratch *scratch = mem_alloc(sizeof *scratch);
        struct buf whole;
        buf_init(&whole, MESSAGE_MAX);
        folder_mail(c->boxes, c->box, &look, scratch, &source);
        write_smart(&l->mail, &source, forward, &whole);
        status = send_message(c, whole.data, whole.len, s->save);
        buf_deinit(&whole);
        letter_unref(l);
        free(scratch);
    }
    if (status == EAS_OK) {
        struct item *it = folder_own(c->boxes, c->box, f, look.id);
        it->verb = forward ? 3 : 1;
        it->verb_ms = c->now_ms;
        folder_touch(c->boxes, c->box, f, it, NULL);
    }
    return status;
}

void cmd_smart(struct call *c)
{
    struct sending s = {0};
    unsigned status = c->version >= 140 ? read_document(c, true, &s) : read_message(c, true, &s);
    if (status == EAS_OK)
        status = send_smart(c, &s);
    answer(c, status);
}

/* ---- MeetingResponse (MS-ASCMD 2.2.1.11) ---- */

enum { MEETING_OK = 1, MEETING_INVALID = 2 };

/* The appointment of an invitation that was accepted. */
static uint32_t add_appointment(struct call *c, const struct mail *m, bool tentative)
{
    struct buf doc;
    struct wbxml_writer w;
    buf_init(&doc, 65536);
    wbxml_begin(&w, &doc);
    wbxml_open(&w, WBXML_AIRSYNC_APPLICATIONDATA);
    wbxml_element(&w, WBXML_CALENDAR_TIMEZONE, gen_utc);
    wbxml_element(&w, WBXML_CALENDAR_ALLDAYEVENT, m->meeting->all_day ? "1" : "0");
    wbxml_element(&w, WBXML_CALENDAR_BUSYSTATUS, tentative ? "1" : "2");
    wbxml_element(&w, WBXML_CALENDAR_ORGANIZEREMAIL, m->meeting->organizer);
    gen_time(&w, WBXML_CALENDAR_DTSTAMP, c->now_ms);
    gen_time(&w, WBXML_CALENDAR_ENDTIME, m->meeting->end_ms);
    wbxml_element(&w, WBXML_CALENDAR_LOCATION, m->meeting->location);
    wbxml_element(&w, WBXML_CALENDAR_REMINDER, "15");
    wbxml_element(&w, WBXML_CALENDAR_SENSITIVITY, "0");
    wbxml_element(&w, WBXML_CALENDAR_SUBJECT, m->subject);
    gen_time(&w, WBXML_CALENDAR_STARTTIME, m->meeting->start_ms);
    wbxml_element(&w, WBXML_CALENDAR_UID, m->meeting->uid);
    wbxml_element(&w, WBXML_CALENDAR_MEETINGSTATUS, "3");
    wbxml_element(&w, WBXML_CALENDAR_RESPONSETYPE, tentative ? "2" : "3");
    wbxml_close(&w);
    wbxml_finish(&w);
    struct folder *calendar = box_folder(c->boxes, c->box, FOLDER_CALENDAR);
    uint32_t id = folder_add(c->boxes, c->box, calendar, doc.data, doc.len, NULL)->id;
    buf_deinit(&doc);
    return id;
}

/* Answers one invitation. A status; *appointment: 0 where it was declined. */
static unsigned respond(struct call *c, const struct wbxml_node *n, const char *request,
                        uint32_t *appointment)
{
    uint32_t answer = node_number(wbxml_find(n, WBXML_MEETINGRESPONSE_USERRESPONSE), 0);
    uint32_t folder, item;
    struct look look;
    struct mail m;
    unsigned status = MEETING_INVALID;
    if (answer < 1 || answer > 3 || !item_id_parse(request, &folder, &item))
        return MEETING_INVALID;
    struct folder *f = box_folder(c->boxes, c->box, folder);
    if (f == NULL || f->item_class != CLASS_EMAIL || !folder_look(f, c->box->seed, item, &look) || look.gone)
        return MEETING_INVALID;
    struct gen_scratch *s = mem_alloc(sizeof *s);
    folder_mail(c->boxes, c->box, &look, s, &m);
    if (m.meeting != NULL) {
        status = MEETING_OK;
        if (answer != 3)
            *appointment = add_appointment(c, &m, answer == 2);
        struct item *it = folder_own(c->boxes, c->box, f, item);
        it->answered = true;
        it->read = true;
        if (!c->personality->traveler) /* Exchange takes the answered invitation out of the inbox */
            folder_move(c->boxes, c->box, f, item, box_folder(c->boxes, c->box, FOLDER_DELETED), NULL, NULL);
        else
            folder_touch(c->boxes, c->box, f, it, NULL);
    }
    free(s);
    return status;
}

void cmd_meeting_response(struct call *c)
{
    const struct wbxml_node *n = wbxml_find(c->root, WBXML_MEETINGRESPONSE_REQUEST);
    struct wbxml_writer w;
    if (n == NULL) {
        command_status(c, EAS_INVALID_XML);
        return;
    }
    wbxml_begin(&w, c->out);
    wbxml_open(&w, WBXML_MEETINGRESPONSE_MEETINGRESPONSE);
    for (; n != NULL; n = wbxml_find_next(c->root, n, WBXML_MEETINGRESPONSE_REQUEST)) {
        const char *request = child_text(n, WBXML_MEETINGRESPONSE_REQUESTID);
        const char *long_id = child_text(n, WBXML_SEARCH_LONGID);
        uint32_t appointment = 0;
        unsigned status = respond(c, n, request[0] != '\0' ? request : long_id, &appointment);
        wbxml_open(&w, WBXML_MEETINGRESPONSE_RESULT);
        if (request[0] != '\0')
            wbxml_element(&w, WBXML_MEETINGRESPONSE_REQUESTID, request);
        wbxml_number(&w, WBXML_MEETINGRESPONSE_STATUS, status);
        if (appointment != 0) {
            char id[ITEM_ID_TEXT];
            item_id_format(id, FOLDER_CALENDAR, appointment);
            wbxml_element(&w, WBXML_MEETINGRESPONSE_CALENDARID, id);
        }
        wbxml_close(&w);
    }
    wbxml_close(&w);
    command_finish(c, &w);
}
