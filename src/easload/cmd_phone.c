/* easload phone: one device, step by step, for people to read. */
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/visible.h"
#include "commands.h"
#include "proto/eas.h"
#include "proto/wbxml_xml.h"
#include "settings.h"
#include "setup.h"

enum { LIST_TICKETS = 0, LIST_WORLD = 2 };
enum {
    EXIT_NO_TICKET = 10,
    EXIT_NO_CONNECTION = 11,
    EXIT_NO_TUNNEL = 12,
    EXIT_NO_INNER_TLS = 13,
    EXIT_STEP = 20
};

static struct {
    struct netloop loop;
    struct settings settings;
    struct setup setup;
    struct phone_world world;
    struct phone phone;
    uv_signal_t interrupt;
    size_t next;         /* of the steps */
    int status;          /* exit code so far */
    bool opened;         /* the connection of the present step is there */
    uint64_t started_ns; /* when the present step was begun */
    bool over;
    bool colour;
} me;

static const char *paint(const char *code)
{
    return me.colour ? code : "";
}
#define RED   paint("\033[31m")
#define GREEN paint("\033[32m")
#define DIM   paint("\033[2m")
#define PLAIN paint("\033[0m")

static void line(const char *what, const char *outcome, bool good, uint64_t us, const char *more)
{
    if (me.settings.quiet && good)
        return;
    printf("%-11s %s%-24s%s %8.1f ms  %s\n", what, good ? GREEN : RED, outcome, PLAIN, (double)us / 1000,
           more);
    fflush(stdout);
}

/* ---- headers and documents ---- */

static bool is_secret(const char *name, size_t len)
{
    static const char *const names[] = {"Authorization", "X-STA-Ticket", "Cookie", "Set-Cookie"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strlen(names[i]) == len && strncasecmp(names[i], name, len) == 0)
            return true;
    return false;
}

static void show_field(char way, const char *name, size_t name_len, const char *value, size_t len)
{
    bool hide = is_secret(name, name_len);
    struct buf text;
    buf_init(&text, 65536);
    visible_append(&text, hide ? "(hidden)" : value, hide ? 8 : len, false);
    printf("%s%c %.*s: %.*s%s\n", DIM, way, (int)name_len, name, (int)text.len,
           text.len > 0 ? (const char *)text.data : "", PLAIN);
    buf_deinit(&text);
}

static void show_request_head(const char *head, size_t len)
{
    const char *end = head + len;
    bool first = true;
    for (const char *p = head; p < end;) {
        const char *stop = memmem(p, (size_t)(end - p), "\r\n", 2);
        if (stop == NULL || stop == p)
            break;
        const char *colon = memchr(p, ':', (size_t)(stop - p));
        if (first || colon == NULL)
            printf("%s> %.*s%s\n", DIM, (int)(stop - p), p, PLAIN);
        else
            show_field('>', p, (size_t)(colon - p), colon + 2, (size_t)(stop - colon - 2));
        first = false;
        p = stop + 2;
    }
}

static void show_document(char way, const char *type, const uint8_t *data, size_t len)
{
    struct buf b;
    char indent[] = "> ";
    indent[0] = way;
    if (len == 0)
        return;
    buf_init(&b, 16 * 1024 * 1024);
    if (type != NULL && strncmp(type, "application/vnd.ms-sync", 23) == 0) {
        wbxml_to_xml(&b, data, len, indent);
        printf("%s%.*s%s", DIM, (int)b.len, b.data != NULL ? (const char *)b.data : "", PLAIN);
    } else {
        printf("%s%c (%zu bytes of %s)%s\n", DIM, way, len, type != NULL ? type : "something", PLAIN);
    }
    buf_deinit(&b);
}

static void on_request(struct phone *p, const struct device_request *r, const char *head, size_t head_len,
                       const uint8_t *body, size_t len)
{
    (void)p;
    if (me.settings.headers)
        show_request_head(head, head_len);
    if (me.settings.xml)
        show_document('>', r->type, body, len);
    if (r->heartbeat_s != 0 && !me.settings.quiet && isatty(STDOUT_FILENO)) {
        printf("%sPing: waiting for changes, %u s at most ...%s\n", DIM, r->heartbeat_s, PLAIN);
        fflush(stdout);
    }
}

static void on_head(struct phone *p, const struct http_head *h)
{
    (void)p;
    if (!me.settings.headers)
        return;
    printf("%s< HTTP/1.%u %u %s%s\n", DIM, h->minor, h->status, http_status_text(h->status), PLAIN);
    for (size_t i = 0; i < h->field_count; i++)
        show_field('<', h->fields[i].name, strlen(h->fields[i].name), h->fields[i].value,
                   strlen(h->fields[i].value));
}

/* ---- steps ---- */

static void on_ticket(struct phone *p, const struct failure *why, uint64_t us)
{
    (void)p;
    line("sign-in", why != NULL ? why->kind : "ticket", why == NULL, us, why != NULL ? why->detail : "");
}

static void on_opened(struct phone *p, const struct channel_times *t)
{
    char text[256];
    int n = 0;
    const struct channel *c = &p->channel;
    me.opened = true;
    n += snprintf(text + n, sizeof text - (size_t)n, "TCP %.1f", (double)t->tcp_us / 1000);
    if (t->tls_us != 0)
        n += snprintf(text + n, sizeof text - (size_t)n, ", TLS %.1f (%s%s)", (double)t->tls_us / 1000,
                      SSL_get_version(c->stream.tls.ssl), c->outer_resumed ? ", resumed" : "");
    if (t->tunnel_us != 0)
        n += snprintf(text + n, sizeof text - (size_t)n, ", tunnel %.1f", (double)t->tunnel_us / 1000);
    if (t->inner_us != 0)
        snprintf(text + n, sizeof text - (size_t)n, ", inner TLS %.1f (%s%s)", (double)t->inner_us / 1000,
                 SSL_get_version(c->inner.ssl), c->inner_resumed ? ", resumed" : "");
    line("connect", "open", true, t->tcp_us + t->tls_us + t->tunnel_us + t->inner_us, text);
}

static const char *noteworthy(const struct phone *p, const struct device_request *r,
                              const struct device_answer *a)
{
    static char text[256];
    const struct device *d = &p->device;
    char version[8];
    text[0] = '\0';
    if (r->verb == VERB_OPTIONS && a->versions != NULL) {
        eas_version_format(device_version(d), version);
        struct buf offer;
        buf_init(&offer, 65536);
        visible_append(&offer, a->versions, strnlen(a->versions, 180), false);
        snprintf(text, sizeof text, "offers %.*s; the phone takes %s", (int)offer.len,
                 (const char *)offer.data, version);
        buf_deinit(&offer);
    } else if (r->verb == VERB_FOLDER_SYNC) {
        snprintf(text, sizeof text, "%u of the phone's folders", d->folder_count);
    } else if (r->verb == VERB_SYNC) {
        snprintf(text, sizeof text, "%u items so far, %zu bytes", (unsigned)d->items, a->len);
    } else if (r->verb == VERB_PING) {
        strcpy(text, p->device.stage != 0 ? "changes" : "no changes");
    } else if (r->verb == VERB_PROVISION) {
        strcpy(text, d->policy_key[0] != '\0' ? "policy kept" : "the server has no policy");
    } else if (r->verb == VERB_FETCH) {
        snprintf(text, sizeof text, "%zu bytes", a->len);
    }
    return text;
}

static void on_exchange(struct phone *p, const struct device_request *r, const struct device_answer *a,
                        uint64_t us, const struct failure *why)
{
    char outcome[64] = "ok";
    if (a != NULL && me.settings.xml)
        show_document('<', a->type, a->body, a->len);
    if (why != NULL)
        snprintf(outcome, sizeof outcome, "%s", why->kind);
    else if (a != NULL)
        snprintf(outcome, sizeof outcome, "HTTP %u", a->status);
    line(verb_names[r->verb], outcome, why == NULL, us, why != NULL ? why->detail : noteworthy(p, r, a));
}

static void end(void)
{
    if (me.over)
        return;
    me.over = true;
    uv_close((uv_handle_t *)&me.interrupt, NULL);
    phone_drop(&me.phone);
    setup_close(&me.setup);
}

static int status_of(const struct failure *why, enum step step)
{
    if (strncmp(why->kind, "sign_in:", 8) == 0)
        return EXIT_NO_TICKET;
    if (me.opened || !me.phone.channel.ended) /* or it was none of the connection's */
        return EXIT_STEP + (int)step;
    if (me.phone.channel.failed_in == CHANNEL_TUNNEL)
        return EXIT_NO_TUNNEL;
    return me.phone.channel.failed_in == CHANNEL_INNER ? EXIT_NO_INNER_TLS : EXIT_NO_CONNECTION;
}

static void next_step(void)
{
    const int *steps = me.settings.steps.items;
    if (me.next == me.settings.steps.count) {
        end();
        return;
    }
    me.started_ns = clock_mono_ns();
    phone_do(&me.phone, (enum step)steps[me.next++]);
}

static void on_done(struct phone *p, enum step step, const struct failure *why)
{
    (void)p;
    if (me.over)
        return;
    if (why == NULL && step == STEP_ATTACHMENT && me.phone.device.attachment == NULL)
        line("attachment", "nothing to fetch", true, 0, "no mail that came has one");
    if (why != NULL) {
        me.status = status_of(why, step);
        if (!p->told)
            line(me.status < EXIT_STEP ? "connect" : step_names[step], why->kind, false,
                 (clock_mono_ns() - me.started_ns) / 1000, why->detail);
        fprintf(stderr, "easload: step %s failed: %s\n", step_names[step], why->kind);
        end();
        return;
    }
    next_step();
}

static void on_interrupt(uv_signal_t *s, int signum)
{
    (void)s;
    (void)signum;
    me.status = 130;
    end();
}

static const struct phone_events events = {.on_ticket = on_ticket,
                                           .on_opened = on_opened,
                                           .on_request = on_request,
                                           .on_head = on_head,
                                           .on_exchange = on_exchange,
                                           .on_done = on_done};

static void start(void)
{
    char *user = setup_name(me.settings.user, (unsigned)me.settings.first);
    char *device = setup_name(me.settings.device, (unsigned)me.settings.first);
    phone_world_init(&me.world, &me.loop, &events, LIST_WORLD);
    me.world.answer_ms = me.world.wire.open_ms = (uint64_t)me.settings.timeout_ms;
    me.world.wire.resume = me.settings.resumption;
    phone_init(&me.phone, &me.world, &me.setup.kinds[0], user, device, NULL);
    if (me.setup.ticket_count > 0)
        phone_set_ticket(&me.phone, me.setup.ticket_list[0]);
    uv_signal_init(&me.loop.uv, &me.interrupt);
    uv_signal_start(&me.interrupt, on_interrupt, SIGINT);
    free(user);
    free(device);
    next_step();
    uv_run(&me.loop.uv, UV_RUN_DEFAULT);
    phone_deinit(&me.phone);
    phone_world_deinit(&me.world);
}

int cmd_phone(int argc, char **argv)
{
    struct conf *conf;
    int status = settings_read(SETTINGS_PHONE, argc, argv, &me.settings, &conf);
    if (status < 0 && netloop_init(&me.loop) == 0) {
        me.colour = isatty(STDOUT_FILENO) && getenv("NO_COLOR") == NULL;
        me.status = setup_make(&me.setup, &me.settings, &me.loop, LIST_TICKETS);
        if (me.status == 0)
            start();
        else
            setup_close(&me.setup);
        netloop_deinit(&me.loop);
        setup_deinit(&me.setup);
        status = me.status;
    }
    conf_free(conf);
    return status;
}
