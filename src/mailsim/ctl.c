/* mailsim deliver, fault, device, status: what is done to a running mailsim, over its control listener. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "control.h"
#include "http/httpc.h"

#define CONTROL_DEFAULT "127.0.0.1:9081"
#define MESSAGE_MAX     (32 * 1024 * 1024)
#define ANSWER_MAX      (64 * 1024 * 1024)

const char ctl_help[] =
    "Usage: mailsim deliver [--control ADDRESS:PORT] --user NAME [--subject TEXT | --message FILE] [--count "
    "N]\n"
    "       mailsim fault   [--control ADDRESS:PORT] [list | clear | RULE...]\n"
    "       mailsim device  [--control ADDRESS:PORT] [list | ACTION --user NAME --device ID]\n"
    "       mailsim status  [--control ADDRESS:PORT]\n\n"
    "What is done to a mailsim that runs with --control (127.0.0.1:9081 unless told).\n\n"
    "  -c, --control ADDRESS    its control listener\n"
    "  -u, --user NAME          whose mailbox or device\n"
    "  -s, --subject TEXT       deliver: of the mail that arrives; without it one is made up\n"
    "  -m, --message FILE       deliver: a whole message (RFC 5322); - reads standard input\n"
    "  -n, --count N            deliver: so many of them (1)\n"
    "  -d, --device ID          device: which\n"
    "  -h, --help               this text\n\n"
    "RULE is COMMAND:WHAT[,OPTION]..., COMMAND as in the request (Ping, Sync, OPTIONS, ...) or *. WHAT is "
    "an\n"
    "HTTP status (451=URL goes elsewhere), delay=TIME, throttle, truncate, malformed, chunked, close or "
    "reset;\n"
    "options are percent=N, count=N, user=NAME and retry-after=SECONDS.\n"
    "ACTION is wipe, wipe-account, block, allow, new-policy or forget.\n";

struct ctl {
    const char *control, *user, *subject, *message, *device;
    unsigned long count;
    int exit_code;
};

bool ctl_is_command(const char *name)
{
    static const char *const names[] = {"deliver", "fault", "device", "status"};
    for (size_t i = 0; i < 4; i++) {
        if (strcmp(names[i], name) == 0)
            return true;
    }
    return false;
}

static int usage_error(const char *what, const char *value)
{
    fprintf(stderr, "mailsim: %s%s%s\nTry `mailsim deliver --help`.\n", what, value ? ": " : "",
            value ? value : "");
    return 2;
}

/* ---- asking ---- */

static void on_answer(void *owner, const struct httpc_answer *a)
{
    struct ctl *c = owner;
    c->exit_code = 1;
    if (a->result != HTTPC_OK) {
        fprintf(stderr, "mailsim: %s: no mailsim answers here (%s): is it run with --control?\n", c->control,
                a->detail != NULL ? a->detail : httpc_result_name(a->result));
        return;
    }
    if (a->status >= 200 && a->status < 300) {
        c->exit_code = 0;
        if (a->len > 0)
            printf("%.*s\n", (int)a->len, (const char *)a->body);
        return;
    }
    fprintf(stderr, "mailsim: %.*s", (int)a->len, (const char *)a->body);
}

/* One request; sets exit_code. */
static void ask(struct ctl *c, const char *method, const char *path, const void *body, size_t len)
{
    struct netloop loop;
    struct httpc_options o = {.connections_max = 1,
                              .queue_max = 1,
                              .connect_ms = 5000,
                              .answer_ms = 60000,
                              .keep_ms = 1000,
                              .deadline_list = 0,
                              .body_max = ANSWER_MAX};
    c->exit_code = 2;
    if (hostport_parse(&o.origin, c->control, strlen(c->control), 0, NULL) < 0) {
        usage_error("not an address and port", c->control);
        return;
    }
    if (netloop_init(&loop) < 0)
        return;
    struct httpc *client = httpc_new(&loop, &o);
    httpc_send(client, method, path, NULL, "text/plain", body, len, false, on_answer, c);
    c->exit_code = -1;
    while (c->exit_code == -1 && uv_run(&loop.uv, UV_RUN_ONCE) != 0)
        ;
    httpc_close(client, NULL, NULL);
    uv_run(&loop.uv, UV_RUN_DEFAULT);
    netloop_deinit(&loop);
}

static void append_escaped(struct buf *b, const char *name, const char *value)
{
    buf_printf(b, "%c%s=", strchr((const char *)b->data, '?') != NULL ? '&' : '?', name);
    for (const unsigned char *p = (const unsigned char *)value; *p != '\0'; p++)
        buf_printf(b, "%%%02X", *p);
    buf_append(b, "", 1);
    b->len--;
}

static void path_begin(struct buf *b, const char *path)
{
    buf_init(b, 65536);
    buf_append(b, path, strlen(path) + 1);
    b->len--;
}

/* ---- the commands ---- */

static uint8_t *read_message(const char *path, size_t *len)
{
    FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
    if (f == NULL) {
        fprintf(stderr, "mailsim: %s: %s\n", path, strerror(errno));
        return NULL;
    }
    uint8_t *data = mem_alloc(MESSAGE_MAX);
    *len = fread(data, 1, MESSAGE_MAX, f);
    bool whole = feof(f) != 0 && *len > 0;
    if (f != stdin)
        fclose(f);
    if (whole)
        return data;
    fprintf(stderr, "mailsim: %s: empty, unreadable, or larger than 32 MB\n", path);
    free(data);
    return NULL;
}

static int deliver(struct ctl *c)
{
    struct buf path;
    uint8_t *message = NULL;
    size_t len = 0;
    if (c->user == NULL)
        return usage_error("--user is missing", NULL);
    if (c->message != NULL && (message = read_message(c->message, &len)) == NULL)
        return 1;
    path_begin(&path, "/deliver");
    append_escaped(&path, "user", c->user);
    if (c->subject != NULL)
        append_escaped(&path, "subject", c->subject);
    for (unsigned long i = 0; i < c->count; i++) {
        ask(c, "POST", (const char *)path.data, message, len);
        if (c->exit_code != 0)
            break;
    }
    buf_deinit(&path);
    free(message);
    return c->exit_code;
}

static int fault(struct ctl *c, char **rules)
{
    if (rules[0] == NULL || strcmp(rules[0], "list") == 0) {
        ask(c, "GET", "/faults", NULL, 0);
    } else if (strcmp(rules[0], "clear") == 0) {
        ask(c, "DELETE", "/faults", NULL, 0);
    } else {
        for (; *rules != NULL; rules++) {
            ask(c, "POST", "/faults", *rules, strlen(*rules));
            if (c->exit_code != 0)
                break;
        }
    }
    return c->exit_code;
}

static int device(struct ctl *c, const char *action)
{
    struct buf path;
    if (action == NULL || strcmp(action, "list") == 0) {
        ask(c, "GET", "/devices", NULL, 0);
        return c->exit_code;
    }
    if (c->user == NULL || c->device == NULL)
        return usage_error("--user and --device say which", NULL);
    path_begin(&path, "/devices");
    append_escaped(&path, "user", c->user);
    append_escaped(&path, "device", c->device);
    append_escaped(&path, "do", action);
    ask(c, "POST", (const char *)path.data, NULL, 0);
    buf_deinit(&path);
    return c->exit_code;
}

int ctl_main(int argc, char **argv)
{
    static const struct option options[] = {
        {"control", required_argument, NULL, 'c'}, {"user", required_argument, NULL, 'u'},
        {"subject", required_argument, NULL, 's'}, {"message", required_argument, NULL, 'm'},
        {"count", required_argument, NULL, 'n'},   {"device", required_argument, NULL, 'd'},
        {"help", no_argument, NULL, 'h'},          {0},
    };
    struct ctl c = {.control = CONTROL_DEFAULT, .count = 1};
    int opt;
    char *end;
    opterr = 0;
    while ((opt = getopt_long(argc, argv, ":c:u:s:m:n:d:h", options, NULL)) != -1) {
        switch (opt) {
        case 'c':
            c.control = optarg;
            break;
        case 'u':
            c.user = optarg;
            break;
        case 's':
            c.subject = optarg;
            break;
        case 'm':
            c.message = optarg;
            break;
        case 'n':
            c.count = strtoul(optarg, &end, 10);
            if (*end != '\0' || c.count == 0 || c.count > 1000000)
                return usage_error("not a number of 1 to 1000000", optarg);
            break;
        case 'd':
            c.device = optarg;
            break;
        case 'h':
            fputs(ctl_help, stdout);
            return 0;
        default:
            return usage_error(opt == ':' ? "needs a value" : "unknown option", argv[optind - 1]);
        }
    }
    char **rest = argv + optind;
    if (strcmp(argv[0], "deliver") == 0)
        return *rest != NULL ? usage_error("unexpected argument", *rest) : deliver(&c);
    if (strcmp(argv[0], "fault") == 0)
        return fault(&c, rest);
    if (strcmp(argv[0], "device") == 0)
        return device(&c, *rest);
    if (*rest != NULL)
        return usage_error("unexpected argument", *rest);
    ask(&c, "GET", "/status", NULL, 0);
    return c.exit_code;
}
