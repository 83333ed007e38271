/* mailsim: an ActiveSync server for the lab, in memory, with no set-up. */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "box.h"
#include "control.h"
#include "net/tlsctx.h"
#include "proto/hostport.h"
#include "server.h"
#include "users.h"

#define LISTENERS_MAX    8
#define CONTROL_DEADLINE 10 /* a list of the loop's, and the one behind it */

#define FAULTS_MAX 20

static const char help[] =
    "Usage: mailsim --listen http[s]://ADDRESS:PORT [OPTION]...\n"
    "       mailsim deliver|fault|device|status ...   (see mailsim deliver --help)\n\n"
    "An ActiveSync server for the lab, in memory, with no set-up: any user, any password, mailboxes with\n"
    "generated mail. The log goes to standard error; its \"ready\" event names every bound address.\n\n"
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

enum {
    OPT_CERTIFICATE = 1000,
    OPT_KEY,
    OPT_FLOOR,
    OPT_CEILING,
    OPT_POLICY,
    OPT_USERS,
    OPT_NEWEST,
    OPT_FORM,
    OPT_SYNCML,
    OPT_FAULT,
    OPT_MAILBOX,
    OPT_SEED,
    OPT_ARRIVALS,
    OPT_CONTROL,
    OPT_LOG
};

struct arguments {
    const char *listen[LISTENERS_MAX];
    size_t listen_count;
    const char *control;
    const char *certificate;
    const char *key;
    uint16_t floor, ceiling;
    const struct personality *personality;
    enum policy policy;
    const char *users;
    const char *faults[FAULTS_MAX];
    size_t fault_count;
    int64_t newest_ms; /* 0: an hour ago */
    bool sign_in_form, syncml, quiet;
    unsigned long mailbox, seed, arrivals;
    enum log_format format;
};

static int usage_error(const char *what, const char *value)
{
    fprintf(stderr, "mailsim: %s%s%s\nTry `mailsim --help`.\n", what, value ? ": " : "", value ? value : "");
    return 2;
}

static int parse_number(const char *text, unsigned long max, unsigned long *out)
{
    if (*text == '\0' || strlen(text) > 9 || strspn(text, "0123456789") != strlen(text) ||
        strtoul(text, NULL, 10) > max)
        return usage_error("not a number in range", text);
    *out = strtoul(text, NULL, 10);
    return -1;
}

static int parse_floor(const char *text, uint16_t *out)
{
    static const char *const names[] = {"tls1.0", "tls1.1", "tls1.2", "tls1.3"};
    for (size_t i = 0; i < 4; i++) {
        if (strcmp(text, names[i]) == 0) {
            *out = (uint16_t)(TLS1_VERSION + i);
            return -1;
        }
    }
    return usage_error("not a TLS version", text);
}

static int parse_policy(const char *text, enum policy *out)
{
    static const char *const names[] = {"offered", "required", "none"};
    for (int i = 0; i < 3; i++) {
        if (strcmp(text, names[i]) == 0) {
            *out = (enum policy)i;
            return -1;
        }
    }
    return usage_error("not a policy (offered, required or none)", text);
}

static int parse_personality(const char *text, const struct personality **out)
{
    const struct personality *p;
    *out = personality_find(text);
    if (*out != NULL)
        return -1;
    if (strcmp(text, "list") != 0)
        return usage_error("no such personality (--personality list shows them)", text);
    for (size_t i = 0; (p = personality_at(i)) != NULL; i++)
        printf("%-18s %-36s %s\n", p->name, p->title, p->versions);
    return 0;
}

static int parse_time(const char *text, int64_t *out)
{
    struct tm tm = {0};
    const char *end = strptime(text, "%Y-%m-%dT%H:%M:%SZ", &tm);
    if (end == NULL || *end != '\0')
        return usage_error("not a time like 2026-01-31T12:00:00Z", text);
    *out = 1000LL * timegm(&tm);
    return -1;
}

static int parse_format(const char *text, enum log_format *out)
{
    static const char *const names[] = {"auto", "json", "text"};
    for (int i = 0; i < 3; i++) {
        if (strcmp(text, names[i]) == 0) {
            *out = (enum log_format)i;
            return -1;
        }
    }
    return usage_error("not a log format", text);
}

static int take_option(int opt, struct arguments *a, char **argv)
{
    switch (opt) {
    case 'l':
        if (a->listen_count == LISTENERS_MAX)
            return usage_error("too many listeners", NULL);
        a->listen[a->listen_count++] = optarg;
        return -1;
    case OPT_CERTIFICATE:
        a->certificate = optarg;
        return -1;
    case OPT_KEY:
        a->key = optarg;
        return -1;
    case OPT_FLOOR:
        return parse_floor(optarg, &a->floor);
    case OPT_CEILING:
        return parse_floor(optarg, &a->ceiling);
    case 'p':
        return parse_personality(optarg, &a->personality);
    case OPT_POLICY:
        return parse_policy(optarg, &a->policy);
    case OPT_USERS:
        a->users = optarg;
        return -1;
    case OPT_NEWEST:
        return parse_time(optarg, &a->newest_ms);
    case OPT_FORM:
        a->sign_in_form = true;
        return -1;
    case OPT_SYNCML:
        a->syncml = true;
        return -1;
    case OPT_FAULT:
        if (a->fault_count == FAULTS_MAX)
            return usage_error("too many faults", NULL);
        a->faults[a->fault_count++] = optarg;
        return -1;
    case 'q':
        a->quiet = true;
        return -1;
    case OPT_MAILBOX:
        return parse_number(optarg, 1000000, &a->mailbox);
    case OPT_SEED:
        return parse_number(optarg, 999999999, &a->seed);
    case OPT_ARRIVALS:
        return parse_number(optarg, 60000, &a->arrivals);
    case OPT_CONTROL:
        a->control = optarg;
        return -1;
    case OPT_LOG:
        return parse_format(optarg, &a->format);
    case 'h':
        fputs(help, stdout);
        return 0;
    case 'V':
        printf("mailsim %s\n", STAGATE_VERSION);
        return 0;
    case ':':
        return usage_error("needs a value", argv[optind - 1]);
    default:
        return usage_error("unknown option", argv[optind - 1]);
    }
}

static int parse(int argc, char **argv, struct arguments *a)
{
    static const struct option options[] = {
        {"listen", required_argument, NULL, 'l'},
        {"certificate", required_argument, NULL, OPT_CERTIFICATE},
        {"key", required_argument, NULL, OPT_KEY},
        {"tls-floor", required_argument, NULL, OPT_FLOOR},
        {"tls-ceiling", required_argument, NULL, OPT_CEILING},
        {"personality", required_argument, NULL, 'p'},
        {"policy", required_argument, NULL, OPT_POLICY},
        {"users", required_argument, NULL, OPT_USERS},
        {"newest", required_argument, NULL, OPT_NEWEST},
        {"sign-in-form", no_argument, NULL, OPT_FORM},
        {"syncml", no_argument, NULL, OPT_SYNCML},
        {"fault", required_argument, NULL, OPT_FAULT},
        {"quiet", no_argument, NULL, 'q'},
        {"mailbox", required_argument, NULL, OPT_MAILBOX},
        {"seed", required_argument, NULL, OPT_SEED},
        {"arrivals", required_argument, NULL, OPT_ARRIVALS},
        {"control", required_argument, NULL, OPT_CONTROL},
        {"log", required_argument, NULL, OPT_LOG},
        {"version", no_argument, NULL, 'V'},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    int opt;
    opterr = 0;
    while ((opt = getopt_long(argc, argv, ":l:p:qhV", options, NULL)) != -1) {
        int status = take_option(opt, a, argv);
        if (status >= 0)
            return status;
    }
    if (optind < argc)
        return usage_error("unexpected argument", argv[optind]);
    if (a->listen_count == 0)
        return usage_error("--listen is missing", NULL);
    if ((a->sign_in_form || a->syncml) && !a->personality->traveler)
        return usage_error("--sign-in-form and --syncml are Traveler's: they need --personality traveler-...",
                           NULL);
    return -1;
}

struct mailsim {
    struct netloop loop;
    struct boxes *boxes;
    struct server *server;
    struct faults *faults;
    struct users *users;
    struct control *control;
    SSL_CTX *ctx;
    uv_signal_t signals[2];
    uv_timer_t arrivals;
    struct log_line ready;
};

/* "https://127.0.0.1:9443" into kind and address; port 0 stands for any free one. */
static int parse_url(const char *url, enum listener_kind *kind, struct sockaddr_storage *sa)
{
    static const char *const schemes[] = {
        [LISTENER_PLAIN] = "http://", [LISTENER_TLS] = "https://", [LISTENER_SSL3] = "ssl3://"};
    struct hostport hp;
    *kind = LISTENER_PLAIN;
    while (*kind <= LISTENER_SSL3 && strncmp(url, schemes[*kind], strlen(schemes[*kind])) != 0)
        (*kind)++;
    if (*kind > LISTENER_SSL3)
        return usage_error("not an http://, https:// or ssl3:// address", url);
    const char *rest = url + strlen(schemes[*kind]);
    size_t n = strlen(rest);
    bool any = n > 2 && strcmp(rest + n - 2, ":0") == 0;
    char *copy = mem_strdup(rest);
    if (any)
        copy[n - 1] = '1'; /* which no other host and port may have */
    int rc = hostport_parse(&hp, copy, n, 0, NULL);
    free(copy);
    if (any)
        hp.port = 0;
    if (rc < 0 || hostport_sockaddr(&hp, sa) < 0)
        return usage_error("not an IP address and port", url);
    return -1;
}

static bool is_loopback(const struct sockaddr_storage *sa)
{
    if (sa->ss_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)sa)->sin_addr.s_addr) >> 24 == 127;
    return IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)sa)->sin6_addr);
}

static int make_context(struct mailsim *m, const struct arguments *a, const char *url)
{
    const struct tlsctx_options options = {
        .certificates = &a->certificate, .keys = &a->key, .count = 1, .floor = a->floor};
    char why[512];
    int bad;
    if (m->ctx != NULL)
        return -1;
    if (a->certificate == NULL || a->key == NULL)
        return usage_error("https needs --certificate and --key", url);
    if (tlsctx_new_server(&m->ctx, &options, &bad, why, sizeof why) < 0) {
        fprintf(stderr, "mailsim: %s\n", why);
        return 1;
    }
    SSL_CTX_set_max_proto_version(m->ctx, a->ceiling);
    return -1;
}

/* Binds what a URL says and serves it. */
static int listen_on(struct mailsim *m, const struct arguments *a, const char *url, bool control)
{
    enum listener_kind kind;
    struct sockaddr_storage sa;
    socklen_t len = sizeof sa;
    char text[ADDRESS_TEXT];
    int fd, status = parse_url(url, &kind, &sa);
    if (status < 0 && control && (kind != LISTENER_PLAIN || !is_loopback(&sa)))
        status = usage_error("--control is http:// on a loopback address: it asks nobody who he is", url);
    if (status < 0 && kind == LISTENER_TLS)
        status = make_context(m, a, url);
    if (status >= 0)
        return status;
    int rc = listener_bind((const struct sockaddr *)&sa, true, &fd);
    if (rc < 0 || getsockname(fd, (struct sockaddr *)&sa, &len) < 0) {
        fprintf(stderr, "mailsim: %s: %s\n", url, err_text(rc));
        return 1;
    }
    address_format(&sa, text);
    if (!control) {
        log_item(&m->ready, text);
        return server_listen(m->server, fd, kind, m->ctx) < 0 ? 1 : -1;
    }
    log_str(&m->ready, "control", text);
    m->control = control_new(fd, &(struct control_options){.loop = &m->loop,
                                                           .boxes = m->boxes,
                                                           .faults = m->faults,
                                                           .server = m->server,
                                                           .deadline_list = CONTROL_DEADLINE});
    return -1;
}

static void arrive(struct box *box, void *owner)
{
    box_deliver(owner, box, NULL);
}

static void on_arrival(uv_timer_t *t)
{
    struct mailsim *m = t->data;
    boxes_each(m->boxes, arrive, m->boxes);
}

static void on_signal(uv_signal_t *s, int signum)
{
    struct mailsim *m = s->data;
    (void)signum;
    for (size_t i = 0; i < 2; i++)
        uv_close((uv_handle_t *)&m->signals[i], NULL);
    uv_close((uv_handle_t *)&m->arrivals, NULL);
    if (m->control != NULL)
        control_close(m->control);
    server_close(m->server);
}

static void on_woken(void *owner)
{
    struct mailsim *m = owner;
    server_on_woken(m->server);
}

/* Everything but listeners. An exit code, -1 to go on. */
static int set_up(struct mailsim *m, const struct arguments *a)
{
    char why[512];
    const char *mistake;
    m->faults = faults_new(a->seed);
    for (size_t i = 0; i < a->fault_count; i++) {
        if (faults_add(m->faults, a->faults[i], &mistake) < 0) {
            fprintf(stderr, "mailsim: --fault %s: %s\n", a->faults[i], mistake);
            return 2;
        }
    }
    if (a->users != NULL && (m->users = users_load(a->users, why, sizeof why)) == NULL) {
        fprintf(stderr, "mailsim: %s\n", why);
        return 1;
    }
    m->boxes = boxes_new(
        &(struct boxes_options){.mails = (uint32_t)a->mailbox,
                                .seed = a->seed,
                                .newest_ms = a->newest_ms != 0 ? a->newest_ms : clock_wall_ms() - 3600000,
                                .on_woken = on_woken,
                                .owner = m});
    m->server = server_new(&(struct server_options){.loop = &m->loop,
                                                    .boxes = m->boxes,
                                                    .faults = m->faults,
                                                    .users = m->users,
                                                    .personality = a->personality,
                                                    .policy = a->policy,
                                                    .sign_in_form = a->sign_in_form,
                                                    .syncml_only = a->syncml});
    return -1;
}

int main(int argc, char **argv)
{
    struct arguments a = {
        .floor = TLS1_2_VERSION, .ceiling = TLS1_3_VERSION, .mailbox = 20, .seed = 1, .format = LOG_AUTO};
    static struct mailsim m;
    if (argc > 1 && ctl_is_command(argv[1]))
        return ctl_main(argc - 1, argv + 1);
    a.personality = personality_find("exchange-2016");
    int status = parse(argc, argv, &a);
    if (status >= 0)
        return status;

    signal(SIGPIPE, SIG_IGN);
    log_setup(a.format, a.quiet ? LOG_WARN : LOG_INFO);
    netloop_init(&m.loop);
    status = set_up(&m, &a);
    if (status >= 0)
        return status;
    log_begin(&m.ready, a.quiet ? LOG_WARN : LOG_INFO, "ready");
    log_array_open(&m.ready, "listeners");
    for (size_t i = 0; status < 0 && i < a.listen_count; i++)
        status = listen_on(&m, &a, a.listen[i], false);
    log_array_close(&m.ready);
    if (status < 0 && a.control != NULL)
        status = listen_on(&m, &a, a.control, true);
    if (status >= 0)
        return status;

    uv_timer_init(&m.loop.uv, &m.arrivals);
    m.arrivals.data = &m;
    if (a.arrivals > 0)
        uv_timer_start(&m.arrivals, on_arrival, 60000 / a.arrivals, 60000 / a.arrivals);
    for (size_t i = 0; i < 2; i++) {
        uv_signal_init(&m.loop.uv, &m.signals[i]);
        m.signals[i].data = &m;
        uv_signal_start(&m.signals[i], on_signal, i == 0 ? SIGTERM : SIGINT);
    }
    log_end(&m.ready);
    uv_run(&m.loop.uv, UV_RUN_DEFAULT);
    netloop_deinit(&m.loop);
    boxes_free(m.boxes);
    faults_free(m.faults);
    users_free(m.users);
    SSL_CTX_free(m.ctx);
    return 0;
}
