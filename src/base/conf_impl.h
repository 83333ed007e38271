/* What the parts of the configuration reader share: conf.c owns the struct and the complaints, conf_load.c
 * turns bytes into a YAML document, conf_schema.c lays the schema over it, conf_types.c types the scalars.
 * Nobody else includes this. */
#ifndef STAGATE_BASE_CONF_IMPL_H
#define STAGATE_BASE_CONF_IMPL_H

#include <stdbool.h>
#include <stddef.h>

#include <yaml.h>

#include "base/conf.h"

#define CONF_FILE_MAX       (1024 * 1024)
#define CONF_DEPTH_MAX      32
#define CONF_COMPLAINTS_MAX 1000

/* Where something stands, both counted from 1, columns in characters; line 0 means the file as a whole. */
struct conf_mark {
    int line;
    int column;
};

struct conf_complaint {
    struct conf_mark at;
    bool warning;
    char *text; /* owned */
};

/* Where the bytes addr..addr+size of the caller's struct came from. */
struct conf_place {
    const char *addr;
    size_t size;
    bool section; /* a whole section rather than a key's field */
    bool bad;     /* a key whose value was complained of: the bytes are its default's */
    struct conf_mark at;
};

struct conf_block;

struct conf {
    char *name;   /* as shown in messages */
    char *folder; /* what relative paths get in front: "" or ending in '/' */
    const struct conf_section *root;
    struct conf_block *blocks; /* everything conf_alloc gave out */
    struct conf_complaint *complaints;
    size_t complaint_count, complaint_cap;
    size_t unshown; /* beyond CONF_COMPLAINTS_MAX */
    int errors;
    struct conf_place *places;
    size_t place_count, place_cap;
};

/* conf.c */
struct conf_mark conf_mark_of(const yaml_mark_t *mark);
void conf_complain(struct conf *c, struct conf_mark at, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void conf_remember(struct conf *c, const void *addr, size_t size, bool section, struct conf_mark at);
void conf_remember_bad(struct conf *c, const void *addr, struct conf_mark at);

/* text between quotes as a message shows it: control characters escaped, cut to a readable length. Returns
 * dst. */
#define CONF_QUOTED 112
const char *conf_quote(char dst[CONF_QUOTED], const char *text, size_t len);

/* conf_load.c: reads the text and lays c->root over it; complaints go to c. */
void conf_load_text(struct conf *c, const char *text, size_t len, void *out);

/* conf_schema.c: fills out from the document's root; a document without one is an empty mapping. */
void conf_schema_read(struct conf *c, yaml_document_t *doc, void *out);

/* conf_types.c */
size_t conf_type_size(const struct conf_key *key);      /* bytes of one item */
const char *conf_type_noun(const struct conf_key *key); /* "text", "a whole number": what a scalar of it is */
/* Parses one scalar into field. 0, or ERR_SYNTAX with *why a sentence that the caller frees; it never shows a
 * CONF_SECRET's text. */
int conf_type_parse(struct conf *c, const struct conf_key *key, const char *text, size_t len, void *field,
                    char **why);

#endif
