/* Options and the configuration file. */
#include "config.h"

#include <getopt.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "base/mem.h"
#include "command.h"

#define PERSONALITIES_MAX 32

static const char help[] =
    "Usage: mailsim --listen http[s]://ADDRESS:PORT [OPTION]...\n"
    "       mailsim deliver|fault|device|status ...   (see mailsim deliver --help)\n\n"
    "An ActiveSync server for the lab, in memory, with no set-up: any user, any password, mailboxes with\n"
    "generated mail. The log goes to standard error; its \"ready\" event names every bound address.\n\n"
    "  -c, --config FILE        YAML with the names below as keys (listen and fault are lists); options "
    "stand above it\n"
    "  -l, --listen URL         http://, https:// or ssl3:// (a server that speaks nothing newer than SSL "
    "3.0,\n"
    "                           as far as a client of today can tell); may be repeated; port 0 takes a free "
    "one\n"
    "      --certificate FILE   PEM, for https\n"
    "      --key FILE           PEM, for https\n"
    "      --tls-floor VERSION  lowest version for https: tls1.0, tls1.1, tls1.2 (default) or tls1.3\n"
    "      --tls-ceiling VERSION  highest version (tls1.3)\n"
    "  -p, --personality NAME   which server to be (exchange-2016); \"list\" shows them\n"
    "      --policy WHAT        device policies: offered (default) to who asks, required of all, or none\n"
    "      --users FILE         who may sign in: names and hashes as htpasswd(1) writes them\n"
    "      --mailbox N          mails in a new mailbox (20)\n"
    "      --seed N             of the generated mail (1)\n"
    "      --newest TIME        when the newest generated mail came, 2026-01-31T12:00:00Z (an hour ago)\n"
    "      --arrivals N         mails a minute into every mailbox in use (0)\n"
    "      --sign-in-form       Traveler: a form in place of 401, as without \"override session "
    "authentication\"\n"
    "      --syncml             Traveler with SyncML as primary: ActiveSync is refused\n"
    "      --fault RULE         misbehaves from the start (see mailsim deliver --help); may be repeated\n"
    "      --control URL        http://127.0.0.1:PORT for `mailsim deliver` and its kin; loopback only\n"
    "  -q, --quiet              no line for each request\n"
    "      --log FORMAT         json, text, or auto: text on a terminal (default)\n"
    "  -V, --version            print versions and exit\n"
    "  -h, --help               this text\n";

static const char *const tls_names[] = {"tls1.0", "tls1.1", "tls1.2", "tls1.3", NULL};
static const char *const policy_names[] = {
    [POLICY_OFFERED] = "offered", [POLICY_REQUIRED] = "required", [POLICY_NONE] = "none", NULL};
static const char *const log_names[] = {[LOG_AUTO] = "auto", [LOG_JSON] = "json", [LOG_TEXT] = "text", NULL};
static const char *personality_names[PERSONALITIES_MAX + 1]; /* filled before anything is read */

#define AT(field) offsetof(struct config, field)

/* Names are those of the options; `faults` is many --fault. */
static const struct conf_key keys[] = {
    {"listen", CONF_STRING, AT(listen), .flags = CONF_LIST},
    {"certificate", CONF_PATH, AT(certificate), .help = "PEM, for https"},
    {"key", CONF_PATH, AT(key), .help = "PEM, for https"},
    {"tls-floor", CONF_ENUM, AT(tls_floor), .names = tls_names, .def = "tls1.2"},
    {"tls-ceiling", CONF_ENUM, AT(tls_ceiling), .names = tls_names, .def = "tls1.3"},
    {"personality", CONF_ENUM, AT(personality), .names = personality_names, .def = "exchange-2016"},
    {"policy", CONF_ENUM, AT(policy), .names = policy_names, .def = "offered"},
    {"users", CONF_PATH, AT(users), .help = "who may sign in"},
    {"mailbox", CONF_INT, AT(mailbox), .max = 1000000, .def = "20"},
    {"seed", CONF_INT, AT(seed), .max = 999999999, .def = "1"},
    {"newest", CONF_STRING, AT(newest), .help = "when the newest generated mail came"},
    {"arrivals", CONF_INT, AT(arrivals), .max = 60000, .def = "0"},
    {"sign-in-form", CONF_BOOL, AT(sign_in_form), .help = "Traveler: a form in place of 401"},
    {"syncml", CONF_BOOL, AT(syncml), .help = "Traveler: ActiveSync is refused"},
    {"fault", CONF_STRING, AT(faults), .flags = CONF_LIST},
    {"control", CONF_STRING, AT(control), .help = "http:// on a loopback address"},
    {"quiet", CONF_BOOL, AT(quiet), .help = "no line for each request"},
    {"log", CONF_ENUM, AT(log), .names = log_names, .def = "auto"},
    {0},
};
static const struct conf_section section = {"mailsim", sizeof(struct config), keys};

static int usage_error(const char *what, const char *value)
{
    fprintf(stderr, "mailsim: %s%s%s\nTry `mailsim --help`.\n", what, value ? ": " : "", value ? value : "");
    return 2;
}

static void name_personalities(void)
{
    const struct personality *p;
    for (size_t i = 0; i < PERSONALITIES_MAX && (p = personality_at(i)) != NULL; i++)
        personality_names[i] = p->name;
}

static int list_personalities(void)
{
    const struct personality *p;
    for (size_t i = 0; (p = personality_at(i)) != NULL; i++)
        printf("%-18s %-36s %s\n", p->name, p->title, p->versions);
    return 0;
}

/* ---- options ---- */

static int take_value(struct conf *conf, const struct conf_key *k, const char *value, struct config *c)
{
    char *why = NULL;
    if (conf_option(conf, k, value, c, &why) == 0)
        return -1;
    fprintf(stderr, "mailsim: --%s: %s\nTry `mailsim --help`.\n", k->name, why);
    free(why);
    return 2;
}

enum { OPT_VALUE = 1000 /* and the key's number */, OPT_VERSION = 2000 };

static int take_option(int opt, int key, struct conf *conf, struct config *c, char **argv)
{
    switch (opt) {
    case ':':
        return usage_error("needs a value", argv[optind - 1]);
    case '?':
        return usage_error("unknown option", argv[optind - 1]);
    case 'h':
        fputs(help, stdout);
        return 0;
    case 'V':
        printf("mailsim %s\n", STAGATE_VERSION);
        return 0;
    default:
        break;
    }
    if (keys[key].offset == AT(personality) && strcmp(optarg, "list") == 0)
        return list_personalities();
    return take_value(conf, &keys[key], optarg, c);
}

static int key_of(const char *name)
{
    int i = 0;
    while (strcmp(keys[i].name, name) != 0)
        i++;
    return i;
}

#define KEYS (sizeof keys / sizeof keys[0] - 1)

/* -c is looked for first: what other options say stands above the file. */
static int read_options(int argc, char **argv, struct conf *conf, struct config *c, const char **file)
{
    struct option options[KEYS + 4] = {{0}};
    int opt, status = -1;
    for (size_t i = 0; i < KEYS; i++)
        options[i] =
            (struct option){keys[i].name, keys[i].type == CONF_BOOL ? no_argument : required_argument, NULL,
                            OPT_VALUE + (int)i};
    options[KEYS] = (struct option){"config", required_argument, NULL, 'c'};
    options[KEYS + 1] = (struct option){"version", no_argument, NULL, 'V'};
    options[KEYS + 2] = (struct option){"help", no_argument, NULL, 'h'};
    optind = 1;
    opterr = 0;
    while (status < 0 && (opt = getopt_long(argc, argv, ":c:l:p:qhV", options, NULL)) != -1) {
        int key = opt == 'l'   ? key_of("listen")
                  : opt == 'p' ? key_of("personality")
                  : opt == 'q' ? key_of("quiet")
                               : opt - OPT_VALUE;
        if (opt == 'c')
            *file = optarg;
        else
            status = take_option(opt, key, conf, c, argv);
    }
    if (status < 0 && optind < argc)
        status = usage_error("unexpected argument", argv[optind]);
    return status;
}

/* ---- both ---- */

static int check(struct config *c)
{
    struct tm tm = {0};
    const char *end = c->newest != NULL ? strptime(c->newest, "%Y-%m-%dT%H:%M:%SZ", &tm) : NULL;
    if (c->newest != NULL && (end == NULL || *end != '\0'))
        return usage_error("--newest is not a time like 2026-01-31T12:00:00Z", c->newest);
    c->newest_ms = c->newest != NULL ? 1000LL * timegm(&tm) : 0;
    if (c->listen.count == 0)
        return usage_error("--listen is missing", NULL);
    if (c->tls_floor > c->tls_ceiling)
        return usage_error("--tls-floor is above --tls-ceiling", tls_names[c->tls_floor]);
    if ((c->sign_in_form || c->syncml) && !personality_at((size_t)c->personality)->traveler)
        return usage_error("--sign-in-form and --syncml are Traveler's: they need --personality traveler-...",
                           NULL);
    return -1;
}

int config_read(int argc, char **argv, struct config *out, struct conf **conf)
{
    const char *file = NULL, *none = NULL;
    *conf = NULL;
    name_personalities();
    /* defaults, and whether the options are good and where the file is */
    *conf = conf_read_text("", "{}", 2, &section, out);
    int status = read_options(argc, argv, *conf, out, &file);
    if (status < 0 && file != NULL) {
        conf_free(*conf);
        *conf = conf_read(file, &section, out);
        if (conf_print(*conf, stderr) > 0)
            return 2;
        status = read_options(argc, argv, *conf, out, &none);
    }
    return status < 0 ? check(out) : status;
}
