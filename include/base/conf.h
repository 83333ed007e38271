/* Configuration files: YAML by libyaml's document API, laid over a schema table into plain structs, with file:line:column for every
 * complaint. One run shows every mistake. Used by all programs; knows no key by name.
 *
 * A schema is a table of keys for each section (mapping). The reader fills a struct of the caller's: each key has an offset and a type.
 * Everything it allocates (strings, list items, sections) belongs to the struct conf and goes with conf_free.
 *
 *   static const struct conf_key listener_keys[] = {
 *       {"address", CONF_STRING, offsetof(struct listener_settings, address), .flags = CONF_REQUIRED, .help = "..."},
 *       {"doors", CONF_ENUM, offsetof(..., doors), .flags = CONF_LIST, .names = door_names, .def = "socks,connect"},
 *       {0}};
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
    CONF_INT,        /* int64_t within min..max */
    CONF_SIZE,       /* int64_t bytes: bare number, or with k, m, g (1024s); within min..max */
    CONF_DURATION,   /* int64_t milliseconds, unit required (base/clock.h), within min..max */
    CONF_HOURS,      /* int64_t milliseconds: as CONF_DURATION, but a bare number means hours */
    CONF_ENUM,       /* int: index into names */
    CONF_CUSTOM,     /* parse() fills the field from the scalar's text */
    CONF_SECTION,    /* struct described by section, embedded at offset (or a list of them) */
};

enum {
    CONF_REQUIRED = 1,
    CONF_LIST = 2,     /* the field is a struct conf_list; a single scalar or mapping is taken as a list of one. Scalars: a YAML sequence, or
                          for CONF_COMMAS one text with commas */
    CONF_COMMAS = 4,
    CONF_SECRET = 8,   /* never shown by conf_dump */
    CONF_UNSUPPORTED = 16, /* known to the design but not built: using it is an error that says so */
    CONF_OPTIONAL_SECTION = 32, /* the field is a pointer to the section's struct: NULL when the section is absent */
};

struct conf_list {
    void *items; /* count items of the type's C representation (const char *, int64_t, int, the section's struct, custom_size bytes) */
    size_t count;
};

/* For CONF_CUSTOM: text is the scalar (len bytes, NUL-terminated), field where to put it. 0, or negative with *why a constant sentence. Memory it
 * needs is taken with conf_alloc. */
typedef int conf_parse_fn(struct conf *c, const char *text, size_t len, void *field, const char **why);

struct conf_key {
    const char *name;
    enum conf_type type;
    size_t offset;
    unsigned flags;
    const char *def;            /* default, as text read by the same parser (lists: comma-separated); NULL: zero bytes */
    int64_t min, max;           /* CONF_INT, CONF_SIZE, CONF_DURATION, CONF_HOURS; both 0: no bound but >= 0 */
    const char *const *names;   /* CONF_ENUM, NULL-terminated */
    conf_parse_fn *parse;       /* CONF_CUSTOM */
    size_t custom_size;         /* CONF_CUSTOM in lists: bytes of an item */
    const struct conf_section *section; /* CONF_SECTION */
    const char *help;           /* one line for the generated reference */
    const char *hint;           /* for a scalar of the wrong YAML kind (mapping instead of text...): what to write; may be NULL */
};

struct conf_section {
    const char *name;            /* for messages: "listeners" */
    size_t size;                 /* of the struct */
    const struct conf_key *keys; /* ends with {0} */
};

/* Reads path into *out (section->size bytes, zeroed first). Always returns a conf; conf_ok() tells whether out can be used. Relative paths
 * resolve against the file's folder. Complaints about YAML itself (tabs, bad indentation, duplicate keys, anchors
 * and aliases are refused, more than one document) are collected like all others. Unknown keys get "did you mean". */
struct conf *conf_read(const char *path, const struct conf_section *section, void *out);
/* The same out of memory; name stands in for the file in messages, "." is its folder. For tests and fuzzing. */
struct conf *conf_read_text(const char *name, const char *text, size_t len, const struct conf_section *section, void *out);
void conf_free(struct conf *c);

bool conf_ok(const struct conf *c); /* no error so far (warnings do not count) */
void *conf_alloc(struct conf *c, size_t size); /* zeroed, lives as long as c */

/* Adds a complaint at the place where the field (its address inside *out) was read, or at its section's start if it was not given, or at
 * the file's if not even that. Warnings do not make conf_ok false. */
void conf_error(struct conf *c, const void *field, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void conf_warning(struct conf *c, const void *field, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
bool conf_given(const struct conf *c, const void *field); /* was it in the file, rather than a default */

/* Prints all complaints in file order, "file:line:column: message" or "file:line:column: warning: message"; returns the number of errors. */
int conf_print(const struct conf *c, FILE *to);

/* The nearest of the NULL-terminated names (edit distance at most 2, or a third of the length), NULL if none is near. For options and commands too. */
const char *suggest(const char *word, const char *const *names);

#endif
