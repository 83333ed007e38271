/* Any bytes as an ActiveSync document: the reader must say the same however they are cut, under wide and
 * under narrow limits, the tree must agree with the reader, and what the tree holds must come back the same
 * after the writer wrote it. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "proto/wbxml.h"

static int log_open(void *owner, uint16_t tag, bool has_content)
{
    return buf_printf(owner, "<%04x%d", tag, has_content);
}

static int log_data(void *owner, enum wbxml_kind kind, const uint8_t *data, size_t len, bool last)
{
    assert(len > 0 || last);
    int rc = buf_append(owner, data, len);
    return rc == 0 && last ? buf_printf(owner, "|%d", (int)kind) : rc;
}

static int log_close(void *owner, uint16_t tag)
{
    return buf_printf(owner, ">%04x", tag);
}

struct outcome {
    int rc;
    const char *why;
    size_t at;
    struct buf log;
};

/* step 0 feeds all at once; each piece lies in memory of its own, so that reading beyond it is seen */
static struct outcome read_document(const uint8_t *data, size_t size, size_t step,
                                    const struct wbxml_limits *limits)
{
    static const struct wbxml_events events = {log_open, log_data, log_close};
    struct wbxml_reader r;
    struct outcome o;
    int rc = 0;
    buf_init(&o.log, 1 << 24);
    wbxml_reader_init(&r, limits, &events, &o.log);
    for (size_t at = 0, n; rc == 0 && at < size; at += n) {
        n = step == 0 ? size : 1 + at % step;
        if (n > size - at)
            n = size - at;
        uint8_t *piece = mem_alloc(n);
        memcpy(piece, data + at, n);
        rc = wbxml_reader_feed(&r, piece, n);
        free(piece);
    }
    o.rc = wbxml_reader_end(&r);
    o.why = r.why;
    o.at = r.at;
    assert((o.rc == 0) == (o.why == NULL) && o.at <= size && o.at <= limits->total &&
           r.depth <= limits->depth);
    return o;
}

static int read_all_ways(const uint8_t *data, size_t size, const struct wbxml_limits *limits)
{
    static const size_t steps[] = {1, 5};
    struct outcome whole = read_document(data, size, 0, limits);
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        struct outcome split = read_document(data, size, steps[i], limits);
        assert(split.rc == whole.rc && split.why == whole.why && split.at == whole.at);
        assert(split.log.len == whole.log.len);
        assert(whole.log.len == 0 || memcmp(split.log.data, whole.log.data, whole.log.len) == 0);
        buf_deinit(&split.log);
    }
    buf_deinit(&whole.log);
    return whole.rc;
}

static void check_same(const struct wbxml_tree *a, const struct wbxml_tree *b)
{
    assert(a->count == b->count && wbxml_root(b)->span == b->count);
    for (size_t i = 0; i < a->count; i++) {
        const struct wbxml_node *x = &a->nodes[i], *y = &b->nodes[i];
        assert(x->tag == y->tag && x->span == y->span && x->opaque == y->opaque && x->len == y->len);
        assert(memcmp(x->data, y->data, x->len) == 0);
        assert(x->opaque || strlen(wbxml_string(x)) == x->len);
    }
}

static void check_round_trip(const struct wbxml_tree *t)
{
    struct wbxml_writer w;
    struct wbxml_tree again;
    struct buf out;
    buf_init(&out, 1 << 24);
    wbxml_tree_init(&again, t->max);
    wbxml_begin(&w, &out);
    wbxml_copy(&w, wbxml_root(t));
    assert(wbxml_finish(&w) == 0);
    assert(wbxml_parse(&again, out.data, out.len) == 0);
    check_same(t, &again);
    wbxml_tree_deinit(&again);
    buf_deinit(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct wbxml_limits narrow = {.depth = 3, .item = 6, .total = 40};
    static const struct wbxml_limits wide = {.depth = WBXML_DEPTH_MAX, .item = SIZE_MAX, .total = SIZE_MAX};
    struct wbxml_tree t;
    read_all_ways(data, size, &narrow);
    int rc = read_all_ways(data, size, &wide);
    wbxml_tree_init(&t, 1000);
    for (int round = 0; round < 2; round++) { /* a tree is used more than once */
        int tree_rc = wbxml_parse(&t, data, size);
        assert(tree_rc == rc || tree_rc == ERR_UNSUPPORTED || tree_rc == ERR_TOO_BIG);
        assert((tree_rc == 0) == (wbxml_root(&t) != NULL) && (tree_rc == 0) == (t.why == NULL));
    }
    if (wbxml_root(&t) != NULL)
        check_round_trip(&t);
    wbxml_tree_deinit(&t);
    return 0;
}
