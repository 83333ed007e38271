/* Sign-in against an htpasswd file: runs the hashes, and reads the file again when it has changed. What a
 * line means is in htpasswd.c. Called on the pool's threads.
 */
#include <crypt.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "signin_impl.h"
#include "base/htpasswd.h"

/* A file as young as this may change again without its times telling. */
#define YOUNG_MS 1000

/* What tells one state of the file from another. */
struct version {
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec modified;
    struct timespec changed;
};

struct content {
    unsigned refs; /* guarded by the file's mutex */
    struct htpasswd *users;
};

struct file {
    struct signin_backend backend;
    char *path;

    pthread_mutex_t mutex;   /* guards what follows; held while reading, never while hashing */
    struct content *content; /* one reference */
    struct version version;  /* what was looked at last, good or not */
    bool young;
    struct version broken; /* what was complained of last */
    bool away;             /* complained of */
};

static struct file *file_of(struct signin_backend *b)
{
    return (struct file *)(void *)b; /* its first member */
}

/* ---- reading ---- */

static struct version version_of(const struct stat *st)
{
    return (struct version){st->st_dev, st->st_ino, st->st_size, st->st_mtim, st->st_ctim};
}

static bool same_time(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

static bool same_version(const struct version *a, const struct version *b)
{
    return a->device == b->device && a->inode == b->inode && a->size == b->size &&
           same_time(&a->modified, &b->modified) && same_time(&a->changed, &b->changed);
}

/* Against the system's clock, which stamps files; base/clock.h's may be moved. */
static bool is_young(const struct version *v)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    int64_t age_ms =
        (int64_t)(now.tv_sec - v->changed.tv_sec) * 1000 + (now.tv_nsec - v->changed.tv_nsec) / 1000000;
    return age_ms > -YOUNG_MS && age_ms < YOUNG_MS;
}

/* Reads to the end or the limit; the length or a negated errno. */
static ssize_t read_all(int fd, char *text, size_t cap)
{
    size_t len = 0;
    while (len < cap) {
        ssize_t n = read(fd, text + len, cap - len);
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        len += (size_t)n;
    }
    return (ssize_t)len;
}

/* NULL with *rc and why where it cannot be read, or says nothing that can be used. */
static struct htpasswd *read_file(const char *path, struct version *version, int *rc, char *why,
                                  size_t why_cap)
{
    struct stat st;
    struct htpasswd *users = NULL;
    char *text = NULL;
    size_t cap = HTPASSWD_BYTES_MAX + 1;
    ssize_t len = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO must not keep us */
    *rc = fd < 0 || fstat(fd, &st) < 0 ? -errno : 0;
    if (*rc == 0) {
        *version = version_of(&st);
        *rc = S_ISDIR(st.st_mode) ? -EISDIR : S_ISREG(st.st_mode) ? 0 : -EINVAL;
    }
    if (*rc == 0) {
        text = mem_alloc(cap);
        len = read_all(fd, text, cap);
        *rc = len < 0 ? (int)len : 0;
    }
    if (fd >= 0)
        close(fd);
    if (*rc < 0) {
        snprintf(why, why_cap, "%s: %s", path, *rc == -EINVAL ? "not a regular file" : strerror(-*rc));
    } else {
        unsigned line;
        const char *mistake;
        users = htpasswd_parse(text, (size_t)len, &line, &mistake);
        *rc = users ? 0 : ERR_SYNTAX;
        if (users == NULL && line > 0)
            snprintf(why, why_cap, "%s:%u: %s", path, line, mistake);
        else if (users == NULL)
            snprintf(why, why_cap, "%s: %s", path, mistake);
        mem_wipe(text, (size_t)len);
    }
    free(text);
    return users;
}

/* ---- what is in force ---- */

static void content_unref(struct content *c) /* under the mutex */
{
    if (--c->refs > 0)
        return;
    htpasswd_free(c->users);
    free(c);
}

static void file_take(struct file *f, struct htpasswd *users)
{
    if (f->content)
        content_unref(f->content);
    f->content = mem_alloc(sizeof *f->content);
    *f->content = (struct content){.refs = 1, .users = users};
}

/* The old content stays unless there is a good new one. Each state of the file is complained of once. */
static void file_refresh(struct file *f)
{
    struct stat st;
    if (stat(f->path, &st) < 0) {
        if (!f->away)
            log_message(LOG_ERROR, "signin_file", "%s: %s; what it held stays in force", f->path,
                        strerror(errno));
        f->away = true;
        return;
    }
    struct version seen = version_of(&st);
    f->away = false;
    if (same_version(&seen, &f->version) && !f->young)
        return;

    char why[SIGNIN_DETAIL_MAX];
    int rc;
    bool again = same_version(&seen, &f->version); /* only because it is young */
    struct htpasswd *users = read_file(f->path, &seen, &rc, why, sizeof why);
    if (rc == 0 || rc == ERR_SYNTAX) { /* else it is tried again: the reason may not be in the file */
        f->version = seen;
        f->young = is_young(&seen);
    }
    if (users == NULL) {
        if (!same_version(&seen, &f->broken))
            log_message(LOG_ERROR, "signin_file", "%s; what it held before stays in force", why);
        f->broken = seen;
        return;
    }
    file_take(f, users);
    if (!again)
        log_message(LOG_INFO, "signin_file", "%s was read again: %zu users", f->path, htpasswd_count(users));
}

static struct content *file_content(struct file *f)
{
    pthread_mutex_lock(&f->mutex);
    file_refresh(f);
    struct content *c = f->content;
    c->refs++;
    pthread_mutex_unlock(&f->mutex);
    return c;
}

/* ---- checking ---- */

static void htpasswd_check(struct signin_backend *b, struct signin_job *job)
{
    struct file *f = file_of(b);
    struct content *content = file_content(f);
    struct crypt_data *data = mem_zalloc(sizeof *data);
    const char *hash = job->password[0] ? htpasswd_hash(content->users, job->user) : NULL;
    const char *made = crypt_r(job->password, hash ? hash : htpasswd_decoy(content->users), data);

    if (made == NULL || made[0] == '*') {
        signin_job_end(job, SIGNIN_DOWN, "%s: this system's crypt(3) does not know the scheme of a hash",
                       f->path);
    } else if (hash && strlen(made) == strlen(hash) && CRYPTO_memcmp(made, hash, strlen(hash)) == 0) {
        job->result = SIGNIN_OK;
        job->canonical = mem_strdup(job->user);
    } else {
        job->result = SIGNIN_WRONG;
    }
    mem_wipe(data, sizeof *data);
    free(data);
    pthread_mutex_lock(&f->mutex);
    content_unref(content);
    pthread_mutex_unlock(&f->mutex);
}

static void htpasswd_close(struct signin_backend *b)
{
    struct file *f = file_of(b);
    content_unref(f->content);
    pthread_mutex_destroy(&f->mutex);
    free(f->path);
    free(f);
}

static const struct signin_ops htpasswd_ops = {.check = htpasswd_check, .free = htpasswd_close};

int signin_htpasswd_check(const char *path, char *why, size_t why_cap)
{
    struct version unused;
    int rc;
    htpasswd_free(read_file(path, &unused, &rc, why, why_cap));
    return rc;
}

int signin_htpasswd_open(struct signin_backend **out, const char *path, char *why, size_t why_cap)
{
    struct version version;
    int rc;
    struct htpasswd *users = read_file(path, &version, &rc, why, why_cap);
    if (users == NULL)
        return rc;
    struct file *f = mem_zalloc(sizeof *f);
    f->backend.ops = &htpasswd_ops;
    f->path = mem_strdup(path);
    f->version = version;
    f->young = is_young(&version);
    pthread_mutex_init(&f->mutex, NULL);
    file_take(f, users);
    *out = &f->backend;
    return 0;
}
