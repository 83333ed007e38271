/* The one place where an error code becomes text. */
#include "base/err.h"

#include <uv.h>

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
    default:
        return code < 0 && code > -10000 ? uv_strerror(code) : "unknown error";
    }
}
