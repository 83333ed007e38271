/* The pool of sign-in: threads, a bounded queue, and the event loops' way to them. Knows nothing of how a
 * password is checked.
 *
 * Who touches a request: its loop until it is queued; a thread until it is in the client's mailbox (its job
 * only); its loop again. Callback and owner belong to the loop throughout; whether it waits in the queue is
 * guarded by the pool's mutex.
 */
#include "sta/signin.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/list.h"
#include "base/mem.h"
#include "base/htpasswd.h"
#include "net/mailbox.h"
#include "signin_impl.h"

#define THREADS       2
#define THREADS_MAX   64
#define QUEUE_DEFAULT 256

struct signin {
    atomic_uint refs;
    struct signin_backend *backend; /* owned */
    size_t queue_max;
    unsigned thread_count;
    pthread_t threads[THREADS_MAX];

    pthread_mutex_t mutex; /* guards what follows */
    pthread_cond_t wake;
    struct list queue; /* of struct signin_request */
    size_t queued;
    bool stopping;
};

struct signin_client {
    struct signin *signin;  /* one reference */
    struct mailbox mailbox; /* answers of the pool */
    size_t open;            /* requests */
    bool closing;
    void (*on_closed)(void *owner);
    void *owner;
};

struct signin_request {
    struct list link; /* in the pool's queue, then in the client's mailbox */
    struct signin_client *client;
    bool waiting; /* in the queue */
    struct signin_job job;
    signin_cb *cb; /* NULL: cancelled */
    void *owner;
    size_t len;
    char text[]; /* name and password, each with its NUL */
};

/* ---- what backends use ---- */

void signin_job_end(struct signin_job *job, enum signin_result result, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(job->detail, sizeof job->detail, fmt, ap);
    va_end(ap);
    job->result = result;
}

/* ---- the threads ---- */

/* NULL: the pool is stopping. */
static struct signin_request *take(struct signin *s)
{
    struct signin_request *r = NULL;
    pthread_mutex_lock(&s->mutex);
    while (list_empty(&s->queue) && !s->stopping)
        pthread_cond_wait(&s->wake, &s->mutex);
    if (!list_empty(&s->queue)) {
        r = list_entry(s->queue.next, struct signin_request, link);
        list_remove(&r->link);
        r->waiting = false;
        s->queued--;
    }
    pthread_mutex_unlock(&s->mutex);
    return r;
}

/* Hands a finished request to its loop, which may have freed it and its client by the time this returns. */
static void answer(struct signin_request *r)
{
    mem_wipe(r->text, r->len);
    mailbox_post(&r->client->mailbox, &r->link);
}

static void *pool_main(void *arg)
{
    struct signin *s = arg;
    struct signin_request *r;
    while ((r = take(s)) != NULL) {
        s->backend->ops->check(s->backend, &r->job);
        answer(r);
    }
    return NULL;
}

/* 0 or a negated errno; some of them may run then. */
static int start_threads(struct signin *s, unsigned count)
{
    sigset_t all, old; /* signals are the loops' business */
    int rc = 0;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    for (unsigned i = 0; i < count && rc == 0; i++) {
        rc = pthread_create(&s->threads[i], NULL, pool_main, s);
        if (rc == 0) {
            pthread_setname_np(s->threads[i], "sign-in");
            s->thread_count++;
        }
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return -rc;
}

static void signin_free(struct signin *s)
{
    pthread_mutex_lock(&s->mutex);
    s->stopping = true;
    pthread_cond_broadcast(&s->wake);
    pthread_mutex_unlock(&s->mutex);
    for (unsigned i = 0; i < s->thread_count; i++)
        pthread_join(s->threads[i], NULL);
    pthread_cond_destroy(&s->wake);
    pthread_mutex_destroy(&s->mutex);
    s->backend->ops->free(s->backend);
    free(s);
}

/* ---- opening ---- */

int signin_open(struct signin **out, const struct signin_options *options, char *why, size_t why_cap)
{
    assert((options->htpasswd != NULL) != (options->ldap != NULL));
    struct signin_backend *backend;
    int rc = options->htpasswd ? signin_htpasswd_open(&backend, options->htpasswd, why, why_cap)
                               : signin_ldap_open(&backend, options->ldap, why, why_cap);
    if (rc < 0)
        return rc;

    struct signin *s = mem_zalloc(sizeof *s);
    atomic_init(&s->refs, 1);
    s->backend = backend;
    s->queue_max = options->queue_max ? options->queue_max : QUEUE_DEFAULT;
    pthread_mutex_init(&s->mutex, NULL);
    pthread_cond_init(&s->wake, NULL);
    list_init(&s->queue);
    unsigned threads = options->threads ? options->threads : THREADS;
    rc = start_threads(s, threads < THREADS_MAX ? threads : THREADS_MAX);
    if (rc < 0) {
        snprintf(why, why_cap, "threads for sign-in: %s", err_text(rc));
        signin_free(s);
        return rc;
    }
    *out = s;
    return 0;
}

struct signin *signin_ref(struct signin *s)
{
    atomic_fetch_add(&s->refs, 1);
    return s;
}

void signin_unref(struct signin *s)
{
    if (s != NULL && atomic_fetch_sub(&s->refs, 1) == 1)
        signin_free(s); /* no client is left, so the threads are idle: this does not wait for a check */
}

/* ---- clients ---- */

static void on_mailbox_closed(struct mailbox *m)
{
    struct signin_client *c = list_entry(m, struct signin_client, mailbox);
    struct signin *s = c->signin;
    void (*on_closed)(void *) = c->on_closed;
    void *owner = c->owner;
    free(c);
    signin_unref(s);
    if (on_closed)
        on_closed(owner);
}

static void close_if_idle(struct signin_client *c)
{
    if (c->closing && c->open == 0)
        mailbox_close(&c->mailbox);
}

static void finish_request(struct signin_request *r)
{
    const struct signin_job *job = &r->job;
    if (r->cb)
        r->cb(r->owner, job->result, job->result == SIGNIN_OK ? job->canonical : NULL,
              job->detail[0] ? job->detail : NULL);
    free(r->job.canonical);
    free(r);
}

static void on_answer(struct mailbox *m, struct list *letter)
{
    list_entry(m, struct signin_client, mailbox)->open--;
    finish_request(list_entry(letter, struct signin_request, link));
}

static void on_emptied(struct mailbox *m)
{
    close_if_idle(list_entry(m, struct signin_client, mailbox));
}

struct signin_client *signin_client_new(struct signin *s, uv_loop_t *loop)
{
    struct signin_client *c = mem_zalloc(sizeof *c);
    c->signin = signin_ref(s);
    c->mailbox = (struct mailbox){.deliver = on_answer, .emptied = on_emptied, .closed = on_mailbox_closed};
    mailbox_init(&c->mailbox, loop);
    return c;
}

void signin_client_close(struct signin_client *c, void (*closed)(void *owner), void *owner)
{
    assert(!c->closing);
    c->closing = true;
    c->on_closed = closed;
    c->owner = owner;
    close_if_idle(c);
}

/* ---- requests ---- */

static struct signin_request *request_new(struct signin_client *c, const char *user, const char *password,
                                          signin_cb *cb, void *owner)
{
    size_t user_bytes = strlen(user) + 1, password_bytes = strlen(password) + 1;
    struct signin_request *r = mem_zalloc(sizeof *r + user_bytes + password_bytes);
    r->client = c;
    r->cb = cb;
    r->owner = owner;
    r->len = user_bytes + password_bytes;
    memcpy(r->text, user, user_bytes);
    memcpy(r->text + user_bytes, password, password_bytes);
    r->job.user = r->text;
    r->job.password = r->text + user_bytes;
    atomic_init(&r->job.cancelled, false);
    return r;
}

/* Queues for a thread; false when the queue is full. */
static bool submit(struct signin *s, struct signin_request *r)
{
    pthread_mutex_lock(&s->mutex);
    bool room = s->queued < s->queue_max;
    if (room) {
        list_append(&s->queue, &r->link);
        s->queued++;
        r->waiting = true;
        pthread_cond_signal(&s->wake);
    }
    pthread_mutex_unlock(&s->mutex);
    return room;
}

struct signin_request *signin_check(struct signin_client *c, const char *user, const char *password,
                                    signin_cb *cb, void *owner)
{
    assert(!c->closing);
    size_t user_len = strnlen(user, SIGNIN_TEXT_MAX + 1);
    size_t password_len = strnlen(password, SIGNIN_TEXT_MAX + 1);
    bool fits = htpasswd_name_valid(user, user_len) && password_len <= SIGNIN_TEXT_MAX;
    struct signin_request *r = request_new(c, fits ? user : "", fits ? password : "", cb, owner);
    c->open++;
    if (fits && submit(c->signin, r))
        return r;
    if (fits)
        signin_job_end(&r->job, SIGNIN_BUSY, "too many sign-ins wait");
    else /* says nothing about anybody: such a user cannot exist */
        signin_job_end(&r->job, SIGNIN_WRONG, "no name or password can look like this");
    answer(r);
    return r;
}

void signin_cancel(struct signin_request *r)
{
    struct signin *s = r->client->signin;
    r->cb = NULL;
    atomic_store(&r->job.cancelled, true);
    pthread_mutex_lock(&s->mutex);
    bool waiting = r->waiting;
    if (waiting) {
        list_remove(&r->link);
        r->waiting = false;
        s->queued--;
    }
    pthread_mutex_unlock(&s->mutex);
    if (waiting)
        answer(r); /* gone with the loop's next turn */
}
