/* easload run: many phones; a line while they run, a table when they are done. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/err.h"
#include "commands.h"
#include "gauges.h"
#include "load.h"

enum { LIST_TICKETS = 0, LIST_WORLD = 2, LIST_GAUGES = 6 };
enum { GAUGES_EVERY = 5, LINES_EVERY = 5, SPARE_FILES = 100 };

static struct {
    struct netloop loop;
    struct settings settings;
    struct setup setup;
    struct results results;
    struct gauges *gauges;
    struct load *load;
    uv_signal_t signals[2];
    unsigned seconds;
    bool tty, line; /* standard error is a terminal; a line stands there */
} run;

static void on_second(void *owner, const struct load_view *v)
{
    (void)owner;
    run.seconds++;
    if (run.seconds % GAUGES_EVERY == 0)
        gauges_read(run.gauges);
    if (run.settings.quiet || (!run.tty && run.seconds % LINES_EVERY != 0))
        return;
    fprintf(stderr,
            "%s%6.0f s  phones %zu, connected %zu, in Ping %zu  %llu/s  p50 %.1f ms, p99 %.1f ms  %llu "
            "requests, %llu failed%s",
            run.tty ? "\r" : "", v->seconds, v->devices, v->open, v->waiting,
            (unsigned long long)v->last.requests, (double)v->last.p50_us / 1000,
            (double)v->last.p99_us / 1000, (unsigned long long)v->requests, (unsigned long long)v->failures,
            run.tty ? "\033[K" : "\n");
    run.line = run.tty;
}

static void on_over(void *owner)
{
    (void)owner;
    for (size_t i = 0; i < 2; i++)
        uv_close((uv_handle_t *)&run.signals[i], NULL);
    gauges_finish(run.gauges);
    setup_close(&run.setup);
}

static void on_signal(uv_signal_t *s, int signum)
{
    (void)s;
    if (run.results.interrupted || run.load == NULL) /* twice, or before it has begun: at once */
        _exit(128 + signum);
    run.results.interrupted = true;
    load_stop(run.load);
}

/* Each phone is a connection: the limit is raised as far as it may be, and looked at before anybody starts.
 */
static int check_files(const struct settings *s, unsigned parts)
{
    const struct stage_settings *stages = s->stages.items;
    int64_t devices = s->devices;
    struct rlimit limit;
    for (size_t i = 0; i < s->stages.count; i++)
        devices = stages[i].devices > devices ? stages[i].devices : devices;
    devices = (devices + parts - 1) / parts;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return 0;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_max == RLIM_INFINITY || (rlim_t)devices + SPARE_FILES <= limit.rlim_max)
        return 0;
    fprintf(stderr,
            "easload: %lld phones need as many descriptors, and a process may have %llu here: use %lld "
            "processes\n"
            "(--part 1/%lld and so on, then easload merge), or raise the limit (ulimit -n).\n",
            (long long)devices, (unsigned long long)limit.rlim_max,
            (long long)(devices * parts / ((int64_t)limit.rlim_max - SPARE_FILES) + 1),
            (long long)(devices * parts / ((int64_t)limit.rlim_max - SPARE_FILES) + 1));
    return 2;
}

static int parse_part(const char *text, unsigned *part, unsigned *parts)
{
    char rest;
    *part = 0;
    *parts = 1;
    if (text == NULL)
        return 0;
    if (sscanf(text, "%u/%u%c", part, parts, &rest) != 2 || *part < 1 || *part > *parts || *parts > 10000) {
        fprintf(stderr, "easload: --part %s: 2/3 is the second of three processes\n", text);
        return 2;
    }
    --*part;
    return 0;
}

static void start(unsigned part, unsigned parts)
{
    for (size_t i = 0; i < 2; i++) {
        uv_signal_init(&run.loop.uv, &run.signals[i]);
        uv_signal_start(&run.signals[i], on_signal, i == 0 ? SIGINT : SIGTERM);
    }
    gauges_read(run.gauges);
    while (gauges_is_reading(run.gauges)) /* what was before the first phone came; it has a deadline */
        uv_run(&run.loop.uv, UV_RUN_ONCE);
    const struct load_options o = {.loop = &run.loop,
                                   .settings = &run.settings,
                                   .setup = &run.setup,
                                   .results = &run.results,
                                   .part = part,
                                   .parts = parts,
                                   .deadline_list = LIST_WORLD,
                                   .on_second = on_second,
                                   .on_over = on_over};
    run.load = load_new(&o);
    uv_run(&run.loop.uv, UV_RUN_DEFAULT);
    load_free(run.load);
}

/* 0: nothing failed, 1: something did, 130: interrupted. */
static int conclude(void)
{
    const struct results *r = &run.results;
    if (run.line)
        fputc('\n', stderr);
    if (run.settings.json == NULL || strcmp(run.settings.json, "-") != 0)
        results_print(r, stdout);
    int status = results_write(r, run.settings.json, run.settings.report);
    if (run.settings.report != NULL && status == 0)
        fprintf(stderr, "easload: the report is in %s\n", run.settings.report);
    return r->interrupted ? 130 : status != 0 ? status : results_failures(r) > 0;
}

int cmd_run(int argc, char **argv)
{
    struct conf *conf;
    const char *why;
    unsigned part, parts;
    int status = settings_read(SETTINGS_RUN, argc, argv, &run.settings, &conf);
    if (status >= 0) {
        conf_free(conf);
        return status;
    }
    results_init(&run.results);
    run.tty = isatty(STDERR_FILENO);
    status = parse_part(run.settings.part, &part, &parts);
    if (status == 0)
        status = check_files(&run.settings, parts);
    if (status == 0)
        status = results_check(run.settings.json, run.settings.report);
    if (status == 0 && netloop_init(&run.loop) == 0) {
        status = setup_make(&run.setup, &run.settings, &run.loop, LIST_TICKETS);
        if (status == 0 && run.settings.gateway_metrics != NULL &&
            (run.gauges = gauges_new(&run.loop, run.settings.gateway_metrics, &run.results, LIST_GAUGES,
                                     &why)) == NULL) {
            fprintf(stderr, "easload: --gateway-metrics %s: %s\n", run.settings.gateway_metrics, why);
            status = 2;
        }
        if (status == 0)
            start(part, parts);
        else
            setup_close(&run.setup);
        netloop_deinit(&run.loop);
        setup_deinit(&run.setup);
        if (status == 0)
            status = conclude();
    }
    results_deinit(&run.results);
    conf_free(conf);
    return status;
}
