/* Who may sign in. */
#include "users.h"

#include <crypt.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/htpasswd.h"
#include "base/mem.h"

#define CACHE 1024 /* passwords remembered, each in one place */
#define MAC   32

struct users {
    struct htpasswd *file;
    uint8_t key[MAC];
    uint8_t cache[CACHE][MAC];
    struct crypt_data crypt;
};

static char *read_file(const char *path, size_t *len)
{
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return NULL;
    char *text = mem_alloc(HTPASSWD_BYTES_MAX + 1);
    *len = fread(text, 1, HTPASSWD_BYTES_MAX + 1, f);
    int failed = ferror(f) ? EIO : *len > HTPASSWD_BYTES_MAX ? EFBIG : 0;
    fclose(f);
    if (failed == 0)
        return text;
    free(text);
    errno = failed;
    return NULL;
}

struct users *users_load(const char *path, char *why, size_t why_cap)
{
    size_t len = 0;
    unsigned line;
    const char *mistake;
    char *text = read_file(path, &len);
    if (text == NULL) {
        snprintf(why, why_cap, "%s: %s", path, strerror(errno));
        return NULL;
    }
    struct htpasswd *file = htpasswd_parse(text, len, &line, &mistake);
    OPENSSL_cleanse(text, len);
    free(text);
    if (file == NULL) {
        snprintf(why, why_cap, "%s:%u: %s", path, line, mistake);
        return NULL;
    }
    struct users *u = mem_zalloc(sizeof *u);
    u->file = file;
    if (RAND_bytes(u->key, sizeof u->key) != 1)
        abort();
    return u;
}

void users_free(struct users *u)
{
    if (u == NULL)
        return;
    htpasswd_free(u->file);
    OPENSSL_cleanse(u, sizeof *u);
    free(u);
}

bool users_check(struct users *u, const char *name, const char *password)
{
    const char *hash = htpasswd_hash(u->file, name);
    uint8_t mac[MAC];
    char both[1024];
    unsigned mac_len = sizeof mac;
    if (hash == NULL)
        return false;
    int n = snprintf(both, sizeof both, "%s:%s", name, password);
    if (n < 0 || (size_t)n >= sizeof both)
        return false;
    HMAC(EVP_sha256(), u->key, sizeof u->key, (const uint8_t *)both, (size_t)n, mac, &mac_len);
    OPENSSL_cleanse(both, sizeof both);
    uint8_t *kept = u->cache[(mac[0] << 8 | mac[1]) % CACHE];
    if (CRYPTO_memcmp(kept, mac, MAC) == 0)
        return true;
    const char *made = crypt_rn(password, hash, &u->crypt, sizeof u->crypt);
    bool right = made != NULL && strlen(made) == strlen(hash) && CRYPTO_memcmp(made, hash, strlen(hash)) == 0;
    if (right)
        memcpy(kept, mac, MAC);
    return right;
}
