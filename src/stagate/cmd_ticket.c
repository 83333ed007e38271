/* stagate ticket: by the running gateway where one answers on the admin socket, else on the stores of the
 * configuration themselves. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/conf.h"
#include "base/mem.h"
#include "commands.h"
#include "sta/issue.h"
#include "ticket_impl.h"

static const char help[] =
    "Usage: stagate ticket issue -c FILE --user USER [OPTION]...\n"
    "       stagate ticket list -c FILE [--user USER] [--json]\n"
    "       stagate ticket show -c FILE TICKET [--json]\n"
    "       stagate ticket revoke -c FILE TICKET\n"
    "       stagate ticket purge -c FILE\n\n"
    "TICKET is a ticket string, its fingerprint as the log shows it, or - to read one from standard input.\n"
    "issue prints the ticket string, and only that, on standard output.\n\n"
    "  -c, --config FILE      the configuration\n"
    "  -u, --user USER        whom the ticket is for; list: only this user's\n"
    "  -d, --device DEVICE    the device it is for\n"
    "      --class CLASS      background (until it expires, the default) or session (one use)\n"
    "      --lifetime TIME    such as 168h; default: background-services-ticket-expiration, or 100s for "
    "session\n"
    "      --refreshable    a session ticket that may be used again and is refreshed while its tunnel lives\n"
    "      --service HOST:PORT  may be repeated: the only services it opens; default: all of the policy\n"
    "      --ica-address HOST:PORT  where it leads as a SOCKS destination; default: its first service\n"
    "      --authority ID     which authority; default: the first (issue), all (the others)\n"
    "      --json             machine-readable output\n"
    "  -h, --help             this text\n";

enum { OPT_CLASS = 1000, OPT_LIFETIME, OPT_SERVICE, OPT_ICA, OPT_AUTHORITY, OPT_REFRESHABLE, OPT_JSON };

static int parse(int argc, char **argv, struct ticket_arguments *a, const char **ticket)
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
        {"refreshable", no_argument, NULL, OPT_REFRESHABLE},
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
        case OPT_REFRESHABLE:
            a->refreshable = true;
            break;
        case OPT_JSON:
            a->json = true;
            break;
        case 'h':
            fputs(help, stdout);
            return 0;
        default:
            return option_error("ticket", opt, argv);
        }
    }
    if (optind < argc)
        *ticket = argv[optind++];
    if (optind < argc)
        return usage_error("ticket", "unexpected argument \"%s\"", argv[optind]);
    if (a->config == NULL)
        return usage_error("ticket", "-c FILE is missing");
    return -1;
}

/* What stands in the place of TICKET, for the verbs that want one. */
static int take_ticket(struct ticket_arguments *a, const char *ticket)
{
    char text[TICKET_STRING_MAX] = "";
    const char *why = NULL;

    if (a->verb != VERB_SHOW && a->verb != VERB_REVOKE)
        return ticket != NULL ? usage_error("ticket", "unexpected argument \"%s\"", ticket) : -1;
    if (ticket == NULL)
        return usage_error("ticket", "which ticket? Give its string, its fingerprint, or -");
    if (strcmp(ticket, "-") != 0)
        snprintf(text, sizeof text, "%s", ticket);
    else if (fgets(text, sizeof text, stdin) == NULL)
        return usage_error("ticket", "no ticket on standard input");
    text[strcspn(text, "\r\n")] = '\0';
    if (text[0] == '\0')
        return usage_error("ticket", "which ticket? What was given is empty");
    if (ticket_looks_like(text, strlen(text))) {
        if (ticket_parse(&a->string, text, strlen(text), &why) < 0)
            return usage_error("ticket", "%s", why);
    } else {
        snprintf(a->fingerprint, sizeof a->fingerprint, "%.64s", text);
    }
    mem_wipe(text, sizeof text);
    return -1;
}

int ticket_wish(const struct ticket_arguments *a, struct issue_wish *w, struct record_value *value)
{
    const char *why;
    *w = (struct issue_wish){
        .class = a->class != NULL && strcmp(a->class, "session") == 0 ? TICKET_SESSION : TICKET_BACKGROUND,
        .refreshable = a->refreshable,
        .user = a->user,
        .device = a->device,
        .service_count = a->service_count,
        .services = a->services,
    };
    if (a->lifetime != NULL && duration_parse(a->lifetime, &w->lifetime_ms, &why) < 0)
        return usage_error("ticket", "--lifetime %s: %s", a->lifetime, why);
    if (a->lifetime != NULL && w->lifetime_ms == 0)
        return usage_error("ticket", "--lifetime %s: a lifetime of nothing is no ticket", a->lifetime);
    if (a->ica_address != NULL) {
        *value = (struct record_value){"ICAAddress", a->ica_address};
        w->values = value;
        w->value_count = 1;
    }
    return 0;
}

/* Whatever is wrong with what is asked for is said before anybody is asked. */
static int check_wish(const struct settings *s, const struct ticket_arguments *a)
{
    const struct issue_rules rules = {
        .background_ms = s->policy.ticket_expiration_ms, .session_ms = 1, .refresh_ms = 1};
    struct issue_wish wish;
    struct record_value ica;
    char value[TICKET_VALUE_MAX + 1];
    const char *why;
    int rc = a->verb == VERB_ISSUE ? ticket_wish(a, &wish, &ica) : -1;
    if (rc != 0)
        return rc;
    struct record *r = issue_new(&wish, &rules, 0, value, &why);
    if (r == NULL && wish.wrong != NULL)
        return usage_error("ticket", "%s %s: %s",
                           wish.wrong == a->ica_address ? "--ica-address" : "--service", wish.wrong, why);
    if (r == NULL)
        return usage_error("ticket", "%s", why);
    mem_wipe(value, sizeof value);
    free(r);
    return -1;
}

static int check_issue(const struct ticket_arguments *a)
{
    if (a->verb != VERB_ISSUE)
        return -1;
    if (a->user == NULL)
        return usage_error("ticket", "--user is missing");
    if (a->class != NULL && strcmp(a->class, "background") != 0 && strcmp(a->class, "session") != 0)
        return usage_error("ticket", "--class is background or session, not \"%s\"", a->class);
    if (a->refreshable && (a->class == NULL || strcmp(a->class, "session") != 0))
        return usage_error("ticket",
                           "--refreshable goes with --class session: background tickets live on anyway");
    return -1;
}

static int check_authority(const struct settings *s, const struct ticket_arguments *a)
{
    const struct authority_settings *list = s->authorities.items;
    bool found = a->authority == NULL, stores = false;
    for (size_t i = 0; i < s->authorities.count; i++) {
        stores |= list[i].store != NULL;
        found |= a->authority != NULL && list[i].id != NULL && strcmp(list[i].id, a->authority) == 0;
    }
    if (!found)
        return usage_error("ticket", "no authority \"%s\" in %s", a->authority, a->config);
    if (!stores)
        return usage_error("ticket",
                           "every authority in %s is remote: work with the tickets where they are kept",
                           a->config);
    return -1;
}

int cmd_ticket(int argc, char **argv)
{
    static const char *const verbs[] = {"issue", "list", "show", "revoke", "purge", NULL};
    struct ticket_arguments a = {0};
    const char *ticket = NULL;

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
    a.verb = (enum ticket_verb)verb;
    int status = parse(argc - 1, argv + 1, &a, &ticket);
    if (status >= 0)
        return status;
    struct settings *s = load_settings(a.config, false, false);
    if (s == NULL)
        return 1;
    status = check_authority(s, &a);
    if (status < 0)
        status = check_issue(&a);
    if (status < 0)
        status = check_wish(s, &a);
    if (status < 0)
        status = take_ticket(&a, ticket);
    if (status < 0)
        status = ticket_by_admin(s, &a);
    if (status < 0)
        status = ticket_by_store(s, &a);
    mem_wipe(&a.string, sizeof a.string);
    settings_free(s);
    return status;
}
