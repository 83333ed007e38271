/* Configuration files: YAML by libyaml's document API, laid over a schema table into plain structs, with
 * file:line:column for every complaint. One run shows every mistake. Used by all programs; knows no key by
 * name.
 *
 * A schema is a table of keys for each section (mapping). The reader fills a struct of the caller's: each key
 * has an offset and a type. Everything it allocates (strings, list items, sections) belongs to the struct
 * conf and goes with conf_free; addresses inside it stay until then.
 *
 *   static const struct conf_key listener_keys[] = {
 *       {"address", CONF_STRING, offsetof(struct listener_settings, address), .flags = CONF_REQUIRED},
 *       {"doors", CONF_ENUM, offsetof(..., doors), .flags = CONF_LIST, .names = door_names, .def =
 * "socks,connect"}, {0}};
 */
#ifndef STAGATE_BASE_CONF_H
#define STAGATE_BASE_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct conf;
struct conf_section;

enum conf_type {
    CONF_STRING = 1, /* const char * */
    CONF_PATH,       /* const char *: relative paths made relative to the configuration file's folder */
    CONF_BOOL,       /* bool: true/false, yes/no, on/off */
    CONF_INT,        /* int64_t within min..max, decimal */
    CONF_SIZE,       /* int64_t bytes: bare number, or with k, m, g (1024s); within min..max */
    CONF_DURATION,   /* int64_t milliseconds, unit required (base/clock.h), within min..max */
    CONF_HOURS,      /* int64_t milliseconds: as CONF_DURATION, but a bare number means hours */
    CONF_ENUM,       /* int: index into names */
    CONF_CUSTOM,     /* parse() fills the field from the scalar's text */
    CONF_SECTION, /* struct described by section, embedded at offset (or a list of them). One that is absent
                     reads as an empty mapping: its defaults apply, its required keys are missing */
};

enum {
    /* the key has to be there; a list then needs an item */
    CONF_REQUIRED = 1,
    /* the field is a struct conf_list; a single scalar or mapping is taken as a list of one */
    CONF_LIST = 2,
    /* with CONF_LIST: a single scalar is split at its commas, an empty one is an empty list */
    CONF_COMMAS = 4,
    /* a password or the like: no message ever shows it */
    CONF_SECRET = 8,
    /* known to the design but not built: using it is an error that says so */
    CONF_UNSUPPORTED = 16,
    /* the field is a pointer to the section's struct: NULL when the section is absent; not with CONF_LIST */
    CONF_OPTIONAL_SECTION = 32,
};

/* count items of the type's C representation: const char *, bool, int64_t, int, the section's struct, or
 * custom_size bytes each. */
struct conf_list {
    void *items;
    size_t count;
};

/* For CONF_CUSTOM: text is the scalar (len bytes, NUL-terminated), field where to put it. 0, or negative with
 * *why a constant sentence. Memory it needs is taken with conf_alloc. */
typedef int conf_parse_fn(struct conf *c, const char *text, size_t len, void *field, const char **why);

struct conf_key {
    const char *name;
    enum conf_type type;
    size_t offset;
    unsigned flags;

    const char *def; /* default, as text for the same parser (lists: comma-separated); NULL: zero bytes */

    /* CONF_INT, CONF_SIZE, CONF_DURATION, CONF_HOURS: bounds; max below min: no upper bound; both 0: >= 0 */
    int64_t min, max;

    const char *const *names; /* CONF_ENUM, NULL-terminated */
    conf_parse_fn *parse;     /* CONF_CUSTOM */
    size_t custom_size;       /* CONF_CUSTOM: bytes of the field, or of a list's item (then required) */
    const struct conf_section *section; /* CONF_SECTION */
    const char *help;                   /* one line for the generated reference */
    const char *hint;                   /* what to write, for a value of the wrong YAML kind; may be NULL */
};

struct conf_section {
    const char *name;            /* for messages: "listeners" */
    size_t size;                 /* of the struct */
    const struct conf_key *keys; /* ends with {0} */
};

/* Reads path into *out (section->size bytes, zeroed first). Always returns a conf; conf_ok() tells whether
 * out can be used (else strings may be NULL where the schema does not let them). Relative paths resolve
 * against the file's folder. Complaints about YAML itself (tabs, bad indentation, duplicate keys, anchors,
 * aliases and tags, which are refused, more than one document) are collected like all others; after a syntax
 * error nothing more is read. Unknown keys get "did you mean". At most 1 MiB of UTF-8 and 32 levels. */
struct conf *conf_read(const char *path, const struct conf_section *section, void *out);
/* The same out of memory; name stands in for the file in messages; relative paths stay as they are. For tests
 * and fuzzing. */
struct conf *conf_read_text(const char *name, const char *text, size_t len,
                            const struct conf_section *section, void *out);
void conf_free(struct conf *c); /* NULL is harmless */

bool conf_ok(const struct conf *c);            /* no error so far (warnings do not count) */
void *conf_alloc(struct conf *c, size_t size); /* zeroed, lives as long as c */
const char *conf_folder(
    const struct conf *c); /* that relative paths start at: the file's, "." where it has none. Borrowed */

/* An option of the command line, standing above the file: text is read as the key's value in the file would
 * be, with the same bounds, into the key's field of out. NULL is what a CONF_BOOL without a value means:
 * true. Of a list the first option replaces what the file says, and further ones are added. Paths stay as
 * they are. The field counts as given. 0, or ERR_SYNTAX with *why a sentence that the caller frees. */
int conf_option(struct conf *c, const struct conf_key *key, const char *text, void *out, char **why);

/* A copy of path that lives as long as c, a relative one made relative to the configuration file's folder:
 * what CONF_PATH does, for paths inside a CONF_CUSTOM's text ("lmdb:../var/tickets"). */
const char *conf_path(struct conf *c, const char *path);

/* Adds a complaint at the place where the field (its address inside *out) was read, or at its section's start
 * if it was not given, or at the file's if not even that. Warnings do not make conf_ok false. */
void conf_error(struct conf *c, const void *field, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void conf_warning(struct conf *c, const void *field, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Was it in the file, rather than a default? For fields; an embedded section has the address of its first
 * field, so this tells nothing of it: make it CONF_OPTIONAL_SECTION where that matters. */
bool conf_given(const struct conf *c, const void *field);
/* The same, also where what was written there was complained of and did not make it into the field. */
bool conf_written(const struct conf *c, const void *field);

/* Prints all complaints in file order, "file:line:column: message" or "file:line:column: warning: message"
 * ("file: message" where there is no place); returns the number of errors. */
int conf_print(const struct conf *c, FILE *to);

/* Prints the reference of all keys as Markdown: a table for each section. */
void conf_describe(const struct conf_section *section, FILE *to);

/* The nearest of the NULL-terminated names: edit distance at most 2 or a third of word's length, whichever is
 * more, and at most half of the longer one; case does not count. NULL if none is near. For options and
 * commands too. */
const char *suggest(const char *word, const char *const *names);

#endif
