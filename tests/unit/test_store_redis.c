/* What the Redis store keeps and does on the server: bytes, indexes, limits, lists, faults, ends that are
 * told. What holds for every store is in test_store.c and test_store_client.c, which run over Redis too; what
 * happens when the server is away in test_store_redis_away.c.
 */
#include "store_fixture.h"

#include <pthread.h>

#include "base/clock.h"

static void set_clock(void)
{
    clock_set_offset_ms(0);
    clock_set_offset_ms(NOW - clock_wall_ms());
}

static struct store *open_store(struct store_options options)
{
    set_clock();
    return fixture_open_kind(KIND_REDIS, options);
}

static int issue_for(struct store *s, unsigned n, const char *user, const char *device, int64_t issued_ms)
{
    struct record r = fixture_ticket(n, TICKET_SESSION);
    r.user = user;
    r.device = device;
    r.issued_ms = issued_ms;
    return store_issue(s, &r);
}

/* ---- URLs and passwords ---- */

static int open_rc(const char *url, const char *password_file)
{
    struct store *s = NULL;
    struct store_options o = {.password_file = password_file};
    fixture_why[0] = '\0';
    int rc = store_open(&s, url, &o, fixture_why, sizeof fixture_why);
    if (rc == 0)
        store_close(s);
    return rc;
}

START_TEST(reads_urls)
{
    static const struct {
        const char *url, *why; /* NULL: good */
    } cases[] = {
        {"redis://localhost:6379", NULL},
        {"redis://localhost", NULL},
        {"redis://10.0.0.1:7000/0", NULL},
        {"redis://10.0.0.1:7000/", NULL},
        {"redis://[::1]:7000/15", NULL},
        {"redis://[2001:db8::1]", NULL},
        {"redis://redis.example.com:7000/9999?prefix=lab-1", NULL},
        {"redis://h:1?prefix={a}:b", NULL},
        {"redis:", "redis: write redis://HOST:PORT"},
        {"redis:h:1", "redis: write redis://HOST:PORT"},
        {"redis://", "redis: the host is missing"},
        {"redis:///3", "redis: the host is missing"},
        {"redis://h:0", "redis: "},
        {"redis://h:65536", "redis: "},
        {"redis://h_x:1", "redis: "},
        {"redis://h:1/x", "redis: a database is a number"},
        {"redis://h:1/10000", "redis: a database is a number"},
        {"redis://h:1/99999999999999999999", "redis: a database is a number"},
        {"redis://h:1/-1", "redis: a database is a number"},
        {"redis://h:1?prefix=", "redis: a prefix is 1 to 64"},
        {"redis://h:1?prefix=a b", "redis: a prefix is 1 to 64"},
        {"redis://h:1?prefix=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
         "redis: a pref"},
        {"redis://h:1?password=secret", "redis: behind the question mark"},
        {"redis://:secret@h:1",
         "redis: a URL may not carry a password: write it into a file and name that as "
         "password_file"},
        {"redis://anna:secret@h:1/0", "redis: a URL may not carry a password"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int rc = open_rc(cases[i].url, NULL);
        ck_assert_msg(rc == (cases[i].why ? ERR_SYNTAX : 0), "%s: %d %s", cases[i].url, rc, fixture_why);
        if (cases[i].why)
            ck_assert_msg(strncmp(fixture_why, cases[i].why, strlen(cases[i].why)) == 0, "%s: %s",
                          cases[i].url, fixture_why);
        ck_assert_ptr_null(strstr(fixture_why, "secret"));
    }
}
END_TEST

static const char *write_file(const char *text)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/password", fixture_folder);
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    fputs(text, f);
    fclose(f);
    return path;
}

START_TEST(reads_password_files)
{
    static char longest[1100];
    memset(longest, 'x', sizeof longest - 1);
    const struct {
        const char *text;
        int rc;
    } cases[] = {{"secret", 0},    {"secret\n", 0},          {"user:secret\r\nmore\n", 0},
                 {"", ERR_SYNTAX}, {"\nsecret", ERR_SYNTAX}, {longest, ERR_SYNTAX}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *path = write_file(cases[i].text);
        ck_assert_int_eq(open_rc("redis://127.0.0.1:1", path), cases[i].rc);
        if (cases[i].rc)
            ck_assert_ptr_nonnull(strstr(fixture_why, path));
    }
    ck_assert_int_eq(open_rc("redis://127.0.0.1:1", "/none/at/all"), ERR_STORE);
    ck_assert_str_eq(fixture_why, "redis: cannot read password_file /none/at/all: No such file or directory");
    ck_assert_int_eq(open_rc("redis://127.0.0.1:1", "/"), ERR_STORE);
}
END_TEST

START_TEST(authenticates)
{
    static const struct {
        const char *text;
        bool good;
    } cases[] = {{"open sesame", true},
                 {"default:open sesame\n", true},
                 {"gate:of:gold\n", true}, /* user gate, password of:gold */
                 {"wrong", false},
                 {"nobody:open sesame", false}};
    fixture_redis = (struct redis_server){.folder = fixture_folder, .password = "open sesame"};
    redis_start(&fixture_redis);
    ck_assert_int_eq(redis_tell(&fixture_redis, "ACL SETUSER gate on >of:gold +@all ~* &*"), 0);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct store *s = open_store((struct store_options){.password_file = write_file(cases[i].text)});
        struct record r = fixture_ticket((unsigned)i, TICKET_SESSION);
        const char *detail = NULL;
        ck_assert_int_eq(store_issue(s, &r), cases[i].good ? 0 : ERR_STORE);
        ck_assert_int_eq(store_is_up(s, &detail), cases[i].good);
        if (!cases[i].good)
            ck_assert_str_eq(detail, "redis: authentication failed");
        store_close(s);
    }
    struct store *s = open_store((struct store_options){0});
    struct record r = fixture_ticket(100, TICKET_SESSION);
    const char *detail = NULL;
    ck_assert_int_eq(store_issue(s, &r), ERR_STORE);
    ck_assert(!store_is_up(s, &detail));
    ck_assert_str_eq(detail, "redis: authentication failed");
    store_close(s);
}
END_TEST

START_TEST(keeps_apart)
{
    char url[2][96];
    fixture_redis.folder = fixture_folder;
    redis_start(&fixture_redis);
    snprintf(url[0], sizeof url[0], "redis://localhost:%d/3", fixture_redis.port);
    snprintf(url[1], sizeof url[1], "%s/3?prefix=other", redis_url(&fixture_redis));
    struct store *a = fixture_open(url[0], (struct store_options){0}),
                 *b = fixture_open(url[1], (struct store_options){0}),
                 *c = open_store((struct store_options){0});
    ck_assert_int_eq(issue_for(a, 1, "anna", "phone", NOW), 0);
    ck_assert_int_eq(fixture_redeem(a, 1, NOW), REDEEM_OK);
    ck_assert_int_eq(fixture_redeem(b, 1, NOW), REDEEM_UNKNOWN);
    ck_assert_int_eq(fixture_redeem(c, 1, NOW), REDEEM_UNKNOWN);

    uv_loop_t loop; /* loops find the address of a name, and the one of several that answers, too */
    uv_loop_init(&loop);
    struct store_client *client = store_client_new(a, &loop);
    struct answers answers = {0};
    fixture_client_redeem(client, 1, &answers);
    fixture_run(&loop, &answers.count, 1);
    ck_assert_uint_eq(answers.by_verdict[REDEEM_USED], 1);
    fixture_close_client(client, &loop);
    ck_assert_int_eq(uv_loop_close(&loop), 0);
    ck_assert_int_eq(redis_tell(&fixture_redis, "DBSIZE"), 0);
    store_close(a);
    store_close(b);
    store_close(c);
    struct store *none = fixture_open(strcat(url[0], "333"), (struct store_options){0});
    const char *detail = NULL;
    ck_assert_int_eq(fixture_redeem(none, 1, NOW), REDEEM_DOWN);
    ck_assert(!store_is_up(none, &detail));
    ck_assert_str_eq(detail, "redis: no such database");
    store_close(none);
}
END_TEST

/* ---- what is kept ---- */

/* The bytes behind the two keys are what record_encode makes of the ticket as it should be now. */
static void check_bytes(const struct record *r)
{
    uint8_t want[RECORD_BYTES_MAX];
    int len = record_encode(r, want);
    redisContext *c = redis_direct(&fixture_redis);
    redisReply *reply = redisCommand(c, "GET stagate:t:%b", r->hash, (size_t)RECORD_HASH);
    ck_assert_int_eq(reply->type, REDIS_REPLY_STRING);
    ck_assert_uint_eq(reply->len, 32 + (size_t)len);
    ck_assert_mem_eq(reply->str + 32, want, (size_t)len);
    freeReplyObject(reply);
    redisFree(c);
}

START_TEST(keeps_records_as_encoded)
{
    static const char *const services[] = {"mail.example.com:443"};
    static const struct record_value values[] = {{"ICAAddress", "mail.example.com:443"}};
    struct store *s = open_store((struct store_options){0});
    struct record r[5], *out;
    for (unsigned n = 0; n < 5; n++) {
        r[n] = fixture_ticket(n, TICKET_SESSION);
        r[n].services = services;
        r[n].service_count = 1;
        r[n].values = values;
        r[n].value_count = 1;
        r[n].refresh_ms = n >= 3 ? HOUR_MS : 0;
        ck_assert_int_eq(store_issue(s, &r[n]), 0);
        check_bytes(&r[n]);
    }
    ck_assert_int_eq(fixture_redeem(s, 0, NOW + 1), REDEEM_OK);
    r[0].state = TICKET_USED;
    r[0].ended_ms = NOW + 1;
    check_bytes(&r[0]);
    ck_assert_int_eq(store_end(s, r[1].hash, STORE_SWEEP_FORGET, NOW + 2), 0);
    r[1].state = TICKET_FORGOTTEN;
    r[1].ended_ms = NOW + 2;
    r[1].injected = true;
    check_bytes(&r[1]);
    ck_assert_int_eq(store_end(s, r[2].hash, STORE_SWEEP_EXPIRE, NOW + 3), 0);
    r[2].expires_ms = NOW + 3;
    r[2].injected = true;
    check_bytes(&r[2]);
    ck_assert_int_eq(store_refresh(s, r[3].hash, NOW + 4, &out), REDEEM_OK);
    free(out);
    r[3].expires_ms = NOW + 4 + HOUR_MS;
    check_bytes(&r[3]);
    ck_assert_int_eq(store_revoke(s, r[4].hash, NOW + 5), 0);
    r[4].state = TICKET_REVOKED;
    r[4].ended_ms = NOW + 5;
    check_bytes(&r[4]);
    store_close(s);
}
END_TEST

/* Purging leaves nothing behind, and what is not purged goes by itself an hour after its tombstone. */
START_TEST(leaves_nothing_behind)
{
    struct store *s = open_store((struct store_options){.tombstone_ms = HOUR_MS});
    char name[16];
    for (unsigned n = 0; n < 1200; n++) {
        snprintf(name, sizeof name, "user-%u", n / 3);
        ck_assert_int_eq(issue_for(s, n, name, n % 3 ? "phone" : "", NOW), 0);
    }
    for (unsigned n = 0; n < 1200; n++)
        if (n % 4 == 0)
            ck_assert_int_eq(fixture_redeem(s, n, NOW + 1), REDEEM_OK);
        else if (n % 4 == 1)
            ck_assert_int_eq(store_revoke(s, fixture_ticket(n, TICKET_SESSION).hash, NOW + 2), 0);
    redisContext *c = redis_direct(&fixture_redis);
    for (unsigned n = 0; n < 4; n++) { /* used, revoked, live, live */
        struct record r = fixture_ticket(n, TICKET_SESSION);
        redisReply *reply = redisCommand(c, "PTTL stagate:t:%b", r.hash, (size_t)RECORD_HASH);
        long long most = (n < 2 ? 2 : 3) * HOUR_MS;
        ck_assert_int_le(reply->integer, most);
        ck_assert_int_ge(reply->integer, most - HOUR_MS / 2);
        freeReplyObject(reply);
    }
    redisFree(c);
    ck_assert_int_eq(store_purge(s, NOW + HOUR_MS, 0), 0);
    ck_assert_int_eq(store_purge(s, NOW + HOUR_MS + 1, 7), 7);
    ck_assert_int_eq(store_purge(s, NOW + HOUR_MS + 2, 0), 593);
    ck_assert_int_eq(store_purge(s, NOW + 2 * HOUR_MS, 550), 550);
    ck_assert_uint_eq(fixture_count(s), 50);
    ck_assert_int_eq(store_purge(s, NOW + 2 * HOUR_MS, 0), 50);
    ck_assert_int_eq(redis_tell(&fixture_redis, "DBSIZE"), 0);
    store_close(s);
}
END_TEST

/* Records that Redis dropped leave index entries behind, which nobody trips over. */
START_TEST(survives_lost_records)
{
    struct store *s =
        open_store((struct store_options){.limits = {.per_user = 4, .per_device = 4, .total = 9}});
    for (unsigned n = 0; n < 4; n++)
        ck_assert_int_eq(issue_for(s, n, "anna", "phone", NOW), 0);
    ck_assert_int_eq(issue_for(s, 4, "anna", "phone", NOW), ERR_LIMIT);
    redisContext *c = redis_direct(&fixture_redis);
    for (unsigned n = 0; n < 3; n++)
        freeReplyObject(
            redisCommand(c, "DEL stagate:t:%b", fixture_ticket(n, TICKET_SESSION).hash, (size_t)RECORD_HASH));
    redisFree(c);
    ck_assert_uint_eq(fixture_count(s), 1);
    ck_assert_int_eq(store_sweep(s, STORE_SWEEP_EXPIRE, NULL, NOW), 1);
    for (unsigned n = 0; n < 4; n++)
        ck_assert_int_eq(issue_for(s, 10 + n, "anna", "phone", NOW), 0);
    ck_assert_int_eq(store_sweep(s, STORE_SWEEP_EXPIRE, "anna", NOW), 4);
    store_purge(s, NOW + 100 * HOUR_MS, 0);
    ck_assert_int_eq(redis_tell(&fixture_redis, "DBSIZE"), 0);
    store_close(s);
}
END_TEST

START_TEST(reloads_scripts)
{
    uv_loop_t loop;
    uv_loop_init(&loop);
    struct store *s = open_store((struct store_options){0});
    struct store_client *c = store_client_new(s, &loop);
    struct answers a = {0};
    for (unsigned n = 0; n < 20; n++) {
        struct record r = fixture_ticket(n, TICKET_SESSION);
        ck_assert_int_eq(redis_tell(&fixture_redis, "SCRIPT FLUSH"), 0);
        if (n % 2)
            store_client_issue(c, &r, fixture_on_done, &a);
        else
            fixture_on_done(&a, store_issue(s, &r));
        fixture_run(&loop, &a.count, n + 1);
        ck_assert_int_eq(a.rc, 0);
    }
    a = (struct answers){0};
    ck_assert_int_eq(redis_tell(&fixture_redis, "SCRIPT FLUSH"), 0);
    for (unsigned n = 0; n < 20; n++) /* on their way together */
        fixture_client_redeem(c, n, &a);
    fixture_run(&loop, &a.count, 20);
    ck_assert_uint_eq(a.by_verdict[REDEEM_OK], 20);
    fixture_close_client(c, &loop);
    store_close(s);
    ck_assert_int_eq(uv_loop_close(&loop), 0);
}
END_TEST

/* ---- faults ---- */

static void on_count(void *owner, int64_t count)
{
    struct answers *a = owner;
    a->count++;
    a->rc = (int)count;
}

START_TEST(sweeps)
{
    enum { COUNT = 1300 };
    uv_loop_t loop;
    uv_loop_init(&loop);
    struct store *s = open_store((struct store_options){0});
    struct store_client *c = store_client_new(s, &loop);
    struct answers a = {0};
    for (unsigned n = 0; n < COUNT; n++)
        ck_assert_int_eq(issue_for(s, n, n < 1200 ? "anna" : "bert", "", NOW), 0);
    for (unsigned n = 0; n < 100; n++)
        ck_assert_int_eq(fixture_redeem(s, n, NOW), REDEEM_OK);
    store_client_sweep(c, STORE_SWEEP_EXPIRE, "anna", NOW + 1, on_count, &a);
    fixture_run(&loop, &a.count, 1);
    ck_assert_int_eq(a.rc, 1100);
    ck_assert_int_eq(fixture_redeem(s, 0, NOW + 1), REDEEM_USED);
    ck_assert_int_eq(fixture_redeem(s, 500, NOW + 1), REDEEM_EXPIRED);
    ck_assert_int_eq(fixture_redeem(s, 1200, NOW + 1), REDEEM_OK);
    ck_assert_int_eq(store_sweep(s, STORE_SWEEP_FORGET, NULL, NOW + 2), 99);
    ck_assert_int_eq(fixture_redeem(s, 500, NOW + 2), REDEEM_EXPIRED);
    struct record r = fixture_ticket(1250, TICKET_SESSION), *out;
    ck_assert_int_eq(store_redeem(s, r.hash, NOW + 2, &out), REDEEM_UNKNOWN);
    free(out);
    for (unsigned n = 0; n < COUNT; n++)
        ck_assert_int_eq(issue_for(s, 5000 + n, "carl", "", NOW), 0);
    ck_assert_int_eq(store_sweep(s, STORE_SWEEP_FORGET, NULL, NOW + 2), COUNT);
    ck_assert_int_eq(store_sweep(s, STORE_SWEEP_FORGET, NULL, NOW + 2), 0);
    ck_assert_int_eq(store_end(s, fixture_ticket(9999, TICKET_SESSION).hash, STORE_SWEEP_EXPIRE, NOW),
                     ERR_NOT_FOUND);
    fixture_close_client(c, &loop);
    store_close(s);
    ck_assert_int_eq(uv_loop_close(&loop), 0);
}
END_TEST

/* ---- hearing of ends ---- */

struct ear {
    pthread_mutex_t mutex;
    unsigned count, any;
    enum ticket_state how;
    uint8_t hash[RECORD_HASH];
};

static void on_ended(void *owner, const uint8_t *hash, enum ticket_state how)
{
    struct ear *e = owner;
    pthread_mutex_lock(&e->mutex);
    e->count++;
    e->any += hash == NULL;
    e->how = how;
    if (hash)
        memcpy(e->hash, hash, RECORD_HASH);
    pthread_mutex_unlock(&e->mutex);
}

static void wait_for(struct ear *e, unsigned count, unsigned any)
{
    uint64_t end = uv_hrtime() + 30ull * 1000000000;
    unsigned there = 0, there_any = 0;
    while (there < count || there_any < any) {
        ck_assert_msg(uv_hrtime() < end, "heard of %u (%u)", there, there_any);
        usleep(500);
        pthread_mutex_lock(&e->mutex);
        there = e->count;
        there_any = e->any;
        pthread_mutex_unlock(&e->mutex);
    }
    ck_assert_uint_eq(there, count);
    ck_assert_uint_eq(there_any, any);
}

START_TEST(hears_of_ends)
{
    struct ear e = {.mutex = PTHREAD_MUTEX_INITIALIZER}, near = {.mutex = PTHREAD_MUTEX_INITIALIZER};
    struct store_options o = {.limits = {.per_user = 3, .evict_oldest = true}};
    struct store *a = open_store(o), *b = open_store(o);
    struct store_watch *w = store_watch(a, on_ended, &e), *v = store_watch(b, on_ended, &near);
    for (unsigned n = 1; n <= 4; n++)
        ck_assert_int_eq(issue_for(b, n, "anna", "phone", NOW + n), 0); /* evicts 1 */
    wait_for(&e, 1, 0);
    ck_assert_int_eq(e.how, TICKET_REVOKED);
    ck_assert_mem_eq(e.hash, fixture_ticket(1, TICKET_SESSION).hash, RECORD_HASH);
    ck_assert_int_eq(store_revoke(b, fixture_ticket(2, TICKET_SESSION).hash, NOW), 0);
    wait_for(&e, 2, 0);
    ck_assert_mem_eq(e.hash, fixture_ticket(2, TICKET_SESSION).hash, RECORD_HASH);
    ck_assert_int_eq(store_revoke(b, fixture_ticket(2, TICKET_SESSION).hash, NOW), 0); /* no news */
    ck_assert_int_eq(fixture_redeem(b, 3, NOW), REDEEM_OK);
    ck_assert_int_eq(store_end(b, fixture_ticket(4, TICKET_SESSION).hash, STORE_SWEEP_EXPIRE, NOW), 0);
    wait_for(&e, 3, 0);
    ck_assert_int_eq(e.how, TICKET_EXPIRED);
    ck_assert_mem_eq(e.hash, fixture_ticket(4, TICKET_SESSION).hash, RECORD_HASH);
    for (unsigned n = 11; n <= 13; n++)
        ck_assert_int_eq(issue_for(b, n, "bert", "", NOW), 0);
    ck_assert_int_eq(store_sweep(b, STORE_SWEEP_EXPIRE, "bert", NOW), 3);
    wait_for(&e, 6, 0);
    for (unsigned n = 21; n <= 23; n++)
        ck_assert_int_eq(issue_for(b, n, "carl", "", NOW), 0);
    ck_assert_int_eq(store_end(b, fixture_ticket(21, TICKET_SESSION).hash, STORE_SWEEP_FORGET, NOW), 0);
    ck_assert_int_eq(store_sweep(b, STORE_SWEEP_EXPIRE, NULL, NOW), 2);
    wait_for(&e, 7, 1);
    ck_assert_int_eq(e.how, TICKET_EXPIRED);
    wait_for(&near, 7, 1); /* whoever did it hears it the same way */

    redis_kill(&fixture_redis); /* what was missed can be anything, and this is told once */
    redis_start(&fixture_redis);
    wait_for(&e, 8, 2);
    store_unwatch(w);
    ck_assert_int_eq(issue_for(b, 31, "anna", "phone", NOW), 0);
    wait_for(&near, 8, 2);
    ck_assert_int_eq(store_revoke(b, fixture_ticket(31, TICKET_SESSION).hash, NOW), 0);
    wait_for(&near, 9, 2);
    ck_assert_uint_eq(e.count, 8);
    store_unwatch(v);
    store_close(a);
    store_close(b);
}
END_TEST

/* ---- processes ---- */

enum { CHILDREN = 4, RACE = 300 };

/* All redeem the same tickets, and issue for one user, with a limit; the parent adds up. */
static void race(int from_parent, int to_parent, void *arg)
{
    const char *url = arg;
    struct store_options o = {.limits = {.per_user = 50}};
    struct store *s = fixture_open(url, o);
    uint32_t sums[2] = {0};
    uint32_t own = 0;
    fixture_tell(to_parent);
    ck_assert_int_eq(read(from_parent, &own, sizeof own), sizeof own);
    for (unsigned n = 0; n < RACE; n++) {
        struct record r = fixture_ticket(10000 * own + n, TICKET_SESSION);
        r.user = "busy";
        int rc = n < 100 ? store_issue(s, &r) : ERR_LIMIT;
        ck_assert(rc == 0 || rc == ERR_LIMIT);
        sums[0] += rc == 0;
        sums[1] += fixture_redeem(s, n, NOW) == REDEEM_OK;
    }
    ck_assert_int_eq(write(to_parent, sums, sizeof sums), sizeof sums);
    store_close(s);
}

START_TEST(holds_between_processes)
{
    struct fixture_child children[CHILDREN];
    uint32_t sums[2], issued = 0, redeemed = 0;
    set_clock();
    fixture_redis.folder = fixture_folder;
    redis_start(&fixture_redis);
    for (uint32_t i = 0; i < CHILDREN; i++) {
        children[i] = fixture_fork(race, (void *)(uintptr_t)redis_url(&fixture_redis));
        fixture_wait(children[i].from);
    }
    struct store *s = open_store((struct store_options){0});
    for (unsigned n = 0; n < RACE; n++)
        ck_assert_int_eq(issue_for(s, n, "anna", "", NOW), 0);
    for (uint32_t i = 0; i < CHILDREN; i++) {
        uint32_t own = i + 1;
        ck_assert_int_eq(write(children[i].to, &own, sizeof own), sizeof own);
    }
    for (uint32_t i = 0; i < CHILDREN; i++) {
        ck_assert_int_eq(read(children[i].from, sums, sizeof sums), sizeof sums);
        issued += sums[0];
        redeemed += sums[1];
        ck_assert_int_eq(fixture_reap(&children[i]), 0);
    }
    ck_assert_uint_eq(redeemed, RACE);
    ck_assert_uint_eq(issued, 50);
    store_close(s);
}
END_TEST

static void add_tests(TCase *tc)
{
    tcase_add_test(tc, reads_urls);
    tcase_add_test(tc, reads_password_files);
    tcase_add_test(tc, authenticates);
    tcase_add_test(tc, keeps_apart);
    tcase_add_test(tc, keeps_records_as_encoded);
    tcase_add_test(tc, leaves_nothing_behind);
    tcase_add_test(tc, survives_lost_records);
    tcase_add_test(tc, reloads_scripts);
    tcase_add_test(tc, sweeps);
    tcase_add_test(tc, hears_of_ends);
    tcase_add_test(tc, holds_between_processes);
}

int main(void)
{
    return fixture_run_suite("store_redis", add_tests);
}
