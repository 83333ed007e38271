/* Ticket records as bytes and back, and what they are called in logs. Used by the stores, which keep the
 * bytes, and by whoever shows a ticket. Knows nothing of files, and of ticket values only how to hash them.
 *
 * Stored form, all numbers little endian:
 *   u8 version, u8 class, u8 state, u8 services, u8 values, i64 issued_ms, i64 expires_ms, i64 ended_ms,
 *   version 2 only: u8 flags (1: injected), i64 refresh_ms,
 *   then strings as u16 length and bytes: user, device, each service, each value's name and text.
 * Version 2 is written only where version 1 cannot say it, so that a record has one form.
 */
#include "sta/record.h"

#include <assert.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"

#define VERSION_PLAIN    1
#define VERSION_EXTENDED 2
#define PLAIN_BYTES      29 /* before the strings */
#define EXTENDED_BYTES   38
#define STRINGS_MAX      (RECORD_BYTES_MAX - EXTENDED_BYTES)
#define FLAG_INJECTED    1

static pthread_once_t sha256_once = PTHREAD_ONCE_INIT;
static EVP_MD *sha256; /* fetched once: OpenSSL 3 looks an algorithm up under a lock that all threads share */

static void fetch_sha256(void)
{
    sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
}

void record_hash(uint8_t hash[RECORD_HASH], const char *ticket_value, size_t len)
{
    pthread_once(&sha256_once, fetch_sha256);
    int done = sha256 != NULL && EVP_Digest(ticket_value, len, hash, NULL, sha256, NULL);
    assert(done);
    (void)done;
}

static const char digits[] = "0123456789abcdef";

static void write_digits(char *dst, const uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        dst[2 * i] = digits[bytes[i] >> 4];
        dst[2 * i + 1] = digits[bytes[i] & 15];
    }
    dst[2 * n] = '\0';
}

void record_fingerprint(char dst[RECORD_FINGERPRINT], const uint8_t hash[RECORD_HASH])
{
    write_digits(dst, hash, (RECORD_FINGERPRINT - 1) / 2);
}

void record_digits(char dst[RECORD_DIGITS], const uint8_t hash[RECORD_HASH])
{
    write_digits(dst, hash, RECORD_HASH);
}

bool record_parse_digits(uint8_t hash[RECORD_HASH], const char *text)
{
    if (strlen(text) != RECORD_DIGITS - 1 || strspn(text, digits) != RECORD_DIGITS - 1)
        return false;
    for (size_t i = 0; i < RECORD_HASH; i++) {
        const char *high = strchr(digits, text[2 * i]), *low = strchr(digits, text[2 * i + 1]);
        hash[i] = (uint8_t)((high - digits) << 4 | (low - digits));
    }
    return true;
}

enum ticket_state record_state_at(const struct record *r, int64_t now_ms)
{
    return r->state == TICKET_LIVE && now_ms >= r->expires_ms ? TICKET_EXPIRED : r->state;
}

const char *ticket_state_name(enum ticket_state s)
{
    static const char *const names[] = {"live", "expired", "used", "revoked", "forgotten"};
    assert((unsigned)s < sizeof names / sizeof names[0]);
    return names[s];
}

const char *ticket_class_name(enum ticket_class c)
{
    static const char *const names[] = {"background", "session"};
    assert((unsigned)c < sizeof names / sizeof names[0]);
    return names[c];
}

/* ---- encoding ---- */

struct writer {
    uint8_t *at;
    uint8_t *end;
    bool full;
};

static void put_i64(struct writer *w, int64_t n)
{
    for (unsigned i = 0; i < 8; i++)
        *w->at++ = (uint8_t)((uint64_t)n >> (8 * i));
}

static void put_string(struct writer *w, const char *s)
{
    size_t len = strlen(s);
    if (w->full || len + 2 > (size_t)(w->end - w->at)) {
        w->full = true;
        return;
    }
    *w->at++ = (uint8_t)len;
    *w->at++ = (uint8_t)(len >> 8);
    memcpy(w->at, s, len);
    w->at += len;
}

int record_encode(const struct record *r, uint8_t *dst)
{
    assert(r->class == TICKET_BACKGROUND || r->class == TICKET_SESSION);
    assert((unsigned)r->state <= TICKET_FORGOTTEN && r->state != TICKET_EXPIRED && r->refresh_ms >= 0);

    bool extended = r->injected || r->refresh_ms != 0 || r->state == TICKET_FORGOTTEN;
    if (r->service_count > RECORD_SERVICES_MAX || r->value_count > RECORD_VALUES_MAX)
        return ERR_TOO_BIG;
    struct writer w = {.at = dst, .end = dst + (extended ? EXTENDED_BYTES : PLAIN_BYTES) + STRINGS_MAX};
    *w.at++ = extended ? VERSION_EXTENDED : VERSION_PLAIN;
    *w.at++ = (uint8_t)r->class;
    *w.at++ = (uint8_t)r->state;
    *w.at++ = (uint8_t)r->service_count;
    *w.at++ = (uint8_t)r->value_count;
    put_i64(&w, r->issued_ms);
    put_i64(&w, r->expires_ms);
    put_i64(&w, r->ended_ms);
    if (extended) {
        *w.at++ = r->injected ? FLAG_INJECTED : 0;
        put_i64(&w, r->refresh_ms);
    }
    put_string(&w, r->user);
    put_string(&w, r->device);
    for (size_t i = 0; i < r->service_count; i++)
        put_string(&w, r->services[i]);
    for (size_t i = 0; i < r->value_count; i++) {
        put_string(&w, r->values[i].name);
        put_string(&w, r->values[i].value);
    }
    return w.full ? ERR_TOO_BIG : (int)(w.at - dst);
}

/* ---- decoding ---- */

static int64_t get_i64(const uint8_t *p)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < 8; i++)
        n |= (uint64_t)p[i] << (8 * i);
    return (int64_t)n;
}

/* Whether exactly `count` strings, none with a NUL inside, fill the bytes. */
static bool strings_fill(const uint8_t *p, size_t len, size_t count)
{
    for (; count > 0; count--) {
        if (len < 2)
            return false;
        size_t n = (size_t)p[0] | (size_t)p[1] << 8;
        if (n > len - 2 || memchr(p + 2, '\0', n) != NULL)
            return false;
        p += 2 + n;
        len -= 2 + n;
    }
    return len == 0;
}

/* Copies the next string behind *to and moves both on. Its length prefix pays for the NUL. */
static const char *take_string(const uint8_t **from, char **to)
{
    const uint8_t *p = *from;
    size_t n = (size_t)p[0] | (size_t)p[1] << 8;
    char *s = *to;
    memcpy(s, p + 2, n);
    s[n] = '\0';
    *from = p + 2 + n;
    *to = s + n + 1;
    return s;
}

/* What stands before the strings. */
struct fixed {
    enum ticket_class class;
    enum ticket_state state;
    size_t services, values;
    int64_t issued_ms, expires_ms, ended_ms, refresh_ms;
    bool injected;
    size_t len;
};

static bool take_fixed(struct fixed *f, const uint8_t *data, size_t len)
{
    if (len < PLAIN_BYTES || data[1] > TICKET_SESSION || data[2] > TICKET_FORGOTTEN ||
        data[2] == TICKET_EXPIRED || data[3] > RECORD_SERVICES_MAX || data[4] > RECORD_VALUES_MAX)
        return false;
    *f = (struct fixed){.class = (enum ticket_class)data[1],
                        .state = (enum ticket_state)data[2],
                        .services = data[3],
                        .values = data[4],
                        .issued_ms = get_i64(data + 5),
                        .expires_ms = get_i64(data + 13),
                        .ended_ms = get_i64(data + 21),
                        .len = PLAIN_BYTES};
    if (data[0] == VERSION_PLAIN)
        return f->state != TICKET_FORGOTTEN && len - PLAIN_BYTES <= STRINGS_MAX;
    if (data[0] != VERSION_EXTENDED || len < EXTENDED_BYTES || data[29] > FLAG_INJECTED)
        return false;
    f->injected = data[29] & FLAG_INJECTED;
    f->refresh_ms = get_i64(data + 30);
    f->len = EXTENDED_BYTES;
    return f->refresh_ms >= 0 && (f->injected || f->refresh_ms > 0 || f->state == TICKET_FORGOTTEN) &&
           len - EXTENDED_BYTES <= STRINGS_MAX;
}

bool record_peek(struct record_view *v, const uint8_t *data, size_t len)
{
    struct fixed f;
    if (!take_fixed(&f, data, len))
        return false;
    const uint8_t *end = data + len, *user = data + f.len, *device;
    if (end - user < 2)
        return false;
    size_t user_len = (size_t)user[0] | (size_t)user[1] << 8;
    if ((size_t)(end - user) < 2 + user_len + 2)
        return false;
    device = user + 2 + user_len;
    size_t device_len = (size_t)device[0] | (size_t)device[1] << 8;
    if ((size_t)(end - device) < 2 + device_len)
        return false;
    *v = (struct record_view){.state = f.state,
                              .issued_ms = f.issued_ms,
                              .expires_ms = f.expires_ms,
                              .ended_ms = f.ended_ms,
                              .user = (const char *)user + 2,
                              .user_len = user_len,
                              .device = (const char *)device + 2,
                              .device_len = device_len};
    return true;
}

struct record *record_decode(const uint8_t hash[RECORD_HASH], const uint8_t *data, size_t len)
{
    struct fixed f;
    if (!take_fixed(&f, data, len))
        return NULL;
    size_t services = f.services, values = f.values;
    const uint8_t *from = data + f.len;
    if (!strings_fill(from, len - f.len, 2 + services + 2 * values))
        return NULL;

    /* arrays in order of falling alignment, strings last */
    struct flat {
        struct record record;
        struct record_value values[];
    } *flat = mem_alloc(sizeof *flat + values * sizeof(struct record_value) + services * sizeof(char *) +
                        len - f.len);
    const char **service = (const char **)(void *)&flat->values[values];
    char *to = (char *)(service + services);

    struct record *r = &flat->record;
    *r = (struct record){.class = f.class,
                         .state = f.state,
                         .issued_ms = f.issued_ms,
                         .expires_ms = f.expires_ms,
                         .ended_ms = f.ended_ms,
                         .refresh_ms = f.refresh_ms,
                         .injected = f.injected,
                         .service_count = services,
                         .services = service,
                         .value_count = values,
                         .values = flat->values};
    memcpy(r->hash, hash, RECORD_HASH);
    r->user = take_string(&from, &to);
    r->device = take_string(&from, &to);
    for (size_t i = 0; i < services; i++)
        service[i] = take_string(&from, &to);
    for (size_t i = 0; i < values; i++) {
        flat->values[i].name = take_string(&from, &to);
        flat->values[i].value = take_string(&from, &to);
    }
    return r;
}
