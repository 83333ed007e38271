/* Both sides of a handshake, in any order and with any content: fed whole, byte by byte and in uneven pieces,
 * tlswatch must say the same.
 *
 * The input is a row of chunks: two bytes of which the first bit is the side and the rest the length, then
 * that many bytes. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "proto/tlswatch.h"

struct outcome {
    enum tlswatch_result results[4]; /* a hello of each side and a failure at most, in order */
    size_t count;
    size_t failed_at; /* bytes taken until then */
    struct tls_facts facts;
    const char *why;
};

/* One piece in memory of its own, so that reading beyond it is seen. False after a failure. */
static int feed_piece(struct tlswatch *w, enum tlswatch_side side, const uint8_t *data, size_t len,
                      struct outcome *o)
{
    uint8_t *piece = mem_alloc(len);
    memcpy(piece, data, len);
    int alive = 1;
    for (size_t at = 0; alive && at < len;) {
        size_t used = 0;
        enum tlswatch_result r = tlswatch_feed(w, side, piece + at, len - at, &used);
        assert(used <= len - at && (r != TLSWATCH_MORE || used == len - at));
        at += used;
        o->failed_at += used;
        alive = r != TLSWATCH_NOT_TLS && r != TLSWATCH_MALFORMED;
        if (r != TLSWATCH_MORE) {
            assert(o->count < sizeof o->results / sizeof o->results[0]);
            o->results[o->count++] = r;
        }
    }
    free(piece);
    return alive;
}

static void run(const uint8_t *data, size_t size, size_t step, struct outcome *o)
{
    struct tlswatch *w = tlswatch_new();
    int alive = 1;
    memset(o, 0, sizeof *o);
    while (alive && size > 2) {
        enum tlswatch_side side = data[0] & 0x80 ? TLSWATCH_SERVER : TLSWATCH_CLIENT;
        size_t len = (size_t)(data[0] & 0x7f) << 8 | data[1];
        data += 2;
        size -= 2;
        if (len > size)
            len = size;
        for (size_t at = 0, n; alive && at < len; at += n) {
            n = step == 0 ? len : 1 + at % step;
            if (n > len - at)
                n = len - at;
            alive = feed_piece(w, side, data + at, n, o);
        }
        data += len;
        size -= len;
    }
    o->facts = *tlswatch_facts(w);
    o->why = tlswatch_why(w);
    assert((o->why != NULL) == !alive);
    assert(memchr(o->facts.sni, '\0', sizeof o->facts.sni) != NULL);
    tlswatch_free(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const size_t steps[] = {1, 7};
    struct outcome whole, split;
    run(data, size, 0, &whole);
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        run(data, size, steps[i], &split);
        assert(split.count == whole.count && memcmp(split.results, whole.results, sizeof whole.results) == 0);
        assert(split.failed_at == whole.failed_at && split.why == whole.why);
        assert(memcmp(&split.facts, &whole.facts, sizeof whole.facts) == 0);
    }
    return 0;
}
