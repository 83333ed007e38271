/* Any bytes as the query of an ActiveSync request: whatever is taken is in normal form, and reads the same
 * when it is written again, as a plain query and, where the base64 form can say it, in that. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "proto/eas.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_text(const char *s, size_t cap)
{
    assert(memchr(s, '\0', cap) != NULL);
    for (; *s != '\0'; s++)
        assert((unsigned char)*s >= 0x20 && *s != 0x7f);
}

static void check_normal_form(const struct eas_query *q)
{
    char version[8];
    check_text(q->command_text, sizeof q->command_text);
    check_text(q->device_id, sizeof q->device_id);
    check_text(q->device_type, sizeof q->device_type);
    check_text(q->user, sizeof q->user);
    check_text(q->policy_key, sizeof q->policy_key);
    const char *name = eas_command_name(q->command);
    assert((name != NULL) == (q->command != EAS_COMMANDS));
    assert(eas_command_by_name(q->command_text, strlen(q->command_text)) == q->command);
    assert(eas_same_device(q->device_id, q->device_id));
    if (q->base64) {
        assert(q->version >= 1 && q->version <= 255 && q->command_text[0] != '\0');
        eas_version_format(q->version, version);
        assert(eas_version_parse(version, strlen(version)) == q->version);
    } else {
        assert(q->version == 0 && q->policy_key[0] == '\0' && !q->accept_multipart);
    }
}

static void check_same(const struct eas_query *a, const struct eas_query *b)
{
    assert(a->command == b->command && strcmp(a->command_text, b->command_text) == 0);
    assert(strcmp(a->device_id, b->device_id) == 0 && strcmp(a->device_type, b->device_type) == 0);
    assert(strcmp(a->user, b->user) == 0 && a->save_in_sent == b->save_in_sent);
}

static void put_parameter(struct buf *out, const char *name, const char *value)
{
    buf_printf(out, "&%s=", name);
    for (; *value != '\0'; value++)
        buf_printf(out, "%%%02x", (unsigned char)*value);
}

static void check_plain(const struct eas_query *q)
{
    struct eas_query again;
    struct buf out;
    const char *why;
    buf_init(&out, 1 << 16);
    put_parameter(&out, "uSER", q->user);
    put_parameter(&out, "%44eviceId", q->device_id);
    put_parameter(&out, "DeviceType", q->device_type);
    put_parameter(&out, "SaveInSent", q->save_in_sent ? "t" : "f");
    put_parameter(&out, "Cmd", q->command_text);
    assert(eas_query_parse(&again, (const char *)out.data, out.len, &why) == 0);
    assert(!again.base64);
    check_same(q, &again);
    assert(eas_query_parse(&again, (const char *)out.data + 1, out.len - 1, &why) == 0);
    check_same(q, &again);
    put_parameter(&out, "cMD", "");
    assert(eas_query_parse(&again, (const char *)out.data, out.len, &why) == ERR_SYNTAX && why != NULL);
    buf_deinit(&out);
}

static void put_run(struct buf *out, const char *text)
{
    buf_append(out, &(uint8_t){(uint8_t)strlen(text)}, 1);
    buf_append_str(out, text);
}

static void check_base64(const struct eas_query *q)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    struct eas_query again;
    struct buf raw, out;
    const char *why;
    buf_init(&raw, 1 << 16);
    buf_init(&out, 1 << 16);
    buf_append(&raw, (uint8_t[]){141, (uint8_t)q->command, 9, 4}, 4);
    put_run(&raw, q->device_id);
    buf_append(&raw, "", 1);
    put_run(&raw, q->device_type);
    buf_append(&raw, (uint8_t[]){7, 1, q->save_in_sent, 8}, 4);
    put_run(&raw, q->user);
    for (size_t i = 0; i < 8 * raw.len; i += 6) {
        unsigned next = i / 8 + 1 < raw.len ? raw.data[i / 8 + 1] : 0;
        unsigned digit = (raw.data[i / 8] << 8 | next) >> (10 - i % 8) & 63;
        buf_append(&out, &digits[digit], 1);
    }
    assert(eas_query_parse(&again, (const char *)out.data, out.len, &why) == 0 && again.base64);
    assert(eas_same_device(q->device_id, again.device_id));
    strcpy(again.device_id, q->device_id);
    strcpy(again.command_text, q->command_text);
    check_same(q, &again);
    buf_deinit(&raw);
    buf_deinit(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct eas_query q;
    const char *why = "";
    char *copy = mem_alloc(size + 1);
    memcpy(copy, data, size);
    int rc = eas_query_parse(&q, copy, size, &why);
    if (rc < 0) {
        assert((rc == ERR_SYNTAX || rc == ERR_TOO_BIG) && why != NULL && *why != '\0');
        assert(q.command == EAS_COMMANDS && q.command_text[0] == '\0' && q.device_id[0] == '\0' && !q.base64);
    } else {
        check_normal_form(&q);
        check_plain(&q);
        if (q.command != EAS_COMMANDS && strlen(q.device_id) < EAS_VALUE_MAX / 2)
            check_base64(&q);
    }
    /* the same bytes as what servers list */
    copy[size] = '\0';
    size_t len = strlen(copy), all = eas_versions_filter(copy, 0, 0, copy);
    assert(strlen(copy) <= len);
    assert(eas_versions_filter(copy, 0, 0, copy) == all);
    size_t some = eas_versions_filter(copy, 120, 141, copy);
    assert(some <= all && eas_versions_filter(copy, 142, 0, copy) == 0);
    free(copy);
    return 0;
}
