/* Stored ticket records out of arbitrary bytes: what decodes is whole, and encodes to the same bytes. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "sta/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t hash[RECORD_HASH] = {1, 2, 3};
    struct record_view v;
    bool peeked = record_peek(&v, data, size);
    struct record *r = record_decode(hash, data, size);
    if (r == NULL)
        return 0;
    if (!peeked || v.state != r->state || v.issued_ms != r->issued_ms || v.expires_ms != r->expires_ms ||
        v.ended_ms != r->ended_ms || v.user_len != strlen(r->user) ||
        memcmp(v.user, r->user, v.user_len) != 0 || v.device_len != strlen(r->device) ||
        memcmp(v.device, r->device, v.device_len) != 0)
        abort();
    uint8_t again[RECORD_BYTES_MAX];
    int len = record_encode(r, again);
    if (len < 0 || (size_t)len != size || memcmp(again, data, size) != 0 ||
        memcmp(r->hash, hash, RECORD_HASH) != 0)
        abort();
    ticket_class_name(r->class);
    ticket_state_name(record_state_at(r, 0));
    free(r);
    return 0;
}
