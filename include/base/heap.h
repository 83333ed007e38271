/* A queue of things by when they are due, the first one in front: a binary heap of nodes embedded in their
 * owners. */
#ifndef STAGATE_BASE_HEAP_H
#define STAGATE_BASE_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct heap_node { /* zeroed: in no heap */
    int64_t due;
    size_t place; /* in the heap, from 1 on; 0: in none */
};

struct heap {                 /* zeroed: empty */
    struct heap_node **nodes; /* owned; the nodes are their owners' */
    size_t count, cap;
};

void heap_deinit(struct heap *h); /* the nodes still in it are not touched */
/* Puts a node in, or moves the one that is there, to when it is due. */
void heap_set(struct heap *h, struct heap_node *n, int64_t due);
void heap_remove(struct heap *h, struct heap_node *n); /* harmless where it is in none */
/* The one that is due first; NULL when there is none. */
static inline struct heap_node *heap_first(const struct heap *h)
{
    return h->count > 0 ? h->nodes[0] : NULL;
}
static inline bool heap_has(const struct heap_node *n)
{
    return n->place != 0;
}

#endif
