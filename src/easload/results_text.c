/* The table at the end of a run. */
#include <string.h>

#include "base/clock.h"
#include "results.h"

/* Five characters or so: "850 µs", "1.24 ms", "12.3 s". */
static const char *time_text(char dst[16], uint64_t us)
{
    if (us < 1000)
        snprintf(dst, 16, "%u us", (unsigned)us);
    else if (us < 10000)
        snprintf(dst, 16, "%.2f ms", (double)us / 1e3);
    else if (us < 100000)
        snprintf(dst, 16, "%.1f ms", (double)us / 1e3);
    else if (us < 1000000)
        snprintf(dst, 16, "%.0f ms", (double)us / 1e3);
    else
        snprintf(dst, 16, "%.1f s", (double)us / 1e6);
    return dst;
}

static void print_row(const struct results *r, enum row row, FILE *to)
{
    static const double shares[] = {0.5, 0.9, 0.99, 0.999};
    const struct hist *h = &r->row[row].times;
    double seconds = r->lasted_ms > 0 ? (double)r->lasted_ms / 1000 : 1;
    char text[16];
    if (r->row[row].count == 0 && r->row[row].failed == 0)
        return;
    fprintf(to, "%-13s %10llu %9.1f %8llu", row_name(row), (unsigned long long)r->row[row].count,
            (double)r->row[row].count / seconds, (unsigned long long)r->row[row].failed);
    for (size_t i = 0; i < sizeof shares / sizeof shares[0]; i++)
        fprintf(to, " %9s", h->count > 0 ? time_text(text, hist_at(h, shares[i])) : "-");
    fprintf(to, " %9s\n", h->count > 0 ? time_text(text, h->max_us) : "-");
}

static void print_gateway(const struct results *r, FILE *to)
{
    bool any = false;
    for (size_t i = 0; i < r->gauge_count; i++) {
        const struct result_gauge *g = &r->gauges[i];
        double change = g->last - g->first;
        if (change == 0 && strncmp(g->name, "process_", 8) != 0)
            continue;
        if (!any)
            fprintf(to, "\nThe gateway's own figures, over the run\n");
        any = true;
        fprintf(to, "  %-70s %16.10g  (%+.6g)\n", g->name, g->last, change);
    }
}

void results_print(const struct results *r, FILE *to)
{
    char started[CLOCK_TEXT], text[16];
    clock_format(started, r->started_ms);
    fprintf(to, "%s%s, %s: %llu phones, %.1f s from %s, %llu process%s\n\n",
            r->interrupted ? "Interrupted. " : "", r->target != NULL ? r->target : "",
            r->topology != NULL ? r->topology : "", (unsigned long long)r->devices,
            (double)r->lasted_ms / 1000, started, (unsigned long long)r->parts, r->parts == 1 ? "" : "es");
    fprintf(to, "%-13s %10s %9s %8s %9s %9s %9s %9s %9s\n", "", "count", "per s", "failed", "p50", "p90",
            "p99", "p99.9", "max");
    for (int i = 0; i < ROWS; i++)
        print_row(r, (enum row)i, to);
    if (r->error_count > 0)
        fprintf(to, "\nFailures\n");
    for (size_t i = 0; i < r->error_count; i++)
        fprintf(to, "  %-13s %-40s %10llu\n", row_name(r->errors[i].row), r->errors[i].kind,
                (unsigned long long)r->errors[i].count);
    print_gateway(r, to);
    fprintf(to,
            "\nconnections %llu, at most %llu at once; in %.1f MB, out %.1f MB; easload's own CPU time %.2f "
            "s, memory %.1f MB\n",
            (unsigned long long)r->connections, (unsigned long long)r->open_max, (double)r->bytes_in / 1e6,
            (double)r->bytes_out / 1e6, r->cpu_s, (double)r->rss_kb / 1024);
    if (results_is_late(r))
        fprintf(to,
                "These figures are the generator's, not the server's: 1 in 100 of what was due was begun "
                "more than\n"
                "%s late. Use more processes (--part), or ask less of each.\n",
                time_text(text, hist_at(&r->row[ROW_LAG].times, 0.99)));
}
