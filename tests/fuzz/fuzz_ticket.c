/* Ticket strings: what is taken is written back byte for byte, what is refused leaves nothing behind. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/err.h"
#include "proto/ticket.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct ticket_string nothing;
    struct ticket_string t;
    char text[TICKET_STRING_MAX];
    const char *why = NULL;

    memset(&t, 0xff, sizeof t);
    int rc = ticket_parse(&t, (const char *)data, size, &why);
    if (rc < 0) {
        assert(rc == ERR_SYNTAX && why != NULL);
        assert(memcmp(&t, &nothing, sizeof t) == 0);
        return 0;
    }
    assert(ticket_looks_like((const char *)data, size));
    assert(t.count == (t.version == 42 ? 2 : 1));
    ticket_format(&t, text);
    assert(strlen(text) == size && memcmp(text, data, size) == 0);
    return 0;
}
