/* LDAP filters with places, and hostile values in them. The input's first line is the filter, the rest a
 * value. A filter that is taken keeps its shape whatever is filled in: the outcome is a filter again, with as
 * many parentheses and wildcards. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "sta/ldapfilter.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int truth)
{
    if (!truth)
        abort();
}

static size_t count(const char *text, char c)
{
    size_t n = 0;
    for (; *text; text++)
        n += *text == c;
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *end = size > 0 ? memchr(data, '\n', size) : NULL;
    size_t filter_len = end ? (size_t)(end - data) : size;
    char *filter = mem_strndup((const char *)data, filter_len);
    char *value = end ? mem_strndup((const char *)end + 1, size - filter_len - 1) : mem_strdup("");
    const char *why = "?";
    struct ldapfilter_values values = {value, value, value};

    int rc = ldapfilter_check(filter, "udn", &why);
    require((rc == 0) == (why == NULL));
    if (rc == 0) {
        char *filled = ldapfilter_fill(filter, &values);
        if (strlen(filled) <= LDAPFILTER_MAX)
            require(ldapfilter_check(filled, "", &why) == 0);
        for (const char *c = "()*&|!<>~"; *c; c++)
            require(count(filled, *c) == count(filter, *c));
        require(count(filled, '%') == 0);
        free(filled);
    }
    free(filter);
    free(value);
    return 0;
}
