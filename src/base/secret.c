/* Reading a secret. Called when a configuration is made to run. */
#include "base/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"

static int fail(char *why, size_t why_cap, const char *path, const char *sentence)
{
    snprintf(why, why_cap, "%s: %s", path, sentence);
    return ERR_SYNTAX;
}

#define LINE_BYTES (SECRET_MAX + 1) /* the longest, with CR and LF */

/* Reads up to the first line's end or until line is full; the length, or a negated errno. */
static ssize_t read_some(const char *path, char line[LINE_BYTES])
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return -errno;
    size_t len = 0;
    ssize_t n = 0;
    while (len < LINE_BYTES && memchr(line, '\n', len) == NULL &&
           (n = read(fd, line + len, LINE_BYTES - len)) > 0)
        len += (size_t)n;
    ssize_t rc = n < 0 ? -errno : (ssize_t)len;
    close(fd);
    return rc;
}

int secret_read(const char *path, char out[SECRET_MAX], char *why, size_t why_cap)
{
    char line[LINE_BYTES];
    ssize_t n = read_some(path, line);
    int rc = n < 0 ? (int)n : 0;
    const char *end = n > 0 ? memchr(line, '\n', (size_t)n) : NULL;
    size_t len = end != NULL ? (size_t)(end - line) : n > 0 ? (size_t)n : 0;
    if (len > 0 && line[len - 1] == '\r' && (end != NULL || len < LINE_BYTES))
        len--;
    if (rc < 0)
        snprintf(why, why_cap, "%s: %s", path, strerror(-rc));
    else if (len == 0)
        rc = fail(why, why_cap, path, "its first line is empty, and should be the secret");
    else if (len >= SECRET_MAX)
        rc = fail(why, why_cap, path, "its first line is too long for a secret");
    for (size_t i = 0; rc == 0 && i < len; i++) {
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
            rc = fail(why, why_cap, path, "its first line holds control characters");
    }
    if (rc < 0)
        len = 0;
    memcpy(out, line, len);
    mem_wipe(line, sizeof line);
    mem_wipe(out + len, SECRET_MAX - len);
    return rc;
}
