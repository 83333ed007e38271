/* Any bytes as an htpasswd file: a file is taken or refused with a line and a sentence, the same bytes always
 * the same way; in one that is taken every user is found, has a hash of a known scheme and a decoy is there.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/htpasswd.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int truth)
{
    if (!truth)
        abort();
}

static void check_hash(const char *hash)
{
    int sha512 = strncmp(hash, "$6$", 3) == 0;
    require(sha512 || (hash[0] == '$' && hash[1] == '2' && strchr("aby", hash[2]) && hash[3] == '$'));
    require(sha512 ? strlen(hash) >= 3 + 1 + 1 + 86 : strlen(hash) == 60);
    require(hash[strcspn(hash, ": \t\r\n")] == '\0');
}

/* Each line that names somebody, found by itself; returns their number. */
static size_t check_users(const struct htpasswd *h, const char *text, size_t size)
{
    size_t users = 0;
    for (size_t at = 0; at < size;) {
        const char *end = memchr(text + at, '\n', size - at);
        size_t len = end ? (size_t)(end - text) - at : size - at;
        const char *colon = memchr(text + at, ':', len);
        size_t blanks = 0;
        while (blanks < len && strchr(" \t", text[at + blanks]) && text[at + blanks])
            blanks++;
        if (colon && text[at + blanks] != '#') {
            char name[256];
            size_t name_len = (size_t)(colon - text) - at;
            require(name_len > 0 && name_len < sizeof name);
            memcpy(name, text + at, name_len);
            name[name_len] = '\0';
            const char *hash = htpasswd_hash(h, name);
            require(hash != NULL && strncmp(hash, colon + 1, strlen(hash)) == 0);
            check_hash(hash);
            users++;
        }
        at += len + 1;
    }
    return users;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    unsigned line = 77, lines = 1;
    const char *why = "?";
    struct htpasswd *h = htpasswd_parse((const char *)data, size, &line, &why);
    for (size_t i = 0; i < size; i++)
        lines += data[i] == '\n';
    if (h == NULL) {
        require(why != NULL && *why != '\0' && line <= lines && (line > 0 || size > HTPASSWD_BYTES_MAX));
        return 0;
    }
    require(why == NULL && line == 0);
    require(check_users(h, (const char *)data, size) == htpasswd_count(h));
    require(strncmp(htpasswd_decoy(h), "$2y$", 4) == 0 || strncmp(htpasswd_decoy(h), "$6$rounds=", 10) == 0);
    require(htpasswd_hash(h, "") == NULL);
    htpasswd_free(h);
    return 0;
}
