/* Autodiscover answers: what servers send and what becomes of it, what is left alone, what is refused, every
 * limit, and answers cut or with bytes changed. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "proto/autodiscover.h"

#define DECLARATION "<?xml version=\"1.0\" encoding=\"utf-8\"?>\r\n"
#define SCHEMA      "http://schemas.microsoft.com/exchange/autodiscover/mobilesync/responseschema/2006"
#define OUTLOOK     "http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a"
#define ROOT(s)                                                                                              \
    "<Autodiscover xmlns=\"http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006\">" s      \
    "</Autodiscover>"
#define RESPONSE(s) ROOT("<Response xmlns=\"" SCHEMA "\">" s "</Response>")
#define SETTINGS(s) DECLARATION RESPONSE("<Action><Settings>" s "</Settings></Action>")
#define SYNC        "<Type>MobileSync</Type>"
#define SERVER(s)   "<Server>" SYNC s "</Server>"
#define REAL        "https://mail.example.com/Microsoft-Server-ActiveSync"
#define OURS        "https://gate.example/eas?a=1&b=<2>"
#define ESCAPED     "https://gate.example/eas?a=1&amp;b=&lt;2&gt;"
#define MARK        "\xef\xbb\xbf"
#define OPEN8       "<a><a><a><a><a><a><a><a>"
#define CLOSE8      "</a></a></a></a></a></a></a></a>"

#define TEXT(s)  s, sizeof(s) - 1
#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))

/* What the callback was shown: "Url=text|Name=text|" */
struct seen {
    struct buf texts;
    const char *instead; /* NULL: leave all */
    const char *only;    /* replace the texts of this element only; NULL: of both */
};

static bool on_text(void *owner, const char *element, const char *text, struct buf *replacement)
{
    struct seen *s = owner;
    ck_assert_uint_eq(replacement->len, 0);
    ck_assert_int_eq(buf_printf(&s->texts, "%s=%s|", element, text), 0);
    if (s->instead == NULL || (s->only != NULL && strcmp(s->only, element) != 0))
        return false;
    ck_assert_int_eq(buf_append_str(replacement, s->instead), 0);
    return true;
}

static void seen_init(struct seen *s, const char *instead)
{
    *s = (struct seen){.instead = instead};
    buf_init(&s->texts, 1 << 20);
}

static void assert_holds(const struct buf *b, const char *text, size_t len)
{
    ck_assert_msg(b->len == len && (len == 0 || memcmp(b->data, text, len) == 0), "%.*s\ninstead of\n%.*s",
                  (int)b->len, (const char *)b->data, (int)len, text);
}

/* Reads a copy of exactly that size, so that sanitizers see reads beyond it. */
static int rewrite(const char *text, size_t len, struct seen *s, struct buf *out, size_t *changed,
                   const char **why)
{
    uint8_t *copy = mem_alloc(len);
    memcpy(copy, text, len);
    int rc = autodiscover_rewrite(copy, len, on_text, s, out, changed, why);
    free(copy);
    return rc;
}

/* ---- what is replaced ---- */

static const struct {
    const char *text;
    size_t len;
    const char *shown;
    const char *made; /* with every text replaced by OURS; NULL: as text */
} answers[] = {
    /* as in MS-ASCMD 4.2.4 */
    {TEXT(DECLARATION ROOT("\r\n <Response xmlns=\"" SCHEMA "\">\r\n  <Culture>en:us</Culture>\r\n"
                           "  <User>\r\n   <DisplayName>Ann &amp; Bob</DisplayName>\r\n"
                           "   <EMailAddress>ann@example.com</EMailAddress>\r\n  </User>\r\n"
                           "  <Action>\r\n   <Settings>\r\n    <Server>\r\n     <Type>MobileSync</Type>\r\n"
                           "     <Url>" REAL "</Url>\r\n     <Name>" REAL "</Name>\r\n    </Server>\r\n"
                           "    <Server>\r\n     <Type>CertEnroll</Type>\r\n"
                           "     <Url>https://cert.example.com/CertEnroll</Url>\r\n     <Name />\r\n"
                           "     <ServerData>CertEnrollTemplate</ServerData>\r\n    </Server>\r\n"
                           "   </Settings>\r\n  </Action>\r\n </Response>\r\n") "\r\n"),
     "Url=" REAL "|Name=" REAL "|",
     DECLARATION ROOT("\r\n <Response xmlns=\"" SCHEMA "\">\r\n  <Culture>en:us</Culture>\r\n"
                      "  <User>\r\n   <DisplayName>Ann &amp; Bob</DisplayName>\r\n"
                      "   <EMailAddress>ann@example.com</EMailAddress>\r\n  </User>\r\n"
                      "  <Action>\r\n   <Settings>\r\n    <Server>\r\n     <Type>MobileSync</Type>\r\n"
                      "     <Url>" ESCAPED "</Url>\r\n     <Name>" ESCAPED "</Name>\r\n    </Server>\r\n"
                      "    <Server>\r\n     <Type>CertEnroll</Type>\r\n"
                      "     <Url>https://cert.example.com/CertEnroll</Url>\r\n     <Name />\r\n"
                      "     <ServerData>CertEnrollTemplate</ServerData>\r\n    </Server>\r\n"
                      "   </Settings>\r\n  </Action>\r\n </Response>\r\n") "\r\n"},
    /* prefixes: declared, another one than declared, undeclared, on the Server only */
    {TEXT("<Autodiscover xmlns:a='" SCHEMA "'><a:Response><a:Action><a:Settings><a:Server><a:Type>MobileSync"
          "</a:Type><a:Url>" REAL "</a:Url></a:Server></a:Settings></a:Action></a:Response></Autodiscover>"),
     "Url=" REAL "|",
     "<Autodiscover xmlns:a='" SCHEMA "'><a:Response><a:Action><a:Settings><a:Server><a:Type>MobileSync"
     "</a:Type><a:Url>" ESCAPED "</a:Url></a:Server></a:Settings></a:Action></a:Response></Autodiscover>"},
    {TEXT("<Autodiscover xmlns:a='" SCHEMA "'><Server>" SYNC "<b:Name>x</b:Name></Server></Autodiscover>"),
     "Name=x|",
     "<Autodiscover xmlns:a='" SCHEMA "'><Server>" SYNC "<b:Name>" ESCAPED
     "</b:Name></Server></Autodiscover>"},
    {TEXT("<r><s:Server xmlns:s=\"" SCHEMA "\" a='>'>" SYNC "<s:Url b = '>' >x</s:Url ></s:Server></r>"),
     "Url=x|",
     "<r><s:Server xmlns:s=\"" SCHEMA "\" a='>'>" SYNC "<s:Url b = '>' >" ESCAPED "</s:Url ></s:Server></r>"},
    {TEXT("<r xmlns='HTTP://x/MobileSync/ResponseSchema/2006'><SERVER><type>mobilesync</type><URL>x</URL>"
          "</SERVER></r>"),
     "Url=x|",
     "<r xmlns='HTTP://x/MobileSync/ResponseSchema/2006'><SERVER><type>mobilesync</type><URL>" ESCAPED
     "</URL></SERVER></r>"},
    /* Type behind, blanks around */
    {TEXT(SETTINGS("<Server><Url>\n\t" REAL
                   " \r\n</Url><Name> a b </Name><Type> MobileSync\n</Type></Server>")),
     "Url=" REAL "|Name=a b|",
     SETTINGS("<Server><Url>" ESCAPED "</Url><Name>" ESCAPED "</Name><Type> MobileSync\n</Type></Server>")},
    /* entities, CDATA, comments, processing instructions */
    {TEXT(SETTINGS(SERVER("<Url>https://a/?b=1&amp;c=&#50;&#x33;</Url>"))), "Url=https://a/?b=1&c=23|",
     SETTINGS(SERVER("<Url>" ESCAPED "</Url>"))},
    {TEXT(SETTINGS(SERVER("<Url><![CDATA[https://a/?b=1&c=<2>]]></Url>"))), "Url=https://a/?b=1&c=<2>|",
     SETTINGS(SERVER("<Url>" ESCAPED "</Url>"))},
    {TEXT(
         SETTINGS(SERVER("<Url> <!-- <Url>no</Url> -->http<![CDATA[s:]]>//<?p i?>a&#10;<![CDATA[]]></Url>"))),
     "Url=https://a|", SETTINGS(SERVER("<Url>" ESCAPED "</Url>"))},
    {TEXT(SETTINGS("<Server><Type><!-- -->Mobile<![CDATA[Sync]]></Type><Name>x</Name></Server>")), "Name=x|",
     SETTINGS("<Server><Type><!-- -->Mobile<![CDATA[Sync]]></Type><Name>" ESCAPED "</Name></Server>")},
    {TEXT(SETTINGS(SERVER("<Name>b\xc3\xbc\xf0\x9f\x98\x80</Name>"))), "Name=b\xc3\xbc\xf0\x9f\x98\x80|",
     SETTINGS(SERVER("<Name>" ESCAPED "</Name>"))},
    /* several Servers, several texts, two Types of which one is ours */
    {TEXT(SETTINGS(SERVER("<Url>1</Url>") "<Server><Url>2</Url><Type>CertEnroll</Type></Server>" SERVER(
         "<Name>3</Name><Url>4</Url><Url>5</Url>"))),
     "Url=1|Name=3|Url=4|Url=5|",
     SETTINGS(SERVER("<Url>" ESCAPED "</Url>") "<Server><Url>2</Url><Type>CertEnroll</Type></Server>" SERVER(
         "<Name>" ESCAPED "</Name><Url>" ESCAPED "</Url><Url>" ESCAPED "</Url>"))},
    {TEXT(SETTINGS("<Server>" SYNC "<Url>1</Url><Type>CertEnroll</Type></Server>")), "Url=1|",
     SETTINGS("<Server>" SYNC "<Url>" ESCAPED "</Url><Type>CertEnroll</Type></Server>")},
    /* a byte order mark, a DOCTYPE, a comment in front */
    {TEXT(MARK SETTINGS(SERVER("<Url>1</Url>"))), "Url=1|", MARK SETTINGS(SERVER("<Url>" ESCAPED "</Url>"))},
    {TEXT("<!DOCTYPE Autodiscover><!-- x -->" RESPONSE(SERVER("<Url>1</Url>"))), "Url=1|",
     "<!DOCTYPE Autodiscover><!-- x -->" RESPONSE(SERVER("<Url>" ESCAPED "</Url>"))},
    {TEXT("<!DOCTYPE Autodiscover SYSTEM \"a.dtd\">" RESPONSE(SERVER("<Url>&lt;1</Url>"))), "Url=<1|",
     "<!DOCTYPE Autodiscover SYSTEM \"a.dtd\">" RESPONSE(SERVER("<Url>" ESCAPED "</Url>"))},
    /* 32 deep */
    {TEXT("<r xmlns='" SCHEMA "'>" OPEN8 OPEN8 OPEN8 "<a><a><a><a><a>" SERVER("<Url>1</Url>") //
          "</a></a></a></a></a>" CLOSE8 CLOSE8 CLOSE8 "</r>"),
     "Url=1|",
     "<r xmlns='" SCHEMA "'>" OPEN8 OPEN8 OPEN8 "<a><a><a><a><a>" SERVER("<Url>" ESCAPED "</Url>") //
     "</a></a></a></a></a>" CLOSE8 CLOSE8 CLOSE8 "</r>"},

    /* what is left alone: no text, other Types, other places, other schemas */
    {TEXT(SETTINGS(SERVER("<Url/><Name></Name><Url> \n</Url><Name><!-- --></Name><Url><![CDATA[]]></Url>"))),
     "", NULL},
    {TEXT(SETTINGS("<Server><Url>1</Url></Server>")), "", NULL},
    {TEXT(SETTINGS("<Server><Type/><Url>1</Url></Server>")), "", NULL},
    {TEXT(SETTINGS("<Server><Type>Mobile Sync</Type><Url>1</Url></Server>")), "", NULL},
    {TEXT(SETTINGS("<Server><Type>CertEnroll</Type><Url>1<b>2</b></Url></Server>")), "", NULL},
    {TEXT(SETTINGS("<Server><Type><b>MobileSync</b></Type><Url>1</Url></Server>")), "", NULL},
    {TEXT(SETTINGS(SYNC "<Url>1</Url><Name>2</Name>")), "", NULL},
    {TEXT(SETTINGS(SERVER("<x><Url>1</Url>0</x><Urls>2</Urls><Url.>3</Url.>"))), "", NULL},
    {TEXT(SETTINGS("<Server>" SYNC "</Server><Url>1</Url>")), "", NULL},
    {TEXT(SETTINGS("<!-- " SERVER("<Url>1</Url>") " --><![CDATA[" SERVER("<Url>1</Url>") "]]>")), "", NULL},
    {TEXT(ROOT(SERVER("<Url>1</Url>"))), "", NULL},
    {TEXT("<r xsi='" SCHEMA "'>" SERVER("<Url>1</Url>") "</r>"), "", NULL},
    {TEXT("<r><s xmlns='" SCHEMA "'/>" SERVER("<Url>1</Url>") "</r>"), "", NULL},
    {TEXT(DECLARATION RESPONSE("<Culture>en:us</Culture><User><EMailAddress>a@example.com</EMailAddress>"
                               "</User><Action><Redirect>b@example.com</Redirect></Action>")),
     "", NULL},
    {TEXT(DECLARATION RESPONSE("<Action><Error><Status>1</Status><Message>The directory service could not "
                               "be reached</Message><DebugData>MailUser</DebugData></Error></Action>")),
     "", NULL},
    {TEXT(DECLARATION ROOT("<Response><Error Time=\"16:56:32.6164027\" Id=\"1054084152\"><ErrorCode>600"
                           "</ErrorCode><Message>Invalid Request</Message><DebugData /></Error></Response>")),
     "", NULL},
    {TEXT(DECLARATION ROOT(
         "<Response xmlns=\"" OUTLOOK "\"><Account><AccountType>email</AccountType><Action>"
         "settings</Action><Protocol><Type>MobileSync</Type><Server>mail.example.com</Server>"
         "<Url>https://mail.example.com/</Url></Protocol></Account></Response>")),
     "", NULL},
};

START_TEST(replaces)
{
    const char *made = answers[_i].made != NULL ? answers[_i].made : answers[_i].text;
    struct seen s;
    struct buf out, want;
    size_t changed = 99, looked = 99, count = 0;
    const char *why = NULL;
    for (const char *at = answers[_i].shown; (at = strchr(at, '|')) != NULL; at++)
        count++;
    seen_init(&s, OURS);
    buf_init(&out, 1 << 20);
    ck_assert_int_eq(buf_append_str(&out, "before"), 0);
    int rc = rewrite(answers[_i].text, answers[_i].len, &s, &out, &changed, &why);
    ck_assert_msg(rc == 0, "%s\n%s", answers[_i].text, why);
    ck_assert_uint_eq(changed, count);
    assert_holds(&s.texts, answers[_i].shown, strlen(answers[_i].shown));
    buf_init(&want, 1 << 20);
    ck_assert_int_eq(buf_printf(&want, "before%s", made), 0);
    assert_holds(&out, (const char *)want.data, want.len);
    /* only looked at, it is shown the same */
    s.texts.len = 0;
    ck_assert_int_eq(rewrite(answers[_i].text, answers[_i].len, &s, NULL, &looked, NULL), 0);
    ck_assert_uint_eq(looked, count);
    assert_holds(&s.texts, answers[_i].shown, strlen(answers[_i].shown));
    buf_deinit(&want);
    buf_deinit(&out);
    buf_deinit(&s.texts);
}
END_TEST

START_TEST(leaves_what_it_is_told_to)
{
    struct seen s;
    struct buf out;
    size_t changed = 99;
    seen_init(&s, NULL);
    buf_init(&out, 1 << 20);
    ck_assert_int_eq(rewrite(answers[_i].text, answers[_i].len, &s, &out, &changed, NULL), 0);
    ck_assert_uint_eq(changed, 0);
    assert_holds(&out, answers[_i].text, answers[_i].len);
    assert_holds(&s.texts, answers[_i].shown, strlen(answers[_i].shown));
    buf_deinit(&out);
    buf_deinit(&s.texts);
}
END_TEST

static const struct {
    const char *instead;
    const char *made; /* NULL: refused */
} replacements[] = {
    {"", ""},
    {"]]>", "]]&gt;"},
    {"&amp;", "&amp;amp;"},
    {"a\tb\nc\rd", "a\tb\nc&#13;d"},
    {"'\"\x7f", "'\"\x7f"},
    {"\xc3\xbc\xf0\x9f\x98\x80", "\xc3\xbc\xf0\x9f\x98\x80"},
    {"\x01", NULL},
    {"a\x1b", NULL},
    {"\xff", NULL},
    {"\xc3", NULL},
    {"\xed\xa0\x80", NULL},
    {"\xef\xbf\xbe", NULL},
    {"\xef\xbf\xbf", NULL},
};

START_TEST(escapes)
{
    struct seen s;
    struct buf out;
    size_t changed = 99;
    const char *why = NULL;
    seen_init(&s, replacements[_i].instead);
    s.only = "Name";
    buf_init(&out, 1 << 20);
    int rc = rewrite(TEXT(SETTINGS(SERVER("<Url>1</Url><Name>2</Name>"))), &s, &out, &changed, &why);
    if (replacements[_i].made == NULL) {
        ck_assert_int_eq(rc, ERR_SYNTAX);
        ck_assert_ptr_nonnull(why);
        ck_assert_uint_eq(changed, 0);
        ck_assert_ptr_null(out.data);
    } else {
        char *name = mem_printf("<Url>1</Url><Name>%s</Name>", replacements[_i].made);
        ck_assert_int_eq(rc, 0);
        ck_assert_uint_eq(changed, 1);
        ck_assert_ptr_nonnull(memmem(out.data, out.len, name, strlen(name)));
        free(name);
    }
    buf_deinit(&out);
    buf_deinit(&s.texts);
}
END_TEST

/* ---- what is refused ---- */

static void assert_refused(const char *text, size_t len, size_t max, int code, const char *word)
{
    struct seen s;
    struct buf out;
    size_t changed = 99;
    const char *why = NULL;
    seen_init(&s, OURS);
    buf_init(&out, max);
    ck_assert_int_eq(buf_append_str(&out, "before"), 0);
    int rc = rewrite(text, len, &s, &out, &changed, &why);
    ck_assert_msg(rc == code, "%d for %.*s", rc, (int)(len < 400 ? len : 400), text);
    ck_assert_ptr_nonnull(why);
    ck_assert_msg(word == NULL || strstr(why, word) != NULL, "%.*s\n%s", (int)(len < 400 ? len : 400), text,
                  why);
    ck_assert_uint_eq(changed, 0);
    assert_holds(&out, "before", 6);
    ck_assert_int_eq(rewrite(text, len, &s, &out, NULL, NULL), code);
    buf_deinit(&out);
    buf_deinit(&s.texts);
}

static const struct {
    const char *text;
    size_t len;
    int code;
    const char *word;
} refused[] = {
    /* no XML */
    {TEXT(""), ERR_SYNTAX, NULL},
    {TEXT("x"), ERR_SYNTAX, NULL},
    {TEXT(MARK), ERR_SYNTAX, NULL},
    {TEXT("<html><body>Sign in<br></body></html>"), ERR_SYNTAX, NULL},
    {TEXT(SETTINGS(SERVER("<Url>1</Url>")) "<a/>"), ERR_SYNTAX, NULL},
    {TEXT(SETTINGS(SERVER("<Url>1</Url>")) "\0"), ERR_SYNTAX, NULL},
    {TEXT(SETTINGS(SERVER("<Url>a & b</Url>"))), ERR_SYNTAX, NULL},
    {TEXT(SETTINGS(SERVER("<Url>\xff</Url>"))), ERR_SYNTAX, NULL},
    {TEXT(SETTINGS(SERVER("<Url>&#0;</Url>"))), ERR_SYNTAX, NULL},
    {TEXT(SETTINGS(SERVER("<Url>]]></Url>"))), ERR_SYNTAX, NULL},
    {TEXT(" " DECLARATION RESPONSE("")), ERR_SYNTAX, NULL},
    /* entities */
    {TEXT(SETTINGS(SERVER("<Url>&foo;</Url>"))), ERR_SYNTAX, "entity"},
    {TEXT("<!DOCTYPE a SYSTEM 'a.dtd'>" RESPONSE(SERVER("<Url>&foo;</Url>"))), ERR_UNSUPPORTED, "entity"},
    {TEXT("<!DOCTYPE a []>" RESPONSE(SERVER("<Url>1</Url>"))), ERR_UNSUPPORTED, "DOCTYPE"},
    {TEXT("<!DOCTYPE a [<!ENTITY u 'https://a/'>]>" RESPONSE(SERVER("<Url>&u;</Url>"))), ERR_UNSUPPORTED,
     "DOCTYPE"},
    {TEXT("<!DOCTYPE a [<!ENTITY u SYSTEM 'file:///etc/passwd'>]>" RESPONSE(SERVER("<Url>&u;</Url>"))),
     ERR_UNSUPPORTED, "DOCTYPE"},
    {TEXT("<!DOCTYPE a [<!ENTITY % p SYSTEM 'http://192.0.2.1/'> %p;]>" RESPONSE("")), ERR_UNSUPPORTED,
     "DOCTYPE"},
    {TEXT("<!DOCTYPE a [<!ATTLIST Server xmlns CDATA '" SCHEMA "'>]><a/>"), ERR_UNSUPPORTED, "DOCTYPE"},
    {TEXT("<!DOCTYPE a [<!ENTITY a 'ha'><!ENTITY b '&a;&a;&a;&a;&a;&a;&a;&a;'><!ENTITY c "
          "'&b;&b;&b;&b;&b;&b;&b;&b;'><!ENTITY d '&c;&c;&c;&c;&c;&c;&c;&c;'>]>" //
          RESPONSE(SERVER("<Url>&d;</Url>"))),
     ERR_UNSUPPORTED, "DOCTYPE"},
    /* encodings */
    {TEXT("<?xml version='1.0' encoding='UTF-16'?>" RESPONSE("")), ERR_UNSUPPORTED, "encoding"},
    {TEXT("<?xml version='1.0' encoding='iso-8859-1'?>" RESPONSE("\xe4")), ERR_UNSUPPORTED, "encoding"},
    {TEXT("<?xml version='1.0' encoding='windows-1252'?>" RESPONSE("")), ERR_UNSUPPORTED, "encoding"},
    {TEXT("\xff\xfe<\0a\0/\0>\0"), ERR_UNSUPPORTED, "encoding"},
    {TEXT("\xfe\xff\0<\0a\0/\0>"), ERR_UNSUPPORTED, "encoding"},
    {TEXT("<\0a\0/\0>\0"), ERR_UNSUPPORTED, "encoding"},
    {TEXT("\0<\0a\0/\0>"), ERR_UNSUPPORTED, "encoding"},
    {TEXT("\0\0\xfe\xff\0\0\0<"), ERR_UNSUPPORTED, "encoding"},
    /* elements where only text may stand */
    {TEXT(SETTINGS(SERVER("<Url>1<b/></Url>"))), ERR_UNSUPPORTED, "elements"},
    {TEXT(SETTINGS(SERVER("<Url><Url>1</Url></Url>"))), ERR_UNSUPPORTED, "elements"},
    {TEXT(SETTINGS(SERVER("<Name><b>1</b></Name><Url>2</Url>"))), ERR_UNSUPPORTED, "elements"},
    {TEXT(SETTINGS("<Server><Url>1<b>2</b></Url>" SYNC "</Server>")), ERR_UNSUPPORTED, "elements"},
    {TEXT(SETTINGS("<Server><Type>Mobile<b/>Sync</Type><Url>1</Url></Server>")), ERR_UNSUPPORTED, "elements"},
    {TEXT(SETTINGS(SERVER(SERVER("<Url>1</Url>")))), ERR_UNSUPPORTED, "Server"},
    {TEXT(SETTINGS(SERVER("<Url>" SERVER("") "</Url>"))), ERR_UNSUPPORTED, "Server"},
    /* depth: 33 */
    {TEXT("<r xmlns='" SCHEMA "'>" OPEN8 OPEN8 OPEN8 "<a><a><a><a><a><a>" SERVER("<Url>1</Url>") //
          "</a></a></a></a></a></a>" CLOSE8 CLOSE8 CLOSE8 "</r>"),
     ERR_TOO_BIG, "deep"},
};

START_TEST(refuses)
{
    assert_refused(refused[_i].text, refused[_i].len, 1 << 20, refused[_i].code, refused[_i].word);
}
END_TEST

/* ---- limits ---- */

START_TEST(keeps_the_limit_of_bytes)
{
    static const char begin[] = "<r xmlns='" SCHEMA "'>" SERVER("<Url>1</Url>"), end[] = "</r>";
    char *text = mem_alloc(AUTODISCOVER_BYTES_MAX + 1);
    struct seen s;
    struct buf out;
    size_t changed = 0;
    memset(text, ' ', AUTODISCOVER_BYTES_MAX + 1);
    memcpy(text, begin, sizeof begin - 1);
    memcpy(text + AUTODISCOVER_BYTES_MAX - (sizeof end - 1), end, sizeof end - 1);
    seen_init(&s, OURS);
    buf_init(&out, 1 << 20);
    ck_assert_int_eq(rewrite(text, AUTODISCOVER_BYTES_MAX, &s, &out, &changed, NULL), 0);
    ck_assert_uint_eq(changed, 1);
    ck_assert_uint_eq(out.len, AUTODISCOVER_BYTES_MAX - 1 + strlen(ESCAPED));
    assert_refused(text, AUTODISCOVER_BYTES_MAX + 1, 1 << 20, ERR_TOO_BIG, "big");
    free(text);
    buf_deinit(&out);
    buf_deinit(&s.texts);
}
END_TEST

START_TEST(keeps_the_limit_of_texts)
{
    struct buf text;
    struct seen s;
    size_t changed = 0;
    buf_init(&text, 1 << 20);
    seen_init(&s, OURS);
    ck_assert_int_eq(buf_append_str(&text, "<r xmlns='" SCHEMA "'><Server><Url/>"), 0);
    for (size_t i = 0; i < AUTODISCOVER_TEXTS_MAX; i++)
        ck_assert_int_eq(buf_append_str(&text, "<Url>1</Url>"), 0);
    size_t before = text.len;
    ck_assert_int_eq(buf_append_str(&text, "<Url/>" SYNC "</Server></r>"), 0);
    ck_assert_int_eq(rewrite((char *)text.data, text.len, &s, NULL, &changed, NULL), 0);
    ck_assert_uint_eq(changed, AUTODISCOVER_TEXTS_MAX);
    text.len = before;
    ck_assert_int_eq(buf_append_str(&text, "<Name>1</Name>" SYNC "</Server></r>"), 0);
    assert_refused((char *)text.data, text.len, 1 << 20, ERR_TOO_BIG, "many");
    buf_deinit(&text);
    buf_deinit(&s.texts);
}
END_TEST

/* What out has room for, and one byte less. */
START_TEST(keeps_the_maximum_of_out)
{
    static const char text[] = SETTINGS(SERVER("<Url>1</Url>"));
    static const char made[] = SETTINGS(SERVER("<Url>" ESCAPED "</Url>"));
    struct seen s;
    struct buf out;
    seen_init(&s, OURS);
    buf_init(&out, sizeof made - 1);
    ck_assert_int_eq(rewrite(TEXT(text), &s, &out, NULL, NULL), 0);
    assert_holds(&out, TEXT(made));
    assert_refused(TEXT(text), sizeof made - 1 + 5, ERR_TOO_BIG, "big");
    assert_refused(TEXT(text), 6, ERR_TOO_BIG, "big");
    buf_deinit(&out);
    buf_deinit(&s.texts);
}
END_TEST

/* ---- damage ---- */

/* A prefix that is good holds the whole root element; all others are refused and leave out alone. */
START_TEST(stands_every_prefix)
{
    struct seen s;
    struct buf out;
    seen_init(&s, OURS);
    buf_init(&out, 1 << 20);
    for (size_t n = 0; n < answers[_i].len; n++) {
        size_t changed = 99;
        s.texts.len = 0;
        if (rewrite(answers[_i].text, n, &s, &out, &changed, NULL) == 0) {
            ck_assert(strspn(answers[_i].text + n, " \r\n") == answers[_i].len - n);
            buf_consume(&out, out.len);
            continue;
        }
        ck_assert_uint_eq(changed, 0);
        ck_assert_uint_eq(s.texts.len, 0); /* the callback sees nothing of half a document */
        ck_assert_uint_eq(out.len, 0);
        ck_assert_ptr_null(out.data);
    }
    buf_deinit(&out);
    buf_deinit(&s.texts);
}
END_TEST

START_TEST(stands_every_changed_byte)
{
    static const char bytes[] = {'\0', '<', '>', '&', '/', '!', ']', 'x', ' ', (char)0xff};
    size_t len = answers[_i].len;
    char *text = mem_alloc(len);
    struct seen s;
    struct buf out;
    seen_init(&s, NULL);
    buf_init(&out, 1 << 20);
    memcpy(text, answers[_i].text, len);
    for (size_t at = 0; at < len; at++) {
        for (size_t b = 0; b < sizeof bytes; b++) {
            text[at] = bytes[b];
            if (rewrite(text, len, &s, &out, NULL, NULL) == 0)
                assert_holds(&out, text, len);
            else
                ck_assert_uint_eq(out.len, 0);
            out.len = s.texts.len = 0;
        }
        text[at] = answers[_i].text[at];
    }
    free(text);
    buf_deinit(&out);
    buf_deinit(&s.texts);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("autodiscover");
    TCase *tc = tcase_create("autodiscover");
    tcase_add_loop_test(tc, replaces, 0, COUNT(answers));
    tcase_add_loop_test(tc, leaves_what_it_is_told_to, 0, COUNT(answers));
    tcase_add_loop_test(tc, escapes, 0, COUNT(replacements));
    tcase_add_loop_test(tc, refuses, 0, COUNT(refused));
    tcase_add_test(tc, keeps_the_limit_of_bytes);
    tcase_add_test(tc, keeps_the_limit_of_texts);
    tcase_add_test(tc, keeps_the_maximum_of_out);
    tcase_add_loop_test(tc, stands_every_prefix, 0, COUNT(answers));
    tcase_add_loop_test(tc, stands_every_changed_byte, 0, COUNT(answers));
    tcase_set_timeout(tc, 60);
    suite_add_tcase(suite, tc);
    SRunner *sr = srunner_create(suite);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
