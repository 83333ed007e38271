/* What a server answers a phone: the first byte chooses the step, then come answers, each with a byte for the
 * HTTP status, two for the length, and that many of body. Whatever comes, the device asks on or ends its
 * step, in a bounded number of requests, and what it asks is a document. */
#include <assert.h>
#include <string.h>

#include "device.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct device_options options = {.type = "Test",
                                              .agent = "test/1",
                                              .system = "none",
                                              .path = "/",
                                              .ceiling = 161,
                                              .folders = 15,
                                              .heartbeat_s = 900,
                                              .window = 50,
                                              .truncation = 20000,
                                              .mail_bytes = 100,
                                              .domain = "example.com"};

static void check(const struct device *d)
{
    assert(d->folder_count <= FOLDERS_MAX && d->mended < 100);
    assert(memchr(d->policy_key, '\0', sizeof d->policy_key) != NULL);
    assert(memchr(d->hierarchy, '\0', sizeof d->hierarchy) != NULL);
    for (size_t i = 0; i < d->folder_count; i++) {
        assert(d->folders[i].id[0] != '\0' && memchr(d->folders[i].id, '\0', FOLDER_ID_MAX) != NULL);
        assert(d->folders[i].key[0] != '\0' && memchr(d->folders[i].key, '\0', SYNC_KEY_MAX) != NULL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const unsigned statuses[] = {200, 200, 200, 200, 200, 449, 500, 403};
    static const unsigned versions[] = {0, 25, 121, 141};
    static struct wbxml_tree tree, sent;
    struct device d;
    struct buf body;
    const uint8_t *end = data + size;
    if (size < 4)
        return 0;
    if (tree.max == 0) {
        wbxml_tree_init(&tree, 100000);
        wbxml_tree_init(&sent, 100000);
    }
    buf_init(&body, 1 << 20);
    device_init(&d, &options, "alice", "Phone1");
    d.version = versions[data[0] >> 3 & 3];
    bool known = data[0] & 0x80;
    unsigned step = data[0] & 7;
    data++;
    for (unsigned round = 0; round < 8 && data + 3 <= end; round++) {
        struct failure why = {.kind = ""};
        enum step now = (enum step)((step + round * known) % STEPS);
        enum device_verdict v = device_begin(&d, now, &why);
        while (v == DEVICE_AGAIN && data + 3 <= end) {
            struct device_request q;
            size_t len = (size_t)(data[1] << 8 | data[2]);
            if (len > (size_t)(end - data - 3))
                len = (size_t)(end - data - 3);
            const struct device_answer a = {.status = statuses[data[0] & 7],
                                            .versions = data[0] & 8 ? "2.5,14.1,16.1" : NULL,
                                            .type =
                                                data[0] & 16 ? "text/html" : "application/vnd.ms-sync.wbxml",
                                            .reason = data[0] & 32 ? "overloaded" : NULL,
                                            .body = data + 3,
                                            .len = len};
            data += 3 + len;
            body.len = 0;
            assert(device_ask(&d, now, &q, &body) == 0);
            if (q.type != NULL && strcmp(q.type, "application/vnd.ms-sync.wbxml") == 0)
                assert(wbxml_parse(&sent, body.data, body.len) == 0);
            v = device_answer(&d, &q, &a, &tree, &why);
            assert(v != DEVICE_FAILED || why.kind[0] != '\0');
            check(&d);
        }
    }
    device_deinit(&d);
    buf_deinit(&body);
    return 0;
}
