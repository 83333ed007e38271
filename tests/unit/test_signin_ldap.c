/* Sign-in against a real slapd: the ways to reach it, who may search, what names are taken for, groups, and a
 * directory that is away, stopped or mad.
 */
#include "slapd_fixture.h"

#include <pthread.h>

#define ANYBODY "* read"
#define CLOSED  "dn.exact=" SERVICE " read by anonymous auth by self read"
#define ADDRESS "IP:127.0.0.1"

static struct signin *open_ldap(const struct signin_ldap *l)
{
    return fixture_open_signin((struct signin_options){.ldap = l, .threads = 1});
}

/* One check with settings of its own. */
static struct signin_answer check(struct signin_ldap l, const char *user, const char *password)
{
    l.base = l.base ? l.base : BASE;
    l.filter = l.filter ? l.filter : "(uid=%u)";
    struct signin *s = open_ldap(&l);
    struct signin_answer a = fixture_signin(s, user, password);
    signin_unref(s);
    return a;
}

#define assert_result(a, wanted)                                                                             \
    ck_assert_msg((a).result == (wanted), "result %d, detail \"%s\"", (a).result, (a).detail)

static void assert_down(struct signin_answer a, const char *detail)
{
    assert_result(a, SIGNIN_DOWN);
    ck_assert_msg(strstr(a.detail, detail) != NULL, "\"%s\"", a.detail);
}

/* ---- ways to it ---- */

START_TEST(ways_to_the_directory)
{
    struct slapd d = slapd_start(ANYBODY, ADDRESS);
    const struct signin_ldap ways[] = {
        {.url = d.url},
        {.url = d.url, .starttls = true, .ca = d.ca},
        {.url = d.tls_url, .ca = d.ca},
        {.url = d.local_url},
    };
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        struct signin_answer a = check(ways[i], "anna", "secret");
        assert_result(a, SIGNIN_OK);
        ck_assert_str_eq(a.user, "anna");
        ck_assert_str_eq(a.detail, "");
        a = check(ways[i], "anna", "wrong");
        assert_result(a, SIGNIN_WRONG);
        ck_assert_str_eq(a.detail, "");
        a = check(ways[i], "nobody", "secret");
        assert_result(a, SIGNIN_WRONG);
        ck_assert_str_eq(a.detail, "");
    }
    slapd_end(&d);
}
END_TEST

/* A server that is not who it should be gets neither the service's password nor the user's. */
START_TEST(untrusted_servers)
{
    struct slapd d = slapd_start(ANYBODY, ADDRESS);
    const struct signin_ldap ways[] = {
        {.url = d.url, .starttls = true, .ca = d.other},
        {.url = d.tls_url, .ca = d.other},
        {.url = d.url, .starttls = true}, /* the system's */
        {.url = d.tls_url},
    };
    setenv("LDAPTLS_REQCERT", "never", 1); /* does not count */
    setenv("LDAPTLS_CACERT", d.ca, 1);
    setenv("LDAPTLS_CACERTDIR", fixture_folder, 1);
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++)
        assert_down(check(ways[i], "anna", "secret"), i % 2 ? "connecting" : "StartTLS");
    slapd_end(&d);
}
END_TEST

START_TEST(certificate_of_another_name)
{
    struct slapd d = slapd_start(ANYBODY, _i ? "DNS:127.0.0.1" : "IP:127.0.0.2,DNS:directory.lab.test");
    assert_down(check((struct signin_ldap){.url = d.tls_url, .ca = d.ca}, "anna", "secret"), "connecting");
    assert_down(check((struct signin_ldap){.url = d.url, .starttls = true, .ca = d.ca}, "anna", "secret"),
                "StartTLS");
    slapd_end(&d);
}
END_TEST

/* Which version it is shows behind the handshake only: nothing has been said by then. */
START_TEST(versions_of_tls)
{
    static const struct {
        const char *ciphers;
        bool fine;
    } cases[] = {
        {"NORMAL:-VERS-ALL:+VERS-TLS1.1", false},
        {"NORMAL:-VERS-ALL:+VERS-TLS1.2", true},
        {"NORMAL:-VERS-ALL:+VERS-TLS1.3", true},
    };
    struct slapd d = slapd_start_with(ANYBODY, ADDRESS, cases[_i].ciphers);
    const struct signin_ldap ways[] = {
        {.url = d.tls_url, .ca = d.ca},
        {.url = d.url, .starttls = true, .ca = d.ca, .bind_dn = SERVICE, .bind_password = SERVICE_PASSWORD},
    };
    for (size_t i = 0; i < 2; i++) {
        struct signin_answer a = check(ways[i], "anna", "secret");
        if (cases[_i].fine)
            assert_result(a, SIGNIN_OK);
        else
            assert_result(a, SIGNIN_DOWN); /* where GnuTLS has 1.1 left; else the handshake fails */
    }
    slapd_end(&d);
}
END_TEST

/* ---- who searches ---- */

START_TEST(service_account)
{
    struct slapd d = slapd_start(CLOSED, ADDRESS);
    struct signin_ldap l = {.url = d.url, .bind_dn = SERVICE, .bind_password = SERVICE_PASSWORD};
    assert_result(check(l, "anna", "secret"), SIGNIN_OK);
    assert_result(check(l, "anna", "wrong"), SIGNIN_WRONG);
    assert_result(check(l, "anna", SERVICE_PASSWORD), SIGNIN_WRONG);
    assert_result(check(l, "nobody", "secret"), SIGNIN_WRONG);

    l.bind_password = "not the service's";
    struct signin_answer a = check(l, "anna", "secret");
    assert_down(a, "binding as bind_dn: Invalid credentials");
    ck_assert_ptr_null(strstr(a.detail, "service's"));

    /* anonymously nothing can be seen */
    a = check((struct signin_ldap){.url = d.url}, "anna", "secret");
    assert_down(a, "searching the user");
    slapd_end(&d);
}
END_TEST

START_TEST(searching_goes_wrong)
{
    struct slapd d = slapd_start(ANYBODY, ADDRESS);
    assert_down(check((struct signin_ldap){.url = d.url, .base = "dc=elsewhere"}, "anna", "secret"),
                "searching the user");
    assert_down(check((struct signin_ldap){.url = d.url, .base = "ou=gone,dc=lab"}, "anna", "secret"),
                "searching the user: No such object");
    assert_down(
        check((struct signin_ldap){.url = d.url, .group_base = "ou=gone,dc=lab", .group_filter = "(cn=%u)"},
              "anna", "secret"),
        "searching the group: No such object");
    slapd_end(&d);
}
END_TEST

/* ---- names and passwords ---- */

START_TEST(names_are_only_names)
{
    static const struct {
        const char *user, *password;
        enum signin_result result;
    } cases[] = {
        {"anna", "secret", SIGNIN_OK},
        {"we(i*r)d\\", "odd", SIGNIN_OK}, /* escaped, they find whom they name */
        {"we(i*r)d\\", "secret", SIGNIN_WRONG},
        {"*", "secret", SIGNIN_WRONG},
        {"ann*", "secret", SIGNIN_WRONG},
        {"a\\6ena", "secret", SIGNIN_WRONG},
        {"anna)(uid=*", "secret", SIGNIN_WRONG},
        {"*)(uid=anna", "secret", SIGNIN_WRONG},
        {"anna))(|(uid=*", "secret", SIGNIN_WRONG},
        {"x)(|(uid=anna)", "secret", SIGNIN_WRONG},
        {"%u", "secret", SIGNIN_WRONG},
        {"\\", "secret", SIGNIN_WRONG},
        {"\\2a", "secret", SIGNIN_WRONG},
        {"uid=anna,ou=people,dc=lab", "secret", SIGNIN_WRONG},
        {"\xc3\xa4nne", "secret", SIGNIN_WRONG},
        {"an\xffna", "secret", SIGNIN_WRONG},
        {"", "secret", SIGNIN_WRONG},
        /* simple binds that a directory lets pass */
        {"anna", "", SIGNIN_WRONG},
        {"nobody", "", SIGNIN_WRONG},
        {"nopw", "", SIGNIN_WRONG},
        {"nopw", "secret", SIGNIN_WRONG},
        {"", "", SIGNIN_WRONG},
    };
    static const char *const filters[] = {
        "(uid=%u)",
        "(&(objectClass=inetOrgPerson)(|(uid=%u)(mail=%u))(!(cn=nobody)))",
    };
    struct slapd d = slapd_start(ANYBODY, ADDRESS);
    for (size_t f = 0; f < 2; f++) {
        struct signin *s =
            open_ldap(&(struct signin_ldap){.url = d.url, .base = "ou=people,dc=lab", .filter = filters[f]});
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
            struct signin_answer a = fixture_signin(s, cases[i].user, cases[i].password);
            ck_assert_msg(a.result == cases[i].result, "filter %zu, case %zu: %d, %s", f, i, a.result,
                          a.detail);
        }
        signin_unref(s);
    }
    slapd_end(&d);
}
END_TEST

START_TEST(one_entry_only)
{
    struct slapd d = slapd_start(ANYBODY, ADDRESS);
    struct signin_answer a =
        check((struct signin_ldap){.url = d.url, .filter = "(givenName=%u)"}, "twin", "secret");
    assert_result(a, SIGNIN_WRONG);
    ck_assert_str_eq(a.detail, "more than one entry");
    a = check((struct signin_ldap){.url = d.url, .filter = "(|(uid=%u)(sn=B)(sn=Meier)(sn=W))"}, "anna",
              "secret");
    assert_result(a, SIGNIN_WRONG);
    ck_assert_str_eq(a.detail, "more than one entry");
    slapd_end(&d);
}
END_TEST

START_TEST(groups)
{
    static const struct {
        const char *filter, *base, *user, *password;
        enum signin_result result;
    } cases[] = {
        {"(&(cn=mail)(member=%d))", NULL, "anna", "secret", SIGNIN_OK},
        {"(&(cn=mail)(member=%d))", "ou=groups,dc=lab", "anna", "secret", SIGNIN_OK},
        {"(&(cn=mail)(member=%d))", "ou=people,dc=lab", "anna", "secret", SIGNIN_WRONG},
        {"(&(cn=mail)(member=%d))", NULL, "we(i*r)d\\", "odd", SIGNIN_OK},
        {"(&(cn=mail)(member=%d))", NULL, "bert", "other", SIGNIN_WRONG},
        {"(&(cn=mail)(member=%d))", NULL, "bert", "wrong", SIGNIN_WRONG},
        {"(&(cn=mail)(member=%d))", NULL, "anna", "wrong", SIGNIN_WRONG},
        {"(&(cn=mail)(member=%d))", NULL, "nobody", "secret", SIGNIN_WRONG},
        {"(&(cn=mail)(member=uid=%u,ou=people,dc=lab))", NULL, "anna", "secret", SIGNIN_OK},
        {"(&(cn=mail)(member=uid=%u,ou=people,dc=lab))", NULL, "bert", "other", SIGNIN_WRONG},
        {"(cn=%n)", "ou=groups,dc=lab", "anna", "secret", SIGNIN_OK}, /* canonical: E17 */
        {"(cn=%n)", "ou=groups,dc=lab", "bert", "other", SIGNIN_WRONG},
        {"(|(cn=mail)(cn=E17)(uid=%u))", NULL, "anna", "secret", SIGNIN_OK}, /* several are something */
    };
    struct slapd d = slapd_start(ANYBODY, ADDRESS);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct signin_answer a = check(
            (struct signin_ldap){.url = d.url,
                                 .group_filter = cases[i].filter,
                                 .group_base = cases[i].base,
                                 .user_attribute = strstr(cases[i].filter, "%n") ? "employeeNumber" : NULL},
            cases[i].user, cases[i].password);
        ck_assert_msg(a.result == cases[i].result, "case %zu: %d, %s", i, a.result, a.detail);
    }
    struct signin_answer a =
        check((struct signin_ldap){.url = d.url, .group_filter = "(member=%d)"}, "bert", "other");
    ck_assert_ptr_nonnull(strstr(a.detail, "group_filter"));
    slapd_end(&d);
}
END_TEST

START_TEST(canonical_names)
{
    struct slapd d = slapd_start(ANYBODY, ADDRESS);
    struct signin_ldap l = {.url = d.url, .user_attribute = "mail"};
    struct signin_answer a = check(l, "anna", "secret");
    assert_result(a, SIGNIN_OK);
    ck_assert_str_eq(a.user, "Anna.Meier@lab.test");
    a = check(l, "ANNA", "secret");
    assert_result(a, SIGNIN_OK);
    ck_assert_str_eq(a.user, "Anna.Meier@lab.test");
    a = check(l, "bert", "other"); /* has none */
    assert_result(a, SIGNIN_WRONG);
    ck_assert_ptr_nonnull(strstr(a.detail, "user_attribute"));
    l.user_attribute = "cn";
    a = check(l, "we(i*r)d\\", "odd");
    assert_result(a, SIGNIN_OK);
    ck_assert_str_eq(a.user, "O'Neil, \"Q\" <x>");
    l.user_attribute = NULL; /* as typed */
    a = check(l, "ANNA", "secret");
    assert_result(a, SIGNIN_OK);
    ck_assert_str_eq(a.user, "ANNA");
    slapd_end(&d);
}
END_TEST

/* What "fewer name variations with higher security" takes, with a filter that would find more. */
START_TEST(fewer_variations)
{
    static const char *const mail_only[] = {"mail", NULL};
    static const char filter[] = "(|(uid=%u)(mail=%u)(cn=%u)(sn=%u)(employeeNumber=%u))";
    static const struct {
        const char *user;
        enum signin_result fewer, fewer_mail, more;
    } cases[] = {
        {"anna", SIGNIN_OK, SIGNIN_WRONG, SIGNIN_OK},
        {"ANNA", SIGNIN_OK, SIGNIN_WRONG, SIGNIN_OK},
        {"Anna.Meier@lab.test", SIGNIN_OK, SIGNIN_OK, SIGNIN_OK},
        {"anna.meier@LAB.test", SIGNIN_OK, SIGNIN_OK, SIGNIN_OK},
        {"Meier", SIGNIN_WRONG, SIGNIN_WRONG, SIGNIN_OK},
        {"E17", SIGNIN_WRONG, SIGNIN_WRONG, SIGNIN_OK},
        {"Anna Meier", SIGNIN_WRONG, SIGNIN_WRONG, SIGNIN_OK}, /* a blank */
        {"anna ", SIGNIN_WRONG, SIGNIN_WRONG, SIGNIN_OK},      /* which the directory overlooks */
        {"anna/lab", SIGNIN_WRONG, SIGNIN_WRONG, SIGNIN_WRONG},
        {"anna,lab", SIGNIN_WRONG, SIGNIN_WRONG, SIGNIN_WRONG},
        {"ann*", SIGNIN_WRONG, SIGNIN_WRONG, SIGNIN_WRONG},
        {"nobody", SIGNIN_WRONG, SIGNIN_WRONG, SIGNIN_WRONG},
    };
    struct slapd d = slapd_start(ANYBODY, ADDRESS);
    struct signin_ldap fewer = {.url = d.url,
                                .base = "ou=people,dc=lab",
                                .filter = filter,
                                .fewer_variations = true,
                                .user_attribute = "uid"};
    struct signin_ldap fewer_mail = fewer, more = fewer;
    fewer_mail.name_attributes = mail_only;
    more.fewer_variations = false;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct signin_answer a = check(fewer, cases[i].user, "secret");
        ck_assert_msg(a.result == cases[i].fewer, "case %zu: %d, %s", i, a.result, a.detail);
        ck_assert_str_eq(a.user, a.result == SIGNIN_OK ? "anna" : "");
        a = check(fewer_mail, cases[i].user, "secret");
        ck_assert_msg(a.result == cases[i].fewer_mail, "case %zu, mail: %d, %s", i, a.result, a.detail);
        a = check(more, cases[i].user, "secret");
        ck_assert_msg(a.result == cases[i].more, "case %zu, more: %d, %s", i, a.result, a.detail);
    }
    slapd_end(&d);
}
END_TEST

/* ---- a directory that is not well ---- */

START_TEST(away_and_back)
{
    struct slapd d = slapd_start(ANYBODY, ADDRESS);
    struct signin *s = open_ldap(&(struct signin_ldap){.url = d.url, .base = BASE, .filter = "(uid=%u)"});
    assert_result(fixture_signin(s, "anna", "secret"), SIGNIN_OK);
    slapd_kill(&d);
    assert_down(fixture_signin(s, "anna", "secret"), "connecting to the directory: Can't contact");
    assert_down(fixture_signin(s, "nobody", "secret"), "connecting to the directory: Can't contact");
    slapd_run(&d);
    assert_result(fixture_signin(s, "anna", "secret"), SIGNIN_OK);
    assert_result(fixture_signin(s, "anna", "wrong"), SIGNIN_WRONG);
    signin_unref(s);
    slapd_end(&d);
}
END_TEST

/* The kernel goes on taking connections; nothing answers in them. */
START_TEST(stopped)
{
    struct slapd d = slapd_start(ANYBODY, ADDRESS);
    const struct signin_ldap ways[] = {
        {.url = d.url, .timeout_ms = 200},
        {.url = d.url, .timeout_ms = 200, .bind_dn = SERVICE, .bind_password = SERVICE_PASSWORD},
        {.url = d.url, .timeout_ms = 200, .starttls = true, .ca = d.ca},
        {.url = d.tls_url, .timeout_ms = 200, .ca = d.ca},
        {.url = d.local_url, .timeout_ms = 200},
    };
    kill(d.pid, SIGSTOP);
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++)
        assert_result(check(ways[i], "anna", "secret"), SIGNIN_DOWN);
    kill(d.pid, SIGCONT);
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        struct signin_ldap l = ways[i];
        l.timeout_ms = 0;
        assert_result(check(l, "anna", "secret"), SIGNIN_OK);
    }
    slapd_end(&d);
}
END_TEST

static int accept_one(int listener)
{
    int fd = accept(listener, NULL, NULL);
    ck_assert_int_ge(fd, 0);
    return fd;
}

struct mad_server {
    int listener;
    bool stays; /* connected, in silence */
    const char *says;
    size_t len;
};

/* Takes a connection, says its piece to whatever comes, and hangs up, or does not. */
static void *mad_main(void *arg)
{
    struct mad_server *m = arg;
    char in[1000];
    int fd = accept_one(m->listener);
    if (read(fd, in, sizeof in) > 0 && m->len > 0)
        ck_assert_int_eq(write(fd, m->says, m->len), (ssize_t)m->len);
    while (m->stays && read(fd, in, sizeof in) > 0)
        continue;
    close(fd);
    return NULL;
}

START_TEST(mad_servers)
{
    static const struct {
        const char *says;
        size_t len;
    } pieces[] = {
        {"", 0},
        {"HTTP/1.1 400 Bad Request\r\n\r\n", 28},
        {"\x30\x84\x7f\xff\xff\xff\x02\x01\x01", 9},
        {"\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x00", 10},                 /* a bind's answer, cut short */
        {"\x30\x05\x02\x01\x01\x65\x00", 7},                              /* an empty end of a search */
        {"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00", 14}, /* StartTLS granted, then silence */
    };
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
        for (unsigned way = 0; way < 4; way++) {
            struct mad_server m = {.says = pieces[i].says, .len = pieces[i].len, .stays = _i};
            unsigned port;
            char url[40];
            pthread_t thread;
            m.listener = slapd_listen(&port);
            snprintf(url, sizeof url, "%s://127.0.0.1:%u", way == 3 ? "ldaps" : "ldap", port);
            struct signin_ldap l = {.url = url, .timeout_ms = _i ? 100 : 20000, .starttls = way == 2};
            if (way == 1) {
                l.bind_dn = SERVICE;
                l.bind_password = SERVICE_PASSWORD;
            }
            ck_assert_int_eq(pthread_create(&thread, NULL, mad_main, &m), 0);
            assert_result(check(l, "anna", "secret"), SIGNIN_DOWN);
            pthread_join(thread, NULL);
            close(m.listener);
        }
    }
}
END_TEST

/* A directory that takes connections and is silent keeps the only thread busy: the queue fills, cancelling
 * makes room, and nothing has to wait for the timeouts to close. */
START_TEST(queue_behind_a_silent_directory)
{
    unsigned port;
    char url[40];
    int listener = slapd_listen(&port);
    snprintf(url, sizeof url, "%s://127.0.0.1:%u", _i ? "ldaps" : "ldap", port);
    struct signin_ldap l = {.url = url, .base = BASE, .filter = "(uid=%u)", .timeout_ms = 600000};
    struct signin *s = fixture_open_signin((struct signin_options){.ldap = &l, .threads = 1, .queue_max = 2});
    uv_loop_t loop;
    uv_loop_init(&loop);
    struct signin_client *c = signin_client_new(s, &loop);
    struct signin_answer a = {0}, cancelled = {0};
    struct signin_request *running = fixture_check(c, "anna", "secret", &cancelled);
    int fd = accept_one(listener);
    struct signin_request *first = fixture_check(c, "anna", "secret", &cancelled);
    struct signin_request *second = fixture_check(c, "anna", "secret", &cancelled);
    fixture_check(c, "anna", "secret", &a);
    fixture_run(&loop, &a.count, 1);
    ck_assert_int_eq(a.result, SIGNIN_BUSY);
    signin_cancel(first);
    struct signin_request *third = fixture_check(c, "anna", "secret", &cancelled);
    fixture_check(c, "anna", "secret", &a);
    fixture_run(&loop, &a.count, 2);
    ck_assert_int_eq(a.result, SIGNIN_BUSY);

    unsigned closed = 0;
    signin_cancel(second);
    signin_cancel(third);
    signin_cancel(running);
    signin_client_close(c, fixture_closed, &closed);
    signin_unref(s);
    fixture_run(&loop, &closed, 1);
    ck_assert_uint_eq(cancelled.count, 0);
    ck_assert_uint_eq(a.count, 2);
    ck_assert_int_eq(uv_loop_close(&loop), 0);
    close(fd);
    close(listener);
}
END_TEST

/* ---- many at once ---- */

START_TEST(many_at_once)
{
    enum { COUNT = 60 };
    struct slapd d = slapd_start(ANYBODY, ADDRESS);
    struct signin_ldap l = {
        .url = _i ? d.tls_url : d.url, .ca = _i ? d.ca : NULL, .base = BASE, .filter = "(uid=%u)"};
    struct signin *s = fixture_open_signin((struct signin_options){.ldap = &l, .threads = 4});
    uv_loop_t loop;
    uv_loop_init(&loop);
    struct signin_client *c = signin_client_new(s, &loop);
    struct signin_answer right = {0}, wrong = {0}, cancelled = {0};
    for (unsigned n = 0; n < COUNT; n++) {
        fixture_check(c, n % 2 ? "anna" : "bert", n % 2 ? "secret" : "other", &right);
        fixture_check(c, n % 2 ? "anna" : "nobody", "other", &wrong);
        struct signin_request *r = fixture_check(c, "anna", "secret", &cancelled);
        uv_run(&loop, UV_RUN_NOWAIT);
        if (cancelled.count == 0)
            signin_cancel(r);
        cancelled.count = 0;
    }
    fixture_run(&loop, &right.count, COUNT);
    fixture_run(&loop, &wrong.count, COUNT);
    ck_assert_uint_eq(right.by_result[SIGNIN_OK], COUNT);
    ck_assert_uint_eq(wrong.by_result[SIGNIN_WRONG], COUNT);
    fixture_close_signin_client(c, &loop);
    signin_unref(s);
    ck_assert_int_eq(uv_loop_close(&loop), 0);
    slapd_end(&d);
}
END_TEST

/* ---- settings ---- */

/* what good settings have to say */
#define G_URL    .url = "ldap://directory.lab.test"
#define G_BASE   .base = "dc=lab"
#define G_FILTER .filter = "(uid=%u)"
#define GOOD     G_URL, G_BASE, G_FILTER

static const char *const many_names[] = {"a", "b", "c", "d", "e", "f", "g", "h", "i",
                                         "j", "k", "l", "m", "n", "o", "p", "q", NULL};
static const char *const odd_names[] = {"uid", "ma il", NULL};
static const char *const no_names[] = {NULL};

static const struct {
    struct signin_ldap l;
    const char *why; /* a part of it; NULL: fine */
} settings[] = {
    {{GOOD}, NULL},
    {{GOOD, .starttls = true}, NULL},
    {{GOOD, .bind_dn = "lab\\service", .bind_password = "x", .group_filter = "(m=%d)",
      .group_base = "ou=g,dc=l"},
     NULL},
    {{GOOD, .name_attributes = no_names, .user_attribute = "cn;lang-de"}, NULL},
    {{G_BASE, G_FILTER, .url = "ldap://[::1]:3389/"}, NULL},
    {{G_BASE, G_FILTER, .url = "LDAPS://directory.lab.test:636"}, NULL},
    {{G_BASE, G_FILTER, .url = "ldapi://%2Frun%2Fslapd%2Fldapi"}, NULL},
    {{G_BASE, G_FILTER, .url = NULL}, "url is none"},
    {{G_BASE, G_FILTER, .url = ""}, "url is none"},
    {{G_BASE, G_FILTER, .url = "directory.lab.test"}, "url is none"},
    {{G_BASE, G_FILTER, .url = "https://directory.lab.test"}, "url is none"},
    {{G_BASE, G_FILTER, .url = "ldap://a ldap://b"}, "url is none"},
    {{G_BASE, G_FILTER, .url = "cldap://directory.lab.test"}, "url "},
    {{G_BASE, G_FILTER, .url = "ldap://directory.lab.test:70000"}, "url "},
    {{G_BASE, G_FILTER, .url = "ldap://"}, "names no host"},
    {{G_BASE, G_FILTER, .url = "ldap:///dc=lab"}, "names no host"},
    {{G_BASE, G_FILTER, .url = "ldap://directory.lab.test/dc=lab"}, "only"},
    {{G_BASE, G_FILTER, .url = "ldap://directory.lab.test/?uid"}, "only"},
    {{G_BASE, G_FILTER, .url = "ldap://directory.lab.test/??sub?(uid=*)"}, "only"},
    {{G_BASE, G_FILTER, .url = "ldaps://directory.lab.test", .starttls = true}, "starttls"},
    {{G_BASE, G_FILTER, .url = "ldapi://%2Frun%2Fldapi", .starttls = true}, "starttls"},
    {{GOOD, .bind_dn = SERVICE}, "bind_dn needs"},
    {{GOOD, .bind_dn = SERVICE, .bind_password = ""}, "bind_dn needs"},
    {{GOOD, .bind_dn = "", .bind_password = "x"}, "bind_dn needs"},
    {{GOOD, .bind_password = "x"}, "needs bind_dn"},
    {{G_URL, G_FILTER, .base = NULL}, "base is missing"},
    {{G_URL, G_FILTER, .base = ""}, "base is missing"},
    {{G_URL, G_FILTER, .base = "lab"}, "base is no DN"},
    {{GOOD, .group_base = "groups"}, "group_base is no DN"},
    {{G_URL, G_BASE, .filter = NULL}, "filter is missing"},
    {{G_URL, G_BASE, .filter = "(uid=anna)"}, "no place"},
    {{G_URL, G_BASE, .filter = "(uid=%u"}, "closing parenthesis"},
    {{G_URL, G_BASE, .filter = "(uid=%d)"}, "a %"},
    {{GOOD, .group_filter = "(cn=mail)"}, "no place"},
    {{GOOD, .group_filter = "(member=%x)"}, "a %"},
    {{GOOD, .user_attribute = ""}, "user_attribute"},
    {{GOOD, .user_attribute = "*"}, "user_attribute"},
    {{GOOD, .name_attributes = odd_names}, "name_attributes"},
    {{GOOD, .name_attributes = many_names}, "16"},
    {{GOOD, .timeout_ms = -1}, "timeout"},
};

START_TEST(settings_are_checked)
{
    const char *why = NULL;
    int rc = signin_ldap_check(&settings[_i].l, &why);
    if (settings[_i].why == NULL) {
        ck_assert_msg(rc == 0, "%s", why);
        return;
    }
    ck_assert_int_eq(rc, ERR_SYNTAX);
    ck_assert_msg(strstr(why, settings[_i].why) != NULL, "%s", why);
    struct signin *s = NULL;
    struct signin_options options = {.ldap = &settings[_i].l};
    ck_assert_int_eq(signin_open(&s, &options, fixture_why, sizeof fixture_why), ERR_SYNTAX);
    ck_assert_str_eq(fixture_why, why);
}
END_TEST

START_TEST(ca_files_are_tried)
{
    struct signin *s = NULL;
    char *away = fixture_path("away.crt"), *empty = fixture_path("empty.crt");
    const char *const files[] = {away, empty};
    fixture_write(empty, "# nothing\n");
    for (size_t i = 0; i < 2; i++) {
        struct signin_ldap l = {G_BASE, G_FILTER, .url = "ldaps://directory.lab.test", .ca = files[i]};
        struct signin_options options = {.ldap = &l};
        ck_assert_int_lt(signin_open(&s, &options, fixture_why, sizeof fixture_why), 0);
        ck_assert_msg(strstr(fixture_why, files[i]) != NULL &&
                          strstr(fixture_why, "no CA certificate") != NULL,
                      "%s", fixture_why);
    }
    free(away);
    free(empty);
}
END_TEST

static void add_tests(TCase *tc)
{
    tcase_add_test(tc, ways_to_the_directory);
    tcase_add_test(tc, untrusted_servers);
    tcase_add_loop_test(tc, certificate_of_another_name, 0, 2);
    tcase_add_loop_test(tc, versions_of_tls, 0, 3);
    tcase_add_test(tc, service_account);
    tcase_add_test(tc, searching_goes_wrong);
    tcase_add_test(tc, names_are_only_names);
    tcase_add_test(tc, one_entry_only);
    tcase_add_test(tc, groups);
    tcase_add_test(tc, canonical_names);
    tcase_add_test(tc, fewer_variations);
    tcase_add_test(tc, away_and_back);
    tcase_add_test(tc, stopped);
    tcase_add_loop_test(tc, mad_servers, 0, 2);
    tcase_add_loop_test(tc, queue_behind_a_silent_directory, 0, 2);
    tcase_add_loop_test(tc, many_at_once, 0, 2);
    tcase_add_loop_test(tc, settings_are_checked, 0, sizeof settings / sizeof settings[0]);
    tcase_add_test(tc, ca_files_are_tried);
}

int main(void)
{
    return fixture_run_suite("signin_ldap", add_tests);
}
