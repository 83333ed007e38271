/* The queue of what is due, against a plain search. */
#include <check.h>
#include <stdlib.h>

#include "base/heap.h"

#define NODES 300

START_TEST(against_a_search)
{
    static struct heap_node nodes[NODES];
    struct heap h = {0};
    unsigned random = 1;
    ck_assert_ptr_null(heap_first(&h));
    for (unsigned round = 0; round < 20000; round++) {
        random = random * 1103515245 + 12345;
        struct heap_node *n = &nodes[(random >> 8) % NODES];
        if (random >> 28 < 9)
            heap_set(&h, n, (int64_t)((random >> 4) % 1000) - 500);
        else
            heap_remove(&h, n);
        const struct heap_node *first = NULL;
        size_t count = 0;
        for (size_t i = 0; i < NODES; i++) {
            if (!heap_has(&nodes[i]))
                continue;
            count++;
            if (h.nodes[nodes[i].place - 1] != &nodes[i]) /* an assertion for each would take minutes */
                ck_abort_msg("node %zu is not where it thinks", i);
            if (first == NULL || nodes[i].due < first->due)
                first = &nodes[i];
        }
        ck_assert_uint_eq(h.count, count);
        ck_assert((first == NULL) == (heap_first(&h) == NULL));
        if (first != NULL)
            ck_assert_int_eq(heap_first(&h)->due, first->due);
    }
    heap_deinit(&h);
}
END_TEST

START_TEST(comes_out_in_order)
{
    static struct heap_node nodes[NODES];
    struct heap h = {0};
    int64_t last = INT64_MIN;
    for (size_t i = 0; i < NODES; i++)
        heap_set(&h, &nodes[i], (int64_t)(i * 7919 % 101));
    for (struct heap_node *n; (n = heap_first(&h)) != NULL;) {
        ck_assert_int_ge(n->due, last);
        last = n->due;
        heap_remove(&h, n);
        ck_assert(!heap_has(n));
    }
    heap_deinit(&h);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("heap");
    TCase *t = tcase_create("all");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, against_a_search);
    tcase_add_test(t, comes_out_in_order);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
