/* What holds for every ticket store: the same cases over memory and LMDB. Clients of event loops are in
 * test_store_client.c, what only LMDB does in test_store_lmdb.c and test_store_kill.c.
 */
#include "store_fixture.h"

#include "base/clock.h"

/* ---- opening ---- */

START_TEST(refuses_bad_urls)
{
    static const struct {
        const char *url;
        int rc;
        const char *why; /* begins so */
    } cases[] = {
        {"redis://:secret@h:1", ERR_SYNTAX, "redis: a URL may not carry a password"},
        {"lmdb", ERR_UNSUPPORTED,
         "unknown kind of ticket store \"lmdb\": write lmdb:PATH, memory: or redis:"},
        {"", ERR_UNSUPPORTED, "unknown kind of ticket store \"\""},
        {"lmdb2:/x", ERR_UNSUPPORTED, "unknown kind"},
        {"LMDB:/x", ERR_UNSUPPORTED, "unknown kind"},
        {"lmdb:", ERR_SYNTAX, "lmdb: the folder is missing"},
        {"memory:x", ERR_SYNTAX, "memory: takes nothing"},
        {"lmdb:/dev/null/x", ERR_STORE, "lmdb: cannot open /dev/null/x: Not a directory"},
        {"lmdb:/proc/none/x", ERR_STORE, "lmdb: cannot create /proc/none/x: No such file or directory"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct store *s = NULL;
        ck_assert_int_eq(store_open(&s, cases[i].url, NULL, fixture_why, sizeof fixture_why), cases[i].rc);
        ck_assert_msg(strncmp(fixture_why, cases[i].why, strlen(cases[i].why)) == 0, "%s: %s", cases[i].url,
                      fixture_why);
        ck_assert_ptr_null(strstr(fixture_why, "secret"));
    }
}
END_TEST

START_TEST(says_whether_it_is_shared)
{
    struct store *s = fixture_open_kind(_i, (struct store_options){0});
    ck_assert_int_eq(store_is_shared(s), _i != KIND_MEMORY);
    store_close(s);
}
END_TEST

/* ---- issuing, redeeming, revoking ---- */

START_TEST(gives_back_what_was_issued)
{
    static const char *const services[] = {"mail.example.com:443", "ews.example.com:443"};
    static const struct record_value values[] = {{"ICAAddress", "mail.example.com:443"}};
    struct store *s = fixture_open_kind(_i, (struct store_options){0});
    struct record r = fixture_ticket(1, TICKET_BACKGROUND), *out = NULL;
    r.services = services;
    r.service_count = 2;
    r.values = values;
    r.value_count = 1;
    ck_assert_int_eq(store_get(s, r.hash, &out), ERR_NOT_FOUND);
    ck_assert_int_eq(store_issue(s, &r), 0);
    ck_assert_int_eq(store_get(s, r.hash, &out), 0);
    ck_assert_mem_eq(out->hash, r.hash, RECORD_HASH);
    ck_assert_int_eq(out->class, TICKET_BACKGROUND);
    ck_assert_int_eq(out->state, TICKET_LIVE);
    ck_assert_int_eq(out->expires_ms, r.expires_ms);
    ck_assert_str_eq(out->user, "anna");
    ck_assert_str_eq(out->device, "phone");
    ck_assert_uint_eq(out->service_count, 2);
    ck_assert_str_eq(out->services[1], services[1]);
    ck_assert_str_eq(out->values[0].value, values[0].value);
    free(out);

    r.user = "bert"; /* the second is refused, and changes nothing */
    ck_assert_int_eq(store_issue(s, &r), ERR_EXISTS);
    ck_assert_int_eq(store_get(s, r.hash, &out), 0);
    ck_assert_str_eq(out->user, "anna");
    free(out);
    r.value_count = RECORD_VALUES_MAX + 1;
    ck_assert_int_eq(store_issue(s, &r), ERR_TOO_BIG);
    store_close(s);
}
END_TEST

START_TEST(redeems)
{
    /* in this order, ticket 1 for sessions, 2 for the background, 3 revoked before */
    static const struct {
        unsigned ticket;
        int64_t now_ms;
        enum redeem verdict;
        enum ticket_state state; /* afterwards, as stored */
    } steps[] = {
        {1, NOW + HOUR_MS, REDEEM_EXPIRED, TICKET_LIVE}, /* a clock that ran ahead uses nothing up */
        {1, NOW + HOUR_MS - 1, REDEEM_OK, TICKET_USED},
        {1, NOW + HOUR_MS - 1, REDEEM_USED, TICKET_USED},
        {1, NOW, REDEEM_USED, TICKET_USED},
        {1, NOW + 2 * HOUR_MS, REDEEM_USED, TICKET_USED},
        {2, NOW, REDEEM_OK, TICKET_LIVE},
        {2, NOW + HOUR_MS - 1, REDEEM_OK, TICKET_LIVE},
        {2, NOW + HOUR_MS, REDEEM_EXPIRED, TICKET_LIVE},
        {2, NOW, REDEEM_OK, TICKET_LIVE},
        {3, NOW, REDEEM_REVOKED, TICKET_REVOKED},
        {3, NOW + 2 * HOUR_MS, REDEEM_REVOKED, TICKET_REVOKED},
    };
    struct store *s = fixture_open_kind(_i, (struct store_options){0});
    for (unsigned n = 1; n <= 3; n++) {
        struct record r = fixture_ticket(n, n == 2 ? TICKET_BACKGROUND : TICKET_SESSION);
        ck_assert_int_eq(store_issue(s, &r), 0);
    }
    ck_assert_int_eq(store_revoke(s, fixture_ticket(3, TICKET_SESSION).hash, NOW + 5), 0);
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        struct record r = fixture_ticket(steps[i].ticket, TICKET_SESSION), *out = NULL;
        enum redeem verdict = store_redeem(s, r.hash, steps[i].now_ms, &out);
        ck_assert_msg(verdict == steps[i].verdict, "step %zu: %d", i, (int)verdict);
        ck_assert_ptr_nonnull(out);
        ck_assert_int_eq(out->state, steps[i].state);
        free(out);
        ck_assert_int_eq(store_get(s, r.hash, &out), 0);
        ck_assert_int_eq(out->state, steps[i].state);
        ck_assert_int_eq(out->ended_ms, steps[i].state == TICKET_USED      ? NOW + HOUR_MS - 1
                                        : steps[i].state == TICKET_REVOKED ? NOW + 5
                                                                           : 0);
        free(out);
    }
    ck_assert_int_eq(fixture_redeem(s, 4, NOW), REDEEM_UNKNOWN);
    store_close(s);
}
END_TEST

START_TEST(revokes)
{
    struct store *s = fixture_open_kind(_i, (struct store_options){0});
    for (unsigned n = 1; n <= 3; n++) {
        struct record r = fixture_ticket(n, TICKET_SESSION);
        ck_assert_int_eq(store_issue(s, &r), 0);
    }
    ck_assert_int_eq(fixture_redeem(s, 1, NOW + 1), REDEEM_OK);
    ck_assert_int_eq(store_revoke(s, fixture_ticket(1, TICKET_SESSION).hash, NOW + 2),
                     0); /* used: stays used */
    ck_assert_int_eq(fixture_redeem(s, 1, NOW + 3), REDEEM_USED);
    ck_assert_int_eq(store_revoke(s, fixture_ticket(2, TICKET_SESSION).hash, NOW + HOUR_MS), 0); /* expired */
    ck_assert_int_eq(fixture_redeem(s, 2, NOW + HOUR_MS), REDEEM_EXPIRED);
    ck_assert_int_eq(store_revoke(s, fixture_ticket(3, TICKET_SESSION).hash, NOW + 2), 0);
    ck_assert_int_eq(store_revoke(s, fixture_ticket(3, TICKET_SESSION).hash, NOW + 9),
                     0); /* keeps its time */
    struct record *out = NULL;
    ck_assert_int_eq(store_get(s, fixture_ticket(3, TICKET_SESSION).hash, &out), 0);
    ck_assert_int_eq(out->ended_ms, NOW + 2);
    free(out);
    ck_assert_int_eq(store_revoke(s, fixture_ticket(4, TICKET_SESSION).hash, NOW), ERR_NOT_FOUND);
    store_close(s);
}
END_TEST

/* ---- finding and listing ---- */

START_TEST(finds_by_prefix)
{
    static const struct {
        const char *text;
        int rc;
        unsigned char last; /* byte of the hash that is found */
    } cases[] = {{"abcd", ERR_EXISTS, 0},
                 {"abcde", ERR_EXISTS, 0},
                 {"abcdef", ERR_EXISTS, 0},
                 {"abcdef0", 0, 1},
                 {"ABCDEF0", 0, 1},
                 {"aBcDeFf", 0, 2},
                 {"abcdefff", 0, 2},
                 {"abce", ERR_NOT_FOUND, 0},
                 {"abcc", ERR_NOT_FOUND, 0},
                 {"ffff", 0, 3},
                 {"0000", 0, 4},
                 {"0001", ERR_NOT_FOUND, 0},
                 {"abc", ERR_SYNTAX, 0},
                 {"", ERR_SYNTAX, 0},
                 {"abcg", ERR_SYNTAX, 0},
                 {"abcd ", ERR_SYNTAX, 0},
                 {"0xab", ERR_SYNTAX, 0},
                 {"ffff000000000000000000000000000000000000000000000000000000000003", 0, 3},
                 {"ffff000000000000000000000000000000000000000000000000000000000002", ERR_NOT_FOUND, 0},
                 {"ffff0000000000000000000000000000000000000000000000000000000000030", ERR_SYNTAX, 0}};
    static const unsigned char begin[][4] = {
        {0xab, 0xcd, 0xef, 0x00}, {0xab, 0xcd, 0xef, 0xff}, {0xff, 0xff}, {0}};
    struct store *s = fixture_open_kind(_i, (struct store_options){0});
    for (unsigned n = 0; n < 4; n++) {
        struct record r = fixture_ticket(n, TICKET_SESSION);
        memset(r.hash, 0, RECORD_HASH);
        memcpy(r.hash, begin[n], 4);
        r.hash[RECORD_HASH - 1] = (uint8_t)(n + 1);
        ck_assert_int_eq(store_issue(s, &r), 0);
    }
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct record *out = NULL;
        int rc = store_find(s, cases[i].text, &out);
        ck_assert_msg(rc == cases[i].rc, "%s: %s", cases[i].text, err_text(rc));
        if (rc == 0)
            ck_assert_uint_eq(out->hash[RECORD_HASH - 1], cases[i].last);
        free(rc == 0 ? out : NULL);
    }
    store_close(s);
}
END_TEST

struct listing {
    struct store *store;
    unsigned count;
    unsigned stop_at;
    uint8_t last[RECORD_HASH];
};

static int check_order(void *owner, const struct record *r)
{
    struct listing *l = owner;
    ck_assert(l->count == 0 || memcmp(l->last, r->hash, RECORD_HASH) < 0);
    memcpy(l->last, r->hash, RECORD_HASH);
    return ++l->count == l->stop_at ? 77 : 0;
}

/* Changes the store from inside the walk: the walk must not see it. */
static int change_things(void *owner, const struct record *r)
{
    struct listing *l = owner;
    struct record more = fixture_ticket(100000 + l->count, TICKET_SESSION);
    ck_assert_int_eq(r->state, TICKET_LIVE);
    if (l->count == 0) {
        for (unsigned n = 0; n < 300; n++)
            ck_assert_int_eq(fixture_redeem(l->store, n, NOW), REDEEM_OK);
        ck_assert_int_eq(store_purge(l->store, INT64_MAX, 150), 150);
    }
    if (l->count < 10)
        ck_assert_int_eq(store_issue(l->store, &more), 0);
    l->count++;
    return 0;
}

START_TEST(lists_in_order)
{
    struct store *s = fixture_open_kind(_i, (struct store_options){0});
    struct listing l = {.store = s};
    ck_assert_int_eq(store_list(s, check_order, &l), 0);
    ck_assert_uint_eq(l.count, 0);
    for (unsigned n = 0; n < 300; n++) {
        struct record r = fixture_ticket(n, TICKET_SESSION);
        ck_assert_int_eq(store_issue(s, &r), 0);
    }
    ck_assert_int_eq(store_list(s, check_order, &l), 0);
    ck_assert_uint_eq(l.count, 300);
    l = (struct listing){.store = s, .stop_at = 5};
    ck_assert_int_eq(store_list(s, check_order, &l), 77);
    ck_assert_uint_eq(l.count, 5);
    l = (struct listing){.store = s};
    ck_assert_int_eq(store_list(s, change_things, &l), 0);
    ck_assert_uint_eq(l.count, 300);
    ck_assert_uint_eq(fixture_count(s), 160);
    store_close(s);
}
END_TEST

/* ---- purging ---- */

START_TEST(purges_when_the_tombstone_is_over)
{
    enum { TOMB = 1000 };
    struct store *s = fixture_open_kind(_i, (struct store_options){.tombstone_ms = TOMB});
    static const int64_t expires[] = {NOW + 10, NOW + 500, NOW + HOUR_MS, NOW + HOUR_MS};
    for (unsigned n = 0; n < 4; n++) { /* 0 and 1 expire, 2 is used and 3 revoked long before they would */
        struct record r = fixture_ticket(n, TICKET_SESSION);
        r.expires_ms = expires[n];
        ck_assert_int_eq(store_issue(s, &r), 0);
    }
    ck_assert_int_eq(fixture_redeem(s, 2, NOW + 20), REDEEM_OK);
    ck_assert_int_eq(store_revoke(s, fixture_ticket(3, TICKET_SESSION).hash, NOW + 30), 0);

    ck_assert_int_eq(store_purge(s, NOW, 0), 0);
    ck_assert_int_eq(store_purge(s, NOW + TOMB + 9, 0), 0);
    ck_assert_int_eq(fixture_redeem(s, 0, NOW + TOMB + 9), REDEEM_EXPIRED); /* a tombstone still knows */
    ck_assert_int_eq(store_purge(s, NOW + TOMB + 10, 0), 1);
    ck_assert_int_eq(fixture_redeem(s, 0, NOW + TOMB + 10), REDEEM_UNKNOWN);
    ck_assert_int_eq(store_purge(s, NOW + TOMB + 19, 0), 0);
    ck_assert_int_eq(fixture_redeem(s, 2, NOW + TOMB + 19), REDEEM_USED);
    ck_assert_int_eq(store_purge(s, NOW + TOMB + 20, 0), 1);
    ck_assert_int_eq(fixture_redeem(s, 2, NOW + TOMB + 20), REDEEM_UNKNOWN);
    ck_assert_int_eq(fixture_redeem(s, 3, NOW + TOMB + 20), REDEEM_REVOKED);
    ck_assert_int_eq(store_purge(s, NOW + 2 * HOUR_MS, 1), 1);
    ck_assert_int_eq(store_purge(s, NOW + 2 * HOUR_MS, 0), 1);
    ck_assert_int_eq(store_purge(s, INT64_MAX, 0), 0);
    ck_assert_uint_eq(fixture_count(s), 0);
    store_close(s);
}
END_TEST

/* More than one batch, and limits that end inside one. */
START_TEST(purges_many)
{
    enum { COUNT = 1300 };
    struct store *s = fixture_open_kind(_i, (struct store_options){0});
    for (unsigned n = 0; n < COUNT; n++) {
        struct record r = fixture_ticket(n, TICKET_BACKGROUND);
        r.expires_ms = n < COUNT - 7 ? NOW + n : NOW + 1000 * HOUR_MS;
        ck_assert_int_eq(store_issue(s, &r), 0);
    }
    ck_assert_int_eq(store_purge(s, NOW + 100 * HOUR_MS, 3), 3);
    ck_assert_int_eq(store_purge(s, NOW + 100 * HOUR_MS, 600), 600);
    ck_assert_uint_eq(fixture_count(s), COUNT - 603);
    ck_assert_int_eq(store_purge(s, NOW + 100 * HOUR_MS, 0), COUNT - 603 - 7);
    ck_assert_uint_eq(fixture_count(s), 7);
    ck_assert_int_eq(fixture_redeem(s, COUNT - 1, NOW), REDEEM_OK);
    store_close(s);
}
END_TEST

START_TEST(purges_by_itself)
{
    struct store *s =
        fixture_open_kind(_i, (struct store_options){.tombstone_ms = HOUR_MS, .purge_every_ms = 5});
    for (unsigned n = 0; n < 1200; n++) {
        struct record r = fixture_ticket(n, TICKET_BACKGROUND);
        r.expires_ms = clock_wall_ms() + (n < 1100 ? HOUR_MS / 2 : 10 * HOUR_MS);
        ck_assert_int_eq(store_issue(s, &r), 0);
    }
    ck_assert_uint_eq(fixture_count(s), 1200);
    clock_set_offset_ms(2 * HOUR_MS);
    uint64_t end = clock_mono_ms() + 30000;
    while (fixture_count(s) > 100) {
        ck_assert_uint_lt(clock_mono_ms(), end);
        usleep(1000);
    }
    ck_assert_uint_eq(fixture_count(s), 100);
    store_close(s);
}
END_TEST

/* ---- limits ---- */

/* A full store can still end tickets and purge, and takes new ones afterwards. */
START_TEST(full_store_recovers)
{
    static char text[8000];
    memset(text, 'x', sizeof text - 1);
    struct record_value big[] = {{"XData", text}};
    struct store *s = fixture_open_kind(_i, (struct store_options){.max_bytes = 3 << 20});
    for (int round = 0; round < 3; round++) {
        unsigned first = (unsigned)round * 100000, n = first, deleted = 0;
        int rc = 0;
        while (rc == 0) {
            struct record r = fixture_ticket(n, TICKET_SESSION);
            if (n % 3 == 0) {
                r.values = big;
                r.value_count = 1;
            }
            rc = store_issue(s, &r);
            n += rc == 0;
            ck_assert_uint_lt(n - first, 50000);
        }
        ck_assert_int_eq(rc, ERR_STORE_FULL);
        ck_assert_uint_gt(n - first, 200);
        struct record again = fixture_ticket(first, TICKET_SESSION);
        ck_assert(store_issue(s, &again) < 0);
        for (unsigned i = first; i < n; i++)
            if (i % 2 == 0)
                ck_assert_int_eq(fixture_redeem(s, i, NOW), REDEEM_OK);
            else
                ck_assert_int_eq(store_revoke(s, fixture_ticket(i, TICKET_SESSION).hash, NOW), 0);
        ck_assert_uint_eq(fixture_count(s), n - first);
        while (deleted < n - first)
            deleted += (unsigned)store_purge(s, NOW + 100 * HOUR_MS, 0);
        ck_assert_uint_eq(deleted, n - first);
        ck_assert_uint_eq(fixture_count(s), 0);
    }
    store_close(s);
}
END_TEST

static void add_tests(TCase *tc)
{
    tcase_add_test(tc, refuses_bad_urls);
    tcase_add_loop_test(tc, says_whether_it_is_shared, 0, KINDS);
    tcase_add_loop_test(tc, gives_back_what_was_issued, 0, KINDS);
    tcase_add_loop_test(tc, redeems, 0, KINDS);
    tcase_add_loop_test(tc, revokes, 0, KINDS);
    tcase_add_loop_test(tc, finds_by_prefix, 0, KINDS);
    tcase_add_loop_test(tc, lists_in_order, 0, KINDS);
    tcase_add_loop_test(tc, purges_when_the_tombstone_is_over, 0, KINDS);
    tcase_add_loop_test(tc, purges_many, 0, KINDS);
    tcase_add_loop_test(tc, purges_by_itself, 0, KINDS);
    tcase_add_loop_test(tc, full_store_recovers, 0, KINDS_HERE);
}

int main(void)
{
    return fixture_run_suite("store", add_tests);
}
