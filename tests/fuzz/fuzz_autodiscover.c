/* Any bytes as an autodiscover answer: left alone it comes back byte for byte, what is refused leaves
 * nothing behind, and what was replaced is an answer again, with as many texts that say what they were given.
 * Its texts, and the bytes themselves, as URLs. */
#include <assert.h>
#include <string.h>

#include "base/err.h"
#include "proto/autodiscover.h"
#include "proto/url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char instead[] = "https://gate.example/?a=1&b=<2>]]>\r'\"\xc3\xbc";

/* Rewritten by what it is made of, a URL leads to the same place. */
static void check_url(const char *text, size_t len)
{
    static const struct url nothing;
    struct url u, again;
    struct buf made;
    char origin[HOSTPORT_TEXT];
    if (url_parse(&u, text, len) < 0) {
        assert(memcmp(&u, &nothing, sizeof u) == 0);
        return;
    }
    assert(u.path <= len && u.origin.port != 0 && !u.origin.wildcard);
    assert(u.path == len || strchr("/?#", text[u.path]) != NULL);
    hostport_format(&u.origin, origin);
    buf_init(&made, len + HOSTPORT_TEXT + sizeof "https://");
    int rc = buf_printf(&made, "%s%s", u.tls ? "https://" : "http://", origin);
    assert(rc == 0);
    rc = buf_append(&made, text + u.path, len - u.path);
    assert(rc == 0);
    rc = url_parse(&again, (const char *)made.data, made.len);
    assert(rc == 0 && again.tls == u.tls && hostport_equal(&again.origin, &u.origin) && again.has_port);
    assert(made.len - again.path == len - u.path);
    buf_deinit(&made);
}

static bool leave(void *owner, const char *element, const char *text, struct buf *replacement)
{
    size_t *count = owner;
    (*count)++;
    assert(strcmp(element, "Url") == 0 || strcmp(element, "Name") == 0);
    assert(text[0] != '\0' && strchr(" \t\r\n", text[0]) == NULL);
    assert(replacement->len == 0);
    check_url(text, strlen(text));
    return false;
}

static bool replace(void *owner, const char *element, const char *text, struct buf *replacement)
{
    (void)owner;
    (void)element;
    (void)text;
    int rc = buf_append_str(replacement, instead);
    assert(rc == 0);
    return true;
}

static bool expect(void *owner, const char *element, const char *text, struct buf *replacement)
{
    (void)element;
    (void)replacement;
    size_t *count = owner;
    (*count)++;
    assert(strcmp(text, instead) == 0);
    return false;
}

static void check_refused(const uint8_t *data, size_t size, int code)
{
    struct buf out;
    size_t changed = 1;
    const char *why = NULL;
    buf_init(&out, 1 << 20);
    int rc = autodiscover_rewrite(data, size, replace, NULL, &out, &changed, &why);
    assert(rc == code && (rc == ERR_SYNTAX || rc == ERR_TOO_BIG || rc == ERR_UNSUPPORTED));
    assert(why != NULL && changed == 0 && out.data == NULL);
}

static void check_replaced(const uint8_t *data, size_t size, size_t count)
{
    struct buf out;
    size_t changed = 0, again = 0;
    buf_init(&out, 1 << 20);
    int rc = autodiscover_rewrite(data, size, replace, NULL, &out, &changed, NULL);
    assert(rc == 0 && changed == count);
    if (out.len <= AUTODISCOVER_BYTES_MAX) {
        rc = autodiscover_rewrite(out.data, out.len, expect, &again, NULL, &changed, NULL);
        assert(rc == 0 && again == count && changed == 0);
    }
    buf_deinit(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf out;
    size_t count = 0, changed = 1;
    const char *why = NULL;
    check_url((const char *)data, size);
    buf_init(&out, 1 << 20);
    int rc = autodiscover_rewrite(data, size, leave, &count, &out, &changed, &why);
    if (rc < 0) {
        assert(count == 0 && out.data == NULL);
        check_refused(data, size, rc);
        return 0;
    }
    assert(changed == 0 && out.len == size && memcmp(out.data, data, size) == 0);
    buf_deinit(&out);
    check_replaced(data, size, count);
    return 0;
}
