/* Generated content: mails, and items of the other classes. The same for the same seed, user and number, made
 * when it is read, so that a mailbox of any size takes no memory until it is changed. */
#ifndef STAGATE_MAILSIM_GEN_H
#define STAGATE_MAILSIM_GEN_H

#include "mail.h"
#include "proto/wbxml.h"

/* What a generated mail lies in, used for one after the other. */
struct gen_scratch {
    char from[160], to[160], subject[256], text[4096], html[8192], uid[64], organizer[160];
    struct mail_meeting meeting;
    uint8_t file[4096];
    char file_name[64];
};

struct gen {
    uint64_t seed;
    int64_t newest_ms; /* wall clock: of mail number 1; the others are older */
};

/* The seed of a user's box. */
uint64_t gen_box_seed(const struct gen *g, const char *user);
/* Mail number 1 (the newest), 2, ... of the box. Borrowed from the scratch until its next use. */
void gen_mail(const struct gen *g, uint64_t box_seed, const char *user, uint32_t number,
              struct gen_scratch *s, struct mail *out);
/* When that mail came; cheaper than all of it. Strictly older with each number. */
int64_t gen_received_ms(const struct gen *g, uint64_t box_seed, uint32_t number);
bool gen_is_read(uint64_t box_seed, uint32_t number);
/* A mail that arrives now: one of endlessly many. */
void gen_arrival(const struct gen *g, uint64_t *random, const char *user, int64_t now_ms,
                 struct gen_scratch *s, struct mail *out);

/* UTC as ActiveSync has time zones: 172 bytes of zero (no offset, no summer time) in base64. */
extern const char gen_utc[];

/* A time as calendars have it: 20261127T083000Z (MS-ASDTYPE 2.7.2). */
void gen_time(struct wbxml_writer *w, uint16_t tag, int64_t ms);

/* Writes the elements of an item's ApplicationData, as protocol version 14.1 has them. */
void gen_contact(uint64_t box_seed, uint32_t number, struct wbxml_writer *w);
void gen_appointment(const struct gen *g, uint64_t box_seed, const char *user, uint32_t number,
                     struct wbxml_writer *w);
void gen_task(const struct gen *g, uint64_t box_seed, uint32_t number, struct wbxml_writer *w);
void gen_note(const struct gen *g, uint64_t box_seed, uint32_t number, struct wbxml_writer *w);

#endif
