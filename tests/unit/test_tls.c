/* The TLS engine: two of them joined by buffers, without sockets. */
#include <check.h>
#include <malloc.h>
#include <openssl/err.h>
#include <string.h>

#include "base/err.h"
#include "cert_fixture.h"
#include "net/tls.h"
#include "net/tlsctx.h"
#include "tls_fixture.h"

static struct cert_fixture cert;
static SSL_CTX *server_ctx, *client_ctx;
static const uint8_t keys[TLSCTX_TICKET_KEYS] =
    "the same keys for every context of this test, as for all workers";

static SSL_CTX *new_server_ctx(uint16_t floor)
{
    SSL_CTX *ctx = NULL;
    char why[256];
    int bad;
    const char *certificate = cert.certificate, *key = cert.key;
    const struct tlsctx_options o = {.certificates = &certificate,
                                     .keys = &key,
                                     .count = 1,
                                     .floor = floor,
                                     .ticket_keys = keys,
                                     .session_context = "test"};
    ck_assert_msg(tlsctx_new_server(&ctx, &o, &bad, why, sizeof why) == 0, "%s", why);
    return ctx;
}

static void setup(void)
{
    static const struct tlsctx_client_options unverified = {.floor = TLS1_2_VERSION};
    char why[256];
    cert_fixture_make(&cert);
    server_ctx = new_server_ctx(TLS1_2_VERSION);
    ck_assert_int_eq(tlsctx_new_client(&client_ctx, &unverified, why, sizeof why), 0);
}

static void teardown(void)
{
    SSL_CTX_free(server_ctx);
    SSL_CTX_free(client_ctx);
    cert_fixture_remove(&cert);
}

START_TEST(handshake_in_pieces)
{
    static const size_t pieces[] = {1, 2, 5, 100, 1000, 100000};
    struct end c, s;
    end_init(&c, client_ctx, TLS_CLIENT);
    end_init(&s, server_ctx, TLS_SERVER);
    shake_hands(&c, &s, pieces[_i]);
    end_deinit(&c);
    end_deinit(&s);
}
END_TEST

START_TEST(data_both_ways)
{
    struct end c, s;
    struct buf plain;
    size_t size = 1000003;
    uint8_t *data = malloc(size);
    for (size_t i = 0; i < size; i++)
        data[i] = (uint8_t)(i * 7 + i / 251);
    end_init(&c, client_ctx, TLS_CLIENT);
    end_init(&s, server_ctx, TLS_SERVER);
    shake_hands(&c, &s, 100000);
    buf_init(&plain, 4 << 20);
    ck_assert_int_eq(tls_write(&c.tls, data, size), TLS_OK);
    ck_assert_int_eq(take(&s, &c, &plain), TLS_WANT);
    ck_assert_uint_eq(plain.len, size);
    ck_assert(memcmp(plain.data, data, size) == 0);
    plain.len = 0;
    ck_assert_int_eq(tls_write(&s.tls, data, size), TLS_OK);
    ck_assert_int_eq(take(&c, &s, &plain), TLS_WANT);
    ck_assert(plain.len == size && memcmp(plain.data, data, size) == 0);
    buf_deinit(&plain);
    free(data);
    end_deinit(&c);
    end_deinit(&s);
}
END_TEST

/* What the session ticket sent with the first answer has set up is given back: an hour may pass before
 * something is read. (mallinfo2 tells zeros under a sanitizer.) */
START_TEST(an_answer_leaves_no_buffer)
{
    struct end client, server;
    struct buf plain;
    buf_init(&plain, 1 << 20);
    end_init(&client, client_ctx, TLS_CLIENT);
    end_init(&server, server_ctx, TLS_SERVER);
    shake_hands(&client, &server, 1 << 20);
    ck_assert_int_eq(tls_write(&server.tls, (const uint8_t *)"x", 1), TLS_OK);
    size_t before = mallinfo2().uordblks;
    SSL_free_buffers(server.tls.ssl);
    ck_assert_uint_eq(mallinfo2().uordblks, before);
    ck_assert_int_eq(take(&client, &server, &plain), TLS_WANT);
    ck_assert_uint_eq(plain.len, 1);
    buf_deinit(&plain);
    end_deinit(&client);
    end_deinit(&server);
}
END_TEST

START_TEST(half_close)
{
    struct end c, s;
    struct buf plain;
    end_init(&c, client_ctx, TLS_CLIENT);
    end_init(&s, server_ctx, TLS_SERVER);
    shake_hands(&c, &s, 100000);
    buf_init(&plain, 1 << 20);
    tls_write(&c.tls, (const uint8_t *)"last", 4);
    tls_shutdown(&c.tls);
    size_t once = c.out.len;
    tls_shutdown(&c.tls);
    ck_assert_uint_eq(c.out.len, once);
    ck_assert_int_eq(take(&s, &c, &plain), TLS_EOF);
    ck_assert_uint_eq(plain.len, 4);
    /* the other direction goes on */
    plain.len = 0;
    ck_assert_int_eq(tls_write(&s.tls, (const uint8_t *)"answer", 6), TLS_OK);
    ck_assert_int_eq(take(&c, &s, &plain), TLS_WANT);
    ck_assert_uint_eq(plain.len, 6);
    buf_deinit(&plain);
    end_deinit(&c);
    end_deinit(&s);
}
END_TEST

START_TEST(garbage_gets_an_alert)
{
    struct end s;
    static const uint8_t hello[] = {22, 3, 1, 0, 4, 1, 0, 0, 0};
    end_init(&s, server_ctx, TLS_SERVER);
    s.tls.in = hello;
    s.tls.in_len = sizeof hello;
    ck_assert_int_eq(tls_handshake(&s.tls), TLS_FAIL);
    ck_assert_ptr_nonnull(s.tls.error);
    ck_assert_uint_ge(s.out.len, 7);
    ck_assert_uint_eq(s.out.data[0], 21);
    size_t len = s.out.len;
    tls_shutdown(&s.tls); /* not after a fatal error */
    ck_assert_uint_eq(s.out.len, len);
    end_deinit(&s);
}
END_TEST

START_TEST(a_stale_error_harms_nobody)
{
    struct end bad, c, s;
    static const uint8_t hello[] = {22, 3, 1, 0, 4, 1, 0, 0, 0};
    end_init(&bad, server_ctx, TLS_SERVER);
    bad.tls.in = hello;
    bad.tls.in_len = sizeof hello;
    tls_handshake(&bad.tls);
    ERR_raise(ERR_LIB_SSL, ERR_R_INTERNAL_ERROR);
    end_init(&c, client_ctx, TLS_CLIENT);
    end_init(&s, server_ctx, TLS_SERVER);
    shake_hands(&c, &s, 100000);
    end_deinit(&bad);
    end_deinit(&c);
    end_deinit(&s);
}
END_TEST

/* The peer may ask for new keys, but not without end. */
START_TEST(key_updates_are_capped)
{
    struct end c, s;
    struct buf plain;
    enum tls_result r = TLS_WANT;
    int sent = 0;
    end_init(&c, client_ctx, TLS_CLIENT);
    end_init(&s, server_ctx, TLS_SERVER);
    shake_hands(&c, &s, 100000);
    buf_init(&plain, 1 << 20);
    for (; r == TLS_WANT && sent < 1000; sent++) {
        ck_assert_int_eq(SSL_key_update(c.tls.ssl, SSL_KEY_UPDATE_NOT_REQUESTED), 1);
        ck_assert_int_eq(tls_write(&c.tls, (const uint8_t *)"x", 1), TLS_OK);
        r = take(&s, &c, &plain);
        ck_assert(r != TLS_WANT || !s.tls.trim);
    }
    ck_assert_int_eq(r, TLS_FAIL);
    ck_assert_str_eq(s.tls.error, "too many KeyUpdate messages");
    ck_assert_int_gt(sent, TLS_KEY_UPDATES_PER_SECOND);
    buf_deinit(&plain);
    end_deinit(&c);
    end_deinit(&s);
}
END_TEST

static SSL_SESSION *caught;

static int on_new_session(SSL *ssl, SSL_SESSION *session)
{
    (void)ssl;
    SSL_SESSION_free(caught);
    caught = session;
    return 1;
}

/* The ticket comes with the first data, and another context with the same keys takes it: another worker, or
 * the one after a reload. */
START_TEST(sessions_resume_across_contexts)
{
    SSL_CTX *other = new_server_ctx(TLS1_2_VERSION);
    struct end c, s;
    struct buf plain;
    buf_init(&plain, 1 << 20);
    SSL_CTX_set_max_proto_version(client_ctx, _i == 0 ? TLS1_3_VERSION : TLS1_2_VERSION);
    SSL_CTX_set_session_cache_mode(client_ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(client_ctx, on_new_session);
    end_init(&c, client_ctx, TLS_CLIENT);
    end_init(&s, server_ctx, TLS_SERVER);
    shake_hands(&c, &s, 100000);
    if (_i == 0)
        ck_assert_ptr_null(caught);
    tls_write(&s.tls, (const uint8_t *)"x", 1);
    take(&c, &s, &plain);
    ck_assert_ptr_nonnull(caught);
    tls_shutdown(&c.tls); /* a connection that is freed without it spoils its session */
    end_deinit(&c);
    end_deinit(&s);

    end_init(&c, client_ctx, TLS_CLIENT);
    end_init(&s, other, TLS_SERVER);
    ck_assert_int_eq(SSL_set_session(c.tls.ssl, caught), 1);
    shake_hands(&c, &s, 100000);
    ck_assert_int_eq(SSL_session_reused(s.tls.ssl), 1);
    end_deinit(&c);
    end_deinit(&s);
    SSL_SESSION_free(caught);
    caught = NULL;
    buf_deinit(&plain);
    SSL_CTX_free(other);
}
END_TEST

START_TEST(contexts_say_what_is_wrong)
{
    SSL_CTX *ctx;
    char why[256];
    int bad;
    const char *certificates[] = {cert.certificate, "/nowhere/x.crt"};
    const char *keys_[] = {cert.key, cert.key};
    struct tlsctx_options o = {
        .certificates = certificates, .keys = keys_, .count = 2, .floor = TLS1_2_VERSION};
    ck_assert_int_eq(tlsctx_new_server(&ctx, &o, &bad, why, sizeof why), ERR_TLS);
    ck_assert_int_eq(bad, 1);
    ck_assert_ptr_nonnull(strstr(why, "/nowhere/x.crt: No such file"));
    struct cert_fixture other;
    cert_fixture_make(&other);
    keys_[0] = other.key;
    o.count = 1;
    ck_assert_int_eq(tlsctx_new_server(&ctx, &o, &bad, why, sizeof why), ERR_TLS);
    cert_fixture_remove(&other);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tls");
    TCase *t = tcase_create("engine");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, handshake_in_pieces, 0, 6);
    tcase_add_test(t, data_both_ways);
    tcase_add_test(t, an_answer_leaves_no_buffer);
    tcase_add_test(t, half_close);
    tcase_add_test(t, garbage_gets_an_alert);
    tcase_add_test(t, a_stale_error_harms_nobody);
    tcase_add_test(t, key_updates_are_capped);
    tcase_add_loop_test(t, sessions_resume_across_contexts, 0, 2);
    tcase_add_test(t, contexts_say_what_is_wrong);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
