/* Any bytes as the body of an ActiveSync request: where the strict reader of proto/wbxml.h accepts the root,
 * it is found, the same one, at the same place; the heartbeat agrees with the document's tree; and all of it
 * is the same however the bytes are cut. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "proto/eas.h"
#include "proto/wbxml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct outcome {
    enum eas_root_result result;
    uint16_t tag;
    size_t used;
    unsigned seconds;
};

/* step 0 feeds all at once; each piece lies in memory of its own, so that reading beyond it is seen */
static struct outcome read_body(const uint8_t *data, size_t size, size_t step)
{
    struct outcome o = {.result = EAS_ROOT_MORE};
    struct eas_root r;
    struct eas_heartbeat *h = eas_heartbeat_new();
    eas_root_init(&r);
    for (size_t at = 0, n; at < size; at += n) {
        n = step == 0 ? size : 1 + at % step;
        if (n > size - at)
            n = size - at;
        uint8_t *piece = mem_alloc(n);
        memcpy(piece, data + at, n);
        size_t used;
        enum eas_root_result before = o.result;
        o.result = eas_root_feed(&r, piece, n, &used);
        assert(used <= n && (o.result != EAS_ROOT_MORE || used == n));
        assert(before == EAS_ROOT_MORE || (o.result == before && used == 0));
        o.used += used;
        eas_heartbeat_feed(h, piece, n);
        free(piece);
    }
    o.tag = o.result == EAS_ROOT_TAG ? r.tag : 0;
    o.seconds = eas_heartbeat_seconds(h);
    assert(o.seconds <= 86400);
    eas_heartbeat_free(h);
    return o;
}

static int stop_at_root(void *owner, uint16_t tag, bool has_content)
{
    (void)has_content;
    *(uint16_t *)owner = tag;
    return 1;
}

static void check_root(const struct outcome *o, const uint8_t *data, size_t size)
{
    static const struct wbxml_limits wide = {.depth = 1, .item = SIZE_MAX, .total = SIZE_MAX};
    static const struct wbxml_events events = {stop_at_root, NULL, NULL};
    struct wbxml_reader r;
    uint16_t tag = 0;
    wbxml_reader_init(&r, &wide, &events, &tag);
    if (wbxml_reader_feed(&r, data, size) != 1)
        return;
    assert(o->result == EAS_ROOT_TAG && o->tag == tag && o->used == r.at + 1);
}

/* What the elements below the root say, read out of the tree. */
static unsigned seconds_of(const struct wbxml_node *root)
{
    unsigned longest = 0;
    for (const struct wbxml_node *n = wbxml_first(root); n != NULL; n = wbxml_next(root, n)) {
        bool ping = root->tag == WBXML_PING_PING && n->tag == WBXML_PING_HEARTBEATINTERVAL;
        bool sync = root->tag == WBXML_AIRSYNC_SYNC && n->tag == WBXML_AIRSYNC_HEARTBEATINTERVAL;
        bool wait = root->tag == WBXML_AIRSYNC_SYNC && n->tag == WBXML_AIRSYNC_WAIT;
        unsigned seconds = 0;
        if ((!ping && !sync && !wait) || n->span != 1)
            continue;
        for (size_t i = 0; i < n->len; i++) {
            if (n->data[i] < '0' || n->data[i] > '9') {
                seconds = 0;
                break;
            }
            seconds = seconds * 10 + (n->data[i] - '0');
            seconds = seconds > 86400 ? 86400 : seconds;
        }
        seconds *= wait ? 60 : 1;
        longest = seconds > longest ? seconds : longest;
    }
    return longest > 86400 ? 86400 : longest;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const size_t steps[] = {1, 5};
    struct outcome whole = read_body(data, size, 0);
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        struct outcome split = read_body(data, size, steps[i]);
        assert(split.result == whole.result && split.tag == whole.tag && split.used == whole.used);
        assert(split.seconds == whole.seconds);
    }
    check_root(&whole, data, size);
    struct wbxml_tree t;
    wbxml_tree_init(&t, 1000);
    if (size < 65536 && wbxml_parse(&t, data, size) == 0)
        assert(whole.seconds == seconds_of(wbxml_root(&t)));
    wbxml_tree_deinit(&t);
    return 0;
}
