/* Remote authorities: a server that answers what a test wants, what comes of it, and what is known of the
 * authority afterwards. */
#include "authority_fixture.h"
#include "staxml_util.h"

enum manner { ANSWER, SILENT, DROP };

static struct { /* how the server is */
    enum manner manner;
    unsigned status;
    const char *body; /* NULL: it tells its ID */
    const char *id;
    unsigned asked;
    struct httpd_request *parked[8];
    unsigned parked_count;
    /* the last question */
    struct staxml question;
    char authorization[64];
    char path[64];
} there;

static struct httpd *server;
static struct authority_options options;
static struct told told;

static const char data_body[] = MESSAGE(
    "<ResponseData><TicketData><Value name=\"ICAAddress\">mail.example.com:443</Value></TicketData>"
    "<StagateTicket class=\"background\" user=\"alice\" device=\"phone1\" issued=\"1000\" "
    "expires=\"99999999999999\"><Service>mail.example.com:443</Service></StagateTicket></ResponseData>");

static void handle(void *owner, struct httpd_request *r)
{
    size_t len;
    const uint8_t *body = httpd_body(r, &len);
    const char *why = NULL;
    (void)owner;
    there.asked++;
    staxml_free(&there.question);
    int rc = staxml_parse(&there.question, (const char *)body, len, &why);
    ck_assert_msg(rc == 0, "%s", why);
    ck_assert_str_eq(httpd_method(r), "POST");
    ck_assert_str_eq(httpd_field(r, HTTP_NAME_CONTENT_TYPE, NULL), "text/xml");
    const char *authorization = httpd_field(r, HTTP_NAME_AUTHORIZATION, NULL);
    snprintf(there.authorization, sizeof there.authorization, "%s", authorization ? authorization : "");
    snprintf(there.path, sizeof there.path, "%s", httpd_path(r));
    if (there.manner == DROP) {
        httpd_drop(r);
        return;
    }
    if (there.manner == SILENT) {
        ck_assert_uint_lt(there.parked_count, 8);
        there.parked[there.parked_count++] = r;
        return;
    }
    char text[512];
    snprintf(text, sizeof text,
             MESSAGE("<ResponseAuthorityID><AuthorityID>%s</AuthorityID></ResponseAuthorityID>"), there.id);
    const char *answer = there.body != NULL ? there.body : text;
    httpd_answer(r, there.status, NULL, "text/xml", answer, strlen(answer));
}

static void wake_parked(void)
{
    for (unsigned i = 0; i < there.parked_count; i++)
        httpd_answer(there.parked[i], 200, NULL, "text/xml", data_body, strlen(data_body));
    there.parked_count = 0;
}

static void setup(void)
{
    log_setup(LOG_JSON, LOG_ERROR);
    service_log_begin();
    log_setup(LOG_JSON, LOG_INFO);
    clock_set_offset_ms(0);
    ck_assert_int_eq(netloop_init(&loop), 0);
    const struct httpd_options o = {.body_max = STAXML_BYTES_MAX,
                                    .connections_max = 100,
                                    .idle_ms = 60000,
                                    .request_ms = 60000,
                                    .handle = handle};
    server = httpd_new(&loop, fixture_listen(&service_address), &o);
    memset(&told, 0, sizeof told);
    staxml_free(&there.question);
    memset(&there, 0, sizeof there);
    there.status = 200;
    there.id = "STAREMOTE";
    options = (struct authority_options){.id = "STA01",
                                         .url = "http://127.0.0.1/",
                                         .path = "/scripts/ctxsta.dll",
                                         .learn_id = false,
                                         .probe_ms = 100000,
                                         .bypass_ms = 100000,
                                         .timeout_ms = 20000,
                                         .connections = 2,
                                         .signature = "remote"};
}

static void aim(uint16_t port)
{
    char text[64];
    snprintf(text, sizeof text, "127.0.0.1:%u", port);
    ck_assert_int_eq(hostport_parse(&options.origin, text, strlen(text), 0, NULL), 0);
}

static void open_it(void)
{
    char why[256] = "";
    if (options.origin.port == 0)
        aim(ntohs(service_address.sin_port));
    ck_assert_int_eq(authority_open(&authority, &options, why, sizeof why), 0);
    client = authority_client_new(authority, &loop, NULL);
}

static void close_it(void)
{
    if (client != NULL)
        service_close_client(client);
    authority_unref(authority);
    client = NULL;
    authority = NULL;
}

static void teardown(void)
{
    told_free(&told);
    close_it();
    wake_parked();
    service_close_server(server);
    staxml_free(&there.question);
    netloop_deinit(&loop);
}

static bool first;

static void probe(void)
{
    first = false;
    authority_client_probe(client, service_flag, &first);
    ck_assert(!first);
    RUN_UNTIL(first);
}

/* ---- answers ---- */

START_TEST(an_answer_becomes_a_record)
{
    there.body = data_body;
    open_it();
    ck_assert_int_eq(redeem(&told, TICKET), REDEEM_OK);
    ck_assert(!told.at_once && !told.answer.injected);
    const struct record *r = told.answer.ticket;
    uint8_t hash[RECORD_HASH];
    record_hash(hash, TICKET, strlen(TICKET));
    ck_assert_int_eq(memcmp(r->hash, hash, sizeof hash), 0);
    ck_assert_int_eq(r->class, TICKET_BACKGROUND);
    ck_assert_int_eq(r->state, TICKET_LIVE);
    ck_assert_str_eq(r->user, "alice");
    ck_assert_str_eq(r->device, "phone1");
    ck_assert_int_eq(r->issued_ms, 1000);
    ck_assert_int_eq(r->expires_ms, 99999999999999);
    ck_assert_int_eq(r->refresh_ms, 0);
    ck_assert_uint_eq(r->service_count, 1);
    ck_assert_str_eq(r->services[0], "mail.example.com:443");
    ck_assert_uint_eq(r->value_count, 1);
    ck_assert_str_eq(r->values[0].value, "mail.example.com:443");
    /* the question */
    ck_assert_int_eq(there.question.kind, STAXML_REQUEST_DATA);
    ck_assert_str_eq(there.question.ticket, TICKET);
    ck_assert_uint_eq(there.question.ticket_version, 40);
    ck_assert_str_eq(there.path, "/scripts/ctxsta.dll");
    ck_assert_str_eq(there.authorization, "");
    const struct authority_counters *n = &authority->counters;
    ck_assert_uint_eq(n->asked, 1);
    ck_assert_uint_eq(n->requests, 1);
    ck_assert_uint_eq(n->responses, 1);
    ck_assert_uint_eq(n->answered[REDEEM_OK], 1);
    ck_assert_uint_eq(authority_client_connections(client), 1);
    ck_assert_ptr_null(authority_client_store(client));
}
END_TEST

/* Another maker's authority tells less. */
START_TEST(what_is_not_told)
{
    there.body = DATA("<Value name=\"ICAAddress\">mail.example.com:443</Value><Value name=\"XData\">"
                      "&lt;CtxConnInfo version=\"1.0\"&gt;&lt;UserName&gt;bert&lt;/UserName&gt;"
                      "&lt;/CtxConnInfo&gt;</Value>");
    open_it();
    int64_t before_ms = clock_wall_ms();
    ck_assert_int_eq(redeem(&told, TICKET), REDEEM_OK);
    const struct record *r = told.answer.ticket;
    ck_assert_int_eq(r->class, TICKET_BACKGROUND);
    ck_assert_int_ge(r->issued_ms, before_ms);
    ck_assert_int_eq(r->expires_ms, INT64_MAX);
    ck_assert_str_eq(r->user, "bert");
    ck_assert_str_eq(r->device, "");
    ck_assert_uint_eq(r->service_count, 0);
    ck_assert_uint_eq(r->value_count, 2);
}
END_TEST

START_TEST(the_shared_key_and_the_path)
{
    there.body = data_body;
    options.shared_key = "correct-horse";
    options.path = "/other";
    open_it();
    ck_assert_int_eq(redeem(&told, TICKET), REDEEM_OK);
    ck_assert_str_eq(there.authorization, "Bearer correct-horse");
    ck_assert_str_eq(there.path, "/other");
}
END_TEST

START_TEST(a_refresh)
{
    there.body =
        MESSAGE("<ResponseTicketRefresh><StagateTicket class=\"session\" issued=\"1\" expires=\"77\" "
                "refresh=\"5\"/></ResponseTicketRefresh>");
    open_it();
    ck_assert_int_eq(refresh(&told, TICKET), REDEEM_OK);
    ck_assert_int_eq(there.question.kind, STAXML_REQUEST_REFRESH);
    ck_assert_str_eq(there.question.ticket, TICKET);
    ck_assert_int_eq(told.answer.ticket->class, TICKET_SESSION);
    ck_assert_int_eq(told.answer.ticket->expires_ms, 77);
    ck_assert_int_eq(told.answer.ticket->refresh_ms, 5);
    there.body = MESSAGE("<ResponseTicketRefresh><Error id=\"not-refreshable\"/></ResponseTicketRefresh>");
    ck_assert_int_eq(refresh(&told, TICKET), REDEEM_OK);
    ck_assert_int_eq(told.answer.ticket->refresh_ms, 0); /* nothing has happened */
}
END_TEST

#define FAILED(kind, id) MESSAGE("<" kind "><Error id=\"" id "\">text</Error></" kind ">")

static const struct {
    const char *body;
    unsigned status;
    enum redeem result;
    enum authority_fail fail; /* DOWN */
} answers[] = {
    {FAILED("ResponseData", "ticket-unknown"), 200, REDEEM_UNKNOWN, 0},
    {FAILED("ResponseData", "ticket-expired"), 200, REDEEM_EXPIRED, 0},
    {FAILED("ResponseData", "ticket-used"), 200, REDEEM_USED, 0},
    {FAILED("ResponseData", "ticket-revoked"), 200, REDEEM_REVOKED, 0},
    {FAILED("ResponseError", "ticket-unknown"), 200, REDEEM_UNKNOWN, 0},
    {FAILED("ResponseData", "access-denied"), 200, REDEEM_DOWN, AUTHORITY_ACCESS_DENIED},
    {FAILED("ResponseError", "access-denied"), 403, REDEEM_DOWN, AUTHORITY_ACCESS_DENIED},
    {FAILED("ResponseError", "ssl-required"), 403, REDEEM_DOWN, AUTHORITY_SSL_REQUIRED},
    {FAILED("ResponseError", "bad-request"), 400, REDEEM_DOWN, AUTHORITY_BAD_ANSWER},
    {FAILED("ResponseError", "unsupported"), 200, REDEEM_DOWN, AUTHORITY_BAD_ANSWER},
    {FAILED("ResponseData", "internal"), 200, REDEEM_DOWN, AUTHORITY_ERROR},
    {FAILED("ResponseData", "busy"), 503, REDEEM_DOWN, AUTHORITY_ERROR},
    {FAILED("ResponseData", "limit"), 200, REDEEM_DOWN, AUTHORITY_ERROR},
    {FAILED("ResponseData", "something-else"), 200, REDEEM_DOWN, AUTHORITY_ERROR},
    /* a ticket that cannot be refreshed has not been redeemed by saying so */
    {FAILED("ResponseData", "not-refreshable"), 200, REDEEM_DOWN, AUTHORITY_BAD_ANSWER},
    {FAILED("ResponseError", "not-refreshable"), 200, REDEEM_DOWN, AUTHORITY_BAD_ANSWER},
    {"", 200, REDEEM_DOWN, AUTHORITY_BAD_XML},
    {"It works!", 200, REDEEM_DOWN, AUTHORITY_BAD_XML},
    {"<html></html>", 200, REDEEM_DOWN, AUTHORITY_BAD_XML},
    {MESSAGE("<ResponseData/>"), 200, REDEEM_DOWN, AUTHORITY_BAD_XML},
    {MESSAGE("<ResponseWhat/>"), 200, REDEEM_DOWN, AUTHORITY_BAD_XML},
    /* a good message, to another question */
    {MESSAGE("<ResponseAuthorityID><AuthorityID>STA01</AuthorityID></ResponseAuthorityID>"), 200, REDEEM_DOWN,
     AUTHORITY_BAD_ANSWER},
    {MESSAGE("<ResponseTicketRefresh><StagateTicket/></ResponseTicketRefresh>"), 200, REDEEM_DOWN,
     AUTHORITY_BAD_ANSWER},
    {FAILED("ResponseTicketRefresh", "ticket-unknown"), 200, REDEEM_DOWN, AUTHORITY_BAD_ANSWER},
    {ASK("<Ticket>" T32 "</Ticket>"), 200, REDEEM_DOWN, AUTHORITY_BAD_ANSWER},
    {data_body, 500, REDEEM_DOWN, AUTHORITY_HTTP_5XX},
    {data_body, 201, REDEEM_DOWN, AUTHORITY_HTTP_OTHER},
    {FAILED("ResponseData", "ticket-unknown"), 404, REDEEM_DOWN, AUTHORITY_HTTP_404},
    {"no", 301, REDEEM_DOWN, AUTHORITY_HTTP_OTHER},
    {"no", 400, REDEEM_DOWN, AUTHORITY_HTTP_4XX},
    {"no", 401, REDEEM_DOWN, AUTHORITY_HTTP_401},
    {"no", 403, REDEEM_DOWN, AUTHORITY_HTTP_403},
    {"no", 404, REDEEM_DOWN, AUTHORITY_HTTP_404},
    {"no", 429, REDEEM_DOWN, AUTHORITY_HTTP_4XX},
    {"no", 500, REDEEM_DOWN, AUTHORITY_HTTP_5XX},
    {"no", 503, REDEEM_DOWN, AUTHORITY_HTTP_5XX},
};

START_TEST(what_an_answer_means)
{
    struct authority_event history[AUTHORITY_HISTORY];
    there.body = answers[_i].body;
    there.status = answers[_i].status;
    open_it();
    ck_assert_int_eq(redeem(&told, TICKET), answers[_i].result);
    ck_assert_ptr_null(told.answer.ticket);
    bool down = answers[_i].result == REDEEM_DOWN;
    ck_assert(authority_is_up(authority) == !down);
    ck_assert_uint_eq(authority->counters.responses, down ? 0 : 1);
    ck_assert_uint_eq(authority_history(authority, history), down ? 1 : 0);
    if (!down)
        return;
    expect_down(&told, answers[_i].fail);
    ck_assert_int_eq(history[0].state, AUTHORITY_DOWN);
    ck_assert_int_eq(history[0].fail, answers[_i].fail);
    const char *log = service_log_take();
    LOG_HAS(log, "\"state\":\"down\"");
    LOG_HAS(log, authority_fail_name(answers[_i].fail));
    LOG_LACKS(log, TICKET);
}
END_TEST

/* Big answers: a record holds less than a message does, and what a gateway needs is the address. */
START_TEST(more_text_than_a_record_holds)
{
    struct buf b;
    buf_init(&b, STAXML_BYTES_MAX);
    buf_append_str(&b, "<CtxSTAProtocol><ResponseData><TicketData>");
    for (int i = 0; i < 6; i++) {
        buf_printf(&b, "<Value name=\"X%d\">", i);
        for (int k = 0; k < 8000; k++)
            buf_append_str(&b, "x");
        buf_append_str(&b, "</Value>");
    }
    buf_append_str(&b, "<Value name=\"ICAAddress\">mail.example.com:443</Value></TicketData></ResponseData>"
                       "</CtxSTAProtocol>");
    buf_append(&b, "", 1);
    there.body = (const char *)b.data;
    open_it();
    ck_assert_int_eq(redeem(&told, TICKET), REDEEM_OK);
    ck_assert_uint_eq(told.answer.ticket->value_count, 1);
    ck_assert_str_eq(told.answer.ticket->values[0].value, "mail.example.com:443");
    ck_assert(authority_is_up(authority));
    buf_deinit(&b);
}
END_TEST

/* ---- no answer ---- */

START_TEST(nobody_listens)
{
    struct sockaddr_in nobody;
    close(fixture_listen(&nobody));
    aim(ntohs(nobody.sin_port));
    open_it();
    redeem(&told, TICKET);
    expect_down(&told, AUTHORITY_REFUSED);
}
END_TEST

START_TEST(it_closes_the_connection)
{
    there.manner = DROP;
    open_it();
    redeem(&told, TICKET);
    expect_down(&told, AUTHORITY_CLOSED);
    ck_assert_uint_eq(there.asked, 1); /* a redemption is not sent twice */
}
END_TEST

START_TEST(it_stays_silent)
{
    there.manner = SILENT;
    options.timeout_ms = 50;
    open_it();
    redeem(&told, TICKET);
    expect_down(&told, AUTHORITY_TIMEOUT);
    RUN_UNTIL(authority_client_connections(client) == 0);
}
END_TEST

START_TEST(it_speaks_something_else)
{
    struct sockaddr_in sa;
    int fd = fixture_listen(&sa);
    aim(ntohs(sa.sin_port));
    open_it();
    start_redeem(&told, TICKET);
    turns(5);
    int peer = accept4(fd, NULL, NULL, SOCK_NONBLOCK); /* loopback: connected as soon as it was asked for */
    ck_assert_int_ge(peer, 0);
    ck_assert_int_eq(write(peer, "SSH-2.0-x\r\n\r\n", 13), 13);
    RUN_UNTIL(told.count == 1);
    expect_down(&told, AUTHORITY_NOT_HTTP);
    close(peer);
    close(fd);
}
END_TEST

START_TEST(closing_with_open_requests)
{
    there.manner = SILENT;
    options.connections = 1;
    open_it();
    for (int i = 0; i < 5; i++)
        start_redeem(&told, TICKET);
    start_refresh(&told, TICKET);
    authority_request_cancel(start_redeem(&told, TICKET));
    RUN_UNTIL(there.parked_count == 1);
    authority_client_probe(client, service_flag, &first);
    service_close_client(client);
    client = NULL;
    turns(20);
    ck_assert_uint_eq(told.count, 0);
}
END_TEST

START_TEST(a_cancelled_one_does_not_disturb_others)
{
    there.manner = SILENT;
    options.connections = 1;
    open_it();
    struct authority_request *r = start_redeem(&told, TICKET);
    RUN_UNTIL(there.parked_count == 1);
    start_redeem(&told, TICKET);
    there.manner = ANSWER;
    there.body = data_body;
    authority_request_cancel(r);
    RUN_UNTIL(told.count == 1);
    ck_assert_int_eq(told.answer.result, REDEEM_OK);
    ck_assert_uint_eq(there.asked, 2);
}
END_TEST

/* ---- its ID ---- */

START_TEST(it_is_down_until_its_id_is_learnt)
{
    struct authority_event history[AUTHORITY_HISTORY];
    options.learn_id = true;
    options.id = NULL;
    open_it();
    ck_assert_int_eq(authority->state, AUTHORITY_UNTRIED);
    ck_assert(!authority_is_up(authority));
    ck_assert_ptr_null(authority_id(authority));
    redeem(&told, TICKET);
    ck_assert(told.at_once);
    expect_down(&told, AUTHORITY_NO_ID);
    ck_assert_uint_eq(there.asked, 0);
    probe();
    ck_assert_int_eq(there.question.kind, STAXML_REQUEST_AUTHORITY_ID);
    ck_assert(authority_is_up(authority));
    ck_assert_str_eq(authority_id(authority), "STAREMOTE");
    ck_assert_uint_eq(authority_history(authority, history), 1);
    ck_assert_int_eq(history[0].state, AUTHORITY_UP);
    ck_assert_str_eq(history[0].id, "STAREMOTE");
    LOG_HAS(service_log_take(), "\"state\":\"up\"");
    ck_assert_uint_eq(authority->counters.asked, 1); /* probes are not redemptions */
    ck_assert_uint_eq(authority->counters.requests, 1);
    ck_assert_uint_eq(authority->counters.responses, 1);
    there.body = data_body;
    ck_assert_int_eq(redeem(&told, TICKET), REDEEM_OK);
    ck_assert_uint_eq(authority_history(authority, history), 1);
}
END_TEST

static const struct {
    const char *body;
    unsigned status;
    enum authority_fail fail;
} probes[] = {
    {"no", 200, AUTHORITY_BAD_XML},
    {"no", 404, AUTHORITY_HTTP_404},
    {data_body, 200, AUTHORITY_BAD_ANSWER},
    {FAILED("ResponseAuthorityID", "internal"), 200, AUTHORITY_ERROR},
    {FAILED("ResponseError", "unsupported"), 200, AUTHORITY_BAD_ANSWER},
    {FAILED("ResponseError", "ssl-required"), 403, AUTHORITY_SSL_REQUIRED},
    {FAILED("ResponseError", "ticket-unknown"), 200, AUTHORITY_BAD_ANSWER},
    {FAILED("ResponseAuthorityID", "not-refreshable"), 200, AUTHORITY_BAD_ANSWER},
    {NULL, 500, AUTHORITY_HTTP_5XX},
};

START_TEST(probes_that_fail)
{
    there.body = probes[_i].body;
    there.status = probes[_i].status;
    options.learn_id = true;
    options.id = "STAREMOTE";
    open_it();
    probe();
    ck_assert_int_eq(authority->state, AUTHORITY_DOWN);
    ck_assert_int_eq(authority->fail, probes[_i].fail);
    redeem(&told, TICKET);
    ck_assert(told.at_once);
    expect_down(&told, probes[_i].fail);
    ck_assert_uint_eq(there.asked, 1);
}
END_TEST

START_TEST(another_id_than_the_configured_one)
{
    struct authority_event history[AUTHORITY_HISTORY];
    options.learn_id = true;
    options.bypass_ms = 0;
    options.probe_ms = 1;
    open_it();
    probe();
    ck_assert_str_eq(authority_id(authority), "STA01"); /* what tickets of it carry is what is configured */
    ck_assert_int_eq(authority->fail, AUTHORITY_ID_MISMATCH);
    LOG_HAS(service_log_take(), "\"calls_itself\":\"STAREMOTE\"");
    redeem(&told, TICKET);
    ck_assert(told.at_once);
    expect_down(&told, AUTHORITY_ID_MISMATCH);
    there.id = "STA01";
    RUN_UNTIL(authority_is_up(authority));
    there.id = "STAOTHER";
    RUN_UNTIL(!authority_is_up(authority));
    ck_assert_uint_eq(authority_history(authority, history), 3);
    ck_assert_str_eq(history[0].id, "STAOTHER");
    ck_assert_str_eq(history[1].id, "STA01");
    ck_assert_str_eq(history[2].id, "STAREMOTE");
    ck_assert_int_eq(history[1].fail, AUTHORITY_OK);
}
END_TEST

/* Without id in the configuration it is whoever it says it is, also when that changes. */
START_TEST(an_id_that_changes)
{
    struct authority_event history[AUTHORITY_HISTORY];
    char id[16];
    options.learn_id = true;
    options.id = NULL;
    options.probe_ms = 1;
    open_it();
    probe();
    for (int i = 0; i < AUTHORITY_HISTORY + 5; i++) {
        snprintf(id, sizeof id, "STA%d", i);
        there.id = id;
        RUN_UNTIL(strcmp(authority_id(authority), id) == 0);
        ck_assert(authority_is_up(authority));
    }
    ck_assert_uint_eq(authority_history(authority, history), AUTHORITY_HISTORY); /* the newest first */
    for (int i = 0; i < AUTHORITY_HISTORY; i++) {
        snprintf(id, sizeof id, "STA%d", AUTHORITY_HISTORY + 4 - i);
        ck_assert_str_eq(history[i].id, id);
    }
}
END_TEST

START_TEST(too_many_ids)
{
    char id[16];
    options.learn_id = true;
    options.id = NULL;
    open_it();
    for (int i = 0; i < 256; i++) {
        snprintf(id, sizeof id, "STA%d", i);
        authority_note(authority, AUTHORITY_OK, id, NULL);
        ck_assert(authority_is_up(authority));
    }
    authority_note(authority, AUTHORITY_OK, "STAONEMORE", NULL);
    ck_assert(!authority_is_up(authority));
    ck_assert_int_eq(authority->fail, AUTHORITY_NO_ID);
    ck_assert_ptr_null(authority_id(authority));
    authority_note(authority, AUTHORITY_OK, "STA7", NULL);
    ck_assert(authority_is_up(authority));
}
END_TEST

START_TEST(an_id_that_is_not_to_be_learnt)
{
    options.learn_id = false;
    open_it();
    ck_assert(authority_is_up(authority));
    probe();
    ck_assert_uint_eq(there.asked, 0);
    ck_assert_str_eq(authority_id(authority), "STA01");
}
END_TEST

/* ---- bypass and recovery ---- */

START_TEST(one_that_failed_is_bypassed)
{
    there.body = "no";
    there.status = 500;
    open_it();
    for (int i = 0; i < 5; i++) {
        redeem(&told, TICKET);
        expect_down(&told, AUTHORITY_HTTP_5XX);
        ck_assert(told.at_once == (i > 0));
    }
    ck_assert_uint_eq(there.asked, 1);
    ck_assert_uint_eq(authority->counters.failed[AUTHORITY_HTTP_5XX], 5);
    refresh(&told, TICKET);
    expect_down(&told, AUTHORITY_HTTP_5XX);
    ck_assert_uint_eq(there.asked, 1);
}
END_TEST

START_TEST(the_bypass_ends)
{
    struct authority_event history[AUTHORITY_HISTORY];
    there.body = "no";
    there.status = 500;
    options.bypass_ms = 30;
    open_it();
    redeem(&told, TICKET);
    expect_down(&told, AUTHORITY_HTTP_5XX);
    there.status = 200;
    there.body = data_body;
    RUN_UNTIL(netloop_now_ms(&loop) >= (uint64_t)authority->bypass_until_ms);
    ck_assert_int_eq(redeem(&told, TICKET), REDEEM_OK);
    ck_assert_uint_eq(there.asked, 2);
    ck_assert(authority_is_up(authority));
    ck_assert_int_eq(authority->bypass_until_ms, 0);
    ck_assert_uint_eq(authority_history(authority, history), 2);
    ck_assert_int_eq(history[0].state, AUTHORITY_UP);
    ck_assert_int_eq(history[1].state, AUTHORITY_DOWN);
}
END_TEST

START_TEST(a_probe_ends_the_bypass)
{
    options.learn_id = true;
    options.id = NULL;
    options.probe_ms = 1;
    open_it();
    probe();
    there.body = "no";
    there.status = 500;
    redeem(&told, TICKET);
    expect_down(&told, AUTHORITY_HTTP_5XX);
    there.body = NULL;
    there.status = 200;
    RUN_UNTIL(authority_is_up(authority)); /* although bypass_ms is long */
    there.body = data_body;
    redeem(&told, TICKET);
    ck_assert(told.answer.result == REDEEM_OK || told.at_once); /* a probe may have met data_body before */
}
END_TEST

/* One failure is one event, however often it is seen. */
START_TEST(history_is_of_changes)
{
    struct authority_event history[AUTHORITY_HISTORY];
    there.body = "no";
    options.bypass_ms = 0;
    open_it();
    for (int i = 0; i < 3; i++) {
        there.status = 500;
        redeem(&told, TICKET);
        redeem(&told, TICKET);
        there.status = 404;
        redeem(&told, TICKET);
    }
    ck_assert_uint_eq(authority_history(authority, history), 6);
    ck_assert_int_eq(history[0].fail, AUTHORITY_HTTP_404);
    ck_assert_int_eq(history[1].fail, AUTHORITY_HTTP_5XX);
    ck_assert_uint_eq(there.asked, 9);
}
END_TEST

START_TEST(another_client_knows_at_once)
{
    there.body = "no";
    there.status = 500;
    open_it();
    redeem(&told, TICKET);
    struct authority_client *ours = client;
    client = authority_client_new(authority, &loop, NULL);
    redeem(&told, TICKET);
    ck_assert(told.at_once);
    expect_down(&told, AUTHORITY_HTTP_5XX);
    service_close_client(client);
    client = ours;
}
END_TEST

/* ---- the cache ---- */

START_TEST(without_a_cache_every_redemption_is_asked)
{
    there.body = data_body;
    open_it();
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(redeem(&told, TICKET), REDEEM_OK);
    ck_assert_uint_eq(there.asked, 3);
    ck_assert_uint_eq(authority_client_connections(client), 1);
}
END_TEST

START_TEST(background_tickets_are_cached)
{
    there.body = data_body;
    options.cache_ms = 100000;
    open_it();
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(redeem(&told, TICKET), REDEEM_OK);
        ck_assert(told.at_once == (i > 0));
        ck_assert_str_eq(told.answer.ticket->user, "alice");
    }
    ck_assert_uint_eq(there.asked, 1);
    ck_assert_uint_eq(authority->counters.cached, 2);
    ck_assert_uint_eq(authority->counters.answered[REDEEM_OK], 3);
    ck_assert_int_eq(redeem(&told, "D1B5869135ED230DBFA95E563F8B68"), REDEEM_OK);
    ck_assert_uint_eq(there.asked, 2);
    /* it helps while the authority is away; a fault is still one */
    there.body = "no";
    ck_assert_int_eq(refresh(&told, TICKET), REDEEM_DOWN); /* never out of the cache */
    ck_assert_int_eq(redeem(&told, TICKET), REDEEM_OK);
    authority->faults.down = true;
    redeem(&told, TICKET);
    expect_down(&told, AUTHORITY_FAULT_DOWN);
}
END_TEST

START_TEST(what_is_cached_expires)
{
    char body[512];
    snprintf(body, sizeof body,
             MESSAGE("<ResponseData><TicketData/><StagateTicket class=\"background\" issued=\"1\" "
                     "expires=\"%lld\"/></ResponseData>"),
             (long long)clock_wall_ms() + 1000000);
    there.body = body;
    options.cache_ms = 100000;
    open_it();
    ck_assert_int_eq(redeem(&told, TICKET), REDEEM_OK);
    clock_set_offset_ms(2000000);
    ck_assert_int_eq(redeem(&told, TICKET), REDEEM_EXPIRED);
    ck_assert(told.at_once);
    ck_assert_uint_eq(there.asked, 1);
}
END_TEST

static const char *const not_cached[] = {
    MESSAGE("<ResponseData><TicketData/><StagateTicket class=\"session\"/></ResponseData>"),
    MESSAGE("<ResponseData><TicketData/><StagateTicket class=\"session\" refresh=\"5\"/></ResponseData>"),
    FAILED("ResponseData", "ticket-unknown"),
    FAILED("ResponseData", "ticket-expired"),
    FAILED("ResponseData", "ticket-revoked"),
};

START_TEST(what_is_never_cached)
{
    there.body = not_cached[_i];
    options.cache_ms = 100000;
    open_it();
    for (unsigned i = 1; i <= 3; i++) {
        redeem(&told, TICKET);
        ck_assert_int_ne(told.answer.result, REDEEM_DOWN);
        ck_assert_uint_eq(there.asked, i);
    }
    ck_assert_uint_eq(authority->counters.cached, 0);
}
END_TEST

START_TEST(a_refresh_fills_no_cache)
{
    there.body =
        MESSAGE("<ResponseTicketRefresh><StagateTicket class=\"background\"/></ResponseTicketRefresh>");
    options.cache_ms = 100000;
    open_it();
    ck_assert_int_eq(refresh(&told, TICKET), REDEEM_OK);
    there.body = data_body;
    ck_assert_int_eq(redeem(&told, TICKET), REDEEM_OK);
    ck_assert(!told.at_once);
}
END_TEST

/* ---- faults ---- */

START_TEST(faults_stand_before_the_network)
{
    there.body = data_body;
    open_it();
    authority->faults.error = true;
    redeem(&told, TICKET);
    expect_down(&told, AUTHORITY_FAULT_ERROR);
    ck_assert(told.answer.injected);
    ck_assert_uint_eq(there.asked, 0);
    ck_assert_int_eq(authority->state, AUTHORITY_UP); /* nothing has been learnt of it */
    authority->faults.error = false;
    authority->faults.slow_ms = 1;
    ck_assert_int_eq(redeem(&told, TICKET), REDEEM_OK);
    ck_assert(told.answer.injected);
    authority->faults.slow_ms = 0;
    ck_assert_int_eq(redeem(&told, TICKET), REDEEM_OK);
    ck_assert(!told.answer.injected);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("authority_remote");
    TCase *t = tcase_create("authority_remote");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, an_answer_becomes_a_record);
    tcase_add_test(t, what_is_not_told);
    tcase_add_test(t, the_shared_key_and_the_path);
    tcase_add_test(t, a_refresh);
    tcase_add_loop_test(t, what_an_answer_means, 0, COUNT(answers));
    tcase_add_test(t, more_text_than_a_record_holds);
    tcase_add_test(t, nobody_listens);
    tcase_add_test(t, it_closes_the_connection);
    tcase_add_test(t, it_stays_silent);
    tcase_add_test(t, it_speaks_something_else);
    tcase_add_test(t, closing_with_open_requests);
    tcase_add_test(t, a_cancelled_one_does_not_disturb_others);
    tcase_add_test(t, it_is_down_until_its_id_is_learnt);
    tcase_add_loop_test(t, probes_that_fail, 0, COUNT(probes));
    tcase_add_test(t, another_id_than_the_configured_one);
    tcase_add_test(t, an_id_that_changes);
    tcase_add_test(t, too_many_ids);
    tcase_add_test(t, an_id_that_is_not_to_be_learnt);
    tcase_add_test(t, one_that_failed_is_bypassed);
    tcase_add_test(t, the_bypass_ends);
    tcase_add_test(t, a_probe_ends_the_bypass);
    tcase_add_test(t, history_is_of_changes);
    tcase_add_test(t, another_client_knows_at_once);
    tcase_add_test(t, without_a_cache_every_redemption_is_asked);
    tcase_add_test(t, background_tickets_are_cached);
    tcase_add_test(t, what_is_cached_expires);
    tcase_add_loop_test(t, what_is_never_cached, 0, COUNT(not_cached));
    tcase_add_test(t, a_refresh_fills_no_cache);
    tcase_add_test(t, faults_stand_before_the_network);
    suite_add_tcase(s, t);
    return fixture_end(srunner_create(s));
}
