/* The LMDB store's indexes and notes: in step with the tickets whatever happens, made for stores that were
 * written without them, and right when several processes change them.
 */
#include "lmdb_fixture.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "base/clock.h"

static void stop_clock(void)
{
    clock_set_offset_ms(0);
    clock_set_offset_ms(NOW - clock_wall_ms());
}

/* ---- in step ---- */

START_TEST(indexes_stay_in_step)
{
    enum { TICKETS = 400, STEPS = 6000 };
    static const char *const users[] = {"a", "b", "", "a\xc3\xa4"};
    uint8_t known[TICKETS] = {0};
    unsigned seed = (unsigned)uv_hrtime(), live = 0;
    srand(seed);
    printf("seed %u\n", seed);
    stop_clock();
    struct store *s = fixture_open(fixture_url("tickets"), (struct store_options){0});
    for (unsigned step = 0; step < STEPS; step++) {
        unsigned n = (unsigned)rand() % TICKETS;
        struct record r = fixture_ticket(n, rand() % 2 ? TICKET_SESSION : TICKET_BACKGROUND), *out = NULL;
        if (step % 1000 == 0)
            store_configure(s, &(struct store_options){.limits = {.per_user = (size_t)rand() % 40,
                                                                  .per_device = (size_t)rand() % 10,
                                                                  .total = (size_t)rand() % 100,
                                                                  .evict_oldest = rand() % 2}});
        r.user = users[rand() % 4];
        r.device = users[rand() % 4];
        r.issued_ms = NOW - rand() % 100;
        r.expires_ms = NOW - HOUR_MS + rand() % 20 * HOUR_MS;
        r.refresh_ms = rand() % 3 ? 0 : 3 * HOUR_MS;
        switch (rand() % 16) {
        case 0:
            store_redeem(s, r.hash, NOW + rand() % 3 * HOUR_MS, &out);
            break;
        case 1:
            store_refresh(s, r.hash, NOW + rand() % 3 * HOUR_MS, &out);
            break;
        case 2:
            store_revoke(s, r.hash, NOW);
            break;
        case 3:
            store_end(s, r.hash, rand() % 2 ? STORE_SWEEP_EXPIRE : STORE_SWEEP_FORGET, NOW + HOUR_MS);
            break;
        case 4:
            if (rand() % 50 == 0)
                store_sweep(s, STORE_SWEEP_EXPIRE, users[rand() % 4], NOW + rand() % 3 * HOUR_MS);
            break;
        case 5:
            if (rand() % 10 == 0)
                store_purge(s, NOW + 24 * HOUR_MS + rand() % 3 * HOUR_MS, 10);
            break;
        default: {
            int rc = store_issue(s, &r);
            ck_assert(rc == 0 || rc == ERR_LIMIT || rc == ERR_EXISTS);
            known[n] |= rc == 0;
        }
        }
        free(out);
        if (step % 1500 == 1499) {
            store_close(s);
            live += (unsigned)raw_check("tickets", NOW + 2 * HOUR_MS);
            s = fixture_open(fixture_url("tickets"), (struct store_options){.purge_every_ms = 1});
        }
    }
    ck_assert_uint_gt(live, 0);
    store_purge(s, INT64_MAX, 0);
    store_close(s);
    ck_assert_uint_eq(raw_check("tickets", NOW), 0);
}
END_TEST

/* The store's thread moves away what has expired, as far as the clock has come, and goes back with a clock
 * that was wrong. */
START_TEST(thread_moves_the_expired)
{
    static const int64_t hours[] = {1, 3, 100, 2, 5};
    stop_clock();
    struct store *s =
        fixture_open(fixture_url("tickets"), (struct store_options){.tombstone_ms = 1000 * HOUR_MS});
    for (unsigned n = 0; n < 10; n++) {
        struct record r = fixture_ticket(n, TICKET_BACKGROUND);
        r.expires_ms = NOW + (1 + n) * HOUR_MS;
        ck_assert_int_eq(store_issue(s, &r), 0);
    }
    store_close(s);
    ck_assert_uint_eq(raw_check("tickets", NOW), 10);
    unsigned gone = 0;
    for (size_t i = 0; i < sizeof hours / sizeof hours[0]; i++) {
        uint64_t end = clock_mono_ms() + 30000;
        stop_clock();
        clock_set_offset_ms(clock_offset_ms() + hours[i] * HOUR_MS);
        gone = hours[i] > 10 ? 10 : hours[i] > gone ? (unsigned)hours[i] : gone;
        if (i == 3) { /* after the wrong clock: a ticket that it would have passed by */
            struct record r = fixture_ticket(20, TICKET_BACKGROUND);
            r.expires_ms = NOW + 4 * HOUR_MS;
            s = fixture_open(fixture_url("tickets"), (struct store_options){0});
            ck_assert_int_eq(store_issue(s, &r), 0);
            store_close(s);
            ck_assert_uint_eq(raw_check("tickets", NOW + 100 * HOUR_MS), 1);
        }
        for (;;) {
            s = fixture_open(fixture_url("tickets"),
                             (struct store_options){.tombstone_ms = 1000 * HOUR_MS, .purge_every_ms = 1});
            usleep(2000);
            store_close(s);
            if (raw_check("tickets", NOW + 100 * HOUR_MS) == 10 - gone + (i == 3))
                break;
            ck_assert_uint_lt(clock_mono_ms(), end);
        }
    }
}
END_TEST

/* ---- a store from before ---- */

/* As the first format had it: no indexes by user. Tickets 0 to count-1, every third one used, every fifth
 * expired. */
static void make_old_store(unsigned count, size_t text_len)
{
    static char text[15000];
    struct raw raw;
    store_close(fixture_open(fixture_url("tickets"), (struct store_options){0}));
    raw_open(&raw, "tickets", 0);
    raw_open_indexes(&raw);
    ck_assert_int_eq(mdb_drop(raw.txn, raw.owners, 1), 0);
    ck_assert_int_eq(mdb_drop(raw.txn, raw.past, 1), 0);
    ck_assert_int_eq(mdb_drop(raw.txn, raw.ended, 1), 0);
    MDB_val key = raw_val("format", 6), data = raw_val("stagate-tickets 1", 17), nothing = {0};
    ck_assert_int_eq(mdb_put(raw.txn, raw.meta, &key, &data, 0), 0);
    memset(text, 'x', text_len);
    for (unsigned n = 0; n < count; n++) {
        struct record_value value = {"XData", text};
        struct record r = fixture_ticket(n, TICKET_SESSION);
        uint8_t bytes[RECORD_BYTES_MAX], end[8 + RECORD_HASH];
        r.user = n % 2 ? "a" : "b";
        r.values = &value;
        r.value_count = text_len > 0;
        r.state = n % 3 ? TICKET_LIVE : TICKET_USED;
        r.ended_ms = n % 3 ? 0 : NOW - 5;
        r.expires_ms = n % 5 ? NOW + HOUR_MS : NOW - 5;
        int len = record_encode(&r, bytes);
        ck_assert_int_gt(len, 0);
        ck_assert_uint_eq(bytes[0], 1);
        key = raw_val(r.hash, RECORD_HASH);
        data = raw_val(bytes, (size_t)len);
        ck_assert_int_eq(mdb_put(raw.txn, raw.tickets, &key, &data, 0), 0);
        raw_put_time(end, r.state == TICKET_LIVE ? r.expires_ms : r.ended_ms);
        memcpy(end + 8, r.hash, RECORD_HASH);
        key = raw_val(end, sizeof end);
        ck_assert_int_eq(mdb_put(raw.txn, raw.ends, &key, &nothing, 0), 0);
    }
    raw_close(&raw);
}

static unsigned live_of_old(unsigned count, unsigned step)
{
    unsigned live = 0;
    for (unsigned n = step - 1; n < count; n += step)
        live += n % 3 != 0 && n % 5 != 0;
    return live;
}

START_TEST(takes_over_an_old_store)
{
    enum { COUNT = 2000 };
    stop_clock();
    make_old_store(COUNT, 0);
    unsigned live = live_of_old(COUNT, 1);
    struct store *s = fixture_open(fixture_url("tickets"),
                                   (struct store_options){.must_exist = true, .limits = {.total = live + 1}});
    ck_assert_int_eq(fixture_redeem(s, 3, NOW), REDEEM_USED);
    ck_assert_int_eq(fixture_redeem(s, 5, NOW), REDEEM_EXPIRED);
    struct record r = fixture_ticket(COUNT, TICKET_SESSION);
    ck_assert_int_eq(store_issue(s, &r), 0);
    r = fixture_ticket(COUNT + 1, TICKET_SESSION);
    ck_assert_int_eq(store_issue(s, &r), ERR_LIMIT);
    ck_assert_int_eq(fixture_redeem(s, 1, NOW), REDEEM_OK);
    ck_assert_int_eq(store_issue(s, &r), 0);
    store_close(s);
    ck_assert_uint_eq(raw_check("tickets", NOW), live + 1);
    s = fixture_open(fixture_url("tickets"), (struct store_options){.must_exist = true});
    ck_assert_int_eq(store_sweep(s, STORE_SWEEP_EXPIRE, "a", NOW), live_of_old(COUNT, 2) - 1);
    ck_assert_int_eq(store_purge(s, INT64_MAX, 0), COUNT + 2);
    store_close(s);
    ck_assert_uint_eq(raw_check("tickets", NOW), 0);
}
END_TEST

/* Full to its ceiling: the indexes still find room. */
START_TEST(takes_over_a_full_store)
{
    enum { COUNT = 20000 };
    struct stat st;
    char path[256];
    stop_clock();
    make_old_store(COUNT, 0);
    snprintf(path, sizeof path, "%s/tickets/data.mdb", fixture_folder);
    ck_assert_int_eq(stat(path, &st), 0);
    struct store *s =
        fixture_open(fixture_url("tickets"), (struct store_options){.max_bytes = (size_t)st.st_size});
    ck_assert_uint_eq(fixture_count(s), COUNT);
    ck_assert_int_eq(store_purge(s, INT64_MAX, 0), COUNT);
    store_close(s);
}
END_TEST

static void opening_process(int from_parent, int to_parent, void *arg)
{
    (void)arg;
    fixture_wait(from_parent);
    struct store *s = fixture_open(fixture_url("tickets"), (struct store_options){.must_exist = true});
    fixture_tell(to_parent);
    fixture_wait(from_parent);
    store_close(s);
}

/* Killed in the middle, or done by several at once: it is done once, and whole. */
START_TEST(taking_over_can_be_interrupted)
{
    enum { COUNT = 3000, ROUNDS = 25 };
    unsigned interrupted = 0;
    stop_clock();
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct fixture_child child[3];
        char c;
        make_old_store(COUNT, 0);
        for (unsigned i = 0; i < 3; i++)
            child[i] = fixture_fork(opening_process, NULL);
        for (unsigned i = 0; i < 3; i++)
            fixture_tell(child[i].to);
        usleep(round * 400);
        kill(child[0].pid, SIGKILL);
        interrupted += read(child[0].from, &c, 1) != 1;
        ck_assert_int_eq(fixture_reap(&child[0]), SIGKILL);
        for (unsigned i = 1; i < 3; i++) {
            fixture_wait(child[i].from);
            fixture_tell(child[i].to);
            ck_assert_int_eq(fixture_reap(&child[i]), 0);
        }
        ck_assert_uint_eq(raw_check("tickets", NOW), live_of_old(COUNT, 1));
        fixture_teardown();
        ck_assert_int_eq(mkdir(fixture_folder, 0700), 0);
    }
    printf("taking over was interrupted %u times out of %d\n", interrupted, ROUNDS);
}
END_TEST

/* ---- several processes ---- */

enum { PROCESSES = 3, TRIES = 60, LIMIT = 25 };

static void limited_process(int from_parent, int to_parent, void *arg)
{
    unsigned own = *(unsigned *)arg, issued = 0;
    fixture_wait(from_parent);
    struct store *s = fixture_open(fixture_url("tickets"),
                                   (struct store_options){.limits = {.per_user = LIMIT, .total = 2 * LIMIT}});
    for (unsigned n = 0; n < TRIES; n++) {
        struct record r = fixture_ticket(own * TRIES + n, TICKET_SESSION);
        r.user = n % 3 ? "a" : n % 2 ? "b" : "c";
        int rc = store_issue(s, &r);
        ck_assert(rc == 0 || rc == ERR_LIMIT);
        issued += rc == 0;
    }
    store_close(s);
    ck_assert_int_eq(write(to_parent, &issued, sizeof issued), sizeof issued);
}

START_TEST(limits_hold_between_processes)
{
    struct fixture_child child[PROCESSES];
    unsigned total = 0;
    stop_clock();
    for (unsigned i = 0; i < PROCESSES; i++)
        child[i] = fixture_fork(limited_process, &i);
    for (unsigned i = 0; i < PROCESSES; i++)
        fixture_tell(child[i].to);
    for (unsigned i = 0; i < PROCESSES; i++) {
        unsigned issued;
        ck_assert_int_eq(read(child[i].from, &issued, sizeof issued), sizeof issued);
        ck_assert_int_eq(fixture_reap(&child[i]), 0);
        total += issued;
    }
    /* a: 120 wanted, b and c 30 each */
    ck_assert_uint_eq(total, 2 * LIMIT);
    ck_assert_uint_eq(raw_check("tickets", NOW), 2 * LIMIT);
    struct store *s = fixture_open(fixture_url("tickets"), (struct store_options){0});
    ck_assert_int_le(store_sweep(s, STORE_SWEEP_FORGET, "a", NOW), LIMIT);
    store_close(s);
}
END_TEST

struct watcher {
    pthread_mutex_t mutex;
    unsigned any, single;
    uint8_t last[RECORD_HASH];
    enum ticket_state how;
};

static void on_ended(void *owner, const uint8_t *hash, enum ticket_state how)
{
    struct watcher *w = owner;
    pthread_mutex_lock(&w->mutex);
    w->any += hash == NULL;
    w->single += hash != NULL;
    if (hash)
        memcpy(w->last, hash, RECORD_HASH);
    w->how = how;
    pthread_mutex_unlock(&w->mutex);
}

static void wait_for(struct watcher *w, const unsigned *number, unsigned at_least)
{
    uint64_t end = clock_mono_ms() + 30000;
    for (;;) {
        pthread_mutex_lock(&w->mutex);
        unsigned n = *number;
        pthread_mutex_unlock(&w->mutex);
        if (n >= at_least)
            return;
        ck_assert_uint_lt(clock_mono_ms(), end);
        usleep(500);
    }
}

/* Ends tickets when told to: one revoked, one expired, all expired. */
static void ending_process(int from_parent, int to_parent, void *arg)
{
    (void)arg;
    fixture_wait(from_parent);
    struct store *s = fixture_open(fixture_url("tickets"), (struct store_options){0});
    ck_assert_int_eq(store_revoke(s, fixture_ticket(1, TICKET_SESSION).hash, NOW), 0);
    fixture_tell(to_parent);
    fixture_wait(from_parent);
    ck_assert_int_eq(store_end(s, fixture_ticket(2, TICKET_SESSION).hash, STORE_SWEEP_FORGET, NOW), 0);
    ck_assert_int_eq(store_end(s, fixture_ticket(3, TICKET_SESSION).hash, STORE_SWEEP_EXPIRE, NOW), 0);
    fixture_tell(to_parent);
    fixture_wait(from_parent);
    ck_assert_int_eq(store_sweep(s, STORE_SWEEP_EXPIRE, NULL, NOW), 300 - 3);
    store_close(s);
}

START_TEST(ends_are_heard_between_processes)
{
    static struct watcher w = {.mutex = PTHREAD_MUTEX_INITIALIZER};
    stop_clock();
    struct fixture_child child = fixture_fork(ending_process, NULL);
    struct store *s = fixture_open(fixture_url("tickets"), (struct store_options){0});
    for (unsigned n = 0; n < 300; n++) {
        struct record r = fixture_ticket(n, TICKET_SESSION);
        ck_assert_int_eq(store_issue(s, &r), 0);
    }
    struct store_watch *watch = store_watch(s, on_ended, &w);
    fixture_tell(child.to);
    fixture_wait(child.from);
    wait_for(&w, &w.single, 1);
    ck_assert_mem_eq(w.last, fixture_ticket(1, TICKET_SESSION).hash, RECORD_HASH);
    ck_assert_int_eq(w.how, TICKET_REVOKED);
    fixture_tell(child.to);
    fixture_wait(child.from);
    wait_for(&w, &w.single, 2);
    ck_assert_mem_eq(w.last, fixture_ticket(3, TICKET_SESSION).hash, RECORD_HASH);
    ck_assert_int_eq(w.how, TICKET_EXPIRED);
    ck_assert_uint_eq(w.any, 0);
    fixture_tell(child.to);
    wait_for(&w, &w.any, 1);
    ck_assert_int_eq(fixture_reap(&child), 0);
    ck_assert_uint_eq(w.single, 2);
    store_unwatch(watch);
    store_close(s);
}
END_TEST

/* In a small store 10,000 notes would be too many; whoever falls behind the trimmed ones is told so. */
START_TEST(notes_are_bounded)
{
    enum { COUNT = 3000 };
    struct raw raw;
    struct answers a = {0};
    uv_loop_t loop;
    stop_clock();
    uv_loop_init(&loop);
    struct store *s = fixture_open(fixture_url("tickets"), (struct store_options){.max_bytes = 4 << 20});
    struct store_client *c = store_client_new(s, &loop);
    for (unsigned n = 0; n < COUNT; n++) {
        struct record r = fixture_ticket(n, TICKET_SESSION);
        store_client_issue(c, &r, fixture_on_done, &a);
    }
    fixture_run(&loop, &a.count, COUNT);
    ck_assert_int_eq(a.rc, 0);
    for (unsigned n = 0; n < COUNT; n++)
        store_client_revoke(c, fixture_ticket(n, TICKET_SESSION).hash, NOW, fixture_on_done, &a);
    fixture_run(&loop, &a.count, 2 * COUNT);
    ck_assert_int_eq(a.rc, 0);
    fixture_close_client(c, &loop);
    store_close(s);
    ck_assert_int_eq(uv_loop_close(&loop), 0);
    ck_assert_uint_eq(raw_check("tickets", NOW), 0);
    raw_open(&raw, "tickets", MDB_RDONLY);
    raw_open_indexes(&raw);
    size_t kept = raw_entries(&raw, raw.ended);
    ck_assert(kept > 500 && kept < 2 * COUNT);
    raw_close(&raw);
}
END_TEST

/* Revokes without a pause, and without the watching process being let in before the end. */
static void flooding_process(int from_parent, int to_parent, void *arg)
{
    (void)arg;
    fixture_wait(from_parent);
    struct raw raw;
    raw_open(&raw, "tickets", 0);
    raw_open_indexes(&raw);
    for (uint64_t n = 20000; n < 20010; n++) { /* what is left of many */
        uint8_t number[8], entry[33] = {TICKET_REVOKED};
        for (int i = 0; i < 8; i++)
            number[i] = (uint8_t)(n >> (56 - 8 * i));
        MDB_val key = raw_val(number, 8), data = raw_val(entry, sizeof entry);
        ck_assert_int_eq(mdb_put(raw.txn, raw.ended, &key, &data, 0), 0);
    }
    raw_close(&raw);
    fixture_tell(to_parent);
}

START_TEST(who_falls_behind_is_told)
{
    static struct watcher w = {.mutex = PTHREAD_MUTEX_INITIALIZER};
    struct fixture_child child = fixture_fork(flooding_process, NULL);
    struct store *s = fixture_open(fixture_url("tickets"), (struct store_options){0});
    struct store_watch *watch = store_watch(s, on_ended, &w);
    fixture_tell(child.to);
    fixture_wait(child.from);
    wait_for(&w, &w.single, 10);
    ck_assert_uint_eq(w.any, 1);
    ck_assert_int_eq(fixture_reap(&child), 0);
    store_unwatch(watch);
    store_close(s);
}
END_TEST

/* ---- whether it can be used ---- */

START_TEST(says_whether_it_is_up)
{
    const char *detail = "nothing said";
    struct store *s = fixture_open(fixture_url("tickets"), (struct store_options){0});
    ck_assert(store_is_up(s, &detail));
    ck_assert(store_is_up(s, NULL));
    struct record r = fixture_ticket(1, TICKET_SESSION), *out = NULL;
    ck_assert_int_eq(store_issue(s, &r), 0);
    store_close(s);

    /* one damaged record: whoever reads it last says so, until something works again */
    struct raw raw;
    raw_open(&raw, "tickets", 0);
    MDB_val key = raw_val(r.hash, RECORD_HASH), data = raw_val("\x09garbage", 8);
    ck_assert_int_eq(mdb_put(raw.txn, raw.tickets, &key, &data, 0), 0);
    raw_close(&raw);
    s = fixture_open(fixture_url("tickets"), (struct store_options){0});
    ck_assert_int_eq(store_get(s, r.hash, &out), ERR_STORE);
    ck_assert(!store_is_up(s, &detail));
    ck_assert_str_eq(detail, "the ticket store failed");
    r = fixture_ticket(2, TICKET_SESSION);
    ck_assert_int_eq(store_issue(s, &r), 0);
    ck_assert(store_is_up(s, &detail));
    store_close(s);
}
END_TEST

static void add_tests(TCase *tc)
{
    tcase_add_test(tc, indexes_stay_in_step);
    tcase_add_test(tc, thread_moves_the_expired);
    tcase_add_test(tc, takes_over_an_old_store);
    tcase_add_test(tc, takes_over_a_full_store);
    tcase_add_test(tc, taking_over_can_be_interrupted);
    tcase_add_test(tc, limits_hold_between_processes);
    tcase_add_test(tc, ends_are_heard_between_processes);
    tcase_add_test(tc, notes_are_bounded);
    tcase_add_test(tc, who_falls_behind_is_told);
    tcase_add_test(tc, says_whether_it_is_up);
}

int main(void)
{
    return fixture_run_suite("store_shared", add_tests);
}
