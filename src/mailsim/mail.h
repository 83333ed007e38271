/* A mail as those who read it see it: generated, delivered or sent by a client. Knows no ActiveSync and no
 * mailboxes.
 */
#ifndef STAGATE_MAILSIM_MAIL_H
#define STAGATE_MAILSIM_MAIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#define MAIL_ATTACHMENTS       16 /* of one mail; further ones stay in its MIME only */
#define MAIL_CONVERSATION      16 /* bytes that all mails of a thread share */
#define MAIL_IMPORTANCE_LOW    0
#define MAIL_IMPORTANCE_NORMAL 1
#define MAIL_IMPORTANCE_HIGH   2

struct mail_attachment {
    const char *name, *type, *content_id; /* content_id: "" if none */
    const uint8_t *data;
    size_t len;
    bool is_inline;
};

/* What an invitation tells (RFC 5546 METHOD:REQUEST). */
struct mail_meeting {
    const char *uid, *location, *organizer;
    int64_t start_ms, end_ms;
    bool all_day;
};

/* Texts are UTF-8, NUL-terminated and never NULL but for the bodies, of which one may be. Everything is
 * borrowed from whoever made the mail: a letter, or a generator's scratch. */
struct mail {
    const char *from, *to, *cc, *bcc, *reply_to; /* as in a header: "Carol <carol@example.com>, ..." */
    const char *subject;                         /* with "Re:" and the like */
    const char *text, *html;
    int64_t received_ms; /* wall clock */
    uint8_t importance;
    bool read;                          /* when it came into the box */
    const struct mail_meeting *meeting; /* NULL: no invitation */
    struct mail_attachment attachments[MAIL_ATTACHMENTS];
    size_t attachment_count;
    uint8_t conversation[MAIL_CONVERSATION];
    const uint8_t *mime; /* as it was sent; NULL: mail_write_mime makes it */
    size_t mime_len;
};

/* A mail kept in memory, unchanging, shared by all who got it. */
struct letter {
    unsigned refs;
    struct mail mail;
    struct mail_meeting meeting; /* behind mail.meeting */
};

/* Reads a message (RFC 5322, MIME); what it lacks is empty. The MIME is copied. NULL when it is none: no
 * header at all. received_ms is when it came here. One reference. */
struct letter *letter_from_mime(const void *mime, size_t len, int64_t received_ms);
/* A copy of all of it. One reference. */
struct letter *letter_from_mail(const struct mail *m);
struct letter *letter_ref(struct letter *l);
void letter_unref(struct letter *l); /* NULL is fine */

/* Appends the whole message, as it was sent or made from its parts. */
void mail_write_mime(const struct mail *m, struct buf *out);
/* The addresses in a list as in a header, without names, each handed to `each`; at most 1000. */
void mail_each_address(const char *list, void (*each)(void *owner, const char *address), void *owner);
/* Subject without "Re:", "Fwd:" and their kin; points into it. */
const char *mail_topic(const char *subject);

#endif
