/* Secrets out of files: what is taken, what is refused, and that nothing of a refused one stays. */
#include <check.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/secret.h"

static char folder[64];
static char path[96];
static char out[SECRET_MAX];
static char why[256];

static void setup(void)
{
    strcpy(folder, "/tmp/stagate-secret-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/key", folder);
}

static void teardown(void)
{
    unlink(path);
    rmdir(folder);
}

static void write_file(const void *data, size_t len)
{
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(data, 1, len, f), len);
    ck_assert_int_eq(fclose(f), 0);
}

static int read_secret(void)
{
    memset(out, 0x55, sizeof out);
    why[0] = '\0';
    return secret_read(path, out, why, sizeof why);
}

static void assert_wiped(size_t from)
{
    for (size_t i = from; i < sizeof out; i++)
        ck_assert_msg(out[i] == '\0', "byte %zu is left", i);
}

#define TEXT(s) s, sizeof(s) - 1

static const struct {
    const char *text;
    size_t len;
    const char *secret; /* NULL: refused */
    const char *why;    /* behind the path */
} cases[] = {
    {TEXT("secret"), "secret", NULL},
    {TEXT("secret\n"), "secret", NULL},
    {TEXT("secret\r\n"), "secret", NULL},
    {TEXT("secret\r"), "secret", NULL},
    {TEXT("secret\nsecond line\n"), "secret", NULL},
    {TEXT("secret\n\0\1\2"), "secret", NULL},
    {TEXT(" two words \n"), " two words ", NULL},
    {TEXT("p\xc3\xa4ss\n"), "p\xc3\xa4ss", NULL},
    {TEXT("\xff\xfe\n"), "\xff\xfe", NULL},
    {TEXT("x"), "x", NULL},
    {TEXT(""), NULL, ": its first line is empty, and should be the secret"},
    {TEXT("\n"), NULL, ": its first line is empty, and should be the secret"},
    {TEXT("\r\n"), NULL, ": its first line is empty, and should be the secret"},
    {TEXT("\nsecret\n"), NULL, ": its first line is empty, and should be the secret"},
    {TEXT("se\0cret\n"), NULL, ": its first line holds control characters"},
    {TEXT("\0"), NULL, ": its first line holds control characters"},
    {TEXT("se\tcret\n"), NULL, ": its first line holds control characters"},
    {TEXT("se\rcret\n"), NULL, ": its first line holds control characters"},
    {TEXT("secret\r\r\n"), NULL, ": its first line holds control characters"},
    {TEXT("secret\x7f\n"), NULL, ": its first line holds control characters"},
    {TEXT("secret\x1b[0m"), NULL, ": its first line holds control characters"},
};

START_TEST(first_lines)
{
    write_file(cases[_i].text, cases[_i].len);
    int rc = read_secret();
    if (cases[_i].secret != NULL) {
        ck_assert_msg(rc == 0, "%s", why);
        ck_assert_str_eq(out, cases[_i].secret);
        ck_assert_str_eq(why, "");
        assert_wiped(strlen(out));
        return;
    }
    ck_assert_int_eq(rc, ERR_SYNTAX);
    ck_assert_int_eq(strncmp(why, path, strlen(path)), 0);
    ck_assert_str_eq(why + strlen(path), cases[_i].why);
    assert_wiped(0);
}
END_TEST

/* Around the longest: SECRET_MAX holds its NUL, too. */
static const struct {
    size_t len;
    const char *end;
    bool good;
} lengths[] = {
    {SECRET_MAX - 2, "", true},
    {SECRET_MAX - 2, "\n", true},
    {SECRET_MAX - 2, "\r\n", true},
    {SECRET_MAX - 1, "", true},
    {SECRET_MAX - 1, "\n", true},
    {SECRET_MAX - 1, "\r\n", true},
    {SECRET_MAX, "", false},
    {SECRET_MAX, "\n", false},
    {SECRET_MAX, "\r\n", false},
    {SECRET_MAX + 1, "\n", false},
    {5000, "\n", false},
    {SECRET_MAX - 1, "\rmore\n", false},
    {SECRET_MAX - 1, "\n\nmore", true},
    {SECRET_MAX - 2, "\rmore\n", false},
};

START_TEST(the_longest)
{
    char text[6000];
    size_t len = lengths[_i].len;
    memset(text, 'k', len);
    strcpy(text + len, lengths[_i].end);
    write_file(text, strlen(text));
    int rc = read_secret();
    if (lengths[_i].good) {
        ck_assert_msg(rc == 0, "%s", why);
        ck_assert_uint_eq(strlen(out), len);
        assert_wiped(len);
    } else {
        ck_assert_int_lt(rc, 0);
        ck_assert_ptr_nonnull(strstr(why, "its first line "));
        assert_wiped(0);
    }
}
END_TEST

START_TEST(files_that_cannot_be_read)
{
    char expected[256];
    ck_assert_int_lt(read_secret(), 0);
    snprintf(expected, sizeof expected, "%s: No such file or directory", path);
    ck_assert_str_eq(why, expected);
    ck_assert_int_eq(mkdir(path, 0700), 0);
    ck_assert_int_lt(read_secret(), 0);
    snprintf(expected, sizeof expected, "%s: Is a directory", path);
    ck_assert_str_eq(why, expected);
    rmdir(path);
}
END_TEST

START_TEST(a_short_why)
{
    char small[8] = "";
    ck_assert_int_lt(secret_read(path, out, small, sizeof small), 0);
    ck_assert_uint_eq(strlen(small), sizeof small - 1);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("secret");
    TCase *t = tcase_create("secret");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, first_lines, 0, sizeof cases / sizeof cases[0]);
    tcase_add_loop_test(t, the_longest, 0, sizeof lengths / sizeof lengths[0]);
    tcase_add_test(t, files_that_cannot_be_read);
    tcase_add_test(t, a_short_why);
    suite_add_tcase(s, t);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
