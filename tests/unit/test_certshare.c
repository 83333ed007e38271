/* Certificates of peers, kept once. */
#include <check.h>
#include <openssl/x509.h>

#include "net/certshare.h"

static X509 *make(long serial)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x = X509_new();
    ASN1_INTEGER_set(X509_get_serialNumber(x), serial);
    X509_gmtime_adj(X509_getm_notBefore(x), 0);
    X509_gmtime_adj(X509_getm_notAfter(x), 3600);
    X509_set_pubkey(x, key);
    ck_assert_int_gt(X509_sign(x, key, EVP_sha256()), 0);
    EVP_PKEY_free(key);
    return x;
}

/* The same bytes, parsed anew, as a handshake does it. */
static X509 *copy(X509 *x)
{
    unsigned char *der = NULL;
    int len = i2d_X509(x, &der);
    const unsigned char *p = der;
    X509 *y = d2i_X509(NULL, &p, len);
    OPENSSL_free(der);
    ck_assert_ptr_nonnull(y);
    return y;
}

static STACK_OF(X509) * chain_of(X509 *a, X509 *b)
{
    STACK_OF(X509) *chain = sk_X509_new_null();
    sk_X509_push(chain, copy(a));
    if (b != NULL)
        sk_X509_push(chain, copy(b));
    return chain;
}

START_TEST(equal_ones_become_one)
{
    X509 *leaf = make(1), *issuer = make(2), *other = make(3);
    STACK_OF(X509) *first = chain_of(leaf, issuer), *second = chain_of(leaf, issuer),
                   *third = chain_of(other, issuer);
    certshare_chain(first);
    certshare_chain(second);
    certshare_chain(third);
    for (int i = 0; i < 2; i++)
        ck_assert_ptr_eq(sk_X509_value(first, i), sk_X509_value(second, i));
    ck_assert_ptr_ne(sk_X509_value(first, 0), sk_X509_value(third, 0));
    ck_assert_ptr_eq(sk_X509_value(first, 1), sk_X509_value(third, 1));
    ck_assert_int_eq(X509_cmp(sk_X509_value(third, 0), other), 0);
    sk_X509_pop_free(first, X509_free);
    ck_assert_int_eq(X509_cmp(sk_X509_value(second, 0), leaf), 0); /* lives on */
    sk_X509_pop_free(second, X509_free);
    sk_X509_pop_free(third, X509_free);
    X509_free(leaf);
    X509_free(issuer);
    X509_free(other);
}
END_TEST

START_TEST(many_give_way)
{
    X509 *leaf = make(1);
    STACK_OF(X509) *before = chain_of(leaf, NULL);
    certshare_chain(before);
    for (long i = 0; i < 200; i++) {
        X509 *x = make(100 + i);
        STACK_OF(X509) *chain = chain_of(x, NULL);
        certshare_chain(chain);
        ck_assert_int_eq(X509_cmp(sk_X509_value(chain, 0), x), 0);
        sk_X509_pop_free(chain, X509_free);
        X509_free(x);
    }
    STACK_OF(X509) *after = chain_of(leaf, NULL);
    certshare_chain(after); /* forgotten meanwhile, and equal all the same */
    ck_assert_ptr_ne(sk_X509_value(before, 0), sk_X509_value(after, 0));
    ck_assert_int_eq(X509_cmp(sk_X509_value(before, 0), sk_X509_value(after, 0)), 0);
    sk_X509_pop_free(before, X509_free);
    sk_X509_pop_free(after, X509_free);
    X509_free(leaf);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("certshare");
    TCase *t = tcase_create("all");
    tcase_add_test(t, equal_ones_become_one);
    tcase_add_test(t, many_give_way);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
