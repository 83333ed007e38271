/* Any bytes as an ActiveSync body: the root and the heartbeat must be the same however the body is cut, and
 * the root that is looked for leniently the one that the strict reader sees, wherever that one sees any. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "proto/eas.h"
#include "proto/wbxml.h"

struct outcome {
    enum eas_root_result result;
    uint16_t tag;
    size_t used;
    unsigned seconds;
};

/* step 0 feeds all at once; each piece lies in memory of its own, so that reading beyond it is seen */
static struct outcome look(const uint8_t *data, size_t size, size_t step)
{
    struct outcome o = {EAS_ROOT_MORE, 0, 0, 0};
    struct eas_heartbeat *h = eas_heartbeat_new();
    struct eas_root r;
    eas_root_init(&r);
    for (size_t at = 0, n, used; at < size; at += n) {
        n = step == 0 ? size : 1 + at % step;
        if (n > size - at)
            n = size - at;
        uint8_t *piece = mem_alloc(n);
        memcpy(piece, data + at, n);
        enum eas_root_result before = o.result;
        o.result = eas_root_feed(&r, piece, n, &used);
        assert(used <= n && (before == EAS_ROOT_MORE || (o.result == before && used == 0)));
        assert(o.result != EAS_ROOT_MORE || used == n);
        o.used += used;
        unsigned seconds = eas_heartbeat_seconds(h);
        eas_heartbeat_feed(h, piece, n);
        assert(eas_heartbeat_seconds(h) >= seconds && eas_heartbeat_seconds(h) <= 86400);
        free(piece);
    }
    o.tag = o.result == EAS_ROOT_TAG ? r.tag : 0;
    o.seconds = eas_heartbeat_seconds(h);
    eas_heartbeat_free(h);
    return o;
}

static int take_root(void *owner, uint16_t tag, bool has_content)
{
    (void)has_content;
    *(uint16_t *)owner = tag;
    return 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const size_t steps[] = {1, 2, 5};
    static const struct wbxml_events events = {.on_open = take_root};
    static const struct wbxml_limits wide = {.depth = WBXML_DEPTH_MAX, .item = SIZE_MAX, .total = SIZE_MAX};
    struct outcome whole = look(data, size, 0);
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        struct outcome split = look(data, size, steps[i]);
        assert(split.result == whole.result && split.tag == whole.tag && split.used == whole.used);
        assert(split.seconds == whole.seconds);
    }
    struct wbxml_reader reader;
    uint16_t root = 0;
    wbxml_reader_init(&reader, &wide, &events, &root);
    if (wbxml_reader_feed(&reader, data, size) == 1)
        assert(whole.result == EAS_ROOT_TAG && whole.tag == root);
    if (whole.seconds > 0) {
        unsigned command = eas_command_of_root(whole.tag);
        assert(whole.result == EAS_ROOT_TAG && (command == EAS_PING || command == EAS_SYNC));
    }
    return 0;
}
