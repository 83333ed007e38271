/* Requests to mailsim's commands, one after the other for one mailbox. Each is a version, a command, and a
 * document: as it is, or put together from instructions, so that it is well-formed and made of tags that the
 * command knows. Every answer has to be a document that reads back, in tags of its version; nothing may take
 * the mailbox apart. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "command.h"

#define NOW_MS      1769860800000LL /* 2026-01-31T12:00:00Z */
#define REQUESTS    20
#define RETURNS_MAX 200000

static const unsigned versions[] = {25, 120, 121, 140, 141, 160, 161};

struct input {
    const uint8_t *at, *end;
};

static unsigned take(struct input *in)
{
    return in->at < in->end ? *in->at++ : 0;
}

static const uint8_t *take_bytes(struct input *in, size_t *len)
{
    const uint8_t *p = in->at;
    size_t left = (size_t)(in->end - in->at);
    *len = *len < left ? *len : left;
    in->at += *len;
    return p;
}

/* Texts that mean something: keys, IDs, names. */
static const char *const texts[] = {"0",     "1",
                                    "2",     "3",
                                    "7",     "8",
                                    "1:1",   "1:2",
                                    "1:7",   "8:1",
                                    "60",    "512",
                                    "Email", "Mailbox",
                                    "GAL",   "alice",
                                    "0-9",   "1:5:0",
                                    "GMT",   "20260201T090000Z",
                                    "9",     "T",
                                    "carol", "Contacts",
                                    "12",    "MS-EAS-Provisioning-WBXML"};

static void write_text(struct wbxml_writer *w, struct input *in)
{
    size_t len = take(in) % 40;
    const uint8_t *p = take_bytes(in, &len);
    if (memchr(p, 0, len) == NULL)
        wbxml_text_n(w, p, len);
}

/* A document by instructions: into an element, out of it, a text, opaque bytes. */
static void build(struct input *in, uint16_t root, struct buf *out)
{
    struct wbxml_writer w;
    uint8_t page = (uint8_t)WBXML_PAGE(root);
    unsigned depth = 1;
    bool filled = false; /* the element has a text: nothing else may come */
    wbxml_begin(&w, out);
    wbxml_open(&w, root);
    for (unsigned n = take(in); n > 0 && in->at < in->end; n--) {
        unsigned what = take(in);
        if (what % 8 == 7) {
            page = (uint8_t)(take(in) % 26);
        } else if (what % 8 <= 2 && depth < 20 && !filled) {
            uint16_t tag = WBXML_TAG(page, 5 + take(in) % 59);
            if (wbxml_tag_name(tag) != NULL) {
                wbxml_open(&w, tag);
                depth++;
            }
        } else if (what % 8 == 3 && !filled) {
            wbxml_text(&w, texts[take(in) % (sizeof texts / sizeof texts[0])]);
            filled = true;
        } else if (what % 8 == 4 && !filled) {
            write_text(&w, in);
            filled = true;
        } else if (what % 8 == 5 && !filled) {
            size_t len = take(in);
            const uint8_t *p = take_bytes(in, &len);
            wbxml_opaque(&w, p, len);
            filled = true;
        } else if (depth > 1) {
            wbxml_close(&w);
            depth--;
            filled = false;
        }
    }
    for (; depth > 0; depth--)
        wbxml_close(&w);
    wbxml_finish(&w);
}

static void check_answer(const struct call *c)
{
    struct wbxml_tree t;
    if (c->out->len == 0 || c->type != NULL)
        return;
    wbxml_tree_init(&t, RETURNS_MAX);
    assert(wbxml_parse(&t, c->out->data, c->out->len) == 0);
    for (size_t i = 0; i < t.count; i++)
        assert(wbxml_tag_name(t.nodes[i].tag) != NULL);
    wbxml_tree_deinit(&t);
}

static uint16_t root_of(unsigned command)
{
    for (unsigned page = 0; page < 26; page++) {
        for (unsigned token = 5; token < 64; token++) {
            uint16_t tag = WBXML_TAG(page, token);
            if (eas_command_of_root(tag) == command)
                return tag;
        }
    }
    return WBXML_AIRSYNC_SYNC;
}

static void ask(struct boxes *boxes, struct box *box, struct input *in, const struct personality *p)
{
    static uint16_t roots[EAS_COMMANDS];
    unsigned kind = take(in);
    struct eas_query query = {.save_in_sent = true};
    struct buf body, out, fields;
    struct wbxml_tree t;
    struct call c = {.personality = p,
                     .policy = kind & 0x10 ? POLICY_REQUIRED : POLICY_OFFERED,
                     .boxes = boxes,
                     .box = box,
                     .device = box_device(box, kind & 0x20 ? "Two" : "One", "T"),
                     .version = versions[take(in) % 7],
                     .command = take(in) % EAS_COMMANDS,
                     .query = &query,
                     .parameters = "AttachmentName=1:5:0&CollectionId=1&ItemId=1:2",
                     .multipart = (kind & 0x40) != 0,
                     .language = "",
                     .now_ms = NOW_MS,
                     .turn = kind & 0x80 ? TURN_EXPIRED : TURN_FIRST,
                     .out = &out,
                     .fields = &fields};
    if (roots[c.command] == 0)
        roots[c.command] = root_of(c.command);
    buf_init(&body, 1 << 20);
    buf_init(&out, CALL_ANSWER_MAX);
    buf_init(&fields, 16384);
    wbxml_tree_init(&t, 20000);
    if (kind % 4 == 0) {
        size_t len = take(in) << 4;
        const uint8_t *p2 = take_bytes(in, &len);
        buf_append(&body, p2, len);
        c.is_mime = (kind & 4) != 0;
    } else {
        build(in, roots[c.command], &body);
    }
    c.body = body.data;
    c.body_len = body.len;
    if (body.len > 0 && wbxml_parse(&t, body.data, body.len) == 0)
        c.root = wbxml_root(&t);
    if (!command_refused(&c))
        command_run(&c);
    assert(c.wait_s != 0 || (c.status >= 200 && c.status < 600));
    check_answer(&c);
    wbxml_tree_deinit(&t);
    buf_deinit(&body);
    buf_deinit(&out);
    buf_deinit(&fields);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, data + size};
    const struct personality *p = personality_at(take(&in) % 8);
    struct boxes *boxes = boxes_new(&(struct boxes_options){.mails = 20, .seed = 1, .newest_ms = NOW_MS});
    struct box *box = boxes_open(boxes, "alice");
    for (unsigned i = 0; i < REQUESTS && in.at < in.end; i++) {
        ask(boxes, box, &in, p);
        boxes_run_woken(boxes);
    }
    boxes_free(boxes);
    return 0;
}
