/* SOCKS5, server side, CONNECT only, byte by byte. Called by the socks door; knows nothing of tickets (a host
 * name may be one), sockets, or of who may connect where.
 *
 * Each message is collected in one place and looked at after every byte, so that a wrong byte is refused as
 * soon as it is there and the outcome never depends on how the input was cut, the two openings of the
 * header's first comment excepted.
 */
#include "proto/socks5.h"

#include <arpa/inet.h>
#include <assert.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"

#define VERSION       0x05
#define LOGIN_VERSION 0x01
#define METHOD_NONE   0x00
#define METHOD_LOGIN  0x02
#define METHOD_REFUSE 0xff

#define COMMAND_CONNECT 1
#define COMMAND_BIND    2
#define COMMAND_UDP     3

#define ADDRESS_IPV4 1
#define ADDRESS_NAME 3
#define ADDRESS_IPV6 4

/* Where feed() puts what the client is to get. */
struct answer {
    uint8_t *bytes;
    size_t len;
};

static int fail(struct socks5 *s, int code, const char *why)
{
    s->state = SOCKS5_FAILED;
    s->why = why;
    mem_wipe(s->message, sizeof s->message);
    return code;
}

static void say(struct answer *a, uint8_t first, uint8_t second)
{
    assert(a->len + 2 <= SOCKS5_REPLY_MAX);
    a->bytes[a->len++] = first;
    a->bytes[a->len++] = second;
}

static void next_message(struct socks5 *s, enum socks5_state state)
{
    mem_wipe(s->message, s->held);
    s->held = 0;
    s->state = state;
}

/* ---- the greeting ---- */

static int choose_method(struct socks5 *s, struct answer *a)
{
    const uint8_t *methods = s->message + 2;
    size_t count = s->message[1];
    s->greeted = true;
    s->method = METHOD_REFUSE;
    if (memchr(methods, METHOD_LOGIN, count) != NULL)
        s->method = METHOD_LOGIN;
    else if (memchr(methods, METHOD_NONE, count) != NULL)
        s->method = METHOD_NONE;
    say(a, VERSION, s->method);
    if (s->method == METHOD_REFUSE)
        return fail(s, ERR_SYNTAX,
                    "the client offers neither \"no authentication\" nor user name and password");
    next_message(s, s->method == METHOD_LOGIN ? SOCKS5_AUTH : SOCKS5_REQUEST);
    return SOCKS5_MORE;
}

/* Both "05 01 00", a whole greeting, and the same bytes as the start of a request: the next byte tells. */
static bool is_ambiguous(const struct socks5 *s)
{
    return s->state == SOCKS5_METHODS && s->held == 3 && s->message[1] == 1;
}

static int check_greeting(struct socks5 *s, struct answer *a)
{
    size_t held = s->held;
    if (s->message[0] != VERSION)
        return fail(s, ERR_SYNTAX,
                    s->message[0] == 4 ? "this is SOCKS4: only SOCKS5 is spoken here" : "this is not SOCKS5");
    if (held == 1)
        return SOCKS5_MORE;
    s->state = SOCKS5_METHODS;
    if (s->message[1] == 0)
        return fail(s, ERR_SYNTAX, "the greeting offers no method");
    if (held < 2 + (size_t)s->message[1])
        return SOCKS5_MORE;
    if (held == 3 && s->message[2] == METHOD_NONE)
        return SOCKS5_MORE;
    return choose_method(s, a);
}

/* ---- user name and password ---- */

static void take_login(struct socks5 *s)
{
    const uint8_t *m = s->message;
    s->login_len = m[1];
    memcpy(s->login, m + 2, s->login_len);
    s->login[s->login_len] = '\0';
    s->password_len = m[2 + s->login_len];
    memcpy(s->password, m + 3 + s->login_len, s->password_len);
    s->password[s->password_len] = '\0';
    s->has_login = true;
}

static int check_login(struct socks5 *s, struct answer *a)
{
    size_t held = s->held;
    if (s->message[0] != LOGIN_VERSION)
        return fail(s, ERR_SYNTAX, "the version of the user name and password message is not 1");
    if (held < 2 || held < 3 + (size_t)s->message[1])
        return SOCKS5_MORE;
    if (held < 3 + (size_t)s->message[1] + s->message[2 + s->message[1]])
        return SOCKS5_MORE;
    take_login(s);
    say(a, LOGIN_VERSION, 0);
    next_message(s, SOCKS5_REQUEST);
    return SOCKS5_MORE;
}

/* ---- the request ---- */

static int check_command(struct socks5 *s)
{
    switch (s->message[1]) {
    case COMMAND_CONNECT:
        return 0;
    case COMMAND_BIND:
        return fail(s, ERR_UNSUPPORTED, "BIND is not supported: only CONNECT is");
    case COMMAND_UDP:
        return fail(s, ERR_UNSUPPORTED, "UDP ASSOCIATE is not supported: only CONNECT is");
    default:
        return fail(s, ERR_UNSUPPORTED, "the command is not known: only CONNECT is supported");
    }
}

/* Checks what there is of a request, in the order of its bytes. */
static int check_request_start(struct socks5 *s)
{
    const uint8_t *m = s->message;
    size_t held = s->held;
    if (m[0] != VERSION)
        return fail(s, ERR_SYNTAX, "the version of the request is not 5");
    if (held >= 2 && check_command(s) < 0)
        return ERR_UNSUPPORTED;
    if (held >= 3 && m[2] != 0)
        return fail(s, ERR_SYNTAX, "the reserved byte of the request is not 0");
    if (held >= 4 && m[3] != ADDRESS_IPV4 && m[3] != ADDRESS_NAME && m[3] != ADDRESS_IPV6)
        return fail(s, ERR_SYNTAX, "the address type is not IPv4, name or IPv6");
    if (held >= 5 && m[3] == ADDRESS_NAME && m[4] == 0)
        return fail(s, ERR_SYNTAX, "the host name is empty");
    return 0;
}

static void take_request(struct socks5 *s, const uint8_t *address, size_t len)
{
    s->address_type = s->message[3];
    if (s->address_type == ADDRESS_NAME) {
        memcpy(s->host, address, len);
        s->host[len] = '\0';
        s->host_len = (uint8_t)len;
    } else {
        const char *done =
            inet_ntop(s->address_type == ADDRESS_IPV4 ? AF_INET : AF_INET6, address, s->host, sizeof s->host);
        assert(done != NULL);
        s->host_len = (uint8_t)strlen(s->host);
    }
    s->port = (uint16_t)(address[len] << 8 | address[len + 1]);
}

static int check_request(struct socks5 *s)
{
    int rc = check_request_start(s);
    if (rc < 0 || s->held < 5)
        return rc;
    const uint8_t *address = s->message + 4;
    size_t len = s->message[3] == ADDRESS_IPV4 ? 4 : 16;
    if (s->message[3] == ADDRESS_NAME)
        len = *address++;
    if (s->message + s->held < address + len + 2)
        return SOCKS5_MORE;
    take_request(s, address, len);
    next_message(s, SOCKS5_FINISHED);
    return SOCKS5_DONE;
}

/* The byte behind "05 01 00". answered: "05 00" went out when that was all there was. */
static int resolve_opening(struct socks5 *s, uint8_t byte, bool answered, struct answer *a)
{
    if (byte == VERSION) {
        s->greeted = true;
        if (!answered)
            say(a, VERSION, METHOD_NONE);
        next_message(s, SOCKS5_REQUEST);
        s->message[s->held++] = byte;
        return SOCKS5_MORE;
    }
    /* no greeting, or nonsense: either way the client may have taken "05 00" for the start of a success */
    s->early = answered;
    s->state = SOCKS5_REQUEST;
    s->message[s->held++] = byte;
    return check_request(s);
}

static int take_byte(struct socks5 *s, uint8_t byte, bool answered, struct answer *a)
{
    if (is_ambiguous(s))
        return resolve_opening(s, byte, answered, a);
    s->message[s->held++] = byte;
    switch (s->state) {
    case SOCKS5_START:
    case SOCKS5_METHODS:
        return check_greeting(s, a);
    case SOCKS5_AUTH:
        return check_login(s, a);
    default:
        return check_request(s);
    }
}

/* ---- for others ---- */

void socks5_init(struct socks5 *s)
{
    memset(s, 0, sizeof *s);
}

void socks5_deinit(struct socks5 *s)
{
    mem_wipe(s, sizeof *s); /* the host name too: it may be a ticket */
}

int socks5_feed(struct socks5 *s, const uint8_t *data, size_t len, size_t *used,
                uint8_t reply[SOCKS5_REPLY_MAX], size_t *reply_len)
{
    struct answer a = {reply, 0};
    bool answered = is_ambiguous(s);
    int rc = SOCKS5_MORE;
    *used = 0;
    *reply_len = 0;
    if (s->state == SOCKS5_FINISHED)
        return SOCKS5_DONE;
    if (s->state == SOCKS5_FAILED)
        return ERR_SYNTAX;
    while (rc == SOCKS5_MORE && *used < len)
        rc = take_byte(s, data[(*used)++], answered, &a);
    if (is_ambiguous(s) && !answered)
        say(&a, VERSION, METHOD_NONE);
    *reply_len = a.len;
    return rc;
}

size_t socks5_reply(const struct socks5 *s, uint8_t code, uint8_t dst[SOCKS5_REPLY_MAX])
{
    const uint8_t whole[SOCKS5_REPLY_MAX] = {VERSION, code, 0, ADDRESS_IPV4};
    size_t said = s->early ? 2 : 0;
    assert(code <= 8);
    if (s->method == METHOD_REFUSE || (s->early && code != 0))
        return 0;
    memcpy(dst, whole + said, sizeof whole - said);
    return sizeof whole - said;
}

/* ---- the client's side ---- */

int socks5_request(uint8_t dst[SOCKS5_REQUEST_MAX], const char *name, uint16_t port)
{
    size_t n = strlen(name);
    if (n > 255)
        return ERR_TOO_BIG;
    const uint8_t head[] = {5, 1, 0, 3, (uint8_t)n};
    memcpy(dst, head, sizeof head);
    memcpy(dst + sizeof head, name, n);
    dst[sizeof head + n] = (uint8_t)(port >> 8);
    dst[sizeof head + n + 1] = (uint8_t)port;
    return (int)(sizeof head + n + 2);
}

/* How long the reply is, as far as it can be told; 0: not yet. */
static size_t reply_length(const struct socks5_client *s)
{
    const uint8_t *m = s->message;
    if (s->held < 5)
        return 0;
    return m[3] == 1 ? 10 : m[3] == 4 ? 22 : 7u + m[4];
}

int socks5_client_feed(struct socks5_client *s, const uint8_t *data, size_t len, size_t *used)
{
    const uint8_t *m = s->message;
    for (*used = 0; *used < len;) {
        if (s->held < sizeof s->message)
            s->message[s->held] = data[*used];
        s->held++;
        (*used)++;
        if (m[0] != 5 || (s->held == 4 && m[3] != 1 && m[3] != 3 && m[3] != 4))
            return ERR_SYNTAX;
        s->code = s->held >= 2 ? m[1] : 0;
        if (s->code != 0 || s->held == reply_length(s))
            return SOCKS5_DONE;
    }
    return SOCKS5_MORE;
}

const char *socks5_code_text(uint8_t code)
{
    static const char *const texts[] = {
        "succeeded",           "general failure",       "not allowed",
        "network unreachable", "host unreachable",      "connection refused",
        "TTL expired",         "command not supported", "address type not supported"};
    return code < sizeof texts / sizeof texts[0] ? texts[code] : "a reply that is not known";
}
