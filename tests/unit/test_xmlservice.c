/* The STA service over HTTP: what each message is answered, who is refused, what faults do, and what the log
 * says and keeps to itself. */
#include "service_fixture.h"
#include "staxml_util.h"

#include "sta/xmlservice.h"

static struct authority *authority;
static struct authority_client *client;
static struct xmlservice service;
static struct httpd *server;
static struct cidr ranges[2];
static unsigned idle;
static struct reply last;
static struct staxml answer;

#define FIELDS "Host: localhost\r\nContent-Type: text/xml\r\n"

static void handle(void *owner, struct httpd_request *r)
{
    ck_assert_ptr_eq(owner, &service);
    xmlservice_handle(&service, r);
}

static void refuse(void *owner, unsigned status, const char *why, const char **type, char body[1024])
{
    (void)owner;
    xmlservice_refuse(status, why, type, body);
}

static void on_idle(void *owner)
{
    ck_assert_ptr_eq(owner, &idle);
    ck_assert_uint_eq(service.open, 0);
    idle++;
}

static void start(struct store_options store)
{
    authority = service_authority("STA01", store);
    client = authority_client_new(authority, &loop, NULL);
    ck_assert_int_eq(cidr_parse(&ranges[0], "127.0.0.0/8", 11, NULL), 0);
    service = (struct xmlservice){.loop = &loop,
                                  .client = client,
                                  .access = {.allow = ranges, .allow_count = 1},
                                  .rules = service_rules,
                                  .requested_class = TICKET_SESSION,
                                  .delay_list = 8,
                                  .idle = on_idle,
                                  .owner = &idle};
    const struct httpd_options options = {.body_max = STAXML_BYTES_MAX,
                                          .connections_max = 100,
                                          .idle_ms = 60000,
                                          .request_ms = 60000,
                                          .handle = handle,
                                          .refuse = refuse,
                                          .owner = &service};
    server = httpd_new(&loop, fixture_listen(&service_address), &options);
}

static void setup(void)
{
    log_setup(LOG_JSON, LOG_ERROR);
    clock_set_offset_ms(0);
    idle = 0;
    ck_assert_int_eq(netloop_init(&loop), 0);
}

static void setup_started(void)
{
    setup();
    start((struct store_options){0});
}

static void forget_answers(void)
{
    reply_free(&last);
    staxml_free(&answer);
}

static void teardown(void)
{
    forget_answers();
    ck_assert_uint_eq(service.open, 0);
    service_close_server(server);
    service_close_client(client);
    authority_unref(authority);
    netloop_deinit(&loop);
}

/* ---- asking ---- */

/* The answer is always STA XML. */
static void take(struct reply r)
{
    const char *why = NULL;
    forget_answers();
    last = r;
    ck_assert_msg(reply_has_field(&r, "Content-Type: text/xml; charset=utf-8"), "%s", r.head);
    int rc = staxml_parse(&answer, r.body, r.len, &why);
    ck_assert_msg(rc == 0, "%s: '%s'", why, r.body);
}

static void ask_text(const char *fields, const char *body)
{
    take(service_ask("POST", XMLSERVICE_PATH, fields, body));
}

static enum staxml_error ask(const struct staxml *m)
{
    struct buf body;
    buf_init(&body, STAXML_BYTES_MAX);
    ck_assert_int_eq(staxml_write(&body, m), 0);
    take(service_ask_n("POST", XMLSERVICE_PATH, FIELDS, body.data, body.len));
    ck_assert_msg(answer.kind == m->kind + (STAXML_RESPONSE_TICKET - STAXML_REQUEST_TICKET) ||
                      answer.kind == STAXML_RESPONSE_ERROR,
                  "%s", last.body);
    buf_deinit(&body);
    return answer.error;
}

static struct staxml request(enum staxml_kind kind, const char *ticket)
{
    struct staxml m = {.kind = kind, .version = "4.0", .ticket_types = STAXML_TYPE_V4};
    snprintf(m.ticket, sizeof m.ticket, "%s", ticket);
    return m;
}

static const char *issue_one(const struct staxml *wish)
{
    static char ticket[TICKET_VALUE_MAX + 1];
    enum staxml_error e = ask(wish);
    ck_assert_msg(e == STAXML_ERROR_NONE, "%s", staxml_error_name(e));
    ck_assert_uint_eq(last.status, 200);
    memcpy(ticket, answer.ticket, sizeof ticket);
    return ticket;
}

static enum staxml_error redeem(const char *ticket)
{
    const struct staxml m = request(STAXML_REQUEST_DATA, ticket);
    return ask(&m);
}

static enum staxml_error refresh(const char *ticket)
{
    const struct staxml m = request(STAXML_REQUEST_REFRESH, ticket);
    return ask(&m);
}

static void hash_of(uint8_t hash[RECORD_HASH], const char *ticket)
{
    record_hash(hash, ticket, strlen(ticket));
}

/* ---- tickets ---- */

static const char xdata[] = "<?xml version=\"1.0\"?><CtxConnInfo version=\"1.0\"><UserName>alice</UserName>"
                            "<ApplicationName>Mail &amp; more</ApplicationName></CtxConnInfo>";

START_TEST(a_session_ticket_is_good_for_one_use)
{
    struct staxml wish = request(STAXML_REQUEST_TICKET, "");
    wish.value_count = 2;
    wish.values[0] = (struct staxml_value){"ICAAddress", "mail.example.com:443"};
    wish.values[1] = (struct staxml_value){"XData", xdata};
    const char *ticket = issue_one(&wish);
    ck_assert_str_eq(answer.authority, "STA01");
    ck_assert_uint_eq(answer.ticket_version, 40);
    ck_assert_str_eq(answer.facts.class, "session");
    ck_assert_str_eq(answer.facts.user, "alice"); /* of XData */
    ck_assert_ptr_null(answer.facts.device);
    ck_assert_int_eq(answer.facts.expires_ms - answer.facts.issued_ms, 100 * SECOND_MS);

    ck_assert_int_eq(redeem(ticket), STAXML_ERROR_NONE);
    ck_assert_uint_eq(answer.value_count, 2);
    ck_assert_str_eq(answer.values[0].name, "ICAAddress");
    ck_assert_str_eq(answer.values[0].value, "mail.example.com:443");
    ck_assert_str_eq(answer.values[1].value, xdata);
    ck_assert_str_eq(answer.facts.class, "session");
    ck_assert_str_eq(answer.facts.user, "alice");
    ck_assert_int_eq(redeem(ticket), STAXML_ERROR_TICKET_USED);
    ck_assert_int_eq(answer.kind, STAXML_RESPONSE_DATA);
    ck_assert_uint_eq(last.status, 200);
    ck_assert_int_eq(refresh(ticket), STAXML_ERROR_TICKET_USED);
}
END_TEST

START_TEST(a_background_ticket_is_good_for_many)
{
    struct staxml wish = request(STAXML_REQUEST_TICKET, "");
    wish.facts = (struct staxml_facts){.class = "background",
                                       .user = "alice",
                                       .device = "phone1",
                                       .lifetime_ms = HOUR_MS,
                                       .service_count = 2};
    wish.facts.services[0] = "MAIL.example.com:443";
    wish.facts.services[1] = "*.example.com:25";
    const char *ticket = issue_one(&wish);
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(redeem(ticket), STAXML_ERROR_NONE);
        ck_assert_str_eq(answer.facts.class, "background");
        ck_assert_str_eq(answer.facts.user, "alice");
        ck_assert_str_eq(answer.facts.device, "phone1");
        ck_assert_int_eq(answer.facts.expires_ms - answer.facts.issued_ms, HOUR_MS);
        ck_assert_int_eq(answer.facts.refresh_ms, 0);
        ck_assert_uint_eq(answer.facts.service_count, 2);
        ck_assert_str_eq(answer.facts.services[0], "mail.example.com:443");
        ck_assert_str_eq(answer.facts.services[1], "*.example.com:25");
    }
    ck_assert_int_eq(refresh(ticket), STAXML_ERROR_NOT_REFRESHABLE);
    clock_set_offset_ms(2 * HOUR_MS);
    ck_assert_int_eq(redeem(ticket), STAXML_ERROR_TICKET_EXPIRED);
    ck_assert_int_eq(refresh(ticket), STAXML_ERROR_TICKET_EXPIRED);
}
END_TEST

START_TEST(a_refreshable_ticket_lives_on)
{
    struct staxml wish = request(STAXML_REQUEST_TICKET, "");
    wish.refreshable = true;
    const char *ticket = issue_one(&wish);
    ck_assert_int_eq(answer.facts.refresh_ms, 500 * SECOND_MS);
    int64_t expires_ms = answer.facts.expires_ms;
    for (int i = 1; i <= 3; i++) {
        clock_set_offset_ms(i * 400 * SECOND_MS);
        ck_assert_int_eq(redeem(ticket), STAXML_ERROR_NONE);
        ck_assert_int_eq(refresh(ticket), STAXML_ERROR_NONE);
        ck_assert_int_eq(answer.kind, STAXML_RESPONSE_REFRESH);
        ck_assert_int_ge(answer.facts.expires_ms, expires_ms + i * 400 * SECOND_MS);
        ck_assert_int_eq(answer.facts.refresh_ms, 500 * SECOND_MS);
    }
    clock_set_offset_ms(2 * HOUR_MS);
    ck_assert_int_eq(refresh(ticket), STAXML_ERROR_TICKET_EXPIRED);
    ck_assert_int_eq(redeem(ticket), STAXML_ERROR_TICKET_EXPIRED);
}
END_TEST

START_TEST(tickets_that_are_none)
{
    ck_assert_int_eq(redeem(T32), STAXML_ERROR_TICKET_UNKNOWN);
    ck_assert_int_eq(answer.kind, STAXML_RESPONSE_DATA);
    ck_assert_int_eq(redeem(T30), STAXML_ERROR_TICKET_UNKNOWN);
    ck_assert_int_eq(refresh(T32), STAXML_ERROR_TICKET_UNKNOWN);
    ck_assert_int_eq(answer.kind, STAXML_RESPONSE_REFRESH);
    ck_assert_uint_eq(last.status, 200);
}
END_TEST

START_TEST(tickets_that_were_ended)
{
    static const struct {
        bool forget;
        enum staxml_error error;
    } ways[] = {{false, STAXML_ERROR_TICKET_REVOKED}, {true, STAXML_ERROR_TICKET_UNKNOWN}};
    struct staxml wish = request(STAXML_REQUEST_TICKET, "");
    uint8_t hash[RECORD_HASH];
    wish.facts.class = "background";
    const char *ticket = issue_one(&wish);
    hash_of(hash, ticket);
    if (ways[_i].forget)
        ck_assert_int_eq(store_end(authority->store, hash, STORE_SWEEP_FORGET, clock_wall_ms()), 0);
    else
        ck_assert_int_eq(store_revoke(authority->store, hash, clock_wall_ms()), 0);
    ck_assert_int_eq(redeem(ticket), ways[_i].error);
    ck_assert_int_eq(refresh(ticket), ways[_i].error);
    ck_assert_uint_eq(answer.value_count, 0);
    ck_assert_ptr_null(answer.facts.user); /* an error tells nothing of the ticket */
}
END_TEST

START_TEST(ticket_types_and_versions)
{
    static const struct {
        unsigned types, version;
    } cases[] = {{STAXML_TYPE_V4, 40}, {STAXML_TYPE_V1, 10}, {STAXML_TYPE_V1 | STAXML_TYPE_V4, 40}, {0, 0}};
    for (int i = 0; i < COUNT(cases); i++) {
        struct staxml wish = request(STAXML_REQUEST_TICKET, "");
        wish.ticket_types = cases[i].types;
        strcpy(wish.version, i % 2 ? "1.0" : "4.0");
        enum staxml_error e = ask(&wish);
        ck_assert_int_eq(e, cases[i].version ? STAXML_ERROR_NONE : STAXML_ERROR_UNSUPPORTED);
        ck_assert_uint_eq(answer.ticket_version, cases[i].version);
        ck_assert_str_eq(answer.version, wish.version);
        ck_assert_uint_eq(last.status, 200);
    }
    ck_assert_uint_eq(authority->counters.issued, 3);
}
END_TEST

START_TEST(the_class_where_none_is_asked_for)
{
    struct staxml wish = request(STAXML_REQUEST_TICKET, "");
    service.requested_class = TICKET_BACKGROUND;
    issue_one(&wish);
    ck_assert_str_eq(answer.facts.class, "background");
    ck_assert_int_eq(answer.facts.expires_ms - answer.facts.issued_ms, 168 * HOUR_MS);
    wish.facts.class = "session";
    issue_one(&wish);
    ck_assert_str_eq(answer.facts.class, "session");
}
END_TEST

START_TEST(the_user_of_our_own_extension_comes_first)
{
    struct staxml wish = request(STAXML_REQUEST_TICKET, "");
    wish.value_count = 1;
    wish.values[0] = (struct staxml_value){"XData", xdata};
    wish.facts.user = "bert";
    issue_one(&wish);
    ck_assert_str_eq(answer.facts.user, "bert");
    wish.facts.user = NULL;
    wish.values[0].value = "no XML";
    issue_one(&wish);
    ck_assert_ptr_null(answer.facts.user);
}
END_TEST

START_TEST(the_authority_tells_its_id)
{
    const struct staxml m = request(STAXML_REQUEST_AUTHORITY_ID, "");
    ck_assert_int_eq(ask(&m), STAXML_ERROR_NONE);
    ck_assert_str_eq(answer.authority, "STA01");
}
END_TEST

/* ---- what is not issued ---- */

START_TEST(wishes_that_cannot_be)
{
    static char longest[ISSUE_NAME_MAX + 2];
    static char text[STAXML_TEXT_MAX + 1];
    memset(longest, 'u', ISSUE_NAME_MAX + 1);
    memset(text, 'x', STAXML_TEXT_MAX);
    static const struct {
        const char *address, *user, *device, *service;
        const char *filler;
        int64_t lifetime_ms;
    } wishes[] = {
        {.address = "mail.example.com"},
        {.address = "*.example.com:443"},
        {.user = longest},
        {.device = longest},
        {.service = "mail.example.com"},
        {.service = ""},
        {.lifetime_ms = ISSUE_LIFETIME_MAX_MS + 1},
        {.lifetime_ms = STAXML_MS_MAX},
        {.filler = text},
    };
    for (int i = 0; i < COUNT(wishes); i++) {
        struct staxml wish = request(STAXML_REQUEST_TICKET, "");
        wish.facts = (struct staxml_facts){
            .user = wishes[i].user, .device = wishes[i].device, .lifetime_ms = wishes[i].lifetime_ms};
        if (wishes[i].service != NULL)
            wish.facts.services[wish.facts.service_count++] = wishes[i].service;
        if (wishes[i].address != NULL)
            wish.values[wish.value_count++] = (struct staxml_value){"ICAAddress", wishes[i].address};
        for (int n = 0; n < 3 && wishes[i].filler != NULL; n++)
            wish.values[wish.value_count++] = (struct staxml_value){n == 0   ? "A"
                                                                    : n == 1 ? "B"
                                                                             : "C",
                                                                    wishes[i].filler};
        ck_assert_msg(ask(&wish) == STAXML_ERROR_BAD_REQUEST, "wish %d: %s", i, last.body);
        ck_assert_int_eq(answer.kind, STAXML_RESPONSE_TICKET);
        ck_assert_uint_eq(last.status, 400);
    }
    ck_assert_uint_eq(authority->counters.issued, 0);
    ck_assert_uint_eq(authority->counters.served[1], COUNT(wishes));
}
END_TEST

/* Escaped text is up to six times as long as the ticket that holds it: what would not fit into an answer is
 * not issued, rather than lost when it is redeemed. */
START_TEST(what_could_not_be_given_back_is_not_issued)
{
    struct buf body;
    buf_init(&body, STAXML_BYTES_MAX);
    buf_append_str(&body, "<CtxSTAProtocol><RequestTicket><AllowedTicketType>STA-v4</AllowedTicketType>"
                          "<TicketData><Value name=\"A\"><![CDATA[");
    for (int i = 0; i < 8000; i++)
        buf_append_str(&body, "&");
    buf_append_str(&body, "]]></Value><Value name=\"B\"><![CDATA[");
    for (int i = 0; i < 8000; i++)
        buf_append_str(&body, "&");
    buf_append_str(&body, "]]></Value></TicketData></RequestTicket></CtxSTAProtocol>");
    buf_append(&body, "", 1);
    ask_text(FIELDS, (const char *)body.data);
    ck_assert_int_eq(answer.error, STAXML_ERROR_BAD_REQUEST);
    ck_assert_uint_eq(last.status, 400);
    buf_deinit(&body);
}
END_TEST

START_TEST(as_many_tickets_as_there_may_be)
{
    struct staxml wish = request(STAXML_REQUEST_TICKET, "");
    start((struct store_options){.limits = {.per_user = 1}});
    wish.facts.user = "alice";
    issue_one(&wish);
    ck_assert_int_eq(ask(&wish), STAXML_ERROR_LIMIT);
    ck_assert_int_eq(answer.kind, STAXML_RESPONSE_TICKET);
    ck_assert_str_eq(answer.ticket, "");
    ck_assert_uint_eq(last.status, 200);
    wish.facts.user = "bert";
    issue_one(&wish);
}
END_TEST

START_TEST(a_full_store)
{
    struct staxml wish = request(STAXML_REQUEST_TICKET, "");
    start((struct store_options){.max_bytes = 10});
    ck_assert_int_eq(ask(&wish), STAXML_ERROR_BUSY);
    ck_assert_uint_eq(last.status, 503);
    ck_assert_str_eq(answer.ticket, "");
    ck_assert_uint_eq(authority->counters.issued, 0);
}
END_TEST

/* ---- who may ask ---- */

static const char good_body[] = MESSAGE("<RequestAuthorityID/>");

static const struct {
    const char *fields;
    enum staxml_error error; /* NONE: served */
} pages[] = {
    {FIELDS, STAXML_ERROR_NONE},
    {"Host: 127.0.0.1:80\r\nContent-Type: text/xml\r\n", STAXML_ERROR_NONE},
    {"Host: sta.example.com\r\nContent-Type: text/xml\r\n", STAXML_ERROR_NONE},
    {"Host: evil.example\r\nContent-Type: text/xml\r\n", STAXML_ERROR_ACCESS_DENIED},
    {"Host: \r\nContent-Type: text/xml\r\n", STAXML_ERROR_ACCESS_DENIED},
    {FIELDS "Origin: http://localhost\r\n", STAXML_ERROR_ACCESS_DENIED},
    {FIELDS "Origin: null\r\n", STAXML_ERROR_ACCESS_DENIED},
};

START_TEST(pages_of_others)
{
    static const char *const hosts[] = {"sta.example.com"};
    service.access.hosts = hosts;
    service.access.host_count = 1;
    ask_text(pages[_i].fields, good_body);
    ck_assert_int_eq(answer.error, pages[_i].error);
    ck_assert_uint_eq(last.status, pages[_i].error == STAXML_ERROR_NONE ? 200 : 403);
    ck_assert_uint_eq(authority->counters.served[pages[_i].error != STAXML_ERROR_NONE], 1);
}
END_TEST

START_TEST(peers_that_may_not)
{
    static const char key[] = "correct-horse";
    service.access.allow_count = 0;
    ask_text(FIELDS, good_body);
    ck_assert_int_eq(answer.error, STAXML_ERROR_ACCESS_DENIED);
    ck_assert_uint_eq(last.status, 403);

    service.access.allow_count = 1;
    service.access.ssl_only = true;
    ask_text(FIELDS, good_body);
    ck_assert_int_eq(answer.error, STAXML_ERROR_SSL_REQUIRED);
    ck_assert_int_eq(answer.kind, STAXML_RESPONSE_ERROR);
    ck_assert_uint_eq(last.status, 403);

    service.access.ssl_only = false;
    service.access.client_certificate = true;
    ask_text(FIELDS, good_body);
    ck_assert_int_eq(answer.error, STAXML_ERROR_ACCESS_DENIED);

    service.access.client_certificate = false;
    service.access.shared_key = key;
    ask_text(FIELDS, good_body);
    ck_assert_int_eq(answer.error, STAXML_ERROR_ACCESS_DENIED);
    ask_text(FIELDS "Authorization: Bearer wrong-horse\r\n", good_body);
    ck_assert_int_eq(answer.error, STAXML_ERROR_ACCESS_DENIED);
    ask_text(FIELDS "Authorization: Bearer correct-horse\r\n", good_body);
    ck_assert_int_eq(answer.error, STAXML_ERROR_NONE);
    ck_assert_uint_eq(authority->counters.served[0], 1);
    ck_assert_uint_eq(authority->counters.served[1], 5);
    ck_assert_uint_eq(idle, 1); /* who is refused never was an exchange */
}
END_TEST

/* ---- methods, types, messages ---- */

START_TEST(methods)
{
    static const char *const names[] = {"GET", "PUT", "DELETE", "OPTIONS", "PATCH"};
    for (int i = 0; i < COUNT(names); i++) {
        take(service_ask(names[i], XMLSERVICE_PATH, FIELDS, ""));
        ck_assert_uint_eq(last.status, 405);
        ck_assert(reply_has_field(&last, "Allow: POST"));
        ck_assert_int_eq(answer.error, STAXML_ERROR_BAD_REQUEST);
    }
    struct reply r = service_ask("HEAD", XMLSERVICE_PATH, FIELDS, "");
    ck_assert_uint_eq(r.status, 405);
    ck_assert_uint_eq(r.len, 0);
    reply_free(&r);
}
END_TEST

static const struct {
    const char *field;
    bool good;
} types[] = {
    {"Content-Type: text/xml\r\n", true},
    {"Content-Type: TEXT/XML;charset=utf-8\r\n", true},
    {"Content-Type: application/xml\r\n", true},
    {"", false},
    {"Content-Type: text/plain\r\n", false},
    {"Content-Type: application/x-www-form-urlencoded\r\n", false},
    {"Content-Type: text/plain; text/xml\r\n", false},
    {"Content-Type: text/xml\r\nContent-Type: text/xml\r\n", false},
};

START_TEST(content_types)
{
    char fields[256];
    snprintf(fields, sizeof fields, "Host: localhost\r\n%s", types[_i].field);
    ask_text(fields, good_body);
    ck_assert_uint_eq(last.status, types[_i].good ? 200 : 415);
    ck_assert_int_eq(answer.error, types[_i].good ? STAXML_ERROR_NONE : STAXML_ERROR_BAD_REQUEST);
}
END_TEST

static const struct {
    const char *body;
    enum staxml_error error;
    unsigned status;
} bodies[] = {
    {"", STAXML_ERROR_BAD_REQUEST, 400},
    {"nonsense", STAXML_ERROR_BAD_REQUEST, 400},
    {"<CtxSTAProtocol/>", STAXML_ERROR_BAD_REQUEST, 400},
    {"<CtxSTAProtocol>", STAXML_ERROR_BAD_REQUEST, 400},
    {"<Other/>", STAXML_ERROR_BAD_REQUEST, 400},
    {MESSAGE("<RequestData/>"), STAXML_ERROR_BAD_REQUEST, 400},
    {ASK("<Ticket>lower</Ticket>"), STAXML_ERROR_BAD_REQUEST, 400},
    {MESSAGE("<RequestData><Ticket>" T32 "</Ticket></RequestData><RequestData/>"), STAXML_ERROR_BAD_REQUEST,
     400},
    {"<!DOCTYPE a [<!ENTITY b \"c\">]><CtxSTAProtocol><RequestAuthorityID/></CtxSTAProtocol>",
     STAXML_ERROR_BAD_REQUEST, 400},
    {MESSAGE("<RequestSomething/>"), STAXML_ERROR_UNSUPPORTED, 200},
    {MESSAGE("<RequestTicket><AllowedTicketType>STA-v9</AllowedTicketType></RequestTicket>"),
     STAXML_ERROR_UNSUPPORTED, 200},
    /* answers are no requests */
    {MESSAGE("<ResponseAuthorityID><AuthorityID>STA01</AuthorityID></ResponseAuthorityID>"),
     STAXML_ERROR_UNSUPPORTED, 200},
    {MESSAGE("<ResponseError><Error id=\"busy\"/></ResponseError>"), STAXML_ERROR_UNSUPPORTED, 200},
    {DATA("<Value name=\"a\">b</Value>"), STAXML_ERROR_UNSUPPORTED, 200},
};

START_TEST(messages_that_are_none)
{
    ask_text(FIELDS, bodies[_i].body);
    ck_assert_int_eq(answer.error, bodies[_i].error);
    ck_assert_uint_eq(last.status, bodies[_i].status);
    ck_assert_uint_eq(authority->counters.served[1], 1);
    ck_assert_uint_eq(authority->counters.served[0], 0);
}
END_TEST

START_TEST(what_is_no_http_is_answered_in_xml)
{
    static struct raw c;
    static char big[STAXML_BYTES_MAX + 1];
    raw_connect(&c, &service_address);
    raw_send(&c, "nonsense\r\n\r\n");
    shutdown(c.fd, SHUT_WR);
    take(service_read(&c));
    raw_close(&c);
    ck_assert_uint_eq(last.status, 400);
    ck_assert_int_eq(answer.error, STAXML_ERROR_BAD_REQUEST);
    memset(big, ' ', sizeof big);
    service_send(&c, "POST", XMLSERVICE_PATH, FIELDS, big, sizeof big);
    shutdown(c.fd, SHUT_WR);
    take(service_read(&c));
    raw_close(&c);
    ck_assert_uint_eq(last.status, 413);
    ck_assert_int_eq(answer.error, STAXML_ERROR_BAD_REQUEST);
}
END_TEST

START_TEST(every_split_of_a_request)
{
    static struct raw c;
    struct buf b;
    buf_init(&b, 4096);
    buf_printf(&b, "POST %s HTTP/1.1\r\nConnection: close\r\n" FIELDS "Content-Length: %zu\r\n\r\n%s",
               XMLSERVICE_PATH, strlen(good_body), good_body);
    for (size_t split = 0; split <= b.len; split++) {
        raw_connect(&c, &service_address);
        raw_send_n(&c, b.data, split);
        turns(2);
        raw_send_n(&c, b.data + split, b.len - split);
        take(service_read(&c));
        raw_close(&c);
        ck_assert_str_eq(answer.authority, "STA01");
    }
    ck_assert_uint_eq(authority->counters.served[0], b.len + 1);
    buf_deinit(&b);
}
END_TEST

/* ---- faults ---- */

START_TEST(down_drops_the_connection)
{
    authority->faults.down = true;
    struct reply r = service_ask("POST", XMLSERVICE_PATH, FIELDS, good_body);
    ck_assert_uint_eq(r.status, 0);
    reply_free(&r);
    ck_assert_uint_eq(authority->counters.injected, 1);
    authority->faults.down = false;
    ask_text(FIELDS, good_body);
    ck_assert_int_eq(answer.error, STAXML_ERROR_NONE);
    ck_assert_uint_eq(authority->counters.injected, 1);
}
END_TEST

START_TEST(the_fault_error)
{
    const struct staxml wish = request(STAXML_REQUEST_TICKET, "");
    const char *ticket = issue_one(&wish);
    authority->faults.error = true;
    ck_assert_int_eq(redeem(ticket), STAXML_ERROR_INTERNAL);
    ck_assert_int_eq(answer.kind, STAXML_RESPONSE_DATA);
    ck_assert_uint_eq(last.status, 200);
    ck_assert_int_eq(refresh(ticket), STAXML_ERROR_INTERNAL);
    ck_assert_int_eq(ask(&wish), STAXML_ERROR_INTERNAL);
    ck_assert_uint_eq(authority->counters.injected, 3);
    authority->faults.error = false;
    ck_assert_int_eq(redeem(ticket), STAXML_ERROR_NONE); /* its one use was not spent */
}
END_TEST

START_TEST(the_fault_id)
{
    const struct staxml who = request(STAXML_REQUEST_AUTHORITY_ID, "");
    const struct staxml wish = request(STAXML_REQUEST_TICKET, "");
    authority->faults.id = authority_intern(authority, "STAOTHER");
    ck_assert_int_eq(ask(&who), STAXML_ERROR_NONE);
    ck_assert_str_eq(answer.authority, "STAOTHER");
    issue_one(&wish);
    ck_assert_str_eq(answer.authority, "STAOTHER");
    ck_assert_uint_eq(authority->counters.injected, 2);
}
END_TEST

START_TEST(the_fault_slow)
{
    static struct raw c;
    const struct staxml wish = request(STAXML_REQUEST_TICKET, "");
    authority->faults.slow_ms = 1;
    const char *ticket = issue_one(&wish);
    ck_assert_int_eq(redeem(ticket), STAXML_ERROR_NONE);
    ck_assert_int_eq(refresh(ticket), STAXML_ERROR_TICKET_USED);
    ck_assert_uint_eq(authority->counters.injected, 3);
    ck_assert_uint_eq(idle, 3);
    /* the peer goes away meanwhile, as gateways with a deadline do */
    service_send(&c, "POST", XMLSERVICE_PATH, FIELDS, good_body, strlen(good_body));
    RUN_UNTIL(service.open == 1);
    raw_reset(&c);
    RUN_UNTIL(service.open == 0);
    ck_assert_uint_eq(idle, 4);
}
END_TEST

START_TEST(closing_waits_for_what_is_slow)
{
    static struct raw c;
    bool closed = false;
    authority->faults.slow_ms = 200;
    service_send(&c, "POST", XMLSERVICE_PATH, FIELDS, good_body, strlen(good_body));
    RUN_UNTIL(service.open == 1);
    httpd_close(server, service_flag, &closed);
    turns(10);
    ck_assert(!closed);
    take(service_read(&c));
    raw_close(&c);
    ck_assert_str_eq(answer.authority, "STA01");
    RUN_UNTIL(closed);
    ck_assert_uint_eq(service.open, 0);
    /* for teardown */
    const struct httpd_options options = {
        .body_max = 1, .connections_max = 1, .idle_ms = 1000, .request_ms = 1000, .handle = handle};
    server = httpd_new(&loop, fixture_listen(&service_address), &options);
}
END_TEST

/* ---- the log ---- */

START_TEST(the_log_tells_what_happened_and_no_ticket)
{
    struct staxml wish = request(STAXML_REQUEST_TICKET, "");
    uint8_t hash[RECORD_HASH];
    char fingerprint[RECORD_FINGERPRINT];
    wish.value_count = 1;
    wish.values[0] = (struct staxml_value){"XData", xdata};
    wish.facts.device = "phone1";
    service_log_begin();
    char ticket[TICKET_VALUE_MAX + 1];
    strcpy(ticket, issue_one(&wish));
    hash_of(hash, ticket);
    record_fingerprint(fingerprint, hash);
    for (int i = 0; i < 4; i++) {
        static const char *const messages[] = {"\"RequestTicket\"", "\"RequestData\"", "\"RequestData\"",
                                               "\"RequestTicketRefresh\""};
        static const char *const results[] = {"\"ok\"", "\"ok\"", "\"ticket-used\"", "\"ticket-used\""};
        if (i > 0)
            (void)(i < 3 ? redeem(ticket) : refresh(ticket));
        const char *log = service_log_take();
        LOG_HAS(log, "\"event\":\"sta\"");
        LOG_HAS(log, messages[i]);
        LOG_HAS(log, results[i]);
        LOG_HAS(log, fingerprint);
        LOG_HAS(log, "\"user\":\"alice\"");
        LOG_HAS(log, "\"device\":\"phone1\"");
        LOG_HAS(log, "\"client\":\"127.0.0.1:");
        LOG_LACKS(log, ticket);
        LOG_LACKS(log, "injected");
        if (i < 2)
            LOG_HAS(log, "Mail & more");
    }
    authority->faults.error = true;
    redeem(ticket);
    const char *log = service_log_take();
    LOG_HAS(log, "\"injected\":true");
    LOG_HAS(log, "\"result\":\"internal\"");
    LOG_LACKS(log, ticket);
    authority->faults.error = false;
    ask_text("Host: evil.example\r\nContent-Type: text/xml\r\n", ASK("<Ticket>" T32 "</Ticket>"));
    log = service_log_take();
    LOG_HAS(log, "\"result\":\"access-denied\"");
    LOG_HAS(log, "the Host field is not a name of this service");
    LOG_LACKS(log, T32);
    ask_text(FIELDS, ASK("<Ticket>" T32 "x</Ticket>"));
    LOG_LACKS(service_log_take(), T32);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("xmlservice");
    TCase *t = tcase_create("xmlservice");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup_started, teardown);
    tcase_add_test(t, a_session_ticket_is_good_for_one_use);
    tcase_add_test(t, a_background_ticket_is_good_for_many);
    tcase_add_test(t, a_refreshable_ticket_lives_on);
    tcase_add_test(t, tickets_that_are_none);
    tcase_add_loop_test(t, tickets_that_were_ended, 0, 2);
    tcase_add_test(t, ticket_types_and_versions);
    tcase_add_test(t, the_class_where_none_is_asked_for);
    tcase_add_test(t, the_user_of_our_own_extension_comes_first);
    tcase_add_test(t, the_authority_tells_its_id);
    tcase_add_test(t, wishes_that_cannot_be);
    tcase_add_test(t, what_could_not_be_given_back_is_not_issued);
    tcase_add_loop_test(t, pages_of_others, 0, COUNT(pages));
    tcase_add_test(t, peers_that_may_not);
    tcase_add_test(t, methods);
    tcase_add_loop_test(t, content_types, 0, COUNT(types));
    tcase_add_loop_test(t, messages_that_are_none, 0, COUNT(bodies));
    tcase_add_test(t, what_is_no_http_is_answered_in_xml);
    tcase_add_test(t, every_split_of_a_request);
    tcase_add_test(t, down_drops_the_connection);
    tcase_add_test(t, the_fault_error);
    tcase_add_test(t, the_fault_id);
    tcase_add_test(t, the_fault_slow);
    tcase_add_test(t, closing_waits_for_what_is_slow);
    tcase_add_test(t, the_log_tells_what_happened_and_no_ticket);
    suite_add_tcase(s, t);
    TCase *l = tcase_create("limits");
    tcase_set_timeout(l, 60);
    tcase_add_checked_fixture(l, setup, teardown);
    tcase_add_test(l, as_many_tickets_as_there_may_be);
    tcase_add_test(l, a_full_store);
    suite_add_tcase(s, l);
    return fixture_end(srunner_create(s));
}
