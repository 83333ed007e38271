/* Messages, by GMime: the only file that knows it. */
#include "mail.h"

#include <gmime/gmime.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"

#define ADDRESSES_MAX 1000
#define PARTS_MAX     200
#define BODY_MAX      (16 * 1024 * 1024) /* bytes of one decoded part */

static void start_gmime(void)
{
    static bool started;
    if (!started)
        g_mime_init();
    started = true;
}

/* ---- reading ---- */

/* A letter owns its texts one by one: they lie behind the mail's pointers. */
static char *own(const char *text)
{
    return mem_strdup(text != NULL ? text : "");
}

static char *address_text(GMimeMessage *message, GMimeAddressType type)
{
    InternetAddressList *list = g_mime_message_get_addresses(message, type);
    char *text = list != NULL ? internet_address_list_to_string(list, NULL, FALSE) : NULL;
    char *owned = own(text);
    g_free(text);
    return owned;
}

/* The decoded content of a part, NUL-terminated behind its length; NULL where it is too large. */
static uint8_t *content_of(GMimePart *part, size_t *len)
{
    GMimeDataWrapper *content = g_mime_part_get_content(part);
    GMimeStream *stream = g_mime_stream_mem_new();
    if (content != NULL)
        g_mime_data_wrapper_write_to_stream(content, stream);
    GByteArray *bytes = g_mime_stream_mem_get_byte_array(GMIME_STREAM_MEM(stream));
    uint8_t *copy = NULL;
    if (bytes->len <= BODY_MAX) {
        copy = mem_alloc((size_t)bytes->len + 1);
        if (bytes->len > 0)
            memcpy(copy, bytes->data, bytes->len);
        copy[bytes->len] = '\0';
        *len = bytes->len;
    }
    g_object_unref(stream);
    return copy;
}

static char *text_of(GMimePart *part)
{
    char *text = g_mime_text_part_get_text(GMIME_TEXT_PART(part)); /* in UTF-8 */
    char *owned = NULL;
    if (text != NULL && strlen(text) <= BODY_MAX)
        owned = own(text);
    g_free(text);
    return owned;
}

static void add_attachment(struct mail *m, GMimePart *part)
{
    if (m->attachment_count == MAIL_ATTACHMENTS)
        return;
    struct mail_attachment *a = &m->attachments[m->attachment_count];
    size_t len = 0;
    a->data = content_of(part, &len);
    if (a->data == NULL)
        return;
    a->len = len;
    const char *name = g_mime_part_get_filename(part);
    char *type = g_mime_content_type_get_mime_type(g_mime_object_get_content_type(GMIME_OBJECT(part)));
    const char *disposition = g_mime_object_get_disposition(GMIME_OBJECT(part));
    a->name = own(name != NULL ? name : "attachment");
    a->type = own(type);
    a->content_id = own(g_mime_object_get_content_id(GMIME_OBJECT(part)));
    a->is_inline = disposition != NULL && strcasecmp(disposition, "inline") == 0;
    m->attachment_count++;
    g_free(type);
}

struct walk {
    struct mail *mail;
    unsigned parts;
};

static void look_at_part(struct mail *m, GMimePart *part)
{
    GMimeContentType *type = g_mime_object_get_content_type(GMIME_OBJECT(part));
    if (GMIME_IS_TEXT_PART(part) && !g_mime_part_is_attachment(part)) {
        if (m->text == NULL && g_mime_content_type_is_type(type, "text", "plain")) {
            m->text = text_of(part);
            return;
        }
        if (m->html == NULL && g_mime_content_type_is_type(type, "text", "html")) {
            m->html = text_of(part);
            return;
        }
    }
    add_attachment(m, part);
}

static void on_part(GMimeObject *parent, GMimeObject *object, gpointer data)
{
    struct walk *walk = data;
    (void)parent;
    if (walk->parts++ < PARTS_MAX && GMIME_IS_PART(object))
        look_at_part(walk->mail, GMIME_PART(object));
}

/* Mails of a thread share it: it is made from the topic, as servers do for mail from outside. */
static void set_conversation(struct mail *m)
{
    uint8_t sum[SHA256_DIGEST_LENGTH];
    const char *topic = mail_topic(m->subject);
    SHA256((const uint8_t *)topic, strlen(topic), sum);
    memcpy(m->conversation, sum, sizeof m->conversation);
}

static uint8_t importance_of(GMimeMessage *message)
{
    const char *importance = g_mime_object_get_header(GMIME_OBJECT(message), "Importance");
    const char *priority = g_mime_object_get_header(GMIME_OBJECT(message), "X-Priority");
    if (importance != NULL)
        return strcasecmp(importance, "high") == 0  ? MAIL_IMPORTANCE_HIGH
               : strcasecmp(importance, "low") == 0 ? MAIL_IMPORTANCE_LOW
                                                    : MAIL_IMPORTANCE_NORMAL;
    if (priority != NULL)
        return priority[0] == '1' || priority[0] == '2'   ? MAIL_IMPORTANCE_HIGH
               : priority[0] == '4' || priority[0] == '5' ? MAIL_IMPORTANCE_LOW
                                                          : MAIL_IMPORTANCE_NORMAL;
    return MAIL_IMPORTANCE_NORMAL;
}

static void fill(struct mail *m, GMimeMessage *message)
{
    m->from = address_text(message, GMIME_ADDRESS_TYPE_FROM);
    m->to = address_text(message, GMIME_ADDRESS_TYPE_TO);
    m->cc = address_text(message, GMIME_ADDRESS_TYPE_CC);
    m->bcc = address_text(message, GMIME_ADDRESS_TYPE_BCC);
    m->reply_to = address_text(message, GMIME_ADDRESS_TYPE_REPLY_TO);
    m->subject = own(g_mime_message_get_subject(message));
    m->importance = importance_of(message);
    struct walk walk = {.mail = m};
    GMimeObject *top = g_mime_message_get_mime_part(message);
    if (GMIME_IS_MULTIPART(top))
        g_mime_multipart_foreach(GMIME_MULTIPART(top), on_part, &walk);
    else if (GMIME_IS_PART(top))
        look_at_part(m, GMIME_PART(top));
    if (m->text == NULL && m->html == NULL)
        m->text = own("");
    set_conversation(m);
}

struct letter *letter_from_mime(const void *mime, size_t len, int64_t received_ms)
{
    start_gmime();
    GMimeStream *stream = g_mime_stream_mem_new_with_buffer(mime, len);
    GMimeParser *parser = g_mime_parser_new_with_stream(stream);
    GMimeMessage *message = g_mime_parser_construct_message(parser, NULL);
    struct letter *l = NULL;
    if (message != NULL &&
        g_mime_header_list_get_count(g_mime_object_get_header_list(GMIME_OBJECT(message))) > 0) {
        l = mem_zalloc(sizeof *l);
        l->refs = 1;
        fill(&l->mail, message);
        l->mail.received_ms = received_ms;
        uint8_t *copy = mem_alloc(len);
        memcpy(copy, mime, len);
        l->mail.mime = copy;
        l->mail.mime_len = len;
    }
    if (message != NULL)
        g_object_unref(message);
    g_object_unref(parser);
    g_object_unref(stream);
    return l;
}

static uint8_t *own_bytes(const void *data, size_t len)
{
    uint8_t *copy = mem_alloc(len + 1);
    if (len > 0)
        memcpy(copy, data, len);
    copy[len] = '\0';
    return copy;
}

struct letter *letter_from_mail(const struct mail *m)
{
    struct letter *l = mem_zalloc(sizeof *l);
    l->refs = 1;
    l->mail = *m;
    const char **texts[] = {&l->mail.from, &l->mail.to,       &l->mail.cc,
                            &l->mail.bcc,  &l->mail.reply_to, &l->mail.subject};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        *texts[i] = own(*texts[i]);
    l->mail.text = m->text != NULL ? own(m->text) : NULL;
    l->mail.html = m->html != NULL ? own(m->html) : NULL;
    for (size_t i = 0; i < m->attachment_count; i++) {
        struct mail_attachment *a = &l->mail.attachments[i];
        a->name = own(a->name);
        a->type = own(a->type);
        a->content_id = own(a->content_id);
        a->data = own_bytes(a->data, a->len);
    }
    if (m->meeting != NULL) {
        l->meeting = *m->meeting;
        l->meeting.uid = own(m->meeting->uid);
        l->meeting.location = own(m->meeting->location);
        l->meeting.organizer = own(m->meeting->organizer);
        l->mail.meeting = &l->meeting;
    }
    if (m->mime != NULL)
        l->mail.mime = own_bytes(m->mime, m->mime_len);
    return l;
}

struct letter *letter_ref(struct letter *l)
{
    l->refs++;
    return l;
}

static void drop(const void *owned)
{
    free((void *)(uintptr_t)owned);
}

void letter_unref(struct letter *l)
{
    if (l == NULL || --l->refs > 0)
        return;
    struct mail *m = &l->mail;
    const void *owned[] = {
        m->from, m->to,   m->cc,   m->bcc,         m->reply_to,         m->subject,
        m->text, m->html, m->mime, l->meeting.uid, l->meeting.location, l->meeting.organizer};
    for (size_t i = 0; i < sizeof owned / sizeof owned[0]; i++)
        drop(owned[i]);
    for (size_t i = 0; i < m->attachment_count; i++) {
        drop(m->attachments[i].name);
        drop(m->attachments[i].type);
        drop(m->attachments[i].content_id);
        drop(m->attachments[i].data);
    }
    free(l);
}

/* ---- writing ---- */

static void set_addresses(GMimeMessage *message, GMimeAddressType type, const char *list)
{
    if (list == NULL || list[0] == '\0')
        return;
    InternetAddressList *parsed = internet_address_list_parse(NULL, list);
    if (parsed == NULL)
        return;
    internet_address_list_append(g_mime_message_get_addresses(message, type), parsed);
    g_object_unref(parsed);
}

static GMimeObject *text_part(const char *subtype, const char *text)
{
    GMimeTextPart *part = g_mime_text_part_new_with_subtype(subtype);
    g_mime_text_part_set_charset(part, "utf-8");
    g_mime_text_part_set_text(part, text);
    g_mime_part_set_content_encoding(GMIME_PART(part), GMIME_CONTENT_ENCODING_QUOTEDPRINTABLE);
    return GMIME_OBJECT(part);
}

static GMimeObject *attachment_part(const struct mail_attachment *a)
{
    char type[128], *slash;
    mem_copy_text(type, sizeof type, a->type);
    slash = strchr(type, '/');
    if (slash != NULL)
        *slash = '\0';
    GMimePart *part = g_mime_part_new_with_type(slash != NULL ? type : "application",
                                                slash != NULL ? slash + 1 : "octet-stream");
    GMimeStream *stream = g_mime_stream_mem_new_with_buffer((const char *)a->data, a->len);
    GMimeDataWrapper *content = g_mime_data_wrapper_new_with_stream(stream, GMIME_CONTENT_ENCODING_DEFAULT);
    g_mime_part_set_content(part, content);
    g_mime_part_set_filename(part, a->name);
    g_mime_part_set_content_encoding(part, GMIME_CONTENT_ENCODING_BASE64);
    g_mime_object_set_disposition(GMIME_OBJECT(part), a->is_inline ? "inline" : "attachment");
    if (a->content_id[0] != '\0')
        g_mime_object_set_content_id(GMIME_OBJECT(part), a->content_id);
    g_object_unref(content);
    g_object_unref(stream);
    return GMIME_OBJECT(part);
}

/* Takes the child over. */
static void add_part(GMimeMultipart *to, GMimeObject *child)
{
    g_mime_multipart_add(to, child);
    g_object_unref(child);
}

/* Fixed, so that a mail is the same bytes each time it is asked for. */
static GMimeMultipart *multipart(const char *subtype, const char *boundary)
{
    GMimeMultipart *m = g_mime_multipart_new_with_subtype(subtype);
    g_mime_multipart_set_boundary(m, boundary);
    return m;
}

static GMimeObject *body_of(const struct mail *m)
{
    GMimeObject *body;
    if (m->text != NULL && m->html != NULL) {
        GMimeMultipart *both = multipart("alternative", "=_alternative");
        add_part(both, text_part("plain", m->text));
        add_part(both, text_part("html", m->html));
        body = GMIME_OBJECT(both);
    } else {
        body = m->html != NULL ? text_part("html", m->html) : text_part("plain", m->text);
    }
    if (m->attachment_count == 0)
        return body;
    GMimeMultipart *mixed = multipart("mixed", "=_mixed");
    add_part(mixed, body);
    for (size_t i = 0; i < m->attachment_count; i++)
        add_part(mixed, attachment_part(&m->attachments[i]));
    return GMIME_OBJECT(mixed);
}

void mail_write_mime(const struct mail *m, struct buf *out)
{
    if (m->mime != NULL) {
        buf_append(out, m->mime, m->mime_len);
        return;
    }
    start_gmime();
    GMimeMessage *message = g_mime_message_new(TRUE);
    set_addresses(message, GMIME_ADDRESS_TYPE_FROM, m->from);
    set_addresses(message, GMIME_ADDRESS_TYPE_TO, m->to);
    set_addresses(message, GMIME_ADDRESS_TYPE_CC, m->cc);
    set_addresses(message, GMIME_ADDRESS_TYPE_REPLY_TO, m->reply_to);
    g_mime_message_set_subject(message, m->subject, "utf-8");
    GDateTime *date = g_date_time_new_from_unix_utc(m->received_ms / 1000);
    if (date != NULL) {
        g_mime_message_set_date(message, date);
        g_date_time_unref(date);
    }
    if (m->importance != MAIL_IMPORTANCE_NORMAL)
        g_mime_object_set_header(GMIME_OBJECT(message), "Importance",
                                 m->importance == MAIL_IMPORTANCE_HIGH ? "high" : "low", NULL);
    g_mime_object_set_header(GMIME_OBJECT(message), "MIME-Version", "1.0", NULL);
    GMimeObject *body = body_of(m);
    g_mime_message_set_mime_part(message, body);
    g_object_unref(body);

    GMimeStream *stream = g_mime_stream_mem_new();
    GMimeFormatOptions *format = g_mime_format_options_new();
    g_mime_format_options_set_newline_format(format, GMIME_NEWLINE_FORMAT_DOS);
    g_mime_object_write_to_stream(GMIME_OBJECT(message), format, stream);
    GByteArray *bytes = g_mime_stream_mem_get_byte_array(GMIME_STREAM_MEM(stream));
    buf_append(out, bytes->data, bytes->len);
    g_mime_format_options_free(format);
    g_object_unref(stream);
    g_object_unref(message);
}

/* ---- addresses and subjects ---- */

static void walk_addresses(InternetAddressList *list, unsigned *left, void (*each)(void *, const char *),
                           void *owner)
{
    for (int i = 0; i < internet_address_list_length(list) && *left > 0; i++) {
        InternetAddress *a = internet_address_list_get_address(list, i);
        if (INTERNET_ADDRESS_IS_MAILBOX(a)) {
            const char *address = internet_address_mailbox_get_addr(INTERNET_ADDRESS_MAILBOX(a));
            --*left;
            if (address != NULL && address[0] != '\0')
                each(owner, address);
        } else if (INTERNET_ADDRESS_IS_GROUP(a)) {
            InternetAddressList *members = internet_address_group_get_members(INTERNET_ADDRESS_GROUP(a));
            if (members != NULL)
                walk_addresses(members, left, each, owner);
        }
    }
}

void mail_each_address(const char *list, void (*each)(void *owner, const char *address), void *owner)
{
    unsigned left = ADDRESSES_MAX;
    start_gmime();
    InternetAddressList *parsed = list[0] != '\0' ? internet_address_list_parse(NULL, list) : NULL;
    if (parsed == NULL)
        return;
    walk_addresses(parsed, &left, each, owner);
    g_object_unref(parsed);
}

const char *mail_topic(const char *subject)
{
    static const char *const prefixes[] = {"re:", "fw:", "fwd:", "aw:", "wg:", "tr:", "sv:"};
    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++) {
        size_t n = strlen(prefixes[i]);
        if (strncasecmp(subject, prefixes[i], n) == 0) {
            subject += n;
            subject += strspn(subject, " ");
            i = (size_t)-1; /* there may be more of them */
        }
    }
    return subject;
}
