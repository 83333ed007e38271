/* The ticket API behind a real HTTP server, once for users who sign in out of an htpasswd file, once for the
 * administrator; answers are read as JSON. */
#ifndef STAGATE_TESTS_UNIT_TICKETAPI_FIXTURE_H
#define STAGATE_TESTS_UNIT_TICKETAPI_FIXTURE_H

#include "service_fixture.h"

#include <crypt.h>
#include <openssl/evp.h>

#include "sta/ticketapi.h"

#define PLAIN "Host: localhost\r\n"
#define JSON  PLAIN "Content-Type: application/json\r\n"

enum { FIRST, SECOND, AUTHORITIES };

static struct authority *authorities[AUTHORITIES];
static struct authority_client *clients[AUTHORITIES];
static struct signin *signin;
static struct ticketapi users, admin;
static struct httpd *server;
static unsigned idle;
static char htpasswd_file[64];
static struct reply last;
static json_t *answer;

static inline void api_handle(void *owner, struct httpd_request *r)
{
    ck_assert(ticketapi_is_path(httpd_path(r)));
    ticketapi_handle(owner, r);
}

static inline void api_on_idle(void *owner)
{
    ck_assert_ptr_eq(owner, &idle);
    idle++;
}

/* alice:wonderland, bert:b:ert, and rounds as few as there can be. */
static inline void api_write_users(const char *setting)
{
    strcpy(htpasswd_file, "/tmp/stagate-users-XXXXXX");
    int fd = mkstemp(htpasswd_file);
    ck_assert_int_ge(fd, 0);
    dprintf(fd, "alice:%s\n", crypt("wonderland", setting));
    dprintf(fd, "bert:%s\n", crypt("b:ert", setting));
    close(fd);
}

static inline void api_open_signin(unsigned threads, size_t queue_max)
{
    char why[256] = "";
    const struct signin_options o = {.htpasswd = htpasswd_file, .threads = threads, .queue_max = queue_max};
    int rc = signin_open(&signin, &o, why, sizeof why);
    ck_assert_msg(rc == 0, "%s", why);
    users.signin = signin_client_new(signin, &loop.uv);
}

static inline void api_start(struct store_options store)
{
    static const char *const services[] = {"mail.example.com:443"};
    static const char *const hosts[] = {"sta.example.com"};
    authorities[FIRST] = service_authority("STA01", store);
    authorities[SECOND] = service_authority("STA02", store);
    for (int i = 0; i < AUTHORITIES; i++)
        clients[i] = authority_client_new(authorities[i], &loop, NULL);
    users = (struct ticketapi){.client_count = 1,
                               .clients = clients,
                               .access = {.hosts = hosts, .host_count = 1},
                               .rules = service_rules,
                               .gateway = "gateway.example.com:443",
                               .service_count = 1,
                               .services = services,
                               .by_user = ratelimit_new(64, 3, 60000),
                               .by_address = ratelimit_new(64, 8, 60000),
                               .idle = api_on_idle,
                               .owner = &idle};
    admin = users;
    admin.client_count = AUTHORITIES;
    admin.admin = true;
    const struct httpd_options options = {.body_max = 65536,
                                          .connections_max = 100,
                                          .idle_ms = 60000,
                                          .request_ms = 60000,
                                          .handle = api_handle,
                                          .owner = &users};
    server = httpd_new(&loop, fixture_listen(&service_address), &options);
}

static inline void api_setup(void)
{
    log_setup(LOG_JSON, LOG_ERROR);
    clock_set_offset_ms(0);
    idle = 0;
    ck_assert_int_eq(netloop_init(&loop), 0);
    api_start((struct store_options){0});
    api_write_users("$6$rounds=1000$salt");
    api_open_signin(1, 0);
}

static inline void api_forget(void)
{
    reply_free(&last);
    json_decref(answer);
    answer = NULL;
}

static inline void api_close_signin(void)
{
    bool closed = false;
    if (signin == NULL)
        return;
    signin_client_close(users.signin, service_flag, &closed);
    RUN_UNTIL(closed);
    signin_unref(signin);
    signin = NULL;
    users.signin = NULL;
}

static inline void api_teardown(void)
{
    api_forget();
    ck_assert_uint_eq(users.open + admin.open, 0);
    service_close_server(server);
    api_close_signin();
    for (int i = 0; i < AUTHORITIES; i++) {
        service_close_client(clients[i]);
        authority_unref(authorities[i]);
    }
    ratelimit_free(users.by_user);
    ratelimit_free(users.by_address);
    unlink(htpasswd_file);
    netloop_deinit(&loop);
}

/* From the next request on, who asks is the administrator. */
static inline void api_be_admin(bool is)
{
    httpd_update(server, NULL, is ? &admin : &users);
}

/* ---- asking ---- */

/* The answer is always a JSON object. */
static inline void api_take(struct reply r)
{
    json_error_t error;
    api_forget();
    last = r;
    ck_assert_uint_ne(r.status, 0);
    ck_assert_msg(reply_has_field(&r, "Content-Type: application/json"), "%s", r.head);
    answer = json_loadb(r.body, r.len, JSON_REJECT_DUPLICATES, &error);
    ck_assert_msg(json_is_object(answer), "%s: %s", error.text, r.body);
}

static inline unsigned api_ask(const char *method, const char *path, const char *fields, const char *body)
{
    api_take(service_ask(method, path, fields, body));
    return last.status;
}

/* Header lines with Basic credentials; valid until the next call. */
static inline const char *api_as(const char *fields, const char *credentials)
{
    static char *text;
    unsigned char coded[1024];
    EVP_EncodeBlock(coded, (const unsigned char *)credentials, (int)strlen(credentials));
    char *old = text;
    text = mem_printf("%sAuthorization: Basic %s\r\n", fields, (const char *)coded);
    free(old);
    return text;
}

#define ALICE api_as(JSON, "alice:wonderland")
#define BERT  api_as(JSON, "bert:b:ert")

static inline const char *text_of(const char *key)
{
    const char *s = json_string_value(json_object_get(answer, key));
    ck_assert_msg(s != NULL, "no %s in %s", key, last.body);
    return s;
}

static inline void expect_error(unsigned status, const char *error, const char *message)
{
    ck_assert_msg(last.status == status, "%u instead of %u: %s", last.status, status, last.body);
    ck_assert_msg(strcmp(text_of("error"), error) == 0, "%s", last.body);
    ck_assert_msg(strstr(text_of("message"), message) != NULL, "no '%s' in '%s'", message, last.body);
    ck_assert_uint_eq(json_object_size(answer), 2);
}

static inline const json_t *tickets(void)
{
    const json_t *list = json_object_get(answer, "tickets");
    ck_assert_msg(json_is_array(list), "%s", last.body);
    return list;
}

static inline const char *ticket_text(size_t i, const char *key)
{
    return json_string_value(json_object_get(json_array_get(tickets(), i), key));
}

/* ---- tickets with hashes as a test wants them ---- */

static inline struct record api_record(const char *hash, const char *user)
{
    struct record r = {.class = TICKET_BACKGROUND,
                       .issued_ms = clock_wall_ms(),
                       .expires_ms = clock_wall_ms() + HOUR_MS,
                       .user = user,
                       .device = ""};
    for (size_t i = 0; i < RECORD_HASH; i++) {
        unsigned byte = 0x77;
        if (2 * i + 1 < strlen(hash))
            sscanf(hash + 2 * i, "%2x", &byte);
        r.hash[i] = (uint8_t)byte;
    }
    return r;
}

static inline void api_put(int authority, const char *hash, const char *user)
{
    const struct record r = api_record(hash, user);
    ck_assert_int_eq(store_issue(authorities[authority]->store, &r), 0);
}

#endif
