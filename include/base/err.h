/* Error codes: 0 is success, libuv's negative codes pass through unchanged, ours lie below them. One function
 * gives the text. */
#ifndef STAGATE_BASE_ERR_H
#define STAGATE_BASE_ERR_H

enum err {
    ERR_SYNTAX = -10001,  /* bytes that do not follow their format; the caller has a `why` text with it */
    ERR_TOO_BIG = -10002, /* a limit of ours was reached: buffer maximum, length, count */
    ERR_NOT_FOUND = -10003,
    ERR_EXISTS = -10004,
    ERR_UNSUPPORTED = -10005, /* well-formed, but not something this build or this door can do */
    ERR_TLS = -10006,         /* OpenSSL failed; the text was taken from its queue by the caller */
    ERR_STORE = -10007,       /* the ticket store failed (disk, format, locked) */
    ERR_STORE_FULL = -10008,
    ERR_CLOSED = -10009, /* the object is closing */
    ERR_TIMEOUT = -10010,
    ERR_LIMIT = -10011, /* as many as the administrator lets there be */
};

/* A short lower-case English text for any of our codes, libuv's, or 0. Never NULL; static storage. */
const char *err_text(int code);

#endif
