/* STA messages that must not pass: no XML, what XML can be attacked with, what is lacking, doubled or in a
 * wrong place, every limit, and messages cut or with bytes changed. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "staxml_fixture.h"

static void assert_refused(const char *text, size_t len, int code, const char *word)
{
    static const struct staxml nothing;
    struct staxml m;
    const char *why = NULL;
    memset(&m, 0xff, sizeof m);
    int rc = staxml_parse(&m, text, len, &why);
    ck_assert_msg(rc == code, "%d for %.*s", rc, (int)(len < 300 ? len : 300), text);
    ck_assert_ptr_nonnull(why);
    ck_assert_msg(word == NULL || strstr(why, word) != NULL, "%.*s\n%s", (int)(len < 300 ? len : 300), text,
                  why);
    ck_assert(memcmp(&m, &nothing, sizeof m) == 0);
    ck_assert_int_eq(staxml_parse(&m, text, len, NULL), code);
}

/* ---- what is refused ---- */

static const struct {
    const char *text;
    size_t len;
    int code;
    const char *word;
} refused[] = {
    /* no XML */
    {TEXT(""), ERR_SYNTAX, NULL},
    {TEXT(" "), ERR_SYNTAX, NULL},
    {TEXT("GET / HTTP/1.1\r\n\r\n"), ERR_SYNTAX, NULL},
    {TEXT("<CtxSTAProtocol>"), ERR_SYNTAX, NULL},
    {TEXT("<CtxSTAProtocol></CtxSTAProtoco>"), ERR_SYNTAX, "mismatched"},
    {TEXT("<CtxSTAProtocol version=4.0/>"), ERR_SYNTAX, NULL},
    {TEXT("<CtxSTAProtocol version='4.0' version='4.0'/>"), ERR_SYNTAX, "duplicate"},
    {TEXT(MESSAGE("<RequestAuthorityID/>") "<a/>"), ERR_SYNTAX, "junk"},
    {TEXT(MESSAGE("<RequestAuthorityID/>") "text"), ERR_SYNTAX, NULL},
    {TEXT(MESSAGE("<RequestAuthorityID/>") "\0"), ERR_SYNTAX, NULL},
    {TEXT(ASK("<Ticket>" T30 "\0</Ticket>")), ERR_SYNTAX, NULL},
    {TEXT(ASK("<Ticket>" T30 "&#0;</Ticket>")), ERR_SYNTAX, NULL},
    {TEXT(DATA("<Value name=\"a\">&#1;</Value>")), ERR_SYNTAX, NULL},
    {TEXT(DATA("<Value name=\"a\">\x01</Value>")), ERR_SYNTAX, NULL},
    {TEXT(DATA("<Value name=\"a\">\xc0\xaf</Value>")), ERR_SYNTAX, NULL},
    {TEXT(DATA("<Value name=\"a\">\xed\xa0\x80</Value>")), ERR_SYNTAX, NULL},
    {TEXT(DATA("<Value name=\"a\">\xf4\x90\x80\x80</Value>")), ERR_SYNTAX, NULL},
    {TEXT(DATA("<Value name=\"a\">\xff</Value>")), ERR_SYNTAX, NULL},
    {TEXT(DATA("<Value name=\"\xc3(\">x</Value>")), ERR_SYNTAX, NULL},
    {TEXT(DATA("<Value name=\"a\">]]></Value>")), ERR_SYNTAX, NULL},
    {TEXT(DATA("<Value name=\"a<b\">x</Value>")), ERR_SYNTAX, NULL},
    {TEXT("<?xml version='1.0' encoding='windows-1252'?><CtxSTAProtocol/>"), ERR_SYNTAX, "encoding"},
    {TEXT("<?xml version='1.0' encoding='UTF-7'?><CtxSTAProtocol/>"), ERR_SYNTAX, "encoding"},
    {TEXT("<?xml version='1.0' encoding='UTF-16'?><CtxSTAProtocol/>"), ERR_SYNTAX, "encoding"},
    /* entities */
    {TEXT("<!DOCTYPE CtxSTAProtocol [<!ENTITY a \"" T32 "\">]><CtxSTAProtocol><RequestData><Ticket>&a;"
          "</Ticket></RequestData></CtxSTAProtocol>"),
     ERR_SYNTAX, "DOCTYPE"},
    {TEXT("<!DOCTYPE CtxSTAProtocol [<!ENTITY a SYSTEM \"file:///etc/passwd\">]><CtxSTAProtocol><RequestData>"
          "<Ticket>&a;</Ticket></RequestData></CtxSTAProtocol>"),
     ERR_SYNTAX, "DOCTYPE"},
    {TEXT("<!DOCTYPE CtxSTAProtocol SYSTEM \"CtxSTA.dtd\" [<!ENTITY % p SYSTEM \"http://192.0.2.1/\"> %p;]>"
          "<CtxSTAProtocol><RequestAuthorityID/></CtxSTAProtocol>"),
     ERR_SYNTAX, "DOCTYPE"},
    {TEXT("<!DOCTYPE x [<!ENTITY a \"ha\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;\">"
          "<!ENTITY c \"&b;&b;&b;&b;&b;&b;&b;&b;\">]><CtxSTAProtocol>&c;</CtxSTAProtocol>"),
     ERR_SYNTAX, "DOCTYPE"},
    {TEXT("<!DOCTYPE CtxSTAProtocol [<!ATTLIST Ticket version CDATA \"40\">]>" ASK("<Ticket>" T32
                                                                                   "</Ticket>")),
     ERR_SYNTAX, "DOCTYPE"},
    {TEXT("<!DOCTYPE CtxSTAProtocol []><CtxSTAProtocol><RequestAuthorityID/></CtxSTAProtocol>"), ERR_SYNTAX,
     "DOCTYPE"},
    {TEXT("<CtxSTAProtocol><RequestAuthorityID/>&nbsp;</CtxSTAProtocol>"), ERR_SYNTAX, "entity"},
    {TEXT(DATA("<Value name=\"a\">x&foo;y</Value>")), ERR_SYNTAX, "entity"},
    {TEXT(DATA("<Value name=\"ICA&foo;Address\">x</Value>")), ERR_SYNTAX, "entity"},
    {TEXT(DATA("<Value name=\"&amp;&lt;&ampx;\">x</Value>")), ERR_SYNTAX, "entity"},
    {TEXT(MESSAGE("<Unknown a=\"&foo;\"/><RequestAuthorityID/>")), ERR_SYNTAX, "entity"},
    {TEXT(MESSAGE("<Unknown>&foo;</Unknown><RequestAuthorityID/>")), ERR_SYNTAX, "entity"},
    /* no message */
    {TEXT("<NFuseProtocol version=\"4.1\"><RequestData/></NFuseProtocol>"), ERR_SYNTAX, "root"},
    {TEXT("<RequestData><Ticket>" T32 "</Ticket></RequestData>"), ERR_SYNTAX, "root"},
    {TEXT("<x:CtxSTAProtocol xmlns:x=\"urn:x\"/>"), ERR_SYNTAX, "root"},
    {TEXT(MESSAGE("")), ERR_SYNTAX, "no message"},
    {TEXT(MESSAGE("RequestData")), ERR_SYNTAX, "text"},
    {TEXT(MESSAGE("<RequestWeather/>")), ERR_UNSUPPORTED, "known"},
    {TEXT(MESSAGE("<requestdata/><Ticket>" T32 "</Ticket>")), ERR_UNSUPPORTED, "known"},
    {TEXT(MESSAGE("<a><RequestAuthorityID/></a>")), ERR_UNSUPPORTED, "known"},
    {TEXT(MESSAGE("<CtxSTAProtocol><RequestAuthorityID/></CtxSTAProtocol>")), ERR_UNSUPPORTED, "known"},
    {TEXT(MESSAGE("<RequestWeather>")), ERR_SYNTAX, NULL},
    {TEXT("<CtxSTAProtocol version=\"\"><RequestAuthorityID/></CtxSTAProtocol>"), ERR_SYNTAX, "4.0"},
    {TEXT("<CtxSTAProtocol version=\"four\"><RequestAuthorityID/></CtxSTAProtocol>"), ERR_SYNTAX, "4.0"},
    {TEXT("<CtxSTAProtocol version=\"4.000000\"><RequestAuthorityID/></CtxSTAProtocol>"), ERR_SYNTAX, "4.0"},
    /* twice */
    {TEXT(MESSAGE("<RequestAuthorityID/><RequestAuthorityID/>")), ERR_SYNTAX, "twice"},
    {TEXT(MESSAGE("<RequestAuthorityID/><ResponseError><Error/></ResponseError>")), ERR_SYNTAX,
     "more than one"},
    {TEXT(ASK("<Ticket>" T32 "</Ticket><Ticket>" T32 "</Ticket>")), ERR_SYNTAX, "twice"},
    {TEXT(MESSAGE("<RequestTicket><TicketData/><TicketData/></RequestTicket>")), ERR_SYNTAX, "twice"},
    {TEXT(MESSAGE("<RequestTicket><Control/><Control/></RequestTicket>")), ERR_SYNTAX, "twice"},
    {TEXT(MESSAGE("<RequestTicket><Control><Refreshable>true</Refreshable><Refreshable>false</Refreshable>"
                  "</Control></RequestTicket>")),
     ERR_SYNTAX, "twice"},
    {TEXT(MESSAGE("<RequestTicket><StagateTicket/><StagateTicket/></RequestTicket>")), ERR_SYNTAX, "twice"},
    {TEXT(MESSAGE("<ResponseData><Error/><Error/></ResponseData>")), ERR_SYNTAX, "twice"},
    {TEXT(MESSAGE(
         "<ResponseTicket><AuthorityID>a</AuthorityID><AuthorityID>a</AuthorityID></ResponseTicket>")),
     ERR_SYNTAX, "twice"},
    {TEXT(MESSAGE("<ResponseTicket><TicketVersion>40</TicketVersion><TicketVersion>40</TicketVersion>"
                  "</ResponseTicket>")),
     ERR_SYNTAX, "twice"},
    {TEXT(DATA("<Value name=\"a\">1</Value><Value name=\"b\">1</Value><Value name=\"a\">1</Value>")),
     ERR_SYNTAX, "same name"},
    /* text and elements in odd places */
    {TEXT(MESSAGE("a<RequestAuthorityID/>")), ERR_SYNTAX, "text"},
    {TEXT(MESSAGE("<RequestAuthorityID>a</RequestAuthorityID>")), ERR_SYNTAX, "text"},
    {TEXT(MESSAGE("<RequestAuthorityID>&#160;</RequestAuthorityID>")), ERR_SYNTAX, "text"},
    {TEXT(MESSAGE("<RequestAuthorityID><![CDATA[a]]></RequestAuthorityID>")), ERR_SYNTAX, "text"},
    {TEXT(ASK("<Ticket>" T32 "</Ticket>.")), ERR_SYNTAX, "text"},
    {TEXT(DATA("x<Value name=\"a\"/>")), ERR_SYNTAX, "text"},
    {TEXT(ASK("<Ticket>6C0EE48D2E8CADFE<x/>E6D1EB93BFB52A57</Ticket>")), ERR_SYNTAX, "element"},
    {TEXT(DATA("<Value name=\"a\"><Value name=\"b\"/></Value>")), ERR_SYNTAX, "element"},
    /* what is lacking, or in the wrong place */
    {TEXT(ASK("")), ERR_SYNTAX, "no ticket"},
    {TEXT(ASK("<TicketData><Ticket>" T32 "</Ticket></TicketData>")), ERR_SYNTAX, "no ticket"},
    {TEXT(MESSAGE("<RequestData/><Ticket>" T32 "</Ticket>")), ERR_SYNTAX, "no ticket"},
    {TEXT(MESSAGE("<RequestTicketRefresh/>")), ERR_SYNTAX, "no ticket"},
    {TEXT(MESSAGE("<ResponseTicket/>")), ERR_SYNTAX, "lacks"},
    {TEXT(MESSAGE("<ResponseTicket><Ticket>" T32 "</Ticket></ResponseTicket>")), ERR_SYNTAX, "lacks"},
    {TEXT(MESSAGE("<ResponseTicket><AuthorityID>STA01</AuthorityID></ResponseTicket>")), ERR_SYNTAX, "lacks"},
    {TEXT(MESSAGE("<ResponseData/>")), ERR_SYNTAX, "neither"},
    {TEXT(MESSAGE("<ResponseData><Value name=\"a\">1</Value></ResponseData>")), ERR_SYNTAX, "neither"},
    {TEXT(MESSAGE("<ResponseTicketRefresh/>")), ERR_SYNTAX, "neither"},
    {TEXT(MESSAGE("<ResponseAuthorityID/>")), ERR_SYNTAX, "lacks"},
    {TEXT(MESSAGE("<ResponseError/>")), ERR_SYNTAX, "no error"},
    {TEXT(MESSAGE("<ResponseData><Error id=\"busy\"/><TicketData/></ResponseData>")), ERR_SYNTAX, "beside"},
    {TEXT(MESSAGE("<ResponseTicket><Ticket>" T32 "</Ticket><Error id=\"busy\"/></ResponseTicket>")),
     ERR_SYNTAX, "beside"},
    /* wrong contents */
    {TEXT(ASK("<Ticket/>")), ERR_SYNTAX, "30 or 32"},
    {TEXT(ASK("<Ticket>" T30 "0</Ticket>")), ERR_SYNTAX, "30 or 32"},
    {TEXT(ASK("<Ticket>" T32 "0</Ticket>")), ERR_SYNTAX, "30 or 32"},
    {TEXT(ASK("<Ticket>;40;STA01;" T32 "</Ticket>")), ERR_SYNTAX, "30 or 32"},
    {TEXT(ASK("<Ticket>6c0ee48d2e8cadfee6d1eb93bfb52a57</Ticket>")), ERR_SYNTAX, "capital"},
    {TEXT(ASK("<Ticket>6C0EE48D2E8CADFE\nE6D1EB93BFB52A5</Ticket>")), ERR_SYNTAX, "capital"},
    {TEXT(ASK("<Ticket version=\"\">" T32 "</Ticket>")), ERR_SYNTAX, "version"},
    {TEXT(ASK("<Ticket version=\"42\">" T32 "</Ticket>")), ERR_SYNTAX, "version"},
    {TEXT(ASK("<Ticket version=\"040\">" T32 "</Ticket>")), ERR_SYNTAX, "version"},
    {TEXT(ASK("<Ticket version=\"4.0\">" T32 "</Ticket>")), ERR_SYNTAX, "version"},
    {TEXT(MESSAGE("<ResponseTicket><TicketVersion/></ResponseTicket>")), ERR_SYNTAX, "version"},
    {TEXT(MESSAGE("<ResponseTicket><TicketVersion>4O</TicketVersion></ResponseTicket>")), ERR_SYNTAX,
     "version"},
    {TEXT(MESSAGE("<ResponseAuthorityID><AuthorityID/></ResponseAuthorityID>")), ERR_SYNTAX, "1 to 16"},
    {TEXT(MESSAGE("<ResponseAuthorityID><AuthorityID>STA01234567890123</AuthorityID></ResponseAuthorityID>")),
     ERR_SYNTAX, "1 to 16"},
    {TEXT(MESSAGE("<ResponseAuthorityID><AuthorityID>STA-1</AuthorityID></ResponseAuthorityID>")), ERR_SYNTAX,
     "letters"},
    {TEXT(MESSAGE("<RequestTicket><Control><Refreshable/></Control></RequestTicket>")), ERR_SYNTAX, "true"},
    {TEXT(MESSAGE("<RequestTicket><Control><Refreshable>TRUE</Refreshable></Control></RequestTicket>")),
     ERR_SYNTAX, "true"},
    {TEXT(DATA("<Value>x</Value>")), ERR_SYNTAX, "no name"},
    {TEXT(DATA("<Value name=\"\">x</Value>")), ERR_SYNTAX, "no name"},
    {TEXT(DATA("<Value Name=\"a\">x</Value>")), ERR_SYNTAX, "no name"},
    {TEXT(MESSAGE("<RequestTicket><StagateTicket class=\"Session\"/></RequestTicket>")), ERR_SYNTAX, "class"},
    {TEXT(MESSAGE("<RequestTicket><StagateTicket lifetime=\"\"/></RequestTicket>")), ERR_SYNTAX,
     "milliseconds"},
    {TEXT(MESSAGE("<RequestTicket><StagateTicket lifetime=\"-1\"/></RequestTicket>")), ERR_SYNTAX,
     "milliseconds"},
    {TEXT(MESSAGE("<RequestTicket><StagateTicket issued=\"1.5\"/></RequestTicket>")), ERR_SYNTAX,
     "milliseconds"},
    {TEXT(MESSAGE("<RequestTicket><StagateTicket expires=\"1000000000000000\"/></RequestTicket>")),
     ERR_SYNTAX, "milliseconds"},
    {TEXT(MESSAGE("<RequestTicket><StagateTicket refresh=\"168h\"/></RequestTicket>")), ERR_SYNTAX,
     "milliseconds"},
    /* too deep */
    {TEXT(MESSAGE(OPEN4("a") OPEN4("a") OPEN4("a") OPEN4("a") CLOSE4("a") CLOSE4("a") CLOSE4("a")
                      CLOSE4("a"))),
     ERR_TOO_BIG, "deep"},
};

START_TEST(refuses)
{
    assert_refused(refused[_i].text, refused[_i].len, refused[_i].code, refused[_i].word);
}
END_TEST

START_TEST(refuses_unknown_entities_in_utf16)
{
    struct buf out;
    buf_init(&out, STAXML_BYTES_MAX);
    widen(&out, DOCTYPE "<CtxSTAProtocol a='&unknown;'><RequestAuthorityID/></CtxSTAProtocol>", _i == 1);
    assert_refused((const char *)out.data, out.len, ERR_SYNTAX, "entity");
    buf_deinit(&out);
}
END_TEST

#define ROOT_OPEN  "<CtxSTAProtocol>"
#define ROOT_CLOSE "</CtxSTAProtocol>"

static const struct {
    const char *head;
    const char *repeated;
    size_t most;
    const char *tail;
    const char *word;
} limits[] = {
    {ROOT_OPEN "<ResponseData><TicketData>", "<Value name=\"%zu\"/>", STAXML_VALUES_MAX,
     "</TicketData></ResponseData>" ROOT_CLOSE, "Values"},
    {ROOT_OPEN "<RequestTicket><StagateTicket>", "<Service>a:%zu</Service>", STAXML_SERVICES_MAX,
     "</StagateTicket></RequestTicket>" ROOT_CLOSE, "Services"},
    {ROOT_OPEN "<RequestAuthorityID/>", "<a/>", STAXML_ELEMENTS_MAX - 2, ROOT_CLOSE, "too many elements"},
    {ROOT_OPEN "<ResponseData><TicketData><Value name=\"a\">", "x", STAXML_TEXT_MAX,
     "</Value></TicketData></ResponseData>" ROOT_CLOSE, "text is too long"},
    {ROOT_OPEN "<ResponseData><TicketData><Value name=\"", "x", STAXML_TEXT_MAX,
     "\"/></TicketData></ResponseData>" ROOT_CLOSE, "attribute is too long"},
    {ROOT_OPEN "<RequestTicket><StagateTicket user=\"", "x", STAXML_TEXT_MAX,
     "\"/></RequestTicket>" ROOT_CLOSE, "attribute is too long"},
    {ROOT_OPEN "<RequestAuthorityID/><!--", " ",
     STAXML_BYTES_MAX - (sizeof ROOT_OPEN "<RequestAuthorityID/><!---->" ROOT_CLOSE - 1), "-->" ROOT_CLOSE,
     "message is too big"},
};

START_TEST(keeps_limits)
{
    struct staxml m;
    char *text = repeat(limits[_i].head, limits[_i].repeated, limits[_i].most, limits[_i].tail);
    parse_text(&m, text);
    assert_returns(&m);
    staxml_free(&m);
    free(text);
    text = repeat(limits[_i].head, limits[_i].repeated, limits[_i].most + 1, limits[_i].tail);
    assert_refused(text, strlen(text), ERR_TOO_BIG, limits[_i].word);
    free(text);
}
END_TEST

START_TEST(takes_what_is_just_deep_enough)
{
    struct staxml m;
    parse_text(&m, MESSAGE(OPEN4("a") OPEN4("a") OPEN4("a") "<a><a><a/></a></a>" CLOSE4("a") CLOSE4("a")
                               CLOSE4("a") "<RequestAuthorityID/>"));
    staxml_free(&m);
}
END_TEST

/* ---- broken on the way ---- */

static const char *const samples[] = {
    MESSAGE("<RequestTicket><AllowedTicketType>STA-v4</AllowedTicketType><TicketData>" OBSERVED_VALUES
            "</TicketData><Control><Refreshable>true</Refreshable></Control><StagateTicket class=\"session\" "
            "user=\"a\" lifetime=\"1\"><Service>a:1</Service></StagateTicket></RequestTicket>"),
    MESSAGE("<ResponseTicket><AuthorityID>STA01</AuthorityID><Ticket>" T32
            "</Ticket><TicketVersion>40</TicketVersion></ResponseTicket>"),
    DATA("<Value name=\"a&amp;b\">&lt;c&gt;<![CDATA[d]]></Value>"),
    MESSAGE("<ResponseData><Error id=\"ticket-used\">x</Error></ResponseData>"),
};

START_TEST(refuses_every_prefix)
{
    size_t len = strlen(samples[_i]);
    for (size_t n = 0; n < len; n++) {
        char *cut = mem_alloc(n); /* so that reading beyond it is seen */
        memcpy(cut, samples[_i], n);
        assert_refused(cut, n, ERR_SYNTAX, NULL);
        free(cut);
    }
}
END_TEST

START_TEST(stands_every_changed_byte)
{
    static const char bytes[] = "\0<>&;\"'/!?-[]x4 \n\x80\xc3\xff";
    size_t len = strlen(samples[_i]);
    char *text = mem_alloc(len);
    struct staxml m;
    for (size_t at = 0; at < len; at++) {
        for (size_t b = 0; b < sizeof bytes - 1; b++) {
            const char *why = NULL;
            memcpy(text, samples[_i], len);
            text[at] = bytes[b];
            if (staxml_parse(&m, text, len, &why) == 0)
                assert_returns(&m);
            else
                ck_assert_ptr_nonnull(why);
            staxml_free(&m);
        }
    }
    free(text);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("staxml_faults");
    TCase *tc = tcase_create("faults");
    tcase_add_loop_test(tc, refuses, 0, COUNT(refused));
    tcase_add_loop_test(tc, refuses_unknown_entities_in_utf16, 0, 2);
    tcase_add_loop_test(tc, keeps_limits, 0, COUNT(limits));
    tcase_add_test(tc, takes_what_is_just_deep_enough);
    tcase_add_loop_test(tc, refuses_every_prefix, 0, COUNT(samples));
    tcase_add_loop_test(tc, stands_every_changed_byte, 0, COUNT(samples));
    tcase_set_timeout(tc, 60);
    suite_add_tcase(suite, tc);
    SRunner *sr = srunner_create(suite);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
