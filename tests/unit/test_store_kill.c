/* kill -9 at any moment: what the LMDB store acknowledged is there, and a single use that was acknowledged
 * stays used. A child issues and redeems session tickets and writes each step to a pipe; the parent kills it
 * at a random moment, opens the store and compares. Indexes, limits and notes of ends are in step after each.
 */
#include "lmdb_fixture.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <time.h>

#include "base/clock.h"

enum { ROUNDS = 30, TICKETS_MAX = 200000, IN_FLIGHT = 24 };

enum step_kind { ISSUED = 1, ASKED, REDEEMED };

struct step { /* what the child reports; small enough to be written whole */
    uint32_t kind;
    uint32_t ticket;
};

static uint8_t reported[TICKETS_MAX]; /* the highest step heard of */

static void report(int fd, enum step_kind kind, unsigned ticket)
{
    struct step step = {kind, ticket};
    if (write(fd, &step, sizeof step) != sizeof step)
        _exit(3);
}

/* ---- the child, one call at a time ---- */

static void work_synchronously(struct store *s, unsigned first, int to_parent)
{
    for (unsigned n = first; n < TICKETS_MAX; n++) {
        struct record r = fixture_ticket(n, TICKET_SESSION);
        if (store_issue(s, &r) != 0)
            _exit(4);
        report(to_parent, ISSUED, n);
        if (n % 2 == 0 || n < first + 2)
            continue;
        report(to_parent, ASKED, n - 2);
        if (fixture_redeem(s, n - 2, NOW) != REDEEM_OK)
            _exit(5);
        report(to_parent, REDEEMED, n - 2);
    }
}

/* ---- the child, many requests under way on a loop ---- */

struct worker {
    struct store_client *client;
    int to_parent;
    unsigned next;
};

struct job {
    struct worker *worker;
    unsigned ticket;
};

static void start_job(struct job *j);

static void on_redeemed(void *owner, enum redeem verdict, struct record *rec, const char *detail)
{
    struct job *j = owner;
    (void)detail;
    free(rec);
    if (verdict != REDEEM_OK)
        _exit(6);
    report(j->worker->to_parent, REDEEMED, j->ticket);
    start_job(j);
}

static void on_issued(void *owner, int rc)
{
    struct job *j = owner;
    if (rc != 0)
        _exit(7);
    report(j->worker->to_parent, ISSUED, j->ticket);
    if (j->ticket % 3 == 0) {
        start_job(j);
        return;
    }
    enum redeem verdict;
    struct record r = fixture_ticket(j->ticket, TICKET_SESSION), *out;
    report(j->worker->to_parent, ASKED, j->ticket);
    if (store_client_redeem(j->worker->client, r.hash, NOW, &verdict, &out, on_redeemed, j) == NULL)
        _exit(8);
}

static void start_job(struct job *j)
{
    j->ticket = j->worker->next++;
    struct record r = fixture_ticket(j->ticket, TICKET_SESSION);
    store_client_issue(j->worker->client, &r, on_issued, j);
}

static void work_on_a_loop(struct store *s, unsigned first, int to_parent)
{
    uv_loop_t loop;
    uv_loop_init(&loop);
    struct worker w = {.client = store_client_new(s, &loop), .to_parent = to_parent, .next = first};
    struct job jobs[IN_FLIGHT];
    for (unsigned i = 0; i < IN_FLIGHT; i++) {
        jobs[i].worker = &w;
        start_job(&jobs[i]);
    }
    uv_run(&loop, UV_RUN_DEFAULT);
}

struct child_task {
    unsigned round;
    unsigned first; /* ticket */
};

static void child_process(int from_parent, int to_parent, void *arg)
{
    const struct child_task *task = arg;
    (void)from_parent;
    /* the store's thread looks for tombstones all the time, and finds none that old */
    struct store *s =
        fixture_open(fixture_url("tickets"),
                     (struct store_options){.purge_every_ms = 1, .tombstone_ms = 100 * 365 * 24 * HOUR_MS});
    if (task->round % 2 == 0)
        work_synchronously(s, task->first, to_parent);
    else
        work_on_a_loop(s, task->first, to_parent);
}

/* ---- the parent ---- */

/* Takes in what the child reports until the moment to kill it, then the rest. Returns one more than the
 * highest ticket heard of. */
static unsigned listen_and_kill(struct fixture_child *child, unsigned first, uint64_t kill_after_ns)
{
    struct step steps[512];
    size_t have = 0;
    unsigned end = first;
    uint64_t kill_at = 0; /* counted from the first report, so that opening takes none of it */
    bool killed = false;
    for (;;) {
        uint64_t now = uv_hrtime();
        if (!killed && kill_at != 0 && now >= kill_at) {
            kill(child->pid, SIGKILL);
            killed = true;
        }
        struct pollfd p = {.fd = child->from, .events = POLLIN};
        int64_t left_ns = killed ? 30000000000 : kill_at == 0 ? 30000000000 : (int64_t)(kill_at - now);
        struct timespec wait = {left_ns / 1000000000, left_ns % 1000000000};
        int ready = ppoll(&p, 1, &wait, NULL);
        ck_assert(ready > 0 || (ready == 0 && kill_at != 0 && !killed) || (ready < 0 && errno == EINTR));
        if (ready <= 0)
            continue;
        ssize_t n = read(child->from, (char *)steps + have, sizeof steps - have);
        ck_assert_int_ge(n, 0);
        if (n == 0)
            break;
        have += (size_t)n;
        for (size_t i = 0; i < have / sizeof *steps; i++) {
            ck_assert_uint_lt(steps[i].ticket, TICKETS_MAX);
            reported[steps[i].ticket] = (uint8_t)steps[i].kind;
            if (steps[i].ticket >= end)
                end = steps[i].ticket + 1;
        }
        memmove(steps, (char *)steps + have / sizeof *steps * sizeof *steps, have % sizeof *steps);
        have %= sizeof *steps;
        if (kill_at == 0)
            kill_at = uv_hrtime() + kill_after_ns;
    }
    ck_assert_msg(killed, "the child ended by itself");
    ck_assert_int_eq(fixture_reap(child), SIGKILL);
    return end;
}

/* What is in the store after a kill, against what was heard. Redeems everything, so that what was not
 * acknowledged is seen to work at most once. */
static void check_tickets(struct store *s, unsigned first, unsigned end, unsigned counts[4])
{
    for (unsigned n = first; n < end + IN_FLIGHT;
         n++) { /* beyond end: issued perhaps, but never acknowledged */
        enum redeem verdict = fixture_redeem(s, n, NOW);
        switch (reported[n]) {
        case ISSUED:
            ck_assert_msg(verdict == REDEEM_OK, "ticket %u was issued, now %d", n, (int)verdict);
            break;
        case ASKED:
            ck_assert_msg(verdict == REDEEM_OK || verdict == REDEEM_USED, "ticket %u: %d", n, (int)verdict);
            break;
        case REDEEMED:
            ck_assert_msg(verdict == REDEEM_USED, "ticket %u was used, now %d", n, (int)verdict);
            break;
        default:
            ck_assert_msg(verdict == REDEEM_OK || verdict == REDEEM_UNKNOWN, "ticket %u: %d", n,
                          (int)verdict);
        }
        counts[reported[n]]++;
        verdict = fixture_redeem(s, n, NOW);
        ck_assert_msg(verdict == REDEEM_USED || (verdict == REDEEM_UNKNOWN && reported[n] == 0),
                      "ticket %u again: %d", n, (int)verdict);
    }
}

START_TEST(nothing_acknowledged_is_lost)
{
    unsigned first = 0, counts[4] = {0}, seed = (unsigned)uv_hrtime();
    srand(seed);
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct child_task task = {.round = round, .first = first};
        struct fixture_child child = fixture_fork(child_process, &task);
        uint64_t kill_after_ns = (uint64_t)rand() % 40000000;
        unsigned end = listen_and_kill(&child, first, kill_after_ns);

        struct store *s = fixture_open(fixture_url("tickets"), (struct store_options){.must_exist = true});
        check_tickets(s, first, end, counts);
        store_close(s);
        raw_check("tickets", NOW + HOUR_MS);
        first = end + IN_FLIGHT;
    }
    /* the order of purging has stayed in step with the tickets */
    struct store *s = fixture_open(fixture_url("tickets"), (struct store_options){.must_exist = true});
    int64_t there = fixture_count(s);
    ck_assert_int_ge(there, counts[ISSUED] + counts[ASKED] + counts[REDEEMED]);
    ck_assert_int_eq(store_purge(s, INT64_MAX, 0), there);
    ck_assert_uint_eq(fixture_count(s), 0);
    store_close(s);
    ck_assert_uint_gt(counts[REDEEMED], 0);
    printf("killed %d times: %u tickets acknowledged as used, %u as issued, %u asked for (seed %u)\n", ROUNDS,
           counts[REDEEMED], counts[ISSUED], counts[ASKED], seed);
}
END_TEST

/* ---- limits ---- */

enum { PER_USER = 5, TOTAL = 40 };

/* Everything that changes a store, without an end. */
static void busy_process(int from_parent, int to_parent, void *arg)
{
    static const char *const users[] = {"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"};
    unsigned round = *(unsigned *)arg;
    (void)from_parent;
    srand(round);
    struct store *s = fixture_open(
        fixture_url("tickets"),
        (struct store_options){.purge_every_ms = 1,
                               .tombstone_ms = 10000,
                               .limits = {.per_user = PER_USER, .total = TOTAL, .evict_oldest = true}});
    for (unsigned n = 0;; n++) {
        struct record r = fixture_ticket(round * 100000 + n, TICKET_SESSION), *out = NULL;
        int64_t now_ms = clock_wall_ms();
        r.user = users[rand() % 10];
        r.issued_ms = now_ms;
        r.expires_ms = now_ms + rand() % 20000;
        r.refresh_ms = rand() % 5000;
        if (store_issue(s, &r) != 0)
            _exit(9);
        if (n == 30)
            report(to_parent, ISSUED, n);
        switch (rand() % 40) {
        case 0:
            store_sweep(s, STORE_SWEEP_EXPIRE, rand() % 2 ? r.user : NULL, now_ms);
            break;
        case 1:
            store_end(s, r.hash, STORE_SWEEP_FORGET, now_ms);
            break;
        case 2:
            store_revoke(s, r.hash, now_ms);
            break;
        default:
            store_refresh(s, r.hash, now_ms + rand() % 1000, &out);
        }
        free(out);
    }
}

static int count_live(void *owner, const struct record *r)
{
    unsigned *live = owner; /* by the user's letter */
    live[r->user[0] - 'a'] += record_state_at(r, clock_wall_ms()) == TICKET_LIVE;
    return 0;
}

START_TEST(limits_survive)
{
    for (unsigned round = 0; round < ROUNDS / 2; round++) {
        struct fixture_child child[2];
        struct step step;
        unsigned total = 0, live[10] = {0}, number[2] = {2 * round, 2 * round + 1};
        for (unsigned i = 0; i < 2; i++)
            child[i] = fixture_fork(busy_process, &number[i]);
        ck_assert_int_eq(read(child[0].from, &step, sizeof step), sizeof step);
        usleep((unsigned)uv_hrtime() % 20000);
        for (unsigned i = 0; i < 2; i++) {
            kill(child[i].pid, SIGKILL);
            ck_assert_int_eq(fixture_reap(&child[i]), SIGKILL);
        }
        ck_assert_uint_le(raw_check("tickets", clock_wall_ms() + 1000), TOTAL);
        struct store *s = fixture_open(fixture_url("tickets"), (struct store_options){.must_exist = true});
        ck_assert_int_eq(store_list(s, count_live, live), 0);
        store_close(s);
        for (unsigned i = 0; i < 10; i++) {
            ck_assert_uint_le(live[i], PER_USER);
            total += live[i];
        }
        ck_assert_uint_le(total, TOTAL);
    }
}
END_TEST

/* Creating a store is a matter of two files and seven databases: a kill in between leaves nothing that the
 * next one stumbles over. */
START_TEST(creating_can_be_interrupted)
{
    unsigned complete = 0;
    for (unsigned round = 0; round < 40; round++) {
        struct child_task task = {.first = 1};
        struct fixture_child child = fixture_fork(child_process, &task);
        struct timespec wait = {0, (long)round * 100000};
        struct pollfd p = {.fd = child.from, .events = POLLIN};
        complete += ppoll(&p, 1, &wait, NULL) == 1;
        kill(child.pid, SIGKILL);
        ck_assert_int_eq(fixture_reap(&child), SIGKILL);
        struct store *s = fixture_open(fixture_url("tickets"), (struct store_options){0});
        struct record r = fixture_ticket(0, TICKET_SESSION);
        ck_assert_int_eq(store_issue(s, &r), 0);
        ck_assert_int_eq(fixture_redeem(s, 0, NOW), REDEEM_OK);
        store_close(s);
        fixture_teardown();
        ck_assert_int_eq(mkdir(fixture_folder, 0700), 0);
    }
    printf("creating a store was interrupted %u times out of 40\n", 40 - complete);
}
END_TEST

static void add_tests(TCase *tc)
{
    tcase_add_test(tc, nothing_acknowledged_is_lost);
    tcase_add_test(tc, limits_survive);
    tcase_add_test(tc, creating_can_be_interrupted);
}

int main(void)
{
    return fixture_run_suite("store_kill", add_tests);
}
