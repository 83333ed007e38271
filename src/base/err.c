/* The one place where an error code becomes text. */
#include "base/err.h"

#include <uv.h>

/* uv_strerror allocates, and never frees, a text for codes that libuv does not know: this one is constant. */
static const char *uv_text(int code)
{
    static const struct {
        int code;
        const char *text;
    } table[] = {
#define ROW(name, text) {UV_##name, text},
        UV_ERRNO_MAP(ROW)
#undef ROW
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (table[i].code == code)
            return table[i].text;
    return "unknown error";
}

const char *err_text(int code)
{
    switch (code) {
    case 0:
        return "ok";
    case ERR_SYNTAX:
        return "malformed";
    case ERR_TOO_BIG:
        return "too big";
    case ERR_NOT_FOUND:
        return "not found";
    case ERR_EXISTS:
        return "exists already";
    case ERR_UNSUPPORTED:
        return "not supported";
    case ERR_TLS:
        return "TLS error";
    case ERR_STORE:
        return "ticket store error";
    case ERR_STORE_FULL:
        return "ticket store is full";
    case ERR_CLOSED:
        return "closed";
    case ERR_TIMEOUT:
        return "timed out";
    case ERR_LIMIT:
        return "too many tickets";
    default:
        return uv_text(code);
    }
}
