/* Shared by trace.c (who listens, what they have not fetched yet) and trace_line.c (what a line says). */
#ifndef STAGATE_SRC_GATE_TRACE_IMPL_H
#define STAGATE_SRC_GATE_TRACE_IMPL_H

#include "gate/trace.h"

/* Each gives a line with its \n, to be freed, and its length. */
char *trace_line_request(uint64_t id, const struct trace_request *r, size_t *len);
char *trace_line_answer(uint64_t id, const struct http_head *head, size_t *len);
char *trace_line_end(uint64_t id, const struct trace_end *e, size_t *len);
char *trace_line_tunnel(uint64_t id, const struct trace_tunnel *f, size_t *len);
char *trace_line_lost(uint64_t lines, size_t *len);

enum trace_more { TRACE_MORE, TRACE_TRUNCATED, TRACE_HIDDEN };
char *trace_line_body(uint64_t id, bool from_client, const uint8_t *data, size_t n, enum trace_more more,
                      size_t *len);

#endif
