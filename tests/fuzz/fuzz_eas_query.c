/* Any bytes as an ActiveSync query: what is read must be in bounds, printable and reproducible; a refusal has
 * its sentence; the same request written in the other form must read the same. The bytes are also taken as a
 * list of versions and as two device IDs. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "proto/eas.h"

static void check_text(const char *s, size_t cap)
{
    size_t len = strnlen(s, cap);
    assert(len < cap);
    for (size_t i = 0; i < len; i++)
        assert((unsigned char)s[i] >= 0x20 && s[i] != 0x7f);
}

static void check_query(const struct eas_query *q)
{
    check_text(q->command_text, sizeof q->command_text);
    check_text(q->device_id, sizeof q->device_id);
    check_text(q->device_type, sizeof q->device_type);
    check_text(q->user, sizeof q->user);
    check_text(q->policy_key, sizeof q->policy_key);
    assert(q->command <= EAS_COMMANDS);
    assert(q->command == eas_command_by_name(q->command_text, strlen(q->command_text)));
    assert(q->base64 || (q->version == 0 && q->policy_key[0] == '\0' && !q->accept_multipart));
    assert(eas_same_device(q->device_id, q->device_id));
}

static size_t escape(char *dst, const char *name, const char *value)
{
    char *p = dst + sprintf(dst, "&%s=", name);
    for (; *value != '\0'; value++)
        p += sprintf(p, "%%%02x", (unsigned char)*value);
    return (size_t)(p - dst);
}

static void check_again(const struct eas_query *q)
{
    char text[4 * (3 * EAS_VALUE_MAX + 16)];
    struct eas_query again;
    size_t n = escape(text, "Cmd", q->command_text);
    n += escape(text + n, "DeviceId", q->device_id);
    n += escape(text + n, "devicetype", q->device_type);
    n += escape(text + n, "USER", q->user);
    assert(eas_query_parse(&again, text, n, NULL) == 0 && !again.base64);
    assert(again.command == q->command && strcmp(again.command_text, q->command_text) == 0);
    assert(strcmp(again.device_id, q->device_id) == 0 && strcmp(again.user, q->user) == 0);
    assert(strcmp(again.device_type, q->device_type) == 0);
}

static void check_versions(const char *list)
{
    size_t room = strlen(list) + 1;
    char *once = mem_alloc(room), *twice = mem_alloc(room), back[8];
    size_t left = eas_versions_filter(list, 120, 141, once);
    assert(eas_versions_filter(once, 120, 141, twice) == left && strcmp(once, twice) == 0);
    assert(eas_versions_filter(list, 0, 0, twice) >= left);
    unsigned version = eas_version_parse(list, strlen(list));
    eas_version_format(version, back);
    assert(version == 0 || strcmp(back, list) == 0);
    free(once);
    free(twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct eas_query q;
    const char *why = NULL;
    char *exact = mem_alloc(size), *text = mem_strndup((const char *)data, size);
    if (size > 0)
        memcpy(exact, data, size);
    int rc = eas_query_parse(&q, exact, size, &why);
    assert((rc == 0) == (why == NULL) && (rc == 0 || rc == ERR_SYNTAX || rc == ERR_TOO_BIG));
    if (rc == 0) {
        check_query(&q);
        check_again(&q);
    }
    check_versions(text);
    const char *second = text + strlen(text) / 3;
    assert(eas_same_device(text, second) == eas_same_device(second, text));
    free(exact);
    free(text);
    return 0;
}
