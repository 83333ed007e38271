/* A binary heap; each node knows its place, so that it can be moved and taken out. */
#include "base/heap.h"

#include <stdlib.h>

#include "base/mem.h"

void heap_deinit(struct heap *h)
{
    free(h->nodes);
    *h = (struct heap){0};
}

static void put(struct heap *h, size_t at, struct heap_node *n)
{
    h->nodes[at] = n;
    n->place = at + 1;
}

static void sift_up(struct heap *h, size_t at, struct heap_node *n)
{
    for (; at > 0 && h->nodes[(at - 1) / 2]->due > n->due; at = (at - 1) / 2)
        put(h, at, h->nodes[(at - 1) / 2]);
    put(h, at, n);
}

static void sift_down(struct heap *h, size_t at, struct heap_node *n)
{
    for (size_t child; (child = 2 * at + 1) < h->count; at = child) {
        if (child + 1 < h->count && h->nodes[child + 1]->due < h->nodes[child]->due)
            child++;
        if (h->nodes[child]->due >= n->due)
            break;
        put(h, at, h->nodes[child]);
    }
    put(h, at, n);
}

void heap_set(struct heap *h, struct heap_node *n, int64_t due)
{
    heap_remove(h, n);
    n->due = due;
    if (h->count == h->cap) {
        h->cap = h->cap ? 2 * h->cap : 64;
        h->nodes = mem_realloc(h->nodes, h->cap * sizeof(struct heap_node *));
    }
    h->count++;
    sift_up(h, h->count - 1, n);
}

void heap_remove(struct heap *h, struct heap_node *n)
{
    if (!heap_has(n))
        return;
    size_t at = n->place - 1;
    struct heap_node *last = h->nodes[--h->count];
    n->place = 0;
    if (last == n)
        return;
    if (at > 0 && h->nodes[(at - 1) / 2]->due > last->due)
        sift_up(h, at, last);
    else
        sift_down(h, at, last);
}
