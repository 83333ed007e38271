/* What the tests of the ticket store share: a folder of their own, tickets by number, loops with a deadline.
 */
#ifndef STAGATE_TESTS_UNIT_STORE_FIXTURE_H
#define STAGATE_TESTS_UNIT_STORE_FIXTURE_H

#include <check.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

#include "base/err.h"
#include "base/mem.h"
#include "redis_fixture.h"
#include "sta/store.h"

#define NOW     ((int64_t)1795424400000)
#define HOUR_MS ((int64_t)3600000)

static char fixture_folder[128];
static char fixture_why[256];
static struct redis_server fixture_redis;

static inline void fixture_setup(void)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(fixture_folder, sizeof fixture_folder, "%s/stagate-store-XXXXXX", tmp ? tmp : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(fixture_folder));
}

static inline int fixture_remove(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static inline void fixture_teardown(void)
{
    redis_kill(&fixture_redis);
    nftw(fixture_folder, fixture_remove, 16, FTW_DEPTH | FTW_PHYS);
}

/* "lmdb:" and a folder below the fixture's; static storage. */
static inline const char *fixture_url(const char *name)
{
    static char url[256];
    snprintf(url, sizeof url, "lmdb:%s/%s", fixture_folder, name);
    return url;
}

static inline struct store *fixture_open(const char *url, struct store_options options)
{
    struct store *s = NULL;
    int rc = store_open(&s, url, &options, fixture_why, sizeof fixture_why);
    ck_assert_msg(rc == 0, "%s", fixture_why);
    return s;
}

/* A live ticket for an hour, its hash made from the number. */
static inline struct record fixture_ticket(unsigned n, enum ticket_class class)
{
    char value[32];
    struct record r = {
        .class = class, .issued_ms = NOW, .expires_ms = NOW + HOUR_MS, .user = "anna", .device = "phone"};
    int len = snprintf(value, sizeof value, "ticket-%u", n);
    record_hash(r.hash, value, (size_t)len);
    return r;
}

/* Redeems and gives the record back. */
static inline enum redeem fixture_redeem(struct store *s, unsigned n, int64_t now_ms)
{
    struct record r = fixture_ticket(n, TICKET_SESSION), *out;
    enum redeem verdict = store_redeem(s, r.hash, now_ms, &out);
    if (verdict == REDEEM_UNKNOWN)
        ck_assert(out == NULL || out->state == TICKET_FORGOTTEN);
    else
        ck_assert((out == NULL) == (verdict == REDEEM_DOWN));
    free(out);
    return verdict;
}

static inline int fixture_count_each(void *owner, const struct record *r)
{
    (void)r;
    ++*(unsigned *)owner;
    return 0;
}

static inline unsigned fixture_count(struct store *s)
{
    unsigned n = 0;
    ck_assert_int_eq(store_list(s, fixture_count_each, &n), 0);
    return n;
}

/* Runs the loop until *done reaches want; fails after half a minute. */
static inline void fixture_run(uv_loop_t *loop, const unsigned *done, unsigned want)
{
    uint64_t end = uv_hrtime() + 30ull * 1000000000;
    while (*done < want) {
        ck_assert_msg(uv_hrtime() < end, "only %u of %u after 30 s", *done, want);
        uv_run(loop, UV_RUN_NOWAIT);
        if (*done < want)
            usleep(50);
    }
}

static inline void fixture_closed(void *owner)
{
    ++*(unsigned *)owner;
}

static inline void fixture_close_client(struct store_client *c, uv_loop_t *loop)
{
    unsigned closed = 0;
    store_client_close(c, fixture_closed, &closed);
    ck_assert_uint_eq(closed, 0); /* not from inside the call */
    fixture_run(loop, &closed, 1);
}

/* Another process, with a pipe each way. Fork before opening a store: its threads do not come along. */
struct fixture_child {
    pid_t pid;
    int from; /* what it writes */
    int to;
};

typedef void fixture_child_main(int from_parent, int to_parent, void *arg);

static inline struct fixture_child fixture_fork(fixture_child_main *run, void *arg)
{
    int up[2], down[2];
    ck_assert_int_eq(pipe(up), 0);
    ck_assert_int_eq(pipe(down), 0);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        close(up[0]);
        close(down[1]);
        run(down[0], up[1], arg);
        _exit(0);
    }
    close(up[1]);
    close(down[0]);
    return (struct fixture_child){.pid = pid, .from = up[0], .to = down[1]};
}

/* One byte as a signal; waiting fails when the other side is gone. */
static inline void fixture_tell(int fd)
{
    ck_assert_int_eq(write(fd, "x", 1), 1);
}

static inline void fixture_wait(int fd)
{
    char c;
    ck_assert_int_eq(read(fd, &c, 1), 1);
}

/* Closes the pipes and waits for the end. */
static inline int fixture_reap(struct fixture_child *child)
{
    int status = -1;
    close(child->from);
    close(child->to);
    ck_assert_int_eq(waitpid(child->pid, &status, 0), child->pid);
    return status;
}

/* What clients' callbacks were told, added up. */
struct answers {
    unsigned count;
    unsigned by_verdict[REDEEM_DOWN + 1];
    int rc;      /* the last one */
    bool inside; /* a call that may not call back is running */
};

static inline void fixture_on_redeem(void *owner, enum redeem verdict, struct record *rec, const char *detail)
{
    struct answers *a = owner;
    ck_assert(!a->inside);
    ck_assert(detail == NULL || verdict == REDEEM_DOWN);
    ck_assert((rec == NULL) == (verdict == REDEEM_UNKNOWN || verdict == REDEEM_DOWN));
    a->count++;
    a->by_verdict[verdict]++;
    free(rec);
}

static inline void fixture_on_done(void *owner, int rc)
{
    struct answers *a = owner;
    ck_assert(!a->inside);
    a->count++;
    a->rc = rc;
}

/* Returns the open request; an answer at once is counted like a later one. */
static inline struct store_request *fixture_client_redeem(struct store_client *c, unsigned n,
                                                          struct answers *a)
{
    enum redeem verdict = REDEEM_DOWN;
    struct record r = fixture_ticket(n, TICKET_SESSION), *out = &r;
    a->inside = true;
    struct store_request *request = store_client_redeem(c, r.hash, NOW, &verdict, &out, fixture_on_redeem, a);
    a->inside = false;
    if (request == NULL)
        fixture_on_redeem(a, verdict, out, NULL);
    else
        ck_assert_ptr_null(out);
    return request;
}

/* The kinds of store, for loop tests. */
enum { KIND_MEMORY, KIND_LMDB, KIND_REDIS, KINDS, KINDS_HERE = KIND_REDIS };

static inline struct store *fixture_open_kind(int kind, struct store_options options)
{
    if (kind == KIND_REDIS && fixture_redis.pid == 0) {
        fixture_redis.folder = fixture_folder;
        redis_start(&fixture_redis);
    }
    return fixture_open(kind == KIND_MEMORY ? "memory:"
                        : kind == KIND_LMDB ? fixture_url("tickets")
                                            : redis_url(&fixture_redis),
                        options);
}

static inline int fixture_run_suite(const char *name, void (*add)(TCase *))
{
    TCase *tc = tcase_create(name);
    tcase_add_checked_fixture(tc, fixture_setup, fixture_teardown);
    tcase_set_timeout(tc, 60);
    add(tc);
    Suite *suite = suite_create(name);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif
