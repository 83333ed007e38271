/* SOCKS5: every opening whole, cut at every byte, and byte by byte. What the client gets in the end, answers
 * and success reply in a row, must not depend on the cuts. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "proto/socks5.h"

#define NAME_REQUEST "\x05\x01\x00\x03\x04mail\x01\xbb"
#define SUCCESS      "\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"
#define T            ";40;STA475DE9C8ABDA;6C0EE48D2E8CADFEE6D1EB93BFB52A57"

struct row {
    const char *name;
    const char *bytes;
    size_t len;
    const char *client; /* what the client gets, success reply included */
    size_t client_len;
    bool direct; /* no greeting */
    uint8_t type;
    const char *host;
    size_t host_len;
    uint16_t port;
    const char *login; /* NULL: no RFC 1929 */
    const char *password;
    size_t extra; /* bytes behind the request */
};

#define BYTES(b)    .bytes = b, .len = sizeof(b) - 1
#define CLIENT(b)   .client = b, .client_len = sizeof(b) - 1
#define TO(t, h, p) .type = t, .host = h, .host_len = sizeof(h) - 1, .port = p
#define A10         "aaaaaaaaaa"
#define A250                                                                                                 \
    A10 A10 A10 A10 A10 A10 A10 A10 A10 A10 A10 A10 A10 A10 A10 A10 A10 A10 A10 A10 A10 A10 A10 A10 A10
#define A255 A250 "aaaaa"

static const struct row taken[] = {
    {"request without greeting", BYTES(NAME_REQUEST), CLIENT(SUCCESS), .direct = true, TO(3, "mail", 443)},
    {"ticket as the name", BYTES("\x05\x01\x00\x03\x34" T "\x05\xd6"), CLIENT(SUCCESS), .direct = true,
     TO(3, T, 1494)},
    {"IPv4 without greeting", BYTES("\x05\x01\x00\x01\xc0\x00\x02\x01\x00\x50"), CLIENT(SUCCESS),
     .direct = true, TO(1, "192.0.2.1", 80)},
    {"IPv6 without greeting", BYTES("\x05\x01\x00\x04\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\xff\xff"),
     CLIENT(SUCCESS), .direct = true, TO(4, "2001:db8::1", 65535)},
    {"with the tunnel's first bytes behind", BYTES(NAME_REQUEST "\x16\x03\x01"), CLIENT(SUCCESS),
     .direct = true, TO(3, "mail", 443), .extra = 3},
    {"greeting", BYTES("\x05\x01\x00" NAME_REQUEST), CLIENT("\x05\x00" SUCCESS), TO(3, "mail", 443)},
    {"greeting and IPv4", BYTES("\x05\x01\x00\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x00"),
     CLIENT("\x05\x00" SUCCESS), TO(1, "127.0.0.1", 0)},
    {"greeting and extra bytes", BYTES("\x05\x01\x00" NAME_REQUEST "xy"), CLIENT("\x05\x00" SUCCESS),
     TO(3, "mail", 443), .extra = 2},
    {"two methods", BYTES("\x05\x02\x00\x01" NAME_REQUEST), CLIENT("\x05\x00" SUCCESS), TO(3, "mail", 443)},
    {"two methods that look like BIND", BYTES("\x05\x02\x00\x03" NAME_REQUEST), CLIENT("\x05\x00" SUCCESS),
     TO(3, "mail", 443)},
    {"none is the last of three", BYTES("\x05\x03\x01\x03\x00" NAME_REQUEST), CLIENT("\x05\x00" SUCCESS),
     TO(3, "mail", 443)},
    {"login alone",
     BYTES("\x05\x01\x02\x01\x01x\x03"
           "abc" NAME_REQUEST),
     CLIENT("\x05\x02\x01\x00" SUCCESS), TO(3, "mail", 443), .login = "x", .password = "abc"},
    {"login preferred",
     BYTES("\x05\x03\x00\x01\x02\x01\x01x\x03"
           "abc" NAME_REQUEST),
     CLIENT("\x05\x02\x01\x00" SUCCESS), TO(3, "mail", 443), .login = "x", .password = "abc"},
    {"empty login", BYTES("\x05\x02\x00\x02\x01\x00\x00" NAME_REQUEST), CLIENT("\x05\x02\x01\x00" SUCCESS),
     TO(3, "mail", 443), .login = "", .password = ""},
    {"longest of all", BYTES("\x05\x01\x02\x01\xff" A255 "\xff" A255 "\x05\x01\x00\x03\xff" A255 "\x01\xbb"),
     CLIENT("\x05\x02\x01\x00" SUCCESS), TO(3, A255, 443), .login = A255, .password = A255},
    {"NUL in the name",
     BYTES("\x05\x01\x00\x03\x03"
           "a\0b\x01\xbb"),
     CLIENT(SUCCESS), .direct = true, TO(3, "a\0b", 443)},
    {"name of one byte",
     BYTES("\x05\x01\x00\x03\x01"
           "a\x01\xbb"),
     CLIENT(SUCCESS), .direct = true, TO(3, "a", 443)},
};

/* Feeds in pieces; what goes to the client is collected. Returns the last result and the number of bytes
 * taken. */
static int feed_cut(struct socks5 *s, const struct row *row, size_t first, size_t step, uint8_t *client,
                    size_t *client_len, size_t *taken_len)
{
    size_t at = 0;
    size_t stop = first;
    int rc = SOCKS5_MORE;
    *client_len = 0;
    while (rc == SOCKS5_MORE && at < row->len) {
        uint8_t reply[SOCKS5_REPLY_MAX];
        size_t reply_len = 99;
        size_t used = 99999;
        size_t n = (stop < row->len ? stop : row->len) - at;
        rc = socks5_feed(s, (const uint8_t *)row->bytes + at, n, &used, reply, &reply_len);
        ck_assert_uint_le(used, n);
        ck_assert_uint_le(reply_len, SOCKS5_REPLY_MAX);
        if (rc == SOCKS5_MORE)
            ck_assert_uint_eq(used, n);
        memcpy(client + *client_len, reply, reply_len);
        *client_len += reply_len;
        at += used;
        stop += step;
        /* nothing new, nothing to say */
        ck_assert_int_eq(socks5_feed(s, NULL, 0, &used, reply, &reply_len), rc < 0 ? ERR_SYNTAX : rc);
        ck_assert_uint_eq(reply_len + used, 0);
    }
    *taken_len = at;
    return rc;
}

static void check_taken(const struct row *row, size_t first, size_t step)
{
    static const struct socks5 nothing; /* static: its padding is zero as well */
    struct socks5 s;
    uint8_t client[64];
    size_t client_len;
    size_t used;
    bool early = row->direct && (first == 3 || step == 1);

    socks5_init(&s);
    ck_assert_msg(feed_cut(&s, row, first, step, client, &client_len, &used) == SOCKS5_DONE,
                  "%s: cut %zu: %s", row->name, first, s.why);
    ck_assert_int_eq(s.state, SOCKS5_FINISHED);
    ck_assert_uint_eq(used, row->len - row->extra);
    ck_assert_uint_eq(s.address_type, row->type);
    ck_assert_uint_eq(s.host_len, row->host_len);
    ck_assert(memcmp(s.host, row->host, row->host_len + 1) == 0);
    ck_assert_uint_eq(s.port, row->port);
    ck_assert_int_eq(s.greeted, !row->direct);
    ck_assert_msg(s.early == early, "%s: cut %zu", row->name, first);
    ck_assert_int_eq(s.has_login, row->login != NULL);
    ck_assert_str_eq(s.login, row->login ? row->login : "");
    ck_assert_str_eq(s.password, row->password ? row->password : "");
    ck_assert_uint_eq(s.login_len, strlen(s.login));
    ck_assert_uint_eq(s.password_len, strlen(s.password));
    ck_assert(memcmp(s.message, nothing.message, sizeof s.message) == 0);

    uint8_t refusal[SOCKS5_REPLY_MAX];
    size_t refusal_len = socks5_reply(&s, 2, refusal);
    ck_assert_uint_eq(refusal_len, early ? 0 : 10);
    ck_assert(early || memcmp(refusal, "\x05\x02\x00\x01\x00\x00\x00\x00\x00\x00", 10) == 0);
    client_len += socks5_reply(&s, 0, client + client_len);
    ck_assert_uint_eq(client_len, row->client_len);
    ck_assert_msg(memcmp(client, row->client, client_len) == 0, "%s: cut %zu", row->name, first);
    socks5_deinit(&s);
    ck_assert(memcmp(&s, &nothing, sizeof s) == 0);
}

START_TEST(takes)
{
    const struct row *row = &taken[_i];
    for (size_t cut = 1; cut <= row->len; cut++)
        check_taken(row, cut, row->len);
    check_taken(row, 1, 1);
}
END_TEST

static const struct {
    const char *name;
    const char *bytes;
    size_t len;
    size_t used; /* up to and with the wrong byte */
    int rc;
    const char *word;
    const char *client; /* answers before, none of them the early one */
    size_t client_len;
    size_t reply_len; /* of a reply afterwards */
} refused[] = {
    {"SOCKS4", BYTES("\x04\x01\x00\x50"), 1, ERR_SYNTAX, "SOCKS4", CLIENT(""), 10},
    {"HTTP", BYTES("GET / HTTP/1.1"), 1, ERR_SYNTAX, "not SOCKS5", CLIENT(""), 10},
    {"no methods", BYTES("\x05\x00\x05"), 2, ERR_SYNTAX, "no method", CLIENT(""), 10},
    {"GSSAPI alone", BYTES("\x05\x01\x01\x05"), 3, ERR_SYNTAX, "neither", CLIENT("\x05\xff"), 0},
    {"unknown methods", BYTES("\x05\x03\x01\x80\xff\x05"), 5, ERR_SYNTAX, "neither", CLIENT("\x05\xff"), 0},
    {"login of version 5", BYTES("\x05\x01\x02\x05\x01\x00"), 4, ERR_SYNTAX, "version", CLIENT("\x05\x02"),
     10},
    {"login of version 2", BYTES("\x05\x01\x02\x02\x01x"), 4, ERR_SYNTAX, "version", CLIENT("\x05\x02"), 10},
    {"request of version 4", BYTES("\x05\x02\x00\x01\x04\x01"), 5, ERR_SYNTAX, "version", CLIENT("\x05\x00"),
     10},
    {"request of version 4 behind a login", BYTES("\x05\x01\x02\x01\x01x\x01y\x04"), 9, ERR_SYNTAX, "version",
     CLIENT("\x05\x02\x01\x00"), 10},
    {"BIND", BYTES("\x05\x02\x00\x01\x05\x02\x00\x01"), 6, ERR_UNSUPPORTED, "BIND", CLIENT("\x05\x00"), 10},
    {"UDP ASSOCIATE", BYTES("\x05\x02\x00\x01\x05\x03\x00\x01"), 6, ERR_UNSUPPORTED, "UDP",
     CLIENT("\x05\x00"), 10},
    {"command 0", BYTES("\x05\x02\x00\x01\x05\x00"), 6, ERR_UNSUPPORTED, "command", CLIENT("\x05\x00"), 10},
    {"RESOLVE of Tor", BYTES("\x05\x02\x00\x01\x05\xf0"), 6, ERR_UNSUPPORTED, "command", CLIENT("\x05\x00"),
     10},
    {"reserved byte", BYTES("\x05\x02\x00\x01\x05\x01\x01\x03"), 7, ERR_SYNTAX, "reserved",
     CLIENT("\x05\x00"), 10},
    {"address type 0", BYTES("\x05\x02\x00\x01\x05\x01\x00\x00"), 8, ERR_SYNTAX, "address type",
     CLIENT("\x05\x00"), 10},
    {"address type 2", BYTES("\x05\x02\x00\x01\x05\x01\x00\x02"), 8, ERR_SYNTAX, "address type",
     CLIENT("\x05\x00"), 10},
    {"empty name", BYTES("\x05\x02\x00\x01\x05\x01\x00\x03\x00"), 9, ERR_SYNTAX, "empty", CLIENT("\x05\x00"),
     10},
    {"empty name without greeting", BYTES("\x05\x01\x00\x03\x00"), 5, ERR_SYNTAX, "empty", CLIENT(""), 10},
    {"no opening at all", BYTES("\x05\x01\x00\x02\x00"), 4, ERR_SYNTAX, "address type", CLIENT(""), 10},
};

START_TEST(refuses)
{
    struct row row = {.bytes = refused[_i].bytes, .len = refused[_i].len};
    bool ambiguous = memcmp(row.bytes, "\x05\x01\x00", 3) == 0;
    for (size_t cut = 0; cut < row.len; cut++) {
        struct socks5 s;
        uint8_t client[64];
        size_t client_len;
        size_t used;
        socks5_init(&s);
        /* cut 0 stands for byte by byte */
        int rc = feed_cut(&s, &row, cut ? cut : 1, cut ? row.len : 1, client, &client_len, &used);
        bool early = ambiguous && (cut == 3 || cut == 0);
        ck_assert_msg(rc == refused[_i].rc, "%s: cut %zu: %d", refused[_i].name, cut, rc);
        ck_assert_int_eq(s.state, SOCKS5_FAILED);
        ck_assert_msg(strstr(s.why, refused[_i].word) != NULL, "%s: %s", refused[_i].name, s.why);
        ck_assert_msg(used == refused[_i].used, "%s: cut %zu: %zu", refused[_i].name, cut, used);
        ck_assert_int_eq(s.early, early);
        ck_assert_uint_eq(client_len, refused[_i].client_len + (early ? 2 : 0));
        ck_assert(memcmp(client, early ? "\x05\x00" : refused[_i].client, client_len) == 0);
        ck_assert_uint_eq(socks5_reply(&s, 1, client), early ? 0 : refused[_i].reply_len);
        socks5_deinit(&s);
    }
}
END_TEST

/* Every way to cut the two ambiguous openings in three, with the early answer exactly when a piece ends
 * behind the third byte. */
START_TEST(answers_early_only_behind_three_bytes)
{
    static const char *const inputs[] = {NAME_REQUEST, "\x05\x01\x00" NAME_REQUEST};
    static const size_t lens[] = {sizeof NAME_REQUEST - 1, sizeof NAME_REQUEST - 1 + 3};
    for (int k = 0; k < 2; k++) {
        for (size_t a = 0; a <= lens[k]; a++) {
            for (size_t b = a; b <= lens[k]; b++) {
                const size_t stops[] = {a, b, lens[k]};
                struct socks5 s;
                uint8_t client[64];
                size_t client_len = 0;
                size_t at = 0;
                int rc = SOCKS5_MORE;
                socks5_init(&s);
                for (int i = 0; i < 3; i++) {
                    size_t used;
                    size_t reply_len;
                    rc = socks5_feed(&s, (const uint8_t *)inputs[k] + at, stops[i] - at, &used,
                                     client + client_len, &reply_len);
                    at += used;
                    client_len += reply_len;
                    /* a greeting client that has sent its three bytes gets its answer without sending more */
                    ck_assert(at != 3 || client_len == 2);
                }
                ck_assert_int_eq(rc, SOCKS5_DONE);
                ck_assert_int_eq(s.greeted, k == 1);
                ck_assert_int_eq(s.early, k == 0 && (a == 3 || b == 3));
                ck_assert_uint_eq(client_len, k == 1 || s.early ? 2 : 0);
                client_len += socks5_reply(&s, 0, client + client_len);
                ck_assert_uint_eq(client_len, k == 1 ? 12 : 10);
                ck_assert(memcmp(client + client_len - 8, &SUCCESS[2], 8) == 0);
                socks5_deinit(&s);
            }
        }
    }
}
END_TEST

START_TEST(replies_with_every_code)
{
    struct socks5 s;
    uint8_t dst[SOCKS5_REPLY_MAX];
    socks5_init(&s);
    for (uint8_t code = 0; code <= 8; code++) {
        ck_assert_uint_eq(socks5_reply(&s, code, dst), 10);
        ck_assert_uint_eq(dst[0], 5);
        ck_assert_uint_eq(dst[1], code);
        ck_assert(memcmp(dst + 2, &SUCCESS[2], 8) == 0);
    }
}
END_TEST

START_TEST(keeps_no_secret_of_a_failed_message)
{
    static const char bytes[] = "\x05\x01\x02\x01\x01x\x06secret\x05\x02";
    struct socks5 s;
    uint8_t reply[SOCKS5_REPLY_MAX];
    size_t reply_len;
    size_t used;
    socks5_init(&s);
    ck_assert_int_eq(socks5_feed(&s, (const uint8_t *)bytes, sizeof bytes - 1, &used, reply, &reply_len),
                     ERR_UNSUPPORTED);
    ck_assert_ptr_null(memmem(s.message, sizeof s.message, "secret", 6));
    ck_assert_str_eq(s.password, "secret");
    socks5_deinit(&s);
    ck_assert_ptr_null(memmem(&s, sizeof s, "secret", 6));
}
END_TEST

/* ---- the client's side ---- */

START_TEST(a_request_is_understood)
{
    static const char *const names[] = {"mail.example.com", ";40;STA01;0123456789ABCDEF0123456789ABCDEF"};
    uint8_t message[SOCKS5_REQUEST_MAX], reply[SOCKS5_REPLY_MAX];
    char longest[257];
    for (size_t i = 0; i < 2; i++) {
        struct socks5 s;
        size_t used, reply_len;
        int n = socks5_request(message, names[i], 1494);
        socks5_init(&s);
        ck_assert_int_eq(socks5_feed(&s, message, (size_t)n, &used, reply, &reply_len), SOCKS5_DONE);
        ck_assert_uint_eq(used, n);
        ck_assert_str_eq(s.host, names[i]);
        ck_assert_uint_eq(s.port, 1494);
        socks5_deinit(&s);
    }
    memset(longest, 'x', 256);
    longest[256] = '\0';
    ck_assert_int_eq(socks5_request(message, longest, 1), ERR_TOO_BIG);
    ck_assert_int_eq(socks5_request(message, longest + 1, 1), SOCKS5_REQUEST_MAX);
}
END_TEST

static const struct {
    const char *bytes;
    size_t len;
    int rc;
    size_t used;
    uint8_t code;
} replies[] = {
    {"\5\0\0\1\0\0\0\0\0\0rest", 14, SOCKS5_DONE, 10, 0},
    {"\5\0\0\4\1\2\3\4\5\6\7\10\1\2\3\4\5\6\7\10\0\1X", 23, SOCKS5_DONE, 22, 0},
    {"\5\0\0\3\4name\0\1X", 12, SOCKS5_DONE, 11, 0},
    {"\5\0\0\3\0\0\1X", 8, SOCKS5_DONE, 7, 0},
    {"\5\2", 2, SOCKS5_DONE, 2, 2},
    {"\5\377\0\1", 4, SOCKS5_DONE, 2, 255},
    {"\5\0\0\1\0\0\0\0\0", 9, SOCKS5_MORE, 9, 0},
    {"", 0, SOCKS5_MORE, 0, 0},
    {"\4\0", 2, ERR_SYNTAX, 1, 0},
    {"HTTP/1.1 400", 12, ERR_SYNTAX, 1, 0},
    {"\5\0\0\2", 4, ERR_SYNTAX, 4, 0},
};

START_TEST(replies_are_understood)
{
    const uint8_t *data = (const uint8_t *)replies[_i].bytes;
    struct socks5_client whole = {0}, cut = {0};
    size_t used, all = 0;
    int rc = SOCKS5_MORE;
    ck_assert_int_eq(socks5_client_feed(&whole, data, replies[_i].len, &used), replies[_i].rc);
    ck_assert_uint_eq(used, replies[_i].used);
    ck_assert_uint_eq(whole.code, replies[_i].code);
    for (size_t i = 0; i < replies[_i].len && rc == SOCKS5_MORE; i++) {
        rc = socks5_client_feed(&cut, data + i, 1, &used);
        all += used;
    }
    ck_assert_int_eq(rc, replies[_i].rc);
    ck_assert_uint_eq(all, replies[_i].used);
}
END_TEST

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))

int main(void)
{
    Suite *suite = suite_create("socks5");
    TCase *tc = tcase_create("socks5");
    tcase_add_loop_test(tc, takes, 0, COUNT(taken));
    tcase_add_test(tc, a_request_is_understood);
    tcase_add_loop_test(tc, replies_are_understood, 0, COUNT(replies));
    tcase_add_loop_test(tc, refuses, 0, COUNT(refused));
    tcase_add_test(tc, answers_early_only_behind_three_bytes);
    tcase_add_test(tc, replies_with_every_code);
    tcase_add_test(tc, keeps_no_secret_of_a_failed_message);
    suite_add_tcase(suite, tc);
    SRunner *sr = srunner_create(suite);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
