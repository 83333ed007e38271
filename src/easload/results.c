/* Counting, adding up, and JSON both ways. */
#include "results.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"

#define FORMAT   1
#define TIME_MAX INT64_C(1000000000000000) /* ms: far beyond any run, and safe to add up */

const char *row_name(enum row r)
{
    static const char *const names[] = {[ROW_TICKET] = "ticket",     [ROW_TCP] = "TCP",
                                        [ROW_TLS] = "TLS",           [ROW_TUNNEL] = "tunnel",
                                        [ROW_INNER] = "inner TLS",   [ROW_OPENED] = "connection",
                                        [ROW_WAKE] = "mail to wake", [ROW_SYNCED] = "mail to sync",
                                        [ROW_LAG] = "own lag"};
    return r < (enum row)VERBS ? verb_names[r] : names[r];
}

void results_init(struct results *r)
{
    *r = (struct results){.bin_ms = 1000, .parts = 1};
}

void results_deinit(struct results *r)
{
    for (size_t i = 0; i < ROWS; i++)
        hist_deinit(&r->row[i].times);
    for (size_t i = 0; i < r->gauge_count; i++)
        free(r->gauges[i].name);
    free(r->target);
    free(r->topology);
}

static void count_error(struct results *r, enum row row, const char *kind, uint64_t n)
{
    size_t i = 0;
    while (i < r->error_count && (r->errors[i].row != row || strcmp(r->errors[i].kind, kind) != 0))
        i++;
    if (i == r->error_count && i == RESULTS_ERRORS) {
        i--; /* the last one is for all that have no place of their own */
        strcpy(r->errors[i].kind, "other");
    } else if (i == r->error_count) {
        r->errors[i].row = row;
        mem_copy_text(r->errors[i].kind, sizeof r->errors[i].kind, kind);
        r->error_count++;
    }
    r->errors[i].count += n;
}

void results_failed(struct results *r, enum row row, const char *kind)
{
    r->row[row].failed++;
    count_error(r, row, kind, 1);
}

uint64_t results_requests(const struct results *r)
{
    uint64_t n = 0;
    for (size_t i = 0; i < VERBS; i++)
        n += r->row[i].count;
    return n;
}

uint64_t results_failures(const struct results *r)
{
    uint64_t n = 0;
    for (size_t i = 0; i < ROWS; i++)
        n += r->row[i].failed;
    return n;
}

/* Two neighbours as one: rates add up, of percentiles the middle one is weighted and the others are the
 * worst. */
static struct result_bin join(const struct result_bin *a, const struct result_bin *b)
{
    struct result_bin c = *b;
    uint64_t n = a->requests + b->requests;
    c.requests = n;
    c.errors = a->errors + b->errors;
    c.p50_us = n > 0 ? (a->p50_us * a->requests + b->p50_us * b->requests) / n : 0;
    c.p99_us = a->p99_us > b->p99_us ? a->p99_us : b->p99_us;
    c.max_us = a->max_us > b->max_us ? a->max_us : b->max_us;
    return c;
}

static void halve(struct results *r)
{
    size_t n = 0;
    for (size_t i = 0; i < r->bin_count; i += 2)
        r->bins[n++] = i + 1 < r->bin_count ? join(&r->bins[i], &r->bins[i + 1]) : r->bins[i];
    r->bin_count = n;
    r->bin_ms *= 2;
}

void results_second(struct results *r, const struct result_bin *b)
{
    r->partial = join(&r->partial, b);
    r->partial_ms += 1000;
    if (r->partial_ms < r->bin_ms)
        return;
    if (r->bin_count == RESULTS_BINS) {
        halve(r);
        return; /* this one is but half of a bin now */
    }
    r->bins[r->bin_count++] = r->partial;
    r->partial = (struct result_bin){0};
    r->partial_ms = 0;
}

/* ---- merging ---- */

static void merge_bins(struct results *into, const struct results *other)
{
    struct results *from = mem_alloc(sizeof *from);
    memcpy(from, other, sizeof *from); /* only its bins are touched */
    while (from->bin_ms < into->bin_ms)
        halve(from);
    while (into->bin_ms < from->bin_ms)
        halve(into);
    /* by the clock, to the next bin */
    int64_t shift = (from->started_ms - into->started_ms + from->bin_ms / 2) / from->bin_ms;
    for (size_t i = 0; i < from->bin_count; i++) {
        int64_t at = (int64_t)i + (shift > 0 ? shift : 0);
        if (at >= RESULTS_BINS)
            break;
        while ((int64_t)into->bin_count <= at)
            into->bins[into->bin_count++] = (struct result_bin){0};
        struct result_bin *b = &into->bins[at], sum = join(b, &from->bins[i]);
        sum.devices = b->devices + from->bins[i].devices;
        sum.open = b->open + from->bins[i].open;
        sum.waiting = b->waiting + from->bins[i].waiting;
        *b = sum;
    }
    free(from);
}

static void replace_text(char **text, const char *other)
{
    if (*text == NULL)
        *text = mem_strdup(other);
    else if (other != NULL && strcmp(*text, other) != 0) {
        free(*text);
        *text = mem_strdup("several");
    }
}

void results_merge(struct results *into, const struct results *from)
{
    for (size_t i = 0; i < ROWS; i++) {
        into->row[i].count += from->row[i].count;
        into->row[i].failed += from->row[i].failed;
        hist_merge(&into->row[i].times, &from->row[i].times);
    }
    for (size_t i = 0; i < from->error_count; i++)
        count_error(into, from->errors[i].row, from->errors[i].kind, from->errors[i].count);
    int64_t end = into->started_ms + into->lasted_ms, other = from->started_ms + from->lasted_ms;
    merge_bins(into, from);
    if (from->started_ms < into->started_ms)
        into->started_ms = from->started_ms;
    into->lasted_ms = (end > other ? end : other) - into->started_ms;
    into->bytes_in += from->bytes_in;
    into->bytes_out += from->bytes_out;
    into->connections += from->connections;
    into->devices += from->devices;
    into->dropped += from->dropped;
    into->cpu_s += from->cpu_s;
    into->rss_kb += from->rss_kb;
    into->open_max += from->open_max;
    into->parts += from->parts;
    into->interrupted |= from->interrupted;
    replace_text(&into->target, from->target);
    replace_text(&into->topology, from->topology);
    if (into->gauge_count == 0) {
        for (size_t i = 0; i < from->gauge_count; i++) {
            into->gauges[i] = from->gauges[i];
            into->gauges[i].name = mem_strdup(from->gauges[i].name);
        }
        into->gauge_count = from->gauge_count;
    }
}

/* ---- the gateway's metrics ---- */

static void note_gauge(struct results *r, const char *name, size_t len, double value)
{
    for (size_t i = 0; i < r->gauge_count; i++)
        if (strlen(r->gauges[i].name) == len && memcmp(r->gauges[i].name, name, len) == 0) {
            r->gauges[i].last = value;
            return;
        }
    if (r->gauge_count < RESULTS_GAUGES)
        r->gauges[r->gauge_count++] =
            (struct result_gauge){.name = mem_strndup(name, len), .first = value, .last = value};
}

void results_gauges(struct results *r, const char *text, size_t len)
{
    const char *end = text + len;
    for (const char *p = text; p < end;) {
        const char *stop = memchr(p, '\n', (size_t)(end - p));
        if (stop == NULL)
            stop = end;
        const char *space = memrchr(p, ' ', (size_t)(stop - p));
        if (*p != '#' && space != NULL && space > p && space - p < 300 && stop - space < 40) {
            char number[40], *rest;
            memcpy(number, space + 1, (size_t)(stop - space - 1));
            number[stop - space - 1] = '\0';
            double value = strtod(number, &rest);
            if (rest != number && *rest == '\0' && value == value)
                note_gauge(r, p, (size_t)(space - p), value);
        }
        p = stop + 1;
    }
}

/* ---- JSON ---- */

static json_t *number(uint64_t n)
{
    return json_integer((json_int_t)n);
}

static json_t *hist_to_json(const struct hist *h)
{
    static const struct {
        const char *name;
        double share;
    } points[] = {{"p50_us", 0.5}, {"p90_us", 0.9}, {"p99_us", 0.99}, {"p999_us", 0.999}};
    json_t *d = json_object(), *buckets = json_array();
    json_object_set_new(d, "count", number(h->count));
    json_object_set_new(d, "min_us", number(h->min_us));
    json_object_set_new(d, "max_us", number(h->max_us));
    json_object_set_new(d, "sum_us", number(h->sum_us));
    for (size_t i = 0; i < sizeof points / sizeof points[0]; i++)
        json_object_set_new(d, points[i].name, number(hist_at(h, points[i].share)));
    for (size_t i = 0; h->n != NULL && i < HIST_BUCKETS; i++)
        if (h->n[i] != 0)
            json_array_append_new(buckets, json_pack("[I, I]", (json_int_t)i, (json_int_t)h->n[i]));
    json_object_set_new(d, "buckets", buckets);
    return d;
}

static json_t *bins_to_json(const struct results *r)
{
    json_t *list = json_array();
    for (size_t i = 0; i < r->bin_count; i++) {
        const struct result_bin *b = &r->bins[i];
        json_array_append_new(list,
                              json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "requests",
                                        (json_int_t)b->requests, "errors", (json_int_t)b->errors, "p50_us",
                                        (json_int_t)b->p50_us, "p99_us", (json_int_t)b->p99_us, "max_us",
                                        (json_int_t)b->max_us, "devices", (json_int_t)b->devices, "open",
                                        (json_int_t)b->open, "waiting", (json_int_t)b->waiting));
    }
    return list;
}

json_t *results_to_json(const struct results *r)
{
    char started[CLOCK_TEXT];
    json_t *d = json_object(), *rows = json_object(), *errors = json_array(), *gauges = json_object();
    clock_format(started, r->started_ms);
    json_object_set_new(d, "easload", json_string(STAGATE_VERSION));
    json_object_set_new(d, "format", json_integer(FORMAT));
    json_object_set_new(d, "target", json_string(r->target != NULL ? r->target : ""));
    json_object_set_new(d, "topology", json_string(r->topology != NULL ? r->topology : ""));
    json_object_set_new(d, "started", json_string(started));
    json_object_set_new(d, "started_ms", json_integer(r->started_ms));
    json_object_set_new(d, "lasted_ms", json_integer(r->lasted_ms));
    json_object_set_new(d, "interrupted", json_boolean(r->interrupted));
    json_object_set_new(d, "parts", number(r->parts));
    json_object_set_new(d, "devices", number(r->devices));
    json_object_set_new(d, "connections", number(r->connections));
    json_object_set_new(d, "open_max", number(r->open_max));
    json_object_set_new(d, "dropped", number(r->dropped));
    json_object_set_new(d, "bytes_in", number(r->bytes_in));
    json_object_set_new(d, "bytes_out", number(r->bytes_out));
    json_object_set_new(d, "cpu_s", json_real(r->cpu_s));
    json_object_set_new(d, "rss_kb", number(r->rss_kb));
    for (size_t i = 0; i < ROWS; i++) {
        json_t *row = json_object();
        json_object_set_new(row, "count", number(r->row[i].count));
        json_object_set_new(row, "failed", number(r->row[i].failed));
        json_object_set_new(row, "times", hist_to_json(&r->row[i].times));
        json_object_set_new(rows, row_name((enum row)i), row);
    }
    for (size_t i = 0; i < r->error_count; i++)
        json_array_append_new(errors, json_pack("{s:s, s:s, s:I}", "row", row_name(r->errors[i].row), "kind",
                                                r->errors[i].kind, "count", (json_int_t)r->errors[i].count));
    for (size_t i = 0; i < r->gauge_count; i++)
        json_object_set_new(gauges, r->gauges[i].name,
                            json_pack("[f, f]", r->gauges[i].first, r->gauges[i].last));
    json_object_set_new(d, "rows", rows);
    json_object_set_new(d, "errors", errors);
    json_object_set_new(d, "bin_ms", json_integer(r->bin_ms));
    json_object_set_new(d, "bins", bins_to_json(r));
    json_object_set_new(d, "gateway", gauges);
    return d;
}

static uint64_t get(const json_t *d, const char *key)
{
    json_int_t n = json_integer_value(json_object_get(d, key));
    return n > 0 ? (uint64_t)n : 0;
}

static int hist_from_json(struct hist *h, const json_t *d)
{
    size_t i;
    json_t *pair;
    json_array_foreach(json_object_get(d, "buckets"), i, pair)
    {
        json_int_t bucket = json_integer_value(json_array_get(pair, 0)),
                   n = json_integer_value(json_array_get(pair, 1));
        if (bucket < 0 || n < 0 || hist_put(h, (size_t)bucket, (uint64_t)n) < 0)
            return ERR_SYNTAX;
    }
    h->min_us = get(d, "min_us");
    h->max_us = get(d, "max_us");
    h->sum_us = get(d, "sum_us");
    return 0;
}

static int row_by_name(const char *name)
{
    for (int i = 0; name != NULL && i < ROWS; i++)
        if (strcmp(row_name((enum row)i), name) == 0)
            return i;
    return -1;
}

static void bins_from_json(struct results *r, const json_t *list)
{
    size_t i;
    json_t *b;
    json_array_foreach(list, i, b)
    {
        const struct result_bin bin = {.requests = get(b, "requests"),
                                       .errors = get(b, "errors"),
                                       .p50_us = get(b, "p50_us"),
                                       .p99_us = get(b, "p99_us"),
                                       .max_us = get(b, "max_us"),
                                       .devices = (uint32_t)get(b, "devices"),
                                       .open = (uint32_t)get(b, "open"),
                                       .waiting = (uint32_t)get(b, "waiting")};
        if (r->bin_count < RESULTS_BINS)
            r->bins[r->bin_count++] = bin;
    }
}

int results_from_json(struct results *r, const json_t *doc, const char **why)
{
    const char *key;
    size_t i;
    json_t *v;
    results_init(r);
    *why = "not a result of easload run";
    if (!json_is_string(json_object_get(doc, "easload")))
        return ERR_SYNTAX;
    *why = "written by another version of easload";
    if (get(doc, "format") != FORMAT)
        return ERR_SYNTAX;
    *why = "damaged";
    json_object_foreach(json_object_get(doc, "rows"), key, v)
    {
        int row = row_by_name(key);
        if (row < 0)
            return ERR_SYNTAX;
        r->row[row].count = get(v, "count");
        r->row[row].failed = get(v, "failed");
        if (hist_from_json(&r->row[row].times, json_object_get(v, "times")) < 0)
            return ERR_SYNTAX;
    }
    json_array_foreach(json_object_get(doc, "errors"), i, v)
    {
        const char *kind = json_string_value(json_object_get(v, "kind"));
        int row = row_by_name(json_string_value(json_object_get(v, "row")));
        if (row < 0 || kind == NULL)
            return ERR_SYNTAX;
        count_error(r, (enum row)row, kind, get(v, "count"));
    }
    json_object_foreach(json_object_get(doc, "gateway"), key, v) if (r->gauge_count < RESULTS_GAUGES)
        r->gauges[r->gauge_count++] = (struct result_gauge){.name = mem_strdup(key),
                                                            .first = json_number_value(json_array_get(v, 0)),
                                                            .last = json_number_value(json_array_get(v, 1))};
    r->bin_ms = (int64_t)get(doc, "bin_ms");
    if (r->bin_ms < 1000 || r->bin_ms > TIME_MAX || r->bin_ms % 1000 != 0 ||
        (r->bin_ms / 1000 & (r->bin_ms / 1000 - 1)) != 0)
        return ERR_SYNTAX; /* widths double: what is none of these cannot be merged */
    if (get(doc, "started_ms") > TIME_MAX || get(doc, "lasted_ms") > TIME_MAX)
        return ERR_SYNTAX;
    bins_from_json(r, json_object_get(doc, "bins"));
    r->started_ms = (int64_t)get(doc, "started_ms");
    r->lasted_ms = (int64_t)get(doc, "lasted_ms");
    r->interrupted = json_is_true(json_object_get(doc, "interrupted"));
    r->parts = get(doc, "parts");
    r->devices = get(doc, "devices");
    r->connections = get(doc, "connections");
    r->open_max = get(doc, "open_max");
    r->dropped = get(doc, "dropped");
    r->bytes_in = get(doc, "bytes_in");
    r->bytes_out = get(doc, "bytes_out");
    r->cpu_s = json_number_value(json_object_get(doc, "cpu_s"));
    r->rss_kb = get(doc, "rss_kb");
    r->target = mem_strdup(json_string_value(json_object_get(doc, "target")));
    r->topology = mem_strdup(json_string_value(json_object_get(doc, "topology")));
    return 0;
}

bool results_is_late(const struct results *r)
{
    uint64_t lag = hist_at(&r->row[ROW_LAG].times, 0.99), measured = 0;
    for (size_t i = 0; i < VERBS; i++) {
        uint64_t p = hist_at(&r->row[i].times, 0.99);
        if (i != VERB_PING && p > measured)
            measured = p;
    }
    return lag > 5000 && lag > measured / 10;
}

int results_check(const char *json, const char *report)
{
    const char *const paths[] = {json, report};
    for (size_t i = 0; i < 2; i++) {
        if (paths[i] == NULL || (i == 0 && strcmp(paths[i], "-") == 0))
            continue;
        FILE *f = fopen(paths[i], "a");
        if (f == NULL) {
            fprintf(stderr, "easload: %s cannot be written: %s\n", paths[i], strerror(errno));
            return 1;
        }
        fclose(f);
    }
    return 0;
}

int results_write(const struct results *r, const char *json, const char *report)
{
    int status = 0;
    if (json != NULL) {
        json_t *doc = results_to_json(r);
        int rc = strcmp(json, "-") == 0 ? json_dumpf(doc, stdout, JSON_INDENT(1))
                                        : json_dump_file(doc, json, JSON_INDENT(1));
        if (rc < 0) {
            fprintf(stderr, "easload: %s cannot be written: %s\n", json, strerror(errno));
            status = 1;
        } else if (strcmp(json, "-") == 0) {
            putchar('\n');
        }
        json_decref(doc);
    }
    int rc = report != NULL ? results_html(r, report) : 0;
    if (rc < 0) {
        fprintf(stderr, "easload: %s cannot be written: %s\n", report, strerror(-rc));
        status = 1;
    }
    return status;
}
