/* From bytes to a YAML document: checks that the bytes are text, refuses what a configuration does without
 * (anchors, aliases, tags, further documents, deep nesting), loads the rest with libyaml and hands it to
 * conf_schema.c. Called by conf.c; knows no schema.
 *
 * The text is parsed twice: libyaml's events show anchors and aliases, its document (which every node's place
 * comes from) does not. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "conf_impl.h"

/* ---- bytes ---------------------------------------------------------------------------------- */

/* The characters YAML 1.1 allows in a stream; a byte order mark only at the start, where it was taken off. */
static bool is_printable(uint32_t point)
{
    return point == '\t' || point == '\n' || point == '\r' || (point >= 0x20 && point < 0x7f) ||
           point == 0x85 || (point >= 0xa0 && point != 0xfeff && point != 0xfffe && point != 0xffff);
}

static bool check_text(struct conf *c, const char *text, size_t len)
{
    struct conf_mark at = {1, 1};
    for (size_t i = 0; i < len;) {
        uint32_t point;
        size_t n = utf8_decode(text + i, len - i, &point);
        if (n == 0) {
            conf_complain(c, at, "byte 0x%02x is not UTF-8: save the file as UTF-8 text",
                          (unsigned char)text[i]);
            return false;
        }
        if (!is_printable(point)) {
            conf_complain(c, at, "control character U+%04X: a configuration is text", (unsigned)point);
            return false;
        }
        if (point == '\n') {
            at.line++;
            at.column = 0;
        }
        at.column++;
        i += n;
    }
    return true;
}

/* ---- libyaml's errors ----------------------------------------------------------------------- */

/* The byte at a place that libyaml counted in characters; NUL behind the end. */
static char char_at(const char *text, size_t len, size_t index)
{
    size_t i = 0;
    while (i < len && index > 0) {
        i += utf8_decode(text + i, len - i, NULL);
        index--;
    }
    return i < len ? text[i] : '\0';
}

/* What to do about a problem, where libyaml's words leave a reader alone with it. */
static const char *advice_for(const char *problem, char found)
{
    static const struct {
        const char *problem;
        char found; /* NUL: any */
        const char *advice;
    } table[] = {
        {"found character that cannot start any token", '\t', "a tab: indent with blanks"},
        {"found character that cannot start any token", '@', "a text that starts with @ needs quotes"},
        {"found character that cannot start any token", '`', "a text that starts with ` needs quotes"},
        {"found character that cannot start any token", '%', "a text that starts with % needs quotes"},
        {"found a tab character that violates indentation", '\0', "indent with blanks"},
        {"found a tab character where an indentation space is expected", '\0', "indent with blanks"},
        {"mapping values are not allowed in this context", '\0',
         "a text with \": \" in it or a colon at its end needs quotes, or the indentation does not fit"},
        {"block sequence entries are not allowed in this context", '\0',
         "the list begins on a line of its own"},
        {"could not find expected ':'", '\0', "a key is followed by a colon and a blank"},
        {"did not find expected key", '\0', "the indentation does not fit the lines above"},
        {"did not find expected '-' indicator", '\0', "the indentation does not fit the list above"},
        {"did not find expected ',' or ']'", '\0', "a list in brackets separates its items with commas"},
        {"did not find expected ',' or '}'", '\0', "a mapping in braces separates its keys with commas"},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (strcmp(problem, table[i].problem) == 0 && (table[i].found == '\0' || table[i].found == found))
            return table[i].advice;
    return NULL;
}

static void complain_parser(struct conf *c, const yaml_parser_t *parser, const char *text, size_t len)
{
    const char *problem = parser->problem ? parser->problem : "cannot be parsed";
    struct conf_mark at = conf_mark_of(&parser->problem_mark);
    const char *advice = advice_for(problem, char_at(text, len, parser->problem_mark.index));
    const char *joint = advice ? ": " : "";

    if (!advice)
        advice = "";
    if (parser->error == YAML_MEMORY_ERROR)
        mem_fail();
    if (parser->error == YAML_READER_ERROR)
        conf_complain(c, (struct conf_mark){0}, "cannot be read: %s", problem);
    else if (parser->context && parser->context_mark.line != parser->problem_mark.line)
        conf_complain(c, at, "%s%s%s (%s that begins in line %zu)", problem, joint, advice, parser->context,
                      parser->context_mark.line + 1);
    else
        conf_complain(c, at, "%s%s%s", problem, joint, advice);
}

/* ---- the first pass: events ----------------------------------------------------------------- */

struct survey {
    int depth;
    int documents;
    bool aliases;
    bool stop; /* nothing can be laid over a schema */
};

static void survey_node(struct conf *c, struct conf_mark at, const yaml_char_t *anchor,
                        const yaml_char_t *tag)
{
    if (anchor)
        conf_complain(c, at, "anchors (&%.40s) are not used here: write the value where it is needed",
                      (const char *)anchor);
    if (tag)
        conf_complain(c, at, "tags (!...) are not used here: write the value alone");
}

static void survey_deeper(struct conf *c, struct survey *s, struct conf_mark at)
{
    if (++s->depth > CONF_DEPTH_MAX && !s->stop) {
        conf_complain(c, at, "nested deeper than %d levels", CONF_DEPTH_MAX);
        s->stop = true;
    }
}

static void survey_event(struct conf *c, struct survey *s, const yaml_event_t *event)
{
    struct conf_mark at = conf_mark_of(&event->start_mark);
    switch (event->type) {
    case YAML_DOCUMENT_START_EVENT:
        if (++s->documents == 2)
            conf_complain(c, at, "a second YAML document: a configuration is one document");
        break;
    case YAML_ALIAS_EVENT:
        s->aliases = true;
        conf_complain(c, at, "aliases (*%.40s) are not used here: write the value out",
                      (const char *)event->data.alias.anchor);
        break;
    case YAML_SCALAR_EVENT:
        survey_node(c, at, event->data.scalar.anchor, event->data.scalar.tag);
        break;
    case YAML_SEQUENCE_START_EVENT:
        survey_node(c, at, event->data.sequence_start.anchor, event->data.sequence_start.tag);
        survey_deeper(c, s, at);
        break;
    case YAML_MAPPING_START_EVENT:
        survey_node(c, at, event->data.mapping_start.anchor, event->data.mapping_start.tag);
        survey_deeper(c, s, at);
        break;
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        s->depth--;
        break;
    default:
        break;
    }
}

static void start_parser(yaml_parser_t *parser, const char *text, size_t len)
{
    if (!yaml_parser_initialize(parser))
        mem_fail();
    yaml_parser_set_encoding(parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(parser, (const unsigned char *)text, len);
}

static void survey_text(struct conf *c, struct survey *s, const char *text, size_t len)
{
    yaml_parser_t parser;
    bool end = false;

    start_parser(&parser, text, len);
    while (!end && !s->stop) {
        yaml_event_t event;
        if (!yaml_parser_parse(&parser, &event)) {
            complain_parser(c, &parser, text, len);
            s->stop = true;
            break;
        }
        survey_event(c, s, &event);
        end = event.type == YAML_STREAM_END_EVENT;
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
}

/* ---- the second pass: the document ---------------------------------------------------------- */

void conf_load_text(struct conf *c, const char *text, size_t len, void *out)
{
    static const char bom[] = "\xef\xbb\xbf";
    if (len >= 3 && memcmp(text, bom, 3) == 0) {
        text += 3;
        len -= 3;
    }
    struct survey s = {0};
    if (!check_text(c, text, len))
        return;
    survey_text(c, &s, text, len);
    if (s.stop)
        return;

    yaml_parser_t parser;
    yaml_document_t doc;
    start_parser(&parser, text, len);
    if (yaml_parser_load(&parser, &doc)) {
        conf_schema_read(c, &doc, out);
        yaml_document_delete(&doc);
    } else if (conf_ok(c)) {
        /* an alias without an anchor fails here too, but was complained about already */
        complain_parser(c, &parser, text, len);
    }
    yaml_parser_delete(&parser);
}
