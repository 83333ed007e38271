/* A schema with every type, and helpers that read a text against it: for the tests of the configuration
 * reader. */
#ifndef STAGATE_TESTS_CONF_FIXTURE_H
#define STAGATE_TESTS_CONF_FIXTURE_H

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/conf.h"
#include "base/err.h"
#include "base/mem.h"

/* ---- a schema with every type --------------------------------------------------------------- */

struct place {
    char host[64];
    int port;
};

struct listener {
    const char *address;
    struct conf_list certificates; /* const char * */
    struct conf_list doors;        /* int */
    int tls_floor;
    int64_t handshake_ms;
};

struct log_settings {
    int format;
    bool colour;
};

struct ldap {
    const char *url;
    const char *password;
};

struct settings {
    int64_t workers;
    int64_t buffer;
    int64_t expiration_ms;
    const char *name;
    const char *socket;
    bool verbose;
    int64_t offset;
    struct conf_list listeners; /* struct listener */
    struct conf_list services;  /* struct place */
    struct conf_list words;     /* const char * */
    struct conf_list pins;      /* const char *, secret */
    struct log_settings log;
    struct ldap *ldap;
    struct place gateway;
    int level;
};

static inline int parse_place(struct conf *c, const char *text, size_t len, void *field, const char **why)
{
    struct place *p = field;
    const char *colon = strrchr(text, ':');
    (void)c;
    ck_assert_uint_eq(strlen(text), len);
    if (!colon) {
        *why = "the port is missing: write host:443";
        return ERR_SYNTAX;
    }
    if ((size_t)(colon - text) >= sizeof p->host)
        return ERR_TOO_BIG;
    if (strcmp(text, "odd:1") == 0)
        conf_warning(c, field, "an odd place");
    memcpy(p->host, text, (size_t)(colon - text));
    p->port = atoi(colon + 1);
    return 0;
}

static const char *const door_names[] = {"socks", "connect", "activesync", NULL};
static const char *const floor_names[] = {"ssl3", "tls1.0", "tls1.1", "tls1.2", "tls1.3", NULL};
static const char *const format_names[] = {"auto", "json", "text", NULL};
static const char *const level_names[] = {"12.1", "14.0", "16.1", NULL};

static const struct conf_key listener_keys[] = {
    {"address", CONF_STRING, offsetof(struct listener, address), .flags = CONF_REQUIRED},
    {"certificate", CONF_PATH, offsetof(struct listener, certificates), .flags = CONF_LIST},
    {"doors", CONF_ENUM, offsetof(struct listener, doors), .flags = CONF_LIST | CONF_COMMAS,
     .names = door_names, .def = "socks, connect"},
    {"tls-floor", CONF_ENUM, offsetof(struct listener, tls_floor), .names = floor_names, .def = "tls1.2"},
    {"handshake", CONF_DURATION, offsetof(struct listener, handshake_ms), .def = "10s", .min = 1000,
     .max = 600000},
    {0},
};
static const struct conf_section listener_section = {"listeners", sizeof(struct listener), listener_keys};

static const struct conf_key log_keys[] = {
    {"format", CONF_ENUM, offsetof(struct log_settings, format), .names = format_names, .def = "text"},
    {"colour", CONF_BOOL, offsetof(struct log_settings, colour), .def = "yes"},
    {0},
};
static const struct conf_section log_section = {"log", sizeof(struct log_settings), log_keys};

static const struct conf_key ldap_keys[] = {
    {"url", CONF_STRING, offsetof(struct ldap, url), .flags = CONF_REQUIRED},
    {"password", CONF_STRING, offsetof(struct ldap, password), .flags = CONF_SECRET},
    {0},
};
static const struct conf_section ldap_section = {"ldap", sizeof(struct ldap), ldap_keys};

static const struct conf_key keys[] = {
    {"workers", CONF_INT, offsetof(struct settings, workers), .min = 1, .max = 256, .def = "4"},
    {"buffer", CONF_SIZE, offsetof(struct settings, buffer), .min = 4096, .max = 1 << 30, .def = "64k"},
    {"expiration", CONF_HOURS, offsetof(struct settings, expiration_ms), .def = "168"},
    {"name", CONF_STRING, .offset = offsetof(struct settings, name)},
    {"socket", CONF_PATH, offsetof(struct settings, socket), .def = "var/sock"},
    {"verbose", CONF_BOOL, .offset = offsetof(struct settings, verbose)},
    {"offset", CONF_INT, offsetof(struct settings, offset), .min = -5, .max = 5},
    {"listeners", CONF_SECTION, offsetof(struct settings, listeners), .flags = CONF_LIST,
     .section = &listener_section, .hint = "write - address: HOST:PORT"},
    {"services", CONF_CUSTOM, offsetof(struct settings, services), .flags = CONF_LIST, .parse = parse_place,
     .custom_size = sizeof(struct place)},
    {"words", CONF_STRING, offsetof(struct settings, words), .flags = CONF_LIST | CONF_COMMAS},
    {"pins", CONF_STRING, offsetof(struct settings, pins), .flags = CONF_LIST | CONF_SECRET},
    {"log", CONF_SECTION, offsetof(struct settings, log), .section = &log_section},
    {"ldap", CONF_SECTION, offsetof(struct settings, ldap), .flags = CONF_OPTIONAL_SECTION,
     .section = &ldap_section},
    {"gateway", CONF_CUSTOM, offsetof(struct settings, gateway), .parse = parse_place,
     .hint = "write HOST:PORT"},
    {"level", CONF_ENUM, offsetof(struct settings, level), .names = level_names},
    {"radius", CONF_STRING, offsetof(struct settings, name), .flags = CONF_UNSUPPORTED},
    {0},
};
static const struct conf_section root = {"the file", sizeof(struct settings), keys};

/* ---- helpers -------------------------------------------------------------------------------- */

static inline char *print(const struct conf *c, int *errors)
{
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);
    *errors = conf_print(c, f);
    fclose(f);
    return text;
}

static inline struct conf *read_good(const char *text, struct settings *s)
{
    struct conf *c = conf_read_text("sta.yaml", text, strlen(text), &root, s);
    int errors;
    char *out = print(c, &errors);
    ck_assert_msg(conf_ok(c), "%s\n%s", text, out);
    free(out);
    return c;
}

static inline void expect_output(const char *text, size_t len, const char *expected)
{
    struct settings s;
    struct conf *c = conf_read_text("sta.yaml", text, len, &root, &s);
    int errors;
    char *out = print(c, &errors);
    ck_assert_msg(strcmp(out, expected) == 0, "text:\n%s\nexpected:\n%s\nfound:\n%s", text, expected, out);
    ck_assert(conf_ok(c) == (errors == 0));
    free(out);
    conf_free(c);
}

struct fault {
    const char *text;
    const char *expected;
};

static inline void check_faults(const struct fault *faults, size_t n)
{
    for (size_t i = 0; i < n; i++)
        expect_output(faults[i].text, strlen(faults[i].text), faults[i].expected);
}
#define CHECK_FAULTS(table) check_faults(table, sizeof(table) / sizeof((table)[0]))

static inline struct listener *listener_at(const struct settings *s, size_t i)
{
    ck_assert_uint_lt(i, s->listeners.count);
    return (struct listener *)s->listeners.items + i;
}

static inline const char *word_at(const struct conf_list *list, size_t i)
{
    ck_assert_uint_lt(i, list->count);
    return ((const char **)list->items)[i];
}

#endif
