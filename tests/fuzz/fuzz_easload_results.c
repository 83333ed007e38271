/* Files that easload reads back, and metrics of a gateway: the first byte chooses. A result that is taken is
 * one that can be written and read again, added to itself, printed and shown. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "results.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use(struct results *r, FILE *nowhere)
{
    struct results back;
    const char *why = NULL;
    json_t *doc = results_to_json(r);
    assert(doc != NULL);
    assert(results_from_json(&back, doc, &why) == 0);
    results_merge(&back, r);
    assert(back.bin_count <= RESULTS_BINS && back.error_count <= RESULTS_ERRORS);
    results_print(&back, nowhere);
    assert(results_html(&back, "/dev/null") == 0);
    results_is_late(&back);
    results_deinit(&back);
    json_decref(doc);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static FILE *nowhere;
    struct results *r = malloc(sizeof *r); /* too big for the stack of a sanitizer */
    const char *why = NULL;
    if (nowhere == NULL)
        nowhere = fopen("/dev/null", "w");
    if (size > 0 && data[0] & 1) {
        results_init(r);
        results_gauges(r, (const char *)data + 1, size - 1);
        results_gauges(r, (const char *)data + 1, size - 1);
        assert(r->gauge_count <= RESULTS_GAUGES);
        use(r, nowhere);
        results_deinit(r);
    } else if (size > 0) {
        json_t *doc = json_loadb((const char *)data + 1, size - 1, 0, NULL);
        if (doc != NULL) {
            int rc = results_from_json(r, doc, &why);
            assert((rc == 0) || why != NULL);
            if (rc == 0)
                use(r, nowhere);
            results_deinit(r);
        }
        json_decref(doc);
    }
    free(r);
    return 0;
}
