/* A growable run of bytes with a maximum. Empty buffers own no memory. */
#ifndef STAGATE_BASE_BUF_H
#define STAGATE_BASE_BUF_H

#include <stddef.h>
#include <stdint.h>

struct buf {
    uint8_t *data; /* owned; NULL while there is no memory behind it */
    size_t len;
    size_t cap;
    size_t max; /* appending beyond it fails with ERR_TOO_BIG and changes nothing */
};

void buf_init(struct buf *b, size_t max);
void buf_deinit(struct buf *b);               /* frees; the buffer can be used again */
int buf_reserve(struct buf *b, size_t extra); /* room for `extra` more bytes behind data + len */
int buf_append(struct buf *b, const void *data, size_t len);
int buf_append_str(struct buf *b, const char *s);
int buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Drops n bytes at the front (n <= len); when none are left, the memory goes too. */
void buf_consume(struct buf *b, size_t n);

#endif
