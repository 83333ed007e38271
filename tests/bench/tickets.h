/* The tickets of the benchmark: number n's value and what is kept of it, made anew wherever they are needed,
 * so that storebench and staload name the same ones without a list of a million values. A user has two
 * devices, a device one ticket. */
#ifndef STAGATE_BENCH_TICKETS_H
#define STAGATE_BENCH_TICKETS_H

#include <stdint.h>
#include <stdio.h>

#include "sta/record.h"

enum { TICKET_DIGITS = 32 };
#define TICKET_SERVICE     "mail.example.com:443"
#define TICKET_LIFETIME_MS (168 * 3600 * 1000LL)

/* Numbers nobody can tell from random ones by their order in a tree. */
static inline uint64_t ticket_mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
    x = (x ^ x >> 27) * 0x94d049bb133111eb;
    return x ^ x >> 31;
}

static inline void ticket_value(char dst[TICKET_DIGITS + 1], uint64_t number)
{
    static const char digits[] = "0123456789ABCDEF";
    uint64_t half[2] = {ticket_mix(2 * number), ticket_mix(2 * number + 1)};
    for (int i = 0; i < TICKET_DIGITS; i++)
        dst[i] = digits[half[i / 16] >> (4 * (i % 16)) & 15];
    dst[TICKET_DIGITS] = '\0';
}

struct ticket { /* holds the texts that its record points to: not to be copied */
    struct record record;
    char user[32], device[32];
    const char *service;
};

static inline void ticket_make(struct ticket *t, uint64_t number, enum ticket_class class, int64_t now_ms)
{
    char value[TICKET_DIGITS + 1];
    snprintf(t->user, sizeof t->user, "user%07llu", (unsigned long long)(number / 2));
    snprintf(t->device, sizeof t->device, "phone-%08x", (unsigned)ticket_mix(number));
    t->service = TICKET_SERVICE;
    t->record = (struct record){.class = class,
                                .issued_ms = now_ms,
                                .expires_ms = now_ms + TICKET_LIFETIME_MS,
                                .user = t->user,
                                .device = t->device,
                                .service_count = 1,
                                .services = &t->service};
    ticket_value(value, number);
    record_hash(t->record.hash, value, TICKET_DIGITS);
}

#endif
