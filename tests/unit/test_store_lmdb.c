/* What only the LMDB store does: persistence, folders and their rights, foreign and damaged files, several
 * stores in a process, several processes on a store, and processes that die in the middle.
 */
#include "store_fixture.h"

#include <fcntl.h>
#include <limits.h>
#include <lmdb.h>
#include <signal.h>
#include <sys/stat.h>

static void issue(struct store *s, unsigned n, enum ticket_class class)
{
    struct record r = fixture_ticket(n, class);
    ck_assert_int_eq(store_issue(s, &r), 0);
}

static int open_rc(const char *url, struct store_options options)
{
    struct store *s = NULL;
    int rc = store_open(&s, url, &options, fixture_why, sizeof fixture_why);
    if (rc == 0)
        store_close(s);
    return rc;
}

static unsigned mode_of(const char *name)
{
    char path[256];
    struct stat st;
    snprintf(path, sizeof path, "%s/%s", fixture_folder, name);
    ck_assert_msg(stat(path, &st) == 0, "%s", path);
    return st.st_mode & 07777;
}

/* ---- files ---- */

START_TEST(outlives_its_process)
{
    struct store *s = fixture_open(fixture_url("a/b/tickets"), (struct store_options){0});
    issue(s, 1, TICKET_SESSION);
    issue(s, 2, TICKET_SESSION);
    ck_assert_int_eq(fixture_redeem(s, 1, NOW), REDEEM_OK);
    store_close(s);
    s = fixture_open(fixture_url("a/b/tickets/"), (struct store_options){.must_exist = true});
    ck_assert_int_eq(fixture_redeem(s, 1, NOW), REDEEM_USED);
    ck_assert_int_eq(fixture_redeem(s, 2, NOW), REDEEM_OK);
    store_close(s);
}
END_TEST

START_TEST(is_private)
{
    umask(0);
    store_close(fixture_open(fixture_url("var/tickets"), (struct store_options){0}));
    ck_assert_uint_eq(mode_of("var"), 0755);
    ck_assert_uint_eq(mode_of("var/tickets"), 0700);
    ck_assert_uint_eq(mode_of("var/tickets/data.mdb"), 0600);
    ck_assert_uint_eq(mode_of("var/tickets/lock.mdb"), 0600);
}
END_TEST

START_TEST(must_exist_creates_nothing)
{
    char path[256], expected[512];
    ck_assert_int_eq(open_rc(fixture_url("none"), (struct store_options){.must_exist = true}), ERR_NOT_FOUND);
    snprintf(expected, sizeof expected, "lmdb: there is no ticket store in %s/none", fixture_folder);
    ck_assert_str_eq(fixture_why, expected);
    snprintf(path, sizeof path, "%s/none", fixture_folder);
    ck_assert_int_eq(access(path, F_OK), -1);
    ck_assert_int_eq(mkdir(path, 0700), 0); /* a folder is not yet a store */
    ck_assert_int_eq(open_rc(fixture_url("none"), (struct store_options){.must_exist = true}), ERR_NOT_FOUND);
    ck_assert_int_eq(rmdir(path), 0);
}
END_TEST

START_TEST(names_path_and_cause)
{
    char path[256];
    snprintf(path, sizeof path, "%s/locked", fixture_folder);
    ck_assert_int_eq(mkdir(path, 0), 0);
    ck_assert_int_eq(chmod(fixture_folder, 0755), 0);
    ck_assert(getuid() != 0 || seteuid(65534) == 0); /* root may do everything */
    ck_assert_int_eq(open_rc(fixture_url("locked/tickets"), (struct store_options){0}), ERR_STORE);
    ck_assert_ptr_nonnull(strstr(fixture_why, "/locked/tickets: Permission denied"));
    ck_assert_int_eq(strncmp(fixture_why, "lmdb: cannot ", 13), 0);
    ck_assert_int_eq(seteuid(getuid()), 0);
    rmdir(path);
}
END_TEST

/* An environment as another program would make it; value NULL: a named database with nothing in it. */
static void make_foreign(const char *name, const char *database, const char *key, const char *value)
{
    char path[256];
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi;
    MDB_val k = {strlen(key), (void *)(uintptr_t)key},
            v = {value ? strlen(value) : 0, (void *)(uintptr_t)value};
    snprintf(path, sizeof path, "%s/%s", fixture_folder, name);
    ck_assert_int_eq(mkdir(path, 0700), 0);
    ck_assert_int_eq(mdb_env_create(&env), 0);
    mdb_env_set_maxdbs(env, 4);
    ck_assert_int_eq(mdb_env_open(env, path, 0, 0600), 0);
    ck_assert_int_eq(mdb_txn_begin(env, NULL, 0, &txn), 0);
    ck_assert_int_eq(mdb_dbi_open(txn, database, database ? MDB_CREATE : 0, &dbi), 0);
    if (value)
        ck_assert_int_eq(mdb_put(txn, dbi, &k, &v, 0), 0);
    ck_assert_int_eq(mdb_txn_commit(txn), 0);
    mdb_env_close(env);
}

static void write_file(const char *name, const void *data, size_t len)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", fixture_folder, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, data, len), (ssize_t)len);
    close(fd);
}

START_TEST(refuses_what_is_not_its_own)
{
    static const struct {
        const char *database, *key, *value, *why;
    } cases[] = {{NULL, "some", "data", "holds another program's data"},
                 {NULL, "meta", "data", "holds another program's data"},
                 {"other", "some", "data", "holds another program's data"},
                 {"meta", "some", "data", "holds another program's data"},
                 {"meta", "format", "stagate-tickets 3",
                  "is in format \"stagate-tickets 3\", this version knows only"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char name[16];
        snprintf(name, sizeof name, "foreign%zu", i);
        make_foreign(name, cases[i].database, cases[i].key, cases[i].value);
        ck_assert_int_eq(open_rc(fixture_url(name), (struct store_options){0}), ERR_STORE);
        ck_assert_msg(strstr(fixture_why, cases[i].why) != NULL, "%zu: %s", i, fixture_why);
        ck_assert_int_eq(open_rc(fixture_url(name), (struct store_options){0}),
                         ERR_STORE); /* still, and nothing leaks */
    }
}
END_TEST

START_TEST(refuses_damaged_files)
{
    char path[256], garbage[20000];
    memset(garbage, 'g', sizeof garbage);
    snprintf(path, sizeof path, "%s/garbage", fixture_folder);
    ck_assert_int_eq(mkdir(path, 0700), 0);
    write_file("garbage/data.mdb", garbage, sizeof garbage);
    ck_assert_int_eq(open_rc(fixture_url("garbage"), (struct store_options){0}), ERR_STORE);
    ck_assert_ptr_nonnull(strstr(fixture_why, "/garbage: MDB_INVALID"));

    struct store *s = fixture_open(fixture_url("cut"), (struct store_options){0});
    for (unsigned n = 0; n < 200; n++)
        issue(s, n, TICKET_BACKGROUND);
    store_close(s);
    snprintf(path, sizeof path, "%s/cut/data.mdb", fixture_folder);
    ck_assert_int_eq(truncate(path, 5 * 4096), 0);
    ck_assert_int_eq(open_rc(fixture_url("cut"), (struct store_options){0}), ERR_STORE);
    ck_assert_ptr_nonnull(strstr(fixture_why, "was cut off"));
}
END_TEST

/* ---- one process ---- */

START_TEST(same_folder_is_opened_once)
{
    char link_path[256];
    snprintf(link_path, sizeof link_path, "%s/link", fixture_folder);
    struct store *a = fixture_open(fixture_url("tickets"), (struct store_options){.max_bytes = 2 << 20});
    ck_assert_int_eq(symlink("tickets", link_path), 0);
    struct store *b = fixture_open(fixture_url("link"), (struct store_options){.max_bytes = 2 << 20});
    issue(a, 1, TICKET_SESSION);
    ck_assert_int_eq(fixture_redeem(b, 1, NOW), REDEEM_OK);
    ck_assert_int_eq(fixture_redeem(a, 1, NOW), REDEEM_USED);
    unsigned n = 10;
    struct record r;
    do
        r = fixture_ticket(n++, TICKET_SESSION);
    while (store_issue(a, &r) == 0);
    ck_assert_int_eq(store_issue(b, &r), ERR_STORE_FULL);
    store_close(a);

    /* a configuration with more room, read again: in force at once, for both */
    a = fixture_open(fixture_url("tickets/../link/"), (struct store_options){.max_bytes = 8 << 20});
    ck_assert_int_eq(store_issue(b, &r), 0);
    store_close(b);
    ck_assert_int_eq(fixture_redeem(a, n - 1, NOW), REDEEM_OK);
    ck_assert_uint_eq(fixture_count(a), n - 9);
    store_close(a);
}
END_TEST

/* ---- several processes ---- */

enum { PROCESSES = 4, TICKETS = 150 };

/* Opens the folder together with all others, issues its own tickets and tries to redeem everybody's. Tells
 * how many it got. */
static void racing_process(int from_parent, int to_parent, void *arg)
{
    unsigned own = *(unsigned *)arg, counts[REDEEM_DOWN + 1] = {0};
    fixture_wait(from_parent);
    struct store *s = fixture_open(fixture_url("tickets"), (struct store_options){0});
    for (unsigned n = 0; n < TICKETS; n++) {
        issue(s, 1000 + own * TICKETS + n, TICKET_SESSION);
        counts[fixture_redeem(s, n, NOW)]++;
        if (n % 16 == 0) { /* the last to close and the first to open meet now and then */
            store_close(s);
            s = fixture_open(fixture_url("tickets"), (struct store_options){0});
        }
    }
    store_close(s);
    ck_assert_int_eq(write(to_parent, counts, sizeof counts), sizeof counts);
}

START_TEST(single_use_holds_between_processes)
{
    struct fixture_child child[PROCESSES];
    for (unsigned i = 0; i < PROCESSES; i++)
        child[i] = fixture_fork(racing_process, &i);
    struct store *s = fixture_open(fixture_url("tickets"), (struct store_options){0});
    for (unsigned n = 0; n < TICKETS; n++)
        issue(s, n, TICKET_SESSION);
    store_close(s);
    for (unsigned i = 0; i < PROCESSES; i++)
        fixture_tell(child[i].to);
    unsigned ok = 0, used = 0;
    for (unsigned i = 0; i < PROCESSES; i++) {
        unsigned counts[REDEEM_DOWN + 1] = {0};
        ck_assert_int_eq(read(child[i].from, counts, sizeof counts), sizeof counts);
        ck_assert_int_eq(fixture_reap(&child[i]), 0);
        ok += counts[REDEEM_OK];
        used += counts[REDEEM_USED];
    }
    ck_assert_uint_eq(ok, TICKETS);
    ck_assert_uint_eq(used, (PROCESSES - 1) * TICKETS);
    s = fixture_open(fixture_url("tickets"), (struct store_options){.must_exist = true});
    ck_assert_uint_eq(fixture_count(s), (PROCESSES + 1) * TICKETS);
    store_close(s);
}
END_TEST

/* Opens the environment without the store's help, and holds a transaction until told to let go. */
static void holding_process(int from_parent, int to_parent, void *arg)
{
    char path[256], c;
    MDB_env *env;
    MDB_txn *txn;
    snprintf(path, sizeof path, "%s/tickets", fixture_folder);
    fixture_wait(from_parent);
    ck_assert_int_eq(mdb_env_create(&env), 0);
    ck_assert_int_eq(mdb_env_set_mapsize(env, 16 << 20), 0);
    ck_assert_int_eq(mdb_env_open(env, path, MDB_NOTLS, 0600), 0);
    ck_assert_int_eq(mdb_txn_begin(env, NULL, *(unsigned *)arg, &txn), 0);
    fixture_tell(to_parent);
    if (read(from_parent, &c, 1) == 1) {
        mdb_txn_abort(txn);
        mdb_env_close(env);
    }
}

struct slot_search {
    pid_t pid;
    char found;
};

static int search_slot(const char *line, void *ctx)
{
    struct slot_search *search = ctx;
    if (strtol(line, NULL, 10) == search->pid)
        search->found = 'y';
    return 0;
}

/* Is asked for processes by number, and answers whether they are in the table of readers. Changes nothing in
 * it. */
static void watching_process(int from_parent, int to_parent, void *arg)
{
    char path[256];
    MDB_env *env;
    struct slot_search search = {.found = 'n'};
    (void)arg;
    snprintf(path, sizeof path, "%s/tickets", fixture_folder);
    fixture_wait(from_parent);
    ck_assert_int_eq(mdb_env_create(&env), 0);
    ck_assert_int_eq(mdb_env_open(env, path, MDB_NOTLS, 0600), 0);
    fixture_tell(to_parent);
    while (read(from_parent, &search.pid, sizeof search.pid) == sizeof search.pid) {
        search.found = 'n';
        mdb_reader_list(env, search_slot, &search);
        ck_assert_int_eq(write(to_parent, &search.found, 1), 1);
    }
    mdb_env_close(env);
}

static bool has_slot(struct fixture_child *watcher, pid_t pid)
{
    char found;
    ck_assert_int_eq(write(watcher->to, &pid, sizeof pid), sizeof pid);
    ck_assert_int_eq(read(watcher->from, &found, 1), 1);
    return found == 'y';
}

START_TEST(killed_writer_blocks_nobody)
{
    unsigned flags = 0;
    struct fixture_child child = fixture_fork(holding_process, &flags);
    struct store *s = fixture_open(fixture_url("tickets"), (struct store_options){0});
    issue(s, 1, TICKET_SESSION);
    fixture_tell(child.to);
    fixture_wait(child.from);
    kill(child.pid, SIGKILL);
    ck_assert_int_eq(fixture_reap(&child), SIGKILL);
    ck_assert_int_eq(fixture_redeem(s, 1, NOW), REDEEM_OK);
    issue(s, 2, TICKET_SESSION);
    store_close(s);
}
END_TEST

/* A killed reader would keep the pages of its moment from being used again: opening forgets it (_i 0), and so
 * does the store's thread. */
START_TEST(killed_reader_is_forgotten)
{
    unsigned flags = MDB_RDONLY;
    struct fixture_child child = fixture_fork(holding_process, &flags);
    struct fixture_child watcher = fixture_fork(watching_process, NULL);
    struct store *s = fixture_open(fixture_url("tickets"), (struct store_options){0});
    fixture_tell(child.to);
    fixture_wait(child.from);
    fixture_tell(
        watcher.to); /* keeps the environment open throughout: the first to open makes the table anew */
    fixture_wait(watcher.from);
    store_close(s);
    if (_i == 1)
        s = fixture_open(fixture_url("tickets"), (struct store_options){.purge_every_ms = 1});
    ck_assert(has_slot(&watcher, child.pid));
    kill(child.pid, SIGKILL);
    ck_assert_int_eq(fixture_reap(&child), SIGKILL);
    if (_i == 0) {
        ck_assert(has_slot(&watcher, child.pid));
        s = fixture_open(fixture_url("tickets"), (struct store_options){.purge_every_ms = HOUR_MS});
        ck_assert(!has_slot(&watcher, child.pid));
    }
    for (uint64_t end = uv_hrtime() + 30ull * 1000000000; has_slot(&watcher, child.pid); usleep(1000))
        ck_assert(uv_hrtime() < end);
    ck_assert_int_eq(fixture_reap(&watcher), 0);
    store_close(s);
}
END_TEST

/* ---- loops, while another process writes ---- */

/* The disk is away, so to speak: reads go on, writes queue up, and at some length are refused at once. */
START_TEST(loops_do_not_wait_for_writers)
{
    enum { QUEUE = 100000 };
    unsigned flags = 0;
    struct fixture_child child = fixture_fork(holding_process, &flags);
    uv_loop_t loop;
    uv_loop_init(&loop);
    struct store *s = fixture_open(fixture_url("tickets"), (struct store_options){0});
    struct store_client *c = store_client_new(s, &loop);
    issue(s, 1, TICKET_BACKGROUND);
    issue(s, 2, TICKET_SESSION);
    fixture_tell(child.to);
    fixture_wait(child.from);

    struct answers reads = {0}, writes = {0}, issued = {0};
    ck_assert_ptr_null(fixture_client_redeem(c, 1, &reads));
    ck_assert_ptr_null(fixture_client_redeem(c, 3, &reads));
    ck_assert_uint_eq(reads.by_verdict[REDEEM_OK], 1);
    ck_assert_uint_eq(reads.by_verdict[REDEEM_UNKNOWN], 1);
    unsigned waiting = 0;
    while (fixture_client_redeem(c, 2, &writes) != NULL && waiting < 2 * QUEUE)
        waiting++;
    ck_assert_uint_ge(waiting, QUEUE); /* and what the thread has taken already */
    ck_assert_uint_lt(waiting, QUEUE + 5000);
    ck_assert_uint_eq(writes.by_verdict[REDEEM_DOWN], 1);
    struct record r = fixture_ticket(4, TICKET_SESSION);
    store_client_issue(c, &r, fixture_on_done, &issued);
    ck_assert_uint_eq(issued.count, 0);
    fixture_run(&loop, &issued.count, 1);
    ck_assert_int_eq(issued.rc, ERR_TOO_BIG);
    ck_assert_ptr_null(fixture_client_redeem(c, 1, &reads));

    fixture_tell(child.to);
    ck_assert_int_eq(fixture_reap(&child), 0);
    fixture_run(&loop, &writes.count, waiting + 1);
    ck_assert_uint_eq(writes.by_verdict[REDEEM_OK], 1);
    ck_assert_uint_eq(writes.by_verdict[REDEEM_USED], waiting - 1);
    fixture_close_client(c, &loop);
    store_close(s);
    ck_assert_int_eq(uv_loop_close(&loop), 0);
}
END_TEST

/* Fills more than the parent has mapped. */
static void growing_process(int from_parent, int to_parent, void *arg)
{
    static char text[RECORD_BYTES_MAX - 100];
    struct record_value big = {"XData", memset(text, 'x', sizeof text - 1)};
    (void)arg;
    fixture_wait(from_parent);
    struct store *s = fixture_open(fixture_url("tickets"), (struct store_options){.max_bytes = 64 << 20});
    for (unsigned n = 100; n < 300; n++) {
        struct record r = fixture_ticket(n, TICKET_SESSION);
        r.values = &big;
        r.value_count = 1;
        ck_assert_int_eq(store_issue(s, &r), 0);
    }
    store_close(s);
    fixture_tell(to_parent);
}

START_TEST(follows_a_map_that_grew_elsewhere)
{
    struct fixture_child child = fixture_fork(growing_process, NULL);
    uv_loop_t loop;
    uv_loop_init(&loop);
    struct store *s = fixture_open(fixture_url("tickets"), (struct store_options){.max_bytes = 2 << 20});
    struct store_client *c = store_client_new(s, &loop), *late;
    struct answers a = {0};
    issue(s, 1, TICKET_BACKGROUND);
    ck_assert_ptr_null(fixture_client_redeem(c, 1, &a));
    fixture_tell(child.to);
    fixture_wait(child.from);
    ck_assert_int_eq(fixture_reap(&child), 0);

    if (_i == 0) { /* the loop comes first: it must not wait, and gets its answer from the thread */
        late = store_client_new(s, &loop);
        fixture_client_redeem(c, 1, &a);
        fixture_run(&loop, &a.count, 2);
        ck_assert_ptr_null(fixture_client_redeem(c, 1, &a));
        ck_assert_ptr_null(fixture_client_redeem(late, 1, &a));
        ck_assert_uint_eq(a.by_verdict[REDEEM_OK], 4);
        fixture_close_client(late, &loop);
    }
    if (_i == 1)
        ck_assert_uint_eq(fixture_count(s), 201);
    issue(s, 2, TICKET_SESSION);
    ck_assert_int_eq(fixture_redeem(s, 299, NOW), REDEEM_OK);
    ck_assert_uint_eq(fixture_count(s), 202);
    fixture_close_client(c, &loop);
    store_close(s);
    ck_assert_int_eq(uv_loop_close(&loop), 0);
}
END_TEST

static void add_tests(TCase *tc)
{
    tcase_add_test(tc, outlives_its_process);
    tcase_add_test(tc, is_private);
    tcase_add_test(tc, must_exist_creates_nothing);
    tcase_add_test(tc, names_path_and_cause);
    tcase_add_test(tc, refuses_what_is_not_its_own);
    tcase_add_test(tc, refuses_damaged_files);
    tcase_add_test(tc, same_folder_is_opened_once);
    tcase_add_test(tc, single_use_holds_between_processes);
    tcase_add_test(tc, killed_writer_blocks_nobody);
    tcase_add_loop_test(tc, killed_reader_is_forgotten, 0, 2);
    tcase_add_test(tc, loops_do_not_wait_for_writers);
    tcase_add_loop_test(tc, follows_a_map_that_grew_elsewhere, 0, 3);
}

int main(void)
{
    return fixture_run_suite("store_lmdb", add_tests);
}
