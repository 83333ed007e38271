/* Any bytes as a configuration file, against a schema with every type and flag. What is checked beyond
 * memory: complaints and the verdict agree, each is one line of printable UTF-8 that begins with the file's
 * name, and what was read can be walked. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/conf.h"
#include "base/err.h"
#include "base/utf8.h"

struct item {
    const char *address;
    struct conf_list doors; /* int */
    int64_t time_ms;
};

struct extra {
    const char *url;
    const char *password;
};

struct settings {
    const char *name;
    const char *path;
    bool flag;
    int64_t number;
    int64_t size;
    int64_t time_ms;
    int64_t hours_ms;
    int word;
    size_t custom;
    struct conf_list items;   /* struct item */
    struct conf_list names;   /* const char * */
    struct conf_list flags;   /* bool */
    struct conf_list numbers; /* int64_t */
    struct conf_list customs; /* size_t */
    struct conf_list secrets; /* const char * */
    struct extra embedded;
    struct extra *optional;
};

static int parse_custom(struct conf *c, const char *text, size_t len, void *field, const char **why)
{
    if (strlen(text) != len)
        abort();
    if (len == 0 || text[0] == '!') {
        *why = "an empty text, or one that starts with !";
        return ERR_SYNTAX;
    }
    if (text[0] == '?')
        conf_warning(c, field, "a doubtful one");
    *(size_t *)field = strlen(conf_path(c, text));
    return 0;
}

static const char *const words[] = {"socks", "connect", "activesync", "12.1", NULL};

static const struct conf_key item_keys[] = {
    {"address", CONF_STRING, offsetof(struct item, address), .flags = CONF_REQUIRED},
    {"doors", CONF_ENUM, offsetof(struct item, doors), .flags = CONF_LIST | CONF_COMMAS, .names = words,
     .def = "socks, connect"},
    {"time", CONF_DURATION, offsetof(struct item, time_ms), .min = 1000, .max = 60000, .def = "10s"},
    {0},
};
static const struct conf_section item_section = {"items", sizeof(struct item), item_keys};

static const struct conf_key extra_keys[] = {
    {"url", CONF_STRING, offsetof(struct extra, url), .def = "here"},
    {"password", CONF_STRING, offsetof(struct extra, password), .flags = CONF_SECRET},
    {0},
};
static const struct conf_section extra_section = {"extra", sizeof(struct extra), extra_keys};

static const struct conf_key keys[] = {
    {"name", CONF_STRING, offsetof(struct settings, name), .def = "none"},
    {"path", CONF_PATH, offsetof(struct settings, path), .hint = "write a path"},
    {"flag", CONF_BOOL, offsetof(struct settings, flag), .def = "on"},
    {"number", CONF_INT, offsetof(struct settings, number), .min = -10, .max = 10},
    {"size", CONF_SIZE, offsetof(struct settings, size), .min = 1},
    {"time", CONF_DURATION, offsetof(struct settings, time_ms), .def = "1h30m"},
    {"hours", CONF_HOURS, offsetof(struct settings, hours_ms), .def = "168"},
    {"word", CONF_ENUM, offsetof(struct settings, word), .names = words},
    {"custom", CONF_CUSTOM, offsetof(struct settings, custom), .parse = parse_custom},
    {"items", CONF_SECTION, offsetof(struct settings, items), .flags = CONF_LIST, .section = &item_section},
    {"names", CONF_STRING, offsetof(struct settings, names), .flags = CONF_LIST | CONF_COMMAS},
    {"flags", CONF_BOOL, offsetof(struct settings, flags), .flags = CONF_LIST | CONF_COMMAS},
    {"numbers", CONF_INT, offsetof(struct settings, numbers), .flags = CONF_LIST | CONF_REQUIRED, .min = -5},
    {"customs", CONF_CUSTOM, offsetof(struct settings, customs), .flags = CONF_LIST, .parse = parse_custom,
     .custom_size = sizeof(size_t)},
    {"secrets", CONF_STRING, offsetof(struct settings, secrets), .flags = CONF_LIST | CONF_SECRET},
    {"embedded", CONF_SECTION, offsetof(struct settings, embedded), .section = &extra_section},
    {"optional", CONF_SECTION, offsetof(struct settings, optional), .flags = CONF_OPTIONAL_SECTION,
     .section = &extra_section},
    {"unbuilt", CONF_STRING, offsetof(struct settings, name), .flags = CONF_UNSUPPORTED},
    {0},
};
static const struct conf_section root = {"the file", sizeof(struct settings), keys};

static void require(bool truth)
{
    if (!truth)
        abort();
}

static void check_texts(const struct conf_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        require(strlen(((const char **)list->items)[i]) < SIZE_MAX);
}

static void check_settings(const struct conf *c, const struct settings *s)
{
    require(s->name != NULL && (s->path == NULL || s->path[0] != '\0'));
    require(s->number >= -10 && s->number <= 10 && (s->size >= 1 || !conf_given(c, &s->size)));
    require(s->time_ms >= 0 && s->hours_ms >= 0 && s->word >= 0 && s->word < 4);
    require(s->numbers.count > 0);
    for (size_t i = 0; i < s->numbers.count; i++)
        require(((int64_t *)s->numbers.items)[i] >= -5);
    for (size_t i = 0; i < s->customs.count; i++)
        require(((size_t *)s->customs.items)[i] > 0);
    check_texts(&s->names);
    check_texts(&s->secrets);
    for (size_t i = 0; i < s->items.count; i++) {
        const struct item *item = (struct item *)s->items.items + i;
        require(strlen(item->address) < SIZE_MAX && item->time_ms >= 1000 && item->time_ms <= 60000);
        for (size_t k = 0; k < item->doors.count; k++)
            require(((int *)item->doors.items)[k] >= 0 && ((int *)item->doors.items)[k] < 4);
    }
    require(s->embedded.url != NULL && (s->optional == NULL || s->optional->url != NULL));
}

/* Every line begins with the name, and holds nothing that a terminal would obey. */
static void check_output(const char *text, size_t len)
{
    size_t line = 0;
    for (size_t i = 0; i < len;) {
        uint32_t point;
        size_t n = utf8_decode(text + i, len - i, &point);
        require(n > 0 && (point >= 0x20 || point == '\n') && (point < 0x7f || point >= 0xa0));
        i += n;
        if (point == '\n') {
            require(strncmp(text + line, "fuzz.yaml:", 10) == 0);
            line = i;
        }
    }
    require(line == len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct settings s;
    struct conf *c = conf_read_text("fuzz.yaml", (const char *)data, size, &root, &s);
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);
    int errors = conf_print(c, f);
    fclose(f);

    require(conf_ok(c) == (errors == 0));
    require(errors == 0 || len > 0);
    check_output(text, len);
    if (conf_ok(c))
        check_settings(c, &s);
    free(text);
    conf_free(c);
    return 0;
}
