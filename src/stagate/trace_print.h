/* Lines of the view (gate/trace.h) for people: each request and each answer as a block. */
#ifndef STAGATE_STAGATE_TRACE_PRINT_H
#define STAGATE_STAGATE_TRACE_PRINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct trace_print_options {
    FILE *out; /* borrowed */
    bool colour;
    bool summary; /* a line for each request when it has ended, instead of blocks */
    bool fields;  /* header fields, too */
    bool bodies;  /* bodies are to be expected: a request is shown when its body is whole */
};

struct trace_printer;

struct trace_printer *trace_printer_new(const struct trace_print_options *options);
/* One line without its \n. 0, or ERR_SYNTAX for what is no line of the view. Events that are not known are
 * passed over. */
int trace_printer_line(struct trace_printer *p, const char *line, size_t len);
/* Shows what has not ended, and frees. */
void trace_printer_end(struct trace_printer *p);

#endif
