/* The HTTP relay between a client and a mail server that are both of the fuzzer's making: requests and
 * answers.
 *
 * The first byte picks the service's settings; then blocks follow: who speaks, how many bytes (up to 255),
 * the bytes. What comes out on either side has to be messages that a strict reader takes: nothing may go on
 * that the other side could understand in another way.
 */
#include <stdlib.h>
#include <strings.h>

#include "../unit/httprelay_fixture.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int on_head(void *owner, const struct http_head *h)
{
    (void)owner;
    for (size_t i = 0; i < h->field_count; i++) {
        if (h->method != NULL && (strcasecmp(h->fields[i].name, "X-STA-Ticket") == 0 ||
                                  strcasecmp(h->fields[i].name, "Proxy-Authorization") == 0))
            abort(); /* the ticket went on */
    }
    return 0;
}

/* Whole messages, and at most one that is cut off. */
static void check(const struct buf *b, enum http_kind kind)
{
    static const struct http_events events = {.on_head = on_head};
    struct http_reader *r = http_reader_new(kind, &events, NULL);
    size_t at = 0;
    while (at < b->len) {
        size_t used;
        int rc = http_reader_feed(r, b->data + at, b->len - at, &used);
        if (rc < 0)
            abort();
        at += used;
        if (rc == HTTP_MORE)
            break;
        if (rc == HTTP_UPGRADE)
            abort();
    }
    http_reader_free(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const paths[] = {"activesync", "autodiscover", "ews"};
    static struct device_rule rule = {.action = 1, .id = "Bad*"};
    static uint8_t copy[512];
    struct fixture f;
    if (size == 0)
        return 0;
    const struct service_settings s = {
        .paths = {(void *)(uintptr_t)paths, 3},
        .devices = {&rule, data[0] & 1},
        .bind_user = (data[0] & 2) != 0,
        .activesync_floor = (data[0] & 4) != 0 ? 121 : 0,
        .max_heartbeat_ms = (data[0] & 8) != 0 ? 60000 : 0,
        .forward = (data[0] & 16) != 0 ? 7 : 0,
    };
    fixture_open(&f, &s, (data[0] & 32) != 0);
    for (size_t at = 1; at + 2 <= size;) {
        size_t n = data[at + 1], left = size - at - 2;
        n = n < left ? n : left;
        memcpy(copy, data + at + 2, n);
        switch (data[at] % 6) {
        case 0:
        case 1:
            httprelay_client_data(f.relay, copy, n, &f.out);
            break;
        case 2:
        case 3:
            httprelay_backend_data(f.relay, copy, n, &f.out);
            break;
        case 4:
            if ((n & 1) != 0)
                httprelay_client_eof(f.relay, &f.out);
            else
                httprelay_backend_eof(f.relay, (n & 2) != 0, &f.out);
            break;
        default:
            if ((n & 1) != 0)
                httprelay_late(f.relay, &f.out);
            else
                httprelay_resume(f.relay, &f.out);
            break;
        }
        httprelay_wait(f.relay);
        httprelay_beat_ms(f.relay);
        at += 2 + n;
    }
    check(&f.backend, HTTP_REQUEST);
    /* an answer to HEAD cannot be read without knowing of it */
    if (memmem(data, size, "HEAD", 4) == NULL)
        check(&f.client, HTTP_RESPONSE);
    fixture_close(&f);
    return 0;
}
