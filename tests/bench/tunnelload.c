/* The load of the benchmark: opens TLS 1.3 tunnels through a proxy on loopback to the sink behind it and puts
 * them to one kind of work (a row of the table of modes below). bench.py starts it, and measures the proxy
 * between the lines printed here.
 *
 * One thread, epoll. A tunnel is a walk through `enum phase`; a batch is a number of jobs, each of which
 * opens a tunnel, exchanges something with the sink, closes the tunnel, or some of these. Every byte is
 * checked. The first thing that goes wrong ends the program: a figure with failed tunnels in it means
 * nothing. Knows no proxy by name. */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "wire.h"

enum {
    RECORD = 16384,
    EVENTS = 256,
    HEAD_MAX = 2048,       /* of the answer to CONNECT */
    RECORDS_PER_TURN = 16, /* before another tunnel gets its turn */
    HELLO_PART = 100,      /* bytes of a ClientHello that mode hello sends */
    WARM_TUNNELS = 32,     /* opened and closed before measuring */
    WARM_BYTES = 8000000,  /* relayed in each tunnel before measuring: socket buffers have grown by then */
    USED_BYTES = 32768,    /* each way in each tunnel of mode hold */
    MESSAGE_BYTES = 512,   /* of mode pingpong */
    STALL_MS = 30000,
};

enum phase {
    PHASE_CLOSED,
    PHASE_CONNECT,
    PHASE_HANDSHAKE,
    PHASE_ASK,     /* for the target, by HTTP CONNECT */
    PHASE_ANSWER,  /* to that */
    PHASE_SEND,    /* an exchange: the request and its bytes */
    PHASE_RECEIVE, /* the sink's answer */
    PHASE_IDLE,
    PHASE_BYE, /* ours is sent, the proxy's awaited */
};
static const char *const phase_names[] = {
    "closed",  "TCP connect", "TLS handshake", "sending CONNECT", "answer to CONNECT",
    "sending", "receiving",   "idle",          "closing"};

/* How deep a batch goes into the proxy. */
enum depth { DEPTH_TCP, DEPTH_HELLO, DEPTH_TUNNEL };

struct job {
    enum depth depth;
    bool open;
    bool close;
    unsigned repeats;        /* exchanges */
    struct request exchange; /* its tag is given when it starts */
};

struct tunnel {
    int fd;
    enum phase phase;
    uint32_t watched;
    SSL *ssl;             /* owned; NULL when closed, and in depths below DEPTH_TUNNEL */
    SSL_SESSION *session; /* owned; of the last connection in this place, when resuming */
    unsigned repeats;     /* exchanges still to do in this job */
    uint8_t head[REQUEST_SIZE];
    uint64_t done; /* bytes of the phase */
};

static struct {
    /* options */
    const char *connect; /* target for CONNECT; NULL: the proxy just ends TLS */
    const char *basic;   /* token for Proxy-Authorization: Basic */
    uint64_t port, tunnels, concurrency, bytes, round_trips;
    bool resume;

    int epoll;
    SSL_CTX *tls;
    struct pattern pattern;
    uint8_t hello[HELLO_PART];
    char *ask; /* the CONNECT request */
    struct tunnel *places;
    size_t place_count;

    /* the batch */
    struct job job;
    uint64_t jobs_started, jobs_done, jobs_total;
    uint64_t next_tag;
    uint64_t moved;      /* anything at all: stalls show by its standing still */
    uint64_t resumed;    /* handshakes */
    uint64_t clean, cut; /* closes: with close_notify and FIN, or less than that */
} load = {.tunnels = 64, .concurrency = 16, .bytes = 1000000000, .round_trips = 100000};

__attribute__((noreturn, format(printf, 1, 2))) static void fail(const char *fmt, ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    for (char *p = text; *p; p++) /* it becomes a JSON string */
        if (*p == '"' || *p == '\\' || (unsigned char)*p < ' ')
            *p = ' ';
    printf("{\"phase\": \"failed\", \"error\": \"%s\"}\n", text);
    fflush(stdout);
    exit(1);
}

__attribute__((noreturn)) static void tunnel_fail(const struct tunnel *t, const char *what)
{
    const char *tls = ERR_reason_error_string(ERR_peek_error());
    fail("job %" PRIu64 " of %" PRIu64 ", tunnel %ld, phase %s: %s %s", load.jobs_done, load.jobs_total,
         (long)(t - load.places), phase_names[t->phase], what, tls ? tls : "");
}

/* ---- one tunnel ---- */

static void tunnel_watch(struct tunnel *t, uint32_t events)
{
    if (t->watched == events)
        return;
    struct epoll_event ev = {.events = events, .data.ptr = t};
    if (epoll_ctl(load.epoll, t->watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, t->fd, &ev) < 0)
        fail("epoll_ctl: %s", strerror(errno));
    t->watched = events;
}

static void tunnel_enter(struct tunnel *t, enum phase phase)
{
    t->phase = phase;
    t->done = 0;
}

static void tunnel_connect(struct tunnel *t)
{
    int one = 1;
    struct sockaddr_in proxy = {.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)load.port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    t->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (t->fd < 0)
        fail("socket: %s", strerror(errno));
    setsockopt(t->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    t->watched = 0;
    tunnel_enter(t, PHASE_CONNECT);
    if (connect(t->fd, (struct sockaddr *)&proxy, sizeof proxy) < 0 && errno != EINPROGRESS)
        tunnel_fail(t, strerror(errno));
    tunnel_watch(t, EPOLLOUT);
}

static void tunnel_closed(struct tunnel *t)
{
    SSL_free(t->ssl);
    t->ssl = NULL;
    close(t->fd);
    t->phase = PHASE_CLOSED;
}

static void tunnel_exchange(struct tunnel *t)
{
    struct request r = load.job.exchange;
    r.tag = load.next_tag++;
    request_encode(t->head, &r);
    t->repeats--;
    tunnel_enter(t, PHASE_SEND);
}

static void tunnel_bye(struct tunnel *t)
{
    tunnel_enter(t, PHASE_BYE);
    if (SSL_shutdown(t->ssl) < 0)
        tunnel_fail(t, "close_notify");
    shutdown(t->fd, SHUT_WR);
}

/* What comes once a tunnel stands or an exchange is over: the next one, the close, or the end of the job. */
static void tunnel_proceed(struct tunnel *t)
{
    if (t->repeats > 0)
        tunnel_exchange(t);
    else if (load.job.close)
        tunnel_bye(t);
    else
        tunnel_enter(t, PHASE_IDLE);
}

/* The outcome of an SSL call that moved nothing. True: wait for the socket; anything else is a failure. */
static bool tunnel_waits(struct tunnel *t, int rc)
{
    switch (SSL_get_error(t->ssl, rc)) {
    case SSL_ERROR_WANT_READ:
        tunnel_watch(t, EPOLLIN);
        return true;
    case SSL_ERROR_WANT_WRITE:
        tunnel_watch(t, EPOLLOUT);
        return true;
    case SSL_ERROR_ZERO_RETURN:
        tunnel_fail(t, "the proxy closed (close_notify)");
    case SSL_ERROR_SYSCALL:
        tunnel_fail(t, errno ? strerror(errno) : "the proxy closed");
    default:
        tunnel_fail(t, "TLS");
    }
}

/* The steps, one for each phase. True: go on with the phase now in force; false: wait for the socket. */

static bool step_connect(struct tunnel *t)
{
    int error = 0;
    socklen_t len = sizeof error;
    getsockopt(t->fd, SOL_SOCKET, SO_ERROR, &error, &len);
    if (error)
        tunnel_fail(t, strerror(error));
    if (load.job.depth != DEPTH_TUNNEL) {
        size_t n = load.job.depth == DEPTH_HELLO ? sizeof load.hello : 0;
        if (n && write(t->fd, load.hello, n) != (ssize_t)n)
            tunnel_fail(t, "short write");
        tunnel_enter(t, PHASE_IDLE);
        return true;
    }
    t->ssl = SSL_new(load.tls);
    if (!t->ssl || !SSL_set_fd(t->ssl, t->fd) || (t->session && !SSL_set_session(t->ssl, t->session)))
        tunnel_fail(t, "SSL_new");
    SSL_set_app_data(t->ssl, t);
    tunnel_enter(t, PHASE_HANDSHAKE);
    return true;
}

static bool step_handshake(struct tunnel *t)
{
    int rc = SSL_connect(t->ssl);
    if (rc <= 0)
        return !tunnel_waits(t, rc);
    load.resumed += (uint64_t)SSL_session_reused(t->ssl);
    if (load.connect)
        tunnel_enter(t, PHASE_ASK);
    else
        tunnel_proceed(t);
    return true;
}

static bool step_ask(struct tunnel *t)
{
    int rc = SSL_write(t->ssl, load.ask, (int)strlen(load.ask));
    if (rc <= 0)
        return !tunnel_waits(t, rc);
    tunnel_enter(t, PHASE_ANSWER);
    return true;
}

/* Nothing may follow the head: the sink speaks only when asked. It comes as one record from every proxy. */
static bool step_answer(struct tunnel *t)
{
    char head[HEAD_MAX + 1];
    int rc = SSL_read(t->ssl, head, HEAD_MAX);
    if (rc <= 0)
        return !tunnel_waits(t, rc);
    head[rc] = '\0';
    if (strncmp(head, "HTTP/1.", 7) != 0 || strncmp(head + 8, " 200", 4) != 0) {
        head[strcspn(head, "\r\n")] = '\0';
        tunnel_fail(t, head);
    }
    const char *end = strstr(head, "\r\n\r\n");
    if (!end || end + 4 != head + rc)
        tunnel_fail(t, "the answer is not exactly one head in one record");
    tunnel_proceed(t);
    return true;
}

/* The request and what follows it, in writes of one record. */
static bool step_send(struct tunnel *t)
{
    static uint8_t chunk[RECORD];
    const struct request *r = &load.job.exchange;
    uint64_t total = REQUEST_SIZE + (r->verb == VERB_SOURCE ? 0 : r->count);
    for (int turn = 0; t->done < total; turn++) {
        if (turn == RECORDS_PER_TURN) {
            tunnel_watch(t, EPOLLOUT);
            return false;
        }
        size_t head = t->done == 0 ? REQUEST_SIZE : 0;
        uint64_t left = total - t->done - head;
        size_t body = left < RECORD - head ? (size_t)left : RECORD - head;
        memcpy(chunk, t->head, head);
        memcpy(chunk + head, pattern_at(&load.pattern, head ? 0 : t->done - REQUEST_SIZE), body);
        int rc = SSL_write(t->ssl, chunk, (int)(head + body));
        if (rc <= 0)
            return !tunnel_waits(t, rc);
        t->done += (uint64_t)rc;
        load.moved += (uint64_t)rc;
    }
    tunnel_enter(t, PHASE_RECEIVE);
    return true;
}

/* Compares what came with what was asked for: the request sent back, the pattern, or both. */
static void tunnel_check(struct tunnel *t, const uint8_t *data, size_t len)
{
    uint64_t skip = load.job.exchange.verb == VERB_SOURCE ? 0 : REQUEST_SIZE;
    while (len > 0) {
        size_t n = len;
        if (t->done < skip) {
            n = n < skip - t->done ? n : (size_t)(skip - t->done);
            if (memcmp(data, t->head + t->done, n) != 0)
                tunnel_fail(t, data[0] == VERB_DAMAGED ? "the sink received something else" : "wrong echo");
        } else if (!pattern_matches(&load.pattern, t->done - skip, data, n)) {
            tunnel_fail(t, "wrong bytes");
        }
        t->done += n;
        data += n;
        len -= n;
    }
}

static bool step_receive(struct tunnel *t)
{
    static uint8_t chunk[RECORD];
    const struct request *r = &load.job.exchange;
    uint64_t total = (r->verb == VERB_SOURCE ? 0 : REQUEST_SIZE) + (r->verb == VERB_DISCARD ? 0 : r->count);
    for (int turn = 0; t->done < total; turn++) {
        if (turn >= RECORDS_PER_TURN && !SSL_has_pending(t->ssl)) {
            tunnel_watch(t, EPOLLIN);
            return false;
        }
        int rc = SSL_read(t->ssl, chunk, sizeof chunk);
        if (rc <= 0)
            return !tunnel_waits(t, rc);
        if ((uint64_t)rc > total - t->done)
            tunnel_fail(t, "more bytes than asked for");
        tunnel_check(t, chunk, (size_t)rc);
        load.moved += (uint64_t)rc;
    }
    tunnel_proceed(t);
    return true;
}

/* An idle tunnel has nothing to say. */
static bool step_idle(struct tunnel *t)
{
    uint8_t byte;
    tunnel_watch(t, EPOLLIN);
    if (t->ssl) {
        int rc = SSL_read(t->ssl, &byte, 1);
        if (rc <= 0)
            return !tunnel_waits(t, rc);
    } else if (recv(t->fd, &byte, 1, 0) < 0 && errno == EAGAIN) {
        return false;
    }
    tunnel_fail(t, "the proxy closed or spoke while the tunnel was idle");
}

/* Ours are sent; waits for the proxy's close_notify and FIN. */
static bool step_bye(struct tunnel *t)
{
    uint8_t byte;
    if (!(SSL_get_shutdown(t->ssl) & SSL_RECEIVED_SHUTDOWN)) {
        int rc = SSL_read(t->ssl, &byte, 1);
        if (rc > 0)
            tunnel_fail(t, "bytes nobody asked for");
        if (SSL_get_error(t->ssl, rc) == SSL_ERROR_WANT_READ)
            return !tunnel_waits(t, rc);
    }
    bool notified = SSL_get_shutdown(t->ssl) & SSL_RECEIVED_SHUTDOWN;
    ssize_t n = notified ? recv(t->fd, &byte, 1, 0) : -1;
    if (notified && n < 0 && errno == EAGAIN) {
        tunnel_watch(t, EPOLLIN);
        return false;
    }
    *(n == 0 ? &load.clean : &load.cut) += 1;
    tunnel_closed(t);
    return true;
}

static bool (*const steps[])(struct tunnel *) = {
    NULL, step_connect, step_handshake, step_ask, step_answer, step_send, step_receive, step_idle, step_bye,
};

/* ---- batches ---- */

static void job_start(struct tunnel *t);

/* Moves the tunnel until it has to wait; ends its job when that is reached, and then starts the next. */
static void tunnel_run(struct tunnel *t)
{
    ERR_clear_error();
    errno = 0;
    bool working = t->phase != PHASE_IDLE;
    while (t->phase != PHASE_CLOSED && steps[t->phase](t))
        load.moved++;
    if (!working || (t->phase != PHASE_CLOSED && t->phase != PHASE_IDLE))
        return;
    load.jobs_done++;
    if (load.jobs_started < load.jobs_total)
        job_start(load.job.close ? t : &load.places[load.jobs_started]);
}

static void job_start(struct tunnel *t)
{
    load.jobs_started++;
    t->repeats = load.job.repeats;
    if (load.job.open) {
        tunnel_connect(t);
    } else {
        tunnel_exchange(t);
        tunnel_watch(t, EPOLLOUT); /* begun by the loop, not here: jobs must not nest */
    }
}

/* Runs jobs, at most --concurrency at a time. Those that close share few places, others have one each. */
static void batch_run(struct job job, uint64_t jobs)
{
    assert(job.close || jobs <= load.place_count);
    load.job = job;
    load.jobs_total = jobs;
    load.jobs_started = load.jobs_done = 0;
    load.resumed = load.clean = load.cut = 0;
    while (load.jobs_started < jobs && load.jobs_started < load.concurrency)
        job_start(&load.places[load.jobs_started]);

    uint64_t moved = load.moved, since = clock_mono_ms();
    while (load.jobs_done < jobs) {
        struct epoll_event ev[EVENTS];
        int n = epoll_wait(load.epoll, ev, EVENTS, 1000);
        if (n < 0 && errno != EINTR)
            fail("epoll_wait: %s", strerror(errno));
        for (int i = 0; i < n; i++)
            tunnel_run(ev[i].data.ptr);
        uint64_t now = clock_mono_ms();
        if (moved != load.moved) {
            moved = load.moved;
            since = now;
        } else if (now - since > STALL_MS) {
            fail("stalled: %" PRIu64 " of %" PRIu64 " jobs done", load.jobs_done, jobs);
        }
    }
}

/* Says which phase is reached and waits for the word to go on, while bench.py measures. Idle tunnels must
 * stay. */
static void report(const char *phase, uint64_t started_ns)
{
    printf("{\"phase\": \"%s\", \"jobs\": %" PRIu64 ", \"resumed\": %" PRIu64 ", \"clean\": %" PRIu64
           ", \"cut\": %" PRIu64 ", \"wall_s\": %.3f}\n",
           phase, load.jobs_done, load.resumed, load.clean, load.cut,
           (double)(clock_mono_ns() - started_ns) / 1e9);
    fflush(stdout);
    char line[16];
    if (!fgets(line, sizeof line, stdin))
        exit(0);
    struct epoll_event ev[EVENTS];
    int n = epoll_wait(load.epoll, ev, EVENTS, 0);
    for (int i = 0; i < n; i++)
        tunnel_run(ev[i].data.ptr);
}

/* ---- modes ---- */

static const struct job job_visit = {DEPTH_TUNNEL, .open = true, .close = true, .repeats = 1,
                                     .exchange = {VERB_ECHO, 0, 0}};

static void measure(const char *phase, struct job job, uint64_t jobs)
{
    uint64_t started = clock_mono_ns();
    batch_run(job, jobs);
    report(phase, started);
}

struct mode {
    const char *name;
    void (*run)(const struct mode *);
    enum verb verb;   /* of the measured exchange */
    enum depth depth; /* of what is held */
    const char *help;
};

static void run_setup(const struct mode *m)
{
    (void)m;
    measure("ready", job_visit, 2 * load.concurrency);
    measure("done", job_visit, load.tunnels);
}

/* Opens every tunnel, warms it up and measures the same exchange at full length, all tunnels at once. */
static void run_exchange(const struct mode *m)
{
    bool echo = m->verb == VERB_ECHO;
    uint64_t message = MESSAGE_BYTES - REQUEST_SIZE;
    struct job open = {DEPTH_TUNNEL, .open = true};
    struct job warm = {DEPTH_TUNNEL, .repeats = 1, .exchange = {m->verb, echo ? message : WARM_BYTES, 0}};
    struct job work = warm;
    work.repeats = echo ? (unsigned)(load.round_trips / load.tunnels) : 1;
    work.exchange.count = echo ? message : load.bytes / load.tunnels;
    load.concurrency = load.tunnels;
    batch_run(open, load.tunnels);
    measure("ready", warm, load.tunnels);
    measure("done", work, load.tunnels);
}

/* A few tunnels come and go first, so that what a proxy makes once is not counted as growth. */
static void run_hold(const struct mode *m)
{
    bool tunnel = m->depth == DEPTH_TUNNEL;
    struct job open = {m->depth, .open = true, .repeats = tunnel, .exchange = {VERB_ECHO, 0, 0}};
    struct job use = {m->depth, .repeats = 1, .exchange = {VERB_ECHO, USED_BYTES - REQUEST_SIZE, 0}};
    measure("ready", job_visit, WARM_TUNNELS);
    measure("idle", open, load.tunnels);
    if (tunnel)
        measure("used", use, load.tunnels);
    report("end", clock_mono_ns());
}

static const struct mode modes[] = {
    {"setup", run_setup, VERB_ECHO, DEPTH_TUNNEL, "--tunnels opened, an echo of 16 bytes in each, closed"},
    {"down", run_exchange, VERB_SOURCE, DEPTH_TUNNEL, "--bytes from the sink, shared by --tunnels"},
    {"up", run_exchange, VERB_DISCARD, DEPTH_TUNNEL, "--bytes to the sink, shared by --tunnels"},
    {"pingpong", run_exchange, VERB_ECHO, DEPTH_TUNNEL, "--round-trips of 512 bytes, shared by --tunnels"},
    {"hold", run_hold, VERB_ECHO, DEPTH_TUNNEL, "--tunnels idle, then idle after 32 KiB each way in each"},
    {"silent", run_hold, VERB_ECHO, DEPTH_TCP, "--tunnels TCP connections that send nothing"},
    {"hello", run_hold, VERB_ECHO, DEPTH_HELLO, "--tunnels TCP connections that send part of a ClientHello"},
    {NULL, NULL, VERB_ECHO, DEPTH_TUNNEL, NULL},
};

/* ---- start ---- */

static int on_session(SSL *ssl, SSL_SESSION *session)
{
    struct tunnel *t = SSL_get_app_data(ssl);
    SSL_SESSION_free(t->session);
    t->session = session;
    return 1;
}

static void tls_init(void)
{
    load.tls = SSL_CTX_new(TLS_client_method());
    if (!load.tls || !SSL_CTX_set_min_proto_version(load.tls, TLS1_3_VERSION) ||
        !SSL_CTX_set_ciphersuites(load.tls, "TLS_AES_128_GCM_SHA256") ||
        !SSL_CTX_set1_groups_list(load.tls, "X25519"))
        fail("OpenSSL refuses its settings");
    SSL_CTX_set_mode(load.tls, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                   SSL_MODE_ENABLE_PARTIAL_WRITE);
    SSL_CTX_set_verify(load.tls, SSL_VERIFY_NONE, NULL);
    SSL_CTX_set_read_ahead(load.tls, 1); /* fewer system calls: client and sink have one CPU between them */
    SSL_CTX_set_default_read_buffer_len(load.tls, 4 * RECORD);
    if (load.resume) {
        SSL_CTX_set_session_cache_mode(load.tls, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
        SSL_CTX_sess_set_new_cb(load.tls, on_session);
    } else {
        SSL_CTX_set_session_cache_mode(load.tls, SSL_SESS_CACHE_OFF);
    }

    SSL *ssl = SSL_new(load.tls);
    BIO *out = BIO_new(BIO_s_mem());
    SSL_set_bio(ssl, BIO_new(BIO_s_mem()), out);
    if (SSL_connect(ssl) != -1 || BIO_read(out, load.hello, HELLO_PART) != HELLO_PART)
        fail("no ClientHello of %d bytes", HELLO_PART);
    SSL_free(ssl);
    ERR_clear_error();
}

static void ask_init(void)
{
    if (!load.connect)
        return;
    char *auth = load.basic ? mem_printf("Proxy-Authorization: Basic %s\r\n", load.basic) : mem_strdup("");
    load.ask = mem_printf("CONNECT %s HTTP/1.1\r\nHost: %s\r\n%s\r\n", load.connect, load.connect, auth);
    free(auth);
}

static const struct option_row {
    const char *name;
    enum { OPTION_TEXT, OPTION_NUMBER, OPTION_FLAG } kind;
    void *field;
    const char *help;
} options[] = {
    {"--port", OPTION_NUMBER, &load.port, "of the proxy, on 127.0.0.1; required"},
    {"--connect", OPTION_TEXT, &load.connect, "HOST:PORT to CONNECT to (without it the proxy just ends TLS)"},
    {"--basic", OPTION_TEXT, &load.basic, "base64 of USER:PASSWORD for Proxy-Authorization"},
    {"--tunnels", OPTION_NUMBER, &load.tunnels, "how many (64)"},
    {"--concurrency", OPTION_NUMBER, &load.concurrency, "how many of them are busy at once (16)"},
    {"--bytes", OPTION_NUMBER, &load.bytes, "modes down and up (1000000000)"},
    {"--round-trips", OPTION_NUMBER, &load.round_trips, "mode pingpong (100000)"},
    {"--resume", OPTION_FLAG, &load.resume, "resume the session of the tunnel before"},
    {NULL, 0, NULL, NULL},
};

__attribute__((noreturn)) static void usage(FILE *to)
{
    fprintf(
        to,
        "usage: tunnelload MODE --port N [option...]\n\n"
        "Puts load on a TLS proxy that has the benchmark's sink behind it. Prints a line of JSON at each\n"
        "phase, and waits there for a line on standard input.\n\nmodes:\n");
    for (const struct mode *m = modes; m->name; m++)
        fprintf(to, "  %-14s %s\n", m->name, m->help);
    fprintf(to, "\noptions:\n");
    for (const struct option_row *o = options; o->name; o++)
        fprintf(to, "  %-14s %s\n", o->name, o->help);
    exit(to == stdout ? 0 : 2);
}

static void option_read(const struct option_row *o, const char *text)
{
    char *end;
    if (o->kind == OPTION_FLAG) {
        *(bool *)o->field = true;
    } else if (!text) {
        fail("%s wants a value", o->name);
    } else if (o->kind == OPTION_TEXT) {
        *(const char **)o->field = text;
    } else {
        errno = 0;
        *(uint64_t *)o->field = strtoull(text, &end, 10);
        if (errno || *end || *text < '1' || *text > '9')
            fail("%s wants a number above 0, not '%s'", o->name, text);
    }
}

static const struct mode *options_read(char **argv)
{
    const struct mode *mode = modes;
    if (!argv[1] || strcmp(argv[1], "--help") == 0)
        usage(argv[1] ? stdout : stderr);
    while (mode->name && strcmp(mode->name, argv[1]) != 0)
        mode++;
    for (argv += 2; mode->name && *argv; argv++) {
        const struct option_row *o = options;
        while (o->name && strcmp(o->name, *argv) != 0)
            o++;
        if (!o->name)
            usage(stderr);
        option_read(o, argv[1]);
        argv += o->kind != OPTION_FLAG;
    }
    if (!mode->name || !load.port)
        usage(stderr);
    return mode;
}

int main(int argc, char **argv)
{
    (void)argc;
    const struct mode *mode = options_read(argv);
    signal(SIGPIPE, SIG_IGN);
    pattern_init(&load.pattern);
    tls_init();
    ask_init();
    load.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (load.epoll < 0)
        fail("epoll: %s", strerror(errno));
    load.place_count = load.tunnels > load.concurrency ? load.tunnels : load.concurrency;
    load.places = mem_zalloc(load.place_count * sizeof *load.places);
    mode->run(mode);
    return 0;
}
