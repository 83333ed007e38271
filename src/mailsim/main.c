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
#include "net/tlsctx.h"
#include "proto/hostport.h"
#include "server.h"

#define LISTENERS_MAX 8

static const char help[] =
    "Usage: mailsim --listen http[s]://ADDRESS:PORT [OPTION]...\n\n"
    "An ActiveSync server for the lab: FolderSync, Sync of an inbox and Ping, in memory, any user, any\n"
    "password. The log goes to standard error; its \"ready\" event names every bound address.\n\n"
    "  -l, --listen URL         may be repeated; port 0 takes a free one\n"
    "      --certificate FILE   PEM, for https\n"
    "      --key FILE           PEM, for https\n"
    "      --tls-floor VERSION  lowest version for https: tls1.0, tls1.1, tls1.2 (default) or tls1.3\n"
    "      --mailbox N          mails in a new mailbox (20)\n"
    "      --seed N             of the generated mail (1)\n"
    "      --arrivals N         mails a minute into every mailbox in use (0)\n"
    "      --control URL        http://127.0.0.1:PORT that takes POST /deliver?user=U&subject=S\n"
    "      --log FORMAT         json, text, or auto: text on a terminal (default)\n"
    "  -V, --version            print versions and exit\n"
    "  -h, --help               this text\n";

enum {
    OPT_CERTIFICATE = 1000,
    OPT_KEY,
    OPT_FLOOR,
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
    uint16_t floor;
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
    while ((opt = getopt_long(argc, argv, ":l:hV", options, NULL)) != -1) {
        int status = take_option(opt, a, argv);
        if (status >= 0)
            return status;
    }
    if (optind < argc)
        return usage_error("unexpected argument", argv[optind]);
    if (a->listen_count == 0)
        return usage_error("--listen is missing", NULL);
    return -1;
}

struct mailsim {
    struct netloop loop;
    struct boxes *boxes;
    struct server *server;
    SSL_CTX *ctx;
    uv_signal_t signals[2];
    uv_timer_t arrivals;
    struct log_line ready;
};

/* Binds what a URL says and serves it. */
static int listen_on(struct mailsim *m, const struct arguments *a, const char *url, bool control)
{
    bool tls = strncmp(url, "https://", 8) == 0;
    const char *rest = url + (tls ? 8 : 7);
    struct hostport hp;
    struct sockaddr_storage sa;
    socklen_t len = sizeof sa;
    char text[ADDRESS_TEXT], why[512];
    int fd, bad;

    if (!tls && strncmp(url, "http://", 7) != 0)
        return usage_error("not an http:// or https:// address", url);
    /* port 0 stands for any free one, which no other host and port may have */
    size_t n = strlen(rest);
    bool any = n > 2 && strcmp(rest + n - 2, ":0") == 0;
    char *copy = mem_strdup(rest);
    if (any)
        copy[n - 1] = '1';
    int rc = hostport_parse(&hp, copy, n, 0, NULL);
    free(copy);
    if (any)
        hp.port = 0;
    if (rc < 0 || hostport_sockaddr(&hp, &sa) < 0)
        return usage_error("not an IP address and port", url);
    if (tls && m->ctx == NULL) {
        const struct tlsctx_options options = {
            .certificates = &a->certificate, .keys = &a->key, .count = 1, .floor = a->floor};
        if (a->certificate == NULL || a->key == NULL)
            return usage_error("https needs --certificate and --key", url);
        if (tlsctx_new_server(&m->ctx, &options, &bad, why, sizeof why) < 0) {
            fprintf(stderr, "mailsim: %s\n", why);
            return 1;
        }
    }
    rc = listener_bind((const struct sockaddr *)&sa, true, &fd);
    if (rc < 0 || getsockname(fd, (struct sockaddr *)&sa, &len) < 0) {
        fprintf(stderr, "mailsim: %s: %s\n", url, err_text(rc));
        return 1;
    }
    address_format(&sa, text);
    if (control)
        log_str(&m->ready, "control", text);
    else
        log_item(&m->ready, text);
    return server_listen(m->server, fd, tls ? m->ctx : NULL, control) < 0 ? 1 : -1;
}

static void arrive(struct box *box, void *owner)
{
    box_deliver(owner, box, NULL, NULL, NULL);
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
    server_close(m->server);
}

int main(int argc, char **argv)
{
    struct arguments a = {.floor = TLS1_2_VERSION, .mailbox = 20, .seed = 1, .format = LOG_AUTO};
    static struct mailsim m;
    int status = parse(argc, argv, &a);
    if (status >= 0)
        return status;

    signal(SIGPIPE, SIG_IGN);
    log_setup(a.format, LOG_INFO);
    netloop_init(&m.loop);
    m.boxes = boxes_new(a.mailbox, a.seed);
    m.server = server_new(&m.loop, m.boxes);
    log_begin(&m.ready, LOG_INFO, "ready");
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
    SSL_CTX_free(m.ctx);
    return 0;
}
