/* The Redis store while its server is away, stopped, full, a replica, or something else altogether: every
 * operation is answered once, with what is wrong, and it recovers by itself.
 */
#include "store_fixture.h"

#include <pthread.h>

#include "../../src/sta/store_impl.h"
#include "base/clock.h"

enum { SOON_MS = 300 }; /* the timeout of those that are about it */

static void set_clock(void)
{
    clock_set_offset_ms(0);
    clock_set_offset_ms(NOW - clock_wall_ms());
}

struct answer {
    unsigned count;
    enum redeem verdict;
    const char *detail;
};

static void on_answer(void *owner, enum redeem verdict, struct record *rec, const char *detail)
{
    struct answer *a = owner;
    a->count++;
    a->verdict = verdict;
    a->detail = detail;
    ck_assert((detail != NULL) == (verdict == REDEEM_DOWN));
    free(rec);
}

static void ask(struct store_client *c, unsigned n, struct answer *a)
{
    enum redeem now;
    struct record *out;
    ck_assert_ptr_nonnull(
        store_client_redeem(c, fixture_ticket(n, TICKET_SESSION).hash, NOW, &now, &out, on_answer, a));
}

static enum redeem ask_one(struct store_client *c, uv_loop_t *loop, unsigned n, const char **detail)
{
    struct answer a = {0};
    ask(c, n, &a);
    ck_assert_uint_eq(a.count, 0);
    fixture_run(loop, &a.count, 1);
    *detail = a.detail;
    return a.verdict;
}

/* Until the loop's connection is back. */
static void wait_up(struct store_client *c, uv_loop_t *loop)
{
    const char *detail;
    uint64_t end = uv_hrtime() + 30ull * 1000000000;
    while (ask_one(c, loop, 999999, &detail) == REDEEM_DOWN) {
        ck_assert_msg(uv_hrtime() < end, "still %s", detail);
        usleep(1000);
    }
}

static void wait_down(struct store_client *c, uv_loop_t *loop, const char *want)
{
    const char *detail = NULL;
    uint64_t end = uv_hrtime() + 30ull * 1000000000;
    while (ask_one(c, loop, 999999, &detail) != REDEEM_DOWN || strcmp(detail, want) != 0)
        ck_assert_msg(uv_hrtime() < end, "%s instead of %s", detail ? detail : "up", want);
}

static void check_down(struct store *s, const char *want)
{
    const char *detail = NULL;
    ck_assert_int_eq(fixture_redeem(s, 999999, NOW), REDEEM_DOWN);
    ck_assert(!store_is_up(s, &detail));
    ck_assert_str_eq(detail, want);
}

START_TEST(starts_before_its_server)
{
    uv_loop_t loop;
    uv_loop_init(&loop);
    set_clock();
    const char *detail = NULL;
    fixture_redis = (struct redis_server){.folder = fixture_folder, .port = redis_free_port()};
    struct store *s = fixture_open(redis_url(&fixture_redis), (struct store_options){0});
    ck_assert(!store_is_up(s, &detail));
    struct store_client *c = store_client_new(s, &loop);
    struct answer a = {0};
    for (unsigned n = 0; n < 50; n++)
        ask(c, n, &a);
    fixture_run(&loop, &a.count, 50);
    ck_assert_str_eq(a.detail, "redis: connection refused");
    ck_assert_int_eq(ask_one(c, &loop, 1, &detail), REDEEM_DOWN);
    ck_assert_str_eq(detail, "redis: connection refused");
    check_down(s, "redis: connection refused");
    struct record r = fixture_ticket(1, TICKET_SESSION), *out = NULL;
    ck_assert_int_eq(store_issue(s, &r), ERR_STORE);
    ck_assert_int_eq(store_revoke(s, r.hash, NOW), ERR_STORE);
    ck_assert_int_eq(store_get(s, r.hash, &out), ERR_STORE);
    ck_assert_int_eq(store_sweep(s, STORE_SWEEP_EXPIRE, NULL, NOW), ERR_STORE);
    ck_assert_int_eq(store_purge(s, NOW, 0), ERR_STORE);

    redis_start(&fixture_redis);
    wait_up(c, &loop);
    ck_assert(store_is_up(s, &detail));
    ck_assert_int_eq(store_issue(s, &r), 0);
    ck_assert_int_eq(ask_one(c, &loop, 1, &detail), REDEEM_OK);
    fixture_close_client(c, &loop);
    store_close(s);
    ck_assert_int_eq(uv_loop_close(&loop), 0);
}
END_TEST

/* Kills and restarts in the middle of many operations. */
START_TEST(survives_restarts_under_load)
{
    enum { ROUNDS = 4, COUNT = 1000 };
    uv_loop_t loop;
    uv_loop_init(&loop);
    set_clock();
    struct store *s = fixture_open_kind(KIND_REDIS, (struct store_options){0});
    struct store_client *c[2] = {store_client_new(s, &loop), store_client_new(s, &loop)};
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct answers a = {0}, issued = {0};
        wait_up(c[0], &loop);
        wait_up(c[1], &loop);
        for (unsigned n = 0; n < COUNT; n++) {
            struct record r = fixture_ticket(round * COUNT + n, TICKET_SESSION);
            store_client_issue(c[n % 2], &r, fixture_on_done, &issued);
        }
        fixture_run(&loop, &issued.count, COUNT);
        ck_assert_int_eq(issued.rc, 0);
        for (unsigned n = 0; n < COUNT; n++) { /* each ticket by both, one of them in vain */
            fixture_client_redeem(c[0], round * COUNT + n, &a);
            fixture_client_redeem(c[1], round * COUNT + n, &a);
            if (n == COUNT / 2) {
                fixture_run(&loop, &a.count, n * round / 2);
                redis_kill(&fixture_redis);
            }
        }
        fixture_run(&loop, &a.count, 2 * COUNT);
        ck_assert_uint_eq(a.count, 2 * COUNT);
        ck_assert_uint_le(a.by_verdict[REDEEM_OK], COUNT);
        ck_assert_uint_gt(a.by_verdict[REDEEM_DOWN], 0);
        redis_start(&fixture_redis);
    }
    wait_up(c[0], &loop);
    ck_assert_int_eq(fixture_redeem(s, 1, NOW), REDEEM_UNKNOWN); /* the blocking half is back too */
    fixture_close_client(c[0], &loop);
    fixture_close_client(c[1], &loop);
    store_close(s);
    ck_assert_int_eq(uv_loop_close(&loop), 0);
}
END_TEST

static void *redeem_blocking(void *arg)
{
    ck_assert_int_eq(fixture_redeem(arg, 1, NOW), REDEEM_DOWN);
    return NULL;
}

START_TEST(does_not_wait_for_a_stopped_server)
{
    enum { THREADS = 4 };
    uv_loop_t loop;
    uv_loop_init(&loop);
    set_clock();
    const char *detail = NULL;
    struct store *s = fixture_open_kind(KIND_REDIS, (struct store_options){.timeout_ms = SOON_MS});
    struct store_client *c = store_client_new(s, &loop);
    wait_up(c, &loop);
    struct record r = fixture_ticket(1, TICKET_SESSION);
    ck_assert_int_eq(store_issue(s, &r), 0);
    kill(fixture_redis.pid, SIGSTOP);
    struct answer a = {0};
    for (unsigned n = 0; n < 100; n++)
        ask(c, 1000 + n, &a);
    fixture_run(&loop, &a.count, 100);
    ck_assert_str_eq(a.detail, "redis: no answer in time");
    ck_assert_int_eq(ask_one(c, &loop, 1000, &detail), REDEEM_DOWN);
    pthread_t threads[THREADS];
    for (unsigned t = 0; t < THREADS; t++)
        ck_assert_int_eq(pthread_create(&threads[t], NULL, redeem_blocking, s), 0);
    for (unsigned t = 0; t < THREADS; t++)
        pthread_join(threads[t], NULL);
    check_down(s, "redis: no answer in time");
    kill(fixture_redis.pid, SIGCONT);
    wait_up(c, &loop);
    store_close(fixture_open(redis_url(&fixture_redis), (struct store_options){0}));
    fixture_close_client(c, &loop);
    store_close(s);
    ck_assert_int_eq(uv_loop_close(&loop), 0);
}
END_TEST

START_TEST(has_bounds)
{
    enum { MOST = 10000, MORE = 7 };
    uv_loop_t loop;
    uv_loop_init(&loop);
    set_clock();
    struct store *s = fixture_open_kind(KIND_REDIS, (struct store_options){.timeout_ms = 60000});
    struct store_client *c = store_client_new(s, &loop);
    wait_up(c, &loop);
    kill(fixture_redis.pid, SIGSTOP);
    struct answer a = {0}, more = {0};
    struct answers issued = {0};
    for (unsigned n = 0; n < MOST; n++)
        ask(c, n, &a);
    for (unsigned n = 0; n < MORE; n++)
        ask(c, n, &more);
    struct record r = fixture_ticket(1, TICKET_SESSION);
    store_client_issue(c, &r, fixture_on_done, &issued);
    fixture_run(&loop, &issued.count, 1);
    ck_assert_int_eq(issued.rc, ERR_TOO_BIG);
    ck_assert_uint_eq(more.count, MORE);
    ck_assert_int_eq(more.verdict, REDEEM_DOWN);
    ck_assert_str_eq(more.detail, "redis: too many operations waiting");
    ck_assert_uint_eq(a.count, 0);
    kill(fixture_redis.pid, SIGCONT);
    fixture_run(&loop, &a.count, MOST);
    ck_assert_int_eq(a.verdict, REDEEM_UNKNOWN);
    fixture_close_client(c, &loop);
    store_close(s);
    ck_assert_int_eq(uv_loop_close(&loop), 0);
}
END_TEST

START_TEST(says_what_is_wrong_with_the_server)
{
    static const struct {
        const char *command[2]; /* makes it so, makes it good again */
        const char *detail;
    } cases[] = {
        {{"REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE"}, "redis: read-only replica"},
        {{"CONFIG SET min-replicas-to-write 1", "CONFIG SET min-replicas-to-write 0"},
         "redis: too few replicas"},
        {{"ACL SETUSER default -@all +config +acl +auth +ping", "ACL SETUSER default +@all"},
         "redis: not permitted to this user"},
    };
    uv_loop_t loop;
    uv_loop_init(&loop);
    set_clock();
    const char *detail = NULL;
    struct store *s = fixture_open_kind(KIND_REDIS, (struct store_options){0});
    struct store_client *c = store_client_new(s, &loop);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        wait_up(c, &loop);
        ck_assert_int_eq(fixture_redeem(s, 1, NOW), REDEEM_UNKNOWN);
        ck_assert_int_eq(redis_tell(&fixture_redis, cases[i].command[0]), 0);
        wait_down(c, &loop, cases[i].detail);
        check_down(s, cases[i].detail);
        check_down(s, cases[i].detail); /* the first may have known the old connection */
        ck_assert_int_eq(redis_tell(&fixture_redis, cases[i].command[1]), 0);
    }
    wait_up(c, &loop);
    ck_assert(store_is_up(s, &detail));
    fixture_close_client(c, &loop);
    store_close(s);
    ck_assert_int_eq(uv_loop_close(&loop), 0);
}
END_TEST

/* A full server takes no new tickets, but those there are can end. */
START_TEST(lets_tickets_end_in_a_full_server)
{
    set_clock();
    struct store *s = fixture_open_kind(KIND_REDIS, (struct store_options){.tombstone_ms = HOUR_MS});
    for (unsigned n = 0; n < 4; n++) {
        struct record r = fixture_ticket(n, TICKET_SESSION);
        ck_assert_int_eq(store_issue(s, &r), 0);
    }
    ck_assert_int_eq(redis_tell(&fixture_redis, "CONFIG SET maxmemory 1"), 0);
    struct record r = fixture_ticket(5, TICKET_SESSION);
    ck_assert_int_eq(store_issue(s, &r), ERR_STORE_FULL);
    ck_assert_int_eq(fixture_redeem(s, 0, NOW), REDEEM_OK);
    ck_assert_int_eq(fixture_redeem(s, 0, NOW), REDEEM_USED);
    ck_assert_int_eq(store_revoke(s, fixture_ticket(1, TICKET_SESSION).hash, NOW), 0);
    ck_assert_int_eq(store_sweep(s, STORE_SWEEP_EXPIRE, NULL, NOW), 2);
    ck_assert_int_eq(store_purge(s, NOW + HOUR_MS, 0), 4);
    ck_assert(store_is_up(s, NULL));
    ck_assert_int_eq(redis_tell(&fixture_redis, "CONFIG SET maxmemory 0"), 0);
    ck_assert_int_eq(store_issue(s, &r), 0);
    store_close(s);
}
END_TEST

static void write_password(char path[256], const char *text)
{
    snprintf(path, 256, "%s/password", fixture_folder);
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    fputs(text, f);
    fclose(f);
}

START_TEST(reads_the_password_anew)
{
    uv_loop_t loop;
    uv_loop_init(&loop);
    set_clock();
    char path[256];
    write_password(path, "first\n");
    fixture_redis = (struct redis_server){.folder = fixture_folder, .password = "first"};
    redis_start(&fixture_redis);
    struct store *s = fixture_open_kind(KIND_REDIS, (struct store_options){.password_file = path});
    struct store_client *c = store_client_new(s, &loop);
    wait_up(c, &loop);
    redis_kill(&fixture_redis);
    fixture_redis.password = "second";
    redis_start(&fixture_redis);
    wait_down(c, &loop, "redis: authentication failed");
    check_down(s, "redis: authentication failed");
    remove(path);
    wait_down(c, &loop, "redis: the password file cannot be read");
    check_down(s, "redis: the password file cannot be read");
    write_password(path, "second\n");
    wait_up(c, &loop);
    ck_assert_int_eq(fixture_redeem(s, 1, NOW), REDEEM_UNKNOWN);
    fixture_close_client(c, &loop);
    store_close(s);
    ck_assert_int_eq(uv_loop_close(&loop), 0);
}
END_TEST

/* ---- something else listens there ---- */

struct impostor {
    int fd;
    int port;
    const char *answer;
    pthread_t thread;
};

static void *impostor_main(void *arg)
{
    struct impostor *i = arg;
    for (;;) {
        char bytes[4096];
        int fd = accept(i->fd, NULL, NULL);
        if (fd < 0)
            return NULL;
        ssize_t n = recv(fd, bytes, sizeof bytes, 0);
        if (n > 0)
            n = send(fd, i->answer, strlen(i->answer), MSG_NOSIGNAL);
        while (n > 0)
            n = recv(fd, bytes, sizeof bytes, 0);
        close(fd);
    }
}

static void impostor_start(struct impostor *i)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    i->fd = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_eq(bind(i->fd, (struct sockaddr *)&a, sizeof a), 0);
    ck_assert_int_eq(listen(i->fd, 64), 0);
    ck_assert_int_eq(getsockname(i->fd, (struct sockaddr *)&a, &len), 0);
    i->port = ntohs(a.sin_port);
    if (i->answer)
        ck_assert_int_eq(pthread_create(&i->thread, NULL, impostor_main, i), 0);
}

START_TEST(tells_redis_from_others)
{
    static const struct {
        const char *answer; /* NULL: none */
        const char *detail;
    } cases[] = {
        {NULL, "redis: no answer in time"},
        {"HTTP/1.1 400 Bad Request\r\n\r\n", "redis: an answer that makes no sense"},
        {"-ERR max number of clients reached\r\n", "redis: too many connections"},
        {"-LOADING Redis is loading the dataset in memory\r\n", "redis: loading"},
        {"-DENIED Redis is running in protected mode\r\n", "redis: protected mode"},
        {"-ERR Error compiling script (new function): user_script:1\r\n",
         "redis: version 7 or newer is needed"},
        {"$999999999999999999999\r\n", "redis: an answer that makes no sense"},
        {"*-7\r\n", "redis: an answer that makes no sense"},
        {":1\r\n", "redis: no answer in time"},
    };
    uv_loop_t loop;
    uv_loop_init(&loop);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct impostor other = {.answer = cases[i].answer};
        const char *detail = NULL;
        char url[64];
        impostor_start(&other);
        snprintf(url, sizeof url, "redis://127.0.0.1:%d", other.port);
        struct store *s = fixture_open(url, (struct store_options){.timeout_ms = SOON_MS});
        struct store_client *c = store_client_new(s, &loop);
        ck_assert_int_eq(ask_one(c, &loop, 1, &detail), REDEEM_DOWN);
        ck_assert_msg(strcmp(detail, cases[i].detail) == 0, "case %zu: %s", i, detail);
        if (cases[i].answer == NULL || cases[i].answer[0] == '-')
            check_down(s, cases[i].detail);
        fixture_close_client(c, &loop);
        store_close(s);
        shutdown(other.fd, SHUT_RDWR);
        if (other.answer)
            pthread_join(other.thread, NULL);
        close(other.fd);
    }
    ck_assert_int_eq(uv_loop_close(&loop), 0);
}
END_TEST

/* ---- closing ---- */

/* Right after asking, while connecting, while away, and with a thread that listens. */
START_TEST(closes_at_any_time)
{
    uv_loop_t loop;
    uv_loop_init(&loop);
    set_clock();
    fixture_redis = (struct redis_server){.folder = fixture_folder, .port = redis_free_port()};
    for (unsigned round = 0; round < 40; round++) {
        if (round == 10)
            redis_start(&fixture_redis);
        struct store *s = fixture_open(redis_url(&fixture_redis), (struct store_options){0});
        struct store_client *c = store_client_new(s, &loop);
        struct answer a = {0};
        unsigned closed = 0;
        for (unsigned turns = 0; turns < round % 10; turns++)
            uv_run(&loop, UV_RUN_NOWAIT);
        for (unsigned n = 0; n < round % 5; n++)
            ask(c, n, &a);
        for (unsigned turns = 0; turns < round % 3; turns++)
            uv_run(&loop, UV_RUN_NOWAIT);
        store_client_close(c, fixture_closed, &closed);
        fixture_run(&loop, &closed, 1);
        ck_assert_uint_eq(a.count, round % 5);
        store_close(s);
    }
    ck_assert_int_eq(uv_loop_close(&loop), 0);
}
END_TEST

static unsigned link_done;

static void on_link_done(struct store_op *op)
{
    link_done++;
    ck_assert_int_eq(op->verdict, REDEEM_DOWN);
    ck_assert_ptr_nonnull(op->detail);
}

/* A link that is closed answers what is open, before it says so. */
START_TEST(link_answers_before_it_closes)
{
    enum { COUNT = 20 };
    uv_loop_t loop;
    uv_loop_init(&loop);
    set_clock();
    struct store *s = fixture_open_kind(KIND_REDIS, (struct store_options){.timeout_ms = 60000});
    ck_assert_int_eq(fixture_redeem(s, 1, NOW), REDEEM_UNKNOWN);
    kill(fixture_redis.pid, SIGSTOP);
    for (unsigned turns = 0; turns < 20; turns++) {
        struct store_link *l = s->ops->link_new(s->backend, &loop, on_link_done);
        struct store_op ops[COUNT];
        unsigned closed = 0;
        link_done = 0;
        for (unsigned n = 0; n < COUNT; n++) {
            ops[n] = (struct store_op){.kind = STORE_REDEEM, .now_ms = NOW};
            s->ops->link_submit(l, &ops[n]);
        }
        for (unsigned i = 0; i < turns; i++)
            uv_run(&loop, UV_RUN_NOWAIT);
        s->ops->link_close(l, fixture_closed, &closed);
        ck_assert_uint_eq(closed, 0);
        fixture_run(&loop, &closed, 1);
        ck_assert_uint_eq(link_done, COUNT);
    }
    kill(fixture_redis.pid, SIGCONT);
    store_close(s);
    ck_assert_int_eq(uv_loop_close(&loop), 0);
}
END_TEST

static void add_tests(TCase *tc)
{
    tcase_add_test(tc, starts_before_its_server);
    tcase_add_test(tc, survives_restarts_under_load);
    tcase_add_test(tc, does_not_wait_for_a_stopped_server);
    tcase_add_test(tc, has_bounds);
    tcase_add_test(tc, says_what_is_wrong_with_the_server);
    tcase_add_test(tc, lets_tickets_end_in_a_full_server);
    tcase_add_test(tc, reads_the_password_anew);
    tcase_add_test(tc, tells_redis_from_others);
    tcase_add_test(tc, closes_at_any_time);
    tcase_add_test(tc, link_answers_before_it_closes);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    return fixture_run_suite("store_redis_away", add_tests);
}
