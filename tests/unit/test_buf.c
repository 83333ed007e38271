/* Growable buffers: what they hold after appending and consuming, that the maximum holds to the byte, and
 * that an empty buffer owns no memory. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"

static void expect(const struct buf *b, const char *text)
{
    ck_assert_uint_eq(b->len, strlen(text));
    ck_assert(b->len == 0 || memcmp(b->data, text, b->len) == 0);
    ck_assert_uint_le(b->len, b->cap);
    ck_assert_uint_le(b->cap, b->max);
    ck_assert((b->data == NULL) == (b->cap == 0));
}

START_TEST(appends_and_consumes)
{
    struct buf b;
    buf_init(&b, 100);
    expect(&b, "");
    ck_assert_ptr_null(b.data);
    ck_assert_int_eq(buf_append(&b, "abc", 3), 0);
    ck_assert_int_eq(buf_append_str(&b, "def"), 0);
    ck_assert_int_eq(buf_append(&b, NULL, 0), 0);
    ck_assert_int_eq(buf_printf(&b, "%d-%s", 7, "x"), 0);
    expect(&b, "abcdef7-x");
    buf_consume(&b, 0);
    expect(&b, "abcdef7-x");
    buf_consume(&b, 4);
    expect(&b, "ef7-x");
    buf_consume(&b, 5);
    expect(&b, "");
    ck_assert_ptr_null(b.data);
    buf_consume(&b, 0);
    ck_assert_int_eq(buf_append_str(&b, "again"), 0);
    expect(&b, "again");
    buf_deinit(&b);
    expect(&b, "");
    ck_assert_uint_eq(b.max, 100);
}
END_TEST

/* For every maximum: exactly so many bytes fit, and one more fails and changes nothing. */
START_TEST(maximum_to_the_byte)
{
    char text[601];
    memset(text, 'x', 600);
    text[600] = '\0';
    for (size_t max = 0; max < 600; max += max < 140 ? 1 : 23) {
        struct buf b;
        buf_init(&b, max);
        ck_assert_int_eq(buf_append(&b, text, max), 0);
        ck_assert_int_eq(buf_append(&b, "y", 1), ERR_TOO_BIG);
        ck_assert_int_eq(buf_printf(&b, "%c", 'y'), ERR_TOO_BIG);
        ck_assert_int_eq(buf_append(&b, text, SIZE_MAX), ERR_TOO_BIG);
        ck_assert_int_eq(buf_reserve(&b, SIZE_MAX), ERR_TOO_BIG);
        expect(&b, text + 600 - max);
        buf_deinit(&b);

        ck_assert_int_eq(buf_printf(&b, "%s", text + 600 - max), 0);
        expect(&b, text + 600 - max);
        buf_deinit(&b);
        ck_assert_int_eq(buf_printf(&b, "%s", text + 599 - max), ERR_TOO_BIG);
        expect(&b, "");
        buf_deinit(&b);

        for (size_t i = 0; i < max; i++)
            ck_assert_int_eq(buf_append(&b, "x", 1), 0);
        expect(&b, text + 600 - max);
        buf_deinit(&b);
    }
}
END_TEST

START_TEST(reserve_gives_room)
{
    struct buf b;
    buf_init(&b, SIZE_MAX);
    for (size_t extra = 1; extra < 100000; extra = extra * 3 + 1) {
        ck_assert_int_eq(buf_reserve(&b, extra), 0);
        ck_assert_uint_ge(b.cap - b.len, extra);
        memset(b.data + b.len, 'z', extra);
        b.len += extra / 2;
    }
    buf_deinit(&b);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("buf");
    TCase *t = tcase_create("buf");
    tcase_add_test(t, appends_and_consumes);
    tcase_add_test(t, maximum_to_the_byte);
    tcase_add_test(t, reserve_gives_room);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
