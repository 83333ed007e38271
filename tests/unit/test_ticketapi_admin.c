/* The ticket API for the administrator: everybody's tickets, of several authorities, a remote one among them.
 */
#include "ticketapi_fixture.h"

static struct authority *elsewhere;
static struct authority_client *all[AUTHORITIES + 1]; /* the remote one first */

static void setup(void)
{
    char why[256];
    api_setup();
    struct authority_options o = {.id = "STAREMOTE",
                                  .url = "http://127.0.0.1:1/scripts/ctxsta.dll",
                                  .path = "/scripts/ctxsta.dll",
                                  .timeout_ms = 1000,
                                  .connections = 1,
                                  .signature = "remote"};
    ck_assert_int_eq(hostport_parse(&o.origin, "127.0.0.1:1", 11, 0, NULL), 0);
    ck_assert_int_eq(authority_open(&elsewhere, &o, why, sizeof why), 0);
    all[0] = authority_client_new(elsewhere, &loop, NULL);
    for (int i = 0; i < AUTHORITIES; i++)
        all[i + 1] = clients[i];
    admin.clients = all;
    admin.client_count = AUTHORITIES + 1;
    api_be_admin(true);
}

static void teardown(void)
{
    service_close_client(all[0]);
    authority_unref(elsewhere);
    api_teardown();
}

/* ---- issuing ---- */

START_TEST(tickets_for_others)
{
    ck_assert_uint_eq(api_ask("POST", "/v1/tickets", JSON, "{\"user\":\"carol\"}"), 201);
    ck_assert_str_eq(text_of("user"), "carol");
    ck_assert_str_eq(text_of("authority"), "STA01"); /* the first with a store */
    ck_assert_uint_eq(api_ask("POST", "/v1/tickets", JSON,
                              "{\"user\":\"carol\",\"authority\":\"STA02\",\"lifetime\":\"520w\","
                              "\"icaAddress\":\"mail.example.com:443\",\"device\":\"d\"}"),
                      201);
    ck_assert_str_eq(text_of("authority"), "STA02");
    ck_assert_ptr_nonnull(strstr(text_of("ticket"), ";40;STA02;"));
    struct record *r;
    ck_assert_int_eq(store_find(authorities[SECOND]->store, text_of("fingerprint"), &r), 0);
    ck_assert_uint_eq(r->value_count, 1);
    ck_assert_str_eq(r->values[0].name, "ICAAddress");
    ck_assert_str_eq(r->values[0].value, "mail.example.com:443");
    free(r);
    ck_assert_uint_eq(authorities[FIRST]->counters.issued, 1);
    ck_assert_uint_eq(authorities[SECOND]->counters.issued, 1);
}
END_TEST

static const struct {
    const char *body;
    unsigned status;
    const char *error, *message;
} bad[] = {
    {"{}", 400, "bad_request", "user is missing"},
    {"", 400, "bad_request", "user is missing"},
    {"{\"user\":null}", 400, "bad_request", "user is missing"},
    {"{\"user\":5}", 400, "bad_request", "are texts"},
    {"{\"user\":\"a\\u0000b\"}", 400, "bad_request", "no JSON object"},
    {"{\"user\":\"carol\",\"authority\":5}", 400, "bad_request", "are texts"},
    {"{\"user\":\"carol\",\"authority\":[\"STA02\"]}", 400, "bad_request", "are texts"},
    {"{\"user\":\"carol\",\"authority\":\"STA03\"}", 404, "authority_unknown", "store of its own"},
    {"{\"user\":\"carol\",\"authority\":\"sta01\"}", 404, "authority_unknown", "store of its own"},
    {"{\"user\":\"carol\",\"authority\":\"\"}", 404, "authority_unknown", "store of its own"},
    {"{\"user\":\"carol\",\"authority\":\"STAREMOTE\"}", 404, "authority_unknown", "store of its own"},
    {"{\"user\":\"carol\",\"icaAddress\":\"mail.example.com\"}", 400, "bad_request", "port is missing"},
    {"{\"user\":\"carol\",\"icaAddress\":443}", 400, "bad_request", "are texts"},
    {"{\"user\":\"carol\",\"lifetime\":\"523w\"}", 400, "bad_request", "ten years"},
    {"{\"user\":\"carol\",\"lifetime\":\"99999999999999999w\"}", 400, "bad_request", ""},
    {"{\"user\":\"carol\",\"usre\":\"bert\"}", 400, "bad_request", "not known here"},
};

START_TEST(documents_that_are_not)
{
    api_ask("POST", "/v1/tickets", JSON, bad[_i].body);
    expect_error(bad[_i].status, bad[_i].error, bad[_i].message);
    ck_assert_uint_eq(authorities[FIRST]->counters.issued + authorities[SECOND]->counters.issued, 0);
}
END_TEST

START_TEST(long_texts)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    buf_append_str(&b, "{\"user\":\"carol\",\"icaAddress\":\"");
    for (int i = 0; i < 9000; i++)
        buf_append_str(&b, " ");
    buf_append(&b, "mail.example.com:443\"}", 23);
    api_ask("POST", "/v1/tickets", JSON, (const char *)b.data);
    expect_error(400, "bad_request", "more text than a ticket holds");
    buf_deinit(&b);
}
END_TEST

START_TEST(a_fault_gives_it_another_id)
{
    authorities[FIRST]->faults.id = authority_intern(authorities[FIRST], "STACLONE");
    ck_assert_uint_eq(api_ask("POST", "/v1/tickets", JSON, "{\"user\":\"carol\"}"), 201);
    ck_assert_str_eq(text_of("authority"), "STACLONE");
    ck_assert_ptr_nonnull(strstr(text_of("ticket"), ";40;STACLONE;"));
}
END_TEST

/* ---- pages ---- */

START_TEST(pages_over_several_authorities)
{
    enum { N = 150 };
    static unsigned seen[AUTHORITIES][N];
    char hash[16], path[256] = "/v1/tickets";
    for (int a = 0; a < AUTHORITIES; a++) {
        for (unsigned i = 0; i < N; i++) {
            snprintf(hash, sizeof hash, "%02x%02x%02x", i, a, i);
            api_put(a, hash, i % 2 ? "alice" : "bert");
        }
    }
    unsigned pages = 0, total = 0;
    for (const char *next = ""; next != NULL; pages++) {
        ck_assert_uint_lt(pages, 10);
        ck_assert_uint_eq(api_ask("GET", path, PLAIN, ""), 200);
        for (size_t i = 0; i < json_array_size(tickets()); i++) {
            unsigned n = 0;
            sscanf(ticket_text(i, "fingerprint"), "%2x", &n);
            int a = strcmp(ticket_text(i, "authority"), "STA01") == 0 ? FIRST : SECOND;
            seen[a][n]++;
            total++;
        }
        next = json_string_value(json_object_get(answer, "next"));
        snprintf(path, sizeof path, "/v1/tickets?next=%s", next != NULL ? next : "");
    }
    ck_assert_uint_eq(total, AUTHORITIES * N);
    for (int a = 0; a < AUTHORITIES; a++) {
        for (int i = 0; i < N; i++)
            ck_assert_uint_eq(seen[a][i], 1);
    }
    ck_assert_uint_ge(pages, 3);
}
END_TEST

START_TEST(one_users_tickets_everywhere)
{
    char hash[16];
    for (unsigned i = 0; i < STORE_PAGE_MAX + 1; i++) {
        snprintf(hash, sizeof hash, "%06x", i);
        api_put(FIRST, hash, "al&ice");
    }
    api_put(SECOND, "abcd", "al&ice");
    api_put(SECOND, "dcba", "bert");
    ck_assert_uint_eq(api_ask("GET", "/v1/tickets?user=al%26ice", PLAIN, ""), 200);
    ck_assert_uint_eq(json_array_size(tickets()), STORE_PAGE_MAX + 1);
    ck_assert(json_is_true(json_object_get(answer, "more")));
    ck_assert_ptr_null(json_object_get(answer, "next"));
    ck_assert_str_eq(ticket_text(STORE_PAGE_MAX, "authority"), "STA02");
    ck_assert_uint_eq(api_ask("GET", "/v1/tickets?user=bert", PLAIN, ""), 200);
    ck_assert_uint_eq(json_array_size(tickets()), 1);
    ck_assert_uint_eq(api_ask("GET", "/v1/tickets?user=nobody", PLAIN, ""), 200);
    ck_assert_uint_eq(json_array_size(tickets()), 0);
    ck_assert_uint_eq(api_ask("GET", "/v1/tickets?user=", PLAIN, ""), 200);
    ck_assert_uint_eq(json_array_size(tickets()), 0);
}
END_TEST

#define HASH "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

START_TEST(queries_that_are_none)
{
    static const char *const queries[] = {
        "next=",
        "next=0",
        "next=0-",
        "next=0-1234",
        "next=-" HASH,
        "next=x-" HASH,
        "next=+1-" HASH,
        "next=%200-" HASH,
        "next=0-" HASH "0",
        "next=0-" HASH "%00",
        "next=-1-" HASH,
        "next",
        "next=0_" HASH,
        "next=1000000000-" HASH,
        "user=%00",
        "user=%zz",
        "a=b&user=%0",
        "next=0-0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef",
    };
    struct buf b;
    buf_init(&b, 4096);
    for (int i = 0; i < COUNT(queries); i++) {
        b.len = 0;
        buf_printf(&b, "/v1/tickets?%s", queries[i]);
        buf_append(&b, "", 1);
        api_ask("GET", (const char *)b.data, PLAIN, "");
        expect_error(400, "bad_request", strstr(queries[i], "user") ? "user is" : "next is");
    }
    b.len = 0;
    buf_append_str(&b, "/v1/tickets?user=");
    for (int i = 0; i < 256; i++)
        buf_append_str(&b, "u");
    buf_append(&b, "", 1);
    api_ask("GET", (const char *)b.data, PLAIN, "");
    expect_error(400, "bad_request", "at most 255 bytes"); /* rather than everybody's */
    buf_deinit(&b);
    static const char *const fine[] = {"next=0-" HASH, "next=999999-" HASH, "xnext=1", "nextx=1", "", "&&",
                                       "users=a"};
    char path[256];
    for (int i = 0; i < COUNT(fine); i++) {
        snprintf(path, sizeof path, "/v1/tickets?%s", fine[i]);
        ck_assert_msg(api_ask("GET", path, PLAIN, "") == 200, "%s: %s", path, last.body);
    }
}
END_TEST

/* ---- one of them ---- */

START_TEST(a_ticket_of_whichever_authority)
{
    api_put(FIRST, "aaaa01", "alice");
    api_put(SECOND, "bbbb01", "bert");
    ck_assert_uint_eq(api_ask("GET", "/v1/tickets/aaaa", PLAIN, ""), 200);
    ck_assert_str_eq(text_of("authority"), "STA01");
    ck_assert_uint_eq(api_ask("GET", "/v1/tickets/bbbb01777777", PLAIN, ""), 200);
    ck_assert_str_eq(text_of("authority"), "STA02");
    ck_assert_uint_eq(api_ask("DELETE", "/v1/tickets/bbbb", PLAIN, ""), 200);
    ck_assert_str_eq(text_of("authority"), "STA02");
    ck_assert_str_eq(text_of("state"), "revoked");
    struct record *r;
    ck_assert_int_eq(store_find(authorities[SECOND]->store, "bbbb01", &r), 0);
    ck_assert_int_eq(r->state, TICKET_REVOKED);
    free(r);
    api_ask("DELETE", "/v1/tickets/cccc", PLAIN, "");
    expect_error(404, "ticket_unknown", "");
}
END_TEST

/* Within one authority, and over two: the wrong ticket must not be the one that is revoked. */
START_TEST(what_begins_alike)
{
    api_put(_i == 0 ? FIRST : SECOND, "dddd01", "alice");
    api_put(SECOND, "dddd02", "bert");
    if (_i == 0)
        ck_assert_uint_eq(api_ask("GET", "/v1/tickets/dddd01", PLAIN, ""), 200);
    api_ask("GET", "/v1/tickets/dddd", PLAIN, "");
    expect_error(409, "ambiguous", "give more digits");
    api_ask("DELETE", "/v1/tickets/dddd0", PLAIN, "");
    expect_error(409, "ambiguous", "give more digits");
    ck_assert_uint_eq(api_ask("DELETE", "/v1/tickets/dddd02", PLAIN, ""), 200);
    ck_assert_str_eq(text_of("user"), "bert");
    ck_assert_uint_eq(api_ask("GET", "/v1/tickets/dddd01", PLAIN, ""), 200);
    ck_assert_str_eq(text_of("state"), "live");
}
END_TEST

START_TEST(the_administrator_sees_what_was_forgotten)
{
    api_put(FIRST, "aaaa", "alice");
    struct record r = api_record("aaaa", "alice");
    ck_assert_int_eq(store_end(authorities[FIRST]->store, r.hash, STORE_SWEEP_FORGET, clock_wall_ms()), 0);
    ck_assert_uint_eq(api_ask("GET", "/v1/tickets/aaaa", PLAIN, ""), 200);
    ck_assert_str_eq(text_of("state"), "forgotten");
    ck_assert(json_is_true(json_object_get(answer, "injected")));
    ck_assert_uint_eq(api_ask("GET", "/v1/tickets", PLAIN, ""), 200);
    ck_assert_uint_eq(json_array_size(tickets()), 1);
}
END_TEST

/* An issuer's user or a directory's may be any bytes. */
START_TEST(names_that_are_no_utf8)
{
    api_put(FIRST, "aaaa", "\xff\xfe");
    ck_assert_uint_eq(api_ask("GET", "/v1/tickets/aaaa", PLAIN, ""), 200);
    ck_assert_str_eq(text_of("user"), "(not UTF-8)");
    ck_assert_uint_eq(api_ask("GET", "/v1/tickets?user=%ff%fe", PLAIN, ""), 200);
    ck_assert_uint_eq(json_array_size(tickets()), 1);
}
END_TEST

START_TEST(nobody_signs_in_here)
{
    ck_assert_uint_eq(api_ask("GET", "/v1/tickets", api_as(PLAIN, "alice:wrong"), ""), 200);
    api_ask("GET", "/v1/tickets", "Host: evil.example\r\n", "");
    expect_error(403, "access_denied", "Host");
}
END_TEST

START_TEST(no_authority_with_a_store)
{
    admin.client_count = 1;
    api_ask("POST", "/v1/tickets", JSON, "{\"user\":\"carol\"}");
    expect_error(404, "authority_unknown", "");
    ck_assert_uint_eq(api_ask("GET", "/v1/tickets", PLAIN, ""), 200);
    ck_assert_uint_eq(json_array_size(tickets()), 0);
    api_ask("GET", "/v1/tickets/aaaa", PLAIN, "");
    expect_error(404, "ticket_unknown", "");
    admin.client_count = 0;
    ck_assert_uint_eq(api_ask("GET", "/v1/tickets", PLAIN, ""), 200);
}
END_TEST

START_TEST(a_users_authority_is_the_first_with_a_store)
{
    api_be_admin(false);
    users.clients = all;
    users.client_count = AUTHORITIES + 1;
    ck_assert_uint_eq(api_ask("POST", "/v1/tickets", ALICE, "{}"), 201);
    ck_assert_str_eq(text_of("authority"), "STA01");
    api_put(SECOND, "bbbb", "alice");
    ck_assert_uint_eq(api_ask("GET", "/v1/tickets", ALICE, ""), 200);
    ck_assert_uint_eq(json_array_size(tickets()), 1);
    api_ask("GET", "/v1/tickets/bbbb", ALICE, "");
    expect_error(404, "ticket_unknown", "");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("ticketapi_admin");
    TCase *t = tcase_create("ticketapi_admin");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, tickets_for_others);
    tcase_add_loop_test(t, documents_that_are_not, 0, COUNT(bad));
    tcase_add_test(t, long_texts);
    tcase_add_test(t, a_fault_gives_it_another_id);
    tcase_add_test(t, pages_over_several_authorities);
    tcase_add_test(t, one_users_tickets_everywhere);
    tcase_add_test(t, queries_that_are_none);
    tcase_add_test(t, a_ticket_of_whichever_authority);
    tcase_add_loop_test(t, what_begins_alike, 0, 2);
    tcase_add_test(t, the_administrator_sees_what_was_forgotten);
    tcase_add_test(t, names_that_are_no_utf8);
    tcase_add_test(t, nobody_signs_in_here);
    tcase_add_test(t, no_authority_with_a_store);
    tcase_add_test(t, a_users_authority_is_the_first_with_a_store);
    suite_add_tcase(s, t);
    return fixture_end(srunner_create(s));
}
