/* "did you mean": what counts as near, and which of several near names is taken. */
#include <check.h>
#include <string.h>

#include "base/conf.h"

START_TEST(suggestions)
{
    static const char *const names[] = {"listeners", "tls1.0", "tls1.1",
                                        "tls1.2",    "tls1.3", "ca",
                                        "key",       "doors",  "background-network-services",
                                        "on",        NULL};
    static const struct {
        const char *word;
        const char *expected;
    } cases[] = {
        {"listner", "listeners"},
        {"listeners", "listeners"},
        {"LISTENERS", "listeners"},
        {"lsiteners", "listeners"},
        {"listen", NULL},
        {"tls1.4", "tls1.3"},
        {"tls1.9", "tls1.3"},
        {"tls.12", "tls1.2"},
        {"tls2", "tls1.2"},
        {"cs", "ca"},
        {"ac", "ca"},
        {"xy", NULL},
        {"no", "on"},
        {"kay", "key"},
        {"kax", NULL},
        {"drs", "doors"},
        {"background_network_service", "background-network-services"},
        {"", NULL},
        {"zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *found = suggest(cases[i].word, names);
        ck_assert_msg(cases[i].expected ? found && strcmp(found, cases[i].expected) == 0 : found == NULL,
                      "%s: %s", cases[i].word, found ? found : "nothing");
    }
    static const char *const none[] = {NULL};
    ck_assert_ptr_null(suggest("x", none));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("suggest");
    TCase *t = tcase_create("suggest");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, suggestions);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
