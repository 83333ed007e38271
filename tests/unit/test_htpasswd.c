/* htpasswd files as text: what is taken, what is refused and on which line, and the decoy. */
#include <check.h>
#include <crypt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/htpasswd.h"

#define BCRYPT "$2y$05$bvIG6Nmid91Mu9RcmmWZfO5HJIMCT8riNW0hEp8f6/FuA2/mHZFpe"
#define SHA512                                                                                               \
    "$6$rounds=1000$salt$3iAPCvU/"                                                                           \
    "O2jlmaKJsrovsCmUdKUhTcR3YFmcpw6RB.KcXLMRLEkmJcoegNMkR9fVHyJhTjfWWAapQTwgEWgfo."
#define SHA512_5000                                                                                          \
    "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjlO/O817G3uBnIFNjnQJuesI68OTLiBFdcbYEdFCoEOfaS35inz1/"
#define TAIL_86 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/"
#define TAIL_52 "aaaaaaaaaaaaaaaaaaaaaOaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static struct htpasswd *parse(const char *text, unsigned *line, const char **why)
{
    struct htpasswd *h = htpasswd_parse(text, strlen(text), line, why);
    ck_assert((h == NULL) == (*why != NULL));
    ck_assert(h == NULL || *line == 0);
    return h;
}

static const struct {
    const char *text;
    size_t users;
} good[] = {
    {"", 0},
    {"\n\n", 0},
    {"# nobody", 0},
    {"  # nobody yet\n \t\n", 0},
    {"anna:" BCRYPT, 1},
    {"anna:" BCRYPT "\r\nbert:" SHA512 "\r\n\r\n", 2},
    {"#anna:" BCRYPT "\nanna:" SHA512_5000 "\n", 1},
    {"Anna:" BCRYPT "\nanna:" BCRYPT "\nan na:" BCRYPT, 3},
    {"\xc3\xa4nne:$2a$04$" TAIL_52 "e\nb:$2b$16$" TAIL_52 "e\n", 2},
    {"a:$6$rounds=10000000$s#l!t$" TAIL_86, 1},
};

START_TEST(good_files)
{
    unsigned line;
    const char *why;
    struct htpasswd *h = parse(good[_i].text, &line, &why);
    ck_assert_msg(h != NULL, "%u: %s", line, why);
    ck_assert_uint_eq(htpasswd_count(h), good[_i].users);
    htpasswd_free(h);
}
END_TEST

static const struct {
    const char *text;
    unsigned line;
    const char *why; /* a part of it */
} bad[] = {
    {"anna", 1, "no colon"},
    {"\n#\nanna\n", 3, "no colon"},
    {":" BCRYPT, 1, "no name"},
    {" anna:" BCRYPT, 1, "a blank"},
    {"anna :" BCRYPT, 1, "a blank"},
    {"an\x01na:" BCRYPT, 1, "control character"},
    {"an\xffna:" BCRYPT, 1, "UTF-8"},
    {"\xc2\x85:" BCRYPT, 1, "control character"},
    {"\xef\xbb\xbf"
     "anna:" BCRYPT,
     1, "byte order mark"},
    {"anna:", 1, "no hash"},
    {"anna:secret", 1, "neither bcrypt"},
    {"anna:$apr1$abcdefgh$abcdefghijklmnopqrstuv", 1, "neither bcrypt"},
    {"anna:$5$salt$abc", 1, "neither bcrypt"},
    {"anna:$2x$05$" TAIL_52 "e", 1, "neither bcrypt"},
    {"anna:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", 1, "neither bcrypt"},
    {"anna:" BCRYPT "\nbert:" SHA512 "\nanna:" SHA512 "\n", 3, "there before"},
    {"c:" BCRYPT "\nb:" BCRYPT "\nb:" BCRYPT "\nc:" BCRYPT "\n", 3, "there before"},
    {"anna:" BCRYPT "\nanna:" BCRYPT "\nbert\n", 2, "there before"},
    {"anna:" BCRYPT "\nbert\nanna:" BCRYPT "\n", 2, "no colon"},
    {"anna:" BCRYPT " ", 1, "60 characters"},
    {"anna:" BCRYPT ":1000:", 1, "60 characters"},
    {"anna:$2y$5$" TAIL_52 "e ", 1, "its cost"},
    {"anna:$2y$03$" TAIL_52 "e", 1, "at least 04"},
    {"anna:$2y$17$" TAIL_52 "e", 1, "too long"},
    {"anna:$2y$31$" TAIL_52 "e", 1, "too long"},
    {"anna:$2y$99$" TAIL_52 "e", 1, "too long"},
    {"anna:$2y$05$" TAIL_52 "!", 1, "a character"},
    {"anna:$2y$05$" TAIL_52 "f", 1, "damaged"},
    {"anna:$2y$05$aaaaaaaaaaaaaaaaaaaaaPaaaaaaaaaaaaaaaaaaaaaaaaaaaaaae", 1, "damaged"},
    {"anna:$6$rounds=999$salt$" TAIL_86, 1, "at least 1000"},
    {"anna:$6$rounds=$salt$" TAIL_86, 1, "at least 1000"},
    {"anna:$6$rounds=010000$salt$" TAIL_86, 1, "begins with 0"},
    {"anna:$6$rounds=10000001$salt$" TAIL_86, 1, "too long"},
    {"anna:$6$rounds=99999999999999999999999$salt$" TAIL_86, 1, "too long"},
    {"anna:$6$rounds=5000x$salt$" TAIL_86, 1, "a $"},
    {"anna:$6$$" TAIL_86, 1, "1 to 16"},
    {"anna:$6$12345678901234567$" TAIL_86, 1, "1 to 16"},
    {"anna:$6$sa lt$" TAIL_86, 1, "no salt"},
    {"anna:$6$salt", 1, "86 characters"},
    {"anna:$6$salt$", 1, "86 characters"},
    {"anna:$6$salt$a" TAIL_86, 1, "86 characters"},
    {"anna:$6$salt$aaaaa$aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/", 1,
     "a character"},
    {"anna:$6$salt$aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 1,
     "damaged"},
};

START_TEST(bad_files)
{
    unsigned line;
    const char *why;
    struct htpasswd *h = parse(bad[_i].text, &line, &why);
    ck_assert_ptr_null(h);
    ck_assert_msg(strstr(why, bad[_i].why) != NULL, "%s", why);
    ck_assert_uint_eq(line, bad[_i].line);
}
END_TEST

START_TEST(nul_bytes_and_long_names)
{
    unsigned line;
    const char *why;
    static const char nul[] = "#\nanna\0:" BCRYPT "\n";
    ck_assert_ptr_null(htpasswd_parse(nul, sizeof nul - 1, &line, &why));
    ck_assert_str_eq(why, "a NUL byte");
    ck_assert_uint_eq(line, 2);

    char name[258], text[400];
    memset(name, 'n', sizeof name);
    name[255] = '\0';
    snprintf(text, sizeof text, "%s:" BCRYPT, name);
    struct htpasswd *h = parse(text, &line, &why);
    ck_assert_ptr_nonnull(h);
    ck_assert_str_eq(htpasswd_hash(h, name), BCRYPT);
    htpasswd_free(h);
    snprintf(text, sizeof text, "n%s:" BCRYPT, name);
    ck_assert_ptr_null(parse(text, &line, &why));
    ck_assert_ptr_nonnull(strstr(why, "255"));
}
END_TEST

START_TEST(limits)
{
    unsigned line;
    const char *why;
    char *text = mem_zalloc(HTPASSWD_BYTES_MAX + 2);
    memset(text, '\n', HTPASSWD_BYTES_MAX + 1);
    struct htpasswd *h = htpasswd_parse(text, HTPASSWD_BYTES_MAX, &line, &why);
    ck_assert_ptr_nonnull(h);
    htpasswd_free(h);
    ck_assert_ptr_null(htpasswd_parse(text, HTPASSWD_BYTES_MAX + 1, &line, &why));
    ck_assert_uint_eq(line, 0);
    ck_assert_ptr_nonnull(strstr(why, "1 MB"));

    size_t len = 0;
    for (unsigned n = 0; n <= HTPASSWD_USERS_MAX; n++) {
        if (n == HTPASSWD_USERS_MAX) {
            h = htpasswd_parse(text, len, &line, &why);
            ck_assert_msg(h != NULL, "%u: %s", line, why);
            ck_assert_uint_eq(htpasswd_count(h), HTPASSWD_USERS_MAX);
            ck_assert_str_eq(htpasswd_hash(h, "u7"), BCRYPT);
            htpasswd_free(h);
        }
        len += (size_t)sprintf(text + len, "u%u:" BCRYPT "\n", n);
    }
    ck_assert_ptr_null(htpasswd_parse(text, len, &line, &why));
    ck_assert_uint_eq(line, HTPASSWD_USERS_MAX + 1);
    free(text);
}
END_TEST

START_TEST(names_are_found)
{
    unsigned line;
    const char *why;
    struct htpasswd *h = parse("zoe:" SHA512 "\nanna:" BCRYPT "\nAnna:" SHA512_5000 "\n", &line, &why);
    ck_assert_str_eq(htpasswd_hash(h, "anna"), BCRYPT);
    ck_assert_str_eq(htpasswd_hash(h, "Anna"), SHA512_5000);
    ck_assert_str_eq(htpasswd_hash(h, "zoe"), SHA512);
    ck_assert_ptr_null(htpasswd_hash(h, "ANNA"));
    ck_assert_ptr_null(htpasswd_hash(h, "ann"));
    ck_assert_ptr_null(htpasswd_hash(h, ""));
    htpasswd_free(h);
}
END_TEST

static const struct {
    const char *text;
    const char *decoy; /* how it begins */
} decoys[] = {
    {"", "$2y$10$"},
    {"a:" BCRYPT, "$2y$05$"},
    {"a:" SHA512, "$6$rounds=1000$"},
    {"a:" SHA512_5000, "$6$rounds=5000$"},
    {"a:" BCRYPT "\nb:" SHA512 "\nc:" BCRYPT "\nd:$2a$04$" TAIL_52 "e\n", "$2y$05$"},
    {"a:" BCRYPT "\nb:" SHA512 "\nc:" SHA512_5000 "\nd:" SHA512, "$6$rounds=1000$"},
    {"a:" SHA512_5000 "\nb:" SHA512, "$6$rounds=5000$"}, /* as common: the dearer one */
    {"a:" BCRYPT "\nb:$2b$04$" TAIL_52 "e\n", "$2y$05$"},
};

/* The decoy has to be something that libcrypt really runs, and with the same scheme and cost. */
START_TEST(decoy_runs_the_common_scheme)
{
    unsigned line;
    const char *why;
    struct htpasswd *h = parse(decoys[_i].text, &line, &why);
    const char *decoy = htpasswd_decoy(h);
    struct crypt_data *data = mem_zalloc(sizeof *data);
    ck_assert_msg(strncmp(decoy, decoys[_i].decoy, strlen(decoys[_i].decoy)) == 0, "%s", decoy);
    const char *made = crypt_r("whatever", decoy, data);
    ck_assert_msg(made[0] == '$' && strncmp(made, decoys[_i].decoy, strlen(decoys[_i].decoy)) == 0, "%s",
                  made);
    ck_assert_uint_gt(strlen(made), strlen(decoy) + 30);
    free(data);
    htpasswd_free(h);
}
END_TEST

/* What libcrypt gives out is what the parser takes, whatever the salt: the last characters hold few bits. */
START_TEST(every_hash_of_libcrypt_is_taken)
{
    static const char *const prefixes[] = {"$2a$", "$2b$", "$2y$", "$6$"};
    unsigned line;
    const char *why;
    struct crypt_data *data = mem_zalloc(sizeof *data);
    for (unsigned n = 0; n < 120; n++) {
        char salt[CRYPT_GENSALT_OUTPUT_SIZE], text[500];
        const char *prefix = prefixes[n % 4];
        ck_assert_ptr_nonnull(crypt_gensalt_rn(prefix, n % 4 == 3 ? 1000 : 4, NULL, 0, salt, sizeof salt));
        snprintf(text, sizeof text, "anna:%s", crypt_r("secret", salt, data));
        struct htpasswd *h = parse(text, &line, &why);
        ck_assert_msg(h != NULL, "%s: %s", text, why);
        htpasswd_free(h);
    }
    free(data);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("htpasswd");
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, good_files, 0, sizeof good / sizeof good[0]);
    tcase_add_loop_test(tc, bad_files, 0, sizeof bad / sizeof bad[0]);
    tcase_add_test(tc, nul_bytes_and_long_names);
    tcase_add_test(tc, limits);
    tcase_add_test(tc, names_are_found);
    tcase_add_loop_test(tc, decoy_runs_the_common_scheme, 0, sizeof decoys / sizeof decoys[0]);
    tcase_add_test(tc, every_hash_of_libcrypt_is_taken);
    Suite *suite = suite_create("htpasswd");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
