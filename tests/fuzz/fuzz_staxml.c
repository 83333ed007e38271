/* Any bytes as an STA message: what is refused leaves nothing behind, what is taken keeps the limits and
 * comes back the same after it was written. The same bytes, and every Value, as CtxConnInfo. */
#include <assert.h>
#include <string.h>

#include "../unit/staxml_util.h"
#include "base/err.h"
#include "base/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_utf8(const char *s)
{
    size_t len = strlen(s);
    for (size_t at = 0, n; at < len; at += n) {
        n = utf8_decode(s + at, len - at, NULL);
        assert(n > 0);
    }
}

static void check_conninfo(const char *data, size_t len)
{
    static const struct staxml_conninfo nothing;
    struct staxml_conninfo c;
    memset(&c, 0xff, sizeof c);
    int rc = staxml_parse_conninfo(&c, data, len);
    assert(rc == 0 || (rc == ERR_SYNTAX && memcmp(&c, &nothing, sizeof c) == 0));
    if (rc == 0) {
        check_utf8(c.server_address);
        check_utf8(c.user);
        check_utf8(c.domain);
        check_utf8(c.application);
        check_utf8(c.protocol);
    }
}

static void check_strings(const struct staxml *m)
{
    assert(m->value_count <= STAXML_VALUES_MAX && m->facts.service_count <= STAXML_SERVICES_MAX);
    for (size_t i = 0; i < m->value_count; i++) {
        assert(strlen(m->values[i].value) <= STAXML_TEXT_MAX && m->values[i].name[0] != '\0');
        check_utf8(m->values[i].name);
        check_utf8(m->values[i].value);
        check_conninfo(m->values[i].value, strlen(m->values[i].value));
    }
    for (size_t i = 0; i < m->facts.service_count; i++)
        check_utf8(m->facts.services[i]);
}

/* What is right about a message whatever it says. */
static void check_sense(const struct staxml *m)
{
    size_t ticket = strlen(m->ticket);
    bool names_ticket = m->kind == STAXML_REQUEST_DATA || m->kind == STAXML_REQUEST_REFRESH ||
                        (m->kind == STAXML_RESPONSE_TICKET && m->error == STAXML_ERROR_NONE);
    assert(m->kind < STAXML_KINDS && m->error < STAXML_ERRORS);
    assert(names_ticket ? ticket == 30 || ticket == 32 : ticket == 0);
    assert(m->error == STAXML_ERROR_NONE || m->kind >= STAXML_RESPONSE_TICKET);
    assert(m->kind != STAXML_RESPONSE_ERROR || m->error != STAXML_ERROR_NONE);
    assert(m->error == STAXML_ERROR_NONE || (m->authority[0] == '\0' && m->value_count == 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct staxml nothing;
    struct staxml m, again;
    const char *why = NULL;

    check_conninfo((const char *)data, size);
    memset(&m, 0xff, sizeof m);
    int rc = staxml_parse(&m, (const char *)data, size, &why);
    if (rc < 0) {
        assert(rc == ERR_SYNTAX || rc == ERR_TOO_BIG || rc == ERR_UNSUPPORTED);
        assert(why != NULL && memcmp(&m, &nothing, sizeof m) == 0);
        return 0;
    }
    check_sense(&m);
    check_strings(&m);
    struct buf out;
    buf_init(&out, SIZE_MAX);
    rc = staxml_write(&out, &m);
    assert(rc == 0 || (rc == ERR_TOO_BIG && out.len == 0)); /* escaping makes it longer */
    if (rc == 0) {
        rc = staxml_parse(&again, (const char *)out.data, out.len, &why);
        assert(rc == 0 && staxml_same(&m, &again));
        staxml_free(&again);
    }
    buf_deinit(&out);
    staxml_free(&m);
    return 0;
}
