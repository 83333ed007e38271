/* Rewriting autodiscover answers: expat says where the texts stand, the bytes around them are copied. Called
 * by the relay of ActiveSync; what is to stand in an answer is the callback's business.
 *
 * Two passes: all of the document is read before the callback sees any of it, since a Type may stand behind
 * its Url, and since half a document is no answer.
 *
 * In doubt a text is shown to the callback: it sees what the text says, while a client that reads more
 * leniently than this file would go around the relay.
 */
#include "proto/autodiscover.h"

#include <assert.h>
#include <expat.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/utf8.h"

static const char schema_name[] = "/mobilesync/responseschema/2006";
static const char type_name[] = "MobileSync";

enum child { CHILD_NONE, CHILD_TYPE, CHILD_URL, CHILD_NAME, CHILDREN };

/* Of a Server. */
static const char *const child_names[CHILDREN] = {
    [CHILD_TYPE] = "Type", [CHILD_URL] = "Url", [CHILD_NAME] = "Name"};

struct place {
    enum child child;
    size_t from; /* the content in the document: all between the tags */
    size_t to;
    size_t text; /* what it says: offset in reader.texts, ends in NUL */
};

struct reader {
    XML_Parser parser;
    int rc;
    const char *problem;
    unsigned depth;
    unsigned schema;  /* depth of the outermost element that declares the schema, 0: none is open */
    unsigned server;  /* depth of the Server that is open, 0: none is */
    enum child child; /* of that Server, that is open */
    struct {
        bool mobilesync;
        bool nested;  /* elements stand inside its texts */
        size_t first; /* of its places */
    } now;            /* that Server */
    struct buf texts;
    size_t count;
    struct place places[AUTODISCOVER_TEXTS_MAX + 1]; /* the last is for what turns out to be a Type */
};

/* ---- reading ---- */

/* The first failure stays. expat finishes what it has begun, so handlers look at rc first. */
static void fail(struct reader *r, int rc, const char *problem)
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

static const char *local_name(const char *name)
{
    const char *colon = strrchr(name, ':');
    return colon != NULL ? colon + 1 : name;
}

/* Whatever prefix it gives it: servers differ, and some use others than they declare. */
static bool declares_schema(const char **attributes)
{
    for (; attributes[0] != NULL; attributes += 2) {
        const char *name = attributes[0];
        bool declares = strcmp(name, "xmlns") == 0 || strncmp(name, "xmlns:", 6) == 0;
        if (declares && strcasestr(attributes[1], schema_name) != NULL)
            return true;
    }
    return false;
}

static enum child find_child(const char *name)
{
    for (int c = CHILD_NONE + 1; c < CHILDREN; c++) {
        if (strcasecmp(name, child_names[c]) == 0)
            return (enum child)c;
    }
    return CHILD_NONE;
}

static void open_child(struct reader *r, const char *name)
{
    r->child = find_child(name);
    if (r->child == CHILD_NONE)
        return;
    struct place *p = &r->places[r->count];
    p->child = r->child;
    p->from = (size_t)XML_GetCurrentByteIndex(r->parser) + (size_t)XML_GetCurrentByteCount(r->parser);
    p->text = r->texts.len;
}

static void on_start(void *owner, const char *name, const char **attributes)
{
    struct reader *r = owner;
    if (r->rc < 0)
        return;
    r->depth++;
    name = local_name(name);
    if (r->depth > AUTODISCOVER_DEPTH_MAX) {
        fail(r, ERR_TOO_BIG, "elements are nested too deep");
        return;
    }
    if (r->schema == 0 && declares_schema(attributes))
        r->schema = r->depth;
    bool is_server = r->schema > 0 && strcasecmp(name, "Server") == 0;
    if (is_server && r->server > 0) {
        fail(r, ERR_UNSUPPORTED, "a Server stands inside another");
    } else if (is_server) {
        r->server = r->depth;
        r->now.mobilesync = r->now.nested = false;
        r->now.first = r->count;
    } else if (r->child != CHILD_NONE) {
        r->now.nested = true;
    } else if (r->server > 0 && r->depth == r->server + 1) {
        open_child(r, name);
    }
}

static void on_text(void *owner, const char *s, int len)
{
    struct reader *r = owner;
    if (r->rc < 0 || r->child == CHILD_NONE || r->depth != r->server + 1)
        return;
    if (buf_append(&r->texts, s, (size_t)len) < 0)
        fail(r, ERR_TOO_BIG, "a text is too long");
}

/* Makes the text of the place the string that it says, without blanks around it. */
static const char *finish_text(struct reader *r, struct place *p)
{
    const uint8_t *data = r->texts.data;
    while (r->texts.len > p->text && is_blank((char)data[r->texts.len - 1]))
        r->texts.len--;
    while (p->text < r->texts.len && is_blank((char)data[p->text]))
        p->text++;
    if (buf_append(&r->texts, "", 1) < 0) {
        fail(r, ERR_TOO_BIG, "a text is too long");
        return "";
    }
    return (const char *)r->texts.data + p->text;
}

static void close_child(struct reader *r)
{
    struct place *p = &r->places[r->count];
    size_t before = p->text;
    const char *text = finish_text(r, p);
    if (r->child == CHILD_TYPE) {
        /* Of several Types a client may take any. */
        r->now.mobilesync = r->now.mobilesync || strcasecmp(text, type_name) == 0;
        r->texts.len = before;
    } else if (text[0] != '\0' && r->count == AUTODISCOVER_TEXTS_MAX) {
        fail(r, ERR_TOO_BIG, "there are too many Urls and Names");
    } else if (text[0] != '\0') {
        p->to = (size_t)XML_GetCurrentByteIndex(r->parser);
        r->count++;
    }
    r->child = CHILD_NONE;
}

static void close_server(struct reader *r)
{
    r->server = 0;
    if (!r->now.mobilesync)
        r->count = r->now.first;
    else if (r->now.nested)
        fail(r, ERR_UNSUPPORTED, "elements stand in a Type, Url or Name");
}

static void on_end(void *owner, const char *name)
{
    struct reader *r = owner;
    (void)name; /* expat has compared it */
    if (r->rc < 0)
        return;
    if (r->child != CHILD_NONE && r->depth == r->server + 1)
        close_child(r);
    else if (r->server == r->depth)
        close_server(r);
    if (r->schema == r->depth)
        r->schema = 0;
    r->depth--;
}

/* Whatever stands in a DOCTYPE makes entities and default attributes: texts that are not in the document. */
static void on_doctype(void *owner, const char *name, const char *system, const char *public,
                       int has_declarations)
{
    (void)name;
    (void)system;
    (void)public;
    if (has_declarations)
        fail(owner, ERR_UNSUPPORTED, "the DOCTYPE holds declarations");
}

/* Behind a DOCTYPE with an identifier: an entity of the DTD that is not read. */
static void on_skipped_entity(void *owner, const char *name, int is_parameter)
{
    (void)name;
    (void)is_parameter;
    fail(owner, ERR_UNSUPPORTED, "an entity that is none of the five which XML has by itself");
}

static const char encoding_problem[] = "the answer is in another encoding than UTF-8";

static void on_declaration(void *owner, const char *version, const char *encoding, int standalone)
{
    (void)version;
    (void)standalone;
    if (encoding != NULL && strcasecmp(encoding, "UTF-8") != 0)
        fail(owner, ERR_UNSUPPORTED, encoding_problem);
}

/* UTF-16 and UTF-32, with a byte order mark or without: NUL stands in no other XML. */
static bool looks_wide(const uint8_t *xml, size_t len)
{
    if (len < 2)
        return false;
    return xml[0] == 0 || xml[1] == 0 || (xml[0] == 0xfe && xml[1] == 0xff) ||
           (xml[0] == 0xff && xml[1] == 0xfe);
}

/* The encoding is told to expat, which then takes no other; without a salt it looks for entropy itself,
 * which these rare answers may cost. */
static XML_Parser make_parser(struct reader *r)
{
    static const XML_Memory_Handling_Suite memory = {mem_alloc, mem_realloc, free};
    XML_Parser p = XML_ParserCreate_MM("UTF-8", &memory, NULL);
    assert(p != NULL);
    XML_SetUserData(p, r);
    XML_SetElementHandler(p, on_start, on_end);
    XML_SetCharacterDataHandler(p, on_text);
    XML_SetXmlDeclHandler(p, on_declaration);
    XML_SetStartDoctypeDeclHandler(p, on_doctype);
    XML_SetSkippedEntityHandler(p, on_skipped_entity);
    return p;
}

static void read_document(struct reader *r, const uint8_t *xml, size_t len)
{
    r->parser = make_parser(r);
    if (len > AUTODISCOVER_BYTES_MAX)
        fail(r, ERR_TOO_BIG, "the answer is too big");
    else if (looks_wide(xml, len))
        fail(r, ERR_UNSUPPORTED, encoding_problem);
    else if (XML_Parse(r->parser, (const char *)xml, (int)len, XML_TRUE) != XML_STATUS_OK && r->rc == 0)
        fail(r, ERR_SYNTAX, XML_ErrorString(XML_GetErrorCode(r->parser)));
    XML_ParserFree(r->parser);
    r->parser = NULL;
}

/* ---- replacing ---- */

/* The characters that XML 1.0 has (its production 2), as one reads them: so text comes back as it was. */
static int append_escaped(struct buf *out, const uint8_t *s, size_t len)
{
    int rc = 0;
    for (size_t at = 0, n; rc == 0 && at < len; at += n) {
        uint32_t point = 0;
        n = utf8_decode(s + at, len - at, &point);
        if (n == 0 || point == 0xfffe || point == 0xffff)
            return ERR_SYNTAX;
        if (point < 0x20 && !is_blank((char)point))
            return ERR_SYNTAX;
        if (point == '&')
            rc = buf_append_str(out, "&amp;");
        else if (point == '<')
            rc = buf_append_str(out, "&lt;");
        else if (point == '>')
            rc = buf_append_str(out, "&gt;");
        else if (point == '\r')
            rc = buf_append_str(out, "&#13;");
        else
            rc = buf_append(out, s + at, n);
    }
    return rc;
}

/* Appends the document to made, with what the callback says. */
static int replace(const struct reader *r, const uint8_t *xml, size_t len, autodiscover_fn *fn, void *owner,
                   struct buf *made, size_t *changed)
{
    struct buf replacement;
    size_t copied = 0;
    int rc = 0;
    buf_init(&replacement, AUTODISCOVER_BYTES_MAX);
    for (size_t i = 0; rc == 0 && i < r->count; i++) {
        const struct place *p = &r->places[i];
        replacement.len = 0;
        if (!fn(owner, child_names[p->child], (const char *)r->texts.data + p->text, &replacement))
            continue;
        (*changed)++;
        rc = buf_append(made, xml + copied, p->from - copied);
        if (rc == 0)
            rc = append_escaped(made, replacement.data, replacement.len);
        copied = p->to;
    }
    buf_deinit(&replacement);
    return rc == 0 ? buf_append(made, xml + copied, len - copied) : rc;
}

static int deliver(const struct reader *r, const uint8_t *xml, size_t len, autodiscover_fn *fn, void *owner,
                   struct buf *out, size_t *changed, const char **problem)
{
    struct buf made;
    /* A byte becomes five at most, so looking fails at no size. */
    buf_init(&made,
             out != NULL ? out->max : len + (size_t)AUTODISCOVER_TEXTS_MAX * 5 * AUTODISCOVER_BYTES_MAX);
    int rc = replace(r, xml, len, fn, owner, &made, changed);
    if (rc == 0 && out != NULL)
        rc = buf_append(out, made.data, made.len);
    buf_deinit(&made);
    if (rc == ERR_TOO_BIG)
        *problem = "the answer is too big with what was replaced in it";
    else if (rc < 0)
        *problem = "what is to be put in place of a URL is not text that XML can hold";
    return rc;
}

int autodiscover_rewrite(const uint8_t *xml, size_t len, autodiscover_fn *fn, void *owner, struct buf *out,
                         size_t *changed, const char **why)
{
    struct reader *r = mem_zalloc(sizeof *r);
    size_t count = 0;
    buf_init(&r->texts, len);
    read_document(r, xml, len);
    int rc = r->rc;
    if (rc == 0)
        rc = deliver(r, xml, len, fn, owner, out, &count, &r->problem);
    if (rc < 0 && why != NULL)
        *why = r->problem;
    if (changed != NULL)
        *changed = rc == 0 ? count : 0;
    buf_deinit(&r->texts);
    free(r);
    return rc;
}
