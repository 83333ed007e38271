/* HTTP/1.x messages, strictly, on top of http-parser (the only file that knows it, so that llhttp can replace
 * it).
 *
 * A push parser without I/O: bytes in, a head, body bytes, an end out. RFC 9112 as a relay has to read it;
 * every input that http-parser accepts although it must not be is refused here: blanks in or after a field
 * name, bare LF as line end, more than one Transfer-Encoding or one that is not exactly "chunked",
 * Transfer-Encoding in HTTP/1.0, Transfer-Encoding together with Content-Length, no Host or two in an
 * HTTP/1.1 request (CONNECT may go without), versions other than 1.0 and 1.1, CONNECT with a body
 * ("Content-Length: 0" is none) or with a target that proto/hostport.h refuses, control characters in values,
 * obs-fold. Chunk framing never comes out: bodies are decoded.
 */
#ifndef STAGATE_PROTO_HTTP_H
#define STAGATE_PROTO_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#define HTTP_HEAD_MAX   16384 /* bytes of request or status line and all fields */
#define HTTP_FIELDS_MAX 64

/* The names that somebody here asks for, by length. Which one a field has is found once, when it is read. */
#define HTTP_NAMES(X)                                                                                        \
    X(TE, "TE")                                                                                              \
    X(VIA, "Via")                                                                                            \
    X(HOST, "Host")                                                                                          \
    X(EXPECT, "Expect")                                                                                      \
    X(ORIGIN, "Origin")                                                                                      \
    X(TRAILER, "Trailer")                                                                                    \
    X(UPGRADE, "Upgrade")                                                                                    \
    X(X_MS_RP, "X-MS-RP")                                                                                    \
    X(LOCATION, "Location")                                                                                  \
    X(FORWARDED, "Forwarded")                                                                                \
    X(CONNECTION, "Connection")                                                                              \
    X(KEEP_ALIVE, "Keep-Alive")                                                                              \
    X(USER_AGENT, "User-Agent")                                                                              \
    X(CONTENT_TYPE, "Content-Type")                                                                          \
    X(X_STA_TICKET, "X-STA-Ticket")                                                                          \
    X(AUTHORIZATION, "Authorization")                                                                        \
    X(X_MS_LOCATION, "X-MS-Location")                                                                        \
    X(CONTENT_LENGTH, "Content-Length")                                                                      \
    X(X_MS_POLICY_KEY, "X-MS-PolicyKey")                                                                     \
    X(ACCEPT_ENCODING, "Accept-Encoding")                                                                    \
    X(X_FORWARDED_FOR, "X-Forwarded-For")                                                                    \
    X(CONTENT_ENCODING, "Content-Encoding")                                                                  \
    X(X_STAGATE_REASON, "X-Stagate-Reason")                                                                  \
    X(PROXY_CONNECTION, "Proxy-Connection")                                                                  \
    X(TRANSFER_ENCODING, "Transfer-Encoding")                                                                \
    X(X_FORWARDED_PROTO, "X-Forwarded-Proto")                                                                \
    X(PROXY_AUTHORIZATION, "Proxy-Authorization")                                                            \
    X(MS_AS_PROTOCOL_VERSION, "MS-ASProtocolVersion")                                                        \
    X(MS_AS_PROTOCOL_VERSIONS, "MS-ASProtocolVersions")

enum http_name {
    HTTP_NAME_OTHER,
#define HTTP_NAME(id, text) HTTP_NAME_##id,
    HTTP_NAMES(HTTP_NAME)
#undef HTTP_NAME
        HTTP_NAME_COUNT
};

/* Case-insensitively. */
enum http_name http_name_of(const char *text, size_t len);

struct http_field {
    const char *name;  /* NUL-terminated, as sent */
    const char *value; /* NUL-terminated, blanks at both ends removed */
    enum http_name known;
};

struct http_head {
    const char *method; /* requests: "CONNECT", "POST", ...; NULL in responses */
    const char
        *target;     /* requests: the request target as sent, e.g. "mail.example.com:443" or "/path?query" */
    unsigned status; /* responses */
    unsigned minor;  /* HTTP/1.minor */
    bool keep_alive; /* may the connection be used for another message */
    bool chunked;    /* framing of the body */
    int64_t content_length; /* -1: not given */
    size_t field_count;
    const struct http_field *fields; /* in order */
};

enum http_kind { HTTP_REQUEST, HTTP_RESPONSE };

/* Callbacks get borrowed data, valid until they return. They return 0 to go on or negative to stop:
 * http_reader_feed then returns that. The reader must not be freed inside one. */
struct http_events {
    int (*on_head)(void *owner, const struct http_head *head);
    int (*on_body)(void *owner, const uint8_t *data, size_t len); /* decoded; may be NULL */
};

enum http_result {
    HTTP_MORE = 0, /* all input taken */
    HTTP_DONE = 1, /* a message ended; *used tells where; feed the rest to read the next one */
    HTTP_UPGRADE =
        2, /* the head of a CONNECT request (or the 2xx head answering one) ended: the rest is the tunnel's */
};

struct http_reader; /* about 20 KB at most while in a head, freed whole with http_reader_free */

/* events and owner are borrowed for the reader's life. */
struct http_reader *http_reader_new(enum http_kind kind, const struct http_events *events, void *owner);
void http_reader_free(struct http_reader *r); /* wipes what it held: heads carry credentials */
/* For response readers, before each message: what the request was, as it changes the framing (HEAD has no
 * body, CONNECT a tunnel). */
void http_reader_expect(struct http_reader *r, const char *request_method);

/* Feeds bytes. enum http_result, or negative: ERR_SYNTAX (400), ERR_TOO_BIG (431), ERR_UNSUPPORTED (505:
 * version; 501: coding, method) or what a callback returned; after a negative result the reader is only good
 * for freeing. */
int http_reader_feed(struct http_reader *r, const uint8_t *data, size_t len, size_t *used);
/* End of the connection: HTTP_DONE if that ends a message properly (a response without length), HTTP_MORE if
 * none had begun, ERR_SYNTAX else. */
int http_reader_finish(struct http_reader *r);
/* The status that answers what was refused: 400, 431, 501 or 505; 413 when a callback stopped the reader. */
unsigned http_reader_status(const struct http_reader *r);
/* Constant sentence after a negative result. */
const char *http_reader_why(const struct http_reader *r);

/* The value of the only field of that name, NULL if there is none or more than one; *count (may be NULL) says
 * how many there are. */
const char *http_head_field(const struct http_head *head, enum http_name name, size_t *count);
/* How many bytes of a Host value ("mail.example.com:8443", "[::1]:80", "name") are the name, brackets
 * included. */
size_t http_host_name_len(const char *host);
/* Whether a comma-separated field value holds token, case-insensitively. */
bool http_value_has_token(const char *value, const char *token);

/* Decodes "Basic ..." credentials: user and password NUL-terminated into buffers of cap bytes. ERR_SYNTAX if
 * it is not Basic with a colon and without NUL, ERR_TOO_BIG if a buffer is too small; both buffers are wiped
 * then. */
int http_basic_decode(const char *value, char *user, size_t user_cap, char *password, size_t password_cap);
/* Appends "Basic " and the credentials. ERR_TOO_BIG if they do not fit; what was encoded is wiped. */
int http_basic_encode(struct buf *out, const char *user, const char *password);
/* What stands behind "scheme " in an Authorization value, NULL when the scheme is another one
 * (case-insensitive). */
const char *http_auth_param(const char *value, const char *scheme);
const char *http_status_text(unsigned status);

#endif
