/* mailsim: an ActiveSync server for the lab, in memory, with no set-up. */
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
#include "config.h"
#include "control.h"
#include "net/tlsctx.h"
#include "proto/hostport.h"
#include "server.h"
#include "users.h"

#define CONTROL_DEADLINE 10 /* a list of the loop's, and the one behind it */

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

static int usage_error(const char *what, const char *value)
{
    fprintf(stderr, "mailsim: %s: %s\nTry `mailsim --help`.\n", what, value);
    return 2;
}

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

static int make_context(struct mailsim *m, const struct config *a, const char *url)
{
    const struct tlsctx_options options = {.certificates = &a->certificate,
                                           .keys = &a->key,
                                           .count = 1,
                                           .floor = (uint16_t)(TLS1_VERSION + a->tls_floor)};
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
    SSL_CTX_set_max_proto_version(m->ctx, TLS1_VERSION + a->tls_ceiling);
    return -1;
}

/* Binds what a URL says and serves it. */
static int listen_on(struct mailsim *m, const struct config *a, const char *url, bool control)
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

/* Listeners and connections; the loop ends when they have. */
static void close_all(struct mailsim *m)
{
    if (m->control != NULL)
        control_close(m->control);
    if (m->server != NULL)
        server_close(m->server);
}

static void on_signal(uv_signal_t *s, int signum)
{
    struct mailsim *m = s->data;
    (void)signum;
    for (size_t i = 0; i < 2; i++)
        uv_close((uv_handle_t *)&m->signals[i], NULL);
    uv_close((uv_handle_t *)&m->arrivals, NULL);
    close_all(m);
}

static void on_woken(void *owner)
{
    struct mailsim *m = owner;
    server_on_woken(m->server);
}

/* Everything but listeners. An exit code, -1 to go on. */
static int set_up(struct mailsim *m, const struct config *a)
{
    char why[512];
    const char *mistake;
    m->faults = faults_new((uint64_t)a->seed);
    const char *const *rules = a->faults.items;
    for (size_t i = 0; i < a->faults.count; i++) {
        if (faults_add(m->faults, rules[i], &mistake) < 0) {
            fprintf(stderr, "mailsim: fault %s: %s\n", rules[i], mistake);
            return 2;
        }
    }
    if (a->users != NULL && (m->users = users_load(a->users, why, sizeof why)) == NULL) {
        fprintf(stderr, "mailsim: %s\n", why);
        return 1;
    }
    m->boxes = boxes_new(
        &(struct boxes_options){.mails = (uint32_t)a->mailbox,
                                .seed = (uint64_t)a->seed,
                                .newest_ms = a->newest_ms != 0 ? a->newest_ms : clock_wall_ms() - 3600000,
                                .on_woken = on_woken,
                                .owner = m});
    m->server = server_new(&(struct server_options){.loop = &m->loop,
                                                    .boxes = m->boxes,
                                                    .faults = m->faults,
                                                    .users = m->users,
                                                    .personality = personality_at((size_t)a->personality),
                                                    .policy = (enum policy)a->policy,
                                                    .sign_in_form = a->sign_in_form,
                                                    .syncml_only = a->syncml});
    return -1;
}

/* An exit code, -1 to go on. */
static int listen_all(struct mailsim *m, const struct config *c)
{
    const char *const *listen = c->listen.items;
    int status = -1;
    log_begin(&m->ready, c->quiet ? LOG_WARN : LOG_INFO, "ready");
    log_array_open(&m->ready, "listeners");
    for (size_t i = 0; status < 0 && i < c->listen.count; i++)
        status = listen_on(m, c, listen[i], false);
    log_array_close(&m->ready);
    if (status < 0 && c->control != NULL)
        status = listen_on(m, c, c->control, true);
    return status;
}

static void start(struct mailsim *m, const struct config *c)
{
    uv_timer_init(&m->loop.uv, &m->arrivals);
    m->arrivals.data = m;
    if (c->arrivals > 0)
        uv_timer_start(&m->arrivals, on_arrival, 60000 / (uint64_t)c->arrivals,
                       60000 / (uint64_t)c->arrivals);
    for (size_t i = 0; i < 2; i++) {
        uv_signal_init(&m->loop.uv, &m->signals[i]);
        m->signals[i].data = m;
        uv_signal_start(&m->signals[i], on_signal, i == 0 ? SIGTERM : SIGINT);
    }
    log_end(&m->ready);
}

int main(int argc, char **argv)
{
    static struct mailsim m;
    struct config c;
    struct conf *conf;
    if (argc > 1 && ctl_is_command(argv[1]))
        return ctl_main(argc - 1, argv + 1);
    int status = config_read(argc, argv, &c, &conf);
    if (status >= 0) {
        conf_free(conf);
        return status;
    }
    signal(SIGPIPE, SIG_IGN);
    log_setup((enum log_format)c.log, c.quiet ? LOG_WARN : LOG_INFO);
    netloop_init(&m.loop);
    status = set_up(&m, &c);
    if (status < 0)
        status = listen_all(&m, &c);
    if (status < 0)
        start(&m, &c);
    else
        close_all(&m);
    uv_run(&m.loop.uv, UV_RUN_DEFAULT);
    netloop_deinit(&m.loop);
    if (m.boxes != NULL)
        boxes_free(m.boxes);
    faults_free(m.faults);
    users_free(m.users);
    SSL_CTX_free(m.ctx);
    conf_free(conf);
    return status < 0 ? 0 : status;
}
