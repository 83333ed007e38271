/* Messages: read by GMime, written again, and what hostile ones do. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "mail.h"

#define TEXT(s) s, sizeof(s) - 1

static const char mixed[] =
    "From: =?utf-8?B?U8O4cmVu?= <soren@example.org>\r\n"
    "To: alice@example.com, \"Bob, B.\" <bob@example.com>\r\n"
    "Cc: team: carol@example.com, dan@example.com;\r\n"
    "Reply-To: reply@example.org\r\n"
    "Subject: =?iso-8859-1?Q?Gr=FC=DFe?=\r\n"
    "X-Priority: 1 (Highest)\r\n"
    "MIME-Version: 1.0\r\n"
    "Content-Type: multipart/mixed; boundary=b\r\n\r\n"
    "--b\r\nContent-Type: multipart/alternative; boundary=a\r\n\r\n"
    "--a\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: "
    "quoted-printable\r\n\r\n"
    "Sch=F6n\r\n--a\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<b>Sch\xc3\xb6n</b>\r\n--a--\r\n"
    "--b\r\nContent-Type: application/pdf; name=x.pdf\r\nContent-Disposition: attachment; filename=\"x "
    "y.pdf\"\r\n"
    "Content-Transfer-Encoding: base64\r\n\r\nJVBERi0=\r\n"
    "--b\r\nContent-Type: image/png\r\nContent-Disposition: inline\r\nContent-ID: <pic@x>\r\n"
    "Content-Transfer-Encoding: base64\r\n\r\niVBORw==\r\n--b--\r\n";

START_TEST(a_message_in_parts)
{
    struct letter *l = letter_from_mime(TEXT(mixed), 1234);
    const struct mail *m = &l->mail;
    ck_assert_str_eq(m->from, "S\xc3\xb8ren <soren@example.org>");
    ck_assert_str_eq(m->to, "alice@example.com, \"Bob, B.\" <bob@example.com>");
    ck_assert_str_eq(m->reply_to, "reply@example.org");
    ck_assert_str_eq(m->subject, "Gr\xc3\xbc\xc3\x9f\x65");
    ck_assert_str_eq(m->text, "Sch\xc3\xb6n");
    ck_assert_str_eq(m->html, "<b>Sch\xc3\xb6n</b>");
    ck_assert_int_eq(m->importance, MAIL_IMPORTANCE_HIGH);
    ck_assert_int_eq(m->received_ms, 1234);
    ck_assert_uint_eq(m->attachment_count, 2);
    ck_assert_str_eq(m->attachments[0].name, "x y.pdf");
    ck_assert_str_eq(m->attachments[0].type, "application/pdf");
    ck_assert_uint_eq(m->attachments[0].len, 5);
    ck_assert_mem_eq(m->attachments[0].data, "%PDF-", 5);
    ck_assert(m->attachments[1].is_inline && !m->attachments[0].is_inline);
    ck_assert_str_eq(m->attachments[1].content_id, "pic@x");
    letter_unref(l);
}
END_TEST

START_TEST(what_is_made_reads_back)
{
    static const uint8_t file[] = {0, 1, 2, 0xff, '\n', 0};
    const struct mail_meeting meeting = {
        .uid = "u", .location = "l", .organizer = "o", .start_ms = 1, .end_ms = 2};
    struct mail m = {.from = "\"Zo\xc3\xab\" <zoe@example.com>",
                     .to = "a@example.com",
                     .cc = "b@example.com, c@example.com",
                     .bcc = "",
                     .reply_to = "",
                     .subject = "\xe4\xbc\x9a\xe8\xad\xb0 & <more>",
                     .text = "one\r\ntwo \xc3\xa9\r\n",
                     .html = "<p>one</p>",
                     .importance = MAIL_IMPORTANCE_LOW,
                     .meeting = &meeting,
                     .attachment_count = 1};
    m.attachments[0] = (struct mail_attachment){.name = "\xc3\x9c.bin",
                                                .type = "application/octet-stream",
                                                .content_id = "",
                                                .data = file,
                                                .len = sizeof file};
    struct buf once, twice;
    buf_init(&once, 1 << 20);
    buf_init(&twice, 1 << 20);
    struct letter *copy = letter_from_mail(&m);
    ck_assert_str_eq(copy->mail.meeting->location, "l");
    mail_write_mime(&m, &once);
    mail_write_mime(&copy->mail, &twice);
    ck_assert_uint_eq(once.len, twice.len);
    ck_assert_mem_eq(once.data, twice.data, once.len);
    struct letter *l = letter_from_mime(once.data, once.len, 0);
    ck_assert_str_eq(l->mail.subject, m.subject);
    ck_assert_str_eq(l->mail.text, m.text);
    ck_assert_str_eq(l->mail.html, m.html);
    ck_assert_int_eq(l->mail.importance, MAIL_IMPORTANCE_LOW);
    ck_assert_uint_eq(l->mail.attachment_count, 1);
    ck_assert_str_eq(l->mail.attachments[0].name, "\xc3\x9c.bin");
    ck_assert_uint_eq(l->mail.attachments[0].len, sizeof file);
    ck_assert_mem_eq(l->mail.attachments[0].data, file, sizeof file);
    letter_unref(l);
    letter_unref(copy);
    buf_deinit(&once);
    buf_deinit(&twice);
}
END_TEST

/* No header: no message. All else is one, however little it says. */
static const struct {
    const char *mime;
    bool good;
} odd[] = {
    {"", false},
    {"\r\n\r\n", false},
    {"no header here", false},
    {"Subject: x", true},
    {"Subject:\r\n\r\n", true},
    {"To: <<<>>>,,;:@\r\n\r\nx", true},
    {"Subject: s\r\nContent-Type: multipart/mixed\r\n\r\n--\r\n", true},
    {"Subject: s\r\nContent-Type: multipart/mixed; boundary=\"\"\r\n\r\n--\r\n--\r\n", true},
    {"Subject: s\r\nContent-Type: text/plain; charset=no-such-charset\r\n\r\n\xff\xfe\r\n", true},
    {"Subject: s\r\nContent-Transfer-Encoding: base64\r\n\r\n!!!!\r\n", true},
    {"Subject: =?utf-8?B?//8=?=\r\n\r\nx", true},
};

START_TEST(odd_messages)
{
    struct letter *l = letter_from_mime(odd[_i].mime, strlen(odd[_i].mime), 0);
    ck_assert_int_eq(l != NULL, odd[_i].good);
    if (l != NULL)
        ck_assert(l->mail.text != NULL || l->mail.html != NULL);
    letter_unref(l);
}
END_TEST

START_TEST(many_parts)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    buf_append_str(&b, "Subject: x\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n");
    for (int i = 0; i < 500; i++)
        buf_append_str(&b, "--b\r\nContent-Type: image/png\r\n\r\nx\r\n");
    buf_append_str(&b, "--b--\r\n");
    struct letter *l = letter_from_mime(b.data, b.len, 0);
    ck_assert_uint_eq(l->mail.attachment_count, MAIL_ATTACHMENTS);
    ck_assert_uint_eq(l->mail.mime_len, b.len);
    ck_assert_ptr_eq(letter_ref(l), l);
    letter_unref(l);
    letter_unref(l);
    letter_unref(NULL);
    buf_deinit(&b);
}
END_TEST

static const struct {
    const char *subject, *topic;
} topics[] = {
    {"Lunch", "Lunch"},
    {"Re: Lunch", "Lunch"},
    {"RE: Fwd:AW:  Lunch", "Lunch"},
    {"Re:", ""},
    {"Regards", "Regards"},
    {"", ""},
    {"re: re: re: x", "x"},
    {"FW: [a] Re: x", "[a] Re: x"},
};

START_TEST(topics_of_subjects)
{
    ck_assert_str_eq(mail_topic(topics[_i].subject), topics[_i].topic);
}
END_TEST

static void note(void *owner, const char *address)
{
    buf_printf(owner, "%s|", address);
}

static const struct {
    const char *list, *found;
} lists[] = {
    {"", ""},
    {"a@example.com", "a@example.com|"},
    {"A <a@x>, \"B, C\" <b@x>", "a@x|b@x|"},
    {"team: a@x, b@x;, c@x", "a@x|b@x|c@x|"},
    {"undisclosed-recipients:;", ""},
    {"alice", "alice|"},
};

START_TEST(addresses_of_lists)
{
    struct buf b;
    buf_init(&b, 4096);
    buf_append_str(&b, "");
    mail_each_address(lists[_i].list, note, &b);
    buf_append(&b, "", 1);
    ck_assert_str_eq((const char *)b.data, lists[_i].found);
    buf_deinit(&b);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("mailsim_mail");
    TCase *t = tcase_create("mail");
    tcase_add_test(t, a_message_in_parts);
    tcase_add_test(t, what_is_made_reads_back);
    tcase_add_loop_test(t, odd_messages, 0, (int)(sizeof odd / sizeof odd[0]));
    tcase_add_test(t, many_parts);
    tcase_add_loop_test(t, topics_of_subjects, 0, (int)(sizeof topics / sizeof topics[0]));
    tcase_add_loop_test(t, addresses_of_lists, 0, (int)(sizeof lists / sizeof lists[0]));
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
