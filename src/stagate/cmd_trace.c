/* stagate trace: the view. Follows conversations of the running gateway over its admin socket, or shows those
 * that were saved. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "admin_client.h"
#include "base/conf.h"
#include "base/mem.h"
#include "commands.h"
#include "gate/trace.h"
#include "trace_print.h"

static const char help[] =
    "Usage: stagate trace -c FILE [OPTION]...\n"
    "       stagate trace [--fields] FILE\n\n"
    "Shows conversations through the running gateway as they happen, decoded, until Ctrl-C; or what was "
    "saved\n"
    "in FILE (- is standard input). Requests and answers bear a number, times are UTC. Passwords, tickets "
    "and\n"
    "cookies are not shown. Of tunnels that the gateway cannot look into, it shows what TLS agreed on.\n\n"
    "  -c, --config FILE         the configuration\n"
    "  -d, --device DEVICE       only this device\n"
    "  -u, --user USER           only this user\n"
    "      --ticket FINGERPRINT  only what came with this ticket: the 12 hex digits that the log shows\n"
    "      --no-bodies           without bodies\n"
    "      --fields              with the header fields\n"
    "      --save FILE           write what comes to a new FILE, and show one line for each request\n"
    "  -h, --help                this text\n";

enum { OPT_TICKET = 1000, OPT_NO_BODIES, OPT_FIELDS, OPT_SAVE };

#define POLL_MS   200
#define LINES_MAX (64 * 1024 * 1024)

struct arguments {
    const char *config, *device, *user, *ticket, *save, *file;
    bool no_bodies, fields;
};

/* ---- a saved one ---- */

static bool wants_colour(void)
{
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
    return isatty(STDOUT_FILENO) && (no == NULL || no[0] == '\0') && term != NULL &&
           strcmp(term, "dumb") != 0;
}

static int show_lines(FILE *f, const char *name, struct trace_printer *p)
{
    char *line = NULL;
    size_t cap = 0, number = 0;
    ssize_t len;
    int rc = 0;
    while ((len = getline(&line, &cap, f)) > 0) {
        number++;
        if (line[len - 1] == '\n')
            len--;
        if (trace_printer_line(p, line, (size_t)len) < 0) {
            fprintf(stderr, "stagate: %s:%zu: this is no line of a saved trace\n", name, number);
            rc = 1;
        }
    }
    if (ferror(f)) {
        fprintf(stderr, "stagate: %s: %s\n", name, strerror(errno));
        rc = 1;
    }
    free(line);
    return rc;
}

static int show_file(const struct arguments *a)
{
    bool standard = strcmp(a->file, "-") == 0;
    FILE *f = standard ? stdin : fopen(a->file, "re");
    if (f == NULL) {
        fprintf(stderr, "stagate: %s: %s\n", a->file, strerror(errno));
        return 1;
    }
    const struct trace_print_options options = {
        .out = stdout, .colour = wants_colour(), .fields = a->fields, .bodies = true};
    struct trace_printer *p = trace_printer_new(&options);
    int rc = show_lines(f, standard ? "standard input" : a->file, p);
    trace_printer_end(p);
    if (!standard)
        fclose(f);
    return fflush(stdout) == 0 ? rc : 1;
}

/* ---- following ---- */

static volatile sig_atomic_t stopped;

static void on_signal(int signum)
{
    (void)signum;
    stopped = 1;
}

/* The first signal ends the view properly; a second one does not wait for a gateway that hangs. */
static void catch_signals(void)
{
    static const int signums[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction act = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    sigemptyset(&act.sa_mask);
    for (size_t i = 0; i < sizeof signums / sizeof signums[0]; i++)
        sigaction(signums[i], &act, NULL);
    signal(SIGPIPE, SIG_IGN); /* `| head` ends it properly, too: writing fails */
}

/* Until it is time, or a signal comes: they are let through in here only, so that none is slept over. */
static void wait_a_little(const sigset_t *before)
{
    const struct timespec time = {.tv_nsec = POLL_MS * 1000000L};
    ppoll(NULL, 0, &time, before);
}

struct follower {
    const struct settings *settings;
    struct trace_printer *printer;
    FILE *save; /* NULL: nowhere */
    const char *save_name;
    char path[128]; /* of the subscription on the admin socket */
};

static int take_lines(struct follower *f, const struct buf *lines)
{
    const char *at = (const char *)lines->data;
    size_t left = lines->len;
    if (f->save != NULL && left > 0 && (fwrite(at, 1, left, f->save) != left || fflush(f->save) != 0)) {
        fprintf(stderr, "stagate: %s: %s\n", f->save_name, strerror(errno));
        return 1;
    }
    while (left > 0) {
        const char *eol = memchr(at, '\n', left);
        size_t len = eol != NULL ? (size_t)(eol - at) : left, used = len + (eol != NULL);
        trace_printer_line(f->printer, at, len);
        at += used;
        left -= used;
    }
    return fflush(stdout) == 0 ? 0 : 1;
}

/* One round. 0, or what the command ends with. more: it was as much as is handed out at a time. */
static int poll_once(struct follower *f, bool *more)
{
    struct buf lines;
    int rc = 1;
    buf_init(&lines, LINES_MAX);
    enum admin_result r = admin_fetch(f->settings, f->path, &lines);
    if (r == ADMIN_ABSENT)
        fprintf(stderr, "stagate: no gateway answers on %s any more\n", f->settings->admin.socket);
    if (r == ADMIN_OK)
        rc = take_lines(f, &lines);
    *more = lines.len >= TRACE_READ_MAX;
    if (lines.len > 0)
        mem_wipe(lines.data, lines.len);
    buf_deinit(&lines);
    return rc;
}

static int follow(struct follower *f)
{
    sigset_t wanted, before;
    json_t *answer;
    bool more;
    int rc = 0;
    sigemptyset(&wanted);
    sigaddset(&wanted, SIGINT);
    sigaddset(&wanted, SIGTERM);
    sigaddset(&wanted, SIGHUP);
    while (rc == 0 && !stopped) {
        rc = poll_once(f, &more);
        sigprocmask(SIG_BLOCK, &wanted, &before);
        if (rc == 0 && !stopped && !more)
            wait_a_little(&before);
        sigprocmask(SIG_SETMASK, &before, NULL);
    }
    if (rc == 0)
        rc = poll_once(f, &more); /* what came meanwhile */
    admin_call(f->settings, "DELETE", f->path, NULL, &answer);
    json_decref(answer);
    return rc;
}

static FILE *create(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd >= 0)
        return fdopen(fd, "w");
    if (errno == EEXIST)
        fprintf(stderr, "stagate: %s is there already and stays as it is: remove it, or name another file\n",
                path);
    else
        fprintf(stderr, "stagate: %s: %s\n", path, strerror(errno));
    return NULL;
}

static void add_filter(json_t *body, const char *key, const char *value)
{
    if (value != NULL && json_object_set_new(body, key, json_string(value)) < 0)
        json_object_set_new(body, key, json_null()); /* no UTF-8: the gateway says what it takes */
}

static int subscribe(struct follower *f, const struct arguments *a)
{
    json_t *answer, *body = json_object();
    add_filter(body, "device", a->device);
    add_filter(body, "user", a->user);
    add_filter(body, "ticket", a->ticket);
    json_object_set_new(body, "bodies", json_boolean(!a->no_bodies));
    enum admin_result r = admin_demand(f->settings, "POST", "/v1/trace", body, &answer);
    const char *id = json_string_value(json_object_get(answer, "id"));
    snprintf(f->path, sizeof f->path, "/v1/trace/%s", id != NULL ? id : "");
    json_decref(body);
    json_decref(answer);
    return r == ADMIN_OK && id != NULL ? 0 : 1;
}

static int watch(const struct settings *s, const struct arguments *a)
{
    struct follower f = {.settings = s, .save_name = a->save};
    if (a->save != NULL && (f.save = create(a->save)) == NULL)
        return 1;
    catch_signals();
    int rc = subscribe(&f, a);
    if (rc == 0) {
        const struct trace_print_options options = {.out = stdout,
                                                    .colour = wants_colour(),
                                                    .summary = a->save != NULL,
                                                    .fields = a->fields,
                                                    .bodies = !a->no_bodies};
        f.printer = trace_printer_new(&options);
        fprintf(stderr, "stagate: watching, Ctrl-C ends\n");
        rc = follow(&f);
        trace_printer_end(f.printer);
        fflush(stdout);
    } else if (a->save != NULL) {
        unlink(a->save); /* nothing came */
    }
    if (f.save != NULL && fclose(f.save) != 0) {
        fprintf(stderr, "stagate: %s: %s\n", a->save, strerror(errno));
        rc = 1;
    }
    return rc;
}

/* ---- arguments ---- */

/* 0, or the exit status; -1: help was printed. */
static int read_arguments(int argc, char **argv, struct arguments *a)
{
    static const struct option options[] = {{"config", required_argument, NULL, 'c'},
                                            {"device", required_argument, NULL, 'd'},
                                            {"user", required_argument, NULL, 'u'},
                                            {"ticket", required_argument, NULL, OPT_TICKET},
                                            {"no-bodies", no_argument, NULL, OPT_NO_BODIES},
                                            {"fields", no_argument, NULL, OPT_FIELDS},
                                            {"save", required_argument, NULL, OPT_SAVE},
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    int opt;
    opterr = 0;
    optind = 1;
    while ((opt = getopt_long(argc, argv, ":c:d:u:h", options, NULL)) != -1) {
        switch (opt) {
        case 'c':
            a->config = optarg;
            break;
        case 'd':
            a->device = optarg;
            break;
        case 'u':
            a->user = optarg;
            break;
        case OPT_TICKET:
            a->ticket = optarg;
            break;
        case OPT_NO_BODIES:
            a->no_bodies = true;
            break;
        case OPT_FIELDS:
            a->fields = true;
            break;
        case OPT_SAVE:
            a->save = optarg;
            break;
        case 'h':
            fputs(help, stdout);
            return -1;
        default:
            return option_error("trace", opt, argv);
        }
    }
    a->file = argv[optind];
    if (a->file != NULL && argv[optind + 1] != NULL)
        return usage_error("trace", "unexpected argument \"%s\"", argv[optind + 1]);
    return 0;
}

static int check_arguments(const struct arguments *a)
{
    bool filtered = a->device != NULL || a->user != NULL || a->ticket != NULL;
    if (a->file != NULL && (a->config != NULL || filtered || a->save != NULL || a->no_bodies))
        return usage_error("trace", "a saved FILE is shown as it is: only --fields goes with it");
    if (a->file == NULL && a->config == NULL)
        return usage_error("trace", "-c FILE is missing, or a saved FILE to show");
    return 0;
}

int cmd_trace(int argc, char **argv)
{
    struct arguments a = {0};
    int rc = read_arguments(argc, argv, &a);
    if (rc == 0)
        rc = check_arguments(&a);
    if (rc != 0)
        return rc < 0 ? 0 : rc;
    if (a.file != NULL)
        return show_file(&a);
    struct settings *s = load_settings(a.config, false, false);
    if (s == NULL)
        return 1;
    rc = watch(s, &a);
    settings_free(s);
    return rc;
}
