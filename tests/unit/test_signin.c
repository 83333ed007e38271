/* Sign-in against htpasswd files, and the pool: both schemes, reading again, broken files, many checks from
 * several loops, closing and cancelling.
 */
#include "signin_fixture.h"

#include <crypt.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>

/* Hashes of a password, cheap ones. Static storage. */
static const char *hash_of(const char *prefix, const char *password)
{
    static char text[CRYPT_OUTPUT_SIZE];
    char salt[CRYPT_GENSALT_OUTPUT_SIZE];
    struct crypt_data *data = mem_zalloc(sizeof *data);
    unsigned long cost = strcmp(prefix, "$6$") == 0 ? 1000 : 4;
    ck_assert_ptr_nonnull(crypt_gensalt_rn(prefix, cost, NULL, 0, salt, sizeof salt));
    snprintf(text, sizeof text, "%s", crypt_r(password, salt, data));
    free(data);
    return text;
}

/* "NAME:HASH" lines for a NULL-terminated list of name, prefix, password; owned. */
static char *lines_of(const char *const *list)
{
    char *text = mem_strdup("");
    for (; *list; list += 3) {
        char *more = mem_printf("%s%s:%s\n", text, list[0], hash_of(list[1], list[2]));
        free(text);
        text = more;
    }
    return text;
}

static const char *const people[] = {"anna", "$2y$", "secret", "bert", "$6$",  "other",
                                     "a b",  "$2b$", "b l",    "cleo", "$2a$", "\xc3\xa4\xff*)(",
                                     NULL};

static char *write_people(void)
{
    char *path = fixture_path("users"), *text = lines_of(people);
    fixture_write(path, text);
    free(text);
    return path;
}

/* Writes beside it and renames, as it should be done. */
static void replace_file(const char *path, const char *text)
{
    char *next = fixture_path("next");
    fixture_write(next, text);
    ck_assert_int_eq(rename(next, path), 0);
    free(next);
}

START_TEST(names_and_passwords)
{
    static const char long_name[] =
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    static const struct {
        const char *user, *password;
        enum signin_result result;
    } cases[] = {
        {"anna", "secret", SIGNIN_OK},       {"bert", "other", SIGNIN_OK},
        {"a b", "b l", SIGNIN_OK},           {"cleo", "\xc3\xa4\xff*)(", SIGNIN_OK},
        {"anna", "Secret", SIGNIN_WRONG},    {"anna", "secret ", SIGNIN_WRONG},
        {"anna", "other", SIGNIN_WRONG},     {"anna", "", SIGNIN_WRONG},
        {"Anna", "secret", SIGNIN_WRONG},    {"nobody", "secret", SIGNIN_WRONG},
        {"", "secret", SIGNIN_WRONG},        {"", "", SIGNIN_WRONG},
        {"an\nna", "secret", SIGNIN_WRONG},  {"an\xffna", "secret", SIGNIN_WRONG},
        {long_name, "secret", SIGNIN_WRONG}, {"anna", long_name, SIGNIN_WRONG},
    };
    char *path = write_people();
    struct signin *s = fixture_open_signin((struct signin_options){.htpasswd = path});
    ck_assert_uint_gt(strlen(long_name), 255);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct signin_answer a = fixture_signin(s, cases[i].user, cases[i].password);
        ck_assert_msg(a.result == cases[i].result, "case %zu: %d", i, a.result);
        ck_assert_str_eq(a.user, a.result == SIGNIN_OK ? cases[i].user : "");
    }
    signin_unref(s);
    free(path);
}
END_TEST

/* An empty password is wrong even where the file holds its hash. */
START_TEST(empty_passwords_are_wrong)
{
    static const char *const list[] = {"anna", "$2y$", "", NULL};
    char *path = fixture_path("users"), *text = lines_of(list);
    fixture_write(path, text);
    struct signin *s = fixture_open_signin((struct signin_options){.htpasswd = path});
    ck_assert_int_eq(fixture_signin(s, "anna", "").result, SIGNIN_WRONG);
    signin_unref(s);
    free(text);
    free(path);
}
END_TEST

START_TEST(opening_says_what_is_wrong)
{
    char *path = fixture_path("users"), *away = fixture_path("away"), *fifo = fixture_path("fifo");
    char *expected = mem_printf("%s:3: no colon", path);
    struct signin *s = NULL;
    fixture_write(path, "# users\n\nanna\nbert\n");
    ck_assert_int_eq(
        signin_open(&s, &(struct signin_options){.htpasswd = path}, fixture_why, sizeof fixture_why),
        ERR_SYNTAX);
    ck_assert_msg(strncmp(fixture_why, expected, strlen(expected)) == 0, "%s", fixture_why);
    ck_assert_int_eq(
        signin_open(&s, &(struct signin_options){.htpasswd = away}, fixture_why, sizeof fixture_why),
        -ENOENT);
    ck_assert_ptr_nonnull(strstr(fixture_why, "away: No such file"));
    ck_assert_int_eq(mkfifo(fifo, 0600), 0);
    ck_assert_int_lt(
        signin_open(&s, &(struct signin_options){.htpasswd = fifo}, fixture_why, sizeof fixture_why), 0);
    ck_assert_ptr_nonnull(strstr(fixture_why, "not a regular file"));
    ck_assert_int_lt(signin_open(&s, &(struct signin_options){.htpasswd = fixture_folder}, fixture_why,
                                 sizeof fixture_why),
                     0);
    ck_assert_ptr_nonnull(strstr(fixture_why, "directory"));
    ck_assert_ptr_null(s);
    free(path);
    free(away);
    free(fifo);
    free(expected);
}
END_TEST

/* ---- reading again ---- */

static const char *const before[] = {"anna", "$2y$", "old", NULL};
static const char *const after[] = {"anna", "$2y$", "new", NULL};

START_TEST(file_is_read_again)
{
    char *path = fixture_path("users"), *old = lines_of(before), *new = lines_of(after);
    fixture_write(path, old);
    struct signin *s = fixture_open_signin((struct signin_options){.htpasswd = path});
    ck_assert_int_eq(fixture_signin(s, "anna", "old").result, SIGNIN_OK);

    replace_file(path, new);
    ck_assert_int_eq(fixture_signin(s, "anna", "old").result, SIGNIN_WRONG);
    ck_assert_int_eq(fixture_signin(s, "anna", "new").result, SIGNIN_OK);

    /* in place, of the same size, and perhaps within one tick of the clock that stamps files */
    ck_assert_uint_eq(strlen(old), strlen(new));
    for (unsigned n = 0; n < 20; n++) {
        fixture_write(path, n % 2 ? new : old);
        ck_assert_int_eq(fixture_signin(s, "anna", n % 2 ? "new" : "old").result, SIGNIN_OK);
    }

    fixture_write(path, "# nobody\n");
    ck_assert_int_eq(fixture_signin(s, "anna", "new").result, SIGNIN_WRONG);
    signin_unref(s);
    free(path);
    free(old);
    free(new);
}
END_TEST

/* Standard error into a file while it is in scope of a test; the log writes there. */
static char *caught_path;

static int catch_log(void)
{
    caught_path = fixture_path("log");
    int was = dup(STDERR_FILENO), fd = open(caught_path, O_CREAT | O_RDWR | O_TRUNC | O_APPEND, 0600);
    ck_assert_int_ge(fd, 0);
    dup2(fd, STDERR_FILENO);
    close(fd);
    return was;
}

static void release_log(int was)
{
    dup2(was, STDERR_FILENO);
    close(was);
}

/* How often a text is in the log. */
static unsigned logged(const char *text)
{
    static char all[20000];
    unsigned n = 0;
    FILE *f = fopen(caught_path, "r");
    ck_assert_ptr_nonnull(f);
    all[fread(all, 1, sizeof all - 1, f)] = '\0';
    fclose(f);
    for (const char *p = all; (p = strstr(p, text)) != NULL; p += strlen(text))
        n++;
    return n;
}

START_TEST(broken_file_changes_nothing)
{
    char *path = fixture_path("users"), *old = lines_of(before), *new = lines_of(after);
    fixture_write(path, old);
    struct signin *s = fixture_open_signin((struct signin_options){.htpasswd = path});
    int was = catch_log();

    replace_file(path, "# a comment\nanna:SeCrEtHaSh\n");
    for (unsigned n = 0; n < 3; n++)
        ck_assert_int_eq(fixture_signin(s, "anna", "old").result, SIGNIN_OK);
    unsigned line_named = logged("users:2: "), hash_shown = logged("SeCrEtHaSh");
    replace_file(path, "anna\n");
    ck_assert_int_eq(fixture_signin(s, "anna", "old").result, SIGNIN_OK);
    unsigned second = logged("users:1: no colon");

    ck_assert_int_eq(unlink(path), 0);
    for (unsigned n = 0; n < 3; n++)
        ck_assert_int_eq(fixture_signin(s, "anna", "old").result, SIGNIN_OK);
    unsigned away = logged("No such file");

    fixture_write(path, new);
    ck_assert_int_eq(fixture_signin(s, "anna", "old").result, SIGNIN_WRONG);
    ck_assert_int_eq(fixture_signin(s, "anna", "new").result, SIGNIN_OK);
    ck_assert_int_eq(unlink(path), 0); /* complained of anew */
    ck_assert_int_eq(fixture_signin(s, "anna", "new").result, SIGNIN_OK);
    unsigned away_again = logged("No such file"), again = logged("read again: 1 users");
    release_log(was);

    ck_assert_uint_eq(line_named, 1);
    ck_assert_uint_eq(hash_shown, 0);
    ck_assert_uint_eq(second, 1);
    ck_assert_uint_eq(away, 1);
    ck_assert_uint_eq(away_again, 2);
    ck_assert_uint_eq(again, 1);
    signin_unref(s);
    free(path);
    free(old);
    free(new);
    free(caught_path);
}
END_TEST

/* ---- the pool ---- */

START_TEST(full_queue_is_busy)
{
    enum { COUNT = 200 };
    char *path = write_people();
    uv_loop_t loop;
    uv_loop_init(&loop);
    struct signin *s =
        fixture_open_signin((struct signin_options){.htpasswd = path, .threads = 1, .queue_max = 3});
    struct signin_client *c = signin_client_new(s, &loop);
    struct signin_answer a = {0};
    for (unsigned n = 0; n < COUNT; n++)
        fixture_check(c, "anna", "secret", &a);
    ck_assert_uint_eq(a.count, 0);
    fixture_run(&loop, &a.count, COUNT);
    ck_assert_uint_eq(a.by_result[SIGNIN_OK] + a.by_result[SIGNIN_BUSY], COUNT);
    ck_assert_uint_ge(a.by_result[SIGNIN_OK], 3);
    fixture_check(c, "anna", "secret", &a); /* and then there is room again */
    fixture_run(&loop, &a.count, COUNT + 1);
    ck_assert_int_eq(a.result, SIGNIN_OK);
    fixture_close_signin_client(c, &loop);
    signin_unref(s);
    ck_assert_int_eq(uv_loop_close(&loop), 0);
    free(path);
}
END_TEST

/* Closing finishes what is open; the client keeps the pool alive until then. Cancelled checks are not heard
 * of. */
START_TEST(closes_with_open_checks)
{
    enum { COUNT = 60 };
    char *path = write_people();
    uv_loop_t loop;
    uv_loop_init(&loop);
    struct signin *s = fixture_open_signin((struct signin_options){.htpasswd = path});
    struct signin_client *c = signin_client_new(s, &loop);
    struct signin_answer a = {0}, cancelled = {0};
    unsigned closed = 0;
    for (unsigned n = 0; n < COUNT; n++) {
        bool goes = n % 3 == 0;
        struct signin_request *r =
            fixture_check(c, "anna", n % 2 ? "secret" : "wrong", goes ? &cancelled : &a);
        if (goes)
            signin_cancel(r);
    }
    signin_unref(s);
    signin_client_close(c, fixture_closed, &closed);
    fixture_run(&loop, &closed, 1);
    ck_assert_uint_eq(a.count, COUNT - COUNT / 3);
    ck_assert_uint_eq(a.by_result[SIGNIN_OK], COUNT / 3);
    ck_assert_uint_eq(a.by_result[SIGNIN_WRONG], COUNT / 3);
    ck_assert_uint_eq(cancelled.count, 0);
    ck_assert_int_eq(uv_loop_close(&loop), 0);
    free(path);
}
END_TEST

/* Cancelling at any moment: while it waits, while it runs, when its answer is on the way, and from inside
 * another's callback. */
START_TEST(cancels_at_any_moment)
{
    enum { ROUNDS = 300 };
    char *path = write_people();
    uv_loop_t loop;
    uv_loop_init(&loop);
    struct signin *s = fixture_open_signin((struct signin_options){.htpasswd = path, .threads = 3});
    struct signin_client *c = signin_client_new(s, &loop);
    struct signin_answer cancelled = {0}, other = {0};
    for (unsigned n = 0; n < ROUNDS; n++) {
        struct signin_request *r = fixture_check(c, "anna", "secret", &cancelled);
        fixture_check(c, "bert", "other", &other);
        if (n % 3 == 1)
            usleep(n * 10); /* answers gather, the loop does not turn */
        signin_cancel(r);
        fixture_run(&loop, &other.count, n + 1);
    }
    ck_assert_uint_eq(cancelled.count, 0);
    ck_assert_uint_eq(other.by_result[SIGNIN_OK], ROUNDS);
    fixture_close_signin_client(c, &loop);
    signin_unref(s);
    ck_assert_int_eq(uv_loop_close(&loop), 0);
    free(path);
}
END_TEST

struct closing {
    struct signin_client *client;
    struct signin_request *other;
    unsigned count;
    unsigned closed;
};

static void close_inside(void *owner, enum signin_result result, const char *user, const char *detail)
{
    struct closing *x = owner;
    ck_assert_int_eq(result, SIGNIN_OK);
    ck_assert_str_eq(user, "anna");
    ck_assert_ptr_null(detail);
    if (x->count++ > 0)
        return;
    signin_cancel(x->other);
    signin_client_close(x->client, fixture_closed, &x->closed);
}

START_TEST(closes_inside_a_callback)
{
    char *path = write_people();
    uv_loop_t loop;
    uv_loop_init(&loop);
    struct signin *s = fixture_open_signin((struct signin_options){.htpasswd = path, .threads = 1});
    struct closing x = {.client = signin_client_new(s, &loop)};
    signin_check(x.client, "anna", "secret", close_inside, &x);
    signin_check(x.client, "anna", "secret", close_inside, &x);
    x.other = signin_check(x.client, "anna", "secret", close_inside, &x);
    signin_unref(s);
    fixture_run(&loop, &x.closed, 1);
    ck_assert_uint_eq(x.count, 2);
    ck_assert_int_eq(uv_loop_close(&loop), 0);
    free(path);
}
END_TEST

/* ---- several loops ---- */

enum { LOOPS = 2, CHECKS = 120 };

struct worker {
    struct signin *signin;
    pthread_t thread;
    struct signin_answer right, wrong;
};

static void *work(void *arg)
{
    struct worker *w = arg;
    uv_loop_t loop;
    uv_loop_init(&loop);
    struct signin_client *c = signin_client_new(w->signin, &loop);
    for (unsigned n = 0; n < CHECKS; n++) {
        fixture_check(c, n % 2 ? "anna" : "bert", n % 2 ? "secret" : "other", &w->right);
        fixture_check(c, n % 2 ? "anna" : "nobody", "wrong", &w->wrong);
        uv_run(&loop, UV_RUN_NOWAIT);
    }
    fixture_run(&loop, &w->right.count, CHECKS);
    fixture_run(&loop, &w->wrong.count, CHECKS);
    fixture_close_signin_client(c, &loop);
    ck_assert_int_eq(uv_loop_close(&loop), 0);
    signin_unref(w->signin);
    return NULL;
}

/* While the file is replaced, over and over, by one that says the same. */
START_TEST(many_at_once_from_two_loops)
{
    char *path = write_people(), *text = lines_of(people);
    struct signin *s =
        fixture_open_signin((struct signin_options){.htpasswd = path, .threads = 4, .queue_max = 1000});
    struct worker workers[LOOPS] = {{0}};
    for (unsigned t = 0; t < LOOPS; t++) {
        workers[t].signin = signin_ref(s);
        ck_assert_int_eq(pthread_create(&workers[t].thread, NULL, work, &workers[t]), 0);
    }
    signin_unref(s);
    for (unsigned n = 0; n < 50; n++) {
        replace_file(path, text);
        usleep(1000);
    }
    for (unsigned t = 0; t < LOOPS; t++) {
        pthread_join(workers[t].thread, NULL);
        ck_assert_uint_eq(workers[t].right.by_result[SIGNIN_OK], CHECKS);
        ck_assert_uint_eq(workers[t].wrong.by_result[SIGNIN_WRONG], CHECKS);
    }
    free(path);
    free(text);
}
END_TEST

static void add_tests(TCase *tc)
{
    tcase_add_test(tc, names_and_passwords);
    tcase_add_test(tc, empty_passwords_are_wrong);
    tcase_add_test(tc, opening_says_what_is_wrong);
    tcase_add_test(tc, file_is_read_again);
    tcase_add_test(tc, broken_file_changes_nothing);
    tcase_add_test(tc, full_queue_is_busy);
    tcase_add_test(tc, closes_with_open_checks);
    tcase_add_test(tc, cancels_at_any_moment);
    tcase_add_test(tc, closes_inside_a_callback);
    tcase_add_test(tc, many_at_once_from_two_loops);
}

int main(void)
{
    return fixture_run_suite("signin", add_tests);
}
