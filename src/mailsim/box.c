/* Mailboxes in memory. */
#include "box.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/mem.h"

#define BUCKETS 4096

struct entry {
    struct box box;
    struct entry *next;
};

struct boxes {
    size_t mailbox;
    uint64_t seed;
    uint64_t random; /* of mail made up while running */
    size_t count;
    struct entry *buckets[BUCKETS];
};

static const char *const senders[] = {
    "Carol Sender <carol@example.com>",     "Dmitri Lang <dmitri@example.com>",
    "Erika Mustermann <erika@example.com>", "François Petit <francois@example.com>",
    "Yuki Tanaka <yuki@example.com>",
};
static const char *const subjects[] = {
    "Minutes of Monday's meeting",
    "Re: Budget for the next quarter",
    "Travel to Zürich",
    "Your order has been shipped",
    "Plan de la semaine",
    "Lunch on Thursday?",
    "会議のお知らせ",
    "Draft of the contract",
};

/* splitmix64: small, good enough for mail that looks different, the same everywhere */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static uint64_t hash_user(const char *user)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (; *user != '\0'; user++)
        h = (h ^ (unsigned char)tolower((unsigned char)*user)) * 0x100000001b3u;
    return h;
}

struct boxes *boxes_new(size_t mailbox, uint64_t seed)
{
    struct boxes *b = mem_zalloc(sizeof *b);
    b->mailbox = mailbox;
    b->seed = seed;
    b->random = seed ^ 0x5bd1e995u;
    return b;
}

static void box_deinit(struct box *box)
{
    for (size_t i = 0; i < box->count; i++) {
        free(box->mails[i].from);
        free(box->mails[i].subject);
        free(box->mails[i].body);
    }
    for (size_t i = 0; i < box->device_count; i++)
        free(box->devices[i]);
    free(box->mails);
    free(box->user);
}

void boxes_free(struct boxes *b)
{
    for (size_t i = 0; i < BUCKETS; i++) {
        while (b->buckets[i] != NULL) {
            struct entry *e = b->buckets[i];
            b->buckets[i] = e->next;
            box_deinit(&e->box);
            free(e);
        }
    }
    free(b);
}

static void add_mail(struct box *box, int64_t when, const char *from, const char *subject, const char *body)
{
    if (box->count == box->cap) {
        box->cap = box->cap ? 2 * box->cap : 16;
        box->mails = mem_realloc(box->mails, box->cap * sizeof *box->mails);
    }
    struct mail *m = &box->mails[box->count++];
    m->id = (uint32_t)box->count;
    m->received_ms = when;
    m->from = mem_strdup(from);
    m->subject = mem_strdup(subject);
    m->body = mem_strdup(body);
}

static void make_up(uint64_t *random, const char **from, const char **subject)
{
    *from = senders[next_random(random) % (sizeof senders / sizeof senders[0])];
    *subject = subjects[next_random(random) % (sizeof subjects / sizeof subjects[0])];
}

static void fill(struct boxes *b, struct box *box, uint64_t random)
{
    /* one mail every seven hours, the last one an hour ago */
    int64_t now = clock_wall_ms();
    for (size_t i = 0; i < b->mailbox; i++) {
        const char *from, *subject;
        char body[256];
        make_up(&random, &from, &subject);
        snprintf(body, sizeof body,
                 "Dear %s,\r\n\r\nthis is generated mail number %zu: %s.\r\n\r\nRegards\r\n", box->user,
                 i + 1, subject);
        add_mail(box, now - (int64_t)(b->mailbox - i) * 7 * 3600000 + 6 * 3600000, from, subject, body);
    }
}

struct box *boxes_find(struct boxes *b, const char *user)
{
    for (struct entry *e = b->buckets[hash_user(user) % BUCKETS]; e != NULL; e = e->next) {
        if (strcasecmp(e->box.user, user) == 0)
            return &e->box;
    }
    return NULL;
}

struct box *boxes_open(struct boxes *b, const char *user)
{
    struct box *found = boxes_find(b, user);
    if (found != NULL || b->count >= BOX_USERS)
        return found;
    uint64_t h = hash_user(user);
    struct entry *e = mem_zalloc(sizeof *e);
    e->box.user = mem_strdup(user);
    for (char *p = e->box.user; *p != '\0'; p++)
        *p = (char)tolower((unsigned char)*p);
    list_init(&e->box.pings);
    e->next = b->buckets[h % BUCKETS];
    b->buckets[h % BUCKETS] = e;
    b->count++;
    fill(b, &e->box, b->seed ^ h);
    return &e->box;
}

void boxes_each(struct boxes *b, void (*each)(struct box *box, void *owner), void *owner)
{
    for (size_t i = 0; i < BUCKETS; i++) {
        for (struct entry *e = b->buckets[i]; e != NULL; e = e->next)
            each(&e->box, owner);
    }
}

void box_deliver(struct boxes *b, struct box *box, const char *from, const char *subject, const char *body)
{
    const char *some_from, *some_subject;
    make_up(&b->random, &some_from, &some_subject);
    add_mail(box, clock_wall_ms(), from ? from : some_from, subject ? subject : some_subject,
             body ? body : "A mail that has just arrived.\r\n");
    while (!list_empty(&box->pings)) {
        struct ping *p = list_entry(box->pings.next, struct ping, link);
        list_remove(&p->link);
        p->wake(p, 2);
    }
}

struct device *box_device(struct box *box, const char *id)
{
    size_t n = strlen(id);
    if (n == 0 || n > BOX_DEVICE_MAX)
        return NULL;
    for (size_t i = 0; i < box->device_count; i++) {
        if (strcmp(box->devices[i]->id, id) == 0)
            return box->devices[i];
    }
    if (box->device_count == BOX_DEVICES)
        return NULL;
    struct device *d = mem_zalloc(sizeof *d);
    memcpy(d->id, id, n);
    box->devices[box->device_count++] = d;
    return d;
}

uint32_t box_last(const struct box *box)
{
    return (uint32_t)box->count;
}
