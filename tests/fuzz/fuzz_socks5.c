/* SOCKS5: the same input whole, byte by byte, and cut at odd places has to end the same way, and the client
 * has to get the same bytes, but for the early two that the parser's header speaks of.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/err.h"
#include "proto/socks5.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct outcome {
    struct socks5 s;
    int rc;
    size_t used;
    uint8_t client[64];
    size_t client_len;
};

static void feed(struct outcome *o, const uint8_t *data, size_t size, size_t first, size_t step)
{
    memset(o, 0, sizeof *o);
    socks5_init(&o->s);
    for (size_t stop = first; o->rc == SOCKS5_MORE && o->used < size; stop += step) {
        uint8_t reply[SOCKS5_REPLY_MAX];
        size_t used;
        size_t reply_len;
        size_t n = (stop < size ? stop : size) - o->used;
        o->rc = socks5_feed(&o->s, data + o->used, n, &used, reply, &reply_len);
        assert(used <= n && reply_len <= SOCKS5_REPLY_MAX);
        assert(o->rc != SOCKS5_MORE || used == n);
        assert(o->client_len + reply_len + SOCKS5_REPLY_MAX <= sizeof o->client);
        memcpy(o->client + o->client_len, reply, reply_len);
        o->client_len += reply_len;
        o->used += used;
    }
    if (o->rc == SOCKS5_DONE)
        o->client_len += socks5_reply(&o->s, 0, o->client + o->client_len);
}

static void check(const struct outcome *o)
{
    const struct socks5 *s = &o->s;
    uint8_t reply[SOCKS5_REPLY_MAX];
    if (o->rc < 0) {
        assert(o->rc == ERR_SYNTAX || o->rc == ERR_UNSUPPORTED);
        assert(s->state == SOCKS5_FAILED && s->why != NULL);
    } else if (o->rc == SOCKS5_DONE) {
        assert(s->state == SOCKS5_FINISHED && s->host_len > 0 && s->host[s->host_len] == '\0');
        assert(s->address_type == 1 || s->address_type == 3 || s->address_type == 4);
        assert(s->has_login == (s->method == 2));
    }
    assert(!(s->early && s->greeted));
    assert(socks5_reply(s, 1, reply) == (s->early || s->method == 0xff ? 0 : SOCKS5_REPLY_MAX));
}

/* The same bytes as a server's reply, whole and byte by byte. */
static void check_client(const uint8_t *data, size_t size)
{
    struct socks5_client whole = {0}, cut = {0};
    size_t used, one, all = 0;
    int rc = socks5_client_feed(&whole, data, size, &used), rc_cut = SOCKS5_MORE;
    while (all < size && rc_cut == SOCKS5_MORE) {
        rc_cut = socks5_client_feed(&cut, data + all, 1, &one);
        all += one;
    }
    assert(rc == rc_cut && used == all && whole.code == cut.code);
    assert(rc == SOCKS5_MORE || rc == SOCKS5_DONE || rc == ERR_SYNTAX);
    assert(used <= 7 + 255 && socks5_code_text(whole.code) != NULL);
}

static void compare(const struct outcome *a, const struct outcome *b)
{
    /* the early answer is part of the success reply, and all alone when there is none */
    size_t skip_a = a->s.early && a->rc != SOCKS5_DONE ? 2 : 0;
    size_t skip_b = b->s.early && b->rc != SOCKS5_DONE ? 2 : 0;
    assert(a->rc == b->rc && a->used == b->used && a->s.state == b->s.state);
    assert(a->s.greeted == b->s.greeted && a->s.method == b->s.method && a->s.why == b->s.why);
    assert(a->s.address_type == b->s.address_type && a->s.port == b->s.port &&
           a->s.host_len == b->s.host_len);
    assert(a->s.login_len == b->s.login_len && a->s.password_len == b->s.password_len);
    assert(memcmp(a->s.host, b->s.host, sizeof a->s.host) == 0);
    assert(memcmp(a->s.login, b->s.login, sizeof a->s.login) == 0);
    assert(memcmp(a->s.password, b->s.password, sizeof a->s.password) == 0);
    assert(a->client_len - skip_a == b->client_len - skip_b);
    assert(memcmp(a->client + skip_a, b->client + skip_b, a->client_len - skip_a) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const size_t cuts[][2] = {{1, 1}, {1, 7}, {2, 5}, {3, 100000}, {4, 3}};
    struct outcome whole;
    struct outcome parts;
    feed(&whole, data, size, size, size);
    check(&whole);
    for (size_t i = 0; i < sizeof cuts / sizeof cuts[0]; i++) {
        feed(&parts, data, size, cuts[i][0], cuts[i][1]);
        check(&parts);
        compare(&whole, &parts);
        socks5_deinit(&parts.s);
    }
    socks5_deinit(&whole.s);
    check_client(data, size);
    return 0;
}
