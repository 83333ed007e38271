/* Metrics for Prometheus (text format 0.0.4), out of the counters of workers and authorities. Called by
 * admin.c on the control thread; every value is read by itself. */
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/log.h"
#include "control_impl.h"
#include "gate/faults.h"

static uint64_t read_counter(const _Atomic uint64_t *n)
{
    return atomic_load_explicit((_Atomic uint64_t *)(uintptr_t)n, memory_order_relaxed);
}

static void head(struct buf *out, const char *name, const char *type, const char *help)
{
    buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* ---- workers ---- */

static void connections(struct buf *out, const struct control *c)
{
    uint64_t accepted = 0, up = 0, down = 0;
    for (unsigned i = 0; i < c->worker_count; i++) {
        accepted += read_counter(&c->workers[i].counters.accepted);
        up += read_counter(&c->workers[i].counters.bytes_up);
        down += read_counter(&c->workers[i].counters.bytes_down);
    }
    head(out, "stagate_connections_accepted_total", "counter", "Connections that clients opened.");
    buf_printf(out, "stagate_connections_accepted_total %llu\n", (unsigned long long)accepted);
    head(out, "stagate_tunnel_bytes_total", "counter", "Bytes that passed tunnels which have ended.");
    buf_printf(out, "stagate_tunnel_bytes_total{direction=\"up\"} %llu\n", (unsigned long long)up);
    buf_printf(out, "stagate_tunnel_bytes_total{direction=\"down\"} %llu\n", (unsigned long long)down);
}

static void endings(struct buf *out, const struct control *c)
{
    head(out, "stagate_connections_ended_total", "counter",
         "Connections that ended, by reason; injected: a fault that an administrator put on had a hand in "
         "it.");
    for (int r = 0; r < REASON_COUNT; r++) {
        for (int injected = 0; injected < 2; injected++) {
            uint64_t n = 0;
            for (unsigned i = 0; i < c->worker_count; i++)
                n += read_counter(&c->workers[i].counters.ended[injected][r]);
            if (n > 0 || injected == 0)
                buf_printf(out, "stagate_connections_ended_total{reason=\"%s\",injected=\"%s\"} %llu\n",
                           reason_info((enum reason)r)->id, injected ? "true" : "false",
                           (unsigned long long)n);
        }
    }
}

static void relayed(struct buf *out, const struct control *c)
{
    head(out, "stagate_requests_total", "counter",
         "HTTP requests that were looked into, by reason; ok: they went to the mail server.");
    for (int r = 0; r < REASON_COUNT; r++) {
        uint64_t n = 0;
        for (unsigned i = 0; i < c->worker_count; i++)
            n += read_counter(&c->workers[i].counters.requests[r]);
        if (n > 0 || r == REASON_OK)
            buf_printf(out, "stagate_requests_total{reason=\"%s\"} %llu\n", reason_info((enum reason)r)->id,
                       (unsigned long long)n);
    }
}

/* ---- authorities ---- */

/* IDs are letters and digits; what has none is named by where it is. */
static const char *label(const struct authority *a)
{
    const char *id = authority_id(a);
    return id != NULL ? id : "";
}

static void plain(struct buf *out, const struct runtime *r, const char *name, const char *type,
                  const char *help, uint64_t (*value)(const struct authority *a))
{
    head(out, name, type, help);
    for (size_t i = 0; i < r->authority_count; i++)
        buf_printf(out, "%s{authority=\"%s\",number=\"%zu\"} %llu\n", name, label(r->authorities[i]), i,
                   (unsigned long long)value(r->authorities[i]));
}

static uint64_t asked(const struct authority *a)
{
    return read_counter(&a->counters.asked);
}

static uint64_t injected(const struct authority *a)
{
    return read_counter(&a->counters.injected);
}

static uint64_t cached(const struct authority *a)
{
    return read_counter(&a->counters.cached);
}

static uint64_t requests(const struct authority *a)
{
    return read_counter(&a->counters.requests);
}

static uint64_t responses(const struct authority *a)
{
    return read_counter(&a->counters.responses);
}

static uint64_t issued(const struct authority *a)
{
    return read_counter(&a->counters.issued);
}

static void up(struct buf *out, const struct runtime *r)
{
    head(out, "stagate_authority_up", "gauge", "Whether the authority can be asked.");
    for (size_t i = 0; i < r->authority_count; i++)
        buf_printf(out, "stagate_authority_up{authority=\"%s\",number=\"%zu\"} %d\n",
                   label(r->authorities[i]), i,
                   authority_is_up(r->authorities[i]) && !admin_has_duplicate(r, i));
}

static void verdicts(struct buf *out, const struct runtime *r)
{
    static const char *const names[] = {"ok", "unknown", "expired", "used", "revoked", "down"};
    head(out, "stagate_authority_answers_total", "counter",
         "Answers to redemptions and refreshes, by verdict.");
    for (size_t i = 0; i < r->authority_count; i++) {
        for (int v = 0; v <= REDEEM_DOWN; v++)
            buf_printf(
                out, "stagate_authority_answers_total{authority=\"%s\",number=\"%zu\",verdict=\"%s\"} %llu\n",
                label(r->authorities[i]), i, names[v],
                (unsigned long long)read_counter(&r->authorities[i]->counters.answered[v]));
    }
}

static void failures(struct buf *out, const struct runtime *r)
{
    head(out, "stagate_authority_failures_total", "counter",
         "Redemptions and refreshes without an answer, by cause.");
    for (size_t i = 0; i < r->authority_count; i++) {
        for (int f = 0; f < AUTHORITY_FAILS; f++) {
            uint64_t n = read_counter(&r->authorities[i]->counters.failed[f]);
            if (n > 0)
                buf_printf(
                    out,
                    "stagate_authority_failures_total{authority=\"%s\",number=\"%zu\",cause=\"%s\"} %llu\n",
                    label(r->authorities[i]), i, authority_fail_name((enum authority_fail)f),
                    (unsigned long long)n);
        }
    }
}

static void served(struct buf *out, const struct runtime *r)
{
    head(out, "stagate_sta_requests_total", "counter", "STA XML requests served, by result.");
    for (size_t i = 0; i < r->authority_count; i++) {
        for (int bad = 0; bad < 2; bad++)
            buf_printf(out,
                       "stagate_sta_requests_total{authority=\"%s\",number=\"%zu\",result=\"%s\"} %llu\n",
                       label(r->authorities[i]), i, bad ? "error" : "ok",
                       (unsigned long long)read_counter(&r->authorities[i]->counters.served[bad]));
    }
}

/* ---- the process, by the names that all of Prometheus's own client libraries use ---- */

static uint64_t resident_bytes(void)
{
    unsigned long size = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (f == NULL)
        return 0;
    if (fscanf(f, "%lu %lu", &size, &resident) != 2)
        resident = 0;
    fclose(f);
    return (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void process(struct buf *out)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    uint64_t us = (uint64_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000 + (uint64_t)u.ru_utime.tv_usec +
                  (uint64_t)u.ru_stime.tv_usec;
    head(out, "process_cpu_seconds_total", "counter", "Processor time used, user and system.");
    buf_printf(out, "process_cpu_seconds_total %llu.%06u\n", (unsigned long long)(us / 1000000),
               (unsigned)(us % 1000000));
    head(out, "process_resident_memory_bytes", "gauge", "Memory that is resident.");
    buf_printf(out, "process_resident_memory_bytes %llu\n", (unsigned long long)resident_bytes());
}

void metrics_write(struct buf *out, const struct control_runtime *cr)
{
    const struct runtime *r = cr->runtime;
    process(out);
    connections(out, cr->control);
    endings(out, cr->control);
    relayed(out, cr->control);
    up(out, r);
    plain(out, r, "stagate_authority_asked_total", "counter", "Redemptions and refreshes asked for.", asked);
    verdicts(out, r);
    failures(out, r);
    plain(out, r, "stagate_authority_injected_total", "counter", "Answers that a fault made.", injected);
    plain(out, r, "stagate_authority_cached_total", "counter", "Answers out of the cache.", cached);
    plain(out, r, "stagate_authority_requests_total", "counter", "STA XML messages sent to the authority.",
          requests);
    plain(out, r, "stagate_authority_responses_total", "counter", "STA XML messages it answered.", responses);
    plain(out, r, "stagate_tickets_issued_total", "counter",
          "Tickets issued by the STA service and the ticket API.", issued);
    served(out, r);
    head(out, "stagate_clock_jump_seconds", "gauge",
         "How far a fault has moved the clock that tickets go by.");
    buf_printf(out, "stagate_clock_jump_seconds %lld\n", (long long)(faults_clock_ms() / 1000));
    head(out, "stagate_log_lines_lost_total", "counter", "Log lines that standard error did not take.");
    buf_printf(out, "stagate_log_lines_lost_total %llu\n", (unsigned long long)log_dropped());
}
