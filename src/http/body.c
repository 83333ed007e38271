/* Bytes that are wiped. */
#include "body.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"

#define BODY_FIRST 512

int body_append(struct body *b, size_t max, const void *data, size_t len)
{
    if (len > max || b->len > max - len)
        return ERR_TOO_BIG;
    if (len == 0)
        return 0;
    if (b->cap - b->len < len) {
        size_t cap = b->cap > 0 ? b->cap : BODY_FIRST;
        while (cap - b->len < len)
            cap *= 2;
        struct body grown = {.data = mem_alloc(cap), .len = b->len, .cap = cap};
        if (b->len > 0)
            memcpy(grown.data, b->data, b->len);
        body_deinit(b);
        *b = grown;
    }
    memcpy(b->data + b->len, data, len);
    b->len += len;
    return 0;
}

void body_deinit(struct body *b)
{
    if (b->data != NULL)
        mem_wipe(b->data, b->len);
    free(b->data);
    *b = (struct body){0};
}
