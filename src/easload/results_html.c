/* The report: one page, its plots are SVG, its colours follow the reader's light or dark setting. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/visible.h"
#include "results.h"

enum { WIDTH = 860, HEIGHT = 240, LEFT = 64, RIGHT = 16, TOP = 14, BOTTOM = 30, LINES_MAX = 8 };

static const char style[] =
    ":root{--ink:#1b1f24;--soft:#5b6572;--paper:#fff;--panel:#f5f7f9;--rule:#d7dde3;--a:#1668b8;--b:#c2410c;-"
    "-c:#15803d;"
    "--d:#7c3aed;--e:#a16207;--f:#be185d;--g:#0e7490;--bad:#b91c1c;--fill1:#9cc4ea;--fill2:#cfe3f5;--fill3:#"
    "f3cfa8}\n"
    "@media(prefers-color-scheme:dark){:root{--ink:#e6e9ed;--soft:#9aa5b1;--paper:#14181d;--panel:#1d232a;--"
    "rule:#36404a;"
    "--a:#6ab0f3;--b:#fb923c;--c:#4ade80;--d:#b794f6;--e:#facc15;--f:#f472b6;--g:#22d3ee;--bad:#f87171;--"
    "fill1:#23568a;"
    "--fill2:#1d3a57;--fill3:#6b4a1f}}\n"
    "body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);margin:2rem "
    "auto;max-width:900px;"
    "padding:0 1rem}\nh1{font-size:1.5rem;margin:0}h2{font-size:1.1rem;margin:2rem 0 .4rem}\n"
    "p{margin:.3rem 0;color:var(--soft)}.facts{display:flex;flex-wrap:wrap;gap:.6rem;margin:1rem 0}"
    ".facts div{background:var(--panel);border-radius:6px;padding:.5rem .9rem}.facts "
    "b{display:block;font-size:1.25rem}"
    ".facts span{color:var(--soft);font-size:.85rem}\n"
    "table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:.9rem}"
    "th,td{text-align:right;padding:.25rem .5rem;border-bottom:1px solid var(--rule);white-space:nowrap}"
    "th:first-child,td:first-child{text-align:left}.wide{overflow-x:auto}.bad{color:var(--bad)}\n"
    ".warn{border-left:4px solid var(--bad);background:var(--panel);padding:.5rem .9rem;margin:1rem "
    "0;color:var(--ink)}\n"
    "svg{width:100%;height:auto;background:var(--panel);border-radius:6px}svg "
    "text{fill:var(--soft);font:12px system-ui,"
    "sans-serif}\n.grid{stroke:var(--rule);stroke-width:1}.line{fill:none;stroke-width:1.8}"
    ".key{display:flex;flex-wrap:wrap;gap:.2rem 1rem;font-size:.85rem;margin:.2rem 0}.key "
    "i{display:inline-block;width:.9rem;"
    "height:.25rem;margin-right:.35rem;vertical-align:middle}\n";

static const char *const colours[LINES_MAX] = {"--a", "--b", "--c", "--d", "--e", "--f", "--g", "--ink"};

static void escaped(struct buf *b, const char *s)
{
    visible_append(b, s != NULL ? s : "", s != NULL ? strlen(s) : 0, true);
}

static const char *us_text(char dst[24], double us)
{
    if (us < 1000)
        snprintf(dst, 24, "%.0f µs", us);
    else if (us < 1e6)
        snprintf(dst, 24, us < 1e4 ? "%.2f ms" : us < 1e5 ? "%.1f ms" : "%.0f ms", us / 1e3);
    else
        snprintf(dst, 24, us < 1e7 ? "%.2f s" : "%.1f s", us / 1e6);
    return dst;
}

static const char *count_text(char dst[24], double n)
{
    if (n >= 1e6)
        snprintf(dst, 24, "%.3g M", n / 1e6);
    else if (n >= 1e4)
        snprintf(dst, 24, "%.3g k", n / 1e3);
    else
        snprintf(dst, 24, n == floor(n) || n >= 100 ? "%.0f" : "%.2g", n);
    return dst;
}

/* ---- plots ---- */

struct curve {
    const char *name;
    const double *y;  /* NaN: nothing there */
    const char *area; /* colour to fill with, down to the axis; NULL: a line */
};

struct plot {
    const char *title;
    const double *x;
    size_t points;
    struct curve curves[LINES_MAX];
    size_t curve_count;
    bool log_y;               /* y in µs, decades */
    const char *const *ticks; /* of x, by its whole numbers from 0 on; NULL: seconds */
};

static double top_of(const struct plot *p)
{
    double top = 0;
    for (size_t c = 0; c < p->curve_count; c++)
        for (size_t i = 0; i < p->points; i++)
            if (p->curves[c].y[i] > top)
                top = p->curves[c].y[i];
    return top;
}

/* A round number a little above. */
static double round_up(double v)
{
    if (v <= 0)
        return 1;
    double unit = pow(10, floor(log10(v)));
    static const double steps[] = {1, 2, 2.5, 5, 10};
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++)
        if (v <= steps[i] * unit)
            return steps[i] * unit;
    return 10 * unit;
}

struct frame {
    double x_max, y_min, y_max;
    bool log_y;
};

static double x_at(const struct frame *f, double x)
{
    return LEFT + (WIDTH - LEFT - RIGHT) * (f->x_max > 0 ? x / f->x_max : 0);
}

static double y_at(const struct frame *f, double y)
{
    double share = f->log_y ? (log10(y < f->y_min ? f->y_min : y) - log10(f->y_min)) /
                                  (log10(f->y_max) - log10(f->y_min))
                            : (y - f->y_min) / (f->y_max - f->y_min);
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share;
}

static void grid_line(struct buf *b, const struct frame *f, double y)
{
    char text[24];
    buf_printf(b, "<line class=\"grid\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>", LEFT, WIDTH - RIGHT,
               y_at(f, y), y_at(f, y));
    buf_printf(b, "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%s</text>", LEFT - 6, y_at(f, y) + 4,
               f->log_y ? us_text(text, y) : count_text(text, y));
}

static void draw_grid(struct buf *b, const struct plot *p, const struct frame *f)
{
    if (f->log_y)
        for (double y = f->y_min; y <= f->y_max * 1.001; y *= 10)
            grid_line(b, f, y);
    else
        for (int i = 0; i <= 4; i++)
            grid_line(b, f, f->y_max * i / 4);
    size_t n = 0;
    while (p->ticks != NULL && p->ticks[n] != NULL)
        n++;
    size_t marks = p->ticks != NULL ? n : 7;
    for (size_t i = 0; i < marks && marks > 1; i++) {
        double x = p->ticks != NULL ? (double)i : f->x_max * (double)i / (double)(marks - 1);
        char text[24];
        snprintf(text, sizeof text, f->x_max < 12 ? "%.1f s" : "%.0f s", x);
        buf_printf(b, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s</text>", x_at(f, x), HEIGHT - 10,
                   p->ticks != NULL ? p->ticks[i] : text);
    }
}

static void draw_curve(struct buf *b, const struct plot *p, const struct frame *f, const struct curve *c,
                       const char *colour)
{
    bool down = false;
    double last = LEFT, first = LEFT;
    buf_printf(b,
               c->area != NULL ? "<path style=\"fill:var(%s);stroke:none\" d=\""
                               : "<path class=\"line\" style=\"stroke:var(%s)\" d=\"",
               c->area != NULL ? c->area : colour);
    for (size_t i = 0; i < p->points; i++) {
        if (isnan(c->y[i])) {
            down = down && c->area != NULL;
            continue;
        }
        last = x_at(f, p->x[i]);
        if (!down)
            first = last;
        buf_printf(b, "%s%.1f %.1f", down ? "L" : "M", last, y_at(f, c->y[i]));
        down = true;
    }
    if (c->area != NULL && down)
        buf_printf(b, "L%.1f %d L%.1f %d Z", last, HEIGHT - BOTTOM, first, HEIGHT - BOTTOM);
    buf_append_str(b, "\"/>");
}

static void draw(struct buf *b, const struct plot *p)
{
    struct frame f = {.x_max = p->points > 0 ? p->x[p->points - 1] : 1, .log_y = p->log_y};
    double top = top_of(p);
    f.y_max = p->log_y ? pow(10, ceil(log10(top > 1000 ? top : 1000))) : round_up(top);
    f.y_min = p->log_y ? 10 : 0;
    buf_printf(b, "<h2>%s</h2>\n<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"%s\">", p->title, WIDTH,
               HEIGHT, p->title);
    for (size_t c = 0; c < p->curve_count; c++)
        if (p->curves[c].area != NULL)
            draw_curve(b, p, &f, &p->curves[c], NULL);
    draw_grid(b, p, &f);
    for (size_t c = 0; c < p->curve_count; c++)
        if (p->curves[c].area == NULL)
            draw_curve(b, p, &f, &p->curves[c], colours[c]);
    buf_append_str(b, "</svg>\n<div class=\"key\">");
    for (size_t c = 0; c < p->curve_count; c++)
        buf_printf(b, "<span><i style=\"background:var(%s)\"></i>%s</span>",
                   p->curves[c].area != NULL ? p->curves[c].area : colours[c], p->curves[c].name);
    buf_append_str(b, "</div>\n");
}

/* ---- what is plotted ---- */

static void plot_series(struct buf *b, const struct results *r)
{
    size_t n = r->bin_count;
    double *v = mem_alloc((n + 1) * 8 * sizeof *v), width = (double)r->bin_ms / 1000;
    double *x = v, *rate = v + n, *errors = v + 2 * n, *p50 = v + 3 * n, *p99 = v + 4 * n, *all = v + 5 * n,
           *open = v + 6 * n, *waiting = v + 7 * n;
    for (size_t i = 0; i < n; i++) {
        const struct result_bin *s = &r->bins[i];
        x[i] = (double)(i + 1) * width;
        rate[i] = (double)s->requests / width;
        errors[i] = (double)s->errors / width;
        p50[i] = s->p50_us > 0 ? (double)s->p50_us : NAN;
        p99[i] = s->p99_us > 0 ? (double)s->p99_us : NAN;
        all[i] = s->devices;
        open[i] = s->open;
        waiting[i] = s->waiting;
    }
    draw(b, &(struct plot){.title = "Requests and failures, each second",
                           .x = x,
                           .points = n,
                           .curves = {{.name = "requests", .y = rate}, {.name = "failures", .y = errors}},
                           .curve_count = 2});
    draw(b, &(struct plot){.title = "Time to the answer, Pings left out",
                           .x = x,
                           .points = n,
                           .curves = {{.name = "half of them within", .y = p50},
                                      {.name = "99 % of them within", .y = p99}},
                           .curve_count = 2,
                           .log_y = true});
    draw(b, &(struct plot){.title = "Phones by what they do",
                           .x = x,
                           .points = n,
                           .curves = {{.name = "without a connection", .y = all, .area = "--fill3"},
                                      {.name = "connected", .y = open, .area = "--fill2"},
                                      {.name = "waiting in a Ping", .y = waiting, .area = "--fill1"}},
                           .curve_count = 3});
    free(v);
}

/* The axis is that of the nines: each step to the right is a tenth of what is left. */
static void plot_percentiles(struct buf *b, const struct results *r)
{
    enum { STEPS_OF_NINE = 10, NINES = 4, POINTS = STEPS_OF_NINE * NINES + 1 };
    static const char *const ticks[] = {"0 %", "90 %", "99 %", "99.9 %", "99.99 %", NULL};
    static double x[POINTS], y[LINES_MAX][POINTS];
    struct plot p = {.title = "How many answers came within which time",
                     .x = x,
                     .points = POINTS,
                     .log_y = true,
                     .ticks = ticks};
    for (int i = 0; i < POINTS; i++)
        x[i] = (double)i / STEPS_OF_NINE;
    for (int row = 0; row < ROWS && p.curve_count < LINES_MAX; row++) {
        const struct hist *h = &r->row[row].times;
        bool shown = row < VERBS ? row != VERB_PING : row == ROW_OPENED || row == ROW_WAKE;
        if (!shown || h->count == 0)
            continue;
        for (int i = 0; i < POINTS; i++) {
            double share = 1 - pow(10, -x[i]);
            /* what the count cannot tell is not drawn */
            y[p.curve_count][i] = i == 0                               ? (double)h->min_us
                                  : (1 - share) * (double)h->count < 1 ? NAN
                                                                       : (double)hist_at(h, share);
        }
        p.curves[p.curve_count] = (struct curve){.name = row_name((enum row)row), .y = y[p.curve_count]};
        p.curve_count++;
    }
    if (p.curve_count > 0)
        draw(b, &p);
}

static void plot_wake(struct buf *b, const struct results *r)
{
    enum { BARS = 40 };
    const struct hist *h = &r->row[ROW_WAKE].times;
    uint64_t n[BARS] = {0}, most = 1;
    double top = round_up((double)h->max_us);
    char text[24];
    if (h->count == 0)
        return;
    for (size_t i = 0; i < HIST_BUCKETS; i++) {
        size_t bar = (size_t)((double)hist_bucket_top(i) / top * BARS);
        if (h->n[i] != 0)
            n[bar < BARS ? bar : BARS - 1] += h->n[i];
    }
    for (size_t i = 0; i < BARS; i++)
        most = n[i] > most ? n[i] : most;
    buf_printf(b,
               "<h2>From a mail's arrival to the waking of the phone: %llu mails</h2>\n<svg viewBox=\"0 0 %d "
               "%d\" role=\"img\" "
               "aria-label=\"Histogram of the time to wake\">",
               (unsigned long long)h->count, WIDTH, HEIGHT);
    struct frame f = {.x_max = BARS, .y_max = round_up((double)most)};
    for (int i = 0; i <= 4; i++)
        grid_line(b, &f, f.y_max * i / 4);
    for (size_t i = 0; i < BARS; i++)
        buf_printf(b, "<rect style=\"fill:var(--a)\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>",
                   x_at(&f, (double)i) + 1, y_at(&f, (double)n[i]), x_at(&f, 1) - x_at(&f, 0) - 2,
                   HEIGHT - BOTTOM - y_at(&f, (double)n[i]));
    for (int i = 0; i <= BARS; i += 8)
        buf_printf(b, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s</text>", x_at(&f, i), HEIGHT - 10,
                   us_text(text, top * i / BARS));
    buf_append_str(b, "</svg>\n");
}

/* ---- tables ---- */

static void fact(struct buf *b, const char *what, const char *value)
{
    buf_printf(b, "<div><b>%s</b><span>%s</span></div>", value, what);
}

static void facts(struct buf *b, const struct results *r)
{
    char text[24], line[64];
    double seconds = r->lasted_ms > 0 ? (double)r->lasted_ms / 1000 : 1;
    buf_append_str(b, "<div class=\"facts\">");
    fact(b, "phones", count_text(text, (double)r->devices));
    fact(b, "connections at once, at most", count_text(text, (double)r->open_max));
    fact(b, "requests", count_text(text, (double)results_requests(r)));
    fact(b, "requests a second", count_text(text, (double)results_requests(r) / seconds));
    fact(b, "failures", count_text(text, (double)results_failures(r)));
    snprintf(line, sizeof line, "%.1f s", seconds);
    fact(b, "lasted", line);
    snprintf(line, sizeof line, "%.1f / %.1f MB", (double)r->bytes_in / 1e6, (double)r->bytes_out / 1e6);
    fact(b, "in / out", line);
    buf_append_str(b, "</div>\n");
}

static void row_table(struct buf *b, const struct results *r)
{
    static const double shares[] = {0.5, 0.9, 0.99, 0.999};
    char text[24];
    double seconds = r->lasted_ms > 0 ? (double)r->lasted_ms / 1000 : 1;
    buf_append_str(
        b, "<h2>By command, and by part of a connection</h2>\n<div "
           "class=\"wide\"><table><tr><th></th><th>count</th>"
           "<th>a "
           "second</th><th>failed</th><th>p50</th><th>p90</th><th>p99</th><th>p99.9</th><th>max</th></tr>\n");
    for (int i = 0; i < ROWS; i++) {
        const struct hist *h = &r->row[i].times;
        if (r->row[i].count == 0 && r->row[i].failed == 0)
            continue;
        buf_printf(b, "<tr><td>%s</td><td>%llu</td><td>%.1f</td><td%s>%llu</td>", row_name((enum row)i),
                   (unsigned long long)r->row[i].count, (double)r->row[i].count / seconds,
                   r->row[i].failed > 0 ? " class=\"bad\"" : "", (unsigned long long)r->row[i].failed);
        for (size_t k = 0; k < sizeof shares / sizeof shares[0]; k++)
            buf_printf(b, "<td>%s</td>", h->count > 0 ? us_text(text, (double)hist_at(h, shares[k])) : "–");
        buf_printf(b, "<td>%s</td></tr>\n", h->count > 0 ? us_text(text, (double)h->max_us) : "–");
    }
    buf_append_str(b, "</table></div>\n<p>Times count from when a request was due (open model) or sent. A "
                      "Ping that ran out counts by how "
                      "much later than its heartbeat the answer came.</p>\n");
}

static void error_bars(struct buf *b, const struct results *r)
{
    uint64_t most = 1;
    if (r->error_count == 0)
        return;
    for (size_t i = 0; i < r->error_count; i++)
        most = r->errors[i].count > most ? r->errors[i].count : most;
    buf_append_str(b, "<h2>Failures by reason</h2>\n<div "
                      "class=\"wide\"><table><tr><th>reason</th><th>in</th><th>count</th><th></th></tr>\n");
    for (size_t i = 0; i < r->error_count; i++) {
        buf_append_str(b, "<tr><td>");
        escaped(b, r->errors[i].kind);
        buf_printf(b,
                   "</td><td>%s</td><td>%llu</td><td style=\"width:40%%;text-align:left\"><svg viewBox=\"0 0 "
                   "200 10\" "
                   "style=\"background:none\" role=\"presentation\"><rect width=\"%.1f\" height=\"10\" "
                   "style=\"fill:var(--bad)\"/></svg></td></tr>\n",
                   row_name(r->errors[i].row), (unsigned long long)r->errors[i].count,
                   200.0 * (double)r->errors[i].count / (double)most);
    }
    buf_append_str(b, "</table></div>\n");
}

static void gateway_table(struct buf *b, const struct results *r)
{
    bool any = false;
    for (size_t i = 0; i < r->gauge_count; i++) {
        const struct result_gauge *g = &r->gauges[i];
        if (g->last == g->first && strncmp(g->name, "process_", 8) != 0)
            continue;
        if (!any)
            buf_append_str(b, "<h2>The gateway's own figures</h2>\n<div "
                              "class=\"wide\"><table><tr><th>metric</th><th>at the end</th>"
                              "<th>change</th></tr>\n");
        any = true;
        buf_append_str(b, "<tr><td>");
        escaped(b, g->name);
        buf_printf(b, "</td><td>%.10g</td><td>%+.6g</td></tr>\n", g->last, g->last - g->first);
    }
    if (any)
        buf_append_str(b, "</table></div>\n");
}

static void write_page(struct buf *b, const struct results *r)
{
    char started[CLOCK_TEXT], text[24];
    clock_format(started, r->started_ms);
    buf_printf(
        b,
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
        "content=\"width=device-width,initial-scale=1\"><meta name=\"color-scheme\" content=\"light dark\">"
        "<title>easload report</title>\n<style>%s</style></head><body>\n<h1>easload: ",
        style);
    escaped(b, r->target);
    buf_append_str(b, "</h1>\n<p>topology ");
    escaped(b, r->topology);
    buf_printf(b, ", from %s, %llu process%s, easload %s%s</p>\n", started, (unsigned long long)r->parts,
               r->parts == 1 ? "" : "es", STAGATE_VERSION, r->interrupted ? ", interrupted" : "");
    if (results_is_late(r))
        buf_printf(b,
                   "<p class=\"warn\">These figures are the generator's, not the server's: 1 in 100 of what "
                   "was due was begun more "
                   "than %s late.</p>\n",
                   us_text(text, (double)hist_at(&r->row[ROW_LAG].times, 0.99)));
    facts(b, r);
    row_table(b, r);
    error_bars(b, r);
    if (r->bin_count > 1)
        plot_series(b, r);
    plot_percentiles(b, r);
    plot_wake(b, r);
    gateway_table(b, r);
    buf_printf(b,
               "<p>easload's own CPU time %.2f s, memory %.1f MB; it began 99 %% of what was due within "
               "%s.</p>\n</body></html>\n",
               r->cpu_s, (double)r->rss_kb / 1024,
               us_text(text, (double)hist_at(&r->row[ROW_LAG].times, 0.99)));
}

int results_html(const struct results *r, const char *path)
{
    struct buf b;
    buf_init(&b, 64 * 1024 * 1024);
    write_page(&b, r);
    FILE *f = fopen(path, "w");
    int rc = f == NULL ? -errno : 0;
    if (f != NULL && fwrite(b.data, 1, b.len, f) != b.len)
        rc = -EIO;
    if (f != NULL && fclose(f) != 0 && rc == 0)
        rc = -errno;
    buf_deinit(&b);
    return rc;
}
