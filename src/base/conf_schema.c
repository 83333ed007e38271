/* Lays a schema over a YAML document: finds each key's place in the caller's struct, reads values and lists
 * into it, puts defaults where nothing was given, and complains about whatever does not belong. Called by
 * conf_load.c. Types of scalars are conf_types.c's business. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "conf_impl.h"

struct reader {
    struct conf *c;
    yaml_document_t *doc;
    bool *seen; /* by node: an alias brings a node up twice, or endlessly; it is read once */
};

/* What became of one key of a section. */
struct key_state {
    struct conf_mark at; /* where the key stood; line 0: it did not */
    bool filled;         /* the field holds a good value */
};

static void read_section(struct reader *r, const struct conf_section *section, const yaml_node_t *node,
                         struct conf_mark at, void *out);

/* ---- nodes ---------------------------------------------------------------------------------- */

static struct conf_mark mark_of(const yaml_node_t *node)
{
    return conf_mark_of(&node->start_mark);
}

static const yaml_node_t *node_at(const struct reader *r, int index)
{
    return yaml_document_get_node(r->doc, index);
}

/* True the first time. */
static bool enter_node(struct reader *r, const yaml_node_t *node)
{
    bool *seen = &r->seen[node - r->doc->nodes.start];
    bool first = !*seen;
    *seen = true;
    return first;
}

static const char *scalar_text(const yaml_node_t *node)
{
    return (const char *)node->data.scalar.value;
}

static bool is_null(const yaml_node_t *node)
{
    static const char *const words[] = {"", "~", "null", "Null", "NULL"};
    if (node->type != YAML_SCALAR_NODE || node->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
        return false;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strcmp(scalar_text(node), words[i]) == 0)
            return true;
    return false;
}

static const char *node_noun(const yaml_node_t *node)
{
    switch (node->type) {
    case YAML_MAPPING_NODE:
        return "a mapping";
    case YAML_SEQUENCE_NODE:
        return "a list";
    default:
        return "text";
    }
}

static size_t count_chars(const char *text, size_t len)
{
    size_t chars = 0;
    for (size_t i = 0; i < len; i++)
        chars += ((unsigned char)text[i] & 0xc0) != 0x80;
    return chars;
}

/* Follows the places of bytes inside a scalar, onwards only. Where quoting, escapes or folding hide them,
 * every byte stands at the scalar's beginning. */
struct pointer {
    const char *text;
    size_t offset;
    bool exact;
    struct conf_mark at;
};

static struct pointer point_into(const yaml_node_t *node)
{
    struct pointer p = {.text = scalar_text(node), .at = mark_of(node)};
    size_t quotes = node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE ? 0 : 1;
    size_t width = count_chars(p.text, node->data.scalar.length) + 2 * quotes;

    p.exact = node->start_mark.line == node->end_mark.line &&
              node->end_mark.column - node->start_mark.column == width;
    if (p.exact)
        p.at.column += (int)quotes;
    return p;
}

static struct conf_mark point_at(struct pointer *p, size_t offset)
{
    if (p->exact)
        p->at.column += (int)count_chars(p->text + p->offset, offset - p->offset);
    p->offset = offset;
    return p->at;
}

/* ---- wrong kinds ---------------------------------------------------------------------------- */

/* "mail.example.com: 443" where a text belongs: YAML makes it a mapping of one key. */
static bool complain_unquoted(struct reader *r, const struct conf_key *key, const yaml_node_t *node)
{
    bool texts = key->type == CONF_STRING || key->type == CONF_PATH || key->type == CONF_CUSTOM;
    if (!texts || (key->flags & CONF_SECRET) || node->type != YAML_MAPPING_NODE)
        return false;

    const yaml_node_pair_t *pair = node->data.mapping.pairs.start;
    if (node->data.mapping.pairs.top != pair + 1)
        return false;
    const yaml_node_t *k = node_at(r, pair->key);
    const yaml_node_t *v = node_at(r, pair->value);
    if (k->type != YAML_SCALAR_NODE || v->type != YAML_SCALAR_NODE || is_null(k) || is_null(v))
        return false;

    char *was = mem_printf("%s: %s", scalar_text(k), scalar_text(v));
    char *meant = mem_printf("%s:%s", scalar_text(k), scalar_text(v));
    char was_shown[CONF_QUOTED], meant_shown[CONF_QUOTED];
    conf_complain(r->c, mark_of(node), "%s: %s without quotes is a YAML mapping: write %s in quotes",
                  key->name, conf_quote(was_shown, was, strlen(was)),
                  conf_quote(meant_shown, meant, strlen(meant)));
    free(was);
    free(meant);
    return true;
}

static void complain_kind(struct reader *r, const struct conf_key *key, const yaml_node_t *node)
{
    if (complain_unquoted(r, key, node))
        return;
    bool list = key->type == CONF_SECTION && (key->flags & CONF_LIST) && node->type != YAML_SEQUENCE_NODE;
    conf_complain(r->c, mark_of(node), "%s: expected %s, found %s%s%s", key->name,
                  list ? "a list of mappings (key: value)" : conf_type_noun(key), node_noun(node),
                  key->hint ? ": " : "", key->hint ? key->hint : "");
}

/* ---- values --------------------------------------------------------------------------------- */

/* Parses one text into field and remembers where it stood. */
static bool read_text(struct reader *r, const struct conf_key *key, const char *text, size_t len,
                      struct conf_mark at, void *field)
{
    struct conf *c = r->c;
    char *why = NULL;
    size_t places = c->place_count;
    size_t size = conf_type_size(key);

    /* before parsing: a CONF_CUSTOM's parser may complain about its field itself */
    conf_remember(c, field, size > 0 ? size : 1, false, at);
    if (conf_type_parse(c, key, text, len, field, &why) == 0)
        return true;
    c->place_count = places;
    memset(field, 0, size);
    conf_complain(c, at, "%s: %s", key->name, why);
    free(why);
    return false;
}

/* One value that is not a list: a scalar or a section. */
static bool read_one(struct reader *r, const struct conf_key *key, const yaml_node_t *node, void *field)
{
    bool section = key->type == CONF_SECTION;

    if (!enter_node(r, node))
        return false;
    if (node->type != (section ? YAML_MAPPING_NODE : YAML_SCALAR_NODE)) {
        complain_kind(r, key, node);
        return false;
    }
    if (!section)
        return read_text(r, key, scalar_text(node), node->data.scalar.length, mark_of(node), field);
    if (key->flags & CONF_OPTIONAL_SECTION) {
        conf_remember(r->c, field, sizeof(void *), false, mark_of(node));
        field = *(void **)field = conf_alloc(r->c, key->section->size);
    }
    read_section(r, key->section, node, mark_of(node), field);
    return true;
}

static void *alloc_items(struct conf *c, const struct conf_key *key, size_t count)
{
    size_t size = conf_type_size(key);
    assert(size > 0 && count <= SIZE_MAX / size);
    return count > 0 ? conf_alloc(c, count * size) : NULL;
}

static void *item_at(const struct conf_key *key, const struct conf_list *list, size_t i)
{
    return (char *)list->items + i * conf_type_size(key);
}

static bool is_blank(char ch)
{
    return ch == ' ' || ch == '\t' || ch == '\n';
}

/* The next piece of a text with commas, blanks trimmed: *offset and *len; moves *pos behind its comma. False
 * at the end. */
static bool next_piece(const char *text, size_t total, size_t *pos, size_t *offset, size_t *len)
{
    if (*pos > total)
        return false;
    const char *comma = memchr(text + *pos, ',', total - *pos);
    size_t end = comma ? (size_t)(comma - text) : total;
    *offset = *pos;
    *pos = end + 1;
    while (*offset < end && is_blank(text[*offset]))
        (*offset)++;
    while (end > *offset && is_blank(text[end - 1]))
        end--;
    *len = end - *offset;
    return true;
}

static size_t count_pieces(const char *text, size_t total)
{
    size_t count = 0, pos = 0, offset, len, longest = 0;
    while (next_piece(text, total, &pos, &offset, &len)) {
        longest = len > longest ? len : longest;
        count++;
    }
    return count == 1 && longest == 0 ? 0 : count;
}

static void read_sequence(struct reader *r, const struct conf_key *key, const yaml_node_t *node,
                          struct conf_list *list)
{
    const yaml_node_item_t *item = node->data.sequence.items.start;
    const yaml_node_item_t *end = node->data.sequence.items.top;

    list->items = alloc_items(r->c, key, (size_t)(end - item));
    for (; item < end; item++) {
        const yaml_node_t *child = node_at(r, *item);
        if (is_null(child))
            conf_complain(r->c, mark_of(child), "%s: an item has no value", key->name);
        else if (read_one(r, key, child, item_at(key, list, list->count)))
            list->count++;
    }
}

static void read_pieces(struct reader *r, const struct conf_key *key, const yaml_node_t *node,
                        struct conf_list *list)
{
    const char *text = scalar_text(node);
    size_t total = node->data.scalar.length;
    size_t left = count_pieces(text, total);
    size_t pos = 0, offset, len;
    struct pointer pointer = point_into(node);

    list->items = alloc_items(r->c, key, left);
    for (; left > 0 && next_piece(text, total, &pos, &offset, &len); left--) {
        struct conf_mark at = point_at(&pointer, offset);
        if (len == 0) {
            conf_complain(r->c, at, "%s: an item between commas is empty", key->name);
            continue;
        }
        char *piece = mem_strndup(text + offset, len);
        if (read_text(r, key, piece, len, at, item_at(key, list, list->count)))
            list->count++;
        free(piece);
    }
}

static bool read_list(struct reader *r, const struct conf_key *key, const yaml_node_t *node,
                      struct conf_list *list)
{
    int before = r->c->errors;

    conf_remember(r->c, list, sizeof *list, false, mark_of(node));
    if (node->type == YAML_SEQUENCE_NODE) {
        if (enter_node(r, node))
            read_sequence(r, key, node, list);
    } else if ((key->flags & CONF_COMMAS) && node->type == YAML_SCALAR_NODE) {
        if (enter_node(r, node))
            read_pieces(r, key, node, list);
    } else {
        list->items = alloc_items(r->c, key, 1);
        list->count = read_one(r, key, node, list->items) ? 1 : 0;
    }
    if (r->c->errors > before)
        return list->count > 0;
    if (list->count == 0 && (key->flags & CONF_REQUIRED))
        conf_complain(r->c, mark_of(node), "%s: needs at least one item", key->name);
    return true;
}

/* ---- defaults ------------------------------------------------------------------------------- */

static void set_default_text(struct conf *c, const struct conf_key *key, const char *text, size_t len,
                             void *field)
{
    char *why = NULL;
    int rc = conf_type_parse(c, key, text, len, field, &why);
    assert(rc == 0 && "a default does not fit its own key");
    (void)rc;
}

static void set_default(struct conf *c, const struct conf_key *key, void *field)
{
    if (key->type == CONF_SECTION) {
        if (!(key->flags & (CONF_LIST | CONF_OPTIONAL_SECTION)))
            for (const struct conf_key *k = key->section->keys; k->name; k++)
                set_default(c, k, (char *)field + k->offset);
        return;
    }
    if (key->def == NULL)
        return;
    if (!(key->flags & CONF_LIST)) {
        set_default_text(c, key, key->def, strlen(key->def), field);
        return;
    }
    struct conf_list *list = field;
    size_t total = strlen(key->def), pos = 0, offset, len;
    size_t count = count_pieces(key->def, total);
    *list = (struct conf_list){.items = alloc_items(c, key, count)};
    while (list->count < count && next_piece(key->def, total, &pos, &offset, &len)) {
        char *piece = mem_strndup(key->def + offset, len);
        set_default_text(c, key, piece, len, item_at(key, list, list->count));
        list->count++;
        free(piece);
    }
}

/* ---- keys ----------------------------------------------------------------------------------- */

/* Appends the names of the sections that have a key of this name: for "it belongs in". */
static void find_homes(const struct conf_section *section, const char *name, int depth, struct buf *homes)
{
    for (const struct conf_key *k = section->keys; k->name && depth < CONF_DEPTH_MAX; k++) {
        if (k->flags & CONF_UNSUPPORTED)
            continue;
        if (strcmp(k->name, name) == 0 && depth > 0)
            buf_printf(homes, "%s%s", homes->len > 0 ? " or " : "", section->name);
        if (k->type == CONF_SECTION)
            find_homes(k->section, name, depth + 1, homes);
    }
}

/* The names of a section's keys, ending in NULL, to be freed; those that are not built are left out. */
static const char **key_names(const struct conf_section *section)
{
    size_t count = 0;
    while (section->keys[count].name)
        count++;
    const char **names = mem_alloc((count + 1) * sizeof *names);
    size_t n = 0;
    for (const struct conf_key *k = section->keys; k->name; k++)
        if (!(k->flags & CONF_UNSUPPORTED))
            names[n++] = k->name;
    names[n] = NULL;
    return names;
}

/* What may have been meant: a near name, the section where the word has its place, or all keys if they make a
 * readable line. */
static void complain_unknown(struct reader *r, const struct conf_section *section, const char *word,
                             size_t len, struct conf_mark at)
{
    const char **names = key_names(section);
    const char *near = suggest(word, names);
    struct buf homes, all;
    char shown[CONF_QUOTED];

    buf_init(&homes, 200);
    buf_init(&all, 300);
    find_homes(r->c->root, word, 0, &homes);
    int rc = 0;
    for (size_t i = 0; names[i] != NULL && rc == 0; i++)
        rc = buf_printf(&all, "%s%s", i > 0 ? ", " : "", names[i]);
    conf_quote(shown, word, len);

    if (len == 2 && memcmp(word, "<<", 2) == 0)
        conf_complain(r->c, at, "merge keys (<<) are not used here: write the keys out");
    else if (near)
        conf_complain(r->c, at, "unknown key %s: did you mean \"%s\"?", shown, near);
    else if (homes.len > 0)
        conf_complain(r->c, at, "unknown key %s: it belongs in %.*s", shown, (int)homes.len,
                      (const char *)homes.data);
    else if (rc == 0 && all.len > 0)
        conf_complain(r->c, at, "unknown key %s: the keys here are %.*s", shown, (int)all.len,
                      (const char *)all.data);
    else
        conf_complain(r->c, at, "unknown key %s", shown);
    buf_deinit(&homes);
    buf_deinit(&all);
    free(names);
}

static void read_value(struct reader *r, const struct conf_key *key, const yaml_node_t *node,
                       struct key_state *state, void *field)
{
    if (key->flags & CONF_UNSUPPORTED)
        conf_complain(r->c, state->at, "%s: this version does not support it", key->name);
    else if (is_null(node))
        conf_complain(r->c, state->at, "%s: has no value", key->name);
    else if (key->flags & CONF_LIST)
        state->filled = read_list(r, key, node, field);
    else
        state->filled = read_one(r, key, node, field);
}

static void read_pair(struct reader *r, const struct conf_section *section, const yaml_node_pair_t *pair,
                      struct key_state *states, void *out)
{
    const yaml_node_t *name = node_at(r, pair->key);
    if (name->type != YAML_SCALAR_NODE) {
        conf_complain(r->c, mark_of(name), "expected a key, found %s", node_noun(name));
        return;
    }
    const char *word = scalar_text(name);
    size_t len = name->data.scalar.length;
    const struct conf_key *key = section->keys;
    while (key->name && (strlen(key->name) != len || memcmp(key->name, word, len) != 0))
        key++;
    if (key->name == NULL) {
        complain_unknown(r, section, word, len, mark_of(name));
        return;
    }
    struct key_state *state = &states[key - section->keys];
    if (state->at.line > 0) {
        conf_complain(r->c, mark_of(name), "the key \"%s\" is given twice: first in line %d", key->name,
                      state->at.line);
        return;
    }
    state->at = mark_of(name);
    read_value(r, key, node_at(r, pair->value), state, (char *)out + key->offset);
}

/* Keys that were not given, or given wrongly: complaints about missing ones, and defaults. */
static void finish_key(struct reader *r, const struct conf_section *section, const struct conf_key *key,
                       const struct key_state *state, struct conf_mark at, void *field)
{
    if (state->filled)
        return;
    bool missing = state->at.line == 0;
    if (!missing && (key->flags & CONF_UNSUPPORTED) == 0)
        conf_remember_bad(r->c, field, state->at);
    if (missing && (key->flags & CONF_REQUIRED)) {
        bool root = section == r->c->root;
        conf_complain(r->c, at, "%s%sthe key \"%s\" is missing", root ? "" : section->name, root ? "" : ": ",
                      key->name);
    } else if (missing && key->type == CONF_SECTION && !(key->flags & (CONF_LIST | CONF_OPTIONAL_SECTION))) {
        read_section(r, key->section, NULL, at, field);
        return;
    }
    set_default(r->c, key, field);
}

/* node is NULL for a section that was not given: it then reads as an empty mapping. */
static void read_section(struct reader *r, const struct conf_section *section, const yaml_node_t *node,
                         struct conf_mark at, void *out)
{
    size_t count = 0;
    while (section->keys[count].name)
        count++;
    struct key_state *states = mem_zalloc(count * sizeof *states);

    if (node) {
        conf_remember(r->c, out, section->size, true, at);
        const yaml_node_pair_t *end = node->data.mapping.pairs.top;
        for (const yaml_node_pair_t *pair = node->data.mapping.pairs.start; pair < end; pair++)
            read_pair(r, section, pair, states, out);
    }
    for (size_t i = 0; i < count; i++)
        finish_key(r, section, &section->keys[i], &states[i], at, (char *)out + section->keys[i].offset);
    free(states);
}

void conf_schema_read(struct conf *c, yaml_document_t *doc, void *out)
{
    struct reader r = {.c = c, .doc = doc};
    r.seen = mem_zalloc((size_t)(doc->nodes.top - doc->nodes.start) * sizeof *r.seen);

    const yaml_node_t *root = yaml_document_get_root_node(doc);
    if (root != NULL && is_null(root))
        root = NULL;
    if (root != NULL && root->type != YAML_MAPPING_NODE) {
        conf_complain(c, mark_of(root), "expected a mapping (key: value), found %s", node_noun(root));
    } else {
        struct conf_mark at = root ? mark_of(root) : (struct conf_mark){1, 1};
        if (root)
            enter_node(&r, root);
        read_section(&r, c->root, root, at, out);
    }
    free(r.seen);
}

/* ---- options -------------------------------------------------------------------------------- */

static const struct conf_mark from_option = {0, -1}; /* no place in the file */

static bool is_from_option(const struct conf *c, const void *field)
{
    for (size_t i = 0; i < c->place_count; i++)
        if (c->places[i].addr == field && c->places[i].at.column == from_option.column)
            return true;
    return false;
}

static int add_items(struct conf *c, const struct conf_key *key, const char *text, struct conf_list *list,
                     char **why)
{
    size_t total = strlen(text), pos = 0, offset = 0, len = total;
    size_t old = is_from_option(c, list) ? list->count : 0;
    size_t left = key->flags & CONF_COMMAS ? count_pieces(text, total) : 1;
    struct conf_list more = {.items = alloc_items(c, key, old + left), .count = old};
    int rc = 0;
    if (old > 0)
        memcpy(more.items, list->items, old * conf_type_size(key));
    for (; rc == 0 && left > 0; left--) {
        if (key->flags & CONF_COMMAS)
            next_piece(text, total, &pos, &offset, &len);
        if (len == 0 && key->flags & CONF_COMMAS) {
            *why = mem_strdup("an item between commas is empty");
            return ERR_SYNTAX;
        }
        char *piece = mem_strndup(text + offset, len);
        rc = conf_type_parse(c, key, piece, len, item_at(key, &more, more.count), why);
        more.count++;
        free(piece);
    }
    if (rc == 0)
        *list = more;
    return rc;
}

int conf_option(struct conf *c, const struct conf_key *key, const char *text, void *out, char **why)
{
    struct conf_key k = *key;
    void *field = (char *)out + k.offset;
    if (text == NULL)
        text = "true";
    if (k.type == CONF_PATH) /* relative to where the user is */
        k.type = CONF_STRING;
    int rc = k.flags & CONF_LIST ? add_items(c, &k, text, field, why)
                                 : conf_type_parse(c, &k, text, strlen(text), field, why);
    if (rc == 0)
        conf_remember(c, field, k.flags & CONF_LIST ? sizeof(struct conf_list) : conf_type_size(&k), false,
                      from_option);
    return rc;
}
