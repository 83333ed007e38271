/* The STA service: each input is a body, sent over HTTP. The first byte chooses the media type and whether a
 * fault is on. Every request gets one answer that is STA XML and a response, and a ticket is in it only where
 * one was issued.
 */
#include "service_util.h"

#include "proto/staxml.h"
#include "sta/xmlservice.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define RUNS 1000 /* with one store, which grows */

static struct authority *authority;
static struct authority_client *client;
static struct xmlservice service;
static struct cidr loopback;

static void handle(void *owner, struct httpd_request *r)
{
    xmlservice_handle(owner, r);
}

static void open_authority(void)
{
    authority = service_authority("STA01");
    client = authority_client_new(authority, &loop, NULL);
    service.client = client;
}

static void begin(void)
{
    service_begin();
    cidr_parse(&loopback, "127.0.0.0/8", 11, NULL);
    service = (struct xmlservice){
        .loop = &loop,
        .access = {.allow = &loopback, .allow_count = 1},
        .rules = {.background_ms = 168 * HOUR_MS, .session_ms = 100000, .refresh_ms = 500000},
        .requested_class = TICKET_SESSION,
        .delay_list = 8};
    const struct httpd_options options = {.body_max = STAXML_BYTES_MAX,
                                          .connections_max = 4,
                                          .idle_ms = 3600000,
                                          .request_ms = 3600000,
                                          .handle = handle,
                                          .owner = &service};
    httpd_new(&loop, service_listen(), &options);
    open_authority();
}

static void check_answer(uint64_t issued)
{
    struct staxml m;
    assert(service_has_field("Content-Type: text/xml; charset=utf-8"));
    assert(answer_status == 200 || answer_status == 400 || answer_status == 415 || answer_status == 503);
    int rc = staxml_parse(&m, answer_body, answer_len, NULL);
    assert(rc == 0 && m.kind >= STAXML_RESPONSE_TICKET);
    assert((answer_status == 200) == (m.error != STAXML_ERROR_BAD_REQUEST && m.error != STAXML_ERROR_BUSY));
    bool has_ticket = m.kind == STAXML_RESPONSE_TICKET && m.error == STAXML_ERROR_NONE;
    assert(has_ticket == (authority->counters.issued == issued + 1));
    assert(has_ticket == (m.ticket[0] != '\0'));
    assert(service.open == 0);
    staxml_free(&m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const types[] = {"Content-Type: text/xml\r\n",
                                        "Content-Type: application/xml; charset=utf-8\r\n",
                                        "Content-Type: text/plain\r\n", ""};
    static unsigned runs;
    if (size == 0 || size > STAXML_BYTES_MAX)
        return 0;
    if (service.loop == NULL)
        begin();
    if (runs++ == RUNS) {
        service_close_client(client);
        authority_unref(authority);
        open_authority();
        runs = 0;
    }
    unsigned choice = data[0];
    authority->faults.error = (choice & 0x30) == 0x30;
    authority->faults.id = choice & 0x40 ? authority_intern(authority, "STAOTHER") : NULL;
    uint64_t issued = authority->counters.issued;
    service_exchange("POST", XMLSERVICE_PATH, types[(choice & 0x0c) == 0x0c ? choice & 3 : 0], data + 1,
                     size - 1);
    check_answer(issued);
    return 0;
}
