/* stagate ticket: works on the stores of the configuration, also while a gateway runs on them. */
#include <ctype.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/conf.h"
#include "base/err.h"
#include "base/mem.h"
#include "commands.h"
#include "proto/ticket.h"
#include "sta/issue.h"
#include "sta/store.h"

#define SESSION_LIFETIME_MS (100 * 1000LL) /* an ordinary STA ticket's */

static const char help[] =
    "Usage: stagate ticket issue -c FILE --user USER [OPTION]...\n"
    "       stagate ticket list -c FILE [--json]\n"
    "       stagate ticket show -c FILE TICKET [--json]\n"
    "       stagate ticket revoke -c FILE TICKET\n"
    "       stagate ticket purge -c FILE\n\n"
    "TICKET is a ticket string, its fingerprint as the log shows it, or - to read one from standard input.\n"
    "issue prints the ticket string, and only that, on standard output.\n\n"
    "  -c, --config FILE      the configuration\n"
    "  -u, --user USER        whom the ticket is for\n"
    "  -d, --device DEVICE    the device it is for\n"
    "      --class CLASS      background (until it expires, the default) or session (one use)\n"
    "      --lifetime TIME    such as 168h; default: background-services-ticket-expiration, or 100s for "
    "session\n"
    "      --service HOST:PORT  may be repeated: the only services it opens; default: all of the policy\n"
    "      --ica-address HOST:PORT  where it leads as a SOCKS destination; default: its first service\n"
    "      --authority ID     which authority; default: the first (issue), all (the others)\n"
    "      --json             machine-readable output\n"
    "  -h, --help             this text\n";

enum { OPT_CLASS = 1000, OPT_LIFETIME, OPT_SERVICE, OPT_ICA, OPT_AUTHORITY, OPT_JSON };

struct arguments {
    const char *config;
    const char *user;
    const char *device;
    const char *class;
    const char *lifetime;
    const char *authority;
    const char *ica_address;
    const char *services[RECORD_SERVICES_MAX];
    size_t service_count;
    bool json;
    const char *ticket; /* positional */
};

static int parse(int argc, char **argv, struct arguments *a)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'},
        {"user", required_argument, NULL, 'u'},
        {"device", required_argument, NULL, 'd'},
        {"class", required_argument, NULL, OPT_CLASS},
        {"lifetime", required_argument, NULL, OPT_LIFETIME},
        {"service", required_argument, NULL, OPT_SERVICE},
        {"ica-address", required_argument, NULL, OPT_ICA},
        {"authority", required_argument, NULL, OPT_AUTHORITY},
        {"json", no_argument, NULL, OPT_JSON},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    int opt;
    opterr = 0;
    optind = 1;
    while ((opt = getopt_long(argc, argv, ":c:u:d:h", options, NULL)) != -1) {
        switch (opt) {
        case 'c':
            a->config = optarg;
            break;
        case 'u':
            a->user = optarg;
            break;
        case 'd':
            a->device = optarg;
            break;
        case OPT_CLASS:
            a->class = optarg;
            break;
        case OPT_LIFETIME:
            a->lifetime = optarg;
            break;
        case OPT_SERVICE:
            if (a->service_count == RECORD_SERVICES_MAX)
                return usage_error("ticket", "a ticket holds at most %d services", RECORD_SERVICES_MAX);
            a->services[a->service_count++] = optarg;
            break;
        case OPT_ICA:
            a->ica_address = optarg;
            break;
        case OPT_AUTHORITY:
            a->authority = optarg;
            break;
        case OPT_JSON:
            a->json = true;
            break;
        case 'h':
            fputs(help, stdout);
            return 0;
        case ':':
            return usage_error("ticket", "%s needs a value", argv[optind - 1]);
        default:
            return usage_error("ticket", "unknown option %s", argv[optind - 1]);
        }
    }
    if (optind < argc)
        a->ticket = argv[optind++];
    if (optind < argc)
        return usage_error("ticket", "unexpected argument \"%s\"", argv[optind]);
    if (a->config == NULL)
        return usage_error("ticket", "-c FILE is missing");
    return -1;
}

/* ---- stores ---- */

static struct store *open_store(const struct authority_settings *a, bool must_exist)
{
    struct store *store = NULL;
    char why[512];
    if (strcmp(a->store, "memory:") == 0) {
        fprintf(stderr,
                "stagate: authority %s keeps its tickets in the memory of the running gateway, where "
                "commands cannot "
                "reach them: use store: lmdb:PATH\n",
                a->id);
        return NULL;
    }
    const struct store_options options = {.tombstone_ms = a->tombstone_ms, .must_exist = must_exist};
    if (store_open(&store, a->store, &options, why, sizeof why) < 0) {
        fprintf(stderr, "stagate: authority %s: %s\n", a->id, why);
        return NULL;
    }
    return store;
}

/* Calls each for the authorities that are meant, with their stores; stops at the first nonzero. */
static int for_authorities(const struct settings *s, const struct arguments *a, bool create,
                           int (*each)(const struct authority_settings *, struct store *, void *),
                           void *owner)
{
    const struct authority_settings *list = s->authorities.items;
    bool found = false;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < s->authorities.count; i++) {
        if (a->authority != NULL && strcmp(a->authority, list[i].id) != 0)
            continue;
        found = true;
        struct store *store = open_store(&list[i], !create);
        if (store == NULL)
            return 1;
        rc = each(&list[i], store, owner);
        store_close(store);
    }
    if (!found)
        return usage_error("ticket", "no authority \"%s\" in %s", a->authority, a->config);
    return rc;
}

/* ---- issue ---- */

struct issuing {
    const struct settings *settings;
    const struct arguments *args;
};

static int fill_services(const struct arguments *a, struct record *r, const char **texts)
{
    for (size_t i = 0; i < a->service_count; i++) {
        struct hostport hp;
        const char *why;
        char text[HOSTPORT_TEXT];
        if (hostport_parse(&hp, a->services[i], strlen(a->services[i]),
                           HOSTPORT_ALLOW_BLANKS | HOSTPORT_ALLOW_WILDCARD, &why) < 0)
            return usage_error("ticket", "--service %s: %s", a->services[i], why);
        hostport_format(&hp, text);
        texts[i] = mem_strdup(text);
        r->service_count = i + 1;
    }
    r->services = texts;
    return 0;
}

static int fill_record(const struct issuing *in, struct record *r, const char **texts,
                       struct record_value *value)
{
    const struct arguments *a = in->args;
    const char *why;
    int64_t lifetime;

    if (a->class == NULL || strcmp(a->class, "background") == 0)
        r->class = TICKET_BACKGROUND;
    else if (strcmp(a->class, "session") == 0)
        r->class = TICKET_SESSION;
    else
        return usage_error("ticket", "--class is background or session, not \"%s\"", a->class);
    lifetime = r->class == TICKET_SESSION ? SESSION_LIFETIME_MS : in->settings->policy.ticket_expiration_ms;
    if (a->lifetime != NULL && duration_parse(a->lifetime, &lifetime, &why) < 0)
        return usage_error("ticket", "--lifetime %s: %s", a->lifetime, why);
    r->user = a->user;
    r->device = a->device ? a->device : "";
    r->issued_ms = clock_wall_ms();
    r->expires_ms = r->issued_ms + lifetime;
    if (a->ica_address != NULL) {
        struct hostport hp;
        if (hostport_parse(&hp, a->ica_address, strlen(a->ica_address), HOSTPORT_ALLOW_BLANKS, &why) < 0)
            return usage_error("ticket", "--ica-address %s: %s", a->ica_address, why);
        *value = (struct record_value){"ICAAddress", a->ica_address};
        r->values = value;
        r->value_count = 1;
    }
    return fill_services(a, r, texts);
}

static int issue_into(const struct authority_settings *authority, struct store *store, void *owner)
{
    const char *texts[RECORD_SERVICES_MAX] = {0};
    struct record_value value;
    struct record r = {0};
    struct ticket_string t = {.version = 40, .count = 1};
    char text[TICKET_STRING_MAX];

    int rc = fill_record(owner, &r, texts, &value);
    if (rc == 0) {
        snprintf(t.ref[0].authority, sizeof t.ref[0].authority, "%s", authority->id);
        rc = issue_ticket_value(t.ref[0].value, r.hash);
        if (rc == 0)
            rc = store_issue(store, &r);
        if (rc < 0) {
            fprintf(stderr, "stagate: the ticket could not be issued: %s\n", err_text(rc));
            rc = 1;
        }
    }
    if (rc == 0) {
        ticket_format(&t, text);
        puts(text);
        mem_wipe(text, sizeof text);
        rc = -1; /* the first authority issued it: that was all */
    }
    mem_wipe(&t, sizeof t);
    for (size_t i = 0; i < RECORD_SERVICES_MAX; i++)
        free((void *)(uintptr_t)texts[i]);
    return rc;
}

static int ticket_issue(const struct settings *s, const struct arguments *a)
{
    struct issuing in = {s, a};
    if (a->ticket != NULL)
        return usage_error("ticket", "unexpected argument \"%s\"", a->ticket);
    if (a->user == NULL)
        return usage_error("ticket", "--user is missing");
    int rc = for_authorities(s, a, true, issue_into, &in);
    return rc < 0 ? 0 : rc;
}

/* ---- list and show ---- */

struct listing {
    bool json;
    bool first;
    const char *authority;
    int64_t now;
};

static void print_json_string(const char *s)
{
    putchar('"');
    for (; *s != '\0'; s++) {
        unsigned char ch = (unsigned char)*s;
        if (ch == '"' || ch == '\\')
            printf("\\%c", ch);
        else if (ch < 0x20 || ch == 0x7f)
            printf("\\u%04x", ch);
        else
            putchar(ch);
    }
    putchar('"');
}

static void print_record_json(const struct listing *l, const struct record *r)
{
    char fingerprint[RECORD_FINGERPRINT], issued[CLOCK_TEXT], expires[CLOCK_TEXT];
    record_fingerprint(fingerprint, r->hash);
    clock_format(issued, r->issued_ms);
    clock_format(expires, r->expires_ms);
    printf("{\"ticket\":\"%s\",\"authority\":\"%s\",\"class\":\"%s\",\"state\":\"%s\",\"issued\":\"%s\","
           "\"expires\":\"%s\",",
           fingerprint, l->authority, ticket_class_name(r->class),
           ticket_state_name(record_state_at(r, l->now)), issued, expires);
    printf("\"user\":");
    print_json_string(r->user);
    printf(",\"device\":");
    print_json_string(r->device);
    printf(",\"services\":[");
    for (size_t i = 0; i < r->service_count; i++) {
        printf(i ? "," : "");
        print_json_string(r->services[i]);
    }
    printf("]}");
}

/* Text of others on a terminal: no control characters. */
static void print_safe(const char *s)
{
    for (; *s != '\0'; s++)
        putchar(iscntrl((unsigned char)*s) ? '?' : *s);
}

static void print_record_text(const struct listing *l, const struct record *r)
{
    char fingerprint[RECORD_FINGERPRINT], expires[CLOCK_TEXT];
    record_fingerprint(fingerprint, r->hash);
    clock_format(expires, r->expires_ms);
    printf("%-12s %-16s %-10s %-8s %.19sZ ", fingerprint, l->authority, ticket_class_name(r->class),
           ticket_state_name(record_state_at(r, l->now)), expires);
    print_safe(r->user);
    printf(" ");
    print_safe(r->device[0] ? r->device : "-");
    for (size_t i = 0; i < r->service_count; i++) {
        printf(i == 0 ? " " : ",");
        print_safe(r->services[i]);
    }
    printf("\n");
}

static int print_record(void *owner, const struct record *r)
{
    struct listing *l = owner;
    if (l->json) {
        printf(l->first ? "[" : ",\n ");
        print_record_json(l, r);
    } else {
        if (l->first)
            printf("%-12s %-16s %-10s %-8s %-20s USER DEVICE SERVICES\n", "TICKET", "AUTHORITY", "CLASS",
                   "STATE", "EXPIRES");
        print_record_text(l, r);
    }
    l->first = false;
    return 0;
}

static int list_from(const struct authority_settings *authority, struct store *store, void *owner)
{
    struct listing *l = owner;
    l->authority = authority->id;
    int rc = store_list(store, print_record, l);
    if (rc < 0)
        fprintf(stderr, "stagate: authority %s: %s\n", authority->id, err_text(rc));
    return rc < 0 ? 1 : 0;
}

static int ticket_list(const struct settings *s, const struct arguments *a)
{
    struct listing l = {.json = a->json, .first = true, .now = clock_wall_ms()};
    if (a->ticket != NULL)
        return usage_error("ticket", "unexpected argument \"%s\"", a->ticket);
    int rc = for_authorities(s, a, true, list_from, &l);
    if (rc == 0 && l.json)
        printf(l.first ? "[]\n" : "]\n");
    else if (rc == 0 && l.first)
        printf("no tickets\n");
    return rc;
}

/* ---- one ticket ---- */

struct seeking {
    struct ticket_string string; /* count 0: look for the fingerprint */
    char fingerprint[2 * RECORD_HASH + 1];
    struct listing listing;
    bool revoke;
    bool found;
};

static int seek_in(const struct authority_settings *authority, struct store *store, void *owner)
{
    struct seeking *k = owner;
    struct record *r = NULL;
    int rc = ERR_NOT_FOUND;

    if (k->string.count == 0) {
        rc = store_find(store, k->fingerprint, &r);
    } else {
        for (unsigned i = 0; i < k->string.count && rc == ERR_NOT_FOUND; i++) {
            uint8_t hash[RECORD_HASH];
            if (strcmp(k->string.ref[i].authority, authority->id) != 0)
                continue;
            record_hash(hash, k->string.ref[i].value, strlen(k->string.ref[i].value));
            rc = store_get(store, hash, &r);
        }
    }
    if (rc == ERR_NOT_FOUND)
        return 0;
    if (rc == 0 && k->revoke) {
        if (record_state_at(r, k->listing.now) == TICKET_LIVE)
            rc = store_revoke(store, r->hash, k->listing.now);
    }
    if (rc == 0 && !k->revoke) {
        k->listing.authority = authority->id;
        print_record(&k->listing, r);
    }
    if (rc < 0)
        fprintf(stderr, "stagate: authority %s: %s\n", authority->id,
                rc == ERR_EXISTS ? "more than one ticket begins so: give more digits"
                : rc == ERR_SYNTAX
                    ? "neither a ticket string nor a fingerprint of 4 or more hexadecimal digits"
                    : err_text(rc));
    free(r);
    k->found = true;
    return rc < 0 ? 1 : 0;
}

static int ticket_seek(const struct settings *s, const struct arguments *a, bool revoke)
{
    struct seeking k = {.revoke = revoke,
                        .listing = {.json = a->json, .first = true, .now = clock_wall_ms()}};
    char text[TICKET_STRING_MAX] = "";
    const char *why = NULL;

    if (a->ticket == NULL)
        return usage_error("ticket", "which ticket? Give its string, its fingerprint, or -");
    if (strcmp(a->ticket, "-") != 0)
        snprintf(text, sizeof text, "%s", a->ticket);
    else if (fgets(text, sizeof text, stdin) == NULL)
        return usage_error("ticket", "no ticket on standard input");
    text[strcspn(text, "\r\n")] = '\0';
    if (ticket_looks_like(text, strlen(text))) {
        if (ticket_parse(&k.string, text, strlen(text), &why) < 0)
            return usage_error("ticket", "%s", why);
    } else {
        snprintf(k.fingerprint, sizeof k.fingerprint, "%.64s", text);
    }
    int rc = for_authorities(s, a, true, seek_in, &k);
    mem_wipe(text, sizeof text);
    mem_wipe(&k.string, sizeof k.string);
    if (rc == 0 && !k.found) {
        fprintf(stderr, "stagate: no authority knows this ticket\n");
        return 1;
    }
    if (rc == 0 && a->json && !revoke)
        printf("]\n");
    return rc;
}

/* ---- purge ---- */

static int purge_in(const struct authority_settings *authority, struct store *store, void *owner)
{
    (void)owner;
    int64_t n = store_purge(store, clock_wall_ms(), 0);
    if (n < 0) {
        fprintf(stderr, "stagate: authority %s: %s\n", authority->id, err_text((int)n));
        return 1;
    }
    printf("%s: %lld purged\n", authority->id, (long long)n);
    return 0;
}

static int ticket_purge(const struct settings *s, const struct arguments *a)
{
    if (a->ticket != NULL)
        return usage_error("ticket", "unexpected argument \"%s\"", a->ticket);
    return for_authorities(s, a, true, purge_in, NULL);
}

int cmd_ticket(int argc, char **argv)
{
    static const char *const verbs[] = {"issue", "list", "show", "revoke", "purge", NULL};
    struct arguments a = {0};

    if (argc < 2)
        return usage_error("ticket", "what about tickets? issue, list, show, revoke or purge");
    if (strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "--help") == 0) {
        fputs(help, stdout);
        return 0;
    }
    size_t verb = 0;
    while (verbs[verb] != NULL && strcmp(verbs[verb], argv[1]) != 0)
        verb++;
    if (verbs[verb] == NULL) {
        const char *near = suggest(argv[1], verbs);
        return usage_error("ticket", "unknown command \"%s\"%s%s%s", argv[1], near ? ": did you mean \"" : "",
                           near ? near : "", near ? "\"?" : "");
    }
    int status = parse(argc - 1, argv + 1, &a);
    if (status >= 0)
        return status;
    struct settings *s = load_settings(a.config, false, false);
    if (s == NULL)
        return 1;
    switch (verb) {
    case 0:
        status = ticket_issue(s, &a);
        break;
    case 1:
        status = ticket_list(s, &a);
        break;
    case 2:
    case 3:
        status = ticket_seek(s, &a, verb == 3);
        break;
    default:
        status = ticket_purge(s, &a);
        break;
    }
    settings_free(s);
    return status;
}
