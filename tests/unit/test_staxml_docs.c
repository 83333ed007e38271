/* Every example in docs/sta-protocol.md is a message that is taken, and comes back the same after it was
 * written. Run from the repository's root, as make does. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "staxml_fixture.h"

static void read_page(struct buf *page)
{
    char piece[4096];
    FILE *f = fopen("docs/sta-protocol.md", "r");
    ck_assert_ptr_nonnull(f);
    for (size_t n; (n = fread(piece, 1, sizeof piece, f)) > 0;)
        ck_assert_int_eq(buf_append(page, piece, n), 0);
    fclose(f);
    ck_assert_int_eq(buf_append(page, "", 1), 0);
}

START_TEST(takes_every_example)
{
    static const char begin[] = "```xml\n";
    struct buf page;
    struct staxml m;
    unsigned kinds = 0;
    buf_init(&page, 1 << 20);
    read_page(&page);
    const char *at = (const char *)page.data;
    while ((at = strstr(at, begin)) != NULL) {
        at += sizeof begin - 1;
        const char *end = strstr(at, "```");
        ck_assert_ptr_nonnull(end);
        parse(&m, at, (size_t)(end - at));
        assert_returns(&m);
        kinds |= 1u << m.kind;
        staxml_free(&m);
        at = end + 3;
    }
    buf_deinit(&page);
    /* one of each, but for ResponseError, which looks as the error in any other */
    ck_assert_uint_eq(kinds, (1u << STAXML_RESPONSE_ERROR) - 1);
}
END_TEST

START_TEST(has_a_row_for_every_error)
{
    struct buf page;
    buf_init(&page, 1 << 20);
    read_page(&page);
    for (int e = STAXML_ERROR_NONE + 1; e < STAXML_ERRORS; e++) {
        char *row = mem_printf("\n| `%s` | ", staxml_error_name((enum staxml_error)e));
        ck_assert_msg(strstr((const char *)page.data, row) != NULL, "%s", row);
        free(row);
    }
    buf_deinit(&page);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("staxml_docs");
    TCase *tc = tcase_create("docs");
    tcase_add_test(tc, takes_every_example);
    tcase_add_test(tc, has_a_row_for_every_error);
    suite_add_tcase(suite, tc);
    SRunner *sr = srunner_create(suite);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
