/* SOCKS5 (RFC 1928), CONNECT only, as push parsers without I/O: the server's side, with RFC 1929 user name
 * and password, and, at the end, that of a client which sends no greeting.
 *
 * Two openings are accepted: a method greeting, and, as STA clients also send it, the CONNECT request right
 * away. The fourth byte tells ("05 01 00 05": a one-method greeting with the request behind it; "05 01 00
 * 01|03|04": a request without greeting). When only the ambiguous three bytes "05 01 00" have come, the
 * greeting is answered with "05 00" at once, since a greeting client waits for it; if a request without
 * greeting turns out to have been meant, those two bytes are already the first two of a success reply:
 * `early` is set, socks5_reply() then leaves them out, and a refusal can only be a close.
 *
 * Method choice: user name/password (2) when offered, else none (0), else FF and ERR_SYNTAX. Any user name
 * and password are taken (answered 01 00); whoever uses the parser judges them, so that the verdict is given
 * once, in the reply to the request.
 */
#ifndef STAGATE_PROTO_SOCKS5_H
#define STAGATE_PROTO_SOCKS5_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SOCKS5_REPLY_MAX 10 /* bytes: of a reply, and of all that one socks5_feed() can ask to be sent */

enum socks5_result {
    SOCKS5_MORE = 0, /* all input taken, the request is not complete */
    SOCKS5_DONE = 1, /* the request is complete; *used tells how much of the input belonged to it */
}; /* negative: ERR_SYNTAX (reply is general failure) or ERR_UNSUPPORTED (BIND, UDP ASSOCIATE: reply 7) */

enum socks5_state {
    SOCKS5_START,
    SOCKS5_METHODS,
    SOCKS5_AUTH,
    SOCKS5_REQUEST,
    SOCKS5_FINISHED,
    SOCKS5_FAILED
};

struct socks5 {
    enum socks5_state state;
    bool greeted;         /* a method greeting was seen */
    bool early;           /* "05 00" went out and then no greeting was meant: see above */
    bool has_login;       /* RFC 1929 took place */
    uint8_t method;       /* chosen: 0 none, 2 user name and password, FF refused */
    uint8_t address_type; /* 1 IPv4, 3 name, 4 IPv6 */
    uint16_t port;        /* host order */
    uint8_t host_len;
    char host[256];     /* NUL-terminated; may hold NUL bytes: host_len counts. IPv4 and IPv6 as text */
    char login[256];    /* NUL-terminated user name (bytes after an inner NUL are kept, login_len counts) */
    char password[256]; /* secret: wiped by socks5_deinit */
    uint8_t login_len;
    uint8_t password_len;
    const char *why;      /* constant sentence after a negative result */
    uint16_t held;        /* bytes of the message being collected */
    uint8_t message[520]; /* its bytes; wiped when it is done */
};

void socks5_init(struct socks5 *s);
void socks5_deinit(struct socks5 *s); /* wipes secrets */

/* Takes input; *used is how much of it was taken. Bytes to send to the client now go to reply (at most
 * SOCKS5_REPLY_MAX), *reply_len says how many (0: none). Call until it is done or all is used. */
int socks5_feed(struct socks5 *s, const uint8_t *data, size_t len, size_t *used,
                uint8_t reply[SOCKS5_REPLY_MAX], size_t *reply_len);

/* The reply to the request: code is RFC 1928's REP (0 succeeded ... 8), bound address 0.0.0.0:0. Returns the
 * number of bytes; 0 when `early` and code is not 0, or when the method was refused (FF said it): nothing can
 * be said any more, close. */
size_t socks5_reply(const struct socks5 *s, uint8_t code, uint8_t dst[SOCKS5_REPLY_MAX]);

/* ---- the client's side: a request without a greeting, as STA clients send it ---- */

#define SOCKS5_REQUEST_MAX (7 + 255)
/* CONNECT to a name of at most 255 bytes, a ticket or a host. The number of bytes, or ERR_TOO_BIG. */
int socks5_request(uint8_t dst[SOCKS5_REQUEST_MAX], const char *name, uint16_t port);

/* Its reply. Zeroed memory is one of which nothing has come. */
struct socks5_client {
    uint8_t code;       /* when done: REP, 0 for success */
    uint16_t held;      /* bytes that have come */
    uint8_t message[5]; /* the first of them: what they are, and how many more there will be */
};
/* SOCKS5_MORE; SOCKS5_DONE, *used then tells how much of the input belonged to the reply: of a refusal, which
 * is all there is to come, its first two bytes do. ERR_SYNTAX: no reply. */
int socks5_client_feed(struct socks5_client *s, const uint8_t *data, size_t len, size_t *used);
const char *socks5_code_text(uint8_t code); /* "connection refused", as RFC 1928 6 has it */

#endif
