/* The reader of small XML vocabularies: expat with everything off that a message of this protocol has no use
 * for. Used by staxml_parse.c and staxml_conninfo.c; knows no element by name.
 *
 * Tickets pass through here: all memory of expat is wiped when it is given back.
 */
#include <assert.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/err.h"
#include "base/mem.h"
#include "staxml_impl.h"

/* ---- memory for expat, with its size in front, so that it can be wiped ---- */

union block {
    size_t size;
    max_align_t align;
};

static void *block_alloc(size_t size)
{
    assert(size <= SIZE_MAX - sizeof(union block));
    union block *b = mem_alloc(sizeof *b + size);
    b->size = size;
    return b + 1;
}

static void block_free(void *p)
{
    if (p == NULL)
        return;
    union block *b = (union block *)p - 1;
    mem_wipe(b, sizeof *b + b->size);
    free(b);
}

static void *block_realloc(void *p, size_t size)
{
    void *grown = block_alloc(size);
    if (p != NULL) {
        size_t had = ((union block *)p - 1)->size;
        memcpy(grown, p, had < size ? had : size);
        block_free(p);
    }
    return grown;
}

/* ---- events ---- */

void staxml_fail(struct staxml_reader *r, int rc, const char *problem)
{
    if (r->rc < 0)
        return;
    r->rc = rc;
    r->problem = problem;
    XML_StopParser(r->parser, XML_FALSE);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Behind a DOCTYPE with an identifier an entity that nobody declared may be one of the DTD that is not read.
 * In text expat reports it as skipped; in an attribute it drops it in silence, so the tag is looked through
 * as it was written. That it is well-formed is known by then. */
static bool has_unknown_reference(const struct staxml_reader *r)
{
    static const char *const known[] = {"#", "amp;", "lt;", "gt;", "apos;", "quot;"};
    const unsigned char *tag = r->data + XML_GetCurrentByteIndex(r->parser);
    size_t count = (size_t)XML_GetCurrentByteCount(r->parser) / r->unit;
    for (size_t i = 0; i < count; i++) {
        char ahead[6] = "";
        for (size_t k = 0; k < sizeof ahead && i + k < count; k++) {
            const unsigned char *at = tag + (i + k) * r->unit;
            bool wide = r->unit == 2 && at[1 - r->low] != 0;
            ahead[k] = wide ? '\0' : (char)at[r->unit == 2 ? r->low : 0];
        }
        bool fine = ahead[0] != '&';
        for (size_t k = 0; !fine && k < sizeof known / sizeof known[0]; k++)
            fine = memcmp(ahead + 1, known[k], strlen(known[k])) == 0;
        if (!fine)
            return true;
    }
    return false;
}

static const char entity_problem[] = "an entity that is none of the five which XML has by itself";

static unsigned find_element(const struct staxml_vocabulary *v, unsigned parent, const char *name)
{
    for (unsigned place = 1; place < v->count; place++) {
        const struct staxml_element *e = &v->elements[place];
        if ((e->parents & STAXML_BIT(parent)) != 0 && strcmp(e->name, name) == 0)
            return place;
    }
    return 0;
}

static void open_element(struct staxml_reader *r, const char *name, const char **attributes)
{
    const struct staxml_element *known = r->vocabulary->elements;
    unsigned parent = r->places[r->depth - 1];
    if (known[parent].content == STAXML_HOLDS_TEXT) {
        staxml_fail(r, ERR_SYNTAX, "an element stands where only text may");
        return;
    }
    unsigned place = find_element(r->vocabulary, parent, name);
    if (place == 0) {
        if (r->depth == 1)
            staxml_fail(r, ERR_SYNTAX, "the root element is not of this protocol");
        r->skipped = r->depth;
        return;
    }
    if (!known[place].many && (r->seen & STAXML_BIT(place)) != 0) {
        staxml_fail(r, ERR_SYNTAX, "an element stands twice that may stand once");
        return;
    }
    r->seen |= STAXML_BIT(place);
    r->places[r->depth] = place;
    r->len = 0;
    if (known[place].content == STAXML_HOLDS_ANYTHING)
        r->skipped = r->depth;
    r->vocabulary->on_open(r, place, attributes);
}

static void on_start(void *owner, const char *name, const char **attributes)
{
    struct staxml_reader *r = owner;
    if (r->rc < 0) /* expat finishes what it has begun */
        return;
    r->depth++;
    r->elements++;
    if (r->depth > STAXML_DEPTH_MAX)
        staxml_fail(r, ERR_TOO_BIG, "elements are nested too deep");
    else if (r->elements > STAXML_ELEMENTS_MAX)
        staxml_fail(r, ERR_TOO_BIG, "there are too many elements");
    else if (attributes[0] != NULL && has_unknown_reference(r))
        staxml_fail(r, ERR_SYNTAX, entity_problem);
    else if (r->skipped == 0)
        open_element(r, name, attributes);
}

static void on_end(void *owner, const char *name)
{
    struct staxml_reader *r = owner;
    (void)name; /* expat has compared it */
    if (r->rc < 0)
        return;
    if (r->skipped == r->depth) {
        r->skipped = 0;
    } else if (r->skipped == 0) {
        unsigned place = r->places[r->depth];
        r->text[r->len] = '\0';
        r->vocabulary->on_close(r, place, r->text, r->len);
        r->len = 0;
    }
    r->depth--;
}

static void on_text(void *owner, const char *s, int len)
{
    struct staxml_reader *r = owner;
    size_t n = (size_t)len;
    if (r->rc < 0 || r->skipped > 0)
        return;
    if (r->vocabulary->elements[r->places[r->depth]].content == STAXML_HOLDS_TEXT) {
        if (n > STAXML_TEXT_MAX - r->len) {
            staxml_fail(r, ERR_TOO_BIG, "a text is too long");
            return;
        }
        memcpy(r->text + r->len, s, n);
        r->len += n;
        r->used = r->len > r->used ? r->len : r->used;
        return;
    }
    for (size_t i = 0; i < n; i++) {
        if (!is_blank(s[i])) {
            staxml_fail(r, ERR_SYNTAX, "text stands where only elements may");
            return;
        }
    }
}

/* Declarations inside a DOCTYPE make entities and default attributes: no message needs any. */
static void on_doctype(void *owner, const char *name, const char *system, const char *public,
                       int has_declarations)
{
    (void)name;
    (void)system;
    (void)public;
    if (has_declarations)
        staxml_fail(owner, ERR_SYNTAX, "the DOCTYPE holds declarations");
}

static void on_skipped_entity(void *owner, const char *name, int is_parameter)
{
    (void)name;
    (void)is_parameter;
    staxml_fail(owner, ERR_SYNTAX, entity_problem);
}

/* ---- a text ---- */

static void look_for_utf16(struct staxml_reader *r, size_t len)
{
    bool big = len >= 2 && ((r->data[0] == 0xfe && r->data[1] == 0xff) || r->data[0] == 0);
    bool little = len >= 2 && ((r->data[0] == 0xff && r->data[1] == 0xfe) || r->data[1] == 0);
    r->unit = big || little ? 2 : 1;
    r->low = big ? 1 : 0;
}

/* One for the process: what makes names collide cannot be guessed, and no message costs a system call. With 0
 * expat would look for entropy by itself. */
static unsigned long hash_salt(void)
{
    static _Atomic unsigned long salt;
    unsigned long known = atomic_load_explicit(&salt, memory_order_relaxed), fresh = 0;
    if (known != 0)
        return known;
    if (getrandom(&fresh, sizeof fresh, 0) != (ssize_t)sizeof fresh)
        return 0;
    atomic_compare_exchange_strong(&salt, &known, fresh); /* whichever thread comes first */
    return known != 0 ? known : fresh;
}

static XML_Parser make_parser(struct staxml_reader *r)
{
    static const XML_Memory_Handling_Suite memory = {block_alloc, block_realloc, block_free};
    XML_Parser p = XML_ParserCreate_MM(NULL, &memory, NULL);
    assert(p != NULL);
    XML_SetHashSalt(p, hash_salt());
    XML_SetUserData(p, r);
    XML_SetElementHandler(p, on_start, on_end);
    XML_SetCharacterDataHandler(p, on_text);
    XML_SetStartDoctypeDeclHandler(p, on_doctype);
    XML_SetSkippedEntityHandler(p, on_skipped_entity);
    return p;
}

struct staxml_reader *staxml_reader_new(const struct staxml_vocabulary *vocabulary, void *owner)
{
    struct staxml_reader *r = mem_alloc(sizeof *r);
    memset(r, 0, offsetof(struct staxml_reader, text)); /* 8 KB that nobody reads before they are written */
    r->vocabulary = vocabulary;
    r->owner = owner;
    return r;
}

int staxml_read(struct staxml_reader *r, const char *data, size_t len, const char **why)
{
    if (len > STAXML_BYTES_MAX) {
        *why = "the message is too big";
        return ERR_TOO_BIG;
    }
    r->data = (const unsigned char *)data;
    look_for_utf16(r, len);
    r->parser = make_parser(r);
    enum XML_Status status = XML_Parse(r->parser, data, (int)len, XML_TRUE);
    if (status != XML_STATUS_OK && r->rc == 0) {
        enum XML_Error error = XML_GetErrorCode(r->parser);
        r->rc = ERR_SYNTAX;
        r->problem = error == XML_ERROR_UNDEFINED_ENTITY ? entity_problem : XML_ErrorString(error);
    }
    XML_ParserFree(r->parser);
    r->parser = NULL;
    mem_wipe(r->text, r->used);
    if (r->rc < 0)
        *why = r->problem;
    return r->rc;
}
