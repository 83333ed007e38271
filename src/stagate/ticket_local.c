/* stagate ticket on the stores themselves: where no gateway answers, or none is meant to run. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "commands.h"
#include "sta/issue.h"
#include "sta/store.h"
#include "ticket_impl.h"

struct local {
    const struct settings *settings;
    const struct ticket_arguments *args;
    const struct authority_settings *authority;
    struct store *store;
    struct ticket_printer printer;
    int64_t now;
    bool found;
};

/* ---- stores ---- */

static struct store *open_store(const struct authority_settings *a)
{
    struct store *store = NULL;
    char why[512];
    if (strcmp(a->store, "memory:") == 0) {
        fprintf(stderr,
                "stagate: authority %s keeps its tickets in the memory of the gateway, and no gateway "
                "answers: run it "
                "with admin: {socket: PATH}, or use store: lmdb:PATH\n",
                a->id);
        return NULL;
    }
    struct store_options options;
    settings_store(a, &options);
    options.quiet = true;
    if (store_open(&store, a->store, &options, why, sizeof why) < 0) {
        fprintf(stderr, "stagate: authority %s: %s\n", a->id, why);
        return NULL;
    }
    return store;
}

/* Calls each for the authorities that are meant; stops at the first nonzero. */
static int for_authorities(struct local *l, int (*each)(struct local *l))
{
    const struct authority_settings *list = l->settings->authorities.items;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < l->settings->authorities.count; i++) {
        if (list[i].store == NULL ||
            (l->args->authority != NULL && strcmp(l->args->authority, list[i].id) != 0))
            continue;
        l->authority = &list[i];
        l->store = open_store(&list[i]);
        if (l->store == NULL)
            return 1;
        rc = each(l);
        store_close(l->store);
    }
    return rc;
}

/* A store that is a server of its own knows better what is wrong with it. */
static const char *text_of(const struct local *l, int rc)
{
    const char *detail = NULL;
    return rc == ERR_STORE && !store_is_up(l->store, &detail) && detail != NULL ? detail : err_text(rc);
}

static int complain(const struct local *l, int rc)
{
    const char *why = rc == ERR_EXISTS ? "more than one ticket begins so: give more digits"
                      : rc == ERR_SYNTAX
                          ? "neither a ticket string nor a fingerprint of 4 or more hexadecimal digits"
                          : text_of(l, rc);
    fprintf(stderr, "stagate: authority %s: %s\n", l->authority->id, why);
    return 1;
}

/* ---- issue ---- */

static void print_string(const struct local *l, const char *value)
{
    struct ticket_string t = {.version = 40, .count = 1};
    char text[TICKET_STRING_MAX];
    snprintf(t.ref[0].authority, sizeof t.ref[0].authority, "%s", l->authority->id);
    memcpy(t.ref[0].value, value, sizeof t.ref[0].value);
    ticket_format(&t, text);
    puts(text);
    mem_wipe(text, sizeof text);
    mem_wipe(&t, sizeof t);
}

/* -1 when it is done: the first authority that is meant issues. */
static int issue_in(struct local *l)
{
    struct issue_wish wish;
    struct record_value ica;
    char value[TICKET_VALUE_MAX + 1] = "";
    const char *why;

    int rc = ticket_wish(l->args, &wish, &ica);
    if (rc != 0)
        return rc;
    const struct issue_rules rules = {.background_ms = l->settings->policy.ticket_expiration_ms,
                                      .session_ms = l->authority->session_ms,
                                      .refresh_ms = l->authority->refresh_ms};
    struct record *r = issue_new(&wish, &rules, l->now, value, &why);
    if (r == NULL) {
        fprintf(stderr, "stagate: the ticket could not be issued: %s\n", why);
        return 1;
    }
    rc = store_issue(l->store, r);
    free(r);
    if (rc < 0)
        fprintf(stderr, "stagate: the ticket could not be issued: %s\n", text_of(l, rc));
    else
        print_string(l, value);
    mem_wipe(value, sizeof value);
    return rc < 0 ? 1 : -1;
}

/* ---- list, show, revoke, purge ---- */

static int print_record(void *owner, const struct record *r)
{
    struct local *l = owner;
    char fingerprint[RECORD_FINGERPRINT], issued[CLOCK_TEXT], expires[CLOCK_TEXT];
    if (l->args->verb == VERB_LIST && l->args->user != NULL && strcmp(l->args->user, r->user) != 0)
        return 0;
    record_fingerprint(fingerprint, r->hash);
    clock_format(issued, r->issued_ms);
    clock_format(expires, r->expires_ms);
    struct ticket_shown t = {
        .fingerprint = fingerprint,
        .authority = l->authority->id,
        .class = ticket_class_name(r->class),
        .state = ticket_state_name(record_state_at(r, l->now)),
        .issued = issued,
        .expires = expires,
        .user = r->user,
        .device = r->device,
        .service_count = r->service_count,
        .refreshable = r->refresh_ms > 0,
        .injected = r->injected,
    };
    for (size_t i = 0; i < r->service_count; i++)
        t.services[i] = r->services[i];
    ticket_print(&l->printer, &t);
    return 0;
}

static int list_in(struct local *l)
{
    int rc = store_list(l->store, print_record, l);
    return rc < 0 ? complain(l, rc) : 0;
}

static int find_in(struct local *l, struct record **out)
{
    const struct ticket_string *t = &l->args->string;
    int rc = ERR_NOT_FOUND;
    if (t->count == 0)
        return store_find(l->store, l->args->fingerprint, out);
    for (unsigned i = 0; i < t->count && rc == ERR_NOT_FOUND; i++) {
        uint8_t hash[RECORD_HASH];
        if (strcmp(t->ref[i].authority, l->authority->id) != 0)
            continue;
        record_hash(hash, t->ref[i].value, strlen(t->ref[i].value));
        rc = store_get(l->store, hash, out);
    }
    return rc;
}

static int seek_in(struct local *l)
{
    struct record *r = NULL;
    int rc = find_in(l, &r);
    if (rc == ERR_NOT_FOUND)
        return 0;
    l->found = true;
    if (rc == 0 && l->args->verb == VERB_REVOKE)
        rc = store_revoke(l->store, r->hash, l->now);
    else if (rc == 0 && l->args->verb == VERB_SHOW)
        print_record(l, r);
    free(r);
    return rc < 0 ? complain(l, rc) : 0;
}

static int purge_in(struct local *l)
{
    int64_t n = store_purge(l->store, l->now, 0);
    if (n < 0)
        return complain(l, (int)n);
    printf("%s: %lld purged\n", l->authority->id, (long long)n);
    return 0;
}

int ticket_by_store(const struct settings *s, const struct ticket_arguments *a)
{
    static int (*const work[])(struct local *) = {[VERB_ISSUE] = issue_in,
                                                  [VERB_LIST] = list_in,
                                                  [VERB_SHOW] = seek_in,
                                                  [VERB_REVOKE] = seek_in,
                                                  [VERB_PURGE] = purge_in};
    clock_set_offset_ms(s->time_offset_ms);
    struct local l = {.settings = s, .args = a, .printer = {.json = a->json}, .now = clock_wall_ms()};
    int rc = for_authorities(&l, work[a->verb]);
    if (rc > 0)
        return rc;
    if ((a->verb == VERB_SHOW || a->verb == VERB_REVOKE) && !l.found) {
        fprintf(stderr, "stagate: no authority knows this ticket\n");
        return 1;
    }
    if (a->verb == VERB_LIST || a->verb == VERB_SHOW)
        ticket_print_end(&l.printer, a->verb == VERB_LIST);
    return 0;
}
