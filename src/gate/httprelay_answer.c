/* The HTTP relay: the way of answers, from the mail server to the client. Called by conn_http.c; requests and
 * their ends are in httprelay.c. */
#include <string.h>

#include "base/err.h"
#include "gate/answer.h"
#include "httprelay_impl.h"

static bool has_no_body(const struct httprelay *r, unsigned status)
{
    return r->is_head || status == 204 || status == 304;
}

/* Whether the answer has to be read before the client gets it. */
static bool is_to_be_read(const struct httprelay *r, const struct http_head *h)
{
    const char *type = http_head_field(h, HTTP_NAME_CONTENT_TYPE, NULL);
    return r->x.kind == EAS_PATH_AUTODISCOVER && h->status == 200 && !has_no_body(r, h->status) &&
           type != NULL && strstr(type, "xml") != NULL;
}

static void pass_answer(struct httprelay *r, const struct http_head *h)
{
    if (has_no_body(r, h->status)) {
        httprelay_write_answer(r, h, h->content_length, r->out->client);
        return;
    }
    if (is_to_be_read(r, h)) {
        r->response_kept = true;
        httprelay_write_answer(r, h, -1, &r->answer_head);
        return;
    }
    r->response_chunked = h->content_length < 0 && !r->http10;
    r->close_after |= h->content_length < 0 && r->http10;
    httprelay_write_answer(r, h, h->content_length, r->out->client);
}

static int on_answer_head(void *owner, const struct http_head *h)
{
    struct httprelay *r = owner;
    r->interim = h->status / 100 == 1;
    if (r->interim) {
        if (h->status == 100 && !r->http10)
            buf_append_str(r->out->client, "HTTP/1.1 100 Continue\r\n\r\n");
        return 0;
    }
    r->x.status = h->status;
    r->backend_close = !h->keep_alive;
    r->response_chunked = false;
    if (r->o.events->on_answer != NULL)
        r->o.events->on_answer(r->o.owner, &r->x, h);
    r->close_after |= r->backend_close;
    if (httprelay_is_login_form(r, h)) {
        const struct answer a = {.reason = REASON_BACKEND_LOGIN_FORM,
                                 .keep_alive = !r->close_after,
                                 .head = r->is_head,
                                 .http10 = r->http10};
        r->x.reason = REASON_BACKEND_LOGIN_FORM;
        r->x.status = 502;
        r->swallow = true;
        answer_refusal(r->out->client, &a);
    } else {
        pass_answer(r, h);
    }
    r->response = SIDE_BODY;
    return 0;
}

static int on_answer_body(void *owner, const uint8_t *data, size_t len)
{
    struct httprelay *r = owner;
    r->x.down += len;
    if (r->o.events->on_body != NULL)
        r->o.events->on_body(r->o.owner, false, data, len);
    if (r->swallow)
        return 0;
    if (r->response_kept)
        return buf_append(&r->answer, data, len);
    httprelay_write_chunk(r->out->client, r->response_chunked, data, len);
    return 0;
}

static void answer_done(struct httprelay *r)
{
    if (r->interim) {
        r->interim = false;
        return;
    }
    if (r->response_kept) {
        httprelay_read_autodiscover(r);
        buf_append(r->out->client, r->answer_head.data, r->answer_head.len);
        buf_printf(r->out->client, "Content-Length: %zu\r\n\r\n", r->answer.len);
        buf_append(r->out->client, r->answer.data, r->answer.len);
    } else if (r->response_chunked && !r->swallow) {
        buf_append_str(r->out->client, "0\r\n\r\n");
    }
    r->response_chunked = false;
    r->response = SIDE_DONE;
    if (r->request != SIDE_DONE && r->backend_close)
        httprelay_end(r, REASON_OK, "the mail server answered and did not wait for the whole request");
    else
        httprelay_check_done(r);
}

const struct http_events httprelay_answer_events = {.on_head = on_answer_head, .on_body = on_answer_body};

void httprelay_backend_data(struct httprelay *r, const uint8_t *data, size_t len, struct httprelay_out *out)
{
    r->out = out;
    while (len > 0 && !r->over && !r->dropped) {
        size_t used = 0;
        if (!r->x.active || r->discard || r->request == SIDE_HEAD_HELD || r->response == SIDE_DONE) {
            httprelay_fail(r, REASON_BACKEND_MALFORMED, "the mail server answers what it was not asked", 0);
            return;
        }
        int rc = http_reader_feed(r->answers, data, len, &used);
        data += used;
        len -= used;
        if (rc == HTTP_DONE)
            answer_done(r);
        else if (rc == ERR_TOO_BIG && r->response_kept)
            httprelay_fail(r, REASON_BACKEND_MALFORMED, "the autodiscover answer is larger than 256 KB", 0);
        else if (rc < 0 || rc == HTTP_UPGRADE)
            httprelay_fail(r, REASON_BACKEND_MALFORMED, http_reader_why(r->answers), 502);
    }
    httprelay_feed_ahead(r);
}

void httprelay_backend_eof(struct httprelay *r, bool clean, struct httprelay_out *out)
{
    r->out = out;
    if (r->over || r->dropped)
        return;
    if (!r->x.active) {
        httprelay_end(r, REASON_OK, NULL);
        return;
    }
    int rc = http_reader_finish(r->answers);
    if (rc == HTTP_DONE && clean) {
        answer_done(r);
        httprelay_end(r, REASON_OK, NULL);
    } else if (r->count > 0 && r->response == SIDE_IDLE && rc == HTTP_MORE) {
        /* it ended a connection that had served its time: without an answer the client knows to ask again */
        httprelay_end(r, REASON_BACKEND_GONE, "the mail server ended the connection as the request came");
    } else {
        httprelay_fail(r, REASON_BACKEND_GONE,
                       r->response == SIDE_IDLE
                           ? "the mail server ended the connection without an answer"
                           : "the mail server ended the connection in the middle of its answer",
                       0);
    }
}
