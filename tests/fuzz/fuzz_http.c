/* HTTP messages. The first byte chooses what is read: '0' requests, '1' responses, '2' responses to HEAD, '3'
 * responses to CONNECT.
 *
 * Each input is read whole, byte by byte, and in odd pieces: the story has to be the same. What was
 * understood is then written down in plain form, as a relay does, and read once more: the same story again,
 * or a message means two things.
 */
#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "base/err.h"
#include "proto/hostport.h"
#include "proto/http.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define STORY_MAX (1 << 24)

struct reading {
    uint8_t mode;
    struct buf story;
    struct buf plain; /* what was understood, written anew */
    bool in_body;
    bool chunked;
    bool bodiless;
    int rc;
    size_t used;
};

static void check_field(const struct http_field *f)
{
    char user[64];
    char password[64];
    size_t len = strlen(f->value);
    for (const char *p = f->name; *p != '\0'; p++)
        assert(*p > ' ' && *p < 0x7f && strchr("\"(),/:;<=>?@[\\]{}", *p) == NULL);
    for (const char *p = f->value; *p != '\0'; p++)
        assert(((uint8_t)*p >= ' ' || *p == '\t') && *p != 0x7f);
    assert(f->name[0] != '\0');
    assert(len == 0 || (strchr(" \t", f->value[0]) == NULL && strchr(" \t", f->value[len - 1]) == NULL));
    http_value_has_token(f->value, "close");
    int rc = http_basic_decode(f->value, user, sizeof user, password, sizeof password);
    assert(rc < 0 ? user[0] == '\0' && password[0] == '\0' : strchr(user, ':') == NULL);
}

static void check_head(const struct reading *g, const struct http_head *h)
{
    size_t hosts;
    size_t lengths;
    struct hostport hp;
    assert(h->minor <= 1 && h->field_count <= HTTP_FIELDS_MAX);
    http_head_field(h, HTTP_NAME_HOST, &hosts);
    http_head_field(h, HTTP_NAME_CONTENT_LENGTH, &lengths);
    assert(lengths <= 1 && (h->content_length >= 0) == (lengths == 1));
    assert(!(h->chunked && (h->content_length >= 0 || h->minor == 0)));
    for (size_t i = 0; i < h->field_count; i++)
        check_field(&h->fields[i]);
    if (g->mode != 0) {
        assert(h->method == NULL && h->target == NULL && h->status >= 100 && h->status <= 999 &&
               h->status != 101);
        return;
    }
    assert(hosts <= 1);
    if (strcmp(h->method, "CONNECT") == 0)
        assert(hostport_parse(&hp, h->target, strlen(h->target), 0, NULL) == 0 && !h->chunked &&
               h->content_length <= 0);
    else
        assert(h->minor == 0 || hosts == 1);
}

static int on_head(void *owner, const struct http_head *h)
{
    struct reading *g = owner;
    check_head(g, h);
    buf_printf(&g->story, "<%s %s %u 1.%u %d %d %lld", h->method ? h->method : "", h->target ? h->target : "",
               h->status, h->minor, h->keep_alive, h->chunked, (long long)h->content_length);
    if (h->method != NULL)
        buf_printf(&g->plain, "%s %s HTTP/1.%u\r\n", h->method, h->target, h->minor);
    else
        buf_printf(&g->plain, "HTTP/1.%u %u\r\n", h->minor, h->status);
    for (size_t i = 0; i < h->field_count; i++) {
        buf_printf(&g->story, "|%s:%s", h->fields[i].name, h->fields[i].value);
        buf_printf(&g->plain, "%s:%s\r\n", h->fields[i].name, h->fields[i].value);
    }
    buf_append_str(&g->story, ">");
    buf_append_str(&g->plain, "\r\n");
    g->in_body = false;
    g->chunked = h->chunked;
    g->bodiless =
        g->mode == 2 || (g->mode != 0 && (h->status / 100 == 1 || h->status == 204 || h->status == 304));
    return 0;
}

static int on_body(void *owner, const uint8_t *data, size_t len)
{
    struct reading *g = owner;
    assert(len > 0 && !g->bodiless);
    if (!g->in_body)
        buf_append_str(&g->story, "body=");
    g->in_body = true;
    buf_append(&g->story, data, len);
    if (g->chunked)
        buf_printf(&g->plain, "%zx\r\n", len);
    buf_append(&g->plain, data, len);
    if (g->chunked)
        buf_append_str(&g->plain, "\r\n");
    return 0;
}

static const struct http_events events = {on_head, on_body};

static void end_message(struct reading *g)
{
    buf_append_str(&g->story, "done");
    if (g->rc == HTTP_DONE && g->chunked && !g->bodiless)
        buf_append_str(&g->plain, "0\r\n\r\n");
}

/* Pieces of 1 to `step` bytes, in an order that looks random and always is the same; step 0: whole. */
static void read_all(struct reading *g, uint8_t mode, const uint8_t *data, size_t size, size_t step)
{
    static const char *const expect[] = {NULL, "GET", "HEAD", "CONNECT"};
    uint32_t seed = 1;
    size_t stop = 0;
    memset(g, 0, sizeof *g);
    g->mode = mode;
    buf_init(&g->story, STORY_MAX);
    buf_init(&g->plain, STORY_MAX);
    struct http_reader *r = http_reader_new(mode == 0 ? HTTP_REQUEST : HTTP_RESPONSE, &events, g);
    if (mode != 0)
        http_reader_expect(r, expect[mode]);
    while (g->rc >= 0 && g->rc != HTTP_UPGRADE && g->used < size) {
        size_t used;
        seed = seed * 1664525 + 1013904223;
        if (g->used == stop)
            stop += step == 0 ? size : 1 + (seed >> 16) % step;
        size_t n = (stop < size ? stop : size) - g->used;
        g->rc = http_reader_feed(r, data + g->used, n, &used);
        assert(used <= n && (g->rc != HTTP_MORE || used == n));
        g->used += used;
        if (g->rc == HTTP_DONE || g->rc == HTTP_UPGRADE)
            end_message(g);
    }
    if (g->rc >= 0 && g->rc != HTTP_UPGRADE) {
        g->rc = http_reader_finish(r);
        buf_append_str(&g->story, g->rc == HTTP_DONE ? "eof" : "");
    }
    assert(g->rc >= 0 || http_reader_why(r) != NULL);
    assert(g->rc >= 0 || g->rc == ERR_SYNTAX || g->rc == ERR_TOO_BIG || g->rc == ERR_UNSUPPORTED);
    http_reader_free(r);
}

static void check_same_story(const struct reading *a, const struct reading *b)
{
    assert(a->story.len == b->story.len);
    assert(a->story.len == 0 || memcmp(a->story.data, b->story.data, a->story.len) == 0);
}

static void done_reading(struct reading *g)
{
    buf_deinit(&g->story);
    buf_deinit(&g->plain);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const size_t steps[] = {1, 5, 60};
    struct reading whole;
    struct reading other;
    if (size == 0)
        return 0;
    uint8_t mode = data[0] & 3;
    read_all(&whole, mode, data + 1, size - 1, 0);
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        read_all(&other, mode, data + 1, size - 1, steps[i]);
        assert(other.rc == whole.rc && (whole.rc < 0 || other.used == whole.used));
        check_same_story(&whole, &other);
        done_reading(&other);
    }
    read_all(&other, mode, whole.plain.data, whole.plain.len, 0);
    if (whole.rc >= 0)
        assert(other.rc == whole.rc || whole.plain.len == 0);
    check_same_story(&whole, &other);
    done_reading(&other);
    done_reading(&whole);
    return 0;
}
