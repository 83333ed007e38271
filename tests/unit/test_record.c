/* Ticket records: their stored form byte for byte, what is refused, states and names; ticket values as
 * issued. */
#include <check.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "sta/issue.h"
#include "sta/record.h"

#define VALUE "6C0EE48D2E8CADFEE6D1EB93BFB52A57"

static const char *const services[] = {"mail.example.com:443", "ews.example.com:443"};
static const struct record_value values[] = {{"ICAAddress", "mail.example.com:443"}, {"XData", ""}};

static struct record sample(void)
{
    return (struct record){.hash = {0xab, 0xcd, 0xef},
                           .class = TICKET_SESSION,
                           .state = TICKET_USED,
                           .issued_ms = 0x0102030405060708,
                           .expires_ms = 1795424400000,
                           .ended_ms = -2,
                           .user = "anna",
                           .device = "",
                           .service_count = 2,
                           .services = services,
                           .value_count = 2,
                           .values = values};
}

static void assert_same(const struct record *a, const struct record *b)
{
    ck_assert_mem_eq(a->hash, b->hash, RECORD_HASH);
    ck_assert_int_eq(a->class, b->class);
    ck_assert_int_eq(a->state, b->state);
    ck_assert_int_eq(a->issued_ms, b->issued_ms);
    ck_assert_int_eq(a->expires_ms, b->expires_ms);
    ck_assert_int_eq(a->ended_ms, b->ended_ms);
    ck_assert_int_eq(a->refresh_ms, b->refresh_ms);
    ck_assert_int_eq(a->injected, b->injected);
    ck_assert_str_eq(a->user, b->user);
    ck_assert_str_eq(a->device, b->device);
    ck_assert_uint_eq(a->service_count, b->service_count);
    ck_assert_uint_eq(a->value_count, b->value_count);
    for (size_t i = 0; i < a->service_count; i++)
        ck_assert_str_eq(a->services[i], b->services[i]);
    for (size_t i = 0; i < a->value_count; i++) {
        ck_assert_str_eq(a->values[i].name, b->values[i].name);
        ck_assert_str_eq(a->values[i].value, b->values[i].value);
    }
}

/* Stores outlive versions of the program: these bytes may not change while the format's version stays 1. */
START_TEST(stored_form_is_fixed)
{
    static const uint8_t expected[] = "\x01\x01\x02\x02\x02"
                                      "\x08\x07\x06\x05\x04\x03\x02\x01"
                                      "\x80\x32\xa2\x07\xa2\x01\x00\x00"
                                      "\xfe\xff\xff\xff\xff\xff\xff\xff"
                                      "\x04\x00"
                                      "anna"
                                      "\x00\x00"
                                      "\x14\x00mail.example.com:443"
                                      "\x13\x00"
                                      "ews.example.com:443"
                                      "\x0a\x00ICAAddress"
                                      "\x14\x00mail.example.com:443"
                                      "\x05\x00XData"
                                      "\x00\x00";
    uint8_t data[RECORD_BYTES_MAX];
    struct record r = sample();
    ck_assert_int_eq(record_encode(&r, data), sizeof expected - 1);
    ck_assert_mem_eq(data, expected, sizeof expected - 1);
}
END_TEST

/* The same for what version 1 cannot say; whatever it can say stays in it. */
START_TEST(second_form_is_fixed)
{
    static const uint8_t expected[] = "\x02\x01\x04\x00\x00"
                                      "\x08\x07\x06\x05\x04\x03\x02\x01"
                                      "\x80\x32\xa2\x07\xa2\x01\x00\x00"
                                      "\xfe\xff\xff\xff\xff\xff\xff\xff"
                                      "\x01"
                                      "\x20\xa1\x07\x00\x00\x00\x00\x00"
                                      "\x04\x00"
                                      "anna"
                                      "\x00\x00";
    uint8_t data[RECORD_BYTES_MAX];
    struct record r = sample();
    r.service_count = r.value_count = 0;
    r.state = TICKET_FORGOTTEN;
    r.injected = true;
    r.refresh_ms = 500000;
    ck_assert_int_eq(record_encode(&r, data), sizeof expected - 1);
    ck_assert_mem_eq(data, expected, sizeof expected - 1);
    for (unsigned which = 0; which < 8; which++) {
        r.state = which & 1 ? TICKET_FORGOTTEN : TICKET_LIVE;
        r.injected = which & 2;
        r.refresh_ms = which & 4 ? 1 : 0;
        ck_assert_int_eq(record_encode(&r, data), sizeof expected - 1 - (which ? 0 : 9));
        ck_assert_uint_eq(data[0], which ? 2 : 1);
    }
}
END_TEST

START_TEST(decodes_what_it_encoded)
{
    const struct record all = sample();
    struct record cases[] = {all, all, all, all, all, all, all};
    cases[1].service_count = cases[1].value_count = 0;
    cases[1].user = "";
    cases[2].class = TICKET_BACKGROUND;
    cases[2].state = TICKET_LIVE;
    cases[2].issued_ms = INT64_MIN;
    cases[2].expires_ms = INT64_MAX;
    cases[3].state = TICKET_REVOKED;
    cases[3].value_count = 0;
    cases[3].device = "\xc3\xa4 any bytes \x01 but NUL";
    cases[4].state = TICKET_FORGOTTEN;
    cases[5].injected = true;
    cases[6].refresh_ms = INT64_MAX;
    cases[6].injected = true;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint8_t data[RECORD_BYTES_MAX];
        int len = record_encode(&cases[i], data);
        ck_assert_int_gt(len, 0);
        struct record *r = record_decode(cases[i].hash, data, (size_t)len);
        ck_assert_ptr_nonnull(r);
        memset(data, 0xee, sizeof data); /* nothing may point back into it */
        assert_same(r, &cases[i]);
        free(r);
    }
}
END_TEST

START_TEST(limits)
{
    uint8_t data[RECORD_BYTES_MAX];
    const char *many_services[RECORD_SERVICES_MAX + 1];
    struct record_value many_values[RECORD_VALUES_MAX + 1];
    for (size_t i = 0; i < RECORD_SERVICES_MAX + 1; i++)
        many_services[i] = "h:1";
    for (size_t i = 0; i < RECORD_VALUES_MAX + 1; i++)
        many_values[i] = (struct record_value){"n", "v"};
    struct record r = sample();
    r.services = many_services;
    r.values = many_values;
    r.service_count = RECORD_SERVICES_MAX;
    r.value_count = RECORD_VALUES_MAX;
    int len = record_encode(&r, data);
    ck_assert_int_gt(len, 0);
    struct record *back = record_decode(r.hash, data, (size_t)len);
    ck_assert_ptr_nonnull(back);
    assert_same(back, &r);
    free(back);

    r.service_count++;
    ck_assert_int_eq(record_encode(&r, data), ERR_TOO_BIG);
    r.service_count--;
    r.value_count++;
    ck_assert_int_eq(record_encode(&r, data), ERR_TOO_BIG);

    /* 29 fixed bytes, 2 length bytes for user and device each; what could just be issued can be ended by a
     * fault */
    enum { USER_MAX = RECORD_BYTES_MAX - 9 - 33 };
    char *user = calloc(1, 70000);
    memset(user, 'u', USER_MAX);
    for (unsigned forgotten = 0; forgotten < 2; forgotten++) {
        r = (struct record){.user = user, .device = ""};
        r.injected = forgotten;
        r.state = forgotten ? TICKET_FORGOTTEN : TICKET_LIVE;
        len = forgotten ? RECORD_BYTES_MAX : RECORD_BYTES_MAX - 9;
        ck_assert_int_eq(record_encode(&r, data), len);
        back = record_decode(r.hash, data, (size_t)len);
        ck_assert_ptr_nonnull(back);
        assert_same(back, &r);
        free(back);
        user[USER_MAX] = 'u';
        ck_assert_int_eq(record_encode(&r, data), ERR_TOO_BIG);
        user[USER_MAX] = '\0';
    }
    memset(user, 'u', 65536); /* a length that 16 bits would take for 0 */
    ck_assert_int_eq(record_encode(&r, data), ERR_TOO_BIG);
    free(user);
}
END_TEST

/* What indexes see of a record is what decoding gives. */
START_TEST(peeks)
{
    uint8_t data[RECORD_BYTES_MAX];
    struct record r = sample();
    struct record_view v;
    r.device = "phone";
    for (unsigned extended = 0; extended < 2; extended++) {
        r.refresh_ms = extended;
        size_t len = (size_t)record_encode(&r, data);
        ck_assert(record_peek(&v, data, len));
        ck_assert_int_eq(v.state, r.state);
        ck_assert_int_eq(v.issued_ms, r.issued_ms);
        ck_assert_int_eq(v.expires_ms, r.expires_ms);
        ck_assert_int_eq(v.ended_ms, r.ended_ms);
        ck_assert_uint_eq(v.user_len, 4);
        ck_assert_uint_eq(v.device_len, 5);
        ck_assert_mem_eq(v.user, "anna", 4);
        ck_assert_mem_eq(v.device, "phone", 5);
        for (size_t cut = 0; cut < 29 + 9 * extended + 6 + 7; cut++) {
            uint8_t *exact = malloc(cut ? cut : 1);
            memcpy(exact, data, cut);
            ck_assert(!record_peek(&v, exact, cut));
            free(exact);
        }
    }
}
END_TEST

static const struct bad {
    size_t at;
    uint8_t byte;
    const char *what;
} bad_plain[] = {{0, 0, "version 0"},
                 {0, 2, "version 2 with version 1's bytes"},
                 {0, 3, "a later version"},
                 {1, 2, "class"},
                 {2, TICKET_EXPIRED, "state"},
                 {2, TICKET_FORGOTTEN, "a state of version 2"},
                 {2, 5, "state beyond the last"},
                 {3, 1, "fewer services"},
                 {3, 3, "more services"},
                 {3, 65, "too many services"},
                 {4, 1, "fewer values"},
                 {4, 33, "too many values"},
                 {29, 5, "longer user"},
                 {30, 1, "much longer user"},
                 {29, 3, "shorter user"},
                 {31, 0, "NUL in the user"}},
  bad_extended[] = {{0, 1, "version 1 with version 2's bytes"},
                    {2, TICKET_EXPIRED, "state"},
                    {2, 5, "state beyond the last"},
                    {29, 2, "an unknown flag"},
                    {29, 0, "nothing that needs version 2"},
                    {37, 0x80, "negative refresh_ms"},
                    {38, 5, "longer user"}};

static void refuses(const struct record *r, const struct bad *bad, size_t count)
{
    uint8_t good[RECORD_BYTES_MAX], data[RECORD_BYTES_MAX + 1];
    size_t len = (size_t)record_encode(r, good);

    for (size_t i = 0; i < count; i++) {
        memcpy(data, good, len);
        data[bad[i].at] = bad[i].byte;
        ck_assert_msg(record_decode(r->hash, data, len) == NULL, "accepted: %s", bad[i].what);
    }
    memcpy(data, good, len);
    data[len] = 0;
    ck_assert_ptr_null(record_decode(r->hash, data, len + 1));
    for (size_t cut = 0; cut < len; cut++) {
        uint8_t *exact = malloc(cut ? cut : 1); /* for the sanitizer to see any step beyond */
        memcpy(exact, good, cut);
        ck_assert_msg(record_decode(r->hash, exact, cut) == NULL, "accepted the first %zu bytes", cut);
        free(exact);
    }
}

START_TEST(refuses_what_is_no_record)
{
    struct record r = sample();
    refuses(&r, bad_plain, sizeof bad_plain / sizeof bad_plain[0]);
    r.injected = true;
    refuses(&r, bad_extended, sizeof bad_extended / sizeof bad_extended[0]);
}
END_TEST

/* Whatever one changed byte does, what is accepted encodes to the same bytes. */
START_TEST(has_one_form)
{
    uint8_t good[RECORD_BYTES_MAX], again[RECORD_BYTES_MAX];
    struct record r = sample();
    r.injected = _i == 1;
    size_t len = (size_t)record_encode(&r, good);
    for (size_t at = 0; at < len; at++)
        for (unsigned byte = 0; byte < 256; byte++) {
            uint8_t old = good[at];
            good[at] = (uint8_t)byte;
            struct record *back = record_decode(r.hash, good, len);
            if (back != NULL) {
                ck_assert_int_eq(record_encode(back, again), len);
                ck_assert_mem_eq(again, good, len);
                free(back);
            }
            good[at] = old;
        }
}
END_TEST

START_TEST(states_over_time)
{
    static const struct {
        enum ticket_state stored;
        int64_t now_ms;
        enum ticket_state seen;
    } cases[] = {{TICKET_LIVE, 0, TICKET_LIVE},          {TICKET_LIVE, 999, TICKET_LIVE},
                 {TICKET_LIVE, 1000, TICKET_EXPIRED},    {TICKET_LIVE, INT64_MAX, TICKET_EXPIRED},
                 {TICKET_USED, 999, TICKET_USED},        {TICKET_USED, 1000, TICKET_USED},
                 {TICKET_REVOKED, 1000, TICKET_REVOKED}, {TICKET_FORGOTTEN, 1000, TICKET_FORGOTTEN}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct record r = {.state = cases[i].stored, .expires_ms = 1000};
        ck_assert_int_eq(record_state_at(&r, cases[i].now_ms), cases[i].seen);
    }
}
END_TEST

START_TEST(names)
{
    ck_assert_str_eq(ticket_state_name(TICKET_LIVE), "live");
    ck_assert_str_eq(ticket_state_name(TICKET_EXPIRED), "expired");
    ck_assert_str_eq(ticket_state_name(TICKET_USED), "used");
    ck_assert_str_eq(ticket_state_name(TICKET_REVOKED), "revoked");
    ck_assert_str_eq(ticket_state_name(TICKET_FORGOTTEN), "forgotten");
    ck_assert_str_eq(ticket_class_name(TICKET_BACKGROUND), "background");
    ck_assert_str_eq(ticket_class_name(TICKET_SESSION), "session");
}
END_TEST

START_TEST(hash_and_fingerprint)
{
    uint8_t hash[RECORD_HASH];
    char fingerprint[RECORD_FINGERPRINT];
    record_hash(hash, VALUE, strlen(VALUE));
    record_fingerprint(fingerprint, hash);
    ck_assert_str_eq(fingerprint, "ba8a51f829d4");
    ck_assert_uint_eq(hash[31], 0xd3);
    record_hash(hash, VALUE, 30); /* the length counts, not a NUL */
    record_fingerprint(fingerprint, hash);
    ck_assert_str_ne(fingerprint, "ba8a51f829d4");
}
END_TEST

START_TEST(digits_and_back)
{
    static const char text[] = "ba8a51f829d4000102030405060708090a0b0c0d0e0f10f0e0d0c0b0a0908070";
    uint8_t hash[RECORD_HASH] = {7}, again[RECORD_HASH];
    char digits[RECORD_DIGITS], wrong[RECORD_DIGITS + 1];
    ck_assert(record_parse_digits(hash, text));
    ck_assert_uint_eq(hash[0], 0xba);
    ck_assert_uint_eq(hash[31], 0x70);
    record_digits(digits, hash);
    ck_assert_str_eq(digits, text);
    memcpy(again, hash, sizeof again);
    ck_assert(!record_parse_digits(again, ""));
    for (size_t i = 0; i < RECORD_DIGITS; i++) { /* no digit, an upper-case one, too short at each place */
        static const char bad[] = "gA-/:`\0";
        for (size_t j = 0; i < RECORD_DIGITS - 1 && j < sizeof bad - 1; j++) {
            memcpy(wrong, text, sizeof text);
            wrong[i] = bad[j];
            ck_assert(!record_parse_digits(again, wrong));
        }
    }
    snprintf(wrong, sizeof wrong, "%s0", text);
    ck_assert(!record_parse_digits(again, wrong));
    ck_assert_mem_eq(again, hash, RECORD_HASH);
}
END_TEST

START_TEST(issued_values)
{
    enum { COUNT = 2000 };
    static char value[COUNT][TICKET_VALUE_MAX + 1];
    unsigned seen[16] = {0};
    for (size_t i = 0; i < COUNT; i++) {
        uint8_t hash[RECORD_HASH], expected[RECORD_HASH];
        ck_assert_int_eq(issue_ticket_value(value[i], hash), 0);
        ck_assert_uint_eq(strlen(value[i]), 32);
        for (const char *p = value[i]; *p; p++) {
            ck_assert_msg(isdigit((unsigned char)*p) || (*p >= 'A' && *p <= 'F'), "%s", value[i]);
            seen[*p <= '9' ? *p - '0' : *p - 'A' + 10]++;
        }
        record_hash(expected, value[i], 32);
        ck_assert_mem_eq(hash, expected, RECORD_HASH);
        ck_assert(i == 0 || strcmp(value[i], value[i - 1]) != 0);
    }
    /* 64,000 digits: 4,000 of each, standard deviation 61 */
    for (size_t d = 0; d < 16; d++)
        ck_assert_msg(seen[d] > 3500 && seen[d] < 4500, "digit %zx came %u times", d, seen[d]);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("record");
    tcase_add_test(tc, stored_form_is_fixed);
    tcase_add_test(tc, second_form_is_fixed);
    tcase_add_test(tc, peeks);
    tcase_add_test(tc, decodes_what_it_encoded);
    tcase_add_test(tc, limits);
    tcase_add_test(tc, refuses_what_is_no_record);
    tcase_add_loop_test(tc, has_one_form, 0, 2);
    tcase_add_test(tc, states_over_time);
    tcase_add_test(tc, names);
    tcase_add_test(tc, hash_and_fingerprint);
    tcase_add_test(tc, digits_and_back);
    tcase_add_test(tc, issued_values);
    Suite *suite = suite_create("record");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
