/* The ticket API for users: signing in, issuing, seeing and revoking one's own tickets, and every mistake. */
#include "ticketapi_fixture.h"

/* ---- issuing ---- */

START_TEST(a_ticket_with_nothing_said)
{
    struct ticket_string t;
    struct record *r;
    ck_assert_uint_eq(api_ask("POST", "/v1/tickets", ALICE, "{}"), 201);
    ck_assert_uint_eq(strlen(text_of("fingerprint")), RECORD_FINGERPRINT - 1);
    ck_assert_str_eq(text_of("authority"), "STA01");
    ck_assert_str_eq(text_of("class"), "background");
    ck_assert_str_eq(text_of("state"), "live");
    ck_assert_str_eq(text_of("user"), "alice");
    ck_assert_str_eq(text_of("device"), "");
    ck_assert_str_eq(text_of("gateway"), "gateway.example.com:443");
    ck_assert_str_eq(text_of("lifetime"), "168h");
    ck_assert_uint_eq(strlen(text_of("issued")), CLOCK_TEXT - 1);
    ck_assert_uint_eq(strlen(text_of("expires")), CLOCK_TEXT - 1);
    const json_t *services = json_object_get(answer, "services");
    ck_assert_uint_eq(json_array_size(services), 1);
    ck_assert_str_eq(json_string_value(json_array_get(services, 0)), "mail.example.com:443");
    ck_assert_ptr_null(json_object_get(answer, "ownServices"));
    ck_assert_ptr_null(json_object_get(answer, "refreshable"));

    const char *text = text_of("ticket");
    ck_assert_int_eq(ticket_parse(&t, text, strlen(text), NULL), 0);
    ck_assert_uint_eq(t.version, 40);
    ck_assert_str_eq(t.ref[0].authority, "STA01");
    ck_assert_int_eq(store_find(authorities[FIRST]->store, text_of("fingerprint"), &r), 0);
    uint8_t hash[RECORD_HASH];
    record_hash(hash, t.ref[0].value, strlen(t.ref[0].value));
    ck_assert_int_eq(memcmp(hash, r->hash, sizeof hash), 0);
    ck_assert_str_eq(r->user, "alice");
    ck_assert_uint_eq(r->service_count, 0);
    ck_assert_uint_eq(authorities[FIRST]->counters.issued, 1);
    ck_assert_uint_eq(idle, 1);
    free(r);
}
END_TEST

START_TEST(a_ticket_with_everything_said)
{
    ck_assert_uint_eq(api_ask("POST", "/v1/tickets/", ALICE,
                              "{\"device\":\"J\\u00f6rgs phone\",\"class\":\"session\",\"lifetime\":\"90s\","
                              "\"refreshable\":true,\"services\":[\"MAIL.example.com: 443\","
                              "\"*.example.com:25\"]}"),
                      201);
    ck_assert_str_eq(text_of("class"), "session");
    ck_assert_str_eq(text_of("device"), "J\xc3\xb6rgs phone");
    ck_assert_str_eq(text_of("lifetime"), "90s");
    ck_assert(json_is_true(json_object_get(answer, "refreshable")));
    for (int i = 0; i < 2; i++) {
        const json_t *list = json_object_get(answer, i ? "services" : "ownServices");
        ck_assert_uint_eq(json_array_size(list), 2);
        ck_assert_str_eq(json_string_value(json_array_get(list, 0)), "mail.example.com:443");
        ck_assert_str_eq(json_string_value(json_array_get(list, 1)), "*.example.com:25");
    }
}
END_TEST

static const char *const good[] = {
    "",
    " {} ",
    "{\"device\":null,\"class\":null,\"lifetime\":null,\"services\":null}",
    "{\"device\":\"\",\"services\":[]}",
    "{\"lifetime\":\"168h\"}",
    "{\"lifetime\":\"1ms\"}",
    "{\"class\":\"session\",\"lifetime\":\"100s\"}",
    "{\"class\":\"session\",\"refreshable\":true,\"lifetime\":\"500s\"}",
    "{\"refreshable\":false}",
};

START_TEST(documents_that_are_good)
{
    ck_assert_msg(api_ask("POST", "/v1/tickets", ALICE, good[_i]) == 201, "%s: %s", good[_i], last.body);
}
END_TEST

static const struct {
    const char *body;
    const char *message; /* a part of it */
} bad[] = {
    /* no JSON object */
    {" ", "no JSON object"},
    {"nonsense", "no JSON object"},
    {"[]", "no JSON object"},
    {"5", "no JSON object"},
    {"null", "no JSON object"},
    {"\"device\"", "no JSON object"},
    {"{", "no JSON object"},
    {"{}{}", "no JSON object"},
    {"{} x", "no JSON object"},
    {"{'device':'x'}", "no JSON object"},
    {"{\"device\":\"a\",\"device\":\"b\"}", "no JSON object"},
    {"{\"device\":\"a\\u0000b\"}", "no JSON object"},
    {"{\"a\\u0000b\":1}", "no JSON object"},
    {"{\"device\":\"\xff\"}", "no JSON object"},
    {"{\"device\":\"\\ud800\"}", "no JSON object"},
    {"{\"lifetime\":99999999999999999999999999}", "no JSON object"},
    {"{\"lifetime\":1e999}", "no JSON object"},
    {"{\"lifetime\":NaN}", "no JSON object"},
    {"\xef\xbb\xbf{}", "no JSON object"},
    /* members that are not known */
    {"{\"devise\":\"a\"}", "a member that is not known here"},
    {"{\"user\":\"bert\"}", "a member that is not known here"},
    {"{\"authority\":\"STA02\"}", "a member that is not known here"},
    {"{\"icaAddress\":\"a.example.com:1\"}", "a member that is not known here"},
    {"{\"\":1}", "a member that is not known here"},
    /* wrong types */
    {"{\"device\":5}", "are texts"},
    {"{\"device\":[\"a\"]}", "are texts"},
    {"{\"class\":true}", "are texts"},
    {"{\"lifetime\":3600}", "are texts"},
    {"{\"lifetime\":1e300}", "are texts"},
    {"{\"services\":\"mail.example.com:443\"}", "services is a list of texts"},
    {"{\"services\":[\"mail.example.com:443\",5]}", "services is a list of texts"},
    {"{\"services\":{}}", "services is a list of texts"},
    {"{\"services\":[null]}", "services is a list of texts"},
    {"{\"refreshable\":\"true\"}", "refreshable is true or false"},
    {"{\"refreshable\":1}", "refreshable is true or false"},
    {"{\"refreshable\":null}", "refreshable is true or false"},
    /* wrong values */
    {"{\"class\":\"Background\"}", "class is background or session"},
    {"{\"class\":\"\"}", "class is background or session"},
    {"{\"lifetime\":\"\"}", ""},
    {"{\"lifetime\":\"3600\"}", "unit"},
    {"{\"lifetime\":\"0s\"}", "a lifetime of nothing is no ticket"},
    {"{\"lifetime\":\"-1s\"}", ""},
    {"{\"lifetime\":\"169h\"}", "shorter than this class's own, not longer"},
    {"{\"class\":\"session\",\"lifetime\":\"101s\"}", "shorter than this class's own, not longer"},
    {"{\"services\":[\"mail.example.com\"]}", "port is missing"},
    {"{\"services\":[\"\"]}", ""},
    {"{\"services\":[\"*:443\"]}", ""},
};

START_TEST(documents_that_are_not)
{
    api_ask("POST", "/v1/tickets", ALICE, bad[_i].body);
    expect_error(400, "bad_request", bad[_i].message);
    ck_assert_uint_eq(authorities[FIRST]->counters.issued, 0);
}
END_TEST

START_TEST(documents_that_are_too_much)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    buf_append_str(&b, "{\"services\":[\"a.example.com:1\"");
    for (int i = 0; i < RECORD_SERVICES_MAX; i++)
        buf_append_str(&b, ",\"a.example.com:1\"");
    buf_append(&b, "]}", 3);
    api_ask("POST", "/v1/tickets", ALICE, (const char *)b.data);
    expect_error(400, "bad_request", "services is a list of texts");
    b.len = 0;
    buf_append_str(&b, "{\"device\":\"");
    for (int i = 0; i < 256; i++)
        buf_append_str(&b, "d");
    buf_append(&b, "\"}", 3);
    api_ask("POST", "/v1/tickets", ALICE, (const char *)b.data);
    expect_error(400, "bad_request", "user and device are at most 255 bytes");
    b.len = 0;
    for (int i = 0; i < 30000; i++) /* as deep as it goes */
        buf_append_str(&b, "[");
    buf_append(&b, "", 1);
    api_ask("POST", "/v1/tickets", ALICE, (const char *)b.data);
    expect_error(400, "bad_request", "no JSON object");
    buf_deinit(&b);
}
END_TEST

START_TEST(content_types)
{
    static const char *const types[] = {"", "Content-Type: text/plain\r\n",
                                        "Content-Type: application/jsonx\r\n",
                                        "Content-Type: application/x-www-form-urlencoded\r\n"};
    char fields[256];
    for (int i = 0; i < COUNT(types); i++) {
        snprintf(fields, sizeof fields, PLAIN "%s", types[i]);
        api_ask("POST", "/v1/tickets", api_as(fields, "alice:wonderland"), i % 2 ? "{}" : "");
        expect_error(415, "bad_request", "Content-Type: application/json");
    }
    api_ask("DELETE", "/v1/tickets/1234", api_as(PLAIN, "alice:wonderland"), "{}");
    expect_error(415, "bad_request", "");
    api_ask("GET", "/v1/tickets", api_as(PLAIN, "alice:wonderland"), "");
    ck_assert_uint_eq(last.status, 200);
    api_ask("POST", "/v1/tickets",
            api_as(PLAIN "Content-Type: Application/JSON; charset=utf-8\r\n", "alice:wonderland"), "{}");
    ck_assert_uint_eq(last.status, 201);
}
END_TEST

/* ---- limits ---- */

static void restart(struct store_options store)
{
    const struct store_options *o = &store;
    store_configure(authorities[FIRST]->store, o);
}

START_TEST(as_many_tickets_as_there_may_be)
{
    restart((struct store_options){.limits = {.per_user = 1}});
    ck_assert_uint_eq(api_ask("POST", "/v1/tickets", ALICE, "{}"), 201);
    api_ask("POST", "/v1/tickets", ALICE, "{}");
    expect_error(409, "too_many_tickets", "as many live tickets");
    ck_assert_uint_eq(api_ask("POST", "/v1/tickets", BERT, "{}"), 201);
}
END_TEST

/* ---- paths and methods ---- */

START_TEST(paths)
{
    ck_assert(ticketapi_is_path("/v1/tickets") && ticketapi_is_path("/v1/tickets/") &&
              ticketapi_is_path("/v1/tickets/abc"));
    ck_assert(!ticketapi_is_path("/v1/ticketsx") && !ticketapi_is_path("/v1/ticket") &&
              !ticketapi_is_path("/") && !ticketapi_is_path("/V1/tickets"));
}
END_TEST

START_TEST(methods)
{
    static const struct {
        const char *method, *path, *allow;
    } cases[] = {
        {"PUT", "/v1/tickets", "Allow: GET, POST"},
        {"DELETE", "/v1/tickets", "Allow: GET, POST"},
        {"DELETE", "/v1/tickets/", "Allow: GET, POST"},
        {"OPTIONS", "/v1/tickets", "Allow: GET, POST"},
        {"POST", "/v1/tickets/1234", "Allow: GET, DELETE"},
        {"PATCH", "/v1/tickets/1234", "Allow: GET, DELETE"},
    };
    for (int i = 0; i < COUNT(cases); i++) {
        api_ask(cases[i].method, cases[i].path, ALICE, "");
        expect_error(405, "method", "");
        ck_assert_msg(reply_has_field(&last, cases[i].allow), "%s", last.head);
    }
}
END_TEST

START_TEST(names_of_tickets)
{
    static const char *const names[] = {
        "123",
        "12g4",
        "1234%20",
        "1234/",
        "../tickets",
        "12345678901234567890123456789012345678901234567890123456789012345",
        ";40;STA01;6C0EE48D2E8CADFEE6D1EB93BFB52A57",
    };
    char path[256];
    for (int i = 0; i < COUNT(names); i++) {
        snprintf(path, sizeof path, "/v1/tickets/%s", names[i]);
        for (int k = 0; k < 2; k++) {
            api_ask(k ? "GET" : "DELETE", path, ALICE, "");
            expect_error(400, "bad_request", "4 to 64 hexadecimal digits");
        }
    }
}
END_TEST

START_TEST(pages_of_others)
{
    api_ask("POST", "/v1/tickets", api_as("Host: evil.example\r\n", "alice:wonderland"), "{}");
    expect_error(403, "access_denied", "Host");
    char fields[256];
    snprintf(fields, sizeof fields, JSON "Origin: http://localhost\r\n");
    api_ask("POST", "/v1/tickets", api_as(fields, "alice:wonderland"), "{}");
    expect_error(403, "access_denied", "web pages");
    api_ask("GET", "/v1/tickets", api_as("Host: STA.example.com:8080\r\n", "alice:wonderland"), "");
    ck_assert_uint_eq(last.status, 200);
}
END_TEST

/* ---- sign-in ---- */

START_TEST(without_sign_in)
{
    api_close_signin();
    api_ask("GET", "/v1/tickets", ALICE, "");
    expect_error(404, "no_sign_in", "sign-in is not configured here");
}
END_TEST

static void expect_sign_in(const char *message)
{
    expect_error(401, "sign_in", message);
    ck_assert(reply_has_field(&last, "WWW-Authenticate: Basic realm=\"stagate tickets\", charset=\"UTF-8\""));
}

START_TEST(credentials_that_are_none)
{
    static const char *const fields[] = {
        JSON "Authorization: Bearer abcdef\r\n",
        JSON "Authorization: Basic\r\n",
        JSON "Authorization: Basic ====\r\n",
        JSON "Authorization: Basic bm9jb2xvbg==\r\n", /* nocolon */
        JSON "Authorization: Basic YQBiOmM=\r\n",     /* a NUL */
        JSON "Authorization: \r\n",
    };
    api_ask("GET", "/v1/tickets", JSON, "");
    expect_sign_in("sign in with Basic credentials");
    for (int i = 0; i < COUNT(fields); i++) {
        api_ask("GET", "/v1/tickets", fields[i], "");
        expect_sign_in("holds no Basic credentials");
    }
    char *once = mem_strdup(api_as(JSON, "alice:wonderland"));
    api_ask("GET", "/v1/tickets", api_as(once, "alice:wonderland"), "");
    free(once);
    expect_sign_in("");
    char longest[600];
    memset(longest, 'x', sizeof longest);
    strcpy(longest + 256, ":y");
    api_ask("GET", "/v1/tickets", api_as(JSON, longest), "");
    expect_sign_in("at most 255 bytes each");
    ck_assert_uint_eq(api_ask("GET", "/v1/tickets", ALICE, ""), 200);
}
END_TEST

START_TEST(wrong_ones_are_all_answered_the_same)
{
    static const char *const wrong[] = {
        "alice:", "alice:Wonderland", "alice:wonderland ", "carol:wonderland", "Alice:wonderland", ":",
        "bert:b"};
    char *first = NULL;
    for (int i = 0; i < COUNT(wrong); i++) {
        ck_assert_uint_eq(api_ask("GET", "/v1/tickets", api_as(JSON, wrong[i]), ""), 401);
        expect_sign_in("user name or password is wrong");
        if (first == NULL)
            first = mem_strdup(last.body);
        ck_assert_str_eq(last.body, first);
    }
    free(first);
    ck_assert_uint_eq(api_ask("GET", "/v1/tickets", BERT, ""), 200); /* a colon in the password */
}
END_TEST

START_TEST(too_many_attempts_of_a_user)
{
    for (int i = 0; i < 5; i++) /* what turns out well does not count */
        ck_assert_uint_eq(api_ask("GET", "/v1/tickets", ALICE, ""), 200);
    for (int i = 0; i < 3; i++)
        ck_assert_uint_eq(api_ask("GET", "/v1/tickets", api_as(JSON, "alice:no"), ""), 401);
    for (int i = 0; i < 2; i++) {
        api_ask("GET", "/v1/tickets", ALICE, ""); /* whatever the password */
        expect_error(429, "too_many_attempts", "try again later");
        const char *retry = strstr(last.head, "\r\nRetry-After: ");
        ck_assert_ptr_nonnull(retry);
        unsigned long seconds = strtoul(retry + 15, NULL, 10);
        ck_assert(seconds >= 1 && seconds <= 20);
    }
    ck_assert_uint_eq(api_ask("GET", "/v1/tickets", BERT, ""), 200);
    ck_assert_uint_eq(api_ask("GET", "/v1/tickets", JSON, ""), 401); /* no attempt at all */
}
END_TEST

START_TEST(too_many_attempts_from_an_address)
{
    char name[32];
    for (int i = 0; i < 8; i++) {
        snprintf(name, sizeof name, "user%d:no", i);
        ck_assert_uint_eq(api_ask("GET", "/v1/tickets", api_as(JSON, name), ""), 401);
    }
    api_ask("GET", "/v1/tickets", ALICE, "");
    expect_error(429, "too_many_attempts", "try again later");
    ck_assert_ptr_nonnull(strstr(last.head, "\r\nRetry-After: "));
    /* what the address is refused for is not held against the user */
    ck_assert(ratelimit_take(users.by_user, "alice", clock_mono_ms(), NULL));
    ck_assert(ratelimit_take(users.by_user, "alice", clock_mono_ms(), NULL));
    ck_assert(ratelimit_take(users.by_user, "alice", clock_mono_ms(), NULL));
}
END_TEST

START_TEST(too_many_sign_ins_at_once)
{
    enum { N = 8 };
    static struct raw c[N];
    unsigned busy = 0, fine = 0;
    api_close_signin();
    unlink(htpasswd_file);
    api_write_users("$6$rounds=300000$salt");
    api_open_signin(1, 1);
    for (int i = 0; i < N; i++)
        service_send(&c[i], "GET", "/v1/tickets", ALICE, "", 0);
    for (int i = 0; i < N; i++) {
        api_take(service_read(&c[i]));
        raw_close(&c[i]);
        if (last.status == 200) {
            fine++;
            continue;
        }
        if (last.status == 429)
            continue; /* attempts that are being checked count until they have turned out well */
        expect_error(503, "busy", "too many sign-ins at once");
        ck_assert(reply_has_field(&last, "Retry-After: 1"));
        busy++;
    }
    ck_assert_uint_ge(fine, 1);
    ck_assert_uint_ge(busy, 1);
}
END_TEST

START_TEST(a_peer_that_leaves_during_sign_in)
{
    static struct raw c;
    for (int i = 0; i < 10; i++) {
        service_send(&c, "POST", "/v1/tickets", ALICE, "{}", 2);
        RUN_UNTIL(users.open == 1);
        raw_reset(&c);
        RUN_UNTIL(users.open == 0);
    }
    ck_assert_uint_eq(api_ask("GET", "/v1/tickets", ALICE, ""), 200);
}
END_TEST

/* ---- one's own tickets ---- */

START_TEST(owners_see_their_own_only)
{
    char path[64];
    api_put(FIRST, "aaaa01", "alice");
    api_put(FIRST, "bbbb01", "bert");
    api_put(SECOND, "cccc01", "alice"); /* another authority's */
    ck_assert_uint_eq(api_ask("GET", "/v1/tickets", ALICE, ""), 200);
    ck_assert_uint_eq(json_array_size(tickets()), 1);
    ck_assert_str_eq(ticket_text(0, "fingerprint"), "aaaa01777777");
    ck_assert_str_eq(ticket_text(0, "user"), "alice");
    ck_assert_ptr_null(ticket_text(0, "ticket"));
    static const char *const others[] = {"bbbb", "bbbb01", "cccc01", "dddd"};
    for (int i = 0; i < COUNT(others); i++) {
        snprintf(path, sizeof path, "/v1/tickets/%s", others[i]);
        api_ask("GET", path, ALICE, "");
        expect_error(404, "ticket_unknown", "");
        api_ask("DELETE", path, ALICE, "");
        expect_error(404, "ticket_unknown", "");
    }
    ck_assert_uint_eq(api_ask("GET", "/v1/tickets?user=bert&next=0-00", ALICE, ""),
                      200); /* not theirs to say */
    ck_assert_uint_eq(json_array_size(tickets()), 1);
    ck_assert_str_eq(ticket_text(0, "user"), "alice");
    ck_assert_uint_eq(api_ask("GET", "/v1/tickets", BERT, ""), 200);
    ck_assert_uint_eq(json_array_size(tickets()), 1);
}
END_TEST

START_TEST(newest_first_and_what_has_ended)
{
    static const char *const hashes[] = {"aaaa", "cccc", "bbbb"};
    for (int i = 0; i < COUNT(hashes); i++) {
        struct record r = api_record(hashes[i], "alice");
        r.issued_ms += i;
        ck_assert_int_eq(store_issue(authorities[FIRST]->store, &r), 0);
    }
    struct record r = api_record("cccc", "alice");
    ck_assert_int_eq(store_revoke(authorities[FIRST]->store, r.hash, clock_wall_ms()), 0);
    r = api_record("aaaa", "alice");
    ck_assert_int_eq(store_end(authorities[FIRST]->store, r.hash, STORE_SWEEP_FORGET, clock_wall_ms()), 0);
    ck_assert_uint_eq(api_ask("GET", "/v1/tickets", ALICE, ""), 200);
    ck_assert_uint_eq(json_array_size(tickets()), 2); /* what was forgotten is not there */
    ck_assert_str_eq(ticket_text(0, "fingerprint"), "bbbb77777777");
    ck_assert_str_eq(ticket_text(0, "state"), "live");
    ck_assert_str_eq(ticket_text(1, "fingerprint"), "cccc77777777");
    ck_assert_str_eq(ticket_text(1, "state"), "revoked");
    ck_assert_ptr_nonnull(ticket_text(1, "ended"));
    api_ask("GET", "/v1/tickets/aaaa", ALICE, "");
    expect_error(404, "ticket_unknown", "");
    clock_set_offset_ms(2 * HOUR_MS);
    ck_assert_uint_eq(api_ask("GET", "/v1/tickets/bbbb", ALICE, ""), 200);
    ck_assert_str_eq(text_of("state"), "expired");
}
END_TEST

START_TEST(one_revoked)
{
    char hash[2 * RECORD_HASH + 1], path[128], ended[CLOCK_TEXT];
    ck_assert_uint_eq(api_ask("POST", "/v1/tickets", ALICE, "{}"), 201);
    struct ticket_string t;
    const char *text = text_of("ticket");
    ck_assert_int_eq(ticket_parse(&t, text, strlen(text), NULL), 0);
    uint8_t bytes[RECORD_HASH];
    record_hash(bytes, t.ref[0].value, 32);
    for (size_t i = 0; i < RECORD_HASH; i++)
        snprintf(hash + 2 * i, 3, "%02X", bytes[i]);
    static const size_t lengths[] = {4, 5, 12, 63, 64};
    for (int i = 0; i < COUNT(lengths); i++) {
        snprintf(path, sizeof path, "/v1/tickets/%.*s", (int)lengths[i], hash);
        ck_assert_uint_eq(api_ask("GET", path, ALICE, ""), 200);
        ck_assert_str_eq(text_of("state"), "live");
        ck_assert_ptr_null(json_object_get(answer, "ticket"));
    }
    ck_assert_uint_eq(api_ask("DELETE", path, ALICE, ""), 200);
    ck_assert_str_eq(text_of("state"), "revoked");
    snprintf(ended, sizeof ended, "%s", text_of("ended"));
    struct record *r;
    ck_assert_int_eq(store_redeem(authorities[FIRST]->store, bytes, clock_wall_ms(), &r), REDEEM_REVOKED);
    free(r);
    clock_set_offset_ms(1000);
    ck_assert_uint_eq(api_ask("DELETE", path, ALICE, ""), 200); /* once more changes nothing */
    ck_assert_str_eq(text_of("state"), "revoked");
    ck_assert_str_eq(text_of("ended"), ended);
}
END_TEST

START_TEST(what_begins_alike)
{
    struct record r = api_record("eeee03", "alice");
    api_put(FIRST, "eeee01", "alice");
    api_put(FIRST, "eeee02", "bert");
    ck_assert_uint_eq(api_ask("GET", "/v1/tickets/eeee", ALICE, ""),
                      200); /* bert's does not exist for alice */
    ck_assert_str_eq(text_of("fingerprint"), "eeee01777777");
    ck_assert_int_eq(store_issue(authorities[FIRST]->store, &r), 0);
    api_ask("GET", "/v1/tickets/eeee", ALICE, "");
    expect_error(409, "ambiguous", "give more digits");
    api_ask("DELETE", "/v1/tickets/EEEE0", ALICE, "");
    expect_error(409, "ambiguous", "give more digits");
    ck_assert_uint_eq(api_ask("GET", "/v1/tickets/eeee03", ALICE, ""), 200);
    ck_assert_uint_eq(api_ask("DELETE", "/v1/tickets/eeee", BERT, ""), 200);
    ck_assert_str_eq(text_of("user"), "bert");
}
END_TEST

START_TEST(more_than_a_page_of_ones_own)
{
    char hash[16];
    for (unsigned i = 0; i < STORE_PAGE_MAX + 7; i++) {
        snprintf(hash, sizeof hash, "%06x", i);
        api_put(FIRST, hash, "alice");
    }
    ck_assert_uint_eq(api_ask("GET", "/v1/tickets", ALICE, ""), 200);
    ck_assert_uint_eq(json_array_size(tickets()), STORE_PAGE_MAX);
    ck_assert(json_is_true(json_object_get(answer, "more")));
    ck_assert_ptr_null(json_object_get(answer, "next")); /* there is no going on: it would not be heard */
}
END_TEST

/* ---- the log ---- */

START_TEST(the_log_tells_what_happened_and_no_secret)
{
    service_log_begin();
    ck_assert_uint_eq(api_ask("POST", "/v1/tickets", ALICE, "{\"device\":\"phone1\"}"), 201);
    const char *log = service_log_take();
    LOG_HAS(log, "\"event\":\"api\"");
    LOG_HAS(log, "\"method\":\"POST\"");
    LOG_HAS(log, "\"result\":\"issued\"");
    LOG_HAS(log, "\"user\":\"alice\"");
    LOG_HAS(log, "\"device\":\"phone1\"");
    LOG_HAS(log, text_of("fingerprint"));
    LOG_LACKS(log, strrchr(text_of("ticket"), ';') + 1);
    LOG_LACKS(log, "wonderland");
    api_ask("GET", "/v1/tickets", api_as(JSON, "alice:looking-glass"), "");
    log = service_log_take();
    LOG_HAS(log, "\"result\":\"sign_in\"");
    LOG_HAS(log, "\"status\":401");
    LOG_LACKS(log, "looking-glass");
    api_ask("POST", "/v1/tickets", ALICE, "{\"lifetime\":\"1y\"}");
    log = service_log_take();
    LOG_HAS(log, "\"result\":\"bad_request\"");
    LOG_HAS(log, "\"user\":\"alice\"");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("ticketapi");
    TCase *t = tcase_create("ticketapi");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, api_setup, api_teardown);
    tcase_add_test(t, a_ticket_with_nothing_said);
    tcase_add_test(t, a_ticket_with_everything_said);
    tcase_add_loop_test(t, documents_that_are_good, 0, COUNT(good));
    tcase_add_loop_test(t, documents_that_are_not, 0, COUNT(bad));
    tcase_add_test(t, documents_that_are_too_much);
    tcase_add_test(t, content_types);
    tcase_add_test(t, as_many_tickets_as_there_may_be);
    tcase_add_test(t, paths);
    tcase_add_test(t, methods);
    tcase_add_test(t, names_of_tickets);
    tcase_add_test(t, pages_of_others);
    tcase_add_test(t, without_sign_in);
    tcase_add_test(t, credentials_that_are_none);
    tcase_add_test(t, wrong_ones_are_all_answered_the_same);
    tcase_add_test(t, too_many_attempts_of_a_user);
    tcase_add_test(t, too_many_attempts_from_an_address);
    tcase_add_test(t, too_many_sign_ins_at_once);
    tcase_add_test(t, a_peer_that_leaves_during_sign_in);
    tcase_add_test(t, owners_see_their_own_only);
    tcase_add_test(t, newest_first_and_what_has_ended);
    tcase_add_test(t, one_revoked);
    tcase_add_test(t, what_begins_alike);
    tcase_add_test(t, more_than_a_page_of_ones_own);
    tcase_add_test(t, the_log_tells_what_happened_and_no_secret);
    suite_add_tcase(s, t);
    return fixture_end(srunner_create(s));
}
