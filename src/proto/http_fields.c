/* Reading what HTTP fields hold: lists of tokens, credentials. Called by the doors and the HTTP services with
 * values that a reader of http.c has checked; knows nothing of messages. Credentials pass through no buffer
 * of its own.
 */
#include "proto/http.h"

#include <assert.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/err.h"
#include "base/mem.h"

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static const struct name {
    const char *text;
    size_t len;
} names[HTTP_NAME_COUNT + 1] = {
#define HTTP_NAME(id, text) [HTTP_NAME_##id] = {text, sizeof text - 1},
    HTTP_NAMES(HTTP_NAME)
#undef HTTP_NAME
}; /* behind the last one: a row of length 0 */

static uint8_t first_of_length[32]; /* 0: there is none */

/* made before main: see tls.c */
__attribute__((constructor)) static void find_lengths(void)
{
    for (unsigned i = HTTP_NAME_COUNT - 1; i > HTTP_NAME_OTHER; i--) {
        assert(names[i].len < sizeof first_of_length && names[i].len >= names[i - 1].len);
        first_of_length[names[i].len] = (uint8_t)i;
    }
}

enum http_name http_name_of(const char *text, size_t len)
{
    unsigned i = len < sizeof first_of_length ? first_of_length[len] : 0;
    while (i != HTTP_NAME_OTHER && names[i].len == len) {
        if (strncasecmp(names[i].text, text, len) == 0)
            return (enum http_name)i;
        i++;
    }
    return HTTP_NAME_OTHER;
}

const char *http_head_field(const struct http_head *head, enum http_name name, size_t *count)
{
    const char *value = NULL;
    size_t n = 0;
    for (size_t i = 0; i < head->field_count; i++) {
        if (head->fields[i].known == name) {
            value = head->fields[i].value;
            n++;
        }
    }
    if (count != NULL)
        *count = n;
    return n == 1 ? value : NULL;
}

size_t http_host_name_len(const char *host)
{
    const char *bracket = host[0] == '[' ? strchr(host, ']') : NULL;
    if (bracket != NULL)
        return (size_t)(bracket - host) + 1;
    return strcspn(host, ":");
}

bool http_value_has_token(const char *value, const char *token)
{
    size_t want = strlen(token);
    while (*value != '\0') {
        while (is_blank(*value) || *value == ',')
            value++;
        size_t len = strcspn(value, ",");
        size_t bare = len;
        while (bare > 0 && is_blank(value[bare - 1]))
            bare--;
        if (bare > 0 && bare == want && strncasecmp(value, token, want) == 0)
            return true;
        value += len;
    }
    return false;
}

const char *http_auth_param(const char *value, const char *scheme)
{
    size_t len = strlen(scheme);
    if (strncasecmp(value, scheme, len) != 0 || (value[len] != '\0' && value[len] != ' '))
        return NULL;
    value += len;
    while (*value == ' ')
        value++;
    return value;
}

/* Where decoded bytes go: up to the first colon into the user name, then into the password. */
struct credentials {
    char *dst;
    size_t cap;
    size_t len;
    char *password;
    size_t password_cap;
    bool colon;
};

static int put_byte(struct credentials *c, char byte)
{
    if (byte == '\0')
        return ERR_SYNTAX;
    if (byte == ':' && !c->colon) {
        c->dst[c->len] = '\0';
        c->colon = true;
        c->dst = c->password;
        c->cap = c->password_cap;
        c->len = 0;
        return 0;
    }
    if (c->len + 1 >= c->cap)
        return ERR_TOO_BIG;
    c->dst[c->len++] = byte;
    return 0;
}

/* The value of a base64 digit (RFC 4648, section 4), -1 if it is none. */
static int digit_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Padding is complete or absent, and the bits it stands for are zero. */
static bool ends_well(const char *rest, size_t digits, unsigned bits)
{
    static const char *const padding[] = {"", NULL, "==", "="};
    const char *wanted = padding[digits % 4];
    return wanted != NULL && bits == 0 && (*rest == '\0' || strcmp(rest, wanted) == 0);
}

static int decode_base64(const char *s, struct credentials *to)
{
    size_t digits = 0;
    unsigned held = 0;      /* bits not yet given out */
    unsigned held_bits = 0; /* how many: 0, 2, 4 or 6 */
    int value;
    for (; (value = digit_value(*s)) >= 0; s++, digits++) {
        held = held << 6 | (unsigned)value;
        held_bits += 6;
        if (held_bits < 8)
            continue;
        held_bits -= 8;
        int rc = put_byte(to, (char)(held >> held_bits & 0xff));
        if (rc < 0)
            return rc;
        held &= (1U << held_bits) - 1;
    }
    return ends_well(s, digits, held) ? 0 : ERR_SYNTAX;
}

int http_basic_decode(const char *value, char *user, size_t user_cap, char *password, size_t password_cap)
{
    assert(user_cap > 0 && password_cap > 0);
    struct credentials to = {
        .dst = user, .cap = user_cap, .password = password, .password_cap = password_cap};
    const char *coded = http_auth_param(value, "Basic");
    int rc = coded != NULL ? decode_base64(coded, &to) : ERR_SYNTAX;
    if (rc == 0 && !to.colon)
        rc = ERR_SYNTAX;
    if (rc < 0) {
        mem_wipe(user, user_cap);
        mem_wipe(password, password_cap);
        return rc;
    }
    to.dst[to.len] = '\0';
    return 0;
}

int http_basic_encode(struct buf *out, const char *user, const char *password)
{
    char *plain = mem_printf("%s:%s", user, password);
    size_t n = strlen(plain);
    int rc = buf_append_str(out, "Basic ");
    if (rc == 0)
        rc = buf_reserve(out, 4 * ((n + 2) / 3) + 1);
    if (rc == 0)
        out->len += (size_t)EVP_EncodeBlock(out->data + out->len, (const uint8_t *)plain, (int)n);
    mem_wipe(plain, n);
    free(plain);
    return rc;
}
