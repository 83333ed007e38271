/* What a Redis server may answer, as results of the ticket store's operations. The first byte is the
 * operation, the second the limit of a list or a purge; then come replies as they stand on the wire. */
#include <ctype.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/sta/store_redis_impl.h"
#include "base/err.h"

/* hiredis allocates an array before its elements have come. */
static int has_large_array(const uint8_t *data, size_t size)
{
    for (size_t i = 0, digits; i < size; i++) {
        for (digits = 0; data[i] == '*' && i + 1 + digits < size && isdigit(data[i + 1 + digits]); digits++)
            continue;
        if (digits > 4)
            return 1;
    }
    return 0;
}

static void check(const struct store_op *op, enum redis_step step)
{
    if (op->rc == ERR_STORE && op->detail == NULL)
        abort();
    if (step != REDIS_AGAIN && op->kind == STORE_LIST && op->rc == 0 &&
        (op->page == NULL || op->count < 0 || (size_t)op->count > op->query.limit))
        abort();
    if (op->verdict == REDEEM_OK && (op->kind == STORE_REDEEM || op->kind == STORE_REFRESH) &&
        op->rec == NULL)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || has_large_array(data, size))
        return 0;
    struct store_op op = {.kind = (enum store_op_kind)(data[0] % REDIS_SCRIPTS)};
    op.query.limit = 1 + data[1] % 8;
    struct redis_place place = {0};
    enum redis_step step = REDIS_AGAIN;
    redisReader *reader = redisReaderCreate();
    redisReaderFeed(reader, (const char *)data + 2, size - 2);
    void *reply = NULL;
    while (step == REDIS_AGAIN && redisReaderGetReply(reader, &reply) == REDIS_OK && reply != NULL) {
        step = redis_op_take(&op, &place, reply);
        freeReplyObject(reply);
        if (step != REDIS_AGAIN)
            check(&op, step);
    }
    redis_op_fail(&op, ERR_STORE, redis_down_lost);
    redisReaderFree(reader);
    return 0;
}
