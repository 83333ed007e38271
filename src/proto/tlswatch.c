/* Follows a TLS handshake that passes by: one flow per side, each a record layer over one handshake message.
 *
 * The relay feeds it what it moves, the listener the first record of a client it is about to refuse. It must
 * not know of either, nor of policy: it tells facts. Everything in here comes from strangers, so lengths are
 * believed only as far as bytes have arrived.
 */
#include "proto/tlswatch.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"

enum {
    RECORD_ALERT = 21,
    RECORD_HANDSHAKE = 22,
    RECORD_HEAD = 5,
    RECORD_BODY_MAX = 16384 + 2048,

    MESSAGE_HEAD = 4,
    MESSAGE_HELLO_REQUEST = 0,
    MESSAGE_CLIENT_HELLO = 1,
    MESSAGE_SERVER_HELLO = 2,

    EXTENSION_SERVER_NAME = 0,
    EXTENSION_SESSION_TICKET = 35,
    EXTENSION_PRE_SHARED_KEY = 41,
    EXTENSION_SUPPORTED_VERSIONS = 43,

    SSL2_BIT = 0x80, /* of the first byte: a two-byte record header; no TLS content type has it */
    SSL2_HEAD = 2,
    SSL2_CHALLENGE_MIN = 16,
    SSL2_CHALLENGE_MAX = 32,
    SSL2_SESSION_ID = 16,

    ALERT_BODY = 2,
    ALERT_WARNING = 1,
    ALERT_FATAL = 2,
    ALERT_CLOSE_NOTIFY = 0,
    ALERT_NONE = 0xff,
};

/* One direction. While head_len < RECORD_HEAD a header is being read, then `left` bytes of its record are
 * still to come. */
struct flow {
    uint8_t head[RECORD_HEAD]; /* of an SSLv2 record: its header and the three bytes behind it */
    uint8_t head_len;
    bool begun; /* the first header was that of a record which may stand there */
    bool done;
    uint8_t alert[ALERT_BODY];
    uint8_t alert_len;
    size_t left;
    struct buf hello; /* the handshake message so far, its header included */
};

struct tlswatch {
    struct tls_facts facts;
    enum tlswatch_result failed; /* TLSWATCH_MORE as long as nothing went wrong */
    const char *why;
    struct flow flow[2]; /* by enum tlswatch_side */
};

_Static_assert(sizeof(struct tlswatch) < 1024, "one of these hangs on every new tunnel");

struct tlswatch *tlswatch_new(void)
{
    struct tlswatch *w = mem_zalloc(sizeof *w);
    w->facts.alert = ALERT_NONE;
    for (size_t i = 0; i < 2; i++)
        buf_init(&w->flow[i].hello, TLSWATCH_HELLO_MAX);
    return w;
}

void tlswatch_free(struct tlswatch *w)
{
    if (w == NULL)
        return;
    for (size_t i = 0; i < 2; i++)
        buf_deinit(&w->flow[i].hello);
    free(w);
}

const struct tls_facts *tlswatch_facts(const struct tlswatch *w)
{
    return &w->facts;
}

const char *tlswatch_why(const struct tlswatch *w)
{
    return w->why;
}

static enum tlswatch_result fail(struct tlswatch *w, enum tlswatch_result result, const char *why)
{
    w->failed = result;
    w->why = why;
    for (size_t i = 0; i < 2; i++)
        buf_deinit(&w->flow[i].hello);
    return result;
}

static void finish(struct flow *f)
{
    f->done = true;
    buf_deinit(&f->hello);
}

/* ---- reading a message: a cursor that never passes its end ---- */

struct cursor {
    const uint8_t *p;
    size_t left;
};

static unsigned u16_at(const uint8_t *p)
{
    return (unsigned)p[0] << 8 | p[1];
}

static bool take(struct cursor *c, size_t n, struct cursor *out)
{
    if (n > c->left)
        return false;
    *out = (struct cursor){c->p, n};
    c->p += n;
    c->left -= n;
    return true;
}

static bool take_u8(struct cursor *c, unsigned *value)
{
    struct cursor field;
    if (!take(c, 1, &field))
        return false;
    *value = field.p[0];
    return true;
}

static bool take_u16(struct cursor *c, unsigned *value)
{
    struct cursor field;
    if (!take(c, 2, &field))
        return false;
    *value = u16_at(field.p);
    return true;
}

static bool take_vec8(struct cursor *c, struct cursor *out)
{
    unsigned n;
    return take_u8(c, &n) && take(c, n, out);
}

static bool take_vec16(struct cursor *c, struct cursor *out)
{
    unsigned n;
    return take_u16(c, &n) && take(c, n, out);
}

/* RFC 8446 4.2.1: without supported_versions nothing beyond 1.2 is meant, whatever legacy_version says. */
static uint16_t legacy_offer(unsigned version)
{
    return (uint16_t)(version > TLS_VERSION_12 ? TLS_VERSION_12 : version);
}

/* ---- extensions ---- */

static const char *read_server_name(struct tls_facts *facts, struct cursor ext)
{
    static const char broken[] = "the server_name extension of the ClientHello is broken";
    struct cursor list, name;
    unsigned type;
    if (!take_vec16(&ext, &list) || ext.left > 0 || list.left == 0)
        return broken;
    while (list.left > 0) {
        if (!take_u8(&list, &type) || !take_vec16(&list, &name))
            return broken;
        if (type != 0) /* RFC 6066 knows host_name only */
            continue;
        if (facts->sni[0] != '\0' || name.left == 0)
            return broken;
        if (name.left >= sizeof facts->sni)
            return "the server name in the ClientHello is longer than 255 bytes";
        for (size_t i = 0; i < name.left; i++)
            facts->sni[i] = name.p[i] >= 0x20 && name.p[i] < 0x7f ? (char)name.p[i] : '?';
        facts->sni[name.left] = '\0';
    }
    return NULL;
}

/* Only versions of major 3 count: that leaves out GREASE (0x0a0a, 0x1a1a, ...), drafts of 1.3 and DTLS. */
static const char *read_offered_versions(struct tls_facts *facts, struct cursor ext)
{
    struct cursor list;
    unsigned version;
    if (!take_vec8(&ext, &list) || ext.left > 0 || list.left == 0 || list.left % 2 != 0)
        return "the supported_versions extension of the ClientHello is broken";
    uint16_t min = 0, max = 0;
    while (take_u16(&list, &version)) {
        if (version >> 8 != 3)
            continue;
        if (min == 0 || version < min)
            min = (uint16_t)version;
        if (version > max)
            max = (uint16_t)version;
    }
    if (max == 0)
        return "the ClientHello offers no version of TLS or SSLv3";
    facts->offered_min = min;
    facts->offered_max = max;
    return NULL;
}

static const char *read_client_extension(struct tls_facts *facts, unsigned type, struct cursor ext)
{
    switch (type) {
    case EXTENSION_SERVER_NAME:
        return read_server_name(facts, ext);
    case EXTENSION_SUPPORTED_VERSIONS:
        return read_offered_versions(facts, ext);
    case EXTENSION_PRE_SHARED_KEY:
        facts->resumed_or_psk = true;
        return NULL;
    case EXTENSION_SESSION_TICKET:
        facts->resumed_or_psk = facts->resumed_or_psk || ext.left > 0;
        return NULL;
    default:
        return NULL;
    }
}

static const char *read_server_extension(struct tls_facts *facts, unsigned type, struct cursor ext)
{
    unsigned version;
    if (type != EXTENSION_SUPPORTED_VERSIONS)
        return NULL;
    if (!take_u16(&ext, &version) || ext.left > 0)
        return "the supported_versions extension of the ServerHello is broken";
    facts->negotiated = (uint16_t)version;
    return NULL;
}

/* What is left of a hello: nothing at all, or one list of extensions. One that comes twice would let us and
 * the peer read different hellos, so it is refused where it matters. */
static const char *read_extensions(struct tls_facts *facts, struct cursor c,
                                   const char *(*read)(struct tls_facts *, unsigned, struct cursor))
{
    static const char broken[] = "the extensions of the hello do not add up";
    struct cursor list, ext;
    unsigned type;
    uint64_t seen = 0; /* those read in here are all below 64 */
    if (c.left == 0)
        return NULL;
    if (!take_vec16(&c, &list) || c.left > 0)
        return broken;
    while (list.left > 0) {
        if (!take_u16(&list, &type) || !take_vec16(&list, &ext))
            return broken;
        uint64_t bit = type < 64 ? UINT64_C(1) << type : 0;
        if (seen & bit)
            return "an extension comes twice in the hello";
        seen |= bit;
        const char *why = read(facts, type, ext);
        if (why != NULL)
            return why;
    }
    return NULL;
}

/* ---- hellos, without their message header; NULL or what is wrong ---- */

static const char *read_client_hello(struct tls_facts *facts, struct cursor c)
{
    struct cursor random, session, suites, methods;
    unsigned version;
    if (!take_u16(&c, &version) || !take(&c, 32, &random) || !take_vec8(&c, &session) || session.left > 32 ||
        !take_vec16(&c, &suites) || suites.left == 0 || suites.left % 2 != 0 || !take_vec8(&c, &methods) ||
        methods.left == 0)
        return "the ClientHello is cut short, or its lengths do not add up";
    if (version < TLS_VERSION_SSL3)
        return "the ClientHello names a version before SSLv3";
    facts->offered_max = legacy_offer(version);
    return read_extensions(facts, c, read_client_extension);
}

static const char *read_ssl2_hello(struct tls_facts *facts, struct cursor c)
{
    unsigned type, version, suites, session, challenge;
    if (!take_u8(&c, &type) || !take_u16(&c, &version) || !take_u16(&c, &suites) || !take_u16(&c, &session) ||
        !take_u16(&c, &challenge) || suites == 0 || suites % 3 != 0 ||
        (session != 0 && session != SSL2_SESSION_ID) || challenge < SSL2_CHALLENGE_MIN ||
        challenge > SSL2_CHALLENGE_MAX || c.left != suites + session + challenge)
        return "the lengths in the SSLv2 ClientHello do not add up";
    facts->offered_max = legacy_offer(version);
    return NULL;
}

static const char *read_server_hello(struct tls_facts *facts, struct cursor c)
{
    struct cursor random, session;
    unsigned version, cipher, method;
    if (!take_u16(&c, &version) || !take(&c, 32, &random) || !take_vec8(&c, &session) || session.left > 32 ||
        !take_u16(&c, &cipher) || !take_u8(&c, &method))
        return "the ServerHello is cut short, or its lengths do not add up";
    facts->negotiated = (uint16_t)version;
    facts->cipher = (uint16_t)cipher;
    const char *why = read_extensions(facts, c, read_server_extension);
    if (why == NULL && facts->negotiated >> 8 != 3)
        why = "the ServerHello chooses no version of TLS or SSLv3";
    return why;
}

/* ---- handshake messages out of records ---- */

static enum tlswatch_result hello_complete(struct tlswatch *w, enum tlswatch_side side)
{
    struct flow *f = &w->flow[side];
    struct cursor c = {f->hello.data, f->hello.len};
    const char *why;
    if (!w->facts.sslv2_hello || side == TLSWATCH_SERVER) {
        c.p += MESSAGE_HEAD;
        c.left -= MESSAGE_HEAD;
        why = side == TLSWATCH_CLIENT ? read_client_hello(&w->facts, c) : read_server_hello(&w->facts, c);
    } else {
        why = read_ssl2_hello(&w->facts, c);
    }
    if (why != NULL)
        return fail(w, TLSWATCH_MALFORMED, why);
    finish(f);
    if (side == TLSWATCH_CLIENT)
        return TLSWATCH_CLIENT_HELLO;
    finish(&w->flow[TLSWATCH_CLIENT]);
    return TLSWATCH_SERVER_HELLO;
}

/* Adds n bytes of the record to the hello; the callers keep it below its maximum. */
static void collect(struct flow *f, const uint8_t *data, size_t n)
{
    int rc = buf_append(&f->hello, data, n);
    assert(rc == 0);
    f->left -= n;
}

static size_t message_size(const struct buf *b)
{
    return MESSAGE_HEAD + ((size_t)b->data[1] << 16 | u16_at(b->data + 2));
}

static enum tlswatch_result message_begun(struct tlswatch *w, enum tlswatch_side side)
{
    struct buf *b = &w->flow[side].hello;
    if (side == TLSWATCH_SERVER && b->data[0] == MESSAGE_HELLO_REQUEST && message_size(b) == MESSAGE_HEAD) {
        b->len = 0; /* RFC 5246 7.4.1.1: may come at any time and means nothing during a handshake */
        return TLSWATCH_MORE;
    }
    if (side == TLSWATCH_CLIENT && b->data[0] != MESSAGE_CLIENT_HELLO)
        return fail(w, TLSWATCH_MALFORMED, "the client's handshake does not begin with a ClientHello");
    if (side == TLSWATCH_SERVER && b->data[0] != MESSAGE_SERVER_HELLO)
        return fail(w, TLSWATCH_MALFORMED, "the server's handshake does not begin with a ServerHello");
    if (message_size(b) > b->max)
        return fail(w, TLSWATCH_MALFORMED, "the hello is longer than 64 KB");
    return message_size(b) == MESSAGE_HEAD ? hello_complete(w, side) : TLSWATCH_MORE;
}

/* Takes what lies in this record of the message, at most to the message's end. */
static size_t read_handshake(struct tlswatch *w, enum tlswatch_side side, const uint8_t *data, size_t len,
                             enum tlswatch_result *result)
{
    struct flow *f = &w->flow[side];
    bool in_head = f->hello.len < MESSAGE_HEAD;
    size_t want = (in_head ? MESSAGE_HEAD : message_size(&f->hello)) - f->hello.len;
    size_t n = want < len ? want : len;
    if (n > f->left)
        n = f->left;
    collect(f, data, n);
    if (n == want)
        *result = in_head ? message_begun(w, side) : hello_complete(w, side);
    return n;
}

static size_t read_ssl2(struct tlswatch *w, const uint8_t *data, size_t len, enum tlswatch_result *result)
{
    struct flow *f = &w->flow[TLSWATCH_CLIENT];
    size_t n = len < f->left ? len : f->left;
    collect(f, data, n);
    if (f->left == 0)
        *result = hello_complete(w, TLSWATCH_CLIENT);
    return n;
}

/* Warnings are passed over: a server without the name that was asked for may warn with unrecognized_name and
 * go on. */
static size_t read_alert(struct tlswatch *w, const uint8_t *data, enum tlswatch_result *result)
{
    struct flow *f = &w->flow[TLSWATCH_SERVER];
    f->alert[f->alert_len++] = data[0];
    f->left--;
    if (f->left > 0)
        return 1;
    f->alert_len = 0;
    if (f->alert[0] == ALERT_WARNING && f->alert[1] != ALERT_CLOSE_NOTIFY)
        return 1;
    w->facts.alert = f->alert[1];
    finish(f);
    finish(&w->flow[TLSWATCH_CLIENT]);
    *result = TLSWATCH_SERVER_HELLO;
    return 1;
}

/* ---- records ---- */

/* May a side's first record begin with these bytes? Asked at every byte, so that a stranger is told at once.
 */
static bool first_head_fits(enum tlswatch_side side, const uint8_t *head, size_t len)
{
    if (side == TLSWATCH_CLIENT && (head[0] & SSL2_BIT)) {
        if (len >= 3 && head[2] != MESSAGE_CLIENT_HELLO)
            return false;
        if (len >= 4 && head[3] != 0 && head[3] != 3)
            return false;
        return len < 5 || head[3] == 3 || head[4] == TLS_VERSION_SSL2;
    }
    bool type = head[0] == RECORD_HANDSHAKE || (side == TLSWATCH_SERVER && head[0] == RECORD_ALERT);
    return type && (len < 2 || head[1] == 3);
}

static enum tlswatch_result begin_ssl2(struct tlswatch *w, struct flow *f)
{
    size_t size = u16_at(f->head) & 0x7fff;
    size_t have = RECORD_HEAD - SSL2_HEAD;
    if (size <= have)
        return fail(w, TLSWATCH_MALFORMED, "the SSLv2 record is too short for a ClientHello");
    w->facts.sslv2_hello = true;
    f->left = size;
    collect(f, f->head + SSL2_HEAD, have);
    return TLSWATCH_MORE;
}

static enum tlswatch_result begin_record(struct tlswatch *w, struct flow *f, enum tlswatch_side side)
{
    bool alert = f->head[0] == RECORD_ALERT && side == TLSWATCH_SERVER;
    f->left = u16_at(f->head + 3);
    if (f->head[0] != RECORD_HANDSHAKE && !alert)
        return fail(w, TLSWATCH_MALFORMED,
                    "a record that is not a handshake comes before the hello is complete");
    if (f->head[1] != 3)
        return fail(w, TLSWATCH_MALFORMED, "a record has a version that is neither TLS nor SSLv3");
    if (f->left == 0)
        return fail(w, TLSWATCH_MALFORMED, "a record is empty");
    if (f->left > RECORD_BODY_MAX)
        return fail(w, TLSWATCH_MALFORMED, "a record is longer than TLS allows");
    if (alert && f->left != ALERT_BODY)
        return fail(w, TLSWATCH_MALFORMED, "an alert record is not two bytes long");
    return TLSWATCH_MORE;
}

static size_t read_head(struct tlswatch *w, enum tlswatch_side side, uint8_t byte,
                        enum tlswatch_result *result)
{
    struct flow *f = &w->flow[side];
    bool first = !f->begun;
    f->head[f->head_len++] = byte;
    if (first && !first_head_fits(side, f->head, f->head_len)) {
        *result = fail(w, TLSWATCH_NOT_TLS,
                       side == TLSWATCH_CLIENT
                           ? "the client's first bytes are not a TLS handshake record"
                           : "the server's first bytes are not a TLS handshake or alert record");
    } else if (f->head_len == RECORD_HEAD) {
        f->begun = true;
        *result = first && (f->head[0] & SSL2_BIT) ? begin_ssl2(w, f) : begin_record(w, f, side);
    }
    return 1;
}

static size_t read_body(struct tlswatch *w, enum tlswatch_side side, const uint8_t *data, size_t len,
                        enum tlswatch_result *result)
{
    struct flow *f = &w->flow[side];
    size_t n;
    if (f->head[0] & SSL2_BIT)
        n = read_ssl2(w, data, len, result);
    else if (f->head[0] == RECORD_ALERT)
        n = read_alert(w, data, result);
    else
        n = read_handshake(w, side, data, len, result);
    if (f->left == 0)
        f->head_len = 0;
    return n;
}

enum tlswatch_result tlswatch_feed(struct tlswatch *w, enum tlswatch_side side, const uint8_t *data,
                                   size_t len, size_t *used)
{
    struct flow *f = &w->flow[side];
    enum tlswatch_result result = w->failed;
    size_t at = 0;
    if (result == TLSWATCH_MORE && f->done)
        at = len;
    while (result == TLSWATCH_MORE && at < len) {
        if (f->head_len < RECORD_HEAD)
            at += read_head(w, side, data[at], &result);
        else
            at += read_body(w, side, data + at, len - at, &result);
    }
    *used = at;
    return result;
}

/* ---- names and alerts ---- */

static const struct {
    uint16_t version;
    const char *name;
} version_names[] = {
    {TLS_VERSION_SSL2, "ssl2"}, {TLS_VERSION_SSL3, "ssl3"}, {TLS_VERSION_10, "tls1.0"},
    {TLS_VERSION_11, "tls1.1"}, {TLS_VERSION_12, "tls1.2"}, {TLS_VERSION_13, "tls1.3"},
};

const char *tls_version_name(uint16_t version)
{
    static _Thread_local char unknown[8];
    if (version == 0)
        return NULL;
    for (size_t i = 0; i < sizeof version_names / sizeof version_names[0]; i++) {
        if (version_names[i].version == version)
            return version_names[i].name;
    }
    snprintf(unknown, sizeof unknown, "0x%04x", version);
    return unknown;
}

uint16_t tls_version_parse(const char *name)
{
    for (size_t i = 0; i < sizeof version_names / sizeof version_names[0]; i++) {
        if (version_names[i].version >= TLS_VERSION_SSL3 && strcmp(version_names[i].name, name) == 0)
            return version_names[i].version;
    }
    return 0;
}

void tls_alert_record(uint8_t dst[TLS_ALERT_RECORD], uint16_t record_version, uint8_t description)
{
    unsigned version = record_version > TLS_VERSION_12     ? TLS_VERSION_12
                       : record_version < TLS_VERSION_SSL3 ? TLS_VERSION_SSL3
                                                           : record_version;
    const uint8_t record[TLS_ALERT_RECORD] = {
        RECORD_ALERT, (uint8_t)(version >> 8), (uint8_t)version, 0, ALERT_BODY, ALERT_FATAL, description};
    memcpy(dst, record, sizeof record);
}
