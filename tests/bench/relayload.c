/* Phones and mail server of the relay's benchmark, in one program: `serve` is the mail server, all other
 * modes are phones that speak ActiveSync through a relay on loopback. relay.py starts both, and measures the
 * relay between the lines printed here.
 *
 * A request is a POST with a WBXML document of 1 KB, an answer one of 2 KB; both sides check lengths and who
 * is meant. A Ping is answered when as many wait as --together says. One thread; phones connect one after the
 * other and blocking, then epoll. The first thing that goes wrong ends the program. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"

enum { EVENTS = 256, MESSAGE_MAX = 8192, BODY_UP = 1024, BODY_DOWN = 2048, STALL_MS = 30000 };

struct peer {
    int fd;
    SSL *outer; /* owned by inner where there is one */
    SSL *ssl;   /* what messages go through */
    uint32_t number;
    uint64_t left; /* phones: requests still to be sent */
    uint8_t in[MESSAGE_MAX];
    size_t len;
};

static struct {
    const char *connect, *basic, *ticket, *certificate, *key;
    uint64_t port, peers, count, together;
    bool inner;

    int epoll;
    SSL_CTX *tls;
    struct peer **list; /* server: of waiting Pings; phones: all */
    size_t listed;
    uint64_t answered;
} bench = {.peers = 64, .count = 64000, .together = 64};

__attribute__((noreturn, format(printf, 1, 2))) static void fail(const char *fmt, ...)
{
    char text[512];
    const char *tls = ERR_reason_error_string(ERR_peek_error());
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    for (char *p = text; *p; p++) /* it becomes a JSON string */
        if (*p == '"' || *p == '\\' || (unsigned char)*p < ' ')
            *p = ' ';
    printf("{\"phase\": \"failed\", \"error\": \"%s %s\"}\n", text, tls ? tls : "");
    fflush(stdout);
    exit(1);
}

/* ---- messages ---- */

/* A document of that many bytes: a root of one element with text in it. page 0x05 Sync with SyncKey, or Ping.
 */
static void document(char *dst, size_t len, bool ping)
{
    static const char sync[] = "\x03\x01\x6a\x00\x45\x4b\x03",
                      pong[] = "\x03\x01\x6a\x00\x00\x0d\x45\x48\x03";
    size_t head = ping ? sizeof pong - 1 : sizeof sync - 1;
    memset(dst, ping ? '1' : 'x', len);
    memcpy(dst, ping ? pong : sync, head);
    if (ping) /* the heartbeat: a number of three digits */
        len = head + 6;
    memcpy(dst + len - 3, "\x00\x01\x01", 3);
}

static size_t ping_length(void)
{
    return 9 + 6;
}

static char *request_make(uint32_t number, bool ping, size_t *len)
{
    size_t body = ping ? ping_length() : BODY_UP;
    char ticket[128] = "";
    if (bench.ticket != NULL)
        snprintf(ticket, sizeof ticket, "X-STA-Ticket: %s\r\n", bench.ticket);
    char *head = mem_printf("POST /Microsoft-Server-ActiveSync?Cmd=%s&User=alice&DeviceId=PHONE%08" PRIu32
                            "&DeviceType=Bench HTTP/1.1\r\n"
                            "Host: mail.example.com\r\n"
                            "%s"
                            "Authorization: Basic YWxpY2U6YWxpY2U=\r\n"
                            "User-Agent: relayload/1.0\r\n"
                            "MS-ASProtocolVersion: 14.1\r\n"
                            "X-MS-PolicyKey: 3942919513\r\n"
                            "Accept: */*\r\n"
                            "Content-Type: application/vnd.ms-sync.wbxml\r\n"
                            "Content-Length: %zu\r\n\r\n",
                            ping ? "Ping" : "Sync", number, ticket, body);
    size_t n = strlen(head);
    head = mem_realloc(head, n + BODY_UP);
    document(head + n, body, ping);
    *len = n + body;
    return head;
}

static void message_send(struct peer *p, const char *data, size_t len)
{
    size_t wrote = 0;
    ERR_clear_error();
    if (SSL_write_ex(p->ssl, data, len, &wrote) != 1 || wrote != len)
        fail("a message of %zu bytes was not taken", len);
}

static void answer_send(struct peer *p)
{
    static char message[MESSAGE_MAX];
    static size_t len;
    if (len == 0) {
        int n = snprintf(message, sizeof message,
                         "HTTP/1.1 200 OK\r\n"
                         "Cache-Control: private\r\n"
                         "Content-Type: application/vnd.ms-sync.wbxml\r\n"
                         "Server: Microsoft-IIS/10.0\r\n"
                         "MS-Server-ActiveSync: 15.1\r\n"
                         "Date: Thu, 26 Nov 2026 09:00:00 GMT\r\n"
                         "Content-Length: %d\r\n\r\n",
                         BODY_DOWN);
        document(message + n, BODY_DOWN, false);
        len = (size_t)n + BODY_DOWN;
    }
    message_send(p, message, len);
}

/* Bytes of the whole message at the head of what came; 0: not whole yet. */
static size_t message_length(struct peer *p)
{
    static const char name[] = "content-length:";
    uint8_t *end = memmem(p->in, p->len, "\r\n\r\n", 4);
    if (end == NULL)
        return 0;
    for (uint8_t *line = p->in; line < end;) {
        uint8_t *next = memchr(line, '\n', (size_t)(end + 2 - line));
        if (strncasecmp((char *)line, name, sizeof name - 1) == 0) {
            size_t total = (size_t)(end + 4 - p->in) + strtoul((char *)line + sizeof name - 1, NULL, 10);
            return total <= p->len ? total : 0;
        }
        line = next + 1;
    }
    fail("a message without Content-Length: %.60s", (char *)p->in);
}

/* Reads until a message is whole. False: nothing more is there, or *over. */
static bool message_read(struct peer *p, size_t *len, bool *over)
{
    *over = false;
    while ((*len = message_length(p)) == 0) {
        size_t got = 0;
        ERR_clear_error();
        errno = 0;
        int rc = SSL_read_ex(p->ssl, p->in + p->len, sizeof p->in - p->len, &got);
        if (rc != 1) {
            *over = SSL_get_error(p->ssl, rc) != SSL_ERROR_WANT_READ;
            return false;
        }
        p->len += got;
    }
    return true;
}

static void message_drop(struct peer *p, size_t len)
{
    memmove(p->in, p->in + len, p->len - len);
    p->len -= len;
}

static bool is_ping(const struct peer *p)
{
    return memmem(p->in, p->len < 200 ? p->len : 200, "Cmd=Ping&", 9) != NULL;
}

/* ---- both sides ---- */

static void tls_new(const SSL_METHOD *method)
{
    bench.tls = SSL_CTX_new(method);
    if (bench.tls == NULL || !SSL_CTX_set_min_proto_version(bench.tls, TLS1_3_VERSION) ||
        !SSL_CTX_set_ciphersuites(bench.tls, "TLS_AES_128_GCM_SHA256") ||
        !SSL_CTX_set1_groups_list(bench.tls, "X25519"))
        fail("OpenSSL refuses its settings");
    SSL_CTX_set_mode(bench.tls, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(bench.tls, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(bench.tls, 0);
    SSL_CTX_set_read_ahead(bench.tls,
                           1); /* fewer system calls: phones and server have one CPU between them */
}

static void set_nodelay(int fd)
{
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static void watch(struct peer *p)
{
    set_nodelay(p->fd);
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = p};
    if (epoll_ctl(bench.epoll, EPOLL_CTL_ADD, p->fd, &ev) < 0)
        fail("epoll_ctl: %s", strerror(errno));
}

/* ---- the mail server ---- */

static void serve_pings(void)
{
    if (bench.listed < bench.together)
        return;
    for (size_t i = 0; i < bench.listed; i++)
        answer_send(bench.list[i]);
    bench.listed = 0;
}

static void serve_peer(struct peer *p)
{
    size_t len;
    bool over;
    while (message_read(p, &len, &over)) {
        if (len < BODY_UP && !is_ping(p))
            fail("a request of %zu bytes", len);
        if (!is_ping(p))
            answer_send(p);
        else
            bench.list[bench.listed++] = p;
        message_drop(p, len);
    }
    serve_pings();
    if (over) {
        for (size_t i = 0; i < bench.listed; i++) {
            if (bench.list[i] == p)
                bench.list[i--] = bench.list[--bench.listed];
        }
        SSL_free(p->ssl);
        close(p->fd);
        free(p);
    }
}

static void serve_accept(int listener)
{
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct peer *p = mem_zalloc(sizeof *p);
        p->fd = fd;
        p->ssl = SSL_new(bench.tls);
        SSL_set_fd(p->ssl, fd);
        SSL_set_accept_state(p->ssl);
        watch(p);
    }
}

static void run_serve(void)
{
    static int listener_mark, parent_mark;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof addr;
    tls_new(TLS_server_method());
    if (bench.certificate == NULL || bench.key == NULL ||
        SSL_CTX_use_certificate_file(bench.tls, bench.certificate, SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_use_PrivateKey_file(bench.tls, bench.key, SSL_FILETYPE_PEM) != 1)
        fail("serve needs --certificate and --key");
    if (listener < 0 || bind(listener, (struct sockaddr *)&addr, len) < 0 ||
        listen(listener, SOMAXCONN) < 0 || getsockname(listener, (struct sockaddr *)&addr, &len) < 0)
        fail("listen: %s", strerror(errno));
    struct epoll_event on_listener = {.events = EPOLLIN, .data.ptr = &listener_mark};
    struct epoll_event on_parent = {.events = EPOLLIN, .data.ptr = &parent_mark};
    epoll_ctl(bench.epoll, EPOLL_CTL_ADD, listener, &on_listener);
    epoll_ctl(bench.epoll, EPOLL_CTL_ADD, STDIN_FILENO, &on_parent);
    printf("{\"port\": %d}\n", ntohs(addr.sin_port));
    fflush(stdout);
    for (;;) {
        struct epoll_event ev[EVENTS];
        int n = epoll_wait(bench.epoll, ev, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            if (ev[i].data.ptr == &parent_mark)
                return;
            if (ev[i].data.ptr == &listener_mark)
                serve_accept(listener);
            else
                serve_peer(ev[i].data.ptr);
        }
    }
}

/* ---- phones ---- */

static void phone_tunnel(struct peer *p)
{
    char answer[2048];
    char *ask = mem_printf("CONNECT %s HTTP/1.1\r\nHost: %s\r\nProxy-Authorization: Basic %s\r\n\r\n",
                           bench.connect, bench.connect, bench.basic);
    size_t got = 0;
    message_send(p, ask, strlen(ask));
    free(ask);
    if (SSL_read_ex(p->ssl, answer, sizeof answer - 1, &got) != 1)
        fail("no answer to CONNECT");
    answer[got] = '\0';
    if (strncmp(answer, "HTTP/1.1 200", 12) != 0 || strcmp(answer + got - 4, "\r\n\r\n") != 0)
        fail("CONNECT: %.100s", answer);
    if (!bench.inner)
        return;
    BIO *bio = BIO_new(BIO_f_ssl());
    BIO_set_ssl(bio, p->outer, BIO_CLOSE);
    p->ssl = SSL_new(bench.tls);
    SSL_set_bio(p->ssl, bio, bio);
    SSL_set_tlsext_host_name(p->ssl, "mail.example.com");
    if (SSL_connect(p->ssl) != 1)
        fail("the inner handshake failed");
}

static struct peer *phone_new(uint32_t number)
{
    struct peer *p = mem_zalloc(sizeof *p);
    struct sockaddr_in addr = {.sin_family = AF_INET,
                               .sin_port = htons((uint16_t)bench.port),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    p->number = number;
    p->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (p->fd < 0 || connect(p->fd, (struct sockaddr *)&addr, sizeof addr) < 0)
        fail("phone %" PRIu32 " cannot connect: %s", number, strerror(errno));
    set_nodelay(p->fd); /* as phones do; else CONNECT would wait for an acknowledgement of the handshake */
    p->outer = p->ssl = SSL_new(bench.tls);
    SSL_set_fd(p->ssl, p->fd);
    if (SSL_connect(p->ssl) != 1)
        fail("phone %" PRIu32 ": the handshake failed", number);
    if (bench.connect != NULL)
        phone_tunnel(p);
    watch(p);
    int flags = fcntl(p->fd, F_GETFL);
    fcntl(p->fd, F_SETFL, flags | O_NONBLOCK);
    return p;
}

static void phone_ask(struct peer *p, bool ping)
{
    size_t len;
    char *message = request_make(p->number, ping, &len);
    message_send(p, message, len);
    free(message);
    p->left--;
}

static void phone_event(struct peer *p, bool ping)
{
    size_t len;
    bool over;
    while (message_read(p, &len, &over)) {
        if (strncmp((char *)p->in, "HTTP/1.1 200", 12) != 0 || len < BODY_DOWN || p->len != len)
            fail("phone %" PRIu32 " got %.200s", p->number, (char *)p->in);
        message_drop(p, len);
        bench.answered++;
        if (p->left > 0)
            phone_ask(p, ping);
    }
    if (over)
        fail("phone %" PRIu32 ": the connection ended", p->number);
}

/* Every phone asks that often; returns when all answers that are awaited have come. */
static void phones_ask(uint64_t each, bool ping, uint64_t awaited)
{
    bench.answered = 0;
    for (size_t i = 0; i < bench.listed; i++) {
        bench.list[i]->left = each;
        phone_ask(bench.list[i], ping);
    }
    while (bench.answered < awaited) {
        struct epoll_event ev[EVENTS];
        int n = epoll_wait(bench.epoll, ev, EVENTS, STALL_MS);
        if (n == 0)
            fail("stalled: %" PRIu64 " of %" PRIu64 " answers", bench.answered, awaited);
        for (int i = 0; i < n; i++)
            phone_event(ev[i].data.ptr, ping);
    }
}

static void report(const char *phase, uint64_t since_ns)
{
    char line[16];
    printf("{\"phase\": \"%s\", \"answers\": %" PRIu64 ", \"wall_s\": %.3f}\n", phase, bench.answered,
           (double)(clock_mono_ns() - since_ns) / 1e9);
    fflush(stdout);
    if (!fgets(line, sizeof line, stdin))
        exit(0);
}

static void phones_open(uint64_t n)
{
    while (bench.listed < n) {
        bench.list[bench.listed] = phone_new((uint32_t)bench.listed);
        bench.listed++;
    }
}

/* Requests or Pings: all phones at once, --count in all. */
static void run_busy(bool ping)
{
    uint64_t each = bench.count / bench.peers;
    phones_open(bench.peers);
    phones_ask(50, ping, 50 * bench.peers);
    report("ready", clock_mono_ns());
    uint64_t since = clock_mono_ns();
    phones_ask(each, ping, each * bench.peers);
    report("done", since);
}

/* A few phones first, which stay; then --peers more whose Pings are never answered. */
static void run_hold(void)
{
    enum { WARM = 32 };
    phones_open(WARM);
    phones_ask(20, false, 20 * WARM);
    report("ready", clock_mono_ns());
    bench.listed = 0; /* the warm ones are left alone */
    phones_open(bench.peers);
    phones_ask(1, false, bench.peers);
    phones_ask(1, true, 0);
    report("waiting", clock_mono_ns());
    struct epoll_event ev[EVENTS];
    if (epoll_wait(bench.epoll, ev, EVENTS, 0) > 0)
        fail("an answer to a Ping that should wait");
    report("end", clock_mono_ns());
}

/* ---- start ---- */

static const struct option_row {
    const char *name;
    enum { OPTION_TEXT, OPTION_NUMBER, OPTION_FLAG } kind;
    void *field;
    const char *help;
} options[] = {
    {"--port", OPTION_NUMBER, &bench.port, "of the relay, on 127.0.0.1"},
    {"--peers", OPTION_NUMBER, &bench.peers, "phones (64)"},
    {"--count", OPTION_NUMBER, &bench.count, "requests of all phones (64000)"},
    {"--ticket", OPTION_TEXT, &bench.ticket, "for X-STA-Ticket"},
    {"--connect", OPTION_TEXT, &bench.connect, "HOST:PORT to CONNECT to first"},
    {"--basic", OPTION_TEXT, &bench.basic, "base64 of USER:TICKET for that"},
    {"--inner", OPTION_FLAG, &bench.inner, "TLS inside the tunnel"},
    {"--together", OPTION_NUMBER, &bench.together, "serve: Pings that are answered at once (64)"},
    {"--certificate", OPTION_TEXT, &bench.certificate, "serve: PEM"},
    {"--key", OPTION_TEXT, &bench.key, "serve: PEM"},
    {NULL, 0, NULL, NULL},
};

__attribute__((noreturn)) static void usage(void)
{
    fputs("usage: relayload serve|requests|pings|hold [option...]\n\n", stderr);
    for (const struct option_row *o = options; o->name; o++)
        fprintf(stderr, "  %-14s %s\n", o->name, o->help);
    exit(2);
}

int main(int argc, char **argv)
{
    if (argc < 2)
        usage();
    for (char **arg = argv + 2; *arg; arg++) {
        const struct option_row *o = options;
        while (o->name && strcmp(o->name, *arg) != 0)
            o++;
        if (!o->name || (o->kind != OPTION_FLAG && arg[1] == NULL))
            usage();
        if (o->kind == OPTION_FLAG)
            *(bool *)o->field = true;
        else if (o->kind == OPTION_TEXT)
            *(const char **)o->field = *++arg;
        else
            *(uint64_t *)o->field = strtoull(*++arg, NULL, 10);
    }
    signal(SIGPIPE, SIG_IGN);
    bench.epoll = epoll_create1(EPOLL_CLOEXEC);
    bench.list = mem_zalloc(65536 * sizeof *bench.list);
    if (strcmp(argv[1], "serve") == 0) {
        run_serve();
        return 0;
    }
    if (bench.port == 0 || bench.peers == 0 || bench.peers > 60000 ||
        (bench.connect == NULL) != (bench.basic == NULL))
        usage();
    tls_new(TLS_client_method());
    if (strcmp(argv[1], "requests") == 0 || strcmp(argv[1], "pings") == 0)
        run_busy(argv[1][0] == 'p');
    else if (strcmp(argv[1], "hold") == 0)
        run_hold();
    else
        usage();
    return 0;
}
