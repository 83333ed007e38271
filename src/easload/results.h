/* What a run has measured: counts and times by row, failures by kind, a series over time. Results of several
 * processes add up. Written as JSON and read back; results_text.c and results_html.c show them.
 */
#ifndef STAGATE_EASLOAD_RESULTS_H
#define STAGATE_EASLOAD_RESULTS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "device.h"
#include "hist.h"

enum row {
    /* one for each enum verb first: from when it was due, or sent, to the whole answer. A Ping that ran out
       counts by how much later than its heartbeat it was answered, one that told of changes has no time here
     */
    ROW_TICKET = VERBS, /* signing in for one */
    ROW_TCP,
    ROW_TLS,
    ROW_TUNNEL,
    ROW_INNER,
    ROW_OPENED, /* all of the opening; from when it was due */
    ROW_WAKE, /* from a mail's DateReceived to the Ping's answer, where the phone was waiting when it came */
    ROW_SYNCED, /* to the end of the Sync that brought it */
    ROW_LAG,    /* how much later than due the generator began something */
    ROWS
};
const char *row_name(enum row r); /* "Sync", "ticket", "TCP", ... for people and as key */

#define RESULTS_ERRORS 200
#define RESULTS_BINS   600
#define RESULTS_GAUGES 400

struct result_error { /* failures of one kind */
    enum row row;
    char kind[FAILURE_KIND];
    uint64_t count;
};

struct result_bin { /* of the series; phones are what there were at its end */
    uint64_t requests, errors, p50_us, p99_us, max_us;
    uint32_t devices, open, waiting;
};

struct result_gauge { /* of the gateway's metrics */
    char *name;       /* with labels; owned */
    double first, last;
};

struct results {
    struct {
        uint64_t count, failed;
        struct hist times;
    } row[ROWS];
    struct result_error errors[RESULTS_ERRORS];
    size_t error_count;
    struct result_bin bins[RESULTS_BINS];
    size_t bin_count;
    int64_t bin_ms;            /* width */
    struct result_bin partial; /* the bin that is being filled */
    int64_t partial_ms;
    int64_t started_ms; /* wall clock */
    int64_t lasted_ms;
    uint64_t bytes_in, bytes_out, connections, devices, dropped;
    double cpu_s;            /* the generator's */
    uint64_t rss_kb;         /* the generator's, at most */
    uint64_t parts;          /* processes in it */
    uint64_t open_max;       /* connections at once */
    char *target, *topology; /* owned */
    bool interrupted;
    struct result_gauge gauges[RESULTS_GAUGES];
    size_t gauge_count;
};

void results_init(struct results *r);
void results_deinit(struct results *r);

void results_failed(struct results *r, enum row row, const char *kind);
uint64_t results_requests(const struct results *r); /* exchanges, of all verbs */
uint64_t results_failures(const struct results *r);
/* What one more second brought. When there are too many bins, each two become one. */
void results_second(struct results *r, const struct result_bin *b);
void results_merge(struct results *into, const struct results *from);
/* Prometheus text (exposition format 0.0.4): what is there before the run, and again whenever it is called.
 */
void results_gauges(struct results *r, const char *text, size_t len);

json_t *results_to_json(const struct results *r); /* owned by the caller */
/* 0, or ERR_SYNTAX with *why a constant sentence. r is initialised first. */
int results_from_json(struct results *r, const json_t *doc, const char **why);

void results_print(const struct results *r, FILE *to);
/* One HTML page with its plots in it, readable without scripts. 0, or -errno. */
int results_html(const struct results *r, const char *path);
/* Whether its own lateness spoils a run's figures: 99 % within 5 ms, or a tenth of what was measured. */
bool results_is_late(const struct results *r);
/* Whether the files that --json and --report name can be written: looked at before a run, which may take
 * hours. They are made, not changed. 0, or an exit code with everything said. */
int results_check(const char *json, const char *report);
/* Writes them; NULL: nothing. 0, or an exit code with everything said. */
int results_write(const struct results *r, const char *json, const char *report);

#endif
