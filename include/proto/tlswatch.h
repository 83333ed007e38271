/* Reading a TLS handshake that passes by, without touching a byte: ClientHello and ServerHello (RFC 8446 4.1,
 * RFC 5246 7.4.1, RFC 6101 for SSLv3, RFC 5246 appendix E.2 for the SSLv2-compatible ClientHello; GREASE of
 * RFC 8701 left out). Push parser without I/O.
 *
 * Used twice: on the inner handshake of a tunnel, both directions, and on the first record of an outer
 * connection, where it tells what was offered before OpenSSL refuses it.
 */
#ifndef STAGATE_PROTO_TLSWATCH_H
#define STAGATE_PROTO_TLSWATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TLS_VERSION_SSL2 0x0002
#define TLS_VERSION_SSL3 0x0300
#define TLS_VERSION_10   0x0301
#define TLS_VERSION_11   0x0302
#define TLS_VERSION_12   0x0303
#define TLS_VERSION_13   0x0304

struct tls_facts {
    uint16_t offered_max; /* highest version the ClientHello offers: supported_versions without GREASE, else
                             legacy_version, which means 1.2 at most (RFC 8446 4.2.1); TLS_VERSION_SSL2 for a
                             pure SSLv2 hello; 0 while unknown */
    uint16_t offered_min; /* lowest it names (supported_versions), else 0 */
    uint16_t negotiated;  /* out of ServerHello or HelloRetryRequest; 0 while unknown */
    uint16_t cipher;      /* as negotiated; 0 while unknown */
    bool sslv2_hello;     /* the ClientHello came in SSLv2 record format */
    bool resumed_or_psk; /* ClientHello offers a pre-shared key (TLS 1.3) or a session ticket with content (up
                            to 1.2) */
    uint8_t alert;       /* description of an alert record seen in place of a ServerHello; 0xff if none */
    char sni[256]; /* server_name as sent, "" if none; not validated: bytes outside printable ASCII become '?'
                    */
};

enum tlswatch_side { TLSWATCH_CLIENT, TLSWATCH_SERVER };

enum tlswatch_result {
    TLSWATCH_MORE = 0,         /* nothing new */
    TLSWATCH_CLIENT_HELLO = 1, /* the ClientHello is complete: offered_*, sni are there. Once. */
    TLSWATCH_SERVER_HELLO =
        2, /* the first ServerHello or HelloRetryRequest is complete: nothing more to be learnt. Once. */
    TLSWATCH_NOT_TLS = 3, /* the first bytes are not a TLS record of the kind that must come there */
    TLSWATCH_MALFORMED =
        4, /* began as TLS, then broke its own framing, or a hello above TLSWATCH_HELLO_MAX */
};

#define TLSWATCH_HELLO_MAX 65536 /* of one handshake message, collected over fragments and records */

struct tlswatch; /* under 1 KB at first, grows with the hello being collected, gives it back when that is
                    complete */

struct tlswatch *tlswatch_new(void);
void tlswatch_free(struct tlswatch *w); /* NULL is fine */
/* Feeds bytes as they pass from that side. An event in the middle of data is returned at once, with *used <
 * len; feed the rest then. After NOT_TLS or MALFORMED the watch only returns the same again. A server's fatal
 * alert or close_notify sets facts.alert and is TLSWATCH_SERVER_HELLO (the handshake is over); its warnings
 * are passed over, since a server may warn with unrecognized_name and go on to its ServerHello. Bytes of a
 * side after its hello, and of both after TLSWATCH_SERVER_HELLO, are TLSWATCH_MORE, unread. */
enum tlswatch_result tlswatch_feed(struct tlswatch *w, enum tlswatch_side side, const uint8_t *data,
                                   size_t len, size_t *used);
const struct tls_facts *tlswatch_facts(const struct tlswatch *w); /* borrowed, valid as long as w */
const char *tlswatch_why(const struct tlswatch *w); /* constant sentence after NOT_TLS or MALFORMED */

/* "ssl2", "ssl3", "tls1.0" ... "tls1.3"; "0x...." into a static per-thread buffer for others; NULL for 0. */
const char *tls_version_name(uint16_t version);
/* The reverse for "ssl3", "tls1.0" ... "tls1.3"; 0 if unknown. */
uint16_t tls_version_parse(const char *name);

/* A fatal alert record (RFC 8446 6, RFC 5246 7.2) for a connection where no encryption is on yet. The version
 * is brought into what a record may carry: SSLv3 to TLS 1.2. */
#define TLS_ALERT_RECORD            7
#define TLS_ALERT_HANDSHAKE_FAIL    40
#define TLS_ALERT_PROTOCOL_VERSION  70
#define TLS_ALERT_UNRECOGNIZED_NAME 112
void tls_alert_record(uint8_t dst[TLS_ALERT_RECORD], uint16_t record_version, uint8_t description);

#endif
