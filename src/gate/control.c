/* The control thread. See control.h; knows no tunnel. */
#include "gate/control.h"

#include <assert.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "control_impl.h"
#include "proto/staxml.h"

/* The loop's lists of deadlines: 0 and 1 the servers', 12 to 14 the authority clients'. */
#define SERVER_LIST 0
#define DELAY_LIST  (AUTHORITY_DEADLINE_LIST + 2)

#define SETTLE_MS 5000 /* time-outs of authorities may be an hour: nobody waits for that */

#define BODY_MAX           STAXML_BYTES_MAX
#define SERVER_CONNECTIONS 4096
#define SERVER_IDLE_MS     60000
#define SERVER_REQUEST_MS  15000
#define RATELIMIT_BUCKETS  65536

struct control_server { /* one listening socket */
    struct list link;
    struct control *c;
    struct sockets *sockets;         /* a reference of the runtimes that have it */
    struct control_context *context; /* of the current runtime; NULL: it is about to close */
    struct httpd *httpd;
};

static void finish_if_done(struct control *c);

/* ---- runtimes ---- */

static void attempts_unref(struct attempts *a)
{
    if (a == NULL || --a->refs > 0)
        return;
    ratelimit_free(a->by_user);
    ratelimit_free(a->by_address);
    free(a);
}

static void control_runtime_free(struct control_runtime *cr)
{
    struct control *c = cr->control;
    runtime_unref(cr->runtime);
    attempts_unref(cr->attempts);
    free(cr->contexts);
    free(cr->services);
    free(cr->service_texts);
    free(cr);
    c->closing--;
    finish_if_done(c);
}

static void on_client_closed(void *owner)
{
    struct control_runtime *cr = owner;
    if (--cr->closing == 0)
        control_runtime_free(cr);
}

/* The main thread may go on. */
static void settle(struct control_runtime *cr)
{
    deadline_clear(&cr->settling);
    if (!cr->settled)
        uv_sem_post(&cr->control->settled);
    cr->settled = true;
}

static void on_settling_over(struct deadline *d)
{
    settle(list_entry(d, struct control_runtime, settling));
}

static void control_runtime_unref(struct control_runtime *cr)
{
    assert(cr->refs > 0);
    if (--cr->refs > 0)
        return;
    settle(cr);
    cr->control->closing++;
    cr->closing = cr->runtime->authority_count + (cr->signin != NULL);
    if (cr->signin != NULL)
        signin_client_close(cr->signin, on_client_closed, cr);
    for (size_t i = 0; i < cr->runtime->authority_count; i++)
        authority_client_close(cr->clients[i], on_client_closed, cr);
}

/* Requests of one kind have all been answered; with the other kind's the context lets go of its runtime. */
static void on_idle(void *owner)
{
    struct control_context *x = owner;
    if (x->xml.open + x->api.open == 0)
        control_runtime_unref(x->of);
}

static void on_first_probe(void *owner)
{
    struct control_runtime *cr = owner;
    if (--cr->first_probes == 0)
        settle(cr);
}

/* What clients are told to connect to: the policy's gateway, else where this one listens. */
static void note_policy(struct control_runtime *cr)
{
    const struct runtime *r = cr->runtime;
    const struct policy_settings *p = &r->settings->policy;
    const struct hostport *listed = p->services.items;

    if (p->gateway.port != 0)
        hostport_format(&p->gateway, cr->gateway);
    else if (r->listener_count > 0)
        snprintf(cr->gateway, sizeof cr->gateway, "%s", r->listeners[0].sockets->bound_text);
    cr->services = mem_zalloc((p->services.count + 1) * sizeof *cr->services);
    cr->service_texts = mem_zalloc((p->services.count + 1) * sizeof *cr->service_texts);
    for (size_t i = 0; i < p->services.count; i++) {
        hostport_format(&listed[i], cr->services[i]);
        cr->service_texts[i] = cr->services[i];
    }
}

static void fill_api(struct control_runtime *cr, struct control_context *x, size_t authority)
{
    const struct runtime *r = cr->runtime;
    x->client = cr->clients[authority];
    x->api = (struct ticketapi){
        .client_count = 1,
        .clients = &x->client,
        .access = r->details[authority].access,
        .rules = r->details[authority].rules,
        .gateway = cr->gateway[0] != '\0' ? cr->gateway : NULL,
        .service_count = r->settings->policy.services.count,
        .services = cr->service_texts,
        .signin = cr->signin,
        .by_user = cr->attempts != NULL ? cr->attempts->by_user : NULL,
        .by_address = cr->attempts != NULL ? cr->attempts->by_address : NULL,
        .idle = on_idle,
        .owner = x,
    };
}

static void fill_contexts(struct control_runtime *cr)
{
    const struct runtime *r = cr->runtime;
    cr->contexts = mem_zalloc((r->service_count + 1) * sizeof *cr->contexts);
    for (size_t i = 0; i < r->service_count; i++) {
        struct control_context *x = &cr->contexts[i];
        size_t a = r->services[i].authority;
        x->of = cr;
        x->xml = (struct xmlservice){
            .loop = &cr->control->loop,
            .client = cr->clients[a],
            .access = r->details[a].access,
            .rules = r->details[a].rules,
            .requested_class = (enum ticket_class)r->details[a].settings->requested_class,
            .delay_list = DELAY_LIST,
            .idle = on_idle,
            .owner = x,
        };
        fill_api(cr, x, a);
    }
    struct control_context *admin = &cr->contexts[r->service_count];
    admin->of = cr;
    fill_api(cr, admin, 0);
    admin->api.admin = true;
    admin->api.client_count = r->authority_count;
    admin->api.clients = cr->clients;
}

/* Failed sign-ins are remembered across reloads that leave their limits alone. Where they change, a sign-in
 * that is being checked keeps the old ones: a reference. */
static struct attempts *attempts_for(const struct control_runtime *before, const struct sign_in_settings *in)
{
    struct attempts *a = before != NULL ? before->attempts : NULL;
    if (in == NULL)
        return NULL;
    if (a != NULL && in->attempts_per_user == a->per_user && in->attempts_per_address == a->per_address &&
        in->attempts_window_ms == a->window_ms) {
        a->refs++;
        return a;
    }
    a = mem_alloc(sizeof *a);
    *a = (struct attempts){
        .refs = 1,
        .per_user = in->attempts_per_user,
        .per_address = in->attempts_per_address,
        .window_ms = in->attempts_window_ms,
    };
    uint64_t window = (uint64_t)a->window_ms;
    a->by_user = ratelimit_new(RATELIMIT_BUCKETS, (unsigned)a->per_user, window);
    a->by_address = ratelimit_new(RATELIMIT_BUCKETS, (unsigned)a->per_address, window);
    return a;
}

/* Takes the reference. */
static struct control_runtime *control_runtime_new(struct control *c, struct runtime *r)
{
    struct control_runtime *cr = mem_zalloc(sizeof *cr + r->authority_count * sizeof cr->clients[0]);
    cr->control = c;
    cr->runtime = r;
    cr->refs = 1;
    cr->first_probes = r->authority_count;
    deadline_init(&cr->settling, on_settling_over);
    deadline_set(&c->loop, &cr->settling, SERVER_LIST, SETTLE_MS);
    if (r->signin != NULL)
        cr->signin = signin_client_new(r->signin, &c->loop.uv);
    cr->attempts = attempts_for(c->current, r->settings->sign_in);
    for (size_t i = 0; i < r->authority_count; i++)
        cr->clients[i] = authority_client_new(r->authorities[i], &c->loop, c->resolver);
    note_policy(cr);
    fill_contexts(cr);
    for (size_t i = 0; i < r->authority_count; i++)
        authority_client_probe(cr->clients[i], on_first_probe, cr);
    return cr;
}

/* ---- servers ---- */

static void on_request(void *owner, struct httpd_request *r)
{
    const struct control_server *s = owner;
    struct control_context *x = s->context;
    if (x == NULL) {
        ticketapi_error(r, 503, NULL, "shutting_down", "this service is closing");
        return;
    }
    const struct control_runtime *cr = x->of;
    bool admin = x == &cr->contexts[cr->runtime->service_count];

    if (x->xml.open + x->api.open == 0)
        x->of->refs++; /* given back when all that is open has been answered: on_idle */
    x->xml.open++;     /* so that an answer at once does not end it under our hands */
    if (admin)
        admin_handle(x, r);
    else if (strcmp(httpd_path(r), XMLSERVICE_PATH) == 0)
        xmlservice_handle(&x->xml, r);
    else if (ticketapi_is_path(httpd_path(r)))
        ticketapi_handle(&x->api, r);
    else
        ticketapi_error(r, 404, NULL, "not_found", "here are " XMLSERVICE_PATH " and " TICKETAPI_PATH);
    x->xml.open--;
    on_idle(x);
}

static void on_refuse(void *owner, unsigned status, const char *why, const char **type, char body[1024])
{
    (void)owner;
    xmlservice_refuse(status, why, type, body);
}

static struct control_server *find_server(struct control *c, const struct sockets *sockets)
{
    for (struct list *l = c->servers.next; l != &c->servers; l = l->next) {
        struct control_server *s = list_entry(l, struct control_server, link);
        if (s->sockets == sockets)
            return s;
    }
    return NULL;
}

static void use_socket(struct control *c, struct sockets *sockets, SSL_CTX *ctx, struct control_context *x)
{
    struct control_server *s = find_server(c, sockets);
    if (s != NULL) {
        s->context = x;
        httpd_update(s->httpd, ctx, s);
        return;
    }
    s = mem_zalloc(sizeof *s);
    s->c = c;
    s->sockets = sockets;
    s->context = x;
    const struct httpd_options options = {
        .tls = ctx,
        .body_max = BODY_MAX,
        .connections_max = SERVER_CONNECTIONS,
        .idle_ms = SERVER_IDLE_MS,
        .request_ms = SERVER_REQUEST_MS,
        .deadline_list = SERVER_LIST,
        .server = "stagate",
        .handle = on_request,
        .refuse = sockets->unix_path ? NULL : on_refuse,
        .owner = s,
    };
    int fd = sockets->fds[0];
    sockets->fds[0] = -1;
    s->httpd = httpd_new(&c->loop, fd, &options);
    list_append(&c->servers, &s->link);
}

static void on_server_closed(void *owner)
{
    struct control_server *s = owner;
    struct control *c = s->c;
    free(s);
    c->closing--;
    finish_if_done(c);
}

static void close_server(struct control_server *s)
{
    list_remove(&s->link);
    s->context = NULL;
    sockets_withdraw(s->sockets);
    s->c->closing++;
    httpd_close(s->httpd, on_server_closed, s);
}

/* Puts a runtime in force: sockets that stay serve on, new ones open, others close. Takes the reference. */
static void use_runtime(struct control *c, struct runtime *r)
{
    struct control_runtime *old = c->current;

    c->current = control_runtime_new(c, r);
    for (struct list *l = c->servers.next; l != &c->servers; l = l->next)
        list_entry(l, struct control_server, link)->context = NULL;
    for (size_t i = 0; i < r->service_count; i++)
        use_socket(c, r->services[i].sockets, r->services[i].ctx, &c->current->contexts[i]);
    if (r->admin != NULL)
        use_socket(c, r->admin, NULL, &c->current->contexts[r->service_count]);
    for (struct list *l = c->servers.next; l != &c->servers;) {
        struct control_server *s = list_entry(l, struct control_server, link);
        l = l->next;
        if (s->context == NULL)
            close_server(s);
    }
    if (old != NULL)
        control_runtime_unref(old);
    if (r->authority_count == 0)
        settle(c->current);
}

/* ---- thread ---- */

static void finish_if_done(struct control *c)
{
    if (!c->stopping || c->closing > 0 || c->ended)
        return;
    c->ended = true;
    resolver_close(c->resolver);
    uv_close((uv_handle_t *)&c->wake, NULL);
}

static void start_stop(struct control *c)
{
    struct control_runtime *cr = c->current;
    if (c->stopping)
        return;
    c->stopping = true;
    c->closing++; /* until everything has been told to close */
    while (!list_empty(&c->servers))
        close_server(list_entry(c->servers.next, struct control_server, link));
    c->current = NULL;
    control_runtime_unref(cr);
    c->closing--;
    finish_if_done(c);
}

static void start_drain(struct control *c)
{
    for (struct list *l = c->servers.next; l != &c->servers;) {
        struct control_server *s = list_entry(l, struct control_server, link);
        l = l->next;
        if (!s->sockets->unix_path)
            close_server(s);
    }
}

static void on_wake(uv_async_t *handle)
{
    struct control *c = handle->data;
    uv_mutex_lock(&c->lock);
    struct runtime *r = c->asked_runtime;
    bool stop = c->asked_stop, drain = c->asked_drain;
    c->asked_runtime = NULL;
    uv_mutex_unlock(&c->lock);
    if (r != NULL)
        use_runtime(c, r);
    if (drain && !c->stopping)
        start_drain(c);
    if (stop)
        start_stop(c);
}

static void run(void *arg)
{
    struct control *c = arg;
    sigset_t all;
    /* signals are the main thread's */
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    uv_run(&c->loop.uv, UV_RUN_DEFAULT);
    netloop_deinit(&c->loop);
    uv_mutex_lock(&c->lock);
    c->finished = true;
    uv_cond_signal(&c->finish);
    uv_mutex_unlock(&c->lock);
}

int control_start(struct control **out, struct runtime *runtime, const struct worker *workers,
                  unsigned worker_count, struct trace *trace)
{
    struct control *c = mem_zalloc(sizeof *c);
    int rc = netloop_init(&c->loop);
    if (rc < 0) {
        free(c);
        return rc;
    }
    c->workers = workers;
    c->worker_count = worker_count;
    c->trace = trace;
    c->started_ms = clock_true_ms();
    uv_mutex_init(&c->lock);
    uv_sem_init(&c->settled, 0);
    uv_cond_init(&c->finish);
    uv_async_init(&c->loop.uv, &c->wake, on_wake);
    c->wake.data = c;
    list_init(&c->servers);
    c->resolver = resolver_new(&c->loop);
    use_runtime(c, runtime_ref(runtime));
    rc = uv_thread_create(&c->thread, run, c);
    if (rc < 0)
        return rc; /* the caller ends the process: what the loop holds is left to its end */
    uv_sem_wait(&c->settled);
    *out = c;
    return 0;
}

static void ask(struct control *c, struct runtime *r, bool drain, bool stop)
{
    uv_mutex_lock(&c->lock);
    c->asked_runtime = r;
    c->asked_drain |= drain;
    c->asked_stop |= stop;
    uv_async_send(&c->wake);
    uv_mutex_unlock(&c->lock);
}

void control_swap(struct control *c, struct runtime *runtime)
{
    ask(c, runtime_ref(runtime), false, false);
    uv_sem_wait(&c->settled);
}

void control_drain(struct control *c)
{
    ask(c, NULL, true, false);
}

/* Whether the thread ended in time. */
static bool join(struct control *c, int64_t limit_ms)
{
    uint64_t end = clock_mono_ns() + (uint64_t)limit_ms * 1000000, now;
    uv_mutex_lock(&c->lock);
    while (!c->finished && (now = clock_mono_ns()) < end)
        uv_cond_timedwait(&c->finish, &c->lock, end - now);
    bool finished = c->finished;
    uv_mutex_unlock(&c->lock);
    if (finished)
        uv_thread_join(&c->thread);
    return finished;
}

bool control_stop(struct control *c, int64_t limit_ms)
{
    ask(c, NULL, false, true);
    if (!join(c, limit_ms))
        return false;
    uv_sem_destroy(&c->settled);
    uv_cond_destroy(&c->finish);
    uv_mutex_destroy(&c->lock);
    free(c);
    return true;
}
