/* Histograms of times. */
#include <check.h>
#include <stdlib.h>

#include "base/err.h"
#include "hist.h"
#include "results.h"

START_TEST(buckets_cover_everything)
{
    uint64_t last = 0;
    for (size_t b = 0; b < HIST_BUCKETS; b++) {
        uint64_t top = hist_bucket_top(b);
        ck_assert_uint_eq(hist_bucket(top), b);
        if (b > 0) {
            ck_assert_uint_eq(hist_bucket(last + 1), b);
            ck_assert(top > last);
        }
        if (top > 64) /* every value is told within 1.6 % */
            ck_assert((double)(top - last) / (double)top < 0.0161);
        last = top;
    }
    ck_assert_uint_eq(hist_bucket(UINT64_MAX), HIST_BUCKETS - 1);
}
END_TEST

START_TEST(percentiles)
{
    struct hist h = {0};
    ck_assert_uint_eq(hist_at(&h, 0.5), 0);
    for (uint64_t us = 1; us <= 100000; us++)
        hist_add(&h, us);
    static const double shares[] = {0.01, 0.5, 0.9, 0.99, 0.999, 1};
    for (size_t i = 0; i < sizeof shares / sizeof shares[0]; i++) {
        double want = shares[i] * 100000, got = (double)hist_at(&h, shares[i]);
        ck_assert_msg(got >= want && got <= want * 1.017, "%g: %g", shares[i], got);
    }
    ck_assert_uint_eq(hist_at(&h, 1), 100000);
    ck_assert_uint_eq(h.min_us, 1);
    ck_assert_uint_eq(h.sum_us, 5000050000);
    hist_deinit(&h);
}
END_TEST

START_TEST(merging_is_adding)
{
    struct hist a = {0}, b = {0}, both = {0};
    for (unsigned i = 0; i < 5000; i++) {
        uint64_t us = (uint64_t)i * i * 37 % 10000019;
        hist_add(i % 3 ? &a : &b, us);
        hist_add(&both, us);
    }
    hist_merge(&a, &b);
    ck_assert_uint_eq(a.count, both.count);
    ck_assert_uint_eq(a.sum_us, both.sum_us);
    ck_assert_uint_eq(a.min_us, both.min_us);
    ck_assert_uint_eq(a.max_us, both.max_us);
    ck_assert_mem_eq(a.n, both.n, HIST_BUCKETS * sizeof *a.n);
    ck_assert_int_eq(hist_put(&a, HIST_BUCKETS, 1), ERR_SYNTAX);
    hist_deinit(&a);
    hist_deinit(&b);
    hist_deinit(&both);
}
END_TEST

/* ---- results: what they are after JSON and back, series that grow, merging ---- */

static void fill(struct results *r, int64_t started, unsigned seconds)
{
    results_init(r);
    r->started_ms = started;
    r->lasted_ms = seconds * 1000;
    r->devices = 10;
    r->row[VERB_SYNC].count = 3;
    hist_add(&r->row[VERB_SYNC].times, 1000);
    hist_add(&r->row[VERB_SYNC].times, 2000);
    results_failed(r, (enum row)VERB_SYNC, "http_503");
    for (unsigned i = 0; i < seconds; i++)
        results_second(r, &(struct result_bin){.requests = 2,
                                               .errors = i % 2,
                                               .p50_us = 100,
                                               .p99_us = 200 + i,
                                               .devices = i,
                                               .open = i,
                                               .waiting = 1});
}

START_TEST(a_long_run_has_wider_bins)
{
    struct results r;
    uint64_t requests = 0, errors = 0;
    fill(&r, 1000000, 5000);
    ck_assert_int_eq(r.bin_ms, 16000);
    ck_assert_uint_le(r.bin_count, RESULTS_BINS);
    for (size_t i = 0; i < r.bin_count; i++) {
        requests += r.bins[i].requests;
        errors += r.bins[i].errors;
        if (i > 0)
            ck_assert_uint_gt(r.bins[i].devices, r.bins[i - 1].devices);
    }
    ck_assert_uint_eq(requests + r.partial.requests, 10000);
    ck_assert_uint_eq(errors + r.partial.errors, 2500);
    ck_assert_uint_eq(r.bins[10].p99_us, 200 + 16 * 11 - 1);
    results_deinit(&r);
}
END_TEST

START_TEST(json_and_back)
{
    struct results r, back;
    const char *why;
    static const char metrics[] = "# HELP a b.\na_total{x=\"y z\"} 3\nb 1.5e3\nnonsense\nc NaN\n d\n";
    fill(&r, 1700000000123, 30);
    r.target = strdup("https://mail.example.com");
    r.topology = strdup("sta");
    results_gauges(&r, metrics, sizeof metrics - 1);
    results_gauges(&r, "b 2000\n", 7);
    json_t *doc = results_to_json(&r);
    ck_assert_int_eq(results_from_json(&back, doc, &why), 0);
    json_t *again = results_to_json(&back);
    ck_assert(json_equal(doc, again));
    ck_assert_uint_eq(back.gauge_count, 2);
    ck_assert_str_eq(back.gauges[0].name, "a_total{x=\"y z\"}");
    ck_assert(back.gauges[1].first == 1500 && back.gauges[1].last == 2000);
    json_decref(again);
    results_deinit(&back);

    static const char *const bad[] = {
        "{}",
        "[]",
        "{\"easload\":\"1\"}",
        "{\"easload\":\"1\",\"format\":1,\"bin_ms\":3000}",
        "{\"easload\":\"1\",\"format\":1,\"bin_ms\":1000,\"rows\":{\"Nonsense\":{}}}",
        "{\"easload\":\"1\",\"format\":1,\"bin_ms\":1000,\"rows\":{\"Sync\":{\"times\":{\"buckets\":"
        "[[999999,1]]}}}}",
        "{\"easload\":\"1\",\"format\":1,\"bin_ms\":1000,\"errors\":[{\"row\":\"Sync\"}]}"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        json_t *d = json_loads(bad[i], 0, NULL);
        ck_assert_ptr_nonnull(d);
        ck_assert_msg(results_from_json(&back, d, &why) == ERR_SYNTAX, "%s", bad[i]);
        results_deinit(&back);
        json_decref(d);
    }
    json_decref(doc);
    results_deinit(&r);
}
END_TEST

START_TEST(two_processes_are_one)
{
    struct results a, b;
    fill(&a, 1000000, 10);
    fill(&b, 1004000, 10);
    results_merge(&a, &b);
    ck_assert_uint_eq(a.parts, 2);
    ck_assert_int_eq(a.lasted_ms, 14000);
    ck_assert_uint_eq(a.devices, 20);
    ck_assert_uint_eq(a.row[VERB_SYNC].count, 6);
    ck_assert_uint_eq(a.row[VERB_SYNC].failed, 2);
    ck_assert_uint_eq(a.error_count, 1);
    ck_assert_uint_eq(a.errors[0].count, 2);
    ck_assert_uint_eq(a.row[VERB_SYNC].times.count, 4);
    ck_assert_uint_eq(a.bin_count, 14);
    ck_assert_uint_eq(a.bins[3].requests, 2);
    ck_assert_uint_eq(a.bins[4].requests, 4);
    ck_assert_uint_eq(a.bins[9].devices, 9 + 5);
    ck_assert_uint_eq(a.bins[13].requests, 2);
    results_deinit(&a);
    results_deinit(&b);
}
END_TEST

START_TEST(many_kinds_of_failures)
{
    struct results r;
    uint64_t sum = 0;
    char kind[32];
    results_init(&r);
    for (unsigned i = 0; i < 1000; i++) {
        snprintf(kind, sizeof kind, "kind_%u", i);
        results_failed(&r, ROW_OPENED, kind);
    }
    ck_assert_uint_eq(r.error_count, RESULTS_ERRORS);
    for (size_t i = 0; i < r.error_count; i++)
        sum += r.errors[i].count;
    ck_assert_uint_eq(sum, 1000);
    ck_assert_str_eq(r.errors[RESULTS_ERRORS - 1].kind, "other");
    results_deinit(&r);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("easload_hist");
    TCase *t = tcase_create("all");
    tcase_add_test(t, buckets_cover_everything);
    tcase_add_test(t, percentiles);
    tcase_add_test(t, merging_is_adding);
    tcase_add_test(t, a_long_run_has_wider_bins);
    tcase_add_test(t, json_and_back);
    tcase_add_test(t, two_processes_are_one);
    tcase_add_test(t, many_kinds_of_failures);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
