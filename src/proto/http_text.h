/* The rules of RFC 9112 for single pieces of a message's text, for http.c: pure functions, no state. */
#ifndef STAGATE_PROTO_HTTP_TEXT_H
#define STAGATE_PROTO_HTTP_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How many bytes in front are no control characters (a tab is one, DEL is another). */
size_t http_text_plain(const uint8_t *data, size_t len);
bool http_text_is_token(const char *s, size_t len);

/* A decimal number of bytes and nothing else; -1 if it is not one that can be counted with. */
int64_t http_text_parse_length(const char *s);

/* The start line without CR LF. 0, or ERR_SYNTAX, or ERR_UNSUPPORTED for other versions of HTTP, with *why a
 * constant sentence. */
int http_text_check_request_line(const char *line, size_t len, const char **why);
int http_text_check_status_line(const char *line, size_t len, const char **why);

#endif
