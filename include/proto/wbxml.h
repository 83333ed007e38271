/* WBXML as ActiveSync uses it (MS-ASWBXML 2.1, WBXML 1.3), and nothing else: the header 03 01 6a 00, tags
 * without attributes, and SWITCH_PAGE, END, STR_I and OPAQUE. String tables, entities, literals, attributes,
 * extensions and processing instructions are errors.
 *
 * Three parts, none of which does I/O: a reader that takes bytes as they pass (relay, decoder), a tree for a
 * whole small document in memory (server, client), a writer that appends to a buffer. Strings are passed as
 * sent: WBXML leaves no NUL in them, but whether they are UTF-8 is not looked at, since truncated mail bodies
 * often are not.
 */
#ifndef STAGATE_PROTO_WBXML_H
#define STAGATE_PROTO_WBXML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "proto/wbxml_tags.h"

/* ---- tags: code page and token in one number, see wbxml_tags.h for those that have a name ---- */

#define WBXML_TAG(page, token) ((uint16_t)((page) << 8 | (token)))
#define WBXML_PAGE(tag)        ((unsigned)(tag) >> 8)
#define WBXML_TOKEN(tag)       ((unsigned)(tag)&0xff)

const char *wbxml_tag_name(uint16_t tag);   /* "FolderSync"; NULL if MS-ASWBXML has none there */
const char *wbxml_page_name(unsigned page); /* "FolderHierarchy"; NULL likewise */
/* Whether MS-ASWBXML has the tag in that protocol version (times ten: 25, 120, 121, 140, 141, 160, 161). */
bool wbxml_tag_is_in(uint16_t tag, unsigned version);

/* ---- reader ---- */

#define WBXML_DEPTH_MAX 64 /* elements inside one another; ActiveSync itself stays below 15 */

struct wbxml_limits {
    unsigned depth; /* 1..WBXML_DEPTH_MAX */
    size_t item;    /* bytes of one string or opaque run */
    size_t total;   /* bytes of the document */
};

enum wbxml_kind { WBXML_STRING, WBXML_OPAQUE };

/* Callbacks get borrowed data, valid until they return; each may be NULL. They return 0 to go on; anything
 * else stops the reader, which returns it: who only wants the root tag returns 1 from the first on_open. Tags
 * without a name come like the others. */
struct wbxml_events {
    int (*on_open)(void *owner, uint16_t tag, bool has_content); /* on_close follows only if has_content */
    /* A string or opaque run, in one or more pieces, the last of them (perhaps the only one, perhaps empty)
     * with `last` set. A run that lies whole in what was fed comes in one piece, and a string then has its
     * NUL behind it in memory. */
    int (*on_data)(void *owner, enum wbxml_kind kind, const uint8_t *data, size_t len, bool last);
    int (*on_close)(void *owner, uint16_t tag);
};

/* In place and without memory of its own: nothing to free. Read `why` and `at`, leave the rest alone. */
struct wbxml_reader {
    const struct wbxml_events *events;
    void *owner;
    struct wbxml_limits limits;
    const char *why; /* constant sentence after ERR_SYNTAX or ERR_TOO_BIG */
    size_t at;       /* bytes taken: after an error the offset of the byte that was wrong */
    size_t item;     /* STR_I: bytes so far; OPAQUE: bytes still to come */
    int ended;       /* what feed returns from now on, unless 0 */
    uint32_t length; /* the mb_u_int32 being read */
    uint8_t length_bytes;
    uint8_t state;
    uint8_t page;
    uint8_t depth;
    uint16_t open[WBXML_DEPTH_MAX];
};

/* events and owner are borrowed for the reader's life, limits are copied. */
void wbxml_reader_init(struct wbxml_reader *r, const struct wbxml_limits *limits,
                       const struct wbxml_events *events, void *owner);
/* Feeds bytes, cut wherever they are. 0: all taken. ERR_SYNTAX, ERR_TOO_BIG (with why and at) or what a
 * callback returned: the end, and returned again from then on. */
int wbxml_reader_feed(struct wbxml_reader *r, const void *data, size_t len);
/* The input is over: 0 if it was one whole document, else what feed returned, or ERR_SYNTAX. */
int wbxml_reader_end(struct wbxml_reader *r);

/* ---- tree ---- */

/* An element with its string or opaque run (several of them are joined), or with elements, or with nothing.
 */
struct wbxml_node {
    const uint8_t *data; /* never NULL; a string has a NUL behind it, which len does not count */
    uint32_t len;
    uint32_t span; /* nodes from this one to the last inside it, both included */
    uint16_t tag;
    bool opaque;
};

/* Made once, used for one document after another: after the first few, parsing allocates nothing. */
struct wbxml_tree {
    struct wbxml_node *nodes; /* owned; in document order, the first is the root */
    size_t count, cap;
    size_t max;      /* nodes; more of them is ERR_TOO_BIG */
    uint8_t *joined; /* owned; contents that came in several runs */
    size_t joined_len;
    const char *why; /* as in the reader */
    size_t at;
};

void wbxml_tree_init(struct wbxml_tree *t, size_t max_nodes);
void wbxml_tree_deinit(struct wbxml_tree *t);
/* Parses a whole document in place of the one before. data is borrowed as long as the nodes are used: they
 * point into it. 0, or ERR_SYNTAX, ERR_TOO_BIG (depth, nodes), ERR_UNSUPPORTED (text beside elements, which
 * ActiveSync does not have), and then there are no nodes. */
int wbxml_parse(struct wbxml_tree *t, const void *data, size_t len);

/* All of these take NULL for "not there" and pass it on, so that they can be chained. find gives the first
 * child with that tag, find_next the next one after child. */
const struct wbxml_node *wbxml_root(const struct wbxml_tree *t); /* NULL while nothing is parsed */
const struct wbxml_node *wbxml_first(const struct wbxml_node *parent);
const struct wbxml_node *wbxml_next(const struct wbxml_node *parent, const struct wbxml_node *child);
const struct wbxml_node *wbxml_find(const struct wbxml_node *parent, uint16_t tag);
const struct wbxml_node *wbxml_find_next(const struct wbxml_node *parent, const struct wbxml_node *child,
                                         uint16_t tag);
/* What the element holds as a NUL-terminated string; "" if it holds nothing; NULL if that is opaque, or n is
 * NULL. */
const char *wbxml_string(const struct wbxml_node *n);

/* ---- writer ---- */

/* Appends to a buffer of the caller's. A buffer that is full is remembered and told at the end. In place,
 * nothing to free. */
struct wbxml_writer {
    struct buf *out; /* borrowed */
    int error;
    unsigned depth; /* elements open */
    uint8_t page;
};

void wbxml_begin(struct wbxml_writer *w, struct buf *out);
/* The four constructs. Open and empty switch the page where it is needed; a text with a NUL in it is
 * ERR_SYNTAX at the end. */
void wbxml_open(struct wbxml_writer *w, uint16_t tag);
void wbxml_close(struct wbxml_writer *w);
void wbxml_empty(struct wbxml_writer *w, uint16_t tag);
void wbxml_text(struct wbxml_writer *w, const char *text);
void wbxml_text_n(struct wbxml_writer *w, const void *text, size_t len);
void wbxml_opaque(struct wbxml_writer *w, const void *data, size_t len);
/* A whole element: with text (empty for NULL or ""), with a number in decimal, or as it is in a tree with all
 * in it. */
void wbxml_element(struct wbxml_writer *w, uint16_t tag, const char *text);
void wbxml_number(struct wbxml_writer *w, uint16_t tag, int64_t number);
void wbxml_copy(struct wbxml_writer *w, const struct wbxml_node *n);
/* All elements must be closed. 0, or the first error: what is in the buffer is then of no use. */
int wbxml_finish(struct wbxml_writer *w);

#endif
