/* The main thread: starts workers, waits for signals, reloads. Touches no connection. */
#include "gate/gateway.h"

#include <openssl/rand.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>
#include <uv.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "gate/control.h"
#include "gate/faults.h"
#include "gate/runtime.h"
#include "gate/trace.h"
#include "gate/worker.h"

#define SPARE_FILES 64 /* beside connections: log, stores, loops, libraries */

/* How long requests that are open when the workers have ended may go on; after a second signal. */
#define CONTROL_STOP_MS 5000
#define CONTROL_CUT_MS  100

struct gateway;

struct watched { /* what a store's thread is given along; goes with the authority */
    struct gateway *gateway;
    struct authority *authority;
};

struct gateway {
    const char *path;
    struct runtime *runtime;
    uint8_t ticket_keys[TLSCTX_TICKET_KEYS];
    unsigned worker_count;
    struct worker *workers;
    struct control *control;
    struct trace *trace;
    atomic_size_t connections;
    atomic_uint running; /* workers */
    uv_loop_t loop;
    uv_async_t worker_stopped;
    uv_signal_t signals[3];
    bool draining;
    bool stopping; /* a second signal came */
};

static unsigned worker_number(const struct settings *s)
{
    if (s->listeners.count == 0)
        return 1; /* an authority alone: the control thread does the work */
    if (s->workers > 0)
        return (unsigned)s->workers;
    unsigned n = uv_available_parallelism();
    return n > 0 ? n : 1;
}

/* Raises the limit of open files as far as it goes, and tells how many connections fit in it: a tunnel has
 * two sockets. */
static size_t connection_limit(const struct settings *s)
{
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) < 0)
        return 1000;
    if (r.rlim_cur < r.rlim_max) {
        r.rlim_cur = r.rlim_max;
        setrlimit(RLIMIT_NOFILE, &r);
        getrlimit(RLIMIT_NOFILE, &r);
    }
    size_t fit = r.rlim_cur > 2 * SPARE_FILES ? (r.rlim_cur - SPARE_FILES) / 2 : SPARE_FILES / 2;
    size_t wanted = (size_t)s->limits.connections;
    if (wanted > fit)
        log_message(LOG_WARN, "limits",
                    "limits.connections is %zu, but the limit of open files (%zu) has room for %zu tunnels: "
                    "raise it with "
                    "ulimit -n or LimitNOFILE",
                    wanted, (size_t)r.rlim_cur, fit);
    return wanted > 0 && wanted < fit ? wanted : fit;
}

static void log_ready(const struct gateway *g, const char *event)
{
    struct log_line l;
    log_begin(&l, LOG_INFO, event);
    log_array_open(&l, "listeners");
    for (size_t i = 0; i < g->runtime->listener_count; i++)
        log_item(&l, g->runtime->listeners[i].sockets->bound_text);
    log_array_close(&l);
    log_array_open(&l, "authorities");
    for (size_t i = 0; i < g->runtime->authority_count; i++)
        log_item(&l, authority_id(g->runtime->authorities[i]));
    log_array_close(&l);
    if (g->runtime->service_count > 0) {
        log_array_open(&l, "sta");
        for (size_t i = 0; i < g->runtime->service_count; i++)
            log_item(&l, g->runtime->services[i].sockets->bound_text);
        log_array_close(&l);
    }
    if (g->runtime->admin != NULL)
        log_str(&l, "admin_socket", g->runtime->admin->address_text);
    log_int(&l, "workers", g->worker_count);
    log_str(&l, "version", STAGATE_VERSION);
    log_end(&l);
}

/* From a thread of a store's: the tunnels of a ticket that ended are every worker's business. */
static void on_ticket_ended(void *owner, const uint8_t *hash, enum ticket_state how)
{
    struct watched *w = owner;
    for (unsigned i = 0; i < w->gateway->worker_count; i++)
        worker_ticket_ended(&w->gateway->workers[i], w->authority, hash, how);
}

/* The stores of a runtime that were not listened to yet. Called when all workers can be told. */
static void watch_stores(struct gateway *g, struct runtime *r)
{
    for (size_t i = 0; i < r->authority_count; i++) {
        struct authority *a = r->authorities[i];
        if (a->store == NULL || a->watch != NULL)
            continue;
        struct watched *w = mem_alloc(sizeof *w);
        *w = (struct watched){g, a};
        a->watch_owner = w;
        a->watch = store_watch(a->store, on_ticket_ended, w);
    }
}

static void unwatch_stores(struct runtime *r)
{
    for (size_t i = 0; i < r->authority_count; i++)
        authority_unwatch(r->authorities[i]);
}

static void reload(struct gateway *g)
{
    struct settings *s = settings_read(g->path, true);
    struct runtime *fresh;

    conf_print(s->conf, stderr);
    if (!settings_ok(s)) {
        settings_free(s);
        log_message(LOG_ERROR, "reload_failed", "%s has mistakes; the configuration in force stays", g->path);
        return;
    }
    enum log_format format = (enum log_format)s->log.format;
    enum log_level level = (enum log_level)s->log.level;
    unsigned workers = worker_number(s);
    if (runtime_new(&fresh, s, g->path, g->runtime, g->worker_count, g->ticket_keys) < 0) {
        log_message(LOG_ERROR, "reload_failed",
                    "the new configuration cannot be put in force; the one in force stays");
        return;
    }
    if (workers != g->worker_count)
        log_message(LOG_WARN, "reload", "workers changes at a restart only: %u stay", g->worker_count);
    log_setup(format, level);
    faults_set_configured_offset(fresh->settings->time_offset_ms);
    fresh->connections_max = connection_limit(fresh->settings);
    watch_stores(g, fresh);
    control_swap(g->control, fresh); /* returns when its remote authorities are known */
    runtime_unref(g->runtime);
    g->runtime = fresh;
    for (unsigned i = 0; i < g->worker_count; i++)
        worker_swap(&g->workers[i], fresh);
    log_ready(g, "reloaded");
}

static void stop(struct gateway *g, int signum)
{
    struct log_line l;
    bool again = g->draining;
    g->draining = true;
    g->stopping |= again;
    log_begin(&l, LOG_INFO, again ? "stopping" : "draining");
    log_str(&l, "signal", signum == SIGTERM ? "SIGTERM" : "SIGINT");
    log_int(&l, "connections", (int64_t)atomic_load(&g->connections));
    log_end(&l);
    control_drain(g->control);
    for (unsigned i = 0; i < g->worker_count; i++) {
        if (again)
            worker_stop(&g->workers[i]);
        else
            worker_drain(&g->workers[i]);
    }
}

static void on_signal(uv_signal_t *handle, int signum)
{
    struct gateway *g = handle->data;
    if (signum != SIGHUP)
        stop(g, signum);
    else if (!g->draining)
        reload(g);
}

/* In a worker's thread. */
static void worker_has_stopped(void *owner)
{
    struct gateway *g = owner;
    atomic_fetch_sub(&g->running, 1);
    uv_async_send(&g->worker_stopped);
}

static void on_worker_stopped(uv_async_t *handle)
{
    struct gateway *g = handle->data;
    if (atomic_load(&g->running) > 0)
        return;
    uv_close((uv_handle_t *)&g->worker_stopped, NULL);
    for (size_t i = 0; i < 3; i++)
        uv_close((uv_handle_t *)&g->signals[i], NULL);
    /* closing gave them their default action back: one more now would make a good end a bad one */
    signal(SIGTERM, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
}

static int start_workers(struct gateway *g)
{
    for (unsigned i = 0; i < g->worker_count; i++) {
        g->workers[i].trace = g->trace;
        int rc = worker_start(&g->workers[i], i, g->runtime, &g->connections, worker_has_stopped, g);
        if (rc < 0) {
            fprintf(stderr, "%s: worker %u cannot start: %s\n", g->path, i, err_text(rc));
            return rc;
        }
        atomic_fetch_add(&g->running, 1);
    }
    return 0;
}

int gateway_run(const char *path, struct settings *settings)
{
    static const int handled[3] = {SIGHUP, SIGTERM, SIGINT};
    struct gateway g = {.path = path, .worker_count = worker_number(settings)};

    setenv("UV_THREADPOOL_SIZE", "16", 0); /* of getaddrinfo: four slow names must not hold up the rest */
    signal(SIGPIPE, SIG_IGN);              /* libuv does not: a write to a reset peer would end the process */
    log_setup((enum log_format)settings->log.format, (enum log_level)settings->log.level);
    faults_set_configured_offset(settings->time_offset_ms);
    if (RAND_bytes(g.ticket_keys, sizeof g.ticket_keys) != 1) {
        fprintf(stderr, "%s: no random numbers to be had\n", path);
        settings_free(settings);
        return 1;
    }
    if (runtime_new(&g.runtime, settings, path, NULL, g.worker_count, g.ticket_keys) < 0)
        return 1;
    g.runtime->connections_max = connection_limit(g.runtime->settings);
    uv_loop_init(&g.loop);
    uv_async_init(&g.loop, &g.worker_stopped, on_worker_stopped);
    g.worker_stopped.data = &g;
    for (size_t i = 0; i < 3; i++) {
        uv_signal_init(&g.loop, &g.signals[i]);
        g.signals[i].data = &g;
        uv_signal_start(&g.signals[i], on_signal, handled[i]);
    }
    g.workers = mem_zalloc(g.worker_count * sizeof *g.workers);
    /* the control thread first: what remote authorities are called has to be known before the first ticket
     * comes */
    g.trace = trace_new();
    int rc = control_start(&g.control, g.runtime, g.workers, g.worker_count, g.trace);
    if (rc < 0)
        fprintf(stderr, "%s: the control thread cannot start: %s\n", path, err_text(rc));
    if (rc < 0 || start_workers(&g) < 0)
        exit(1); /* running threads hold the loops' memory: leave it to the end of the process */
    watch_stores(&g, g.runtime);
    log_ready(&g, "ready");
    uv_run(&g.loop, UV_RUN_DEFAULT);
    for (unsigned i = 0; i < g.worker_count; i++)
        worker_join(&g.workers[i]);
    if (!control_stop(g.control, g.stopping ? CONTROL_CUT_MS : CONTROL_STOP_MS)) {
        log_message(LOG_WARN, "stopped", "all workers have ended; requests that were open were not answered");
        _exit(0); /* threads are in the midst of what would be freed; stores are safe at any moment */
    }
    log_message(LOG_INFO, "stopped", "all workers have ended");
    unwatch_stores(g.runtime); /* before what they would tell goes */
    runtime_unref(g.runtime);
    for (unsigned i = 0; i < g.worker_count; i++)
        worker_deinit(&g.workers[i]);
    trace_free(g.trace);
    uv_loop_close(&g.loop);
    free(g.workers);
    mem_wipe(g.ticket_keys, sizeof g.ticket_keys);
    return 0;
}
