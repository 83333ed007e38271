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

/* Reads up to the first line's end or until out is full; the length, or -1 with errno. */
static ssize_t read_some(const char *path, char out[SECRET_MAX])
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return -1;
    size_t len = 0;
    ssize_t n = 0;
    while (len < SECRET_MAX && memchr(out, '\n', len) == NULL &&
           (n = read(fd, out + len, SECRET_MAX - len)) > 0)
        len += (size_t)n;
    int error = errno;
    close(fd);
    errno = error;
    return n < 0 ? -1 : (ssize_t)len;
}

int secret_read(const char *path, char out[SECRET_MAX], char *why, size_t why_cap)
{
    ssize_t n = read_some(path, out);
    if (n < 0) {
        snprintf(why, why_cap, "%s: %s", path, strerror(errno));
        return -errno;
    }
    char *end = memchr(out, '\n', (size_t)n);
    size_t len = end != NULL ? (size_t)(end - out) : (size_t)n;
    if (len > 0 && out[len - 1] == '\r')
        len--;
    int rc = 0;
    if (len == 0)
        rc = fail(why, why_cap, path, "its first line is empty, and should be the secret");
    else if (len >= SECRET_MAX)
        rc = fail(why, why_cap, path, "its first line is too long for a secret");
    for (size_t i = 0; rc == 0 && i < len; i++) {
        if ((unsigned char)out[i] < 0x20 || out[i] == 0x7f)
            rc = fail(why, why_cap, path, "its first line holds control characters");
    }
    if (rc < 0)
        len = 0;
    mem_wipe(out + len, SECRET_MAX - len);
    return rc;
}
