/* Any bytes as WBXML for people: what comes out is UTF-8 without control characters but line ends, in a
 * buffer of any size, and what is scrubbed is the same however it is cut. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "proto/wbxml_xml.h"

static void check_text(const struct buf *b)
{
    uint32_t point;
    for (size_t at = 0, n; at < b->len; at += n) {
        n = utf8_decode(b->data + at, b->len - at, &point);
        assert(n > 0);
        assert(point == '\n' || (point >= 0x20 && point < 0x7f) || point > 0x9f);
    }
}

static size_t scrub(uint8_t *data, size_t size, size_t step)
{
    struct wbxml_scrub s;
    size_t shown = 0;
    wbxml_scrub_init(&s);
    for (size_t at = 0, n; at < size; at += n) {
        n = step < size - at ? step : size - at;
        size_t some = wbxml_scrub_feed(&s, data + at, n);
        assert(some <= n && (some == 0 || shown == at));
        shown += some;
    }
    return shown;
}

static void check_scrub(const uint8_t *data, size_t size)
{
    uint8_t *a = mem_alloc(size), *b = mem_alloc(size);
    if (size > 0) {
        memcpy(a, data, size);
        memcpy(b, data, size);
    }
    size_t shown = scrub(a, size, 1);
    assert(scrub(b, size, size + 1) == shown);
    assert(shown == 0 || memcmp(a, b, shown) == 0);
    free(a);
    free(b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf whole, little;
    buf_init(&whole, 1 << 24);
    int rc = wbxml_to_xml(&whole, data, size, "");
    check_text(&whole);
    assert(whole.len > 0 && whole.data[whole.len - 1] == '\n');
    buf_init(&little, whole.len / 2);
    assert(wbxml_to_xml(&little, data, size, "") < 0);
    assert(little.len <= whole.len / 2 &&
           (little.len == 0 || memcmp(little.data, whole.data, little.len) == 0));
    (void)rc;
    buf_deinit(&whole);
    buf_deinit(&little);
    check_scrub(data, size);
    return 0;
}
