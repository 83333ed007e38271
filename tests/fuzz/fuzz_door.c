/* A client's first bytes inside TLS, to whichever door they lead: whole and byte by byte must come to the
 * same verdict. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "gate/door.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum door_result feed(struct door *d, const uint8_t *data, size_t size, size_t piece, size_t *taken)
{
    enum door_result r = DOOR_MORE;
    struct buf reply;
    buf_init(&reply, 1 << 16);
    *taken = 0;
    while (*taken < size && r == DOOR_MORE) {
        size_t n = size - *taken < piece ? size - *taken : piece, used = 0;
        r = door_feed(d, data + *taken, n, &used, &reply);
        *taken += used;
        if (r == DOOR_MORE && used != n)
            abort();
    }
    if (r != DOOR_MORE) {
        reply.len = 0;
        door_answer(d, r == DOOR_DONE ? REASON_OK : door_reason(d), door_detail(d), &reply);
    }
    buf_deinit(&reply);
    return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t whole_taken, split_taken;
    struct door *whole = door_new(1u << DOOR_SOCKS | 1u << DOOR_CONNECT);
    struct door *split = door_new(1u << DOOR_SOCKS | 1u << DOOR_CONNECT);
    enum door_result a = feed(whole, data, size, size, &whole_taken);
    enum door_result b = feed(split, data, size, 1, &split_taken);
    if (a != b || door_kind(whole) != door_kind(split) || door_reason(whole) != door_reason(split))
        abort();
    if (a == DOOR_DONE &&
        (whole_taken != split_taken || (door_target(whole) == NULL) != (door_target(split) == NULL)))
        abort();
    door_free(whole);
    door_free(split);
    return 0;
}
