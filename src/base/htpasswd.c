/* Parsing htpasswd files. Used by sign-in (signin_htpasswd.c), which reads the file and runs the hashes.
 * Strict: a hash that libcrypt could never give out is a mistake of the file, found here and not by a user
 * who cannot sign in. Knows nothing of files and passwords.
 */
#include "base/htpasswd.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"

#define BCRYPT_BYTES  60 /* "$2b$12$", 22 characters of salt, 31 of hash */
#define BCRYPT_SALT   7
#define SHA512_SALT   16
#define SHA512_HASH   86
#define SHA512_ROUNDS 5000 /* where the hash does not say */

bool htpasswd_name_valid(const char *name, size_t len)
{
    if (len == 0 || len > HTPASSWD_NAME_MAX)
        return false;
    for (size_t i = 0; i < len;) {
        uint32_t point;
        size_t n = utf8_decode(name + i, len - i, &point);
        if (n == 0 || point < 0x20 || (point >= 0x7f && point < 0xa0))
            return false;
        i += n;
    }
    return true;
}

struct user {
    const char *name; /* both into text */
    const char *hash;
    unsigned line;
    uint32_t cost; /* bcrypt's as it is, SHA-512's rounds: these begin at 1000, so the two do not meet */
};

struct htpasswd {
    char *text; /* owned; the file, NULs put behind names and hashes */
    size_t len;
    struct user *users; /* owned; sorted by name */
    size_t count;
    char decoy[HTPASSWD_DECOY_BYTES];
};

/* ---- hashes ---- */

static const char alphabet[] = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

static bool all_of_alphabet(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (s[i] == '\0' || strchr(alphabet, s[i]) == NULL)
            return false;
    return true;
}

static bool digit(char c)
{
    return c >= '0' && c <= '9';
}

/* The last characters of salt and hash hold 2 and 4 bits: only some of the alphabet occur there. bcrypt's own
 * order of it begins "./A-Za-z0-9". */
static const char *check_bcrypt(const char *hash, uint32_t *cost)
{
    if (strlen(hash) != BCRYPT_BYTES)
        return "a bcrypt hash has 60 characters";
    if (!digit(hash[4]) || !digit(hash[5]) || hash[6] != '$')
        return "a bcrypt hash goes on with its cost, such as $2y$12$";
    *cost = (uint32_t)(hash[4] - '0') * 10 + (uint32_t)(hash[5] - '0');
    if (*cost < 4)
        return "bcrypt's cost is at least 04";
    if (*cost > HTPASSWD_BCRYPT_MAX)
        return "a bcrypt cost above 16 takes too long for signing in";
    if (!all_of_alphabet(hash + BCRYPT_SALT, BCRYPT_BYTES - BCRYPT_SALT))
        return "a character that no bcrypt hash has";
    if (strchr(".Oeu", hash[28]) == NULL || strchr(".CGKOSWaeimquy26", hash[59]) == NULL)
        return "the bcrypt hash is damaged: no password gives it";
    return NULL;
}

/* "rounds=N$" at *p, if it is there; then *p is moved behind it. */
static const char *check_rounds(const char **p, uint32_t *rounds)
{
    static const char prefix[] = "rounds=";
    *rounds = SHA512_ROUNDS;
    if (strncmp(*p, prefix, sizeof prefix - 1) != 0)
        return NULL;
    const char *s = *p + sizeof prefix - 1;
    uint32_t n = 0;
    if (*s == '0')
        return "the number of rounds begins with 0";
    for (; digit(*s) && n <= HTPASSWD_SHA512_MAX; s++)
        n = n * 10 + (uint32_t)(*s - '0');
    if (n > HTPASSWD_SHA512_MAX)
        return "more than 10,000,000 rounds take too long for signing in";
    if (*s != '$')
        return "a $ is missing behind the number of rounds";
    if (n < 1000)
        return "SHA-512 crypt has at least 1000 rounds";
    *rounds = n;
    *p = s + 1;
    return NULL;
}

static const char *check_sha512(const char *hash, uint32_t *cost)
{
    const char *p = hash + 3;
    const char *why = check_rounds(&p, cost);
    if (why)
        return why;
    size_t salt = strcspn(p, "$");
    if (salt == 0 || salt > SHA512_SALT)
        return "the salt of a SHA-512 crypt hash has 1 to 16 characters";
    for (size_t i = 0; i < salt; i++)
        if (p[i] <= ' ' || p[i] > '~' || p[i] == ':')
            return "a character that no salt has";
    p += salt;
    if (*p != '$' || strlen(p + 1) != SHA512_HASH)
        return "86 characters stand behind the salt of a SHA-512 crypt hash";
    if (!all_of_alphabet(p + 1, SHA512_HASH))
        return "a character that no SHA-512 crypt hash has";
    if (strchr("./01", p[SHA512_HASH]) == NULL) /* two bits */
        return "the SHA-512 crypt hash is damaged: no password gives it";
    return NULL;
}

static bool is_bcrypt(const char *hash)
{
    return strncmp(hash, "$2a$", 4) == 0 || strncmp(hash, "$2b$", 4) == 0 || strncmp(hash, "$2y$", 4) == 0;
}

static const char *check_hash(const char *hash, uint32_t *cost)
{
    if (is_bcrypt(hash))
        return check_bcrypt(hash, cost);
    if (strncmp(hash, "$6$", 3) == 0)
        return check_sha512(hash, cost);
    if (*hash == '\0')
        return "no hash behind the name";
    return "the hash is neither bcrypt ($2y$, made by htpasswd -B) nor SHA-512 crypt ($6$)";
}

/* ---- lines ---- */

/* NULL: fine, and *u filled unless the line says nothing (u->name NULL). The line is NUL-terminated and is
 * cut in two. */
static const char *parse_line(char *line, size_t len, struct user *u)
{
    *u = (struct user){0};
    if (strlen(line) != len)
        return "a NUL byte";
    if (len > 0 && line[len - 1] == '\r') /* an editor's line end */
        line[--len] = '\0';
    size_t blanks = strspn(line, " \t");
    if (line[blanks] == '\0' || line[blanks] == '#')
        return NULL;
    if (strncmp(line, "\xef\xbb\xbf", 3) == 0)
        return "a byte order mark: save the file without it";
    char *colon = strchr(line, ':');
    if (colon == NULL)
        return "no colon: a line is NAME:HASH";
    size_t name_len = (size_t)(colon - line);
    if (name_len == 0)
        return "no name before the colon";
    if (name_len > HTPASSWD_NAME_MAX)
        return "a name has at most 255 bytes";
    if (blanks > 0 || colon[-1] == ' ' || colon[-1] == '\t')
        return "a blank before or behind the name";
    if (!htpasswd_name_valid(line, name_len))
        return "the name is not UTF-8, or has a control character";
    *colon = '\0';
    const char *why = check_hash(colon + 1, &u->cost);
    if (why == NULL) {
        u->name = line;
        u->hash = colon + 1;
    }
    return why;
}

/* Stops at the first mistake. */
static const char *parse_lines(struct htpasswd *h, unsigned *line)
{
    size_t room = 0;
    char *at = h->text, *end = h->text + h->len;
    for (*line = 1; at < end; ++*line) {
        char *stop = memchr(at, '\n', (size_t)(end - at));
        if (stop == NULL)
            stop = end; /* a NUL is there */
        *stop = '\0';
        struct user u;
        const char *why = parse_line(at, (size_t)(stop - at), &u);
        if (why)
            return why;
        at = stop + 1;
        if (u.name == NULL)
            continue;
        if (h->count == HTPASSWD_USERS_MAX)
            return "more than 10,000 users";
        if (h->count == room)
            h->users = mem_realloc(h->users, (room = room ? 2 * room : 16) * sizeof *h->users);
        u.line = *line;
        h->users[h->count++] = u;
    }
    return NULL;
}

static int compare_users(const void *a, const void *b)
{
    const struct user *x = a, *y = b;
    int names = strcmp(x->name, y->name);
    return names ? names : (x->line > y->line) - (x->line < y->line);
}

/* The first line that repeats a name; 0: none does. The users are sorted. */
static unsigned repeated_line(const struct htpasswd *h)
{
    unsigned line = 0;
    for (size_t i = 1; i < h->count; i++)
        if (strcmp(h->users[i - 1].name, h->users[i].name) == 0 && (line == 0 || h->users[i].line < line))
            line = h->users[i].line;
    return line;
}

/* ---- the decoy ---- */

static int compare_costs(const void *a, const void *b)
{
    const uint32_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* The most common cost; of equally common ones the highest. */
static uint32_t common_cost(const struct htpasswd *h)
{
    uint32_t best = 10; /* htpasswd without users: of no matter, as nobody is known */
    size_t best_run = 0, run = 0;
    uint32_t *costs = mem_alloc(h->count * sizeof *costs);
    for (size_t i = 0; i < h->count; i++)
        costs[i] = h->users[i].cost;
    if (h->count > 0)
        qsort(costs, h->count, sizeof *costs, compare_costs);
    for (size_t i = 0; i < h->count; i++) {
        run = i > 0 && costs[i] == costs[i - 1] ? run + 1 : 1;
        if (run >= best_run) {
            best_run = run;
            best = costs[i];
        }
    }
    free(costs);
    return best;
}

static void make_decoy(struct htpasswd *h)
{
    uint32_t cost = common_cost(h);
    if (cost < 1000)
        snprintf(h->decoy, sizeof h->decoy, "$2y$%02u$0123456789abcdefghijkO", cost);
    else
        snprintf(h->decoy, sizeof h->decoy, "$6$rounds=%u$0123456789abcdef$", cost);
}

/* ---- the whole ---- */

struct htpasswd *htpasswd_parse(const char *text, size_t len, unsigned *line, const char **why)
{
    *line = 0;
    *why = "larger than 1 MB";
    if (len > HTPASSWD_BYTES_MAX)
        return NULL;
    struct htpasswd *h = mem_zalloc(sizeof *h);
    h->text = mem_strndup(text, len);
    h->len = len;
    *why = parse_lines(h, line);
    if (h->count > 0)
        qsort(h->users, h->count, sizeof *h->users, compare_users);
    unsigned repeated = repeated_line(h);
    if (repeated) { /* of what was read: it is before any other mistake */
        *line = repeated;
        *why = "a name that was there before";
    }
    if (*why) {
        htpasswd_free(h);
        return NULL;
    }
    *line = 0;
    make_decoy(h);
    return h;
}

void htpasswd_free(struct htpasswd *h)
{
    if (h == NULL)
        return;
    mem_wipe(h->text, h->len);
    free(h->text);
    free(h->users);
    free(h);
}

size_t htpasswd_count(const struct htpasswd *h)
{
    return h->count;
}

static int compare_name(const void *name, const void *user)
{
    return strcmp(name, ((const struct user *)user)->name);
}

const char *htpasswd_hash(const struct htpasswd *h, const char *name)
{
    const struct user *u =
        h->count > 0 ? bsearch(name, h->users, h->count, sizeof *h->users, compare_name) : NULL;
    return u ? u->hash : NULL;
}

const char *htpasswd_decoy(const struct htpasswd *h)
{
    return h->decoy;
}
