/* Refusals in HTTP. Knows the table of reasons, nothing of who is answered. */
#include "gate/answer.h"

#include "proto/http.h"

static void ask_for_ticket(struct buf *out, unsigned status)
{
    if (status == 407)
        buf_append_str(out, "Proxy-Authenticate: Basic realm=\"stagate: any user, the ticket as "
                            "password\", charset=\"UTF-8\"\r\n"
                            "Proxy-Authenticate: Bearer realm=\"stagate: the ticket\"\r\n");
    else if (status == 401)
        buf_append_str(out, "WWW-Authenticate: X-STA-Ticket realm=\"stagate: the ticket, in the field "
                            "X-STA-Ticket\"\r\n");
}

unsigned answer_status(const struct answer *a)
{
    const struct reason_info *info = reason_info(a->reason);
    unsigned status = a->status != 0 ? a->status : info->http != 0 ? info->http : 403;
    return status == 407 && a->reverse ? 401 : status;
}

void answer_refusal(struct buf *out, const struct answer *a)
{
    const struct reason_info *info = reason_info(a->reason);
    unsigned status = answer_status(a);
    struct buf body;

    buf_init(&body, 4096);
    buf_printf(&body, "%s: %s%s%s%s\nWhat to change: %s\n", info->id, info->sentence, a->detail ? " (" : "",
               a->detail ? a->detail : "", a->detail ? ")" : "", info->advice);
    /* the reason stands in the status line too: many clients show nothing else of a proxy's answer */
    buf_printf(out, "HTTP/1.1 %u %s (%s)\r\n", status, http_status_text(status), info->id);
    ask_for_ticket(out, status);
    buf_printf(out, "X-Stagate-Reason: %s\r\n", info->id);
    if (a->detail != NULL)
        buf_printf(out, "X-Stagate-Detail: %s\r\n", a->detail);
    buf_printf(out, "Content-Type: text/plain; charset=utf-8\r\nContent-Length: %zu\r\n%s\r\n", body.len,
               !a->keep_alive ? "Connection: close\r\n"
               : a->http10    ? "Connection: keep-alive\r\n"
                              : "");
    if (!a->head)
        buf_append(out, body.data, body.len);
    buf_deinit(&body);
}
