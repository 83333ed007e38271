/* What the files of staxml share: a reader of small XML vocabularies, over expat. A vocabulary is a table of
 * elements; the reader keeps the rules that do not depend on it (limits, entities, what may stand twice,
 * where text may stand) and hands on what is known.
 */
#ifndef STAGATE_PROTO_STAXML_IMPL_H
#define STAGATE_PROTO_STAXML_IMPL_H

#include <expat.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/staxml.h"

#define STAXML_BIT(place) (UINT32_C(1) << (place))

enum staxml_content {
    STAXML_HOLDS_ELEMENTS,
    STAXML_HOLDS_TEXT,
    STAXML_HOLDS_ANYTHING, /* and none of it matters */
};

/* A known element. It is known where it may stand, and unknown elsewhere. Its place is its index in the
 * table; 0 is the document, whose only child is the root. */
struct staxml_element {
    const char *name;
    uint32_t parents; /* STAXML_BIT of the places it may stand in */
    enum staxml_content content;
    bool many; /* may stand more than once */
};

struct staxml_reader;

struct staxml_vocabulary {
    const struct staxml_element *elements;
    unsigned count; /* at most 32 */
    /* Both are free to staxml_fail. attributes: pairs, NULL-terminated, borrowed. */
    void (*on_open)(struct staxml_reader *r, unsigned place, const char **attributes);
    /* text is NUL-terminated and borrowed; "" for what holds none */
    void (*on_close)(struct staxml_reader *r, unsigned place, const char *text, size_t len);
};

struct staxml_reader {
    const struct staxml_vocabulary *vocabulary;
    void *owner;
    uint32_t seen;       /* places of which an element stood */
    unsigned elements;   /* all, unknown ones too */
    const char *problem; /* NULL until something is wrong */
    int rc;
    /* the reader's own */
    XML_Parser parser;
    const unsigned char *data;
    unsigned unit; /* bytes of one: 1, or 2 in UTF-16 */
    unsigned low;  /* which of two is the low one */
    unsigned depth;
    unsigned skipped; /* depth of the unknown element that is being skipped, 0: none */
    unsigned places[STAXML_DEPTH_MAX + 1];
    size_t len;
    size_t used; /* of text: the longest so far */
    char text[STAXML_TEXT_MAX + 1];
};

/* Owned by the caller: free(). Good for one text. */
struct staxml_reader *staxml_reader_new(const struct staxml_vocabulary *vocabulary, void *owner);
/* Reads the whole text. 0, or ERR_SYNTAX or ERR_TOO_BIG (or what staxml_fail was told) with *why a constant
 * sentence. What was read is wiped from r behind. */
int staxml_read(struct staxml_reader *r, const char *data, size_t len, const char **why);
/* The first failure stays; reading ends. */
void staxml_fail(struct staxml_reader *r, int rc, const char *problem);

#endif
