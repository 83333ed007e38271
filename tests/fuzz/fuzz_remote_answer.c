/* What a remote authority answers: the first byte chooses the question and the HTTP status, the rest is the
 * body. Whatever it is, each question gets exactly one answer, and that keeps to its contract.
 */
#include "service_util.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define RUNS 200 /* with one authority: it may call itself by so many IDs only */

static struct authority *authority;
static struct authority_client *client;
static const uint8_t *body;
static size_t body_len;
static unsigned status;
static unsigned asked;

static struct { /* what came of a question */
    unsigned count;
    struct authority_answer answer;
} told;

static void handle(void *owner, struct httpd_request *r)
{
    (void)owner;
    asked++;
    httpd_answer(r, status, NULL, "text/xml", body, body_len);
}

static void open_authority(void)
{
    char why[256], text[64];
    struct authority_options o = {.url = "http://127.0.0.1/",
                                  .path = "/scripts/ctxsta.dll",
                                  .learn_id = true,
                                  .probe_ms = 3600000,
                                  .bypass_ms = 0,
                                  .cache_ms = 1,
                                  .timeout_ms = 3600000,
                                  .connections = 1,
                                  .signature = "fuzz"};
    snprintf(text, sizeof text, "127.0.0.1:%u", ntohs(service_address.sin_port));
    if (hostport_parse(&o.origin, text, strlen(text), 0, NULL) < 0 ||
        authority_open(&authority, &o, why, sizeof why) < 0)
        abort();
    client = authority_client_new(authority, &loop, NULL);
}

static void begin(void)
{
    service_begin();
    log_setup(LOG_JSON, LOG_ERROR - 1); /* that it is down is what is to be expected here */
    const struct httpd_options options = {
        .body_max = 65536, .connections_max = 4, .idle_ms = 3600000, .request_ms = 3600000, .handle = handle};
    httpd_new(&loop, service_listen(), &options);
}

static void on_answer(void *owner, const struct authority_answer *a)
{
    (void)owner;
    told.count++;
    told.answer = *a;
}

static void on_probed(void *owner)
{
    ++*(unsigned *)owner;
}

static void wait_for(const unsigned *count)
{
    uint64_t end_ns = uv_hrtime() + 20ull * 1000000000;
    while (*count == 0) {
        turn();
        assert(uv_hrtime() < end_ns && "no answer came");
    }
    for (int i = 0; i < 3; i++)
        turn();
    assert(*count == 1);
}

static void check_answer(void)
{
    const struct authority_answer *a = &told.answer;
    const struct record *r = a->ticket;
    assert((unsigned)a->result <= REDEEM_DOWN && !a->injected);
    assert((a->result == REDEEM_DOWN) == (a->fail != AUTHORITY_OK));
    assert((a->result == REDEEM_DOWN) == (a->detail != NULL));
    assert(a->result != REDEEM_OK || r != NULL);
    /* An answer that was remembered may have run out since: only then is the ticket of a refusal known. */
    assert(r == NULL || a->result == REDEEM_OK || a->result == REDEEM_EXPIRED);
    if (r != NULL) {
        size_t bytes = strlen(r->user) + strlen(r->device);
        for (size_t i = 0; i < r->service_count; i++)
            bytes += strlen(r->services[i]);
        for (size_t i = 0; i < r->value_count; i++)
            bytes += strlen(r->values[i].name) + strlen(r->values[i].value);
        assert(bytes <= RECORD_BYTES_MAX && r->state == TICKET_LIVE && r->expires_ms > 0);
    }
    free(a->ticket);
    told.answer.ticket = NULL;
}

/* An authority whose ID has been learnt: only then is it asked anything else. */
static void teach_id(void)
{
    static const char id[] = "<CtxSTAProtocol><ResponseAuthorityID><AuthorityID>STA01</AuthorityID></"
                             "ResponseAuthorityID></CtxSTAProtocol>";
    unsigned probed = 0;
    body = (const uint8_t *)id;
    body_len = sizeof id - 1;
    status = 200;
    authority_client_probe(client, on_probed, &probed);
    wait_for(&probed);
    assert(authority_is_up(authority));
}

static void ask(unsigned question)
{
    static const struct ticket_ref ref = {"STA01", BACKGROUND};
    uint8_t hash[RECORD_HASH];
    unsigned probed = 0;
    struct authority_answer now;
    record_hash(hash, ref.value, strlen(ref.value));
    told.count = 0;
    if (question == 0) {
        authority_client_probe(client, on_probed, &probed);
        wait_for(&probed);
        assert(authority_is_up(authority) == (authority->fail == AUTHORITY_OK));
        assert(!authority_is_up(authority) || authority_id(authority) != NULL);
        return;
    }
    if (question == 1)
        authority_client_refresh(client, hash, &ref, clock_wall_ms(), on_answer, NULL);
    else if (authority_client_redeem(client, &ref, 40, clock_wall_ms(), &now, on_answer, NULL) == NULL)
        on_answer(NULL, &now);
    wait_for(&told.count);
    check_answer();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const unsigned statuses[] = {200, 200, 200, 200, 200, 403, 404, 503};
    static unsigned runs;
    if (size == 0 || size > 131072)
        return 0;
    if (loop.input == NULL)
        begin();
    if (client == NULL || runs++ == RUNS) {
        if (client != NULL) {
            service_close_client(client);
            authority_unref(authority);
        }
        open_authority();
        runs = 0;
    }
    if (!authority_is_up(authority))
        teach_id();
    body = data + 1;
    body_len = size - 1;
    status = statuses[data[0] >> 2 & 7];
    asked = 0;
    ask(data[0] & 3);
    assert(asked <= 1);
    return 0;
}
