/* CtxConnInfo, the XML that the Value XData carries: what a gateway logs as user and application. Called for
 * the log only; nothing is decided by it.
 */
#include <string.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "staxml_impl.h"

enum place { DOCUMENT, ROOT, SERVER_ADDRESS, USER, DOMAIN, APPLICATION, PROTOCOL, PLACES };

static const struct staxml_element elements[PLACES] = {
    [ROOT] = {"CtxConnInfo", STAXML_BIT(DOCUMENT), STAXML_HOLDS_ELEMENTS, false},
    [SERVER_ADDRESS] = {"ServerAddress", STAXML_BIT(ROOT), STAXML_HOLDS_TEXT, false},
    [USER] = {"UserName", STAXML_BIT(ROOT), STAXML_HOLDS_TEXT, false},
    [DOMAIN] = {"UserDomain", STAXML_BIT(ROOT), STAXML_HOLDS_TEXT, false},
    [APPLICATION] = {"ApplicationName", STAXML_BIT(ROOT), STAXML_HOLDS_TEXT, false},
    [PROTOCOL] = {"Protocol", STAXML_BIT(ROOT), STAXML_HOLDS_TEXT, false},
};

/* Cut behind a whole character. */
static void copy_cut(char *dst, size_t cap, const char *text, size_t len)
{
    size_t used = 0;
    while (used < len) {
        size_t n = utf8_decode(text + used, len - used, NULL);
        if (n == 0 || n >= cap - used)
            break;
        used += n;
    }
    memcpy(dst, text, used);
    dst[used] = '\0';
}

static void on_open(struct staxml_reader *r, unsigned place, const char **attributes)
{
    (void)r;
    (void)place;
    (void)attributes;
}

static void on_close(struct staxml_reader *r, unsigned place, const char *text, size_t len)
{
    struct staxml_conninfo *c = r->owner;
    switch (place) {
    case SERVER_ADDRESS:
        copy_cut(c->server_address, sizeof c->server_address, text, len);
        break;
    case USER:
        copy_cut(c->user, sizeof c->user, text, len);
        break;
    case DOMAIN:
        copy_cut(c->domain, sizeof c->domain, text, len);
        break;
    case APPLICATION:
        copy_cut(c->application, sizeof c->application, text, len);
        break;
    case PROTOCOL:
        copy_cut(c->protocol, sizeof c->protocol, text, len);
        break;
    default:
        break;
    }
}

int staxml_parse_conninfo(struct staxml_conninfo *out, const char *data, size_t len)
{
    static const struct staxml_vocabulary vocabulary = {elements, PLACES, on_open, on_close};
    const char *why;
    memset(out, 0, sizeof *out);
    struct staxml_reader *r = staxml_reader_new(&vocabulary, out);
    int rc = staxml_read(r, data, len, &why);
    free(r);
    if (rc == 0)
        return 0;
    memset(out, 0, sizeof *out);
    return ERR_SYNTAX; /* a limit that is reached is no other case for the log */
}
