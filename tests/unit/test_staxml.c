/* The STA's messages: what is known of real ones element for element, what is tolerated, every kind there and
 * back, and CtxConnInfo. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "staxml_fixture.h"

/* ---- messages as they were seen ---- */

static void assert_observed_values(const struct staxml *m)
{
    struct staxml_conninfo c;
    ck_assert_uint_eq(m->value_count, 4);
    ck_assert_str_eq(m->values[0].name, "ICAAddress");
    ck_assert_str_eq(m->values[0].value, "mail.example.com:443");
    ck_assert_str_eq(m->values[1].name, "CGPAddress");
    ck_assert_str_eq(m->values[1].value, "mail.example.com:2598");
    ck_assert_str_eq(m->values[2].name, "SSLRelayAddress");
    ck_assert_str_eq(m->values[2].value, "");
    ck_assert_str_eq(m->values[3].name, "XData");
    const char *xdata = m->values[3].value;
    ck_assert_int_eq(strncmp(xdata, "<?xml version=\"1.0\"?><!--", 25), 0);
    ck_assert_int_eq(staxml_parse_conninfo(&c, xdata, strlen(xdata)), 0);
    ck_assert_str_eq(c.server_address, "192.0.2.7:1494");
    ck_assert_str_eq(c.user, "alice");
    ck_assert_str_eq(c.domain, "EXAMPLE");
    ck_assert_str_eq(c.application, "R&D");
    ck_assert_str_eq(c.protocol, "ICA");
}

static void assert_no_facts(const struct staxml *m)
{
    static const struct staxml_facts nothing;
    ck_assert(staxml_same_facts(&m->facts, &nothing));
}

START_TEST(takes_a_request_for_a_ticket_4)
{
    struct staxml m;
    parse_text(&m, MESSAGE("\n <RequestTicket>\n"
                           "  <AllowedTicketType>STA-v4</AllowedTicketType>\n"
                           "  <AllowedAuthorityIDType>STA-v1</AllowedAuthorityIDType>\n"
                           "  <TicketData>" OBSERVED_VALUES "</TicketData>\n"
                           "  <Control>\n   <Refreshable>true</Refreshable>\n  </Control>\n"
                           " </RequestTicket>\n"));
    ck_assert_int_eq(m.kind, STAXML_REQUEST_TICKET);
    ck_assert_str_eq(m.version, "4.0");
    ck_assert_uint_eq(m.ticket_types, STAXML_TYPE_V4);
    ck_assert(m.refreshable);
    assert_observed_values(&m);
    assert_no_facts(&m);
    assert_returns(&m);
    staxml_free(&m);
}
END_TEST

START_TEST(takes_a_request_for_a_ticket_1)
{
    struct staxml m;
    parse_text(&m, DECLARATION DOCTYPE "<CtxSTAProtocol version=\"1.0\"><RequestTicket>"
                                       "<AllowedTicketType>STA-v1</AllowedTicketType>"
                                       "<TicketData>" OBSERVED_VALUES
                                       "</TicketData></RequestTicket></CtxSTAProtocol>");
    ck_assert_int_eq(m.kind, STAXML_REQUEST_TICKET);
    ck_assert_str_eq(m.version, "1.0");
    ck_assert_uint_eq(m.ticket_types, STAXML_TYPE_V1);
    ck_assert(!m.refreshable);
    assert_observed_values(&m);
    assert_returns(&m);
    staxml_free(&m);
}
END_TEST

START_TEST(takes_the_answer_with_a_ticket)
{
    struct staxml m;
    parse_text(&m, MESSAGE("<ResponseTicket><AuthorityID>STA475DE9C8ABDA</AuthorityID><Ticket>" T32
                           "</Ticket><TicketVersion>40</TicketVersion></ResponseTicket>"));
    ck_assert_int_eq(m.kind, STAXML_RESPONSE_TICKET);
    ck_assert_int_eq(m.error, STAXML_ERROR_NONE);
    ck_assert_str_eq(m.authority, "STA475DE9C8ABDA");
    ck_assert_str_eq(m.ticket, T32);
    ck_assert_uint_eq(m.ticket_version, 40);
    ck_assert_uint_eq(m.ticket_types, STAXML_TYPE_V4);
    assert_no_facts(&m);
    assert_returns(&m);
    staxml_free(&m);

    parse_text(&m, MESSAGE("<ResponseTicket><TicketVersion> 10 </TicketVersion><Ticket>\n " T30
                           "\n</Ticket><AuthorityID>\tSTA01</AuthorityID></ResponseTicket>"));
    ck_assert_str_eq(m.authority, "STA01");
    ck_assert_str_eq(m.ticket, T30);
    ck_assert_uint_eq(m.ticket_version, 10);
    ck_assert_uint_eq(m.ticket_types, STAXML_TYPE_V1);
    assert_returns(&m);
    staxml_free(&m);
}
END_TEST

START_TEST(takes_the_request_for_data)
{
    struct staxml m;
    parse_text(&m, ASK("<Ticket version=\"40\">" T32 "</Ticket>"));
    ck_assert_int_eq(m.kind, STAXML_REQUEST_DATA);
    ck_assert_str_eq(m.ticket, T32);
    ck_assert_uint_eq(m.ticket_version, 40);
    assert_returns(&m);
    staxml_free(&m);
    parse_text(&m, ASK("<Ticket>" T30 "</Ticket>"));
    ck_assert_str_eq(m.ticket, T30);
    ck_assert_uint_eq(m.ticket_version, 0);
    assert_returns(&m);
    staxml_free(&m);
}
END_TEST

START_TEST(takes_the_answer_with_data)
{
    struct staxml m;
    parse_text(&m, DATA(OBSERVED_VALUES));
    ck_assert_int_eq(m.kind, STAXML_RESPONSE_DATA);
    assert_observed_values(&m);
    assert_no_facts(&m);
    assert_returns(&m);
    staxml_free(&m);
}
END_TEST

/* ---- every kind, filled ---- */

static void fill_facts(struct staxml_facts *f)
{
    *f = (struct staxml_facts){
        .class = "background",
        .user = "alice \"the <first>\" & 'only'",
        .device = "",
        .lifetime_ms = 1,
        .issued_ms = INT64_C(1700000000001),
        .expires_ms = STAXML_MS_MAX,
        .refresh_ms = 500000,
        .service_count = STAXML_SERVICES_MAX,
    };
    for (size_t i = 0; i < STAXML_SERVICES_MAX; i++)
        f->services[i] = i % 2 ? "mail.example.com:443" : "[2001:db8::1]:8443";
}

static void fill_values(struct staxml *m, char names[STAXML_VALUES_MAX][8])
{
    for (size_t i = 0; i < STAXML_VALUES_MAX; i++) {
        snprintf(names[i], sizeof names[i], "<%zu>", i);
        m->values[i] =
            (struct staxml_value){names[i], i % 2 ? " a\tb\nc\r\n]]> " : "J\xc3\xbcrgen &amp; <x/>"};
    }
    m->value_count = STAXML_VALUES_MAX;
}

static const struct {
    enum staxml_kind kind;
    const char *name;
    bool values, facts, authority, ticket;
} kinds[] = {
    {STAXML_REQUEST_TICKET, "<RequestTicket>", .values = true, .facts = true},
    {STAXML_REQUEST_DATA, "<RequestData>", .ticket = true},
    {STAXML_REQUEST_REFRESH, "<RequestTicketRefresh>", .ticket = true},
    {STAXML_REQUEST_AUTHORITY_ID, "<RequestAuthorityID>", .ticket = false},
    {STAXML_RESPONSE_TICKET, "<ResponseTicket>", .facts = true, .authority = true, .ticket = true},
    {STAXML_RESPONSE_DATA, "<ResponseData>", .values = true, .facts = true},
    {STAXML_RESPONSE_REFRESH, "<ResponseTicketRefresh>", .facts = true},
    {STAXML_RESPONSE_AUTHORITY_ID, "<ResponseAuthorityID>", .authority = true},
};
_Static_assert(sizeof kinds / sizeof kinds[0] == STAXML_KINDS - 1, "one of each, but for ResponseError");

START_TEST(writes_every_kind)
{
    char names[STAXML_VALUES_MAX][8];
    struct staxml m = {.kind = kinds[_i].kind, .version = "4.0"};
    struct buf out;
    if (kinds[_i].values)
        fill_values(&m, names);
    if (kinds[_i].facts)
        fill_facts(&m.facts);
    if (kinds[_i].authority)
        strcpy(m.authority, "STA0000000000000");
    if (kinds[_i].ticket) {
        strcpy(m.ticket, T32);
        m.ticket_version = 40;
    }
    if (m.kind == STAXML_REQUEST_TICKET) {
        m.ticket_types = STAXML_TYPE_V1 | STAXML_TYPE_V4;
        m.refreshable = true;
    }
    if (m.kind == STAXML_RESPONSE_TICKET)
        m.ticket_types = STAXML_TYPE_V4;
    assert_returns(&m);

    buf_init(&out, STAXML_BYTES_MAX);
    ck_assert_int_eq(staxml_write(&out, &m), 0);
    const char *start = DECLARATION "\n" DOCTYPE "\n<CtxSTAProtocol version=\"4.0\">";
    ck_assert_int_eq(memcmp(out.data, start, strlen(start)), 0);
    ck_assert_int_eq(memcmp(out.data + strlen(start), kinds[_i].name, strlen(kinds[_i].name)), 0);
    buf_deinit(&out);
}
END_TEST

/* What has no place in a kind is not written, and what is empty is nothing. */
START_TEST(ignores_what_has_no_place)
{
    char names[STAXML_VALUES_MAX][8];
    struct staxml m = {.kind = kinds[_i].kind, .ticket_types = 3, .authority = "STA01", .ticket = T30};
    struct staxml back;
    struct buf out;
    fill_values(&m, names);
    fill_facts(&m.facts);
    m.facts.service_count = 1;
    m.error = kinds[_i].kind < STAXML_RESPONSE_TICKET ? STAXML_ERROR_BUSY : STAXML_ERROR_NONE;
    buf_init(&out, STAXML_BYTES_MAX);
    ck_assert_int_eq(staxml_write(&out, &m), 0);
    parse(&back, (const char *)out.data, out.len);
    ck_assert_int_eq(back.error, STAXML_ERROR_NONE);
    ck_assert_str_eq(back.version, "4.0");
    ck_assert_uint_eq(back.value_count, kinds[_i].values ? STAXML_VALUES_MAX : 0);
    ck_assert_uint_eq(back.facts.service_count, kinds[_i].facts ? 1 : 0);
    ck_assert_str_eq(back.authority, kinds[_i].authority ? "STA01" : "");
    ck_assert_str_eq(back.ticket, kinds[_i].ticket ? T30 : "");
    ck_assert_uint_eq(back.ticket_version, kinds[_i].kind == STAXML_RESPONSE_TICKET ? 40 : 0);
    staxml_free(&back);
    buf_deinit(&out);
}
END_TEST

START_TEST(writes_every_error)
{
    struct buf out;
    struct staxml back;
    for (int kind = STAXML_RESPONSE_TICKET; kind < STAXML_KINDS; kind++) {
        struct staxml m = {.kind = (enum staxml_kind)kind, .error = (enum staxml_error)_i, .version = "4.0"};
        assert_returns(&m);
        m.value_count = 1; /* not looked at beside an error */
        strcpy(m.ticket, T32);
        buf_init(&out, STAXML_BYTES_MAX);
        ck_assert_int_eq(staxml_write(&out, &m), 0);
        parse(&back, (const char *)out.data, out.len);
        ck_assert_int_eq(back.error, _i);
        ck_assert_uint_eq(back.value_count, 0);
        ck_assert_str_eq(back.ticket, "");
        staxml_free(&back);
        buf_deinit(&out);
    }
}
END_TEST

START_TEST(names_every_error)
{
    for (int a = 0; a < STAXML_ERRORS; a++) {
        const char *name = staxml_error_name((enum staxml_error)a);
        ck_assert_uint_gt(strlen(name), 0);
        ck_assert_uint_eq(strspn(name, "abcdefghijklmnopqrstuvwxyz-"), strlen(name));
        for (int b = 0; b < a; b++)
            ck_assert_str_ne(name, staxml_error_name((enum staxml_error)b));
    }
    ck_assert_str_eq(staxml_error_name(STAXML_ERROR_TICKET_UNKNOWN), "ticket-unknown");
}
END_TEST

/* The bytes themselves, once: others parse them too. */
START_TEST(writes_what_is_expected)
{
    struct buf out;
    struct staxml m = {.kind = STAXML_REQUEST_TICKET, .ticket_types = STAXML_TYPE_V4, .refreshable = true};
    m.values[0] = (struct staxml_value){"ICAAddress", "mail.example.com:443"};
    m.values[1] = (struct staxml_value){"X\"Data\n", "<a b=\"c\">\r&]]></a>"};
    m.value_count = 2;
    m.facts.class = "session";
    m.facts.lifetime_ms = 100000;
    m.facts.services[m.facts.service_count++] = "a:1";
    buf_init(&out, STAXML_BYTES_MAX);
    ck_assert_int_eq(buf_append_str(&out, "before"), 0);
    ck_assert_int_eq(staxml_write(&out, &m), 0);
    ck_assert_int_eq(buf_append(&out, "", 1), 0);
    ck_assert_str_eq((const char *)out.data,
                     "before" DECLARATION "\n" DOCTYPE "\n<CtxSTAProtocol version=\"4.0\"><RequestTicket>"
                     "<AllowedTicketType>STA-v4</AllowedTicketType>"
                     "<AllowedAuthorityIDType>STA-v1</AllowedAuthorityIDType><TicketData>"
                     "<Value name=\"ICAAddress\">mail.example.com:443</Value>"
                     "<Value name=\"X&quot;Data&#10;\">&lt;a b=\"c\"&gt;&#13;&amp;]]&gt;&lt;/a&gt;</Value>"
                     "</TicketData><Control><Refreshable>true</Refreshable></Control>"
                     "<StagateTicket class=\"session\" lifetime=\"100000\"><Service>a:1</Service>"
                     "</StagateTicket></RequestTicket></CtxSTAProtocol>\n");
    buf_deinit(&out);
}
END_TEST

static const struct {
    const char *given;
    const char *read;
} replaced[] = {
    {"a\x01"
     "b",
     "a\xef\xbf\xbd"
     "b"},
    {"\xff\xfe", "\xef\xbf\xbd\xef\xbf\xbd"},
    {"a\xc3", "a\xef\xbf\xbd"},
    {"\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd"},
    {"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
    {"\xef\xbf\xbe\xef\xbf\xbf", "\xef\xbf\xbd\xef\xbf\xbd"},
    {"\xf0\x9f\x98\x80\x7f\xc2\x85", "\xf0\x9f\x98\x80\x7f\xc2\x85"},
};

START_TEST(replaces_what_xml_cannot_carry)
{
    struct staxml back;
    struct buf out;
    struct staxml m = {.kind = STAXML_RESPONSE_DATA, .value_count = 1};
    m.values[0] = (struct staxml_value){replaced[_i].given, replaced[_i].given};
    m.facts.user = replaced[_i].given;
    buf_init(&out, STAXML_BYTES_MAX);
    ck_assert_int_eq(staxml_write(&out, &m), 0);
    parse(&back, (const char *)out.data, out.len);
    ck_assert_str_eq(back.values[0].name, replaced[_i].read);
    ck_assert_str_eq(back.values[0].value, replaced[_i].read);
    ck_assert_str_eq(back.facts.user, replaced[_i].read);
    staxml_free(&back);
    buf_deinit(&out);
}
END_TEST

START_TEST(writes_no_more_than_is_read)
{
    struct buf out;
    struct staxml m = {.kind = STAXML_RESPONSE_DATA, .value_count = 1};
    char *text = mem_alloc(STAXML_TEXT_MAX + 2);
    memset(text, 'x', STAXML_TEXT_MAX + 1);
    text[STAXML_TEXT_MAX + 1] = '\0';
    m.values[0] = (struct staxml_value){"a", text};
    buf_init(&out, SIZE_MAX);
    ck_assert_int_eq(staxml_write(&out, &m), ERR_TOO_BIG);
    ck_assert_uint_eq(out.len, 0);

    text[STAXML_TEXT_MAX] = '\0';
    assert_returns(&(struct staxml){
        .kind = STAXML_RESPONSE_DATA, .version = "4.0", .value_count = 1, .values = {{"a", text}}});
    static const char *const names[] = {"a", "b", "c", "d", "e", "f", "g", "h"};
    for (m.value_count = 0; m.value_count < 8; m.value_count++)
        m.values[m.value_count] = (struct staxml_value){names[m.value_count], text};
    ck_assert_int_eq(buf_append_str(&out, "before"), 0);
    ck_assert_int_eq(staxml_write(&out, &m), ERR_TOO_BIG);
    ck_assert_uint_eq(out.len, 6);

    m.value_count = 0;
    m.facts.expires_ms = STAXML_MS_MAX + 1;
    ck_assert_int_eq(staxml_write(&out, &m), ERR_TOO_BIG);
    ck_assert_uint_eq(out.len, 6);
    m.facts.expires_ms = 0;
    for (out.max = 6; staxml_write(&out, &m) < 0; out.max++)
        ck_assert_uint_eq(out.len, 6);
    ck_assert_uint_eq(out.len, out.max);
    buf_deinit(&out);
    free(text);
}
END_TEST

/* ---- what is tolerated ---- */

/* All of these ask for the same. */
static const struct {
    const char *text;
    size_t len;
} tolerated[] = {
    {TEXT(ASK("<Ticket>" T32 "</Ticket>"))},
    {TEXT("<CtxSTAProtocol><RequestData><Ticket>" T32 "</Ticket></RequestData></CtxSTAProtocol>")},
    {TEXT("\xef\xbb\xbf<CtxSTAProtocol><RequestData><Ticket>" T32
          "</Ticket></RequestData></CtxSTAProtocol>")},
    {TEXT("<!DOCTYPE CtxSTAProtocol><CtxSTAProtocol><RequestData><Ticket>" T32
          "</Ticket></RequestData></CtxSTAProtocol>")},
    {TEXT("<!DOCTYPE CtxSTAProtocol PUBLIC \"-//X//Y\" \"http://192.0.2.1/CtxSTA.dtd\"><CtxSTAProtocol>"
          "<RequestData><Ticket>" T32 "</Ticket></RequestData></CtxSTAProtocol>\r\n\r\n")},
    {TEXT("<?xml version='1.0' encoding='us-ascii' standalone='no'?>" DOCTYPE "<CtxSTAProtocol version='4.0'>"
          "<RequestData><Ticket>" T32 "</Ticket></RequestData></CtxSTAProtocol>")},
    {TEXT(ASK("<Ticket><![CDATA[" T32 "]]></Ticket>"))},
    {TEXT(ASK("<Ticket>6C0EE48D2E8CADFE<!-- -->E6D1EB93BFB52A5<?x y?>&#x37;</Ticket>"))},
    {TEXT(ASK("<Ticket unknown=\"&lt;&amp;&#10;&quot;\" xmlns=\"urn:x\">" T32 "</Ticket>"))},
    {TEXT(ASK("\r\n\t <Ticket>\r\n" T32 "&#13;&#32;</Ticket><![CDATA[ ]]>&#32;"))},
    {TEXT(MESSAGE("<!-- --><?pi x?><RequestData><Ticket>" T32 "</Ticket></RequestData><?pi?>"))},
    {TEXT(MESSAGE("<Trace>t &amp; t<x><Ticket>a</Ticket></x></Trace><RequestData><New a=\"b\">" T30
                  "</New><Ticket>" T32 "</Ticket><TicketData><Ticket/></TicketData></RequestData><After/>"))},
    {TEXT(ASK("<Error id=\"busy\"/><x:Ticket xmlns:x=\"urn:x\">no</x:Ticket><Ticket>" T32
              "</Ticket><ticket>no</ticket>"))},
};

START_TEST(tolerates)
{
    struct staxml m;
    parse(&m, tolerated[_i].text, tolerated[_i].len);
    ck_assert_int_eq(m.kind, STAXML_REQUEST_DATA);
    ck_assert_int_eq(m.error, STAXML_ERROR_NONE);
    ck_assert_str_eq(m.version, "4.0");
    ck_assert_str_eq(m.ticket, T32);
    ck_assert_uint_eq(m.ticket_version, 0);
    assert_returns(&m);
    staxml_free(&m);
}
END_TEST

static const struct {
    const char *text;
    const char *value;
} texts[] = {
    {"", ""},
    {" a\tb ", " a\tb "},
    {"a\r\nb\rc", "a\nb\nc"},
    {"&lt;&gt;&amp;&quot;&apos;", "<>&\"'"},
    {"&#0065;&#x1F600;", "A\xf0\x9f\x98\x80"},
    {"<![CDATA[<a>&lt;&#65;]]]]><![CDATA[>]]>", "<a>&lt;&#65;]]>"},
    {"a<!-- b -->c<?d e?>f", "acf"},
    {"J\xc3\xbcrgen", "J\xc3\xbcrgen"},
    {"&amp;lt;", "&lt;"},
};

START_TEST(decodes_text)
{
    struct staxml m;
    char *text =
        mem_printf("<CtxSTAProtocol><ResponseData><TicketData><Value name=\"a\">%s</Value></TicketData>"
                   "</ResponseData></CtxSTAProtocol>",
                   texts[_i].text);
    parse_text(&m, text);
    ck_assert_str_eq(m.values[0].value, texts[_i].value);
    assert_returns(&m);
    staxml_free(&m);
    free(text);
}
END_TEST

START_TEST(takes_other_encodings)
{
    struct staxml m;
    struct buf out;
    parse_text(&m, "<?xml version='1.0' encoding='ISO-8859-1'?><CtxSTAProtocol><ResponseData><TicketData>"
                   "<Value name='\xe4'>J\xfcrgen</Value></TicketData></ResponseData></CtxSTAProtocol>");
    ck_assert_str_eq(m.values[0].name, "\xc3\xa4");
    ck_assert_str_eq(m.values[0].value, "J\xc3\xbcrgen");
    staxml_free(&m);
    for (int big = 0; big < 2; big++) {
        buf_init(&out, STAXML_BYTES_MAX);
        widen(&out,
              "<?xml version='1.0' encoding='UTF-16'?>" DOCTYPE "<CtxSTAProtocol><ResponseData>"
              "<TicketData><Value name='@&amp;&#65;'>x@</Value></TicketData></ResponseData></CtxSTAProtocol>",
              big);
        parse(&m, (const char *)out.data, out.len);
        ck_assert_str_eq(m.values[0].name, "\xc4\xa6&A");
        ck_assert_str_eq(m.values[0].value, "x\xc4\xa6");
        assert_returns(&m);
        staxml_free(&m);
        buf_deinit(&out);
    }
}
END_TEST

static const struct {
    const char *types;
    unsigned bits;
} types[] = {
    {"", 0},
    {"<AllowedTicketType/>", 0},
    {"<AllowedTicketType>STA-v9</AllowedTicketType>", 0},
    {"<AllowedTicketType>sta-v4</AllowedTicketType>", 0},
    {"<AllowedTicketType> STA-v4\n</AllowedTicketType>", STAXML_TYPE_V4},
    {"<AllowedTicketType>STA-v9</AllowedTicketType><AllowedTicketType>STA-v1</AllowedTicketType>"
     "<AllowedTicketType>STA-v1</AllowedTicketType>",
     STAXML_TYPE_V1},
    {"<AllowedTicketType>STA-v1</AllowedTicketType><AllowedAuthorityIDType>x</AllowedAuthorityIDType>"
     "<AllowedTicketType>STA-v4</AllowedTicketType><AllowedAuthorityIDType>y</AllowedAuthorityIDType>",
     STAXML_TYPE_V1 | STAXML_TYPE_V4},
};

START_TEST(takes_ticket_types)
{
    struct staxml m;
    char *text =
        mem_printf("<CtxSTAProtocol><RequestTicket>%s</RequestTicket></CtxSTAProtocol>", types[_i].types);
    parse_text(&m, text);
    ck_assert_uint_eq(m.ticket_types, types[_i].bits);
    ck_assert_uint_eq(m.value_count, 0);
    assert_returns(&m);
    staxml_free(&m);
    free(text);
}
END_TEST

static const struct {
    const char *text;
    bool refreshable;
} controls[] = {
    {"<Control/>", false},
    {"<Control><Refreshable>true</Refreshable></Control>", true},
    {"<Control><Refreshable> 1 </Refreshable><Other/></Control>", true},
    {"<Control><Refreshable>false</Refreshable></Control>", false},
    {"<Control><Refreshable>0</Refreshable></Control>", false},
    {"<Refreshable>true</Refreshable>", false}, /* not where it is known */
};

START_TEST(takes_control)
{
    struct staxml m;
    char *text =
        mem_printf("<CtxSTAProtocol><RequestTicket>%s</RequestTicket></CtxSTAProtocol>", controls[_i].text);
    parse_text(&m, text);
    ck_assert_int_eq(m.refreshable, controls[_i].refreshable);
    assert_returns(&m);
    staxml_free(&m);
    free(text);
}
END_TEST

START_TEST(takes_facts)
{
    struct staxml m;
    parse_text(&m, MESSAGE("<ResponseTicketRefresh><StagateTicket class=\"session\" user=\"J&#xfc;rgen\" "
                           "device='' lifetime='0' issued=\"1700000000000\" expires=\"999999999999999\" "
                           "refresh=\"00500000\" other=\"x\"><Service> mail.example.com:443\n</Service><X/>"
                           "<Service/></StagateTicket></ResponseTicketRefresh>"));
    ck_assert_int_eq(m.kind, STAXML_RESPONSE_REFRESH);
    ck_assert_str_eq(m.facts.class, "session");
    ck_assert_str_eq(m.facts.user, "J\xc3\xbcrgen");
    ck_assert_str_eq(m.facts.device, "");
    ck_assert_int_eq(m.facts.lifetime_ms, 0);
    ck_assert_int_eq(m.facts.issued_ms, INT64_C(1700000000000));
    ck_assert_int_eq(m.facts.expires_ms, STAXML_MS_MAX);
    ck_assert_int_eq(m.facts.refresh_ms, 500000);
    ck_assert_uint_eq(m.facts.service_count, 2);
    ck_assert_str_eq(m.facts.services[0], "mail.example.com:443");
    ck_assert_str_eq(m.facts.services[1], "");
    assert_returns(&m);
    staxml_free(&m);
    parse_text(&m, MESSAGE("<ResponseTicketRefresh><StagateTicket/></ResponseTicketRefresh>"));
    assert_no_facts(&m);
    assert_returns(&m);
    staxml_free(&m);
}
END_TEST

static const struct {
    const char *error;
    enum staxml_error code;
} others[] = {
    {"<Error id=\"ticket-used\"/>", STAXML_ERROR_TICKET_USED},
    {"<Error id=\"ticket-used\">text <with>elements</with> &amp; more</Error>", STAXML_ERROR_TICKET_USED},
    {"<Error/>", STAXML_ERROR_INTERNAL},
    {"<Error id=\"none\"/>", STAXML_ERROR_INTERNAL},
    {"<Error id=\"\"/>", STAXML_ERROR_INTERNAL},
    {"<Error id=\"TICKET-USED\"/>", STAXML_ERROR_INTERNAL},
    {"<Error code=\"5\"><Code>5</Code></Error><Trace/>", STAXML_ERROR_INTERNAL},
};

START_TEST(takes_errors)
{
    struct staxml m;
    char *text =
        mem_printf("<CtxSTAProtocol><ResponseData>%s</ResponseData></CtxSTAProtocol>", others[_i].error);
    parse_text(&m, text);
    ck_assert_int_eq(m.kind, STAXML_RESPONSE_DATA);
    ck_assert_int_eq(m.error, others[_i].code);
    assert_returns(&m);
    staxml_free(&m);
    free(text);
}
END_TEST

START_TEST(can_be_freed_twice)
{
    struct staxml m;
    static const struct staxml nothing;
    parse_text(&m, DATA(OBSERVED_VALUES));
    staxml_free(&m);
    ck_assert(memcmp(&m, &nothing, sizeof m) == 0);
    staxml_free(&m);
}
END_TEST

/* ---- CtxConnInfo ---- */

#define INFO(s) "<CtxConnInfo version=\"1.0\">" s "</CtxConnInfo>"

START_TEST(takes_conninfo)
{
    struct staxml_conninfo c;
    memset(&c, 0xff, sizeof c);
    const char *text = INFO("<Protocol>ICA</Protocol><Unknown>x<UserName>eve</UserName></Unknown>"
                            "<UserName>J&#252;rgen</UserName>");
    ck_assert_int_eq(staxml_parse_conninfo(&c, text, strlen(text)), 0);
    ck_assert_str_eq(c.server_address, "");
    ck_assert_str_eq(c.user, "J\xc3\xbcrgen");
    ck_assert_str_eq(c.domain, "");
    ck_assert_str_eq(c.application, "");
    ck_assert_str_eq(c.protocol, "ICA");
}
END_TEST

START_TEST(cuts_conninfo)
{
    struct staxml_conninfo c;
    char *text = repeat("<CtxConnInfo><UserName>", "u", 254,
                        "\xc3\xbc</UserName><Protocol>" T32 T32 "</Protocol></CtxConnInfo>");
    ck_assert_int_eq(staxml_parse_conninfo(&c, text, strlen(text)), 0);
    ck_assert_uint_eq(strlen(c.user), 254); /* the character does not fit whole */
    ck_assert_uint_eq(strlen(c.protocol), 63);
    free(text);
    text = repeat("<CtxConnInfo><UserName>", "u", 253, "\xc3\xbc</UserName></CtxConnInfo>");
    ck_assert_int_eq(staxml_parse_conninfo(&c, text, strlen(text)), 0);
    ck_assert_uint_eq(strlen(c.user), 255);
    free(text);
}
END_TEST

static const struct {
    const char *text;
    size_t len;
} no_conninfo[] = {
    {TEXT("")},
    {TEXT("alice")},
    {TEXT("<ConnInfo/>")},
    {TEXT(INFO("<UserName>a</UserName><UserName>b</UserName>"))},
    {TEXT(INFO("<UserName><b>a</b></UserName>"))},
    {TEXT(INFO("alice"))},
    {TEXT(INFO("<UserName>alice"))},
    {TEXT("<!DOCTYPE a [<!ENTITY a 'b'>]>" INFO("<UserName>&a;</UserName>"))},
    {TEXT("<!DOCTYPE a SYSTEM 'b'>" INFO("<UserName>&a;</UserName>"))},
    {TEXT(INFO("<UserName>\xff</UserName>"))},
    {TEXT(INFO("<UserName>\0</UserName>"))},
    {TEXT(INFO(OPEN4("a") OPEN4("a") OPEN4("a") OPEN4("a") CLOSE4("a") CLOSE4("a") CLOSE4("a") CLOSE4("a")))},
};

START_TEST(refuses_conninfo)
{
    static const struct staxml_conninfo nothing;
    struct staxml_conninfo c;
    memset(&c, 0xff, sizeof c);
    ck_assert_int_eq(staxml_parse_conninfo(&c, no_conninfo[_i].text, no_conninfo[_i].len), ERR_SYNTAX);
    ck_assert(memcmp(&c, &nothing, sizeof c) == 0);
}
END_TEST

static TCase *reading(void)
{
    TCase *tc = tcase_create("reading");
    tcase_add_test(tc, takes_a_request_for_a_ticket_4);
    tcase_add_test(tc, takes_a_request_for_a_ticket_1);
    tcase_add_test(tc, takes_the_answer_with_a_ticket);
    tcase_add_test(tc, takes_the_request_for_data);
    tcase_add_test(tc, takes_the_answer_with_data);
    tcase_add_loop_test(tc, tolerates, 0, COUNT(tolerated));
    tcase_add_loop_test(tc, decodes_text, 0, COUNT(texts));
    tcase_add_test(tc, takes_other_encodings);
    tcase_add_loop_test(tc, takes_ticket_types, 0, COUNT(types));
    tcase_add_loop_test(tc, takes_control, 0, COUNT(controls));
    tcase_add_test(tc, takes_facts);
    tcase_add_loop_test(tc, takes_errors, 0, COUNT(others));
    tcase_add_test(tc, can_be_freed_twice);
    return tc;
}

static TCase *writing(void)
{
    TCase *tc = tcase_create("writing");
    tcase_add_loop_test(tc, writes_every_kind, 0, COUNT(kinds));
    tcase_add_loop_test(tc, ignores_what_has_no_place, 0, COUNT(kinds));
    tcase_add_loop_test(tc, writes_every_error, STAXML_ERROR_NONE + 1, STAXML_ERRORS);
    tcase_add_test(tc, names_every_error);
    tcase_add_test(tc, writes_what_is_expected);
    tcase_add_loop_test(tc, replaces_what_xml_cannot_carry, 0, COUNT(replaced));
    tcase_add_test(tc, writes_no_more_than_is_read);
    return tc;
}

static TCase *conninfo(void)
{
    TCase *tc = tcase_create("conninfo");
    tcase_add_test(tc, takes_conninfo);
    tcase_add_test(tc, cuts_conninfo);
    tcase_add_loop_test(tc, refuses_conninfo, 0, COUNT(no_conninfo));
    return tc;
}

int main(void)
{
    Suite *suite = suite_create("staxml");
    suite_add_tcase(suite, reading());
    suite_add_tcase(suite, writing());
    suite_add_tcase(suite, conninfo());
    SRunner *sr = srunner_create(suite);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
