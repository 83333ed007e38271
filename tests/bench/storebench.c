/* Measures one ticket store from inside, as a gateway's event loop uses it. authority.py starts it and sends
 * a command a line; each is answered with one line of JSON:
 *
 *   fill N           issues background tickets number 0 to N-1, those that are not there yet
 *   redeem N MOST    redeems N of them, in no order; where that has to wait, MOST at a time
 *   stall MS RATE    redeems a few in each turn of the loop for so long, while RATE tickets a second are
 * issued, and says how long turns took single N         issues N session tickets, and redeems each, many at a
 * time memory           of this process
 *
 * Every answer of the store is checked; a wrong one ends the program. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "sta/store.h"
#include "tickets.h"

enum {
    ISSUING = 4096,    /* at once while filling */
    REDEEMING = 256,   /* at once where redeeming has to wait */
    BATCH = 1000,      /* redemptions between two looks at the clock */
    TURN = 16,         /* redemptions in a turn of the loop while stalls are looked for */
    TURN_ISSUES = 4,   /* at most, where the machine has held up the loop and many are due */
    LATE_NS = 1000000, /* a stall */
};

static struct {
    struct store *store;
    struct store_client *client;
    uv_loop_t loop;
    uint64_t tickets; /* background ones that are there */
    uint64_t serial;  /* numbers of others, far above them */
    uint64_t open;    /* requests */
    uint64_t done;
    uint64_t random;
} bench = {.serial = UINT64_C(1) << 40};

__attribute__((noreturn, format(printf, 1, 2))) static void fail(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fprintf(stderr, "storebench: ");
    vfprintf(stderr, fmt, ap);
    fprintf(stderr, "\n");
    va_end(ap);
    exit(1);
}

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec ts;
    clock_gettime(clock, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static uint64_t random_below(uint64_t n)
{
    return ticket_mix(bench.random++) % n;
}

static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* ---- issuing ---- */

static void on_issued(void *owner, int rc)
{
    (void)owner;
    if (rc != 0)
        fail("issuing failed: %d", rc);
    bench.open--;
    bench.done++;
}

static void issue(uint64_t number, enum ticket_class class)
{
    struct ticket t;
    ticket_make(&t, number, class, clock_wall_ms());
    bench.open++;
    store_client_issue(bench.client, &t.record, on_issued, NULL);
}

static void issue_many(uint64_t first, uint64_t count, enum ticket_class class)
{
    for (uint64_t i = 0; i < count || bench.open > 0;) {
        while (i < count && bench.open < ISSUING)
            issue(first + i++, class);
        uv_run(&bench.loop, UV_RUN_ONCE);
    }
}

static void run_fill(uint64_t count, uint64_t unused)
{
    (void)unused;
    uint64_t began = clock_ns(CLOCK_MONOTONIC), cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    uint64_t first = bench.tickets;
    if (count > first)
        issue_many(first, count - first, TICKET_BACKGROUND);
    bench.tickets = count > first ? count : first;
    printf("{\"tickets\": %" PRIu64 ", \"issued\": %" PRIu64 ", \"wall_ns\": %" PRIu64
           ", \"cpu_ns\": %" PRIu64 "}\n",
           bench.tickets, bench.tickets - first, clock_ns(CLOCK_MONOTONIC) - began,
           clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu);
}

/* ---- redeeming ---- */

static void check(enum redeem result, struct record *r, const char *detail)
{
    if (result != REDEEM_OK || r == NULL || r->user[0] == '\0')
        fail("a live ticket was not redeemed: verdict %d, %s", (int)result, detail ? detail : "");
    free(r);
    bench.done++;
}

static void on_redeemed(void *owner, enum redeem result, struct record *r, const char *detail)
{
    (void)owner;
    bench.open--;
    check(result, r, detail);
}

/* From the value that a client presents, as a gateway does. */
static void redeem(uint64_t number)
{
    char value[TICKET_DIGITS + 1];
    uint8_t hash[RECORD_HASH];
    enum redeem result = REDEEM_DOWN;
    struct record *r;
    ticket_value(value, number);
    record_hash(hash, value, TICKET_DIGITS);
    if (store_client_redeem(bench.client, hash, clock_wall_ms(), &result, &r, on_redeemed, NULL) == NULL)
        check(result, r, NULL);
    else
        bench.open++;
}

static void run_redeem(uint64_t count, uint64_t most)
{
    size_t batches = (size_t)(count / BATCH);
    uint64_t *each = mem_alloc((batches + 1) * sizeof *each);
    if (bench.tickets == 0 || batches == 0 || most == 0)
        fail("redeem: fill first, and redeem at least %d", BATCH);
    uint64_t began = clock_ns(CLOCK_MONOTONIC), cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    uint64_t last = clock_ns(CLOCK_THREAD_CPUTIME_ID), total = 0;
    for (size_t b = 0; b < batches; b++) {
        uint64_t started = 0;
        for (bench.done = 0; bench.done < BATCH;) {
            for (; started < BATCH && bench.open < most; started++)
                redeem(random_below(bench.tickets));
            if (bench.open > 0)
                uv_run(&bench.loop, UV_RUN_ONCE);
        }
        uint64_t now = clock_ns(CLOCK_THREAD_CPUTIME_ID);
        each[b] = (now - last) / BATCH;
        total += now - last;
        last = now;
    }
    uint64_t wall = clock_ns(CLOCK_MONOTONIC) - began;
    qsort(each, batches, sizeof *each, compare_u64);
    printf("{\"redeemed\": %zu, \"wall_ns\": %" PRIu64 ", \"thread_ns\": %" PRIu64 ", \"cpu_ns\": %" PRIu64
           ", \"least_ns\": %" PRIu64 ", \"median_ns\": %" PRIu64 ", \"p99_ns\": %" PRIu64
           ", \"most_ns\": %" PRIu64 "}\n",
           batches * BATCH, wall, total, clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu, each[0], each[batches / 2],
           each[batches * 99 / 100], each[batches - 1]);
    free(each);
}

/* ---- stalls ---- */

/* What a turn of the loop took. Where the thread did not let go of its processor by itself, it has waited for
 * nobody: what is missing between wall clock and CPU time was taken by other processes, or by the host of a
 * virtual machine (which now and then appears as CPU time, too). */
struct turn {
    uint64_t wall_ns, cpu_ns, queued_ns; /* queued: ready to run, but others did */
    long blocked, preempted;             /* switches to other threads: because it waited, or was put aside */
};

struct watch {
    int schedstat;
    uint64_t wall, cpu, queued;
    struct rusage usage;
    uint64_t turns;
    uint64_t late, late_waited, late_cpu; /* 1 ms and more: by the clock, by waited_ns, of CPU time */
    struct turn worst, worst_waited, worst_cpu;
};

static uint64_t waited_ns(const struct turn *t)
{
    uint64_t taken = t->cpu_ns + t->queued_ns;
    return t->blocked > 0 && t->wall_ns > taken ? t->wall_ns - taken : 0;
}

static void watch_read(struct watch *w)
{
    char text[96];
    ssize_t n = pread(w->schedstat, text, sizeof text - 1, 0);
    text[n > 0 ? n : 0] = '\0';
    if (sscanf(text, "%*u %" SCNu64, &w->queued) != 1)
        fail("no schedstat");
    w->cpu = clock_ns(CLOCK_THREAD_CPUTIME_ID); /* schedstat's is as of the last tick */
    getrusage(RUSAGE_THREAD, &w->usage);
    w->wall = clock_ns(CLOCK_MONOTONIC);
}

/* The end of a turn and the beginning of the next. */
static void watch_turn(struct watch *w)
{
    struct watch before = *w;
    watch_read(w);
    struct turn t = {.wall_ns = w->wall - before.wall,
                     .cpu_ns = w->cpu - before.cpu,
                     .queued_ns = w->queued - before.queued,
                     .blocked = w->usage.ru_nvcsw - before.usage.ru_nvcsw,
                     .preempted = w->usage.ru_nivcsw - before.usage.ru_nivcsw};
    w->turns++;
    w->late += t.wall_ns > LATE_NS;
    w->late_waited += waited_ns(&t) > LATE_NS;
    w->late_cpu += t.cpu_ns > LATE_NS;
    if (t.wall_ns > w->worst.wall_ns)
        w->worst = t;
    if (waited_ns(&t) > waited_ns(&w->worst_waited))
        w->worst_waited = t;
    if (t.cpu_ns > w->worst_cpu.cpu_ns)
        w->worst_cpu = t;
}

static void turn_print(const char *name, const struct turn *t)
{
    printf("\"%s\": {\"wall_ns\": %" PRIu64 ", \"waited_ns\": %" PRIu64 ", \"cpu_ns\": %" PRIu64
           ", \"queued_ns\": %" PRIu64 ", \"blocked\": %ld, \"preempted\": %ld}",
           name, t->wall_ns, waited_ns(t), t->cpu_ns, t->queued_ns, t->blocked, t->preempted);
}

static void on_idle(uv_idle_t *idle)
{
    (void)idle; /* the loop does not sleep */
}

static void run_stall(uint64_t ms, uint64_t rate)
{
    struct watch w = {0};
    uv_idle_t idle;
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%d/schedstat", (int)gettid());
    if ((w.schedstat = open(path, O_RDONLY | O_CLOEXEC)) < 0)
        fail("%s: %s", path, strerror(errno));
    uv_idle_init(&bench.loop, &idle);
    uv_idle_start(&idle, on_idle);
    uint64_t issued = 0, redeemed = 0, first = bench.serial;
    watch_read(&w);
    uint64_t began = w.wall, cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    while (w.wall - began < ms * 1000000) {
        uint64_t due = (w.wall - began) * rate / 1000000000;
        for (int i = 0; i < TURN_ISSUES && issued < due; i++, issued++)
            issue(first + issued, TICKET_BACKGROUND);
        for (int i = 0; i < TURN; i++, redeemed++)
            redeem(random_below(bench.tickets));
        uv_run(&bench.loop, UV_RUN_NOWAIT);
        watch_turn(&w);
    }
    uint64_t wall = w.wall - began;
    cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    uint64_t waiting = bench.open;
    uv_close((uv_handle_t *)&idle, NULL);
    do
        uv_run(&bench.loop, UV_RUN_NOWAIT); /* closes the handle, whatever is open */
    while (bench.open > 0);
    bench.serial += issued;
    close(w.schedstat);
    printf("{\"wall_ns\": %" PRIu64 ", \"cpu_ns\": %" PRIu64 ", \"turns\": %" PRIu64
           ", \"redeemed\": %" PRIu64 ", \"issued\": %" PRIu64 ", \"waiting\": %" PRIu64
           ", \"late\": %" PRIu64 ", \"late_waited\": %" PRIu64 ", \"late_cpu\": %" PRIu64 ", ",
           wall, cpu, w.turns, redeemed, issued, waiting, w.late, w.late_waited, w.late_cpu);
    turn_print("worst", &w.worst);
    printf(", ");
    turn_print("worst_waited", &w.worst_waited);
    printf(", ");
    turn_print("worst_cpu", &w.worst_cpu);
    printf("}\n");
}

/* ---- single use ---- */

static void run_single(uint64_t count, uint64_t unused)
{
    (void)unused;
    uint64_t first = bench.serial;
    bench.serial += count;
    issue_many(first, count, TICKET_SESSION);
    bench.done = 0;
    uint64_t began = clock_ns(CLOCK_MONOTONIC), cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    uint64_t thread = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    for (uint64_t i = 0; i < count || bench.open > 0;) {
        for (; i < count && bench.open < REDEEMING; i++)
            redeem(first + i);
        if (bench.open > 0)
            uv_run(&bench.loop, UV_RUN_ONCE);
    }
    uint64_t wall = clock_ns(CLOCK_MONOTONIC) - began;
    cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    thread = clock_ns(CLOCK_THREAD_CPUTIME_ID) - thread;
    if (bench.done != count)
        fail("%" PRIu64 " of %" PRIu64 " session tickets were redeemed", bench.done, count);
    struct ticket t;
    struct record *r = NULL;
    ticket_make(&t, first, TICKET_SESSION, 0);
    if (store_redeem(bench.store, t.record.hash, clock_wall_ms(), &r) != REDEEM_USED)
        fail("a session ticket was good for two uses");
    free(r);
    printf("{\"redeemed\": %" PRIu64 ", \"wall_ns\": %" PRIu64 ", \"thread_ns\": %" PRIu64
           ", \"cpu_ns\": %" PRIu64 "}\n",
           count, wall, thread, cpu);
}

/* ---- memory ---- */

static void run_memory(uint64_t unused, uint64_t unused2)
{
    (void)unused;
    (void)unused2;
    FILE *f = fopen("/proc/self/smaps_rollup", "re");
    char line[128];
    unsigned long long pss = 0, anonymous = 0, kb;
    while (f && fgets(line, sizeof line, f)) {
        if (sscanf(line, "Pss: %llu", &kb) == 1)
            pss = kb * 1024;
        else if (sscanf(line, "Pss_Anon: %llu", &kb) == 1)
            anonymous = kb * 1024;
    }
    if (f)
        fclose(f);
    printf("{\"pss\": %llu, \"anonymous\": %llu}\n", pss, anonymous);
}

/* ---- start ---- */

static const struct command {
    const char *name;
    void (*run)(uint64_t, uint64_t);
} commands[] = {{"fill", run_fill},     {"redeem", run_redeem}, {"stall", run_stall},
                {"single", run_single}, {"memory", run_memory}, {NULL, NULL}};

static void obey(const char *line)
{
    char name[16] = "";
    uint64_t a = 0, b = 0;
    sscanf(line, "%15s %" SCNu64 " %" SCNu64, name, &a, &b);
    const struct command *c = commands;
    while (c->name && strcmp(c->name, name) != 0)
        c++;
    if (c->name == NULL)
        fail("no command '%s'", name);
    uv_update_time(&bench.loop); /* it stood still while no command came */
    c->run(a, b);
    fflush(stdout);
}

/* The loop stays on the first processor that it may use; the store's thread goes where there is room. */
static void keep_to_one_cpu(void)
{
    cpu_set_t allowed, first;
    int cpu = 0;
    if (sched_getaffinity(0, sizeof allowed, &allowed) < 0)
        return;
    while (cpu < CPU_SETSIZE - 1 && !CPU_ISSET(cpu, &allowed))
        cpu++;
    CPU_ZERO(&first);
    CPU_SET(cpu, &first);
    sched_setaffinity(0, sizeof first, &first);
}

int main(int argc, char **argv)
{
    char why[512], line[128];
    /* a ceiling: a million tickets with their indexes, the used ones, and room to spare */
    struct store_options options = {.max_bytes = (size_t)8 << 30, .purge_every_ms = 3600000};
    if (argc != 2 || argv[1][0] == '-') {
        fprintf(
            stderr,
            "usage: storebench STORE-URL\nReads commands, a line each: fill N, redeem N MOST, stall MS RATE, "
            "single N, memory.\n");
        return 2;
    }
    log_setup(LOG_JSON, LOG_WARN);
    bench.random = (uint64_t)getpid() << 32;
    uv_loop_init(&bench.loop);
    if (store_open(&bench.store, argv[1], &options, why, sizeof why) < 0)
        fail("%s", why);
    bench.client = store_client_new(bench.store, &bench.loop);
    keep_to_one_cpu();
    while (fgets(line, sizeof line, stdin))
        obey(line);
    store_client_close(bench.client, NULL, NULL);
    uv_run(&bench.loop, UV_RUN_DEFAULT);
    store_close(bench.store);
    uv_loop_close(&bench.loop);
    return 0;
}
