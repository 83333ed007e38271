/* A WBXML document as one array of nodes, for who has the whole of it in memory: mailsim and easload read
 * requests and answers with it.
 *
 * Nodes stand in document order, each with the size of its subtree: an element's first child is the node
 * behind it, a child's sibling is the node behind the child's subtree. So there are no pointers between them,
 * and the array may move while it grows.
 */
#include "proto/wbxml.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"

#define NODES_AT_FIRST 64

/* What parsing needs beside the tree itself. */
struct parse {
    struct wbxml_tree *tree;
    struct wbxml_reader reader;
    uint32_t open[WBXML_DEPTH_MAX]; /* indices of the open elements */
    size_t depth;
    size_t len; /* of the document */
};

void wbxml_tree_init(struct wbxml_tree *t, size_t max_nodes)
{
    assert(max_nodes <= UINT32_MAX);
    *t = (struct wbxml_tree){.max = max_nodes};
}

void wbxml_tree_deinit(struct wbxml_tree *t)
{
    free(t->nodes);
    free(t->joined);
    *t = (struct wbxml_tree){.max = t->max};
}

static int refuse(struct parse *p, int code, const char *why)
{
    p->reader.why = why;
    return code;
}

static int mixed(struct parse *p)
{
    return refuse(p, ERR_UNSUPPORTED, "an element holds elements and text, which ActiveSync does not have");
}

static int on_open(void *owner, uint16_t tag, bool has_content)
{
    struct parse *p = owner;
    struct wbxml_tree *t = p->tree;
    if (p->depth > 0) {
        const struct wbxml_node *parent = &t->nodes[p->open[p->depth - 1]];
        if (parent->len > 0 || parent->opaque)
            return mixed(p);
    }
    if (t->count == t->max)
        return refuse(p, ERR_TOO_BIG, "the document has more elements than allowed");
    if (t->count == t->cap) {
        t->cap = t->cap ? t->cap * 2 : NODES_AT_FIRST;
        if (t->cap > t->max)
            t->cap = t->max;
        t->nodes = mem_realloc(t->nodes, t->cap * sizeof *t->nodes);
    }
    if (has_content)
        p->open[p->depth++] = (uint32_t)t->count;
    t->nodes[t->count++] = (struct wbxml_node){.data = (const uint8_t *)"", .span = 1, .tag = tag};
    return 0;
}

static int on_close(void *owner, uint16_t tag)
{
    struct parse *p = owner;
    uint32_t index = p->open[--p->depth];
    (void)tag;
    p->tree->nodes[index].span = (uint32_t)(p->tree->count - index);
    return 0;
}

/* Makes what was in the document's bytes and a further run of the same element one run of our own. A run
 * takes at least two bytes in the document beside its content, so the document's length is enough for all
 * joined runs and their NULs. */
static void join(struct parse *p, struct wbxml_node *n, const uint8_t *data, size_t len)
{
    struct wbxml_tree *t = p->tree;
    if (t->joined == NULL)
        t->joined = mem_alloc(p->len);
    bool ours = t->joined_len > 0 && n->data + n->len + 1 == t->joined + t->joined_len;
    if (ours) {
        t->joined_len--; /* goes on over its own NUL */
    } else {
        memcpy(t->joined + t->joined_len, n->data, n->len);
        n->data = t->joined + t->joined_len;
        t->joined_len += n->len;
    }
    assert(t->joined_len + len < p->len);
    memcpy(t->joined + t->joined_len, data, len);
    t->joined_len += len;
    t->joined[t->joined_len++] = '\0';
    n->len += (uint32_t)len;
}

static int on_data(void *owner, enum wbxml_kind kind, const uint8_t *data, size_t len, bool last)
{
    struct parse *p = owner;
    uint32_t index = p->open[p->depth - 1];
    struct wbxml_node *n = &p->tree->nodes[index];
    if (!last || (len == 0 && kind == WBXML_STRING))
        return 0; /* a run that is not whole is where the document ends, as the reader will say */
    if (index + 1 < p->tree->count)
        return mixed(p);
    n->opaque = n->opaque || kind == WBXML_OPAQUE;
    if (n->len > 0) {
        join(p, n, data, len);
    } else if (len > 0) {
        n->data = data;
        n->len = (uint32_t)len;
    }
    return 0;
}

int wbxml_parse(struct wbxml_tree *t, const void *data, size_t len)
{
    static const struct wbxml_events events = {on_open, on_data, on_close};
    const struct wbxml_limits limits = {.depth = WBXML_DEPTH_MAX, .item = SIZE_MAX, .total = SIZE_MAX};
    struct parse p;
    free(t->joined);
    t->joined = NULL;
    t->joined_len = 0;
    t->count = 0;
    p.tree = t;
    p.depth = 0;
    p.len = len;
    wbxml_reader_init(&p.reader, &limits, &events, &p);
    int rc = len <= UINT32_MAX ? wbxml_reader_feed(&p.reader, data, len)
                               : refuse(&p, ERR_TOO_BIG, "the document is too long");
    if (rc == 0)
        rc = wbxml_reader_end(&p.reader);
    if (rc != 0)
        t->count = 0;
    t->why = p.reader.why;
    t->at = p.reader.at;
    return rc;
}

const struct wbxml_node *wbxml_root(const struct wbxml_tree *t)
{
    return t->count > 0 ? t->nodes : NULL;
}

const struct wbxml_node *wbxml_first(const struct wbxml_node *parent)
{
    return parent != NULL && parent->span > 1 ? parent + 1 : NULL;
}

const struct wbxml_node *wbxml_next(const struct wbxml_node *parent, const struct wbxml_node *child)
{
    if (parent == NULL || child == NULL)
        return NULL;
    const struct wbxml_node *next = child + child->span;
    return next < parent + parent->span ? next : NULL;
}

static const struct wbxml_node *this_or_later(const struct wbxml_node *parent, const struct wbxml_node *child,
                                              uint16_t tag)
{
    while (child != NULL && child->tag != tag)
        child = wbxml_next(parent, child);
    return child;
}

const struct wbxml_node *wbxml_find(const struct wbxml_node *parent, uint16_t tag)
{
    return this_or_later(parent, wbxml_first(parent), tag);
}

const struct wbxml_node *wbxml_find_next(const struct wbxml_node *parent, const struct wbxml_node *child,
                                         uint16_t tag)
{
    return this_or_later(parent, wbxml_next(parent, child), tag);
}

const char *wbxml_string(const struct wbxml_node *n)
{
    return n != NULL && !n->opaque ? (const char *)n->data : NULL;
}
