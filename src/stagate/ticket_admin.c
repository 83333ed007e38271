/* stagate ticket by the running gateway, over its admin socket: it knows tickets that are in its memory, and
 * cuts the tunnels of one that is revoked at once. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin_client.h"
#include "base/buf.h"
#include "base/mem.h"
#include "ticket_impl.h"

static int status_of(enum admin_result r)
{
    return r == ADMIN_OK ? 0 : r == ADMIN_ABSENT ? -1 : 1;
}

static const char *text(const json_t *d, const char *key)
{
    const char *s = json_string_value(json_object_get(d, key));
    return s != NULL ? s : "";
}

/* ---- issue ---- */

static void set_text(json_t *d, const char *key, const char *value)
{
    json_t *j = value != NULL ? json_string(value) : json_null();
    /* what is not UTF-8 must not look as if nothing had been wished: the gateway refuses what is no text */
    json_object_set_new(d, key, j != NULL ? j : json_false());
}

static int issue(const struct settings *s, const struct ticket_arguments *a)
{
    json_t *wish = json_object(), *services = json_array(), *answer;
    set_text(wish, "user", a->user);
    set_text(wish, "device", a->device);
    set_text(wish, "class", a->class);
    set_text(wish, "lifetime", a->lifetime);
    set_text(wish, "authority", a->authority);
    set_text(wish, "icaAddress", a->ica_address);
    if (a->refreshable)
        json_object_set_new(wish, "refreshable", json_true());
    for (size_t i = 0; i < a->service_count; i++)
        json_array_append_new(services, json_string(a->services[i]));
    json_object_set_new(wish, "services", services);
    enum admin_result r = admin_call(s, "POST", "/v1/tickets", wish, &answer);
    if (r == ADMIN_OK)
        puts(text(answer, "ticket"));
    json_decref(answer);
    json_decref(wish);
    return status_of(r);
}

/* ---- list and show ---- */

static void print_ticket(struct ticket_printer *p, const json_t *d)
{
    struct ticket_shown t = {
        .fingerprint = text(d, "fingerprint"),
        .authority = text(d, "authority"),
        .class = text(d, "class"),
        .state = text(d, "state"),
        .issued = text(d, "issued"),
        .expires = text(d, "expires"),
        .user = text(d, "user"),
        .device = text(d, "device"),
        .refreshable = json_is_true(json_object_get(d, "refreshable")),
        .injected = json_is_true(json_object_get(d, "injected")),
    };
    const json_t *services = json_object_get(d, "ownServices");
    for (; t.service_count < RECORD_SERVICES_MAX && t.service_count < json_array_size(services);
         t.service_count++)
        t.services[t.service_count] = json_string_value(json_array_get(services, t.service_count));
    ticket_print(p, &t);
}

/* Whatever the user typed, as a URL can carry it. */
static void add_encoded(struct buf *b, const char *s)
{
    for (; *s != '\0'; s++)
        buf_printf(b, isalnum((unsigned char)*s) ? "%c" : "%%%02X", (unsigned char)*s);
}

/* "/v1/tickets?user=..."; owned. */
static char *list_path(const char *user, const char *next)
{
    struct buf b;
    buf_init(&b, 65536);
    buf_append_str(&b, "/v1/tickets?");
    if (next != NULL)
        buf_printf(&b, "next=%s&", next);
    if (user != NULL)
        buf_append_str(&b, "user=");
    add_encoded(&b, user != NULL ? user : "");
    buf_append(&b, "", 1);
    return (char *)b.data;
}

static int list(const struct settings *s, const struct ticket_arguments *a)
{
    struct ticket_printer p = {.json = a->json};
    const char *user = a->user;
    char *next = NULL;
    bool again;
    int status;
    do {
        json_t *answer, *d;
        size_t i;
        char *path = list_path(user, next);
        status = status_of(admin_call(s, "GET", path, NULL, &answer));
        free(path);
        free(next);
        next = mem_strdup(json_string_value(json_object_get(answer, "next")));
        again = next != NULL;
        if (json_is_true(json_object_get(answer, "more"))) {
            user = NULL; /* more than the gateway gives of one user at once: they are looked for among all */
            again = true;
            json_object_del(answer, "tickets");
        }
        json_array_foreach(json_object_get(answer, "tickets"), i, d)
        {
            bool other = (a->authority != NULL && strcmp(a->authority, text(d, "authority")) != 0) ||
                         (user == NULL && a->user != NULL && strcmp(a->user, text(d, "user")) != 0);
            if (!other)
                print_ticket(&p, d);
        }
        json_decref(answer);
    } while (status == 0 && again);
    free(next);
    if (status == 0)
        ticket_print_end(&p, true);
    return status;
}

/* ---- one ticket, or the two of a pair ---- */

static enum admin_result seek(const struct settings *s, const struct ticket_arguments *a, const char *id,
                              struct ticket_printer *p)
{
    json_t *answer;
    struct buf path;
    buf_init(&path, 4096);
    buf_append_str(&path, "/v1/tickets/");
    add_encoded(&path, id);
    buf_append(&path, "", 1);
    enum admin_result r =
        admin_call(s, a->verb == VERB_REVOKE ? "DELETE" : "GET", (const char *)path.data, NULL, &answer);
    if (r == ADMIN_OK && a->verb == VERB_SHOW)
        print_ticket(p, answer);
    json_decref(answer);
    buf_deinit(&path);
    return r;
}

static int seek_all(const struct settings *s, const struct ticket_arguments *a)
{
    struct ticket_printer p = {.json = a->json};
    enum admin_result best = ADMIN_ABSENT;
    if (a->string.count == 0)
        best = seek(s, a, a->fingerprint, &p);
    for (unsigned i = 0; i < a->string.count; i++) {
        char digits[RECORD_DIGITS];
        uint8_t hash[RECORD_HASH];
        record_hash(hash, a->string.ref[i].value, strlen(a->string.ref[i].value));
        record_digits(digits, hash);
        enum admin_result r = seek(s, a, digits, &p);
        if (i == 0 || r == ADMIN_OK)
            best = r;
    }
    if (best == ADMIN_OK)
        ticket_print_end(&p, false);
    return status_of(best);
}

static int purge(const struct settings *s)
{
    json_t *answer;
    enum admin_result r = admin_call(s, "POST", "/v1/purge", NULL, &answer);
    if (r == ADMIN_OK)
        printf("%lld purged\n", (long long)json_integer_value(json_object_get(answer, "tickets")));
    json_decref(answer);
    return status_of(r);
}

int ticket_by_admin(const struct settings *s, const struct ticket_arguments *a)
{
    switch (a->verb) {
    case VERB_ISSUE:
        return issue(s, a);
    case VERB_LIST:
        return list(s, a);
    case VERB_PURGE:
        return purge(s);
    default:
        return seek_all(s, a);
    }
}
