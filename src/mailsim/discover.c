/* Autodiscover for phones. */
#include "discover.h"

#include <expat.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define TEXT_MAX  256
#define RESPONSES "http://schemas.microsoft.com/exchange/autodiscover/"

struct reader {
    char element[TEXT_MAX];
    char address[TEXT_MAX];
    char schema[TEXT_MAX];
    unsigned requests;
    bool declared; /* a DOCTYPE: nothing that a phone sends */
};

static void on_start(void *owner, const char *name, const char **attributes)
{
    struct reader *r = owner;
    const char *colon = strrchr(name, ':');
    (void)attributes;
    mem_copy_text(r->element, sizeof r->element, colon != NULL ? colon + 1 : name);
    r->requests += strcmp(r->element, "Request") == 0;
}

static void on_end(void *owner, const char *name)
{
    struct reader *r = owner;
    (void)name;
    r->element[0] = '\0';
}

static void on_text(void *owner, const char *text, int len)
{
    struct reader *r = owner;
    char *to = strcmp(r->element, "EMailAddress") == 0               ? r->address
               : strcmp(r->element, "AcceptableResponseSchema") == 0 ? r->schema
                                                                     : NULL;
    size_t n = to != NULL ? strlen(to) : 0;
    if (to != NULL && n + (size_t)len < TEXT_MAX) {
        memcpy(to + n, text, (size_t)len);
        to[n + (size_t)len] = '\0';
    }
}

static void on_doctype(void *owner, const char *name, const char *system, const char *public, int internal)
{
    struct reader *r = owner;
    (void)name, (void)system, (void)public, (void)internal;
    r->declared = true;
}

static void append_escaped(struct buf *out, const char *text)
{
    for (; *text != '\0'; text++) {
        switch (*text) {
        case '<':
            buf_append_str(out, "&lt;");
            break;
        case '&':
            buf_append_str(out, "&amp;");
            break;
        default:
            buf_append(out, text, 1);
        }
    }
}

static void element(struct buf *out, const char *name, const char *text)
{
    buf_printf(out, "<%s>", name);
    append_escaped(out, text);
    buf_printf(out, "</%s>", name);
}

static void answer_error(struct buf *out, const char *code, const char *message)
{
    buf_append_str(out,
                   "<Response xmlns=\"" RESPONSES "responseschema/2006\"><Error Time=\"00:00:00\" Id=\"0\">");
    element(out, "ErrorCode", code);
    element(out, "Message", message);
    buf_append_str(out, "<DebugData/></Error></Response>");
}

void discover_answer(const void *request, size_t len, const char *url, const char *user, struct buf *out)
{
    struct reader *r = mem_zalloc(sizeof *r);
    XML_Parser parser = XML_ParserCreate(NULL);
    XML_SetUserData(parser, r);
    XML_SetElementHandler(parser, on_start, on_end);
    XML_SetCharacterDataHandler(parser, on_text);
    XML_SetStartDoctypeDeclHandler(parser, on_doctype);
    bool good = XML_Parse(parser, request, (int)len, 1) == XML_STATUS_OK && !r->declared;
    XML_ParserFree(parser);
    buf_append_str(out, "<?xml version=\"1.0\" encoding=\"utf-8\"?>\r\n"
                        "<Autodiscover xmlns=\"" RESPONSES "responseschema/2006\">");
    if (!good || r->requests != 1 || r->address[0] == '\0') {
        answer_error(out, "600", "Invalid Request");
    } else if (strstr(r->schema, "/mobilesync/responseschema/2006") == NULL) {
        answer_error(out, "601", "The requested schema version is not supported.");
    } else {
        buf_append_str(out, "<Response xmlns=\"" RESPONSES "mobilesync/responseschema/2006\">"
                            "<Culture>en:us</Culture><User>");
        element(out, "DisplayName", user);
        element(out, "EMailAddress", r->address);
        buf_append_str(out, "</User><Action><Settings><Server><Type>MobileSync</Type>");
        element(out, "Url", url);
        element(out, "Name", url);
        buf_append_str(out, "</Server></Settings></Action></Response>");
    }
    buf_append_str(out, "</Autodiscover>\r\n");
    free(r);
}
