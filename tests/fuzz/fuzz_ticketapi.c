/* The ticket API: the first byte chooses who asks (an administrator, or a user who signs in) and the method;
 * of the others, what stands before the first line feed follows the path, and the rest is the body. Every
 * request gets one answer that is a JSON object, and a ticket is in it only where one was issued.
 */
#include "service_util.h"

#include "sta/ticketapi.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define RUNS        500 /* with one pair of stores, which grow */
#define AUTHORITIES 2
#define PATH_MAX_   512 /* of what follows the path */

static struct authority *authorities[AUTHORITIES];
static struct authority_client *clients[AUTHORITIES];
static struct signin *signin;
static struct ticketapi users, admin;
static struct httpd *server;
static char htpasswd_file[] = "/tmp/stagate-fuzz-XXXXXX";

static void handle(void *owner, struct httpd_request *r)
{
    if (ticketapi_is_path(httpd_path(r)))
        ticketapi_handle(owner, r);
    else
        ticketapi_error(r, 404, NULL, "not_found", "not a path of the ticket API");
}

static void remove_file(void)
{
    unlink(htpasswd_file);
}

static void open_signin(void)
{
    /* alice:wonderland, of the fewest rounds there are */
    static const char line[] =
        "alice:$6$rounds=1000$salt$sbltqY"
        "mP0ZYgntj4VB9hagrFEGEoyfhasb6oFFq/zkf0cdDtIP839YvBERBFfKC4QASINRwjLkmItCdnbM4sW0\n";
    char why[256];
    int fd = mkstemp(htpasswd_file);
    if (fd < 0 || write(fd, line, sizeof line - 1) < 0)
        abort();
    close(fd);
    atexit(remove_file);
    const struct signin_options o = {.htpasswd = htpasswd_file, .threads = 1};
    if (signin_open(&signin, &o, why, sizeof why) < 0)
        abort();
    users.signin = signin_client_new(signin, &loop.uv);
}

static void open_authorities(void)
{
    static const char *const ids[AUTHORITIES] = {"STA01", "STA02"};
    for (int i = 0; i < AUTHORITIES; i++) {
        authorities[i] = service_authority(ids[i]);
        clients[i] = authority_client_new(authorities[i], &loop, NULL);
    }
}

static void close_authorities(void)
{
    for (int i = 0; i < AUTHORITIES; i++) {
        service_close_client(clients[i]);
        authority_unref(authorities[i]);
    }
}

static void begin(void)
{
    static const char *const services[] = {"mail.example.com:443"};
    service_begin();
    users = (struct ticketapi){
        .client_count = 1,
        .clients = clients,
        .rules = {.background_ms = 168 * HOUR_MS, .session_ms = 100000, .refresh_ms = 500000},
        .gateway = "gateway.example.com:443",
        .service_count = 1,
        .services = services,
        .by_user = ratelimit_new(16, 1000, 1000),
        .by_address = ratelimit_new(16, 1000, 1000)};
    admin = users;
    admin.client_count = AUTHORITIES;
    admin.admin = true;
    open_signin();
    const struct httpd_options options = {.body_max = 65536,
                                          .connections_max = 4,
                                          .idle_ms = 3600000,
                                          .request_ms = 3600000,
                                          .handle = handle,
                                          .owner = &users};
    server = httpd_new(&loop, service_listen(), &options);
    open_authorities();
}

static uint64_t issued(void)
{
    return authorities[0]->counters.issued + authorities[1]->counters.issued;
}

static const char *text(const json_t *d, const char *key)
{
    const char *s = json_string_value(json_object_get(d, key));
    return s != NULL ? s : "";
}

static void check_ticket(const json_t *d, bool is_admin)
{
    assert(strlen(text(d, "fingerprint")) == RECORD_FINGERPRINT - 1 && text(d, "state")[0] != '\0');
    assert(is_admin || strcmp(text(d, "user"), "alice") == 0);
    assert(json_is_array(json_object_get(d, "services")));
}

static void check_answer(bool is_admin, uint64_t before)
{
    json_error_t error;
    size_t i;
    json_t *item;
    assert(service_has_field("Content-Type: application/json"));
    json_t *d = json_loadb(answer_body, answer_len, JSON_REJECT_DUPLICATES, &error);
    assert(json_is_object(d));
    assert((answer_status == 201) == (text(d, "ticket")[0] == ';') &&
           (answer_status == 201) == (issued() > before));
    if (answer_status >= 400)
        assert(text(d, "error")[0] != '\0' && text(d, "message")[0] != '\0');
    else if (json_object_get(d, "tickets") == NULL)
        check_ticket(d, is_admin);
    json_array_foreach(json_object_get(d, "tickets"), i, item) check_ticket(item, is_admin);
    assert(users.open == 0 && admin.open == 0);
    json_decref(d);
}

/* What may stand in a request's target; the rest of it is http's business and has a fuzz target of its own.
 */
static void make_path(char *path, size_t cap, const uint8_t *data, size_t len)
{
    size_t at = (size_t)snprintf(path, cap, "%s", TICKETAPI_PATH);
    for (size_t i = 0; i < len && at < cap - 1; i++)
        path[at++] = data[i] > ' ' && data[i] < 0x7f && data[i] != '#' ? (char)data[i] : '_';
    path[at] = '\0';
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const methods[] = {"POST", "GET", "DELETE", "PUT"};
    static const char *const fields[] = {
        "Content-Type: application/json\r\n",
        "Content-Type: application/json\r\nAuthorization: Basic YWxpY2U6d29uZGVybGFuZA==\r\n"};
    static unsigned runs;
    char path[PATH_MAX_];
    if (size == 0 || size > 65536)
        return 0;
    if (server == NULL)
        begin();
    if (runs++ == RUNS) {
        close_authorities();
        open_authorities();
        runs = 0;
    }
    bool is_admin = (data[0] & 0x1c) != 0x1c;
    httpd_update(server, NULL, is_admin ? &admin : &users);
    const uint8_t *line = memchr(data + 1, '\n', size - 1);
    size_t body_at = line != NULL ? (size_t)(line - data) + 1 : size;
    make_path(path, sizeof path, data + 1, line != NULL ? body_at - 2 : size - 1);
    uint64_t before = issued();
    service_exchange(methods[data[0] & 3], path, fields[!is_admin], data + body_at, size - body_at);
    check_answer(is_admin, before);
    return 0;
}
